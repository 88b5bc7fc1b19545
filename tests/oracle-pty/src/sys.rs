//! The calls that no safe crate offers: terminal ioctls and blocked signals.
#![allow(unsafe_code)]

use abi::raw::ioctl;
use abi::termios::{Termios2, Winsize};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use crate::step::Signals;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// An ioctl whose argument is a number.
pub(crate) fn ioctl_number(fd: BorrowedFd<'_>, request: u32, argument: libc::c_int) -> io::Result<libc::c_int> {
    // SAFETY: the requests used here (TCFLSH, TCXONC, TIOCSCTTY, TIOCGPTPEER) take their argument by value.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request.into(), argument) })
}

/// An ioctl that reads an `int`.
pub(crate) fn ioctl_int(fd: BorrowedFd<'_>, request: u32, mut argument: libc::c_int) -> io::Result<libc::c_int> {
    // SAFETY: the requests used here (TIOCPKT, TIOCSPTLCK, FIONREAD) read or write one int behind the pointer.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request.into(), &raw mut argument) })?;
    Ok(argument)
}

pub(crate) fn get_termios(fd: BorrowedFd<'_>) -> io::Result<Termios2> {
    let mut termios = Termios2::pty_default();
    // SAFETY: TCGETS2 writes a struct termios2, which Termios2 is.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), ioctl::TCGETS2.into(), &raw mut termios) })?;
    Ok(termios)
}

pub(crate) fn set_termios(fd: BorrowedFd<'_>, request: u32, termios: &Termios2) -> io::Result<()> {
    // SAFETY: TCSETS2, TCSETSW2 and TCSETSF2 read a struct termios2, which Termios2 is.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request.into(), ptr::from_ref(termios)) })?;
    Ok(())
}

pub(crate) fn set_winsize(fd: BorrowedFd<'_>, size: &Winsize) -> io::Result<()> {
    // SAFETY: TIOCSWINSZ reads a struct winsize, which Winsize is.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), ioctl::TIOCSWINSZ.into(), ptr::from_ref(size)) })?;
    Ok(())
}

/// `TIOCSTI`.
pub(crate) fn simulate_input(fd: BorrowedFd<'_>, c: u8) -> io::Result<()> {
    // SAFETY: TIOCSTI reads one byte behind the pointer.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), ioctl::TIOCSTI.into(), &raw const c) })?;
    Ok(())
}

/// Opens the slave of a master.
pub(crate) fn open_peer(master: BorrowedFd<'_>, flags: libc::c_int) -> io::Result<OwnedFd> {
    let fd = ioctl_number(master, ioctl::TIOCGPTPEER, flags)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn watched() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set, and sigaddset gets valid signal numbers.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in
            [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGWINCH, libc::SIGHUP, libc::SIGCONT, libc::SIGTTOU]
        {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// Blocks the signals that a terminal sends, so that they stay pending. To be called before any thread is made.
pub(crate) fn block_signals() -> io::Result<()> {
    let set = watched();
    // SAFETY: both pointers are valid or null, as sigprocmask allows.
    check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) })?;
    Ok(())
}

/// Takes the pending signals.
pub(crate) fn take_signals() -> Signals {
    let set = watched();
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let mut signals = Signals::default();
    loop {
        // SAFETY: the set and the time are valid, and the siginfo pointer may be null.
        match unsafe { libc::sigtimedwait(&raw const set, ptr::null_mut(), &raw const now) } {
            libc::SIGINT => signals.int = true,
            libc::SIGQUIT => signals.quit = true,
            libc::SIGTSTP => signals.stop = true,
            libc::SIGWINCH => signals.winch = true,
            signal if signal < 0 => return signals,
            _ => {}
        }
    }
}
