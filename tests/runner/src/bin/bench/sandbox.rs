//! What a sandbox costs that does nothing: start-up, memory, processor time at rest.

use crate::report::{Kind, Row};
use crate::rows;
use crate::{Bench, median};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

impl Bench {
    pub fn start_up(&mut self) {
        if !self.wants("start-up") {
            return;
        }
        let time = |command: &mut Command| {
            let started = Instant::now();
            let _ = command.stdin(Stdio::null()).status();
            started.elapsed().as_secs_f64() * 1e3
        };
        let native = median((0..20).map(|_| time(&mut Command::new("true"))).collect());
        let vizor = median((0..20).map(|_| time(Command::new(&self.vizor).args(["do", "true"]))).collect());
        let (name, kind, limit) = ("start-up".to_owned(), Kind::Sandbox, rows::START_UP);
        self.report.add(Row { name, kind, unit: "ms", native, vizor, limit });
    }

    /// Memory and processor time of a sandbox at rest.
    pub fn at_rest(&mut self) {
        if !self.wants("at-rest") {
            return;
        }
        let mut native = Command::new("sleep").arg("100").spawn().expect("sleep starts");
        let mut command = Command::new(&self.vizor);
        command.args(["do", "--", "sleep", "100"]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut sandbox = command.spawn().expect("vizor starts");
        std::thread::sleep(Duration::from_secs(1));
        let (one, all) = (vec![native.id()], descendants(sandbox.id()));
        let pss = (pss_kib(&one) / 1024.0, pss_kib(&all) / 1024.0);
        let before = (cpu_ticks(&one), cpu_ticks(&all));
        std::thread::sleep(Duration::from_secs(10));
        let used = ((cpu_ticks(&one) - before.0) * 10.0, (cpu_ticks(&all) - before.1) * 10.0);
        for child in [&mut native, &mut sandbox] {
            let _ = child.kill();
            let _ = child.wait();
        }
        let row = |name: &str, unit, (native, vizor): (f64, f64), limit| Row {
            name: name.to_owned(),
            kind: Kind::Sandbox,
            unit,
            native,
            vizor,
            limit,
        };
        self.report.add(row("at-rest-pss", "MiB", pss, rows::PSS));
        self.report.add(row("at-rest-cpu-10s", "ms", used, rows::AT_REST));
    }
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
