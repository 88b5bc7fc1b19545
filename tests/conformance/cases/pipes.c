/* Pipes and FIFOs: capacity, atomicity, ends of file, opening rules, splice and its relatives. */
#include "../harness.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

static char big[1 << 17];

static void new_pipe(int p[2], int flags)
{
	EXPECT_OK(pipe2(p, flags));
}

CASE(end_of_file_and_epipe)
{
	int p[2];
	char c;
	new_pipe(p, 0);
	EXPECT_EQ(write(p[1], "ab", 2), 2);
	EXPECT_OK(close(p[1]));
	EXPECT_EQ(read(p[0], &c, 1), 1);
	EXPECT_EQ(read(p[0], &c, 1), 1);
	EXPECT_EQ(read(p[0], &c, 1), 0);
	EXPECT_EQ(read(p[0], &c, 1), 0);
	new_pipe(p, 0);
	EXPECT_OK(close(p[0]));
	count_signal(SIGPIPE, 0);
	EXPECT_ERRNO(write(p[1], "x", 1), EPIPE);
	EXPECT_EQ(signals_seen[SIGPIPE], 1);
	EXPECT_EQ(write(p[1], "x", 0), 0);
	EXPECT_EQ(signals_seen[SIGPIPE], 1);
}

CASE(sigpipe_kills)
{
	int p[2];
	new_pipe(p, 0);
	EXPECT_OK(close(p[0]));
	CHILD(q) {
		(void)!write(p[1], "x", 1);
	}
	EXPECT_KILLED(q, SIGPIPE);
}

CASE(directions)
{
	int p[2];
	char c = 0;
	new_pipe(p, 0);
	EXPECT_ERRNO(read(p[1], &c, 1), EBADF);
	EXPECT_ERRNO(write(p[0], &c, 1), EBADF);
	EXPECT_ERRNO(lseek(p[0], 0, SEEK_CUR), ESPIPE);
	EXPECT_ERRNO(pread(p[0], &c, 1, 0), ESPIPE);
	EXPECT_ERRNO(pwrite(p[1], &c, 1, 0), ESPIPE);
	EXPECT_ERRNO(ftruncate(p[1], 0), EINVAL);
	EXPECT_ERRNO(fsync(p[0]), EINVAL);
	EXPECT_ERRNO(mmap(NULL, 4096, PROT_READ, MAP_SHARED, p[0], 0), ENODEV);
	EXPECT_ERRNO(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, p[1], 0), EACCES); /* before it is known that no pipe can */
	EXPECT_ERRNO(mmap(NULL, 0, PROT_READ, MAP_PRIVATE, p[1], 0), EINVAL);
	EXPECT_ERRNO(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, -1, 1), EINVAL);
	EXPECT_EQ(read(p[0], &c, 0), 0);
	struct stat st;
	EXPECT_OK(fstat(p[0], &st));
	EXPECT_EQ(st.st_mode, S_IFIFO | 0600);
	EXPECT_EQ(st.st_size, 0);
	EXPECT_EQ(st.st_blksize, 4096);
	EXPECT_EQ(st.st_nlink, 1);
}

CASE(capacity)
{
	int p[2];
	new_pipe(p, O_NONBLOCK);
	EXPECT_EQ(fcntl(p[0], F_GETPIPE_SZ), 65536);
	EXPECT_EQ(write(p[1], big, sizeof big), 65536);
	EXPECT_ERRNO(write(p[1], big, 1), EAGAIN);
	int n;
	EXPECT_OK(ioctl(p[0], FIONREAD, &n));
	EXPECT_EQ(n, 65536);
	EXPECT_EQ(read(p[0], big, 4096), 4096);
	EXPECT_EQ(write(p[1], big, 4096), 4096);
	EXPECT_EQ(read(p[0], big, sizeof big), 65536);
	EXPECT_ERRNO(read(p[0], big, 1), EAGAIN);
}

CASE(small_writes_fill_it_by_the_byte)
{
	/* Writes that follow each other share pages. */
	int p[2], total = 0;
	new_pipe(p, O_NONBLOCK);
	while (write(p[1], big, 100) == 100)
		total += 100;
	EXPECT_EQ(errno, EAGAIN);
	RECORD("bytes in 100s", "%d", total);
}

CASE(atomic_up_to_pipe_buf)
{
	int p[2];
	new_pipe(p, O_NONBLOCK);
	EXPECT_EQ(write(p[1], big, 65536 - 4095), 65536 - 4095);
	EXPECT_ERRNO(write(p[1], big, 4096), EAGAIN); /* all or nothing */
	EXPECT_EQ(write(p[1], big, 4095), 4095);
	EXPECT_EQ(read(p[0], big, 4096), 4096);
	EXPECT_EQ(write(p[1], big, 5000), 4096); /* over PIPE_BUF: what fits */
}

CASE(writable_means_a_free_page)
{
	int p[2];
	new_pipe(p, O_NONBLOCK);
	struct pollfd w = {p[1], POLLOUT, 0};
	EXPECT_EQ(poll(&w, 1, 0), 1);
	EXPECT_EQ(write(p[1], big, 65536), 65536);
	EXPECT_EQ(poll(&w, 1, 0), 0);
	EXPECT_EQ(read(p[0], big, 4095), 4095);
	EXPECT_EQ(poll(&w, 1, 0), 0);
	EXPECT_EQ(read(p[0], big, 1), 1);
	EXPECT_EQ(poll(&w, 1, 0), 1);
}

CASE(set_size)
{
	int p[2];
	new_pipe(p, O_NONBLOCK);
	EXPECT_EQ(fcntl(p[1], F_SETPIPE_SZ, 4096), 4096);
	EXPECT_EQ(write(p[1], big, 8192), 4096);
	EXPECT_EQ(fcntl(p[1], F_SETPIPE_SZ, 4097), 8192);
	EXPECT_EQ(fcntl(p[0], F_SETPIPE_SZ, 100000), 131072);
	EXPECT_EQ(write(p[1], big, 131072), 131072 - 4096);
	EXPECT_ERRNO(fcntl(p[0], F_SETPIPE_SZ, 4096), EBUSY);
	EXPECT_EQ(fcntl(p[0], F_GETPIPE_SZ), 131072);
	EXPECT_ERRNO(fcntl(0, F_GETPIPE_SZ), EBADF);
	CHILD(q) {
		become_user(1000, 1000);
		EXPECT_ERRNO(fcntl(p[0], F_SETPIPE_SZ, 2 << 20), EPERM);
		EXPECT_EQ(fcntl(p[0], F_SETPIPE_SZ, 1 << 20), 1 << 20);
	}
	JOIN(q);
}

CASE(packets)
{
	int p[2];
	char buf[16];
	new_pipe(p, O_DIRECT | O_NONBLOCK);
	EXPECT_EQ(write(p[1], "abcd", 4), 4);
	EXPECT_EQ(write(p[1], "ef", 2), 2);
	EXPECT_EQ(read(p[0], buf, 2), 2); /* the rest of the packet is dropped */
	EXPECT_EQ(read(p[0], buf, 16), 2);
	EXPECT_EQ(buf[0], 'e');
	EXPECT_ERRNO(read(p[0], buf, 16), EAGAIN);
}

static void *writer_of_all(void *arg)
{
	int fd = *(int *)arg;
	return (void *)write(fd, big, sizeof big);
}

CASE(blocking_write_is_whole)
{
	int p[2], total = 0;
	new_pipe(p, 0);
	pthread_t t = thread_start(writer_of_all, &p[1]);
	static char buf[10000];
	while (total < (int)sizeof big)
		total += EXPECT_OK(read(p[0], buf, sizeof buf));
	EXPECT_EQ((long)thread_join(t), sizeof big);
}

CASE(interrupted_write_is_partial)
{
	int p[2];
	new_pipe(p, 0);
	interrupt_every(20);
	EXPECT_EQ(write(p[1], big, sizeof big), 65536);
	EXPECT_ERRNO(write(p[1], big, 1), EINTR);
}

CASE(interrupted_read)
{
	int p[2];
	char c;
	new_pipe(p, 0);
	interrupt_every(20);
	EXPECT_ERRNO(read(p[0], &c, 1), EINTR);
}

CASE(restarted_read)
{
	int p[2];
	char c;
	new_pipe(p, 0);
	pid_t parent = getpid();
	count_signal(SIGUSR1, SA_RESTART);
	CHILD(q) {
		wait_asleep(parent);
		EXPECT_OK(kill(parent, SIGUSR1));
		sleep_ms(20);
		EXPECT_EQ(write(p[1], "r", 1), 1);
	}
	EXPECT_EQ(read(p[0], &c, 1), 1);
	EXPECT_EQ(signals_seen[SIGUSR1], 1);
	JOIN(q);
}

CASE(blocked_reader_sees_the_last_writer_go)
{
	int p[2];
	char c;
	new_pipe(p, 0);
	pid_t parent = getpid();
	CHILD(q) {
		wait_asleep(parent);
	}
	EXPECT_OK(close(p[1]));
	EXPECT_EQ(read(p[0], &c, 1), 0);
	JOIN(q);
}

CASE(blocked_writer_sees_the_last_reader_go)
{
	int p[2];
	new_pipe(p, 0);
	struct gate g = gate_new();
	CHILD(q) {
		EXPECT_OK(close(p[0]));
		count_signal(SIGPIPE, 0);
		gate_open(&g);
		/* The page that was taken before the wait counts: a partial write wins over EPIPE. */
		EXPECT_EQ(write(p[1], big, sizeof big), 65536);
		EXPECT_ERRNO(write(p[1], big, 1), EPIPE);
	}
	gate_wait(&g);
	wait_asleep(q);
	EXPECT_OK(close(p[0]));
	JOIN(q);
}

CASE(vectors)
{
	int p[2];
	char a[3], b[5];
	new_pipe(p, 0);
	struct iovec out[3] = {{"ab", 2}, {NULL, 0}, {"cdef", 4}}, in[2] = {{a, 3}, {b, 5}};
	EXPECT_EQ(writev(p[1], out, 3), 6);
	EXPECT_EQ(readv(p[0], in, 2), 6);
	CHECK(!memcmp(a, "abc", 3) && !memcmp(b, "def", 3));
	EXPECT_ERRNO(writev(p[1], out, -1), EINVAL);
	EXPECT_ERRNO(writev(p[1], out, 1025), EINVAL);
	EXPECT_EQ(writev(p[1], out, 0), 0);
	struct iovec huge = {a, (size_t)1 << 63};
	EXPECT_ERRNO(writev(p[1], &huge, 1), EINVAL);
}

CASE(bad_buffers)
{
	int p[2];
	new_pipe(p, O_NONBLOCK);
	EXPECT_ERRNO(write(p[1], (void *)8, 4), EFAULT);
	EXPECT_EQ(write(p[1], "abcd", 4), 4);
	EXPECT_ERRNO(read(p[0], (void *)8, 4), EFAULT);
	char buf[8];
	EXPECT_EQ(read(p[0], buf, 8), 4); /* nothing was lost */
	EXPECT_ERRNO(read(p[0], (void *)8, 4), EAGAIN);
}

CASE(poll_states)
{
	int p[2];
	char c;
	new_pipe(p, 0);
	struct pollfd r = {p[0], POLLIN, 0}, w = {p[1], POLLOUT | POLLIN, 0};
	EXPECT_EQ(poll(&r, 1, 0), 0);
	EXPECT_EQ(poll(&w, 1, 0), 1);
	EXPECT_EQ(w.revents, POLLOUT);
	EXPECT_EQ(write(p[1], "x", 1), 1);
	EXPECT_EQ(poll(&r, 1, 0), 1);
	EXPECT_EQ(r.revents, POLLIN);
	EXPECT_OK(close(p[1]));
	EXPECT_EQ(poll(&r, 1, 0), 1);
	EXPECT_EQ(r.revents, POLLIN | POLLHUP);
	EXPECT_EQ(read(p[0], &c, 1), 1);
	EXPECT_EQ(poll(&r, 1, 0), 1);
	EXPECT_EQ(r.revents, POLLHUP);
	new_pipe(p, 0);
	EXPECT_OK(close(p[0]));
	w = (struct pollfd){p[1], POLLOUT, 0};
	EXPECT_EQ(poll(&w, 1, 0), 1);
	EXPECT_EQ(w.revents, POLLOUT | POLLERR);
}

CASE(reopen_through_proc)
{
	/* The two ends are one inode: opening the read end for writing gives a writer. */
	int p[2];
	char path[64], c;
	new_pipe(p, 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", p[0]);
	int w = EXPECT_OK(open(path, O_WRONLY));
	EXPECT_EQ(write(w, "z", 1), 1);
	EXPECT_EQ(read(p[0], &c, 1), 1);
	EXPECT_OK(close(p[1]));
	EXPECT_OK(fcntl(p[0], F_SETFL, O_NONBLOCK));
	EXPECT_ERRNO(read(p[0], &c, 1), EAGAIN);
	EXPECT_OK(close(w));
	EXPECT_EQ(read(p[0], &c, 1), 0);
	char target[64] = {0};
	CHECK(readlink(path, target, 63) > 0);
	CHECK(!strncmp(target, "pipe:[", 6));
}

CASE(fifo_opening_without_waiting)
{
	EXPECT_OK(mkfifo("f", 0600));
	EXPECT_ERRNO(mkfifo("f", 0600), EEXIST);
	EXPECT_ERRNO(open("f", O_WRONLY | O_NONBLOCK), ENXIO);
	int r = EXPECT_OK(open("f", O_RDONLY | O_NONBLOCK));
	char c;
	EXPECT_EQ(read(r, &c, 1), 0); /* no writer: end of file */
	struct pollfd p = {r, POLLIN, 0};
	EXPECT_EQ(poll(&p, 1, 0), 0); /* but no hang-up before the first writer */
	int w = EXPECT_OK(open("f", O_WRONLY | O_NONBLOCK));
	EXPECT_ERRNO(read(r, &c, 1), EAGAIN);
	EXPECT_EQ(write(w, "x", 1), 1);
	EXPECT_OK(close(w));
	EXPECT_EQ(poll(&p, 1, 0), 1);
	EXPECT_EQ(p.revents, POLLIN | POLLHUP);
	EXPECT_EQ(read(r, &c, 1), 1);
	EXPECT_EQ(read(r, &c, 1), 0);
	w = EXPECT_OK(open("f", O_WRONLY));
	EXPECT_EQ(poll(&p, 1, 0), 0); /* a new writer takes the hang-up back */
}

CASE(fifo_open_waits_for_the_other_end)
{
	EXPECT_OK(mkfifo("f", 0600));
	CHILD(q) {
		int w = EXPECT_OK(open("f", O_WRONLY));
		EXPECT_EQ(write(w, "hello", 5), 5);
	}
	wait_asleep(q);
	char buf[8];
	int r = EXPECT_OK(open("f", O_RDONLY));
	EXPECT_EQ(read(r, buf, 8), 5);
	EXPECT_EQ(read(r, buf, 8), 0);
	JOIN(q);
}

CASE(fifo_open_can_be_interrupted)
{
	EXPECT_OK(mkfifo("f", 0600));
	interrupt_every(20);
	EXPECT_ERRNO(open("f", O_RDONLY), EINTR);
	EXPECT_ERRNO(open("f", O_WRONLY), EINTR);
}

CASE(fifo_read_write)
{
	EXPECT_OK(mkfifo("f", 0600));
	int fd = EXPECT_OK(open("f", O_RDWR)); /* never waits, and is its own peer */
	EXPECT_EQ(write(fd, "ab", 2), 2);
	char buf[4];
	EXPECT_EQ(read(fd, buf, 4), 2);
	int w = EXPECT_OK(open("f", O_WRONLY | O_NONBLOCK));
	EXPECT_EQ(write(w, "c", 1), 1);
	EXPECT_EQ(read(fd, buf, 4), 1);
	/* What was written and not read goes with the last descriptor. */
	EXPECT_EQ(write(w, "d", 1), 1);
	EXPECT_OK(close(fd));
	EXPECT_OK(close(w));
	fd = EXPECT_OK(open("f", O_RDWR | O_NONBLOCK));
	EXPECT_ERRNO(read(fd, buf, 4), EAGAIN);
}

CASE(fifo_and_its_name)
{
	EXPECT_OK(mkfifo("f", 0640));
	struct stat st;
	EXPECT_OK(stat("f", &st));
	EXPECT_EQ(st.st_mode, S_IFIFO | 0640);
	int fd = EXPECT_OK(open("f", O_RDWR));
	EXPECT_OK(unlink("f"));
	EXPECT_EQ(write(fd, "x", 1), 1);
	EXPECT_ERRNO(truncate("f", 0), ENOENT);
	EXPECT_OK(mkfifo("f", 0600));
	EXPECT_ERRNO(truncate("f", 0), EINVAL);
	EXPECT_ERRNO(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
	EXPECT_ERRNO(open("f", O_RDWR | O_EXCL | O_CREAT, 0600), EEXIST);
	EXPECT_OK(open("f", O_RDWR | O_CREAT | O_TRUNC, 0600));
}

CASE(splice_between_pipe_and_file)
{
	int p[2];
	char buf[8] = {0};
	put_file("f", "abcdef");
	int fd = EXPECT_OK(open("f", O_RDWR));
	new_pipe(p, O_NONBLOCK);
	loff_t at = 1;
	EXPECT_EQ(splice(fd, &at, p[1], NULL, 3, 0), 3);
	EXPECT_EQ(at, 4);
	EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 0);
	EXPECT_EQ(splice(fd, NULL, p[1], NULL, 2, 0), 2);
	EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 2);
	EXPECT_EQ(read(p[0], buf, 8), 5);
	EXPECT_STR(buf, "bcdab");
	EXPECT_EQ(write(p[1], "XY", 2), 2);
	at = 10;
	EXPECT_EQ(splice(p[0], NULL, fd, &at, 100, 0), 2);
	EXPECT_EQ(at, 12);
	EXPECT_EQ(lseek(fd, 0, SEEK_END), 12);
	EXPECT_ERRNO(splice(p[0], NULL, fd, NULL, 1, SPLICE_F_NONBLOCK), EAGAIN);
	EXPECT_EQ(splice(p[0], NULL, fd, NULL, 0, 0), 0);
	EXPECT_ERRNO(splice(p[0], &at, fd, NULL, 1, 0), ESPIPE);
	EXPECT_ERRNO(splice(fd, NULL, fd, NULL, 1, 0), EINVAL);
	EXPECT_ERRNO(splice(p[0], NULL, p[1], NULL, 1, 0), EINVAL); /* the same pipe */
	EXPECT_ERRNO(splice(p[1], NULL, fd, NULL, 1, 0), EBADF);
	EXPECT_ERRNO(splice(p[0], NULL, fd, NULL, 1, 0x100), EINVAL);
	EXPECT_OK(fcntl(fd, F_SETFL, O_APPEND));
	EXPECT_ERRNO(splice(p[0], NULL, fd, NULL, 1, 0), EINVAL);
}

CASE(tee_copies_and_leaves)
{
	int a[2], b[2];
	char buf[8];
	new_pipe(a, O_NONBLOCK);
	new_pipe(b, O_NONBLOCK);
	EXPECT_EQ(write(a[1], "abcd", 4), 4);
	EXPECT_EQ(tee(a[0], b[1], 3, 0), 3);
	EXPECT_EQ(read(b[0], buf, 8), 3);
	EXPECT_EQ(read(a[0], buf, 8), 4);
	EXPECT_ERRNO(tee(a[0], b[1], 3, SPLICE_F_NONBLOCK), EAGAIN);
	EXPECT_ERRNO(tee(a[0], a[1], 3, 0), EINVAL);
	EXPECT_ERRNO(tee(a[0], 0, 3, 0), EINVAL);
}

CASE(splice_pipe_to_pipe)
{
	int a[2], b[2];
	char buf[8];
	new_pipe(a, O_NONBLOCK);
	new_pipe(b, O_NONBLOCK);
	EXPECT_EQ(write(a[1], "abcd", 4), 4);
	EXPECT_EQ(splice(a[0], NULL, b[1], NULL, 3, 0), 3);
	EXPECT_EQ(read(b[0], buf, 8), 3);
	EXPECT_EQ(read(a[0], buf, 8), 1);
	EXPECT_OK(close(a[1]));
	EXPECT_EQ(splice(a[0], NULL, b[1], NULL, 3, 0), 0);
	EXPECT_OK(close(b[0]));
	new_pipe(a, O_NONBLOCK);
	EXPECT_EQ(write(a[1], "x", 1), 1);
	count_signal(SIGPIPE, 0);
	EXPECT_ERRNO(splice(a[0], NULL, b[1], NULL, 3, 0), EPIPE);
	EXPECT_EQ(signals_seen[SIGPIPE], 1);
}

CASE(vmsplice_both_ways)
{
	int p[2];
	char out[8] = "abcdef", in[8] = {0};
	new_pipe(p, O_NONBLOCK);
	struct iovec from[2] = {{out, 2}, {out + 4, 2}}, to = {in, 8};
	EXPECT_EQ(vmsplice(p[1], from, 2, 0), 4);
	EXPECT_EQ(vmsplice(p[0], &to, 1, 0), 4);
	EXPECT_STR(in, "abef");
	EXPECT_ERRNO(vmsplice(0, from, 1, 0), EBADF);
}
