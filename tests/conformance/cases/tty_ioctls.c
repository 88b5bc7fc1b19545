/* Terminals' smaller calls: exclusive use, device numbers, breaks, and who may make them from the
 * background. */
#include "terminal.h"
#include "waits.h"
#include <sys/sysmacros.h>

/* Runs the block in a background group of our session. */
#define BACKGROUND(p)                                                                    \
	CHILD(p)                                                                         \
	for (EXPECT_OK(setpgid(0, 0));; _exit(0))

/* ---- Exclusive use. ---- */

CASE(exclusive_use_of_every_way_in)
{
	struct pty t = pty_control();
	needs_root();
	EXPECT_OK(fchmod(t.slave, 0666));
	EXPECT_OK(ioctl(t.slave, TIOCEXCL));
	char name[32], proc[64];
	snprintf(name, sizeof name, "%s", pty_name(t.master));
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", t.slave);
	CHILD(p) {
		become_user(4321, 4321);
		EXPECT_ERRNO(open(name, O_RDWR | O_NOCTTY), EBUSY);
		EXPECT_ERRNO(open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY), EBUSY);
		EXPECT_ERRNO(open("/dev/tty", O_RDWR), EBUSY);
		EXPECT_ERRNO(open(proc, O_RDWR | O_NOCTTY), EBUSY);
		EXPECT_ERRNO(ioctl(t.master, TIOCGPTPEER, O_RDWR | O_NOCTTY), EBUSY);
		int path = EXPECT_OK(open(name, O_PATH)); /* opens no terminal */
		EXPECT_OK(close(path));
		EXPECT_OK(ioctl(t.slave, TIOCNXCL)); /* anybody who has it open may end it */
		EXPECT_OK(close(EXPECT_OK(open(name, O_RDWR | O_NOCTTY))));
	}
	JOIN(p);
}

CASE(exclusive_use_and_the_lock)
{
	struct pty t = pty_new();
	needs_root();
	int on = 1;
	char name[32];
	snprintf(name, sizeof name, "%s", pty_name(t.master));
	EXPECT_OK(fchmod(t.slave, 0666));
	EXPECT_OK(ioctl(t.slave, TIOCEXCL));
	EXPECT_OK(ioctl(t.master, TIOCSPTLCK, &on));
	CHILD(p) {
		become_user(4321, 4321);
		EXPECT_ERRNO(open(name, O_RDWR | O_NOCTTY), EBUSY); /* before the lock is looked at */
	}
	JOIN(p);
	EXPECT_ERRNO(open(name, O_RDWR | O_NOCTTY), EIO);
}

CASE(exclusive_use_of_a_master)
{
	/* The two sides have it apart, and the master's keeps nobody out. */
	struct pty t = pty_new();
	int is = -1;
	EXPECT_OK(ioctl(t.master, TIOCEXCL));
	EXPECT_OK(ioctl(t.master, TIOCGEXCL, &is));
	EXPECT_EQ(is, 1);
	EXPECT_OK(ioctl(t.slave, TIOCGEXCL, &is));
	EXPECT_EQ(is, 0);
	needs_root();
	EXPECT_OK(fchmod(t.slave, 0666));
	char name[32];
	snprintf(name, sizeof name, "%s", pty_name(t.master));
	CHILD(p) {
		become_user(4321, 4321);
		EXPECT_OK(open(name, O_RDWR | O_NOCTTY));
	}
	JOIN(p);
	EXPECT_ERRNO(ioctl(t.slave, TIOCGEXCL, NULL), EFAULT);
}

/* ---- Small ones. ---- */

CASE(device_number)
{
	struct pty t = pty_new();
	unsigned of_slave = 0, of_master = 0;
	struct stat st;
	EXPECT_OK(fstat(t.slave, &st));
	EXPECT_OK(ioctl(t.slave, TIOCGDEV, &of_slave));
	EXPECT_EQ(of_slave, st.st_rdev);
	EXPECT_OK(ioctl(t.master, TIOCGDEV, &of_master)); /* that of the slave too */
	EXPECT_EQ(of_master, of_slave);
	EXPECT_EQ(major(of_slave), 136);
	EXPECT_ERRNO(ioctl(t.slave, TIOCGDEV, NULL), EFAULT);
	EXPECT_OK(fstat(t.master, &st));
	EXPECT_EQ(st.st_rdev, makedev(5, 2));
}

CASE(breaks_and_drains)
{
	struct pty t = pty_new();
	type(t.slave, "unread");
	for (int i = 0; i < 2; i++) {
		int fd = i ? t.master : t.slave;
		EXPECT_OK(ioctl(fd, TCSBRK, 0));
		EXPECT_OK(ioctl(fd, TCSBRK, 1)); /* tcdrain(3) */
		EXPECT_OK(ioctl(fd, TCSBRKP, 0));
		EXPECT_OK(ioctl(fd, TCSBRKP, 1));
		EXPECT_OK(ioctl(fd, TIOCSBRK));
		EXPECT_OK(ioctl(fd, TIOCCBRK));
		int n = -1;
		EXPECT_OK(ioctl(fd, TIOCOUTQ, &n));
		EXPECT_EQ(n, 0);
	}
	EXPECT_COMES(t.master, "unread");
	EXPECT_EQ(events_now(t.slave, POLLIN), 0); /* no break came */
}

CASE(modem_lines)
{
	struct pty t = pty_new();
	int n = 0;
	char big[512];
	static const unsigned long calls[] = {TIOCMGET, TIOCMSET, TIOCMBIS, TIOCMBIC, TIOCMIWAIT, TIOCGICOUNT, TIOCGSERIAL, TIOCSSERIAL, 0x5432 /* TCGETX */};
	for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
		EXPECT_ERRNO(ioctl(t.slave, calls[i], big), ENOTTY);
		EXPECT_ERRNO(ioctl(t.master, calls[i], big), ENOTTY);
	}
	struct termios tio;
	EXPECT_OK(ioctl(t.slave, TIOCGSOFTCAR, &n));
	EXPECT_EQ(n, 0);
	n = 1;
	EXPECT_OK(ioctl(t.slave, TIOCSSOFTCAR, &n));
	EXPECT_OK(tcgetattr(t.slave, &tio));
	CHECK(tio.c_cflag & CLOCAL);
	n = 0;
	EXPECT_OK(ioctl(t.master, TIOCGSOFTCAR, &n));
	EXPECT_EQ(n, 1);
}

CASE(calls_of_other_terminals)
{
	struct pty t = pty_new();
	char buf[256] = {0};
	static const unsigned long calls[] = {0x4B3A /* KDSETMODE */, 0x5600 /* VT_OPENQRY */, 0x541C /* TIOCLINUX */, FIOQSIZE};
	for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
		EXPECT_ERRNO(ioctl(t.slave, calls[i], buf), ENOTTY);
		EXPECT_ERRNO(ioctl(t.master, calls[i], buf), ENOTTY);
	}
}

CASE(settings_by_the_old_calls)
{
	struct pty t = pty_new();
	struct {
		unsigned short iflag, oflag, cflag, lflag;
		unsigned char line, cc[8];
	} old;
	struct termios tio;
	EXPECT_OK(ioctl(t.slave, TCGETA, &old));
	EXPECT_EQ(old.cc[VEOF], 4);
	old.lflag &= ~ECHO;
	old.cc[VINTR] = 'i';
	EXPECT_OK(ioctl(t.slave, TCSETA, &old));
	EXPECT_OK(tcgetattr(t.slave, &tio));
	CHECK(!(tio.c_lflag & ECHO));
	EXPECT_EQ(tio.c_cc[VINTR], 'i');
	EXPECT_EQ(tio.c_cc[VSUSP], 26); /* what the old kind has no place for stays */
	CHECK(tio.c_lflag & IEXTEN);
	type(t.master, "x\n");
	wait_for(t.slave, POLLIN);
	EXPECT_OK(ioctl(t.slave, TCSETAW, &old));
	EXPECT_EQ(readable_bytes(t.slave), 2);
	EXPECT_OK(ioctl(t.slave, TCSETAF, &old));
	EXPECT_EQ(readable_bytes(t.slave), 0);
	EXPECT_ERRNO(ioctl(t.slave, TCGETA, NULL), EFAULT);
	EXPECT_ERRNO(ioctl(t.slave, TCSETA, NULL), EFAULT);
}

CASE(tables_in_proc)
{
	char *text = get_file("/proc/tty/drivers");
	CHECK(strstr(text, "/dev/tty             /dev/tty        5       0 system:/dev/tty\n"));
	CHECK(strstr(text, "/dev/ptmx            /dev/ptmx       5       2 system\n"));
	CHECK(strstr(text, "pty_slave            /dev/pts      136 0-1048575 pty:slave\n"));
	CHECK(strstr(text, "pty_master           /dev/ptm      128 0-1048575 pty:master\n"));
	struct stat st;
	EXPECT_OK(stat("/proc/tty/driver", &st));
	CHECK(S_ISDIR(st.st_mode));
	EXPECT_EQ(st.st_mode & 0777, 0500);
	EXPECT_OK(stat("/proc/tty/ldisc", &st));
	EXPECT_EQ(st.st_mode & 0777, 0555);
	CHECK(strstr(get_file("/proc/devices"), "  5 /dev/tty\n"));
	CHECK(strstr(get_file("/proc/devices"), "136 pts\n"));
}

/* ---- From the background. ---- */

CASE(background_calls_that_stop)
{
	struct pty t = pty_control();
	static const struct {
		unsigned long call, arg;
	} calls[] = {{TCFLSH, TCIFLUSH}, {TCFLSH, TCOFLUSH}, {TCXONC, TCOON}, {TCSBRK, 0}, {TCSBRK, 1}, {TCSBRKP, 0}, {TIOCSBRK, 0}, {TIOCCBRK, 0}};
	for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
		BACKGROUND(p) {
			EXPECT_OK(ioctl(t.slave, calls[i].call, calls[i].arg));
		}
		expect_stopped(p, SIGTTOU);
		EXPECT_OK(kill(p, SIGKILL));
		EXPECT_KILLED(p, SIGKILL);
	}
	int zero = 0;
	BACKGROUND(q) {
		EXPECT_OK(ioctl(t.slave, TIOCSETD, &zero));
	}
	expect_stopped(q, SIGTTOU);
	EXPECT_OK(kill(q, SIGKILL));
	EXPECT_KILLED(q, SIGKILL);
}

CASE(background_calls_that_do_not_stop)
{
	struct pty t = pty_control();
	BACKGROUND(p) {
		struct winsize ws = {5, 6, 0, 0};
		struct termios tio;
		int n;
		EXPECT_OK(ioctl(t.slave, TIOCSWINSZ, &ws));
		EXPECT_OK(ioctl(t.slave, TIOCGWINSZ, &ws));
		EXPECT_OK(tcgetattr(t.slave, &tio));
		EXPECT_OK(ioctl(t.slave, FIONREAD, &n));
		EXPECT_OK(ioctl(t.slave, TIOCOUTQ, &n));
		EXPECT_OK(ioctl(t.slave, TIOCGETD, &n));
		EXPECT_OK(ioctl(t.slave, TIOCGPGRP, &n));
		EXPECT_OK(ioctl(t.slave, TIOCGSID, &n));
		EXPECT_OK(ioctl(t.slave, TIOCEXCL));
		EXPECT_OK(ioctl(t.slave, TIOCNXCL));
		EXPECT_EQ(events_now(t.slave, POLLIN | POLLOUT), POLLOUT);
		EXPECT_EQ(write(t.slave, "w", 1), 1);
		EXPECT_OK(ioctl(t.slave, TIOCNOTTY)); /* and then it is nobody's background */
		EXPECT_OK(tcflush(t.slave, TCIFLUSH));
		EXPECT_OK(tcsetattr(t.slave, TCSANOW, &tio));
	}
	JOIN(p);
}

CASE(background_calls_on_the_master)
{
	/* Settings are the slave's, by whichever side: those stop. What is about the master's own queues does not. */
	struct pty t = pty_control();
	struct termios tio;
	EXPECT_OK(tcgetattr(t.slave, &tio));
	BACKGROUND(p) {
		EXPECT_OK(tcflush(t.master, TCIOFLUSH));
		EXPECT_OK(tcflow(t.master, TCOON));
		EXPECT_OK(tcdrain(t.master));
		EXPECT_OK(ioctl(t.master, TIOCSBRK));
		EXPECT_OK(tcsetattr(t.master, TCSANOW, &tio));
	}
	expect_stopped(p, SIGTTOU);
	EXPECT_OK(kill(p, SIGKILL));
	EXPECT_KILLED(p, SIGKILL);
	BACKGROUND(q) {
		EXPECT_OK(tcsetpgrp(t.master, getpgrp()));
	}
	expect_stopped(q, SIGTTOU);
	EXPECT_OK(kill(q, SIGKILL));
	EXPECT_KILLED(q, SIGKILL);
}

CASE(background_calls_with_the_signal_ignored_blocked_or_caught)
{
	struct pty t = pty_control();
	struct termios tio;
	EXPECT_OK(tcgetattr(t.slave, &tio));
	BACKGROUND(p) {
		signal(SIGTTOU, SIG_IGN);
		EXPECT_OK(tcsetattr(t.slave, TCSAFLUSH, &tio));
		EXPECT_OK(tcflush(t.slave, TCIFLUSH));
		signal(SIGTTOU, SIG_DFL);
		count_signal(SIGTTOU, 0);
		EXPECT_ERRNO(tcflush(t.slave, TCIFLUSH), EINTR);
		EXPECT_ERRNO(ioctl(t.slave, TCSETS, &tio), EINTR);
		EXPECT_ERRNO(tcsetpgrp(t.slave, getpgrp()), EINTR);
		EXPECT_EQ(signals_seen[SIGTTOU], 3);
		block(SIGTTOU);
		EXPECT_OK(tcsetattr(t.slave, TCSADRAIN, &tio));
		EXPECT_OK(tcflow(t.slave, TCOON));
		CHECK(!is_pending(SIGTTOU));
	}
	JOIN(p);
}

CASE(background_calls_of_an_orphaned_group)
{
	struct pty t = pty_control();
	local_flags(t.slave, 0, TOSTOP);
	struct termios tio;
	EXPECT_OK(tcgetattr(t.slave, &tio));
	struct gate orphan = gate_new(), done = gate_new();
	CHILD(p) {
		CHILD(q) {
			EXPECT_OK(setpgid(0, 0));
			gate_wait(&orphan);
			count_signal(SIGTTOU, 0);
			EXPECT_ERRNO(write(t.slave, "x", 1), EIO);
			EXPECT_ERRNO(tcsetattr(t.slave, TCSANOW, &tio), EIO);
			EXPECT_ERRNO(tcflush(t.slave, TCIFLUSH), EIO);
			EXPECT_ERRNO(tcdrain(t.slave), EIO);
			EXPECT_EQ(signals_seen[SIGTTOU], 0);
			gate_open(&done);
		}
		(void)q;
	}
	JOIN(p);
	gate_open(&orphan);
	gate_wait(&done);
}

CASE(background_of_another_session)
{
	/* A terminal that is not one's own stops nobody. */
	struct pty t = pty_control();
	local_flags(t.slave, 0, TOSTOP);
	raw_mode(t.slave, 1, 0);
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_READ(t.slave, "x");
		type(t.slave, "y");
		EXPECT_OK(tcflush(t.slave, TCIFLUSH));
	}
	type(t.master, "x");
	EXPECT_COMES(t.master, "y");
	JOIN(p);
}

CASE(a_key_of_ones_own_and_its_signal)
{
	struct pty t = pty_control();
	static const struct {
		int key, sig;
	} keys[] = {{VINTR, SIGINT}, {VQUIT, SIGQUIT}, {VSUSP, SIGTSTP}};
	for (int i = 0; i < 3; i++) {
		block(keys[i].sig);
		control_char(t.slave, keys[i].key, '!');
		type(t.master, "!");
		take_signal(keys[i].sig);
		EXPECT_COMES(t.master, "!");
		control_char(t.slave, keys[i].key, 0); /* switched off, the key is one like others */
		TYPED(t, "!", "!");
		CHECK(!is_pending(keys[i].sig));
	}
}
