/* flock, POSIX record locks and open-file-description locks. */
#include "../harness.h"
#include <sys/file.h>

static int lockfile(void)
{
	return EXPECT_OK(open("f", O_RDWR | O_CREAT, 0600));
}

static int record(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
	return fcntl(fd, cmd, &l);
}

static struct flock query(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
	EXPECT_OK(fcntl(fd, cmd, &l));
	return l;
}

CASE(flock_between_descriptions)
{
	int a = lockfile(), b = lockfile(), dup_a = dup(a);
	EXPECT_OK(flock(a, LOCK_EX));
	EXPECT_ERRNO(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	EXPECT_ERRNO(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	EXPECT_OK(flock(dup_a, LOCK_EX | LOCK_NB)); /* the same owner */
	EXPECT_OK(flock(a, LOCK_SH));
	EXPECT_OK(flock(b, LOCK_SH | LOCK_NB));
	EXPECT_ERRNO(flock(a, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	EXPECT_OK(close(a));
	EXPECT_OK(flock(b, LOCK_UN));
	EXPECT_OK(flock(b, LOCK_SH | LOCK_NB));
	EXPECT_OK(close(dup_a)); /* the last descriptor: the lock goes */
	EXPECT_OK(flock(b, LOCK_EX | LOCK_NB));
	EXPECT_ERRNO(flock(b, 0), EINVAL);
	EXPECT_ERRNO(flock(99, LOCK_SH), EBADF);
	EXPECT_ERRNO(flock(EXPECT_OK(open("f", O_PATH)), LOCK_SH), EBADF);
}

CASE(flock_failed_upgrade_loses_the_lock)
{
	int a = lockfile(), b = lockfile(), c = lockfile();
	EXPECT_OK(flock(a, LOCK_SH));
	EXPECT_OK(flock(b, LOCK_SH));
	EXPECT_ERRNO(flock(a, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	EXPECT_OK(flock(b, LOCK_UN));
	EXPECT_OK(flock(c, LOCK_EX | LOCK_NB)); /* so a's shared one is gone */
}

CASE(flock_waits_and_is_inherited)
{
	int a = lockfile();
	EXPECT_OK(flock(a, LOCK_EX));
	CHILD(holder) {
		EXPECT_OK(flock(a, LOCK_EX | LOCK_NB)); /* the same description */
	}
	JOIN(holder);
	struct gate g = gate_new();
	CHILD(p) {
		int b = lockfile();
		EXPECT_ERRNO(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
		gate_open(&g);
		EXPECT_OK(flock(b, LOCK_EX));
	}
	gate_wait(&g);
	wait_asleep(p);
	EXPECT_OK(flock(a, LOCK_UN));
	JOIN(p);
	EXPECT_OK(flock(a, LOCK_EX | LOCK_NB));
	CHILD(q) {
		int b = lockfile();
		interrupt_every(20);
		EXPECT_ERRNO(flock(b, LOCK_EX), EINTR);
	}
	JOIN(q);
}

CASE(posix_conflicts)
{
	int fd = lockfile();
	EXPECT_OK(record(fd, F_SETLK, F_WRLCK, 10, 10));
	EXPECT_OK(record(lockfile(), F_SETLK, F_WRLCK, 0, 0)); /* one process never meets its own */
	EXPECT_OK(record(fd, F_SETLK, F_UNLCK, 0, 0));
	EXPECT_OK(record(fd, F_SETLK, F_WRLCK, 10, 10));
	pid_t parent = getpid();
	CHILD(p) {
		EXPECT_ERRNO(record(fd, F_SETLK, F_RDLCK, 19, 1), EAGAIN);
		EXPECT_OK(record(fd, F_SETLK, F_WRLCK, 20, 5));
		EXPECT_OK(record(fd, F_SETLK, F_WRLCK, 0, 10));
		struct flock l = query(fd, F_GETLK, F_RDLCK, 0, 0);
		EXPECT_EQ(l.l_type, F_WRLCK);
		EXPECT_EQ(l.l_start, 10);
		EXPECT_EQ(l.l_len, 10);
		EXPECT_EQ(l.l_whence, SEEK_SET);
		EXPECT_EQ(l.l_pid, parent);
		l = query(fd, F_GETLK, F_WRLCK, 30, 0);
		EXPECT_EQ(l.l_type, F_UNLCK);
		EXPECT_EQ(l.l_start, 30);
	}
	JOIN(p);
	EXPECT_EQ(query(fd, F_GETLK, F_WRLCK, 0, 0).l_type, F_UNLCK);
}

CASE(posix_split_and_merge)
{
	int fd = lockfile();
	EXPECT_OK(record(fd, F_SETLK, F_WRLCK, 0, 100));
	EXPECT_OK(record(fd, F_SETLK, F_UNLCK, 40, 20));
	EXPECT_OK(record(fd, F_SETLK, F_RDLCK, 80, 10));
	CHILD(p) {
		struct flock l = query(fd, F_GETLK, F_WRLCK, 0, 0);
		EXPECT_EQ(l.l_start, 0);
		EXPECT_EQ(l.l_len, 40);
		l = query(fd, F_GETLK, F_WRLCK, 40, 0);
		EXPECT_EQ(l.l_start, 60);
		EXPECT_EQ(l.l_len, 20);
		l = query(fd, F_GETLK, F_WRLCK, 80, 1);
		EXPECT_EQ(l.l_type, F_RDLCK);
		EXPECT_EQ(l.l_start, 80);
		EXPECT_EQ(l.l_len, 10);
		EXPECT_OK(record(fd, F_SETLK, F_RDLCK, 85, 5));
		EXPECT_OK(record(fd, F_SETLK, F_WRLCK, 50, 10));
	}
	JOIN(p);
	EXPECT_OK(record(fd, F_SETLK, F_WRLCK, 40, 60));
	CHILD(q) {
		struct flock l = query(fd, F_GETLK, F_WRLCK, 99, 1);
		EXPECT_EQ(l.l_start, 0); /* one lock again */
		EXPECT_EQ(l.l_len, 100);
	}
	JOIN(q);
}

CASE(posix_dropped_by_any_close)
{
	int fd = lockfile();
	EXPECT_OK(record(fd, F_SETLK, F_WRLCK, 0, 0));
	EXPECT_OK(close(lockfile())); /* another description, and yet */
	CHILD(p) {
		EXPECT_OK(record(fd, F_SETLK, F_WRLCK, 0, 0));
	}
	JOIN(p);
}

CASE(posix_not_inherited)
{
	int fd = lockfile();
	EXPECT_OK(record(fd, F_SETLK, F_WRLCK, 0, 10));
	CHILD(p) {
		EXPECT_ERRNO(record(fd, F_SETLK, F_WRLCK, 0, 10), EAGAIN);
		EXPECT_OK(record(fd, F_SETLK, F_UNLCK, 0, 10)); /* no effect on the parent's */
		EXPECT_ERRNO(record(fd, F_SETLK, F_WRLCK, 0, 10), EAGAIN);
	}
	JOIN(p);
}

CASE(posix_waits)
{
	int fd = lockfile();
	EXPECT_OK(record(fd, F_SETLK, F_WRLCK, 0, 10));
	struct gate g = gate_new();
	CHILD(p) {
		gate_open(&g);
		EXPECT_OK(record(fd, F_SETLKW, F_WRLCK, 5, 10));
	}
	gate_wait(&g);
	wait_asleep(p);
	EXPECT_OK(record(fd, F_SETLK, F_UNLCK, 0, 10));
	JOIN(p);
	EXPECT_OK(record(fd, F_SETLK, F_WRLCK, 0, 10));
	CHILD(q) {
		interrupt_every(20);
		EXPECT_ERRNO(record(fd, F_SETLKW, F_WRLCK, 5, 10), EINTR);
	}
	JOIN(q);
}

CASE(posix_deadlock)
{
	int fd = lockfile();
	struct gate g = gate_new();
	EXPECT_OK(record(fd, F_SETLK, F_WRLCK, 0, 1));
	CHILD(p) {
		EXPECT_OK(record(fd, F_SETLK, F_WRLCK, 1, 1));
		gate_open(&g);
		if (record(fd, F_SETLKW, F_WRLCK, 0, 1) < 0) {
			EXPECT_EQ(errno, EDEADLK);
			_exit(5);
		}
	}
	gate_wait(&g);
	wait_asleep(p);
	/* Whoever asks second is refused; that ought to be us, but the machine decides. */
	int mine = record(fd, F_SETLKW, F_WRLCK, 1, 1);
	if (mine < 0)
		EXPECT_EQ(errno, EDEADLK);
	EXPECT_OK(record(fd, F_SETLK, F_UNLCK, 0, 1));
	EXPECT_EXIT(p, mine < 0 ? 0 : 5);
}

CASE(posix_errors)
{
	int fd = lockfile(), r = EXPECT_OK(open("f", O_RDONLY)), w = EXPECT_OK(open("f", O_WRONLY));
	EXPECT_ERRNO(record(r, F_SETLK, F_WRLCK, 0, 1), EBADF);
	EXPECT_ERRNO(record(w, F_SETLK, F_RDLCK, 0, 1), EBADF);
	EXPECT_ERRNO(record(fd, F_SETLK, 9, 0, 1), EINVAL);
	EXPECT_ERRNO(record(fd, F_SETLK, F_WRLCK, -1, 1), EINVAL);
	EXPECT_ERRNO(record(fd, F_GETLK, F_UNLCK, 0, 1), EINVAL);
	EXPECT_ERRNO(record(fd, F_SETLK, F_WRLCK, LONG_MAX, 2), EOVERFLOW);
	EXPECT_OK(record(fd, F_SETLK, F_WRLCK, 10, -5)); /* 5 to 9 */
	CHILD(p) {
		struct flock l = query(fd, F_GETLK, F_WRLCK, 0, 0);
		EXPECT_EQ(l.l_start, 5);
		EXPECT_EQ(l.l_len, 5);
	}
	JOIN(p);
	struct flock end = {.l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = -3, .l_len = 0};
	EXPECT_ERRNO(fcntl(fd, F_SETLK, &end), EINVAL); /* the file is empty */
}

CASE(ofd_locks)
{
	int a = lockfile(), b = lockfile();
	EXPECT_OK(record(a, F_OFD_SETLK, F_WRLCK, 0, 10));
	EXPECT_ERRNO(record(b, F_OFD_SETLK, F_WRLCK, 5, 1), EAGAIN); /* even in one process */
	EXPECT_ERRNO(record(b, F_SETLK, F_WRLCK, 5, 1), EAGAIN);
	struct flock l = query(b, F_OFD_GETLK, F_WRLCK, 0, 0);
	EXPECT_EQ(l.l_type, F_WRLCK);
	EXPECT_EQ(l.l_pid, -1);
	EXPECT_EQ(l.l_len, 10);
	struct flock with_pid = {.l_type = F_WRLCK, .l_pid = 1};
	EXPECT_ERRNO(fcntl(b, F_OFD_SETLK, &with_pid), EINVAL);
	CHILD(p) {
		EXPECT_OK(record(a, F_OFD_SETLK, F_WRLCK, 0, 10)); /* shared by fork */
	}
	JOIN(p);
	EXPECT_OK(close(lockfile())); /* other closes don't matter */
	EXPECT_ERRNO(record(b, F_OFD_SETLK, F_WRLCK, 5, 1), EAGAIN);
	EXPECT_OK(close(a));
	EXPECT_OK(record(b, F_OFD_SETLK, F_WRLCK, 5, 1));
}

CASE(kinds_do_not_mix)
{
	int a = lockfile(), b = lockfile();
	EXPECT_OK(flock(a, LOCK_EX));
	CHILD(p) {
		EXPECT_OK(record(b, F_SETLK, F_WRLCK, 0, 0)); /* flock and records ignore each other */
	}
	JOIN(p);
}

CASE(leases_and_owner)
{
	int fd = lockfile();
	EXPECT_EQ(fcntl(fd, F_GETOWN), 0);
	EXPECT_OK(fcntl(fd, F_SETOWN, getpid()));
	EXPECT_EQ(fcntl(fd, F_GETOWN), getpid());
	EXPECT_EQ(fcntl(fd, F_GETSIG), 0);
	EXPECT_OK(fcntl(fd, F_SETSIG, SIGUSR1));
	EXPECT_EQ(fcntl(fd, F_GETSIG), SIGUSR1);
	EXPECT_ERRNO(fcntl(fd, F_SETSIG, 65), EINVAL);
	EXPECT_ERRNO(fcntl(fd, F_SETOWN, INT_MIN), EINVAL);
}

CASE(flock_of_directories)
{
	int a = EXPECT_OK(open(".", O_RDONLY)), b = EXPECT_OK(open(".", O_RDONLY));
	EXPECT_OK(flock(a, LOCK_EX));
	EXPECT_ERRNO(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	EXPECT_ERRNO(record(a, F_SETLK, F_WRLCK, 0, 0), EBADF); /* not open for writing */
	EXPECT_OK(record(a, F_SETLK, F_RDLCK, 0, 0));
}
