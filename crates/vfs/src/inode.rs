//! What a file system implements.

use crate::wait::Events;
use crate::{Attr, Caller, FileType, OpenFile, OpenFlags, PathRef, SetAttr, StatFs};
use abi::Errno;
use bitflags::bitflags;
use std::any::Any;
use std::sync::{Arc, OnceLock};

bitflags! {
    /// renameat2(2).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct RenameFlags: u32 {
        #[allow(missing_docs)] const NOREPLACE = 1;
        #[allow(missing_docs)] const EXCHANGE = 2;
        #[allow(missing_docs)] const WHITEOUT = 4;
    }

    /// setxattr(2).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct XattrFlags: u32 {
        #[allow(missing_docs)] const CREATE = 1;
        #[allow(missing_docs)] const REPLACE = 2;
    }
}

/// What a directory is asked to create. `perm` has the umask applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum CreateKind<'a> {
    Regular { perm: u32 },
    Directory { perm: u32 },
    Symlink { target: &'a [u8] },
    Fifo { perm: u32 },
    Socket { perm: u32 },
    CharDevice { perm: u32, rdev: u64 },
    BlockDevice { perm: u32, rdev: u64 },
}

/// Where a symbolic link leads.
pub enum Link {
    /// A path to walk.
    Path(Vec<u8>),
    /// A place, however it may be named (`/proc/PID/fd/N`, `/proc/PID/cwd`).
    Jump(PathRef),
}

/// A mounted file system.
pub trait FileSystem: Send + Sync + Any {
    /// As in /proc/filesystems.
    fn type_name(&self) -> &'static str;

    /// `st_dev` of its inodes.
    fn dev(&self) -> u64;

    /// Its root directory.
    fn root(&self) -> Arc<dyn Inode>;

    /// statfs(2).
    ///
    /// # Errors
    /// `ENOSYS` or an error of the host.
    fn statfs(&self) -> Result<StatFs, Errno>;

    /// The part of a /proc/mounts line after `rw,relatime`, with a comma in front if not empty.
    fn show_options(&self) -> String {
        String::new()
    }

    /// The options of `MS_REMOUNT`, for a file system that has some.
    ///
    /// # Errors
    /// `EINVAL` for an unknown or malformed option; nothing has changed then.
    fn reconfigure(&self, data: &[u8]) -> Result<(), Errno> {
        let _ = data;
        Ok(())
    }

    /// Whether names may come and go without this kernel knowing (a writable host directory, /proc): a cached dentry
    /// is then only used after [`Inode::revalidate`], and a missing name is never remembered.
    fn volatile(&self) -> bool {
        false
    }

    /// Writes back what is cached.
    ///
    /// # Errors
    /// `EIO` and other errors of the host.
    fn sync(&self) -> Result<(), Errno> {
        Ok(())
    }
}

/// State that the VFS keeps with each inode, whatever the file system. Empty until used.
#[derive(Default)]
pub struct InodeCommon {
    slots: OnceLock<Box<Slots>>,
    /// Writers and running programs.
    pub(crate) writers: crate::WriteCount,
}

#[derive(Default)]
struct Slots {
    /// The pipe behind a FIFO, or the socket bound to a name.
    endpoint: OnceLock<Arc<dyn Any + Send + Sync>>,
    /// File locks.
    locks: OnceLock<Arc<dyn Any + Send + Sync>>,
    /// inotify marks.
    marks: OnceLock<Arc<dyn Any + Send + Sync>>,
}

macro_rules! slot {
    ($(#[$doc:meta])* $get:ident, $peek:ident, $field:ident) => {
        $(#[$doc])*
        pub fn $get<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> Arc<T>) -> Option<Arc<T>> {
            let slots = self.slots.get_or_init(Box::default);
            slots.$field.get_or_init(|| make()).clone().downcast::<T>().ok()
        }

        /// The same if it has been made.
        pub fn $peek<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
            self.slots.get()?.$field.get()?.clone().downcast::<T>().ok()
        }
    };
}

impl InodeCommon {
    slot! {
        /// The pipe of a FIFO or the socket bound here, made on first use. `None` if it is of another type.
        endpoint, peek_endpoint, endpoint
    }
    slot! {
        /// The inode's file locks.
        locks, peek_locks, locks
    }
    slot! {
        /// The inode's inotify marks.
        marks, peek_marks, marks
    }
}

/// A file, directory or other node of a file system. Calls on directories are made with the dentry's lock held, names
/// are valid (not empty, `.` or `..`, no slash, at most 255 bytes), and permission has been checked by the VFS.
pub trait Inode: Send + Sync + Any {
    /// Attributes.
    ///
    /// # Errors
    /// Errors of the host.
    fn attr(&self) -> Result<Attr, Errno>;

    /// Its type, which never changes.
    fn kind(&self) -> FileType {
        self.attr().map_or(FileType::Anonymous, |attr| attr.kind)
    }

    /// The VFS's own state of this inode.
    fn common(&self) -> &InodeCommon;

    /// For downcasts within a file system.
    fn as_any(&self) -> &dyn Any;

    /// Changes attributes, and `ctime`.
    ///
    /// # Errors
    /// `EPERM` where the file system does not allow it, `EFBIG`, `ENOSPC`, `EROFS`.
    fn set_attr(&self, caller: &dyn Caller, set: &SetAttr) -> Result<(), Errno> {
        let _ = (caller, set);
        Err(Errno::EPERM)
    }

    /// A file system's own permission check instead of the mode bits; `None` for the usual one.
    fn permission(&self, caller: &dyn Caller, mask: u32) -> Option<Result<(), Errno>> {
        let _ = (caller, mask);
        None
    }

    /// Opens: a new description, by value. `at` is the path by which it was reached. Not called for FIFOs and devices
    /// of file systems that allow device nodes, which the VFS opens itself; nor for `O_PATH`.
    ///
    /// # Errors
    /// `ENXIO`, `EACCES`, `ETXTBSY` and others of open(2).
    fn open(&self, at: &PathRef, flags: OpenFlags, caller: &dyn Caller) -> Result<OpenFile, Errno>;

    /// Finds a child. Caching is the VFS's matter.
    ///
    /// # Errors
    /// `ENOENT`, errors of the host.
    fn lookup(&self, caller: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let _ = (caller, name);
        Err(Errno::ENOTDIR)
    }

    /// Attributes of a child that no dentry is known of, if they can be told without making an inode and none is likely to be
    /// wanted. Not of a directory.
    ///
    /// # Errors
    /// As of [`Inode::lookup`].
    fn glance(&self, name: &[u8]) -> Result<Option<Attr>, Errno> {
        let _ = name;
        Ok(None)
    }

    /// Whether a cached child `name` is still this inode; asked of the child, for volatile file systems.
    fn revalidate(&self, parent: &dyn Inode, name: &[u8]) -> bool {
        let _ = (parent, name);
        true
    }

    /// Creates a child owned by the caller's `fsuid` and `fsgid` (or the directory's group if that has `S_ISGID`).
    ///
    /// # Errors
    /// `EEXIST`, `ENOSPC`, `EPERM` if the file system has no such nodes.
    fn create(&self, caller: &dyn Caller, name: &[u8], kind: CreateKind<'_>) -> Result<Arc<dyn Inode>, Errno> {
        let _ = (caller, name, kind);
        Err(Errno::EPERM)
    }

    /// A regular file without a name (`O_TMPFILE`), which [`Inode::link`] may name later.
    ///
    /// # Errors
    /// `EOPNOTSUPP`.
    fn create_unnamed(&self, caller: &dyn Caller, perm: u32) -> Result<Arc<dyn Inode>, Errno> {
        let _ = (caller, perm);
        Err(Errno::EOPNOTSUPP)
    }

    /// Gives `target`, of the same file system, another name here.
    ///
    /// # Errors
    /// `EEXIST`, `EMLINK`, `EPERM`.
    fn link(&self, caller: &dyn Caller, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        let _ = (caller, name, target);
        Err(Errno::EPERM)
    }

    /// Removes a name that is no directory. `child` is what the name stands for.
    ///
    /// # Errors
    /// `EPERM`, `EROFS`.
    fn unlink(&self, caller: &dyn Caller, name: &[u8], child: &Arc<dyn Inode>) -> Result<(), Errno> {
        let _ = (caller, name, child);
        Err(Errno::EPERM)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOTEMPTY`, `EPERM`, `EROFS`.
    fn rmdir(&self, caller: &dyn Caller, name: &[u8], child: &Arc<dyn Inode>) -> Result<(), Errno> {
        let _ = (caller, name, child);
        Err(Errno::EPERM)
    }

    /// Moves `name` to `new_name` in `new_dir`, a directory of the same file system and perhaps this one. The VFS has
    /// checked types, loops and permission.
    ///
    /// # Errors
    /// `ENOTEMPTY`, `EINVAL` for flags that are not supported, `EPERM`.
    fn rename(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        new_dir: &Arc<dyn Inode>,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let _ = (caller, name, new_dir, new_name, flags);
        Err(Errno::EPERM)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// `EINVAL` if it is none.
    fn read_link(&self, caller: &dyn Caller) -> Result<Link, Errno> {
        let _ = caller;
        Err(Errno::EINVAL)
    }

    /// getxattr(2): the value.
    ///
    /// # Errors
    /// `ENODATA`, `EOPNOTSUPP`.
    fn get_xattr(&self, caller: &dyn Caller, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let _ = (caller, name);
        Err(Errno::EOPNOTSUPP)
    }

    /// setxattr(2), or removexattr(2) for `None`.
    ///
    /// # Errors
    /// `EEXIST`, `ENODATA`, `ENOSPC`, `EOPNOTSUPP`.
    fn set_xattr(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        value: Option<&[u8]>,
        flags: XattrFlags,
    ) -> Result<(), Errno> {
        let _ = (caller, name, value, flags);
        Err(Errno::EOPNOTSUPP)
    }

    /// listxattr(2): the names.
    ///
    /// # Errors
    /// Errors of the host.
    fn list_xattr(&self, caller: &dyn Caller) -> Result<Vec<Vec<u8>>, Errno> {
        let _ = caller;
        Ok(Vec::new())
    }
}

/// Readiness of an object that never blocks.
pub const ALWAYS_READY: Events = Events::READABLE.union(Events::WRITABLE);
