//! execve(2) and execveat(2).

use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use abi::Errno;
use abi::signal::SIGSEGV;
use kernel::exec::{ARG_LEN_MAX, LoadError, Program, exec_credentials, load};
use kernel::{CurrentTask, ExitStatus, SysResult};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vfs::access::MAY_READ;
use vfs::{At, WalkFlags, ops};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(59, "execve", execve, &[Arg::Path, Arg::Strings, Arg::Ptr]),
    Entry::new(322, "execveat", execveat, &[Arg::AtFd, Arg::Path, Arg::Strings, Arg::Ptr, Arg::Hex]),
];

/// Strings in an argument list, whatever their length.
const COUNT_MAX: usize = 1 << 20;
/// Bytes of arguments and environment that are read before the program's own limit is applied.
const BYTES_MAX: usize = 8 << 20;

const AT_FDCWD: i32 = -100;
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_EMPTY_PATH: u32 = 0x1000;
const ADDR_NO_RANDOMIZE: u32 = 0x0004_0000;

/// Reads a null-terminated array of strings.
fn strings(t: &CurrentTask, addr: u64, bytes: &mut usize) -> Result<Vec<Vec<u8>>, Errno> {
    let mut found = Vec::new();
    if addr == 0 {
        return Ok(found);
    }
    while found.len() < COUNT_MAX {
        let at: u64 = user::get(t, addr.wrapping_add(8 * found.len() as u64))?;
        if at == 0 {
            return Ok(found);
        }
        let text = t.mm().copy_in_cstr(at, ARG_LEN_MAX).map_err(|e| match e {
            Errno::ENAMETOOLONG => Errno::E2BIG,
            other => other,
        })?;
        *bytes = bytes.saturating_add(text.len() + 9);
        if *bytes > BYTES_MAX {
            break;
        }
        found.push(text);
    }
    Err(Errno::E2BIG)
}

fn execve(t: &mut CurrentTask, a: Args) -> SysResult {
    exec(t, AT_FDCWD, a.u64(0), a.u64(1), a.u64(2), 0)
}

fn execveat(t: &mut CurrentTask, a: Args) -> SysResult {
    exec(t, a.i32(0), a.u64(1), a.u64(2), a.u64(3), a.u32(4))
}

fn exec(t: &mut CurrentTask, dirfd: i32, path: u64, argv: u64, envp: u64, flags: u32) -> SysResult {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = user::path(t, path)?;
    let start = if dirfd == AT_FDCWD || path.starts_with(b"/") { None } else { Some(t.fds().get_any(dirfd)?) };
    let mut walk = WalkFlags::empty();
    walk.set(WalkFlags::FOLLOW, flags & AT_SYMLINK_NOFOLLOW == 0);
    walk.set(WalkFlags::EMPTY, flags & AT_EMPTY_PATH != 0);
    let cx = t.walk_cx();
    let at = At { start: start.as_ref().map(|f| f.path()), path: &path };
    let readable = Cell::new(true);
    let open_exec = |at: At<'_>, walk: WalkFlags| {
        let file = ops::open_exec(&cx, at, walk)?;
        readable.set(readable.get() && cx.permission(file.path(), MAY_READ).is_ok());
        Ok(Arc::new(file))
    };
    let file = open_exec(at, walk)?;
    let mut bytes = 0;
    let mut argv = strings(t, argv, &mut bytes)?;
    let envp = strings(t, envp, &mut bytes)?;
    if argv.is_empty() {
        // Linux passes one empty string rather than none.
        argv.push(Vec::new());
    }
    let path_is_descriptor = dirfd != AT_FDCWD && !path.starts_with(b"/");
    let shown = match dirfd {
        AT_FDCWD => path,
        _ if path.starts_with(b"/") => path,
        fd if path.is_empty() => format!("/dev/fd/{fd}").into_bytes(),
        fd => [format!("/dev/fd/{fd}/").as_bytes(), &path].concat(),
    };
    // A script is named by its descriptor, which its interpreter must still have.
    let closed = path_is_descriptor && t.fds().cloexec(dirfd)?;
    let called = file.path().dentry.clone();
    let limits = t.group.limits.lock().clone();
    let fixed = t.personality.load(Ordering::Relaxed) & ADDR_NO_RANDOMIZE != 0;
    let program = Program { file, path: shown, argv, envp, fixed };
    let watched = t.traced_by_unprivileged();
    let set_id = |file: &vfs::OpenFile| exec_credentials(t.creds(), file, watched);
    let mut open = |path: &[u8]| open_exec(At::cwd(path), WalkFlags::FOLLOW);
    let loaded = load(&t.kernel, t, &set_id, &limits, program, &mut open);
    drop(cx);
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(LoadError::Errno(errno)) => return Err(errno.into()),
        Err(LoadError::Fatal(_)) => {
            t.end_group(ExitStatus::Killed { signal: SIGSEGV, core: false });
            return Ok(0);
        }
    };
    if closed && !Arc::ptr_eq(&loaded.exe.place().dentry, &called) {
        return Err(Errno::ENOENT.into());
    }
    t.exec(loaded, readable.get())?;
    // The new program's registers are all set, rax among them.
    Ok(0)
}
