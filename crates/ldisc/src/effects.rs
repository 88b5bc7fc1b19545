//! What a call on the line discipline asks of its owner.

use bitflags::bitflags;

bitflags! {
    /// Signals for the terminal's foreground process group.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Signals: u8 {
        const INT = 1;
        const QUIT = 2;
        /// `SIGTSTP`.
        const STOP = 4;
        /// `SIGWINCH`.
        const WINCH = 8;
    }

    /// Wait queues to wake. There may be one wake too many, never one too few.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Wake: u8 {
        /// The slave has something to read.
        const SLAVE_READ = 1;
        /// The slave may write again.
        const SLAVE_WRITE = 2;
        /// The master has output or a packet status to read.
        const MASTER_READ = 4;
        /// The master may write again.
        const MASTER_WRITE = 8;
    }

    /// What `poll` reports for one side. The names are those of the `POLL*` bits.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Readiness: u8 {
        /// `POLLIN | POLLRDNORM`.
        const IN = 1;
        /// `POLLOUT | POLLWRNORM`.
        const OUT = 2;
        /// A packet status waits: `POLLPRI`.
        const PRI = 4;
        const HUP = 8;
        const ERR = 16;
    }
}

/// Signals to send and queues to wake, once the owner has released its locks. Calls add to it; the owner clears it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Effects {
    pub signals: Signals,
    pub wake: Wake,
    /// Those of `wake` that `O_ASYNC` tells of by a signal: data, and room that a write found too little of.
    pub signal: Wake,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.signals.is_empty() && self.wake.is_empty()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.signals |= other.signals;
        self.wake |= other.wake;
        self.signal |= other.signal;
    }
}
