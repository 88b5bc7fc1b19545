//! TCP sockets as [`Socket`]s.

use super::tcp::{Phase, TcpSocket};
use super::{TCP, address, options};
use crate::options::Options;
use crate::socket::{Control, Received, SendFlags, Socket};
use abi::Errno;
use abi::raw::net as n;
use host::io::{Sink, Source};
use std::any::Any;
use std::sync::Arc;
use vfs::wait::{Events, WaitQueue};
use vfs::{Caller, IoCx, IoError};

impl Socket for TcpSocket {
    fn family(&self) -> u32 {
        self.family
    }

    fn kind(&self) -> u32 {
        n::SOCK_STREAM
    }

    fn protocol(&self) -> u32 {
        TCP
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn bind(&self, caller: &dyn Caller, address: &[u8]) -> Result<(), Errno> {
        self.bind_address(caller, address)
    }

    fn listen(&self, _: &dyn Caller, backlog: i32) -> Result<(), Errno> {
        self.start_listening(backlog)
    }

    fn listens(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Listening { .. })
    }

    fn accept(&self) -> Result<(Arc<dyn Socket>, Vec<u8>), IoError> {
        self.accept_one()
    }

    fn connect(&self, io: &IoCx<'_>, address: &[u8]) -> Result<(), IoError> {
        self.connect_to(io, address)
    }

    fn send(
        &self,
        _: &IoCx<'_>,
        src: &mut dyn Source,
        _: Option<&[u8]>,
        _: &mut Control,
        flags: SendFlags,
    ) -> Result<usize, IoError> {
        self.send_bytes(src, flags)
    }

    fn receive(&self, _: &IoCx<'_>, dst: &mut dyn Sink, flags: SendFlags) -> Result<Received, IoError> {
        self.receive_bytes(dst, flags)
    }

    fn shutdown(&self, read: bool, write: bool) -> Result<(), Errno> {
        self.shut(read, write)
    }

    fn name(&self) -> Vec<u8> {
        self.local_name()
    }

    fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        let state = self.state.lock();
        match (&state.phase, state.remote) {
            (Phase::Connected, Some(remote)) if !state.reset => Ok(address::encode(remote, self.family)),
            _ => Err(Errno::ENOTCONN),
        }
    }

    fn get_option(&self, level: u32, name: u32) -> Result<Vec<u8>, Errno> {
        if level == n::SOL_SOCKET {
            return crate::options::of_no_peer(name);
        }
        match options::tcp_info(level, name, self.summary().0) {
            Some(info) => Ok(info),
            None => self.kept.get(level, name, self.family, true),
        }
    }

    fn set_option(&self, level: u32, name: u32, value: &[u8]) -> Result<(), Errno> {
        if level == n::SOL_SOCKET {
            return Err(Errno::ENOPROTOOPT);
        }
        if options::is_only_v6(level, name) && !self.is_v4() && self.state.lock().bound {
            return Err(Errno::EINVAL);
        }
        self.kept.set(level, name, value, self.family, true)
    }

    fn unread(&self) -> usize {
        self.state.lock().queue.bytes()
    }

    fn unsent(&self) -> usize {
        let peer = self.state.lock().peer.as_ref().and_then(std::sync::Weak::upgrade);
        peer.map_or(0, |peer| peer.state.lock().queue.bytes())
    }

    fn at_mark(&self) -> bool {
        self.state.lock().queue.at_mark()
    }

    fn readiness(&self) -> Events {
        self.events()
    }

    fn queue(&self) -> &WaitQueue {
        &self.wait
    }

    fn closed(&self) {
        self.close();
    }
}
