//! Synthetic trees: file systems whose directories and files are computed when they are asked for (`proc`, `sys`).
//!
//! A [`Body`] says what a node is; [`Node`] makes an inode of it. A file's content is made at the first read and again
//! whenever it is read from its start, as programs that keep /proc files open expect, and served by offset in between.
//! Bodies are called under the locks of a directory (lookup, attributes) or of an offset (reading, listing), so they take
//! none of lower rank, and let nothing go whose last reference might close a file.

use abi::{Errno, PAGE_SIZE};
use host::io::{Sink, Source};
use lock::{Mutex, rank};
use std::any::Any;
use std::sync::{Arc, LazyLock};
use vfs::access::{MAY_EXEC, MAY_READ, MAY_WRITE, generic_permission};
use vfs::time::{Timespec, now_coarse};
use vfs::{
    Attr, Caller, DirEmit, FileOps, FileSystem, FileType, Inode, InodeCommon, IoCx, IoError, Link, OpenFile, OpenFlags,
    PathRef, SetAttr, StatFs, WriteAt, Written,
};

/// Most bytes of one write.
const WRITE_MAX: usize = 64 << 10;

/// A name in a directory.
pub struct Entry {
    /// The name.
    pub name: Vec<u8>,
    /// Its inode number.
    pub ino: u64,
    /// Its type.
    pub kind: FileType,
    /// Where it stands in the listing: at least 2, ascending, and the same for as long as the name exists.
    pub pos: u64,
}

/// What a node is.
pub trait Body: Send + Sync + 'static {
    /// Its type.
    fn kind(&self) -> FileType;

    /// Permission bits.
    fn perm(&self) -> u32;

    /// Owner and group.
    fn owner(&self) -> (u32, u32) {
        (0, 0)
    }

    /// `st_size`.
    fn size(&self) -> u64 {
        0
    }

    /// `st_nlink`.
    fn nlink(&self) -> u32 {
        if self.kind() == FileType::Directory { 2 } else { 1 }
    }

    /// Whether the name still stands for this.
    fn alive(&self) -> bool {
        true
    }

    /// A check in place of that of the mode bits.
    fn permission(&self, caller: &dyn Caller, mask: u32) -> Option<Result<(), Errno>> {
        let _ = (caller, mask);
        None
    }

    /// A check when a file or directory is opened, after that of permission.
    ///
    /// # Errors
    /// `EACCES` and the like.
    fn check_open(&self, caller: &dyn Caller, flags: OpenFlags) -> Result<(), Errno> {
        let _ = (caller, flags);
        Ok(())
    }

    /// Opens a file that is no text to be made up. `None` for one that is.
    ///
    /// # Errors
    /// Those of open(2).
    fn open(&self, caller: &dyn Caller) -> Result<Option<Box<dyn FileOps>>, Errno> {
        let _ = caller;
        Ok(None)
    }

    /// A file's content.
    ///
    /// # Errors
    /// `ESRCH` if what it speaks of is gone.
    fn read(&self, caller: &dyn Caller) -> Result<Vec<u8>, Errno> {
        let _ = caller;
        Err(Errno::EINVAL)
    }

    /// Takes what was written in one call.
    ///
    /// # Errors
    /// `EINVAL` for what it does not understand.
    fn write(&self, caller: &dyn Caller, data: &[u8]) -> Result<(), Errno> {
        let _ = (caller, data);
        Err(Errno::EINVAL)
    }

    /// A directory's child.
    ///
    /// # Errors
    /// `ENOENT`.
    fn lookup(&self, caller: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let _ = (caller, name);
        Err(Errno::ENOTDIR)
    }

    /// A directory's children, by position.
    ///
    /// # Errors
    /// `ENOENT` if it is gone.
    fn list(&self, caller: &dyn Caller) -> Result<Vec<Entry>, Errno> {
        let _ = caller;
        Err(Errno::ENOTDIR)
    }

    /// Where a symbolic link leads.
    ///
    /// # Errors
    /// `EACCES`, `ENOENT`.
    fn link(&self, caller: &dyn Caller) -> Result<Link, Errno> {
        let _ = caller;
        Err(Errno::EINVAL)
    }
}

/// The inode of a [`Body`].
pub struct Node {
    dev: u64,
    ino: u64,
    body: Arc<dyn Body>,
    made: Timespec,
    common: InodeCommon,
}

impl Node {
    /// A new inode.
    #[must_use]
    pub fn new(dev: u64, ino: u64, body: impl Body) -> Arc<Node> {
        Node::shared(dev, ino, Arc::new(body))
    }

    /// A new inode of a body that others have too.
    #[must_use]
    pub fn shared(dev: u64, ino: u64, body: Arc<dyn Body>) -> Arc<Node> {
        Arc::new(Node { dev, ino, body, made: now_coarse(), common: InodeCommon::default() })
    }
}

impl Inode for Node {
    fn attr(&self) -> Result<Attr, Errno> {
        let (uid, gid) = self.body.owner();
        Ok(Attr {
            dev: self.dev,
            ino: self.ino,
            kind: self.body.kind(),
            perm: self.body.perm(),
            nlink: self.body.nlink(),
            uid,
            gid,
            rdev: 0,
            size: self.body.size(),
            blksize: 1024,
            blocks: 0,
            atime: self.made,
            mtime: self.made,
            ctime: self.made,
            btime: None,
        })
    }

    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    /// Truncation on open does nothing; nothing else can be changed.
    fn set_attr(&self, _caller: &dyn Caller, set: &SetAttr) -> Result<(), Errno> {
        let only_size = SetAttr { size: None, ..*set } == SetAttr::default();
        if set.size.is_some() && only_size { Ok(()) } else { Err(Errno::EPERM) }
    }

    fn permission(&self, caller: &dyn Caller, mask: u32) -> Option<Result<(), Errno>> {
        self.body.permission(caller, mask)
    }

    fn open(&self, at: &PathRef, flags: OpenFlags, caller: &dyn Caller) -> Result<OpenFile, Errno> {
        self.body.check_open(caller, flags)?;
        let ops: Box<dyn FileOps> = match self.body.kind() {
            FileType::Directory => Box::new(SynthDir { ino: self.ino, body: self.body.clone() }),
            FileType::Regular => match self.body.open(caller)? {
                Some(ops) => ops,
                None => Box::new(SynthFile { body: self.body.clone(), content: Mutex::new(rank::LEAF, None) }),
            },
            FileType::Symlink => return Err(Errno::ELOOP),
            _ => return Err(Errno::ENXIO),
        };
        Ok(OpenFile::new(at.clone(), flags, ops))
    }

    fn lookup(&self, caller: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        self.body.lookup(caller, name)
    }

    fn revalidate(&self, _parent: &dyn Inode, _name: &[u8]) -> bool {
        self.body.alive()
    }

    fn create(&self, _caller: &dyn Caller, _name: &[u8], _kind: vfs::CreateKind<'_>) -> Result<Arc<dyn Inode>, Errno> {
        Err(Errno::ENOENT)
    }

    fn read_link(&self, caller: &dyn Caller) -> Result<Link, Errno> {
        self.body.link(caller)
    }
}

/// Reads `content` from an offset on.
fn put_from(content: &[u8], offset: u64, dst: &mut dyn Sink) -> Result<usize, IoError> {
    match usize::try_from(offset).ok().and_then(|start| content.get(start..)) {
        Some(rest) if !rest.is_empty() => Ok(dst.put(rest)?),
        _ => Ok(0),
    }
}

/// An open file with made-up content.
struct SynthFile {
    body: Arc<dyn Body>,
    content: Mutex<Option<Arc<[u8]>>>,
}

impl SynthFile {
    fn content(&self, caller: &dyn Caller, offset: u64) -> Result<Arc<[u8]>, Errno> {
        if offset != 0
            && let Some(content) = self.content.lock().clone()
        {
            return Ok(content);
        }
        let new: Arc<[u8]> = self.body.read(caller)?.into();
        let old = self.content.lock().replace(new.clone());
        drop(old);
        Ok(new)
    }
}

impl FileOps for SynthFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_at(&self, io: &IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> Result<usize, IoError> {
        put_from(&self.content(io.caller, offset)?, offset, dst)
    }

    fn write_at(&self, io: &IoCx<'_>, at: WriteAt, src: &mut dyn Source) -> Result<Written, IoError> {
        let mut data = vec![0; src.remaining().min(WRITE_MAX)];
        let len = src.take(&mut data)?;
        self.body.write(io.caller, data.get(..len).unwrap_or_default())?;
        let start = if let WriteAt::Offset(offset) = at { offset } else { 0 };
        Ok(Written { len, end: start.saturating_add(len as u64) })
    }

    /// There is no end to seek from, but 0 is as good as any.
    fn seek_end(&self) -> Option<u64> {
        Some(0)
    }
}

/// An open directory.
struct SynthDir {
    ino: u64,
    body: Arc<dyn Body>,
}

impl FileOps for SynthDir {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_dir(&self, io: &IoCx<'_>, pos: u64, emit: &mut DirEmit<'_>) -> Result<u64, Errno> {
        let mut pos = pos;
        for (at, name) in [(0, &b"."[..]), (1, b"..")] {
            if pos == at {
                if !emit(name, self.ino, FileType::Directory, at + 1) {
                    return Ok(pos);
                }
                pos = at + 1;
            }
        }
        for entry in self.body.list(io.caller)? {
            if entry.pos < pos {
                continue;
            }
            if !emit(&entry.name, entry.ino, entry.kind, entry.pos + 1) {
                break;
            }
            pos = entry.pos + 1;
        }
        Ok(pos)
    }
}

/// The check of nodes that ignore the capabilities that overrule mode bits: what nobody may write stays so for all.
///
/// # Errors
/// `EACCES`.
pub fn strict_permission(caller: &dyn Caller, attr: &Attr, mask: u32) -> Result<(), Errno> {
    let any = |bits: u32| attr.perm & bits != 0;
    let lacking = mask & MAY_WRITE != 0 && !any(0o222)
        || mask & MAY_READ != 0 && !any(0o444)
        || mask & MAY_EXEC != 0 && !any(0o111);
    if lacking { Err(Errno::EACCES) } else { generic_permission(&caller.creds(), attr, mask) }
}

/// How a file's content is made.
pub type Make = Box<dyn Fn(&dyn Caller) -> Result<Vec<u8>, Errno> + Send + Sync>;
/// What happens to what is written.
pub type Take = Box<dyn Fn(&dyn Caller, &[u8]) -> Result<(), Errno> + Send + Sync>;

/// What makes a directory's entries.
pub type Fill = Box<dyn FnOnce() -> Vec<(String, Static)> + Send>;

/// A tree that does not change: directories, files and links by name.
pub enum Static {
    /// A directory: mode bits and what is in it.
    Dir(u32, Vec<(String, Static)>),
    /// A directory that is filled when somebody first looks into it, with inode numbers from the given one on.
    Later(u64, Fill),
    /// A file that is only read.
    File(u32, Make),
    /// A file that may be written to.
    Writable(u32, Make, Take),
    /// A symbolic link.
    Link(String),
    /// Any other node.
    Node(Arc<dyn Inode>, FileType),
}

impl Static {
    /// A directory.
    pub fn dir(entries: impl IntoIterator<Item = (&'static str, Static)>) -> Static {
        Static::Dir(0o555, entries.into_iter().map(|(name, node)| (name.to_owned(), node)).collect())
    }

    /// A file that is always the same, readable by all.
    #[must_use]
    pub fn text(text: impl Into<Vec<u8>>) -> Static {
        let text = text.into();
        Static::File(0o444, Box::new(move |_| Ok(text.clone())))
    }

    /// The same with a setting's mode bits, `rw-r--r--`.
    #[must_use]
    pub fn setting(text: impl Into<Vec<u8>>) -> Static {
        let text = text.into();
        Static::File(0o644, Box::new(move |_| Ok(text.clone())))
    }

    /// A file of made-up content, readable by all.
    pub fn made(make: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Static {
        Static::File(0o444, Box::new(move |_| Ok(make())))
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(target: &str) -> Static {
        Static::Link(target.to_owned())
    }

    /// Makes inodes of it. `next` is the next inode number to give.
    #[must_use]
    pub fn build(self, dev: u64, next: &mut u64) -> (Arc<dyn Inode>, FileType) {
        let ino = *next;
        *next += 1;
        let body: Arc<dyn Body> = match self {
            Static::Node(inode, kind) => return (inode, kind),
            Static::Dir(perm, entries) => Arc::new(StaticDir { perm, ..StaticDir::new(entries, dev, next) }),
            Static::Later(first, fill) => Arc::new(StaticDir::later(fill, dev, first)),
            Static::File(perm, make) => Arc::new(StaticFile { perm, make, take: None }),
            Static::Writable(perm, make, take) => Arc::new(StaticFile { perm, make, take: Some(take) }),
            Static::Link(target) => Arc::new(StaticLink(target)),
        };
        let kind = body.kind();
        (Node::shared(dev, ino, body), kind)
    }
}

/// A directory of a fixed tree.
pub struct StaticDir {
    perm: u32,
    entries: LazyLock<Vec<Child>, Box<dyn FnOnce() -> Vec<Child> + Send>>,
}

/// Name, inode, type and inode number.
type Child = (Vec<u8>, Arc<dyn Inode>, FileType, u64);

/// Makes inodes of a directory's entries.
fn children(entries: Vec<(String, Static)>, dev: u64, next: &mut u64) -> Vec<Child> {
    let child = |(name, node): (String, Static)| {
        let ino = *next;
        let (inode, kind) = node.build(dev, next);
        (name.into_bytes(), inode, kind, ino)
    };
    entries.into_iter().map(child).collect()
}

impl StaticDir {
    /// Makes inodes of its entries, which all may read.
    #[must_use]
    pub fn new(entries: Vec<(String, Static)>, dev: u64, next: &mut u64) -> StaticDir {
        let made = children(entries, dev, next);
        StaticDir { perm: 0o555, entries: LazyLock::new(Box::new(move || made)) }
    }

    /// Makes them when somebody first looks, with inode numbers from `first` on.
    fn later(fill: Fill, dev: u64, first: u64) -> StaticDir {
        StaticDir { perm: 0o555, entries: LazyLock::new(Box::new(move || children(fill(), dev, &mut { first }))) }
    }

    /// How many of its entries are directories.
    fn subdirectories(&self) -> u32 {
        self.entries.iter().filter(|(_, _, kind, _)| *kind == FileType::Directory).count() as u32
    }
}

impl Body for StaticDir {
    fn kind(&self) -> FileType {
        FileType::Directory
    }

    fn perm(&self) -> u32 {
        self.perm
    }

    fn nlink(&self) -> u32 {
        2 + self.subdirectories()
    }

    fn lookup(&self, _caller: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let found = self.entries.iter().find(|(n, ..)| n == name);
        found.map(|(_, inode, ..)| inode.clone()).ok_or(Errno::ENOENT)
    }

    fn list(&self, _caller: &dyn Caller) -> Result<Vec<Entry>, Errno> {
        let entries = (2..).zip(&*self.entries);
        Ok(entries
            .map(|(pos, (name, _, kind, ino))| Entry { name: name.clone(), ino: *ino, kind: *kind, pos })
            .collect())
    }
}

struct StaticFile {
    perm: u32,
    make: Make,
    take: Option<Take>,
}

impl Body for StaticFile {
    fn kind(&self) -> FileType {
        FileType::Regular
    }

    fn perm(&self) -> u32 {
        self.perm
    }

    fn permission(&self, caller: &dyn Caller, mask: u32) -> Option<Result<(), Errno>> {
        if mask & MAY_WRITE != 0 && self.perm & 0o222 != 0 && self.take.is_none() {
            // A setting that the sandbox can't change, as a read-only mount would have it.
            return Some(Err(Errno::EROFS));
        }
        let zero = Timespec::default();
        let attr = Attr {
            dev: 0,
            ino: 0,
            kind: FileType::Regular,
            perm: self.perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            size: 0,
            blksize: 0,
            blocks: 0,
            atime: zero,
            mtime: zero,
            ctime: zero,
            btime: None,
        };
        Some(strict_permission(caller, &attr, mask))
    }

    fn read(&self, caller: &dyn Caller) -> Result<Vec<u8>, Errno> {
        (self.make)(caller)
    }

    fn write(&self, caller: &dyn Caller, data: &[u8]) -> Result<(), Errno> {
        self.take.as_ref().map_or(Err(Errno::EPERM), |take| take(caller, data))
    }
}

struct StaticLink(String);

impl Body for StaticLink {
    fn kind(&self) -> FileType {
        FileType::Symlink
    }

    fn perm(&self) -> u32 {
        0o777
    }

    fn link(&self, _caller: &dyn Caller) -> Result<Link, Errno> {
        Ok(Link::Path(self.0.clone().into_bytes()))
    }
}

/// A file system made of nodes.
pub struct SynthFs {
    type_name: &'static str,
    magic: u64,
    dev: u64,
    volatile: bool,
    root: Arc<dyn Inode>,
}

impl SynthFs {
    /// With this root, whose inodes have the device number `dev`. `volatile` if names come and go.
    #[must_use]
    pub fn new(type_name: &'static str, magic: u64, dev: u64, volatile: bool, root: Arc<dyn Inode>) -> Arc<SynthFs> {
        Arc::new(SynthFs { type_name, magic, dev, volatile, root })
    }
}

impl FileSystem for SynthFs {
    fn type_name(&self) -> &'static str {
        self.type_name
    }

    fn dev(&self) -> u64 {
        self.dev
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn statfs(&self) -> Result<StatFs, Errno> {
        Ok(StatFs { magic: self.magic, block_size: PAGE_SIZE, name_max: 255, ..StatFs::default() })
    }

    fn volatile(&self) -> bool {
        self.volatile
    }
}

/// The first word of what was written, for settings.
///
/// # Errors
/// `EINVAL` if it is no text.
pub fn written_word(data: &[u8]) -> Result<&str, Errno> {
    let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
    Ok(text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0'))
}

/// An open file whose content was made when it was opened.
pub struct Fixed(pub Vec<u8>);

impl FileOps for Fixed {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_at(&self, _io: &IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> Result<usize, IoError> {
        put_from(&self.0, offset, dst)
    }

    fn seek_end(&self) -> Option<u64> {
        Some(0)
    }
}
