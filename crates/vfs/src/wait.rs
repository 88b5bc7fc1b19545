//! Wait queues: how a sleeper learns that an object's state changed.
//!
//! A [`WaitQueue`] belongs to an object; a [`Wake`] is told of events on it. Registering, checking and then sleeping,
//! in that order, loses no event, as long as the object notifies after each change. Rank `WAIT_QUEUE`; a `Wake` may
//! take only locks above it.

use bitflags::bitflags;
use lock::{Mutex, rank};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::Thread;

bitflags! {
    /// Events of poll(2).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Events: u32 {
        #[allow(missing_docs)] const IN = 0x001;
        #[allow(missing_docs)] const PRI = 0x002;
        #[allow(missing_docs)] const OUT = 0x004;
        #[allow(missing_docs)] const ERR = 0x008;
        #[allow(missing_docs)] const HUP = 0x010;
        #[allow(missing_docs)] const NVAL = 0x020;
        #[allow(missing_docs)] const RDNORM = 0x040;
        #[allow(missing_docs)] const RDBAND = 0x080;
        #[allow(missing_docs)] const WRNORM = 0x100;
        #[allow(missing_docs)] const WRBAND = 0x200;
        #[allow(missing_docs)] const MSG = 0x400;
        #[allow(missing_docs)] const RDHUP = 0x2000;
        /// Readable.
        const READABLE = 0x041;
        /// Writable.
        const WRITABLE = 0x104;
    }
}

/// Told of events. Called with the queue locked: it must not block, nor touch the queue.
pub trait Wake: Send + Sync {
    /// Something in `events` happened. Threads that must know go to `sleepers`. For an exclusive waiter, returns whether
    /// it took the event: the queue then wakes no further exclusive ones.
    fn wake(&self, events: Events, sleepers: &mut Sleepers) -> bool;
}

/// Threads to wake once no queue is locked: a thread that wakes before would run into that lock, and sleep again.
#[derive(Default)]
pub struct Sleepers {
    few: [Option<Thread>; 4],
    more: Vec<Thread>,
}

impl Sleepers {
    /// Adds one.
    pub fn add(&mut self, thread: Thread) {
        match self.few.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(thread),
            None => self.more.push(thread),
        }
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        self.few.iter().flatten().chain(&self.more).for_each(Thread::unpark);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Waiter,
    Exclusive,
    Signalled,
}

struct Entry {
    id: u64,
    mask: Events,
    kind: Kind,
    wake: Arc<dyn Wake>,
}

struct List {
    next_id: u64,
    entries: Vec<Entry>,
}

struct Inner {
    /// Lets `notify` return at once when nobody waits.
    waiting: AtomicUsize,
    list: Mutex<List>,
}

/// Those who wait for an object.
pub struct WaitQueue(Arc<Inner>);

impl Default for WaitQueue {
    fn default() -> WaitQueue {
        WaitQueue::new()
    }
}

impl WaitQueue {
    /// An empty queue.
    #[must_use]
    pub fn new() -> WaitQueue {
        WaitQueue(Arc::new(Inner {
            waiting: AtomicUsize::new(0),
            list: Mutex::new(rank::WAIT_QUEUE, List { next_id: 0, entries: Vec::new() }),
        }))
    }

    /// Has `wake` told of events in `mask`, and of `ERR` and `HUP`, until the registration is dropped.
    #[must_use]
    pub fn register(&self, mask: Events, wake: Arc<dyn Wake>) -> Registration {
        self.add(mask, wake, Kind::Waiter)
    }

    /// The same for an exclusive waiter: one `notify` wakes only the first of them that takes the event.
    #[must_use]
    pub fn register_exclusive(&self, mask: Events, wake: Arc<dyn Wake>) -> Registration {
        self.add(mask, wake, Kind::Exclusive)
    }

    /// The same for whom signals tell (`O_ASYNC`): [`WaitQueue::notify_waiters`] passes it over.
    #[must_use]
    pub fn register_signalled(&self, mask: Events, wake: Arc<dyn Wake>) -> Registration {
        self.add(mask, wake, Kind::Signalled)
    }

    fn add(&self, mask: Events, wake: Arc<dyn Wake>, kind: Kind) -> Registration {
        let mut list = self.0.list.lock();
        let id = list.next_id;
        list.next_id += 1;
        list.entries.push(Entry { id, mask: mask | Events::ERR | Events::HUP, kind, wake });
        self.0.waiting.store(list.entries.len(), Ordering::SeqCst);
        Registration { queue: Arc::downgrade(&self.0), id }
    }

    /// Tells everyone who waits for one of `events`.
    pub fn notify(&self, events: Events) {
        self.tell(events, true, &mut Sleepers::default());
    }

    /// The same for news of which no signal tells.
    pub fn notify_waiters(&self, events: Events) {
        self.tell(events, false, &mut Sleepers::default());
    }

    /// As [`WaitQueue::notify`], from under another queue's lock.
    pub fn notify_under(&self, events: Events, sleepers: &mut Sleepers) {
        self.tell(events, true, sleepers);
    }

    fn tell(&self, events: Events, signals: bool, sleepers: &mut Sleepers) {
        // SeqCst: ordered after the change of state that the caller made, and against `add` followed by a check.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.0.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        // An epoll set's queue is notified under the queue of one of its files; sets never hold each other in a circle.
        let list = self.0.list.lock_second();
        let mut exclusive_done = false;
        for entry in &list.entries {
            let passed_over = match entry.kind {
                Kind::Waiter => false,
                Kind::Exclusive => exclusive_done,
                Kind::Signalled => !signals,
            };
            if passed_over || !entry.mask.intersects(events) {
                continue;
            }
            let took = entry.wake.wake(events, sleepers);
            exclusive_done |= took && entry.kind == Kind::Exclusive;
        }
    }

    /// Whether anybody waits; a hint.
    #[must_use]
    pub fn has_waiters(&self) -> bool {
        self.0.waiting.load(Ordering::SeqCst) != 0
    }
}

/// Keeps a [`Wake`] on a queue; dropping it takes it off.
pub struct Registration {
    queue: Weak<Inner>,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let Some(inner) = self.queue.upgrade() else { return };
        let removed = {
            let mut list = inner.list.lock();
            let found = list.entries.iter().position(|e| e.id == self.id);
            let removed = found.map(|at| list.entries.remove(at));
            inner.waiting.store(list.entries.len(), Ordering::SeqCst);
            removed
        };
        drop(removed);
    }
}
