//! The end of a thread, as those who share its futexes learn of it: robust lists, owned futexes, `clear_child_tid`.

use super::pi::{DIED, TID, WAITERS};
use crate::task::CurrentTask;
use abi::Errno;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Linux's `ROBUST_LIST_LIMIT`: the list is the guest's and may be endless.
const LIST_MAX: usize = 2048;

/// An entry's address; the low bit says that its futex is owned through the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Link {
    addr: u64,
    pi: bool,
}

impl CurrentTask {
    /// At the end of a thread and of its use of a memory (execve(2)): robust futexes, then those it owns, then
    /// `clear_child_tid`.
    pub(crate) fn release_futexes(&mut self) {
        let local = self.context.local();
        let head = local.robust_list();
        local.set_robust_list(0);
        if head != 0 {
            // A list that can't be read ends the walk, as in Linux.
            let _ = self.walk_robust_list(head);
        }
        self.task.futexes_released.store(true, Ordering::SeqCst);
        self.kernel.futexes.owner_died(self.tid());
        let clear = local.clear_tid();
        local.set_clear_tid(0);
        // Nobody is told if nobody shares the memory: this thread itself holds two references.
        if clear != 0 && Arc::strong_count(&self.mm) > 2 && self.mm.copy_out(clear, &[0; 4]).is_ok() {
            let _ = self.futex_wake(clear, true, 1, u32::MAX);
        }
    }

    fn read_link(&self, addr: u64) -> Result<Link, Errno> {
        let word = self.read_word(addr)?;
        Ok(Link { addr: word & !1, pi: word & 1 != 0 })
    }

    fn read_word(&self, addr: u64) -> Result<u64, Errno> {
        let mut word = [0; 8];
        self.mm.copy_in(addr, &mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    fn walk_robust_list(&self, head: u64) -> Result<(), Errno> {
        let mut entry = self.read_link(head)?;
        let offset = self.read_word(head.wrapping_add(8))?;
        let pending = self.read_link(head.wrapping_add(16))?;
        for _ in 0..LIST_MAX {
            if entry.addr == head {
                break;
            }
            // Read before the futex is given up: whoever gets it may take the entry off the list.
            let next = self.read_link(entry.addr);
            if entry.addr != pending.addr {
                self.robust_owner_died(entry.addr.wrapping_add(offset), entry.pi, false)?;
            }
            entry = next?;
        }
        if pending.addr != 0 {
            self.robust_owner_died(pending.addr.wrapping_add(offset), pending.pi, true)?;
        }
        Ok(())
    }

    /// Marks a futex of the list as given up by the death of its owner, if that is this thread.
    fn robust_owner_died(&self, addr: u64, pi: bool, pending: bool) -> Result<(), Errno> {
        if !addr.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        let mut word = self.mm.load_u32(addr)?;
        // A guest may change the word all the time.
        for _ in 0..1 << 16 {
            let owner = word & TID;
            if pending && !pi && owner == 0 {
                // Unlocked, but killed before it could wake anyone.
                let _ = self.futex_wake(addr, true, 1, u32::MAX);
                return Ok(());
            }
            if owner != self.tid().cast_unsigned() {
                return Ok(());
            }
            let seen = self.mm.compare_exchange_u32(addr, word, word & WAITERS | DIED)?;
            if seen == word {
                break;
            }
            word = seen;
        }
        if !pi && word & WAITERS != 0 {
            let _ = self.futex_wake(addr, true, 1, u32::MAX);
        }
        Ok(())
    }
}
