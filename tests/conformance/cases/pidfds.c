/* pidfd_open(2) and what is done through a pidfd. */
#include "../harness.h"
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define P_PIDFD_ 3

static int pidfd_open_(pid_t pid, unsigned flags)
{
	return syscall(SYS_pidfd_open, pid, flags);
}

static int pidfd_send_signal_(int fd, int sig, siginfo_t *si, unsigned flags)
{
	return syscall(SYS_pidfd_send_signal, fd, sig, si, flags);
}

CASE(pidfd_errors)
{
	EXPECT_ERRNO(pidfd_open_(0, 0), EINVAL);
	EXPECT_ERRNO(pidfd_open_(-1, 0), EINVAL);
	EXPECT_ERRNO(pidfd_open_(4194303, 0), ESRCH);
	EXPECT_ERRNO(pidfd_open_(getpid(), 1), EINVAL);
	int fd = EXPECT_OK(pidfd_open_(getpid(), 0));
	EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	EXPECT_EQ(fcntl(fd, F_GETFL), O_RDWR);
	char c;
	EXPECT_ERRNO(read(fd, &c, 1), EINVAL);
	EXPECT_ERRNO(write(fd, &c, 1), EINVAL);
	EXPECT_OK(pidfd_send_signal_(fd, 0, NULL, 0));
	EXPECT_ERRNO(pidfd_send_signal_(fd, 65, NULL, 0), EINVAL);
	EXPECT_ERRNO(pidfd_send_signal_(fd, 0, NULL, 8), EINVAL);
	EXPECT_ERRNO(pidfd_send_signal_(0, 0, NULL, 0), EBADF);
	EXPECT_ERRNO(pidfd_send_signal_(99, 0, NULL, 0), EBADF);
	siginfo_t si = {.si_signo = SIGUSR2, .si_code = SI_QUEUE};
	EXPECT_ERRNO(pidfd_send_signal_(fd, SIGUSR1, &si, 0), EINVAL);
	count_signal(SIGUSR2, 0);
	EXPECT_OK(pidfd_send_signal_(fd, SIGUSR2, &si, 0));
	EXPECT_EQ(signals_seen[SIGUSR2], 1);
}

CASE(pidfd_tells_of_the_end)
{
	struct gate g = gate_new();
	CHILD(p) {
		gate_wait(&g);
		_exit(3);
	}
	int fd = EXPECT_OK(pidfd_open_(p, 0));
	struct pollfd f = {fd, POLLIN, 0};
	EXPECT_EQ(poll(&f, 1, 0), 0);
	int ep = EXPECT_OK(epoll_create1(0));
	struct epoll_event e = {EPOLLIN, {.u32 = 7}};
	EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
	EXPECT_EQ(epoll_wait(ep, &e, 1, 0), 0);
	siginfo_t si = {0};
	EXPECT_OK(waitid(P_PIDFD_, fd, &si, WEXITED | WNOHANG));
	EXPECT_EQ(si.si_pid, 0);
	gate_open(&g);
	EXPECT_EQ(poll(&f, 1, -1), 1);
	EXPECT_EQ(f.revents, POLLIN);
	EXPECT_EQ(epoll_wait(ep, &e, 1, -1), 1);
	EXPECT_EQ(e.data.u32, 7);
	EXPECT_OK(pidfd_send_signal_(fd, SIGKILL, NULL, 0)); /* a zombie still takes it */
	EXPECT_OK(waitid(P_PIDFD_, fd, &si, WEXITED | WNOWAIT));
	EXPECT_OK(waitid(P_PIDFD_, fd, &si, WEXITED));
	EXPECT_EQ(si.si_pid, p);
	EXPECT_EQ(si.si_code, CLD_EXITED);
	EXPECT_EQ(si.si_status, 3);
	EXPECT_ERRNO(waitid(P_PIDFD_, fd, &si, WEXITED), ECHILD);
	EXPECT_ERRNO(pidfd_send_signal_(fd, 0, NULL, 0), ESRCH);
	EXPECT_EQ(poll(&f, 1, 0), 1);
	EXPECT_ERRNO(waitid(P_PIDFD_, ep, &si, WEXITED), EBADF);
	EXPECT_ERRNO(waitid(P_PIDFD_, -1, &si, WEXITED), EINVAL);
}

CASE(pidfd_non_blocking_wait)
{
	CHILD(p) pause();
	int fd = EXPECT_OK(pidfd_open_(p, O_NONBLOCK));
	siginfo_t si = {0};
	EXPECT_ERRNO(waitid(P_PIDFD_, fd, &si, WEXITED), EAGAIN);
	EXPECT_OK(waitid(P_PIDFD_, fd, &si, WEXITED | WNOHANG));
	EXPECT_OK(pidfd_send_signal_(fd, SIGTERM, NULL, 0));
	struct pollfd f = {fd, POLLIN, 0};
	EXPECT_EQ(poll(&f, 1, -1), 1);
	EXPECT_OK(waitid(P_PIDFD_, fd, &si, WEXITED));
	EXPECT_EQ(si.si_status, SIGTERM);
}

CASE(pidfd_from_clone)
{
	int fd = -1;
	struct clone_args a = {.flags = CLONE_PIDFD, .pidfd = (uintptr_t)&fd, .exit_signal = SIGCHLD};
	pid_t p = EXPECT_OK(syscall(SYS_clone3, &a, sizeof a));
	if (p == 0)
		_exit(9);
	CHECK(fd > 2);
	EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	siginfo_t si = {0};
	EXPECT_OK(waitid(P_PIDFD_, fd, &si, WEXITED));
	EXPECT_EQ(si.si_pid, p);
	EXPECT_EQ(si.si_status, 9);
}

CASE(pidfd_takes_descriptors)
{
	struct gate ready = gate_new(), done = gate_new();
	CHILD(p) {
		int fd = EXPECT_OK(eventfd(41, 0));
		EXPECT_EQ(dup2(fd, 50), 50);
		gate_open(&ready);
		gate_wait(&done);
	}
	gate_wait(&ready);
	int fd = EXPECT_OK(pidfd_open_(p, 0));
	EXPECT_ERRNO(syscall(SYS_pidfd_getfd, fd, 51, 0), EBADF);
	EXPECT_ERRNO(syscall(SYS_pidfd_getfd, fd, 50, 1), EINVAL);
	EXPECT_ERRNO(syscall(SYS_pidfd_getfd, 0, 50, 0), EBADF);
	int got = EXPECT_OK(syscall(SYS_pidfd_getfd, fd, 50, 0));
	EXPECT_EQ(fcntl(got, F_GETFD), FD_CLOEXEC);
	uint64_t v;
	EXPECT_EQ(read(got, &v, 8), 8);
	EXPECT_EQ(v, 41);
	gate_open(&done);
	JOIN(p);
	EXPECT_ERRNO(syscall(SYS_pidfd_getfd, fd, 50, 0), ESRCH);
}
