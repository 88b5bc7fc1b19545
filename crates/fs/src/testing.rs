//! What the tests of all file systems need: callers, places, and short ways to read and write.

use abi::Errno;
use host::frames::FrameAllocator;
use host::io::{SliceSink, SliceSource};
use host::memfile::MemoryFile;
use std::any::Any;
use std::sync::Arc;
use vfs::{
    Caller, CreateKind, Credentials, Dentry, FileSystem, FileType, Inode, IoCx, IoError, Mount, MountFlags, OpenFile,
    OpenFlags, PathRef, WriteAt,
};

pub struct Fake(pub Credentials);

impl Caller for Fake {
    fn creds(&self) -> Arc<Credentials> {
        Arc::new(self.0.clone())
    }

    fn tid(&self) -> i32 {
        1
    }

    fn tgid(&self) -> i32 {
        1
    }

    fn copy_in(&self, _: u64, _: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }

    fn copy_out(&self, _: u64, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

pub fn root() -> Fake {
    Fake(Credentials::new(0, 0, &[]))
}

pub fn user(id: u32) -> Fake {
    Fake(Credentials::new(id, id, &[]))
}

pub fn frames() -> Arc<FrameAllocator> {
    FrameAllocator::new(MemoryFile::new(1 << 30).unwrap(), 512 << 20)
}

pub fn place(fs: &Arc<dyn FileSystem>, inode: Arc<dyn Inode>) -> PathRef {
    let mount = Mount::new(fs.clone(), Dentry::root(fs.root()), b"test", MountFlags::empty());
    PathRef { mount, dentry: Dentry::anonymous(inode, b"test") }
}

pub fn io(caller: &Fake) -> IoCx<'_> {
    IoCx { caller, nonblock: true, sync: false, call: Box::leak(Box::default()) }
}

pub fn open(fs: &Arc<dyn FileSystem>, inode: &Arc<dyn Inode>, flags: OpenFlags) -> Result<OpenFile, Errno> {
    inode.open(&place(fs, inode.clone()), flags, &root())
}

pub fn pwrite(file: &OpenFile, at: u64, bytes: &[u8]) -> Result<usize, IoError> {
    let caller = root();
    file.ops().write_at(&io(&caller), WriteAt::Offset(at), &mut SliceSource::new(bytes)).map(|w| w.len)
}

pub fn pread(file: &OpenFile, at: u64, len: usize) -> Result<Vec<u8>, IoError> {
    let caller = root();
    let mut bytes = vec![0; len];
    let n = file.ops().read_at(&io(&caller), at, &mut SliceSink::new(&mut bytes))?;
    bytes.truncate(n);
    Ok(bytes)
}

pub fn names(file: &OpenFile) -> Vec<(String, FileType)> {
    let caller = root();
    let mut names = Vec::new();
    let mut pos = 0;
    loop {
        let mut room = 7;
        let next = file
            .ops()
            .read_dir(&io(&caller), pos, &mut |name, _, kind, _| {
                if room == 0 {
                    return false;
                }
                room -= 1;
                names.push((String::from_utf8_lossy(name).into_owned(), kind));
                true
            })
            .unwrap();
        if next == pos {
            return names;
        }
        pos = next;
    }
}

/// The names in a directory but `.` and `..`, sorted.
pub fn list(fs: &Arc<dyn FileSystem>, dir: &Arc<dyn Inode>) -> Vec<String> {
    let file = open(fs, dir, OpenFlags::DIRECTORY).unwrap();
    let mut all: Vec<String> = names(&file).into_iter().map(|(name, _)| name).collect();
    all.retain(|name| name != "." && name != "..");
    all.sort();
    all
}

pub fn mkfile(fs: &Arc<dyn FileSystem>, dir: &Arc<dyn Inode>, name: &str, bytes: &[u8]) -> Arc<dyn Inode> {
    let inode = dir.create(&root(), name.as_bytes(), CreateKind::Regular { perm: 0o644 }).unwrap();
    let file = open(fs, &inode, OpenFlags::RDWR).unwrap();
    assert_eq!(pwrite(&file, 0, bytes), Ok(bytes.len()));
    inode
}

pub fn mkdir(dir: &Arc<dyn Inode>, name: &str) -> Arc<dyn Inode> {
    dir.create(&root(), name.as_bytes(), CreateKind::Directory { perm: 0o755 }).unwrap()
}
