//! Messages: datagrams and sequenced packets.

use super::{Phase, UnixSocket, address, discard};
use crate::queue::Envelope;
use crate::socket::{Control, Received};
use abi::Errno;
use abi::raw::net::AF_UNSPEC;
use host::io::{Sink, Source};
use kernel::CurrentTask;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vfs::wait::Events;
use vfs::{IoCx, IoError};

/// What of the send buffer a message can't use.
const RESERVED: usize = 32;

impl UnixSocket {
    pub(super) fn connect_datagram(&self, io: &IoCx<'_>, address: &[u8]) -> Result<(), Errno> {
        let unspecified = address.first_chunk().is_some_and(|f| u32::from(u16::from_le_bytes(*f)) == AF_UNSPEC);
        let peer = if unspecified {
            None
        } else {
            let task = io.caller.as_any().downcast_ref::<CurrentTask>().ok_or(Errno::EINVAL)?;
            let peer = self.find(task, address)?;
            if !peer.accepts(self) {
                return Err(Errno::EPERM);
            }
            Some(peer)
        };
        let name = peer.as_ref().map(|p| p.state.lock().name.clone()).unwrap_or_default();
        let old = {
            let mut state = self.state.lock();
            state.phase = if peer.is_some() { Phase::Connected } else { Phase::Idle };
            state.peer_name = name;
            std::mem::replace(&mut state.peer, peer.as_ref().map(Arc::downgrade))
        };
        if let Some(old) = old.and_then(|old| old.upgrade()).filter(|old| peer.as_ref().is_none_or(|p| !p.is(old))) {
            self.disconnected(&old);
        }
        // Whom it takes from has changed.
        let waiters = std::mem::take(&mut self.state.lock().waiters);
        self.wake_waiters(waiters);
        self.notify(Events::WRITABLE);
        Ok(())
    }

    /// It has left this peer: what came meanwhile is lost, and a peer that was connected here is told so.
    fn disconnected(&self, old: &UnixSocket) {
        let packets = {
            let mut state = self.state.lock();
            if state.queue.is_empty() {
                return;
            }
            state.queue.clear()
        };
        discard(packets);
        let mutual = {
            let state = old.state.lock();
            !state.closed && state.peer.as_ref().is_some_and(|p| p.ptr_eq(&self.this))
        };
        if mutual {
            old.flow.options.set_error(Errno::ECONNRESET);
            old.notify(Events::ERR);
        }
    }

    /// A connected datagram socket takes only from its peer.
    fn accepts(&self, sender: &UnixSocket) -> bool {
        let state = self.state.lock();
        state.peer.as_ref().is_none_or(|peer| peer.ptr_eq(&sender.this))
    }

    /// The peer to send to. One that is gone is refused once, and then there is none.
    fn message_peer(&self) -> Result<Arc<UnixSocket>, Errno> {
        let mut state = self.state.lock();
        let Some(peer) = &state.peer else { return Err(Errno::ENOTCONN) };
        if state.shut_write {
            return Err(Errno::EPIPE);
        }
        if let Some(peer) = peer.upgrade().filter(|p| !p.gone.load(Ordering::SeqCst)) {
            return Ok(peer);
        }
        if !self.is_datagram() {
            return Err(Errno::EPIPE);
        }
        state.peer = None;
        state.phase = Phase::Idle;
        let lost = state.queue.clear();
        drop(state);
        discard(lost);
        Err(Errno::ECONNREFUSED)
    }

    pub(super) fn send_message(
        &self,
        io: &IoCx<'_>,
        src: &mut dyn Source,
        to: Option<&[u8]>,
        control: &mut Control,
    ) -> Result<usize, IoError> {
        if let Some(errno) = self.flow.options.take_error() {
            return Err(errno.into());
        }
        let to = to.filter(|_| self.is_datagram());
        let peer = match to {
            Some(to) => {
                let task = io.caller.as_any().downcast_ref::<CurrentTask>().ok_or(Errno::EINVAL)?;
                self.find(task, to)?
            }
            None => self.message_peer()?,
        };
        let len = src.remaining();
        if len > (self.flow.options.get().send_buffer as usize).saturating_sub(RESERVED) {
            return Err(Errno::EMSGSIZE.into());
        }
        let from = {
            let state = self.state.lock();
            if state.shut_write {
                return Err(Errno::EPIPE.into());
            }
            if state.name.is_empty() { Vec::new() } else { address::encode(&state.name) }
        };
        let Some(charge) = self.flow.charge(len) else { return Err(IoError::WouldBlock) };
        let credentials = self.credentials_for(io, &peer, control.credentials);
        {
            let mut state = peer.state.lock();
            if state.peer.as_ref().is_some_and(|p| !p.ptr_eq(&self.this)) {
                return Err(Errno::EPERM.into());
            }
            if state.closed {
                return Err(if self.is_datagram() { Errno::ECONNREFUSED } else { Errno::EPIPE }.into());
            }
            if state.shut_read {
                return Err(Errno::EPIPE.into());
            }
            if self.is_datagram() && peer.full_for(&state, self) {
                UnixSocket::add_waiter(&mut state, &self.this);
                return Err(IoError::WouldBlock);
            }
            let control = Control { credentials, ..std::mem::take(control) };
            state.queue.push_message(src, Envelope { control, from, to: Vec::new(), charge: Some(charge) })?;
        }
        peer.notify(Events::READABLE);
        Ok(len)
    }

    pub(super) fn receive_message(&self, io: &IoCx<'_>, dst: &mut dyn Sink, peek: bool) -> Result<Received, IoError> {
        let (got, waiters) = {
            let mut state = self.state.lock();
            if !self.is_datagram() && !matches!(state.phase, Phase::Connected) {
                return Err(Errno::ENOTCONN.into());
            }
            if let Some(errno) = self.flow.options.take_error() {
                return Err(errno.into());
            }
            let got = state.queue.read_message(dst, peek);
            if matches!(got, Ok(None)) {
                // The end of a datagram socket's input is told to those only who would wait for more.
                let end = state.shut_read && !(self.is_datagram() && io.nonblock);
                return if end { Ok(Received::default()) } else { Err(IoError::WouldBlock) };
            }
            let waiters = if peek { Vec::new() } else { std::mem::take(&mut state.waiters) };
            (got, waiters)
        };
        self.wake_waiters(waiters);
        got?.ok_or(IoError::WouldBlock)
    }
}
