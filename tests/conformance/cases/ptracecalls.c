/* ptrace(2): stops at system calls, and what tracers change there. */
#include "trace.h"
#include <linux/ptrace.h>

/* A traced child that makes getppid(2), and then exits. Stopped, with PTRACE_O_TRACESYSGOOD. */
static pid_t caller(void)
{
	CHILD(p) {
		trace_me();
		long r = syscall(SYS_getppid);
		_exit(r == getppid() ? 1 : r & 0x7f);
	}
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_OK(trace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD));
	return p;
}

/* Goes on to the entry of this call. */
static struct user_regs_struct entry_of(pid_t p, long number)
{
	for (;;) {
		EXPECT_EQ(go_on(p, PTRACE_SYSCALL, 0), SYSTRAP);
		struct user_regs_struct regs = regs_of(p);
		EXPECT_EQ(regs.rax, -ENOSYS);
		if ((long)regs.orig_rax == number)
			return regs;
		EXPECT_EQ(go_on(p, PTRACE_SYSCALL, 0), SYSTRAP);
	}
}

CASE(stops_at_entry_and_exit)
{
	pid_t p = caller();
	struct user_regs_struct regs = entry_of(p, SYS_getppid);
	EXPECT_EQ(peek(p, (void *)(regs.rip - 2)) & 0xffff, 0x050f);
	EXPECT_EQ(regs.rcx, regs.rip);
	EXPECT_EQ(regs.r11, regs.eflags);
	EXPECT_EQ(message_of(p), PTRACE_EVENTMSG_SYSCALL_ENTRY);
	siginfo_t info = siginfo_of(p);
	EXPECT_EQ(info.si_signo, SIGTRAP);
	EXPECT_EQ(info.si_code, SYSTRAP);
	EXPECT_EQ(info.si_pid, p);
	EXPECT_EQ(go_on(p, PTRACE_SYSCALL, 0), SYSTRAP);
	EXPECT_EQ(message_of(p), PTRACE_EVENTMSG_SYSCALL_EXIT);
	struct user_regs_struct after = regs_of(p);
	EXPECT_EQ(after.rax, getpid());
	EXPECT_EQ(after.orig_rax, SYS_getppid);
	EXPECT_EQ(after.rip, regs.rip);
	let_end(p, 1 << 8);
}

CASE(without_sysgood_it_is_sigtrap)
{
	CHILD(p) trace_me();
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_EQ(go_on(p, PTRACE_SYSCALL, 0), SIGTRAP);
	EXPECT_EQ(siginfo_of(p).si_code, SIGTRAP);
	let_end(p, 0);
}

CASE(all_calls_are_seen)
{
	/* Even the cheap ones, and in hot loops. */
	CHILD(p) {
		for (int i = 0; i < 100; i++)
			syscall(SYS_getppid);
		trace_me();
		for (int i = 0; i < 50; i++) {
			syscall(SYS_getpid);
			syscall(SYS_gettid);
			syscall(SYS_sched_yield);
		}
	}
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_OK(trace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD));
	int seen[3] = {0}, status;
	for (;;) {
		EXPECT_OK(trace(PTRACE_SYSCALL, p, 0, 0));
		EXPECT_EQ(waitpid(p, &status, __WALL), p);
		if (WIFEXITED(status))
			break;
		struct user_regs_struct regs = regs_of(p);
		seen[0] += regs.orig_rax == SYS_getpid;
		seen[1] += regs.orig_rax == SYS_gettid;
		seen[2] += regs.orig_rax == SYS_sched_yield;
	}
	CHECK(seen[0] == 100 && seen[1] == 100 && seen[2] == 100);
}

CASE(entry_changes_the_number)
{
	pid_t p = caller();
	struct user_regs_struct regs = entry_of(p, SYS_getppid);
	regs.orig_rax = SYS_getpid;
	set_regs(p, &regs);
	EXPECT_EQ(go_on(p, PTRACE_SYSCALL, 0), SYSTRAP);
	EXPECT_EQ(regs_of(p).rax, p);
	let_end(p, (p & 0x7f) << 8);
}

CASE(entry_skips_the_call)
{
	pid_t p = caller();
	struct user_regs_struct regs = entry_of(p, SYS_getppid);
	regs.orig_rax = -1;
	regs.rax = 55;
	set_regs(p, &regs);
	EXPECT_EQ(go_on(p, PTRACE_SYSCALL, 0), SYSTRAP);
	EXPECT_EQ(regs_of(p).rax, 55);
	let_end(p, 55 << 8);
}

CASE(skipped_calls_fail_with_enosys)
{
	pid_t p = caller();
	struct user_regs_struct regs = entry_of(p, SYS_getppid);
	regs.orig_rax = -1;
	set_regs(p, &regs);
	EXPECT_EQ(go_on(p, PTRACE_SYSCALL, 0), SYSTRAP);
	EXPECT_EQ(regs_of(p).rax, -ENOSYS);
	EXPECT_OK(trace(PTRACE_KILL, p, 0, 0));
	EXPECT_KILLED(p, SIGKILL);
}

CASE(exit_changes_the_result)
{
	pid_t p = caller();
	entry_of(p, SYS_getppid);
	EXPECT_EQ(go_on(p, PTRACE_SYSCALL, 0), SYSTRAP);
	struct user_regs_struct regs = regs_of(p);
	regs.rax = 66;
	set_regs(p, &regs);
	let_end(p, 66 << 8);
}

CASE(arguments_may_be_changed)
{
	CHILD(p) {
		trace_me();
		syscall(SYS_exit_group, 1);
	}
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_OK(trace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD));
	struct user_regs_struct regs = entry_of(p, SYS_exit_group);
	EXPECT_EQ(regs.rdi, 1);
	EXPECT_OK(trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.rdi), 8));
	let_end(p, 8 << 8);
}

CASE(syscall_info)
{
	pid_t p = caller();
	struct __ptrace_syscall_info { /* as <linux/ptrace.h> has it, whatever the C library's says */
		uint8_t op, pad[3];
		uint32_t arch;
		uint64_t rip, rsp, a, args[6];
		uint8_t rest[16];
	} info;
	EXPECT_EQ(trace(PTRACE_GET_SYSCALL_INFO, p, sizeof info, (unsigned long)&info), 24);
	EXPECT_EQ(info.op, 0);
	EXPECT_EQ(info.arch, 0xc000003e);
	struct user_regs_struct regs = entry_of(p, SYS_getppid);
	EXPECT_EQ(trace(PTRACE_GET_SYSCALL_INFO, p, sizeof info, (unsigned long)&info), 80);
	EXPECT_EQ(info.op, 1);
	CHECK(info.rip == regs.rip && info.rsp == regs.rsp && info.a == SYS_getppid && info.args[0] == regs.rdi);
	EXPECT_EQ(go_on(p, PTRACE_SYSCALL, 0), SYSTRAP);
	memset(&info, 0xee, sizeof info);
	EXPECT_EQ(trace(PTRACE_GET_SYSCALL_INFO, p, sizeof info, (unsigned long)&info), 33);
	EXPECT_EQ(info.op, 2);
	EXPECT_EQ(info.a, getpid());
	EXPECT_EQ(info.args[0], 0xeeeeeeeeeeeeee00);
	/* Cut off. */
	memset(&info, 0xee, sizeof info);
	EXPECT_EQ(trace(PTRACE_GET_SYSCALL_INFO, p, 8, (unsigned long)&info), 33);
	EXPECT_EQ(info.rip, 0xeeeeeeeeeeeeeeee);
	let_end(p, 1 << 8);
}

CASE(emulated_calls)
{
	CHILD(p) {
		trace_me();
		_exit(syscall(SYS_write, -1, NULL, 0) == 3 ? 0 : 1);
	}
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_OK(trace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD));
	for (;;) {
		EXPECT_EQ(go_on(p, 31 /* PTRACE_SYSEMU */, 0), SYSTRAP);
		struct user_regs_struct regs = regs_of(p);
		/* There is no stop at the exit. */
		EXPECT_EQ(regs.rax, -ENOSYS);
		if (regs.orig_rax == SYS_exit_group)
			break;
		regs.rax = regs.orig_rax == SYS_write ? 3 : 0;
		set_regs(p, &regs);
	}
	EXPECT_EQ(regs_of(p).rdi, 0);
	EXPECT_OK(trace(PTRACE_KILL, p, 0, 0));
	EXPECT_KILLED(p, SIGKILL);
}

CASE(interrupted_calls_show_how_they_restart)
{
	struct gate g = gate_new();
	CHILD(p) {
		char c;
		count_signal(SIGUSR1, 0);
		count_signal(SIGUSR2, SA_RESTART);
		trace_me();
		EXPECT_ERRNO(read(g.fd[0], &c, 1), EINTR);
		EXPECT_EQ(read(g.fd[0], &c, 1), 1);
		_exit(signals_seen[SIGUSR1] == 1 && signals_seen[SIGUSR2] == 1 ? 0 : 9);
	}
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_OK(trace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD));
	int sigs[2] = {SIGUSR1, SIGUSR2};
	for (int i = 0; i < 2; i++) {
		entry_of(p, SYS_read);
		EXPECT_OK(trace(PTRACE_SYSCALL, p, 0, 0));
		wait_asleep(p);
		EXPECT_OK(kill(p, sigs[i]));
		EXPECT_STOP(p, SYSTRAP);
		struct user_regs_struct regs = regs_of(p);
		EXPECT_EQ(regs.rax, -512);
		EXPECT_EQ(regs.orig_rax, SYS_read);
		EXPECT_EQ(go_on(p, PTRACE_SYSCALL, 0), sigs[i]);
		EXPECT_EQ(regs_of(p).rax, -512);
		/* Into the handler: sigreturn is next. */
		EXPECT_EQ(go_on(p, PTRACE_SYSCALL, sigs[i]), SYSTRAP);
		EXPECT_EQ(regs_of(p).orig_rax, SYS_rt_sigreturn);
		EXPECT_EQ(go_on(p, PTRACE_SYSCALL, 0), SYSTRAP);
		struct user_regs_struct after = regs_of(p);
		EXPECT_EQ(after.rax, i ? SYS_read : -EINTR);
		EXPECT_EQ(after.rip, i ? regs.rip - 2 : regs.rip);
	}
	gate_open(&g);
	let_end(p, 0);
}

CASE(interrupted_sleep_goes_on_by_restart_syscall)
{
	CHILD(p) {
		trace_me();
		struct timespec t = {0, 300000000};
		EXPECT_OK(syscall(SYS_nanosleep, &t, NULL));
	}
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_OK(trace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD));
	entry_of(p, SYS_nanosleep);
	EXPECT_OK(trace(PTRACE_SYSCALL, p, 0, 0));
	wait_asleep(p);
	EXPECT_OK(kill(p, SIGUSR1));
	EXPECT_STOP(p, SYSTRAP);
	EXPECT_EQ(regs_of(p).rax, -516);
	EXPECT_EQ(go_on(p, PTRACE_SYSCALL, 0), SIGUSR1);
	EXPECT_EQ(go_on(p, PTRACE_SYSCALL, 0), SYSTRAP);
	EXPECT_EQ(regs_of(p).orig_rax, SYS_restart_syscall);
	EXPECT_EQ(go_on(p, PTRACE_SYSCALL, 0), SYSTRAP);
	EXPECT_EQ(regs_of(p).rax, 0);
	let_end(p, 0);
}

static long result;

static void store(long value)
{
	result = value;
	asm volatile("int3");
}

CASE(a_call_in_the_middle_of_an_interrupted_one)
{
	/* With orig_rax -1 the old call is not restarted; put back, it is. */
	struct gate g = gate_new();
	CHILD(p) {
		char c;
		EXPECT_EQ(read(g.fd[0], &c, 1), 1);
		EXPECT_EQ(result, 7);
	}
	wait_asleep(p);
	EXPECT_OK(trace(PTRACE_ATTACH, p, 0, 0));
	EXPECT_STOP(p, SIGSTOP);
	struct user_regs_struct old = regs_of(p), regs = old;
	regs.orig_rax = -1;
	regs.rip = (unsigned long)store;
	regs.rdi = 7;
	regs.rsp = ((regs.rsp - 512) & ~15ul) - 8;
	set_regs(p, &regs);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGTRAP);
	set_regs(p, &old);
	EXPECT_OK(trace(PTRACE_CONT, p, 0, 0));
	wait_asleep(p);
	gate_open(&g);
	JOIN(p);
}

CASE(signal_at_a_call_stop_is_sent)
{
	CHILD(p) {
		count_signal(SIGUSR1, 0);
		trace_me();
		syscall(SYS_getppid);
		_exit(signals_seen[SIGUSR1]);
	}
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_OK(trace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD));
	entry_of(p, SYS_getppid);
	EXPECT_EQ(go_on(p, PTRACE_CONT, SIGUSR1), SIGUSR1);
	EXPECT_OK(trace(PTRACE_CONT, p, 0, SIGUSR1));
	EXPECT_EXIT(p, 1);
}

CASE(stop_at_entry_is_killable)
{
	pid_t p = caller();
	entry_of(p, SYS_getppid);
	EXPECT_OK(kill(p, SIGKILL));
	EXPECT_KILLED(p, SIGKILL);
}
