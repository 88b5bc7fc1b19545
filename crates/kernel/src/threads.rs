//! The Sentry's host threads that run tasks: a thread whose task has ended waits for another one.
//!
//! Making and ending a host thread costs more than most guest tasks that live briefly do: a stack, a signal stack, names, and
//! the host's own work. Idle threads hold nothing of the kernel, so that it can be dropped. Lock: `LEAF`.

use crate::task::CurrentTask;
use abi::Errno;
use lock::{Mutex, rank};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Stack of a task's Sentry thread in bytes; only what is touched takes memory.
const THREAD_STACK: usize = 512 << 10;
/// Threads kept idle: their stacks are memory of a sandbox at rest.
const KEPT: usize = 8;

/// The idle threads, each as the way to hand it a task.
pub(crate) struct Threads {
    idle: Mutex<Vec<SyncSender<CurrentTask>>>,
}

impl Default for Threads {
    fn default() -> Self {
        Threads { idle: Mutex::new(rank::LEAF, Vec::new()) }
    }
}

impl Threads {
    /// Starts a task on an idle thread or a new one.
    ///
    /// # Errors
    /// `EAGAIN` if the host gives no thread; the task's own part is gone then.
    pub fn start(&self, task: CurrentTask) -> Result<(), Errno> {
        let mut task = task;
        loop {
            let Some(thread) = self.idle.lock().pop() else { break };
            match thread.send(task) {
                Ok(()) => return Ok(()),
                Err(refused) => task = refused.0,
            }
        }
        let builder = std::thread::Builder::new().stack_size(THREAD_STACK).name(name(&task));
        builder.spawn(move || serve(task)).map(drop).map_err(|_| Errno::EAGAIN)
    }

    /// Offers the calling thread for another task, unless enough are idle.
    fn offer(&self) -> Option<Receiver<CurrentTask>> {
        let (send, receive) = sync_channel(1);
        let mut idle = self.idle.lock();
        if idle.len() >= KEPT {
            return None;
        }
        idle.push(send);
        Some(receive)
    }
}

fn name(task: &CurrentTask) -> String {
    format!("task-{}", task.tid())
}

/// Runs tasks, one after the other.
fn serve(mut task: CurrentTask) {
    loop {
        let kernel = task.kernel.clone();
        task.work.parker().bind();
        crate::task::set_current(Some(task.task.clone()));
        task.mm.warm(task.regs.rip, task.regs.rsp);
        crate::run::run(task);
        crate::task::set_current(None);
        let Some(offer) = kernel.threads.offer() else { return };
        drop(kernel);
        match offer.recv() {
            Ok(next) => task = next,
            Err(_) => return,
        }
        // Only for whoever looks at the Sentry's threads on the host.
        let _ = rustix::thread::set_name(&std::ffi::CString::new(name(&task)).unwrap_or_default());
    }
}
