//! The beginning and the end of tracing.

use super::{Stop, Tracee, Tracer, may_access, mode, option};
use crate::error::{Restart, SysErr};
use crate::exit::Note;
use crate::group::ThreadGroup;
use crate::kernel::Kernel;
use crate::signal::{GroupStop, Target};
use crate::task::{CurrentTask, Task};
use crate::tree::Tree;
use crate::work::bits;
use abi::Errno;
use abi::signal::{SIGKILL, SIGSTOP, SigInfo, Signal, code};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vfs::Capability;
use vfs::wait::Events;

/// How a tracer begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attach {
    /// `PTRACE_ATTACH`, with a stop.
    Stop,
    /// `PTRACE_SEIZE`, with options.
    Seize(u32),
}

impl CurrentTask {
    /// `PTRACE_TRACEME`: the parent traces this task. A parent outside the sandbox takes no notice.
    ///
    /// # Errors
    /// `EPERM` if somebody does already, or the parent may not.
    pub fn trace_me(&self) -> Result<(), Errno> {
        let text = self.mm.plain_text();
        let mut tree = self.kernel.tree.lock();
        if self.task.traced() {
            return Err(Errno::EPERM);
        }
        let process = tree.process_of(&self.task).ok_or(Errno::EPERM)?;
        let (pid, maker) = (process.parent, process.maker);
        let threads = tree.processes.get(&pid).map(|parent| &parent.threads);
        let tid = threads.and_then(|all| all.get(&maker).or_else(|| all.first()).copied());
        let Some(parent) = tid.and_then(|tid| tree.tasks.get(&tid)).cloned() else { return Ok(()) };
        let creds = parent.creds();
        let privileged = creds.capable(Capability::SysPtrace);
        if self.creds.permitted.0 & !creds.permitted.0 != 0 && !privileged {
            return Err(Errno::EPERM);
        }
        let tracer = Tracer { pid, tid: parent.tid(), privileged };
        if !tree.link_tracee(&self.task, tracer) {
            return Err(Errno::EPERM);
        }
        let mut signals = self.group.signals.lock();
        let thread = signals.threads.get_mut(&self.tid()).ok_or(Errno::ESRCH)?;
        thread.trace.by = Some(Box::new(Tracee::new(tracer, false, 0, text)));
        self.task.trace_mode.store(mode::TRACED, Ordering::Relaxed);
        Ok(())
    }

    /// Begins to trace another task.
    ///
    /// # Errors
    /// `EPERM` if that is not allowed or somebody traces it already, `ESRCH`.
    pub fn attach(&self, tid: i32, how: Attach) -> Result<(), SysErr> {
        let task = match self.kernel.tree.task(tid) {
            Some(task) => task,
            // A zombie is there, and not to be traced.
            None if self.kernel.tree.process(tid).is_some() => return Err(Errno::EPERM.into()),
            None => return Err(Errno::ESRCH.into()),
        };
        if Arc::ptr_eq(&task.group, &self.group) || !may_access(&self.task, &task) {
            return Err(Errno::EPERM.into());
        }
        let mm = task.mm().ok_or(Errno::EPERM)?;
        let text = mm.plain_text();
        drop(mm);
        let was_stopped = self.link(&task, how, text)?;
        self.follow_memory(&task);
        if how == Attach::Stop {
            let stop = SigInfo::new(SIGSTOP, code::SI_KERNEL);
            let _ = self.kernel.send_signal(&task.group, Target::Thread(tid), stop);
        }
        if was_stopped {
            self.wait_for_trap(&task);
        }
        Ok(())
    }

    /// Returns whether it was stopped by job control, and has been told to come to its tracer.
    fn link(&self, task: &Arc<Task>, how: Attach, text: mm::PlainText) -> Result<bool, SysErr> {
        let tracer =
            Tracer { pid: self.group.tgid, tid: self.tid(), privileged: self.creds.capable(Capability::SysPtrace) };
        let (seized, options) = match how {
            Attach::Stop => (false, 0),
            Attach::Seize(options) => (true, options),
        };
        let mut tree = self.kernel.tree.lock();
        // Whoever is being killed begins nothing: its end has perhaps let its tracees go already.
        if self.work.get() & bits::EXIT != 0 {
            return Err(SysErr::Restart(Restart::NoIntr));
        }
        // Its credentials may have changed since.
        if !may_access(&self.task, task) || !tree.link_tracee(task, tracer) {
            return Err(Errno::EPERM.into());
        }
        let mut signals = task.group.signals.lock();
        let stopped = match signals.stop {
            GroupStop::Stopped { signal } => Some(signal),
            _ => None,
        };
        let exiting = signals.exiting.is_some();
        let Some(thread) = signals.threads.get_mut(&task.tid()).filter(|_| !exiting) else {
            drop(signals);
            tree.tracees.remove(&task.tid());
            return Err(Errno::EPERM.into());
        };
        let mut tracee = Box::new(Tracee::new(tracer, seized, options, text));
        tracee.stop_signal = stopped.unwrap_or(0);
        // What it was let go with from its last tracer's stop it may not have taken yet.
        thread.trace.by = Some(tracee);
        task.trace_mode.store(mode::TRACED, Ordering::Relaxed);
        let stopped = stopped.is_some() && task.work.get() & bits::STOP != 0;
        if stopped {
            task.work.request(bits::TRAP);
        }
        Ok(stopped)
    }

    /// If it has become another program meanwhile, that one's text counts.
    fn follow_memory(&self, task: &Task) {
        loop {
            let Some(mm) = task.mm() else { return };
            let text = mm.plain_text();
            let old = {
                let mut signals = task.group.signals.lock();
                let tracee = signals.threads.get_mut(&task.tid()).and_then(|thread| thread.trace.by.as_mut());
                match tracee {
                    Some(tracee) if !mm.owns(&tracee.text) => std::mem::replace(&mut tracee.text, text),
                    _ => return,
                }
            };
            drop(old);
        }
    }

    /// Waits until a stopped task has become a tracee's stop (Linux's `JOBCTL_TRAPPING`).
    fn wait_for_trap(&self, task: &Task) {
        let _registration = self.group.child_events.register(Events::READABLE, self.work.parker().clone());
        let there = || {
            let signals = task.group.signals.lock();
            let tracee = signals.threads.get(&task.tid()).and_then(|thread| thread.trace.by.as_ref());
            let ends = task.work.get() & bits::EXIT != 0;
            (ends || tracee.is_none_or(|tracee| tracee.stop.is_some())).then_some(())
        };
        self.wait_killable(there);
    }

    /// `PTRACE_DETACH`: lets a stopped tracee go for good.
    ///
    /// # Errors
    /// `ESRCH` if it is no stopped tracee of the caller's.
    pub fn detach(&self, task: &Arc<Task>, signal: Signal) -> Result<(), Errno> {
        let gone = {
            let mut tree = self.kernel.tree.lock();
            let mut signals = task.group.signals.lock();
            super::resume::own_stop(&mut signals, task.tid(), self.tid())?.signal = signal;
            drop(signals);
            tree.tracees.remove(&task.tid());
            untrace(task)
        };
        drop(gone);
        Ok(())
    }
}

/// Takes a task from its tracer, and lets it go on; job control's stop takes it back where it is in effect. The result is
/// to be dropped without locks.
fn untrace(task: &Task) -> Option<Box<Tracee>> {
    let mut signals = task.group.signals.lock();
    let stopped = signals.stop != GroupStop::Running;
    let thread = signals.threads.get_mut(&task.tid())?;
    let mut tracee = thread.trace.by.take()?;
    thread.trace.released = tracee.stop.take();
    task.trace_mode.store(0, Ordering::Relaxed);
    thread.work.clear(bits::TRAP);
    if stopped {
        thread.work.request(bits::STOP);
    }
    thread.work.wake();
    Some(tracee)
}

impl Kernel {
    /// A thread has ended: what it traced is let go, or killed.
    pub(crate) fn tracer_ended(&self, tracer: i32) {
        let (mut gone, mut kill, mut notes, mut wake) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        {
            let mut tree = self.tree.lock();
            for tid in tree.tracees_of_thread(tracer) {
                let link = tree.tracees.remove(&tid).filter(|link| !tree.is_parent(link.tracer, tid));
                match tree.tasks.get(&tid).cloned() {
                    Some(task) => {
                        let tracee = untrace(&task);
                        if tracee.as_ref().is_some_and(|tracee| tracee.options & option::EXITKILL != 0) {
                            kill.push(task.group.clone());
                        }
                        gone.extend(tracee);
                    }
                    None => wake.extend(link.and_then(|link| tree.tell_of_end(link.pid, &mut notes))),
                }
            }
        }
        drop(gone);
        self.tell_all(notes, wake);
        for group in kill {
            self.signal_process(&group, SigInfo::new(SIGKILL, code::SI_KERNEL));
        }
    }

    /// Sends what was found to be sent while the tree was locked.
    pub(crate) fn tell_all(&self, notes: Vec<Note>, wake: Vec<Arc<ThreadGroup>>) {
        for (to, info) in notes {
            self.signal_process(&to, info);
        }
        for group in wake {
            group.child_events.notify(Events::READABLE);
        }
    }
}

impl Tree {
    /// Makes a living task somebody's tracee. False if it is one already, or the tracer has ended.
    pub(super) fn link_tracee(&mut self, task: &Task, tracer: Tracer) -> bool {
        let tid = task.tid();
        if self.tracees.contains_key(&tid) || !self.tasks.contains_key(&tracer.tid) {
            return false;
        }
        let link = crate::tree::Tracing { tracer: tracer.pid, thread: tracer.tid, pid: task.group.tgid, dead: None };
        self.tracees.insert(tid, link);
        true
    }

    /// Whether a zombie's tracer is its parent, who knows of its end already.
    fn is_parent(&self, tracer: i32, pid: i32) -> bool {
        self.processes.get(&pid).is_some_and(|process| process.parent == tracer)
    }

    fn tracees_of_thread(&self, tracer: i32) -> Vec<i32> {
        self.tracees.iter().filter(|(_, link)| link.thread == tracer).map(|(tid, _)| *tid).collect()
    }
}

impl Stop {
    /// As waits report it.
    #[must_use]
    pub fn wait_code(&self) -> (i32, i32) {
        (self.code, self.why)
    }
}
