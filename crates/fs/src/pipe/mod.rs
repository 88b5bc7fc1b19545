//! Pipes and FIFOs (pipe(7), fifo(7)).
//!
//! [`ring`] holds the bytes, [`PipeEnd`] is an open description of either kind. One lock of rank `FILE_OBJECT`; it is
//! held while bytes are copied from and to guests, so that writes of up to `PIPE_BUF` bytes stay whole.

mod ring;

#[cfg(test)]
mod tests;

use crate::dev::FifoDriver;
use abi::Errno;
use abi::raw::ioctl::FIONREAD;
use host::io::{Sink, Source};
use lock::{Mutex, MutexGuard, rank};
use ring::{PAGE, Ring};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vfs::wait::{Events, WaitQueue};
use vfs::{Caller, Capability, FileOps, FileType, IoCx, IoError, OpenFile, OpenFlags, PathRef};

/// `/proc/sys/fs/pipe-max-size`.
pub const SIZE_MAX: usize = 1 << 20;

struct State {
    ring: Ring,
    /// It is no FIFO but was made by pipe(2): opening it by way of /proc waits for nobody.
    nameless: bool,
    readers: u32,
    writers: u32,
    /// How many times it was opened for reading and for writing, for those who wait in open(2).
    reader_opens: u64,
    writer_opens: u64,
}

/// The object that both ends share.
pub struct Pipe {
    state: Mutex<State>,
    queue: WaitQueue,
}

impl Default for Pipe {
    fn default() -> Pipe {
        let state =
            State { ring: Ring::new(), nameless: false, readers: 0, writers: 0, reader_opens: 0, writer_opens: 0 };
        Pipe { state: Mutex::new(rank::FILE_OBJECT, state), queue: WaitQueue::new() }
    }
}

impl State {
    /// Adds an end.
    fn join(&mut self, read: bool, write: bool) {
        if read {
            self.readers += 1;
            self.reader_opens += 1;
        }
        if write {
            self.writers += 1;
            self.writer_opens += 1;
        }
    }

    fn write(&mut self, src: &mut dyn Source, packet: bool) -> Result<usize, IoError> {
        if src.remaining() == 0 {
            return Ok(0);
        }
        if self.readers == 0 {
            return Err(Errno::EPIPE.into());
        }
        match self.ring.push(src, packet)? {
            0 => Err(IoError::WouldBlock),
            n => Ok(n),
        }
    }
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock_awake()
    }

    /// Takes what is there, up to what `dst` takes.
    ///
    /// # Errors
    /// `EFAULT`, would-block.
    pub fn read(&self, dst: &mut dyn Sink) -> Result<usize, IoError> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        let (done, room) = {
            let mut state = self.lock();
            let was_full = state.ring.is_full();
            if state.ring.is_empty() {
                return if state.writers == 0 { Ok(0) } else { Err(IoError::WouldBlock) };
            }
            (state.ring.pop(dst)?, was_full && !state.ring.is_full())
        };
        if room {
            self.queue.notify(Events::WRITABLE);
        }
        Ok(done)
    }

    /// Puts in what there is room for; all of it if that is at most a page. `packet` keeps it apart from other writes.
    ///
    /// # Errors
    /// `EPIPE`, `EFAULT`, would-block.
    pub fn write(&self, src: &mut dyn Source, packet: bool) -> Result<usize, IoError> {
        let done = self.lock().write(src, packet)?;
        if done > 0 {
            self.queue.notify(Events::READABLE);
        }
        Ok(done)
    }

    /// Copies up to `len` bytes to another pipe and leaves them here too (tee(2)).
    ///
    /// # Errors
    /// `EINVAL` if both are one, `EPIPE`, would-block.
    pub fn tee(&self, to: &Pipe, len: usize) -> Result<usize, IoError> {
        let (from, mut dest) = match std::ptr::from_ref(self).cmp(&std::ptr::from_ref(to)) {
            std::cmp::Ordering::Equal => return Err(Errno::EINVAL.into()),
            std::cmp::Ordering::Less => {
                let from = self.state.lock();
                (from, to.state.lock_second())
            }
            std::cmp::Ordering::Greater => {
                let dest = to.state.lock();
                (self.state.lock_second(), dest)
            }
        };
        if dest.readers == 0 {
            return Err(Errno::EPIPE.into());
        }
        if from.ring.is_empty() {
            return if from.writers == 0 { Ok(0) } else { Err(IoError::WouldBlock) };
        }
        let done = from.ring.copy_to(&mut dest.ring, len);
        drop(from);
        drop(dest);
        if done == 0 {
            return Err(IoError::WouldBlock);
        }
        to.queue.notify(Events::READABLE);
        Ok(done)
    }

    /// How many bytes are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().ring.len()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().ring.is_empty()
    }

    /// `F_GETPIPE_SZ`.
    #[must_use]
    pub fn size(&self) -> usize {
        self.lock().ring.slots() * PAGE
    }

    /// `F_SETPIPE_SZ`; returns the new size.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`, `EBUSY` if what is in it would not fit.
    pub fn set_size(&self, caller: &dyn Caller, size: u32) -> Result<usize, Errno> {
        if size > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let size = (size as usize).max(PAGE).next_power_of_two();
        if size >= 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let grows = {
            let mut state = self.lock();
            let old = state.ring.slots();
            if size > SIZE_MAX && size / PAGE > old && !caller.creds().capable(Capability::SysResource) {
                return Err(Errno::EPERM);
            }
            state.ring.set_slots(size / PAGE)?;
            size / PAGE > old
        };
        if grows {
            self.queue.notify(Events::WRITABLE);
        }
        Ok(size)
    }
}

/// Whose opening an open of a FIFO waits for.
enum Partner {
    /// Nobody's.
    None,
    /// A reader's, after so many of them.
    Reader(u64),
    /// A writer's.
    Writer(u64),
}

/// One open description of a pipe.
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    read: bool,
    write: bool,
    partner: Partner,
    /// A reader is not told of a hang-up before there was a writer: so many had come when it was opened.
    writers_before: u64,
    /// `O_DIRECT`: each write is a packet.
    packets: AtomicBool,
}

impl PipeEnd {
    /// The pipe.
    #[must_use]
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    /// Whether it reads.
    #[must_use]
    pub fn reads(&self) -> bool {
        self.read
    }

    /// Whether it writes.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.write
    }
}

/// pipe2(2): the end for reading and the one for writing. `flags` may hold `NONBLOCK` and `DIRECT`.
#[must_use]
pub fn new_pipe(caller: &dyn Caller, flags: OpenFlags) -> (OpenFile, OpenFile) {
    let pipe = Arc::new(Pipe::default());
    let place = vfs::anon::pipefs().place("pipe", FileType::Fifo, 0o600, caller);
    // Found again by an open of /proc/PID/fd/N.
    let _ = place.inode().common().endpoint(|| pipe.clone());
    {
        let mut state = pipe.lock();
        state.nameless = true;
        state.join(true, true);
    }
    let end = |read: bool| {
        Box::new(PipeEnd {
            pipe: pipe.clone(),
            read,
            write: !read,
            partner: Partner::None,
            writers_before: 0,
            packets: AtomicBool::new(flags.contains(OpenFlags::DIRECT)),
        })
    };
    let flags = flags & (OpenFlags::NONBLOCK | OpenFlags::DIRECT);
    let reader = OpenFile::new(place.clone(), flags, end(true));
    (reader, OpenFile::new(place, flags | OpenFlags::WRONLY, end(false)))
}

/// Opens the FIFO at `at`, whose inode keeps the pipe.
///
/// # Errors
/// `ENXIO` for a writer that will not wait and finds no reader.
pub fn open_fifo(at: &PathRef, flags: OpenFlags) -> Result<OpenFile, Errno> {
    let pipe: Arc<Pipe> = at.inode().common().endpoint(Arc::default).ok_or(Errno::ENXIO)?;
    let (read, write, nonblock) = (flags.readable(), flags.writable(), flags.contains(OpenFlags::NONBLOCK));
    let (partner, writers_before) = {
        let mut state = pipe.lock();
        if write && !read && nonblock && state.readers == 0 && !state.nameless {
            return Err(Errno::ENXIO);
        }
        if state.readers == 0 && state.writers == 0 {
            state.ring.reset();
        }
        let partner = match (read, write) {
            _ if state.nameless => Partner::None,
            (true, false) if state.writers == 0 && !nonblock => Partner::Writer(state.writer_opens),
            (false, true) if state.readers == 0 => Partner::Reader(state.reader_opens),
            _ => Partner::None,
        };
        let before = if state.writers == 0 { state.writer_opens } else { u64::MAX };
        state.join(read, write);
        (partner, before)
    };
    pipe.queue.notify(Events::READABLE | Events::WRITABLE);
    let packets = AtomicBool::new(flags.contains(OpenFlags::DIRECT));
    Ok(OpenFile::new(at.clone(), flags, Box::new(PipeEnd { pipe, read, write, partner, writers_before, packets })))
}

/// Opens FIFOs for [`crate::dev::Devices`].
pub struct Fifos;

impl FifoDriver for Fifos {
    fn open(&self, at: &PathRef, flags: OpenFlags, _: &dyn Caller) -> Result<OpenFile, Errno> {
        open_fifo(at, flags)
    }
}

impl FileOps for PipeEnd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn finish_open(&self, _: &IoCx<'_>) -> Result<(), IoError> {
        let state = self.pipe.lock();
        let waits = match self.partner {
            Partner::None => false,
            Partner::Reader(before) => state.reader_opens == before,
            Partner::Writer(before) => state.writer_opens == before,
        };
        if waits { Err(IoError::WouldBlock) } else { Ok(()) }
    }

    fn read(&self, _: &IoCx<'_>, dst: &mut dyn Sink) -> Result<usize, IoError> {
        if !self.read {
            return Err(Errno::EBADF.into());
        }
        self.pipe.read(dst)
    }

    fn write(&self, _: &IoCx<'_>, src: &mut dyn Source) -> Result<usize, IoError> {
        if !self.write {
            return Err(Errno::EBADF.into());
        }
        self.pipe.write(src, self.packets.load(Ordering::Relaxed))
    }

    fn ioctl(&self, _: &OpenFile, caller: &dyn Caller, cmd: u32, arg: u64) -> Result<u64, IoError> {
        if cmd != FIONREAD {
            return Err(Errno::ENOTTY.into());
        }
        let len = i32::try_from(self.pipe.len()).unwrap_or(i32::MAX);
        caller.copy_out(arg, &len.to_ne_bytes())?;
        Ok(0)
    }

    fn readiness(&self) -> Events {
        let state = self.pipe.lock();
        let mut events = Events::empty();
        if self.read {
            if !state.ring.is_empty() {
                events |= Events::READABLE;
            }
            if state.writers == 0 && state.writer_opens != self.writers_before {
                events |= Events::HUP;
            }
        }
        if self.write {
            if !state.ring.is_full() {
                events |= Events::WRITABLE;
            }
            if state.readers == 0 {
                events |= Events::ERR;
            }
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.pipe.queue)
    }

    fn check_flags(&self, _: OpenFlags) -> Result<(), Errno> {
        Ok(())
    }

    fn flags_changed(&self, flags: OpenFlags) {
        self.packets.store(flags.contains(OpenFlags::DIRECT), Ordering::Relaxed);
    }

    fn release(&self, _: OpenFlags) {
        let left = {
            let mut state = self.pipe.lock();
            state.readers -= u32::from(self.read);
            state.writers -= u32::from(self.write);
            if state.readers == 0 && state.writers == 0 {
                state.ring.reset();
            }
            (state.readers, state.writers)
        };
        match left {
            (0, 0) => {}
            (0, _) => self.pipe.queue.notify(Events::WRITABLE | Events::ERR),
            (_, 0) => self.pipe.queue.notify(Events::READABLE | Events::HUP),
            _ => {}
        }
    }
}
