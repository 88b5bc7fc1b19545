/* Pseudoterminals as pairs: names, numbers, locks, what the end of one side means to the other, packet mode, signals of I/O. */
#include "terminal.h"
#include <sys/epoll.h>
#include <sys/sysmacros.h>

enum { LARGEFILE = 0100000 };

static int lock_of(int master)
{
	int locked = -1;
	EXPECT_OK(ioctl(master, TIOCGPTLCK, &locked));
	return locked;
}

CASE(starts_locked)
{
	int m = EXPECT_OK(open("/dev/ptmx", O_RDWR)), on = 1, off = 0;
	EXPECT_EQ(lock_of(m), 1);
	EXPECT_ERRNO(open(pty_name(m), O_RDWR | O_NOCTTY), EIO);
	EXPECT_ERRNO(ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY), EIO);
	EXPECT_OK(ioctl(m, TIOCSPTLCK, &off));
	EXPECT_EQ(lock_of(m), 0);
	int s = EXPECT_OK(open(pty_name(m), O_RDWR | O_NOCTTY));
	EXPECT_OK(ioctl(m, TIOCSPTLCK, &on));
	EXPECT_ERRNO(open(pty_name(m), O_RDWR | O_NOCTTY), EIO);
	EXPECT_ERRNO(ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY), EIO);
	CHECK(isatty(s)); /* what is open stays open */
	EXPECT_ERRNO(ioctl(s, TIOCSPTLCK, &off), ENOTTY);
	EXPECT_ERRNO(ioctl(s, TIOCGPTN, &off), ENOTTY);
	EXPECT_ERRNO(ioctl(s, TIOCGPTPEER, O_RDWR), EIO);
	EXPECT_ERRNO(ioctl(m, TIOCSPTLCK, NULL), EFAULT);
	EXPECT_ERRNO(ioctl(m, TIOCGPTN, NULL), EFAULT);
}

CASE(openpty_by_the_library)
{
	int m = EXPECT_OK(posix_openpt(O_RDWR | O_NOCTTY));
	EXPECT_OK(grantpt(m));
	EXPECT_OK(unlockpt(m));
	char name[64];
	EXPECT_EQ(ptsname_r(m, name, sizeof name), 0);
	EXPECT_STR(name, pty_name(m));
	int s = EXPECT_OK(open(name, O_RDWR | O_NOCTTY));
	char back[64];
	EXPECT_EQ(ttyname_r(s, back, sizeof back), 0);
	EXPECT_STR(back, name);
	EXPECT_EQ(ttyname_r(m, back, sizeof back), 0);
	CHECK(!strcmp(back, "/dev/ptmx") || !strcmp(back, "/dev/pts/ptmx")); /* one may be a link to the other */
	EXPECT_EQ(ptsname_r(s, name, sizeof name), ENOTTY);
}

CASE(peer_by_ioctl)
{
	struct pty t = pty_new();
	int a = EXPECT_OK(ioctl(t.master, TIOCGPTPEER, O_RDWR | O_NOCTTY));
	int b = EXPECT_OK(ioctl(t.master, TIOCGPTPEER, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
	EXPECT_EQ(fcntl(a, F_GETFD), 0);
	EXPECT_EQ(fcntl(b, F_GETFD), FD_CLOEXEC);
	EXPECT_EQ(fcntl(a, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR);
	EXPECT_EQ(fcntl(b, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY | O_NONBLOCK);
	char c;
	EXPECT_ERRNO(read(b, &c, 1), EAGAIN);
	EXPECT_ERRNO(write(b, "x", 1), EBADF);
	struct stat sa, st;
	EXPECT_OK(fstat(a, &sa));
	EXPECT_OK(stat(pty_name(t.master), &st));
	EXPECT_EQ(sa.st_ino, st.st_ino);
	EXPECT_EQ(sa.st_rdev, st.st_rdev);
	char name[64];
	EXPECT_EQ(ttyname_r(a, name, sizeof name), 0);
	EXPECT_STR(name, pty_name(t.master));
	EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO); /* O_NOCTTY was heeded */
}

CASE(peer_by_ioctl_can_take_the_terminal)
{
	struct pty t = pty_new();
	int a = EXPECT_OK(ioctl(t.master, TIOCGPTPEER, O_RDWR));
	EXPECT_EQ(tcgetsid(a), getsid(0));
	EXPECT_OK(open("/dev/tty", O_RDWR));
}

CASE(node_attributes)
{
	struct pty t = pty_new();
	struct stat st, master, ptmx;
	EXPECT_OK(fstat(t.slave, &st));
	CHECK(S_ISCHR(st.st_mode));
	EXPECT_EQ(st.st_rdev, makedev(136, pty_number(t.master)));
	EXPECT_EQ(st.st_ino, pty_number(t.master) + 3);
	EXPECT_EQ(st.st_uid, geteuid());
	EXPECT_EQ(st.st_nlink, 1);
	EXPECT_OK(fstat(t.master, &master));
	EXPECT_OK(stat("/dev/ptmx", &ptmx));
	EXPECT_EQ(master.st_rdev, makedev(5, 2));
	EXPECT_EQ(master.st_ino, ptmx.st_ino);
	EXPECT_OK(fchmod(t.slave, 0621));
	EXPECT_OK(stat(pty_name(t.master), &st));
	EXPECT_EQ(st.st_mode, S_IFCHR | 0621);
	needs_root();
	EXPECT_OK(fchown(t.slave, 12, 34));
	EXPECT_OK(stat(pty_name(t.master), &st));
	EXPECT_EQ(st.st_uid, 12);
	EXPECT_EQ(st.st_gid, 34);
}

CASE(permissions_of_the_node)
{
	struct pty t = pty_new();
	needs_root();
	EXPECT_OK(fchmod(t.slave, 0600));
	char name[32];
	snprintf(name, sizeof name, "%s", pty_name(t.master));
	CHILD(p) {
		become_user(4321, 4321);
		EXPECT_ERRNO(open(name, O_RDWR | O_NOCTTY), EACCES);
		EXPECT_ERRNO(unlink(name), EACCES);
		EXPECT_OK(ioctl(t.master, TIOCGPTPEER, O_RDWR | O_NOCTTY)); /* the master is enough */
		int m = EXPECT_OK(open("/dev/ptmx", O_RDWR));
		struct stat st;
		EXPECT_OK(stat(pty_name(m), &st));
		EXPECT_EQ(st.st_uid, 4321);
	}
	JOIN(p);
}

CASE(directory_holds_only_nodes)
{
	EXPECT_ERRNO(open("/dev/pts/new", O_RDWR | O_CREAT, 0600), EACCES);
	EXPECT_ERRNO(open("/dev/pts/999999", O_RDWR), ENOENT);
	EXPECT_ERRNO(open("/dev/pts/00", O_RDWR), ENOENT);
	EXPECT_ERRNO(mkdir("/dev/pts/d", 0755), geteuid() ? EACCES : EPERM);
	struct stat st;
	EXPECT_OK(stat("/dev/pts", &st));
	EXPECT_EQ(st.st_mode, S_IFDIR | 0755);
	EXPECT_EQ(st.st_ino, 1);
	EXPECT_OK(stat("/dev/pts/ptmx", &st));
	EXPECT_EQ(st.st_rdev, makedev(5, 2));
	EXPECT_EQ(st.st_ino, 2);
}

CASE(node_lives_as_long_as_the_master)
{
	struct pty t = pty_new();
	char name[32];
	snprintf(name, sizeof name, "%s", pty_name(t.master));
	struct stat mine, now;
	EXPECT_OK(fstat(t.slave, &mine));
	EXPECT_OK(close(t.slave));
	CHECK(exists(name));
	EXPECT_OK(close(EXPECT_OK(open(name, O_RDWR | O_NOCTTY))));
	CHECK(exists(name));
	int s = EXPECT_OK(open(name, O_RDWR | O_NOCTTY));
	EXPECT_OK(close(t.master));
	/* Somebody else may have a pair of that number by now, though not while our slave is open. */
	EXPECT_ERRNO(stat(name, &now), ENOENT);
	EXPECT_ERRNO(open(name, O_RDWR | O_NOCTTY), ENOENT);
	EXPECT_OK(fstat(s, &now));
	EXPECT_EQ(now.st_ino, mine.st_ino);
	EXPECT_EQ(now.st_nlink, 0);
	char back[64], link[64] = {0}, path[64], want[64];
	CHECK(ttyname_r(s, back, sizeof back) != 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", s);
	EXPECT_OK(readlink(path, link, sizeof link - 1));
	snprintf(want, sizeof want, "%s (deleted)", name);
	EXPECT_STR(link, want);
}

CASE(lowest_free_number)
{
	/* Others may open pairs meanwhile, so it has to come out once in many tries. */
	for (int i = 0; i < 200; i++) {
		int a = EXPECT_OK(open("/dev/ptmx", O_RDWR)), b = EXPECT_OK(open("/dev/ptmx", O_RDWR));
		int c = EXPECT_OK(open("/dev/ptmx", O_RDWR));
		int na = pty_number(a), nb = pty_number(b), nc = pty_number(c);
		EXPECT_OK(close(b));
		int d = EXPECT_OK(open("/dev/ptmx", O_RDWR)), nd = pty_number(d);
		EXPECT_OK(close(a));
		EXPECT_OK(close(c));
		EXPECT_OK(close(d));
		if (na < nb && nb < nc && nd == nb)
			return;
	}
	FAIL("a freed number is never taken again");
}

CASE(number_is_kept_while_the_slave_is_open)
{
	struct pty t = pty_new();
	int n = pty_number(t.master), m[20];
	EXPECT_OK(close(t.master));
	for (int i = 0; i < 20; i++) {
		m[i] = EXPECT_OK(open("/dev/ptmx", O_RDWR));
		CHECK(pty_number(m[i]) != n);
	}
}

CASE(opening_modes_of_the_master)
{
	int r = EXPECT_OK(open("/dev/ptmx", O_RDONLY)), rn = EXPECT_OK(open("/dev/ptmx", O_RDWR | O_NONBLOCK | O_NOCTTY));
	CHECK(pty_number(r) != pty_number(rn));
	char c;
	EXPECT_ERRNO(write(r, "x", 1), EBADF);
	EXPECT_ERRNO(read(rn, &c, 1), EAGAIN);
	EXPECT_EQ(fcntl(rn, F_GETFL), O_RDWR | O_NONBLOCK | LARGEFILE);
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", r);
	int again = EXPECT_OK(open(path, O_RDWR)); /* another pair, not this one */
	CHECK(pty_number(again) != pty_number(r));
	EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO); /* a master never becomes a controlling terminal */
	EXPECT_OK(ioctl(rn, TIOCSCTTY, 0)); /* asked for by the master, it is the slave that becomes one */
	int off = 0;
	EXPECT_OK(ioctl(rn, TIOCSPTLCK, &off));
	int s = EXPECT_OK(open(pty_name(rn), O_RDWR | O_NOCTTY));
	EXPECT_EQ(tcgetpgrp(s), getpgrp());
	EXPECT_EQ(tcgetsid(s), getsid(0));
}

CASE(master_gone_hangs_the_slave_up)
{
	struct pty t = pty_new();
	raw_mode(t.slave, 1, 0);
	EXPECT_EQ(events_now(t.slave, POLLIN | POLLOUT), POLLOUT);
	EXPECT_OK(close(t.master));
	EXPECT_EQ(wait_for(t.slave, POLLIN | POLLOUT), POLLIN | POLLOUT | POLLERR | POLLHUP);
	char c;
	EXPECT_EQ(read(t.slave, &c, 1), 0);
	EXPECT_EQ(read(t.slave, &c, 1), 0);
	EXPECT_ERRNO(write(t.slave, "x", 1), EIO);
	struct termios tio;
	struct winsize ws;
	int n;
	EXPECT_ERRNO(ioctl(t.slave, TCGETS, &tio), EIO);
	EXPECT_ERRNO(ioctl(t.slave, TIOCGWINSZ, &ws), EIO);
	EXPECT_ERRNO(ioctl(t.slave, FIONREAD, &n), EIO);
	EXPECT_ERRNO(ioctl(t.slave, TCFLSH, TCIFLUSH), EIO);
	EXPECT_ERRNO(ioctl(t.slave, 0x1234, 0), EIO);
	EXPECT_EQ(isatty(t.slave), 0);
	EXPECT_EQ(errno, EIO);
	EXPECT_EQ(fcntl(t.slave, F_GETFL), O_RDWR | LARGEFILE);
	int on = 1;
	EXPECT_OK(ioctl(t.slave, FIONBIO, &on)); /* that one is not the terminal's */
}

CASE(unread_input_is_lost_with_the_master)
{
	struct pty t = pty_new();
	raw_mode(t.slave, 1, 0);
	type(t.master, "lost");
	wait_for(t.slave, POLLIN);
	EXPECT_OK(close(t.master));
	char c;
	EXPECT_EQ(read(t.slave, &c, 1), 0);
}

CASE(master_gone_wakes_a_reader)
{
	struct pty t = pty_new();
	CHILD(p) {
		EXPECT_OK(close(t.master));
		char c;
		ssize_t n = read(t.slave, &c, 1);
		CHECK((n == -1 && errno == EIO) || n == 0); /* EIO while it waits, an end from then on */
		EXPECT_EQ(read(t.slave, &c, 1), 0);
	}
	wait_asleep(p);
	EXPECT_OK(close(t.master));
	JOIN(p);
}

CASE(slave_gone_is_eio_on_the_master)
{
	struct pty t = pty_new();
	raw_mode(t.slave, 1, 0);
	type(t.slave, "rest");
	EXPECT_OK(close(t.slave));
	/* What was written is still to be had, and only then the end. */
	CHECK(wait_for(t.master, POLLIN) & POLLIN);
	EXPECT_COMES(t.master, "rest");
	EXPECT_EQ(wait_for(t.master, POLLIN) & POLLHUP, POLLHUP);
	char c;
	EXPECT_ERRNO(read(t.master, &c, 1), EIO);
	EXPECT_OK(fcntl(t.master, F_SETFL, O_NONBLOCK));
	EXPECT_ERRNO(read(t.master, &c, 1), EIO);
	EXPECT_EQ(events_now(t.master, POLLIN | POLLOUT), POLLOUT | POLLHUP);
}

CASE(slave_gone_wakes_a_reader)
{
	struct pty t = pty_new();
	CHILD(p) {
		EXPECT_OK(close(t.slave));
		char c;
		EXPECT_ERRNO(read(t.master, &c, 1), EIO);
	}
	wait_asleep(p);
	EXPECT_OK(close(t.slave));
	JOIN(p);
}

CASE(last_of_many_slaves)
{
	struct pty t = pty_new();
	int b = EXPECT_OK(open(pty_name(t.master), O_RDONLY | O_NOCTTY)), c = EXPECT_OK(dup(t.slave));
	EXPECT_OK(close(t.slave));
	EXPECT_EQ(events_now(t.master, POLLIN), 0);
	EXPECT_OK(close(b));
	EXPECT_EQ(events_now(t.master, POLLIN), 0);
	EXPECT_OK(close(c));
	EXPECT_EQ(wait_for(t.master, POLLIN), POLLHUP);
}

CASE(slave_opened_again)
{
	struct pty t = pty_new();
	raw_mode(t.slave, 1, 0);
	EXPECT_OK(close(t.slave));
	EXPECT_EQ(wait_for(t.master, POLLIN), POLLHUP);
	int s = EXPECT_OK(open(pty_name(t.master), O_RDWR | O_NOCTTY));
	EXPECT_EQ(events_now(t.master, POLLIN), 0);
	struct termios tio;
	EXPECT_OK(tcgetattr(s, &tio));
	CHECK(!(tio.c_lflag & ICANON)); /* the settings outlive it */
	type(s, "new");
	EXPECT_COMES(t.master, "new");
	type(t.master, "in");
	EXPECT_READ(s, "in");
}

CASE(master_before_any_slave)
{
	int m = EXPECT_OK(open("/dev/ptmx", O_RDWR | O_NONBLOCK)), off = 0;
	char c;
	EXPECT_ERRNO(read(m, &c, 1), EAGAIN); /* no slave yet is not a hangup */
	EXPECT_EQ(events_now(m, POLLIN | POLLOUT), POLLOUT);
	EXPECT_OK(ioctl(m, TIOCSPTLCK, &off));
	EXPECT_EQ(write(m, "early\n", 6), 6);
	int s = EXPECT_OK(open(pty_name(m), O_RDWR | O_NOCTTY));
	EXPECT_READ(s, "early\n");
}

CASE(both_sides_at_the_same_settings)
{
	struct pty t = pty_new();
	struct termios a, b;
	EXPECT_OK(tcgetattr(t.slave, &a));
	EXPECT_OK(tcgetattr(t.master, &b));
	EXPECT_EQ(a.c_lflag, b.c_lflag);
	EXPECT_EQ(a.c_iflag, b.c_iflag);
	EXPECT_EQ(a.c_oflag, b.c_oflag);
	b.c_lflag &= ~(ICANON | ECHO);
	EXPECT_OK(tcsetattr(t.master, TCSANOW, &b));
	EXPECT_OK(tcgetattr(t.slave, &a));
	EXPECT_EQ(a.c_lflag, b.c_lflag);
	struct winsize ws = {12, 34, 56, 78}, seen;
	EXPECT_OK(ioctl(t.master, TIOCGWINSZ, &seen));
	EXPECT_EQ(seen.ws_row | seen.ws_col | seen.ws_xpixel | seen.ws_ypixel, 0);
	EXPECT_OK(ioctl(t.master, TIOCSWINSZ, &ws));
	EXPECT_OK(ioctl(t.slave, TIOCGWINSZ, &seen));
	EXPECT_EQ(memcmp(&ws, &seen, sizeof ws), 0);
}

CASE(a_full_slave_blocks_the_writer)
{
	struct pty t = pty_new();
	raw_mode(t.slave, 1, 0);
	EXPECT_OK(fcntl(t.slave, F_SETFL, O_NONBLOCK));
	static char block[1000];
	memset(block, 'b', sizeof block);
	long total = fill(t);
	ssize_t n;
	CHECK(total >= 2048);
	EXPECT_EQ(events_now(t.slave, POLLOUT), 0);
	CHILD(p) {
		EXPECT_OK(fcntl(t.slave, F_SETFL, 0));
		EXPECT_EQ(write(t.slave, block, sizeof block), sizeof block);
	}
	total += sizeof block;
	static char got[4096];
	while (total > 0) {
		n = EXPECT_OK(read(t.master, got, sizeof got));
		CHECK(got[0] == 'b' && got[n - 1] == 'b');
		total -= n;
	}
	JOIN(p);
	EXPECT_EQ(total, 0);
}

CASE(a_full_input_queue_blocks_the_master)
{
	struct pty t = pty_new();
	raw_mode(t.slave, 1, 0);
	EXPECT_OK(fcntl(t.master, F_SETFL, O_NONBLOCK));
	static char block[4096];
	memset(block, 'b', sizeof block);
	long total = 0;
	ssize_t n;
	while ((n = write(t.master, block, sizeof block)) > 0 && total < 1 << 20)
		total += n;
	EXPECT_EQ(n, -1);
	EXPECT_EQ(errno, EAGAIN);
	CHECK(total >= 4095);
	CHILD(p) {
		static char got[4096];
		for (long left = total + 4096; left > 0;)
			left -= EXPECT_OK(read(t.slave, got, sizeof got));
	}
	EXPECT_OK(fcntl(t.master, F_SETFL, 0));
	EXPECT_EQ(write(t.master, block, sizeof block), sizeof block);
	JOIN(p);
}

CASE(epoll_edges)
{
	struct pty t = pty_new();
	raw_mode(t.slave, 1, 0);
	int ep = EXPECT_OK(epoll_create1(0));
	struct epoll_event e = {EPOLLIN | EPOLLET, {.fd = t.slave}}, got;
	EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, t.slave, &e));
	EXPECT_EQ(epoll_wait(ep, &got, 1, 0), 0);
	type(t.master, "a");
	EXPECT_EQ(epoll_wait(ep, &got, 1, 8000), 1);
	EXPECT_EQ(got.events, EPOLLIN);
	EXPECT_EQ(epoll_wait(ep, &got, 1, 0), 0);
	type(t.master, "b");
	EXPECT_EQ(epoll_wait(ep, &got, 1, 8000), 1);
	EXPECT_OK(close(t.master));
	do
		EXPECT_EQ(epoll_wait(ep, &got, 1, 8000), 1);
	while (!(got.events & EPOLLHUP));
	CHECK(got.events & EPOLLERR);
}

CASE(signal_by_ioctl)
{
	struct pty t = pty_control();
	count_signal(SIGUSR1, 0);
	count_signal(SIGINT, 0);
	count_signal(SIGQUIT, 0);
	EXPECT_OK(ioctl(t.master, TIOCSIG, SIGINT));
	EXPECT_EQ(signals_seen[SIGINT], 1);
	EXPECT_OK(ioctl(t.master, TIOCSIG, SIGQUIT));
	EXPECT_EQ(signals_seen[SIGQUIT], 1);
	EXPECT_ERRNO(ioctl(t.master, TIOCSIG, SIGUSR1), EINVAL);
	EXPECT_ERRNO(ioctl(t.master, TIOCSIG, 65), EINVAL);
	EXPECT_ERRNO(ioctl(t.slave, TIOCSIG, SIGINT), ENOTTY);
	EXPECT_EQ(signals_seen[SIGUSR1], 0);
}

CASE(exclusive_use)
{
	struct pty t = pty_new();
	int is = -1;
	EXPECT_OK(ioctl(t.slave, TIOCGEXCL, &is));
	EXPECT_EQ(is, 0);
	EXPECT_OK(ioctl(t.slave, TIOCEXCL));
	EXPECT_OK(ioctl(t.slave, TIOCGEXCL, &is));
	EXPECT_EQ(is, 1);
	if (geteuid() == 0) {
		EXPECT_OK(close(EXPECT_OK(open(pty_name(t.master), O_RDWR | O_NOCTTY))));
		char name[32];
		snprintf(name, sizeof name, "%s", pty_name(t.master));
		EXPECT_OK(fchmod(t.slave, 0666));
		CHILD(p) {
			become_user(4321, 4321);
			EXPECT_ERRNO(open(name, O_RDWR | O_NOCTTY), EBUSY);
		}
		JOIN(p);
	} else {
		EXPECT_ERRNO(open(pty_name(t.master), O_RDWR | O_NOCTTY), EBUSY);
	}
	EXPECT_OK(ioctl(t.slave, TIOCNXCL));
	EXPECT_OK(close(EXPECT_OK(open(pty_name(t.master), O_RDWR | O_NOCTTY))));
}

CASE(ioctl_errors)
{
	struct pty t = pty_new();
	struct termios tio;
	int p[2], n;
	EXPECT_OK(pipe(p));
	EXPECT_ERRNO(ioctl(p[0], TCGETS, &tio), ENOTTY);
	EXPECT_ERRNO(ioctl(p[0], TIOCGWINSZ, &n), ENOTTY);
	EXPECT_ERRNO(ioctl(0, TCGETS, &tio), ENOTTY);
	EXPECT_ERRNO(ioctl(99, TCGETS, &tio), EBADF);
	EXPECT_ERRNO(ioctl(t.slave, TCGETS, 8), EFAULT);
	EXPECT_ERRNO(ioctl(t.slave, TCSETS, 8), EFAULT);
	EXPECT_ERRNO(ioctl(t.slave, TIOCGWINSZ, 8), EFAULT);
	EXPECT_ERRNO(ioctl(t.slave, TIOCSWINSZ, 8), EFAULT);
	EXPECT_ERRNO(ioctl(t.slave, FIONREAD, 8), EFAULT);
	EXPECT_ERRNO(ioctl(t.slave, 0x1234, &n), ENOTTY);
	EXPECT_ERRNO(ioctl(t.slave, TCFLSH, 3), EINVAL);
	EXPECT_ERRNO(ioctl(t.slave, TCXONC, 4), EINVAL);
	EXPECT_ERRNO(ioctl(t.slave, TIOCGPGRP, &n), ENOTTY); /* not our controlling terminal */
	EXPECT_ERRNO(ioctl(t.slave, TIOCGSID, &n), ENOTTY);
	int path = EXPECT_OK(open(pty_name(t.master), O_PATH));
	EXPECT_ERRNO(ioctl(path, TCGETS, &tio), EBADF);
}

CASE(the_peer_as_a_path_only)
{
	struct pty t = pty_new();
	struct stat a, b;
	char c;
	int fd = EXPECT_OK(ioctl(t.master, TIOCGPTPEER, O_PATH));
	EXPECT_EQ(fcntl(fd, F_GETFL), O_PATH);
	EXPECT_ERRNO(read(fd, &c, 1), EBADF);
	EXPECT_ERRNO(ioctl(fd, TIOCGPTN, &c), EBADF);
	EXPECT_OK(fstat(fd, &a));
	EXPECT_OK(fstat(t.slave, &b));
	EXPECT_EQ(a.st_ino, b.st_ino);
}
