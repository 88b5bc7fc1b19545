//! A guest that makes random system calls with nasty arguments (`tests/hostile/calls.c`): the sandbox neither crashes nor
//! hangs, and says nothing of internal errors.
//!
//! `VIZOR_SEED=N` plays other rounds, `VIZOR_SECONDS=N` more of them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

const VIZOR: &str = env!("CARGO_BIN_EXE_vizor");

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn random_calls_do_no_harm() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/hostile/calls.c");
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("calls");
    let built = Command::new("cc").args(["-O1", "-pthread", "-o"]).arg(&program).arg(source).status();
    assert!(built.expect("cc runs").success());
    let (seed, seconds) = (number("VIZOR_SEED", 1), number("VIZOR_SECONDS", 8));
    let limit = (seconds + 60).to_string();
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", &limit, VIZOR, "do", "--"]).arg(&program).args([seed.to_string(), seconds.to_string()]);
    let output = command.stdin(Stdio::null()).output().expect("vizor runs");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "seed {seed}: {}: {said} {errors}", output.status);
    // Guests may write what they like there, but the summary comes last.
    assert!(said.ends_with(" calls\n"), "seed {seed}: {said} {errors}");
    assert!(!errors.contains("internal error"), "seed {seed}: {errors}");
}
