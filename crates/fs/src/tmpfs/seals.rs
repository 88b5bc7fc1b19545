//! File seals (memfd_create(2), `F_ADD_SEALS`).

use abi::Errno;
use abi::raw::general as c;
use std::sync::atomic::{AtomicU32, Ordering};

const KNOWN: u32 =
    c::F_SEAL_SEAL | c::F_SEAL_SHRINK | c::F_SEAL_GROW | c::F_SEAL_WRITE | c::F_SEAL_FUTURE_WRITE | c::F_SEAL_EXEC;

/// The seals of one file. Seals are only ever added; they change under the file's `io` lock, held exclusively.
pub(crate) struct Seals(AtomicU32);

impl Seals {
    /// Those of a file that is no memfd: none, and none may be added.
    pub(crate) fn fixed() -> Seals {
        Seals(AtomicU32::new(c::F_SEAL_SEAL))
    }

    pub(crate) fn set(&self, seals: u32) {
        self.0.store(seals, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn has(&self, any_of: u32) -> bool {
        self.get() & any_of != 0
    }

    /// Whether writing is sealed off.
    pub(crate) fn no_write(&self) -> bool {
        self.has(c::F_SEAL_WRITE | c::F_SEAL_FUTURE_WRITE)
    }

    /// Adds seals to a file with permission bits `perm`; `mapped` says whether a shared mapping may write to it.
    pub(crate) fn add(&self, mut seals: u32, perm: u32, mapped: bool) -> Result<(), Errno> {
        if seals & !KNOWN != 0 {
            return Err(Errno::EINVAL);
        }
        if self.has(c::F_SEAL_SEAL) {
            return Err(Errno::EPERM);
        }
        if seals & c::F_SEAL_WRITE != 0 && !self.has(c::F_SEAL_WRITE) && mapped {
            return Err(Errno::EBUSY);
        }
        // What may be executed and must stay so may not be written either.
        if seals & c::F_SEAL_EXEC != 0 && perm & 0o111 != 0 {
            seals |= c::F_SEAL_SHRINK | c::F_SEAL_GROW | c::F_SEAL_WRITE | c::F_SEAL_FUTURE_WRITE;
        }
        self.0.fetch_or(seals, Ordering::AcqRel);
        Ok(())
    }
}
