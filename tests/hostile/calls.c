/* A guest that makes random system calls with nasty arguments, while a second thread changes what they point to.
 *
 * Usage: calls SEED SECONDS. Whatever it does, the kernel below must neither crash nor hang: each round is a process that
 * must end when it is killed. A round is determined by its number, which is printed if it does not; `calls SEED 0` plays
 * only that one. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { POOL = 1 << 16, CALLS = 4000, ROUND_MS = 1200, END_MS = 15000, LAST_CALL = 470 };

static uint64_t *pool; /* what arguments point to: words that may be anything, pointers into the pool among them */
static pid_t parent;
static volatile uint64_t *calls;
static volatile uint64_t state;

static uint64_t rnd(void)
{
	state += 0x9e3779b97f4a7c15;
	uint64_t z = state;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static uint64_t below(uint64_t n)
{
	return rnd() % n;
}

/* Without the C library, whose errno is in memory that the calls may have taken away. */
static long raw(long nr, const uint64_t a[6])
{
	long ret;
	register uint64_t r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = a[5];
	__asm__ volatile("syscall" : "=a"(ret)
			 : "0"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static uint64_t nasty(void)
{
	static const uint64_t values[] = {
		0, 1, 2, 3, 7, 8, 16, 63, 64, 65, 127, 128, 255, 256, 511, 512, 1000, 4095, 4096, 4097, 65535, 65536, 1 << 20,
		(1 << 20) + 1, INT32_MAX, 1UL << 31, UINT32_MAX, 1UL << 32, (1UL << 32) + 1, 1UL << 40, 1UL << 46, (1UL << 47) - 4096,
		(1UL << 47) - 1, 1UL << 47, INT64_MAX - 4095, INT64_MAX, 1UL << 63, -1UL, -2UL, -4095UL, -4096UL, -100UL,
		1000000000, 999999999, 0xdeadbeef, 0x7fff8000,
	};
	return values[below(sizeof values / sizeof *values)];
}

static uint64_t pointer(void)
{
	switch (below(12)) {
	case 0:
		return nasty();
	case 1:
		return (uint64_t)pool + POOL - below(64); /* beyond its end there is nothing */
	default:
		return (uint64_t)pool + below(POOL / 8) * 8;
	}
}

static uint64_t word(void)
{
	switch (below(6)) {
	case 0:
		return nasty();
	case 1:
		return pointer();
	case 2:
		return below(64) | below(64) << 32; /* two small numbers */
	case 3:
		return 1UL << below(64);
	case 4:
		return rnd();
	default:
		return below(40);
	}
}

static const char *const paths[] = {
	"", ".", "..", "/", "f", "d", "d/x", "link", "loop", "fifo", "sock", "/dev/null", "/dev/zero", "/dev/full", "/dev/tty",
	"/dev/ptmx", "/dev/pts/0", "/dev/shm/x", "/proc/self/mem", "/proc/self/maps", "/proc/self/fd/3", "/proc/self/ns/mnt",
	"/proc/self/environ", "/proc/self/oom_score_adj", "/proc/self/root", "/proc/1/stat", "/proc/sys/kernel/hostname",
	"/proc/self/attr/current", "/proc/self/task", "/sys/devices/system/cpu/online", "/bin/true", "/etc/passwd",
	"/usr/lib", "/a/very/long/way/to/nowhere", "tmpfs", "proc", "user.x", "system.posix_acl_access", "security.capability",
	"memory", "/queue",
};

static void fill(void)
{
	for (int i = 0; i < POOL / 8; i++)
		pool[i] = word();
	for (int i = 0; i < 200; i++)
		strcpy((char *)pool + below(POOL / 8 - 8) * 8, paths[below(sizeof paths / sizeof *paths)]);
}

static uint64_t path(void)
{
	char *at = (char *)pool + below(POOL / 8 - 8) * 8;
	strcpy(at, paths[below(sizeof paths / sizeof *paths)]);
	return (uint64_t)at;
}

/* One argument, of whatever sort: the calls are not told apart, so that none is left out. */
static uint64_t argument(void)
{
	switch (below(10)) {
	case 0:
		return nasty();
	case 1:
	case 2:
		return below(48); /* a descriptor, mostly */
	case 3:
	case 4:
	case 5:
		return pointer();
	case 6:
		return path();
	case 7:
		return 1UL << below(32);
	case 8:
		return word();
	default:
		return below(300);
	}
}

static void open_many(void)
{
	int pair[2];
	sigset_t all;
	sigfillset(&all);
	mkdir("d", 0755);
	symlink("d/x", "link");
	symlink("loop", "loop");
	mkfifo("fifo", 0666);
	(void)!open("f", O_RDWR | O_CREAT, 0666);
	(void)!ftruncate(3, 100000);
	(void)!open("d", O_RDONLY);
	(void)!open("fifo", O_RDWR);
	(void)!open("/dev/ptmx", O_RDWR | O_NOCTTY);
	(void)!open("/dev/zero", O_RDWR);
	(void)!open("/proc/self/maps", O_RDONLY);
	(void)!open("/proc/self/fd", O_RDONLY);
	(void)!open("/etc/passwd", O_RDONLY);
	(void)!open("/usr/bin", O_RDONLY);
	(void)!open(".", O_PATH);
	(void)!pipe2(pair, O_NONBLOCK);
	(void)!pipe(pair);
	(void)!memfd_create("m", MFD_ALLOW_SEALING);
	eventfd(1, EFD_NONBLOCK);
	epoll_create1(0);
	timerfd_create(CLOCK_MONOTONIC, 0);
	signalfd(-1, &all, SFD_NONBLOCK);
	inotify_init1(IN_NONBLOCK);
	(void)!socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	(void)!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair);
	(void)!socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair);
	socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	socket(AF_INET, SOCK_DGRAM, 0);
	socket(AF_INET6, SOCK_STREAM, 0);
	socket(AF_NETLINK, SOCK_RAW, 0);
	syscall(SYS_pidfd_open, getpid(), 0);
}

static int reaches_others(long nr)
{
	return nr == SYS_kill || nr == SYS_tkill || nr == SYS_tgkill || nr == SYS_rt_sigqueueinfo ||
	       nr == SYS_rt_tgsigqueueinfo || nr == SYS_prlimit64 || nr == SYS_process_vm_writev || nr == SYS_pidfd_open ||
	       nr == SYS_sched_setaffinity || nr == SYS_sched_setscheduler || nr == SYS_setpriority;
}

static int left_out(long nr)
{
	return nr == SYS_exit || nr == SYS_exit_group || nr == SYS_setrlimit || nr == SYS_reboot || nr == SYS_prlimit64;
}

static uint64_t one_of(const uint64_t *values, size_t count)
{
	return values[below(count)];
}
#define ONE_OF(...) one_of((const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

/* Calls that do very different things by one argument, which is seldom hit upon by chance. */
static long rich(uint64_t a[6])
{
	switch (below(14)) {
	case 0: /* terminals, files and sockets */
		a[1] = below(3) ? 0x5401 + below(0x65) : ONE_OF(0x8901 + below(0x60), 0x80045430, 0x40045431, 0x5441, 0x80086601, 0x40086602);
		return SYS_ioctl;
	case 1:
		a[1] = below(2) ? below(17) : 1024 + below(16);
		return SYS_fcntl;
	case 2:
		a[0] = below(3) ? 0 : pointer() & ~0xfff;
		a[1] = below(64) * 4096 + (below(8) ? 0 : nasty());
		a[2] = below(8);
		a[3] = (1 + below(3)) | (below(3) ? 0x20 : 0) | (below(5) ? 0 : 1UL << below(22));
		a[4] = below(48);
		a[5] = below(4) * 4096;
		return SYS_mmap;
	case 3:
		a[0] = below(2) ? below(75) : ONE_OF(0x53564d41, 0x59616d61);
		return SYS_prctl;
	case 4:
	case 5:
		a[1] = ONE_OF(0, 1, 6, 17, 41, 270);
		a[2] = below(80);
		return below(2) ? SYS_setsockopt : SYS_getsockopt;
	case 6:
		a[1] = 1 + below(3);
		a[2] = below(48);
		return SYS_epoll_ctl;
	case 7:
		a[0] = pointer() & ~3;
		a[1] = below(14) | (below(2) ? 128 : 0) | (below(8) ? 0 : 256);
		return SYS_futex;
	case 8:
		a[0] = below(3) ? -100UL : below(48);
		a[1] = path();
		a[2] = below(3) | (below(2) ? 0 : 1UL << below(24));
		return SYS_openat;
	case 9:
		a[0] = path(), a[1] = path(), a[2] = path();
		a[3] = below(2) ? 0 : 1UL << below(25);
		return SYS_mount;
	case 10:
		a[0] = below(20), a[1] = 1 + below(6) + (below(2) ? 04000 : 0), a[2] = below(20);
		return SYS_socket;
	case 11:
		return ONE_OF(SYS_read, SYS_write, SYS_pread64, SYS_pwrite64, SYS_readv, SYS_writev, SYS_getdents64, SYS_sendfile,
			      SYS_splice, SYS_tee, SYS_copy_file_range, SYS_lseek, SYS_ftruncate, SYS_fallocate);
	case 12:
		return ONE_OF(SYS_sendmsg, SYS_recvmsg, SYS_sendto, SYS_recvfrom, SYS_bind, SYS_connect, SYS_listen, SYS_accept4,
			      SYS_shutdown, SYS_sendmmsg, SYS_recvmmsg);
	default: /* memory that is really there */
		a[0] = (uint64_t)pool + below(16) * 4096;
		a[1] = below(4) * 4096;
		return ONE_OF(SYS_mprotect, SYS_madvise, SYS_mremap, SYS_msync, SYS_mincore, SYS_mlock, SYS_munlock);
	}
}

static void call(void)
{
	uint64_t a[6];
	for (int i = 0; i < 6; i++)
		a[i] = argument();
	long nr = below(2) ? rich(a) : (long)below(LAST_CALL);
	if (left_out(nr) || (nr == SYS_rt_sigreturn && below(20)))
		return;
	if (reaches_others(nr)) {
		int pid = a[0];
		if (pid == parent || pid == -parent || pid == 1 || pid == -1)
			a[0] = getpid();
	}
	int makes = nr == SYS_fork || nr == SYS_vfork || nr == SYS_clone || nr == SYS_clone3;
	if (nr == SYS_vfork)
		nr = SYS_fork; /* the child would return on our stack */
	if (raw(nr, a) == 0 && makes)
		raw(SYS_exit_group, (uint64_t[6]){0});
}

static void *meddle(void *arg)
{
	uint64_t z = (uint64_t)arg;
	for (;;) {
		z = z * 6364136223846793005 + 1442695040888963407;
		pool[(z >> 33) % (POOL / 8)] ^= z >> 20;
		if (z >> 54 == 0)
			sched_yield();
	}
	return NULL;
}

static void nothing(int sig)
{
	(void)sig;
}

/* Takes back what keeps calls from being interrupted. */
static void interrupt_often(void)
{
	struct sigaction sa = {.sa_handler = nothing};
	sigset_t none;
	struct itimerval it = {{0, 5000}, {0, 5000}};
	sigemptyset(&none);
	sigaction(SIGALRM, &sa, NULL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setitimer(ITIMER_REAL, &it, NULL);
}

static void limit(int which, uint64_t value)
{
	struct rlimit rl = {value, value};
	setrlimit(which, &rl);
}

static void round_of(uint64_t number)
{
	state = number * 0x2545f4914f6cdd1d;
	setsid();
	int null = open("/dev/null", O_RDWR);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	close(null);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	limit(RLIMIT_AS, 1UL << 30);
	limit(RLIMIT_FSIZE, 32 << 20);
	limit(RLIMIT_NPROC, 60);
	char dir[64];
	snprintf(dir, sizeof dir, "/tmp/calls-%d", getpid());
	mkdir(dir, 0777);
	chmod(dir, 0777);
	if (chdir(dir) < 0)
		_exit(1);
	if (unshare(CLONE_NEWNS) < 0)
		_exit(1);
	char *space = mmap(NULL, POOL + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(space + POOL, 4096);
	pool = (uint64_t *)space;
	open_many();
	if (number % 3 == 0 && (setgroups(0, NULL) < 0 || setgid(1000) < 0 || setuid(1000) < 0))
		_exit(1);
	fill();
	pthread_t thread;
	if (number % 2)
		pthread_create(&thread, NULL, meddle, (void *)rnd());
	for (int i = 0; i < CALLS; i++) {
		if (i % 500 == 499)
			fill();
		if (i % 10 == 0)
			interrupt_often();
		call();
		++*calls;
	}
	_exit(0);
}

static int64_t now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Waits for the process; returns whether it ended in time. */
static int ends(pid_t pid, int ms)
{
	for (int64_t end = now_ms() + ms; now_ms() < end; usleep(2000))
		if (waitpid(pid, NULL, WNOHANG) != 0)
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	int64_t end = now_ms() + (argc > 2 ? atoi(argv[2]) : 10) * 1000;
	uint64_t rounds = 0;
	parent = getpid();
	calls = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	/* What rounds leave behind may send anything. */
	for (int sig = 1; sig < 65; sig++)
		if (sig != SIGCHLD)
			signal(sig, SIG_IGN);
	do {
		pid_t pid = fork();
		if (pid == 0)
			round_of(seed + rounds);
		if (pid < 0) {
			printf("round %lu: no process: %s\n", seed + rounds, strerror(errno));
			return 1;
		}
		if (!ends(pid, ROUND_MS)) {
			kill(pid, SIGKILL);
			if (!ends(pid, END_MS)) {
				printf("round %lu does not end\n", seed + rounds);
				return 1;
			}
		}
		rounds++;
	} while (now_ms() < end);
	printf("%lu rounds of %lu calls\n", rounds, *calls);
	return 0;
}
