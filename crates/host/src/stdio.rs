//! Which of the standard descriptors the process was started without.
//!
//! The Rust runtime opens `/dev/null` for each before `main`, so this looks earlier, from the executable's initialisers.

use core::sync::atomic::{AtomicU8, Ordering};

static CLOSED: AtomicU8 = AtomicU8::new(0);

extern "C" fn look() {
    for fd in 0..3 {
        // SAFETY: asks about a descriptor number and touches no memory.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
            CLOSED.fetch_or(1 << fd, Ordering::Relaxed);
        }
    }
}

#[used]
// SAFETY: the section holds pointers to functions of this type, which the C library calls once before `main`.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

/// Whether descriptor `fd` (0, 1 or 2) was closed when the process started.
#[must_use]
pub fn was_closed(fd: u8) -> bool {
    fd < 3 && CLOSED.load(Ordering::Relaxed) & (1 << fd) != 0
}
