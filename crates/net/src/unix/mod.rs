//! Local sockets (unix(7)): stream, seqpacket and datagram.
//!
//! Each socket has its own receive queue; a sender puts into its peer's. A name is held by the socket it is bound to: in the
//! inode for paths, in [`Abstract`] for the others.
//!
//! Who waits, waits on its own socket's queue. A sender that finds a receiver full, or a connector its listener, leaves
//! itself in the other's [`State::waiters`], and is told when that changes.

pub(crate) mod address;
mod calls;
mod connect;
mod datagram;
mod names;
mod poll;
mod stream;

pub use names::Abstract;

use crate::Namespace;
use crate::flow::Flow;
use crate::namespace::Listed;
use crate::queue::{Discarded, Queue};
use crate::socket::Ucred;
use abi::raw::net as n;
use lock::{Mutex, rank};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use vfs::wait::Events;
use vfs::{Caller, PathRef};

/// Where a socket is in its life.
#[derive(Default)]
enum Phase {
    /// Not connected.
    #[default]
    Idle,
    /// Waits for connections.
    Listening { backlog: usize, waiting: VecDeque<Arc<UnixSocket>> },
    /// Connected to a peer, which may be gone; of a datagram socket: has a default peer.
    Connected,
}

#[derive(Default)]
struct State {
    phase: Phase,
    peer: Option<Weak<UnixSocket>>,
    /// A path, or an abstract name after a zero byte; empty for none.
    name: Vec<u8>,
    /// Keeps an abstract name.
    held: Option<names::Held>,
    /// Keeps the inode that a path leads to.
    place: Option<PathRef>,
    queue: Queue,
    shut_read: bool,
    shut_write: bool,
    closed: bool,
    /// connect(2) is at work.
    connecting: bool,
    /// Connected, and not yet accepted.
    embryo: bool,
    /// `SO_PEERCRED`.
    peer_credentials: Option<(Ucred, Arc<[u32]>)>,
    /// The peer's name, kept for when it is gone.
    peer_name: Vec<u8>,
    /// Whose credentials a connection has that is accepted here.
    own_credentials: Option<(Ucred, Arc<[u32]>)>,
    /// Who waits for room here.
    waiters: Vec<Weak<UnixSocket>>,
}

/// A local socket.
pub struct UnixSocket {
    this: Weak<UnixSocket>,
    kind: u32,
    space: Arc<Namespace>,
    flow: Arc<Flow>,
    state: Mutex<State>,
    /// Closed, for those who can't take the lock.
    gone: AtomicBool,
    listed: OnceLock<Listed>,
}

/// `net.unix.max_dgram_qlen` of a new namespace.
const DATAGRAMS_MAX: usize = 10;

/// The ids that `SO_PEERCRED` and `SO_PEERGROUPS` tell.
fn identity(caller: &dyn Caller) -> (Ucred, Arc<[u32]>) {
    (Ucred::of(caller), caller.creds().groups.clone())
}

impl UnixSocket {
    /// An unconnected socket of `kind` (`SOCK_STREAM`, `SOCK_DGRAM`, `SOCK_SEQPACKET`).
    #[must_use]
    pub fn new(kind: u32, space: &Arc<Namespace>) -> Arc<UnixSocket> {
        let socket = Arc::new_cyclic(|this| UnixSocket {
            this: this.clone(),
            kind,
            space: space.clone(),
            flow: Arc::default(),
            state: Mutex::new(rank::SOCKET, State::default()),
            gone: AtomicBool::new(false),
            listed: OnceLock::new(),
        });
        let weak: Weak<UnixSocket> = Arc::downgrade(&socket);
        let _ = socket.listed.set(space.list(weak));
        socket
    }

    /// socketpair(2).
    #[must_use]
    pub fn pair(kind: u32, space: &Arc<Namespace>, caller: &dyn Caller) -> (Arc<UnixSocket>, Arc<UnixSocket>) {
        let (a, b) = (UnixSocket::new(kind, space), UnixSocket::new(kind, space));
        let owner = identity(caller);
        for (socket, peer) in [(&a, &b), (&b, &a)] {
            let mut state = socket.state.lock();
            state.phase = Phase::Connected;
            state.peer = Some(Arc::downgrade(peer));
            state.peer_credentials = Some(owner.clone());
        }
        (a, b)
    }

    fn is_datagram(&self) -> bool {
        self.kind == n::SOCK_DGRAM
    }

    fn is_stream(&self) -> bool {
        self.kind == n::SOCK_STREAM
    }

    fn is(&self, other: &UnixSocket) -> bool {
        std::ptr::eq(self, other)
    }

    fn peer(&self) -> Option<Arc<UnixSocket>> {
        self.state.lock().peer.as_ref().and_then(Weak::upgrade)
    }

    fn notify(&self, events: Events) {
        self.flow.wait.notify(events);
    }

    /// Tells those who waited for room here.
    fn wake_waiters(&self, waiters: Vec<Weak<UnixSocket>>) {
        for waiter in waiters.iter().filter_map(Weak::upgrade) {
            waiter.notify(Events::WRITABLE);
        }
    }

    /// The ids of the descriptions that receiving from this socket can yield; of a listener, from those that wait too.
    pub(crate) fn queued_files(&self) -> Vec<u64> {
        let (mut ids, waiting) = {
            let state = self.state.lock();
            let ids: Vec<u64> = state.queue.files().map(|f| f.id()).collect();
            let waiting = match &state.phase {
                Phase::Listening { waiting, .. } => waiting.iter().cloned().collect(),
                _ => Vec::new(),
            };
            (ids, waiting)
        };
        for socket in waiting {
            ids.extend(socket.state.lock().queue.files().map(|f| f.id()));
        }
        ids
    }

    /// Throws away what nobody will read.
    pub(crate) fn discard_queue(&self) {
        let (packets, waiting) = {
            let mut state = self.state.lock();
            let waiting = match &mut state.phase {
                Phase::Listening { waiting, .. } => std::mem::take(waiting),
                _ => VecDeque::new(),
            };
            (state.queue.clear(), waiting)
        };
        discard(packets);
        for socket in waiting {
            socket.close();
        }
    }

    /// The last description is closed.
    fn close(&self) {
        let (peer, waiting, held, unread, waiters) = {
            let mut state = self.state.lock();
            state.closed = true;
            self.gone.store(true, Ordering::SeqCst);
            (state.shut_read, state.shut_write) = (true, true);
            let waiting = match std::mem::take(&mut state.phase) {
                Phase::Listening { waiting, .. } => waiting,
                other => {
                    state.phase = other;
                    VecDeque::new()
                }
            };
            let held = (state.held.take(), state.place.take());
            let unread = !state.queue.is_empty() || state.embryo;
            (state.peer.take(), waiting, held, unread, std::mem::take(&mut state.waiters))
        };
        drop(held);
        if let (false, Some(peer)) = (self.is_datagram(), peer.and_then(|p| p.upgrade())) {
            let mut state = peer.state.lock();
            (state.shut_read, state.shut_write) = (true, true);
            drop(state);
            if unread {
                peer.flow.options.set_error(abi::Errno::ECONNRESET);
            }
            peer.notify(Events::all());
        }
        self.discard_queue();
        for never_accepted in waiting {
            never_accepted.close();
        }
        self.wake_waiters(waiters);
        self.notify(Events::all());
        self.space.flights.collect();
    }
}

thread_local! {
    static DISCARDED: RefCell<Option<Vec<Discarded>>> = const { RefCell::new(None) };
}

/// Drops packets. Sockets may be in them, with packets of their own, and so on to any depth: those are dropped by the first
/// call, one after the other, so that the depth of calls stays small.
fn discard(packets: Discarded) {
    let outermost = DISCARDED.with_borrow_mut(|waiting| match waiting {
        Some(waiting) => {
            waiting.push(packets);
            None
        }
        None => {
            *waiting = Some(Vec::new());
            Some(packets)
        }
    });
    let Some(packets) = outermost else { return };
    drop(packets);
    while let Some(next) = DISCARDED.with_borrow_mut(|waiting| waiting.as_mut().and_then(Vec::pop)) {
        drop(next);
    }
    DISCARDED.with_borrow_mut(|waiting| *waiting = None);
}
