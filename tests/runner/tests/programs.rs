//! Real programs: each script of `tests/programs` runs natively and under Vizor, each time in a fresh directory, and must
//! print and return the same. Arguments name scripts to run; none runs all.

use std::fs;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How long one script may take, under either.
const LIMIT: Duration = Duration::from_secs(180);

struct Outcome {
    output: String,
    status: String,
    took: Duration,
}

/// Runs a script; `launcher` stands in front of the command. Everything it started is killed with its group.
fn run(launcher: &[&str], script: &Path, dir: &Path) -> Outcome {
    fs::create_dir_all(dir).expect("a scratch directory");
    let mut words: Vec<&str> = launcher.to_vec();
    let path = script.to_str().expect("a readable path");
    words.extend(["bash", path]);
    let started = Instant::now();
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .current_dir(dir)
        .env("LC_ALL", "C")
        .env("TMPDIR", dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .process_group(0)
        .spawn()
        .expect("the launcher starts");
    let mut stdout = child.stdout.take().expect("a pipe");
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stdout.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status.code().map_or_else(|| format!("signal {:?}", status.signal()), |c| format!("status {c}"));
        }
        if started.elapsed() > LIMIT {
            break "time limit".to_owned();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let group = rustix::process::Pid::from_child(&child);
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    let _ = child.wait();
    let output = reader.join().unwrap_or_default();
    let _ = fs::remove_dir_all(dir);
    Outcome { output, status, took: started.elapsed() }
}

fn vizor() -> PathBuf {
    if let Some(path) = std::env::var_os("VIZOR") {
        return path.into();
    }
    let status = Command::new(env!("CARGO")).args(["build", "-q", "-p", "vizor"]).status().expect("cargo runs");
    assert!(status.success(), "vizor does not build");
    let mut path = std::env::current_exe().expect("a path");
    path.pop();
    path.pop();
    path.join("vizor")
}

fn differences(native: &str, sandboxed: &str) -> String {
    let (mut a, mut b) = (native.lines(), sandboxed.lines());
    let mut text = String::new();
    for line in 1.. {
        match (a.next(), b.next()) {
            (None, None) => break,
            (x, y) if x == y => {}
            (x, y) => {
                text +=
                    &format!("    line {line}: native {:?}, Vizor {:?}\n", x.unwrap_or("(end)"), y.unwrap_or("(end)"));
                if text.lines().count() >= 6 {
                    break;
                }
            }
        }
    }
    text
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs").canonicalize().expect("tests/programs");
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let mut scripts: Vec<PathBuf> = fs::read_dir(&root).expect("tests/programs").flatten().map(|e| e.path()).collect();
    scripts.retain(|p| p.extension().is_some_and(|e| e == "sh"));
    scripts.sort();
    let vizor = vizor();
    let vizor = vizor.to_str().expect("a readable path").to_owned();
    let (mut passed, mut failed) = (0, 0);
    for script in scripts {
        let name = script.file_stem().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        if !wanted.is_empty() && !wanted.contains(&name) {
            continue;
        }
        // The same path both times, since programs print it.
        let dir = std::env::temp_dir().join(format!("vizor-programs-{}/{name}", std::process::id()));
        let native = run(&[], &script, &dir);
        let sandboxed = run(&[&vizor, "do"], &script, &dir);
        let same = native.output == sandboxed.output && native.status == sandboxed.status;
        let ratio = sandboxed.took.as_secs_f64() / native.took.as_secs_f64().max(1e-3);
        println!("{} programs/{name} ({ratio:.1} times native)", if same { "PASS" } else { "FAIL" });
        if same {
            passed += 1;
        } else {
            failed += 1;
            println!("    native {}, Vizor {}", native.status, sandboxed.status);
            print!("{}", differences(&native.output, &sandboxed.output));
        }
    }
    println!("{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}
