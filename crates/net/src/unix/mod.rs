//! Local sockets (unix(7)): stream, seqpacket and datagram.
//!
//! Each socket has its own receive queue; a sender puts into its peer's. A name is held by the socket it is bound to: in the
//! inode for paths, in [`Abstract`] for the others.

mod address;
mod datagram;
mod names;
mod stream;

pub use names::Abstract;

use crate::options::Options;
use crate::queue::Queue;
use crate::socket::{Control, Received, SendFlags, Socket, Ucred};
use abi::Errno;
use abi::raw::net as n;
use host::io::{Sink, Source};
use kernel::CurrentTask;
use lock::{Mutex, rank};
use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use vfs::wait::{Events, WaitQueue};
use vfs::{IoCx, IoError};

/// Where a socket is in its life.
#[derive(Default)]
enum Phase {
    /// Not connected; datagram sockets may have a default peer.
    #[default]
    Idle,
    /// Waits for connections.
    Listening { backlog: usize, waiting: VecDeque<Arc<UnixSocket>> },
    /// Connected to a peer, which may be gone.
    Connected,
}

#[derive(Default)]
struct State {
    phase: Phase,
    peer: Option<Weak<UnixSocket>>,
    name: Vec<u8>,
    /// Keeps an abstract name.
    held: Option<names::Held>,
    queue: Queue,
    shut_read: bool,
    shut_write: bool,
    closed: bool,
    /// `SO_PEERCRED`.
    peer_credentials: Option<Ucred>,
    /// The peer's name, kept for when it is gone.
    peer_name: Vec<u8>,
    /// Whose credentials a connection has that is accepted here.
    own_credentials: Option<Ucred>,
}

/// A local socket.
pub struct UnixSocket {
    this: Weak<UnixSocket>,
    kind: u32,
    names: Arc<Abstract>,
    options: Options,
    state: Mutex<State>,
    wait: WaitQueue,
}

impl UnixSocket {
    /// An unconnected socket of `kind` (`SOCK_STREAM`, `SOCK_DGRAM`, `SOCK_SEQPACKET`).
    #[must_use]
    pub fn new(kind: u32, names: &Arc<Abstract>) -> Arc<UnixSocket> {
        Arc::new_cyclic(|this| UnixSocket {
            this: this.clone(),
            kind,
            names: names.clone(),
            options: Options::default(),
            state: Mutex::new(rank::SOCKET, State::default()),
            wait: WaitQueue::new(),
        })
    }

    /// socketpair(2).
    #[must_use]
    pub fn pair(kind: u32, names: &Arc<Abstract>, owner: Ucred) -> (Arc<UnixSocket>, Arc<UnixSocket>) {
        let (a, b) = (UnixSocket::new(kind, names), UnixSocket::new(kind, names));
        for (socket, peer) in [(&a, &b), (&b, &a)] {
            let mut state = socket.state.lock();
            state.phase = Phase::Connected;
            state.peer = Some(Arc::downgrade(peer));
            state.peer_credentials = Some(owner);
        }
        (a, b)
    }

    fn is_datagram(&self) -> bool {
        self.kind == n::SOCK_DGRAM
    }

    fn is_stream(&self) -> bool {
        self.kind == n::SOCK_STREAM
    }

    fn peer(&self) -> Option<Arc<UnixSocket>> {
        self.state.lock().peer.as_ref().and_then(Weak::upgrade)
    }

    /// Whether a sender may put more into this socket's queue.
    fn has_room(&self, state: &State) -> bool {
        /// Linux's `net.unix.max_dgram_qlen`.
        const DATAGRAMS_MAX: usize = 10;
        if self.is_datagram() && state.queue.len() > DATAGRAMS_MAX {
            return false;
        }
        state.queue.bytes() < self.options.get().receive_buffer as usize
    }

    /// Throws away what nobody will read.
    fn drain(&self) {
        let packets = self.state.lock().queue.clear();
        drop(packets);
    }
}

/// What a stream's end looks like for poll(2).
fn stream_events(socket: &UnixSocket, state: &State, peer: Option<(bool, bool)>) -> Events {
    let mut events = Events::empty();
    if let Phase::Listening { waiting, .. } = &state.phase {
        return if waiting.is_empty() { events } else { Events::READABLE };
    }
    if !state.queue.is_empty() || state.shut_read {
        events |= Events::READABLE;
    }
    if state.shut_read {
        events |= Events::RDHUP;
    }
    if state.shut_read && state.shut_write {
        events |= Events::HUP;
    }
    match (&state.phase, peer) {
        (Phase::Connected, Some((room, shut))) if room || shut || state.shut_write => events |= Events::WRITABLE,
        (Phase::Connected, None) => events |= Events::WRITABLE,
        // As unix_poll: an unconnected stream is hung up.
        (Phase::Idle, _) if socket.kind != n::SOCK_DGRAM => events |= Events::HUP | Events::WRITABLE,
        _ => {}
    }
    events
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
        &self.options
    }

    fn bind(&self, task: &CurrentTask, address: &[u8]) -> Result<(), Errno> {
        self.bind_name(task, address)
    }

    fn listen(&self, task: &CurrentTask, backlog: i32) -> Result<(), Errno> {
        if self.is_datagram() {
            return Err(Errno::EOPNOTSUPP);
        }
        /// Linux's `net.core.somaxconn`.
        const BACKLOG_MAX: usize = 4096;
        let wanted = usize::try_from(backlog).unwrap_or(BACKLOG_MAX).min(BACKLOG_MAX);
        let mut state = self.state.lock();
        if state.name.is_empty() {
            return Err(Errno::EINVAL);
        }
        match &mut state.phase {
            Phase::Connected => return Err(Errno::EINVAL),
            Phase::Listening { backlog, .. } => *backlog = wanted,
            Phase::Idle => state.phase = Phase::Listening { backlog: wanted, waiting: VecDeque::new() },
        }
        state.own_credentials = Some(Ucred::of(task));
        drop(state);
        self.wait.notify(Events::WRITABLE);
        Ok(())
    }

    fn listens(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Listening { .. })
    }

    fn accept(&self) -> Result<(Arc<dyn Socket>, Vec<u8>), IoError> {
        if self.is_datagram() {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let socket = {
            let mut state = self.state.lock();
            let shut = state.shut_read;
            let Phase::Listening { waiting, .. } = &mut state.phase else { return Err(Errno::EINVAL.into()) };
            match waiting.pop_front() {
                Some(socket) => socket,
                None if shut => return Err(Errno::EINVAL.into()),
                None => return Err(IoError::WouldBlock),
            }
        };
        // A connect(2) may have waited for room in the backlog.
        self.wait.notify(Events::WRITABLE);
        let peer = socket.state.lock().peer_name.clone();
        Ok((socket, peer))
    }

    fn connect(&self, task: &CurrentTask, address: &[u8]) -> Result<(), IoError> {
        if self.is_datagram() { Ok(self.connect_datagram(task, address)?) } else { self.connect_stream(task, address) }
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
        if self.is_datagram() {
            self.send_datagram(io, src, to, control)
        } else {
            self.send_stream(io, src, to, control)
        }
    }

    fn receive(&self, _io: &IoCx<'_>, dst: &mut dyn Sink, flags: SendFlags) -> Result<Received, IoError> {
        if flags.contains(SendFlags::OOB) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let peek = flags.contains(SendFlags::PEEK);
        if self.is_datagram() { self.receive_datagram(dst, peek) } else { self.receive_stream(dst, peek) }
    }

    fn shutdown(&self, read: bool, write: bool) -> Result<(), Errno> {
        let peer = {
            let mut state = self.state.lock();
            state.shut_read |= read;
            state.shut_write |= write;
            state.peer.as_ref().and_then(Weak::upgrade)
        };
        // Of a stream, the peer learns of it; a datagram's default peer does not.
        if let (false, Some(peer)) = (self.is_datagram(), peer) {
            let mut state = peer.state.lock();
            state.shut_read |= write;
            state.shut_write |= read;
            drop(state);
            peer.wait.notify(Events::all());
        }
        self.wait.notify(Events::all());
        Ok(())
    }

    fn name(&self) -> Vec<u8> {
        address::encode(&self.state.lock().name)
    }

    fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        let peer = self.peer();
        if let Some(peer) = peer {
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
        match name {
            n::SO_PEERCRED => {
                let nobody = Ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
                let found = self.state.lock().peer_credentials.unwrap_or(nobody);
                Ok([found.pid as u32, found.uid, found.gid].iter().flat_map(|w| w.to_le_bytes()).collect())
            }
            n::SO_PEERGROUPS | n::SO_PEERSEC => Err(Errno::ENODATA),
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

    fn readiness(&self) -> Events {
        let peer = self.peer().filter(|p| !std::ptr::eq(Arc::as_ptr(p), self));
        let peer = peer.map(|p| {
            let state = p.state.lock();
            (p.has_room(&state), state.shut_read || state.closed)
        });
        let state = self.state.lock();
        let mut events =
            if self.is_datagram() { datagram::events(&state, peer) } else { stream_events(self, &state, peer) };
        if self.options.get().error.is_some() {
            events |= Events::ERR;
        }
        events
    }

    fn queue(&self) -> &WaitQueue {
        &self.wait
    }

    fn closed(&self) {
        self.close();
    }
}
