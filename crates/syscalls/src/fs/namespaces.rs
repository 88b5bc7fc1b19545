//! unshare(2).

use crate::args::{Arg, Args};
use crate::table::Entry;
use abi::Errno;
use abi::raw::general as c;
use kernel::{CurrentTask, SysResult};
use vfs::Capability;

/// Serves this call.
pub const TABLE: &[Entry] = &[Entry::new(272, "unshare", unshare, &[Arg::Flags(FLAGS)])];

const FLAGS: &[(u64, &str)] = &[
    (0x100, "CLONE_VM"),
    (0x200, "CLONE_FS"),
    (0x400, "CLONE_FILES"),
    (0x800, "CLONE_SIGHAND"),
    (0x1_0000, "CLONE_THREAD"),
    (0x2_0000, "CLONE_NEWNS"),
    (0x4_0000, "CLONE_SYSVSEM"),
    (0x200_0000, "CLONE_NEWCGROUP"),
    (0x400_0000, "CLONE_NEWUTS"),
    (0x800_0000, "CLONE_NEWIPC"),
    (0x1000_0000, "CLONE_NEWUSER"),
    (0x2000_0000, "CLONE_NEWPID"),
    (0x4000_0000, "CLONE_NEWNET"),
];

/// Namespaces of which only the first of each kind exists.
const OTHER_NAMESPACES: u32 = 0x7600_0080;

fn unshare(t: &mut CurrentTask, a: Args) -> SysResult {
    const KNOWN: u32 = c::CLONE_VM
        | c::CLONE_FS
        | c::CLONE_FILES
        | c::CLONE_SIGHAND
        | c::CLONE_THREAD
        | c::CLONE_NEWNS
        | c::CLONE_SYSVSEM
        | c::CLONE_NEWIPC
        | OTHER_NAMESPACES;
    let flags = a.u32(0);
    if flags & !KNOWN != 0 {
        return Err(Errno::EINVAL.into());
    }
    let alone = t.group.signals.lock().threads.len() == 1;
    if flags & (c::CLONE_THREAD | c::CLONE_SIGHAND | c::CLONE_VM) != 0 && !alone {
        return Err(Errno::EINVAL.into());
    }
    if flags & OTHER_NAMESPACES != 0 {
        return Err(Errno::EPERM.into());
    }
    if flags & (c::CLONE_NEWNS | c::CLONE_NEWIPC) != 0 && !t.creds().capable(Capability::SysAdmin) {
        return Err(Errno::EPERM.into());
    }
    if flags & c::CLONE_FILES != 0 {
        let own = t.fds().fork();
        t.set_fds(own);
    }
    if flags & (c::CLONE_FS | c::CLONE_NEWNS) != 0 {
        let own = t.fs().fork();
        t.set_fs(own);
    }
    if flags & c::CLONE_NEWNS != 0 {
        t.fs().unshare_mounts();
    }
    let new_ipc = flags & c::CLONE_NEWIPC != 0;
    if let Some(ipc) = t.ipc().filter(|_| new_ipc || flags & c::CLONE_SYSVSEM != 0) {
        t.set_ipc(ipc.inherit(new_ipc, false));
    }
    Ok(0)
}
