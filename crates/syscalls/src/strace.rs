//! System-call traces: `tid name(arguments) = result`, much as strace(1) prints them.

use crate::args::{Arg, Args};
use crate::table::Entry;
use abi::signal::{SigSet, name as signal_name};
use kernel::{CurrentTask, SysErr, SysResult};
use std::fmt::Write;

/// Bytes of a buffer or string that are shown.
const SHOWN: usize = 48;

/// Arguments as text, made before the call: only those that it reads. The others are added after it.
pub(crate) fn entering(task: &CurrentTask, entry: &Entry, args: Args) -> Vec<Option<String>> {
    entry.args.iter().enumerate().map(|(at, arg)| show(task, *arg, at, args)).collect()
}

/// Writes the line of a call that has ended.
pub(crate) fn leaving(task: &CurrentTask, entry: &Entry, args: Args, before: Vec<Option<String>>, result: SysResult) {
    let mut line = format!("[{:5}] {}(", task.tid(), entry.name);
    for (at, text) in before.into_iter().enumerate() {
        if at > 0 {
            line.push_str(", ");
        }
        match text {
            Some(text) => line.push_str(&text),
            None => line.push_str(&out_buffer(task, args.u64(at), result)),
        }
    }
    line.push_str(") = ");
    match result {
        Ok(value) if value < 4096 || (value as i64) < 0 => _ = write!(line, "{}", value as i64),
        Ok(value) => _ = write!(line, "{value:#x}"),
        Err(SysErr::Errno(errno)) => _ = write!(line, "-1 {errno}"),
        Err(SysErr::Restart(how)) => _ = write!(line, "? restart {how:?}"),
    }
    task.kernel.trace.strace(&line);
}

/// Writes the line of a call that does not exist.
pub(crate) fn unknown(task: &CurrentTask, number: u64, args: Args) {
    let [a, b, c, d, e, f] = args.0;
    task.kernel.trace.strace(&format!(
        "[{:5}] syscall_{number}({a:#x}, {b:#x}, {c:#x}, {d:#x}, {e:#x}, {f:#x}) = -1 ENOSYS",
        task.tid()
    ));
}

fn show(task: &CurrentTask, arg: Arg, at: usize, args: Args) -> Option<String> {
    let value = args.u64(at);
    Some(match arg {
        Arg::OutBuf => return None,
        Arg::Fd | Arg::Int | Arg::Pid => format!("{}", value as i32),
        Arg::AtFd if value as i32 == -100 => "AT_FDCWD".to_owned(),
        Arg::AtFd => format!("{}", value as i32),
        Arg::Path => string(task, value),
        Arg::InBuf(len) => buffer(task, value, args.usize(len)),
        Arg::Ptr if value == 0 => "NULL".to_owned(),
        Arg::Ptr | Arg::Hex => format!("{value:#x}"),
        Arg::Size => format!("{value}"),
        Arg::Mode => format!("{value:#o}"),
        Arg::Signal => signal_name(value as i32),
        Arg::Flags(names) => flags(value, names),
        Arg::OneOf(names) => {
            let found = names.iter().find(|(bits, _)| *bits == value);
            found.map_or_else(|| format!("{value:#x}"), |(_, name)| (*name).to_owned())
        }
        Arg::InTimespec => timespec(task, value),
        Arg::InSigSet => sigset(task, value),
        Arg::Strings => strings(task, value),
    })
}

fn flags(value: u64, names: &[(u64, &str)]) -> String {
    let mut left = value;
    let mut out = String::new();
    for (bits, name) in names {
        if *bits != 0 && left & bits == *bits {
            left &= !bits;
            out.push_str(if out.is_empty() { "" } else { "|" });
            out.push_str(name);
        }
    }
    if left != 0 || out.is_empty() {
        let _ = write!(out, "{}{left:#x}", if out.is_empty() { "" } else { "|" });
    }
    out
}

fn quoted(bytes: &[u8], more: bool) -> String {
    format!("\"{}\"{}", bytes.escape_ascii(), if more { "..." } else { "" })
}

fn string(task: &CurrentTask, addr: u64) -> String {
    if addr == 0 {
        return "NULL".to_owned();
    }
    match task.mm().copy_in_cstr(addr, 4096) {
        Ok(text) => quoted(&text, false),
        Err(_) => format!("{addr:#x}"),
    }
}

fn buffer(task: &CurrentTask, addr: u64, len: usize) -> String {
    let mut bytes = vec![0; len.min(SHOWN)];
    match task.mm().copy_in(addr, &mut bytes) {
        Ok(()) if addr != 0 => quoted(&bytes, len > SHOWN),
        _ => format!("{addr:#x}"),
    }
}

fn out_buffer(task: &CurrentTask, addr: u64, result: SysResult) -> String {
    match result {
        Ok(len) => buffer(task, addr, usize::try_from(len).unwrap_or(0)),
        Err(_) => format!("{addr:#x}"),
    }
}

fn timespec(task: &CurrentTask, addr: u64) -> String {
    let mut bytes = [0; 16];
    if addr == 0 || task.mm().copy_in(addr, &mut bytes).is_err() {
        return if addr == 0 { "NULL".to_owned() } else { format!("{addr:#x}") };
    }
    let word = |at: usize| i64::from_le_bytes(std::array::from_fn(|i| bytes.get(at + i).copied().unwrap_or(0)));
    format!("{{{}, {}}}", word(0), word(8))
}

fn sigset(task: &CurrentTask, addr: u64) -> String {
    let mut bytes = [0; 8];
    if addr == 0 || task.mm().copy_in(addr, &mut bytes).is_err() {
        return if addr == 0 { "NULL".to_owned() } else { format!("{addr:#x}") };
    }
    let set = SigSet(u64::from_le_bytes(bytes));
    let names: Vec<_> = (1..=64).filter(|s| set.has(*s)).map(signal_name).collect();
    if names.len() > 32 { format!("~{:#x}", !set.0) } else { format!("[{}]", names.join(" ")) }
}

fn strings(task: &CurrentTask, addr: u64) -> String {
    let mut out = Vec::new();
    for at in 0..16u64 {
        let mut bytes = [0; 8];
        if task.mm().copy_in(addr.wrapping_add(at * 8), &mut bytes).is_err() {
            break;
        }
        let text = u64::from_le_bytes(bytes);
        if text == 0 {
            return format!("[{}]", out.join(", "));
        }
        out.push(string(task, text));
    }
    format!("[{}, ...]", out.join(", "))
}
