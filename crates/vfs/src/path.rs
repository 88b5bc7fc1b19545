//! Paths as text (`d_path`, getcwd(2)).

use crate::{Dentry, PathRef};
use std::sync::Arc;

/// A path, and whether its text means anything to the one who asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathText {
    /// The path from the root, or from as far up as it hangs together.
    pub bytes: Vec<u8>,
    /// Whether it starts at the root asked for.
    pub reachable: bool,
    /// Whether the name was removed.
    pub deleted: bool,
}

/// The path of `place` as seen from `root`.
#[must_use]
pub fn path_text(place: &PathRef, root: &PathRef) -> PathText {
    let deleted = place.dentry.is_deleted();
    let anonymous = place.dentry.parent().is_none() && !Arc::ptr_eq(&place.dentry, place.mount.root());
    if anonymous {
        return PathText { bytes: place.dentry.name().into(), reachable: true, deleted };
    }
    // Built backwards, each name reversed, and turned around at the end.
    let mut reversed = Vec::new();
    let mut at = place.clone();
    let reachable = loop {
        if at.same(root) {
            break true;
        }
        if Arc::ptr_eq(&at.dentry, at.mount.root()) {
            let Some(below) = at.mount.parent() else { break false };
            at = below;
            continue;
        }
        match prepend(&at.dentry, &mut reversed) {
            Some(parent) => at.dentry = parent,
            None => break false,
        }
    };
    if reversed.is_empty() {
        reversed.push(b'/');
    }
    reversed.reverse();
    PathText { bytes: reversed, reachable, deleted }
}

fn prepend(dentry: &Dentry, reversed: &mut Vec<u8>) -> Option<Arc<Dentry>> {
    let parent = dentry.parent()?;
    dentry.with_name(|name| reversed.extend(name.iter().rev()));
    reversed.push(b'/');
    Some(parent)
}

/// The path as `/proc/PID/fd/N`, `/proc/PID/maps` and the like show it.
#[must_use]
pub fn path_of(place: &PathRef, root: &PathRef) -> Vec<u8> {
    let text = path_text(place, root);
    let mut bytes = text.bytes;
    if text.deleted {
        bytes.extend_from_slice(b" (deleted)");
    }
    bytes
}

/// The path of `dentry` within its own file system.
pub(crate) fn path_within(dentry: &Arc<Dentry>) -> Vec<u8> {
    let mut reversed = Vec::new();
    let mut at = dentry.clone();
    while let Some(parent) = prepend(&at, &mut reversed) {
        at = parent;
    }
    if reversed.is_empty() {
        reversed.push(b'/');
    }
    reversed.reverse();
    reversed
}
