//! Thread groups: what Linux users call processes.

use crate::limits::Limits;
use crate::signal::{GroupSignals, SignalActions};
use crate::usage::Used;
use abi::signal::Signal;
use lock::{Mutex, rank};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64};
use std::sync::{Arc, OnceLock};
use vfs::Credentials;
use vfs::wait::WaitQueue;

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitStatus {
    /// exit_group(2) with this code.
    Exited(u8),
    /// Killed by a signal.
    Killed {
        /// The signal.
        signal: Signal,
        /// With a core dump, as the default action has it; none is written.
        core: bool,
    },
}

impl ExitStatus {
    /// As wait4(2) encodes it.
    #[must_use]
    pub fn wait_status(self) -> i32 {
        match self {
            ExitStatus::Exited(code) => i32::from(code) << 8,
            ExitStatus::Killed { signal, core } => signal | if core { 0x80 } else { 0 },
        }
    }
}

/// CPU time, in nanoseconds; a task's own in ticks of [`host::tsc`].
#[derive(Default, Debug)]
pub struct CpuTime {
    /// In guest code.
    pub user: AtomicU64,
    /// In the kernel.
    pub system: AtomicU64,
}

/// What /proc shows of a leader that has ended.
#[derive(Clone, Debug)]
pub struct Remains {
    /// Its command name.
    pub name: Vec<u8>,
    /// Its credentials.
    pub creds: Arc<Credentials>,
}

/// What the threads of a process share.
pub struct ThreadGroup {
    /// The process id.
    pub tgid: i32,
    /// All signal state; see the `signal` module.
    pub signals: Mutex<GroupSignals>,
    actions: Mutex<Arc<SignalActions>>,
    /// Resource limits.
    pub limits: Mutex<Limits>,
    /// Told when a child changes state, for wait4(2).
    pub child_events: WaitQueue,
    /// Told when this process ends, for pidfds.
    pub exit_events: WaitQueue,
    /// Time of threads that have ended.
    pub dead_cpu: CpuTime,
    /// Time of children that were waited for.
    pub child_cpu: CpuTime,
    /// What threads that have ended used besides.
    pub dead_used: Mutex<Used>,
    /// That of children that were waited for.
    pub child_used: Mutex<Used>,
    /// Whether execve(2) was called since fork(2) (setpgid(2) asks).
    pub did_exec: AtomicBool,
    /// `PR_SET_DUMPABLE`.
    pub dumpable: AtomicBool,
    /// `PR_SET_CHILD_SUBREAPER`.
    pub subreaper: AtomicBool,
    /// /proc/PID/oom_score_adj.
    pub oom_score_adj: AtomicI32,
    /// What is left of the leader once that has ended: a zombie is still shown.
    pub remains: OnceLock<Remains>,
    /// When it started, in nanoseconds since the sandbox's boot.
    pub start_ns: u64,
    /// Threads wait here for the others to end (execve(2)), and the parent of a vfork(2) for its child.
    pub thread_events: WaitQueue,
    /// The process's timers (setitimer(2), timer_create(2)); the timer module's own.
    pub timers: crate::timer::ProcessTimers,
}

impl ThreadGroup {
    /// A process without threads yet.
    #[must_use]
    pub fn new(tgid: i32, actions: Arc<SignalActions>, limits: Limits, start_ns: u64) -> Arc<ThreadGroup> {
        Arc::new(ThreadGroup {
            tgid,
            signals: Mutex::new(rank::SIGNALS, GroupSignals::default()),
            actions: Mutex::new(rank::LEAF, actions),
            limits: Mutex::new(rank::LEAF, limits),
            child_events: WaitQueue::new(),
            exit_events: WaitQueue::new(),
            dead_cpu: CpuTime::default(),
            child_cpu: CpuTime::default(),
            dead_used: Mutex::new(rank::LEAF, Used::default()),
            child_used: Mutex::new(rank::LEAF, Used::default()),
            did_exec: AtomicBool::new(false),
            dumpable: AtomicBool::new(true),
            subreaper: AtomicBool::new(false),
            oom_score_adj: AtomicI32::new(0),
            remains: OnceLock::new(),
            start_ns,
            thread_events: WaitQueue::new(),
            timers: crate::timer::ProcessTimers::default(),
        })
    }

    /// The table of signal actions.
    #[must_use]
    pub fn actions(&self) -> Arc<SignalActions> {
        self.actions.lock().clone()
    }

    /// Replaces the table by a copy of its own (execve(2) with a shared table).
    pub fn unshare_actions(&self) {
        let own = self.actions().fork();
        *self.actions.lock() = own;
    }

    /// A soft limit.
    #[must_use]
    pub fn limit(&self, which: u32) -> u64 {
        self.limits.lock().soft(which)
    }
}
