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

pub mod anon;
mod attr;
mod caller;
mod creds;
mod dentry;
mod error;
mod file;
mod inode;
mod mount;
pub mod time;
pub mod wait;

pub use attr::{Attr, FileType, SetAttr, SetTime, StatFs, makedev};
pub use caller::Caller;
pub use creds::{Capabilities, Capability, Credentials};
pub use dentry::{Dentry, DentryCache};
pub use error::IoError;
pub use file::{DirEmit, FileOps, IoCx, OpenFile, OpenFlags, OwnerKind, SignalOwner, WriteAt, Written};
pub use inode::{CreateKind, FileSystem, Inode, InodeCommon, Link, RenameFlags, XattrFlags};
pub use mount::{Mount, MountFlags, MountNamespace, PathRef};
