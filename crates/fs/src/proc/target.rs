//! Which process or thread a node of /proc speaks of, and who may look at it.

use super::Shared;
use abi::Errno;
use kernel::tree::{INIT, Process, Tree};
use kernel::tty::Tty;
use kernel::usage::Used;
use kernel::{ExitStatus, Kernel, Task, ThreadGroup};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use vfs::{Caller, Capability, Credentials};

/// A process, or one of its threads.
#[derive(Clone)]
pub(super) struct Target {
    pub shared: Arc<Shared>,
    group: Weak<ThreadGroup>,
    /// Process id.
    pub pid: i32,
    /// Thread id; the leader's for a process.
    pub tid: i32,
    /// Whether it is the thread alone that is spoken of.
    pub thread: bool,
}

/// What is known of a target at one moment.
pub(super) struct View {
    pub target: Target,
    pub kernel: Arc<Kernel>,
    pub group: Arc<ThreadGroup>,
    /// The thread, or a process's leader; `None` once it has ended.
    pub task: Option<Arc<Task>>,
    pub parent: i32,
    /// The thread that traces it, or 0.
    pub tracer: i32,
    pub pgid: i32,
    pub sid: i32,
    pub threads: Vec<i32>,
    pub children: Vec<i32>,
    pub zombie: Option<ExitStatus>,
    pub exit_signal: i32,
    pub tty: Option<Arc<Tty>>,
}

impl Target {
    /// The process, or with `thread` the thread, of this id.
    pub fn find(shared: &Arc<Shared>, id: i32) -> Option<Target> {
        let kernel = shared.kernel().ok()?;
        let tree = kernel.tree.lock();
        let (group, pid) = match tree.processes.get(&id) {
            Some(process) => (Arc::downgrade(&process.group), id),
            None => {
                let task = tree.tasks.get(&id)?;
                (Arc::downgrade(&task.group), task.group.tgid)
            }
        };
        Some(Target { shared: shared.clone(), group, pid, tid: id, thread: false })
    }

    /// A thread of the same process.
    pub fn thread(&self, tid: i32) -> Option<Target> {
        let known = self.with(|_, process| tid == self.pid || process.threads.contains(&tid))?;
        known.then(|| Target { tid, thread: true, ..self.clone() })
    }

    /// Looks at it in the process tree; `None` once it is gone.
    pub fn with<T>(&self, look: impl FnOnce(&Tree, &Process) -> T) -> Option<T> {
        let kernel = self.shared.kernel().ok()?;
        let tree = kernel.tree.lock();
        let process = tree.processes.get(&self.pid)?;
        let same = std::ptr::eq(Arc::as_ptr(&process.group), self.group.as_ptr());
        let here = self.tid == self.pid || process.threads.contains(&self.tid);
        (same && here).then(|| look(&tree, process))
    }

    /// Whether it exists.
    pub fn alive(&self) -> bool {
        self.with(|_, _| ()).is_some()
    }

    /// The thread, or a process's leader, while it runs.
    pub fn task(&self) -> Option<Arc<Task>> {
        self.with(|tree, _| tree.tasks.get(&self.tid).cloned()).flatten()
    }

    /// What is known now.
    pub fn view(&self) -> Result<View, Errno> {
        let kernel = self.shared.kernel()?;
        let view = self.with(|tree, process| View {
            target: self.clone(),
            kernel: kernel.clone(),
            group: process.group.clone(),
            task: tree.tasks.get(&self.tid).cloned(),
            // The first process's parent is outside; it shows as the reaper's child.
            parent: if self.pid == INIT { 0 } else { process.parent.max(INIT) },
            tracer: tree.tracees.get(&self.tid).map_or(0, |link| link.thread),
            pgid: process.pgid,
            sid: process.sid,
            threads: process.threads.iter().copied().collect(),
            children: process.children.iter().copied().collect(),
            zombie: process.zombie,
            exit_signal: process.exit_signal,
            tty: tree.tty_of(self.pid),
        });
        view.ok_or(Errno::ESRCH)
    }

    /// Credentials, of a zombie too.
    fn creds(&self) -> Option<(Arc<Credentials>, Arc<ThreadGroup>)> {
        let (task, group) = self.with(|tree, process| (tree.tasks.get(&self.tid).cloned(), process.group.clone()))?;
        let creds = match task {
            Some(task) => task.creds(),
            None => group.remains.get()?.creds.clone(),
        };
        Some((creds, group))
    }

    /// Owner and group of its files; `public` for the directory itself, which also shows those of a process that is not
    /// to be inspected.
    pub fn owner(&self, public: bool) -> (u32, u32) {
        match self.creds() {
            Some((creds, group)) if public || group.dumpable.load(Ordering::Relaxed) => (creds.euid, creds.egid),
            _ => (0, 0),
        }
    }

    /// `PTRACE_MODE_READ_FSCREDS`: whether the caller may look into it.
    pub fn check_access(&self, caller: &dyn Caller) -> Result<(), Errno> {
        if caller.tgid() == self.pid {
            return Ok(());
        }
        let (theirs, group) = self.creds().ok_or(Errno::ESRCH)?;
        let own = caller.creds();
        let all = |id: u32, of: [u32; 3]| of.iter().all(|other| *other == id);
        let same = all(own.fsuid, [theirs.ruid, theirs.euid, theirs.suid])
            && all(own.fsgid, [theirs.rgid, theirs.egid, theirs.sgid]);
        let dumpable = group.dumpable.load(Ordering::Relaxed);
        let covers = theirs.permitted.0 & !own.effective.0 == 0;
        if own.capable(Capability::SysPtrace) || (same && dumpable && covers) { Ok(()) } else { Err(Errno::EACCES) }
    }
}

impl View {
    /// What the thread or process has used besides CPU time.
    pub fn used(&self) -> Used {
        match &self.task {
            Some(task) if self.target.thread => task.usage.now(),
            _ => self.kernel.process_used(&self.group),
        }
    }

    /// The command name.
    pub fn name(&self) -> Vec<u8> {
        match &self.task {
            Some(task) => task.name(),
            None => self.group.remains.get().map(|r| r.name.clone()).unwrap_or_default(),
        }
    }

    /// Credentials.
    pub fn creds(&self) -> Arc<Credentials> {
        match (&self.task, self.group.remains.get()) {
            (Some(task), _) => task.creds(),
            (None, Some(remains)) => remains.creds.clone(),
            (None, None) => Arc::new(Credentials::new(0, 0, &[])),
        }
    }
}
