/* ptrace(2): who may trace whom, stops and continuing, memory, the end of tracer and tracee. */
#include "trace.h"
#include <sys/prctl.h>

static char *status_line(pid_t p, const char *key)
{
	static char line[256];
	char path[64], *text;
	snprintf(path, sizeof path, "/proc/%d/status", p);
	text = strstr(get_file(path), key);
	CHECK(text);
	snprintf(line, sizeof line, "%.*s", (int)strcspn(text, "\n"), text);
	return line;
}

CASE(traceme_stops_at_signals)
{
	CHILD(p) {
		trace_me();
		_exit(7);
	}
	EXPECT_STOP(p, SIGSTOP);
	let_end(p, 7 << 8);
}

CASE(traceme_twice)
{
	CHILD(p) {
		EXPECT_OK(trace(PTRACE_TRACEME, 0, 0, 0));
		EXPECT_ERRNO(trace(PTRACE_TRACEME, 0, 0, 0), EPERM);
	}
	JOIN(p);
}

CASE(tracer_chooses_the_signal)
{
	CHILD(p) {
		count_signal(SIGUSR1, 0);
		count_signal(SIGUSR2, 0);
		trace_me();
		raise(SIGUSR1);
		CHECK(signals_seen[SIGUSR1] == 0 && signals_seen[SIGUSR2] == 0);
		raise(SIGUSR1);
		CHECK(signals_seen[SIGUSR1] == 1);
		raise(SIGUSR1);
		CHECK(signals_seen[SIGUSR1] == 1 && signals_seen[SIGUSR2] == 1);
	}
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGUSR1);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGUSR1);
	EXPECT_EQ(go_on(p, PTRACE_CONT, SIGUSR1), SIGUSR1);
	EXPECT_OK(trace(PTRACE_CONT, p, 0, SIGUSR2));
	JOIN(p);
}

CASE(injected_signal_kills)
{
	CHILD(p) trace_me();
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_OK(trace(PTRACE_CONT, p, 0, SIGTERM));
	EXPECT_KILLED(p, SIGTERM);
}

CASE(ignored_signals_are_reported)
{
	CHILD(p) {
		signal(SIGUSR1, SIG_IGN);
		trace_me();
		raise(SIGUSR1);
		raise(SIGCHLD);
	}
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGUSR1);
	EXPECT_EQ(go_on(p, PTRACE_CONT, SIGUSR1), SIGCHLD);
	let_end(p, 0);
}

CASE(blocked_signals_are_not_reported)
{
	CHILD(p) {
		sigset_t s;
		sigemptyset(&s);
		sigaddset(&s, SIGUSR1);
		trace_me();
		sigprocmask(SIG_BLOCK, &s, NULL);
		raise(SIGUSR1);
		raise(SIGUSR2);
		sigprocmask(SIG_UNBLOCK, &s, NULL);
	}
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGUSR2);
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGUSR1);
	let_end(p, 0);
}

CASE(sigkill_is_not_reported)
{
	CHILD(p) {
		trace_me();
		pause();
	}
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_OK(kill(p, SIGKILL));
	EXPECT_KILLED(p, SIGKILL);
}

CASE(requests_need_a_stopped_tracee)
{
	struct gate g = gate_new();
	unsigned long word;
	CHILD(p) {
		trace_me();
		gate_wait(&g);
	}
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_OK(trace(PTRACE_CONT, p, 0, 0));
	EXPECT_ERRNO(trace(PTRACE_PEEKDATA, p, (unsigned long)&word, (unsigned long)&word), ESRCH);
	EXPECT_ERRNO(trace(PTRACE_CONT, p, 0, 0), ESRCH);
	EXPECT_ERRNO(trace(PTRACE_DETACH, p, 0, 0), ESRCH);
	EXPECT_ERRNO(trace(PTRACE_GETSIGINFO, p, 0, 0), ESRCH);
	gate_open(&g);
	JOIN(p);
}

CASE(requests_on_strangers)
{
	struct gate g = gate_new();
	CHILD(p) gate_wait(&g);
	EXPECT_ERRNO(trace(PTRACE_CONT, p, 0, 0), ESRCH);
	EXPECT_ERRNO(trace(12345, p, 0, 0), ESRCH);
	EXPECT_ERRNO(trace(PTRACE_ATTACH, 0, 0, 0), ESRCH);
	EXPECT_ERRNO(trace(PTRACE_ATTACH, -1, 0, 0), ESRCH);
	EXPECT_ERRNO(trace(PTRACE_ATTACH, getpid(), 0, 0), EPERM);
	EXPECT_ERRNO(trace(PTRACE_INTERRUPT, p, 0, 0), ESRCH);
	gate_open(&g);
	JOIN(p);
}

CASE(bad_requests)
{
	CHILD(p) trace_me();
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_ERRNO(trace(12345, p, 0, 0), EIO);
	EXPECT_ERRNO(trace(PTRACE_CONT, p, 0, 65), EIO);
	EXPECT_ERRNO(trace(PTRACE_CONT, p, 0, -1), EIO);
	EXPECT_ERRNO(trace(PTRACE_DETACH, p, 0, 65), EIO);
	EXPECT_ERRNO(trace(PTRACE_SETOPTIONS, p, 0, 1 << 9), EINVAL);
	EXPECT_ERRNO(trace(PTRACE_INTERRUPT, p, 0, 0), EIO);
	EXPECT_ERRNO(trace(PTRACE_LISTEN, p, 0, 0), EIO);
	let_end(p, 0);
}

CASE(peek_and_poke)
{
	static unsigned long word = 0x1122334455667788;
	static const unsigned long constant = 0x99;
	CHILD(p) {
		trace_me();
		EXPECT_EQ(word, 42);
		EXPECT_EQ(*(volatile const unsigned long *)&constant, 43);
	}
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_EQ(peek(p, &word), 0x1122334455667788);
	EXPECT_EQ(peek(p, (char *)&word + 1) & 0xff, 0x77);
	poke(p, &word, 42);
	/* Read-only memory is written to a copy of the tracee's own. */
	poke(p, &constant, 43);
	EXPECT_EQ(peek(p, &constant), 43);
	EXPECT_EQ(word, 0x1122334455667788);
	EXPECT_EQ(*(volatile const unsigned long *)&constant, 0x99);
	let_end(p, 0);
}

CASE(peek_at_bad_addresses)
{
	unsigned long word;
	char *none = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(none + 4096, 4096);
	CHILD(p) trace_me();
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_ERRNO(trace(PTRACE_PEEKDATA, p, 8, (unsigned long)&word), EIO);
	EXPECT_ERRNO(trace(PTRACE_POKEDATA, p, 8, 1), EIO);
	EXPECT_ERRNO(trace(PTRACE_PEEKDATA, p, -8ul, (unsigned long)&word), EIO);
	EXPECT_ERRNO(trace(PTRACE_PEEKDATA, p, (unsigned long)none + 4092, (unsigned long)&word), EIO);
	EXPECT_OK(trace(PTRACE_PEEKDATA, p, (unsigned long)none + 4088, (unsigned long)&word));
	EXPECT_ERRNO(trace(PTRACE_PEEKDATA, p, (unsigned long)none, 8), EFAULT);
	let_end(p, 0);
}

CASE(peek_at_unreadable_memory)
{
	unsigned long *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*m = 5;
	EXPECT_OK(mprotect(m, 4096, PROT_NONE));
	CHILD(p) trace_me();
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_EQ(peek(p, m), 5);
	poke(p, m, 6);
	EXPECT_EQ(peek(p, m), 6);
	let_end(p, 0);
}

CASE(poke_of_shared_read_only_memory)
{
	put_file("f", "12345678abcdefgh");
	int fd = EXPECT_OK(open("f", O_RDONLY));
	char *m = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	CHILD(p) trace_me();
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_EQ(peek(p, m), 0x3837363534333231);
	EXPECT_ERRNO(trace(PTRACE_POKEDATA, p, (unsigned long)m, 1), EIO);
	let_end(p, 0);
}

CASE(memory_by_proc_mem)
{
	static int value = 4;
	static const char text[] = "constant";
	char path[64], buf[9];
	CHILD(p) {
		trace_me();
		EXPECT_EQ(value, 8);
		EXPECT_EQ(*(volatile const char *)text, 'K');
	}
	EXPECT_STOP(p, SIGSTOP);
	snprintf(path, sizeof path, "/proc/%d/mem", p);
	int fd = EXPECT_OK(open(path, O_RDWR));
	int eight = 8;
	EXPECT_EQ(pwrite(fd, &eight, 4, (off_t)&value), 4);
	EXPECT_EQ(pwrite(fd, "K", 1, (off_t)text), 1);
	EXPECT_EQ(pread(fd, buf, 9, (off_t)text), 9);
	EXPECT_STR(buf, "Konstant");
	EXPECT_ERRNO(pread(fd, buf, 1, 16), EIO);
	let_end(p, 0);
}

CASE(memory_by_process_vm)
{
	static int value = 4;
	CHILD(p) {
		trace_me();
		EXPECT_EQ(value, 9);
	}
	EXPECT_STOP(p, SIGSTOP);
	int got = 0, nine = 9;
	struct iovec own = {&got, 4}, own_nine = {&nine, 4}, theirs = {&value, 4};
	EXPECT_EQ(process_vm_readv(p, &own, 1, &theirs, 1, 0), 4);
	EXPECT_EQ(got, 4);
	EXPECT_EQ(process_vm_writev(p, &own_nine, 1, &theirs, 1, 0), 4);
	let_end(p, 0);
}

CASE(attach_stops_and_detach_lets_go)
{
	struct gate g = gate_new();
	CHILD(p) gate_wait(&g);
	EXPECT_OK(trace(PTRACE_ATTACH, p, 0, 0));
	EXPECT_ERRNO(trace(PTRACE_ATTACH, p, 0, 0), EPERM);
	EXPECT_STOP(p, SIGSTOP);
	siginfo_t info = siginfo_of(p);
	EXPECT_EQ(info.si_signo, SIGSTOP);
	EXPECT_EQ(info.si_code, SI_KERNEL);
	EXPECT_OK(trace(PTRACE_DETACH, p, 0, 0));
	gate_open(&g);
	JOIN(p);
}

CASE(attach_again_at_once)
{
	struct gate g = gate_new();
	CHILD(p) gate_wait(&g);
	for (int i = 0; i < 200; i++) {
		EXPECT_OK(trace(PTRACE_ATTACH, p, 0, 0));
		EXPECT_STOP(p, SIGSTOP);
		EXPECT_OK(trace(PTRACE_DETACH, p, 0, 0));
	}
	gate_open(&g);
	JOIN(p);
}

CASE(attach_to_a_stopped_process)
{
	int status;
	CHILD(p) {
		raise(SIGSTOP);
		_exit(3);
	}
	EXPECT_EQ(waitpid(p, &status, WUNTRACED), p);
	EXPECT_OK(trace(PTRACE_ATTACH, p, 0, 0));
	EXPECT_STOP(p, SIGSTOP);
	/* It is stopped still, so there is no signal. */
	EXPECT_ERRNO(trace(PTRACE_GETSIGINFO, p, 0, (unsigned long)&status), EINVAL);
	/* The one that attaching has sent. */
	EXPECT_EQ(go_on(p, PTRACE_CONT, 0), SIGSTOP);
	siginfo_of(p);
	EXPECT_OK(trace(PTRACE_DETACH, p, 0, 0));
	/* The process's stop is in effect still. */
	EXPECT_OK(kill(p, SIGCONT));
	EXPECT_EXIT(p, 3);
}

CASE(detach_with_a_signal)
{
	struct gate g = gate_new();
	CHILD(p) gate_wait(&g);
	EXPECT_OK(trace(PTRACE_ATTACH, p, 0, 0));
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_OK(trace(PTRACE_DETACH, p, 0, SIGINT));
	EXPECT_KILLED(p, SIGINT);
}

CASE(attach_interrupts_no_call_for_good)
{
	struct gate g = gate_new(), ready = gate_new();
	CHILD(p) {
		char c;
		gate_open(&ready);
		/* Restarted, though there is no handler with SA_RESTART. */
		EXPECT_EQ(read(g.fd[0], &c, 1), 1);
	}
	gate_wait(&ready);
	wait_asleep(p);
	EXPECT_OK(trace(PTRACE_ATTACH, p, 0, 0));
	EXPECT_STOP(p, SIGSTOP);
	struct user_regs_struct regs = regs_of(p);
	EXPECT_EQ(regs.orig_rax, SYS_read);
	EXPECT_EQ(regs.rax, -512);
	EXPECT_OK(trace(PTRACE_DETACH, p, 0, 0));
	wait_asleep(p);
	gate_open(&g);
	JOIN(p);
}

CASE(tracer_is_shown)
{
	char want[64];
	struct gate g = gate_new();
	CHILD(p) {
		trace_me();
		gate_wait(&g);
	}
	EXPECT_STOP(p, SIGSTOP);
	snprintf(want, sizeof want, "TracerPid:\t%d", getpid());
	EXPECT_STR(status_line(p, "TracerPid:"), want);
	EXPECT_STR(status_line(p, "State:"), "State:\tt (tracing stop)");
	EXPECT_OK(trace(PTRACE_DETACH, p, 0, 0));
	EXPECT_STR(status_line(p, "TracerPid:"), "TracerPid:\t0");
	gate_open(&g);
	JOIN(p);
}

CASE(tracer_of_another_parents_child)
{
	/* The tracer learns of the end first, then the parent. */
	struct gate g = gate_new(), traced = gate_new(), seen = gate_new();
	int status;
	CHILD(p) gate_wait(&g);
	CHILD(tracer) {
		EXPECT_OK(trace(PTRACE_ATTACH, p, 0, 0));
		EXPECT_STOP(p, SIGSTOP);
		EXPECT_OK(trace(PTRACE_CONT, p, 0, 0));
		gate_open(&traced);
		EXPECT_EQ(waitid(P_PID, p, &(siginfo_t){0}, WEXITED | WNOWAIT | __WALL), 0);
		gate_wait(&seen);
		EXPECT_EQ(waitpid(p, &status, __WALL), p);
		EXPECT_EQ(status, 0);
	}
	gate_wait(&traced);
	/* A stop for the tracer is none for the parent. */
	EXPECT_EQ(waitpid(p, &status, WNOHANG | WUNTRACED), 0);
	gate_open(&g);
	for (int i = 0; i < 20; i++) {
		EXPECT_EQ(waitpid(p, &status, WNOHANG), 0);
		sleep_ms(1);
	}
	gate_open(&seen);
	JOIN(tracer);
	JOIN(p);
}

CASE(tracers_death_detaches)
{
	struct gate g = gate_new(), traced = gate_new();
	CHILD(p) gate_wait(&g);
	CHILD(tracer) {
		EXPECT_OK(trace(PTRACE_ATTACH, p, 0, 0));
		EXPECT_STOP(p, SIGSTOP);
		gate_open(&traced);
		pause();
	}
	gate_wait(&traced);
	EXPECT_OK(kill(tracer, SIGKILL));
	EXPECT_KILLED(tracer, SIGKILL);
	EXPECT_STR(status_line(p, "TracerPid:"), "TracerPid:\t0");
	gate_open(&g);
	JOIN(p);
}

CASE(tracers_death_kills_with_exitkill)
{
	struct gate g = gate_new(), traced = gate_new();
	CHILD(p) gate_wait(&g);
	CHILD(tracer) {
		EXPECT_OK(trace(PTRACE_SEIZE, p, 0, PTRACE_O_EXITKILL));
		gate_open(&traced);
		pause();
	}
	gate_wait(&traced);
	EXPECT_OK(kill(tracer, SIGKILL));
	EXPECT_KILLED(tracer, SIGKILL);
	EXPECT_KILLED(p, SIGKILL);
}

CASE(tracers_death_leaves_a_zombie_to_its_parent)
{
	struct gate g = gate_new(), traced = gate_new();
	CHILD(p) {
		gate_wait(&g);
		_exit(9);
	}
	CHILD(tracer) {
		EXPECT_OK(trace(PTRACE_SEIZE, p, 0, 0));
		gate_open(&traced);
		EXPECT_EQ(waitid(P_PID, p, &(siginfo_t){0}, WEXITED | WNOWAIT | __WALL), 0);
	}
	gate_wait(&traced);
	gate_open(&g);
	JOIN(tracer);
	EXPECT_EXIT(p, 9);
}

CASE(ptrace_kill)
{
	CHILD(p) trace_me();
	EXPECT_STOP(p, SIGSTOP);
	EXPECT_OK(trace(PTRACE_KILL, p, 0, 0));
	EXPECT_KILLED(p, SIGKILL);
	EXPECT_ERRNO(trace(PTRACE_KILL, p, 0, 0), ESRCH);
}

CASE(sigchld_tells_of_stops)
{
	sigset_t s;
	siginfo_t info;
	sigemptyset(&s);
	sigaddset(&s, SIGCHLD);
	EXPECT_OK(sigprocmask(SIG_BLOCK, &s, NULL));
	CHILD(p) trace_me();
	EXPECT_EQ(sigwaitinfo(&s, &info), SIGCHLD);
	EXPECT_EQ(info.si_code, CLD_TRAPPED);
	EXPECT_EQ(info.si_status, SIGSTOP);
	EXPECT_EQ(info.si_pid, p);
	info.si_pid = 0;
	EXPECT_OK(waitid(P_PID, p, &info, WSTOPPED | WNOWAIT));
	EXPECT_EQ(info.si_code, CLD_TRAPPED);
	EXPECT_EQ(info.si_status, SIGSTOP);
	EXPECT_STOP(p, SIGSTOP);
	info.si_pid = 0;
	EXPECT_OK(waitid(P_PID, p, &info, WSTOPPED | WNOHANG));
	EXPECT_EQ(info.si_pid, 0);
	let_end(p, 0);
}

CASE(exit_only_waits_see_no_stops)
{
	siginfo_t info = {0};
	CHILD(p) trace_me();
	EXPECT_OK(waitid(P_PID, p, &info, WSTOPPED | WNOWAIT));
	info.si_pid = 0;
	EXPECT_OK(waitid(P_PID, p, &info, WEXITED | WNOHANG));
	/* A tracee's stops are reported whether they are asked for or not. */
	RECORD("reported", "%d %d", info.si_pid != 0, info.si_code);
	EXPECT_OK(trace(PTRACE_KILL, p, 0, 0));
	EXPECT_KILLED(p, SIGKILL);
}

CASE(permission_by_user)
{
	struct gate g = gate_new();
	needs_root();
	CHILD(p) gate_wait(&g);
	CHILD(other) {
		become_user(12345, 12345);
		EXPECT_ERRNO(trace(PTRACE_ATTACH, p, 0, 0), EPERM);
		EXPECT_ERRNO(trace(PTRACE_SEIZE, p, 0, 0), EPERM);
		struct iovec iov = {&g, 4};
		EXPECT_ERRNO(process_vm_readv(p, &iov, 1, &iov, 1, 0), EPERM);
	}
	JOIN(other);
	gate_open(&g);
	JOIN(p);
}

CASE(permission_of_the_same_user)
{
	needs_root();
	CHILD(outer) {
		struct gate g = gate_new(), ready = gate_new();
		become_user(12345, 12345);
		prctl(PR_SET_DUMPABLE, 1);
		CHILD(p) {
			gate_open(&ready);
			gate_wait(&g);
			prctl(PR_SET_DUMPABLE, 0);
			gate_open(&ready);
			gate_wait(&g);
		}
		gate_wait(&ready);
		EXPECT_OK(trace(PTRACE_SEIZE, p, 0, 0));
		EXPECT_OK(trace(PTRACE_INTERRUPT, p, 0, 0));
		EXPECT_STOP(p, SIGTRAP | 128 << 8);
		EXPECT_OK(trace(PTRACE_DETACH, p, 0, 0));
		gate_open(&g);
		gate_wait(&ready);
		EXPECT_ERRNO(trace(PTRACE_SEIZE, p, 0, 0), EPERM);
		gate_open(&g);
		JOIN(p);
	}
	JOIN(outer);
}

static void *may_not_continue(void *p)
{
	EXPECT_ERRNO(trace(PTRACE_CONT, *(pid_t *)p, 0, 0), ESRCH);
	return NULL;
}

CASE(tracing_is_of_one_thread)
{
	/* Only the thread that attached may make requests; others may wait. */
	CHILD(p) trace_me();
	EXPECT_STOP(p, SIGSTOP);
	thread_join(thread_start(may_not_continue, &p));
	let_end(p, 0);
}

static void *attach_to(void *p)
{
	EXPECT_OK(trace(PTRACE_ATTACH, *(pid_t *)p, 0, 0));
	EXPECT_STOP(*(pid_t *)p, SIGSTOP);
	return NULL;
}

CASE(end_of_the_tracing_thread_detaches)
{
	struct gate g = gate_new();
	CHILD(p) gate_wait(&g);
	thread_join(thread_start(attach_to, &p));
	for (int i = 0; i < 1000 && strcmp(status_line(p, "TracerPid:"), "TracerPid:\t0") != 0; i++)
		sleep_ms(1);
	EXPECT_STR(status_line(p, "TracerPid:"), "TracerPid:\t0");
	gate_open(&g);
	JOIN(p);
}

static struct gate go, started;
static pid_t *tid;

static void *wait_to_go(void *arg)
{
	*tid = gettid();
	gate_open(&started);
	gate_wait(&go);
	return arg;
}

CASE(threads_are_traced_one_by_one)
{
	tid = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	go = gate_new();
	started = gate_new();
	CHILD(p) {
		thread_join(thread_start(wait_to_go, NULL));
		gate_wait(&go);
		_exit(5);
	}
	gate_wait(&started);
	EXPECT_OK(trace(PTRACE_ATTACH, *tid, 0, 0));
	EXPECT_STOP(*tid, SIGSTOP);
	CHECK(regs_of(*tid).rsp != 0);
	EXPECT_ERRNO(trace(PTRACE_GETREGS, p, 0, 0), ESRCH);
	EXPECT_OK(trace(PTRACE_CONT, *tid, 0, 0));
	gate_open(&go);
	/* The tracer learns of the end of a thread. */
	int status;
	EXPECT_EQ(waitpid(*tid, &status, __WALL), *tid);
	EXPECT_EQ(status, 0);
	gate_open(&go);
	EXPECT_EXIT(p, 5);
}

CASE(tracer_ignoring_children_still_waits)
{
	signal(SIGCHLD, SIG_IGN);
	CHILD(p) {
		trace_me();
		_exit(4);
	}
	EXPECT_STOP(p, SIGSTOP);
	let_end(p, 4 << 8);
}
