/* Terminals' nodes bound and made elsewhere, what devpts lists, its limits in /proc, and names by ttyname(3). */
#include "terminal.h"
#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

/* Leaves the shared mount namespace, so that nothing here reaches the machine. */
static void own_namespace(void)
{
	needs_root();
	if (unshare(CLONE_NEWNS) < 0)
		SKIP("unshare(CLONE_NEWNS): %s", conf_errname(errno));
	EXPECT_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
}

/* A devpts of our own at ./pts. */
static void instance(const char *options)
{
	own_namespace();
	EXPECT_OK(mkdir("pts", 0755));
	EXPECT_OK(mount("none", "pts", "devpts", 0, options));
}

static int open_unlocked(const char *ptmx)
{
	int m = EXPECT_OK(open(ptmx, O_RDWR | O_NOCTTY)), off = 0;
	EXPECT_OK(ioctl(m, TIOCSPTLCK, &off));
	return m;
}

CASE(ptmx_by_a_symbolic_link)
{
	instance("");
	EXPECT_OK(symlink("pts/ptmx", "ptmx"));
	EXPECT_EQ(pty_number(open_unlocked("ptmx")), 0);
	CHECK(exists("pts/0"));
}

CASE(slave_bound_elsewhere)
{
	instance("");
	int m = open_unlocked("pts/ptmx");
	put_file("bound", "");
	EXPECT_OK(mount("pts/0", "bound", NULL, MS_BIND, NULL));
	int s = EXPECT_OK(open("bound", O_RDWR | O_NOCTTY));
	CHECK(isatty(s));
	type(s, "x");
	EXPECT_COMES(m, "x");
}

CASE(tty_node_elsewhere)
{
	own_namespace();
	EXPECT_OK(mknod("tty", S_IFCHR | 0600, makedev(5, 0)));
	EXPECT_ERRNO(open("tty", O_RDWR), ENXIO);
	struct pty t = pty_control();
	int fd = EXPECT_OK(open("tty", O_RDWR));
	type(fd, "x");
	EXPECT_COMES(t.master, "x");
}

CASE(nodes_on_a_mount_without_devices)
{
	own_namespace();
	EXPECT_OK(mkdir("pts", 0755));
	EXPECT_OK(mount("none", "pts", "devpts", MS_NODEV, NULL));
	EXPECT_ERRNO(open("pts/ptmx", O_RDWR), EACCES);
}

CASE(listing)
{
	instance("");
	int a = open_unlocked("pts/ptmx"), b = open_unlocked("pts/ptmx"), c = open_unlocked("pts/ptmx");
	EXPECT_OK(close(b));
	CHECK(a >= 0 && c >= 0);
	DIR *d = opendir("pts");
	CHECK(d);
	int names = 0, right = 0;
	for (struct dirent *e; (e = readdir(d)); names++)
		right += !strcmp(e->d_name, "0") || !strcmp(e->d_name, "2") || !strcmp(e->d_name, "ptmx") ||
		         !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..");
	closedir(d);
	EXPECT_EQ(names, 5);
	EXPECT_EQ(right, 5);
}

CASE(limits_refuse_nonsense)
{
	needs_root();
	int fd = EXPECT_OK(open("/proc/sys/kernel/pty/max", O_WRONLY));
	EXPECT_ERRNO(write(fd, "-1\n", 3), EINVAL);
	EXPECT_ERRNO(write(fd, "2147483648\n", 11), EINVAL);
	EXPECT_ERRNO(write(fd, "x\n", 2), EINVAL);
	CHILD(p) {
		become_user(4321, 4321);
		EXPECT_ERRNO(open("/proc/sys/kernel/pty/max", O_WRONLY), EACCES);
	}
	JOIN(p);
}

/* ---- ttyname(3). ---- */

CASE(names_of_standard_descriptors)
{
	struct pty t = pty_new();
	char short_one[4];
	CHILD(p) {
		for (int fd = 0; fd < 3; fd++)
			EXPECT_EQ(dup2(t.slave, fd), fd);
		for (int fd = 0; fd < 3; fd++) {
			EXPECT_STR(ttyname(fd), pty_name(t.master));
			EXPECT_EQ(ttyname_r(fd, short_one, sizeof short_one), ERANGE);
			EXPECT_EQ(isatty(fd), 1);
		}
	}
	JOIN(p);
	CHILD(q) {
		EXPECT_OK(setsid());
		EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0));
		EXPECT_EQ(dup2(EXPECT_OK(open("/dev/tty", O_RDWR)), 0), 0);
		EXPECT_STR(ttyname(0), "/dev/tty");
		EXPECT_STR(ctermid(NULL), "/dev/tty");
	}
	JOIN(q);
	int null = EXPECT_OK(open("/dev/null", O_RDWR));
	char name[64];
	EXPECT_EQ(ttyname_r(null, name, sizeof name), ENOTTY);
	EXPECT_EQ(ttyname_r(-1, name, sizeof name), EBADF);
}

CASE(names_in_another_instance)
{
	instance(NULL);
	int m = open_unlocked("pts/ptmx");
	int s = EXPECT_OK(open("pts/0", O_RDWR | O_NOCTTY));
	char name[4200], want[4200], here[4096];
	EXPECT_EQ(ttyname_r(s, name, sizeof name), 0);
	CHECK(getcwd(here, sizeof here));
	snprintf(want, sizeof want, "%s/pts/0", here);
	EXPECT_STR(name, want);
	int peer = EXPECT_OK(ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY));
	EXPECT_EQ(ttyname_r(peer, name, sizeof name), 0);
	EXPECT_STR(name, want);
	EXPECT_OK(umount2("pts", MNT_DETACH));
	EXPECT_EQ(ttyname_r(s, name, sizeof name), ENODEV); /* it has no name, whatever /dev/pts/0 is */
	EXPECT_EQ(isatty(s), 1);
}
