//! What forks of a program turn out to need, learnt from earlier ones.
//!
//! Most forks touch a few pages and end, or execute another program. The first few get all that their parent had, as
//! few programs fork more often; the next gets nothing, and what it asks for is noted; a later one begins with the
//! pages mapped that earlier ones asked for, and with copies of those that they or their parents wrote to. All else is
//! a fault away. A program and its forks share what they learnt. Locks: `LEAF`.

use crate::{MemoryManager, page};
use core::ops::Range;
use lock::{Mutex, rank};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// Pages of each kind at most. A program whose forks need more does not learn any more: what is left out costs faults.
const MOST: usize = 256;

/// So many forks get everything: what each costs more is a fifth of what it costs to learn.
const FIRST: u32 = 4;

/// A fork that has asked for so many lives longer than most.
const BRIEF: u32 = 24;

#[derive(Default)]
struct Pages {
    touched: BTreeSet<u64>,
    written: BTreeSet<u64>,
    trampolines: bool,
    forks: u32,
}

/// What is known of a program's forks.
pub(crate) struct Habit(Mutex<Pages>);

impl Default for Habit {
    fn default() -> Habit {
        Habit(Mutex::new(rank::LEAF, Pages::default()))
    }
}

fn add(pages: &mut BTreeSet<u64>, addr: u64) {
    if pages.len() < MOST {
        pages.insert(page(addr));
    }
}

fn within(pages: &BTreeSet<u64>, range: Range<u64>) -> Vec<u64> {
    pages.range(page(range.start)..range.end).copied().collect()
}

impl Habit {
    /// Another fork. Says whether it is to begin with what is known.
    pub fn fork(&self) -> bool {
        let mut pages = self.0.lock();
        pages.forks = pages.forks.saturating_add(1);
        pages.forks > FIRST
    }

    /// A fork needed this page.
    pub fn touched(&self, addr: u64) {
        add(&mut self.0.lock().touched, addr);
    }

    /// One side of a fork wrote to this page.
    pub fn written(&self, addr: u64) {
        add(&mut self.0.lock().written, addr);
    }

    /// A fork ran a patched system call site.
    pub fn called(&self) {
        self.0.lock().trampolines = true;
    }

    /// The pages of a range to be mapped from the start.
    pub fn wanted(&self, range: Range<u64>) -> Vec<u64> {
        let pages = self.0.lock();
        let mut wanted = within(&pages.touched, range.clone());
        wanted.extend(within(&pages.written, range));
        wanted
    }

    /// Whether a range is to be copied.
    pub fn copies(&self, range: Range<u64>) -> bool {
        self.0.lock().written.range(page(range.start)..range.end).next().is_some()
    }

    /// The pages of a range for which it is.
    pub fn to_copy(&self, range: Range<u64>) -> Vec<u64> {
        within(&self.0.lock().written, range)
    }

    /// Whether trampolines are to be mapped from the start.
    pub fn wants_trampolines(&self) -> bool {
        self.0.lock().trampolines
    }
}

impl MemoryManager {
    /// Takes note of a guest's fault that has been seen to.
    pub(crate) fn learn(&self, addr: u64) {
        if self.learns {
            self.habit.touched(addr);
            self.asked.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether it is a fork that may be over soon, as far as one can tell: to give it more than it asks for is not
    /// worth it.
    pub(crate) fn brief(&self) -> bool {
        self.learns && self.asked.load(Ordering::Relaxed) < BRIEF
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::PAGE_SIZE;

    #[test]
    fn what_was_touched_or_written_is_wanted() {
        let habit = Habit::default();
        habit.touched(0x5123);
        habit.written(0x9000);
        assert_eq!(habit.wanted(0x5000..0x9001), [0x5000, 0x9000]);
        assert_eq!(habit.to_copy(0..u64::MAX), [0x9000]);
        assert!(habit.wanted(0x6000..0x9000).is_empty());
        (0..1000).for_each(|n| habit.touched(n * PAGE_SIZE));
        assert_eq!(habit.wanted(0..u64::MAX).len(), MOST + 1);
    }
}
