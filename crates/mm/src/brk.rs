//! The heap: `brk(2)`.

use crate::change::Changes;
use crate::map::page_align;
use crate::prot::{Prot, VmaFlags};
use crate::vma::{MAX_MAP_COUNT, Vma};
use crate::{MemoryManager, State};
use abi::raw::general as raw;
use abi::{Errno, PAGE_SIZE};

impl MemoryManager {
    /// Says where the heap starts, when a program is loaded. Randomize before.
    pub fn set_brk(&self, start: u64) {
        self.state.lock().brk = start..start;
    }

    /// Where the heap starts and ends.
    #[must_use]
    pub fn brk_range(&self) -> core::ops::Range<u64> {
        self.state.lock().brk.clone()
    }

    /// `brk(2)`: moves the heap's end if possible, and returns where it is.
    pub fn brk(&self, new: u64) -> u64 {
        self.change(|state, changes| {
            if new >= state.brk.start && self.move_brk(state, changes, new).is_some() {
                state.brk.end = new;
            }
            state.brk.end
        })
    }

    fn move_brk(&self, state: &mut State, changes: &mut Changes, new: u64) -> Option<()> {
        if new - state.brk.start > state.limits.data || new > self.user.end {
            return None;
        }
        let (old_end, new_end) = (page_align(state.brk.end)?, page_align(new)?);
        if new_end <= old_end {
            if new_end < old_end {
                changes.unmap_all(state, new_end..old_end);
            }
            return Some(());
        }
        let range = old_end..new_end;
        // Linux keeps a page away from what lies above.
        if !state.vmas.has_room(range.start..range.end.checked_add(PAGE_SIZE)?) || state.vmas.len() >= MAX_MAP_COUNT {
            return None;
        }
        let prot = Prot::READ | Prot::WRITE;
        let flags = state.lock_future;
        let len = range.end - range.start;
        let locked = flags.contains(VmaFlags::LOCKED);
        if !self.may_expand(state, len, prot, flags) || !self.may_commit(len, prot, flags) {
            return None;
        }
        if locked && !state.may_lock(len) {
            return None;
        }
        self.vacate(state, changes, range.clone());
        let vma = Vma { end: range.end, prot, may: Prot::all(), flags, file: None, offset: 0 };
        state.vmas.insert(range.start, vma, &mut changes.doomed);
        if locked && !flags.contains(VmaFlags::LOCK_ON_FAULT) {
            self.populate_quietly(state, changes, range);
        }
        Some(())
    }

    /// Maps the initial stack below the layout's top and returns its end. It grows down when touched.
    ///
    /// # Errors
    /// `ENOMEM` if the limits forbid it.
    pub fn map_stack(&self, executable: bool) -> Result<u64, Errno> {
        /// What Linux gives a new program besides its arguments.
        const INITIAL: u64 = 128 << 10;
        let top = self.layout.stack_top;
        let exec = if executable { raw::PROT_EXEC } else { 0 };
        self.mmap(crate::MmapArgs {
            addr: top.saturating_sub(INITIAL),
            len: INITIAL,
            prot: raw::PROT_READ | raw::PROT_WRITE | exec,
            flags: raw::MAP_PRIVATE | raw::MAP_ANONYMOUS | raw::MAP_FIXED | raw::MAP_GROWSDOWN,
            file: None,
            offset: 0,
        })?;
        Ok(top)
    }
}
