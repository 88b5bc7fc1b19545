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

/// Fills the disk at /mnt, and then tries everything that takes space.
const FILL: &str = r#"
import errno, mmap, os
f, n = open("/mnt/a", "wb", 0), 0
try:
    while True: n += f.write(b"x" * 65536)
except OSError as e: print("write", errno.errorcode[e.errno], n)
fd = os.open("/mnt/a", os.O_RDWR)
end = n + 65536
os.ftruncate(fd, end)
m = mmap.mmap(fd, end)
r, w = os.pipe()
os.write(w, b"y" * 100)
try: print(os.readv(r, [memoryview(m)[end - 30000:end - 29900]]))
except OSError as e: print("readv into a hole", errno.errorcode[e.errno])
p = os.fork()
if p == 0:
    m[end - 20000] = 1
    os._exit(0)
print("store into a hole", os.waitpid(p, 0)[1])
try: os.posix_fallocate(fd, 0, 100 << 20)
except OSError as e: print("fallocate", errno.errorcode[e.errno])
f.truncate(4096)
print(f.write(b"z" * 4096), "written again")
"#;

#[test]
fn a_full_disk_is_reported_as_without_the_sandbox() {
    let run = |prefix: &str| {
        let script = format!("mount -t tmpfs -o size=1m t /mnt; exec {prefix} /usr/bin/python3 -c '{FILL}' >&2");
        on_a_poorer_host(&script)
    };
    let natively = run("");
    assert!(natively.contains("write ENOSPC") && natively.ends_with("written again\n"), "{natively}");
    assert_eq!(run(&format!("{VIZOR} do --rw")), natively);
    assert_eq!(run(&format!("{VIZOR} do --volume /mnt:/mnt")), natively);
}

#[test]
fn closed_standard_descriptors_stay_closed() {
    for closed in ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"] {
        let run = |prefix: &str| {
            let script = format!("{prefix} sh -c 'echo out; echo err >&2; read x; exit 3' {closed}; echo $? >&2");
            let out = Command::new("timeout").args(["-s", "KILL", "20", "bash", "-c", &script]).output().expect("runs");
            (String::from_utf8_lossy(&out.stdout).into_owned(), String::from_utf8_lossy(&out.stderr).into_owned())
        };
        assert_eq!(run(&format!("{VIZOR} do")), run(""), "{closed}");
    }
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

#[test]
fn a_guest_is_refused_memory_that_the_host_does_not_give() {
    // What grows starts when all have been forked: a fork is refused too then, and the shell gives up.
    let hog = "(sleep 0.3; exec head -c 3000000000 /dev/zero) | tail | wc -c >/dev/null; echo lives";
    let script = format!("ulimit -v 1000000; exec {VIZOR} do sh -c '{hog}'");
    let out = Command::new("timeout").args(["-s", "KILL", "60", "bash", "-c", &script]).output().expect("runs");
    let errors = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "lives\n", "{errors}");
    // A program that can't be started, or the end of the one that grows, as by Linux's killer.
    let refused = ["Cannot allocate memory", "Killed"].into_iter().any(|how| errors.contains(how));
    assert!(refused && !errors.contains("panicked"), "{errors}");
}

#[test]
fn a_fifo_of_the_hosts_keeps_nobody() {
    for option in ["", "--rw"] {
        let dir = std::env::temp_dir().join(format!("vizor-fifo-{option}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let script =
            "mkfifo f; vizor do OPTION sh -c 'timeout 0.2 cat f; echo $?; cat f & kill -9 $!; wait $!; echo $?; \
                      (echo through > f) & cat f; ls f; rm f'; ls"
                .replace("vizor", VIZOR)
                .replace("OPTION", option);
        let out = Command::new("timeout")
            .args(["-s", "KILL", "20", "bash", "-c", &script])
            .current_dir(&dir)
            .stdin(Stdio::null())
            .output()
            .expect("runs");
        let _ = std::fs::remove_dir_all(&dir);
        let left = if option.is_empty() { "f\n" } else { "" };
        assert_eq!(String::from_utf8_lossy(&out.stdout), format!("124\n137\nthrough\nf\n{left}"));
    }
}
