//! Scheduling parameters (sched(7), getpriority(2)): kept and reported, as the host schedules all tasks alike.

use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use abi::Errno;
use abi::raw::general as c;
use abi::time::Timespec;
use kernel::sched::{CPUS_MAX, CpuSet, SCHED_EXT, Sched, cpu_count, is_real_time, priority_range};
use kernel::{CurrentTask, SysResult, Task};
use std::sync::Arc;
use vfs::Capability;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(140, "getpriority", getpriority, &[Arg::Int, Arg::Pid]),
    Entry::new(141, "setpriority", setpriority, &[Arg::Int, Arg::Pid, Arg::Int]),
    Entry::new(142, "sched_setparam", sched_setparam, &[Arg::Pid, Arg::Ptr]),
    Entry::new(143, "sched_getparam", sched_getparam, &[Arg::Pid, Arg::Ptr]),
    Entry::new(144, "sched_setscheduler", sched_setscheduler, &[Arg::Pid, Arg::Int, Arg::Ptr]),
    Entry::new(145, "sched_getscheduler", sched_getscheduler, &[Arg::Pid]),
    Entry::new(146, "sched_get_priority_max", |_, a| range(a, |r| r.1), &[Arg::Int]),
    Entry::new(147, "sched_get_priority_min", |_, a| range(a, |r| r.0), &[Arg::Int]),
    Entry::new(148, "sched_rr_get_interval", sched_rr_get_interval, &[Arg::Pid, Arg::Ptr]),
    Entry::new(203, "sched_setaffinity", sched_setaffinity, &[Arg::Pid, Arg::Size, Arg::Ptr]),
    Entry::new(204, "sched_getaffinity", sched_getaffinity, &[Arg::Pid, Arg::Size, Arg::Ptr]),
    Entry::new(251, "ioprio_set", ioprio_set, &[Arg::Int, Arg::Pid, Arg::Hex]),
    Entry::new(252, "ioprio_get", ioprio_get, &[Arg::Int, Arg::Pid]),
    Entry::new(314, "sched_setattr", sched_setattr, &[Arg::Pid, Arg::Ptr, Arg::Hex]),
    Entry::new(315, "sched_getattr", sched_getattr, &[Arg::Pid, Arg::Ptr, Arg::Size, Arg::Hex]),
];

const RESET_ON_FORK: u32 = 0x4000_0000;
const KEEP_POLICY: u32 = u32::MAX;

fn task_of(t: &CurrentTask, pid: i32) -> Result<Arc<Task>, Errno> {
    match pid {
        0 => Ok(t.task.clone()),
        ..0 => Err(Errno::EINVAL),
        _ => t.kernel.tree.task(pid).ok_or(Errno::ESRCH),
    }
}

/// Whether the caller may change a task's parameters (`check_same_owner`).
fn may_change(t: &CurrentTask, task: &Task) -> bool {
    let (own, other) = (t.creds(), task.creds());
    own.euid == other.euid || own.euid == other.ruid || own.capable(Capability::SysNice)
}

fn range(a: Args, which: fn((i32, i32)) -> i32) -> SysResult {
    let policy = u32::try_from(a.i32(0)).map_err(|_| Errno::EINVAL)?;
    Ok(which(priority_range(policy)?).cast_unsigned().into())
}

/// The tasks that `PRIO_*` and an id name.
fn named(t: &CurrentTask, which: i32, who: u32) -> Result<Vec<Arc<Task>>, Errno> {
    let id = who.cast_signed();
    let tree = t.kernel.tree.lock();
    let found: Vec<Arc<Task>> = match which {
        0 if id == 0 => vec![t.task.clone()],
        0 => tree.tasks.get(&id).cloned().into_iter().collect(),
        1 => {
            let pgid = if id == 0 { tree.process_of(t).map_or(0, |p| p.pgid) } else { id };
            let members = tree.processes.values().filter(|p| p.pgid == pgid);
            members.flat_map(|p| &p.threads).filter_map(|tid| tree.tasks.get(tid)).cloned().collect()
        }
        2 => {
            let all: Vec<Arc<Task>> = tree.tasks.values().cloned().collect();
            drop(tree);
            let uid = if who == 0 { t.creds().ruid } else { who };
            all.into_iter().filter(|task| task.creds().ruid == uid).collect()
        }
        _ => return Err(Errno::EINVAL),
    };
    if found.is_empty() { Err(Errno::ESRCH) } else { Ok(found) }
}

fn getpriority(t: &mut CurrentTask, a: Args) -> SysResult {
    let tasks = named(t, a.i32(0), a.u32(1))?;
    let lowest = tasks.iter().map(|task| task.sched.lock().nice).min().unwrap_or(0);
    // 40 to 1, so that no priority looks like an error.
    Ok((20 - lowest).cast_unsigned().into())
}

fn setpriority(t: &mut CurrentTask, a: Args) -> SysResult {
    let nice = a.i32(2).clamp(-20, 19);
    let tasks = named(t, a.i32(0), a.u32(1))?;
    let (limit, privileged) = (t.group.limit(c::RLIMIT_NICE), t.creds().capable(Capability::SysNice));
    let mut result = Ok(0);
    for task in tasks {
        if !may_change(t, &task) {
            result = Err(Errno::EPERM.into());
            continue;
        }
        let mut sched = task.sched.lock();
        if nice < sched.nice && !privileged && (20 - i64::from(nice)).cast_unsigned() > limit {
            result = Err(Errno::EACCES.into());
            continue;
        }
        sched.nice = nice;
    }
    result
}

/// Sets policy and priority, as sched_setscheduler(2) and sched_setparam(2) do.
fn set_policy(t: &CurrentTask, pid: i32, policy: Option<u32>, priority: i32) -> SysResult {
    let task = task_of(t, pid)?;
    let reset = policy.is_some_and(|p| p & RESET_ON_FORK != 0);
    let old = *task.sched.lock();
    let policy = policy.map_or(old.policy, |p| p & !RESET_ON_FORK);
    let (low, high) = priority_range(policy)?;
    if !(low..=high).contains(&priority) || policy == c::SCHED_DEADLINE {
        return Err(Errno::EINVAL.into());
    }
    if !may_change(t, &task) {
        return Err(Errno::EPERM.into());
    }
    let limit = t.group.limit(c::RLIMIT_RTPRIO);
    let wanted = u64::try_from(priority).unwrap_or(0);
    if is_real_time(policy) && !t.creds().capable(Capability::SysNice) && (limit == 0 || wanted > limit) {
        return Err(Errno::EPERM.into());
    }
    *task.sched.lock() = Sched { policy, priority, reset_on_fork: reset || old.reset_on_fork, ..old };
    Ok(0)
}

fn read_param(t: &CurrentTask, addr: u64, pid: i32) -> Result<i32, Errno> {
    if addr == 0 || pid < 0 {
        return Err(Errno::EINVAL);
    }
    user::get(t, addr)
}

fn sched_setscheduler(t: &mut CurrentTask, a: Args) -> SysResult {
    let policy = u32::try_from(a.i32(1)).map_err(|_| Errno::EINVAL)?;
    let priority = read_param(t, a.u64(2), a.i32(0))?;
    set_policy(t, a.i32(0), Some(policy), priority)
}

fn sched_setparam(t: &mut CurrentTask, a: Args) -> SysResult {
    let priority = read_param(t, a.u64(1), a.i32(0))?;
    set_policy(t, a.i32(0), None, priority)
}

fn sched_getparam(t: &mut CurrentTask, a: Args) -> SysResult {
    if a.u64(1) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority = task_of(t, a.i32(0))?.sched.lock().priority;
    user::put(t, a.u64(1), &priority)?;
    Ok(0)
}

fn sched_getscheduler(t: &mut CurrentTask, a: Args) -> SysResult {
    let task = task_of(t, a.i32(0))?;
    let sched = *task.sched.lock();
    Ok(u64::from(sched.policy | if sched.reset_on_fork { RESET_ON_FORK } else { 0 }))
}

fn sched_rr_get_interval(t: &mut CurrentTask, a: Args) -> SysResult {
    let policy = task_of(t, a.i32(0))?.sched.lock().policy;
    let slice = match policy {
        c::SCHED_FIFO => 0,
        c::SCHED_RR => 100_000_000,
        _ => 4_000_000,
    };
    user::put(t, a.u64(1), &Timespec::from_nanos(slice))?;
    Ok(0)
}

fn sched_setaffinity(t: &mut CurrentTask, a: Args) -> SysResult {
    let mut mask = CpuSet([0; CPUS_MAX / 64]);
    let bytes = mask.0.as_mut_bytes();
    let len = a.u32(1) as usize;
    let part = bytes.len().min(len);
    t.mm().copy_in(a.u64(2), bytes.get_mut(..part).unwrap_or_default())?;
    let task = task_of(t, a.i32(0))?;
    if !may_change(t, &task) {
        return Err(Errno::EPERM.into());
    }
    let mask = mask.intersect(&CpuSet::first(cpu_count()));
    if mask.is_empty() {
        return Err(Errno::EINVAL.into());
    }
    task.sched.lock().affinity = mask;
    Ok(0)
}

fn sched_getaffinity(t: &mut CurrentTask, a: Args) -> SysResult {
    let len = a.u32(1) as usize;
    if len.saturating_mul(8) < cpu_count() || !len.is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    let mask = task_of(t, a.i32(0))?.sched.lock().affinity;
    let full = cpu_count().div_ceil(64) * 8;
    let part = full.min(len);
    t.mm().copy_out(a.u64(2), mask.0.as_bytes().get(..part).unwrap_or_default())?;
    Ok(part as u64)
}

fn ioprio_tasks(t: &CurrentTask, which: i32, who: u32) -> Result<Vec<Arc<Task>>, Errno> {
    match which {
        1..=3 => named(t, which - 1, who),
        _ => Err(Errno::EINVAL),
    }
}

fn ioprio_set(t: &mut CurrentTask, a: Args) -> SysResult {
    let value = a.u32(2);
    let (class, data) = (value >> 13, value & 0x1fff);
    match class {
        1 if !t.creds().capable(Capability::SysNice) => return Err(Errno::EPERM.into()),
        1 | 2 if data & 7 == data => {}
        0 if data == 0 => {}
        3 => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    for task in ioprio_tasks(t, a.i32(0), a.u32(1))? {
        if !may_change(t, &task) {
            return Err(Errno::EPERM.into());
        }
        task.sched.lock().io_priority = value as u16;
    }
    Ok(0)
}

fn ioprio_get(t: &mut CurrentTask, a: Args) -> SysResult {
    let tasks = ioprio_tasks(t, a.i32(0), a.u32(1))?;
    Ok(tasks.iter().map(|task| task.sched.lock().io_priority).min().unwrap_or(0).into())
}

/// `struct sched_attr`, its first version.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

const ATTR_SIZE: u32 = size_of::<SchedAttr>() as u32;

/// `SCHED_FLAG_KEEP_POLICY`, `SCHED_FLAG_KEEP_PARAMS`.
const FLAG_KEEP_POLICY: u64 = 8;
const FLAG_KEEP_PARAMS: u64 = 16;

fn sched_setattr(t: &mut CurrentTask, a: Args) -> SysResult {
    if a.u64(1) == 0 || a.i32(0) < 0 || a.u32(2) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let attr: SchedAttr = user::get(t, a.u64(1))?;
    if attr.size != 0 && !(ATTR_SIZE..=4096).contains(&attr.size) {
        user::put(t, a.u64(1), &ATTR_SIZE)?;
        return Err(Errno::E2BIG.into());
    }
    if attr.policy.cast_signed() < 0 && attr.policy != KEEP_POLICY {
        return Err(Errno::EINVAL.into());
    }
    let pid = a.i32(0);
    let old = *task_of(t, pid)?.sched.lock();
    let policy = if attr.flags & FLAG_KEEP_POLICY != 0 { old.policy } else { attr.policy };
    if attr.flags & FLAG_KEEP_PARAMS != 0 {
        return set_policy(t, pid, Some(policy), old.priority);
    }
    let reset = if attr.flags & 1 != 0 { RESET_ON_FORK } else { 0 };
    let priority = i32::try_from(attr.priority).map_err(|_| Errno::EINVAL)?;
    set_policy(t, pid, Some(policy | reset), priority)?;
    let task = task_of(t, pid)?;
    if matches!(policy, c::SCHED_NORMAL | c::SCHED_BATCH | SCHED_EXT) {
        let nice = attr.nice.clamp(-20, 19);
        let mut sched = task.sched.lock();
        if nice < sched.nice && !t.creds().capable(Capability::SysNice) {
            return Err(Errno::EPERM.into());
        }
        sched.nice = nice;
    }
    Ok(0)
}

fn sched_getattr(t: &mut CurrentTask, a: Args) -> SysResult {
    let size = a.u32(2);
    if a.u64(1) == 0 || a.i32(0) < 0 || !(ATTR_SIZE..=4096).contains(&size) || a.u32(3) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let sched = *task_of(t, a.i32(0))?.sched.lock();
    let attr = SchedAttr {
        size: ATTR_SIZE,
        policy: sched.policy,
        flags: u64::from(sched.reset_on_fork),
        nice: if is_real_time(sched.policy) { 0 } else { sched.nice },
        priority: sched.priority.cast_unsigned(),
        ..SchedAttr::new_zeroed()
    };
    user::put(t, a.u64(1), &attr)?;
    Ok(0)
}
