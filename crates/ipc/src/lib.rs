//! System V shared memory, semaphores and message queues, and POSIX message queues, by namespace (ipc_namespaces(7)).
//!
//! Each kind has a table of its own. A table's lock is held only to look up, add and remove; objects are reference-counted
//! and have their own locks (rank `FILE_OBJECT`, as the tables), of which one at a time is held. Nothing here sleeps:
//! operations answer [`vfs::IoError::WouldBlock`], and the system calls wait.

mod ids;
pub mod mqueue;
pub mod msg;
pub mod perm;
pub mod sem;
pub mod shm;

pub use perm::{Perm, Who};

use host::frames::FrameAllocator;
use kernel::IpcNamespace;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that queued messages and semaphores may take in all namespaces together.
const KERNEL_MEMORY: u64 = 256 << 20;

/// What queued messages and semaphores take of the Sentry's memory.
#[derive(Default)]
pub(crate) struct Budget(AtomicU64);

impl Budget {
    /// Takes so much, if there is so much.
    pub fn take(&self, bytes: u64) -> bool {
        let sum = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= KERNEL_MEMORY);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
    }

    /// Gives it back.
    pub fn give(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// An IPC namespace.
pub struct Namespace {
    /// Shared memory.
    pub shm: shm::Segments,
    /// Semaphores.
    pub sem: sem::Sets,
    /// Message queues.
    pub msg: msg::Queues,
    /// POSIX message queues.
    pub mqueue: mqueue::Queues,
    frames: Arc<FrameAllocator>,
    budget: Arc<Budget>,
}

impl Namespace {
    /// The first one of a sandbox, whose segments are made of `frames`.
    #[must_use]
    pub fn new(frames: Arc<FrameAllocator>) -> Arc<Namespace> {
        Namespace::with(frames, Arc::default())
    }

    fn with(frames: Arc<FrameAllocator>, budget: Arc<Budget>) -> Arc<Namespace> {
        Arc::new(Namespace {
            shm: shm::Segments::new(frames.clone()),
            sem: sem::Sets::new(budget.clone()),
            msg: msg::Queues::new(budget.clone()),
            mqueue: mqueue::Queues::new(budget.clone()),
            frames,
            budget,
        })
    }
}

impl IpcNamespace for Namespace {
    fn fresh(&self) -> Arc<dyn IpcNamespace> {
        Namespace::with(self.frames.clone(), self.budget.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The time for stamps.
fn now() -> i64 {
    vfs::time::now_coarse().sec
}
