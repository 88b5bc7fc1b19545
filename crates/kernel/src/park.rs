//! How a task's thread sleeps and is woken.
//!
//! The one place where a Sentry thread of a task sleeps, outside the platform. `std::thread::park` keeps a wake-up that
//! comes before the sleep, so registering on a queue, checking, and then parking loses none.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};
use vfs::wait::{Events, Sleepers, Wake};

/// Wakes a task's thread.
#[derive(Default)]
pub struct Parker {
    thread: OnceLock<Thread>,
    /// Woken since [`Parker::listen`].
    called: AtomicBool,
}

impl Parker {
    /// Binds it to the calling thread, once.
    pub fn bind(&self) {
        let _ = self.thread.set(std::thread::current());
    }

    /// Begins to note calls, before a look at what is waited for.
    pub fn listen(&self) {
        self.called.store(false, Ordering::SeqCst);
    }

    /// Whether it was woken since.
    pub fn called(&self) -> bool {
        self.called.load(Ordering::SeqCst)
    }

    /// Ends the present or the next [`Parker::park`].
    pub fn unpark(&self) {
        self.called.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Sleeps until woken, for no reason, or at the deadline. Only for the bound thread.
    pub fn park(&self, deadline: Option<Instant>) {
        lock::assert_none_held("sleeping");
        match deadline {
            None => std::thread::park(),
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                if left > Duration::ZERO {
                    std::thread::park_timeout(left);
                }
            }
        }
    }
}

impl Wake for Parker {
    fn wake(&self, _events: Events, sleepers: &mut Sleepers) -> bool {
        self.called.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.get() {
            sleepers.add(thread.clone());
        }
        true
    }
}
