/* open and openat2: flags and what they forbid, O_PATH, O_TMPFILE, RESOLVE_*. */
#include "../harness.h"
#include <poll.h>
#include <linux/openat2.h>

static int openat2_(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct open_how how = {flags, mode, resolve};
	return syscall(SYS_openat2, dir, path, &how, sizeof how);
}

CASE(missing_and_existing)
{
	EXPECT_ERRNO(open("f", O_RDONLY), ENOENT);
	EXPECT_ERRNO(open("f", O_WRONLY | O_TRUNC), ENOENT);
	EXPECT_ERRNO(open("", O_RDONLY), ENOENT);
	EXPECT_ERRNO(open("", O_RDWR | O_CREAT, 0600), ENOENT);
	EXPECT_OK(open("f", O_RDWR | O_CREAT | O_EXCL, 0600));
	EXPECT_ERRNO(open("f", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	EXPECT_OK(open("f", O_RDWR | O_CREAT, 0600));
	EXPECT_ERRNO(open("no/f", O_RDWR | O_CREAT, 0600), ENOENT);
	EXPECT_ERRNO(open("f/g", O_RDWR | O_CREAT, 0600), ENOTDIR);
	EXPECT_ERRNO(open("f/", O_RDONLY), ENOTDIR);
	EXPECT_ERRNO(open("f/.", O_RDONLY), ENOTDIR);
	EXPECT_ERRNO(open("g/", O_RDWR | O_CREAT, 0600), EISDIR);
	EXPECT_ERRNO(open("f/", O_RDWR | O_CREAT, 0600), EISDIR);
	EXPECT_ERRNO(open(NULL, O_RDONLY), EFAULT);
}

CASE(directories)
{
	EXPECT_OK(mkdir("d", 0755));
	put_file("f", "");
	EXPECT_ERRNO(open("d", O_WRONLY), EISDIR);
	EXPECT_ERRNO(open("d", O_RDWR), EISDIR);
	EXPECT_ERRNO(open("d", O_RDONLY | O_CREAT, 0600), EISDIR);
	EXPECT_ERRNO(open("d", O_RDONLY | O_CREAT | O_EXCL, 0600), EEXIST);
	EXPECT_ERRNO(open("d", O_RDONLY | O_TRUNC), EISDIR);
	EXPECT_ERRNO(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
	EXPECT_ERRNO(open("new", O_RDONLY | O_DIRECTORY | O_CREAT, 0600), EINVAL);
	CHECK(!exists("new"));
	int fd = EXPECT_OK(open("d", O_RDONLY));
	char c;
	EXPECT_ERRNO(read(fd, &c, 1), EISDIR);
	EXPECT_ERRNO(pread(fd, &c, 1, 0), EISDIR);
	EXPECT_ERRNO(write(fd, &c, 1), EBADF);
	EXPECT_ERRNO(ftruncate(fd, 0), EINVAL);
	EXPECT_ERRNO(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0), ENODEV);
	EXPECT_OK(fsync(fd));
}

CASE(access_modes)
{
	put_file("f", "abc");
	char c = 'x';
	int r = EXPECT_OK(open("f", O_RDONLY)), w = EXPECT_OK(open("f", O_WRONLY));
	EXPECT_ERRNO(write(r, &c, 1), EBADF);
	EXPECT_ERRNO(read(w, &c, 1), EBADF);
	EXPECT_ERRNO(pwrite(r, &c, 1, 0), EBADF);
	EXPECT_ERRNO(ftruncate(r, 0), EINVAL);
	/* Access mode 3 needs both permissions and allows neither. */
	int n = EXPECT_OK(open("f", 3));
	EXPECT_ERRNO(read(n, &c, 1), EBADF);
	EXPECT_ERRNO(write(n, &c, 1), EBADF);
}

CASE(truncate_flag)
{
	put_file("f", "abc");
	struct stat st;
	int fd = EXPECT_OK(open("f", O_WRONLY | O_TRUNC));
	EXPECT_OK(fstat(fd, &st));
	EXPECT_EQ(st.st_size, 0);
	put_file("f", "abc");
	EXPECT_OK(open("f", O_RDONLY | O_TRUNC)); /* truncates all the same */
	EXPECT_OK(stat("f", &st));
	EXPECT_EQ(st.st_size, 0);
	put_file("f", "abc");
	EXPECT_OK(open("f", O_PATH | O_TRUNC));
	EXPECT_OK(stat("f", &st));
	EXPECT_EQ(st.st_size, 3);
}

CASE(creation_mode_and_umask)
{
	struct stat st;
	umask(027);
	int fd = EXPECT_OK(open("f", O_RDWR | O_CREAT, 07777));
	EXPECT_OK(fstat(fd, &st));
	EXPECT_EQ(st.st_mode, S_IFREG | 07750);
	EXPECT_OK(mkdir("d", 07777));
	EXPECT_OK(stat("d", &st));
	EXPECT_EQ(st.st_mode, S_IFDIR | 01750);
	EXPECT_EQ(umask(07777), 027);
	EXPECT_EQ(umask(0), 0777);
	fd = EXPECT_OK(open("ro", O_RDWR | O_CREAT, 0400)); /* the mode binds later opens only */
	EXPECT_EQ(write(fd, "x", 1), 1);
	EXPECT_OK(mknod("n", 0644, 0)); /* type 0 is a regular file */
	EXPECT_OK(stat("n", &st));
	EXPECT_EQ(st.st_mode, S_IFREG | 0644);
	EXPECT_ERRNO(mknod("m", S_IFDIR | 0644, 0), EPERM);
	EXPECT_ERRNO(mknod("m", S_IFLNK | 0644, 0), EINVAL);
}

CASE(symbolic_links)
{
	put_file("f", "abc");
	EXPECT_OK(symlink("f", "l"));
	EXPECT_OK(symlink("gone", "dangling"));
	EXPECT_ERRNO(open("l", O_RDONLY | O_NOFOLLOW), ELOOP);
	EXPECT_ERRNO(open("dangling", O_RDONLY), ENOENT);
	EXPECT_ERRNO(open("dangling", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	EXPECT_ERRNO(open("l", O_RDWR | O_CREAT | O_NOFOLLOW, 0600), ELOOP);
	EXPECT_ERRNO(open("l", O_RDONLY | O_NOFOLLOW | O_DIRECTORY), ENOTDIR);
	EXPECT_OK(open("dangling", O_RDWR | O_CREAT, 0600)); /* makes the target */
	CHECK(exists("gone"));
	EXPECT_OK(mkdir("d", 0755));
	EXPECT_OK(symlink("d", "dl"));
	EXPECT_OK(open("dl/", O_RDONLY | O_NOFOLLOW)); /* the slash makes it the directory */
	EXPECT_OK(open("dl/.", O_RDONLY | O_NOFOLLOW));
	EXPECT_ERRNO(open("dl", O_RDONLY | O_NOFOLLOW | O_DIRECTORY), ENOTDIR);
}

CASE(loops)
{
	EXPECT_OK(symlink("b", "a"));
	EXPECT_OK(symlink("a", "b"));
	EXPECT_ERRNO(open("a", O_RDONLY), ELOOP);
	EXPECT_ERRNO(open("a/x", O_RDONLY), ELOOP);
	EXPECT_ERRNO(mkdir("a/x", 0755), ELOOP);
	/* 40 links may be followed, 41 may not. */
	put_file("t0", "");
	for (int i = 1; i <= 41; i++) {
		char from[16], to[16];
		snprintf(from, sizeof from, "t%d", i);
		snprintf(to, sizeof to, "t%d", i - 1);
		EXPECT_OK(symlink(to, from));
	}
	EXPECT_OK(open("t40", O_RDONLY));
	EXPECT_ERRNO(open("t41", O_RDONLY), ELOOP);
}

CASE(name_too_long)
{
	char name[300], path[5000];
	memset(name, 'n', sizeof name);
	name[255] = 0;
	EXPECT_OK(close(open(name, O_RDWR | O_CREAT, 0600)));
	EXPECT_OK(unlink(name));
	name[255] = 'n';
	name[256] = 0;
	EXPECT_ERRNO(open(name, O_RDWR | O_CREAT, 0600), ENAMETOOLONG);
	EXPECT_ERRNO(open(name, O_RDONLY), ENAMETOOLONG);
	for (int i = 0; i < 4999; i++)
		path[i] = i % 2 ? '/' : '.';
	path[4095] = 0; /* 4,096 with its NUL */
	EXPECT_OK(open(path, O_RDONLY));
	path[4095] = '/';
	path[4096] = 0;
	EXPECT_ERRNO(open(path, O_RDONLY), ENAMETOOLONG);
	EXPECT_ERRNO(mkdir(path, 0755), ENAMETOOLONG);
}

CASE(path_descriptors)
{
	put_file("f", "abc");
	EXPECT_OK(symlink("f", "l"));
	char buf[8];
	struct stat st;
	int fd = EXPECT_OK(open("f", O_PATH));
	EXPECT_ERRNO(read(fd, buf, 1), EBADF);
	EXPECT_ERRNO(write(fd, buf, 1), EBADF);
	EXPECT_ERRNO(lseek(fd, 0, SEEK_SET), EBADF);
	EXPECT_ERRNO(fchmod(fd, 0600), EBADF);
	EXPECT_ERRNO(fchown(fd, 0, 0), EBADF);
	EXPECT_ERRNO(fsync(fd), EBADF);
	EXPECT_ERRNO(ftruncate(fd, 0), EBADF);
	EXPECT_ERRNO(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0), EBADF);
	EXPECT_OK(fstat(fd, &st));
	EXPECT_OK(dup(fd));
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int real = EXPECT_OK(open(path, O_RDWR)); /* reopened with real access */
	EXPECT_EQ(read(real, buf, 8), 3);
	int link = EXPECT_OK(open("l", O_PATH | O_NOFOLLOW));
	EXPECT_OK(fstat(link, &st));
	CHECK(S_ISLNK(st.st_mode));
	EXPECT_EQ(readlinkat(link, "", buf, 8), 1);
	EXPECT_EQ(buf[0], 'f');
	EXPECT_ERRNO(readlinkat(fd, "", buf, 8), ENOENT);
	EXPECT_OK(mkdir("d", 0755));
	int dir = EXPECT_OK(open("d", O_PATH));
	EXPECT_OK(openat(dir, "new", O_RDWR | O_CREAT, 0600));
	EXPECT_OK(fchdir(dir));
	CHECK(exists("new"));
}

CASE(at_descriptors)
{
	EXPECT_OK(mkdir("d", 0755));
	int dir = EXPECT_OK(open("d", O_RDONLY));
	EXPECT_OK(openat(dir, "f", O_RDWR | O_CREAT, 0600));
	CHECK(exists("d/f"));
	EXPECT_OK(mkdirat(dir, "../e", 0755));
	CHECK(exists("e"));
	struct stat st, self;
	EXPECT_OK(fstatat(dir, "", &st, AT_EMPTY_PATH));
	EXPECT_OK(fstat(dir, &self));
	EXPECT_EQ(st.st_ino, self.st_ino);
	EXPECT_ERRNO(fstatat(dir, "", &st, 0), ENOENT);
	EXPECT_ERRNO(fstatat(dir, "f", &st, 0x8000000), EINVAL);
	EXPECT_OK(fstatat(99, "/", &st, 0));
	EXPECT_ERRNO(fstatat(99, "f", &st, 0), EBADF);
	EXPECT_OK(rmdir("e"));
	EXPECT_OK(unlinkat(dir, "f", 0));
	EXPECT_OK(rmdir("d"));
	EXPECT_ERRNO(openat(dir, "g", O_RDWR | O_CREAT, 0600), ENOENT); /* a dead directory */
	EXPECT_OK(openat(dir, ".", O_RDONLY));
}

CASE(tmpfile)
{
	int fd = open(".", O_TMPFILE | O_RDWR, 0640);
	if (fd < 0 && errno == EOPNOTSUPP)
		SKIP("no O_TMPFILE on this file system");
	EXPECT_OK(fd);
	struct stat st;
	EXPECT_OK(fstat(fd, &st));
	EXPECT_EQ(st.st_mode, S_IFREG | 0640);
	EXPECT_EQ(st.st_nlink, 0);
	EXPECT_EQ(write(fd, "abc", 3), 3);
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	EXPECT_OK(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	EXPECT_STR(get_file("named"), "abc");
	EXPECT_OK(fstat(fd, &st));
	EXPECT_EQ(st.st_nlink, 1);
	fd = EXPECT_OK(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	EXPECT_ERRNO(linkat(AT_FDCWD, path, AT_FDCWD, "other", AT_SYMLINK_FOLLOW), ENOENT);
	EXPECT_ERRNO(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
	EXPECT_ERRNO(open("named", O_TMPFILE | O_RDWR, 0600), ENOTDIR);
	EXPECT_ERRNO(open("none", O_TMPFILE | O_RDWR, 0600), ENOENT);
}

CASE(permission)
{
	put_file("secret", "x");
	EXPECT_OK(chmod("secret", 0600));
	EXPECT_OK(mkdir("closed", 0700));
	EXPECT_OK(mkdir("listed", 0744));
	put_file("closed/f", "");
	put_file("listed/f", "");
	CHILD(p) {
		become_user(1000, 1000);
		EXPECT_ERRNO(open("secret", O_RDONLY), EACCES);
		EXPECT_ERRNO(open("secret", O_RDONLY | O_CREAT | O_EXCL, 0600), EEXIST);
		EXPECT_OK(open("secret", O_PATH));
		EXPECT_ERRNO(open("new", O_RDWR | O_CREAT, 0600), EACCES);
		EXPECT_ERRNO(open("closed/f", O_RDONLY), EACCES);
		EXPECT_ERRNO(open("closed/none", O_RDONLY), EACCES);
		EXPECT_ERRNO(open("closed", O_RDONLY), EACCES);
		EXPECT_OK(open("listed", O_RDONLY)); /* may be listed, not entered */
		EXPECT_ERRNO(open("listed/f", O_RDONLY), EACCES);
		EXPECT_ERRNO(mkdir("d", 0755), EACCES);
		EXPECT_ERRNO(unlink("secret"), EACCES);
		EXPECT_ERRNO(mkdir("secret", 0755), EEXIST);
	}
	JOIN(p);
}

CASE(root_passes_permissions)
{
	needs_root();
	put_file("f", "abc");
	EXPECT_OK(chmod("f", 0));
	EXPECT_OK(open("f", O_RDWR));
	EXPECT_EQ(access("f", R_OK | W_OK), 0);
	EXPECT_ERRNO(access("f", X_OK), EACCES); /* nobody's x bit is set */
	EXPECT_OK(chmod("f", 0001));
	EXPECT_EQ(access("f", X_OK), 0);
	EXPECT_OK(mkdir("d", 0));
	EXPECT_EQ(access("d", R_OK | W_OK | X_OK), 0);
}

CASE(openat2_checks)
{
	put_file("f", "x");
	struct open_how how[2] = {{0, 0, 0}, {0, 0, 0}};
	EXPECT_OK(syscall(SYS_openat2, AT_FDCWD, "f", how, sizeof *how));
	EXPECT_ERRNO(syscall(SYS_openat2, AT_FDCWD, "f", how, sizeof *how - 1), EINVAL);
	EXPECT_OK(syscall(SYS_openat2, AT_FDCWD, "f", how, sizeof how)); /* larger, but zero beyond */
	how[1].flags = 1;
	EXPECT_ERRNO(syscall(SYS_openat2, AT_FDCWD, "f", how, sizeof how), E2BIG);
	EXPECT_ERRNO(openat2_(AT_FDCWD, "f", 1ULL << 40, 0, 0), EINVAL); /* open ignores unknown flags, this does not */
	EXPECT_ERRNO(openat2_(AT_FDCWD, "f", O_RDONLY, 0600, 0), EINVAL);
	EXPECT_ERRNO(openat2_(AT_FDCWD, "g", O_RDWR | O_CREAT, 0100600, 0), EINVAL);
	EXPECT_ERRNO(openat2_(AT_FDCWD, "f", O_RDONLY, 0, 0x8000), EINVAL);
	EXPECT_ERRNO(openat2_(AT_FDCWD, "f", O_PATH | O_RDWR, 0, 0), EINVAL);
	EXPECT_OK(openat2_(AT_FDCWD, "g", O_RDWR | O_CREAT, 0600, 0));
}

CASE(openat2_resolve)
{
	EXPECT_OK(mkdir("d", 0755));
	put_file("d/f", "x");
	put_file("top", "x");
	EXPECT_OK(symlink("f", "d/l"));
	EXPECT_OK(symlink("/f", "d/abs"));
	EXPECT_OK(symlink("../top", "d/up"));
	int d = EXPECT_OK(open("d", O_RDONLY));
	EXPECT_OK(openat2_(d, "f", 0, 0, RESOLVE_BENEATH));
	EXPECT_OK(openat2_(d, "l", 0, 0, RESOLVE_BENEATH));
	EXPECT_ERRNO(openat2_(d, "../top", 0, 0, RESOLVE_BENEATH), EXDEV);
	EXPECT_ERRNO(openat2_(d, "up", 0, 0, RESOLVE_BENEATH), EXDEV);
	EXPECT_ERRNO(openat2_(d, "abs", 0, 0, RESOLVE_BENEATH), EXDEV);
	EXPECT_ERRNO(openat2_(d, "/", 0, 0, RESOLVE_BENEATH), EXDEV);
	EXPECT_ERRNO(openat2_(d, "l", 0, 0, RESOLVE_NO_SYMLINKS), ELOOP);
	EXPECT_OK(openat2_(d, "l", O_PATH | O_NOFOLLOW, 0, RESOLVE_NO_SYMLINKS));
	EXPECT_OK(openat2_(d, "abs", 0, 0, RESOLVE_IN_ROOT));
	EXPECT_OK(openat2_(d, "../../f", 0, 0, RESOLVE_IN_ROOT));
	EXPECT_ERRNO(openat2_(d, "up", 0, 0, RESOLVE_IN_ROOT), ENOENT);
	EXPECT_ERRNO(openat2_(d, "f", 0, 0, RESOLVE_IN_ROOT | RESOLVE_BENEATH), EINVAL);
	EXPECT_ERRNO(openat2_(AT_FDCWD, "/proc/self/cwd", 0, 0, RESOLVE_NO_MAGICLINKS), ELOOP);
	EXPECT_ERRNO(openat2_(AT_FDCWD, "/proc/self/cwd", 0, 0, RESOLVE_NO_XDEV), EXDEV);
	EXPECT_OK(openat2_(AT_FDCWD, "d/f", 0, 0, RESOLVE_NO_XDEV));
}

CASE(proc_fd_links)
{
	char path[64], target[PATH_MAX], want[PATH_MAX + 32], cwd[PATH_MAX];
	put_file("f", "abc");
	EXPECT_OK(getcwd(cwd, sizeof cwd) ? 0 : -1);
	int fd = EXPECT_OK(open("f", O_RDWR));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	snprintf(want, sizeof want, "%s/f", cwd);
	ssize_t n = EXPECT_OK(readlink(path, target, sizeof target - 1));
	target[n] = 0;
	EXPECT_STR(target, want);
	struct stat st;
	EXPECT_OK(lstat(path, &st));
	EXPECT_EQ(st.st_mode, S_IFLNK | 0700); /* shows the access mode */
	int again = EXPECT_OK(open(path, O_RDONLY)); /* a new description */
	char c;
	EXPECT_EQ(read(fd, &c, 1), 1);
	EXPECT_EQ(lseek(again, 0, SEEK_CUR), 0);
	EXPECT_OK(rename("f", "g"));
	n = EXPECT_OK(readlink(path, target, sizeof target - 1));
	target[n] = 0;
	snprintf(want, sizeof want, "%s/g", cwd);
	EXPECT_STR(target, want);
	EXPECT_OK(unlink("g"));
	n = EXPECT_OK(readlink(path, target, sizeof target - 1));
	target[n] = 0;
	snprintf(want, sizeof want, "%s/g (deleted)", cwd);
	EXPECT_STR(target, want);
	again = EXPECT_OK(open(path, O_RDONLY)); /* still leads to the file */
	EXPECT_EQ(read(again, &c, 1), 1);
	int ro = EXPECT_OK(open("/dev/null", O_RDONLY)), wo = EXPECT_OK(open("/dev/null", O_WRONLY));
	snprintf(path, sizeof path, "/proc/self/fd/%d", ro);
	EXPECT_OK(lstat(path, &st));
	EXPECT_EQ(st.st_mode, S_IFLNK | 0500);
	snprintf(path, sizeof path, "/proc/self/fd/%d", wo);
	EXPECT_OK(lstat(path, &st));
	EXPECT_EQ(st.st_mode, S_IFLNK | 0300);
}

CASE(device_nodes)
{
	char buf[16];
	struct stat st;
	int null = EXPECT_OK(open("/dev/null", O_RDWR)), zero = EXPECT_OK(open("/dev/zero", O_RDWR));
	int full = EXPECT_OK(open("/dev/full", O_RDWR));
	EXPECT_EQ(read(null, buf, 16), 0);
	EXPECT_EQ(write(null, buf, 16), 16);
	EXPECT_EQ(write(null, (void *)8, 16), 16); /* it doesn't even look */
	memset(buf, 1, 16);
	EXPECT_EQ(read(zero, buf, 16), 16);
	EXPECT_EQ(buf[15], 0);
	EXPECT_EQ(write(zero, buf, 16), 16);
	EXPECT_ERRNO(write(full, buf, 1), ENOSPC);
	EXPECT_EQ(read(full, buf, 16), 16);
	EXPECT_OK(fstat(null, &st));
	EXPECT_EQ(st.st_mode, S_IFCHR | 0666);
	EXPECT_EQ(st.st_rdev, 0x103);
	EXPECT_EQ(lseek(null, 100, SEEK_SET), 0);
	EXPECT_EQ(lseek(null, -1, SEEK_SET), 0);
	struct pollfd p = {EXPECT_OK(open("/dev/random", O_RDWR)), POLLIN | POLLOUT, 0};
	EXPECT_EQ(poll(&p, 1, 0), 1);
	EXPECT_EQ(p.revents, POLLIN);
	EXPECT_EQ(lseek(null, 0, SEEK_HOLE), 0);
	EXPECT_ERRNO(lseek(null, 0, 5), EINVAL);
	EXPECT_ERRNO(ftruncate(null, 0), EINVAL);
	int random = EXPECT_OK(open("/dev/urandom", O_RDONLY));
	EXPECT_EQ(read(random, buf, 16), 16);
}
