//! Terminal programs in `vizor do`, driven through tmux as a person would: what they draw is checked, how they end, and that
//! nothing burns CPU afterwards.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use vizor_tests::build;

/// How long anything may take to appear.
const PATIENCE: Duration = Duration::from_secs(30);

/// A tmux server of its own, with one window; killed at the end.
struct Screen {
    socket: String,
    vizor: String,
    dir: PathBuf,
}

impl Screen {
    /// A shell in a window of 80 by 24, in a fresh directory.
    fn new(name: &str) -> Screen {
        let vizor = build::vizor_binary().expect("vizor builds").display().to_string();
        let dir = std::env::temp_dir().join(format!("vizor-terminal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a scratch directory");
        let screen = Screen { socket: format!("vizor-{name}-{}", std::process::id()), vizor, dir };
        let start = ["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "env PS1='host> ' bash --norc"];
        screen.tmux(&start);
        screen.expect("host>");
        screen.line(&format!("cd {}", screen.dir.display()));
        screen
    }

    fn tmux(&self, args: &[&str]) -> String {
        let out = Command::new("tmux").arg("-L").arg(&self.socket).args(args).output().expect("tmux runs");
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn keys(&self, keys: &[&str]) {
        let mut args = vec!["send-keys"];
        args.extend(keys);
        self.tmux(&args);
    }

    /// Types a line and Enter.
    fn line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.keys(&["Enter"]);
    }

    /// Waits until the screen shows `wanted`.
    fn expect(&self, wanted: &str) {
        self.expect_within(wanted, PATIENCE);
    }

    fn expect_within(&self, wanted: &str, limit: Duration) {
        let end = Instant::now() + limit;
        while !self.text().contains(wanted) {
            assert!(Instant::now() < end, "{wanted:?} did not appear; the screen shows:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the screen no longer shows `text`.
    fn expect_gone(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while self.text().contains(text) {
            assert!(Instant::now() < end, "{text:?} did not go away; the screen shows:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts a program in a sandbox; its exit status is printed when it ends.
    fn sandbox(&self, options: &str, command: &str) {
        self.line(&format!("clear; {} do {options} -- {command}; echo \"ended with $?.\"", self.vizor));
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
    fn expect_rest(&self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let before = self.ticks();
            std::thread::sleep(Duration::from_secs(1));
            let used = self.ticks() - before;
            if used <= 1 {
                return;
            }
            assert!(Instant::now() < end, "the sandbox at rest uses {used} ticks of CPU a second");
        }
    }

    fn expect_end(&self, status: i32) {
        self.expect(&format!("ended with {status}."));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn micro_edits_follows_a_resize_and_quits_at_once() {
    let screen = Screen::new("micro");
    let file = screen.dir.join("file.txt");
    std::fs::write(&file, "first line\n").expect("a file");
    let log = screen.dir.join("log");
    let options = format!("--volume .:{} --strace=signals --debug-log {}", screen.dir.display(), log.display());
    // The shell lives on, so that what micro might leave running would be seen.
    screen.sandbox(&options, "bash --norc");
    screen.line("clear; micro file.txt; echo micro ended with $?.");
    screen.expect("file.txt (1,1)");
    screen.expect("first line");
    screen.keys(&["-l", "new "]);
    screen.expect("new first line");
    screen.keys(&["C-s"]);
    screen.expect("Saved");
    screen.tmux(&["resize-window", "-x", "100", "-y", "30"]);
    let bottom = |rows: usize| screen.text().lines().nth(rows - 2).is_some_and(|l| l.contains("file.txt"));
    let end = Instant::now() + PATIENCE;
    while !bottom(30) {
        assert!(Instant::now() < end, "micro did not follow the resize:\n{}", screen.text());
        std::thread::sleep(Duration::from_millis(20));
    }
    screen.expect_rest();
    screen.keys(&["C-q"]);
    screen.expect("micro ended with 0.");
    screen.expect_rest();
    // Half a second by far on an idle machine; a busy one gets a few tries.
    let quick = (0..10).any(|_| {
        screen.line("clear; micro file.txt; echo micro ended with $?.");
        screen.expect("new first line");
        let asked = Instant::now();
        screen.keys(&["C-q"]);
        screen.expect("micro ended with 0.");
        asked.elapsed() < Duration::from_millis(500)
    });
    assert!(quick, "micro takes more than half a second to end");
    screen.line("exit 7");
    screen.expect_end(7);
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), "new first line\n");
    let log = std::fs::read_to_string(&log).expect("the log");
    assert!(log.contains("--- SIGWINCH"), "signals are not in the log");
    let longest = log.lines().map(|line| line.contains("--- SIGURG")).collect::<Vec<_>>();
    let longest = longest.split(|urgent| !urgent).map(<[bool]>::len).max();
    assert!(longest < Some(50), "a run of SIGURG in the log: {longest:?}");
}

#[test]
fn vim_edits_and_quits() {
    let screen = Screen::new("vim");
    screen.sandbox(&format!("--volume .:{}", screen.dir.display()), "vim -u NONE -N file.txt");
    screen.expect("file.txt");
    screen.keys(&["-l", "ihello from vim"]);
    screen.expect("hello from vim");
    screen.keys(&["Escape"]);
    screen.line(":wq");
    screen.expect_end(0);
    assert_eq!(std::fs::read_to_string(screen.dir.join("file.txt")).expect("the file"), "hello from vim\n");
}

#[test]
fn a_shell_has_a_terminal_and_job_control() {
    let screen = Screen::new("jobs");
    screen.sandbox("--env PS1='in> '", "bash --norc");
    screen.expect("in>");
    screen.line("tty");
    screen.expect("/dev/pts/0");
    screen.line("stty size");
    screen.expect("24 80");
    screen.line("sleep 100");
    screen.keys(&["C-z"]);
    screen.expect("Stopped");
    screen.line("bg; jobs");
    screen.expect("Running");
    screen.line("fg");
    std::thread::sleep(Duration::from_millis(200));
    screen.keys(&["C-c"]);
    screen.line("echo status $?");
    screen.expect("status 130");
    screen.line("cat &");
    screen.line("jobs");
    screen.expect("Stopped");
    screen.line("kill %1; exit 3");
    screen.expect_end(3);
}

#[test]
fn tmux_runs_inside() {
    let screen = Screen::new("tmux");
    screen.sandbox("--env TMUX=", "tmux -L inner -f /dev/null new-session 'echo inside; exec sh'");
    screen.expect("inside");
    screen.line("echo $((40 + 2))");
    screen.expect("42");
    screen.keys(&["C-b", "%"]);
    screen.expect("│");
    screen.line("exit");
    screen.expect_gone("│");
    screen.line("exit");
    screen.expect("ended with 0.");
}

#[test]
fn python_prompts_and_less_pages() {
    let screen = Screen::new("repl");
    screen.sandbox("", "/usr/bin/python3 -q");
    screen.expect(">>>");
    screen.line("6 * 7");
    screen.expect("42");
    screen.keys(&["C-d"]);
    screen.expect_end(0);
    screen.sandbox("", "sh -c 'seq 1000 | less'");
    screen.expect("23");
    screen.keys(&["G"]);
    screen.expect("1000");
    screen.keys(&["q"]);
    screen.expect_end(0);
}
