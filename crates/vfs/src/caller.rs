//! The task on whose behalf something is done, as file systems and devices see it.

use crate::Credentials;
use abi::Errno;
use std::any::Any;
use std::sync::Arc;

/// The calling task.
pub trait Caller {
    /// Its credentials; for path walks and opens these count as `fsuid`, `fsgid` and effective capabilities.
    fn creds(&self) -> Arc<Credentials>;

    /// Thread id in the initial pid namespace; 0 for the Sentry itself.
    fn tid(&self) -> i32;

    /// Process id in the initial pid namespace; 0 for the Sentry itself.
    fn tgid(&self) -> i32;

    /// Copies from the caller's memory.
    ///
    /// # Errors
    /// `EFAULT`.
    fn copy_in(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno>;

    /// Copies to the caller's memory.
    ///
    /// # Errors
    /// `EFAULT`.
    fn copy_out(&self, addr: u64, buf: &[u8]) -> Result<(), Errno>;

    /// `RLIMIT_FSIZE` in bytes; `u64::MAX` for no limit.
    fn file_size_limit(&self) -> u64 {
        u64::MAX
    }

    /// The kernel's own type behind this caller, for devices that need the task (`/dev/tty`, `/proc/self`).
    fn as_any(&self) -> &dyn Any;
}
