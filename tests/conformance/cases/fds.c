/* The descriptor table: numbers, duplication, close-on-exec, status flags, limits, passing over sockets. */
#include "../harness.h"
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/close_range.h>

CASE(open_takes_the_lowest_free)
{
	int a = EXPECT_OK(open("/dev/null", O_RDONLY));
	int b = EXPECT_OK(open("/dev/null", O_RDONLY));
	EXPECT_EQ(a, 3);
	EXPECT_EQ(b, 4);
	EXPECT_OK(close(a));
	EXPECT_EQ(open("/dev/null", O_RDONLY), 3);
	EXPECT_EQ(dup(b), 5);
	EXPECT_ERRNO(close(99), EBADF);
	EXPECT_ERRNO(close(-1), EBADF);
}

CASE(dup_shares_offset_and_flags)
{
	put_file("f", "abcdef");
	int a = EXPECT_OK(open("f", O_RDONLY));
	int b = EXPECT_OK(dup(a));
	int other = EXPECT_OK(open("f", O_RDONLY));
	char c;
	EXPECT_EQ(read(a, &c, 1), 1);
	EXPECT_EQ(lseek(b, 0, SEEK_CUR), 1);
	EXPECT_EQ(lseek(other, 0, SEEK_CUR), 0);
	EXPECT_OK(fcntl(b, F_SETFL, O_NONBLOCK));
	CHECK(fcntl(a, F_GETFL) & O_NONBLOCK);
	CHECK(!(fcntl(other, F_GETFL) & O_NONBLOCK));
}

CASE(dup_drops_cloexec)
{
	int a = EXPECT_OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
	EXPECT_EQ(fcntl(a, F_GETFD), FD_CLOEXEC);
	int b = EXPECT_OK(dup(a));
	EXPECT_EQ(fcntl(b, F_GETFD), 0);
	EXPECT_OK(fcntl(b, F_SETFD, FD_CLOEXEC));
	EXPECT_EQ(fcntl(b, F_GETFD), FD_CLOEXEC);
	EXPECT_OK(fcntl(a, F_SETFD, 0));
	EXPECT_EQ(fcntl(b, F_GETFD), FD_CLOEXEC);
	EXPECT_OK(fcntl(a, F_SETFD, 0xfe)); /* only bit 0 counts */
	EXPECT_EQ(fcntl(a, F_GETFD), 0);
}

CASE(dup2_and_dup3)
{
	int a = EXPECT_OK(open("/dev/null", O_RDONLY));
	EXPECT_EQ(dup2(a, a), a);
	EXPECT_ERRNO(dup3(a, a, 0), EINVAL);
	EXPECT_ERRNO(dup3(a, 20, O_NONBLOCK), EINVAL);
	EXPECT_ERRNO(dup2(77, 77), EBADF);
	EXPECT_ERRNO(dup2(77, 3), EBADF);
	EXPECT_OK(fcntl(a, F_GETFD)); /* dup2 from a bad one leaves the target open */
	EXPECT_EQ(dup3(a, 20, O_CLOEXEC), 20);
	EXPECT_EQ(fcntl(20, F_GETFD), FD_CLOEXEC);
	EXPECT_EQ(dup2(a, 20), 20);
	EXPECT_EQ(fcntl(20, F_GETFD), 0);
	EXPECT_ERRNO(dup2(a, -1), EBADF);
}

CASE(dupfd_minimum)
{
	int a = EXPECT_OK(open("/dev/null", O_RDONLY));
	EXPECT_EQ(fcntl(a, F_DUPFD, 10), 10);
	EXPECT_EQ(fcntl(a, F_DUPFD, 10), 11);
	EXPECT_EQ(fcntl(a, F_DUPFD_CLOEXEC, 0), 4);
	EXPECT_EQ(fcntl(4, F_GETFD), FD_CLOEXEC);
	struct rlimit lim;
	EXPECT_OK(getrlimit(RLIMIT_NOFILE, &lim));
	EXPECT_ERRNO(fcntl(a, F_DUPFD, (int)lim.rlim_cur), EINVAL);
	EXPECT_ERRNO(fcntl(a, F_DUPFD, -1), EINVAL);
}

CASE(nofile_limit)
{
	struct rlimit lim;
	EXPECT_OK(getrlimit(RLIMIT_NOFILE, &lim));
	lim.rlim_cur = 6;
	int high = EXPECT_OK(fcntl(0, F_DUPFD, 30));
	EXPECT_OK(setrlimit(RLIMIT_NOFILE, &lim));
	EXPECT_EQ(dup(0), 3);
	EXPECT_EQ(dup(0), 4);
	EXPECT_EQ(dup(0), 5);
	EXPECT_ERRNO(dup(0), EMFILE);
	EXPECT_ERRNO(open("/dev/null", O_RDONLY), EMFILE);
	EXPECT_ERRNO(open("nothing", O_RDONLY), EMFILE); /* the number is found first */
	EXPECT_ERRNO(dup2(0, 6), EBADF);
	EXPECT_ERRNO(fcntl(0, F_DUPFD, 6), EINVAL);
	EXPECT_ERRNO(fcntl(0, F_DUPFD, 5), EMFILE);
	EXPECT_OK(close(5));
	int p[2] = {-7, -7};
	EXPECT_ERRNO(pipe(p), EMFILE);
	EXPECT_EQ(p[0], -7);
	EXPECT_EQ(dup(0), 5); /* the failed pipe gave its number back */
	EXPECT_OK(fcntl(high, F_GETFD)); /* one above the limit stays usable */
	EXPECT_ERRNO(dup3(0, 6, 0), EBADF);
}

CASE(close_range_closes)
{
	for (int i = 10; i < 20; i++)
		EXPECT_EQ(dup2(0, i), i);
	EXPECT_OK(syscall(SYS_close_range, 12, 14, 0));
	EXPECT_ERRNO(fcntl(12, F_GETFD), EBADF);
	EXPECT_ERRNO(fcntl(14, F_GETFD), EBADF);
	EXPECT_EQ(fcntl(11, F_GETFD), 0);
	EXPECT_EQ(fcntl(15, F_GETFD), 0);
	EXPECT_OK(syscall(SYS_close_range, 15, ~0U, CLOSE_RANGE_CLOEXEC));
	EXPECT_EQ(fcntl(15, F_GETFD), FD_CLOEXEC);
	EXPECT_EQ(fcntl(19, F_GETFD), FD_CLOEXEC);
	EXPECT_ERRNO(syscall(SYS_close_range, 5, 4, 0), EINVAL);
	EXPECT_ERRNO(syscall(SYS_close_range, 5, 6, 0x100), EINVAL);
	EXPECT_OK(syscall(SYS_close_range, 1000, 2000, 0));
	EXPECT_OK(syscall(SYS_close_range, 10, ~0U, 0));
	EXPECT_EQ(open_fds(), 3);
}

static void *unshare_range(void *arg)
{
	(void)arg;
	EXPECT_OK(syscall(SYS_close_range, 10, 10, CLOSE_RANGE_UNSHARE));
	EXPECT_ERRNO(fcntl(10, F_GETFD), EBADF);
	return NULL;
}

CASE(close_range_unshare)
{
	EXPECT_EQ(dup2(0, 10), 10);
	thread_join(thread_start(unshare_range, NULL));
	EXPECT_EQ(fcntl(10, F_GETFD), 0);
}

CASE(getfl_exact)
{
	put_file("f", "");
	/* O_CREAT, O_EXCL, O_TRUNC, O_NOCTTY and O_CLOEXEC are not kept; O_LARGEFILE is, and glibc's is 0. */
	const int large = 0100000;
	struct {
		const char *path;
		int flags, want;
	} rows[] = {
		{"f", O_RDONLY, O_RDONLY | large},
		{"f", O_WRONLY, O_WRONLY | large},
		{"f", O_RDWR, O_RDWR | large},
		{"f", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, O_RDWR | large},
		{"f", O_RDWR | O_APPEND | O_NONBLOCK, O_RDWR | O_APPEND | O_NONBLOCK | large},
		{"f", O_RDONLY | O_NOFOLLOW | O_NOATIME, O_RDONLY | O_NOFOLLOW | O_NOATIME | large},
		{"f", O_RDWR | O_SYNC, O_RDWR | O_SYNC | large},
		{"f", O_RDWR | O_DSYNC, O_RDWR | O_DSYNC | large},
		{"f", O_PATH, O_PATH},
		{"f", O_PATH | O_RDWR | O_APPEND, O_PATH},
		{".", O_RDONLY | O_DIRECTORY, O_RDONLY | O_DIRECTORY | large},
		{".", O_PATH | O_DIRECTORY, O_PATH | O_DIRECTORY},
		{"/dev/null", O_RDWR, O_RDWR | large},
	};
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
		int fd = EXPECT_OK(syscall(SYS_open, rows[i].path, rows[i].flags, 0600));
		int got = EXPECT_OK(fcntl(fd, F_GETFL));
		if (got != rows[i].want)
			FAIL("open flags %#o of %s became %#o, not %#o", rows[i].flags, rows[i].path, got, rows[i].want);
		EXPECT_OK(close(fd));
	}
}

CASE(getfl_of_pipes_and_sockets)
{
	int p[2], s[2];
	EXPECT_OK(pipe2(p, O_CLOEXEC));
	EXPECT_EQ(fcntl(p[0], F_GETFL), O_RDONLY);
	EXPECT_EQ(fcntl(p[1], F_GETFL), O_WRONLY);
	EXPECT_OK(pipe2(p, O_NONBLOCK));
	EXPECT_EQ(fcntl(p[0], F_GETFL), O_RDONLY | O_NONBLOCK);
	EXPECT_EQ(fcntl(p[1], F_GETFL), O_WRONLY | O_NONBLOCK);
	EXPECT_OK(pipe2(p, O_DIRECT));
	EXPECT_EQ(fcntl(p[1], F_GETFL), O_WRONLY | O_DIRECT);
	EXPECT_ERRNO(pipe2(p, O_APPEND), EINVAL);
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s));
	EXPECT_EQ(fcntl(s[0], F_GETFL), O_RDWR | O_NONBLOCK);
	EXPECT_EQ(fcntl(s[1], F_GETFD), FD_CLOEXEC);
}

CASE(setfl_changes_only_some)
{
	put_file("f", "");
	int fd = EXPECT_OK(open("f", O_RDWR));
	int before = fcntl(fd, F_GETFL);
	EXPECT_OK(fcntl(fd, F_SETFL, O_WRONLY | O_CREAT | O_TRUNC | O_SYNC | O_APPEND | O_NONBLOCK));
	EXPECT_EQ(fcntl(fd, F_GETFL), before | O_APPEND | O_NONBLOCK);
	EXPECT_OK(fcntl(fd, F_SETFL, 0));
	EXPECT_EQ(fcntl(fd, F_GETFL), before);
	EXPECT_ERRNO(fcntl(fd, 9999, 0), EINVAL);
	int path = EXPECT_OK(open("f", O_PATH));
	EXPECT_ERRNO(fcntl(path, F_SETFL, O_NONBLOCK), EBADF);
	EXPECT_OK(fcntl(path, F_SETFD, FD_CLOEXEC));
}

CASE(setfl_noatime_needs_ownership)
{
	put_file("f", "x");
	EXPECT_OK(chmod("f", 0666));
	CHILD(p) {
		become_user(1000, 1000);
		int fd = EXPECT_OK(open("f", O_RDONLY));
		EXPECT_ERRNO(fcntl(fd, F_SETFL, O_NOATIME), EPERM);
		EXPECT_ERRNO(open("f", O_RDONLY | O_NOATIME), EPERM);
	}
	JOIN(p);
}

CASE(fionbio_and_fioclex)
{
	int p[2], on = 1, off = 0;
	EXPECT_OK(pipe(p));
	EXPECT_OK(ioctl(p[0], FIONBIO, &on));
	EXPECT_EQ(fcntl(p[0], F_GETFL), O_NONBLOCK);
	char c;
	EXPECT_ERRNO(read(p[0], &c, 1), EAGAIN);
	EXPECT_OK(ioctl(p[0], FIONBIO, &off));
	EXPECT_EQ(fcntl(p[0], F_GETFL), 0);
	EXPECT_OK(ioctl(p[0], FIOCLEX));
	EXPECT_EQ(fcntl(p[0], F_GETFD), FD_CLOEXEC);
	EXPECT_OK(ioctl(p[0], FIONCLEX));
	EXPECT_EQ(fcntl(p[0], F_GETFD), 0);
	EXPECT_ERRNO(ioctl(p[0], TIOCGWINSZ, &on), ENOTTY);
	EXPECT_ERRNO(ioctl(99, FIONBIO, &on), EBADF);
}

CASE(fork_shares_descriptions)
{
	put_file("f", "abcdef");
	int fd = EXPECT_OK(open("f", O_RDONLY));
	CHILD(p) {
		EXPECT_EQ(lseek(fd, 4, SEEK_SET), 4);
		EXPECT_OK(close(fd));
	}
	JOIN(p);
	char c;
	EXPECT_EQ(read(fd, &c, 1), 1);
	EXPECT_EQ(c, 'e');
}

CASE(cloexec_on_exec)
{
	EXPECT_OK(dup3(0, 50, O_CLOEXEC));
	EXPECT_OK(dup2(0, 51));
	CHILD(p) {
		execl("/bin/sh", "sh", "-c", "[ ! -e /proc/self/fd/50 ] && [ -e /proc/self/fd/51 ]", NULL);
		_exit(9);
	}
	JOIN(p);
}

CASE(scm_rights_shares_description)
{
	int s[2];
	put_file("f", "abcdef");
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	int fd = EXPECT_OK(open("f", O_RDONLY | O_CLOEXEC));
	send_fd(s[0], fd);
	int got = receive_fd(s[1], 0, NULL);
	CHECK(got > fd);
	EXPECT_EQ(fcntl(got, F_GETFD), 0);
	EXPECT_EQ(lseek(got, 3, SEEK_SET), 3);
	EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 3);
	EXPECT_OK(fcntl(got, F_SETFL, O_NONBLOCK));
	CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
	send_fd(s[0], fd);
	got = receive_fd(s[1], MSG_CMSG_CLOEXEC, NULL);
	EXPECT_EQ(fcntl(got, F_GETFD), FD_CLOEXEC);
}

CASE(scm_rights_in_flight_keeps_it_open)
{
	int s[2], p[2];
	EXPECT_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	EXPECT_OK(pipe(p));
	send_fd(s[0], p[1]);
	EXPECT_OK(close(p[1]));
	EXPECT_OK(fcntl(p[0], F_SETFL, O_NONBLOCK));
	char c;
	EXPECT_ERRNO(read(p[0], &c, 1), EAGAIN); /* a writer is on its way */
	int w = receive_fd(s[1], 0, NULL);
	EXPECT_EQ(write(w, "x", 1), 1);
	EXPECT_EQ(read(p[0], &c, 1), 1);
	send_fd(s[0], w);
	EXPECT_OK(close(w));
	EXPECT_OK(close(s[0]));
	EXPECT_OK(close(s[1])); /* drops the message and with it the last writer */
	EXPECT_EQ(read(p[0], &c, 1), 0);
}

CASE(scm_rights_errors_and_truncation)
{
	int s[2];
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	char data = 'd', control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {&data, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	*c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
	int bad = 99;
	memcpy(CMSG_DATA(c), &bad, sizeof bad);
	EXPECT_ERRNO(sendmsg(s[0], &msg, 0), EBADF);
	send_fd(s[0], 0);
	/* Without room for it the descriptor is dropped and the message marked. */
	int fds = open_fds();
	msg.msg_control = NULL;
	msg.msg_controllen = 0;
	EXPECT_EQ(recvmsg(s[1], &msg, 0), 1);
	EXPECT_EQ(msg.msg_flags, MSG_CTRUNC);
	EXPECT_EQ(open_fds(), fds);
	/* So it is when the table is full. */
	send_fd(s[0], 0);
	struct rlimit lim;
	EXPECT_OK(getrlimit(RLIMIT_NOFILE, &lim));
	lim.rlim_cur = 5;
	EXPECT_OK(setrlimit(RLIMIT_NOFILE, &lim));
	int flags;
	EXPECT_EQ(receive_fd(s[1], 0, &flags), -1);
	EXPECT_EQ(flags, MSG_CTRUNC);
}

CASE(scm_rights_ends_a_stream_read)
{
	int s[2];
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	EXPECT_EQ(write(s[0], "ab", 2), 2);
	send_fd(s[0], 0);
	EXPECT_EQ(write(s[0], "yz", 2), 2);
	char buf[16], control[64];
	struct iovec iov = {buf, sizeof buf};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	/* Bytes ahead of a descriptor may come with it, those behind it come later. */
	ssize_t n = EXPECT_OK(recvmsg(s[1], &msg, 0));
	RECORD("first", "%zd with %zu control bytes", n, (size_t)msg.msg_controllen);
	msg.msg_controllen = sizeof control;
	n = EXPECT_OK(recvmsg(s[1], &msg, 0));
	RECORD("second", "%zd with %zu control bytes", n, (size_t)msg.msg_controllen);
}

CASE(cloned_files_table)
{
	/* Threads share the table; a forked child has its own. */
	CHILD(p) {
		EXPECT_OK(dup2(0, 40));
	}
	JOIN(p);
	EXPECT_ERRNO(fcntl(40, F_GETFD), EBADF);
	CHILD(q) {
		EXPECT_OK(close(0));
	}
	JOIN(q);
	EXPECT_OK(fcntl(0, F_GETFD));
}

CASE(bad_descriptors)
{
	char c;
	struct stat st;
	EXPECT_ERRNO(read(99, &c, 1), EBADF);
	EXPECT_ERRNO(write(99, &c, 1), EBADF);
	EXPECT_ERRNO(lseek(99, 0, SEEK_SET), EBADF);
	EXPECT_ERRNO(fstat(99, &st), EBADF);
	EXPECT_ERRNO(fsync(99), EBADF);
	EXPECT_ERRNO(fchdir(99), EBADF);
	EXPECT_ERRNO(openat(99, "x", O_RDONLY), EBADF);
	EXPECT_ERRNO(openat(99, "", O_RDONLY), ENOENT); /* the path is read first */
	EXPECT_OK(close(openat(99, "/dev/null", O_RDONLY)));
	int null = EXPECT_OK(open("/dev/null", O_RDONLY));
	EXPECT_ERRNO(openat(null, "x", O_RDONLY), ENOTDIR);
	EXPECT_ERRNO(fchdir(null), ENOTDIR);
	EXPECT_ERRNO(dup(-1), EBADF);
	EXPECT_ERRNO(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 99, 0), EBADF);
}

CASE(close_while_reading_keeps_the_read)
{
	int p[2];
	EXPECT_OK(pipe(p));
	struct gate g = gate_new();
	CHILD(child) {
		EXPECT_OK(close(p[1]));
		gate_open(&g);
		char c;
		EXPECT_EQ(read(p[0], &c, 1), 1);
		EXPECT_EQ(c, 'k');
	}
	gate_wait(&g);
	wait_asleep(child);
	EXPECT_EQ(write(p[1], "k", 1), 1);
	JOIN(child);
}

CASE(taken_from_another_process)
{
	put_file("f", "abcdef");
	struct gate g = gate_new(), ready = gate_new();
	CHILD(p) {
		EXPECT_EQ(dup2(EXPECT_OK(open("f", O_RDONLY)), 60), 60);
		gate_open(&ready);
		gate_wait(&g);
		EXPECT_EQ(lseek(60, 0, SEEK_CUR), 2);
	}
	gate_wait(&ready);
	int pidfd = syscall(SYS_pidfd_open, p, 0);
	if (pidfd < 0 && errno == ENOSYS)
		SKIP("no pidfd_open");
	EXPECT_OK(pidfd);
	int fd = EXPECT_OK(syscall(SYS_pidfd_getfd, pidfd, 60, 0));
	EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	EXPECT_EQ(lseek(fd, 2, SEEK_SET), 2);
	EXPECT_ERRNO(syscall(SYS_pidfd_getfd, pidfd, 61, 0), EBADF);
	EXPECT_ERRNO(syscall(SYS_pidfd_getfd, pidfd, 60, 1), EINVAL);
	EXPECT_ERRNO(syscall(SYS_pidfd_getfd, fd, 60, 0), EBADF);
	gate_open(&g);
	JOIN(p);
}

CASE(scm_rights_at_most_253)
{
	int s[2], fds[254];
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	memset(fds, 0, sizeof fds); /* 254 times standard input */
	static char control[CMSG_SPACE(sizeof fds)];
	char data = 'd';
	struct iovec iov = {&data, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	*c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fds)};
	EXPECT_ERRNO(sendmsg(s[0], &msg, 0), EINVAL);
	c->cmsg_len = CMSG_LEN(253 * sizeof(int));
	EXPECT_EQ(sendmsg(s[0], &msg, 0), 1);
	int before = open_fds();
	EXPECT_EQ(recvmsg(s[1], &msg, 0), 1);
	EXPECT_EQ(msg.msg_flags, 0);
	EXPECT_EQ(open_fds(), before + 253);
}

CASE(a_socket_sent_through_itself)
{
	int s[2], p[2];
	char c;
	EXPECT_OK(pipe(p));
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	send_fd(s[0], s[1]);
	send_fd(s[0], p[1]); /* goes when the pair is found to be unreachable */
	EXPECT_OK(close(p[1]));
	EXPECT_OK(close(s[0]));
	EXPECT_OK(close(s[1]));
	/* Closing another Unix socket sets the search off at the latest. */
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	EXPECT_OK(close(s[0]));
	EXPECT_OK(close(s[1]));
	EXPECT_EQ(read(p[0], &c, 1), 0);
}
