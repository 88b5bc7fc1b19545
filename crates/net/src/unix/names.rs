//! Names of local sockets: binding them and finding who has them.

use super::address::{self, Name};
use super::{Phase, UnixSocket};
use abi::Errno;
use kernel::CurrentTask;
use lock::{Mutex, rank};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use vfs::{At, FileType, WalkFlags, ops};

/// The abstract names of a network namespace.
pub struct Abstract {
    bound: Mutex<HashMap<Vec<u8>, Weak<UnixSocket>>>,
}

impl Default for Abstract {
    fn default() -> Abstract {
        Abstract { bound: Mutex::new(rank::LEAF, HashMap::new()) }
    }
}

/// Keeps an abstract name bound.
pub(super) struct Held {
    names: Weak<Abstract>,
    name: Vec<u8>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(names) = self.names.upgrade() {
            names.bound.lock().remove(&self.name);
        }
    }
}

/// What a path's inode holds: the socket that is bound there.
struct Bound(Weak<UnixSocket>);

const MAY_WRITE: u32 = 2;

impl UnixSocket {
    pub(super) fn bind_name(&self, task: &CurrentTask, address: &[u8]) -> Result<(), Errno> {
        let name = address::decode(address)?;
        if !self.state.lock().name.is_empty() {
            return Err(Errno::EINVAL);
        }
        match name {
            Name::Path(path) => self.bind_path(task, path),
            Name::Abstract(name) => self.bind_abstract(name),
            Name::Empty => self.autobind(),
        }
    }

    fn bind_path(&self, task: &CurrentTask, path: Vec<u8>) -> Result<(), Errno> {
        let cx = task.walk_cx();
        let mode = FileType::Socket.mode_bits() | 0o777;
        ops::mknod(&cx, At::cwd(&path), mode, 0).map_err(|e| match e {
            Errno::EEXIST => Errno::EADDRINUSE,
            other => other,
        })?;
        let place = cx.resolve(At::cwd(&path), WalkFlags::empty())?;
        let bound = place.inode().common().endpoint(|| Arc::new(Bound(self.this.clone())));
        if bound.is_none_or(|b| !b.0.ptr_eq(&self.this)) {
            return Err(Errno::EADDRINUSE);
        }
        self.state.lock().name = path;
        Ok(())
    }

    fn bind_abstract(&self, name: Vec<u8>) -> Result<(), Errno> {
        {
            let mut bound = self.names.bound.lock();
            if bound.get(&name).is_some_and(|s| s.strong_count() > 0) {
                return Err(Errno::EADDRINUSE);
            }
            bound.insert(name.clone(), self.this.clone());
        }
        let held = Held { names: Arc::downgrade(&self.names), name: name.clone() };
        let mut state = self.state.lock();
        state.name = [b"\0", name.as_slice()].concat();
        state.held = Some(held);
        Ok(())
    }

    /// Five hexadecimal digits that nobody has.
    fn autobind(&self) -> Result<(), Errno> {
        for number in 0..=0xf_ffffu32 {
            match self.bind_abstract(format!("{number:05x}").into_bytes()) {
                Err(Errno::EADDRINUSE) => {}
                other => return other,
            }
        }
        Err(Errno::ENOSPC)
    }

    /// The socket with this address, which must be of this kind.
    pub(super) fn find(&self, task: &CurrentTask, address: &[u8]) -> Result<Arc<UnixSocket>, Errno> {
        let found = match address::decode(address)? {
            Name::Empty => return Err(Errno::EINVAL),
            Name::Abstract(name) => self.names.bound.lock().get(&name).and_then(Weak::upgrade),
            Name::Path(path) => {
                let cx = task.walk_cx();
                let place = cx.resolve(At::cwd(&path), WalkFlags::FOLLOW)?;
                cx.permission(&place, MAY_WRITE)?;
                if place.inode().attr()?.kind != FileType::Socket {
                    return Err(Errno::ECONNREFUSED);
                }
                place.inode().common().peek_endpoint::<Bound>().and_then(|b| b.0.upgrade())
            }
        };
        let found = found.ok_or(Errno::ECONNREFUSED)?;
        if found.state.lock().closed {
            return Err(Errno::ECONNREFUSED);
        }
        if found.kind != self.kind { Err(Errno::EPROTOTYPE) } else { Ok(found) }
    }

    /// The last description is closed.
    pub(super) fn close(&self) {
        let (peer, waiting, held, unread) = {
            let mut state = self.state.lock();
            state.closed = true;
            (state.shut_read, state.shut_write) = (true, true);
            let waiting = match std::mem::take(&mut state.phase) {
                Phase::Listening { waiting, .. } => waiting,
                other => {
                    state.phase = other;
                    Default::default()
                }
            };
            (state.peer.take(), waiting, state.held.take(), !state.queue.is_empty())
        };
        drop(held);
        self.drain();
        for never_accepted in waiting {
            never_accepted.close();
        }
        if let (false, Some(peer)) = (self.is_datagram(), peer.and_then(|p| p.upgrade())) {
            let mut state = peer.state.lock();
            (state.shut_read, state.shut_write) = (true, true);
            drop(state);
            if unread {
                peer.options.set_error(Errno::ECONNRESET);
            }
            peer.wait.notify(vfs::wait::Events::all());
        }
        self.wait.notify(vfs::wait::Events::all());
    }
}
