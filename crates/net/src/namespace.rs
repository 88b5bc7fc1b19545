//! A network namespace: what its sockets share. A sandbox has one.

use crate::flight::Flights;
use crate::inet::Inet;
use crate::netlink::Ports;
use crate::socket::Socket;
use crate::unix::Abstract;
use kernel::Kernel;
use lock::{Mutex, rank};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// A network namespace.
#[derive(Default)]
pub struct Namespace {
    /// Abstract names of local sockets.
    pub names: Abstract,
    /// Descriptions that are being sent.
    pub flights: Arc<Flights>,
    /// The Internet protocols on the loopback device.
    pub inet: Inet,
    /// Addresses of netlink sockets.
    pub netlink: Ports,
    all: Registry,
}

struct Registry {
    next: AtomicU64,
    sockets: Mutex<BTreeMap<u64, Weak<dyn Socket>>>,
}

impl Default for Registry {
    fn default() -> Registry {
        Registry { next: AtomicU64::new(1), sockets: Mutex::new(rank::LEAF, BTreeMap::new()) }
    }
}

/// Keeps a socket listed in /proc/net.
pub struct Listed {
    space: Weak<Namespace>,
    id: u64,
}

impl Namespace {
    /// That of the sandbox.
    #[must_use]
    pub fn of(kernel: &Kernel) -> Arc<Namespace> {
        let any = kernel.network.get_or_init(|| Arc::<Namespace>::default()).clone();
        // The slot is this function's alone.
        any.downcast().unwrap_or_default()
    }

    /// Lists a socket until the returned value is dropped.
    #[must_use]
    pub fn list(self: &Arc<Namespace>, socket: Weak<dyn Socket>) -> Listed {
        let id = self.all.next.fetch_add(1, Ordering::Relaxed);
        self.all.sockets.lock().insert(id, socket);
        Listed { space: Arc::downgrade(self), id }
    }

    /// All sockets, oldest first.
    #[must_use]
    pub fn sockets(&self) -> Vec<Arc<dyn Socket>> {
        // Upgraded after the lock is let go: dropping the last reference to a socket takes it.
        let all: Vec<Weak<dyn Socket>> = self.all.sockets.lock().values().cloned().collect();
        all.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(space) = self.space.upgrade() {
            let gone = space.all.sockets.lock().remove(&self.id);
            drop(gone);
        }
    }
}
