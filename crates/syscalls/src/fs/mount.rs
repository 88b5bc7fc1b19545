//! mount(2), umount2(2), pivot_root(2).

use super::{AT_FDCWD, UserPath};
use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use abi::{Errno, PAGE_SIZE};
use kernel::{CurrentTask, SysResult};
use std::sync::Arc;
use vfs::{Capability, MountFlags, PathRef, WalkFlags};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(155, "pivot_root", pivot_root, &[Arg::Path, Arg::Path]),
    Entry::new(165, "mount", mount, &[Arg::Path, Arg::Path, Arg::Path, Arg::Flags(FLAGS), Arg::Ptr]),
    Entry::new(166, "umount2", umount2, &[Arg::Path, Arg::Flags(UMOUNT)]),
];

const FLAGS: &[(u64, &str)] = &[
    (1, "MS_RDONLY"),
    (2, "MS_NOSUID"),
    (4, "MS_NODEV"),
    (8, "MS_NOEXEC"),
    (0x20, "MS_REMOUNT"),
    (0x400, "MS_NOATIME"),
    (0x800, "MS_NODIRATIME"),
    (0x1000, "MS_BIND"),
    (0x2000, "MS_MOVE"),
    (0x4000, "MS_REC"),
    (0x8000, "MS_SILENT"),
    (0x2_0000, "MS_UNBINDABLE"),
    (0x4_0000, "MS_PRIVATE"),
    (0x8_0000, "MS_SLAVE"),
    (0x10_0000, "MS_SHARED"),
    (0x20_0000, "MS_RELATIME"),
    (0x100_0000, "MS_STRICTATIME"),
];
const UMOUNT: &[(u64, &str)] = &[(1, "MNT_FORCE"), (2, "MNT_DETACH"), (4, "MNT_EXPIRE"), (8, "UMOUNT_NOFOLLOW")];

const REMOUNT: u64 = 0x20;
const BIND: u64 = 0x1000;
const MOVE: u64 = 0x2000;
const REC: u64 = 0x4000;
const PROPAGATION: u64 = 0x1e_0000;
const STRICTATIME: u64 = 0x100_0000;
const MAGIC: u64 = 0xc0ed_0000;

pub(super) fn may_mount(t: &CurrentTask) -> Result<(), Errno> {
    if t.creds().capable(Capability::SysAdmin) { Ok(()) } else { Err(Errno::EPERM) }
}

/// The flags of a mount; access times are relative unless told otherwise.
fn mount_flags(bits: u64) -> MountFlags {
    let mut flags = MountFlags::from_bits_truncate(bits);
    if !flags.contains(MountFlags::NOATIME) && bits & STRICTATIME == 0 {
        flags |= MountFlags::RELATIME;
    }
    flags
}

/// A string of at most a page, or none.
fn optional(t: &CurrentTask, addr: u64) -> Result<Option<Vec<u8>>, Errno> {
    if addr == 0 {
        return Ok(None);
    }
    t.mm().copy_in_cstr(addr, PAGE_SIZE as usize).map(Some).map_err(|errno| match errno {
        Errno::ENAMETOOLONG => Errno::EINVAL,
        other => other,
    })
}

fn source_place(t: &CurrentTask, source: Option<&[u8]>) -> Result<PathRef, Errno> {
    let path = source.filter(|s| !s.is_empty()).ok_or(Errno::EINVAL)?;
    t.walk_cx().resolve(vfs::At::cwd(path), WalkFlags::FOLLOW)
}

fn mount(t: &mut CurrentTask, a: Args) -> SysResult {
    let mut bits = a.u64(3);
    if bits & 0xffff_0000 == MAGIC {
        bits &= 0xffff;
    }
    let kind = optional(t, a.u64(2))?;
    let source = optional(t, a.u64(0))?;
    let target = UserPath::read(t, AT_FDCWD, a.u64(1))?.resolve(t, WalkFlags::FOLLOW)?;
    may_mount(t)?;
    let mounts = t.fs().mounts();
    if bits & REMOUNT != 0 {
        if bits & BIND == 0 && Arc::ptr_eq(&target.dentry, target.mount.root()) {
            let data = optional(t, a.u64(4))?.unwrap_or_default();
            target.mount.fs().reconfigure(&data)?;
        }
        mounts.remount(&target, mount_flags(bits))?;
    } else if bits & BIND != 0 {
        let from = source_place(t, source.as_deref())?;
        mounts.bind(&from, &target, bits & REC != 0)?;
    } else if bits & PROPAGATION != 0 {
        // All mounts are private: nothing is to be done for that, and the others can't be had.
        let private = bits & PROPAGATION == 0x4_0000 || bits & PROPAGATION == 0x8_0000;
        let root = Arc::ptr_eq(&target.dentry, target.mount.root());
        if !private || !root {
            return Err(Errno::EINVAL.into());
        }
    } else if bits & MOVE != 0 {
        let from = source_place(t, source.as_deref())?;
        mounts.move_mount(&from, &target)?;
    } else {
        let kind = kind.ok_or(Errno::EINVAL)?;
        let data = optional(t, a.u64(4))?.unwrap_or_default();
        let fs = t.kernel.make_fs(&*t, &kind, &data)?;
        let shown = source.as_deref().unwrap_or(b"none");
        mounts.mount(fs, shown, &target, mount_flags(bits))?;
    }
    Ok(0)
}

fn umount2(t: &mut CurrentTask, a: Args) -> SysResult {
    const FORCE: u32 = 1;
    const DETACH: u32 = 2;
    const EXPIRE: u32 = 4;
    const NOFOLLOW: u32 = 8;
    let flags = a.u32(1);
    if flags & !(FORCE | DETACH | EXPIRE | NOFOLLOW) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let walk = if flags & NOFOLLOW != 0 { WalkFlags::empty() } else { WalkFlags::FOLLOW };
    let path = user::path(t, a.u64(0))?;
    let target = t.walk_cx().resolve(vfs::At::cwd(&path), walk)?;
    may_mount(t)?;
    if flags & EXPIRE != 0 {
        return Err(if flags & (FORCE | DETACH) != 0 { Errno::EINVAL } else { Errno::EAGAIN }.into());
    }
    t.fs().mounts().unmount(&target, flags & DETACH != 0)?;
    t.kernel.dentries.purge(target.mount.root());
    Ok(0)
}

fn pivot_root(t: &mut CurrentTask, a: Args) -> SysResult {
    may_mount(t)?;
    let directory = WalkFlags::FOLLOW | WalkFlags::DIRECTORY;
    let new = UserPath::read(t, AT_FDCWD, a.u64(0))?.resolve(t, directory)?;
    let old = UserPath::read(t, AT_FDCWD, a.u64(1))?.resolve(t, directory)?;
    let root = t.fs().root();
    t.fs().mounts().pivot(&new, &old, &root)?;
    // Every task of the namespace that stood on the old root now stands on the new one.
    let tasks: Vec<_> = t.kernel.tree.lock().tasks.values().cloned().collect();
    for task in tasks {
        let Some(fs) = task.fs() else { continue };
        if fs.root().same(&root) {
            fs.set_root(new.clone());
        }
        if fs.cwd().same(&root) {
            fs.set_cwd(new.clone());
        }
    }
    Ok(0)
}
