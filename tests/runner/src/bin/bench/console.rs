//! The console: a fast producer on it, and how long a key takes to be echoed.

use crate::report::{Kind, Row};
use crate::rows;
use crate::{Bench, median};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A line of the file that is shown, and how many there are: 100 MB.
const LINE: &str = "The quick brown fox jumps over the lazy dog, and so on to the end of this\n";
const LINES: usize = 100_000_000 / LINE.len();
/// Keys that are typed.
const KEYS: usize = 200;

/// A terminal with a program on it.
struct Terminal {
    master: File,
    child: Child,
}

impl Terminal {
    /// Runs a program in a session of its own on a new terminal.
    fn start(program: &[&str]) -> Option<Terminal> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).ok()?;
        grantpt(&master).ok()?;
        unlockpt(&master).ok()?;
        let slave = ioctl_tiocgptpeer(&master, flags).ok()?;
        let end = || slave.try_clone().ok();
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(program).env("PS1", "$ ").env("TERM", "dumb");
        let child = command.stdin(end()?).stdout(end()?).stderr(end()?).spawn().ok()?;
        Some(Terminal { master: File::from(master), child })
    }

    /// Waits for output and takes it; nothing comes if the program has ended or is silent for so long.
    fn output(&mut self, patience: Duration) -> usize {
        let limit = Timespec::try_from(patience).ok();
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        match poll(&mut fds, limit.as_ref()) {
            Ok(1..) => self.master.read(&mut [0; 65536]).unwrap_or(0),
            _ => 0,
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Milliseconds until a program has written the file to its terminal.
fn show(program: &[&str], file: &Path) -> Option<f64> {
    let file = file.to_str()?;
    let started = Instant::now();
    let mut terminal = Terminal::start(&[program, &["cat", file]].concat())?;
    let mut shown = 0;
    // The terminal writes a line end as two bytes.
    while shown < LINES * (LINE.len() + 1) {
        match terminal.output(Duration::from_secs(10)) {
            0 => return None,
            len => shown += len,
        }
    }
    let status = terminal.child.wait().ok()?;
    status.success().then(|| started.elapsed().as_secs_f64() * 1e3)
}

/// Microseconds from a key to its echo by a shell's line editor.
fn echo(program: &[&str]) -> Option<f64> {
    let mut terminal = Terminal::start(&[program, &["bash", "--norc", "--noprofile"]].concat())?;
    terminal.output(Duration::from_secs(10));
    let mut times = Vec::new();
    for key in 0..KEYS {
        // Until it is quiet; now and then on a new line.
        while terminal.output(Duration::from_millis(5)) > 0 {}
        if key % 50 == 0 {
            terminal.master.write_all(b"\x15").ok()?;
            while terminal.output(Duration::from_millis(50)) > 0 {}
        }
        let pressed = Instant::now();
        terminal.master.write_all(b"x").ok()?;
        if terminal.output(Duration::from_secs(2)) == 0 {
            return None;
        }
        times.push(pressed.elapsed().as_secs_f64() * 1e6);
    }
    Some(median(times))
}

impl Bench {
    pub fn console(&mut self) {
        let (cat, key) = (self.wants("console-cat-100m"), self.wants("console-key-echo"));
        let vizor = self.vizor.display().to_string();
        let sandbox = [vizor.as_str(), "do", "--"];
        let mut row = |name: &str, unit, limit, one: &dyn Fn(&[&str]) -> Option<f64>| {
            let times =
                |program: &[&str]| median((0..self.calls.least).map(|_| one(program).unwrap_or(f64::NAN)).collect());
            let (native, vizor) = (times(&[]), times(&sandbox));
            self.report.add(Row { name: name.to_owned(), kind: Kind::Sandbox, unit, native, vizor, limit });
        };
        if cat {
            let file = std::env::temp_dir().join(format!("vizor-bench-console-{}", std::process::id()));
            std::fs::write(&file, LINE.repeat(LINES)).expect("a file to show");
            row("console-cat-100m", "ms", rows::CONSOLE_CAT, &|program| show(program, &file));
            let _ = std::fs::remove_file(&file);
        }
        if key {
            row("console-key-echo", "us", rows::KEY_ECHO, &echo);
        }
    }
}
