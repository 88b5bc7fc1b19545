//! Which parts of an address space are mapped on the host: `mprotect` must not meet a hole, for it stops there.

use core::ops::Range;
use std::collections::BTreeMap;

/// A set of addresses, as disjoint ranges that do not touch.
#[derive(Default, Debug)]
pub struct Ranges {
    ends: BTreeMap<u64, u64>,
}

impl Ranges {
    /// Adds a range.
    pub fn insert(&mut self, mut range: Range<u64>) {
        while let Some((&start, &end)) = self.ends.range(..=range.end).next_back() {
            if end < range.start {
                break;
            }
            range = range.start.min(start)..range.end.max(end);
            self.ends.remove(&start);
        }
        self.ends.insert(range.start, range.end);
    }

    /// Takes a range out.
    pub fn remove(&mut self, range: Range<u64>) {
        while let Some((&start, &end)) = self.ends.range(..range.end).next_back() {
            if end <= range.start {
                break;
            }
            self.ends.remove(&start);
            if end > range.end {
                self.ends.insert(range.end, end);
            }
            if start < range.start {
                self.ends.insert(start, range.start);
            }
        }
    }

    /// The least range that holds all parts of `range` that are in the set, if there are any.
    pub fn span(&self, range: Range<u64>) -> Option<Range<u64>> {
        let first = self.within(range.clone()).next()?;
        let end = self.ends.range(..range.end).next_back().map(|(_, &end)| end.min(range.end))?;
        Some(first.start..end)
    }

    /// The parts of `range` that are in the set.
    pub fn within(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let first = self.ends.range(..=range.start).next_back().map_or(range.start, |(&start, _)| start);
        self.ends
            .range(first..range.end)
            .map(move |(&start, &end)| start.max(range.start)..end.min(range.end))
            .filter(|part| !part.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_bitmap() {
        let mut ranges = Ranges::default();
        let mut bits = [false; 64];
        let mut state = 1u64;
        let mut next = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        for _ in 0..2000 {
            let start = next(63);
            let end = start + 1 + next(64 - start - 1).min(63 - start);
            let add = next(2) == 0;
            if add {
                ranges.insert(start..end);
            } else {
                ranges.remove(start..end);
            }
            bits[start as usize..end as usize].fill(add);
            let mut seen = [false; 64];
            let mut last = None;
            for part in ranges.within(0..64) {
                assert!(last.is_none_or(|end| end < part.start));
                last = Some(part.end);
                seen[part.start as usize..part.end as usize].fill(true);
            }
            assert_eq!(seen, bits);
            let (from, to) = (next(32), 32 + next(32));
            let set = |bits: &[bool], last: bool| {
                if last { bits.iter().rposition(|bit| *bit) } else { bits.iter().position(|bit| *bit) }
            };
            let part = &bits[from as usize..to as usize];
            let span = set(part, false).zip(set(part, true));
            let span = span.map(|(first, last)| from + first as u64..from + last as u64 + 1);
            assert_eq!(ranges.span(from..to), span);
            let count: u64 = ranges.within(from..to).map(|part| part.end - part.start).sum();
            assert_eq!(count, bits[from as usize..to as usize].iter().filter(|bit| **bit).count() as u64);
        }
    }
}
