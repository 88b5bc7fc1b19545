//! Attributes: stat(2), chmod(2), chown(2), utimensat(2), truncate(2), access(2), readlink(2), statfs(2).

use crate::access::{self, MAY_EXEC, MAY_WRITE};
use crate::walk::WalkCx;
use crate::{
    Capabilities, Capability, Credentials, FileType, Link, MountFlags, PathRef, SetAttr, SetTime, StatFs, notify, path,
};
use abi::Errno;
use abi::raw::general as c;
use std::sync::Arc;

fn change(cx: &WalkCx<'_>, place: &PathRef, set: &SetAttr) -> Result<(), Errno> {
    place.inode().set_attr(cx.caller, set)?;
    notify::attributes(&place.dentry);
    Ok(())
}

/// fchmodat(2).
///
/// # Errors
/// `EPERM` for who does not own it, `EROFS`, `EOPNOTSUPP` for a symbolic link.
pub fn chmod(cx: &WalkCx<'_>, place: &PathRef, mode: u32) -> Result<(), Errno> {
    access::want_write(place)?;
    let attr = place.inode().attr()?;
    if !access::owner_or_capable(&cx.creds, &attr) {
        return Err(Errno::EPERM);
    }
    if attr.kind == FileType::Symlink {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut perm = mode & 0o7777;
    if !cx.creds.in_group(attr.gid) && !cx.creds.capable(Capability::Fsetid) {
        perm &= !c::S_ISGID;
    }
    change(cx, place, &SetAttr { perm: Some(perm), ..SetAttr::default() })
}

/// fchownat(2); `None` leaves an id as it is.
///
/// # Errors
/// `EPERM`, `EROFS`.
pub fn chown(cx: &WalkCx<'_>, place: &PathRef, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
    access::want_write(place)?;
    let attr = place.inode().attr()?;
    let creds = &cx.creds;
    let owner = creds.fsuid == attr.uid;
    let uid_foreign = uid.is_some_and(|uid| !owner || uid != attr.uid);
    let gid_foreign = gid.is_some_and(|gid| !owner || gid != attr.gid && !creds.in_group(gid));
    if (uid_foreign || gid_foreign) && !creds.capable(Capability::Chown) {
        return Err(Errno::EPERM);
    }
    let perm = access::perm_without_privileges(creds, &attr);
    change(cx, place, &SetAttr { uid, gid, perm, ..SetAttr::default() })
}

/// utimensat(2): `None` for both times now, inner `None` for `UTIME_OMIT`.
///
/// # Errors
/// `EACCES` or `EPERM`, `EROFS`.
pub fn set_times(cx: &WalkCx<'_>, place: &PathRef, times: Option<[Option<SetTime>; 2]>) -> Result<(), Errno> {
    if times == Some([None, None]) {
        return Ok(());
    }
    access::want_write(place)?;
    let attr = place.inode().attr()?;
    let now = [Some(SetTime::Now), Some(SetTime::Now)];
    let times = times.unwrap_or(now);
    if !access::owner_or_capable(&cx.creds, &attr) {
        if times != now {
            return Err(Errno::EPERM);
        }
        cx.permission(place, MAY_WRITE)?;
    }
    change(cx, place, &SetAttr { atime: times[0], mtime: times[1], ..SetAttr::default() })
}

/// truncate(2).
///
/// # Errors
/// `EISDIR`, `EINVAL` for what is no regular file, `EROFS`, `EACCES`, `EFBIG`.
pub fn truncate(cx: &WalkCx<'_>, place: &PathRef, size: u64) -> Result<(), Errno> {
    match place.dentry.kind() {
        FileType::Regular => {}
        FileType::Directory => return Err(Errno::EISDIR),
        _ => return Err(Errno::EINVAL),
    }
    access::want_write(place)?;
    cx.permission(place, MAY_WRITE)?;
    place.inode().common().writers.check()?;
    set_size(cx, place, size)
}

/// Sets the size, permission having been checked; also for ftruncate(2).
pub(crate) fn set_size(cx: &WalkCx<'_>, place: &PathRef, size: u64) -> Result<(), Errno> {
    resize(cx.caller, &cx.creds, place, size)
}

/// Sets the size of a file that is open for writing (ftruncate(2)).
///
/// # Errors
/// `EFBIG`, errors of the file system.
pub fn resize(caller: &dyn crate::Caller, creds: &Credentials, place: &PathRef, size: u64) -> Result<(), Errno> {
    if size > caller.file_size_limit() {
        return Err(Errno::EFBIG);
    }
    let perm = if creds.capable(Capability::Fsetid) {
        None
    } else {
        access::perm_without_privileges(creds, &place.inode().attr()?)
    };
    place.inode().set_attr(caller, &SetAttr { size: Some(size), perm, ..SetAttr::default() })?;
    notify::modified(&place.dentry);
    Ok(())
}

impl Credentials {
    /// These credentials as access(2) uses them: with the real ids, and the capabilities that go with them.
    #[must_use]
    pub fn for_access(&self) -> Arc<Credentials> {
        const NO_SETUID_FIXUP: u32 = 1 << 2;
        let mut real = self.clone();
        real.fsuid = self.ruid;
        real.fsgid = self.rgid;
        if self.securebits & NO_SETUID_FIXUP == 0 {
            real.effective = if self.ruid == 0 { self.permitted } else { Capabilities::NONE };
        }
        Arc::new(real)
    }
}

/// faccessat2(2) with `mask` of `R_OK`, `W_OK` and `X_OK`; `cx` holds the credentials to use.
///
/// # Errors
/// `EACCES`, `EROFS`.
pub fn access(cx: &WalkCx<'_>, place: &PathRef, mask: u32) -> Result<(), Errno> {
    if mask == 0 {
        return Ok(());
    }
    let kind = place.dentry.kind();
    if mask & MAY_EXEC != 0 && kind == FileType::Regular && place.mount.flags().contains(MountFlags::NOEXEC) {
        return Err(Errno::EACCES);
    }
    cx.permission(place, mask)?;
    let special = matches!(kind, FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket);
    if mask & MAY_WRITE != 0 && !special {
        access::want_write(place)?;
    }
    Ok(())
}

/// readlink(2).
///
/// # Errors
/// `EINVAL` if it is no symbolic link.
pub fn read_link(cx: &WalkCx<'_>, place: &PathRef) -> Result<Vec<u8>, Errno> {
    if place.dentry.kind() != FileType::Symlink {
        return Err(Errno::EINVAL);
    }
    match place.inode().read_link(cx.caller)? {
        Link::Path(path) => Ok(path),
        Link::Jump(there) => Ok(path::path_of(&there, &cx.root)),
    }
}

/// statfs(2): what the file system says, and the mount's flags as `ST_*`.
///
/// # Errors
/// Errors of the host.
pub fn statfs(place: &PathRef) -> Result<(StatFs, u64), Errno> {
    const ST_VALID: u64 = 0x20;
    let flags = place.mount.flags();
    let mut st = flags.bits() & 0xf;
    if flags.contains(MountFlags::NOATIME) {
        st |= 0x400;
    }
    if flags.contains(MountFlags::NODIRATIME) {
        st |= 0x800;
    }
    if flags.contains(MountFlags::RELATIME) {
        st |= 0x1000;
    }
    Ok((place.mount.fs().statfs()?, st | ST_VALID))
}
