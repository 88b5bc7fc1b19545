//! Sockets of the host that the sandbox's caller handed over as standard input, output or error.
//!
//! They send and receive; what would make more sockets of them, or reach other peers, is refused. No description crosses:
//! what is attached to a message from outside is never taken, and none of the sandbox's is sent. What a socket tells of
//! itself is found out once, before the Sentry confines itself ([`Facts::of`]).

use crate::inet::address as inet;
use crate::options::Options;
use crate::socket::{Control, Received, SendFlags, Socket};
use crate::unix::address as unix;
use abi::Errno;
use abi::raw::net as n;
use host::guestmem::HostRange;
use host::io::{Sink, Source};
use rustix::fd::OwnedFd;
use rustix::net::{
    RecvFlags, SendFlags as HostFlags, Shutdown, SocketAddrAny, SocketAddrUnix, getpeername, getsockname, recv, send,
    shutdown, sockopt,
};
use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use vfs::reactor::{Reactor, Watched};
use vfs::wait::{Events, WaitQueue};
use vfs::{Caller, IoCx, IoError};

/// Most bytes of a stream moved at once.
const PIECE: usize = 64 << 10;
/// Longest message; Linux's limits for buffers are far below.
const MESSAGE_MAX: usize = 4 << 20;

/// What a socket says of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    family: u32,
    kind: u32,
    protocol: u32,
    listens: bool,
    name: Vec<u8>,
    peer: Option<Vec<u8>>,
    /// The ids of `SO_PEERCRED`. The process is outside, where no number of the sandbox's leads.
    peer_ids: Option<(u32, u32)>,
}

fn encode(address: SocketAddrAny, family: u32) -> Option<Vec<u8>> {
    if family != n::AF_UNIX {
        return SocketAddr::try_from(address).ok().map(|address| inet::encode(address, family));
    }
    let address = SocketAddrUnix::try_from(address).ok()?;
    let path = address.path_bytes().map(<[u8]>::to_vec);
    let of_abstract = || address.abstract_name().filter(|name| !name.is_empty()).map(|name| [b"\0", name].concat());
    let name = path.or_else(of_abstract);
    Some(unix::encode(&name.unwrap_or_default()))
}

impl Facts {
    /// Asks a descriptor. `None` if it is no socket, or one of a family that is not known here.
    #[must_use]
    pub fn of(fd: &OwnedFd) -> Option<Facts> {
        let family = u32::from(sockopt::socket_domain(fd).ok()?.as_raw());
        if !matches!(family, n::AF_UNIX | n::AF_INET | n::AF_INET6) {
            return None;
        }
        let ids = sockopt::socket_peercred(fd).ok().filter(|_| family == n::AF_UNIX);
        Some(Facts {
            family,
            kind: sockopt::socket_type(fd).ok()?.as_raw(),
            protocol: sockopt::socket_protocol(fd).ok()?.map_or(0, |protocol| protocol.as_raw().get()),
            listens: sockopt::socket_acceptconn(fd).unwrap_or(false),
            name: encode(getsockname(fd).ok()?, family)?,
            peer: getpeername(fd).ok().flatten().and_then(|address| encode(address, family)),
            peer_ids: ids.map(|ids| (ids.uid.as_raw(), ids.gid.as_raw())),
        })
    }
}

/// A socket of the host.
pub struct HostSocket {
    facts: Facts,
    watched: Watched,
    /// For sockets that are never watched.
    nobody: WaitQueue,
    options: Options,
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error()).unwrap_or(Errno::EIO)
}

fn total(ranges: &[HostRange<'_>]) -> usize {
    ranges.iter().map(HostRange::len).sum::<usize>().min(PIECE)
}

impl HostSocket {
    /// Takes a donated socket.
    #[must_use]
    pub fn new(fd: OwnedFd, facts: Facts, reactor: &Arc<dyn Reactor>) -> HostSocket {
        let watched = Watched::new(fd, true, reactor);
        HostSocket { facts, watched, nobody: WaitQueue::new(), options: Options::default() }
    }

    fn is_stream(&self) -> bool {
        self.facts.kind == n::SOCK_STREAM
    }

    fn send_now(&self, bytes: &[u8], flags: SendFlags) -> Result<usize, Errno> {
        let passed = SendFlags::OOB | SendFlags::EOR | SendFlags::MORE;
        let flags = HostFlags::from_bits_retain((flags & passed).bits()) | HostFlags::DONTWAIT | HostFlags::NOSIGNAL;
        send(self.watched.fd(), bytes, flags).map_err(errno)
    }

    /// Fills `buffer` from its start; returns how much that is, and how long a message is in full.
    fn receive_now(&self, buffer: &mut [u8], flags: SendFlags) -> Result<(usize, usize), Errno> {
        let mut how = RecvFlags::from_bits_retain((flags & (SendFlags::OOB | SendFlags::PEEK)).bits());
        how |= RecvFlags::DONTWAIT;
        how.set(RecvFlags::TRUNC, !self.is_stream());
        recv(self.watched.fd(), buffer, how).map_err(errno)
    }

    fn send_stream(&self, src: &mut dyn Source, flags: SendFlags) -> Result<usize, Errno> {
        let mut done = 0;
        while src.remaining() > 0 {
            let step = src.drain_with(src.remaining().min(PIECE), &mut |ranges| {
                let mut bytes = vec![0; total(ranges)];
                let mut at = 0;
                for range in ranges {
                    let Some(room) = bytes.get_mut(at..).filter(|room| !room.is_empty()) else { break };
                    let len = room.len().min(range.len());
                    range.read(room.get_mut(..len).unwrap_or_default())?;
                    at += len;
                }
                self.send_now(bytes.get(..at).unwrap_or_default(), flags)
            });
            match step {
                Ok(0) => break,
                Ok(len) => done += len,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }

    /// Sends one message whole.
    fn send_message(&self, src: &mut dyn Source, flags: SendFlags) -> Result<usize, Errno> {
        if src.remaining() > MESSAGE_MAX {
            return Err(Errno::EMSGSIZE);
        }
        // Once taken from the guest it is sent or lost.
        if !self.watched.ready().intersects(Events::WRITABLE | Events::HUP | Events::ERR) {
            return Err(Errno::EAGAIN);
        }
        let mut bytes = vec![0; src.remaining()];
        let mut len = 0;
        while len < bytes.len() {
            match src.take(bytes.get_mut(len..).unwrap_or_default())? {
                0 => return Err(Errno::EFAULT),
                more => len += more,
            }
        }
        match self.send_now(&bytes, flags) {
            // Somebody outside took the room in between.
            Err(Errno::EAGAIN) => Err(Errno::ENOBUFS),
            other => other,
        }
    }

    fn receive_stream(&self, dst: &mut dyn Sink, flags: SendFlags) -> Result<usize, Errno> {
        dst.fill_with(dst.remaining().min(PIECE), &mut |ranges| {
            let mut bytes = vec![0; total(ranges)];
            let (len, _) = self.receive_now(&mut bytes, flags)?;
            let mut rest = bytes.get(..len).unwrap_or_default();
            for range in ranges {
                let (now, later) = rest.split_at(rest.len().min(range.len()));
                range.slice(0, now.len()).write(now)?;
                rest = later;
            }
            Ok(len)
        })
    }
}

impl Socket for HostSocket {
    fn family(&self) -> u32 {
        self.facts.family
    }

    fn kind(&self) -> u32 {
        self.facts.kind
    }

    fn protocol(&self) -> u32 {
        self.facts.protocol
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn bind(&self, _: &dyn Caller, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    fn listen(&self, _: &dyn Caller, _: i32) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    fn listens(&self) -> bool {
        self.facts.listens
    }

    fn accept(&self) -> Result<(Arc<dyn Socket>, Vec<u8>), IoError> {
        Err(if self.facts.listens { Errno::EPERM } else { Errno::EINVAL }.into())
    }

    fn connect(&self, _: &IoCx<'_>, _: &[u8]) -> Result<(), IoError> {
        let connected = self.facts.peer.is_some() && self.facts.kind != n::SOCK_DGRAM;
        Err(if connected { Errno::EISCONN } else { Errno::EPERM }.into())
    }

    fn send(
        &self,
        _: &IoCx<'_>,
        src: &mut dyn Source,
        to: Option<&[u8]>,
        control: &mut Control,
        flags: SendFlags,
    ) -> Result<usize, IoError> {
        if !control.files.is_empty() {
            return Err(Errno::EPERM.into());
        }
        if to.is_some() {
            let stream = self.is_stream() && self.facts.peer.is_some();
            return Err(if stream { Errno::EISCONN } else { Errno::EPERM }.into());
        }
        let sent = if self.is_stream() { self.send_stream(src, flags) } else { self.send_message(src, flags) };
        match sent {
            Err(Errno::EAGAIN) => Err(self.watched.would_block(Events::WRITABLE)),
            other => Ok(other?),
        }
    }

    fn receive(&self, _: &IoCx<'_>, dst: &mut dyn Sink, flags: SendFlags) -> Result<Received, IoError> {
        let received = if self.is_stream() {
            self.receive_stream(dst, flags).map(|len| (len, 0))
        } else {
            let mut bytes = vec![0; dst.remaining().min(MESSAGE_MAX)];
            self.receive_now(&mut bytes, flags)
                .and_then(|(len, full)| Ok((dst.put(bytes.get(..len).unwrap_or_default())?, full)))
        };
        match received {
            Err(Errno::EAGAIN) => Err(self.watched.would_block(Events::READABLE | Events::PRI)),
            Err(errno) => Err(errno.into()),
            Ok((len, full)) => {
                let from = self.facts.peer.clone().filter(|_| self.facts.family == n::AF_UNIX).unwrap_or_default();
                Ok(Received { len, full, from, ..Received::default() })
            }
        }
    }

    fn shutdown(&self, read: bool, write: bool) -> Result<(), Errno> {
        let how = match (read, write) {
            (true, true) => Shutdown::Both,
            (true, false) => Shutdown::Read,
            _ => Shutdown::Write,
        };
        shutdown(self.watched.fd(), how).map_err(errno)
    }

    fn name(&self) -> Vec<u8> {
        self.facts.name.clone()
    }

    fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        self.facts.peer.clone().ok_or(Errno::ENOTCONN)
    }

    fn get_option(&self, level: u32, name: u32) -> Result<Vec<u8>, Errno> {
        match (level, name, self.facts.peer_ids) {
            (n::SOL_SOCKET, n::SO_PEERCRED, Some((uid, gid))) => Ok([0, uid, gid].map(u32::to_le_bytes).concat()),
            (n::SOL_SOCKET, ..) => crate::options::of_no_peer(name),
            _ if self.facts.family == n::AF_UNIX => Err(Errno::EOPNOTSUPP),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn unread(&self) -> usize {
        rustix::io::ioctl_fionread(self.watched.fd()).map_or(0, |len| usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn readiness(&self) -> Events {
        self.watched.readiness()
    }

    fn queue(&self) -> &WaitQueue {
        self.watched.queue().unwrap_or(&self.nobody)
    }

    fn closed(&self) {}
}
