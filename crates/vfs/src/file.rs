//! Open file descriptions.
//!
//! [`OpenFile`] holds what open(2) calls the open file description: access mode, status flags, offset, signal owner.
//! [`FileOps`] is the object behind it. `dup`, `fork` and `SCM_RIGHTS` share an `Arc<OpenFile>`; every open makes a new
//! one.

use crate::wait::{Events, WaitQueue};
use crate::{Attr, CallState, Caller, FileType, IoError, PathRef, locks, notify};
use abi::Errno;
use abi::raw::general as c;
use bitflags::bitflags;
use host::io::{Sink, Source};
use host::mappable::Mappable;
use lock::{Mutex, rank};
use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

bitflags! {
    /// Flags of open(2), by their x86-64 values.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    #[allow(missing_docs)]
    pub struct OpenFlags: u32 {
        const WRONLY = c::O_WRONLY;
        const RDWR = c::O_RDWR;
        const CREAT = c::O_CREAT;
        const EXCL = c::O_EXCL;
        const NOCTTY = c::O_NOCTTY;
        const TRUNC = c::O_TRUNC;
        const APPEND = c::O_APPEND;
        const NONBLOCK = c::O_NONBLOCK;
        const DSYNC = c::O_DSYNC;
        const ASYNC = c::FASYNC;
        const DIRECT = c::O_DIRECT;
        const LARGEFILE = 0o100_000;
        const DIRECTORY = c::O_DIRECTORY;
        const NOFOLLOW = c::O_NOFOLLOW;
        const NOATIME = c::O_NOATIME;
        const CLOEXEC = c::O_CLOEXEC;
        /// `__O_SYNC`; `O_SYNC` is this and `DSYNC`.
        const SYNC = 0o4_000_000;
        const PATH = c::O_PATH;
        /// `__O_TMPFILE`; `O_TMPFILE` is this and `DIRECTORY`.
        const TMPFILE = 0o20_000_000;
    }
}

impl OpenFlags {
    /// What `F_SETFL` may change (`SETFL_MASK`).
    pub const SETTABLE: OpenFlags = OpenFlags::APPEND
        .union(OpenFlags::NONBLOCK)
        .union(OpenFlags::ASYNC)
        .union(OpenFlags::DIRECT)
        .union(OpenFlags::NOATIME);

    /// What `F_GETFL` forgets: flags that only matter while opening.
    const CREATION: OpenFlags = OpenFlags::CREAT
        .union(OpenFlags::EXCL)
        .union(OpenFlags::NOCTTY)
        .union(OpenFlags::TRUNC)
        .union(OpenFlags::CLOEXEC);

    /// Access mode allows reading.
    #[must_use]
    pub fn readable(self) -> bool {
        !self.contains(OpenFlags::PATH) && matches!(self.bits() & c::O_ACCMODE, c::O_RDONLY | c::O_RDWR)
    }

    /// Access mode allows writing.
    #[must_use]
    pub fn writable(self) -> bool {
        !self.contains(OpenFlags::PATH) && matches!(self.bits() & c::O_ACCMODE, c::O_WRONLY | c::O_RDWR)
    }
}

/// One call on a file.
pub struct IoCx<'a> {
    /// Who calls.
    pub caller: &'a dyn Caller,
    /// Whether the caller will not wait. Merged from all flags that say so; operations look nowhere else. They never
    /// wait in any case; some answer differently when nobody will.
    pub nonblock: bool,
    /// `O_DSYNC` or `RWF_DSYNC` and the like: data must be on the medium before the call returns.
    pub sync: bool,
    /// What the operation keeps over the waits of this call.
    pub call: &'a CallState,
}

/// Where a write goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteAt {
    /// This offset.
    Offset(u64),
    /// The end of the file as it is then (`O_APPEND`).
    End,
}

/// A write's outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// Bytes written, at least one unless none were asked for.
    pub len: usize,
    /// The offset after them.
    pub end: u64,
}

/// Takes directory entries: name, inode number, type, and the position after the entry. Returns whether it took the
/// entry; `false` ends the listing before it.
pub type DirEmit<'a> = dyn FnMut(&[u8], u64, FileType, u64) -> bool + 'a;

/// The object behind an open file description. No operation blocks. A file is either *seekable* (it implements
/// `read_at` and `write_at`, and its descriptions have offsets) or a *stream* (it implements `read` and `write`).
pub trait FileOps: Send + Sync + Any {
    /// For downcasts to the concrete type (sockets, epoll, pipes).
    fn as_any(&self) -> &dyn Any;

    /// Attributes, if they are not those of the inode it was opened by.
    fn attr(&self) -> Option<Result<Attr, Errno>> {
        None
    }

    /// Whether it has offsets.
    fn seekable(&self) -> bool {
        false
    }

    /// What every seek comes to, if offsets mean nothing to it (`null_lseek`).
    fn seek_ignored(&self) -> Option<u64> {
        None
    }

    /// The offset, if it is kept elsewhere than in the description (one that is shared with the host).
    fn position(&self) -> Option<u64> {
        None
    }

    /// Moves the offset that [`FileOps::position`] tells.
    fn set_position(&self, offset: u64) {
        let _ = offset;
    }

    /// Called in the usual blocking loop once after open, for what waits in open(2) (FIFOs).
    ///
    /// # Errors
    /// [`IoError::WouldBlock`] to wait further.
    fn finish_open(&self, io: &IoCx<'_>) -> Result<(), IoError> {
        let _ = io;
        Ok(())
    }

    /// Reads from a stream. Zero is end of file.
    ///
    /// # Errors
    /// Those of read(2).
    fn read(&self, io: &IoCx<'_>, dst: &mut dyn Sink) -> Result<usize, IoError> {
        let _ = (io, dst);
        Err(Errno::EINVAL.into())
    }

    /// Writes to a stream.
    ///
    /// # Errors
    /// Those of write(2); `EPIPE` makes the caller raise `SIGPIPE`.
    fn write(&self, io: &IoCx<'_>, src: &mut dyn Source) -> Result<usize, IoError> {
        let _ = (io, src);
        Err(Errno::EINVAL.into())
    }

    /// Reads at an offset.
    ///
    /// # Errors
    /// Those of pread(2).
    fn read_at(&self, io: &IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> Result<usize, IoError> {
        let _ = (io, offset, dst);
        Err(Errno::ESPIPE.into())
    }

    /// Writes at an offset.
    ///
    /// # Errors
    /// Those of pwrite(2).
    fn write_at(&self, io: &IoCx<'_>, at: WriteAt, src: &mut dyn Source) -> Result<Written, IoError> {
        let _ = (io, at, src);
        Err(Errno::ESPIPE.into())
    }

    /// The end of the file for `SEEK_END`, where that is not the inode's size.
    fn seek_end(&self) -> Option<u64> {
        None
    }

    /// `SEEK_DATA` and `SEEK_HOLE`.
    ///
    /// # Errors
    /// `ENXIO` beyond the end, `EINVAL` if not supported.
    fn seek_data_hole(&self, offset: u64, hole: bool) -> Result<u64, Errno> {
        let _ = (offset, hole);
        Err(Errno::EINVAL)
    }

    /// Lists a directory from position `pos` (0 is the start) until `emit` declines; returns the new position.
    ///
    /// # Errors
    /// `ENOTDIR`, `ENOENT` if it was removed.
    fn read_dir(&self, io: &IoCx<'_>, pos: u64, emit: &mut DirEmit<'_>) -> Result<u64, Errno> {
        let _ = (io, pos, emit);
        Err(Errno::ENOTDIR)
    }

    /// ioctl(2), for commands that the system call does not serve itself (`FIONBIO`, `FIOASYNC`, `FIOCLEX`, …).
    ///
    /// # Errors
    /// `ENOTTY` for commands it does not know.
    fn ioctl(&self, file: &OpenFile, caller: &dyn Caller, cmd: u32, arg: u64) -> Result<u64, IoError> {
        let _ = (file, caller, cmd, arg);
        Err(Errno::ENOTTY.into())
    }

    /// What is ready now.
    fn readiness(&self) -> Events {
        crate::inode::ALWAYS_READY
    }

    /// Who is told when that changes; `None` for files that are always ready (which epoll refuses).
    fn wait_queue(&self) -> Option<&WaitQueue> {
        None
    }

    /// What mmap(2) maps.
    ///
    /// # Errors
    /// `ENODEV` if it can't be mapped.
    fn mappable(&self) -> Result<Arc<dyn Mappable>, Errno> {
        Err(Errno::ENODEV)
    }

    /// fallocate(2) with checked arguments.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `ENOSPC`, `EFBIG`.
    fn fallocate(&self, caller: &dyn Caller, mode: u32, offset: u64, len: u64) -> Result<(), Errno> {
        let _ = (caller, mode, offset, len);
        Err(Errno::EOPNOTSUPP)
    }

    /// fsync(2) or, with `data_only`, fdatasync(2).
    ///
    /// # Errors
    /// `EINVAL` for files that have no medium.
    fn sync(&self, data_only: bool) -> Result<(), Errno> {
        let _ = data_only;
        Err(Errno::EINVAL)
    }

    /// Called before status flags change.
    ///
    /// # Errors
    /// `EINVAL` to refuse them (`O_DIRECT` where it has no meaning).
    fn check_flags(&self, flags: OpenFlags) -> Result<(), Errno> {
        if flags.contains(OpenFlags::DIRECT) { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// Status flags have changed to these, for objects whose kind of operation one of them chooses (`O_DIRECT` on pipes).
    fn flags_changed(&self, flags: OpenFlags) {
        let _ = flags;
    }

    /// Who gets `SIGIO` if `O_ASYNC` is set and nobody was named (terminals).
    fn default_owner(&self, caller: &dyn Caller) -> Option<OwnerKind> {
        let _ = caller;
        None
    }

    /// Whether `O_ASYNC` may change (a terminal that was hung up refuses).
    ///
    /// # Errors
    /// `ENOTTY`.
    fn check_async(&self) -> Result<(), Errno> {
        Ok(())
    }

    /// One descriptor of it was closed (for POSIX locks and the like).
    fn flush(&self, caller: &dyn Caller) {
        let _ = caller;
    }

    /// The last reference is gone: peers must learn of it now.
    fn release(&self, flags: OpenFlags) {
        let _ = flags;
    }

    /// Lines for /proc/PID/fdinfo after the common ones.
    fn fdinfo(&self) -> String {
        String::new()
    }
}

/// Whom `SIGIO` goes to (`F_SETOWN_EX`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum OwnerKind {
    Thread(i32),
    Process(i32),
    Group(i32),
}

/// `F_SETOWN`, `F_SETSIG`: whom to signal, and as whom (Linux checks the setter's ids when it sends).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignalOwner {
    /// To whom.
    pub owner: OwnerKind,
    /// The setter's real uid.
    pub uid: u32,
    /// The setter's effective uid.
    pub euid: u32,
}

/// Keeps the `SIGIO` registration of a description; the kernel's own type.
pub type AsyncState = Box<dyn Any + Send + Sync>;

/// An open file description.
pub struct OpenFile {
    id: u64,
    path: PathRef,
    ops: Box<dyn FileOps>,
    /// All flags that `F_GETFL` shows, the access mode among them, which never changes.
    flags: AtomicU32,
    offset: Mutex<u64>,
    /// `F_SETOWN`.
    pub owner: Mutex<Option<SignalOwner>>,
    /// `F_SETSIG`, 0 for `SIGIO`.
    pub owner_signal: AtomicU32,
    /// `O_ASYNC`.
    pub async_state: Mutex<Option<AsyncState>>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl OpenFile {
    /// A new description of `ops`, reached by `path`. `O_LARGEFILE` is not added: open(2) does that, pipe(2) does not.
    #[must_use]
    pub fn new(path: PathRef, flags: OpenFlags, ops: Box<dyn FileOps>) -> OpenFile {
        if counts_as_writer(&path, flags) {
            path.mount.add_writer();
            path.inode().common().writers.add_writer();
        }
        OpenFile {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            path,
            ops,
            flags: AtomicU32::new((flags - OpenFlags::CREATION).bits()),
            offset: Mutex::new(rank::OFFSET, 0),
            owner: Mutex::new(rank::LEAF, None),
            owner_signal: AtomicU32::new(0),
            async_state: Mutex::new(rank::FILE_OBJECT, None),
        }
    }

    /// Differs between any two descriptions of one sandbox, for ever.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The path by which it was opened.
    #[must_use]
    pub fn path(&self) -> &PathRef {
        &self.path
    }

    /// The object behind it.
    #[must_use]
    pub fn ops(&self) -> &dyn FileOps {
        &*self.ops
    }

    /// The object as its concrete type.
    #[must_use]
    pub fn ops_as<T: FileOps>(&self) -> Option<&T> {
        self.ops.as_any().downcast_ref()
    }

    /// What `F_GETFL` returns.
    #[must_use]
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Sets those flags of `mask` that are in `value` and clears the others of `mask`. `F_SETFL`, `FIONBIO` and
    /// `FIOASYNC` all come here.
    ///
    /// # Errors
    /// What the object says of the new flags.
    pub fn update_flags(&self, mask: OpenFlags, value: OpenFlags) -> Result<(), Errno> {
        let mask = mask & OpenFlags::SETTABLE;
        self.ops.check_flags(value & mask)?;
        let mut old = self.flags.load(Ordering::Relaxed);
        loop {
            let new = (old & !mask.bits()) | (value & mask).bits();
            match self.flags.compare_exchange_weak(old, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    self.ops.flags_changed(OpenFlags::from_bits_retain(new));
                    return Ok(());
                }
                Err(now) => old = now,
            }
        }
    }

    /// Adds flags that matter to `F_GETFL` only.
    pub fn add_flags(&self, flags: OpenFlags) {
        self.flags.fetch_or(flags.bits(), Ordering::Relaxed);
    }

    /// The offset, locked. Held over a read or write that uses and moves it, as Linux holds `f_pos_lock`.
    pub fn offset(&self) -> Offset<'_> {
        let mut held = self.offset.lock();
        let elsewhere = self.ops.position();
        if let Some(position) = elsewhere {
            *held = position;
        }
        Offset { held, elsewhere: elsewhere.map(|position| (&*self.ops, position)) }
    }

    /// Attributes: the object's own, else the inode's.
    ///
    /// # Errors
    /// Errors of the host.
    pub fn attr(&self) -> Result<Attr, Errno> {
        match self.ops.attr() {
            Some(attr) => attr,
            None => self.path.inode().attr(),
        }
    }

    /// Whether reads are allowed.
    #[must_use]
    pub fn readable(&self) -> bool {
        self.flags().readable()
    }

    /// Whether writes are allowed.
    #[must_use]
    pub fn writable(&self) -> bool {
        self.flags().writable()
    }

    /// Opened with `O_PATH`: good for nothing but naming a place.
    #[must_use]
    pub fn is_path(&self) -> bool {
        self.flags().contains(OpenFlags::PATH)
    }
}

/// A description's offset, locked.
pub struct Offset<'a> {
    held: lock::MutexGuard<'a, u64>,
    /// Who keeps it instead, and what it was.
    elsewhere: Option<(&'a dyn FileOps, u64)>,
}

impl Deref for Offset<'_> {
    type Target = u64;

    fn deref(&self) -> &u64 {
        &self.held
    }
}

impl DerefMut for Offset<'_> {
    fn deref_mut(&mut self) -> &mut u64 {
        &mut self.held
    }
}

impl Drop for Offset<'_> {
    fn drop(&mut self) {
        if let Some((ops, old)) = self.elsewhere
            && old != *self.held
        {
            ops.set_position(*self.held);
        }
    }
}

/// Whether a description keeps its mount from becoming read-only and its inode from running.
fn counts_as_writer(path: &PathRef, flags: OpenFlags) -> bool {
    flags.writable() && path.dentry.kind() == FileType::Regular
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        *self.async_state.get_mut() = None;
        if counts_as_writer(&self.path, self.flags()) {
            self.path.mount.remove_writer();
            self.path.inode().common().writers.remove_writer();
        }
        locks::release_description(self.path.inode(), self.id);
        if notify::active() && !self.is_path() {
            notify::closed(self);
        }
        self.ops.release(self.flags());
    }
}
