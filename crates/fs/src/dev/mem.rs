//! The memory devices: null, zero, full, random, urandom (`drivers/char/mem.c`, `random.c`).

use super::CharDriver;
use abi::Errno;
use host::frames::FrameAllocator;
use host::io::{Sink, Source};
use host::mappable::Mappable;
use std::any::Any;
use std::sync::Arc;
use vfs::wait::{Events, WaitQueue};
use vfs::{Caller, FileOps, IoCx, IoError, OpenFile, OpenFlags, PathRef, WriteAt, Written};

/// Their major number.
pub(super) const MAJOR: u32 = 1;

/// Bytes moved between looks at whether the caller was interrupted.
const STEP: usize = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Zero,
    Full,
    Random,
}

/// The driver.
pub(super) struct MemoryDevices(pub Arc<FrameAllocator>);

impl CharDriver for MemoryDevices {
    fn open(
        &self,
        _major: u32,
        minor: u32,
        at: &PathRef,
        flags: OpenFlags,
        _caller: &dyn Caller,
    ) -> Result<OpenFile, Errno> {
        let kind = match minor {
            3 => Kind::Null,
            5 => Kind::Zero,
            7 => Kind::Full,
            8 | 9 => Kind::Random,
            _ => return Err(Errno::ENXIO),
        };
        let queue = (minor == 8).then(WaitQueue::new);
        Ok(OpenFile::new(at.clone(), flags, Box::new(MemoryDevice { kind, frames: self.0.clone(), queue })))
    }
}

struct MemoryDevice {
    kind: Kind,
    frames: Arc<FrameAllocator>,
    /// `/dev/random` can be polled, though nothing ever changes.
    queue: Option<WaitQueue>,
}

fn interrupted(caller: &dyn Caller) -> bool {
    caller.as_any().downcast_ref::<kernel::CurrentTask>().is_some_and(kernel::CurrentTask::interrupted)
}

/// Fills the whole destination by steps, as long as nothing stops it.
fn fill(
    io: &IoCx<'_>,
    dst: &mut dyn Sink,
    mut step: impl FnMut(&mut dyn Sink) -> Result<usize, Errno>,
) -> Result<usize, IoError> {
    let mut done = 0;
    while dst.remaining() > 0 {
        match step(dst) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno.into()),
        }
        if interrupted(io.caller) {
            break;
        }
    }
    Ok(done)
}

fn random(dst: &mut dyn Sink) -> Result<usize, Errno> {
    let mut buf = [0; 4096];
    let len = dst.remaining().min(buf.len());
    let part = buf.get_mut(..len).unwrap_or_default();
    let flags = rustix::rand::GetRandomFlags::empty();
    let got = rustix::rand::getrandom(&mut *part, flags).map_err(|_| Errno::EAGAIN)?;
    dst.put(part.get(..got).unwrap_or_default())
}

/// Takes everything and keeps nothing; `look` reads it, which faults on a bad address.
fn swallow(src: &mut dyn Source, look: bool) -> Result<usize, Errno> {
    if !look {
        // Linux's write_null does not read the buffer.
        return Ok(src.remaining());
    }
    let mut done = 0;
    let mut buf = [0; 4096];
    while src.remaining() > 0 {
        match src.take(&mut buf) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

impl FileOps for MemoryDevice {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_at(&self, io: &IoCx<'_>, _offset: u64, dst: &mut dyn Sink) -> Result<usize, IoError> {
        match self.kind {
            Kind::Null => Ok(0),
            Kind::Zero | Kind::Full => fill(io, dst, |dst| dst.zero(dst.remaining().min(STEP))),
            Kind::Random => fill(io, dst, random),
        }
    }

    fn write_at(&self, _io: &IoCx<'_>, at: WriteAt, src: &mut dyn Source) -> Result<Written, IoError> {
        let len = match self.kind {
            Kind::Null | Kind::Zero => swallow(src, false)?,
            Kind::Full => return Err(Errno::ENOSPC.into()),
            Kind::Random => swallow(src, true)?,
        };
        let start = match at {
            WriteAt::Offset(offset) => offset,
            WriteAt::End => 0,
        };
        Ok(Written { len, end: start.saturating_add(len as u64) })
    }

    /// It is always at its start (`null_lseek`).
    fn position(&self) -> Option<u64> {
        Some(0)
    }

    fn seek_ignored(&self) -> Option<u64> {
        Some(0)
    }

    fn ioctl(&self, _file: &OpenFile, caller: &dyn Caller, cmd: u32, arg: u64) -> Result<u64, IoError> {
        const RNDGETENTCNT: u32 = 0x8004_5200;
        match (self.kind, cmd) {
            (Kind::Random, RNDGETENTCNT) => {
                caller.copy_out(arg, &256u32.to_le_bytes())?;
                Ok(0)
            }
            (Kind::Random, _) => Err(Errno::EINVAL.into()),
            _ => Err(Errno::ENOTTY.into()),
        }
    }

    fn readiness(&self) -> Events {
        if self.queue.is_some() { Events::READABLE } else { vfs::ALWAYS_READY }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        self.queue.as_ref()
    }

    fn mappable(&self) -> Result<Arc<dyn Mappable>, Errno> {
        // Each mapping of /dev/zero is new memory (`shmem_zero_setup`).
        match self.kind {
            Kind::Zero => Ok(Arc::new(mm::SharedMemory::new(self.frames.clone(), i64::MAX as u64))),
            _ => Err(Errno::ENODEV),
        }
    }

    fn check_flags(&self, _flags: OpenFlags) -> Result<(), Errno> {
        Ok(())
    }
}
