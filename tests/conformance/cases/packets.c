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

CASE(sigio_of_packets)
{
	struct pty t = packets();
	wants_signals(t.master, 0);
	EXPECT_OK(tcflow(t.slave, TCOOFF));
	sigset_t io;
	sigemptyset(&io);
	sigaddset(&io, SIGIO);
	EXPECT_ERRNO(sigtimedwait(&io, NULL, &(struct timespec){0, 300000000}), EAGAIN);
}
