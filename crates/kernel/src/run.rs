//! The run loop: a task's life between its first instruction and its last.
//!
//! Requests are seen to only at the top of the loop, where no call is in progress, so that a task's whole state is data.

use crate::clock::Mode;
use crate::error::SysErr;
use crate::group::ExitStatus;
use crate::signal::{Flow, ForceHow};
use crate::task::CurrentTask;
use abi::Errno;
use abi::signal::code::TRAP_TRACE;
use abi::signal::{SIGBUS, SIGILL, SIGKILL, SIGSEGV, SIGTRAP, SigInfo};
use platform::{Access, Exit, Gone};

/// x86 page-fault trap number, and bits of its error code.
const TRAP_PAGE_FAULT: u64 = 14;
const FAULT_WRITE: u64 = 2;
const FAULT_USER: u64 = 4;
const FAULT_EXECUTE: u64 = 16;

/// Runs a task to its end, on its own thread.
pub(crate) fn run(mut task: CurrentTask) {
    loop {
        while task.work.get() != 0 || task.restart.is_some() || task.exiting.is_some() || task.saved_mask.is_some() {
            if task.handle_work() == Flow::Exit {
                task.finish();
                return;
            }
        }
        task.task.spend(Mode::User);
        let exit = task.context.switch(&mut task.regs);
        task.task.spend_in_guest(task.context.slept());
        task.handle_exit(exit);
    }
}

impl CurrentTask {
    fn handle_exit(&mut self, exit: Exit) {
        if exit == Exit::Syscall {
            return if self.task.traced() { self.handle_traced_syscall() } else { self.handle_syscall() };
        }
        // Not in a call.
        self.regs.orig_rax = u64::MAX;
        match exit {
            Exit::Syscall => {}
            Exit::Fault { addr, access } => self.handle_fault(addr, access),
            Exit::Exception { signo: SIGILL, .. } if self.mm.unpatch(self.regs.rip) => {}
            Exit::Exception { signo: SIGTRAP, code: TRAP_TRACE, .. } if self.step_done() => {}
            Exit::Exception { signo, code, addr, trapno, error_code } => {
                self.last_fault = (trapno, error_code, 0);
                self.kernel.force_signal(&self.task, SigInfo::fault(signo, code, addr), ForceHow::Fault);
            }
            Exit::Interrupted => {}
            Exit::Gone(gone) => self.lose_space(gone),
        }
    }

    fn handle_syscall(&mut self) {
        if let Some(site) = self.context.site() {
            self.context.served_sites(&mut |site, number| self.mm.note_trap(site, number));
            // The number is an int.
            self.mm.note_trap(site, self.regs.orig_rax as u32);
        }
        let kernel = self.kernel.clone();
        let result = kernel.dispatch.syscall(self);
        match result {
            Ok(value) => self.regs.rax = value,
            Err(SysErr::Errno(errno)) => self.regs.rax = errno.to_ret(),
            Err(SysErr::Restart(restart)) => {
                self.regs.rax = Errno::EINTR.to_ret();
                self.restart = Some(restart);
            }
        }
    }

    /// The same with stops for the tracer before and after.
    fn handle_traced_syscall(&mut self) {
        if self.trace_entry() {
            self.handle_syscall();
        }
        self.trace_exit_of_call();
    }

    fn handle_fault(&mut self, addr: u64, access: Access) {
        self.task.usage.faults.add(1);
        let Err(fault) = self.mm.handle_fault(addr, access) else { return };
        let write = if access.write { FAULT_WRITE } else { 0 };
        let execute = if access.execute { FAULT_EXECUTE } else { 0 };
        self.last_fault = (TRAP_PAGE_FAULT, FAULT_USER | write | execute, addr);
        self.kernel.force_signal(&self.task, SigInfo::fault(fault.signo, fault.code, addr), ForceHow::Fault);
    }

    /// Nothing of the process can run any more.
    fn lose_space(&mut self, gone: Gone) {
        if self.group.signals.lock().begin_exit(ExitStatus::Killed { signal: SIGKILL, core: false }) {
            // The guest's choice, on its way to the user's terminal.
            let name = String::from_utf8_lossy(&self.task.name()).replace(char::is_control, "?");
            self.kernel.tell(&format!("process {} ({name}) was killed: {gone}", self.group.tgid));
        }
    }

    /// Trap number, error code and address for a signal's frame.
    pub(crate) fn fault_details(&self, info: &SigInfo) -> (u64, u64, u64) {
        if matches!(info.signo, SIGSEGV | SIGBUS) || info.code > 0 { self.last_fault } else { (0, 0, 0) }
    }
}
