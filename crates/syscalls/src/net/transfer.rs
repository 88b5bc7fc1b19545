//! sendto(2) and recvfrom(2), and what all calls that send and receive share.

use super::{Found, address_in, address_out, broken_pipe};
use crate::args::{Arg, Args};
use crate::table::Entry;
use ::net::{Control, Received, SendFlags};
use abi::Errno;
use abi::raw::net as n;
use host::io::{Sink, Source};
use kernel::{CurrentTask, SysErr, SysResult};
use mm::{UserSink, UserSource};
use vfs::wait::Events;

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(44, "sendto", sendto, &[Arg::Fd, Arg::InBuf(2), Arg::Size, Arg::Flags(FLAGS), Arg::InBuf(5), Arg::Size]),
    Entry::new(45, "recvfrom", recvfrom, &[Arg::Fd, Arg::OutBuf, Arg::Size, Arg::Flags(FLAGS), Arg::Ptr, Arg::Ptr]),
];

pub(super) const FLAGS: &[(u64, &str)] = &[
    (0x1, "MSG_OOB"),
    (0x2, "MSG_PEEK"),
    (0x4, "MSG_DONTROUTE"),
    (0x8, "MSG_CTRUNC"),
    (0x20, "MSG_TRUNC"),
    (0x40, "MSG_DONTWAIT"),
    (0x80, "MSG_EOR"),
    (0x100, "MSG_WAITALL"),
    (0x800, "MSG_CONFIRM"),
    (0x2000, "MSG_ERRQUEUE"),
    (0x4000, "MSG_NOSIGNAL"),
    (0x8000, "MSG_MORE"),
    (0x10000, "MSG_WAITFORONE"),
    (0x2000_0000, "MSG_FASTOPEN"),
    (0x4000_0000, "MSG_CMSG_CLOEXEC"),
];

/// Sends all there is, waiting for room as far as that is allowed; the count is that of all that was sent.
pub(super) fn send(
    t: &CurrentTask,
    found: &Found,
    src: &mut dyn Source,
    to: Option<&[u8]>,
    control: &mut Control,
    flags: u32,
) -> SysResult {
    let nonblock = found.nonblock() || flags & n::MSG_DONTWAIT != 0;
    let stream = found.socket.kind() == n::SOCK_STREAM;
    let limit = found.socket.options().get().send_timeout;
    let how = SendFlags::from_bits_truncate(flags);
    let mut done = 0;
    loop {
        let step = found.block(t, Events::WRITABLE, nonblock, limit, |io| found.socket.send(io, src, to, control, how));
        match step {
            Ok(len) => {
                done += len as u64;
                if !stream || nonblock || len == 0 || src.remaining() == 0 {
                    return Ok(done);
                }
            }
            Err(_) if done > 0 => return Ok(done),
            Err(error) => {
                if stream && error == SysErr::Errno(Errno::EPIPE) && flags & n::MSG_NOSIGNAL == 0 {
                    broken_pipe(t);
                }
                return Err(error);
            }
        }
    }
}

/// Receives once, or with `MSG_WAITALL` from a stream until the sink is full.
pub(super) fn receive(t: &CurrentTask, found: &Found, dst: &mut dyn Sink, flags: u32) -> Result<Received, SysErr> {
    if flags & n::MSG_ERRQUEUE != 0 {
        return Err(Errno::EAGAIN.into());
    }
    let nonblock = found.nonblock() || flags & n::MSG_DONTWAIT != 0;
    let limit = found.socket.options().get().receive_timeout;
    let how = SendFlags::from_bits_truncate(flags);
    let events = if flags & n::MSG_OOB == 0 { Events::READABLE } else { Events::READABLE | Events::PRI };
    let stream = found.socket.kind() == n::SOCK_STREAM;
    let whole = stream && flags & n::MSG_WAITALL != 0 && flags & (n::MSG_PEEK | n::MSG_OOB) == 0 && !nonblock;
    let mut one = || found.block(t, events, nonblock, limit, |io| found.socket.receive(io, dst, how));
    let mut got = one()?;
    if !whole {
        return Ok(got);
    }
    let wanted = got.len + dst.remaining();
    while got.len > 0 && got.len < wanted && got.control.files.is_empty() {
        let more = found.block(t, events, nonblock, limit, |io| found.socket.receive(io, dst, how));
        match more {
            Ok(more) if more.len > 0 => {
                got.len += more.len;
                if !more.control.files.is_empty() {
                    got.control = more.control;
                }
            }
            _ => break,
        }
    }
    Ok(got)
}

/// What receiving returns: the count, or with `MSG_TRUNC` a message's full length.
pub(super) fn count(got: &Received, flags: u32) -> u64 {
    if flags & n::MSG_TRUNC != 0 && got.full > got.len { got.full as u64 } else { got.len as u64 }
}

fn sendto(t: &mut CurrentTask, a: Args) -> SysResult {
    let mut src = UserSource::new(t.mm(), a.u64(1), a.u64(2))?;
    let found = Found::get(t, a.i32(0))?;
    let to = if a.u64(4) == 0 { None } else { Some(address_in(t, a.u64(4), a.i32(5))?) };
    let to = to.filter(|to| !to.is_empty());
    send(t, &found, &mut src, to.as_deref(), &mut Control::default(), a.u32(3))
}

fn recvfrom(t: &mut CurrentTask, a: Args) -> SysResult {
    let mut dst = UserSink::new(t.mm(), a.u64(1), a.u64(2))?;
    let found = Found::get(t, a.i32(0))?;
    let got = receive(t, &found, &mut dst, a.u32(3))?;
    if a.u64(4) != 0 {
        address_out(t, &got.from, a.u64(4), a.u64(5))?;
    }
    Ok(count(&got, a.u32(3)))
}
