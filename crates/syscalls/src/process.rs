//! Processes and threads (clone(2), execve(2), exit(2), wait4(2), ids, groups, sessions, limits, prctl(2)).

use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::time::rusage;
use crate::user;
use abi::Errno;
use abi::raw::general as c;
use abi::signal::SIGCHLD;
use kernel::clone::CloneArgs;
use kernel::limits::Limit;
use kernel::wait_child::{ChildEvent, WaitOptions, Waited, Which};
use kernel::{CurrentTask, ExitStatus, SysResult};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vfs::Capability;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(39, "getpid", getpid, &[]),
    Entry::new(56, "clone", clone, &[Arg::Hex, Arg::Ptr, Arg::Ptr, Arg::Ptr, Arg::Ptr]),
    Entry::new(57, "fork", fork, &[]),
    Entry::new(58, "vfork", vfork, &[]),
    Entry::new(60, "exit", exit, &[Arg::Int]),
    Entry::new(61, "wait4", wait4, &[Arg::Pid, Arg::Ptr, Arg::Flags(WAIT), Arg::Ptr]),
    Entry::new(97, "getrlimit", getrlimit, &[Arg::Int, Arg::Ptr]),
    Entry::new(109, "setpgid", setpgid, &[Arg::Pid, Arg::Pid]),
    Entry::new(110, "getppid", getppid, &[]),
    Entry::new(111, "getpgrp", getpgrp, &[]),
    Entry::new(112, "setsid", setsid, &[]),
    Entry::new(121, "getpgid", getpgid, &[Arg::Pid]),
    Entry::new(124, "getsid", getsid, &[Arg::Pid]),
    Entry::new(160, "setrlimit", setrlimit, &[Arg::Int, Arg::Ptr]),
    Entry::new(186, "gettid", gettid, &[]),
    Entry::new(218, "set_tid_address", set_tid_address, &[Arg::Ptr]),
    Entry::new(231, "exit_group", exit_group, &[Arg::Int]),
    Entry::new(247, "waitid", waitid, &[Arg::Int, Arg::Pid, Arg::Ptr, Arg::Flags(WAIT), Arg::Ptr]),
    Entry::new(302, "prlimit64", prlimit64, &[Arg::Pid, Arg::Int, Arg::Ptr, Arg::Ptr]),
    Entry::new(435, "clone3", clone3, &[Arg::Ptr, Arg::Size]),
];

const WAIT: &[(u64, &str)] = &[
    (1, "WNOHANG"),
    (2, "WUNTRACED"),
    (4, "WEXITED"),
    (8, "WCONTINUED"),
    (0x0100_0000, "WNOWAIT"),
    (0x2000_0000, "__WNOTHREAD"),
    (0x4000_0000, "__WALL"),
    (0x8000_0000, "__WCLONE"),
];

fn id(value: i32) -> SysResult {
    Ok(u64::from(value.unsigned_abs()))
}

fn getpid(t: &mut CurrentTask, _a: Args) -> SysResult {
    id(t.group.tgid)
}

fn gettid(t: &mut CurrentTask, _a: Args) -> SysResult {
    id(t.tid())
}

fn getppid(t: &mut CurrentTask, _a: Args) -> SysResult {
    // The first process's parent is outside; to it that is the reaper.
    id(t.kernel.tree.lock().process_of(t).map_or(0, |p| p.parent.max(kernel::tree::INIT)))
}

fn getpgrp(t: &mut CurrentTask, _a: Args) -> SysResult {
    id(t.kernel.tree.lock().process_of(t).map_or(0, |p| p.pgid))
}

fn pid_or_self(t: &CurrentTask, pid: i32) -> i32 {
    if pid == 0 { t.group.tgid } else { pid }
}

fn getpgid(t: &mut CurrentTask, a: Args) -> SysResult {
    let pid = pid_or_self(t, a.i32(0));
    id(t.kernel.tree.lock().processes.get(&pid).map(|p| p.pgid).ok_or(Errno::ESRCH)?)
}

fn getsid(t: &mut CurrentTask, a: Args) -> SysResult {
    let pid = pid_or_self(t, a.i32(0));
    id(t.kernel.tree.lock().processes.get(&pid).map(|p| p.sid).ok_or(Errno::ESRCH)?)
}

fn setpgid(t: &mut CurrentTask, a: Args) -> SysResult {
    let pid = pid_or_self(t, a.i32(0));
    let pgid = if a.i32(1) == 0 { pid } else { a.i32(1) };
    if pgid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut tree = t.kernel.tree.lock();
    let own = tree.process_of(t).map_or(0, |p| p.sid);
    let process = tree.processes.get(&pid).ok_or(Errno::ESRCH)?;
    if pid != t.group.tgid {
        if process.parent != t.group.tgid {
            return Err(Errno::ESRCH.into());
        }
        if process.sid != own {
            return Err(Errno::EPERM.into());
        }
        if process.group.did_exec.load(Ordering::Relaxed) {
            return Err(Errno::EACCES.into());
        }
    }
    if process.sid == pid {
        return Err(Errno::EPERM.into());
    }
    let exists = tree.sessions.get(&own).is_some_and(|s| s.groups.contains(&pgid));
    if pgid != pid && !exists {
        return Err(Errno::EPERM.into());
    }
    tree.set_group(pid, pgid);
    Ok(0)
}

fn setsid(t: &mut CurrentTask, _a: Args) -> SysResult {
    let pid = t.group.tgid;
    let mut tree = t.kernel.tree.lock();
    if tree.groups.contains_key(&pid) {
        return Err(Errno::EPERM.into());
    }
    tree.set_session(pid);
    id(pid)
}

fn fork(t: &mut CurrentTask, _a: Args) -> SysResult {
    start(t, &CloneArgs { exit_signal: SIGCHLD, ..CloneArgs::default() })
}

fn vfork(t: &mut CurrentTask, _a: Args) -> SysResult {
    let flags = u64::from(c::CLONE_VFORK | c::CLONE_VM);
    start(t, &CloneArgs { flags, exit_signal: SIGCHLD, ..CloneArgs::default() })
}

fn clone(t: &mut CurrentTask, a: Args) -> SysResult {
    let flags = u64::from(a.u32(0));
    let args = CloneArgs {
        flags: flags & !0xff,
        // clone(2) has the pidfd where the parent's tid would go.
        pidfd: a.u64(2),
        parent_tid: a.u64(2),
        child_tid: a.u64(3),
        tls: a.u64(4),
        exit_signal: (flags & 0xff) as i32,
        stack: a.u64(1),
    };
    if flags & u64::from(c::CLONE_PIDFD) != 0 && flags & u64::from(c::CLONE_PARENT_SETTID) != 0 {
        return Err(Errno::EINVAL.into());
    }
    start(t, &args)
}

fn clone3(t: &mut CurrentTask, a: Args) -> SysResult {
    const VERSION_0: usize = 64;
    // clone(2)'s flags, CLONE_CLEAR_SIGHAND and CLONE_INTO_CGROUP.
    const KNOWN: u64 = 0x3_ffff_ffff;
    let size = a.usize(1);
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    if size < VERSION_0 {
        return Err(Errno::EINVAL.into());
    }
    let mut raw = [0u64; 512];
    t.mm().copy_in(a.u64(0), raw.as_mut_bytes().get_mut(..size).unwrap_or_default())?;
    let [
        flags,
        pidfd,
        child_tid,
        parent_tid,
        exit_signal,
        stack,
        stack_size,
        tls,
        set_tid,
        set_tid_size,
        _cgroup,
        rest @ ..,
    ] = raw;
    if rest.iter().any(|w| *w != 0) {
        return Err(Errno::E2BIG.into());
    }
    if set_tid != 0 || set_tid_size != 0 {
        return Err(Errno::EPERM.into());
    }
    if exit_signal > 64 || flags & 0xff != 0 || flags & (u64::from(c::CLONE_DETACHED) | !KNOWN) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if (stack == 0) != (stack_size == 0) {
        return Err(Errno::EINVAL.into());
    }
    let group_bits = u64::from(c::CLONE_THREAD | c::CLONE_PARENT);
    if flags & group_bits != 0 && exit_signal != 0 {
        return Err(Errno::EINVAL.into());
    }
    let stack = stack.checked_add(stack_size).ok_or(Errno::EINVAL)?;
    start(t, &CloneArgs { flags, pidfd, child_tid, parent_tid, exit_signal: exit_signal as i32, stack, tls })
}

fn start(t: &mut CurrentTask, args: &CloneArgs) -> SysResult {
    id(t.clone_task(args, &mut |t, group| crate::pidfd::make(t, group, vfs::OpenFlags::empty()))?)
}

fn exit(t: &mut CurrentTask, a: Args) -> SysResult {
    t.exit_thread(a.u64(0) as u8);
    Ok(0)
}

fn exit_group(t: &mut CurrentTask, a: Args) -> SysResult {
    t.end_group(ExitStatus::Exited(a.u64(0) as u8));
    Ok(0)
}

fn set_tid_address(t: &mut CurrentTask, a: Args) -> SysResult {
    t.local().set_clear_tid(a.u64(0));
    id(t.tid())
}

fn options(flags: u32) -> WaitOptions {
    WaitOptions {
        exited: true,
        stopped: flags & 2 != 0,
        continued: flags & 8 != 0,
        no_hang: flags & 1 != 0,
        leave: false,
        clone_only: flags & 0x8000_0000 != 0,
        all_kinds: flags & 0x4000_0000 != 0,
        own_thread: flags & 0x2000_0000 != 0,
    }
}

fn wait4(t: &mut CurrentTask, a: Args) -> SysResult {
    let (pid, flags) = (a.i32(0), a.u32(2));
    if flags & !(1 | 2 | 8 | 0xe000_0000) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let which = match pid {
        i32::MIN => return Err(Errno::ESRCH.into()),
        -1 => Which::Any,
        0 => Which::Group(t.kernel.tree.lock().process_of(t).map_or(0, |p| p.pgid)),
        pid if pid < 0 => Which::Group(-pid),
        pid => Which::Process(pid),
    };
    let Some(waited) = t.wait_for_child(which, options(flags))? else { return Ok(0) };
    let status = match waited.event {
        ChildEvent::Ended(status) => status.wait_status(),
        ChildEvent::Stopped(code) | ChildEvent::Trapped(code, _) => code << 8 | 0x7f,
        ChildEvent::Continued => 0xffff,
    };
    user::put_if(t, a.u64(1), &status)?;
    user::put_if(t, a.u64(3), &rusage(waited.cpu, waited.used))?;
    id(waited.pid)
}

fn waitid(t: &mut CurrentTask, a: Args) -> SysResult {
    const P_ALL: i32 = 0;
    const P_PID: i32 = 1;
    const P_PGID: i32 = 2;
    const P_PIDFD: i32 = 3;
    const WNOWAIT: u32 = 0x0100_0000;
    let (kind, wanted, flags) = (a.i32(0), a.i32(1), a.u32(3));
    if flags & !(1 | 2 | 4 | 8 | WNOWAIT | 0xe000_0000) != 0 || flags & (2 | 4 | 8) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut never_waits = false;
    let which = match kind {
        P_ALL => Which::Any,
        P_PID if wanted > 0 => Which::Process(wanted),
        P_PGID if wanted == 0 => Which::Group(t.kernel.tree.lock().process_of(t).map_or(0, |p| p.pgid)),
        P_PGID if wanted > 0 => Which::Group(wanted),
        P_PIDFD if wanted >= 0 => {
            let (group, nonblock) = crate::pidfd::group_of(t, wanted)?;
            never_waits = nonblock;
            Which::Process(group.tgid)
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let mut options = options(flags);
    let asked_not_to = options.no_hang;
    options.no_hang |= never_waits;
    options.exited = flags & 4 != 0;
    options.leave = flags & WNOWAIT != 0;
    let found = t.wait_for_child(which, options)?;
    if found.is_none() && never_waits && !asked_not_to {
        return Err(Errno::EAGAIN.into());
    }
    if a.u64(2) != 0 {
        let info = found.map(|w| child_info(&w));
        user::put(t, a.u64(2), &info.unwrap_or(abi::signal::SigInfo::new_zeroed()))?;
    }
    if let Some(waited) = found {
        user::put_if(t, a.u64(4), &rusage(waited.cpu, waited.used))?;
    }
    Ok(0)
}

fn child_info(waited: &Waited) -> abi::signal::SigInfo {
    use abi::signal::{SIGCONT, SigInfo, code};
    let (how, status) = match waited.event {
        ChildEvent::Ended(ExitStatus::Exited(status)) => (code::CLD_EXITED, i32::from(status)),
        ChildEvent::Ended(ExitStatus::Killed { signal, core: false }) => (code::CLD_KILLED, signal),
        ChildEvent::Ended(ExitStatus::Killed { signal, core: true }) => (code::CLD_DUMPED, signal),
        ChildEvent::Stopped(signal) => (code::CLD_STOPPED, signal),
        ChildEvent::Trapped(status, _) => (code::CLD_TRAPPED, status),
        ChildEvent::Continued => (code::CLD_CONTINUED, SIGCONT),
    };
    SigInfo::child(how, waited.pid, waited.uid, status, 0, 0)
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Rlimit {
    soft: u64,
    hard: u64,
}

fn change_limit(t: &CurrentTask, group: &Arc<kernel::ThreadGroup>, which: u32, new: Rlimit) -> Result<(), Errno> {
    let privileged = t.creds().capable(Capability::SysResource);
    let limit = Limit { soft: new.soft, hard: new.hard };
    let limits = {
        let mut limits = group.limits.lock();
        limits.set(which, limit, privileged)?;
        limits.clone()
    };
    if group.tgid == t.group.tgid {
        t.mm().set_limits(kernel::memory_limits(&limits, t.creds()));
    }
    if which == abi::raw::general::RLIMIT_CPU {
        group.cpu_limit_changed(&t.kernel);
    }
    Ok(())
}

fn getrlimit(t: &mut CurrentTask, a: Args) -> SysResult {
    let limit = t.group.limits.lock().get(a.u32(0))?;
    user::put(t, a.u64(1), &Rlimit { soft: limit.soft, hard: limit.hard })?;
    Ok(0)
}

fn setrlimit(t: &mut CurrentTask, a: Args) -> SysResult {
    let new: Rlimit = user::get(t, a.u64(1))?;
    change_limit(t, &t.group.clone(), a.u32(0), new)?;
    Ok(0)
}

fn prlimit64(t: &mut CurrentTask, a: Args) -> SysResult {
    let (pid, which) = (a.i32(0), a.u32(1));
    let new: Option<Rlimit> = if a.u64(2) == 0 { None } else { Some(user::get(t, a.u64(2))?) };
    let group = if pid == 0 {
        t.group.clone()
    } else {
        t.kernel.tree.task(pid).map(|x| x.group.clone()).ok_or(Errno::ESRCH)?
    };
    if group.tgid != t.group.tgid && !t.creds().capable(Capability::SysResource) {
        let leader = t.kernel.tree.task(group.tgid).ok_or(Errno::ESRCH)?;
        let (own, theirs) = (t.creds(), leader.creds());
        let same = [theirs.ruid, theirs.euid, theirs.suid].iter().all(|u| *u == own.ruid)
            && [theirs.rgid, theirs.egid, theirs.sgid].iter().all(|g| *g == own.rgid);
        if !same {
            return Err(Errno::EPERM.into());
        }
    }
    let old = group.limits.lock().get(which)?;
    if let Some(new) = new {
        change_limit(t, &group, which, new)?;
    }
    user::put_if(t, a.u64(3), &Rlimit { soft: old.soft, hard: old.hard })?;
    Ok(0)
}
