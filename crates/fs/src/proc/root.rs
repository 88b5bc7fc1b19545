//! The root of /proc: a directory for each process, the links to the caller's own, and the files about the machine.

use super::pid::PidDir;
use super::target::Target;
use super::{Shared, cpuinfo, machine, sysctl};
use crate::synth::{Body, Entry, Node, Static, StaticDir};
use abi::Errno;
use std::sync::Arc;
use vfs::{Caller, FileType, Inode, Link};

pub(super) const ROOT_INO: u64 = 1;
/// From here on, below those of processes.
const SYSCTL_INO: u64 = 1 << 16;

/// Inode numbers of processes' nodes have their id from this bit up.
const PID_SHIFT: u32 = 20;

/// The inode number of the `index`th node of a process's directory.
pub(super) fn pid_ino(tid: i32, index: u64) -> u64 {
    u64::from(tid.cast_unsigned()) << PID_SHIFT | index & ((1 << PID_SHIFT) - 1)
}

/// The number that a name stands for, if it is written as /proc writes it.
pub(super) fn number(name: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(name).ok()?;
    let number: i32 = text.parse().ok()?;
    (number >= 0 && number.to_string() == text).then_some(number)
}

/// Positions in the listing from which on it has processes.
const FIRST_PROCESS: u64 = 1 << 16;

pub(super) struct Root {
    shared: Arc<Shared>,
    fixed: StaticDir,
}

impl Root {
    pub fn new(shared: &Arc<Shared>) -> Root {
        let mut next = ROOT_INO + 1;
        let mut link = |body: SelfLink| {
            next += 1;
            Static::Node(Node::new(shared.dev, next, body), FileType::Symlink)
        };
        let sys = {
            let shared = shared.clone();
            Static::Later(SYSCTL_INO, Box::new(move || sysctl::tree(&shared)))
        };
        let mut entries = vec![
            ("self".to_owned(), link(SelfLink { thread: false })),
            ("thread-self".to_owned(), link(SelfLink { thread: true })),
            ("mounts".to_owned(), Static::link("self/mounts")),
            ("net".to_owned(), Static::link("self/net")),
            ("sys".to_owned(), sys),
        ];
        entries.extend(machine::files(shared));
        entries.push(("cpuinfo".to_owned(), Static::made(cpuinfo::text)));
        entries.push(("1".to_owned(), machine::reaper()));
        let mut next = 16;
        Root { shared: shared.clone(), fixed: StaticDir::new(entries, shared.dev, &mut next) }
    }
}

impl Body for Root {
    fn kind(&self) -> FileType {
        FileType::Directory
    }

    fn perm(&self) -> u32 {
        0o555
    }

    fn nlink(&self) -> u32 {
        let kernel = self.shared.kernel();
        self.fixed.nlink() + kernel.map_or(0, |k| k.tree.lock().processes.len() as u32)
    }

    fn lookup(&self, caller: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        match number(name).and_then(|id| Target::find(&self.shared, id)) {
            Some(target) => Ok(PidDir::node(target)),
            None => self.fixed.lookup(caller, name),
        }
    }

    fn list(&self, caller: &dyn Caller) -> Result<Vec<Entry>, Errno> {
        let mut entries = self.fixed.list(caller)?;
        let kernel = self.shared.kernel()?;
        let pids: Vec<i32> = kernel.tree.lock().processes.keys().copied().collect();
        entries.extend(pids.into_iter().map(|pid| Entry {
            name: pid.to_string().into_bytes(),
            ino: pid_ino(pid, 0),
            kind: FileType::Directory,
            pos: FIRST_PROCESS + u64::from(pid.cast_unsigned()),
        }));
        Ok(entries)
    }
}

/// `self` and `thread-self`.
struct SelfLink {
    thread: bool,
}

impl Body for SelfLink {
    fn kind(&self) -> FileType {
        FileType::Symlink
    }

    fn perm(&self) -> u32 {
        0o777
    }

    fn link(&self, caller: &dyn Caller) -> Result<Link, Errno> {
        let (pid, tid) = (caller.tgid(), caller.tid());
        if pid == 0 {
            return Err(Errno::ENOENT);
        }
        let path = if self.thread { format!("{pid}/task/{tid}") } else { pid.to_string() };
        Ok(Link::Path(path.into_bytes()))
    }
}
