/* Processes: making them, waiting for them, how they end and who inherits their children. */
#include "waits.h"
#include <linux/sched.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static long clone3(struct clone_args *args)
{
	return syscall(SYS_clone3, args, sizeof *args);
}

static long plain_clone(unsigned long flags)
{
	return syscall(SYS_clone, flags, 0, NULL, NULL, 0);
}

/* ---- Making them. ---- */

CASE(fork_copies)
{
	int p[2];
	static int value = 1;
	EXPECT_OK(pipe(p));
	pid_t parent = getpid();
	CHILD(c) {
		value = 2;
		EXPECT_EQ(getppid(), parent);
		EXPECT_EQ(getpid(), gettid());
		CHECK(getpid() != parent);
		EXPECT_EQ(write(p[1], &value, sizeof value), sizeof value);
	}
	JOIN(c);
	int seen;
	EXPECT_EQ(read(p[0], &seen, sizeof seen), sizeof seen);
	EXPECT_EQ(seen, 2);
	EXPECT_EQ(value, 1);
}

CASE(vfork_shares_and_waits)
{
	static volatile int value = 0;
	pid_t p = vfork();
	if (p == 0) {
		value = 7;
		_exit(3);
	}
	EXPECT_EQ(value, 7); /* the child was through before we went on */
	EXPECT_EXIT(p, 3);
	p = vfork();
	if (p == 0) {
		execl("/bin/true", "true", NULL);
		_exit(9);
	}
	JOIN(p);
	p = vfork();
	if (p == 0) {
		raise(SIGKILL);
		_exit(9);
	}
	EXPECT_KILLED(p, SIGKILL);
}

CASE(clone_errors)
{
	EXPECT_ERRNO(plain_clone(CLONE_THREAD | SIGCHLD), EINVAL); /* needs a shared table of handlers */
	EXPECT_ERRNO(plain_clone(CLONE_SIGHAND | SIGCHLD), EINVAL); /* which needs shared memory */
	EXPECT_ERRNO(plain_clone(CLONE_THREAD | CLONE_SIGHAND), EINVAL);
	EXPECT_ERRNO(plain_clone(CLONE_FS | CLONE_NEWNS | SIGCHLD), EINVAL);
	struct clone_args a = {.exit_signal = SIGCHLD, .flags = CLONE_SIGHAND | CLONE_VM | CLONE_CLEAR_SIGHAND};
	EXPECT_ERRNO(clone3(&a), EINVAL);
	a = (struct clone_args){.exit_signal = SIGCHLD};
	EXPECT_ERRNO(syscall(SYS_clone3, &a, 8), EINVAL);
	EXPECT_ERRNO(syscall(SYS_clone3, &a, 4097), E2BIG);
	EXPECT_ERRNO(syscall(SYS_clone3, 8, 88), EFAULT);
	a.exit_signal = 65;
	EXPECT_ERRNO(clone3(&a), EINVAL);
	a = (struct clone_args){.flags = SIGCHLD}; /* the old place of the signal */
	EXPECT_ERRNO(clone3(&a), EINVAL);
	a = (struct clone_args){.exit_signal = SIGCHLD, .stack = 0x1000};
	EXPECT_ERRNO(clone3(&a), EINVAL);
	a = (struct clone_args){.exit_signal = SIGCHLD, .stack_size = 0x1000};
	EXPECT_ERRNO(clone3(&a), EINVAL);
	a = (struct clone_args){.flags = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, .exit_signal = SIGCHLD};
	EXPECT_ERRNO(clone3(&a), EINVAL);
	a = (struct clone_args){.exit_signal = SIGCHLD, .flags = 1ULL << 40};
	EXPECT_ERRNO(clone3(&a), EINVAL);
}

CASE(clone_tells_the_id)
{
	pid_t parent_tid = 0, child_tid = 0;
	pid_t p = EXPECT_OK(syscall(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, 0, &parent_tid, &child_tid, 0));
	if (p == 0)
		_exit(child_tid == getpid() && parent_tid == 0 ? 0 : 1);
	EXPECT_EQ(parent_tid, p);
	EXPECT_EQ(child_tid, 0); /* set in the child's memory */
	JOIN(p);
	int pidfd = -1;
	struct clone_args a = {.flags = CLONE_PIDFD, .pidfd = (uintptr_t)&pidfd, .exit_signal = SIGCHLD};
	p = EXPECT_OK(clone3(&a));
	if (p == 0)
		_exit(5);
	EXPECT_EQ(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
	siginfo_t si;
	EXPECT_OK(waitid(P_PIDFD, pidfd, &si, WEXITED));
	EXPECT_EQ(si.si_pid, p);
	EXPECT_EQ(si.si_status, 5);
}

CASE(clone_with_another_signal)
{
	block(SIGUSR1);
	block(SIGCHLD);
	pid_t p = EXPECT_OK(plain_clone(SIGUSR1));
	if (p == 0)
		_exit(0);
	take_signal(SIGUSR1);
	CHECK(!is_pending(SIGCHLD));
	EXPECT_ERRNO(waitpid(p, NULL, 0), ECHILD); /* only with __WALL or __WCLONE */
	int status;
	EXPECT_EQ(waitpid(p, &status, __WCLONE), p);
	p = EXPECT_OK(plain_clone(0));
	if (p == 0)
		_exit(0);
	EXPECT_EQ(waitpid(p, &status, __WALL), p);
	CHECK(!is_pending(SIGUSR1) && !is_pending(SIGCHLD));
}

CASE(clone_as_a_sibling)
{
	int p[2];
	EXPECT_OK(pipe(p));
	pid_t me = getpid();
	CHILD(c) {
		pid_t sibling = EXPECT_OK(plain_clone(CLONE_PARENT | SIGCHLD));
		if (sibling == 0)
			_exit(getppid() == me ? 0 : 1);
		EXPECT_ERRNO(waitpid(sibling, NULL, 0), ECHILD);
		EXPECT_EQ(write(p[1], &sibling, sizeof sibling), sizeof sibling);
	}
	JOIN(c);
	pid_t sibling;
	EXPECT_EQ(read(p[0], &sibling, sizeof sibling), sizeof sibling);
	JOIN(sibling);
}

CASE(clone_shares_what_it_is_told)
{
	EXPECT_OK(mkdir("d", 0755));
	pid_t p = EXPECT_OK(plain_clone(CLONE_FS | CLONE_FILES | SIGCHLD));
	if (p == 0) {
		EXPECT_OK(chdir("d"));
		umask(0);
		EXPECT_OK(dup2(0, 77));
		_exit(0);
	}
	JOIN(p);
	CHECK(!exists("d"));
	EXPECT_OK(chdir(".."));
	EXPECT_EQ(umask(022), 0);
	EXPECT_OK(fcntl(77, F_GETFD));
}

CASE(clone_resets_handlers)
{
	count_signal(SIGUSR1, 0);
	signal(SIGUSR2, SIG_IGN);
	struct clone_args a = {.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
	pid_t p = EXPECT_OK(clone3(&a));
	if (p == 0) {
		struct sigaction sa;
		EXPECT_OK(sigaction(SIGUSR1, NULL, &sa));
		CHECK(sa.sa_handler == SIG_DFL);
		EXPECT_OK(sigaction(SIGUSR2, NULL, &sa));
		CHECK(sa.sa_handler == SIG_IGN);
		_exit(0);
	}
	JOIN(p);
}

/* ---- Waiting. ---- */

CASE(wait_errors)
{
	int status;
	siginfo_t si;
	EXPECT_ERRNO(waitpid(-1, &status, 0), ECHILD);
	EXPECT_ERRNO(waitpid(-1, &status, WNOHANG), ECHILD);
	EXPECT_ERRNO(waitpid(getppid(), &status, 0), ECHILD);
	EXPECT_ERRNO(waitpid(-1, &status, 0x10), EINVAL);
	EXPECT_ERRNO(waitpid(INT_MIN, &status, 0), ESRCH);
	EXPECT_ERRNO(waitid(P_ALL, 0, &si, 0), EINVAL);
	EXPECT_ERRNO(waitid(P_ALL, 0, &si, WNOHANG), EINVAL);
	EXPECT_ERRNO(waitid(P_PID, 0, &si, WEXITED), EINVAL);
	EXPECT_ERRNO(waitid(P_PID, -1, &si, WEXITED), EINVAL);
	EXPECT_ERRNO(waitid(99, 1, &si, WEXITED), EINVAL);
	EXPECT_ERRNO(waitid(P_PIDFD, 99, &si, WEXITED), EBADF);
	EXPECT_ERRNO(waitid(P_PIDFD, 0, &si, WEXITED), EBADF);
	EXPECT_ERRNO(waitid(P_ALL, 0, &si, WEXITED), ECHILD);
	CHILD(p) {
	}
	EXPECT_OK(waitid(P_PID, p, &si, WEXITED | WNOWAIT));
	EXPECT_ERRNO(syscall(SYS_wait4, p, 8, 0, NULL), EFAULT);
	EXPECT_ERRNO(waitpid(p, &status, 0), ECHILD); /* waited for all the same */
}

CASE(exit_codes)
{
	static const int codes[] = {0, 1, 127, 255, 256, 257, -1};
	for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++) {
		CHILD(p) {
			_exit(codes[i]);
		}
		EXPECT_EQ(WAIT(p), (codes[i] & 255) << 8);
	}
	siginfo_t si = {0};
	CHILD(q) {
		_exit(300);
	}
	EXPECT_OK(waitid(P_PID, q, &si, WEXITED));
	EXPECT_EQ(si.si_status, 300 & 255);
	EXPECT_EQ(si.si_code, CLD_EXITED);
	EXPECT_EQ(si.si_signo, SIGCHLD);
	EXPECT_EQ(si.si_uid, getuid());
}

CASE(waiting_without_taking)
{
	CHILD(p) {
		_exit(4);
	}
	siginfo_t si;
	for (int i = 0; i < 3; i++) {
		EXPECT_OK(waitid(P_ALL, 0, &si, WEXITED | WNOWAIT));
		EXPECT_EQ(si.si_pid, p);
		EXPECT_EQ(si.si_status, 4);
	}
	EXPECT_OK(kill(p, 0));
	EXPECT_EXIT(p, 4);
	si.si_signo = si.si_pid = 7;
	struct gate go = gate_new();
	CHILD(q) {
		gate_wait(&go);
	}
	EXPECT_OK(waitid(P_ALL, 0, &si, WEXITED | WNOHANG));
	EXPECT_EQ(si.si_pid, 0);
	EXPECT_EQ(si.si_signo, 0);
	EXPECT_EQ(waitpid(-1, NULL, WNOHANG), 0);
	gate_open(&go);
	JOIN(q);
}

CASE(nobody_has_to_wait)
{
	signal(SIGCHLD, SIG_IGN);
	CHILD(p) {
	}
	EXPECT_ERRNO(waitpid(p, NULL, 0), ECHILD); /* comes back once it has ended */
	while (kill(p, 0) == 0) /* it may still be on its way out */
		sleep_ms(1);
	EXPECT_ERRNO(kill(p, 0), ESRCH);
	count_signal(SIGCHLD, SA_NOCLDWAIT | SA_RESTART);
	CHILD(q) {
	}
	EXPECT_ERRNO(waitpid(-1, NULL, 0), ECHILD);
	EXPECT_EQ(signals_seen[SIGCHLD], 1); /* though the signal comes */
	signal(SIGCHLD, SIG_DFL);
	CHILD(r) {
	}
	JOIN(r);
	(void)q;
}

static void *wait_in_thread(void *arg)
{
	pid_t p = *(pid_t *)arg;
	JOIN(p);
	return NULL;
}

static void *fork_in_thread(void *arg)
{
	CHILD(p) {
		_exit(6);
	}
	*(pid_t *)arg = p;
	return NULL;
}

CASE(children_belong_to_all_threads)
{
	struct gate go = gate_new();
	CHILD(p) {
		gate_wait(&go);
	}
	pthread_t t = thread_start(wait_in_thread, &p);
	gate_open(&go);
	thread_join(t);
	pid_t q;
	thread_join(thread_start(fork_in_thread, &q));
	EXPECT_EXIT(q, 6); /* though its thread has gone */
	thread_join(thread_start(fork_in_thread, &q));
	EXPECT_EXIT(q, 6);
}

CASE(usage_of_a_child)
{
	CHILD(p) {
		volatile char *m = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		for (int i = 0; i < 8 << 20; i += 4096)
			m[i] = 1;
	}
	struct rusage r = {0};
	int status;
	EXPECT_EQ(wait4(p, &status, 0, &r), p);
	CHECK(r.ru_minflt > 0);
	CHECK(r.ru_maxrss >= 8 << 10);
}

/* ---- Ends. ---- */

static void *exit_group_in_thread(void *arg)
{
	(void)arg;
	_exit(8);
}

/* Ends after the gate's opening and after the leader. */
static void *exit_last(void *arg)
{
	char path[64], text[512] = "";
	gate_wait(arg);
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", getpid());
	for (;;) {
		int fd = open(path, O_RDONLY);
		ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
		close(fd);
		text[n > 0 ? n : 0] = 0;
		char *state = strrchr(text, ')');
		if (!state || state[2] == 'Z' || state[2] == 'X')
			break;
		sleep_ms(1);
	}
	syscall(SYS_exit, 9);
	return NULL;
}

static void *exit_later(void *arg)
{
	gate_wait(arg);
	syscall(SYS_exit, 9);
	return NULL;
}

CASE(exit_of_threads)
{
	CHILD(p) {
		thread_start(exit_group_in_thread, NULL);
		for (;;)
			pause();
	}
	EXPECT_EXIT(p, 8);
	struct gate go = gate_new();
	CHILD(q) {
		thread_start(exit_last, &go);
		syscall(SYS_exit, 7); /* the leader alone: the process lives on as long as the other */
	}
	siginfo_t si = {0};
	EXPECT_OK(waitid(P_PID, q, &si, WEXITED | WNOHANG));
	EXPECT_EQ(si.si_pid, 0);
	EXPECT_OK(kill(q, 0));
	gate_open(&go);
	EXPECT_EXIT(q, 9); /* the code of the last is the process's */
}

CASE(orphans_go_to_the_subreaper)
{
	int yes = -1;
	EXPECT_OK(prctl(PR_GET_CHILD_SUBREAPER, &yes));
	EXPECT_EQ(yes, 0);
	EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	EXPECT_OK(prctl(PR_GET_CHILD_SUBREAPER, &yes));
	EXPECT_EQ(yes, 1);
	int pids[2];
	struct gate go = gate_new();
	pid_t me = getpid();
	EXPECT_OK(pipe(pids));
	CHILD(p) {
		EXPECT_OK(prctl(PR_GET_CHILD_SUBREAPER, &yes));
		EXPECT_EQ(yes, 0); /* not inherited */
		CHILD(q) {
			pid_t own = getpid();
			EXPECT_EQ(write(pids[1], &own, sizeof own), sizeof own);
			gate_wait(&go);
			EXPECT_EQ(getppid(), me);
			_exit(2);
		}
		(void)q;
	}
	JOIN(p);
	pid_t q;
	EXPECT_EQ(read(pids[0], &q, sizeof q), sizeof q);
	gate_open(&go);
	EXPECT_EXIT(q, 2);
}

CASE(zombies_of_the_orphaned)
{
	/* A dead child that its parent has not waited for comes to us dead. */
	block(SIGCHLD);
	EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	int pids[2];
	EXPECT_OK(pipe(pids));
	CHILD(p) {
		CHILD(q) {
			_exit(2);
		}
		siginfo_t si;
		EXPECT_OK(waitid(P_PID, q, &si, WEXITED | WNOWAIT));
		EXPECT_EQ(write(pids[1], &q, sizeof q), sizeof q);
	}
	JOIN(p);
	pid_t q;
	EXPECT_EQ(read(pids[0], &q, sizeof q), sizeof q);
	EXPECT_EXIT(q, 2);
	take_signal(SIGCHLD);
}

CASE(killed_with_all_threads)
{
	struct gate ready = gate_new();
	CHILD(p) {
		static struct gate never;
		never = gate_new();
		for (int i = 0; i < 10; i++)
			thread_start(exit_later, &never);
		gate_open(&ready);
		for (;;)
			;
	}
	gate_wait(&ready);
	EXPECT_OK(kill(p, SIGKILL));
	EXPECT_KILLED(p, SIGKILL);
}

CASE(many_children)
{
	pid_t pids[100];
	for (int i = 0; i < 100; i++) {
		CHILD(p) {
			_exit(i);
		}
		pids[i] = p;
	}
	for (int i = 99; i >= 0; i--)
		EXPECT_EXIT(pids[i], i);
}

CASE(deep_lines_of_descent)
{
	for (int depth = 0; depth < 30; depth++) {
		pid_t p = conf_fork(__FILE__, __LINE__);
		if (p) {
			int status = WAIT(p);
			if (depth)
				_exit(WEXITSTATUS(status) + 1);
			EXPECT_EQ(status, 29 << 8);
			return;
		}
	}
	_exit(0);
}

/* ---- What can be asked and set. ---- */

CASE(names)
{
	char name[16];
	EXPECT_OK(prctl(PR_SET_NAME, "a name that is too long"));
	EXPECT_OK(prctl(PR_GET_NAME, name));
	EXPECT_STR(name, "a name that is ");
	EXPECT_STR(get_file("/proc/self/comm"), "a name that is \n");
	EXPECT_ERRNO(prctl(PR_SET_NAME, 8), EFAULT);
	EXPECT_ERRNO(prctl(PR_GET_NAME, 8), EFAULT);
	EXPECT_ERRNO(prctl(99999), EINVAL);
	struct utsname u;
	EXPECT_OK(uname(&u));
	EXPECT_STR(u.sysname, "Linux");
	EXPECT_STR(u.machine, "x86_64");
	EXPECT_ERRNO(syscall(SYS_uname, 8), EFAULT);
}

CASE(dumpable_and_privileges)
{
	EXPECT_EQ(prctl(PR_GET_DUMPABLE), 1);
	EXPECT_OK(prctl(PR_SET_DUMPABLE, 0));
	EXPECT_EQ(prctl(PR_GET_DUMPABLE), 0);
	EXPECT_ERRNO(prctl(PR_SET_DUMPABLE, 2), EINVAL);
	EXPECT_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
	EXPECT_ERRNO(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
	EXPECT_ERRNO(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0), EINVAL);
	EXPECT_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	EXPECT_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	CHILD(p) {
		EXPECT_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1); /* for good, and for all to come */
		EXPECT_EQ(prctl(PR_GET_DUMPABLE), 0);
	}
	JOIN(p);
	EXPECT_EQ(prctl(PR_GET_TIMERSLACK), 50000);
	EXPECT_OK(prctl(PR_SET_TIMERSLACK, 1234));
	EXPECT_EQ(prctl(PR_GET_TIMERSLACK), 1234);
	EXPECT_OK(prctl(PR_SET_TIMERSLACK, 0)); /* back to where it began */
	EXPECT_EQ(prctl(PR_GET_TIMERSLACK), 50000);
}

CASE(limits)
{
	struct rlimit rl = {100, 200}, old;
	EXPECT_OK(setrlimit(RLIMIT_NOFILE, &rl));
	EXPECT_OK(getrlimit(RLIMIT_NOFILE, &old));
	EXPECT_EQ(old.rlim_cur, 100);
	EXPECT_EQ(old.rlim_max, 200);
	rl.rlim_cur = 201;
	EXPECT_ERRNO(setrlimit(RLIMIT_NOFILE, &rl), EINVAL);
	EXPECT_ERRNO(getrlimit(16, &old), EINVAL);
	EXPECT_ERRNO(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, 8, NULL), EFAULT);
	EXPECT_ERRNO(syscall(SYS_prlimit64, 999999999, RLIMIT_NOFILE, NULL, &old), ESRCH);
	CHILD(p) {
		EXPECT_OK(getrlimit(RLIMIT_NOFILE, &old));
		EXPECT_EQ(old.rlim_cur, 100);
		EXPECT_ERRNO(dup2(0, 100), EBADF);
		EXPECT_OK(dup2(0, 99));
	}
	JOIN(p);
	struct gate go = gate_new();
	CHILD(q) {
		gate_wait(&go);
		EXPECT_OK(getrlimit(RLIMIT_NOFILE, &old));
		EXPECT_EQ(old.rlim_cur, 50);
	}
	rl = (struct rlimit){50, 200};
	EXPECT_OK(prlimit(q, RLIMIT_NOFILE, &rl, &old)); /* another's */
	EXPECT_EQ(old.rlim_cur, 100);
	gate_open(&go);
	JOIN(q);
}

CASE(limits_are_lowered_for_good)
{
	needs_root();
	CHILD(p) {
		become_user(4321, 4321);
		struct rlimit rl = {10, 10};
		EXPECT_OK(setrlimit(RLIMIT_MEMLOCK, &rl));
		rl.rlim_max = 11;
		EXPECT_ERRNO(setrlimit(RLIMIT_MEMLOCK, &rl), EPERM);
		EXPECT_ERRNO(prlimit(getppid(), RLIMIT_NOFILE, NULL, &rl), EPERM);
	}
	JOIN(p);
}

CASE(limit_of_file_size)
{
	struct rlimit rl = {1000, RLIM_INFINITY};
	EXPECT_OK(setrlimit(RLIMIT_FSIZE, &rl));
	count_signal(SIGXFSZ, 0);
	static char block[2000];
	int fd = EXPECT_OK(open("f", O_RDWR | O_CREAT, 0600));
	EXPECT_EQ(write(fd, block, 2000), 1000); /* up to it */
	EXPECT_EQ(signals_seen[SIGXFSZ], 0);
	EXPECT_ERRNO(write(fd, block, 1), EFBIG);
	EXPECT_EQ(signals_seen[SIGXFSZ], 1);
	EXPECT_ERRNO(ftruncate(fd, 1001), EFBIG);
	EXPECT_EQ(signals_seen[SIGXFSZ], 2);
	EXPECT_OK(ftruncate(fd, 900));
	EXPECT_EQ(pwrite(fd, block, 100, 950), 50);
}

CASE(limit_of_processes)
{
	needs_root();
	CHILD(p) {
		struct rlimit rl = {2, 2};
		EXPECT_OK(setrlimit(RLIMIT_NPROC, &rl));
		CHILD(free) { /* not for root */
			CHILD(q) {
			}
			JOIN(q);
		}
		JOIN(free);
		become_user(54654, 54654); /* who has none */
		struct gate go = gate_new();
		CHILD(a) {
			gate_wait(&go);
		}
		pid_t b = fork();
		if (b == 0)
			_exit(0);
		EXPECT_EQ(b, -1);
		EXPECT_EQ(errno, EAGAIN);
		gate_open(&go);
		JOIN(a);
	}
	JOIN(p);
}

CASE(limit_of_memory)
{
	CHILD(p) {
		struct rlimit rl = {256 << 20, 256 << 20};
		EXPECT_OK(setrlimit(RLIMIT_AS, &rl));
		EXPECT_ERRNO(mmap(NULL, 256 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
		EXPECT_OK(mmap(NULL, 64 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	}
	JOIN(p);
}

CASE(priorities)
{
	errno = 0;
	EXPECT_EQ(getpriority(PRIO_PROCESS, 0), 0);
	EXPECT_EQ(syscall(SYS_getpriority, PRIO_PROCESS, 0), 20);
	EXPECT_OK(setpriority(PRIO_PROCESS, 0, 5));
	EXPECT_EQ(getpriority(PRIO_PROCESS, 0), 5);
	CHILD(p) {
		EXPECT_EQ(getpriority(PRIO_PROCESS, 0), 5);
	}
	JOIN(p);
	EXPECT_OK(setpriority(PRIO_PROCESS, 0, 100)); /* as far as it goes */
	EXPECT_EQ(getpriority(PRIO_PROCESS, 0), 19);
	EXPECT_ERRNO(setpriority(9, 0, 1), EINVAL);
	EXPECT_ERRNO(getpriority(PRIO_PROCESS, 999999999), ESRCH);
	EXPECT_EQ(getpriority(PRIO_PGRP, 0), 19);
	needs_root();
	CHILD(q) {
		become_user(4321, 4321);
		EXPECT_ERRNO(setpriority(PRIO_PROCESS, 0, 10), EACCES);
		EXPECT_ERRNO(setpriority(PRIO_PROCESS, getppid(), 19), EPERM);
	}
	JOIN(q);
}

CASE(processors)
{
	cpu_set_t set, one;
	EXPECT_OK(sched_getaffinity(0, sizeof set, &set));
	CHECK(CPU_COUNT(&set) >= 1);
	unsigned cpu, node;
	EXPECT_OK(syscall(SYS_getcpu, &cpu, &node, NULL));
	CHECK(CPU_ISSET(cpu, &set));
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
		if (CPU_ISSET(i, &set))
			CPU_SET(i, &one);
	EXPECT_OK(sched_setaffinity(0, sizeof one, &one));
	EXPECT_OK(sched_getaffinity(0, sizeof set, &set));
	CHECK(CPU_EQUAL(&set, &one));
	EXPECT_OK(syscall(SYS_getcpu, &cpu, NULL, NULL));
	CHECK(CPU_ISSET(cpu, &one));
	CPU_ZERO(&one);
	EXPECT_ERRNO(sched_setaffinity(0, sizeof one, &one), EINVAL);
	EXPECT_ERRNO(sched_getaffinity(999999999, sizeof set, &set), ESRCH);
	EXPECT_ERRNO(syscall(SYS_sched_getaffinity, 0, 1, &set), EINVAL);
	EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
	EXPECT_EQ(sched_get_priority_max(SCHED_FIFO), 99);
	EXPECT_EQ(sched_get_priority_max(SCHED_OTHER), 0);
	EXPECT_ERRNO(sched_get_priority_max(99), EINVAL);
	EXPECT_OK(sched_yield());
}

CASE(the_system)
{
	struct sysinfo si;
	EXPECT_OK(sysinfo(&si));
	CHECK(si.uptime > 0 && si.procs > 0 && si.mem_unit > 0 && si.totalram > 0);
	CHECK(si.freeram <= si.totalram);
	EXPECT_ERRNO(syscall(SYS_sysinfo, 8), EFAULT);
	EXPECT_EQ(personality(0xffffffff), PER_LINUX);
	EXPECT_EQ(personality(ADDR_NO_RANDOMIZE), PER_LINUX);
	EXPECT_EQ(personality(0xffffffff), ADDR_NO_RANDOMIZE);
	CHILD(p) {
		EXPECT_EQ(personality(PER_LINUX), ADDR_NO_RANDOMIZE);
	}
	JOIN(p);
	EXPECT_EQ(personality(0xffffffff), ADDR_NO_RANDOMIZE);
}

/* ---- Threads. ---- */

static struct gate meeting;
static volatile int arrived;

static void *meet(void *arg)
{
	*(int *)arg = gettid();
	__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
	gate_wait(&meeting);
	return NULL;
}

CASE(two_hundred_threads)
{
	static int tids[200];
	pthread_t t[200];
	meeting = gate_new();
	for (int i = 0; i < 200; i++)
		t[i] = thread_start(meet, &tids[i]);
	while (arrived < 200)
		sleep_ms(1);
	int n = 0;
	CHECK(sscanf(strstr(get_file("/proc/self/status"), "\nThreads:"), "\nThreads: %d", &n) == 1);
	EXPECT_EQ(n, 201);
	for (int i = 0; i < 200; i++) {
		CHECK(tids[i] != getpid());
		for (int j = 0; j < i; j++)
			CHECK(tids[i] != tids[j]);
		EXPECT_OK(syscall(SYS_tgkill, getpid(), tids[i], 0));
	}
	for (int i = 0; i < 200; i++)
		gate_open(&meeting);
	for (int i = 0; i < 200; i++)
		thread_join(t[i]);
	EXPECT_ERRNO(syscall(SYS_tgkill, getpid(), tids[0], 0), ESRCH);
}

static void *change_own(void *arg)
{
	(void)arg;
	sigset_t s;
	EXPECT_OK(prctl(PR_SET_NAME, "thread"));
	EXPECT_OK(sigprocmask(SIG_BLOCK, NULL, &s));
	CHECK(sigismember(&s, SIGUSR1)); /* from who made it */
	sigemptyset(&s);
	EXPECT_OK(sigprocmask(SIG_SETMASK, &s, NULL));
	EXPECT_OK(chdir("d")); /* everybody's */
	return NULL;
}

CASE(of_one_thread_and_of_all)
{
	block(SIGUSR1);
	EXPECT_OK(mkdir("d", 0755));
	EXPECT_OK(prctl(PR_SET_NAME, "main"));
	thread_join(thread_start(change_own, NULL));
	char name[16];
	EXPECT_OK(prctl(PR_GET_NAME, name));
	EXPECT_STR(name, "main");
	sigset_t s;
	EXPECT_OK(sigprocmask(SIG_BLOCK, NULL, &s));
	CHECK(sigismember(&s, SIGUSR1));
	CHECK(!exists("d"));
}

static int end_at_once(void *arg)
{
	(void)arg;
	return 0;
}

CASE(tid_is_cleared_at_the_end)
{
	/* And a waiter woken: how joining works. */
	unsigned *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	*word = 1;
	CHILD(p) {
		EXPECT_EQ(syscall(SYS_set_tid_address, word), gettid());
	}
	JOIN(p);
	EXPECT_EQ(*word, 1); /* nobody else has the memory: not cleared */
	static char stack[65536] __attribute__((aligned(16)));
	pid_t q = EXPECT_OK(clone(end_at_once, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_CHILD_CLEARTID | SIGCHLD, NULL, NULL, NULL, word));
	EXPECT_EQ(*word, 0);
	JOIN(q);
}
