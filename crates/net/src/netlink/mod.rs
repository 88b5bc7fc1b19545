//! netlink(7): `NETLINK_ROUTE`, which tells of the loopback device, and `NETLINK_KOBJECT_UEVENT`, on which nothing happens.

mod route;

use crate::Namespace;
use crate::namespace::Listed;
use crate::options::Options;
use crate::queue::{Envelope, Queue};
use crate::socket::{Control, Received, SendFlags, Socket, Ucred};
use abi::Errno;
use abi::raw::net as n;
use host::io::{Sink, SliceSource, Source};
use lock::{Mutex, rank};
use std::any::Any;
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use vfs::wait::{Events, WaitQueue};
use vfs::{Caller, Capability, IoCx, IoError};

const ROUTE: u32 = 0;
const KOBJECT_UEVENT: u32 = 15;
/// Linux's `MAX_LINKS`.
const PROTOCOLS: u32 = 32;
const SOL_NETLINK: u32 = 270;
/// Longest message that is taken.
const MESSAGE_MAX: usize = 32 << 10;
/// `struct nlmsghdr`.
const HEADER: usize = 16;

/// Ports in use, by protocol.
pub struct Ports(Mutex<BTreeSet<(u32, u32)>>);

impl Default for Ports {
    fn default() -> Ports {
        Ports(Mutex::new(rank::LEAF, BTreeSet::new()))
    }
}

#[derive(Default)]
struct State {
    port: u32,
    groups: u32,
    bound: bool,
    queue: Queue,
}

/// A netlink socket.
pub struct NetlinkSocket {
    space: Arc<Namespace>,
    kind: u32,
    protocol: u32,
    options: Options,
    state: Mutex<State>,
    wait: WaitQueue,
    listed: OnceLock<Listed>,
}

/// Makes a socket of `AF_NETLINK`.
///
/// # Errors
/// `ESOCKTNOSUPPORT`, `EPROTONOSUPPORT`.
pub fn create(space: &Arc<Namespace>, kind: u32, protocol: u32) -> Result<Arc<dyn Socket>, Errno> {
    if !matches!(kind, n::SOCK_RAW | n::SOCK_DGRAM) {
        return Err(Errno::ESOCKTNOSUPPORT);
    }
    if protocol >= PROTOCOLS || !matches!(protocol, ROUTE | KOBJECT_UEVENT) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    let socket = Arc::new(NetlinkSocket {
        space: space.clone(),
        kind,
        protocol,
        options: Options::default(),
        state: Mutex::new(rank::SOCKET, State::default()),
        wait: WaitQueue::new(),
        listed: OnceLock::new(),
    });
    let dynamic: Arc<dyn Socket> = socket.clone();
    let _ = socket.listed.set(space.list(Arc::downgrade(&dynamic)));
    Ok(dynamic)
}

fn encode(port: u32, groups: u32) -> Vec<u8> {
    [n::AF_NETLINK, port, groups].iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// Port and groups that an address names.
fn decode(address: &[u8]) -> Result<(u32, u32), Errno> {
    let (words, _) = address.as_chunks::<4>();
    let [family, port, groups, ..] = words else { return Err(Errno::EINVAL) };
    if u32::from_le_bytes(*family) & 0xffff != n::AF_NETLINK {
        return Err(Errno::EINVAL);
    }
    Ok((u32::from_le_bytes(*port), u32::from_le_bytes(*groups)))
}

impl NetlinkSocket {
    /// Takes a port: the one asked for, or the process's id, or another if that is taken.
    fn take_port(&self, caller: &dyn Caller, asked: u32) -> Result<u32, Errno> {
        let mut ports = self.space.netlink.0.lock();
        if asked != 0 {
            return if ports.insert((self.protocol, asked)) { Ok(asked) } else { Err(Errno::EADDRINUSE) };
        }
        let mut port = caller.tgid() as u32;
        // Linux too goes on with negative numbers.
        let mut other = 0xffff_f000u32;
        while !ports.insert((self.protocol, port)) {
            port = other;
            other = other.checked_sub(1).ok_or(Errno::EADDRINUSE)?;
        }
        Ok(port)
    }

    fn ensure_bound(&self, caller: &dyn Caller) -> Result<u32, Errno> {
        let mut state = self.state.lock();
        if !state.bound {
            state.port = self.take_port(caller, 0)?;
            state.bound = true;
        }
        Ok(state.port)
    }

    /// Serves the requests in a message.
    fn serve(&self, caller: &dyn Caller, port: u32, bytes: &[u8]) -> Result<(), Errno> {
        let admin = caller.creds().capable(Capability::NetAdmin);
        let mut rest = bytes;
        while rest.len() >= HEADER {
            let (words, _) = rest.as_chunks::<4>();
            let len = words.first().map_or(0, |w| u32::from_le_bytes(*w)) as usize;
            let Some(message) = rest.get(..len).filter(|m| m.len() >= HEADER) else { break };
            for answer in route::answer(message, port, admin) {
                let credentials = Some(Ucred { pid: 0, uid: 0, gid: 0 });
                let control = Control { credentials, ..Control::default() };
                let envelope = Envelope { control, from: encode(0, 0), ..Envelope::default() };
                let mut state = self.state.lock();
                if state.queue.cost() >= self.options.get().receive_buffer as usize {
                    drop(state);
                    self.options.set_error(Errno::ENOBUFS);
                    break;
                }
                state.queue.push_message(&mut SliceSource::new(&answer), envelope)?;
            }
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        self.wait.notify(Events::READABLE);
        Ok(())
    }
}

impl Socket for NetlinkSocket {
    fn family(&self) -> u32 {
        n::AF_NETLINK
    }

    fn kind(&self) -> u32 {
        self.kind
    }

    fn protocol(&self) -> u32 {
        self.protocol
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn bind(&self, caller: &dyn Caller, address: &[u8]) -> Result<(), Errno> {
        let (port, groups) = decode(address)?;
        let mut state = self.state.lock();
        if state.bound {
            if port != 0 && port != state.port {
                return Err(Errno::EINVAL);
            }
        } else {
            state.port = self.take_port(caller, port)?;
            state.bound = true;
        }
        state.groups = groups;
        Ok(())
    }

    fn connect(&self, io: &IoCx<'_>, address: &[u8]) -> Result<(), IoError> {
        let _ = decode(address)?;
        self.ensure_bound(io.caller)?;
        Ok(())
    }

    fn send(
        &self,
        io: &IoCx<'_>,
        src: &mut dyn Source,
        to: Option<&[u8]>,
        _: &mut Control,
        flags: SendFlags,
    ) -> Result<usize, IoError> {
        if flags.contains(SendFlags::OOB) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if let Some(to) = to
            && decode(to)?.0 != 0
        {
            return Err(Errno::ECONNREFUSED.into());
        }
        let port = self.ensure_bound(io.caller)?;
        let len = src.remaining();
        if len > MESSAGE_MAX {
            return Err(Errno::EMSGSIZE.into());
        }
        let mut bytes = vec![0; len];
        let mut done = 0;
        while done < len {
            match src.take(bytes.get_mut(done..).unwrap_or_default())? {
                0 => break,
                n => done += n,
            }
        }
        if self.protocol != ROUTE {
            return Err(Errno::ECONNREFUSED.into());
        }
        self.serve(io.caller, port, &bytes)?;
        Ok(len)
    }

    fn receive(&self, _: &IoCx<'_>, dst: &mut dyn Sink, flags: SendFlags) -> Result<Received, IoError> {
        if flags.contains(SendFlags::OOB) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if let Some(errno) = self.options.take_error() {
            return Err(errno.into());
        }
        let got = self.state.lock().queue.read_message(dst, flags.contains(SendFlags::PEEK))?;
        got.ok_or(IoError::WouldBlock)
    }

    fn shutdown(&self, _: bool, _: bool) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn name(&self) -> Vec<u8> {
        let state = self.state.lock();
        encode(state.port, state.groups)
    }

    fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        Ok(encode(0, 0))
    }

    fn get_option(&self, level: u32, name: u32) -> Result<Vec<u8>, Errno> {
        match level {
            n::SOL_SOCKET => crate::options::of_no_peer(name),
            SOL_NETLINK => Ok(0i32.to_le_bytes().to_vec()),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn set_option(&self, level: u32, _: u32, _: &[u8]) -> Result<(), Errno> {
        if level == SOL_NETLINK { Ok(()) } else { Err(Errno::ENOPROTOOPT) }
    }

    fn unread(&self) -> usize {
        self.state.lock().queue.first_len()
    }

    fn readiness(&self) -> Events {
        let mut events = Events::WRITABLE;
        if !self.state.lock().queue.is_empty() {
            events |= Events::READABLE;
        }
        if self.options.get().error.is_some() {
            events |= Events::ERR;
        }
        events
    }

    fn queue(&self) -> &WaitQueue {
        &self.wait
    }

    fn closed(&self) {
        let (bound, port, packets) = {
            let mut state = self.state.lock();
            (state.bound, state.port, state.queue.clear())
        };
        drop(packets);
        if bound {
            self.space.netlink.0.lock().remove(&(self.protocol, port));
        }
    }
}
