/* Private futexes on which threads wait by one call site, and that are woken, moved and interrupted by another: a call that has
 * been made often may be served in another way. */
#include "../harness.h"
#include <limits.h>
#include <linux/futex.h>
#include <sys/resource.h>

static long futex(uint32_t *addr, int op, uint32_t val, unsigned long val2, uint32_t *addr2, uint32_t val3)
{
	return syscall(SYS_futex, addr, op, val, val2, addr2, val3);
}

/* The same by an instruction of its own, between two short jumps. */
static long futex_raw(uint32_t *addr, int op, uint32_t val, unsigned long val2, uint32_t *addr2, uint32_t val3)
{
	register unsigned long r10 __asm__("r10") = val2;
	register uint32_t *r8 __asm__("r8") = addr2;
	register unsigned long r9 __asm__("r9") = val3;
	long ret = SYS_futex;
	__asm__ volatile("jmp 1f\n1: syscall\njmp 2f\n2:"
			 : "+a"(ret)
			 : "D"(addr), "S"(op), "d"(val), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	if (ret < 0) {
		errno = (int)-ret;
		return -1;
	}
	return ret;
}

/* Makes the site of futex() one that is often used. */
static void use_often(void)
{
	uint32_t w = 1;
	for (int i = 0; i < 40; i++) {
		EXPECT_ERRNO(futex(&w, FUTEX_WAIT_PRIVATE, 0, 0, NULL, 0), EAGAIN);
		EXPECT_EQ(futex(&w, FUTEX_WAKE_PRIVATE, 1, 0, NULL, 0), 0);
	}
}

typedef long call(uint32_t *, int, uint32_t, unsigned long, uint32_t *, uint32_t);

struct waiter {
	uint32_t *word, bits;
	const struct timespec *limit;
	call *by;
	pthread_t thread;
	volatile pid_t tid;
	long result;
	int err;
};

#define WAITER(w, b, l, f) {.word = (w), .bits = (b), .limit = (l), .by = (f)}

static void *wait_on(void *arg)
{
	struct waiter *w = arg;
	int op = w->bits ? FUTEX_WAIT_BITSET_PRIVATE : FUTEX_WAIT_PRIVATE;
	w->tid = gettid();
	w->result = w->by(w->word, op, *w->word, (unsigned long)w->limit, NULL, w->bits);
	w->err = errno;
	return NULL;
}

static void start(struct waiter *w)
{
	w->tid = 0;
	w->thread = thread_start(wait_on, w);
	while (!w->tid)
		sched_yield();
	wait_asleep(w->tid);
}

static void join_woken(struct waiter *w)
{
	thread_join(w->thread);
	EXPECT_EQ(w->result, 0);
}

static call *const BY[] = {futex, futex_raw};

CASE(dozers_are_woken_from_anywhere)
{
	use_often();
	uint32_t words[2] = {1, 1};
	for (int i = 0; i < 4; i++) {
		call *waits = BY[i & 1], *wakes = BY[i >> 1];
		struct waiter w[3] = {WAITER(words, 1, NULL, waits), WAITER(words, 2, NULL, futex), WAITER(words + 1, 0, NULL, waits)};
		for (int k = 0; k < 3; k++)
			start(&w[k]);
		EXPECT_EQ(wakes(words, FUTEX_WAKE_BITSET_PRIVATE, 9, 0, NULL, 4), 0);
		EXPECT_EQ(wakes(words, FUTEX_WAKE, 9, 0, NULL, 0), 0); /* shared is another name */
		EXPECT_EQ(wakes(words, FUTEX_WAKE_BITSET_PRIVATE, 9, 0, NULL, 2), 1);
		join_woken(&w[1]);
		EXPECT_EQ(wakes(words + 1, FUTEX_WAKE_PRIVATE, 9, 0, NULL, 0), 1);
		join_woken(&w[2]);
		EXPECT_EQ(wakes(words, FUTEX_WAKE_PRIVATE, 9, 0, NULL, 0), 1);
		join_woken(&w[0]);
		EXPECT_EQ(wakes(words, FUTEX_WAKE_PRIVATE, 9, 0, NULL, 0), 0);
	}
}

CASE(no_more_dozers_are_woken_than_wanted)
{
	use_often();
	uint32_t word = 7;
	struct timespec limit = {100, 0};
	for (int i = 0; i < 2; i++) {
		/* Some wait in different ways. */
		struct waiter w[4] = {WAITER(&word, 0, NULL, futex), WAITER(&word, 0, NULL, futex_raw), WAITER(&word, 0, &limit, futex), WAITER(&word, 0, NULL, futex)};
		for (int k = 0; k < 4; k++)
			start(&w[k]);
		EXPECT_EQ(BY[i](&word, FUTEX_WAKE_PRIVATE, 1, 0, NULL, 0), 1);
		EXPECT_EQ(BY[i](&word, FUTEX_WAKE_PRIVATE, 2, 0, NULL, 0), 2);
		EXPECT_EQ(BY[i](&word, FUTEX_WAKE_PRIVATE, INT_MAX, 0, NULL, 0), 1);
		for (int k = 0; k < 4; k++)
			join_woken(&w[k]);
	}
}

/* First come, first woken, however each waits. */
CASE(dozers_are_woken_in_order)
{
	use_often();
	uint32_t word = 7, to = 8;
	struct timespec limit = {100, 0};
	for (int i = 0; i < 4; i++) {
		struct waiter w[5] = {WAITER(&word, 0, NULL, futex), WAITER(&word, 0, NULL, i & 1 ? futex_raw : futex),
				      WAITER(&word, 0, &limit, futex), WAITER(&word, 0, NULL, futex), WAITER(&word, 0, NULL, futex_raw)};
		for (int k = 0; k < 5; k++)
			start(&w[k]);
		for (int k = 0; k < 3; k++) {
			EXPECT_EQ(BY[i >> 1](&word, FUTEX_WAKE_PRIVATE, 1, 0, NULL, 0), 1);
			join_woken(&w[k]);
		}
		EXPECT_EQ(BY[i >> 1](&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, 9, &to, 7), 2);
		join_woken(&w[3]);
		EXPECT_EQ(BY[i >> 1](&to, FUTEX_WAKE_PRIVATE, 9, 0, NULL, 0), 1);
		join_woken(&w[4]);
	}
}

CASE(dozers_are_moved)
{
	use_often();
	uint32_t from = 1, to = 2;
	for (int i = 0; i < 2; i++) {
		struct waiter w[4];
		for (int k = 0; k < 4; k++) {
			w[k] = (struct waiter)WAITER(&from, 0, NULL, k == 2 ? futex_raw : futex);
			start(&w[k]);
		}
		EXPECT_ERRNO(BY[i](&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, 2, &to, 9), EAGAIN);
		EXPECT_EQ(BY[i](&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, 2, &to, 1), 3);
		EXPECT_EQ(futex(&to, FUTEX_WAKE_PRIVATE, 9, 0, NULL, 0), 2);
		EXPECT_EQ(futex(&from, FUTEX_WAKE_PRIVATE, 9, 0, NULL, 0), 1);
		for (int k = 0; k < 4; k++)
			join_woken(&w[k]);
	}
}

CASE(dozers_are_woken_by_an_operation)
{
	use_often();
	uint32_t first = 1, second = 5;
	struct waiter w[3] = {WAITER(&first, 0, NULL, futex), WAITER(&second, 0, NULL, futex), WAITER(&second, 0, NULL, futex)};
	for (int k = 0; k < 3; k++)
		start(&w[k]);
	int op = FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 9);
	EXPECT_EQ(futex(&first, FUTEX_WAKE_OP_PRIVATE, 1, 1, &second, op), 1);
	join_woken(&w[0]);
	op = FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 6);
	EXPECT_EQ(futex(&first, FUTEX_WAKE_OP_PRIVATE, 1, 1, &second, op), 1);
	EXPECT_EQ(second, 7);
	EXPECT_EQ(futex(&second, FUTEX_WAKE_PRIVATE, 9, 0, NULL, 0), 1);
	join_woken(&w[1]);
	join_woken(&w[2]);
}

static volatile int handled;

static void handler(int sig)
{
	(void)sig;
	handled++;
}

CASE(dozers_are_interrupted)
{
	use_often();
	uint32_t word = 1;
	struct sigaction sa = {.sa_handler = handler};
	EXPECT_OK(sigaction(SIGUSR1, &sa, NULL));
	sa.sa_flags = SA_RESTART;
	EXPECT_OK(sigaction(SIGUSR2, &sa, NULL));
	struct timespec limit;
	EXPECT_OK(clock_gettime(CLOCK_MONOTONIC, &limit));
	limit.tv_sec += 100;
	for (int i = 0; i < 4; i++) {
		/* A wait with a time limit is begun again too: restart_syscall(2) is for other calls. */
		struct waiter w = WAITER(&word, i & 1 ? 1 : 0, i & 1 ? &limit : NULL, futex);
		start(&w);
		handled = 0;
		EXPECT_OK(tgkill(getpid(), w.tid, i & 2 ? SIGUSR2 : SIGUSR1));
		while (!handled)
			sched_yield();
		if (i == 2) {
			wait_asleep(w.tid);
			EXPECT_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 1, 0, NULL, 0), 1);
			join_woken(&w);
			continue;
		}
		thread_join(w.thread);
		EXPECT_EQ(w.result, -1);
		EXPECT_EQ(w.err, EINTR);
	}
}

/* A stop is none: the waits go on. */
CASE(dozers_are_stopped)
{
	int ends[2];
	EXPECT_OK(pipe(ends));
	CHILD(p) {
		use_often();
		uint32_t word = 1;
		struct waiter w = WAITER(&word, 0, NULL, futex);
		start(&w);
		EXPECT_EQ(write(ends[1], "", 1), 1);
		sleep_ms(150);
		wait_asleep(w.tid);
		EXPECT_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 1, 0, NULL, 0), 1);
		join_woken(&w);
	}
	char byte;
	EXPECT_EQ(read(ends[0], &byte, 1), 1);
	for (int i = 0; i < 5; i++) {
		EXPECT_OK(kill(p, SIGSTOP));
		EXPECT_EQ(waitpid(p, NULL, WUNTRACED), p);
		EXPECT_OK(kill(p, SIGCONT));
		sleep_ms(5);
	}
	JOIN(p);
}

CASE(dozing_takes_no_time)
{
	use_often();
	uint32_t word = 1;
	struct waiter w = WAITER(&word, 0, NULL, futex);
	start(&w);
	clockid_t clock;
	CHECK(pthread_getcpuclockid(w.thread, &clock) == 0);
	struct timespec before, after, all;
	EXPECT_OK(clock_gettime(clock, &before));
	sleep_ms(200);
	EXPECT_OK(clock_gettime(clock, &after));
	CHECK(after.tv_sec == before.tv_sec && after.tv_nsec - before.tv_nsec < 20000000);
	EXPECT_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 1, 0, NULL, 0), 1);
	join_woken(&w);
	EXPECT_OK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &all));
	CHECK(all.tv_sec == 0 && all.tv_nsec < 150000000);
}

static void *wake_later(void *arg)
{
	sleep_ms(200);
	EXPECT_EQ(futex(arg, FUTEX_WAKE_PRIVATE, 1, 0, NULL, 0), 1);
	return NULL;
}

CASE(timers_on_processor_time_do_not_run_while_all_doze)
{
	use_often();
	struct sigaction sa = {.sa_handler = handler};
	EXPECT_OK(sigaction(SIGPROF, &sa, NULL));
	handled = 0;
	uint32_t word = 1;
	pthread_t t = thread_start(wake_later, &word);
	struct itimerval profile = {.it_value.tv_usec = 100000};
	EXPECT_OK(setitimer(ITIMER_PROF, &profile, NULL));
	EXPECT_EQ(futex(&word, FUTEX_WAIT_PRIVATE, 1, 0, NULL, 0), 0);
	EXPECT_EQ(handled, 0);
	/* But afterwards. */
	while (!handled)
		;
	thread_join(t);
}

/* A private futex is an address, whatever is there. */
CASE(dozers_keep_their_address)
{
	use_often();
	uint32_t *word = EXPECT_OK(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	*word = 1;
	struct waiter w = WAITER(word, 0, NULL, futex);
	start(&w);
	CHILD(p) {
		EXPECT_EQ(futex(word, FUTEX_WAKE_PRIVATE, 9, 0, NULL, 0), 0); /* nobody of this process */
		*word = 3;
	}
	*word = 2; /* another frame than the child's */
	JOIN(p);
	EXPECT_OK(munmap(word, 4096));
	EXPECT_EQ(EXPECT_OK(mmap(word, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)), word);
	EXPECT_EQ(futex(word, FUTEX_WAKE_PRIVATE, 9, 0, NULL, 0), 1);
	join_woken(&w);
}

CASE(dozers_end_with_their_process)
{
	for (int how = 0; how < 3; how++) {
		int ends[2];
		EXPECT_OK(pipe(ends));
		pid_t p = EXPECT_OK(fork());
		if (p == 0) {
			use_often();
			uint32_t word = 1;
			struct waiter w[2] = {WAITER(&word, 0, NULL, futex), WAITER(&word, 0, NULL, futex)};
			start(&w[0]);
			start(&w[1]);
			EXPECT_EQ(write(ends[1], "", 1), 1);
			if (how == 1)
				_exit(7);
			if (how == 2)
				execl("/bin/sh", "sh", "-c", "exit 7", NULL);
			pause();
		}
		char byte;
		EXPECT_EQ(read(ends[0], &byte, 1), 1);
		if (how == 0)
			EXPECT_OK(kill(p, SIGKILL));
		int status;
		EXPECT_EQ(waitpid(p, &status, 0), p);
		EXPECT_EQ(status, how == 0 ? SIGKILL : 7 << 8);
		close(ends[0]);
		close(ends[1]);
	}
}
