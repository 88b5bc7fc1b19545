//! What makes terminals of its own: tmux, screen, script, expect.

use crate::screen::Screen;

#[test]
fn tmux_runs_inside() {
    let screen = Screen::new("tmux");
    screen.shell("--env TMUX=");
    screen.start("tmux -L inner -f /dev/null new-session 'echo inside; exec sh'");
    screen.expect("inside");
    screen.line("tty; echo $((40 + 2))");
    screen.expect("/dev/pts/1");
    screen.expect("42");
    screen.keys(&["C-b", "%"]);
    screen.expect("│");
    screen.resize(100, 30);
    screen.expect_row(29, "[0]");
    screen.expect_rest();
    screen.line("exit");
    screen.expect_gone("│");
    screen.line("exit");
    screen.expect_end(0);
    screen.leave();
}

#[test]
fn screen_runs_inside_detaches_and_comes_back() {
    let screen = Screen::new("screen");
    let dir = screen.dir.join("screen.d");
    screen.shell(&format!("--env SCREENDIR={}", dir.display()));
    screen.line("mkdir -m 700 $SCREENDIR");
    screen.start("screen -c /dev/null -S inner sh -c 'echo inside; exec sh'");
    screen.expect("inside");
    screen.line("tty; echo $((40 + 2))");
    screen.expect("/dev/pts/1");
    screen.expect("42");
    screen.resize(100, 30);
    screen.line("stty size");
    screen.expect("30 100");
    screen.keys(&["C-a", "d"]);
    screen.expect("detached from");
    screen.expect_end(0);
    screen.start("screen -c /dev/null -r inner");
    screen.expect("42");
    screen.expect_gone("ended with");
    screen.expect_rest();
    screen.line("exit");
    screen.expect("terminating");
    screen.expect_end(0);
    screen.leave();
}

#[test]
fn script_records_a_shell_and_follows_a_resize() {
    let screen = Screen::new("script");
    screen.shell("");
    screen.start("script -q -c 'PS1=\"recorded> \" exec bash --norc --noprofile' log");
    screen.expect("recorded>");
    screen.line("tty");
    screen.expect("/dev/pts/1");
    screen.resize(100, 30);
    screen.line("stty size");
    screen.expect("30 100");
    screen.line("clear; echo asleep; sleep 100");
    screen.expect_row(0, "asleep");
    screen.keys(&["C-c"]);
    screen.line("echo status $?");
    screen.expect("status 130");
    screen.expect_rest();
    screen.keys(&["C-d"]);
    screen.expect_end(0);
    screen.leave();
    let log = std::fs::read_to_string(screen.dir.join("log")).expect("the log");
    assert!(log.contains("/dev/pts/1") && log.contains("status 130"), "{log}");
}

#[test]
fn expect_talks_to_a_program() {
    let screen = Screen::new("expect");
    let script = "set timeout 20\nspawn bash --norc --noprofile\nsend \"PS1='%'; echo \\$((6 * 7))\\r\"\n\
        expect \"42\"\nsend \"read -p 'na''me? ' name\\r\"\nexpect \"name? \"\nsend \"vizor\\r\"\n\
        send \"echo hello \\$name; exit 3\\r\"\nexpect \"hello vizor\"\nexpect eof\nlassign [wait] pid id os status\n\
        puts \"status $status\"\n";
    std::fs::write(screen.dir.join("s.exp"), script).expect("a script");
    screen.shell("");
    screen.start("expect s.exp");
    screen.expect("hello vizor");
    screen.expect("status 3");
    screen.expect_end(0);
    // And hands a program on to who types.
    screen.start("expect -c 'spawn -noecho sh -c \"echo listening; exec cat\"; interact'");
    screen.expect_row(0, "listening");
    screen.line("typed to cat");
    screen.expect_that("an echo and a copy", |text| text.matches("typed to cat").count() == 2);
    screen.expect_rest();
    screen.keys(&["C-d"]);
    screen.expect_end(0);
    screen.leave();
}
