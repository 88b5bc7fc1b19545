//! Descriptors that the caller of the sandbox donated: its standard input, output and error.
//!
//! Their descriptions are shared with processes outside. So their status flags are never touched; no read or write waits
//! on the host; a regular file keeps its offset in the host's description, where the caller's shell sees it move. What
//! is a pipe, a socket or a device tells of readiness through a [`Reactor`], one shot at a time, armed when something was
//! wanted and not there.

use abi::Errno;
use abi::raw::{general as c, ioctl};
use host::guestmem::{HostRange, preadv, pwritev, readv, writev};
use host::io::{Sink, Source};
use host::mappable::{Backing, FileId, Mappable, Observers};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FallocateFlags, SeekFrom, Stat, fcntl_getfl, fdatasync, fstat, fsync, major, minor, seek};
use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use vfs::reactor::{Reactor, Watched};
use vfs::time::Timespec;
use vfs::wait::{Events, WaitQueue};
use vfs::{
    Attr, Caller, Dentry, FileOps, FileSystem, FileType, Inode, InodeCommon, IoCx, IoError, Mount, MountFlags,
    OpenFile, OpenFlags, PathRef, SpecialFiles, StatFs, WriteAt, Written, makedev,
};

const RWF_NOWAIT: i32 = c::RWF_NOWAIT as i32;
const RWF_APPEND: i32 = c::RWF_APPEND as i32;
/// How much is written at once to something that may wait although it said that it is ready.
const CAREFUL: usize = c::PIPE_BUF as usize;

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error()).unwrap_or(Errno::EIO)
}

fn attr_of(stat: &Stat) -> Attr {
    let time = |sec: i64, nsec: u64| Timespec { sec, nsec: u32::try_from(nsec).unwrap_or(0) };
    Attr {
        dev: makedev(major(stat.st_dev), minor(stat.st_dev)),
        ino: stat.st_ino,
        kind: FileType::from_mode(stat.st_mode),
        perm: stat.st_mode & 0o7777,
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: makedev(major(stat.st_rdev), minor(stat.st_rdev)),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        blksize: u32::try_from(stat.st_blksize).unwrap_or(4096),
        blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        btime: None,
    }
}

/// A donated descriptor as an inode. Opening it anew (`/dev/stdin`) gives another description of the same thing, which
/// for a regular file starts at its beginning.
pub struct Donated {
    watched: Watched,
    kind: FileType,
    /// Access mode and status flags as the host has them.
    flags: OpenFlags,
    observers: Observers,
    common: InodeCommon,
}

impl Donated {
    fn new(fd: OwnedFd, reactor: &Arc<dyn Reactor>) -> Result<Donated, Errno> {
        let stat = fstat(&fd).map_err(errno)?;
        let flags = OpenFlags::from_bits_retain(fcntl_getfl(&fd).map_err(errno)?.bits());
        let kind = FileType::from_mode(stat.st_mode);
        let waits = matches!(kind, FileType::Fifo | FileType::Socket | FileType::CharDevice | FileType::Anonymous);
        let watched = Watched::new(fd, waits, reactor);
        Ok(Donated { watched, kind, flags, observers: Observers::new(), common: InodeCommon::default() })
    }

    fn fd(&self) -> &Arc<OwnedFd> {
        self.watched.fd()
    }

    fn is_regular(&self) -> bool {
        self.kind == FileType::Regular
    }

    /// Reads once, without waiting.
    fn read_now(&self, ranges: &[HostRange<'_>]) -> Result<usize, Errno> {
        match readv(self.fd().as_fd(), ranges, RWF_NOWAIT) {
            Err(Errno::EOPNOTSUPP) if self.watched.queue().is_none() || self.watched.ready().intersects(READ_ENDS) => {
                readv(self.fd().as_fd(), ranges, 0)
            }
            Err(Errno::EOPNOTSUPP) => Err(Errno::EAGAIN),
            other => other,
        }
    }

    /// Writes once, without waiting.
    fn write_now(&self, ranges: &[HostRange<'_>]) -> Result<usize, Errno> {
        match writev(self.fd().as_fd(), ranges, RWF_NOWAIT) {
            Err(Errno::EOPNOTSUPP) if self.watched.queue().is_none() => writev(self.fd().as_fd(), ranges, 0),
            Err(Errno::EOPNOTSUPP) if self.watched.ready().intersects(WRITE_ENDS) => {
                let first = ranges.first().map(|range| range.slice(0, CAREFUL));
                writev(self.fd().as_fd(), first.as_slice(), 0)
            }
            Err(Errno::EOPNOTSUPP) => Err(Errno::EAGAIN),
            other => other,
        }
    }

    fn open_again(self: &Arc<Self>, at: &PathRef, flags: OpenFlags) -> Result<OpenFile, Errno> {
        if flags.readable() && !self.flags.readable() || flags.writable() && !self.flags.writable() {
            return Err(Errno::EACCES);
        }
        if self.kind == FileType::Socket {
            return Err(Errno::ENXIO);
        }
        let ops = HostFd { donated: self.clone(), own_offset: true };
        Ok(OpenFile::new(at.clone(), flags, Box::new(ops)))
    }
}

const READ_ENDS: Events = Events::READABLE.union(Events::HUP).union(Events::ERR);
const WRITE_ENDS: Events = Events::WRITABLE.union(Events::HUP).union(Events::ERR);

impl Inode for DonatedInode {
    fn attr(&self) -> Result<Attr, Errno> {
        fstat(self.0.fd()).map(|stat| attr_of(&stat)).map_err(errno)
    }

    fn common(&self) -> &InodeCommon {
        &self.0.common
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn set_attr(&self, _: &dyn Caller, set: &vfs::SetAttr) -> Result<(), Errno> {
        let only_size = vfs::SetAttr { size: set.size, mtime: set.mtime, ..vfs::SetAttr::default() };
        match set.size {
            Some(size) if *set == only_size && self.0.flags.writable() => {
                rustix::fs::ftruncate(self.0.fd(), size).map_err(errno)?;
                self.0.observers.invalidate(size..!0xfff, true);
                Ok(())
            }
            _ => Err(Errno::EPERM),
        }
    }

    fn open(&self, at: &PathRef, flags: OpenFlags, _: &dyn Caller) -> Result<OpenFile, Errno> {
        self.0.open_again(at, flags)
    }
}

/// The inode's side of a donated descriptor.
struct DonatedInode(Arc<Donated>);

/// The file system that donated descriptors are shown on.
struct DonatedFs {
    dev: u64,
    root: Arc<DonatedInode>,
}

impl FileSystem for DonatedFs {
    fn type_name(&self) -> &'static str {
        "donated"
    }

    fn dev(&self) -> u64 {
        self.dev
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn statfs(&self) -> Result<StatFs, Errno> {
        let host = rustix::fs::fstatfs(self.root.0.fd()).map_err(errno)?;
        Ok(StatFs {
            magic: u64::try_from(host.f_type).unwrap_or(0),
            block_size: u64::try_from(host.f_bsize).unwrap_or(4096),
            blocks: host.f_blocks,
            blocks_free: host.f_bfree,
            blocks_available: host.f_bavail,
            files: host.f_files,
            files_free: host.f_ffree,
            name_max: u64::try_from(host.f_namelen).unwrap_or(255),
        })
    }
}

/// A donated descriptor as a description, whose flags start as the host's are. `name` is what `/proc/PID/fd` shows.
///
/// # Errors
/// The host's, and `EBADF` for a descriptor that only names a place (`O_PATH`).
pub fn donate(fd: OwnedFd, name: &[u8], reactor: &Arc<dyn Reactor>) -> Result<OpenFile, Errno> {
    let donated = Arc::new(Donated::new(fd, reactor)?);
    let flags = donated.flags;
    if flags.contains(OpenFlags::PATH) {
        return Err(Errno::EBADF);
    }
    let inode = Arc::new(DonatedInode(donated.clone()));
    let fs = Arc::new(DonatedFs { dev: vfs::anon::anonymous_dev(), root: inode.clone() });
    // Its place is not the mount's root, which would be shown as `/`.
    let mount = Mount::new(fs, Dentry::root(inode.clone()), b"none", MountFlags::empty());
    let dentry = Dentry::anonymous(inode, name);
    let ops = HostFd { donated, own_offset: false };
    Ok(OpenFile::new(PathRef { mount, dentry }, flags, Box::new(ops)))
}

/// A description of a donated descriptor.
pub struct HostFd {
    donated: Arc<Donated>,
    /// It was opened anew: its offset is its own.
    own_offset: bool,
}

impl FileOps for HostFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        self.donated.is_regular()
    }

    fn position(&self) -> Option<u64> {
        if self.own_offset || !self.donated.is_regular() {
            return None;
        }
        seek(self.donated.fd(), SeekFrom::Current(0)).ok()
    }

    fn set_position(&self, offset: u64) {
        let _ = seek(self.donated.fd(), SeekFrom::Start(offset));
    }

    fn read(&self, _: &IoCx<'_>, dst: &mut dyn Sink) -> Result<usize, IoError> {
        let max = dst.remaining();
        match dst.fill_with(max, &mut |ranges| self.donated.read_now(ranges)) {
            Err(Errno::EAGAIN) => Err(self.donated.watched.would_block(Events::READABLE)),
            other => Ok(other?),
        }
    }

    fn write(&self, _: &IoCx<'_>, src: &mut dyn Source) -> Result<usize, IoError> {
        let mut done = 0;
        while src.remaining() > 0 {
            let max = src.remaining();
            match src.drain_with(max, &mut |ranges| self.donated.write_now(ranges)) {
                Ok(0) => break,
                Ok(len) => done += len,
                Err(_) if done > 0 => break,
                Err(Errno::EAGAIN) => return Err(self.donated.watched.would_block(Events::WRITABLE)),
                Err(other) => return Err(other.into()),
            }
        }
        Ok(done)
    }

    fn read_at(&self, _: &IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> Result<usize, IoError> {
        let mut done = 0;
        while dst.remaining() > 0 {
            let (max, at) = (dst.remaining(), offset.saturating_add(done as u64));
            match dst.fill_with(max, &mut |ranges| preadv(self.donated.fd().as_fd(), ranges, at, 0)) {
                Ok(0) => break,
                Ok(len) => done += len,
                Err(_) if done > 0 => break,
                Err(other) => return Err(other.into()),
            }
        }
        Ok(done)
    }

    fn write_at(&self, _: &IoCx<'_>, at: WriteAt, src: &mut dyn Source) -> Result<Written, IoError> {
        let fd = self.donated.fd().as_fd();
        let mut done = 0;
        let mut end = match at {
            WriteAt::Offset(offset) => offset,
            WriteAt::End => fstat(fd).map(|s| u64::try_from(s.st_size).unwrap_or(0)).map_err(errno)?,
        };
        while src.remaining() > 0 {
            let (max, from) = (src.remaining(), end);
            let step = src.drain_with(max, &mut |ranges| match at {
                WriteAt::Offset(_) => pwritev(fd, ranges, from, 0),
                WriteAt::End => pwritev(fd, ranges, from, RWF_APPEND),
            });
            match step {
                Ok(0) => break,
                Ok(len) => {
                    done += len;
                    end = end.saturating_add(len as u64);
                }
                Err(_) if done > 0 => break,
                Err(other) => return Err(other.into()),
            }
        }
        if at == WriteAt::End {
            // Others may have appended in between; the end is where ours is too.
            end = fstat(fd).map(|s| u64::try_from(s.st_size).unwrap_or(end)).unwrap_or(end);
        }
        Ok(Written { len: done, end })
    }

    fn seek_data_hole(&self, offset: u64, hole: bool) -> Result<u64, Errno> {
        // The host's offset moves; the caller sets it again from what is returned.
        let fd = self.donated.fd();
        let before = self.own_offset.then(|| seek(fd, SeekFrom::Current(0)));
        let to = if hole { SeekFrom::Hole(offset) } else { SeekFrom::Data(offset) };
        let found = seek(fd, to).map_err(errno);
        if let Some(Ok(before)) = before {
            let _ = seek(fd, SeekFrom::Start(before));
        }
        found
    }

    fn ioctl(&self, _: &OpenFile, caller: &dyn Caller, cmd: u32, arg: u64) -> Result<u64, IoError> {
        use zerocopy::IntoBytes;
        let fd = self.donated.fd().as_fd();
        let host = |error: std::io::Error| error.raw_os_error().and_then(Errno::from_raw).unwrap_or(Errno::ENOTTY);
        match cmd {
            ioctl::FIONREAD => {
                let count = i32::try_from(rustix::io::ioctl_fionread(fd).map_err(errno)?).unwrap_or(i32::MAX);
                caller.copy_out(arg, &count.to_ne_bytes())?;
            }
            ioctl::TCGETS => caller.copy_out(arg, host::terminal::settings(fd).map_err(host)?.as_bytes())?,
            ioctl::TIOCGWINSZ => caller.copy_out(arg, host::terminal::window(fd).map_err(host)?.as_bytes())?,
            _ => return Err(Errno::ENOTTY.into()),
        }
        Ok(0)
    }

    fn readiness(&self) -> Events {
        self.donated.watched.readiness()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        self.donated.watched.queue()
    }

    fn mappable(&self) -> Result<Arc<dyn Mappable>, Errno> {
        if self.donated.is_regular() { Ok(self.donated.clone()) } else { Err(Errno::ENODEV) }
    }

    fn fallocate(&self, caller: &dyn Caller, mode: u32, offset: u64, len: u64) -> Result<(), Errno> {
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        if mode & c::FALLOC_FL_KEEP_SIZE == 0 && end > caller.file_size_limit() {
            return Err(Errno::EFBIG);
        }
        let flags = FallocateFlags::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
        rustix::fs::fallocate(self.donated.fd(), flags, offset, len).map_err(errno)?;
        if mode & (c::FALLOC_FL_COLLAPSE_RANGE | c::FALLOC_FL_INSERT_RANGE) != 0 {
            self.donated.observers.invalidate(offset..u64::MAX, false);
        }
        Ok(())
    }

    fn sync(&self, data_only: bool) -> Result<(), Errno> {
        let fd = self.donated.fd();
        if data_only { fdatasync(fd) } else { fsync(fd) }.map_err(errno)
    }

    fn check_flags(&self, flags: OpenFlags) -> Result<(), Errno> {
        // A description that has `O_DIRECT` on the host keeps it; none gets it here.
        let direct = flags.contains(OpenFlags::DIRECT) && !self.donated.flags.contains(OpenFlags::DIRECT);
        if direct { Err(Errno::EINVAL) } else { Ok(()) }
    }
}

impl Mappable for Donated {
    fn back(&self, range: Range<u64>, write: bool) -> Result<Backing, Errno> {
        if write && !(self.flags.readable() && self.flags.writable()) {
            return Err(Errno::EACCES);
        }
        let end = self.size().next_multiple_of(abi::PAGE_SIZE).min(range.end);
        let len = end.checked_sub(range.start).filter(|len| *len > 0).ok_or(Errno::ENXIO)?;
        Ok(Backing::HostFile { fd: self.fd().clone(), offset: range.start, len })
    }

    fn size(&self) -> u64 {
        fstat(self.fd()).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0))
    }

    fn id(&self) -> FileId {
        fstat(self.fd()).map_or(FileId::default(), |stat| FileId {
            dev_major: major(stat.st_dev),
            dev_minor: minor(stat.st_dev),
            ino: stat.st_ino,
        })
    }

    fn observers(&self) -> &Observers {
        &self.observers
    }
}

/// Opens donated pipes and devices anew, and leaves all others to the sandbox's own drivers.
pub struct WithDonated(pub Arc<dyn SpecialFiles>);

fn donated_at(at: &PathRef) -> Option<&Arc<Donated>> {
    at.inode().as_any().downcast_ref::<DonatedInode>().map(|inode| &inode.0)
}

impl SpecialFiles for WithDonated {
    fn open_fifo(&self, at: &PathRef, flags: OpenFlags, caller: &dyn Caller) -> Result<OpenFile, Errno> {
        match donated_at(at) {
            Some(donated) => donated.open_again(at, flags),
            None => self.0.open_fifo(at, flags, caller),
        }
    }

    fn open_char_device(
        &self,
        at: &PathRef,
        rdev: u64,
        flags: OpenFlags,
        caller: &dyn Caller,
    ) -> Result<OpenFile, Errno> {
        match donated_at(at) {
            Some(donated) => donated.open_again(at, flags),
            None => self.0.open_char_device(at, rdev, flags, caller),
        }
    }
}
