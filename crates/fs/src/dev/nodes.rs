//! What `/dev` holds.

use abi::Errno;
use std::sync::Arc;
use vfs::{Caller, CreateKind, Inode, makedev};

const DEVICES: &[(&[u8], u32, u32, u32)] = &[
    (b"null", 1, 3, 0o666),
    (b"zero", 1, 5, 0o666),
    (b"full", 1, 7, 0o666),
    (b"random", 1, 8, 0o666),
    (b"urandom", 1, 9, 0o666),
    (b"tty", 5, 0, 0o666),
    (b"ptmx", 5, 2, 0o666),
];

const LINKS: &[(&[u8], &[u8])] = &[
    (b"fd", b"/proc/self/fd"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"),
];

/// Mount points.
const DIRECTORIES: &[&[u8]] = &[b"pts", b"shm", b"mqueue"];

/// Fills an empty file system's root with the usual nodes.
///
/// # Errors
/// What the file system says.
pub fn populate(root: &Arc<dyn Inode>, caller: &dyn Caller) -> Result<(), Errno> {
    for (name, major, minor, perm) in DEVICES {
        root.create(caller, name, CreateKind::CharDevice { perm: *perm, rdev: makedev(*major, *minor) })?;
    }
    for (name, target) in LINKS {
        root.create(caller, name, CreateKind::Symlink { target })?;
    }
    for name in DIRECTORIES {
        root.create(caller, name, CreateKind::Directory { perm: 0o755 })?;
    }
    Ok(())
}
