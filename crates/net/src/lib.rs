//! Sockets.
//!
//! - [`socket`]: what all families have in common, and the file behind a socket's descriptor.
//! - [`options`]: their common options; [`queue`]: what was received; [`flow`]: what is under way; [`flight`]:
//!   descriptions that are under way.
//! - [`unix`]: local sockets (unix(7)).
//! - [`inet`]: TCP and UDP over the loopback device (tcp(7), udp(7), ipv6(7)).
//! - [`netlink`]: what there is to know of the network (netlink(7), rtnetlink(7)); [`netdev`]: the same by ioctl(2).
//! - [`host`]: sockets of the host that the sandbox was handed.
//! - [`procnet`]: the same as text, for /proc/net.
//!
//! A [`Namespace`] holds what sockets share. Locks: rank `SOCKET`, one socket's at a time: whoever needs a peer lets go of
//! the first, but for a pair that is being made, which nobody else knows yet.

pub mod flight;
pub mod flow;
pub mod host;
pub mod inet;
mod namespace;
pub mod netdev;
pub mod netlink;
pub mod options;
pub mod procnet;
pub mod queue;
pub mod socket;
#[cfg(test)]
mod tests;
pub mod unix;

use abi::Errno;
use abi::raw::net as n;
use std::sync::Arc;
use vfs::{Caller, Capability};

/// Makes a socket of another family than the local one.
///
/// # Errors
/// `EAFNOSUPPORT`, `ESOCKTNOSUPPORT`, `EPROTONOSUPPORT`, `EPERM`.
pub fn create(
    space: &Arc<Namespace>,
    caller: &dyn Caller,
    family: u32,
    kind: u32,
    protocol: u32,
) -> Result<Arc<dyn Socket>, Errno> {
    match family {
        n::AF_INET | n::AF_INET6 => inet::create(space, caller, family, kind, protocol),
        n::AF_NETLINK => netlink::create(space, kind, protocol),
        n::AF_PACKET if !caller.creds().capable(Capability::NetRaw) => Err(Errno::EPERM),
        n::AF_PACKET if !matches!(kind, n::SOCK_RAW | n::SOCK_DGRAM) => Err(Errno::ESOCKTNOSUPPORT),
        n::AF_PACKET => Err(Errno::EPERM),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

pub use namespace::{Listed, Namespace};
pub use socket::{Control, Received, SendFlags, Socket, SocketFile, Ucred};
