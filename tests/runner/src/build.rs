//! Finds or builds what the suites run: the conformance program and the `vizor` binary.

use std::fs;
use std::io::{self, Error};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace().join(dir),
        None => workspace().join("target"),
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|m| m.modified()).ok()
}

fn run(command: &mut Command) -> io::Result<()> {
    let status = command.status().map_err(|e| Error::other(format!("{command:?}: {e}")))?;
    if status.success() { Ok(()) } else { Err(Error::other(format!("{command:?}: {status}"))) }
}

/// Compiles the C cases that have changed, links them, and returns the program's path.
pub fn conformance_program() -> io::Result<PathBuf> {
    let sources = workspace().join("tests/conformance");
    let out = target_dir().join("conformance");
    fs::create_dir_all(&out)?;
    let mut files = vec![sources.join("harness.c")];
    for entry in fs::read_dir(sources.join("cases"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "c") {
            files.push(path);
        }
    }
    files.sort();
    let header = modified(&sources.join("harness.h"));
    let mut objects = Vec::new();
    for file in &files {
        let object = out.join(file.file_stem().unwrap_or_default()).with_extension("o");
        let built = modified(&object);
        if built < modified(file) || built < header {
            let mut cc = Command::new("cc");
            cc.args(["-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]);
            // Cases hand the kernel bad buffers and null pointers on purpose.
            cc.args(["-Wno-stringop-overflow", "-Wno-stringop-overread", "-Wno-nonnull", "-c", "-o"]);
            run(cc.arg(&object).arg(file))?;
        }
        objects.push(object);
    }
    // Linked under another name first: a run that is under way keeps its old program.
    let program = out.join("conformance");
    let fresh = out.join(format!("conformance.{}", std::process::id()));
    run(Command::new("cc").args(["-pthread", "-o"]).arg(&fresh).args(&objects))?;
    fs::rename(&fresh, &program)?;
    Ok(program)
}

/// Compiles the bench tool's micro workloads and returns the program's path.
pub fn bench_workloads() -> io::Result<PathBuf> {
    let source = workspace().join("tests/bench/workloads.c");
    fs::create_dir_all(target_dir())?;
    let program = target_dir().join("bench-workloads");
    run(Command::new("cc")
        .args(["-O2", "-Wall", "-Wextra", "-pthread", "-o"])
        .arg(&program)
        .arg(source)
        .arg("-lutil"))?;
    Ok(program)
}

/// The `vizor` binary: the one `VIZOR` names, or a fresh build.
pub fn vizor_binary() -> io::Result<PathBuf> {
    if let Some(path) = std::env::var_os("VIZOR") {
        return fs::canonicalize(&path).map_err(|e| Error::new(e.kind(), format!("VIZOR={}: {e}", path.display())));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo).args(["build", "-q", "-p", "vizor"]).current_dir(workspace()))?;
    fs::canonicalize(target_dir().join("debug/vizor"))
}
