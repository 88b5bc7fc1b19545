//! `vizor do` on a terminal: the guest's console, the caller's settings, job control, and bytes that all arrive.

use rustix::fd::{AsFd, OwnedFd};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, OutputModes, Termios, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const VIZOR: &str = env!("CARGO_BIN_EXE_vizor");
const LIMIT: Duration = Duration::from_secs(20);

/// A terminal with a program on it.
struct Session {
    master: OwnedFd,
    slave: OwnedFd,
    child: Child,
    seen: Vec<u8>,
    /// The terminal's settings before the command was started.
    before: String,
}

impl Session {
    /// Runs `vizor do sh -c SCRIPT` as the leader of a session on a new terminal.
    fn new(script: &str) -> Session {
        Session::of(&[VIZOR, "do", "sh", "-c", script])
    }

    fn of(command: &[&str]) -> Session {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("openpt");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let slave =
            ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("slave");
        tcsetwinsize(&master, size(33, 99)).expect("size");
        // The command changes them as soon as it can.
        let before = modes(&tcgetattr(&slave).expect("settings"));
        let stdio = || Stdio::from(slave.try_clone().expect("dup"));
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .args(command)
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .expect("starts");
        rustix::io::ioctl_fionbio(&master, true).expect("nonblocking");
        Session { master, slave, child, seen: Vec::new(), before }
    }

    /// Takes output until it contains `text`, and drops it up to there.
    #[track_caller]
    fn expect(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            let at = self.seen.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = at {
                let before = self.seen.drain(..at + text.len()).collect::<Vec<u8>>();
                return String::from_utf8_lossy(&before).into_owned();
            }
            if !self.pump() {
                assert!(start.elapsed() < LIMIT, "no {text:?} in {:?}", String::from_utf8_lossy(&self.seen));
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Takes what there is. Returns whether there was anything.
    fn pump(&mut self) -> bool {
        let mut buffer = [0; 65536];
        match rustix::io::read(&self.master, &mut buffer) {
            Ok(len) => self.seen.extend_from_slice(&buffer[..len]),
            Err(_) => return false,
        }
        true
    }

    fn type_in(&self, text: &str) {
        rustix::io::write(&self.master, text.as_bytes()).expect("write");
    }

    fn settings(&self) -> Termios {
        tcgetattr(&self.slave).expect("tcgetattr")
    }

    /// Waits for its end, taking output all the while.
    #[track_caller]
    fn end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            let status = self.child.try_wait().expect("wait");
            let more = self.pump();
            if let (Some(status), false) = (status, more) {
                return status;
            }
            if !more {
                assert!(start.elapsed() < LIMIT, "still running; saw {:?}", String::from_utf8_lossy(&self.seen));
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// What a program can set, without speeds.
fn modes(settings: &Termios) -> String {
    format!(
        "{:?} {:?} {:?} {:?} {:?}",
        settings.input_modes,
        settings.output_modes,
        settings.local_modes,
        settings.control_modes,
        settings.special_codes
    )
}

/// A shell with job control at its prompt, which is `<>` from then on.
fn at_its_prompt(mut session: Session) -> Session {
    // Not as it is written here, so that the echo is not taken for it.
    session.type_in("PS1='<''>'\r");
    session.expect("<>");
    session
}

/// An interactive shell in a sandbox.
fn shell() -> Session {
    at_its_prompt(Session::of(&[VIZOR, "do", "bash", "--norc", "--noprofile"]))
}

/// An interactive shell outside.
fn outside() -> Session {
    at_its_prompt(Session::of(&["bash", "--norc", "--noprofile", "-i"]))
}

#[test]
fn the_guest_has_a_console_of_its_own() {
    let mut session =
        Session::new("tty; stty size; tty < /dev/tty; test -t 1 && echo terminal; ps -o tty= -p $$; exit 3");
    session.expect("/dev/pts/0\r\n33 99\r\n/dev/tty\r\nterminal\r\n");
    assert_eq!(session.end().code(), Some(3));
}

#[test]
fn the_console_is_also_dev_console() {
    let mut session = Session::new(
        "stat -c '%t:%T' /dev/console; echo said > /dev/console; stty size < /dev/console; ls -l /proc/$$/fd/0",
    );
    session.expect("88:0\r\nsaid\r\n33 99\r\n");
    session.expect("-> /dev/pts/0\r\n");
    assert!(session.end().success());
}

#[test]
fn settings_are_the_callers_and_come_back() {
    let mut session = Session::new("echo up; read line; exit 4");
    let before = session.before.clone();
    session.expect("up");
    let now = session.settings();
    assert!(!now.local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO), "raw while attached");
    assert!(!now.output_modes.contains(OutputModes::OPOST));
    session.type_in("x\r");
    assert_eq!(session.end().code(), Some(4));
    assert_eq!(modes(&session.settings()), before);

    // The console starts with the caller's settings.
    let mut session = Session::of(&["sh", "-c", &format!("stty erase ^H; {VIZOR} do stty -a; stty sane")]);
    session.expect("erase = ^H");
    session.end();
}

#[test]
fn a_failure_leaves_the_terminal_alone() {
    let mut session = Session::of(&[VIZOR, "do", "no-such-command"]);
    let before = session.before.clone();
    session.expect("vizor: no-such-command: command not found in the sandbox\r\n");
    assert_eq!(session.end().code(), Some(127));
    assert_eq!(modes(&session.settings()), before);
}

#[test]
fn a_killed_command_leaves_the_terminal_as_it_was() {
    let mut session = Session::of(&["sh", "-c", &format!("{VIZOR} do sh -c 'echo up; sleep 100' & echo pid $!; wait")]);
    let before = session.before.clone();
    session.expect("pid ");
    let pid = session.expect("\r\n");
    let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw).expect("pid");
    session.expect("up");
    let start = Instant::now();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
    session.end();
    while modes(&session.settings()) != before {
        assert!(start.elapsed() < LIMIT, "settings were not restored");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn control_characters_signal_the_foreground() {
    let mut session = Session::new("trap 'echo caught' INT; echo up; sleep 100; echo after; exit 5");
    session.expect("up");
    thread::sleep(Duration::from_millis(200));
    session.type_in("\u{3}");
    session.expect("caught");
    session.expect("after");
    assert_eq!(session.end().code(), Some(5));
}

#[test]
fn the_window_is_followed() {
    let mut session = Session::new("trap 'stty size; exit 6' WINCH; echo up; while :; do sleep 0.05; done");
    session.expect("up");
    tcsetwinsize(&session.master, size(44, 111)).expect("size");
    session.expect("44 111");
    assert_eq!(session.end().code(), Some(6));
}

#[test]
fn job_control_works_inside() {
    let mut session = shell();
    // One process: a shell that has just made a child by vfork stops only when that has executed its program.
    session.type_in("sh -c 'echo u''p; exec sleep 100'\r");
    session.expect("up\r\n");
    session.type_in("\u{1a}");
    session.expect("Stopped");
    session.type_in("kill %1; wait %1; echo gone $?; exit 9\r");
    session.expect("gone 143");
    assert_eq!(session.end().code(), Some(9));
}

#[test]
fn a_stopped_guest_gives_the_terminal_back() {
    let script = format!("{VIZOR} do sh -c 'echo up; kill -STOP $$; echo again; exit 7'\r");
    let mut session = outside();
    session.type_in(&script);
    session.expect("Stopped");
    session.type_in("fg\r");
    session.expect("again\r\n");
    // Not before: what is typed while the guest has the terminal is the guest's.
    session.expect("<>");
    session.type_in("echo status $?; exit\r");
    session.expect("status 7");
    session.end();
}

#[test]
fn output_is_complete() {
    let mut session = Session::new("stty raw; seq 1 100000; exit 8");
    assert_eq!(session.end().code(), Some(8));
    let wanted: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    assert_eq!((session.seen.len(), session.seen == wanted.as_bytes()), (wanted.len(), true));
}

#[test]
fn input_is_complete() {
    let mut session = Session::new("stty raw -echo; echo go; head -c 1000000 | cksum; stty sane");
    session.expect("go\n");
    let data: Vec<u8> = (0..1_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut sent = 0;
    let start = Instant::now();
    while sent < data.len() {
        assert!(start.elapsed() < LIMIT, "stuck after {sent} bytes");
        match rustix::io::write(&session.master, &data[sent..]) {
            Ok(len) => sent += len,
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
    let sum = session.expect(" 1000000");
    let mut native = Command::new("cksum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("cksum");
    native.stdin.take().expect("stdin").write_all(&data).expect("write");
    let native = native.wait_with_output().expect("cksum").stdout;
    assert_eq!(sum.trim(), String::from_utf8_lossy(&native).trim());
    assert!(session.end().success());
}

#[test]
fn only_what_is_the_terminal_becomes_the_console() {
    let script = format!("echo typed | {VIZOR} do sh -c 'cat; tty'; {VIZOR} do sh -c 'test -t 0 && echo yes' | cat");
    let mut session = Session::of(&["sh", "-c", &script]);
    session.expect("typed\r\nnot a tty\r\nyes\r\n");
    session.end();
}

#[test]
fn in_the_background_the_terminal_stays_with_its_owner() {
    let mut session = outside();
    session.type_in(&format!("{VIZOR} do sh -c 'echo from behind; sleep 0.3' &\r"));
    session.expect("from behind\r\n");
    // Typed text goes to the shell.
    session.type_in("wait; echo mine $?; exit\r");
    session.expect("mine 0");
    session.end();
    let settings = session.settings();
    assert!(settings.local_modes.contains(LocalModes::ICANON));
    tcsetattr(session.slave.as_fd(), OptionalActions::Now, &settings).expect("tcsetattr");
}

/// The first process of this name below another one.
fn descendant(of: u32, name: &str) -> Option<rustix::process::Pid> {
    let children = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).ok()?;
    children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()).find_map(|id| {
        let found = std::fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|comm| comm.trim() == name);
        if found { rustix::process::Pid::from_raw(id.cast_signed()) } else { descendant(id, name) }
    })
}

/// A terminal whose settings are as they were before long.
#[track_caller]
fn expect_settings(session: &Session, before: &str) {
    let start = Instant::now();
    while modes(&session.settings()) != before {
        assert!(start.elapsed() < LIMIT, "settings were not restored");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Starts `vizor do sh -c SCRIPT` below a shell; returns the settings of before and the command's id.
fn below_a_shell(script: &str) -> (Session, String, rustix::process::Pid) {
    let mut session = Session::of(&["sh", "-c", &format!("{VIZOR} do sh -c '{script}' & echo pid $!; wait")]);
    let before = session.before.clone();
    session.expect("pid ");
    let pid = session.expect("\r\n");
    let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw).expect("pid");
    session.expect("up");
    (session, before, pid)
}

#[test]
fn a_terminated_command_leaves_the_terminal_as_it_was() {
    use rustix::process::{Signal, kill_process};
    for signal in [Signal::TERM, Signal::HUP] {
        let (mut session, before, pid) = below_a_shell("echo up; exec sleep 100");
        kill_process(pid, signal).expect("kill");
        session.end();
        expect_settings(&session, &before);
    }
}

#[test]
fn a_killed_sentry_leaves_the_terminal_as_it_was() {
    let (mut session, before, pid) = below_a_shell("echo up; sleep 100");
    let children = format!("/proc/{0}/task/{0}/children", pid.as_raw_nonzero());
    let sentry = std::fs::read_to_string(children).expect("children");
    let sentry =
        sentry.split_whitespace().next().and_then(|id| id.parse().ok()).and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(sentry.expect("a sentry"), rustix::process::Signal::KILL).expect("kill");
    session.expect("somebody's kill");
    session.end();
    expect_settings(&session, &before);
}

#[test]
fn a_fast_producer_is_interrupted_at_once() {
    let mut session = shell();
    session.type_in("yes\r");
    session.expect("y\r\ny\r\ny\r\n");
    thread::sleep(Duration::from_millis(500));
    session.pump();
    let asked = Instant::now();
    session.type_in("\u{3}");
    session.expect("^C");
    session.expect("<>");
    assert!(asked.elapsed() < Duration::from_secs(1), "took {:?}", asked.elapsed());
    session.type_in("exit 4\r");
    assert_eq!(session.end().code(), Some(4));
}

#[test]
fn a_paste_of_lines_is_complete() {
    let mut session = Session::new("stty -echo; echo go; head -n 20000 | cksum");
    session.expect("go");
    let data: String = (0..20_000).map(|n| format!("{n:051}\n")).collect();
    let mut sent = 0;
    let start = Instant::now();
    while sent < data.len() {
        assert!(start.elapsed() < LIMIT, "stuck after {sent} bytes");
        match rustix::io::write(&session.master, &data.as_bytes()[sent..]) {
            Ok(len) => sent += len,
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
    let mut native = Command::new("cksum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("cksum");
    native.stdin.take().expect("stdin").write_all(data.as_bytes()).expect("write");
    let native = native.wait_with_output().expect("cksum").stdout;
    session.expect(String::from_utf8_lossy(&native).trim());
    assert!(session.end().success());
}

#[test]
fn a_command_that_is_stopped_from_outside_gives_the_terminal_back() {
    let mut session = outside();
    session.type_in(&format!("{VIZOR} do sh -c 'echo u\"\"p; read line; echo again; exit 7'\r"));
    session.expect("up\r\n");
    let command = descendant(session.child.id(), "vizor").expect("the command");
    rustix::process::kill_process(command, rustix::process::Signal::TSTP).expect("kill");
    session.expect("Stopped");
    session.expect("<>");
    session.type_in("fg\r");
    let start = Instant::now();
    while session.settings().local_modes.contains(LocalModes::ISIG) {
        session.pump();
        assert!(start.elapsed() < LIMIT, "not raw again");
        thread::sleep(Duration::from_millis(5));
    }
    session.type_in("go on\r");
    session.expect("again\r\n");
    session.expect("<>");
    session.type_in("echo status $?; exit\r");
    session.expect("status 7");
    session.end();
}

#[test]
fn a_hundred_megabytes_arrive_whole() {
    let path = std::env::temp_dir().join(format!("vizor-console-{}", std::process::id()));
    // A length that is no multiple of any buffer's, so that a lost or doubled buffer shows.
    let block: Vec<u8> = (0..1_000_003u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let data = block.repeat(100);
    std::fs::write(&path, &data).expect("a file");
    let mut session = Session::new(&format!("stty raw; cat {}; exit 8", path.display()));
    let status = session.end();
    let _ = std::fs::remove_file(&path);
    assert_eq!((status.code(), session.seen.len(), session.seen == data), (Some(8), data.len(), true));
}

#[test]
fn a_hangup_ends_the_sandbox() {
    let mut session = Session::new("echo up; exec sleep 100");
    session.expect("up");
    let other = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("openpt");
    drop(std::mem::replace(&mut session.master, other));
    let start = Instant::now();
    while session.child.try_wait().expect("wait").is_none() {
        assert!(start.elapsed() < LIMIT, "still running after a hangup");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn end_of_file_is_typed() {
    let mut session = Session::new("cat; echo over; exit 9");
    session.type_in("line\r");
    session.expect("line\r\nline\r\n");
    session.type_in("\u{4}");
    session.expect("over");
    assert_eq!(session.end().code(), Some(9));
}

#[test]
fn a_large_file_on_its_way_is_interrupted_at_once() {
    let path = std::env::temp_dir().join(format!("vizor-large-{}", std::process::id()));
    std::fs::write(&path, b"a line of some length, again and again\n".repeat(5_000_000)).expect("a file");
    let mut session = shell();
    session.type_in(&format!("cat {}\r", path.display()));
    session.expect("again and again\r\na line of");
    session.pump();
    let asked = Instant::now();
    session.type_in("\u{3}");
    session.expect("^C");
    session.expect("<>");
    let took = asked.elapsed();
    let _ = std::fs::remove_file(&path);
    assert!(took < Duration::from_secs(1), "took {took:?}");
    session.type_in("echo status $?; exit 4\r");
    session.expect("status 130");
    assert_eq!(session.end().code(), Some(4));
}

/// Types all of it, as fast as the terminal takes it.
#[track_caller]
fn paste(session: &mut Session, data: &[u8]) {
    let (mut sent, start) = (0, Instant::now());
    while sent < data.len() {
        assert!(start.elapsed() < LIMIT, "stuck after {sent} bytes");
        match rustix::io::write(&session.master, &data[sent..]) {
            Ok(len) => sent += len,
            Err(_) if session.pump() => {}
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

#[test]
fn a_paste_is_interrupted() {
    let lines = b": one of many lines\r".repeat(50_000);
    // A program that reads, one that does not and gets a line without end, and the key in the middle of it all.
    for (program, data) in [("cat >/dev/null", lines), ("sleep 100", vec![b'x'; 1_000_000])] {
        let mut session = shell();
        // Said by the program itself: a key that comes while the shell makes it is the shell's.
        session.type_in(&format!("stty -echo; sh -c \"echo g''o; exec {program}\"\r"));
        session.expect("go\r\n");
        let (first, second) = data.split_at(data.len() - 20_000);
        paste(&mut session, first);
        let asked = Instant::now();
        session.type_in("\u{3}");
        session.expect("<>");
        assert!(asked.elapsed() < Duration::from_secs(2), "took {:?}", asked.elapsed());
        if program.starts_with("cat") {
            // The rest is the shell's, which finds nothing to do in it.
            paste(&mut session, second);
        }
        session.type_in("\rstty echo; echo status; exit 4\r");
        session.expect("status\r\n");
        assert_eq!(session.end().code(), Some(4));
    }
}

#[test]
fn a_continued_guest_has_the_terminal_raw_again() {
    let mut session = outside();
    let script =
        "trap \"echo caught; exit 7\" INT; echo u\"\"p; kill -TSTP $$; echo back; while :; do sleep 0.05; done";
    session.type_in(&format!("{VIZOR} do sh -c '{script}'\r"));
    session.expect("Stopped");
    session.expect("<>");
    session.type_in("stty -a | grep -o ' icanon' \r");
    session.expect("\r icanon\r\n");
    session.type_in("fg\r");
    session.expect("back\r\n");
    let settings = session.settings();
    assert!(!settings.local_modes.intersects(LocalModes::ICANON | LocalModes::ISIG | LocalModes::ECHO));
    session.type_in("\u{3}");
    session.expect("caught");
    session.expect("<>");
    session.type_in("echo status $?; exit\r");
    session.expect("status 7");
    session.end();
}

#[test]
fn the_console_has_its_name_in_every_program() {
    let names = "import os; print(os.ttyname(0), os.ttyname(1), os.ttyname(2), os.ctermid())";
    let mut session = Session::of(&[VIZOR, "do", "/usr/bin/python3", "-c", names]);
    session.expect("/dev/pts/0 /dev/pts/0 /dev/pts/0 /dev/tty");
    assert!(session.end().success());
}

#[test]
fn a_program_asks_for_a_password_and_relays_a_terminal() {
    let elevate = concat!("/usr/bin/python3 ", env!("CARGO_MANIFEST_DIR"), "/tests/elevate.py");
    let mut session = shell();
    session.type_in(&format!("{elevate} bash --norc --noprofile\r"));
    session.expect("Password: ");
    session.type_in("secret\r");
    let before = session.expect("# ");
    assert!(!before.contains("secret"), "{before:?}");
    session.type_in("PS1='#'; tty; stty size; ps -o tty= -p $$\r");
    session.expect("/dev/pts/1\r\n33 99\r\npts/1");
    session.expect("#");
    tcsetwinsize(&session.master, size(44, 111)).expect("size");
    // A shell without a trap may miss the key just before it starts a program.
    session.type_in("sh -c 'trap \"exit 130\" INT; echo u\"\"p; while :; do sleep 0.1; done'\r");
    session.expect("up\r\n");
    session.type_in("\u{3}");
    session.expect("^C");
    session.expect("#");
    session.type_in("echo status $?; stty size; exit 5\r");
    session.expect("status 130\r\n44 111\r\n");
    session.expect("<>");
    session.type_in("echo outer $?; stty -a | grep -o ' icanon'; exit 6\r");
    session.expect("outer 5\r\n");
    session.expect(" icanon\r\n");
    assert_eq!(session.end().code(), Some(6));

    let mut session = shell();
    session.type_in(&format!("{elevate} true\r"));
    session.expect("Password: ");
    session.type_in("wrong\r");
    session.expect("\r\nsorry\r\n");
    session.expect("<>");
    session.type_in("echo outer $?; exit\r");
    session.expect("outer 1");
    session.end();
}
