//! The caller's terminal: raw while the guest has it, and put back at every end.

use abi::raw::general as c;
use abi::termios::{Termios, Winsize};
use host::confine::Kept;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, fstat, open};
use sentry::Failure;
use std::io;
use std::os::fd::AsRawFd;

/// The caller's terminal.
pub struct Terminal {
    fd: OwnedFd,
    /// Whether `fd` is a description of our own that does not block. The caller's may be shared with anyone, so its flags
    /// are not ours to set.
    own: bool,
    /// The caller's settings, while ours are in force.
    saved: Option<Termios>,
    /// The same for the Sentry, which puts them back if this process is killed.
    kept: Kept,
}

/// How much is written at once where a write may block.
const CAREFUL: usize = 256;

impl Terminal {
    /// The terminal behind a descriptor.
    pub fn new(fd: BorrowedFd<'_>) -> Result<Terminal, Failure> {
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let (fd, own) = match open(path, flags, Mode::empty()) {
            Ok(own) => (own, true),
            // Not allowed after su(1), for one.
            Err(_) => {
                let copy = rustix::io::fcntl_dupfd_cloexec(fd, 3);
                (copy.map_err(|e| Failure::ours(format!("cannot duplicate a descriptor: {e}")))?, false)
            }
        };
        let kept = Kept::new().map_err(|e| Failure::ours(format!("cannot share memory: {e}")))?;
        Ok(Terminal { fd, own, saved: None, kept })
    }

    /// Where its settings are kept while it is raw.
    pub fn kept(&self) -> Kept {
        self.kept
    }

    /// Whether a descriptor is this terminal.
    pub fn is(&self, other: BorrowedFd<'_>) -> bool {
        let device = |fd: BorrowedFd<'_>| fstat(fd).map(|stat| (stat.st_mode & c::S_IFMT, stat.st_rdev));
        device(other).is_ok_and(|(kind, id)| kind == c::S_IFCHR && device(self.fd.as_fd()) == Ok((kind, id)))
    }

    /// The window's size.
    pub fn window(&self) -> Winsize {
        host::terminal::window(&self.fd).unwrap_or_default()
    }

    /// Whether this process may use it without being stopped.
    pub fn in_foreground(&self) -> bool {
        match rustix::termios::tcgetpgrp(&self.fd) {
            Ok(group) => group == rustix::process::getpgrp(),
            // Not our controlling terminal: nobody stops us.
            Err(_) => true,
        }
    }

    /// Whether it is raw.
    pub fn attached(&self) -> bool {
        self.saved.is_some()
    }

    /// The settings to be restored, just before [`Terminal::attach`].
    pub fn settings(&self) -> io::Result<Termios> {
        host::terminal::settings(&self.fd)
    }

    /// Makes it raw.
    pub fn attach(&mut self, settings: Termios) -> io::Result<()> {
        // First who restores them, then the change.
        self.kept.hold(Some(settings));
        let changed = host::terminal::set(&self.fd, &raw(settings));
        match changed {
            Ok(()) => self.saved = Some(settings),
            Err(_) => self.kept.hold(None),
        }
        changed
    }

    /// Puts back the caller's settings.
    pub fn detach(&mut self) {
        if let Some(saved) = self.saved.take() {
            // A terminal that was hung up has no settings any more.
            let _ = host::terminal::set(&self.fd, &saved);
            self.kept.hold(None);
        }
    }

    /// Reads what was typed. `Ok(None)` if nothing was, `Ok(Some(0))` at the end.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::io::read(&self.fd, buffer) {
            Ok(len) => Ok(Some(len)),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes as much as it takes, after a poll said that it takes some.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let now = if self.own { bytes } else { bytes.get(..CAREFUL).unwrap_or(bytes) };
        match rustix::io::write(&self.fd, now) {
            Ok(len) => Ok(len),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.detach();
    }
}

/// The settings under which bytes go both ways as they are (cfmakeraw(3)).
fn raw(mut settings: Termios) -> Termios {
    settings.c_iflag &= !(c::IGNBRK | c::BRKINT | c::PARMRK | c::ISTRIP | c::INLCR | c::IGNCR | c::ICRNL | c::IXON);
    settings.c_oflag &= !c::OPOST;
    settings.c_lflag &= !(c::ECHO | c::ECHONL | c::ICANON | c::ISIG | c::IEXTEN);
    settings.c_cflag = settings.c_cflag & !(c::CSIZE | c::PARENB) | c::CS8;
    if let Some(min) = settings.c_cc.get_mut(c::VMIN as usize) {
        *min = 1;
    }
    if let Some(time) = settings.c_cc.get_mut(c::VTIME as usize) {
        *time = 0;
    }
    settings
}
