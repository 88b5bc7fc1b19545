/* What inodes say of themselves: stat, statx, modes, owners, times, extended attributes, statfs, the mount table. */
#include "../harness.h"
#include <linux/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

CASE(stat_fields_of_a_file)
{
	struct stat st, again;
	put_file("f", "hello");
	EXPECT_OK(stat("f", &st));
	EXPECT_EQ(st.st_mode, S_IFREG | 0644);
	EXPECT_EQ(st.st_size, 5);
	EXPECT_EQ(st.st_nlink, 1);
	EXPECT_EQ(st.st_uid, geteuid());
	EXPECT_EQ(st.st_gid, getegid());
	EXPECT_EQ(st.st_rdev, 0);
	EXPECT_EQ(st.st_blksize, 4096);
	CHECK(st.st_ino != 0 && st.st_dev != 0);
	int fd = EXPECT_OK(open("f", O_RDONLY));
	EXPECT_OK(fstat(fd, &again));
	EXPECT_EQ(again.st_ino, st.st_ino);
	EXPECT_EQ(again.st_dev, st.st_dev);
	EXPECT_ERRNO(stat("f", (void *)8), EFAULT);
	EXPECT_ERRNO(stat("", &st), ENOENT);
}

CASE(blocks_follow_the_data)
{
	struct stat st;
	int fd = EXPECT_OK(open("f", O_RDWR | O_CREAT, 0600));
	EXPECT_OK(fstat(fd, &st));
	EXPECT_EQ(st.st_blocks, 0);
	static char page[8192] = {1};
	EXPECT_EQ(write(fd, page, sizeof page), sizeof page);
	EXPECT_OK(fsync(fd));
	EXPECT_OK(fstat(fd, &st));
	EXPECT_EQ(st.st_blocks, 16);
	EXPECT_OK(ftruncate(fd, 1 << 20));
	EXPECT_OK(fstat(fd, &st));
	EXPECT_EQ(st.st_blocks, 16); /* a hole takes none */
	EXPECT_EQ(st.st_size, 1 << 20);
}

CASE(times_are_moved)
{
	struct stat a, b;
	put_file("f", "x");
	struct timespec old[2] = {{1000, 5}, {2000, 6}};
	EXPECT_OK(utimensat(AT_FDCWD, "f", old, 0));
	EXPECT_OK(stat("f", &a));
	EXPECT_EQ(a.st_atim.tv_sec, 1000);
	EXPECT_EQ(a.st_atim.tv_nsec, 5);
	EXPECT_EQ(a.st_mtim.tv_sec, 2000);
	EXPECT_EQ(a.st_mtim.tv_nsec, 6);
	CHECK(a.st_ctim.tv_sec > 1500000000); /* set by the change itself */
	int fd = EXPECT_OK(open("f", O_RDWR));
	EXPECT_EQ(write(fd, "", 0), 0);
	EXPECT_OK(fstat(fd, &b));
	EXPECT_EQ(b.st_mtim.tv_sec, 2000); /* an empty write changes nothing */
	EXPECT_EQ(write(fd, "y", 1), 1);
	EXPECT_OK(fstat(fd, &b));
	CHECK(b.st_mtim.tv_sec > 1500000000);
	EXPECT_EQ(b.st_atim.tv_sec, 1000);
	EXPECT_OK(utimensat(AT_FDCWD, "f", old, 0));
	EXPECT_OK(chmod("f", 0600));
	EXPECT_OK(stat("f", &b));
	EXPECT_EQ(b.st_mtim.tv_sec, 2000); /* chmod moves the change time only */
	EXPECT_OK(mkdir("d", 0755));
	EXPECT_OK(utimensat(AT_FDCWD, "d", old, 0));
	put_file("d/x", "");
	EXPECT_OK(stat("d", &b));
	CHECK(b.st_mtim.tv_sec > 1500000000);
	EXPECT_OK(utimensat(AT_FDCWD, "d", old, 0));
	EXPECT_OK(unlink("d/x"));
	EXPECT_OK(stat("d", &b));
	CHECK(b.st_mtim.tv_sec > 1500000000);
}

CASE(truncate_moves_times)
{
	struct stat st;
	struct timespec old[2] = {{1000, 0}, {2000, 0}};
	put_file("f", "abc");
	EXPECT_OK(utimensat(AT_FDCWD, "f", old, 0));
	EXPECT_OK(truncate("f", 1));
	EXPECT_OK(stat("f", &st));
	CHECK(st.st_mtim.tv_sec > 1500000000);
	EXPECT_OK(utimensat(AT_FDCWD, "f", old, 0));
	EXPECT_OK(close(EXPECT_OK(open("f", O_WRONLY | O_TRUNC))));
	EXPECT_OK(stat("f", &st));
	CHECK(st.st_mtim.tv_sec > 1500000000);
	EXPECT_EQ(st.st_size, 0);
}

CASE(utimensat_values)
{
	struct stat st;
	put_file("f", "");
	EXPECT_OK(symlink("f", "l"));
	struct timespec t[2] = {{111, 0}, {222, UTIME_OMIT}};
	EXPECT_OK(utimensat(AT_FDCWD, "f", t, 0));
	EXPECT_OK(stat("f", &st));
	EXPECT_EQ(st.st_atim.tv_sec, 111);
	CHECK(st.st_mtim.tv_sec > 1500000000);
	t[1] = (struct timespec){0, UTIME_NOW};
	t[0].tv_nsec = UTIME_OMIT;
	EXPECT_OK(utimensat(AT_FDCWD, "f", t, 0));
	EXPECT_OK(stat("f", &st));
	EXPECT_EQ(st.st_atim.tv_sec, 111);
	t[0] = (struct timespec){5, 1000000000};
	EXPECT_ERRNO(utimensat(AT_FDCWD, "f", t, 0), EINVAL);
	t[0] = (struct timespec){5, -1};
	EXPECT_ERRNO(utimensat(AT_FDCWD, "f", t, 0), EINVAL);
	t[0] = t[1] = (struct timespec){77, 0};
	EXPECT_OK(utimensat(AT_FDCWD, "l", t, AT_SYMLINK_NOFOLLOW));
	EXPECT_OK(stat("f", &st));
	EXPECT_EQ(st.st_atim.tv_sec, 111);
	EXPECT_OK(lstat("l", &st));
	EXPECT_EQ(st.st_mtim.tv_sec, 77);
	EXPECT_ERRNO(utimensat(AT_FDCWD, "none", t, 0), ENOENT);
	EXPECT_ERRNO(utimensat(AT_FDCWD, "f", t, 0x4000), EINVAL);
	int fd = EXPECT_OK(open("f", O_RDONLY));
	EXPECT_OK(futimens(fd, t)); /* needs ownership, not write access */
	EXPECT_OK(fstat(fd, &st));
	EXPECT_EQ(st.st_mtim.tv_sec, 77);
	EXPECT_OK(chmod("f", 0666));
	CHILD(p) {
		become_user(1000, 1000);
		EXPECT_ERRNO(utimensat(AT_FDCWD, "f", t, 0), EPERM);
		EXPECT_OK(utimensat(AT_FDCWD, "f", NULL, 0)); /* now: write permission will do */
		t[0].tv_nsec = t[1].tv_nsec = UTIME_OMIT;
		EXPECT_OK(utimensat(AT_FDCWD, "f", t, 0));
	}
	JOIN(p);
}

CASE(chmod_and_who_may)
{
	needs_root();
	struct stat st;
	put_file("f", "");
	EXPECT_OK(chmod("f", 0107777)); /* only twelve bits count */
	EXPECT_OK(stat("f", &st));
	EXPECT_EQ(st.st_mode, S_IFREG | 07777);
	EXPECT_OK(chown("f", 1000, 2000));
	EXPECT_OK(chmod("f", 0644));
	CHILD(p) {
		become_user(1000, 1000);
		EXPECT_OK(chmod("f", 02755)); /* not in group 2000: set-group-ID is dropped */
		EXPECT_OK(stat("f", &st));
		EXPECT_EQ(st.st_mode, S_IFREG | 0755);
		EXPECT_OK(chmod("f", 04755));
		EXPECT_OK(stat("f", &st));
		EXPECT_EQ(st.st_mode, S_IFREG | 04755);
	}
	JOIN(p);
	CHILD(q) {
		become_user(1001, 1000);
		EXPECT_ERRNO(chmod("f", 0777), EPERM);
		EXPECT_ERRNO(chmod("none", 0777), ENOENT);
	}
	JOIN(q);
	EXPECT_OK(symlink("f", "l"));
	EXPECT_OK(chmod("l", 0600));
	EXPECT_OK(stat("f", &st));
	EXPECT_EQ(st.st_mode, S_IFREG | 0600);
}

CASE(fchmodat2_on_links)
{
	put_file("f", "");
	EXPECT_OK(symlink("f", "l"));
	if (syscall(SYS_fchmodat, AT_FDCWD, "f", 0600) < 0)
		FAIL("fchmodat: %s", conf_errname(errno));
	long r = syscall(452, AT_FDCWD, "l", 0644, AT_SYMLINK_NOFOLLOW);
	if (r < 0 && errno == ENOSYS)
		SKIP("no fchmodat2");
	EXPECT_EQ(r, -1);
	EXPECT_EQ(errno, EOPNOTSUPP);
	EXPECT_OK(syscall(452, AT_FDCWD, "f", 0644, AT_SYMLINK_NOFOLLOW));
	EXPECT_ERRNO(syscall(452, AT_FDCWD, "f", 0644, 0x1), EINVAL);
}

CASE(chown_and_who_may)
{
	needs_root();
	struct stat st;
	put_file("f", "");
	EXPECT_OK(chmod("f", 06755));
	EXPECT_OK(chown("f", 1000, -1));
	EXPECT_OK(stat("f", &st));
	EXPECT_EQ(st.st_uid, 1000);
	EXPECT_EQ(st.st_gid, 0);
	EXPECT_EQ(st.st_mode, S_IFREG | 0755); /* set-ID bits go, for root too */
	EXPECT_OK(chmod("f", 06745));
	EXPECT_OK(chown("f", -1, 1000));
	EXPECT_OK(stat("f", &st));
	EXPECT_EQ(st.st_mode, S_IFREG | 02745); /* without group x it's not a set-group-ID program */
	CHILD(p) {
		become_user(1000, 1000);
		EXPECT_OK(chown("f", -1, -1));
		EXPECT_OK(chown("f", 1000, 1000));
		EXPECT_ERRNO(chown("f", 1001, -1), EPERM);
		EXPECT_ERRNO(chown("f", -1, 3000), EPERM);
	}
	JOIN(p);
	EXPECT_OK(symlink("f", "l"));
	EXPECT_OK(lchown("l", 7, 8));
	EXPECT_OK(lstat("l", &st));
	EXPECT_EQ(st.st_uid, 7);
	EXPECT_OK(stat("l", &st));
	EXPECT_EQ(st.st_uid, 1000);
	EXPECT_OK(fchownat(AT_FDCWD, "l", 9, 9, AT_SYMLINK_NOFOLLOW));
	EXPECT_ERRNO(fchownat(AT_FDCWD, "l", 9, 9, 0x1), EINVAL);
	int fd = EXPECT_OK(open("f", O_RDONLY));
	EXPECT_OK(fchown(fd, 0, 0));
}

CASE(writing_drops_set_id_bits)
{
	needs_root();
	struct stat st;
	put_file("f", "abc");
	EXPECT_OK(chown("f", 1000, 1000));
	EXPECT_OK(chmod("f", 06777));
	CHILD(p) {
		become_user(1000, 1000);
		int fd = EXPECT_OK(open("f", O_WRONLY));
		EXPECT_EQ(write(fd, "x", 1), 1);
		EXPECT_OK(fstat(fd, &st));
		EXPECT_EQ(st.st_mode, S_IFREG | 0777);
	}
	JOIN(p);
	EXPECT_OK(chmod("f", 06777));
	int fd = EXPECT_OK(open("f", O_WRONLY));
	EXPECT_EQ(write(fd, "x", 1), 1); /* root (CAP_FSETID) keeps them */
	EXPECT_OK(fstat(fd, &st));
	EXPECT_EQ(st.st_mode, S_IFREG | 06777);
}

CASE(group_permission)
{
	needs_root();
	put_file("f", "abc");
	EXPECT_OK(chown("f", 5000, 1000));
	EXPECT_OK(chmod("f", 0640));
	CHILD(p) {
		become_user(1000, 1000);
		EXPECT_OK(open("f", O_RDONLY));
		EXPECT_ERRNO(open("f", O_WRONLY), EACCES);
	}
	JOIN(p);
	EXPECT_OK(chmod("f", 0066));
	EXPECT_OK(chown("f", 1000, 1000));
	CHILD(q) {
		become_user(1000, 1000);
		EXPECT_ERRNO(open("f", O_RDONLY), EACCES); /* the owner's bits decide for the owner */
	}
	JOIN(q);
}

CASE(access_uses_real_ids)
{
	put_file("f", "");
	EXPECT_OK(chmod("f", 0600));
	CHILD(p) {
		needs_root();
		EXPECT_OK(setresuid(1000, 0, 0));
		EXPECT_ERRNO(access("f", R_OK), EACCES);
		EXPECT_OK(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS));
		EXPECT_OK(open("f", O_RDWR));
	}
	JOIN(p);
	EXPECT_OK(access("f", F_OK));
	EXPECT_ERRNO(access("none", F_OK), ENOENT);
}

CASE(statx_basics)
{
	struct statx sx;
	put_file("f", "hello");
	EXPECT_OK(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS | STATX_BTIME, &sx));
	EXPECT_EQ(sx.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
	EXPECT_EQ(sx.stx_size, 5);
	EXPECT_EQ(sx.stx_mode, S_IFREG | 0644);
	EXPECT_EQ(sx.stx_nlink, 1);
	struct stat st;
	EXPECT_OK(stat("f", &st));
	EXPECT_EQ(sx.stx_ino, st.st_ino);
	EXPECT_EQ(makedev(sx.stx_dev_major, sx.stx_dev_minor), st.st_dev);
	EXPECT_EQ(sx.stx_mtime.tv_nsec, st.st_mtim.tv_nsec);
	EXPECT_ERRNO(statx(AT_FDCWD, "f", 0, 0x80000000U, &sx), EINVAL);
	EXPECT_ERRNO(statx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, 0, &sx), EINVAL);
	EXPECT_ERRNO(statx(AT_FDCWD, "", 0, 0, &sx), ENOENT);
	EXPECT_OK(statx(AT_FDCWD, "", AT_EMPTY_PATH, STATX_TYPE, &sx));
	CHECK(S_ISDIR(sx.stx_mode));
	EXPECT_OK(symlink("f", "l"));
	EXPECT_OK(statx(AT_FDCWD, "l", AT_SYMLINK_NOFOLLOW, STATX_SIZE, &sx));
	EXPECT_EQ(sx.stx_size, 1);
	EXPECT_OK(statx(AT_FDCWD, "/", 0, STATX_BASIC_STATS, &sx));
	CHECK(sx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT);
	CHECK(sx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

CASE(statfs_fields)
{
	struct statfs s, by_fd;
	EXPECT_OK(statfs(".", &s));
	EXPECT_EQ(s.f_namelen, 255);
	CHECK(s.f_bsize > 0 && s.f_blocks >= s.f_bfree && s.f_bfree >= s.f_bavail);
	EXPECT_OK(fstatfs(EXPECT_OK(open(".", O_PATH)), &by_fd));
	EXPECT_EQ(s.f_type, by_fd.f_type);
	EXPECT_OK(statfs("/proc", &s));
	EXPECT_EQ(s.f_type, 0x9fa0);
	EXPECT_EQ(s.f_blocks, 0);
	EXPECT_OK(statfs("/dev/pts", &s));
	EXPECT_EQ(s.f_type, 0x1cd1);
	EXPECT_OK(statfs("/sys", &s));
	EXPECT_EQ(s.f_type, 0x62656572);
	int p[2];
	EXPECT_OK(pipe(p));
	EXPECT_OK(fstatfs(p[0], &s));
	EXPECT_EQ(s.f_type, 0x50495045);
	EXPECT_ERRNO(statfs("none", &s), ENOENT);
	EXPECT_ERRNO(statfs(".", (void *)8), EFAULT);
	EXPECT_ERRNO(fstatfs(99, &s), EBADF);
}

CASE(xattr_user)
{
	put_file("f", "");
	if (setxattr("f", "user.a", "value", 5, 0) < 0 && errno == EOPNOTSUPP)
		SKIP("no user attributes on this file system");
	char buf[64];
	EXPECT_EQ(getxattr("f", "user.a", NULL, 0), 5);
	EXPECT_EQ(getxattr("f", "user.a", buf, sizeof buf), 5);
	CHECK(!memcmp(buf, "value", 5));
	EXPECT_ERRNO(getxattr("f", "user.a", buf, 4), ERANGE);
	EXPECT_ERRNO(getxattr("f", "user.b", buf, 4), ENODATA);
	EXPECT_ERRNO(setxattr("f", "user.a", "x", 1, XATTR_CREATE), EEXIST);
	EXPECT_ERRNO(setxattr("f", "user.b", "x", 1, XATTR_REPLACE), ENODATA);
	EXPECT_ERRNO(setxattr("f", "user.b", "x", 1, 4), EINVAL);
	EXPECT_ERRNO(setxattr("f", "nonsense", "x", 1, 0), EOPNOTSUPP);
	EXPECT_ERRNO(setxattr("f", "user.", "x", 1, 0), EINVAL);
	EXPECT_ERRNO(setxattr("f", "", "x", 1, 0), ERANGE);
	EXPECT_OK(setxattr("f", "user.b", "", 0, 0));
	EXPECT_EQ(getxattr("f", "user.b", buf, sizeof buf), 0);
	EXPECT_EQ(listxattr("f", NULL, 0), 14);
	EXPECT_EQ(listxattr("f", buf, sizeof buf), 14);
	CHECK(memmem(buf, 14, "user.a", 7) && memmem(buf, 14, "user.b", 7));
	EXPECT_ERRNO(listxattr("f", buf, 13), ERANGE);
	EXPECT_OK(removexattr("f", "user.a"));
	EXPECT_ERRNO(removexattr("f", "user.a"), ENODATA);
	char longname[300] = "user.";
	memset(longname + 5, 'x', 251);
	EXPECT_ERRNO(setxattr("f", longname, "x", 1, 0), ERANGE);
	static char huge[65537];
	EXPECT_ERRNO(setxattr("f", "user.c", huge, sizeof huge, 0), E2BIG);
	EXPECT_OK(symlink("f", "l"));
	EXPECT_ERRNO(lsetxattr("l", "user.a", "x", 1, 0), EPERM);
	EXPECT_ERRNO(lgetxattr("l", "user.b", buf, 4), ENODATA);
	CHILD(p) {
		become_user(1000, 1000);
		EXPECT_ERRNO(setxattr("f", "user.d", "x", 1, 0), EACCES);
		EXPECT_ERRNO(setxattr("f", "trusted.d", "x", 1, 0), EPERM);
		EXPECT_ERRNO(getxattr("f", "trusted.d", buf, 4), ENODATA);
	}
	JOIN(p);
}

CASE(mount_tables)
{
	char line[4096];
	bool root = false, proc = false;
	FILE *f = fopen("/proc/self/mountinfo", "r");
	CHECK(f);
	while (fgets(line, sizeof line, f)) {
		int id, parent, major, minor, skip = 0;
		char point[1024];
		EXPECT_EQ(sscanf(line, "%d %d %d:%d %*s %1023s %n", &id, &parent, &major, &minor, point, &skip), 5);
		char *dash = strstr(line + skip, " - ");
		CHECK(dash);
		char type[64], source[1024], options[1024];
		EXPECT_EQ(sscanf(dash, " - %63s %1023s %1023s", type, source, options), 3);
		root |= !strcmp(point, "/");
		proc |= !strcmp(point, "/proc") && !strcmp(type, "proc");
	}
	fclose(f);
	CHECK(root && proc);
	root = false;
	f = fopen("/proc/mounts", "r");
	CHECK(f);
	while (fgets(line, sizeof line, f)) {
		char point[1024];
		int freq, pass;
		EXPECT_EQ(sscanf(line, "%*s %1023s %*s %*s %d %d", point, &freq, &pass), 3);
		root |= !strcmp(point, "/");
	}
	CHECK(root);
	char target[64] = {0};
	EXPECT_EQ(readlink("/proc/mounts", target, 63), 11);
	EXPECT_STR(target, "self/mounts");
}

CASE(mount_needs_privilege)
{
	EXPECT_OK(mkdir("d", 0755));
	CHILD(p) {
		become_user(1000, 1000);
		EXPECT_ERRNO(syscall(SYS_mount, "none", "d", "tmpfs", 0, NULL), EPERM);
		EXPECT_ERRNO(syscall(SYS_umount2, "/", 0), EPERM);
	}
	JOIN(p);
	EXPECT_ERRNO(syscall(SYS_umount2, "d", 0), EINVAL);
	EXPECT_ERRNO(syscall(SYS_umount2, "none", 0), ENOENT);
}
