//! TCP and UDP over the loopback device (tcp(7), udp(7), ip(7), ipv6(7)). Nothing is lost or delayed there, so there are no
//! segments: a sender puts bytes straight into its peer's queue.

pub(crate) mod address;
mod options;
mod ports;
mod tcp;
mod tcp_calls;
mod tcp_connect;
mod udp;

pub use tcp::TcpSocket;
pub use udp::UdpSocket;

use crate::{Namespace, Socket};
use abi::Errno;
use abi::raw::net as n;
use std::sync::Arc;
use vfs::{Caller, Capability};

const ICMP: u32 = 1;
const TCP: u32 = 6;
const UDP: u32 = 17;
const ICMPV6: u32 = 58;
/// Lower ports need a capability (`net.ipv4.ip_unprivileged_port_start`).
const UNPRIVILEGED: u16 = 1024;

/// The protocols' state.
#[derive(Default)]
pub struct Inet {
    tcp: ports::Ports<TcpSocket>,
    udp: ports::Ports<UdpSocket>,
}

/// Makes a socket of `AF_INET` or `AF_INET6`.
///
/// # Errors
/// `ESOCKTNOSUPPORT`, `EPROTONOSUPPORT`, `EPERM`.
pub fn create(
    space: &Arc<Namespace>,
    caller: &dyn Caller,
    family: u32,
    kind: u32,
    protocol: u32,
) -> Result<Arc<dyn Socket>, Errno> {
    match (kind, protocol) {
        (_, 256..) => Err(Errno::EINVAL),
        (n::SOCK_STREAM, 0 | TCP) => Ok(TcpSocket::new(space, family)),
        (n::SOCK_DGRAM, 0 | UDP) => Ok(UdpSocket::new(space, family)),
        // Nobody's group may ping (`net.ipv4.ping_group_range`).
        (n::SOCK_DGRAM, ICMP | ICMPV6) => Err(Errno::EACCES),
        (n::SOCK_RAW, 0) => Err(Errno::EPROTONOSUPPORT),
        (n::SOCK_RAW, _) if !caller.creds().capable(Capability::NetRaw) => Err(Errno::EPERM),
        (n::SOCK_STREAM | n::SOCK_DGRAM | n::SOCK_RAW, _) => Err(Errno::EPROTONOSUPPORT),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}

fn check_port(caller: &dyn Caller, port: u16) -> Result<(), Errno> {
    let fine = port == 0 || port >= UNPRIVILEGED || caller.creds().capable(Capability::NetBindService);
    if fine { Ok(()) } else { Err(Errno::EACCES) }
}
