//! TCP: a socket's state, sending and receiving.

use super::options::Kept;
use crate::Namespace;
use crate::flow::roomy;
use crate::namespace::Listed;
use crate::options::Options;
use crate::queue::Queue;
use crate::socket::{Control, Received, SendFlags};
use abi::Errno;
use abi::raw::net::AF_INET;
use host::io::{Sink, Source};
use lock::{Mutex, rank};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use vfs::IoError;
use vfs::wait::{Events, WaitQueue};

/// Where a socket is in its life.
#[derive(Default)]
pub(super) enum Phase {
    #[default]
    Closed,
    Listening {
        backlog: usize,
        waiting: VecDeque<Arc<TcpSocket>>,
        /// Whose connection found the backlog full.
        stalled: VecDeque<Weak<TcpSocket>>,
    },
    /// Waits for room in a backlog.
    Connecting,
    Connected,
}

#[derive(Default)]
pub(super) struct State {
    pub phase: Phase,
    /// A connect(2) that did not wait has still to be told how it went.
    pub untold: bool,
    pub local: Option<SocketAddr>,
    pub remote: Option<SocketAddr>,
    /// The port in `local` is listed as this socket's.
    pub bound: bool,
    /// connect(2) chose the port.
    pub chosen: bool,
    pub peer: Option<Weak<TcpSocket>>,
    pub queue: Queue,
    /// The urgent byte, until it is read.
    pub urgent: Option<u8>,
    /// The peer has sent all (its FIN is here).
    pub peer_done: bool,
    pub shut_read: bool,
    pub shut_write: bool,
    /// Torn down by a reset.
    pub reset: bool,
    pub closed: bool,
}

/// A TCP socket.
pub struct TcpSocket {
    pub(super) this: Weak<TcpSocket>,
    pub(super) space: Arc<Namespace>,
    pub(super) family: u32,
    pub(super) options: Options,
    pub(super) kept: Kept,
    pub(super) state: Mutex<State>,
    pub(super) wait: WaitQueue,
    listed: OnceLock<Listed>,
}

/// Buffers of `net.ipv4.tcp_wmem` and `tcp_rmem`, as they are for a device as fast as this one.
const SEND_BUFFER: u32 = 2_626_560;
const RECEIVE_BUFFER: u32 = 131_072;
/// What may be under way to a receiver at most.
const WINDOW: usize = 512 << 10;

impl TcpSocket {
    /// An unconnected socket.
    #[must_use]
    pub fn new(space: &Arc<Namespace>, family: u32) -> Arc<TcpSocket> {
        let socket = Arc::new_cyclic(|this| TcpSocket {
            this: this.clone(),
            space: space.clone(),
            family,
            options: Options::default(),
            kept: Kept::default(),
            state: Mutex::new(rank::SOCKET, State::default()),
            wait: WaitQueue::new(),
            listed: OnceLock::new(),
        });
        socket.options.update(|v| (v.send_buffer, v.receive_buffer) = (SEND_BUFFER, RECEIVE_BUFFER));
        let weak: Weak<TcpSocket> = Arc::downgrade(&socket);
        let _ = socket.listed.set(space.list(weak));
        socket
    }

    fn limit(&self) -> usize {
        (self.options.get().send_buffer as usize).min(WINDOW)
    }

    /// The state as /proc/net/tcp and `TCP_INFO` number it, and both ends.
    #[must_use]
    pub fn summary(&self) -> (u8, SocketAddr, SocketAddr, usize) {
        let state = self.state.lock();
        let none = SocketAddr::new(super::address::any(self.family), 0);
        let number = match &state.phase {
            Phase::Listening { .. } => 10,
            Phase::Connecting => 2,
            Phase::Closed => 7,
            Phase::Connected if state.reset => 7,
            Phase::Connected => match (state.shut_write, state.peer_done) {
                (false, false) => 1,
                (false, true) => 8,
                (true, false) => 5,
                (true, true) => 7,
            },
        };
        (number, state.local.unwrap_or(none), state.remote.unwrap_or(none), state.queue.bytes())
    }

    /// Whether it is of IPv6.
    #[must_use]
    pub fn is_v6(&self) -> bool {
        self.family != AF_INET
    }

    pub(super) fn send_bytes(&self, src: &mut dyn Source, flags: SendFlags) -> Result<usize, IoError> {
        let peer = {
            let state = self.state.lock();
            if let Some(errno) = self.options.take_error() {
                return Err(errno.into());
            }
            match state.phase {
                Phase::Connecting => return Err(IoError::WouldBlock),
                Phase::Connected if !state.shut_write && !state.reset => {}
                _ => return Err(Errno::EPIPE.into()),
            }
            state.peer.as_ref().and_then(Weak::upgrade)
        };
        let whole = src.remaining();
        let Some(peer) = peer.filter(|_| whole > 0) else {
            return if whole == 0 { Ok(0) } else { self.sent_to_nobody(src) };
        };
        let sent = {
            let mut state = peer.state.lock();
            if state.closed {
                drop(state);
                return self.sent_to_nobody(src);
            }
            let room = self.limit().saturating_sub(state.queue.cost());
            if room == 0 {
                return Err(IoError::WouldBlock);
            }
            // The last byte of urgent data is the urgent one.
            let urgent = flags.contains(SendFlags::OOB) && room >= whole;
            let plain = if urgent { whole - 1 } else { room };
            let mut sent = if plain > 0 { state.queue.push_stream(src, plain, &mut Control::default())? } else { 0 };
            if urgent && sent == plain {
                let mut byte = [0];
                sent += src.take(&mut byte)?;
                let [byte] = byte;
                state.queue.mark();
                if peer.options.get().oob_inline {
                    let mut one = host::io::SliceSource::new(std::slice::from_ref(&byte));
                    state.queue.push_stream(&mut one, 1, &mut Control::default())?;
                } else {
                    state.urgent = Some(byte);
                }
            }
            sent
        };
        let urgent = flags.contains(SendFlags::OOB);
        peer.wait.notify(if urgent { Events::READABLE | Events::PRI } else { Events::READABLE });
        Ok(sent)
    }

    /// The peer's socket is closed: what is sent is answered by a reset.
    fn sent_to_nobody(&self, src: &mut dyn Source) -> Result<usize, IoError> {
        let len = src.remaining();
        let mut buffer = vec![0; len.min(4096)];
        let taken = src.take(&mut buffer)?;
        {
            let mut state = self.state.lock();
            state.reset = true;
            (state.shut_read, state.shut_write, state.peer_done) = (true, true, true);
        }
        self.options.set_error(Errno::EPIPE);
        self.wait.notify(Events::all());
        Ok(taken)
    }

    pub(super) fn receive_bytes(&self, dst: &mut dyn Sink, flags: SendFlags) -> Result<Received, IoError> {
        let peek = flags.contains(SendFlags::PEEK);
        if flags.contains(SendFlags::OOB) {
            return self.receive_urgent(dst, peek);
        }
        let (got, before, after, peer) = {
            let mut state = self.state.lock();
            match state.phase {
                Phase::Connected => {}
                Phase::Connecting => return Err(IoError::WouldBlock),
                _ => {
                    return match self.options.take_error() {
                        Some(errno) => Err(errno.into()),
                        // After a refused connection, the end; else there never was one.
                        None if state.untold => Ok(Received::default()),
                        None => Err(Errno::ENOTCONN.into()),
                    };
                }
            }
            if state.queue.is_empty() {
                // Once the peer has said that there is no more, no later error says otherwise.
                if state.peer_done {
                    return Ok(Received::default());
                }
                if let Some(errno) = self.options.take_error() {
                    return Err(errno.into());
                }
                return if state.shut_read { Ok(Received::default()) } else { Err(IoError::WouldBlock) };
            }
            let before = state.queue.cost();
            let got = if flags.contains(SendFlags::TRUNC) && !peek {
                let mut nowhere = Nowhere(dst.remaining());
                state.queue.read_stream(&mut nowhere, false, false)?
            } else {
                state.queue.read_stream(dst, peek, false)?
            };
            (got, before, state.queue.cost(), state.peer.clone())
        };
        if let Some(peer) = peer.filter(|_| !peek).and_then(|p| p.upgrade()) {
            let limit = peer.limit();
            if !roomy(before, limit) && roomy(after, limit) {
                peer.wait.notify(Events::WRITABLE);
            }
        }
        Ok(got)
    }

    fn receive_urgent(&self, dst: &mut dyn Sink, peek: bool) -> Result<Received, IoError> {
        let mut state = self.state.lock();
        let Some(byte) = state.urgent else { return Err(Errno::EINVAL.into()) };
        let len = dst.put(&[byte])?;
        if !peek {
            state.urgent = None;
        }
        Ok(Received { len, ..Received::default() })
    }

    pub(super) fn events(&self) -> Events {
        let peer = {
            let state = self.state.lock();
            if let Phase::Listening { waiting, .. } = &state.phase {
                return if waiting.is_empty() { Events::empty() } else { Events::READABLE };
            }
            state.peer.as_ref().and_then(Weak::upgrade)
        };
        let queued = peer.map_or(0, |peer| peer.state.lock().queue.cost());
        let room = roomy(queued, self.limit());
        let state = self.state.lock();
        let mut events = Events::empty();
        let ended = state.peer_done || state.shut_read;
        if matches!(state.phase, Phase::Closed) || state.reset || (ended && state.shut_write) {
            events |= Events::HUP;
        }
        if ended {
            events |= Events::READABLE | Events::RDHUP;
        }
        if !matches!(state.phase, Phase::Connecting) {
            if !state.queue.is_empty() {
                events |= Events::READABLE;
            }
            if room || state.shut_write {
                events |= Events::WRITABLE;
            }
            if state.urgent.is_some() {
                events |= Events::PRI;
            }
        }
        if self.options.get().error.is_some() {
            events |= Events::ERR;
        }
        events
    }
}

/// Takes bytes and forgets them.
struct Nowhere(usize);

impl Sink for Nowhere {
    fn remaining(&self) -> usize {
        self.0
    }

    fn put(&mut self, data: &[u8]) -> Result<usize, Errno> {
        let len = data.len().min(self.0);
        self.0 -= len;
        Ok(len)
    }

    fn zero(&mut self, len: usize) -> Result<usize, Errno> {
        let len = len.min(self.0);
        self.0 -= len;
        Ok(len)
    }

    fn fill_with(
        &mut self,
        _: usize,
        _: &mut dyn FnMut(&[host::guestmem::HostRange<'_>]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }
}
