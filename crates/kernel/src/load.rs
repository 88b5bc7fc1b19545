//! Load averages (`/proc/loadavg`, sysinfo(2)).
//!
//! Linux counts tasks that run every five seconds. Here nothing may happen at rest, so the average is brought up to date
//! when somebody asks: the CPU time used since the last time, for each second that passed, stands for the count.

use crate::kernel::Kernel;
use lock::{Mutex, rank};
use std::sync::atomic::Ordering;

/// Over one, five and fifteen minutes, in seconds.
const PERIODS: [f64; 3] = [60.0, 300.0, 900.0];

#[derive(Clone, Copy, Default)]
struct State {
    at_ns: u64,
    cpu_ns: u64,
    averages: [f64; 3],
}

/// The averages at the last look. Lock rank `LEAF`.
pub(crate) struct Load(Mutex<State>);

impl Default for Load {
    fn default() -> Load {
        Load(Mutex::new(rank::LEAF, State::default()))
    }
}

impl State {
    fn advance(&mut self, at_ns: u64, cpu_ns: u64) {
        let passed = at_ns.saturating_sub(self.at_ns) as f64 / 1e9;
        // Processes that nobody waited for take their time with them.
        let used = cpu_ns.saturating_sub(self.cpu_ns) as f64 / 1e9;
        if passed <= 0.0 {
            return;
        }
        for (average, period) in self.averages.iter_mut().zip(PERIODS) {
            let kept = (-passed / period).exp();
            *average = *average * kept + used / passed * (1.0 - kept);
        }
        (self.at_ns, self.cpu_ns) = (at_ns, cpu_ns);
    }
}

impl Kernel {
    /// User and system time of all processes, in nanoseconds.
    #[must_use]
    pub fn all_cpu(&self) -> (u64, u64) {
        let groups: Vec<_> = self.tree.lock().processes.values().map(|p| p.group.clone()).collect();
        groups.iter().fold((0, 0), |(user, system), group| {
            let own = self.process_cpu(group);
            let child = &group.child_cpu;
            let of_children = (child.user.load(Ordering::Relaxed), child.system.load(Ordering::Relaxed));
            (user + own.0 + of_children.0, system + own.1 + of_children.1)
        })
    }

    /// The load averages over one, five and fifteen minutes.
    #[must_use]
    pub fn load_averages(&self) -> [f64; 3] {
        let (user, system) = self.all_cpu();
        let mut state = self.load.0.lock();
        state.advance(self.uptime_ns(), user.saturating_add(system));
        state.averages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_busy_processors_are_a_load_of_two_in_the_end() {
        let second = 1_000_000_000;
        let mut state = State::default();
        state.advance(60 * second, 120 * second);
        assert!((1.2..1.3).contains(&state.averages[0]) && state.averages[2] < 0.2);
        state.advance(6000 * second, 12000 * second);
        assert!(state.averages.iter().all(|a| (1.9..=2.0).contains(a)), "{:?}", state.averages);
        state.advance(6000 * second, 12000 * second);
        state.advance(6060 * second, 12000 * second);
        assert!((0.7..0.8).contains(&state.averages[0]));
    }
}
