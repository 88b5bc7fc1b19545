//! signalfd(2): signals that are read.
//!
//! What is ready is what is pending for the task that asks, as in Linux, not for the one that made the descriptor.

use abi::Errno;
use abi::signal::{SIGBUS, SIGCHLD, SIGFPE, SIGILL, SIGIO, SIGSEGV, SIGSYS, SIGTRAP, SigInfo, SigSet, code};
use host::io::Sink;
use kernel::{Kernel, Task};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vfs::anon::anon_file;
use vfs::wait::{Events, WaitQueue};
use vfs::{FileOps, IoCx, IoError, OpenFile, OpenFlags};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// The object behind a signalfd.
pub struct SignalFd {
    kernel: Arc<Kernel>,
    mask: AtomicU64,
}

/// A description of the signals in `mask`.
#[must_use]
pub fn new_signalfd(kernel: &Arc<Kernel>, mask: SigSet, flags: OpenFlags) -> OpenFile {
    let ops = SignalFd { kernel: kernel.clone(), mask: AtomicU64::new(mask.0) };
    anon_file("[signalfd]", flags | OpenFlags::RDWR, Box::new(ops))
}

/// `struct signalfd_siginfo`.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Info {
    signo: u32,
    errno: i32,
    code: i32,
    pid: u32,
    uid: u32,
    fd: i32,
    tid: u32,
    band: u32,
    overrun: u32,
    trapno: u32,
    status: i32,
    int: i32,
    ptr: u64,
    utime: u64,
    stime: u64,
    addr: u64,
    addr_lsb: u16,
    pad: u16,
    syscall: i32,
    call_addr: u64,
    arch: u32,
    rest: [u8; 28],
}

/// Which part of `siginfo_t` is in use (`siginfo_layout`).
enum Layout {
    Kill,
    Timer,
    Poll,
    Fault,
    Child,
    Queue,
    Sys,
}

fn layout(info: &SigInfo) -> Layout {
    match info.code {
        1..code::SI_KERNEL => match info.signo {
            SIGCHLD => Layout::Child,
            SIGIO => Layout::Poll,
            SIGSYS => Layout::Sys,
            SIGILL | SIGFPE | SIGSEGV | SIGBUS | SIGTRAP => Layout::Fault,
            _ => Layout::Kill,
        },
        code::SI_TIMER => Layout::Timer,
        code::SI_SIGIO => Layout::Poll,
        i32::MIN..=-1 => Layout::Queue,
        _ => Layout::Kill,
    }
}

/// Where a `siginfo_t`'s tail begins.
const TAIL: usize = 16;

impl Info {
    fn new(info: &SigInfo) -> Info {
        let word = |at: usize| {
            let bytes = info.as_bytes().get(TAIL + at * 8..).and_then(|b| b.first_chunk::<8>());
            u64::from_le_bytes(bytes.copied().unwrap_or_default())
        };
        let (low, high) = (|w: u64| w as u32, |w: u64| (w >> 32) as u32);
        let mut out =
            Info { signo: info.signo.cast_unsigned(), errno: info.errno, code: info.code, ..Info::new_zeroed() };
        let sender = |out: &mut Info| (out.pid, out.uid) = (low(word(0)), high(word(0)));
        match layout(info) {
            Layout::Kill => sender(&mut out),
            Layout::Timer => {
                (out.tid, out.overrun) = (low(word(0)), high(word(0)));
                (out.ptr, out.int) = (word(1), low(word(1)).cast_signed());
            }
            Layout::Poll => (out.band, out.fd) = (low(word(0)), low(word(1)).cast_signed()),
            Layout::Fault => out.addr = word(0),
            Layout::Child => {
                sender(&mut out);
                (out.status, out.utime, out.stime) = (low(word(1)).cast_signed(), word(2), word(3));
            }
            Layout::Queue => {
                sender(&mut out);
                (out.ptr, out.int) = (word(1), low(word(1)).cast_signed());
            }
            Layout::Sys => {
                (out.call_addr, out.syscall, out.arch) = (word(0), low(word(1)).cast_signed(), high(word(1)));
            }
        }
        out
    }
}

impl SignalFd {
    /// signalfd(2) on an existing descriptor.
    pub fn set_mask(&self, mask: SigSet) {
        self.mask.store(mask.0, Ordering::SeqCst);
        self.kernel.signal_hooks.notify(Events::READABLE);
    }

    fn mask(&self) -> SigSet {
        SigSet(self.mask.load(Ordering::SeqCst))
    }

    fn take(&self, task: &Task) -> Option<SigInfo> {
        task.group.take_signal(&self.kernel, task.tid(), self.mask())
    }
}

impl FileOps for SignalFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _io: &IoCx<'_>, dst: &mut dyn Sink) -> Result<usize, IoError> {
        let mut room = dst.remaining() / size_of::<Info>();
        if room == 0 {
            return Err(Errno::EINVAL.into());
        }
        let task = kernel::current().ok_or(Errno::EINVAL)?;
        let mut done = 0;
        while room > 0 {
            let Some(info) = self.take(&task) else { break };
            match dst.put(Info::new(&info).as_bytes()) {
                Ok(len) => done += len,
                Err(errno) if done == 0 => return Err(errno.into()),
                Err(_) => break,
            }
            room -= 1;
        }
        if done == 0 { Err(IoError::WouldBlock) } else { Ok(done) }
    }

    fn readiness(&self) -> Events {
        let Some(task) = kernel::current() else { return Events::empty() };
        let signals = task.group.signals.lock();
        let own = signals.threads.get(&task.tid()).map_or(SigSet::EMPTY, |t| t.pending.set());
        let ready = own.union(signals.shared.set()).intersect(self.mask());
        if ready.is_empty() { Events::empty() } else { Events::READABLE }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.kernel.signal_hooks)
    }

    fn fdinfo(&self) -> String {
        format!("sigmask:\t{:016x}\n", self.mask().0)
    }
}
