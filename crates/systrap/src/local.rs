//! State of a guest thread that lies in its block's head, for calls that the stub serves by itself; and the count of futex
//! waiters.

use crate::dozing;
use crate::fpu::Format;
use crate::frame::offset_of_own;
use crate::layout::*;
use crate::shared::Shared;
use crate::stub::Stub;
use core::sync::atomic::Ordering;
use platform::{FutexWaiters, Ids, LocalState};
use std::sync::Arc;

/// Numbers below this have an entry in the stub's table.
const TABLE_LEN: u32 = libc::SYS_clone3 as u32 + 1;

/// One thread's state. Outlives its context by the time that others hold it; the block may be another thread's by then.
pub struct Local {
    shared: Arc<Shared>,
    head: usize,
}

impl Local {
    /// Of a host thread that gets a new context. Clears what its last one left.
    pub fn new(stub: &Stub, slot: usize, format: Format) -> Local {
        let local = Local { shared: stub.shared_memory(), head: Stub::block(slot) + HEAD };
        let limit = if stub.core().options.serve { TABLE_LEN } else { 0 };
        local.word(SERVE_LIMIT, limit);
        local.word(KICK, 0);
        local.word(ALERT, 0);
        local.word(HELD, 0);
        stub.let_pass(slot);
        local.shared.set(local.head + SLEPT, 0);
        local.word(LOOK_FAILS, 0);
        local.word(LOOK_SKIPS, dozing::LONG_WAIT_SKIPS);
        local.set_mask(0);
        local.set_robust_list(0);
        local.set_clear_tid(0);
        let block = stub.address(slot);
        let [magic, features, size] = format.words();
        let own = [
            (RAISED, block + offset_of_own(format.room()) as u64),
            (RAISED_VECTOR, block + (HEAD - format.room()) as u64),
            (VECTOR_MAGIC, magic),
            (VECTOR_FEATURES, features),
            (VECTOR_SIZE, size),
        ];
        for (at, value) in own {
            local.shared.set(local.head + at, value);
        }
        local
    }

    /// The thread has waited in the kernel for longer than one would look at a futex.
    pub fn long_wait(&self) {
        let skips = self.shared.u32(self.head + LOOK_SKIPS);
        if skips.load(Ordering::Relaxed) < dozing::LONG_WAIT_SKIPS {
            skips.store(dozing::LONG_WAIT_SKIPS, Ordering::Relaxed);
        }
    }

    fn word(&self, at: usize, value: u32) {
        self.shared.u32(self.head + at).store(value, Ordering::SeqCst);
    }
}

impl LocalState for Local {
    fn mask(&self) -> u64 {
        self.shared.u64(self.head + MASK).load(Ordering::SeqCst)
    }

    fn set_mask(&self, mask: u64) {
        self.shared.u64(self.head + MASK).store(mask, Ordering::SeqCst);
    }

    fn robust_list(&self) -> u64 {
        self.shared.u64(self.head + ROBUST_LIST).load(Ordering::SeqCst)
    }

    fn set_robust_list(&self, head: u64) {
        self.shared.u64(self.head + ROBUST_LIST).store(head, Ordering::SeqCst);
    }

    fn clear_tid(&self) -> u64 {
        self.shared.u64(self.head + CLEAR_TID).load(Ordering::SeqCst)
    }

    fn set_clear_tid(&self, addr: u64) {
        self.shared.u64(self.head + CLEAR_TID).store(addr, Ordering::SeqCst);
    }

    fn slept(&self) -> u64 {
        dozing::slept(self.shared.get(self.head + SLEPT))
    }

    fn dozes(&self) -> bool {
        dozing::waits(self.shared.get(self.head + SLEPT))
    }

    fn set_alert(&self, alert: bool) {
        self.word(ALERT, u32::from(alert));
    }

    fn set_ids(&self, ids: &Ids) {
        let set = |at: usize, value: i64| self.shared.set(self.head + at, value.cast_unsigned());
        set(TGID, ids.tgid.into());
        set(TID, ids.tid.into());
        set(PPID, ids.ppid.into());
        set(PGID, ids.pgid.into());
        set(RUID, ids.ruid.into());
        set(EUID, ids.euid.into());
        set(RGID, ids.rgid.into());
        set(EGID, ids.egid.into());
    }
}

/// The page of waiters' counts, which all stubs read.
pub struct Waiters(pub Shared);

impl Waiters {
    fn at(&self, addr: u64) -> &core::sync::atomic::AtomicU32 {
        self.0.u32(addr as usize & (WAITERS_LEN - 4))
    }
}

impl FutexWaiters for Waiters {
    fn add(&self, addr: u64) {
        self.at(addr).fetch_add(1, Ordering::SeqCst);
    }

    fn remove(&self, addr: u64) {
        self.at(addr).fetch_sub(1, Ordering::SeqCst);
    }
}
