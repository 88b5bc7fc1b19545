/* Clocks and timers: what they count, how they fail, sleeps, intervals, POSIX timers, processor time. */
#include "waits.h"
#include <linux/futex.h>
#include <sys/times.h>
#include <sys/timex.h>

static int64_t nanos(clockid_t clock)
{
	struct timespec ts;
	EXPECT_OK(clock_gettime(clock, &ts));
	CHECK(ts.tv_nsec >= 0 && ts.tv_nsec < 1000000000);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Burns this much processor time of the calling thread. */
static void burn(int ms)
{
	int64_t end = nanos(CLOCK_THREAD_CPUTIME_ID) + ms * 1000000LL;
	while (nanos(CLOCK_THREAD_CPUTIME_ID) < end)
		;
}

CASE(clocks_go_forward)
{
	static const clockid_t clocks[] = {CLOCK_MONOTONIC,	     CLOCK_MONOTONIC_RAW,	CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME,
					   CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID};
	for (unsigned c = 0; c < sizeof clocks / sizeof *clocks; c++) {
		int64_t was = nanos(clocks[c]);
		for (int i = 0; i < 2000; i++) {
			struct timespec ts;
			/* By the library and by the call in turn: both must tell one time. */
			if (i % 2)
				EXPECT_OK(syscall(SYS_clock_gettime, clocks[c], &ts));
			else
				EXPECT_OK(clock_gettime(clocks[c], &ts));
			int64_t is = ts.tv_sec * 1000000000LL + ts.tv_nsec;
			CHECK(is >= was);
			was = is;
		}
	}
}

CASE(clocks_agree)
{
	int64_t a = nanos(CLOCK_REALTIME_COARSE), b = nanos(CLOCK_REALTIME), t = time(NULL);
	struct timeval tv;
	EXPECT_OK(gettimeofday(&tv, NULL));
	int64_t c = tv.tv_sec * 1000000000LL + tv.tv_usec * 1000LL;
	CHECK(a <= b && b - a < 1000000000);
	CHECK(c - b >= -1000 && c - b < 5000000000LL);
	CHECK(t - b / 1000000000 <= 1 && t - b / 1000000000 >= -1);
	CHECK(nanos(CLOCK_TAI) / 1000000000 - b / 1000000000 < 100);
	CHECK(nanos(CLOCK_BOOTTIME) - nanos(CLOCK_MONOTONIC) >= -1000000000);
	a = nanos(CLOCK_MONOTONIC);
	CHILD(p) {
		CHECK(nanos(CLOCK_MONOTONIC) >= a); /* one for all processes */
	}
	JOIN(p);
}

CASE(clock_errors)
{
	struct timespec ts = {0, 0};
	EXPECT_ERRNO(syscall(SYS_clock_gettime, 99, &ts), EINVAL);
	EXPECT_ERRNO(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, 8), EFAULT);
	EXPECT_ERRNO(syscall(SYS_clock_getres, 99, &ts), EINVAL);
	EXPECT_OK(syscall(SYS_clock_getres, CLOCK_MONOTONIC, NULL));
	EXPECT_OK(clock_getres(CLOCK_MONOTONIC, &ts));
	EXPECT_EQ(ts.tv_sec, 0);
	EXPECT_EQ(ts.tv_nsec, 1);
	EXPECT_ERRNO(clock_settime(CLOCK_MONOTONIC, &ts), EINVAL);
	ts.tv_nsec = -1;
	EXPECT_ERRNO(clock_settime(CLOCK_REALTIME, &ts), EINVAL);
	clockid_t c;
	EXPECT_EQ(clock_getcpuclockid(0, &c), 0);
	EXPECT_OK(clock_gettime(c, &ts));
	EXPECT_EQ(clock_getcpuclockid(999999999, &c), ESRCH);
}

CASE(setting_the_clock_needs_privilege)
{
	needs_root();
	CHILD(p) {
		become_user(4321, 4321);
		struct timespec ts;
		EXPECT_OK(clock_gettime(CLOCK_REALTIME, &ts));
		EXPECT_ERRNO(clock_settime(CLOCK_REALTIME, &ts), EPERM);
		struct timeval tv = {ts.tv_sec, 0};
		EXPECT_ERRNO(settimeofday(&tv, NULL), EPERM);
		struct timex tx = {.modes = ADJ_OFFSET};
		EXPECT_ERRNO(adjtimex(&tx), EPERM);
	}
	JOIN(p);
	struct timex tx = {.modes = 0};
	EXPECT_OK(adjtimex(&tx)); /* to look is free */
}

/* ---- Sleeps. ---- */

CASE(nanosleep_rules)
{
	struct timespec ts = {0, 20000000}, left = {77, 77};
	int64_t start = nanos(CLOCK_MONOTONIC);
	EXPECT_OK(nanosleep(&ts, &left));
	CHECK(nanos(CLOCK_MONOTONIC) - start >= 20000000);
	EXPECT_EQ(left.tv_sec, 77); /* only touched when interrupted */
	ts = (struct timespec){0, 1000000000};
	EXPECT_ERRNO(nanosleep(&ts, NULL), EINVAL);
	ts = (struct timespec){-1, 0};
	EXPECT_ERRNO(nanosleep(&ts, NULL), EINVAL);
	ts = (struct timespec){0, -1};
	EXPECT_ERRNO(nanosleep(&ts, NULL), EINVAL);
	EXPECT_ERRNO(nanosleep((void *)8, NULL), EFAULT);
	ts = (struct timespec){0, 0};
	EXPECT_OK(nanosleep(&ts, NULL));
	ts = (struct timespec){60, 0};
	interrupt_every(30);
	EXPECT_ERRNO(nanosleep(&ts, &left), EINTR);
	interrupt_stop();
	CHECK(left.tv_sec == 59 && left.tv_nsec > 0);
}

CASE(clock_nanosleep_rules)
{
	struct timespec ts = {1, 0}, left = {77, 77};
	EXPECT_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL), 0); /* long past */
	EXPECT_EQ(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &ts, NULL), 0);
	EXPECT_ERRNO(syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &ts, NULL), EOPNOTSUPP);
	EXPECT_ERRNO(syscall(SYS_clock_nanosleep, 99, 0, &ts, NULL), EINVAL);
	EXPECT_ERRNO(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC_RAW, 0, &ts, NULL), EOPNOTSUPP);
	ts.tv_nsec = -1;
	EXPECT_EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL), EINVAL);
	int64_t start = nanos(CLOCK_BOOTTIME), end = start + 20000000;
	ts = (struct timespec){end / 1000000000, end % 1000000000};
	EXPECT_EQ(clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &ts, NULL), 0);
	CHECK(nanos(CLOCK_BOOTTIME) >= end);
	ts = (struct timespec){nanos(CLOCK_MONOTONIC) / 1000000000 + 60, 0};
	interrupt_every(30);
	EXPECT_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, &left), EINTR);
	interrupt_stop();
	EXPECT_EQ(left.tv_sec, 77); /* an instant needs no remainder */
}

CASE(a_stop_does_not_lengthen_a_sleep)
{
	CHILD(p) {
		struct timespec ts = {0, 50000000};
		EXPECT_OK(nanosleep(&ts, NULL)); /* goes on after a stop, with what is left */
	}
	EXPECT_OK(kill(p, SIGSTOP));
	expect_stopped(p, SIGSTOP);
	EXPECT_OK(kill(p, SIGCONT));
	JOIN(p);
}

/* ---- Interval timers. ---- */

CASE(setitimer_rules)
{
	struct itimerval it = {{0, 0}, {100, 500000}}, old;
	EXPECT_OK(setitimer(ITIMER_REAL, &it, NULL));
	EXPECT_OK(getitimer(ITIMER_REAL, &old));
	CHECK(old.it_value.tv_sec == 100 || old.it_value.tv_sec == 99);
	EXPECT_EQ(old.it_interval.tv_sec, 0);
	unsigned left = alarm(50);
	CHECK(left == 100 || left == 101); /* one timer for both */
	EXPECT_OK(getitimer(ITIMER_REAL, &old));
	CHECK(old.it_value.tv_sec == 50 || old.it_value.tv_sec == 49);
	CHILD(p) {
		EXPECT_EQ(alarm(0), 0); /* not inherited */
	}
	JOIN(p);
	it.it_value.tv_sec = 0;
	it.it_value.tv_usec = 1000000;
	EXPECT_ERRNO(setitimer(ITIMER_REAL, &it, NULL), EINVAL);
	it.it_value.tv_usec = -1;
	EXPECT_ERRNO(setitimer(ITIMER_REAL, &it, NULL), EINVAL);
	EXPECT_ERRNO(setitimer(3, &it, NULL), EINVAL);
	EXPECT_ERRNO(getitimer(-1, &old), EINVAL);
	EXPECT_ERRNO(syscall(SYS_setitimer, ITIMER_REAL, 8, NULL), EFAULT);
	CHECK(alarm(0) >= 49);
	EXPECT_EQ(alarm(0), 0);
}

CASE(alarm_is_left_by_exec)
{
	CHILD(p) {
		struct itimerval it = {{0, 0}, {0, 50000}};
		EXPECT_OK(setitimer(ITIMER_REAL, &it, NULL));
		execl("/bin/sleep", "sleep", "100", NULL);
		_exit(9);
	}
	EXPECT_KILLED(p, SIGALRM);
}

CASE(real_timer_repeats)
{
	sigset_t s;
	siginfo_t si;
	sigemptyset(&s);
	sigaddset(&s, SIGALRM);
	block(SIGALRM);
	struct itimerval it = {{0, 5000}, {0, 5000}};
	int64_t start = now_ms();
	EXPECT_OK(setitimer(ITIMER_REAL, &it, NULL));
	for (int i = 0; i < 5; i++) {
		EXPECT_EQ(sigwaitinfo(&s, &si), SIGALRM);
		EXPECT_EQ(si.si_code, SI_KERNEL);
	}
	CHECK(now_ms() - start >= 24);
}

static volatile sig_atomic_t burnt[2];

static void count_burnt(int sig)
{
	burnt[sig == SIGPROF]++;
}

CASE(timers_of_processor_time)
{
	signal(SIGVTALRM, count_burnt);
	signal(SIGPROF, count_burnt);
	struct itimerval it = {{0, 10000}, {0, 10000}};
	EXPECT_OK(setitimer(ITIMER_VIRTUAL, &it, NULL));
	EXPECT_OK(setitimer(ITIMER_PROF, &it, NULL));
	int64_t end = now_ms() + 8000;
	while (burnt[0] < 3 || burnt[1] < 3)
		CHECK(now_ms() < end);
	struct itimerval off = {{0, 0}, {0, 0}}, old;
	EXPECT_OK(setitimer(ITIMER_VIRTUAL, &off, &old));
	CHECK(old.it_interval.tv_usec >= 10000 && old.it_interval.tv_usec <= 20000);
	EXPECT_OK(setitimer(ITIMER_PROF, &off, NULL));
	int had = burnt[0];
	burn(30);
	EXPECT_EQ(burnt[0], had);
}

/* ---- POSIX timers. ---- */

CASE(timer_of_signals)
{
	timer_t t;
	sigset_t s;
	siginfo_t si;
	int sig = SIGRTMIN + 4;
	block(sig);
	sigemptyset(&s);
	sigaddset(&s, sig);
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = sig, .sigev_value.sival_int = 4711};
	EXPECT_OK(timer_create(CLOCK_MONOTONIC, &ev, &t));
	struct itimerspec it = {{0, 0}, {0, 10000000}}, old;
	EXPECT_OK(timer_gettime(t, &old));
	EXPECT_EQ(old.it_value.tv_sec | old.it_value.tv_nsec, 0);
	EXPECT_OK(timer_settime(t, 0, &it, NULL));
	EXPECT_EQ(sigwaitinfo(&s, &si), sig);
	EXPECT_EQ(si.si_code, SI_TIMER);
	EXPECT_EQ(si.si_int, 4711);
	EXPECT_EQ(si.si_overrun, 0);
	EXPECT_EQ(timer_getoverrun(t), 0);
	EXPECT_OK(timer_gettime(t, &old));
	EXPECT_EQ(old.it_value.tv_sec | old.it_value.tv_nsec, 0);
	it.it_value = (struct timespec){1, 0};
	EXPECT_OK(timer_settime(t, TIMER_ABSTIME, &it, NULL)); /* long past: at once */
	EXPECT_EQ(sigwaitinfo(&s, &si), sig);
	it.it_value = (struct timespec){60, 0};
	EXPECT_OK(timer_settime(t, 0, &it, NULL));
	EXPECT_OK(timer_settime(t, 0, &(struct itimerspec){0}, &old));
	EXPECT_EQ(old.it_value.tv_sec, 59);
	EXPECT_OK(timer_delete(t));
	EXPECT_ERRNO(timer_delete(t), EINVAL);
}

CASE(timer_overrun)
{
	timer_t t;
	sigset_t s;
	siginfo_t si;
	block(SIGUSR1);
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	EXPECT_OK(timer_create(CLOCK_MONOTONIC, &ev, &t));
	struct itimerspec it = {{0, 1000000}, {0, 1000000}};
	EXPECT_OK(timer_settime(t, 0, &it, NULL));
	sleep_ms(30);
	EXPECT_EQ(sigwaitinfo(&s, &si), SIGUSR1); /* one signal for all the times meanwhile */
	CHECK(si.si_overrun >= 20);
	CHECK(timer_getoverrun(t) >= 20);
	EXPECT_OK(timer_delete(t));
}

CASE(timer_for_a_thread_and_for_nobody)
{
	timer_t t;
	sigset_t s;
	block(SIGUSR1);
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
	ev._sigev_un._tid = gettid();
	EXPECT_OK(timer_create(CLOCK_REALTIME, &ev, &t));
	struct itimerspec it = {{0, 0}, {0, 1000000}};
	EXPECT_OK(timer_settime(t, 0, &it, NULL));
	EXPECT_EQ(sigwaitinfo(&s, NULL), SIGUSR1);
	EXPECT_OK(timer_delete(t));
	ev._sigev_un._tid = getppid();
	EXPECT_ERRNO(timer_create(CLOCK_REALTIME, &ev, &t), EINVAL);
	ev = (struct sigevent){.sigev_notify = SIGEV_NONE};
	EXPECT_OK(timer_create(CLOCK_MONOTONIC, &ev, &t));
	it.it_value = (struct timespec){60, 0};
	EXPECT_OK(timer_settime(t, 0, &it, NULL));
	EXPECT_OK(timer_gettime(t, &it));
	EXPECT_EQ(it.it_value.tv_sec, 59);
}

CASE(timer_of_processor_time)
{
	timer_t t;
	count_signal(SIGUSR1, 0);
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	EXPECT_OK(timer_create(CLOCK_THREAD_CPUTIME_ID, &ev, &t));
	struct itimerspec it = {{0, 0}, {0, 20000000}};
	int64_t start = nanos(CLOCK_THREAD_CPUTIME_ID);
	EXPECT_OK(timer_settime(t, 0, &it, NULL));
	while (!signals_seen[SIGUSR1])
		CHECK(nanos(CLOCK_THREAD_CPUTIME_ID) - start < 5000000000LL);
	CHECK(nanos(CLOCK_THREAD_CPUTIME_ID) - start >= 20000000);
}

CASE(timer_errors)
{
	int t;
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = 65};
	struct itimerspec it = {{0, 0}, {0, 1000000000}};
	EXPECT_ERRNO(syscall(SYS_timer_create, 99, NULL, &t), EINVAL);
	EXPECT_ERRNO(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &t), EINVAL);
	EXPECT_ERRNO(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, 8), EFAULT);
	EXPECT_ERRNO(syscall(SYS_timer_create, CLOCK_MONOTONIC, 8, &t), EFAULT);
	ev.sigev_notify = 99;
	ev.sigev_signo = SIGUSR1;
	EXPECT_ERRNO(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &t), EINVAL);
	EXPECT_OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &t));
	EXPECT_ERRNO(syscall(SYS_timer_settime, t, 0, &it, NULL), EINVAL);
	EXPECT_ERRNO(syscall(SYS_timer_settime, t, 0, NULL, NULL), EINVAL);
	EXPECT_ERRNO(syscall(SYS_timer_settime, t + 77, 0, &(struct itimerspec){0}, NULL), EINVAL);
	EXPECT_ERRNO(syscall(SYS_timer_gettime, t + 77, &it), EINVAL);
	EXPECT_ERRNO(syscall(SYS_timer_getoverrun, -1), EINVAL);
	CHILD(p) {
		EXPECT_ERRNO(syscall(SYS_timer_delete, t), EINVAL); /* not inherited */
	}
	JOIN(p);
	EXPECT_OK(syscall(SYS_timer_delete, t));
}

/* ---- Processor time used. ---- */

CASE(usage_grows)
{
	struct rusage a, b;
	struct tms ta, tb;
	EXPECT_OK(getrusage(RUSAGE_SELF, &a));
	EXPECT_OK(times(&ta));
	int64_t process = nanos(CLOCK_PROCESS_CPUTIME_ID);
	burn(60);
	EXPECT_OK(getrusage(RUSAGE_SELF, &b));
	EXPECT_OK(times(&tb));
	int64_t used = (b.ru_utime.tv_sec - a.ru_utime.tv_sec + b.ru_stime.tv_sec - a.ru_stime.tv_sec) * 1000000LL + b.ru_utime.tv_usec -
		       a.ru_utime.tv_usec + b.ru_stime.tv_usec - a.ru_stime.tv_usec;
	CHECK(used >= 50000);
	CHECK(nanos(CLOCK_PROCESS_CPUTIME_ID) - process >= 60000000);
	CHECK(tb.tms_utime + tb.tms_stime - ta.tms_utime - ta.tms_stime >= 4);
	EXPECT_EQ(tb.tms_cutime, 0);
	CHECK(b.ru_maxrss > 0);
	EXPECT_ERRNO(getrusage(7, &a), EINVAL);
	EXPECT_ERRNO(syscall(SYS_getrusage, RUSAGE_SELF, 8), EFAULT);
}

CASE(usage_of_children)
{
	struct rusage none, own, all;
	CHILD(p) {
		burn(60);
	}
	EXPECT_OK(getrusage(RUSAGE_CHILDREN, &none));
	EXPECT_EQ(none.ru_utime.tv_usec + none.ru_stime.tv_usec, 0); /* counts once it has been waited for */
	int status;
	EXPECT_EQ(wait4(p, &status, 0, &own), p);
	EXPECT_EQ(status, 0);
	EXPECT_OK(getrusage(RUSAGE_CHILDREN, &all));
	CHECK(own.ru_utime.tv_sec * 1000000 + own.ru_utime.tv_usec + own.ru_stime.tv_sec * 1000000 + own.ru_stime.tv_usec >= 50000);
	EXPECT_EQ(all.ru_utime.tv_usec, own.ru_utime.tv_usec);
	struct tms t;
	EXPECT_OK(times(&t));
	CHECK(t.tms_cutime + t.tms_cstime >= 4);
}

static void *burn_thread(void *arg)
{
	burn(40);
	int64_t *mine = arg;
	*mine = nanos(CLOCK_THREAD_CPUTIME_ID);
	return NULL;
}

CASE(clocks_of_threads)
{
	int64_t other = 0, own = nanos(CLOCK_THREAD_CPUTIME_ID);
	thread_join(thread_start(burn_thread, &other));
	CHECK(other >= 40000000);
	CHECK(nanos(CLOCK_PROCESS_CPUTIME_ID) >= 40000000);
	struct rusage r;
	EXPECT_OK(getrusage(RUSAGE_THREAD, &r));
	CHECK(nanos(CLOCK_THREAD_CPUTIME_ID) - own < 40000000);
}
