//! Signals: actions, pending queues, sending, and what a task does about them.
//!
//! All signal state of a process is under one lock, [`GroupSignals`] in its thread group (rank `SIGNALS`, Linux's
//! `siglock`); only the table of actions has a lock of its own (`ACTIONS`), for `CLONE_SIGHAND` shares it among processes.

mod deliver;
mod frame;
mod pending;
mod send;

pub(crate) use deliver::Flow;
pub use deliver::SIGNALS;
pub use pending::PendingQueue;
pub use send::{ForceHow, Target};

use crate::ptrace::TraceSlot;
use crate::work::TaskWork;
use abi::signal as s;
use abi::signal::{SIG_DFL, SIG_IGN, SigAction, SigSet, Signal};
use lock::{Mutex, rank};
use platform::LocalState;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a signal does when its action is `SIG_DFL` (signal(7)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefaultAction {
    /// Ends the process.
    Terminate,
    /// Ends the process with a core dump.
    Core,
    /// Nothing.
    Ignore,
    /// Stops the process.
    Stop,
    /// Continues it; the effect happens on sending.
    Continue,
}

impl DefaultAction {
    /// The default action of `signal`.
    #[must_use]
    pub fn of(signal: Signal) -> DefaultAction {
        match signal {
            s::SIGCHLD | s::SIGURG | s::SIGWINCH => DefaultAction::Ignore,
            s::SIGCONT => DefaultAction::Continue,
            s::SIGSTOP | s::SIGTSTP | s::SIGTTIN | s::SIGTTOU => DefaultAction::Stop,
            s::SIGQUIT
            | s::SIGILL
            | s::SIGTRAP
            | s::SIGABRT
            | s::SIGBUS
            | s::SIGFPE
            | s::SIGSEGV
            | s::SIGXCPU
            | s::SIGXFSZ
            | s::SIGSYS => DefaultAction::Core,
            _ => DefaultAction::Terminate,
        }
    }
}

/// The table of signal actions.
pub struct SignalActions {
    table: Mutex<[SigAction; 64]>,
}

impl Default for SignalActions {
    fn default() -> SignalActions {
        SignalActions { table: Mutex::new(rank::ACTIONS, [SigAction::default(); 64]) }
    }
}

fn slot(signal: Signal) -> usize {
    usize::try_from(signal - 1).unwrap_or(0) & 63
}

impl SignalActions {
    /// Defaults, but for signals that are ignored.
    #[must_use]
    pub fn ignoring(signals: SigSet) -> SignalActions {
        let actions = SignalActions::default();
        let signals = signals.without(SigSet::UNBLOCKABLE);
        for signal in (1..=s::NSIG).filter(|signal| signals.has(*signal)) {
            actions.set(signal, SigAction { handler: SIG_IGN, ..SigAction::default() });
        }
        actions
    }

    /// The action of a valid signal.
    #[must_use]
    pub fn get(&self, signal: Signal) -> SigAction {
        self.table.lock()[slot(signal)]
    }

    /// Sets it; returns the old one.
    pub fn set(&self, signal: Signal, action: SigAction) -> SigAction {
        std::mem::replace(&mut self.table.lock()[slot(signal)], action)
    }

    /// A copy, for fork(2).
    #[must_use]
    pub fn fork(&self) -> Arc<SignalActions> {
        let table = *self.table.lock();
        Arc::new(SignalActions { table: Mutex::new(rank::ACTIONS, table) })
    }

    /// Back to defaults: on execve(2) only caught signals, with `CLONE_CLEAR_SIGHAND` the same.
    pub fn reset_caught(&self) {
        for action in self.table.lock().iter_mut() {
            let handler = if action.handler == SIG_IGN { SIG_IGN } else { SIG_DFL };
            *action = SigAction { handler, ..SigAction::default() };
        }
    }

    /// Whether sending `signal` has no effect: ignored, or ignored by default.
    #[must_use]
    pub fn ignores(&self, signal: Signal) -> bool {
        match self.get(signal).handler {
            SIG_IGN => true,
            SIG_DFL => matches!(DefaultAction::of(signal), DefaultAction::Ignore | DefaultAction::Continue),
            _ => false,
        }
    }

    /// The signals that are set to `SIG_IGN`, and those that are caught (/proc/PID/status).
    #[must_use]
    pub fn summary(&self) -> (SigSet, SigSet) {
        let table = self.table.lock();
        let mut ignored = SigSet::EMPTY;
        let mut caught = SigSet::EMPTY;
        for (signal, action) in (1..).zip(table.iter()) {
            match action.handler {
                SIG_IGN => ignored = ignored.with(signal),
                SIG_DFL => {}
                _ => caught = caught.with(signal),
            }
        }
        (ignored, caught)
    }
}

/// A thread's share of [`GroupSignals`].
pub struct ThreadSignals {
    /// Signals sent to this thread.
    pub pending: PendingQueue,
    /// Where its mask is: the thread may change it without the kernel as long as no signal waits.
    pub local: Arc<dyn LocalState>,
    /// Waited for by sigtimedwait(2): accepted though blocked.
    pub waiting_for: SigSet,
    /// How to make the thread look.
    pub work: Arc<TaskWork>,
    /// Who traces it, and the state of its stop.
    pub trace: TraceSlot,
}

impl ThreadSignals {
    /// The blocked signals.
    #[must_use]
    pub fn mask(&self) -> SigSet {
        SigSet(self.local.mask()).without(SigSet::UNBLOCKABLE)
    }

    /// Replaces the blocked signals.
    pub fn set_mask(&self, mask: SigSet) {
        self.local.set_mask(mask.without(SigSet::UNBLOCKABLE).0);
    }
}

/// What a process is doing about a stop signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GroupStop {
    /// Not stopped.
    #[default]
    Running,
    /// Its threads are on their way to stop for this signal; so many have not stopped yet.
    Stopping {
        /// The stop signal.
        signal: Signal,
        /// Threads still to stop.
        left: usize,
    },
    /// All threads are stopped.
    Stopped {
        /// The stop signal.
        signal: Signal,
    },
}

/// Signal state of a process; see the module's documentation.
#[derive(Default)]
pub struct GroupSignals {
    /// Signals sent to the process.
    pub shared: PendingQueue,
    /// Each living thread's state, by tid.
    pub threads: BTreeMap<i32, ThreadSignals>,
    /// Job control.
    pub stop: GroupStop,
    /// Set once the process is to end: its wait status.
    pub exiting: Option<crate::ExitStatus>,
}
