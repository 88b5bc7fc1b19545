//! How much a sender has under way, where that is not simply what its one peer has not read.

use crate::options::Options;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use vfs::wait::{Events, WaitQueue};

/// A socket's options, its wait queue, and what it has sent that nobody has read.
#[derive(Default)]
pub struct Flow {
    /// Options.
    pub options: Options,
    /// Those who wait for the socket.
    pub wait: WaitQueue,
    used: AtomicUsize,
}

/// What Linux charges for a message beside its bytes.
const OVERHEAD: usize = 576;
const GRAIN: usize = 256;

/// Held by a message that is under way.
pub struct Charge {
    flow: Arc<Flow>,
    amount: usize,
}

impl Flow {
    /// Charges for a message, unless too much is under way.
    #[must_use]
    pub fn charge(self: &Arc<Flow>, len: usize) -> Option<Charge> {
        if self.used.load(Ordering::SeqCst) >= self.limit() {
            return None;
        }
        let amount = (len + OVERHEAD).next_multiple_of(GRAIN);
        self.used.fetch_add(amount, Ordering::SeqCst);
        Some(Charge { flow: self.clone(), amount })
    }

    fn limit(&self) -> usize {
        self.options.get().send_buffer as usize
    }

    /// Bytes under way (`SIOCOUTQ`).
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    /// Whether poll(2) calls it writable.
    #[must_use]
    pub fn writable(&self) -> bool {
        roomy(self.used.load(Ordering::SeqCst), self.limit())
    }
}

/// Whether so little of `limit` is used that a sender is told to go on: a quarter, as Linux's `unix_writable`.
#[must_use]
pub fn roomy(used: usize, limit: usize) -> bool {
    used.saturating_mul(4) <= limit
}

impl Drop for Charge {
    fn drop(&mut self) {
        let limit = self.flow.limit();
        let before = self.flow.used.fetch_sub(self.amount, Ordering::SeqCst);
        if !roomy(before, limit) && roomy(before.saturating_sub(self.amount), limit) {
            self.flow.wait.notify(Events::WRITABLE);
        }
    }
}
