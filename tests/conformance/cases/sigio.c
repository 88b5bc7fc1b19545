/* Signals of I/O (O_ASYNC, F_SETOWN, F_SETSIG) on both sides of a terminal: who gets them, what they tell of, and what not. */
#include "terminal.h"
#include "waits.h"

/* ---- Who gets them. ---- */

static void wants_signals(int fd, int sig)
{
	block(sig ? sig : SIGIO);
	EXPECT_OK(fcntl(fd, F_SETOWN, getpid()));
	if (sig)
		EXPECT_OK(fcntl(fd, F_SETSIG, sig));
	EXPECT_OK(fcntl(fd, F_SETFL, O_ASYNC));
}

static siginfo_t signal_taken(int sig)
{
	sigset_t s;
	siginfo_t si;
	sigemptyset(&s);
	sigaddset(&s, sig);
	EXPECT_EQ(sigwaitinfo(&s, &si), sig);
	return si;
}

static void nothing_is_pending(int sig)
{
	sleep_ms(50);
	CHECK(!is_pending(sig));
}

CASE(sigio_bare)
{
	struct pty t = quiet();
	wants_signals(t.slave, 0);
	type(t.master, "line\n");
	EXPECT_EQ(signal_taken(SIGIO).si_code, SI_KERNEL); /* nobody asked for more by F_SETSIG */
	EXPECT_READ(t.slave, "line\n");
	wants_signals(t.master, 0);
	type(t.slave, "out");
	EXPECT_EQ(signal_taken(SIGIO).si_code, SI_KERNEL);
	EXPECT_COMES(t.master, "out");
}

CASE(sigio_with_a_descriptor)
{
	struct pty t = quiet();
	raw_mode(t.slave, 1, 0);
	wants_signals(t.slave, SIGRTMIN + 1);
	wants_signals(t.master, SIGRTMIN + 2);
	type(t.master, "x");
	siginfo_t si = signal_taken(SIGRTMIN + 1);
	EXPECT_EQ(si.si_fd, t.slave);
	EXPECT_EQ(si.si_code, POLL_IN);
	EXPECT_EQ(si.si_band, POLLIN | POLLRDNORM);
	EXPECT_READ(t.slave, "x");
	type(t.slave, "out");
	si = signal_taken(SIGRTMIN + 2);
	EXPECT_EQ(si.si_fd, t.master);
	EXPECT_EQ(si.si_code, POLL_IN);
	EXPECT_COMES(t.master, "out");
}

CASE(sigio_off_and_on)
{
	struct pty t = quiet();
	raw_mode(t.slave, 1, 0);
	int ends[] = {t.slave, t.master}, on = 1, off = 0;
	for (int i = 0; i < 2; i++) {
		int here = ends[i], there = ends[1 - i];
		wants_signals(here, 0);
		type(there, "a");
		signal_taken(SIGIO);
		EXPECT_OK(fcntl(here, F_SETFL, 0));
		type(there, "b");
		wait_readable(here, 2);
		nothing_is_pending(SIGIO);
		EXPECT_OK(ioctl(here, FIOASYNC, &on)); /* the other way to ask */
		CHECK(fcntl(here, F_GETFL) & O_ASYNC);
		type(there, "c");
		signal_taken(SIGIO);
		EXPECT_OK(ioctl(here, FIOASYNC, &off));
		CHECK(!(fcntl(here, F_GETFL) & O_ASYNC));
		type(there, "d");
		wait_readable(here, 4);
		nothing_is_pending(SIGIO);
	}
}

CASE(one_signal_for_one_description)
{
	/* However many descriptors there are, and each description that asked gets its own. */
	struct pty t = quiet();
	raw_mode(t.slave, 1, 0);
	int copy = EXPECT_OK(dup(t.slave)), other = EXPECT_OK(open(pty_name(t.master), O_RDWR | O_NOCTTY));
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	sigaddset(&set, SIGRTMIN + 2);
	EXPECT_OK(sigprocmask(SIG_BLOCK, &set, NULL));
	EXPECT_OK(fcntl(copy, F_SETSIG, SIGRTMIN + 1));
	EXPECT_OK(fcntl(other, F_SETSIG, SIGRTMIN + 2));
	EXPECT_OK(fcntl(t.slave, F_SETFL, O_ASYNC));
	EXPECT_OK(fcntl(other, F_SETFL, O_ASYNC));
	type(t.master, "x");
	siginfo_t si;
	EXPECT_EQ(sigwaitinfo(&set, &si), SIGRTMIN + 1);
	EXPECT_EQ(si.si_fd, t.slave); /* the descriptor that asked */
	EXPECT_EQ(sigwaitinfo(&set, &si), SIGRTMIN + 2);
	EXPECT_EQ(si.si_fd, other);
	EXPECT_ERRNO(sigtimedwait(&set, &si, &(struct timespec){0}), EAGAIN);
}

CASE(async_gives_the_terminal_an_owner)
{
	/* Asking for SIGIO makes the foreground group the owner, or the asker where there is no such group. */
	struct pty t = pty_new();
	EXPECT_OK(fcntl(t.slave, F_SETFL, O_ASYNC));
	EXPECT_EQ(fcntl(t.slave, F_GETOWN), getpid());
	struct pty u = pty_control();
	EXPECT_OK(fcntl(u.slave, F_SETFL, O_ASYNC));
	EXPECT_EQ(fcntl(u.slave, F_GETOWN), -getpgrp());
}

CASE(sigio_of_the_master_goes_to_who_asks)
{
	struct pty t = pty_control();
	block(SIGRTMIN + 3);
	EXPECT_OK(fcntl(t.master, F_SETSIG, SIGRTMIN + 3));
	EXPECT_OK(fcntl(t.master, F_SETFL, O_ASYNC | O_NONBLOCK));
	EXPECT_EQ(fcntl(t.master, F_GETOWN), getpid());
	type(t.slave, "out");
	EXPECT_EQ(signal_taken(SIGRTMIN + 3).si_fd, t.master);
}

CASE(signals_go_to_the_group_in_the_foreground)
{
	struct pty t = pty_control();
	raw_mode(t.slave, 1, 0);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	EXPECT_OK(sigprocmask(SIG_BLOCK, &set, NULL));
	EXPECT_OK(fcntl(t.slave, F_SETFL, O_ASYNC)); /* the group of now; a later one is not asked */
	struct gate ready = gate_new();
	CHILD(p) {
		gate_open(&ready);
		siginfo_t si;
		EXPECT_EQ(sigwaitinfo(&set, &si), SIGIO);
	}
	gate_wait(&ready);
	type(t.master, "x");
	siginfo_t si;
	EXPECT_EQ(sigwaitinfo(&set, &si), SIGIO);
	JOIN(p);
}

/* ---- What signals tell of, and what they do not. ---- */

/* Both sides tell by a signal of their own. */
static void both_want_signals(struct pty t)
{
	wants_signals(t.master, SIGRTMIN);
	wants_signals(t.slave, SIGRTMIN + 1);
	EXPECT_OK(fcntl(t.master, F_SETFL, O_ASYNC | O_NONBLOCK));
	EXPECT_OK(fcntl(t.slave, F_SETFL, O_ASYNC | O_NONBLOCK));
}

/* The next signal, or 0 if there is none within a while. */
static int next_signal(siginfo_t *si, int ms)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGRTMIN);
	sigaddset(&s, SIGRTMIN + 1);
	int sig = sigtimedwait(&s, si, &(struct timespec){ms / 1000, ms % 1000 * 1000000l});
	return sig > 0 ? sig : 0;
}

static void forget_signals(void)
{
	siginfo_t si;
	while (next_signal(&si, 50))
		;
}

#define EXPECT_NO_SIGNAL(call)                                                           \
	do {                                                                             \
		siginfo_t si_;                                                           \
		EXPECT_OK(call);                                                         \
		int sig_ = next_signal(&si_, 50);                                        \
		if (sig_)                                                                \
			FAIL("%s told %s", #call, sig_ == SIGRTMIN ? "the master" : "the slave"); \
	} while (0)

static void expect_signal(int sig, int code, long band)
{
	siginfo_t si;
	EXPECT_EQ(next_signal(&si, 8000), sig);
	EXPECT_EQ(si.si_code, code);
	EXPECT_EQ(si.si_band, band);
}

CASE(sigio_of_packets)
{
	struct pty t = quiet();
	int on = 1;
	EXPECT_OK(ioctl(t.master, TIOCPKT, &on));
	both_want_signals(t);
	EXPECT_NO_SIGNAL(tcflow(t.slave, TCOOFF));
	EXPECT_NO_SIGNAL(tcflow(t.slave, TCOON));
	EXPECT_NO_SIGNAL(tcflush(t.slave, TCIFLUSH));
	type(t.slave, "x");
	expect_signal(SIGRTMIN, POLL_IN, POLLIN | POLLRDNORM);
}

CASE(sigio_not_of_control)
{
	struct pty t = quiet();
	both_want_signals(t);
	struct termios tio;
	struct winsize size = {24, 80, 0, 0};
	EXPECT_OK(tcgetattr(t.slave, &tio));
	EXPECT_NO_SIGNAL(tcsetattr(t.slave, TCSANOW, &tio));
	tio.c_lflag &= ~ICANON;
	EXPECT_NO_SIGNAL(tcsetattr(t.slave, TCSAFLUSH, &tio));
	EXPECT_NO_SIGNAL(tcflush(t.slave, TCIFLUSH));
	EXPECT_NO_SIGNAL(tcflush(t.slave, TCOFLUSH));
	EXPECT_NO_SIGNAL(tcflush(t.master, TCIOFLUSH));
	EXPECT_NO_SIGNAL(tcflow(t.slave, TCOOFF));
	EXPECT_NO_SIGNAL(tcflow(t.slave, TCOON));
	EXPECT_NO_SIGNAL(ioctl(t.master, TIOCSWINSZ, &size));
}

CASE(sigio_not_of_room_nobody_missed)
{
	struct pty t = quiet();
	both_want_signals(t);
	type(t.slave, "out");
	expect_signal(SIGRTMIN, POLL_IN, POLLIN | POLLRDNORM);
	char buf[8];
	EXPECT_NO_SIGNAL(read(t.master, buf, sizeof buf));
	type(t.master, "line\n");
	expect_signal(SIGRTMIN + 1, POLL_IN, POLLIN | POLLRDNORM);
	EXPECT_NO_SIGNAL(read(t.slave, buf, sizeof buf));
	type(t.master, "half a line");
	siginfo_t si;
	EXPECT_EQ(next_signal(&si, 50), 0);
}

CASE(sigio_of_room_for_the_slave)
{
	struct pty t = quiet();
	both_want_signals(t);
	fill(t);
	forget_signals();
	char buf[8192];
	while (read(t.master, buf, sizeof buf) > 0)
		sleep_ms(5);
	siginfo_t si;
	int sig, seen = 0;
	while ((sig = next_signal(&si, seen ? 50 : 8000)))
		if (sig == SIGRTMIN + 1) {
			EXPECT_EQ(si.si_code, POLL_OUT);
			EXPECT_EQ(si.si_band, POLLOUT | POLLWRNORM | POLLWRBAND);
			seen++;
		}
	EXPECT_EQ(seen, 1);
}

CASE(sigio_of_room_for_the_master)
{
	struct pty t = quiet();
	raw_mode(t.slave, 1, 0);
	both_want_signals(t);
	static char block[4096];
	memset(block, 'b', sizeof block);
	for (int again = 0; again < 3; again++) {
		while (write(t.master, block, sizeof block) > 0)
			;
		EXPECT_EQ(errno, EAGAIN);
		sleep_ms(10);
	}
	forget_signals();
	EXPECT_OK(tcflush(t.slave, TCIFLUSH));
	siginfo_t si;
	while (next_signal(&si, 8000) != SIGRTMIN)
		;
	EXPECT_EQ(si.si_code, POLL_OUT);
	EXPECT_EQ(si.si_band, POLLOUT | POLLWRNORM | POLLWRBAND);
}

CASE(sigio_not_of_the_end)
{
	struct pty t = quiet();
	both_want_signals(t);
	EXPECT_NO_SIGNAL(close(t.slave));
	t = quiet();
	both_want_signals(t);
	EXPECT_NO_SIGNAL(close(t.master));
	EXPECT_EQ(fcntl(t.slave, F_GETFL) & O_ASYNC, 0); /* a hangup ends it */
	EXPECT_OK(fcntl(t.slave, F_SETFL, 0));
}

CASE(sigio_ends_with_a_hangup)
{
	needs_root();
	struct pty t = quiet();
	both_want_signals(t);
	EXPECT_NO_SIGNAL(ioctl(t.slave, TIOCVHANGUP));
	EXPECT_EQ(fcntl(t.slave, F_GETFL) & O_ASYNC, 0);
	EXPECT_EQ(fcntl(t.master, F_GETFL) & O_ASYNC, O_ASYNC);
	EXPECT_ERRNO(fcntl(t.slave, F_SETFL, O_ASYNC), ENOTTY);
}
