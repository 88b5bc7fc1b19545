//! epoll(7): sets of files that are watched.
//!
//! An item belongs to a descriptor's number and its description. It holds the description weakly: when the last
//! descriptor is gone the item is dead, and is swept away when it is met. News from a file puts its item on the set's
//! ready list, so that waiting costs by what is ready, not by what is watched.
//!
//! Locks: a set's items (rank `EPOLL`, taken before anything that a file's readiness may need; an inner set's after the
//! outer's) and the ready list (`LEAF`, also taken by [`Item::wake`] under the file's wait queue). Descriptions that were
//! looked at are dropped after all of them are released, since a last reference has effects ([`Looking`]).

use abi::Errno;
use kernel::{CurrentTask, WaitEnd};
use lock::{Mutex, rank};
use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;
use vfs::anon::anon_file;
use vfs::wait::{Events, Registration, Sleepers, WaitQueue, Wake};
use vfs::{FileOps, OpenFile, OpenFlags};

/// `EPOLLEXCLUSIVE`, `EPOLLWAKEUP`, `EPOLLONESHOT`, `EPOLLET`: not events but how to watch.
const EXCLUSIVE: u32 = 1 << 28;
const WAKEUP: u32 = 1 << 29;
const ONESHOT: u32 = 1 << 30;
const EDGE: u32 = 1 << 31;
const HOW: u32 = EXCLUSIVE | WAKEUP | ONESHOT | EDGE;

/// What may go with `EPOLLEXCLUSIVE`.
const EXCLUSIVE_OK: u32 = 0x001 | 0x004 | 0x008 | 0x010 | WAKEUP | EDGE | EXCLUSIVE;

/// Sets in sets, at most so many deep.
const DEPTH_MAX: usize = 5;

/// Items of a whole Sentry (Linux limits them by user, by memory).
const ITEMS_MAX: usize = 1 << 20;
static ITEMS: AtomicUsize = AtomicUsize::new(0);

/// Held while sets are put into sets.
static NESTING: Mutex<()> = Mutex::new(rank::EPOLL_NESTING, ());

/// Events and data of `struct epoll_event`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct EpollEvent {
    pub events: u32,
    pub data: u64,
}

/// What is told to a set from outside: its ready items, and who waits for them.
struct Ready {
    list: Mutex<VecDeque<Arc<Item>>>,
    queue: WaitQueue,
}

struct Item {
    this: Weak<Item>,
    fd: i32,
    id: u64,
    file: Weak<OpenFile>,
    ready: Arc<Ready>,
    /// Events and how to watch; no events while a one-shot item waits to be armed again, nothing once it is removed.
    events: AtomicU32,
    data: AtomicU64,
    /// It is on the ready list, or just about to be.
    queued: AtomicBool,
}

impl Item {
    /// The events that are watched; none if it is disabled.
    fn watched(&self) -> Events {
        match self.events.load(Ordering::SeqCst) & !HOW {
            0 => Events::empty(),
            events => Events::from_bits_truncate(events),
        }
    }

    /// Puts it on the ready list, if it is not there.
    fn queue(&self) {
        if !self.queued.swap(true, Ordering::SeqCst)
            && let Some(this) = self.this.upgrade()
        {
            self.ready.list.lock().push_back(this);
        }
    }

    fn ready_now(&self, file: &OpenFile) -> Events {
        file.ops().readiness() & self.watched()
    }

    fn key(&self) -> (i32, u64) {
        (self.fd, self.id)
    }
}

impl Wake for Item {
    fn wake(&self, events: Events, sleepers: &mut Sleepers) -> bool {
        if !self.watched().intersects(events) {
            return false;
        }
        let waited_for = self.ready.queue.has_waiters();
        self.queue();
        self.ready.queue.notify_under(Events::READABLE, sleepers);
        waited_for
    }
}

struct Watched {
    item: Arc<Item>,
    registration: Option<Registration>,
}

#[derive(Default)]
struct Items {
    map: BTreeMap<(i32, u64), Watched>,
    /// Dead items are swept when there may be as many as living ones.
    sweep_at: usize,
    /// The sets among the files.
    children: Vec<Weak<Set>>,
}

struct Set {
    items: Mutex<Items>,
    ready: Arc<Ready>,
    /// The sets that hold this one.
    parents: Mutex<Vec<Weak<Set>>>,
}

/// The object behind an epoll descriptor.
pub struct Epoll(Arc<Set>);

/// A description of a new, empty set.
#[must_use]
pub fn new_epoll(flags: OpenFlags) -> OpenFile {
    let ready = Ready { list: Mutex::new(rank::LEAF, VecDeque::new()), queue: WaitQueue::new() };
    let set = Set {
        items: Mutex::new(rank::EPOLL, Items::default()),
        ready: Arc::new(ready),
        parents: Mutex::new(rank::LEAF, Vec::new()),
    };
    anon_file("[eventpoll]", flags | OpenFlags::RDWR, Box::new(Epoll(Arc::new(set))))
}

thread_local! {
    static KEPT: RefCell<(usize, Vec<Arc<OpenFile>>)> = const { RefCell::new((0, Vec::new())) };
}

/// While it lives, descriptions that this thread looks at are kept; those of the outermost one go when it does.
struct Looking;

impl Looking {
    fn new() -> Looking {
        KEPT.with_borrow_mut(|kept| kept.0 += 1);
        Looking
    }

    /// The item's description, if it has one still.
    fn at(&self, item: &Item) -> Option<Arc<OpenFile>> {
        let file = item.file.upgrade()?;
        KEPT.with_borrow_mut(|kept| kept.1.push(file.clone()));
        Some(file)
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        let done = KEPT.with_borrow_mut(|kept| {
            kept.0 -= 1;
            if kept.0 == 0 { std::mem::take(&mut kept.1) } else { Vec::new() }
        });
        drop(done);
    }
}

impl Items {
    fn remove(&mut self, key: (i32, u64)) -> Option<Watched> {
        let watched = self.map.remove(&key)?;
        watched.item.events.store(0, Ordering::SeqCst);
        ITEMS.fetch_sub(1, Ordering::Relaxed);
        Some(watched)
    }

    fn sweep(&mut self) {
        if self.map.len() < self.sweep_at {
            return;
        }
        let dead: Vec<(i32, u64)> =
            self.map.iter().filter(|(_, w)| w.item.file.strong_count() == 0).map(|(key, _)| *key).collect();
        for key in dead {
            self.remove(key);
        }
        self.children.retain(|child| child.strong_count() > 0);
        self.sweep_at = (self.map.len() * 2).max(64);
    }
}

impl Set {
    fn register(item: &Arc<Item>, file: &OpenFile) -> Option<Registration> {
        let queue = file.ops().wait_queue()?;
        let events = item.watched();
        if item.events.load(Ordering::SeqCst) & EXCLUSIVE != 0 {
            return Some(queue.register_exclusive(events, item.clone()));
        }
        Some(queue.register(events, item.clone()))
    }

    /// Takes ready items off the list until `max` were found that have events; level-triggered ones go back on it.
    fn collect(&self, max: usize) -> Vec<EpollEvent> {
        let looking = Looking::new();
        let mut items = self.items.lock();
        let mut waiting = std::mem::take(&mut *self.ready.list.lock());
        let mut again = Vec::new();
        let mut found = Vec::new();
        while found.len() < max
            && let Some(item) = waiting.pop_front()
        {
            item.queued.store(false, Ordering::SeqCst);
            let Some(file) = looking.at(&item) else {
                items.remove(item.key());
                continue;
            };
            let events = item.ready_now(&file);
            if events.is_empty() {
                continue;
            }
            found.push(EpollEvent { events: events.bits(), data: item.data.load(Ordering::Relaxed) });
            let how = item.events.load(Ordering::SeqCst);
            if how & ONESHOT != 0 {
                item.events.store(how & HOW, Ordering::SeqCst);
            } else if how & EDGE == 0 {
                again.push(item);
            }
        }
        {
            let mut list = self.ready.list.lock();
            waiting.append(&mut list);
            waiting.extend(again.into_iter().filter(|item| !item.queued.swap(true, Ordering::SeqCst)));
            *list = waiting;
        }
        drop(items);
        found
    }

    /// Whether anything is ready; takes what is not off the list.
    fn is_ready(&self) -> bool {
        if self.ready.list.lock().is_empty() {
            return false;
        }
        let looking = Looking::new();
        // An outer set's items may be locked: sets never hold each other in a circle.
        let mut items = self.items.lock_second();
        loop {
            let Some(item) = self.ready.list.lock().pop_front() else { return false };
            item.queued.store(false, Ordering::SeqCst);
            match looking.at(&item) {
                None => drop(items.remove(item.key())),
                Some(file) if item.ready_now(&file).is_empty() => {}
                Some(_) => {
                    if !item.queued.swap(true, Ordering::SeqCst) {
                        self.ready.list.lock().push_front(item);
                    }
                    return true;
                }
            }
        }
    }

    /// Queues an item whose file is ready already.
    fn check(&self, item: &Item, file: &OpenFile) {
        if !item.ready_now(file).is_empty() {
            item.queue();
            self.ready.queue.notify(Events::READABLE);
        }
    }

    /// How deep sets are nested below and including this one.
    ///
    /// # Errors
    /// `ELOOP` if `outer` is among them.
    fn depth_below(self: &Arc<Set>, outer: &Arc<Set>, known: &mut HashMap<*const Set, usize>) -> Result<usize, Errno> {
        if Arc::ptr_eq(self, outer) {
            return Err(Errno::ELOOP);
        }
        if let Some(depth) = known.get(&Arc::as_ptr(self)) {
            return Ok(*depth);
        }
        let children: Vec<Arc<Set>> = self.items.lock().children.iter().filter_map(Weak::upgrade).collect();
        let mut depth = 0;
        for child in children {
            depth = depth.max(child.depth_below(outer, known)?);
        }
        known.insert(Arc::as_ptr(self), depth + 1);
        Ok(depth + 1)
    }

    /// How deep sets are nested above and including this one.
    fn depth_above(self: &Arc<Set>, known: &mut HashMap<*const Set, usize>) -> usize {
        if let Some(depth) = known.get(&Arc::as_ptr(self)) {
            return *depth;
        }
        let parents: Vec<Arc<Set>> = {
            let mut parents = self.parents.lock();
            parents.retain(|parent| parent.strong_count() > 0);
            parents.iter().filter_map(Weak::upgrade).collect()
        };
        let depth = 1 + parents.iter().map(|p| p.depth_above(known)).max().unwrap_or(0);
        known.insert(Arc::as_ptr(self), depth);
        depth
    }

    fn check_nesting(self: &Arc<Set>, inner: &Arc<Set>) -> Result<(), Errno> {
        let below = inner.depth_below(self, &mut HashMap::new())?;
        let above = self.depth_above(&mut HashMap::new());
        if below + above > DEPTH_MAX { Err(Errno::ELOOP) } else { Ok(()) }
    }

    fn add(self: &Arc<Set>, fd: i32, file: &Arc<OpenFile>, event: EpollEvent) -> Result<(), Errno> {
        let _looking = Looking::new();
        let mut items = self.items.lock();
        let key = (fd, file.id());
        if items.map.contains_key(&key) {
            return Err(Errno::EEXIST);
        }
        items.sweep();
        if ITEMS.fetch_add(1, Ordering::Relaxed) >= ITEMS_MAX {
            ITEMS.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::ENOSPC);
        }
        let item = Arc::new_cyclic(|this| Item {
            this: this.clone(),
            fd,
            id: key.1,
            file: Arc::downgrade(file),
            ready: self.ready.clone(),
            events: AtomicU32::new(event.events | ALWAYS),
            data: AtomicU64::new(event.data),
            queued: AtomicBool::new(false),
        });
        let registration = Set::register(&item, file);
        items.map.insert(key, Watched { item: item.clone(), registration });
        if let Some(inner) = file.ops_as::<Epoll>() {
            items.children.push(Arc::downgrade(&inner.0));
            inner.0.parents.lock().push(Arc::downgrade(self));
        }
        self.check(&item, file);
        Ok(())
    }

    fn remove(self: &Arc<Set>, fd: i32, file: &Arc<OpenFile>) -> Result<(), Errno> {
        let removed = self.items.lock().remove((fd, file.id())).ok_or(Errno::ENOENT)?;
        drop(removed);
        if let Some(inner) = file.ops_as::<Epoll>() {
            self.forget_child(&inner.0);
        }
        Ok(())
    }

    /// One way to an inner set is gone.
    fn forget_child(self: &Arc<Set>, inner: &Arc<Set>) {
        let drop_one = |list: &mut Vec<Weak<Set>>, of: &Arc<Set>| {
            let at = list.iter().position(|w| std::ptr::eq(w.as_ptr(), Arc::as_ptr(of)));
            at.map(|at| list.swap_remove(at))
        };
        let child = drop_one(&mut self.items.lock().children, inner);
        let parent = drop_one(&mut inner.parents.lock(), self);
        drop((child, parent));
    }

    fn modify(&self, fd: i32, file: &Arc<OpenFile>, event: EpollEvent) -> Result<(), Errno> {
        let _looking = Looking::new();
        let mut items = self.items.lock();
        let watched = items.map.get_mut(&(fd, file.id())).ok_or(Errno::ENOENT)?;
        if watched.item.events.load(Ordering::SeqCst) & EXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        watched.item.events.store(event.events | ALWAYS, Ordering::SeqCst);
        watched.item.data.store(event.data, Ordering::Relaxed);
        watched.registration = None;
        watched.registration = Set::register(&watched.item, file);
        self.check(&watched.item, file);
        Ok(())
    }
}

/// `EPOLLERR` and `EPOLLHUP` are always watched.
const ALWAYS: u32 = 0x018;

impl Drop for Set {
    fn drop(&mut self) {
        let items = std::mem::take(self.items.get_mut());
        ITEMS.fetch_sub(items.map.len(), Ordering::Relaxed);
        for watched in items.map.values() {
            watched.item.events.store(0, Ordering::SeqCst);
        }
        let list = std::mem::take(&mut *self.ready.list.lock());
        drop((items, list));
    }
}

/// What epoll_ctl(2) does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum EpollOp {
    Add(EpollEvent),
    Modify(EpollEvent),
    Remove,
}

impl Epoll {
    /// epoll_ctl(2). `own` is this set's description, `file` what `fd` names.
    ///
    /// # Errors
    /// `EPERM`, `EINVAL`, `ELOOP`, `EEXIST`, `ENOENT`, `ENOSPC`, in Linux's order.
    pub fn control(own: &OpenFile, fd: i32, file: &Arc<OpenFile>, op: Option<EpollOp>) -> Result<(), Errno> {
        if file.ops().wait_queue().is_none() {
            return Err(Errno::EPERM);
        }
        let Some(Epoll(set)) = own.ops_as::<Epoll>() else { return Err(Errno::EINVAL) };
        if own.id() == file.id() {
            return Err(Errno::EINVAL);
        }
        let inner = file.ops_as::<Epoll>();
        match op {
            Some(EpollOp::Modify(event)) if event.events & EXCLUSIVE != 0 => return Err(Errno::EINVAL),
            Some(EpollOp::Add(event))
                if event.events & EXCLUSIVE != 0 && (inner.is_some() || event.events & !EXCLUSIVE_OK != 0) =>
            {
                return Err(Errno::EINVAL);
            }
            _ => {}
        }
        match op {
            Some(EpollOp::Add(event)) => {
                let _nesting = inner.is_some().then(|| NESTING.lock());
                if let Some(inner) = inner {
                    set.check_nesting(&inner.0)?;
                }
                set.add(fd, file, event)
            }
            Some(EpollOp::Modify(event)) => set.modify(fd, file, event),
            Some(EpollOp::Remove) => set.remove(fd, file),
            None => Err(Errno::EINVAL),
        }
    }

    /// epoll_wait(2): at most `max` events; `wait` is false for a timeout of zero. None at the deadline.
    ///
    /// # Errors
    /// Interrupted.
    pub fn wait(
        &self,
        task: &CurrentTask,
        max: usize,
        wait: bool,
        deadline: Option<Instant>,
    ) -> Result<Vec<EpollEvent>, WaitEnd> {
        let set = &self.0;
        let collect = || Some(set.collect(max)).filter(|events| !events.is_empty());
        let mut result = collect().ok_or(WaitEnd::Timeout);
        if wait && result.is_err() {
            let registration = set.ready.queue.register_exclusive(Events::READABLE, task.work.parker().clone());
            result = task.wait_until(deadline, collect);
            drop(registration);
        }
        // One wake-up wakes one waiter: it passes on what it leaves.
        if set.ready.queue.has_waiters() && !set.ready.list.lock().is_empty() {
            set.ready.queue.notify(Events::READABLE);
        }
        match result {
            Err(WaitEnd::Timeout) => Ok(Vec::new()),
            other => other,
        }
    }
}

impl FileOps for Epoll {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn readiness(&self) -> Events {
        if self.0.is_ready() { Events::READABLE } else { Events::empty() }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.ready.queue)
    }

    fn fdinfo(&self) -> String {
        let looking = Looking::new();
        let items = self.0.items.lock();
        let mut lines = String::new();
        for item in items.map.values().map(|w| &w.item) {
            let Some(file) = looking.at(item) else { continue };
            let (ino, dev) = file.attr().map_or((0, 0), |a| (a.ino, a.dev));
            let (events, data) = (item.events.load(Ordering::Relaxed), item.data.load(Ordering::Relaxed));
            let fd = item.fd;
            let _ = writeln!(lines, "tfd: {fd:8} events: {events:8x} data: {data:16x}  pos:0 ino:{ino:x} sdev:{dev:x}");
        }
        drop(items);
        lines
    }
}
