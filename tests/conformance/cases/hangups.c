/* The ends of terminals: either side closed, vhangup, and what is seen of it before, during and after, by reads, writes,
 * polls, ioctls, signals and names. */
#include "terminal.h"
#include "waits.h"
#include <sys/epoll.h>
#include <sys/prctl.h>

enum { LARGEFILE = 0100000 };

/* ---- Before, during and after: the slave closes. ---- */

CASE(slave_closed_poll_of_the_master)
{
	struct pty t = quiet();
	EXPECT_EQ(events_now(t.master, POLLIN | POLLOUT | POLLPRI), POLLOUT);
	EXPECT_OK(close(t.slave));
	EXPECT_EQ(wait_for(t.master, POLLIN), POLLHUP);
	EXPECT_EQ(events_now(t.master, 0), POLLHUP); /* not asked for, told all the same */
	EXPECT_EQ(events_now(t.master, POLLIN | POLLOUT), POLLOUT | POLLHUP);
}

CASE(slave_closed_wakes_a_poll)
{
	struct pty t = quiet();
	CHILD(p) {
		EXPECT_OK(close(t.slave));
		EXPECT_EQ(wait_for(t.master, POLLIN), POLLHUP);
	}
	wait_asleep(p);
	EXPECT_OK(close(t.slave));
	JOIN(p);
}

CASE(slave_closed_with_output_unread)
{
	struct pty t = quiet();
	type(t.slave, "rest");
	wait_readable(t.master, 4);
	EXPECT_OK(close(t.slave));
	EXPECT_EQ(events_now(t.master, POLLIN), POLLIN | POLLHUP); /* both */
	EXPECT_EQ(readable_bytes(t.master), 4);
	EXPECT_COMES(t.master, "re");
	EXPECT_EQ(events_now(t.master, POLLIN), POLLIN | POLLHUP);
	EXPECT_COMES(t.master, "st");
	EXPECT_EQ(events_now(t.master, POLLIN), POLLHUP);
}

CASE(slave_closed_writes_of_the_master)
{
	/* They are taken for whoever opens the slave next. */
	struct pty t = quiet();
	char name[32];
	snprintf(name, sizeof name, "%s", pty_name(t.master));
	EXPECT_OK(close(t.slave));
	EXPECT_EQ(write(t.master, "kept\n", 5), 5);
	int s = EXPECT_OK(open(name, O_RDWR | O_NOCTTY));
	EXPECT_READ(s, "kept\n");
}

CASE(slave_closed_with_input_unread)
{
	struct pty t = quiet();
	char name[32];
	snprintf(name, sizeof name, "%s", pty_name(t.master));
	type(t.master, "kept\n");
	wait_for(t.slave, POLLIN);
	EXPECT_OK(close(t.slave));
	int s = EXPECT_OK(open(name, O_RDWR | O_NOCTTY));
	EXPECT_READ(s, "kept\n");
}

CASE(slave_closed_ioctls_of_the_master)
{
	struct pty t = quiet();
	EXPECT_OK(close(t.slave));
	struct termios tio;
	EXPECT_OK(tcgetattr(t.master, &tio));
	CHECK(!(tio.c_lflag & ECHO));
	struct winsize ws = {1, 2, 3, 4};
	EXPECT_OK(ioctl(t.master, TIOCSWINSZ, &ws));
	EXPECT_EQ(readable_bytes(t.master), 0);
	int on = 1, n = 0;
	EXPECT_OK(ioctl(t.master, TIOCPKT, &on));
	EXPECT_OK(ioctl(t.master, TIOCGPTN, &n));
	EXPECT_OK(tcflush(t.master, TCIOFLUSH));
	CHECK(isatty(t.master));
}

CASE(slave_never_opened)
{
	int m = EXPECT_OK(open("/dev/ptmx", O_RDWR | O_NONBLOCK | O_NOCTTY));
	char c;
	EXPECT_EQ(events_now(m, POLLIN | POLLOUT), POLLOUT);
	EXPECT_ERRNO(read(m, &c, 1), EAGAIN);
	struct termios tio;
	EXPECT_OK(tcgetattr(m, &tio));
	struct winsize ws;
	EXPECT_OK(ioctl(m, TIOCGWINSZ, &ws));
}

CASE(slave_closed_and_opened_while_the_master_waits)
{
	struct pty t = quiet();
	char name[32];
	snprintf(name, sizeof name, "%s", pty_name(t.master));
	EXPECT_OK(close(t.slave));
	char c;
	EXPECT_ERRNO(read(t.master, &c, 1), EIO);
	int s = EXPECT_OK(open(name, O_RDWR | O_NOCTTY));
	CHILD(p) {
		EXPECT_READ(t.master, "b");
	}
	wait_asleep(p);
	type(s, "b");
	JOIN(p);
}

CASE(slave_closed_in_packet_mode)
{
	struct pty t = quiet();
	int on = 1;
	EXPECT_OK(ioctl(t.master, TIOCPKT, &on));
	type(t.slave, "x");
	wait_readable(t.master, 1);
	EXPECT_OK(close(t.slave));
	char buf[4];
	EXPECT_EQ(read(t.master, buf, sizeof buf), 2);
	EXPECT_EQ(buf[0], TIOCPKT_DATA);
	EXPECT_EQ(buf[1], 'x');
	EXPECT_ERRNO(read(t.master, buf, sizeof buf), EIO);
}

CASE(slave_closed_edge)
{
	struct pty t = quiet();
	char name[32];
	snprintf(name, sizeof name, "%s", pty_name(t.master));
	int ep = EXPECT_OK(epoll_create1(0));
	struct epoll_event e = {EPOLLIN | EPOLLET, {.fd = t.master}}, got;
	EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, t.master, &e));
	EXPECT_EQ(epoll_wait(ep, &got, 1, 0), 0);
	EXPECT_OK(close(t.slave));
	EXPECT_EQ(epoll_wait(ep, &got, 1, 8000), 1);
	EXPECT_EQ(got.events, EPOLLHUP);
	EXPECT_EQ(epoll_wait(ep, &got, 1, 0), 0);
	int s = EXPECT_OK(open(name, O_RDWR | O_NOCTTY));
	type(s, "x");
	EXPECT_EQ(epoll_wait(ep, &got, 1, 8000), 1);
	EXPECT_EQ(got.events, EPOLLIN);
}

/* ---- Before, during and after: the master closes. ---- */

CASE(master_closed_wakes_a_poll)
{
	struct pty t = quiet();
	CHILD(p) {
		EXPECT_OK(close(t.master));
		EXPECT_EQ(wait_for(t.slave, POLLIN) & (POLLIN | POLLHUP | POLLERR), POLLIN | POLLHUP | POLLERR);
	}
	wait_asleep(p);
	EXPECT_OK(close(t.master));
	JOIN(p);
}

CASE(master_closed_wakes_a_writer)
{
	struct pty t = quiet();
	EXPECT_OK(tcflow(t.slave, TCOOFF));
	CHILD(p) {
		EXPECT_OK(close(t.master));
		EXPECT_ERRNO(write(t.slave, "x", 1), EIO);
	}
	wait_asleep(p);
	EXPECT_OK(close(t.master));
	JOIN(p);
}

CASE(master_closed_and_a_line_unread)
{
	struct pty t = quiet();
	type(t.master, "line\n");
	wait_for(t.slave, POLLIN);
	EXPECT_OK(close(t.master));
	char c;
	EXPECT_EQ(read(t.slave, &c, 1), 0);
}

CASE(master_closed_everything_on_the_slave)
{
	struct pty t = quiet();
	EXPECT_OK(close(t.master));
	static const unsigned long queries[] = {TCGETS, TIOCGWINSZ, TIOCGPGRP, TIOCGSID, FIONREAD, TIOCOUTQ, TIOCGETD,
						TIOCGEXCL, TIOCGDEV, TIOCGPTN, TIOCGPTPEER, TIOCSCTTY, TIOCNOTTY, TIOCEXCL, TIOCVHANGUP, TIOCSTI, TCSBRK};
	char buf[64];
	for (unsigned i = 0; i < sizeof queries / sizeof *queries; i++)
		EXPECT_ERRNO(ioctl(t.slave, queries[i], buf), EIO);
	EXPECT_ERRNO(ioctl(t.slave, TIOCSPGRP, buf), ENOTTY); /* the one exception */
	EXPECT_ERRNO(write(t.slave, "", 1), EIO);
	EXPECT_ERRNO(tcdrain(t.slave), EIO);
	EXPECT_OK(fcntl(t.slave, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(read(t.slave, buf, 1), 0);
	EXPECT_ERRNO(fcntl(t.slave, F_SETFL, O_ASYNC), ENOTTY);
	EXPECT_ERRNO(lseek(t.slave, 0, SEEK_SET), ESPIPE);
	struct stat st;
	EXPECT_OK(fstat(t.slave, &st));
	EXPECT_OK(fchmod(t.slave, 0600));
	EXPECT_EQ(events_now(t.slave, 0), POLLERR | POLLHUP);
}

CASE(master_closed_slave_opened_through_proc)
{
	struct pty t = quiet();
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", t.slave);
	EXPECT_OK(close(EXPECT_OK(open(path, O_RDWR | O_NOCTTY))));
	EXPECT_OK(close(t.master));
	EXPECT_ERRNO(open(path, O_RDWR | O_NOCTTY), EIO);
}

CASE(master_of_two_descriptors)
{
	struct pty t = quiet();
	int again = EXPECT_OK(dup(t.master));
	EXPECT_OK(close(t.master));
	type(again, "x\n");
	EXPECT_READ(t.slave, "x\n");
	CHILD(p) {
	} /* ends at once, its copies with it */
	JOIN(p);
	EXPECT_EQ(events_now(t.slave, POLLOUT), POLLOUT);
	EXPECT_OK(close(again));
	EXPECT_EQ(events_now(t.slave, 0), POLLERR | POLLHUP);
}

CASE(master_closed_edge)
{
	struct pty t = quiet();
	int ep = EXPECT_OK(epoll_create1(0));
	struct epoll_event e = {EPOLLET, {.fd = t.slave}}, got;
	EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, t.slave, &e));
	EXPECT_EQ(epoll_wait(ep, &got, 1, 0), 0);
	EXPECT_OK(close(t.master));
	do
		EXPECT_EQ(epoll_wait(ep, &got, 1, 8000), 1);
	while (!(got.events & EPOLLERR));
	EXPECT_EQ(got.events, EPOLLHUP | EPOLLERR);
}

CASE(master_closed_by_exit)
{
	struct pty t = quiet();
	CHILD(p) {
		pause();
	}
	EXPECT_OK(close(t.master));
	EXPECT_EQ(events_now(t.slave, POLLOUT), POLLOUT); /* the child has it still */
	EXPECT_OK(kill(p, SIGKILL));
	EXPECT_KILLED(p, SIGKILL);
	EXPECT_EQ(wait_for(t.slave, POLLIN) & POLLHUP, POLLHUP);
}

CASE(master_closed_twice_over)
{
	/* A terminal of the same number made afterwards is another one: what hung stays hung. */
	struct pty t = quiet();
	int old = EXPECT_OK(dup(t.slave));
	EXPECT_OK(close(t.master));
	struct pty u = quiet();
	type(u.master, "new\n");
	EXPECT_READ(u.slave, "new\n");
	char c;
	EXPECT_EQ(read(old, &c, 1), 0);
	EXPECT_ERRNO(write(t.slave, "x", 1), EIO);
}

/* ---- Hung up by a call. ---- */

CASE(hung_up_by_ioctl)
{
	needs_root();
	struct pty t = quiet();
	EXPECT_OK(ioctl(t.slave, TIOCVHANGUP));
	char c;
	EXPECT_EQ(read(t.slave, &c, 1), 0);
	EXPECT_ERRNO(write(t.slave, "x", 1), EIO);
	struct winsize ws;
	EXPECT_ERRNO(ioctl(t.slave, TIOCGWINSZ, &ws), EIO);
	EXPECT_EQ(events_now(t.slave, POLLIN | POLLOUT), POLLIN | POLLOUT | POLLERR | POLLHUP);
	EXPECT_EQ(events_now(t.master, POLLIN | POLLOUT), POLLOUT); /* the master hears of it when the slave is closed */
	EXPECT_OK(fcntl(t.master, F_SETFL, O_NONBLOCK));
	EXPECT_ERRNO(read(t.master, &c, 1), EAGAIN);
	EXPECT_OK(close(t.slave));
	EXPECT_EQ(wait_for(t.master, POLLIN), POLLHUP);
	EXPECT_ERRNO(read(t.master, &c, 1), EIO);
}

CASE(hung_up_and_opened_again)
{
	needs_root();
	struct pty t = pty_new();
	struct termios first, tio;
	EXPECT_OK(tcgetattr(t.slave, &first));
	raw_mode(t.slave, 7, 0);
	EXPECT_OK(ioctl(t.slave, TIOCVHANGUP));
	int s = EXPECT_OK(open(pty_name(t.master), O_RDWR | O_NOCTTY));
	EXPECT_OK(tcgetattr(s, &tio));
	EXPECT_EQ(tio.c_lflag, first.c_lflag); /* the settings of a new one */
	EXPECT_EQ(tio.c_iflag, first.c_iflag);
	EXPECT_EQ(tio.c_oflag, first.c_oflag);
	EXPECT_EQ(tio.c_cflag, first.c_cflag);
	EXPECT_EQ(memcmp(tio.c_cc, first.c_cc, VEOL2 + 1), 0);
	type(t.master, "in\n");
	EXPECT_READ(s, "in\n");
	EXPECT_COMES(t.master, "in\r\n");
	char c;
	EXPECT_EQ(read(t.slave, &c, 1), 0); /* the old one stays dead */
	EXPECT_ERRNO(write(t.slave, "x", 1), EIO);
	EXPECT_OK(close(t.slave));
	type(s, "out");
	EXPECT_COMES(t.master, "out");
	EXPECT_OK(close(s));
	EXPECT_EQ(wait_for(t.master, POLLIN), POLLHUP);
}

CASE(hung_up_drops_what_is_unread)
{
	needs_root();
	struct pty t = quiet();
	type(t.master, "line\nhalf");
	wait_for(t.slave, POLLIN);
	EXPECT_OK(ioctl(t.slave, TIOCVHANGUP));
	int s = EXPECT_OK(open(pty_name(t.master), O_RDWR | O_NOCTTY | O_NONBLOCK));
	char c;
	EXPECT_ERRNO(read(s, &c, 1), EAGAIN);
	EXPECT_EQ(readable_bytes(s), 0);
}

CASE(hung_up_wakes_a_reader)
{
	needs_root();
	struct pty t = quiet();
	CHILD(p) {
		char c;
		ssize_t n = read(t.slave, &c, 1);
		CHECK(n == 0 || (n == -1 && errno == EIO));
	}
	wait_asleep(p);
	EXPECT_OK(ioctl(t.slave, TIOCVHANGUP));
	JOIN(p);
}

CASE(hung_up_needs_privilege)
{
	needs_root();
	struct pty t = pty_control();
	CHILD(p) {
		become_user(4321, 4321);
		EXPECT_ERRNO(ioctl(t.slave, TIOCVHANGUP), EPERM);
		EXPECT_ERRNO(vhangup(), EPERM);
	}
	JOIN(p);
	type(t.slave, "x");
	EXPECT_COMES(t.master, "x");
}

CASE(vhangup_of_ones_own)
{
	needs_root();
	struct pty t = pty_control();
	count_signal(SIGHUP, 0);
	count_signal(SIGCONT, 0);
	int tty = EXPECT_OK(open("/dev/tty", O_RDWR));
	EXPECT_OK(vhangup());
	EXPECT_EQ(signals_seen[SIGHUP], 1); /* we lead the session */
	EXPECT_EQ(signals_seen[SIGCONT], 1);
	char c;
	EXPECT_EQ(read(tty, &c, 1), 0);
	EXPECT_EQ(read(t.slave, &c, 1), 0);
	EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
	EXPECT_EQ(stat_number(getpid(), 3), 0);
	EXPECT_OK(vhangup()); /* there is none any more */
	int s = EXPECT_OK(open(pty_name(t.master), O_RDWR)); /* to be had again */
	EXPECT_EQ(tcgetsid(s), getsid(0));
}

CASE(vhangup_tells_the_leader_only)
{
	needs_root();
	struct pty t = pty_control();
	count_signal(SIGHUP, 0);
	struct gate ready = gate_new(), done = gate_new();
	CHILD(p) {
		EXPECT_OK(setpgid(0, 0));
		signal(SIGTTOU, SIG_IGN);
		EXPECT_OK(tcsetpgrp(t.slave, getpid()));
		block(SIGHUP);
		gate_open(&ready);
		gate_wait(&done);
		CHECK(!is_pending(SIGHUP));
	}
	gate_wait(&ready);
	EXPECT_OK(ioctl(t.slave, TIOCVHANGUP));
	EXPECT_EQ(signals_seen[SIGHUP], 1);
	gate_open(&done);
	JOIN(p);
}

CASE(hung_up_master)
{
	/* The call on a master is about the master's own descriptions. */
	needs_root();
	struct pty t = quiet();
	EXPECT_OK(ioctl(t.master, TIOCVHANGUP));
	char c;
	EXPECT_EQ(read(t.master, &c, 1), 0);
	EXPECT_ERRNO(write(t.master, "x", 1), EIO);
	EXPECT_ERRNO(ioctl(t.master, TIOCGPTN, &c), EIO);
	EXPECT_EQ(events_now(t.master, POLLIN | POLLOUT), POLLIN | POLLOUT | POLLERR | POLLHUP);
	EXPECT_EQ(events_now(t.slave, POLLIN | POLLOUT), POLLOUT); /* the slave does not hear of it */
	EXPECT_OK(fcntl(t.slave, F_SETFL, O_NONBLOCK));
	EXPECT_ERRNO(read(t.slave, &c, 1), EAGAIN);
	EXPECT_EQ(write(t.slave, "x", 1), 1);
	EXPECT_OK(close(t.master));
	EXPECT_EQ(wait_for(t.slave, POLLIN) & POLLHUP, POLLHUP);
	EXPECT_EQ(read(t.slave, &c, 1), 0);
}

CASE(exclusive_use_outlives_hangups_and_closes)
{
	needs_root();
	struct pty t = quiet();
	int is = -1;
	EXPECT_OK(ioctl(t.slave, TIOCEXCL));
	EXPECT_OK(ioctl(t.slave, TIOCVHANGUP));
	int s = EXPECT_OK(open(pty_name(t.master), O_RDWR | O_NOCTTY));
	EXPECT_OK(ioctl(s, TIOCGEXCL, &is));
	EXPECT_EQ(is, 1);
	EXPECT_OK(close(s));
	EXPECT_OK(close(t.slave));
	s = EXPECT_OK(open(pty_name(t.master), O_RDWR | O_NOCTTY));
	EXPECT_OK(ioctl(s, TIOCGEXCL, &is));
	EXPECT_EQ(is, 1);
}

/* ---- Signals of the session's end. ---- */

CASE(leader_exits_with_children_in_the_foreground)
{
	struct pty t = pty_new();
	struct gate done = gate_new();
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0));
		block(SIGHUP);
		CHILD(q) {
			take_signal(SIGHUP); /* of the leader's own group, which is the foreground */
			EXPECT_EQ(stat_number(getpid(), 3), 0);
			gate_open(&done);
		}
		(void)q;
	}
	JOIN(p);
	gate_wait(&done);
}

CASE(leader_exits_and_the_terminal_lives)
{
	struct pty t = pty_new();
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0));
	}
	JOIN(p);
	EXPECT_EQ(events_now(t.slave, POLLOUT), POLLOUT); /* not hung up */
	type(t.slave, "x");
	EXPECT_COMES(t.master, "x");
	EXPECT_EQ(tcgetpgrp(t.master), 0);
	EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0));
}

CASE(hangup_continues_a_stopped_leader)
{
	struct pty t = pty_new();
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0));
		EXPECT_OK(close(t.master));
		count_signal(SIGHUP, 0);
		EXPECT_OK(raise(SIGSTOP));
		EXPECT_EQ(signals_seen[SIGHUP], 1);
	}
	expect_stopped(p, SIGSTOP);
	EXPECT_OK(close(t.slave));
	EXPECT_OK(close(t.master));
	JOIN(p);
}

CASE(hangup_kills_by_default)
{
	struct pty t = pty_new();
	struct gate ready = gate_new();
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0));
		EXPECT_OK(close(t.master));
		gate_open(&ready);
		for (;;)
			pause();
	}
	gate_wait(&ready);
	EXPECT_OK(close(t.master));
	EXPECT_KILLED(p, SIGHUP);
}

CASE(hangup_of_nobodys_terminal)
{
	/* No session, no signal: processes that merely have it open hear nothing. */
	struct pty t = pty_new();
	count_signal(SIGHUP, 0);
	EXPECT_OK(close(t.master));
	EXPECT_EQ(wait_for(t.slave, POLLIN) & POLLHUP, POLLHUP);
	EXPECT_EQ(signals_seen[SIGHUP], 0);
}

/* ---- What is left afterwards. ---- */

CASE(vhangup_wakes_a_stopped_writer)
{
	needs_root();
	struct pty t = pty_new();
	EXPECT_OK(tcflow(t.slave, TCOOFF));
	CHILD(p) {
		EXPECT_ERRNO(write(t.slave, "x", 1), EIO);
	}
	wait_asleep(p);
	EXPECT_OK(ioctl(t.slave, TIOCVHANGUP));
	JOIN(p);
}

CASE(vhangup_frees_it_for_another_session)
{
	needs_root();
	struct pty t = pty_control();
	signal(SIGHUP, SIG_IGN);
	EXPECT_OK(ioctl(t.slave, TIOCVHANGUP));
	int s = EXPECT_OK(open(pty_name(t.master), O_RDWR | O_NOCTTY));
	EXPECT_OK(ioctl(s, TIOCSCTTY, 0));
	EXPECT_EQ(tcgetpgrp(s), getpgrp());
}

CASE(tcsetpgrp_after_the_master_has_gone)
{
	struct pty t = pty_control();
	signal(SIGHUP, SIG_IGN);
	EXPECT_OK(close(t.master));
	EXPECT_ERRNO(tcsetpgrp(t.slave, getpgrp()), ENOTTY);
	EXPECT_ERRNO(tcgetpgrp(t.slave), EIO);
	EXPECT_ERRNO(tcgetsid(t.slave), EIO);
	EXPECT_ERRNO(ioctl(t.slave, TIOCNOTTY), EIO);
}

CASE(dev_tty_after_the_master_has_gone)
{
	struct pty t = pty_control();
	signal(SIGHUP, SIG_IGN);
	int fd = EXPECT_OK(open("/dev/tty", O_RDWR));
	EXPECT_OK(close(t.master));
	EXPECT_ERRNO(write(fd, "x", 1), EIO);
	EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
	EXPECT_EQ(stat_number(getpid(), 3), 0);
	EXPECT_EQ(stat_number(getpid(), 4), -1);
}

CASE(hangup_signal_comes_of_the_kernel)
{
	struct pty t = pty_control();
	block(SIGHUP);
	EXPECT_OK(close(t.master));
	sigset_t s;
	siginfo_t si;
	sigemptyset(&s);
	sigaddset(&s, SIGHUP);
	EXPECT_EQ(sigwaitinfo(&s, &si), SIGHUP);
	EXPECT_EQ(si.si_code, SI_KERNEL);
	EXPECT_EQ(si.si_pid, 0);
}

CASE(input_is_kept_while_no_slave_is_open)
{
	struct pty t = pty_new();
	TYPED(t, "a\n", "a\r\n");
	EXPECT_OK(close(t.slave));
	int s = EXPECT_OK(open(pty_name(t.master), O_RDWR | O_NOCTTY));
	EXPECT_OK(fcntl(s, F_SETFL, O_NONBLOCK));
	char got[8];
	ssize_t n = read(s, got, sizeof got);
	RECORD("read", "%zd", n);
}

CASE(leader_that_closes_keeps_its_terminal)
{
	struct pty t = pty_control();
	EXPECT_OK(close(t.slave));
	EXPECT_EQ(tcgetpgrp(t.master), getpgrp());
	int fd = EXPECT_OK(open("/dev/tty", O_RDWR));
	type(fd, "x");
	EXPECT_COMES(t.master, "x");
}

CASE(leader_gone_by_a_signal)
{
	struct pty t = pty_new();
	struct gate ready = gate_new();
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0));
		gate_open(&ready);
		pause();
	}
	gate_wait(&ready);
	EXPECT_EQ(tcgetsid(t.master), p);
	EXPECT_OK(kill(p, SIGKILL));
	EXPECT_KILLED(p, SIGKILL);
	EXPECT_ERRNO(tcgetsid(t.master), ENOTTY);
	EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0));
}

CASE(leader_gone_though_a_member_lives)
{
	struct pty t = pty_new();
	EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	struct gate left = gate_new(), done = gate_new();
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0));
		signal(SIGHUP, SIG_IGN);
		CHILD(q) {
			gate_wait(&left);
			EXPECT_EQ(stat_number(getpid(), 3), 0);
			EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
			EXPECT_ERRNO(ioctl(t.slave, TIOCSCTTY, 0), EPERM); /* only a leader takes one */
			gate_open(&done);
		}
		EXPECT_EQ(stat_number(q, 2), getpid());
		kill(getpid(), SIGKILL);
	}
	EXPECT_KILLED(p, SIGKILL);
	gate_open(&left);
	gate_wait(&done);
}
