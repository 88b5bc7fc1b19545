//! Scheduling parameters (sched(7)). They are kept and reported; the host schedules all tasks alike.

use abi::Errno;
use abi::raw::general as c;

/// Most processors that an affinity mask speaks of.
pub const CPUS_MAX: usize = 1024;

/// A set of processors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuSet(pub [u64; CPUS_MAX / 64]);

impl CpuSet {
    /// The first `count` processors.
    #[must_use]
    pub fn first(count: usize) -> CpuSet {
        let mut set = CpuSet([0; CPUS_MAX / 64]);
        for cpu in 0..count.min(CPUS_MAX) {
            if let Some(word) = set.0.get_mut(cpu / 64) {
                *word |= 1 << (cpu % 64);
            }
        }
        set
    }

    /// Those in both.
    #[must_use]
    pub fn intersect(&self, other: &CpuSet) -> CpuSet {
        let mut both = *self;
        for (word, mask) in both.0.iter_mut().zip(other.0) {
            *word &= mask;
        }
        both
    }

    /// Whether none is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// How many are in it.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

/// Processors that guests see.
#[must_use]
pub fn cpu_count() -> usize {
    static COUNT: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from).min(CPUS_MAX))
}

/// A task's parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sched {
    /// -20 to 19.
    pub nice: i32,
    /// `SCHED_*`.
    pub policy: u32,
    /// 1 to 99 for real-time policies, else 0.
    pub priority: i32,
    /// `SCHED_RESET_ON_FORK`.
    pub reset_on_fork: bool,
    /// sched_setaffinity(2).
    pub affinity: CpuSet,
    /// ioprio_set(2), as given.
    pub io_priority: u16,
}

impl Default for Sched {
    fn default() -> Sched {
        let affinity = CpuSet::first(cpu_count());
        Sched { nice: 0, policy: c::SCHED_NORMAL, priority: 0, reset_on_fork: false, affinity, io_priority: 0 }
    }
}

impl Sched {
    /// What a child gets.
    #[must_use]
    pub fn inherit(&self) -> Sched {
        if !self.reset_on_fork {
            return *self;
        }
        let real_time = is_real_time(self.policy);
        Sched {
            policy: if real_time { c::SCHED_NORMAL } else { self.policy },
            priority: 0,
            nice: if real_time { 0 } else { self.nice.max(0) },
            reset_on_fork: false,
            ..*self
        }
    }
}

/// `SCHED_FIFO` and `SCHED_RR`.
#[must_use]
pub fn is_real_time(policy: u32) -> bool {
    matches!(policy, c::SCHED_FIFO | c::SCHED_RR)
}

/// The lowest and highest priority of a policy.
///
/// # Errors
/// `EINVAL` for an unknown policy.
pub fn priority_range(policy: u32) -> Result<(i32, i32), Errno> {
    match policy {
        c::SCHED_FIFO | c::SCHED_RR => Ok((1, 99)),
        c::SCHED_NORMAL | c::SCHED_BATCH | c::SCHED_IDLE | c::SCHED_DEADLINE | SCHED_EXT => Ok((0, 0)),
        _ => Err(Errno::EINVAL),
    }
}

/// `SCHED_EXT`, newer than the headers.
pub const SCHED_EXT: u32 = 7;
