//! Time as file systems see it.

use rustix::time::{ClockId, clock_gettime};

/// Seconds and nanoseconds since the epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Timespec {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nsec: u32,
}

/// The time for stamps on files: the coarse real-time clock, as Linux uses (`ktime_get_coarse_real_ts64`).
#[must_use]
pub fn now_coarse() -> Timespec {
    let ts = clock_gettime(ClockId::RealtimeCoarse);
    Timespec { sec: ts.tv_sec, nsec: u32::try_from(ts.tv_nsec).unwrap_or(0) }
}
