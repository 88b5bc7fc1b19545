//! Signals of the process read from a descriptor, and taken as they come otherwise.

use rustix::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::io;

/// A signal that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Its number.
    pub signal: i32,
    /// Whether the host kernel sent it (a terminal's interrupt character, say) and not a process.
    pub from_kernel: bool,
}

/// A descriptor from which blocked signals are read.
pub struct SignalFd {
    fd: OwnedFd,
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: a signal set is plain data, initialised by `sigemptyset`.
    unsafe {
        let mut set: libc::sigset_t = core::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        set
    }
}

impl SignalFd {
    /// Blocks `signals` for the calling thread and makes a descriptor for them.
    ///
    /// # Errors
    /// The host's.
    pub fn new(signals: &[i32]) -> io::Result<SignalFd> {
        let set = set_of(signals);
        // SAFETY: valid sets; the descriptor is new and ours.
        unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, core::ptr::null_mut());
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(SignalFd { fd: OwnedFd::from_raw_fd(fd) })
        }
    }

    /// The next signal, if one has come.
    #[must_use]
    pub fn next(&self) -> Option<Arrival> {
        let mut bytes = [0; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.fd, &mut bytes) {
            Ok(n) if n == bytes.len() => {
                let word = |at: usize| {
                    let mut word = [0; 4];
                    word.copy_from_slice(&bytes[at..at + 4]);
                    i32::from_ne_bytes(word)
                };
                Some(Arrival { signal: word(0), from_kernel: word(8) > 0 })
            }
            _ => None,
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sends the calling process a signal and lets it have its default effect, even if blocked. Returns when it goes on.
pub fn suffer(signal: i32) {
    let set = set_of(&[signal]);
    // SAFETY: signal calls with valid sets; the old mask and action are put back.
    unsafe {
        let mut default: libc::sigaction = core::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        let mut action: libc::sigaction = core::mem::zeroed();
        let mut mask: libc::sigset_t = core::mem::zeroed();
        libc::sigaction(signal, &raw const default, &raw mut action);
        libc::raise(signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, &raw mut mask);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask, core::ptr::null_mut());
        libc::sigaction(signal, &raw const action, core::ptr::null_mut());
    }
}

/// Has children stay until they are waited for, whether or not the caller ignored `SIGCHLD`.
pub fn keep_children() {
    // SAFETY: sets a disposition.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}
