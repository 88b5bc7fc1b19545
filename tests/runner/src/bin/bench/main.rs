//! The bench tool: each workload natively and under Vizor in one run, with the ratio.
//!
//! `cargo run --release -p vizor-tests --bin bench -- [--json FILE] [--baseline FILE] [--filter SUBSTR]... [--quick]`
//! The rows stand in `rows.rs`, the micro workloads in `tests/bench/workloads.c`. `VIZOR` names the binary. Figures are
//! medians; run it on an idle machine.

mod console;
mod report;
mod rows;
mod sandbox;

use report::{Baseline, Kind, Report, Row};
use rows::{CALLERS, CALLS, Limit, PROGRAMS, Program, Tasks};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use vizor_tests::build;

/// How long a program's row may go on measuring.
const PROGRAM_TIME: Duration = Duration::from_secs(4);

/// The figure that a workload prints.
fn figure(mut command: Command) -> f64 {
    let out = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let text = out.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.trim().parse().unwrap_or(f64::NAN)
}

struct Bench {
    vizor: PathBuf,
    workloads: PathBuf,
    filters: Vec<String>,
    calls: Rounds,
    programs: Rounds,
    report: Report,
    /// How long a cache line took to another core and back, each time that it was asked for.
    trips: Vec<f64>,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Where a native run's tasks may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cores {
    All,
    One,
}

/// How often each side runs: `least` times, and more within the time, up to the most.
#[derive(Clone, Copy)]
struct Rounds {
    least: usize,
    most: usize,
    time: Duration,
}

/// The medians of the native figure and of Vizor's; natively, of several tasks' rows, that of the better placement. All take
/// turns, so that the machine's moods of some seconds are each side's.
fn compare(rounds: Rounds, tasks: Tasks, native: impl Fn(Cores) -> f64, vizor: impl Fn() -> f64) -> (f64, f64) {
    let (mut all, mut one, mut sandboxed) = (Vec::new(), Vec::new(), Vec::new());
    let started = Instant::now();
    while all.len() < rounds.least || all.len() < rounds.most && started.elapsed() < rounds.time {
        all.push(native(Cores::All));
        if tasks == Tasks::Several {
            one.push(native(Cores::One));
        }
        sandboxed.push(vizor());
    }
    let native = if one.is_empty() { median(all) } else { median(all).min(median(one)) };
    (native, median(sandboxed))
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|f| name.contains(f))
    }

    /// The mood of the machine: what hand-overs from core to core cost now. A virtual machine's cores move about on the host's.
    fn look(&mut self) {
        let mut command = Command::new(&self.workloads);
        command.arg("cache-line");
        self.trips.extend(Some(figure(command)).filter(|trip| trip.is_finite()));
    }

    fn print_mood(&mut self) {
        self.trips.sort_by(f64::total_cmp);
        if let [least, .., most] = self.trips[..] {
            let median = median(self.trips.clone());
            println!(
                "a cache line to another core and back: {median:.0} ns, from {least:.0} to {most:.0} in the course of the run"
            );
        }
    }

    fn micro(&mut self, kind: Kind, (name, tasks, limit): (&str, Tasks, f64)) {
        if !self.wants(name) {
            return;
        }
        self.look();
        let native = |cores| {
            let mut command = Command::new(&self.workloads);
            command.arg(name).args((cores == Cores::One).then_some("one-core"));
            figure(command)
        };
        let sandboxed = || {
            let mut command = Command::new(&self.vizor);
            command.args(["do", "--"]).arg(&self.workloads).arg(name);
            figure(command)
        };
        let (native, vizor) = compare(self.calls, tasks, native, sandboxed);
        let (name, limit) = (name.to_owned(), Limit::Ratio(limit));
        self.report.add(Row { name, kind, unit: "ns", native, vizor, limit });
    }

    /// A call that is caught by a signal, as those are whose site can't be patched.
    fn trapped(&mut self) {
        if !self.wants("getppid-trapped") {
            return;
        }
        let one = |program: &Path, before: &[&str]| {
            let mut command = Command::new(program);
            command.args(before).args((!before.is_empty()).then_some(&self.workloads)).arg("getppid");
            figure(command)
        };
        let sandbox = ["do", "--no-patching", "--"];
        let native = |_| one(&self.workloads, &[]);
        let (native, vizor) = compare(self.calls, Tasks::One, native, || one(&self.vizor, &sandbox));
        let (name, kind, limit) = ("getppid-trapped".to_owned(), Kind::Sandbox, rows::TRAPPED);
        self.report.add(Row { name, kind, unit: "ns", native, vizor, limit });
    }

    /// Runs a program's script by `shell` in a fresh directory; returns the milliseconds that its timed part took.
    fn timed(shell: &mut Command, program: &Program) -> f64 {
        let dir = std::env::temp_dir().join(format!("vizor-bench-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a scratch directory");
        if !program.setup.is_empty() {
            let status = Command::new("bash").args(["-c", program.setup]).current_dir(&dir).status();
            assert!(status.is_ok_and(|s| s.success()), "set-up failed: {}", program.setup);
        }
        shell.args(["-c", program.script]);
        shell.current_dir(&dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        let status = shell.status();
        let took = started.elapsed().as_secs_f64() * 1e3;
        let _ = std::fs::remove_dir_all(&dir);
        if status.is_ok_and(|s| s.success()) { took } else { f64::NAN }
    }

    fn program(&mut self, program: &Program) {
        if !self.wants(program.name) {
            return;
        }
        self.look();
        let native = |cores| match cores {
            Cores::All => Bench::timed(&mut Command::new("bash"), program),
            Cores::One => Bench::timed(Command::new("taskset").args(["-c", "0", "bash"]), program),
        };
        let sandboxed = || Bench::timed(Command::new(&self.vizor).args(["do", "--", "bash"]), program);
        let (native, vizor) = compare(self.programs, program.tasks, native, sandboxed);
        let (name, limit) = (program.name.to_owned(), Limit::Ratio(program.limit));
        self.report.add(Row { name, kind: Kind::Program, unit: "ms", native, vizor, limit });
    }

    fn run(&mut self) {
        Report::print_head();
        self.start_up();
        self.at_rest();
        for call in CALLS {
            self.micro(Kind::Call, *call);
        }
        self.trapped();
        self.micro(Kind::Sandbox, CALLERS);
        self.console();
        for program in PROGRAMS {
            self.program(program);
        }
        println!("geometric mean of the calls: {:.2}, at most {}", self.report.mean(Kind::Call), rows::CALLS_MEAN);
        let mean = self.report.mean(Kind::Program);
        println!("geometric mean of the programs: {mean:.2}, at most {}", rows::PROGRAMS_MEAN);
        self.print_mood();
    }
}

/// A copy of the program, as installing it leaves one. What a linker has written lies in the host's page cache in small
/// pieces, and to map those takes each start half a millisecond longer.
fn install(program: &Path) -> std::io::Result<PathBuf> {
    let copy = std::env::temp_dir().join(format!("vizor-bench-{}-vizor", std::process::id()));
    std::fs::copy(program, &copy)?;
    Ok(copy)
}

fn fail(why: &str) -> ! {
    eprintln!("bench: {why}");
    std::process::exit(2)
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (mut json, mut filters, mut quick) = (None, Vec::new(), false);
    let mut baseline = build::workspace().join("tests/bench/baseline.json");
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| fail(&format!("{arg} needs a value")));
        match arg.as_str() {
            "--json" => json = Some(value()),
            "--baseline" => baseline = value().into(),
            "--filter" => filters.push(value()),
            "--quick" => quick = true,
            other => fail(&format!("unknown argument {other}; takes --json, --baseline, --filter, --quick")),
        }
    }
    let read = |path: &Path| {
        Baseline::read(path).unwrap_or_else(|e| fail(&format!("cannot read the baseline {}: {e}", path.display())))
    };
    let report = Report { rows: Vec::new(), baseline: read(&baseline) };
    let vizor = build::vizor_binary().expect("vizor builds");
    let workloads = build::bench_workloads().expect("the workloads build");
    let once = Rounds { least: 1, most: 1, time: Duration::ZERO };
    let calls = if quick { once } else { Rounds { least: 3, most: 3, ..once } };
    let programs = if quick { once } else { Rounds { least: 5, most: 25, time: PROGRAM_TIME } };
    let vizor = install(&vizor).unwrap_or_else(|e| fail(&format!("cannot copy {}: {e}", vizor.display())));
    let mut bench = Bench { vizor: vizor.clone(), workloads, filters, calls, programs, report, trips: Vec::new() };
    bench.run();
    let _ = std::fs::remove_file(vizor);
    if let Some(path) = json {
        std::fs::write(&path, bench.report.json()).unwrap_or_else(|e| fail(&format!("cannot write {path}: {e}")));
    }
}
