//! Protections and flags of mappings.

use abi::raw::general as raw;
use bitflags::bitflags;
use platform::Access;

bitflags! {
    /// `PROT_*`, without the bits that only steer a call.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Prot: u32 {
        /// `PROT_READ`
        const READ = raw::PROT_READ;
        /// `PROT_WRITE`
        const WRITE = raw::PROT_WRITE;
        /// `PROT_EXEC`
        const EXEC = raw::PROT_EXEC;
    }
}

bitflags! {
    /// What is particular about a mapping.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct VmaFlags: u32 {
        /// Writes are seen by other mappers.
        const SHARED = 1;
        /// Grows towards lower addresses when touched there.
        const GROWSDOWN = 1 << 1;
        /// Not inherited by a fork.
        const DONTFORK = 1 << 2;
        /// Empty after a fork.
        const WIPEONFORK = 1 << 3;
        /// Not in core dumps.
        const DONTDUMP = 1 << 4;
        /// Counts as locked.
        const LOCKED = 1 << 5;
        /// Locked when touched, not before.
        const LOCK_ON_FAULT = 1 << 6;
        /// `MAP_NORESERVE`
        const NORESERVE = 1 << 7;
        /// `MADV_HUGEPAGE`
        const HUGEPAGE = 1 << 8;
        /// `MADV_NOHUGEPAGE`
        const NOHUGEPAGE = 1 << 9;
        /// `MADV_SEQUENTIAL`
        const SEQUENTIAL = 1 << 10;
        /// `MADV_RANDOM`
        const RANDOM = 1 << 11;
        /// `MADV_MERGEABLE`
        const MERGEABLE = 1 << 12;
    }
}

pub(crate) const NO_ACCESS: Access = Access { read: false, write: false, execute: false };
pub(crate) const READ: Access = Access { read: true, write: false, execute: false };
pub(crate) const WRITE: Access = Access { read: false, write: true, execute: false };
pub(crate) const EXECUTE: Access = Access { read: false, write: false, execute: true };

impl Prot {
    /// What the processor grants: on x86-64 whatever is mapped at all can be read.
    pub(crate) fn access(self) -> Access {
        Access { read: !self.is_empty(), write: self.contains(Prot::WRITE), execute: self.contains(Prot::EXEC) }
    }
}

/// Whether `have` allows all of `want`.
pub(crate) fn allows(have: Access, want: Access) -> bool {
    (have.read || !want.read) && (have.write || !want.write) && (have.execute || !want.execute)
}
