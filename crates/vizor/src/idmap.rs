//! User and group ids of the Sentry's user namespace: the same numbers inside as outside.
//!
//! Root maps every id that it has itself, so that files of all users keep their owners; anybody else only their own.

use sentry::Failure;
use std::fs;
use std::io;

/// Writes the maps of a process whose user namespace is new.
pub fn write(pid: i32) -> Result<(), Failure> {
    let uid = rustix::process::geteuid();
    let gid = rustix::process::getegid();
    if uid.is_root() && full(pid, "uid").is_ok() && full(pid, "gid").is_ok() {
        return Ok(());
    }
    let own = || -> io::Result<()> {
        put(pid, "setgroups", "deny")?;
        put(pid, "gid_map", &format!("{gid} {gid} 1", gid = gid.as_raw()))?;
        // Refused if root's full map stands already; then it may stay.
        match put(pid, "uid_map", &format!("{uid} {uid} 1", uid = uid.as_raw())) {
            Err(_) if uid.is_root() && has_map(pid) => Ok(()),
            other => other,
        }
    };
    own().map_err(|error| {
        let cure = if error.kind() == std::io::ErrorKind::NotFound { "; mount proc on /proc first" } else { "" };
        Failure::ours(format!("cannot map ids into a user namespace: {error}{cure}"))
    })
}

fn put(pid: i32, file: &str, text: &str) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/{file}"), text)
}

fn has_map(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/uid_map")).is_ok_and(|map| !map.trim().is_empty())
}

/// Maps all that is mapped here.
fn full(pid: i32, kind: &str) -> io::Result<()> {
    let here = fs::read_to_string(format!("/proc/self/{kind}_map"))?;
    let mut map = String::new();
    for line in here.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(inside), Some(_), Some(count)) = (fields.next(), fields.next(), fields.next()) else { continue };
        map.push_str(&format!("{inside} {inside} {count}\n"));
    }
    put(pid, &format!("{kind}_map"), &map)
}
