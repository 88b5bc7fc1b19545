//! `madvise`, `msync` and `mincore`.

use crate::change::Changes;
use crate::map::page_align;
use crate::prot::{Prot, READ, VmaFlags, WRITE};
use crate::runs::Memory;
use crate::vma::{FileMapping, MAX_MAP_COUNT};
use crate::{FaultError, MemoryManager, State};
use abi::raw::general as raw;
use abi::{Errno, PAGE_SIZE};
use core::ops::Range;
use std::sync::Arc;

/// What `madvise(2)` can be asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advice {
    /// Sets and clears flags of the mappings.
    Flags {
        /// Set.
        set: VmaFlags,
        /// Cleared.
        clear: VmaFlags,
    },
    /// Drops pages.
    DontNeed {
        /// `MADV_DONTNEED_LOCKED`: locked ones too.
        locked: bool,
    },
    /// Drops pages of private memory.
    Free,
    /// Punches a hole into the file.
    Remove,
    /// Brings pages in.
    Populate {
        /// For writing.
        write: bool,
    },
    /// Changes nothing that a guest could see.
    Nothing,
}

const MADV_COLLAPSE: u32 = 25;

impl Advice {
    /// Decodes `madvise(2)`'s argument; `None` if Linux has none such (or it is for debugging the machine).
    #[must_use]
    pub fn from_raw(advice: u32) -> Option<Advice> {
        let flags = |set, clear| Some(Advice::Flags { set, clear });
        let none = VmaFlags::empty();
        let pace = VmaFlags::SEQUENTIAL | VmaFlags::RANDOM;
        match advice {
            raw::MADV_NORMAL => flags(none, pace),
            raw::MADV_RANDOM => flags(VmaFlags::RANDOM, VmaFlags::SEQUENTIAL),
            raw::MADV_SEQUENTIAL => flags(VmaFlags::SEQUENTIAL, VmaFlags::RANDOM),
            raw::MADV_DONTFORK => flags(VmaFlags::DONTFORK, none),
            raw::MADV_DOFORK => flags(none, VmaFlags::DONTFORK),
            raw::MADV_WIPEONFORK => flags(VmaFlags::WIPEONFORK, none),
            raw::MADV_KEEPONFORK => flags(none, VmaFlags::WIPEONFORK),
            raw::MADV_DONTDUMP => flags(VmaFlags::DONTDUMP, none),
            raw::MADV_DODUMP => flags(none, VmaFlags::DONTDUMP),
            raw::MADV_HUGEPAGE => flags(VmaFlags::HUGEPAGE, VmaFlags::NOHUGEPAGE),
            raw::MADV_NOHUGEPAGE => flags(VmaFlags::NOHUGEPAGE, VmaFlags::HUGEPAGE),
            raw::MADV_MERGEABLE => flags(VmaFlags::MERGEABLE, none),
            raw::MADV_UNMERGEABLE => flags(none, VmaFlags::MERGEABLE),
            raw::MADV_DONTNEED => Some(Advice::DontNeed { locked: false }),
            raw::MADV_DONTNEED_LOCKED => Some(Advice::DontNeed { locked: true }),
            raw::MADV_FREE => Some(Advice::Free),
            raw::MADV_REMOVE => Some(Advice::Remove),
            raw::MADV_POPULATE_READ => Some(Advice::Populate { write: false }),
            raw::MADV_POPULATE_WRITE => Some(Advice::Populate { write: true }),
            raw::MADV_WILLNEED | raw::MADV_COLD | raw::MADV_PAGEOUT | MADV_COLLAPSE => Some(Advice::Nothing),
            _ => None,
        }
    }
}

impl MemoryManager {
    /// `madvise(2)`; `advice` as the guest passed it.
    ///
    /// # Errors
    /// As Linux's. Holes in the range are reported after the rest was done.
    pub fn madvise(&self, addr: u64, len: u64, advice: u32) -> Result<(), Errno> {
        let advice = Advice::from_raw(advice).ok_or(Errno::EINVAL)?;
        if !addr.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let len = if len == 0 { 0 } else { page_align(len).ok_or(Errno::EINVAL)? };
        let range = addr..addr.checked_add(len).ok_or(Errno::EINVAL)?;
        if range.is_empty() {
            return Ok(());
        }
        if let Advice::Populate { write } = advice {
            return self.advise_populate(range, write);
        }
        if advice == Advice::Remove {
            return self.advise_remove(range);
        }
        self.change(|state, changes| {
            if state.vmas.len() + state.vmas.cuts(&range) > MAX_MAP_COUNT {
                return Err(Errno::ENOMEM);
            }
            let complete = state.vmas.covers(range.clone());
            let parts: Vec<Range<u64>> = state
                .vmas
                .overlapping(range.clone())
                .map(|(start, vma)| start.max(range.start)..vma.end.min(range.end))
                .collect();
            for part in parts {
                self.advise_part(state, changes, part, advice)?;
            }
            if complete { Ok(()) } else { Err(Errno::ENOMEM) }
        })
    }

    fn advise_part(
        &self,
        state: &mut State,
        changes: &mut Changes,
        part: Range<u64>,
        advice: Advice,
    ) -> Result<(), Errno> {
        let Some((_, vma)) = state.vmas.find(part.start) else { return Ok(()) };
        let plain = vma.file.is_none() && !vma.shared();
        match advice {
            Advice::Flags { set, clear } => {
                if set.contains(VmaFlags::WIPEONFORK) && !plain {
                    return Err(Errno::EINVAL);
                }
                state.vmas.modify(part, &mut changes.doomed, |_, vma| vma.flags = vma.flags.difference(clear) | set);
            }
            Advice::DontNeed { locked } => {
                if vma.flags.contains(VmaFlags::LOCKED) && !locked {
                    return Err(Errno::EINVAL);
                }
                changes.drop_pages(state, part, true);
            }
            Advice::Free => {
                if !plain {
                    return Err(Errno::EINVAL);
                }
                changes.drop_pages(state, part, true);
            }
            Advice::Remove | Advice::Populate { .. } | Advice::Nothing => {}
        }
        Ok(())
    }

    fn advise_populate(&self, range: Range<u64>, write: bool) -> Result<(), Errno> {
        self.change(|state, changes| {
            let mut at = range.start;
            while at < range.end {
                let (start, vma) = state.vmas.find(at).ok_or(Errno::ENOMEM)?;
                let end = vma.end.min(range.end);
                debug_assert!(start <= at);
                let fits = if write { vma.prot.contains(Prot::WRITE) } else { !vma.prot.is_empty() };
                if !fits {
                    return Err(Errno::EINVAL);
                }
                let want = if write { WRITE } else { READ };
                self.populate(state, changes, at..end, want).map_err(|e| match e {
                    FaultError::NO_MEMORY => Errno::ENOMEM,
                    _ => Errno::EFAULT,
                })?;
                at = end;
            }
            Ok(())
        })
    }

    fn advise_remove(&self, range: Range<u64>) -> Result<(), Errno> {
        type Part = Result<(Arc<FileMapping>, Range<u64>), Errno>;
        let (parts, complete): (Vec<Part>, bool) = {
            let state = self.state.lock();
            let parts = state
                .vmas
                .overlapping(range.clone())
                .map(|(start, vma)| {
                    if vma.flags.contains(VmaFlags::LOCKED) {
                        return Err(Errno::EINVAL);
                    }
                    let file = vma.file.clone().ok_or(Errno::EINVAL)?;
                    if !vma.shared() || !vma.may.contains(Prot::WRITE) {
                        return Err(Errno::EACCES);
                    }
                    let (from, to) = (start.max(range.start), vma.end.min(range.end));
                    Ok((file, vma.offset_at(start, from)..vma.offset_at(start, to)))
                })
                .collect();
            (parts, state.vmas.covers(range.clone()))
        };
        for part in parts {
            let (file, offsets) = part?;
            file.object.punch(offsets)?;
        }
        if complete { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// `msync(2)`; `flags` as the guest passed them.
    ///
    /// # Errors
    /// As Linux's. Holes in the range are reported after the rest was done.
    pub fn msync(&self, addr: u64, len: u64, flags: u32) -> Result<(), Errno> {
        const ALL: u32 = raw::MS_ASYNC | raw::MS_INVALIDATE | raw::MS_SYNC;
        let both = raw::MS_ASYNC | raw::MS_SYNC;
        if flags & !ALL != 0 || !addr.is_multiple_of(PAGE_SIZE) || flags & both == both {
            return Err(Errno::EINVAL);
        }
        let len = if len == 0 { 0 } else { page_align(len).ok_or(Errno::ENOMEM)? };
        let range = addr..addr.checked_add(len).ok_or(Errno::ENOMEM)?;
        if range.is_empty() {
            return Ok(());
        }
        let mut files = Vec::new();
        let complete = {
            let state = self.state.lock();
            for (start, vma) in state.vmas.overlapping(range.clone()) {
                if flags & raw::MS_INVALIDATE != 0 && vma.flags.contains(VmaFlags::LOCKED) {
                    return Err(Errno::EBUSY);
                }
                if let Some(file) = vma.file.as_ref().filter(|_| vma.shared() && flags & raw::MS_SYNC != 0) {
                    let (from, to) = (start.max(range.start), vma.end.min(range.end));
                    files.push((file.clone(), vma.offset_at(start, from)..vma.offset_at(start, to)));
                }
            }
            state.vmas.covers(range)
        };
        for (file, offsets) in files {
            file.object.sync(offsets)?;
        }
        if complete { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// `mincore(2)` for at most the bytes of `pages`, one a page, from `addr`.
    ///
    /// # Errors
    /// `EINVAL` if not aligned, `ENOMEM` if something in the range is not mapped.
    pub fn mincore(&self, addr: u64, pages: &mut [u8]) -> Result<(), Errno> {
        if !addr.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let len = (pages.len() as u64).checked_mul(PAGE_SIZE).ok_or(Errno::ENOMEM)?;
        let range = addr..addr.checked_add(len).filter(|end| *end <= self.user.end).ok_or(Errno::ENOMEM)?;
        let state = self.state.lock();
        if !state.vmas.covers(range.clone()) {
            return Err(Errno::ENOMEM);
        }
        pages.fill(0);
        for (start, run) in state.runs.overlapping(range.clone()) {
            let (from, to) = (start.max(range.start), run.end.min(range.end));
            let part = ((from - addr) / PAGE_SIZE) as usize..((to - addr) / PAGE_SIZE) as usize;
            let Some(part) = pages.get_mut(part) else { continue };
            match run.memory {
                // Fresh runs are larger than what was touched; the memory file knows.
                Memory::Frames(at) => self.frames.file().resident(at + (from - start), part),
                Memory::Host(..) | Memory::HostShared(..) => part.fill(1),
            }
        }
        Ok(())
    }
}
