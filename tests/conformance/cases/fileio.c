/* Reading and writing files: offsets, vectors, holes, sizes, copying, and per-call flags. */
#include "../harness.h"
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

static int scratch(int flags)
{
	return EXPECT_OK(open("f", O_RDWR | O_CREAT | O_TRUNC | flags, 0600));
}

static long size_of(int fd)
{
	struct stat st;
	EXPECT_OK(fstat(fd, &st));
	return st.st_size;
}

CASE(read_write_offsets)
{
	char buf[16] = {0};
	int fd = scratch(0);
	EXPECT_EQ(write(fd, "abcdef", 6), 6);
	EXPECT_EQ(read(fd, buf, 16), 0);
	EXPECT_EQ(lseek(fd, -4, SEEK_END), 2);
	EXPECT_EQ(read(fd, buf, 2), 2);
	CHECK(!memcmp(buf, "cd", 2));
	EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 4);
	EXPECT_EQ(pread(fd, buf, 16, 1), 5);
	EXPECT_EQ(pwrite(fd, "Z", 1, 8), 1);
	EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 4);
	EXPECT_EQ(size_of(fd), 9);
	EXPECT_EQ(pread(fd, buf, 16, 6), 3);
	EXPECT_EQ(buf[0] | buf[1], 0);
	EXPECT_EQ(pread(fd, buf, 16, 9), 0);
	EXPECT_EQ(pread(fd, buf, 16, 1000), 0);
	EXPECT_ERRNO(pread(fd, buf, 1, -1), EINVAL);
	EXPECT_ERRNO(pwrite(fd, buf, 1, -1), EINVAL);
	EXPECT_ERRNO(read(fd, (void *)8, 4), EFAULT);
	EXPECT_ERRNO(write(fd, (void *)8, 4), EFAULT);
	EXPECT_EQ(read(fd, (void *)8, 0), 0);
}

CASE(lseek_errors)
{
	int fd = scratch(0);
	EXPECT_ERRNO(lseek(fd, -1, SEEK_SET), EINVAL);
	EXPECT_ERRNO(lseek(fd, 0, 99), EINVAL);
	EXPECT_EQ(lseek(fd, 1L << 40, SEEK_SET), 1L << 40);
	EXPECT_EQ(size_of(fd), 0);
	EXPECT_ERRNO(lseek(fd, LONG_MAX, SEEK_CUR), EINVAL);
	EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 1L << 40);
	int p[2];
	EXPECT_OK(pipe(p));
	EXPECT_ERRNO(lseek(p[0], 0, SEEK_END), ESPIPE);
}

CASE(append_mode)
{
	char buf[16] = {0};
	int fd = scratch(0);
	EXPECT_EQ(write(fd, "abc", 3), 3);
	int a = EXPECT_OK(open("f", O_RDWR | O_APPEND));
	EXPECT_EQ(lseek(a, 0, SEEK_CUR), 0);
	EXPECT_EQ(write(a, "d", 1), 1);
	EXPECT_EQ(lseek(a, 0, SEEK_CUR), 4);
	EXPECT_EQ(pwrite(a, "e", 1, 0), 1); /* appends all the same */
	EXPECT_EQ(lseek(a, 0, SEEK_CUR), 4);
	EXPECT_STR(get_file("f"), "abcde");
	EXPECT_EQ(lseek(a, 1, SEEK_SET), 1);
	EXPECT_EQ(read(a, buf, 2), 2);
	CHECK(!memcmp(buf, "bc", 2));
	EXPECT_EQ(write(a, "f", 1), 1);
	EXPECT_EQ(lseek(a, 0, SEEK_CUR), 6);
	EXPECT_OK(fcntl(a, F_SETFL, 0));
	EXPECT_EQ(pwrite(a, "A", 1, 0), 1);
	EXPECT_STR(get_file("f"), "Abcdef");
}

CASE(vectors)
{
	char a[4], b[4];
	int fd = scratch(0);
	struct iovec out[3] = {{"ab", 2}, {"", 0}, {"cde", 3}}, in[2] = {{a, 4}, {b, 4}};
	EXPECT_EQ(writev(fd, out, 3), 5);
	EXPECT_EQ(preadv(fd, in, 2, 0), 5);
	CHECK(!memcmp(a, "abcd", 4) && b[0] == 'e');
	EXPECT_EQ(pwritev(fd, out, 3, 3), 5);
	EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 5);
	EXPECT_EQ(readv(fd, in, 2), 3);
	EXPECT_ERRNO(readv(fd, in, 1025), EINVAL);
	EXPECT_ERRNO(readv(fd, (void *)8, 1), EFAULT);
	EXPECT_ERRNO(preadv(fd, in, 1, -5), EINVAL);
	struct iovec bad[2] = {{a, 4}, {(void *)8, 4}};
	EXPECT_EQ(preadv(fd, bad, 2, 0), 4); /* what went well counts */
	struct iovec sum[2] = {{a, SSIZE_MAX}, {b, 1}};
	EXPECT_ERRNO(readv(99, sum, 2), EBADF);
}

CASE(per_call_flags)
{
	char c = 'x';
	struct iovec v = {&c, 1};
	int fd = scratch(0);
	EXPECT_EQ(write(fd, "abc", 3), 3);
	EXPECT_EQ(pwritev2(fd, &v, 1, 0, RWF_APPEND), 1);
	EXPECT_STR(get_file("f"), "abcx");
	EXPECT_EQ(pwritev2(fd, &v, 1, -1, 0), 1); /* -1: at the file's own offset */
	EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 4);
	EXPECT_EQ(pwritev2(fd, &v, 1, 0, RWF_DSYNC | RWF_SYNC), 1);
	EXPECT_EQ(preadv2(fd, &v, 1, 0, 0), 1);
	EXPECT_EQ(preadv2(fd, &v, 1, 0, RWF_HIPRI), 1);
	EXPECT_ERRNO(preadv2(fd, &v, 1, 0, 0x40000000), EOPNOTSUPP);
	EXPECT_ERRNO(preadv2(fd, &v, 1, -2, 0), EINVAL);
	int a = EXPECT_OK(open("f", O_RDWR | O_APPEND));
	EXPECT_EQ(pwritev2(a, &v, 1, 0, 0x20 /* RWF_NOAPPEND */), 1);
	EXPECT_EQ(size_of(a), 4);
	int p[2];
	EXPECT_OK(pipe(p));
	EXPECT_ERRNO(preadv2(p[0], &v, 1, -1, RWF_NOWAIT), EAGAIN);
	EXPECT_EQ(fcntl(p[0], F_GETFL), O_RDONLY);
}

CASE(truncate_sizes)
{
	char buf[8];
	int fd = scratch(0);
	EXPECT_EQ(write(fd, "abcdef", 6), 6);
	EXPECT_OK(ftruncate(fd, 3));
	EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 6);
	EXPECT_OK(ftruncate(fd, 6));
	EXPECT_EQ(pread(fd, buf, 8, 0), 6);
	CHECK(!memcmp(buf, "abc\0\0\0", 6));
	EXPECT_OK(truncate("f", 100000));
	EXPECT_EQ(size_of(fd), 100000);
	EXPECT_ERRNO(ftruncate(fd, -1), EINVAL);
	EXPECT_ERRNO(truncate("f", -1), EINVAL);
	EXPECT_ERRNO(truncate("none", -1), EINVAL); /* the length is looked at first */
	EXPECT_ERRNO(truncate("none", 1), ENOENT);
	EXPECT_ERRNO(truncate(".", 1), EISDIR);
	EXPECT_OK(chmod("f", 0444));
	CHILD(p) {
		become_user(1000, 1000);
		EXPECT_ERRNO(truncate("f", 0), EACCES);
	}
	JOIN(p);
}

CASE(file_size_limit)
{
	int fd = scratch(0);
	struct rlimit lim = {1000, RLIM_INFINITY};
	static char buf[2000];
	count_signal(SIGXFSZ, 0);
	EXPECT_OK(setrlimit(RLIMIT_FSIZE, &lim));
	EXPECT_EQ(write(fd, buf, 2000), 1000);
	EXPECT_EQ(signals_seen[SIGXFSZ], 0);
	EXPECT_ERRNO(write(fd, buf, 1), EFBIG);
	EXPECT_EQ(signals_seen[SIGXFSZ], 1);
	EXPECT_ERRNO(ftruncate(fd, 1001), EFBIG);
	EXPECT_EQ(signals_seen[SIGXFSZ], 2);
	EXPECT_OK(ftruncate(fd, 1000));
	CHILD(p) {
		signal(SIGXFSZ, SIG_DFL);
		(void)!write(fd, buf, 1);
	}
	EXPECT_KILLED(p, SIGXFSZ);
}

CASE(holes_and_data)
{
	int fd = scratch(0);
	EXPECT_OK(ftruncate(fd, 1 << 20));
	static char page[4096] = {1};
	EXPECT_EQ(pwrite(fd, page, 4096, 65536 * 2), 4096);
	EXPECT_EQ(lseek(fd, 0, SEEK_DATA), 131072);
	EXPECT_EQ(lseek(fd, 0, SEEK_HOLE), 0);
	EXPECT_EQ(lseek(fd, 131072, SEEK_HOLE), 131072 + 4096);
	EXPECT_EQ(lseek(fd, 131072 + 10, SEEK_DATA), 131072 + 10);
	EXPECT_ERRNO(lseek(fd, 131072 + 4096, SEEK_DATA), ENXIO);
	EXPECT_ERRNO(lseek(fd, 1 << 20, SEEK_HOLE), ENXIO);
	EXPECT_ERRNO(lseek(fd, -1, SEEK_DATA), ENXIO);
	int full = EXPECT_OK(open("g", O_RDWR | O_CREAT, 0600));
	EXPECT_EQ(write(full, page, 100), 100);
	EXPECT_EQ(lseek(full, 0, SEEK_HOLE), 100); /* the end counts as one */
	EXPECT_ERRNO(lseek(full, 100, SEEK_HOLE), ENXIO);
}

CASE(fallocate_modes)
{
	int fd = scratch(0);
	struct stat st;
	EXPECT_OK(fallocate(fd, 0, 0, 10000));
	EXPECT_EQ(size_of(fd), 10000);
	EXPECT_OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 50000));
	EXPECT_EQ(size_of(fd), 10000);
	EXPECT_OK(fstat(fd, &st));
	CHECK(st.st_blocks >= 96);
	static char full[8192];
	memset(full, 'x', sizeof full);
	EXPECT_EQ(pwrite(fd, full, sizeof full, 0), sizeof full);
	EXPECT_OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10, 100));
	char buf[200];
	EXPECT_EQ(pread(fd, buf, 200, 0), 200);
	CHECK(buf[9] == 'x' && buf[10] == 0 && buf[109] == 0 && buf[110] == 'x');
	EXPECT_ERRNO(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10), EOPNOTSUPP);
	EXPECT_ERRNO(fallocate(fd, 0, 0, 0), EINVAL);
	EXPECT_ERRNO(fallocate(fd, 0, -1, 1), EINVAL);
	EXPECT_ERRNO(fallocate(fd, 0, LONG_MAX, 1), EFBIG);
	EXPECT_ERRNO(fallocate(EXPECT_OK(open("f", O_RDONLY)), 0, 0, 1), EBADF);
	int p[2];
	EXPECT_OK(pipe(p));
	EXPECT_ERRNO(fallocate(p[1], 0, 0, 1), ESPIPE);
	EXPECT_EQ(posix_fallocate(fd, 0, 60000), 0);
	EXPECT_EQ(size_of(fd), 60000);
}

CASE(copy_between_files)
{
	put_file("src", "abcdefgh");
	int in = EXPECT_OK(open("src", O_RDONLY)), out = scratch(0);
	loff_t from = 2, to = 5;
	EXPECT_EQ(copy_file_range(in, &from, out, &to, 3, 0), 3);
	EXPECT_EQ(from, 5);
	EXPECT_EQ(to, 8);
	EXPECT_EQ(lseek(in, 0, SEEK_CUR), 0);
	EXPECT_EQ(copy_file_range(in, NULL, out, NULL, 100, 0), 8);
	EXPECT_EQ(lseek(in, 0, SEEK_CUR), 8);
	EXPECT_STR(get_file("f"), "abcdefgh");
	EXPECT_EQ(copy_file_range(in, NULL, out, NULL, 100, 0), 0);
	EXPECT_ERRNO(copy_file_range(in, NULL, out, NULL, 1, 1), EINVAL);
	EXPECT_ERRNO(copy_file_range(out, NULL, in, NULL, 1, 0), EBADF);
	from = 0, to = 2;
	EXPECT_ERRNO(copy_file_range(out, &from, out, &to, 4, 0), EINVAL); /* overlap */
	EXPECT_OK(fcntl(out, F_SETFL, O_APPEND));
	EXPECT_ERRNO(copy_file_range(in, NULL, out, NULL, 1, 0), EBADF);
	int w = EXPECT_OK(open("f", O_WRONLY));
	EXPECT_ERRNO(copy_file_range(EXPECT_OK(open(".", O_RDONLY)), NULL, w, NULL, 1, 0), EISDIR);
	int p[2];
	EXPECT_OK(pipe(p));
	EXPECT_ERRNO(copy_file_range(p[0], NULL, w, NULL, 1, 0), EINVAL);
}

CASE(sendfile_rules)
{
	put_file("src", "abcdefgh");
	int in = EXPECT_OK(open("src", O_RDONLY)), out = scratch(0), p[2];
	char buf[16];
	EXPECT_OK(pipe(p));
	off_t at = 3;
	EXPECT_EQ(sendfile(p[1], in, &at, 3), 3);
	EXPECT_EQ(at, 6);
	EXPECT_EQ(lseek(in, 0, SEEK_CUR), 0);
	EXPECT_EQ(sendfile(p[1], in, NULL, 100), 8);
	EXPECT_EQ(lseek(in, 0, SEEK_CUR), 8);
	EXPECT_EQ(sendfile(p[1], in, NULL, 100), 0);
	EXPECT_EQ(read(p[0], buf, 16), 11);
	CHECK(!memcmp(buf, "defabcdefgh", 11));
	at = 0;
	EXPECT_EQ(sendfile(out, in, &at, 4), 4);
	EXPECT_ERRNO(sendfile(out, p[0], NULL, 4), EINVAL); /* the source must be mappable */
	EXPECT_ERRNO(sendfile(in, in, NULL, 4), EBADF);
	EXPECT_ERRNO(sendfile(out, EXPECT_OK(open("f", O_WRONLY)), NULL, 4), EBADF);
	EXPECT_OK(fcntl(out, F_SETFL, O_APPEND));
	EXPECT_ERRNO(sendfile(out, in, &at, 4), EINVAL);
	at = -1;
	EXPECT_ERRNO(sendfile(p[1], in, &at, 4), EINVAL);
}

CASE(read_limit_of_one_call)
{
	/* One call moves at most 0x7ffff000 bytes; /dev/zero and /dev/null show it cheaply. */
	int null = EXPECT_OK(open("/dev/null", O_WRONLY));
	EXPECT_EQ(write(null, (void *)4096, 0x7fffffff), 0x7ffff000);
	int fd = scratch(0);
	EXPECT_ERRNO(read(fd, (void *)4096, (size_t)SSIZE_MAX + 1), EFAULT);
	static char c; /* not on the stack, behind which there are no 2 GiB of addresses */
	EXPECT_EQ(read(fd, &c, 0x7fffffff), 0);
}

CASE(partial_read_into_an_edge)
{
	char *m = EXPECT_OK(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	EXPECT_OK(munmap(m + 4096, 4096));
	int fd = scratch(0);
	EXPECT_EQ(write(fd, "0123456789", 10), 10);
	EXPECT_EQ(pread(fd, m + 4090, 10, 0), 6);
	CHECK(!memcmp(m + 4090, "012345", 6));
	EXPECT_ERRNO(pread(fd, m + 4096, 10, 0), EFAULT);
	EXPECT_EQ(pwrite(fd, m + 4090, 10, 0), 6);
}

CASE(many_writers_append_whole_records)
{
	scratch(0);
	pid_t kids[4];
	for (int k = 0; k < 4; k++) {
		CHILD(p) {
			int fd = EXPECT_OK(open("f", O_WRONLY | O_APPEND));
			char line[65];
			memset(line, 'a' + k, 63);
			line[63] = '\n';
			for (int i = 0; i < 50; i++)
				EXPECT_EQ(write(fd, line, 64), 64);
		}
		kids[k] = p;
	}
	for (int k = 0; k < 4; k++)
		JOIN(kids[k]);
	char *text = get_file("f");
	EXPECT_EQ(strlen(text), 4 * 50 * 64);
	for (int i = 0; i < 200; i++)
		for (int j = 1; j < 63; j++)
			CHECK(text[i * 64 + j] == text[i * 64]);
}

CASE(sync_calls)
{
	int fd = scratch(0), p[2];
	EXPECT_EQ(write(fd, "x", 1), 1);
	EXPECT_OK(fsync(fd));
	EXPECT_OK(fdatasync(fd));
	EXPECT_OK(syncfs(fd));
	EXPECT_OK(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
	EXPECT_ERRNO(sync_file_range(fd, 0, 0, 0x100), EINVAL);
	EXPECT_ERRNO(sync_file_range(fd, -1, 0, 0), EINVAL);
	EXPECT_OK(pipe(p));
	EXPECT_ERRNO(fdatasync(p[0]), EINVAL);
	EXPECT_ERRNO(sync_file_range(p[0], 0, 0, 0), ESPIPE);
	EXPECT_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	EXPECT_EQ(posix_fadvise(fd, 0, 0, 99), EINVAL);
	EXPECT_EQ(posix_fadvise(p[0], 0, 0, POSIX_FADV_NORMAL), ESPIPE);
	EXPECT_ERRNO(readahead(p[0], 0, 10), EINVAL);
}
