//! Waiting for children (wait4(2), waitid(2)).

use crate::error::{Restart, SysErr, WaitEnd};
use crate::group::ExitStatus;
use crate::task::CurrentTask;
use crate::tree::{Process, Tree};
use crate::usage::Used;
use abi::Errno;
use abi::signal::Signal;
use std::sync::atomic::Ordering;
use vfs::wait::Events;

/// Which children are waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// Any.
    Any,
    /// This process.
    Process(i32),
    /// Members of this group.
    Group(i32),
}

/// What is waited for, and how.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct WaitOptions {
    pub exited: bool,
    pub stopped: bool,
    pub continued: bool,
    /// `WNOHANG`.
    pub no_hang: bool,
    /// `WNOWAIT`.
    pub leave: bool,
    /// `__WCLONE`: only children whose end sends no `SIGCHLD`; `__WALL`: all; neither: the others.
    pub clone_only: bool,
    pub all_kinds: bool,
}

/// What happened to a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChildEvent {
    /// It ended.
    Ended(ExitStatus),
    /// It was stopped.
    Stopped(Signal),
    /// It goes on.
    Continued,
}

/// A child and what happened to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waited {
    /// Its process id.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// What happened.
    pub event: ChildEvent,
    /// CPU time in nanoseconds, user and system, with that of its own children.
    pub cpu: (u64, u64),
    /// What it used besides, with its own children's.
    pub used: Used,
}

impl CurrentTask {
    /// Waits for a child. `None` if there is none ready and `no_hang` is set.
    ///
    /// # Errors
    /// `ECHILD`; interrupted as wait4(2) is.
    pub fn wait_for_child(&self, which: Which, options: WaitOptions) -> Result<Option<Waited>, SysErr> {
        if let Some(found) = self.scan_children(which, options)? {
            return Ok(Some(found));
        }
        if options.no_hang {
            return Ok(None);
        }
        let _registration = self.group.child_events.register(Events::READABLE, self.work.parker().clone());
        let ended = self.wait_until(None, || self.scan_children(which, options).transpose());
        match ended {
            Ok(found) => Ok(Some(found?)),
            Err(WaitEnd::Timeout | WaitEnd::Interrupted) => Err(SysErr::Restart(Restart::Sys)),
        }
    }

    fn scan_children(&self, which: Which, options: WaitOptions) -> Result<Option<Waited>, Errno> {
        let mut tree = self.kernel.tree.lock();
        let own = tree.processes.get(&self.group.tgid).ok_or(Errno::ECHILD)?;
        let mut eligible = false;
        let mut found = None;
        for pid in &own.children {
            let Some(child) = tree.processes.get(pid) else { continue };
            let wanted = match which {
                Which::Any => true,
                Which::Process(id) => id == *pid,
                Which::Group(id) => id == child.pgid,
            };
            let kind = options.all_kinds || options.clone_only == (child.exit_signal != abi::signal::SIGCHLD);
            if !wanted || !kind {
                continue;
            }
            eligible = true;
            if let Some(event) = event_of(child, options) {
                let (cpu, used) = (child.group.cpu_total(), child.group.used_total());
                found = Some(Waited { pid: *pid, uid: child.uid, event, cpu, used });
                break;
            }
        }
        if let Some(waited) = found {
            if !options.leave {
                consume(&mut tree, waited);
            }
            return Ok(Some(waited));
        }
        if eligible { Ok(None) } else { Err(Errno::ECHILD) }
    }
}

fn event_of(child: &Process, options: WaitOptions) -> Option<ChildEvent> {
    match (child.zombie, child.stop_report) {
        (Some(status), _) => options.exited.then_some(ChildEvent::Ended(status)),
        (None, Some(signal)) if options.stopped => Some(ChildEvent::Stopped(signal)),
        _ => (child.continue_report && options.continued).then_some(ChildEvent::Continued),
    }
}

fn consume(tree: &mut Tree, waited: Waited) {
    if matches!(waited.event, ChildEvent::Ended(_)) {
        drop(tree.reap_counted(waited.pid));
        return;
    }
    let Some(child) = tree.processes.get_mut(&waited.pid) else { return };
    match waited.event {
        ChildEvent::Stopped(_) => child.stop_report = None,
        ChildEvent::Continued => child.continue_report = false,
        ChildEvent::Ended(_) => {}
    }
}

impl crate::group::ThreadGroup {
    /// CPU time in nanoseconds of all threads that ended and of all children waited for: user, system.
    #[must_use]
    pub fn cpu_total(&self) -> (u64, u64) {
        let sum = |f: fn(&crate::group::CpuTime) -> &std::sync::atomic::AtomicU64| {
            f(&self.dead_cpu).load(Ordering::Relaxed).saturating_add(f(&self.child_cpu).load(Ordering::Relaxed))
        };
        (sum(|c| &c.user), sum(|c| &c.system))
    }

    /// What threads that ended and children waited for used besides.
    #[must_use]
    pub fn used_total(&self) -> Used {
        let own = *self.dead_used.lock();
        own.with(*self.child_used.lock())
    }

    /// CPU time of all threads that ended, in clock ticks of 10 ms: user, system.
    #[must_use]
    pub fn cpu_ticks(&self) -> (i64, i64) {
        let ticks = |ns: u64| i64::try_from(ns / 10_000_000).unwrap_or(i64::MAX);
        (ticks(self.dead_cpu.user.load(Ordering::Relaxed)), ticks(self.dead_cpu.system.load(Ordering::Relaxed)))
    }
}
