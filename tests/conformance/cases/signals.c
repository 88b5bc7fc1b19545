/* Signals: actions, masks, what a handler is told, what is pending in which order; faults. */
#include "waits.h"
#include <setjmp.h>
#include <sys/prctl.h>

/* Volatile, as the compiler knows of the library's calls that they do not call us. */
static volatile siginfo_t last;
static volatile sig_atomic_t handled;

static void note(int sig, siginfo_t *si, void *context)
{
	(void)sig;
	(void)context;
	*(siginfo_t *)&last = *si;
	handled++;
}

static void note_on(int sig, int flags)
{
	struct sigaction sa = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | flags};
	EXPECT_OK(sigaction(sig, &sa, NULL));
}

static sigset_t set_of(int sig)
{
	sigset_t s;
	sigemptyset(&s);
	if (sig)
		sigaddset(&s, sig);
	return s;
}

/* ---- Actions. ---- */

CASE(sigaction_errors)
{
	struct sigaction sa = {.sa_handler = SIG_IGN}, old;
	EXPECT_ERRNO(sigaction(SIGKILL, &sa, NULL), EINVAL);
	EXPECT_ERRNO(sigaction(SIGSTOP, &sa, NULL), EINVAL);
	EXPECT_OK(sigaction(SIGKILL, NULL, &old)); /* to ask is allowed */
	CHECK(old.sa_handler == SIG_DFL);
	EXPECT_ERRNO(syscall(SYS_rt_sigaction, 0, NULL, NULL, 8), EINVAL);
	EXPECT_ERRNO(syscall(SYS_rt_sigaction, 65, NULL, NULL, 8), EINVAL);
	EXPECT_ERRNO(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4), EINVAL);
	EXPECT_ERRNO(syscall(SYS_rt_sigaction, SIGUSR1, 8, NULL, 8), EFAULT);
	EXPECT_ERRNO(syscall(SYS_rt_sigaction, SIGUSR1, NULL, 8, 8), EFAULT);
	EXPECT_OK(syscall(SYS_rt_sigaction, 64, NULL, NULL, 8));
}

struct kernel_action {
	void *handler;
	unsigned long flags;
	void *restorer;
	unsigned long mask;
};

CASE(action_as_it_was_set)
{
	struct kernel_action sa = {SIG_IGN, SA_RESTART | SA_NODEFER | 0x4000000, (void *)0x1234, ~0UL}, old;
	EXPECT_OK(syscall(SYS_rt_sigaction, SIGUSR1, &sa, NULL, 8));
	EXPECT_OK(syscall(SYS_rt_sigaction, SIGUSR1, NULL, &old, 8));
	CHECK(old.handler == SIG_IGN);
	CHECK(old.restorer == (void *)0x1234);
	EXPECT_EQ(old.mask, ~(1UL << (SIGKILL - 1) | 1UL << (SIGSTOP - 1)));
	EXPECT_EQ(old.flags, sa.flags);
	sa.flags = ~0UL; /* flags that are not known do not stay */
	EXPECT_OK(syscall(SYS_rt_sigaction, SIGUSR1, &sa, NULL, 8));
	EXPECT_OK(syscall(SYS_rt_sigaction, SIGUSR1, NULL, &old, 8));
	RECORD("flags kept", "%#lx", old.flags);
}

CASE(default_actions)
{
	const int kill_by[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGILL,  SIGTRAP,	 SIGABRT, SIGBUS,  SIGFPE,    SIGUSR1, SIGSEGV,
				      SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGSTKFLT, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO,
				      SIGPWR,  SIGSYS,  SIGRTMIN, SIGRTMAX};
	for (unsigned i = 0; i < sizeof kill_by / sizeof *kill_by; i++) {
		CHILD(p) {
			raise(kill_by[i]);
		}
		EXPECT_KILLED(p, kill_by[i]);
	}
	static const int nothing[] = {SIGCHLD, SIGURG, SIGWINCH, SIGCONT};
	for (unsigned i = 0; i < sizeof nothing / sizeof *nothing; i++)
		EXPECT_OK(raise(nothing[i]));
	static const int stop[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
	for (unsigned i = 0; i < sizeof stop / sizeof *stop; i++) {
		CHILD(p) {
			EXPECT_OK(setpgid(0, 0));
			raise(stop[i]);
		}
		expect_stopped(p, stop[i]);
		EXPECT_OK(kill(p, SIGCONT));
		JOIN(p);
	}
}

CASE(core_flag_needs_a_core)
{
	CHILD(p) {
		raise(SIGSEGV);
	}
	int status = WAIT(p);
	CHECK(WIFSIGNALED(status));
	CHECK(!WCOREDUMP(status)); /* the limit is zero */
}

CASE(setting_to_ignore_discards)
{
	block(SIGUSR1);
	EXPECT_OK(raise(SIGUSR1));
	CHECK(is_pending(SIGUSR1));
	signal(SIGUSR1, SIG_IGN);
	CHECK(!is_pending(SIGUSR1));
	block(SIGCHLD);
	EXPECT_OK(raise(SIGCHLD));
	CHECK(is_pending(SIGCHLD));
	signal(SIGCHLD, SIG_DFL); /* whose default is to be ignored */
	CHECK(!is_pending(SIGCHLD));
}

CASE(blocked_and_ignored_can_be_waited_for)
{
	/* A blocked signal is kept even where it is ignored, as its action may be changed until it is unblocked. */
	block(SIGWINCH);
	EXPECT_OK(raise(SIGWINCH));
	CHECK(is_pending(SIGWINCH));
	take_signal(SIGWINCH);
	block(SIGUSR1);
	signal(SIGUSR1, SIG_IGN);
	EXPECT_OK(raise(SIGUSR1));
	CHECK(is_pending(SIGUSR1));
	take_signal(SIGUSR1);
}

CASE(one_shot)
{
	count_signal(SIGUSR1, SA_RESETHAND);
	EXPECT_OK(raise(SIGUSR1));
	EXPECT_EQ(signals_seen[SIGUSR1], 1);
	struct sigaction sa;
	EXPECT_OK(sigaction(SIGUSR1, NULL, &sa));
	CHECK(sa.sa_handler == SIG_DFL);
	CHILD(p) {
		raise(SIGUSR1);
	}
	EXPECT_KILLED(p, SIGUSR1);
}

static volatile int depth, deepest, runs;

static void nest(int sig)
{
	if (++depth > deepest)
		deepest = depth;
	if (++runs < 4)
		raise(sig);
	depth--;
}

CASE(nesting)
{
	struct sigaction sa = {.sa_handler = nest, .sa_flags = SA_NODEFER};
	EXPECT_OK(sigaction(SIGUSR1, &sa, NULL));
	EXPECT_OK(raise(SIGUSR1));
	EXPECT_EQ(deepest, 4);
	deepest = runs = 0;
	sa.sa_flags = 0; /* one after the other */
	EXPECT_OK(sigaction(SIGUSR1, &sa, NULL));
	EXPECT_OK(raise(SIGUSR1));
	EXPECT_EQ(deepest, 1);
	EXPECT_EQ(runs, 4);
}

static sigset_t mask_inside;

static void look_at_mask(int sig)
{
	(void)sig;
	sigprocmask(SIG_BLOCK, NULL, &mask_inside);
}

CASE(mask_inside_a_handler)
{
	struct sigaction sa = {.sa_handler = look_at_mask};
	sigaddset(&sa.sa_mask, SIGUSR2);
	sigaddset(&sa.sa_mask, SIGKILL);
	EXPECT_OK(sigaction(SIGUSR1, &sa, NULL));
	block(SIGHUP);
	EXPECT_OK(raise(SIGUSR1));
	CHECK(sigismember(&mask_inside, SIGUSR1));
	CHECK(sigismember(&mask_inside, SIGUSR2));
	CHECK(sigismember(&mask_inside, SIGHUP));
	CHECK(!sigismember(&mask_inside, SIGKILL));
	CHECK(!sigismember(&mask_inside, SIGINT));
	sigset_t now;
	EXPECT_OK(sigprocmask(SIG_BLOCK, NULL, &now));
	CHECK(!sigismember(&now, SIGUSR1) && !sigismember(&now, SIGUSR2) && sigismember(&now, SIGHUP));
	sa.sa_flags = SA_NODEFER;
	EXPECT_OK(sigaction(SIGUSR1, &sa, NULL));
	EXPECT_OK(raise(SIGUSR1));
	CHECK(!sigismember(&mask_inside, SIGUSR1));
	CHECK(sigismember(&mask_inside, SIGUSR2));
}

static sigjmp_buf jump;

static void jump_out(int sig)
{
	siglongjmp(jump, sig);
}

CASE(leaving_by_a_jump)
{
	signal(SIGUSR1, jump_out);
	for (volatile int i = 0; i < 3; i++) {
		int sig = sigsetjmp(jump, 1);
		if (!sig)
			raise(SIGUSR1);
		EXPECT_EQ(sig, SIGUSR1);
	}
	if (sigsetjmp(jump, 0) == 0)
		raise(SIGUSR1);
	sigset_t now;
	EXPECT_OK(sigprocmask(SIG_BLOCK, NULL, &now));
	CHECK(sigismember(&now, SIGUSR1)); /* nobody put the mask back */
}

/* ---- Masks. ---- */

CASE(sigprocmask_rules)
{
	sigset_t s = set_of(SIGUSR1), old;
	EXPECT_OK(sigprocmask(SIG_BLOCK, &s, &old));
	CHECK(!sigismember(&old, SIGUSR1));
	s = set_of(SIGUSR2);
	EXPECT_OK(sigprocmask(SIG_BLOCK, &s, &old));
	CHECK(sigismember(&old, SIGUSR1) && !sigismember(&old, SIGUSR2));
	EXPECT_OK(sigprocmask(SIG_SETMASK, &s, &old));
	CHECK(sigismember(&old, SIGUSR1) && sigismember(&old, SIGUSR2));
	EXPECT_OK(sigprocmask(SIG_UNBLOCK, &s, NULL));
	unsigned long all = ~0UL, now;
	EXPECT_OK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8));
	EXPECT_OK(syscall(SYS_rt_sigprocmask, 99, NULL, &now, 8)); /* how doesn't matter without a set */
	EXPECT_EQ(now, ~(1UL << (SIGKILL - 1) | 1UL << (SIGSTOP - 1)));
	EXPECT_ERRNO(syscall(SYS_rt_sigprocmask, 99, &all, NULL, 8), EINVAL);
	EXPECT_ERRNO(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, 16), EINVAL);
	EXPECT_ERRNO(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8, NULL, 8), EFAULT);
	EXPECT_ERRNO(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, 8, 8), EFAULT);
	EXPECT_ERRNO(syscall(SYS_rt_sigpending, &now, 16), EINVAL);
	EXPECT_ERRNO(syscall(SYS_rt_sigpending, 8, 8), EFAULT);
}

CASE(masks_over_fork_and_exec)
{
	block(SIGUSR1);
	EXPECT_OK(raise(SIGUSR1));
	signal(SIGUSR2, SIG_IGN);
	count_signal(SIGHUP, 0);
	CHILD(p) {
		CHECK(!is_pending(SIGUSR1)); /* not inherited */
		sigset_t now;
		EXPECT_OK(sigprocmask(SIG_BLOCK, NULL, &now));
		CHECK(sigismember(&now, SIGUSR1));
		EXPECT_OK(raise(SIGHUP));
		EXPECT_EQ(signals_seen[SIGHUP], 1);
		EXPECT_OK(raise(SIGUSR1));
		execl("/bin/sh", "sh", "-c",
		      "while read k v; do case $k in ShdPnd:|SigPnd:|SigBlk:|SigIgn:|SigCgt:) echo $k $v;; esac; done </proc/self/status >out", NULL);
		_exit(9);
	}
	JOIN(p);
	char *text = get_file("out");
	CHECK(strstr(text, "SigPnd: 0000000000000200")); /* still pending after exec */
	CHECK(strstr(text, "SigBlk: 0000000000000200"));
	CHECK(strstr(text, "SigIgn: 0000000000000800"));
}

CASE(unblocking_delivers_at_once)
{
	block(SIGUSR1);
	block(SIGUSR2);
	count_signal(SIGUSR1, 0);
	count_signal(SIGUSR2, 0);
	for (int i = 0; i < 5; i++)
		EXPECT_OK(raise(SIGUSR1)); /* standard signals do not queue */
	EXPECT_OK(raise(SIGUSR2));
	sigset_t none = set_of(0);
	EXPECT_OK(sigprocmask(SIG_SETMASK, &none, NULL));
	EXPECT_EQ(signals_seen[SIGUSR1], 1);
	EXPECT_EQ(signals_seen[SIGUSR2], 1);
}

/* ---- What a handler is told. ---- */

CASE(information_of_the_senders)
{
	note_on(SIGUSR1, 0);
	EXPECT_OK(kill(getpid(), SIGUSR1));
	EXPECT_EQ(last.si_signo, SIGUSR1);
	EXPECT_EQ(last.si_code, SI_USER);
	EXPECT_EQ(last.si_pid, getpid());
	EXPECT_EQ(last.si_uid, getuid());
	EXPECT_EQ(last.si_errno, 0);
	EXPECT_OK(syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1));
	EXPECT_EQ(last.si_code, SI_TKILL);
	EXPECT_EQ(last.si_pid, getpid());
	EXPECT_OK(syscall(SYS_tkill, gettid(), SIGUSR1));
	EXPECT_EQ(last.si_code, SI_TKILL);
	EXPECT_OK(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 1234}));
	EXPECT_EQ(last.si_code, SI_QUEUE);
	EXPECT_EQ(last.si_pid, getpid());
	EXPECT_EQ(last.si_int, 1234);
	EXPECT_EQ(handled, 4);
	pid_t parent = getpid();
	note_on(SIGUSR2, 0);
	sigset_t old;
	sigset_t s = set_of(SIGUSR2);
	EXPECT_OK(sigprocmask(SIG_BLOCK, &s, &old));
	CHILD(p) {
		EXPECT_OK(sigqueue(parent, SIGUSR2, (union sigval){.sival_ptr = (void *)0x123456789a}));
	}
	JOIN(p);
	EXPECT_OK(sigprocmask(SIG_SETMASK, &old, NULL));
	EXPECT_EQ(last.si_pid, p);
	CHECK(last.si_ptr == (void *)0x123456789a);
}

CASE(forged_information)
{
	siginfo_t si = {.si_code = SI_USER};
	pid_t parent = getpid();
	block(SIGUSR1);
	CHILD(p) {
		EXPECT_ERRNO(syscall(SYS_rt_sigqueueinfo, parent, SIGUSR1, &si), EPERM); /* as if from kill */
		si.si_code = SI_TKILL;
		EXPECT_ERRNO(syscall(SYS_rt_sigqueueinfo, parent, SIGUSR1, &si), EPERM);
		si.si_code = SI_KERNEL;
		EXPECT_ERRNO(syscall(SYS_rt_sigqueueinfo, parent, SIGUSR1, &si), EPERM);
		si.si_code = SI_QUEUE;
		si.si_pid = 77;
		EXPECT_OK(syscall(SYS_rt_sigqueueinfo, parent, SIGUSR1, &si));
		EXPECT_ERRNO(syscall(SYS_rt_sigqueueinfo, parent, SIGUSR1, 8), EFAULT);
		EXPECT_ERRNO(syscall(SYS_rt_tgsigqueueinfo, parent, -1, SIGUSR1, &si), EINVAL);
		EXPECT_ERRNO(syscall(SYS_rt_tgsigqueueinfo, parent, getpid(), SIGUSR1, &si), ESRCH);
	}
	JOIN(p);
	sigset_t s = set_of(SIGUSR1);
	EXPECT_EQ(sigwaitinfo(&s, &si), SIGUSR1);
	EXPECT_EQ(si.si_pid, 77); /* that much is the sender's to say */
	EXPECT_EQ(si.si_code, SI_QUEUE);
	si.si_code = SI_USER;
	EXPECT_OK(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &si)); /* to ourselves anything goes */
	EXPECT_OK(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGUSR1, &si));
}

CASE(information_of_children)
{
	note_on(SIGCHLD, 0);
	sigset_t none = set_of(0);
	block(SIGCHLD);
	CHILD(p) {
		_exit(7);
	}
	while (!handled)
		sigsuspend(&none);
	EXPECT_EQ(last.si_code, CLD_EXITED);
	EXPECT_EQ(last.si_pid, p);
	EXPECT_EQ(last.si_uid, getuid());
	EXPECT_EQ(last.si_status, 7);
	EXPECT_EXIT(p, 7);
	handled = 0;
	CHILD(q) {
		raise(SIGTERM);
	}
	while (!handled)
		sigsuspend(&none);
	EXPECT_EQ(last.si_code, CLD_KILLED);
	EXPECT_EQ(last.si_pid, q);
	EXPECT_EQ(last.si_status, SIGTERM);
	EXPECT_KILLED(q, SIGTERM);
}

/* ---- Pending signals and their order. ---- */

static volatile int order[64], ordered;

static void note_order(int sig, siginfo_t *si, void *context)
{
	(void)context;
	order[ordered++] = sig << 8 | (si->si_code == SI_QUEUE ? si->si_int : 0);
}

CASE(order_of_delivery)
{
	/* The lowest number first; handlers run in the reverse, as each interrupts the one before. */
	const int sigs[] = {SIGRTMIN + 3, SIGUSR2, SIGRTMIN + 1, SIGHUP, SIGTERM};
	for (int i = 0; i < 5; i++) {
		struct sigaction sa = {.sa_sigaction = note_order, .sa_flags = SA_SIGINFO};
		sigfillset(&sa.sa_mask);
		EXPECT_OK(sigaction(sigs[i], &sa, NULL));
		block(sigs[i]);
		EXPECT_OK(raise(sigs[i]));
	}
	sigset_t none = set_of(0);
	EXPECT_OK(sigprocmask(SIG_SETMASK, &none, NULL));
	EXPECT_EQ(ordered, 5);
	const int want[] = {SIGHUP, SIGUSR2, SIGTERM, SIGRTMIN + 1, SIGRTMIN + 3};
	for (int i = 0; i < 5; i++)
		EXPECT_EQ(order[i] >> 8, want[i]);
}

CASE(handlers_interrupt_each_other)
{
	const int sigs[] = {SIGUSR2, SIGHUP, SIGTERM};
	for (int i = 0; i < 3; i++) {
		struct sigaction sa = {.sa_sigaction = note_order, .sa_flags = SA_SIGINFO};
		EXPECT_OK(sigaction(sigs[i], &sa, NULL));
		block(sigs[i]);
		EXPECT_OK(raise(sigs[i]));
	}
	sigset_t none = set_of(0);
	EXPECT_OK(sigprocmask(SIG_SETMASK, &none, NULL));
	EXPECT_EQ(ordered, 3); /* all frames are set up before the first handler runs: the last one set up runs first */
	const int want[] = {SIGTERM, SIGUSR2, SIGHUP};
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(order[i] >> 8, want[i]);
}

CASE(realtime_signals_queue)
{
	int sig = SIGRTMIN + 2;
	block(sig);
	for (int i = 0; i < 20; i++)
		EXPECT_OK(sigqueue(getpid(), sig, (union sigval){.sival_int = i}));
	sigset_t s = set_of(sig);
	siginfo_t si;
	for (int i = 0; i < 20; i++) {
		EXPECT_EQ(sigwaitinfo(&s, &si), sig);
		EXPECT_EQ(si.si_int, i);
	}
	CHECK(!is_pending(sig));
	block(SIGUSR1); /* a standard one keeps the first */
	EXPECT_OK(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 1}));
	EXPECT_OK(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 2}));
	s = set_of(SIGUSR1);
	EXPECT_EQ(sigwaitinfo(&s, &si), SIGUSR1);
	EXPECT_EQ(si.si_int, 1);
	CHECK(!is_pending(SIGUSR1));
}

CASE(queue_limit)
{
	int sig = SIGRTMIN + 2;
	CHILD(p) {
		if (geteuid() == 0)
			become_user(54321, 54321); /* who has nothing else queued */
		struct rlimit few = {5, 5};
		EXPECT_OK(setrlimit(RLIMIT_SIGPENDING, &few));
		block(sig);
		block(SIGUSR1);
		for (int i = 0; i < 5; i++)
			EXPECT_OK(sigqueue(getpid(), sig, (union sigval){.sival_int = i}));
		EXPECT_ERRNO(sigqueue(getpid(), sig, (union sigval){.sival_int = 5}), EAGAIN);
		EXPECT_OK(kill(getpid(), SIGUSR1)); /* a standard one always comes */
		CHECK(is_pending(SIGUSR1));
		take_signal(sig); /* makes no room: the standard one is over the limit */
		EXPECT_ERRNO(sigqueue(getpid(), sig, (union sigval){.sival_int = 6}), EAGAIN);
		take_signal(sig);
		EXPECT_OK(sigqueue(getpid(), sig, (union sigval){.sival_int = 6}));
		EXPECT_ERRNO(sigqueue(getpid(), sig, (union sigval){.sival_int = 7}), EAGAIN);
	}
	JOIN(p);
}

CASE(thread_before_process)
{
	sigset_t s = set_of(SIGUSR1);
	siginfo_t si;
	block(SIGUSR1);
	EXPECT_OK(kill(getpid(), SIGUSR1));
	EXPECT_OK(syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1));
	/* Not by the library, which makes the code of both that of kill. */
	EXPECT_EQ(syscall(SYS_rt_sigtimedwait, &s, &si, NULL, 8), SIGUSR1);
	EXPECT_EQ(si.si_code, SI_TKILL);
	CHECK(is_pending(SIGUSR1));
	EXPECT_EQ(syscall(SYS_rt_sigtimedwait, &s, &si, NULL, 8), SIGUSR1);
	EXPECT_EQ(si.si_code, SI_USER);
	CHECK(!is_pending(SIGUSR1));
}

static void *unblocked_thread(void *arg)
{
	sigset_t s = set_of(SIGUSR1);
	*(int *)arg = gettid();
	pthread_sigmask(SIG_UNBLOCK, &s, NULL);
	while (!handled)
		sched_yield();
	return NULL;
}

static volatile int handled_by;

static void note_thread(int sig)
{
	(void)sig;
	handled_by = gettid();
	handled = 1;
}

CASE(goes_to_a_thread_that_takes_it)
{
	int tid;
	block(SIGUSR1);
	signal(SIGUSR1, note_thread);
	pthread_t t = thread_start(unblocked_thread, &tid);
	EXPECT_OK(kill(getpid(), SIGUSR1));
	thread_join(t);
	EXPECT_EQ(handled_by, tid);
	CHECK(!is_pending(SIGUSR1));
}

/* ---- Waiting for signals. ---- */

CASE(sigtimedwait_rules)
{
	sigset_t s = set_of(SIGUSR1);
	struct timespec none = {0, 0}, bad = {0, 1000000000}, negative = {-1, 0}, some = {0, 30000000};
	siginfo_t si;
	block(SIGUSR1);
	EXPECT_ERRNO(sigtimedwait(&s, &si, &none), EAGAIN);
	EXPECT_ERRNO(sigtimedwait(&s, &si, &bad), EINVAL);
	EXPECT_ERRNO(sigtimedwait(&s, &si, &negative), EINVAL);
	int64_t start = now_ms();
	EXPECT_ERRNO(sigtimedwait(&s, &si, &some), EAGAIN);
	CHECK(now_ms() - start >= 29);
	EXPECT_OK(raise(SIGUSR1));
	EXPECT_EQ(sigtimedwait(&s, &si, &none), SIGUSR1);
	EXPECT_OK(raise(SIGUSR1));
	EXPECT_EQ(sigtimedwait(&s, NULL, NULL), SIGUSR1);
	EXPECT_ERRNO(syscall(SYS_rt_sigtimedwait, &s, NULL, NULL, 16), EINVAL);
	EXPECT_ERRNO(syscall(SYS_rt_sigtimedwait, 8, NULL, NULL, 8), EFAULT);
	interrupt_every(20);
	EXPECT_ERRNO(sigwaitinfo(&s, &si), EINTR); /* by a handler of a signal not waited for */
	interrupt_stop();
}

CASE(sigtimedwait_takes_the_lowest)
{
	block(SIGUSR2);
	block(SIGHUP);
	block(SIGRTMIN);
	sigset_t s;
	sigfillset(&s);
	EXPECT_OK(raise(SIGRTMIN));
	EXPECT_OK(raise(SIGUSR2));
	EXPECT_OK(raise(SIGHUP));
	EXPECT_EQ(sigwaitinfo(&s, NULL), SIGHUP);
	EXPECT_EQ(sigwaitinfo(&s, NULL), SIGUSR2);
	EXPECT_EQ(sigwaitinfo(&s, NULL), SIGRTMIN);
}

CASE(sigtimedwait_wakes)
{
	block(SIGUSR1);
	sigset_t s = set_of(SIGUSR1);
	pid_t me = getpid();
	CHILD(p) {
		wait_asleep(me);
		EXPECT_OK(kill(me, SIGUSR1));
	}
	siginfo_t si;
	EXPECT_EQ(sigwaitinfo(&s, &si), SIGUSR1);
	EXPECT_EQ(si.si_pid, p);
	JOIN(p);
}

CASE(sigsuspend_rules)
{
	block(SIGUSR1);
	count_signal(SIGUSR1, SA_RESTART);
	sigset_t none = set_of(0), now;
	EXPECT_OK(raise(SIGUSR1));
	EXPECT_ERRNO(sigsuspend(&none), EINTR); /* SA_RESTART or not */
	EXPECT_EQ(signals_seen[SIGUSR1], 1);
	EXPECT_OK(sigprocmask(SIG_BLOCK, NULL, &now));
	CHECK(sigismember(&now, SIGUSR1)); /* put back */
	EXPECT_ERRNO(syscall(SYS_rt_sigsuspend, &none, 16), EINVAL);
	EXPECT_ERRNO(syscall(SYS_rt_sigsuspend, 8, 8), EFAULT);
}

/* In the handler, the mask is that of sigsuspend with the handler's, and not the one from before. */
CASE(mask_in_a_handler_of_sigsuspend)
{
	block(SIGUSR1);
	block(SIGUSR2);
	signal(SIGUSR1, look_at_mask);
	EXPECT_OK(raise(SIGUSR1));
	sigset_t hup = set_of(SIGHUP);
	EXPECT_ERRNO(sigsuspend(&hup), EINTR);
	CHECK(sigismember(&mask_inside, SIGUSR1));
	CHECK(sigismember(&mask_inside, SIGHUP));
	CHECK(!sigismember(&mask_inside, SIGUSR2));
}

CASE(pause_returns_after_a_handler)
{
	interrupt_every(20);
	EXPECT_ERRNO(pause(), EINTR);
	interrupt_stop();
	CHECK(signals_seen[SIGALRM] >= 1);
}

/* ---- Signals of the kernel's own. ---- */

CASE(forced_faults)
{
	/* A fault whose signal is blocked or ignored can't be put off: it kills. */
	CHILD(a) {
		signal(SIGSEGV, SIG_IGN);
		*(volatile int *)8 = 1;
	}
	EXPECT_KILLED(a, SIGSEGV);
	CHILD(b) {
		count_signal(SIGSEGV, 0);
		block(SIGSEGV);
		*(volatile int *)8 = 1;
	}
	EXPECT_KILLED(b, SIGSEGV);
	CHILD(c) { /* though one that is sent can be */
		signal(SIGSEGV, SIG_IGN);
		raise(SIGSEGV);
	}
	JOIN(c);
}

static void fault_again(int sig)
{
	(void)sig;
	*(volatile int *)8 = 1;
}

CASE(fault_in_its_own_handler)
{
	CHILD(p) {
		signal(SIGSEGV, fault_again);
		*(volatile int *)8 = 1;
	}
	EXPECT_KILLED(p, SIGSEGV);
}

CASE(death_signal_of_the_parent)
{
	struct gate ready = gate_new(), done = gate_new();
	EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	CHILD(p) {
		CHILD(q) {
			block(SIGUSR1);
			EXPECT_OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
			int sig = 0;
			EXPECT_OK(prctl(PR_GET_PDEATHSIG, &sig));
			EXPECT_EQ(sig, SIGUSR1);
			EXPECT_ERRNO(prctl(PR_SET_PDEATHSIG, 65), EINVAL);
			gate_open(&ready);
			siginfo_t si;
			sigset_t s = set_of(SIGUSR1);
			EXPECT_EQ(sigwaitinfo(&s, &si), SIGUSR1);
			EXPECT_EQ(si.si_code, SI_USER);
			CHILD(r) {
				EXPECT_OK(prctl(PR_GET_PDEATHSIG, &sig));
				EXPECT_EQ(sig, 0); /* not inherited */
			}
			JOIN(r);
			gate_open(&done);
		}
		(void)q;
		gate_wait(&ready);
	}
	JOIN(p);
	gate_wait(&done);
}
