//! What a task does about its signals and other requests before it goes back to guest code.

use super::{DefaultAction, ForceHow, GroupStop, ThreadSignals};
use crate::error::Restart;
use crate::group::{ExitStatus, ThreadGroup};
use crate::kernel::Kernel;
use crate::task::{CurrentTask, RunState};
use crate::work::bits;
use abi::Errno;
use abi::signal::{
    SIG_DFL, SIG_IGN, SIGCONT, SIGKILL, SIGSEGV, SIGSTOP, SigAction, SigInfo, SigSet, Signal, code, name, sa,
};
use std::sync::Arc;

/// How the run loop goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flow {
    /// With guest code.
    Run,
    /// With the end of this thread.
    Exit,
}

/// `restart_syscall`.
const NR_RESTART_SYSCALL: u64 = 219;

/// Length of the `syscall` instruction.
const SYSCALL_LEN: u64 = 2;

/// What signals are called among the system calls to trace.
pub const SIGNALS: &str = "signals";

impl CurrentTask {
    /// Sees to all requests, signals last, and to the restart of the call that just ended.
    pub(crate) fn handle_work(&mut self) -> Flow {
        loop {
            let work = self.work.get();
            if work & bits::EXIT != 0 || self.exiting.is_some() {
                return Flow::Exit;
            }
            if work & bits::STOP != 0 {
                self.stop_here();
                continue;
            }
            if work & bits::TRAP != 0 {
                self.trap_here();
                continue;
            }
            if work & bits::SIGNAL == 0 {
                break;
            }
            let Some(mut info) = self.dequeue_signal() else { continue };
            if self.task.traced() {
                let Some(chosen) = self.trace_signal(info) else { continue };
                info = chosen;
            }
            if self.act_on(info) {
                return if self.work.get() & bits::EXIT != 0 { Flow::Exit } else { Flow::Run };
            }
        }
        self.restart_without_handler();
        if let Some(mask) = self.saved_mask.take() {
            self.set_signal_mask(mask);
        }
        Flow::Run
    }

    fn dequeue_signal(&mut self) -> Option<SigInfo> {
        let allowed = SigSet(!self.signal_mask().0);
        self.group.take_signal(&self.kernel, self.tid(), allowed)
    }

    /// Acts on one signal. Returns whether a handler was set up, which must run before the next signal.
    fn act_on(&mut self, info: SigInfo) -> bool {
        let signal = info.signo;
        if self.kernel.trace.straces(SIGNALS) {
            let line = format!("[{:5}] --- {} {{si_code={}}} ---", self.tid(), name(signal), info.code);
            self.kernel.trace.strace(&line);
        }
        let actions = self.group.actions();
        let action = actions.get(signal);
        match action.handler {
            SIG_IGN => false,
            SIG_DFL => {
                self.act_by_default(signal);
                false
            }
            _ => {
                if action.flags & sa::RESETHAND != 0 {
                    actions.set(signal, SigAction { handler: SIG_DFL, ..action });
                }
                self.restart_before_handler(&action);
                self.enter_handler(&action, &info);
                true
            }
        }
    }

    fn act_by_default(&mut self, signal: Signal) {
        let default = if signal == SIGKILL { DefaultAction::Terminate } else { DefaultAction::of(signal) };
        match default {
            DefaultAction::Ignore | DefaultAction::Continue => {}
            DefaultAction::Stop => self.begin_stop(signal),
            // No core is ever written, so none is told of.
            DefaultAction::Terminate | DefaultAction::Core => {
                self.end_group(ExitStatus::Killed { signal, core: false });
            }
        }
    }

    /// Makes every thread of the process end.
    pub fn end_group(&mut self, status: ExitStatus) {
        let _ = self.group.signals.lock().begin_exit(status);
    }

    /// Begins to stop the process, unless it is in an orphaned group and the signal is not `SIGSTOP`.
    fn begin_stop(&mut self, signal: Signal) {
        if signal != SIGSTOP {
            let tree = self.kernel.tree.lock();
            let pgid = tree.process_of(&self.task).map_or(0, |p| p.pgid);
            if tree.is_orphaned(pgid, None) {
                return;
            }
        }
        let mut signals = self.group.signals.lock();
        // SIGCONT or an end that came since the signal was taken off the queue undoes it.
        if signals.exiting.is_some() || signals.shared.set().has(SIGCONT) {
            return;
        }
        let tid = self.tid();
        let again = signals.stop != GroupStop::Running;
        if !again {
            signals.stop = GroupStop::Stopping { signal, left: signals.threads.len() };
        }
        for (id, thread) in &mut signals.threads {
            // Only a tracee runs while its process is stopped, and stops alone then.
            if again && (*id != tid || thread.trace.by.is_none()) {
                continue;
            }
            if let Some(tracee) = &mut thread.trace.by {
                tracee.stop_signal = signal;
            }
            thread.work.request(bits::STOP);
        }
    }

    /// Stops until continued or killed.
    fn stop_here(&mut self) {
        let (last, traced) = {
            let mut signals = self.group.signals.lock();
            let tracee = signals.threads.get(&self.tid()).and_then(|thread| thread.trace.by.as_ref());
            let traced = tracee.map(|tracee| (tracee.seized, tracee.tracer.pid, tracee.stop_signal));
            if traced.is_some() {
                self.work.clear(bits::STOP);
            }
            let last = match signals.stop {
                GroupStop::Running => {
                    self.work.clear(bits::STOP);
                    return;
                }
                GroupStop::Stopping { signal, left } if left > 1 => {
                    signals.stop = GroupStop::Stopping { signal, left: left - 1 };
                    None
                }
                GroupStop::Stopping { signal, .. } => {
                    signals.stop = GroupStop::Stopped { signal };
                    Some(signal)
                }
                GroupStop::Stopped { .. } => None,
            };
            (last, traced)
        };
        if let Some(signal) = last {
            self.kernel.notify_stopped(self.group.tgid, signal, traced.map(|(_, tracer, _)| tracer));
        }
        if let Some((seized, _, signal)) = traced {
            return self.trace_group_stop(seized, signal);
        }
        self.set_state(RunState::Stopped);
        self.context.sleeps(&|| true);
        loop {
            let work = self.work.get();
            if work & (bits::EXIT | bits::TRAP) != 0 || work & bits::STOP == 0 {
                break;
            }
            self.work.parker().park(None);
        }
        // Who sends SIGCONT ends the stop first and queues the signal then, under this lock: it is to be seen before the
        // interrupted call is restarted, since its handler may want EINTR.
        drop(self.group.signals.lock());
        self.set_state(RunState::Running);
    }

    /// The interrupted call, when a handler is about to run (`handle_signal` in Linux's `arch/x86/kernel/signal.c`).
    fn restart_before_handler(&mut self, action: &SigAction) {
        let Some(restart) = self.restart.take() else { return };
        let again = match restart {
            Restart::NoIntr => true,
            Restart::Sys => action.flags & sa::RESTART != 0,
            Restart::NoHand | Restart::Block => false,
        };
        if again {
            self.rewind(self.regs.orig_rax);
        } else {
            self.regs.rax = Errno::EINTR.to_ret();
        }
    }

    /// The interrupted call, when no handler runs: it goes on.
    fn restart_without_handler(&mut self) {
        match self.restart.take() {
            None => {}
            Some(Restart::Block) => self.rewind(NR_RESTART_SYSCALL),
            Some(_) => self.rewind(self.regs.orig_rax),
        }
    }

    fn rewind(&mut self, number: u64) {
        self.unfold();
        self.regs.rax = number;
        self.regs.rip = self.regs.rip.wrapping_sub(SYSCALL_LEN);
    }

    /// Completes the registers of the call that just ended. If the host process is gone, the next switch says so.
    pub fn unfold(&mut self) {
        let _ = self.context.unfold(&mut self.regs);
    }

    fn enter_handler(&mut self, action: &SigAction, info: &SigInfo) {
        self.unfold();
        self.hide_step();
        let tid = self.tid();
        let group = self.group.clone();
        let mask_now = group.signals.lock().threads.get(&tid).map_or(SigSet::EMPTY, ThreadSignals::mask);
        let mask_after = self.saved_mask.take().unwrap_or(mask_now);
        if self.push_frame(action, info, mask_after).is_err() {
            // Linux's force_sigsegv: if the frame of SIGSEGV itself does not fit, the process dies of it.
            let how = if info.signo == SIGSEGV { ForceHow::Die } else { ForceHow::Fault };
            let fault = SigInfo::new(SIGSEGV, code::SI_KERNEL);
            self.kernel.clone().force_signal(&self.task, fault, how);
            return;
        }
        let mut mask = mask_now.union(action.mask);
        if action.flags & sa::NODEFER == 0 {
            mask = mask.with(info.signo);
        }
        self.set_signal_mask(mask);
        self.trace_handler();
    }

    /// Replaces the signal mask.
    pub fn set_signal_mask(&self, mask: SigSet) {
        let tid = self.tid();
        let mut signals = self.group.signals.lock();
        if let Some(thread) = signals.threads.get_mut(&tid) {
            thread.set_mask(mask);
        }
        signals.recalculate(tid);
    }

    /// The signal mask.
    #[must_use]
    pub fn signal_mask(&self) -> SigSet {
        let tid = self.tid();
        self.group.signals.lock().threads.get(&tid).map_or(SigSet::EMPTY, ThreadSignals::mask)
    }
}

impl ThreadGroup {
    /// Takes the next signal of `allowed` that is pending for a thread off its queue or the process's. All takers come
    /// here, since the timer that sent it may have to run on.
    pub fn take_signal(self: &Arc<Self>, kernel: &Kernel, tid: i32, allowed: SigSet) -> Option<SigInfo> {
        let mut info = {
            let mut signals = self.signals.lock();
            let own = signals.threads.get_mut(&tid).and_then(|t| t.pending.pop(allowed));
            let info = own.or_else(|| signals.shared.pop(allowed));
            signals.recalculate(tid);
            info?
        };
        self.signal_taken(kernel, &mut info);
        Some(info)
    }
}
