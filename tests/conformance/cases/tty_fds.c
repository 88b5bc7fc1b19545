/* Open file descriptions of every kind that a program is handed as its stdio: what is shared by dup, fork, exec and SCM_RIGHTS,
 * and what each open by name (/dev/pts/N, /dev/tty, /proc/self/fd/N, /dev/fd/N, /dev/stdin) gets of its own. */
#include "terminal.h"
#include <sys/socket.h>
#include <sys/sysmacros.h>

enum { LARGEFILE = 0100000 };

static int flags_of(int fd)
{
	return EXPECT_OK(fcntl(fd, F_GETFL)) & ~LARGEFILE;
}

/* Sends a descriptor to ourselves; the copy shares its description. */
static int passed(int fd)
{
	int s[2], got;
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	char data = 'd', control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {&data, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	EXPECT_EQ(sendmsg(s[0], &msg, 0), 1);
	EXPECT_EQ(recvmsg(s[1], &msg, 0), 1);
	memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof got);
	EXPECT_OK(close(s[0]));
	EXPECT_OK(close(s[1]));
	return got;
}

/* Whether what is set on one descriptor is seen on the other. */
static bool share_flags(int a, int b)
{
	EXPECT_OK(fcntl(a, F_SETFL, O_NONBLOCK));
	bool shared = fcntl(b, F_GETFL) & O_NONBLOCK;
	EXPECT_OK(fcntl(a, F_SETFL, 0));
	return shared;
}

static bool share_owner(int a, int b)
{
	EXPECT_OK(fcntl(a, F_SETOWN, getpid()));
	bool shared = fcntl(b, F_GETOWN) == getpid();
	EXPECT_OK(fcntl(a, F_SETOWN, 0));
	return shared;
}

static void expect_shared(int a, int b)
{
	CHECK(share_flags(a, b));
	CHECK(share_owner(a, b));
}

static void expect_separate(int a, int b)
{
	CHECK(!share_flags(a, b));
	CHECK(!share_owner(a, b));
	CHECK(!share_flags(b, a));
}

/* Reopens a descriptor under one of its names. */
static int again(const char *directory, int fd, int flags)
{
	char path[64];
	snprintf(path, sizeof path, "%s/%d", directory, fd);
	return EXPECT_OK(open(path, flags | O_NOCTTY));
}

/* In a child of a child, so that what is set there comes back by the description alone. */
static void nonblock_in_a_child(int fd)
{
	CHILD(p) {
		EXPECT_OK(fcntl(fd, F_SETFL, O_NONBLOCK));
	}
	JOIN(p);
}

static void nonblock_by_a_program(int fd)
{
	CHILD(p) {
		EXPECT_OK(dup2(fd, 0));
		execlp("python3", "python3", "-S", "-c", "import os; os.set_blocking(0, False)", NULL);
		_exit(9);
	}
	JOIN(p);
}

/* ---- /dev/pts/N. ---- */

CASE(slave_opened_twice)
{
	struct pty t = pty_new();
	expect_separate(t.slave, EXPECT_OK(open(pty_name(t.master), O_RDWR | O_NOCTTY)));
}

CASE(slave_by_its_peer)
{
	struct pty t = pty_new();
	expect_separate(t.slave, EXPECT_OK(ioctl(t.master, TIOCGPTPEER, O_RDWR | O_NOCTTY)));
}

CASE(slave_dup)
{
	struct pty t = pty_new();
	expect_shared(t.slave, EXPECT_OK(dup(t.slave)));
	expect_shared(t.slave, EXPECT_OK(fcntl(t.slave, F_DUPFD_CLOEXEC, 50)));
	expect_shared(t.slave, EXPECT_OK(dup3(t.slave, 60, O_CLOEXEC)));
}

CASE(slave_fork)
{
	struct pty t = pty_new();
	nonblock_in_a_child(t.slave);
	EXPECT_EQ(flags_of(t.slave), O_RDWR | O_NONBLOCK);
}

CASE(slave_exec)
{
	struct pty t = pty_new();
	int other = EXPECT_OK(open(pty_name(t.master), O_RDWR | O_NOCTTY));
	nonblock_by_a_program(t.slave);
	EXPECT_EQ(flags_of(t.slave), O_RDWR | O_NONBLOCK);
	EXPECT_EQ(flags_of(other), O_RDWR);
}

CASE(slave_passed)
{
	struct pty t = pty_new();
	expect_shared(t.slave, passed(t.slave));
}

CASE(slave_by_proc_and_dev_fd)
{
	struct pty t = pty_new();
	expect_separate(t.slave, again("/proc/self/fd", t.slave, O_RDWR));
	expect_separate(t.slave, again("/dev/fd", t.slave, O_RDWR));
	expect_separate(t.slave, again("/proc/thread-self/fd", t.slave, O_RDWR));
	EXPECT_EQ(flags_of(again("/dev/fd", t.slave, O_WRONLY | O_NONBLOCK)), O_WRONLY | O_NONBLOCK);
}

CASE(slave_as_stdin)
{
	struct pty t = pty_new();
	EXPECT_OK(dup2(t.slave, 0));
	int fd = EXPECT_OK(open("/dev/stdin", O_RDWR | O_NOCTTY));
	expect_separate(0, fd);
	expect_shared(0, t.slave);
	char name[64];
	EXPECT_EQ(ttyname_r(fd, name, sizeof name), 0);
	EXPECT_STR(name, pty_name(t.master));
}

CASE(slave_and_dev_tty)
{
	struct pty t = pty_control();
	int fd = EXPECT_OK(open("/dev/tty", O_RDWR));
	expect_separate(t.slave, fd);
	expect_separate(fd, EXPECT_OK(open("/dev/tty", O_RDWR)));
	expect_shared(fd, passed(fd));
	expect_shared(fd, EXPECT_OK(dup(fd)));
}

CASE(dev_tty_by_proc_and_dev_fd)
{
	pty_control();
	int fd = EXPECT_OK(open("/dev/tty", O_RDWR));
	expect_separate(fd, again("/proc/self/fd", fd, O_RDWR));
	expect_separate(fd, again("/dev/fd", fd, O_RDWR));
}

CASE(dev_tty_fork_and_exec)
{
	pty_control();
	int fd = EXPECT_OK(open("/dev/tty", O_RDWR)), other = EXPECT_OK(open("/dev/tty", O_RDWR));
	nonblock_in_a_child(fd);
	EXPECT_EQ(flags_of(fd), O_RDWR | O_NONBLOCK);
	EXPECT_OK(fcntl(fd, F_SETFL, 0));
	nonblock_by_a_program(fd);
	EXPECT_EQ(flags_of(fd), O_RDWR | O_NONBLOCK);
	EXPECT_EQ(flags_of(other), O_RDWR);
}

CASE(dev_tty_passed_to_another_session)
{
	/* An open of it stays one of the terminal it was opened for. */
	struct pty t = pty_control();
	int fd = EXPECT_OK(open("/dev/tty", O_RDWR));
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
		type(fd, "x");
		EXPECT_ERRNO(tcgetpgrp(fd), ENOTTY);
		EXPECT_ERRNO(open("/proc/self/fd/0", O_RDONLY | O_DIRECTORY), ENOTDIR);
		char path[64];
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		EXPECT_ERRNO(open(path, O_RDWR), ENXIO); /* that is /dev/tty again, and we have none */
	}
	EXPECT_COMES(t.master, "x");
	JOIN(p);
}

CASE(access_modes_of_slaves)
{
	struct pty t = pty_new();
	raw_mode(t.slave, 1, 0);
	int r = EXPECT_OK(open(pty_name(t.master), O_RDONLY | O_NOCTTY));
	int w = EXPECT_OK(open(pty_name(t.master), O_WRONLY | O_NOCTTY));
	char c;
	EXPECT_ERRNO(write(r, "x", 1), EBADF);
	EXPECT_ERRNO(read(w, &c, 1), EBADF);
	struct termios tio;
	EXPECT_OK(tcgetattr(w, &tio)); /* settings may be had from any */
	EXPECT_OK(tcsetattr(r, TCSANOW, &tio));
	EXPECT_EQ(events_now(r, POLLIN | POLLOUT), POLLOUT);
}

CASE(no_offsets_on_terminals)
{
	struct pty t = pty_new();
	char c;
	for (int i = 0; i < 2; i++) {
		int fd = i ? t.master : t.slave;
		EXPECT_ERRNO(lseek(fd, 0, SEEK_SET), ESPIPE);
		EXPECT_ERRNO(pread(fd, &c, 1, 0), ESPIPE);
		EXPECT_ERRNO(pwrite(fd, &c, 1, 0), ESPIPE);
		EXPECT_ERRNO(ftruncate(fd, 0), EINVAL);
		EXPECT_ERRNO(fsync(fd), EINVAL);
	}
}

CASE(append_and_direct)
{
	struct pty t = pty_new();
	EXPECT_OK(fcntl(t.slave, F_SETFL, O_APPEND));
	EXPECT_EQ(flags_of(t.slave), O_RDWR | O_APPEND);
	PRINTED(t, "x", "x");
	EXPECT_ERRNO(fcntl(t.slave, F_SETFL, O_DIRECT), EINVAL);
}

CASE(close_on_exec_is_the_descriptors)
{
	struct pty t = pty_new();
	int copy = EXPECT_OK(dup(t.slave));
	EXPECT_EQ(fcntl(t.slave, F_GETFD), FD_CLOEXEC);
	EXPECT_EQ(fcntl(copy, F_GETFD), 0);
	EXPECT_EQ(fcntl(passed(t.slave), F_GETFD), 0);
	EXPECT_OK(fcntl(copy, F_SETFD, FD_CLOEXEC));
	EXPECT_OK(fcntl(t.slave, F_SETFD, 0));
	EXPECT_EQ(fcntl(copy, F_GETFD), FD_CLOEXEC);
}

/* ---- The master. ---- */

CASE(master_dup_fork_and_passing)
{
	struct pty t = pty_new();
	expect_shared(t.master, EXPECT_OK(dup(t.master)));
	expect_shared(t.master, passed(t.master));
	nonblock_in_a_child(t.master);
	EXPECT_EQ(flags_of(t.master), O_RDWR | O_NONBLOCK);
	EXPECT_EQ(flags_of(t.slave), O_RDWR);
}

CASE(master_by_proc_is_another_pair)
{
	struct pty t = pty_new();
	int other = again("/proc/self/fd", t.master, O_RDWR);
	CHECK(pty_number(other) != pty_number(t.master));
	expect_separate(t.master, other);
}

CASE(master_in_flight_keeps_the_pair)
{
	struct pty t = pty_new();
	int copy = passed(t.master);
	EXPECT_OK(close(t.master));
	EXPECT_EQ(events_now(t.slave, POLLHUP), 0);
	type(t.slave, "x");
	EXPECT_COMES(copy, "x");
}

/* ---- Stdio that is a pipe. ---- */

CASE(pipe_as_stdin)
{
	int p[2];
	EXPECT_OK(pipe(p));
	EXPECT_OK(dup2(p[0], 0));
	expect_shared(0, p[0]);
	expect_shared(0, passed(0));
	expect_separate(0, again("/proc/self/fd", 0, O_RDONLY));
	expect_separate(0, again("/dev/fd", 0, O_RDONLY));
	expect_separate(0, EXPECT_OK(open("/dev/stdin", O_RDONLY)));
	EXPECT_EQ(flags_of(p[1]), O_WRONLY);
}

CASE(pipe_reopened_is_the_same_pipe)
{
	int p[2];
	EXPECT_OK(pipe(p));
	EXPECT_OK(dup2(p[0], 0));
	int in = EXPECT_OK(open("/dev/stdin", O_RDONLY)), out = again("/proc/self/fd", 0, O_WRONLY);
	type(out, "ab");
	char c;
	EXPECT_EQ(read(in, &c, 1), 1);
	EXPECT_EQ(read(0, &c, 1), 1);
	EXPECT_EQ(c, 'b');
	EXPECT_ERRNO(tcgetpgrp(0), ENOTTY);
	EXPECT_EQ(isatty(0), 0);
}

CASE(pipe_over_fork_and_exec)
{
	int p[2];
	EXPECT_OK(pipe(p));
	nonblock_in_a_child(p[0]);
	EXPECT_EQ(flags_of(p[0]), O_RDONLY | O_NONBLOCK);
	EXPECT_OK(fcntl(p[0], F_SETFL, 0));
	nonblock_by_a_program(p[0]);
	EXPECT_EQ(flags_of(p[0]), O_RDONLY | O_NONBLOCK);
	EXPECT_EQ(flags_of(p[1]), O_WRONLY);
}

/* ---- Stdio that is a file. ---- */

CASE(file_as_stdin)
{
	put_file("f", "abcdef");
	int fd = EXPECT_OK(open("f", O_RDWR));
	EXPECT_OK(dup2(fd, 0));
	expect_shared(0, fd);
	expect_shared(0, passed(0));
	expect_separate(0, again("/proc/self/fd", 0, O_RDWR));
	expect_separate(0, EXPECT_OK(open("/dev/stdin", O_RDWR)));
	expect_separate(0, EXPECT_OK(open("f", O_RDWR)));
}

CASE(offset_of_a_file_as_stdin)
{
	put_file("f", "abcdef");
	int fd = EXPECT_OK(open("f", O_RDONLY));
	EXPECT_OK(dup2(fd, 0));
	char c;
	EXPECT_EQ(read(0, &c, 1), 1);
	EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 1);
	EXPECT_EQ(lseek(passed(0), 0, SEEK_CUR), 1);
	EXPECT_EQ(lseek(EXPECT_OK(open("/dev/stdin", O_RDONLY)), 0, SEEK_CUR), 0);
	EXPECT_EQ(lseek(again("/dev/fd", 0, O_RDONLY), 0, SEEK_CUR), 0);
	CHILD(p) {
		EXPECT_EQ(lseek(0, 3, SEEK_SET), 3);
	}
	JOIN(p);
	EXPECT_EQ(read(fd, &c, 1), 1);
	EXPECT_EQ(c, 'd');
}

CASE(appending_file_as_stdout)
{
	put_file("f", "ab");
	int fd = EXPECT_OK(open("f", O_WRONLY | O_APPEND)), copy = EXPECT_OK(dup(fd));
	int other = again("/proc/self/fd", fd, O_WRONLY);
	EXPECT_EQ(flags_of(copy), O_WRONLY | O_APPEND);
	EXPECT_EQ(flags_of(other), O_WRONLY);
	type(copy, "c");
	type(other, "X");
	EXPECT_STR(get_file("f"), "Xbc");
}

CASE(deleted_file_as_stdin)
{
	put_file("f", "abc");
	int fd = EXPECT_OK(open("f", O_RDONLY));
	EXPECT_OK(unlink("f"));
	int other = again("/proc/self/fd", fd, O_RDONLY);
	EXPECT_READ(other, "abc");
	expect_separate(fd, other);
}

CASE(file_is_no_terminal)
{
	put_file("f", "");
	int fd = EXPECT_OK(open("f", O_RDWR));
	struct termios tio;
	struct winsize ws;
	EXPECT_ERRNO(ioctl(fd, TCGETS, &tio), ENOTTY);
	EXPECT_ERRNO(ioctl(fd, TIOCGWINSZ, &ws), ENOTTY);
	EXPECT_ERRNO(ioctl(fd, TIOCSCTTY, 0), ENOTTY);
	EXPECT_ERRNO(ioctl(fd, TIOCNOTTY), ENOTTY);
	EXPECT_ERRNO(tcgetsid(fd), ENOTTY);
}

/* ---- Stdio that is a socket. ---- */

CASE(socket_as_stdin)
{
	int s[2];
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	EXPECT_OK(dup2(s[0], 0));
	expect_shared(0, s[0]);
	expect_shared(0, passed(0));
	EXPECT_EQ(flags_of(s[1]), O_RDWR);
	EXPECT_ERRNO(open("/dev/stdin", O_RDWR), ENXIO); /* sockets can't be opened */
	EXPECT_ERRNO(open("/proc/self/fd/0", O_RDWR), ENXIO);
	EXPECT_ERRNO(open("/dev/fd/0", O_RDONLY), ENXIO);
}

CASE(socket_over_fork_and_exec)
{
	int s[2];
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	nonblock_in_a_child(s[0]);
	EXPECT_EQ(flags_of(s[0]), O_RDWR | O_NONBLOCK);
	EXPECT_OK(fcntl(s[0], F_SETFL, 0));
	nonblock_by_a_program(s[0]);
	EXPECT_EQ(flags_of(s[0]), O_RDWR | O_NONBLOCK);
	EXPECT_EQ(flags_of(s[1]), O_RDWR);
}

CASE(socket_is_no_terminal)
{
	int s[2], n;
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	struct termios tio;
	EXPECT_ERRNO(ioctl(s[0], TCGETS, &tio), ENOTTY);
	EXPECT_ERRNO(ioctl(s[0], TIOCGPGRP, &n), ENOTTY);
	EXPECT_ERRNO(ioctl(s[0], TIOCSCTTY, 0), ENOTTY);
}

/* ---- Names of what is not open. ---- */

CASE(names_of_closed_descriptors)
{
	EXPECT_ERRNO(open("/dev/fd/77", O_RDONLY), ENOENT);
	EXPECT_ERRNO(open("/proc/self/fd/77", O_RDONLY), ENOENT);
	EXPECT_OK(close(0));
	EXPECT_ERRNO(open("/dev/stdin", O_RDONLY), ENOENT);
}

CASE(links_of_terminals)
{
	struct pty t = pty_control();
	char path[64], target[64] = {0};
	snprintf(path, sizeof path, "/proc/self/fd/%d", t.slave);
	EXPECT_OK(readlink(path, target, sizeof target - 1));
	EXPECT_STR(target, pty_name(t.master));
	struct stat st;
	EXPECT_OK(lstat(path, &st));
	EXPECT_EQ(st.st_mode, S_IFLNK | 0700);
	EXPECT_OK(stat(path, &st));
	EXPECT_EQ(st.st_rdev, makedev(136, pty_number(t.master)));
	int fd = EXPECT_OK(open("/dev/tty", O_WRONLY));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	EXPECT_OK(lstat(path, &st));
	EXPECT_EQ(st.st_mode, S_IFLNK | 0300);
}
