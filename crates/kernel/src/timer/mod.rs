//! Timers: the sandbox's timer thread, and the timers of processes (setitimer(2), timer_create(2)).
//!
//! [`Timers`] holds alarms by the time they are due, and one thread that sleeps until the first of them. It is started by
//! the first alarm and woken only when an earlier one comes. Its lock has rank `LEAF`, so alarms may be set under any
//! other; [`Expire::expire`] is called without it.

mod posix;
mod process;

pub use posix::{Notify, PosixSpec};
pub use process::{ItimerKind, ProcessTimers, TimerValue, forward};

use abi::Errno;
use lock::{Mutex, rank};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::thread::Thread;
use std::time::Instant;

/// What an alarm is for.
pub trait Expire: Send + Sync {
    /// An alarm was due. It may have been replaced meanwhile: the receiver looks at its own state.
    fn expire(self: Arc<Self>);
}

/// A pending alarm, for [`Timers::cancel`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AlarmKey(Instant, u64);

#[derive(Default)]
struct Alarms {
    due: BTreeMap<AlarmKey, Weak<dyn Expire>>,
    last: u64,
    thread: Option<Thread>,
}

/// The sandbox's timer service.
pub struct Timers(Arc<Mutex<Alarms>>);

impl Default for Timers {
    fn default() -> Timers {
        Timers(Arc::new(Mutex::new(rank::LEAF, Alarms::default())))
    }
}

impl Timers {
    /// Has `what` told at `at`.
    ///
    /// # Errors
    /// `EAGAIN` if the host gives no thread.
    pub fn set(&self, at: Instant, what: Weak<dyn Expire>) -> Result<AlarmKey, Errno> {
        let mut alarms = self.0.lock();
        if alarms.thread.is_none() {
            let shared = self.0.clone();
            let spawned = std::thread::Builder::new().name("timers".into()).spawn(move || serve(&shared));
            alarms.thread = Some(spawned.map_err(|_| Errno::EAGAIN)?.thread().clone());
        }
        alarms.last += 1;
        let key = AlarmKey(at, alarms.last);
        let first = alarms.due.first_key_value().is_none_or(|(first, _)| key < *first);
        alarms.due.insert(key, what);
        if let Some(thread) = alarms.thread.as_ref().filter(|_| first) {
            thread.unpark();
        }
        Ok(key)
    }

    /// Takes an alarm back; it may be on its way.
    pub fn cancel(&self, key: AlarmKey) {
        let removed = self.0.lock().due.remove(&key);
        drop(removed);
    }
}

/// The timer thread.
fn serve(shared: &Mutex<Alarms>) {
    loop {
        let now = Instant::now();
        let mut due = Vec::new();
        let next = {
            let mut alarms = shared.lock();
            while let Some(first) = alarms.due.first_entry().filter(|first| first.key().0 <= now) {
                due.push(first.remove());
            }
            alarms.due.first_key_value().map(|(key, _)| key.0)
        };
        if due.is_empty() {
            match next {
                Some(at) => std::thread::park_timeout(at.saturating_duration_since(now)),
                None => std::thread::park(),
            }
        }
        for what in due.iter().filter_map(Weak::upgrade) {
            what.expire();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    struct Bell(u32, std::sync::Mutex<Sender<u32>>);

    impl Expire for Bell {
        fn expire(self: Arc<Self>) {
            let _ = self.1.lock().unwrap().send(self.0);
        }
    }

    #[test]
    fn alarms_come_in_order_and_not_when_cancelled() {
        let timers = Timers::default();
        let (tx, rx) = channel();
        let bell = |n| Arc::new(Bell(n, std::sync::Mutex::new(tx.clone())));
        let bells: Vec<Arc<Bell>> = (0..4).map(bell).collect();
        let start = Instant::now();
        let set = |n: usize, ms| {
            let weak: Weak<dyn Expire> = Arc::downgrade(&(bells[n].clone() as Arc<dyn Expire>));
            timers.set(start + Duration::from_millis(ms), weak).unwrap()
        };
        set(0, 60);
        set(1, 20);
        let cancelled = set(2, 30);
        set(3, 40);
        timers.cancel(cancelled);
        let order: Vec<u32> = (0..3).map(|_| rx.recv_timeout(Duration::from_secs(5)).unwrap()).collect();
        assert_eq!(order, [1, 3, 0]);
        assert!(start.elapsed() >= Duration::from_millis(60));
    }
}
