//! What `/proc/PID/{maps,smaps,statm,status}` show.

use crate::prot::{Prot, VmaFlags};
use crate::runs::{Kind, Resident};
use crate::vma::Totals;
use crate::{MemoryManager, State};
use core::ops::Range;
use host::mappable::{FileId, MapName};
use std::sync::Arc;

/// One mapping.
#[derive(Clone)]
pub struct MappingInfo {
    /// Addresses.
    pub range: Range<u64>,
    /// Protection now.
    pub prot: Prot,
    /// Protection that `mprotect` may give it.
    pub may: Prot,
    /// What is particular about it.
    pub flags: VmaFlags,
    /// File offset.
    pub offset: u64,
    /// Device and inode, zeroes without a file.
    pub id: FileId,
    /// The file's name. Ask for it after the call, without locks.
    pub name: Option<Arc<dyn MapName>>,
    /// `[heap]` or `[stack]`.
    pub special: Option<&'static str>,
    /// What of it has memory.
    pub resident: Resident,
}

/// Sizes in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sizes {
    /// By kind of mapping.
    pub totals: Totals,
    /// What has memory.
    pub resident: Resident,
    /// The most that ever had.
    pub peak_resident: u64,
    /// The most that was ever mapped.
    pub peak_total: u64,
}

impl MemoryManager {
    /// All mappings, lowest first.
    #[must_use]
    pub fn mappings(&self) -> Vec<MappingInfo> {
        let state = self.state.lock();
        state.vmas.iter().map(|(start, _)| start).filter_map(|start| info(&state, start)).collect()
    }

    /// The mapping that contains `addr`.
    #[must_use]
    pub fn mapping_at(&self, addr: u64) -> Option<MappingInfo> {
        let state = self.state.lock();
        let (start, _) = state.vmas.find(addr)?;
        info(&state, start)
    }

    /// How large it all is.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        let state = self.state.lock();
        Sizes {
            totals: state.vmas.totals(),
            resident: state.runs.resident(),
            peak_resident: state.runs.peak(),
            peak_total: state.vmas.peak(),
        }
    }
}

fn info(state: &State, start: u64) -> Option<MappingInfo> {
    let (start, vma) = state.vmas.find(start)?;
    let range = start..vma.end;
    let mut resident = Resident::default();
    for (at, run) in state.runs.overlapping(range.clone()) {
        let len = run.end.min(range.end) - at.max(range.start);
        if run.kind == Kind::File { resident.file += len } else { resident.anon += len }
    }
    let stack = state.program.stack;
    let special = match &vma.file {
        Some(_) => None,
        None if start < state.brk.end && vma.end > state.brk.start => Some("[heap]"),
        None if start <= stack && vma.end >= stack && stack != 0 => Some("[stack]"),
        None => None,
    };
    Some(MappingInfo {
        range,
        prot: vma.prot,
        may: vma.may,
        flags: vma.flags,
        offset: vma.offset,
        id: vma.file.as_ref().map(|file| file.object.id()).unwrap_or_default(),
        name: vma.file.as_ref().map(|file| file.name.clone()),
        special,
        resident,
    })
}
