/* Mapped files: coherence with read and write, the end of the file, memfd and seals, sharing between processes. */
#include "../harness.h"
#include <linux/memfd.h>

#define PAGE 4096UL

static int sized_file(off_t size)
{
	int fd = EXPECT_OK(open("f", O_RDWR | O_CREAT | O_TRUNC, 0600));
	EXPECT_OK(ftruncate(fd, size));
	return fd;
}

static char *map(int fd, size_t len, int prot, int flags)
{
	return EXPECT_OK(mmap(NULL, len, prot, flags, fd, 0));
}

CASE(shared_is_coherent_with_io)
{
	char buf[8];
	int fd = sized_file(2 * PAGE);
	char *m = map(fd, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	EXPECT_EQ(pwrite(fd, "written", 7, 100), 7);
	CHECK(!memcmp(m + 100, "written", 7));
	memcpy(m + PAGE, "mapped", 6);
	EXPECT_EQ(pread(fd, buf, 6, PAGE), 6);
	CHECK(!memcmp(buf, "mapped", 6));
	int other = EXPECT_OK(open("f", O_RDONLY));
	EXPECT_EQ(pread(other, buf, 6, PAGE), 6);
	CHECK(!memcmp(buf, "mapped", 6));
	EXPECT_OK(close(fd)); /* the mapping holds the file */
	m[0] = 'z';
	EXPECT_EQ(pread(other, buf, 1, 0), 1);
	EXPECT_EQ(buf[0], 'z');
}

CASE(private_is_not_written_back)
{
	int fd = sized_file(PAGE);
	char *a = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE), *b = map(fd, PAGE, PROT_READ, MAP_PRIVATE), c;
	EXPECT_EQ(b[0], 0);
	EXPECT_EQ(pwrite(fd, "1", 1, 0), 1);
	EXPECT_EQ(b[0], '1'); /* an untouched page follows the file */
	a[1] = 'x';
	EXPECT_EQ(pwrite(fd, "22", 2, 0), 2);
	CHECK(a[0] == '1' && a[1] == 'x'); /* a copied one does not */
	CHECK(b[0] == '2' && b[1] == '2');
	EXPECT_EQ(pread(fd, &c, 1, 1), 1);
	EXPECT_EQ(c, '2');
}

CASE(shared_between_processes)
{
	int fd = sized_file(PAGE);
	char *m = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	struct gate there = gate_new(), back = gate_new();
	CHILD(p) {
		int own = EXPECT_OK(open("f", O_RDWR));
		char *n = map(own, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
		gate_wait(&there);
		EXPECT_EQ(n[0], 'p');
		n[1] = 'c';
		gate_open(&back);
	}
	m[0] = 'p';
	gate_open(&there);
	gate_wait(&back);
	EXPECT_EQ(m[1], 'c');
	JOIN(p);
}

CASE(past_the_end_is_sigbus)
{
	int fd = sized_file(100);
	char *m = map(fd, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	EXPECT_EQ(m[PAGE - 1], 0); /* the rest of the last page reads as zero */
	struct fault f = fault_read(m + PAGE + 7);
	EXPECT_EQ(f.sig, SIGBUS);
	EXPECT_EQ(f.code, BUS_ADRERR);
	EXPECT_EQ(f.addr, m + PAGE + 7);
	EXPECT_OK(ftruncate(fd, PAGE + 1));
	EXPECT_EQ(fault_read(m + PAGE + 7).sig, 0);
	m[PAGE] = 'x';
	EXPECT_OK(ftruncate(fd, 100)); /* takes the page away again */
	EXPECT_EQ(fault_read(m + PAGE).sig, SIGBUS);
	EXPECT_OK(ftruncate(fd, 2 * PAGE));
	EXPECT_EQ(m[PAGE], 0);
}

CASE(bytes_behind_the_end_are_cut)
{
	int fd = sized_file(100);
	char *m = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED), c = 'q';
	m[200] = 'x'; /* lost: it is behind the end */
	struct stat st;
	EXPECT_OK(fstat(fd, &st));
	EXPECT_EQ(st.st_size, 100);
	EXPECT_OK(ftruncate(fd, 50));
	EXPECT_OK(ftruncate(fd, 300));
	EXPECT_EQ(pread(fd, &c, 1, 200), 1);
	EXPECT_EQ(c, 0);
}

CASE(truncation_takes_private_copies_too)
{
	int fd = sized_file(2 * PAGE);
	char *m = map(fd, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	m[PAGE] = 'x';
	EXPECT_OK(ftruncate(fd, PAGE));
	EXPECT_EQ(fault_read(m + PAGE).sig, SIGBUS);
	EXPECT_OK(ftruncate(fd, 2 * PAGE));
	EXPECT_EQ(m[PAGE], 0);
}

CASE(system_calls_on_a_page_past_the_end)
{
	int fd = sized_file(PAGE), p[2];
	char *m = map(fd, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	EXPECT_OK(pipe(p));
	EXPECT_ERRNO(write(p[1], m + PAGE, 10), EFAULT); /* no signal */
	EXPECT_EQ(write(p[1], "abc", 3), 3);
	EXPECT_ERRNO(read(p[0], m + PAGE, 3), EFAULT);
}

CASE(read_into_a_mapping_of_the_same_file)
{
	int fd = sized_file(PAGE);
	EXPECT_EQ(pwrite(fd, "abcdef", 6, 0), 6);
	char *m = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	EXPECT_EQ(pread(fd, m + 100, 6, 0), 6);
	CHECK(!memcmp(m + 100, "abcdef", 6));
	EXPECT_EQ(pwrite(fd, m + 100, 3, 200), 3);
	CHECK(!memcmp(m + 200, "abc", 3));
}

CASE(unlinked_file_stays_mapped)
{
	int fd = sized_file(PAGE);
	char *m = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED), line[512];
	EXPECT_OK(unlink("f"));
	EXPECT_OK(close(fd));
	m[0] = 'u';
	EXPECT_EQ(m[0], 'u');
	FILE *maps = fopen("/proc/self/maps", "r");
	bool found = false;
	unsigned long start;
	while (fgets(line, sizeof line, maps))
		if (sscanf(line, "%lx-", &start) == 1 && start == (uintptr_t)m)
			found = strstr(line, "/f (deleted)\n");
	CHECK(found);
}

CASE(mapped_writes_move_mtime)
{
	struct stat st;
	int fd = sized_file(PAGE);
	char *m = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	struct timespec old[2] = {{1000, 0}, {1000, 0}};
	EXPECT_OK(futimens(fd, old));
	m[0] = 'x';
	EXPECT_OK(msync(m, PAGE, MS_SYNC));
	EXPECT_OK(fstat(fd, &st));
	CHECK(st.st_mtim.tv_sec > 1000);
}

CASE(offset_mappings)
{
	int fd = sized_file(4 * PAGE);
	for (int i = 0; i < 4; i++) {
		char c = '0' + i;
		EXPECT_EQ(pwrite(fd, &c, 1, i * PAGE), 1);
	}
	char *m = EXPECT_OK(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 2 * PAGE)), c;
	CHECK(m[0] == '2' && m[PAGE] == '3');
	m[1] = 'x';
	EXPECT_EQ(pread(fd, &c, 1, 2 * PAGE + 1), 1);
	EXPECT_EQ(c, 'x');
	/* The pages of a file in the opposite order, side by side. */
	char *rev = EXPECT_OK(mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, PAGE));
	EXPECT_OK(mmap(rev + PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0));
	CHECK(rev[0] == '1' && rev[PAGE] == '0');
}

CASE(dev_zero_mappings)
{
	int fd = EXPECT_OK(open("/dev/zero", O_RDWR));
	char *p = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE), *s = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	char *t = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	EXPECT_EQ(p[0] | s[0], 0);
	s[0] = 's';
	EXPECT_EQ(t[0], 0); /* each mapping is an object of its own */
	CHILD(c) {
		s[1] = 'c';
		p[0] = 'c';
	}
	JOIN(c);
	EXPECT_EQ(s[1], 'c');
	EXPECT_EQ(p[0], 0);
	EXPECT_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, EXPECT_OK(open("/dev/null", O_RDWR)), 0), ENODEV);
}

CASE(memfd_basics)
{
	char path[64], target[64] = {0};
	int fd = EXPECT_OK(memfd_create("name", 0));
	struct stat st;
	EXPECT_OK(fstat(fd, &st));
	EXPECT_EQ(st.st_mode, S_IFREG | 0777);
	EXPECT_EQ(st.st_nlink, 0);
	EXPECT_EQ(st.st_size, 0);
	EXPECT_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	CHECK(readlink(path, target, 63) > 0);
	EXPECT_STR(target, "/memfd:name (deleted)");
	EXPECT_OK(ftruncate(fd, PAGE));
	char *m = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED), c;
	m[0] = 'm';
	EXPECT_EQ(read(fd, &c, 1), 1);
	EXPECT_EQ(c, 'm');
	int again = EXPECT_OK(open(path, O_RDONLY));
	EXPECT_EQ(read(again, &c, 1), 1);
	EXPECT_ERRNO(memfd_create("x", 0x1000), EINVAL);
	char longest[251];
	memset(longest, 'n', 250);
	longest[250] = 0;
	EXPECT_ERRNO(memfd_create(longest, 0), EINVAL);
	EXPECT_OK(memfd_create(longest + 1, 0));
	EXPECT_EQ(fcntl(EXPECT_OK(memfd_create("x", MFD_CLOEXEC)), F_GETFD), FD_CLOEXEC);
	EXPECT_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL); /* not made for sealing */
	EXPECT_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), EPERM);
	EXPECT_ERRNO(fcntl(0, F_GET_SEALS), EINVAL);
}

CASE(memfd_seals)
{
	int fd = EXPECT_OK(memfd_create("s", MFD_ALLOW_SEALING));
	EXPECT_EQ(fcntl(fd, F_GET_SEALS), 0);
	EXPECT_OK(ftruncate(fd, PAGE));
	EXPECT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	EXPECT_ERRNO(ftruncate(fd, 0), EPERM);
	EXPECT_OK(ftruncate(fd, 2 * PAGE));
	EXPECT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
	EXPECT_ERRNO(ftruncate(fd, 3 * PAGE), EPERM);
	EXPECT_ERRNO(pwrite(fd, "x", 1, 2 * PAGE), EPERM);
	EXPECT_EQ(pwrite(fd, "xyz", 3, 0), 3);
	char *m = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	EXPECT_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY); /* somebody could write */
	EXPECT_OK(munmap(m, PAGE));
	char *ro = map(fd, PAGE, PROT_READ, MAP_PRIVATE);
	EXPECT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_ERRNO(pwrite(fd, "x", 1, 0), EPERM);
	EXPECT_ERRNO(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EPERM);
	EXPECT_OK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
	EXPECT_EQ(ro[0], 'x');
	EXPECT_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	EXPECT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
	EXPECT_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), EPERM);
	EXPECT_ERRNO(fcntl(EXPECT_OK(memfd_create("t", MFD_ALLOW_SEALING)), F_ADD_SEALS, 0x1000), EINVAL);
}

CASE(memfd_future_write_seal)
{
	int fd = EXPECT_OK(memfd_create("s", MFD_ALLOW_SEALING));
	EXPECT_OK(ftruncate(fd, PAGE));
	char *m = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED), c;
	EXPECT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	m[0] = 'k'; /* the old mapping goes on */
	EXPECT_EQ(pread(fd, &c, 1, 0), 1);
	EXPECT_EQ(c, 'k');
	EXPECT_ERRNO(pwrite(fd, "x", 1, 0), EPERM);
	EXPECT_ERRNO(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EPERM);
	EXPECT_OK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
}

CASE(text_file_busy)
{
	int in = EXPECT_OK(open("/bin/sleep", O_RDONLY)), out = EXPECT_OK(open("prog", O_RDWR | O_CREAT, 0755));
	char block[4096];
	ssize_t n;
	while ((n = EXPECT_OK(read(in, block, sizeof block))) > 0)
		EXPECT_EQ(write(out, block, n), n);
	CHILD(p) {
		execl("./prog", "prog", "0", NULL);
		_exit(errno == ETXTBSY ? 3 : 4);
	}
	EXPECT_EXIT(p, 3); /* open for writing */
	EXPECT_OK(close(out));
	int ends[2];
	EXPECT_OK(pipe2(ends, O_CLOEXEC));
	CHILD(q) {
		execl("./prog", "prog", "100", NULL);
		_exit(4);
	}
	EXPECT_OK(close(ends[1]));
	char c;
	EXPECT_EQ(read(ends[0], &c, 1), 0); /* closed by the exec */
	EXPECT_ERRNO(open("prog", O_WRONLY), ETXTBSY);
	EXPECT_ERRNO(truncate("prog", 0), ETXTBSY);
	EXPECT_OK(kill(q, SIGKILL));
	EXPECT_KILLED(q, SIGKILL);
	EXPECT_OK(open("prog", O_WRONLY));
}
