/* Names: mkdir, rename, link, symlink, unlink, rmdir, the walk along a path, listing, the current directory. */
#include "../harness.h"
#include <dirent.h>
#include <linux/fs.h>

CASE(mkdir_errors)
{
	put_file("f", "");
	EXPECT_OK(mkdir("d", 0755));
	EXPECT_ERRNO(mkdir("d", 0755), EEXIST);
	EXPECT_ERRNO(mkdir("d/", 0755), EEXIST);
	EXPECT_ERRNO(mkdir("d/.", 0755), EEXIST);
	EXPECT_ERRNO(mkdir("d/..", 0755), EEXIST);
	EXPECT_ERRNO(mkdir("/", 0755), EEXIST);
	EXPECT_ERRNO(mkdir("f", 0755), EEXIST);
	EXPECT_ERRNO(mkdir("f/", 0755), EEXIST);
	EXPECT_ERRNO(mkdir("f/x", 0755), ENOTDIR);
	EXPECT_ERRNO(mkdir("no/x", 0755), ENOENT);
	EXPECT_ERRNO(mkdir("no/.", 0755), ENOENT);
	EXPECT_ERRNO(mkdir("", 0755), ENOENT);
	EXPECT_OK(mkdir("e///", 0755));
	EXPECT_OK(symlink("gone", "l"));
	EXPECT_ERRNO(mkdir("l", 0755), EEXIST);
	EXPECT_ERRNO(mkdir("l/", 0755), EEXIST);
	CHECK(!exists("gone"));
}

CASE(rmdir_errors)
{
	put_file("f", "");
	EXPECT_OK(mkdir("d", 0755));
	EXPECT_OK(mkdir("d/e", 0755));
	EXPECT_ERRNO(rmdir("d"), ENOTEMPTY);
	EXPECT_ERRNO(rmdir("f"), ENOTDIR);
	EXPECT_ERRNO(rmdir("no"), ENOENT);
	EXPECT_ERRNO(rmdir("d/e/."), EINVAL);
	EXPECT_ERRNO(rmdir("d/e/.."), ENOTEMPTY);
	EXPECT_ERRNO(rmdir("."), EINVAL);
	EXPECT_ERRNO(rmdir("/"), EBUSY);
	EXPECT_ERRNO(rmdir(""), ENOENT);
	EXPECT_OK(symlink("d", "l"));
	EXPECT_ERRNO(rmdir("l"), ENOTDIR);
	EXPECT_ERRNO(rmdir("l/"), ENOTDIR);
	EXPECT_OK(rmdir("d/e/"));
	EXPECT_OK(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
}

CASE(unlink_errors)
{
	put_file("f", "");
	EXPECT_OK(mkdir("d", 0755));
	EXPECT_ERRNO(unlink("d"), EISDIR);
	EXPECT_ERRNO(unlink("d/"), EISDIR);
	EXPECT_ERRNO(unlink("f/"), ENOTDIR);
	EXPECT_ERRNO(unlink("f/x"), ENOTDIR);
	EXPECT_ERRNO(unlink("no"), ENOENT);
	EXPECT_ERRNO(unlink("no/"), ENOENT);
	EXPECT_ERRNO(unlink("."), EISDIR);
	EXPECT_ERRNO(unlink("/"), EISDIR);
	EXPECT_ERRNO(unlinkat(AT_FDCWD, "f", 0x100), EINVAL);
	EXPECT_OK(symlink("f", "l"));
	EXPECT_OK(unlink("l"));
	CHECK(exists("f"));
}

CASE(unlinked_file_lives_on)
{
	put_file("f", "abc");
	int fd = EXPECT_OK(open("f", O_RDWR));
	EXPECT_OK(unlink("f"));
	struct stat st;
	EXPECT_OK(fstat(fd, &st));
	EXPECT_EQ(st.st_nlink, 0);
	EXPECT_EQ(st.st_size, 3);
	EXPECT_EQ(pwrite(fd, "d", 1, 3), 1);
	put_file("f", "new");
	char buf[8];
	EXPECT_EQ(pread(fd, buf, 8, 0), 4);
	CHECK(!memcmp(buf, "abcd", 4));
}

CASE(hard_links)
{
	put_file("f", "abc");
	EXPECT_OK(link("f", "g"));
	struct stat a, b;
	EXPECT_OK(stat("f", &a));
	EXPECT_OK(stat("g", &b));
	EXPECT_EQ(a.st_ino, b.st_ino);
	EXPECT_EQ(a.st_nlink, 2);
	EXPECT_ERRNO(link("f", "g"), EEXIST);
	EXPECT_ERRNO(link("no", "h"), ENOENT);
	EXPECT_ERRNO(link("f", "no/h"), ENOENT);
	EXPECT_ERRNO(link("f", "h/"), ENOENT);
	EXPECT_OK(mkdir("d", 0755));
	EXPECT_ERRNO(link("d", "h"), EPERM);
	EXPECT_ERRNO(link("d", "g"), EEXIST);
	EXPECT_OK(symlink("f", "l"));
	EXPECT_OK(link("l", "l2")); /* the link itself */
	EXPECT_OK(lstat("l2", &a));
	CHECK(S_ISLNK(a.st_mode));
	EXPECT_OK(linkat(AT_FDCWD, "l", AT_FDCWD, "f3", AT_SYMLINK_FOLLOW));
	EXPECT_OK(lstat("f3", &a));
	EXPECT_EQ(a.st_nlink, 3);
	EXPECT_ERRNO(linkat(AT_FDCWD, "f", AT_FDCWD, "f4", 0x1), EINVAL);
	EXPECT_ERRNO(link("f", "/dev/conformance-link"), EXDEV);
	EXPECT_OK(unlink("f"));
	EXPECT_STR(get_file("g"), "abc");
}

CASE(symlink_and_readlink)
{
	char buf[16];
	memset(buf, '-', sizeof buf);
	EXPECT_OK(symlink("target", "l"));
	EXPECT_EQ(readlink("l", buf, sizeof buf), 6);
	EXPECT_EQ(buf[6], '-'); /* no NUL */
	EXPECT_EQ(readlink("l", buf, 3), 3);
	EXPECT_ERRNO(readlink("l", buf, 0), EINVAL);
	EXPECT_ERRNO(symlink("x", "l"), EEXIST);
	EXPECT_ERRNO(symlink("", "m"), ENOENT);
	EXPECT_ERRNO(symlink("x", "m/"), ENOENT);
	put_file("f", "");
	EXPECT_ERRNO(readlink("f", buf, sizeof buf), EINVAL);
	EXPECT_ERRNO(readlink("no", buf, sizeof buf), ENOENT);
	EXPECT_ERRNO(readlink("f/", buf, sizeof buf), ENOTDIR);
	struct stat st;
	EXPECT_OK(lstat("l", &st));
	EXPECT_EQ(st.st_mode, S_IFLNK | 0777);
	EXPECT_EQ(st.st_size, 6);
	char longest[4097];
	memset(longest, 'x', 4096);
	longest[4096] = 0;
	EXPECT_ERRNO(symlink(longest, "m"), ENAMETOOLONG);
	longest[4094] = 0;
	EXPECT_OK(symlink(longest, "m"));
}

CASE(rename_files)
{
	put_file("a", "A");
	put_file("b", "B");
	EXPECT_OK(rename("a", "b"));
	CHECK(!exists("a"));
	EXPECT_STR(get_file("b"), "A");
	EXPECT_OK(rename("b", "b"));
	EXPECT_OK(link("b", "c"));
	EXPECT_OK(rename("b", "c")); /* two names of one file: nothing happens */
	CHECK(exists("b") && exists("c"));
	EXPECT_ERRNO(rename("no", "x"), ENOENT);
	EXPECT_ERRNO(rename("b", "no/x"), ENOENT);
	EXPECT_ERRNO(rename("b", ""), ENOENT);
	EXPECT_ERRNO(rename("b", "x/"), ENOTDIR);
	EXPECT_ERRNO(rename("b/", "x"), ENOTDIR);
	EXPECT_ERRNO(rename("b", "/proc/x"), EXDEV);
	EXPECT_OK(symlink("b", "l"));
	EXPECT_OK(rename("l", "m")); /* moves the link */
	struct stat st;
	EXPECT_OK(lstat("m", &st));
	CHECK(S_ISLNK(st.st_mode));
}

CASE(rename_directories)
{
	EXPECT_OK(mkdir("d", 0755));
	EXPECT_OK(mkdir("d/sub", 0755));
	EXPECT_OK(mkdir("empty", 0755));
	EXPECT_OK(mkdir("full", 0755));
	put_file("full/f", "");
	put_file("f", "");
	EXPECT_ERRNO(rename("d", "full"), ENOTEMPTY);
	EXPECT_ERRNO(rename("d", "f"), ENOTDIR);
	EXPECT_ERRNO(rename("f", "d"), EISDIR);
	EXPECT_ERRNO(rename("d", "d/sub/x"), EINVAL);
	EXPECT_ERRNO(rename("d/sub", "d"), ENOTEMPTY);
	EXPECT_ERRNO(rename("d/.", "x"), EBUSY);
	EXPECT_ERRNO(rename("d/..", "x"), EBUSY);
	EXPECT_ERRNO(rename("d", "x/.."), ENOENT);
	EXPECT_ERRNO(rename("d", "full/."), EBUSY);
	EXPECT_ERRNO(rename("/", "/conformance-x"), EBUSY);
	EXPECT_OK(rename("d", "empty"));
	CHECK(exists("empty/sub"));
	EXPECT_OK(rename("empty/", "moved/"));
	struct stat st, up;
	EXPECT_OK(rename("moved/sub", "sub"));
	EXPECT_OK(stat("sub/..", &up));
	EXPECT_OK(stat(".", &st));
	EXPECT_EQ(up.st_ino, st.st_ino);
	EXPECT_OK(stat("moved", &st));
	RECORD("links of a directory that lost a child", "%d", (int)st.st_nlink);
}

CASE(renameat2_flags)
{
	put_file("a", "A");
	put_file("b", "B");
	EXPECT_ERRNO(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE), EEXIST);
	EXPECT_ERRNO(renameat2(AT_FDCWD, "a", AT_FDCWD, "a", RENAME_NOREPLACE), EEXIST);
	EXPECT_OK(renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
	EXPECT_OK(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE));
	EXPECT_STR(get_file("b"), "A");
	EXPECT_STR(get_file("c"), "B");
	EXPECT_ERRNO(renameat2(AT_FDCWD, "b", AT_FDCWD, "no", RENAME_EXCHANGE), ENOENT);
	EXPECT_ERRNO(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
	EXPECT_ERRNO(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", 0x100), EINVAL);
	EXPECT_OK(mkdir("d", 0755));
	EXPECT_OK(mkdir("d/e", 0755));
	EXPECT_OK(renameat2(AT_FDCWD, "d", AT_FDCWD, "b", RENAME_EXCHANGE)); /* unlike kinds may change places */
	EXPECT_ERRNO(renameat2(AT_FDCWD, "b", AT_FDCWD, "b/e", RENAME_EXCHANGE), EINVAL);
	EXPECT_ERRNO(renameat2(AT_FDCWD, "b/e", AT_FDCWD, "b", RENAME_EXCHANGE), EINVAL);
}

CASE(rename_over_an_open_file)
{
	put_file("old", "old");
	put_file("new", "new");
	int fd = EXPECT_OK(open("old", O_RDONLY));
	EXPECT_OK(rename("new", "old"));
	struct stat st;
	EXPECT_OK(fstat(fd, &st));
	EXPECT_EQ(st.st_nlink, 0);
	char buf[8];
	EXPECT_EQ(read(fd, buf, 8), 3);
	CHECK(!memcmp(buf, "old", 3));
	EXPECT_STR(get_file("old"), "new");
}

CASE(sticky_directories)
{
	needs_root();
	EXPECT_OK(mkdir("t", 0));
	EXPECT_OK(chmod("t", 01777));
	put_file("t/root", "");
	put_file("t/user", "");
	EXPECT_OK(chown("t/user", 1000, 1000));
	CHILD(p) {
		become_user(1000, 1000);
		EXPECT_ERRNO(unlink("t/root"), EPERM);
		EXPECT_ERRNO(rename("t/root", "t/x"), EPERM);
		EXPECT_ERRNO(rename("t/user", "t/root"), EPERM);
		EXPECT_OK(rename("t/user", "t/mine"));
		EXPECT_OK(unlink("t/mine"));
	}
	JOIN(p);
	EXPECT_OK(chmod("t", 0777));
	CHILD(q) {
		become_user(1000, 1000);
		EXPECT_OK(unlink("t/root"));
	}
	JOIN(q);
}

CASE(walk_errors_and_their_order)
{
	put_file("f", "");
	EXPECT_OK(mkdir("d", 0755));
	struct stat st;
	EXPECT_ERRNO(stat("f/x/y", &st), ENOTDIR);
	EXPECT_ERRNO(stat("f/..", &st), ENOTDIR);
	EXPECT_ERRNO(stat("no/..", &st), ENOENT);
	EXPECT_ERRNO(stat("d/no/../..", &st), ENOENT);
	EXPECT_OK(stat("d//..///d/./", &st));
	EXPECT_ERRNO(stat("f/.", &st), ENOTDIR);
	EXPECT_ERRNO(lstat("f/", &st), ENOTDIR);
	EXPECT_ERRNO(access("f", 0x100), EINVAL);
	EXPECT_ERRNO(chdir("f"), ENOTDIR);
	EXPECT_ERRNO(chdir("no"), ENOENT);
	EXPECT_OK(symlink("d", "l"));
	EXPECT_OK(lstat("l/", &st));
	CHECK(S_ISDIR(st.st_mode));
	EXPECT_OK(symlink("f", "lf"));
	EXPECT_ERRNO(lstat("lf/", &st), ENOTDIR);
	EXPECT_ERRNO(stat("lf/x", &st), ENOTDIR);
}

CASE(root_is_its_own_parent)
{
	needs_root();
	struct stat root, up, self;
	EXPECT_OK(stat("/", &root));
	EXPECT_OK(stat("/..", &up));
	EXPECT_EQ(root.st_ino, up.st_ino);
	EXPECT_EQ(root.st_dev, up.st_dev);
	EXPECT_OK(stat("/../../..", &up));
	EXPECT_EQ(root.st_ino, up.st_ino);
	EXPECT_OK(mkdir("jail", 0755));
	put_file("outside", "");
	CHILD(p) {
		EXPECT_OK(chroot("jail"));
		EXPECT_OK(chdir("/"));
		EXPECT_OK(stat("/", &self));
		EXPECT_OK(stat("/../..", &up));
		EXPECT_EQ(self.st_ino, up.st_ino);
		CHECK(!exists("../outside"));
		char cwd[16];
		EXPECT_EQ(syscall(SYS_getcwd, cwd, sizeof cwd), 2);
		EXPECT_STR(cwd, "/");
	}
	JOIN(p);
	CHILD(q) {
		become_user(1000, 1000);
		EXPECT_ERRNO(chroot("jail"), EPERM);
	}
	JOIN(q);
}

CASE(getcwd_sizes)
{
	char cwd[PATH_MAX], small[2];
	long n = EXPECT_OK(syscall(SYS_getcwd, cwd, sizeof cwd));
	EXPECT_EQ(n, strlen(cwd) + 1);
	EXPECT_ERRNO(syscall(SYS_getcwd, small, 2), ERANGE);
	EXPECT_ERRNO(syscall(SYS_getcwd, cwd, n - 1), ERANGE);
	EXPECT_EQ(syscall(SYS_getcwd, cwd, n), n);
	EXPECT_OK(mkdir("d", 0755));
	EXPECT_OK(symlink("d", "l"));
	EXPECT_OK(chdir("l"));
	char inner[PATH_MAX];
	EXPECT_OK(syscall(SYS_getcwd, inner, sizeof inner));
	EXPECT_STR(inner + strlen(cwd), "/d"); /* links are gone from it */
}

CASE(cwd_removed)
{
	EXPECT_OK(mkdir("d", 0755));
	EXPECT_OK(chdir("d"));
	EXPECT_OK(rmdir("../d"));
	char cwd[PATH_MAX];
	EXPECT_ERRNO(syscall(SYS_getcwd, cwd, sizeof cwd), ENOENT);
	EXPECT_ERRNO(open("f", O_RDWR | O_CREAT, 0600), ENOENT);
	EXPECT_ERRNO(mkdir("x", 0755), ENOENT);
	struct stat st;
	EXPECT_OK(stat(".", &st));
	EXPECT_EQ(st.st_nlink, 0);
	EXPECT_OK(stat("..", &st));
	int fd = EXPECT_OK(open(".", O_RDONLY));
	char buf[256];
	EXPECT_ERRNO(syscall(SYS_getdents64, fd, buf, sizeof buf), ENOENT);
	EXPECT_OK(chdir(".."));
}

struct dirent64_ {
	uint64_t ino;
	int64_t off;
	unsigned short reclen;
	unsigned char type;
	char name[];
};

CASE(getdents_lists_all_once)
{
	enum { COUNT = 200 };
	char name[32];
	bool seen[COUNT] = {false};
	int dots = 0;
	EXPECT_OK(mkdir("d", 0755));
	for (int i = 0; i < COUNT; i++) {
		snprintf(name, sizeof name, "d/f%d", i);
		EXPECT_OK(close(open(name, O_RDWR | O_CREAT, 0600)));
	}
	int fd = EXPECT_OK(open("d", O_RDONLY));
	char buf[1000] __attribute__((aligned(8)));
	EXPECT_ERRNO(syscall(SYS_getdents64, fd, buf, 8), EINVAL); /* too small for one */
	long n;
	while ((n = EXPECT_OK(syscall(SYS_getdents64, fd, buf, sizeof buf))) > 0) {
		for (long at = 0; at < n;) {
			struct dirent64_ *e = (void *)(buf + at);
			EXPECT_EQ(e->reclen % 8, 0);
			if (!strcmp(e->name, ".") || !strcmp(e->name, "..")) {
				dots++;
				EXPECT_EQ(e->type, DT_DIR);
			} else {
				int i = atoi(e->name + 1);
				CHECK(i >= 0 && i < COUNT && !seen[i]);
				seen[i] = true;
				CHECK(e->type == DT_REG || e->type == DT_UNKNOWN);
			}
			at += e->reclen;
		}
	}
	EXPECT_EQ(dots, 2);
	for (int i = 0; i < COUNT; i++)
		CHECK(seen[i]);
	EXPECT_EQ(lseek(fd, 0, SEEK_SET), 0);
	CHECK(syscall(SYS_getdents64, fd, buf, sizeof buf) > 0);
	int f = EXPECT_OK(open("d/f1", O_RDONLY));
	EXPECT_ERRNO(syscall(SYS_getdents64, f, buf, sizeof buf), ENOTDIR);
}

CASE(listing_can_be_resumed)
{
	EXPECT_OK(mkdir("d", 0755));
	put_file("d/a", "");
	put_file("d/b", "");
	put_file("d/c", "");
	DIR *d = opendir("d");
	CHECK(d);
	char first[5][256];
	long where = 0;
	for (int i = 0; i < 5; i++) {
		struct dirent *e = readdir(d);
		CHECK(e);
		snprintf(first[i], 256, "%s", e->d_name);
		if (i == 2)
			where = telldir(d);
	}
	CHECK(!readdir(d));
	seekdir(d, where);
	EXPECT_STR(readdir(d)->d_name, first[3]);
	EXPECT_STR(readdir(d)->d_name, first[4]);
	CHECK(!readdir(d));
	/* Entries that are removed while the listing goes on don't disturb the others. */
	rewinddir(d);
	int left = 0;
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.') {
			EXPECT_OK(unlinkat(dirfd(d), e->d_name, 0));
			left++;
		}
	EXPECT_EQ(left, 3);
	EXPECT_OK(rmdir("d"));
}

CASE(directory_link_counts)
{
	struct stat st;
	EXPECT_OK(mkdir("d", 0755));
	EXPECT_OK(stat("d", &st));
	EXPECT_EQ(st.st_nlink, 2);
	EXPECT_OK(mkdir("d/e", 0755));
	EXPECT_OK(stat("d", &st));
	EXPECT_EQ(st.st_nlink, 3);
	EXPECT_OK(rmdir("d/e"));
	EXPECT_OK(stat("d", &st));
	EXPECT_EQ(st.st_nlink, 2);
}

CASE(setgid_directories)
{
	needs_root();
	struct stat st;
	EXPECT_OK(mkdir("d", 0755));
	EXPECT_OK(chown("d", 0, 1234));
	EXPECT_OK(chmod("d", 02777));
	put_file("d/f", "");
	EXPECT_OK(mkdir("d/sub", 0755));
	EXPECT_OK(stat("d/f", &st));
	EXPECT_EQ(st.st_gid, 1234);
	EXPECT_OK(stat("d/sub", &st));
	EXPECT_EQ(st.st_gid, 1234);
	EXPECT_EQ(st.st_mode, S_IFDIR | 02755);
	CHILD(p) {
		become_user(1000, 1000);
		EXPECT_OK(close(open("d/g", O_RDWR | O_CREAT, 02755)));
		EXPECT_OK(stat("d/g", &st));
		EXPECT_EQ(st.st_gid, 1234);
		RECORD("mode of a set-group-ID file made by a stranger", "%o", st.st_mode);
	}
	JOIN(p);
}

CASE(cwd_renamed_and_replaced)
{
	char here[PATH_MAX], cwd[PATH_MAX];
	CHECK(getcwd(here, sizeof here));
	EXPECT_OK(mkdir("d", 0755));
	EXPECT_OK(mkdir("e", 0755));
	EXPECT_OK(chdir("d"));
	EXPECT_OK(rename("../d", "../moved"));
	CHECK(getcwd(cwd, sizeof cwd));
	EXPECT_STR(cwd + strlen(here), "/moved");
	EXPECT_OK(rename("../e", "../moved")); /* takes its place: this one is dead */
	EXPECT_ERRNO(open("f", O_RDWR | O_CREAT, 0600), ENOENT);
	EXPECT_ERRNO(syscall(SYS_getcwd, cwd, sizeof cwd), ENOENT);
}

CASE(outside_the_root)
{
	needs_root();
	EXPECT_OK(mkdir("jail", 0755));
	put_file("outside", "");
	int out = EXPECT_OK(open(".", O_RDONLY));
	CHILD(p) {
		EXPECT_OK(chroot("jail"));
		/* A directory that is open from before, and the old current one, lie outside and work. */
		EXPECT_OK(openat(out, "outside", O_RDONLY));
		CHECK(exists("outside") && exists("../"));
		char cwd[PATH_MAX];
		EXPECT_OK(syscall(SYS_getcwd, cwd, sizeof cwd));
		CHECK(!strncmp(cwd, "(unreachable)/", 14));
		EXPECT_OK(fchdir(out));
	}
	JOIN(p);
}
