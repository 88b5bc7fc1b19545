    .pushsection .rodata.vizor_stub, "a", @progbits
    .balign 64
    .globl vizor_stub_text
    .globl vizor_stub_handler
    .globl vizor_stub_resume
    .globl vizor_stub_guest
    .globl vizor_stub_mapped

# Wakes the mapper and leaves it the core. It sleeps on the other word than that of the batch that it is to run.
# Scratch: rax, rcx, rdx, rsi, rdi, r11.
    .macro vizor_stub_run_mapper
    lea rdi, [rip + vizor_stub_text + {COMMAND} + {CMD_SEQ}]
    mov eax, [rdi]
    not eax
    and eax, 1
    lea rdi, [rdi + 4*rax]
    mov eax, {SYS_futex}
    mov esi, {FUTEX_WAKE}
    mov edx, 1
    syscall
    mov eax, {SYS_sched_yield}
    syscall
    .endm

vizor_stub_text:

# Handler of every signal, on the thread's signal stack, all signals blocked.
vizor_stub_handler:
    mov rbx, rsp
    and rbx, -{BLOCK}
    add rbx, {HEAD}
    cmp edi, {SIGSYS}
    je vizor_stub_unpatched

# An interrupt in the stub's own code, where a call goes on without the kernel or waits for it: leave word, and go on.
# If the word has just been looked for, look again.
    cmp edi, {INTERRUPT}
    jne vizor_stub_report
    mov rax, [rsp + {FRAME_RIP}]
    lea rcx, [rip + vizor_stub_report]
    cmp rax, rcx
    jb vizor_stub_report
    lea rcx, [rip + vizor_stub_enter_end]
    cmp rax, rcx
    jae vizor_stub_report
    lea rcx, [rip + vizor_stub_enter]
    cmp rax, rcx
    jae 10f
    mov dword ptr [rbx + {HELD}], 1
    lea rcx, [rip + vizor_stub_return]
    cmp rax, rcx
    jb 7f
    mov [rsp + {FRAME_RIP}], rcx
    jmp 7f
10: mov dword ptr [rbx + {KICK}], 1
    lea rcx, [rip + vizor_stub_doze]
    cmp rax, rcx
    jb 11f
    lea rdx, [rip + vizor_stub_dozed]
    lea rcx, [rip + vizor_stub_disturbed]
    cmp rax, rdx
    jb 12f
11: lea rcx, [rip + vizor_stub_leave]
    cmp rax, rcx
    jb 7f
    lea rdx, [rip + vizor_stub_leave_end]
    cmp rax, rdx
    jae 7f
12: mov [rsp + {FRAME_RIP}], rcx
    jmp 7f

# A call of a site that is not patched. If it is on the thread's own state, it goes where those of patched sites go, and the
# Sentry learns of it later; not if it is to see all calls or has not learnt of some, nor where that code would not do: with
# another gs, or step by step.
vizor_stub_unpatched:
    cmp dword ptr [rsp + {FRAME_CODE}], {SYS_SECCOMP}
    jne vizor_stub_report
    cmp dword ptr [rsp + {FRAME_ARCH}], {ARCH}
    jne vizor_stub_report
    mov eax, [rsp + {FRAME_REGS} + 104]
    cmp eax, [rbx + {SERVE_LIMIT}]
    jae vizor_stub_report
    lea rcx, [rip + vizor_stub_table]
    movsxd rdx, dword ptr [rcx + 4*rax]
    add rdx, rcx
    lea rcx, [rip + vizor_stub_served]
    cmp rdx, rcx
    jb vizor_stub_report
    test dword ptr [rsp + {FRAME_REGS} + 136], {TRAP_FLAG}
    jnz vizor_stub_report
    rdgsbase rcx
    cmp rcx, rbx
    jne vizor_stub_report
    mov ecx, [rbx + {UNSEEN_LEFT}]
13: lea edx, [rcx - 1]
    cmp edx, {UNSEEN_MAX}
    jae vizor_stub_report
    mov rsi, rax
    mov eax, ecx
    lock cmpxchg [rbx + {UNSEEN_LEFT}], edx
    mov ecx, eax
    mov rax, rsi
    jne 13b
    mov rcx, [rsp + {FRAME_RIP}]
    mov [rsp + {FRAME_REGS} + 112], rcx
    shl rsi, {UNSEEN_NUMBER}
    or rsi, rcx
    mov [rbx + 8*rdx + {UNSEEN}], rsi
    mov rax, [rsp + {FRAME_REGS} + 104]
    mov [rsp + {FRAME_REGS} + 24], rax
    mov eax, [rsp + {FRAME_REGS} + 136]
    mov ecx, eax
    shr ecx, 11
    and ecx, 1
    movzx eax, al
    shl eax, 8
    or eax, ecx
    mov [rsp + {FRAME_REGS} + 104], rax
    lea rcx, [rip + vizor_stub_enter]
    mov [rsp + {FRAME_RIP}], rcx
    jmp 7f

# Comes to the Sentry with a frame. rbx: head, rsp: frame.
vizor_stub_report:
    rdfsbase rax
    mov [rbx + {FS_BASE}], rax
# The head's own address stands for zero.
    rdgsbase rax
    xor ecx, ecx
    cmp rax, rbx
    cmove rax, rcx
    mov [rbx + {GS_BASE}], rax
    mov [rbx + {FRAME}], rsp
    mov eax, {CORE_SELECTOR}
    lsl eax, eax
    mov [rbx + {CORE}], eax
20: mov eax, {TURN_SENTRY}
    xchg dword ptr [rbx + {TURN}], eax
    cmp dword ptr [rbx + {SENTRY_WAITS}], 0
    je 21f
    mov eax, {SYS_futex}
    lea rdi, [rbx + {TURN}]
    mov esi, {FUTEX_WAKE}
    mov edx, 1
    syscall

# Waits for the Sentry's answer. rbx: head, rsp: frame.
21: xor ecx, ecx
2:  mov eax, [rbx + {TURN}]
    test al, 1
    jnz 6f
    cmp ecx, [rbx + {SPIN}]
    jae 3f
    inc ecx
    pause
    jmp 2b
3:  mov eax, 1
    xchg dword ptr [rbx + {STUB_WAITS}], eax
4:  mov edx, [rbx + {TURN}]
    test dl, 1
    jnz 5f
    mov eax, {SYS_futex}
    lea rdi, [rbx + {TURN}]
    mov esi, {FUTEX_WAIT}
    xor r10d, r10d
    syscall
    jmp 4b
5:  mov dword ptr [rbx + {STUB_WAITS}], 0
    mov eax, edx
6:  cmp eax, {TURN_MAP}
    jne vizor_stub_return

# Lets the mapper run on this core.
    mov ecx, {TURN_SENTRY}
    lock cmpxchg [rbx + {TURN}], ecx
    jne 21b
    vizor_stub_run_mapper
vizor_stub_mapped:
    jmp 21b

vizor_stub_return:
    cmp dword ptr [rbx + {HELD}], 0
    jne 61f
    mov rax, [rbx + {FS_BASE}]
    wrfsbase rax
    mov rax, [rbx + {GS_BASE}]
    test rax, rax
    cmovz rax, rbx
    wrgsbase rax
    mov rsp, [rbx + {FRAME}]
7:  add rsp, 8
    mov eax, {SYS_rt_sigreturn}
    syscall
vizor_stub_resume:
    ud2

# Interrupted while it waited: no way back yet.
61: mov dword ptr [rbx + {HELD}], 0
    mov rsp, [rbx + {FRAME}]
    mov dword ptr [rsp + {FRAME_SIGNO}], {INTERRUPT}
    mov dword ptr [rsp + {FRAME_CODE}], {CODE_HELD}
    jmp 20b

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
    mov [rbx + {FRAME}], rsp
    jmp 21b
9:  jmp vizor_stub_fail
