//! Path resolution (path_resolution(7), openat2(2)).
//!
//! A walk of cached names allocates nothing and takes, for each component, only the lock of the directory it looks in; the
//! mount tree is asked only where something is mounted.

use crate::access::{self, MAY_EXEC};
use crate::dir::{Dir, Glance};
use crate::{
    Attr, Caller, Capability, Credentials, DentryCache, FileType, Link, Mount, MountFlags, MountNamespace, PathRef,
    SpecialFiles,
};
use abi::Errno;
use bitflags::bitflags;
use std::sync::Arc;

/// Longest path, with its final zero byte.
pub const PATH_MAX: usize = 4096;
/// Symbolic links followed in one walk.
const MAX_LINKS: u32 = 40;

bitflags! {
    /// How to resolve a path.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct WalkFlags: u32 {
        /// Follow a symbolic link at the end.
        const FOLLOW = 1;
        /// The end must be a directory.
        const DIRECTORY = 2;
        /// An empty path stands for the start (`AT_EMPTY_PATH`).
        const EMPTY = 4;
        /// `RESOLVE_NO_SYMLINKS`.
        const NO_SYMLINKS = 8;
        /// `RESOLVE_NO_MAGICLINKS`.
        const NO_MAGICLINKS = 0x10;
        /// `RESOLVE_NO_XDEV`.
        const NO_XDEV = 0x20;
        /// `RESOLVE_BENEATH`.
        const BENEATH = 0x40;
        /// `RESOLVE_IN_ROOT`.
        const IN_ROOT = 0x80;
    }
}

/// What path operations need to know of the calling task. Made anew for each call.
pub struct WalkCx<'a> {
    /// The task.
    pub caller: &'a dyn Caller,
    /// Its credentials, or those to use in their stead (access(2)).
    pub creds: Arc<Credentials>,
    /// Its root directory.
    pub root: PathRef,
    /// Its working directory.
    pub cwd: PathRef,
    /// Its umask.
    pub umask: u32,
    /// Its mounts.
    pub mounts: Arc<MountNamespace>,
    /// Where dentries live on.
    pub cache: &'a DentryCache,
    /// Opens FIFOs and devices.
    pub special: &'a dyn SpecialFiles,
}

/// A path, and where it starts if it is relative.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// The directory of `dirfd`; `None` for the working directory.
    pub start: Option<&'a PathRef>,
    /// The path, without its final zero byte.
    pub path: &'a [u8],
}

impl<'a> At<'a> {
    /// A path that starts at the working directory.
    #[must_use]
    pub fn cwd(path: &'a [u8]) -> At<'a> {
        At { start: None, path }
    }
}

/// The last component of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Last<'p> {
    /// A name.
    Name(&'p [u8]),
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// None: the path is `/`.
    Root,
}

/// The last component, and what stood behind it.
#[derive(Clone, Copy)]
pub(crate) struct Tail<'p> {
    pub last: Last<'p>,
    /// Slashes follow.
    pub slash: bool,
}

/// What stat(2) tells of a file.
pub struct Status {
    /// Its attributes.
    pub attr: Attr,
    /// Where it is mounted.
    pub mount: Arc<Mount>,
    /// Whether it is the root of that mount.
    pub is_root: bool,
}

impl Status {
    /// Of what is at a place and has these attributes.
    #[must_use]
    pub fn new(place: &PathRef, attr: Attr) -> Status {
        let is_root = Arc::ptr_eq(&place.dentry, place.mount.root());
        Status { attr, mount: place.mount.clone(), is_root }
    }

    fn of(place: &PathRef) -> Result<Status, Errno> {
        Ok(Status::new(place, place.inode().attr()?))
    }
}

impl WalkCx<'_> {
    /// Where a path leads.
    ///
    /// # Errors
    /// Those of path_resolution(7).
    pub fn resolve(&self, at: At<'_>, flags: WalkFlags) -> Result<PathRef, Errno> {
        if at.path.is_empty() && flags.contains(WalkFlags::EMPTY) {
            let place = at.start.unwrap_or(&self.cwd).clone();
            let wrong = flags.contains(WalkFlags::DIRECTORY) && !place.dentry.is_dir();
            return if wrong { Err(Errno::ENOTDIR) } else { Ok(place) };
        }
        let mut walker = Walker::start(self, at, flags)?;
        walker.walk_to_end(at.path, flags.contains(WalkFlags::FOLLOW), flags.contains(WalkFlags::DIRECTORY))?;
        Ok(walker.at)
    }

    /// Attributes of where a path leads. A file that nobody uses is not brought into the cache if its file system can do
    /// without.
    ///
    /// # Errors
    /// Those of path_resolution(7), and the host's.
    pub fn stat(&self, at: At<'_>, flags: WalkFlags) -> Result<Status, Errno> {
        if at.path.is_empty() {
            return Status::of(&self.resolve(at, flags)?);
        }
        let mut walker = Walker::start(self, at, flags)?;
        let tail = walker.walk_to_parent(at.path)?;
        let follow = flags.contains(WalkFlags::FOLLOW);
        if let Tail { last: Last::Name(name), slash: false } = tail {
            match Dir::glance(self, &walker.at, name)? {
                Glance::Seen(attr) if attr.kind != FileType::Symlink || !follow => {
                    return Ok(Status { attr, mount: walker.at.mount, is_root: false });
                }
                Glance::Cached(child) => {
                    if let Some(link) = walker.enter(child, follow)? {
                        walker.walk_to_end(&link, true, false)?;
                    }
                    return Status::of(&walker.at);
                }
                Glance::Seen(_) | Glance::No => {}
            }
        }
        walker.walk_on(tail, follow, false)?;
        Status::of(&walker.at)
    }

    /// The directory that holds the last component, which need not exist.
    pub(crate) fn resolve_parent<'p>(&self, at: At<'p>, flags: WalkFlags) -> Result<(PathRef, Tail<'p>), Errno> {
        let mut walker = Walker::start(self, at, flags)?;
        let tail = walker.walk_to_parent(at.path)?;
        Ok((walker.at, tail))
    }

    /// Checks permission on an inode.
    ///
    /// # Errors
    /// `EACCES`.
    pub fn permission(&self, place: &PathRef, mask: u32) -> Result<(), Errno> {
        access::inode_permission(self.caller, &self.creds, place.inode(), mask)
    }

    /// May the caller look up names here? Whoever may read any directory is not asked for the mode bits.
    fn may_search(&self, place: &PathRef) -> Result<(), Errno> {
        if !place.dentry.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if let Some(result) = place.inode().permission(self.caller, MAY_EXEC) {
            return result;
        }
        if self.creds.capable(Capability::DacReadSearch) || self.creds.capable(Capability::DacOverride) {
            return Ok(());
        }
        access::generic_permission(&self.creds, &place.inode().attr()?, MAY_EXEC)
    }
}

/// A walk under way.
pub(crate) struct Walker<'a> {
    cx: &'a WalkCx<'a>,
    pub at: PathRef,
    /// What `/` and the limit of `..` are: the task's root, or the start.
    root: PathRef,
    flags: WalkFlags,
    links: u32,
}

impl<'a> Walker<'a> {
    pub(crate) fn start(cx: &'a WalkCx<'a>, at: At<'_>, flags: WalkFlags) -> Result<Walker<'a>, Errno> {
        if at.path.is_empty() {
            return Err(Errno::ENOENT);
        }
        if at.path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let scoped = flags.intersects(WalkFlags::BENEATH | WalkFlags::IN_ROOT);
        let absolute = at.path.first() == Some(&b'/');
        let start = if absolute && !scoped { &cx.root } else { at.start.unwrap_or(&cx.cwd) };
        if !start.dentry.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if absolute && flags.contains(WalkFlags::BENEATH) {
            return Err(Errno::EXDEV);
        }
        let root = if scoped { start } else { &cx.root };
        Ok(Walker { cx, at: start.clone(), root: root.clone(), flags, links: 0 })
    }

    /// Walks all of `path`.
    fn walk_to_end(&mut self, path: &[u8], follow: bool, directory: bool) -> Result<(), Errno> {
        let tail = self.walk_to_parent(path)?;
        self.walk_on(tail, follow, directory)
    }

    /// Walks the last component, and what it leads to.
    fn walk_on(&mut self, tail: Tail<'_>, follow: bool, mut directory: bool) -> Result<(), Errno> {
        let mut target;
        let mut tail = tail;
        loop {
            directory |= tail.slash;
            match self.step(tail.last, follow || tail.slash)? {
                None => break,
                Some(link) => {
                    target = link;
                    tail = self.walk_to_parent(&target)?;
                }
            }
        }
        if directory && !self.at.dentry.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(())
    }

    /// Walks all but the last component, which is not checked but for the permission to search for it.
    pub(crate) fn walk_to_parent<'p>(&mut self, path: &'p [u8]) -> Result<Tail<'p>, Errno> {
        let mut rest = path;
        if rest.first() == Some(&b'/') {
            if self.flags.contains(WalkFlags::NO_XDEV) && !Arc::ptr_eq(&self.at.mount, &self.root.mount) {
                return Err(Errno::EXDEV);
            }
            self.at = self.root.clone();
            rest = skip_slashes(rest);
            if rest.is_empty() {
                return Ok(Tail { last: Last::Root, slash: false });
            }
        }
        loop {
            self.cx.may_search(&self.at)?;
            let end = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let last = match name {
                b"." => Last::Dot,
                b".." => Last::DotDot,
                _ => Last::Name(name),
            };
            rest = skip_slashes(after);
            if rest.is_empty() {
                return Ok(Tail { last, slash: !after.is_empty() });
            }
            if let Some(target) = self.step(last, true)? {
                self.walk_to_end(&target, true, false)?;
            }
            if !self.at.dentry.is_dir() {
                return Err(Errno::ENOTDIR);
            }
        }
    }

    /// Takes one component. Returns the path that a symbolic link leads to, `at` being where that path starts.
    fn step(&mut self, last: Last<'_>, follow: bool) -> Result<Option<Vec<u8>>, Errno> {
        match last {
            Last::Root | Last::Dot => Ok(None),
            Last::DotDot => self.up().map(|()| None),
            Last::Name(name) => {
                let child = Dir::find(self.cx, &self.at, name)?;
                self.enter(child, follow)
            }
        }
    }

    /// Goes on to `child`, a child of `at`, over mounts and, if asked to, over a symbolic link.
    pub(crate) fn enter(&mut self, child: Arc<crate::Dentry>, follow: bool) -> Result<Option<Vec<u8>>, Errno> {
        if child.is_mountpoint() {
            let there = self.cx.mounts.topmost(PathRef { mount: self.at.mount.clone(), dentry: child });
            if self.flags.contains(WalkFlags::NO_XDEV) && !Arc::ptr_eq(&there.mount, &self.at.mount) {
                return Err(Errno::EXDEV);
            }
            self.at = there;
            return Ok(None);
        }
        if follow && child.kind() == FileType::Symlink {
            return self.follow(&child);
        }
        self.at.dentry = child;
        Ok(None)
    }

    fn follow(&mut self, link: &Arc<crate::Dentry>) -> Result<Option<Vec<u8>>, Errno> {
        self.links += 1;
        if self.links > MAX_LINKS || self.flags.contains(WalkFlags::NO_SYMLINKS) {
            return Err(Errno::ELOOP);
        }
        match link.inode().read_link(self.cx.caller)? {
            Link::Path(path) if path.is_empty() => Err(Errno::ENOENT),
            Link::Path(path) => {
                if path.first() == Some(&b'/') && self.flags.contains(WalkFlags::BENEATH) {
                    return Err(Errno::EXDEV);
                }
                Ok(Some(path))
            }
            Link::Jump(place) => {
                if self.flags.contains(WalkFlags::NO_MAGICLINKS) {
                    return Err(Errno::ELOOP);
                }
                let scoped = self.flags.intersects(WalkFlags::BENEATH | WalkFlags::IN_ROOT);
                let leaves = self.flags.contains(WalkFlags::NO_XDEV) && !Arc::ptr_eq(&place.mount, &self.at.mount);
                if scoped || leaves {
                    return Err(Errno::EXDEV);
                }
                self.at = place;
                Ok(None)
            }
        }
    }

    /// `..`
    fn up(&mut self) -> Result<(), Errno> {
        let mut at = self.at.clone();
        loop {
            if at.same(&self.root) {
                let beneath = self.flags.contains(WalkFlags::BENEATH);
                return if beneath { Err(Errno::EXDEV) } else { Ok(()) };
            }
            if !Arc::ptr_eq(&at.dentry, at.mount.root()) {
                break;
            }
            match at.mount.parent() {
                None => return Ok(()),
                Some(_) if self.flags.contains(WalkFlags::NO_XDEV) => return Err(Errno::EXDEV),
                Some(below) => at = below,
            }
        }
        let Some(parent) = at.dentry.parent() else { return Ok(()) };
        at.dentry = parent;
        // A rename may have moved the walk out from under the directory it is confined to.
        let scoped = self.flags.intersects(WalkFlags::BENEATH | WalkFlags::IN_ROOT);
        if scoped && Arc::ptr_eq(&at.mount, &self.root.mount) && !at.dentry.is_within(&self.root.dentry) {
            return Err(Errno::EAGAIN);
        }
        self.at = self.cx.mounts.topmost(at);
        Ok(())
    }

    /// Ends the walk at a last component that is no name.
    pub(crate) fn into_special(mut self, last: Last<'_>) -> Result<PathRef, Errno> {
        self.step(last, false)?;
        Ok(self.at)
    }

    /// Whether nodes here may be used as devices.
    pub(crate) fn devices_allowed(place: &PathRef) -> bool {
        !place.mount.flags().contains(MountFlags::NODEV)
    }
}

fn skip_slashes(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|&b| b != b'/').unwrap_or(path.len());
    path.split_at(start).1
}
