//! The bench tool: each workload natively and under Vizor in one run, with the ratio.
//!
//! `cargo run --release -p vizor-tests --bin bench -- [--json FILE] [--filter SUBSTR]... [--quick]`
//! The micro workloads are in `tests/bench/workloads.c`; the whole programs are shell commands below. `VIZOR` names the
//! binary. Figures are medians; run it on an idle machine.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use vizor_tests::build;

/// Whole programs: what is timed, and what is done before, untimed.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("true", "", "true"),
    ("python3-pass", "", "/usr/bin/python3 -c pass"),
    ("bash-500-true", "", "for i in $(seq 500); do /bin/true; done"),
    (
        "git-status-5000",
        "git init -q . && for d in $(seq 50); do mkdir d$d; for f in $(seq 100); do echo $f > d$d/$f; done; done; git add .",
        "git status",
    ),
    ("find-usr", "", "find /usr/share /usr/lib | wc -l"),
    (
        "tar-5000",
        "for d in $(seq 50); do mkdir d$d; for f in $(seq 100); do echo $f > d$d/$f; done; done",
        "tar cf t.tar d*",
    ),
    (
        "grep-5000",
        "for d in $(seq 50); do mkdir d$d; for f in $(seq 100); do echo $f > d$d/$f; done; done",
        "grep -r 99 . | wc -l",
    ),
    (
        "sqlite-200x50",
        "",
        "(for t in $(seq 200); do echo 'begin;'; for i in $(seq 50); do echo \"insert into t values($i);\"; done; echo 'commit;'; done) > s; sqlite3 d.db 'create table t(a)'; sqlite3 d.db < s",
    ),
    ("gzip-30m", "head -c 30000000 /dev/zero | tr '\\0' 'a' > f", "gzip -c f > g"),
    ("sha256-30m", "head -c 30000000 /dev/zero > f", "sha256sum f"),
    ("python-loop", "", "/usr/bin/python3 -c 'print(sum(i * i for i in range(3000000)))'"),
    (
        "python-threads-queue",
        "",
        "/usr/bin/python3 -c 'import threading, queue\nq = queue.Queue(10)\nt = threading.Thread(target=lambda: [q.get() for _ in range(20000)])\nt.start()\nfor i in range(20000): q.put(i)\nt.join()'",
    ),
    ("pipeline", "", "seq 200000 | sort | uniq | awk '{s += $1} END {print s}'"),
    ("small-files-300", "", "for i in $(seq 300); do echo $i > f$i; read x < f$i; done"),
    ("perl-200-forks", "", "perl -e 'for (1..200) { my $p = fork; exit 0 if !$p; waitpid $p, 0 }'"),
];

struct Row {
    name: String,
    unit: &'static str,
    native: f64,
    sandboxed: f64,
}

struct Bench {
    vizor: PathBuf,
    workloads: PathBuf,
    filters: Vec<String>,
    rounds: usize,
    rows: Vec<Row>,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|f| name.contains(f))
    }

    fn row(&mut self, name: &str, unit: &'static str, native: f64, sandboxed: f64) {
        println!("{name:24} {native:12.1} {sandboxed:12.1} {unit:3} {:8.2}", sandboxed / native);
        self.rows.push(Row { name: name.to_owned(), unit, native, sandboxed });
    }

    fn output(command: &mut Command) -> String {
        let out = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        out.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default()
    }

    fn micro(&mut self) {
        let names = Bench::output(&mut Command::new(&self.workloads));
        for name in names.lines().filter(|n| self.wants(n)).map(str::to_owned).collect::<Vec<_>>() {
            let one = |mut command: Command| Bench::output(command.arg(&name)).trim().parse().unwrap_or(f64::NAN);
            let mut times = (Vec::new(), Vec::new());
            for _ in 0..self.rounds.min(3) {
                times.0.push(one(Command::new(&self.workloads)));
                let mut sandboxed = Command::new(&self.vizor);
                sandboxed.args(["do", "--"]).arg(&self.workloads);
                times.1.push(one(sandboxed));
            }
            self.row(&name, "ns", median(times.0), median(times.1));
        }
    }

    /// Runs a script in a fresh directory; returns the milliseconds that its timed part took.
    fn timed(&self, sandboxed: bool, setup: &str, script: &str) -> f64 {
        let dir = std::env::temp_dir().join(format!("vizor-bench-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a scratch directory");
        if !setup.is_empty() {
            let status = Command::new("bash").args(["-c", setup]).current_dir(&dir).status();
            assert!(status.is_ok_and(|s| s.success()), "set-up failed: {setup}");
        }
        let mut command = if sandboxed {
            let mut command = Command::new(&self.vizor);
            command.args(["do", "--", "bash", "-c", script]);
            command
        } else {
            let mut command = Command::new("bash");
            command.args(["-c", script]);
            command
        };
        command.current_dir(&dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        let status = command.status();
        let took = started.elapsed().as_secs_f64() * 1e3;
        let _ = std::fs::remove_dir_all(&dir);
        if status.is_ok_and(|s| s.success()) { took } else { f64::NAN }
    }

    fn programs(&mut self) {
        for (name, setup, script) in PROGRAMS {
            if !self.wants(name) {
                continue;
            }
            let rounds = if *name == "true" { self.rounds * 5 } else { self.rounds.min(3) };
            let mut times = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                times.0.push(self.timed(false, setup, script));
                times.1.push(self.timed(true, setup, script));
            }
            self.row(name, "ms", median(times.0), median(times.1));
        }
    }

    fn sandbox(&self, args: &[&str]) -> Child {
        let mut command = Command::new(&self.vizor);
        command.arg("do").arg("--").args(args).stdin(Stdio::null()).stdout(Stdio::null());
        command.spawn().expect("vizor starts")
    }

    fn start_up(&mut self) {
        if !self.wants("start-up") {
            return;
        }
        let time = |command: &mut Command| {
            let started = Instant::now();
            let _ = command.stdin(Stdio::null()).status();
            started.elapsed().as_secs_f64() * 1e3
        };
        let native = median((0..20).map(|_| time(&mut Command::new("true"))).collect());
        let sandboxed = median((0..20).map(|_| time(Command::new(&self.vizor).args(["do", "true"]))).collect());
        self.row("start-up", "ms", native, sandboxed);
    }

    /// Memory and CPU of a sandbox at rest.
    fn at_rest(&mut self) {
        if !self.wants("at-rest") {
            return;
        }
        let mut native = Command::new("sleep").arg("100").spawn().expect("sleep starts");
        let mut sandbox = self.sandbox(&["sleep", "100"]);
        std::thread::sleep(Duration::from_secs(1));
        let (one, all) = (vec![native.id()], descendants(sandbox.id()));
        let pss = (pss_kib(&one) / 1024.0, pss_kib(&all) / 1024.0);
        let before = cpu_ticks(&all);
        std::thread::sleep(Duration::from_secs(10));
        let ticks = cpu_ticks(&all) - before;
        for child in [&mut native, &mut sandbox] {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.row("at-rest-pss", "MiB", pss.0, pss.1);
        println!("at-rest-cpu              {:12} {:12.1} ms in 10 s", "", ticks * 10.0);
    }

    fn json(&self) -> String {
        let mut text = String::from("[\n");
        for (at, row) in self.rows.iter().enumerate() {
            let comma = if at + 1 < self.rows.len() { "," } else { "" };
            let _ = writeln!(
                text,
                "  {{\"name\": \"{}\", \"unit\": \"{}\", \"native\": {:.1}, \"vizor\": {:.1}, \"ratio\": {:.3}}}{comma}",
                row.name,
                row.unit,
                row.native,
                row.sandboxed,
                row.sandboxed / row.native
            );
        }
        text + "]\n"
    }
}

fn geometric_mean(rows: &[Row], unit: &str) -> f64 {
    let logs: Vec<f64> = rows
        .iter()
        .filter(|r| r.unit == unit && r.name != "start-up")
        .map(|r| (r.sandboxed / r.native).ln())
        .filter(|l| l.is_finite())
        .collect();
    (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp()
}

/// A process and all below it.
fn descendants(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(pid) = found.get(at).copied() {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|c| c.parse::<u32>().ok()));
        }
        at += 1;
    }
    found
}

fn pss_kib(pids: &[u32]) -> f64 {
    let of = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find(|l| l.starts_with("Pss:")).map(str::to_owned).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0)
    };
    pids.iter().map(of).sum()
}

/// User and system time in clock ticks.
fn cpu_ticks(pids: &[u32]) -> f64 {
    let of = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = text.rsplit(')').next().unwrap_or_default();
        let fields: Vec<f64> = rest.split_whitespace().skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
        fields.iter().sum::<f64>()
    };
    pids.iter().map(of).sum()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mut bench = Bench {
        vizor: build::vizor_binary().expect("vizor builds"),
        workloads: build::bench_workloads().expect("the workloads build"),
        filters: Vec::new(),
        rounds: 3,
        rows: Vec::new(),
    };
    let mut json = None;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => json = args.next(),
            "--filter" => bench.filters.extend(args.next()),
            "--quick" => bench.rounds = 1,
            other => {
                eprintln!("bench: unknown argument {other}; takes --json FILE, --filter SUBSTR, --quick");
                std::process::exit(2);
            }
        }
    }
    println!("{:24} {:>12} {:>12}     {:>8}", "workload", "native", "vizor", "ratio");
    bench.start_up();
    bench.at_rest();
    bench.micro();
    bench.programs();
    println!("geometric mean of the calls: {:.2}", geometric_mean(&bench.rows, "ns"));
    println!("geometric mean of the programs: {:.2}", geometric_mean(&bench.rows, "ms"));
    if let Some(path) = json {
        std::fs::write(&path, bench.json()).unwrap_or_else(|e| eprintln!("bench: cannot write {path}: {e}"));
    }
}
