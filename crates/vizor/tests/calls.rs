//! Hostile guests in a whole sandbox: one that makes random system calls with nasty arguments (`tests/hostile/calls.c`), one
//! that attacks what its process shares with the platform (`tests/hostile/stub.c`). The sandbox neither crashes nor hangs,
//! only the process that attacks ends, with a word on why, and the host sees nothing.
//!
//! `VIZOR_SEED=N` plays other rounds, `VIZOR_SECONDS=N` more of them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const VIZOR: &str = env!("CARGO_BIN_EXE_vizor");

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Compiles a program of `tests/hostile`, for one test.
fn build(name: &str, test: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/hostile").join(name).with_extension("c");
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-pthread", "-fno-stack-protector", "-o"]).arg(&program).arg(source);
    assert!(cc.status().expect("cc runs").success());
    program
}

/// Plays rounds of a hostile program. Returns what was said of processes that were killed.
fn play(name: &str, test: &str, options: &[&str]) -> Vec<String> {
    let program = build(name, test);
    let (seed, seconds) = (number("VIZOR_SEED", 1), number("VIZOR_SECONDS", 8));
    let limit = (seconds + 90).to_string();
    let log = program.with_extension("log");
    let canary = std::env::temp_dir().join(format!("vizor-{test}-{}", std::process::id()));
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", &limit, VIZOR, "do", "--debug-log"]).arg(&log).args(options).arg("--").arg(&program);
    command.args([seed.to_string(), seconds.to_string()]).arg(&canary);
    let output = command.stdin(Stdio::null()).output().expect("vizor runs");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "seed {seed}: {}: {said} {errors}", output.status);
    println!("{said}{errors}");
    // Guests may write what they like there, but the summary comes last.
    let summary = said.lines().last().unwrap_or_default();
    assert!(summary.contains(" rounds"), "seed {seed}: {said} {errors}");
    let log = std::fs::read_to_string(log).expect("a log");
    for text in [&*errors, &log] {
        assert!(!text.contains("internal error") && !text.contains("panic"), "seed {seed}: {text}");
    }
    assert!(!canary.exists());
    errors.lines().filter(|line| line.contains(" was killed: ")).map(str::to_owned).collect()
}

#[test]
fn random_calls_do_no_harm() {
    play("calls", "calls", &[]);
}

#[test]
fn random_calls_do_no_harm_without_patches() {
    play("calls", "calls-unpatched", &["--no-patching"]);
}

/// Who never answers is killed, and the user learns why; there may be others.
fn check_attack(killed: &[String]) {
    assert!(killed.iter().any(|line| line.contains("did not answer in time")), "{killed:?}");
}

#[test]
fn attacks_on_the_stub_end_who_attacks() {
    check_attack(&play("stub", "stub", &[]));
}

#[test]
fn attacks_on_the_stub_end_who_attacks_without_patches() {
    check_attack(&play("stub", "stub-unpatched", &["--no-patching"]));
}

#[test]
fn a_sandbox_whose_first_process_never_answers_ends() {
    let program = build("stub", "stub-alone");
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "60", VIZOR, "do", "--"]).arg(&program);
    let output = command.stdin(Stdio::null()).output().expect("vizor runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(137), "{errors}");
    assert!(errors.contains("did not answer in time"), "{errors}");
}
