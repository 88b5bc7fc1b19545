//! A session of our own, so that the pty under test can be its controlling terminal and send it signals.

use std::process::Command;
use std::{env, io, process};

/// Set in the process that has the session.
const MARKER: &str = "VIZOR_ORACLE_SESSION";

/// Runs `body` in a child process that leads a session, keeps to one processor and has terminal signals blocked; the caller must not have
/// started threads. Returns in the parent with the child's exit status, and never in the child.
pub fn in_session(body: impl FnOnce() -> i32) -> io::Result<i32> {
    if env::var_os(MARKER).is_none() {
        // A process made by fork leads no process group, so that it can lead a session.
        let status = Command::new(env::current_exe()?).args(env::args_os().skip(1)).env(MARKER, "1").status()?;
        return Ok(status.code().unwrap_or(1));
    }
    rustix::process::setsid()?;
    crate::sys::block_signals()?;
    stay_on_one_processor()?;
    process::exit(body());
}

/// The kernel's workers begin in the order in which one processor asks for them, so ask from one.
fn stay_on_one_processor() -> io::Result<()> {
    let mut only = rustix::thread::CpuSet::new();
    only.set(rustix::thread::sched_getcpu());
    Ok(rustix::thread::sched_setaffinity(None, &only)?)
}
