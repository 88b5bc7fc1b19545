//! Stops: what a tracee does when it stops for its tracer (`ptrace_stop` in Linux's `kernel/signal.c`).

use super::{Stop, TRAP_FLAG, Tracee, event, mode};
use crate::error::Restart;
use crate::kernel::Kernel;
use crate::signal::GroupStop;
use crate::task::{CurrentTask, RunState, Task};
use crate::work::bits;
use abi::signal::{SIGCHLD, SIGTRAP, SigInfo, Signal, code, sa};
use std::sync::atomic::Ordering;
use vfs::wait::Events;

/// A stop to be made.
pub(super) struct Reason {
    pub code: i32,
    pub why: i32,
    pub message: u64,
    pub info: Option<SigInfo>,
    /// At its end: an end that was asked for does not keep it from stopping.
    pub at_end: bool,
}

impl Reason {
    /// One that is told by a `SIGTRAP` (`ptrace_do_notify`).
    pub fn trap(task: &Task, code: i32, message: u64) -> Reason {
        let info = SigInfo::from_process(SIGTRAP, code, task.tid(), task.creds().ruid);
        Reason { code, why: code::CLD_TRAPPED, message, info: Some(info), at_end: false }
    }
}

/// The code of a stop for an event.
pub(super) fn event_code(signal: Signal, event: u32) -> i32 {
    signal | (event << 8).cast_signed()
}

impl CurrentTask {
    /// Stops for the tracer until that lets it go on, or it must end. Returns the state that it goes on with, whose
    /// registers have been taken over; `None` if nobody traces it.
    pub(super) fn trace_stop(&mut self, reason: Reason) -> Option<Box<Stop>> {
        self.unfold();
        self.hide_step();
        let mut regs = self.regs;
        if let Some(restart) = self.restart {
            regs.rax = restart.to_ret();
        }
        let stop = Box::new(Stop {
            code: reason.code,
            reported: false,
            why: reason.why,
            info: reason.info,
            regs,
            fpstate: self.context.fpstate(),
            vectors_changed: false,
            saved_mask: self.saved_mask,
            signal: 0,
        });
        self.set_state(RunState::Traced);
        self.context.sleeps(&|| true);
        let stopped = self.enter_stop(stop, &reason);
        let left = stopped.then(|| self.wait_in_stop(reason.at_end));
        self.set_state(RunState::Running);
        let stop = left.flatten()?;
        self.take_over(&stop);
        Some(stop)
    }

    /// Makes the stop known. False if it is not to be made.
    fn enter_stop(&self, stop: Box<Stop>, reason: &Reason) -> bool {
        let tid = self.tid();
        let (tracer, signal, why) = {
            let mut signals = self.group.signals.lock();
            let Some(thread) = signals.threads.get_mut(&tid) else { return false };
            let Some(tracee) = &mut thread.trace.by else { return false };
            if self.work.get() & bits::EXIT != 0 && !reason.at_end {
                return false;
            }
            // Any stop is what PTRACE_INTERRUPT asked for.
            tracee.notify &= reason.code >> 8 != event::STOP.cast_signed();
            if !tracee.notify {
                self.work.clear(bits::TRAP);
            }
            tracee.message = reason.message;
            tracee.stop = Some(stop);
            (tracee.tracer, reason.code & 0x7f, reason.why)
        };
        self.kernel.tell_tracer(tracer.pid, &self.task, why, signal);
        true
    }

    /// Waits until the tracer lets it go on.
    fn wait_in_stop(&self, at_end: bool) -> Option<Box<Stop>> {
        loop {
            if let Some(left) = self.look_up_from_stop(at_end) {
                return left;
            }
            self.work.parker().park(None);
        }
    }

    /// `Some` if it is to go on, with its state.
    #[allow(clippy::option_option)]
    fn look_up_from_stop(&self, at_end: bool) -> Option<Option<Box<Stop>>> {
        let mut signals = self.group.signals.lock();
        let Some(thread) = signals.threads.get_mut(&self.tid()) else { return Some(None) };
        if let Some(stop) = thread.trace.released.take() {
            return Some(Some(stop));
        }
        let Some(tracee) = &mut thread.trace.by else { return Some(None) };
        let killed = if at_end { tracee.killed } else { self.work.get() & bits::EXIT != 0 };
        if killed || (tracee.listening && self.work.get() & bits::TRAP != 0) {
            tracee.listening = false;
            return Some(tracee.stop.take());
        }
        None
    }

    /// Goes on with what the tracer has left.
    fn take_over(&mut self, stop: &Stop) {
        self.regs = stop.regs;
        let in_call = self.regs.orig_rax as u32 != u32::MAX;
        self.restart = Restart::from_ret(self.regs.rax).filter(|_| in_call);
        self.saved_mask = stop.saved_mask;
        if stop.vectors_changed {
            // Checked when it was set; a stub that is gone is seen at the next switch.
            let _ = self.context.set_fpstate(&stop.fpstate);
        }
        self.take_up_points();
    }

    /// Takes the tracer's trap flag out of the registers.
    pub(crate) fn hide_step(&mut self) {
        if std::mem::take(&mut self.stepping) {
            self.regs.eflags &= !TRAP_FLAG;
        }
    }

    /// The registers, but for the tracer's trap flag.
    pub(crate) fn regs_without_step(&self) -> platform::Registers {
        let mut regs = self.regs;
        if self.stepping {
            regs.eflags &= !TRAP_FLAG;
        }
        regs
    }

    /// Shows a signal to the tracer, who decides what becomes of it (`ptrace_signal`).
    pub(crate) fn trace_signal(&mut self, info: SigInfo) -> Option<SigInfo> {
        let reason = Reason { code: info.signo, why: code::CLD_TRAPPED, message: 0, info: Some(info), at_end: false };
        let Some(stop) = self.trace_stop(reason) else { return Some(info) };
        let signal = stop.signal;
        let mut info = stop.info.filter(|_| signal != 0)?;
        let tid = self.tid();
        let mut signals = self.group.signals.lock();
        let tracer = signals.threads.get(&tid).and_then(|t| t.trace.by.as_ref()).map(|tracee| tracee.tracer);
        if info.signo != signal {
            drop(signals);
            let (pid, uid) = tracer.map_or((0, 0), |tracer| {
                let creds = self.kernel.tree.task(tracer.tid).map(|task| task.creds());
                (tracer.pid, creds.map_or(0, |creds| creds.ruid))
            });
            info = SigInfo::from_process(signal, code::SI_USER, pid, uid);
            signals = self.group.signals.lock();
        }
        let thread = signals.threads.get_mut(&tid)?;
        if !thread.mask().has(signal) {
            return Some(info);
        }
        thread.pending.push(info, u64::MAX);
        signals.recalculate(tid);
        None
    }

    /// A handler is about to run: for a tracer who steps, that was a step.
    pub(crate) fn trace_handler(&mut self) {
        if self.task.trace_mode() & mode::STEP != 0 {
            self.trace_stop(Reason::trap(&self.task, SIGTRAP, 0));
        } else if self.watch.is_some() {
            self.arm_step();
        }
    }

    /// A stop that was asked for: by the tracer, or by word of a change in job control (`do_jobctl_trap`).
    pub(crate) fn trap_here(&mut self) {
        let (seized, signal) = {
            let mut signals = self.group.signals.lock();
            let running = signals.stop == GroupStop::Running;
            let Some(tracee) = signals.threads.get_mut(&self.tid()).and_then(|t| t.trace.by.as_mut()) else {
                self.work.clear(bits::TRAP);
                return;
            };
            match tracee.seized {
                true if running => (true, SIGTRAP),
                seized => (seized, tracee.stop_signal),
            }
        };
        if signal == 0 {
            self.work.clear(bits::TRAP);
            return;
        }
        self.trace_group_stop(seized, signal);
    }

    /// Stops for job control, as its tracer sees it.
    pub(crate) fn trace_group_stop(&mut self, seized: bool, signal: Signal) {
        let reason = if seized {
            Reason { why: code::CLD_STOPPED, ..Reason::trap(&self.task, event_code(signal, event::STOP), 0) }
        } else {
            Reason { code: signal, why: code::CLD_STOPPED, message: 0, info: None, at_end: false }
        };
        self.trace_stop(reason);
    }
}

impl Kernel {
    /// A tracee has stopped: its tracer learns of it.
    fn tell_tracer(&self, tracer: i32, task: &Task, why: i32, signal: Signal) {
        let Some(group) = self.tree.process(tracer) else { return };
        if group.actions().get(SIGCHLD).flags & sa::NOCLDSTOP == 0 {
            let info = SigInfo::child(why, task.tid(), task.creds().ruid, signal, 0, 0);
            self.signal_process(&group, info);
        }
        group.child_events.notify(Events::READABLE);
    }
}

impl Task {
    /// Whether it is traced, and how it was let go on: bits of [`mode`].
    pub(crate) fn trace_mode(&self) -> u32 {
        self.trace_mode.load(Ordering::Relaxed)
    }

    /// Whether it is traced.
    #[must_use]
    pub fn traced(&self) -> bool {
        self.trace_mode() != 0
    }
}

impl Tracee {
    /// It is stopped, and its tracer may look into it.
    pub(super) fn open_stop(&mut self) -> Option<&mut Stop> {
        if self.listening { None } else { self.stop.as_deref_mut() }
    }

    /// It is stopped, for waits to report.
    #[must_use]
    pub fn unreported(&self) -> Option<&Stop> {
        self.stop.as_deref().filter(|stop| !stop.reported && !self.listening)
    }

    /// Asks for a stop that tells of a change in job control; ends listening.
    pub(crate) fn job_changed(&mut self) -> bool {
        self.notify |= self.seized;
        self.seized
    }
}
