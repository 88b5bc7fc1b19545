//! Starting a program in namespaces of its own.
//!
//! The standard library's `Command` can neither create namespaces with a child nor wait until its user map is written. A
//! [`Launch`] does: the child is made with `clone`, waits until the parent has written its maps, and executes the
//! program. Between the two it makes plain system calls only, so the parent may have threads.

use core::ffi::{CStr, c_char};
use rustix::fd::{AsRawFd, FromRawFd, OwnedFd};
use rustix::io::{Errno, Result};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, waitid};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

bitflags::bitflags! {
    /// Namespaces to create.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Namespaces: i32 {
        /// Users and capabilities.
        const USER = libc::CLONE_NEWUSER;
        /// Mounts.
        const MOUNT = libc::CLONE_NEWNS;
        /// Process ids: the child is process 1.
        const PID = libc::CLONE_NEWPID;
        /// Network.
        const NET = libc::CLONE_NEWNET;
        /// System V IPC and message queues.
        const IPC = libc::CLONE_NEWIPC;
        /// Host name.
        const UTS = libc::CLONE_NEWUTS;
        /// Control groups.
        const CGROUP = libc::CLONE_NEWCGROUP;
    }
}

/// A line of a user or group map: ids from `inside` on stand for those from `outside` on.
#[derive(Clone, Copy, Debug)]
pub struct IdMap {
    /// First id in the new namespace.
    pub inside: u32,
    /// First id in the present one.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// A program to start.
pub struct Launch<'a> {
    program: &'a CStr,
    args: Vec<CString>,
    env: Vec<CString>,
    namespaces: Namespaces,
    users: Vec<IdMap>,
    groups: Vec<IdMap>,
    keep: Vec<RawFd>,
    death_signal: bool,
    new_session: bool,
}

/// A started process. It is neither killed nor reaped by dropping this.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Child {
    /// Its id in the caller's namespace.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// A descriptor that becomes readable when it ends, and by which it can be signalled.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// `ECHILD` if it has been reaped.
    pub fn wait(&self) -> Result<WaitIdStatus> {
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Ok(Some(status)) => return Ok(status),
                Ok(None) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl<'a> Launch<'a> {
    /// Of a program, which becomes argument 0 too, with an empty environment.
    #[must_use]
    pub fn new(program: &'a CStr) -> Launch<'a> {
        Launch {
            program,
            args: vec![program.to_owned()],
            env: Vec::new(),
            namespaces: Namespaces::empty(),
            users: Vec::new(),
            groups: Vec::new(),
            keep: Vec::new(),
            death_signal: false,
            new_session: false,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: CString) -> Self {
        self.args.push(arg);
        self
    }

    /// Adds a `NAME=value` string to the environment.
    #[must_use]
    pub fn env(mut self, env: CString) -> Self {
        self.env.push(env);
        self
    }

    /// Creates these namespaces with the child.
    #[must_use]
    pub fn namespaces(mut self, namespaces: Namespaces) -> Self {
        self.namespaces = namespaces;
        self
    }

    /// Maps ids into a new user namespace. The child then becomes user and group 0 of it, if they are mapped.
    /// Without the capability to do otherwise, a caller can map only its own ids, one of each.
    #[must_use]
    pub fn id_maps(mut self, users: Vec<IdMap>, groups: Vec<IdMap>) -> Self {
        self.users = users;
        self.groups = groups;
        self
    }

    /// Keeps a descriptor open in the program, under the same number. Others stay open if they are not close-on-exec.
    #[must_use]
    pub fn keep(mut self, fd: BorrowedFd<'a>) -> Self {
        self.keep.push(fd.as_raw_fd());
        self
    }

    /// Kills the child when the calling *thread* ends.
    #[must_use]
    pub fn die_with_parent(mut self) -> Self {
        self.death_signal = true;
        self
    }

    /// Starts the child in a session of its own, without a controlling terminal.
    #[must_use]
    pub fn new_session(mut self) -> Self {
        self.new_session = true;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// What a host call failed with: making the child, writing its maps, or executing the program.
    pub fn spawn(&self) -> Result<Child> {
        let (go_read, go_write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (fail_read, fail_write) = pipe_with(PipeFlags::CLOEXEC)?;
        let pointers = |strings: &[CString]| -> Vec<*const c_char> {
            strings.iter().map(|s| s.as_ptr()).chain([core::ptr::null()]).collect()
        };
        let (args, env) = (pointers(&self.args), pointers(&self.env));
        let plan = Plan {
            launch: self,
            args: &args,
            env: &env,
            go: go_read.as_raw_fd(),
            unused: [go_write.as_raw_fd(), fail_read.as_raw_fd()],
            fail: fail_write.as_raw_fd(),
        };
        let mut pidfd: RawFd = -1;
        let flags = (self.namespaces.bits() | libc::CLONE_PIDFD | libc::SIGCHLD) as libc::c_long;
        // SAFETY: without `CLONE_VM` and with no new stack this is `fork`; the child goes to `Plan::run` at once, which
        // makes plain system calls only and does not return.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, &raw mut pidfd, 0usize, 0usize) };
        if pid == 0 {
            plan.run();
        }
        if pid < 0 {
            return Err(last_error());
        }
        drop((go_read, fail_write));
        // SAFETY: `CLONE_PIDFD` has stored a new descriptor there.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        let child = Child { pid, pidfd };
        let result = self.write_maps(pid).and_then(|()| {
            rustix::io::write(&go_write, &[1])?;
            read_failure(&fail_read)
        });
        if let Err(error) = result {
            let _ = rustix::process::pidfd_send_signal(&child.pidfd, rustix::process::Signal::KILL);
            let _ = child.wait();
            return Err(error);
        }
        Ok(child)
    }

    fn write_maps(&self, pid: Pid) -> Result<()> {
        let write = |name: &str, text: &str| {
            let path = format!("/proc/{}/{name}", pid.as_raw_nonzero());
            std::fs::write(path, text).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        };
        let lines = |maps: &[IdMap]| -> String {
            maps.iter().map(|map| format!("{} {} {}\n", map.inside, map.outside, map.count)).collect()
        };
        if !self.users.is_empty() {
            write("uid_map", &lines(&self.users))?;
        }
        if !self.groups.is_empty() {
            // A caller without the capability over groups may write its map only after this; one with it need not.
            if !matches!(rustix::thread::capabilities(None), Ok(sets)
                if sets.effective.contains(rustix::thread::CapabilitySet::SETGID))
            {
                write("setgroups", "deny")?;
            }
            write("gid_map", &lines(&self.groups))?;
        }
        Ok(())
    }
}

fn read_failure(pipe: &OwnedFd) -> Result<()> {
    let mut error = [0; 4];
    loop {
        match rustix::io::read(pipe, &mut error) {
            Err(Errno::INTR) => {}
            Ok(4) => return Err(Errno::from_raw_os_error(i32::from_ne_bytes(error).clamp(1, 4095))),
            // Closed by `execve`.
            Ok(0) => return Ok(()),
            Ok(_) => return Err(Errno::IO),
            Err(other) => return Err(other),
        }
    }
}

fn last_error() -> Errno {
    Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// All that the child needs, prepared before it exists.
struct Plan<'a> {
    launch: &'a Launch<'a>,
    args: &'a [*const c_char],
    env: &'a [*const c_char],
    go: RawFd,
    unused: [RawFd; 2],
    fail: RawFd,
}

impl Plan<'_> {
    /// In the child: waits for the parent, and becomes the program.
    fn run(&self) -> ! {
        let error = self.execute();
        // SAFETY: system calls with valid arguments; the process ends.
        unsafe {
            libc::write(self.fail, (&raw const error).cast(), size_of_val(&error));
            libc::_exit(127)
        }
    }

    /// Returns only on failure, with the error number.
    fn execute(&self) -> i32 {
        let launch = self.launch;
        // SAFETY: system calls with valid arguments, in a process that has only this thread and no use for the rest of
        // the parent's state. The raw calls of `setresuid` and `setresgid` change this thread only, which is all.
        unsafe {
            if launch.death_signal && libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return *libc::__errno_location();
            }
            for fd in self.unused {
                libc::close(fd);
            }
            let mut byte = 0u8;
            if libc::read(self.go, (&raw mut byte).cast(), 1) != 1 {
                return libc::EPIPE;
            }
            let mapped = |maps: &[IdMap]| maps.iter().any(|map| map.inside == 0);
            if mapped(&launch.groups) && libc::syscall(libc::SYS_setresgid, 0, 0, 0) != 0 {
                return *libc::__errno_location();
            }
            if mapped(&launch.users) && libc::syscall(libc::SYS_setresuid, 0, 0, 0) != 0 {
                return *libc::__errno_location();
            }
            // A change of ids clears it.
            if launch.death_signal && libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return *libc::__errno_location();
            }
            if launch.new_session && libc::setsid() < 0 {
                return *libc::__errno_location();
            }
            for fd in &launch.keep {
                if libc::fcntl(*fd, libc::F_SETFD, 0) != 0 {
                    return *libc::__errno_location();
                }
            }
            libc::execve(launch.program.as_ptr(), self.args.as_ptr(), self.env.as_ptr());
            *libc::__errno_location()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn finish(child: &Child, read: OwnedFd) -> String {
        let mut text = String::new();
        std::fs::File::from(read).read_to_string(&mut text).expect("reads");
        assert_eq!(child.wait().expect("waits").exit_status(), Some(0));
        text
    }

    #[test]
    fn a_program_runs_as_process_one_and_root() {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        let ids = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let map = |outside| vec![IdMap { inside: 0, outside, count: 1 }];
        let script = format!("echo $$ $(id -u) $(id -g) $X >&{}", write.as_raw_fd());
        let launch = Launch::new(c"/bin/sh")
            .arg(c"-c".to_owned())
            .arg(CString::new(script).expect("no zero"))
            .env(c"X=y".to_owned())
            .env(c"PATH=/usr/bin:/bin".to_owned())
            .namespaces(Namespaces::USER | Namespaces::PID | Namespaces::MOUNT | Namespaces::NET)
            .id_maps(map(ids.0), map(ids.1))
            .die_with_parent()
            .new_session()
            .keep(write.as_fd());
        let child = match launch.spawn() {
            Ok(child) => child,
            // The host may forbid namespaces to users.
            Err(Errno::PERM | Errno::NOSPC | Errno::ACCESS) => return,
            Err(error) => panic!("{error}"),
        };
        drop(launch);
        drop(write);
        assert_eq!(finish(&child, read), "1 0 0 y\n");
    }

    #[test]
    fn descriptors_are_kept_only_on_request() {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        let script = format!("echo kept >&{}; [ ! -e /proc/self/fd/{} ]", write.as_raw_fd(), read.as_raw_fd());
        let launch = Launch::new(c"/bin/sh").arg(c"-c".to_owned()).arg(CString::new(script).expect("no zero"));
        let child = launch.keep(write.as_fd()).spawn().expect("spawns");
        drop(write);
        assert_eq!(finish(&child, read), "kept\n");
    }

    #[test]
    fn a_failed_exec_is_told() {
        assert_eq!(Launch::new(c"/nonexistent").spawn().expect_err("fails"), Errno::NOENT);
    }
}
