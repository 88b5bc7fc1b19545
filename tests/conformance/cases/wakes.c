/* Futexes: waits and wakes, bit sets, requeueing, wake_op, priority inheritance, robust lists, sharing, time limits. */
#include "waits.h"
#include <linux/futex.h>
#include <sched.h>

static long futex(void *word, int op, unsigned val, const void *timeout, void *word2, unsigned val3)
{
	return syscall(SYS_futex, word, op, val, timeout, word2, val3);
}

static unsigned *shared_words(void)
{
	unsigned *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	return p;
}

/* ---- Arguments. ---- */

CASE(arguments)
{
	unsigned word = 1;
	struct timespec bad = {0, 1000000000}, negative = {-1, 0}, none = {0, 0};
	EXPECT_ERRNO(futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0), EAGAIN);
	EXPECT_ERRNO(futex((char *)&word + 1, FUTEX_WAIT, 0, NULL, NULL, 0), EINVAL);
	EXPECT_ERRNO(futex((char *)&word + 2, FUTEX_WAKE, 1, NULL, NULL, 0), EINVAL);
	EXPECT_ERRNO(futex(NULL, FUTEX_WAIT, 0, NULL, NULL, 0), EFAULT);
	EXPECT_ERRNO(futex((void *)0x1000, FUTEX_WAIT, 0, NULL, NULL, 0), EFAULT);
	EXPECT_ERRNO(futex((void *)0x1000, FUTEX_WAKE, 1, NULL, NULL, 0), EFAULT);
	EXPECT_EQ(futex((void *)0x1000, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0); /* only the number counts */
	EXPECT_ERRNO(futex((void *)0x1000, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EFAULT);
	EXPECT_ERRNO(futex((void *)0xffffffff80000000, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), EFAULT);
	EXPECT_ERRNO(futex(&word, FUTEX_WAIT, 1, &bad, NULL, 0), EINVAL);
	EXPECT_ERRNO(futex(&word, FUTEX_WAIT, 1, &negative, NULL, 0), EINVAL);
	EXPECT_ERRNO(futex(&word, FUTEX_WAIT, 1, (void *)8, NULL, 0), EFAULT);
	EXPECT_ERRNO(futex(&word, FUTEX_WAIT, 1, &none, NULL, 0), ETIMEDOUT);
	EXPECT_ERRNO(futex(&word, FUTEX_WAIT, 0, &none, NULL, 0), EAGAIN);
	EXPECT_ERRNO(futex(&word, FUTEX_WAIT_BITSET, 1, NULL, NULL, 0), EINVAL); /* no bits */
	EXPECT_ERRNO(futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0), EINVAL);
	EXPECT_ERRNO(futex(&word, 99, 1, NULL, NULL, 0), ENOSYS);
	EXPECT_ERRNO(futex(&word, FUTEX_FD, 1, NULL, NULL, 0), ENOSYS);
	EXPECT_ERRNO(futex(&word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, 0), ENOSYS);
	EXPECT_EQ(futex(&word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0), 0);
}

CASE(read_only_words)
{
	unsigned *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct timespec none = {0, 0};
	EXPECT_ERRNO(futex(p, FUTEX_WAIT_PRIVATE, 0, &none, NULL, 0), ETIMEDOUT);
	EXPECT_ERRNO(futex(p, FUTEX_WAIT_PRIVATE, 1, &none, NULL, 0), EAGAIN);
	EXPECT_EQ(futex(p, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
	EXPECT_ERRNO(futex(p, FUTEX_LOCK_PI, 0, NULL, NULL, 0), EFAULT);
}

CASE(time_limits)
{
	unsigned word = 0;
	struct timespec some = {0, 30000000}, now;
	int64_t start = now_ms();
	EXPECT_ERRNO(futex(&word, FUTEX_WAIT, 0, &some, NULL, 0), ETIMEDOUT);
	CHECK(now_ms() - start >= 29);
	static const struct {
		int op;
		clockid_t clock;
	} kinds[] = {{FUTEX_WAIT_BITSET, CLOCK_MONOTONIC}, {FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, CLOCK_REALTIME}};
	for (int i = 0; i < 2; i++) {
		start = now_ms();
		EXPECT_OK(clock_gettime(kinds[i].clock, &now));
		now.tv_nsec += 30000000;
		now.tv_sec += now.tv_nsec / 1000000000;
		now.tv_nsec %= 1000000000;
		EXPECT_ERRNO(futex(&word, kinds[i].op, 0, &now, NULL, 1), ETIMEDOUT); /* an instant, not a duration */
		CHECK(now_ms() - start >= 29);
		now.tv_sec = 1;
		EXPECT_ERRNO(futex(&word, kinds[i].op, 0, &now, NULL, 1), ETIMEDOUT);
	}
}

/* ---- Waiters by number. ---- */

enum { WAITERS = 8 };
struct waiter {
	unsigned *word;
	int op;
	unsigned bits;
	volatile int tid;
	volatile long result;
	pthread_t thread;
};

static void *wait_once(void *arg)
{
	struct waiter *w = arg;
	w->tid = gettid();
	w->result = futex(w->word, w->op, 0, NULL, NULL, w->bits) < 0 ? errno : 0;
	return NULL;
}

static void start_waiter(struct waiter *w, unsigned *word, int op, unsigned bits)
{
	*w = (struct waiter){.word = word, .op = op, .bits = bits, .result = -1};
	w->thread = thread_start(wait_once, w);
	while (!w->tid)
		sched_yield();
}

/* Waits for a state: /proc says asleep also before the queue is joined, so what counts is what a wake finds. */
static void wake_until(unsigned *word, int op, int count, unsigned bits)
{
	int64_t end = now_ms() + 8000;
	for (int woken = 0; woken < count;) {
		woken += EXPECT_OK(futex(word, op, count - woken, NULL, NULL, bits));
		CHECK(now_ms() < end);
	}
}

CASE(wakes_as_many_as_asked)
{
	unsigned word = 0;
	struct waiter w[WAITERS];
	for (int i = 0; i < WAITERS; i++)
		start_waiter(&w[i], &word, FUTEX_WAIT_PRIVATE, 0);
	wake_until(&word, FUTEX_WAKE_PRIVATE, 3, 0);
	wake_until(&word, FUTEX_WAKE_PRIVATE, 5, 0);
	for (int i = 0; i < WAITERS; i++) {
		thread_join(w[i].thread);
		EXPECT_EQ(w[i].result, 0);
	}
	EXPECT_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
}

CASE(first_come_first_woken)
{
	unsigned word = 0;
	struct waiter w[3];
	for (int i = 0; i < 3; i++) {
		start_waiter(&w[i], &word, FUTEX_WAIT_PRIVATE, 0);
		wait_asleep(w[i].tid);
	}
	for (int i = 0; i < 3; i++) {
		wake_until(&word, FUTEX_WAKE_PRIVATE, 1, 0);
		thread_join(w[i].thread);
	}
}

CASE(bit_sets)
{
	unsigned word = 0;
	struct waiter a, b;
	start_waiter(&a, &word, FUTEX_WAIT_BITSET_PRIVATE, 1);
	start_waiter(&b, &word, FUTEX_WAIT_BITSET_PRIVATE, 6);
	EXPECT_EQ(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 9, NULL, NULL, 8), 0);
	wake_until(&word, FUTEX_WAKE_BITSET_PRIVATE, 1, 2);
	thread_join(b.thread);
	EXPECT_EQ(a.result, -1);
	wake_until(&word, FUTEX_WAKE_PRIVATE, 1, 0); /* a plain wake matches every bit */
	thread_join(a.thread);
}

/* ---- Requeueing and wake_op. ---- */

CASE(requeue)
{
	unsigned from = 0, to = 0;
	struct waiter w[WAITERS];
	EXPECT_ERRNO(futex(&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)9, &to, 5), EAGAIN);
	EXPECT_ERRNO(futex(&from, FUTEX_CMP_REQUEUE_PRIVATE, -1, (void *)9, &to, 0), EINVAL);
	EXPECT_ERRNO(futex(&from, FUTEX_REQUEUE_PRIVATE, 1, (void *)-1, &to, 0), EINVAL);
	EXPECT_ERRNO(futex(&from, FUTEX_REQUEUE_PRIVATE, 1, (void *)1, (char *)&to + 1, 0), EINVAL);
	EXPECT_ERRNO(futex(&from, FUTEX_REQUEUE, 1, (void *)1, (void *)0x1000, 0), EFAULT);
	for (int i = 0; i < WAITERS; i++)
		start_waiter(&w[i], &from, FUTEX_WAIT_PRIVATE, 0);
	int64_t end = now_ms() + 8000;
	int woken = 0;
	for (int moved = 0; moved < WAITERS;) { /* counts those woken and those moved */
		long n = EXPECT_OK(futex(&from, FUTEX_CMP_REQUEUE_PRIVATE, woken ? 0 : 1, (void *)(long)WAITERS, &to, 0));
		woken |= n > 0;
		moved += n;
		CHECK(now_ms() < end);
	}
	EXPECT_EQ(futex(&from, FUTEX_WAKE_PRIVATE, WAITERS, NULL, NULL, 0), 0);
	EXPECT_EQ(futex(&to, FUTEX_WAKE_PRIVATE, WAITERS, NULL, NULL, 0), WAITERS - 1);
	for (int i = 0; i < WAITERS; i++)
		thread_join(w[i].thread);
}

CASE(requeue_to_itself)
{
	unsigned word = 0;
	struct waiter a;
	start_waiter(&a, &word, FUTEX_WAIT_PRIVATE, 0);
	int64_t end = now_ms() + 8000;
	while (EXPECT_OK(futex(&word, FUTEX_REQUEUE_PRIVATE, 0, (void *)1, &word, 0)) == 0)
		CHECK(now_ms() < end);
	EXPECT_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 1);
	thread_join(a.thread);
}

CASE(wake_op)
{
	static const struct {
		unsigned was, op, is;
	} ops[] = {{5, FUTEX_OP(FUTEX_OP_SET, 9, FUTEX_OP_CMP_EQ, 0), 9},
		   {5, FUTEX_OP(FUTEX_OP_ADD, 9, FUTEX_OP_CMP_EQ, 0), 14},
		   {5, FUTEX_OP(FUTEX_OP_OR, 8, FUTEX_OP_CMP_EQ, 0), 13},
		   {13, FUTEX_OP(FUTEX_OP_ANDN, 4, FUTEX_OP_CMP_EQ, 0), 9},
		   {5, FUTEX_OP(FUTEX_OP_XOR, 12, FUTEX_OP_CMP_EQ, 0), 9},
		   {0, FUTEX_OP((FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT), 7, FUTEX_OP_CMP_EQ, 0), 128},
		   {5, FUTEX_OP(FUTEX_OP_ADD, 0xfff, FUTEX_OP_CMP_EQ, 0), 4}}; /* the argument has a sign */
	unsigned a = 0, b;
	for (unsigned i = 0; i < sizeof ops / sizeof *ops; i++) {
		b = ops[i].was;
		EXPECT_EQ(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &b, ops[i].op), 0);
		EXPECT_EQ(b, ops[i].is);
	}
	EXPECT_ERRNO(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &b, 6U << 28), ENOSYS);
	EXPECT_ERRNO(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, (void *)0x1000, 0), EFAULT);
	struct waiter wa, wb;
	a = b = 0;
	start_waiter(&wb, &b, FUTEX_WAIT_PRIVATE, 0);
	start_waiter(&wa, &a, FUTEX_WAIT_PRIVATE, 0);
	int64_t end = now_ms() + 8000;
	/* The second word's waiters only if its old value is as compared. */
	while (EXPECT_OK(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &b, FUTEX_OP(FUTEX_OP_SET, 0, FUTEX_OP_CMP_GT, 0))) == 0)
		CHECK(now_ms() < end);
	thread_join(wa.thread);
	EXPECT_EQ(wb.result, -1);
	while (EXPECT_OK(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &b, FUTEX_OP(FUTEX_OP_SET, 0, FUTEX_OP_CMP_LE, 0))) == 0)
		CHECK(now_ms() < end);
	thread_join(wb.thread);
}

/* ---- Who shares what. ---- */

CASE(between_processes)
{
	unsigned *w = shared_words();
	CHILD(p) {
		while (__atomic_load_n(w, __ATOMIC_SEQ_CST) == 0) {
			long r = futex(w, FUTEX_WAIT, 0, NULL, NULL, 0);
			CHECK(r == 0 || errno == EAGAIN);
		}
	}
	wait_asleep(p);
	__atomic_store_n(w, 1, __ATOMIC_SEQ_CST);
	EXPECT_OK(futex(w, FUTEX_WAKE, 1, NULL, NULL, 0));
	JOIN(p);
}

CASE(by_other_mappings_of_a_file)
{
	int fd = EXPECT_OK(open("f", O_RDWR | O_CREAT, 0600));
	EXPECT_OK(ftruncate(fd, 8192));
	unsigned *a = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	unsigned *b = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096);
	struct waiter w;
	start_waiter(&w, a + 1024 + 3, FUTEX_WAIT, 0);
	EXPECT_EQ(futex(b + 2, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
	wake_until(b + 3, FUTEX_WAKE, 1, 0);
	thread_join(w.thread);
	unsigned *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	p[0] = 0; /* a copy of our own */
	start_waiter(&w, a, FUTEX_WAIT, 0);
	wait_asleep(w.tid);
	EXPECT_EQ(futex(p, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
	wake_until(a, FUTEX_WAKE, 1, 0);
	thread_join(w.thread);
}

CASE(private_is_not_shared)
{
	unsigned *word = shared_words();
	struct waiter w;
	start_waiter(&w, word, FUTEX_WAIT, 0);
	wait_asleep(w.tid);
	EXPECT_EQ(futex(word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
	CHILD(p) {
		EXPECT_EQ(futex(word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
		wake_until(word, FUTEX_WAKE, 1, 0);
	}
	JOIN(p);
	thread_join(w.thread);
}

CASE(anonymous_memory_after_fork)
{
	/* Copies of private memory are different words, even by the call for shared ones. */
	static unsigned word;
	struct waiter w;
	start_waiter(&w, &word, FUTEX_WAIT, 0);
	wait_asleep(w.tid);
	CHILD(p) {
		EXPECT_EQ(futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
	}
	JOIN(p);
	wake_until(&word, FUTEX_WAKE, 1, 0);
	thread_join(w.thread);
}

/* ---- Priority inheritance. ---- */

static unsigned pi_word;
static struct gate pi_locked, pi_go;

static void *hold_pi(void *arg)
{
	(void)arg;
	EXPECT_OK(futex(&pi_word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	gate_open(&pi_locked);
	gate_wait(&pi_go);
	EXPECT_OK(futex(&pi_word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	return NULL;
}

CASE(pi_locks)
{
	struct timespec past = {1, 0};
	pi_locked = gate_new();
	pi_go = gate_new();
	EXPECT_OK(futex(&pi_word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	EXPECT_EQ(pi_word, gettid());
	EXPECT_ERRNO(futex(&pi_word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0), EDEADLK);
	EXPECT_ERRNO(futex(&pi_word, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0), EDEADLK);
	EXPECT_OK(futex(&pi_word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	EXPECT_EQ(pi_word, 0);
	EXPECT_ERRNO(futex(&pi_word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0), EPERM);
	pthread_t t = thread_start(hold_pi, NULL);
	gate_wait(&pi_locked);
	EXPECT_ERRNO(futex(&pi_word, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0), EAGAIN);
	EXPECT_ERRNO(futex(&pi_word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0), EPERM);
	EXPECT_ERRNO(futex(&pi_word, FUTEX_LOCK_PI_PRIVATE, 0, &past, NULL, 0), ETIMEDOUT);
	CHECK(pi_word & FUTEX_WAITERS);
	gate_open(&pi_go);
	EXPECT_OK(futex(&pi_word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	EXPECT_EQ(pi_word & FUTEX_TID_MASK, gettid());
	EXPECT_OK(futex(&pi_word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	thread_join(t);
	pi_word = 999999999; /* an owner that is not there */
	EXPECT_ERRNO(futex(&pi_word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0), ESRCH);
}

/* ---- Robust lists. ---- */

CASE(robust_list)
{
	struct {
		struct robust_list_head head;
		struct robust_list entry;
		unsigned word, pending;
	} *r = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	EXPECT_ERRNO(syscall(SYS_set_robust_list, &r->head, 5), EINVAL);
	CHILD(p) {
		r->word = gettid() | FUTEX_WAITERS;
		r->pending = gettid();
		r->head.list.next = &r->entry;
		r->entry.next = &r->head.list;
		r->head.futex_offset = (char *)&r->word - (char *)&r->entry;
		r->head.list_op_pending = (struct robust_list *)((char *)&r->pending - r->head.futex_offset);
		EXPECT_OK(syscall(SYS_set_robust_list, &r->head, sizeof r->head));
		void *head;
		size_t size;
		EXPECT_OK(syscall(SYS_get_robust_list, 0, &head, &size));
		CHECK(head == &r->head);
		EXPECT_EQ(size, sizeof r->head);
	}
	JOIN(p);
	EXPECT_EQ(r->word, FUTEX_OWNER_DIED | FUTEX_WAITERS);
	EXPECT_EQ(r->pending, FUTEX_OWNER_DIED);
	EXPECT_ERRNO(syscall(SYS_get_robust_list, 999999999, &r, &r), ESRCH);
	CHILD(q) { /* a list that never ends, and one that leads nowhere */
		r->entry.next = &r->entry;
		EXPECT_OK(syscall(SYS_set_robust_list, &r->head, sizeof r->head));
	}
	JOIN(q);
	CHILD(s) {
		EXPECT_OK(syscall(SYS_set_robust_list, (void *)0x1000, sizeof r->head));
	}
	JOIN(s);
}

static void *die_holding(void *arg)
{
	pthread_mutex_lock(arg);
	return NULL;
}

CASE(robust_mutex)
{
	pthread_mutex_t *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t attr;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(m, &attr);
	CHILD(p) {
		pthread_mutex_lock(m);
	}
	JOIN(p);
	EXPECT_EQ(pthread_mutex_lock(m), EOWNERDEAD);
	EXPECT_EQ(pthread_mutex_consistent(m), 0);
	EXPECT_EQ(pthread_mutex_unlock(m), 0);
	thread_join(thread_start(die_holding, m));
	EXPECT_EQ(pthread_mutex_lock(m), EOWNERDEAD);
	EXPECT_EQ(pthread_mutex_unlock(m), 0); /* not made consistent */
	EXPECT_EQ(pthread_mutex_lock(m), ENOTRECOVERABLE);
}

CASE(robust_mutex_of_one_that_waits)
{
	pthread_mutex_t *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t attr;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(m, &attr);
	struct gate held = gate_new();
	CHILD(p) {
		pthread_mutex_lock(m);
		gate_open(&held);
		for (;;)
			pause();
	}
	gate_wait(&held);
	CHILD(q) {
		EXPECT_EQ(pthread_mutex_lock(m), EOWNERDEAD); /* woken by the death */
	}
	wait_asleep(q);
	EXPECT_OK(kill(p, SIGKILL));
	EXPECT_KILLED(p, SIGKILL);
	JOIN(q);
}

/* ---- Waiting for many. ---- */

struct waitv {
	uint64_t val, uaddr;
	uint32_t flags, reserved;
};

CASE(wait_for_several)
{
	unsigned a = 0, b = 0;
	struct waitv w[2] = {{0, (uintptr_t)&a, 2 | 128, 0}, {0, (uintptr_t)&b, 2 | 128, 0}};
	struct timespec past = {1, 0};
	long r = syscall(449, w, 2, 0, &past, CLOCK_MONOTONIC);
	if (r < 0 && errno == ENOSYS)
		SKIP("no futex_waitv");
	CHECK(r == -1 && errno == ETIMEDOUT);
	EXPECT_ERRNO(syscall(449, w, 0, 0, NULL, CLOCK_MONOTONIC), EINVAL);
	EXPECT_ERRNO(syscall(449, w, 129, 0, NULL, CLOCK_MONOTONIC), EINVAL);
	EXPECT_ERRNO(syscall(449, w, 2, 1, NULL, CLOCK_MONOTONIC), EINVAL);
	EXPECT_ERRNO(syscall(449, w, 2, 0, &past, CLOCK_BOOTTIME), EINVAL);
	b = 1;
	EXPECT_ERRNO(syscall(449, w, 2, 0, NULL, CLOCK_MONOTONIC), EAGAIN);
	b = 0;
	w[1].reserved = 1;
	EXPECT_ERRNO(syscall(449, w, 2, 0, NULL, CLOCK_MONOTONIC), EINVAL);
	w[1].reserved = 0;
	unsigned *s = shared_words();
	w[0] = (struct waitv){0, (uintptr_t)s, 2, 0};
	w[1] = (struct waitv){0, (uintptr_t)(s + 1), 2, 0};
	CHILD(p) {
		EXPECT_EQ(syscall(449, w, 2, 0, NULL, CLOCK_MONOTONIC), 1); /* which one it was */
	}
	wake_until(s + 1, FUTEX_WAKE, 1, 0);
	JOIN(p);
}

/* ---- All together. ---- */

static unsigned mutex_word;
static long counter;

static void *contend(void *arg)
{
	(void)arg;
	for (int i = 0; i < 5000; i++) {
		unsigned was = 0;
		if (!__atomic_compare_exchange_n(&mutex_word, &was, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			while (__atomic_exchange_n(&mutex_word, 2, __ATOMIC_ACQUIRE) != 0)
				futex(&mutex_word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
		counter++;
		if (__atomic_exchange_n(&mutex_word, 0, __ATOMIC_RELEASE) == 2)
			futex(&mutex_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	}
	return NULL;
}

CASE(a_mutex_of_eight)
{
	pthread_t t[8];
	for (int i = 0; i < 8; i++)
		t[i] = thread_start(contend, NULL);
	for (int i = 0; i < 8; i++)
		thread_join(t[i]);
	EXPECT_EQ(counter, 40000);
}
