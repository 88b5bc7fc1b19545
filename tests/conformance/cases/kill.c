/* Who may signal whom, and whom a number names. */
#include "waits.h"

CASE(kill_errors)
{
	EXPECT_ERRNO(kill(getpid(), 65), EINVAL);
	EXPECT_ERRNO(kill(getpid(), -1), EINVAL);
	EXPECT_ERRNO(kill(999999999, 0), ESRCH);
	EXPECT_ERRNO(kill(-999999999, 0), ESRCH);
	EXPECT_ERRNO(kill(INT_MIN, 0), ESRCH);
	EXPECT_OK(kill(getpid(), 0));
	EXPECT_OK(kill(0, 0));
	EXPECT_OK(kill(-getpgrp(), 0));
	EXPECT_ERRNO(syscall(SYS_tgkill, getpid(), 0, 0), EINVAL);
	EXPECT_ERRNO(syscall(SYS_tgkill, 0, gettid(), 0), EINVAL);
	EXPECT_ERRNO(syscall(SYS_tgkill, getppid(), gettid(), 0), ESRCH);
	EXPECT_ERRNO(syscall(SYS_tgkill, getpid(), gettid(), 65), EINVAL);
	EXPECT_ERRNO(syscall(SYS_tkill, 0, 0), EINVAL);
	EXPECT_ERRNO(syscall(SYS_tkill, 999999999, 0), ESRCH);
	CHILD(z) {
	}
	siginfo_t si;
	EXPECT_OK(waitid(P_PID, z, &si, WEXITED | WNOWAIT));
	EXPECT_OK(kill(z, 0)); /* a zombie still has its number */
	EXPECT_OK(kill(z, SIGKILL));
	JOIN(z);
	EXPECT_ERRNO(kill(z, 0), ESRCH);
}

CASE(kill_a_group)
{
	struct gate ready = gate_new();
	CHILD(p) {
		EXPECT_OK(setpgid(0, 0));
		CHILD(q) {
			gate_open(&ready);
			for (;;)
				pause();
		}
		gate_open(&ready);
		EXPECT_KILLED(q, SIGUSR1);
		for (;;)
			pause();
	}
	gate_wait(&ready);
	gate_wait(&ready);
	EXPECT_OK(kill(-p, SIGUSR1));
	EXPECT_KILLED(p, SIGUSR1);
}

CASE(kill_the_own_group)
{
	CHILD(p) {
		EXPECT_OK(setpgid(0, 0));
		block(SIGUSR1);
		CHILD(q) {
			take_signal(SIGUSR1);
		}
		EXPECT_OK(kill(0, SIGUSR1));
		CHECK(is_pending(SIGUSR1)); /* ourselves too */
		JOIN(q);
	}
	JOIN(p);
}

CASE(permission)
{
	needs_root();
	block(SIGUSR1);
	pid_t root = getpid();
	struct gate ready = gate_new(), go = gate_new();
	CHILD(other) {
		become_user(2002, 2002);
		gate_open(&ready);
		gate_wait(&go);
	}
	gate_wait(&ready);
	CHILD(p) {
		become_user(2001, 2001);
		EXPECT_ERRNO(kill(root, SIGUSR1), EPERM);
		EXPECT_ERRNO(kill(root, 0), EPERM);
		EXPECT_ERRNO(kill(other, SIGUSR1), EPERM);
		EXPECT_ERRNO(syscall(SYS_tgkill, root, root, SIGUSR1), EPERM);
		EXPECT_ERRNO(sigqueue(root, SIGUSR1, (union sigval){0}), EPERM);
		EXPECT_OK(kill(root, SIGCONT)); /* in one session always */
		EXPECT_OK(kill(0, 0)); /* one of the group can be signalled: ourselves */
		EXPECT_OK(setpgid(0, 0));
		EXPECT_ERRNO(kill(-root, 0), EPERM);
		EXPECT_OK(setsid() == -1 && errno == EPERM ? 0 : -1);
		CHILD(q) {
			EXPECT_OK(setsid());
			EXPECT_ERRNO(kill(root, SIGCONT), EPERM);
			EXPECT_OK(kill(getppid(), 0));
		}
		JOIN(q);
	}
	JOIN(p);
	CHECK(!is_pending(SIGUSR1));
	CHILD(r) {
		EXPECT_OK(setresuid(2002, 0, 0)); /* the real id counts on our side */
		EXPECT_OK(setresuid(-1, 2001, 0));
		EXPECT_OK(kill(other, 0));
	}
	JOIN(r);
	gate_open(&go);
	JOIN(other);
}

CASE(kill_all_spares_the_caller)
{
	/* As a user with one process more, so that nobody else is hit. */
	needs_root();
	struct gate ready = gate_new();
	CHILD(a) {
		become_user(54987, 54987);
		gate_open(&ready);
		for (;;)
			pause();
	}
	gate_wait(&ready);
	CHILD(b) {
		become_user(54987, 54987);
		EXPECT_OK(kill(-1, SIGTERM));
		_exit(3);
	}
	EXPECT_EXIT(b, 3);
	EXPECT_KILLED(a, SIGTERM);
	CHILD(c) {
		become_user(54988, 54988);
		EXPECT_OK(kill(-1, SIGTERM)); /* nobody could be, which is no error */
	}
	JOIN(c);
}

CASE(a_fatal_signal_ends_a_killable_wait)
{
	pid_t second;
	int p2[2];
	EXPECT_OK(pipe(p2));
	CHILD(p) {
		pid_t q = vfork();
		if (q == 0) {
			pid_t me = getpid();
			EXPECT_EQ(write(p2[1], &me, sizeof me), sizeof me);
			for (;;)
				pause();
		}
	}
	EXPECT_EQ(read(p2[0], &second, sizeof second), sizeof second);
	EXPECT_OK(kill(p, SIGTERM));
	EXPECT_KILLED(p, SIGTERM); /* though it waited for its child */
	EXPECT_OK(kill(second, SIGKILL));
}

CASE(a_stopped_process_ends_when_it_goes_on)
{
	CHILD(p) {
		for (;;)
			raise(SIGSTOP);
	}
	expect_stopped(p, SIGSTOP);
	EXPECT_OK(kill(p, SIGTERM));
	EXPECT_EQ(waitpid(p, NULL, WNOHANG), 0);
	EXPECT_OK(kill(p, SIGCONT));
	EXPECT_KILLED(p, SIGTERM);
}

static void *taker(void *ready)
{
	sigset_t none;
	sigemptyset(&none);
	EXPECT_OK(pthread_sigmask(SIG_SETMASK, &none, NULL));
	gate_open(ready);
	for (;;)
		pause();
}

CASE(a_fatal_signal_ends_all_threads)
{
	struct gate ready = gate_new();
	CHILD(p) {
		block(SIGTERM);
		thread_start(taker, &ready);
		for (;;)
			pause();
	}
	gate_wait(&ready);
	EXPECT_OK(kill(p, SIGTERM)); /* for the thread that does not block it */
	EXPECT_KILLED(p, SIGTERM);
}
