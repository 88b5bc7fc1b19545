//! What the VFS can't open by itself.

use crate::{Caller, OpenFile, OpenFlags, PathRef};
use abi::Errno;

/// Opens FIFOs and devices; handed in by whoever assembles the kernel.
pub trait SpecialFiles: Send + Sync {
    /// Opens the FIFO at `at`; its pipe is the inode's endpoint. Waiting for a peer is left to
    /// [`crate::FileOps::finish_open`].
    ///
    /// # Errors
    /// `ENXIO`.
    fn open_fifo(&self, at: &PathRef, flags: OpenFlags, caller: &dyn Caller) -> Result<OpenFile, Errno>;

    /// Opens the character device `rdev` (in the encoding of [`crate::makedev`]) at `at`. May hand over to the inode's own
    /// `open` (devpts).
    ///
    /// # Errors
    /// `ENXIO` if there is no such device.
    fn open_char_device(
        &self,
        at: &PathRef,
        rdev: u64,
        flags: OpenFlags,
        caller: &dyn Caller,
    ) -> Result<OpenFile, Errno>;
}
