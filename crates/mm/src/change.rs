//! Changes of an address space, from the decision to the point where they are in force.

use crate::prot::{NO_ACCESS, Prot, allows};
use crate::runs::{Kind, Memory, Run};
use crate::vma::Vma;
use crate::{MemoryManager, State};
use core::ops::Range;
use host::frames::FrameRange;
use host::window::Window;
use platform::{AddressSpace, Gone, MapOp};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// The host allows a process 65,530 mappings. From so many on they are counted, and if they really are many, the
/// platform's address space is emptied; faults bring back what is needed.
const COUNT_FROM: usize = 60_000;
const TOO_MANY: usize = 50_000;
/// Runs of private memory up to this size get their page table entries as they are mapped: all, and those that have
/// memory on the host.
const POPULATE_MAX: u64 = 64 << 10;
const POPULATE_FILLED: u64 = 256 << 10;
/// The same for runs of files, such as the many that describe a locale.
const POPULATE_FILE: u64 = 32 << 10;

/// What a locked section leaves to do: operations for the platform, then frames to free, then (without the lock)
/// references to drop.
#[derive(Default)]
pub(crate) struct Changes {
    ops: Vec<MapOp>,
    freed: Vec<FrameRange>,
    files: Vec<Arc<OwnedFd>>,
    /// Pages of code in whose place copies are put that nobody runs yet.
    pub renewed: Vec<u64>,
    pub windows: Vec<Arc<Window>>,
    pub doomed: Vec<Vma>,
}

impl Changes {
    pub fn freed(&mut self) -> Vec<FrameRange> {
        core::mem::take(&mut self.freed)
    }

    pub fn files(&mut self) -> Vec<Arc<OwnedFd>> {
        core::mem::take(&mut self.files)
    }

    /// Gives up whatever a run refers to.
    pub fn release(&mut self, start: u64, run: Run) {
        if let Some(frames) = run.frames(start) {
            match self.freed.last_mut() {
                Some(last) if last.end == frames.start => last.end = frames.end,
                _ => self.freed.push(frames),
            }
        }
        if let Memory::Host(fd, _) | Memory::HostShared(fd, _) = run.memory {
            self.files.push(fd);
        }
    }

    /// Whether there is nothing for the platform to do.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Maps pages of code that no run has, written already.
    pub fn map_code(&mut self, fd: RawFd, start: u64, frames: FrameRange, access: platform::Access) {
        if let Some(MapOp::Map { addr, len, access: same, fd: file, offset, shared: true, populate: true }) =
            self.ops.last_mut()
            && (*addr + *len, *offset + *len, *same, *file) == (start, frames.start, access, fd)
        {
            *len += frames.len();
            return;
        }
        let (len, offset) = (frames.len(), frames.start);
        self.ops.push(MapOp::Map { addr: start, len, access, fd, offset, shared: true, populate: true });
    }

    /// Frees frames once the changes are in force.
    pub fn free(&mut self, frames: FrameRange) {
        self.freed.push(frames);
    }

    pub fn unmap(&mut self, range: Range<u64>) {
        if let Some(MapOp::Unmap { addr, len }) = self.ops.last_mut()
            && *addr + *len == range.start
        {
            *len += range.end - range.start;
            return;
        }
        self.ops.push(MapOp::Unmap { addr: range.start, len: range.end - range.start });
    }

    pub fn protect(&mut self, range: Range<u64>, to: platform::Access) {
        if let Some(MapOp::Protect { addr, len, access }) = self.ops.last_mut()
            && *addr + *len == range.start
            && *access == to
        {
            *len += range.end - range.start;
            return;
        }
        self.ops.push(MapOp::Protect { addr: range.start, len: range.end - range.start, access: to });
    }

    /// Maps `run`, as far as it is allowed, at `start`. Its `installed` must be set by the caller.
    pub fn map(&mut self, memory_file: RawFd, start: u64, run: &Run) {
        let (fd, offset, shared) = match &run.memory {
            Memory::Frames(at) => (memory_file, *at, true),
            // A private page is never written in place, so a view that can't be is enough.
            Memory::Host(fd, at) => (self.keep(fd), *at, false),
            Memory::HostShared(fd, at) => (self.keep(fd), *at, true),
        };
        let len = run.end - start;
        // Cheaper mapped at once than by a fault of the host's for each page: memory that is about to be written, and what is
        // small.
        let worth = match run.kind {
            Kind::File => POPULATE_FILE,
            Kind::Own if shared && run.filled => POPULATE_FILLED,
            Kind::Own if shared => POPULATE_MAX,
            _ => 0,
        };
        let populate = len <= worth;
        self.ops.push(MapOp::Map { addr: start, len, access: run.access, fd, offset, shared, populate });
    }

    fn keep(&mut self, fd: &Arc<OwnedFd>) -> RawFd {
        self.files.push(fd.clone());
        fd.as_raw_fd()
    }

    /// Drops the pages of a range: all, or those that are the mapped file's.
    pub fn drop_pages(&mut self, state: &mut State, range: Range<u64>, own: bool) {
        for (start, run) in state.runs.remove(range) {
            if !own && run.kind != Kind::File {
                state.runs.insert(start, run);
                continue;
            }
            if run.installed != NO_ACCESS {
                self.unmap(start..run.end);
            }
            self.release(start, run);
        }
    }

    /// Removes everything from a range.
    pub fn unmap_all(&mut self, state: &mut State, range: Range<u64>) {
        self.drop_pages(state, range.clone(), true);
        let gone = state.vmas.remove(range);
        if gone.iter().any(|(_, vma)| vma.file.is_some()) {
            self.forget_windows(state);
        }
        self.doomed.extend(gone.into_iter().map(|(_, vma)| vma));
    }

    /// Forgets the Sentry's own views of host files, so that they don't outlive their mappings.
    pub fn forget_windows(&mut self, state: &mut State) {
        state.windows.clear(&mut self.windows);
    }

    /// Brings the pages of a range in line with what their mappings allow now.
    pub fn refresh_access(&mut self, state: &mut State, range: Range<u64>) {
        let State { vmas, runs, .. } = state;
        let parts: Vec<(Range<u64>, Prot, bool)> = vmas
            .overlapping(range.clone())
            .map(|(start, vma)| (start.max(range.start)..vma.end.min(range.end), vma.prot, vma.shared()))
            .collect();
        for (part, prot, shared) in parts {
            runs.modify(part, |start, run| {
                run.access = run_access(prot, shared, run.kind);
                if run.installed == NO_ACCESS || allows(run.access, run.installed) {
                    return;
                }
                if run.access == NO_ACCESS {
                    self.unmap(start..run.end);
                } else {
                    self.protect(start..run.end, run.access);
                }
                run.installed = run.access;
            });
        }
    }
}

/// What may be done to pages of a kind in a mapping, without copying them first.
pub(crate) fn run_access(prot: Prot, shared: bool, kind: Kind) -> platform::Access {
    let mut access = prot.access();
    access.write &= shared || kind == Kind::Own;
    access
}

/// Applies in pieces that a platform takes without much memory.
fn apply_all(space: &dyn AddressSpace, ops: &[MapOp]) -> Result<(), Gone> {
    ops.chunks(256).try_for_each(|chunk| space.apply(chunk))
}

impl MemoryManager {
    /// Runs `work` with the state locked and brings what it changed into force.
    pub(crate) fn change<R>(&self, work: impl FnOnce(&mut State, &mut Changes) -> R) -> R {
        let mut changes = Changes::default();
        let result = {
            let mut state = self.state.lock();
            let result = work(&mut state, &mut changes);
            self.settle(&mut state, &mut changes);
            result
        };
        drop(changes);
        result
    }

    pub(crate) fn settle(&self, state: &mut State, changes: &mut Changes) {
        changes.renewed.clear();
        // One operation can cut one mapping in three.
        state.installed_bound = state.installed_bound.saturating_add(2 * changes.ops.len());
        if state.installed_bound > COUNT_FROM {
            state.installed_bound = match state.runs.len() {
                few @ ..=TOO_MANY => few,
                _ => state.runs.count_installed(),
            };
            if state.installed_bound > TOO_MANY {
                changes.ops.clear();
                changes.unmap(self.user.clone());
                state.runs.forget_installed();
                state.patches.forget_installed();
                state.installed_bound = 0;
            }
        }
        if !changes.ops.is_empty() {
            match self.space.get() {
                Some(space) => state.gone |= apply_all(&**space, &changes.ops).is_err(),
                // Faults bring in what is needed.
                None => {
                    state.runs.forget_installed();
                    state.patches.forget_installed();
                }
            }
            changes.ops.clear();
        }
        // A process that is being killed may take a while to die: what it had mapped waits for the end.
        if state.pins > 0 || state.gone {
            state.limbo.append(&mut changes.freed);
        } else {
            for frames in changes.freed() {
                self.frames.dec(frames);
            }
        }
    }
}
