/* What is left after a hangup: terminals and sessions that lost each other, writers that were stopped, signals, /dev/tty. */
#include "terminal.h"
#include "waits.h"
#include <sys/prctl.h>

CASE(vhangup_without_a_terminal_does_nothing)
{
	needs_root();
	EXPECT_OK(vhangup());
}

CASE(settings_after_vhangup)
{
	needs_root();
	struct pty t = pty_new();
	raw_mode(t.slave, 7, 0);
	EXPECT_OK(ioctl(t.slave, TIOCVHANGUP));
	int s = EXPECT_OK(open(pty_name(t.master), O_RDWR | O_NOCTTY));
	struct termios tio;
	EXPECT_OK(tcgetattr(s, &tio));
	RECORD("local flags", "%o", tio.c_lflag);
	RECORD("minimum", "%d", tio.c_cc[VMIN]);
}

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

CASE(master_after_vhangup)
{
	needs_root();
	struct pty t = pty_new();
	EXPECT_OK(ioctl(t.slave, TIOCVHANGUP));
	EXPECT_EQ(events_now(t.master, POLLIN | POLLOUT), POLLOUT); /* the slave is still held open */
	EXPECT_OK(close(t.slave));
	EXPECT_EQ(wait_for(t.master, POLLIN), POLLHUP);
	char c;
	EXPECT_ERRNO(read(t.master, &c, 1), EIO);
}

CASE(master_gone_wakes_a_stopped_writer)
{
	struct pty t = pty_new();
	EXPECT_OK(tcflow(t.slave, TCOOFF));
	CHILD(p) {
		EXPECT_OK(close(t.master));
		EXPECT_ERRNO(write(t.slave, "x", 1), EIO);
	}
	wait_asleep(p);
	EXPECT_OK(close(t.master));
	JOIN(p);
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
