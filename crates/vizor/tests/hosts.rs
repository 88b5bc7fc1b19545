//! Hosts that lack something, and guests that ask for what does not exist: one clear line, nothing lost.

use std::process::{Command, Stdio};

const VIZOR: &str = env!("CARGO_BIN_EXE_vizor");

/// Runs a shell script in a user and mount namespace of its own, with a time limit; returns its standard error.
fn on_a_poorer_host(script: &str) -> String {
    let out = Command::new("timeout")
        .args(["-s", "KILL", "20", "unshare", "-Urm", "sh", "-c", script])
        .stdin(Stdio::null())
        .output()
        .expect("unshare runs");
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn a_host_without_user_namespaces_is_named_with_its_cure() {
    let said = on_a_poorer_host(&format!("echo 0 > /proc/sys/user/max_user_namespaces; {VIZOR} do true; echo $? >&2"));
    assert!(said.contains("user.max_user_namespaces") && said.ends_with("125\n"), "{said}");
}

#[test]
fn a_host_without_proc_is_named_with_its_cure() {
    let said = on_a_poorer_host(&format!("mount -t tmpfs none /proc; {VIZOR} do true; echo $? >&2"));
    assert!(said.contains("/proc") && said.ends_with("125\n"), "{said}");
}

#[test]
fn soft_limits_are_the_guests_and_low_hard_limits_are_named() {
    let run = |limit: &str| {
        let script = format!("{limit}; exec {VIZOR} do sh -c '{limit}; echo runs'");
        let out = Command::new("timeout").args(["-s", "KILL", "20", "bash", "-c", &script]).output().expect("runs");
        (String::from_utf8_lossy(&out.stdout).into_owned(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    for option in ["-Sf 8", "-Sn 20", "-Sd 10000", "-Sv 200000"] {
        let (said, errors) = run(&format!("ulimit {option}"));
        assert_eq!(said, "runs\n", "{option}: {errors}");
    }
    for (option, limit) in [("-f", 8), ("-n", 20), ("-v", 100_000)] {
        let (_, errors) = run(&format!("ulimit {option} {limit}"));
        assert!(errors.ends_with(&format!("may be too low: ulimit {option}\n")), "{option}: {errors}");
    }
}

#[test]
fn an_unknown_system_call_is_logged_once() {
    let log = std::env::temp_dir().join(format!("vizor-unknown-{}", std::process::id()));
    let calls = "import ctypes; l = ctypes.CDLL(None, use_errno=True)\n\
                 for _ in range(3): print(l.syscall(999), ctypes.get_errno())";
    let out = Command::new("timeout")
        .args(["-s", "KILL", "20", VIZOR, "do", "--debug-log"])
        .arg(&log)
        .args(["--", "/usr/bin/python3", "-c", calls])
        .stdin(Stdio::null())
        .output()
        .expect("vizor runs");
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    let _ = std::fs::remove_file(&log);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "-1 38\n-1 38\n-1 38\n");
    assert_eq!(text.matches("system call 999").count(), 1, "{text}");
}
