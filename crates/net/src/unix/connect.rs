//! Connecting streams and sequenced packets, and accepting.

use super::{Phase, UnixSocket, address, identity};
use crate::socket::Socket;
use abi::Errno;
use kernel::CurrentTask;
use std::collections::VecDeque;
use std::sync::Arc;
use vfs::wait::Events;
use vfs::{Caller, IoCx, IoError};

/// Linux's `net.core.somaxconn`.
const BACKLOG_MAX: usize = 4096;

impl UnixSocket {
    pub(super) fn start_listening(&self, caller: &dyn Caller, backlog: i32) -> Result<(), Errno> {
        if self.is_datagram() {
            return Err(Errno::EOPNOTSUPP);
        }
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
        state.own_credentials = Some(identity(caller));
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        self.wake_waiters(waiters);
        Ok(())
    }

    pub(super) fn accept_one(&self) -> Result<(Arc<dyn Socket>, Vec<u8>), IoError> {
        if self.is_datagram() {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let (socket, waiters) = {
            let mut state = self.state.lock();
            let shut = state.shut_read;
            let Phase::Listening { waiting, .. } = &mut state.phase else { return Err(Errno::EINVAL.into()) };
            match waiting.pop_front() {
                Some(socket) => (socket, std::mem::take(&mut state.waiters)),
                None if shut => return Err(Errno::EINVAL.into()),
                None => return Err(IoError::WouldBlock),
            }
        };
        self.wake_waiters(waiters);
        let peer = {
            let mut state = socket.state.lock();
            state.embryo = false;
            address::encode(&state.peer_name)
        };
        Ok((socket, peer))
    }

    /// Reserves this socket for a connection that is being made. Its state tells why it can't be connected, if so.
    fn reserve(&self) -> (Result<(), Errno>, Vec<u8>) {
        let mut state = self.state.lock();
        let fine = match state.phase {
            Phase::Idle if state.connecting => Err(Errno::EINVAL),
            Phase::Idle => Ok(()),
            Phase::Connected => Err(Errno::EISCONN),
            Phase::Listening { .. } => Err(Errno::EINVAL),
        };
        state.connecting |= fine.is_ok();
        (fine, state.name.clone())
    }

    pub(super) fn connect_stream(&self, io: &IoCx<'_>, address: &[u8]) -> Result<(), IoError> {
        let task = io.caller.as_any().downcast_ref::<CurrentTask>().ok_or(Errno::EINVAL)?;
        let listener = self.find(task, address)?;
        let (fine, name) = self.reserve();
        let result = self.join(io, &listener, fine, name);
        let mut state = self.state.lock();
        if fine.is_ok() {
            state.connecting = false;
        }
        let (accepted, credentials, name) = result?;
        state.phase = Phase::Connected;
        state.peer = Some(Arc::downgrade(&accepted));
        state.peer_credentials = credentials;
        state.peer_name = name;
        drop(state);
        listener.notify(Events::READABLE);
        self.notify(Events::WRITABLE);
        Ok(())
    }

    /// Puts the other end of a new connection into the listener's backlog.
    fn join(
        &self,
        io: &IoCx<'_>,
        listener: &UnixSocket,
        fine: Result<(), Errno>,
        own_name: Vec<u8>,
    ) -> Result<Joined, IoError> {
        let accepted = UnixSocket::new(self.kind, &self.space);
        let me = identity(io.caller);
        let passes = listener.flow.options.get().pass_credentials;
        accepted.flow.options.update(|new| new.pass_credentials = passes);
        let mut state = listener.state.lock();
        let (credentials, name, shut) = (state.own_credentials.clone(), state.name.clone(), state.shut_read);
        let Phase::Listening { backlog, waiting } = &mut state.phase else {
            return Err(Errno::ECONNREFUSED.into());
        };
        if shut {
            return Err(Errno::ECONNREFUSED.into());
        }
        if waiting.len() > *backlog {
            UnixSocket::add_waiter(&mut state, &self.this);
            return Err(if io.nonblock { Errno::EAGAIN.into() } else { IoError::WouldBlock });
        }
        fine?;
        {
            let mut new = accepted.state.lock_second();
            new.phase = Phase::Connected;
            new.peer = Some(self.this.clone());
            new.name.clone_from(&name);
            new.peer_name = own_name;
            new.peer_credentials = Some(me);
            new.embryo = true;
        }
        waiting.push_back(accepted.clone());
        Ok((accepted, credentials, name))
    }
}

/// The other end of a connection, and the listener's credentials and name.
type Joined = (Arc<UnixSocket>, Option<(crate::Ucred, Arc<[u32]>)>, Vec<u8>);
