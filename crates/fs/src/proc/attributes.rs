//! The smaller files of a process.

use super::status::is_stopped;
use super::target::View;
use crate::synth::written_word;
use abi::Errno;
use abi::raw::general as c;
use kernel::RunState;
use std::fmt::Write;
use std::sync::atomic::Ordering;
use vfs::{Caller, Capability, PathRef};

type Text = Result<Vec<u8>, Errno>;

fn fixed(text: &str) -> Text {
    Ok(text.as_bytes().to_vec())
}

pub(super) fn comm(view: &View) -> Text {
    let mut name = view.name();
    name.push(b'\n');
    Ok(name)
}

pub(super) fn set_comm(view: &View, caller: &dyn Caller, data: &[u8]) -> Result<(), Errno> {
    if caller.tgid() != view.target.pid {
        return Err(Errno::EINVAL);
    }
    view.task.as_ref().ok_or(Errno::ESRCH)?.set_name(data);
    Ok(())
}

pub(super) fn cwd(view: &View) -> Result<PathRef, Errno> {
    Ok(view.task.as_ref().and_then(|task| task.fs()).ok_or(Errno::ENOENT)?.cwd())
}

pub(super) fn root(view: &View) -> Result<PathRef, Errno> {
    Ok(view.task.as_ref().and_then(|task| task.fs()).ok_or(Errno::ENOENT)?.root())
}

pub(super) fn exe(view: &View) -> Result<PathRef, Errno> {
    let task = view.task.as_ref().ok_or(Errno::ENOENT)?;
    task.mm().and_then(|_| task.exe()).ok_or(Errno::ENOENT)
}

const LIMITS: &[(&str, u32, &str)] = &[
    ("Max cpu time", c::RLIMIT_CPU, "seconds"),
    ("Max file size", c::RLIMIT_FSIZE, "bytes"),
    ("Max data size", c::RLIMIT_DATA, "bytes"),
    ("Max stack size", c::RLIMIT_STACK, "bytes"),
    ("Max core file size", c::RLIMIT_CORE, "bytes"),
    ("Max resident set", c::RLIMIT_RSS, "bytes"),
    ("Max processes", c::RLIMIT_NPROC, "processes"),
    ("Max open files", c::RLIMIT_NOFILE, "files"),
    ("Max locked memory", c::RLIMIT_MEMLOCK, "bytes"),
    ("Max address space", c::RLIMIT_AS, "bytes"),
    ("Max file locks", c::RLIMIT_LOCKS, "locks"),
    ("Max pending signals", c::RLIMIT_SIGPENDING, "signals"),
    ("Max msgqueue size", c::RLIMIT_MSGQUEUE, "bytes"),
    ("Max nice priority", c::RLIMIT_NICE, ""),
    ("Max realtime priority", c::RLIMIT_RTPRIO, ""),
    ("Max realtime timeout", c::RLIMIT_RTTIME, "us"),
];

pub(super) fn limits(view: &View) -> Text {
    let limits = view.group.limits.lock().clone();
    let mut text = format!("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    let value = |v: u64| if v == u64::MAX { "unlimited".to_owned() } else { v.to_string() };
    for (name, which, unit) in LIMITS {
        let limit = limits.get(*which)?;
        let _ = write!(text, "{name:<25} {:<20} {:<20} ", value(limit.soft), value(limit.hard));
        // Those without a unit end with the space before it.
        let _ = if unit.is_empty() { writeln!(text) } else { writeln!(text, "{unit:<10}") };
    }
    Ok(text.into_bytes())
}

pub(super) fn children(view: &View) -> Text {
    // Children belong to the process; its leader is named as the one that made them.
    let all = if view.target.tid == view.target.pid { &view.children[..] } else { &[] };
    Ok(all.iter().fold(String::new(), |text, pid| text + &format!("{pid} ")).into_bytes())
}

pub(super) fn mounts(view: &View) -> Text {
    let (root, _, _, mounts) = view.task.as_ref().and_then(|t| t.fs()).ok_or(Errno::EINVAL)?.snapshot();
    Ok(vfs::mountinfo::mounts(&mounts, &root))
}

pub(super) fn mountinfo(view: &View) -> Text {
    let (root, _, _, mounts) = view.task.as_ref().and_then(|t| t.fs()).ok_or(Errno::EINVAL)?.snapshot();
    Ok(vfs::mountinfo::mountinfo(&mounts, &root))
}

pub(super) fn mountstats(view: &View) -> Text {
    let text = mounts(view)?;
    let mut out = Vec::new();
    for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let mut fields = line.split(|b| *b == b' ');
        let mut next = || fields.next().unwrap_or_default();
        let (device, point, kind) = (next(), next(), next());
        out.extend_from_slice(&[b"device ", device, b" mounted on ", point, b" with fstype ", kind, b"\n"].concat());
    }
    Ok(out)
}

pub(super) fn wchan(_: &View) -> Text {
    fixed("0")
}

pub(super) fn personality(_: &View) -> Text {
    fixed("00000000\n")
}

/// Registers of other threads are theirs alone: a thread is shown to run, or to wait in no call that has a number.
pub(super) fn syscall(view: &View) -> Text {
    let running = view.task.as_ref().is_some_and(|task| task.state() == RunState::Running) && !is_stopped(view);
    fixed(if running { "running\n" } else { "-1 0x0 0x0\n" })
}

pub(super) fn schedstat(view: &View) -> Text {
    let (user, system) = view.task.as_ref().map_or((0, 0), |task| task.cpu_now());
    Ok(format!("{} 0 0\n", user.saturating_add(system)).into_bytes())
}

pub(super) fn cpuset(_: &View) -> Text {
    fixed("/\n")
}

pub(super) fn cgroup(_: &View) -> Text {
    fixed("0::/\n")
}

/// As Linux's: how much of all memory it has, in thousandths, and the adjustment, scaled to 2000 and 2/3.
pub(super) fn oom_score(view: &View) -> Text {
    let Some(mm) = view.task.as_ref().and_then(|task| task.mm()) else { return fixed("0\n") };
    let adjust = i64::from(view.group.oom_score_adj.load(Ordering::Relaxed));
    let resident = mm.sizes().resident;
    let total = view.kernel.frames.usage().limit.max(1);
    let share = (resident.anon + resident.file).saturating_mul(1000) / total;
    let points = (1000 + adjust + i64::try_from(share).unwrap_or(1000)).max(0) * 2 / 3;
    let points = if adjust == -1000 { 0 } else { points };
    Ok(format!("{points}\n").into_bytes())
}

pub(super) fn oom_score_adj(view: &View) -> Text {
    Ok(format!("{}\n", view.group.oom_score_adj.load(Ordering::Relaxed)).into_bytes())
}

pub(super) fn set_oom_score_adj(view: &View, caller: &dyn Caller, data: &[u8]) -> Result<(), Errno> {
    let value: i32 = written_word(data)?.parse().map_err(|_| Errno::EINVAL)?;
    if !(-1000..=1000).contains(&value) {
        return Err(Errno::EINVAL);
    }
    let old = view.group.oom_score_adj.load(Ordering::Relaxed);
    if value < old && !caller.creds().capable(Capability::SysResource) {
        return Err(Errno::EACCES);
    }
    view.group.oom_score_adj.store(value, Ordering::Relaxed);
    Ok(())
}

pub(super) fn unset_id(_: &View) -> Text {
    fixed("4294967295")
}

pub(super) fn coredump_filter(_: &View) -> Text {
    fixed("00000033\n")
}

/// What reaches the host's disks is not known.
pub(super) fn io(view: &View) -> Text {
    let used = view.used();
    let text = format!(
        "rchar: {}\nwchar: {}\nsyscr: {}\nsyscw: {}\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n",
        used.bytes_read, used.bytes_written, used.reads, used.writes
    );
    Ok(text.into_bytes())
}

pub(super) fn id_map(_: &View) -> Text {
    fixed("         0          0 4294967295\n")
}

pub(super) fn setgroups(_: &View) -> Text {
    fixed("allow\n")
}

pub(super) fn timerslack(_: &View) -> Text {
    fixed("50000\n")
}
