//! Who may look into a task (`__ptrace_may_access` in Linux's `kernel/ptrace.c`, with the mode of `PTRACE_MODE_ATTACH_REALCREDS`).

use crate::task::Task;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vfs::Capability;

/// Whether `own` may attach to `task`: of the same process; or the same user with no fewer capabilities, unless the process
/// has made itself unreadable; or privileged.
#[must_use]
pub fn may_access(own: &Task, task: &Task) -> bool {
    if Arc::ptr_eq(&task.group, &own.group) {
        return true;
    }
    let (mine, theirs) = (own.creds(), task.creds());
    let same = [theirs.euid, theirs.suid, theirs.ruid].iter().all(|id| *id == mine.ruid)
        && [theirs.egid, theirs.sgid, theirs.rgid].iter().all(|id| *id == mine.rgid);
    let dumpable = task.group.dumpable.load(Ordering::Relaxed);
    let covers = theirs.permitted.0 & !mine.permitted.0 == 0;
    (same && dumpable && covers) || mine.capable(Capability::SysPtrace)
}
