//! What a listing tells of the files that are opened next.
//!
//! Programs that read a tree list a directory and then open its files, in the order of the list. Once a file of an
//! exclusive tree was opened so, the lookup of the next opens it too, and has its attributes from the descriptor: that
//! costs the host less than to walk to the name twice. Only what was just listed as a regular file is opened.

use super::calls::Key;
use lock::{Mutex, rank};
use std::os::fd::OwnedFd;

/// No more bytes of names than this are remembered of a directory, of which guests may have many open.
const NAMES_MAX: usize = 32 << 10;
/// So many names may be passed over.
const SKIPPED: usize = 8;

/// The names of a directory's regular files, in the order of its listing.
#[derive(Default)]
pub(super) struct Names {
    /// Each after a byte that is its length.
    bytes: Vec<u8>,
}

impl Names {
    pub(super) fn push(&mut self, name: &[u8]) {
        if let Ok(len) = u8::try_from(name.len())
            && self.bytes.len() + name.len() < NAMES_MAX
        {
            self.bytes.push(len);
            self.bytes.extend_from_slice(name);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The name at a position, and the position of the one after it.
    fn at(&self, position: usize) -> Option<(&[u8], usize)> {
        let start = position.checked_add(1)?;
        let end = start.checked_add(usize::from(*self.bytes.get(position)?))?;
        Some((self.bytes.get(start..end)?, end))
    }
}

struct State {
    names: Names,
    /// Where the name is that is probably looked for next.
    next: usize,
    /// Whether files are opened that were found.
    opening: bool,
    /// The file found last, opened but not asked for yet.
    ahead: Option<(Key, OwnedFd)>,
}

/// A directory that was listed.
pub(super) struct Listed {
    /// When, in milliseconds since the epoch.
    at: i64,
    state: Mutex<State>,
}

impl Listed {
    pub(super) fn new(names: Names, now: i64) -> Listed {
        let state = State { names, next: 0, opening: false, ahead: None };
        Listed { at: now, state: Mutex::new(rank::LEAF, state) }
    }

    /// When it was listed.
    pub(super) fn at(&self) -> i64 {
        self.at
    }

    /// Whether a file that is looked for should be opened at once: it was listed next, and those before it were opened.
    pub(super) fn expects(&self, name: &[u8]) -> bool {
        let unused;
        let mut state = self.state.lock();
        unused = state.ahead.take();
        state.opening &= unused.is_none();
        let mut position = state.next;
        for _ in 0..SKIPPED {
            let Some((listed, after)) = state.names.at(position) else { break };
            position = after;
            if listed == name {
                state.next = after;
                return state.opening;
            }
        }
        false
    }

    /// Keeps a file that was opened.
    pub(super) fn keep(&self, key: Key, fd: OwnedFd) {
        let old = self.state.lock().ahead.replace((key, fd));
        drop(old);
    }

    /// A file is opened: its descriptor, if it is there already.
    pub(super) fn take(&self, key: Key) -> Option<OwnedFd> {
        let mut state = self.state.lock();
        state.opening = true;
        state.ahead.take_if(|(ahead, _)| *ahead == key).map(|(_, fd)| fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn files_are_opened_ahead_for_as_long_as_that_is_used() {
        let mut names = Names::default();
        ["a", "b", "c", "d", "e", "f"].iter().for_each(|name| names.push(name.as_bytes()));
        names.push(&[b'x'; 256]);
        let listed = Listed::new(names, 0);
        let key = |ino| Key { dev: 1, ino };
        assert!(!listed.expects(b"a"));
        assert!(listed.take(key(1)).is_none());
        assert!(listed.expects(b"c"));
        listed.keep(key(3), file());
        assert!(listed.take(key(4)).is_none());
        assert!(listed.take(key(3)).is_some());
        // Not in the order of the listing.
        assert!(!listed.expects(b"a"));
        assert!(!listed.expects(&[b'x'; 256]));
        assert!(listed.expects(b"d"));
        listed.keep(key(4), file());
        // The last was not asked for, so that this is not opened.
        assert!(!listed.expects(b"e"));
        assert!(listed.take(key(4)).is_none());
        assert!(listed.expects(b"f"));
    }
}
