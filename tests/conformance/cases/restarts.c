/* What an interrupted call does: it is restarted, ends with EINTR, or returns what it has done, each as Linux has it. */
#include "waits.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/un.h>

/* ---- Each call is made by a process that blocks in it and is signalled until it is through with it. ---- */

static volatile int *calls; /* shared: handlers run by the child */

static void count_call(int sig)
{
	(void)sig;
	++*calls;
}

static void signals_here(int flags)
{
	struct sigaction sa = {.sa_handler = count_call, .sa_flags = flags};
	EXPECT_OK(sigaction(SIGUSR1, &sa, NULL));
}

static void share_count(void)
{
	calls = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(calls != MAP_FAILED);
}

/* Signals a child that blocks (or is about to) and waits for its handler. */
static void poke(pid_t p)
{
	int before = *calls;
	wait_asleep(p);
	EXPECT_OK(kill(p, SIGUSR1));
	while (*calls == before)
		sleep_ms(1);
	wait_asleep(p);
}

/* The same for a child that is through after one signal which finds it blocked. */
static void poke_until_done(pid_t p)
{
	int status;
	do {
		wait_asleep(p);
		EXPECT_OK(kill(p, SIGUSR1));
		sleep_ms(5);
	} while (EXPECT_OK(waitpid(p, &status, WNOHANG)) == 0);
	EXPECT_EQ(status, 0);
}

/* The call must give EINTR, although it would have come to an end otherwise. */
#define EXPECT_EINTR(flags, call)                                                        \
	do {                                                                             \
		int64_t until_ = now_ms() + 8000;                                        \
		signals_here(flags);                                                     \
		struct itimerval it_ = {{0, 20000}, {0, 20000}};                         \
		count_signal(SIGALRM, flags);                                            \
		EXPECT_OK(setitimer(ITIMER_REAL, &it_, NULL));                           \
		EXPECT_ERRNO(call, EINTR);                                               \
		interrupt_stop();                                                        \
		CHECK(now_ms() < until_);                                                \
	} while (0)

CASE(read_of_a_pipe)
{
	int p[2];
	char c;
	share_count();
	EXPECT_OK(pipe(p));
	EXPECT_EINTR(0, read(p[0], &c, 1));
	signals_here(SA_RESTART);
	CHILD(q) {
		EXPECT_EQ(read(p[0], &c, 1), 1);
		EXPECT_EQ(c, 'r');
	}
	poke(q);
	poke(q);
	EXPECT_EQ(write(p[1], "r", 1), 1);
	JOIN(q);
}

CASE(write_of_a_pipe)
{
	int p[2];
	static char block[70000];
	EXPECT_OK(pipe(p));
	interrupt_every(20);
	EXPECT_EQ(write(p[1], block, sizeof block), 65536); /* so far it had come */
	EXPECT_ERRNO(write(p[1], block, 1), EINTR);
	interrupt_stop();
	share_count();
	signals_here(SA_RESTART);
	CHILD(q) {
		EXPECT_EQ(write(p[1], block, 65537), 65537);
	}
	poke(q);
	EXPECT_EQ(read(p[0], block, 65536), 65536);
	EXPECT_EQ(read(p[0], block, 1), 1);
	for (int left = 65536; left > 0;)
		left -= EXPECT_OK(read(p[0], block, 65536));
	JOIN(q);
}

CASE(restarted_after_part_is_short)
{
	/* Once something is done, restarting would do it twice: the count is returned even with SA_RESTART. */
	int p[2];
	static char block[70000];
	share_count();
	EXPECT_OK(pipe(p));
	signals_here(SA_RESTART);
	CHILD(q) {
		EXPECT_EQ(write(p[1], block, sizeof block), 65536);
	}
	poke_until_done(q);
}

CASE(sockets)
{
	int s[2];
	char c;
	share_count();
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	EXPECT_EINTR(0, recv(s[0], &c, 1, 0));
	EXPECT_EINTR(0, read(s[0], &c, 1));
	signals_here(SA_RESTART);
	CHILD(p) {
		EXPECT_EQ(recv(s[0], &c, 1, 0), 1);
	}
	poke(p);
	EXPECT_EQ(write(s[1], "x", 1), 1);
	JOIN(p);
	struct timeval tv = {60, 0}; /* with a time limit it is never restarted */
	EXPECT_OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	EXPECT_EINTR(SA_RESTART, recv(s[0], &c, 1, 0));
}

CASE(accepting)
{
	share_count();
	struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "s"};
	int l = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
	EXPECT_OK(bind(l, (void *)&name, sizeof name));
	EXPECT_OK(listen(l, 1));
	EXPECT_EINTR(0, accept(l, NULL, NULL));
	signals_here(SA_RESTART);
	CHILD(p) {
		EXPECT_OK(accept(l, NULL, NULL));
	}
	poke(p);
	int c = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
	EXPECT_OK(connect(c, (void *)&name, sizeof name));
	JOIN(p);
}

CASE(waiting_for_children)
{
	struct gate go = gate_new();
	share_count();
	CHILD(idle) {
		gate_wait(&go);
	}
	EXPECT_EINTR(0, waitpid(idle, NULL, 0));
	EXPECT_EINTR(0, waitid(P_PID, idle, NULL, WEXITED));
	signals_here(SA_RESTART);
	CHILD(p) {
		CHILD(q) {
			gate_wait(&go);
		}
		EXPECT_EQ(waitpid(q, NULL, 0), q);
	}
	poke(p);
	gate_open(&go);
	gate_open(&go);
	JOIN(p);
	JOIN(idle);
}

CASE(never_restarted)
{
	struct pollfd none = {-1, POLLIN, 0};
	struct epoll_event e;
	struct timespec limit = {60, 0};
	struct timeval tv = {60, 0};
	int ep = EXPECT_OK(epoll_create1(0));
	sigset_t empty;
	sigemptyset(&empty);
	EXPECT_EINTR(SA_RESTART, poll(&none, 1, -1));
	EXPECT_EINTR(SA_RESTART, poll(&none, 1, 60000));
	EXPECT_EINTR(SA_RESTART, ppoll(&none, 1, &limit, &empty));
	EXPECT_EINTR(SA_RESTART, select(0, NULL, NULL, NULL, &tv));
	EXPECT_EINTR(SA_RESTART, pselect(0, NULL, NULL, NULL, NULL, &empty));
	EXPECT_EINTR(SA_RESTART, epoll_wait(ep, &e, 1, -1));
	EXPECT_EINTR(SA_RESTART, epoll_pwait(ep, &e, 1, 60000, &empty));
	EXPECT_EINTR(SA_RESTART, sigsuspend(&empty));
	EXPECT_EINTR(SA_RESTART, pause());
	EXPECT_EINTR(SA_RESTART, nanosleep(&limit, NULL));
	EXPECT_EINTR(SA_RESTART, sigtimedwait(&empty, NULL, &limit));
}

CASE(select_tells_the_time_left)
{
	struct timeval tv = {60, 0};
	interrupt_every(20);
	EXPECT_ERRNO(select(0, NULL, NULL, NULL, &tv), EINTR);
	interrupt_stop();
	CHECK(tv.tv_sec == 59 && tv.tv_usec > 0); /* Linux says what is left */
}

CASE(futex_waits)
{
	int word = 0;
	struct timespec limit = {60, 0};
	EXPECT_EINTR(0, syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0));
	EXPECT_EINTR(0, syscall(SYS_futex, &word, FUTEX_WAIT, 0, &limit, NULL, 0));
	share_count();
	int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	signals_here(SA_RESTART);
	CHILD(p) {
		long r = syscall(SYS_futex, shared, FUTEX_WAIT, 0, NULL, NULL, 0);
		CHECK(r == 0 || errno == EAGAIN);
		EXPECT_EQ(*shared, 1);
	}
	poke(p);
	*shared = 1;
	EXPECT_OK(syscall(SYS_futex, shared, FUTEX_WAKE, 1, NULL, NULL, 0));
	JOIN(p);
}

CASE(other_waits)
{
	char buf[8];
	int e = EXPECT_OK(eventfd(0, 0)), f;
	EXPECT_EINTR(0, read(e, buf, 8));
	EXPECT_OK(mkfifo("fifo", 0600));
	EXPECT_EINTR(0, open("fifo", O_RDONLY));
	f = EXPECT_OK(open("lock", O_RDWR | O_CREAT, 0600));
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct gate held = gate_new(), go = gate_new();
	CHILD(p) {
		EXPECT_OK(fcntl(f, F_SETLK, &lock));
		gate_open(&held);
		gate_wait(&go);
	}
	gate_wait(&held);
	EXPECT_EINTR(0, fcntl(f, F_SETLKW, &lock));
	gate_open(&go);
	JOIN(p);
}

CASE(stopping_restarts_what_a_handler_would_end)
{
	/* A stop and its SIGCONT without a handler are no interruption to poll and the like. */
	struct gate go = gate_new();
	CHILD(p) {
		struct pollfd f = {go.fd[0], POLLIN, 0};
		EXPECT_EQ(poll(&f, 1, -1), 1);
		EXPECT_EQ(poll(&f, 1, 60000), 1);
	}
	wait_asleep(p);
	for (int i = 0; i < 3; i++) {
		EXPECT_OK(kill(p, SIGSTOP));
		expect_stopped(p, SIGSTOP);
		EXPECT_OK(kill(p, SIGCONT));
		expect_continued(p);
	}
	gate_open(&go);
	JOIN(p);
}

CASE(stopping_ends_some_waits)
{
	/* Some give EINTR even for a stop; epoll_wait is one. */
	CHILD(p) {
		int ep = EXPECT_OK(epoll_create1(0));
		struct epoll_event e;
		EXPECT_ERRNO(epoll_wait(ep, &e, 1, -1), EINTR);
	}
	/* It may not have got there yet: again until it is through. */
	int status;
	for (;;) {
		wait_asleep(p);
		EXPECT_OK(kill(p, SIGSTOP));
		EXPECT_EQ(waitpid(p, &status, WUNTRACED), p);
		if (!WIFSTOPPED(status))
			break;
		EXPECT_OK(kill(p, SIGCONT));
		sleep_ms(1);
		if (waitpid(p, &status, WNOHANG) == p)
			break;
	}
	EXPECT_EQ(status, 0);
}

CASE(ignored_signals_do_not_interrupt)
{
	struct gate go = gate_new();
	CHILD(p) {
		signal(SIGUSR1, SIG_IGN);
		gate_open(&go);
		struct timespec ts = {0, 100000000};
		EXPECT_OK(nanosleep(&ts, NULL));
		EXPECT_EQ(poll(NULL, 0, 20), 0);
	}
	gate_wait(&go);
	for (int i = 0; i < 20; i++) {
		EXPECT_OK(kill(p, SIGUSR1));
		EXPECT_OK(kill(p, SIGWINCH));
		EXPECT_OK(kill(p, SIGCONT));
		sleep_ms(2);
	}
	JOIN(p);
}

static int replaced, replacement;

static void replace(int sig)
{
	(void)sig;
	dup2(replacement, replaced);
	++*calls;
}

CASE(a_restarted_read_looks_the_descriptor_up_again)
{
	share_count();
	int p[2], r[2];
	EXPECT_OK(pipe(p));
	EXPECT_OK(pipe(r));
	EXPECT_EQ(write(r[1], "n", 1), 1);
	replaced = p[0];
	replacement = r[0];
	struct sigaction sa = {.sa_handler = replace, .sa_flags = SA_RESTART};
	EXPECT_OK(sigaction(SIGUSR1, &sa, NULL));
	CHILD(q) {
		char c;
		EXPECT_EQ(read(p[0], &c, 1), 1);
		EXPECT_EQ(c, 'n');
	}
	poke_until_done(q);
}

CASE(a_continued_read_is_interrupted_however_soon)
{
	/* A handler of SIGCONT without SA_RESTART ends the call that the stop interrupted. */
	share_count();
	struct sigaction sa = {.sa_handler = count_call};
	EXPECT_OK(sigaction(SIGCONT, &sa, NULL));
	int p[2];
	EXPECT_OK(pipe(p));
	for (int i = 0; i < 50; i++) {
		CHILD(q) {
			char c;
			alarm(5);
			EXPECT_ERRNO(read(p[0], &c, 1), EINTR);
		}
		wait_asleep(q);
		EXPECT_OK(kill(q, SIGSTOP));
		int status;
		EXPECT_EQ(waitpid(q, &status, WUNTRACED), q);
		CHECK(WIFSTOPPED(status));
		EXPECT_OK(kill(q, SIGCONT));
		JOIN(q);
	}
}
