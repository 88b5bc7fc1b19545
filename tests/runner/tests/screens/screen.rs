//! A terminal of 80 by 24 to drive programs in: a tmux server of its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use vizor_tests::build;

/// How long anything may take to appear.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a test may take in all.
const LIMIT: Duration = Duration::from_secs(100);

/// A tmux server of its own, with one window; killed at the end with all that runs in it.
pub struct Screen {
    socket: String,
    vizor: String,
    /// A fresh directory, which the window's shell is in and the sandbox sees as it is.
    pub dir: PathBuf,
    end: Instant,
}

impl Screen {
    /// A shell in a window of 80 by 24, in a fresh directory.
    pub fn new(name: &str) -> Screen {
        let vizor = build::vizor_binary().expect("vizor builds").display().to_string();
        let dir = std::env::temp_dir().join(format!("vizor-terminal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a scratch directory");
        let socket = format!("vizor-{name}-{}", std::process::id());
        let screen = Screen { socket, vizor, dir, end: Instant::now() + LIMIT };
        let start = ["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "env PS1='host> ' bash --norc"];
        screen.tmux(&start);
        screen.expect("host>");
        screen.line(&format!("cd {}", screen.dir.display()));
        screen
    }

    pub fn tmux(&self, args: &[&str]) -> String {
        let out = Command::new("tmux").arg("-L").arg(&self.socket).args(args).output().expect("tmux runs");
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    pub fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    pub fn keys(&self, keys: &[&str]) {
        let mut args = vec!["send-keys"];
        args.extend(keys);
        self.tmux(&args);
    }

    /// Types a line and Enter.
    pub fn line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.keys(&["Enter"]);
    }

    /// Types text as it is, without Enter.
    pub fn text_in(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// Waits until the screen shows `wanted`.
    #[track_caller]
    pub fn expect(&self, wanted: &str) {
        self.expect_that(&format!("{wanted:?} to appear"), |text| text.contains(wanted));
    }

    /// Waits until the screen no longer shows `text`.
    #[track_caller]
    pub fn expect_gone(&self, text: &str) {
        self.expect_that(&format!("{text:?} to go away"), |shown| !shown.contains(text));
    }

    /// Waits until what the screen shows is as it should be.
    #[track_caller]
    pub fn expect_that(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let end = self.end.min(Instant::now() + PATIENCE);
        loop {
            let text = self.text();
            if holds(&text) {
                return;
            }
            assert!(Instant::now() < end, "waited in vain for {what}; the screen shows:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the row with this number, from the top, contains `wanted`.
    #[track_caller]
    pub fn expect_row(&self, row: usize, wanted: &str) {
        let holds = |text: &str| text.lines().nth(row).is_some_and(|line| line.contains(wanted));
        self.expect_that(&format!("{wanted:?} in row {row}"), holds);
    }

    pub fn resize(&self, columns: usize, rows: usize) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// Starts a shell in a sandbox, which lives on when a program has ended, so that what that leaves running is seen.
    #[track_caller]
    pub fn shell(&self, options: &str) {
        let volume = format!("--volume .:{}", self.dir.display());
        let shell = "--env PS1='in> ' -- bash --norc --noprofile";
        self.line(&format!("clear; {} do {volume} {options} {shell}; echo \"sandbox ended with $?.\"", self.vizor));
        self.expect("in>");
    }

    /// Starts a program in the sandbox's shell, which says when it ends.
    pub fn start(&self, command: &str) {
        self.line(&format!("clear; {command}; echo \"ended with $?.\""));
    }

    /// Waits for the program's end with this status.
    #[track_caller]
    pub fn expect_end(&self, status: i32) {
        self.expect(&format!("ended with {status}."));
    }

    /// Checks that the program's end left nothing running, and ends the sandbox.
    #[track_caller]
    pub fn leave(&self) {
        self.expect_rest();
        self.line("clear; exit 7");
        self.expect("sandbox ended with 7.");
    }

    /// The processes of the sandbox: all below the window's shell.
    fn processes(&self) -> Vec<u32> {
        let first = self.tmux(&["list-panes", "-F", "#{pane_pid}"]);
        let mut all: Vec<u32> = first.trim().parse().into_iter().collect();
        let mut at = 0;
        while let Some(pid) = all.get(at) {
            let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            let lists = threads.map(|t| std::fs::read_to_string(t.path().join("children")).unwrap_or_default());
            let children: Vec<u32> =
                lists.flat_map(|l| l.split(' ').filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect();
            all.extend(children);
            at += 1;
        }
        all
    }

    /// Their CPU time in clock ticks.
    fn ticks(&self) -> u64 {
        let of = |pid: &u32| -> Option<u64> {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let fields: Vec<&str> = stat.rsplit(')').next()?.split_ascii_whitespace().collect();
            Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
        };
        self.processes().iter().filter_map(of).sum()
    }

    /// Waits until a second passes in which the sandbox uses next to no CPU time: one tick of 10 ms may be left over.
    pub fn expect_rest(&self) {
        let end = self.end.min(Instant::now() + PATIENCE);
        loop {
            let before = self.ticks();
            std::thread::sleep(Duration::from_secs(1));
            let used = self.ticks().saturating_sub(before);
            if used <= 1 {
                return;
            }
            assert!(Instant::now() < end, "the sandbox at rest uses {used} ticks of CPU a second");
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let started = self.processes();
        self.tmux(&["kill-server"]);
        // What a hangup does not end.
        for pid in started.into_iter().filter_map(|pid| rustix::process::Pid::from_raw(pid.try_into().ok()?)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
