//! What other threads want of a task, and how they make it notice.

use crate::park::Parker;
use lock::{Mutex, rank};
use platform::Interrupter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bits of [`TaskWork`].
pub mod bits {
    /// A signal may be deliverable.
    pub const SIGNAL: u32 = 1;
    /// The process is stopping or stopped.
    pub const STOP: u32 = 2;
    /// The thread must end now; nothing else counts.
    pub const EXIT: u32 = 4;
    /// The thread must stop for its tracer.
    pub const TRAP: u32 = 8;
}

/// Requests to a task, and the handles that end its sleep or its run of guest code.
pub struct TaskWork {
    bits: AtomicU32,
    parker: Arc<Parker>,
    interrupter: Mutex<Option<Arc<dyn Interrupter>>>,
}

impl Default for TaskWork {
    fn default() -> TaskWork {
        TaskWork { bits: AtomicU32::new(0), parker: Arc::default(), interrupter: Mutex::new(rank::LEAF, None) }
    }
}

impl TaskWork {
    /// The requests.
    #[must_use]
    pub fn get(&self) -> u32 {
        self.bits.load(Ordering::SeqCst)
    }

    /// Adds a request and makes the task see it, asleep or running guest code.
    pub fn request(&self, bit: u32) {
        // Nothing to do if it was there: whoever set it has already interrupted, and the task clears it before it looks.
        if self.bits.fetch_or(bit, Ordering::SeqCst) & bit == 0 {
            self.kick();
        }
    }

    /// Takes requests back.
    pub fn clear(&self, bit: u32) {
        self.bits.fetch_and(!bit, Ordering::SeqCst);
    }

    /// Ends the task's sleep or its run of guest code.
    pub fn kick(&self) {
        self.parker.unpark();
        let interrupter = self.interrupter.lock().clone();
        if let Some(interrupter) = interrupter {
            interrupter.interrupt();
        }
    }

    /// Ends only a sleep.
    pub fn wake(&self) {
        self.parker.unpark();
    }

    /// What wait queues wake.
    #[must_use]
    pub fn parker(&self) -> &Arc<Parker> {
        &self.parker
    }

    /// Names the present context's interrupter.
    pub fn set_interrupter(&self, interrupter: Option<Arc<dyn Interrupter>>) {
        *self.interrupter.lock() = interrupter;
    }
}
