/* Open file descriptions of terminals and of what stands in for them as standard input and output: which flags, offsets,
 * owners and descriptors' own flags are shared, through open, dup, fork, exec, passed rights, /proc/self/fd and /dev. */
#include "terminal.h"
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

enum { LARGEFILE = 0100000 };

/* How a descriptor can come from another one. */
static int by_dup(int fd) { return EXPECT_OK(dup(fd)); }
static int by_dup3(int fd) { return EXPECT_OK(dup3(fd, 90, O_CLOEXEC)); }
static int by_fcntl(int fd) { return EXPECT_OK(fcntl(fd, F_DUPFD_CLOEXEC, 70)); }

static int by_rights(int fd)
{
	int s[2];
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	send_fd(s[0], fd);
	int got = receive_fd(s[1], 0, NULL);
	EXPECT_OK(close(s[0]));
	EXPECT_OK(close(s[1]));
	return got;
}

static int by_pidfd(int fd)
{
	int pidfd = EXPECT_OK(syscall(SYS_pidfd_open, getpid(), 0));
	int got = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	if (got < 0 && errno == EPERM)
		SKIP("pidfd_getfd is not allowed");
	EXPECT_OK(got);
	EXPECT_OK(close(pidfd));
	return got;
}

static int (*const sharing[])(int) = {by_dup, by_dup3, by_fcntl, by_rights, by_pidfd};
#define EACH_SHARING(i) for (unsigned i = 0; i < sizeof sharing / sizeof *sharing; i++)

/* Everything that belongs to the description is the same through both. */
static void expect_shared(int a, int b)
{
	int is = fcntl(a, F_GETFL);
	EXPECT_EQ(fcntl(b, F_GETFL), is);
	EXPECT_OK(fcntl(a, F_SETFL, is | O_NONBLOCK | O_APPEND));
	EXPECT_EQ(fcntl(b, F_GETFL), is | O_NONBLOCK | O_APPEND);
	EXPECT_OK(fcntl(b, F_SETFL, is));
	EXPECT_EQ(fcntl(a, F_GETFL), is);
	int on = 1, off = 0;
	EXPECT_OK(ioctl(b, FIONBIO, &on));
	CHECK(fcntl(a, F_GETFL) & O_NONBLOCK);
	EXPECT_OK(ioctl(a, FIONBIO, &off));
	CHECK(!(fcntl(b, F_GETFL) & O_NONBLOCK));
	EXPECT_OK(fcntl(a, F_SETOWN, getpid()));
	EXPECT_EQ(fcntl(b, F_GETOWN), getpid());
	EXPECT_OK(fcntl(b, F_SETSIG, SIGUSR2));
	EXPECT_EQ(fcntl(a, F_GETSIG), SIGUSR2);
	EXPECT_OK(fcntl(a, F_SETSIG, 0));
	EXPECT_OK(fcntl(a, F_SETOWN, 0));
	/* but not what belongs to the descriptor */
	int old = EXPECT_OK(fcntl(a, F_GETFD)), other = EXPECT_OK(fcntl(b, F_GETFD));
	EXPECT_OK(fcntl(a, F_SETFD, old ^ FD_CLOEXEC));
	EXPECT_EQ(fcntl(b, F_GETFD), other);
	EXPECT_OK(fcntl(a, F_SETFD, old));
	EXPECT_EQ(syscall(SYS_kcmp, getpid(), getpid(), 0 /* KCMP_FILE */, a, b), 0);
}

/* Nothing is. */
static void expect_apart(int a, int b)
{
	int of_a = fcntl(a, F_GETFL), of_b = fcntl(b, F_GETFL);
	EXPECT_OK(fcntl(a, F_SETFL, of_a ^ O_NONBLOCK));
	EXPECT_EQ(fcntl(b, F_GETFL), of_b);
	EXPECT_OK(fcntl(b, F_SETFL, of_b ^ O_APPEND));
	EXPECT_EQ(fcntl(a, F_GETFL), of_a ^ O_NONBLOCK);
	EXPECT_OK(fcntl(a, F_SETFL, of_a));
	EXPECT_OK(fcntl(b, F_SETFL, of_b));
	EXPECT_OK(fcntl(a, F_SETOWN, getpid()));
	EXPECT_EQ(fcntl(b, F_GETOWN), 0);
	EXPECT_OK(fcntl(a, F_SETOWN, 0));
	CHECK(syscall(SYS_kcmp, getpid(), getpid(), 0, a, b) != 0);
}

CASE(slave_shared)
{
	struct pty t = pty_new();
	EACH_SHARING(i) {
		int b = sharing[i](t.slave);
		expect_shared(t.slave, b);
		EXPECT_OK(close(b));
	}
}

CASE(master_shared)
{
	struct pty t = pty_new();
	EACH_SHARING(i) {
		int b = sharing[i](t.master);
		EXPECT_EQ(pty_number(b), pty_number(t.master));
		expect_shared(t.master, b);
		EXPECT_OK(close(b));
	}
	type(t.master, "alive\n");
	EXPECT_READ(t.slave, "alive\n");
}

CASE(dev_tty_shared)
{
	pty_control();
	int a = EXPECT_OK(open("/dev/tty", O_RDWR));
	EACH_SHARING(i) {
		int b = sharing[i](a);
		expect_shared(a, b);
		EXPECT_OK(close(b));
	}
}

/* ---- New opens. ---- */

CASE(slave_opened_by_every_name)
{
	struct pty t = pty_control();
	EXPECT_OK(dup2(t.slave, 0));
	char self[64], thread[64], dev[64], pid[64];
	snprintf(self, sizeof self, "/proc/self/fd/%d", t.slave);
	snprintf(thread, sizeof thread, "/proc/thread-self/fd/%d", t.slave);
	snprintf(dev, sizeof dev, "/dev/fd/%d", t.slave);
	snprintf(pid, sizeof pid, "/proc/%d/fd/0", getpid());
	const char *names[] = {pty_name(t.master), self, thread, dev, pid, "/dev/stdin", "/dev/tty"};
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		int b = EXPECT_OK(open(names[i], O_RDWR | O_NOCTTY));
		EXPECT_EQ(fcntl(b, F_GETFL), O_RDWR | LARGEFILE);
		expect_apart(t.slave, b);
		int c = EXPECT_OK(open(names[i], O_WRONLY | O_NONBLOCK | O_NOCTTY));
		EXPECT_EQ(fcntl(c, F_GETFL), O_WRONLY | O_NONBLOCK | LARGEFILE);
		expect_apart(b, c);
		EXPECT_OK(close(b));
		EXPECT_OK(close(c));
	}
}

CASE(slave_opened_by_the_master)
{
	struct pty t = pty_new();
	int a = EXPECT_OK(ioctl(t.master, TIOCGPTPEER, O_RDWR | O_NOCTTY));
	expect_apart(t.slave, a);
	int b = EXPECT_OK(ioctl(t.master, TIOCGPTPEER, O_RDWR | O_NOCTTY));
	expect_apart(a, b);
	/* Flags are taken as they are; only those are forgotten that every open forgets. */
	int c = EXPECT_OK(ioctl(t.master, TIOCGPTPEER, O_RDONLY | O_NOCTTY | O_CLOEXEC | O_NONBLOCK | O_CREAT | O_TRUNC));
	EXPECT_EQ(fcntl(c, F_GETFL), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	EXPECT_EQ(fcntl(c, F_GETFD), FD_CLOEXEC);
	EXPECT_ERRNO(ioctl(t.master, TIOCGPTPEER, O_RDWR | O_DIRECT), EINVAL);
}

CASE(a_wider_mode_by_reopening)
{
	/* The mode of the one it is reached by does not limit a new open: the name's permission bits do. */
	struct pty t = pty_new();
	int r = EXPECT_OK(open(pty_name(t.master), O_RDONLY | O_NOCTTY));
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", r);
	EXPECT_ERRNO(write(r, "x", 1), EBADF);
	int w = EXPECT_OK(open(path, O_WRONLY | O_NOCTTY));
	type(w, "w");
	EXPECT_COMES(t.master, "w");
	needs_root();
	EXPECT_OK(fchmod(t.slave, 0));
	CHILD(p) {
		become_user(4321, 4321);
		EXPECT_ERRNO(open(path, O_RDONLY | O_NOCTTY), EACCES);
	}
	JOIN(p);
}

CASE(path_only)
{
	struct pty t = pty_new();
	int p = EXPECT_OK(open(pty_name(t.master), O_PATH | O_NOCTTY));
	char c, path[64];
	struct termios tio;
	EXPECT_ERRNO(read(p, &c, 1), EBADF);
	EXPECT_ERRNO(tcgetattr(p, &tio), EBADF);
	EXPECT_ERRNO(fcntl(p, F_SETFL, O_NONBLOCK), EBADF);
	EXPECT_EQ(fcntl(p, F_GETFL), O_PATH);
	snprintf(path, sizeof path, "/proc/self/fd/%d", p);
	int s = EXPECT_OK(open(path, O_RDWR | O_NOCTTY));
	expect_apart(t.slave, s);
	EXPECT_OK(close(t.slave));
	EXPECT_OK(close(s));
	EXPECT_EQ(wait_for(t.master, POLLIN), POLLHUP); /* a path alone keeps no slave open */
}

/* ---- Across fork, exec and sockets. ---- */

CASE(a_fork_shares)
{
	struct pty t = pty_new();
	EXPECT_OK(fcntl(t.slave, F_SETFD, 0));
	CHILD(p) {
		EXPECT_OK(fcntl(t.slave, F_SETFL, O_NONBLOCK));
		EXPECT_OK(fcntl(t.slave, F_SETOWN, getppid()));
		EXPECT_OK(fcntl(t.slave, F_SETFD, FD_CLOEXEC)); /* this one is the child's */
	}
	JOIN(p);
	CHECK(fcntl(t.slave, F_GETFL) & O_NONBLOCK);
	EXPECT_EQ(fcntl(t.slave, F_GETOWN), getpid());
	EXPECT_EQ(fcntl(t.slave, F_GETFD), 0);
}

CASE(a_close_in_the_child_closes_nothing)
{
	struct pty t = pty_new();
	CHILD(p) {
		EXPECT_OK(close(t.slave));
		EXPECT_OK(close(t.master));
	}
	JOIN(p);
	type(t.slave, "x");
	EXPECT_COMES(t.master, "x");
}

CASE(flags_outlive_exec)
{
	/* A program that makes its terminal nonblocking leaves it so for whoever shares the description. */
	struct pty t = pty_control();
	EXPECT_OK(dup2(t.slave, 5));
	int own = EXPECT_OK(open("/dev/tty", O_RDWR));
	EXPECT_OK(fcntl(5, F_SETFL, O_NONBLOCK));
	CHILD(p) {
		execl("/bin/sh", "sh", "-c", "while read k v; do [ $k = flags: ] && [ $v = 0104002 ] && exit 7; done </proc/self/fdinfo/5", NULL);
		_exit(9);
	}
	EXPECT_EXIT(p, 7);
	CHECK(fcntl(t.slave, F_GETFL) & O_NONBLOCK);
	CHECK(!(fcntl(own, F_GETFL) & O_NONBLOCK));
}

CASE(every_kind_outlives_exec)
{
	EXPECT_OK(signal(SIGUSR2, SIG_IGN));
	pty_control();
	int p[2], s[2];
	EXPECT_OK(pipe(p));
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	put_file("f", "line\nrest\n");
	int kinds[] = {EXPECT_OK(open("/dev/tty", O_RDWR)), p[0], EXPECT_OK(open("f", O_RDWR)), s[0], EXPECT_OK(open("/dev/null", O_RDWR))};
	for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		EXPECT_OK(fcntl(kinds[i], F_SETFL, O_NONBLOCK | O_APPEND));
		EXPECT_EQ(dup2(kinds[i], 5), 5);
		EXPECT_EQ(dup3(kinds[i], 6, O_CLOEXEC), 6);
		EXPECT_OK(fcntl(5, F_SETOWN, getpid()));
		EXPECT_OK(fcntl(5, F_SETSIG, SIGUSR2));
		EXPECT_OK(fcntl(5, F_SETFL, O_NONBLOCK | O_APPEND | O_ASYNC)); /* which not every kind has */
		int flags = fcntl(5, F_GETFL);
		CHILD(q) {
			execl("/bin/sh", "sh", "-c",
			      "[ -e /proc/self/fd/5 ] && [ ! -e /proc/self/fd/6 ] || exit 8\n"
			      "read line <&5\n"
			      "while read k v; do case $k$v in flags:*600?|flags:*2600?) exit 7; esac; done </proc/self/fdinfo/5",
			      NULL);
			_exit(9);
		}
		EXPECT_EXIT(q, 7);
		EXPECT_EQ(flags & (O_NONBLOCK | O_APPEND), O_NONBLOCK | O_APPEND);
		EXPECT_EQ(flags & O_ASYNC, i == 2 || i == 4 ? 0 : O_ASYNC);
		EXPECT_EQ(fcntl(kinds[i], F_GETFL), flags);
		EXPECT_EQ(fcntl(kinds[i], F_GETOWN), getpid());
		EXPECT_EQ(fcntl(kinds[i], F_GETSIG), SIGUSR2);
	}
	EXPECT_EQ(lseek(kinds[2], 0, SEEK_CUR), 5); /* what the other program read is read */
}

CASE(rights_to_another_process)
{
	struct pty t = pty_new();
	int s[2];
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	CHILD(p) {
		int got = receive_fd(s[1], MSG_CMSG_CLOEXEC, NULL);
		EXPECT_EQ(fcntl(got, F_GETFD), FD_CLOEXEC);
		EXPECT_OK(fcntl(got, F_SETFL, O_NONBLOCK));
		type(got, "there");
	}
	send_fd(s[0], t.slave);
	EXPECT_COMES(t.master, "there");
	JOIN(p);
	CHECK(fcntl(t.slave, F_GETFL) & O_NONBLOCK);
}

CASE(rights_on_their_way_keep_it_open)
{
	struct pty t = pty_new();
	int s[2];
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	send_fd(s[0], t.slave);
	EXPECT_OK(close(t.slave));
	EXPECT_EQ(events_now(t.master, POLLIN), 0);
	int got = receive_fd(s[1], 0, NULL);
	type(got, "kept");
	EXPECT_COMES(t.master, "kept");
	send_fd(s[0], got);
	EXPECT_OK(close(got));
	EXPECT_OK(close(s[0]));
	EXPECT_OK(close(s[1])); /* and are dropped with the socket */
	EXPECT_EQ(wait_for(t.master, POLLIN), POLLHUP);
}

/* ---- Standard input of other kinds. ---- */

CASE(input_from_a_pipe)
{
	int p[2];
	EXPECT_OK(pipe(p));
	EXPECT_OK(dup2(p[0], 0));
	EACH_SHARING(i) {
		int b = sharing[i](0);
		expect_shared(0, b);
		EXPECT_OK(close(b));
	}
	int r = EXPECT_OK(open("/dev/stdin", O_RDONLY | O_NONBLOCK)); /* the same pipe, a description of its own */
	expect_apart(0, r);
	char c;
	EXPECT_ERRNO(read(r, &c, 1), EAGAIN);
	int w = EXPECT_OK(open("/proc/self/fd/0", O_WRONLY)); /* even its other end */
	type(w, "ab");
	EXPECT_EQ(read(0, &c, 1), 1);
	EXPECT_EQ(read(r, &c, 1), 1);
	EXPECT_EQ(c, 'b');
	EXPECT_ERRNO(lseek(r, 0, SEEK_CUR), ESPIPE);
	EXPECT_EQ(isatty(0), 0);
	EXPECT_EQ(errno, ENOTTY);
}

CASE(input_from_a_file)
{
	put_file("f", "0123456789");
	EXPECT_OK(dup2(EXPECT_OK(open("f", O_RDWR)), 0));
	char c;
	EXPECT_EQ(read(0, &c, 1), 1);
	EACH_SHARING(i) {
		int b = sharing[i](0);
		expect_shared(0, b);
		EXPECT_EQ(lseek(b, 0, SEEK_CUR), i + 1); /* the offset too */
		EXPECT_EQ(read(b, &c, 1), 1);
		EXPECT_EQ(lseek(0, 0, SEEK_CUR), i + 2);
		EXPECT_OK(close(b));
	}
	CHILD(p) {
		EXPECT_EQ(lseek(0, 8, SEEK_SET), 8);
	}
	JOIN(p);
	EXPECT_EQ(lseek(0, 0, SEEK_CUR), 8);
	static const char *const names[] = {"/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"};
	for (int i = 0; i < 3; i++) {
		int b = EXPECT_OK(open(names[i], O_RDONLY));
		EXPECT_EQ(lseek(b, 0, SEEK_CUR), 0); /* a new open begins at the beginning */
		EXPECT_EQ(read(b, &c, 1), 1);
		EXPECT_EQ(c, '0');
		EXPECT_EQ(lseek(0, 0, SEEK_CUR), 8);
		EXPECT_OK(fcntl(b, F_SETFL, O_NONBLOCK));
		CHECK(!(fcntl(0, F_GETFL) & O_NONBLOCK));
		EXPECT_OK(close(b));
	}
	EXPECT_OK(unlink("f"));
	int b = EXPECT_OK(open("/dev/stdin", O_RDONLY)); /* without a name as well */
	EXPECT_EQ(read(b, &c, 1), 1);
	EXPECT_EQ(c, '0');
}

CASE(output_to_a_file)
{
	int fd = EXPECT_OK(open("f", O_WRONLY | O_CREAT, 0600)), again = EXPECT_OK(dup(fd));
	type(fd, "one ");
	type(again, "two ");
	CHILD(p) {
		type(fd, "three ");
	}
	JOIN(p);
	char path[64];
	snprintf(path, sizeof path, "/dev/fd/%d", fd);
	int apart = EXPECT_OK(open(path, O_WRONLY));
	type(apart, "ONE"); /* at its own offset */
	EXPECT_OK(fcntl(apart, F_SETFL, O_APPEND));
	type(apart, "end");
	EXPECT_STR(get_file("f"), "ONE two three end");
	EXPECT_OK(close(EXPECT_OK(open(path, O_WRONLY | O_TRUNC)))); /* a real open in everything */
	EXPECT_STR(get_file("f"), "");
}

CASE(input_from_a_socket)
{
	int s[2];
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	EXPECT_OK(dup2(s[0], 0));
	EACH_SHARING(i) {
		int b = sharing[i](0);
		expect_shared(0, b);
		EXPECT_OK(close(b));
	}
	EXPECT_ERRNO(open("/dev/stdin", O_RDWR), ENXIO); /* sockets can't be opened */
	EXPECT_ERRNO(open("/proc/self/fd/0", O_RDONLY), ENXIO);
	EXPECT_OK(open("/proc/self/fd/0", O_PATH));
	EXPECT_OK(fcntl(0, F_SETFL, O_NONBLOCK));
	CHECK(!(fcntl(s[1], F_GETFL) & O_NONBLOCK)); /* the ends are two */
	char c;
	EXPECT_ERRNO(read(s[0], &c, 1), EAGAIN);
	EXPECT_EQ(isatty(0), 0);
	EXPECT_EQ(errno, ENOTTY);
}

CASE(standard_descriptors_share_one_description)
{
	/* As a login makes them: one open, three descriptors. */
	struct pty t = pty_control();
	CHILD(p) {
		for (int fd = 0; fd < 3; fd++)
			EXPECT_OK(dup2(t.slave, fd));
		execl("/bin/sh", "sh", "-c", "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && [ /dev/stdin -ef /dev/stdout ] && exit 7", NULL);
		_exit(9);
	}
	EXPECT_EXIT(p, 7);
	int a = EXPECT_OK(dup(t.slave)), b = EXPECT_OK(dup(t.slave));
	EXPECT_OK(fcntl(a, F_SETFL, O_NONBLOCK));
	CHECK(fcntl(b, F_GETFL) & O_NONBLOCK);
	CHECK(fcntl(t.slave, F_GETFL) & O_NONBLOCK);
}

CASE(descriptors_in_proc)
{
	struct pty t = pty_control();
	int tty = EXPECT_OK(open("/dev/tty", O_RDONLY | O_NONBLOCK | O_CLOEXEC));
	char path[64], link[64] = {0};
	snprintf(path, sizeof path, "/proc/self/fd/%d", t.slave);
	EXPECT_OK(readlink(path, link, sizeof link - 1));
	EXPECT_STR(link, pty_name(t.master));
	memset(link, 0, sizeof link);
	snprintf(path, sizeof path, "/proc/self/fd/%d", t.master);
	EXPECT_OK(readlink(path, link, sizeof link - 1));
	CHECK(!strcmp(link, "/dev/ptmx") || !strcmp(link, "/dev/pts/ptmx"));
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", tty);
	CHECK(strstr(get_file(path), "pos:\t0\nflags:\t02104000\n"));
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", t.master);
	char index[32];
	snprintf(index, sizeof index, "tty-index:\t%d\n", pty_number(t.master));
	CHECK(strstr(get_file(path), index));
}
