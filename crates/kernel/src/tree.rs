//! The process tree: which tasks, processes, process groups and sessions exist, and who is whose.
//!
//! Everything is by id under one lock (rank `PROC_TREE`, Linux's `tasklist_lock`), so that fork, exit, wait, setpgid and
//! setsid see a consistent whole and no reference cycles arise. Nothing sleeps or touches guest memory under it.

use crate::group::{ExitStatus, ThreadGroup};
use crate::task::Task;
use crate::tty::Tty;
use abi::Errno;
use abi::signal::Signal;
use lock::{Mutex, MutexGuard, rank};
use platform::Ids;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The id of the in-kernel reaper, the parent of all orphans; it has no task.
pub const INIT: i32 = 1;

/// Linux's default `pid_max`.
const PID_MAX: i32 = 4_194_304;

/// How many tasks a sandbox may have.
const TASKS_MAX: usize = 32_768;

/// A process's place in the tree. Stays as a zombie until it is reaped.
pub struct Process {
    /// The process.
    pub group: Arc<ThreadGroup>,
    /// Its parent's process id; [`INIT`] for orphans.
    pub parent: i32,
    /// The thread that made it.
    pub maker: i32,
    /// Its children's process ids.
    pub children: BTreeSet<i32>,
    /// Its process group.
    pub pgid: i32,
    /// Its session.
    pub sid: i32,
    /// Its living threads.
    pub threads: BTreeSet<i32>,
    /// Set once all threads have ended.
    pub zombie: Option<ExitStatus>,
    /// Sent to the parent at its end; 0 for none (the low byte of clone(2)'s flags).
    pub exit_signal: Signal,
    /// A stop that no wait4(2) has reported yet.
    pub stop_report: Option<Signal>,
    /// A continuation that no wait4(2) has reported yet.
    pub continue_report: bool,
    /// Has not its session's terminal: gave it up by itself (`TIOCNOTTY` by one that leads no session), or was there before
    /// the leader took it.
    pub no_tty: bool,
    /// Who it runs as, for signals to the parent after its end.
    pub uid: u32,
}

/// Who traces a task, and how a thread ended that its tracer has not waited for.
pub struct Tracing {
    /// The tracer's process id.
    pub tracer: i32,
    /// Its thread id.
    pub thread: i32,
    /// The tracee's process id.
    pub pid: i32,
    /// Set once a thread that does not lead its process has ended. A leader's end is its process's.
    pub dead: Option<ExitStatus>,
}

/// A session (setsid(2)).
#[derive(Default)]
pub struct Session {
    /// Its process groups.
    pub groups: BTreeSet<i32>,
    /// Its controlling terminal.
    pub tty: Option<Arc<Tty>>,
    /// The foreground group when that was hung up; told when the leader ends.
    pub old_foreground: Option<i32>,
}

/// The tree itself.
#[derive(Default)]
pub struct Tree {
    /// Living tasks by thread id.
    pub tasks: BTreeMap<i32, Arc<Task>>,
    /// Processes, zombies included, by process id.
    pub processes: BTreeMap<i32, Process>,
    /// Who is traced by whom, by thread id.
    pub tracees: BTreeMap<i32, Tracing>,
    /// Members of process groups.
    pub groups: BTreeMap<i32, BTreeSet<i32>>,
    /// Sessions.
    pub sessions: BTreeMap<i32, Session>,
    /// Children of the reaper.
    orphans: BTreeSet<i32>,
    last_id: i32,
    /// The sandbox accepts no new tasks.
    pub closing: bool,
}

/// The tree with its lock.
pub struct ProcTree(Mutex<Tree>);

impl Default for ProcTree {
    fn default() -> ProcTree {
        let tree = Tree { last_id: INIT, ..Tree::default() };
        ProcTree(Mutex::new(rank::PROC_TREE, tree))
    }
}

impl ProcTree {
    /// Locks the tree.
    pub fn lock(&self) -> MutexGuard<'_, Tree> {
        self.0.lock()
    }

    /// A living task.
    #[must_use]
    pub fn task(&self, tid: i32) -> Option<Arc<Task>> {
        self.lock().tasks.get(&tid).cloned()
    }

    /// A process, perhaps a zombie.
    #[must_use]
    pub fn process(&self, pid: i32) -> Option<Arc<ThreadGroup>> {
        self.lock().processes.get(&pid).map(|p| p.group.clone())
    }
}

impl Tree {
    /// An id that no task, process, group or session uses.
    ///
    /// # Errors
    /// `EAGAIN` if there are too many tasks.
    pub fn new_id(&mut self) -> Result<i32, Errno> {
        if self.closing || self.tasks.len() >= TASKS_MAX {
            return Err(Errno::EAGAIN);
        }
        loop {
            self.last_id = if self.last_id >= PID_MAX - 1 { 300 } else { self.last_id + 1 };
            let id = self.last_id;
            let used = self.tasks.contains_key(&id)
                || self.tracees.contains_key(&id)
                || self.processes.contains_key(&id)
                || self.groups.contains_key(&id)
                || self.sessions.contains_key(&id);
            if !used {
                return Ok(id);
            }
        }
    }

    /// The last id given out (/proc/loadavg).
    #[must_use]
    pub fn last_id(&self) -> i32 {
        self.last_id
    }

    /// Adds a process with its first thread.
    pub fn add_process(&mut self, process: Process) {
        let pid = process.group.tgid;
        self.groups.entry(process.pgid).or_default().insert(pid);
        self.sessions.entry(process.sid).or_default().groups.insert(process.pgid);
        match self.processes.get_mut(&process.parent) {
            Some(parent) => parent.children.insert(pid),
            None => self.orphans.insert(pid),
        };
        self.processes.insert(pid, process);
    }

    /// Removes a zombie for good.
    pub fn reap(&mut self, pid: i32) -> Option<Process> {
        let process = self.processes.remove(&pid)?;
        self.tracees.remove(&pid);
        match self.processes.get_mut(&process.parent) {
            Some(parent) => parent.children.remove(&pid),
            None => self.orphans.remove(&pid),
        };
        self.leave_group(pid, process.pgid, process.sid);
        Some(process)
    }

    fn leave_group(&mut self, pid: i32, pgid: i32, sid: i32) {
        let Some(members) = self.groups.get_mut(&pgid) else { return };
        members.remove(&pid);
        if !members.is_empty() {
            return;
        }
        self.groups.remove(&pgid);
        if let Some(session) = self.sessions.get_mut(&sid) {
            session.groups.remove(&pgid);
            if session.groups.is_empty() {
                self.sessions.remove(&sid);
            }
        }
    }

    /// Moves a process to another group of its session (setpgid(2), checked).
    pub fn set_group(&mut self, pid: i32, pgid: i32) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let (old, sid) = (std::mem::replace(&mut process.pgid, pgid), process.sid);
        if old == pgid {
            return;
        }
        self.groups.entry(pgid).or_default().insert(pid);
        self.sessions.entry(sid).or_default().groups.insert(pgid);
        self.leave_group(pid, old, sid);
        self.publish_ids(pid);
    }

    /// Makes a process the leader of a new session and group (setsid(2), checked).
    pub fn set_session(&mut self, pid: i32) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let (old_group, old_session) = (process.pgid, process.sid);
        process.pgid = pid;
        process.sid = pid;
        process.no_tty = false;
        self.groups.entry(pid).or_default().insert(pid);
        self.sessions.entry(pid).or_default().groups.insert(pid);
        self.leave_group(pid, old_group, old_session);
        self.publish_ids(pid);
    }

    /// Tells the threads of a process who they are, for calls that are served without the kernel. To be called after every
    /// change of what [`Ids`] holds.
    pub fn publish_ids(&self, pid: i32) {
        let Some(process) = self.processes.get(&pid) else { return };
        for (tid, thread) in &process.group.signals.lock().threads {
            let Some(task) = self.tasks.get(tid) else { continue };
            let creds = task.creds();
            thread.local.set_ids(&Ids {
                tgid: pid,
                tid: *tid,
                // The first process's parent is outside; to it that is the reaper.
                ppid: process.parent.max(INIT),
                pgid: process.pgid,
                ruid: creds.ruid,
                euid: creds.euid,
                rgid: creds.rgid,
                egid: creds.egid,
            });
        }
    }

    /// Gives the children of `pid` to its nearest subreaper or to the reaper. Returns zombies that nobody will reap,
    /// already removed, and the new parent if others must tell it.
    pub fn reparent_children(&mut self, pid: i32) -> (Vec<Process>, i32) {
        let new_parent = self.reaper_of(pid);
        let children = self.processes.get_mut(&pid).map(|p| std::mem::take(&mut p.children)).unwrap_or_default();
        let mut gone = Vec::new();
        for child in children {
            let Some(process) = self.processes.get_mut(&child) else { continue };
            process.parent = new_parent;
            process.exit_signal = abi::signal::SIGCHLD;
            let dead = process.zombie.is_some();
            match self.processes.get_mut(&new_parent) {
                Some(parent) => parent.children.insert(child),
                None => self.orphans.insert(child),
            };
            self.publish_ids(child);
            if dead && new_parent == INIT && self.end_is_open(child) {
                gone.extend(self.reap(child));
            }
        }
        (gone, new_parent)
    }

    fn reaper_of(&self, pid: i32) -> i32 {
        let mut at = self.processes.get(&pid).map_or(INIT, |p| p.parent);
        while let Some(process) = self.processes.get(&at) {
            let subreaper = process.group.subreaper.load(std::sync::atomic::Ordering::Relaxed);
            if subreaper && process.zombie.is_none() {
                return at;
            }
            at = process.parent;
        }
        INIT
    }

    /// Whether nobody but its parent has still to learn of a process's end.
    #[must_use]
    pub fn end_is_open(&self, pid: i32) -> bool {
        let parent = self.processes.get(&pid).map(|process| process.parent);
        let waits = |(tid, link): (&i32, &Tracing)| link.pid == pid && (*tid != pid || Some(link.tracer) != parent);
        self.tracees.is_empty() || !self.tracees.iter().any(waits)
    }

    /// Whether no member of the group has a parent in another group of the same session (POSIX's orphaned group), not
    /// counting `ignoring` as a member. The sandbox's first process has a parent outside, its user's shell.
    #[must_use]
    pub fn is_orphaned(&self, pgid: i32, ignoring: Option<i32>) -> bool {
        let Some(members) = self.groups.get(&pgid) else { return true };
        !members.iter().filter(|pid| Some(**pid) != ignoring).any(|pid| {
            let Some(process) = self.processes.get(pid) else { return false };
            if process.zombie.is_some() {
                return false;
            }
            if process.parent == 0 {
                return true;
            }
            let Some(parent) = self.processes.get(&process.parent) else { return false };
            parent.pgid != pgid && parent.sid == process.sid
        })
    }

    /// The processes of a group.
    #[must_use]
    pub fn members(&self, pgid: i32) -> Vec<Arc<ThreadGroup>> {
        let Some(members) = self.groups.get(&pgid) else { return Vec::new() };
        members.iter().filter_map(|pid| self.processes.get(pid)).map(|p| p.group.clone()).collect()
    }

    /// The process of a group.
    #[must_use]
    pub fn process_of(&self, task: &Task) -> Option<&Process> {
        self.processes.get(&task.group.tgid)
    }
}
