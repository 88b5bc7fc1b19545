//! open(2), openat(2), openat2(2), creat(2).

use super::{AT_FDCWD, UserPath, add_fd};
use crate::args::{Arg, Args};
use crate::table::Entry;
use abi::Errno;
use abi::raw::general as c;
use abi::stat::OpenHow;
use kernel::{CurrentTask, Fd, SysResult};
use std::sync::Arc;
use vfs::wait::Events;
use vfs::{CallState, IoCx, OpenFile, OpenFlags, WalkFlags, ops};
use zerocopy::IntoBytes;

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(2, "open", open, &[Arg::Path, Arg::Flags(OPEN), Arg::Mode]),
    Entry::new(85, "creat", creat, &[Arg::Path, Arg::Mode]),
    Entry::new(257, "openat", openat, &[Arg::AtFd, Arg::Path, Arg::Flags(OPEN), Arg::Mode]),
    Entry::new(437, "openat2", openat2, &[Arg::AtFd, Arg::Path, Arg::Ptr, Arg::Size]),
];

/// Names of open(2)'s flags.
pub(super) const OPEN: &[(u64, &str)] = &[
    (0o4_010_000, "O_SYNC"),
    (0o20_200_000, "O_TMPFILE"),
    (3, "O_ACCMODE"),
    (1, "O_WRONLY"),
    (2, "O_RDWR"),
    (0o100, "O_CREAT"),
    (0o200, "O_EXCL"),
    (0o400, "O_NOCTTY"),
    (0o1000, "O_TRUNC"),
    (0o2000, "O_APPEND"),
    (0o4000, "O_NONBLOCK"),
    (0o10_000, "O_DSYNC"),
    (0o20_000, "FASYNC"),
    (0o40_000, "O_DIRECT"),
    (0o100_000, "O_LARGEFILE"),
    (0o200_000, "O_DIRECTORY"),
    (0o400_000, "O_NOFOLLOW"),
    (0o1_000_000, "O_NOATIME"),
    (0o2_000_000, "O_CLOEXEC"),
    (0o10_000_000, "O_PATH"),
];

fn open(t: &mut CurrentTask, a: Args) -> SysResult {
    open_at(t, AT_FDCWD, a.u64(0), a.u32(1), a.u32(2))
}

fn creat(t: &mut CurrentTask, a: Args) -> SysResult {
    open_at(t, AT_FDCWD, a.u64(0), c::O_CREAT | c::O_WRONLY | c::O_TRUNC, a.u32(1))
}

fn openat(t: &mut CurrentTask, a: Args) -> SysResult {
    open_at(t, a.i32(0), a.u64(1), a.u32(2), a.u32(3))
}

/// The calls that ignore flags they do not know, and modes without `O_CREAT`.
fn open_at(t: &CurrentTask, dirfd: Fd, path: u64, flags: u32, mode: u32) -> SysResult {
    let how =
        ops::OpenHow { flags: OpenFlags::from_bits_truncate(flags), mode: mode & 0o7777, resolve: WalkFlags::empty() };
    finish(t, dirfd, path, how)
}

fn openat2(t: &mut CurrentTask, a: Args) -> SysResult {
    const SIZE: usize = size_of::<OpenHow>();
    let size = a.usize(3);
    if size < SIZE {
        return Err(Errno::EINVAL.into());
    }
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    let mut bytes = vec![0; size];
    t.mm().copy_in(a.u64(2), &mut bytes)?;
    let (known, later) = bytes.split_at(SIZE);
    if later.iter().any(|b| *b != 0) {
        return Err(Errno::E2BIG.into());
    }
    let mut how = OpenHow::default();
    how.as_mut_bytes().copy_from_slice(known);
    finish(t, a.i32(0), a.u64(1), check_how(&how)?)
}

/// What openat2(2) demands beyond openat(2).
fn check_how(how: &OpenHow) -> Result<ops::OpenHow, Errno> {
    const PATH_FLAGS: OpenFlags =
        OpenFlags::DIRECTORY.union(OpenFlags::NOFOLLOW).union(OpenFlags::PATH).union(OpenFlags::CLOEXEC);
    let bits = u32::try_from(how.flags).map_err(|_| Errno::EINVAL)?;
    let flags = OpenFlags::from_bits(bits).ok_or(Errno::EINVAL)?;
    let creates = flags.intersects(OpenFlags::CREAT | OpenFlags::TMPFILE);
    let bad_mode = if creates { how.mode & !0o7777 != 0 } else { how.mode != 0 };
    let bad_path = flags.contains(OpenFlags::PATH) && !PATH_FLAGS.contains(flags);
    if bad_mode || bad_path {
        return Err(Errno::EINVAL);
    }
    const NAMES: [(u32, WalkFlags); 5] = [
        (c::RESOLVE_NO_XDEV, WalkFlags::NO_XDEV),
        (c::RESOLVE_NO_MAGICLINKS, WalkFlags::NO_MAGICLINKS),
        (c::RESOLVE_NO_SYMLINKS, WalkFlags::NO_SYMLINKS),
        (c::RESOLVE_BENEATH, WalkFlags::BENEATH),
        (c::RESOLVE_IN_ROOT, WalkFlags::IN_ROOT),
    ];
    const CACHED: u64 = c::RESOLVE_CACHED as u64;
    let mut resolve = WalkFlags::empty();
    let mut left = how.resolve;
    for (bit, flag) in NAMES {
        if left & u64::from(bit) != 0 {
            resolve |= flag;
            left &= !u64::from(bit);
        }
    }
    if left & !CACHED != 0 || resolve.contains(WalkFlags::BENEATH | WalkFlags::IN_ROOT) {
        return Err(Errno::EINVAL);
    }
    if left & CACHED != 0 {
        let changes = flags.intersects(OpenFlags::TRUNC | OpenFlags::CREAT | OpenFlags::TMPFILE);
        // What is cached here says nothing of what a file system below must do: Linux, too, may always decline.
        return Err(if changes { Errno::EINVAL } else { Errno::EAGAIN });
    }
    Ok(ops::OpenHow { flags, mode: how.mode as u32, resolve })
}

fn finish(t: &CurrentTask, dirfd: Fd, path: u64, how: ops::OpenHow) -> SysResult {
    let path = UserPath::read(t, dirfd, path)?;
    t.fds().check_room(t.group.limit(c::RLIMIT_NOFILE))?;
    let file = Arc::new(ops::open(&t.walk_cx(), path.at(), how)?);
    wait_for_peer(t, &file)?;
    Ok(add_fd(t, file, how.flags.contains(OpenFlags::CLOEXEC))?)
}

/// A FIFO's open waits for its other end.
fn wait_for_peer(t: &CurrentTask, file: &OpenFile) -> Result<(), kernel::SysErr> {
    if file.is_path() {
        return Ok(());
    }
    let nonblock = file.flags().contains(OpenFlags::NONBLOCK);
    let call = CallState::default();
    let io = IoCx { caller: t, nonblock, sync: false, call: &call };
    let events = Events::READABLE | Events::WRITABLE;
    t.block_in_call(file.ops().wait_queue(), events, nonblock, None, Some(&call), || file.ops().finish_open(&io))
}
