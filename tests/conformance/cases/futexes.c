/* futex(2): waiting and waking, moving waiters, ownership, and what the end of a thread does. */
#include "../harness.h"
#include <linux/futex.h>

#define MONO_NS 1000000000L

static long futex(uint32_t *addr, int op, uint32_t val, const struct timespec *t, uint32_t *addr2, uint32_t val3)
{
	return syscall(SYS_futex, addr, op, val, t, addr2, val3);
}

static long futex_n(uint32_t *addr, int op, uint32_t val, unsigned long val2, uint32_t *addr2, uint32_t val3)
{
	return syscall(SYS_futex, addr, op, val, val2, addr2, val3);
}

static uint32_t *shared_words(void)
{
	return EXPECT_OK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

CASE(futex_errors)
{
	uint32_t w[4] = {1, 2, 3, 4};
	struct timespec bad = {0, 1000000000}, neg = {-1, 0}, none = {0, 0};
	EXPECT_ERRNO(futex(w, FUTEX_WAIT, 0, NULL, NULL, 0), EAGAIN);
	EXPECT_ERRNO(futex(w, FUTEX_WAIT, 0, &bad, NULL, 0), EINVAL);
	EXPECT_ERRNO(futex(w, FUTEX_WAIT, 0, &neg, NULL, 0), EINVAL);
	EXPECT_ERRNO(futex(w, FUTEX_WAIT, 0, (void *)8, NULL, 0), EFAULT);
	EXPECT_ERRNO(futex(w, FUTEX_WAIT, 1, &none, NULL, 0), ETIMEDOUT);
	EXPECT_ERRNO(futex((void *)((char *)w + 1), FUTEX_WAIT, 1, NULL, NULL, 0), EINVAL);
	EXPECT_ERRNO(futex((void *)((char *)w + 2), FUTEX_WAKE, 1, NULL, NULL, 0), EINVAL);
	EXPECT_ERRNO(futex((void *)16, FUTEX_WAIT, 1, NULL, NULL, 0), EFAULT);
	EXPECT_ERRNO(futex((void *)16, FUTEX_WAKE, 1, NULL, NULL, 0), EFAULT);
	EXPECT_EQ(futex((void *)16, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0); /* nobody looks at the page */
	EXPECT_ERRNO(futex((void *)~0xfffUL, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), EFAULT);
	EXPECT_ERRNO(futex(w, FUTEX_WAIT_BITSET, 1, &none, NULL, 0), EINVAL);
	EXPECT_ERRNO(futex(w, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0), EINVAL);
	EXPECT_ERRNO(futex(w, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, 0), ENOSYS);
	EXPECT_ERRNO(futex(w, FUTEX_WAIT | FUTEX_CLOCK_REALTIME, 1, &none, NULL, 0), ENOSYS);
	EXPECT_ERRNO(futex(w, 77, 1, NULL, NULL, 0), ENOSYS);
	EXPECT_ERRNO(futex_n(w, FUTEX_CMP_REQUEUE, 1, 1, w + 1, 7), EAGAIN);
	EXPECT_ERRNO(futex_n(w, FUTEX_CMP_REQUEUE, -1, 1, w + 1, 1), EINVAL);
	EXPECT_ERRNO(futex_n(w, FUTEX_REQUEUE, 1, -1, w + 1, 1), EINVAL);
	EXPECT_EQ(futex_n(w, FUTEX_CMP_REQUEUE, 1, 1, w + 1, 1), 0);
	EXPECT_ERRNO(futex_n(w, FUTEX_WAKE_OP, 1, 1, w + 1, FUTEX_OP(7, 1, FUTEX_OP_CMP_EQ, 0)), ENOSYS);
	EXPECT_ERRNO(futex_n(w, FUTEX_WAKE_OP, 1, 1, w + 1, FUTEX_OP(FUTEX_OP_ADD, 1, 9, 0)), ENOSYS);
}

/* Often: after some calls from one place they may be served in another way. */
CASE(futex_waits_for_what_is_over)
{
	uint32_t w = 1;
	struct timespec bad = {0, 1000000000}, neg = {-1, 999999999}, past = {0, 0}, good = {0, 999999999};
	for (int i = 0; i < 100; i++) {
		EXPECT_ERRNO(futex(&w, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EAGAIN);
		EXPECT_ERRNO(futex(&w, FUTEX_WAIT_PRIVATE, 0, &good, NULL, 0), EAGAIN);
		EXPECT_ERRNO(futex(&w, FUTEX_WAIT_BITSET_PRIVATE, 0, &past, NULL, 1), EAGAIN);
		EXPECT_ERRNO(futex(&w, FUTEX_WAIT_PRIVATE | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0), ENOSYS);
		EXPECT_ERRNO(futex(&w, FUTEX_WAIT_BITSET_PRIVATE, 0, &past, NULL, 0), EINVAL);
		EXPECT_ERRNO(futex(&w, FUTEX_WAIT_BITSET_PRIVATE, 1, &past, NULL, 1), ETIMEDOUT);
		EXPECT_ERRNO(futex(&w, FUTEX_WAIT_PRIVATE, 0, &bad, NULL, 0), EINVAL);
		EXPECT_ERRNO(futex(&w, FUTEX_WAIT_PRIVATE, 0, &neg, NULL, 0), EINVAL);
		EXPECT_ERRNO(futex(&w, FUTEX_WAIT_PRIVATE, 0, (void *)8, NULL, 0), EFAULT);
		EXPECT_ERRNO(futex((void *)16, FUTEX_WAIT_PRIVATE, 0, &good, NULL, 0), EFAULT);
	}
}

CASE(futex_wake_op_changes_the_word)
{
	uint32_t w = 0, x = 12;
	EXPECT_EQ(futex_n(&w, FUTEX_WAKE_OP, 1, 1, &x, FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 0)), 0);
	EXPECT_EQ(x, 17);
	EXPECT_EQ(futex_n(&w, FUTEX_WAKE_OP, 1, 1, &x, FUTEX_OP(FUTEX_OP_ADD, -1, FUTEX_OP_CMP_EQ, 0)), 0);
	EXPECT_EQ(x, 16);
	EXPECT_EQ(futex_n(&w, FUTEX_WAKE_OP, 1, 1, &x, FUTEX_OP((FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT), 3, 0, 0)), 0);
	EXPECT_EQ(x, 24);
	EXPECT_EQ(futex_n(&w, FUTEX_WAKE_OP, 1, 1, &x, FUTEX_OP(FUTEX_OP_ANDN, 8, 0, 0)), 0);
	EXPECT_EQ(x, 16);
	EXPECT_EQ(futex_n(&w, FUTEX_WAKE_OP, 1, 1, &x, FUTEX_OP(FUTEX_OP_XOR, 0x7ff, 0, 0)), 0);
	EXPECT_EQ(x, 0x7ef);
	EXPECT_EQ(futex_n(&w, FUTEX_WAKE_OP, 1, 1, &x, FUTEX_OP(FUTEX_OP_SET, 9, 0, 0)), 0);
	EXPECT_EQ(x, 9);
}

struct waiter {
	uint32_t *word;
	uint32_t val, bits;
	int op;
	uint32_t *word2;
	struct timespec *until;
	volatile pid_t tid;
	long result;
	int err;
};

static void *wait_on(void *arg)
{
	struct waiter *w = arg;
	w->tid = gettid();
	w->result = futex(w->word, w->op, w->val, w->until, w->word2, w->bits);
	w->err = errno;
	return NULL;
}

static pthread_t start_waiter(struct waiter *w)
{
	w->tid = 0;
	pthread_t t = thread_start(wait_on, w);
	while (!w->tid)
		sched_yield();
	wait_asleep(w->tid);
	return t;
}

/* Wakes until somebody was woken: the waiter may not have been there yet. */
static long wake_some(uint32_t *w, int op, int n, uint32_t bits)
{
	for (;;) {
		long r = EXPECT_OK(futex(w, op, n, NULL, NULL, bits));
		if (r > 0)
			return r;
		sleep_ms(1);
	}
}

CASE(futex_wakes_by_bits)
{
	uint32_t word = 5;
	struct waiter a = {.word = &word, .val = 5, .bits = 1, .op = FUTEX_WAIT_BITSET_PRIVATE};
	struct waiter b = {.word = &word, .val = 5, .bits = 2, .op = FUTEX_WAIT_BITSET_PRIVATE};
	pthread_t ta = start_waiter(&a), tb = start_waiter(&b);
	EXPECT_EQ(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 9, NULL, NULL, 4), 0);
	EXPECT_EQ(futex(&word, FUTEX_WAKE, 9, NULL, NULL, 0), 0); /* shared is another name */
	EXPECT_EQ(wake_some(&word, FUTEX_WAKE_BITSET_PRIVATE, 9, 2), 1);
	thread_join(tb);
	EXPECT_EQ(b.result, 0);
	EXPECT_EQ(wake_some(&word, FUTEX_WAKE_PRIVATE, 9, 0), 1);
	thread_join(ta);
	EXPECT_EQ(a.result, 0);
}

CASE(futex_requeues)
{
	uint32_t w1 = 1, w2 = 2;
	enum { N = 4 };
	struct waiter w[N];
	pthread_t t[N];
	for (int i = 0; i < N; i++) {
		w[i] = (struct waiter){.word = &w1, .val = 1, .op = FUTEX_WAIT_PRIVATE};
		t[i] = start_waiter(&w[i]);
	}
	sleep_ms(20);
	EXPECT_EQ(futex_n(&w1, FUTEX_CMP_REQUEUE_PRIVATE, 1, 2, &w2, 1), 3);
	EXPECT_EQ(futex(&w1, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0), 1);
	EXPECT_EQ(futex(&w2, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0), 2);
	for (int i = 0; i < N; i++) {
		thread_join(t[i]);
		EXPECT_EQ(w[i].result, 0);
	}
}

CASE(futex_requeued_waiter_times_out)
{
	uint32_t w1 = 1, w2 = 2;
	struct timespec soon = {1, 500000000};
	struct waiter w = {.word = &w1, .val = 1, .op = FUTEX_WAIT_PRIVATE, .until = &soon};
	pthread_t t = thread_start(wait_on, &w);
	int64_t end = now_ms() + 1000;
	while (futex_n(&w1, FUTEX_CMP_REQUEUE_PRIVATE, 0, 9, &w2, 1) != 1 && now_ms() < end)
		sleep_ms(1);
	CHECK(now_ms() < end);
	thread_join(t);
	EXPECT_EQ(w.result, -1);
	EXPECT_EQ(w.err, ETIMEDOUT);
	EXPECT_EQ(futex(&w2, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0), 0);
}

CASE(futex_timeouts)
{
	uint32_t word = 0;
	struct timespec t = {0, 30000000}, now;
	int64_t start = now_ms();
	EXPECT_ERRNO(futex(&word, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0), ETIMEDOUT);
	CHECK(now_ms() - start >= 30);
	clock_gettime(CLOCK_MONOTONIC, &now);
	start = now_ms();
	now.tv_sec += 1;
	now.tv_nsec -= 960000000;
	if (now.tv_nsec < 0) {
		now.tv_sec--;
		now.tv_nsec += 1000000000;
	}
	EXPECT_ERRNO(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &now, NULL, ~0u), ETIMEDOUT);
	CHECK(now_ms() - start >= 39);
	clock_gettime(CLOCK_REALTIME, &now);
	EXPECT_ERRNO(futex(&word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, &now, NULL, ~0u), ETIMEDOUT);
}

CASE(futex_interrupted)
{
	uint32_t word = 0;
	struct timespec t = {0, 100000000};
	interrupt_every(10);
	EXPECT_ERRNO(futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EINTR);
	EXPECT_ERRNO(futex(&word, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0), EINTR);
	EXPECT_ERRNO(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, 1), EINTR);
	interrupt_stop();
	/* A stop goes unnoticed: the wait goes on to the same end. */
	CHILD(p) {
		int64_t start = now_ms();
		struct timespec long_time = {0, 300000000};
		EXPECT_ERRNO(futex(&word, FUTEX_WAIT_PRIVATE, 0, &long_time, NULL, 0), ETIMEDOUT);
		int64_t took = now_ms() - start;
		CHECK(took >= 300 && took < 5000);
	}
	sleep_ms(20);
	for (int i = 0; i < 5; i++) {
		EXPECT_OK(kill(p, SIGSTOP));
		EXPECT_OK(waitpid(p, NULL, WUNTRACED));
		EXPECT_OK(kill(p, SIGCONT));
		sleep_ms(5);
	}
	JOIN(p);
}

CASE(futex_across_processes)
{
	uint32_t *w = shared_words();
	CHILD(p) {
		while (__atomic_load_n(w, __ATOMIC_SEQ_CST) == 0)
			futex(w, FUTEX_WAIT, 0, NULL, NULL, 0);
		w[1] = 7;
		futex(w + 1, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
	wait_asleep(p);
	__atomic_store_n(w, 1, __ATOMIC_SEQ_CST);
	futex(w, FUTEX_WAKE, 1, NULL, NULL, 0);
	while (__atomic_load_n(w + 1, __ATOMIC_SEQ_CST) == 0)
		futex(w + 1, FUTEX_WAIT, 0, NULL, NULL, 0);
	JOIN(p);
	/* Another mapping of the same memory is the same futex. */
	put_file("f", "0000");
	int fd = EXPECT_OK(open("f", O_RDWR));
	uint32_t *a = EXPECT_OK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	uint32_t *b = EXPECT_OK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	struct waiter w2 = {.word = a, .val = *a, .op = FUTEX_WAIT};
	pthread_t t = start_waiter(&w2);
	EXPECT_EQ(wake_some(b, FUTEX_WAKE, 9, 0), 1);
	thread_join(t);
	EXPECT_EQ(w2.result, 0);
}

struct futex_waitv_ {
	uint64_t val, uaddr;
	uint32_t flags, reserved;
};

static void *waitv_thread(void *arg)
{
	struct waiter *w = arg;
	struct futex_waitv_ v[3];
	for (int i = 0; i < 3; i++)
		v[i] = (struct futex_waitv_){i, (uintptr_t)(w->word + i), 2 | FUTEX_PRIVATE_FLAG, 0};
	w->tid = gettid();
	w->result = syscall(449, v, 3, 0, NULL, 0);
	w->err = errno;
	return NULL;
}

CASE(futex_waits_on_many)
{
	uint32_t words[3] = {0, 1, 2};
	struct futex_waitv_ v[3];
	for (int i = 0; i < 3; i++)
		v[i] = (struct futex_waitv_){i, (uintptr_t)(words + i), 2 | FUTEX_PRIVATE_FLAG, 0};
	struct timespec now;
	EXPECT_OK(clock_gettime(CLOCK_MONOTONIC, &now));
	EXPECT_ERRNO(syscall(449, v, 0, 0, NULL, 0), EINVAL);
	EXPECT_ERRNO(syscall(449, v, 129, 0, NULL, 0), EINVAL);
	EXPECT_ERRNO(syscall(449, NULL, 1, 0, NULL, 0), EINVAL);
	EXPECT_ERRNO(syscall(449, v, 3, 1, NULL, 0), EINVAL);
	EXPECT_ERRNO(syscall(449, v, 3, 0, &now, CLOCK_BOOTTIME), EINVAL);
	EXPECT_ERRNO(syscall(449, v, 3, 0, &now, CLOCK_MONOTONIC), ETIMEDOUT);
	v[2].val = 9;
	EXPECT_ERRNO(syscall(449, v, 3, 0, &now, CLOCK_MONOTONIC), EAGAIN);
	v[2].val = 2;
	v[1].flags = 0;
	EXPECT_ERRNO(syscall(449, v, 3, 0, &now, CLOCK_MONOTONIC), EINVAL);
	v[1].flags = 2;
	v[1].reserved = 1;
	EXPECT_ERRNO(syscall(449, v, 3, 0, &now, CLOCK_MONOTONIC), EINVAL);
	struct waiter w = {.word = words};
	pthread_t t = thread_start(waitv_thread, &w);
	while (!w.tid)
		sched_yield();
	wait_asleep(w.tid);
	EXPECT_EQ(wake_some(words + 1, FUTEX_WAKE_PRIVATE, 9, 0), 1);
	thread_join(t);
	EXPECT_EQ(w.result, 1);
	EXPECT_EQ(futex(words, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0), 0);
}

CASE(futex_pi_ownership)
{
	uint32_t w = 0;
	uint32_t me = gettid();
	EXPECT_OK(futex(&w, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	EXPECT_EQ(w, me);
	EXPECT_ERRNO(futex(&w, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0), EDEADLK);
	EXPECT_ERRNO(futex(&w, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0), EDEADLK);
	EXPECT_OK(futex(&w, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	EXPECT_EQ(w, 0);
	EXPECT_ERRNO(futex(&w, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0), EPERM);
	w = FUTEX_OWNER_DIED;
	EXPECT_OK(futex(&w, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	EXPECT_EQ(w, me | FUTEX_OWNER_DIED);
	EXPECT_OK(futex(&w, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	EXPECT_EQ(w, 0);
	CHILD(p) _exit(0);
	JOIN(p);
	w = p;
	EXPECT_ERRNO(futex(&w, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0), ESRCH);
}

static void *lock_pi(void *arg)
{
	struct waiter *w = arg;
	w->tid = gettid();
	w->result = futex(w->word, FUTEX_LOCK_PI_PRIVATE, 0, w->until, NULL, 0);
	w->err = errno;
	if (w->result == 0) {
		w->val = *w->word;
		futex(w->word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0);
	}
	return NULL;
}

CASE(futex_pi_hand_over)
{
	uint32_t word = 0;
	EXPECT_OK(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	struct waiter w = {.word = &word};
	pthread_t t = thread_start(lock_pi, &w);
	while (!(__atomic_load_n(&word, __ATOMIC_SEQ_CST) & FUTEX_WAITERS))
		sched_yield();
	wait_asleep(w.tid);
	sleep_ms(5);
	EXPECT_ERRNO(futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), EINVAL);
	EXPECT_OK(futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	thread_join(t);
	EXPECT_EQ(w.result, 0);
	EXPECT_EQ(w.val & FUTEX_TID_MASK, w.tid);
	EXPECT_EQ(word, 0);
	/* A wait for it ends at a time of the real clock. */
	EXPECT_OK(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	w.until = &until;
	t = thread_start(lock_pi, &w);
	thread_join(t);
	EXPECT_EQ(w.result, -1);
	EXPECT_EQ(w.err, ETIMEDOUT);
}

static void *wait_requeue_pi(void *arg)
{
	struct waiter *w = arg;
	w->tid = gettid();
	w->result = futex(w->word, FUTEX_WAIT_REQUEUE_PI_PRIVATE, w->val, NULL, w->word2, 0);
	w->err = errno;
	if (w->result == 0) {
		w->bits = *w->word2 & FUTEX_TID_MASK;
		futex(w->word2, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0);
	}
	return NULL;
}

CASE(futex_requeue_pi)
{
	uint32_t cond = 3, mutex = 0;
	enum { N = 3 };
	struct waiter w[N];
	pthread_t t[N];
	for (int i = 0; i < N; i++) {
		w[i] = (struct waiter){.word = &cond, .val = 3, .word2 = &mutex};
		t[i] = thread_start(wait_requeue_pi, &w[i]);
		while (!w[i].tid)
			sched_yield();
		wait_asleep(w[i].tid);
	}
	sleep_ms(20);
	EXPECT_ERRNO(futex_n(&cond, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, N, &mutex, 4), EAGAIN);
	EXPECT_ERRNO(futex_n(&cond, FUTEX_CMP_REQUEUE_PI_PRIVATE, 2, N, &mutex, 3), EINVAL);
	EXPECT_ERRNO(futex_n(&cond, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, N, &cond, 3), EINVAL);
	EXPECT_ERRNO(futex_n(&cond, FUTEX_CMP_REQUEUE_PRIVATE, 1, N, &mutex, 3), EINVAL);
	EXPECT_EQ(futex_n(&cond, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, N, &mutex, 3), N);
	for (int i = 0; i < N; i++) {
		thread_join(t[i]);
		EXPECT_EQ(w[i].result, 0);
		EXPECT_EQ(w[i].bits, w[i].tid);
	}
	EXPECT_EQ(mutex, 0);
}

static void *lock_and_end(void *arg)
{
	EXPECT_EQ(pthread_mutex_lock(arg), 0);
	return NULL;
}

CASE(futex_robust_mutexes)
{
	for (int protocol = 0; protocol < 2; protocol++) {
		pthread_mutex_t *m = (void *)shared_words();
		pthread_mutexattr_t a;
		pthread_mutexattr_init(&a);
		pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
		pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
		pthread_mutexattr_setprotocol(&a, protocol ? PTHREAD_PRIO_INHERIT : PTHREAD_PRIO_NONE);
		EXPECT_EQ(pthread_mutex_init(m, &a), 0);
		thread_join(thread_start(lock_and_end, m));
		EXPECT_EQ(pthread_mutex_lock(m), EOWNERDEAD);
		EXPECT_EQ(pthread_mutex_consistent(m), 0);
		EXPECT_EQ(pthread_mutex_unlock(m), 0);
		/* One that waits already when the owner is killed. */
		struct gate g = gate_new();
		CHILD(owner) {
			EXPECT_EQ(pthread_mutex_lock(m), 0);
			gate_open(&g);
			pause();
		}
		gate_wait(&g);
		CHILD(p) {
			EXPECT_EQ(pthread_mutex_lock(m), EOWNERDEAD);
			EXPECT_EQ(pthread_mutex_consistent(m), 0);
			EXPECT_EQ(pthread_mutex_unlock(m), 0);
		}
		wait_asleep(p);
		EXPECT_OK(kill(owner, SIGKILL));
		EXPECT_KILLED(owner, SIGKILL);
		JOIN(p);
		EXPECT_EQ(pthread_mutex_lock(m), 0);
	}
}

CASE(robust_list_calls)
{
	void *head;
	size_t len;
	EXPECT_OK(syscall(SYS_get_robust_list, 0, &head, &len));
	EXPECT_EQ(len, 24);
	CHECK(head != NULL);
	EXPECT_ERRNO(syscall(SYS_set_robust_list, head, 23), EINVAL);
	EXPECT_OK(syscall(SYS_set_robust_list, head, 24));
	EXPECT_ERRNO(syscall(SYS_get_robust_list, 4194303, &head, &len), ESRCH);
	EXPECT_ERRNO(syscall(SYS_get_robust_list, 0, (void *)8, &len), EFAULT);
}

enum { THREADS = 4, ROUNDS = 2000 };
static pthread_mutex_t counter_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static int counter, turn;

static void *count_up(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&counter_lock);
		counter++;
		pthread_mutex_unlock(&counter_lock);
	}
	for (int i = 0; i < 200; i++) {
		pthread_mutex_lock(&counter_lock);
		while (turn % THREADS != (int)(intptr_t)arg)
			pthread_cond_wait(&turn_changed, &counter_lock);
		turn++;
		pthread_cond_broadcast(&turn_changed);
		pthread_mutex_unlock(&counter_lock);
	}
	return NULL;
}

CASE(mutexes_and_conditions_hold)
{
	pthread_t t[THREADS];
	for (int i = 0; i < THREADS; i++)
		t[i] = thread_start(count_up, (void *)(intptr_t)i);
	for (int i = 0; i < THREADS; i++)
		thread_join(t[i]);
	EXPECT_EQ(counter, THREADS * ROUNDS);
	EXPECT_EQ(turn, THREADS * 200);
}
