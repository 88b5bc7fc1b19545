//! Attributes of inodes and file systems.

use crate::time::Timespec;
use abi::raw::general as c;

/// The type of an inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum FileType {
    Regular,
    Directory,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
    /// An anonymous inode, whose `st_mode` has no type bits on Linux (epoll, eventfd and the like).
    Anonymous,
}

impl FileType {
    /// The `S_IFMT` bits.
    #[must_use]
    pub fn mode_bits(self) -> u32 {
        match self {
            FileType::Regular => c::S_IFREG,
            FileType::Directory => c::S_IFDIR,
            FileType::Symlink => c::S_IFLNK,
            FileType::CharDevice => c::S_IFCHR,
            FileType::BlockDevice => c::S_IFBLK,
            FileType::Fifo => c::S_IFIFO,
            FileType::Socket => c::S_IFSOCK,
            FileType::Anonymous => 0,
        }
    }

    /// From `S_IFMT` bits.
    #[must_use]
    pub fn from_mode(mode: u32) -> FileType {
        match mode & c::S_IFMT {
            c::S_IFREG => FileType::Regular,
            c::S_IFDIR => FileType::Directory,
            c::S_IFLNK => FileType::Symlink,
            c::S_IFCHR => FileType::CharDevice,
            c::S_IFBLK => FileType::BlockDevice,
            c::S_IFIFO => FileType::Fifo,
            c::S_IFSOCK => FileType::Socket,
            _ => FileType::Anonymous,
        }
    }

    /// The `DT_*` value of a directory entry.
    #[must_use]
    pub fn dirent_type(self) -> u8 {
        (self.mode_bits() >> 12) as u8
    }
}

/// What `stat` tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Attr {
    /// Device number of the file system, in the encoding of [`makedev`].
    pub dev: u64,
    pub ino: u64,
    pub kind: FileType,
    /// Permission bits, `07777`.
    pub perm: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    /// Device number of a device inode.
    pub rdev: u64,
    pub size: u64,
    pub blksize: u32,
    /// In units of 512 bytes.
    pub blocks: u64,
    pub atime: Timespec,
    pub mtime: Timespec,
    pub ctime: Timespec,
    pub btime: Option<Timespec>,
}

impl Attr {
    /// `st_mode`.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.kind.mode_bits() | self.perm
    }
}

/// A device number as `stat` returns it (`new_encode_dev` for 12-bit majors and 20-bit minors).
#[must_use]
pub const fn makedev(major: u32, minor: u32) -> u64 {
    ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12)) as u64
}

/// A time to be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetTime {
    /// The time of the call.
    Now,
    /// This one.
    To(Timespec),
}

/// Attributes to be changed; `None` leaves one as it is. Permission has been checked, except that of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct SetAttr {
    pub perm: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
}

/// What `statfs` tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct StatFs {
    pub magic: u64,
    pub block_size: u64,
    pub blocks: u64,
    pub blocks_free: u64,
    pub blocks_available: u64,
    pub files: u64,
    pub files_free: u64,
    pub name_max: u64,
}
