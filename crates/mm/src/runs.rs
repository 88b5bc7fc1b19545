//! What memory is behind which guest pages, and what of it the platform's address space has mapped.
//!
//! This is the page table, kept as runs: a run is a range of guest pages backed by consecutive pages of one file. The
//! platform's address space is only a cache of it: `installed` never exceeds `access`, and may be dropped at any time.

use crate::prot::NO_ACCESS;
use core::ops::Range;
use host::frames::FrameRange;
use platform::Access;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Where the bytes are, as of the run's first page.
#[derive(Clone)]
pub(crate) enum Memory {
    /// The memory file, from this offset. The run holds one reference on each frame.
    Frames(u64),
    /// A host file, from this offset.
    Host(Arc<OwnedFd>, u64),
    /// A host file that writes go to, from this offset.
    HostShared(Arc<OwnedFd>, u64),
}

impl Memory {
    fn advanced(&self, by: u64) -> Memory {
        match self {
            Memory::Frames(start) => Memory::Frames(start + by),
            Memory::Host(fd, start) => Memory::Host(fd.clone(), start + by),
            Memory::HostShared(fd, start) => Memory::HostShared(fd.clone(), start + by),
        }
    }

    fn continues(&self, len: u64, next: &Memory) -> bool {
        match (self, next) {
            (Memory::Frames(a), Memory::Frames(b)) => a + len == *b,
            (Memory::Host(a, x), Memory::Host(b, y)) | (Memory::HostShared(a, x), Memory::HostShared(b, y)) => {
                Arc::ptr_eq(a, b) && x + len == *y
            }
            _ => false,
        }
    }
}

/// Whose pages they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Private pages of this address space.
    Own,
    /// Private pages that a fork shares, perhaps: look at the reference count before writing.
    Cow,
    /// The mapped file's own pages.
    File,
}

/// Consecutive pages. Its start is its key in [`Runs`].
#[derive(Clone)]
pub(crate) struct Run {
    pub end: u64,
    pub memory: Memory,
    pub kind: Kind,
    /// What may be done to the pages right now; less than the mapping's protection where a write must copy first.
    pub access: Access,
    /// What the platform's address space has mapped; nothing at all if [`NO_ACCESS`].
    pub installed: Access,
    /// The host has memory for all of the pages: to map them for good costs little.
    pub filled: bool,
}

impl Run {
    /// The run's frames, if it has any.
    pub fn frames(&self, start: u64) -> Option<FrameRange> {
        match self.memory {
            Memory::Frames(at) => Some(FrameRange { start: at, end: at + (self.end - start) }),
            Memory::Host(..) | Memory::HostShared(..) => None,
        }
    }

    /// The guest may have its pages, but they are not installed.
    pub fn waits(&self) -> bool {
        self.installed == NO_ACCESS && self.access != NO_ACCESS
    }

    fn tail(&self, start: u64, at: u64) -> Run {
        Run { memory: self.memory.advanced(at - start), ..self.clone() }
    }

    fn continues(&self, start: u64, next: &Run) -> bool {
        self.kind == next.kind
            && self.access == next.access
            && self.installed == next.installed
            && self.memory.continues(self.end - start, &next.memory)
    }
}

/// Bytes behind guest pages, as `/proc/PID/status` tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Resident {
    /// Private memory.
    pub anon: u64,
    /// Pages of files.
    pub file: u64,
}

/// All runs of an address space.
#[derive(Default)]
pub(crate) struct Runs {
    map: BTreeMap<u64, Run>,
    resident: Resident,
    peak: u64,
}

impl Runs {
    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn resident(&self) -> Resident {
        self.resident
    }

    /// The most bytes that were ever resident.
    pub fn peak(&self) -> u64 {
        self.peak
    }

    fn count(&mut self, run: &Run, start: u64, grow: bool) {
        let field = if run.kind == Kind::File { &mut self.resident.file } else { &mut self.resident.anon };
        let len = run.end - start;
        *field = if grow { *field + len } else { *field - len };
        if grow {
            self.peak = self.peak.max(self.resident.anon + self.resident.file);
        }
    }

    /// The run that contains `addr`.
    pub fn find(&self, addr: u64) -> Option<(u64, &Run)> {
        let (&start, run) = self.map.range(..=addr).next_back()?;
        (addr < run.end).then_some((start, run))
    }

    /// Where the runs around `addr`, which is in none, end and start.
    pub fn gap(&self, addr: u64) -> Range<u64> {
        let below = self.map.range(..addr).next_back().map_or(0, |(_, run)| run.end);
        let above = self.map.range(addr..).next().map_or(u64::MAX, |(&start, _)| start);
        below..above
    }

    /// The run that ends at `at`.
    pub fn ending_at(&self, at: u64) -> Option<(u64, &Run)> {
        if let Some((&start, run)) = self.map.last_key_value()
            && run.end <= at
        {
            return (run.end == at).then_some((start, run));
        }
        self.map.range(..at).next_back().map(|(&start, run)| (start, run)).filter(|(_, run)| run.end == at)
    }

    /// Runs that share a byte with the range, in order.
    pub fn overlapping(&self, range: Range<u64>) -> impl Iterator<Item = (u64, &Run)> {
        let first = self.find(range.start).map_or(range.start, |(start, _)| start);
        self.map.range(first..range.end.max(first)).map(|(&start, run)| (start, run))
    }

    fn split(&mut self, at: u64) {
        if self.map.contains_key(&at) {
            return;
        }
        let Some((&start, run)) = self.map.range_mut(..at).next_back() else { return };
        if run.end <= at {
            return;
        }
        let tail = run.tail(start, at);
        run.end = at;
        self.map.insert(at, tail);
    }

    fn join(&mut self, at: u64) {
        let Some(right) = self.map.get(&at) else { return };
        let Some((&start, left)) = self.map.range(..at).next_back() else { return };
        if left.end != at || !left.continues(start, right) {
            return;
        }
        if let Some(right) = self.map.remove(&at)
            && let Some(left) = self.map.get_mut(&start)
        {
            left.end = right.end;
            left.filled &= right.filled;
        }
    }

    /// Adds a run where none is.
    pub fn insert(&mut self, start: u64, run: Run) {
        debug_assert!(self.overlapping(start..run.end).next().is_none());
        self.count(&run, start, true);
        let end = run.end;
        self.map.insert(start, run);
        self.join(end);
        self.join(start);
    }

    /// The same, mostly above all others.
    pub fn append(&mut self, start: u64, run: Run) {
        match self.map.last_entry() {
            Some(last) if last.get().end > start => self.insert(start, run),
            Some(mut last) if last.get().end == start && last.get().continues(*last.key(), &run) => {
                let left = last.get_mut();
                left.end = run.end;
                left.filled &= run.filled;
                self.count(&run, start, true);
            }
            _ => {
                self.count(&run, start, true);
                self.map.insert(start, run);
            }
        }
    }

    /// Takes all runs out of a range.
    pub fn remove(&mut self, range: Range<u64>) -> Vec<(u64, Run)> {
        if self.overlapping(range.clone()).next().is_none() {
            return Vec::new();
        }
        self.split(range.start);
        self.split(range.end);
        let starts: Vec<u64> = self.map.range(range).map(|(&start, _)| start).collect();
        let mut parts = Vec::with_capacity(starts.len());
        for start in starts {
            if let Some(run) = self.map.remove(&start) {
                self.count(&run, start, false);
                parts.push((start, run));
            }
        }
        parts
    }

    /// Changes every run in a range, splitting at its ends and joining what becomes alike. Not its extent, nor to or from
    /// [`Kind::File`].
    pub fn modify(&mut self, range: Range<u64>, mut change: impl FnMut(u64, &mut Run)) {
        // Mostly it is one run.
        if let Some(run) = self.map.get_mut(&range.start)
            && run.end == range.end
        {
            change(range.start, run);
            self.join(range.start);
            self.join(range.end);
            return;
        }
        self.split(range.start);
        self.split(range.end);
        // Where the range and what was changed begin and end: only there can runs be alike.
        let mut edges = vec![range.start];
        for (&start, run) in self.map.range_mut(range.clone()) {
            let before = (run.kind, run.access, run.installed);
            change(start, run);
            if (run.kind, run.access, run.installed) != before {
                edges.extend([start, run.end]);
            }
        }
        edges.push(range.end);
        edges.dedup();
        for edge in edges {
            self.join(edge);
        }
    }

    /// Notes that the platform's address space was emptied.
    pub fn forget_installed(&mut self) {
        let starts: Vec<u64> = self.map.keys().copied().collect();
        for run in self.map.values_mut() {
            run.installed = NO_ACCESS;
        }
        for start in starts {
            self.join(start);
        }
    }

    /// All runs, in order.
    pub fn into_runs(self) -> impl Iterator<Item = (u64, Run)> {
        self.map.into_iter()
    }

    /// How many mappings the platform's address space has at most.
    pub fn count_installed(&self) -> usize {
        self.map.values().filter(|run| run.installed != NO_ACCESS).count()
    }
}
