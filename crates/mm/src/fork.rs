//! `fork`: a second address space with the same contents, copied when written.

use crate::change::{Changes, run_access};
use crate::prot::{NO_ACCESS, VmaFlags};
use crate::resident::{COPY_MIN, block, clip};
use crate::runs::{Kind, Memory, Run, Runs};
use crate::vma::Vma;
use crate::{Limits, MemoryManager, State};
use abi::PAGE_SIZE;
use core::ops::Range;
use host::frames::{AllocOptions, FrameRange};
use platform::{Access, AddressSpace};
use std::sync::Arc;

/// Runs up to the first size are copied when forking, up to the second in all; twice that if all is certain to be needed.
const EAGER_RUN: u64 = 64 << 10;
const EAGER_TOTAL: u64 = 256 << 10;

impl MemoryManager {
    /// A copy of this memory in `space`, which must be empty. Pages are shared until either side writes to them.
    ///
    /// `alone` promises that no other thread runs in it. If one does, the copy must be what it had written up to some moment:
    /// with a write, all earlier ones. So each page is taken as it is when it can't be written any more, which stops the
    /// thread at its first write thereafter. Copies made here, before that, could miss a write and have a later one.
    #[must_use]
    pub fn fork(&self, space: Arc<dyn AddressSpace>, alone: bool) -> Arc<MemoryManager> {
        let learnt = self.habit.fork();
        let child = MemoryManager::with_habit(
            self.frames.clone(),
            self.texts.clone(),
            self.views.clone(),
            self.user.clone(),
            self.layout,
            Limits::default(),
            Some((self.habit.clone(), learnt)),
        );
        child.move_in(space);
        let observer = child.observer();
        self.change(|state, changes| {
            // Locked already while files learn of it, so that a truncation waits for its pages.
            let mut copy = child.state.lock_second();
            copy.brk = state.brk.clone();
            copy.limits = state.limits;
            copy.program = state.program.clone();
            self.copy_patches(state, &mut copy);
            child.tell_sites(&copy);
            let inherited: Vec<(u64, Vma)> = state
                .vmas
                .iter()
                .filter(|(_, vma)| !vma.flags.contains(VmaFlags::DONTFORK))
                .map(|(start, vma)| (start, vma.clone()))
                .collect();
            let budget = if alone { EAGER_TOTAL << u32::from(learnt) } else { 0 };
            let mut sharing = Sharing { budget, learnt, cow: NO_ACCESS, own: NO_ACCESS };
            let kept = lent_pages(state);
            self.guard(state, &kept);
            for (start, mut vma) in inherited {
                vma.file = vma.file.map(|file| file.for_observer(&observer));
                // Locks are not inherited.
                vma.flags.remove(VmaFlags::LOCKED | VmaFlags::LOCK_ON_FAULT);
                if !vma.flags.contains(VmaFlags::WIPEONFORK) {
                    for part in kept.iter().filter(|part| (start..vma.end).contains(&part.start)) {
                        self.copy_lent(state, &mut copy.runs, part.clone());
                    }
                    self.share_pages(state, changes, &mut copy.runs, &mut sharing, start, &vma);
                }
                copy.vmas.insert(start, vma, &mut changes.doomed);
            }
            for part in kept {
                state.runs.modify(part, |start, run| {
                    if run.installed.write {
                        changes.protect(start..run.end, run.installed);
                    }
                });
            }
        });
        child
    }

    /// Takes the right to write to pages away from the guest's threads, for now.
    fn guard(&self, state: &mut State, pages: &[Range<u64>]) {
        let mut changes = Changes::default();
        for part in pages {
            let read_only = |access: Access| Access { write: false, ..access };
            let runs = state.runs.overlapping(part.clone()).filter(|(_, run)| run.installed.write);
            runs.for_each(|(_, run)| changes.protect(part.clone(), read_only(run.installed)));
        }
        self.settle(state, &mut changes);
    }

    /// Copies pages that a host call is writing to, which must stay this side's own: another frame in their place would miss
    /// what the call writes. If there is no memory for that, they are shared.
    fn copy_lent(&self, state: &State, copy: &mut Runs, part: Range<u64>) {
        let Some((start, run)) = state.runs.find(part.start) else { return };
        let Some(old) = run.frames(start).map(|frames| frames.slice(part.start - start, part.end - part.start)) else {
            return;
        };
        if let Some(new) = self.copy_of(old, None) {
            let memory = Memory::Frames(new.start);
            copy.insert(part.start, Run { end: part.end, memory, installed: NO_ACCESS, filled: true, ..run.clone() });
        }
    }

    /// Copies frames to others, if possible from `at` on.
    fn copy_of(&self, old: FrameRange, at: Option<u64>) -> Option<FrameRange> {
        let new = self.frames.alloc(old.len(), AllocOptions { overwritten: true, at }).ok()?;
        if self.frames.range(new).copy_from(&self.frames.range(old)).is_err() {
            self.frames.dec(new);
            return None;
        }
        Some(new)
    }

    /// Makes the pages of a mapping those of the copy, too.
    fn share_pages(
        &self,
        state: &mut State,
        changes: &mut Changes,
        copy: &mut Runs,
        sharing: &mut Sharing,
        start: u64,
        vma: &Vma,
    ) {
        sharing.cow = run_access(vma.prot, vma.shared(), Kind::Cow);
        sharing.own = run_access(vma.prot, vma.shared(), Kind::Own);
        let copied: Vec<Range<u64>> = copy.overlapping(start..vma.end).map(|(start, run)| start..run.end).collect();
        let ends = copied.iter().map(|part| part.start).chain([vma.end]);
        let starts = [start].into_iter().chain(copied.iter().map(|part| part.end));
        for range in starts.zip(ends).map(|(start, end)| start..end).filter(|range| !range.is_empty()) {
            let mut at = range.start;
            for cut in self.cuts(state, range.clone()).into_iter().chain([range.end]).filter(|cut| *cut > range.start) {
                self.share_range(state, changes, copy, sharing, at..cut);
                at = cut;
            }
        }
    }

    /// The ends of blocks that are to be copied out of larger runs.
    fn cuts(&self, state: &State, range: Range<u64>) -> Vec<u64> {
        let mut cuts = Vec::new();
        for addr in self.habit.to_copy(range.clone()) {
            let Some((start, run)) = state.runs.find(addr).filter(|(start, run)| run.end - start > COPY_MIN) else {
                continue;
            };
            let block = clip(clip(block(addr, COPY_MIN), &(start..run.end)), &range);
            if cuts.last() != Some(&block.end) {
                cuts.extend([block.start, block.end]);
            }
        }
        cuts.dedup();
        cuts
    }

    fn share_range(
        &self,
        state: &mut State,
        changes: &mut Changes,
        copy: &mut Runs,
        sharing: &mut Sharing,
        range: Range<u64>,
    ) {
        state.runs.modify(range, |start, run| {
            if let Some(copied) = self.copy_eagerly(copy, start, run, sharing) {
                copy.append(start, copied);
                return;
            }
            if run.kind == Kind::Own {
                run.kind = Kind::Cow;
                run.access = sharing.cow;
                if run.installed.write {
                    run.installed = sharing.cow;
                    changes.protect(start..run.end, sharing.cow);
                }
            }
            if let Some(frames) = run.frames(start) {
                self.frames.inc(frames);
            }
            copy.append(start, Run { installed: NO_ACCESS, ..run.clone() });
        });
    }

    /// Copies a small run that is likely to be written to: two faults cost far more.
    fn copy_eagerly(&self, copy: &Runs, start: u64, run: &Run, sharing: &mut Sharing) -> Option<Run> {
        let len = run.end - start;
        let likely = match sharing.learnt {
            true => run.kind != Kind::File && sharing.own.write && self.habit.copies(start..run.end),
            false => run.kind == Kind::Own && run.installed.write,
        };
        if !likely || len > EAGER_RUN.min(sharing.budget) {
            return None;
        }
        let below = copy.ending_at(start).and_then(|(start, run)| run.frames(start));
        let new = self.copy_of(run.frames(start)?, below.map(|frames| frames.end))?;
        sharing.budget -= len;
        let memory = Memory::Frames(new.start);
        let (kind, access) = (Kind::Own, sharing.own);
        Some(Run { end: run.end, memory, kind, access, installed: NO_ACCESS, filled: true })
    }
}

/// How the pages of the present mapping come to be the copy's.
struct Sharing {
    /// So many bytes may be copied yet.
    budget: u64,
    /// It is known what earlier forks needed.
    learnt: bool,
    /// Access to its pages that both sides have, and to those that one of them has.
    cow: Access,
    own: Access,
}

/// The guest's private pages that host calls are writing to.
fn lent_pages(state: &State) -> Vec<Range<u64>> {
    let mut pages = Vec::new();
    if state.lent.is_empty() {
        return pages;
    }
    for (start, run) in state.runs.overlapping(0..u64::MAX).filter(|(_, run)| run.kind == Kind::Own) {
        let Some(frames) = run.frames(start) else { continue };
        let mut parts: Vec<Range<u64>> = state
            .lent
            .iter()
            .map(|lent| (lent.start & !(PAGE_SIZE - 1)).max(frames.start)..lent.end.min(frames.end))
            .filter(|part| !part.is_empty())
            .map(|part| start + (part.start - frames.start)..start + (part.end - frames.start))
            .map(|part| part.start..part.end.next_multiple_of(PAGE_SIZE))
            .collect();
        parts.sort_by_key(|part| part.start);
        parts.dedup_by(|next, last| {
            let joined = next.start <= last.end;
            last.end = if joined { last.end.max(next.end) } else { last.end };
            joined
        });
        pages.append(&mut parts);
    }
    pages
}
