//! A file system in a few maps, and a task without a kernel, for tests.

use crate::time::Timespec;
use crate::*;
use abi::Errno;
use host::io::{Sink, Source};
use lock::{Mutex, rank};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Weak};

pub struct TestFs {
    root: Arc<Node>,
}

static NEXT_INO: AtomicU64 = AtomicU64::new(2);

struct Body {
    attr: Attr,
    names: BTreeMap<Vec<u8>, Arc<Node>>,
    bytes: Vec<u8>,
    jump: Option<PathRef>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

pub struct Node {
    me: Weak<Node>,
    body: Mutex<Body>,
    common: InodeCommon,
    /// Where the next lookup of a name waits, after it has looked.
    held: Mutex<Option<(Vec<u8>, Arc<Barrier>)>>,
}

impl Node {
    fn new(kind: FileType, perm: u32, uid: u32, gid: u32) -> Arc<Node> {
        let attr = Attr {
            dev: 7,
            ino: NEXT_INO.fetch_add(1, Ordering::Relaxed),
            kind,
            perm,
            nlink: 1,
            uid,
            gid,
            rdev: 0,
            size: 0,
            blksize: 4096,
            blocks: 0,
            atime: Timespec::default(),
            mtime: Timespec::default(),
            ctime: Timespec::default(),
            btime: None,
        };
        let body = Body { attr, names: BTreeMap::new(), bytes: Vec::new(), jump: None, xattrs: BTreeMap::new() };
        Arc::new_cyclic(|me| Node {
            me: me.clone(),
            body: Mutex::new(rank::INODE, body),
            common: InodeCommon::default(),
            held: Mutex::new(rank::LEAF, None),
        })
    }

    /// Makes the next lookup of `name` wait, twice: when it has looked, and before it says what it has seen.
    pub fn hold_lookup(&self, name: &[u8]) -> Arc<Barrier> {
        let barrier = Arc::new(Barrier::new(2));
        *self.held.lock() = Some((name.to_vec(), barrier.clone()));
        barrier
    }

    /// Makes a symbolic link a magic one.
    pub fn set_jump(&self, to: PathRef) {
        self.body.lock().jump = Some(to);
    }
}

pub fn node(inode: &Arc<dyn Inode>) -> &Node {
    inode.as_any().downcast_ref().expect("a node of the test file system")
}

impl Inode for Node {
    fn attr(&self) -> Result<Attr, Errno> {
        let body = self.body.lock();
        Ok(Attr { size: body.bytes.len() as u64, ..body.attr })
    }

    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn set_attr(&self, _caller: &dyn Caller, set: &SetAttr) -> Result<(), Errno> {
        let mut body = self.body.lock();
        if let Some(size) = set.size {
            body.bytes.resize(size as usize, 0);
        }
        body.attr.perm = set.perm.unwrap_or(body.attr.perm);
        body.attr.uid = set.uid.unwrap_or(body.attr.uid);
        body.attr.gid = set.gid.unwrap_or(body.attr.gid);
        Ok(())
    }

    fn open(&self, at: &PathRef, flags: OpenFlags, _caller: &dyn Caller) -> Result<OpenFile, Errno> {
        let node = self.me.upgrade().ok_or(Errno::EIO)?;
        Ok(OpenFile::new(at.clone(), flags, Box::new(NodeFile(node))))
    }

    fn lookup(&self, _caller: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let found = self.body.lock().names.get(name).cloned();
        let held = self.held.lock().take_if(|(held, _)| held == name);
        if let Some((_, barrier)) = held {
            barrier.wait();
            barrier.wait();
        }
        found.map(|n| n as Arc<dyn Inode>).ok_or(Errno::ENOENT)
    }

    fn create(&self, caller: &dyn Caller, name: &[u8], kind: CreateKind<'_>) -> Result<Arc<dyn Inode>, Errno> {
        let (file_type, perm) = match kind {
            CreateKind::Regular { perm } => (FileType::Regular, perm),
            CreateKind::Directory { perm } => (FileType::Directory, perm),
            CreateKind::Symlink { .. } => (FileType::Symlink, 0o777),
            CreateKind::Fifo { perm } => (FileType::Fifo, perm),
            CreateKind::Socket { perm } => (FileType::Socket, perm),
            CreateKind::CharDevice { perm, .. } => (FileType::CharDevice, perm),
            CreateKind::BlockDevice { perm, .. } => (FileType::BlockDevice, perm),
        };
        let creds = caller.creds();
        let node = Node::new(file_type, perm, creds.fsuid, creds.fsgid);
        if let CreateKind::Symlink { target } = kind {
            node.body.lock().bytes = target.to_vec();
        }
        self.body.lock().names.insert(name.to_vec(), node.clone());
        Ok(node)
    }

    fn create_unnamed(&self, caller: &dyn Caller, perm: u32) -> Result<Arc<dyn Inode>, Errno> {
        let creds = caller.creds();
        let node = Node::new(FileType::Regular, perm, creds.fsuid, creds.fsgid);
        node.body.lock().attr.nlink = 0;
        Ok(node)
    }

    fn link(&self, _caller: &dyn Caller, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        let target = node(target).me.upgrade().ok_or(Errno::EIO)?;
        target.body.lock().attr.nlink += 1;
        self.body.lock().names.insert(name.to_vec(), target);
        Ok(())
    }

    fn unlink(&self, _caller: &dyn Caller, name: &[u8], child: &Arc<dyn Inode>) -> Result<(), Errno> {
        node(child).body.lock().attr.nlink -= 1;
        self.body.lock().names.remove(name);
        Ok(())
    }

    fn rmdir(&self, _caller: &dyn Caller, name: &[u8], child: &Arc<dyn Inode>) -> Result<(), Errno> {
        if !node(child).body.lock().names.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.body.lock().names.remove(name);
        Ok(())
    }

    fn rename(
        &self,
        _caller: &dyn Caller,
        name: &[u8],
        new_dir: &Arc<dyn Inode>,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let new_dir = node(new_dir);
        let target = new_dir.body.lock().names.get(new_name).cloned();
        if let Some(target) = &target
            && !flags.contains(RenameFlags::EXCHANGE)
        {
            if !target.body.lock().names.is_empty() {
                return Err(Errno::ENOTEMPTY);
            }
            target.body.lock().attr.nlink -= 1;
        }
        let moved = self.body.lock().names.remove(name).ok_or(Errno::ENOENT)?;
        new_dir.body.lock().names.insert(new_name.to_vec(), moved);
        if let Some(target) = target
            && flags.contains(RenameFlags::EXCHANGE)
        {
            self.body.lock().names.insert(name.to_vec(), target);
        }
        Ok(())
    }

    fn read_link(&self, _caller: &dyn Caller) -> Result<Link, Errno> {
        let body = self.body.lock();
        Ok(match &body.jump {
            Some(place) => Link::Jump(place.clone()),
            None => Link::Path(body.bytes.clone()),
        })
    }

    fn get_xattr(&self, _caller: &dyn Caller, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.body.lock().xattrs.get(name).cloned().ok_or(Errno::ENODATA)
    }

    fn set_xattr(
        &self,
        _caller: &dyn Caller,
        name: &[u8],
        value: Option<&[u8]>,
        _flags: XattrFlags,
    ) -> Result<(), Errno> {
        let mut body = self.body.lock();
        match value {
            Some(value) => body.xattrs.insert(name.to_vec(), value.to_vec()),
            None => body.xattrs.remove(name),
        };
        Ok(())
    }

    fn list_xattr(&self, _caller: &dyn Caller) -> Result<Vec<Vec<u8>>, Errno> {
        Ok(self.body.lock().xattrs.keys().cloned().collect())
    }
}

struct NodeFile(Arc<Node>);

impl FileOps for NodeFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_at(&self, _io: &IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> Result<usize, IoError> {
        let body = self.0.body.lock();
        Ok(dst.put(body.bytes.get(offset as usize..).unwrap_or_default())?)
    }

    fn write_at(&self, _io: &IoCx<'_>, at: WriteAt, src: &mut dyn Source) -> Result<Written, IoError> {
        let mut body = self.0.body.lock();
        let start = match at {
            WriteAt::Offset(offset) => offset as usize,
            WriteAt::End => body.bytes.len(),
        };
        let mut bytes = vec![0; src.remaining()];
        let len = src.take(&mut bytes)?;
        let end = start + len;
        if body.bytes.len() < end {
            body.bytes.resize(end, 0);
        }
        body.bytes[start..end].copy_from_slice(&bytes[..len]);
        Ok(Written { len, end: end as u64 })
    }
}

impl TestFs {
    pub fn new() -> Arc<TestFs> {
        Arc::new(TestFs { root: Node::new(FileType::Directory, 0o755, 0, 0) })
    }
}

impl FileSystem for TestFs {
    fn type_name(&self) -> &'static str {
        "testfs"
    }

    fn dev(&self) -> u64 {
        7
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn statfs(&self) -> Result<StatFs, Errno> {
        Ok(StatFs::default())
    }
}

pub struct TestCaller {
    pub creds: Arc<Credentials>,
    pub limit: u64,
}

impl Caller for TestCaller {
    fn creds(&self) -> Arc<Credentials> {
        self.creds.clone()
    }

    fn tid(&self) -> i32 {
        1
    }

    fn tgid(&self) -> i32 {
        1
    }

    fn copy_in(&self, _addr: u64, _buf: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }

    fn copy_out(&self, _addr: u64, _buf: &[u8]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }

    fn file_size_limit(&self) -> u64 {
        self.limit
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

pub struct NoSpecials;

impl SpecialFiles for NoSpecials {
    fn open_fifo(&self, _at: &PathRef, _flags: OpenFlags, _caller: &dyn Caller) -> Result<OpenFile, Errno> {
        Err(Errno::ENXIO)
    }

    fn open_char_device(
        &self,
        _at: &PathRef,
        _rdev: u64,
        _flags: OpenFlags,
        _caller: &dyn Caller,
    ) -> Result<OpenFile, Errno> {
        Err(Errno::ENXIO)
    }
}

/// A namespace with one file system, and tasks that see it.
pub struct World {
    pub mounts: Arc<MountNamespace>,
    pub cache: DentryCache,
    pub root_user: TestCaller,
    pub user: TestCaller,
}

impl World {
    pub fn new() -> World {
        let fs = TestFs::new();
        let root = Dentry::root(fs.root());
        let mount = Mount::new(fs, root, b"test", MountFlags::RELATIME);
        let caller = |uid| TestCaller { creds: Arc::new(Credentials::new(uid, uid, &[])), limit: u64::MAX };
        World {
            mounts: Arc::new(MountNamespace::new(mount)),
            cache: DentryCache::new(1000),
            root_user: caller(0),
            user: caller(1000),
        }
    }

    pub fn cx<'a>(&'a self, caller: &'a TestCaller) -> WalkCx<'a> {
        WalkCx {
            caller,
            creds: caller.creds.clone(),
            root: self.mounts.root(),
            cwd: self.mounts.root(),
            umask: 0o022,
            mounts: self.mounts.clone(),
            cache: &self.cache,
            special: &NoSpecials,
        }
    }

    pub fn io<'a>(&self, caller: &'a TestCaller) -> IoCx<'a> {
        IoCx { caller, nonblock: false, sync: false, call: Box::leak(Box::default()) }
    }
}
