//! Local sockets as [`Socket`]s.

use super::{Phase, UnixSocket, address};
use crate::flow::Flow;
use crate::options::Options;
use crate::socket::{Control, Received, SendFlags, Socket, Ucred};
use abi::Errno;
use abi::raw::net as n;
use host::io::{Sink, Source};
use kernel::CurrentTask;
use std::any::Any;
use std::sync::Arc;
use vfs::wait::{Events, WaitQueue};
use vfs::{Caller, IoCx, IoError};

impl UnixSocket {
    fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }
}

impl Socket for UnixSocket {
    fn family(&self) -> u32 {
        n::AF_UNIX
    }

    fn kind(&self) -> u32 {
        self.kind
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn options(&self) -> &Options {
        &self.flow().options
    }

    fn bind(&self, caller: &dyn Caller, address: &[u8]) -> Result<(), Errno> {
        let task = caller.as_any().downcast_ref::<CurrentTask>().ok_or(Errno::EINVAL)?;
        self.bind_name(task, address)
    }

    fn listen(&self, caller: &dyn Caller, backlog: i32) -> Result<(), Errno> {
        self.start_listening(caller, backlog)
    }

    fn listens(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Listening { .. })
    }

    fn accept(&self) -> Result<(Arc<dyn Socket>, Vec<u8>), IoError> {
        self.accept_one()
    }

    fn connect(&self, io: &IoCx<'_>, address: &[u8]) -> Result<(), IoError> {
        if self.is_datagram() { Ok(self.connect_datagram(io, address)?) } else { self.connect_stream(io, address) }
    }

    fn send(
        &self,
        io: &IoCx<'_>,
        src: &mut dyn Source,
        to: Option<&[u8]>,
        control: &mut Control,
        flags: SendFlags,
    ) -> Result<usize, IoError> {
        if flags.contains(SendFlags::OOB) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if self.is_stream() { self.send_stream(io, src, to, control) } else { self.send_message(io, src, to, control) }
    }

    fn receive(&self, io: &IoCx<'_>, dst: &mut dyn Sink, flags: SendFlags) -> Result<Received, IoError> {
        if flags.contains(SendFlags::OOB) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let peek = flags.contains(SendFlags::PEEK);
        if self.is_stream() { self.receive_stream(dst, peek) } else { self.receive_message(io, dst, peek) }
    }

    fn shutdown(&self, read: bool, write: bool) -> Result<(), Errno> {
        let (peer, waiters) = {
            let mut state = self.state.lock();
            state.shut_read |= read;
            state.shut_write |= write;
            (state.peer.as_ref().and_then(std::sync::Weak::upgrade), std::mem::take(&mut state.waiters))
        };
        // Of a connection, the peer learns of it; a datagram's default peer does not.
        if let (false, Some(peer)) = (self.is_datagram(), peer) {
            let mut state = peer.state.lock();
            state.shut_read |= write;
            state.shut_write |= read;
            drop(state);
            peer.notify(Events::all());
        }
        self.wake_waiters(waiters);
        self.notify(Events::all());
        Ok(())
    }

    fn name(&self) -> Vec<u8> {
        address::encode(&self.state.lock().name)
    }

    fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        if let Some(peer) = self.peer() {
            return Ok(peer.name());
        }
        let state = self.state.lock();
        match state.phase {
            Phase::Connected => Ok(address::encode(&state.peer_name)),
            _ => Err(Errno::ENOTCONN),
        }
    }

    fn get_option(&self, level: u32, name: u32) -> Result<Vec<u8>, Errno> {
        if level != n::SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let found = self.state.lock().peer_credentials.clone();
        match name {
            n::SO_PEERCRED => {
                let nobody = Ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
                let found = found.map_or(nobody, |(ids, _)| ids);
                Ok([found.pid as u32, found.uid, found.gid].iter().flat_map(|w| w.to_le_bytes()).collect())
            }
            n::SO_PEERGROUPS => {
                let (_, groups) = found.ok_or(Errno::ENODATA)?;
                Ok(groups.iter().flat_map(|g| g.to_le_bytes()).collect())
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn set_option(&self, level: u32, _name: u32, _value: &[u8]) -> Result<(), Errno> {
        if level == n::SOL_SOCKET { Err(Errno::ENOPROTOOPT) } else { Err(Errno::EOPNOTSUPP) }
    }

    fn unread(&self) -> usize {
        let state = self.state.lock();
        if self.is_datagram() { state.queue.first_len() } else { state.queue.bytes() }
    }

    fn unsent(&self) -> usize {
        if !self.is_stream() {
            return self.flow.used();
        }
        self.peer().map_or(0, |peer| peer.state.lock().queue.bytes())
    }

    fn readiness(&self) -> Events {
        self.events()
    }

    fn queue(&self) -> &WaitQueue {
        &self.flow().wait
    }

    fn closed(&self) {
        self.close();
    }
}
