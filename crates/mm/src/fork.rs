//! `fork`: a second address space with the same contents, copied when written.

use crate::change::{Changes, run_access};
use crate::prot::{NO_ACCESS, VmaFlags};
use crate::runs::{Kind, Memory, Run, Runs};
use crate::vma::Vma;
use crate::{Limits, MemoryManager, State};
use abi::PAGE_SIZE;
use core::ops::Range;
use host::frames::{AllocOptions, FrameRange};
use platform::{Access, AddressSpace};
use std::sync::Arc;

/// Runs up to the first size are copied when forking, up to the second in all.
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
        let child = MemoryManager::new(
            self.frames.clone(),
            space,
            self.patcher.clone(),
            self.user.clone(),
            self.layout,
            Limits::default(),
        );
        let observer = child.observer();
        self.change(|state, changes| {
            // Locked already while files learn of it, so that a truncation waits for its pages.
            let mut copy = child.state.lock_second();
            copy.brk = state.brk.clone();
            copy.limits = state.limits;
            copy.program = state.program.clone();
            self.copy_patches(state, &mut copy);
            child.space.set_patches(copy.patches.sites());
            let inherited: Vec<(u64, Vma)> = state
                .vmas
                .iter()
                .filter(|(_, vma)| !vma.flags.contains(VmaFlags::DONTFORK))
                .map(|(start, vma)| (start, vma.clone()))
                .collect();
            let mut eager = if alone { EAGER_TOTAL } else { 0 };
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
                    self.share_pages(state, changes, &mut copy.runs, &mut eager, start, &vma);
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
        if let Some(new) = self.copy_of(old) {
            let memory = Memory::Frames(new.start);
            copy.insert(part.start, Run { end: part.end, memory, installed: NO_ACCESS, filled: true, ..run.clone() });
        }
    }

    fn copy_of(&self, old: FrameRange) -> Option<FrameRange> {
        let new = self.frames.alloc(old.len(), AllocOptions { overwritten: true, at: None }).ok()?;
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
        eager: &mut u64,
        start: u64,
        vma: &Vma,
    ) {
        let access = run_access(vma.prot, vma.shared(), Kind::Cow);
        let copied: Vec<Range<u64>> = copy.overlapping(start..vma.end).map(|(start, run)| start..run.end).collect();
        let ends = copied.iter().map(|part| part.start).chain([vma.end]);
        let starts = [start].into_iter().chain(copied.iter().map(|part| part.end));
        for range in starts.zip(ends).map(|(start, end)| start..end).filter(|range| !range.is_empty()) {
            self.share_range(state, changes, copy, eager, range, access);
        }
    }

    fn share_range(
        &self,
        state: &mut State,
        changes: &mut Changes,
        copy: &mut Runs,
        eager: &mut u64,
        range: Range<u64>,
        access: Access,
    ) {
        state.runs.modify(range, |start, run| {
            if let Some(copied) = self.copy_eagerly(start, run, eager) {
                copy.insert(start, copied);
                return;
            }
            if run.kind == Kind::Own {
                run.kind = Kind::Cow;
                run.access = access;
                if run.installed.write {
                    run.installed = access;
                    changes.protect(start..run.end, access);
                }
            }
            if let Some(frames) = run.frames(start) {
                self.frames.inc(frames);
            }
            copy.insert(start, Run { installed: NO_ACCESS, ..run.clone() });
        });
    }

    /// Copies a small run that the guest writes to: two faults cost far more.
    fn copy_eagerly(&self, start: u64, run: &Run, budget: &mut u64) -> Option<Run> {
        let len = run.end - start;
        if run.kind != Kind::Own || !run.installed.write || len > EAGER_RUN.min(*budget) {
            return None;
        }
        let new = self.copy_of(run.frames(start)?)?;
        *budget -= len;
        Some(Run { memory: Memory::Frames(new.start), installed: NO_ACCESS, filled: true, ..run.clone() })
    }
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
