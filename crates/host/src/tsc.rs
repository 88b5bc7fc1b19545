//! The processor's time-stamp counter.

use std::time::{Duration, Instant};

/// How long it is watched.
const WATCHED: Duration = Duration::from_millis(2);

fn now() -> u64 {
    // SAFETY: reads a register that x86-64 always has, and that Linux lets programs read.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// How fast it counts, in kHz, found out by watching it for a moment.
#[must_use]
pub fn khz() -> u32 {
    let (start, before) = (Instant::now(), now());
    std::thread::sleep(WATCHED);
    let (ticks, nanos) = (now().wrapping_sub(before), start.elapsed().as_nanos().max(1));
    u32::try_from(u128::from(ticks) * 1_000_000 / nanos).unwrap_or(0)
}
