//! Whether a stub lives: its process id, and what may be done with it.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use platform::Gone;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use rustix::fd::OwnedFd;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

const END_LIMIT: Duration = Duration::from_secs(10);

/// Stubs are no ordinary children: they send no signal at their end.
pub const ANY_CHILD: WaitIdOptions = WaitIdOptions::from_bits_retain(libc::__WALL as u32);

/// A stub's process, alive or dead. It is reaped by the watcher, so its id stays its own until then.
pub struct Life {
    pid: i32,
    pidfd: Arc<OwnedFd>,
    dead: AtomicBool,
    /// What it was killed for.
    reason: OnceLock<Gone>,
    running: Arc<AtomicUsize>,
}

impl Life {
    /// Of a process that was just made. `running` counts the sandbox's guest threads that run at present.
    pub fn new(pid: i32, pidfd: Arc<OwnedFd>, running: Arc<AtomicUsize>) -> Life {
        Life { pid, pidfd, dead: AtomicBool::new(false), reason: OnceLock::new(), running }
    }

    /// The process id on the host.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it is known to be dead.
    pub fn dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// A handle of the process.
    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Takes note of its death.
    pub fn set_dead(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    /// Kills it, as it is not needed any more; the watcher will see it die.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&*self.pidfd, Signal::KILL);
    }

    /// Kills it for what it did; the watcher will see it die.
    pub fn kill_for(&self, reason: Gone) {
        let _ = self.reason.set(reason);
        self.kill();
    }

    /// Why it is dead.
    pub fn why(&self) -> Gone {
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT | ANY_CHILD;
        let signal = || waitid(WaitId::PidFd(self.pidfd.as_fd()), how).ok().flatten()?.terminating_signal();
        *self.reason.get_or_init(|| Gone::Died(signal().unwrap_or(0)))
    }

    /// Whether it is dead, asked of the host.
    pub fn ended(&self) -> bool {
        let mut ended = [PollFd::new(&*self.pidfd, PollFlags::IN)];
        if let Ok(1) = poll(&mut ended, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            self.set_dead();
        }
        self.dead()
    }

    /// Kills it for what it did and waits until none of its threads can touch memory any more.
    pub fn end(&self, reason: Gone) -> Gone {
        self.kill_for(reason);
        self.wait()
    }

    /// Kills it and waits until none of its threads can touch memory any more.
    pub fn wait(&self) -> Gone {
        self.kill();
        let deadline = Instant::now() + END_LIMIT;
        while Instant::now() < deadline {
            let mut ended = [PollFd::new(&*self.pidfd, PollFlags::IN)];
            if let Ok(1) = poll(&mut ended, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })) {
                break;
            }
        }
        // If it has not ended by now it hangs in the host kernel, and won't run guest code again either.
        self.set_dead();
        self.why()
    }

    /// Whether a thread id belongs to it. Its threads do not end before the process does.
    pub fn has_thread(&self, tid: i32) -> bool {
        // SAFETY: signal 0 only checks.
        unsafe { libc::syscall(libc::SYS_tgkill, self.pid, tid, 0) == 0 }
    }

    /// How long to wait for a stub that may be slow because many others run: `base`, and a second for each 64.
    pub fn patience(&self, base: Duration) -> Duration {
        base + Duration::from_secs((self.running.load(Ordering::Relaxed) / 64) as u64)
    }
}
