//! Timers: of processes (setitimer(2), timer_create(2)) and of files (timerfd).

use crate::group::ThreadGroup;
use std::sync::Arc;

/// A process's timers.
#[derive(Default)]
pub struct ProcessTimers {}

/// The sandbox's timer service.
#[derive(Default)]
pub struct Timers {}

impl Timers {
    /// Ends the timers of a process that has ended.
    pub(crate) fn process_ended(&self, group: &Arc<ThreadGroup>) {
        let _ = group;
    }

    /// Deletes the timers that do not survive execve(2).
    pub(crate) fn exec(&self, group: &Arc<ThreadGroup>) {
        let _ = group;
    }
}
