//! A directory's entries: found by name, listed in the order of their making.
//!
//! Every entry has a number, its *cookie*, that is never used again in this directory; positions of a listing are
//! cookies, so a listing neither skips nor repeats entries that stay, whatever comes and goes meanwhile.

use super::Node;
use abi::Errno;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use vfs::{DirEmit, FileType};

/// Positions 0 and 1 are `.` and `..`.
const FIRST_COOKIE: u64 = 2;

/// Names are shared by both maps.
type Name = Arc<[u8]>;

pub(crate) struct Entries {
    by_name: HashMap<Name, u64>,
    by_cookie: BTreeMap<u64, (Name, Arc<Node>)>,
    next_cookie: u64,
    /// `None` for the root and once removed.
    pub parent: Option<Weak<Node>>,
    /// Removed: nothing may be created in it any more.
    pub dead: bool,
}

impl Entries {
    pub(crate) fn new(parent: Option<Weak<Node>>) -> Entries {
        Entries { by_name: HashMap::new(), by_cookie: BTreeMap::new(), next_cookie: FIRST_COOKIE, parent, dead: false }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&Arc<Node>> {
        let cookie = self.by_name.get(name)?;
        self.by_cookie.get(cookie).map(|(_, node)| node)
    }

    /// Adds a name that is not there yet.
    pub(crate) fn insert(&mut self, name: &[u8], node: Arc<Node>) {
        let name: Name = name.into();
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        self.by_name.insert(name.clone(), cookie);
        self.by_cookie.insert(cookie, (name, node));
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<Arc<Node>> {
        let cookie = self.by_name.remove(name)?;
        self.by_cookie.remove(&cookie).map(|(_, node)| node)
    }

    /// Lets a name stand for another node, at the same place of the listing.
    pub(crate) fn replace(&mut self, name: &[u8], node: Arc<Node>) -> Option<Arc<Node>> {
        let cookie = self.by_name.get(name)?;
        let (_, old) = self.by_cookie.get_mut(cookie)?;
        Some(std::mem::replace(old, node))
    }

    /// Takes everything out.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Arc<Node>> + use<> {
        self.by_name.clear();
        std::mem::take(&mut self.by_cookie).into_values().map(|(_, node)| node)
    }

    /// Lists from `pos` on.
    pub(crate) fn list(&self, own_ino: u64, mut pos: u64, emit: &mut DirEmit<'_>) -> Result<u64, Errno> {
        if self.dead {
            return Err(Errno::ENOENT);
        }
        if pos == 0 {
            if !emit(b".", own_ino, FileType::Directory, 1) {
                return Ok(pos);
            }
            pos = 1;
        }
        if pos == 1 {
            let parent = self.parent.as_ref().and_then(Weak::upgrade).map_or(own_ino, |p| p.ino());
            if !emit(b"..", parent, FileType::Directory, FIRST_COOKIE) {
                return Ok(pos);
            }
            pos = FIRST_COOKIE;
        }
        for (cookie, (name, node)) in self.by_cookie.range(pos..) {
            if !emit(name, node.ino(), node.kind(), cookie + 1) {
                return Ok(pos);
            }
            pos = cookie + 1;
        }
        Ok(pos)
    }
}
