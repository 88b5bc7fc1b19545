/* A guest that attacks what its process shares with the platform: it jumps into the stub's text, calls from there, forges
 * returns from signals, and writes over the shared pages while it works.
 *
 * Usage: stub SEED SECONDS CANARY. Each round is a process that must end, at the latest when it is killed, and another
 * process must go on working all the time. CANARY names a file that calls try to make. Without arguments, the first process
 * itself never answers again. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { ROUND_MS = 400, END_MS = 15000, WORK_MS = 15000, LEAPS = 3000 };
enum { TEXT_LEN = 0x4000, RESPONSE = 0x8000, BLOCKS = 0x1000000, BLOCK = 0x4000, HEAD = 0x3c00, CHUNK = 16 };

static uint64_t region, data; /* the platform's pages; pages of ours */
static const char *canary;
static uint64_t state;

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

/* Registers for a leap, in the order of the instructions that load them. */
struct regs {
	uint64_t rax, rbx, rcx, rdx, rsi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rsp, rdi;
};

void leap(const struct regs *regs);
void landed(void);
uint64_t leap_target, leap_stack;
volatile int leaping;
__asm__(".intel_syntax noprefix\n"
	"leap:\n"
	"push rbx; push rbp; push r12; push r13; push r14; push r15\n"
	"mov leap_stack[rip], rsp; mov dword ptr leaping[rip], 1\n"
	"mov rax, [rdi]; mov rbx, [rdi + 8]; mov rcx, [rdi + 16]; mov rdx, [rdi + 24]; mov rsi, [rdi + 32]\n"
	"mov rbp, [rdi + 40]; mov r8, [rdi + 48]; mov r9, [rdi + 56]; mov r10, [rdi + 64]; mov r11, [rdi + 72]\n"
	"mov r12, [rdi + 80]; mov r13, [rdi + 88]; mov r14, [rdi + 96]; mov r15, [rdi + 104]; mov rsp, [rdi + 112]\n"
	"mov rdi, [rdi + 120]\n"
	"jmp leap_target[rip]\n"
	"landed:\n"
	"mov rsp, leap_stack[rip]; cld\n"
	"pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx\n"
	"ret\n"
	".att_syntax\n");

/* The thread's; a patched call needs gs as the platform has set it. */
static uint64_t own_fs, own_gs;
/* Back from wherever the leap has led. The stub's code may have changed what the C library relies on. */
static void come_back(int sig, siginfo_t *info, void *uc)
{
	ucontext_t *context = uc;
	(void)sig, (void)info;
	__asm__ volatile("wrfsbase %0; wrgsbase %1" : : "r"(own_fs), "r"(own_gs));
	if (!leaping)
		return;
	leaping = 0;
	context->uc_mcontext.gregs[REG_RIP] = (long)landed;
	context->uc_mcontext.gregs[REG_EFL] = 0x202;
	memset(&context->uc_sigmask, 0, sizeof context->uc_sigmask);
}

static void catch_all(void)
{
	static char stack[1 << 16];
	stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};
	struct sigaction sa = {.sa_sigaction = come_back, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
	static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS, SIGALRM};
	struct itimerval it = {{0, 3000}, {0, 3000}};
	__asm__ volatile("rdfsbase %0; rdgsbase %1" : "=r"(own_fs), "=r"(own_gs));
	sigaltstack(&alt, NULL);
	for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
		sigaction(signals[i], &sa, NULL);
	setitimer(ITIMER_REAL, &it, NULL);
}

static void leap_to(uint64_t target, const struct regs *regs, uint64_t gs)
{
	leap_target = target;
	__asm__ volatile("wrgsbase %0" : : "r"(gs));
	leap(regs);
}

static uint64_t somewhere(void)
{
	uint64_t head = region + BLOCKS + below(3) * BLOCK + HEAD;
	switch (below(9)) {
	case 0:
		return 0;
	case 1:
		return -1UL;
	case 2:
		return region + below(TEXT_LEN);
	case 3:
		return region + RESPONSE + below(512) * 8;
	case 4:
	case 5:
		return head;
	case 6:
		return head - below(HEAD / 8) * 8;
	case 7:
		return below(512);
	default:
		return data + below(4096 * 8 / 8) * 8;
	}
}

static struct regs some_regs(void)
{
	struct regs regs;
	uint64_t *words = (uint64_t *)&regs;
	for (unsigned i = 0; i < sizeof regs / 8; i++)
		words[i] = somewhere();
	return regs;
}

/* In rax, so that calls from within the stub's text are not only the stub's own; nothing that would hit our own kind. */
static uint64_t call_number(void)
{
	for (;;) {
		uint64_t nr = below(471);
		switch (nr) {
		case SYS_kill: case SYS_tkill: case SYS_tgkill: case SYS_rt_sigqueueinfo: case SYS_rt_tgsigqueueinfo:
		case SYS_pidfd_send_signal: case SYS_reboot: case SYS_exit: case SYS_exit_group: case SYS_pause:
			continue;
		default:
			return nr;
		}
	}
}

static void jump_about(void)
{
	catch_all();
	for (int i = 0; i < LEAPS; i++) {
		struct regs regs = some_regs();
		leap_to(region + below(TEXT_LEN / 2), &regs, below(10) ? own_gs : somewhere());
	}
}

/* Every `syscall` instruction of the stub, with calls that would make a file, map memory and so on. */
static void call_from_the_stub(void)
{
	uint64_t places[64];
	int count = 0;
	for (const uint8_t *at = (uint8_t *)region; at < (uint8_t *)region + TEXT_LEN - 1 && count < 64; at++)
		if (at[0] == 0x0f && at[1] == 0x05)
			places[count++] = (uint64_t)at;
	catch_all();
	for (int i = 0; i < LEAPS; i++) {
		struct regs regs = some_regs();
		regs.rax = call_number();
		switch (below(4)) {
		case 0:
			regs.rax = below(2) ? SYS_creat : SYS_mkdir;
			regs.rdi = (uint64_t)canary, regs.rsi = 0777;
			break;
		case 1:
			regs.rax = SYS_openat;
			regs.rdi = -100, regs.rsi = (uint64_t)canary, regs.rdx = O_CREAT | O_RDWR, regs.r10 = 0666;
			break;
		case 2:
			regs.rax = below(2) ? SYS_mmap : SYS_mprotect;
			regs.rdi = region, regs.rsi = TEXT_LEN, regs.rdx = 7, regs.r10 = 0x31;
			break;
		default:
			break;
		}
		leap_to(places[below(count)], &regs, below(10) ? own_gs : somewhere());
	}
}

/* The other ways that the processor has. */
static void call_by_gates(void)
{
	static const uint8_t gates[][2] = {{0xcd, 0x80}, {0x0f, 0x34}, {0x0f, 0x05}};
	uint8_t *code = mmap((void *)0x20000000, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	catch_all();
	for (int i = 0; i < LEAPS; i++) {
		struct regs regs = some_regs();
		memcpy(code, gates[below(3)], 2);
		memcpy(code + 2, "\x0f\x0b", 2);
		/* At 16: into 32-bit code. */
		memcpy(code + 16, "\x6a\x23\x68\x00\x00\x00\x20\x48\xcb", 9);
		regs.rax = call_number();
		regs.rsp = data + 4096;
		int how = below(3);
		if (how == 2)
			memcpy((void *)regs.rsp, &(uint64_t){0x20000002}, 8);
		leap_to(how == 2 ? 0xffffffffff600000 + below(3) * 0x400 : 0x20000000UL + how * 16, &regs, own_gs);
	}
}

/* Sites of all kinds that get patched, in our own text. */
long site_whole(void), site_after(long nr), site_before(long nr);
__asm__("site_whole: mov $110, %eax\n syscall\n ret\n"
	"site_after: mov %rdi, %rax\n jmp 1f\n 1: syscall\n cmp $-4095, %rax\n ret\n"
	"site_before: mov %rdi, %rax\n mov %rcx, %r10\n syscall\n ret\n");

/* Patched sites, while they are called, and their trampolines. */
static void jump_into_patches(void)
{
	uint64_t sites[] = {(uint64_t)site_whole, (uint64_t)site_after + 5, (uint64_t)site_before + 3};
	catch_all();
	for (int i = 0; i < LEAPS; i++) {
		for (int j = 0; j < 20 && i % 50 == 0; j++)
			site_whole(), site_after(SYS_getppid), site_before(SYS_getppid);
		uint64_t site = sites[below(3)], target = site + below(8);
		int32_t distance;
		memcpy(&distance, (void *)(site + 1), 4);
		if (*(uint8_t *)site == 0xe9 && below(2))
			target = site + 5 + distance + below(100);
		struct regs regs = some_regs();
		regs.rax = call_number();
		leap_to(target, &regs, below(10) ? own_gs : somewhere());
	}
}

/* Where the stub returns from signals: mov eax, 15; syscall. */
static uint64_t sigreturn_place(void)
{
	const uint8_t *found = memmem((void *)region, TEXT_LEN, "\xb8\x0f\0\0\0\x0f\x05", 7);
	return found ? (uint64_t)found : region;
}

static void forge_frame(uint64_t *frame, uint64_t mask, uint64_t rip)
{
	memset(frame, 0, 512);
	frame[0] = 7; /* behind the restorer's address: flags, the stack, the registers */
	frame[20] = data + 8192;
	frame[21] = rip, frame[22] = 0x202, frame[23] = 0x33 | 0x2bUL << 48;
	frame[37] = mask;
}

static void forge_returns(void)
{
	uint64_t *frame = (uint64_t *)data, place = sigreturn_place();
	catch_all();
	for (int i = 0; i < LEAPS; i++) {
		struct regs regs = some_regs();
		forge_frame(frame, 0, below(2) ? region + below(TEXT_LEN / 2) : (uint64_t)landed);
		for (uint64_t n = below(4); n > 0; n--)
			frame[below(40)] = somewhere();
		regs.rsp = data;
		leap_to(place, &regs, own_gs);
	}
}

/* With all signals blocked on the host, so that those of its own timer never reach it: killed by the platform. */
static void never_answer(void)
{
	static const uint8_t loop[] = {0xeb, 0xfe, 0xc3};
	uint8_t *code = mmap(NULL, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct regs regs = {.rsp = data};
	memcpy(code, loop, sizeof loop);
	/* So that the page is there for the host. */
	((void (*)(void))(uint64_t)(code + 2))();
	catch_all();
	/* Again, if the timer was faster. */
	for (;;) {
		forge_frame((uint64_t *)data, -1UL, (uint64_t)code);
		leap_to(sigreturn_place(), &regs, own_gs);
	}
}

static void *scribble(void *arg)
{
	uint64_t z = (uint64_t)arg, mask = z % 3 == 0 ? 3 : z % 3 == 1 ? 0xff : -1UL;
	uint64_t at = region + (z >> 8) % 2 * RESPONSE, len = 4096;
	if (at == region) {
		/* One thread's words, one's block, or all. */
		uint64_t block = region + BLOCKS + (z >> 16) % 4 * BLOCK, parts[][2] = {{block + HEAD, 64}, {block, BLOCK},
			{block + HEAD + 512, 256}, {region + BLOCKS, CHUNK * BLOCK}};
		at = parts[(z >> 24) % 4][0], len = parts[(z >> 24) % 4][1];
	}
	for (;;) {
		z = z * 6364136223846793005 + 1442695040888963407;
		*(volatile uint32_t *)(at + (z >> 33) % (len / 4) * 4) = z >> 20 & mask;
	}
	return NULL;
}

static void *make_calls(void *arg)
{
	char buf[64];
	int fd = open("/proc/self/stat", O_RDONLY);
	for (;;) {
		sigset_t all, old;
		sigfillset(&all);
		sigprocmask(SIG_BLOCK, &all, &old);
		getppid();
		(void)!pread(fd, buf, sizeof buf, 0);
		sigprocmask(SIG_SETMASK, &old, NULL);
		munmap(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0), 8192);
	}
	return arg;
}

static void *nothing(void *arg)
{
	return arg;
}

static void run_true(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	waitpid(pid, NULL, 0);
}

/* Writes over what is shared while threads call, others come and go, and processes are made. */
static void scribble_about(void)
{
	pthread_t thread;
	pthread_create(&thread, NULL, make_calls, NULL);
	pthread_create(&thread, NULL, make_calls, NULL);
	pthread_create(&thread, NULL, scribble, (void *)rnd());
	for (;;) {
		if (pthread_create(&thread, NULL, nothing, NULL) == 0)
			pthread_join(thread, NULL);
		run_true();
	}
}

static void (*const attacks[])(void) = {
	jump_about, jump_into_patches, call_from_the_stub, call_by_gates, forge_returns, scribble_about, scribble_about, scribble_about,
};
enum { ATTACKS = sizeof attacks / sizeof *attacks };

static void round_of(uint64_t number, int first)
{
	state = number * 0x2545f4914f6cdd1d;
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	struct rlimit processes = {200, 200}, memory = {1UL << 30, 1UL << 30};
	setrlimit(RLIMIT_NPROC, &processes);
	setrlimit(RLIMIT_AS, &memory);
	int null = open("/dev/null", O_RDWR);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	if (first)
		never_answer();
	/* Most end by their own doing, soon. */
	for (pid_t pid; (pid = fork()) >= 0; waitpid(pid, NULL, 0)) {
		rnd();
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			attacks[number % ATTACKS]();
			_exit(0);
		}
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
static int ends(pid_t pid, int ms, int *status)
{
	for (int64_t end = now_ms() + ms; now_ms() < end; usleep(2000))
		if (waitpid(pid, status, WNOHANG) != 0)
			return 1;
	return 0;
}

/* Another process: works all the time, and says with each byte that it still does. */
static pid_t start_worker(int *out)
{
	int pipes[2];
	if (pipe2(pipes, O_NONBLOCK) < 0)
		exit(1);
	pid_t pid = fork();
	if (pid != 0) {
		close(pipes[1]);
		*out = pipes[0];
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (uint64_t i = 1;; i++) {
		uint64_t back = 0;
		FILE *file = tmpfile();
		run_true();
		if (!file || fwrite(&i, 8, 1, file) != 1 || fseek(file, 0, SEEK_SET) || fread(&back, 8, 1, file) != 1 || back != i)
			_exit(1);
		fclose(file);
		(void)!write(pipes[1], "", 1);
		usleep(1000);
	}
}

static int worker_works(int from)
{
	char buf[4096];
	while (read(from, buf, sizeof buf) > 0) {
	}
	for (int64_t end = now_ms() + WORK_MS; now_ms() < end; usleep(1000))
		if (read(from, buf, sizeof buf) > 0)
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	int64_t end = now_ms() + (argc > 2 ? atoi(argv[2]) : 10) * 1000;
	canary = argc > 3 ? argv[3] : "/tmp/canary";
	region = getauxval(AT_SYSINFO_EHDR) & ~0xfffffffUL;
	data = (uint64_t)mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (argc == 1)
		never_answer();
	int from, killed = 0, died = 0;
	start_worker(&from);
	uint64_t rounds = 0;
	do {
		int status = 0;
		pid_t pid = fork();
		if (pid == 0)
			round_of(seed + rounds, rounds == 0);
		if (pid < 0) {
			printf("round %lu: no process: %s\n", seed + rounds, strerror(errno));
			return 1;
		}
		if (!ends(pid, rounds == 0 ? END_MS : ROUND_MS, &status)) {
			killed++;
			kill(pid, SIGKILL);
			if (!ends(pid, END_MS, &status)) {
				printf("round %lu does not end\n", seed + rounds);
				return 1;
			}
		} else if (WIFSIGNALED(status)) {
			died++;
		}
		if (!worker_works(from)) {
			printf("round %lu: another process does not go on\n", seed + rounds);
			return 1;
		}
		rounds++;
	} while (now_ms() < end || rounds < ATTACKS + 1);
	printf("%lu rounds, %d died of it, %d were killed\n", rounds, died, killed);
	return 0;
}
