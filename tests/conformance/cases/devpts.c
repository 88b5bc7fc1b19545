/* devpts: its mounts and their options, instances of its own, ptmx in it and beside it, numbers, limits. */
#include "terminal.h"
#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

/* Leaves the shared namespace, so that nothing here reaches the machine. */
static void own_namespace(void)
{
	needs_root();
	if (unshare(CLONE_NEWNS) < 0)
		SKIP("unshare(CLONE_NEWNS): %s", conf_errname(errno));
	EXPECT_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
}

/* An instance at m/pts. */
static void instance(const char *data)
{
	own_namespace();
	EXPECT_OK(mkdir("m", 0755));
	EXPECT_OK(mkdir("m/pts", 0755));
	EXPECT_OK(mount("devpts", "m/pts", "devpts", 0, data));
}

static int remount(const char *data)
{
	return mount(NULL, "m/pts", NULL, MS_REMOUNT, data);
}

static int new_master(void)
{
	return EXPECT_OK(open("m/pts/ptmx", O_RDWR | O_NOCTTY));
}

static struct stat stat_of(const char *path)
{
	struct stat st;
	EXPECT_OK(stat(path, &st));
	return st;
}

/* The options of the mount at m/pts, as /proc shows them. */
static char *shown(void)
{
	static char line[512];
	FILE *f = fopen("/proc/self/mounts", "r");
	CHECK(f);
	while (fgets(line, sizeof line, f)) {
		char *at = strstr(line, "/m/pts devpts rw,relatime");
		if (at) {
			char *options = at + strlen("/m/pts devpts rw,relatime");
			options[strcspn(options, " ")] = 0;
			fclose(f);
			return options;
		}
	}
	FAIL("not mounted");
}

CASE(an_instance_of_its_own)
{
	instance("newinstance,ptmxmode=0666");
	int a = new_master(), b = new_master();
	EXPECT_EQ(pty_number(a), 0);
	EXPECT_EQ(pty_number(b), 1);
	CHECK(exists("m/pts/0") && exists("m/pts/1") && !exists("m/pts/2"));
	int host = EXPECT_OK(open("/dev/ptmx", O_RDWR | O_NOCTTY)); /* of the other instance */
	CHECK(!exists("m/pts/2"));
	struct stat here = stat_of("m/pts"), there = stat_of("/dev/pts");
	CHECK(here.st_dev != there.st_dev);
	int off = 0;
	EXPECT_OK(ioctl(a, TIOCSPTLCK, &off));
	int s = EXPECT_OK(open("m/pts/0", O_RDWR | O_NOCTTY));
	type(s, "x");
	EXPECT_COMES(a, "x");
	EXPECT_OK(close(host));
}

CASE(every_mount_is_an_instance)
{
	/* newinstance is what happens anyway. */
	instance(NULL);
	int a = new_master();
	EXPECT_EQ(pty_number(a), 0);
	EXPECT_OK(mkdir("n", 0755));
	EXPECT_OK(mount("devpts", "n", "devpts", 0, "newinstance"));
	CHECK(!exists("n/0"));
	int b = EXPECT_OK(open("n/ptmx", O_RDWR | O_NOCTTY));
	EXPECT_EQ(pty_number(b), 0);
	CHECK(!exists("n/1"));
}

CASE(a_new_instance)
{
	instance(NULL);
	struct stat st = stat_of("m/pts");
	EXPECT_EQ(st.st_mode, S_IFDIR | 0755);
	EXPECT_EQ(st.st_uid, 0);
	EXPECT_EQ(st.st_ino, 1);
	EXPECT_EQ(st.st_nlink, 2);
	st = stat_of("m/pts/ptmx");
	EXPECT_EQ(st.st_mode, S_IFCHR | 0);
	EXPECT_EQ(st.st_rdev, makedev(5, 2));
	EXPECT_EQ(st.st_ino, 2);
	struct statfs fs;
	EXPECT_OK(statfs("m/pts", &fs));
	EXPECT_EQ(fs.f_type, 0x1cd1);
	EXPECT_EQ(fs.f_bsize, 4096);
	EXPECT_EQ(fs.f_namelen, 255);
	EXPECT_STR(shown(), ",mode=600,ptmxmode=000");
	int names = 0;
	DIR *d = opendir("m/pts");
	for (struct dirent *e; (e = readdir(d));)
		names++;
	EXPECT_EQ(names, 3); /* and the dots */
}

CASE(option_mode)
{
	instance("mode=0620");
	int m = new_master();
	EXPECT_EQ(stat_of("m/pts/0").st_mode, S_IFCHR | 0620);
	EXPECT_STR(shown(), ",mode=620,ptmxmode=000");
	EXPECT_OK(remount("mode=14777")); /* all bits of a mode, and no others */
	EXPECT_STR(shown(), ",mode=4777,ptmxmode=000");
	int n = new_master();
	EXPECT_EQ(stat_of("m/pts/1").st_mode, S_IFCHR | 04777);
	EXPECT_EQ(stat_of("m/pts/0").st_mode, S_IFCHR | 0620); /* those that exist stay as they are */
	EXPECT_OK(remount("mode=0"));
	EXPECT_STR(shown(), ",mode=000,ptmxmode=000");
	(void)m, (void)n;
}

CASE(options_uid_and_gid)
{
	instance("uid=4321,gid=77");
	EXPECT_STR(shown(), ",uid=4321,gid=77,mode=600,ptmxmode=000");
	int m = new_master();
	struct stat st = stat_of("m/pts/0");
	EXPECT_EQ(st.st_uid, 4321);
	EXPECT_EQ(st.st_gid, 77);
	EXPECT_OK(remount("gid=0")); /* what is not named is as if never given */
	EXPECT_STR(shown(), ",gid=0,mode=600,ptmxmode=000");
	int n = new_master();
	st = stat_of("m/pts/1");
	EXPECT_EQ(st.st_uid, 0);
	EXPECT_EQ(st.st_gid, 0);
	EXPECT_OK(remount("uid=3,gid=5,mode=620,ptmxmode=666,max=7"));
	EXPECT_STR(shown(), ",uid=3,gid=5,mode=620,ptmxmode=666,max=7");
	(void)m, (void)n;
}

CASE(owner_without_options)
{
	instance("ptmxmode=666");
	EXPECT_OK(chmod(".", 0755));
	CHILD(p) {
		become_user(4321, 77);
		int m = new_master();
		struct stat st = stat_of("m/pts/0");
		EXPECT_EQ(st.st_uid, 4321);
		EXPECT_EQ(st.st_gid, 77);
		EXPECT_EQ(st.st_mode, S_IFCHR | 0600);
		(void)m;
	}
	JOIN(p);
}

CASE(option_ptmxmode)
{
	instance("ptmxmode=0660");
	EXPECT_EQ(stat_of("m/pts/ptmx").st_mode, S_IFCHR | 0660);
	CHILD(p) {
		become_user(4321, 4321);
		EXPECT_ERRNO(open("m/pts/ptmx", O_RDWR | O_NOCTTY), EACCES);
	}
	JOIN(p);
	EXPECT_OK(remount("ptmxmode=0666"));
	EXPECT_EQ(stat_of("m/pts/ptmx").st_mode, S_IFCHR | 0666); /* this one changes at once */
	CHILD(q) {
		become_user(4321, 4321);
		EXPECT_EQ(pty_number(new_master()), 0);
	}
	JOIN(q);
	EXPECT_OK(chmod("m/pts/ptmx", 0600));
	EXPECT_EQ(stat_of("m/pts/ptmx").st_mode, S_IFCHR | 0600);
	EXPECT_STR(shown(), ",mode=600,ptmxmode=666");
}

CASE(option_max)
{
	instance("max=2");
	EXPECT_STR(shown(), ",mode=600,ptmxmode=000,max=2");
	int a = new_master(), b = new_master();
	EXPECT_ERRNO(open("m/pts/ptmx", O_RDWR), ENOSPC);
	EXPECT_OK(close(a));
	a = new_master();
	EXPECT_EQ(pty_number(a), 0);
	EXPECT_OK(remount("max=3"));
	int c = new_master();
	EXPECT_EQ(pty_number(c), 2);
	EXPECT_OK(remount("max=1"));
	EXPECT_ERRNO(open("m/pts/ptmx", O_RDWR), ENOSPC);
	CHECK(exists("m/pts/2")); /* those that exist go on */
	EXPECT_OK(remount("max=1048576"));
	EXPECT_STR(shown(), ",mode=600,ptmxmode=000");
	EXPECT_EQ(pty_number(new_master()), 3);
	EXPECT_OK(remount("max=1"));
	EXPECT_OK(remount("mode=600"));
	EXPECT_STR(shown(), ",mode=600,ptmxmode=000"); /* forgotten as not named */
	(void)b;
}

CASE(option_max_of_nothing)
{
	/* Read as no limit at all. */
	instance("max=0");
	EXPECT_STR(shown(), ",mode=600,ptmxmode=000,max=0");
	EXPECT_EQ(pty_number(new_master()), 0);
	EXPECT_EQ(pty_number(new_master()), 1);
}

CASE(bad_options)
{
	own_namespace();
	EXPECT_OK(mkdir("m", 0755));
	static const char *const bad[] = {"nonsense", "mode", "mode=", "mode=9", "mode=x", "uid=x", "uid=-1", "gid=-1", "gid=", "max=-1",
					  "max=1048577", "max=x", "ptmxmode=8", "newinstance=1", "mode=600,nonsense"};
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
		if (mount("devpts", "m", "devpts", 0, bad[i]) != -1 || errno != EINVAL)
			FAIL("%s: %s", bad[i], conf_errname(errno));
	EXPECT_OK(mount("devpts", "m", "devpts", 0, "mode=600,mode=0640,max=5,max=1000")); /* the last counts */
	EXPECT_ERRNO(mount(NULL, "m", NULL, MS_REMOUNT, "nonsense"), EINVAL);
	EXPECT_ERRNO(mount(NULL, "m", NULL, MS_REMOUNT, "mode=700,max=x"), EINVAL);
	EXPECT_EQ(pty_number(EXPECT_OK(open("m/ptmx", O_RDWR | O_NOCTTY))), 0);
	EXPECT_EQ(stat_of("m/0").st_mode, S_IFCHR | 0640);
}

CASE(numbers_are_the_lowest_free)
{
	instance(NULL);
	int m[6];
	for (int i = 0; i < 6; i++)
		EXPECT_EQ(pty_number(m[i] = new_master()), i);
	EXPECT_OK(close(m[4]));
	EXPECT_OK(close(m[1]));
	EXPECT_EQ(pty_number(new_master()), 1);
	EXPECT_EQ(pty_number(new_master()), 4);
	EXPECT_EQ(pty_number(new_master()), 6);
}

CASE(a_number_is_taken_until_the_slave_is_closed)
{
	instance(NULL);
	int a = new_master(), off = 0;
	EXPECT_OK(ioctl(a, TIOCSPTLCK, &off));
	int s = EXPECT_OK(open("m/pts/0", O_RDWR | O_NOCTTY));
	EXPECT_OK(close(a));
	CHECK(!exists("m/pts/0")); /* the name goes, the number stays */
	int b = new_master();
	EXPECT_EQ(pty_number(b), 1);
	EXPECT_OK(close(s));
	int c = EXPECT_OK(open("m/pts/ptmx", O_RDWR | O_NOCTTY));
	EXPECT_EQ(pty_number(c), 0);
}

CASE(ptmx_finds_pts_beside_it)
{
	instance("ptmxmode=000");
	EXPECT_OK(mknod("m/ptmx", S_IFCHR | 0666, makedev(5, 2)));
	int a = EXPECT_OK(open("m/ptmx", O_RDWR | O_NOCTTY)); /* its own mode counts, not that of the one in devpts */
	EXPECT_EQ(pty_number(a), 0);
	CHECK(exists("m/pts/0"));
	EXPECT_OK(mknod("m/anyname", S_IFCHR | 0666, makedev(5, 2)));
	int b = EXPECT_OK(open("m/anyname", O_RDWR | O_NOCTTY));
	EXPECT_EQ(pty_number(b), 1);
	EXPECT_OK(symlink("pts/ptmx", "m/link"));
	int c = EXPECT_OK(open("m/link", O_RDWR | O_NOCTTY));
	EXPECT_EQ(pty_number(c), 2);
	int off = 0, s;
	EXPECT_OK(ioctl(a, TIOCSPTLCK, &off));
	s = EXPECT_OK(ioctl(a, TIOCGPTPEER, O_RDWR | O_NOCTTY));
	struct stat mine, named = stat_of("m/pts/0");
	EXPECT_OK(fstat(s, &mine));
	EXPECT_EQ(mine.st_dev, named.st_dev);
	EXPECT_EQ(mine.st_ino, named.st_ino);
}

CASE(ptmx_without_pts_beside_it)
{
	instance(NULL);
	EXPECT_OK(mkdir("other", 0755));
	EXPECT_OK(mknod("other/ptmx", S_IFCHR | 0666, makedev(5, 2)));
	EXPECT_ERRNO(open("other/ptmx", O_RDWR | O_NOCTTY), ENOENT);
	EXPECT_OK(mkdir("other/pts", 0755)); /* a directory is not enough */
	EXPECT_ERRNO(open("other/ptmx", O_RDWR | O_NOCTTY), ENODEV);
	EXPECT_OK(mount("m/pts", "other/pts", NULL, MS_BIND, NULL));
	int a = EXPECT_OK(open("other/ptmx", O_RDWR | O_NOCTTY));
	EXPECT_EQ(pty_number(a), 0);
	CHECK(exists("m/pts/0") && exists("other/pts/0"));
}

CASE(ptmx_bound_elsewhere)
{
	instance("ptmxmode=666");
	put_file("elsewhere", "");
	EXPECT_OK(mount("m/pts/ptmx", "elsewhere", NULL, MS_BIND, NULL));
	int a = EXPECT_OK(open("elsewhere", O_RDWR | O_NOCTTY));
	EXPECT_EQ(pty_number(a), 0);
	CHECK(exists("m/pts/0"));
}

CASE(a_slaves_device_number_elsewhere)
{
	/* A node of the same numbers outside of devpts is nobody's. */
	instance(NULL);
	int a = new_master(), off = 0;
	EXPECT_OK(ioctl(a, TIOCSPTLCK, &off));
	struct stat st = stat_of("m/pts/0");
	EXPECT_OK(mknod("copy", S_IFCHR | 0666, st.st_rdev));
	EXPECT_ERRNO(open("copy", O_RDWR | O_NOCTTY), EIO);
}

CASE(nothing_can_be_made_in_it)
{
	instance(NULL);
	int a = new_master();
	EXPECT_ERRNO(open("m/pts/x", O_RDWR | O_CREAT, 0600), EACCES);
	EXPECT_ERRNO(mkdir("m/pts/x", 0755), EPERM);
	EXPECT_ERRNO(mknod("m/pts/7", S_IFCHR | 0600, makedev(136, 7)), EPERM);
	EXPECT_ERRNO(symlink("0", "m/pts/x"), EPERM);
	EXPECT_ERRNO(link("m/pts/0", "m/pts/x"), EPERM);
	EXPECT_ERRNO(unlink("m/pts/0"), EPERM);
	EXPECT_ERRNO(unlink("m/pts/ptmx"), EPERM);
	EXPECT_ERRNO(rename("m/pts/0", "m/pts/x"), EPERM);
	EXPECT_ERRNO(stat("m/pts/00", &(struct stat){0}), ENOENT);
	EXPECT_ERRNO(stat("m/pts/+0", &(struct stat){0}), ENOENT);
	(void)a;
}

CASE(attributes_can_be_changed)
{
	instance(NULL);
	int a = new_master();
	EXPECT_OK(chmod("m/pts/0", 0622));
	EXPECT_OK(chown("m/pts/0", 4321, 77));
	struct timespec times[2] = {{1000, 5}, {2000, 6}};
	EXPECT_OK(utimensat(AT_FDCWD, "m/pts/0", times, 0));
	struct stat st = stat_of("m/pts/0");
	EXPECT_EQ(st.st_mode, S_IFCHR | 0622);
	EXPECT_EQ(st.st_uid, 4321);
	EXPECT_EQ(st.st_gid, 77);
	EXPECT_EQ(st.st_atim.tv_sec, 1000);
	EXPECT_EQ(st.st_mtim.tv_sec, 2000);
	EXPECT_EQ(st.st_atim.tv_nsec, 5);
	(void)a;
}

CASE(unmounted_while_in_use)
{
	instance(NULL);
	int a = new_master(), off = 0;
	EXPECT_OK(ioctl(a, TIOCSPTLCK, &off));
	EXPECT_ERRNO(umount("m/pts"), EBUSY);
	EXPECT_OK(umount2("m/pts", MNT_DETACH));
	int s = EXPECT_OK(ioctl(a, TIOCGPTPEER, O_RDWR | O_NOCTTY));
	type(s, "on");
	EXPECT_COMES(a, "on");
}

CASE(times_of_transfers)
{
	instance(NULL);
	int a = new_master(), off = 0;
	EXPECT_OK(ioctl(a, TIOCSPTLCK, &off));
	int s = EXPECT_OK(open("m/pts/0", O_RDWR | O_NOCTTY));
	local_flags(s, ECHO, 0);
	struct timespec times[2] = {{1000, 5}, {2000, 6}};
	EXPECT_OK(futimens(s, times));
	type(a, "in\n");
	wait_for(s, POLLIN);
	EXPECT_EQ(stat_of("m/pts/0").st_atim.tv_sec, 1000);
	EXPECT_READ(s, "in\n");
	struct stat st = stat_of("m/pts/0");
	CHECK(st.st_atim.tv_sec > 1000000000);
	EXPECT_EQ(st.st_mtim.tv_sec, 2000);
	type(s, "out");
	st = stat_of("m/pts/0");
	CHECK(st.st_mtim.tv_sec > 1000000000);
	EXPECT_COMES(a, "out");
	/* Only to about eight seconds, lest the rhythm of typing shows. */
	time_t now = time(NULL) & ~7;
	times[0] = (struct timespec){now + 7, 0};
	times[1] = (struct timespec){now, 0};
	EXPECT_OK(futimens(s, times));
	type(s, "more");
	st = stat_of("m/pts/0");
	if ((time(NULL) & ~7) == now)
		EXPECT_EQ(st.st_mtim.tv_sec, now);
}

CASE(counts_of_pairs)
{
	char nr[16], *end;
	long max = atol(get_file("/proc/sys/kernel/pty/max")), reserve = atol(get_file("/proc/sys/kernel/pty/reserve"));
	CHECK(max > 0 && reserve >= 0);
	int m[40];
	for (int i = 0; i < 40; i++)
		m[i] = EXPECT_OK(open("/dev/ptmx", O_RDWR | O_NOCTTY));
	snprintf(nr, sizeof nr, "%s", get_file("/proc/sys/kernel/pty/nr"));
	CHECK(strtol(nr, &end, 10) >= 40); /* others may have some too */
	EXPECT_STR(end, "\n");
	for (int i = 0; i < 40; i++)
		EXPECT_OK(close(m[i]));
	EXPECT_ERRNO(open("/proc/sys/kernel/pty/nr", O_WRONLY), EACCES);
	EXPECT_EQ(stat_of("/proc/sys/kernel/pty/max").st_mode, S_IFREG | 0644);
	EXPECT_EQ(stat_of("/proc/sys/kernel/pty/reserve").st_mode, S_IFREG | 0644);
	EXPECT_EQ(stat_of("/proc/sys/kernel/pty/nr").st_mode, S_IFREG | 0444);
}
