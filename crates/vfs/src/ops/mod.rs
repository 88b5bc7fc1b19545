//! The operations of the VFS: each checks what Linux checks, in Linux's order, and then asks the file system.
//!
//! Those that make or remove names take an [`crate::At`]; those that work on an existing node take its place, which
//! [`crate::WalkCx::resolve`] finds.

mod attrs;
mod create;
mod open;
mod remove;
mod rename;
mod xattr;

pub use attrs::{access, chmod, chown, read_link, resize, set_times, statfs, truncate};
pub use create::{link, mkdir, mknod, symlink};
pub use open::{OpenHow, open, open_exec, open_path};
pub use remove::{rmdir, unlink};
pub use rename::rename;
pub use xattr::{get_xattr, list_xattr, remove_xattr, set_xattr};
