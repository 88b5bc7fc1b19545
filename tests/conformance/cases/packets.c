/* The master in packet mode. */
#include "terminal.h"
#include "waits.h"
#include <sys/epoll.h>

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

CASE(packet_mode_on_and_off)
{
	struct pty t = quiet();
	int on = 1, off = 0, is = -1;
	EXPECT_OK(ioctl(t.master, TIOCGPKT, &is));
	EXPECT_EQ(is, 0);
	EXPECT_ERRNO(ioctl(t.slave, TIOCPKT, &on), ENOTTY);
	EXPECT_OK(ioctl(t.master, TIOCPKT, &on));
	EXPECT_OK(ioctl(t.master, TIOCGPKT, &is));
	EXPECT_EQ(is, 1);
	EXPECT_OK(ioctl(t.master, TIOCPKT, &off));
	type(t.slave, "x");
	EXPECT_COMES(t.master, "x");
}

CASE(packet_status_of_each_call)
{
	struct pty t = packets();
	EXPECT_OK(tcflush(t.slave, TCIFLUSH));
	EXPECT_EQ(status_of(t.master), TIOCPKT_FLUSHREAD);
	EXPECT_OK(tcflush(t.slave, TCOFLUSH));
	EXPECT_EQ(status_of(t.master), TIOCPKT_FLUSHWRITE);
	EXPECT_OK(tcflow(t.slave, TCOOFF));
	EXPECT_EQ(status_of(t.master), TIOCPKT_STOP);
	EXPECT_OK(tcflow(t.slave, TCOON));
	EXPECT_EQ(status_of(t.master), TIOCPKT_START);
	input_flags(t.slave, IXON, 0);
	EXPECT_EQ(status_of(t.master), TIOCPKT_NOSTOP);
	input_flags(t.slave, 0, IXON);
	EXPECT_EQ(status_of(t.master), TIOCPKT_DOSTOP);
}

CASE(packet_statuses_add_up)
{
	struct pty t = packets();
	EXPECT_OK(tcflush(t.slave, TCIOFLUSH));
	EXPECT_EQ(status_of(t.master), TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE);
	EXPECT_OK(tcflush(t.slave, TCIFLUSH));
	EXPECT_OK(tcflow(t.slave, TCOOFF));
	EXPECT_EQ(status_of(t.master), TIOCPKT_FLUSHREAD | TIOCPKT_STOP);
	EXPECT_OK(tcflow(t.slave, TCOON));
	EXPECT_OK(tcflow(t.slave, TCOOFF));
	EXPECT_OK(tcflow(t.slave, TCOON));
	EXPECT_EQ(status_of(t.master), TIOCPKT_START); /* but the opposites undo each other */
	input_flags(t.slave, IXON, 0);
	input_flags(t.slave, 0, IXON);
	EXPECT_EQ(status_of(t.master), TIOCPKT_DOSTOP);
	EXPECT_EQ(events_now(t.master, POLLIN | POLLPRI), 0);
}

CASE(packet_status_of_keys)
{
	struct pty t = packets();
	type(t.master, "\023");
	EXPECT_EQ(status_of(t.master), TIOCPKT_STOP);
	type(t.master, "\021");
	EXPECT_EQ(status_of(t.master), TIOCPKT_START);
	control_char(t.slave, VSTOP, 's'); /* then ^S is no stop any more, for whoever does the stopping */
	EXPECT_EQ(status_of(t.master), TIOCPKT_NOSTOP);
	control_char(t.slave, VSTOP, '\023');
	EXPECT_EQ(status_of(t.master), TIOCPKT_DOSTOP);
}

CASE(packet_status_of_a_signal)
{
	struct pty t = pty_control();
	int on = 1;
	block(SIGINT);
	EXPECT_OK(ioctl(t.master, TIOCPKT, &on));
	local_flags(t.slave, ECHO, 0);
	type(t.master, "\003");
	take_signal(SIGINT);
	EXPECT_EQ(status_of(t.master), TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE);
	local_flags(t.slave, 0, NOFLSH);
	type(t.master, "\003");
	take_signal(SIGINT);
	EXPECT_EQ(events_now(t.master, POLLIN | POLLPRI), 0);
}

CASE(packet_status_of_external_editing)
{
	struct pty t = packets();
	local_flags(t.slave, 0, EXTPROC);
	EXPECT_EQ(status_of(t.master), TIOCPKT_IOCTL);
	local_flags(t.slave, ECHOE, 0); /* any change of settings while it is on */
	EXPECT_EQ(status_of(t.master), TIOCPKT_IOCTL);
	local_flags(t.slave, EXTPROC, 0); /* and that it ends */
	EXPECT_EQ(status_of(t.master), TIOCPKT_IOCTL);
	local_flags(t.slave, 0, ECHOE);
	EXPECT_EQ(events_now(t.master, POLLIN | POLLPRI), 0);
}

CASE(packet_mode_forgets_what_was_before)
{
	struct pty t = quiet();
	int on = 1, off = 0;
	EXPECT_OK(tcflush(t.slave, TCIOFLUSH));
	EXPECT_OK(ioctl(t.master, TIOCPKT, &on));
	EXPECT_EQ(events_now(t.master, POLLIN | POLLPRI), 0);
	EXPECT_OK(tcflush(t.slave, TCIFLUSH));
	EXPECT_OK(ioctl(t.master, TIOCPKT, &off)); /* kept for when it is on again, unless that is made so anew */
	EXPECT_EQ(events_now(t.master, POLLIN | POLLPRI), 0);
	EXPECT_OK(ioctl(t.master, TIOCPKT, &on));
	EXPECT_EQ(events_now(t.master, POLLIN | POLLPRI), 0);
	EXPECT_ERRNO(ioctl(t.master, TIOCPKT, NULL), EFAULT);
}

CASE(packet_mode_in_a_read_of_one_byte)
{
	struct pty t = packets();
	char c = 'x';
	type(t.slave, "d");
	wait_readable(t.master, 1);
	EXPECT_EQ(read(t.master, &c, 1), 1); /* room for the kind only */
	EXPECT_EQ(c, TIOCPKT_DATA);
	char buf[4];
	EXPECT_EQ(read(t.master, buf, sizeof buf), 2);
	EXPECT_EQ(buf[1], 'd');
}

CASE(packet_status_wakes)
{
	struct pty t = packets();
	int ep = EXPECT_OK(epoll_create1(0));
	struct epoll_event e = {EPOLLPRI | EPOLLET, {.fd = t.master}}, got;
	EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, t.master, &e));
	EXPECT_EQ(epoll_wait(ep, &got, 1, 0), 0);
	EXPECT_OK(tcflush(t.slave, TCIFLUSH));
	EXPECT_EQ(epoll_wait(ep, &got, 1, 8000), 1);
	EXPECT_EQ(got.events & EPOLLPRI, EPOLLPRI);
	EXPECT_EQ(status_of(t.master), TIOCPKT_FLUSHREAD);
	EXPECT_EQ(events_now(t.master, POLLPRI), 0);
	CHILD(p) {
		char c;
		EXPECT_EQ(read(t.master, &c, 1), 1);
		EXPECT_EQ(c, TIOCPKT_FLUSHREAD);
	}
	wait_asleep(p);
	EXPECT_OK(tcflush(t.slave, TCIFLUSH));
	JOIN(p);
}
