//! Times and timers (time(7)).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

/// `struct timespec`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Timespec {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds.
    pub nsec: i64,
}

impl Timespec {
    /// So many nanoseconds.
    #[must_use]
    pub fn from_nanos(nanos: u64) -> Timespec {
        Timespec { sec: (nanos / SECOND) as i64, nsec: (nanos % SECOND) as i64 }
    }

    /// In nanoseconds, as many as fit; `None` if it is negative or has too many (`timespec64_valid`).
    #[must_use]
    pub fn nanos(self) -> Option<u64> {
        let (Ok(sec), Ok(nsec)) = (u64::try_from(self.sec), u64::try_from(self.nsec)) else { return None };
        (nsec < SECOND).then(|| sec.saturating_mul(SECOND).saturating_add(nsec))
    }
}

/// `struct timeval`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Timeval {
    /// Seconds.
    pub sec: i64,
    /// Microseconds.
    pub usec: i64,
}

impl Timeval {
    /// So many nanoseconds, cut.
    #[must_use]
    pub fn from_nanos(nanos: u64) -> Timeval {
        Timeval { sec: (nanos / SECOND) as i64, usec: (nanos % SECOND / 1000) as i64 }
    }

    /// In nanoseconds, as many as fit; `None` if it is negative or has too many microseconds.
    #[must_use]
    pub fn nanos(self) -> Option<u64> {
        if !(0..1_000_000).contains(&self.usec) {
            return None;
        }
        Timespec { sec: self.sec, nsec: self.usec * 1000 }.nanos()
    }
}

/// `struct itimerspec`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Itimerspec {
    /// The period.
    pub interval: Timespec,
    /// The time to the first expiry, or that time.
    pub value: Timespec,
}

/// `struct itimerval`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Itimerval {
    /// The period.
    pub interval: Timeval,
    /// The time to the next expiry.
    pub value: Timeval,
}

/// `struct sigevent`, whose tail is a thread id for `SIGEV_THREAD_ID`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SigEvent {
    /// `sigev_value`.
    pub value: u64,
    /// `sigev_signo`.
    pub signo: i32,
    /// `sigev_notify`.
    pub notify: i32,
    /// `sigev_notify_thread_id`.
    pub tid: i32,
    /// The rest.
    pub pad: [i32; 11],
}

/// `struct rusage`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs)]
pub struct Rusage {
    pub utime: Timeval,
    pub stime: Timeval,
    /// Kibibytes.
    pub maxrss: i64,
    pub ixrss: i64,
    pub idrss: i64,
    pub isrss: i64,
    pub minflt: i64,
    pub majflt: i64,
    pub nswap: i64,
    pub inblock: i64,
    pub oublock: i64,
    pub msgsnd: i64,
    pub msgrcv: i64,
    pub nsignals: i64,
    pub nvcsw: i64,
    pub nivcsw: i64,
}

/// `struct timex` of adjtimex(2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs)]
pub struct Timex {
    pub modes: u32,
    pub pad0: u32,
    pub offset: i64,
    pub freq: i64,
    pub maxerror: i64,
    pub esterror: i64,
    pub status: i32,
    pub pad1: u32,
    pub constant: i64,
    pub precision: i64,
    pub tolerance: i64,
    pub time: Timeval,
    pub tick: i64,
    /// Pulse-per-second values, and more padding.
    pub rest: [u64; 15],
}
