/* Clocks, sleeping, and the timers of processes. */
#include "../harness.h"
#include <sched.h>
#include <sys/times.h>

static int64_t clock_ns(clockid_t c)
{
	struct timespec t;
	EXPECT_OK(clock_gettime(c, &t));
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void burn_ms(int ms)
{
	int64_t end = clock_ns(CLOCK_THREAD_CPUTIME_ID) + ms * 1000000LL;
	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end)
		for (volatile int i = 0; i < 10000; i++)
			;
}

CASE(clocks_agree)
{
	int64_t vdso = clock_ns(CLOCK_MONOTONIC);
	struct timespec t;
	EXPECT_OK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t));
	CHECK(t.tv_sec * 1000000000LL + t.tv_nsec >= vdso);
	CHECK(clock_ns(CLOCK_MONOTONIC) >= t.tv_sec * 1000000000LL + t.tv_nsec);
	struct timeval tv;
	int64_t real = clock_ns(CLOCK_REALTIME);
	EXPECT_OK(syscall(SYS_gettimeofday, &tv, NULL));
	CHECK(tv.tv_sec * 1000000000LL + tv.tv_usec * 1000LL - real >= -1000);
	CHECK(time(NULL) - tv.tv_sec <= 1);
	CHECK(clock_ns(CLOCK_BOOTTIME) >= clock_ns(CLOCK_MONOTONIC) - 1000000000LL);
	EXPECT_ERRNO(clock_gettime(99, &t), EINVAL);
	EXPECT_ERRNO(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, 8), EFAULT);
	EXPECT_OK(syscall(SYS_clock_getres, CLOCK_MONOTONIC, NULL));
	EXPECT_OK(clock_getres(CLOCK_PROCESS_CPUTIME_ID, &t));
	EXPECT_EQ(t.tv_nsec, 1);
	EXPECT_OK(clock_getres(CLOCK_REALTIME_COARSE, &t));
	RECORD("coarse", "%ld", t.tv_nsec);
	struct timespec bad = {0, -1};
	EXPECT_ERRNO(clock_settime(CLOCK_REALTIME, &bad), EINVAL);
	EXPECT_ERRNO(clock_settime(CLOCK_MONOTONIC, &t), EINVAL);
}

CASE(cpu_clocks)
{
	int64_t thread = clock_ns(CLOCK_THREAD_CPUTIME_ID), process = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	burn_ms(30);
	CHECK(clock_ns(CLOCK_THREAD_CPUTIME_ID) - thread >= 30000000);
	CHECK(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - process >= 30000000);
	thread = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	sleep_ms(100);
	CHECK(clock_ns(CLOCK_THREAD_CPUTIME_ID) - thread < 50000000); /* sleep costs none */
	clockid_t c;
	EXPECT_EQ(clock_getcpuclockid(0, &c), 0);
	CHECK(clock_ns(c) > 0);
	CHILD(p) {
		burn_ms(50);
		sleep_ms(3000);
	}
	EXPECT_EQ(clock_getcpuclockid(p, &c), 0);
	for (int64_t end = now_ms() + 2500; clock_ns(c) < 50000000 && now_ms() < end;)
		sleep_ms(5);
	CHECK(clock_ns(c) >= 50000000);
	EXPECT_OK(kill(p, SIGKILL));
	EXPECT_KILLED(p, SIGKILL);
	struct rusage ru;
	EXPECT_OK(getrusage(RUSAGE_CHILDREN, &ru));
	CHECK(ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec + ru.ru_stime.tv_sec * 1000000 + ru.ru_stime.tv_usec >= 49000);
	struct tms t;
	CHECK(times(&t) > 0);
	CHECK(t.tms_cutime + t.tms_cstime >= 4);
	EXPECT_ERRNO(syscall(SYS_getrusage, 7, &ru), EINVAL);
	EXPECT_OK(getrusage(RUSAGE_THREAD, &ru));
	CHECK(ru.ru_maxrss > 0);
}

CASE(sleeping)
{
	struct timespec t = {0, 20000000}, bad = {0, 1000000000}, rem = {7, 7};
	int64_t start = now_ms();
	EXPECT_OK(nanosleep(&t, &rem));
	CHECK(now_ms() - start >= 20);
	EXPECT_EQ(rem.tv_sec, 7);
	EXPECT_ERRNO(nanosleep(&bad, NULL), EINVAL);
	EXPECT_ERRNO(syscall(SYS_nanosleep, 8, NULL), EFAULT);
	EXPECT_ERRNO(syscall(SYS_clock_nanosleep, 99, 0, &t, NULL), EINVAL);
	EXPECT_ERRNO(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC_RAW, 0, &t, NULL), EOPNOTSUPP);
	EXPECT_ERRNO(syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &t, NULL), EOPNOTSUPP);
	struct timespec until;
	for (int c = 0; c < 2; c++) {
		clockid_t id = c ? CLOCK_REALTIME : CLOCK_MONOTONIC;
		int64_t end = clock_ns(id) + 20000000;
		until = (struct timespec){end / 1000000000, end % 1000000000};
		EXPECT_EQ(clock_nanosleep(id, TIMER_ABSTIME, &until, NULL), 0);
		CHECK(clock_ns(id) >= end);
		EXPECT_EQ(clock_nanosleep(id, TIMER_ABSTIME, &t, NULL), 0); /* long past */
	}
	t = (struct timespec){10, 0};
	interrupt_every(30);
	EXPECT_ERRNO(nanosleep(&t, &rem), EINTR);
	CHECK(rem.tv_sec == 9 && rem.tv_nsec > 0);
	EXPECT_EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &rem), EINTR);
	CHECK(rem.tv_sec == 9);
	rem.tv_sec = 7;
	until = (struct timespec){clock_ns(CLOCK_MONOTONIC) / 1000000000 + 10, 0};
	EXPECT_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, &rem), EINTR);
	EXPECT_EQ(rem.tv_sec, 7);
	interrupt_stop();
}

CASE(sleep_goes_on_after_a_stop)
{
	CHILD(p) {
		int64_t start = now_ms();
		struct timespec t = {0, 300000000};
		EXPECT_OK(nanosleep(&t, NULL));
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

CASE(interval_timers)
{
	struct itimerval v = {{0, 10000}, {0, 5000}}, old;
	count_signal(SIGALRM, 0);
	count_signal(SIGVTALRM, 0);
	count_signal(SIGPROF, 0);
	EXPECT_OK(setitimer(ITIMER_REAL, &v, &old));
	EXPECT_EQ(old.it_value.tv_usec + old.it_interval.tv_usec, 0);
	while (signals_seen[SIGALRM] < 5)
		pause();
	EXPECT_OK(getitimer(ITIMER_REAL, &old));
	EXPECT_EQ(old.it_interval.tv_usec, 10000);
	CHECK(old.it_value.tv_sec == 0 && old.it_value.tv_usec <= 10000 && old.it_value.tv_usec > 0);
	EXPECT_OK(setitimer(ITIMER_REAL, NULL, NULL)); /* taken as zero */
	EXPECT_OK(getitimer(ITIMER_REAL, &old));
	EXPECT_EQ(old.it_value.tv_usec, 0);
	v.it_value.tv_usec = 1000000;
	EXPECT_ERRNO(setitimer(ITIMER_REAL, &v, NULL), EINVAL);
	EXPECT_ERRNO(setitimer(3, NULL, NULL), EINVAL);
	EXPECT_ERRNO(getitimer(-1, &old), EINVAL);
	v = (struct itimerval){{0, 10000}, {0, 10000}};
	EXPECT_OK(setitimer(ITIMER_VIRTUAL, &v, NULL));
	EXPECT_OK(setitimer(ITIMER_PROF, &v, NULL));
	int64_t end = now_ms() + 10000;
	while ((signals_seen[SIGVTALRM] < 3 || signals_seen[SIGPROF] < 3) && now_ms() < end)
		for (volatile int i = 0; i < 100000; i++)
			;
	CHECK(signals_seen[SIGVTALRM] >= 3 && signals_seen[SIGPROF] >= 3);
	v = (struct itimerval){{0, 0}, {0, 200000}};
	EXPECT_OK(setitimer(ITIMER_VIRTUAL, &v, NULL));
	EXPECT_OK(setitimer(ITIMER_PROF, &v, NULL));
	int seen = signals_seen[SIGVTALRM] + signals_seen[SIGPROF];
	sleep_ms(400);
	EXPECT_EQ(signals_seen[SIGVTALRM] + signals_seen[SIGPROF], seen); /* asleep, no CPU time */
	/* Timers are not inherited, alarm(2) is ITIMER_REAL. */
	EXPECT_EQ(alarm(100), 0);
	CHILD(p) EXPECT_EQ(alarm(0), 0);
	JOIN(p);
	EXPECT_EQ(alarm(0), 100);
}

static volatile sig_atomic_t timer_code, timer_value, timer_overruns;

static void on_timer(int sig, siginfo_t *si, void *ctx __attribute__((unused)))
{
	timer_code = si->si_code;
	timer_value = si->si_value.sival_int;
	if (si->si_overrun > timer_overruns)
		timer_overruns = si->si_overrun; /* others may come before it is looked at */
	signals_seen[sig]++;
}

CASE(posix_timers)
{
	struct sigaction sa = {.sa_sigaction = on_timer, .sa_flags = SA_SIGINFO};
	EXPECT_OK(sigaction(SIGUSR1, &sa, NULL));
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	ev.sigev_value.sival_int = 42;
	int id, id2;
	EXPECT_OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
	EXPECT_OK(syscall(SYS_timer_create, CLOCK_REALTIME, NULL, &id2));
	CHECK(id != id2);
	struct itimerspec v = {{0, 0}, {0, 10000000}}, old;
	EXPECT_OK(syscall(SYS_timer_settime, id, 0, &v, &old));
	EXPECT_EQ(old.it_value.tv_nsec, 0);
	while (!signals_seen[SIGUSR1])
		pause();
	EXPECT_EQ(timer_code, SI_TIMER);
	EXPECT_EQ(timer_value, 42);
	EXPECT_EQ(timer_overruns, 0);
	EXPECT_OK(syscall(SYS_timer_gettime, id, &old));
	EXPECT_EQ(old.it_value.tv_nsec, 0);
	/* Blocked, it counts what it would have sent. */
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	EXPECT_OK(sigprocmask(SIG_BLOCK, &set, NULL));
	v.it_interval.tv_nsec = 1000000;
	v.it_value.tv_nsec = 1000000;
	EXPECT_OK(syscall(SYS_timer_settime, id, 0, &v, NULL));
	sleep_ms(50);
	EXPECT_OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
	CHECK(timer_overruns >= 40);
	CHECK(syscall(SYS_timer_getoverrun, id) >= 0);
	EXPECT_OK(syscall(SYS_timer_gettime, id, &old));
	EXPECT_EQ(old.it_interval.tv_nsec, 1000000);
	EXPECT_OK(syscall(SYS_timer_delete, id));
	EXPECT_ERRNO(syscall(SYS_timer_delete, id), EINVAL);
	EXPECT_ERRNO(syscall(SYS_timer_gettime, id, &old), EINVAL);
	EXPECT_ERRNO(syscall(SYS_timer_getoverrun, id), EINVAL);
	EXPECT_ERRNO(syscall(SYS_timer_settime, id, 0, &v, NULL), EINVAL);
	v.it_value.tv_nsec = 1000000000;
	EXPECT_ERRNO(syscall(SYS_timer_settime, id2, 0, &v, NULL), EINVAL);
	EXPECT_ERRNO(syscall(SYS_timer_settime, id2, 0, NULL, NULL), EINVAL);
	EXPECT_ERRNO(syscall(SYS_timer_create, 99, NULL, &id), EINVAL);
	EXPECT_ERRNO(syscall(SYS_timer_create, CLOCK_MONOTONIC_RAW, NULL, &id), EOPNOTSUPP);
	EXPECT_ERRNO(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, 8), EFAULT);
	ev.sigev_signo = 65;
	EXPECT_ERRNO(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id), EINVAL);
	ev.sigev_signo = SIGUSR1;
	ev.sigev_notify = 9;
	EXPECT_ERRNO(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id), EINVAL);
}

static void *idle_thread(void *arg)
{
	*(volatile pid_t *)arg = gettid();
	pause();
	return NULL;
}

static volatile sig_atomic_t handler_tid;
static void note_tid(int sig)
{
	handler_tid = gettid();
	signals_seen[sig]++;
}

CASE(posix_timers_of_threads_and_cpu_time)
{
	volatile pid_t tid = 0;
	pthread_t t = thread_start(idle_thread, (void *)&tid);
	while (!tid)
		sched_yield();
	struct sigaction sa = {.sa_handler = note_tid};
	EXPECT_OK(sigaction(SIGUSR2, &sa, NULL));
	struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR2};
	ev._sigev_un._tid = tid;
	int id;
	EXPECT_OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
	struct itimerspec v = {{0, 0}, {0, 1000000}}, old;
	EXPECT_OK(syscall(SYS_timer_settime, id, 0, &v, NULL));
	thread_join(t);
	EXPECT_EQ(handler_tid, tid);
	ev._sigev_un._tid = getppid();
	EXPECT_ERRNO(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id), EINVAL);
	/* On CPU time. */
	ev.sigev_notify = SIGEV_SIGNAL;
	EXPECT_OK(syscall(SYS_timer_create, CLOCK_PROCESS_CPUTIME_ID, &ev, &id));
	v.it_value.tv_nsec = 30000000;
	signals_seen[SIGUSR2] = 0;
	int64_t start = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	EXPECT_OK(syscall(SYS_timer_settime, id, 0, &v, NULL));
	while (!signals_seen[SIGUSR2] && clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start < 5000000000)
		for (volatile int i = 0; i < 10000; i++)
			;
	EXPECT_EQ(signals_seen[SIGUSR2], 1);
	CHECK(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start >= 30000000);
	/* SIGEV_NONE can only be read. */
	ev.sigev_notify = SIGEV_NONE;
	EXPECT_OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
	v = (struct itimerspec){{0, 5000000}, {0, 5000000}};
	EXPECT_OK(syscall(SYS_timer_settime, id, 0, &v, NULL));
	sleep_ms(12);
	EXPECT_OK(syscall(SYS_timer_gettime, id, &old));
	CHECK(old.it_value.tv_nsec > 0 && old.it_value.tv_nsec <= 5000000);
	EXPECT_EQ(signals_seen[SIGUSR2], 1);
}

CASE(timers_and_exec)
{
	count_signal(SIGALRM, 0);
	CHILD(p) {
		EXPECT_EQ(alarm(50), 0);
		int id;
		struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
		EXPECT_OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
		struct itimerspec v = {{0, 0}, {0, 50000000}};
		EXPECT_OK(syscall(SYS_timer_settime, id, 0, &v, NULL));
		execl("/bin/sleep", "sleep", "0.2", NULL); /* would die of SIGUSR1 */
	}
	JOIN(p);
	CHILD(q) {
		struct itimerval v = {{0, 0}, {0, 50000}};
		EXPECT_OK(setitimer(ITIMER_REAL, &v, NULL));
		execl("/bin/sleep", "sleep", "5", NULL); /* dies of SIGALRM */
	}
	EXPECT_KILLED(q, SIGALRM);
}

CASE(scheduling_calls)
{
	struct sched_param sp = {0};
	EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
	EXPECT_OK(sched_setscheduler(0, SCHED_BATCH, &sp));
	CHILD(p) EXPECT_EQ(sched_getscheduler(0), SCHED_BATCH);
	JOIN(p);
	EXPECT_OK(sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &sp));
	EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER | SCHED_RESET_ON_FORK);
	sp.sched_priority = 1;
	EXPECT_ERRNO(sched_setscheduler(0, SCHED_OTHER, &sp), EINVAL);
	EXPECT_ERRNO(sched_setscheduler(0, 77, &sp), EINVAL);
	EXPECT_ERRNO(sched_setscheduler(-1, SCHED_OTHER, &sp), EINVAL);
	EXPECT_ERRNO(sched_getscheduler(4194303), ESRCH);
	EXPECT_EQ(sched_get_priority_max(SCHED_FIFO), 99);
	EXPECT_EQ(sched_get_priority_min(SCHED_RR), 1);
	EXPECT_EQ(sched_get_priority_max(SCHED_OTHER), 0);
	EXPECT_ERRNO(sched_get_priority_max(4), EINVAL);
	EXPECT_OK(setpriority(PRIO_PROCESS, 0, 5));
	EXPECT_EQ(getpriority(PRIO_PROCESS, 0), 5);
	CHILD(q) EXPECT_EQ(getpriority(PRIO_PROCESS, 0), 5);
	JOIN(q);
	EXPECT_OK(setpriority(PRIO_PROCESS, 0, 100));
	EXPECT_EQ(getpriority(PRIO_PROCESS, 0), 19);
	EXPECT_ERRNO(setpriority(3, 0, 0), EINVAL);
	EXPECT_ERRNO(getpriority(PRIO_PROCESS, 4194303), ESRCH);
	cpu_set_t set;
	CPU_ZERO(&set);
	EXPECT_OK(sched_getaffinity(0, sizeof set, &set));
	int cpus = CPU_COUNT(&set);
	CHECK(cpus >= 1);
	EXPECT_ERRNO(syscall(SYS_sched_getaffinity, 0, 7, &set), EINVAL);
	cpu_set_t one;
	CPU_ZERO(&one);
	EXPECT_ERRNO(sched_setaffinity(0, sizeof one, &one), EINVAL);
	CPU_SET(0, &one);
	EXPECT_OK(sched_setaffinity(0, sizeof one, &one));
	CPU_ZERO(&set);
	EXPECT_OK(sched_getaffinity(0, sizeof set, &set));
	CHECK(CPU_EQUAL(&set, &one));
	EXPECT_OK(sched_yield());
}

CASE(cpu_limit)
{
	count_signal(SIGXCPU, 0);
	struct rlimit r = {1, 3};
	CHILD(p) {
		EXPECT_OK(setrlimit(RLIMIT_CPU, &r));
		int64_t start = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
		while (!signals_seen[SIGXCPU])
			for (volatile int i = 0; i < 100000; i++)
				;
		CHECK(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start < 1500000000);
		EXPECT_OK(getrlimit(RLIMIT_CPU, &r));
		EXPECT_EQ(r.rlim_cur, 2); /* moved on, to signal again */
		r.rlim_max = 2;
		EXPECT_OK(setrlimit(RLIMIT_CPU, &r));
		for (;;)
			;
	}
	EXPECT_KILLED(p, SIGKILL);
}
