//! Memory accesses that may fault: the instructions that may, and the signal handler that resumes after them.
//!
//! Each routine below has exactly one instruction that touches memory which may vanish. When it raises `SIGSEGV` or
//! `SIGBUS`, the handler finds it in [`table`] and continues at the routine's fix-up, which reports what was left to do.
//! Faults anywhere else go to the handler that was installed before.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr;
use std::sync::Once;

global_asm!(
    ".pushsection .text.vizor_fault, \"ax\", @progbits",
    // (dst, src, len) -> bytes not copied
    ".globl vizor_copy, vizor_copy_at, vizor_copy_fix",
    "vizor_copy:",
    "mov rcx, rdx",
    "vizor_copy_at: rep movsb",
    "vizor_copy_fix: mov rax, rcx",
    "ret",
    // (dst, len) -> bytes not zeroed
    ".globl vizor_zero, vizor_zero_at, vizor_zero_fix",
    "vizor_zero:",
    "mov rcx, rsi",
    "xor eax, eax",
    "vizor_zero_at: rep stosb",
    "vizor_zero_fix: mov rax, rcx",
    "ret",
    // (ptr) -> (value, failed)
    ".globl vizor_load32, vizor_load32_at, vizor_word_fix",
    "vizor_load32:",
    "xor edx, edx",
    "vizor_load32_at: mov eax, [rdi]",
    "ret",
    "vizor_word_fix:",
    "xor eax, eax",
    "mov edx, 1",
    "ret",
    // (ptr) -> (value, failed)
    ".globl vizor_load64, vizor_load64_at",
    "vizor_load64:",
    "xor edx, edx",
    "vizor_load64_at: mov rax, [rdi]",
    "ret",
    // (ptr, new) -> (old, failed)
    ".globl vizor_xchg32, vizor_xchg32_at",
    "vizor_xchg32:",
    "mov eax, esi",
    "xor edx, edx",
    "vizor_xchg32_at: xchg [rdi], eax",
    "ret",
    // (ptr, expected, new) -> (old, failed)
    ".globl vizor_cmpxchg32, vizor_cmpxchg32_at",
    "vizor_cmpxchg32:",
    "mov eax, esi",
    "mov ecx, edx",
    "xor edx, edx",
    "vizor_cmpxchg32_at: lock cmpxchg [rdi], ecx",
    "ret",
    ".popsection",
);

/// A loaded word, and whether the load faulted (then `failed` is 1).
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Word {
    pub value: u64,
    pub failed: u64,
}

unsafe extern "C" {
    pub(crate) fn vizor_copy(dst: *mut u8, src: *const u8, len: usize) -> usize;
    pub(crate) fn vizor_zero(dst: *mut u8, len: usize) -> usize;
    pub(crate) fn vizor_load32(at: *const u8) -> Word;
    pub(crate) fn vizor_load64(at: *const u8) -> Word;
    pub(crate) fn vizor_xchg32(at: *mut u8, new: u32) -> Word;
    pub(crate) fn vizor_cmpxchg32(at: *mut u8, expected: u32, new: u32) -> Word;

    static vizor_copy_at: u8;
    static vizor_copy_fix: u8;
    static vizor_zero_at: u8;
    static vizor_zero_fix: u8;
    static vizor_load32_at: u8;
    static vizor_load64_at: u8;
    static vizor_xchg32_at: u8;
    static vizor_cmpxchg32_at: u8;
    static vizor_word_fix: u8;
}

/// Where each instruction that may fault is, and where to go on.
fn table() -> [(u64, u64); 6] {
    [
        (&raw const vizor_copy_at as u64, &raw const vizor_copy_fix as u64),
        (&raw const vizor_zero_at as u64, &raw const vizor_zero_fix as u64),
        (&raw const vizor_load32_at as u64, &raw const vizor_word_fix as u64),
        (&raw const vizor_load64_at as u64, &raw const vizor_word_fix as u64),
        (&raw const vizor_xchg32_at as u64, &raw const vizor_word_fix as u64),
        (&raw const vizor_cmpxchg32_at as u64, &raw const vizor_word_fix as u64),
    ]
}

/// The handlers that were there before ours, for `SIGSEGV` and `SIGBUS`. Written once, before ours are installed.
struct Previous(UnsafeCell<[MaybeUninit<libc::sigaction>; 2]>);

// SAFETY: written only inside `INSTALL`, before any handler that reads it exists.
unsafe impl Sync for Previous {}

static PREVIOUS: Previous = Previous(UnsafeCell::new([MaybeUninit::zeroed(), MaybeUninit::zeroed()]));
static INSTALL: Once = Once::new();

/// Makes faulting accesses survivable. Called by whatever creates memory that may fault; cheap after the first time.
pub fn install() {
    INSTALL.call_once(|| {
        for (slot, signo) in [(0, libc::SIGSEGV), (1, libc::SIGBUS)] {
            // SAFETY: plain sigaction calls with valid pointers; the slot is written before the handler can read it,
            // because the old action is fetched before the new one is installed.
            unsafe {
                let previous = &raw mut (*PREVIOUS.0.get())[slot];
                libc::sigaction(signo, ptr::null(), previous.cast());
                let mut action: libc::sigaction = core::mem::zeroed();
                action.sa_sigaction = on_fault as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
                libc::sigaction(signo, &raw const action, ptr::null_mut());
            }
        }
    });
}

/// Runs in signal context: touches only the context it is given, statics, and async-signal-safe calls.
extern "C" fn on_fault(signo: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo and ucontext for the duration of the handler.
    unsafe {
        let ucontext = context.cast::<libc::ucontext_t>();
        let rip = &raw mut (*ucontext).uc_mcontext.gregs[libc::REG_RIP as usize];
        // A signal that someone sent is no fault of the instruction it happened to interrupt.
        if (*info).si_code > 0 {
            for (at, fix) in table() {
                if *rip as u64 == at {
                    *rip = fix as i64;
                    return;
                }
            }
        }
        let slot = usize::from(signo == libc::SIGBUS);
        let previous = (&raw const (*PREVIOUS.0.get())[slot]).cast::<libc::sigaction>();
        let handler = (*previous).sa_sigaction;
        if handler == libc::SIG_DFL || handler == libc::SIG_IGN || (*previous).sa_flags & libc::SA_SIGINFO == 0 {
            // The access is retried and ends the process, with a core dump at the right place.
            let mut default: libc::sigaction = core::mem::zeroed();
            default.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(signo, &raw const default, ptr::null_mut());
            return;
        }
        let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = core::mem::transmute(handler);
        handler(signo, info, context);
    }
}
