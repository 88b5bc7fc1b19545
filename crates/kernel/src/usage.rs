//! What tasks and processes use besides CPU time (getrusage(2), `/proc/PID/io`).

use crate::group::ThreadGroup;
use crate::kernel::Kernel;
use std::sync::atomic::{AtomicU64, Ordering};

/// Amounts at one moment.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Used {
    /// The most memory that was resident at a time, in bytes.
    pub peak_resident: u64,
    /// Page faults.
    pub faults: u64,
    /// Times that a thread went to sleep.
    pub sleeps: u64,
    /// Calls that read, and the bytes that they got.
    pub reads: u64,
    /// See `reads`.
    pub bytes_read: u64,
    /// Calls that wrote, and the bytes that went.
    pub writes: u64,
    /// See `writes`.
    pub bytes_written: u64,
}

impl Used {
    /// Of both together.
    #[must_use]
    pub fn with(self, other: Used) -> Used {
        Used {
            peak_resident: self.peak_resident.max(other.peak_resident),
            faults: self.faults.saturating_add(other.faults),
            sleeps: self.sleeps.saturating_add(other.sleeps),
            reads: self.reads.saturating_add(other.reads),
            bytes_read: self.bytes_read.saturating_add(other.bytes_read),
            writes: self.writes.saturating_add(other.writes),
            bytes_written: self.bytes_written.saturating_add(other.bytes_written),
        }
    }
}

/// A counter that only one thread adds to, and so without a locked instruction.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only for the thread that it belongs to.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// What a task has used so far, counted by its own thread.
#[derive(Default, Debug)]
pub struct Usage {
    /// See [`Used`]; so the others.
    pub faults: Counter,
    /// `sleeps`
    pub sleeps: Counter,
    /// `reads`
    pub reads: Counter,
    /// `bytes_read`
    pub bytes_read: Counter,
    /// `writes`
    pub writes: Counter,
    /// `bytes_written`
    pub bytes_written: Counter,
}

impl Usage {
    /// The amounts now.
    #[must_use]
    pub fn now(&self) -> Used {
        Used {
            peak_resident: 0,
            faults: self.faults.get(),
            sleeps: self.sleeps.get(),
            reads: self.reads.get(),
            bytes_read: self.bytes_read.get(),
            writes: self.writes.get(),
            bytes_written: self.bytes_written.get(),
        }
    }

    fn clear(&self) {
        let Usage { faults, sleeps, reads, bytes_read, writes, bytes_written } = self;
        for counter in [faults, sleeps, reads, bytes_read, writes, bytes_written] {
            counter.clear();
        }
    }
}

impl Kernel {
    /// What a process's threads, past and present, have used; the peak of memory of those of the past only.
    #[must_use]
    pub fn process_used(&self, group: &ThreadGroup) -> Used {
        let tree = self.tree.lock();
        let threads = tree.processes.get(&group.tgid).map(|p| &p.threads);
        let tasks = threads.into_iter().flatten().filter_map(|tid| tree.tasks.get(tid));
        tasks.fold(*group.dead_used.lock(), |sum, task| sum.with(task.usage.now()))
    }
}

impl ThreadGroup {
    /// Adds what a thread had used at its end. Under the tree's lock, so that no reader counts it twice.
    pub(crate) fn retire(&self, usage: &Usage) {
        let mut dead = self.dead_used.lock();
        *dead = dead.with(usage.now());
        usage.clear();
    }
}
