//! Directories: getdents64(2), getcwd(2), chdir(2), chroot(2), umask(2).

use crate::args::{Arg, Args};
use crate::table::Entry;
use abi::Errno;
use kernel::{CurrentTask, SysResult};
use vfs::access::MAY_EXEC;
use vfs::{CallState, Capability, FileType, IoCx, IoError, PathRef, WalkFlags, path_text};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(78, "getdents", getdents, &[Arg::Fd, Arg::Ptr, Arg::Size]),
    Entry::new(79, "getcwd", getcwd, &[Arg::OutBuf, Arg::Size]),
    Entry::new(80, "chdir", chdir, &[Arg::Path]),
    Entry::new(81, "fchdir", fchdir, &[Arg::Fd]),
    Entry::new(95, "umask", umask, &[Arg::Mode]),
    Entry::new(161, "chroot", chroot, &[Arg::Path]),
    Entry::new(217, "getdents64", getdents64, &[Arg::Fd, Arg::Ptr, Arg::Size]),
];

/// As much as one call lists.
const LIST_MAX: usize = 1 << 20;

/// The two layouts of a directory entry.
#[derive(Clone, Copy)]
enum Layout {
    /// The type stands before the name.
    New,
    /// The type stands in the last byte.
    Old,
}

fn getdents64(t: &mut CurrentTask, a: Args) -> SysResult {
    list(t, a, Layout::New)
}

fn getdents(t: &mut CurrentTask, a: Args) -> SysResult {
    list(t, a, Layout::Old)
}

/// Appends an entry unless that would exceed `limit`.
fn encode(out: &mut Vec<u8>, limit: usize, layout: Layout, name: &[u8], ino: u64, kind: FileType, next: u64) -> bool {
    // Number, position and length, then type, name and a zero byte in either order.
    let len = (18 + 1 + name.len() + 1).next_multiple_of(8);
    let start = out.len();
    if start + len > limit {
        return false;
    }
    out.extend_from_slice(&ino.to_le_bytes());
    out.extend_from_slice(&next.to_le_bytes());
    out.extend_from_slice(&(len as u16).to_le_bytes());
    match layout {
        Layout::New => {
            out.push(kind.dirent_type());
            out.extend_from_slice(name);
            out.resize(start + len, 0);
        }
        Layout::Old => {
            out.extend_from_slice(name);
            out.resize(start + len - 1, 0);
            out.push(kind.dirent_type());
        }
    }
    true
}

fn list(t: &CurrentTask, a: Args, layout: Layout) -> SysResult {
    let file = t.fds().get(a.i32(0))?;
    let limit = (a.u32(2) as usize).min(LIST_MAX);
    let mut out = Vec::with_capacity(limit.min(32 << 10));
    let mut full = false;
    let call = CallState::default();
    let io = IoCx { caller: t, nonblock: false, sync: false, call: &call };
    let result = file.read_dir(&io, &mut |name, ino, kind, next| {
        let fits = encode(&mut out, limit, layout, name, ino, kind, next);
        full |= !fits;
        fits
    });
    result.map_err(IoError::nonblocking)?;
    if out.is_empty() && full {
        return Err(Errno::EINVAL.into());
    }
    t.mm().copy_out(a.u64(1), &out)?;
    Ok(out.len() as u64)
}

fn getcwd(t: &mut CurrentTask, a: Args) -> SysResult {
    let text = path_text(&t.fs().cwd(), &t.fs().root());
    if text.deleted {
        return Err(Errno::ENOENT.into());
    }
    let mut path = if text.reachable { Vec::new() } else { b"(unreachable)".to_vec() };
    path.extend_from_slice(&text.bytes);
    path.push(0);
    if path.len() > vfs::PATH_MAX {
        return Err(Errno::ENAMETOOLONG.into());
    }
    if path.len() > a.usize(1) {
        return Err(Errno::ERANGE.into());
    }
    t.mm().copy_out(a.u64(0), &path)?;
    Ok(path.len() as u64)
}

fn enterable(t: &CurrentTask, path: u64) -> Result<PathRef, Errno> {
    let place =
        super::UserPath::read(t, super::AT_FDCWD, path)?.resolve(t, WalkFlags::FOLLOW | WalkFlags::DIRECTORY)?;
    t.walk_cx().permission(&place, MAY_EXEC)?;
    Ok(place)
}

fn chdir(t: &mut CurrentTask, a: Args) -> SysResult {
    let place = enterable(t, a.u64(0))?;
    t.fs().set_cwd(place);
    Ok(0)
}

fn fchdir(t: &mut CurrentTask, a: Args) -> SysResult {
    let file = t.fds().get_any(a.i32(0))?;
    if !file.path().dentry.is_dir() {
        return Err(Errno::ENOTDIR.into());
    }
    t.walk_cx().permission(file.path(), MAY_EXEC)?;
    t.fs().set_cwd(file.path().clone());
    Ok(0)
}

fn chroot(t: &mut CurrentTask, a: Args) -> SysResult {
    let place = enterable(t, a.u64(0))?;
    if !t.creds().capable(Capability::SysChroot) {
        return Err(Errno::EPERM.into());
    }
    t.fs().set_root(place);
    Ok(0)
}

fn umask(t: &mut CurrentTask, a: Args) -> SysResult {
    Ok(u64::from(t.fs().set_umask(a.u32(0))))
}
