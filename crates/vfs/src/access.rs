//! Permission checks: mode bits, capabilities, sticky directories, read-only mounts.

use crate::{Attr, Caller, Capability, Credentials, FileType, Inode, MountFlags, PathRef};
use abi::Errno;
use abi::raw::general as c;
use std::sync::Arc;

/// Execute a file, search a directory.
pub const MAY_EXEC: u32 = 1;
/// Write.
pub const MAY_WRITE: u32 = 2;
/// Read.
pub const MAY_READ: u32 = 4;

/// The usual check by owner, group and others, and the capabilities that overrule it.
///
/// # Errors
/// `EACCES`.
pub fn generic_permission(creds: &Credentials, attr: &Attr, mask: u32) -> Result<(), Errno> {
    let shift = if creds.fsuid == attr.uid {
        6
    } else if creds.in_group(attr.gid) {
        3
    } else {
        0
    };
    if mask & !(attr.perm >> shift) & 7 == 0 {
        return Ok(());
    }
    let granted = if attr.kind == FileType::Directory {
        (mask & MAY_WRITE == 0 && creds.capable(Capability::DacReadSearch)) || creds.capable(Capability::DacOverride)
    } else {
        (mask == MAY_READ && creds.capable(Capability::DacReadSearch))
            || ((mask & MAY_EXEC == 0 || attr.perm & 0o111 != 0) && creds.capable(Capability::DacOverride))
    };
    if granted { Ok(()) } else { Err(Errno::EACCES) }
}

/// The check of an inode: the file system's own if it has one.
///
/// # Errors
/// `EACCES`, errors of the host.
pub fn inode_permission(
    caller: &dyn Caller,
    creds: &Credentials,
    inode: &Arc<dyn Inode>,
    mask: u32,
) -> Result<(), Errno> {
    match inode.permission(caller, mask) {
        Some(result) => result,
        None => generic_permission(creds, &inode.attr()?, mask),
    }
}

/// Whether a change through this mount is allowed at all.
///
/// # Errors
/// `EROFS`.
pub fn want_write(place: &PathRef) -> Result<(), Errno> {
    if place.mount.flags().contains(MountFlags::RDONLY) { Err(Errno::EROFS) } else { Ok(()) }
}

/// Whether the caller owns the inode or may act as if (`inode_owner_or_capable`).
#[must_use]
pub fn owner_or_capable(creds: &Credentials, attr: &Attr) -> bool {
    creds.fsuid == attr.uid || creds.capable(Capability::Fowner)
}

/// Whether `dir` is sticky and keeps the caller from removing or renaming `victim` in it.
///
/// # Errors
/// `EPERM`.
pub fn check_sticky(creds: &Credentials, dir: &Attr, victim: &Attr) -> Result<(), Errno> {
    let free = dir.perm & c::S_ISVTX == 0
        || creds.fsuid == victim.uid
        || creds.fsuid == dir.uid
        || creds.capable(Capability::Fowner);
    if free { Ok(()) } else { Err(Errno::EPERM) }
}

/// The permission bits left after a change of contents or owner, if any are lost: `S_ISUID` always, `S_ISGID` if it
/// means what it says (`S_IXGRP`) or the caller is not of the group.
#[must_use]
pub fn perm_without_privileges(creds: &Credentials, attr: &Attr) -> Option<u32> {
    if attr.kind == FileType::Directory {
        return None;
    }
    let mut perm = attr.perm & !c::S_ISUID;
    let own_group = creds.in_group(attr.gid) || creds.capable(Capability::Fsetid);
    if perm & c::S_ISGID != 0 && (perm & c::S_IXGRP != 0 || !own_group) {
        perm &= !c::S_ISGID;
    }
    (perm != attr.perm).then_some(perm)
}

/// The permission bits of a new node in `dir`: without the umask's, with `S_ISGID` as a set-gid directory wants it.
#[must_use]
pub fn perm_of_new(creds: &Credentials, dir: &Attr, perm: u32, umask: u32, directory: bool) -> u32 {
    let perm = perm & !umask;
    if dir.perm & c::S_ISGID == 0 {
        return perm;
    }
    if directory {
        return perm | c::S_ISGID;
    }
    let executable = perm & (c::S_ISGID | c::S_IXGRP) == c::S_ISGID | c::S_IXGRP;
    if executable && !creds.in_group(dir.gid) && !creds.capable(Capability::Fsetid) {
        return perm & !c::S_ISGID;
    }
    perm
}
