//! `struct sockaddr_in` and `struct sockaddr_in6`.

use abi::Errno;
use abi::raw::net::{AF_INET, AF_INET6, AF_UNSPEC};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `sizeof(struct sockaddr_in)`, and the shortest `struct sockaddr_in6` there is (`SIN6_LEN_RFC2133`).
const V4_LEN: usize = 16;
const V6_LEN: usize = 24;

/// The family that an address says it is of.
pub(super) fn family(address: &[u8]) -> Result<u32, Errno> {
    address.first_chunk().map(|f| u32::from(u16::from_le_bytes(*f))).ok_or(Errno::EINVAL)
}

/// What an address says, for a socket of family `of`. A mapped IPv4 address becomes the plain one.
pub(super) fn decode(address: &[u8], of: u32) -> Result<SocketAddr, Errno> {
    let found = family(address)?;
    let port = address.get(2..4).and_then(|p| p.first_chunk()).map(|p| u16::from_be_bytes(*p)).ok_or(Errno::EINVAL)?;
    let v4 = || -> Result<SocketAddr, Errno> {
        let ip: [u8; 4] = *address.get(4..).and_then(|a| a.first_chunk()).ok_or(Errno::EINVAL)?;
        if address.len() < V4_LEN { Err(Errno::EINVAL) } else { Ok((Ipv4Addr::from(ip), port).into()) }
    };
    match (of, found) {
        (AF_INET, AF_INET) => v4(),
        (AF_INET6, AF_INET6) => {
            let ip: [u8; 16] = *address.get(8..).and_then(|a| a.first_chunk()).ok_or(Errno::EINVAL)?;
            if address.len() < V6_LEN {
                return Err(Errno::EINVAL);
            }
            Ok((Ipv6Addr::from(ip).to_canonical(), port).into())
        }
        (AF_INET, AF_UNSPEC) if address.len() >= V4_LEN => match v4()? {
            any if any.ip().is_unspecified() => Ok(any),
            _ => Err(Errno::EAFNOSUPPORT),
        },
        _ if address.len() < V4_LEN => Err(Errno::EINVAL),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// An address as a socket of family `of` sees it.
pub(crate) fn encode(address: SocketAddr, of: u32) -> Vec<u8> {
    let mut out = (of as u16).to_le_bytes().to_vec();
    out.extend_from_slice(&address.port().to_be_bytes());
    if of == AF_INET {
        match address.ip() {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(_) => out.extend_from_slice(&[0; 4]),
        }
        out.extend_from_slice(&[0; 8]);
        return out;
    }
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv6Addr::UNSPECIFIED,
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&ip.octets());
    out.extend_from_slice(&[0; 4]);
    out
}

/// Whether the loopback device has this address.
pub(super) fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback()
}

/// Any address, of this family.
pub(super) fn any(of: u32) -> IpAddr {
    if of == AF_INET { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// Where sending to `to` comes out, and the address it is sent from.
///
/// # Errors
/// `ENETUNREACH` if it is not local.
pub(super) fn route(to: IpAddr) -> Result<(IpAddr, IpAddr), Errno> {
    match to {
        // Nowhere in particular is here.
        IpAddr::V4(ip) if ip.is_unspecified() => Ok((Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into())),
        IpAddr::V6(ip) if ip.is_unspecified() => Ok((Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into())),
        IpAddr::V4(ip) if ip.is_loopback() => Ok((to, to)),
        IpAddr::V6(ip) if ip.is_loopback() => Ok((to, to)),
        _ => Err(Errno::ENETUNREACH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_both_ways() {
        let four: SocketAddr = "127.0.0.1:80".parse().unwrap();
        assert_eq!(decode(&encode(four, AF_INET), AF_INET), Ok(four));
        assert_eq!(decode(&encode(four, AF_INET6), AF_INET6), Ok(four));
        let six: SocketAddr = "[::1]:80".parse().unwrap();
        assert_eq!(decode(&encode(six, AF_INET6), AF_INET6), Ok(six));
        assert_eq!(encode(six, AF_INET6).len(), 28);
        assert_eq!(decode(&encode(six, AF_INET6), AF_INET), Err(Errno::EAFNOSUPPORT));
        assert_eq!(decode(&encode(six, AF_INET6)[..20], AF_INET6), Err(Errno::EINVAL));
        assert_eq!(decode(&[2, 0, 0, 0], AF_INET), Err(Errno::EINVAL));
    }
}
