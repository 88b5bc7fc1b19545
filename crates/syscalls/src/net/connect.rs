//! bind(2), listen(2), accept(2), connect(2), shutdown(2), getsockname(2), getpeername(2).

use super::{Found, address_in, address_out};
use crate::args::{Arg, Args};
use crate::table::Entry;
use ::net::SocketFile;
use abi::Errno;
use abi::raw::general as c;
use kernel::{CurrentTask, SysResult};
use std::sync::Arc;
use vfs::wait::Events;

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(42, "connect", connect, &[Arg::Fd, Arg::InBuf(2), Arg::Size]),
    Entry::new(43, "accept", |t, a| accept(t, a, 0), &[Arg::Fd, Arg::Ptr, Arg::Ptr]),
    Entry::new(48, "shutdown", shutdown, &[Arg::Fd, Arg::OneOf(HOW)]),
    Entry::new(49, "bind", bind, &[Arg::Fd, Arg::InBuf(2), Arg::Size]),
    Entry::new(50, "listen", listen, &[Arg::Fd, Arg::Int]),
    Entry::new(51, "getsockname", getsockname, &[Arg::Fd, Arg::Ptr, Arg::Ptr]),
    Entry::new(52, "getpeername", getpeername, &[Arg::Fd, Arg::Ptr, Arg::Ptr]),
    Entry::new(288, "accept4", |t, a| accept(t, a, a.u32(3)), &[Arg::Fd, Arg::Ptr, Arg::Ptr, Arg::Flags(FLAGS)]),
];

const HOW: &[(u64, &str)] = &[(0, "SHUT_RD"), (1, "SHUT_WR"), (2, "SHUT_RDWR")];
const FLAGS: &[(u64, &str)] = &[(0x80000, "SOCK_CLOEXEC"), (0x800, "SOCK_NONBLOCK")];

fn bind(t: &mut CurrentTask, a: Args) -> SysResult {
    let found = Found::get(t, a.i32(0))?;
    let address = address_in(t, a.u64(1), a.i32(2))?;
    found.socket.bind(t, &address)?;
    Ok(0)
}

fn listen(t: &mut CurrentTask, a: Args) -> SysResult {
    let found = Found::get(t, a.i32(0))?;
    found.socket.listen(t, a.i32(1))?;
    Ok(0)
}

fn connect(t: &mut CurrentTask, a: Args) -> SysResult {
    let found = Found::get(t, a.i32(0))?;
    let address = address_in(t, a.u64(1), a.i32(2))?;
    let limit = found.socket.options().get().send_timeout;
    found.block(t, Events::WRITABLE, found.nonblock(), limit, |io| found.socket.connect(io, &address))?;
    Ok(0)
}

fn accept(t: &CurrentTask, a: Args, flags: u32) -> SysResult {
    if flags & !(c::O_CLOEXEC | c::O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let found = Found::get(t, a.i32(0))?;
    let nofile = t.group.limit(c::RLIMIT_NOFILE);
    t.fds().check_room(nofile)?;
    let limit = found.socket.options().get().receive_timeout;
    let (socket, peer) = found.block(t, Events::READABLE, found.nonblock(), limit, |_| found.socket.accept())?;
    let file = Arc::new(SocketFile::open(socket, flags & c::O_NONBLOCK != 0, t));
    if a.u64(1) != 0 {
        address_out(t, &peer, a.u64(1), a.u64(2))?;
    }
    Ok(t.fds().add(file, flags & c::O_CLOEXEC != 0, 0, nofile)? as u64)
}

fn shutdown(t: &mut CurrentTask, a: Args) -> SysResult {
    let found = Found::get(t, a.i32(0))?;
    let (read, write) = match a.i32(1) {
        0 => (true, false),
        1 => (false, true),
        2 => (true, true),
        _ => return Err(Errno::EINVAL.into()),
    };
    found.socket.shutdown(read, write)?;
    Ok(0)
}

fn getsockname(t: &mut CurrentTask, a: Args) -> SysResult {
    let found = Found::get(t, a.i32(0))?;
    address_out(t, &found.socket.name(), a.u64(1), a.u64(2))?;
    Ok(0)
}

fn getpeername(t: &mut CurrentTask, a: Args) -> SysResult {
    let found = Found::get(t, a.i32(0))?;
    address_out(t, &found.socket.peer_name()?, a.u64(1), a.u64(2))?;
    Ok(0)
}
