/* poll, select and epoll, on pipes, sockets, eventfds and each other. */
#include "../harness.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>

static void new_pipe(int p[2])
{
	EXPECT_OK(pipe(p));
}

static int watch(int ep, int op, int fd, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.u64 = fd};
	return epoll_ctl(ep, op, fd, &e);
}

/* The events of the one that is ready, 0 if none is. */
static uint32_t ready(int ep)
{
	struct epoll_event e = {0, {0}};
	int n = EXPECT_OK(epoll_wait(ep, &e, 1, 0));
	return n ? e.events : 0;
}

CASE(poll_basics)
{
	int p[2];
	new_pipe(p);
	struct pollfd f[4] = {{p[0], POLLIN, 9}, {p[1], POLLOUT, 9}, {-1, POLLIN, 9}, {99, POLLIN, 9}};
	EXPECT_EQ(poll(f, 4, -1), 2);
	EXPECT_EQ(f[0].revents, 0);
	EXPECT_EQ(f[1].revents, POLLOUT);
	EXPECT_EQ(f[2].revents, 0); /* negative: left out */
	EXPECT_EQ(f[3].revents, POLLNVAL);
	EXPECT_EQ(write(p[1], "x", 1), 1);
	f[0].events = POLLIN | POLLRDNORM | POLLPRI;
	EXPECT_EQ(poll(f, 1, -1), 1);
	EXPECT_EQ(f[0].revents, POLLIN | POLLRDNORM);
	f[0].events = 0;
	EXPECT_EQ(poll(f, 1, 0), 0);
	EXPECT_OK(close(p[1]));
	EXPECT_EQ(poll(f, 1, 0), 1);
	EXPECT_EQ(f[0].revents, POLLHUP); /* unasked */
	EXPECT_EQ(poll(NULL, 0, 0), 0);
	EXPECT_ERRNO(poll((void *)8, 1, 0), EFAULT);
}

CASE(poll_too_many)
{
	struct rlimit lim;
	EXPECT_OK(getrlimit(RLIMIT_NOFILE, &lim));
	lim.rlim_cur = 10;
	EXPECT_OK(setrlimit(RLIMIT_NOFILE, &lim));
	struct pollfd f[11];
	for (int i = 0; i < 11; i++)
		f[i] = (struct pollfd){-1, POLLIN, 0};
	EXPECT_EQ(poll(f, 10, 0), 0);
	EXPECT_ERRNO(poll(f, 11, 0), EINVAL);
}

CASE(poll_of_files)
{
	put_file("f", "");
	struct pollfd f[3] = {{EXPECT_OK(open("f", O_RDONLY)), POLLIN | POLLOUT, 0},
			      {EXPECT_OK(open(".", O_RDONLY)), POLLIN, 0},
			      {EXPECT_OK(open("/dev/null", O_RDONLY)), POLLIN | POLLOUT, 0}};
	EXPECT_EQ(poll(f, 3, 0), 3);
	EXPECT_EQ(f[0].revents, POLLIN | POLLOUT);
	EXPECT_EQ(f[1].revents, POLLIN);
	EXPECT_EQ(f[2].revents, POLLIN | POLLOUT);
	struct pollfd path = {EXPECT_OK(open("f", O_PATH)), POLLIN, 0};
	EXPECT_EQ(poll(&path, 1, 0), 1);
	EXPECT_EQ(path.revents, POLLNVAL);
}

CASE(timeouts)
{
	int p[2];
	new_pipe(p);
	struct pollfd f = {p[0], POLLIN, 0};
	int64_t start = now_ms();
	EXPECT_EQ(poll(&f, 1, 30), 0);
	CHECK(now_ms() - start >= 30);
	struct timespec ts = {0, 20000000}, bad = {0, 1000000000};
	start = now_ms();
	EXPECT_EQ(ppoll(&f, 1, &ts, NULL), 0);
	CHECK(now_ms() - start >= 20);
	EXPECT_ERRNO(ppoll(&f, 1, &bad, NULL), EINVAL);
	bad = (struct timespec){-1, 0};
	EXPECT_ERRNO(ppoll(&f, 1, &bad, NULL), EINVAL);
	int ep = EXPECT_OK(epoll_create1(0));
	struct epoll_event e;
	start = now_ms();
	EXPECT_EQ(epoll_wait(ep, &e, 1, 20), 0);
	CHECK(now_ms() - start >= 20);
	fd_set r;
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	struct timeval tv = {0, 20000};
	start = now_ms();
	EXPECT_EQ(select(p[0] + 1, &r, NULL, NULL, &tv), 0);
	CHECK(now_ms() - start >= 20);
	EXPECT_EQ(tv.tv_sec * 1000000 + tv.tv_usec, 0); /* Linux writes back what is left */
	CHECK(!FD_ISSET(p[0], &r));
}

CASE(interrupted)
{
	int p[2];
	new_pipe(p);
	struct pollfd f = {p[0], POLLIN, 0};
	interrupt_every(20);
	EXPECT_ERRNO(poll(&f, 1, -1), EINTR);
	EXPECT_ERRNO(poll(NULL, 0, 5000), EINTR);
	fd_set r;
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	EXPECT_ERRNO(select(p[0] + 1, &r, NULL, NULL, NULL), EINTR);
	CHECK(FD_ISSET(p[0], &r)); /* the sets are left alone */
	struct epoll_event e;
	EXPECT_ERRNO(epoll_wait(EXPECT_OK(epoll_create1(0)), &e, 1, -1), EINTR);
	/* SA_RESTART makes no difference to these. */
	count_signal(SIGALRM, SA_RESTART);
	EXPECT_ERRNO(poll(&f, 1, -1), EINTR);
	EXPECT_ERRNO(epoll_wait(EXPECT_OK(epoll_create1(0)), &e, 1, -1), EINTR);
}

CASE(signal_masks_of_ppoll_and_pselect)
{
	sigset_t block, none, now;
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	EXPECT_OK(sigprocmask(SIG_BLOCK, &block, NULL));
	count_signal(SIGUSR1, 0);
	EXPECT_OK(raise(SIGUSR1));
	EXPECT_EQ(signals_seen[SIGUSR1], 0);
	EXPECT_ERRNO(ppoll(NULL, 0, NULL, &none), EINTR);
	EXPECT_EQ(signals_seen[SIGUSR1], 1);
	EXPECT_OK(sigprocmask(SIG_SETMASK, NULL, &now));
	EXPECT_EQ(sigismember(&now, SIGUSR1), 1); /* the mask is back */
	EXPECT_OK(raise(SIGUSR1));
	EXPECT_ERRNO(pselect(0, NULL, NULL, NULL, NULL, &none), EINTR);
	EXPECT_EQ(signals_seen[SIGUSR1], 2);
	EXPECT_OK(raise(SIGUSR1));
	struct epoll_event e;
	EXPECT_ERRNO(epoll_pwait(EXPECT_OK(epoll_create1(0)), &e, 1, -1, &none), EINTR);
	EXPECT_EQ(signals_seen[SIGUSR1], 3);
	/* Readiness wins over a signal that waits. */
	int p[2];
	new_pipe(p);
	EXPECT_OK(raise(SIGUSR1));
	struct pollfd f = {p[1], POLLOUT, 0};
	EXPECT_EQ(ppoll(&f, 1, NULL, &none), 1);
	EXPECT_EQ(signals_seen[SIGUSR1], 3);
	EXPECT_OK(sigprocmask(SIG_SETMASK, &none, NULL));
	EXPECT_EQ(signals_seen[SIGUSR1], 4);
}

CASE(select_sets)
{
	int p[2];
	new_pipe(p);
	fd_set r, w, x;
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_ZERO(&x);
	FD_SET(p[0], &r);
	FD_SET(p[1], &w);
	FD_SET(p[0], &x);
	EXPECT_EQ(write(p[1], "x", 1), 1);
	EXPECT_EQ(select(p[1] + 1, &r, &w, &x, NULL), 2); /* counts bits */
	CHECK(FD_ISSET(p[0], &r) && FD_ISSET(p[1], &w) && !FD_ISSET(p[0], &x));
	FD_SET(99, &r);
	CHILD(small)
	{ /* a table starts with 64 slots; what lies beyond the table is not looked at */
		EXPECT_EQ(select(100, &r, NULL, NULL, NULL), 1);
		CHECK(FD_ISSET(p[0], &r) && FD_ISSET(99, &r));
	}
	JOIN(small);
	EXPECT_OK(close(EXPECT_OK(fcntl(p[0], F_DUPFD, 64)))); /* and once grown, it does not shrink */
	EXPECT_ERRNO(select(100, &r, NULL, NULL, NULL), EBADF);
	struct timeval zero = {0, 0};
	EXPECT_EQ(select(p[0] + 1, &r, NULL, NULL, &zero), 1); /* 99 lies beyond nfds */
	EXPECT_ERRNO(select(-1, NULL, NULL, NULL, &zero), EINVAL);
	struct timeval bad = {-1, 0};
	EXPECT_ERRNO(select(0, NULL, NULL, NULL, &bad), EINVAL);
	EXPECT_EQ(select(0, NULL, NULL, NULL, &zero), 0);
	EXPECT_OK(close(p[1]));
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	EXPECT_EQ(select(p[0] + 1, &r, NULL, NULL, NULL), 1); /* a hang-up is readable */
	new_pipe(p);
	EXPECT_OK(close(p[0]));
	FD_ZERO(&w);
	FD_SET(p[1], &w);
	EXPECT_EQ(select(p[1] + 1, NULL, &w, NULL, NULL), 1);
}

CASE(epoll_ctl_errors)
{
	int p[2], ep = EXPECT_OK(epoll_create1(0));
	new_pipe(p);
	put_file("f", "");
	EXPECT_ERRNO(epoll_create(0), EINVAL);
	EXPECT_ERRNO(epoll_create1(0x1), EINVAL);
	EXPECT_EQ(fcntl(EXPECT_OK(epoll_create1(EPOLL_CLOEXEC)), F_GETFD), FD_CLOEXEC);
	EXPECT_OK(watch(ep, EPOLL_CTL_ADD, p[0], EPOLLIN));
	EXPECT_ERRNO(watch(ep, EPOLL_CTL_ADD, p[0], EPOLLIN), EEXIST);
	EXPECT_ERRNO(watch(ep, EPOLL_CTL_MOD, p[1], EPOLLIN), ENOENT);
	EXPECT_ERRNO(watch(ep, EPOLL_CTL_DEL, p[1], 0), ENOENT);
	EXPECT_ERRNO(watch(ep, EPOLL_CTL_ADD, 99, EPOLLIN), EBADF);
	EXPECT_ERRNO(watch(99, EPOLL_CTL_ADD, p[1], EPOLLIN), EBADF);
	EXPECT_ERRNO(watch(p[0], EPOLL_CTL_ADD, p[1], EPOLLIN), EINVAL);
	EXPECT_ERRNO(watch(ep, EPOLL_CTL_ADD, ep, EPOLLIN), EINVAL);
	EXPECT_ERRNO(watch(ep, 9, p[1], EPOLLIN), EINVAL);
	EXPECT_ERRNO(watch(ep, EPOLL_CTL_ADD, EXPECT_OK(open("f", O_RDONLY)), EPOLLIN), EPERM);
	EXPECT_ERRNO(watch(ep, EPOLL_CTL_ADD, EXPECT_OK(open(".", O_RDONLY)), EPOLLIN), EPERM);
	EXPECT_ERRNO(epoll_ctl(ep, EPOLL_CTL_ADD, p[1], NULL), EFAULT);
	EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_DEL, p[0], NULL));
	struct epoll_event e;
	EXPECT_ERRNO(epoll_wait(ep, &e, 0, 0), EINVAL);
	EXPECT_ERRNO(epoll_wait(ep, &e, -1, 0), EINVAL);
	EXPECT_ERRNO(epoll_wait(p[0], &e, 1, 0), EINVAL);
	EXPECT_ERRNO(epoll_wait(99, &e, 1, 0), EBADF);
	char c;
	EXPECT_ERRNO(read(ep, &c, 1), EINVAL);
}

CASE(epoll_level)
{
	int p[2], ep = EXPECT_OK(epoll_create1(0));
	char c;
	new_pipe(p);
	EXPECT_OK(watch(ep, EPOLL_CTL_ADD, p[0], EPOLLIN));
	EXPECT_EQ(ready(ep), 0);
	EXPECT_EQ(write(p[1], "xy", 2), 2);
	EXPECT_EQ(ready(ep), EPOLLIN);
	EXPECT_EQ(ready(ep), EPOLLIN);
	EXPECT_EQ(read(p[0], &c, 1), 1);
	EXPECT_EQ(ready(ep), EPOLLIN);
	EXPECT_EQ(read(p[0], &c, 1), 1);
	EXPECT_EQ(ready(ep), 0);
	EXPECT_OK(close(p[1]));
	EXPECT_EQ(ready(ep), EPOLLHUP);
	EXPECT_OK(watch(ep, EPOLL_CTL_MOD, p[0], 0));
	EXPECT_EQ(ready(ep), EPOLLHUP); /* can't be turned off */
}

CASE(epoll_edge)
{
	int p[2], ep = EXPECT_OK(epoll_create1(0));
	char buf[8];
	new_pipe(p);
	EXPECT_EQ(write(p[1], "x", 1), 1);
	EXPECT_OK(watch(ep, EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLET));
	EXPECT_EQ(ready(ep), EPOLLIN); /* ready when it was added */
	EXPECT_EQ(ready(ep), 0);
	EXPECT_EQ(write(p[1], "y", 1), 1); /* each write is an edge, read or not */
	EXPECT_EQ(ready(ep), EPOLLIN);
	EXPECT_EQ(ready(ep), 0);
	EXPECT_EQ(read(p[0], buf, 1), 1); /* a partial read is none */
	EXPECT_EQ(ready(ep), 0);
	EXPECT_OK(watch(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLET)); /* looks afresh */
	EXPECT_EQ(ready(ep), EPOLLIN);
	EXPECT_EQ(read(p[0], buf, 8), 1);
	EXPECT_EQ(ready(ep), 0);
	EXPECT_EQ(write(p[1], "z", 1), 1);
	EXPECT_EQ(read(p[0], buf, 8), 1); /* the edge has gone by when it's asked for */
	EXPECT_EQ(ready(ep), 0);
	EXPECT_OK(close(p[1]));
	EXPECT_EQ(ready(ep), EPOLLHUP);
	EXPECT_EQ(ready(ep), 0);
}

CASE(epoll_oneshot)
{
	int p[2], ep = EXPECT_OK(epoll_create1(0));
	char c;
	new_pipe(p);
	EXPECT_OK(watch(ep, EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLONESHOT));
	EXPECT_EQ(write(p[1], "x", 1), 1);
	EXPECT_EQ(ready(ep), EPOLLIN);
	EXPECT_EQ(ready(ep), 0);
	EXPECT_EQ(write(p[1], "y", 1), 1);
	EXPECT_EQ(ready(ep), 0);
	EXPECT_OK(watch(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT));
	EXPECT_EQ(ready(ep), EPOLLIN);
	EXPECT_ERRNO(watch(ep, EPOLL_CTL_ADD, p[0], EPOLLIN), EEXIST); /* it's off, not gone */
	EXPECT_EQ(read(p[0], &c, 1), 1);
	EXPECT_OK(close(p[1]));
	EXPECT_EQ(ready(ep), 0); /* not even the hang-up */
}

CASE(epoll_exclusive)
{
	int p[2], ep = EXPECT_OK(epoll_create1(0)), in = EXPECT_OK(epoll_create1(0));
	new_pipe(p);
	EXPECT_OK(watch(ep, EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLEXCLUSIVE));
	EXPECT_EQ(write(p[1], "x", 1), 1);
	EXPECT_EQ(ready(ep), EPOLLIN);
	EXPECT_ERRNO(watch(ep, EPOLL_CTL_MOD, p[0], EPOLLIN), EINVAL);
	EXPECT_ERRNO(watch(ep, EPOLL_CTL_ADD, p[1], EPOLLOUT | EPOLLEXCLUSIVE | EPOLLONESHOT), EINVAL);
	EXPECT_OK(watch(ep, EPOLL_CTL_ADD, p[1], EPOLLOUT));
	EXPECT_ERRNO(watch(ep, EPOLL_CTL_MOD, p[1], EPOLLOUT | EPOLLEXCLUSIVE), EINVAL);
	EXPECT_ERRNO(watch(ep, EPOLL_CTL_ADD, in, EPOLLIN | EPOLLEXCLUSIVE), EINVAL);
}

CASE(epoll_nested)
{
	int p[2], inner = EXPECT_OK(epoll_create1(0)), outer = EXPECT_OK(epoll_create1(0));
	char c;
	new_pipe(p);
	EXPECT_OK(watch(inner, EPOLL_CTL_ADD, p[0], EPOLLIN));
	EXPECT_OK(watch(outer, EPOLL_CTL_ADD, inner, EPOLLIN));
	EXPECT_EQ(ready(outer), 0);
	EXPECT_EQ(write(p[1], "x", 1), 1);
	EXPECT_EQ(ready(outer), EPOLLIN);
	struct pollfd f = {outer, POLLIN, 0};
	EXPECT_EQ(poll(&f, 1, 0), 1);
	EXPECT_EQ(read(p[0], &c, 1), 1);
	EXPECT_EQ(ready(outer), 0);
	EXPECT_ERRNO(watch(inner, EPOLL_CTL_ADD, outer, EPOLLIN), ELOOP);
	/* Five deep at most. */
	int chain[7];
	for (int i = 0; i < 7; i++)
		chain[i] = EXPECT_OK(epoll_create1(0));
	int depth = 0;
	for (int i = 1; i < 7 && watch(chain[i], EPOLL_CTL_ADD, chain[i - 1], EPOLLIN) == 0; i++)
		depth = i;
	EXPECT_EQ(errno, ELOOP);
	RECORD("chain length", "%d", depth);
}

CASE(epoll_duplicates_and_closes)
{
	int p[2], ep = EXPECT_OK(epoll_create1(0));
	new_pipe(p);
	EXPECT_OK(watch(ep, EPOLL_CTL_ADD, p[0], EPOLLIN));
	int d = EXPECT_OK(dup(p[0]));
	EXPECT_OK(watch(ep, EPOLL_CTL_ADD, d, EPOLLIN)); /* another number: another entry */
	EXPECT_EQ(write(p[1], "x", 1), 1);
	struct epoll_event e[4];
	EXPECT_EQ(epoll_wait(ep, e, 4, 0), 2);
	EXPECT_OK(watch(ep, EPOLL_CTL_DEL, d, 0));
	EXPECT_OK(close(p[0])); /* the description lives on in d: the entry stays */
	EXPECT_EQ(epoll_wait(ep, e, 4, 0), 1);
	EXPECT_EQ(e[0].data.u64, p[0]);
	EXPECT_ERRNO(watch(ep, EPOLL_CTL_DEL, p[0], 0), EBADF); /* and can't be reached any more */
	EXPECT_OK(close(d));
	EXPECT_EQ(epoll_wait(ep, e, 4, 0), 0);
}

CASE(epoll_number_reused)
{
	int p[2], ep = EXPECT_OK(epoll_create1(0));
	new_pipe(p);
	EXPECT_OK(watch(ep, EPOLL_CTL_ADD, p[0], EPOLLIN));
	int d = EXPECT_OK(dup(p[0])), q[2];
	EXPECT_OK(close(p[0]));
	EXPECT_OK(pipe(q));
	EXPECT_EQ(q[0], p[0]);
	EXPECT_OK(watch(ep, EPOLL_CTL_ADD, q[0], EPOLLIN)); /* the same number, another description */
	EXPECT_EQ(write(p[1], "x", 1), 1);
	EXPECT_EQ(write(q[1], "x", 1), 1);
	struct epoll_event e[4];
	EXPECT_EQ(epoll_wait(ep, e, 4, 0), 2);
	EXPECT_OK(close(d));
}

CASE(epoll_is_shared_by_fork)
{
	int p[2], ep = EXPECT_OK(epoll_create1(0));
	new_pipe(p);
	CHILD(c) {
		EXPECT_OK(watch(ep, EPOLL_CTL_ADD, p[0], EPOLLIN));
	}
	JOIN(c);
	EXPECT_EQ(write(p[1], "x", 1), 1);
	EXPECT_EQ(ready(ep), EPOLLIN);
}

CASE(epoll_wakes_a_waiter)
{
	int p[2], ep = EXPECT_OK(epoll_create1(0));
	new_pipe(p);
	struct gate g = gate_new();
	CHILD(c) {
		struct epoll_event e;
		gate_open(&g);
		EXPECT_EQ(epoll_wait(ep, &e, 1, -1), 1); /* added while it waits */
		EXPECT_EQ(e.data.u64, p[0]);
	}
	gate_wait(&g);
	wait_asleep(c);
	EXPECT_OK(watch(ep, EPOLL_CTL_ADD, p[0], EPOLLIN));
	EXPECT_EQ(write(p[1], "x", 1), 1);
	JOIN(c);
}

CASE(epoll_turns)
{
	/* Those that are ready come in turn, so that none starves. */
	int ep = EXPECT_OK(epoll_create1(0)), fds[4];
	for (int i = 0; i < 4; i++) {
		fds[i] = EXPECT_OK(eventfd(1, 0));
		EXPECT_OK(watch(ep, EPOLL_CTL_ADD, fds[i], EPOLLIN));
	}
	struct epoll_event e;
	char order[32] = "";
	for (int i = 0; i < 8; i++) {
		EXPECT_EQ(epoll_wait(ep, &e, 1, 0), 1);
		order[i] = '0' + (int)e.data.u64 - fds[0];
	}
	EXPECT_STR(order, "01230123");
}

CASE(epoll_sockets)
{
	int s[2], ep = EXPECT_OK(epoll_create1(0));
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	EXPECT_OK(watch(ep, EPOLL_CTL_ADD, s[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET));
	EXPECT_EQ(ready(ep), EPOLLOUT);
	EXPECT_EQ(write(s[1], "x", 1), 1);
	EXPECT_EQ(ready(ep), EPOLLIN | EPOLLOUT);
	EXPECT_OK(shutdown(s[1], SHUT_WR));
	EXPECT_EQ(ready(ep), EPOLLIN | EPOLLOUT | EPOLLRDHUP);
	EXPECT_OK(close(s[1]));
	EXPECT_EQ(ready(ep), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP);
}

CASE(poll_of_sockets)
{
	int s[2];
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	struct pollfd f = {s[0], POLLIN | POLLOUT | POLLRDHUP, 0};
	EXPECT_EQ(poll(&f, 1, 0), 1);
	EXPECT_EQ(f.revents, POLLOUT);
	EXPECT_OK(close(s[1]));
	EXPECT_EQ(poll(&f, 1, 0), 1);
	EXPECT_EQ(f.revents, POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	int fresh = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
	f = (struct pollfd){fresh, POLLIN | POLLOUT, 0};
	EXPECT_EQ(poll(&f, 1, 0), 1);
	EXPECT_EQ(f.revents, POLLOUT | POLLHUP); /* not connected */
	fresh = EXPECT_OK(socket(AF_INET, SOCK_STREAM, 0));
	f = (struct pollfd){fresh, POLLIN | POLLOUT, 0};
	EXPECT_EQ(poll(&f, 1, 0), 1);
	EXPECT_EQ(f.revents, POLLOUT | POLLHUP);
	fresh = EXPECT_OK(socket(AF_INET, SOCK_DGRAM, 0));
	f = (struct pollfd){fresh, POLLIN | POLLOUT, 0};
	EXPECT_EQ(poll(&f, 1, 0), 1);
	EXPECT_EQ(f.revents, POLLOUT);
}

CASE(epoll_with_a_fine_timeout)
{
	int ep = EXPECT_OK(epoll_create1(0));
	struct epoll_event e;
	struct timespec ts = {0, 500000}, bad = {0, -1};
	if (syscall(441, ep, &e, 1, &ts, NULL, 0) < 0 && errno == ENOSYS)
		SKIP("no epoll_pwait2");
	EXPECT_EQ(syscall(441, ep, &e, 1, &ts, NULL, 0), 0);
	EXPECT_ERRNO(syscall(441, ep, &e, 1, &bad, NULL, 0), EINVAL);
}

CASE(many_at_once)
{
	enum { COUNT = 300 };
	static struct pollfd f[COUNT];
	int ep = EXPECT_OK(epoll_create1(0));
	for (int i = 0; i < COUNT; i++) {
		f[i] = (struct pollfd){EXPECT_OK(eventfd(i % 3 == 0, 0)), POLLIN, 0};
		EXPECT_OK(watch(ep, EPOLL_CTL_ADD, f[i].fd, EPOLLIN));
	}
	EXPECT_EQ(poll(f, COUNT, -1), COUNT / 3);
	for (int i = 0; i < COUNT; i++)
		EXPECT_EQ(f[i].revents, i % 3 == 0 ? POLLIN : 0);
	static struct epoll_event e[COUNT];
	EXPECT_EQ(epoll_wait(ep, e, COUNT, -1), COUNT / 3);
	EXPECT_EQ(epoll_wait(ep, e, 7, -1), 7);
}
