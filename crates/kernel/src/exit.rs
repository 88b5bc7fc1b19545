//! The end of threads and processes, and what others learn of it (exit(2), exit_group(2)).

use crate::group::{ExitStatus, Remains, ThreadGroup};
use crate::kernel::Kernel;
use crate::signal::GroupStop;
use crate::task::CurrentTask;
use crate::tree::{Process, Tree};
use abi::signal::{SIG_IGN, SIGCHLD, SIGCONT, SIGHUP, SigInfo, Signal, code, sa};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vfs::wait::Events;

/// A signal to be sent once the tree is unlocked.
pub(crate) type Note = (Arc<ThreadGroup>, SigInfo);

impl CurrentTask {
    /// exit(2): ends this thread at the next look at its requests.
    pub fn exit_thread(&mut self, code: u8) {
        self.exiting = Some(code);
    }

    /// The end of the thread. Nothing of the guest runs after this.
    pub(crate) fn finish(mut self) {
        let code = self.exiting.unwrap_or(0);
        self.trace_end(code);
        let (status, last) = self.leave_group(code);
        if last && self.group.tgid == self.kernel.first_process() {
            self.mm.set_last();
        }
        self.release_futexes();
        self.task.work.set_interrupter(None);
        let peak = self.mm.sizes().peak_resident;
        {
            let mut used = self.group.dead_used.lock();
            used.peak_resident = used.peak_resident.max(peak);
        }
        {
            let mut inner = self.task.inner.lock();
            let parts = (inner.mm.take(), inner.fds.take(), inner.fs.take(), inner.exe.take(), inner.ipc.take());
            drop(inner);
            drop(parts);
        }
        let kernel = self.kernel.clone();
        let group = self.group.clone();
        let tid = self.tid();
        let CurrentTask { task, context, mm, fds, fs, vfork, .. } = self;
        // Kept to the end: what is left of its host process is torn down when the parent knows already.
        let space = mm.address_space().cloned();
        drop(context);
        crate::fd_table::drop_table(fds, &*task);
        drop(fs);
        drop(mm);
        drop(vfork);
        {
            let _tree = kernel.tree.lock();
            task.retire_cpu();
            group.retire(&task.usage);
        }
        if tid == group.tgid {
            let _ = group.remains.set(Remains { name: task.name(), creds: task.creds() });
        }
        kernel.thread_ended(&group, tid, status, last);
        drop(space);
    }

    /// Takes the thread out of its process's signal state. Returns the process's status and whether it was the last.
    fn leave_group(&mut self, code: u8) -> (ExitStatus, bool) {
        let tid = self.tid();
        let mut signals = self.group.signals.lock();
        let own = signals.threads.remove(&tid);
        let last = signals.threads.is_empty();
        // Without exit_group(2) or a fatal signal, the thread that ends last decides.
        let status = signals.exiting.unwrap_or(ExitStatus::Exited(code));
        if last {
            signals.exiting = Some(status);
        }
        if let GroupStop::Stopping { signal, left } = signals.stop {
            let left = left.saturating_sub(1);
            signals.stop = if left == 0 { GroupStop::Stopped { signal } } else { GroupStop::Stopping { signal, left } };
        }
        // Signals that were meant for anyone need another taker.
        let rest: Vec<i32> = signals.threads.keys().copied().collect();
        for other in rest {
            signals.recalculate(other);
        }
        drop(signals);
        drop(own);
        (status, last)
    }
}

impl Kernel {
    fn thread_ended(&self, group: &Arc<ThreadGroup>, tid: i32, status: ExitStatus, last: bool) {
        // Nobody becomes its tracee from here on.
        let ended = self.tree.lock().tasks.remove(&tid);
        self.tracer_ended(tid);
        drop(ended);
        if !last {
            let (mut notes, mut wake) = (Vec::new(), Vec::new());
            let mut tree = self.tree.lock();
            wake.extend(tree.thread_end(tid, status, &mut notes));
            if let Some(process) = tree.processes.get_mut(&group.tgid) {
                process.threads.remove(&tid);
            }
            drop(tree);
            group.thread_events.notify(Events::READABLE);
            return self.tell_all(notes, wake);
        }
        if group.tgid == self.first_process() {
            self.close(status);
        }
        self.leave_terminal(group.tgid);
        let mut notes = Vec::new();
        let mut wake = Vec::new();
        {
            let mut tree = self.tree.lock();
            parent_death_notes(&tree, group.tgid, &mut notes);
            wake.extend(tree.thread_end(tid, status, &mut notes));
            let children: Vec<i32> =
                tree.processes.get(&group.tgid).map(|p| p.children.iter().copied().collect()).unwrap_or_default();
            let (gone, new_parent) = tree.reparent_children(group.tgid);
            drop(gone);
            wake.extend(tree.processes.get(&new_parent).map(|p| p.group.clone()));
            orphan_notes(&tree, group.tgid, &children, &mut notes);
            if let Some(process) = tree.processes.get_mut(&group.tgid) {
                process.threads.clear();
                process.zombie = Some(status);
            }
            wake.extend(tree.tell_of_end(group.tgid, &mut notes));
        }
        group.exit_events.notify(Events::READABLE);
        group.thread_events.notify(Events::READABLE);
        self.timers.process_ended(group);
        self.tell_all(notes, wake);
    }

    /// The first process of its session's end hangs up the terminal; see the `tty` module.
    fn leave_terminal(&self, pid: i32) {
        let leads = self.tree.lock().processes.get(&pid).is_some_and(|p| p.sid == pid);
        if leads {
            crate::tty::session_leader_exits(self, pid);
        }
    }

    /// The process was stopped: its parent learns of it, unless it is the `tracer` of who tells, and learns of that.
    pub(crate) fn notify_stopped(&self, pid: i32, signal: Signal, tracer: Option<i32>) {
        self.notify_job(pid, code::CLD_STOPPED, signal, tracer);
        if pid == self.first_process()
            && let Some(observer) = self.observer()
        {
            observer.stopped(signal);
        }
    }

    /// The process was continued: its parent learns of it.
    pub(crate) fn notify_continued(&self, pid: i32) {
        self.notify_job(pid, code::CLD_CONTINUED, SIGCONT, None);
    }

    fn notify_job(&self, pid: i32, how: i32, signal: Signal, tracer: Option<i32>) {
        let (parent, info) = {
            let mut tree = self.tree.lock();
            let Some(process) = tree.processes.get_mut(&pid) else { return };
            let stopped = how == code::CLD_STOPPED;
            // The state has been left since if a continuation or another stop was faster: then that one's report stands.
            if matches!(process.group.signals.lock().stop, GroupStop::Stopped { .. }) == stopped {
                process.stop_report = stopped.then_some(signal);
                process.continue_report = !stopped;
            }
            let (parent, uid) = (process.parent, process.uid);
            if tracer == Some(parent) {
                return;
            }
            let Some(parent) = tree.processes.get(&parent).map(|p| p.group.clone()) else { return };
            (parent, SigInfo::child(how, pid, uid, signal, 0, 0))
        };
        let action = parent.actions().get(SIGCHLD);
        if action.flags & sa::NOCLDSTOP == 0 {
            self.signal_process(&parent, info);
        }
        parent.child_events.notify(Events::READABLE);
    }
}

/// `PR_SET_PDEATHSIG`: children that want to know of their parent's end are told, as if by the parent.
fn parent_death_notes(tree: &Tree, pid: i32, notes: &mut Vec<Note>) {
    let Some(process) = tree.processes.get(&pid) else { return };
    for child in process.children.iter().filter_map(|child| tree.processes.get(child)) {
        for task in child.threads.iter().filter_map(|tid| tree.tasks.get(tid)) {
            let signal = task.parent_death_signal.load(Ordering::Relaxed);
            if signal != 0 {
                notes.push((child.group.clone(), SigInfo::from_process(signal, code::SI_USER, pid, process.uid)));
            }
        }
    }
}

/// POSIX: groups that become orphaned by this exit and have stopped members get `SIGHUP` and `SIGCONT`.
fn orphan_notes(tree: &Tree, pid: i32, children: &[i32], notes: &mut Vec<Note>) {
    let Some(process) = tree.processes.get(&pid) else { return };
    let mut candidates = vec![process.pgid];
    let of_children = children.iter().filter_map(|child| tree.processes.get(child));
    candidates.extend(of_children.filter(|c| c.sid == process.sid).map(|c| c.pgid));
    candidates.sort_unstable();
    candidates.dedup();
    for pgid in candidates {
        let stopped = |g: &Arc<ThreadGroup>| matches!(g.signals.lock().stop, GroupStop::Stopped { .. });
        if tree.is_orphaned(pgid, Some(pid)) {
            let members: Vec<_> = tree.members(pgid).into_iter().filter(|g| g.tgid != pid).collect();
            if members.iter().any(stopped) {
                for group in members {
                    notes.push((group.clone(), SigInfo::new(SIGHUP, code::SI_KERNEL)));
                    notes.push((group, SigInfo::new(SIGCONT, code::SI_KERNEL)));
                }
            }
        }
    }
}

/// What a signal says of the end of a process or thread.
fn end_info(process: &Process, id: i32, signal: Signal, status: ExitStatus) -> SigInfo {
    let (how, value) = match status {
        ExitStatus::Exited(code) => (code::CLD_EXITED, i32::from(code)),
        ExitStatus::Killed { signal, core: false } => (code::CLD_KILLED, signal),
        ExitStatus::Killed { signal, core: true } => (code::CLD_DUMPED, signal),
    };
    let (utime, stime) = process.group.cpu_ticks();
    let mut info = SigInfo::child(how, id, process.uid, value, utime, stime);
    info.signo = signal;
    info
}

impl Tree {
    /// Prepares what is told of a zombie: its tracer first, then, once that has waited for it and for all of its threads, its
    /// parent. Reaps it at once if nobody will wait for it. Returns who is told.
    pub(crate) fn tell_of_end(&mut self, pid: i32, notes: &mut Vec<Note>) -> Option<Arc<ThreadGroup>> {
        let process = self.processes.get(&pid)?;
        let status = process.zombie?;
        let parent = process.parent;
        if !self.end_is_open(pid) {
            // Its threads' ends come first.
            if self.tracees.iter().any(|(tid, link)| link.pid == pid && *tid != pid) {
                return None;
            }
            let tracer = self.tracees.get(&pid).and_then(|link| self.processes.get(&link.tracer));
            let tracer = tracer.map(|tracer| tracer.group.clone())?;
            notes.push((tracer.clone(), end_info(process, pid, SIGCHLD, status)));
            return Some(tracer);
        }
        let signal = process.exit_signal;
        let Some(parent) = self.processes.get(&parent).map(|p| p.group.clone()) else {
            self.reap(pid);
            return None;
        };
        let action = parent.actions().get(SIGCHLD);
        let unwanted = signal == SIGCHLD && (action.handler == SIG_IGN || action.flags & sa::NOCLDWAIT != 0);
        if signal != 0 {
            notes.push((parent.clone(), end_info(process, pid, signal, status)));
        }
        // Who traces it waits for it.
        if unwanted && !self.tracees.contains_key(&pid) {
            self.reap(pid);
        }
        Some(parent)
    }

    /// A thread has ended: if it is traced and leads no process, its tracer is told, and waits for it. Returns the tracer.
    fn thread_end(&mut self, tid: i32, status: ExitStatus, notes: &mut Vec<Note>) -> Option<Arc<ThreadGroup>> {
        let link = self.tracees.get_mut(&tid)?;
        let tracer = self.processes.get(&link.tracer).map(|tracer| tracer.group.clone())?;
        if link.pid == tid {
            // Its process's end will be told of; but whoever waits for it to stop must look.
            return Some(tracer);
        }
        link.dead = Some(status);
        let process = self.processes.get(&link.pid)?;
        notes.push((tracer.clone(), end_info(process, tid, SIGCHLD, status)));
        Some(tracer)
    }

    /// Removes a zombie and adds its times to its parent's.
    pub fn reap_counted(&mut self, pid: i32) -> Option<Process> {
        let process = self.reap(pid)?;
        if let Some(parent) = self.processes.get(&process.parent) {
            let (to_group, from) = (&parent.group, &process.group);
            let to = &to_group.child_cpu;
            for source in [&from.dead_cpu, &from.child_cpu] {
                to.user.fetch_add(source.user.load(Ordering::Relaxed), Ordering::Relaxed);
                to.system.fetch_add(source.system.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            let used = from.used_total();
            let mut of_children = to_group.child_used.lock();
            *of_children = of_children.with(used);
        }
        Some(process)
    }
}
