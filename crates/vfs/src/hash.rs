//! The hash of the tables that every walk looks into.
//!
//! Guests choose names, so they must not be able to tell which of them collide: all input is multiplied by secrets that
//! are drawn when the Sentry starts. The standard library's hash is as safe, and takes five times as long.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

/// A map under this hash.
pub type KeyedMap<K, V> = HashMap<K, V, Keyed>;

/// Makes hashers that share this process's secrets.
#[derive(Clone, Copy, Default, Debug)]
pub struct Keyed;

struct Secrets {
    start: u64,
    factors: [u64; 2],
}

static SECRETS: LazyLock<Secrets> = LazyLock::new(|| {
    let draw = |n: u64| RandomState::new().hash_one(n);
    // Factors with bits all over, so that every bit of the input reaches many of the product's.
    let factor = |n: u64| (0..64).map(|i| draw(n + i)).find(|f| (24..=40).contains(&f.count_ones())).unwrap_or(n) | 1;
    Secrets { start: draw(0), factors: [factor(1 << 60 | 0x9e37_79b9), factor(2 << 60 | 0x7f4a_7c15)] }
});

/// Both halves of a product, so that its upper bits count too.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// A hash under way.
#[derive(Debug)]
pub struct KeyedHasher {
    state: u64,
    factors: [u64; 2],
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;

    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher { state: SECRETS.start, factors: SECRETS.factors }
    }
}

impl Hasher for KeyedHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(rest) {
                *to = *from;
            }
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.state = fold(self.state ^ word, self.factors[0]).rotate_left(23);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        fold(self.state, self.factors[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn similar_names_spread() {
        let names: Vec<Vec<u8>> = (0..20_000).map(|i| format!("file-{i}").into_bytes()).collect();
        let hashes: HashSet<u64> = names.iter().map(|name| Keyed.hash_one(name.as_slice())).collect();
        assert_eq!(hashes.len(), names.len());
        for bits in [0, 7, 57] {
            let mut slots = [0u32; 128];
            for hash in &hashes {
                slots[(hash >> bits) as usize % 128] += 1;
            }
            assert!(slots.iter().all(|&n| (60..300).contains(&n)), "{slots:?}");
        }
    }

    #[test]
    fn every_byte_counts() {
        let differ = |a: &[u8], b: &[u8]| assert_ne!(Keyed.hash_one(a), Keyed.hash_one(b));
        differ(b"", b"\0");
        differ(b"a", b"a\0");
        differ(b"12345678", b"12345678\0");
        differ(b"123456789", b"123456780");
        differ(b"abcdefghABCDEFGH", b"ABCDEFGHabcdefgh");
        assert_eq!(Keyed.hash_one(b"same".as_slice()), Keyed.hash_one(b"same".to_vec().into_boxed_slice()));
    }
}
