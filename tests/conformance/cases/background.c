/* Job control call by call: what stops in the background and what does not, by each way to be spared, whose groups they are,
 * acquiring and losing terminals, what /proc tells. */
#include "terminal.h"
#include "waits.h"
#include <sys/prctl.h>

/* Runs the block in a background group of our session. */
#define BACKGROUND(p)                                                                    \
	CHILD(p)                                                                         \
	for (EXPECT_OK(setpgid(0, 0));; _exit(0))

/* A child of the background must be stopped by this signal; then it is killed. */
static void expect_held(pid_t p, int sig)
{
	expect_stopped(p, sig);
	EXPECT_OK(kill(p, SIGKILL));
	EXPECT_KILLED(p, SIGKILL);
}

/* The call must stop the background. */
#define STOPS(sig, call)                                                                 \
	do {                                                                             \
		BACKGROUND(p_) {                                                         \
			(void)!(call);                                                   \
		}                                                                        \
		expect_held(p_, sig);                                                    \
	} while (0)

/* The call must succeed in the background. */
#define PASSES(call)                                                                     \
	do {                                                                             \
		BACKGROUND(p_) {                                                         \
			EXPECT_OK(call);                                                 \
		}                                                                        \
		JOIN(p_);                                                                \
	} while (0)

CASE(calls_that_stop)
{
	struct pty t = pty_control();
	struct termios tio;
	int n = 0;
	char c;
	EXPECT_OK(tcgetattr(t.slave, &tio));
	STOPS(SIGTTIN, read(t.slave, &c, 1));
	STOPS(SIGTTOU, tcsetattr(t.slave, TCSANOW, &tio));
	STOPS(SIGTTOU, tcsetattr(t.slave, TCSADRAIN, &tio));
	STOPS(SIGTTOU, tcsetattr(t.slave, TCSAFLUSH, &tio));
	STOPS(SIGTTOU, tcflush(t.slave, TCIFLUSH));
	STOPS(SIGTTOU, tcflow(t.slave, TCOOFF));
	STOPS(SIGTTOU, tcdrain(t.slave));
	STOPS(SIGTTOU, tcsendbreak(t.slave, 0));
	STOPS(SIGTTOU, tcsetpgrp(t.slave, getpgrp()));
	STOPS(SIGTTOU, ioctl(t.slave, TIOCSETD, &n));
	STOPS(SIGTTOU, ioctl(t.slave, TIOCSBRK));
}

CASE(calls_that_do_not_stop)
{
	struct pty t = pty_control();
	struct termios tio;
	struct winsize ws = {1, 2, 3, 4};
	int n = 0;
	PASSES(tcgetattr(t.slave, &tio));
	PASSES(ioctl(t.slave, TIOCGWINSZ, &ws));
	PASSES(ioctl(t.slave, TIOCSWINSZ, &ws));
	PASSES(tcgetpgrp(t.slave));
	PASSES(tcgetsid(t.slave));
	PASSES(ioctl(t.slave, FIONREAD, &n));
	PASSES(ioctl(t.slave, TIOCOUTQ, &n));
	PASSES(ioctl(t.slave, TIOCGETD, &n));
	PASSES(ioctl(t.slave, TIOCEXCL));
	PASSES(ioctl(t.slave, TIOCNXCL));
	PASSES(write(t.slave, "x", 1));
}

CASE(dev_tty_stops_as_the_slave_does)
{
	struct pty t = pty_control();
	int fd = EXPECT_OK(open("/dev/tty", O_RDWR));
	char c;
	STOPS(SIGTTIN, read(fd, &c, 1));
	STOPS(SIGTTOU, tcflush(fd, TCIFLUSH));
	local_flags(t.slave, 0, TOSTOP);
	STOPS(SIGTTOU, write(fd, "x", 1));
}

CASE(another_terminal_does_not_stop)
{
	pty_control();
	struct pty u = quiet();
	local_flags(u.slave, 0, TOSTOP);
	BACKGROUND(p) {
		type(u.slave, "x");
		EXPECT_READ(u.slave, "in\n");
		EXPECT_OK(tcflush(u.slave, TCIFLUSH));
	}
	EXPECT_COMES(u.master, "x");
	type(u.master, "in\n");
	JOIN(p);
}

CASE(another_session_does_not_stop)
{
	struct pty t = pty_control();
	local_flags(t.slave, ECHO, TOSTOP);
	CHILD(p) {
		EXPECT_OK(setsid());
		type(t.slave, "x");
		EXPECT_READ(t.slave, "in\n");
	}
	EXPECT_COMES(t.master, "x");
	type(t.master, "in\n");
	JOIN(p);
}

CASE(the_whole_group_stops)
{
	struct pty t = pty_control();
	BACKGROUND(p) {
		for (;;)
			pause();
	}
	while (getpgid(p) != p)
		sleep_ms(1);
	CHILD(q) {
		EXPECT_OK(setpgid(0, p));
		char c;
		(void)!read(t.slave, &c, 1);
	}
	expect_held(q, SIGTTIN);
	expect_held(p, SIGTTIN);
}

CASE(ignored_and_blocked_signals)
{
	struct pty t = pty_control();
	BACKGROUND(p) {
		signal(SIGTTOU, SIG_IGN);
		EXPECT_OK(tcflush(t.slave, TCIFLUSH));
		signal(SIGTTOU, SIG_DFL);
		block(SIGTTOU);
		EXPECT_OK(tcflush(t.slave, TCIFLUSH));
		CHECK(!is_pending(SIGTTOU));
	}
	JOIN(p);
}

CASE(handled_signals_restart_for_ever)
{
	struct pty t = pty_control();
	BACKGROUND(p) {
		count_signal(SIGTTOU, SA_RESTART);
		signal(SIGALRM, SIG_DFL);
		struct itimerval soon = {{0, 0}, {0, 50000}};
		EXPECT_OK(setitimer(ITIMER_REAL, &soon, NULL));
		tcflush(t.slave, TCIFLUSH); /* again and again, until the alarm kills */
		_exit(3);
	}
	EXPECT_KILLED(p, SIGALRM);
}

CASE(writes_of_nothing_stop_too)
{
	struct pty t = pty_control();
	local_flags(t.slave, 0, TOSTOP);
	STOPS(SIGTTOU, write(t.slave, "x", 1));
	BACKGROUND(p) {
		RECORD("an empty write", "%zd", write(t.slave, "", 0));
	}
	int status;
	EXPECT_EQ(waitpid(p, &status, WUNTRACED), p);
	RECORD("stopped", "%d", WIFSTOPPED(status));
	if (WIFSTOPPED(status))
		EXPECT_OK(kill(p, SIGKILL));
}

CASE(reads_of_nothing)
{
	struct pty t = pty_control();
	BACKGROUND(p) {
		(void)!read(t.slave, NULL, 0);
	}
	int status;
	EXPECT_EQ(waitpid(p, &status, WUNTRACED), p);
	RECORD("stopped", "%d", WIFSTOPPED(status));
	if (WIFSTOPPED(status))
		EXPECT_OK(kill(p, SIGKILL));
}

CASE(orphans_fail_instead)
{
	struct pty t = pty_control();
	local_flags(t.slave, 0, TOSTOP);
	struct gate orphan = gate_new(), done = gate_new();
	CHILD(p) {
		BACKGROUND(q) {
			gate_wait(&orphan);
			char c;
			EXPECT_ERRNO(read(t.slave, &c, 1), EIO);
			EXPECT_ERRNO(write(t.slave, "x", 1), EIO);
			EXPECT_ERRNO(tcflush(t.slave, TCIFLUSH), EIO);
			EXPECT_ERRNO(tcdrain(t.slave), EIO);
			count_signal(SIGTTOU, 0);
			EXPECT_ERRNO(write(t.slave, "x", 1), EIO); /* a handler changes nothing */
			EXPECT_EQ(signals_seen[SIGTTOU], 0);
			signal(SIGTTOU, SIG_IGN);
			EXPECT_EQ(write(t.slave, "y", 1), 1);
			gate_open(&done);
		}
		(void)q;
	}
	JOIN(p);
	gate_open(&orphan);
	gate_wait(&done);
	EXPECT_COMES(t.master, "y");
}

CASE(settings_by_the_master)
{
	struct pty t = pty_control();
	struct termios tio;
	EXPECT_OK(tcgetattr(t.slave, &tio));
	PASSES(ioctl(t.master, TIOCPKT, &(int){0}));
	PASSES(write(t.master, "x\n", 2));
	EXPECT_READ(t.slave, "x\n");
}

CASE(a_reader_that_falls_into_the_background)
{
	/* Who waits in a read when it loses the foreground is asked again when there is input. */
	struct pty t = pty_control();
	local_flags(t.slave, ECHO, 0);
	struct gate ready = gate_new();
	CHILD(p) {
		EXPECT_OK(setpgid(0, 0));
		signal(SIGTTOU, SIG_IGN);
		EXPECT_OK(tcsetpgrp(t.slave, getpid()));
		gate_open(&ready);
		EXPECT_READ(t.slave, "x\n");
	}
	gate_wait(&ready);
	wait_asleep(p);
	signal(SIGTTOU, SIG_IGN);
	EXPECT_OK(tcsetpgrp(t.slave, getpgrp()));
	EXPECT_EQ(tcgetpgrp(t.slave), getpgrp());
	EXPECT_OK(tcsetpgrp(t.slave, p));
	type(t.master, "x\n");
	JOIN(p);
}

/* ---- Acquiring and losing. ---- */

CASE(open_with_noctty)
{
	struct pty t = pty_new();
	EXPECT_OK(open(pty_name(t.master), O_RDWR | O_NOCTTY));
	EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
	EXPECT_OK(open(pty_name(t.master), O_RDWR));
	EXPECT_OK(open("/dev/tty", O_RDWR));
}

CASE(open_for_writing_only_does_not_acquire)
{
	struct pty t = pty_new();
	EXPECT_OK(open(pty_name(t.master), O_WRONLY));
	EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
	EXPECT_OK(open(pty_name(t.master), O_RDONLY));
	EXPECT_OK(open("/dev/tty", O_RDWR));
}

CASE(open_by_a_member_does_not_acquire)
{
	struct pty t = pty_new();
	CHILD(p) {
		EXPECT_OK(open(pty_name(t.master), O_RDWR));
		EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
	}
	JOIN(p);
}

CASE(open_of_a_terminal_in_use_does_not_acquire)
{
	struct pty t = pty_control();
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_OK(open(pty_name(t.master), O_RDWR));
		EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
	}
	JOIN(p);
	EXPECT_EQ(tcgetsid(t.master), getsid(0));
}

CASE(acquiring_by_a_description_for_writing)
{
	struct pty t = pty_new();
	int w = EXPECT_OK(open(pty_name(t.master), O_WRONLY | O_NOCTTY));
	needs_root();
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_OK(ioctl(w, TIOCSCTTY, 0)); /* with privilege */
	}
	JOIN(p);
	CHILD(q) {
		become_user(4321, 4321);
		EXPECT_OK(setsid());
		EXPECT_ERRNO(ioctl(w, TIOCSCTTY, 0), EPERM);
		EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0));
	}
	JOIN(q);
}

CASE(acquired_by_force_with_arguments_other_than_1)
{
	needs_root();
	struct pty t = pty_control();
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_ERRNO(ioctl(t.slave, TIOCSCTTY, 2), EPERM);
		EXPECT_ERRNO(ioctl(t.slave, TIOCSCTTY, -1), EPERM);
	}
	JOIN(p);
}

CASE(stolen_terminal_sends_no_signal)
{
	needs_root();
	struct pty t = pty_control();
	block(SIGHUP);
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 1));
		EXPECT_EQ(stat_number(getppid(), 3), 0);
		CHECK(!is_pending(SIGHUP));
	}
	JOIN(p);
	CHECK(!is_pending(SIGHUP));
}

CASE(giving_up_by_the_master_or_another_terminal)
{
	struct pty t = pty_control(), u = pty_new();
	EXPECT_ERRNO(ioctl(u.slave, TIOCNOTTY), ENOTTY);
	EXPECT_ERRNO(ioctl(t.master, TIOCNOTTY), ENOTTY);
	EXPECT_OK(open("/dev/tty", O_RDWR));
}

CASE(giving_up_and_taking_another)
{
	struct pty t = pty_control(), u = pty_new();
	signal(SIGHUP, SIG_IGN);
	EXPECT_OK(ioctl(t.slave, TIOCNOTTY));
	EXPECT_OK(ioctl(u.slave, TIOCSCTTY, 0));
	EXPECT_EQ(tcgetsid(u.slave), getsid(0));
	EXPECT_ERRNO(tcgetsid(t.slave), ENOTTY);
	int fd = EXPECT_OK(open("/dev/tty", O_RDWR));
	type(fd, "x");
	EXPECT_COMES(u.master, "x");
}

CASE(members_of_before_do_not_get_the_leaders_terminal)
{
	struct pty t = pty_new();
	struct gate ready = gate_new();
	CHILD(p) {
		gate_wait(&ready);
		EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO); /* was here before it was acquired */
		EXPECT_ERRNO(tcgetpgrp(t.slave), ENOTTY);
		EXPECT_EQ(stat_number(getpid(), 3), 0);
		CHILD(q) {
			EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
		}
		JOIN(q);
	}
	EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0));
	gate_open(&ready);
	JOIN(p);
	CHILD(r) {
		EXPECT_OK(open("/dev/tty", O_RDWR));
	}
	JOIN(r);
}

/* ---- /proc and waiting. ---- */

CASE(foreground_group_in_proc)
{
	struct pty t = pty_control();
	struct gate ready = gate_new();
	CHILD(p) {
		EXPECT_OK(setpgid(0, 0));
		gate_open(&ready);
		pause();
	}
	gate_wait(&ready);
	EXPECT_EQ(stat_number(p, 4), getpgrp());
	EXPECT_OK(tcsetpgrp(t.slave, p));
	EXPECT_EQ(stat_number(p, 4), p);
	EXPECT_EQ(stat_number(getpid(), 4), p);
	EXPECT_EQ(stat_number(p, 3), stat_number(getpid(), 3));
	EXPECT_OK(kill(p, SIGKILL));
	EXPECT_KILLED(p, SIGKILL);
	EXPECT_EQ(stat_number(getpid(), 4), p); /* the number stays */
}

CASE(terminal_of_a_zombie_in_proc)
{
	pty_control();
	CHILD(p) {
		_exit(0);
	}
	siginfo_t si;
	EXPECT_OK(waitid(P_PID, p, &si, WEXITED | WNOWAIT));
	RECORD("has one", "%d", stat_number(p, 3) != 0);
	JOIN(p);
}

CASE(stops_are_seen_once)
{
	struct pty t = pty_control();
	char c;
	BACKGROUND(p) {
		(void)!read(t.slave, &c, 1);
	}
	expect_stopped(p, SIGTTIN);
	int status;
	EXPECT_EQ(waitpid(p, &status, WUNTRACED | WNOHANG), 0);
	EXPECT_OK(kill(p, SIGKILL));
	EXPECT_KILLED(p, SIGKILL);
}

CASE(stops_are_not_seen_without_being_asked_for)
{
	struct pty t = pty_control();
	char c;
	BACKGROUND(p) {
		(void)!read(t.slave, &c, 1);
	}
	siginfo_t si;
	EXPECT_OK(waitid(P_PID, p, &si, WSTOPPED | WNOWAIT));
	EXPECT_EQ(si.si_code, CLD_STOPPED);
	EXPECT_EQ(si.si_status, SIGTTIN);
	EXPECT_EQ(waitpid(p, NULL, WNOHANG), 0);
	EXPECT_EQ(waitpid(p, NULL, WCONTINUED | WNOHANG), 0);
	expect_stopped(p, SIGTTIN);
	EXPECT_OK(kill(p, SIGKILL));
	EXPECT_KILLED(p, SIGKILL);
}
