//! read(2), write(2) and their vectored and positioned forms, lseek(2).

use crate::args::{Arg, Args};
use crate::table::Entry;
use abi::Errno;
use abi::raw::general as c;
use abi::signal::{SIGPIPE, SIGXFSZ, SigInfo, code};
use host::io::{Sink, Source};
use kernel::signal::Target;
use kernel::{CurrentTask, SysErr, SysResult};
use mm::{UserSink, UserSource};
use vfs::wait::Events;
use vfs::{CallState, IoCx, OpenFile, OpenFlags, Whence};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(0, "read", read, &[Arg::Fd, Arg::OutBuf, Arg::Size]),
    Entry::new(1, "write", write, &[Arg::Fd, Arg::InBuf(2), Arg::Size]),
    Entry::new(8, "lseek", lseek, &[Arg::Fd, Arg::Int, Arg::OneOf(WHENCE)]),
    Entry::new(17, "pread64", pread, &[Arg::Fd, Arg::OutBuf, Arg::Size, Arg::Size]),
    Entry::new(18, "pwrite64", pwrite, &[Arg::Fd, Arg::InBuf(2), Arg::Size, Arg::Size]),
    Entry::new(19, "readv", readv, &[Arg::Fd, Arg::Ptr, Arg::Size]),
    Entry::new(20, "writev", writev, &[Arg::Fd, Arg::Ptr, Arg::Size]),
    Entry::new(295, "preadv", preadv, &[Arg::Fd, Arg::Ptr, Arg::Size, Arg::Size]),
    Entry::new(296, "pwritev", pwritev, &[Arg::Fd, Arg::Ptr, Arg::Size, Arg::Size]),
    Entry::new(327, "preadv2", preadv2, &[Arg::Fd, Arg::Ptr, Arg::Size, Arg::Int, Arg::Int, Arg::Flags(RWF)]),
    Entry::new(328, "pwritev2", pwritev2, &[Arg::Fd, Arg::Ptr, Arg::Size, Arg::Int, Arg::Int, Arg::Flags(RWF)]),
];

const WHENCE: &[(u64, &str)] = &[(0, "SEEK_SET"), (1, "SEEK_CUR"), (2, "SEEK_END"), (3, "SEEK_DATA"), (4, "SEEK_HOLE")];

const RWF: &[(u64, &str)] = &[
    (1, "RWF_HIPRI"),
    (2, "RWF_DSYNC"),
    (4, "RWF_SYNC"),
    (8, "RWF_NOWAIT"),
    (0x10, "RWF_APPEND"),
    (0x20, "RWF_NOAPPEND"),
];
const RWF_HIPRI: u32 = 1;
const RWF_DSYNC: u32 = 2;
const RWF_SYNC: u32 = 4;
const RWF_NOWAIT: u32 = 8;
const RWF_APPEND: u32 = 0x10;
const RWF_NOAPPEND: u32 = 0x20;

/// What a call says about how to move bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct How {
    /// At this offset, else at the description's.
    pub offset: Option<u64>,
    /// `RWF_*`.
    pub flags: u32,
}

fn io<'a>(t: &'a CurrentTask, file: &OpenFile, how: How, call: &'a CallState) -> IoCx<'a> {
    let flags = file.flags();
    IoCx {
        caller: t,
        nonblock: flags.contains(OpenFlags::NONBLOCK) || how.flags & RWF_NOWAIT != 0,
        sync: flags.contains(OpenFlags::DSYNC) || how.flags & (RWF_DSYNC | RWF_SYNC) != 0,
        call,
    }
}

/// Reads from a description into anything, waiting if need be.
pub(super) fn read_file(t: &CurrentTask, file: &OpenFile, sink: &mut dyn Sink, how: How) -> SysResult {
    let call = CallState::default();
    let io = io(t, file, how, &call);
    let queue = file.ops().wait_queue();
    let done = t.block_in_call(queue, Events::READABLE, io.nonblock, None, Some(&call), || match how.offset {
        None => file.read(&io, sink),
        Some(offset) => file.read_at(&io, offset, sink),
    });
    let done = done? as u64;
    t.task.usage.reads.add(1);
    t.task.usage.bytes_read.add(done);
    Ok(done)
}

/// Writes to a description from anything. What can't be written at once is waited for, as far as waiting is allowed; the
/// count is that of all that was written.
pub(super) fn write_file(t: &CurrentTask, file: &OpenFile, source: &mut dyn Source, how: How) -> SysResult {
    let done = write_all(t, file, source, how)?;
    t.task.usage.writes.add(1);
    t.task.usage.bytes_written.add(done);
    Ok(done)
}

fn write_all(t: &CurrentTask, file: &OpenFile, source: &mut dyn Source, how: How) -> SysResult {
    let call = CallState::default();
    let io = io(t, file, how, &call);
    let queue = file.ops().wait_queue();
    let append = match how.flags & (RWF_APPEND | RWF_NOAPPEND) {
        RWF_APPEND => Some(true),
        RWF_NOAPPEND => Some(false),
        _ => None,
    };
    let stream = !file.ops().seekable();
    let mut done = 0;
    loop {
        let step = t.block_in_call(queue, Events::WRITABLE, io.nonblock, None, Some(&call), || match how.offset {
            None => file.write(&io, source, append),
            Some(offset) => file.write_at(&io, offset, source, append),
        });
        match step {
            Ok(len) => {
                done += len as u64;
                if !stream || io.nonblock || len == 0 || source.remaining() == 0 {
                    return Ok(done);
                }
            }
            Err(error) => {
                signal_failed_write(t, error);
                return if done > 0 { Ok(done) } else { Err(error) };
            }
        }
    }
}

/// `SIGPIPE` and `SIGXFSZ`, which some failed writes cause besides their error.
pub(super) fn signal_failed_write(t: &CurrentTask, error: SysErr) {
    let signal = match error {
        SysErr::Errno(Errno::EPIPE) => SIGPIPE,
        SysErr::Errno(Errno::EFBIG) if t.group.limit(c::RLIMIT_FSIZE) != u64::MAX => SIGXFSZ,
        _ => return,
    };
    let info = SigInfo::from_process(signal, code::SI_USER, t.group.tgid, t.creds().ruid);
    // A full queue loses it, as in Linux.
    let _ = t.kernel.send_signal(&t.group, Target::Thread(t.tid()), info);
}

fn positioned(offset: i64) -> Result<How, Errno> {
    let offset = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    Ok(How { offset: Some(offset), flags: 0 })
}

/// preadv2(2) and pwritev2(2): an offset of -1 is the description's.
fn with_flags(offset: i64, flags: u32) -> Result<How, Errno> {
    let how = if offset == -1 { How::default() } else { positioned(offset)? };
    let known = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND;
    if flags & !known != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if flags & RWF_APPEND != 0 && flags & RWF_NOAPPEND != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(How { flags, ..how })
}

/// Refuses before the buffer is looked at.
fn check_readable(file: &OpenFile) -> Result<(), Errno> {
    if file.readable() { Ok(()) } else { Err(Errno::EBADF) }
}

fn check_writable(file: &OpenFile) -> Result<(), Errno> {
    if file.writable() { Ok(()) } else { Err(Errno::EBADF) }
}

fn check_seekable(file: &OpenFile, how: How) -> Result<(), Errno> {
    let fine = how.offset.is_none() || file.ops().seekable() || file.path().dentry.is_dir();
    if fine { Ok(()) } else { Err(Errno::ESPIPE) }
}

fn read_buffer(t: &CurrentTask, a: Args, how: How) -> SysResult {
    let file = t.fds().get(a.i32(0))?;
    check_seekable(&file, how)?;
    check_readable(&file)?;
    let mut sink = UserSink::new(t.mm(), a.u64(1), a.u64(2))?;
    read_file(t, &file, &mut sink, how)
}

fn write_buffer(t: &CurrentTask, a: Args, how: How) -> SysResult {
    let file = t.fds().get(a.i32(0))?;
    check_seekable(&file, how)?;
    check_writable(&file)?;
    let mut source = UserSource::new(t.mm(), a.u64(1), a.u64(2))?;
    write_file(t, &file, &mut source, how)
}

fn read_vector(t: &CurrentTask, a: Args, how: How) -> SysResult {
    let file = t.fds().get(a.i32(0))?;
    check_seekable(&file, how)?;
    check_readable(&file)?;
    let ranges = t.mm().import_iovec(a.u64(1), a.u64(2))?;
    read_file(t, &file, &mut UserSink::from_ranges(t.mm(), ranges), how)
}

fn write_vector(t: &CurrentTask, a: Args, how: How) -> SysResult {
    let file = t.fds().get(a.i32(0))?;
    check_seekable(&file, how)?;
    check_writable(&file)?;
    let ranges = t.mm().import_iovec(a.u64(1), a.u64(2))?;
    write_file(t, &file, &mut UserSource::from_ranges(t.mm(), ranges), how)
}

fn read(t: &mut CurrentTask, a: Args) -> SysResult {
    read_buffer(t, a, How::default())
}

fn write(t: &mut CurrentTask, a: Args) -> SysResult {
    write_buffer(t, a, How::default())
}

fn pread(t: &mut CurrentTask, a: Args) -> SysResult {
    read_buffer(t, a, positioned(a.i64(3))?)
}

fn pwrite(t: &mut CurrentTask, a: Args) -> SysResult {
    write_buffer(t, a, positioned(a.i64(3))?)
}

fn readv(t: &mut CurrentTask, a: Args) -> SysResult {
    read_vector(t, a, How::default())
}

fn writev(t: &mut CurrentTask, a: Args) -> SysResult {
    write_vector(t, a, How::default())
}

fn preadv(t: &mut CurrentTask, a: Args) -> SysResult {
    read_vector(t, a, positioned(a.i64(3))?)
}

fn pwritev(t: &mut CurrentTask, a: Args) -> SysResult {
    write_vector(t, a, positioned(a.i64(3))?)
}

fn preadv2(t: &mut CurrentTask, a: Args) -> SysResult {
    let how = with_flags(a.i64(3), a.u32(5))?;
    if how.flags & (RWF_APPEND | RWF_NOAPPEND) != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    read_vector(t, a, how)
}

fn pwritev2(t: &mut CurrentTask, a: Args) -> SysResult {
    write_vector(t, a, with_flags(a.i64(3), a.u32(5))?)
}

fn lseek(t: &mut CurrentTask, a: Args) -> SysResult {
    let file = t.fds().get(a.i32(0))?;
    let whence = match a.u32(2) {
        0 => Whence::Set,
        1 => Whence::Current,
        2 => Whence::End,
        3 => Whence::Data,
        4 => Whence::Hole,
        _ => return Err(Errno::EINVAL.into()),
    };
    Ok(file.seek(whence, a.i64(1))?)
}
