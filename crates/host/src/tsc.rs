//! The processor's time-stamp counter, and time spans measured with it.
//!
//! To read it takes 8 ns, a third of what the host's clock does. So what happens with every call is measured in ticks. How
//! long one is, is found out once, from how many there were since the process began.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long it is watched.
const WATCHED: Duration = Duration::from_millis(2);

/// Before that the length of a tick would be a guess: reading both clocks is off by some 50 ns.
const SETTLED: Duration = Duration::from_millis(1);

/// Whether ticks are the counter's.
static COUNTS: AtomicBool = AtomicBool::new(false);
/// Both clocks, read together.
static BEGIN: OnceLock<(u64, Instant)> = OnceLock::new();
/// How long a tick is, in nanoseconds, times 2 to the 32nd.
static LENGTH: OnceLock<u64> = OnceLock::new();

/// To be called as the process begins. If the counter's speed is constant, it is used.
pub fn begin() {
    // Every processor with 64-bit mode has this leaf.
    const POWER: u32 = 0x8000_0007;
    const INVARIANT: u32 = 1 << 8;
    if core::arch::x86_64::__cpuid(POWER).edx & INVARIANT != 0 {
        COUNTS.store(true, Ordering::Relaxed);
    }
    BEGIN.get_or_init(together);
}

fn together() -> (u64, Instant) {
    (ticks(), Instant::now())
}

/// Whether ticks are the time-stamp counter's, which guests can read too.
#[must_use]
pub fn counts() -> bool {
    COUNTS.load(Ordering::Relaxed)
}

/// Ticks since some time. They may differ between cores by less than the way between them takes.
#[inline]
#[must_use]
pub fn ticks() -> u64 {
    if COUNTS.load(Ordering::Relaxed) { now() } else { nanos_now() }
}

#[cold]
fn nanos_now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec.cast_unsigned())
}

/// How many nanoseconds so many ticks are. More ticks are never fewer.
#[must_use]
pub fn nanos(ticks: u64) -> u64 {
    if !COUNTS.load(Ordering::Relaxed) {
        return ticks;
    }
    let length = *LENGTH.get_or_init(length);
    u64::try_from((u128::from(ticks) * u128::from(length)) >> 32).unwrap_or(u64::MAX)
}

fn length() -> u64 {
    let (first, start) = *BEGIN.get_or_init(together);
    std::thread::sleep(SETTLED.saturating_sub(start.elapsed()));
    let (last, end) = together();
    let nanos = end.saturating_duration_since(start).as_nanos() << 32;
    u64::try_from(nanos / u128::from(last.wrapping_sub(first).max(1))).unwrap_or(1 << 32)
}

#[inline]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_measure_time() {
        begin();
        let (start, before) = (Instant::now(), ticks());
        std::thread::sleep(Duration::from_millis(20));
        let measured = nanos(ticks().wrapping_sub(before));
        let elapsed = u64::try_from(start.elapsed().as_nanos()).unwrap();
        assert!(measured.abs_diff(elapsed) < elapsed / 100, "{measured} {elapsed}");
    }
}
