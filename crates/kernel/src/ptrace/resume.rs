//! What tracers do with their tracees.

use super::{Stop, Tracee, event, mode};
use crate::kernel::Kernel;
use crate::signal::{GroupSignals, ThreadSignals};
use crate::task::{CurrentTask, Task};
use crate::work::bits;
use abi::Errno;
use abi::signal::{SIGKILL, SigInfo, SigSet, Signal, code};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How a tracee is let go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resume {
    /// `PTRACE_CONT`
    Continue,
    /// `PTRACE_SYSCALL`
    Syscall,
    /// `PTRACE_SINGLESTEP`
    Step,
    /// `PTRACE_SYSEMU`
    Emulate,
    /// `PTRACE_SYSEMU_SINGLESTEP`
    EmulateStep,
}

impl Resume {
    fn mode(self) -> u32 {
        mode::TRACED
            | match self {
                Resume::Continue => 0,
                Resume::Syscall => mode::SYSCALL,
                Resume::Step => mode::STEP,
                Resume::Emulate => mode::EMULATE,
                Resume::EmulateStep => mode::EMULATE | mode::STEP,
            }
    }
}

fn own(signals: &mut GroupSignals, tid: i32, tracer: i32) -> Result<&mut ThreadSignals, Errno> {
    let thread = signals.threads.get_mut(&tid).ok_or(Errno::ESRCH)?;
    let mine = thread.trace.by.as_ref().is_some_and(|tracee| tracee.tracer.tid == tracer);
    if mine { Ok(thread) } else { Err(Errno::ESRCH) }
}

/// The stop of a thread that is `tracer`'s, and open to it.
pub(super) fn own_stop(signals: &mut GroupSignals, tid: i32, tracer: i32) -> Result<&mut Stop, Errno> {
    let thread = own(signals, tid, tracer)?;
    thread.trace.by.as_mut().and_then(|tracee| tracee.open_stop()).ok_or(Errno::ESRCH)
}

impl CurrentTask {
    /// A task that this one traces, stopped or not.
    ///
    /// # Errors
    /// `ESRCH`
    pub fn tracee(&self, tid: i32) -> Result<Arc<Task>, Errno> {
        let task = self.kernel.tree.task(tid).ok_or(Errno::ESRCH)?;
        own(&mut task.group.signals.lock(), tid, self.tid())?;
        Ok(task)
    }

    /// Looks at or changes a stopped tracee. No guest memory may be touched in `with`.
    ///
    /// # Errors
    /// `ESRCH` if it is not stopped, or not this task's; those of `with`.
    pub fn with_stop<T>(&self, task: &Task, with: impl FnOnce(&mut Stop) -> Result<T, Errno>) -> Result<T, Errno> {
        let mut signals = task.group.signals.lock();
        with(own_stop(&mut signals, task.tid(), self.tid())?)
    }

    /// The same for what a stopped tracee has besides its state.
    ///
    /// # Errors
    /// As [`CurrentTask::with_stop`].
    pub fn with_tracee<T>(&self, task: &Task, with: impl FnOnce(&mut Tracee) -> Result<T, Errno>) -> Result<T, Errno> {
        let mut signals = task.group.signals.lock();
        own_stop(&mut signals, task.tid(), self.tid())?;
        let thread = own(&mut signals, task.tid(), self.tid())?;
        with(thread.trace.by.as_deref_mut().ok_or(Errno::ESRCH)?)
    }

    /// Lets a stopped tracee go on, with a signal or none.
    ///
    /// # Errors
    /// `ESRCH`
    pub fn resume(&self, task: &Task, how: Resume, signal: Signal) -> Result<(), Errno> {
        let mut signals = task.group.signals.lock();
        own_stop(&mut signals, task.tid(), self.tid())?.signal = signal;
        let thread = own(&mut signals, task.tid(), self.tid())?;
        let stop = thread.trace.by.as_mut().and_then(|tracee| tracee.stop.take());
        thread.trace.released = stop;
        task.trace_mode.store(how.mode(), Ordering::Relaxed);
        thread.work.wake();
        Ok(())
    }

    /// `PTRACE_INTERRUPT`: asks for a stop.
    ///
    /// # Errors
    /// `EIO` if it was not seized, `ESRCH`.
    pub fn interrupt_tracee(&self, task: &Task) -> Result<(), Errno> {
        let mut signals = task.group.signals.lock();
        let thread = own(&mut signals, task.tid(), self.tid())?;
        if !thread.trace.by.as_ref().is_some_and(|tracee| tracee.seized) {
            return Err(Errno::EIO);
        }
        thread.work.request(bits::TRAP);
        Ok(())
    }

    /// `PTRACE_LISTEN`: leaves it in its stop until job control changes something.
    ///
    /// # Errors
    /// `EIO` if it was not seized or is not stopped by job control, `ESRCH`.
    pub fn listen_to_tracee(&self, task: &Task) -> Result<(), Errno> {
        let mut signals = task.group.signals.lock();
        let code = own_stop(&mut signals, task.tid(), self.tid())?.info.map_or(0, |info| info.code);
        let thread = own(&mut signals, task.tid(), self.tid())?;
        let tracee = thread.trace.by.as_mut().filter(|tracee| tracee.seized).ok_or(Errno::EIO)?;
        if code >> 8 != event::STOP.cast_signed() {
            return Err(Errno::EIO);
        }
        tracee.listening = true;
        thread.work.wake();
        Ok(())
    }

    /// `PTRACE_KILL`.
    pub fn kill_tracee(&self, task: &Task) {
        self.kernel.kill_group_of(task);
    }

    /// The signals that a stopped tracee blocks.
    ///
    /// # Errors
    /// `ESRCH`
    pub fn mask_of_tracee(&self, task: &Task) -> Result<SigSet, Errno> {
        let mut signals = task.group.signals.lock();
        let saved = own_stop(&mut signals, task.tid(), self.tid())?.saved_mask;
        Ok(saved.unwrap_or(own(&mut signals, task.tid(), self.tid())?.mask()))
    }

    /// Sets them.
    ///
    /// # Errors
    /// `ESRCH`
    pub fn set_mask_of_tracee(&self, task: &Task, mask: SigSet) -> Result<(), Errno> {
        let mut signals = task.group.signals.lock();
        own_stop(&mut signals, task.tid(), self.tid())?.saved_mask = None;
        own(&mut signals, task.tid(), self.tid())?.set_mask(mask);
        signals.recalculate(task.tid());
        Ok(())
    }

    /// Signals that wait for a stopped tracee, or its process: at most `most`, from the one numbered `from`.
    ///
    /// # Errors
    /// `ESRCH`
    pub fn queued_of_tracee(&self, task: &Task, shared: bool, from: u64, most: usize) -> Result<Vec<SigInfo>, Errno> {
        let mut signals = task.group.signals.lock();
        own_stop(&mut signals, task.tid(), self.tid())?;
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let all = |queue: &crate::signal::PendingQueue| queue.iter().skip(from).take(most).copied().collect();
        if shared {
            return Ok(all(&signals.shared));
        }
        Ok(all(&own(&mut signals, task.tid(), self.tid())?.pending))
    }
}

impl Kernel {
    fn kill_group_of(&self, task: &Task) {
        self.signal_process(&task.group, SigInfo::new(SIGKILL, code::SI_USER));
    }
}
