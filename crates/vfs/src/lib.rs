//! The virtual file system: inodes, dentries, mounts, path walks and open file descriptions.
//!
//! A file system implements [`Inode`] and [`FileSystem`]; what an open returns implements [`FileOps`]. Nothing here
//! knows of tasks: the calling task is seen as a [`Caller`].
//!
//! Two rules make whole classes of bugs impossible to write:
//! * [`Inode::open`] returns a new [`OpenFile`] by value, so no driver can hand back an existing description.
//! * Status flags live in [`OpenFile`] only. An operation gets an [`IoCx`] whose `nonblock` is already merged from
//!   `O_NONBLOCK`, `RWF_NOWAIT` and `MSG_DONTWAIT`, never blocks, and answers [`IoError::WouldBlock`].
//!
//! Locks: ranks `OFFSET` to `INODE`, see `lock::rank`.

pub mod access;
pub mod anon;
mod attr;
mod call;
mod caller;
mod creds;
mod dentry;
mod dir;
mod error;
mod executing;
mod file;
pub mod hash;
mod inode;
mod inotify;
mod io;
pub mod locks;
mod mount;
pub mod mountinfo;
mod namespace;
pub mod notify;
pub mod ops;
mod path;
pub mod reactor;
mod special;
#[cfg(test)]
mod testfs;
#[cfg(test)]
mod tests;
pub mod time;
pub mod wait;
mod walk;

pub use attr::{Attr, FileType, SetAttr, SetTime, StatFs, makedev};
pub use call::CallState;
pub use caller::Caller;
pub use creds::{Capabilities, Capability, Credentials};
pub use dentry::{Dentry, DentryCache};
pub use dir::NAME_MAX;
pub use error::IoError;
pub use executing::{Executable, WriteCount};
pub use file::{AsyncState, DirEmit, FileOps, IoCx, OpenFile, OpenFlags, OwnerKind, SignalOwner, WriteAt, Written};
pub use inode::{ALWAYS_READY, CreateKind, FileSystem, Inode, InodeCommon, Link, RenameFlags, XattrFlags};
pub use inotify::{Inotify, InotifyFile};
pub use io::Whence;
pub use mount::{Mount, MountFlags, PathRef};
pub use namespace::{DetachedTree, MountNamespace};
pub use path::{PathText, path_of, path_text};
pub use special::SpecialFiles;
pub use walk::{At, Last, PATH_MAX, Status, WalkCx, WalkFlags};
