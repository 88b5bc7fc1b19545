//! Editors.

use crate::screen::Screen;
use std::collections::HashMap;
use std::time::{Duration, Instant};

#[test]
fn micro_edits_follows_a_resize_and_quits_at_once() {
    let screen = Screen::new("micro");
    let file = screen.dir.join("file.txt");
    std::fs::write(&file, "first line\n").expect("a file");
    let log = screen.dir.join("log");
    screen.shell(&format!("--strace=signals --debug-log {}", log.display()));
    screen.start("micro file.txt");
    screen.expect("file.txt (1,1)");
    screen.expect("first line");
    screen.text_in("new ");
    screen.expect("new first line");
    screen.keys(&["C-s"]);
    screen.expect("Saved");
    screen.resize(100, 30);
    screen.expect_row(28, "file.txt");
    screen.expect_rest();
    screen.keys(&["C-q"]);
    screen.expect_end(0);
    screen.expect_rest();
    // A busy machine may be late now and then.
    let urgent = || std::fs::read_to_string(&log).expect("the log").matches("--- SIGURG").count();
    let ends = |rested: bool| -> Vec<(Duration, usize)> {
        let end = |_| {
            screen.start("micro file.txt");
            screen.expect("new first line");
            if rested {
                screen.expect_rest();
            }
            let (before, asked) = (urgent(), Instant::now());
            screen.keys(&["C-q"]);
            screen.expect_end(0);
            (asked.elapsed(), urgent() - before)
        };
        let ends: Vec<(Duration, usize)> = (0..10).map(end).collect();
        let late = ends.iter().filter(|(took, _)| *took >= Duration::from_millis(500)).count();
        assert!(late <= 1, "micro takes more than half a second to end: {ends:?}");
        ends
    };
    // Go's collector sends some until a twentieth of a second after the first line is drawn, natively too: those are no end's.
    ends(false);
    let ends = ends(true);
    assert!(ends.iter().all(|(_, signals)| *signals < 2), "SIGURG at the end of micro: {ends:?}");
    screen.leave();
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), "new first line\n");
    let log = std::fs::read_to_string(&log).expect("the log");
    assert!(log.contains("--- SIGWINCH"), "signals are not in the log");
    // Go sends one when a thread has run for 10 ms, as when micro starts; the bug sent thousands a second.
    let mut seconds = HashMap::<&str, u32>::new();
    for line in log.lines().filter(|line| line.contains("--- SIGURG")) {
        *seconds.entry(line.split('.').next().unwrap_or_default()).or_default() += 1;
    }
    assert!(seconds.values().all(|count| *count < 250), "runs of SIGURG in the log: {seconds:?}");
}

#[test]
fn vim_edits_stops_follows_a_resize_and_quits() {
    let screen = Screen::new("vim");
    screen.shell("");
    screen.start("vim -u NONE -N --cmd 'set laststatus=2' file.txt");
    screen.expect_row(22, "file.txt");
    screen.text_in("ihello from vim");
    screen.expect("hello from vim");
    screen.keys(&["Escape"]);
    screen.resize(100, 30);
    screen.expect_row(28, "file.txt");
    screen.expect_rest();
    screen.keys(&["C-z"]);
    screen.expect("Stopped");
    screen.line("clear; fg; echo \"ended with $?.\"");
    screen.expect_row(0, "hello from vim");
    screen.line(":wq");
    screen.expect_end(0);
    screen.leave();
    assert_eq!(std::fs::read_to_string(screen.dir.join("file.txt")).expect("the file"), "hello from vim\n");
}

#[test]
fn nano_edits_follows_a_resize_and_quits() {
    let screen = Screen::new("nano");
    screen.shell("");
    screen.start("nano -I file.txt");
    screen.expect_row(0, "GNU nano");
    screen.expect_row(22, "^G Help");
    screen.text_in("hello from nano");
    screen.expect("hello from nano");
    screen.expect_row(0, "Modified");
    screen.resize(100, 30);
    screen.expect_row(28, "^G Help");
    screen.expect_rest();
    screen.keys(&["C-o", "Enter"]);
    screen.expect("Wrote 1 line");
    screen.keys(&["C-x"]);
    screen.expect_end(0);
    screen.leave();
    assert_eq!(std::fs::read_to_string(screen.dir.join("file.txt")).expect("the file"), "hello from nano\n");
}
