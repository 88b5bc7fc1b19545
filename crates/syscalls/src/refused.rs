//! Calls that a container is never allowed, and calls of features that this kernel is built without.

use crate::args::{Arg, Args};
use crate::table::Entry;
use abi::Errno;
use abi::signal::{SIGILL, SigInfo, code};
use kernel::signal::ForceHow;
use kernel::{CurrentTask, SysResult};
use vfs::Capability;

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(134, "uselib", absent, &[Arg::Path]),
    Entry::new(153, "vhangup", vhangup, &[]),
    Entry::new(154, "modify_ldt", absent, &[Arg::Int, Arg::Ptr, Arg::Size]),
    Entry::new(156, "_sysctl", absent, &[Arg::Ptr]),
    Entry::new(163, "acct", forbidden, &[Arg::Path]),
    Entry::new(167, "swapon", forbidden, &[Arg::Path, Arg::Hex]),
    Entry::new(168, "swapoff", forbidden, &[Arg::Path]),
    Entry::new(169, "reboot", forbidden, &[Arg::Hex, Arg::Hex, Arg::Hex, Arg::Ptr]),
    Entry::new(172, "iopl", iopl, &[Arg::Int]),
    Entry::new(173, "ioperm", ioperm, &[Arg::Size, Arg::Size, Arg::Int]),
    Entry::new(174, "create_module", absent, &[]),
    Entry::new(175, "init_module", forbidden, &[Arg::Ptr, Arg::Size, Arg::Ptr]),
    Entry::new(176, "delete_module", forbidden, &[Arg::Path, Arg::Hex]),
    Entry::new(177, "get_kernel_syms", absent, &[]),
    Entry::new(178, "query_module", absent, &[]),
    Entry::new(180, "nfsservctl", absent, &[]),
    Entry::new(181, "getpmsg", absent, &[]),
    Entry::new(182, "putpmsg", absent, &[]),
    Entry::new(183, "afs_syscall", absent, &[]),
    Entry::new(184, "tuxcall", absent, &[]),
    Entry::new(185, "security", absent, &[]),
    Entry::new(205, "set_thread_area", absent, &[Arg::Ptr]),
    Entry::new(211, "get_thread_area", absent, &[Arg::Ptr]),
    Entry::new(212, "lookup_dcookie", absent, &[]),
    Entry::new(214, "epoll_ctl_old", absent, &[]),
    Entry::new(215, "epoll_wait_old", absent, &[]),
    Entry::new(236, "vserver", absent, &[]),
    Entry::new(246, "kexec_load", forbidden, &[Arg::Ptr, Arg::Size, Arg::Ptr, Arg::Hex]),
    Entry::new(248, "add_key", absent, &[Arg::Path, Arg::Path, Arg::Ptr, Arg::Size, Arg::Int]),
    Entry::new(249, "request_key", absent, &[Arg::Path, Arg::Path, Arg::Path, Arg::Int]),
    Entry::new(250, "keyctl", absent, &[Arg::Int, Arg::Hex, Arg::Hex, Arg::Hex, Arg::Hex]),
    Entry::new(313, "finit_module", forbidden, &[Arg::Fd, Arg::Path, Arg::Hex]),
    Entry::new(320, "kexec_file_load", forbidden, &[Arg::Fd, Arg::Fd, Arg::Size, Arg::Path, Arg::Hex]),
    Entry::new(321, "bpf", forbidden, &[Arg::Int, Arg::Ptr, Arg::Size]),
    Entry::new(329, "pkey_mprotect", pkey_mprotect, &[Arg::Ptr, Arg::Size, Arg::Hex, Arg::Int]),
    Entry::new(330, "pkey_alloc", pkey_alloc, &[Arg::Hex, Arg::Hex]),
    Entry::new(331, "pkey_free", pkey_free, &[Arg::Int]),
    Entry::new(334, "rseq", absent, &[Arg::Ptr, Arg::Size, Arg::Hex, Arg::Hex]),
    Entry::new(335, "uretprobe", uretprobe, &[]),
    Entry::new(336, "uprobe", uprobe, &[]),
    Entry::new(425, "io_uring_setup", absent, &[Arg::Size, Arg::Ptr]),
    Entry::new(426, "io_uring_enter", absent, &[Arg::Fd]),
    Entry::new(427, "io_uring_register", absent, &[Arg::Fd]),
];

/// Needs a privilege over the machine, which nobody in a sandbox has.
fn forbidden(_: &mut CurrentTask, _: Args) -> SysResult {
    Err(Errno::EPERM.into())
}

/// Only the host's probes have a use for it. Newer hosts let this call and the next past every filter and answer them in
/// the stub, and so does this kernel.
fn uretprobe(t: &mut CurrentTask, _: Args) -> SysResult {
    t.kernel.force_signal(t, SigInfo::new(SIGILL, code::SI_KERNEL), ForceHow::Fault);
    Err(Errno::EPERM.into())
}

fn uprobe(_: &mut CurrentTask, _: Args) -> SysResult {
    Err(Errno::ENXIO.into())
}

/// As a kernel that was built without it.
fn absent(_: &mut CurrentTask, _: Args) -> SysResult {
    Err(Errno::ENOSYS.into())
}

fn vhangup(t: &mut CurrentTask, _: Args) -> SysResult {
    if !t.creds().capable(Capability::SysTtyConfig) {
        return Err(Errno::EPERM.into());
    }
    let tty = t.kernel.tree.lock().tty_of(t.group.tgid);
    if let Some(tty) = tty {
        tty.vhangup();
    }
    Ok(0)
}

fn iopl(_: &mut CurrentTask, a: Args) -> SysResult {
    match a.u32(0) {
        0 => Ok(0),
        1..=3 => Err(Errno::EPERM.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn ioperm(_: &mut CurrentTask, a: Args) -> SysResult {
    const PORTS: u64 = 65_536;
    if a.u64(0).checked_add(a.u64(1)).is_none_or(|end| end <= a.u64(0) || end > PORTS) {
        return Err(Errno::EINVAL.into());
    }
    if a.i32(2) != 0 { Err(Errno::EPERM.into()) } else { Ok(0) }
}

/// As on a processor without protection keys: only key -1, which is none, exists.
fn pkey_mprotect(t: &mut CurrentTask, a: Args) -> SysResult {
    if a.i32(3) != -1 {
        return Err(Errno::EINVAL.into());
    }
    t.mm().mprotect(a.u64(0), a.u64(1), a.u32(2))?;
    Ok(0)
}

fn pkey_alloc(_: &mut CurrentTask, a: Args) -> SysResult {
    const ACCESS_MASK: u64 = 3;
    if a.u64(0) != 0 || a.u64(1) & !ACCESS_MASK != 0 {
        return Err(Errno::EINVAL.into());
    }
    Err(Errno::ENOSPC.into())
}

fn pkey_free(_: &mut CurrentTask, _: Args) -> SysResult {
    Err(Errno::EINVAL.into())
}
