//! Tables of objects by id and by key.
//!
//! An id is an index and, above it, a sequence number, so that an id that was removed does not soon name another object.

use abi::Errno;
use abi::ipc::IPC_PRIVATE;
use std::collections::{BTreeMap, HashMap};

/// Bits of an id that are the index.
const INDEX_BITS: u32 = 15;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;

struct Slot<T> {
    seq: u16,
    key: i32,
    object: T,
}

impl<T> Slot<T> {
    fn id(&self, index: u32) -> i32 {
        (u32::from(self.seq) << INDEX_BITS | index) as i32
    }
}

/// A table.
pub(crate) struct Ids<T> {
    slots: BTreeMap<u32, Slot<T>>,
    keys: HashMap<i32, u32>,
    seq: u16,
    last: u32,
    max: usize,
}

impl<T: Clone> Ids<T> {
    /// A table for at most `max` objects.
    pub fn new(max: usize) -> Ids<T> {
        Ids { slots: BTreeMap::new(), keys: HashMap::new(), seq: 0, last: 0, max }
    }

    /// The object of an id.
    pub fn find(&self, id: i32) -> Option<T> {
        let id = u32::try_from(id).ok()?;
        let slot = self.slots.get(&(id & INDEX_MASK))?;
        (u32::from(slot.seq) == id >> INDEX_BITS).then(|| slot.object.clone())
    }

    /// The object of a key.
    pub fn by_key(&self, key: i32) -> Option<T> {
        let index = self.keys.get(&key)?;
        self.slots.get(index).map(|slot| slot.object.clone())
    }

    /// The object at an index, for the `*_STAT` commands.
    pub fn at(&self, index: i32) -> Option<T> {
        let index = u32::try_from(index).ok()? & INDEX_MASK;
        self.slots.get(&index).map(|slot| slot.object.clone())
    }

    /// Adds an object that is made once its id is known. Returns it.
    pub fn add(&mut self, key: i32, make: impl FnOnce(i32, u16) -> T) -> Result<T, Errno> {
        if self.slots.len() >= self.max {
            return Err(Errno::ENOSPC);
        }
        let taken = self.slots.keys().zip(0u32..).take_while(|(index, at)| **index == *at).count();
        let index = taken as u32;
        if !self.slots.is_empty() || self.seq > 0 || self.last > 0 {
            // The number rises whenever an index may have been used before; 2^16 of them make a positive id.
            self.seq = if index <= self.last { self.seq.wrapping_add(1) } else { self.seq };
        }
        self.last = index;
        let (seq, id) = (self.seq, (u32::from(self.seq) << INDEX_BITS | index) as i32);
        let object = make(id, seq);
        self.slots.insert(index, Slot { seq, key, object: object.clone() });
        if key != IPC_PRIVATE {
            self.keys.insert(key, index);
        }
        Ok(object)
    }

    /// Takes an object out.
    pub fn remove(&mut self, id: i32) -> Option<T> {
        self.find(id)?;
        let index = u32::try_from(id).ok()? & INDEX_MASK;
        let slot = self.slots.remove(&index)?;
        self.keys.remove(&slot.key);
        Some(slot.object)
    }

    /// Replaces an object, and takes its key away.
    pub fn hide(&mut self, id: i32, object: T) {
        let Ok(index) = u32::try_from(id).map(|id| id & INDEX_MASK) else { return };
        if let Some(slot) = self.slots.get_mut(&index).filter(|slot| slot.id(index) == id) {
            self.keys.remove(&slot.key);
            slot.key = IPC_PRIVATE;
            slot.object = object;
        }
    }

    /// Forgets the objects that `keep` does not name.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let keys = &mut self.keys;
        self.slots.retain(|_, slot| {
            let kept = keep(&slot.object);
            if !kept {
                keys.remove(&slot.key);
            }
            kept
        });
    }

    /// All objects.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.values().map(|slot| &slot.object)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// The highest index in use, 0 if there is none.
    pub fn highest(&self) -> u64 {
        self.slots.last_key_value().map_or(0, |(index, _)| u64::from(*index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_not_soon_reused() {
        let mut ids: Ids<i32> = Ids::new(3);
        let add = |ids: &mut Ids<i32>, key| ids.add(key, |id, _| id);
        let (a, b) = (add(&mut ids, 7).unwrap(), add(&mut ids, 0).unwrap());
        assert_eq!((a, b, ids.by_key(7), ids.by_key(0)), (0, 1, Some(a), None));
        assert_eq!((ids.remove(a), ids.remove(a), ids.find(a), ids.by_key(7)), (Some(a), None, None, None));
        let again = add(&mut ids, 7).unwrap();
        assert!(again != a && ids.find(a).is_none() && ids.find(again) == Some(again));
        add(&mut ids, 9).unwrap();
        assert_eq!(add(&mut ids, 8), Err(Errno::ENOSPC));
        assert_eq!((ids.highest(), ids.len()), (2, 3));
        ids.hide(again, -1);
        assert_eq!((ids.by_key(7), ids.find(again)), (None, Some(-1)));
    }
}
