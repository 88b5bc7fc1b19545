//! TCP: binding, listening, connecting, accepting, closing.

use super::ports::{Sharing, check_local};
use super::tcp::{Phase, State, TcpSocket};
use super::{address, check_port};
use crate::Socket;
use abi::Errno;
use abi::raw::net::{AF_INET, AF_UNSPEC};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use vfs::wait::Events;
use vfs::{Caller, IoCx, IoError};

/// Linux's `net.core.somaxconn`.
const BACKLOG_MAX: usize = 4096;

impl TcpSocket {
    fn sharing(&self, listens: bool) -> Sharing {
        let options = self.options.get();
        Sharing {
            address: options.reuse_address,
            port: options.reuse_port,
            uid: options.uid,
            only_v6: self.kept.only_v6(),
            listens,
        }
    }

    fn bind_to(&self, state: &mut State, at: SocketAddr) -> Result<(), Errno> {
        let bound = self.space.inet.tcp.bind(at, self.sharing(false), false, self.this.clone())?;
        state.local = Some(bound);
        state.bound = true;
        Ok(())
    }

    pub(super) fn bind_address(&self, caller: &dyn Caller, bytes: &[u8]) -> Result<(), Errno> {
        let at = address::decode(bytes, self.family)?;
        check_local(at.ip())?;
        check_port(caller, at.port())?;
        let mut state = self.state.lock();
        if state.bound || !matches!(state.phase, Phase::Closed) {
            return Err(Errno::EINVAL);
        }
        self.bind_to(&mut state, at)
    }

    pub(super) fn start_listening(&self, backlog: i32) -> Result<(), Errno> {
        let wanted = usize::try_from(backlog).unwrap_or(BACKLOG_MAX).min(BACKLOG_MAX);
        let mut state = self.state.lock();
        match &mut state.phase {
            Phase::Listening { backlog, .. } => {
                *backlog = wanted;
                return Ok(());
            }
            Phase::Closed => {}
            _ => return Err(Errno::EINVAL),
        }
        if !state.bound {
            self.bind_to(&mut state, SocketAddr::new(address::any(self.family), 0))?;
        }
        let at = state.local.ok_or(Errno::EINVAL)?;
        if !self.space.inet.tcp.may_listen(at, &self.this) {
            return Err(Errno::EADDRINUSE);
        }
        self.space.inet.tcp.update(at.port(), &self.this, |s| s.listens = true);
        state.phase = Phase::Listening { backlog: wanted, waiting: VecDeque::new(), stalled: VecDeque::new() };
        Ok(())
    }

    pub(super) fn accept_one(&self) -> Result<(Arc<dyn Socket>, Vec<u8>), IoError> {
        let (socket, stalled) = {
            let mut state = self.state.lock();
            let Phase::Listening { waiting, stalled, .. } = &mut state.phase else { return Err(Errno::EINVAL.into()) };
            let socket = waiting.pop_front().ok_or(IoError::WouldBlock)?;
            (socket, stalled.pop_front().and_then(|s| s.upgrade()))
        };
        if let (Some(stalled), Some(me)) = (stalled, self.this.upgrade()) {
            stalled.join(&me);
        }
        let peer = socket.state.lock().remote;
        Ok((socket, peer.map(|p| address::encode(p, self.family)).unwrap_or_default()))
    }

    /// Ends what a connection was, for `AF_UNSPEC`.
    fn disconnect(&self) {
        self.tear_down(true);
        let mut state = self.state.lock();
        let (local, bound) = (state.local.filter(|_| state.bound), state.bound);
        *state = State { local, bound, ..State::default() };
    }

    pub(super) fn connect_to(&self, io: &IoCx<'_>, bytes: &[u8]) -> Result<(), IoError> {
        if address::family(bytes)? == AF_UNSPEC {
            self.disconnect();
            return Ok(());
        }
        let to = address::decode(bytes, self.family)?;
        {
            let mut state = self.state.lock();
            match state.phase {
                Phase::Connected if state.untold => {
                    state.untold = false;
                    return Ok(());
                }
                Phase::Connected | Phase::Listening { .. } => return Err(Errno::EISCONN.into()),
                Phase::Connecting if io.nonblock => return Err(Errno::EALREADY.into()),
                Phase::Connecting => {
                    state.untold = true;
                    return Err(IoError::WouldBlock);
                }
                Phase::Closed if state.untold => {
                    state.untold = false;
                    if let Some(errno) = self.options.take_error() {
                        return Err(errno.into());
                    }
                }
                Phase::Closed => {}
            }
        }
        let done = self.start(io, to);
        if !io.nonblock {
            return done;
        }
        // On Linux the answer comes after the call, however near the peer.
        match done {
            Ok(()) => {}
            Err(IoError::Errno(Errno::ECONNREFUSED)) => {
                self.options.set_error(Errno::ECONNREFUSED);
                let mut state = self.state.lock();
                (state.shut_read, state.shut_write) = (true, true);
            }
            Err(IoError::WouldBlock) => return Err(Errno::EINPROGRESS.into()),
            other => return other,
        }
        self.state.lock().untold = true;
        self.wait.notify(Events::all());
        Err(Errno::EINPROGRESS.into())
    }

    fn start(&self, io: &IoCx<'_>, to: SocketAddr) -> Result<(), IoError> {
        let (to_ip, from_ip) = address::route(to.ip())?;
        let to = SocketAddr::new(to_ip, to.port());
        {
            let mut state = self.state.lock();
            (state.shut_read, state.shut_write, state.reset) = (false, false, false);
            match state.local {
                Some(local) if local.ip().is_unspecified() => {
                    state.local = Some(SocketAddr::new(from_ip, local.port()));
                }
                Some(_) => {}
                None => {
                    self.bind_to(&mut state, SocketAddr::new(from_ip, 0))?;
                    state.chosen = true;
                }
            }
            state.remote = Some(to);
        }
        if self.state.lock().local == Some(to) {
            self.join_itself();
            return Ok(());
        }
        let listeners = self.space.inet.tcp.at(to, true);
        let mut listeners: Vec<_> = listeners.into_iter().filter(|l| l.listens()).collect();
        // Of several with SO_REUSEPORT, the sender's port chooses.
        let port = self.state.lock().local.map_or(0, |l| usize::from(l.port()));
        if listeners.is_empty() {
            return Err(Errno::ECONNREFUSED.into());
        }
        let listener = listeners.swap_remove(port % listeners.len().max(1));
        if self.join(&listener) {
            return Ok(());
        }
        let mut state = self.state.lock();
        state.untold = io.nonblock;
        Err(IoError::WouldBlock)
    }

    /// Connects to itself, which TCP allows.
    fn join_itself(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Connected;
        state.peer = Some(self.this.clone());
    }

    /// Puts the other end of a new connection into a listener's backlog. Returns whether that had room.
    fn join(&self, listener: &Arc<TcpSocket>) -> bool {
        let (local, remote) = {
            let state = self.state.lock();
            (state.local, state.remote)
        };
        let accepted = TcpSocket::new(&self.space, listener.family);
        let inherited = listener.options.get();
        accepted.options.update(|v| *v = crate::options::Values { error: None, inode: 0, ..inherited });
        accepted.kept.copy(&listener.kept);
        {
            let mut new = accepted.state.lock();
            new.phase = Phase::Connected;
            new.peer = Some(self.this.clone());
            (new.local, new.remote) = (remote, local);
            new.bound = remote.is_some();
        }
        // Connected first: whoever accepts it may send at once.
        {
            let mut own = self.state.lock();
            own.phase = Phase::Connected;
            own.peer = Some(Arc::downgrade(&accepted));
        }
        let joined = {
            let mut state = listener.state.lock();
            match &mut state.phase {
                Phase::Listening { backlog, waiting, .. } if waiting.len() <= *backlog => {
                    if let Some(at) = remote {
                        self.space.inet.tcp.hold(at, listener.sharing(false), Arc::downgrade(&accepted));
                    }
                    waiting.push_back(accepted);
                    true
                }
                Phase::Listening { stalled, .. } => {
                    stalled.retain(|s| s.strong_count() > 0 && !s.ptr_eq(&self.this));
                    stalled.push_back(self.this.clone());
                    false
                }
                _ => {
                    drop(state);
                    self.refused();
                    return true;
                }
            }
        };
        if joined {
            listener.wait.notify(Events::READABLE);
        } else {
            let mut own = self.state.lock();
            own.phase = Phase::Connecting;
            own.peer = None;
        }
        self.wait.notify(Events::WRITABLE);
        joined
    }

    /// The listener it waited for is gone.
    fn refused(&self) {
        {
            let mut state = self.state.lock();
            state.phase = Phase::Closed;
            state.peer = None;
            state.untold = true;
        }
        self.options.set_error(Errno::ECONNREFUSED);
        self.wait.notify(Events::all());
    }

    /// Tells the peer of the end: with a reset, or that all has been sent.
    fn tear_down(&self, reset: bool) {
        let peer = self.state.lock().peer.clone().and_then(|p| p.upgrade());
        let Some(peer) = peer.filter(|p| !std::ptr::eq(Arc::as_ptr(p), self)) else { return };
        let was_reset = {
            let mut state = peer.state.lock();
            state.peer_done |= !reset;
            if reset && !state.reset {
                state.reset = true;
                (state.shut_read, state.shut_write) = (true, true);
                true
            } else {
                false
            }
        };
        if was_reset {
            peer.options.set_error(Errno::ECONNRESET);
        }
        peer.wait.notify(Events::all());
    }

    pub(super) fn shut(&self, read: bool, write: bool) -> Result<(), Errno> {
        let finish = {
            let mut state = self.state.lock();
            match &state.phase {
                Phase::Listening { .. } if read => {
                    drop(state);
                    self.stop_listening();
                    return Ok(());
                }
                Phase::Connected if !state.reset => {}
                Phase::Listening { .. } => return Ok(()),
                _ => return Err(Errno::ENOTCONN),
            }
            state.shut_read |= read;
            let had = state.shut_write;
            state.shut_write |= write;
            // A socket that is its own peer hears itself.
            if write && state.peer.as_ref().is_some_and(|p| p.ptr_eq(&self.this)) {
                state.peer_done = true;
            }
            write && !had
        };
        if finish {
            self.tear_down(false);
        }
        self.wait.notify(Events::all());
        Ok(())
    }

    fn stop_listening(&self) {
        let (waiting, stalled, local) = {
            let mut state = self.state.lock();
            let local = state.local;
            match std::mem::take(&mut state.phase) {
                Phase::Listening { waiting, stalled, .. } => (waiting, stalled, local),
                other => {
                    state.phase = other;
                    return;
                }
            }
        };
        if let Some(local) = local {
            self.space.inet.tcp.update(local.port(), &self.this, |s| s.listens = false);
        }
        for socket in waiting {
            socket.tear_down(true);
            socket.close();
        }
        for socket in stalled.iter().filter_map(Weak::upgrade) {
            socket.refused();
        }
        self.wait.notify(Events::all());
    }

    pub(super) fn close(&self) {
        self.stop_listening();
        let (unread, bound, local, first) = {
            let mut state = self.state.lock();
            state.closed = true;
            let connected = matches!(state.phase, Phase::Connected) && state.peer.is_some();
            let first = connected && !state.peer_done && !state.reset && !state.chosen;
            (!state.queue.is_empty(), state.bound, state.local, first)
        };
        let abort = unread || self.options.get().linger == Some(0);
        if let (true, false, Some(local)) = (first, abort, local) {
            self.space.inet.tcp.linger(local, self.sharing(false));
        }
        self.tear_down(abort);
        let packets = {
            let mut state = self.state.lock();
            state.peer = None;
            state.queue.clear()
        };
        drop(packets);
        if let (true, Some(local)) = (bound, local) {
            self.space.inet.tcp.release(local.port(), &self.this);
        }
        self.wait.notify(Events::all());
    }

    pub(super) fn local_name(&self) -> Vec<u8> {
        let none = SocketAddr::new(address::any(self.family), 0);
        address::encode(self.state.lock().local.unwrap_or(none), self.family)
    }

    pub(super) fn is_v4(&self) -> bool {
        self.family == AF_INET
    }
}
