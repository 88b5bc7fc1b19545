//! New tasks: clone(2), fork(2), vfork(2), and the first one of a sandbox.

use crate::error::SysErr;
use crate::fd_table::FdTable;
use crate::fs_context::FsContext;
use crate::group::ThreadGroup;
use crate::ipc::IpcContext;
use crate::kernel::Kernel;
use crate::limits::Limits;
use crate::ptrace::Inherited;
use crate::signal::{PendingQueue, SignalActions, ThreadSignals};
use crate::task::{CurrentTask, Inner, Task, VforkGuard};
use crate::tree::{Process, Tree};
use abi::Errno;
use abi::raw::general as c;
use abi::signal::{AltStack, SIGCHLD, SigSet, Signal};
use mm::{MemoryManager, PlainText};
use platform::{Context, LocalState, Registers};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vfs::{Capability, Credentials};

/// Arguments of clone3(2); clone(2) is brought into this form.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneArgs {
    /// `CLONE_*`, without the exit signal.
    pub flags: u64,
    /// Where the pidfd goes.
    pub pidfd: u64,
    /// `CLONE_CHILD_SETTID` and `CLONE_CHILD_CLEARTID`.
    pub child_tid: u64,
    /// `CLONE_PARENT_SETTID`.
    pub parent_tid: u64,
    /// Sent to the parent at the end.
    pub exit_signal: Signal,
    /// The new stack pointer; 0 keeps the parent's.
    pub stack: u64,
    /// `CLONE_SETTLS`.
    pub tls: u64,
}

/// Installs a pidfd of a new process in the caller's table and returns its number.
pub type MakePidfd<'a> = dyn FnMut(&CurrentTask, &Arc<ThreadGroup>) -> Result<i32, Errno> + 'a;

const fn flag(bit: u32) -> u64 {
    bit as u64
}

/// Namespaces of which only the first of each kind exists: all but those of mounts and IPC.
const NEW_NAMESPACES: u64 = 0x7600_0080;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

impl CurrentTask {
    /// Makes a new task. Returns its thread id. `make_pidfd` installs a pidfd for the new process and returns its number.
    ///
    /// # Errors
    /// Those of clone(2).
    pub fn clone_task(&mut self, args: &CloneArgs, make_pidfd: &mut MakePidfd<'_>) -> Result<i32, SysErr> {
        let has = |bit: u32| args.flags & flag(bit) != 0;
        check_flags(args)?;
        if (has(c::CLONE_NEWNS) || has(c::CLONE_NEWIPC)) && !self.creds.capable(Capability::SysAdmin) {
            return Err(Errno::EPERM.into());
        }
        let kernel = self.kernel.clone();
        let mm = if has(c::CLONE_VM) {
            self.mm.clone()
        } else {
            // Each task has two references.
            let alone = Arc::strong_count(&self.mm) <= 2;
            self.mm.fork(kernel.platform.new_address_space()?, alone)
        };
        let mut context = mm.address_space()?.new_context()?;
        context.set_fpstate(&self.context.fpstate())?;
        let fds = if has(c::CLONE_FILES) { self.fds.clone() } else { self.fds.fork() };
        let fs = if has(c::CLONE_FS) { self.fs.clone() } else { self.fs.fork() };
        if has(c::CLONE_NEWNS) {
            fs.unshare_mounts();
        }
        let exe = self.task.inner.lock().exe.clone();
        let inner = Inner {
            mm: Some(mm.clone()),
            fds: Some(fds.clone()),
            fs: Some(fs.clone()),
            ipc: self.ipc().map(|ipc| ipc.inherit(has(c::CLONE_NEWIPC), has(c::CLONE_SYSVSEM))),
            creds: self.creds.clone(),
            name: self.name(),
            exe,
        };
        let tid = kernel.tree.lock().new_id()?;
        let group = self.clone_group(args, tid);
        let task = Task::new(tid, group.clone(), kernel.clone(), inner);
        task.work.set_interrupter(Some(context.interrupter()));
        let sched = self.sched.lock().inherit();
        *task.sched.lock() = sched;
        task.personality.store(self.personality.load(Ordering::Relaxed), Ordering::Relaxed);
        let slack = self.timer_slack.load(Ordering::Relaxed);
        task.timer_slack.store(slack, Ordering::Relaxed);
        task.default_timer_slack.store(slack, Ordering::Relaxed);
        if args.flags & flag(c::CLONE_PIDFD) != 0 {
            let fd = make_pidfd(self, &group)?;
            self.mm.copy_out(args.pidfd, &fd.to_le_bytes())?;
        }
        if has(c::CLONE_PARENT_SETTID) {
            // As Linux: a bad address is not an error.
            let _ = self.mm.copy_out(args.parent_tid, &tid.to_le_bytes());
        }
        if has(c::CLONE_CHILD_SETTID) {
            let _ = mm.copy_out(args.child_tid, &tid.to_le_bytes());
        }
        let event = self.clone_event(args);
        let traced = self.inherited_trace(args, event).map(|traced| (traced, mm.plain_text()));
        let local = context.local();
        local.set_clear_tid(if has(c::CLONE_CHILD_CLEARTID) { args.child_tid } else { 0 });
        self.join_tree(args, &task, &local, traced)?;
        if !has(c::CLONE_THREAD) {
            group.cpu_limit_changed(&kernel);
        }
        let done = Arc::new(AtomicBool::new(false));
        let vfork = has(c::CLONE_VFORK).then(|| VforkGuard { done: done.clone(), parent: self.work.clone() });
        let share_vm = has(c::CLONE_VM) && !has(c::CLONE_VFORK);
        let child = CurrentTask {
            regs: self.child_registers(args),
            context,
            restart: None,
            restart_block: None,
            saved_mask: None,
            alt_stack: if share_vm { AltStack::default() } else { self.alt_stack },
            vfork,
            last_fault: (0, 0, 0),
            stepping: false,
            watch: None,
            exiting: None,
            mm,
            fds,
            fs,
            creds: self.creds.clone(),
            task,
        };
        if let Err(errno) = start(child) {
            return Err(errno.into());
        }
        if let Some(event) = event {
            self.trace_event(event, u64::from(tid.unsigned_abs()));
        }
        if has(c::CLONE_VFORK) && self.wait_killable(|| done.load(Ordering::SeqCst).then_some(())).is_some() {
            self.trace_event(crate::ptrace::event::VFORK_DONE, u64::from(tid.unsigned_abs()));
        }
        Ok(tid)
    }

    fn clone_group(&self, args: &CloneArgs, tid: i32) -> Arc<ThreadGroup> {
        if args.flags & flag(c::CLONE_THREAD) != 0 {
            return self.group.clone();
        }
        let actions =
            if args.flags & flag(c::CLONE_SIGHAND) != 0 { self.group.actions() } else { self.group.actions().fork() };
        if args.flags & CLONE_CLEAR_SIGHAND != 0 {
            actions.reset_caught();
        }
        let limits = self.group.limits.lock().clone();
        let group = ThreadGroup::new(tid, actions, limits, self.kernel.uptime_ns());
        group.dumpable.store(self.group.dumpable.load(Ordering::Relaxed), Ordering::Relaxed);
        group.oom_score_adj.store(self.group.oom_score_adj.load(Ordering::Relaxed), Ordering::Relaxed);
        group
    }

    fn child_registers(&self, args: &CloneArgs) -> Registers {
        let mut regs = self.regs_without_step();
        regs.rax = 0;
        if args.stack != 0 {
            regs.rsp = args.stack;
        }
        if args.flags & flag(c::CLONE_SETTLS) != 0 {
            regs.fs_base = args.tls;
        }
        regs
    }

    /// Makes the new task known. Fails if this process is being killed, so that none escapes.
    fn join_tree(
        &self,
        args: &CloneArgs,
        task: &Arc<Task>,
        local: &Arc<dyn LocalState>,
        traced: Option<(Inherited, PlainText)>,
    ) -> Result<(), SysErr> {
        let tid = task.tid();
        let mut tree = self.kernel.tree.lock();
        if tree.closing {
            return Err(Errno::EAGAIN.into());
        }
        self.check_process_limit(&tree)?;
        let own = tree.processes.get(&self.group.tgid).ok_or(Errno::EAGAIN)?;
        let (pgid, sid, uid, no_tty, own_maker) = (own.pgid, own.sid, own.uid, own.no_tty, own.maker);
        let (parent, exit_signal) = if args.flags & flag(c::CLONE_PARENT) != 0 {
            (own.parent, own.exit_signal)
        } else {
            (self.group.tgid, args.exit_signal)
        };
        let mask = self.signal_mask();
        {
            let mut own_signals = self.group.signals.lock();
            if own_signals.exiting.is_some() || self.interrupted_for_clone(&own_signals) {
                return Err(SysErr::Restart(crate::Restart::NoIntr));
            }
            if args.flags & flag(c::CLONE_THREAD) != 0 {
                own_signals.threads.insert(tid, thread_signals(mask, task, local));
                own_signals.recalculate(tid);
            }
        }
        if args.flags & flag(c::CLONE_THREAD) != 0 {
            if let Some(process) = tree.processes.get_mut(&self.group.tgid) {
                process.threads.insert(tid);
            }
        } else {
            task.group.signals.lock().threads.insert(tid, thread_signals(mask, task, local));
            tree.add_process(Process {
                group: task.group.clone(),
                parent,
                maker: if args.flags & flag(c::CLONE_PARENT) != 0 { own_maker } else { self.tid() },
                children: BTreeSet::new(),
                pgid,
                sid,
                threads: BTreeSet::from([tid]),
                zombie: None,
                exit_signal,
                stop_report: None,
                continue_report: false,
                no_tty,
                uid,
            });
        }
        tree.tasks.insert(tid, task.clone());
        tree.publish_ids(task.group.tgid);
        if let Some((traced, text)) = traced
            && let Some(thread) = task.group.signals.lock().threads.get_mut(&tid)
        {
            traced.give(&mut tree, task, thread, text);
        }
        Ok(())
    }

    /// `RLIMIT_NPROC`: tasks of one user, zombies included; not for root and the privileged.
    fn check_process_limit(&self, tree: &Tree) -> Result<(), Errno> {
        let (uid, limit) = (self.creds.ruid, self.group.limit(c::RLIMIT_NPROC));
        let free = uid == 0 || limit > tree.tasks.len() as u64 + tree.processes.len() as u64;
        if free || self.creds.capable(Capability::SysResource) || self.creds.capable(Capability::SysAdmin) {
            return Ok(());
        }
        let of_user = tree.processes.values().filter(|p| p.uid == uid);
        let count: usize = of_user.map(|p| p.threads.len().max(1)).sum();
        if count as u64 >= limit { Err(Errno::EAGAIN) } else { Ok(()) }
    }

    /// Linux's fork fails with ERESTARTNOINTR if a signal is pending, so that a signal to a group reaches parent and child.
    fn interrupted_for_clone(&self, signals: &crate::signal::GroupSignals) -> bool {
        let _ = signals;
        self.work.get() & crate::work::bits::SIGNAL != 0
    }
}

fn thread_signals(mask: SigSet, task: &Task, local: &Arc<dyn LocalState>) -> ThreadSignals {
    let signals = ThreadSignals {
        pending: PendingQueue::default(),
        local: local.clone(),
        waiting_for: SigSet::EMPTY,
        work: task.work.clone(),
        trace: crate::ptrace::TraceSlot::default(),
    };
    signals.set_mask(mask);
    task.dozes.set_local(local.clone());
    signals
}

fn check_flags(args: &CloneArgs) -> Result<(), Errno> {
    let has = |bit: u32| args.flags & flag(bit) != 0;
    let needs = |bit: u32, other: u32| has(bit) && !has(other);
    if needs(c::CLONE_SIGHAND, c::CLONE_VM) || needs(c::CLONE_THREAD, c::CLONE_SIGHAND) {
        return Err(Errno::EINVAL);
    }
    if args.flags & CLONE_CLEAR_SIGHAND != 0 && has(c::CLONE_SIGHAND) {
        return Err(Errno::EINVAL);
    }
    if has(c::CLONE_FS) && args.flags & flag(c::CLONE_NEWNS) != 0 {
        return Err(Errno::EINVAL);
    }
    if has(c::CLONE_NEWIPC) && has(c::CLONE_SYSVSEM) {
        return Err(Errno::EINVAL);
    }
    if has(c::CLONE_PIDFD) && (has(c::CLONE_DETACHED) || has(c::CLONE_THREAD)) {
        return Err(Errno::EINVAL);
    }
    if args.flags & NEW_NAMESPACES != 0 {
        return Err(Errno::EPERM);
    }
    if args.flags & CLONE_INTO_CGROUP != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(())
}

/// Starts the task's own Sentry thread.
fn start(task: CurrentTask) -> Result<(), Errno> {
    let kernel = task.kernel.clone();
    let (tid, shared) = (task.tid(), task.task.clone());
    let Err(errno) = kernel.threads.start(task) else { return Ok(()) };
    // The task's own part is gone; take the task out of the tree as its end would.
    let mut tree = kernel.tree.lock();
    tree.tasks.remove(&tid);
    tree.tracees.remove(&tid);
    if shared.group.tgid == tid {
        drop(tree.reap(tid));
    } else if let Some(process) = tree.processes.get_mut(&shared.group.tgid) {
        process.threads.remove(&tid);
    }
    drop(tree);
    shared.group.signals.lock().threads.remove(&tid);
    Err(errno)
}

/// What the sandbox's first process starts with.
pub struct FirstProcess {
    /// Its memory, with the program loaded.
    pub mm: Arc<MemoryManager>,
    /// Its first registers.
    pub regs: Registers,
    /// Its descriptors.
    pub fds: Arc<FdTable>,
    /// Its root and working directory.
    pub fs: Arc<FsContext>,
    /// Its user.
    pub creds: Credentials,
    /// The command name.
    pub name: Vec<u8>,
    /// The program.
    pub exe: vfs::Executable,
    /// Its resource limits.
    pub limits: Limits,
    /// Signals that it ignores, as its caller did.
    pub ignored: SigSet,
    /// Signals that it blocks.
    pub blocked: SigSet,
    /// Its controlling terminal, if it has one.
    pub tty: Option<Arc<crate::tty::Tty>>,
}

impl Kernel {
    /// Starts the first process. Its parent is outside; it leads a session and a group of its own.
    ///
    /// # Errors
    /// `EAGAIN` if the host gives no thread.
    pub fn start_first(self: &Arc<Kernel>, first: FirstProcess) -> Result<(), Errno> {
        let mut context: Box<dyn Context> = first.mm.address_space()?.new_context()?;
        let tid = self.tree.lock().new_id()?;
        let group =
            ThreadGroup::new(tid, Arc::new(SignalActions::ignoring(first.ignored)), first.limits, self.uptime_ns());
        let creds = Arc::new(first.creds);
        let inner = Inner {
            mm: Some(first.mm.clone()),
            fds: Some(first.fds.clone()),
            fs: Some(first.fs.clone()),
            ipc: Some(IpcContext::new(self.ipc.clone())),
            creds: creds.clone(),
            name: Vec::new(),
            exe: Some(first.exe),
        };
        let task = Task::new(tid, group.clone(), self.clone(), inner);
        task.set_name(&first.name);
        task.work.set_interrupter(Some(context.interrupter()));
        let fpstate = context.fpstate();
        context.set_fpstate(&fpstate)?;
        let mask = first.blocked.without(SigSet::UNBLOCKABLE);
        group.signals.lock().threads.insert(tid, thread_signals(mask, &task, &context.local()));
        {
            let mut tree = self.tree.lock();
            tree.add_process(Process {
                group,
                parent: 0,
                maker: 0,
                children: BTreeSet::new(),
                pgid: tid,
                sid: tid,
                threads: BTreeSet::from([tid]),
                zombie: None,
                exit_signal: SIGCHLD,
                stop_report: None,
                continue_report: false,
                no_tty: false,
                uid: creds.ruid,
            });
            tree.tasks.insert(tid, task.clone());
            if let (Some(tty), Some(session)) = (first.tty, tree.sessions.get_mut(&tid)) {
                tty.set_session(tid, tid);
                session.tty = Some(tty);
            }
            tree.publish_ids(task.group.tgid);
        }
        self.set_first_process(tid);
        start(CurrentTask {
            regs: first.regs,
            context,
            restart: None,
            restart_block: None,
            saved_mask: None,
            alt_stack: AltStack::default(),
            vfork: None,
            last_fault: (0, 0, 0),
            stepping: false,
            watch: None,
            exiting: None,
            mm: first.mm,
            fds: first.fds,
            fs: first.fs,
            creds,
            task,
        })
    }
}
