//! A set of slots of the input ring.

use crate::{RING, at};

#[derive(Clone, Debug)]
pub(crate) struct SlotSet([u64; RING / 64]);

impl Default for SlotSet {
    fn default() -> Self {
        Self([0; RING / 64])
    }
}

impl SlotSet {
    /// Word and bit of the slot at a position in the stream.
    fn place(position: usize) -> (usize, u64) {
        let slot = at(position);
        (slot / 64, 1 << (slot % 64))
    }

    pub(crate) fn insert(&mut self, position: usize) {
        let (word, bit) = Self::place(position);
        self.0[word] |= bit;
    }

    pub(crate) fn remove(&mut self, position: usize) {
        let (word, bit) = Self::place(position);
        self.0[word] &= !bit;
    }

    pub(crate) fn contains(&self, position: usize) -> bool {
        let (word, bit) = Self::place(position);
        self.0[word] & bit != 0
    }

    pub(crate) fn clear(&mut self) {
        self.0 = [0; RING / 64];
    }
}
