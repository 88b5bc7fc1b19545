//! Extended attributes: setxattr(2), getxattr(2), listxattr(2), removexattr(2).

use super::{AT_FDCWD, UserPath};
use crate::args::{Arg, Args};
use crate::table::Entry;
use abi::Errno;
use kernel::{CurrentTask, SysResult};
use vfs::{PathRef, WalkFlags, XattrFlags, ops};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(188, "setxattr", |t, a| set(t, by_path(t, a, true)?, a), SET),
    Entry::new(189, "lsetxattr", |t, a| set(t, by_path(t, a, false)?, a), SET),
    Entry::new(190, "fsetxattr", |t, a| set(t, by_fd(t, a)?, a), FSET),
    Entry::new(191, "getxattr", |t, a| get(t, by_path(t, a, true)?, a), GET),
    Entry::new(192, "lgetxattr", |t, a| get(t, by_path(t, a, false)?, a), GET),
    Entry::new(193, "fgetxattr", |t, a| get(t, by_fd(t, a)?, a), FGET),
    Entry::new(194, "listxattr", |t, a| list(t, by_path(t, a, true)?, a), LIST),
    Entry::new(195, "llistxattr", |t, a| list(t, by_path(t, a, false)?, a), LIST),
    Entry::new(196, "flistxattr", |t, a| list(t, by_fd(t, a)?, a), FLIST),
    Entry::new(197, "removexattr", |t, a| remove(t, by_path(t, a, true)?, a), REMOVE),
    Entry::new(198, "lremovexattr", |t, a| remove(t, by_path(t, a, false)?, a), REMOVE),
    Entry::new(199, "fremovexattr", |t, a| remove(t, by_fd(t, a)?, a), FREMOVE),
];

const SET: &[Arg] = &[Arg::Path, Arg::Path, Arg::InBuf(3), Arg::Size, Arg::Hex];
const FSET: &[Arg] = &[Arg::Fd, Arg::Path, Arg::InBuf(3), Arg::Size, Arg::Hex];
const GET: &[Arg] = &[Arg::Path, Arg::Path, Arg::OutBuf, Arg::Size];
const FGET: &[Arg] = &[Arg::Fd, Arg::Path, Arg::OutBuf, Arg::Size];
const LIST: &[Arg] = &[Arg::Path, Arg::OutBuf, Arg::Size];
const FLIST: &[Arg] = &[Arg::Fd, Arg::OutBuf, Arg::Size];
const REMOVE: &[Arg] = &[Arg::Path, Arg::Path];
const FREMOVE: &[Arg] = &[Arg::Fd, Arg::Path];

/// Largest value and largest list of names.
const SIZE_MAX: usize = 65536;

fn by_path(t: &CurrentTask, a: Args, follow: bool) -> Result<PathRef, Errno> {
    let walk = if follow { WalkFlags::FOLLOW } else { WalkFlags::empty() };
    UserPath::read(t, AT_FDCWD, a.u64(0))?.resolve(t, walk)
}

fn by_fd(t: &CurrentTask, a: Args) -> Result<PathRef, Errno> {
    Ok(t.fds().get(a.i32(0))?.path().clone())
}

fn name(t: &CurrentTask, addr: u64) -> Result<Vec<u8>, Errno> {
    match t.mm().copy_in_cstr(addr, 256) {
        Ok(name) if name.is_empty() => Err(Errno::ERANGE),
        Err(Errno::ENAMETOOLONG) => Err(Errno::ERANGE),
        other => other,
    }
}

fn set(t: &CurrentTask, place: PathRef, a: Args) -> SysResult {
    let flags = XattrFlags::from_bits(a.u32(4)).ok_or(Errno::EINVAL)?;
    let name = name(t, a.u64(1))?;
    let size = a.usize(3);
    if size > SIZE_MAX {
        return Err(Errno::E2BIG.into());
    }
    let mut value = vec![0; size];
    t.mm().copy_in(a.u64(2), &mut value)?;
    ops::set_xattr(&t.walk_cx(), &place, &name, &value, flags)?;
    Ok(0)
}

/// Gives a value or a list to the guest; with a size of zero only its length.
fn give(t: &CurrentTask, bytes: &[u8], addr: u64, size: usize) -> SysResult {
    if size == 0 {
        return Ok(bytes.len() as u64);
    }
    if bytes.len() > size {
        return Err(Errno::ERANGE.into());
    }
    t.mm().copy_out(addr, bytes)?;
    Ok(bytes.len() as u64)
}

fn get(t: &CurrentTask, place: PathRef, a: Args) -> SysResult {
    let name = name(t, a.u64(1))?;
    let value = ops::get_xattr(&t.walk_cx(), &place, &name)?;
    give(t, &value, a.u64(2), a.usize(3))
}

fn list(t: &CurrentTask, place: PathRef, a: Args) -> SysResult {
    let names = ops::list_xattr(&t.walk_cx(), &place)?;
    give(t, &names, a.u64(1), a.usize(2))
}

fn remove(t: &CurrentTask, place: PathRef, a: Args) -> SysResult {
    let name = name(t, a.u64(1))?;
    ops::remove_xattr(&t.walk_cx(), &place, &name)?;
    Ok(0)
}
