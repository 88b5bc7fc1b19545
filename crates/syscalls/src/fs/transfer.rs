//! Moving bytes between descriptions: sendfile(2), copy_file_range(2), splice(2), tee(2), vmsplice(2). All through a
//! kernel buffer.

use super::rw::{How, read_file, write_file};
use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use ::fs::pipe::PipeEnd;
use abi::Errno;
use host::io::{SliceSink, SliceSource};
use kernel::{CurrentTask, SysErr, SysResult};
use mm::{UserSink, UserSource};
use std::sync::Arc;
use vfs::wait::Events;
use vfs::{FileType, OpenFile, OpenFlags};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(40, "sendfile", sendfile, &[Arg::Fd, Arg::Fd, Arg::Ptr, Arg::Size]),
    Entry::new(275, "splice", splice, &[Arg::Fd, Arg::Ptr, Arg::Fd, Arg::Ptr, Arg::Size, Arg::Flags(SPLICE)]),
    Entry::new(276, "tee", tee, &[Arg::Fd, Arg::Fd, Arg::Size, Arg::Flags(SPLICE)]),
    Entry::new(278, "vmsplice", vmsplice, &[Arg::Fd, Arg::Ptr, Arg::Size, Arg::Flags(SPLICE)]),
    Entry::new(326, "copy_file_range", copy_file_range, &[Arg::Fd, Arg::Ptr, Arg::Fd, Arg::Ptr, Arg::Size, Arg::Hex]),
];

const SPLICE: &[(u64, &str)] =
    &[(1, "SPLICE_F_MOVE"), (2, "SPLICE_F_NONBLOCK"), (4, "SPLICE_F_MORE"), (8, "SPLICE_F_GIFT")];
const F_NONBLOCK: u32 = 2;
const F_ALL: u32 = 0xf;
/// The flag of a single read or write that says "do not wait".
const RWF_NOWAIT: u32 = 8;

/// Bytes moved at a time.
const STEP: usize = 64 << 10;
/// Bytes moved by one call at most (`MAX_RW_COUNT`).
const COUNT_MAX: u64 = 0x7fff_f000;

/// One end of a transfer.
struct End {
    file: Arc<OpenFile>,
    /// Where the guest keeps the offset; the description's own otherwise.
    at: Option<(u64, u64)>,
}

impl End {
    fn new(t: &CurrentTask, fd: i32, addr: u64) -> Result<End, Errno> {
        let file = t.fds().get(fd)?;
        let mut end = End { file, at: None };
        if addr != 0 {
            let offset: i64 = user::get(t, addr)?;
            end.at = Some((addr, u64::try_from(offset).map_err(|_| Errno::EINVAL)?));
        }
        Ok(end)
    }

    /// Where it is now, if it has offsets.
    fn offset(&self) -> Option<u64> {
        match self.at {
            Some((_, offset)) => Some(offset),
            None if self.file.ops().seekable() => Some(*self.file.offset()),
            None => None,
        }
    }

    fn advance(&mut self, by: u64) {
        match &mut self.at {
            Some((_, offset)) => *offset = offset.saturating_add(by),
            None if self.file.ops().seekable() => {
                let mut offset = self.file.offset();
                *offset = offset.saturating_add(by);
            }
            None => {}
        }
    }

    /// Writes the offset back to the guest.
    fn finish(&self, t: &CurrentTask) -> Result<(), Errno> {
        match self.at {
            Some((addr, offset)) => user::put(t, addr, &offset),
            None => Ok(()),
        }
    }

    fn is_pipe(&self) -> bool {
        self.file.path().dentry.kind() == FileType::Fifo
    }
}

/// Copies up to `count` bytes. `until_short` goes on until the input ends; else one step is enough. Waits unless
/// `flags` say no; what was moved before an error counts.
fn transfer(t: &CurrentTask, from: &mut End, to: &mut End, count: u64, flags: u32, until_short: bool) -> SysResult {
    let mut buffer = vec![0; STEP.min(usize::try_from(count).unwrap_or(STEP))];
    let mut done = 0;
    let result = loop {
        let left = count - done;
        if left == 0 {
            break Ok(());
        }
        match step(t, from, to, &mut buffer, left, flags) {
            Ok(0) => break Ok(()),
            Ok(len) => done += len,
            Err(error) => break Err(error),
        }
        if !until_short || t.dying() {
            break Ok(());
        }
    };
    from.finish(t)?;
    to.finish(t)?;
    match result {
        Err(error) if done == 0 => Err(error),
        _ => Ok(done),
    }
}

fn step(
    t: &CurrentTask,
    from: &mut End,
    to: &mut End,
    buffer: &mut [u8],
    left: u64,
    flags: u32,
) -> Result<u64, SysErr> {
    let len = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    let part = buffer.get_mut(..len).unwrap_or_default();
    if from.offset().is_none() {
        // What a stream has given can't be given back: first make sure that it can be passed on.
        wait_writable(t, &to.file, flags)?;
    }
    let start = from.offset();
    let got = read_file(t, &from.file, &mut SliceSink::new(part), How { offset: start, flags })?;
    let bytes = part.get(..got as usize).unwrap_or_default();
    if bytes.is_empty() {
        return Ok(0);
    }
    // Bytes of a stream are passed on whole, whatever the flags say.
    let flags = if start.is_none() { 0 } else { flags };
    let how = How { offset: to.at.map(|(_, offset)| offset), flags };
    let written = write_file(t, &to.file, &mut SliceSource::new(bytes), how)?;
    from.advance(written);
    if to.at.is_some() {
        to.advance(written);
    }
    Ok(written)
}

fn wait_writable(t: &CurrentTask, file: &OpenFile, flags: u32) -> Result<(), SysErr> {
    let nonblock = flags & RWF_NOWAIT != 0 || file.flags().contains(OpenFlags::NONBLOCK);
    t.block_on(file.ops().wait_queue(), Events::WRITABLE, nonblock, None, || {
        let ready = file.ops().readiness();
        if ready.intersects(Events::WRITABLE | Events::ERR | Events::HUP) {
            Ok(())
        } else {
            Err(vfs::IoError::WouldBlock)
        }
    })
}

fn check_modes(from: &End, to: &End) -> Result<(), Errno> {
    if from.file.readable() && to.file.writable() { Ok(()) } else { Err(Errno::EBADF) }
}

fn sendfile(t: &mut CurrentTask, a: Args) -> SysResult {
    let mut to = End::new(t, a.i32(0), 0)?;
    let mut from = End::new(t, a.i32(1), a.u64(2))?;
    check_modes(&from, &to)?;
    if from.at.is_some() && !from.file.ops().seekable() {
        return Err(Errno::ESPIPE.into());
    }
    let kind = from.file.path().dentry.kind();
    let readable = from.file.ops().seekable() && !matches!(kind, FileType::Directory);
    if !readable || to.file.flags().contains(OpenFlags::APPEND) {
        return Err(Errno::EINVAL.into());
    }
    transfer(t, &mut from, &mut to, a.u64(3).min(COUNT_MAX), 0, true)
}

fn copy_file_range(t: &mut CurrentTask, a: Args) -> SysResult {
    if a.u32(5) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut from = End::new(t, a.i32(0), a.u64(1))?;
    let mut to = End::new(t, a.i32(2), a.u64(3))?;
    for end in [&from, &to] {
        match end.file.path().dentry.kind() {
            FileType::Regular => {}
            FileType::Directory => return Err(Errno::EISDIR.into()),
            _ => return Err(Errno::EINVAL.into()),
        }
    }
    check_modes(&from, &to)?;
    if to.file.flags().contains(OpenFlags::APPEND) {
        return Err(Errno::EBADF.into());
    }
    let (Some(start), Some(target)) = (from.offset(), to.offset()) else { return Err(Errno::EINVAL.into()) };
    let count = a.u64(4).min(COUNT_MAX);
    let overlap = start.abs_diff(target) < count;
    if overlap && Arc::ptr_eq(from.file.path().inode(), to.file.path().inode()) {
        return Err(Errno::EINVAL.into());
    }
    transfer(t, &mut from, &mut to, count, 0, true)
}

fn splice(t: &mut CurrentTask, a: Args) -> SysResult {
    let (count, flags) = (a.u64(4), a.u32(5));
    if count == 0 {
        return Ok(0);
    }
    if flags & !F_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (off_in, off_out) = (a.u64(1), a.u64(3));
    let pipes = (End::new(t, a.i32(0), 0)?, End::new(t, a.i32(2), 0)?);
    check_modes(&pipes.0, &pipes.1)?;
    match (pipes.0.is_pipe(), pipes.1.is_pipe()) {
        (false, false) => return Err(Errno::EINVAL.into()),
        (in_pipe, out_pipe) if in_pipe && off_in != 0 || out_pipe && off_out != 0 => return Err(Errno::ESPIPE.into()),
        (true, true) if Arc::ptr_eq(pipes.0.file.path().inode(), pipes.1.file.path().inode()) => {
            return Err(Errno::EINVAL.into());
        }
        _ => {}
    }
    let mut from = End::new(t, a.i32(0), off_in)?;
    let mut to = End::new(t, a.i32(2), off_out)?;
    for end in [&from, &to] {
        if end.at.is_some() && !end.file.ops().seekable() {
            return Err(Errno::EINVAL.into());
        }
    }
    if !to.is_pipe() && to.file.flags().contains(OpenFlags::APPEND) {
        return Err(Errno::EINVAL.into());
    }
    let nowait = if flags & F_NONBLOCK != 0 { RWF_NOWAIT } else { 0 };
    transfer(t, &mut from, &mut to, count.min(COUNT_MAX), nowait, false)
}

fn tee(t: &mut CurrentTask, a: Args) -> SysResult {
    let (count, flags) = (a.u64(2), a.u32(3));
    if flags & !F_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    if count == 0 {
        return Ok(0);
    }
    let (from, to) = (End::new(t, a.i32(0), 0)?, End::new(t, a.i32(1), 0)?);
    check_modes(&from, &to)?;
    let (source, target) = match (from.file.ops_as::<PipeEnd>(), to.file.ops_as::<PipeEnd>()) {
        (Some(source), Some(target)) => (source.pipe(), target.pipe()),
        _ => return Err(Errno::EINVAL.into()),
    };
    let nonblock = |file: &OpenFile| file.flags().contains(OpenFlags::NONBLOCK);
    let nonblock = flags & F_NONBLOCK != 0 || nonblock(&from.file) || nonblock(&to.file);
    let count = usize::try_from(count.min(COUNT_MAX)).unwrap_or(usize::MAX);
    loop {
        if !nonblock {
            wait_for_both(t, &from.file, &to.file)?;
        }
        match source.tee(target, count) {
            Ok(len) => return Ok(len as u64),
            Err(vfs::IoError::WouldBlock) if !nonblock => {}
            Err(error) => {
                let error = SysErr::Errno(error.nonblocking());
                super::rw::signal_failed_write(t, error);
                return Err(error);
            }
        }
    }
}

/// Waits until one has something and the other has room.
fn wait_for_both(t: &CurrentTask, from: &OpenFile, to: &OpenFile) -> Result<(), SysErr> {
    let wait = |file: &OpenFile, events: Events| {
        t.block_on(file.ops().wait_queue(), events, false, None, || {
            let ready = file.ops().readiness().intersects(events | Events::ERR | Events::HUP);
            if ready { Ok(()) } else { Err(vfs::IoError::WouldBlock) }
        })
    };
    wait(from, Events::READABLE)?;
    wait(to, Events::WRITABLE)
}

fn vmsplice(t: &mut CurrentTask, a: Args) -> SysResult {
    let flags = a.u32(3);
    if flags & !F_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = t.fds().get(a.i32(0))?;
    if file.path().dentry.kind() != FileType::Fifo {
        return Err(Errno::EBADF.into());
    }
    let ranges = t.mm().import_iovec(a.u64(1), a.u64(2))?;
    let how = How { offset: None, flags: if flags & F_NONBLOCK != 0 { RWF_NOWAIT } else { 0 } };
    if file.writable() {
        write_file(t, &file, &mut UserSource::from_ranges(t.mm(), ranges), how)
    } else {
        read_file(t, &file, &mut UserSink::from_ranges(t.mm(), ranges), how)
    }
}
