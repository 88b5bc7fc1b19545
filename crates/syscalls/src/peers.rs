//! Other processes' memory and objects (process_vm_readv(2), kcmp(2)).

use crate::args::{Arg, Args};
use crate::table::Entry;
use abi::Errno;
use host::io::{Sink, Source};
use kernel::ptrace::may_access;
use kernel::work::bits;
use kernel::{CurrentTask, SysResult, Task};
use mm::{MemoryManager, UserSink, UserSource};
use std::sync::Arc;

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(
        310,
        "process_vm_readv",
        process_vm_readv,
        &[Arg::Pid, Arg::Ptr, Arg::Size, Arg::Ptr, Arg::Size, Arg::Hex],
    ),
    Entry::new(
        311,
        "process_vm_writev",
        process_vm_writev,
        &[Arg::Pid, Arg::Ptr, Arg::Size, Arg::Ptr, Arg::Size, Arg::Hex],
    ),
    Entry::new(312, "kcmp", kcmp, &[Arg::Pid, Arg::Pid, Arg::Int, Arg::Hex, Arg::Hex]),
];

/// Bytes that are moved at a time.
const PART: usize = 64 << 10;

/// A task that the caller may look into.
pub(crate) fn peer(t: &CurrentTask, tid: i32) -> Result<Arc<Task>, Errno> {
    let task = t.kernel.tree.task(tid).ok_or(Errno::ESRCH)?;
    if may_access(t, &task) { Ok(task) } else { Err(Errno::EPERM) }
}

fn process_vm_readv(t: &mut CurrentTask, a: Args) -> SysResult {
    process_vm(t, a, false)
}

fn process_vm_writev(t: &mut CurrentTask, a: Args) -> SysResult {
    process_vm(t, a, true)
}

fn process_vm(t: &CurrentTask, a: Args, write: bool) -> SysResult {
    if a.u64(5) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let local = t.mm().import_iovec(a.u64(1), a.u64(2))?;
    if local.iter().all(|range| range.len == 0) {
        return Ok(0);
    }
    let remote = t.mm().import_iovec(a.u64(3), a.u64(4))?;
    let other: Arc<MemoryManager> = peer(t, a.i32(0))?.mm().ok_or(Errno::ESRCH)?;
    if write {
        copy(t, UserSource::from_ranges(t.mm(), local), UserSink::from_ranges(&other, remote))
    } else {
        copy(t, UserSource::from_ranges(&other, remote), UserSink::from_ranges(t.mm(), local))
    }
}

/// Copies by way of a buffer, so that the locks of two memories are never held at once.
fn copy(t: &CurrentTask, mut from: UserSource<'_>, mut to: UserSink<'_>) -> SysResult {
    let mut buffer = vec![0; PART.min(from.remaining()).min(to.remaining())];
    let mut done = 0;
    loop {
        let want = buffer.len().min(from.remaining()).min(to.remaining());
        if want == 0 || t.work.get() & bits::EXIT != 0 {
            return Ok(done);
        }
        let moved = from.take(buffer.get_mut(..want).unwrap_or_default()).and_then(|got| {
            let put = to.put(buffer.get(..got).unwrap_or_default())?;
            Ok((put, put == want))
        });
        match moved {
            Ok((put, whole)) => {
                done += put as u64;
                if !whole {
                    return Ok(done);
                }
            }
            Err(_) if done > 0 => return Ok(done),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// 0 if two references lead to one object, else 1 or 2 by an order without meaning.
fn order<T: ?Sized>(one: &Arc<T>, other: &Arc<T>) -> u64 {
    let (one, other) = (Arc::as_ptr(one).cast::<()>(), Arc::as_ptr(other).cast::<()>());
    match one.cmp(&other) {
        std::cmp::Ordering::Equal => 0,
        std::cmp::Ordering::Less => 1,
        std::cmp::Ordering::Greater => 2,
    }
}

fn kcmp(t: &mut CurrentTask, a: Args) -> SysResult {
    const FILE: i32 = 0;
    const VM: i32 = 1;
    const FILES: i32 = 2;
    const FS: i32 = 3;
    const SIGHAND: i32 = 4;
    const IO: i32 = 5;
    const SYSVSEM: i32 = 6;
    let find = |at| t.kernel.tree.task(a.i32(at)).ok_or(Errno::ESRCH);
    let (one, other) = (find(0)?, find(1)?);
    if !may_access(t, &one) || !may_access(t, &other) {
        return Err(Errno::EPERM.into());
    }
    let pair = (&one, &other);
    let gone = Errno::ESRCH;
    Ok(match a.i32(2) {
        FILE => {
            let file = |task: &Task, at| -> Result<_, Errno> {
                let fd = i32::try_from(a.u64(at)).map_err(|_| Errno::EBADF)?;
                task.fds().ok_or(Errno::EBADF)?.get_any(fd)
            };
            order(&file(pair.0, 3)?, &file(pair.1, 4)?)
        }
        VM => order(&pair.0.mm().ok_or(gone)?, &pair.1.mm().ok_or(gone)?),
        FILES => order(&pair.0.fds().ok_or(gone)?, &pair.1.fds().ok_or(gone)?),
        FS => order(&pair.0.fs().ok_or(gone)?, &pair.1.fs().ok_or(gone)?),
        SIGHAND => order(&pair.0.group.actions(), &pair.1.group.actions()),
        // No task shares an I/O context with another one's process here.
        IO => order(&pair.0.group, &pair.1.group),
        SYSVSEM => order(&pair.0.ipc().ok_or(gone)?.undo, &pair.1.ipc().ok_or(gone)?.undo),
        _ => return Err(Errno::EINVAL.into()),
    })
}
