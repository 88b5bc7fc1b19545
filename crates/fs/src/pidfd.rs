//! pidfd_open(2): descriptors of processes.

use kernel::{Kernel, ThreadGroup};
use std::any::Any;
use std::sync::Arc;
use vfs::anon::anon_file;
use vfs::wait::{Events, WaitQueue};
use vfs::{FileOps, OpenFile, OpenFlags};

/// The object behind a pidfd.
pub struct PidFd {
    kernel: Arc<Kernel>,
    group: Arc<ThreadGroup>,
}

/// A description of a process.
#[must_use]
pub fn new_pidfd(kernel: &Arc<Kernel>, group: &Arc<ThreadGroup>, flags: OpenFlags) -> OpenFile {
    let ops = PidFd { kernel: kernel.clone(), group: group.clone() };
    anon_file("[pidfd]", flags | OpenFlags::RDWR, Box::new(ops))
}

impl PidFd {
    /// The process, which may have ended long ago.
    #[must_use]
    pub fn group(&self) -> &Arc<ThreadGroup> {
        &self.group
    }

    /// Whether the process, at least as a zombie, is still there.
    #[must_use]
    pub fn exists(&self) -> bool {
        let tree = self.kernel.tree.lock();
        tree.processes.get(&self.group.tgid).is_some_and(|p| Arc::ptr_eq(&p.group, &self.group))
    }
}

impl FileOps for PidFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn readiness(&self) -> Events {
        let tree = self.kernel.tree.lock();
        let process = tree.processes.get(&self.group.tgid).filter(|p| Arc::ptr_eq(&p.group, &self.group));
        match process {
            None => Events::READABLE | Events::HUP,
            Some(process) if process.zombie.is_some() => Events::READABLE,
            Some(_) => Events::empty(),
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.group.exit_events)
    }

    fn fdinfo(&self) -> String {
        let pid = if self.exists() { self.group.tgid } else { -1 };
        format!("Pid:\t{pid}\nNSpid:\t{pid}\n")
    }
}
