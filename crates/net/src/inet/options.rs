//! Options of the levels `IPPROTO_IP`, `IPPROTO_IPV6` and `IPPROTO_TCP`. Over a device that neither loses nor delays, most
//! have nothing to do: they are kept and told.

use crate::options::int;
use abi::Errno;
use abi::raw::net::AF_INET;
use lock::{Mutex, rank};
use std::collections::BTreeMap;

const SOL_IP: u32 = 0;
const SOL_TCP: u32 = 6;
const SOL_UDP: u32 = 17;
const SOL_IPV6: u32 = 41;
const IP_PKTINFO: u32 = 8;
const IPV6_V6ONLY: u32 = 26;
const IPV6_RECVPKTINFO: u32 = 49;
const TCP_INFO: u32 = 11;
const TCP_CONGESTION: u32 = 13;
const TCP_MAXSEG: u32 = 2;
/// `sizeof(struct tcp_info)` of a recent Linux, as far as programs look.
const TCP_INFO_LEN: usize = 248;

/// Names and the values they have before they are set.
const IP: &[(u32, i32)] = &[
    (1, 0),      // IP_TOS
    (2, 64),     // IP_TTL
    (3, 0),      // IP_HDRINCL
    (5, 0),      // IP_ROUTER_ALERT
    (6, 0),      // IP_RECVOPTS
    (7, 0),      // IP_RETOPTS
    (8, 0),      // IP_PKTINFO
    (10, 1),     // IP_MTU_DISCOVER
    (11, 0),     // IP_RECVERR
    (12, 0),     // IP_RECVTTL
    (13, 0),     // IP_RECVTOS
    (14, 65536), // IP_MTU
    (15, 0),     // IP_FREEBIND
    (18, 0),     // IP_PASSSEC
    (19, 0),     // IP_TRANSPARENT
    (20, 0),     // IP_RECVORIGDSTADDR
    (24, 0),     // IP_BIND_ADDRESS_NO_PORT
    (32, 0),     // IP_MULTICAST_IF
    (33, 1),     // IP_MULTICAST_TTL
    (34, 1),     // IP_MULTICAST_LOOP
    (35, 0),     // IP_ADD_MEMBERSHIP
    (36, 0),     // IP_DROP_MEMBERSHIP
    (49, 1),     // IP_MULTICAST_ALL
    (50, 0),     // IP_UNICAST_IF
    (51, 0),     // IP_LOCAL_PORT_RANGE
];
const IPV6: &[(u32, i32)] = &[
    (16, 64),    // IPV6_UNICAST_HOPS
    (17, 0),     // IPV6_MULTICAST_IF
    (18, 1),     // IPV6_MULTICAST_HOPS
    (19, 1),     // IPV6_MULTICAST_LOOP
    (20, 0),     // IPV6_JOIN_GROUP
    (21, 0),     // IPV6_LEAVE_GROUP
    (23, 1),     // IPV6_MTU_DISCOVER
    (24, 65536), // IPV6_MTU
    (25, 0),     // IPV6_RECVERR
    (26, 0),     // IPV6_V6ONLY
    (49, 0),     // IPV6_RECVPKTINFO
    (51, 0),     // IPV6_RECVHOPLIMIT
    (66, 0),     // IPV6_RECVTCLASS
    (67, 0),     // IPV6_TCLASS
    (70, 0),     // IPV6_AUTOFLOWLABEL
    (72, 0),     // IPV6_ADDR_PREFERENCES
    (76, 0),     // IPV6_UNICAST_IF
    (78, 0),     // IPV6_FREEBIND
];
const TCP: &[(u32, i32)] = &[
    (1, 0),     // TCP_NODELAY
    (2, 65483), // TCP_MAXSEG
    (3, 0),     // TCP_CORK
    (4, 7200),  // TCP_KEEPIDLE
    (5, 75),    // TCP_KEEPINTVL
    (6, 9),     // TCP_KEEPCNT
    (7, 6),     // TCP_SYNCNT
    (8, 60),    // TCP_LINGER2
    (9, 0),     // TCP_DEFER_ACCEPT
    (10, 0),    // TCP_WINDOW_CLAMP
    (12, 1),    // TCP_QUICKACK
    (18, 0),    // TCP_USER_TIMEOUT
    (23, 0),    // TCP_FASTOPEN
    (25, -1),   // TCP_NOTSENT_LOWAT
    (30, 0),    // TCP_FASTOPEN_CONNECT
    (36, 0),    // TCP_INQ
];

/// What was set.
pub(super) struct Kept(Mutex<BTreeMap<(u32, u32), i32>>);

impl Default for Kept {
    fn default() -> Kept {
        Kept(Mutex::new(rank::LEAF, BTreeMap::new()))
    }
}

fn table(level: u32, family: u32, stream: bool) -> Result<&'static [(u32, i32)], Errno> {
    match level {
        SOL_IP => Ok(IP),
        SOL_IPV6 if family != AF_INET => Ok(IPV6),
        SOL_TCP if stream => Ok(TCP),
        SOL_UDP if !stream => Ok(&[]),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

impl Kept {
    /// The value of an option that is a number.
    pub(super) fn value(&self, level: u32, name: u32) -> i32 {
        self.0.lock().get(&(level, name)).copied().unwrap_or(0)
    }

    pub(super) fn only_v6(&self) -> bool {
        self.value(SOL_IPV6, IPV6_V6ONLY) != 0
    }

    /// Which of the two packet-information messages are wanted: IPv4's and IPv6's.
    pub(super) fn packet_info(&self) -> (bool, bool) {
        (self.value(SOL_IP, IP_PKTINFO) != 0, self.value(SOL_IPV6, IPV6_RECVPKTINFO) != 0)
    }

    /// Takes over what another socket was set to.
    pub(super) fn copy(&self, other: &Kept) {
        let values = other.0.lock().clone();
        *self.0.lock() = values;
    }

    pub(super) fn get(&self, level: u32, name: u32, family: u32, stream: bool) -> Result<Vec<u8>, Errno> {
        let table = table(level, family, stream)?;
        if level == SOL_TCP && name == TCP_CONGESTION {
            return Ok(b"cubic\0\0\0\0\0\0\0\0\0\0\0".to_vec());
        }
        let (_, usual) = table.iter().find(|(n, _)| *n == name).ok_or(Errno::ENOPROTOOPT)?;
        let value = self.0.lock().get(&(level, name)).copied().unwrap_or(*usual);
        Ok(value.to_le_bytes().to_vec())
    }

    pub(super) fn set(&self, level: u32, name: u32, value: &[u8], family: u32, stream: bool) -> Result<(), Errno> {
        let table = table(level, family, stream)?;
        if level == SOL_TCP && value.len() < 4 {
            return Err(Errno::EINVAL);
        }
        if level == SOL_TCP && name == TCP_CONGESTION {
            let known = [&b"cubic"[..], b"reno"].contains(&value.split(|b| *b == 0).next().unwrap_or_default());
            return if known { Ok(()) } else { Err(Errno::ENOENT) };
        }
        if !table.iter().any(|(n, _)| *n == name) {
            return Err(Errno::ENOPROTOOPT);
        }
        // Those of IPv4 may be given as one byte.
        let value = match value {
            [byte, ..] if level == SOL_IP && value.len() < 4 => i32::from(*byte),
            _ => int(value)?,
        };
        let fine = match (level, name) {
            (SOL_IP, 2) => value == -1 || (1..=255).contains(&value),
            (SOL_TCP, 4..=6) => (1..=32767).contains(&value),
            (SOL_TCP, TCP_MAXSEG) => value == 0 || (88..=32767).contains(&value),
            _ => true,
        };
        if !fine {
            return Err(Errno::EINVAL);
        }
        self.0.lock().insert((level, name), value);
        Ok(())
    }
}

/// Whether an option is `TCP_INFO`, and its value for a state.
pub(super) fn tcp_info(level: u32, name: u32, state: u8) -> Option<Vec<u8>> {
    if (level, name) != (SOL_TCP, TCP_INFO) {
        return None;
    }
    let mut info = vec![0; TCP_INFO_LEN];
    if let Some(first) = info.first_mut() {
        *first = state;
    }
    // Segment sizes and windows, at tcpi_snd_mss, tcpi_rcv_mss, tcpi_snd_cwnd.
    for (at, value) in [(16, 65483u32), (20, 536), (80, 10)] {
        if let Some(place) = info.get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    }
    Some(info)
}

/// Whether an option is `IPV6_V6ONLY`, which can't change once an address is bound.
pub(super) fn is_only_v6(level: u32, name: u32) -> bool {
    (level, name) == (SOL_IPV6, IPV6_V6ONLY)
}
