//! Makes a copy of this process in namespaces of its own, which its parent can set up before the copy needs them.
//!
//! The copy goes on in the same program. That is sound for a process of one thread only: with more, the copy might find
//! locks taken by threads that it does not have.

use crate::elsewhere;
use core::ffi::CStr;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};
use std::io;

/// The namespaces that a process can be given at birth. That of the network takes long to make, and can be entered
/// later ([`crate::confine::new_network`]).
pub const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// A child process.
pub struct Child {
    pid: i32,
    pidfd: OwnedFd,
    go: Option<OwnedFd>,
}

impl Child {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Opens its [`Gate`].
    ///
    /// # Errors
    /// If it is gone already.
    pub fn release(&mut self) -> io::Result<()> {
        if let Some(go) = self.go.take() {
            rustix::io::write(&go, b"g")?;
        }
        Ok(())
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

/// What the child waits at until its parent has set it up.
pub struct Gate(OwnedFd);

impl Gate {
    /// Waits.
    ///
    /// # Errors
    /// If the parent ends first.
    pub fn wait(self) -> io::Result<()> {
        loop {
            match rustix::io::read(&self.0, &mut [0]) {
                Ok(1) => {
                    elsewhere::anywhere();
                    return Ok(());
                }
                Ok(_) => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What a child inherits.
pub struct Inheritance<'a> {
    /// Its name in lists of processes.
    pub name: &'a CStr,
    /// What its standard descriptors are.
    pub stdio: BorrowedFd<'a>,
    /// The other descriptors that it keeps, under the same numbers, all above 2.
    pub keep: Vec<RawFd>,
    /// The signals that the parent was started with ignored, bit 0 being signal 1: they are not ignored in the child.
    pub ignored: u64,
}

/// Makes the child: a copy of this process that runs `body` and exits with what that returns. It leads a session of its
/// own, is killed when its parent ends, and keeps no descriptor but those named, and neither arguments nor environment.
/// What `body` owns belongs to the child, and is dropped here.
///
/// # Errors
/// The host's, `EPERM`, `ENOSPC` or `EINVAL` if it does not allow the namespaces; `EBUSY` if this process has more than
/// one thread, and `ENOENT` if that can't be told, for want of `/proc`.
pub fn spawn(namespaces: i32, with: &Inheritance<'_>, body: impl FnOnce(Gate) -> u8) -> io::Result<Child> {
    // A directory has two links, and one for each directory in it.
    if rustix::fs::stat("/proc/self/task")?.st_nlink > 3 {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    // Asked here, for the child is moved.
    let _ = elsewhere::cores();
    let (gate, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match copy(namespaces)? {
        None => {
            become_child(with, gate.as_raw_fd());
            std::process::exit(i32::from(body(Gate(gate))));
        }
        Some((pid, pidfd)) => {
            // There it starts at once, beside what is done for it here.
            elsewhere::send(pid);
            Ok(Child { pid, pidfd, go: Some(go) })
        }
    }
}

/// `fork` into new namespaces. `None` in the copy.
fn copy(namespaces: i32) -> io::Result<Option<(i32, OwnedFd)>> {
    let mut flags = (namespaces & NAMESPACES) | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: i32 = -1;
    let mut tid: *mut i32 = core::ptr::null_mut();
    // SAFETY: the first call only asks where the C library keeps this thread's id, for the kernel to put the copy's
    // there (a host that can't tell leaves the old one, which only recursive locks of the C library look at). The
    // second, without `CLONE_VM` and with the present stack, is `fork`. There are no other threads, so no lock of the
    // program or of the C library is held in the copy.
    let pid = unsafe {
        if libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut tid) == 0 && !tid.is_null() {
            flags |= libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
        }
        libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0, &raw mut pidfd, tid, 0)
    };
    match i32::try_from(pid) {
        Ok(0) => Ok(None),
        // SAFETY: the host made this descriptor for us.
        Ok(pid) if pid > 0 => Ok(Some((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes the copy a process of its own. Failures show later: a descriptor that is missing is noticed by whoever needs
/// it.
fn become_child(with: &Inheritance<'_>, gate: RawFd) {
    let mut keep: Vec<_> = with.keep.iter().copied().chain([gate]).filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    // SAFETY: these change only this process. The descriptors that are closed belong to values of the parent's, which
    // nothing in the copy gets at any more: it goes on in `body`, whose own are kept, and never returns.
    // Arguments and environment are read by copying only.
    unsafe {
        crate::start::forget(with.name);
        libc::prctl(libc::PR_SET_NAME, with.name.as_ptr());
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::setsid();
        let mut none: libc::sigset_t = core::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, core::ptr::null_mut());
        // What the caller ignored is the guest's to ignore. Above all `SIGCHLD`: processes would be reaped unasked.
        for signal in (1..=64).filter(|signal| with.ignored & (1 << (signal - 1)) != 0 && *signal != libc::SIGPIPE) {
            libc::signal(signal, libc::SIG_DFL);
        }
        for fd in 0..3 {
            libc::dup2(with.stdio.as_raw_fd(), fd);
        }
        let mut from = 3;
        for fd in keep.iter().copied().chain([RawFd::MAX]) {
            if fd > from {
                libc::syscall(libc::SYS_close_range, from, fd - 1, 0);
            }
            from = fd.saturating_add(1);
        }
    }
}
