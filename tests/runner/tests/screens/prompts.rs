//! What asks and is told: prompts, terminal settings, a debugger.

use crate::screen::Screen;

#[test]
fn python_evaluates_is_interrupted_and_ends() {
    let screen = Screen::new("python");
    screen.shell("");
    screen.start("/usr/bin/python3 -q");
    screen.expect(">>>");
    screen.line("6 * 7");
    screen.expect("42");
    // A line of before, edited.
    screen.keys(&["Up", "BSpace"]);
    screen.line("8");
    screen.expect("48");
    screen.line("import time; print('asl' + 'eep', flush=True); time.sleep(100)");
    screen.expect("asleep");
    screen.keys(&["C-c"]);
    screen.expect("KeyboardInterrupt");
    screen.line("import os; os.get_terminal_size().columns + 1000");
    screen.expect("1080");
    screen.expect_rest();
    screen.keys(&["C-d"]);
    screen.expect_end(0);
    screen.leave();
}

#[test]
fn passwords_are_not_shown() {
    let screen = Screen::new("passwords");
    screen.shell("");
    screen.start("ssh-keygen -q -t ed25519 -f key");
    screen.expect("Enter passphrase");
    screen.line("not shown");
    screen.expect("again");
    screen.line("not shown");
    screen.expect_end(0);
    screen.start("ssh-keygen -y -P 'not shown' -f key > /dev/null");
    screen.expect_end(0);
    screen.start("read -s -p 'secret? ' secret; echo; echo \"${#secret} bytes\"");
    screen.expect("secret?");
    screen.expect_gone("read -s");
    screen.line("hidden");
    screen.expect("6 bytes");
    screen.expect_end(0);
    screen.expect_gone("hidden");
    // What was interrupted in between leaves a terminal that echoes.
    screen.start("ssh-keygen -q -t ed25519 -f other");
    screen.expect("Enter passphrase");
    screen.keys(&["C-c"]);
    screen.line("clear");
    screen.line("echo shown again");
    screen.expect("in> echo shown again");
    screen.leave();
}

#[test]
fn stty_shows_changes_and_mends_the_settings() {
    let screen = Screen::new("stty");
    screen.shell("");
    screen.start("stty -a");
    screen.expect("speed 38400 baud; rows 24; columns 80; line = 0;");
    screen.expect("intr = ^C; quit = ^\\; erase = ^?; kill = ^U; eof = ^D;");
    screen.expect("isig icanon iexten echo echoe echok -echonl -noflsh -xcase -tostop -echoprt");
    screen.expect_end(0);
    screen.line("clear; before=$(stty -g); stty raw -echo erase ^H; printf 'no carriage return\\nhere\\n'");
    screen.expect("                  here");
    // What is typed is not shown, and Enter is no newline, but readline takes it.
    screen.line("stty sane; stty $before; clear; stty -a | grep -o ' erase = [^;]*'");
    screen.expect_row(0, "erase = ^?");
    screen.start("echo reading; cat");
    screen.expect_row(0, "reading");
    screen.line("echoed");
    screen.expect_that("an echo and a copy", |text| text.matches("echoed").count() == 2);
    screen.keys(&["C-d"]);
    screen.expect_end(0);
    screen.leave();
}

#[test]
fn resize_asks_the_terminal_for_its_size() {
    let screen = Screen::new("resize");
    screen.shell("");
    screen.line("stty rows 1 cols 1; stty size");
    screen.line("clear; resize -u; stty size");
    screen.expect("COLUMNS=80;");
    screen.expect("24 80");
    screen.resize(100, 30);
    screen.line("clear; stty size; resize -u");
    screen.expect("30 100");
    screen.expect("LINES=30;");
    screen.leave();
}

#[test]
fn gdb_steps_through_a_program() {
    let screen = Screen::new("gdb");
    let program = "int twice(int n) {\n  return n + n;\n}\nint main(void) {\n  return twice(21);\n}\n";
    std::fs::write(screen.dir.join("p.c"), program).expect("a program");
    let built =
        std::process::Command::new("gcc").args(["-g", "-O0", "-o", "p", "p.c"]).current_dir(&screen.dir).status();
    assert!(built.is_ok_and(|status| status.success()), "gcc");
    screen.shell("--env DEBUGINFOD_URLS=");
    screen.start("gdb -nx -q p");
    screen.expect("(gdb)");
    screen.line("break twice");
    screen.expect("Breakpoint 1 at");
    screen.line("run");
    screen.expect("twice (n=21) at p.c:2");
    screen.line("print n * 2");
    screen.expect("$1 = 42");
    screen.line("finish");
    screen.expect("Value returned is $2 = 42");
    screen.expect_rest();
    screen.line("continue");
    screen.expect("exited with code 052");
    screen.line("quit");
    screen.expect_end(0);
    screen.leave();
}
