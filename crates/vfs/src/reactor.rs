//! Descriptors of the host that files stand on, and how those who wait learn of the host's news.
//!
//! A descriptor is watched one shot at a time: it is armed when something was wanted and not there.

use crate::IoError;
use crate::wait::{Events, WaitQueue};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use std::sync::Arc;

/// Tells of readiness of host descriptors.
pub trait Reactor: Send + Sync {
    /// Watches a descriptor on behalf of `queue`, for nothing yet. `None` if it is always ready.
    fn add(&self, fd: &Arc<OwnedFd>, queue: &Arc<WaitQueue>) -> Option<u64>;

    /// Has the queue told once of any of `events`.
    fn arm(&self, id: u64, events: Events);

    /// Ends the watch.
    fn remove(&self, id: u64);
}

/// A descriptor of the host, watched if it can make wait.
pub struct Watched {
    fd: Arc<OwnedFd>,
    queue: Arc<WaitQueue>,
    /// The reactor, and the number of the watch with it.
    watch: Option<(Arc<dyn Reactor>, u64)>,
}

impl Watched {
    /// Takes a descriptor; `waits` if what it is can make wait.
    #[must_use]
    pub fn new(fd: OwnedFd, waits: bool, reactor: &Arc<dyn Reactor>) -> Watched {
        let (fd, queue) = (Arc::new(fd), Arc::new(WaitQueue::new()));
        let watch = if waits { reactor.add(&fd, &queue).map(|id| (reactor.clone(), id)) } else { None };
        Watched { fd, queue, watch }
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// Who is told, if it ever makes wait.
    #[must_use]
    pub fn queue(&self) -> Option<&WaitQueue> {
        self.watch.as_ref().map(|_| &*self.queue)
    }

    /// What poll(2) says of it now.
    #[must_use]
    pub fn ready(&self) -> Events {
        let mut fds = [PollFd::new(&*self.fd, PollFlags::all() - PollFlags::NVAL)];
        match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => fds.first().map_or(Events::empty(), |fd| Events::from_bits_truncate(fd.revents().bits().into())),
            Err(_) => Events::empty(),
        }
    }

    /// The same, for somebody who will wait for what is missing.
    #[must_use]
    pub fn readiness(&self) -> Events {
        if self.watch.is_none() {
            return crate::ALWAYS_READY;
        }
        let ready = self.ready();
        let missing = (Events::READABLE | Events::WRITABLE | Events::PRI) - ready;
        if !missing.is_empty() {
            self.arm(missing);
        }
        ready
    }

    /// Has the queue told of `events`, for which a call is to wait.
    #[must_use]
    pub fn would_block(&self, events: Events) -> IoError {
        self.arm(events);
        IoError::WouldBlock
    }

    fn arm(&self, events: Events) {
        if let Some((reactor, id)) = &self.watch {
            reactor.arm(*id, events);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some((reactor, id)) = &self.watch {
            reactor.remove(*id);
        }
    }
}
