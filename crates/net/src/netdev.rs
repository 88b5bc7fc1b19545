//! Network devices by ioctl(2) (netdevice(7)).

use crate::Socket;
use abi::Errno;
use vfs::{Caller, IoError};

/// Serves a command on any socket.
///
/// # Errors
/// `ENOTTY` for unknown ones.
pub fn ioctl(_: &dyn Socket, _: &dyn Caller, _: u32, _: u64) -> Result<u64, IoError> {
    Err(Errno::ENOTTY.into())
}
