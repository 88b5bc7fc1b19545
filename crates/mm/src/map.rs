//! `mmap`, `munmap` and `mprotect`.

use crate::change::Changes;
use crate::fault::FaultError;
use crate::prot::{Prot, READ, VmaFlags, WRITE};
use crate::shared::SharedMemory;
use crate::vma::{FileMapping, MAX_MAP_COUNT, Vma};
use crate::{MemoryManager, State};
use abi::raw::general as raw;
use abi::{Errno, PAGE_SIZE};
use core::ops::Range;
use host::mappable::{MapName, Mappable};
use std::sync::Arc;

/// Flags that `MAP_SHARED` and `MAP_PRIVATE` know; `MAP_SHARED_VALIDATE` refuses any other.
const KNOWN_FLAGS: u32 = raw::MAP_SHARED
    | raw::MAP_PRIVATE
    | raw::MAP_FIXED
    | raw::MAP_ANONYMOUS
    | raw::MAP_32BIT
    | raw::MAP_GROWSDOWN
    | raw::MAP_DENYWRITE
    | raw::MAP_EXECUTABLE
    | raw::MAP_LOCKED
    | raw::MAP_NORESERVE
    | raw::MAP_POPULATE
    | raw::MAP_NONBLOCK
    | raw::MAP_STACK
    | raw::MAP_HUGETLB
    | raw::MAP_FIXED_NOREPLACE
    | raw::MAP_UNINITIALIZED
    | (63 << raw::MAP_HUGE_SHIFT);

/// Linux's `vm.mmap_min_addr`.
const MIN_ADDR: u64 = 0x1_0000;

/// A file to map.
pub struct FileArgs {
    /// What is mapped.
    pub object: Arc<dyn Mappable>,
    /// Its name in `/proc/PID/maps`.
    pub name: Arc<dyn MapName>,
    /// The description was opened for reading.
    pub readable: bool,
    /// The description was opened for writing.
    pub writable: bool,
    /// Its mount allows execution.
    pub executable: bool,
}

/// Arguments of `mmap(2)`, as the guest passed them.
pub struct MmapArgs {
    /// Where, or a hint.
    pub addr: u64,
    /// Bytes.
    pub len: u64,
    /// `PROT_*`
    pub prot: u32,
    /// `MAP_*`
    pub flags: u32,
    /// Without `MAP_ANONYMOUS`: the file.
    pub file: Option<FileArgs>,
    /// File offset.
    pub offset: u64,
}

pub(crate) fn page_align(len: u64) -> Option<u64> {
    len.checked_next_multiple_of(PAGE_SIZE)
}

impl State {
    /// Whether so much more may be locked.
    pub(crate) fn may_lock(&self, more: u64) -> bool {
        self.limits.may_lock || self.vmas.totals().locked.saturating_add(more) <= self.limits.locked
    }
}

impl MemoryManager {
    /// Whether the limits allow mappings of `more` bytes more.
    pub(crate) fn may_expand(&self, state: &State, more: u64, prot: Prot, flags: VmaFlags) -> bool {
        let totals = state.vmas.totals();
        let data = prot.contains(Prot::WRITE) && !flags.intersects(VmaFlags::SHARED | VmaFlags::GROWSDOWN);
        totals.total.saturating_add(more) <= state.limits.address_space
            && (!data || totals.data.saturating_add(more) <= state.limits.data)
    }

    /// Linux's heuristic overcommit: refuses only what could never be had.
    pub(crate) fn may_commit(&self, len: u64, prot: Prot, flags: VmaFlags) -> bool {
        let accounted = prot.contains(Prot::WRITE) && !flags.intersects(VmaFlags::SHARED | VmaFlags::NORESERVE);
        !accounted || len <= self.frames.usage().limit.min(self.frames.file().len())
    }

    /// `mmap(2)`.
    ///
    /// # Errors
    /// As Linux's, in its order. That the descriptor is none or can't be mapped is the caller's to find.
    pub fn mmap(&self, args: MmapArgs) -> Result<u64, Errno> {
        if !args.offset.is_multiple_of(PAGE_SIZE) || args.len == 0 {
            return Err(Errno::EINVAL);
        }
        let len = page_align(args.len).ok_or(Errno::ENOMEM)?;
        args.offset.checked_add(len).ok_or(Errno::EOVERFLOW)?;
        self.change_and_patch(|state, changes| {
            if state.vmas.len() > MAX_MAP_COUNT {
                return Err(Errno::ENOMEM);
            }
            let fixed = args.flags & (raw::MAP_FIXED | raw::MAP_FIXED_NOREPLACE) != 0;
            if args.flags & raw::MAP_HUGETLB != 0 {
                // As on a machine without any huge pages, which no plain file has either.
                return Err(if args.file.is_some() { Errno::EINVAL } else { Errno::ENOMEM });
            }
            let addr = self.choose(state, args.addr, len, args.flags, fixed)?;
            let range = addr..addr + len;
            if args.flags & raw::MAP_FIXED_NOREPLACE != 0 && !state.vmas.is_free(range.clone()) {
                return Err(Errno::EEXIST);
            }
            let mut lock = state.lock_future;
            if args.flags & raw::MAP_LOCKED != 0 {
                if !state.limits.may_lock && state.limits.locked == 0 {
                    return Err(Errno::EPERM);
                }
                lock |= VmaFlags::LOCKED;
            }
            if lock.contains(VmaFlags::LOCKED) && !state.may_lock(len) {
                return Err(Errno::EAGAIN);
            }
            let vma = self.new_vma(&args, range.end, lock)?;
            self.place_vma(state, changes, range.clone(), vma)?;
            let populate = args.flags & (raw::MAP_POPULATE | raw::MAP_NONBLOCK) == raw::MAP_POPULATE;
            if populate || (lock.contains(VmaFlags::LOCKED) && !lock.contains(VmaFlags::LOCK_ON_FAULT)) {
                self.populate_quietly(state, changes, range);
            } else {
                self.expect(state, changes, range, args.flags);
            }
            Ok(addr)
        })
    }

    /// The range that is asked for or a free one.
    fn choose(&self, state: &mut State, hint: u64, len: u64, flags: u32, fixed: bool) -> Result<u64, Errno> {
        if len > self.user.end {
            return Err(Errno::ENOMEM);
        }
        if fixed {
            if hint > self.user.end - len {
                return Err(Errno::ENOMEM);
            }
            if !hint.is_multiple_of(PAGE_SIZE) {
                return Err(Errno::EINVAL);
            }
            // Linux refuses the lowest pages to all but the privileged.
            return if hint < self.user.start { Err(Errno::EPERM) } else { Ok(hint) };
        }
        let low = self.user.start.max(MIN_ADDR);
        if flags & raw::MAP_32BIT != 0 {
            let area = 0x4000_0000..0x8000_0000.min(self.user.end);
            let hinted = hint & !(PAGE_SIZE - 1);
            if hint != 0 && hinted >= area.start && hinted.saturating_add(len) <= area.end {
                return self.free_from(state, hinted, len, area);
            }
            return state.vmas.find_bottom_up(len, area).ok_or(Errno::ENOMEM);
        }
        if hint != 0 {
            let at = (hint & !(PAGE_SIZE - 1)).max(low);
            if at.checked_add(len).is_some_and(|end| end <= self.user.end && state.vmas.has_room(at..end)) {
                return Ok(at);
            }
        }
        let base = self.layout.mmap_base;
        let mut below = base;
        let top_down = loop {
            let found = state.vmas.find_top_down(len, low..below);
            match found.and_then(|at| state.patches.limit(&(at..at + len))) {
                Some(limit) if limit > low => below = limit,
                _ => break found,
            }
        };
        top_down.or_else(|| state.vmas.find_bottom_up(len, base..self.user.end)).ok_or(Errno::ENOMEM)
    }

    fn free_from(&self, state: &State, hint: u64, len: u64, area: Range<u64>) -> Result<u64, Errno> {
        if state.vmas.has_room(hint..hint + len) {
            return Ok(hint);
        }
        state.vmas.find_bottom_up(len, area).ok_or(Errno::ENOMEM)
    }

    /// A free range for `mremap`, `shmat` and the like.
    pub(crate) fn choose_free(&self, state: &mut State, len: u64) -> Result<u64, Errno> {
        self.choose(state, 0, len, 0, false)
    }

    /// What kind of mapping the arguments ask for.
    fn new_vma(&self, args: &MmapArgs, end: u64, lock: VmaFlags) -> Result<Vma, Errno> {
        let prot = Prot::from_bits_truncate(args.prot);
        let kind = args.flags & raw::MAP_TYPE;
        let mut flags = lock;
        flags.set(VmaFlags::NORESERVE, args.flags & raw::MAP_NORESERVE != 0);
        let grows = args.flags & raw::MAP_GROWSDOWN != 0;
        flags.set(VmaFlags::GROWSDOWN, grows);
        let shared = matches!(kind, raw::MAP_SHARED | raw::MAP_SHARED_VALIDATE);
        if !shared && kind != raw::MAP_PRIVATE {
            return Err(Errno::EINVAL);
        }
        flags.set(VmaFlags::SHARED, shared);
        let mut may = Prot::all();
        let Some(file) = &args.file else {
            if !shared {
                return Ok(Vma { end, prot, may, flags, file: None, offset: 0 });
            }
            if kind == raw::MAP_SHARED_VALIDATE || grows {
                return Err(Errno::EINVAL);
            }
            let len = page_align(args.len).ok_or(Errno::ENOMEM)?;
            let object = Arc::new(SharedMemory::new(self.frames.clone(), len));
            let mapping = FileMapping::new(object, Arc::new("/dev/zero (deleted)"), self.observer(), true);
            return Ok(Vma { end, prot, may, flags, file: Some(mapping), offset: 0 });
        };
        if kind == raw::MAP_SHARED_VALIDATE && args.flags & !(KNOWN_FLAGS | raw::MAP_SYNC) != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if shared && prot.contains(Prot::WRITE) && !file.writable {
            return Err(Errno::EACCES);
        }
        if !file.readable {
            return Err(Errno::EACCES);
        }
        if shared && !file.writable {
            may.remove(Prot::WRITE);
        }
        if !file.executable {
            if prot.contains(Prot::EXEC) {
                return Err(Errno::EPERM);
            }
            may.remove(Prot::EXEC);
        }
        if grows {
            return Err(Errno::EINVAL);
        }
        if kind == raw::MAP_SHARED_VALIDATE && args.flags & raw::MAP_SYNC != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if shared && file.writable && !file.object.allow_shared(prot.contains(Prot::WRITE))? {
            may.remove(Prot::WRITE);
        }
        let writes = shared && may.contains(Prot::WRITE);
        let mapping = FileMapping::new(file.object.clone(), file.name.clone(), self.observer(), writes);
        Ok(Vma { end, prot, may, flags, file: Some(mapping), offset: args.offset })
    }

    /// Linux's `mmap_region`: checks the limits, replaces what was there.
    fn place_vma(&self, state: &mut State, changes: &mut Changes, range: Range<u64>, vma: Vma) -> Result<(), Errno> {
        let len = range.end - range.start;
        let more = len - state.vmas.mapped_bytes(range.clone());
        let allowed = self.may_expand(state, more, vma.prot, vma.flags)
            && self.may_commit(len, vma.prot, vma.flags)
            && state.vmas.len() + state.vmas.cuts(&range) <= MAX_MAP_COUNT;
        if !allowed {
            changes.doomed.push(vma);
            return Err(Errno::ENOMEM);
        }
        self.forget_patches(state, changes, &range);
        self.vacate(state, changes, range.clone());
        changes.unmap_all(state, range.clone());
        state.vmas.insert(range.start, vma, &mut changes.doomed);
        Ok(())
    }

    /// Brings in what can be brought in; `MAP_POPULATE` and `mlock` of new memory don't report failures.
    pub(crate) fn populate_quietly(&self, state: &mut State, changes: &mut Changes, range: Range<u64>) {
        let parts: Vec<(Range<u64>, Prot, bool)> = state
            .vmas
            .overlapping(range.clone())
            .map(|(start, vma)| (start.max(range.start)..vma.end.min(range.end), vma.prot, vma.shared()))
            .collect();
        for (part, prot, shared) in parts {
            let write = prot.contains(Prot::WRITE) && !shared;
            if prot.is_empty() {
                continue;
            }
            let result: Result<(), FaultError> = self.populate(state, changes, part, if write { WRITE } else { READ });
            if result.is_err() {
                return;
            }
        }
    }

    /// `munmap(2)`.
    ///
    /// # Errors
    /// `EINVAL` for a range that is empty, not aligned or outside; `ENOMEM` if it would make too many mappings.
    pub fn munmap(&self, addr: u64, len: u64) -> Result<(), Errno> {
        let range = self.checked_range(addr, len).ok_or(Errno::EINVAL)?;
        if range.is_empty() {
            return Err(Errno::EINVAL);
        }
        self.change_and_patch(|state, changes| {
            if state.vmas.cuts(&range) == 2 && state.vmas.len() >= MAX_MAP_COUNT {
                return Err(Errno::ENOMEM);
            }
            self.forget_patches(state, changes, &range);
            changes.unmap_all(state, range);
            Ok(())
        })
    }

    /// An aligned range inside the address space, its length rounded up.
    pub(crate) fn checked_range(&self, addr: u64, len: u64) -> Option<Range<u64>> {
        let end = addr.checked_add(page_align(len)?)?;
        (addr.is_multiple_of(PAGE_SIZE) && end <= self.user.end).then_some(addr..end)
    }

    /// `mprotect(2)`; `prot` as the guest passed it.
    ///
    /// # Errors
    /// As Linux's. What lies before the offending mapping is changed nevertheless.
    pub fn mprotect(&self, addr: u64, len: u64, prot: u32) -> Result<(), Errno> {
        const STEER: u32 = raw::PROT_GROWSDOWN | raw::PROT_GROWSUP;
        const PROT_SEM: u32 = 8;
        if prot & STEER == STEER || !addr.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        if len == 0 {
            return Ok(());
        }
        let end = page_align(len).and_then(|len| addr.checked_add(len)).ok_or(Errno::ENOMEM)?;
        if prot & !(STEER | PROT_SEM | Prot::all().bits()) != 0 {
            return Err(Errno::EINVAL);
        }
        let new = Prot::from_bits_truncate(prot);
        self.change_and_patch(|state, changes| {
            let (start, vma) = state.vmas.find_from(addr).ok_or(Errno::ENOMEM)?;
            let mut range = addr..end;
            if prot & raw::PROT_GROWSDOWN != 0 {
                if start >= end {
                    return Err(Errno::ENOMEM);
                }
                if !vma.flags.contains(VmaFlags::GROWSDOWN) {
                    return Err(Errno::EINVAL);
                }
                range.start = start;
            } else if start > addr {
                return Err(Errno::ENOMEM);
            } else if prot & raw::PROT_GROWSUP != 0 {
                return Err(Errno::EINVAL);
            }
            self.protect_range(state, changes, range, new)
        })
    }

    fn protect_range(
        &self,
        state: &mut State,
        changes: &mut Changes,
        range: Range<u64>,
        new: Prot,
    ) -> Result<(), Errno> {
        if state.vmas.len() + state.vmas.cuts(&range) > MAX_MAP_COUNT {
            return Err(Errno::ENOMEM);
        }
        let mut reached = range.start;
        let mut result = Ok(());
        let mut data = 0;
        for (start, vma) in state.vmas.overlapping(range.clone()) {
            if start > reached {
                break;
            }
            if !vma.may.contains(new) {
                result = Err(Errno::EACCES);
                break;
            }
            let end = vma.end.min(range.end);
            if new.contains(Prot::WRITE) && !vma.prot.contains(Prot::WRITE) && !vma.shared() {
                data += end - reached;
                let over = state.vmas.totals().data.saturating_add(data) > state.limits.data;
                if over || !self.may_commit(end - reached, new, vma.flags) {
                    result = Err(Errno::ENOMEM);
                    break;
                }
            }
            reached = end;
        }
        if result.is_ok() && reached < range.end {
            result = Err(Errno::ENOMEM);
        }
        let done = range.start..reached;
        if !done.is_empty() {
            if new.contains(Prot::WRITE) {
                self.put_back(state, changes, done.clone());
            }
            state.vmas.modify(done.clone(), &mut changes.doomed, |_, vma| vma.prot = new);
            changes.refresh_access(state, done);
        }
        result
    }
}
