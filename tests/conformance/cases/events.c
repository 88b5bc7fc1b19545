/* Descriptors for events: eventfd, timerfd, signalfd, inotify. */
#include "../harness.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static int events_of(int fd)
{
	struct pollfd f = {fd, POLLIN | POLLOUT, 0};
	EXPECT_OK(poll(&f, 1, 0));
	return f.revents;
}

CASE(eventfd_counter)
{
	uint64_t v = 0;
	int fd = EXPECT_OK(eventfd(3, EFD_NONBLOCK));
	EXPECT_EQ(fcntl(fd, F_GETFL), O_RDWR | O_NONBLOCK);
	EXPECT_EQ(events_of(fd), POLLIN | POLLOUT);
	EXPECT_EQ(read(fd, &v, 8), 8);
	EXPECT_EQ(v, 3);
	EXPECT_ERRNO(read(fd, &v, 8), EAGAIN);
	EXPECT_EQ(events_of(fd), POLLOUT);
	v = 5;
	EXPECT_EQ(write(fd, &v, 8), 8);
	EXPECT_EQ(write(fd, &v, 8), 8);
	EXPECT_ERRNO(read(fd, &v, 7), EINVAL);
	char big[16];
	EXPECT_EQ(read(fd, big, 16), 8);
	memcpy(&v, big, 8);
	EXPECT_EQ(v, 10);
	EXPECT_ERRNO(write(fd, &v, 4), EINVAL);
	v = UINT64_MAX;
	EXPECT_ERRNO(write(fd, &v, 8), EINVAL);
	v = UINT64_MAX - 1;
	EXPECT_EQ(write(fd, &v, 8), 8);
	EXPECT_EQ(events_of(fd), POLLIN); /* full */
	v = 1;
	EXPECT_ERRNO(write(fd, &v, 8), EAGAIN);
	v = 0;
	EXPECT_EQ(write(fd, &v, 8), 8);
	EXPECT_ERRNO(eventfd(0, 0x2), EINVAL);
	EXPECT_EQ(lseek(fd, 5, SEEK_SET), 0); /* it has none, and says yes */
}

CASE(eventfd_semaphore)
{
	uint64_t v;
	int fd = EXPECT_OK(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC));
	EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	EXPECT_EQ(read(fd, &v, 8), 8);
	EXPECT_EQ(v, 1);
	EXPECT_EQ(read(fd, &v, 8), 8);
	EXPECT_EQ(v, 1);
	EXPECT_ERRNO(read(fd, &v, 8), EAGAIN);
}

CASE(eventfd_blocks)
{
	uint64_t v = 7;
	int fd = EXPECT_OK(eventfd(0, 0));
	CHILD(p) {
		EXPECT_EQ(read(fd, &v, 8), 8);
		EXPECT_EQ(v, 7);
		v = UINT64_MAX - 1;
		EXPECT_EQ(write(fd, &v, 8), 8);
		v = 1;
		EXPECT_EQ(write(fd, &v, 8), 8); /* waits for the reader */
	}
	wait_asleep(p);
	EXPECT_EQ(write(fd, &v, 8), 8);
	wait_asleep(p);
	do
		EXPECT_EQ(read(fd, &v, 8), 8);
	while (v == 7); /* the child might not have come to its read yet */
	EXPECT_EQ(v, UINT64_MAX - 1);
	JOIN(p);
	interrupt_every(20);
	EXPECT_EQ(read(fd, &v, 8), 8);
	EXPECT_ERRNO(read(fd, &v, 8), EINTR);
}

CASE(timerfd_expirations)
{
	uint64_t n = 0;
	int fd = EXPECT_OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	struct itimerspec it = {{0, 5000000}, {0, 5000000}}, got;
	EXPECT_ERRNO(read(fd, &n, 8), EAGAIN); /* not armed */
	EXPECT_EQ(events_of(fd), 0);
	EXPECT_OK(timerfd_settime(fd, 0, &it, NULL));
	sleep_ms(30);
	EXPECT_EQ(events_of(fd), POLLIN);
	EXPECT_EQ(read(fd, &n, 8), 8);
	CHECK(n >= 5);
	EXPECT_OK(timerfd_gettime(fd, &got));
	EXPECT_EQ(got.it_interval.tv_nsec, 5000000);
	CHECK(got.it_value.tv_nsec > 0 && got.it_value.tv_nsec <= 5000000);
	EXPECT_ERRNO(read(fd, &n, 4), EINVAL);
	struct itimerspec off = {{0, 0}, {0, 0}};
	sleep_ms(10);
	EXPECT_OK(timerfd_settime(fd, 0, &off, &got)); /* setting it forgets what has expired */
	EXPECT_EQ(got.it_interval.tv_nsec, 5000000);
	EXPECT_ERRNO(read(fd, &n, 8), EAGAIN);
}

CASE(timerfd_absolute_and_blocking)
{
	uint64_t n = 0;
	int fd = EXPECT_OK(timerfd_create(CLOCK_MONOTONIC, 0));
	struct itimerspec it = {{0, 0}, {0, 1}};
	EXPECT_OK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &it, NULL)); /* long past */
	EXPECT_EQ(read(fd, &n, 8), 8);
	EXPECT_EQ(n, 1);
	int64_t start = now_ms();
	it.it_value.tv_nsec = 20000000;
	EXPECT_OK(timerfd_settime(fd, 0, &it, NULL));
	EXPECT_EQ(read(fd, &n, 8), 8);
	CHECK(now_ms() - start >= 20);
	EXPECT_EQ(n, 1);
}

CASE(timerfd_errors)
{
	struct itimerspec it = {{0, 0}, {0, 1000000000}};
	int fd = EXPECT_OK(timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC)), ev = EXPECT_OK(eventfd(0, 0));
	EXPECT_ERRNO(timerfd_create(99, 0), EINVAL);
	EXPECT_ERRNO(timerfd_create(CLOCK_THREAD_CPUTIME_ID, 0), EINVAL);
	EXPECT_ERRNO(timerfd_create(CLOCK_MONOTONIC, 0x1), EINVAL);
	EXPECT_ERRNO(timerfd_settime(fd, 0, &it, NULL), EINVAL);
	it.it_value.tv_nsec = -1;
	EXPECT_ERRNO(timerfd_settime(fd, 0, &it, NULL), EINVAL);
	it.it_value.tv_nsec = 0;
	EXPECT_ERRNO(timerfd_settime(fd, 0x100, &it, NULL), EINVAL);
	EXPECT_ERRNO(timerfd_settime(ev, 0, &it, NULL), EINVAL);
	EXPECT_ERRNO(timerfd_gettime(99, &it), EBADF);
	EXPECT_ERRNO(timerfd_gettime(fd, (void *)8), EFAULT);
	char c[8] = {0};
	EXPECT_ERRNO(write(fd, c, 8), EINVAL);
}

CASE(signalfd_reads)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	sigaddset(&s, SIGRTMIN);
	EXPECT_OK(sigprocmask(SIG_BLOCK, &s, NULL));
	int fd = EXPECT_OK(signalfd(-1, &s, SFD_NONBLOCK | SFD_CLOEXEC));
	struct signalfd_siginfo si[4];
	EXPECT_ERRNO(read(fd, si, sizeof *si), EAGAIN);
	EXPECT_EQ(events_of(fd), 0);
	EXPECT_OK(kill(getpid(), SIGUSR1));
	EXPECT_OK(kill(getpid(), SIGUSR1)); /* one of a kind only */
	union sigval v = {.sival_int = 42};
	EXPECT_OK(sigqueue(getpid(), SIGRTMIN, v));
	v.sival_int = 43;
	EXPECT_OK(sigqueue(getpid(), SIGRTMIN, v));
	EXPECT_EQ(events_of(fd), POLLIN);
	EXPECT_ERRNO(read(fd, si, sizeof *si - 1), EINVAL);
	EXPECT_EQ(read(fd, si, sizeof si), 3 * sizeof *si);
	EXPECT_EQ(si[0].ssi_signo, SIGUSR1);
	EXPECT_EQ(si[0].ssi_code, SI_USER);
	EXPECT_EQ(si[0].ssi_pid, getpid());
	EXPECT_EQ(si[0].ssi_uid, getuid());
	EXPECT_EQ(si[1].ssi_signo, SIGRTMIN);
	EXPECT_EQ(si[1].ssi_code, SI_QUEUE);
	EXPECT_EQ(si[1].ssi_int, 42);
	EXPECT_EQ(si[2].ssi_int, 43);
	EXPECT_EQ(events_of(fd), 0);
	sigaddset(&s, SIGUSR2);
	EXPECT_EQ(signalfd(fd, &s, 0), fd); /* a new mask for the old descriptor */
	EXPECT_OK(sigprocmask(SIG_BLOCK, &s, NULL));
	EXPECT_OK(raise(SIGUSR2));
	EXPECT_EQ(read(fd, si, sizeof *si), sizeof *si);
	EXPECT_EQ(si[0].ssi_code, SI_TKILL);
	EXPECT_ERRNO(signalfd(0, &s, 0), EINVAL);
	EXPECT_ERRNO(signalfd(99, &s, 0), EBADF);
	EXPECT_ERRNO(signalfd(-1, &s, 0x1), EINVAL);
	EXPECT_ERRNO(write(fd, si, 1), EINVAL);
}

CASE(signalfd_of_children)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGCHLD);
	EXPECT_OK(sigprocmask(SIG_BLOCK, &s, NULL));
	int fd = EXPECT_OK(signalfd(-1, &s, 0));
	CHILD(p) {
		_exit(5);
	}
	struct signalfd_siginfo si;
	EXPECT_EQ(read(fd, &si, sizeof si), sizeof si); /* blocks until then */
	EXPECT_EQ(si.ssi_signo, SIGCHLD);
	EXPECT_EQ(si.ssi_code, CLD_EXITED);
	EXPECT_EQ(si.ssi_pid, p);
	EXPECT_EQ(si.ssi_status, 5);
	EXPECT_EXIT(p, 5);
}

static char inotify_buf[8192] __attribute__((aligned(8)));
static struct inotify_event *inotify_at, *inotify_end;

/* The next event, reading more when the last batch is used up; NULL if there is none. */
static struct inotify_event *next_event(int fd)
{
	if (inotify_at == inotify_end) {
		ssize_t n = read(fd, inotify_buf, sizeof inotify_buf);
		if (n < 0)
			return NULL;
		inotify_at = (void *)inotify_buf;
		inotify_end = (void *)(inotify_buf + n);
	}
	struct inotify_event *e = inotify_at;
	inotify_at = (void *)((char *)e + sizeof *e + e->len);
	return e;
}

static void expect_event(int line, int fd, int wd, uint32_t mask, const char *name)
{
	struct inotify_event *e = next_event(fd);
	if (!e)
		conf_fail("events.c", line, "no event, wanted %#x of %s", mask, name);
	if (e->wd != wd || e->mask != mask || strcmp(e->len ? e->name : "", name) != 0)
		conf_fail("events.c", line, "event %#x of %d \"%s\", wanted %#x of %d \"%s\"", e->mask, e->wd,
			  e->len ? e->name : "", mask, wd, name);
	if (e->len % 16 != 0)
		conf_fail("events.c", line, "name field of %d bytes", e->len);
}
#define EXPECT_EVENT(...) expect_event(__LINE__, __VA_ARGS__)

CASE(inotify_of_a_directory)
{
	EXPECT_OK(mkdir("d", 0755));
	int fd = EXPECT_OK(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
	int wd = EXPECT_OK(inotify_add_watch(fd, "d", IN_ALL_EVENTS));
	EXPECT_EQ(wd, 1);
	CHECK(!next_event(fd) && errno == EAGAIN);
	int f = EXPECT_OK(open("d/f", O_RDWR | O_CREAT, 0600));
	EXPECT_EVENT(fd, wd, IN_CREATE, "f");
	EXPECT_EVENT(fd, wd, IN_OPEN, "f");
	char c = 'x';
	EXPECT_EQ(write(f, &c, 1), 1);
	EXPECT_EVENT(fd, wd, IN_MODIFY, "f");
	EXPECT_EQ(pread(f, &c, 1, 0), 1);
	EXPECT_EVENT(fd, wd, IN_ACCESS, "f");
	EXPECT_OK(fchmod(f, 0644));
	EXPECT_EVENT(fd, wd, IN_ATTRIB, "f");
	EXPECT_OK(close(f));
	EXPECT_EVENT(fd, wd, IN_CLOSE_WRITE, "f");
	EXPECT_OK(close(EXPECT_OK(open("d/f", O_RDONLY))));
	EXPECT_EVENT(fd, wd, IN_OPEN, "f");
	EXPECT_EVENT(fd, wd, IN_CLOSE_NOWRITE, "f");
	EXPECT_OK(mkdir("d/sub", 0755));
	EXPECT_EVENT(fd, wd, IN_CREATE | IN_ISDIR, "sub");
	EXPECT_OK(rmdir("d/sub"));
	EXPECT_EVENT(fd, wd, IN_DELETE | IN_ISDIR, "sub");
	EXPECT_OK(unlink("d/f"));
	EXPECT_EVENT(fd, wd, IN_DELETE, "f");
	EXPECT_OK(rmdir("d"));
	EXPECT_EVENT(fd, wd, IN_DELETE_SELF, "");
	EXPECT_EVENT(fd, wd, IN_IGNORED, "");
	CHECK(!next_event(fd));
}

CASE(inotify_moves)
{
	EXPECT_OK(mkdir("a", 0755));
	EXPECT_OK(mkdir("b", 0755));
	put_file("a/f", "");
	int fd = EXPECT_OK(inotify_init1(IN_NONBLOCK));
	int a = EXPECT_OK(inotify_add_watch(fd, "a", IN_MOVE)), b = EXPECT_OK(inotify_add_watch(fd, "b", IN_MOVE));
	int f = EXPECT_OK(inotify_add_watch(fd, "a/f", IN_MOVE_SELF));
	EXPECT_OK(rename("a/f", "b/g"));
	struct inotify_event *from = next_event(fd);
	CHECK(from);
	EXPECT_EQ(from->wd, a);
	EXPECT_EQ(from->mask, IN_MOVED_FROM);
	EXPECT_STR(from->name, "f");
	uint32_t cookie = from->cookie;
	CHECK(cookie != 0);
	struct inotify_event *to = next_event(fd);
	CHECK(to);
	EXPECT_EQ(to->wd, b);
	EXPECT_EQ(to->mask, IN_MOVED_TO);
	EXPECT_EQ(to->cookie, cookie);
	EXPECT_STR(to->name, "g");
	EXPECT_EVENT(fd, f, IN_MOVE_SELF, "");
}

CASE(inotify_watches)
{
	put_file("f", "");
	int fd = EXPECT_OK(inotify_init1(IN_NONBLOCK));
	int wd = EXPECT_OK(inotify_add_watch(fd, "f", IN_MODIFY));
	EXPECT_EQ(inotify_add_watch(fd, "f", IN_ATTRIB), wd); /* the same inode: replaced */
	EXPECT_OK(truncate("f", 1));
	CHECK(!next_event(fd));
	EXPECT_EQ(inotify_add_watch(fd, "f", IN_MODIFY | IN_MASK_ADD), wd);
	EXPECT_ERRNO(inotify_add_watch(fd, "f", IN_MODIFY | IN_MASK_CREATE), EEXIST);
	EXPECT_ERRNO(inotify_add_watch(fd, "f", 0), EINVAL);
	EXPECT_ERRNO(inotify_add_watch(fd, "f", IN_MODIFY | IN_ONLYDIR), ENOTDIR);
	EXPECT_ERRNO(inotify_add_watch(fd, "none", IN_MODIFY), ENOENT);
	EXPECT_ERRNO(inotify_add_watch(0, "f", IN_MODIFY), EINVAL);
	EXPECT_ERRNO(inotify_init1(0x1), EINVAL);
	EXPECT_ERRNO(inotify_rm_watch(fd, 99), EINVAL);
	EXPECT_OK(inotify_rm_watch(fd, wd));
	EXPECT_EVENT(fd, wd, IN_IGNORED, "");
	EXPECT_EQ(inotify_add_watch(fd, "f", IN_MODIFY | IN_ONESHOT), wd + 1); /* numbers aren't used again */
	EXPECT_OK(truncate("f", 2));
	EXPECT_EVENT(fd, wd + 1, IN_MODIFY, "");
	EXPECT_EVENT(fd, wd + 1, IN_IGNORED, "");
}

CASE(inotify_queue)
{
	put_file("f", "");
	int fd = EXPECT_OK(inotify_init1(IN_NONBLOCK)), n;
	int wd = EXPECT_OK(inotify_add_watch(fd, "f", IN_MODIFY));
	int w = EXPECT_OK(open("f", O_WRONLY));
	EXPECT_EQ(events_of(fd), 0);
	EXPECT_EQ(write(w, "a", 1), 1);
	EXPECT_EQ(write(w, "b", 1), 1); /* equal to the last in the queue: merged */
	EXPECT_OK(ioctl(fd, FIONREAD, &n));
	EXPECT_EQ(n, 16);
	EXPECT_EQ(events_of(fd), POLLIN);
	char small[8];
	EXPECT_ERRNO(read(fd, small, 8), EINVAL);
	EXPECT_EVENT(fd, wd, IN_MODIFY, "");
	CHECK(!next_event(fd));
	EXPECT_EQ(events_of(fd), 0);
}

CASE(inotify_hard_unlink)
{
	put_file("f", "");
	EXPECT_OK(link("f", "g"));
	int fd = EXPECT_OK(inotify_init1(IN_NONBLOCK));
	int wd = EXPECT_OK(inotify_add_watch(fd, "f", IN_ATTRIB | IN_DELETE_SELF));
	EXPECT_OK(unlink("g"));
	EXPECT_EVENT(fd, wd, IN_ATTRIB, ""); /* the link count */
	int held = EXPECT_OK(open("f", O_RDONLY));
	EXPECT_OK(unlink("f"));
	EXPECT_EVENT(fd, wd, IN_ATTRIB, "");
	CHECK(!next_event(fd)); /* deleted when the last descriptor is gone */
	EXPECT_OK(close(held));
	EXPECT_EVENT(fd, wd, IN_DELETE_SELF, "");
	EXPECT_EVENT(fd, wd, IN_IGNORED, "");
}
