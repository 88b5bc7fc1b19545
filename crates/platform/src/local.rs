//! State of a guest thread that calls on the thread itself read and change without the kernel, where a platform can serve
//! them by itself.
//!
//! It lies where the guest can write it. The kernel takes it for what the guest says of itself: a lie harms only the liar.

use core::sync::atomic::{AtomicU64, Ordering};

/// Who a thread is: what getpid(2) and the like return.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct Ids {
    pub tgid: i32,
    pub tid: i32,
    pub ppid: i32,
    pub pgid: i32,
    pub ruid: u32,
    pub euid: u32,
    pub rgid: u32,
    pub egid: u32,
}

/// `sizeof(struct robust_list_head)`, the only length that set_robust_list(2) takes.
pub const ROBUST_HEAD: u64 = 24;

/// One thread's state.
pub trait LocalState: Send + Sync {
    /// The signal mask, a bit each. Any bits may be set.
    fn mask(&self) -> u64;

    /// Sets the mask.
    fn set_mask(&self, mask: u64);

    /// set_robust_list(2)'s head, or zero.
    fn robust_list(&self) -> u64;

    /// Sets the robust list's head.
    fn set_robust_list(&self, head: u64);

    /// set_tid_address(2)'s address, zeroed and woken at the thread's end, or zero.
    fn clear_tid(&self) -> u64;

    /// Sets that address.
    fn set_clear_tid(&self, addr: u64);

    /// How long the thread has waited for private futexes in the platform, in ticks of `host::tsc`, all in all.
    fn slept(&self) -> u64;

    /// Whether it does so now.
    fn dozes(&self) -> bool;

    /// Says whether a signal waits for the thread, blocked or not. As long as one does, changes of the mask come to the
    /// kernel as calls. Set before the mask is looked at, so that a change at the same time is not missed.
    fn set_alert(&self, alert: bool);

    /// Says who the thread is.
    fn set_ids(&self, ids: &Ids);
}

/// State that no guest can reach: for platforms that serve nothing, and before a thread has a context.
#[derive(Default)]
pub struct KernelOnly {
    mask: AtomicU64,
    robust_list: AtomicU64,
    clear_tid: AtomicU64,
}

impl LocalState for KernelOnly {
    fn mask(&self) -> u64 {
        self.mask.load(Ordering::SeqCst)
    }

    fn set_mask(&self, mask: u64) {
        self.mask.store(mask, Ordering::SeqCst);
    }

    fn robust_list(&self) -> u64 {
        self.robust_list.load(Ordering::SeqCst)
    }

    fn set_robust_list(&self, head: u64) {
        self.robust_list.store(head, Ordering::SeqCst);
    }

    fn clear_tid(&self) -> u64 {
        self.clear_tid.load(Ordering::SeqCst)
    }

    fn set_clear_tid(&self, addr: u64) {
        self.clear_tid.store(addr, Ordering::SeqCst);
    }

    fn slept(&self) -> u64 {
        0
    }

    fn dozes(&self) -> bool {
        false
    }

    fn set_alert(&self, _alert: bool) {}

    fn set_ids(&self, _ids: &Ids) {}
}

/// How many tasks wait on futexes, by the page offset of the word, for stubs to see that a wake finds nobody.
pub trait FutexWaiters: Send + Sync {
    /// One more waits at an address with this page offset. To be counted before it looks at the word.
    fn add(&self, addr: u64);

    /// It does not wait any more.
    fn remove(&self, addr: u64);
}
