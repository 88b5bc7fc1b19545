//! Rewritten system call sites: what a platform wants written where, and the way back from there.
//!
//! A *site* is a `syscall` instruction and its neighbours, of which five bytes become a jump to a *trampoline*: code that
//! does what stood there, and makes the call without a signal. Trampolines lie in a *shadow*, a range of guest addresses at
//! a fixed distance from the text. The memory manager decides which memory may be patched, and writes; the platform
//! decides what.

use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a site's jump.
pub const JUMP: usize = 5;

/// One rewritten site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Where the jump is.
    pub at: u64,
    /// The `syscall` instruction.
    pub call: u64,
    /// What stood there.
    pub original: [u8; JUMP],
    /// The jump.
    pub jump: [u8; JUMP],
    /// Where the trampoline is.
    pub trampoline: u64,
    /// Its bytes.
    pub code: Vec<u8>,
    /// Instructions that moved: where they stood, and where in the trampoline they or what replaces them are. The first is
    /// the jump itself and the trampoline's start; the last is what follows the site, and the trampoline's jump there.
    pub moved: Vec<(u64, u64)>,
}

impl Patch {
    /// The same for the same code at addresses that are greater by a number, trampoline and all.
    #[must_use]
    pub fn displaced(&self, by: u64) -> Patch {
        let there = |at: u64| at.wrapping_add(by);
        Patch {
            at: there(self.at),
            call: there(self.call),
            trampoline: there(self.trampoline),
            moved: self.moved.iter().map(|(from, to)| (there(*from), there(*to))).collect(),
            code: self.code.clone(),
            ..*self
        }
    }
}

/// All patches of an address space, as its contexts see them.
#[derive(Clone, Debug, Default)]
pub struct Patches {
    sites: BTreeMap<u64, Arc<Patch>>,
    /// Of sites that were put back, too: a thread may be in one still.
    trampolines: BTreeMap<u64, Arc<Patch>>,
}

impl Patches {
    /// Whether there are none, and none that threads may be in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.trampolines.is_empty()
    }

    /// How many there are, with those that threads may be in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.trampolines.len()
    }

    /// Adds one.
    pub fn insert(&mut self, patch: Arc<Patch>) {
        self.trampolines.insert(patch.trampoline, patch.clone());
        self.sites.insert(patch.at, patch);
    }

    /// Forgets those whose jumps lie in a range, and returns them.
    pub fn remove(&mut self, range: Range<u64>) -> Vec<Arc<Patch>> {
        let first = range.start.saturating_sub(JUMP as u64 - 1);
        let gone: Vec<Arc<Patch>> = self.sites.range(first..range.end.max(first)).map(|(_, p)| p.clone()).collect();
        for patch in &gone {
            self.sites.remove(&patch.at);
            self.trampolines.remove(&patch.trampoline);
        }
        gone
    }

    /// Takes back those whose jumps lie in a range, and returns them. Their trampolines stay known.
    pub fn retire(&mut self, range: Range<u64>) -> Vec<Arc<Patch>> {
        let gone = self.remove(range);
        self.trampolines.extend(gone.iter().map(|patch| (patch.trampoline, patch.clone())));
        gone
    }

    /// Forgets the trampolines that lie in a range.
    pub fn forget_trampolines(&mut self, range: Range<u64>) {
        self.trampolines.retain(|at, _| !range.contains(at));
    }

    /// The patch of the call that ends at an address, if it was taken back.
    #[must_use]
    pub fn retired(&self, end: u64) -> Option<&Arc<Patch>> {
        let gone = |patch: &Patch| !self.sites.contains_key(&patch.at) && patch.moved.iter().any(|m| m.0 == end);
        self.trampolines.values().find(|patch| gone(patch))
    }

    /// The patch whose jump covers an address.
    #[must_use]
    pub fn at(&self, addr: u64) -> Option<&Arc<Patch>> {
        let (at, patch) = self.sites.range(..=addr).next_back()?;
        (addr - at < JUMP as u64).then_some(patch)
    }

    /// The patch of the call that ends at an address.
    #[must_use]
    pub fn of_call(&self, end: u64) -> Option<&Arc<Patch>> {
        const REACH: u64 = 32;
        let near = self.sites.range(end.saturating_sub(REACH)..end);
        near.map(|(_, patch)| patch).find(|patch| patch.moved.iter().any(|m| m.0 == end))
    }

    /// The patch whose trampoline contains an address.
    #[must_use]
    pub fn trampoline_at(&self, addr: u64) -> Option<&Arc<Patch>> {
        let (at, patch) = self.trampolines.range(..=addr).next_back()?;
        (addr - at < patch.code.len() as u64).then_some(patch)
    }

    /// Whether memory in a range belongs to a trampoline.
    #[must_use]
    pub fn occupied(&self, range: Range<u64>) -> bool {
        self.trampolines
            .range(..range.end)
            .next_back()
            .is_some_and(|(at, patch)| at + patch.code.len() as u64 > range.start)
    }

    /// What a thread that is at `rip` would be at if nothing had been moved.
    #[must_use]
    pub fn to_guest(&self, rip: u64) -> u64 {
        self.trampoline_at(rip).and_then(|p| p.moved.iter().find(|m| m.1 == rip)).map_or(rip, |m| m.0)
    }

    /// Where a thread has to go on that is to go on at `rip`: elsewhere if that has moved.
    #[must_use]
    pub fn to_moved(&self, rip: u64) -> u64 {
        self.at(rip).and_then(|p| p.moved.iter().find(|m| m.0 == rip)).map_or(rip, |m| m.1)
    }
}

/// Code around a `syscall` instruction.
#[derive(Clone, Copy, Debug)]
pub struct Code<'a> {
    /// Address of the first byte.
    pub start: u64,
    /// The bytes, all of one mapping.
    pub bytes: &'a [u8],
}

/// Makes patches.
pub trait Patcher: Send + Sync {
    /// Where the shadow of a text could be, best first.
    fn shadows(&self, text: Range<u64>) -> Vec<Range<u64>>;

    /// A patch for the `syscall` instruction at `site`, with its trampoline in the shadow that is `shadow_at` bytes on from
    /// the text, where `free` says that there is room. `None` if the site can't be patched. `number` is that of the call that
    /// the site has just made, if that is known.
    fn plan(
        &self,
        code: Code<'_>,
        site: u64,
        number: Option<u32>,
        text: Range<u64>,
        shadow: Range<u64>,
        free: &dyn Fn(Range<u64>) -> bool,
    ) -> Option<Patch>;

    /// Whether what looks like a `syscall` instruction at `site` is a system call of the code as it runs, for certain: neither
    /// the middle of another instruction nor data that somebody jumped to.
    fn certain(&self, code: Code<'_>, site: u64) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(at: u64) -> Arc<Patch> {
        let trampoline = at + 0x10_0000;
        let moved = vec![(at, trampoline), (at + 7, trampoline + 20)];
        let (original, jump) = ([0x90; JUMP], [0xe9; JUMP]);
        Arc::new(Patch { at, call: at + 5, original, jump, trampoline, code: vec![0x90; 32], moved })
    }

    #[test]
    fn what_was_put_back_still_counts() {
        let mut patches = Patches::default();
        (0..10).for_each(|n| patches.insert(patch(0x1000 + 0x40 * n)));
        assert_eq!(patches.retire(0x1000..0x1000 + 0x40 * 10).len(), 10);
        // Threads may be in their trampolines.
        assert_eq!((patches.len(), patches.is_empty()), (10, false));
        assert!(patches.at(0x1000).is_none() && patches.retired(0x1007).is_some());
        assert_eq!(patches.to_guest(0x10_1014), 0x1007);
        // The same site again is no other.
        patches.insert(patch(0x1000));
        assert_eq!(patches.len(), 10);
        assert!(patches.retired(0x1007).is_none());
        patches.forget_trampolines(0..u64::MAX);
        assert!(patches.is_empty());
    }
}
