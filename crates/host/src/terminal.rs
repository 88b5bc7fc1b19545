//! A host terminal's settings and window size, in the kernel's own structures.

use abi::termios::{Termios, Winsize};
use rustix::fd::{AsFd, AsRawFd};
use std::io;
use zerocopy::FromZeros;

fn checked(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The settings.
///
/// # Errors
/// `ENOTTY` if it is no terminal.
pub fn settings(fd: impl AsFd) -> io::Result<Termios> {
    let mut settings = Termios::new_zeroed();
    // SAFETY: `TCGETS` fills one `struct termios`, which is what `Termios` is.
    checked(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TCGETS, &raw mut settings) })?;
    Ok(settings)
}

/// Sets them once all output is through. Retried when a signal interrupts it.
///
/// # Errors
/// The host's.
pub fn set(fd: impl AsFd, settings: &Termios) -> io::Result<()> {
    loop {
        // SAFETY: `TCSETSW` reads one `struct termios`.
        let result =
            checked(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TCSETSW, core::ptr::from_ref(settings)) });
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The window's size.
///
/// # Errors
/// `ENOTTY` if it is no terminal.
pub fn window(fd: impl AsFd) -> io::Result<Winsize> {
    let mut size = Winsize::default();
    // SAFETY: `TIOCGWINSZ` fills one `struct winsize`, which is what `Winsize` is.
    checked(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok(size)
}
