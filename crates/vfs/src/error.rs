//! What an operation on a file can answer besides success.

use abi::Errno;

/// Either an error for the guest, or "not now". The two never convert into each other by themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoError {
    /// Ends the call with this error.
    Errno(Errno),
    /// Nothing can be done until the object's wait queue is notified.
    WouldBlock,
    /// The caller has just been sent a signal that must act first; then the call starts again (`ERESTARTSYS`).
    Interrupted,
}

impl From<Errno> for IoError {
    fn from(errno: Errno) -> IoError {
        IoError::Errno(errno)
    }
}

impl IoError {
    /// The error of an operation that does not wait: `EAGAIN` for [`IoError::WouldBlock`].
    #[must_use]
    pub fn nonblocking(self) -> Errno {
        match self {
            IoError::Errno(errno) => errno,
            IoError::WouldBlock => Errno::EAGAIN,
            IoError::Interrupted => Errno::EINTR,
        }
    }
}
