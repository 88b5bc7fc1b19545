//! A guest thread that waits awake for the Sentry lends its core to its stub's mapper.
//!
//! Where the mapper changes memory beside a guest thread that is awake on another core, the host must interrupt that one, and
//! wait until it has seen it: 10 to 30 µs on a virtual machine, for whatever takes something away. Besides, the Sentry's
//! thread would have to make room for the mapper. So the thread that waits wakes the mapper on its own core, where there is
//! nobody to be told, and leaves the core to it; the Sentry's thread waits for the end awake.
//!
//! A guest that does not do so makes its own mappings slow: after a while the Sentry wakes the mapper itself.

use crate::layout::*;
use crate::pace::Mover;
use crate::shared::Shared;
use core::cell::RefCell;
use core::sync::atomic::{AtomicU32, Ordering};
use rustix::thread::sched_getcpu;
use std::sync::Arc;

/// For nobody.
const NOBODY: u32 = 0;

static NEXT: AtomicU32 = AtomicU32::new(NOBODY + 1);

std::thread_local! {
    /// Who the calling thread is.
    static ME: u32 = NEXT.fetch_add(1, Ordering::Relaxed);
    /// The last guest thread that waited for the calling thread.
    static LAST: RefCell<Option<Arc<Lender>>> = const { RefCell::new(None) };
}

/// A guest thread that may have a core to lend: what its context knows of it.
pub struct Lender {
    stub: u64,
    head: usize,
    /// The Sentry's thread for which it waits awake.
    waits_for: AtomicU32,
}

impl Lender {
    /// Of a stub's id and a block's head.
    pub fn new(stub: u64, head: usize) -> Arc<Lender> {
        Arc::new(Lender { stub, head, waits_for: AtomicU32::new(NOBODY) })
    }

    /// The guest thread waits awake, for the calling thread.
    pub fn waits(self: &Arc<Lender>) {
        self.waits_for.store(ME.with(|me| *me), Ordering::Relaxed);
        LAST.with_borrow_mut(|last| {
            if last.as_ref().is_none_or(|last| !Arc::ptr_eq(last, self)) {
                *last = Some(Arc::clone(self));
            }
        });
    }

    /// It is about to have its turn, or to sleep.
    pub fn goes(&self) {
        self.waits_for.store(NOBODY, Ordering::Relaxed);
    }

    /// The one of a stub that waits for the calling thread.
    pub fn of(stub: u64) -> Option<Arc<Lender>> {
        let last = LAST.with_borrow(Option::clone)?;
        let waits = last.waits_for.load(Ordering::Relaxed) == ME.with(|me| *me);
        (waits && last.stub == stub).then_some(last)
    }

    /// Binds the mapper to the guest thread's core, if that is awake and not the caller's. Where it is, the guest says: a lie makes
    /// its mappings slow.
    pub fn fetch(&self, shared: &Shared, mapper: &mut Mover) -> bool {
        let core = (shared.u32(self.head + CORE).load(Ordering::Relaxed) & CORE_MASK) as usize;
        core != sched_getcpu()
            && shared.u32(self.head + STUB_WAITS).load(Ordering::Relaxed) == 0
            && mapper.bring_to(core)
    }

    /// Asks the guest thread to wake the mapper. Returns what its `TURN` was.
    pub fn ask(&self, shared: &Shared) -> u32 {
        shared.u32(self.head + TURN).swap(TURN_MAP, Ordering::SeqCst)
    }

    /// Takes that back, if it has not got to it.
    pub fn revoke(&self, shared: &Shared, turn: u32) {
        let word = shared.u32(self.head + TURN);
        let _ = word.compare_exchange(TURN_MAP, turn, Ordering::SeqCst, Ordering::Relaxed);
    }
}
