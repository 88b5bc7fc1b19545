//! The Sentry's process: how it comes to be, how it is confined, what it is made of, and how the command talks to it.
//!
//! - [`spec`]: what the command asks for, as it was when the Sentry was copied from it; [`control`]: what the two say to
//!   each other afterwards; [`wire`]: how that is written down.
//! - [`isolate`], [`seccomp`], [`allowed`]: what the Sentry gives up before it runs guests.
//! - [`entry`]: its `main`; [`assemble`]: the parts of a sandbox; [`program`]: the first program.
//! - [`reactor`]: what waits for the host while guests run; [`console`]: the guest's terminal and the caller's.

pub mod allowed;
mod assemble;
mod console;
pub mod control;
pub mod entry;
pub mod isolate;
mod program;
mod reactor;
pub mod seccomp;
pub mod spec;
pub mod wire;

use std::fmt;

pub use kernel::signal::SIGNALS;
pub use syscalls::serves;

/// Why a sandbox could not be started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What the command exits with: 125 for our own failures, 126 and 127 as shells do.
    pub status: u8,
    /// One line, without the program's name.
    pub text: String,
}

/// The exit status for failures of our own.
pub const FAILED: u8 = 125;

impl Failure {
    /// A failure of our own.
    #[must_use]
    pub fn ours(text: impl Into<String>) -> Failure {
        Failure { status: FAILED, text: text.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}
