//! Starts a process in namespaces of its own, which its parent can set up before it runs its program.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};
use std::ffi::CStr;
use std::io;

/// The namespaces that a process can be given at birth.
pub const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// What to start.
pub struct Program<'a> {
    /// The executable.
    pub path: &'a CStr,
    /// Its arguments, the name among them.
    pub args: &'a [&'a CStr],
    /// Its environment.
    pub env: &'a [&'a CStr],
    /// What its standard descriptors are.
    pub stdio: BorrowedFd<'a>,
    /// What else it inherits, under the same numbers, all above 2.
    pub keep: &'a [BorrowedFd<'a>],
    /// Capabilities, by number, that it keeps in its user namespace although it may not be root there.
    pub capabilities: &'a [u8],
}

/// A child process.
pub struct Child {
    pid: i32,
    pidfd: OwnedFd,
    go: Option<OwnedFd>,
    fault: OwnedFd,
}

impl Child {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Lets it run its program.
    ///
    /// # Errors
    /// If it is gone already.
    pub fn release(&mut self) -> io::Result<()> {
        if let Some(go) = self.go.take() {
            rustix::io::write(&go, b"g")?;
        }
        Ok(())
    }

    /// Why it could not run its program: call once it is known to have ended. `None` if it could.
    #[must_use]
    pub fn start_error(&self) -> Option<io::Error> {
        let mut raw = [0; 4];
        match rustix::io::read(&self.fault, &mut raw) {
            Ok(4) => Some(io::Error::from_raw_os_error(i32::from_ne_bytes(raw))),
            _ => None,
        }
    }

    /// Kills it.
    pub fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// The host's.
    pub fn wait(&self) -> io::Result<Option<WaitIdStatus>> {
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Err(rustix::io::Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// All that the child touches, prepared by the parent: the child must not allocate.
struct Plan {
    path: *const libc::c_char,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    null: i32,
    keep: Vec<i32>,
    capabilities: Vec<u8>,
    go: i32,
    fault: i32,
}

/// Makes the child, which waits for [`Child::release`]. Only for processes without other threads. The child leads a
/// session of its own.
///
/// # Errors
/// The host's, `EPERM`, `ENOSPC` or `EINVAL` if it does not allow the namespaces.
pub fn spawn(program: &Program<'_>, namespaces: i32) -> io::Result<Child> {
    let (go_read, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let (fault, fault_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let list = |strings: &[&CStr]| {
        strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(core::ptr::null())).collect::<Vec<_>>()
    };
    let plan = Plan {
        path: program.path.as_ptr(),
        argv: list(program.args),
        envp: list(program.env),
        null: program.stdio.as_raw_fd(),
        keep: program.keep.iter().map(AsRawFd::as_raw_fd).collect(),
        capabilities: program.capabilities.to_vec(),
        go: go_read.as_raw_fd(),
        fault: fault_write.as_raw_fd(),
    };
    let mut pidfd: i32 = -1;
    let flags = (namespaces & NAMESPACES) | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: `clone` without `CLONE_VM` and with the present stack is `fork`. The child only makes system calls on what
    // `plan` holds, and ends or becomes another program.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0, &raw mut pidfd, 0, 0) };
    if pid == 0 {
        // SAFETY: this is the child.
        unsafe { run(&plan) };
    }
    let error = io::Error::last_os_error();
    match i32::try_from(pid) {
        Ok(pid) if pid > 0 => {
            // SAFETY: the host made this descriptor for us.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Child { pid, pidfd, go: Some(go), fault })
        }
        _ => Err(error),
    }
}

/// The child's part.
///
/// # Safety
/// Only in a fresh copy of the process.
unsafe fn run(plan: &Plan) -> ! {
    // SAFETY: system calls on memory of the plan; nothing allocates or takes locks.
    unsafe {
        let mut byte = 0u8;
        // The parent's end of the pipe is open in this copy too, so a parent that died must be noticed otherwise.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        while libc::read(plan.go, (&raw mut byte).cast(), 1) != 1 {
            if *libc::__errno_location() != libc::EINTR {
                libc::_exit(125);
            }
        }
        prepare(plan);
        libc::execve(plan.path, plan.argv.as_ptr(), plan.envp.as_ptr());
        let error = *libc::__errno_location();
        libc::write(plan.fault, (&raw const error).cast(), 4);
        libc::_exit(125);
    }
}

/// # Safety
/// As for [`run`].
unsafe fn prepare(plan: &Plan) {
    // SAFETY: as in `run`. Failures show later: a missing descriptor or capability is noticed by the program.
    unsafe {
        libc::setsid();
        let mut none: libc::sigset_t = core::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, core::ptr::null_mut());
        // What the caller ignored is the guest's to ignore. Above all `SIGCHLD`: processes would be reaped unasked.
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        for fd in 0..3 {
            libc::dup2(plan.null, fd);
        }
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        for fd in &plan.keep {
            libc::fcntl(*fd, libc::F_SETFD, 0);
        }
        inherit_capabilities(&plan.capabilities);
    }
}

/// Puts capabilities into the ambient set, which survives the exec of a user other than root.
///
/// # Safety
/// As for [`run`].
unsafe fn inherit_capabilities(capabilities: &[u8]) {
    const VERSION_3: u32 = 0x2008_0522;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Sets {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let header = Header { version: VERSION_3, pid: 0 };
    let mut sets = [Sets::default(); 2];
    // SAFETY: `capget` fills, and `capset` reads, two of these for this version.
    unsafe {
        libc::syscall(libc::SYS_capget, &raw const header, &raw mut sets);
        for half in &mut sets {
            half.inheritable = half.permitted;
        }
        libc::syscall(libc::SYS_capset, &raw const header, &raw const sets);
        for capability in capabilities {
            libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, libc::c_ulong::from(*capability), 0, 0);
        }
    }
}

/// Takes over a descriptor that the process inherited across exec. Such descriptors lack `FD_CLOEXEC`, which all that are
/// made here have; it is set now, so that none is taken twice.
///
/// # Errors
/// `EBADF` if it is not open, `EINVAL` if it was not inherited.
pub fn inherited(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: descriptor flags touch no memory; whoever else owned this number would have set `FD_CLOEXEC`.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFD);
        if flags < 0 || libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) < 0 {
            return Err(io::Error::last_os_error());
        }
        if flags & libc::FD_CLOEXEC != 0 || fd < 3 {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}
