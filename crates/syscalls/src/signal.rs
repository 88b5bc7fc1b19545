//! Signals (rt_sigaction(2), kill(2), sigsuspend(2) and their family).

use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use abi::Errno;
use abi::signal::{AltStack, SIGCONT, SIGSEGV, SigAction, SigInfo, SigSet, code};
use kernel::signal::{ForceHow, Target};
use kernel::tree::Process;
use kernel::{CurrentTask, Restart, SysErr, SysResult, ThreadGroup, WaitEnd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vfs::Capability;

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(13, "rt_sigaction", rt_sigaction, &[Arg::Signal, Arg::Ptr, Arg::Ptr, Arg::Size]),
    Entry::new(14, "rt_sigprocmask", rt_sigprocmask, &[Arg::OneOf(HOW), Arg::InSigSet, Arg::Ptr, Arg::Size]),
    Entry::new(15, "rt_sigreturn", rt_sigreturn, &[]),
    Entry::new(34, "pause", pause, &[]),
    Entry::new(62, "kill", kill, &[Arg::Pid, Arg::Signal]),
    Entry::new(127, "rt_sigpending", rt_sigpending, &[Arg::Ptr, Arg::Size]),
    Entry::new(128, "rt_sigtimedwait", rt_sigtimedwait, &[Arg::InSigSet, Arg::Ptr, Arg::InTimespec, Arg::Size]),
    Entry::new(129, "rt_sigqueueinfo", rt_sigqueueinfo, &[Arg::Pid, Arg::Signal, Arg::Ptr]),
    Entry::new(130, "rt_sigsuspend", rt_sigsuspend, &[Arg::InSigSet, Arg::Size]),
    Entry::new(131, "sigaltstack", sigaltstack, &[Arg::Ptr, Arg::Ptr]),
    Entry::new(200, "tkill", tkill, &[Arg::Pid, Arg::Signal]),
    Entry::new(234, "tgkill", tgkill, &[Arg::Pid, Arg::Pid, Arg::Signal]),
    Entry::new(297, "rt_tgsigqueueinfo", rt_tgsigqueueinfo, &[Arg::Pid, Arg::Pid, Arg::Signal, Arg::Ptr]),
];

const HOW: &[(u64, &str)] = &[(0, "SIG_BLOCK"), (1, "SIG_UNBLOCK"), (2, "SIG_SETMASK")];

/// `sizeof(sigset_t)` in the kernel.
const SIGSET_SIZE: u64 = 8;

/// Flags of a `struct sigaction` that Linux keeps (`UAPI_SA_FLAGS`).
const SA_KNOWN: u64 = 0xdc00_0807;

/// `MINSIGSTKSZ` of x86-64.
const MINSIGSTKSZ: u64 = 2048;

fn valid(signal: i32) -> bool {
    (1..=abi::signal::NSIG).contains(&signal)
}

fn rt_sigaction(t: &mut CurrentTask, a: Args) -> SysResult {
    let signal = a.i32(0);
    if a.u64(3) != SIGSET_SIZE || !valid(signal) {
        return Err(Errno::EINVAL.into());
    }
    let actions = t.group.actions();
    let old = actions.get(signal);
    if a.u64(1) != 0 {
        let mut new: SigAction = user::get(t, a.u64(1))?;
        if SigSet::UNBLOCKABLE.has(signal) {
            return Err(Errno::EINVAL.into());
        }
        new.flags &= SA_KNOWN;
        new.mask = new.mask.without(SigSet::UNBLOCKABLE);
        actions.set(signal, new);
        if actions.ignores(signal) {
            discard_pending(t, signal);
        }
    }
    user::put_if(t, a.u64(2), &old)?;
    Ok(0)
}

/// POSIX: setting a signal to be ignored discards what is pending of it.
fn discard_pending(t: &CurrentTask, signal: i32) {
    let set = SigSet::of(signal);
    let mut signals = t.group.signals.lock();
    signals.shared.discard(set);
    for thread in signals.threads.values_mut() {
        thread.pending.discard(set);
    }
    let tids: Vec<i32> = signals.threads.keys().copied().collect();
    for tid in tids {
        signals.recalculate(tid);
    }
}

fn rt_sigprocmask(t: &mut CurrentTask, a: Args) -> SysResult {
    if a.u64(3) != SIGSET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let old = t.signal_mask();
    if a.u64(1) != 0 {
        let set: SigSet = user::get(t, a.u64(1))?;
        let new = match a.u32(0) {
            0 => old.union(set),
            1 => old.without(set),
            2 => set,
            _ => return Err(Errno::EINVAL.into()),
        };
        t.set_signal_mask(new);
    }
    user::put_if(t, a.u64(2), &old)?;
    Ok(0)
}

fn rt_sigreturn(t: &mut CurrentTask, _a: Args) -> SysResult {
    match t.sigreturn() {
        Ok(rax) => Ok(rax),
        Err(_) => {
            t.kernel.force_signal(t, SigInfo::new(SIGSEGV, code::SI_KERNEL), ForceHow::Fault);
            Ok(0)
        }
    }
}

fn pause(t: &mut CurrentTask, _a: Args) -> SysResult {
    sleep_for_signal(t)
}

fn sleep_for_signal(t: &CurrentTask) -> SysResult {
    match t.wait_until(None, || None::<()>) {
        Ok(()) | Err(WaitEnd::Timeout) => Ok(0),
        Err(WaitEnd::Interrupted) => Err(SysErr::Restart(Restart::NoHand)),
    }
}

fn rt_sigsuspend(t: &mut CurrentTask, a: Args) -> SysResult {
    if a.u64(1) != SIGSET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let mask: SigSet = user::get(t, a.u64(0))?;
    t.saved_mask = Some(t.signal_mask());
    t.set_signal_mask(mask);
    sleep_for_signal(t)
}

fn rt_sigpending(t: &mut CurrentTask, a: Args) -> SysResult {
    if a.u64(1) > SIGSET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let tid = t.tid();
    let set = {
        let signals = t.group.signals.lock();
        let thread = signals.threads.get(&tid);
        let pending = thread.map_or(SigSet::EMPTY, |x| x.pending.set()).union(signals.shared.set());
        pending.intersect(thread.map_or(SigSet::EMPTY, |x| x.mask()))
    };
    let bytes = set.0.to_le_bytes();
    t.mm().copy_out(a.u64(0), bytes.get(..a.usize(1)).unwrap_or(&bytes))?;
    Ok(0)
}

fn rt_sigtimedwait(t: &mut CurrentTask, a: Args) -> SysResult {
    if a.u64(3) != SIGSET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let set = user::get::<SigSet>(t, a.u64(0))?.without(SigSet::UNBLOCKABLE);
    let deadline = match a.u64(2) {
        0 => None,
        addr => {
            let [sec, nsec]: [i64; 2] = user::get(t, addr)?;
            let (Ok(sec), Ok(nsec @ 0..=999_999_999)) = (u64::try_from(sec), u32::try_from(nsec)) else {
                return Err(Errno::EINVAL.into());
            };
            Some(Instant::now().checked_add(Duration::new(sec, nsec)))
        }
    };
    let info = take_signal(t, set, deadline)?;
    user::put_if(t, a.u64(1), &info)?;
    Ok(info.signo as u64)
}

/// Takes a pending signal of `set`, waiting for one until the deadline (`Some(None)` lies beyond all time).
fn take_signal(t: &CurrentTask, set: SigSet, deadline: Option<Option<Instant>>) -> Result<SigInfo, SysErr> {
    let tid = t.tid();
    let take = || t.group.take_signal(&t.kernel, tid, set);
    let wait_for = |set: SigSet| {
        let mut signals = t.group.signals.lock();
        if let Some(thread) = signals.threads.get_mut(&tid) {
            thread.waiting_for = set;
        }
        signals.recalculate(tid);
    };
    if let Some(info) = take() {
        wait_for(SigSet::EMPTY);
        return Ok(info);
    }
    wait_for(set);
    let result = t.wait_until(deadline.flatten(), take);
    wait_for(SigSet::EMPTY);
    match result {
        Ok(info) => Ok(info),
        Err(WaitEnd::Timeout) => Err(Errno::EAGAIN.into()),
        Err(WaitEnd::Interrupted) => take().ok_or(Errno::EINTR.into()),
    }
}

/// Whether the caller may signal the process (`kill_ok_by_cred`, and the exception for `SIGCONT`).
fn may_signal(t: &CurrentTask, target: &ThreadGroup, signal: i32) -> bool {
    let own = t.creds();
    if target.tgid == t.group.tgid || own.capable(Capability::Kill) {
        return true;
    }
    let tree = t.kernel.tree.lock();
    let Some(process) = tree.processes.get(&target.tgid) else { return true };
    let theirs = process.threads.iter().next().and_then(|tid| tree.tasks.get(tid)).map(|x| x.creds());
    let same_session = tree.process_of(t).is_some_and(|p| p.sid == process.sid);
    let (ruid, suid) = theirs.map_or((process.uid, process.uid), |c| (c.ruid, c.suid));
    own.euid == suid || own.euid == ruid || own.ruid == suid || own.ruid == ruid || (signal == SIGCONT && same_session)
}

pub(crate) fn send(t: &CurrentTask, group: &Arc<ThreadGroup>, target: Target, info: SigInfo) -> Result<(), Errno> {
    let signal = info.signo;
    if !(0..=abi::signal::NSIG).contains(&signal) {
        return Err(Errno::EINVAL);
    }
    if !may_signal(t, group, signal) {
        return Err(Errno::EPERM);
    }
    if signal == 0 { Ok(()) } else { t.kernel.send_signal(group, target, info) }
}

pub(crate) fn from_self(t: &CurrentTask, signal: i32, how: i32) -> SigInfo {
    SigInfo::from_process(signal, how, t.group.tgid, t.creds().ruid)
}

fn kill(t: &mut CurrentTask, a: Args) -> SysResult {
    let (pid, signal) = (a.i32(0), a.i32(1));
    let info = from_self(t, signal, code::SI_USER);
    if pid > 0 {
        let group = find_process(t, pid)?;
        return Ok(send(t, &group, Target::Process, info).map(|()| 0)?);
    }
    let own_group = t.kernel.tree.lock().process_of(t).map_or(0, |p| p.pgid);
    let wanted = |p: &Process| match pid {
        -1 => p.group.tgid != t.group.tgid && p.group.tgid > 1,
        0 => p.pgid == own_group,
        _ => Some(p.pgid) == pid.checked_neg(),
    };
    let targets: Vec<_> = {
        let tree = t.kernel.tree.lock();
        tree.processes.values().filter(|p| wanted(p)).map(|p| p.group.clone()).collect()
    };
    // To all at once it is no error if some, or even all, may not be signalled.
    let all = pid == -1;
    let mut result = if all && !targets.is_empty() { Ok(0) } else { Err(Errno::ESRCH) };
    for group in targets {
        match send(t, &group, Target::Process, info) {
            Ok(()) => result = Ok(0),
            Err(errno) if all && errno != Errno::EPERM => result = Err(errno),
            Err(errno) if !all && result.is_err() => result = Err(errno),
            Err(_) => {}
        }
    }
    Ok(result?)
}

fn find_process(t: &CurrentTask, pid: i32) -> Result<Arc<ThreadGroup>, Errno> {
    let tree = t.kernel.tree.lock();
    let found = tree.processes.get(&pid).map(|p| p.group.clone());
    found.or_else(|| tree.tasks.get(&pid).map(|x| x.group.clone())).ok_or(Errno::ESRCH)
}

fn find_thread(t: &CurrentTask, tgid: Option<i32>, tid: i32) -> Result<Arc<ThreadGroup>, Errno> {
    let tree = t.kernel.tree.lock();
    let group = match tree.tasks.get(&tid) {
        Some(task) => task.group.clone(),
        // A leader that has ended, its process living on or a zombie.
        None => tree.processes.get(&tid).map(|p| p.group.clone()).ok_or(Errno::ESRCH)?,
    };
    if tgid.is_some_and(|tgid| tgid != group.tgid) { Err(Errno::ESRCH) } else { Ok(group) }
}

fn send_to_thread(t: &CurrentTask, tgid: Option<i32>, tid: i32, info: SigInfo) -> SysResult {
    if tid <= 0 || tgid.is_some_and(|x| x <= 0) {
        return Err(Errno::EINVAL.into());
    }
    let group = find_thread(t, tgid, tid)?;
    match send(t, &group, Target::Thread(tid), info) {
        Err(Errno::ESRCH) if t.kernel.tree.lock().processes.contains_key(&tid) => Ok(0),
        other => Ok(other.map(|()| 0)?),
    }
}

fn tkill(t: &mut CurrentTask, a: Args) -> SysResult {
    send_to_thread(t, None, a.i32(0), from_self(t, a.i32(1), code::SI_TKILL))
}

fn tgkill(t: &mut CurrentTask, a: Args) -> SysResult {
    send_to_thread(t, Some(a.i32(0)), a.i32(1), from_self(t, a.i32(2), code::SI_TKILL))
}

/// A guest's own information: it may not pretend to be the kernel or kill(2), but to itself.
pub(crate) fn own_info(t: &CurrentTask, addr: u64, signal: i32, target: i32) -> Result<SigInfo, Errno> {
    let mut info: SigInfo = user::get(t, addr)?;
    info.signo = signal;
    if (info.code >= 0 || info.code == code::SI_TKILL) && target != t.group.tgid {
        return Err(Errno::EPERM);
    }
    Ok(info)
}

fn rt_sigqueueinfo(t: &mut CurrentTask, a: Args) -> SysResult {
    let info = own_info(t, a.u64(2), a.i32(1), a.i32(0))?;
    let group = find_process(t, a.i32(0))?;
    Ok(send(t, &group, Target::Process, info).map(|()| 0)?)
}

fn rt_tgsigqueueinfo(t: &mut CurrentTask, a: Args) -> SysResult {
    let info = own_info(t, a.u64(3), a.i32(2), a.i32(0))?;
    send_to_thread(t, Some(a.i32(0)), a.i32(1), info)
}

fn sigaltstack(t: &mut CurrentTask, a: Args) -> SysResult {
    const SS_ONSTACK: u32 = 1;
    const SS_DISABLE: u32 = 2;
    const SS_AUTODISARM: u32 = 1 << 31;
    let old = AltStack { flags: t.alt_stack_flags(), pad: 0, ..t.alt_stack };
    if a.u64(0) != 0 {
        let new: AltStack = user::get(t, a.u64(0))?;
        if t.on_alt_stack() {
            return Err(Errno::EPERM.into());
        }
        match new.flags & !SS_AUTODISARM {
            SS_DISABLE => t.alt_stack = AltStack { flags: new.flags, ..AltStack::default() },
            0 | SS_ONSTACK if new.size < MINSIGSTKSZ => return Err(Errno::ENOMEM.into()),
            0 | SS_ONSTACK => t.alt_stack = AltStack { flags: new.flags & SS_AUTODISARM, pad: 0, ..new },
            _ => return Err(Errno::EINVAL.into()),
        }
    }
    user::put_if(t, a.u64(1), &old)?;
    Ok(0)
}
