//! The zygote: the process from which all stubs are cloned. It never runs guest code.
//!
//! The Sentry clones itself with a raw `clone` (shared descriptors, copied memory). The copy maps the stub region, sets
//! signal actions, and makes the zygote from stub code, which unmaps all that is not the stub region. The copy
//! runs Rust code that may neither allocate nor touch thread-local state, since other threads of the Sentry are not in
//! it.

use crate::filter;
use crate::layout::*;
use crate::shared::Shared;
use crate::text::{self, Entry};
use core::arch::asm;
use core::sync::atomic::Ordering;
use host::seccomp::Instruction;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The signal that stops a guest thread; the host never sends it by itself.
pub const INTERRUPT: i32 = libc::SIGSTKFLT;

const HWCAP2_FSGSBASE: u64 = 2;

/// Why the platform can't start.
#[derive(Debug)]
pub enum StartError {
    /// The processor or the host kernel lacks something.
    Missing(&'static str),
    /// A host call failed.
    Host(&'static str, rustix::io::Errno),
    /// The zygote could not be set up: the step, and the host's error number.
    Zygote(i32),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Missing(what) => write!(f, "the host lacks {what}"),
            StartError::Host(what, error) => write!(f, "{what}: {error}"),
            StartError::Zygote(status) => write!(f, "the first stub process failed to start (status {status})"),
        }
    }
}

impl std::error::Error for StartError {}

/// Where the stub region and the vDSO are in every stub.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub base: u64,
    pub vdso: Option<(u64, u64)>,
}

/// A mapping to be moved: the host's vDSO and its data.
#[derive(Clone, Copy, Default)]
struct Piece {
    from: u64,
    len: u64,
    to: u64,
}

const PIECES: usize = 8;

/// All that the copy of the Sentry needs, prepared beforehand.
pub struct Plan {
    pub region: Region,
    pieces: [Piece; PIECES],
    text: Box<[u8; TEXT_LEN]>,
    handler: u64,
    entry: u64,
    /// Where the heap begins, and the first thread's stack. The copy does without them, which saves faults in the
    /// Sentry.
    heap: Option<u64>,
    stack: Option<(u64, u64)>,
}

/// The same for the copy, without the heap, and the descriptors that it maps: those of the stub's file and of the
/// waiters' page.
struct OnStack<'a> {
    region: Region,
    pieces: [Piece; PIECES],
    text: &'a [u8; TEXT_LEN],
    files: [i32; 2],
    handler: u64,
    entry: u64,
}

struct Mapping {
    start: u64,
    end: u64,
    name: String,
}

fn mappings(mut maps: std::fs::File) -> Result<Vec<Mapping>, StartError> {
    // Room for all of it, so that one read is enough.
    let mut text = String::with_capacity(16 << 10);
    std::io::Read::read_to_string(&mut maps, &mut text).map_err(|_| StartError::Missing("/proc/self/maps"))?;
    let parse = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        Some(Mapping {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            name: fields.nth(4).unwrap_or_default().to_owned(),
        })
    };
    Ok(text.lines().filter_map(parse).collect())
}

fn choose_base(maps: &[Mapping]) -> Option<u64> {
    (USER_RANGE.end..HOST_END - REGION_STEP)
        .step_by(REGION_STEP as usize)
        .find(|base| maps.iter().all(|map| map.end <= *base || map.start >= base + REGION_STEP))
}

/// Plans to move `[vvar]` and `[vdso]` together, so that they keep their distances.
fn plan_vdso(maps: &[Mapping], base: u64) -> (Option<(u64, u64)>, [Piece; PIECES]) {
    let mut pieces = [Piece::default(); PIECES];
    let special: Vec<&Mapping> =
        maps.iter().filter(|map| map.name.starts_with("[vvar") || map.name == "[vdso]").collect();
    let (Some(first), Some(last)) = (special.first(), special.last()) else { return (None, pieces) };
    let together = special.windows(2).all(|pair| pair[0].end == pair[1].start);
    if special.len() > PIECES || !together || last.end - first.start > VDSO_MAX as u64 {
        return (None, pieces);
    }
    let to = |address: u64| base + VDSO as u64 + (address - first.start);
    for (piece, map) in pieces.iter_mut().zip(&special) {
        *piece = Piece { from: map.start, len: map.end - map.start, to: to(map.start) };
    }
    (special.iter().find(|map| map.name == "[vdso]").map(|map| (to(map.start), to(map.end))), pieces)
}

fn write_program(text: &mut [u8], base: u64, header: usize, at: usize, program: &[Instruction]) -> Option<()> {
    let bytes: Vec<u8> = program.iter().flat_map(|instruction| instruction.to_bytes()).collect();
    text.get_mut(at..at + bytes.len())?.copy_from_slice(&bytes);
    text.get_mut(header..header + 2)?.copy_from_slice(&(program.len() as u16).to_ne_bytes());
    text.get_mut(header + 8..header + 16)?.copy_from_slice(&(base + at as u64).to_ne_bytes());
    Some(())
}

/// The text pages: code and seccomp programs.
fn build_text(base: u64) -> Option<Box<[u8; TEXT_LEN]>> {
    let mut text: Box<[u8; TEXT_LEN]> = vec![0; TEXT_LEN].try_into().ok()?;
    let code = text::code();
    if code.len() > GUEST_FPROG {
        return None;
    }
    text.get_mut(..code.len())?.copy_from_slice(code);
    let guest = filter::guest(base)?;
    if guest.len() * 8 > MAPPER_PROGRAM - GUEST_PROGRAM {
        return None;
    }
    write_program(&mut text[..], base, GUEST_FPROG, GUEST_PROGRAM, &guest)?;
    write_program(&mut text[..], base, MAPPER_FPROG, MAPPER_PROGRAM, &filter::mapper(base)?)?;
    Some(text)
}

/// Decides where everything is to be. `maps` is `/proc/self/maps`.
pub fn plan(maps: std::fs::File) -> Result<Plan, StartError> {
    // SAFETY: reads the auxiliary vector.
    if unsafe { libc::getauxval(libc::AT_HWCAP2) } & HWCAP2_FSGSBASE == 0 {
        return Err(StartError::Missing("FSGSBASE instructions for user code (Linux 5.9, 2012's processors)"));
    }
    let maps = mappings(maps)?;
    let base = choose_base(&maps).ok_or(StartError::Missing("address space for the stub region"))?;
    let (vdso, pieces) = plan_vdso(&maps, base);
    let find = |name: &str| maps.iter().find(|map| map.name == name);
    let heap = find("[heap]").map(|map| map.start);
    let stack = find("[stack]").map(|map| (map.start, map.end));
    let text = build_text(base).ok_or(StartError::Missing("room for the stub's code"))?;
    Ok(Plan {
        region: Region { base, vdso },
        pieces,
        text,
        handler: base + Entry::Handler.offset() as u64,
        entry: base + Entry::Zygote.offset() as u64,
        heap,
        stack,
    })
}

/// Makes the zygote over a shared file, and returns its process id. The calling thread becomes its parent: when that
/// thread ends, the zygote and all stubs die.
pub fn spawn(plan: &Plan, file: BorrowedFd<'_>, waiters: BorrowedFd<'_>, shared: &Shared) -> Result<i32, StartError> {
    // On this thread's stack, since the copy has no heap; the compiler is not to see that it is a copy.
    let text = *plan.text;
    let on_stack = OnStack {
        region: plan.region,
        pieces: plan.pieces,
        text: core::hint::black_box(&text),
        files: [file.as_raw_fd(), waiters.as_raw_fd()],
        handler: plan.handler,
        entry: plan.entry,
    };
    shared.u32(CMD_PARENT).store(std::process::id(), Ordering::SeqCst);
    shared.u32(FILE_RESPONSE + RESP_COPY).store(1, Ordering::SeqCst);
    // Another thread may go on to make the heap larger meanwhile: what it adds is copied.
    // SAFETY: this only asks where the heap ends.
    let top = unsafe { libc::sbrk(0) }.addr() as u64;
    let inherit = |advice: i32| {
        for (start, end) in plan.heap.map(|start| (start, top)).into_iter().chain(plan.stack) {
            // SAFETY: this changes only what copies of the process get. This one runs on this thread's stack, and needs
            // nothing from there.
            unsafe { call(libc::SYS_madvise, [start, end.saturating_sub(start), advice as u64, 0, 0, 0]) };
        }
    };
    inherit(libc::MADV_DONTFORK);
    // SAFETY: `clone` without `CLONE_VM` and with the present stack is `fork`; the child runs `start`, which keeps to
    // what is sound in a copy of a process with threads.
    let pid = unsafe { call(libc::SYS_clone, [libc::CLONE_FILES as u64, 0, 0, 0, 0, 0]) };
    if pid == 0 {
        start(&on_stack);
    }
    inherit(libc::MADV_DOFORK);
    if pid < 0 {
        let error = i32::try_from(-pid).unwrap_or(libc::EAGAIN);
        return Err(StartError::Host("clone", rustix::io::Errno::from_raw_os_error(error)));
    }
    let copy = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(StartError::Zygote(-1))?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::from_bits_retain(libc::__WALL as u32);
    let status = loop {
        match waitid(WaitId::Pid(copy), options) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.map_err(|error| StartError::Host("waitid", error))?,
        }
    };
    match status.and_then(|status| status.exit_status()) {
        Some(0) => {}
        other => return Err(StartError::Zygote(other.unwrap_or(-1))),
    }
    Ok(i32::try_from(shared.get(FILE_RESPONSE + RESP_PID)).unwrap_or(0))
}

/// In the copy of the Sentry: sets up what the zygote inherits, and goes to stub code.
fn start(plan: &OnStack<'_>) -> ! {
    if let Err(step) = prepare(plan) {
        // SAFETY: ends this process, which is a copy.
        unsafe { call(libc::SYS_exit_group, [step, 0, 0, 0, 0, 0]) };
    }
    // SAFETY: the stub's code is mapped there; it uses no stack and does not return.
    unsafe { asm!("jmp {entry}", entry = in(reg) plan.entry, options(noreturn)) }
}

fn prepare(plan: &OnStack<'_>) -> Result<(), u64> {
    let checked = |step: u64, number: i64, args: [u64; 6]| {
        // SAFETY: the calls below change only this process, a copy that is about to be given up, at addresses that were
        // free or are the copy's own.
        let result = unsafe { call(number, args) };
        if (-4095..0).contains(&result) { Err(step) } else { Ok(result) }
    };
    let all = u64::MAX;
    checked(1, libc::SYS_rt_sigprocmask, [libc::SIG_BLOCK as u64, (&raw const all).addr() as u64, 0, 8, 0, 0])?;
    for piece in &plan.pieces {
        if piece.len != 0 {
            let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
            checked(2, libc::SYS_mremap, [piece.from, piece.len, piece.len, flags, piece.to, 0])?;
        }
    }
    map_region(plan, &checked)?;
    for signal in 1..=64 {
        set_action(plan, signal, &checked)?;
    }
    let no_core = [0u64; 2];
    checked(8, libc::SYS_prlimit64, [0, u64::from(libc::RLIMIT_CORE), (&raw const no_core).addr() as u64, 0, 0, 0])?;
    checked(9, libc::SYS_prctl, [libc::PR_SET_NO_NEW_PRIVS as u64, 1, 0, 0, 0, 0])?;
    let word = plan.region.base + (RESPONSE + RESP_COPY) as u64;
    checked(10, libc::SYS_set_tid_address, [word, 0, 0, 0, 0, 0])?;
    Ok(())
}

type Checked<'a> = dyn Fn(u64, i64, [u64; 6]) -> Result<i64, u64> + 'a;

fn map_region(plan: &OnStack<'_>, checked: &Checked<'_>) -> Result<(), u64> {
    let at = |offset: usize| plan.region.base + offset as u64;
    let (read, write, execute) = (libc::PROT_READ as u64, libc::PROT_WRITE as u64, libc::PROT_EXEC as u64);
    let [file, waiters] = plan.files.map(|fd| fd as u64);
    let shared = (libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE) as u64;
    let private = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE) as u64;
    checked(3, libc::SYS_mmap, [at(0), TEXT_LEN as u64, read | write, private, u64::MAX, 0])?;
    // SAFETY: the destination was just mapped, with this length.
    unsafe {
        core::ptr::copy_nonoverlapping(
            plan.text.as_ptr(),
            core::ptr::with_exposed_provenance_mut(plan.region.base as usize),
            TEXT_LEN,
        );
    }
    checked(4, libc::SYS_mprotect, [at(0), TEXT_LEN as u64, read | execute, 0, 0, 0])?;
    checked(5, libc::SYS_mmap, [at(COMMAND), COMMAND_LEN as u64, read, shared, file, 0])?;
    checked(6, libc::SYS_mmap, [at(RESPONSE), RESPONSE_LEN as u64, read | write, shared, file, FILE_RESPONSE as u64])?;
    checked(11, libc::SYS_mmap, [at(WAITERS), WAITERS_LEN as u64, read, shared, waiters, 0])?;
    Ok(())
}

/// The kernel's `struct sigaction`.
#[repr(C)]
struct Action {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

/// Exceptions and the interrupt go to the stub's handler; all else that a terminal or a user may send is ignored.
fn set_action(plan: &OnStack<'_>, signal: i32, checked: &Checked<'_>) -> Result<(), u64> {
    const SA_RESTORER: u64 = 0x0400_0000;
    if matches!(signal, libc::SIGKILL | libc::SIGSTOP) {
        return Ok(());
    }
    let handled = matches!(
        signal,
        libc::SIGSYS | libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP | INTERRUPT
    );
    let action = Action {
        handler: if handled { plan.handler } else { libc::SIG_IGN as u64 },
        flags: (libc::SA_SIGINFO | libc::SA_ONSTACK) as u64 | SA_RESTORER,
        restorer: plan.handler,
        mask: u64::MAX,
    };
    checked(7, libc::SYS_rt_sigaction, [signal as u64, (&raw const action).addr() as u64, 0, 8, 0, 0])?;
    Ok(())
}

/// A raw system call: what a copy of the process may make without the C library.
///
/// # Safety
/// As for the call itself.
unsafe fn call(number: i64, args: [u64; 6]) -> i64 {
    let result;
    // SAFETY: the registers are those of the system call convention; the rest is the caller's promise.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5], lateout("rcx") _, lateout("r11") _,
            options(nostack));
    }
    result
}
