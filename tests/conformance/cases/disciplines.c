/* Which line disciplines there are, the one that does nothing (N_NULL), and the terminal as the system's console (TIOCCONS). */
#include "terminal.h"

enum { NULL_DISCIPLINE = 27 };

static void set_discipline(int fd, int number)
{
	int now = -1;
	EXPECT_OK(ioctl(fd, TIOCSETD, &number));
	EXPECT_OK(ioctl(fd, TIOCGETD, &now));
	EXPECT_EQ(now, number);
}

static struct pty without_waiting(void)
{
	struct pty t = quiet();
	EXPECT_OK(fcntl(t.master, F_SETFL, O_NONBLOCK));
	EXPECT_OK(fcntl(t.slave, F_SETFL, O_NONBLOCK));
	return t;
}

CASE(disciplines_known)
{
	struct pty t = pty_new();
	int n = -1, tty = 0;
	static const int unknown[] = {-1, 29, 31, 32, 0x7fffffff};
	EXPECT_OK(ioctl(t.slave, TIOCGETD, &n));
	EXPECT_EQ(n, 0);
	EXPECT_OK(ioctl(t.master, TIOCGETD, &n));
	EXPECT_EQ(n, 0);
	EXPECT_OK(ioctl(t.slave, TIOCSETD, &tty));
	EXPECT_OK(ioctl(t.master, TIOCSETD, &tty));
	for (unsigned i = 0; i < sizeof unknown / sizeof *unknown; i++) {
		EXPECT_ERRNO(ioctl(t.slave, TIOCSETD, &unknown[i]), EINVAL);
		EXPECT_ERRNO(ioctl(t.master, TIOCSETD, &unknown[i]), EINVAL);
	}
	CHECK(strstr(get_file("/proc/tty/ldiscs"), "n_tty       0\n"));
	CHECK(strstr(get_file("/proc/tty/ldiscs"), "n_null     27\n"));
	EXPECT_ERRNO(ioctl(t.slave, TIOCSETD, NULL), EFAULT);
	EXPECT_ERRNO(ioctl(t.slave, TIOCGETD, NULL), EFAULT);
	type(t.master, "x\n");
	EXPECT_READ(t.slave, "x\n");
}

CASE(null_neither_reads_nor_writes)
{
	struct pty t = without_waiting();
	set_discipline(t.slave, NULL_DISCIPLINE);
	char c;
	EXPECT_ERRNO(read(t.slave, &c, 1), EOPNOTSUPP);
	EXPECT_ERRNO(read(t.slave, &c, 0), EOPNOTSUPP);
	EXPECT_ERRNO(write(t.slave, "x", 1), EOPNOTSUPP);
	EXPECT_ERRNO(write(t.slave, "x", 0), EOPNOTSUPP);
	EXPECT_EQ(events_now(t.slave, POLLIN | POLLOUT | POLLPRI), 0);
	EXPECT_EQ(events_now(t.master, POLLIN | POLLOUT), POLLOUT);
	EXPECT_EQ(write(t.master, "y", 1), 1);
	EXPECT_ERRNO(read(t.master, &c, 1), EAGAIN); /* no echo */
	int other = EXPECT_OK(open(pty_name(t.master), O_RDWR | O_NOCTTY)), n = -1;
	EXPECT_OK(ioctl(other, TIOCGETD, &n)); /* it is the terminal's, not the description's */
	EXPECT_EQ(n, NULL_DISCIPLINE);
	EXPECT_OK(ioctl(t.master, TIOCGETD, &n)); /* and of this side only */
	EXPECT_EQ(n, 0);
}

CASE(null_knows_no_settings)
{
	struct pty t = without_waiting();
	struct termios tio;
	EXPECT_OK(tcgetattr(t.slave, &tio));
	set_discipline(t.slave, NULL_DISCIPLINE);
	struct termios other;
	EXPECT_ERRNO(tcgetattr(t.slave, &other), EINVAL);
	EXPECT_ERRNO(tcsetattr(t.slave, TCSANOW, &tio), EINVAL);
	EXPECT_ERRNO(tcsetattr(t.slave, TCSAFLUSH, &tio), EINVAL);
	EXPECT_ERRNO(tcflush(t.slave, TCIFLUSH), EINVAL);
	EXPECT_ERRNO(tcflush(t.slave, TCOFLUSH), EINVAL);
	EXPECT_ERRNO(tcflow(t.slave, TCOOFF), EINVAL);
	int n;
	EXPECT_ERRNO(ioctl(t.slave, FIONREAD, &n), EINVAL);
	EXPECT_ERRNO(ioctl(t.slave, TIOCOUTQ, &n), EINVAL);
	EXPECT_ERRNO(ioctl(t.slave, 0x1234, &n), EINVAL); /* not ENOTTY */
	struct winsize size;
	EXPECT_OK(ioctl(t.slave, TIOCGWINSZ, &size));
	EXPECT_OK(tcdrain(t.slave));
	EXPECT_OK(tcsendbreak(t.slave, 0));
	EXPECT_OK(tcgetattr(t.master, &other)); /* the master's discipline still answers */
	EXPECT_EQ(other.c_line, NULL_DISCIPLINE);
	set_discipline(t.slave, 0);
	EXPECT_OK(tcgetattr(t.slave, &other));
	EXPECT_EQ(other.c_line, 0);
	EXPECT_EQ(other.c_lflag, tio.c_lflag); /* kept all the while */
}

CASE(null_keeps_what_has_not_come_in)
{
	struct pty t = without_waiting();
	type(t.master, "lost\n");
	wait_for(t.slave, POLLIN);
	set_discipline(t.slave, NULL_DISCIPLINE);
	type(t.master, "kept\n");
	set_discipline(t.slave, 0);
	wait_for(t.slave, POLLIN);
	EXPECT_READ(t.slave, "kept\n");
	type(t.master, "next\n");
	wait_for(t.slave, POLLIN);
	EXPECT_READ(t.slave, "next\n");
}

CASE(null_takes_a_limited_amount)
{
	struct pty t = without_waiting();
	raw_mode(t.slave, 1, 0);
	set_discipline(t.slave, NULL_DISCIPLINE);
	static char block[1024];
	memset(block, 'b', sizeof block);
	long total = 0;
	for (ssize_t n; (n = write(t.master, block, sizeof block)) > 0;)
		total += n;
	EXPECT_EQ(errno, EAGAIN);
	EXPECT_EQ(events_now(t.master, POLLOUT), 0);
	CHECK(total > 4096 && total < 65536);
	set_discipline(t.slave, 0);
	static char back[4096];
	long got = 0;
	while (got < total) {
		wait_for(t.slave, POLLIN);
		ssize_t n = EXPECT_OK(read(t.slave, back, sizeof back));
		CHECK(memchr(back, 'b', 1) && n > 0);
		got += n;
	}
	EXPECT_EQ(got, total);
	wait_for(t.master, POLLOUT);
}

CASE(null_on_the_master)
{
	struct pty t = without_waiting();
	set_discipline(t.master, NULL_DISCIPLINE);
	char c;
	int n = -1, on = 1;
	EXPECT_ERRNO(read(t.master, &c, 1), EOPNOTSUPP);
	EXPECT_ERRNO(write(t.master, "q", 1), EOPNOTSUPP);
	EXPECT_EQ(events_now(t.master, POLLIN | POLLOUT), 0);
	EXPECT_ERRNO(ioctl(t.master, FIONREAD, &n), EINVAL);
	EXPECT_OK(ioctl(t.slave, FIONREAD, &n));
	EXPECT_EQ(n, 0);
	EXPECT_OK(ioctl(t.master, TIOCGPTN, &n)); /* the driver's */
	EXPECT_OK(ioctl(t.master, TIOCPKT, &on));
	on = 0;
	EXPECT_OK(ioctl(t.master, TIOCPKT, &on));
	EXPECT_EQ(write(t.slave, "out", 3), 3);
	EXPECT_EQ(events_now(t.slave, POLLIN | POLLOUT), POLLOUT);
	set_discipline(t.master, 0);
	EXPECT_OK(fcntl(t.master, F_SETFL, 0));
	EXPECT_COMES(t.master, "out");
}

CASE(null_ends_with_a_hangup_and_not_with_a_close)
{
	needs_root();
	struct pty t = without_waiting();
	char name[32];
	int n = -1;
	snprintf(name, sizeof name, "%s", pty_name(t.master));
	set_discipline(t.slave, NULL_DISCIPLINE);
	EXPECT_OK(close(t.slave));
	t.slave = EXPECT_OK(open(name, O_RDWR | O_NOCTTY));
	EXPECT_OK(ioctl(t.slave, TIOCGETD, &n));
	EXPECT_EQ(n, NULL_DISCIPLINE);
	EXPECT_OK(ioctl(t.slave, TIOCVHANGUP));
	t.slave = EXPECT_OK(open(name, O_RDWR | O_NOCTTY));
	EXPECT_OK(ioctl(t.slave, TIOCGETD, &n));
	EXPECT_EQ(n, 0);
}

CASE(null_of_a_dead_terminal)
{
	struct pty t = without_waiting();
	set_discipline(t.slave, NULL_DISCIPLINE);
	EXPECT_OK(close(t.master));
	char c;
	EXPECT_EQ(read(t.slave, &c, 1), 0);
	EXPECT_ERRNO(write(t.slave, "x", 1), EIO);
	EXPECT_EQ(events_now(t.slave, POLLIN | POLLOUT), POLLIN | POLLOUT | POLLERR | POLLHUP);
}

CASE(console_output_goes_to_one_terminal)
{
	needs_root();
	struct pty t = pty_new(), u = pty_new();
	EXPECT_ERRNO(ioctl(t.master, TIOCCONS), EINVAL);
	int reader = EXPECT_OK(open(pty_name(t.master), O_RDONLY | O_NOCTTY));
	EXPECT_ERRNO(ioctl(reader, TIOCCONS), EBADF);
	CHILD(p) {
		become_user(4321, 4321);
		EXPECT_ERRNO(ioctl(t.slave, TIOCCONS), EPERM);
		EXPECT_ERRNO(ioctl(reader, TIOCCONS), EPERM);
	}
	JOIN(p);
	EXPECT_OK(ioctl(t.slave, TIOCCONS));
	EXPECT_ERRNO(ioctl(t.slave, TIOCCONS), EBUSY);
	EXPECT_ERRNO(ioctl(u.slave, TIOCCONS), EBUSY);
	EXPECT_OK(close(t.master)); /* a hangup ends it */
	EXPECT_OK(ioctl(u.slave, TIOCCONS));
	EXPECT_OK(close(u.master));
}

/* A read that waits when the discipline of its side changes, in a child; what it gave is its exit status. */
static int read_over_a_change(struct pty t, int fd, const char *pending)
{
	struct gate ready = gate_new();
	CHILD(p) {
		char buf[10];
		gate_open(&ready);
		ssize_t n = read(fd, buf, sizeof buf);
		_exit(n < 0 ? 100 + errno : n);
	}
	if (*pending)
		EXPECT_EQ(write(t.master, pending, strlen(pending)), (ssize_t)strlen(pending));
	gate_wait(&ready);
	wait_asleep(p);
	sleep_ms(50);
	set_discipline(fd, NULL_DISCIPLINE);
	return WEXITSTATUS(WAIT(p));
}

CASE(a_change_ends_reads_that_wait)
{
	struct pty t = quiet();
	EXPECT_EQ(read_over_a_change(t, t.slave, ""), 100 + EAGAIN);
	t = quiet();
	EXPECT_EQ(read_over_a_change(t, t.master, ""), 100 + EAGAIN);
	t = quiet();
	raw_mode(t.slave, 5, 0);
	EXPECT_EQ(read_over_a_change(t, t.slave, "ab"), 2);
}

CASE(a_change_ends_writes_that_wait)
{
	struct pty t = quiet();
	CHILD(p) {
		static char much[100000];
		ssize_t n = write(t.slave, much, sizeof much);
		_exit(n > 0 && n < (ssize_t)sizeof much ? 1 : 2);
	}
	wait_asleep(p);
	sleep_ms(50);
	set_discipline(t.slave, NULL_DISCIPLINE);
	EXPECT_EXIT(p, 1);
}
