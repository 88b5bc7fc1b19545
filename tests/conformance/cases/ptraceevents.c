/* ptrace(2): event stops, PTRACE_SEIZE, group stops, signal information. */
#include "trace.h"
#include <sched.h>
#include <linux/ptrace.h>

#define EVENT(e) (SIGTRAP | (e) << 8)
#define EVENT_STOP(sig) ((sig) | 128 << 8)

/* A traced child at its first stop, with these options. */
static void begin(pid_t p, long options)
{
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_OK(trace(PTRACE_SETOPTIONS, p, 0, options));
}

CASE(fork_event)
{
	CHILD(p) {
		trace_me();
		pid_t c = fork();
		if (c == 0)
			_exit(3);
		EXPECT_EXIT(c, 3);
	}
	begin(p, PTRACE_O_TRACEFORK);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), EVENT(PTRACE_EVENT_FORK));
	siginfo_t info = siginfo_of(p);
	EXPECT_EQ(info.si_signo, SIGTRAP);
	EXPECT_EQ(info.si_code, EVENT(PTRACE_EVENT_FORK));
	pid_t c = message_of(p);
	CHECK(c > 0 && c != p);
	EXPECT_STOP(c, SIGSTOP);
	EXPECT_EQ(regs_of(c).rax, 0);
	EXPECT_EQ(regs_of(p).rax, -ENOSYS);
	let_end(c, 3 << 8);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGCHLD);
	let_end(p, 0);
}

CASE(fork_without_the_option)
{
	CHILD(p) {
		trace_me();
		pid_t c = fork();
		if (c == 0) {
			raise(SIGUSR1);
			_exit(3);
		}
		EXPECT_KILLED(c, SIGUSR1);
	}
	begin(p, 0);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGCHLD);
	let_end(p, 0);
}

CASE(vfork_events)
{
	CHILD(p) {
		trace_me();
		pid_t c = vfork();
		if (c == 0)
			_exit(4);
		EXPECT_EXIT(c, 4);
	}
	begin(p, PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), EVENT(PTRACE_EVENT_VFORK));
	pid_t c = message_of(p);
	EXPECT_STOP(c, SIGSTOP);
	EXPECT_OK(trace(PTRACE_CONT, p, 0, 0));
	let_end(c, 4 << 8);
	EXPECT_STOP(p, EVENT(PTRACE_EVENT_VFORK_DONE));
	EXPECT_EQ(message_of(p), c);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGCHLD);
	let_end(p, 0);
}

static void *return_at_once(void *arg)
{
	return arg;
}

CASE(clone_event_of_a_thread)
{
	CHILD(p) {
		trace_me();
		thread_join(thread_start(return_at_once, NULL));
	}
	begin(p, PTRACE_O_TRACECLONE);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), EVENT(PTRACE_EVENT_CLONE));
	pid_t t = message_of(p);
	EXPECT_STOP(t, SIGSTOP);
	EXPECT_OK(trace(PTRACE_CONT, p, 0, 0));
	EXPECT_OK(trace(PTRACE_CONT, t, 0, 0));
	int status;
	EXPECT_EQ(waitpid(t, &status, __WALL), t);
	EXPECT_EQ(status, 0);
	JOIN(p);
}

CASE(exec_stop_is_sigtrap)
{
	CHILD(p) {
		EXPECT_OK(trace(PTRACE_TRACEME, 0, 0, 0));
		execl("/bin/true", "true", NULL);
	}
	EXPECT_STOP(p, SIGTRAP);
	siginfo_t info = siginfo_of(p);
	EXPECT_EQ(info.si_code, SI_USER);
	EXPECT_EQ(info.si_pid, p);
	struct user_regs_struct regs = regs_of(p);
	EXPECT_EQ(regs.orig_rax, SYS_execve);
	EXPECT_EQ(regs.rax, 0);
	CHECK(peek(p, (void *)regs.rsp) == 1); /* argc */
	let_end(p, 0);
}

CASE(exec_event)
{
	CHILD(p) {
		trace_me();
		execl("/bin/true", "true", NULL);
	}
	begin(p, PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), EVENT(PTRACE_EVENT_EXEC));
	EXPECT_EQ(message_of(p), p);
	EXPECT_EQ(regs_of(p).orig_rax, SYS_execve);
	EXPECT_EQ(go_on(p, PTRACE_SYSCALL, 0), SYSTRAP);
	EXPECT_EQ(regs_of(p).rax, 0);
	let_end(p, 0);
}

static void *run_true(void *arg)
{
	execl("/bin/true", "true", NULL);
	return arg;
}

CASE(exec_by_a_thread_takes_the_leaders_id)
{
	CHILD(p) {
		trace_me();
		thread_join(thread_start(run_true, NULL));
	}
	begin(p, PTRACE_O_TRACEEXEC | PTRACE_O_TRACECLONE);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), EVENT(PTRACE_EVENT_CLONE));
	pid_t t = message_of(p);
	EXPECT_STOP(t, SIGSTOP);
	EXPECT_OK(trace(PTRACE_CONT, p, 0, 0));
	EXPECT_OK(trace(PTRACE_CONT, t, 0, 0));
	EXPECT_STOP(p, EVENT(PTRACE_EVENT_EXEC));
	EXPECT_EQ(message_of(p), t);
	let_end(p, 0);
}

CASE(exit_event)
{
	CHILD(p) {
		trace_me();
		_exit(5);
	}
	begin(p, PTRACE_O_TRACEEXIT);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), EVENT(PTRACE_EVENT_EXIT));
	EXPECT_EQ(message_of(p), 5 << 8);
	CHECK(regs_of(p).rip != 0);
	let_end(p, 5 << 8);
}

CASE(exit_event_of_a_signal)
{
	CHILD(p) {
		trace_me();
		raise(SIGTERM);
	}
	begin(p, PTRACE_O_TRACEEXIT);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGTERM);
	EXPECT_EQ(go_on(p, PTRACE_CONT, SIGTERM), EVENT(PTRACE_EVENT_EXIT));
	EXPECT_EQ(message_of(p), SIGTERM);
	let_end(p, SIGTERM);
}

CASE(seize_does_not_stop)
{
	struct gate g = gate_new();
	CHILD(p) {
		gate_wait(&g);
		_exit(1);
	}
	EXPECT_ERRNO(trace(PTRACE_SEIZE, p, 1, 0), EIO);
	EXPECT_ERRNO(trace(PTRACE_SEIZE, p, 0, 1 << 9), EIO);
	EXPECT_OK(trace(PTRACE_SEIZE, p, 0, PTRACE_O_TRACESYSGOOD));
	int status;
	EXPECT_EQ(waitpid(p, &status, WNOHANG | __WALL), 0);
	gate_open(&g);
	EXPECT_EXIT(p, 1);
}

CASE(interrupt_stops)
{
	struct gate g = gate_new();
	CHILD(p) gate_wait(&g);
	EXPECT_OK(trace(PTRACE_SEIZE, p, 0, 0));
	EXPECT_OK(trace(PTRACE_INTERRUPT, p, 0, 0));
	EXPECT_STOP(p, EVENT_STOP(SIGTRAP));
	siginfo_t info = siginfo_of(p);
	EXPECT_EQ(info.si_signo, SIGTRAP);
	EXPECT_EQ(info.si_code, EVENT_STOP(SIGTRAP));
	/* While it is stopped, another one waits for it to go on. */
	EXPECT_OK(trace(PTRACE_INTERRUPT, p, 0, 0));
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), EVENT_STOP(SIGTRAP));
	EXPECT_OK(trace(PTRACE_DETACH, p, 0, 0));
	gate_open(&g);
	JOIN(p);
}

CASE(interrupt_of_a_loop)
{
	volatile unsigned *turns = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHILD(p) {
		for (;;)
			(*turns)++;
	}
	EXPECT_OK(trace(PTRACE_SEIZE, p, 0, 0));
	for (int i = 0; i < 20; i++) {
		for (unsigned before = *turns; *turns == before;)
			;
		EXPECT_OK(trace(PTRACE_INTERRUPT, p, 0, 0));
		EXPECT_STOP(p, EVENT_STOP(SIGTRAP));
		EXPECT_EQ(regs_of(p).orig_rax, -1);
		EXPECT_OK(trace(PTRACE_CONT, p, 0, 0));
	}
	EXPECT_OK(kill(p, SIGKILL));
	EXPECT_KILLED(p, SIGKILL);
}

CASE(seized_children_stop_with_an_event)
{
	struct gate g = gate_new();
	CHILD(p) {
		gate_wait(&g);
		pid_t c = fork();
		if (c == 0)
			_exit(0);
		JOIN(c);
	}
	EXPECT_OK(trace(PTRACE_SEIZE, p, 0, PTRACE_O_TRACEFORK));
	gate_open(&g);
	EXPECT_STOP(p, EVENT(PTRACE_EVENT_FORK));
	pid_t c = message_of(p);
	EXPECT_STOP(c, EVENT_STOP(SIGTRAP));
	let_end(c, 0);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGCHLD);
	let_end(p, 0);
}

CASE(group_stop_of_an_attached)
{
	siginfo_t info;
	CHILD(p) {
		trace_me();
		_exit(2);
	}
	EXPECT_STOP(p, SIGSTOP);
	siginfo_of(p);
	/* Delivered, it stops the process: another stop, which has no signal. */
	EXPECT_EQ(go_on(p, PTRACE_CONT, SIGSTOP), SIGSTOP);
	EXPECT_ERRNO(trace(PTRACE_GETSIGINFO, p, 0, (unsigned long)&info), EINVAL);
	/* Its tracer may let it go on all the same. */
	let_end(p, 2 << 8);
}

CASE(group_stop_of_a_seized)
{
	struct gate g = gate_new();
	int status;
	CHILD(p) gate_wait(&g);
	EXPECT_OK(trace(PTRACE_SEIZE, p, 0, 0));
	EXPECT_OK(kill(p, SIGTSTP));
	EXPECT_STOP(p, SIGTSTP);
	EXPECT_EQ(go_on(p, PTRACE_CONT, SIGSTOP), EVENT_STOP(SIGSTOP));
	EXPECT_EQ(siginfo_of(p).si_code, EVENT_STOP(SIGSTOP));
	/* Stopped, and listening for what comes. */
	EXPECT_OK(trace(PTRACE_LISTEN, p, 0, 0));
	EXPECT_ERRNO(trace(PTRACE_GETSIGINFO, p, 0, (unsigned long)&(siginfo_t){0}), ESRCH);
	EXPECT_EQ(waitpid(p, &status, WNOHANG | __WALL), 0);
	EXPECT_OK(kill(p, SIGCONT));
	EXPECT_STOP(p, EVENT_STOP(SIGTRAP));
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGCONT);
	EXPECT_OK(trace(PTRACE_CONT, p, 0, SIGCONT));
	gate_open(&g);
	JOIN(p);
}

CASE(listen_needs_a_group_stop)
{
	struct gate g = gate_new();
	CHILD(p) gate_wait(&g);
	EXPECT_OK(trace(PTRACE_SEIZE, p, 0, 0));
	EXPECT_OK(kill(p, SIGUSR1));
	EXPECT_STOP(p, SIGUSR1);
	EXPECT_ERRNO(trace(PTRACE_LISTEN, p, 0, 0), EIO);
	EXPECT_OK(trace(PTRACE_CONT, p, 0, 0));
	gate_open(&g);
	JOIN(p);
}

CASE(interrupt_of_a_listening)
{
	struct gate g = gate_new();
	CHILD(p) gate_wait(&g);
	EXPECT_OK(trace(PTRACE_SEIZE, p, 0, 0));
	EXPECT_OK(kill(p, SIGSTOP));
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_EQ(go_on(p, PTRACE_CONT, SIGSTOP), EVENT_STOP(SIGSTOP));
	EXPECT_OK(trace(PTRACE_LISTEN, p, 0, 0));
	EXPECT_OK(trace(PTRACE_INTERRUPT, p, 0, 0));
	EXPECT_STOP(p, EVENT_STOP(SIGSTOP));
	EXPECT_OK(trace(PTRACE_DETACH, p, 0, 0));
	/* Stopped as before. */
	int status;
	EXPECT_OK(kill(p, SIGCONT));
	gate_open(&g);
	while (waitpid(p, &status, 0) == p && WIFSTOPPED(status))
		;
	EXPECT_EQ(status, 0);
}

CASE(seize_of_a_stopped_process)
{
	int status;
	CHILD(p) raise(SIGSTOP);
	EXPECT_EQ(waitpid(p, &status, WUNTRACED), p);
	EXPECT_OK(trace(PTRACE_SEIZE, p, 0, 0));
	EXPECT_STOP(p, EVENT_STOP(SIGSTOP));
	EXPECT_OK(kill(p, SIGCONT));
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), EVENT_STOP(SIGTRAP));
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGCONT);
	let_end(p, 0);
}

static siginfo_t seen;

static void keep_info(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	seen = *info;
}

CASE(siginfo_is_read_and_set)
{
	CHILD(p) {
		struct sigaction sa = {.sa_sigaction = keep_info, .sa_flags = SA_SIGINFO};
		sigaction(SIGRTMIN, &sa, NULL);
		trace_me();
		sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 11});
		EXPECT_EQ(seen.si_value.sival_int, 12);
	}
	EXPECT_STOP(p, SIGSTOP);
	siginfo_t info = siginfo_of(p);
	EXPECT_EQ(info.si_code, SI_TKILL);
	EXPECT_EQ(info.si_pid, p);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGRTMIN);
	info = siginfo_of(p);
	EXPECT_EQ(info.si_code, SI_QUEUE);
	EXPECT_EQ(info.si_value.sival_int, 11);
	info.si_value.sival_int = 12;
	EXPECT_OK(trace(PTRACE_SETSIGINFO, p, 0, (unsigned long)&info));
	EXPECT_ERRNO(trace(PTRACE_GETSIGINFO, p, 0, 8), EFAULT);
	EXPECT_ERRNO(trace(PTRACE_SETSIGINFO, p, 0, 8), EFAULT);
	EXPECT_OK(trace(PTRACE_CONT, p, 0, SIGRTMIN));
	JOIN(p);
}

CASE(another_signal_comes_from_the_tracer)
{
	CHILD(p) {
		struct sigaction sa = {.sa_sigaction = keep_info, .sa_flags = SA_SIGINFO};
		sigaction(SIGUSR2, &sa, NULL);
		trace_me();
		raise(SIGUSR1);
		CHECK(seen.si_signo == SIGUSR2 && seen.si_code == SI_USER && seen.si_pid == getppid());
	}
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGUSR1);
	EXPECT_OK(trace(PTRACE_CONT, p, 0, SIGUSR2));
	JOIN(p);
}

CASE(signal_mask)
{
	uint64_t mask;
	CHILD(p) {
		sigset_t s;
		sigemptyset(&s);
		sigaddset(&s, SIGUSR1);
		sigprocmask(SIG_BLOCK, &s, NULL);
		EXPECT_OK(trace(PTRACE_TRACEME, 0, 0, 0));
		asm volatile("int3");
		sigprocmask(SIG_BLOCK, NULL, &s);
		CHECK(!sigismember(&s, SIGUSR1) && sigismember(&s, SIGUSR2) && !sigismember(&s, SIGKILL));
	}
	EXPECT_STOP(p, SIGTRAP);
	EXPECT_OK(trace(PTRACE_GETSIGMASK, p, 8, (unsigned long)&mask));
	EXPECT_EQ(mask, 1 << (SIGUSR1 - 1));
	EXPECT_ERRNO(trace(PTRACE_GETSIGMASK, p, 4, (unsigned long)&mask), EINVAL);
	mask = 1 << (SIGUSR2 - 1) | 1 << (SIGKILL - 1);
	EXPECT_OK(trace(PTRACE_SETSIGMASK, p, 8, (unsigned long)&mask));
	EXPECT_ERRNO(trace(PTRACE_SETSIGMASK, p, 9, (unsigned long)&mask), EINVAL);
	let_end(p, 0);
}

CASE(peek_at_queued_signals)
{
	siginfo_t infos[4];
	struct __ptrace_peeksiginfo_args args = {.off = 0, .flags = 0, .nr = 4};
	CHILD(p) {
		sigset_t s;
		sigfillset(&s);
		sigdelset(&s, SIGTRAP);
		sigprocmask(SIG_BLOCK, &s, NULL);
		EXPECT_OK(trace(PTRACE_TRACEME, 0, 0, 0));
		for (int i = 0; i < 3; i++)
			syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGRTMIN,
				&(siginfo_t){.si_signo = SIGRTMIN, .si_code = SI_QUEUE, .si_value.sival_int = i});
		kill(getpid(), SIGUSR1);
		asm volatile("int3");
	}
	EXPECT_STOP(p, SIGTRAP);
	EXPECT_EQ(trace(PTRACE_PEEKSIGINFO, p, (unsigned long)&args, (unsigned long)infos), 3);
	CHECK(infos[0].si_value.sival_int == 0 && infos[2].si_value.sival_int == 2);
	args.off = 2;
	EXPECT_EQ(trace(PTRACE_PEEKSIGINFO, p, (unsigned long)&args, (unsigned long)infos), 1);
	args.off = 7;
	EXPECT_EQ(trace(PTRACE_PEEKSIGINFO, p, (unsigned long)&args, (unsigned long)infos), 0);
	args = (struct __ptrace_peeksiginfo_args){.off = 0, .flags = PTRACE_PEEKSIGINFO_SHARED, .nr = 4};
	EXPECT_EQ(trace(PTRACE_PEEKSIGINFO, p, (unsigned long)&args, (unsigned long)infos), 1);
	EXPECT_EQ(infos[0].si_signo, SIGUSR1);
	args.flags = 2;
	EXPECT_ERRNO(trace(PTRACE_PEEKSIGINFO, p, (unsigned long)&args, (unsigned long)infos), EINVAL);
	args = (struct __ptrace_peeksiginfo_args){.nr = -1};
	EXPECT_ERRNO(trace(PTRACE_PEEKSIGINFO, p, (unsigned long)&args, (unsigned long)infos), EINVAL);
	let_end(p, 0);
}

static void *exit_6(void *arg)
{
	_exit(6);
	return arg;
}

CASE(a_killed_thread_reports_its_end)
{
	CHILD(p) {
		trace_me();
		thread_join(thread_start(exit_6, NULL));
	}
	int status;
	begin(p, PTRACE_O_TRACECLONE);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), EVENT(PTRACE_EVENT_CLONE));
	pid_t t = message_of(p);
	EXPECT_STOP(t, SIGSTOP);
	EXPECT_OK(trace(PTRACE_CONT, p, 0, 0));
	EXPECT_OK(trace(PTRACE_CONT, t, 0, 0));
	EXPECT_EQ(waitpid(t, &status, __WALL), t);
	EXPECT_EQ(status, 6 << 8);
	EXPECT_EXIT(p, 6);
}

CASE(wait_for_any_finds_tracees)
{
	struct gate g = gate_new(), out = gate_new();
	int status;
	CHILD(middle) {
		CHILD(p) gate_wait(&g);
		EXPECT_EQ(write(out.fd[1], &p, sizeof p), sizeof p);
		gate_wait(&g);
		int s;
		while (waitpid(p, &s, 0) < 0)
			;
	}
	pid_t p;
	EXPECT_EQ(read(out.fd[0], &p, sizeof p), sizeof p);
	EXPECT_OK(trace(PTRACE_ATTACH, p, 0, 0));
	/* Not a child, but a tracee. */
	EXPECT_EQ(waitpid(-1, &status, 0), p);
	EXPECT_EQ(status, SIGSTOP << 8 | 0x7f);
	EXPECT_OK(trace(PTRACE_DETACH, p, 0, 0));
	EXPECT_ERRNO(waitpid(p, &status, WNOHANG), ECHILD);
	gate_open(&g);
	gate_open(&g);
	JOIN(middle);
}

CASE(tracee_with_a_child_of_the_untraced_flag)
{
	CHILD(p) {
		trace_me();
		int c = syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0);
		if (c == 0) {
			raise(SIGUSR1);
			_exit(0);
		}
		EXPECT_KILLED(c, SIGUSR1);
	}
	begin(p, PTRACE_O_TRACEFORK | PTRACE_O_TRACECLONE);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGCHLD);
	let_end(p, 0);
}

CASE(clone_ptrace_passes_tracing_on)
{
	CHILD(p) {
		trace_me();
		int c = syscall(SYS_clone, CLONE_PTRACE | SIGCHLD, 0, 0, 0, 0);
		if (c == 0)
			_exit(0);
		JOIN(c);
	}
	int status;
	begin(p, 0);
	EXPECT_OK(trace(PTRACE_CONT, p, 0, 0));
	pid_t c = EXPECT_OK(waitpid(-1, &status, __WALL));
	CHECK(c != p);
	EXPECT_EQ(status >> 8, SIGSTOP);
	let_end(c, 0);
	EXPECT_STOP(p, SIGCHLD);
	let_end(p, 0);
}
