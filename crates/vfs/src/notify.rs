//! Notification of what happens to files (inotify(7)): marks on inodes, and the events that operations raise.
//!
//! While nobody watches anything, each event costs one load. Locks: an inode's marks and an instance's queue are both
//! of the last rank and never held together.

use crate::inotify::Inotify;
use crate::{Dentry, FileType, Inode, OpenFile, PathRef};
use abi::raw::general as c;
use lock::{Mutex, rank};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// How many marks there are.
static MARKS: AtomicUsize = AtomicUsize::new(0);
/// Ties the two events of a rename together.
static COOKIE: AtomicU32 = AtomicU32::new(1);

/// One instance's interest in one inode.
pub(crate) struct Mark {
    pub instance: Weak<Inotify>,
    pub wd: i32,
    pub mask: u32,
}

/// The marks on an inode.
pub(crate) struct Marks {
    pub list: Mutex<Vec<Mark>>,
}

impl Marks {
    pub(crate) fn of(inode: &Arc<dyn Inode>) -> Option<Arc<Marks>> {
        inode.common().marks(|| Arc::new(Marks { list: Mutex::new(rank::LEAF, Vec::new()) }))
    }

    pub(crate) fn add(list: &mut Vec<Mark>, mark: Mark) {
        MARKS.fetch_add(1, Ordering::Relaxed);
        list.push(mark);
    }

    /// Takes off the mark of `instance`.
    pub(crate) fn remove(inode: &Arc<dyn Inode>, instance: &Weak<Inotify>, wd: i32) {
        let Some(marks) = inode.common().peek_marks::<Marks>() else { return };
        let mut list = marks.list.lock();
        if let Some(at) = list.iter().position(|m| m.wd == wd && Weak::ptr_eq(&m.instance, instance)) {
            list.swap_remove(at);
            MARKS.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Whether anybody watches anything.
#[must_use]
pub fn active() -> bool {
    MARKS.load(Ordering::Relaxed) != 0
}

/// Tells those who watch `inode`.
fn send(inode: &Arc<dyn Inode>, event: u32, name: &[u8], cookie: u32, unlinked: bool) {
    let Some(marks) = inode.common().peek_marks::<Marks>() else { return };
    let mut told = Vec::new();
    for mark in marks.list.lock().iter() {
        let wanted = mark.mask & event & c::IN_ALL_EVENTS != 0;
        if wanted && !(unlinked && mark.mask & c::IN_EXCL_UNLINK != 0) {
            told.push((mark.instance.clone(), mark.wd, mark.mask & c::IN_ONESHOT != 0));
        }
    }
    for (instance, wd, once) in told {
        if let Some(instance) = instance.upgrade() {
            instance.deliver(wd, event, cookie, name);
            if once {
                instance.drop_watch(wd);
            }
        }
    }
}

/// An event on what a name stands for: told to who watches the directory, then to who watches the inode.
fn on_dentry(dentry: &Dentry, event: u32) {
    let event = if dentry.is_dir() { event | c::IN_ISDIR } else { event };
    if let Some(parent) = dentry.parent() {
        send(parent.inode(), event, &dentry.name(), 0, dentry.is_deleted());
    }
    send(dentry.inode(), event, b"", 0, false);
}

macro_rules! dentry_events {
    ($($(#[$doc:meta])* $name:ident $event:ident;)*) => {
        $($(#[$doc])* pub fn $name(dentry: &Dentry) {
            if active() {
                on_dentry(dentry, c::$event);
            }
        })*
    };
}

dentry_events! {
    /// It was opened.
    opened IN_OPEN;
    /// It was read from.
    accessed IN_ACCESS;
    /// It was written to or truncated.
    modified IN_MODIFY;
    /// Its attributes changed.
    attributes IN_ATTRIB;
}

/// The attributes of an inode changed that may have no name any more.
pub(crate) fn attributes_of(inode: &Arc<dyn Inode>) {
    if active() {
        send(inode, c::IN_ATTRIB, b"", 0, false);
    }
}

fn on_name(parent: &PathRef, child: &Dentry, event: u32) {
    if active() {
        let event = if child.is_dir() { event | c::IN_ISDIR } else { event };
        send(parent.inode(), event, &child.name(), 0, false);
    }
}

pub(crate) fn created(parent: &PathRef, child: &Dentry) {
    on_name(parent, child, c::IN_CREATE);
}

pub(crate) fn deleted(parent: &PathRef, child: &Dentry) {
    on_name(parent, child, c::IN_DELETE);
}

pub(crate) fn moved(old: &PathRef, old_name: &[u8], new: &PathRef, new_name: &[u8], child: &Dentry) {
    if !active() {
        return;
    }
    let dir = if child.is_dir() { c::IN_ISDIR } else { 0 };
    let cookie = COOKIE.fetch_add(1, Ordering::Relaxed);
    send(old.inode(), c::IN_MOVED_FROM | dir, old_name, cookie, false);
    send(new.inode(), c::IN_MOVED_TO | dir, new_name, cookie, false);
    send(child.inode(), c::IN_MOVE_SELF, b"", 0, false);
}

/// A description was closed.
pub(crate) fn closed(file: &OpenFile) {
    let event = if file.writable() { c::IN_CLOSE_WRITE } else { c::IN_CLOSE_NOWRITE };
    on_dentry(&file.path().dentry, event);
}

/// The last user of a removed name is gone; perhaps the inode went with it.
pub(crate) fn name_gone(inode: &Arc<dyn Inode>, kind: FileType) {
    let Some(marks) = inode.common().peek_marks::<Marks>() else { return };
    let gone = kind == FileType::Directory || inode.attr().is_ok_and(|attr| attr.nlink == 0);
    if !gone {
        return;
    }
    send(inode, c::IN_DELETE_SELF, b"", 0, false);
    let watches: Vec<_> = marks.list.lock().iter().map(|m| (m.instance.clone(), m.wd)).collect();
    for (instance, wd) in watches {
        if let Some(instance) = instance.upgrade() {
            instance.drop_watch(wd);
        }
    }
}
