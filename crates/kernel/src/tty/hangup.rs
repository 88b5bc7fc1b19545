//! Hangup: the end of a terminal's connection, or of its session (`__tty_hangup`, `disassociate_ctty`).

use super::Tty;
use crate::kernel::Kernel;
use abi::signal::{SIGCONT, SIGHUP, SigInfo, code};
use ldisc::Side;
use std::sync::Arc;
use vfs::wait::Events;

fn hup() -> SigInfo {
    SigInfo::new(SIGHUP, code::SI_KERNEL)
}

fn cont() -> SigInfo {
    SigInfo::new(SIGCONT, code::SI_KERNEL)
}

impl Tty {
    /// Hangs the slave up: its descriptions are dead, its session has lost it, the session's leader is told.
    pub(super) fn hang_up(&self, kernel: &Kernel) {
        let (session, foreground) = self.with(|state, effects| {
            state.ldisc.hang_up(effects);
            state.life += 1;
            (state.session.take(), state.foreground.take())
        });
        self.slave_queue.notify_waiters(Events::all());
        self.master_queue.notify_waiters(Events::all());
        kernel.terminals.leave_console(self);
        let Some(sid) = session else { return };
        let leader = {
            let mut tree = kernel.tree.lock();
            if let Some(session) = tree.sessions.get_mut(&sid) {
                session.tty = None;
                session.old_foreground = foreground;
            }
            tree.processes.get(&sid).filter(|p| p.zombie.is_none()).map(|p| p.group.clone())
        };
        if let Some(leader) = leader {
            kernel.signal_process(&leader, hup());
            kernel.signal_process(&leader, cont());
        }
    }

    /// The master's description is gone.
    pub fn master_released(&self) {
        let kernel = self.kernel.upgrade();
        self.with(|state, effects| {
            state.master_open = false;
            state.ldisc.master_closed(effects);
        });
        match kernel {
            Some(kernel) => self.hang_up(&kernel),
            None => self.slave_queue.notify_waiters(Events::all()),
        }
    }

    /// Hangs one side up, as `TIOCVHANGUP` on it does. The other side does not hear of it.
    pub(super) fn hang_up_side(&self, side: Side) {
        match side {
            Side::Slave => self.vhangup(),
            Side::Master => {
                self.with(|state, effects| {
                    state.master_dead = true;
                    state.ldisc.hang_up_master(effects);
                });
                self.master_queue.notify_waiters(Events::all());
            }
        }
    }

    /// Hangs the slave up (vhangup(2)).
    pub fn vhangup(&self) {
        if let Some(kernel) = self.kernel.upgrade() {
            self.hang_up(&kernel);
        }
    }
}

/// A session gives up its terminal; `exiting` if its leader ends.
pub(super) fn disassociate(kernel: &Kernel, sid: i32, exiting: bool) {
    let (tty, old_foreground) = {
        let mut tree = kernel.tree.lock();
        let Some(session) = tree.sessions.get_mut(&sid) else { return };
        (session.tty.take(), session.old_foreground.take())
    };
    match (tty, old_foreground) {
        (Some(tty), _) => {
            // A pseudo-terminal is not hung up: others may go on using it, and its output is still to be read.
            let foreground = release(&tty);
            if let Some(pgid) = foreground {
                kernel.signal_process_group(pgid, hup());
                if !exiting {
                    kernel.signal_process_group(pgid, cont());
                }
            }
        }
        (None, Some(pgid)) if exiting => {
            kernel.signal_process_group(pgid, hup());
            kernel.signal_process_group(pgid, cont());
        }
        _ => {}
    }
}

/// Takes the session from a terminal; returns what was its foreground group.
fn release(tty: &Arc<Tty>) -> Option<i32> {
    let mut state = tty.state.lock();
    state.session = None;
    state.foreground.take()
}

/// A session leader ends.
pub(crate) fn session_leader_exits(kernel: &Kernel, pid: i32) {
    disassociate(kernel, pid, true);
}
