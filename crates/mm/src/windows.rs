//! The Sentry's own views of host files that guests have mapped.
//!
//! Strings and tables that programs pass to system calls often lie in the read-only pages of their executables, so a few
//! windows are kept mapped. A page that a truncation took away faults, and the copy reports it.

use abi::Errno;
use host::window::Window;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Size and alignment of a window.
const SIZE: u64 = 256 << 10;
/// Most windows kept per address space.
const KEPT: usize = 16;

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
        let window = Arc::new(Window::new(fd.as_fd(), base, SIZE as usize, writable)?);
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
