//! `stat`, `statm` and `status`: what ps(1) and top(1) read.

use super::target::View;
use abi::signal::SigSet;
use abi::{Errno, PAGE_SIZE};
use kernel::ExitStatus;
use kernel::RunState;
use kernel::sched::{CpuSet, Sched, cpu_count, is_real_time};
use kernel::signal::GroupStop;
use mm::{ProgramRanges, Sizes};
use std::fmt::Write;

/// Ticks of `USER_HZ` in nanoseconds.
pub(super) const TICK_NS: u64 = 10_000_000;

/// A state's letter and name.
fn state(view: &View) -> (char, &'static str) {
    let Some(task) = &view.task else { return ('Z', "zombie") };
    match task.state() {
        RunState::Running => ('R', "running"),
        RunState::Sleeping => ('S', "sleeping"),
        RunState::Blocked => ('D', "disk sleep"),
        RunState::Stopped => ('T', "stopped"),
        RunState::Traced => ('t', "tracing stop"),
    }
}

/// A name without what would break a line.
fn escaped(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in name {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            byte => out.push(*byte),
        }
    }
    out
}

/// Signals as a task sees them.
struct Signals {
    own: SigSet,
    shared: SigSet,
    blocked: SigSet,
    ignored: SigSet,
    caught: SigSet,
}

fn signals(view: &View) -> Signals {
    let (ignored, caught) = view.group.actions().summary();
    let signals = view.group.signals.lock();
    let thread = signals.threads.get(&view.target.tid);
    Signals {
        own: thread.map_or(SigSet::EMPTY, |t| t.pending.set()),
        blocked: thread.map_or(SigSet::EMPTY, |t| t.mask()),
        shared: signals.shared.set(),
        ignored,
        caught,
    }
}

/// The sizes of its memory, and where the program's parts lie.
fn memory(view: &View) -> Option<(Sizes, ProgramRanges, std::ops::Range<u64>)> {
    let mm = view.task.as_ref()?.mm()?;
    Some((mm.sizes(), mm.program(), mm.brk_range()))
}

fn sched(view: &View) -> Sched {
    view.task.as_ref().map_or_else(Sched::default, |task| *task.sched.lock())
}

/// User and system time, of itself and of children that were waited for, in ticks.
fn times(view: &View) -> [u64; 4] {
    use std::sync::atomic::Ordering::Relaxed;
    let (user, system) = match &view.task {
        Some(task) if view.target.thread => task.cpu_now(),
        _ => view.kernel.process_cpu(&view.group),
    };
    let children = &view.group.child_cpu;
    [user, system, children.user.load(Relaxed), children.system.load(Relaxed)].map(|ns| ns / TICK_NS)
}

/// Session's terminal and its foreground group, as `stat` gives them.
fn terminal(view: &View) -> (u64, i32) {
    match &view.tty {
        Some(tty) => (tty.device(), tty.control().1.unwrap_or(0)),
        None => (0, -1),
    }
}

pub(super) fn stat(view: &View) -> Result<Vec<u8>, Errno> {
    /// `PF_RANDOMIZE`.
    const FLAGS: u64 = 0x40_0000;
    let memory = memory(view);
    let (sizes, program, brk) = memory.clone().unwrap_or_default();
    let inspect = kernel::current().is_none_or(|caller| view.target.check_access(&*caller).is_ok()) && memory.is_some();
    let address = |at: u64| if inspect { at } else { 0 };
    let (tty, foreground) = terminal(view);
    let [user, system, child_user, child_system] = times(view);
    let (faults, child_faults) = (view.used().faults, view.group.child_used.lock().faults);
    let sched = sched(view);
    let priority = if is_real_time(sched.policy) { -1 - sched.priority } else { 20 + sched.nice };
    let start = view.task.as_ref().filter(|_| view.target.thread).map_or(view.group.start_ns, |task| task.start_ns);
    let signals = signals(view);
    // Only the classic signals: readers of more use `status`.
    let classic = |set: SigSet| set.0 & 0x7fff_ffff;
    let threads = view.threads.len().max(1);
    let limit = view.group.limit(abi::raw::general::RLIMIT_RSS);
    let exit_code = view.zombie.filter(|_| view.task.is_none()).map_or(0, ExitStatus::wait_status);
    let mut out = format!("{} (", view.target.tid).into_bytes();
    out.extend_from_slice(&escaped(&view.name()));
    let (pages, rss) = (sizes.totals.total, (sizes.resident.anon + sizes.resident.file) / PAGE_SIZE);
    let mut text = String::new();
    let _ = write!(
        text,
        ") {} {} {} {} {tty} {foreground} {FLAGS} {faults} {child_faults} 0 0 {user} {system} {child_user} {child_system} {priority} {} \
         {threads} 0 {} {pages} {rss} {limit}",
        state(view).0,
        view.parent,
        view.pgid,
        view.sid,
        sched.nice,
        start / TICK_NS,
    );
    let _ = write!(
        text,
        " {} {} {} 0 0 {} {} {} {} 0 0 0 {} 0 {} {} 0 0 0",
        address(program.code.start),
        address(program.code.end),
        address(program.stack),
        classic(signals.own.union(signals.shared)),
        classic(signals.blocked),
        classic(signals.ignored),
        classic(signals.caught),
        if view.target.thread && view.target.tid != view.target.pid { -1 } else { view.exit_signal },
        if is_real_time(sched.policy) { sched.priority } else { 0 },
        sched.policy,
    );
    let _ = writeln!(
        text,
        " {} {} {} {} {} {} {} {exit_code}",
        address(program.data.start),
        address(program.data.end),
        address(brk.start),
        address(program.args.start),
        address(program.args.end),
        address(program.env.start),
        address(program.env.end),
    );
    out.extend_from_slice(text.as_bytes());
    Ok(out)
}

pub(super) fn statm(view: &View) -> Result<Vec<u8>, Errno> {
    let Some((sizes, program, _)) = memory(view) else { return Ok(b"0 0 0 0 0 0 0\n".to_vec()) };
    let code = program.code.end.saturating_sub(program.code.start);
    let resident = sizes.resident;
    let pages = |bytes: u64| bytes.div_ceil(PAGE_SIZE);
    let text = format!(
        "{} {} {} {} 0 {} 0\n",
        pages(sizes.totals.total),
        pages(resident.anon + resident.file),
        pages(resident.file),
        pages(code),
        pages(sizes.totals.data + sizes.totals.stack),
    );
    Ok(text.into_bytes())
}

/// A mask of processors as Linux prints it: words of 32 bits, the highest first.
pub(super) fn cpu_mask(set: &CpuSet) -> String {
    let count = cpu_count();
    let word = |index: usize| set.0.get(index / 2).map_or(0, |word| (word >> (32 * (index % 2))) & 0xffff_ffff);
    let words = count.div_ceil(32).max(1);
    let digits = |index: usize| if index + 1 == words { (count - 32 * index).div_ceil(4).max(1) } else { 8 };
    let parts: Vec<String> = (0..words).rev().map(|i| format!("{:0width$x}", word(i), width = digits(i))).collect();
    parts.join(",")
}

/// A set of processors as a list of ranges.
pub(super) fn cpu_list(set: &CpuSet) -> String {
    let has = |cpu: usize| set.0.get(cpu / 64).is_some_and(|word| word >> (cpu % 64) & 1 != 0);
    let mut parts = Vec::new();
    let mut cpu = 0;
    while cpu < kernel::sched::CPUS_MAX {
        if has(cpu) {
            let start = cpu;
            while has(cpu + 1) {
                cpu += 1;
            }
            parts.push(if start == cpu { start.to_string() } else { format!("{start}-{cpu}") });
        }
        cpu += 1;
    }
    parts.join(",")
}

pub(super) fn status(view: &View) -> Result<Vec<u8>, Errno> {
    let mut out = b"Name:\t".to_vec();
    out.extend_from_slice(&escaped(&view.name()));
    out.push(b'\n');
    let mut text = String::new();
    identity(view, &mut text);
    if let Some((sizes, program, _)) = memory(view) {
        sizes_of_memory(&sizes, &program, &mut text);
    }
    signals_and_capabilities(view, &mut text);
    out.extend_from_slice(text.as_bytes());
    Ok(out)
}

fn identity(view: &View, text: &mut String) {
    if let Some(fs) = view.task.as_ref().and_then(|task| task.fs()) {
        let _ = writeln!(text, "Umask:\t{:04o}", fs.umask());
    }
    let (letter, name) = state(view);
    let (pid, tid) = (view.target.pid, view.target.tid);
    let creds = view.creds();
    let _ = writeln!(text, "State:\t{letter} ({name})\nTgid:\t{pid}\nNgid:\t0\nPid:\t{tid}\nPPid:\t{}", view.parent);
    let _ = writeln!(text, "TracerPid:\t{}", view.tracer);
    let _ = writeln!(text, "Uid:\t{}\t{}\t{}\t{}", creds.ruid, creds.euid, creds.suid, creds.fsuid);
    let _ = writeln!(text, "Gid:\t{}\t{}\t{}\t{}", creds.rgid, creds.egid, creds.sgid, creds.fsgid);
    let slots = view.task.as_ref().and_then(|task| task.with_fds(|table| table.size())).unwrap_or(0);
    let groups: Vec<String> = creds.groups.iter().map(u32::to_string).collect();
    let _ = writeln!(text, "FDSize:\t{slots}\nGroups:\t{} ", groups.join(" "));
    let _ = writeln!(text, "NStgid:\t{pid}\nNSpid:\t{tid}\nNSpgid:\t{}\nNSsid:\t{}\nKthread:\t0", view.pgid, view.sid);
}

fn sizes_of_memory(sizes: &Sizes, program: &ProgramRanges, text: &mut String) {
    let mut line = |name: &str, bytes: u64| {
        let _ = writeln!(text, "{name}:\t{:>8} kB", bytes >> 10);
    };
    let (totals, resident) = (sizes.totals, sizes.resident);
    let code = program.code.end.saturating_sub(program.code.start).next_multiple_of(PAGE_SIZE).min(totals.text);
    line("VmPeak", sizes.peak_total.max(totals.total));
    line("VmSize", totals.total);
    line("VmLck", totals.locked);
    line("VmPin", 0);
    line("VmHWM", sizes.peak_resident.max(resident.anon + resident.file));
    line("VmRSS", resident.anon + resident.file);
    line("RssAnon", resident.anon);
    line("RssFile", resident.file);
    line("RssShmem", 0);
    line("VmData", totals.data);
    line("VmStk", totals.stack);
    line("VmExe", code);
    line("VmLib", totals.text - code);
    // As large as tables of so much memory are at least.
    line("VmPTE", ((resident.anon + resident.file) / (2 << 20) + 8) * PAGE_SIZE);
    line("VmSwap", 0);
    line("HugetlbPages", 0);
    text.push_str("CoreDumping:\t0\nTHP_enabled:\t0\nuntag_mask:\t0xffffffffffffffff\n");
}

fn signals_and_capabilities(view: &View, text: &mut String) {
    let signals = signals(view);
    let creds = view.creds();
    let limit = view.group.limit(abi::raw::general::RLIMIT_SIGPENDING);
    let pending = signals.own.0.count_ones() + signals.shared.0.count_ones();
    let _ = writeln!(text, "Threads:\t{}\nSigQ:\t{pending}/{limit}", view.threads.len().max(1));
    let masks = [
        ("SigPnd", signals.own.0),
        ("ShdPnd", signals.shared.0),
        ("SigBlk", signals.blocked.0),
        ("SigIgn", signals.ignored.0),
        ("SigCgt", signals.caught.0),
        ("CapInh", creds.inheritable.0),
        ("CapPrm", creds.permitted.0),
        ("CapEff", creds.effective.0),
        ("CapBnd", creds.bounding.0),
        ("CapAmb", creds.ambient.0),
    ];
    for (name, mask) in masks {
        let _ = writeln!(text, "{name}:\t{mask:016x}");
    }
    let affinity = sched(view).affinity;
    let _ = writeln!(text, "NoNewPrivs:\t{}\nSeccomp:\t0\nSeccomp_filters:\t0", u8::from(creds.no_new_privs));
    text.push_str("Speculation_Store_Bypass:\tthread vulnerable\nSpeculationIndirectBranch:\tconditional enabled\n");
    let _ = writeln!(text, "Cpus_allowed:\t{}\nCpus_allowed_list:\t{}", cpu_mask(&affinity), cpu_list(&affinity));
    text.push_str("Mems_allowed:\t00000000,00000001\nMems_allowed_list:\t0\n");
    // How often the host took the processor away is not known.
    let sleeps = view.task.as_ref().map_or(0, |task| task.usage.now().sleeps);
    let _ = writeln!(text, "voluntary_ctxt_switches:\t{sleeps}\nnonvoluntary_ctxt_switches:\t0");
}

/// Whether the process is stopped by job control; its threads may not have noticed yet.
#[must_use]
pub(super) fn is_stopped(view: &View) -> bool {
    view.group.signals.lock().stop != GroupStop::Running
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_listed_in_ranges() {
        let mut set = CpuSet([0; 16]);
        set.0[0] = 0b1011_0111;
        set.0[1] = 1;
        assert_eq!(cpu_list(&set), "0-2,4-5,7,64");
        assert_eq!(cpu_list(&CpuSet([0; 16])), "");
    }
}
