/* Many at once: what must hold whatever the order. Each case is short; a kernel that is wrong here fails sooner or later. */
#include "../harness.h"
#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define PAGE 4096UL
enum { THREADS = 4 };

static char *anon(size_t len)
{
	return EXPECT_OK(mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static void run_all(void *(*fn)(void *), void *arg)
{
	pthread_t t[THREADS];
	for (int i = 0; i < THREADS; i++)
		t[i] = thread_start(fn, arg);
	for (int i = 0; i < THREADS; i++)
		thread_join(t[i]);
}

static void *add_to_pages(void *arg)
{
	for (int i = 0; i < 256; i++)
		atomic_fetch_add((atomic_int *)((char *)arg + i * PAGE), 1);
	return NULL;
}

CASE(first_touch_by_many)
{
	char *m = anon(256 * PAGE);
	run_all(add_to_pages, m);
	for (int i = 0; i < 256; i++)
		EXPECT_EQ(*(int *)(m + i * PAGE), THREADS);
}

CASE(copies_by_many_threads)
{
	/* After a fork every page is copied once, however many threads write to it. */
	char *m = anon(256 * PAGE);
	for (int i = 0; i < 256; i++)
		*(int *)(m + i * PAGE) = 100;
	struct gate g = gate_new();
	CHILD(p) {
		gate_wait(&g);
		for (int i = 0; i < 256; i++)
			EXPECT_EQ(*(int *)(m + i * PAGE), 100);
	}
	run_all(add_to_pages, m);
	gate_open(&g);
	JOIN(p);
	for (int i = 0; i < 256; i++)
		EXPECT_EQ(*(int *)(m + i * PAGE), 100 + THREADS);
}

static void *count_up(void *arg)
{
	volatile long *n = arg;
	for (;;)
		n[0]++, n[1] = n[0];
	return NULL;
}

CASE(fork_while_others_write)
{
	long *n = (long *)anon(PAGE);
	thread_start(count_up, n);
	for (int i = 0; i < 20; i++) {
		CHILD(p) {
			/* A snapshot of one moment, and it doesn't move any more. */
			long a = ((volatile long *)n)[0], b = ((volatile long *)n)[1];
			CHECK(a == b || a == b + 1);
			for (int k = 0; k < 1000; k++)
				EXPECT_EQ(((volatile long *)n)[0], a);
		}
		JOIN(p);
	}
}

static void *map_and_unmap(void *arg)
{
	(void)arg;
	for (int i = 0; i < 200; i++) {
		size_t len = (1 + i % 7) * PAGE;
		char *m = anon(len);
		for (size_t at = 0; at < len; at += PAGE)
			CHECK(m[at] == 0);
		memset(m, 0xff, len);
		if (i % 3 == 0)
			EXPECT_OK(mprotect(m, PAGE, PROT_READ));
		EXPECT_OK(munmap(m, len));
	}
	return NULL;
}

CASE(mapping_by_many)
{
	run_all(map_and_unmap, NULL);
}

static atomic_bool stop;
static char *shaky;

static void *flip_protection(void *arg)
{
	(void)arg;
	while (!stop) {
		EXPECT_OK(mprotect(shaky, PAGE, PROT_NONE));
		EXPECT_OK(mprotect(shaky, PAGE, PROT_READ | PROT_WRITE));
	}
	return NULL;
}

CASE(system_calls_on_memory_that_goes)
{
	/* A call either works or says EFAULT; the data are never half wrong. */
	shaky = anon(PAGE);
	int fd = EXPECT_OK(open("f", O_RDWR | O_CREAT, 0600)), good = 0;
	char text[512], back[512];
	memset(text, 'q', sizeof text);
	EXPECT_EQ(write(fd, text, sizeof text), sizeof text);
	pthread_t t = thread_start(flip_protection, NULL);
	for (int i = 0; i < 2000; i++) {
		ssize_t n = pread(fd, shaky, sizeof text, 0);
		if (n < 0)
			EXPECT_EQ(errno, EFAULT);
		n = pwrite(fd, text, sizeof text, 0);
		EXPECT_EQ(n, sizeof text);
		good++;
	}
	stop = true;
	thread_join(t);
	EXPECT_EQ(pread(fd, back, sizeof back, 0), sizeof back);
	CHECK(good > 0 && !memcmp(text, back, sizeof back));
}

struct ends {
	int in, out;
	atomic_long sum, count;
};

static void *take_numbers(void *arg)
{
	struct ends *e = arg;
	int n;
	while (EXPECT_OK(read(e->in, &n, sizeof n)) == sizeof n) {
		e->sum += n;
		e->count++;
	}
	return NULL;
}

static void *give_numbers(void *arg)
{
	struct ends *e = arg;
	for (int i = 1; i <= 5000; i++)
		EXPECT_EQ(write(e->out, &i, sizeof i), sizeof i);
	return NULL;
}

CASE(pipe_of_many_ends)
{
	static struct ends e;
	EXPECT_OK(pipe(&e.in));
	pthread_t readers[THREADS];
	for (int i = 0; i < THREADS; i++)
		readers[i] = thread_start(take_numbers, &e);
	run_all(give_numbers, &e);
	EXPECT_OK(close(e.out));
	for (int i = 0; i < THREADS; i++)
		thread_join(readers[i]);
	EXPECT_EQ(e.count, THREADS * 5000);
	EXPECT_EQ(e.sum, THREADS * 5000L * 5001 / 2);
}

CASE(socket_of_many_ends)
{
	static struct ends e;
	EXPECT_OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, &e.in));
	pthread_t readers[THREADS];
	for (int i = 0; i < THREADS; i++)
		readers[i] = thread_start(take_numbers, &e);
	run_all(give_numbers, &e);
	EXPECT_OK(close(e.out));
	for (int i = 0; i < THREADS; i++)
		thread_join(readers[i]);
	EXPECT_EQ(e.count, THREADS * 5000);
	EXPECT_EQ(e.sum, THREADS * 5000L * 5001 / 2);
}

static void *open_and_close(void *arg)
{
	(void)arg;
	for (int i = 0; i < 500; i++) {
		int fd = EXPECT_OK(open("/dev/null", O_RDONLY)), d = EXPECT_OK(dup(fd));
		CHECK(fd != d);
		EXPECT_OK(fcntl(fd, F_GETFD));
		EXPECT_OK(close(d));
		EXPECT_OK(close(fd));
	}
	return NULL;
}

CASE(descriptors_by_many)
{
	int before = open_fds();
	run_all(open_and_close, NULL);
	EXPECT_EQ(open_fds(), before);
}

static void *replace_seven(void *arg)
{
	(void)arg;
	for (int i = 0; i < 500; i++)
		EXPECT_EQ(dup2(i % 2 ? 0 : 1, 7), 7);
	return NULL;
}

CASE(dup2_over_one_number)
{
	run_all(replace_seven, NULL);
	EXPECT_OK(close(7));
	EXPECT_ERRNO(close(7), EBADF);
}

static atomic_int winners;

static void *make_the_same(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++) {
		char name[16];
		snprintf(name, sizeof name, "x%d", i);
		int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
		if (fd < 0)
			EXPECT_EQ(errno, EEXIST);
		else
			winners++;
		if (fd >= 0)
			EXPECT_OK(close(fd));
	}
	return NULL;
}

CASE(exclusive_creation_has_one_winner)
{
	run_all(make_the_same, NULL);
	EXPECT_EQ(winners, 100);
}

static void *rename_about(void *arg)
{
	(void)arg;
	for (int i = 0; i < 200; i++)
		if (rename(i % 2 ? "a/d" : "b/d", i % 2 ? "b/d" : "a/d") < 0)
			CHECK(errno == ENOENT || errno == ENOTEMPTY);
	return NULL;
}

CASE(renames_by_many)
{
	EXPECT_OK(mkdir("a", 0755));
	EXPECT_OK(mkdir("b", 0755));
	EXPECT_OK(mkdir("a/d", 0755));
	put_file("a/d/f", "");
	run_all(rename_about, NULL);
	EXPECT_EQ(exists("a/d/f") + exists("b/d/f"), 1);
}

static void *rename_into_each_other(void *arg)
{
	(void)arg;
	for (int i = 0; i < 200; i++) {
		(void)!rename("p/x", "q/x/in");
		(void)!rename("q/x", "p/x/in");
		(void)!rename("q/x/in", "p/x");
		(void)!rename("p/x/in", "q/x");
	}
	return NULL;
}

CASE(directories_never_form_a_loop)
{
	EXPECT_OK(mkdir("p", 0755));
	EXPECT_OK(mkdir("q", 0755));
	EXPECT_OK(mkdir("p/x", 0755));
	EXPECT_OK(mkdir("q/x", 0755));
	run_all(rename_into_each_other, NULL);
	/* Both can still be reached from the top. */
	CHILD(p) {
		execl("/bin/sh", "sh", "-c", "[ $(find . -type d | wc -l) = 5 ]", NULL);
	}
	JOIN(p);
}

static void *wait_for_turn(void *arg)
{
	int *fds = arg; /* epoll, eventfd */
	struct epoll_event e;
	uint64_t v;
	for (int got = 0; got < 200;) {
		EXPECT_EQ(epoll_wait(fds[0], &e, 1, -1), 1);
		if (read(fds[1], &v, 8) == 8)
			got++;
		else
			EXPECT_EQ(errno, EAGAIN);
	}
	return NULL;
}

CASE(no_wakeup_is_lost)
{
	int fds[2] = {EXPECT_OK(epoll_create1(0)), EXPECT_OK(eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK))};
	struct epoll_event e = {.events = EPOLLIN};
	EXPECT_OK(epoll_ctl(fds[0], EPOLL_CTL_ADD, fds[1], &e));
	pthread_t t[THREADS];
	for (int i = 0; i < THREADS; i++)
		t[i] = thread_start(wait_for_turn, fds);
	uint64_t one = 1;
	for (int i = 0; i < THREADS * 200; i++)
		EXPECT_EQ(write(fds[1], &one, 8), 8);
	for (int i = 0; i < THREADS; i++)
		thread_join(t[i]);
}

CASE(ping_pong)
{
	int a[2], b[2];
	char c = 'x';
	EXPECT_OK(pipe(a));
	EXPECT_OK(pipe(b));
	CHILD(p) {
		for (int i = 0; i < 2000; i++) {
			EXPECT_EQ(read(a[0], &c, 1), 1);
			EXPECT_EQ(write(b[1], &c, 1), 1);
		}
	}
	for (int i = 0; i < 2000; i++) {
		EXPECT_EQ(write(a[1], &c, 1), 1);
		struct pollfd f = {b[0], POLLIN, 0};
		EXPECT_EQ(poll(&f, 1, -1), 1);
		EXPECT_EQ(read(b[0], &c, 1), 1);
	}
	JOIN(p);
}

static void *truncate_about(void *arg)
{
	int fd = *(int *)arg;
	while (!stop) {
		EXPECT_OK(ftruncate(fd, 0));
		EXPECT_OK(ftruncate(fd, 4 * PAGE));
	}
	return NULL;
}

CASE(mapped_file_that_shrinks)
{
	int fd = EXPECT_OK(open("f", O_RDWR | O_CREAT, 0600));
	EXPECT_OK(ftruncate(fd, 4 * PAGE));
	char *m = EXPECT_OK(mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	pthread_t t = thread_start(truncate_about, &fd);
	for (int i = 0; i < 1000; i++) {
		struct fault f = fault_write(m + i % 4 * PAGE);
		CHECK(f.sig == 0 || f.sig == SIGBUS);
	}
	stop = true;
	thread_join(t);
	EXPECT_EQ(fault_write(m + 3 * PAGE).sig, 0);
}

static void *spawn(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20; i++) {
		CHILD(p) {
			_exit(i);
		}
		EXPECT_EXIT(p, i);
	}
	return NULL;
}

CASE(forks_by_many_threads)
{
	run_all(spawn, NULL);
}

static char *pages;

static void *count_on_both(void *arg)
{
	(void)arg;
	for (int i = 1; !stop; i++) {
		*(atomic_int *)pages = i;
		*(atomic_int *)(pages + 64 * PAGE) = i;
	}
	return NULL;
}

CASE(forks_see_writes_in_order)
{
	/* A child that sees another thread's second write sees the first. */
	pages = anon(65 * PAGE);
	munmap(pages + PAGE, 63 * PAGE);
	pthread_t t = thread_start(count_on_both, NULL);
	for (int i = 0; i < 200; i++) {
		CHILD(p) {
			int second = *(atomic_int *)(pages + 64 * PAGE);
			CHECK(*(atomic_int *)pages >= second);
		}
		JOIN(p);
	}
	stop = true;
	thread_join(t);
}
