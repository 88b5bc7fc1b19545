//! inotify_init(2), inotify_add_watch(2), inotify_rm_watch(2).

use super::{AT_FDCWD, UserPath, add_fd};
use crate::args::{Arg, Args};
use crate::table::Entry;
use abi::Errno;
use abi::raw::general as c;
use kernel::{CurrentTask, SysResult};
use std::sync::Arc;
use vfs::access::MAY_READ;
use vfs::{Inotify, InotifyFile, OpenFlags, WalkFlags, anon};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(253, "inotify_init", |t, _| init(t, 0), &[]),
    Entry::new(254, "inotify_add_watch", add_watch, &[Arg::Fd, Arg::Path, Arg::Hex]),
    Entry::new(255, "inotify_rm_watch", rm_watch, &[Arg::Fd, Arg::Int]),
    Entry::new(294, "inotify_init1", |t, a| init(t, a.u32(0)), &[Arg::Flags(super::open::OPEN)]),
];

fn init(t: &CurrentTask, flags: u32) -> SysResult {
    if flags & !(c::O_NONBLOCK | c::O_CLOEXEC) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let flags = OpenFlags::from_bits_truncate(flags);
    let file = anon::anon_file("inotify", flags, Box::new(InotifyFile(Inotify::new())));
    Ok(add_fd(t, Arc::new(file), flags.contains(OpenFlags::CLOEXEC))?)
}

fn add_watch(t: &mut CurrentTask, a: Args) -> SysResult {
    let file = t.fds().get(a.i32(0))?;
    let mask = a.u32(2);
    let inotify = file.ops_as::<InotifyFile>().ok_or(Errno::EINVAL)?;
    let mut walk = WalkFlags::empty();
    walk.set(WalkFlags::FOLLOW, mask & c::IN_DONT_FOLLOW == 0);
    walk.set(WalkFlags::DIRECTORY, mask & c::IN_ONLYDIR != 0);
    let place = UserPath::read(t, AT_FDCWD, a.u64(1))?.resolve(t, walk)?;
    t.walk_cx().permission(&place, MAY_READ)?;
    Ok(inotify.0.add_watch(place.inode(), mask)? as u64)
}

fn rm_watch(t: &mut CurrentTask, a: Args) -> SysResult {
    let file = t.fds().get(a.i32(0))?;
    let inotify = file.ops_as::<InotifyFile>().ok_or(Errno::EINVAL)?;
    inotify.0.remove_watch(a.i32(1))?;
    Ok(0)
}
