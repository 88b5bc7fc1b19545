/* Signal frames: faults and what they tell, alternate stacks, the context a handler sees, and what returning from it restores. */
#include "waits.h"
#include <setjmp.h>
#include <ucontext.h>

static volatile siginfo_t last;
static sigjmp_buf jump;

static void note_and_jump(int sig, siginfo_t *si, void *context)
{
	(void)context;
	*(siginfo_t *)&last = *si;
	siglongjmp(jump, sig);
}

static void catch(int sig, int flags, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
	EXPECT_OK(sigaction(sig, &sa, NULL));
}

/* ---- Faults. ---- */

CASE(fault_codes)
{
	struct fault f = fault_read((void *)8);
	EXPECT_EQ(f.sig, SIGSEGV);
	EXPECT_EQ(f.code, SEGV_MAPERR);
	CHECK(f.addr == (void *)8);
	char *p = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	f = fault_write(p + 5);
	EXPECT_EQ(f.code, SEGV_ACCERR);
	CHECK(f.addr == p + 5);
	EXPECT_OK(munmap(p + 4096, 4096));
	f = fault_read(p + 4096);
	EXPECT_EQ(f.code, SEGV_MAPERR);
	int fd = EXPECT_OK(open("f", O_RDWR | O_CREAT, 0600));
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	f = fault_read(p);
	EXPECT_EQ(f.sig, SIGBUS);
	EXPECT_EQ(f.code, BUS_ADRERR);
	CHECK(f.addr == p);
	f = fault_read((void *)0x8000000000000000); /* not an address at all */
	EXPECT_EQ(f.sig, SIGSEGV);
	EXPECT_EQ(f.code, SI_KERNEL);
	CHECK(f.addr == NULL);
	f = fault_read((void *)-4096L); /* the kernel's half */
	EXPECT_EQ(f.sig, SIGSEGV);
	EXPECT_EQ(f.code, SEGV_MAPERR);
}

CASE(arithmetic_and_instructions)
{
	catch(SIGFPE, 0, note_and_jump);
	catch(SIGILL, 0, note_and_jump);
	catch(SIGTRAP, 0, note_and_jump);
	catch(SIGSEGV, 0, note_and_jump);
	if (sigsetjmp(jump, 1) == 0) {
		__asm__ volatile("xor %%ecx, %%ecx; mov $1, %%eax; cltd; idivl %%ecx" ::: "rax", "rcx", "rdx", "cc");
		FAIL("divided by zero");
	}
	EXPECT_EQ(last.si_signo, SIGFPE);
	EXPECT_EQ(last.si_code, FPE_INTDIV);
	if (sigsetjmp(jump, 1) == 0) {
		__asm__ volatile("ud2");
		FAIL("ran ud2");
	}
	EXPECT_EQ(last.si_signo, SIGILL);
	EXPECT_EQ(last.si_code, ILL_ILLOPN);
	if (sigsetjmp(jump, 1) == 0) {
		__asm__ volatile("int3");
		FAIL("ran int3");
	}
	EXPECT_EQ(last.si_signo, SIGTRAP);
	EXPECT_EQ(last.si_code, SI_KERNEL);
	if (sigsetjmp(jump, 1) == 0) {
		__asm__ volatile("hlt");
		FAIL("ran hlt");
	}
	EXPECT_EQ(last.si_signo, SIGSEGV);
	EXPECT_EQ(last.si_code, SI_KERNEL);
	if (sigsetjmp(jump, 1) == 0) {
		__asm__ volatile("int $0x40");
		FAIL("ran int 0x40");
	}
	EXPECT_EQ(last.si_signo, SIGSEGV);
}

static void single_step(int sig, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;
	(void)sig;
	*(siginfo_t *)&last = *si;
	uc->uc_mcontext.gregs[REG_EFL] &= ~0x100;
}

CASE(single_stepping)
{
	catch(SIGTRAP, 0, single_step);
	__asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; nop; nop" ::: "memory", "cc");
	EXPECT_EQ(last.si_signo, SIGTRAP);
	EXPECT_EQ(last.si_code, TRAP_TRACE);
}

static long faults;

static void repair(int sig, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;
	(void)sig;
	faults++;
	*(siginfo_t *)&last = *si;
	if ((void *)uc->uc_mcontext.gregs[REG_CR2] != si->si_addr || uc->uc_mcontext.gregs[REG_TRAPNO] != 14)
		_exit(99);
	mprotect((void *)((uintptr_t)si->si_addr & ~4095UL), 4096, PROT_READ | PROT_WRITE);
}

CASE(repaired_faults_go_on)
{
	volatile char *p = mmap(NULL, 16 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	catch(SIGSEGV, 0, repair);
	for (int i = 0; i < 16; i++)
		p[i * 4096] = i;
	for (int i = 0; i < 16; i++)
		EXPECT_EQ(p[i * 4096], i);
	EXPECT_EQ(*(volatile long *)&faults, 16);
}

static void error_code(int sig, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;
	(void)sig;
	(void)si;
	faults = uc->uc_mcontext.gregs[REG_ERR];
	siglongjmp(jump, 1);
}

CASE(error_code_of_the_fault)
{
	char *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *ro = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT_EQ(*ro, 0);
	catch(SIGSEGV, 0, error_code);
	if (sigsetjmp(jump, 1) == 0)
		(void)*(volatile char *)none;
	EXPECT_EQ(*(volatile long *)&faults & ~1, 4); /* a user's read */
	if (sigsetjmp(jump, 1) == 0)
		*(volatile char *)8 = 1;
	EXPECT_EQ(*(volatile long *)&faults, 6); /* write, nothing there */
	if (sigsetjmp(jump, 1) == 0)
		*(volatile char *)ro = 1;
	EXPECT_EQ(*(volatile long *)&faults & ~1, 6); /* whether the page is there is the kernel's affair */
	if (sigsetjmp(jump, 1) == 0)
		((void (*)(void))ro)();
	EXPECT_EQ(*(volatile long *)&faults & ~1, 0x14); /* instruction fetch */
}

/* ---- The alternate stack. ---- */

static char other_stack[65536] __attribute__((aligned(16)));
static volatile uintptr_t handler_sp;
static stack_t handler_ss;

static void note_stack(int sig, siginfo_t *si, void *context)
{
	(void)sig;
	(void)si;
	handler_sp = (uintptr_t)__builtin_frame_address(0);
	handler_ss = ((ucontext_t *)context)->uc_stack;
}

static bool on_other(void)
{
	return handler_sp - (uintptr_t)other_stack < sizeof other_stack;
}

CASE(sigaltstack_rules)
{
	stack_t ss, old;
	EXPECT_OK(sigaltstack(NULL, &old));
	EXPECT_EQ(old.ss_flags, SS_DISABLE);
	ss = (stack_t){.ss_sp = other_stack, .ss_size = 100};
	EXPECT_ERRNO(sigaltstack(&ss, NULL), ENOMEM);
	ss = (stack_t){.ss_sp = other_stack, .ss_size = sizeof other_stack, .ss_flags = 0x40};
	EXPECT_ERRNO(sigaltstack(&ss, NULL), EINVAL);
	EXPECT_ERRNO(syscall(SYS_sigaltstack, 8, NULL), EFAULT);
	ss.ss_flags = SS_ONSTACK; /* means nothing here */
	EXPECT_OK(sigaltstack(&ss, &old));
	EXPECT_OK(sigaltstack(NULL, &old));
	CHECK(old.ss_sp == other_stack);
	EXPECT_EQ(old.ss_size, sizeof other_stack);
	EXPECT_EQ(old.ss_flags, 0);
	CHILD(p) {
		EXPECT_OK(sigaltstack(NULL, &old));
		EXPECT_EQ(old.ss_flags, 0); /* kept by fork */
	}
	JOIN(p);
	ss.ss_flags = SS_DISABLE;
	EXPECT_OK(sigaltstack(&ss, NULL));
	EXPECT_OK(sigaltstack(NULL, &old));
	EXPECT_EQ(old.ss_flags, SS_DISABLE);
	EXPECT_EQ(old.ss_size, 0);
}

CASE(handler_on_the_other_stack)
{
	stack_t ss = {.ss_sp = other_stack, .ss_size = sizeof other_stack};
	EXPECT_OK(sigaltstack(&ss, NULL));
	catch(SIGUSR1, 0, note_stack);
	EXPECT_OK(raise(SIGUSR1));
	CHECK(!on_other()); /* without SA_ONSTACK */
	catch(SIGUSR1, SA_ONSTACK, note_stack);
	EXPECT_OK(raise(SIGUSR1));
	CHECK(on_other());
	CHECK(handler_ss.ss_sp == other_stack);
	EXPECT_EQ(handler_ss.ss_size, sizeof other_stack);
}

static void change_stack(int sig, siginfo_t *si, void *context)
{
	stack_t ss = {.ss_sp = other_stack, .ss_size = sizeof other_stack}, now;
	(void)sig;
	(void)si;
	(void)context;
	EXPECT_ERRNO(sigaltstack(&ss, NULL), EPERM);
	EXPECT_OK(sigaltstack(NULL, &now));
	EXPECT_EQ(now.ss_flags, SS_ONSTACK);
	handler_sp = (uintptr_t)__builtin_frame_address(0);
}

CASE(not_while_standing_on_it)
{
	stack_t ss = {.ss_sp = other_stack, .ss_size = sizeof other_stack}, now;
	EXPECT_OK(sigaltstack(&ss, NULL));
	catch(SIGUSR1, SA_ONSTACK, change_stack);
	EXPECT_OK(raise(SIGUSR1));
	CHECK(on_other());
	EXPECT_OK(sigaltstack(NULL, &now));
	EXPECT_EQ(now.ss_flags, 0);
}

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

static void look_disarmed(int sig, siginfo_t *si, void *context)
{
	stack_t now;
	(void)sig;
	(void)si;
	EXPECT_OK(sigaltstack(NULL, &now));
	EXPECT_EQ(now.ss_flags, SS_DISABLE);
	handler_ss = ((ucontext_t *)context)->uc_stack;
	handler_sp = (uintptr_t)__builtin_frame_address(0);
}

CASE(disarmed_by_itself)
{
	stack_t ss = {.ss_sp = other_stack, .ss_size = sizeof other_stack, .ss_flags = SS_AUTODISARM}, now;
	EXPECT_OK(sigaltstack(&ss, NULL));
	catch(SIGUSR1, SA_ONSTACK, look_disarmed);
	EXPECT_OK(raise(SIGUSR1));
	CHECK(on_other());
	EXPECT_EQ((unsigned)handler_ss.ss_flags, SS_AUTODISARM);
	EXPECT_OK(sigaltstack(NULL, &now)); /* armed again by the return */
	EXPECT_EQ((unsigned)now.ss_flags, SS_AUTODISARM);
	CHECK(now.ss_sp == other_stack);
}

static int dig(int n)
{
	volatile char room[1024];
	room[0] = n;
	return n ? dig(n + 1) + room[0] : 0;
}

static void small_stack(void)
{
	struct rlimit rl;
	EXPECT_OK(getrlimit(RLIMIT_STACK, &rl));
	rl.rlim_cur = 256 << 10;
	EXPECT_OK(setrlimit(RLIMIT_STACK, &rl));
}

CASE(stack_overflow_is_caught_there)
{
	small_stack();
	stack_t ss = {.ss_sp = other_stack, .ss_size = sizeof other_stack};
	EXPECT_OK(sigaltstack(&ss, NULL));
	catch(SIGSEGV, SA_ONSTACK, note_and_jump);
	if (sigsetjmp(jump, 1) == 0)
		dig(1);
	EXPECT_EQ(last.si_signo, SIGSEGV);
	CHILD(p) {
		signal(SIGSEGV, SIG_DFL);
		dig(1);
	}
	EXPECT_KILLED(p, SIGSEGV);
}

CASE(no_room_for_a_frame)
{
	CHILD(a) { /* a handler for an overflow without another stack can't be run */
		small_stack();
		count_signal(SIGSEGV, 0);
		dig(1);
	}
	EXPECT_KILLED(a, SIGSEGV);
	CHILD(b) { /* nor one on a stack that is not there */
		stack_t ss = {.ss_sp = (void *)0x1000, .ss_size = 65536};
		EXPECT_OK(sigaltstack(&ss, NULL));
		count_signal(SIGUSR1, SA_ONSTACK);
		raise(SIGUSR1);
	}
	EXPECT_KILLED(b, SIGSEGV);
	CHILD(c) { /* a deeper one than the other stack holds */
		stack_t ss = {.ss_sp = other_stack + sizeof other_stack - 4096, .ss_size = 4096};
		if (sigaltstack(&ss, NULL) < 0)
			_exit(0); /* this processor's frame is larger than that: told beforehand */
		count_signal(SIGUSR1, SA_ONSTACK);
		EXPECT_OK(raise(SIGUSR1));
		EXPECT_EQ(signals_seen[SIGUSR1], 1);
	}
	JOIN(c);
}

/* ---- The context. ---- */

static void step_over(int sig, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;
	(void)sig;
	(void)si;
	uc->uc_mcontext.gregs[REG_RIP] += 2; /* ud2 */
	uc->uc_mcontext.gregs[REG_RAX] += uc->uc_mcontext.gregs[REG_RBX];
	uc->uc_mcontext.gregs[REG_R15] = 0x1515;
	sigaddset(&uc->uc_sigmask, SIGUSR2);
}

CASE(handler_changes_the_context)
{
	long a = 40, b = 2, r15;
	catch(SIGILL, 0, step_over);
	__asm__ volatile("ud2; mov %%r15, %2" : "+a"(a), "+b"(b), "=r"(r15)::"r15", "memory");
	EXPECT_EQ(a, 42);
	EXPECT_EQ(b, 2);
	EXPECT_EQ(r15, 0x1515);
	sigset_t now;
	EXPECT_OK(sigprocmask(SIG_BLOCK, NULL, &now));
	CHECK(sigismember(&now, SIGUSR2)); /* the mask to come back to is the context's */
}

static volatile sig_atomic_t ticks;

static void scramble(int sig)
{
	(void)sig;
	ticks++;
	__asm__ volatile("mov $-1, %%rax; mov %%rax, %%rcx; mov %%rax, %%rdx; mov %%rax, %%rsi; mov %%rax, %%rdi; mov %%rax, %%r8;"
			 "mov %%rax, %%r9; mov %%rax, %%r10; mov %%rax, %%r11;"
			 "pcmpeqb %%xmm0, %%xmm0; pcmpeqb %%xmm1, %%xmm1; pcmpeqb %%xmm7, %%xmm7; pcmpeqb %%xmm15, %%xmm15; std; cld" ::
				 : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm7", "xmm15", "cc");
}

CASE(registers_survive_handlers)
{
	signal(SIGALRM, scramble);
	struct itimerval it = {{0, 1000}, {0, 1000}};
	EXPECT_OK(setitimer(ITIMER_REAL, &it, NULL));
	while (ticks < 30) {
		unsigned long bad = 0;
		__asm__ volatile("mov $0x1111, %%rax; mov $0x2222, %%rcx; mov $0x3333, %%rdx; mov $0x4444, %%rsi; mov $0x5555, %%rdi;"
				 "mov $0x6666, %%r8; mov $0x7777, %%r9; mov $0x8888, %%r10; mov $0x9999, %%r11; movq %%rax, %%xmm0;"
				 "movq %%rcx, %%xmm1; movq %%rdx, %%xmm7; movq %%rsi, %%xmm15; mov $100000, %%r12; stc;"
				 "1: dec %%r12; jnz 1b; setnc %b0;"
				 "cmp $0x1111, %%rax; jne 2f; cmp $0x2222, %%rcx; jne 2f; cmp $0x3333, %%rdx; jne 2f; cmp $0x4444, %%rsi; jne 2f;"
				 "cmp $0x5555, %%rdi; jne 2f; cmp $0x6666, %%r8; jne 2f; cmp $0x7777, %%r9; jne 2f; cmp $0x8888, %%r10; jne 2f;"
				 "cmp $0x9999, %%r11; jne 2f; movq %%xmm0, %%r12; cmp %%rax, %%r12; jne 2f; movq %%xmm1, %%r12; cmp %%rcx, %%r12; jne 2f;"
				 "movq %%xmm7, %%r12; cmp %%rdx, %%r12; jne 2f; movq %%xmm15, %%r12; cmp %%rsi, %%r12; je 3f;"
				 "2: mov $1, %b0; 3:"
				 : "+r"(bad)::"rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "xmm0", "xmm1", "xmm7", "xmm15",
				   "cc", "memory");
		EXPECT_EQ(bad, 0);
	}
	interrupt_stop();
}

__attribute__((target("avx"))) static bool wide_survive(void)
{
	unsigned char in[32], out[32];
	for (int i = 0; i < 32; i++)
		in[i] = i * 7 + 1;
	__asm__ volatile("vmovdqu %1, %%ymm3; mov $200000, %%rcx; 1: dec %%rcx; jnz 1b; vmovdqu %%ymm3, %0; vzeroupper"
			 : "=m"(out)
			 : "m"(in)
			 : "rcx", "xmm3", "cc");
	return memcmp(in, out, 32) == 0;
}

__attribute__((target("avx"))) static void scramble_wide(int sig)
{
	(void)sig;
	ticks++;
	__asm__ volatile("vxorps %%ymm3, %%ymm3, %%ymm3; vzeroupper" ::: "xmm3");
}

CASE(wide_registers_survive_handlers)
{
	if (!__builtin_cpu_supports("avx"))
		SKIP("no AVX");
	signal(SIGALRM, scramble_wide);
	struct itimerval it = {{0, 1000}, {0, 1000}};
	EXPECT_OK(setitimer(ITIMER_REAL, &it, NULL));
	while (ticks < 30)
		CHECK(wide_survive());
	interrupt_stop();
}

static volatile unsigned mxcsr_seen, xmm_seen;

static void change_vectors(int sig, siginfo_t *si, void *context)
{
	struct _libc_fpstate *fp = ((ucontext_t *)context)->uc_mcontext.fpregs;
	(void)sig;
	(void)si;
	mxcsr_seen = fp->mxcsr;
	xmm_seen = fp->_xmm[5].element[0];
	fp->_xmm[5].element[0] = 0x5678;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

CASE(vectors_in_the_context)
{
	unsigned v = 0x1234;
	catch(SIGILL, 0, change_vectors);
	__asm__ volatile("movd %0, %%xmm5; ud2; movd %%xmm5, %0" : "+r"(v)::"xmm5", "memory");
	EXPECT_EQ(xmm_seen, 0x1234);
	EXPECT_EQ(v, 0x5678);
	EXPECT_EQ(mxcsr_seen & 0xffc0, 0x1f80);
}

static volatile unsigned short control_inside;
static volatile unsigned mxcsr_inside;

static void look_at_control(int sig)
{
	unsigned short cw;
	unsigned mx;
	(void)sig;
	__asm__ volatile("fnstcw %0; stmxcsr %1" : "=m"(cw), "=m"(mx));
	control_inside = cw;
	mxcsr_inside = mx;
}

CASE(rounding_mode_comes_back)
{
	unsigned short cw = 0x0f7f, cw2;
	unsigned mx = 0x7f80, mx2;
	signal(SIGUSR1, look_at_control);
	__asm__ volatile("fldcw %0; ldmxcsr %1" ::"m"(cw), "m"(mx));
	EXPECT_OK(raise(SIGUSR1));
	__asm__ volatile("fnstcw %0; stmxcsr %1" : "=m"(cw2), "=m"(mx2));
	EXPECT_EQ(cw2, 0x0f7f);
	EXPECT_EQ(mx2 & 0xffc0, 0x7f80);
	/* A handler begins with the modes of a new program, whatever it interrupts. */
	EXPECT_EQ(control_inside, 0x37f);
	EXPECT_EQ(mxcsr_inside & 0xffc0, 0x1f80);
}

static volatile long flags_inside, align_inside;

__attribute__((noinline)) static void look_at_entry(int sig)
{
	long fl;
	(void)sig;
	__asm__ volatile("pushfq; popq %0" : "=r"(fl));
	flags_inside = fl;
	align_inside = (long)__builtin_frame_address(0) & 15;
}

CASE(entry_of_a_handler)
{
	signal(SIGUSR1, look_at_entry);
	/* The direction flag is clear and the stack aligned, wherever we come from. */
	__asm__ volatile("sub $136, %%rsp; std; mov %0, %%rdi; mov %1, %%rsi; mov $62, %%eax; syscall; cld; add $136, %%rsp"
			 :
			 : "r"((long)getpid()), "r"((long)SIGUSR1)
			 : "rax", "rcx", "rdi", "rsi", "r11", "memory", "cc");
	EXPECT_EQ(flags_inside & 0x400, 0);
	EXPECT_EQ(align_inside, 0);
}

CASE(red_zone_is_left_alone)
{
	signal(SIGALRM, scramble);
	struct itimerval it = {{0, 1000}, {0, 1000}};
	EXPECT_OK(setitimer(ITIMER_REAL, &it, NULL));
	while (ticks < 20) {
		long ok;
		__asm__ volatile("movq $0x77, -8(%%rsp); movq $0x88, -128(%%rsp); mov $100000, %%rcx; 1: dec %%rcx; jnz 1b;"
				 "xor %%eax, %%eax; cmpq $0x77, -8(%%rsp); jne 2f; cmpq $0x88, -128(%%rsp); jne 2f; inc %%rax; 2:"
				 : "=a"(ok)::"rcx", "memory", "cc");
		EXPECT_EQ(ok, 1);
	}
	interrupt_stop();
}

CASE(a_bad_frame_kills)
{
	CHILD(p) {
		__asm__ volatile("mov $0x1000, %%rsp; mov $15, %%eax; syscall" ::: "memory");
	}
	EXPECT_KILLED(p, SIGSEGV);
}

/* The two calls of the host's probes, on which newer kernels ask no filter. */
CASE(calls_of_probes)
{
	errno = 0;
	if (syscall(336) != -1 || errno == ENOSYS)
		SKIP("this kernel has no such calls");
	for (int before = 0; before < 3; before++) { /* calls from the same place, which may be rewritten by them */
		CHILD(p) {
			for (int i = 0; i < before; i++)
				EXPECT_OK(syscall(SYS_getuid));
			EXPECT_ERRNO(syscall(336), ENXIO);
			count_signal(SIGILL, SA_RESETHAND);
			syscall(335);
			EXPECT_EQ(signals_seen[SIGILL], 1);
			syscall(335);
		}
		EXPECT_KILLED(p, SIGILL);
	}
}

static uint64_t handler_saw[3];

/* Skips the instruction, and lets eax be 8. */
static void note_and_skip(int sig, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;
	(void)sig, (void)si;
	handler_saw[0] = uc->uc_mcontext.gregs[REG_CSGSFS] & 0xffff;
	handler_saw[1] = uc->uc_mcontext.gregs[REG_RIP];
	handler_saw[2]++;
	uc->uc_mcontext.gregs[REG_RIP] += 2;
	uc->uc_mcontext.gregs[REG_RAX] = 8;
}

/* A 64-bit program may go to 32-bit code by itself: a handler is 64-bit code nevertheless, and returns to where it was. */
CASE(from_32_bit_code)
{
	enum { BACK = 64, SAVED = 256, LANDING = 264, POINTER = 272, FRESH = 0x10000, STACK = 0x20000 };
	char *low = mmap(NULL, STACK, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	CHECK(low != MAP_FAILED);
	uint32_t at = (uint32_t)(uint64_t)low, fresh = at + FRESH, back = at + BACK;
	/* ud2; inc %eax; inc %eax; mov %ss:fresh, %ecx; ljmp $0x33, $back: no 64-bit code, but for the first. */
	memcpy(low, "\x0f\x0b\x40\x40\x36\x8b\x0d....\xea....\x33\x00", 18);
	memcpy(low + 7, &fresh, 4);
	memcpy(low + 12, &back, 4);
	memcpy(low + BACK, "\xff\xa3\x08\x01\x00\x00", 6); /* jmp *LANDING(%rbx) */
	memcpy(low + POINTER, &at, 4);
	memcpy(low + POINTER + 4, "\x23\x00", 2);
	catch(SIGILL, 0, note_and_skip);
	uint64_t eax = 7, ecx = 7;
	__asm__ volatile("lea -128(%%rsp), %%rsp; push %%rbp; mov %%rsp, 256(%%rbx); lea 0x20000(%%rbx), %%rsp\n"
			 "lea 1f(%%rip), %%rdx; mov %%rdx, 264(%%rbx); ljmpl *272(%%rbx)\n"
			 "1: mov 256(%%rbx), %%rsp; pop %%rbp; lea 128(%%rsp), %%rsp"
			 : "+a"(eax), "+c"(ecx)
			 : "b"(low)
			 : "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
	EXPECT_EQ(handler_saw[0], 0x23);
	EXPECT_EQ(handler_saw[1], at);
	EXPECT_EQ(handler_saw[2], 1);
	EXPECT_EQ((uint32_t)eax, 10);
	EXPECT_EQ((uint32_t)ecx, 0);
}
