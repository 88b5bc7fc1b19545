//! eventfd(2): a counter to wait for.

use abi::Errno;
use host::io::{Sink, Source};
use lock::{Mutex, rank};
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use vfs::wait::{Events, WaitQueue};
use vfs::{FileOps, IoCx, IoError, OpenFile, OpenFlags};

/// The object behind an eventfd.
pub struct EventFd {
    id: u64,
    count: Mutex<u64>,
    semaphore: bool,
    queue: WaitQueue,
}

impl EventFd {
    /// eventfd2(2); `flags` may hold `NONBLOCK`.
    #[must_use]
    pub fn open(count: u32, semaphore: bool, flags: OpenFlags) -> OpenFile {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let ops = EventFd {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            count: Mutex::new(rank::FILE_OBJECT, u64::from(count)),
            semaphore,
            queue: WaitQueue::new(),
        };
        vfs::anon::anon_file("[eventfd]", (flags & OpenFlags::NONBLOCK) | OpenFlags::RDWR, Box::new(ops))
    }

    /// Adds to the counter without ever waiting, as the kernel does for its own notifications.
    pub fn signal(&self, n: u64) {
        {
            let mut count = self.count.lock();
            *count = count.saturating_add(n);
        }
        self.queue.notify(Events::READABLE);
    }
}

fn take_value(src: &mut dyn Source) -> Result<u64, Errno> {
    let mut bytes = [0; 8];
    if src.remaining() < 8 {
        return Err(Errno::EINVAL);
    }
    if src.take(&mut bytes)? < 8 {
        return Err(Errno::EFAULT);
    }
    let value = u64::from_ne_bytes(bytes);
    if value == u64::MAX { Err(Errno::EINVAL) } else { Ok(value) }
}

impl FileOps for EventFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &IoCx<'_>, dst: &mut dyn Sink) -> Result<usize, IoError> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL.into());
        }
        let value = {
            let mut count = self.count.lock();
            let value = match *count {
                0 => return Err(IoError::WouldBlock),
                _ if self.semaphore => 1,
                all => all,
            };
            *count -= value;
            value
        };
        self.queue.notify(Events::WRITABLE);
        // As on Linux, a fault loses the value.
        if dst.put(&value.to_ne_bytes())? < 8 {
            return Err(Errno::EFAULT.into());
        }
        Ok(8)
    }

    fn write(&self, io: &IoCx<'_>, src: &mut dyn Source) -> Result<usize, IoError> {
        // What was taken before a wait is not in the source any more.
        let value = match io.call.take::<u64>() {
            Some(value) => value,
            None => take_value(src)?,
        };
        {
            let mut count = self.count.lock();
            *count = match count.checked_add(value) {
                Some(sum) if sum < u64::MAX => sum,
                _ => {
                    io.call.keep(value, None, false);
                    return Err(IoError::WouldBlock);
                }
            };
        }
        self.queue.notify(Events::READABLE);
        Ok(8)
    }

    fn readiness(&self) -> Events {
        let count = *self.count.lock();
        let mut events = Events::empty();
        if count > 0 {
            events |= Events::IN;
        }
        if count < u64::MAX - 1 {
            events |= Events::OUT;
        }
        if count == u64::MAX {
            events |= Events::ERR;
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn fdinfo(&self) -> String {
        let count = *self.count.lock();
        let semaphore = u8::from(self.semaphore);
        format!("eventfd-count: {count:16x}\neventfd-id: {}\neventfd-semaphore: {semaphore}\n", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{io, root};
    use host::io::{SliceSink, SliceSource};

    fn read(file: &OpenFile) -> Result<u64, IoError> {
        let mut bytes = [0; 8];
        let caller = root();
        file.ops().read(&io(&caller), &mut SliceSink::new(&mut bytes))?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn write(file: &OpenFile, value: u64) -> Result<usize, IoError> {
        let caller = root();
        file.ops().write(&io(&caller), &mut SliceSource::new(&value.to_ne_bytes()))
    }

    #[test]
    fn counts_and_limits() {
        let file = EventFd::open(3, false, OpenFlags::empty());
        assert_eq!(file.ops().readiness(), Events::IN | Events::OUT);
        assert_eq!((read(&file), read(&file)), (Ok(3), Err(IoError::WouldBlock)));
        assert_eq!(write(&file, u64::MAX), Err(IoError::Errno(Errno::EINVAL)));
        assert_eq!(write(&file, u64::MAX - 1), Ok(8));
        assert_eq!(file.ops().readiness(), Events::IN);
        assert_eq!(write(&file, 1), Err(IoError::WouldBlock));
        assert_eq!(write(&file, 0), Ok(8));
        let semaphore = EventFd::open(2, true, OpenFlags::empty());
        assert_eq!((read(&semaphore), read(&semaphore), read(&semaphore)), (Ok(1), Ok(1), Err(IoError::WouldBlock)));
        assert_eq!(semaphore.attr().map(|attr| (attr.perm, attr.mode())), Ok((0o600, 0o600)));
    }
}
