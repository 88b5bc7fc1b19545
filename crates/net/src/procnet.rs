//! The files of /proc/net, as text.

use crate::inet::{TcpSocket, UdpSocket};
use crate::unix::UnixSocket;
use crate::{Namespace, Socket};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

const INET: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const INET6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr \
                     tm->when retrnsmt   uid  timeout inode";

/// An address as the kernel prints its words.
fn hex(address: SocketAddr, v6: bool) -> String {
    let mut out = String::new();
    let words = |bytes: &[u8], out: &mut String| {
        for word in bytes.as_chunks::<4>().0 {
            let _ = write!(out, "{:08X}", u32::from_le_bytes(*word));
        }
    };
    match address.ip() {
        IpAddr::V4(ip) if !v6 => words(&ip.octets(), &mut out),
        IpAddr::V4(ip) if ip.is_unspecified() => words(&[0; 16], &mut out),
        IpAddr::V4(ip) => words(&ip.to_ipv6_mapped().octets(), &mut out),
        IpAddr::V6(ip) => words(&ip.octets(), &mut out),
    }
    let _ = write!(out, ":{:04X}", address.port());
    out
}

fn line(out: &mut String, at: usize, socket: &dyn Socket, v6: bool, row: (u8, SocketAddr, SocketAddr, usize)) {
    let (state, local, remote, unread) = row;
    let options = socket.options().get();
    let _ = writeln!(
        out,
        "{at:4}: {} {} {state:02X} {:08X}:{unread:08X} 00:00000000 00000000 {:5}        0 {} 1 0000000000000000 100 0 0 10 0",
        hex(local, v6),
        hex(remote, v6),
        socket.unsent(),
        options.uid,
        options.inode
    );
}

/// /proc/net/tcp or tcp6.
#[must_use]
pub fn tcp(space: &Namespace, v6: bool) -> String {
    let mut out = format!("{}\n", if v6 { INET6 } else { INET });
    let sockets = space.sockets();
    let all = sockets.iter().filter_map(|s| s.as_any().downcast_ref::<TcpSocket>());
    let shown = all.filter(|s| s.is_v6() == v6).map(|s| (s, s.summary())).filter(|(_, row)| row.0 != 7);
    for (at, (socket, row)) in shown.enumerate() {
        line(&mut out, at, socket, v6, row);
    }
    out
}

/// /proc/net/udp or udp6.
#[must_use]
pub fn udp(space: &Namespace, v6: bool) -> String {
    let mut out = format!("{}\n", if v6 { INET6 } else { INET });
    let sockets = space.sockets();
    let all = sockets.iter().filter_map(|s| s.as_any().downcast_ref::<UdpSocket>());
    let shown = all.filter(|s| s.is_v6() == v6).map(|s| (s, s.summary())).filter(|(_, row)| row.0.port() != 0);
    for (at, (socket, (local, remote, unread))) in shown.enumerate() {
        let state = if remote.port() == 0 { 7 } else { 1 };
        line(&mut out, at, socket, v6, (state, local, remote, unread));
    }
    out
}

/// /proc/net/unix.
#[must_use]
pub fn unix(space: &Namespace) -> String {
    let mut out = "Num       RefCount Protocol Flags    Type St Inode Path\n".to_owned();
    let sockets = space.sockets();
    for socket in sockets.iter().filter_map(|s| s.as_any().downcast_ref::<UnixSocket>()) {
        let (flags, state, name) = socket.summary();
        let inode = socket.options().get().inode;
        let _ =
            write!(out, "0000000000000000: 00000002 00000000 {flags:08X} {:04X} {state:02X} {inode:5}", socket.kind());
        if !name.is_empty() {
            let shown: Vec<u8> = name.iter().map(|b| if *b == 0 { b'@' } else { *b }).collect();
            let _ = write!(out, " {}", String::from_utf8_lossy(&shown));
        }
        out.push('\n');
    }
    out
}

/// /proc/net/dev.
#[must_use]
pub fn dev() -> String {
    let zeroes = "       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0";
    format!(
        "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
         lo: {zeroes}\n"
    )
}

/// /proc/net/route: the main table, which is empty.
#[must_use]
pub fn route() -> String {
    format!("{:<127}\n", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT")
}

/// /proc/net/if_inet6.
#[must_use]
pub fn if_inet6() -> String {
    "00000000000000000000000000000001 01 80 10 80       lo\n".to_owned()
}

/// /proc/net/sockstat.
#[must_use]
pub fn sockstat(space: &Namespace) -> String {
    let sockets = space.sockets();
    let tcp = sockets.iter().filter(|s| s.as_any().is::<TcpSocket>()).count();
    let udp = sockets.iter().filter(|s| s.as_any().is::<UdpSocket>()).count();
    format!(
        "sockets: used {}\nTCP: inuse {tcp} orphan 0 tw 0 alloc {tcp} mem 0\nUDP: inuse {udp} mem 0\nUDPLITE: inuse 0\nRAW: inuse \
         0\nFRAG: inuse 0 memory 0\n",
        sockets.len()
    )
}
