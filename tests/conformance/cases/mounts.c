/* Mounting inside a mount namespace of one's own: tmpfs, bind mounts, read-only, busy, hidden directories. */
#include "../harness.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>

/* Leaves the shared namespace, so that nothing here reaches the machine. */
static void own_namespace(void)
{
	if (unshare(CLONE_NEWNS) < 0)
		SKIP("unshare(CLONE_NEWNS): %s", conf_errname(errno));
	EXPECT_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
}

static void tmpfs_at(const char *where, unsigned long flags, const char *data)
{
	EXPECT_OK(mkdir(where, 0755));
	EXPECT_OK(mount("none", where, "tmpfs", flags, data));
}

CASE(tmpfs_hides_and_goes)
{
	own_namespace();
	EXPECT_OK(mkdir("m", 0755));
	put_file("m/below", "b");
	EXPECT_OK(mount("none", "m", "tmpfs", 0, NULL));
	CHECK(!exists("m/below"));
	put_file("m/above", "a");
	struct statfs s;
	EXPECT_OK(statfs("m", &s));
	EXPECT_EQ(s.f_type, 0x01021994);
	struct stat m, here;
	EXPECT_OK(stat("m", &m));
	EXPECT_OK(stat(".", &here));
	CHECK(m.st_dev != here.st_dev);
	EXPECT_EQ(m.st_mode, S_IFDIR | 01777);
	EXPECT_OK(stat("m/..", &m));
	EXPECT_EQ(m.st_ino, here.st_ino);
	EXPECT_ERRNO(rename("m/above", "above"), EXDEV);
	EXPECT_ERRNO(link("m/above", "above"), EXDEV);
	EXPECT_ERRNO(rmdir("m"), EBUSY);
	EXPECT_ERRNO(rename("m", "n"), EBUSY);
	EXPECT_OK(umount("m"));
	CHECK(exists("m/below") && !exists("m/above"));
	EXPECT_ERRNO(umount("m"), EINVAL);
}

CASE(busy_and_detached)
{
	own_namespace();
	tmpfs_at("m", 0, NULL);
	put_file("m/f", "abc");
	int fd = EXPECT_OK(open("m/f", O_RDONLY));
	EXPECT_ERRNO(umount("m"), EBUSY);
	EXPECT_OK(umount2("m", MNT_DETACH));
	CHECK(!exists("m/f"));
	char buf[4];
	EXPECT_EQ(read(fd, buf, 4), 3); /* goes on for who has it open */
	EXPECT_ERRNO(umount2("m", 0x1000), EINVAL);
}

CASE(mount_errors)
{
	own_namespace();
	put_file("f", "");
	EXPECT_OK(mkdir("m", 0755));
	EXPECT_ERRNO(mount("none", "m", "nosuchfs", 0, NULL), ENODEV);
	EXPECT_ERRNO(mount("none", "none", "tmpfs", 0, NULL), ENOENT);
	EXPECT_ERRNO(mount("none", "f", "tmpfs", 0, NULL), ENOTDIR);
	EXPECT_ERRNO(mount("none", "m", NULL, 0, NULL), EINVAL);
	EXPECT_ERRNO(mount("none", "m", "tmpfs", 0, "nonsense=1"), EINVAL);
	EXPECT_ERRNO(mount("none", "m", "tmpfs", MS_REMOUNT, NULL), EINVAL); /* no mount there */
	EXPECT_ERRNO(mount("gone", "m", NULL, MS_BIND, NULL), ENOENT);
	EXPECT_ERRNO(mount("f", "m", NULL, MS_BIND, NULL), ENOTDIR);
}

CASE(read_only)
{
	own_namespace();
	tmpfs_at("m", 0, NULL);
	put_file("m/f", "abc");
	EXPECT_OK(mount("none", "m", NULL, MS_REMOUNT | MS_RDONLY, NULL));
	EXPECT_ERRNO(open("m/f", O_WRONLY), EROFS);
	EXPECT_ERRNO(open("m/g", O_RDWR | O_CREAT, 0600), EROFS);
	EXPECT_OK(open("m/f", O_RDONLY));
	EXPECT_ERRNO(open("m/f", O_RDONLY | O_TRUNC), EROFS);
	EXPECT_ERRNO(mkdir("m/d", 0755), EROFS);
	EXPECT_ERRNO(mkdir("m/f", 0755), EEXIST);
	EXPECT_ERRNO(unlink("m/f"), EROFS);
	EXPECT_ERRNO(unlink("m/none"), EROFS);
	EXPECT_ERRNO(chmod("m/f", 0600), EROFS);
	EXPECT_ERRNO(truncate("m/f", 0), EROFS);
	EXPECT_ERRNO(access("m/f", W_OK), EROFS);
	EXPECT_OK(access("m/f", R_OK));
	EXPECT_OK(mount("none", "m", NULL, MS_REMOUNT, NULL));
	put_file("m/f", "new");
}

CASE(remount_with_writers)
{
	own_namespace();
	tmpfs_at("m", 0, NULL);
	int fd = EXPECT_OK(open("m/f", O_RDWR | O_CREAT, 0600));
	EXPECT_ERRNO(mount("none", "m", NULL, MS_REMOUNT | MS_RDONLY, NULL), EBUSY);
	EXPECT_OK(close(fd));
	EXPECT_OK(mount("none", "m", NULL, MS_REMOUNT | MS_RDONLY, NULL));
}

CASE(bind_mounts)
{
	own_namespace();
	EXPECT_OK(mkdir("a", 0755));
	EXPECT_OK(mkdir("b", 0755));
	put_file("a/f", "abc");
	EXPECT_OK(mount("a", "b", NULL, MS_BIND, NULL));
	EXPECT_STR(get_file("b/f"), "abc");
	put_file("b/g", "x");
	CHECK(exists("a/g"));
	struct stat x, y;
	EXPECT_OK(stat("a/f", &x));
	EXPECT_OK(stat("b/f", &y));
	EXPECT_EQ(x.st_ino, y.st_ino);
	EXPECT_EQ(x.st_dev, y.st_dev);
	EXPECT_ERRNO(rename("a/f", "b/h"), EXDEV); /* one file system, two mounts */
	/* Read-only for this mount alone. */
	EXPECT_OK(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	EXPECT_ERRNO(open("b/f", O_WRONLY), EROFS);
	EXPECT_OK(open("a/f", O_WRONLY));
	put_file("file", "");
	EXPECT_OK(mount("a/f", "file", NULL, MS_BIND, NULL));
	EXPECT_STR(get_file("file"), "abc");
	EXPECT_ERRNO(unlink("file"), EBUSY);
	EXPECT_OK(umount("file"));
	EXPECT_STR(get_file("file"), "");
}

CASE(recursive_bind)
{
	own_namespace();
	EXPECT_OK(mkdir("a", 0755));
	tmpfs_at("a/m", 0, NULL);
	put_file("a/m/f", "x");
	EXPECT_OK(mkdir("b", 0755));
	EXPECT_OK(mkdir("c", 0755));
	EXPECT_OK(mount("a", "b", NULL, MS_BIND, NULL));
	CHECK(!exists("b/m/f"));
	EXPECT_OK(mount("a", "c", NULL, MS_BIND | MS_REC, NULL));
	CHECK(exists("c/m/f"));
	EXPECT_ERRNO(umount("c"), EBUSY); /* a mount lies inside */
	EXPECT_OK(umount("c/m"));
	EXPECT_OK(umount("c"));
}

CASE(moved_mounts)
{
	own_namespace();
	tmpfs_at("top", 0, NULL);
	EXPECT_OK(mount(NULL, "top", NULL, MS_PRIVATE, NULL));
	tmpfs_at("top/m", 0, NULL);
	EXPECT_OK(mkdir("top/n", 0755));
	put_file("top/m/f", "x");
	EXPECT_OK(mount("top/m", "top/n", NULL, MS_MOVE, NULL));
	CHECK(exists("top/n/f") && !exists("top/m/f"));
	EXPECT_OK(mkdir("top/n/d", 0755));
	EXPECT_ERRNO(mount("top/n", "top/n/d", NULL, MS_MOVE, NULL), ELOOP);
	EXPECT_ERRNO(mount("top/m", "top/n", NULL, MS_MOVE, NULL), EINVAL); /* not the root of a mount */
}

CASE(stacked_mounts)
{
	own_namespace();
	tmpfs_at("m", 0, NULL);
	put_file("m/first", "");
	EXPECT_OK(mount("none", "m", "tmpfs", 0, NULL));
	CHECK(!exists("m/first"));
	EXPECT_OK(umount("m"));
	CHECK(exists("m/first"));
	EXPECT_OK(umount("m"));
}

CASE(noexec_and_nodev)
{
	own_namespace();
	tmpfs_at("m", MS_NOEXEC | MS_NODEV, NULL);
	put_file("m/x", "#!/bin/sh\nexit 0\n");
	EXPECT_OK(chmod("m/x", 0755));
	CHILD(p) {
		execl("m/x", "x", NULL);
		_exit(errno == EACCES ? 3 : 4);
	}
	EXPECT_EXIT(p, 3);
	EXPECT_ERRNO(access("m/x", X_OK), EACCES);
	int fd = EXPECT_OK(open("m/x", O_RDONLY));
	EXPECT_ERRNO(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0), EPERM);
	EXPECT_OK(mknod("m/null", S_IFCHR | 0666, 0x103));
	EXPECT_ERRNO(open("m/null", O_RDWR), EACCES);
	tmpfs_at("dev", 0, NULL);
	EXPECT_OK(mknod("dev/null", S_IFCHR | 0666, 0x103));
	EXPECT_EQ(write(EXPECT_OK(open("dev/null", O_RDWR)), "x", 1), 1);
	EXPECT_OK(mknod("dev/none", S_IFCHR | 0666, 0xee00));
	EXPECT_ERRNO(open("dev/none", O_RDWR), ENXIO);
}

CASE(tmpfs_options)
{
	own_namespace();
	struct stat st;
	struct statfs s;
	tmpfs_at("m", 0, "size=64k,mode=750,uid=12,gid=34");
	EXPECT_OK(stat("m", &st));
	EXPECT_EQ(st.st_mode, S_IFDIR | 0750);
	EXPECT_EQ(st.st_uid, 12);
	EXPECT_EQ(st.st_gid, 34);
	EXPECT_OK(statfs("m", &s));
	EXPECT_EQ(s.f_blocks * s.f_bsize, 65536);
	int fd = EXPECT_OK(open("m/f", O_RDWR | O_CREAT, 0600));
	static char big[100000];
	EXPECT_EQ(write(fd, big, sizeof big), 65536);
	EXPECT_ERRNO(write(fd, big, 1), ENOSPC);
	EXPECT_OK(ftruncate(fd, 0));
	EXPECT_EQ(write(fd, big, 4096), 4096);
	EXPECT_OK(statfs("m", &s));
	EXPECT_EQ(s.f_bfree * s.f_bsize, 65536 - 4096);
}

CASE(mountinfo_shows_it)
{
	own_namespace();
	tmpfs_at("m", MS_NOSUID | MS_RDONLY, NULL);
	char *at = strstr(get_file("/proc/self/mountinfo"), "/m ro,nosuid");
	CHECK(at);
	CHECK(strstr(at, " - tmpfs none ro"));
	EXPECT_OK(umount("m"));
	CHECK(!strstr(get_file("/proc/self/mountinfo"), "/m ro,nosuid"));
}

CASE(namespaces_are_apart)
{
	own_namespace();
	EXPECT_OK(mkdir("m", 0755));
	struct gate there = gate_new(), back = gate_new();
	CHILD(p) {
		EXPECT_OK(unshare(CLONE_NEWNS));
		EXPECT_OK(mount("none", "m", "tmpfs", 0, NULL));
		put_file("m/f", "");
		gate_open(&there);
		gate_wait(&back);
	}
	gate_wait(&there);
	CHECK(!exists("m/f"));
	gate_open(&back);
	JOIN(p);
}

CASE(pivot_root_works)
{
	own_namespace();
	tmpfs_at("new", 0, NULL);
	EXPECT_OK(mkdir("new/old", 0755));
	put_file("new/mark", "new root");
	EXPECT_OK(chdir("new"));
	EXPECT_OK(syscall(SYS_pivot_root, ".", "old"));
	CHECK(exists("/mark"));
	CHECK(exists("/old/proc/self"));
	EXPECT_OK(umount2("/old", MNT_DETACH));
	CHECK(!exists("/old/proc"));
	EXPECT_OK(chdir("/"));
	CHECK(exists("mark"));
}

CASE(mount_objects)
{
	own_namespace();
	EXPECT_OK(mkdir("m", 0755));
	int fs = syscall(SYS_fsopen, "tmpfs", 1);
	if (fs < 0 && errno == ENOSYS)
		SKIP("no fsopen");
	EXPECT_OK(fs);
	EXPECT_ERRNO(syscall(SYS_fsopen, "nosuchfs", 0), ENODEV);
	EXPECT_EQ(fcntl(fs, F_GETFD), FD_CLOEXEC);
	EXPECT_OK(syscall(SYS_fsconfig, fs, 1, "mode", "0700", 0)); /* a string */
	EXPECT_ERRNO(syscall(SYS_fsconfig, fs, 1, "nonsense", "1", 0), EINVAL);
	EXPECT_OK(syscall(SYS_fsconfig, fs, 6, NULL, NULL, 0)); /* create */
	int mnt = EXPECT_OK(syscall(SYS_fsmount, fs, 1, 0));
	EXPECT_OK(openat(mnt, "f", O_RDWR | O_CREAT, 0600)); /* usable before it's attached */
	CHECK(!exists("m/f"));
	EXPECT_OK(syscall(SYS_move_mount, mnt, "", AT_FDCWD, "m", 4)); /* from an empty path */
	CHECK(exists("m/f"));
	struct stat st;
	EXPECT_OK(stat("m", &st));
	EXPECT_EQ(st.st_mode, S_IFDIR | 0700);
}

CASE(cloned_trees)
{
	own_namespace();
	EXPECT_OK(mkdir("a", 0755));
	EXPECT_OK(mkdir("b", 0755));
	put_file("a/f", "x");
	int tree = syscall(SYS_open_tree, AT_FDCWD, "a", 1 | O_CLOEXEC); /* a clone */
	if (tree < 0 && errno == ENOSYS)
		SKIP("no open_tree");
	EXPECT_OK(tree);
	EXPECT_OK(syscall(SYS_move_mount, tree, "", AT_FDCWD, "b", 4));
	CHECK(exists("b/f"));
	EXPECT_ERRNO(umount("b"), EBUSY);
	EXPECT_OK(close(tree));
	EXPECT_OK(umount("b"));
	EXPECT_ERRNO(syscall(SYS_open_tree, AT_FDCWD, "none", 1), ENOENT);
	EXPECT_ERRNO(syscall(SYS_open_tree, AT_FDCWD, "a", 0x100000), EINVAL);
}
