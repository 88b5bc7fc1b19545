//! Bringing pages in: who may, what backs them, copying before writes, and installing them for the guest.

use crate::change::{Changes, run_access};
use crate::fault::FaultError;
use crate::prot::{NO_ACCESS, Prot, VmaFlags, allows};
use crate::runs::{Kind, Memory, Run};
use crate::vma::{FileMapping, STACK_GUARD, Vma};
use crate::{MemoryManager, State, page};
use abi::{Errno, PAGE_SIZE};
use core::ops::Range;
use host::frames::{AllocOptions, FrameRange};
use host::guestmem::preadv;
use host::mappable::Backing;
use platform::Access;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Smallest and largest run of fresh private memory.
const RUN_MIN: u64 = 64 << 10;
const RUN_MAX: u64 = 2 << 20;
/// Mappings up to this size get all their memory at once.
const RUN_WHOLE: u64 = 256 << 10;
/// How much is copied at a write to a shared page: the least, the most where copies go on from one to the next, and how
/// much when an address space is badly fragmented.
pub(crate) const COPY_MIN: u64 = 16 << 10;
const COPY_MAX: u64 = 64 << 10;
/// The most that is copied of a program's or library's data.
const DATA_MAX: u64 = 256 << 10;
/// What counts as near a fault in memory that is used all over the place.
const NEAR: u64 = 1 << 20;
const COPY_FRAGMENTED: u64 = 1 << 20;
const FRAGMENTED: usize = 16 << 10;
/// How far a stack grows at once where it may.
const STACK_STEP: u64 = 32 << 10;
/// How far around a fault pages that are there already are installed too, and how many runs of them.
const AROUND: u64 = 1 << 20;
const AROUND_RUNS: usize = 16;
const ALL_RUNS: usize = 64;

fn own((start, run): (u64, &Run)) -> u64 {
    if run.kind == Kind::Own { run.end - start } else { 0 }
}

/// How much private memory there is near `addr` in a mapping.
fn own_near(state: &State, addr: u64, vma: &Range<u64>) -> u64 {
    let near = clip(addr.saturating_sub(NEAR)..addr.saturating_add(NEAR), vma);
    state.runs.overlapping(near).map(own).sum()
}

/// How much to copy at a write to `addr`, in the shared pages `run`: as much as goes on from what was copied just before it;
/// in a program's or library's data, where writes are all over the place, twice as much as was copied near it.
fn copied_near(state: &State, addr: u64, kind: Kind, vma: &Range<u64>, run: &Range<u64>) -> u64 {
    let before = state.runs.ending_at(clip(block(addr, COPY_MIN), run).start).map_or(0, own);
    let (near, most) = match kind {
        Kind::File => (2 * own_near(state, addr, vma), DATA_MAX),
        _ => (0, COPY_MAX),
    };
    before.max(near).clamp(COPY_MIN, most).next_power_of_two()
}

/// The mapping that a fault lies in.
struct Place {
    vma: Range<u64>,
    prot: Prot,
    may: Prot,
    shared: bool,
    stack: bool,
    file: Option<(Arc<FileMapping>, u64)>,
}

pub(crate) fn block(addr: u64, size: u64) -> Range<u64> {
    let start = addr & !(size - 1);
    start..start.saturating_add(size)
}

pub(crate) fn clip(range: Range<u64>, to: &Range<u64>) -> Range<u64> {
    range.start.max(to.start)..range.end.min(to.end)
}

/// The aligned block around `addr` within `gap`; more on the far side if the gap's end cuts off most of it.
fn fitted(addr: u64, size: u64, gap: &Range<u64>) -> Range<u64> {
    let mut range = clip(block(addr, size), gap);
    if range.end - range.start < size / 2 {
        if range.start == gap.start {
            range.end = range.end.saturating_add(size).min(gap.end);
        } else {
            range.start = range.start.saturating_sub(size).max(gap.start);
        }
    }
    range
}

/// What pages of the file, as addresses, exist.
fn within_file(place: &Place, file: &FileMapping, offset: u64) -> Range<u64> {
    let size = file.object.size().checked_next_multiple_of(PAGE_SIZE).unwrap_or(!(PAGE_SIZE - 1));
    place.vma.start..place.vma.start.saturating_add(size.saturating_sub(offset)).min(place.vma.end)
}

impl MemoryManager {
    /// Makes sure that `addr` may be accessed as wanted and has memory for it. `want` is what the instruction does.
    pub(crate) fn ensure(
        &self,
        state: &mut State,
        changes: &mut Changes,
        addr: u64,
        want: Access,
    ) -> Result<(), FaultError> {
        let place = self.place(state, changes, addr)?;
        if !allows(place.prot.access(), want) || place.prot.is_empty() {
            return Err(FaultError::ACCESS);
        }
        self.bring(state, addr, &place)?;
        let ready = state.runs.find(addr).is_some_and(|(_, run)| allows(run.access, want));
        if ready { Ok(()) } else { self.break_cow(state, changes, addr, &place) }
    }

    /// As [`MemoryManager::ensure`] for a debugger, which may read whatever could be made readable, and write to its own
    /// copy of whatever is private.
    pub(crate) fn ensure_forced(
        &self,
        state: &mut State,
        changes: &mut Changes,
        addr: u64,
        write: bool,
    ) -> Result<(), FaultError> {
        let place = self.place(state, changes, addr)?;
        let allowed = if place.shared && write { place.prot } else { place.may };
        if !allowed.contains(if write { Prot::WRITE } else { Prot::READ }) {
            return Err(FaultError::ACCESS);
        }
        self.bring(state, addr, &place)?;
        let copy = write && !place.shared && state.runs.find(addr).is_some_and(|(_, run)| run.kind != Kind::Own);
        if copy { self.break_cow(state, changes, addr, &place) } else { Ok(()) }
    }

    /// Finds memory for the page at `addr`, if it has none.
    fn bring(&self, state: &mut State, addr: u64, place: &Place) -> Result<(), FaultError> {
        if state.runs.find(addr).is_some() {
            return Ok(());
        }
        match &place.file {
            None => self.bring_fresh(state, addr, place),
            Some((file, offset)) => self.bring_file(state, addr, place, file, *offset),
        }
    }

    /// Finds the mapping at `addr`; grows a stack down to it if that is where it lies.
    fn place(&self, state: &mut State, changes: &mut Changes, addr: u64) -> Result<Place, FaultError> {
        let (start, vma) = state.vmas.find_from(addr).ok_or(FaultError::UNMAPPED)?;
        if addr < start {
            let growable = vma.flags.contains(VmaFlags::GROWSDOWN);
            if !growable || !self.grow_stack(state, changes, start, addr) {
                return Err(FaultError::UNMAPPED);
            }
        }
        let (start, vma) = state.vmas.find(addr).ok_or(FaultError::UNMAPPED)?;
        Ok(Place {
            vma: start..vma.end,
            prot: vma.prot,
            shared: vma.shared(),
            stack: vma.flags.contains(VmaFlags::GROWSDOWN),
            may: vma.may,
            file: vma.file.clone().map(|file| (file, vma.offset)),
        })
    }

    /// Linux's `expand_downwards`, a few pages at a time.
    fn grow_stack(&self, state: &mut State, changes: &mut Changes, start: u64, addr: u64) -> bool {
        let new_start =
            [addr & !(STACK_STEP - 1), page(addr)].into_iter().find(|at| self.may_grow_to(state, start, *at));
        if let Some(new_start) = new_start {
            self.vacate(state, changes, new_start..start);
            state.vmas.grow_down(start, new_start, &mut changes.doomed);
        }
        new_start.is_some()
    }

    fn may_grow_to(&self, state: &State, start: u64, new_start: u64) -> bool {
        let Some((_, vma)) = state.vmas.find(start) else { return false };
        let grow = start - new_start;
        let below_is_far = state.vmas.before(start).is_none_or(|(_, below): (u64, &Vma)| {
            let may_touch = below.prot.is_empty() || below.flags.contains(VmaFlags::GROWSDOWN);
            new_start.checked_sub(below.end).is_some_and(|gap| may_touch || gap >= STACK_GUARD)
        });
        new_start >= self.user.start
            && below_is_far
            && vma.end - new_start <= state.limits.stack
            && self.may_expand(state, grow, vma.prot, vma.flags)
            && (!vma.flags.contains(VmaFlags::LOCKED) || state.may_lock(grow))
    }

    /// New private memory around `addr`: as much again as already borders on it, so that programs that walk through
    /// memory fault ever more rarely, or half as much as is near it.
    fn bring_fresh(&self, state: &mut State, addr: u64, place: &Place) -> Result<(), FaultError> {
        let gap = clip(state.runs.gap(addr), &place.vma);
        let below = state.runs.ending_at(gap.start).filter(|(_, run)| run.kind == Kind::Own);
        let above = state.runs.find(gap.end).filter(|(_, run)| run.kind == Kind::Own);
        let neighbour = below.or(above).map_or(0, own).max(own_near(state, addr, &place.vma) / 2);
        let at = below.and_then(|(start, run)| run.frames(start)).map(|frames| frames.end);
        let crowded = if state.runs.len() > FRAGMENTED { RUN_MAX } else { RUN_MIN };
        let size = neighbour.clamp(crowded, RUN_MAX).next_power_of_two();
        // Of a stack, most programs use little more than what they begin with.
        let whole = if place.stack { RUN_MIN } else { RUN_WHOLE };
        let range = if gap.end - gap.start <= whole { gap.clone() } else { fitted(addr, size, &gap) };
        let at = at.filter(|_| range.start == gap.start);
        let options = AllocOptions { overwritten: false, at };
        let (range, frames, filled) = match self.frames.alloc_or_reuse(range.end - range.start, options) {
            Ok((frames, filled)) => (range, frames, filled),
            Err(_) => {
                let one = page(addr)..page(addr) + PAGE_SIZE;
                let frames = self.frames.alloc(PAGE_SIZE, options).map_err(|_| FaultError::NO_MEMORY)?;
                (one, frames, false)
            }
        };
        let access = run_access(place.prot, place.shared, Kind::Own);
        let (memory, kind) = (Memory::Frames(frames.start), Kind::Own);
        state.runs.insert(range.start, Run { end: range.end, memory, kind, access, installed: NO_ACCESS, filled });
        Ok(())
    }

    /// The file's own pages around `addr`.
    fn bring_file(
        &self,
        state: &mut State,
        addr: u64,
        place: &Place,
        file: &FileMapping,
        offset: u64,
    ) -> Result<(), FaultError> {
        let exists = within_file(place, file, offset);
        if !exists.contains(&addr) {
            return Err(FaultError::BEYOND);
        }
        let gap = clip(clip(state.runs.gap(addr), &place.vma), &exists);
        let worth = file.object.fault_run().max(PAGE_SIZE);
        let wide = if worth >= 1 << 46 { gap.clone() } else { clip(block(addr, worth.next_power_of_two()), &gap) };
        let writable = place.shared && place.may.contains(Prot::WRITE);
        let to_offset = |at: u64| offset.saturating_add(at - place.vma.start);
        let back = |range: Range<u64>| {
            let run = file.object.back(to_offset(range.start)..to_offset(range.end), writable)?;
            let (len, memory) = match run {
                Backing::Frames(frames) => {
                    let frames = frames.into_frames();
                    (frames.len(), Memory::Frames(frames.start))
                }
                Backing::HostFile { fd, offset, len } if place.shared => (len, Memory::HostShared(fd, offset)),
                Backing::HostFile { fd, offset, len } => (len, Memory::Host(fd, offset)),
            };
            Ok::<_, Errno>((range.start..range.start.saturating_add(len), range.end, memory))
        };
        let mut found = back(wide.clone()).map_err(FaultError::of_file);
        if let Ok((range, _, memory)) = &found
            && !range.contains(&addr)
        {
            self.give_back(range.clone(), memory);
            found = back(page(addr)..wide.end).map_err(FaultError::of_file);
        } else if found.is_err() && wide.start < page(addr) {
            found = back(page(addr)..wide.end).map_err(FaultError::of_file);
        }
        let (range, most, memory) = found?;
        if !range.contains(&addr) {
            self.give_back(range, &memory);
            return Err(FaultError::BEYOND);
        }
        if range.end > most {
            // More than was asked for: keep what fits.
            if let Memory::Frames(at) = memory {
                let start = at + (most - range.start);
                self.frames.dec(FrameRange { start, end: start + (range.end - most) });
            }
        }
        let end = range.end.min(most);
        let access = run_access(place.prot, place.shared, Kind::File);
        let run = Run { end, memory, kind: Kind::File, access, installed: NO_ACCESS, filled: false };
        state.runs.insert(range.start, run);
        Ok(())
    }

    fn give_back(&self, range: Range<u64>, memory: &Memory) {
        if let Memory::Frames(at) = memory {
            self.frames.dec(FrameRange { start: *at, end: at + (range.end - range.start) });
        }
    }

    /// Makes the page at `addr` of a private mapping writable: by taking it over if nobody else has it, else by a copy.
    fn break_cow(&self, state: &mut State, changes: &mut Changes, addr: u64, place: &Place) -> Result<(), FaultError> {
        let (start, run) = state.runs.find(addr).ok_or(FaultError::UNMAPPED)?;
        if place.shared || run.kind == Kind::Own {
            // Its access equals the mapping's, which allows less than wanted.
            return Err(FaultError::ACCESS);
        }
        let run_range = clip(start..run.end, &place.vma);
        if run.kind == Kind::Cow {
            self.habit.written(addr);
        }
        if run.kind == Kind::Cow
            && let Some(frames) = run.frames(start)
            && let Some(sole) = self.sole(addr, start, &run_range, frames)
        {
            let access = run_access(place.prot, false, Kind::Own);
            state.runs.modify(sole, |start, run| {
                run.kind = Kind::Own;
                run.access = access;
                if run.installed != NO_ACCESS {
                    run.installed = access;
                    changes.protect(start..run.end, access);
                }
            });
            return Ok(());
        }
        let size = match state.runs.len() {
            ..=FRAGMENTED => copied_near(state, addr, run.kind, &place.vma, &run_range),
            _ => COPY_FRAGMENTED,
        };
        let mut range = match run.kind {
            // A program's or library's data.
            Kind::File if run_range.end - run_range.start <= COPY_MAX => run_range,
            _ => clip(block(addr, size), &run_range),
        };
        if let Some((file, offset)) = &place.file
            && run.kind == Kind::File
        {
            let exists = within_file(place, file, *offset);
            if !exists.contains(&addr) {
                return Err(FaultError::BEYOND);
            }
            range = clip(range, &exists);
        }
        self.copy_pages(state, changes, addr, range, place.prot)
    }

    /// The part around `addr` of a run's pages that only this address space refers to.
    fn sole(&self, addr: u64, start: u64, within: &Range<u64>, frames: FrameRange) -> Option<Range<u64>> {
        let of = |range: &Range<u64>| frames.slice(range.start - start, range.end - range.start);
        let (refs, len) = self.frames.refs(of(within));
        if refs == 1 && within.start + len > addr {
            return Some(within.start..within.start + len);
        }
        let rest = page(addr)..within.end;
        let (refs, len) = self.frames.refs(of(&rest));
        (refs == 1).then_some(rest.start..rest.start + len)
    }

    /// Replaces the pages of `range`, all of one run, by private copies.
    pub(crate) fn copy_pages(
        &self,
        state: &mut State,
        changes: &mut Changes,
        addr: u64,
        range: Range<u64>,
        prot: Prot,
    ) -> Result<(), FaultError> {
        let options = |at| AllocOptions { overwritten: true, at };
        let below = state.runs.ending_at(range.start).filter(|(_, run)| run.kind == Kind::Own);
        let at = below.and_then(|(start, run)| run.frames(start)).map(|frames| frames.end);
        let (range, frames) = match self.frames.alloc(range.end - range.start, options(at)) {
            Ok(frames) => (range, frames),
            Err(_) => {
                let frames = self.frames.alloc(PAGE_SIZE, options(None)).map_err(|_| FaultError::NO_MEMORY)?;
                (page(addr)..page(addr) + PAGE_SIZE, frames)
            }
        };
        let (start, run) = state.runs.find(addr).ok_or(FaultError::UNMAPPED)?;
        let new = self.frames.range(frames);
        let copied = match &run.memory {
            Memory::Frames(at) => {
                let from = at + (range.start - start);
                let old = self.frames.range(FrameRange { start: from, end: from + frames.len() });
                new.copy_from(&old).is_ok()
            }
            Memory::Host(fd, at) | Memory::HostShared(fd, at) => {
                read_fully(fd.as_fd(), &new, at + (range.start - start))
            }
        };
        if !copied {
            self.frames.dec(frames);
            return Err(FaultError::BEYOND);
        }
        let access = run_access(prot, false, Kind::Own);
        let (memory, kind) = (Memory::Frames(frames.start), Kind::Own);
        let mut copy = Run { end: range.end, memory, kind, access, installed: NO_ACCESS, filled: true };
        let mut was_installed = false;
        for (start, old) in state.runs.remove(range.clone()) {
            was_installed |= old.installed != NO_ACCESS;
            changes.release(start, old);
        }
        if was_installed {
            copy.installed = access;
            changes.map(self.frames.file().fd(), range.start, &copy);
        }
        state.runs.insert(range.start, copy);
        Ok(())
    }

    /// Makes what is at `addr` reachable for guest threads, with what else is ready nearby.
    pub(crate) fn install(&self, state: &mut State, changes: &mut Changes, addr: u64, want: Access) {
        let Some((start, run)) = state.runs.find(addr) else { return };
        let run_range = start..run.end;
        if run.installed == NO_ACCESS {
            self.install_run(state, changes, run_range);
        } else if !allows(run.installed, want) {
            state.runs.modify(run_range, |start, run| {
                run.installed = run.access;
                changes.protect(start..run.end, run.access);
            });
        }
        if state.installed_bound == 0 {
            self.install_first(state, changes);
        }
        if self.brief() || state.installed_bound == 0 {
            return;
        }
        let near = addr.saturating_sub(AROUND)..addr.saturating_add(AROUND);
        let others: Vec<Range<u64>> = state
            .runs
            .overlapping(near)
            .filter(|(_, run)| run.waits())
            .map(|(start, run)| start..run.end)
            .take(AROUND_RUNS)
            .collect();
        for other in others {
            self.install_run(state, changes, other);
        }
    }

    /// With the first page of all, installs what is ready: for a fork that learns, what earlier ones needed.
    fn install_first(&self, state: &mut State, changes: &mut Changes) {
        if !self.learns {
            let ready: Vec<Range<u64>> = state
                .runs
                .overlapping(self.user.clone())
                .filter(|(_, run)| run.waits())
                .map(|(start, run)| start..run.end)
                .take(ALL_RUNS)
                .collect();
            ready.into_iter().for_each(|range| self.install_run(state, changes, range));
            self.install_trampolines(state, changes, 0);
            return;
        }
        for addr in self.habit.wanted(self.user.clone()) {
            let Some((start, run)) = state.runs.find(addr).filter(|(_, run)| run.waits()) else { continue };
            let range = start..run.end;
            self.install_run(state, changes, range);
        }
        if self.habit.wants_trampolines() {
            self.install_trampolines(state, changes, 0);
        }
    }

    pub(crate) fn install_run(&self, state: &mut State, changes: &mut Changes, range: Range<u64>) {
        let fd = self.frames.file().fd();
        state.runs.modify(range, |start, run| {
            run.installed = run.access;
            changes.map(fd, start, run);
        });
    }

    /// Brings in every page of a range that may be accessed as wanted, without installing it.
    pub(crate) fn populate(
        &self,
        state: &mut State,
        changes: &mut Changes,
        range: Range<u64>,
        want: Access,
    ) -> Result<(), FaultError> {
        let mut at = range.start;
        while at < range.end {
            self.ensure(state, changes, at, want)?;
            at = state.runs.find(at).map_or(range.end, |(_, run)| run.end);
        }
        Ok(())
    }
}

/// Fills `to` from a host file, with zeroes where it ends. False if it can't be read.
fn read_fully(fd: std::os::fd::BorrowedFd<'_>, to: &host::guestmem::HostRange<'_>, offset: u64) -> bool {
    let mut done = 0;
    while done < to.len() {
        match preadv(fd, &[to.slice(done, to.len())], offset + done as u64, 0) {
            Ok(0) => return to.slice(done, to.len()).zero().is_ok(),
            Ok(n) => done += n,
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
    true
}
