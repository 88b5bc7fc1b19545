/* Address spaces: mmap and its errors, protection, faults, fork, mremap, brk, locks, the stack, /proc/self/maps. */
#include "../harness.h"
#include <sys/auxv.h>
#include <sys/uio.h>

#define PAGE 4096UL

static char *anon(size_t len)
{
	return EXPECT_OK(mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

/* A stretch of addresses where nothing is mapped. */
static char *free_space(size_t len)
{
	char *p = anon(len);
	EXPECT_OK(munmap(p, len));
	return p;
}

static void expect_fault(struct fault f, int sig, int code, void *addr, int line)
{
	if (f.sig != sig || f.code != code || f.addr != addr)
		conf_fail("memory.c", line, "signal %d code %d at %p, not signal %d code %d at %p", f.sig, f.code, f.addr,
			  sig, code, addr);
}
#define EXPECT_FAULT(f, sig, code, addr) expect_fault(f, sig, code, addr, __LINE__)
#define EXPECT_NO_FAULT(f) expect_fault(f, 0, 0, NULL, __LINE__)

CASE(mmap_errors)
{
	put_file("f", "x");
	int fd = EXPECT_OK(open("f", O_RDWR)), ro = EXPECT_OK(open("f", O_RDONLY)), wo = EXPECT_OK(open("f", O_WRONLY));
	int rw = PROT_READ | PROT_WRITE, pa = MAP_PRIVATE | MAP_ANONYMOUS;
	EXPECT_ERRNO(mmap(NULL, 0, rw, pa, -1, 0), EINVAL);
	EXPECT_ERRNO(mmap(NULL, PAGE, rw, MAP_ANONYMOUS, -1, 0), EINVAL); /* neither private nor shared */
	EXPECT_ERRNO(mmap(NULL, PAGE, rw, MAP_PRIVATE, fd, 1), EINVAL);
	EXPECT_ERRNO(mmap(NULL, PAGE, rw, MAP_PRIVATE, -1, 0), EBADF);
	EXPECT_ERRNO(mmap((void *)1, PAGE, rw, pa | MAP_FIXED, -1, 0), EINVAL);
	EXPECT_ERRNO(mmap(NULL, 1UL << 47, rw, pa, -1, 0), ENOMEM);
	EXPECT_ERRNO(mmap(NULL, SIZE_MAX, rw, pa, -1, 0), ENOMEM);
	EXPECT_ERRNO(mmap((void *)(1UL << 47), PAGE, rw, pa | MAP_FIXED, -1, 0), ENOMEM);
	EXPECT_ERRNO(mmap(NULL, PAGE, rw, MAP_SHARED, ro, 0), EACCES);
	EXPECT_OK(mmap(NULL, PAGE, rw, MAP_PRIVATE, ro, 0));
	EXPECT_ERRNO(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, wo, 0), EACCES);
	EXPECT_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, wo, 0), EACCES);
	EXPECT_ERRNO(syscall(SYS_mmap, NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, -(long)PAGE), EOVERFLOW);
	EXPECT_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | 0x1000000, fd, 0), EOPNOTSUPP);
	EXPECT_OK(mmap(NULL, 1, rw, pa, -1, 0));
}

CASE(hint_is_taken_if_free)
{
	char *at = free_space(8 * PAGE);
	EXPECT_EQ(mmap(at, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), at);
	CHECK(mmap(at, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != at);
	EXPECT_EQ(mmap(at + 5 * PAGE + 5, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), at + 5 * PAGE);
}

CASE(mappings_go_downwards_and_join)
{
	char *a = anon(PAGE), *b = anon(PAGE);
	EXPECT_EQ(a - b, PAGE);
}

CASE(fixed_replaces)
{
	char *m = anon(3 * PAGE);
	memset(m, 'x', 3 * PAGE);
	EXPECT_EQ(mmap(m + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), m + PAGE);
	CHECK(m[0] == 'x' && m[PAGE] == 0 && m[2 * PAGE] == 'x');
	EXPECT_ERRNO(mmap(m, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
	EXPECT_EQ(m[0], 'x');
	EXPECT_OK(munmap(m + PAGE, PAGE));
	EXPECT_EQ(mmap(m + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), m + PAGE);
}

CASE(munmap_rules)
{
	char *m = anon(4 * PAGE);
	EXPECT_ERRNO(munmap(m + 1, PAGE), EINVAL);
	EXPECT_ERRNO(munmap(m, 0), EINVAL);
	EXPECT_ERRNO(munmap((void *)(1UL << 47), PAGE), EINVAL);
	EXPECT_OK(munmap(m + PAGE, 1)); /* rounded up */
	EXPECT_OK(munmap(m + PAGE, PAGE)); /* nothing there: fine */
	EXPECT_NO_FAULT(fault_read(m));
	EXPECT_FAULT(fault_read(m + PAGE), SIGSEGV, SEGV_MAPERR, m + PAGE);
	EXPECT_NO_FAULT(fault_read(m + 2 * PAGE));
}

static const char constant[64] = "in a read-only section";

CASE(fault_codes)
{
	char *ro = anon(PAGE);
	EXPECT_OK(mprotect(ro, PAGE, PROT_READ));
	char *none = EXPECT_OK(mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	EXPECT_FAULT(fault_read((char *)0), SIGSEGV, SEGV_MAPERR, (char *)0);
	EXPECT_FAULT(fault_write((char *)64), SIGSEGV, SEGV_MAPERR, (char *)64);
	EXPECT_FAULT(fault_write(ro + 17), SIGSEGV, SEGV_ACCERR, ro + 17);
	EXPECT_NO_FAULT(fault_read(ro + 17));
	EXPECT_FAULT(fault_read(none + 5), SIGSEGV, SEGV_ACCERR, none + 5);
	EXPECT_FAULT(fault_write((char *)constant), SIGSEGV, SEGV_ACCERR, (char *)constant);
	/* Not canonical: a general protection fault, whose address nobody knows. */
	EXPECT_FAULT(fault_read((char *)0x8000000000000000), SIGSEGV, SI_KERNEL, NULL);
}

CASE(fault_kills)
{
	CHILD(p) {
		*(volatile char *)8 = 1;
	}
	EXPECT_KILLED(p, SIGSEGV);
	CHILD(q) { /* a blocked or ignored fault kills just as well */
		signal(SIGSEGV, SIG_IGN);
		*(volatile char *)8 = 1;
	}
	EXPECT_KILLED(q, SIGSEGV);
	CHILD(r) {
		sigset_t s;
		sigfillset(&s);
		sigprocmask(SIG_SETMASK, &s, NULL);
		count_signal(SIGSEGV, 0);
		*(volatile char *)8 = 1;
	}
	EXPECT_KILLED(r, SIGSEGV);
}

CASE(mprotect_rules)
{
	char *m = anon(4 * PAGE);
	EXPECT_ERRNO(mprotect(m + 1, PAGE, PROT_READ), EINVAL);
	EXPECT_OK(mprotect(m, 0, PROT_READ));
	EXPECT_ERRNO(mprotect(m, PAGE, 0x100), EINVAL);
	EXPECT_OK(munmap(m + 2 * PAGE, PAGE));
	/* Over a hole: what lies before it has changed. */
	EXPECT_ERRNO(mprotect(m, 4 * PAGE, PROT_READ), ENOMEM);
	EXPECT_FAULT(fault_write(m + PAGE), SIGSEGV, SEGV_ACCERR, m + PAGE);
	EXPECT_NO_FAULT(fault_write(m + 3 * PAGE));
	EXPECT_OK(mprotect(m, 2 * PAGE, PROT_NONE));
	EXPECT_OK(mprotect(m, 2 * PAGE, PROT_READ | PROT_WRITE));
	put_file("f", "x");
	int ro = EXPECT_OK(open("f", O_RDONLY));
	char *f = EXPECT_OK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, ro, 0));
	EXPECT_ERRNO(mprotect(f, PAGE, PROT_READ | PROT_WRITE), EACCES);
}

CASE(execute_protection)
{
	unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42, %eax; ret */
	char *m = anon(PAGE);
	memcpy(m, code, sizeof code);
	EXPECT_OK(mprotect(m, PAGE, PROT_READ | PROT_EXEC));
	EXPECT_EQ(((int (*)(void))m)(), 42);
	EXPECT_OK(mprotect(m, PAGE, PROT_READ | PROT_WRITE));
	CHILD(p) {
		((int (*)(void))m)();
	}
	EXPECT_KILLED(p, SIGSEGV);
	/* New code in the same place is what runs. */
	m[1] = 43;
	EXPECT_OK(mprotect(m, PAGE, PROT_READ | PROT_EXEC));
	EXPECT_EQ(((int (*)(void))m)(), 43);
}

CASE(zero_filled_and_lazy)
{
	size_t len = 64UL << 30;
	char *m = EXPECT_OK(mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	for (size_t at = 0; at < len; at += len / 16)
		EXPECT_EQ(m[at], 0);
	m[len - 1] = 'z';
	EXPECT_EQ(m[len - 1], 'z');
	EXPECT_EQ(m[len - PAGE], 0);
	EXPECT_OK(munmap(m, len));
}

CASE(fork_copies_private_shares_shared)
{
	char *p = anon(PAGE);
	char *s = EXPECT_OK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	p[0] = s[0] = 'a';
	CHILD(c) {
		EXPECT_EQ(p[0], 'a');
		p[0] = s[0] = 'b';
	}
	JOIN(c);
	EXPECT_EQ(p[0], 'a');
	EXPECT_EQ(s[0], 'b');
	struct gate go = gate_new();
	CHILD(d) {
		gate_wait(&go);
		EXPECT_EQ(p[0], 'a'); /* the parent's later writes stay its own */
		EXPECT_EQ(s[0], 'c');
	}
	p[0] = s[0] = 'c';
	gate_open(&go);
	JOIN(d);
}

CASE(fork_of_untouched_pages)
{
	char *s = EXPECT_OK(mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	char *p = anon(4 * PAGE);
	CHILD(c) {
		s[PAGE] = 'x'; /* first touched here, after the fork */
		p[PAGE] = 'x';
	}
	JOIN(c);
	EXPECT_EQ(s[PAGE], 'x');
	EXPECT_EQ(p[PAGE], 0);
}

CASE(fork_chain_of_copies)
{
	char *p = anon(PAGE);
	p[0] = 1;
	CHILD(a) {
		p[1] = 2;
		CHILD(b) {
			EXPECT_EQ(p[0] + p[1], 3);
			p[0] = 9;
			CHILD(c) {
				EXPECT_EQ(p[0], 9);
				p[1] = 7;
			}
			JOIN(c);
			EXPECT_EQ(p[1], 2);
		}
		JOIN(b);
		EXPECT_EQ(p[0], 1);
	}
	JOIN(a);
	EXPECT_EQ(p[1], 0);
}

CASE(mremap_grow_shrink_move)
{
	char *m = anon(4 * PAGE);
	memset(m, 'm', 4 * PAGE);
	EXPECT_EQ(mremap(m, 4 * PAGE, 2 * PAGE, 0), m);
	EXPECT_FAULT(fault_read(m + 2 * PAGE), SIGSEGV, SEGV_MAPERR, m + 2 * PAGE);
	EXPECT_EQ(mremap(m, 2 * PAGE, 4 * PAGE, 0), m); /* room behind it */
	CHECK(m[PAGE] == 'm' && m[2 * PAGE] == 0);
	EXPECT_OK(mmap(m + 2 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_ERRNO(mremap(m, 2 * PAGE, 8 * PAGE, 0), ENOMEM);
	char *n = EXPECT_OK(mremap(m, 2 * PAGE, 8 * PAGE, MREMAP_MAYMOVE));
	CHECK(n != m && n[0] == 'm' && n[PAGE] == 'm' && n[2 * PAGE] == 0);
	EXPECT_FAULT(fault_read(m), SIGSEGV, SEGV_MAPERR, m);
	char *to = free_space(8 * PAGE);
	EXPECT_EQ(mremap(n, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	EXPECT_EQ(to[0], 'm');
	EXPECT_ERRNO(mremap(to + 1, PAGE, PAGE, 0), EINVAL);
	EXPECT_ERRNO(mremap(to, PAGE, 0, 0), EINVAL);
	EXPECT_ERRNO(mremap(to, PAGE, PAGE, MREMAP_FIXED, m), EINVAL);
	EXPECT_ERRNO(mremap(to, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), EINVAL); /* overlap */
	EXPECT_ERRNO(mremap(m, PAGE, PAGE, 0), EFAULT);
	char *dup = EXPECT_OK(mremap(to, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP));
	CHECK(dup[0] == 'm' && to[0] == 0);
}

CASE(mremap_shared_duplicates)
{
	char *s = EXPECT_OK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	char *t = EXPECT_OK(mremap(s, 0, PAGE, MREMAP_MAYMOVE)); /* old length 0: a second mapping */
	s[0] = 'q';
	EXPECT_EQ(t[0], 'q');
}

CASE(brk_moves)
{
	char *start = (char *)syscall(SYS_brk, 0);
	EXPECT_EQ(syscall(SYS_brk, start + 3 * PAGE), start + 3 * PAGE);
	start[0] = 'x';
	start[3 * PAGE - 1] = 'y';
	EXPECT_EQ(syscall(SYS_brk, 0), start + 3 * PAGE);
	EXPECT_EQ(syscall(SYS_brk, start + PAGE), start + PAGE);
	EXPECT_EQ(syscall(SYS_brk, start + 3 * PAGE), start + 3 * PAGE);
	if (((uintptr_t)start & (PAGE - 1)) == 0)
		EXPECT_EQ(start[3 * PAGE - 1], 0);
	EXPECT_EQ(syscall(SYS_brk, 8), start + 3 * PAGE); /* refused: the old one is returned */
	EXPECT_EQ(syscall(SYS_brk, 1UL << 47), start + 3 * PAGE);
	struct rlimit lim = {PAGE, PAGE};
	EXPECT_OK(setrlimit(RLIMIT_DATA, &lim));
	EXPECT_EQ(syscall(SYS_brk, start + (64UL << 20)), start + 3 * PAGE);
}

CASE(madvise_kinds)
{
	char *m = anon(4 * PAGE);
	memset(m, 'd', 4 * PAGE);
	EXPECT_OK(madvise(m + PAGE, PAGE, MADV_DONTNEED));
	CHECK(m[0] == 'd' && m[PAGE] == 0 && m[2 * PAGE] == 'd');
	EXPECT_OK(madvise(m, PAGE, MADV_WILLNEED));
	EXPECT_OK(madvise(m, PAGE, MADV_SEQUENTIAL));
	EXPECT_OK(madvise(m, PAGE, MADV_FREE));
	EXPECT_OK(madvise(m, PAGE, MADV_POPULATE_WRITE));
	EXPECT_ERRNO(madvise(m + 1, PAGE, MADV_DONTNEED), EINVAL);
	EXPECT_ERRNO(madvise(m, PAGE, 9999), EINVAL);
	EXPECT_OK(madvise(m, 0, MADV_DONTNEED));
	EXPECT_OK(munmap(m + 2 * PAGE, PAGE));
	m[3 * PAGE] = 'e';
	EXPECT_ERRNO(madvise(m, 4 * PAGE, MADV_DONTNEED), ENOMEM); /* but goes on past the hole */
	EXPECT_EQ(m[3 * PAGE], 0);
	char *s = EXPECT_OK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	s[0] = 's';
	EXPECT_OK(madvise(s, PAGE, MADV_DONTNEED));
	EXPECT_EQ(s[0], 's'); /* the shared object keeps it */
	EXPECT_OK(madvise(s, PAGE, MADV_REMOVE));
	EXPECT_EQ(s[0], 0);
}

CASE(madvise_and_fork)
{
	char *m = anon(2 * PAGE);
	m[0] = m[PAGE] = 'f';
	EXPECT_OK(madvise(m, PAGE, MADV_DONTFORK));
	EXPECT_OK(madvise(m + PAGE, PAGE, MADV_WIPEONFORK));
	CHILD(p) {
		EXPECT_FAULT(fault_read(m), SIGSEGV, SEGV_MAPERR, m);
		EXPECT_EQ(m[PAGE], 0);
	}
	JOIN(p);
	EXPECT_EQ(m[PAGE], 'f');
}

CASE(dontneed_of_a_private_file_shows_the_file)
{
	put_file("f", "file");
	int fd = EXPECT_OK(open("f", O_RDWR));
	char *m = EXPECT_OK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
	m[0] = 'X';
	EXPECT_STR(get_file("f"), "file");
	EXPECT_OK(madvise(m, PAGE, MADV_DONTNEED));
	EXPECT_EQ(m[0], 'f');
}

CASE(mincore_residency)
{
	unsigned char v[4];
	char *m = anon(4 * PAGE);
	m[PAGE] = 1;
	EXPECT_OK(mincore(m, 4 * PAGE, v));
	EXPECT_EQ(v[1] & 1, 1);
	EXPECT_EQ(v[3] & 1, 0);
	EXPECT_ERRNO(mincore(m + 1, PAGE, v), EINVAL);
	EXPECT_ERRNO(mincore(m, PAGE, (void *)8), EFAULT);
	EXPECT_OK(munmap(m + 2 * PAGE, PAGE));
	EXPECT_ERRNO(mincore(m, 4 * PAGE, v), ENOMEM);
}

CASE(mlock_limits)
{
	char *m = anon(8 * PAGE);
	EXPECT_OK(mlock(m, 2 * PAGE));
	unsigned char v[2];
	EXPECT_OK(mincore(m, 2 * PAGE, v));
	EXPECT_EQ(v[0] & v[1] & 1, 1);
	EXPECT_OK(munlock(m, 2 * PAGE));
	EXPECT_OK(munmap(m + 4 * PAGE, PAGE));
	EXPECT_ERRNO(mlock(m, 8 * PAGE), ENOMEM);
	EXPECT_ERRNO(syscall(SYS_mlock2, m, PAGE, 0x100), EINVAL);
	EXPECT_ERRNO(mlockall(0), EINVAL);
	CHILD(p) {
		struct rlimit lim = {2 * PAGE, 2 * PAGE};
		EXPECT_OK(setrlimit(RLIMIT_MEMLOCK, &lim));
		become_user(1000, 1000);
		EXPECT_OK(mlock(m, 2 * PAGE));
		EXPECT_ERRNO(mlock(m, 4 * PAGE), ENOMEM);
		EXPECT_OK(munlockall());
	}
	JOIN(p);
	CHILD(q) {
		struct rlimit lim = {0, 0};
		EXPECT_OK(setrlimit(RLIMIT_MEMLOCK, &lim));
		become_user(1000, 1000);
		EXPECT_ERRNO(mlock(m, PAGE), EPERM);
	}
	JOIN(q);
}

CASE(msync_rules)
{
	char *m = anon(4 * PAGE);
	EXPECT_OK(msync(m, PAGE, MS_SYNC));
	EXPECT_ERRNO(msync(m + 1, PAGE, MS_SYNC), EINVAL);
	EXPECT_ERRNO(msync(m, PAGE, MS_SYNC | MS_ASYNC), EINVAL);
	EXPECT_ERRNO(msync(m, PAGE, 0x100), EINVAL);
	EXPECT_OK(munmap(m + PAGE, PAGE));
	EXPECT_ERRNO(msync(m, 3 * PAGE, MS_SYNC), ENOMEM);
}

static int __attribute__((noinline)) deep(int n)
{
	volatile char frame[1024];
	frame[0] = n;
	return n == 0 ? frame[0] : deep(n - 1) + (frame[0] != (char)n);
}

CASE(stack_grows_up_to_its_limit)
{
	struct rlimit lim;
	EXPECT_OK(getrlimit(RLIMIT_STACK, &lim));
	if (lim.rlim_cur < 8 << 20)
		SKIP("the hard limit on the stack is below the usual 8 MiB");
	EXPECT_EQ(deep(4000), 0); /* about 4 MiB of the usual 8 */
	CHILD(p) {
		deep(20000);
	}
	EXPECT_KILLED(p, SIGSEGV);
	CHILD(q) { /* a handler on another stack gets to know */
		static char alt[16384];
		stack_t ss = {.ss_sp = alt, .ss_size = sizeof alt};
		EXPECT_OK(sigaltstack(&ss, NULL));
		count_signal(SIGSEGV, SA_ONSTACK | SA_RESETHAND);
		deep(20000);
	}
	EXPECT_KILLED(q, SIGSEGV);
}

CASE(grows_down)
{
	char *space = free_space(600 * PAGE);
	char *m = EXPECT_OK(mmap(space + 500 * PAGE, PAGE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0));
	EXPECT_NO_FAULT(fault_write(m - 1));
	EXPECT_NO_FAULT(fault_write(m - 3 * PAGE));
	EXPECT_EQ(m[-1], 'w');
}

CASE(address_space_limit)
{
	struct rlimit lim = {1UL << 30, RLIM_INFINITY};
	EXPECT_OK(setrlimit(RLIMIT_AS, &lim));
	EXPECT_ERRNO(mmap(NULL, 2UL << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
	char *m = anon(1UL << 20);
	EXPECT_ERRNO(mremap(m, 1UL << 20, 2UL << 30, MREMAP_MAYMOVE), ENOMEM);
}

/* The line of /proc/self/maps for this address; false if there is none. */
static bool maps_line(const void *addr, char line[512])
{
	FILE *f = fopen("/proc/self/maps", "r");
	CHECK(f);
	unsigned long start, end;
	while (fgets(line, 512, f))
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2 && start <= (uintptr_t)addr && (uintptr_t)addr < end) {
			fclose(f);
			return true;
		}
	fclose(f);
	return false;
}

CASE(maps_format)
{
	char line[512], want[512], cwd[256];
	put_file("f", "x");
	CHECK(getcwd(cwd, sizeof cwd));
	int fd = EXPECT_OK(open("f", O_RDWR));
	struct stat st;
	EXPECT_OK(fstat(fd, &st));
	char *space = free_space(16 * PAGE);
	char *m = EXPECT_OK(mmap(space + 4 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, PAGE));
	CHECK(maps_line(m, line));
	int n = snprintf(want, sizeof want, "%08lx-%08lx r--p 00001000 %02x:%02x %lu ", (long)m, (long)m + PAGE,
			 (int)(st.st_dev >> 8 & 0xfff), (int)(st.st_dev & 0xff), st.st_ino);
	while (n < 73)
		want[n++] = ' ';
	snprintf(want + n, sizeof want - n, "%s/f\n", cwd);
	EXPECT_STR(line, want);
	m = EXPECT_OK(mmap(space + 8 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	CHECK(maps_line(m, line));
	snprintf(want, sizeof want, "%08lx-%08lx rw-p 00000000 00:00 0 \n", (long)m, (long)m + 2 * PAGE);
	EXPECT_STR(line, want);
	EXPECT_OK(mprotect(m + PAGE, PAGE, PROT_EXEC)); /* splits it */
	CHECK(maps_line(m + PAGE, line));
	CHECK(strstr(line, " --xp "));
	m = EXPECT_OK(mmap(space + 12 * PAGE, PAGE, PROT_NONE, MAP_SHARED | MAP_FIXED, fd, 0));
	CHECK(maps_line(m, line));
	CHECK(strstr(line, " ---s "));
	CHECK(!maps_line(space + 14 * PAGE, line));
	CHECK(maps_line(&line, line));
	CHECK(strstr(line, "[stack]"));
	CHECK(maps_line((void *)getauxval(AT_SYSINFO_EHDR), line));
	CHECK(strstr(line, "[vdso]"));
	(void)syscall(SYS_brk, syscall(SYS_brk, 0) + PAGE);
	CHECK(maps_line((void *)(syscall(SYS_brk, 0) - 1), line));
	CHECK(strstr(line, "[heap]"));
}

CASE(neighbours_merge_in_maps)
{
	char line[512];
	char *space = free_space(16 * PAGE);
	for (int i = 4; i < 8; i++)
		EXPECT_OK(mmap(space + i * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	unsigned long start, end;
	CHECK(maps_line(space + 5 * PAGE, line));
	EXPECT_EQ(sscanf(line, "%lx-%lx", &start, &end), 2);
	EXPECT_EQ(start, space + 4 * PAGE);
	EXPECT_EQ(end, space + 8 * PAGE);
	EXPECT_OK(mprotect(space + 5 * PAGE, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_OK(mprotect(space + 5 * PAGE, PAGE, PROT_READ));
	CHECK(maps_line(space + 5 * PAGE, line));
	EXPECT_EQ(sscanf(line, "%lx-%lx", &start, &end), 2);
	EXPECT_EQ(end - start, 4 * PAGE);
}

CASE(memory_of_others)
{
	char *m = anon(PAGE), got[8];
	strcpy(m, "secret");
	struct gate g = gate_new();
	CHILD(p) {
		strcpy(m, "child's");
		gate_open(&g);
		pause();
	}
	gate_wait(&g);
	struct iovec {
		void *base;
		size_t len;
	} local = {got, 8}, remote = {m, 8};
	EXPECT_EQ(syscall(SYS_process_vm_readv, p, &local, 1, &remote, 1, 0), 8);
	EXPECT_STR(got, "child's");
	strcpy(got, "parent");
	EXPECT_EQ(syscall(SYS_process_vm_writev, p, &local, 1, &remote, 1, 0), 8);
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/mem", p);
	int fd = EXPECT_OK(open(path, O_RDWR));
	memset(got, 0, 8);
	EXPECT_EQ(pread(fd, got, 8, (long)m), 8);
	EXPECT_STR(got, "parent");
	EXPECT_ERRNO(pread(fd, got, 8, 8), EIO);
	EXPECT_ERRNO(syscall(SYS_process_vm_readv, 999999999, &local, 1, &remote, 1, 0), ESRCH);
	remote.base = (void *)8;
	EXPECT_ERRNO(syscall(SYS_process_vm_readv, p, &local, 1, &remote, 1, 0), EFAULT);
	EXPECT_STR(m, "secret");
	EXPECT_OK(kill(p, SIGKILL));
	EXPECT_KILLED(p, SIGKILL);
}

static long resident_pages(void)
{
	long total, resident;
	EXPECT_EQ(sscanf(get_file("/proc/self/statm"), "%ld %ld", &total, &resident), 2);
	CHECK(resident > 0 && resident <= total);
	return resident;
}

CASE(resident_size_follows_use)
{
	enum { PAGES = 8192 };
	char *m = anon(PAGES * PAGE);
	long before = resident_pages();
	memset(m, 1, PAGES * PAGE);
	long full = resident_pages();
	CHECK(full - before >= PAGES * 9 / 10);
	EXPECT_OK(madvise(m, PAGES * PAGE, MADV_DONTNEED));
	CHECK(full - resident_pages() >= PAGES * 9 / 10);
	EXPECT_OK(mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
	CHECK(resident_pages() - before >= PAGES * 9 / 10);
}

CASE(low_addresses_on_request)
{
	char *m = EXPECT_OK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0));
	CHECK((uintptr_t)m + PAGE <= 1UL << 31);
	m[0] = 1;
}

CASE(the_vdso_is_memory_to_read)
{
	/* Code that the kernel put there: calls may read it, and not write to it. */
	char *vdso = (char *)getauxval(AT_SYSINFO_EHDR), copy[64], again[64], name[8];
	CHECK(vdso != NULL && !memcmp(vdso, "\177ELF", 4));
	int fd = EXPECT_OK(open("f", O_RDWR | O_CREAT, 0600));
	EXPECT_EQ(write(fd, vdso, 64), 64);
	EXPECT_EQ(pread(fd, copy, 64, 0), 64);
	CHECK(!memcmp(copy, vdso, 64));
	EXPECT_ERRNO(pread(fd, vdso, 64, 0), EFAULT);
	struct iovec to = {again, 64}, from = {vdso, 64};
	EXPECT_EQ(process_vm_readv(getpid(), &to, 1, &from, 1, 0), 64);
	CHECK(!memcmp(again, vdso, 64));
	int mem = EXPECT_OK(open("/proc/self/mem", O_RDONLY));
	EXPECT_EQ(pread(mem, again, 64, (off_t)(uintptr_t)(vdso + 64)), 64);
	CHECK(!memcmp(again, vdso + 64, 64));
	/* A string that ends in it. */
	memcpy(name, vdso + 1, 3);
	name[3] = 0;
	CHECK(!strcmp(name, "ELF"));
	EXPECT_ERRNO(open(vdso, O_RDONLY), ENOENT);
}
