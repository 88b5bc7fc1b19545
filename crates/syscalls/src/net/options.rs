//! getsockopt(2) and setsockopt(2).

use super::Found;
use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use ::net::Socket;
use abi::Errno;
use abi::raw::net as n;
use kernel::{CurrentTask, SysResult};
use vfs::Capability;
use vfs::wait::Events;

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(54, "setsockopt", setsockopt, &[Arg::Fd, Arg::OneOf(LEVELS), Arg::Int, Arg::InBuf(4), Arg::Size]),
    Entry::new(55, "getsockopt", getsockopt, &[Arg::Fd, Arg::OneOf(LEVELS), Arg::Int, Arg::Ptr, Arg::Ptr]),
];

const LEVELS: &[(u64, &str)] = &[
    (0, "SOL_IP"),
    (1, "SOL_SOCKET"),
    (6, "SOL_TCP"),
    (17, "SOL_UDP"),
    (41, "SOL_IPV6"),
    (58, "SOL_ICMPV6"),
    (255, "SOL_RAW"),
    (270, "SOL_NETLINK"),
];

/// No option's value is longer.
const VALUE_MAX: usize = 4096;
const INT: usize = 4;
const SO_PEERNAME: u32 = 28;
const SO_COOKIE: u32 = 57;

/// Options whose 64-bit form is the same here have two numbers.
fn old_number(name: u32) -> u32 {
    match name {
        63 => n::SO_TIMESTAMP,
        66 => n::SO_RCVTIMEO,
        67 => n::SO_SNDTIMEO,
        other => other,
    }
}

fn setsockopt(t: &mut CurrentTask, a: Args) -> SysResult {
    let (level, name, len) = (a.u32(1), a.u32(2), a.i32(4));
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    let found = Found::get(t, a.i32(0))?;
    let general = level == n::SOL_SOCKET;
    if general && len < INT && name != n::SO_BINDTODEVICE {
        return Err(Errno::EINVAL.into());
    }
    let mut value = vec![0; len.min(VALUE_MAX)];
    t.mm().copy_in(a.u64(3), &mut value)?;
    if !general {
        found.socket.set_option(level, name, &value)?;
        return Ok(0);
    }
    let admin = t.creds().capable(Capability::NetAdmin);
    match found.socket.options().set(old_number(name), &value, admin) {
        Err(Errno::ENOPROTOOPT) => found.socket.set_option(level, name, &value)?,
        other => other?,
    }
    if matches!(name, n::SO_SNDBUF | n::SO_SNDBUFFORCE) {
        found.socket.queue().notify(Events::WRITABLE);
    }
    Ok(0)
}

/// What all sockets tell of themselves.
fn general(socket: &dyn Socket, name: u32) -> Result<Vec<u8>, Errno> {
    let int = |value: u32| Ok(value.to_le_bytes().to_vec());
    match name {
        n::SO_TYPE => int(socket.kind()),
        n::SO_DOMAIN => int(socket.family()),
        n::SO_PROTOCOL => int(socket.protocol()),
        n::SO_ACCEPTCONN => int(u32::from(socket.listens())),
        SO_COOKIE => Ok(socket.options().get().inode.to_le_bytes().to_vec()),
        SO_PEERNAME => socket.peer_name(),
        _ => match socket.options().read(old_number(name)) {
            Err(Errno::ENOPROTOOPT) => socket.get_option(n::SOL_SOCKET, name),
            other => other,
        },
    }
}

fn getsockopt(t: &mut CurrentTask, a: Args) -> SysResult {
    let (level, name, addr, len_addr) = (a.u32(1), a.u32(2), a.u64(3), a.u64(4));
    let found = Found::get(t, a.i32(0))?;
    let room: i32 = user::get(t, len_addr)?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let value =
        if level == n::SOL_SOCKET { general(&*found.socket, name)? } else { found.socket.get_option(level, name)? };
    if level == n::SOL_SOCKET && name == n::SO_PEERGROUPS && room < value.len() {
        user::put(t, len_addr, &(value.len() as u32))?;
        return Err(Errno::ERANGE.into());
    }
    if level == n::SOL_SOCKET && name == SO_PEERNAME && room > value.len() {
        return Err(Errno::EINVAL.into());
    }
    let shown = value.get(..room.min(value.len())).unwrap_or_default();
    t.mm().copy_out(addr, shown)?;
    user::put(t, len_addr, &(shown.len() as u32))?;
    Ok(0)
}
