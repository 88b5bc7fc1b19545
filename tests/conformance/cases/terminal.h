/* What the cases on terminals share: pairs, settings, and reads that know how much has to come. */
#ifndef TERMINAL_H
#define TERMINAL_H

#include "../harness.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

struct pty {
	int master, slave;
};

/* A pair that is nobody's controlling terminal. */
static inline __attribute__((unused)) struct pty pty_new(void)
{
	struct pty t;
	int unlock = 0, number;
	char name[32];
	t.master = EXPECT_OK(open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
	EXPECT_OK(ioctl(t.master, TIOCSPTLCK, &unlock));
	EXPECT_OK(ioctl(t.master, TIOCGPTN, &number));
	snprintf(name, sizeof name, "/dev/pts/%d", number);
	t.slave = EXPECT_OK(open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
	return t;
}

/* A pair whose slave is the controlling terminal of the case's own session. */
static inline __attribute__((unused)) struct pty pty_control(void)
{
	struct pty t = pty_new();
	EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0));
	return t;
}

/* Clears and then sets local flags. */
static inline __attribute__((unused)) void local_flags(int fd, tcflag_t clear, tcflag_t set)
{
	struct termios tio;
	EXPECT_OK(tcgetattr(fd, &tio));
	tio.c_lflag = (tio.c_lflag & ~clear) | set;
	EXPECT_OK(tcsetattr(fd, TCSANOW, &tio));
}

static inline __attribute__((unused)) void raw_mode(int fd, int vmin, int vtime)
{
	struct termios tio;
	EXPECT_OK(tcgetattr(fd, &tio));
	cfmakeraw(&tio);
	tio.c_cc[VMIN] = vmin;
	tio.c_cc[VTIME] = vtime;
	EXPECT_OK(tcsetattr(fd, TCSANOW, &tio));
}

static inline __attribute__((unused)) void type(int fd, const char *text)
{
	EXPECT_EQ(write(fd, text, strlen(text)), strlen(text));
}

/* The next read must give exactly this. */
#define EXPECT_READ(fd, want) expect_read(__FILE__, __LINE__, fd, want)
static inline __attribute__((unused)) void expect_read(const char *file, int line, int fd, const char *want)
{
	char got[8192];
	ssize_t n = read(fd, got, sizeof got - 1);
	if (n < 0)
		conf_fail(file, line, "read gave %s", conf_errname(errno));
	got[n] = 0;
	if ((size_t)n != strlen(want) || strcmp(got, want) != 0)
		conf_fail(file, line, "read \"%s\", not \"%s\"", got, want);
}

/* As many reads as it takes must give exactly this: what a terminal hands on may come in pieces. */
#define EXPECT_COMES(fd, want) expect_comes(__FILE__, __LINE__, fd, want)
static inline __attribute__((unused)) void expect_comes(const char *file, int line, int fd, const char *want)
{
	char got[8192];
	size_t len = 0, all = strlen(want);
	while (len < all) {
		ssize_t n = read(fd, got + len, all - len);
		if (n <= 0)
			conf_fail(file, line, "read gave %s after %zu bytes", n ? conf_errname(errno) : "an end", len);
		len += n;
		if (memcmp(got, want, len) != 0)
			conf_fail(file, line, "read \"%.*s\", not \"%s\"", (int)len, got, want);
	}
}

/* Waits until these events are there, and says which of them are. */
static inline __attribute__((unused)) int wait_for(int fd, int events)
{
	struct pollfd p = {fd, events, 0};
	EXPECT_EQ(poll(&p, 1, 8000), 1);
	return p.revents;
}

static inline __attribute__((unused)) int events_now(int fd, int events)
{
	struct pollfd p = {fd, events, 0};
	EXPECT_OK(poll(&p, 1, 0));
	return p.revents;
}

static inline __attribute__((unused)) int readable_bytes(int fd)
{
	int n = -1;
	EXPECT_OK(ioctl(fd, FIONREAD, &n));
	return n;
}

/* A pair without echo. Input is taken in some time after the master's write; with echo, what is echoed has been. */
static inline __attribute__((unused)) struct pty quiet(void)
{
	struct pty t = pty_new();
	local_flags(t.slave, ECHO, 0);
	return t;
}

static inline __attribute__((unused)) void input_flags(int fd, tcflag_t clear, tcflag_t set)
{
	struct termios tio;
	EXPECT_OK(tcgetattr(fd, &tio));
	tio.c_iflag = (tio.c_iflag & ~clear) | set;
	EXPECT_OK(tcsetattr(fd, TCSANOW, &tio));
}

static inline __attribute__((unused)) void output_flags(int fd, tcflag_t clear, tcflag_t set)
{
	struct termios tio;
	EXPECT_OK(tcgetattr(fd, &tio));
	tio.c_oflag = (tio.c_oflag & ~clear) | set;
	EXPECT_OK(tcsetattr(fd, TCSANOW, &tio));
}

static inline __attribute__((unused)) void wait_readable(int fd, int bytes)
{
	while (readable_bytes(fd) < bytes)
		sleep_ms(1);
}

static inline __attribute__((unused)) void control_char(int fd, int which, int value)
{
	struct termios tio;
	EXPECT_OK(tcgetattr(fd, &tio));
	tio.c_cc[which] = value;
	EXPECT_OK(tcsetattr(fd, TCSANOW, &tio));
}

/* Types something, and what it is echoed as must come back: so it has been taken in. */
#define TYPED(t, text, echo)                                                             \
	do {                                                                             \
		type((t).master, text);                                                  \
		EXPECT_COMES((t).master, echo);                                          \
	} while (0)

/* Types something that makes a line, and this line must be read. */
#define LINE(t, text, want)                                                              \
	do {                                                                             \
		type((t).master, text);                                                  \
		EXPECT_READ((t).slave, want);                                            \
	} while (0)

/* Writes to the slave, and the master must read this. */
#define PRINTED(t, text, want)                                                           \
	do {                                                                             \
		type((t).slave, text);                                                   \
		EXPECT_COMES((t).master, want);                                          \
	} while (0)

static inline __attribute__((unused)) int pty_number(int master)
{
	int n = -1;
	EXPECT_OK(ioctl(master, TIOCGPTN, &n));
	return n;
}

static inline __attribute__((unused)) const char *pty_name(int master)
{
	static char name[32];
	snprintf(name, sizeof name, "/dev/pts/%d", pty_number(master));
	return name;
}

/* Writes to a nonblocking slave until nothing more fits, and nothing will until the master reads; returns how much went. */
static inline __attribute__((unused)) long fill(struct pty t)
{
	static char block[1000];
	long total = 0;
	memset(block, 'b', sizeof block);
	for (int again = 0; again < 2; again++) {
		ssize_t n;
		while ((n = write(t.slave, block, sizeof block)) > 0)
			total += n;
		EXPECT_EQ(n, -1);
		EXPECT_EQ(errno, EAGAIN);
		wait_readable(t.master, 4095); /* all that is carried across by and by */
	}
	return total;
}

#endif
