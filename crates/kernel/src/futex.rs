//! Futexes (futex(2)).

use crate::task::CurrentTask;

/// Who sleeps on which word.
#[derive(Default)]
pub struct FutexTable {}

impl CurrentTask {
    /// At the end of a thread: robust futexes, then `clear_child_tid`.
    pub(crate) fn release_futexes(&mut self) {}
}
