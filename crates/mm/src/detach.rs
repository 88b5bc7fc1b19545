//! `shmdt`.

use crate::MemoryManager;
use abi::{Errno, PAGE_SIZE};
use core::ops::Range;

impl MemoryManager {
    /// Unmaps what is left of the System V segment that was attached at `addr`.
    ///
    /// # Errors
    /// `EINVAL` if none was.
    pub fn detach(&self, addr: u64) -> Result<(), Errno> {
        if !addr.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        self.change(|state, changes| {
            let attached = state.vmas.overlapping(addr..self.user.end).filter_map(|(start, vma)| {
                let object = &vma.file.as_ref()?.object;
                let here = object.is_segment() && start.checked_sub(addr) == Some(vma.offset);
                here.then(|| (start..vma.end, object.observers().key(), object.size()))
            });
            let found: Vec<(Range<u64>, u64, u64)> = attached.collect();
            let (_, key, size) = found.first().cloned().ok_or(Errno::EINVAL)?;
            let end = addr.saturating_add(size);
            for (range, _, _) in found.into_iter().filter(|(range, other, _)| *other == key && range.start < end) {
                changes.unmap_all(state, range);
            }
            Ok(())
        })
    }
}
