//! The files of /proc about the machine, as far as a sandbox is one.

use super::Shared;
use super::status::TICK_NS;
use crate::synth::Static;
use kernel::sched::cpu_count;
use kernel::tree::INIT;
use kernel::{Kernel, RunState};
use std::fmt::Write;
use std::sync::Arc;
use vfs::Caller;

/// A file whose content is made from the kernel.
fn of_kernel(shared: &Arc<Shared>, make: impl Fn(&Kernel, &Shared) -> String + Send + Sync + 'static) -> Static {
    let shared = shared.clone();
    Static::File(0o444, Box::new(move |_: &dyn Caller| Ok(make(&*shared.kernel()?, &shared).into_bytes())))
}

/// All of them.
pub(super) fn files(shared: &Arc<Shared>) -> Vec<(String, Static)> {
    let made: Vec<(&str, Static)> = vec![
        ("meminfo", of_kernel(shared, |kernel, _| meminfo(kernel))),
        ("stat", of_kernel(shared, |kernel, _| stat(kernel))),
        ("uptime", of_kernel(shared, |kernel, _| uptime(kernel))),
        ("loadavg", of_kernel(shared, |kernel, _| loadavg(kernel))),
        ("vmstat", of_kernel(shared, |kernel, _| vmstat(kernel))),
        ("filesystems", of_kernel(shared, |kernel, _| filesystems(kernel))),
        ("version", of_kernel(shared, |_, shared| version(shared))),
        ("cmdline", Static::text("quiet\n")),
        ("consoles", Static::text("")),
        ("crypto", Static::text("")),
        ("devices", Static::text(DEVICES)),
        ("diskstats", Static::text("")),
        ("dma", Static::text("")),
        ("execdomains", Static::text("0-0\tLinux           \t[kernel]\n")),
        ("interrupts", Static::made(interrupts)),
        ("iomem", Static::text("")),
        ("ioports", Static::text("")),
        ("kallsyms", Static::text("")),
        ("key-users", Static::text("")),
        ("keys", Static::text("")),
        ("locks", Static::text("")),
        ("misc", Static::text("")),
        ("modules", Static::text("")),
        ("partitions", Static::text("major minor  #blocks  name\n\n")),
        ("softirqs", Static::made(softirqs)),
        ("swaps", Static::text("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")),
        ("cgroups", Static::text("#subsys_name\thierarchy\tnum_cgroups\tenabled\n")),
        ("bus", Static::dir([])),
        ("driver", Static::Dir(0o500, Vec::new())),
        ("fs", Static::dir([])),
        ("irq", Static::dir([])),
        ("pressure", pressure()),
        ("sysvipc", sysvipc()),
        (
            "tty",
            Static::dir([
                ("drivers", Static::text(TTY_DRIVERS)),
                ("ldiscs", Static::text("n_tty       0\nn_null     27\n")),
                ("driver", Static::Dir(0o500, Vec::new())),
                ("ldisc", Static::dir([])),
            ]),
        ),
    ];
    made.into_iter().map(|(name, node)| (name.to_owned(), node)).collect()
}

const DEVICES: &str = "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n 10 misc\n128 ptm\n\
                       136 pts\n\nBlock devices:\n";

const TTY_DRIVERS: &str = "\
/dev/tty             /dev/tty        5       0 system:/dev/tty
/dev/console         /dev/console    5       1 system:console
/dev/ptmx            /dev/ptmx       5       2 system
pty_slave            /dev/pts      136 0-1048575 pty:slave
pty_master           /dev/ptm      128 0-1048575 pty:master
";

fn pressure() -> Static {
    let line = |kind: &str| format!("{kind} avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
    let file = || Static::setting(line("some") + &line("full"));
    Static::dir([("cpu", file()), ("io", file()), ("memory", file())])
}

fn sysvipc() -> Static {
    Static::dir([
        (
            "msg",
            Static::text(
                "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n",
            ),
        ),
        ("sem", Static::text("       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n")),
        (
            "shm",
            Static::text(
                "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n",
            ),
        ),
    ])
}

fn version(shared: &Shared) -> String {
    format!("Linux version {} (vizor@localhost) (rustc) {}\n", shared.about.release, shared.about.version)
}

fn meminfo(kernel: &Kernel) -> String {
    let usage = kernel.frames.usage();
    let kb = |bytes: u64| bytes >> 10;
    let free = usage.limit.saturating_sub(usage.used);
    let mut text = String::new();
    let lines = [
        ("MemTotal", usage.limit),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapCached", 0),
        ("Active", usage.used),
        ("Inactive", 0),
        ("Active(anon)", usage.used),
        ("Inactive(anon)", 0),
        ("Active(file)", 0),
        ("Inactive(file)", 0),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", usage.used),
        ("Mapped", 0),
        ("Shmem", 0),
        ("KReclaimable", 0),
        ("Slab", 0),
        ("SReclaimable", 0),
        ("SUnreclaim", 0),
        ("KernelStack", 0),
        ("PageTables", 0),
        ("NFS_Unstable", 0),
        ("Bounce", 0),
        ("WritebackTmp", 0),
        ("CommitLimit", usage.limit / 2),
        ("Committed_AS", usage.used),
        ("VmallocTotal", 34_359_738_367 << 10),
        ("VmallocUsed", 0),
        ("VmallocChunk", 0),
        ("Percpu", 0),
        ("AnonHugePages", 0),
        ("ShmemHugePages", 0),
        ("ShmemPmdMapped", 0),
    ];
    for (name, bytes) in lines {
        let _ = writeln!(text, "{:<16}{:>8} kB", format!("{name}:"), kb(bytes));
    }
    for name in ["Total", "Free", "Rsvd", "Surp"] {
        let _ = writeln!(text, "{:<16}{:>8}", format!("HugePages_{name}:"), 0);
    }
    text.push_str("Hugepagesize:       2048 kB\nHugetlb:               0 kB\n");
    text
}

/// Time in which no process ran, of all processors together, in nanoseconds.
fn idle(kernel: &Kernel) -> u64 {
    let (user, system) = kernel.all_cpu();
    let all = kernel.uptime_ns().saturating_mul(cpu_count() as u64);
    all.saturating_sub(user).saturating_sub(system)
}

fn uptime(kernel: &Kernel) -> String {
    let hundredths = |ns: u64| format!("{}.{:02}", ns / 1_000_000_000, ns / TICK_NS % 100);
    format!("{} {}\n", hundredths(kernel.uptime_ns()), hundredths(idle(kernel)))
}

/// How many tasks run, are blocked, and exist.
fn tasks(kernel: &Kernel) -> (usize, usize, usize) {
    let tree = kernel.tree.lock();
    let count = |state| tree.tasks.values().filter(|task| task.state() == state).count();
    (count(RunState::Running), count(RunState::Blocked), tree.tasks.len())
}

fn loadavg(kernel: &Kernel) -> String {
    let (running, _, all) = tasks(kernel);
    let [one, five, fifteen] = kernel.load_averages();
    format!("{one:.2} {five:.2} {fifteen:.2} {running}/{all} {}\n", kernel.tree.lock().last_id())
}

fn stat(kernel: &Kernel) -> String {
    let cpus = cpu_count() as u64;
    let (user, system) = kernel.all_cpu();
    let (user, system, idle) = (user / TICK_NS, system / TICK_NS, idle(kernel) / TICK_NS);
    let (running, blocked, _) = tasks(kernel);
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
    let boot = boot - i64::try_from(kernel.uptime_ns() / 1_000_000_000).unwrap_or(0);
    let mut text = format!("cpu  {user} 0 {system} {idle} 0 0 0 0 0 0\n");
    for cpu in 0..cpus {
        // Which processor a task ran on is not known: all have had the same share.
        let _ = writeln!(text, "cpu{cpu} {} 0 {} {} 0 0 0 0 0 0", user / cpus, system / cpus, idle / cpus);
    }
    let forks = kernel.tree.lock().last_id();
    let _ = write!(
        text,
        "intr 0\nctxt 0\nbtime {boot}\nprocesses {forks}\nprocs_running {running}\nprocs_blocked {blocked}\nsoftirq 0 0 0 0 \
         0 0 0 0 0 0 0\n"
    );
    text
}

fn vmstat(kernel: &Kernel) -> String {
    let usage = kernel.frames.usage();
    let pages = |bytes: u64| bytes / abi::PAGE_SIZE;
    let mut text = format!("nr_free_pages {}\n", pages(usage.limit.saturating_sub(usage.used)));
    let _ = writeln!(text, "nr_anon_pages {0}\nnr_active_anon {0}", pages(usage.used));
    for name in [
        "nr_inactive_anon",
        "nr_inactive_file",
        "nr_active_file",
        "nr_unevictable",
        "nr_mlock",
        "nr_mapped",
        "nr_file_pages",
        "nr_dirty",
        "nr_writeback",
        "nr_shmem",
        "nr_slab_reclaimable",
        "nr_slab_unreclaimable",
        "pgpgin",
        "pgpgout",
        "pswpin",
        "pswpout",
        "pgfree",
        "pgactivate",
        "pgdeactivate",
        "pgfault",
        "pgmajfault",
        "oom_kill",
    ] {
        let _ = writeln!(text, "{name} 0");
    }
    text
}

/// What mount(2) knows, and what is always there.
fn filesystems(kernel: &Kernel) -> String {
    let mut names: Vec<&str> = ["proc", "sysfs", "tmpfs", "devtmpfs", "devpts", "sockfs", "pipefs"].to_vec();
    for name in kernel.fs_types() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.iter().map(|name| format!("nodev\t{name}\n")).collect()
}

fn header() -> String {
    let mut text = String::from("           ");
    for cpu in 0..cpu_count() {
        let _ = write!(text, "{:<11}", format!("CPU{cpu}"));
    }
    text.push('\n');
    text
}

fn interrupts() -> Vec<u8> {
    header().into_bytes()
}

fn softirqs() -> Vec<u8> {
    let mut text = format!("         {}", header());
    for name in ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"] {
        let _ = write!(text, "{name:>12}:");
        (0..cpu_count()).for_each(|_| text.push_str("          0"));
        text.push('\n');
    }
    text.into_bytes()
}

/// The parent of orphans, which is part of the kernel and has no task: shown as an idle process.
pub(super) fn reaper() -> Static {
    const NAME: &str = "vizor-init";
    let status = format!(
        "Name:\t{NAME}\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t{INIT}\nNgid:\t0\nPid:\t{INIT}\nPPid:\t0\nTracerPid:\t0\n\
         Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nFDSize:\t0\nGroups:\t \nNStgid:\t{INIT}\nNSpid:\t{INIT}\nNSpgid:\t{INIT}\n\
         NSsid:\t{INIT}\nKthread:\t1\nThreads:\t1\nSigQ:\t0/0\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n\
         SigBlk:\t0000000000000000\nSigIgn:\tffffffffffffffff\nSigCgt:\t0000000000000000\nCapInh:\t0000000000000000\n\
         CapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffffff\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\n\
         NoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0\n"
    );
    let stat = format!(
        "{INIT} ({NAME}) S 0 {INIT} {INIT} 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 0 0 0 18446744073709551615 0 0 0 0 0 0 0 0 0 \
         0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    );
    let about = |rest: Vec<(&'static str, Static)>| {
        let mut entries = vec![
            ("cgroup", Static::text("0::/\n")),
            ("cmdline", Static::text("")),
            ("comm", Static::text(format!("{NAME}\n"))),
            ("environ", Static::File(0o400, Box::new(|_: &dyn Caller| Ok(Vec::new())))),
            ("fd", Static::dir([])),
            ("maps", Static::text("")),
            ("oom_score", Static::text("0\n")),
            ("oom_score_adj", Static::setting("0\n")),
            ("stat", Static::text(stat.clone())),
            ("statm", Static::text("0 0 0 0 0 0 0\n")),
            ("status", Static::text(status.clone())),
            ("wchan", Static::text("0")),
        ];
        entries.extend(rest);
        Static::dir(entries)
    };
    let thread = about(Vec::new());
    about(vec![("task", Static::dir([("1", thread)]))])
}
