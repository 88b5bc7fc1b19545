//! Shells with job control.

use crate::screen::Screen;

/// Reads a line, and says when it is continued.
const READER: &str =
    r#"$| = 1; $SIG{CONT} = sub { print "continued with the terminal\n" }; print "it read: ", scalar <STDIN>;"#;

/// Stops, continues and ends jobs in the shell that the screen shows. `stopped` is what it calls a stopped job.
fn control_jobs(screen: &Screen, stopped: &str) {
    let shows = |wanted: &str| {
        screen.expect_that(&format!("{wanted:?} of a job"), |text| text.to_lowercase().contains(wanted));
    };
    screen.line("clear; tty; sh -c 'echo up; exec sleep 100'");
    screen.expect_row(0, "/dev/pts/0");
    screen.expect_row(1, "up");
    screen.keys(&["C-z"]);
    shows(stopped);
    screen.line("clear; bg; clear; jobs");
    shows("running");
    screen.line("clear; fg");
    screen.expect_that("the job in the foreground", |text| text.contains("sleep 100") && !text.contains("fg"));
    screen.expect_rest();
    screen.keys(&["C-c"]);
    // Nobody in the background may read from the terminal.
    std::fs::write(screen.dir.join("read.pl"), READER).expect("a script");
    screen.line("clear; perl read.pl &");
    shows(stopped);
    screen.line("clear; fg");
    // Only now does the terminal have its settings.
    screen.expect("continued with the terminal");
    screen.line("typed to it");
    screen.expect("it read: typed to it");
    screen.line("clear; jobs; echo none left");
    screen.expect_that("no job to be left", |text| {
        text.contains("none left") && !text.contains("clear") && !text.to_lowercase().contains(stopped)
    });
    screen.resize(100, 30);
    screen.line("clear; stty size");
    screen.expect_row(0, "30 100");
    screen.expect_rest();
    screen.line("exit 3");
    screen.expect_end(3);
    screen.leave();
}

#[test]
fn bash_controls_jobs() {
    let screen = Screen::new("bash");
    screen.shell("");
    // A stop is told when the prompt comes.
    screen.start("PS1='b> ' bash --norc --noprofile -o notify");
    screen.expect_row(0, "b>");
    control_jobs(&screen, "stopped");
}

#[test]
fn zsh_controls_jobs() {
    let screen = Screen::new("zsh");
    screen.shell("");
    screen.start("PS1='z> ' zsh -f");
    screen.expect_row(0, "z>");
    control_jobs(&screen, "suspended");
}

#[test]
fn fish_controls_jobs() {
    let screen = Screen::new("fish");
    screen.shell("--env HOME=/tmp");
    screen.start("fish --no-config -C 'function fish_prompt; echo \"f> \"; end'");
    screen.expect_row(0, "f>");
    control_jobs(&screen, "stopped");
}
