//! `mremap(2)`.

use crate::change::Changes;
use crate::map::page_align;
use crate::prot::{NO_ACCESS, VmaFlags};
use crate::vma::{MAX_MAP_COUNT, Vma};
use crate::{MemoryManager, State};
use abi::raw::general as raw;
use abi::{Errno, PAGE_SIZE};
use core::ops::Range;

/// Runs that were installed are installed at their new place too, up to so many; faults bring the rest.
const INSTALL_MAX: usize = 64;

/// Sizes rounded up, flags checked.
struct Request {
    addr: u64,
    old_len: u64,
    new_len: u64,
    keep: bool,
}

impl MemoryManager {
    /// `mremap(2)`.
    ///
    /// # Errors
    /// As Linux's.
    pub fn mremap(&self, addr: u64, old_len: u64, new_len: u64, flags: u32, new_addr: u64) -> Result<u64, Errno> {
        const ALL: u32 = raw::MREMAP_MAYMOVE | raw::MREMAP_FIXED | raw::MREMAP_DONTUNMAP;
        let move_allowed = flags & raw::MREMAP_MAYMOVE != 0;
        let fixed = flags & raw::MREMAP_FIXED != 0;
        let keep = flags & raw::MREMAP_DONTUNMAP != 0;
        if flags & !ALL != 0
            || (fixed && !move_allowed)
            || (keep && (!move_allowed || old_len != new_len))
            || !addr.is_multiple_of(PAGE_SIZE)
        {
            return Err(Errno::EINVAL);
        }
        // A length that wraps when rounded up is zero to Linux.
        let old_len = page_align(old_len).unwrap_or(0);
        let new_len = page_align(new_len).unwrap_or(0);
        if new_len == 0 {
            return Err(Errno::EINVAL);
        }
        let request = Request { addr, old_len, new_len, keep };
        self.change(|state, changes| {
            if state.vmas.find(addr).is_none() {
                return Err(Errno::EFAULT);
            }
            if fixed || keep {
                return self.remap_to(state, changes, request, fixed.then_some(new_addr));
            }
            self.resize(state, changes, request, move_allowed)
        })
    }

    /// Moves to a given place, or anywhere but leaving the old mapping there.
    fn remap_to(
        &self,
        state: &mut State,
        changes: &mut Changes,
        mut request: Request,
        to: Option<u64>,
    ) -> Result<u64, Errno> {
        let Request { addr, old_len, new_len, .. } = request;
        if let Some(to) = to {
            if !to.is_multiple_of(PAGE_SIZE) || new_len > self.user.end || to > self.user.end - new_len {
                return Err(Errno::EINVAL);
            }
            let old_end = addr.checked_add(old_len).ok_or(Errno::EINVAL)?;
            if old_end > to && to + new_len > addr {
                return Err(Errno::EINVAL);
            }
            if to < self.user.start {
                return Err(Errno::EPERM);
            }
        }
        if state.vmas.len() + 2 >= MAX_MAP_COUNT - 3 {
            return Err(Errno::ENOMEM);
        }
        if let Some(to) = to {
            self.forget_patches(state, changes, &(to..to + new_len));
            changes.unmap_all(state, to..to + new_len);
        }
        if old_len > new_len {
            let end = addr.checked_add(old_len).ok_or(Errno::EINVAL)?;
            changes.unmap_all(state, addr + new_len..end);
            request.old_len = new_len;
        }
        self.check_resize(state, &request)?;
        let to = match to {
            Some(to) => to,
            None => self.choose_free(state, new_len)?,
        };
        self.move_mapping(state, changes, &request, to)
    }

    /// Shrinks, grows in place, or moves to where there is room.
    fn resize(
        &self,
        state: &mut State,
        changes: &mut Changes,
        request: Request,
        move_allowed: bool,
    ) -> Result<u64, Errno> {
        let Request { addr, old_len, new_len, .. } = request;
        if old_len >= new_len {
            let end = addr.checked_add(old_len).filter(|end| *end <= self.user.end).ok_or(Errno::EINVAL)?;
            if old_len > new_len {
                if state.vmas.cuts(&(addr + new_len..end)) == 2 && state.vmas.len() >= MAX_MAP_COUNT {
                    return Err(Errno::ENOMEM);
                }
                changes.unmap_all(state, addr + new_len..end);
            }
            return Ok(addr);
        }
        self.check_resize(state, &request)?;
        let (start, vma) = state.vmas.find(addr).ok_or(Errno::EFAULT)?;
        let (old_end, grow) = (vma.end, new_len - old_len);
        if addr + old_len == old_end
            && let Some(new_end) = addr.checked_add(new_len).filter(|end| *end <= self.user.end)
            && state.vmas.has_room(old_end..new_end)
        {
            let mut more = vma.clone();
            more.offset = if vma.file.is_some() { vma.offset_at(start, old_end) } else { 0 };
            more.end = new_end;
            let locked = more.flags.contains(VmaFlags::LOCKED);
            self.vacate(state, changes, old_end..new_end);
            state.vmas.insert(old_end, more, &mut changes.doomed);
            if locked {
                self.populate_quietly(state, changes, old_end..old_end + grow);
            }
            return Ok(addr);
        }
        if !move_allowed {
            return Err(Errno::ENOMEM);
        }
        let to = self.choose_free(state, new_len)?;
        self.move_mapping(state, changes, &request, to)
    }

    /// Linux's `vma_to_resize`.
    fn check_resize(&self, state: &State, request: &Request) -> Result<(), Errno> {
        let (start, vma) = state.vmas.find(request.addr).ok_or(Errno::EFAULT)?;
        if request.old_len == 0 && !vma.shared() {
            return Err(Errno::EINVAL);
        }
        if request.old_len > vma.end - request.addr {
            return Err(Errno::EFAULT);
        }
        if request.new_len == request.old_len {
            return if request.keep { self.check_growth(state, vma, request.new_len) } else { Ok(()) };
        }
        if vma.file.is_some() {
            vma.offset_at(start, request.addr).checked_add(request.new_len).ok_or(Errno::EINVAL)?;
        }
        self.check_growth(state, vma, request.new_len.saturating_sub(request.old_len))
    }

    fn check_growth(&self, state: &State, vma: &Vma, grow: u64) -> Result<(), Errno> {
        if vma.flags.contains(VmaFlags::LOCKED) && !state.may_lock(grow) {
            return Err(Errno::EAGAIN);
        }
        if !self.may_expand(state, grow, vma.prot, vma.flags) || !self.may_commit(grow, vma.prot, vma.flags) {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    fn move_mapping(&self, state: &mut State, changes: &mut Changes, request: &Request, to: u64) -> Result<u64, Errno> {
        if state.vmas.len() >= MAX_MAP_COUNT - 3 {
            return Err(Errno::ENOMEM);
        }
        let (start, vma) = state.vmas.find(request.addr).ok_or(Errno::EFAULT)?;
        let mut moved = vma.clone();
        moved.offset = if vma.file.is_some() { vma.offset_at(start, request.addr) } else { 0 };
        moved.end = to + request.new_len;
        if request.keep {
            moved.flags.remove(VmaFlags::GROWSDOWN);
        }
        let locked = moved.flags.contains(VmaFlags::LOCKED);
        let old = request.addr..request.addr + request.old_len;
        let (populate, end) = (to + request.old_len, moved.end);
        self.put_back(state, changes, old.clone());
        self.vacate(state, changes, to..end);
        self.move_pages(state, changes, old.clone(), to);
        if request.keep {
            // The lock moves with the pages.
            state.vmas.modify(old, &mut changes.doomed, |_, vma| vma.flags.remove(VmaFlags::LOCKED));
        } else {
            let gone = state.vmas.remove(old);
            changes.doomed.extend(gone.into_iter().map(|(_, vma)| vma));
        }
        state.vmas.insert(to, moved, &mut changes.doomed);
        if locked && populate < end {
            self.populate_quietly(state, changes, populate..end);
        }
        Ok(to)
    }

    fn move_pages(&self, state: &mut State, changes: &mut Changes, old: Range<u64>, to: u64) {
        let fd = self.frames.file().fd();
        for (n, (start, mut run)) in state.runs.remove(old.clone()).into_iter().enumerate() {
            let was_installed = run.installed != NO_ACCESS;
            if was_installed {
                changes.unmap(start..run.end);
            }
            let at = to + (start - old.start);
            run.end = at + (run.end - start);
            run.installed = NO_ACCESS;
            if was_installed && n < INSTALL_MAX {
                run.installed = run.access;
                changes.map(fd, at, &run);
            }
            state.runs.insert(at, run);
        }
    }
}
