//! `/proc/PID/ns`: links that name the namespaces a process is in.
//!
//! A sandbox has one of each kind but for mounts.

use super::place::PlaceLink;
use super::root::pid_ino;
use super::target::{Target, View};
use crate::synth::{Body, Entry, Node, SynthFs};
use abi::Errno;
use lock::{Mutex, rank};
use std::collections::HashMap;
use std::sync::Arc;
use vfs::{Caller, Dentry, FileType, Inode, Mount, MountFlags, PathRef};

/// Names of links, kinds, and Linux's numbers of the first namespaces.
const KINDS: &[(&str, &str, u64)] = &[
    ("cgroup", "cgroup", 0xefff_fffb),
    ("ipc", "ipc", 0xefff_ffff),
    ("mnt", "mnt", 0xf000_0000),
    ("net", "net", 0xf000_0001),
    ("pid", "pid", 0xefff_fffc),
    ("pid_for_children", "pid", 0xefff_fffc),
    ("time", "time", 0xefff_fffa),
    ("time_for_children", "time", 0xefff_fffa),
    ("user", "user", 0xefff_fffd),
    ("uts", "uts", 0xefff_fffe),
];

/// The pseudo file system that namespaces are files of.
pub(super) struct Namespaces {
    dev: u64,
    mount: Arc<Mount>,
    /// Numbers of mount namespaces by their first mount, which no other has.
    mounts: Mutex<HashMap<u64, u64>>,
}

/// Most mount namespaces that are told apart.
const MOUNTS_MAX: usize = 1 << 16;

impl Namespaces {
    pub fn new() -> Namespaces {
        const MAGIC: u64 = 0x6e73_6673;
        let dev = vfs::anon::anonymous_dev();
        let root: Arc<dyn Inode> = Node::new(dev, 1, NsFile);
        let fs = SynthFs::new("nsfs", MAGIC, dev, false, root.clone());
        let mount = Mount::new(fs, Dentry::root(root), b"nsfs", MountFlags::empty());
        Namespaces { dev, mount, mounts: Mutex::new(rank::LEAF, HashMap::new()) }
    }

    /// The number of a mount namespace.
    fn of_mounts(&self, view: &View) -> Result<u64, Errno> {
        let task = view.task.as_ref().ok_or(Errno::ENOENT)?;
        let fs = task.fs().ok_or(Errno::ENOENT)?;
        let first = fs.mounts().root().mount.id();
        let mut numbers = self.mounts.lock();
        let next = numbers.len();
        if let Some(number) = numbers.get(&first) {
            return Ok(*number);
        }
        if next >= MOUNTS_MAX {
            return Err(Errno::ENOENT);
        }
        let number = 0xf000_0000 + if next == 0 { 0 } else { 16 + next as u64 };
        numbers.insert(first, number);
        Ok(number)
    }

    fn place(&self, kind: &str, number: u64) -> PathRef {
        let inode = Node::new(self.dev, number, NsFile);
        let name = format!("{kind}:[{number}]");
        PathRef { mount: self.mount.clone(), dentry: Dentry::anonymous(inode, name.as_bytes()) }
    }
}

/// A namespace as a file.
struct NsFile;

impl Body for NsFile {
    fn kind(&self) -> FileType {
        FileType::Regular
    }

    fn perm(&self) -> u32 {
        0o444
    }
}

/// `ns`.
pub(super) struct NsDir(pub Target);

impl Body for NsDir {
    fn kind(&self) -> FileType {
        FileType::Directory
    }

    fn perm(&self) -> u32 {
        0o511
    }

    fn owner(&self) -> (u32, u32) {
        self.0.owner(false)
    }

    fn alive(&self) -> bool {
        self.0.alive()
    }

    fn lookup(&self, _caller: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let index = KINDS.iter().position(|(n, ..)| n.as_bytes() == name).ok_or(Errno::ENOENT)?;
        let target = self.0.clone();
        let (dev, ino) = (target.shared.dev, pid_ino(target.tid, 512 + index as u64));
        Ok(Node::new(dev, ino, PlaceLink { target, place: move |view: &View| place(view, index) }))
    }

    fn list(&self, _caller: &dyn Caller) -> Result<Vec<Entry>, Errno> {
        let entries = KINDS.iter().enumerate();
        Ok(entries
            .map(|(index, (name, ..))| Entry {
                name: name.as_bytes().to_vec(),
                ino: pid_ino(self.0.tid, 512 + index as u64),
                kind: FileType::Symlink,
                pos: 2 + index as u64,
            })
            .collect())
    }
}

/// What a link leads to.
fn place(view: &View, index: usize) -> Result<PathRef, Errno> {
    let (_, kind, number) = *KINDS.get(index).ok_or(Errno::ENOENT)?;
    let namespaces = &view.target.shared.namespaces;
    let number = if kind == "mnt" { namespaces.of_mounts(view)? } else { number };
    Ok(namespaces.place(kind, number))
}
