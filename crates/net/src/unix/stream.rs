//! Streams and sequenced packets: connecting, sending, receiving.

use super::{Phase, UnixSocket};
use crate::queue::Packet;
use crate::socket::{Control, Received, Socket, Ucred};
use abi::Errno;
use host::io::{Sink, Source};
use kernel::CurrentTask;
use std::sync::Arc;
use vfs::wait::Events;
use vfs::{IoCx, IoError};

/// Bytes of a stream that are taken at a time.
const PIECE: usize = 32 << 10;

impl UnixSocket {
    pub(super) fn connect_stream(&self, task: &CurrentTask, address: &[u8]) -> Result<(), IoError> {
        let listener = self.find(task, address)?;
        if std::ptr::eq(Arc::as_ptr(&listener), self) {
            return Err(Errno::ECONNREFUSED.into());
        }
        let own_name = {
            let state = self.state.lock();
            match state.phase {
                Phase::Connected => return Err(Errno::EISCONN.into()),
                Phase::Listening { .. } => return Err(Errno::EINVAL.into()),
                Phase::Idle => state.name.clone(),
            }
        };
        let accepted = UnixSocket::new(self.kind, &self.names);
        let (credentials, listener_name) = {
            let mut state = listener.state.lock();
            let (credentials, name, shut) = (state.own_credentials, state.name.clone(), state.shut_read);
            let Phase::Listening { backlog, waiting } = &mut state.phase else {
                return Err(Errno::ECONNREFUSED.into());
            };
            if shut {
                return Err(Errno::ECONNREFUSED.into());
            }
            if waiting.len() > *backlog {
                drop(state);
                return self.wait_for_room(&listener, task);
            }
            {
                let mut new = accepted.state.lock_second();
                new.phase = Phase::Connected;
                new.peer = Some(self.this.clone());
                new.name.clone_from(&name);
                new.peer_name = own_name;
                new.peer_credentials = Some(Ucred::of(task));
            }
            waiting.push_back(accepted.clone());
            (credentials, name)
        };
        {
            let mut state = self.state.lock();
            state.phase = Phase::Connected;
            state.peer = Some(Arc::downgrade(&accepted));
            state.peer_credentials = credentials;
            state.peer_name = listener_name;
        }
        listener.wait.notify(Events::READABLE);
        self.wait.notify(Events::WRITABLE);
        Ok(())
    }

    /// The backlog is full. The caller waits on this socket's queue, so the listener's news are passed on to it.
    fn wait_for_room(&self, listener: &Arc<UnixSocket>, task: &CurrentTask) -> Result<(), IoError> {
        let _ = task;
        struct Forward(std::sync::Weak<UnixSocket>);
        impl vfs::wait::Wake for Forward {
            fn wake(&self, events: Events) -> bool {
                if let Some(socket) = self.0.upgrade() {
                    socket.wait.notify(events);
                }
                true
            }
        }
        let _ = listener;
        let _ = Forward(self.this.clone());
        Err(IoError::WouldBlock)
    }

    fn check_send(&self) -> Result<Arc<UnixSocket>, Errno> {
        if let Some(errno) = self.options.take_error() {
            return Err(errno);
        }
        let state = self.state.lock();
        match state.phase {
            Phase::Connected => {}
            _ => return Err(Errno::ENOTCONN),
        }
        if state.shut_write {
            return Err(Errno::EPIPE);
        }
        state.peer.as_ref().and_then(std::sync::Weak::upgrade).ok_or(Errno::EPIPE)
    }

    pub(super) fn send_stream(
        &self,
        io: &IoCx<'_>,
        src: &mut dyn Source,
        to: Option<&[u8]>,
        control: &mut Control,
    ) -> Result<usize, IoError> {
        if to.is_some() {
            let connected = matches!(self.state.lock().phase, Phase::Connected);
            return Err(if connected { Errno::EISCONN } else { Errno::EOPNOTSUPP }.into());
        }
        let peer = self.check_send()?;
        let room = {
            let state = peer.state.lock();
            if state.shut_read {
                return Err(Errno::EPIPE.into());
            }
            let limit = peer.options.get().receive_buffer as usize;
            if peer.has_room(&state) { limit.saturating_sub(state.queue.bytes()) } else { 0 }
        };
        let whole = src.remaining();
        if room == 0 && whole > 0 {
            return Err(IoError::WouldBlock);
        }
        let len = if self.is_stream() {
            whole.min(room).min(PIECE)
        } else if whole > self.options.get().send_buffer as usize {
            return Err(Errno::EMSGSIZE.into());
        } else {
            whole
        };
        if len == 0 && self.is_stream() {
            return Ok(0);
        }
        let mut data = vec![0; len];
        let mut done = 0;
        while done < len {
            match src.take(data.get_mut(done..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(_) if done > 0 && self.is_stream() => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        data.truncate(done);
        let credentials = control.credentials.or_else(|| Some(Ucred::of(io.caller)));
        let control = Control { files: std::mem::take(&mut control.files), credentials };
        let packet = Packet { data, start: 0, control, from: Vec::new() };
        {
            let mut state = peer.state.lock();
            if state.shut_read {
                drop(state);
                return Err(Errno::EPIPE.into());
            }
            if self.is_stream() { state.queue.push_stream(packet) } else { state.queue.push(packet) }
        }
        peer.wait.notify(Events::READABLE);
        Ok(done)
    }

    pub(super) fn receive_stream(&self, dst: &mut dyn Sink, peek: bool) -> Result<Received, IoError> {
        let (result, peer) = {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Connected) {
                return Err(if self.is_stream() { Errno::EINVAL } else { Errno::ENOTCONN }.into());
            }
            let result = if state.queue.is_empty() {
                None
            } else if self.is_stream() {
                Some(state.queue.read_stream(dst, peek))
            } else {
                state.queue.read_message(dst, peek).transpose()
            };
            if result.is_none() {
                let ended = state.shut_read;
                drop(state);
                if let Some(errno) = self.options.take_error() {
                    return Err(errno.into());
                }
                return if ended { Ok(Received::default()) } else { Err(IoError::WouldBlock) };
            }
            (result, state.peer.clone())
        };
        if let (false, Some(peer)) = (peek, peer.and_then(|p| p.upgrade())) {
            peer.wait.notify(Events::WRITABLE);
        }
        result.unwrap_or(Ok(Received::default())).map_err(Into::into)
    }

    /// Whether it is the same socket, for tests of the peers.
    #[must_use]
    pub fn is(&self, other: &dyn Socket) -> bool {
        other.as_any().downcast_ref::<UnixSocket>().is_some_and(|o| std::ptr::eq(o, self))
    }
}
