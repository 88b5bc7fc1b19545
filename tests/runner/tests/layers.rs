//! The layers of the workspace: dependencies between crates point down only.

use std::collections::BTreeMap;
use std::process::Command;

/// Crates by layer, lowest first. A crate may depend on crates of lower layers, and on those of its own that stand
/// before it in the list; features never depend on each other.
const LAYERS: &[(&str, bool, &[&str])] = &[
    ("pure", true, &["abi", "lock", "ldisc"]),
    ("host", true, &["host"]),
    ("platform", true, &["platform", "systrap"]),
    ("objects", false, &["mm", "vfs"]),
    ("kernel", true, &["kernel"]),
    ("features", false, &["fs", "net", "ipc"]),
    ("system calls", true, &["syscalls"]),
    ("process", true, &["sentry", "vizor"]),
];

/// The crates that may contain `unsafe`.
const UNSAFE: &[&str] = &["host", "systrap"];

fn short(name: &str) -> &str {
    name.strip_prefix("vizor-").unwrap_or(name)
}

fn rank(name: &str) -> Option<(usize, usize)> {
    LAYERS.iter().enumerate().find_map(|(layer, (_, _, crates))| Some((layer, crates.iter().position(|c| *c == name)?)))
}

fn allowed(from: &str, to: &str) -> bool {
    let (Some((from_layer, from_at)), Some((to_layer, to_at))) = (rank(from), rank(to)) else { return false };
    let same = LAYERS[from_layer].1 && from_layer == to_layer && to_at < from_at;
    to_layer < from_layer || same
}

fn metadata() -> serde_json::Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let out = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .expect("cargo metadata runs");
    serde_json::from_slice(&out.stdout).expect("cargo metadata prints JSON")
}

fn dependencies() -> BTreeMap<String, Vec<String>> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages").clone();
    let mut found = BTreeMap::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default().to_owned();
        let normal = package["dependencies"].as_array().cloned().unwrap_or_default();
        let inner = normal.iter().filter(|d| d["kind"].is_null() && d["path"].is_string());
        let names = inner.filter_map(|d| d["name"].as_str()).map(|n| short(n).to_owned()).collect();
        found.insert(name, names);
    }
    found
}

#[test]
fn arrows_point_down() {
    for (name, dependencies) in dependencies() {
        let name = short(&name);
        if name == "tests" || name.starts_with("oracle") || name == "bench" {
            continue;
        }
        assert!(rank(name).is_some(), "crate {name} is in no layer: add it to LAYERS");
        for other in dependencies {
            assert!(allowed(name, &other), "{name} may not depend on {other}");
        }
    }
}

#[test]
fn unsafe_code_is_forbidden_elsewhere() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates");
    for (_, _, crates) in LAYERS {
        for name in crates.iter().filter(|n| !UNSAFE.contains(n)) {
            let manifest = std::fs::read_to_string(format!("{root}/{name}/Cargo.toml")).expect("a manifest");
            assert!(manifest.contains("[lints]\nworkspace = true"), "{name} must inherit the workspace's lints");
        }
    }
}

#[test]
fn files_stay_short() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates");
    let mut todo = vec![std::path::PathBuf::from(root)];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let lines = std::fs::read_to_string(&path).expect("a source file").lines().count();
                assert!(lines <= 800, "{} has {lines} lines; split it by concern", path.display());
            }
        }
    }
}
