//! The kernel of one sandbox: its services, by field. Logic lives with the objects.

use crate::async_io::AsyncSender;
use crate::error::SysResult;
use crate::futex::FutexTable;
use crate::group::ExitStatus;
use crate::ipc::IpcNamespace;
use crate::load::Load;
use crate::task::CurrentTask;
use crate::threads::Threads;
use crate::timer::Timers;
use crate::trace::Trace;
use crate::tree::ProcTree;
use abi::{Errno, PAGE_SIZE};
use host::frames::FrameAllocator;
use lock::{Mutex, rank};
use platform::Platform;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use vfs::wait::WaitQueue;
use vfs::{Caller, DentryCache, FileSystem, Mount, MountNamespace};

/// Serves system calls; the `syscalls` crate's table.
pub trait Dispatch: Send + Sync {
    /// Serves the call whose number is in `regs.orig_rax` and whose arguments are in the registers.
    fn syscall(&self, task: &mut CurrentTask) -> SysResult;
}

/// Host and domain name (uname(2)).
#[derive(Clone, Debug)]
pub struct Uts {
    /// `nodename`.
    pub hostname: Vec<u8>,
    /// `domainname`.
    pub domainname: Vec<u8>,
}

/// What a sandbox is made of.
pub struct Parts {
    /// Runs guest code.
    pub platform: Arc<dyn Platform>,
    /// Guest memory.
    pub frames: Arc<FrameAllocator>,
    /// The system-call table.
    pub dispatch: Box<dyn Dispatch>,
    /// The first mount namespace.
    pub mounts: Arc<MountNamespace>,
    /// FIFOs and device nodes.
    pub special: Arc<dyn vfs::SpecialFiles>,
    /// Host name.
    pub uts: Uts,
    /// The first IPC namespace.
    pub ipc: Arc<dyn IpcNamespace>,
    /// Tracing and logging.
    pub trace: Trace,
}

/// The kernel of one sandbox.
pub struct Kernel {
    /// Runs guest code.
    pub platform: Arc<dyn Platform>,
    /// Guest memory.
    pub frames: Arc<FrameAllocator>,
    /// What patches system call sites, if anything does.
    pub(crate) texts: Option<Arc<mm::Texts>>,
    /// Views of host files that processes have mapped.
    pub(crate) views: Arc<mm::Views>,
    pub(crate) dispatch: Box<dyn Dispatch>,
    pub(crate) threads: Threads,
    /// Tasks, processes, groups, sessions.
    pub tree: ProcTree,
    /// The first mount namespace.
    pub mounts: Arc<MountNamespace>,
    /// FIFOs and device nodes.
    pub special: Arc<dyn vfs::SpecialFiles>,
    /// The dentry cache.
    pub dentries: DentryCache,
    /// Host name.
    pub uts: Mutex<Uts>,
    /// The first IPC namespace.
    pub ipc: Arc<dyn IpcNamespace>,
    /// Futexes.
    pub futexes: FutexTable,
    /// Timers.
    pub timers: Timers,
    /// What all terminals share.
    pub terminals: crate::tty::Terminals,
    /// Tracing and logging.
    pub trace: Trace,
    /// Sends the signals of `O_ASYNC`.
    pub async_sender: AsyncSender,
    /// Where memory files and shared memory live; made on first use.
    pub shm_mount: OnceLock<Arc<Mount>>,
    /// The network namespace, of crate `net`; made on first use.
    pub network: OnceLock<Arc<dyn std::any::Any + Send + Sync>>,
    fs_types: Mutex<BTreeMap<&'static str, FsMaker>>,
    /// Told whenever a signal was sent, for signalfds.
    pub signal_hooks: WaitQueue,
    boot: Instant,
    pub(crate) load: Load,
    /// The process that `vizor do` started: the sandbox ends with it.
    first_process: AtomicI32,
    status: OnceLock<ExitStatus>,
    /// Told when the first process stops or goes on, and when it ends.
    observer: OnceLock<Box<dyn Observer>>,
    closing: AtomicBool,
}

/// Makes a file system from the data of mount(2).
pub type FsMaker = Arc<dyn Fn(&Kernel, &dyn Caller, &[u8]) -> Result<Arc<dyn FileSystem>, Errno> + Send + Sync>;

/// Who started the sandbox and wants to know what becomes of its first process.
pub trait Observer: Send + Sync {
    /// It was stopped by this signal.
    fn stopped(&self, signal: abi::signal::Signal);
    /// It has ended, and the sandbox with it.
    fn ended(&self, status: ExitStatus);
    /// Something went wrong that no guest can be told: one line for the user.
    fn warned(&self, line: &str);
}

/// Dentries kept in the cache; each may hold a host descriptor.
const DENTRIES: usize = 8192;

impl Kernel {
    /// A kernel without tasks.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Kernel> {
        let futexes = FutexTable::new(&parts.platform.futex_waiters());
        Arc::new(Kernel {
            texts: parts.platform.patcher().map(mm::Texts::new),
            views: mm::Views::new(),
            platform: parts.platform,
            frames: parts.frames,
            dispatch: parts.dispatch,
            threads: Threads::default(),
            tree: ProcTree::default(),
            mounts: parts.mounts,
            special: parts.special,
            dentries: DentryCache::new(DENTRIES),
            uts: Mutex::new(rank::LEAF, parts.uts),
            ipc: parts.ipc,
            futexes,
            timers: Timers::default(),
            terminals: crate::tty::Terminals::default(),
            trace: parts.trace,
            async_sender: AsyncSender::default(),
            shm_mount: OnceLock::new(),
            network: OnceLock::new(),
            fs_types: Mutex::new(rank::LEAF, BTreeMap::new()),
            signal_hooks: WaitQueue::new(),
            boot: Instant::now(),
            load: Load::default(),
            first_process: AtomicI32::new(0),
            status: OnceLock::new(),
            observer: OnceLock::new(),
            closing: AtomicBool::new(false),
        })
    }

    /// Makes a type of file system known to mount(2).
    pub fn register_fs(&self, name: &'static str, maker: FsMaker) {
        let old = self.fs_types.lock().insert(name, maker);
        drop(old);
    }

    /// A new file system for mount(2).
    ///
    /// # Errors
    /// `ENODEV` for an unknown type, and what the type says of the data.
    pub fn make_fs(&self, caller: &dyn Caller, name: &[u8], data: &[u8]) -> Result<Arc<dyn FileSystem>, Errno> {
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENODEV)?;
        let maker = self.fs_types.lock().get(name).cloned().ok_or(Errno::ENODEV)?;
        maker(self, caller, data)
    }

    /// The types that mount(2) knows.
    #[must_use]
    pub fn fs_types(&self) -> Vec<&'static str> {
        self.fs_types.lock().keys().copied().collect()
    }

    /// Nanoseconds since the sandbox was made.
    #[must_use]
    pub fn uptime_ns(&self) -> u64 {
        u64::try_from(self.boot.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Names the observer, once.
    pub fn set_observer(&self, observer: Box<dyn Observer>) {
        let _ = self.observer.set(observer);
    }

    /// Logs what no guest can be told, and tells the user.
    pub fn tell(&self, line: &str) {
        self.trace.log(line);
        if let Some(observer) = self.observer() {
            observer.warned(line);
        }
    }

    pub(crate) fn observer(&self) -> Option<&dyn Observer> {
        self.observer.get().map(|o| &**o)
    }

    /// The process that the sandbox ends with.
    #[must_use]
    pub fn first_process(&self) -> i32 {
        self.first_process.load(Ordering::Relaxed)
    }

    pub(crate) fn set_first_process(&self, pid: i32) {
        self.first_process.store(pid, Ordering::Relaxed);
    }

    /// The first process has ended: nothing new may start.
    pub(crate) fn close(&self, status: ExitStatus) {
        if self.status.set(status).is_ok() {
            self.closing.store(true, Ordering::Relaxed);
            if let Some(observer) = self.observer() {
                observer.ended(status);
            }
        }
    }

    /// Bytes in a page, for code that reports sizes.
    #[must_use]
    pub const fn page_size() -> u64 {
        PAGE_SIZE
    }
}
