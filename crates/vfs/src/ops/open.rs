//! openat2(2).

use super::attrs::set_size;
use super::create::{may_create, new_perm};
use crate::access::{self, MAY_EXEC, MAY_READ, MAY_WRITE};
use crate::dir::Dir;
use crate::walk::{At, Last, WalkCx, WalkFlags, Walker};
use crate::{CreateKind, Dentry, FileOps, FileType, MountFlags, OpenFile, OpenFlags, PathRef, notify};
use abi::Errno;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How to open.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenHow {
    /// `O_*`.
    pub flags: OpenFlags,
    /// Permission bits of a new file.
    pub mode: u32,
    /// `RESOLVE_*`; `FOLLOW` and `DIRECTORY` come from the flags.
    pub resolve: WalkFlags,
}

/// The object behind an `O_PATH` description.
struct PathOnly;

impl FileOps for PathOnly {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The permission that an access mode asks for.
fn access_mask(flags: OpenFlags) -> u32 {
    let mut mask = match flags.bits() & 3 {
        0 => MAY_READ,
        1 => MAY_WRITE,
        _ => MAY_READ | MAY_WRITE,
    };
    if flags.contains(OpenFlags::TRUNC) {
        mask |= MAY_WRITE;
    }
    mask
}

fn check_flags(how: &mut OpenHow) -> Result<(), Errno> {
    let flags = how.flags;
    if flags.contains(OpenFlags::TMPFILE) {
        let shape = flags.contains(OpenFlags::DIRECTORY) && !flags.contains(OpenFlags::CREAT);
        if !shape || access_mask(flags) & MAY_WRITE == 0 {
            return Err(Errno::EINVAL);
        }
    } else if flags.contains(OpenFlags::DIRECTORY | OpenFlags::CREAT) {
        return Err(Errno::EINVAL);
    }
    if flags.contains(OpenFlags::PATH) {
        how.flags &= OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::PATH | OpenFlags::CLOEXEC;
    }
    if flags.contains(OpenFlags::SYNC) {
        how.flags |= OpenFlags::DSYNC;
    }
    if flags.contains(OpenFlags::CREAT | OpenFlags::EXCL) {
        how.flags |= OpenFlags::NOFOLLOW;
    }
    Ok(())
}

/// Opens. What then waits for a peer does so in [`FileOps::finish_open`].
///
/// # Errors
/// Those of openat2(2).
pub fn open(cx: &WalkCx<'_>, at: At<'_>, mut how: OpenHow) -> Result<OpenFile, Errno> {
    check_flags(&mut how)?;
    let flags = how.flags;
    let mut walk = how.resolve;
    walk.set(WalkFlags::FOLLOW, !flags.contains(OpenFlags::NOFOLLOW));
    walk.set(WalkFlags::DIRECTORY, flags.contains(OpenFlags::DIRECTORY));
    if flags.contains(OpenFlags::TMPFILE) {
        return open_unnamed(cx, &cx.resolve(at, walk | WalkFlags::DIRECTORY)?, &how);
    }
    if flags.contains(OpenFlags::PATH) {
        return Ok(open_path(cx.resolve(at, walk)?, flags));
    }
    if !flags.contains(OpenFlags::CREAT) {
        return open_place(cx, &cx.resolve(at, walk)?, flags, false);
    }
    let (place, created) = find_or_create(cx, at, walk, &how)?;
    if !created {
        if flags.contains(OpenFlags::EXCL) {
            return Err(Errno::EEXIST);
        }
        if place.dentry.is_dir() {
            return Err(Errno::EISDIR);
        }
    }
    open_place(cx, &place, flags, created)
}

/// `O_PATH` of what is at `place`.
#[must_use]
pub fn open_path(place: PathRef, flags: OpenFlags) -> OpenFile {
    OpenFile::new(place, flags, Box::new(PathOnly))
}

/// `O_CREAT`: the place, and whether it is new.
fn find_or_create(cx: &WalkCx<'_>, at: At<'_>, walk: WalkFlags, how: &OpenHow) -> Result<(PathRef, bool), Errno> {
    let mut walker = Walker::start(cx, at, walk)?;
    let mut target;
    let mut path = at.path;
    loop {
        let tail = walker.walk_to_parent(path)?;
        let Last::Name(name) = tail.last else {
            let place = walker.into_special(tail.last)?;
            return Ok((place, false));
        };
        if tail.slash {
            return Err(Errno::EISDIR);
        }
        let (child, created) = lookup_or_create(cx, &walker.at, name, how)?;
        let link = walker.enter(child, walk.contains(WalkFlags::FOLLOW))?;
        match link {
            None => return Ok((walker.at, created)),
            Some(link) => {
                target = link;
                path = &target;
            }
        }
    }
}

fn lookup_or_create(
    cx: &WalkCx<'_>,
    parent: &PathRef,
    name: &[u8],
    how: &OpenHow,
) -> Result<(Arc<Dentry>, bool), Errno> {
    let mut dir = Dir::lock(cx, parent);
    match dir.lookup(name) {
        Ok(child) => return Ok((child, false)),
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno),
    }
    access::want_write(parent)?;
    may_create(cx, parent)?;
    let perm = new_perm(cx, &dir, how.mode & 0o7777, false)?;
    let inode = dir.inode().create(cx.caller, name, CreateKind::Regular { perm })?;
    let child = dir.add(name, inode);
    drop(dir);
    notify::created(parent, &child);
    Ok((child, true))
}

/// `O_TMPFILE`.
fn open_unnamed(cx: &WalkCx<'_>, dir: &PathRef, how: &OpenHow) -> Result<OpenFile, Errno> {
    access::want_write(dir)?;
    cx.permission(dir, MAY_WRITE | MAY_EXEC)?;
    let perm = access::perm_of_new(&cx.creds, &dir.inode().attr()?, how.mode & 0o7777, cx.umask, false);
    let inode = dir.inode().create_unnamed(cx.caller, perm)?;
    let name = format!("#{}", inode.attr()?.ino);
    let dentry = Dentry::child(&dir.dentry, name.as_bytes(), inode);
    dentry.set_deleted();
    dentry.linkable.store(!how.flags.contains(OpenFlags::EXCL), Ordering::Relaxed);
    let place = PathRef { mount: dir.mount.clone(), dentry };
    let file = open_place(cx, &place, how.flags - OpenFlags::TMPFILE - OpenFlags::DIRECTORY, true)?;
    file.add_flags(OpenFlags::TMPFILE | OpenFlags::DIRECTORY);
    Ok(file)
}

/// Opens what is at `place` (`do_open`).
fn open_place(cx: &WalkCx<'_>, place: &PathRef, mut flags: OpenFlags, created: bool) -> Result<OpenFile, Errno> {
    let kind = place.dentry.kind();
    let truncate = flags.contains(OpenFlags::TRUNC) && kind == FileType::Regular && !created;
    if truncate {
        access::want_write(place)?;
    }
    if !created {
        may_open(cx, place, kind, flags)?;
    }
    let special = matches!(kind, FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket);
    if flags.writable() && !special {
        access::want_write(place)?;
    }
    if flags.writable() && kind == FileType::Regular {
        place.inode().common().writers.check()?;
    }
    flags |= OpenFlags::LARGEFILE;
    let file = match kind {
        FileType::Fifo => cx.special.open_fifo(place, flags, cx.caller)?,
        FileType::CharDevice => cx.special.open_char_device(place, place.inode().attr()?.rdev, flags, cx.caller)?,
        FileType::BlockDevice | FileType::Socket => return Err(Errno::ENXIO),
        _ => place.inode().open(place, flags, cx.caller)?,
    };
    if flags.contains(OpenFlags::DIRECT) {
        file.ops().check_flags(OpenFlags::DIRECT)?;
    }
    if truncate {
        set_size(cx, place, 0)?;
    }
    notify::opened(&place.dentry);
    Ok(file)
}

/// `may_open`.
fn may_open(cx: &WalkCx<'_>, place: &PathRef, kind: FileType, flags: OpenFlags) -> Result<(), Errno> {
    let mask = access_mask(flags);
    match kind {
        FileType::Symlink => return Err(Errno::ELOOP),
        FileType::Directory if mask & MAY_WRITE != 0 => return Err(Errno::EISDIR),
        FileType::CharDevice | FileType::BlockDevice if !Walker::devices_allowed(place) => return Err(Errno::EACCES),
        _ => {}
    }
    cx.permission(place, mask)?;
    if flags.contains(OpenFlags::NOATIME) && !access::owner_or_capable(&cx.creds, &place.inode().attr()?) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// Opens a program for execve(2) (`do_open_execat`).
///
/// # Errors
/// `EACCES` for what is not executable or no regular file, `ETXTBSY` for what is open for writing, and the errors of a walk.
pub fn open_exec(cx: &WalkCx<'_>, at: At<'_>, walk: WalkFlags) -> Result<OpenFile, Errno> {
    let place = cx.resolve(at, walk)?;
    match place.dentry.kind() {
        FileType::Symlink => return Err(Errno::ELOOP),
        FileType::Regular if !place.mount.flags().contains(MountFlags::NOEXEC) => {}
        _ => return Err(Errno::EACCES),
    }
    cx.permission(&place, MAY_EXEC)?;
    place.inode().common().writers.check_run()?;
    let file = place.inode().open(&place, OpenFlags::LARGEFILE, cx.caller)?;
    notify::opened(&place.dentry);
    Ok(file)
}
