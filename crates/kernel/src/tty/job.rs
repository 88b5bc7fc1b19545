//! Job control: who may use a terminal, and whose it is (`drivers/tty/tty_jobctrl.c`).

use super::Tty;
use crate::task::CurrentTask;
use crate::tree::Tree;
use abi::Errno;
use abi::signal::{SIG_IGN, SIGTTIN, SIGTTOU, SigInfo, Signal, code};
use std::sync::Arc;
use vfs::{Capability, IoError, OpenFlags};

impl Tree {
    /// The controlling terminal of a process.
    #[must_use]
    pub fn tty_of(&self, pid: i32) -> Option<Arc<Tty>> {
        let process = self.processes.get(&pid)?;
        if process.no_tty { None } else { self.sessions.get(&process.sid)?.tty.clone() }
    }
}

/// A process as job control sees it.
struct Place {
    pgid: i32,
    sid: i32,
    leader: bool,
    tty: Option<Arc<Tty>>,
}

fn place(task: &CurrentTask) -> Place {
    let tree = task.kernel.tree.lock();
    let pid = task.group.tgid;
    let (pgid, sid) = tree.processes.get(&pid).map_or((0, 0), |p| (p.pgid, p.sid));
    Place { pgid, sid, leader: sid == pid, tty: tree.tty_of(pid) }
}

impl Tty {
    fn is(&self, other: Option<&Arc<Tty>>) -> bool {
        other.is_some_and(|other| std::ptr::eq(Arc::as_ptr(other), self))
    }

    /// `__tty_check_change`: a process in the background that reads (`SIGTTIN`), or writes or changes settings
    /// (`SIGTTOU`), is signalled, and its call starts again; or fails if the signal can do nothing.
    pub(super) fn check_change(&self, task: &CurrentTask, signal: Signal) -> Result<(), IoError> {
        let place = place(task);
        if !self.is(place.tty.as_ref()) {
            return Ok(());
        }
        let foreground = self.control().1;
        if foreground.is_none_or(|group| group == place.pgid) {
            return Ok(());
        }
        let ignored = task.group.actions().get(signal).handler == SIG_IGN;
        if ignored || task.signal_mask().has(signal) {
            return if signal == SIGTTIN { Err(Errno::EIO.into()) } else { Ok(()) };
        }
        if task.kernel.tree.lock().is_orphaned(place.pgid, None) {
            return Err(Errno::EIO.into());
        }
        task.kernel.signal_process_group(place.pgid, SigInfo::new(signal, code::SI_KERNEL));
        Err(IoError::Interrupted)
    }

    /// Before a read of the slave.
    pub(super) fn check_read(&self, task: &CurrentTask) -> Result<(), IoError> {
        self.check_change(task, SIGTTIN)
    }

    /// Before a write to the slave, if `TOSTOP` is set.
    pub(super) fn check_write(&self, task: &CurrentTask) -> Result<(), IoError> {
        let stops = self.state.lock().ldisc.termios().c_lflag & abi::raw::general::TOSTOP != 0;
        if stops { self.check_change(task, SIGTTOU) } else { Ok(()) }
    }

    /// open(2) of a terminal by a session leader without one (`tty_open_proc_set_tty`).
    pub fn opened(self: &Arc<Tty>, task: &CurrentTask, flags: OpenFlags) {
        if flags.contains(OpenFlags::NOCTTY) || !flags.readable() {
            return;
        }
        let place = place(task);
        if place.leader && place.tty.is_none() && self.control().0.is_none() {
            self.acquire(task, &place);
        }
    }

    fn acquire(self: &Arc<Tty>, task: &CurrentTask, place: &Place) {
        let mut tree = task.kernel.tree.lock();
        if let Some(session) = tree.sessions.get_mut(&place.sid) {
            session.tty = Some(self.clone());
        }
        // Only the leader has it, and who is forked from now on (`__proc_set_tty`).
        for (pid, process) in tree.processes.iter_mut().filter(|(_, process)| process.sid == place.sid) {
            process.no_tty = *pid != place.sid;
        }
        drop(tree);
        self.set_session(place.sid, place.pgid);
    }

    /// `TIOCSCTTY`.
    pub(super) fn make_controlling(
        self: &Arc<Tty>,
        task: &CurrentTask,
        steal: bool,
        readable: bool,
    ) -> Result<(), Errno> {
        let place = place(task);
        let (session, _) = self.control();
        if place.leader && session == Some(place.sid) && self.is(place.tty.as_ref()) {
            return Ok(());
        }
        if !place.leader || place.tty.is_some() {
            return Err(Errno::EPERM);
        }
        let admin = task.creds().capable(Capability::SysAdmin);
        if let Some(session) = session {
            if !(steal && admin) {
                return Err(Errno::EPERM);
            }
            if let Some(old) = task.kernel.tree.lock().sessions.get_mut(&session) {
                old.tty = None;
            }
        }
        if !readable && !admin {
            return Err(Errno::EPERM);
        }
        self.acquire(task, &place);
        Ok(())
    }

    /// `TIOCNOTTY`.
    pub(super) fn give_up(&self, task: &CurrentTask) -> Result<(), Errno> {
        let place = place(task);
        if !self.is(place.tty.as_ref()) {
            return Err(Errno::ENOTTY);
        }
        if place.leader {
            super::hangup::disassociate(&task.kernel, place.sid, false);
        } else if let Some(process) = task.kernel.tree.lock().processes.get_mut(&task.group.tgid) {
            process.no_tty = true;
        }
        Ok(())
    }

    /// Whether this is the caller's controlling terminal.
    pub(super) fn controls(&self, task: &CurrentTask) -> bool {
        self.is(place(task).tty.as_ref())
    }

    /// `TIOCSPGRP`.
    pub(super) fn set_foreground(&self, task: &CurrentTask, pgid: i32) -> Result<(), IoError> {
        match self.check_change(task, SIGTTOU) {
            Err(IoError::Errno(Errno::EIO)) => return Err(Errno::ENOTTY.into()),
            other => other?,
        }
        let place = place(task);
        if !self.is(place.tty.as_ref()) || self.control().0 != Some(place.sid) {
            return Err(Errno::ENOTTY.into());
        }
        if pgid < 0 {
            return Err(Errno::EINVAL.into());
        }
        let session_of_group = {
            let tree = task.kernel.tree.lock();
            let member = tree.groups.get(&pgid).and_then(|m| m.first().copied());
            member.and_then(|pid| tree.processes.get(&pid)).map(|p| p.sid)
        };
        match session_of_group {
            None => Err(Errno::ESRCH.into()),
            Some(sid) if sid != place.sid => Err(Errno::EPERM.into()),
            Some(_) => {
                self.state.lock().foreground = Some(pgid);
                Ok(())
            }
        }
    }
}
