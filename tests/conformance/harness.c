/* The driver: lists the cases, runs each in a process, session and directory of its own, and prints one line a case. */
#include "harness.h"
#include <dirent.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>

enum { EXIT_SKIP = 77 };

static struct conf_case *cases;
static int limit_s = 10;
static bool announce;

/* ---- Registration. ---- */

static const char *topic_of(const struct conf_case *c)
{
	static char topic[64];
	const char *base = strrchr(c->file, '/');
	base = base ? base + 1 : c->file;
	size_t len = strcspn(base, ".");
	snprintf(topic, sizeof topic, "%.*s", (int)len, base);
	return topic;
}

static int by_name(const struct conf_case *a, const struct conf_case *b)
{
	char topic[64];
	snprintf(topic, sizeof topic, "%s", topic_of(a));
	int order = strcmp(topic, topic_of(b));
	return order ? order : strcmp(a->name, b->name);
}

void conf_register(struct conf_case *c)
{
	struct conf_case **at = &cases;
	while (*at && by_name(*at, c) < 0)
		at = &(*at)->next;
	c->next = *at;
	*at = c;
}

/* ---- Verdicts: lines that begin with a control byte on the case's standard output. ---- */

static void report(char kind, const char *text)
{
	char line[2048];
	int n = snprintf(line, sizeof line, "\x01%c%s", kind, text);
	if (n >= (int)sizeof line)
		n = sizeof line - 1;
	for (int i = 2; i < n; i++)
		if (line[i] == '\n' || line[i] == '\x01')
			line[i] = ' ';
	line[n++] = '\n';
	if (write(1, line, n) < 0)
		_exit(1);
}

void conf_fail(const char *file, int line, const char *fmt, ...)
{
	char what[1500], text[1800];
	va_list args;
	va_start(args, fmt);
	vsnprintf(what, sizeof what, fmt, args);
	va_end(args);
	const char *base = strrchr(file, '/');
	snprintf(text, sizeof text, "%s:%d: %s", base ? base + 1 : file, line, what);
	report('F', text);
	_exit(1);
}

void conf_skip(const char *fmt, ...)
{
	char text[500];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	report('S', text);
	_exit(EXIT_SKIP);
}

void conf_record(const char *label, const char *fmt, ...)
{
	char value[1500], text[1800];
	va_list args;
	va_start(args, fmt);
	vsnprintf(value, sizeof value, fmt, args);
	va_end(args);
	snprintf(text, sizeof text, "%s = %s", label, value);
	report('R', text);
}

const char *conf_errname(int e)
{
	static char number[32];
	const char *name = e ? strerrorname_np(e) : "no error";
	if (name)
		return name;
	snprintf(number, sizeof number, "errno %d", e);
	return number;
}

/* ---- Children and threads. ---- */

pid_t conf_fork(const char *file, int line)
{
	pid_t pid = fork();
	if (pid < 0)
		conf_fail(file, line, "fork gave %s", conf_errname(errno));
	return pid;
}

int conf_wait(const char *file, int line, pid_t pid)
{
	int status;
	pid_t got;
	while ((got = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
		;
	if (got != pid)
		conf_fail(file, line, "waitpid(%d) returned %d: %s", pid, got, conf_errname(errno));
	return status;
}

static void describe(int status, char *buf, size_t size)
{
	if (WIFEXITED(status))
		snprintf(buf, size, "exit %d", WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		snprintf(buf, size, "signal %d (SIG%s)", WTERMSIG(status), sigabbrev_np(WTERMSIG(status)) ?: "?");
	else
		snprintf(buf, size, "wait status %#x", status);
}

void conf_join(const char *file, int line, pid_t pid, int want)
{
	char is[64], should[64];
	int status = conf_wait(file, line, pid);
	if (status == want)
		return;
	describe(status, is, sizeof is);
	describe(want, should, sizeof should);
	conf_fail(file, line, "child ended with %s, not %s", is, should);
}

void needs_root(void)
{
	if (geteuid() != 0)
		SKIP("needs root");
}

void become_user(uid_t uid, gid_t gid)
{
	needs_root();
	EXPECT_OK(setgroups(0, NULL));
	EXPECT_OK(setresgid(gid, gid, gid));
	EXPECT_OK(setresuid(uid, uid, uid));
}

pthread_t thread_start(void *(*fn)(void *), void *arg)
{
	pthread_t t;
	int e = pthread_create(&t, NULL, fn, arg);
	if (e)
		FAIL("pthread_create gave %s", conf_errname(e));
	return t;
}

void *thread_join(pthread_t t)
{
	void *value;
	int e = pthread_join(t, &value);
	if (e)
		FAIL("pthread_join gave %s", conf_errname(e));
	return value;
}

struct gate gate_new(void)
{
	struct gate g;
	EXPECT_OK(pipe2(g.fd, O_CLOEXEC));
	return g;
}

void gate_open(struct gate *g)
{
	EXPECT_EQ(write(g->fd[1], "g", 1), 1);
}

void gate_wait(struct gate *g)
{
	char c;
	ssize_t n;
	while ((n = read(g->fd[0], &c, 1)) < 0 && errno == EINTR)
		;
	EXPECT_EQ(n, 1);
}

void wait_asleep(pid_t tid)
{
	char path[64], text[512];
	snprintf(path, sizeof path, "/proc/%d/stat", tid);
	/* Twice asleep in a row, as it may sleep for a moment on its way. */
	for (int tries = 0, asleep = 0; tries < 2000 && asleep < 2; tries++) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
		if (fd >= 0)
			close(fd);
		text[n > 0 ? n : 0] = 0;
		char *state = strrchr(text, ')');
		asleep = state && state[1] == ' ' && state[2] == 'S' ? asleep + 1 : 0;
		sleep_ms(1);
	}
}

/* ---- Signals. ---- */

volatile sig_atomic_t signals_seen[65];

static void count(int sig)
{
	signals_seen[sig]++;
}

void count_signal(int sig, int flags)
{
	struct sigaction sa = {.sa_handler = count, .sa_flags = flags};
	EXPECT_OK(sigaction(sig, &sa, NULL));
}

void interrupt_every(int ms)
{
	count_signal(SIGALRM, 0);
	struct timeval tv = {ms / 1000, ms % 1000 * 1000};
	struct itimerval it = {tv, tv};
	EXPECT_OK(setitimer(ITIMER_REAL, &it, NULL));
}

void interrupt_stop(void)
{
	struct itimerval it = {{0, 0}, {0, 0}};
	EXPECT_OK(setitimer(ITIMER_REAL, &it, NULL));
}

static sigjmp_buf fault_exit;
static struct fault fault_info;

static void on_fault(int sig, siginfo_t *si, void *context)
{
	(void)context;
	fault_info = (struct fault){sig, si->si_code, si->si_addr};
	siglongjmp(fault_exit, 1);
}

static struct fault fault_touch(volatile char *p, bool write)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, old_segv, old_bus;
	EXPECT_OK(sigaction(SIGSEGV, &sa, &old_segv));
	EXPECT_OK(sigaction(SIGBUS, &sa, &old_bus));
	fault_info = (struct fault){0, 0, NULL};
	if (sigsetjmp(fault_exit, 1) == 0) {
		if (write)
			*p = 'w';
		else
			(void)*p;
	}
	EXPECT_OK(sigaction(SIGSEGV, &old_segv, NULL));
	EXPECT_OK(sigaction(SIGBUS, &old_bus, NULL));
	return fault_info;
}

struct fault fault_read(const volatile void *p)
{
	return fault_touch((volatile char *)p, false);
}

struct fault fault_write(volatile void *p)
{
	return fault_touch(p, true);
}

/* ---- Files and time. ---- */

void put_file(const char *path, const char *text)
{
	int fd = EXPECT_OK(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
	EXPECT_EQ(write(fd, text, strlen(text)), strlen(text));
	EXPECT_OK(close(fd));
}

char *get_file(const char *path)
{
	static char buf[65537];
	int fd = EXPECT_OK(open(path, O_RDONLY | O_CLOEXEC));
	size_t len = 0;
	ssize_t n;
	while ((n = read(fd, buf + len, sizeof buf - 1 - len)) > 0)
		len += n;
	EXPECT_OK(n);
	EXPECT_OK(close(fd));
	buf[len] = 0;
	return buf;
}

int open_fds(void)
{
	int count = 0;
	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

bool exists(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0;
}

int64_t now_ms(void)
{
	struct timespec ts;
	EXPECT_OK(clock_gettime(CLOCK_MONOTONIC, &ts));
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void sleep_ms(int ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

/* ---- The driver. ---- */

static void remove_tree(int dir, const char *name)
{
	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return;
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == EACCES && fchmodat(dir, name, 0700, 0) == 0)
		fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	DIR *d = fdopendir(fd);
	struct dirent *e;
	while (d && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			remove_tree(fd, e->d_name);
	if (d)
		closedir(d);
	unlinkat(dir, name, AT_REMOVEDIR);
}

/* Gives every signal its default back, unblocked. */
static void reset_signals(void)
{
	/* By the system call: the library keeps two signals to itself, which posix_spawn(3) leaves ignored. */
	unsigned long dfl[4] = {0};
	for (int sig = 1; sig < 65; sig++)
		syscall(SYS_rt_sigaction, sig, dfl, NULL, 8);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void close_all_but_standard(void)
{
	if (syscall(SYS_close_range, 3, ~0U, 0) < 0)
		for (int fd = 3; fd < 1024; fd++)
			close(fd);
}

/* Sets the soft limit, or as much of it as we may have. */
static void soft_limit(int resource, rlim_t soft)
{
	struct rlimit limit;
	if (getrlimit(resource, &limit) < 0)
		return;
	struct rlimit raised = {soft, soft};
	if (soft > limit.rlim_max && setrlimit(resource, &raised) == 0)
		return;
	limit.rlim_cur = soft < limit.rlim_max ? soft : limit.rlim_max;
	setrlimit(resource, &limit);
}

static void reset_limits(void)
{
	struct rlimit no_core = {0, 0};
	setrlimit(RLIMIT_CORE, &no_core);
	soft_limit(RLIMIT_STACK, 8 << 20);
	soft_limit(RLIMIT_NOFILE, 1024);
	static const int unlimited[] = {RLIMIT_AS, RLIMIT_CPU, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_RSS};
	for (size_t i = 0; i < sizeof unlimited / sizeof *unlimited; i++)
		soft_limit(unlimited[i], RLIM_INFINITY);
}

/* Frees the driver of what its caller left it, whoever that is, so that it forks small and clean processes: descriptors
 * (a high one makes the table of every child large, which select(2) shows), signals, timers, limits, scheduling. */
static void forget_caller(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			open("/dev/null", O_RDWR);
	close_all_but_standard();
	struct itimerval never = {{0, 0}, {0, 0}};
	for (int which = ITIMER_REAL; which <= ITIMER_PROF; which++)
		setitimer(which, &never, NULL);
	reset_signals();
	reset_limits();
	struct sched_param usual = {0};
	sched_setscheduler(0, SCHED_OTHER, &usual);
	setpriority(PRIO_PROCESS, 0, 0); /* fails for an ordinary user who was niced */
	personality(0);
	umask(022);
}

/* Turns the new process into a clean place for a case: nothing inherited but standard input, output and error. */
static void enter_case(int out, const char *dir)
{
	setsid();
	int null = open("/dev/null", O_RDWR);
	dup2(null, 0);
	dup2(out, 1);
	dup2(out, 2);
	close_all_but_standard();
	clearenv();
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setvbuf(stdout, NULL, _IONBF, 0);
	if (chdir(dir) < 0)
		FAIL("chdir to the case's directory: %s", conf_errname(errno));
}

struct outcome {
	bool failed, skipped;
	char reason[2048];
};

/* Takes one line of a case's output apart. */
static void take_line(const char *title, const char *line, struct outcome *out)
{
	if (line[0] != '\x01') {
		printf("# %s: %s\n", title, line);
	} else if (line[1] == 'R') {
		printf("RECORD %s: %s\n", title, line + 2);
	} else if (line[1] == 'S') {
		out->skipped = true;
		snprintf(out->reason, sizeof out->reason, "%s", line + 2);
	} else if (!out->failed && !out->skipped) { /* a child that skips makes its parent fail: the first word counts */
		out->failed = true;
		snprintf(out->reason, sizeof out->reason, "%s", line + 2);
	} else {
		printf("# %s: also %s\n", title, line + 2);
	}
}

/* Reads the case's output until it has ended or the time is up; returns its wait status, or -1 if that is not known. */
static int follow(const char *title, pid_t pid, int fd, struct outcome *out)
{
	static char buf[65536];
	size_t len = 0;
	int status = -1;
	bool eof = false, dead = false;
	int64_t end = now_ms() + limit_s * 1000;
	while (!dead || !eof) {
		struct pollfd p = {fd, POLLIN, 0};
		if (eof)
			sleep_ms(1);
		else if (poll(&p, 1, dead ? 0 : 10) == 0 && dead)
			break; /* a grandchild holds the pipe */
		if (p.revents) {
			ssize_t n = read(fd, buf + len, sizeof buf - 1 - len);
			eof = n <= 0;
			len += n > 0 ? n : 0;
			buf[len] = 0;
			char *line = buf, *nl;
			while ((nl = strchr(line, '\n')) || (*line && (eof || len == sizeof buf - 1))) {
				if (nl)
					*nl = 0;
				take_line(title, line, out);
				line = nl ? nl + 1 : buf + len;
			}
			len = strlen(line);
			memmove(buf, line, len + 1);
		}
		if (!dead)
			dead = waitpid(pid, &status, WNOHANG) == pid;
		if (!dead && now_ms() > end)
			return -1;
	}
	return status;
}

/* Kills what a case has left behind: its group, and its orphans, which come to us as the subreaper. */
static void sweep(pid_t pid)
{
	kill(pid, SIGKILL);
	kill(-pid, SIGKILL);
	for (int round = 0; round < 200; round++) {
		char path[64], text[4096];
		snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
		if (fd >= 0)
			close(fd);
		text[n > 0 ? n : 0] = 0;
		for (char *at = strtok(text, " "); at; at = strtok(NULL, " "))
			if (atoi(at) > 1)
				kill(atoi(at), SIGKILL);
		pid_t got;
		while ((got = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		if (got < 0)
			return;
		sleep_ms(1);
	}
}

static int run_case(const struct conf_case *c)
{
	char title[256], dir[256];
	const char *parent = getenv("TMPDIR");
	snprintf(dir, sizeof dir, "%s/conformance-XXXXXX", parent ? parent : "/tmp");
	struct outcome out = {0};
	int status = 0, fd[2];
	snprintf(title, sizeof title, "%s/%s", topic_of(c), c->name);
	if (announce)
		printf("START %s\n", title);
	fflush(stdout);
	if (!mkdtemp(dir) || chmod(dir, 0755) < 0 || pipe2(fd, O_CLOEXEC) < 0) {
		printf("FAIL %s: no directory or pipe for it: %s\n", title, conf_errname(errno));
		return 1;
	}
	pid_t pid = fork();
	if (pid == 0) {
		enter_case(fd[1], dir);
		c->run();
		_exit(0);
	}
	close(fd[1]);
	if (pid < 0) {
		out.failed = true;
		snprintf(out.reason, sizeof out.reason, "fork: %s", conf_errname(errno));
	} else {
		status = follow(title, pid, fd[0], &out);
		sweep(pid);
	}
	close(fd[0]);
	remove_tree(AT_FDCWD, dir);
	if (!out.failed && status == -1)
		snprintf(out.reason, sizeof out.reason, "no end within %d s", limit_s);
	else if (!out.failed && status && !out.skipped)
		describe(status, out.reason, sizeof out.reason);
	out.failed |= status && !out.skipped;
	if (out.failed)
		printf("FAIL %s: %s\n", title, out.reason);
	else if (out.skipped)
		printf("SKIP %s: %s\n", title, out.reason);
	else
		printf("PASS %s\n", title);
	fflush(stdout);
	return out.failed ? 1 : out.skipped ? EXIT_SKIP : 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: conformance [--limit SECONDS] [--announce] [--list | --topic TOPIC | --run TOPIC/NAME...]\n"
			"exit status: 0 all passed, 1 a case failed, 77 the only case was skipped, 2 usage\n");
	return 2;
}

int main(int argc, char **argv)
{
	const char *topic = NULL, *chosen[1024];
	int count = 0, ran = 0, failed = 0, skipped = 0;
	bool list = false;
	for (int i = 1; i < argc; i++) {
		bool more = i + 1 < argc;
		if (!strcmp(argv[i], "--list"))
			list = true;
		else if (!strcmp(argv[i], "--announce"))
			announce = true;
		else if (!strcmp(argv[i], "--limit") && more)
			limit_s = atoi(argv[++i]);
		else if (!strcmp(argv[i], "--topic") && more)
			topic = argv[++i];
		else if (!strcmp(argv[i], "--run") && more && count < 1024)
			chosen[count++] = argv[++i];
		else
			return usage();
	}
	forget_caller();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (const struct conf_case *c = cases; c; c = c->next) {
		char title[256];
		snprintf(title, sizeof title, "%s/%s", topic_of(c), c->name);
		bool wanted = count == 0;
		for (int i = 0; i < count; i++)
			wanted |= !strcmp(chosen[i], title);
		if (!wanted || (topic && strcmp(topic, topic_of(c)) != 0))
			continue;
		ran++;
		if (list) {
			puts(title);
			continue;
		}
		int result = run_case(c);
		failed += result == 1;
		skipped += result == EXIT_SKIP;
	}
	if (ran == 0)
		return usage();
	return failed ? 1 : ran == 1 && skipped ? EXIT_SKIP : 0;
}

void send_fd(int sock, int fd)
{
	char data = 'd', control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {&data, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	EXPECT_EQ(sendmsg(sock, &msg, 0), 1);
}

int receive_fd(int sock, int flags, int *msg_flags)
{
	char data, control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {&data, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	EXPECT_EQ(recvmsg(sock, &msg, flags), 1);
	if (msg_flags)
		*msg_flags = msg.msg_flags;
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	if (!c)
		return -1;
	EXPECT_EQ(c->cmsg_type, SCM_RIGHTS);
	EXPECT_EQ(c->cmsg_len, CMSG_LEN(sizeof(int)));
	int fd;
	memcpy(&fd, CMSG_DATA(c), sizeof fd);
	return fd;
}
