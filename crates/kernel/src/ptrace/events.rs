//! Stops for events: new tasks, new programs, ends; and how tracing is passed on to children.

use super::stop::{Reason, event_code};
use super::{DebugRegisters, TraceSlot, Tracee, Tracer, event, mode};
use crate::clone::CloneArgs;
use crate::group::ExitStatus;
use crate::signal::{Target, ThreadSignals};
use crate::task::{CurrentTask, Task};
use crate::tree::Tree;
use crate::work::bits;
use abi::raw::general as c;
use abi::signal::{SIGCHLD, SIGSTOP, SIGTRAP, SigInfo, code};
use std::sync::atomic::Ordering;

/// What a child takes over of its parent's tracing.
pub(crate) struct Inherited {
    tracer: Tracer,
    seized: bool,
    options: u32,
}

impl CurrentTask {
    /// Stops for an event, if the tracer wants to know of it.
    pub(crate) fn trace_event(&mut self, event: u32, message: u64) {
        if self.task.traced() && self.wants_event(event) {
            self.trace_stop(Reason::trap(&self.task, event_code(SIGTRAP, event), message));
        }
    }

    fn wants_event(&self, event: u32) -> bool {
        let signals = self.group.signals.lock();
        let tracee = signals.threads.get(&self.tid()).and_then(|thread| thread.trace.by.as_ref());
        tracee.is_some_and(|tracee| tracee.wants(event))
    }

    /// Tells of the program that the task has become; `old` is the thread id that it had before. Tracers that know of no
    /// events get a signal.
    pub fn trace_exec(&mut self, old: i32) {
        if !self.task.traced() {
            return;
        }
        if self.wants_event(event::EXEC) {
            return self.trace_event(event::EXEC, u64::from(old.unsigned_abs()));
        }
        let seized = {
            let signals = self.group.signals.lock();
            let tracee = signals.threads.get(&self.tid()).and_then(|thread| thread.trace.by.as_ref());
            tracee.is_none_or(|tracee| tracee.seized)
        };
        if !seized {
            let info = SigInfo::from_process(SIGTRAP, code::SI_USER, self.group.tgid, self.creds.ruid);
            let _ = self.kernel.send_signal(&self.group, Target::Thread(self.tid()), info);
        }
    }

    /// Tells of the task's end.
    pub(crate) fn trace_end(&mut self, code: u8) {
        if !self.task.traced() || !self.wants_event(event::EXIT) {
            return;
        }
        let status = self.group.signals.lock().exiting.unwrap_or(ExitStatus::Exited(code));
        let message = u64::from(status.wait_status().unsigned_abs());
        let reason = Reason::trap(&self.task, event_code(SIGTRAP, event::EXIT), message);
        self.trace_stop(Reason { at_end: true, ..reason });
    }

    /// The event of a clone(2), if its tracer wants to know.
    pub(crate) fn clone_event(&self, args: &CloneArgs) -> Option<u32> {
        let has = |bit: u32| args.flags & u64::from(bit) != 0;
        if !self.task.traced() || has(c::CLONE_UNTRACED) {
            return None;
        }
        let event = match args.exit_signal {
            _ if has(c::CLONE_VFORK) => event::VFORK,
            SIGCHLD => event::FORK,
            _ => event::CLONE,
        };
        self.wants_event(event).then_some(event)
    }

    /// What a child of clone(2) takes over, with the event that its tracer wants.
    pub(crate) fn inherited_trace(&self, args: &CloneArgs, event: Option<u32>) -> Option<Inherited> {
        if !self.task.traced() || (event.is_none() && args.flags & u64::from(c::CLONE_PTRACE) == 0) {
            return None;
        }
        let signals = self.group.signals.lock();
        let tracee = signals.threads.get(&self.tid())?.trace.by.as_ref()?;
        Some(Inherited { tracer: tracee.tracer, seized: tracee.seized, options: tracee.options })
    }

    /// Keeps the text of a new program as it is in its file, if the task is traced.
    pub(crate) fn trace_new_memory(&self) {
        if !self.task.traced() {
            return;
        }
        let text = self.mm.plain_text();
        let old = {
            let mut signals = self.group.signals.lock();
            let tracee = signals.threads.get_mut(&self.tid()).and_then(|thread| thread.trace.by.as_mut());
            match tracee {
                Some(tracee) => {
                    tracee.debug = DebugRegisters::default();
                    std::mem::replace(&mut tracee.text, text)
                }
                None => text,
            }
        };
        drop(old);
    }

    /// Whether it is traced by somebody who may not see what a privileged program does.
    #[must_use]
    pub fn traced_by_unprivileged(&self) -> bool {
        let signals = self.group.signals.lock();
        let tracee = signals.threads.get(&self.tid()).and_then(|thread| thread.trace.by.as_ref());
        tracee.is_some_and(|tracee| !tracee.tracer.privileged)
    }
}

impl Inherited {
    /// Makes a new task, which is in the tree and has not run, a tracee that stops before it runs.
    pub fn give(self, tree: &mut Tree, task: &Task, thread: &mut ThreadSignals, text: mm::PlainText) {
        if !tree.link_tracee(task, self.tracer) {
            return;
        }
        thread.trace =
            TraceSlot { by: Some(Box::new(Tracee::new(self.tracer, self.seized, self.options, text))), released: None };
        task.trace_mode.store(mode::TRACED, Ordering::Relaxed);
        if self.seized {
            thread.work.request(bits::TRAP);
        } else {
            thread.pending.push(SigInfo::new(SIGSTOP, code::SI_USER), u64::MAX);
            thread.local.set_alert(true);
            thread.work.request(bits::SIGNAL);
        }
    }
}

impl Tracee {
    pub(super) fn new(tracer: Tracer, seized: bool, options: u32, text: mm::PlainText) -> Tracee {
        Tracee {
            tracer,
            seized,
            options,
            message: 0,
            stop: None,
            listening: false,
            notify: false,
            killed: false,
            stop_signal: 0,
            debug: DebugRegisters::default(),
            text,
        }
    }
}
