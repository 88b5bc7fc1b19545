//! `mlock` and its relatives. Locking is accounted and brings pages in; the host's own memory is never locked.

use crate::fault::FaultError;
use crate::map::page_align;
use crate::prot::{READ, VmaFlags, WRITE};
use crate::vma::MAX_MAP_COUNT;
use crate::{MemoryManager, Prot};
use abi::raw::general as raw;
use abi::{Errno, PAGE_SIZE};

const LOCKS: VmaFlags = VmaFlags::LOCKED.union(VmaFlags::LOCK_ON_FAULT);

impl MemoryManager {
    /// `mlock2(2)`; `flags` as the guest passed them.
    ///
    /// # Errors
    /// As Linux's.
    pub fn mlock(&self, addr: u64, len: u64, flags: u32) -> Result<(), Errno> {
        if flags & !raw::MLOCK_ONFAULT != 0 {
            return Err(Errno::EINVAL);
        }
        let range = outer(addr, len)?;
        let lock = if flags & raw::MLOCK_ONFAULT != 0 { LOCKS } else { VmaFlags::LOCKED };
        self.change(|state, changes| {
            let limits = state.limits;
            if !limits.may_lock && limits.locked == 0 {
                return Err(Errno::EPERM);
            }
            let already: u64 = state
                .vmas
                .overlapping(range.clone())
                .filter(|(_, vma)| vma.flags.contains(VmaFlags::LOCKED))
                .map(|(start, vma)| vma.end.min(range.end) - start.max(range.start))
                .sum();
            if !state.may_lock((range.end - range.start).saturating_sub(already)) {
                return Err(Errno::ENOMEM);
            }
            if state.vmas.len() + state.vmas.cuts(&range) > MAX_MAP_COUNT {
                return Err(Errno::ENOMEM);
            }
            let complete = state.vmas.covers(range.clone());
            state.vmas.modify(range.clone(), &mut changes.doomed, |_, vma| {
                vma.flags = vma.flags.difference(LOCKS) | lock;
            });
            if !complete {
                return Err(Errno::ENOMEM);
            }
            if lock == LOCKS {
                return Ok(());
            }
            let parts: Vec<_> = state
                .vmas
                .overlapping(range.clone())
                .map(|(start, vma)| (start.max(range.start)..vma.end.min(range.end), vma.prot, vma.shared()))
                .collect();
            for (part, prot, shared) in parts {
                let want = if prot.contains(Prot::WRITE) && !shared { WRITE } else { READ };
                self.populate(state, changes, part, want).map_err(|e| match e {
                    FaultError::NO_MEMORY => Errno::EAGAIN,
                    _ => Errno::ENOMEM,
                })?;
            }
            Ok(())
        })
    }

    /// `munlock(2)`.
    ///
    /// # Errors
    /// As Linux's.
    pub fn munlock(&self, addr: u64, len: u64) -> Result<(), Errno> {
        let range = outer(addr, len)?;
        self.change(|state, changes| {
            if state.vmas.len() + state.vmas.cuts(&range) > MAX_MAP_COUNT {
                return Err(Errno::ENOMEM);
            }
            let complete = state.vmas.covers(range.clone());
            state.vmas.modify(range, &mut changes.doomed, |_, vma| vma.flags.remove(LOCKS));
            if complete { Ok(()) } else { Err(Errno::ENOMEM) }
        })
    }

    /// `mlockall(2)`.
    ///
    /// # Errors
    /// As Linux's.
    pub fn mlockall(&self, flags: u32) -> Result<(), Errno> {
        let (current, future, on_fault) = (raw::MCL_CURRENT, raw::MCL_FUTURE, raw::MCL_ONFAULT);
        if flags == 0 || flags & !(current | future | on_fault) != 0 || flags == on_fault {
            return Err(Errno::EINVAL);
        }
        let lock = if flags & on_fault != 0 { LOCKS } else { VmaFlags::LOCKED };
        self.change(|state, changes| {
            let limits = state.limits;
            if !limits.may_lock && limits.locked == 0 {
                return Err(Errno::EPERM);
            }
            if flags & current != 0 && !limits.may_lock && state.vmas.totals().total > limits.locked {
                return Err(Errno::ENOMEM);
            }
            state.lock_future = if flags & future != 0 { lock } else { VmaFlags::empty() };
            if flags & current != 0 {
                let all = self.user.clone();
                state.vmas.modify(all.clone(), &mut changes.doomed, |_, vma| {
                    vma.flags = vma.flags.difference(LOCKS) | lock;
                });
                if lock != LOCKS {
                    self.populate_quietly(state, changes, all);
                }
            }
            Ok(())
        })
    }

    /// `munlockall(2)`.
    pub fn munlockall(&self) {
        self.change(|state, changes| {
            state.lock_future = VmaFlags::empty();
            state.vmas.modify(self.user.clone(), &mut changes.doomed, |_, vma| vma.flags.remove(LOCKS));
        });
    }
}

/// The pages that a range touches.
fn outer(addr: u64, len: u64) -> Result<core::ops::Range<u64>, Errno> {
    let start = addr & !(PAGE_SIZE - 1);
    let len = len.checked_add(addr - start).and_then(page_align).ok_or(Errno::EINVAL)?;
    let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
    Ok(start..end)
}
