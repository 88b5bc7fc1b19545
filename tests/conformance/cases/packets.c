/* The master in packet mode, and the signals of I/O on both sides. */
#include "terminal.h"
#include "waits.h"

static struct pty packets(void)
{
	struct pty t = quiet();
	int on = 1;
	EXPECT_OK(ioctl(t.master, TIOCPKT, &on));
	return t;
}

static int status_of(int master)
{
	unsigned char buf[64];
	EXPECT_OK(fcntl(master, F_SETFL, 0));
	EXPECT_EQ(read(master, buf, sizeof buf), 1);
	return buf[0];
}

CASE(packet_of_data)
{
	struct pty t = packets();
	char buf[8];
	type(t.slave, "abc");
	wait_for(t.master, POLLIN);
	EXPECT_EQ(read(t.master, buf, 2), 2); /* the status byte counts */
	EXPECT_EQ(buf[0], TIOCPKT_DATA);
	EXPECT_EQ(buf[1], 'a');
	EXPECT_EQ(read(t.master, buf, sizeof buf), 3);
	EXPECT_EQ(buf[0], TIOCPKT_DATA);
	EXPECT_EQ(buf[2], 'c');
}

CASE(packet_statuses_add_up)
{
	struct pty t = packets();
	EXPECT_OK(tcflush(t.slave, TCIFLUSH));
	EXPECT_OK(tcflush(t.slave, TCOFLUSH));
	EXPECT_OK(tcflow(t.slave, TCOOFF));
	EXPECT_EQ(status_of(t.master), TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE | TIOCPKT_STOP);
	EXPECT_EQ(events_now(t.master, POLLIN | POLLPRI), 0);
}

CASE(packet_stop_and_start_cancel)
{
	struct pty t = packets();
	EXPECT_OK(tcflow(t.slave, TCOOFF));
	EXPECT_OK(tcflow(t.slave, TCOON));
	EXPECT_EQ(status_of(t.master), TIOCPKT_START);
}

CASE(packet_of_both_queues)
{
	struct pty t = packets();
	EXPECT_OK(tcflush(t.slave, TCIOFLUSH));
	EXPECT_EQ(status_of(t.master), TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE);
}

CASE(packet_of_flow_keys_that_change)
{
	struct pty t = packets();
	control_char(t.slave, VSTOP, 's');
	EXPECT_EQ(status_of(t.master), TIOCPKT_NOSTOP);
	control_char(t.slave, VSTOP, 19);
	EXPECT_EQ(status_of(t.master), TIOCPKT_DOSTOP);
}

CASE(packet_of_extproc)
{
	struct pty t = packets();
	local_flags(t.slave, 0, EXTPROC);
	EXPECT_EQ(status_of(t.master) & TIOCPKT_IOCTL, TIOCPKT_IOCTL);
	local_flags(t.slave, ISIG, 0); /* each change of settings */
	EXPECT_EQ(status_of(t.master) & TIOCPKT_IOCTL, TIOCPKT_IOCTL);
	local_flags(t.slave, EXTPROC, 0);
	EXPECT_EQ(status_of(t.master) & TIOCPKT_IOCTL, TIOCPKT_IOCTL);
}

CASE(packet_events)
{
	struct pty t = packets();
	EXPECT_EQ(events_now(t.master, POLLIN | POLLPRI | POLLOUT), POLLOUT);
	EXPECT_OK(tcflush(t.slave, TCIFLUSH));
	EXPECT_EQ(events_now(t.master, POLLIN | POLLPRI | POLLOUT | POLLRDNORM), POLLIN | POLLPRI | POLLOUT | POLLRDNORM);
	EXPECT_EQ(status_of(t.master), TIOCPKT_FLUSHREAD);
	EXPECT_EQ(events_now(t.master, POLLIN | POLLPRI), 0);
}

CASE(packet_status_goes_before_data)
{
	struct pty t = packets();
	type(t.slave, "x");
	wait_for(t.master, POLLIN);
	EXPECT_OK(tcflush(t.slave, TCIFLUSH));
	EXPECT_EQ(status_of(t.master), TIOCPKT_FLUSHREAD);
	char buf[8];
	EXPECT_EQ(read(t.master, buf, sizeof buf), 2);
	EXPECT_EQ(buf[1], 'x');
}

CASE(packet_status_wakes_a_reader)
{
	struct pty t = packets();
	CHILD(p) {
		EXPECT_EQ(status_of(t.master), TIOCPKT_STOP);
	}
	wait_asleep(p);
	EXPECT_OK(tcflow(t.slave, TCOOFF));
	JOIN(p);
	EXPECT_OK(tcflow(t.slave, TCOON));
}

CASE(packet_mode_begins_afresh)
{
	struct pty t = quiet();
	int on = 1;
	EXPECT_OK(tcflush(t.slave, TCIFLUSH));
	EXPECT_OK(ioctl(t.master, TIOCPKT, &on)); /* what was before it is not told */
	EXPECT_EQ(events_now(t.master, POLLIN | POLLPRI), 0);
	EXPECT_ERRNO(ioctl(t.master, TIOCPKT, 8), EFAULT);
}

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

CASE(sigio_of_a_line)
{
	struct pty t = quiet();
	wants_signals(t.slave, 0);
	type(t.master, "line\n");
	EXPECT_EQ(signal_taken(SIGIO).si_signo, SIGIO);
	EXPECT_READ(t.slave, "line\n");
}

CASE(setsig_of_the_master)
{
	struct pty t = pty_new();
	wants_signals(t.master, SIGRTMIN + 2);
	type(t.slave, "out");
	siginfo_t si = signal_taken(SIGRTMIN + 2);
	EXPECT_EQ(si.si_fd, t.master);
	EXPECT_EQ(si.si_code, POLL_IN);
	EXPECT_COMES(t.master, "out");
}

CASE(sigio_off_again)
{
	struct pty t = pty_new();
	wants_signals(t.master, 0);
	EXPECT_OK(fcntl(t.master, F_SETFL, 0));
	type(t.slave, "out");
	EXPECT_COMES(t.master, "out");
	CHECK(!is_pending(SIGIO));
}

CASE(sigio_by_fioasync)
{
	struct pty t = pty_new();
	int on = 1;
	block(SIGIO);
	EXPECT_OK(fcntl(t.master, F_SETOWN, getpid()));
	EXPECT_OK(ioctl(t.master, FIOASYNC, &on));
	CHECK(fcntl(t.master, F_GETFL) & O_ASYNC);
	type(t.slave, "x");
	EXPECT_EQ(signal_taken(SIGIO).si_signo, SIGIO);
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
	struct pty t = packets();
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
