//! Reading, writing and seeking by way of a description: access mode, offset, append, limits, notification.

use crate::{FileType, IoCx, IoError, OpenFile, OpenFlags, WriteAt, notify};
use abi::Errno;
use host::guestmem::HostRange;
use host::io::{Sink, Source};

/// Largest offset.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// Where a seek counts from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Whence {
    Set,
    Current,
    End,
    Data,
    Hole,
}

impl OpenFile {
    fn is_dir(&self) -> bool {
        self.path().dentry.is_dir()
    }

    fn check_readable(&self) -> Result<(), IoError> {
        if !self.readable() {
            return Err(Errno::EBADF.into());
        }
        if self.is_dir() { Err(Errno::EISDIR.into()) } else { Ok(()) }
    }

    /// read(2).
    ///
    /// # Errors
    /// Those of read(2), and would-block.
    pub fn read(&self, io: &IoCx<'_>, dst: &mut dyn Sink) -> Result<usize, IoError> {
        self.check_readable()?;
        let len = if self.ops().seekable() {
            let mut offset = self.offset();
            let len = self.ops().read_at(io, *offset, dst)?;
            *offset = offset.saturating_add(len as u64);
            len
        } else {
            self.ops().read(io, dst)?
        };
        if len > 0 {
            notify::accessed(&self.path().dentry);
        }
        Ok(len)
    }

    /// pread(2).
    ///
    /// # Errors
    /// Those of pread(2).
    pub fn read_at(&self, io: &IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> Result<usize, IoError> {
        if !self.ops().seekable() && !self.is_dir() {
            return Err(Errno::ESPIPE.into());
        }
        self.check_readable()?;
        let len = self.ops().read_at(io, offset, dst)?;
        if len > 0 {
            notify::accessed(&self.path().dentry);
        }
        Ok(len)
    }

    /// write(2); `append` overrides the description's `O_APPEND` (`RWF_APPEND`, `RWF_NOAPPEND`).
    ///
    /// # Errors
    /// Those of write(2), and would-block. `EFBIG` and `EPIPE` make the caller raise a signal.
    pub fn write(&self, io: &IoCx<'_>, src: &mut dyn Source, append: Option<bool>) -> Result<usize, IoError> {
        if !self.writable() {
            return Err(Errno::EBADF.into());
        }
        let len = if self.ops().seekable() {
            let mut offset = self.offset();
            let written = self.write_limited(io, *offset, src, append)?;
            *offset = written.1;
            written.0
        } else {
            self.ops().write(io, src)?
        };
        if len > 0 {
            notify::modified(&self.path().dentry);
        }
        Ok(len)
    }

    /// pwrite(2), which like Linux's appends if the description does.
    ///
    /// # Errors
    /// Those of pwrite(2).
    pub fn write_at(
        &self,
        io: &IoCx<'_>,
        offset: u64,
        src: &mut dyn Source,
        append: Option<bool>,
    ) -> Result<usize, IoError> {
        if !self.ops().seekable() {
            return Err(Errno::ESPIPE.into());
        }
        if !self.writable() {
            return Err(Errno::EBADF.into());
        }
        let (len, _) = self.write_limited(io, offset, src, append)?;
        if len > 0 {
            notify::modified(&self.path().dentry);
        }
        Ok(len)
    }

    /// Writes to a seekable file as far as offsets and `RLIMIT_FSIZE` allow. Returns length and new offset.
    fn write_limited(
        &self,
        io: &IoCx<'_>,
        offset: u64,
        src: &mut dyn Source,
        append: Option<bool>,
    ) -> Result<(usize, u64), IoError> {
        let append = append.unwrap_or_else(|| self.flags().contains(OpenFlags::APPEND));
        let at = if append { WriteAt::End } else { WriteAt::Offset(offset) };
        if src.remaining() == 0 {
            return Ok((0, offset));
        }
        let regular = self.path().dentry.kind() == FileType::Regular;
        let limit = if regular { io.caller.file_size_limit().min(OFFSET_MAX) } else { OFFSET_MAX };
        let far = limit < OFFSET_MAX || offset.saturating_add(src.remaining() as u64) > OFFSET_MAX;
        let written = if far {
            let start = if append { self.attr()?.size } else { offset };
            if start >= limit {
                return Err(Errno::EFBIG.into());
            }
            let left = usize::try_from(limit - start).unwrap_or(usize::MAX);
            self.ops().write_at(io, at, &mut Limited { src, left })?
        } else {
            self.ops().write_at(io, at, src)?
        };
        Ok((written.len, written.end))
    }

    /// lseek(2).
    ///
    /// # Errors
    /// `ESPIPE`, `EINVAL`, `EOVERFLOW`, `ENXIO`.
    pub fn seek(&self, whence: Whence, by: i64) -> Result<u64, Errno> {
        if !self.ops().seekable() && !self.is_dir() {
            // Seeking means nothing to anonymous inodes, but is no error (`noop_llseek`).
            let anonymous = self.path().dentry.kind() == FileType::Anonymous;
            return if anonymous { Ok(0) } else { Err(Errno::ESPIPE) };
        }
        if let Some(at) = self.ops().seek_ignored() {
            return Ok(at);
        }
        let mut offset = self.offset();
        let new = match whence {
            Whence::Set => by,
            Whence::Current => add(*offset, by)?,
            Whence::End if self.is_dir() => return Err(Errno::EINVAL),
            Whence::End => {
                let end = match self.ops().seek_end() {
                    Some(end) => end,
                    None => self.attr()?.size,
                };
                add(end, by)?
            }
            Whence::Data | Whence::Hole => {
                let from = u64::try_from(by).map_err(|_| Errno::ENXIO)?;
                let found = self.ops().seek_data_hole(from, whence == Whence::Hole)?;
                i64::try_from(found).map_err(|_| Errno::EOVERFLOW)?
            }
        };
        let new = u64::try_from(new).map_err(|_| Errno::EINVAL)?;
        *offset = new;
        drop(offset);
        // Where the offset is kept elsewhere, it need not have followed.
        Ok(self.ops().position().unwrap_or(new))
    }

    /// Lists the directory from the description's offset on.
    ///
    /// # Errors
    /// `ENOTDIR`, `ENOENT` for a removed directory.
    pub fn read_dir(&self, io: &IoCx<'_>, emit: &mut crate::DirEmit<'_>) -> Result<(), IoError> {
        if !self.is_dir() {
            return Err(Errno::ENOTDIR.into());
        }
        if self.path().dentry.is_deleted() {
            return Err(Errno::ENOENT.into());
        }
        let mut offset = self.offset();
        *offset = self.ops().read_dir(io, *offset, emit)?;
        drop(offset);
        notify::accessed(&self.path().dentry);
        Ok(())
    }
}

fn add(base: u64, by: i64) -> Result<i64, Errno> {
    i64::try_from(base).ok().and_then(|base| base.checked_add(by)).ok_or(Errno::EINVAL)
}

/// The first bytes of a source.
struct Limited<'a> {
    src: &'a mut dyn Source,
    left: usize,
}

impl Source for Limited<'_> {
    fn remaining(&self) -> usize {
        self.src.remaining().min(self.left)
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let len = buffer.len().min(self.left);
        let done = self.src.take(buffer.get_mut(..len).unwrap_or_default())?;
        self.left -= done.min(self.left);
        Ok(done)
    }

    fn drain_with(
        &mut self,
        max: usize,
        drain: &mut dyn FnMut(&[HostRange<'_>]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let done = self.src.drain_with(max.min(self.left), drain)?;
        self.left -= done.min(self.left);
        Ok(done)
    }
}
