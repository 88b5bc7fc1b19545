//! Sending signals.
//!
//! Everything happens under the receiving process's `SIGNALS` lock; what a signal causes elsewhere (the parent learns
//! that its child goes on) is done after it is released.

use super::{DefaultAction, GroupSignals, GroupStop, SignalActions, ThreadSignals};
use crate::group::{ExitStatus, ThreadGroup};
use crate::kernel::Kernel;
use crate::task::Task;
use crate::work::bits;
use abi::Errno;
use abi::raw::general as c;
use abi::signal::{SIG_DFL, SIG_IGN, SIGCONT, SIGKILL, SigAction, SigInfo, SigSet, Signal};
use std::sync::Arc;

/// Who in a process gets a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Any thread that does not block it.
    Process,
    /// This thread.
    Thread(i32),
}

/// How [`Kernel::force_signal`] treats a signal that is blocked or ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForceHow {
    /// A fault: if blocked or ignored, the default action is put back.
    Fault,
    /// The process must die of it, whatever it has set.
    Die,
}

impl ThreadSignals {
    /// The signals it would take now.
    fn takes(&self) -> SigSet {
        SigSet(!self.mask().0).union(self.waiting_for)
    }
}

impl GroupSignals {
    /// Sets or clears a thread's `SIGNAL` request as its queues and mask have it (Linux's `recalc_sigpending`).
    pub fn recalculate(&self, tid: i32) {
        let Some(thread) = self.threads.get(&tid) else { return };
        let pending = thread.pending.set().union(self.shared.set());
        thread.local.set_alert(!pending.is_empty());
        if pending.intersect(thread.takes()).is_empty() {
            thread.work.clear(bits::SIGNAL);
        } else {
            thread.work.request(bits::SIGNAL);
        }
    }

    /// Makes every thread end, with `status` as the process's.
    pub fn begin_exit(&mut self, status: ExitStatus) -> bool {
        let first = self.exiting.is_none();
        self.exiting.get_or_insert(status);
        for thread in self.threads.values() {
            thread.work.request(bits::EXIT);
        }
        first
    }

    /// The effects that stop signals and `SIGCONT` have on sending. Returns whether a stopped process goes on.
    fn prepare(&mut self, signal: Signal) -> bool {
        if SigSet::STOPS.has(signal) {
            self.discard(SigSet::of(SIGCONT));
            return false;
        }
        if signal != SIGCONT && signal != SIGKILL {
            return false;
        }
        if signal == SIGCONT {
            self.discard(SigSet::STOPS);
            for thread in self.threads.values_mut() {
                if thread.trace.by.as_mut().is_some_and(|tracee| tracee.job_changed()) {
                    thread.work.request(bits::TRAP);
                }
            }
        }
        let was = std::mem::take(&mut self.stop);
        if was == GroupStop::Running {
            return false;
        }
        for thread in self.threads.values() {
            thread.work.clear(bits::STOP);
            thread.work.wake();
        }
        signal == SIGCONT && matches!(was, GroupStop::Stopped { .. })
    }

    /// A second `SIGKILL`: not even a tracer that wants to know of ends holds them.
    fn end_last_stops(&mut self) {
        for thread in self.threads.values_mut() {
            if let Some(tracee) = &mut thread.trace.by {
                tracee.killed = true;
                thread.work.wake();
            }
        }
    }

    fn discard(&mut self, set: SigSet) {
        self.shared.discard(set);
        for thread in self.threads.values_mut() {
            thread.pending.discard(set);
        }
    }

    /// Makes a thread look that takes the signal, if there is one; else all who might, once they unblock it. Returns the
    /// one.
    fn wake_one(&self, target: Target, signal: Signal, leader: i32) -> Option<&ThreadSignals> {
        let wants = |t: &ThreadSignals| t.takes().has(signal);
        match target {
            Target::Thread(tid) => {
                let thread = self.threads.get(&tid).inspect(|t| t.local.set_alert(true)).filter(|t| wants(t));
                thread.inspect(|t| t.work.request(bits::SIGNAL))
            }
            Target::Process => {
                self.threads.values().for_each(|t| t.local.set_alert(true));
                let main = self.threads.get(&leader).filter(|t| wants(t));
                let idle = || self.threads.values().find(|t| wants(t) && t.work.get() & bits::SIGNAL == 0);
                let thread = main.or_else(idle).or_else(|| self.threads.values().find(|t| wants(t)));
                thread.inspect(|t| t.work.request(bits::SIGNAL))
            }
        }
    }

    /// Wakes who is to take a signal that was just queued. One that ends the process, and whose taker is there, does so at
    /// once, so that killable waits end too (`complete_signal`).
    fn complete(&mut self, target: Target, signal: Signal, leader: i32, actions: &SignalActions) {
        let running = self.stop == GroupStop::Running;
        let taker = self.wake_one(target, signal, leader);
        let fatal = actions.get(signal).handler == SIG_DFL && DefaultAction::of(signal) == DefaultAction::Terminate;
        if fatal && running && taker.is_some_and(|t| !t.mask().has(signal) && t.trace.by.is_none()) {
            self.begin_exit(ExitStatus::Killed { signal, core: false });
        }
    }
}

impl ThreadGroup {
    /// Sends a signal. Returns whether a stopped process was continued, which its parent is to learn.
    ///
    /// # Errors
    /// `EAGAIN` if the queue is full and the sender must know, `ESRCH` if the thread is gone.
    fn send(&self, target: Target, info: SigInfo) -> Result<bool, Errno> {
        let signal = info.signo;
        let limit = self.limit(c::RLIMIT_SIGPENDING);
        let mut signals = self.signals.lock();
        if signals.exiting.is_some() {
            if signal == SIGKILL {
                signals.end_last_stops();
            }
            return Ok(false);
        }
        let continued = signals.prepare(signal);
        if signal == SIGKILL {
            signals.begin_exit(ExitStatus::Killed { signal: SIGKILL, core: false });
            return Ok(false);
        }
        let judge = match target {
            Target::Thread(tid) => Some(signals.threads.get(&tid).ok_or(Errno::ESRCH)?),
            Target::Process => signals.threads.get(&self.tgid).or_else(|| signals.threads.values().next()),
        };
        let kept = |t: &ThreadSignals| t.mask().has(signal) || t.waiting_for.has(signal) || t.trace.by.is_some();
        let blocked = judge.is_some_and(kept);
        if !blocked && self.actions().ignores(signal) {
            return Ok(continued);
        }
        let queue = match target {
            Target::Thread(tid) => signals.threads.get_mut(&tid).map(|t| &mut t.pending),
            Target::Process => Some(&mut signals.shared),
        };
        if !queue.is_some_and(|q| q.push(info, limit)) {
            return Err(Errno::EAGAIN);
        }
        signals.complete(target, signal, self.tgid, &self.actions());
        Ok(continued)
    }
}

impl ThreadGroup {
    /// Queues a timer's signal. Unlike others it is queued though one of its number may be pending: each timer has at
    /// most one. Returns false if it was ignored or nobody is there to get it.
    fn send_from_timer(&self, target: Target, info: SigInfo) -> bool {
        let signal = info.signo;
        let mut signals = self.signals.lock();
        let judge = match target {
            Target::Thread(tid) => signals.threads.get(&tid),
            Target::Process => signals.threads.get(&self.tgid).or_else(|| signals.threads.values().next()),
        };
        let Some(judge) = judge.filter(|_| signals.exiting.is_none()) else { return false };
        let blocked = judge.mask().has(signal) || judge.waiting_for.has(signal) || judge.trace.by.is_some();
        if !blocked && self.actions().ignores(signal) {
            return false;
        }
        signals.prepare(signal);
        if signal == SIGKILL {
            signals.begin_exit(ExitStatus::Killed { signal: SIGKILL, core: false });
            return true;
        }
        match target {
            Target::Thread(tid) => {
                if let Some(thread) = signals.threads.get_mut(&tid) {
                    thread.pending.push_timer(info);
                }
            }
            Target::Process => signals.shared.push_timer(info),
        }
        signals.complete(target, signal, self.tgid, &self.actions());
        true
    }
}

impl Kernel {
    /// Sends a timer's signal; see [`ThreadGroup::send_from_timer`].
    pub(crate) fn send_timer_signal(&self, group: &Arc<ThreadGroup>, target: Target, info: SigInfo) -> bool {
        let sent = if info.code == abi::signal::code::SI_TIMER {
            group.send_from_timer(target, info)
        } else {
            self.send_signal(group, target, info).is_ok()
        };
        self.signal_hooks.notify(vfs::wait::Events::READABLE);
        sent
    }

    /// Sends a signal to a process or one of its threads.
    ///
    /// # Errors
    /// `EAGAIN`, `ESRCH`; see sigqueue(3) and tgkill(2).
    pub fn send_signal(&self, group: &Arc<ThreadGroup>, target: Target, info: SigInfo) -> Result<(), Errno> {
        if group.send(target, info)? {
            self.notify_continued(group.tgid);
        }
        self.signal_hooks.notify(vfs::wait::Events::READABLE);
        Ok(())
    }

    /// Sends a signal to a process, whose queue may be full.
    pub fn signal_process(&self, group: &Arc<ThreadGroup>, info: SigInfo) {
        let _ = self.send_signal(group, Target::Process, info);
    }

    /// Sends a signal to every process of a group.
    pub fn signal_process_group(&self, pgid: i32, info: SigInfo) {
        let members = self.tree.lock().members(pgid);
        for group in members {
            self.signal_process(&group, info);
        }
    }

    /// Sends a signal that the task itself caused and can't escape (`force_sig_info`).
    pub fn force_signal(&self, task: &Task, info: SigInfo, how: ForceHow) {
        let signal = info.signo;
        let mut signals = task.group.signals.lock();
        let actions = task.group.actions();
        let Some(thread) = signals.threads.get_mut(&task.tid()) else { return };
        let action = actions.get(signal);
        let blocked = thread.mask().has(signal);
        if blocked || action.handler == SIG_IGN || how == ForceHow::Die {
            actions.set(signal, SigAction { handler: SIG_DFL, ..SigAction::default() });
            thread.set_mask(thread.mask().without(SigSet::of(signal)));
        }
        thread.pending.push(info, u64::MAX);
        thread.local.set_alert(true);
        thread.work.request(bits::SIGNAL);
    }
}
