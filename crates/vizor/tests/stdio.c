// What a program sees of one of its standard descriptors. `stdio FD REPORT WHAT...` writes its answers to the
// descriptor REPORT, one a line; they are the same on Linux and under Vizor (`stdio.rs`).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

static int fd, report;

static void say(const char *what, long result, const char *more, ...)
{
	int error = errno;
	dprintf(report, "%s: ", what);
	if (result < 0)
		dprintf(report, "%s", strerrorname_np(error));
	else
		dprintf(report, "%ld", result);
	va_list args;
	va_start(args, more);
	vdprintf(report, more, args);
	va_end(args);
	dprintf(report, "\n");
}

#define TRY(call) say(#call, (long)(call), "")

static void flags(void)
{
	say("flags", 0, " %o", fcntl(fd, F_GETFL));
	TRY(fcntl(fd, F_GETFD));
	TRY(fcntl(fd, F_GETOWN));
	TRY(fcntl(fd, F_GETSIG));
	int is = fcntl(fd, F_GETFL), copy = dup(fd);
	TRY(fcntl(fd, F_SETFL, is ^ O_NONBLOCK));
	say("shared", (fcntl(copy, F_GETFL) ^ is) == O_NONBLOCK, "");
	TRY(fcntl(copy, F_SETFL, is));
	TRY(fcntl(fd, F_SETFL, is | O_APPEND));
	say("append", (fcntl(fd, F_GETFL) & O_APPEND) != 0, "");
	TRY(fcntl(fd, F_SETFL, is));
	TRY(fcntl(fd, F_SETOWN, getpid()));
	say("owner", fcntl(copy, F_GETOWN) == getpid(), "");
	TRY(fcntl(fd, F_SETOWN, 0));
	close(copy);
}

static void status(void)
{
	struct stat st;
	if (fstat(fd, &st) < 0) {
		say("fstat", -1, "");
		return;
	}
	int device = S_ISCHR(st.st_mode) && major(st.st_rdev) == 1;
	say("fstat", 0, " mode %o links %d size %ld device %d", st.st_mode, (int)st.st_nlink, (long)st.st_size,
	    device ? (int)st.st_rdev : 0);
	char path[32], link[4096] = {0};
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	ssize_t len = readlink(path, link, sizeof link - 1);
	char *colon = strstr(link, ":[");
	if (colon)
		*colon = 0;
	char *name = strncmp(link, "/dev/pts/", 9) == 0 ? NULL : strrchr(link, '/');
	say("link", len > 0, " %s", name ? name + 1 : link[0] == '/' ? "a terminal" : link);
	TRY(lseek(fd, 0, SEEK_CUR));
	TRY(lseek(fd, 0, SEEK_DATA));
	TRY(lseek(fd, -1, SEEK_SET));
	TRY(lseek(fd, 0, 99));
}

static void terminal(void)
{
	struct termios tio;
	struct winsize size;
	int n;
	errno = 0;
	say("isatty", isatty(fd) ? 1 : -1, "");
	say("TCGETS", tcgetattr(fd, &tio), "");
	say("TIOCGWINSZ", ioctl(fd, TIOCGWINSZ, &size), "");
	int r = ioctl(fd, FIONREAD, &n);
	say("FIONREAD", r, " %d", r < 0 ? 0 : n);
	TRY(ioctl(fd, 0x1234, 0));
	struct pollfd p = {fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0};
	TRY(poll(&p, 1, 0));
	say("events", 0, " %x", p.revents);
}

static void transfer(void)
{
	char buf[9] = {0};
	int is = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, is | O_NONBLOCK);
	ssize_t n = read(fd, buf, 4);
	say("read", n, " %s", n > 0 ? buf : "");
	TRY(write(fd, "OUT", 3));
	n = pread(fd, buf, 4, 1);
	say("pread", n, " %.*s", n > 0 ? (int)n : 0, buf);
	TRY(pwrite(fd, "P", 1, 9));
	TRY(lseek(fd, 0, SEEK_CUR));
	TRY(lseek(fd, 0, SEEK_END));
	fcntl(fd, F_SETFL, is);
	TRY(ftruncate(fd, 12));
	TRY(fsync(fd));
	TRY(fallocate(fd, 0, 0, 16));
	TRY(posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL));
}

static void map(void)
{
	void *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	say("mmap", map == MAP_FAILED ? -1 : 0, "");
}

static void again(void)
{
	static const struct {
		const char *name;
		int flags;
	} modes[] = {{"read", O_RDONLY}, {"write", O_WRONLY}, {"both", O_RDWR}, {"append", O_WRONLY | O_APPEND}, {"path", O_PATH}};
	char own[32], dev[32];
	snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
	snprintf(dev, sizeof dev, "/dev/fd/%d", fd);
	const char *names[] = {own, dev, fd == 0 ? "/dev/stdin" : fd == 1 ? "/dev/stdout" : "/dev/stderr"};
	for (int name = 0; name < 3; name++)
		for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++) {
			int new = open(names[name], modes[i].flags | O_NONBLOCK | O_NOCTTY);
			int error = errno, flags = new < 0 ? 0 : fcntl(new, F_GETFL);
			errno = error;
			char what[32];
			snprintf(what, sizeof what, "open to %s", modes[i].name);
			say(what, new < 0 ? -1 : 0, " %s %o at %ld", names[name], flags,
			    new < 0 ? 0 : (long)lseek(new, 0, SEEK_CUR));
			if (new >= 0 && fcntl(fd, F_GETFL) & O_NONBLOCK)
				say("not apart", 0, "");
			close(new);
		}
}

static void sockets(void)
{
	int value = -1;
	socklen_t len = sizeof value;
	char buf[8] = {0};
	say("SO_TYPE", getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &len), " %d", value);
	ssize_t n = recv(fd, buf, 2, MSG_PEEK | MSG_DONTWAIT);
	say("peek", n, " %.2s", n > 0 ? buf : "");
	TRY(send(fd, "sent", 4, MSG_DONTWAIT | MSG_NOSIGNAL));
	TRY(shutdown(fd, SHUT_WR));
}

int main(int argc, char **argv)
{
	fd = atoi(argv[1]);
	report = atoi(argv[2]);
	signal(SIGPIPE, SIG_IGN);
	for (int i = 3; i < argc; i++) {
		static const struct {
			const char *name;
			void (*run)(void);
		} parts[] = {{"flags", flags}, {"status", status}, {"terminal", terminal}, {"transfer", transfer}, {"map", map}, {"again", again}, {"sockets", sockets}};
		for (unsigned part = 0; part < sizeof parts / sizeof *parts; part++)
			if (strcmp(argv[i], parts[part].name) == 0)
				parts[part].run();
	}
	return 0;
}
