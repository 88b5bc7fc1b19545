//! What a process does to itself so that it can do little else from then on.

use crate::seccomp::Instruction;
use abi::termios::Termios;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::OFlags;
use std::io;

fn checked(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Installs a seccomp filter on all threads of the process. `no_new_privs` must be set.
///
/// # Errors
/// `EINVAL` or `ENOSYS` if the host can't.
pub fn install_filter(program: &[Instruction]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: `Instruction` is laid out as `sock_filter`; the call copies the program.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const program,
        )
    };
    match result {
        // With `TSYNC` a positive result is the thread that could not be brought along.
        1.. => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        other => checked(other),
    }
}

/// Sets attributes on a detached tree of mounts: no devices, no set-user-ID, and read-only if asked.
///
/// # Errors
/// The host's.
pub fn restrict_mounts(tree: impl AsFd, read_only: bool) -> io::Result<()> {
    let read_only = if read_only { libc::MOUNT_ATTR_RDONLY } else { 0 };
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID | read_only,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    // SAFETY: the path is empty and the attributes are a complete structure of the size given.
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })
}

/// Gives the calling thread, and no other, a network namespace of its own, and returns a handle of it, found in the
/// directory `proc`.
///
/// # Errors
/// The host's.
pub fn new_network(proc: impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: this changes nothing that memory safety rests on.
    checked(libc::c_long::from(unsafe { libc::unshare(libc::CLONE_NEWNET) }))?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(proc, "thread-self/ns/net", flags, rustix::fs::Mode::empty())?)
}

/// Where a refused system call is reported.
static REPORT: AtomicI32 = AtomicI32::new(-1);

/// From now on a system call that a filter answers with `SECCOMP_RET_TRAP` ends the process, after a message of `kind`
/// and a line of text to `report`.
///
/// # Errors
/// The host's.
pub fn report_refused_calls(report: &OwnedFd, kind: u8) -> io::Result<()> {
    KIND.store(i32::from(kind), Ordering::Relaxed);
    REPORT.store(report.as_raw_fd(), Ordering::Relaxed);
    action(libc::SIGSYS, on_refused)
}

static KIND: AtomicI32 = AtomicI32::new(0);

fn action(signal: i32, handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void)) -> io::Result<()> {
    // SAFETY: a complete action whose handler has the right type.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigfillset(&raw mut action.sa_mask);
        checked(libc::c_long::from(libc::sigaction(signal, &raw const action, core::ptr::null_mut())))
    }
}

/// A line of text without allocation.
struct Line {
    bytes: [u8; 160],
    len: usize,
}

impl core::fmt::Write for Line {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let len = s.len().min(room.len());
        let (Some(to), Some(from)) = (room.get_mut(..len), s.as_bytes().get(..len)) else { return Ok(()) };
        to.copy_from_slice(from);
        self.len += len;
        Ok(())
    }
}

/// `siginfo` of a refused call: the fields after the common ones.
#[repr(C)]
struct Refused {
    common: [i32; 4],
    address: u64,
    number: i32,
    arch: u32,
}

extern "C" fn on_refused(_: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    use core::fmt::Write;
    let mut line = Line { bytes: [0; 160], len: 0 };
    // SAFETY: the kernel passes a valid siginfo, of this form for `SIGSYS`, and a valid ucontext.
    let (number, registers) = unsafe {
        let registers = (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        ((*info.cast::<Refused>()).number, registers)
    };
    let argument = |register: i32| registers.get(register as usize).copied().unwrap_or(0);
    let _ = line.write_char(char::from(KIND.load(Ordering::Relaxed) as u8));
    let _ = write!(
        line,
        "the sentry made host system call {number}({:#x}, {:#x}, {:#x}, {:#x}), which is not on its list",
        argument(libc::REG_RDI),
        argument(libc::REG_RSI),
        argument(libc::REG_RDX),
        argument(libc::REG_R10),
    );
    // SAFETY: async-signal-safe calls on a local buffer.
    unsafe {
        libc::write(REPORT.load(Ordering::Relaxed), line.bytes.as_ptr().cast(), line.len);
        libc::_exit(125);
    }
}

/// The terminal that is put right at the end, and where its settings are.
static TERMINAL: AtomicI32 = AtomicI32::new(-1);
static KEPT: AtomicPtr<Page> = AtomicPtr::new(core::ptr::null_mut());

/// The settings that a terminal is to have when nobody uses it any more, known to the command and to its copy, the
/// Sentry. The command may be killed at any time: what the Sentry learnt of by messages could come too late.
#[derive(Clone, Copy)]
pub struct Kept(NonNull<Page>);

// SAFETY: the page is never unmapped. Only the command writes, in one thread; the Sentry reads when the command is
// gone.
unsafe impl Send for Kept {}

struct Page {
    held: AtomicBool,
    settings: UnsafeCell<MaybeUninit<Termios>>,
}

impl Kept {
    /// A page that copies of this process share, which holds nothing.
    ///
    /// # Errors
    /// The host's.
    pub fn new() -> io::Result<Kept> {
        let (read_write, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, all zeroes, which is a page that holds nothing.
        let page = unsafe { libc::mmap(core::ptr::null_mut(), size_of::<Page>(), read_write, shared, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(page.cast()).map(Kept).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// From now on the terminal is to have these settings; `None` leaves it alone. For the command alone, before it
    /// changes them, and after it has put them back.
    pub fn hold(&mut self, settings: Option<Termios>) {
        // SAFETY: mapped for good. While nothing is held nobody reads the settings, and nobody else writes.
        let page = unsafe { self.0.as_ref() };
        page.held.store(false, Ordering::SeqCst);
        if let Some(settings) = settings {
            // SAFETY: as above.
            unsafe { (*page.settings.get()).write(settings) };
            page.held.store(true, Ordering::SeqCst);
        }
    }
}

/// From now on the process ends when its parent does (or at `SIGTERM`), and gives the terminal the settings that are
/// kept.
///
/// # Errors
/// The host's.
pub fn end_with_parent(terminal: Option<(&OwnedFd, Kept)>) -> io::Result<()> {
    if let Some((terminal, kept)) = terminal {
        TERMINAL.store(terminal.as_raw_fd(), Ordering::SeqCst);
        KEPT.store(kept.0.as_ptr(), Ordering::SeqCst);
    }
    action(libc::SIGTERM, on_end)?;
    // SAFETY: sets an attribute of the process.
    checked(libc::c_long::from(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) }))
}

/// Puts back the terminal's settings if some are kept, and ends the process.
pub fn end_now() -> ! {
    // SAFETY: the page is mapped for good, and what is held has been written; the calls are async-signal-safe.
    unsafe {
        if let Some(page) = KEPT.load(Ordering::SeqCst).as_ref()
            && page.held.load(Ordering::SeqCst)
        {
            libc::ioctl(TERMINAL.load(Ordering::SeqCst), libc::TCSETS, page.settings.get());
        }
        libc::_exit(143)
    }
}

extern "C" fn on_end(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    end_now();
}

/// Ends the process at once, whatever its other threads do.
pub fn end(status: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(status) }
}
