//! The table of system calls, and their dispatch.

use crate::args::{Arg, Args};
use crate::strace;
use abi::Errno;
use kernel::{CurrentTask, Dispatch, SysResult};
use std::sync::atomic::{AtomicU64, Ordering};

/// Serves one system call.
pub type Handler = fn(&mut CurrentTask, Args) -> SysResult;

/// One system call.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its number.
    pub number: u16,
    /// Its name.
    pub name: &'static str,
    /// What serves it.
    pub handler: Handler,
    /// Its arguments.
    pub args: &'static [Arg],
}

impl Entry {
    /// An entry of a family's table.
    #[must_use]
    pub const fn new(number: u16, name: &'static str, handler: Handler, args: &'static [Arg]) -> Entry {
        Entry { number, name, handler, args }
    }
}

/// Numbers in the table; Linux 6.18 ends at 470.
const SIZE: usize = 480;

/// All system calls by number.
pub struct Table {
    entries: Box<[Option<Entry>; SIZE]>,
    /// Unknown numbers that were logged, a bit each.
    unknown: [AtomicU64; SIZE / 64 + 1],
}

impl Default for Table {
    fn default() -> Table {
        let mut entries = Box::new([None; SIZE]);
        for family in families() {
            for entry in *family {
                if let Some(slot) = entries.get_mut(usize::from(entry.number)) {
                    *slot = Some(*entry);
                }
            }
        }
        Table { entries, unknown: Default::default() }
    }
}

const FAMILIES: &[&[Entry]] = &[
    crate::cred::TABLE,
    crate::epoll::TABLE,
    crate::exec::TABLE,
    crate::futex::TABLE,
    crate::memory::TABLE,
    crate::numa::TABLE,
    crate::peers::TABLE,
    crate::pidfd::TABLE,
    crate::poll::TABLE,
    crate::process::TABLE,
    crate::ptrace::TABLE,
    crate::refused::TABLE,
    crate::sched::TABLE,
    crate::signal::TABLE,
    crate::system::TABLE,
    crate::time::TABLE,
    crate::timer::TABLE,
    crate::timerfd::TABLE,
];

fn families() -> impl Iterator<Item = &'static &'static [Entry]> {
    FAMILIES.iter().chain(crate::fs::TABLES).chain(crate::ipc::TABLES).chain(crate::net::TABLES)
}

/// Whether a system call of this name is served.
#[must_use]
pub fn serves(name: &str) -> bool {
    families().any(|family| family.iter().any(|entry| entry.name == name))
}

impl Table {
    fn unknown(&self, task: &CurrentTask, number: u64) -> SysResult {
        let index = usize::try_from(number).unwrap_or(SIZE).min(SIZE);
        let bit = 1 << (index % 64);
        let first = self.unknown.get(index / 64).is_some_and(|w| w.fetch_or(bit, Ordering::Relaxed) & bit == 0);
        if first {
            task.kernel
                .trace
                .log(&format!("system call {number} is not implemented (first seen in task {})", task.tid()));
        }
        Err(Errno::ENOSYS.into())
    }
}

impl Dispatch for Table {
    fn syscall(&self, task: &mut CurrentTask) -> SysResult {
        // Linux takes the number as an int.
        let number = u64::from(task.regs.orig_rax as u32);
        let args = Args(task.regs.syscall_args());
        let entry = usize::try_from(number).ok().and_then(|n| self.entries.get(n)).copied().flatten();
        let Some(entry) = entry else {
            if task.kernel.trace.straces_any() && task.kernel.trace.straces(&format!("syscall_{number}")) {
                strace::unknown(task, number, args);
            }
            return self.unknown(task, number);
        };
        if !task.kernel.trace.straces_any() || !task.kernel.trace.straces(entry.name) {
            return (entry.handler)(task, args);
        }
        let before = strace::entering(task, &entry, args);
        let result = (entry.handler)(task, args);
        strace::leaving(task, &entry, args, before, result);
        result
    }
}
