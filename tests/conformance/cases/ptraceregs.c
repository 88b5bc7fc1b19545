/* ptrace(2): registers, single steps and breakpoints. */
#include "trace.h"

CASE(peekuser_and_pokeuser)
{
	unsigned long word;
	CHILD(p) trace_me();
	EXPECT_STOP(p, SIGSTOP);
	struct user_regs_struct regs = regs_of(p);
	EXPECT_OK(trace(PTRACE_PEEKUSER, p, offsetof(struct user, regs.rip), (unsigned long)&word));
	EXPECT_EQ(word, regs.rip);
	EXPECT_OK(trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.r15), 15));
	EXPECT_EQ(regs_of(p).r15, 15);
	EXPECT_OK(trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.r15), regs.r15));
	EXPECT_ERRNO(trace(PTRACE_PEEKUSER, p, 4, (unsigned long)&word), EIO);
	/* The kernel's structure has two words more than the C library's. */
	EXPECT_OK(trace(PTRACE_PEEKUSER, p, sizeof(struct user) + 8, (unsigned long)&word));
	EXPECT_ERRNO(trace(PTRACE_PEEKUSER, p, sizeof(struct user) + 16, (unsigned long)&word), EIO);
	EXPECT_ERRNO(trace(PTRACE_PEEKUSER, p, -8ul, (unsigned long)&word), EIO);
	EXPECT_OK(trace(PTRACE_PEEKUSER, p, offsetof(struct user, u_tsize), (unsigned long)&word));
	EXPECT_EQ(word, 0);
	EXPECT_ERRNO(trace(PTRACE_POKEUSER, p, offsetof(struct user, u_tsize), 1), EIO);
	EXPECT_ERRNO(trace(PTRACE_POKEUSER, p, 3, 1), EIO);
	let_end(p, 0);
}

CASE(debug_registers_at_rest)
{
	unsigned long word;
	CHILD(p) trace_me();
	EXPECT_STOP(p, SIGSTOP);
	for (int i = 0; i < 8; i++) {
		EXPECT_OK(trace(PTRACE_PEEKUSER, p, offsetof(struct user, u_debugreg[i]), (unsigned long)&word));
		RECORD("debug register", "%d: %#lx", i, word);
	}
	EXPECT_OK(trace(PTRACE_POKEUSER, p, offsetof(struct user, u_debugreg[7]), 0));
	EXPECT_OK(trace(PTRACE_POKEUSER, p, offsetof(struct user, u_debugreg[6]), 0));
	EXPECT_OK(trace(PTRACE_POKEUSER, p, offsetof(struct user, u_debugreg[0]), 0));
	EXPECT_ERRNO(trace(PTRACE_POKEUSER, p, offsetof(struct user, u_debugreg[4]), 0), EIO);
	let_end(p, 0);
}

CASE(selectors_and_flags)
{
	CHILD(p) trace_me();
	EXPECT_STOP(p, SIGSTOP);
	struct user_regs_struct regs = regs_of(p);
	RECORD("selectors", "%llx %llx %llx %llx %llx %llx", regs.cs, regs.ss, regs.ds, regs.es, regs.fs, regs.gs);
	CHECK(regs.fs_base != 0);
	EXPECT_EQ(regs.gs_base, 0);
	EXPECT_ERRNO(trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.cs), 0), EIO);
	EXPECT_ERRNO(trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.ss), 1), EIO);
	EXPECT_ERRNO(trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.fs_base), 1ul << 63), EIO);
	/* Flags that are not the program's stay. */
	EXPECT_OK(trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.eflags), 0xffffffff & ~0x100));
	RECORD("flags", "%llx", regs_of(p).eflags);
	EXPECT_OK(trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.eflags), regs.eflags));
	let_end(p, 0);
}

CASE(regsets)
{
	struct user_regs_struct regs, set;
	struct iovec iov = {&set, sizeof set};
	CHILD(p) trace_me();
	EXPECT_STOP(p, SIGSTOP);
	regs = regs_of(p);
	EXPECT_OK(trace(PTRACE_GETREGSET, p, NT_PRSTATUS, (unsigned long)&iov));
	EXPECT_EQ(iov.iov_len, sizeof set);
	CHECK(memcmp(&regs, &set, sizeof set) == 0);
	/* Part of it. */
	memset(&set, 0xee, sizeof set);
	iov.iov_len = 16;
	EXPECT_OK(trace(PTRACE_GETREGSET, p, NT_PRSTATUS, (unsigned long)&iov));
	EXPECT_EQ(iov.iov_len, 16);
	CHECK(set.r15 == regs.r15 && set.r14 == regs.r14 && set.r13 == 0xeeeeeeeeeeeeeeee);
	/* More than there is. */
	char large[1024];
	iov = (struct iovec){large, 1024};
	EXPECT_OK(trace(PTRACE_GETREGSET, p, NT_PRSTATUS, (unsigned long)&iov));
	EXPECT_EQ(iov.iov_len, sizeof set);
	iov.iov_len = 7;
	EXPECT_ERRNO(trace(PTRACE_GETREGSET, p, NT_PRSTATUS, (unsigned long)&iov), EINVAL);
	iov.iov_len = 1024;
	EXPECT_ERRNO(trace(PTRACE_GETREGSET, p, 0x7777, (unsigned long)&iov), EINVAL);
	EXPECT_ERRNO(trace(PTRACE_GETREGSET, p, NT_PRSTATUS, 8), EFAULT);
	iov = (struct iovec){(void *)8, sizeof set};
	EXPECT_ERRNO(trace(PTRACE_GETREGSET, p, NT_PRSTATUS, (unsigned long)&iov), EFAULT);
	regs.r12 = 12;
	iov = (struct iovec){&regs, sizeof regs};
	EXPECT_OK(trace(PTRACE_SETREGSET, p, NT_PRSTATUS, (unsigned long)&iov));
	EXPECT_EQ(regs_of(p).r12, 12);
	EXPECT_OK(trace(PTRACE_KILL, p, 0, 0));
	EXPECT_KILLED(p, SIGKILL);
}

CASE(floating_point_registers)
{
	double *seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHILD(p) {
		EXPECT_OK(trace(PTRACE_TRACEME, 0, 0, 0));
		double a = 1.5;
		asm volatile("movsd %1, %%xmm7; int3; movsd %%xmm7, %0" : "=m"(*seen) : "m"(a) : "xmm7");
	}
	struct user_fpregs_struct fp, set;
	struct iovec iov = {&set, sizeof set};
	EXPECT_STOP(p, SIGTRAP);
	EXPECT_EQ(sizeof fp, 512);
	EXPECT_OK(trace(PTRACE_GETFPREGS, p, 0, (unsigned long)&fp));
	double *xmm7 = (double *)&fp.xmm_space[4 * 7];
	CHECK(*xmm7 == 1.5);
	EXPECT_EQ(fp.mxcsr, 0x1f80);
	EXPECT_EQ(fp.cwd, 0x37f);
	EXPECT_OK(trace(PTRACE_GETREGSET, p, NT_PRFPREG, (unsigned long)&iov));
	EXPECT_EQ(iov.iov_len, 512);
	CHECK(memcmp(&fp, &set, 400) == 0);
	*xmm7 = 2.5;
	EXPECT_OK(trace(PTRACE_SETFPREGS, p, 0, (unsigned long)&fp));
	EXPECT_OK(trace(PTRACE_GETFPREGS, p, 0, (unsigned long)&set));
	CHECK(*(double *)&set.xmm_space[4 * 7] == 2.5);
	fp.mxcsr = 0xffff0000;
	EXPECT_ERRNO(trace(PTRACE_SETFPREGS, p, 0, (unsigned long)&fp), EINVAL);
	let_end(p, 0);
	CHECK(*seen == 2.5);
}

CASE(extended_state)
{
	static char state[16384], small[64];
	struct iovec iov = {state, sizeof state};
	CHILD(p) {
		EXPECT_OK(trace(PTRACE_TRACEME, 0, 0, 0));
		float a[8] = {1, 2, 3, 4, 5, 6, 7, 8}, b[8];
		asm volatile("vmovups %1, %%ymm5; int3; vmovups %%ymm5, %0" : "=m"(b) : "m"(a) : "xmm5");
		CHECK(b[0] == 100 && b[4] == 200 && b[7] == 8);
	}
	if (!__builtin_cpu_supports("avx"))
		SKIP("no AVX");
	EXPECT_STOP(p, SIGTRAP);
	EXPECT_OK(trace(PTRACE_GETREGSET, p, NT_X86_XSTATE, (unsigned long)&iov));
	size_t len = iov.iov_len;
	CHECK(len >= 832);
	unsigned long features = *(unsigned long *)(state + 464), present = *(unsigned long *)(state + 512);
	CHECK((features & 7) == 7 && (present & 4) == 4 && (present & ~features) == 0);
	float *low = (float *)(state + 160 + 16 * 5), *high = (float *)(state + 576 + 16 * 5);
	CHECK(low[0] == 1 && high[0] == 5);
	low[0] = 100;
	high[0] = 200;
	EXPECT_OK(trace(PTRACE_SETREGSET, p, NT_X86_XSTATE, (unsigned long)&iov));
	/* All of it or nothing. */
	iov.iov_len = 576;
	EXPECT_ERRNO(trace(PTRACE_SETREGSET, p, NT_X86_XSTATE, (unsigned long)&iov), EFAULT);
	iov.iov_len = len;
	*(unsigned long *)(state + 512) |= 1ul << 62;
	EXPECT_ERRNO(trace(PTRACE_SETREGSET, p, NT_X86_XSTATE, (unsigned long)&iov), EINVAL);
	/* Reading a part is fine. */
	iov = (struct iovec){small, sizeof small};
	EXPECT_OK(trace(PTRACE_GETREGSET, p, NT_X86_XSTATE, (unsigned long)&iov));
	EXPECT_EQ(iov.iov_len, 64);
	let_end(p, 0);
}

CASE(arch_prctl_of_a_tracee)
{
	unsigned long base;
	CHILD(p) trace_me();
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_OK(trace(30 /* PTRACE_ARCH_PRCTL */, p, (unsigned long)&base, 0x1003 /* ARCH_GET_FS */));
	EXPECT_EQ(base, regs_of(p).fs_base);
	let_end(p, 0);
}

CASE(breakpoint_by_int3)
{
	CHILD(p) {
		EXPECT_OK(trace(PTRACE_TRACEME, 0, 0, 0));
		asm volatile("int3");
		_exit(6);
	}
	EXPECT_STOP(p, SIGTRAP);
	siginfo_t info = siginfo_of(p);
	EXPECT_EQ(info.si_signo, SIGTRAP);
	EXPECT_EQ(info.si_code, SI_KERNEL);
	struct user_regs_struct regs = regs_of(p);
	EXPECT_EQ(peek(p, (void *)(regs.rip - 1)) & 0xff, 0xcc);
	EXPECT_EQ(regs.orig_rax, -1);
	let_end(p, 6 << 8);
}

static __attribute__((noinline)) int target(int x)
{
	asm volatile("" : "+r"(x));
	return x + 1;
}

CASE(breakpoint_by_poke)
{
	CHILD(p) {
		trace_me();
		_exit(target(1) + target(10));
	}
	EXPECT_STOP(p, SIGSTOP);
	unsigned long word = peek(p, target);
	poke(p, target, (word & ~0xfful) | 0xcc);
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGTRAP);
		struct user_regs_struct regs = regs_of(p);
		EXPECT_EQ(regs.rip, (unsigned long)target + 1);
		EXPECT_EQ(regs.rdi, i ? 10 : 1);
		/* Step over it, and put it back. */
		poke(p, target, word);
		regs.rip--;
		set_regs(p, &regs);
		EXPECT_EQ(go_on(p, PTRACE_SINGLESTEP, 0), SIGTRAP);
		CHECK(regs_of(p).rip != regs.rip);
		poke(p, target, (word & ~0xfful) | 0xcc);
	}
	let_end(p, 13 << 8);
}

extern const char step_1[], step_2[], step_3[], step_4[];

CASE(single_steps)
{
	CHILD(p) {
		EXPECT_OK(trace(PTRACE_TRACEME, 0, 0, 0));
		asm volatile("int3; .globl step_1, step_2, step_3, step_4\n"
			     "step_1: xor %%eax, %%eax\nstep_2: mov $39, %%eax\nstep_3: syscall\nstep_4: nop"
			     ::: "rax", "rcx", "r11");
	}
	EXPECT_STOP(p, SIGTRAP);
	EXPECT_EQ(regs_of(p).rip, (unsigned long)step_1);
	EXPECT_EQ(go_on(p, PTRACE_SINGLESTEP, 0), SIGTRAP);
	siginfo_t info = siginfo_of(p);
	EXPECT_EQ(info.si_code, TRAP_TRACE);
	EXPECT_EQ((unsigned long)info.si_addr, (unsigned long)step_2);
	struct user_regs_struct regs = regs_of(p);
	EXPECT_EQ(regs.rip, (unsigned long)step_2);
	EXPECT_EQ(regs.rax, 0);
	/* The trap flag is not the program's. */
	EXPECT_EQ(regs.eflags & 0x100, 0);
	EXPECT_EQ(go_on(p, PTRACE_SINGLESTEP, 0), SIGTRAP);
	EXPECT_EQ(regs_of(p).rip, (unsigned long)step_3);
	EXPECT_EQ(regs_of(p).rax, 39);
	EXPECT_EQ(go_on(p, PTRACE_SINGLESTEP, 0), SIGTRAP);
	info = siginfo_of(p);
	EXPECT_EQ(info.si_code, TRAP_BRKPT);
	regs = regs_of(p);
	EXPECT_EQ(regs.rip, (unsigned long)step_4);
	EXPECT_EQ(regs.rax, p);
	let_end(p, 0);
}

CASE(step_into_a_handler)
{
	CHILD(p) {
		count_signal(SIGUSR1, 0);
		EXPECT_OK(trace(PTRACE_TRACEME, 0, 0, 0));
		raise(SIGUSR1);
		CHECK(signals_seen[SIGUSR1] == 1);
	}
	EXPECT_STOP(p, SIGUSR1);
	struct user_regs_struct before = regs_of(p);
	EXPECT_EQ(go_on(p, PTRACE_SINGLESTEP, SIGUSR1), SIGTRAP);
	struct user_regs_struct regs = regs_of(p);
	/* At its first instruction. */
	EXPECT_EQ(regs.rdi, SIGUSR1);
	CHECK(regs.rip != before.rip && regs.rsp < before.rsp);
	EXPECT_EQ(siginfo_of(p).si_code, SIGTRAP);
	let_end(p, 0);
}

CASE(many_steps)
{
	CHILD(p) {
		EXPECT_OK(trace(PTRACE_TRACEME, 0, 0, 0));
		asm volatile("int3; mov $100, %%ecx\n1: dec %%ecx; jnz 1b; int3" ::: "rcx");
	}
	EXPECT_STOP(p, SIGTRAP);
	int steps = 0;
	while (go_on(p, PTRACE_SINGLESTEP, 0) == SIGTRAP && siginfo_of(p).si_code == TRAP_TRACE)
		steps++;
	EXPECT_EQ(steps, 201);
	let_end(p, 0);
}

static volatile int called;

static int callee(int a, int b)
{
	called = 1;
	return a * b;
}

CASE(a_call_in_the_tracee)
{
	/* As debuggers do it: other registers, a breakpoint at the end, everything put back. */
	CHILD(p) {
		trace_me();
		CHECK(called == 1);
		_exit(2);
	}
	EXPECT_STOP(p, SIGSTOP);
	struct user_regs_struct old = regs_of(p), regs = old;
	regs.rip = (unsigned long)callee;
	regs.rdi = 6;
	regs.rsi = 7;
	regs.orig_rax = -1;
	regs.rsp = ((regs.rsp - 512) & ~15ul) - 8;
	/* Returns to nowhere. */
	poke(p, (void *)regs.rsp, 0x1000);
	set_regs(p, &regs);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGSEGV);
	regs = regs_of(p);
	EXPECT_EQ(regs.rip, 0x1000);
	EXPECT_EQ(regs.rax, 42);
	EXPECT_EQ((unsigned long)siginfo_of(p).si_addr, 0x1000);
	set_regs(p, &old);
	let_end(p, 2 << 8);
}

CASE(registers_of_a_signal_stop_return_to_the_program)
{
	CHILD(p) {
		long out;
		EXPECT_OK(trace(PTRACE_TRACEME, 0, 0, 0));
		asm volatile("int3" : "=a"(out), "=b"((long){0}) : "a"(1l), "b"(2l));
		_exit(out);
	}
	EXPECT_STOP(p, SIGTRAP);
	struct user_regs_struct regs = regs_of(p);
	EXPECT_EQ(regs.rax, 1);
	EXPECT_EQ(regs.rbx, 2);
	regs.rax = 77;
	set_regs(p, &regs);
	let_end(p, 77 << 8);
}

/* ---- Debug registers. DR7: two bits for each of four points that it is on, four from bit 16 for kind (0: run, 1: written)
 * and length less one. ---- */

static long set_debug(pid_t p, int n, unsigned long value)
{
	return trace(PTRACE_POKEUSER, p, offsetof(struct user, u_debugreg[n]), value);
}

static unsigned long get_debug(pid_t p, int n)
{
	unsigned long value;
	EXPECT_OK(trace(PTRACE_PEEKUSER, p, offsetof(struct user, u_debugreg[n]), (unsigned long)&value));
	return value;
}

static volatile long watched;
extern const char watch_after[], watch_again[];

CASE(watchpoint_on_a_write)
{
	CHILD(p) {
		trace_me();
		asm volatile("movq $5, %0; .globl watch_after, watch_again\nwatch_after: nop; movl $6, %0\nwatch_again: nop"
			     : "=m"(watched));
	}
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_OK(set_debug(p, 1, (unsigned long)&watched));
	EXPECT_OK(set_debug(p, 7, 1 << 2 | 0xdul << 20)); /* four bytes, written */
	EXPECT_EQ(get_debug(p, 1), (unsigned long)&watched);
	EXPECT_EQ(get_debug(p, 7), 1 << 2 | 0xdul << 20);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGTRAP);
	siginfo_t info = siginfo_of(p);
	EXPECT_EQ(info.si_code, 4 /* TRAP_HWBKPT */);
	EXPECT_EQ((unsigned long)info.si_addr, (unsigned long)watch_after);
	EXPECT_EQ(regs_of(p).rip, (unsigned long)watch_after);
	EXPECT_EQ(regs_of(p).eflags & 0x100, 0);
	EXPECT_EQ(get_debug(p, 6) & 0xf, 2);
	EXPECT_EQ(peek(p, &watched), 5);
	EXPECT_OK(set_debug(p, 6, 0));
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGTRAP);
	EXPECT_EQ(regs_of(p).rip, (unsigned long)watch_again);
	/* Off again. */
	EXPECT_OK(set_debug(p, 7, 0));
	let_end(p, 0);
}

CASE(breakpoint_by_debug_register)
{
	CHILD(p) {
		trace_me();
		_exit(target(1) + target(10));
	}
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_OK(set_debug(p, 0, (unsigned long)target));
	EXPECT_OK(set_debug(p, 7, 1));
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGTRAP);
		struct user_regs_struct regs = regs_of(p);
		/* Before the instruction; the resume flag lets it run. */
		EXPECT_EQ(regs.rip, (unsigned long)target);
		EXPECT_EQ(regs.rdi, i ? 10 : 1);
		EXPECT_EQ(siginfo_of(p).si_code, 4 /* TRAP_HWBKPT */);
		EXPECT_EQ(get_debug(p, 6) & 0xf, 1);
	}
	let_end(p, 13 << 8);
}

CASE(step_to_a_watchpoint)
{
	CHILD(p) {
		EXPECT_OK(trace(PTRACE_TRACEME, 0, 0, 0));
		asm volatile("int3; movq $9, %0; nop" : "=m"(watched));
	}
	EXPECT_STOP(p, SIGTRAP);
	EXPECT_OK(set_debug(p, 0, (unsigned long)&watched));
	EXPECT_OK(set_debug(p, 7, 1 | 0x9ul << 16)); /* eight bytes */
	EXPECT_EQ(go_on(p, PTRACE_SINGLESTEP, 0), SIGTRAP);
	RECORD("status", "%#lx code %d", get_debug(p, 6), siginfo_of(p).si_code);
	let_end(p, 0);
}

CASE(calls_write_unwatched)
{
	/* What the kernel writes for the program does not count. */
	int fd[2];
	EXPECT_OK(pipe(fd));
	CHILD(p) {
		trace_me();
		EXPECT_EQ(write(fd[1], "12345678", 8), 8);
		EXPECT_EQ(read(fd[0], (void *)&watched, 8), 8);
	}
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_OK(set_debug(p, 0, (unsigned long)&watched));
	EXPECT_OK(set_debug(p, 7, 1 | 0x9ul << 16));
	let_end(p, 0);
}

CASE(debug_registers_are_checked)
{
	CHILD(p) trace_me();
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_ERRNO(set_debug(p, 0, 1ul << 63), EINVAL);
	EXPECT_OK(set_debug(p, 0, (unsigned long)&watched + 1));
	EXPECT_ERRNO(set_debug(p, 7, 1 | 0xdul << 16), EINVAL); /* not aligned */
	EXPECT_ERRNO(set_debug(p, 7, 1 | 0xcul << 16), EINVAL); /* four bytes of code */
	EXPECT_ERRNO(set_debug(p, 7, 1 | 0xeul << 16), EINVAL); /* ports */
	EXPECT_EQ(get_debug(p, 7), 0);
	EXPECT_OK(set_debug(p, 7, 1 | 0x1ul << 16));
	EXPECT_OK(set_debug(p, 7, 1 << 6 | 1ul << 28)); /* one without an address */
	RECORD("control", "%#lx", get_debug(p, 7));
	EXPECT_OK(set_debug(p, 7, 0xffffffff00000000 | 0x400 | 0x2000));
	RECORD("control", "%#lx", get_debug(p, 7));
	EXPECT_OK(set_debug(p, 6, 0x12345678));
	RECORD("status", "%#lx", get_debug(p, 6));
	EXPECT_OK(set_debug(p, 7, 0));
	let_end(p, 0);
}

CASE(debug_registers_are_not_inherited)
{
	CHILD(p) {
		trace_me();
		pid_t c = fork();
		if (c == 0) {
			watched = 7;
			_exit(0);
		}
		JOIN(c);
	}
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_OK(trace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACEFORK));
	EXPECT_OK(set_debug(p, 0, (unsigned long)&watched));
	EXPECT_OK(set_debug(p, 7, 1 | 0x1ul << 16));
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGTRAP | PTRACE_EVENT_FORK << 8);
	pid_t c;
	unsigned long message;
	EXPECT_OK(trace(PTRACE_GETEVENTMSG, p, 0, (unsigned long)&message));
	c = message;
	EXPECT_STOP(c, SIGSTOP);
	EXPECT_EQ(get_debug(c, 0), 0);
	let_end(c, 0);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGCHLD);
	let_end(p, 0);
}
