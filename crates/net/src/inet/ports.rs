//! Which ports are in use, and by whom.

use super::address;
use abi::Errno;
use lock::{Mutex, rank};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// `net.ipv4.ip_local_port_range`.
const FIRST: u16 = 32768;
const LAST: u16 = 60999;

/// What a binding allows others.
#[derive(Clone, Copy, Default)]
pub(super) struct Sharing {
    /// `SO_REUSEADDR`.
    pub address: bool,
    /// `SO_REUSEPORT`, and whose it is.
    pub port: bool,
    pub uid: u32,
    /// `IPV6_V6ONLY`, of an IPv6 socket.
    pub only_v6: bool,
    /// It listens: its address is shared with nobody.
    pub listens: bool,
}

struct Entry<S> {
    ip: IpAddr,
    sharing: Sharing,
    socket: Weak<S>,
}

struct Inner<S> {
    by_port: BTreeMap<u16, Vec<Entry<S>>>,
    /// Where a connection was that this side closed first, until when (`TIME_WAIT`).
    lingering: BTreeMap<u16, (Instant, IpAddr, Sharing)>,
    next: u16,
}

/// Linux's `TCP_TIMEWAIT_LEN`.
const LINGER: Duration = Duration::from_secs(60);

/// The ports of one protocol.
pub(super) struct Ports<S>(Mutex<Inner<S>>);

impl<S> Default for Ports<S> {
    fn default() -> Ports<S> {
        Ports(Mutex::new(rank::LEAF, Inner { by_port: BTreeMap::new(), lingering: BTreeMap::new(), next: FIRST }))
    }
}

/// Whether two bindings take the same packets.
fn overlap(a: IpAddr, a_only: bool, b: IpAddr, b_only: bool) -> bool {
    match (a, b) {
        (IpAddr::V6(x), IpAddr::V4(_)) => x.is_unspecified() && !a_only,
        (IpAddr::V4(_), IpAddr::V6(x)) => x.is_unspecified() && !b_only,
        _ => a == b || a.is_unspecified() || b.is_unspecified(),
    }
}

impl<S> Inner<S> {
    fn conflicts(&self, at: SocketAddr, sharing: Sharing, datagrams: bool) -> bool {
        let shares = |other: Sharing| {
            let address = sharing.address && other.address && (datagrams || !other.listens);
            address || (sharing.port && other.port && sharing.uid == other.uid)
        };
        let meets = |ip: IpAddr, other: Sharing| overlap(at.ip(), sharing.only_v6, ip, other.only_v6);
        let taken = self.by_port.get(&at.port()).into_iter().flatten();
        let mut taken = taken.filter(|e| e.socket.strong_count() > 0);
        let lingers = self
            .lingering
            .get(&at.port())
            .is_some_and(|(until, ip, other)| *until > Instant::now() && !shares(*other) && meets(*ip, *other));
        lingers || taken.any(|e| !shares(e.sharing) && meets(e.ip, e.sharing))
    }

    fn insert(&mut self, at: SocketAddr, sharing: Sharing, socket: Weak<S>) {
        let entries = self.by_port.entry(at.port()).or_default();
        entries.retain(|e| e.socket.strong_count() > 0);
        entries.push(Entry { ip: at.ip(), sharing, socket });
    }
}

impl<S> Ports<S> {
    /// Binds to an address; port 0 stands for any free one.
    pub(super) fn bind(
        &self,
        at: SocketAddr,
        sharing: Sharing,
        datagrams: bool,
        socket: Weak<S>,
    ) -> Result<SocketAddr, Errno> {
        let mut inner = self.0.lock();
        if at.port() != 0 {
            if inner.conflicts(at, sharing, datagrams) {
                return Err(Errno::EADDRINUSE);
            }
            inner.insert(at, sharing, socket);
            return Ok(at);
        }
        let alone = Sharing { address: false, port: false, ..sharing };
        for _ in FIRST..=LAST {
            let port = inner.next;
            inner.next = if port == LAST { FIRST } else { port + 1 };
            let at = SocketAddr::new(at.ip(), port);
            if !inner.conflicts(at, alone, datagrams) {
                inner.insert(at, sharing, socket);
                return Ok(at);
            }
        }
        Err(Errno::EADDRINUSE)
    }

    /// An accepted connection has its listener's address.
    pub(super) fn hold(&self, at: SocketAddr, sharing: Sharing, socket: Weak<S>) {
        let entry = Entry { ip: at.ip(), sharing, socket };
        self.0.lock().by_port.entry(at.port()).or_default().push(entry);
    }

    /// A connection at this address was closed by this side first.
    pub(super) fn linger(&self, at: SocketAddr, sharing: Sharing) {
        let until = Instant::now() + LINGER;
        self.0.lock().lingering.insert(at.port(), (until, at.ip(), sharing));
    }

    /// A socket's binding now shares like this.
    pub(super) fn update(&self, port: u16, socket: &Weak<S>, change: impl FnOnce(&mut Sharing)) {
        let mut inner = self.0.lock();
        let entries = inner.by_port.get_mut(&port);
        if let Some(entry) = entries.into_iter().flatten().find(|e| e.socket.ptr_eq(socket)) {
            change(&mut entry.sharing);
        }
    }

    /// Whether a socket that starts to listen is alone at its address, or shares it on purpose.
    pub(super) fn may_listen(&self, at: SocketAddr, socket: &Weak<S>) -> bool {
        let inner = self.0.lock();
        let Some(entries) = inner.by_port.get(&at.port()) else { return true };
        let Some(own) = entries.iter().find(|e| e.socket.ptr_eq(socket)).map(|e| e.sharing) else { return true };
        !entries.iter().any(|e| {
            let live = !e.socket.ptr_eq(socket) && e.socket.strong_count() > 0 && e.sharing.listens;
            let shared = own.port && e.sharing.port && own.uid == e.sharing.uid;
            live && !shared && overlap(at.ip(), own.only_v6, e.ip, e.sharing.only_v6)
        })
    }

    /// Ends a binding.
    pub(super) fn release(&self, port: u16, socket: &Weak<S>) {
        let mut inner = self.0.lock();
        let Some(entries) = inner.by_port.get_mut(&port) else { return };
        let kept = std::mem::take(entries).into_iter().filter(|e| !e.socket.ptr_eq(socket)).collect::<Vec<_>>();
        *entries = kept;
        if entries.is_empty() {
            inner.by_port.remove(&port);
        }
    }

    /// The sockets that take what comes to an address, those bound to just it first; of TCP only those that listen.
    pub(super) fn at(&self, to: SocketAddr, listening: bool) -> Vec<Arc<S>> {
        let weak: Vec<(bool, Weak<S>)> = {
            let inner = self.0.lock();
            let all = inner.by_port.get(&to.port()).into_iter().flatten().filter(|e| e.sharing.listens || !listening);
            let fits = all.filter(|e| {
                overlap(to.ip(), true, e.ip, e.sharing.only_v6) && (!to.ip().is_unspecified() || e.ip == to.ip())
            });
            fits.map(|e| (e.ip == to.ip(), e.socket.clone())).collect()
        };
        let mut found: Vec<(bool, Arc<S>)> = weak.iter().filter_map(|(e, s)| Some((*e, s.upgrade()?))).collect();
        found.sort_by_key(|(exact, _)| !exact);
        found.into_iter().map(|(_, socket)| socket).collect()
    }
}

/// Whether an address may be bound to.
///
/// # Errors
/// `EADDRNOTAVAIL` if it is not ours.
pub(super) fn check_local(ip: IpAddr) -> Result<(), Errno> {
    if ip.is_unspecified() || ip.is_multicast() || address::is_local(ip) { Ok(()) } else { Err(Errno::EADDRNOTAVAIL) }
}
