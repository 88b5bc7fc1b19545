//! The directory of a process, and that of a thread in its `task`.

use super::place::PlaceLink;
use super::root::{number, pid_ino};
use super::target::{Target, View};
use super::{attributes, fds, memory, namespaces, net, status};
use crate::synth::{Body, Entry, Node};
use abi::Errno;
use std::sync::Arc;
use vfs::{Caller, FileOps, FileType, Inode, OpenFlags, PathRef};

/// Makes a file's content.
type Text = fn(&View) -> Result<Vec<u8>, Errno>;

/// What a name stands for.
#[derive(Clone, Copy)]
enum What {
    /// A file that all may see who pass the mode bits.
    Text(Text),
    /// A file for those who may inspect the process.
    Guarded(Text),
    /// A file that may be written to.
    Setting(Text, fn(&View, &dyn Caller, &[u8]) -> Result<(), Errno>),
    /// The memory itself.
    Memory,
    /// A link to a place, for those who may inspect the process.
    Place(fn(&View) -> Result<PathRef, Errno>),
    /// A directory.
    Tasks,
    Descriptors,
    DescriptorInfo,
    Namespaces,
    Net,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Both,
    Process,
    Thread,
}

struct Item {
    name: &'static str,
    perm: u32,
    what: What,
    place: Where,
}

const fn item(name: &'static str, perm: u32, what: What) -> Item {
    Item { name, perm, what, place: Where::Both }
}

const fn only(place: Where, name: &'static str, perm: u32, what: What) -> Item {
    Item { name, perm, what, place }
}

const ITEMS: &[Item] = &[
    only(Where::Process, "task", 0o555, What::Tasks),
    item("fd", 0o500, What::Descriptors),
    item("fdinfo", 0o555, What::DescriptorInfo),
    item("ns", 0o511, What::Namespaces),
    item("net", 0o555, What::Net),
    item("environ", 0o400, What::Guarded(memory::environ)),
    item("auxv", 0o400, What::Guarded(memory::auxv)),
    item("status", 0o444, What::Text(status::status)),
    item("personality", 0o400, What::Guarded(attributes::personality)),
    item("limits", 0o444, What::Text(attributes::limits)),
    item("comm", 0o644, What::Setting(attributes::comm, attributes::set_comm)),
    item("syscall", 0o400, What::Guarded(attributes::syscall)),
    item("cmdline", 0o444, What::Text(memory::cmdline)),
    item("stat", 0o444, What::Text(status::stat)),
    item("statm", 0o444, What::Text(status::statm)),
    item("maps", 0o444, What::Guarded(memory::maps)),
    item("smaps", 0o444, What::Guarded(memory::smaps)),
    item("smaps_rollup", 0o444, What::Guarded(memory::smaps_rollup)),
    only(Where::Thread, "children", 0o444, What::Text(attributes::children)),
    item("mem", 0o600, What::Memory),
    item("cwd", 0o777, What::Place(attributes::cwd)),
    item("root", 0o777, What::Place(attributes::root)),
    item("exe", 0o777, What::Place(attributes::exe)),
    item("mounts", 0o444, What::Text(attributes::mounts)),
    item("mountinfo", 0o444, What::Text(attributes::mountinfo)),
    only(Where::Process, "mountstats", 0o400, What::Guarded(attributes::mountstats)),
    item("wchan", 0o444, What::Text(attributes::wchan)),
    item("schedstat", 0o444, What::Text(attributes::schedstat)),
    item("cpuset", 0o444, What::Text(attributes::cpuset)),
    item("cgroup", 0o444, What::Text(attributes::cgroup)),
    item("oom_score", 0o444, What::Text(attributes::oom_score)),
    item("oom_score_adj", 0o644, What::Setting(attributes::oom_score_adj, attributes::set_oom_score_adj)),
    item("loginuid", 0o644, What::Text(attributes::unset_id)),
    item("sessionid", 0o444, What::Text(attributes::unset_id)),
    only(Where::Process, "coredump_filter", 0o644, What::Text(attributes::coredump_filter)),
    item("io", 0o400, What::Guarded(attributes::io)),
    item("uid_map", 0o644, What::Text(attributes::id_map)),
    item("gid_map", 0o644, What::Text(attributes::id_map)),
    item("projid_map", 0o644, What::Text(attributes::id_map)),
    item("setgroups", 0o644, What::Text(attributes::setgroups)),
    only(Where::Process, "timerslack_ns", 0o666, What::Text(attributes::timerslack)),
];

/// Whether a thread's or a process's directory has an item.
fn shown(item: &Item, thread: bool) -> bool {
    match item.place {
        Where::Both => true,
        Where::Process => !thread,
        Where::Thread => thread,
    }
}

fn kind_of(what: What) -> FileType {
    match what {
        What::Text(_) | What::Guarded(_) | What::Setting(..) | What::Memory => FileType::Regular,
        What::Place(_) => FileType::Symlink,
        What::Tasks | What::Descriptors | What::DescriptorInfo | What::Namespaces | What::Net => FileType::Directory,
    }
}

/// A process's or thread's directory.
pub(super) struct PidDir(Target);

impl PidDir {
    pub fn node(target: Target) -> Arc<Node> {
        let (dev, ino) = (target.shared.dev, pid_ino(target.tid, if target.thread { 1 } else { 0 }));
        Node::new(dev, ino, PidDir(target))
    }
}

/// The number of an item's inode.
fn item_ino(target: &Target, index: usize) -> u64 {
    pid_ino(target.tid, 16 + 2 * index as u64 + u64::from(target.thread))
}

impl Body for PidDir {
    fn kind(&self) -> FileType {
        FileType::Directory
    }

    fn perm(&self) -> u32 {
        0o555
    }

    fn owner(&self) -> (u32, u32) {
        self.0.owner(true)
    }

    fn nlink(&self) -> u32 {
        let directories = ITEMS.iter().filter(|i| shown(i, self.0.thread) && kind_of(i.what) == FileType::Directory);
        2 + directories.count() as u32
    }

    fn alive(&self) -> bool {
        self.0.alive()
    }

    fn permission(&self, _caller: &dyn Caller, _mask: u32) -> Option<Result<(), Errno>> {
        if self.0.alive() { None } else { Some(Err(Errno::ESRCH)) }
    }

    fn lookup(&self, _caller: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let mut items = ITEMS.iter().enumerate();
        let found = items.find(|(_, item)| item.name.as_bytes() == name && shown(item, self.0.thread));
        let (index, item) = found.ok_or(Errno::ENOENT)?;
        if !self.0.alive() {
            return Err(Errno::ENOENT);
        }
        let target = self.0.clone();
        let (dev, ino) = (target.shared.dev, item_ino(&target, index));
        Ok(match item.what {
            What::Tasks => Node::new(dev, ino, TaskDir(target)),
            What::Descriptors => Node::new(dev, ino, fds::FdDir { target, info: false }),
            What::DescriptorInfo => Node::new(dev, ino, fds::FdDir { target, info: true }),
            What::Namespaces => Node::new(dev, ino, namespaces::NsDir(target)),
            What::Net => Node::new(dev, ino, net::NetDir::new(&target)),
            What::Place(place) => Node::new(dev, ino, PlaceLink { target, place }),
            _ => Node::new(dev, ino, PidFile { target, item }),
        })
    }

    fn list(&self, _caller: &dyn Caller) -> Result<Vec<Entry>, Errno> {
        if !self.0.alive() {
            return Err(Errno::ENOENT);
        }
        let items = ITEMS.iter().enumerate().filter(|(_, item)| shown(item, self.0.thread));
        Ok(items
            .map(|(index, item)| Entry {
                name: item.name.as_bytes().to_vec(),
                ino: item_ino(&self.0, index),
                kind: kind_of(item.what),
                pos: index as u64 + 2,
            })
            .collect())
    }
}

/// `task`.
struct TaskDir(Target);

impl TaskDir {
    fn threads(&self) -> Result<Vec<i32>, Errno> {
        let threads = self.0.with(|_, process| {
            let mut threads: Vec<i32> = process.threads.iter().copied().collect();
            // A leader that ended before the others is still one of them.
            if !threads.contains(&self.0.pid) {
                threads.insert(0, self.0.pid);
            }
            threads
        });
        threads.ok_or(Errno::ENOENT)
    }
}

impl Body for TaskDir {
    fn kind(&self) -> FileType {
        FileType::Directory
    }

    fn perm(&self) -> u32 {
        0o555
    }

    fn owner(&self) -> (u32, u32) {
        self.0.owner(true)
    }

    fn nlink(&self) -> u32 {
        2 + self.threads().map_or(0, |t| t.len() as u32)
    }

    fn alive(&self) -> bool {
        self.0.alive()
    }

    fn lookup(&self, _caller: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let target = number(name).and_then(|tid| self.0.thread(tid)).ok_or(Errno::ENOENT)?;
        Ok(PidDir::node(target))
    }

    fn list(&self, _caller: &dyn Caller) -> Result<Vec<Entry>, Errno> {
        Ok(self
            .threads()?
            .into_iter()
            .map(|tid| Entry {
                name: tid.to_string().into_bytes(),
                ino: pid_ino(tid, 1),
                kind: FileType::Directory,
                pos: 2 + u64::from(tid.cast_unsigned()),
            })
            .collect())
    }
}

/// A file about a process.
struct PidFile {
    target: Target,
    item: &'static Item,
}

impl Body for PidFile {
    fn kind(&self) -> FileType {
        FileType::Regular
    }

    fn perm(&self) -> u32 {
        self.item.perm
    }

    fn owner(&self) -> (u32, u32) {
        self.target.owner(false)
    }

    fn alive(&self) -> bool {
        self.target.alive()
    }

    fn check_open(&self, caller: &dyn Caller, _flags: OpenFlags) -> Result<(), Errno> {
        match self.item.what {
            What::Guarded(_) | What::Memory => self.target.check_access(caller),
            _ => Ok(()),
        }
    }

    fn open(&self, _caller: &dyn Caller) -> Result<Option<Box<dyn FileOps>>, Errno> {
        match self.item.what {
            What::Memory => Ok(Some(Box::new(memory::MemFile::of(&self.target)?))),
            _ => Ok(None),
        }
    }

    fn read(&self, _caller: &dyn Caller) -> Result<Vec<u8>, Errno> {
        match self.item.what {
            What::Text(text) | What::Guarded(text) | What::Setting(text, _) => text(&self.target.view()?),
            _ => Err(Errno::EINVAL),
        }
    }

    fn write(&self, caller: &dyn Caller, data: &[u8]) -> Result<(), Errno> {
        match self.item.what {
            What::Setting(_, set) => set(&self.target.view()?, caller, data),
            _ => Err(Errno::EPERM),
        }
    }
}
