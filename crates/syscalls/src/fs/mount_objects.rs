//! Mounts as objects: fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2), mount_setattr(2).

use super::mount::may_mount;
use super::{AT_EMPTY_PATH, AT_NO_AUTOMOUNT, AT_SYMLINK_NOFOLLOW, UserPath, add_fd, walk_flags};
use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use abi::Errno;
use abi::raw::general as c;
use kernel::{CurrentTask, SysResult};
use lock::{Mutex, rank};
use std::any::Any;
use std::sync::Arc;
use vfs::{
    Dentry, DetachedTree, FileOps, FileSystem, Mount, MountFlags, OpenFile, OpenFlags, PathRef, WalkFlags, anon,
};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(428, "open_tree", open_tree, &[Arg::AtFd, Arg::Path, Arg::Hex]),
    Entry::new(429, "move_mount", move_mount, &[Arg::AtFd, Arg::Path, Arg::AtFd, Arg::Path, Arg::Hex]),
    Entry::new(430, "fsopen", fsopen, &[Arg::Path, Arg::Hex]),
    Entry::new(431, "fsconfig", fsconfig, &[Arg::Fd, Arg::Int, Arg::Path, Arg::Ptr, Arg::Int]),
    Entry::new(432, "fsmount", fsmount, &[Arg::Fd, Arg::Hex, Arg::Hex]),
    Entry::new(442, "mount_setattr", mount_setattr, &[Arg::AtFd, Arg::Path, Arg::Hex, Arg::Ptr, Arg::Size]),
];

const AT_RECURSIVE: u32 = 0x8000;
/// Bytes of options that a context takes.
const OPTIONS_MAX: usize = 4096;

/// A file system in the making.
struct Context {
    kind: Vec<u8>,
    state: Mutex<ContextState>,
}

#[derive(Default)]
struct ContextState {
    options: Vec<u8>,
    source: Option<Vec<u8>>,
    fs: Option<Arc<dyn FileSystem>>,
}

impl FileOps for Context {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A tree of mounts that is attached nowhere, until it is moved.
struct Tree(Mutex<Option<DetachedTree>>);

impl FileOps for Tree {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn tree_file(tree: DetachedTree) -> OpenFile {
    let root = tree.root();
    OpenFile::new(root, OpenFlags::PATH, Box::new(Tree(Mutex::new(rank::FILE_OBJECT, Some(tree)))))
}

fn fsopen(t: &mut CurrentTask, a: Args) -> SysResult {
    const CLOEXEC: u32 = 1;
    may_mount(t)?;
    let flags = a.u32(1);
    if flags & !CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    let kind = user::path(t, a.u64(0))?;
    if !t.kernel.fs_types().iter().any(|name| name.as_bytes() == kind) {
        return Err(Errno::ENODEV.into());
    }
    let state = Mutex::new(rank::FILE_OBJECT, ContextState::default());
    let file = anon::anon_file("[fscontext]", OpenFlags::RDWR, Box::new(Context { kind, state }));
    Ok(add_fd(t, Arc::new(file), flags & CLOEXEC != 0)?)
}

fn fsconfig(t: &mut CurrentTask, a: Args) -> SysResult {
    const SET_FLAG: u32 = 0;
    const SET_STRING: u32 = 1;
    const CREATE: u32 = 6;
    let file = t.fds().get(a.i32(0))?;
    let context = file.ops_as::<Context>().ok_or(Errno::EINVAL)?;
    let command = a.u32(1);
    let option = match command {
        SET_FLAG if a.u64(3) == 0 && a.i32(4) == 0 => user::path(t, a.u64(2))?,
        SET_STRING if a.i32(4) == 0 => {
            let key = user::path(t, a.u64(2))?;
            let value = user::path(t, a.u64(3))?;
            if key == b"source" {
                context.state.lock().source = Some(value);
                return Ok(0);
            }
            [&key[..], b"=", &value].concat()
        }
        CREATE if a.u64(2) == 0 && a.u64(3) == 0 => return create(t, context),
        SET_FLAG | SET_STRING | CREATE => return Err(Errno::EINVAL.into()),
        _ => return Err(Errno::EOPNOTSUPP.into()),
    };
    if option.contains(&b',') {
        return Err(Errno::EINVAL.into());
    }
    // Only the type knows its options: one that it does not take is refused at once, by a trial.
    drop(t.kernel.make_fs(&*t, &context.kind, &option)?);
    let mut state = context.state.lock();
    if state.fs.is_some() {
        return Err(Errno::EBUSY.into());
    }
    if state.options.len() + option.len() >= OPTIONS_MAX {
        return Err(Errno::EINVAL.into());
    }
    if !state.options.is_empty() {
        state.options.push(b',');
    }
    state.options.extend_from_slice(&option);
    Ok(0)
}

fn create(t: &CurrentTask, context: &Context) -> SysResult {
    may_mount(t)?;
    let options = {
        let state = context.state.lock();
        if state.fs.is_some() {
            return Err(Errno::EBUSY.into());
        }
        state.options.clone()
    };
    let fs = t.kernel.make_fs(t, &context.kind, &options)?;
    context.state.lock().fs = Some(fs);
    Ok(0)
}

/// `MOUNT_ATTR_*` as flags of a mount.
fn attributes(bits: u64) -> Result<MountFlags, Errno> {
    const ATIME: u64 = 0x70;
    let mut flags = MountFlags::from_bits_truncate(bits & 0xf);
    match bits & ATIME {
        0 => flags |= MountFlags::RELATIME,
        0x10 => flags |= MountFlags::NOATIME,
        0x20 => {}
        _ => return Err(Errno::EINVAL),
    }
    if bits & 0x80 != 0 {
        flags |= MountFlags::NODIRATIME;
    }
    if bits & !0xff != 0 { Err(Errno::EINVAL) } else { Ok(flags) }
}

fn fsmount(t: &mut CurrentTask, a: Args) -> SysResult {
    const CLOEXEC: u32 = 1;
    may_mount(t)?;
    let flags = a.u32(1);
    if flags & !CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mount_flags = attributes(u64::from(a.u32(2)))?;
    let file = t.fds().get(a.i32(0))?;
    let context = file.ops_as::<Context>().ok_or(Errno::EINVAL)?;
    let (fs, source) = {
        let mut state = context.state.lock();
        (state.fs.take().ok_or(Errno::EINVAL)?, state.source.clone().unwrap_or_else(|| b"none".to_vec()))
    };
    let mount = Mount::new(fs.clone(), Dentry::root(fs.root()), &source, mount_flags);
    Ok(add_fd(t, Arc::new(tree_file(DetachedTree::of(mount))), flags & CLOEXEC != 0)?)
}

fn open_tree(t: &mut CurrentTask, a: Args) -> SysResult {
    const CLONE: u32 = 1;
    let flags = a.u32(2);
    let known = CLONE | c::O_CLOEXEC | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW;
    if flags & !known != 0 || flags & (CLONE | AT_RECURSIVE) == AT_RECURSIVE {
        return Err(Errno::EINVAL.into());
    }
    let clone = flags & CLONE != 0;
    if clone {
        may_mount(t)?;
    }
    let walk = walk_flags(flags & (AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW), u32::MAX, true)?;
    let place = UserPath::read_flags(t, a.i32(0), a.u64(1), walk)?.resolve(t, walk)?;
    let file = if clone {
        tree_file(t.fs().mounts().copy_tree(&place, flags & AT_RECURSIVE != 0)?)
    } else {
        OpenFile::new(place, OpenFlags::PATH, Box::new(Tree(Mutex::new(rank::FILE_OBJECT, None))))
    };
    Ok(add_fd(t, Arc::new(file), flags & c::O_CLOEXEC != 0)?)
}

fn move_mount(t: &mut CurrentTask, a: Args) -> SysResult {
    const F_SYMLINKS: u32 = 1;
    const F_EMPTY: u32 = 4;
    const T_SYMLINKS: u32 = 0x10;
    const T_EMPTY: u32 = 0x40;
    const AUTOMOUNTS: u32 = 2 | 0x20;
    let flags = a.u32(4);
    may_mount(t)?;
    if flags & !(F_SYMLINKS | F_EMPTY | T_SYMLINKS | T_EMPTY | AUTOMOUNTS) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let walk = |follow: u32, empty: u32| {
        let mut walk = WalkFlags::empty();
        walk.set(WalkFlags::FOLLOW, flags & follow != 0);
        walk.set(WalkFlags::EMPTY, flags & empty != 0);
        walk
    };
    let (from_walk, to_walk) = (walk(F_SYMLINKS, F_EMPTY), walk(T_SYMLINKS, T_EMPTY));
    let from = UserPath::read_flags(t, a.i32(0), a.u64(1), from_walk)?;
    let to = UserPath::read_flags(t, a.i32(2), a.u64(3), to_walk)?.resolve(t, to_walk)?;
    let mounts = t.fs().mounts();
    let tree = from.start.as_ref().filter(|_| from.path.is_empty()).and_then(|file| file.ops_as::<Tree>());
    let detached = tree.and_then(|tree| tree.0.lock().take());
    match (tree, detached) {
        (Some(tree), Some(detached)) => {
            if let Err(errno) = mounts.attach_tree(&detached, &to) {
                *tree.0.lock() = Some(detached);
                return Err(errno.into());
            }
        }
        _ => mounts.move_mount(&from.resolve(t, from_walk)?, &to)?,
    }
    Ok(0)
}

fn mount_setattr(t: &mut CurrentTask, a: Args) -> SysResult {
    const SIZE: u64 = 32;
    const ATIME: u64 = 0x70;
    let flags = a.u32(2);
    let size = a.u64(4);
    if size < SIZE {
        return Err(Errno::EINVAL.into());
    }
    if size > SIZE {
        return Err(Errno::E2BIG.into());
    }
    may_mount(t)?;
    let [set, clear, propagation, _] = user::get::<[u64; 4]>(t, a.u64(3))?;
    let walk = walk_flags(flags & !(AT_RECURSIVE | AT_NO_AUTOMOUNT), AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, true)?;
    let place = UserPath::read_flags(t, a.i32(0), a.u64(1), walk)?.resolve(t, walk)?;
    // Access times are one value of several bits: to set one, all are cleared.
    let bad_times = set & ATIME != 0 && clear & ATIME != ATIME;
    if (set | clear) & !0xff != 0 || bad_times || !matches!(propagation, 0 | 0x4_0000) {
        return Err(Errno::EINVAL.into());
    }
    let mounts = t.fs().mounts();
    for mount in mounts.mounts_at(&place, flags & AT_RECURSIVE != 0)? {
        let root = PathRef { dentry: mount.root().clone(), mount };
        let mut new = root.mount.flags() - MountFlags::from_bits_truncate(clear & 0xf);
        new |= MountFlags::from_bits_truncate(set & 0xf);
        if clear & ATIME != 0 {
            new -= MountFlags::RELATIME | MountFlags::NOATIME;
            new |= attributes(set & ATIME)?;
        }
        new.set(MountFlags::NODIRATIME, (new.contains(MountFlags::NODIRATIME) && clear & 0x80 == 0) || set & 0x80 != 0);
        match mounts.remount(&root, new) {
            Ok(()) => {}
            // A tree that is attached nowhere.
            Err(Errno::EINVAL) if root.mount.parent().is_none() => root.mount.set_flags(new),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(0)
}
