//! fsync(2), sync(2), posix_fadvise(2), readahead(2).

use crate::args::{Arg, Args};
use crate::table::Entry;
use abi::Errno;
use kernel::{CurrentTask, Fd, SysResult};
use vfs::FileType;

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(74, "fsync", fsync, &[Arg::Fd]),
    Entry::new(75, "fdatasync", fdatasync, &[Arg::Fd]),
    Entry::new(162, "sync", sync, &[]),
    Entry::new(187, "readahead", readahead, &[Arg::Fd, Arg::Int, Arg::Size]),
    Entry::new(221, "fadvise64", fadvise64, &[Arg::Fd, Arg::Int, Arg::Int, Arg::Int]),
    Entry::new(277, "sync_file_range", sync_file_range, &[Arg::Fd, Arg::Int, Arg::Int, Arg::Hex]),
    Entry::new(306, "syncfs", syncfs, &[Arg::Fd]),
];

fn sync_file(t: &CurrentTask, fd: Fd, data_only: bool) -> SysResult {
    t.fds().get(fd)?.ops().sync(data_only)?;
    Ok(0)
}

fn fsync(t: &mut CurrentTask, a: Args) -> SysResult {
    sync_file(t, a.i32(0), false)
}

fn fdatasync(t: &mut CurrentTask, a: Args) -> SysResult {
    sync_file(t, a.i32(0), true)
}

fn sync(t: &mut CurrentTask, _: Args) -> SysResult {
    for mount in t.fs().mounts().list() {
        // sync(2) reports nothing.
        let _ = mount.fs().sync();
    }
    Ok(0)
}

fn syncfs(t: &mut CurrentTask, a: Args) -> SysResult {
    let file = t.fds().get(a.i32(0))?;
    file.path().mount.fs().sync()?;
    Ok(0)
}

fn sync_file_range(t: &mut CurrentTask, a: Args) -> SysResult {
    let file = t.fds().get(a.i32(0))?;
    let (offset, len, flags) = (a.i64(1), a.i64(2), a.u32(3));
    if flags & !7 != 0 || offset < 0 || len < 0 || offset.checked_add(len).is_none() {
        return Err(Errno::EINVAL.into());
    }
    match file.path().dentry.kind() {
        FileType::Regular | FileType::BlockDevice | FileType::Directory | FileType::Symlink => {}
        _ => return Err(Errno::ESPIPE.into()),
    }
    if flags != 0 {
        file.ops().sync(true)?;
    }
    Ok(0)
}

/// The host reads ahead by itself.
fn readahead(t: &mut CurrentTask, a: Args) -> SysResult {
    let file = t.fds().get(a.i32(0))?;
    if !file.readable() {
        return Err(Errno::EBADF.into());
    }
    if file.path().dentry.kind() == FileType::Regular { Ok(0) } else { Err(Errno::EINVAL.into()) }
}

fn fadvise64(t: &mut CurrentTask, a: Args) -> SysResult {
    let file = t.fds().get(a.i32(0))?;
    if file.path().dentry.kind() == FileType::Fifo {
        return Err(Errno::ESPIPE.into());
    }
    if a.i64(2) < 0 || !(0..=5).contains(&a.i32(3)) {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}
