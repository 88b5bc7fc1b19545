
# Calls from patched sites. They come here with rcx: where to go on, r11: the call's number (rax), ax: the flags as lahf
# and seto leave them; gs is the thread's head. Scratch: rax, rcx, r11. Nothing here is done that its thread could not do
# by itself, and a guest that comes here any other way harms itself only.
    .globl vizor_stub_enter
    .globl vizor_stub_leave
    .globl vizor_stub_yield
    .globl vizor_stub_pass
    .globl vizor_stub_mapped_call
    .globl vizor_stub_forward
    .globl vizor_stub_undo_mask
    .globl vizor_stub_load_mask
    .globl vizor_stub_store_mask
    .globl vizor_stub_load_nsec
    .globl vizor_stub_load_sec
    .globl vizor_stub_load_word
    .globl vizor_stub_load_key
    .globl vizor_stub_doze
    .globl vizor_stub_dozed
    .globl vizor_stub_disturbed
    .globl vizor_stub_woke
    .balign 64
vizor_stub_enter:
    mov gs:[{SAVED_FLAGS}], rax
    mov gs:[{SAVED_RIP}], rcx
    mov gs:[{NUMBER}], r11
    cmp r11d, gs:[{SERVE_LIMIT}]
    jae vizor_stub_forward
    lea rcx, [rip + vizor_stub_table]
    mov r11d, r11d
    movsxd r11, dword ptr [rcx + 4*r11]
    add r11, rcx
    jmp r11

# The kernel is to serve it: hand over what a call is made of, and wait. The Sentry looks at that line all the time: it is
# not written before, so that it comes here but once.
vizor_stub_forward:
    mov rax, gs:[{NUMBER}]
    mov gs:[{CALL_RAX}], rax
    mov gs:[{CALL_RDI}], rdi
    mov gs:[{CALL_RSI}], rsi
    mov gs:[{CALL_RDX}], rdx
    mov gs:[{CALL_R10}], r10
    mov gs:[{CALL_R8}], r8
    mov gs:[{CALL_R9}], r9
    mov eax, {TURN_SENTRY_CALL}
    xchg gs:[{TURN}], eax
    cmp dword ptr gs:[{SENTRY_WAITS}], 0
    jne 5f
2:  xor ecx, ecx
3:  mov eax, gs:[{TURN}]
    test al, 1
    jnz 8f
    cmp ecx, gs:[{SPIN}]
    jae 4f
    inc ecx
    pause
    jmp 3b
# The Sentry's thread is on this core: let it run.
4:  mov edx, gs:[{STUB_PASSES}]
41: test edx, edx
    jz 6f
    dec edx
    mov eax, {SYS_sched_yield}
    syscall
vizor_stub_pass:
    mov eax, gs:[{TURN}]
    test al, 1
    jnz 42f
    cmp dword ptr gs:[{STUB_PASSES}], 0
    jne 41b
    jmp 6f
42: mov rdx, gs:[{CALL_RDX}]
    jmp 8f
5:  mov eax, {SYS_futex}
    rdgsbase rdi
    mov esi, {FUTEX_WAKE}
    mov edx, 1
    syscall
    mov rdi, gs:[{CALL_RDI}]
    mov rsi, gs:[{CALL_RSI}]
    mov rdx, gs:[{CALL_RDX}]
    jmp 2b
6:  mov eax, 1
    xchg gs:[{STUB_WAITS}], eax
    rdgsbase rdi
    mov esi, {FUTEX_WAIT}
    xor r10d, r10d
7:  mov edx, gs:[{TURN}]
    test dl, 1
    jnz 71f
    mov eax, {SYS_futex}
    syscall
    jmp 7b
71: mov dword ptr gs:[{STUB_WAITS}], 0
    mov eax, edx
    mov rdi, gs:[{CALL_RDI}]
    mov rsi, gs:[{CALL_RSI}]
    mov rdx, gs:[{CALL_RDX}]
    mov r10, gs:[{CALL_R10}]
8:  cmp eax, {TURN_RAISE}
    je 9f
    cmp eax, {TURN_MAP}
    je 73f
    mov rax, gs:[{CALL_RAX}]

# The end of a call: rax is its result.
vizor_stub_finish:
    mov gs:[{RESULT}], rax
vizor_stub_leave:
    cmp dword ptr gs:[{KICK}], 0
    jne 81f
    mov rax, gs:[{SAVED_FLAGS}]
    add al, 0x7f
    sahf
    mov rax, gs:[{RESULT}]
    mov rcx, gs:[{SAVED_RIP}]
    jmp rcx
vizor_stub_leave_end:

# Lets the mapper run on this core, as in switch.s.
73: mov ecx, {TURN_SENTRY}
    lock cmpxchg gs:[{TURN}], ecx
    jne 2b
    vizor_stub_run_mapper
vizor_stub_mapped_call:
    mov rdi, gs:[{CALL_RDI}]
    mov rsi, gs:[{CALL_RSI}]
    mov rdx, gs:[{CALL_RDX}]
    jmp 2b

# All registers are wanted: of a thread that was interrupted and stops behind its call; of the call that the kernel serves;
# of one that it has not been told of yet. Makes a frame like the host's, and comes with that.
81: mov dword ptr gs:[{KICK}], 0
    mov rax, gs:[{RESULT}]
    mov ecx, {CODE_STOP}
    jmp 92f
9:  mov rax, gs:[{CALL_RAX}]
    mov ecx, {CODE_STOP}
    jmp 92f
91: mov rax, gs:[{NUMBER}]
    mov ecx, {CODE_CALL}
92: mov r11, gs:[{RAISED}]
    mov [r11 + {FRAME_CODE}], ecx
    mov dword ptr [r11 + {FRAME_SIGNO}], {INTERRUPT}
    mov [r11 + {FRAME_REGS} + 104], rax
    mov rax, gs:[{SAVED_FLAGS}]
    add al, 0x7f
    sahf
# No flag changes from here to the pushfq.
    mov [r11 + {FRAME_REGS}], r8
    mov [r11 + {FRAME_REGS} + 8], r9
    mov [r11 + {FRAME_REGS} + 16], r10
    mov [r11 + {FRAME_REGS} + 32], r12
    mov [r11 + {FRAME_REGS} + 40], r13
    mov [r11 + {FRAME_REGS} + 48], r14
    mov [r11 + {FRAME_REGS} + 56], r15
    mov [r11 + {FRAME_REGS} + 64], rdi
    mov [r11 + {FRAME_REGS} + 72], rsi
    mov [r11 + {FRAME_REGS} + 80], rbp
    mov [r11 + {FRAME_REGS} + 88], rbx
    mov [r11 + {FRAME_REGS} + 96], rdx
    mov [r11 + {FRAME_REGS} + 120], rsp
    mov rax, gs:[{SAVED_RIP}]
    mov [r11 + {FRAME_REGS} + 128], rax
    mov rsp, r11
    pushfq
    pop qword ptr [r11 + {FRAME_REGS} + 136]
    rdgsbase rbx
# What rt_sigreturn wants besides: flags, this stack, selectors, nothing blocked.
    mov qword ptr [r11 + {FRAME_UC_FLAGS}], {UC_FLAGS}
    lea rax, [rbx - {HEAD}]
    mov [r11 + {FRAME_STACK}], rax
    mov qword ptr [r11 + {FRAME_STACK} + 8], 0
    mov qword ptr [r11 + {FRAME_STACK} + 16], {HEAD}
    movabs rax, {SELECTORS}
    mov [r11 + {FRAME_REGS} + 144], rax
    mov qword ptr [r11 + {FRAME_SIGMASK}], 0
# The vector state, with a header that holds nothing old, and the host's words about it.
    mov rcx, [rbx + {RAISED_VECTOR}]
    mov [r11 + {FRAME_VECTOR}], rcx
    xor eax, eax
    mov [rcx + 512], rax
    mov [rcx + 520], rax
    mov [rcx + 528], rax
    mov [rcx + 536], rax
    mov [rcx + 544], rax
    mov [rcx + 552], rax
    mov [rcx + 560], rax
    mov [rcx + 568], rax
    mov [rcx + 488], rax
    mov [rcx + 496], rax
    mov [rcx + 504], rax
    mov rax, [rbx + {VECTOR_MAGIC}]
    mov [rcx + 464], rax
    mov rax, [rbx + {VECTOR_FEATURES}]
    mov [rcx + 472], rax
    mov rax, [rbx + {VECTOR_SIZE}]
    mov [rcx + 480], rax
    mov dword ptr [rcx + rax], {MAGIC2}
    mov eax, -1
    mov edx, -1
    xsave64 [rcx]
    jmp vizor_stub_report

# What follows is served here.
vizor_stub_served:

# Who am I
10: mov rax, gs:[{TGID}]
    jmp vizor_stub_finish
11: mov rax, gs:[{TID}]
    jmp vizor_stub_finish
12: mov rax, gs:[{PPID}]
    jmp vizor_stub_finish
13: mov rax, gs:[{RUID}]
    jmp vizor_stub_finish
14: mov rax, gs:[{EUID}]
    jmp vizor_stub_finish
15: mov rax, gs:[{RGID}]
    jmp vizor_stub_finish
16: mov rax, gs:[{EGID}]
    jmp vizor_stub_finish
17: mov rax, gs:[{PGID}]
    jmp vizor_stub_finish

# What the kernel looks at when the thread ends.
20: cmp rsi, {ROBUST_HEAD}
    jne vizor_stub_forward
    mov gs:[{ROBUST_LIST}], rdi
    xor eax, eax
    jmp vizor_stub_finish
21: mov gs:[{CLEAR_TID}], rdi
    jmp 11b

# rseq(2), which there is none of.
44: mov rax, -{ENOSYS}
    jmp vizor_stub_finish

# sched_yield(2): the host's, every other time.
18: inc dword ptr gs:[{YIELDS}]
    test byte ptr gs:[{YIELDS}], 1
    jz 19f
    mov eax, {SYS_sched_yield}
    syscall
vizor_stub_yield:
19: xor eax, eax
    jmp vizor_stub_finish

# arch_prctl(2): ARCH_SET_FS of a user address.
22: cmp edi, {ARCH_SET_FS}
    jne vizor_stub_forward_full
    movabs rax, {HOST_END}
    cmp rsi, rax
    jae vizor_stub_forward_full
    wrfsbase rsi
    xor eax, eax
    jmp vizor_stub_finish
vizor_stub_forward_full:
    jmp 91b

# rt_sigprocmask(2). The mask is changed before it is known whether a signal waits, as its sender looks the other way
# round; if one does, the change is undone and the kernel sees to the call.
23: cmp r10, 8
    jne vizor_stub_forward
    mov rcx, gs:[{MASK}]
    test rsi, rsi
    jz 26f
    cmp edi, 2
    ja vizor_stub_forward
vizor_stub_load_mask:
    mov r11, [rsi]
    cmp edi, 1
    ja 25f
    je 24f
    or r11, rcx
    jmp 25f
24: not r11
    and r11, rcx
25: and r11, {BLOCKABLE}
    xchg gs:[{MASK}], r11
    cmp dword ptr gs:[{ALERT}], 0
    jne vizor_stub_undo_mask
26: test rdx, rdx
    jz 27f
vizor_stub_store_mask:
    mov [rdx], rcx
27: xor eax, eax
    jmp vizor_stub_finish
vizor_stub_undo_mask:
    xchg gs:[{MASK}], rcx
    jmp vizor_stub_forward

# futex(2): a wake of nobody, and a wait for what is not so any more, or will not be in a moment.
30: test dil, 3
    jnz vizor_stub_forward
    mov rax, rdi
    shr rax, 47
    jnz vizor_stub_forward
    mov eax, esi
    and eax, {FUTEX_CMD_MASK}
    cmp eax, {FUTEX_WAKE}
    je 31f
    cmp eax, {FUTEX_WAKE_BITSET}
    je 33f
    test r10, r10
    jnz vizor_stub_load_nsec
29: cmp eax, {FUTEX_WAIT_BITSET}
    je 291f
    cmp eax, {FUTEX_WAIT}
    jne vizor_stub_forward
    test esi, {FUTEX_CLOCK_REALTIME}
    jz 27f
    jmp vizor_stub_forward
291: test r9d, r9d
    jz vizor_stub_forward
# How often to look at the word again: never if no core is free for that, or if it was in vain of late; longer if it was too
# short last. r11: the same.
27: xor ecx, ecx
    cmp dword ptr gs:[{LOOK_SKIPS}], 0
    jne 28f
    mov ecx, gs:[{FUTEX_LOOKS}]
    test ecx, ecx
    jz 28f
    cmp dword ptr gs:[{LOOK_FAILS}], 0
    je 28f
    mov ecx, {LONG_LOOK}
28: mov r11d, ecx
vizor_stub_load_word:
    mov eax, [rdi]
    cmp eax, edx
    jne 34f
    dec ecx
    js 36f
    pause
    jmp vizor_stub_load_word
34: sub r11d, ecx
    jz 35f
    cmp r11d, {LOOKS}
    ja 341f
    mov dword ptr gs:[{LOOK_FAILS}], 0
    jmp 35f
341: cmp dword ptr gs:[{LOOK_FAILS}], {FAILS_MAX}
    jae 35f
    inc dword ptr gs:[{LOOK_FAILS}]
35: mov rax, -{EAGAIN}
    jmp vizor_stub_finish

# In vain: if not for the first times, twice as many waits pass before the next try.
36: test r11d, r11d
    jz 38f
    mov ecx, gs:[{LOOK_FAILS}]
    cmp ecx, {FAILS_MAX}
    jae 37f
    inc ecx
    mov gs:[{LOOK_FAILS}], ecx
37: sub ecx, {FAILS_FREE}
    jle 38f
    mov eax, 1
    shl eax, cl
    dec eax
    mov gs:[{LOOK_SKIPS}], eax

# Sleeps as a waiter of the host's, on the same word: wakes of private futexes come from threads of this process only. A
# relative time limit is the kernel's business, as an interrupt must not make it begin again.
38: cmp dword ptr gs:[{DOZES}], 0
    je 391f
    mov eax, esi
    and eax, ~{FUTEX_CLOCK_REALTIME}
    cmp eax, {FUTEX_WAIT_BITSET} | {FUTEX_PRIVATE}
    je 39f
    cmp esi, {FUTEX_WAIT} | {FUTEX_PRIVATE}
    jne 391f
    test r10, r10
    jz 39f
# The Sentry knows whether it is long.
391: mov eax, gs:[{LOOK_SKIPS}]
    sub eax, 1
    adc eax, 0
    mov gs:[{LOOK_SKIPS}], eax
    jmp vizor_stub_forward
39: movabs rax, {USER_END}
    cmp rdi, rax
    jae vizor_stub_forward
# Behind those who wait in the kernel, as those who wait in the host are woken first.
    mov eax, edi
    and eax, 0xffc
    lea rcx, [rip + vizor_stub_text + {WAITERS}]
    cmp dword ptr [rcx + rax], 0
    jne 391b
    mov r11, rdx
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov rdx, r11
    mov gs:[{DOZES_SINCE}], rax
    sub gs:[{SLEPT}], rax
    mov eax, edi
    and eax, 0xffc
    lea rcx, [rip + vizor_stub_text + {SLEEPERS}]
    lock inc dword ptr [rcx + rax]
# An interrupt from here to the call's end leads to vizor_stub_disturbed.
vizor_stub_doze:
    cmp dword ptr gs:[{KICK}], 0
    jne vizor_stub_disturbed
    mov eax, {SYS_futex}
    syscall
vizor_stub_dozed:
    jmp 40f
vizor_stub_disturbed:
    mov rax, -{EINTR}
40: mov gs:[{RESULT}], rax
    mov eax, edi
    and eax, 0xffc
    lea rcx, [rip + vizor_stub_text + {SLEEPERS}]
    lock dec dword ptr [rcx + rax]
    mov r11, rdx
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov rdx, r11
    add gs:[{SLEPT}], rax
    sub rax, gs:[{DOZES_SINCE}]
    cmp rax, {LONG_WAIT}
    mov eax, gs:[{LOOK_SKIPS}]
    jae 41f
    sub eax, 1
    adc eax, 0
    jmp 42f
41: mov ecx, {LONG_WAIT_SKIPS}
    cmp eax, ecx
    cmovb eax, ecx
42: mov gs:[{LOOK_SKIPS}], eax
    mov rax, gs:[{RESULT}]
    test rax, rax
    jz vizor_stub_finish
    cmp rax, -{ETIMEDOUT}
    je vizor_stub_finish
    cmp rax, -{EAGAIN}
    je vizor_stub_finish
# Interrupted, or a fault: the kernel knows what to do.
    jmp vizor_stub_forward
# A time limit must be valid, or that is the result.
vizor_stub_load_nsec:
    mov r11, [r10 + 8]
    cmp r11, {NSEC_MAX}
    ja vizor_stub_forward
vizor_stub_load_sec:
    mov r11, [r10]
    test r11, r11
    jns 29b
    jmp vizor_stub_forward
33: test r9d, r9d
    jz vizor_stub_forward
31: test esi, {FUTEX_CLOCK_REALTIME}
    jnz vizor_stub_forward
    test esi, {FUTEX_PRIVATE}
    jnz 32f
vizor_stub_load_key:
    mov eax, [rdi]
# Who waits has counted itself before it looked at the word.
32: mfence
    mov eax, edi
    and eax, 0xffc
    lea rcx, [rip + vizor_stub_text + {WAITERS}]
    cmp dword ptr [rcx + rax], 0
    jne vizor_stub_forward
    test esi, {FUTEX_PRIVATE}
    jz 43f
# Who waits in the host is woken by it.
    lea rcx, [rip + vizor_stub_text + {SLEEPERS}]
    cmp dword ptr [rcx + rax], 0
    je 43f
    movabs rax, {USER_END}
    cmp rdi, rax
    jae vizor_stub_forward
    mov eax, {SYS_futex}
    syscall
vizor_stub_woke:
    test rax, rax
    jns vizor_stub_finish
    jmp vizor_stub_forward
43: xor eax, eax
    jmp vizor_stub_finish
    .globl vizor_stub_enter_end
vizor_stub_enter_end:

    .macro vizor_stub_forwarded count
    .rept \count
    .long vizor_stub_forward - vizor_stub_table
    .endr
    .endm
    .balign 4
vizor_stub_table:
    vizor_stub_forwarded 14
    .long 23b - vizor_stub_table        # 14 rt_sigprocmask
    .long 91b - vizor_stub_table        # 15 rt_sigreturn
    vizor_stub_forwarded 8
    .long 18b - vizor_stub_table        # 24 sched_yield
    vizor_stub_forwarded 14
    .long 10b - vizor_stub_table        # 39 getpid
    vizor_stub_forwarded 16
    .long 91b - vizor_stub_table        # 56 clone
    .long 91b - vizor_stub_table        # 57 fork
    .long 91b - vizor_stub_table        # 58 vfork
    .long 91b - vizor_stub_table        # 59 execve
    .long 91b - vizor_stub_table        # 60 exit
    vizor_stub_forwarded 41
    .long 13b - vizor_stub_table        # 102 getuid
    vizor_stub_forwarded 1
    .long 15b - vizor_stub_table        # 104 getgid
    vizor_stub_forwarded 2
    .long 14b - vizor_stub_table        # 107 geteuid
    .long 16b - vizor_stub_table        # 108 getegid
    vizor_stub_forwarded 1
    .long 12b - vizor_stub_table        # 110 getppid
    .long 17b - vizor_stub_table        # 111 getpgrp
    vizor_stub_forwarded 46
    .long 22b - vizor_stub_table        # 158 arch_prctl
    vizor_stub_forwarded 27
    .long 11b - vizor_stub_table        # 186 gettid
    vizor_stub_forwarded 15
    .long 30b - vizor_stub_table        # 202 futex
    vizor_stub_forwarded 15
    .long 21b - vizor_stub_table        # 218 set_tid_address
    vizor_stub_forwarded 12
    .long 91b - vizor_stub_table        # 231 exit_group
    vizor_stub_forwarded 41
    .long 20b - vizor_stub_table        # 273 set_robust_list
    vizor_stub_forwarded 48
    .long 91b - vizor_stub_table        # 322 execveat
    vizor_stub_forwarded 11
    .long 44b - vizor_stub_table        # 334 rseq
    vizor_stub_forwarded 100
    .long 91b - vizor_stub_table        # 435 clone3
vizor_stub_table_end:
