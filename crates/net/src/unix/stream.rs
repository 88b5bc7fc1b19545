//! Streams: sending and receiving.

use super::{Phase, UnixSocket, address};
use crate::flow::roomy;
use crate::socket::{Control, Received, Ucred};
use abi::Errno;
use host::io::{Sink, Source};
use std::sync::{Arc, Weak};
use vfs::wait::Events;
use vfs::{IoCx, IoError};

impl UnixSocket {
    /// The sender's credentials, if it named some or either side wants them.
    pub(super) fn credentials_for(&self, io: &IoCx<'_>, peer: &UnixSocket, said: Option<Ucred>) -> Option<Ucred> {
        let wants = |socket: &UnixSocket| socket.flow.options.get().pass_credentials;
        said.or_else(|| (wants(self) || wants(peer)).then(|| Ucred::of(io.caller)))
    }

    fn stream_peer(&self, to: bool) -> Result<Arc<UnixSocket>, Errno> {
        let state = self.state.lock();
        let connected = matches!(state.phase, Phase::Connected);
        if to {
            return Err(if connected { Errno::EISCONN } else { Errno::EOPNOTSUPP });
        }
        if !connected {
            return Err(Errno::ENOTCONN);
        }
        if state.shut_write {
            return Err(Errno::EPIPE);
        }
        state.peer.as_ref().and_then(Weak::upgrade).ok_or(Errno::EPIPE)
    }

    pub(super) fn send_stream(
        &self,
        io: &IoCx<'_>,
        src: &mut dyn Source,
        to: Option<&[u8]>,
        control: &mut Control,
    ) -> Result<usize, IoError> {
        let peer = self.stream_peer(to.is_some())?;
        if src.remaining() == 0 {
            return Ok(0);
        }
        if let Some(errno) = self.flow.options.take_error() {
            return Err(errno.into());
        }
        control.credentials = self.credentials_for(io, &peer, control.credentials);
        let limit = self.flow.options.get().send_buffer as usize;
        let done = {
            let mut state = peer.state.lock();
            if state.closed || state.shut_read {
                return Err(Errno::EPIPE.into());
            }
            let room = limit.saturating_sub(state.queue.cost());
            if room == 0 {
                return Err(IoError::WouldBlock);
            }
            // Whoever accepts it may yet ask who sent this.
            if state.embryo && control.credentials.is_none() {
                control.credentials = Some(Ucred::of(io.caller));
            }
            state.queue.push_stream(src, room, control)?
        };
        peer.notify(Events::READABLE);
        Ok(done)
    }

    pub(super) fn receive_stream(&self, dst: &mut dyn Sink, peek: bool) -> Result<Received, IoError> {
        let by_sender = self.flow.options.get().pass_credentials;
        let (got, before, after, peer) = {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Connected) {
                return Err(Errno::EINVAL.into());
            }
            if state.queue.is_empty() {
                if let Some(errno) = self.flow.options.take_error() {
                    return Err(errno.into());
                }
                return if state.shut_read { Ok(Received::default()) } else { Err(IoError::WouldBlock) };
            }
            let before = state.queue.cost();
            let mut got = state.queue.read_stream(dst, peek, by_sender)?;
            if !state.peer_name.is_empty() {
                got.from = address::encode(&state.peer_name);
            }
            let after = state.queue.cost();
            let full = before > SMALLEST_LIMIT / 4 && after < before;
            (got, before, after, if full { state.peer.clone() } else { None })
        };
        if let Some(peer) = peer.and_then(|p| p.upgrade()) {
            let limit = peer.flow.options.get().send_buffer as usize;
            if !roomy(before, limit) && roomy(after, limit) {
                peer.notify(Events::WRITABLE);
            }
        }
        Ok(got)
    }
}

/// No sender's buffer is smaller: below a quarter of it nobody waits.
const SMALLEST_LIMIT: usize = 4608;
