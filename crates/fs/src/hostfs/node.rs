//! What an inode of a host tree holds, and how it gets at the host's file.

use super::Shared;
use super::calls::{self, Key};
use super::glances::Glance;
use super::listed::{Listed, Names};
use abi::Errno;
use host::mappable::Observers;
use lock::{Mutex, rank};
use rustix::fs::{OFlags, Statx};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use vfs::{Attr, FileType, InodeCommon};

/// Where a file can be opened anew: a directory, and a name there.
#[derive(Clone)]
struct Place {
    dir: Arc<HostNode>,
    name: Box<[u8]>,
    /// `Shared::moves` before it was seen there.
    moves: u64,
}

/// Open descriptors of a regular file, shared by all guest descriptions that need no more.
#[derive(Default)]
struct Handles {
    read: Weak<OwnedFd>,
    /// For reading too where the host allows it.
    write: Weak<OwnedFd>,
}

/// What the host said of a file, which is believed for a while if the tree is exclusive.
struct Seen {
    attr: Attr,
    /// When, in milliseconds since the epoch.
    at: i64,
    /// The target of a symbolic link.
    target: Option<Arc<[u8]>>,
    /// Names of extended attributes.
    xattrs: Option<Arc<[Vec<u8>]>>,
}

/// For how many milliseconds the host is believed.
const BELIEVED: i64 = 1000;

fn now() -> i64 {
    let now = vfs::time::now_coarse();
    now.sec.saturating_mul(1000).saturating_add(i64::from(now.nsec / 1_000_000))
}

/// Whether what the host said `at` that time is still believed.
pub(super) fn is_believed(at: i64, now: i64) -> bool {
    (0..BELIEVED).contains(&now.saturating_sub(at))
}

impl Seen {
    fn is_fresh(&self, now: i64) -> bool {
        is_believed(self.at, now)
    }

    fn renew(&mut self, attr: Attr, now: i64) {
        if attr.ctime != self.attr.ctime {
            self.target = None;
            self.xattrs = None;
        }
        self.attr = attr;
        self.at = now;
    }
}

/// An inode of a host tree.
pub struct HostNode {
    pub(super) this: Weak<HostNode>,
    pub(super) shared: Arc<Shared>,
    pub(super) key: Key,
    pub(super) kind: FileType,
    is_root: bool,
    /// A descriptor to find it by: of every inode of a shared tree, and of every directory that was looked into. It is an
    /// `O_PATH` one or, of a directory that was listed, the listing's.
    path_fd: OnceLock<Arc<OwnedFd>>,
    /// Of a directory that was listed lately.
    listed: Mutex<Weak<Listed>>,
    /// `None` for the root, and for directories that hold a descriptor.
    place: Mutex<Option<Place>>,
    seen: Mutex<Seen>,
    handles: Mutex<Handles>,
    /// Who has it mapped, once somebody has.
    observers: OnceLock<Box<Observers>>,
    pub(super) common: InodeCommon,
}

impl HostNode {
    fn make(
        shared: &Arc<Shared>,
        (key, attr): (Key, Attr),
        path_fd: Option<OwnedFd>,
        place: Option<Place>,
        at: i64,
    ) -> Arc<HostNode> {
        let is_root = place.is_none();
        // A directory with a descriptor needs no place, which would keep all its ancestors alive.
        let place = place.filter(|_| path_fd.is_none() || attr.kind != FileType::Directory);
        let cell = OnceLock::new();
        if let Some(fd) = path_fd {
            let _ = cell.set(Arc::new(fd));
        }
        let node = Arc::new_cyclic(|this| HostNode {
            this: this.clone(),
            shared: shared.clone(),
            key,
            kind: attr.kind,
            is_root,
            path_fd: cell,
            listed: Mutex::new(rank::LEAF, Weak::new()),
            place: Mutex::new(rank::LEAF, place),
            seen: Mutex::new(rank::LEAF, Seen { attr, at, target: None, xattrs: None }),
            handles: Mutex::new(rank::LEAF, Handles::default()),
            observers: OnceLock::new(),
            common: InodeCommon::default(),
        });
        shared.enter(key, node)
    }

    pub(super) fn root(shared: &Arc<Shared>, fd: OwnedFd, stat: &Statx) -> Arc<HostNode> {
        HostNode::make(shared, shared.attr(stat), Some(fd), None, now())
    }

    /// Who has it mapped.
    pub(super) fn observers(&self) -> &Observers {
        self.observers.get_or_init(Box::default)
    }

    /// Takes a range from those who have it mapped, as [`Observers::invalidate`] does.
    pub(super) fn invalidate(&self, range: Range<u64>, private_copies: bool) {
        if let Some(observers) = self.observers.get() {
            observers.invalidate(range, private_copies);
        }
    }

    /// Whether it is the top of the tree.
    pub(super) fn is_root(&self) -> bool {
        self.is_root
    }

    /// Attributes as last seen, however long ago.
    pub(super) fn last_attr(&self) -> Attr {
        self.seen.lock().attr
    }

    /// Attributes now; in an exclusive tree, a moment ago.
    pub(super) fn attr_now(&self) -> Result<Attr, Errno> {
        if let Some(attr) = self.believed() {
            return Ok(attr);
        }
        let exclusive = self.shared.exclusive();
        let (now, last) = (now(), self.last_attr());
        let stat = match self.path_fd() {
            Some(fd) => calls::stat_fd(fd),
            None => self.with_place(|dir, name| calls::stat_at(dir, name)),
        };
        let attr = match stat {
            Ok(stat) if Key::of(&stat) == self.key => calls::attr(&stat, last.dev),
            // Its name stands for something else by now. Walks will find that out.
            _ if exclusive => last,
            Ok(_) => return Err(Errno::ESTALE),
            Err(errno) => return Err(errno),
        };
        self.seen.lock().renew(attr, now);
        Ok(attr)
    }

    /// Something remembered of it: what `get` finds, else what `ask` answers, which `set` keeps if the tree is exclusive.
    fn remembered<T: Clone>(
        &self,
        get: impl FnOnce(&Seen) -> Option<T>,
        ask: impl FnOnce() -> Result<T, Errno>,
        set: impl FnOnce(&mut Seen, T),
    ) -> Result<T, Errno> {
        if self.shared.exclusive() {
            // Notices that it changed.
            self.attr_now()?;
        }
        let known = get(&self.seen.lock());
        if let Some(known) = known {
            return Ok(known);
        }
        let answer = ask()?;
        if self.shared.exclusive() {
            set(&mut self.seen.lock(), answer.clone());
        }
        Ok(answer)
    }

    /// The target of a symbolic link, asked of the host by `ask`.
    pub(super) fn target(&self, ask: impl FnOnce() -> Result<Vec<u8>, Errno>) -> Result<Arc<[u8]>, Errno> {
        self.remembered(|seen| seen.target.clone(), || ask().map(Arc::from), |seen, t| seen.target = Some(t))
    }

    /// The names of extended attributes, asked of the host by `ask`.
    pub(super) fn xattrs(&self, ask: impl FnOnce() -> Result<Vec<Vec<u8>>, Errno>) -> Result<Arc<[Vec<u8>]>, Errno> {
        self.remembered(|seen| seen.xattrs.clone(), || ask().map(Arc::from), |seen, x| seen.xattrs = Some(x))
    }

    fn place(&self) -> Option<Place> {
        self.place.lock().clone()
    }

    /// Learns where it was after so many `moves`; directories find themselves by their descriptors.
    fn set_place(&self, dir: &Arc<HostNode>, name: &[u8], moves: u64) {
        if self.kind == FileType::Directory {
            return;
        }
        let old = {
            let mut place = self.place.lock();
            let newer = place.as_ref().is_some_and(|p| p.moves > moves);
            if newer || place.as_ref().is_some_and(|p| Arc::ptr_eq(&p.dir, dir) && *p.name == *name) {
                return;
            }
            place.replace(Place { dir: dir.clone(), name: name.into(), moves })
        };
        drop(old);
    }

    /// Finds a child.
    pub(super) fn child(&self, name: &[u8]) -> Result<Arc<HostNode>, Errno> {
        let dir = self.dir_fd()?;
        let this = self.this.upgrade().ok_or(Errno::ENOENT)?;
        let (now, moves) = (now(), self.shared.moves.load(Ordering::SeqCst));
        let (found, fd, at) = if !self.shared.exclusive() {
            let fd = calls::open_path(dir, name, OFlags::empty())?;
            (self.shared.attr(&calls::stat_fd(&fd)?), Some(fd), now)
        } else if let Some(glance) = self.shared.glances.lock().take(self.key, name, now) {
            ((glance.key, glance.attr), None, glance.at)
        } else {
            let stat = self.open_ahead(dir, name, now).map_or_else(|| calls::stat_at(dir, name), Ok)?;
            (self.shared.attr(&stat), None, now)
        };
        let (key, attr) = found;
        // Numbers are given again.
        if let Some(node) = self.shared.find(key).filter(|node| node.kind == attr.kind) {
            node.set_place(&this, name, moves);
            node.seen.lock().renew(attr, at);
            return Ok(node);
        }
        let place = Place { dir: this, name: name.into(), moves };
        Ok(HostNode::make(&self.shared, found, fd, Some(place), at))
    }

    /// Attributes of a child that has no inode and needs none. Whoever asks again, or has listed the directory, probably goes
    /// on to use it.
    pub(super) fn glance(&self, name: &[u8]) -> Result<Option<Attr>, Errno> {
        let now = now();
        if !self.shared.exclusive() || self.listed(now).is_some() || self.shared.glances.lock().ask(self.key, name) {
            return Ok(None);
        }
        let (key, attr) = self.shared.attr(&calls::stat_at(self.dir_fd()?, name)?);
        self.shared.glances.lock().put(Glance { dir: self.key, name: name.into(), key, attr, at: now });
        let plain = attr.kind != FileType::Directory && self.shared.find(key).is_none();
        Ok(plain.then_some(attr))
    }

    /// What a listing said lately.
    fn listed(&self, now: i64) -> Option<Arc<Listed>> {
        let listed = self.listed.lock().upgrade()?;
        is_believed(listed.at(), now).then_some(listed)
    }

    /// It was listed to the end, and holds these regular files; `fd` is the listing's, if directories are there too.
    pub(super) fn was_listed(&self, files: Names, fd: Option<&Arc<OwnedFd>>) {
        if !self.shared.exclusive() {
            return;
        }
        if let Some(fd) = fd {
            // Who lists a tree looks into its directories next.
            self.set_dir_fd(fd.clone());
        }
        if !files.is_empty() {
            let listed = Arc::new(Listed::new(files, now()));
            *self.listed.lock() = Arc::downgrade(&listed);
            self.shared.remember(listed);
        }
    }

    /// Opens a child that a listing says is opened next. Its attributes.
    fn open_ahead(&self, dir: BorrowedFd<'_>, name: &[u8], now: i64) -> Option<Statx> {
        let listed = self.listed(now).filter(|listed| listed.expects(name))?;
        let fd = calls::open_file(dir, name, OFlags::RDONLY).ok()?;
        let stat = calls::stat_fd(&fd).ok()?;
        let regular = calls::attr(&stat, 0).kind == FileType::Regular;
        regular.then(|| {
            listed.keep(Key::of(&stat), fd);
            stat
        })
    }

    /// The descriptor that the lookup has opened.
    fn opened_ahead(&self) -> Option<OwnedFd> {
        let now = now();
        let dir = self.place.lock().as_ref().map(|place| place.dir.clone())?;
        let fd = dir.listed(now)?.take(self.key)?;
        self.seen.lock().is_fresh(now).then_some(fd)
    }

    /// A child was given another name by us.
    pub(super) fn moved(&self, name: &[u8]) {
        let moves = self.shared.moves.load(Ordering::SeqCst);
        let Ok(stat) = self.dir_fd().and_then(|dir| calls::stat_at(dir, name)) else { return };
        if let (Some(node), Some(this)) = (self.shared.find(Key::of(&stat)), self.this.upgrade()) {
            node.set_place(&this, name, moves);
        }
    }

    /// Whether a child is still this.
    pub(super) fn is_at(&self, dir: &HostNode, name: &[u8]) -> bool {
        if self.believed().is_some() {
            return true;
        }
        let (now, moves) = (now(), self.shared.moves.load(Ordering::SeqCst));
        let Ok(stat) = dir.dir_fd().and_then(|dir| calls::stat_at(dir, name)) else { return false };
        let attr = calls::attr(&stat, self.last_attr().dev);
        if Key::of(&stat) != self.key || attr.kind != self.kind {
            return false;
        }
        self.seen.lock().renew(attr, now);
        // It may have been known by another name, which is gone.
        if let Some(dir) = dir.this.upgrade() {
            self.set_place(&dir, name, moves);
        }
        true
    }

    /// Attributes that are still believed.
    pub(super) fn believed(&self) -> Option<Attr> {
        if !self.shared.exclusive() {
            return None;
        }
        let seen = self.seen.lock();
        seen.is_fresh(now()).then_some(seen.attr)
    }

    /// Opens it once more by its place, and makes sure that it is still the same.
    fn reopen(&self, open: impl Fn(BorrowedFd<'_>, &[u8]) -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
        let place = self.place().ok_or(Errno::ESTALE)?;
        let fd = open(place.dir.dir_fd()?, &place.name)?;
        // Whose attributes are believed, its name is too.
        if self.believed().is_some() {
            return Ok(fd);
        }
        if Key::of(&calls::stat_fd(&fd)?) != self.key {
            return Err(Errno::ESTALE);
        }
        Ok(fd)
    }

    /// A descriptor that children are found from.
    pub(super) fn dir_fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        if self.kind != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        if self.path_fd.get().is_none() {
            let fd = self.reopen(|dir, name| calls::open_path(dir, name, OFlags::DIRECTORY))?;
            self.set_dir_fd(Arc::new(fd));
        }
        self.path_fd().ok_or(Errno::EIO)
    }

    /// From now on a directory is found by this descriptor, and needs no place.
    fn set_dir_fd(&self, fd: Arc<OwnedFd>) {
        let _ = self.path_fd.set(fd);
        let place = self.place.lock().take();
        drop(place);
    }

    /// A descriptor of a directory for listing it.
    pub(super) fn list_fd(&self) -> Result<OwnedFd, Errno> {
        if self.kind == FileType::Directory && self.path_fd.get().is_none() {
            // Most directories are listed and hold no others: nobody will look for children from this one.
            match self.reopen(|dir, name| calls::open_file(dir, name, OFlags::DIRECTORY)) {
                Err(Errno::ESTALE) => {}
                opened => return opened,
            }
        }
        calls::open_dir(self.dir_fd()?)
    }

    /// The descriptor to find it by, if it has one.
    pub(super) fn path_fd(&self) -> Option<BorrowedFd<'_>> {
        self.path_fd.get().map(|fd| fd.as_fd())
    }

    /// Runs `call` on the directory and name of something that is no directory.
    pub(super) fn with_place<T>(
        &self,
        call: impl FnOnce(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let place = self.place().ok_or(Errno::ESTALE)?;
        call(place.dir.dir_fd()?, &place.name)
    }

    /// A descriptor for reading a regular file.
    pub(super) fn reader(&self) -> Result<Arc<OwnedFd>, Errno> {
        let open = self.handles.lock().read.upgrade();
        if let Some(fd) = open {
            return Ok(fd);
        }
        let open = || self.reopen(|dir, name| calls::open_file(dir, name, OFlags::RDONLY));
        let fd = Arc::new(self.opened_ahead().map_or_else(open, Ok)?);
        self.handles.lock().read = Arc::downgrade(&fd);
        if self.shared.exclusive() {
            self.shared.keep(&fd);
        }
        Ok(fd)
    }

    /// A descriptor for writing a regular file, and for reading it if possible or if `read` asks for that.
    pub(super) fn writer(&self, read: bool) -> Result<Arc<OwnedFd>, Errno> {
        self.shared.check_writable()?;
        let open = self.handles.lock().write.upgrade();
        if let Some(fd) = open {
            return Ok(fd);
        }
        match self.reopen(|dir, name| calls::open_file(dir, name, OFlags::RDWR)) {
            Ok(fd) => Ok(self.adopt_writer(fd)),
            Err(Errno::EACCES) if !read => {
                Ok(Arc::new(self.reopen(|dir, name| calls::open_file(dir, name, OFlags::WRONLY))?))
            }
            Err(errno) => Err(errno),
        }
    }

    /// Takes a descriptor that was opened for reading and writing.
    pub(super) fn adopt_writer(&self, fd: OwnedFd) -> Arc<OwnedFd> {
        let fd = Arc::new(fd);
        self.handles.lock().write = Arc::downgrade(&fd);
        fd
    }

    /// A descriptor for calls that take none of the `O_PATH` kind: of a regular file or a directory.
    pub(super) fn real_fd(&self) -> Result<Arc<OwnedFd>, Errno> {
        match self.kind {
            FileType::Regular => {
                let open = self.handles.lock().write.upgrade();
                open.map_or_else(|| self.reader(), Ok)
            }
            FileType::Directory => Ok(Arc::new(calls::open_dir(self.dir_fd()?)?)),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }
}

impl Drop for HostNode {
    fn drop(&mut self) {
        self.shared.leave(self.key);
    }
}
