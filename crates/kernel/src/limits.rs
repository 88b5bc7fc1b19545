//! Resource limits (getrlimit(2)).

use abi::Errno;
use abi::raw::general as c;

/// A soft and a hard limit; `u64::MAX` is `RLIM_INFINITY`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// What is enforced.
    pub soft: u64,
    /// How far the soft limit may be raised.
    pub hard: u64,
}

/// A process's limits, by `RLIMIT_*`.
#[derive(Clone, Debug)]
pub struct Limits([Limit; 16]);

const INFINITY: u64 = u64::MAX;

impl Default for Limits {
    fn default() -> Limits {
        let mut limits = Limits([Limit { soft: INFINITY, hard: INFINITY }; 16]);
        let mut set = |which: u32, soft: u64, hard: u64| limits.0[which as usize & 15] = Limit { soft, hard };
        set(c::RLIMIT_STACK, 8 << 20, INFINITY);
        set(c::RLIMIT_CORE, 0, INFINITY);
        set(c::RLIMIT_NPROC, 65_536, 65_536);
        set(c::RLIMIT_NOFILE, 1024, 1_048_576);
        set(c::RLIMIT_MEMLOCK, 8 << 20, 8 << 20);
        set(c::RLIMIT_SIGPENDING, 65_536, 65_536);
        set(c::RLIMIT_MSGQUEUE, 819_200, 819_200);
        set(c::RLIMIT_NICE, 0, 0);
        set(c::RLIMIT_RTPRIO, 0, 0);
        limits
    }
}

impl Limits {
    /// One limit.
    ///
    /// # Errors
    /// `EINVAL` for an unknown resource.
    pub fn get(&self, which: u32) -> Result<Limit, Errno> {
        self.0.get(which as usize).copied().ok_or(Errno::EINVAL)
    }

    /// The soft limit of a known resource.
    #[must_use]
    pub fn soft(&self, which: u32) -> u64 {
        self.0.get(which as usize).map_or(INFINITY, |l| l.soft)
    }

    /// Sets one; `privileged` is `CAP_SYS_RESOURCE`.
    ///
    /// # Errors
    /// `EINVAL` for an unknown resource or a soft limit above the hard one, `EPERM` to raise a hard limit.
    pub fn set(&mut self, which: u32, limit: Limit, privileged: bool) -> Result<(), Errno> {
        let slot = self.0.get_mut(which as usize).ok_or(Errno::EINVAL)?;
        if limit.soft > limit.hard {
            return Err(Errno::EINVAL);
        }
        if which == c::RLIMIT_NOFILE && limit.hard > crate::fd_table::NR_OPEN {
            return Err(Errno::EPERM);
        }
        if limit.hard > slot.hard && !privileged {
            return Err(Errno::EPERM);
        }
        *slot = limit;
        Ok(())
    }
}
