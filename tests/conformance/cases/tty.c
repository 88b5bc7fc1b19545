/* /dev/tty: each open is a description of its own, whatever else shares the terminal. */
#include "terminal.h"
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

enum { LARGEFILE = 0100000 };

static int tty_open(int flags)
{
	return EXPECT_OK(open("/dev/tty", flags | O_CLOEXEC));
}

CASE(without_a_terminal)
{
	EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
	EXPECT_ERRNO(open("/dev/tty", O_RDONLY | O_NONBLOCK), ENXIO);
	EXPECT_ERRNO(open("/dev/tty", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	EXPECT_ERRNO(open("/dev/tty", O_RDONLY | O_DIRECTORY), ENOTDIR);
	int fd = EXPECT_OK(open("/dev/tty", O_PATH));
	struct stat st;
	EXPECT_OK(fstat(fd, &st));
	CHECK(S_ISCHR(st.st_mode));
	EXPECT_EQ(st.st_rdev, makedev(5, 0));
	pty_new();
	EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
}

CASE(nonblock_of_one_open_is_not_seen_on_another)
{
	struct pty t = pty_control();
	EXPECT_OK(dup2(t.slave, 0));
	int a = tty_open(O_RDWR), b = tty_open(O_RDWR);
	EXPECT_OK(fcntl(a, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(fcntl(a, F_GETFL), O_RDWR | O_NONBLOCK | LARGEFILE);
	EXPECT_EQ(fcntl(b, F_GETFL), O_RDWR | LARGEFILE);
	EXPECT_EQ(fcntl(0, F_GETFL), O_RDWR | LARGEFILE);
	EXPECT_EQ(fcntl(t.slave, F_GETFL), O_RDWR | LARGEFILE);
	EXPECT_EQ(fcntl(t.master, F_GETFL), O_RDWR | LARGEFILE);
	char c;
	EXPECT_ERRNO(read(a, &c, 1), EAGAIN);
}

CASE(nonblock_cleared_on_one_stays_on_the_other)
{
	struct pty t = pty_control();
	EXPECT_OK(dup2(t.slave, 0));
	EXPECT_OK(fcntl(0, F_SETFL, O_NONBLOCK));
	int a = tty_open(O_RDWR | O_NONBLOCK), b = tty_open(O_RDWR | O_NONBLOCK), c = tty_open(O_RDWR);
	EXPECT_OK(fcntl(a, F_SETFL, 0));
	EXPECT_EQ(fcntl(a, F_GETFL), O_RDWR | LARGEFILE);
	EXPECT_EQ(fcntl(b, F_GETFL), O_RDWR | O_NONBLOCK | LARGEFILE);
	EXPECT_EQ(fcntl(0, F_GETFL), O_RDWR | O_NONBLOCK | LARGEFILE);
	EXPECT_EQ(fcntl(c, F_GETFL), O_RDWR | LARGEFILE); /* an open of a terminal that is nonblocking elsewhere */
	char byte;
	EXPECT_ERRNO(read(0, &byte, 1), EAGAIN);
	EXPECT_ERRNO(read(b, &byte, 1), EAGAIN);
}

CASE(fionbio_is_each_opens_own)
{
	pty_control();
	int a = tty_open(O_RDWR), b = tty_open(O_RDWR), on = 1, off = 0;
	EXPECT_OK(ioctl(a, FIONBIO, &on));
	CHECK(fcntl(a, F_GETFL) & O_NONBLOCK);
	CHECK(!(fcntl(b, F_GETFL) & O_NONBLOCK));
	EXPECT_OK(ioctl(b, FIONBIO, &on));
	EXPECT_OK(ioctl(a, FIONBIO, &off));
	CHECK(!(fcntl(a, F_GETFL) & O_NONBLOCK));
	CHECK(fcntl(b, F_GETFL) & O_NONBLOCK);
}

CASE(async_and_append_are_each_opens_own)
{
	pty_control();
	int a = tty_open(O_RDWR), b = tty_open(O_RDWR);
	EXPECT_OK(fcntl(a, F_SETFL, O_ASYNC | O_APPEND));
	EXPECT_EQ(fcntl(a, F_GETFL), O_RDWR | O_ASYNC | O_APPEND | LARGEFILE);
	EXPECT_EQ(fcntl(b, F_GETFL), O_RDWR | LARGEFILE);
	EXPECT_OK(fcntl(a, F_SETFL, 0));
	EXPECT_EQ(fcntl(a, F_GETFL), O_RDWR | LARGEFILE);
}

CASE(dup_and_fork_share_the_description)
{
	pty_control();
	int a = tty_open(O_RDWR), b = tty_open(O_RDWR), c = EXPECT_OK(dup(a));
	EXPECT_OK(fcntl(c, F_SETFL, O_NONBLOCK));
	CHECK(fcntl(a, F_GETFL) & O_NONBLOCK);
	CHECK(!(fcntl(b, F_GETFL) & O_NONBLOCK));
	CHILD(p) {
		CHECK(fcntl(a, F_GETFL) & O_NONBLOCK);
		EXPECT_OK(fcntl(a, F_SETFL, 0));
		EXPECT_OK(fcntl(b, F_SETFL, O_NONBLOCK));
	}
	JOIN(p);
	CHECK(!(fcntl(a, F_GETFL) & O_NONBLOCK));
	CHECK(!(fcntl(c, F_GETFL) & O_NONBLOCK));
	CHECK(fcntl(b, F_GETFL) & O_NONBLOCK);
}

CASE(a_childs_own_open_is_its_own)
{
	pty_control();
	int a = tty_open(O_RDWR);
	CHILD(p) {
		int b = tty_open(O_RDWR | O_NONBLOCK);
		CHECK(!(fcntl(a, F_GETFL) & O_NONBLOCK));
		char c;
		EXPECT_ERRNO(read(b, &c, 1), EAGAIN);
	}
	JOIN(p);
	EXPECT_EQ(fcntl(a, F_GETFL), O_RDWR | LARGEFILE);
}

CASE(rights_share_the_description)
{
	pty_control();
	int a = tty_open(O_RDWR), b = tty_open(O_RDWR), s[2];
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	send_fd(s[0], a);
	int got = receive_fd(s[1], 0, NULL);
	CHECK(got != a);
	EXPECT_OK(fcntl(got, F_SETFL, O_NONBLOCK));
	CHECK(fcntl(a, F_GETFL) & O_NONBLOCK);
	CHECK(!(fcntl(b, F_GETFL) & O_NONBLOCK));
}

CASE(access_modes)
{
	struct pty t = pty_control();
	raw_mode(t.slave, 1, 0);
	int r = tty_open(O_RDONLY), w = tty_open(O_WRONLY), rw = tty_open(O_RDWR);
	char c;
	EXPECT_ERRNO(write(r, "x", 1), EBADF);
	EXPECT_ERRNO(read(w, &c, 1), EBADF);
	EXPECT_EQ(write(w, "w", 1), 1);
	EXPECT_EQ(write(rw, "b", 1), 1);
	EXPECT_COMES(t.master, "wb");
	type(t.master, "i");
	EXPECT_READ(r, "i");
	type(t.master, "j");
	EXPECT_READ(rw, "j");
	EXPECT_ERRNO(lseek(rw, 0, SEEK_CUR), ESPIPE);
	EXPECT_ERRNO(pread(rw, &c, 1, 0), ESPIPE);
	EXPECT_ERRNO(pwrite(rw, &c, 1, 0), ESPIPE);
	EXPECT_ERRNO(mmap(NULL, 4096, PROT_READ, MAP_SHARED, rw, 0), ENODEV);
	EXPECT_ERRNO(ftruncate(rw, 0), EINVAL);
	EXPECT_ERRNO(fsync(rw), EINVAL);
}

CASE(getfl_exact)
{
	struct pty t = pty_control();
	static const int flags[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_NONBLOCK, O_RDWR | O_APPEND, O_RDONLY | O_SYNC};
	for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++) {
		int fd = tty_open(flags[i]);
		EXPECT_EQ(fcntl(fd, F_GETFL), flags[i] | LARGEFILE);
		EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
		EXPECT_OK(close(fd));
	}
	/* What only opening is about is not kept. */
	int fd = tty_open(O_RDWR | O_NOCTTY | O_TRUNC | O_CREAT);
	EXPECT_EQ(fcntl(fd, F_GETFL), O_RDWR | LARGEFILE);
	EXPECT_EQ(fcntl(t.slave, F_GETFL), O_RDWR | LARGEFILE);
	EXPECT_EQ(fcntl(t.master, F_GETFL), O_RDWR | LARGEFILE);
	EXPECT_ERRNO(fcntl(fd, F_SETFL, O_DIRECT), EINVAL);
}

CASE(owner_and_signal_are_each_opens_own)
{
	pty_control();
	int a = tty_open(O_RDWR), b = tty_open(O_RDWR);
	EXPECT_EQ(fcntl(a, F_GETOWN), 0);
	EXPECT_OK(fcntl(a, F_SETOWN, getpid()));
	EXPECT_OK(fcntl(a, F_SETSIG, SIGUSR1));
	EXPECT_EQ(fcntl(a, F_GETOWN), getpid());
	EXPECT_EQ(fcntl(b, F_GETOWN), 0);
	EXPECT_EQ(fcntl(a, F_GETSIG), SIGUSR1);
	EXPECT_EQ(fcntl(b, F_GETSIG), 0);
	EXPECT_OK(fcntl(b, F_SETOWN, -getpgrp()));
	EXPECT_EQ(fcntl(a, F_GETOWN), getpid());
	EXPECT_EQ(fcntl(b, F_GETOWN), -getpgrp());
	struct f_owner_ex ex;
	EXPECT_OK(fcntl(b, F_GETOWN_EX, &ex));
	EXPECT_EQ(ex.type, F_OWNER_PGRP);
	EXPECT_EQ(ex.pid, getpgrp());
}

CASE(stat_of_each)
{
	struct pty t = pty_control();
	int a = tty_open(O_RDWR), b = tty_open(O_RDWR);
	struct stat sa, sb, path, slave;
	EXPECT_OK(fstat(a, &sa));
	EXPECT_OK(fstat(b, &sb));
	EXPECT_OK(stat("/dev/tty", &path));
	EXPECT_OK(fstat(t.slave, &slave));
	EXPECT_EQ(sa.st_rdev, makedev(5, 0));
	EXPECT_EQ(sb.st_rdev, makedev(5, 0));
	EXPECT_EQ(sa.st_ino, path.st_ino);
	EXPECT_EQ(sb.st_ino, path.st_ino);
	EXPECT_EQ(sa.st_dev, path.st_dev);
	EXPECT_EQ(sa.st_mode, path.st_mode);
	EXPECT_EQ(sa.st_size, 0);
	EXPECT_EQ(major(slave.st_rdev), 136);
	CHECK(slave.st_ino != sa.st_ino || slave.st_dev != sa.st_dev);
	EXPECT_OK(close(a));
	EXPECT_OK(fstat(b, &sb));
	EXPECT_EQ(sb.st_rdev, makedev(5, 0));
	CHECK(isatty(b));
}

CASE(lives_on_after_the_other_descriptors)
{
	struct pty t = pty_control();
	raw_mode(t.slave, 1, 0);
	int a = tty_open(O_RDWR), b = tty_open(O_RDWR), out = EXPECT_OK(dup(1));
	EXPECT_OK(dup2(t.slave, 0));
	EXPECT_OK(dup2(t.slave, 1));
	EXPECT_OK(dup2(t.slave, 2));
	EXPECT_OK(close(t.slave));
	for (int fd = 0; fd < 3; fd++)
		EXPECT_OK(close(fd));
	EXPECT_EQ(dup2(out, 1), 1);
	type(a, "a");
	type(b, "b");
	EXPECT_COMES(t.master, "ab");
	EXPECT_OK(close(a));
	type(t.master, "in");
	EXPECT_READ(b, "in");
	type(b, "c");
	EXPECT_COMES(t.master, "c");
	CHECK(isatty(b));
	EXPECT_EQ(tcgetpgrp(b), getpgrp());
}

static int blocked_fd, blocked_tid;
static struct gate blocked_start;

static void *read_one(void *arg)
{
	char *c = arg;
	blocked_tid = gettid();
	gate_open(&blocked_start);
	EXPECT_EQ(read(blocked_fd, c, 1), 1);
	return NULL;
}

CASE(a_blocked_reader_is_left_alone)
{
	struct pty t = pty_control();
	raw_mode(t.slave, 1, 0);
	int a = tty_open(O_RDWR), b = tty_open(O_RDWR);
	char c = 0;
	blocked_fd = a;
	blocked_start = gate_new();
	pthread_t reader = thread_start(read_one, &c);
	gate_wait(&blocked_start);
	wait_asleep(blocked_tid);
	EXPECT_OK(fcntl(b, F_SETFL, O_NONBLOCK));
	char d;
	EXPECT_ERRNO(read(b, &d, 1), EAGAIN);
	EXPECT_OK(fcntl(b, F_SETFL, 0));
	EXPECT_OK(close(b));
	EXPECT_EQ(fcntl(a, F_GETFL), O_RDWR | LARGEFILE);
	type(t.master, "z");
	thread_join(reader);
	EXPECT_EQ(c, 'z');
}

CASE(set_nonblocking_while_another_read_blocks)
{
	/* The flag counts at the time of the call: the read that waits goes on waiting. */
	struct pty t = pty_control();
	raw_mode(t.slave, 1, 0);
	int a = tty_open(O_RDWR);
	char c = 0;
	blocked_fd = a;
	blocked_start = gate_new();
	pthread_t reader = thread_start(read_one, &c);
	gate_wait(&blocked_start);
	wait_asleep(blocked_tid);
	EXPECT_OK(fcntl(t.slave, F_SETFL, O_NONBLOCK));
	type(t.master, "y");
	thread_join(reader);
	EXPECT_EQ(c, 'y');
}

CASE(reopened_through_proc)
{
	pty_control();
	int a = tty_open(O_RDWR);
	char path[64];
	static const char *const dirs[] = {"/proc/self/fd", "/dev/fd", "/proc/thread-self/fd"};
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s/%d", dirs[i], a);
		int b = EXPECT_OK(open(path, O_RDWR | O_NONBLOCK));
		CHECK(!(fcntl(a, F_GETFL) & O_NONBLOCK));
		EXPECT_EQ(fcntl(b, F_GETFL), O_RDWR | O_NONBLOCK | LARGEFILE);
		EXPECT_OK(fcntl(b, F_SETFL, 0));
		int c = EXPECT_OK(open(path, O_RDONLY));
		EXPECT_EQ(fcntl(c, F_GETFL), O_RDONLY | LARGEFILE);
		struct stat st;
		EXPECT_OK(fstat(b, &st));
		EXPECT_EQ(st.st_rdev, makedev(5, 0));
		EXPECT_OK(close(b));
		EXPECT_OK(close(c));
	}
	char target[64] = {0};
	EXPECT_OK(readlink(path, target, sizeof target - 1));
	EXPECT_STR(target, "/dev/tty");
}

CASE(dev_stdin_is_a_new_open)
{
	struct pty t = pty_control();
	EXPECT_OK(dup2(t.slave, 0));
	int a = EXPECT_OK(open("/dev/stdin", O_RDONLY | O_NONBLOCK));
	EXPECT_EQ(fcntl(a, F_GETFL), O_RDONLY | O_NONBLOCK | LARGEFILE);
	EXPECT_EQ(fcntl(0, F_GETFL), O_RDWR | LARGEFILE);
	struct stat sa, s0;
	EXPECT_OK(fstat(a, &sa));
	EXPECT_OK(fstat(0, &s0));
	EXPECT_EQ(sa.st_rdev, s0.st_rdev);
	EXPECT_EQ(major(sa.st_rdev), 136);
}

CASE(cloexec_is_each_descriptors_own)
{
	pty_control();
	EXPECT_OK(dup2(EXPECT_OK(open("/dev/tty", O_RDWR)), 60));
	EXPECT_OK(dup3(EXPECT_OK(open("/dev/tty", O_RDWR)), 61, O_CLOEXEC));
	CHILD(p) {
		execl("/bin/sh", "sh", "-c", "[ -e /proc/self/fd/60 ] && [ ! -e /proc/self/fd/61 ] && [ -t 60 ]", NULL);
		_exit(9);
	}
	JOIN(p);
}

CASE(epoll_watches_each_open)
{
	struct pty t = pty_control();
	raw_mode(t.slave, 1, 0);
	int a = tty_open(O_RDWR), b = tty_open(O_RDWR | O_NONBLOCK), ep = EXPECT_OK(epoll_create1(0));
	struct epoll_event ea = {EPOLLIN, {.fd = a}}, eb = {EPOLLIN | EPOLLET, {.fd = b}}, got[4];
	EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, a, &ea));
	EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, b, &eb));
	EXPECT_ERRNO(epoll_ctl(ep, EPOLL_CTL_ADD, a, &ea), EEXIST);
	EXPECT_EQ(epoll_wait(ep, got, 4, 0), 0);
	type(t.master, "x");
	wait_for(a, POLLIN);
	EXPECT_EQ(epoll_wait(ep, got, 4, 0), 2);
	EXPECT_EQ(epoll_wait(ep, got, 4, 0), 1);
	EXPECT_EQ(got[0].data.fd, a);
	EXPECT_READ(b, "x");
	EXPECT_EQ(epoll_wait(ep, got, 4, 0), 0);
	EXPECT_OK(close(b)); /* takes its watch with it */
	type(t.master, "y");
	wait_for(a, POLLIN);
	EXPECT_EQ(epoll_wait(ep, got, 4, 0), 1);
}

CASE(one_queue_behind_all)
{
	struct pty t = pty_control();
	raw_mode(t.slave, 1, 0);
	int a = tty_open(O_RDWR), b = tty_open(O_RDWR);
	type(t.master, "12345");
	char buf[8];
	for (int want = 5; readable_bytes(a) < want;)
		sleep_ms(1);
	EXPECT_EQ(read(a, buf, 2), 2);
	EXPECT_EQ(readable_bytes(b), 3);
	EXPECT_EQ(read(b, buf, 2), 2);
	EXPECT_EQ(memcmp(buf, "34", 2), 0);
	EXPECT_READ(t.slave, "5");
	struct winsize ws = {31, 77, 0, 0}, seen;
	EXPECT_OK(ioctl(a, TIOCSWINSZ, &ws));
	EXPECT_OK(ioctl(b, TIOCGWINSZ, &seen));
	EXPECT_EQ(seen.ws_row, 31);
	local_flags(b, 0, ECHO);
	struct termios tio;
	EXPECT_OK(tcgetattr(a, &tio));
	CHECK(tio.c_lflag & ECHO);
}

CASE(follows_the_session_of_the_opener)
{
	/* The name means the terminal of whoever opens it; an open made before stays with its terminal. */
	struct pty t = pty_control();
	raw_mode(t.slave, 1, 0);
	int old = tty_open(O_RDWR);
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
		struct pty u = pty_control();
		raw_mode(u.slave, 1, 0);
		int own = tty_open(O_RDWR);
		type(own, "u");
		type(old, "t");
		EXPECT_COMES(u.master, "u");
	}
	EXPECT_COMES(t.master, "t");
	JOIN(p);
}

CASE(open_after_giving_it_up)
{
	struct pty t = pty_control();
	raw_mode(t.slave, 1, 0);
	count_signal(SIGHUP, 0);
	int a = tty_open(O_RDWR);
	EXPECT_OK(ioctl(a, TIOCNOTTY));
	EXPECT_EQ(signals_seen[SIGHUP], 1); /* we were in the foreground */
	EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
	EXPECT_ERRNO(ioctl(a, TIOCNOTTY), ENOTTY);
	EXPECT_ERRNO(tcgetpgrp(a), ENOTTY);
	type(a, "still"); /* what is open stays open */
	EXPECT_COMES(t.master, "still");
	CHECK(isatty(a));
}

CASE(open_after_a_hangup)
{
	struct pty t = pty_control();
	count_signal(SIGHUP, 0);
	int a = tty_open(O_RDWR);
	EXPECT_OK(close(t.master));
	EXPECT_EQ(signals_seen[SIGHUP], 1);
	CHECK(wait_for(a, POLLIN) & POLLHUP);
	char c;
	EXPECT_EQ(read(a, &c, 1), 0);
	EXPECT_ERRNO(write(a, "x", 1), EIO);
	int pgrp;
	EXPECT_ERRNO(ioctl(a, TIOCGPGRP, &pgrp), EIO);
	EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
	EXPECT_EQ(fcntl(a, F_GETFL), O_RDWR | LARGEFILE);
	struct stat st;
	EXPECT_OK(fstat(a, &st));
	EXPECT_OK(close(a));
}

CASE(name_is_dev_tty)
{
	pty_control();
	int a = tty_open(O_RDWR);
	char name[64], link[64] = {0}, path[64];
	EXPECT_EQ(ttyname_r(a, name, sizeof name), 0);
	EXPECT_STR(name, "/dev/tty");
	snprintf(path, sizeof path, "/proc/self/fd/%d", a);
	EXPECT_OK(readlink(path, link, sizeof link - 1));
	EXPECT_STR(link, "/dev/tty");
}

CASE(many_opens)
{
	struct pty t = pty_control();
	raw_mode(t.slave, 1, 0);
	int fds[200];
	for (int i = 0; i < 200; i++)
		fds[i] = tty_open(i % 2 ? O_RDWR | O_NONBLOCK : O_RDWR);
	for (int i = 0; i < 200; i++)
		EXPECT_EQ(!!(fcntl(fds[i], F_GETFL) & O_NONBLOCK), i % 2);
	for (int i = 0; i < 199; i++)
		EXPECT_OK(close(fds[i]));
	type(fds[199], "last");
	EXPECT_COMES(t.master, "last");
}
