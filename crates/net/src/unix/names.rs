//! Names of local sockets: binding them and finding who has them.

use super::UnixSocket;
use super::address::{self, Name};
use crate::Namespace;
use abi::Errno;
use kernel::CurrentTask;
use lock::{Mutex, rank};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use vfs::{At, FileType, WalkFlags, ops};

type BoundNames = HashMap<(u32, Vec<u8>), Weak<UnixSocket>>;

/// The abstract names of a network namespace.
pub struct Abstract {
    bound: Mutex<BoundNames>,
    next: AtomicU32,
}

impl Default for Abstract {
    fn default() -> Abstract {
        Abstract { bound: Mutex::new(rank::LEAF, HashMap::new()), next: AtomicU32::new(0) }
    }
}

/// Keeps an abstract name bound.
pub(super) struct Held {
    space: Weak<Namespace>,
    name: (u32, Vec<u8>),
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(space) = self.space.upgrade() {
            space.names.bound.lock().remove(&self.name);
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
        let mut state = self.state.lock();
        state.name = path;
        state.place = Some(place);
        Ok(())
    }

    fn bind_abstract(&self, name: Vec<u8>) -> Result<(), Errno> {
        // Sockets of different kinds may have the same name.
        let key = (self.kind, name.clone());
        {
            let mut bound = self.space.names.bound.lock();
            if bound.get(&key).is_some_and(|s| s.strong_count() > 0) {
                return Err(Errno::EADDRINUSE);
            }
            bound.insert(key.clone(), self.this.clone());
        }
        let held = Held { space: Arc::downgrade(&self.space), name: key };
        let mut state = self.state.lock();
        state.name = [b"\0", name.as_slice()].concat();
        state.held = Some(held);
        Ok(())
    }

    /// Five hexadecimal digits that nobody has.
    fn autobind(&self) -> Result<(), Errno> {
        const COUNT: u32 = 1 << 20;
        for _ in 0..COUNT {
            let number = self.space.names.next.fetch_add(1, Ordering::Relaxed) % COUNT;
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
            Name::Abstract(name) => self.space.names.bound.lock().get(&(self.kind, name)).and_then(Weak::upgrade),
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
}
