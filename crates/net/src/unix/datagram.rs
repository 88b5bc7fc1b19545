//! Datagrams.

use super::{Phase, State, UnixSocket, address};
use crate::queue::Packet;
use crate::socket::{Control, Received, Ucred};
use abi::Errno;
use abi::raw::net::AF_UNSPEC;
use host::io::{Sink, Source};
use kernel::CurrentTask;
use std::sync::{Arc, Weak};
use vfs::wait::Events;
use vfs::{IoCx, IoError};

/// What poll(2) reports; of the peer: whether it has room, and whether it takes nothing.
pub(super) fn events(state: &State, peer: Option<(bool, bool)>) -> Events {
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
    if peer.is_none_or(|(room, gone)| room || gone) {
        events |= Events::WRITABLE;
    }
    events
}

impl UnixSocket {
    pub(super) fn connect_datagram(&self, task: &CurrentTask, address: &[u8]) -> Result<(), Errno> {
        let unspecified = address.first_chunk().is_some_and(|f| u32::from(u16::from_le_bytes(*f)) == AF_UNSPEC);
        if unspecified {
            let mut state = self.state.lock();
            state.phase = Phase::Idle;
            state.peer = None;
            return Ok(());
        }
        let peer = self.find(task, address)?;
        if !peer.accepts(self) {
            return Err(Errno::EPERM);
        }
        let name = peer.state.lock().name.clone();
        let mut state = self.state.lock();
        state.phase = Phase::Connected;
        state.peer = Some(Arc::downgrade(&peer));
        state.peer_name = name;
        Ok(())
    }

    /// A connected datagram socket takes only from its peer.
    fn accepts(&self, sender: &UnixSocket) -> bool {
        let state = self.state.lock();
        state.peer.as_ref().is_none_or(|peer| peer.ptr_eq(&sender.this))
    }

    pub(super) fn send_datagram(
        &self,
        io: &IoCx<'_>,
        src: &mut dyn Source,
        to: Option<&[u8]>,
        control: &mut Control,
    ) -> Result<usize, IoError> {
        let peer = match to {
            Some(to) => {
                let task = io.caller.as_any().downcast_ref::<CurrentTask>().ok_or(Errno::EINVAL)?;
                self.find(task, to)?
            }
            None => {
                let state = self.state.lock();
                let peer = state.peer.as_ref().ok_or(Errno::ENOTCONN)?;
                peer.upgrade().filter(|_| !state.shut_write).ok_or(Errno::ECONNREFUSED)?
            }
        };
        if self.state.lock().shut_write {
            return Err(Errno::EPIPE.into());
        }
        if !peer.accepts(self) {
            return Err(Errno::EPERM.into());
        }
        let len = src.remaining();
        if len > self.options.get().send_buffer as usize {
            return Err(Errno::EMSGSIZE.into());
        }
        {
            let state = peer.state.lock();
            if state.closed {
                return Err(Errno::ECONNREFUSED.into());
            }
            if state.shut_read {
                return Err(Errno::EPIPE.into());
            }
            if !peer.has_room(&state) && !std::ptr::eq(Arc::as_ptr(&peer), self) {
                return Err(IoError::WouldBlock);
            }
        }
        let mut data = vec![0; len];
        let mut done = 0;
        while done < len {
            match src.take(data.get_mut(done..).unwrap_or_default())? {
                0 => break,
                n => done += n,
            }
        }
        let credentials = control.credentials.or_else(|| Some(Ucred::of(io.caller)));
        let control = Control { files: std::mem::take(&mut control.files), credentials };
        let from = {
            let name = self.state.lock().name.clone();
            if name.is_empty() { Vec::new() } else { address::encode(&name) }
        };
        peer.state.lock().queue.push(Packet { data, start: 0, control, from });
        peer.wait.notify(Events::READABLE);
        Ok(len)
    }

    pub(super) fn receive_datagram(&self, dst: &mut dyn Sink, peek: bool) -> Result<Received, IoError> {
        let (result, peer) = {
            let mut state = self.state.lock();
            let result = state.queue.read_message(dst, peek);
            if matches!(result, Ok(None)) && state.shut_read {
                return Ok(Received::default());
            }
            (result, state.peer.as_ref().and_then(Weak::upgrade))
        };
        // Senders wait on their own queues.
        if let (false, Some(peer)) = (peek, peer) {
            peer.wait.notify(Events::WRITABLE);
        }
        result?.ok_or(IoError::WouldBlock)
    }
}
