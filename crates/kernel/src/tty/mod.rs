//! Terminals and job control, the same code for every terminal.

use crate::kernel::Kernel;
use lock::{Mutex, rank};

/// A terminal. Holds ids of its session and foreground group, never references upwards.
pub struct Tty {
    job: Mutex<Job>,
}

#[derive(Clone, Copy, Default)]
struct Job {
    session: Option<i32>,
    foreground: Option<i32>,
}

impl Default for Tty {
    fn default() -> Tty {
        Tty { job: Mutex::new(rank::TTY, Job::default()) }
    }
}

impl Tty {
    /// Makes it the controlling terminal of a session, with `foreground` as the foreground group.
    pub fn set_session(&self, session: i32, foreground: i32) {
        *self.job.lock() = Job { session: Some(session), foreground: Some(foreground) };
    }
}

/// A session leader ends: its terminal is hung up and given up (`disassociate_ctty`).
pub(crate) fn session_leader_exits(kernel: &Kernel, pid: i32) {
    let tty = kernel.tree.lock().sessions.get_mut(&pid).and_then(|s| s.tty.take());
    drop(tty);
}
