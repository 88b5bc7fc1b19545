//! What the host said of files that were only asked for their attributes.
//!
//! A program that looks whether a tree has changed asks for each file's attributes, once, and for nothing else: no inode is
//! made of those. The last answers are kept for a moment, since others open what they have asked for. Who asks for the same
//! again probably does so often, and an inode remembers.

use super::calls::Key;
use super::node::is_believed;
use std::hash::BuildHasher;
use vfs::Attr;
use vfs::hash::Keyed;

/// So many answers are kept: some for each of the threads that ask at once.
const ANSWERS: usize = 64;
/// Words of bits that say what was asked for. Two names that share a bit only cost an inode that was not wanted.
const WORDS: usize = 2048;
/// Begins anew after so many names.
const NAMES_MAX: usize = 16 * WORDS;

/// An answer.
pub(super) struct Glance {
    /// The directory, and the name there.
    pub dir: Key,
    pub name: Box<[u8]>,
    /// What the name stands for.
    pub key: Key,
    pub attr: Attr,
    /// When that was, in milliseconds since the epoch.
    pub at: i64,
}

/// What has been asked for, and the last answers.
pub(super) struct Glances {
    /// Each where its name's hash has it.
    answers: [Option<Glance>; ANSWERS],
    /// None before the first.
    asked: Vec<u64>,
    names: usize,
}

impl Default for Glances {
    fn default() -> Glances {
        Glances { answers: [const { None }; ANSWERS], asked: Vec::new(), names: 0 }
    }
}

impl Glances {
    /// Takes note of a name that is asked for; returns whether it was asked for before.
    pub(super) fn ask(&mut self, dir: Key, name: &[u8]) -> bool {
        if self.asked.is_empty() || self.names >= NAMES_MAX {
            self.asked = vec![0; WORDS];
            self.names = 0;
        }
        let hash = Keyed.hash_one((dir, name));
        let bit = 1 << (hash & 63);
        let Some(word) = self.asked.get_mut((hash >> 6) as usize % WORDS) else { return true };
        let before = *word & bit != 0;
        *word |= bit;
        self.names += usize::from(!before);
        before
    }

    fn answer(&mut self, dir: Key, name: &[u8]) -> Option<&mut Option<Glance>> {
        self.answers.get_mut(Keyed.hash_one((dir, name)) as usize % ANSWERS)
    }

    /// Keeps an answer for a moment.
    pub(super) fn put(&mut self, glance: Glance) {
        if let Some(answer) = self.answer(glance.dir, &glance.name) {
            *answer = Some(glance);
        }
    }

    /// What was said of a name, if that is still believed.
    pub(super) fn take(&mut self, dir: Key, name: &[u8], now: i64) -> Option<Glance> {
        self.answer(dir, name)?
            .take_if(|glance| glance.dir == dir && *glance.name == *name && is_believed(glance.at, now))
    }
}

#[cfg(test)]
mod tests {
    use super::super::calls;
    use super::*;

    fn key(ino: u64) -> Key {
        Key { dev: 1, ino }
    }

    #[test]
    fn most_names_are_new_once() {
        let mut glances = Glances::default();
        let names: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
        let mut before = || names.iter().filter(|name| glances.ask(key(7), name.as_bytes())).count();
        assert!(before() < 500);
        assert_eq!(before(), 5000);
        assert!((0..2 * NAMES_MAX).all(|n| {
            glances.ask(key(8), n.to_string().as_bytes());
            glances.names <= NAMES_MAX
        }));
    }

    #[test]
    fn answers_are_of_their_name_and_moment() {
        let file = std::fs::File::open("/dev/null").expect("/dev/null");
        let attr = calls::attr(&calls::stat_fd(&file).expect("its attributes"), 0);
        let mut glances = Glances::default();
        let put = |glances: &mut Glances| {
            glances.put(Glance { dir: key(7), name: (*b"a").into(), key: key(9), attr, at: 5000 });
        };
        put(&mut glances);
        assert!(glances.take(key(8), b"a", 5001).is_none() && glances.take(key(7), b"b", 5001).is_none());
        assert!(glances.take(key(7), b"a", 5001).is_some_and(|glance| glance.key == key(9)));
        assert!(glances.take(key(7), b"a", 5001).is_none());
        put(&mut glances);
        assert!(glances.take(key(7), b"a", 7000).is_none());
    }
}
