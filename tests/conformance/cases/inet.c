/* TCP and UDP over the loopback device, IPv4 and IPv6. */
#include "../harness.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

static struct sockaddr_in loopback(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static int port_of(int fd)
{
	struct sockaddr_in a;
	socklen_t len = sizeof a;
	EXPECT_OK(getsockname(fd, (void *)&a, &len));
	EXPECT_EQ(len, sizeof a);
	return ntohs(a.sin_port);
}

static int bound(int type)
{
	int fd = EXPECT_OK(socket(AF_INET, type, 0));
	struct sockaddr_in a = loopback(0);
	EXPECT_OK(bind(fd, (void *)&a, sizeof a));
	return fd;
}

static int connect_port(int fd, int port)
{
	struct sockaddr_in a = loopback(port);
	return connect(fd, (void *)&a, sizeof a);
}

/* A connected pair: s[0] the client, s[1] the accepted side. */
static void tcp_pair(int s[2])
{
	int l = bound(SOCK_STREAM);
	EXPECT_OK(listen(l, 5));
	s[0] = EXPECT_OK(socket(AF_INET, SOCK_STREAM, 0));
	EXPECT_OK(connect_port(s[0], port_of(l)));
	s[1] = EXPECT_OK(accept(l, NULL, NULL));
	EXPECT_OK(close(l));
}

static int wait_for(int fd, int events)
{
	struct pollfd f = {fd, events, 0};
	EXPECT_EQ(poll(&f, 1, 5000), 1);
	return f.revents;
}

CASE(tcp_both_ways)
{
	int s[2];
	char buf[16];
	tcp_pair(s);
	EXPECT_EQ(write(s[0], "hello", 5), 5);
	EXPECT_EQ(recv(s[1], buf, 16, 0), 5);
	EXPECT_EQ(write(s[1], "world", 5), 5);
	EXPECT_EQ(recv(s[0], buf, 2, MSG_PEEK), 2);
	EXPECT_EQ(recv(s[0], buf, 5, MSG_WAITALL), 5);
	CHECK(!memcmp(buf, "world", 5));
	EXPECT_ERRNO(recv(s[0], buf, 1, MSG_DONTWAIT), EAGAIN);
	EXPECT_EQ(send(s[0], "", 0, 0), 0);
	struct sockaddr_in a, b;
	socklen_t len = sizeof a;
	EXPECT_OK(getpeername(s[1], (void *)&a, &len));
	EXPECT_OK(getsockname(s[0], (void *)&b, &len));
	EXPECT_EQ(a.sin_port, b.sin_port);
	EXPECT_EQ(a.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
}

CASE(tcp_end_of_stream)
{
	int s[2];
	char buf[8];
	tcp_pair(s);
	EXPECT_EQ(write(s[0], "bye", 3), 3);
	EXPECT_OK(shutdown(s[0], SHUT_WR));
	EXPECT_EQ(recv(s[1], buf, 8, MSG_WAITALL), 3);
	EXPECT_EQ(read(s[1], buf, 8), 0);
	EXPECT_EQ(wait_for(s[1], POLLIN | POLLOUT | POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP);
	EXPECT_ERRNO(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	EXPECT_EQ(write(s[1], "yes", 3), 3); /* half open */
	EXPECT_EQ(recv(s[0], buf, 3, MSG_WAITALL), 3);
	EXPECT_OK(close(s[1]));
	EXPECT_EQ(read(s[0], buf, 8), 0);
	EXPECT_EQ(wait_for(s[0], POLLIN), POLLIN | POLLHUP);
}

CASE(tcp_reset)
{
	int s[2];
	char c;
	tcp_pair(s);
	EXPECT_EQ(write(s[0], "unread", 6), 6);
	EXPECT_EQ(wait_for(s[1], POLLIN), POLLIN);
	EXPECT_OK(close(s[1])); /* unread data: a reset */
	EXPECT_EQ(wait_for(s[0], POLLIN) & (POLLERR | POLLHUP), POLLERR | POLLHUP);
	EXPECT_ERRNO(read(s[0], &c, 1), ECONNRESET);
	EXPECT_EQ(read(s[0], &c, 1), 0); /* told once */
	EXPECT_ERRNO(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	tcp_pair(s);
	struct linger now = {1, 0};
	EXPECT_OK(setsockopt(s[1], SOL_SOCKET, SO_LINGER, &now, sizeof now));
	EXPECT_OK(close(s[1]));
	wait_for(s[0], POLLIN);
	int err = 0;
	socklen_t len = sizeof err;
	EXPECT_OK(getsockopt(s[0], SOL_SOCKET, SO_ERROR, &err, &len));
	EXPECT_EQ(err, ECONNRESET);
	EXPECT_OK(getsockopt(s[0], SOL_SOCKET, SO_ERROR, &err, &len));
	EXPECT_EQ(err, 0); /* taken by the first */
}

CASE(tcp_refused)
{
	int l = bound(SOCK_STREAM), port = port_of(l);
	int c = EXPECT_OK(socket(AF_INET, SOCK_STREAM, 0));
	EXPECT_ERRNO(connect_port(c, port), ECONNREFUSED); /* bound, not listening */
	c = EXPECT_OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	if (connect_port(c, port) < 0 && errno == EINPROGRESS) {
		int got = wait_for(c, POLLOUT);
		EXPECT_EQ(got, POLLOUT | POLLERR | POLLHUP);
		int err = 0;
		socklen_t len = sizeof err;
		EXPECT_OK(getsockopt(c, SOL_SOCKET, SO_ERROR, &err, &len));
		EXPECT_EQ(err, ECONNREFUSED);
	} else {
		EXPECT_EQ(errno, ECONNREFUSED);
	}
}

CASE(tcp_nonblocking_connect)
{
	int l = bound(SOCK_STREAM);
	EXPECT_OK(listen(l, 5));
	int c = EXPECT_OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)), err = -1;
	EXPECT_ERRNO(connect_port(c, port_of(l)), EINPROGRESS);
	EXPECT_EQ(wait_for(c, POLLOUT), POLLOUT);
	socklen_t len = sizeof err;
	EXPECT_OK(getsockopt(c, SOL_SOCKET, SO_ERROR, &err, &len));
	EXPECT_EQ(err, 0);
	EXPECT_OK(connect_port(c, port_of(l))); /* once more after it has ended: told so */
	EXPECT_ERRNO(connect_port(c, port_of(l)), EISCONN);
	EXPECT_EQ(wait_for(l, POLLIN), POLLIN);
	EXPECT_OK(accept(l, NULL, NULL));
	EXPECT_OK(fcntl(l, F_SETFL, O_NONBLOCK));
	EXPECT_ERRNO(accept(l, NULL, NULL), EAGAIN);
}

CASE(tcp_states)
{
	int fd = EXPECT_OK(socket(AF_INET, SOCK_STREAM, 0));
	char c;
	struct sockaddr_in a;
	socklen_t len = sizeof a;
	EXPECT_ERRNO(send(fd, "x", 1, MSG_NOSIGNAL), EPIPE); /* never connected */
	EXPECT_ERRNO(recv(fd, &c, 1, 0), ENOTCONN);
	EXPECT_ERRNO(getpeername(fd, (void *)&a, &len), ENOTCONN);
	EXPECT_ERRNO(shutdown(fd, SHUT_WR), ENOTCONN);
	EXPECT_ERRNO(accept(fd, NULL, NULL), EINVAL);
	EXPECT_OK(listen(fd, 1)); /* takes a port by itself */
	CHECK(port_of(fd) != 0);
	EXPECT_ERRNO(connect_port(fd, port_of(fd)), EISCONN);
	EXPECT_OK(listen(fd, 10)); /* again, for another backlog */
}

CASE(ports_in_use)
{
	int l = bound(SOCK_STREAM), on = 1;
	EXPECT_OK(listen(l, 1));
	struct sockaddr_in a = loopback(port_of(l));
	int other = EXPECT_OK(socket(AF_INET, SOCK_STREAM, 0));
	EXPECT_ERRNO(bind(other, (void *)&a, sizeof a), EADDRINUSE);
	EXPECT_OK(setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	EXPECT_ERRNO(bind(other, (void *)&a, sizeof a), EADDRINUSE); /* not while it listens */
	int udp = EXPECT_OK(socket(AF_INET, SOCK_DGRAM, 0));
	EXPECT_OK(bind(udp, (void *)&a, sizeof a)); /* another protocol, another space */
	EXPECT_ERRNO(bind(udp, (void *)&a, sizeof a), EINVAL);
	EXPECT_OK(close(l));
	EXPECT_OK(bind(other, (void *)&a, sizeof a));
	a.sin_addr.s_addr = htonl(0xcb007101); /* 203.0.113.1: not ours */
	EXPECT_ERRNO(bind(EXPECT_OK(socket(AF_INET, SOCK_STREAM, 0)), (void *)&a, sizeof a), EADDRNOTAVAIL);
	a.sin_family = AF_INET6;
	EXPECT_ERRNO(bind(EXPECT_OK(socket(AF_INET, SOCK_STREAM, 0)), (void *)&a, sizeof a), EAFNOSUPPORT);
	EXPECT_ERRNO(bind(EXPECT_OK(socket(AF_INET, SOCK_STREAM, 0)), (void *)&a, 4), EINVAL);
}

CASE(tcp_reuse_after_close)
{
	int l = bound(SOCK_STREAM), on = 1, port = port_of(l);
	EXPECT_OK(listen(l, 5));
	int c = EXPECT_OK(socket(AF_INET, SOCK_STREAM, 0));
	EXPECT_OK(connect_port(c, port));
	int s = EXPECT_OK(accept(l, NULL, NULL));
	char b;
	EXPECT_OK(close(s)); /* this side closes first, and so waits for stragglers */
	EXPECT_EQ(read(c, &b, 1), 0);
	EXPECT_OK(close(c));
	EXPECT_OK(close(l));
	struct sockaddr_in a = loopback(port);
	int again = EXPECT_OK(socket(AF_INET, SOCK_STREAM, 0));
	EXPECT_ERRNO(bind(again, (void *)&a, sizeof a), EADDRINUSE);
	EXPECT_OK(setsockopt(again, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	/* The first listener hadn't asked for it, so it's refused still. */
	int r = bind(again, (void *)&a, sizeof a);
	RECORD("bind over a closed connection", "%s", r == 0 ? "ok" : conf_errname(errno));
}

CASE(tcp_options)
{
	int s[2], v;
	socklen_t len = sizeof v;
	tcp_pair(s);
	EXPECT_OK(getsockopt(s[0], IPPROTO_TCP, TCP_NODELAY, &v, &len));
	EXPECT_EQ(v, 0);
	v = 1;
	EXPECT_OK(setsockopt(s[0], IPPROTO_TCP, TCP_NODELAY, &v, sizeof v));
	EXPECT_OK(getsockopt(s[0], IPPROTO_TCP, TCP_NODELAY, &v, &len));
	EXPECT_EQ(v, 1);
	EXPECT_OK(setsockopt(s[0], SOL_SOCKET, SO_KEEPALIVE, &v, sizeof v));
	EXPECT_OK(getsockopt(s[0], SOL_SOCKET, SO_KEEPALIVE, &v, &len));
	EXPECT_EQ(v, 1);
	EXPECT_OK(getsockopt(s[0], SOL_SOCKET, SO_PROTOCOL, &v, &len));
	EXPECT_EQ(v, IPPROTO_TCP);
	EXPECT_OK(getsockopt(s[0], SOL_SOCKET, SO_DOMAIN, &v, &len));
	EXPECT_EQ(v, AF_INET);
	EXPECT_ERRNO(getsockopt(s[0], IPPROTO_TCP, 9999, &v, &len), ENOPROTOOPT);
	EXPECT_ERRNO(setsockopt(s[0], IPPROTO_TCP, TCP_NODELAY, &v, 1), EINVAL);
	EXPECT_ERRNO(getsockopt(s[0], 250, 1, &v, &len), EOPNOTSUPP);
	struct tcp_info info;
	len = sizeof info;
	EXPECT_OK(getsockopt(s[0], IPPROTO_TCP, TCP_INFO, &info, &len));
	EXPECT_EQ(info.tcpi_state, TCP_ESTABLISHED);
}

CASE(tcp_many_bytes)
{
	int s[2];
	enum { TOTAL = 8 << 20 };
	static unsigned char out[65536], in[65536];
	tcp_pair(s);
	CHILD(p) {
		EXPECT_OK(close(s[1]));
		for (int at = 0; at < TOTAL; at += sizeof out) {
			for (unsigned i = 0; i < sizeof out; i++)
				out[i] = (at + i) * 7 >> 3;
			EXPECT_EQ(send(s[0], out, sizeof out, 0), sizeof out);
		}
	}
	EXPECT_OK(close(s[0]));
	int at = 0, n;
	while ((n = EXPECT_OK(read(s[1], in, sizeof in))) > 0) {
		for (int i = 0; i < n; i++)
			if (in[i] != (unsigned char)((at + i) * 7 >> 3))
				FAIL("byte %d is wrong", at + i);
		at += n;
	}
	EXPECT_EQ(at, TOTAL);
	JOIN(p);
}

CASE(tcp_sender_waits_for_room)
{
	int s[2];
	static char block[65536];
	tcp_pair(s);
	EXPECT_OK(fcntl(s[0], F_SETFL, O_NONBLOCK));
	long total = 0, n;
	while ((n = write(s[0], block, sizeof block)) > 0)
		total += n;
	EXPECT_EQ(errno, EAGAIN);
	struct pollfd f = {s[0], POLLOUT, 0};
	CHILD(p) {
		long left = total;
		while (left > 0)
			left -= EXPECT_OK(read(s[1], block, sizeof block));
	}
	EXPECT_EQ(poll(&f, 1, 5000), 1);
	EXPECT_EQ(f.revents, POLLOUT);
	JOIN(p);
}

CASE(tcp_out_of_band)
{
	int s[2], mark;
	char buf[8];
	tcp_pair(s);
	EXPECT_EQ(send(s[0], "ab", 2, 0), 2);
	EXPECT_EQ(send(s[0], "!", 1, MSG_OOB), 1);
	EXPECT_EQ(send(s[0], "cd", 2, 0), 2);
	EXPECT_EQ(wait_for(s[1], POLLPRI), POLLPRI);
	EXPECT_EQ(recv(s[1], buf, 8, MSG_OOB), 1);
	EXPECT_EQ(buf[0], '!');
	EXPECT_EQ(recv(s[1], buf, 8, 0), 2); /* stops at the mark */
	EXPECT_OK(ioctl(s[1], SIOCATMARK, &mark));
	EXPECT_EQ(mark, 1);
	EXPECT_EQ(recv(s[1], buf, 2, MSG_WAITALL), 2);
	EXPECT_ERRNO(recv(s[1], buf, 8, MSG_OOB), EINVAL);
}

CASE(udp_datagrams)
{
	int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
	char buf[16];
	struct sockaddr_in to = loopback(port_of(b)), from;
	socklen_t len = sizeof from;
	EXPECT_EQ(sendto(a, "hello", 5, 0, (void *)&to, sizeof to), 5);
	EXPECT_EQ(recvfrom(b, buf, 3, MSG_TRUNC, (void *)&from, &len), 5);
	EXPECT_EQ(ntohs(from.sin_port), port_of(a));
	EXPECT_EQ(len, sizeof from);
	EXPECT_ERRNO(recv(b, buf, 16, MSG_DONTWAIT), EAGAIN);
	EXPECT_EQ(sendto(a, "", 0, 0, (void *)&to, sizeof to), 0);
	EXPECT_EQ(recv(b, buf, 16, 0), 0);
	EXPECT_ERRNO(send(a, "x", 1, 0), EDESTADDRREQ);
	to.sin_port = 0;
	EXPECT_ERRNO(sendto(a, "x", 1, 0, (void *)&to, sizeof to), EINVAL);
	static char huge[65536];
	to.sin_port = htons(port_of(b));
	EXPECT_ERRNO(sendto(a, huge, 65508, 0, (void *)&to, sizeof to), EMSGSIZE);
	EXPECT_EQ(sendto(a, huge, 65507, 0, (void *)&to, sizeof to), 65507);
	int n;
	EXPECT_OK(ioctl(b, FIONREAD, &n));
	EXPECT_EQ(n, 65507);
	EXPECT_EQ(recv(b, huge, sizeof huge, 0), 65507);
	EXPECT_ERRNO(listen(a, 1), EOPNOTSUPP);
}

CASE(udp_connected)
{
	int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM), stranger = bound(SOCK_DGRAM);
	char buf[8];
	EXPECT_OK(connect_port(a, port_of(b)));
	EXPECT_EQ(send(a, "1", 1, 0), 1);
	EXPECT_EQ(recv(b, buf, 8, 0), 1);
	struct sockaddr_in to = loopback(port_of(a));
	EXPECT_EQ(sendto(stranger, "2", 1, 0, (void *)&to, sizeof to), 1);
	EXPECT_EQ(sendto(b, "3", 1, 0, (void *)&to, sizeof to), 1);
	EXPECT_EQ(recv(a, buf, 8, 0), 1); /* the stranger's is not for us */
	EXPECT_EQ(buf[0], '3');
	EXPECT_OK(close(b));
	EXPECT_EQ(send(a, "4", 1, 0), 1);
	EXPECT_EQ(wait_for(a, POLLIN) & POLLERR, POLLERR);
	EXPECT_ERRNO(recv(a, buf, 8, MSG_DONTWAIT), ECONNREFUSED);
	EXPECT_ERRNO(recv(a, buf, 8, MSG_DONTWAIT), EAGAIN);
	struct sockaddr unspec = {.sa_family = AF_UNSPEC};
	EXPECT_OK(connect(a, &unspec, sizeof unspec));
	EXPECT_ERRNO(send(a, "5", 1, 0), EDESTADDRREQ);
}

CASE(udp_shutdown_and_wildcard)
{
	int fd = EXPECT_OK(socket(AF_INET, SOCK_DGRAM, 0)), a = bound(SOCK_DGRAM);
	char buf[8];
	struct sockaddr_in any = {.sin_family = AF_INET};
	EXPECT_OK(bind(fd, (void *)&any, sizeof any));
	struct sockaddr_in to = loopback(port_of(fd));
	EXPECT_EQ(sendto(a, "x", 1, 0, (void *)&to, sizeof to), 1);
	EXPECT_EQ(recv(fd, buf, 8, 0), 1);
	EXPECT_ERRNO(shutdown(fd, SHUT_RD), ENOTCONN);
	EXPECT_OK(connect_port(fd, port_of(a)));
	EXPECT_OK(shutdown(fd, SHUT_WR));
	EXPECT_ERRNO(send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
}

CASE(ipv6_loopback)
{
	int l = socket(AF_INET6, SOCK_STREAM, 0);
	if (l < 0 && errno == EAFNOSUPPORT)
		SKIP("no IPv6");
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT}, b;
	if (bind(l, (void *)&a, sizeof a) < 0 && errno == EADDRNOTAVAIL)
		SKIP("no ::1");
	EXPECT_OK(listen(l, 1));
	socklen_t len = sizeof a;
	EXPECT_OK(getsockname(l, (void *)&a, &len));
	EXPECT_EQ(len, 28);
	int c = EXPECT_OK(socket(AF_INET6, SOCK_STREAM, 0));
	EXPECT_OK(connect(c, (void *)&a, sizeof a));
	int s = EXPECT_OK(accept(l, (void *)&b, &len));
	CHECK(IN6_IS_ADDR_LOOPBACK(&b.sin6_addr));
	EXPECT_EQ(write(s, "six", 3), 3);
	char buf[8];
	EXPECT_EQ(recv(c, buf, 3, MSG_WAITALL), 3);
	int u = EXPECT_OK(socket(AF_INET6, SOCK_DGRAM, 0));
	a.sin6_port = 0;
	EXPECT_OK(bind(u, (void *)&a, sizeof a));
	EXPECT_OK(getsockname(u, (void *)&a, &len));
	EXPECT_EQ(sendto(u, "me", 2, 0, (void *)&a, sizeof a), 2);
	EXPECT_EQ(recv(u, buf, 8, 0), 2);
	EXPECT_ERRNO(bind(EXPECT_OK(socket(AF_INET6, SOCK_STREAM, 0)), (void *)&a, 20), EINVAL);
}

CASE(ipv6_takes_ipv4)
{
	int l = socket(AF_INET6, SOCK_STREAM, 0), v = -1;
	if (l < 0 && errno == EAFNOSUPPORT)
		SKIP("no IPv6");
	socklen_t len = sizeof v;
	EXPECT_OK(getsockopt(l, IPPROTO_IPV6, IPV6_V6ONLY, &v, &len));
	EXPECT_EQ(v, 0);
	struct sockaddr_in6 a = {.sin6_family = AF_INET6}, b;
	EXPECT_OK(bind(l, (void *)&a, sizeof a));
	EXPECT_OK(listen(l, 1));
	len = sizeof a;
	EXPECT_OK(getsockname(l, (void *)&a, &len));
	int c = EXPECT_OK(socket(AF_INET, SOCK_STREAM, 0));
	EXPECT_OK(connect_port(c, ntohs(a.sin6_port)));
	EXPECT_OK(accept(l, (void *)&b, &len));
	CHECK(IN6_IS_ADDR_V4MAPPED(&b.sin6_addr));
	v = 1;
	EXPECT_ERRNO(setsockopt(l, IPPROTO_IPV6, IPV6_V6ONLY, &v, sizeof v), EINVAL); /* too late */
}

CASE(socket_arguments)
{
	EXPECT_ERRNO(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
	EXPECT_OK(socket(AF_INET, SOCK_STREAM, IPPROTO_TCP));
	EXPECT_ERRNO(socket(AF_INET, SOCK_SEQPACKET, 0), ESOCKTNOSUPPORT);
	EXPECT_ERRNO(socket(AF_INET, 99, 0), EINVAL);
	CHILD(p) {
		become_user(1000, 1000);
		EXPECT_ERRNO(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), EPERM);
		int fd = EXPECT_OK(socket(AF_INET, SOCK_STREAM, 0));
		struct sockaddr_in a = loopback(80);
		EXPECT_ERRNO(bind(fd, (void *)&a, sizeof a), EACCES);
	}
	JOIN(p);
}

CASE(files_into_sockets)
{
	int s[2], p[2];
	char buf[16];
	tcp_pair(s);
	put_file("f", "abcdefgh");
	int fd = EXPECT_OK(open("f", O_RDONLY));
	off_t at = 2;
	EXPECT_EQ(sendfile(s[0], fd, &at, 4), 4);
	EXPECT_EQ(recv(s[1], buf, 4, MSG_WAITALL), 4);
	CHECK(!memcmp(buf, "cdef", 4));
	EXPECT_OK(pipe(p));
	EXPECT_EQ(splice(fd, NULL, p[1], NULL, 8, 0), 8);
	EXPECT_EQ(splice(p[0], NULL, s[0], NULL, 8, 0), 8);
	EXPECT_EQ(recv(s[1], buf, 8, MSG_WAITALL), 8);
	EXPECT_EQ(write(s[1], "back", 4), 4);
	EXPECT_EQ(wait_for(s[0], POLLIN), POLLIN);
	EXPECT_EQ(splice(s[0], NULL, p[1], NULL, 100, 0), 4);
	EXPECT_EQ(read(p[0], buf, 16), 4);
	EXPECT_OK(fcntl(s[0], F_SETFL, O_NONBLOCK));
	EXPECT_ERRNO(splice(s[0], NULL, p[1], NULL, 100, 0), EAGAIN);
}

CASE(ports_shared_on_purpose)
{
	int on = 1, a = EXPECT_OK(socket(AF_INET, SOCK_STREAM, 0)), b = EXPECT_OK(socket(AF_INET, SOCK_STREAM, 0));
	EXPECT_OK(setsockopt(a, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
	EXPECT_OK(setsockopt(b, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
	struct sockaddr_in addr = loopback(0);
	EXPECT_OK(bind(a, (void *)&addr, sizeof addr));
	addr = loopback(port_of(a));
	EXPECT_OK(bind(b, (void *)&addr, sizeof addr));
	EXPECT_OK(listen(a, 1));
	EXPECT_OK(listen(b, 1));
	EXPECT_ERRNO(bind(EXPECT_OK(socket(AF_INET, SOCK_STREAM, 0)), (void *)&addr, sizeof addr), EADDRINUSE);
}

CASE(where_a_datagram_came_in)
{
	int on = 1, fd = EXPECT_OK(socket(AF_INET, SOCK_DGRAM, 0)), s = bound(SOCK_DGRAM);
	struct sockaddr_in any = {.sin_family = AF_INET};
	EXPECT_OK(bind(fd, (void *)&any, sizeof any));
	EXPECT_OK(setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on));
	EXPECT_OK(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMP, &on, sizeof on));
	struct sockaddr_in to = loopback(port_of(fd)), from;
	EXPECT_EQ(sendto(s, "x", 1, 0, (void *)&to, sizeof to), 1);
	char data, control[256];
	struct iovec v = {&data, 1};
	struct msghdr m = {.msg_name = &from,
			   .msg_namelen = sizeof from,
			   .msg_iov = &v,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof control};
	EXPECT_EQ(recvmsg(fd, &m, 0), 1);
	EXPECT_EQ(m.msg_namelen, sizeof from);
	bool info = false, stamp = false;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		stamp |= c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMP;
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo i;
			memcpy(&i, CMSG_DATA(c), sizeof i);
			info = i.ipi_ifindex == 1 && i.ipi_addr.s_addr == htonl(INADDR_LOOPBACK);
		}
	}
	CHECK(info && stamp);
}

CASE(message_vectors)
{
	int s[2];
	char a[3], b[8];
	tcp_pair(s);
	struct iovec out[3] = {{"ab", 2}, {"", 0}, {"cde", 3}}, in[2] = {{a, 3}, {b, 2}};
	struct msghdr m = {.msg_iov = out, .msg_iovlen = 3};
	EXPECT_EQ(sendmsg(s[0], &m, 0), 5);
	m = (struct msghdr){.msg_iov = in, .msg_iovlen = 2};
	EXPECT_EQ(recvmsg(s[1], &m, MSG_WAITALL), 5);
	CHECK(!memcmp(a, "abc", 3) && !memcmp(b, "de", 2));
	m.msg_iovlen = 1025;
	EXPECT_ERRNO(sendmsg(s[0], &m, 0), EMSGSIZE);
	EXPECT_ERRNO(sendmsg(s[0], (void *)8, 0), EFAULT);
	m.msg_iovlen = 1;
	in[0].iov_base = (void *)8;
	EXPECT_ERRNO(sendmsg(s[0], &m, 0), EFAULT);
	EXPECT_EQ(send(s[0], "xyz", 3, MSG_MORE), 3);
	EXPECT_EQ(send(s[0], "w", 1, 0), 1);
	EXPECT_EQ(recv(s[1], b, 4, MSG_WAITALL), 4);
}
