//! Inodes of tmpfs.

use super::Shared;
use super::data::{Data, SIZE_MAX};
use super::dir::Entries;
use super::file::{Atime, TmpDir, TmpFile};
use super::xattr::{self, Xattrs};
use abi::raw::general as c;
use abi::{Errno, PAGE_SIZE};
use host::mappable::{Backing, FileId, Mappable, Observers};
use lock::{Mutex, MutexGuard, rank};
use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, Weak};
use vfs::time::{Timespec, now_coarse};
use vfs::{
    Attr, Caller, Capability, CreateKind, FileType, Inode, InodeCommon, Link, OpenFile, OpenFlags, PathRef,
    RenameFlags, SetAttr, SetTime, XattrFlags,
};

/// What a directory's size grows by with each entry (`BOGO_DIRENT_SIZE`).
const ENTRY_SIZE: u64 = 20;
const LINK_MAX: u32 = 0xffff_fff0;

/// What an inode is.
pub(crate) enum Content {
    Regular(Data),
    Directory(Mutex<Entries>),
    Symlink(Box<[u8]>),
    /// A device, FIFO or socket; with its device number.
    Special(FileType, u64),
}

impl Content {
    pub(crate) fn regular() -> Content {
        Content::Regular(Data::new())
    }

    pub(crate) fn directory(parent: Option<Weak<Node>>) -> Content {
        Content::Directory(Mutex::new(rank::INODE, Entries::new(parent)))
    }
}

/// The first attributes of an inode.
pub(crate) struct NewNode {
    pub perm: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
}

struct Meta {
    perm: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    atime: Timespec,
    mtime: Timespec,
    ctime: Timespec,
    btime: Timespec,
    xattrs: Option<Box<Xattrs>>,
}

/// An inode of tmpfs.
pub struct Node {
    this: Weak<Node>,
    shared: Arc<Shared>,
    ino: u64,
    content: Content,
    meta: Mutex<Meta>,
    common: InodeCommon,
}

impl Node {
    pub(crate) fn new(shared: &Arc<Shared>, new: NewNode, content: Content) -> Result<Arc<Node>, Errno> {
        let ino = shared.charge_inode()?;
        let now = now_coarse();
        let meta = Meta {
            perm: new.perm & 0o7777,
            uid: new.uid,
            gid: new.gid,
            nlink: new.nlink,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            xattrs: None,
        };
        Ok(Arc::new_cyclic(|this| Node {
            this: this.clone(),
            shared: shared.clone(),
            ino,
            content,
            meta: Mutex::new(rank::LEAF, meta),
            common: InodeCommon::default(),
        }))
    }

    pub(crate) fn ino(&self) -> u64 {
        self.ino
    }

    pub(crate) fn kind(&self) -> FileType {
        match &self.content {
            Content::Regular(_) => FileType::Regular,
            Content::Directory(_) => FileType::Directory,
            Content::Symlink(_) => FileType::Symlink,
            Content::Special(kind, _) => *kind,
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn data(&self) -> Option<&Data> {
        match &self.content {
            Content::Regular(data) => Some(data),
            _ => None,
        }
    }

    pub(crate) fn entries(&self) -> Option<&Mutex<Entries>> {
        match &self.content {
            Content::Directory(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn perm(&self) -> u32 {
        self.meta.lock().perm
    }

    /// Stamps a read, if that says anything new (`relatime`).
    pub(crate) fn touch_atime(&self) {
        const DAY: i64 = 24 * 60 * 60;
        let mut meta = self.meta.lock();
        let now = now_coarse();
        if meta.atime <= meta.mtime || meta.atime <= meta.ctime || now.sec - meta.atime.sec >= DAY {
            meta.atime = now;
        }
    }

    /// Stamps a write; with `strip`, takes set-user-id and set-group-id away.
    pub(crate) fn written(&self, strip: bool) {
        let now = now_coarse();
        let mut meta = self.meta.lock();
        meta.mtime = now;
        meta.ctime = now;
        if strip {
            meta.perm = stripped(meta.perm);
        }
    }

    fn touch_ctime(&self) {
        self.meta.lock().ctime = now_coarse();
    }

    /// Adds to the link count, and stamps the change.
    fn relink(&self, by: i32) {
        let mut meta = self.meta.lock();
        meta.nlink = meta.nlink.saturating_add_signed(by);
        meta.ctime = now_coarse();
    }

    /// After entries of this directory changed: `by` directories were added.
    fn changed(&self, by: i32) {
        let now = now_coarse();
        let mut meta = self.meta.lock();
        meta.nlink = meta.nlink.saturating_add_signed(by);
        meta.mtime = now;
        meta.ctime = now;
    }

    fn dir(&self) -> Result<MutexGuard<'_, Entries>, Errno> {
        Ok(self.entries().ok_or(Errno::ENOTDIR)?.lock())
    }

    /// An inode of the same file system behind a VFS reference.
    fn sibling(&self, inode: &Arc<dyn Inode>) -> Result<Arc<Node>, Errno> {
        let node = inode.as_any().downcast_ref::<Node>().ok_or(Errno::EXDEV)?;
        if !Arc::ptr_eq(&node.shared, &self.shared) {
            return Err(Errno::EXDEV);
        }
        node.this.upgrade().ok_or(Errno::ENOENT)
    }

    /// A new inode as a child of this directory (`inode_init_owner`).
    fn make(&self, caller: &dyn Caller, kind: CreateKind<'_>, nlink: u32) -> Result<Arc<Node>, Errno> {
        let creds = caller.creds();
        let (dir_perm, dir_gid) = {
            let meta = self.meta.lock();
            (meta.perm, meta.gid)
        };
        let (mut perm, content, nlink) = match kind {
            CreateKind::Regular { perm } => (perm, Content::regular(), nlink),
            CreateKind::Directory { perm } => (perm, Content::directory(Some(self.this.clone())), nlink + 1),
            CreateKind::Symlink { target } => (0o777, Content::Symlink(target.into()), nlink),
            CreateKind::Fifo { perm } => (perm, Content::Special(FileType::Fifo, 0), nlink),
            CreateKind::Socket { perm } => (perm, Content::Special(FileType::Socket, 0), nlink),
            CreateKind::CharDevice { perm, rdev } => (perm, Content::Special(FileType::CharDevice, rdev), nlink),
            CreateKind::BlockDevice { perm, rdev } => (perm, Content::Special(FileType::BlockDevice, rdev), nlink),
        };
        let mut gid = creds.fsgid;
        if dir_perm & c::S_ISGID != 0 {
            gid = dir_gid;
            let sgid_exec = c::S_ISGID | c::S_IXGRP;
            if matches!(content, Content::Directory(_)) {
                perm |= c::S_ISGID;
            } else if perm & sgid_exec == sgid_exec && !creds.in_group(gid) && !creds.capable(Capability::Fsetid) {
                perm &= !c::S_ISGID;
            }
        }
        Node::new(&self.shared, NewNode { perm, uid: creds.fsuid, gid, nlink }, content)
    }

    fn is_dir(&self) -> bool {
        matches!(self.content, Content::Directory(_))
    }

    /// Marks a directory as removed, if it is empty.
    fn kill(&self) -> Result<(), Errno> {
        let mut entries = self.entries().ok_or(Errno::ENOTDIR)?.lock_second();
        if entries.len() > 0 {
            return Err(Errno::ENOTEMPTY);
        }
        entries.dead = true;
        Ok(())
    }

    /// A node lost its name: a directory that was killed, or one link of something else.
    fn unlinked(&self) {
        if self.is_dir() {
            self.relink(-2);
        } else {
            self.relink(-1);
        }
    }

    /// The last steps of a rename, with both directories locked; `to` is `None` if they are the same.
    fn rename_locked(
        &self,
        caller: &dyn Caller,
        (from, name): (&mut Entries, &[u8]),
        (new_dir, to, new_name): (&Node, Option<&mut Entries>, &[u8]),
        flags: RenameFlags,
    ) -> Result<Option<Arc<Node>>, Errno> {
        let node = from.get(name).ok_or(Errno::ENOENT)?.clone();
        let cross = to.is_some();
        let target = match &to {
            Some(to) if to.dead => return Err(Errno::ENOENT),
            Some(to) => to.get(new_name).cloned(),
            None => from.get(new_name).cloned(),
        };
        if flags.contains(RenameFlags::EXCHANGE) {
            let target = target.ok_or(Errno::ENOENT)?;
            from.replace(name, target.clone());
            match to {
                Some(to) => to.replace(new_name, node.clone()),
                None => from.replace(new_name, node.clone()),
            };
            if cross {
                node.set_parent(new_dir);
                target.set_parent(self);
                let balance = i32::from(node.is_dir()) - i32::from(target.is_dir());
                self.changed(-balance);
                new_dir.changed(balance);
            } else {
                self.changed(0);
            }
            node.touch_ctime();
            target.touch_ctime();
            return Ok(None);
        }
        if target.is_some() && flags.contains(RenameFlags::NOREPLACE) {
            return Err(Errno::EEXIST);
        }
        if target.as_ref().is_some_and(|target| Arc::ptr_eq(target, &node)) {
            return Ok(None);
        }
        let whiteout = if flags.contains(RenameFlags::WHITEOUT) {
            Some(self.make(caller, CreateKind::CharDevice { perm: 0, rdev: 0 }, 1)?)
        } else {
            None
        };
        if let Some(target) = &target {
            match (target.is_dir(), node.is_dir()) {
                (true, false) => return Err(Errno::EISDIR),
                (false, true) => return Err(Errno::ENOTDIR),
                (true, true) => target.kill()?,
                (false, false) => {}
            }
        }
        from.remove(name);
        let to = to.unwrap_or(&mut *from);
        if to.replace(new_name, node.clone()).is_none() {
            to.insert(new_name, node.clone());
        }
        if let Some(whiteout) = whiteout {
            from.insert(name, whiteout);
        }
        let (moved, lost) =
            (i32::from(node.is_dir()), i32::from(target.as_ref().is_some_and(|target| target.is_dir())));
        if cross {
            node.set_parent(new_dir);
            self.changed(-moved);
            new_dir.changed(moved - lost);
        } else {
            self.changed(-lost);
        }
        node.touch_ctime();
        if let Some(target) = &target {
            target.unlinked();
        }
        Ok(target)
    }

    fn set_parent(&self, dir: &Node) {
        if let Some(entries) = self.entries() {
            entries.lock_second().parent = Some(dir.this.clone());
        }
    }
}

/// What a write by an unprivileged caller leaves of permission bits.
fn stripped(perm: u32) -> u32 {
    let sgid = if perm & c::S_IXGRP != 0 { c::S_ISGID } else { 0 };
    perm & !(c::S_ISUID | sgid)
}

impl Inode for Node {
    fn attr(&self) -> Result<Attr, Errno> {
        let (size, pages, rdev) = match &self.content {
            Content::Regular(data) => (data.size(), data.pages(), 0),
            // Two names more than there are entries.
            Content::Directory(entries) => ((entries.lock().len() as u64 + 2) * ENTRY_SIZE, 0, 0),
            Content::Symlink(target) => (target.len() as u64, 0, 0),
            Content::Special(_, rdev) => (0, 0, *rdev),
        };
        let meta = self.meta.lock();
        Ok(Attr {
            dev: self.shared.dev,
            ino: self.ino,
            kind: self.kind(),
            perm: meta.perm,
            nlink: meta.nlink,
            uid: meta.uid,
            gid: meta.gid,
            rdev,
            size,
            blksize: PAGE_SIZE as u32,
            blocks: pages * (PAGE_SIZE / 512),
            atime: meta.atime,
            mtime: meta.mtime,
            ctime: meta.ctime,
            btime: Some(meta.btime),
        })
    }

    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn set_attr(&self, _: &dyn Caller, set: &SetAttr) -> Result<(), Errno> {
        if let (Some(perm), Some(data)) = (set.perm, self.data())
            && data.seals.has(c::F_SEAL_EXEC)
            && (perm ^ self.perm()) & 0o111 != 0
        {
            return Err(Errno::EPERM);
        }
        if let Some(size) = set.size {
            if size > SIZE_MAX {
                return Err(Errno::EFBIG);
            }
            let not_a_file = if self.is_dir() { Errno::EISDIR } else { Errno::EINVAL };
            self.data().ok_or(not_a_file)?.truncate(&self.shared, size)?;
        }
        let now = now_coarse();
        let time = |set: SetTime| match set {
            SetTime::Now => now,
            SetTime::To(time) => time,
        };
        let mut meta = self.meta.lock();
        if set.size.is_some() {
            meta.mtime = now;
        }
        meta.perm = set.perm.map_or(meta.perm, |perm| perm & 0o7777);
        meta.uid = set.uid.unwrap_or(meta.uid);
        meta.gid = set.gid.unwrap_or(meta.gid);
        meta.atime = set.atime.map_or(meta.atime, time);
        meta.mtime = set.mtime.map_or(meta.mtime, time);
        meta.ctime = now;
        Ok(())
    }

    fn open(&self, at: &PathRef, flags: OpenFlags, _: &dyn Caller) -> Result<OpenFile, Errno> {
        let node = self.this.upgrade().ok_or(Errno::ENOENT)?;
        let atime = Atime::new(&at.mount, flags);
        let ops: Box<dyn vfs::FileOps> = match &self.content {
            Content::Regular(_) => Box::new(TmpFile::new(node, atime)),
            Content::Directory(_) => Box::new(TmpDir::new(node, atime)),
            Content::Symlink(_) => return Err(Errno::ELOOP),
            Content::Special(..) => return Err(Errno::ENXIO),
        };
        Ok(OpenFile::new(at.clone(), flags, ops))
    }

    fn lookup(&self, _: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        match self.dir()?.get(name) {
            Some(node) => Ok(node.clone()),
            None => Err(Errno::ENOENT),
        }
    }

    fn create(&self, caller: &dyn Caller, name: &[u8], kind: CreateKind<'_>) -> Result<Arc<dyn Inode>, Errno> {
        let node = {
            let mut entries = self.dir()?;
            if entries.dead {
                return Err(Errno::ENOENT);
            }
            if entries.get(name).is_some() {
                return Err(Errno::EEXIST);
            }
            let node = self.make(caller, kind, 1)?;
            entries.insert(name, node.clone());
            node
        };
        self.changed(i32::from(node.is_dir()));
        Ok(node)
    }

    fn create_unnamed(&self, caller: &dyn Caller, perm: u32) -> Result<Arc<dyn Inode>, Errno> {
        drop(self.dir()?);
        Ok(self.make(caller, CreateKind::Regular { perm }, 0)?)
    }

    fn link(&self, _: &dyn Caller, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        let node = self.sibling(target)?;
        if node.is_dir() {
            return Err(Errno::EPERM);
        }
        if node.meta.lock().nlink >= LINK_MAX {
            return Err(Errno::EMLINK);
        }
        {
            let mut entries = self.dir()?;
            if entries.dead {
                return Err(Errno::ENOENT);
            }
            if entries.get(name).is_some() {
                return Err(Errno::EEXIST);
            }
            entries.insert(name, node.clone());
        }
        node.relink(1);
        self.changed(0);
        Ok(())
    }

    fn unlink(&self, _: &dyn Caller, name: &[u8], _: &Arc<dyn Inode>) -> Result<(), Errno> {
        let node = {
            let mut entries = self.dir()?;
            if entries.get(name).ok_or(Errno::ENOENT)?.is_dir() {
                return Err(Errno::EISDIR);
            }
            entries.remove(name)
        };
        if let Some(node) = node {
            node.unlinked();
        }
        self.changed(0);
        Ok(())
    }

    fn rmdir(&self, _: &dyn Caller, name: &[u8], _: &Arc<dyn Inode>) -> Result<(), Errno> {
        let node = {
            let mut entries = self.dir()?;
            entries.get(name).ok_or(Errno::ENOENT)?.kill()?;
            entries.remove(name)
        };
        if let Some(node) = node {
            node.unlinked();
        }
        self.changed(-1);
        Ok(())
    }

    fn rename(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        new_dir: &Arc<dyn Inode>,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let new_dir = self.sibling(new_dir)?;
        let lost = if std::ptr::eq(self, &*new_dir) {
            let mut from = self.dir()?;
            self.rename_locked(caller, (&mut from, name), (&new_dir, None, new_name), flags)
        } else {
            let (from, to) = (self.entries().ok_or(Errno::ENOTDIR)?, new_dir.entries().ok_or(Errno::ENOTDIR)?);
            let (mut from, mut to) = if self.ino < new_dir.ino {
                let from = from.lock();
                (from, to.lock_second())
            } else {
                let to = to.lock();
                (from.lock_second(), to)
            };
            self.rename_locked(caller, (&mut from, name), (&new_dir, Some(&mut to), new_name), flags)
        };
        // What was replaced may free much memory: not under the locks.
        drop(lost?);
        Ok(())
    }

    fn read_link(&self, _: &dyn Caller) -> Result<Link, Errno> {
        match &self.content {
            Content::Symlink(target) => Ok(Link::Path(target.to_vec())),
            _ => Err(Errno::EINVAL),
        }
    }

    fn get_xattr(&self, caller: &dyn Caller, name: &[u8]) -> Result<Vec<u8>, Errno> {
        xattr::check(name)?;
        if !xattr::visible(&caller.creds(), name) {
            return Err(Errno::ENODATA);
        }
        let meta = self.meta.lock();
        meta.xattrs.as_ref().and_then(|x| x.get(name)).map(<[u8]>::to_vec).ok_or(Errno::ENODATA)
    }

    fn set_xattr(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        value: Option<&[u8]>,
        flags: XattrFlags,
    ) -> Result<(), Errno> {
        xattr::check(name)?;
        if !xattr::visible(&caller.creds(), name) {
            return Err(Errno::EPERM);
        }
        let mut meta = self.meta.lock();
        match value {
            Some(value) => meta.xattrs.get_or_insert_default().set(name, value, flags)?,
            None => meta.xattrs.as_mut().ok_or(Errno::ENODATA)?.remove(name)?,
        }
        meta.ctime = now_coarse();
        Ok(())
    }

    fn list_xattr(&self, caller: &dyn Caller) -> Result<Vec<Vec<u8>>, Errno> {
        let creds = caller.creds();
        let meta = self.meta.lock();
        let names = meta.xattrs.iter().flat_map(|x| x.names());
        Ok(names.filter(|name| xattr::visible(&creds, name)).map(<[u8]>::to_vec).collect())
    }
}

impl Mappable for Node {
    fn back(&self, range: Range<u64>, write: bool) -> Result<Backing, Errno> {
        let backing = self.data().ok_or(Errno::ENXIO)?.back(&self.shared, range, write)?;
        if write {
            self.written(false);
        }
        Ok(backing)
    }

    fn allow_shared(&self, write: bool) -> Result<bool, Errno> {
        let sealed = self.data().is_some_and(|data| data.seals.no_write());
        if sealed && write { Err(Errno::EPERM) } else { Ok(!sealed) }
    }

    fn size(&self) -> u64 {
        self.data().map_or(0, Data::size)
    }

    fn id(&self) -> FileId {
        FileId::of(self.shared.dev, self.ino)
    }

    fn observers(&self) -> &Observers {
        static NONE: std::sync::LazyLock<Observers> = std::sync::LazyLock::new(Observers::new);
        self.data().map_or(&*NONE, |data| &data.observers)
    }

    fn punch(&self, range: Range<u64>) -> Result<(), Errno> {
        self.data().ok_or(Errno::EOPNOTSUPP)?.punch(&self.shared, range)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shared.uncharge_inode();
        match &mut self.content {
            Content::Regular(data) => data.clear(&self.shared),
            Content::Directory(entries) => {
                // A deep tree must not recurse once per level.
                let mut rest: Vec<Arc<Node>> = entries.get_mut().drain().collect();
                while let Some(node) = rest.pop() {
                    if let Some(mut last) = Arc::into_inner(node)
                        && let Content::Directory(entries) = &mut last.content
                    {
                        rest.extend(entries.get_mut().drain());
                    }
                }
            }
            Content::Symlink(_) | Content::Special(..) => {}
        }
    }
}
