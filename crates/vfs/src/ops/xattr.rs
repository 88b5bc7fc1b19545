//! Extended attributes (xattr(7)).

use crate::access::{self, MAY_READ, MAY_WRITE};
use crate::walk::WalkCx;
use crate::{Capability, FileType, PathRef, XattrFlags, notify};
use abi::Errno;
use abi::raw::general as c;

/// Longest name.
const NAME_MAX: usize = 255;
/// Largest value.
const SIZE_MAX: usize = 65536;

fn check_name(name: &[u8]) -> Result<(), Errno> {
    if name.is_empty() || name.len() > NAME_MAX { Err(Errno::ERANGE) } else { Ok(()) }
}

/// The rules of a name's namespace (`xattr_permission`).
fn check_namespace(cx: &WalkCx<'_>, place: &PathRef, name: &[u8], mask: u32) -> Result<(), Errno> {
    let write = mask & MAY_WRITE != 0;
    let denied = if write { Errno::EPERM } else { Errno::ENODATA };
    if write {
        access::want_write(place)?;
    }
    if [&b"user."[..], b"trusted.", b"security."].contains(&name) {
        return Err(Errno::EINVAL);
    }
    if name.starts_with(b"security.") || name.starts_with(b"system.") {
        return Ok(());
    }
    if name.starts_with(b"trusted.") {
        return if cx.creds.capable(Capability::SysAdmin) { Ok(()) } else { Err(denied) };
    }
    if !name.starts_with(b"user.") {
        return Err(Errno::EOPNOTSUPP);
    }
    let kind = place.dentry.kind();
    if !matches!(kind, FileType::Regular | FileType::Directory) {
        return Err(denied);
    }
    if write && kind == FileType::Directory {
        let attr = place.inode().attr()?;
        if attr.perm & c::S_ISVTX != 0 && !access::owner_or_capable(&cx.creds, &attr) {
            return Err(Errno::EPERM);
        }
    }
    cx.permission(place, mask)
}

/// Who may change the attributes that belong to the system.
fn check_system_write(cx: &WalkCx<'_>, place: &PathRef, name: &[u8]) -> Result<(), Errno> {
    let allowed = if name == b"security.capability" {
        cx.creds.capable(Capability::Setfcap)
    } else if name.starts_with(b"security.") {
        cx.creds.capable(Capability::SysAdmin)
    } else if name.starts_with(b"system.") {
        access::owner_or_capable(&cx.creds, &place.inode().attr()?)
    } else {
        true
    };
    if allowed { Ok(()) } else { Err(Errno::EPERM) }
}

/// getxattr(2).
///
/// # Errors
/// Those of getxattr(2).
pub fn get_xattr(cx: &WalkCx<'_>, place: &PathRef, name: &[u8]) -> Result<Vec<u8>, Errno> {
    check_name(name)?;
    check_namespace(cx, place, name, MAY_READ)?;
    place.inode().get_xattr(cx.caller, name)
}

/// setxattr(2).
///
/// # Errors
/// Those of setxattr(2).
pub fn set_xattr(cx: &WalkCx<'_>, place: &PathRef, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<(), Errno> {
    if value.len() > SIZE_MAX {
        return Err(Errno::E2BIG);
    }
    write(cx, place, name, Some(value), flags)
}

/// removexattr(2).
///
/// # Errors
/// Those of removexattr(2).
pub fn remove_xattr(cx: &WalkCx<'_>, place: &PathRef, name: &[u8]) -> Result<(), Errno> {
    write(cx, place, name, None, XattrFlags::empty())
}

fn write(cx: &WalkCx<'_>, place: &PathRef, name: &[u8], value: Option<&[u8]>, flags: XattrFlags) -> Result<(), Errno> {
    check_name(name)?;
    check_namespace(cx, place, name, MAY_WRITE)?;
    check_system_write(cx, place, name)?;
    place.inode().set_xattr(cx.caller, name, value, flags)?;
    notify::attributes(&place.dentry);
    Ok(())
}

/// listxattr(2): the names, each ended by a zero byte. `trusted.` ones only for who may read them.
///
/// # Errors
/// `E2BIG`, errors of the host.
pub fn list_xattr(cx: &WalkCx<'_>, place: &PathRef) -> Result<Vec<u8>, Errno> {
    let admin = cx.creds.capable(Capability::SysAdmin);
    let mut list = Vec::new();
    for name in place.inode().list_xattr(cx.caller)? {
        if admin || !name.starts_with(b"trusted.") {
            list.extend_from_slice(&name);
            list.push(0);
        }
    }
    if list.len() > SIZE_MAX { Err(Errno::E2BIG) } else { Ok(list) }
}
