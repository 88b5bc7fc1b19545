//! sendmsg(2), recvmsg(2) and their forms for many messages.

use super::transfer::{FLAGS, count, receive, send};
use super::{ADDRESS_MAX, Found, address_in, address_out, control};
use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use abi::Errno;
use abi::raw::net as n;
use kernel::{CurrentTask, SysErr, SysResult};
use mm::{UserRange, UserSink, UserSource};
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(46, "sendmsg", sendmsg, &[Arg::Fd, Arg::Ptr, Arg::Flags(FLAGS)]),
    Entry::new(47, "recvmsg", recvmsg, &[Arg::Fd, Arg::Ptr, Arg::Flags(FLAGS)]),
    Entry::new(299, "recvmmsg", recvmmsg, &[Arg::Fd, Arg::Ptr, Arg::Size, Arg::Flags(FLAGS), Arg::InTimespec]),
    Entry::new(307, "sendmmsg", sendmmsg, &[Arg::Fd, Arg::Ptr, Arg::Size, Arg::Flags(FLAGS)]),
];

/// `struct msghdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct MsgHdr {
    name: u64,
    name_len: i32,
    pad1: u32,
    iov: u64,
    iov_len: u64,
    control: u64,
    control_len: u64,
    flags: u32,
    pad2: u32,
}

const NAME_LEN_AT: u64 = 8;
const CONTROL_LEN_AT: u64 = 40;
const FLAGS_AT: u64 = 48;
/// `sizeof(struct msghdr)`, where `msg_len` of a `struct mmsghdr` is, and the size of that.
const LEN_AT: u64 = 56;
const MMSG_SIZE: u64 = 64;
/// Linux's `UIO_MAXIOV`.
const IOV_MAX: u64 = 1024;
const MSG_CMSG_COMPAT: u32 = 0x8000_0000;
const MSG_WAITFORONE: u32 = 0x1_0000;

impl MsgHdr {
    fn get(t: &CurrentTask, addr: u64) -> Result<(MsgHdr, Vec<UserRange>), Errno> {
        let mut header: MsgHdr = user::get(t, addr)?;
        if header.name == 0 {
            header.name_len = 0;
        }
        if header.name_len < 0 {
            return Err(Errno::EINVAL);
        }
        header.name_len = header.name_len.min(ADDRESS_MAX as i32);
        if header.iov_len > IOV_MAX {
            return Err(Errno::EMSGSIZE);
        }
        let ranges = t.mm().import_iovec(header.iov, header.iov_len)?;
        Ok((header, ranges))
    }
}

fn send_one(t: &CurrentTask, found: &Found, addr: u64, flags: u32) -> SysResult {
    let (header, ranges) = MsgHdr::get(t, addr)?;
    let to = address_in(t, header.name, header.name_len)?;
    if header.control_len > i32::MAX as u64 {
        return Err(Errno::ENOBUFS.into());
    }
    let mut control = control::read(t, &*found.socket, header.control, header.control_len)?;
    let mut src = UserSource::from_ranges(t.mm(), ranges);
    send(t, found, &mut src, Some(to.as_slice()).filter(|to| !to.is_empty()), &mut control, flags)
}

fn receive_one(t: &CurrentTask, found: &Found, addr: u64, flags: u32) -> SysResult {
    let (header, ranges) = MsgHdr::get(t, addr)?;
    let mut dst = UserSink::from_ranges(t.mm(), ranges);
    let mut got = receive(t, found, &mut dst, flags)?;
    let mut control = control::Writer::new(t, header.control, header.control_len);
    control.received(&*found.socket, &mut got, flags & n::MSG_CMSG_CLOEXEC != 0)?;
    if header.name != 0 {
        address_out(t, &got.from, header.name, addr.wrapping_add(NAME_LEN_AT))?;
    }
    let mut out = flags & n::MSG_CMSG_CLOEXEC;
    if got.full > got.len {
        out |= n::MSG_TRUNC;
    }
    if control.cut {
        out |= n::MSG_CTRUNC;
    }
    if flags & n::MSG_OOB != 0 {
        out |= n::MSG_OOB;
    }
    user::put(t, addr.wrapping_add(FLAGS_AT), &out)?;
    user::put(t, addr.wrapping_add(CONTROL_LEN_AT), &control.done)?;
    Ok(count(&got, flags))
}

fn sendmsg(t: &mut CurrentTask, a: Args) -> SysResult {
    if a.u32(2) & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL.into());
    }
    let found = Found::get(t, a.i32(0))?;
    send_one(t, &found, a.u64(1), a.u32(2))
}

fn recvmsg(t: &mut CurrentTask, a: Args) -> SysResult {
    if a.u32(2) & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL.into());
    }
    let found = Found::get(t, a.i32(0))?;
    receive_one(t, &found, a.u64(1), a.u32(2))
}

/// The outcome of some messages of many: their count, or the error of the first.
fn several(done: u64, ended: Option<SysErr>) -> SysResult {
    match ended {
        Some(error) if done == 0 => Err(error),
        _ => Ok(done),
    }
}

fn sendmmsg(t: &mut CurrentTask, a: Args) -> SysResult {
    let (vector, len, flags) = (a.u64(1), u64::from(a.u32(2)).min(IOV_MAX), a.u32(3));
    if flags & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL.into());
    }
    let found = Found::get(t, a.i32(0))?;
    let mut ended = None;
    let mut done = 0;
    while done < len {
        let at = vector.wrapping_add(done * MMSG_SIZE);
        let sent =
            send_one(t, &found, at, flags).and_then(|sent| Ok(user::put(t, at.wrapping_add(LEN_AT), &(sent as u32))?));
        if let Err(error) = sent {
            ended = Some(error);
            break;
        }
        done += 1;
    }
    several(done, ended)
}

fn deadline(t: &CurrentTask, addr: u64) -> Result<Option<Instant>, Errno> {
    if addr == 0 {
        return Ok(None);
    }
    let [sec, nsec]: [i64; 2] = user::get(t, addr)?;
    let sec = u64::try_from(sec).map_err(|_| Errno::EINVAL)?;
    let nsec = u32::try_from(nsec).ok().filter(|n| *n < 1_000_000_000).ok_or(Errno::EINVAL)?;
    Ok(Instant::now().checked_add(Duration::new(sec, nsec)))
}

fn recvmmsg(t: &mut CurrentTask, a: Args) -> SysResult {
    let (vector, len, mut flags, timeout) = (a.u64(1), u64::from(a.u32(2)).min(IOV_MAX), a.u32(3), a.u64(4));
    if flags & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL.into());
    }
    let until = deadline(t, timeout)?;
    let found = Found::get(t, a.i32(0))?;
    let mut ended = None;
    let mut done = 0;
    while done < len {
        let at = vector.wrapping_add(done * MMSG_SIZE);
        let got = receive_one(t, &found, at, flags & !MSG_WAITFORONE)
            .and_then(|got| Ok(user::put(t, at.wrapping_add(LEN_AT), &(got as u32))?));
        if let Err(error) = got {
            ended = Some(error);
            break;
        }
        done += 1;
        if flags & MSG_WAITFORONE != 0 {
            flags |= n::MSG_DONTWAIT;
        }
        // As Linux's, the timeout is looked at after each message only.
        if until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
    }
    if let Some(until) = until {
        let left = until.saturating_duration_since(Instant::now());
        user::put(t, timeout, &[left.as_secs(), u64::from(left.subsec_nanos())])?;
    }
    several(done, ended)
}
