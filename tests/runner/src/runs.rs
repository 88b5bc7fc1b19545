//! Runs the conformance program in batches and reads its report, so that a case which hangs or takes the sandbox down
//! costs only itself.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a batch may stay silent beyond the limit on one case, before it is taken for hung.
const GRACE: Duration = Duration::from_secs(5);
/// How many batches in a row may end without a single case started.
const FALSE_STARTS: usize = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Skip(String),
    Fail(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub verdict: Verdict,
    pub records: Vec<String>,
}

pub type Outcomes = BTreeMap<String, Outcome>;

/// How to start the program: natively, or behind `vizor do --`.
pub struct Launcher {
    pub name: &'static str,
    pub prefix: Vec<PathBuf>,
    pub program: PathBuf,
    /// How long one case may take, in seconds.
    pub limit: u64,
    pub verbose: bool,
}

/// A child in a process group of its own, killed with the group when dropped.
struct Group(Child);

impl Group {
    fn kill(&mut self) -> io::Result<ExitStatus> {
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // ESRCH when all of it has ended already.
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.0.wait()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Collects the report of one batch.
#[derive(Default)]
struct Report {
    current: Option<String>,
    started: bool,
    records: BTreeMap<String, Vec<String>>,
    noise: VecDeque<String>,
}

impl Report {
    fn line(&mut self, line: String, outcomes: &mut Outcomes) {
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let (name, text) = rest.split_once(": ").unwrap_or((rest, ""));
        let verdict = match word {
            "START" => {
                self.current = Some(rest.to_string());
                self.started = true;
                return;
            }
            "RECORD" => {
                self.records.entry(name.to_string()).or_default().push(text.to_string());
                return;
            }
            "PASS" => Verdict::Pass,
            "SKIP" => Verdict::Skip(text.to_string()),
            "FAIL" => Verdict::Fail(text.to_string()),
            _ => {
                self.noise.push_back(line);
                if self.noise.len() > 20 {
                    self.noise.pop_front();
                }
                return;
            }
        };
        if self.current.as_deref() == Some(name) {
            self.current = None;
            let records = self.records.remove(name).unwrap_or_default();
            outcomes.insert(name.to_string(), Outcome { verdict, records });
        }
    }

    fn last_words(&self) -> String {
        self.noise.iter().rev().find(|l| !l.trim().is_empty()).map_or(String::new(), |l| format!(" ({})", l.trim()))
    }
}

impl Launcher {
    fn command(&self) -> Command {
        let mut words = self.prefix.iter().chain([&self.program]);
        let mut command = Command::new(words.next().unwrap_or(&self.program));
        command.args(words).stdin(Stdio::null()).process_group(0);
        command
    }

    /// The names of all cases; always asked natively.
    pub fn list(&self) -> io::Result<Vec<String>> {
        let out = Command::new(&self.program).arg("--list").output()?;
        Ok(String::from_utf8_lossy(&out.stdout).lines().map(String::from).collect())
    }

    /// Runs these cases, a batch per topic. Every one of them has an outcome in the end.
    pub fn run(&self, names: &[String], deadline: Instant) -> Outcomes {
        let mut topics: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for name in names {
            topics.entry(name.split('/').next().unwrap_or(name)).or_default().push(name.clone());
        }
        let mut outcomes = Outcomes::new();
        let mut false_starts = 0;
        for (topic, mut left) in topics {
            let began = Instant::now();
            while !left.is_empty() {
                let stopped = if Instant::now() >= deadline {
                    Some("the suite's time was up".to_string())
                } else if false_starts >= FALSE_STARTS {
                    Some("the sandbox did not start".to_string())
                } else {
                    None
                };
                if let Some(why) = stopped {
                    for name in left.drain(..) {
                        fail(&mut outcomes, name, &why);
                    }
                    break;
                }
                let (ending, report) = self.batch(&left, deadline, &mut outcomes);
                false_starts = if report.started { 0 } else { false_starts + 1 };
                if let Some(name) = report.current.clone() {
                    fail(&mut outcomes, name, &format!("the sandbox {ending}{}", report.last_words()));
                } else if report.started && left.iter().all(|name| !outcomes.contains_key(name)) {
                    break;
                } else if !report.started && self.verbose {
                    eprintln!("{}: {topic}: {ending}{}", self.name, report.last_words());
                }
                left.retain(|name| !outcomes.contains_key(name));
            }
            if self.verbose {
                eprintln!("{}: {topic} in {:.1} s", self.name, began.elapsed().as_secs_f32());
            }
        }
        for name in names {
            if !outcomes.contains_key(name) {
                fail(&mut outcomes, name.clone(), "not run");
            }
        }
        outcomes
    }

    /// One run of the program; says how it ended.
    fn batch(&self, names: &[String], deadline: Instant, outcomes: &mut Outcomes) -> (String, Report) {
        let mut report = Report::default();
        let mut command = self.command();
        command.args(["--announce", "--limit", &self.limit.to_string()]);
        for name in names {
            command.args(["--run", name]);
        }
        let child = match command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(e) => return (format!("can't be started: {e}"), report),
        };
        let mut group = Group(child);
        let lines = read_lines(&mut group.0);
        let hung = loop {
            let silence = Duration::from_secs(self.limit) + GRACE;
            let wait = silence.min(deadline.saturating_duration_since(Instant::now()));
            match lines.recv_timeout(wait) {
                Ok(line) => report.line(line, outcomes),
                Err(RecvTimeoutError::Timeout) => break true,
                Err(RecvTimeoutError::Disconnected) => break false,
            }
        };
        let status = if hung { group.kill() } else { group.0.wait() };
        let ending = match status {
            _ if hung => "hung".to_string(),
            Ok(status) => format!("ended early with {status}"),
            Err(e) => format!("could not be waited for: {e}"),
        };
        (ending, report)
    }
}

fn fail(outcomes: &mut Outcomes, name: String, why: &str) {
    outcomes.insert(name, Outcome { verdict: Verdict::Fail(why.to_string()), records: Vec::new() });
}

/// Both of the child's streams, line by line.
fn read_lines(child: &mut Child) -> Receiver<String> {
    let (sender, lines) = channel();
    let streams: [Option<Box<dyn io::Read + Send>>; 2] = [
        child.stdout.take().map(|s| Box::new(s) as Box<dyn io::Read + Send>),
        child.stderr.take().map(|s| Box::new(s) as Box<dyn io::Read + Send>),
    ];
    for stream in streams.into_iter().flatten() {
        let sender = sender.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n') {
                let Ok(line) = line else { break };
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Runs `names` with a shell script in the program's place. It is called once per batch, with its words after `--run`.
    fn run_script(name: &str, body: &str, names: &[&str]) -> Vec<Verdict> {
        let program = std::env::temp_dir().join(format!("runs-{name}-{}", std::process::id()));
        let read_args = "shift 3; set -- $(echo \"$*\" | sed 's/--run//g')";
        fs::write(&program, format!("#!/bin/sh\n{read_args}\n{body}\n")).unwrap();
        // By the shell, which only reads it: it can't be executed while another test's new process still has it open.
        let prefix = vec!["sh".into()];
        let launcher = Launcher { name: "script", prefix, program: program.clone(), limit: 0, verbose: false };
        let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
        let outcomes = launcher.run(&names, Instant::now() + Duration::from_secs(60));
        fs::remove_file(&program).unwrap();
        names.iter().map(|n| outcomes[n].verdict.clone()).collect()
    }

    fn failed_with(verdict: &Verdict, word: &str) -> bool {
        matches!(verdict, Verdict::Fail(why) if why.contains(word))
    }

    #[test]
    fn a_crash_costs_one_case() {
        let body = "for c; do echo START $c; [ $c = t/b ] && { echo boom >&2; exit 9; }; echo PASS $c; done";
        let got = run_script("crash", body, &["t/a", "t/b", "t/c"]);
        assert_eq!((&got[0], &got[2]), (&Verdict::Pass, &Verdict::Pass));
        assert!(failed_with(&got[1], "ended early"), "{got:?}");
    }

    #[test]
    fn a_hang_costs_one_case() {
        let body = "for c; do echo START $c; [ $c = t/b ] && sleep 100; echo PASS $c; done";
        let got = run_script("hang", body, &["t/a", "t/b", "t/c"]);
        assert_eq!((&got[0], &got[2]), (&Verdict::Pass, &Verdict::Pass));
        assert!(failed_with(&got[1], "hung"), "{got:?}");
    }

    #[test]
    fn a_sandbox_that_does_not_start_is_not_tried_for_ever() {
        let got = run_script("dead", "exit 1", &["s/a", "t/a", "t/b"]);
        assert!(got.iter().all(|v| failed_with(v, "did not start")), "{got:?}");
    }

    #[test]
    fn a_liar_is_not_believed() {
        // A verdict on a case that was not started, as a guest might print it, counts for nothing.
        let got = run_script("liar", "echo PASS t/b; echo START t/a; echo FAIL t/a: no", &["t/a", "t/b"]);
        assert!(failed_with(&got[0], "no"), "{got:?}");
        assert!(failed_with(&got[1], "not run"), "{got:?}");
    }
}
