//! Open regular files of the host.

use super::HostNode;
use super::calls;
use abi::Errno;
use abi::raw::general as c;
use host::guestmem::{preadv, pwritev};
use host::io::{Sink, Source};
use host::mappable::{Backing, FileId, Mappable, Observers};
use rustix::fs::{FallocateFlags, SeekFrom};
use std::any::Any;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use vfs::{Attr, Caller, FileOps, IoCx, IoError, OpenFlags, WriteAt, Written};

/// An open regular file.
pub(super) struct HostFile {
    node: Arc<HostNode>,
    fd: Arc<OwnedFd>,
    writable: bool,
}

impl HostFile {
    pub(super) fn new(node: Arc<HostNode>, fd: Arc<OwnedFd>, writable: bool) -> HostFile {
        HostFile { node, fd, writable }
    }

    /// How many bytes there are from `offset` on, if the host's word for that is believed. It is not for files without
    /// a size, as those of /proc are.
    fn left(&self, offset: u64) -> Option<usize> {
        let size = self.node.believed()?.size;
        if size == 0 { None } else { usize::try_from(size.saturating_sub(offset)).ok() }
    }

    /// How many bytes a write at `start` may have.
    fn room(io: &IoCx<'_>, start: u64) -> Result<usize, Errno> {
        let limit = io.caller.file_size_limit().min(i64::MAX as u64);
        match usize::try_from(limit.saturating_sub(start)) {
            Ok(0) => Err(Errno::EFBIG),
            room => Ok(room.unwrap_or(usize::MAX)),
        }
    }
}

fn size(fd: &OwnedFd) -> Result<u64, Errno> {
    Ok(calls::stat_fd(fd)?.stx_size)
}

impl FileOps for HostFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self) -> Option<Result<Attr, Errno>> {
        None
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_at(&self, _: &IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> Result<usize, IoError> {
        let mut done = 0;
        let most = self.left(offset).unwrap_or(usize::MAX);
        while done < most && dst.remaining() > 0 {
            let at = offset.saturating_add(done as u64);
            let mut asked = 0;
            let result = dst.fill_with(dst.remaining().min(most - done), &mut |ranges| {
                asked = ranges.iter().map(host::guestmem::HostRange::len).sum();
                preadv(self.fd.as_fd(), ranges, at, 0)
            });
            match result {
                Ok(n) => {
                    done += n;
                    if n < asked {
                        break;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(done)
    }

    fn write_at(&self, io: &IoCx<'_>, at: WriteAt, src: &mut dyn Source) -> Result<Written, IoError> {
        let start = match at {
            WriteAt::Offset(offset) => offset,
            WriteAt::End => size(&self.fd)?,
        };
        if src.remaining() == 0 {
            return Ok(Written { len: 0, end: start });
        }
        let room = HostFile::room(io, start)?;
        let append = if at == WriteAt::End { c::RWF_APPEND as i32 } else { 0 };
        let flags = append | if io.sync { c::RWF_DSYNC as i32 } else { 0 };
        let mut done = 0;
        while done < room && src.remaining() > 0 {
            let mut asked = 0;
            let result = src.drain_with((room - done).min(src.remaining()), &mut |ranges| {
                asked = ranges.iter().map(host::guestmem::HostRange::len).sum();
                pwritev(self.fd.as_fd(), ranges, start + done as u64, flags)
            });
            match result {
                Ok(n) => {
                    done += n;
                    if n < asked {
                        break;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        // Others may have appended meanwhile; then the end is where the host says it is.
        let end = if at == WriteAt::End { size(&self.fd)? } else { start + done as u64 };
        Ok(Written { len: done, end })
    }

    fn seek_data_hole(&self, offset: u64, hole: bool) -> Result<u64, Errno> {
        let to = if hole { SeekFrom::Hole(offset) } else { SeekFrom::Data(offset) };
        rustix::fs::seek(&self.fd, to).map_err(calls::errno)
    }

    fn mappable(&self) -> Result<Arc<dyn Mappable>, Errno> {
        Ok(Arc::new(HostMapping { node: self.node.clone(), fd: self.fd.clone(), writable: self.writable }))
    }

    fn fallocate(&self, caller: &dyn Caller, mode: u32, offset: u64, len: u64) -> Result<(), Errno> {
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        if mode & c::FALLOC_FL_KEEP_SIZE == 0 && end > caller.file_size_limit() {
            return Err(Errno::EFBIG);
        }
        let flags = FallocateFlags::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
        rustix::fs::fallocate(&self.fd, flags, offset, len).map_err(calls::errno)?;
        let moving = c::FALLOC_FL_COLLAPSE_RANGE | c::FALLOC_FL_INSERT_RANGE;
        if mode & moving != 0 {
            self.node.invalidate(offset..u64::MAX, false);
        }
        Ok(())
    }

    fn sync(&self, data_only: bool) -> Result<(), Errno> {
        if !self.writable {
            return Ok(());
        }
        let result = if data_only { rustix::fs::fdatasync(&self.fd) } else { rustix::fs::fsync(&self.fd) };
        result.map_err(calls::errno)
    }

    fn check_flags(&self, _: OpenFlags) -> Result<(), Errno> {
        Ok(())
    }
}

/// A host file as guests map it: the host's own page cache, by a descriptor that stays open as long as the mapping.
struct HostMapping {
    node: Arc<HostNode>,
    fd: Arc<OwnedFd>,
    writable: bool,
}

impl Mappable for HostMapping {
    fn back(&self, range: Range<u64>, write: bool) -> Result<Backing, Errno> {
        if write && !self.writable {
            return Err(Errno::EACCES);
        }
        let size = self.size();
        let end = range.end.min(size.checked_next_multiple_of(abi::PAGE_SIZE).unwrap_or(range.end));
        if range.start >= end {
            return Err(Errno::ENXIO);
        }
        Ok(Backing::HostFile { fd: self.fd.clone(), offset: range.start, len: end - range.start })
    }

    fn fault_run(&self) -> u64 {
        // The host brings in pages by itself, so a larger mapping costs nothing.
        u64::MAX
    }

    fn size(&self) -> u64 {
        if self.node.shared.exclusive() {
            return self.node.attr_now().map_or(0, |attr| attr.size);
        }
        size(&self.fd).unwrap_or(0)
    }

    fn id(&self) -> FileId {
        let attr = self.node.last_attr();
        FileId::of(attr.dev, attr.ino)
    }

    fn observers(&self) -> &Observers {
        self.node.observers()
    }

    fn sync(&self, _: Range<u64>) -> Result<(), Errno> {
        if !self.writable {
            return Ok(());
        }
        rustix::fs::fdatasync(&self.fd).map_err(calls::errno)
    }

    fn punch(&self, range: Range<u64>) -> Result<(), Errno> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.fd, flags, range.start, range.end.saturating_sub(range.start))
            .map_err(calls::errno)?;
        self.node.invalidate(range, false);
        Ok(())
    }
}
