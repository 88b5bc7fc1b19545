//! Descriptions in flight: sent by `SCM_RIGHTS` and not yet received.
//!
//! They are counted by user, since nobody's `RLIMIT_NOFILE` sees them. A socket may lie in its own queue, or two in each
//! other's: nobody could ever receive from them, so [`Flights::garbage`] finds them.

use crate::socket::SocketFile;
use crate::unix::UnixSocket;
use abi::Errno;
use lock::{Mutex, rank};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use vfs::OpenFile;

#[derive(Default)]
struct Inner {
    by_user: HashMap<u32, usize>,
    /// Local sockets in flight by their description's id, and how often each is.
    sockets: HashMap<u64, (usize, Weak<OpenFile>)>,
}

/// All descriptions in flight.
pub struct Flights(Mutex<Inner>);

impl Default for Flights {
    fn default() -> Flights {
        Flights(Mutex::new(rank::LEAF, Inner::default()))
    }
}

/// Some of them, counted until dropped.
pub struct InFlight {
    flights: Arc<Flights>,
    uid: u32,
    count: usize,
    sockets: Vec<u64>,
}

fn unix(file: &OpenFile) -> Option<&UnixSocket> {
    file.ops_as::<SocketFile>()?.0.as_any().downcast_ref()
}

impl Flights {
    /// Counts files as in flight, sent by `uid`, which may have `limit` of them.
    ///
    /// # Errors
    /// `ETOOMANYREFS` if it had more already.
    pub fn send(self: &Arc<Flights>, files: &[Arc<OpenFile>], uid: u32, limit: u64) -> Result<InFlight, Errno> {
        let mut inner = self.0.lock();
        let count = inner.by_user.entry(uid).or_default();
        if *count as u64 > limit {
            return Err(Errno::ETOOMANYREFS);
        }
        *count += files.len();
        let mut sockets = Vec::new();
        for file in files.iter().filter(|f| unix(f).is_some()) {
            inner.sockets.entry(file.id()).or_insert_with(|| (0, Arc::downgrade(file))).0 += 1;
            sockets.push(file.id());
        }
        drop(inner);
        Ok(InFlight { flights: self.clone(), uid, count: files.len(), sockets })
    }

    /// The sockets that only queues hold which nobody can read. Errs on the side of none when things change meanwhile.
    #[must_use]
    pub fn garbage(&self) -> Vec<Arc<OpenFile>> {
        let candidates: HashMap<u64, (usize, Weak<OpenFile>)> = {
            let inner = self.0.lock();
            let held_by_queues = |(count, file): &(usize, Weak<OpenFile>)| file.strong_count() == *count;
            let found = inner.sockets.iter().filter(|(_, entry)| held_by_queues(entry));
            found.map(|(id, entry)| (*id, entry.clone())).collect()
        };
        if candidates.is_empty() {
            return Vec::new();
        }
        // Who holds whom, among the candidates.
        let mut holds: HashMap<u64, Vec<u64>> = HashMap::new();
        let mut inside: HashMap<u64, usize> = HashMap::new();
        for (id, (_, file)) in &candidates {
            let Some(file) = file.upgrade() else { continue };
            let held: Vec<u64> = unix(&file).map(UnixSocket::queued_files).unwrap_or_default();
            let held: Vec<u64> = held.into_iter().filter(|h| candidates.contains_key(h)).collect();
            for one in &held {
                *inside.entry(*one).or_default() += 1;
            }
            holds.insert(*id, held);
        }
        // Those that another queue holds too can be received, and with them all they hold.
        let outside =
            |(id, (count, _)): &(&u64, &(usize, Weak<OpenFile>))| inside.get(id).copied().unwrap_or(0) < *count;
        let mut reachable: Vec<u64> = candidates.iter().filter(outside).map(|(id, _)| *id).collect();
        let mut alive: HashSet<u64> = reachable.iter().copied().collect();
        while let Some(id) = reachable.pop() {
            for held in holds.get(&id).into_iter().flatten() {
                if alive.insert(*held) {
                    reachable.push(*held);
                }
            }
        }
        candidates.iter().filter(|(id, _)| !alive.contains(id)).filter_map(|(_, (_, file))| file.upgrade()).collect()
    }

    /// Whether any local socket is in flight.
    #[must_use]
    pub fn any_sockets(&self) -> bool {
        !self.0.lock().sockets.is_empty()
    }

    /// Empties the queues of sockets that nobody can reach any more.
    pub fn collect(&self) {
        if !self.any_sockets() {
            return;
        }
        for file in self.garbage() {
            if let Some(socket) = unix(&file) {
                socket.discard_queue();
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut inner = self.flights.0.lock();
        if let Some(count) = inner.by_user.get_mut(&self.uid) {
            *count = count.saturating_sub(self.count);
            if *count == 0 {
                inner.by_user.remove(&self.uid);
            }
        }
        for id in &self.sockets {
            let Some((count, _)) = inner.sockets.get_mut(id) else { continue };
            *count -= 1;
            if *count == 0 {
                inner.sockets.remove(id);
            }
        }
    }
}
