//! socket(2) and socketpair(2).

use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use ::net::unix::UnixSocket;
use ::net::{Namespace, Socket, SocketFile};
use abi::Errno;
use abi::raw::general as c;
use abi::raw::net as n;
use kernel::{CurrentTask, SysResult};
use std::sync::Arc;

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(41, "socket", socket, &[Arg::OneOf(FAMILIES), Arg::Flags(TYPES), Arg::Int]),
    Entry::new(53, "socketpair", socketpair, &[Arg::OneOf(FAMILIES), Arg::Flags(TYPES), Arg::Int, Arg::Ptr]),
];

const FAMILIES: &[(u64, &str)] =
    &[(0, "AF_UNSPEC"), (1, "AF_UNIX"), (2, "AF_INET"), (10, "AF_INET6"), (16, "AF_NETLINK"), (17, "AF_PACKET")];
/// The widest first: the low bits are a number, not flags.
const TYPES: &[(u64, &str)] = &[
    (0x80000, "SOCK_CLOEXEC"),
    (0x800, "SOCK_NONBLOCK"),
    (5, "SOCK_SEQPACKET"),
    (3, "SOCK_RAW"),
    (2, "SOCK_DGRAM"),
    (1, "SOCK_STREAM"),
];

const KIND_MASK: u32 = 0xf;
/// Linux's `SOCK_MAX` and `NPROTO`.
const KIND_END: u32 = 11;
const FAMILY_END: u32 = 46;

/// The socket type and whether the descriptor is close-on-exec and the description nonblocking.
fn kind_and_flags(kind: u32) -> Result<(u32, bool, bool), Errno> {
    let flags = kind & !KIND_MASK;
    if flags & !(c::O_CLOEXEC | c::O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok((kind & KIND_MASK, flags & c::O_CLOEXEC != 0, flags & c::O_NONBLOCK != 0))
}

fn check(family: u32, kind: u32) -> Result<(), Errno> {
    if family >= FAMILY_END {
        return Err(Errno::EAFNOSUPPORT);
    }
    if kind >= KIND_END { Err(Errno::EINVAL) } else { Ok(()) }
}

/// The kind of a local socket that is asked for.
fn unix_kind(kind: u32, protocol: u32) -> Result<u32, Errno> {
    if protocol != 0 && protocol != n::AF_UNIX {
        return Err(Errno::EPROTONOSUPPORT);
    }
    match kind {
        n::SOCK_STREAM | n::SOCK_DGRAM | n::SOCK_SEQPACKET => Ok(kind),
        n::SOCK_RAW => Ok(n::SOCK_DGRAM),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}

fn make(t: &CurrentTask, family: u32, kind: u32, protocol: u32) -> Result<Arc<dyn Socket>, Errno> {
    let space = Namespace::of(&t.kernel);
    match family {
        n::AF_UNIX => Ok(UnixSocket::new(unix_kind(kind, protocol)?, &space)),
        _ => ::net::create(&space, t, family, kind, protocol),
    }
}

fn socket(t: &mut CurrentTask, a: Args) -> SysResult {
    let (kind, cloexec, nonblock) = kind_and_flags(a.u32(1))?;
    check(a.u32(0), kind)?;
    let socket = make(t, a.u32(0), kind, a.u32(2))?;
    let file = SocketFile::open(socket, nonblock, t);
    let limit = t.group.limit(c::RLIMIT_NOFILE);
    Ok(t.fds().add(Arc::new(file), cloexec, 0, limit)? as u64)
}

fn socketpair(t: &mut CurrentTask, a: Args) -> SysResult {
    let (kind, cloexec, nonblock) = kind_and_flags(a.u32(1))?;
    let (family, protocol, addr) = (a.u32(0), a.u32(2), a.u64(3));
    let limit = t.group.limit(c::RLIMIT_NOFILE);
    t.fds().check_room(limit)?;
    user::put(t, addr, &[-1i32; 2])?;
    check(family, kind)?;
    if family != n::AF_UNIX {
        drop(make(t, family, kind, protocol)?);
        return Err(Errno::EOPNOTSUPP.into());
    }
    let (first, second) = UnixSocket::pair(unix_kind(kind, protocol)?, &Namespace::of(&t.kernel), t);
    let file = |socket| Arc::new(SocketFile::open(socket, nonblock, t));
    let (one, two) = t.fds().add_pair(file(first), file(second), cloexec, limit)?;
    if let Err(errno) = user::put(t, addr, &[one, two]) {
        for fd in [one, two] {
            drop(t.fds().remove(fd));
        }
        return Err(errno.into());
    }
    Ok(0)
}
