# Failure: end the process.
    .globl vizor_stub_process
    .globl vizor_stub_zygote
    .globl vizor_stub_end
vizor_stub_fail:
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
3:  mov eax, ebx
    and eax, 1
    lea rdi, [rbp + 4*rax + {CMD_SEQ}]
31: mov eax, [rdi]
    cmp eax, ebx
    jne 4f
    mov eax, {SYS_futex}
    mov esi, {FUTEX_WAIT}
    mov edx, ebx
    xor r10d, r10d
    syscall
    jmp 31b
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
