//! ptrace(2): decoding of its requests. What they do is in `kernel::ptrace`.

use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use abi::Errno;
use abi::signal::{NSIG, SigInfo, SigSet, Signal};
use kernel::ptrace::{Attach, LEGACY, Resume, WORDS, message, option, set_register, set_vectors, vectors};
use kernel::{CurrentTask, SysResult, Task};
use mm::UserRange;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Serves this call.
pub const TABLE: &[Entry] = &[Entry::new(101, "ptrace", ptrace, &[Arg::OneOf(REQUESTS), Arg::Pid, Arg::Ptr, Arg::Hex])];

const TRACEME: u64 = 0;
const PEEKTEXT: u64 = 1;
const PEEKDATA: u64 = 2;
const PEEKUSER: u64 = 3;
const POKETEXT: u64 = 4;
const POKEDATA: u64 = 5;
const POKEUSER: u64 = 6;
const CONT: u64 = 7;
const KILL: u64 = 8;
const SINGLESTEP: u64 = 9;
const GETREGS: u64 = 12;
const SETREGS: u64 = 13;
const GETFPREGS: u64 = 14;
const SETFPREGS: u64 = 15;
const ATTACH: u64 = 16;
const DETACH: u64 = 17;
const SYSCALL: u64 = 24;
const ARCH_PRCTL: u64 = 30;
const SYSEMU: u64 = 31;
const SYSEMU_SINGLESTEP: u64 = 32;
const SETOPTIONS: u64 = 0x4200;
const GETEVENTMSG: u64 = 0x4201;
const GETSIGINFO: u64 = 0x4202;
const SETSIGINFO: u64 = 0x4203;
const GETREGSET: u64 = 0x4204;
const SETREGSET: u64 = 0x4205;
const SEIZE: u64 = 0x4206;
const INTERRUPT: u64 = 0x4207;
const LISTEN: u64 = 0x4208;
const PEEKSIGINFO: u64 = 0x4209;
const GETSIGMASK: u64 = 0x420a;
const SETSIGMASK: u64 = 0x420b;
const GET_SYSCALL_INFO: u64 = 0x420e;
const GET_RSEQ_CONFIGURATION: u64 = 0x420f;

const REQUESTS: &[(u64, &str)] = &[
    (TRACEME, "PTRACE_TRACEME"),
    (PEEKTEXT, "PTRACE_PEEKTEXT"),
    (PEEKDATA, "PTRACE_PEEKDATA"),
    (PEEKUSER, "PTRACE_PEEKUSER"),
    (POKETEXT, "PTRACE_POKETEXT"),
    (POKEDATA, "PTRACE_POKEDATA"),
    (POKEUSER, "PTRACE_POKEUSER"),
    (CONT, "PTRACE_CONT"),
    (KILL, "PTRACE_KILL"),
    (SINGLESTEP, "PTRACE_SINGLESTEP"),
    (GETREGS, "PTRACE_GETREGS"),
    (SETREGS, "PTRACE_SETREGS"),
    (GETFPREGS, "PTRACE_GETFPREGS"),
    (SETFPREGS, "PTRACE_SETFPREGS"),
    (ATTACH, "PTRACE_ATTACH"),
    (DETACH, "PTRACE_DETACH"),
    (SYSCALL, "PTRACE_SYSCALL"),
    (ARCH_PRCTL, "PTRACE_ARCH_PRCTL"),
    (SYSEMU, "PTRACE_SYSEMU"),
    (SYSEMU_SINGLESTEP, "PTRACE_SYSEMU_SINGLESTEP"),
    (SETOPTIONS, "PTRACE_SETOPTIONS"),
    (GETEVENTMSG, "PTRACE_GETEVENTMSG"),
    (GETSIGINFO, "PTRACE_GETSIGINFO"),
    (SETSIGINFO, "PTRACE_SETSIGINFO"),
    (GETREGSET, "PTRACE_GETREGSET"),
    (SETREGSET, "PTRACE_SETREGSET"),
    (SEIZE, "PTRACE_SEIZE"),
    (INTERRUPT, "PTRACE_INTERRUPT"),
    (LISTEN, "PTRACE_LISTEN"),
    (PEEKSIGINFO, "PTRACE_PEEKSIGINFO"),
    (GETSIGMASK, "PTRACE_GETSIGMASK"),
    (SETSIGMASK, "PTRACE_SETSIGMASK"),
    (GET_SYSCALL_INFO, "PTRACE_GET_SYSCALL_INFO"),
    (GET_RSEQ_CONFIGURATION, "PTRACE_GET_RSEQ_CONFIGURATION"),
];

/// Bytes of the kernel's `struct user`, and where `u_debugreg` is in it.
const USER_LEN: u64 = 928;
const DEBUG_REGISTERS: u64 = 848;
/// Bytes of `struct user_regs_struct`.
const REGS_LEN: u64 = 8 * WORDS as u64;

/// A request's tracee and its two arguments.
struct Request {
    task: Arc<Task>,
    addr: u64,
    data: u64,
}

fn ptrace(t: &mut CurrentTask, a: Args) -> SysResult {
    let (request, tid, addr, data) = (a.u64(0), a.i32(1), a.u64(2), a.u64(3));
    match request {
        TRACEME => {
            t.trace_me()?;
            return Ok(0);
        }
        ATTACH => return t.attach(tid, Attach::Stop).map(|()| 0),
        SEIZE => return seize(t, tid, addr, data),
        _ => {}
    }
    let r = Request { task: t.tracee(tid)?, addr, data };
    match request {
        KILL => {
            t.kill_tracee(&r.task);
            return Ok(0);
        }
        INTERRUPT => {
            t.interrupt_tracee(&r.task)?;
            return Ok(0);
        }
        _ => {}
    }
    // For all others it must be stopped.
    t.with_stop(&r.task, |_| Ok(()))?;
    Ok(on_stopped(t, request, &r)?)
}

fn seize(t: &mut CurrentTask, tid: i32, addr: u64, options: u64) -> SysResult {
    if t.kernel.tree.task(tid).is_none() && t.kernel.tree.process(tid).is_none() {
        return Err(Errno::ESRCH.into());
    }
    match u32::try_from(options) {
        Ok(options) if addr == 0 && options & !option::ALL == 0 => t.attach(tid, Attach::Seize(options)).map(|()| 0),
        _ => Err(Errno::EIO.into()),
    }
}

fn on_stopped(t: &CurrentTask, request: u64, r: &Request) -> Result<u64, Errno> {
    match request {
        PEEKTEXT | PEEKDATA => peek(t, r),
        POKETEXT | POKEDATA => poke(t, r),
        PEEKUSER => peek_user(t, r),
        POKEUSER => poke_user(t, r),
        CONT => resume(t, r, Resume::Continue),
        SYSCALL => resume(t, r, Resume::Syscall),
        SINGLESTEP => resume(t, r, Resume::Step),
        SYSEMU => resume(t, r, Resume::Emulate),
        SYSEMU_SINGLESTEP => resume(t, r, Resume::EmulateStep),
        DETACH => t.detach(&r.task, signal(r.data)?).map(|()| 0),
        GETREGS => get_part(t, r, Set::General, UserRange { addr: r.data, len: REGS_LEN }).map(|_| 0),
        SETREGS => set_part(t, r, Set::General, UserRange { addr: r.data, len: REGS_LEN }).map(|_| 0),
        GETFPREGS => get_part(t, r, Set::Legacy, UserRange { addr: r.data, len: LEGACY as u64 }).map(|_| 0),
        SETFPREGS => set_part(t, r, Set::Legacy, UserRange { addr: r.data, len: LEGACY as u64 }).map(|_| 0),
        GETREGSET | SETREGSET => register_set(t, request, r),
        ARCH_PRCTL => arch_prctl(t, r),
        SETOPTIONS => set_options(t, r),
        GETEVENTMSG => {
            let message = t.with_tracee(&r.task, |tracee| Ok(tracee.message))?;
            user::put(t, r.data, &message).map(|()| 0)
        }
        LISTEN => t.listen_to_tracee(&r.task).map(|()| 0),
        GETSIGINFO | SETSIGINFO | PEEKSIGINFO | GETSIGMASK | SETSIGMASK => signals(t, request, r),
        GET_SYSCALL_INFO => syscall_info(t, r),
        GET_RSEQ_CONFIGURATION => rseq_configuration(t, r),
        _ => Err(Errno::EIO),
    }
}

fn signal(data: u64) -> Result<Signal, Errno> {
    i32::try_from(data).ok().filter(|signal| (0..=NSIG).contains(signal)).ok_or(Errno::EIO)
}

fn resume(t: &CurrentTask, r: &Request, how: Resume) -> Result<u64, Errno> {
    t.resume(&r.task, how, signal(r.data)?).map(|()| 0)
}

fn set_options(t: &CurrentTask, r: &Request) -> Result<u64, Errno> {
    let options = u32::try_from(r.data).ok().filter(|options| options & !option::ALL == 0).ok_or(Errno::EINVAL)?;
    t.with_tracee(&r.task, |tracee| {
        tracee.options = options;
        Ok(0)
    })
}

fn peek(t: &CurrentTask, r: &Request) -> Result<u64, Errno> {
    let mut word = [0; 8];
    let mm = r.task.mm().ok_or(Errno::EIO)?;
    mm.copy_in_forced(r.addr, &mut word).map_err(|_| Errno::EIO)?;
    user::put(t, r.data, &word).map(|()| 0)
}

fn poke(_: &CurrentTask, r: &Request) -> Result<u64, Errno> {
    let mm = r.task.mm().ok_or(Errno::EIO)?;
    mm.copy_out_forced(r.addr, &r.data.to_le_bytes()).map_err(|_| Errno::EIO)?;
    Ok(0)
}

/// The number of a debug register, if `struct user` has one there.
fn debug_register(addr: u64) -> Option<usize> {
    (DEBUG_REGISTERS..DEBUG_REGISTERS + 64).contains(&addr).then(|| ((addr - DEBUG_REGISTERS) / 8) as usize)
}

fn peek_user(t: &CurrentTask, r: &Request) -> Result<u64, Errno> {
    if !r.addr.is_multiple_of(8) || r.addr >= USER_LEN {
        return Err(Errno::EIO);
    }
    let value = if r.addr < REGS_LEN {
        t.with_stop(&r.task, |stop| {
            let words: &[u64; WORDS] = zerocopy::transmute_ref!(&stop.regs);
            words.get((r.addr / 8) as usize).copied().ok_or(Errno::EIO)
        })?
    } else if let Some(index) = debug_register(r.addr) {
        t.with_tracee(&r.task, |tracee| Ok(tracee.debug.get(index)))?
    } else {
        0
    };
    user::put(t, r.data, &value).map(|()| 0)
}

fn poke_user(t: &CurrentTask, r: &Request) -> Result<u64, Errno> {
    if !r.addr.is_multiple_of(8) || r.addr >= USER_LEN {
        return Err(Errno::EIO);
    }
    if r.addr < REGS_LEN {
        return t.with_stop(&r.task, |stop| set_register(&mut stop.regs, (r.addr / 8) as usize, r.data)).map(|()| 0);
    }
    let index = debug_register(r.addr).ok_or(Errno::EIO)?;
    t.with_tracee(&r.task, |tracee| tracee.debug.set(index, r.data)).map(|()| 0)
}

/// A set of registers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    General,
    Legacy,
    Extended,
}

/// Copies the first part of a set to the tracer; returns how long it is.
fn get_part(t: &CurrentTask, r: &Request, set: Set, to: UserRange) -> Result<u64, Errno> {
    let mut bytes = t.with_stop(&r.task, |stop| {
        Ok(match set {
            Set::General => stop.regs.as_bytes().to_vec(),
            Set::Legacy | Set::Extended => vectors(&stop.fpstate),
        })
    })?;
    if set == Set::Legacy {
        bytes.truncate(LEGACY);
    }
    bytes.truncate(usize::try_from(to.len).unwrap_or(usize::MAX));
    t.mm().copy_out(to.addr, &bytes)?;
    Ok(bytes.len() as u64)
}

/// Sets the first part of a set; returns how long it is.
fn set_part(t: &CurrentTask, r: &Request, set: Set, from: UserRange) -> Result<u64, Errno> {
    let most = t.with_stop(&r.task, |stop| {
        Ok(match set {
            Set::General => REGS_LEN as usize,
            Set::Legacy => LEGACY,
            Set::Extended => vectors(&stop.fpstate).len(),
        })
    })?;
    let mut bytes = vec![0; usize::try_from(from.len).unwrap_or(most).min(most)];
    if set == Set::Extended && bytes.len() != most {
        return Err(Errno::EFAULT);
    }
    t.mm().copy_in(from.addr, &mut bytes)?;
    t.with_stop(&r.task, |stop| {
        if set == Set::General {
            let words = bytes.chunks_exact(8).filter_map(|word| word.try_into().ok()).map(u64::from_le_bytes);
            return words.enumerate().try_for_each(|(index, word)| set_register(&mut stop.regs, index, word));
        }
        let mut area = vectors(&stop.fpstate);
        if set == Set::Legacy {
            area.truncate(LEGACY);
        }
        area.get_mut(..bytes.len()).ok_or(Errno::EINVAL)?.copy_from_slice(&bytes);
        set_vectors(&mut stop.fpstate, &area)?;
        stop.vectors_changed = true;
        Ok(())
    })?;
    Ok(bytes.len() as u64)
}

fn register_set(t: &CurrentTask, request: u64, r: &Request) -> Result<u64, Errno> {
    const NT_PRSTATUS: u64 = 1;
    const NT_PRFPREG: u64 = 2;
    const NT_X86_XSTATE: u64 = 0x202;
    let [addr, len]: [u64; 2] = user::get(t, r.data)?;
    let set = match r.addr {
        NT_PRSTATUS => Set::General,
        NT_PRFPREG => Set::Legacy,
        NT_X86_XSTATE => Set::Extended,
        _ => return Err(Errno::EINVAL),
    };
    if !len.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    let part = UserRange { addr, len };
    let done = if request == GETREGSET { get_part(t, r, set, part) } else { set_part(t, r, set, part) }?;
    user::put(t, r.data.wrapping_add(8), &done).map(|()| 0)
}

/// arch_prctl(2) of the tracee: segment bases.
fn arch_prctl(t: &CurrentTask, r: &Request) -> Result<u64, Errno> {
    const SET_GS: u64 = 0x1001;
    const SET_FS: u64 = 0x1002;
    const GET_FS: u64 = 0x1003;
    const GET_GS: u64 = 0x1004;
    const FS_BASE: usize = 21;
    const GS_BASE: usize = 22;
    let set = |index| {
        t.with_stop(&r.task, |stop| set_register(&mut stop.regs, index, r.addr).map_err(|_| Errno::EPERM)).map(|()| 0)
    };
    match r.data {
        SET_FS => set(FS_BASE),
        SET_GS => set(GS_BASE),
        GET_FS => user::put(t, r.addr, &t.with_stop(&r.task, |stop| Ok(stop.regs.fs_base))?).map(|()| 0),
        GET_GS => user::put(t, r.addr, &t.with_stop(&r.task, |stop| Ok(stop.regs.gs_base))?).map(|()| 0),
        _ => Err(Errno::EINVAL),
    }
}

fn signals(t: &CurrentTask, request: u64, r: &Request) -> Result<u64, Errno> {
    const SIGSET_SIZE: u64 = 8;
    match request {
        GETSIGINFO => {
            let info = t.with_stop(&r.task, |stop| stop.info.ok_or(Errno::EINVAL))?;
            user::put(t, r.data, &info)?;
        }
        SETSIGINFO => {
            let new: SigInfo = user::get(t, r.data)?;
            t.with_stop(&r.task, |stop| {
                *stop.info.as_mut().ok_or(Errno::EINVAL)? = new;
                Ok(())
            })?;
        }
        PEEKSIGINFO => return peek_signals(t, r),
        _ if r.addr != SIGSET_SIZE => return Err(Errno::EINVAL),
        GETSIGMASK => user::put(t, r.data, &t.mask_of_tracee(&r.task)?)?,
        _ => {
            let mask: SigSet = user::get(t, r.data)?;
            t.set_mask_of_tracee(&r.task, mask.without(SigSet::UNBLOCKABLE))?;
        }
    }
    Ok(0)
}

fn peek_signals(t: &CurrentTask, r: &Request) -> Result<u64, Errno> {
    const SHARED: u32 = 1;
    /// Most that are copied for one lock.
    const MOST: usize = 64;
    // offset, flags, number
    let [offset, rest]: [u64; 2] = user::get(t, r.addr)?;
    let (flags, wanted) = (rest as u32, (rest >> 32) as i32);
    if flags & !SHARED != 0 {
        return Err(Errno::EINVAL);
    }
    let wanted = u64::try_from(wanted).map_err(|_| Errno::EINVAL)?;
    let mut done = 0;
    while done < wanted {
        let most = usize::try_from(wanted - done).unwrap_or(MOST).min(MOST);
        let found = t.queued_of_tracee(&r.task, flags & SHARED != 0, offset.saturating_add(done), most)?;
        if found.is_empty() {
            break;
        }
        for info in found {
            let at = r.data.wrapping_add(done * size_of::<SigInfo>() as u64);
            match user::put(t, at, &info) {
                Ok(()) => done += 1,
                Err(_) if done > 0 => return Ok(done),
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(done)
}

/// `struct ptrace_syscall_info`: what system call it is stopped at.
fn syscall_info(t: &CurrentTask, r: &Request) -> Result<u64, Errno> {
    const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
    const SYSTRAP: i32 = 0x85;
    /// Bytes up to each kind's last field.
    const LENS: [usize; 3] = [24, 80, 33];
    let (regs, code) = t.with_stop(&r.task, |stop| Ok((stop.regs, stop.info.map_or(0, |info| info.code))))?;
    let message = t.with_tracee(&r.task, |tracee| Ok(tracee.message))?;
    let mut words = [u64::from(AUDIT_ARCH_X86_64) << 32, regs.rip, regs.rsp, 0, 0, 0, 0, 0, 0, 0];
    let kind = match message {
        message::SYSCALL_ENTRY if code == SYSTRAP => {
            let [a, b, c, d, e, f] = regs.syscall_args();
            words = [words[0] | 1, words[1], words[2], regs.orig_rax, a, b, c, d, e, f];
            1
        }
        message::SYSCALL_EXIT if code == SYSTRAP => {
            let failed = regs.rax > u64::MAX - 4095;
            words = [words[0] | 2, words[1], words[2], regs.rax, u64::from(failed), 0, 0, 0, 0, 0];
            2
        }
        _ => 0,
    };
    let len = LENS.get(kind).copied().unwrap_or(0);
    let wanted = usize::try_from(r.addr).unwrap_or(len).min(len);
    t.mm().copy_out(r.data, words.as_bytes().get(..wanted).unwrap_or_default())?;
    Ok(len as u64)
}

/// No task has registered for restartable sequences, which are not there.
fn rseq_configuration(t: &CurrentTask, r: &Request) -> Result<u64, Errno> {
    const LEN: u64 = 24;
    if r.addr != LEN {
        return Err(Errno::EINVAL);
    }
    user::put(t, r.data, &[0_u64; 3])?;
    Ok(LEN)
}
