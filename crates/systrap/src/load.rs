//! How many cores the rest of the host wants.
//!
//! Two sides that spin need two cores at the same moment. On a host whose cores are busy they seldom have them: one spins
//! away its time while the other waits for its own, and all takes four times as long as by sleeping on one core. The host
//! says how many of its threads run or want to (`/proc/loadavg`, proc_loadavg(5)); it is asked about once in a millisecond
//! while guests call.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use host::tsc::ticks;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// How often to ask, in ticks: half a millisecond to one, with the processors that there are.
const EVERY: u64 = 1 << 21;

/// What was found out last.
pub struct Load {
    /// The host's `/proc/loadavg`, if it has one.
    file: Option<File>,
    /// When to ask next.
    next: AtomicU64,
    last: AtomicUsize,
    strangers: AtomicUsize,
}

impl Load {
    pub fn new(file: Option<File>) -> Load {
        Load { file, next: AtomicU64::new(0), last: AtomicUsize::new(0), strangers: AtomicUsize::new(0) }
    }

    /// How many threads that are not the sandbox's run or want to. `ours` tells how many of the sandbox's do.
    pub fn strangers(&self, ours: impl FnOnce() -> usize) -> usize {
        let Some(file) = &self.file else { return 0 };
        let (now, next) = (ticks(), self.next.load(Ordering::Relaxed));
        // Wraps around in a century.
        if now >= next
            && self.next.compare_exchange(next, now + EVERY, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            && let Some(running) = running(file)
        {
            self.learn(running.saturating_sub(ours()));
        }
        self.strangers.load(Ordering::Relaxed)
    }

    /// Believes what two answers agree on: something of the host's may have run for a moment only.
    fn learn(&self, strangers: usize) {
        let last = self.last.swap(strangers, Ordering::Relaxed);
        self.strangers.store(last.min(strangers), Ordering::Relaxed);
    }
}

/// The fourth field is how many threads run or want to, and how many there are.
fn running(file: &File) -> Option<usize> {
    let mut text = [0; 128];
    let len = file.read_at(&mut text, 0).ok()?;
    let field = text.get(..len)?.split(|byte| *byte == b' ').nth(3)?;
    core::str::from_utf8(field).ok()?.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_tells_how_many_run() {
        let file = File::open("/proc/loadavg").expect("/proc");
        // The caller does.
        assert!(running(&file).is_some_and(|running| running >= 1));
        assert_eq!(Load::new(None).strangers(|| unreachable!()), 0);
        assert_eq!(Load::new(Some(file)).strangers(|| usize::MAX), 0);
    }

    #[test]
    fn believes_what_is_seen_twice() {
        let load = Load::new(None);
        let steps = [(3, 0), (3, 3), (1, 1), (2, 1), (2, 2), (0, 0), (4, 0), (0, 0)];
        for (answer, believed) in steps {
            load.learn(answer);
            assert_eq!(load.strangers.load(Ordering::Relaxed), believed, "{answer}");
        }
    }
}
