//! What shows files and processes.

use crate::screen::Screen;

#[test]
fn less_pages_follows_a_resize_and_quits() {
    let screen = Screen::new("less");
    screen.shell("");
    screen.start("seq 1000 | less");
    screen.expect_row(22, "23");
    screen.keys(&["Space"]);
    screen.expect_row(22, "46");
    screen.keys(&["G"]);
    screen.expect_row(22, "1000");
    screen.keys(&["g"]);
    screen.expect_row(22, "23");
    screen.resize(100, 30);
    screen.expect_row(28, "29");
    screen.line("/^77$");
    screen.expect_row(0, "77");
    screen.expect_rest();
    screen.keys(&["q"]);
    screen.expect_end(0);
    screen.leave();
}

#[test]
fn top_shows_processes_follows_a_resize_and_quits() {
    let screen = Screen::new("top");
    screen.shell("");
    screen.line("sleep 100 &");
    screen.start("top -d 30");
    screen.expect_row(0, "top - ");
    screen.expect_row(1, "Tasks:");
    screen.expect("COMMAND");
    screen.expect("sleep");
    screen.resize(60, 20);
    // Its last columns have no room any more.
    screen.expect_that("top to fit 60 columns", |text| text.contains("%CPU") && !text.contains("COMMAND"));
    screen.expect_rest();
    screen.keys(&["q"]);
    screen.expect_end(0);
    screen.line("kill %1");
    screen.leave();
}

#[test]
fn htop_shows_processes_follows_a_resize_and_quits() {
    let screen = Screen::new("htop");
    screen.shell("--env HTOPRC=/dev/null");
    screen.line("sleep 100 &");
    screen.start("htop -d 100");
    screen.expect_row(23, "F10Quit");
    screen.expect("Load average");
    screen.expect("sleep 100");
    screen.resize(100, 30);
    screen.expect_row(29, "F10Quit");
    screen.expect_rest();
    screen.keys(&["q"]);
    screen.expect_end(0);
    screen.line("kill %1");
    screen.leave();
}

#[test]
fn mc_runs_a_shell_below_its_panels_follows_a_resize_and_quits() {
    let screen = Screen::new("mc");
    std::fs::write(screen.dir.join("a-file"), "what mc views\n").expect("a file");
    screen.shell("--env HOME=/tmp");
    screen.start("mc -a -b");
    screen.expect_row(23, "10Quit");
    screen.expect("a-file");
    // Its command line is a shell on a pseudo-terminal of its own.
    screen.line("echo $((6 * 7)) > answer");
    screen.expect("answer");
    // What is typed before it is back from there goes there.
    screen.expect_rest();
    screen.keys(&["C-o"]);
    screen.expect_gone("10Quit");
    screen.keys(&["C-o"]);
    screen.expect_row(23, "10Quit");
    screen.resize(100, 30);
    screen.expect_row(29, "10Quit");
    screen.expect_rest();
    screen.keys(&["F10"]);
    screen.expect_that("mc to end", |text| text.contains("ended with 0.") || text.contains("Do you really"));
    if screen.text().contains("Do you really") {
        screen.keys(&["Enter"]);
    }
    screen.expect_end(0);
    screen.leave();
    assert_eq!(std::fs::read_to_string(screen.dir.join("answer")).expect("the answer"), "42\n");
}
