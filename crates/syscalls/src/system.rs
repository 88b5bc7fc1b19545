//! The system as a whole and what fits nowhere else (uname(2), sysinfo(2), prctl(2), getrandom(2)).

use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use abi::Errno;
use kernel::{CurrentTask, SysResult};
use std::sync::atomic::Ordering;
use vfs::{Capabilities, Capability, Credentials};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(63, "uname", uname, &[Arg::Ptr]),
    Entry::new(99, "sysinfo", sysinfo, &[Arg::Ptr]),
    Entry::new(103, "syslog", syslog, &[Arg::Int, Arg::Ptr, Arg::Int]),
    Entry::new(135, "personality", personality, &[Arg::Hex]),
    Entry::new(157, "prctl", prctl, &[Arg::Int, Arg::Hex, Arg::Hex, Arg::Hex, Arg::Hex]),
    Entry::new(158, "arch_prctl", arch_prctl, &[Arg::OneOf(ARCH), Arg::Ptr]),
    Entry::new(170, "sethostname", sethostname, &[Arg::InBuf(1), Arg::Size]),
    Entry::new(171, "setdomainname", setdomainname, &[Arg::InBuf(1), Arg::Size]),
    Entry::new(309, "getcpu", getcpu, &[Arg::Ptr, Arg::Ptr, Arg::Ptr]),
    Entry::new(318, "getrandom", getrandom, &[Arg::OutBuf, Arg::Size, Arg::Hex]),
    Entry::new(324, "membarrier", membarrier, &[Arg::Int, Arg::Hex, Arg::Int]),
];

const ARCH: &[(u64, &str)] =
    &[(0x1001, "ARCH_SET_GS"), (0x1002, "ARCH_SET_FS"), (0x1003, "ARCH_GET_FS"), (0x1004, "ARCH_GET_GS")];

/// What uname(2) calls itself: a recent long-term kernel, whose interfaces are served here.
pub const RELEASE: &str = "6.12.0-vizor";
/// And which build.
pub const VERSION: &str = "#1 SMP PREEMPT_DYNAMIC Vizor";
const UTS_LEN: usize = 65;

fn uname(t: &mut CurrentTask, a: Args) -> SysResult {
    let uts = t.kernel.uts.lock().clone();
    let fields: [&[u8]; 6] =
        [b"Linux", &uts.hostname, RELEASE.as_bytes(), VERSION.as_bytes(), b"x86_64", &uts.domainname];
    let mut out = [0u8; 6 * UTS_LEN];
    for (slot, field) in out.chunks_exact_mut(UTS_LEN).zip(fields) {
        for (to, from) in slot.iter_mut().take(UTS_LEN - 1).zip(field) {
            *to = *from;
        }
    }
    t.mm().copy_out(a.u64(0), &out)?;
    Ok(0)
}

fn name_argument(t: &CurrentTask, a: Args) -> Result<Vec<u8>, Errno> {
    if !t.creds().capable(Capability::SysAdmin) {
        return Err(Errno::EPERM);
    }
    let len = usize::try_from(a.i32(1)).map_err(|_| Errno::EINVAL)?;
    if len > UTS_LEN - 1 {
        return Err(Errno::EINVAL);
    }
    let mut name = vec![0; len];
    t.mm().copy_in(a.u64(0), &mut name)?;
    Ok(name)
}

fn sethostname(t: &mut CurrentTask, a: Args) -> SysResult {
    let name = name_argument(t, a)?;
    t.kernel.uts.lock().hostname = name;
    Ok(0)
}

fn setdomainname(t: &mut CurrentTask, a: Args) -> SysResult {
    let name = name_argument(t, a)?;
    t.kernel.uts.lock().domainname = name;
    Ok(0)
}

#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
struct SysInfo {
    uptime: i64,
    loads: [u64; 3],
    totalram: u64,
    freeram: u64,
    sharedram: u64,
    bufferram: u64,
    totalswap: u64,
    freeswap: u64,
    procs: u16,
    pad: u16,
    pad2: u32,
    totalhigh: u64,
    freehigh: u64,
    mem_unit: u32,
    pad3: u32,
}

fn sysinfo(t: &mut CurrentTask, a: Args) -> SysResult {
    let usage = t.kernel.frames.usage();
    let tasks = t.kernel.tree.lock().tasks.len();
    let info = SysInfo {
        // Begun seconds count.
        uptime: t.kernel.uptime_ns().div_ceil(1_000_000_000) as i64,
        loads: t.kernel.load_averages().map(|load| (load * 65536.0) as u64),
        totalram: usage.limit,
        freeram: usage.limit.saturating_sub(usage.used),
        sharedram: 0,
        bufferram: 0,
        totalswap: 0,
        freeswap: 0,
        procs: u16::try_from(tasks).unwrap_or(u16::MAX),
        pad: 0,
        pad2: 0,
        totalhigh: 0,
        freehigh: 0,
        mem_unit: 1,
        pad3: 0,
    };
    user::put(t, a.u64(0), &info)?;
    Ok(0)
}

/// The kernel's log is empty, and not for everyone.
fn syslog(t: &mut CurrentTask, a: Args) -> SysResult {
    const SIZE_UNREAD: i32 = 9;
    const SIZE_BUFFER: i32 = 10;
    if !t.creds().capable(Capability::Syslog) && !t.creds().capable(Capability::SysAdmin) {
        return Err(Errno::EPERM.into());
    }
    match a.i32(0) {
        0..=8 | SIZE_UNREAD => Ok(0),
        SIZE_BUFFER => Ok(1 << 17),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Linux's own is the only one; its flags are kept, though none changes anything.
fn personality(t: &mut CurrentTask, a: Args) -> SysResult {
    const PER_MASK: u32 = 0xff;
    let old = t.personality.load(Ordering::Relaxed);
    match a.u32(0) {
        u32::MAX => {}
        new if new & PER_MASK == 0 => t.personality.store(new, Ordering::Relaxed),
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(old.into())
}

fn arch_prctl(t: &mut CurrentTask, a: Args) -> SysResult {
    let limit = t.mm().user_range().end;
    t.unfold();
    match a.u32(0) {
        0x1001 | 0x1002 if a.u64(1) >= limit => Err(Errno::EPERM.into()),
        0x1001 => {
            t.regs.gs_base = a.u64(1);
            Ok(0)
        }
        0x1002 => {
            t.regs.fs_base = a.u64(1);
            Ok(0)
        }
        0x1003 => Ok(user::put(t, a.u64(1), &t.regs.fs_base).map(|()| 0)?),
        0x1004 => Ok(user::put(t, a.u64(1), &t.regs.gs_base).map(|()| 0)?),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn getcpu(t: &mut CurrentTask, a: Args) -> SysResult {
    let host = rustix::thread::sched_getcpu();
    let affinity = t.sched.lock().affinity;
    // The host places the thread as it likes; a guest that has chosen its processors is told one of them.
    let allowed = |cpu: &usize| affinity.0.get(cpu / 64).is_some_and(|word| word >> (cpu % 64) & 1 != 0);
    let cpu = Some(host).filter(allowed).or_else(|| (0..kernel::sched::cpu_count()).find(allowed));
    let cpu = u32::try_from(cpu.unwrap_or(0)).unwrap_or(0);
    user::put_if(t, a.u64(0), &cpu)?;
    user::put_if(t, a.u64(1), &0u32)?;
    Ok(0)
}

fn getrandom(t: &mut CurrentTask, a: Args) -> SysResult {
    const NONBLOCK: u32 = 1;
    const RANDOM: u32 = 2;
    const INSECURE: u32 = 4;
    let flags = a.u32(2);
    if flags & !(NONBLOCK | RANDOM | INSECURE) != 0 || flags & (RANDOM | INSECURE) == RANDOM | INSECURE {
        return Err(Errno::EINVAL.into());
    }
    let len = a.usize(1).min(i32::MAX as usize);
    let mut buf = [0; 4096];
    let mut done = 0;
    while done < len {
        let part = buf.get_mut(..(len - done).min(4096)).unwrap_or_default();
        let flags = rustix::rand::GetRandomFlags::empty();
        let got = rustix::rand::getrandom(&mut *part, flags).map_err(|_| Errno::EAGAIN)?;
        let part = part.get(..got).unwrap_or_default();
        if t.mm().copy_out(a.u64(0).wrapping_add(done as u64), part).is_err() {
            return if done > 0 { Ok(done as u64) } else { Err(Errno::EFAULT.into()) };
        }
        done += got;
        if done < len && t.interrupted() {
            break;
        }
    }
    Ok(done as u64)
}

/// Every guest thread passes through the kernel with full barriers when it is interrupted; the private commands do that.
fn membarrier(t: &mut CurrentTask, a: Args) -> SysResult {
    const QUERY: i32 = 0;
    const GLOBAL: i32 = 1;
    const PRIVATE_EXPEDITED: i32 = 8;
    const REGISTER_PRIVATE_EXPEDITED: i32 = 16;
    if a.u32(1) != 0 {
        return Err(Errno::EINVAL.into());
    }
    match a.i32(0) {
        QUERY => Ok((GLOBAL | PRIVATE_EXPEDITED | REGISTER_PRIVATE_EXPEDITED) as u64),
        GLOBAL | PRIVATE_EXPEDITED => {
            let signals = t.group.signals.lock();
            for thread in signals.threads.values() {
                thread.work.kick();
            }
            std::sync::atomic::fence(Ordering::SeqCst);
            Ok(0)
        }
        REGISTER_PRIVATE_EXPEDITED => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

const PR_SET_PDEATHSIG: i32 = 1;
const PR_GET_PDEATHSIG: i32 = 2;
const PR_GET_DUMPABLE: i32 = 3;
const PR_SET_DUMPABLE: i32 = 4;
const PR_GET_KEEPCAPS: i32 = 7;
const PR_SET_KEEPCAPS: i32 = 8;
const PR_SET_NAME: i32 = 15;
const PR_GET_NAME: i32 = 16;
const PR_CAPBSET_READ: i32 = 23;
const PR_CAPBSET_DROP: i32 = 24;
const PR_GET_SECUREBITS: i32 = 27;
const PR_SET_SECUREBITS: i32 = 28;
const PR_SET_TIMERSLACK: i32 = 29;
const PR_GET_TIMERSLACK: i32 = 30;
const PR_SET_CHILD_SUBREAPER: i32 = 36;
const PR_GET_CHILD_SUBREAPER: i32 = 37;
const PR_SET_NO_NEW_PRIVS: i32 = 38;
const PR_GET_NO_NEW_PRIVS: i32 = 39;
const PR_GET_TID_ADDRESS: i32 = 40;
const PR_SET_THP_DISABLE: i32 = 41;
const PR_GET_THP_DISABLE: i32 = 42;
const PR_CAP_AMBIENT: i32 = 47;
const KEEP_CAPS: u32 = 0x10;

fn prctl(t: &mut CurrentTask, a: Args) -> SysResult {
    match a.i32(0) {
        PR_SET_PDEATHSIG if a.u64(1) <= 64 => {
            t.task.parent_death_signal.store(a.i32(1), Ordering::Relaxed);
            Ok(0)
        }
        PR_GET_PDEATHSIG => {
            let signal = t.task.parent_death_signal.load(Ordering::Relaxed);
            Ok(user::put(t, a.u64(1), &signal).map(|()| 0)?)
        }
        PR_GET_DUMPABLE => Ok(t.group.dumpable.load(Ordering::Relaxed).into()),
        PR_SET_DUMPABLE if a.u64(1) <= 1 => {
            t.group.dumpable.store(a.u64(1) == 1, Ordering::Relaxed);
            Ok(0)
        }
        PR_SET_NAME => {
            let mut name = [0; 16];
            let text = t.mm().copy_in_cstr(a.u64(1), 16);
            let text = match text {
                Ok(text) => text,
                // Longer names are cut.
                Err(_) => {
                    t.mm().copy_in(a.u64(1), &mut name)?;
                    name.to_vec()
                }
            };
            t.task.set_name(&text);
            Ok(0)
        }
        PR_GET_NAME => {
            let mut out = [0; 16];
            for (to, from) in out.iter_mut().zip(t.name()) {
                *to = from;
            }
            t.mm().copy_out(a.u64(1), &out)?;
            Ok(0)
        }
        PR_SET_TIMERSLACK => {
            let default = t.default_timer_slack.load(Ordering::Relaxed);
            // Not positive as a long: the default.
            let slack = if a.u64(1).cast_signed() <= 0 { default } else { a.u64(1) };
            t.timer_slack.store(slack, Ordering::Relaxed);
            Ok(0)
        }
        PR_GET_TIMERSLACK => Ok(t.timer_slack.load(Ordering::Relaxed)),
        PR_SET_THP_DISABLE => Ok(0),
        PR_GET_THP_DISABLE => Ok(0),
        PR_SET_CHILD_SUBREAPER => {
            t.group.subreaper.store(a.u64(1) != 0, Ordering::Relaxed);
            Ok(0)
        }
        PR_GET_CHILD_SUBREAPER => {
            let on = i32::from(t.group.subreaper.load(Ordering::Relaxed));
            Ok(user::put(t, a.u64(1), &on).map(|()| 0)?)
        }
        PR_GET_TID_ADDRESS => Ok(user::put(t, a.u64(1), &t.local().clear_tid()).map(|()| 0)?),
        _ => prctl_security(t, a),
    }
}

fn prctl_security(t: &mut CurrentTask, a: Args) -> SysResult {
    let old = t.creds().clone();
    let set = |t: &mut CurrentTask, new: Credentials| {
        t.set_creds(new);
        Ok(0)
    };
    match a.i32(0) {
        PR_GET_KEEPCAPS => Ok((old.securebits & KEEP_CAPS != 0).into()),
        PR_SET_KEEPCAPS if a.u64(1) <= 1 => {
            let bit = if a.u64(1) == 1 { KEEP_CAPS } else { 0 };
            set(t, Credentials { securebits: old.securebits & !KEEP_CAPS | bit, ..Credentials::clone(&old) })
        }
        PR_CAPBSET_READ if a.u64(1) <= 40 => Ok(old.bounding.0 >> a.u64(1) & 1),
        PR_CAPBSET_DROP if a.u64(1) <= 40 => {
            if !old.capable(Capability::Setpcap) {
                return Err(Errno::EPERM.into());
            }
            let bounding = Capabilities(old.bounding.0 & !(1 << a.u64(1)));
            set(t, Credentials { bounding, ..Credentials::clone(&old) })
        }
        PR_GET_SECUREBITS => Ok(old.securebits.into()),
        PR_SET_SECUREBITS => {
            // Each bit has a lock above it; a lock once set holds for good.
            const LOCKS: u32 = 0xaa;
            const ALL: u32 = 0xff;
            let (was, new) = (old.securebits, a.u32(1));
            let locked = (was & LOCKS) >> 1 & (was ^ new) != 0 || was & LOCKS & !new != 0;
            if locked || a.u64(1) & !u64::from(ALL) != 0 || !old.capable(Capability::Setpcap) {
                return Err(Errno::EPERM.into());
            }
            set(t, Credentials { securebits: a.u32(1), ..Credentials::clone(&old) })
        }
        PR_SET_NO_NEW_PRIVS if a.u64(1) == 1 && a.u64(2) == 0 && a.u64(3) == 0 && a.u64(4) == 0 => {
            set(t, Credentials { no_new_privs: true, ..Credentials::clone(&old) })
        }
        PR_GET_NO_NEW_PRIVS => Ok(old.no_new_privs.into()),
        PR_CAP_AMBIENT => ambient(t, a, &old),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn ambient(t: &mut CurrentTask, a: Args, old: &Credentials) -> SysResult {
    let (operation, cap) = (a.u64(1), a.u64(2));
    if operation == 4 && cap == 0 {
        t.set_creds(Credentials { ambient: Capabilities::NONE, ..old.clone() });
        return Ok(0);
    }
    if cap > 40 {
        return Err(Errno::EINVAL.into());
    }
    let bit = 1 << cap;
    let ambient = match operation {
        1 => return Ok(old.ambient.0 >> cap & 1),
        2 if old.permitted.0 & old.inheritable.0 & bit == 0 => return Err(Errno::EPERM.into()),
        2 => old.ambient.0 | bit,
        3 => old.ambient.0 & !bit,
        _ => return Err(Errno::EINVAL.into()),
    };
    t.set_creds(Credentials { ambient: Capabilities(ambient), ..old.clone() });
    Ok(0)
}
