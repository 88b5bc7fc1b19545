//! The Sentry's own views of host files that guests have mapped.
//!
//! Strings and tables that programs pass to system calls often lie in the read-only pages of their executables, so a few
//! windows are kept mapped. A page that a truncation took away faults, and the copy reports it.

//!
//! Each address space has its own, and lets go of them when it unmaps files. Those that can't be written are shared by all
//! ([`Views`]), since every process of a program passes the same strings: to map one, to fault its page in and to unmap it, for which
//! all cores must be told, takes 25 µs. Locks: `LEAF`.

use abi::Errno;
use host::window::Window;
use lock::{Mutex, rank};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

/// Size and alignment of a window.
const SIZE: u64 = 256 << 10;
/// Most windows kept per address space.
const KEPT: usize = 16;
/// Most windows kept for all. They hold address space, and files that may have been deleted.
const SHARED: usize = 32;

struct Entry {
    fd: Arc<OwnedFd>,
    offset: u64,
    writable: bool,
    window: Arc<Window>,
}

/// A few windows, replaced in turn.
#[derive(Default)]
pub(crate) struct Windows {
    entries: Vec<Entry>,
    next: usize,
}

/// A window of a file that is in use as long as somebody else has its descriptor.
struct SharedEntry {
    fd: Weak<OwnedFd>,
    offset: u64,
    window: Arc<Window>,
}

#[derive(Default)]
struct Shared {
    entries: Vec<SharedEntry>,
    next: usize,
}

/// Read-only windows that the address spaces of a sandbox share.
pub struct Views(Mutex<Shared>);

impl Views {
    /// None yet.
    #[must_use]
    pub fn new() -> Arc<Views> {
        Arc::new(Views(Mutex::new(rank::LEAF, Shared::default())))
    }

    /// The window at an aligned offset of a host file. What takes whose place goes to `old`.
    fn window(&self, fd: &Arc<OwnedFd>, base: u64, old: &mut Vec<Arc<Window>>) -> Result<Arc<Window>, Errno> {
        let known = |e: &&SharedEntry| e.offset == base && core::ptr::eq(e.fd.as_ptr(), Arc::as_ptr(fd));
        if let Some(entry) = self.0.lock().entries.iter().find(known) {
            return Ok(entry.window.clone());
        }
        let window = Arc::new(Window::new(fd.as_fd(), base, SIZE as usize, false)?);
        let entry = SharedEntry { fd: Arc::downgrade(fd), offset: base, window: window.clone() };
        let mut shared = self.0.lock();
        let Shared { entries, next } = &mut *shared;
        let unused = entries.iter().position(|e| e.fd.strong_count() == 0);
        if unused.is_none() && entries.len() < SHARED {
            entries.push(entry);
            return Ok(window);
        }
        let at = unused.unwrap_or_else(|| {
            *next = next.wrapping_add(1);
            *next % SHARED
        });
        if let Some(slot) = entries.get_mut(at) {
            old.push(core::mem::replace(slot, entry).window);
        }
        Ok(window)
    }
}

/// Bytes of a window.
pub(crate) struct View {
    pub window: Arc<Window>,
    /// Of the byte asked for.
    pub offset: usize,
    /// To the end of the window.
    pub len: usize,
}

impl Windows {
    /// The window that has the byte at `offset` of a host file.
    pub fn view(
        &mut self,
        views: &Views,
        fd: &Arc<OwnedFd>,
        offset: u64,
        writable: bool,
        old: &mut Vec<Arc<Window>>,
    ) -> Result<View, Errno> {
        let base = offset & !(SIZE - 1);
        let view = |window: &Arc<Window>| View {
            window: window.clone(),
            offset: (offset - base) as usize,
            len: (SIZE - (offset - base)) as usize,
        };
        let known = |e: &&Entry| Arc::ptr_eq(&e.fd, fd) && e.offset == base && (e.writable || !writable);
        if let Some(entry) = self.entries.iter().find(known) {
            return Ok(view(&entry.window));
        }
        let window = match writable {
            true => Arc::new(Window::new(fd.as_fd(), base, SIZE as usize, true)?),
            false => views.window(fd, base, old)?,
        };
        let result = view(&window);
        let entry = Entry { fd: fd.clone(), offset: base, writable, window };
        if self.entries.len() < KEPT {
            self.entries.push(entry);
        } else if let Some(slot) = self.entries.get_mut(self.next % KEPT) {
            old.push(core::mem::replace(slot, entry).window);
            self.next = self.next.wrapping_add(1);
        }
        Ok(result)
    }

    /// Forgets all.
    pub fn clear(&mut self, old: &mut Vec<Arc<Window>>) {
        old.extend(self.entries.drain(..).map(|e| e.window));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    fn file() -> Arc<OwnedFd> {
        let fd = memfd_create("window", MemfdFlags::CLOEXEC).expect("memfd");
        ftruncate(&fd, 2 * SIZE).expect("ftruncate");
        Arc::new(fd)
    }

    #[test]
    fn address_spaces_share_what_they_only_read() {
        let (views, fd, mut old) = (Views::new(), file(), Vec::new());
        let (mut one, mut other) = (Windows::default(), Windows::default());
        let mut view = |windows: &mut Windows, at: u64, writable: bool| {
            windows.view(&views, &fd, at, writable, &mut old).expect("a window").window
        };
        let first = view(&mut one, 5, false);
        assert!(Arc::ptr_eq(&first, &view(&mut other, SIZE - 1, false)));
        assert!(!Arc::ptr_eq(&first, &view(&mut other, SIZE, false)));
        assert!(!Arc::ptr_eq(&view(&mut one, 5 + SIZE, true), &view(&mut other, 5 + SIZE, true)));
    }

    #[test]
    fn few_are_kept_and_those_of_closed_files_go_first() {
        let (views, mut old) = (Views::new(), Vec::new());
        let files: Vec<_> = (0..SHARED).map(|_| file()).collect();
        let kept: Vec<_> = files.iter().map(|fd| views.window(fd, 0, &mut old).expect("a window")).collect();
        assert!(old.is_empty());
        let mut files = files.into_iter();
        drop(files.next());
        let another = file();
        views.window(&another, 0, &mut old).expect("a window");
        assert!(matches!(&old[..], [gone] if Arc::ptr_eq(gone, &kept[0])));
        // All are of open files now: one of them gives way.
        let last = file();
        views.window(&last, 0, &mut old).expect("a window");
        assert_eq!((old.len(), views.0.lock().entries.len()), (2, SHARED));
    }
}
