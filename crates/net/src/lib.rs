//! Sockets.
//!
//! - [`socket`]: what all families have in common, and the file behind a socket's descriptor.
//! - [`unix`]: local sockets (unix(7)).
//!
//! Locks: rank `SOCKET`, one socket's at a time: whoever needs a peer lets go of the first.

pub mod options;
pub mod queue;
pub mod socket;
pub mod unix;

pub use socket::{Control, Received, SendFlags, Socket, SocketFile, Ucred};
