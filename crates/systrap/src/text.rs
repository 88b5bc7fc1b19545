//! The stub's code: all that runs in a guest's host process besides the guest.
//!
//! Position-independent assembly, copied to the start of the stub region. It uses no stack. Offsets of data are
//! relative to the text. Guests may jump anywhere into it: nothing here can do more than their filter allows.

use crate::layout::*;
use core::arch::global_asm;

/// Flags with which a mapper makes guest threads.
pub const GUEST_CLONE: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM) as u64;
/// Flags with which the zygote makes stubs: children of the Sentry, without a signal on exit.
pub const STUB_CLONE: u64 = (libc::CLONE_FILES | libc::CLONE_PARENT) as u64;
/// Flags of the zygote's last step: it gets the memory of a short-lived process, but none of the C library's state that
/// the host kernel keeps for a thread (`rseq`).
pub const ZYGOTE_CLONE: u64 = (libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_PARENT) as u64;

global_asm!(
    r#"
    .pushsection .rodata.vizor_stub, "a", @progbits
    .balign 64
    .globl vizor_stub_text
    .globl vizor_stub_handler
    .globl vizor_stub_resume
    .globl vizor_stub_guest
    .globl vizor_stub_process
    .globl vizor_stub_zygote
    .globl vizor_stub_end
vizor_stub_text:

# Handler of every signal, on the thread's signal stack, all signals blocked.
vizor_stub_handler:
    mov rbx, rsp
    and rbx, -{BLOCK}
    add rbx, {HEAD}
    rdfsbase rax
    mov [rbx + {FS_BASE}], rax
    rdgsbase rax
    mov [rbx + {GS_BASE}], rax
    mov [rbx + {FRAME}], rsp
    mov eax, {TURN_SENTRY}
    xchg dword ptr [rbx + {TURN}], eax
    cmp dword ptr [rbx + {SENTRY_WAITS}], 0
    je 21f
    mov eax, {SYS_futex}
    lea rdi, [rbx + {TURN}]
    mov esi, {FUTEX_WAKE}
    mov edx, 1
    syscall

# Waits for the Sentry's answer. rbx: head, rsp: frame.
21:  mov ecx, [rbx + {SPIN}]
2:  cmp dword ptr [rbx + {TURN}], {TURN_GUEST}
    je 6f
    test ecx, ecx
    jz 3f
    dec ecx
    pause
    jmp 2b
3:  mov eax, 1
    xchg dword ptr [rbx + {STUB_WAITS}], eax
4:  cmp dword ptr [rbx + {TURN}], {TURN_GUEST}
    je 5f
    mov eax, {SYS_futex}
    lea rdi, [rbx + {TURN}]
    mov esi, {FUTEX_WAIT}
    mov edx, {TURN_SENTRY}
    xor r10d, r10d
    syscall
    jmp 4b
5:  mov dword ptr [rbx + {STUB_WAITS}], 0
6:  mov rax, [rbx + {FS_BASE}]
    wrfsbase rax
    mov rax, [rbx + {GS_BASE}]
    wrgsbase rax
    add rsp, 8
    mov eax, {SYS_rt_sigreturn}
    syscall
vizor_stub_resume:
    ud2

# A new guest thread; the Sentry has put its first frame at rsp.
vizor_stub_guest:
    mov eax, {SYS_seccomp}
    mov edi, {SECCOMP_SET_MODE_FILTER}
    xor esi, esi
    lea rdx, [rip + vizor_stub_text + {GUEST_FPROG}]
    syscall
    test rax, rax
    jnz 9f
    mov rbx, rsp
    and rbx, -{BLOCK}
    add rbx, {HEAD}
    jmp 21b

# Failure: end the process.
9:  mov eax, {SYS_exit_group}
    mov edi, 99
    syscall
    ud2

# A short-lived copy of the Sentry makes the zygote here, and ends.
vizor_stub_zygote:
    mov eax, {SYS_clone}
    mov edi, {ZYGOTE_CLONE}
    xor esi, esi
    xor edx, edx
    xor r10d, r10d
    xor r8d, r8d
    syscall
    test rax, rax
    js 9b
    jz 21f
    mov [rip + vizor_stub_text + {RESPONSE} + {RESP_PID}], rax
    mov eax, {SYS_exit_group}
    xor edi, edi
    syscall
    ud2
21:  xor esp, esp
    mov eax, {SYS_prctl}
    mov edi, {PR_SET_PDEATHSIG}
    mov esi, {SIGKILL}
    syscall
    mov eax, {SYS_getppid}
    syscall
    cmp eax, [rip + vizor_stub_text + {COMMAND} + {CMD_PARENT}]
    jne 9b
# The process that made this one still uses the memory; the host kernel clears the word when it is done with it.
22: mov edx, [rip + vizor_stub_text + {RESPONSE} + {RESP_COPY}]
    test edx, edx
    jz 23f
    mov eax, {SYS_futex}
    lea rdi, [rip + vizor_stub_text + {RESPONSE} + {RESP_COPY}]
    mov esi, {FUTEX_WAIT}
    xor r10d, r10d
    syscall
    jmp 22b
23: mov eax, {SYS_munmap}
    xor edi, edi
    lea rsi, [rip + vizor_stub_text]
    syscall
    test rax, rax
    jnz 9b
    mov eax, {SYS_munmap}
    lea rdi, [rip + vizor_stub_text + {REGION_LEN}]
    movabs rsi, {HOST_END}
    sub rsi, rdi
    syscall
    test rax, rax
    jnz 9b
    mov eax, {SYS_seccomp}
    mov edi, {SECCOMP_SET_MODE_FILTER}
    xor esi, esi
    lea rdx, [rip + vizor_stub_text + {MAPPER_FPROG}]
    syscall
    test rax, rax
    jnz 9b
    jmp 2f

# A new stub, cloned from the zygote. r9: its shared file.
vizor_stub_process:
    mov r12, r9
    mov eax, {SYS_mmap}
    lea rdi, [rip + vizor_stub_text + {COMMAND}]
    mov esi, {COMMAND_LEN}
    mov edx, {PROT_READ}
    mov r10d, {MAP_SHARED_FIXED}
    mov r8, r12
    xor r9d, r9d
    syscall
    cmp rax, -4095
    jae 9b
    mov eax, {SYS_mmap}
    lea rdi, [rip + vizor_stub_text + {RESPONSE}]
    mov esi, {RESPONSE_LEN}
    mov edx, {PROT_READ_WRITE}
    mov r10d, {MAP_SHARED_FIXED}
    mov r8, r12
    mov r9d, {FILE_RESPONSE}
    syscall
    cmp rax, -4095
    jae 9b
    mov eax, {SYS_mmap}
    lea rdi, [rip + vizor_stub_text + {CONTEXTS}]
    mov esi, {CHUNK_LEN}
    mov edx, {PROT_READ_WRITE}
    mov r10d, {MAP_SHARED_FIXED}
    mov r8, r12
    mov r9d, {FILE_CONTEXTS}
    syscall
    cmp rax, -4095
    jae 9b
    mov eax, {SYS_prctl}
    mov edi, {PR_SET_PDEATHSIG}
    mov esi, {SIGKILL}
    syscall
    mov eax, {SYS_getppid}
    syscall
    cmp eax, [rip + vizor_stub_text + {COMMAND} + {CMD_PARENT}]
    jne 9b

# The mapper: waits for a batch and runs it, for ever. All its state is in registers: ebx, the last batch's number;
# r12, calls left; r13, next call; r14, entry of a child; r15, where the next result goes.
2:  xor ebx, ebx
    lea rbp, [rip + vizor_stub_text + {COMMAND}]
3:  mov eax, [rbp + {CMD_SEQ}]
    cmp eax, ebx
    jne 4f
    mov eax, {SYS_futex}
    lea rdi, [rbp + {CMD_SEQ}]
    mov esi, {FUTEX_WAIT}
    mov edx, ebx
    xor r10d, r10d
    syscall
    jmp 3b
4:  mov ebx, eax
    mov r12d, [rbp + {CMD_COUNT}]
    lea r13, [rbp + {CMD_CALLS}]
    lea r15, [rip + vizor_stub_text + {RESPONSE} + {RESP_RESULTS}]
5:  test r12d, r12d
    jz 7f
    mov eax, [r13]
    mov rdi, [r13 + 8]
    mov rsi, [r13 + 16]
    mov rdx, [r13 + 24]
    mov r10, [r13 + 32]
    mov r8, [r13 + 40]
    mov r9, [r13 + 48]
    mov r14, [r13 + 56]
    syscall
    mov ecx, [r13 + 4]
    test rax, rax
    jz 8f
    cmp rax, -4095
    jb 6f
    test ecx, {CALL_MAY_FAIL}
    jz 9b
6:  mov [r15], rax
    add r15, 8
    add r13, {CALL_LEN}
    dec r12d
    jmp 5b
7:  lea r15, [rip + vizor_stub_text + {RESPONSE} + {RESP_DONE}]
    mov eax, ebx
    xchg [r15], eax
    cmp dword ptr [rbp + {CMD_WAITS}], 0
    je 3b
    mov eax, {SYS_futex}
    mov rdi, r15
    mov esi, {FUTEX_WAKE}
    mov edx, 1
    syscall
    jmp 3b
# A call returned zero: in the child of a clone, r14 is where to go.
8:  test r14, r14
    jz 6b
    jmp r14
vizor_stub_end:
    .popsection
"#,
    BLOCK = const BLOCK,
    HEAD = const HEAD,
    TURN = const TURN,
    STUB_WAITS = const STUB_WAITS,
    SENTRY_WAITS = const SENTRY_WAITS,
    SPIN = const SPIN,
    FS_BASE = const FS_BASE,
    GS_BASE = const GS_BASE,
    FRAME = const FRAME,
    TURN_SENTRY = const TURN_SENTRY,
    TURN_GUEST = const TURN_GUEST,
    GUEST_FPROG = const GUEST_FPROG,
    MAPPER_FPROG = const MAPPER_FPROG,
    COMMAND = const COMMAND,
    COMMAND_LEN = const COMMAND_LEN,
    RESPONSE = const RESPONSE,
    RESPONSE_LEN = const RESPONSE_LEN,
    CONTEXTS = const CONTEXTS,
    CHUNK_LEN = const CHUNK * BLOCK,
    FILE_RESPONSE = const FILE_RESPONSE,
    FILE_CONTEXTS = const FILE_CONTEXTS,
    REGION_LEN = const REGION_LEN,
    HOST_END = const HOST_END,
    RESP_PID = const RESP_PID,
    RESP_COPY = const RESP_COPY,
    RESP_DONE = const RESP_DONE,
    RESP_RESULTS = const RESP_RESULTS,
    CMD_SEQ = const CMD_SEQ,
    CMD_COUNT = const CMD_COUNT,
    CMD_WAITS = const CMD_WAITS,
    CMD_PARENT = const CMD_PARENT,
    CMD_CALLS = const CMD_CALLS,
    CALL_LEN = const CALL_LEN,
    CALL_MAY_FAIL = const CALL_MAY_FAIL,
    ZYGOTE_CLONE = const ZYGOTE_CLONE,
    FUTEX_WAIT = const libc::FUTEX_WAIT,
    FUTEX_WAKE = const libc::FUTEX_WAKE,
    SECCOMP_SET_MODE_FILTER = const libc::SECCOMP_SET_MODE_FILTER,
    PR_SET_PDEATHSIG = const libc::PR_SET_PDEATHSIG,
    SIGKILL = const libc::SIGKILL,
    PROT_READ = const libc::PROT_READ,
    PROT_READ_WRITE = const libc::PROT_READ | libc::PROT_WRITE,
    MAP_SHARED_FIXED = const libc::MAP_SHARED | libc::MAP_FIXED,
    SYS_futex = const libc::SYS_futex,
    SYS_rt_sigreturn = const libc::SYS_rt_sigreturn,
    SYS_seccomp = const libc::SYS_seccomp,
    SYS_exit_group = const libc::SYS_exit_group,
    SYS_clone = const libc::SYS_clone,
    SYS_prctl = const libc::SYS_prctl,
    SYS_getppid = const libc::SYS_getppid,
    SYS_munmap = const libc::SYS_munmap,
    SYS_mmap = const libc::SYS_mmap,
);

unsafe extern "C" {
    static vizor_stub_text: u8;
    static vizor_stub_handler: u8;
    static vizor_stub_resume: u8;
    static vizor_stub_guest: u8;
    static vizor_stub_process: u8;
    static vizor_stub_zygote: u8;
    static vizor_stub_end: u8;
}

/// A place in the stub's code, as an offset from its start.
#[derive(Clone, Copy, Debug)]
pub enum Entry {
    /// The signal handler.
    Handler,
    /// Past the one `rt_sigreturn`.
    Resume,
    /// First instruction of a guest thread.
    Guest,
    /// First instruction of a stub's mapper thread.
    Process,
    /// First instruction of the zygote.
    Zygote,
}

impl Entry {
    /// The offset in the text.
    pub fn offset(self) -> usize {
        let at = match self {
            Entry::Handler => &raw const vizor_stub_handler,
            Entry::Resume => &raw const vizor_stub_resume,
            Entry::Guest => &raw const vizor_stub_guest,
            Entry::Process => &raw const vizor_stub_process,
            Entry::Zygote => &raw const vizor_stub_zygote,
        };
        at.addr() - (&raw const vizor_stub_text).addr()
    }
}

/// The code's bytes.
pub fn code() -> &'static [u8] {
    let start = &raw const vizor_stub_text;
    let len = (&raw const vizor_stub_end).addr() - start.addr();
    // SAFETY: both symbols are in one read-only section, defined above in this order.
    unsafe { core::slice::from_raw_parts(start, len) }
}
