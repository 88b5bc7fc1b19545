//! Becoming another program: what execve(2) does to the calling process once the new one is loaded.

use super::Loaded;
use crate::error::SysErr;
use crate::fd_table::drop_table;
use crate::group::ExitStatus;
use crate::task::CurrentTask;
use crate::work::bits;
use abi::Errno;
use abi::signal::AltStack;
use mm::MemoryManager;
use platform::{Context, LocalState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vfs::wait::Events;
use vfs::{Capabilities, Credentials, MountFlags, OpenFile};

const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;
const S_IXGRP: u32 = 0o010;

/// The credentials after executing `file` (capabilities(7), "Transformation of capabilities during execve()"; file
/// capabilities count as absent). None are gained by who is `watched`: traced by somebody unprivileged.
///
/// # Errors
/// Errors of the host.
pub fn exec_credentials(old: &Credentials, file: &OpenFile, watched: bool) -> Result<Credentials, Errno> {
    const SECURE_NOROOT: u32 = 1;
    let mut new = old.clone();
    let attr = file.attr()?;
    let nosuid = file.path().mount.flags().contains(MountFlags::NOSUID);
    let allowed = !nosuid && !old.no_new_privs && !watched;
    if allowed && attr.perm & S_ISUID != 0 {
        new.euid = attr.uid;
    }
    if allowed && attr.perm & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP {
        new.egid = attr.gid;
    }
    (new.suid, new.fsuid, new.sgid, new.fsgid) = (new.euid, new.euid, new.egid, new.egid);
    let changed = new.euid != old.euid || new.egid != old.egid;
    if changed {
        new.ambient = Capabilities::NONE;
    }
    let root = old.securebits & SECURE_NOROOT == 0 && (new.euid == 0 || new.ruid == 0);
    if root {
        new.permitted = Capabilities((old.inheritable.0 | old.bounding.0) & Capabilities::ALL.0);
        new.effective = if new.euid == 0 { new.permitted } else { Capabilities::NONE };
    } else {
        new.permitted = new.ambient;
        new.effective = new.ambient;
    }
    // SECBIT_KEEP_CAPS does not survive.
    new.securebits &= !0x10;
    Ok(new)
}

impl CurrentTask {
    /// Becomes the loaded program, whose files the caller may read if that is `readable`. After the other threads are gone there
    /// is no way back.
    ///
    /// # Errors
    /// Only before that point: no context, or the process is ending.
    pub fn exec(&mut self, loaded: Loaded, readable: bool) -> Result<(), SysErr> {
        let old_tid = self.tid();
        let space = match self.may_keep_space(&loaded, readable) {
            true => self.kernel.platform.spare_address_space(),
            false => Some(self.kernel.platform.new_address_space()?),
        };
        let context = space.map(|space| loaded.place(space)).transpose()?;
        let gains = self.check_gain(&loaded.creds)?;
        self.become_only_thread()?;
        self.release_futexes();
        self.kernel.timers.exec(&self.group);
        let exe = self.task.inner.lock().exe.replace(loaded.exe.clone());
        drop(exe);
        match context {
            Some(context) => self.move_to(context, &loaded),
            None => self.take_over_space(&loaded),
        }
        self.task.futexes_released.store(false, Ordering::SeqCst);
        self.vfork = None;
        // The call is known by its number still.
        self.regs = platform::Registers { orig_rax: self.regs.orig_rax, ..loaded.regs };
        (self.stepping, self.watch) = (false, None);
        self.trace_new_memory();
        self.task.set_name(&loaded.name);
        self.set_creds(loaded.creds);
        self.close_on_exec();
        self.group.unshare_actions();
        self.group.actions().reset_caught();
        self.alt_stack = AltStack::default();
        (self.restart, self.restart_block) = (None, None);
        self.group.did_exec.store(true, Ordering::Relaxed);
        self.group.dumpable.store(!gains && readable, Ordering::Relaxed);
        self.trace_exec(old_tid);
        Ok(())
    }

    /// Whether the program can run where the present one does. A guest thread that has been tampered with would follow it there:
    /// so it must be one that the caller could control anyway.
    fn may_keep_space(&self, loaded: &Loaded, readable: bool) -> bool {
        // Each task has two references.
        readable && *self.creds == loaded.creds && Arc::strong_count(&self.mm) <= 2
    }

    /// Leaves the present address space for another.
    fn move_to(&mut self, context: Box<dyn Context>, loaded: &Loaded) {
        self.work.set_interrupter(Some(context.interrupter()));
        self.move_local(context.local());
        // A vfork(2) parent goes on once its memory is its own again; the context must be gone by then.
        drop(std::mem::replace(&mut self.context, context));
        drop(self.swap_memory(loaded));
    }

    /// Empties the present address space for the loaded program. If somebody still looks at it, that takes another after all.
    fn take_over_space(&mut self, loaded: &Loaded) {
        let old = self.swap_memory(loaded);
        if let Some(space) = old.move_out() {
            loaded.move_in(space);
            self.context.renew();
            self.move_local(self.context.local());
            return;
        }
        match self.kernel.platform.new_address_space().and_then(|space| loaded.place(space)) {
            Ok(context) => self.move_to(context, loaded),
            // Too late to fail.
            Err(_) => self.end_group(ExitStatus::Killed { signal: abi::signal::SIGKILL, core: false }),
        }
    }

    /// Makes the loaded program's memory the task's, and returns the other, which only the caller still has for it.
    fn swap_memory(&mut self, loaded: &Loaded) -> Arc<MemoryManager> {
        let shared = self.task.inner.lock().mm.replace(loaded.mm.clone());
        drop(shared);
        std::mem::replace(&mut self.mm, loaded.mm.clone())
    }

    /// Nobody may trace a program that has gained privileges but the privileged, from here on.
    ///
    /// # Errors
    /// Begins the call anew if somebody else has attached since the credentials were found.
    fn check_gain(&self, new: &Credentials) -> Result<bool, SysErr> {
        let gains = new.euid != self.creds.euid || new.egid != self.creds.egid;
        if gains {
            self.group.dumpable.store(false, Ordering::SeqCst);
            if self.traced_by_unprivileged() {
                return Err(SysErr::Restart(crate::Restart::NoIntr));
            }
        }
        Ok(gains)
    }

    /// Takes the signal mask along to another context.
    fn move_local(&self, local: Arc<dyn LocalState>) {
        let mut signals = self.group.signals.lock();
        if let Some(thread) = signals.threads.get_mut(&self.tid()) {
            let mask = thread.mask();
            self.task.dozes.set_local(local.clone());
            thread.local = local;
            thread.set_mask(mask);
        }
        signals.recalculate(self.tid());
    }

    fn close_on_exec(&mut self) {
        if Arc::strong_count(&self.fds) > 2 {
            // Shared with another task (the other reference is this task's own shared part).
            let own = self.fds.fork();
            let old = std::mem::replace(&mut self.fds, own.clone());
            let shared = self.task.inner.lock().fds.replace(own);
            drop(shared);
            drop_table(old, &*self.task);
        }
        for file in self.fds.remove_cloexec() {
            self.fds.finish_close(file, &*self.task);
        }
    }

    /// Ends all other threads and takes the leader's id (`de_thread` in `fs/exec.c`).
    fn become_only_thread(&mut self) -> Result<(), SysErr> {
        let own = self.tid();
        let group = self.group.clone();
        {
            let signals = group.signals.lock();
            if signals.exiting.is_some() || self.work.get() & bits::EXIT != 0 {
                return Err(SysErr::Restart(crate::Restart::NoIntr));
            }
            for (tid, thread) in &signals.threads {
                if *tid != own {
                    thread.work.request(bits::EXIT);
                }
            }
        }
        let registration = group.thread_events.register(Events::READABLE, self.work.parker().clone());
        let alone = || {
            let tree = self.kernel.tree.lock();
            let threads = &tree.processes.get(&group.tgid)?.threads;
            (threads.len() <= 1).then_some(())
        };
        let done = self.wait_killable(alone);
        drop(registration);
        if done.is_none() {
            return Err(SysErr::Restart(crate::Restart::NoIntr));
        }
        if own != group.tgid {
            self.take_leaders_id(own);
        }
        Ok(())
    }

    fn take_leaders_id(&self, old: i32) {
        let leader = self.group.tgid;
        let mut tree = self.kernel.tree.lock();
        tree.tasks.remove(&old);
        tree.tasks.insert(leader, self.task.clone());
        // Who traced the old leader does not learn of its end.
        tree.tracees.remove(&leader);
        if let Some(link) = tree.tracees.remove(&old) {
            tree.tracees.insert(leader, link);
        }
        if let Some(process) = tree.processes.get_mut(&leader) {
            process.threads.clear();
            process.threads.insert(leader);
        }
        let mut signals = self.group.signals.lock();
        if let Some(state) = signals.threads.remove(&old) {
            signals.threads.insert(leader, state);
        }
        self.task.set_tid(leader);
    }
}
