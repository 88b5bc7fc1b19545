/* Unix sockets: pairs of all types, names, connecting, credentials, shutdown, message flags. */
#include "../harness.h"
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static void pair(int type, int s[2])
{
	EXPECT_OK(socketpair(AF_UNIX, type, 0, s));
}

static socklen_t name(struct sockaddr_un *a, const char *path)
{
	memset(a, 0, sizeof *a);
	a->sun_family = AF_UNIX;
	strcpy(a->sun_path, path);
	return offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1;
}

static int bind_to(int fd, const char *path)
{
	struct sockaddr_un a;
	socklen_t len = name(&a, path);
	return bind(fd, (void *)&a, len);
}

static int connect_to(int fd, const char *path)
{
	struct sockaddr_un a;
	socklen_t len = name(&a, path);
	return connect(fd, (void *)&a, len);
}

static int listener(const char *path, int backlog)
{
	int fd = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
	EXPECT_OK(bind_to(fd, path));
	EXPECT_OK(listen(fd, backlog));
	return fd;
}

CASE(socket_arguments)
{
	EXPECT_ERRNO(socket(AF_UNIX, 99, 0), EINVAL);
	EXPECT_ERRNO(socket(AF_UNIX, SOCK_RDM, 0), ESOCKTNOSUPPORT);
	EXPECT_ERRNO(socket(99, SOCK_STREAM, 0), EAFNOSUPPORT);
	EXPECT_ERRNO(socket(AF_UNIX, SOCK_STREAM, 99), EPROTONOSUPPORT);
	EXPECT_ERRNO(socket(AF_UNIX, SOCK_STREAM | 0x100, 0), EINVAL);
	EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 1)); /* PF_UNIX as a protocol is taken */
	int s[2];
	EXPECT_ERRNO(socketpair(AF_INET, SOCK_STREAM, 0, s), EOPNOTSUPP);
	EXPECT_ERRNO(socketpair(AF_UNIX, SOCK_STREAM, 0, (void *)8), EFAULT);
	int fd = EXPECT_OK(socket(AF_UNIX, SOCK_SEQPACKET, 0)), v;
	socklen_t len = sizeof v;
	EXPECT_OK(getsockopt(fd, SOL_SOCKET, SO_TYPE, &v, &len));
	EXPECT_EQ(v, SOCK_SEQPACKET);
	EXPECT_OK(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &v, &len));
	EXPECT_EQ(v, AF_UNIX);
	struct stat st;
	EXPECT_OK(fstat(fd, &st));
	EXPECT_EQ(st.st_mode, S_IFSOCK | 0777);
}

CASE(not_a_socket)
{
	char c = 0;
	struct sockaddr_un a;
	socklen_t len = sizeof a;
	EXPECT_ERRNO(send(0, &c, 1, 0), ENOTSOCK);
	EXPECT_ERRNO(recv(0, &c, 1, 0), ENOTSOCK);
	EXPECT_ERRNO(listen(0, 1), ENOTSOCK);
	EXPECT_ERRNO(accept(0, NULL, NULL), ENOTSOCK);
	EXPECT_ERRNO(shutdown(0, SHUT_RD), ENOTSOCK);
	EXPECT_ERRNO(getsockname(0, (void *)&a, &len), ENOTSOCK);
	EXPECT_ERRNO(bind(99, (void *)&a, len), EBADF);
	int fd = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
	EXPECT_ERRNO(lseek(fd, 0, SEEK_SET), ESPIPE);
	EXPECT_ERRNO(ftruncate(fd, 0), EINVAL);
	EXPECT_ERRNO(fsync(fd), EINVAL);
	EXPECT_ERRNO(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0), ENODEV);
}

CASE(stream_pair)
{
	int s[2];
	char buf[16];
	pair(SOCK_STREAM, s);
	EXPECT_EQ(write(s[0], "abc", 3), 3);
	EXPECT_EQ(send(s[0], "def", 3, 0), 3);
	EXPECT_EQ(read(s[1], buf, 4), 4); /* no message borders */
	CHECK(!memcmp(buf, "abcd", 4));
	int n;
	EXPECT_OK(ioctl(s[1], FIONREAD, &n));
	EXPECT_EQ(n, 2);
	EXPECT_EQ(recv(s[1], buf, 16, 0), 2);
	EXPECT_ERRNO(recv(s[1], buf, 16, MSG_DONTWAIT), EAGAIN);
	EXPECT_EQ(fcntl(s[1], F_GETFL), O_RDWR);
	EXPECT_EQ(send(s[0], "", 0, 0), 0); /* an empty message is none */
	EXPECT_ERRNO(recv(s[1], buf, 16, MSG_DONTWAIT), EAGAIN);
	EXPECT_OK(close(s[0]));
	EXPECT_EQ(read(s[1], buf, 16), 0);
	EXPECT_ERRNO(send(s[1], "x", 1, MSG_NOSIGNAL), EPIPE);
	count_signal(SIGPIPE, 0);
	EXPECT_ERRNO(send(s[1], "x", 1, 0), EPIPE);
	EXPECT_EQ(signals_seen[SIGPIPE], 1);
	EXPECT_ERRNO(write(s[1], "x", 1), EPIPE);
	EXPECT_EQ(signals_seen[SIGPIPE], 2);
}

CASE(unread_data_resets_the_peer)
{
	int s[2];
	pair(SOCK_STREAM, s);
	EXPECT_EQ(write(s[0], "abc", 3), 3);
	EXPECT_EQ(write(s[1], "xyz", 3), 3);
	EXPECT_OK(close(s[1])); /* with "abc" unread */
	char buf[8];
	EXPECT_EQ(read(s[0], buf, 8), 3); /* what came before is still there */
	EXPECT_ERRNO(read(s[0], buf, 8), ECONNRESET); /* told once */
	EXPECT_EQ(read(s[0], buf, 8), 0);
}

CASE(datagram_pair)
{
	int s[2];
	char buf[16];
	pair(SOCK_DGRAM, s);
	EXPECT_EQ(send(s[0], "abcd", 4, 0), 4);
	EXPECT_EQ(send(s[0], "", 0, 0), 0); /* here it is one */
	EXPECT_EQ(send(s[0], "ef", 2, 0), 2);
	EXPECT_EQ(recv(s[1], buf, 2, 0), 2); /* the rest is gone */
	EXPECT_EQ(recv(s[1], buf, 16, 0), 0);
	EXPECT_EQ(recv(s[1], buf, 1, MSG_TRUNC), 2); /* the real length */
	EXPECT_EQ(send(s[0], "abcd", 4, 0), 4);
	struct iovec v = {buf, 2};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	EXPECT_EQ(recvmsg(s[1], &m, 0), 2);
	EXPECT_EQ(m.msg_flags, MSG_TRUNC);
	EXPECT_OK(close(s[0]));
	EXPECT_ERRNO(send(s[1], "x", 1, 0), ECONNREFUSED); /* no SIGPIPE */
	EXPECT_ERRNO(recv(s[1], buf, 1, MSG_DONTWAIT), EAGAIN); /* and no end of file */
}

CASE(seqpacket_pair)
{
	int s[2];
	char buf[16];
	pair(SOCK_SEQPACKET, s);
	EXPECT_EQ(send(s[0], "abcd", 4, 0), 4);
	EXPECT_EQ(send(s[0], "ef", 2, MSG_EOR), 2);
	struct iovec v = {buf, 3};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	EXPECT_EQ(recvmsg(s[1], &m, 0), 3);
	CHECK(m.msg_flags & MSG_TRUNC);
	EXPECT_EQ(recv(s[1], buf, 16, 0), 2);
	EXPECT_OK(close(s[0]));
	EXPECT_EQ(recv(s[1], buf, 16, 0), 0);
	EXPECT_ERRNO(send(s[1], "x", 1, MSG_NOSIGNAL), EPIPE);
}

CASE(peeking)
{
	int s[2];
	char buf[16];
	pair(SOCK_STREAM, s);
	EXPECT_EQ(write(s[0], "abc", 3), 3);
	EXPECT_EQ(write(s[0], "def", 3), 3);
	EXPECT_EQ(recv(s[1], buf, 2, MSG_PEEK), 2);
	EXPECT_EQ(recv(s[1], buf, 16, MSG_PEEK), 6);
	CHECK(!memcmp(buf, "abcdef", 6));
	EXPECT_EQ(recv(s[1], buf, 16, 0), 6);
	pair(SOCK_DGRAM, s);
	EXPECT_EQ(send(s[0], "abc", 3, 0), 3);
	EXPECT_EQ(recv(s[1], buf, 1, MSG_PEEK | MSG_TRUNC), 3);
	EXPECT_EQ(recv(s[1], buf, 16, 0), 3);
	EXPECT_ERRNO(recv(s[1], buf, 16, MSG_DONTWAIT | MSG_PEEK), EAGAIN);
}

CASE(waitall)
{
	int s[2];
	char buf[16];
	pair(SOCK_STREAM, s);
	pid_t parent = getpid();
	EXPECT_EQ(write(s[0], "abc", 3), 3);
	CHILD(p) {
		wait_asleep(parent);
		EXPECT_EQ(write(s[0], "def", 3), 3);
		EXPECT_EQ(write(s[0], "gh", 2), 2);
	}
	EXPECT_EQ(recv(s[1], buf, 6, MSG_WAITALL), 6);
	JOIN(p);
	EXPECT_OK(shutdown(s[0], SHUT_WR));
	EXPECT_EQ(recv(s[1], buf, 6, MSG_WAITALL), 2); /* the end comes first */
}

CASE(receive_timeout)
{
	int s[2];
	char c;
	pair(SOCK_STREAM, s);
	struct timeval tv = {0, 30000};
	EXPECT_OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	int64_t start = now_ms();
	EXPECT_ERRNO(recv(s[0], &c, 1, 0), EAGAIN);
	CHECK(now_ms() - start >= 25);
	tv.tv_usec = 1000000;
	EXPECT_ERRNO(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv), EDOM);
	/* With a time limit a signal is not followed by a restart. */
	tv = (struct timeval){5, 0};
	EXPECT_OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	interrupt_every(20);
	count_signal(SIGALRM, SA_RESTART);
	EXPECT_ERRNO(recv(s[0], &c, 1, 0), EINTR);
}

CASE(shutdown_directions)
{
	int s[2];
	char buf[8];
	pair(SOCK_STREAM, s);
	EXPECT_EQ(write(s[0], "abc", 3), 3);
	EXPECT_OK(shutdown(s[0], SHUT_WR));
	EXPECT_ERRNO(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	EXPECT_EQ(read(s[1], buf, 8), 3);
	EXPECT_EQ(read(s[1], buf, 8), 0);
	EXPECT_EQ(write(s[1], "yz", 2), 2); /* the other way is open */
	EXPECT_EQ(read(s[0], buf, 8), 2);
	EXPECT_OK(shutdown(s[0], SHUT_RD));
	EXPECT_EQ(read(s[0], buf, 8), 0);
	EXPECT_ERRNO(send(s[1], "x", 1, MSG_NOSIGNAL), EPIPE);
	EXPECT_ERRNO(shutdown(s[0], 3), EINVAL);
	EXPECT_OK(shutdown(EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0)), SHUT_RD)); /* connected or not */
	pair(SOCK_STREAM, s);
	EXPECT_OK(shutdown(s[0], SHUT_RDWR));
	struct pollfd f = {s[1], POLLIN, 0};
	EXPECT_EQ(poll(&f, 1, 0), 1);
	EXPECT_EQ(f.revents, POLLIN | POLLHUP);
}

CASE(connect_and_accept)
{
	int l = listener("sock", 5), c = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
	struct stat st;
	EXPECT_OK(lstat("sock", &st));
	EXPECT_EQ(st.st_mode, S_IFSOCK | 0755);
	EXPECT_OK(connect_to(c, "sock"));
	EXPECT_ERRNO(connect_to(c, "sock"), EISCONN);
	EXPECT_EQ(write(c, "early", 5), 5); /* before accept */
	struct sockaddr_un a;
	socklen_t len = sizeof a;
	memset(&a, 0xff, sizeof a);
	int s = EXPECT_OK(accept4(l, (void *)&a, &len, SOCK_NONBLOCK | SOCK_CLOEXEC));
	EXPECT_EQ(len, 2); /* the client has no name */
	EXPECT_EQ(a.sun_family, AF_UNIX);
	EXPECT_EQ(fcntl(s, F_GETFL), O_RDWR | O_NONBLOCK);
	EXPECT_EQ(fcntl(s, F_GETFD), FD_CLOEXEC);
	char buf[8];
	EXPECT_EQ(read(s, buf, 8), 5);
	len = sizeof a;
	EXPECT_OK(getsockname(s, (void *)&a, &len));
	EXPECT_EQ(len, 7);
	EXPECT_STR(a.sun_path, "sock");
	len = sizeof a;
	EXPECT_OK(getpeername(c, (void *)&a, &len));
	EXPECT_STR(a.sun_path, "sock");
	len = 4;
	EXPECT_OK(getpeername(c, (void *)&a, &len));
	EXPECT_EQ(len, 7); /* cut, and the real length told */
	EXPECT_ERRNO(getpeername(l, (void *)&a, &len), ENOTCONN);
	EXPECT_ERRNO(accept4(l, NULL, NULL, 0x1), EINVAL);
	EXPECT_OK(fcntl(l, F_SETFL, O_NONBLOCK));
	EXPECT_ERRNO(accept(l, NULL, NULL), EAGAIN);
	EXPECT_ERRNO(open("sock", O_RDWR), ENXIO);
}

CASE(bind_errors)
{
	int fd = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
	put_file("f", "");
	EXPECT_ERRNO(bind_to(fd, "f"), EADDRINUSE);
	EXPECT_ERRNO(bind_to(fd, "no/sock"), ENOENT);
	EXPECT_ERRNO(bind_to(fd, "f/sock"), ENOTDIR);
	struct sockaddr_un a = {.sun_family = AF_INET};
	EXPECT_ERRNO(bind(fd, (void *)&a, sizeof a), EINVAL);
	a.sun_family = AF_UNIX;
	EXPECT_ERRNO(bind(fd, (void *)&a, 1), EINVAL);
	EXPECT_ERRNO(bind(fd, (void *)&a, sizeof a + 1), EINVAL);
	EXPECT_ERRNO(bind(fd, (void *)8, 10), EFAULT);
	EXPECT_OK(bind_to(fd, "sock"));
	EXPECT_ERRNO(bind_to(fd, "sock2"), EINVAL); /* has a name */
	EXPECT_ERRNO(bind_to(EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0)), "sock"), EADDRINUSE);
	/* 108 bytes without a NUL are fine. */
	memset(a.sun_path, 'n', sizeof a.sun_path);
	int longest = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
	EXPECT_OK(bind(longest, (void *)&a, sizeof a));
	/* An address with no path at all asks for an abstract name. */
	int any = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
	EXPECT_OK(bind(any, (void *)&a, sizeof(sa_family_t)));
	socklen_t len = sizeof a;
	EXPECT_OK(getsockname(any, (void *)&a, &len));
	EXPECT_EQ(len, 2 + 6);
	EXPECT_EQ(a.sun_path[0], 0);
}

CASE(connect_errors)
{
	int fd = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
	put_file("f", "");
	EXPECT_ERRNO(connect_to(fd, "none"), ENOENT);
	EXPECT_ERRNO(connect_to(fd, "f"), ECONNREFUSED);
	int l = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
	EXPECT_OK(bind_to(l, "sock"));
	EXPECT_ERRNO(connect_to(fd, "sock"), ECONNREFUSED); /* bound, doesn't listen */
	EXPECT_ERRNO(accept(l, NULL, NULL), EINVAL);
	int d = EXPECT_OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	EXPECT_ERRNO(connect_to(d, "sock"), EPROTOTYPE);
	EXPECT_ERRNO(listen(d, 1), EOPNOTSUPP);
	EXPECT_ERRNO(accept(d, NULL, NULL), EOPNOTSUPP);
	EXPECT_ERRNO(listen(EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0)), 1), EINVAL); /* no name */
	EXPECT_OK(listen(l, 1));
	EXPECT_OK(close(l));
	EXPECT_ERRNO(connect_to(fd, "sock"), ECONNREFUSED); /* only its name is left */
	EXPECT_ERRNO(send(fd, "x", 1, MSG_NOSIGNAL), ENOTCONN);
	EXPECT_ERRNO(recv(fd, NULL, 0, 0), EINVAL);
	CHILD(p) {
		listener("closed", 1);
		EXPECT_OK(chmod("closed", 0700));
		become_user(1000, 1000);
		EXPECT_ERRNO(connect_to(fd, "closed"), EACCES);
	}
	JOIN(p);
}

CASE(backlog)
{
	listener("sock", 1);
	for (int i = 0; i < 2; i++) /* one more than asked for */
		EXPECT_OK(connect_to(EXPECT_OK(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)), "sock"));
	int third = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
	EXPECT_ERRNO(connect_to(third, "sock"), EAGAIN);
}

CASE(connect_waits_for_room)
{
	int l = listener("sock", 0);
	EXPECT_OK(connect_to(EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0)), "sock"));
	CHILD(p) {
		EXPECT_OK(connect_to(EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0)), "sock"));
	}
	wait_asleep(p);
	EXPECT_OK(accept(l, NULL, NULL));
	JOIN(p);
	EXPECT_OK(accept(l, NULL, NULL));
}

CASE(accept_waits)
{
	int l = listener("sock", 1);
	pid_t parent = getpid();
	CHILD(p) {
		wait_asleep(parent);
		int c = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
		EXPECT_OK(connect_to(c, "sock"));
		char b;
		EXPECT_EQ(read(c, &b, 1), 0);
	}
	int s = EXPECT_OK(accept(l, NULL, NULL));
	EXPECT_OK(close(s));
	JOIN(p);
	interrupt_every(20);
	EXPECT_ERRNO(accept(l, NULL, NULL), EINTR);
}

CASE(closing_a_listener)
{
	int l = listener("sock", 5), c = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
	EXPECT_OK(connect_to(c, "sock"));
	struct pollfd f = {l, POLLIN, 0};
	EXPECT_EQ(poll(&f, 1, 0), 1);
	EXPECT_EQ(f.revents, POLLIN);
	EXPECT_OK(close(l)); /* drops those that wait */
	char b;
	EXPECT_ERRNO(read(c, &b, 1), ECONNRESET);
	EXPECT_ERRNO(send(c, "x", 1, MSG_NOSIGNAL), EPIPE);
}

CASE(abstract_names)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int len = snprintf(a.sun_path + 1, 100, "conformance-%d", getpid()) + 1 + 2;
	int l = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0)), c = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
	EXPECT_OK(bind(l, (void *)&a, len));
	EXPECT_OK(listen(l, 1));
	EXPECT_ERRNO(bind(c, (void *)&a, len), EADDRINUSE);
	EXPECT_ERRNO(connect(c, (void *)&a, len + 1), ECONNREFUSED); /* the length counts */
	EXPECT_OK(connect(c, (void *)&a, len));
	struct sockaddr_un b;
	socklen_t got = sizeof b;
	EXPECT_OK(getsockname(l, (void *)&b, &got));
	EXPECT_EQ(got, len);
	CHECK(!memcmp(&a, &b, len));
	EXPECT_OK(close(l)); /* the name goes with it */
	EXPECT_OK(bind(EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0)), (void *)&a, len));
}

CASE(datagram_addresses)
{
	char buf[8];
	struct sockaddr_un from, a;
	int r = EXPECT_OK(socket(AF_UNIX, SOCK_DGRAM, 0)), s = EXPECT_OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	EXPECT_OK(bind_to(r, "recv"));
	socklen_t len = name(&a, "recv");
	EXPECT_ERRNO(send(s, "x", 1, 0), ENOTCONN);
	EXPECT_EQ(sendto(s, "one", 3, 0, (void *)&a, len), 3);
	socklen_t got = sizeof from;
	EXPECT_EQ(recvfrom(r, buf, 8, 0, (void *)&from, &got), 3);
	EXPECT_EQ(got, 0); /* from a nameless socket */
	EXPECT_OK(bind_to(s, "send"));
	EXPECT_EQ(sendto(s, "two", 3, 0, (void *)&a, len), 3);
	got = sizeof from;
	EXPECT_EQ(recvfrom(r, buf, 8, 0, (void *)&from, &got), 3);
	EXPECT_STR(from.sun_path, "send");
	EXPECT_OK(connect_to(s, "recv"));
	EXPECT_EQ(send(s, "three", 5, 0), 5);
	/* A receiver that is connected elsewhere takes nothing from us. */
	int t = EXPECT_OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	EXPECT_OK(bind_to(t, "third"));
	EXPECT_OK(connect_to(r, "third"));
	EXPECT_ERRNO(send(s, "x", 1, 0), EPERM);
	struct sockaddr unspec = {.sa_family = AF_UNSPEC};
	EXPECT_OK(connect(s, &unspec, sizeof unspec));
	EXPECT_ERRNO(send(s, "x", 1, 0), ENOTCONN);
}

CASE(peer_credentials)
{
	needs_root();
	int s[2];
	struct ucred c;
	socklen_t len = sizeof c;
	pair(SOCK_STREAM, s);
	EXPECT_OK(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &c, &len));
	EXPECT_EQ(c.pid, getpid());
	EXPECT_EQ(c.uid, 0);
	EXPECT_EQ(len, sizeof c);
	/* They are those of the connect, not of the moment. */
	int l = listener("sock", 1);
	EXPECT_OK(chmod("sock", 0777));
	struct gate g = gate_new();
	CHILD(p) {
		become_user(1000, 1001);
		int fd = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
		EXPECT_OK(connect_to(fd, "sock"));
		EXPECT_OK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len));
		EXPECT_EQ(c.pid, getppid());
		EXPECT_EQ(c.uid, 0);
		gate_wait(&g);
	}
	int a = EXPECT_OK(accept(l, NULL, NULL));
	EXPECT_OK(getsockopt(a, SOL_SOCKET, SO_PEERCRED, &c, &len));
	EXPECT_EQ(c.pid, p);
	EXPECT_EQ(c.uid, 1000);
	EXPECT_EQ(c.gid, 1001);
	gate_open(&g);
	JOIN(p);
	EXPECT_OK(getsockopt(EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0)), SOL_SOCKET, SO_PEERCRED, &c, &len));
	EXPECT_EQ(c.pid, 0);
	EXPECT_EQ(c.uid, UINT32_MAX);
}

CASE(message_credentials)
{
	needs_root();
	int s[2], on = 1;
	pair(SOCK_DGRAM, s);
	EXPECT_OK(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
	EXPECT_EQ(send(s[0], "x", 1, 0), 1);
	char data, control[64];
	struct iovec v = {&data, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	EXPECT_EQ(recvmsg(s[1], &m, 0), 1);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	CHECK(c && c->cmsg_type == SCM_CREDENTIALS && c->cmsg_level == SOL_SOCKET);
	struct ucred u;
	memcpy(&u, CMSG_DATA(c), sizeof u);
	EXPECT_EQ(u.pid, getpid());
	EXPECT_EQ(u.uid, 0);
	CHILD(p) {
		become_user(1000, 1000);
		u = (struct ucred){getpid(), 0, 0}; /* a lie */
		memcpy(CMSG_DATA(c), &u, sizeof u);
		c->cmsg_len = CMSG_LEN(sizeof u);
		m.msg_controllen = CMSG_SPACE(sizeof u);
		EXPECT_ERRNO(sendmsg(s[0], &m, 0), EPERM);
	}
	JOIN(p);
}

CASE(full_buffers)
{
	int s[2];
	static char block[4096];
	pair(SOCK_STREAM | SOCK_NONBLOCK, s);
	long total = 0, n;
	while ((n = write(s[0], block, sizeof block)) > 0)
		total += n;
	EXPECT_EQ(errno, EAGAIN);
	CHECK(total >= 65536);
	struct pollfd f = {s[0], POLLOUT, 0};
	EXPECT_EQ(poll(&f, 1, 0), 0);
	while (total > 0)
		total -= EXPECT_OK(read(s[1], block, sizeof block));
	EXPECT_EQ(poll(&f, 1, 0), 1);
	EXPECT_ERRNO(read(s[1], block, 1), EAGAIN);
	pair(SOCK_DGRAM | SOCK_NONBLOCK, s);
	static char huge[1 << 20];
	EXPECT_ERRNO(send(s[0], huge, sizeof huge, 0), EMSGSIZE);
}

CASE(options)
{
	int fd = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0)), v = 0;
	socklen_t len = sizeof v;
	EXPECT_ERRNO(getsockopt(fd, SOL_SOCKET, 9999, &v, &len), ENOPROTOOPT);
	EXPECT_ERRNO(setsockopt(fd, SOL_SOCKET, 9999, &v, sizeof v), ENOPROTOOPT);
	EXPECT_ERRNO(getsockopt(fd, IPPROTO_TCP, 1, &v, &len), EOPNOTSUPP);
	EXPECT_ERRNO(setsockopt(fd, SOL_SOCKET, SO_TYPE, &v, sizeof v), ENOPROTOOPT);
	EXPECT_ERRNO(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &v, 1), EINVAL);
	EXPECT_ERRNO(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, (void *)8, sizeof v), EFAULT);
	EXPECT_OK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &v, &len));
	EXPECT_EQ(v, 0);
	EXPECT_OK(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &v, &len));
	EXPECT_EQ(v, 0);
	EXPECT_OK(bind_to(fd, "s"));
	EXPECT_OK(listen(fd, 1));
	EXPECT_OK(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &v, &len));
	EXPECT_EQ(v, 1);
	v = 20000;
	EXPECT_OK(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &v, sizeof v));
	EXPECT_OK(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &v, &len));
	EXPECT_EQ(v, 40000); /* doubled */
	unsigned char c;
	len = 1;
	EXPECT_OK(getsockopt(fd, SOL_SOCKET, SO_TYPE, &c, &len)); /* cut to what fits */
	EXPECT_EQ(len, 1);
	EXPECT_EQ(c, SOCK_STREAM);
	len = -1;
	EXPECT_ERRNO(getsockopt(fd, SOL_SOCKET, SO_TYPE, &v, &len), EINVAL);
}

CASE(many_messages)
{
	int s[2];
	pair(SOCK_DGRAM, s);
	char a[4] = "aaa", b[4] = "bb", got[2][8];
	struct iovec out[2] = {{a, 3}, {b, 2}}, in[2] = {{got[0], 8}, {got[1], 8}};
	struct mmsghdr m[2] = {{{.msg_iov = out, .msg_iovlen = 1}, 0}, {{.msg_iov = out + 1, .msg_iovlen = 1}, 0}};
	EXPECT_EQ(sendmmsg(s[0], m, 2, 0), 2);
	EXPECT_EQ(m[0].msg_len, 3);
	struct mmsghdr r[3] = {{{.msg_iov = in, .msg_iovlen = 1}, 0}, {{.msg_iov = in + 1, .msg_iovlen = 1}, 0}};
	EXPECT_EQ(recvmmsg(s[1], r, 2, MSG_DONTWAIT, NULL), 2);
	EXPECT_EQ(r[0].msg_len, 3);
	EXPECT_EQ(r[1].msg_len, 2);
	EXPECT_ERRNO(recvmmsg(s[1], r, 2, MSG_DONTWAIT, NULL), EAGAIN);
}
