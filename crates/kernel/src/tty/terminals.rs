//! What the terminals of a sandbox share: how many there may be, and their settings in /proc/sys.

use super::Tty;
use abi::Errno;
use lock::{Mutex, rank};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

/// /proc/sys/kernel/pty and /proc/sys/dev/tty.
pub struct Terminals {
    /// Pairs that somebody uses (`nr`).
    count: AtomicU32,
    /// How many pairs there may be, in all instances of devpts together (`max`).
    pub max: AtomicU32,
    /// How many of them are kept for the sandbox's first instance (`reserve`).
    pub reserve: AtomicU32,
    /// Whether anybody may type into his controlling terminal by `TIOCSTI`, and not only the privileged.
    pub legacy_tiocsti: AtomicBool,
    /// Who took the output to the system's console (`TIOCCONS`), of which there is none here.
    console: Mutex<Weak<Tty>>,
}

impl Default for Terminals {
    fn default() -> Terminals {
        Terminals {
            count: AtomicU32::new(0),
            max: AtomicU32::new(4096),
            reserve: AtomicU32::new(1024),
            legacy_tiocsti: AtomicBool::new(false),
            console: Mutex::new(rank::LEAF, Weak::new()),
        }
    }
}

impl Terminals {
    /// How many pairs there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts one more pair; `first` if it is of the sandbox's first instance of devpts.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub fn take(&self, first: bool) -> Result<(), Errno> {
        let reserve = if first { 0 } else { self.reserve.load(Ordering::Relaxed) };
        let limit = self.max.load(Ordering::Relaxed).saturating_sub(reserve);
        // Linux counts first and asks then, so that the last one is never given.
        let more = |count: u32| count.checked_add(1).filter(|count| *count < limit);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map(drop).map_err(|_| Errno::ENOSPC)
    }

    /// `TIOCCONS`.
    ///
    /// # Errors
    /// `EBUSY` if some terminal has it.
    pub(super) fn take_console(&self, tty: &Arc<Tty>) -> Result<(), Errno> {
        let mut console = self.console.lock();
        if console.strong_count() > 0 {
            return Err(Errno::EBUSY);
        }
        *console = Arc::downgrade(tty);
        Ok(())
    }

    /// A hangup ends it.
    pub(super) fn leave_console(&self, tty: &Tty) {
        let mut console = self.console.lock();
        if std::ptr::eq(console.as_ptr(), tty) {
            *console = Weak::new();
        }
    }

    /// A pair that was counted is gone.
    pub fn give_back(&self) {
        let _ = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
    }
}
