//! Stops at system calls (`syscall_trace_enter` and `syscall_exit_work` in Linux's `kernel/entry`).

use super::stop::Reason;
use super::{message, mode, option};
use crate::signal::Target;
use crate::task::CurrentTask;
use crate::work::bits;
use abi::signal::{SIGTRAP, SigInfo, code};

/// Added to the stop's signal by `PTRACE_O_TRACESYSGOOD`.
const SYSGOOD: i32 = 0x80;

impl CurrentTask {
    /// Before a call. False if it is not to be made.
    pub(crate) fn trace_entry(&mut self) -> bool {
        let mode = self.task.trace_mode();
        if mode & (mode::SYSCALL | mode::EMULATE) != 0 {
            self.call_stop(message::SYSCALL_ENTRY);
            if self.work.get() & bits::EXIT != 0 {
                return false;
            }
        }
        mode & mode::EMULATE == 0 && self.regs.orig_rax as u32 != u32::MAX
    }

    /// After a call.
    pub(crate) fn trace_exit_of_call(&mut self) {
        self.pass_points();
        let mode = self.task.trace_mode();
        if mode & mode::STEP != 0 && mode & mode::EMULATE == 0 {
            self.unfold();
            self.raise_trap(code::TRAP_BRKPT);
        } else if mode & mode::SYSCALL != 0 {
            self.call_stop(message::SYSCALL_EXIT);
        }
    }

    fn call_stop(&mut self, message: u64) {
        let good = self.trace_option(option::SYSGOOD);
        let code = if good { SIGTRAP | SYSGOOD } else { SIGTRAP };
        let Some(stop) = self.trace_stop(Reason::trap(&self.task, code, message)) else { return };
        if stop.signal != 0 {
            let info = SigInfo::new(stop.signal, code::SI_KERNEL);
            let _ = self.kernel.send_signal(&self.group, Target::Thread(self.tid()), info);
        }
    }

    fn trace_option(&self, option: u32) -> bool {
        let signals = self.group.signals.lock();
        let tracee = signals.threads.get(&self.tid()).and_then(|thread| thread.trace.by.as_ref());
        tracee.is_some_and(|tracee| tracee.options & option != 0)
    }
}
