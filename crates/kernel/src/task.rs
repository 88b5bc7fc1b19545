//! Tasks: threads of guest programs.
//!
//! [`Task`] is what other threads may see and touch; [`CurrentTask`] is what only the task's own Sentry thread holds:
//! registers, context, and the state of the system call it is in.

use crate::clock::{Dozes, Meter, Mode};
use crate::error::{Restart, WaitEnd};
use crate::fd_table::FdTable;
use crate::fs_context::FsContext;
use crate::group::{CpuTime, ThreadGroup};
use crate::ipc::IpcContext;
use crate::kernel::Kernel;
use crate::sched::Sched;
use crate::usage::Usage;
use crate::work::{TaskWork, bits};
use abi::Errno;
use abi::signal::{AltStack, SigSet};
use lock::{Mutex, rank};
use mm::MemoryManager;
use platform::{Context, LocalState, Registers};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;
use vfs::wait::{Events, WaitQueue};
use vfs::{CallState, Caller, Credentials};

/// What a task is doing, for /proc/PID/stat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum RunState {
    /// Running guest code or kernel code.
    Running = 0,
    /// In an interruptible wait.
    Sleeping = 1,
    /// Waiting for a vfork(2) child or its own other threads.
    Blocked = 2,
    /// Stopped by job control.
    Stopped = 3,
    /// Stopped for its tracer.
    Traced = 4,
}

/// The first task's timer slack in nanoseconds.
const TIMER_SLACK: u64 = 50_000;

/// A thread of a guest program.
pub struct Task {
    tid: AtomicI32,
    /// The process it belongs to.
    pub group: Arc<ThreadGroup>,
    /// The sandbox's kernel.
    pub kernel: Arc<Kernel>,
    /// Requests of others.
    pub work: Arc<TaskWork>,
    /// CPU time in ticks, as far as it is booked; see [`Task::cpu_now`].
    pub cpu: CpuTime,
    pub(crate) meter: Meter,
    pub(crate) dozes: Dozes,
    /// What it has used besides.
    pub usage: Usage,
    /// Scheduling parameters.
    pub sched: Mutex<Sched>,
    /// The thread is past giving up its futexes: it owns none any more.
    pub(crate) futexes_released: AtomicBool,
    /// When it started, in nanoseconds since the sandbox's boot.
    pub start_ns: u64,
    state: AtomicU32,
    /// Whether it is traced, and how it was let go on: bits of [`crate::ptrace::mode`]. Written under `SIGNALS`.
    pub(crate) trace_mode: AtomicU32,
    /// `PR_SET_PDEATHSIG`.
    pub parent_death_signal: AtomicI32,
    /// personality(2).
    pub personality: AtomicU32,
    /// `PR_SET_TIMERSLACK` in nanoseconds. Only kept: sleeps are as exact as they can be.
    pub timer_slack: AtomicU64,
    /// What a slack of zero goes back to: the slack of the thread that made this one.
    pub default_timer_slack: AtomicU64,
    pub(crate) inner: Mutex<Inner>,
}

/// A task's replaceable parts.
pub(crate) struct Inner {
    pub mm: Option<Arc<MemoryManager>>,
    pub fds: Option<Arc<FdTable>>,
    pub fs: Option<Arc<FsContext>>,
    pub ipc: Option<IpcContext>,
    pub creds: Arc<Credentials>,
    /// The command name, at most 15 bytes.
    pub name: Vec<u8>,
    /// What /proc/PID/exe leads to.
    pub exe: Option<vfs::Executable>,
}

impl Task {
    pub(crate) fn new(tid: i32, group: Arc<ThreadGroup>, kernel: Arc<Kernel>, inner: Inner) -> Arc<Task> {
        let start_ns = kernel.uptime_ns();
        Arc::new(Task {
            tid: AtomicI32::new(tid),
            group,
            kernel,
            work: Arc::default(),
            cpu: CpuTime::default(),
            meter: Meter::default(),
            dozes: Dozes::default(),
            usage: Usage::default(),
            sched: Mutex::new(rank::LEAF, Sched::default()),
            futexes_released: AtomicBool::new(false),
            start_ns,
            state: AtomicU32::new(RunState::Running as u32),
            trace_mode: AtomicU32::new(0),
            parent_death_signal: AtomicI32::new(0),
            personality: AtomicU32::new(0),
            timer_slack: AtomicU64::new(TIMER_SLACK),
            default_timer_slack: AtomicU64::new(TIMER_SLACK),
            inner: Mutex::new(rank::TASK, inner),
        })
    }

    /// The thread id; execve(2) by a thread other than the leader changes it.
    #[must_use]
    pub fn tid(&self) -> i32 {
        self.tid.load(Ordering::Relaxed)
    }

    pub(crate) fn set_tid(&self, tid: i32) {
        self.tid.store(tid, Ordering::Relaxed);
    }

    /// Its memory; `None` once it is ending.
    #[must_use]
    pub fn mm(&self) -> Option<Arc<MemoryManager>> {
        self.inner.lock().mm.clone()
    }

    /// Its descriptors; `None` once it is ending.
    #[must_use]
    pub fn fds(&self) -> Option<Arc<FdTable>> {
        self.inner.lock().fds.clone()
    }

    /// Looks at its descriptors without taking a reference, which could be the last one and close them; `None` once it is
    /// ending. `look` runs under a lock.
    pub fn with_fds<T>(&self, look: impl FnOnce(&FdTable) -> T) -> Option<T> {
        self.inner.lock().fds.as_deref().map(look)
    }

    /// Its root and working directory; `None` once it is ending.
    #[must_use]
    pub fn fs(&self) -> Option<Arc<FsContext>> {
        self.inner.lock().fs.clone()
    }

    /// Its IPC namespace; `None` once it is ending.
    #[must_use]
    pub fn ipc(&self) -> Option<IpcContext> {
        self.inner.lock().ipc.clone()
    }

    /// Its credentials.
    #[must_use]
    pub fn creds(&self) -> Arc<Credentials> {
        self.inner.lock().creds.clone()
    }

    /// The command name.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        self.inner.lock().name.clone()
    }

    /// Sets the command name, cut to 15 bytes.
    pub fn set_name(&self, name: &[u8]) {
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len()).min(15);
        self.inner.lock().name = name.get(..end).unwrap_or_default().to_vec();
    }

    /// The program it runs.
    #[must_use]
    pub fn exe(&self) -> Option<vfs::PathRef> {
        self.inner.lock().exe.as_ref().map(|exe| exe.place().clone())
    }

    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> RunState {
        match self.state.load(Ordering::Relaxed) {
            0 if self.dozes.now() => RunState::Sleeping,
            0 => RunState::Running,
            1 => RunState::Sleeping,
            2 => RunState::Blocked,
            3 => RunState::Stopped,
            _ => RunState::Traced,
        }
    }

    /// Whether it runs, or may do so again without the kernel's knowledge.
    pub(crate) fn may_run(&self) -> bool {
        self.state.load(Ordering::Relaxed) == RunState::Running as u32
    }

    pub(crate) fn set_state(&self, state: RunState) {
        self.state.store(state as u32, Ordering::SeqCst);
        if state == RunState::Running {
            self.spend(Mode::System);
            self.group.cpu_timers_resume(&self.kernel);
        } else {
            self.spend(Mode::Asleep);
        }
    }
}

thread_local! {
    static CURRENT: std::cell::RefCell<Option<Arc<Task>>> = const { std::cell::RefCell::new(None) };
}

/// The task that the calling thread runs, for files whose readiness depends on who asks (signalfd).
#[must_use]
pub fn current() -> Option<Arc<Task>> {
    CURRENT.with(|current| current.try_borrow().ok()?.clone())
}

/// Says which task the calling thread runs.
pub(crate) fn set_current(task: Option<Arc<Task>>) {
    drop(CURRENT.replace(task));
}

/// What restart_syscall(2) goes on with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestartBlock {
    /// nanosleep(2) and clock_nanosleep(2): until when, and where the remainder goes.
    Sleep {
        /// The end.
        until: Instant,
        /// `rem`, 0 for none.
        rem: u64,
    },
    /// poll(2).
    Poll {
        /// `fds`.
        fds: u64,
        /// `nfds`.
        count: u32,
        /// The end, `None` for no timeout.
        until: Option<Instant>,
    },
    /// futex(2) `FUTEX_WAIT` with a relative timeout.
    FutexWait {
        /// The word.
        addr: u64,
        /// What it must hold.
        value: u32,
        /// `FUTEX_*` flags.
        op: u32,
        /// The bit set.
        bitset: u32,
        /// The end.
        until: Instant,
    },
}

/// Held by the child of a vfork(2); its drop lets the parent go on.
pub(crate) struct VforkGuard {
    pub done: Arc<std::sync::atomic::AtomicBool>,
    pub parent: Arc<TaskWork>,
}

impl Drop for VforkGuard {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        self.parent.wake();
    }
}

/// A task as seen by its own thread.
pub struct CurrentTask {
    /// The part that others see.
    pub task: Arc<Task>,
    /// Guest registers.
    pub regs: Registers,
    pub(crate) context: Box<dyn Context>,
    /// How the system call that just ended is to be restarted.
    pub(crate) restart: Option<Restart>,
    /// What restart_syscall(2) does.
    pub restart_block: Option<RestartBlock>,
    /// The mask to go back to after the next signal (sigsuspend(2), ppoll(2)).
    pub saved_mask: Option<SigSet>,
    /// sigaltstack(2).
    pub alt_stack: AltStack,
    /// Dropped when the task no longer uses its parent's memory (vfork(2)).
    pub(crate) vfork: Option<VforkGuard>,
    /// What the last fault was, for signal frames: trap number, error code, address.
    pub(crate) last_fault: (u64, u64, u64),
    /// The trap flag in the registers is the tracer's.
    pub(crate) stepping: bool,
    /// What the tracer's debug registers wait for.
    pub(crate) watch: Option<crate::ptrace::Watch>,
    /// Set when the task is to end: exit(2)'s code.
    pub(crate) exiting: Option<u8>,
    pub(crate) mm: Arc<MemoryManager>,
    pub(crate) fds: Arc<FdTable>,
    pub(crate) fs: Arc<FsContext>,
    pub(crate) creds: Arc<Credentials>,
}

impl std::ops::Deref for CurrentTask {
    type Target = Task;
    fn deref(&self) -> &Task {
        &self.task
    }
}

impl CurrentTask {
    /// The state that its calls may change without the kernel.
    #[must_use]
    pub fn local(&self) -> Arc<dyn LocalState> {
        self.context.local()
    }

    /// Its memory.
    #[must_use]
    pub fn mm(&self) -> &Arc<MemoryManager> {
        &self.mm
    }

    /// Its descriptors.
    #[must_use]
    pub fn fds(&self) -> &Arc<FdTable> {
        &self.fds
    }

    /// Its root and working directory.
    #[must_use]
    pub fn fs(&self) -> &Arc<FsContext> {
        &self.fs
    }

    /// Its credentials.
    #[must_use]
    pub fn creds(&self) -> &Arc<Credentials> {
        &self.creds
    }

    /// Replaces its credentials.
    pub fn set_creds(&mut self, creds: Credentials) {
        self.creds = Arc::new(creds);
        self.task.inner.lock().creds = self.creds.clone();
        let limits = self.group.limits.lock().clone();
        self.mm.set_limits(crate::memory_limits(&limits, &self.creds));
        let (pid, uid) = (self.group.tgid, self.creds.ruid);
        let mut tree = self.kernel.tree.lock();
        if let Some(process) = tree.processes.get_mut(&pid) {
            process.uid = uid;
        }
        tree.publish_ids(pid);
    }

    /// Replaces its descriptor table.
    pub fn set_fds(&mut self, fds: Arc<FdTable>) {
        let old = std::mem::replace(&mut self.fds, fds.clone());
        let shared = self.task.inner.lock().fds.replace(fds);
        drop(shared);
        crate::fd_table::drop_table(old, &*self.task);
    }

    /// Replaces its root and working directory.
    pub fn set_fs(&mut self, fs: Arc<FsContext>) {
        self.fs = fs.clone();
        let old = self.task.inner.lock().fs.replace(fs);
        drop(old);
    }

    /// Replaces its IPC namespace; applies adjustments of semaphores that nobody shares.
    pub fn set_ipc(&mut self, ipc: IpcContext) {
        let old = self.task.inner.lock().ipc.replace(ipc);
        drop(old);
    }

    /// What a path operation needs to know of this task.
    #[must_use]
    pub fn walk_cx(&self) -> vfs::WalkCx<'_> {
        let (root, cwd, umask, mounts) = self.fs.snapshot();
        vfs::WalkCx {
            caller: self,
            creds: self.creds.clone(),
            root,
            cwd,
            umask,
            mounts,
            cache: &self.kernel.dentries,
            special: &*self.kernel.special,
        }
    }

    /// Whether a signal, a stop or an end waits: an interruptible wait must not go on.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        self.work.get() != 0
    }

    /// Whether it must end: what takes long must not go on.
    #[must_use]
    pub fn dying(&self) -> bool {
        self.work.get() & bits::EXIT != 0
    }

    /// Sleeps until `ready` yields something. The caller has registered `self.work.parker()` wherever news may come from,
    /// before. Ready beats timeout beats interrupt.
    ///
    /// # Errors
    /// Why it ended without.
    pub fn wait_until<T>(&self, deadline: Option<Instant>, mut ready: impl FnMut() -> Option<T>) -> Result<T, WaitEnd> {
        let mut slept = false;
        let parker = self.work.parker();
        let result = loop {
            parker.listen();
            if let Some(value) = ready() {
                break Ok(value);
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                break Err(WaitEnd::Timeout);
            }
            if self.interrupted() {
                break Err(WaitEnd::Interrupted);
            }
            if !slept {
                slept = true;
                self.task.usage.sleeps.add(1);
                self.set_state(RunState::Sleeping);
                self.context.sleeps(&|| parker.called());
                if parker.called() {
                    continue;
                }
            }
            parker.park(deadline);
        };
        if slept {
            self.set_state(RunState::Running);
        }
        result
    }

    /// Sleeps until `ready` yields something or the task must end. For what Linux sleeps on killably.
    pub fn wait_killable<T>(&self, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
        self.set_state(RunState::Blocked);
        self.context.sleeps(&|| true);
        let result = loop {
            if let Some(value) = ready() {
                break Some(value);
            }
            if self.dying() {
                break None;
            }
            self.work.parker().park(None);
        };
        self.set_state(RunState::Running);
        result
    }

    /// The one loop around operations on files: tries `op`, and when that would block and may, waits for `events` on
    /// `queue` and tries again.
    ///
    /// # Errors
    /// `EAGAIN` if it would block and must not, the operation's own errors, [`Restart::Sys`] when interrupted;
    /// `EAGAIN` too at the deadline (a socket's timeout).
    pub fn block_on<T>(
        &self,
        queue: Option<&WaitQueue>,
        events: Events,
        nonblock: bool,
        deadline: Option<Instant>,
        op: impl FnMut() -> Result<T, vfs::IoError>,
    ) -> Result<T, crate::SysErr> {
        self.block_in_call(queue, events, nonblock, deadline, None, op)
    }

    /// The same for an operation that keeps state over its waits.
    ///
    /// # Errors
    /// As [`CurrentTask::block_on`].
    pub fn block_in_call<T>(
        &self,
        queue: Option<&WaitQueue>,
        events: Events,
        nonblock: bool,
        deadline: Option<Instant>,
        call: Option<&CallState>,
        mut op: impl FnMut() -> Result<T, vfs::IoError>,
    ) -> Result<T, crate::SysErr> {
        let would_block = crate::SysErr::Errno(Errno::EAGAIN);
        let restart = crate::SysErr::Restart(Restart::Sys);
        match op() {
            Ok(value) => return Ok(value),
            Err(vfs::IoError::Errno(errno)) => return Err(errno.into()),
            Err(vfs::IoError::Interrupted) => return Err(restart),
            Err(vfs::IoError::WouldBlock) if nonblock => return Err(would_block),
            Err(vfs::IoError::WouldBlock) => {}
        }
        let Some(queue) = queue else { return Err(would_block) };
        let _registration = queue.register(events, self.work.parker().clone());
        loop {
            let patience = call.and_then(CallState::deadline);
            let until = [deadline, patience].into_iter().flatten().min();
            let ended = self.wait_until(until, || match op() {
                Err(vfs::IoError::WouldBlock) if call.and_then(CallState::deadline) == patience => None,
                Err(vfs::IoError::WouldBlock) => Some(None),
                other => Some(Some(other)),
            });
            let result = match ended {
                Ok(None) => continue,
                Ok(Some(result)) => result,
                Err(WaitEnd::Timeout) if patience.is_some() && until == patience => op(),
                Err(WaitEnd::Interrupted) if call.is_some_and(CallState::interrupt) => op(),
                Err(WaitEnd::Timeout) => return Err(would_block),
                Err(WaitEnd::Interrupted) => return Err(restart),
            };
            match result {
                Ok(value) => return Ok(value),
                Err(vfs::IoError::Errno(errno)) => return Err(errno.into()),
                Err(vfs::IoError::Interrupted) => return Err(restart),
                Err(vfs::IoError::WouldBlock) if self.interrupted() => return Err(restart),
                Err(vfs::IoError::WouldBlock) => {}
            }
        }
    }
}

impl Caller for Task {
    fn creds(&self) -> Arc<Credentials> {
        Task::creds(self)
    }

    fn tid(&self) -> i32 {
        Task::tid(self)
    }

    fn tgid(&self) -> i32 {
        self.group.tgid
    }

    fn copy_in(&self, _addr: u64, _buf: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }

    fn copy_out(&self, _addr: u64, _buf: &[u8]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Caller for CurrentTask {
    fn creds(&self) -> Arc<Credentials> {
        self.creds.clone()
    }

    fn tid(&self) -> i32 {
        self.task.tid()
    }

    fn tgid(&self) -> i32 {
        self.task.group.tgid
    }

    fn copy_in(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
        Ok(self.mm.copy_in(addr, buf)?)
    }

    fn copy_out(&self, addr: u64, buf: &[u8]) -> Result<(), Errno> {
        Ok(self.mm.copy_out(addr, buf)?)
    }

    fn file_size_limit(&self) -> u64 {
        self.group.limit(abi::raw::general::RLIMIT_FSIZE)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
