//! What is brought in before anyone asks for it, since it is certain to be asked for: a fault costs more than several mappings.

use crate::change::Changes;
use crate::prot::{EXECUTE, Prot, READ, WRITE};
use crate::vma::Vma;
use crate::{MemoryManager, State};
use abi::raw::general as raw;
use core::ops::Range;

/// Writable mappings up to this size are brought in whole.
const SMALL: u64 = 64 << 10;
/// How many mappings on either side of a first fault are looked at.
const NEIGHBOURS: usize = 6;

/// Files up to this size are mapped to be read at once.
const READ_AT_ONCE: u64 = 512 << 10;
/// Small mappings of memory that are remembered until the next fault.
const RECENT: usize = 4;

/// A mapping to be brought in.
struct Likely {
    range: Range<u64>,
    write: bool,
}

impl Likely {
    /// A private file mapping, or memory that is small and to be written.
    fn of(start: u64, vma: &Vma) -> Option<Likely> {
        let write = vma.prot.contains(Prot::WRITE);
        let small = vma.end - start <= SMALL;
        let wanted = !vma.shared() && vma.prot.contains(Prot::READ) && (vma.file.is_some() || (write && small));
        wanted.then_some(Likely { range: start..vma.end, write: write && small })
    }
}

impl MemoryManager {
    /// Brings in what a program needs from its start: its own mappings and its interpreter's.
    pub fn bring_program(&self) {
        self.change(|state, changes| {
            let likely: Vec<Likely> = state.vmas.iter().filter_map(|(start, vma)| Likely::of(start, vma)).collect();
            for one in likely {
                if self.bring_likely(state, changes, &one) {
                    self.patch_known(state, changes, one.range.start);
                }
            }
        });
    }

    /// Makes ready for a task's first instructions, if nothing runs in this memory yet.
    pub fn warm(&self, ip: u64, sp: u64) {
        self.change(|state, changes| {
            if state.installed_bound > 0 {
                return;
            }
            // What fails here will fail again when the guest gets there.
            let _ = self.ensure(state, changes, sp.saturating_sub(8), WRITE);
            if self.ensure(state, changes, ip, EXECUTE).is_ok() {
                self.install(state, changes, ip, EXECUTE);
            }
        });
    }

    /// The first fault in a mapping of a file brings in those next to it of the same file: a program's or library's other
    /// segments. Pages of the file are not copied yet, since until they are written they show what others write to it.
    pub(crate) fn bring_siblings(&self, state: &mut State, changes: &mut Changes, addr: u64) {
        let Some((start, vma)) = state.vmas.find(addr) else { return };
        let Some(file) = vma.file.as_ref().filter(|_| !vma.shared()) else { return };
        let key = file.object.observers().key();
        let of_file = |vma: &Vma| vma.file.as_ref().is_none_or(|file| file.object.observers().key() == key);
        let mut likely = Vec::new();
        let mut at = start;
        for _ in 0..NEIGHBOURS {
            let Some((start, vma)) = state.vmas.before(at).filter(|(_, vma)| vma.end == at && of_file(vma)) else {
                break;
            };
            likely.extend(Likely::of(start, vma));
            at = start;
        }
        at = vma.end;
        let mut data = vma.prot.contains(Prot::WRITE);
        for (start, vma) in state.vmas.overlapping(at..u64::MAX).take(NEIGHBOURS) {
            if start != at || !of_file(vma) {
                break;
            }
            let writable = vma.prot.contains(Prot::WRITE);
            if data && !writable {
                // What a loader has not got to yet: the rest of the file, in the place of which there will be more data.
                break;
            }
            data |= writable;
            likely.extend(Likely::of(start, vma));
            at = vma.end;
        }
        for mut one in likely {
            one.write &= state.vmas.find(one.range.start).is_some_and(|(_, vma)| vma.file.is_none());
            self.bring_and_install(state, changes, &one);
        }
    }

    /// What was just mapped and is certain to be asked for. A file that is mapped to be read is read at once, unless a loader
    /// maps it, which puts its segments there first. Small memory is written before long, but to map it now would be a
    /// batch of its own: the next fault brings it in, too.
    pub(crate) fn expect(&self, state: &mut State, changes: &mut Changes, range: Range<u64>, flags: u32) {
        let Some((start, vma)) = state.vmas.find(range.start) else { return };
        if vma.file.is_none() {
            if Likely::of(range.start, &Vma { end: range.end, ..vma.clone() }).is_some_and(|one| one.write) {
                state.recent.truncate(RECENT - 1);
                state.recent.insert(0, range);
            }
            return;
        }
        const PLACED: u32 = raw::MAP_FIXED | raw::MAP_FIXED_NOREPLACE | raw::MAP_DENYWRITE;
        let whole = start == range.start && vma.end == range.end && range.end - range.start <= READ_AT_ONCE;
        if whole && vma.prot == Prot::READ && flags & PLACED == 0 && state.installed_bound > 0 {
            self.bring_and_install(state, changes, &Likely { range, write: false });
        }
    }

    /// Brings in the small memory that was mapped since the last fault.
    pub(crate) fn bring_recent(&self, state: &mut State, changes: &mut Changes) {
        for range in core::mem::take(&mut state.recent) {
            let Some((_, vma)) = state.vmas.find(range.start).filter(|(_, vma)| vma.end >= range.end) else { continue };
            let still = vma.file.is_none() && !vma.shared() && vma.prot.contains(Prot::READ | Prot::WRITE);
            if still {
                self.bring_and_install(state, changes, &Likely { range, write: true });
            }
        }
    }

    fn bring_and_install(&self, state: &mut State, changes: &mut Changes, likely: &Likely) {
        if self.bring_likely(state, changes, likely) {
            self.patch_known(state, changes, likely.range.start);
            self.install_brought(state, changes, likely.range.clone());
        }
    }

    /// Installs all that is there of the mapping at `addr`.
    pub(crate) fn install_mapping(&self, state: &mut State, changes: &mut Changes, addr: u64) {
        if let Some((start, vma)) = state.vmas.find(addr) {
            self.install_brought(state, changes, start..vma.end);
        }
    }

    fn install_brought(&self, state: &mut State, changes: &mut Changes, range: Range<u64>) {
        let brought: Vec<Range<u64>> = state.runs.overlapping(range).map(|(start, run)| start..run.end).collect();
        for range in brought {
            self.install_run(state, changes, range);
        }
    }

    /// Brings in a mapping of which nothing is there yet; says whether it did.
    fn bring_likely(&self, state: &mut State, changes: &mut Changes, likely: &Likely) -> bool {
        let untouched = state.runs.overlapping(likely.range.clone()).next().is_none();
        let want = if likely.write { WRITE } else { READ };
        untouched && self.ensure(state, changes, likely.range.start, want).is_ok()
    }
}
