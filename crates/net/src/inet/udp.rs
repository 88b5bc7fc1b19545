//! UDP.

use super::options::{self, Kept};
use super::ports::{Sharing, check_local};
use super::{UDP, address, check_port};
use crate::Namespace;
use crate::flow::Flow;
use crate::namespace::Listed;
use crate::options::Options;
use crate::queue::{Envelope, Queue};
use crate::socket::{Control, Received, SendFlags, Socket};
use abi::Errno;
use abi::raw::net as n;
use host::io::{Sink, Source};
use lock::{Mutex, rank};
use std::any::Any;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock, Weak};
use vfs::wait::{Events, WaitQueue};
use vfs::{Caller, IoCx, IoError};

/// Largest payload.
const V4_MAX: usize = 65507;
const V6_MAX: usize = 65527;

#[derive(Default)]
struct State {
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    queue: Queue,
    shut_read: bool,
    shut_write: bool,
}

/// A UDP socket.
pub struct UdpSocket {
    this: Weak<UdpSocket>,
    space: Arc<Namespace>,
    family: u32,
    flow: Arc<Flow>,
    kept: Kept,
    state: Mutex<State>,
    listed: OnceLock<Listed>,
}

impl UdpSocket {
    /// An unbound socket.
    #[must_use]
    pub fn new(space: &Arc<Namespace>, family: u32) -> Arc<UdpSocket> {
        let socket = Arc::new_cyclic(|this| UdpSocket {
            this: this.clone(),
            space: space.clone(),
            family,
            flow: Arc::default(),
            kept: Kept::default(),
            state: Mutex::new(rank::SOCKET, State::default()),
            listed: OnceLock::new(),
        });
        let weak: Weak<UdpSocket> = Arc::downgrade(&socket);
        let _ = socket.listed.set(space.list(weak));
        socket
    }

    /// Whether it is of IPv6.
    #[must_use]
    pub fn is_v6(&self) -> bool {
        self.family != n::AF_INET
    }

    /// Both ends, and bytes unread.
    #[must_use]
    pub fn summary(&self) -> (SocketAddr, SocketAddr, usize) {
        let none = SocketAddr::new(address::any(self.family), 0);
        let state = self.state.lock();
        (state.local.unwrap_or(none), state.remote.unwrap_or(none), state.queue.bytes())
    }

    fn bind_to(&self, state: &mut State, at: SocketAddr) -> Result<(), Errno> {
        let options = self.flow.options.get();
        let sharing = Sharing {
            address: options.reuse_address,
            port: options.reuse_port,
            uid: options.uid,
            only_v6: self.kept.only_v6(),
            listens: false,
        };
        state.local = Some(self.space.inet.udp.bind(at, sharing, true, self.this.clone())?);
        Ok(())
    }

    /// The address it sends from, bound to one of any if need be.
    fn source(&self, from: IpAddr) -> Result<SocketAddr, Errno> {
        let mut state = self.state.lock();
        if state.local.is_none() {
            self.bind_to(&mut state, SocketAddr::new(address::any(self.family), 0))?;
        }
        let local = state.local.ok_or(Errno::EINVAL)?;
        Ok(if local.ip().is_unspecified() { SocketAddr::new(from, local.port()) } else { local })
    }

    /// Puts a message into a receiver's queue, if that takes it.
    fn deliver(&self, to: &UdpSocket, src: &mut dyn Source, from: SocketAddr, at: SocketAddr) -> Result<(), IoError> {
        let len = src.remaining();
        let Some(charge) = self.flow.charge(len) else { return Err(IoError::WouldBlock) };
        {
            let mut state = to.state.lock();
            let full = state.queue.cost() >= to.flow.options.get().receive_buffer as usize;
            if state.shut_read || full {
                // Lost, as datagrams are.
                return Ok(());
            }
            let (from, at) = (address::encode(from, to.family), address::encode(at, to.family));
            let envelope = Envelope { control: Control::default(), from, to: at, charge: Some(charge) };
            state.queue.push_message(src, envelope)?;
        }
        to.flow.wait.notify(Events::READABLE);
        Ok(())
    }

    /// Whether it takes messages from there.
    fn takes(&self, from: SocketAddr) -> Option<bool> {
        match self.state.lock().remote {
            Some(remote) if remote == from => Some(true),
            Some(_) => None,
            None => Some(false),
        }
    }
}

impl Socket for UdpSocket {
    fn family(&self) -> u32 {
        self.family
    }

    fn kind(&self) -> u32 {
        n::SOCK_DGRAM
    }

    fn protocol(&self) -> u32 {
        UDP
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn options(&self) -> &Options {
        &self.flow.options
    }

    fn bind(&self, caller: &dyn Caller, bytes: &[u8]) -> Result<(), Errno> {
        let at = address::decode(bytes, self.family)?;
        check_local(at.ip())?;
        check_port(caller, at.port())?;
        let mut state = self.state.lock();
        if state.local.is_some() {
            return Err(Errno::EINVAL);
        }
        self.bind_to(&mut state, at)
    }

    fn connect(&self, _: &IoCx<'_>, bytes: &[u8]) -> Result<(), IoError> {
        if address::family(bytes)? == n::AF_UNSPEC {
            self.state.lock().remote = None;
            return Ok(());
        }
        let to = address::decode(bytes, self.family)?;
        let (to_ip, from_ip) = address::route(to.ip())?;
        let source = self.source(from_ip)?;
        let mut state = self.state.lock();
        state.local = Some(source);
        state.remote = Some(SocketAddr::new(to_ip, to.port()));
        Ok(())
    }

    fn send(
        &self,
        _: &IoCx<'_>,
        src: &mut dyn Source,
        to: Option<&[u8]>,
        _: &mut Control,
        flags: SendFlags,
    ) -> Result<usize, IoError> {
        let len = src.remaining();
        if len > u16::MAX.into() {
            return Err(Errno::EMSGSIZE.into());
        }
        if flags.contains(SendFlags::OOB) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let to = match to {
            Some(bytes) => address::decode(bytes, self.family)?,
            None => self.state.lock().remote.ok_or(Errno::EDESTADDRREQ)?,
        };
        if to.port() == 0 {
            return Err(Errno::EINVAL.into());
        }
        if let Some(errno) = self.flow.options.take_error() {
            return Err(errno.into());
        }
        if to.ip() == Ipv4Addr::BROADCAST && !self.flow.options.get().broadcast {
            return Err(Errno::EACCES.into());
        }
        let (to_ip, from_ip) = address::route(to.ip())?;
        let to = SocketAddr::new(to_ip, to.port());
        let max = if to.is_ipv4() { V4_MAX } else { V6_MAX };
        if len > max {
            return Err(Errno::EMSGSIZE.into());
        }
        if self.state.lock().shut_write {
            return Err(Errno::EPIPE.into());
        }
        let from = self.source(from_ip)?;
        let takers = self.space.inet.udp.at(to, false).into_iter().filter_map(|s| s.takes(from).map(|c| (c, s)));
        // One that is connected to the sender goes before others; else the last to be bound.
        let taker = takers.max_by_key(|(connected, _)| *connected).map(|(_, socket)| socket);
        match taker {
            Some(taker) => self.deliver(&taker, src, from, to)?,
            None if self.state.lock().remote == Some(to) => {
                self.flow.options.set_error(Errno::ECONNREFUSED);
                self.flow.wait.notify(Events::ERR | Events::READABLE);
            }
            None => {}
        }
        Ok(len)
    }

    fn receive(&self, io: &IoCx<'_>, dst: &mut dyn Sink, flags: SendFlags) -> Result<Received, IoError> {
        let mut state = self.state.lock();
        if let Some(errno) = self.flow.options.take_error() {
            return Err(errno.into());
        }
        let got = state.queue.read_message(dst, flags.contains(SendFlags::PEEK))?;
        match got {
            Some(got) => Ok(got),
            None if state.shut_read && !io.nonblock => Ok(Received::default()),
            None => Err(IoError::WouldBlock),
        }
    }

    fn shutdown(&self, read: bool, write: bool) -> Result<(), Errno> {
        {
            let mut state = self.state.lock();
            if state.remote.is_none() {
                return Err(Errno::ENOTCONN);
            }
            state.shut_read |= read;
            state.shut_write |= write;
        }
        self.flow.wait.notify(Events::all());
        Ok(())
    }

    fn name(&self) -> Vec<u8> {
        address::encode(self.summary().0, self.family)
    }

    fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        let remote = self.state.lock().remote.ok_or(Errno::ENOTCONN)?;
        Ok(address::encode(remote, self.family))
    }

    fn get_option(&self, level: u32, name: u32) -> Result<Vec<u8>, Errno> {
        if level == n::SOL_SOCKET {
            return crate::options::of_no_peer(name);
        }
        self.kept.get(level, name, self.family, false)
    }

    fn set_option(&self, level: u32, name: u32, value: &[u8]) -> Result<(), Errno> {
        if level == n::SOL_SOCKET {
            return Err(Errno::ENOPROTOOPT);
        }
        if options::is_only_v6(level, name) && self.state.lock().local.is_some() {
            return Err(Errno::EINVAL);
        }
        self.kept.set(level, name, value, self.family, false)
    }

    fn ancillary(&self, received: &Received) -> Vec<(u32, u32, Vec<u8>)> {
        const LOOPBACK: u32 = 1;
        let (four, six) = self.kept.packet_info();
        let mut out = Vec::new();
        let Ok(to) = address::decode(&received.to, self.family) else { return out };
        if let (true, IpAddr::V4(ip)) = (four, to.ip()) {
            let info = [LOOPBACK.to_le_bytes(), ip.octets(), ip.octets()].concat();
            out.push((0, 8, info));
        }
        if let (true, IpAddr::V6(ip)) = (six, to.ip()) {
            out.push((41, 50, [&ip.octets()[..], &LOOPBACK.to_le_bytes()].concat()));
        }
        out
    }

    fn unread(&self) -> usize {
        self.state.lock().queue.first_len()
    }

    fn unsent(&self) -> usize {
        self.flow.used()
    }

    fn readiness(&self) -> Events {
        let writable = self.flow.writable();
        let state = self.state.lock();
        let mut events = Events::empty();
        if !state.queue.is_empty() || state.shut_read {
            events |= Events::READABLE;
        }
        if state.shut_read {
            events |= Events::RDHUP;
        }
        if state.shut_read && state.shut_write {
            events |= Events::HUP;
        }
        if writable {
            events |= Events::WRITABLE;
        }
        if self.flow.options.get().error.is_some() {
            events |= Events::ERR;
        }
        events
    }

    fn queue(&self) -> &WaitQueue {
        &self.flow.wait
    }

    fn closed(&self) {
        let (local, packets) = {
            let mut state = self.state.lock();
            (state.local, state.queue.clear())
        };
        drop(packets);
        if let Some(local) = local {
            self.space.inet.udp.release(local.port(), &self.this);
        }
    }
}
