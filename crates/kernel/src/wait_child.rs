//! Waiting for children (wait4(2), waitid(2)).

use crate::error::{Restart, SysErr, WaitEnd};
use crate::exit::Note;
use crate::group::{ExitStatus, ThreadGroup};
use crate::task::CurrentTask;
use crate::tree::{Process, Tracing, Tree};
use crate::usage::Used;
use abi::Errno;
use abi::signal::Signal;
use std::sync::Arc;
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
    /// `__WNOTHREAD`: only tracees of the calling thread.
    pub own_thread: bool,
}

/// What happened to a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChildEvent {
    /// It ended.
    Ended(ExitStatus),
    /// It was stopped.
    Stopped(Signal),
    /// It stopped for its tracer: signal and event, and why as a `SIGCHLD`'s code has it.
    Trapped(i32, i32),
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
        let (mut notes, mut wake) = (Vec::new(), Vec::new());
        let mut tree = self.kernel.tree.lock();
        let mut eligible = false;
        let found = self.scan_own(&tree, which, options, &mut eligible)?;
        let found = found.or_else(|| self.scan_tracees(&tree, which, options, &mut eligible));
        if let Some(waited) = found {
            if !options.leave {
                wake.extend(consume(&mut tree, waited, &mut notes));
            }
            drop(tree);
            self.kernel.tell_all(notes, wake);
            return Ok(Some(waited));
        }
        if eligible { Ok(None) } else { Err(Errno::ECHILD) }
    }

    /// Children.
    fn scan_own(
        &self,
        tree: &Tree,
        which: Which,
        options: WaitOptions,
        eligible: &mut bool,
    ) -> Result<Option<Waited>, Errno> {
        let own = tree.processes.get(&self.group.tgid).ok_or(Errno::ECHILD)?;
        for pid in &own.children {
            let Some(child) = tree.processes.get(pid) else { continue };
            let kind = options.all_kinds || options.clone_only == (child.exit_signal != abi::signal::SIGCHLD);
            if !which.means(*pid, child) || !kind {
                continue;
            }
            *eligible = true;
            // What it traces is looked at with the other tracees.
            let traced = tree.tracees.get(pid).is_some_and(|link| link.tracer == self.group.tgid);
            if !traced && let Some(event) = event_of(tree, child, options) {
                return Ok(Some(waited(*pid, child, event)));
            }
        }
        Ok(None)
    }

    /// Tracees, whosever children they are.
    fn scan_tracees(&self, tree: &Tree, which: Which, options: WaitOptions, eligible: &mut bool) -> Option<Waited> {
        let own = |link: &Tracing| link.tracer == self.group.tgid && (!options.own_thread || link.thread == self.tid());
        for (tid, link) in tree.tracees.iter().filter(|(_, link)| own(link)) {
            let Some(process) = tree.processes.get(&link.pid).filter(|process| which.means(*tid, process)) else {
                continue;
            };
            *eligible = true;
            if let Some(event) = event_of_tracee(tree, *tid, link, process, options) {
                return Some(waited(*tid, process, event));
            }
        }
        None
    }
}

impl Which {
    fn means(self, id: i32, process: &Process) -> bool {
        match self {
            Which::Any => true,
            Which::Process(wanted) => wanted == id,
            Which::Group(pgid) => pgid == process.pgid,
        }
    }
}

fn waited(id: i32, process: &Process, event: ChildEvent) -> Waited {
    let (cpu, used) = (process.group.cpu_total(), process.group.used_total());
    Waited { pid: id, uid: process.uid, event, cpu, used }
}

fn event_of(tree: &Tree, child: &Process, options: WaitOptions) -> Option<ChildEvent> {
    match (child.zombie, child.stop_report) {
        (Some(status), _) => {
            let told = options.exited && tree.end_is_open(child.group.tgid);
            told.then_some(ChildEvent::Ended(status))
        }
        (None, Some(signal)) if options.stopped => Some(ChildEvent::Stopped(signal)),
        _ => (child.continue_report && options.continued).then_some(ChildEvent::Continued),
    }
}

fn event_of_tracee(
    tree: &Tree,
    tid: i32,
    link: &Tracing,
    process: &Process,
    options: WaitOptions,
) -> Option<ChildEvent> {
    let status = if tid == link.pid {
        let last = !tree.tracees.iter().any(|(other, of)| of.pid == link.pid && *other != tid);
        process.zombie.filter(|_| last)
    } else {
        link.dead
    };
    if let Some(status) = status {
        return options.exited.then_some(ChildEvent::Ended(status));
    }
    let signals = process.group.signals.lock();
    let tracee = signals.threads.get(&tid)?.trace.by.as_ref()?;
    // Whether stops were asked for or not.
    if let Some(stop) = tracee.unreported() {
        let (code, why) = stop.wait_code();
        return Some(ChildEvent::Trapped(code, why));
    }
    drop(signals);
    (tid == link.pid && process.continue_report && options.continued).then_some(ChildEvent::Continued)
}

fn consume(tree: &mut Tree, waited: Waited, notes: &mut Vec<Note>) -> Option<Arc<ThreadGroup>> {
    let id = waited.pid;
    match waited.event {
        ChildEvent::Ended(_) => return consume_end(tree, id, notes),
        ChildEvent::Trapped(..) => {
            let link = tree.tracees.get(&id)?;
            let mut signals = tree.processes.get(&link.pid)?.group.signals.lock();
            let stop = signals.threads.get_mut(&id)?.trace.by.as_mut()?.stop.as_mut()?;
            stop.reported = true;
        }
        ChildEvent::Stopped(_) => tree.processes.get_mut(&id)?.stop_report = None,
        ChildEvent::Continued => tree.processes.get_mut(&id)?.continue_report = false,
    }
    None
}

/// Who has learned of an end as a tracer leaves it to the parent to reap. Returns who is told then.
fn consume_end(tree: &mut Tree, id: i32, notes: &mut Vec<Note>) -> Option<Arc<ThreadGroup>> {
    let link = tree.tracees.remove(&id);
    match link {
        Some(link) if link.pid != id => tree.tell_of_end(link.pid, notes),
        Some(link) if tree.processes.get(&id).is_some_and(|process| process.parent != link.tracer) => {
            tree.tell_of_end(id, notes)
        }
        _ => {
            drop(tree.reap_counted(id));
            None
        }
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
