//! `fork`: a second address space with the same contents, copied when written.

use crate::change::{Changes, run_access};
use crate::prot::{NO_ACCESS, VmaFlags};
use crate::runs::{Kind, Memory, Run, Runs};
use crate::vma::Vma;
use crate::{Limits, MemoryManager, State};
use host::frames::AllocOptions;
use platform::AddressSpace;
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
            for (start, mut vma) in inherited {
                vma.file = vma.file.map(|file| file.for_observer(&observer));
                // Locks are not inherited.
                vma.flags.remove(VmaFlags::LOCKED | VmaFlags::LOCK_ON_FAULT);
                if !vma.flags.contains(VmaFlags::WIPEONFORK) {
                    self.share_pages(state, changes, &mut copy.runs, &mut eager, start, &vma);
                }
                copy.vmas.insert(start, vma, &mut changes.doomed);
            }
        });
        child
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
        state.runs.modify(start..vma.end, |start, run| {
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
        let old = run.frames(start)?;
        let new = self.frames.alloc(len, AllocOptions { overwritten: true, at: None }).ok()?;
        if self.frames.range(new).copy_from(&self.frames.range(old)).is_err() {
            self.frames.dec(new);
            return None;
        }
        *budget -= len;
        Some(Run { memory: Memory::Frames(new.start), installed: NO_ACCESS, filled: true, ..run.clone() })
    }
}
