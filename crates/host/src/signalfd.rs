//! Signals of the process read from a descriptor, and taken as they come otherwise.

use core::sync::atomic::{AtomicU8, Ordering};
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

/// Which `SIGCONT` has come while [`stop_self`] was at work: none, one of a process's, one of the kernel's.
static CONTINUED: AtomicU8 = AtomicU8::new(0);

extern "C" fn note_continue(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the host gives a handler the signal's description.
    let from_kernel = unsafe { (*info).si_code } > 0;
    CONTINUED.store(1 + u8::from(from_kernel), Ordering::SeqCst);
}

/// Stops the calling process by a stop signal's default action, even if that is blocked. Returns when it goes on, with
/// the `SIGCONT` that let it.
///
/// Linux discards a pending `SIGCONT` at each stop signal and the other way round (signal(7)). So that the one that is to
/// end this stop is not lost, a handler takes it from before the stop signal is sent, and that waits blocked until it is
/// known whether one has come. `SIGSTOP` cannot wait: there, one that comes between is lost.
#[must_use]
pub fn stop_self(signal: i32) -> Option<Arrival> {
    let (set, cont) = (set_of(&[signal]), set_of(&[libc::SIGCONT]));
    // SAFETY: signal calls with valid sets and a handler that only stores a word; the old mask and actions are put back.
    unsafe {
        let mut default: libc::sigaction = core::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        let mut ignore: libc::sigaction = core::mem::zeroed();
        ignore.sa_sigaction = libc::SIG_IGN;
        let mut note: libc::sigaction = core::mem::zeroed();
        note.sa_sigaction = note_continue as *const () as usize;
        note.sa_flags = libc::SA_SIGINFO;
        let (mut stop_action, mut cont_action): (libc::sigaction, libc::sigaction) = core::mem::zeroed();
        let mut mask: libc::sigset_t = core::mem::zeroed();
        CONTINUED.store(0, Ordering::SeqCst);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut mask);
        libc::sigaction(signal, &raw const default, &raw mut stop_action);
        libc::sigaction(libc::SIGCONT, &raw const note, &raw mut cont_action);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const cont, core::ptr::null_mut());
        let waits = signal != libc::SIGSTOP;
        if waits {
            libc::raise(signal);
        }
        if CONTINUED.load(Ordering::SeqCst) != 0 {
            // To ignore a signal discards it.
            libc::sigaction(signal, &raw const ignore, core::ptr::null_mut());
        } else if waits {
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, core::ptr::null_mut());
        } else {
            libc::raise(signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask, core::ptr::null_mut());
        libc::sigaction(signal, &raw const stop_action, core::ptr::null_mut());
        libc::sigaction(libc::SIGCONT, &raw const cont_action, core::ptr::null_mut());
    }
    match CONTINUED.load(Ordering::SeqCst) {
        0 => None,
        how => Some(Arrival { signal: libc::SIGCONT, from_kernel: how > 1 }),
    }
}

/// Has children stay until they are waited for, whether or not the caller ignored `SIGCHLD`.
pub fn keep_children() {
    // SAFETY: sets a disposition.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}
