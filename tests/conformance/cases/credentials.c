/* User and group ids, capabilities and their changes. */
#include "../harness.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

static void expect_uids(uid_t r, uid_t e, uid_t s)
{
	uid_t a, b, c;
	EXPECT_OK(getresuid(&a, &b, &c));
	EXPECT_EQ(a, r);
	EXPECT_EQ(b, e);
	EXPECT_EQ(c, s);
}

static void expect_gids(gid_t r, gid_t e, gid_t s)
{
	gid_t a, b, c;
	EXPECT_OK(getresgid(&a, &b, &c));
	EXPECT_EQ(a, r);
	EXPECT_EQ(b, e);
	EXPECT_EQ(c, s);
}

/* By the call itself, which changes the calling thread alone. */
#define RAW(name, ...) syscall(SYS_##name, ##__VA_ARGS__)

struct caps {
	uint64_t effective, permitted, inheritable;
};

static struct caps caps_get(void)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];
	EXPECT_OK(syscall(SYS_capget, &head, d));
	return (struct caps){d[0].effective | (uint64_t)d[1].effective << 32, d[0].permitted | (uint64_t)d[1].permitted << 32,
			     d[0].inheritable | (uint64_t)d[1].inheritable << 32};
}

static int caps_set(struct caps c)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {{c.effective, c.permitted, c.inheritable},
					      {c.effective >> 32, c.permitted >> 32, c.inheritable >> 32}};
	return syscall(SYS_capset, &head, d);
}

#define BIT(cap) (1ULL << (cap))

CASE(root_becomes_anybody)
{
	needs_root();
	CHILD(p) {
		EXPECT_OK(setuid(1001)); /* all three */
		expect_uids(1001, 1001, 1001);
		EXPECT_ERRNO(setuid(0), EPERM);
		EXPECT_ERRNO(seteuid(0), EPERM);
	}
	JOIN(p);
	CHILD(q) {
		EXPECT_OK(seteuid(1001)); /* for a while */
		expect_uids(0, 1001, 0);
		EXPECT_OK(setuid(0)); /* not privileged: the effective one alone */
		expect_uids(0, 0, 0);
		EXPECT_OK(setresuid(-1, 1002, 1003));
		expect_uids(0, 1002, 1003);
		EXPECT_OK(setuid(1003));
		expect_uids(0, 1003, 1003);
		EXPECT_OK(setuid(0));
		expect_uids(0, 0, 1003);
	}
	JOIN(q);
	CHILD(r) {
		EXPECT_OK(setgid(1001));
		expect_gids(1001, 1001, 1001);
		EXPECT_OK(setgid(1002)); /* still root */
		EXPECT_OK(setegid(7));
		expect_gids(1002, 7, 1002);
		EXPECT_OK(setuid(1001));
		EXPECT_ERRNO(setgid(5), EPERM);
		EXPECT_OK(setgid(1002));
		expect_gids(1002, 1002, 1002);
	}
	JOIN(r);
	EXPECT_ERRNO(RAW(setuid, -1), EINVAL);
	EXPECT_ERRNO(RAW(setgid, -1), EINVAL);
}

CASE(users_swap_their_ids)
{
	needs_root();
	CHILD(p) {
		EXPECT_OK(setresuid(1001, 1002, 1003));
		EXPECT_ERRNO(setresuid(1004, -1, -1), EPERM);
		EXPECT_ERRNO(setresuid(-1, -1, 0), EPERM);
		EXPECT_OK(setresuid(1003, 1001, 1002));
		expect_uids(1003, 1001, 1002);
		EXPECT_OK(setresuid(-1, 1002, -1));
		EXPECT_ERRNO(setreuid(1001, -1), EPERM); /* the saved one doesn't count for the real one */
		EXPECT_OK(setreuid(1002, 1003));
		expect_uids(1002, 1003, 1003); /* and the saved one follows */
	}
	JOIN(p);
	CHILD(q) {
		EXPECT_OK(setreuid(1001, -1)); /* the real one is set: saved becomes effective */
		expect_uids(1001, 0, 0);
		EXPECT_OK(setreuid(-1, 1001));
		expect_uids(1001, 1001, 0);
		EXPECT_OK(setreuid(-1, 0));
		expect_uids(1001, 0, 0);
		EXPECT_OK(setreuid(-1, 1007)); /* other than the real one: saved too */
		expect_uids(1001, 1007, 1007);
	}
	JOIN(q);
	CHILD(r) {
		EXPECT_OK(setregid(1001, -1));
		expect_gids(1001, 0, 0);
		EXPECT_OK(setresgid(1, 2, 3));
		EXPECT_OK(setuid(1001));
		EXPECT_ERRNO(setresgid(4, -1, -1), EPERM);
		EXPECT_OK(setresgid(3, 1, 2));
		expect_gids(3, 1, 2);
	}
	JOIN(r);
}

CASE(file_system_ids)
{
	needs_root();
	CHILD(p) {
		EXPECT_EQ(setfsuid(1001), 0); /* says what was */
		EXPECT_EQ(setfsuid(-1), 1001);
		EXPECT_EQ(setfsgid(1002), 0);
		EXPECT_EQ(setfsgid(-1), 1002);
		EXPECT_OK(seteuid(0)); /* follows the effective one */
		EXPECT_EQ(setfsuid(-1), 0);
		EXPECT_OK(chmod(".", 0777));
		setfsuid(1001);
		EXPECT_OK(mkdir("d", 0777)); /* whose is what we make */
		struct stat st;
		EXPECT_OK(stat("d", &st));
		EXPECT_EQ(st.st_uid, 1001);
		EXPECT_EQ(st.st_gid, 1002);
		expect_uids(0, 0, 0);
	}
	JOIN(p);
}

CASE(supplementary_groups)
{
	gid_t got[8], want[] = {5, 3, 9};
	needs_root();
	EXPECT_OK(setgroups(3, want));
	EXPECT_EQ(getgroups(0, NULL), 3);
	EXPECT_EQ(getgroups(8, got), 3);
	EXPECT_EQ(got[0], 3); /* in order */
	EXPECT_EQ(got[1], 5);
	EXPECT_EQ(got[2], 9);
	EXPECT_ERRNO(getgroups(2, got), EINVAL);
	EXPECT_ERRNO(getgroups(-1, got), EINVAL);
	EXPECT_ERRNO(RAW(setgroups, 65537, got), EINVAL);
	EXPECT_ERRNO(RAW(setgroups, 3, 8), EFAULT);
	EXPECT_ERRNO(RAW(getgroups, 8, 8), EFAULT);
	put_file("f", "x");
	EXPECT_OK(chown("f", 0, 9));
	EXPECT_OK(chmod("f", 0040));
	CHILD(p) {
		EXPECT_OK(setuid(1001));
		EXPECT_ERRNO(setgroups(0, NULL), EPERM);
		EXPECT_EQ(getgroups(0, NULL), 3);
		EXPECT_OK(open("f", O_RDONLY)); /* by one of them */
	}
	JOIN(p);
	CHILD(q) {
		become_user(1001, 1001);
		EXPECT_ERRNO(open("f", O_RDONLY), EACCES);
	}
	JOIN(q);
}

CASE(threads_have_their_own)
{
	/* The kernel keeps them for each thread; it is the library that changes all. */
	needs_root();
	CHILD(p) {
		EXPECT_OK(RAW(setresuid, 1001, 1001, 1001));
		expect_uids(1001, 1001, 1001);
	}
	JOIN(p);
	expect_uids(0, 0, 0);
}

/* ---- Capabilities. ---- */

CASE(capget_and_capset_rules)
{
	struct __user_cap_header_struct head = {0x1234, 0};
	struct __user_cap_data_struct d[2];
	EXPECT_ERRNO(syscall(SYS_capget, &head, d), EINVAL);
	EXPECT_EQ(head.version, _LINUX_CAPABILITY_VERSION_3); /* told which one it is */
	head.version = 0x1234;
	EXPECT_OK(syscall(SYS_capget, &head, NULL));
	head.pid = -1;
	EXPECT_ERRNO(syscall(SYS_capget, &head, d), EINVAL);
	head.pid = 999999999;
	EXPECT_ERRNO(syscall(SYS_capget, &head, d), ESRCH);
	EXPECT_ERRNO(syscall(SYS_capget, NULL, d), EFAULT);
	head.pid = getppid();
	EXPECT_ERRNO(syscall(SYS_capset, &head, d), EPERM); /* only one's own */
	head.pid = getppid();
	EXPECT_OK(syscall(SYS_capget, &head, d)); /* anybody's may be seen */
}

CASE(dropping_capabilities)
{
	needs_root();
	struct caps full = caps_get();
	if (!(full.effective & BIT(CAP_CHOWN)))
		SKIP("no full root");
	CHILD(p) {
		struct caps c = full;
		put_file("f", "");
		c.effective &= ~BIT(CAP_CHOWN);
		EXPECT_OK(caps_set(c));
		EXPECT_ERRNO(chown("f", 1, 1), EPERM);
		c.effective |= BIT(CAP_CHOWN); /* still permitted */
		EXPECT_OK(caps_set(c));
		EXPECT_OK(chown("f", 1, 1));
		c.permitted &= ~BIT(CAP_CHOWN);
		EXPECT_ERRNO(caps_set(c), EPERM); /* effective but not permitted */
		c.effective &= ~BIT(CAP_CHOWN);
		EXPECT_OK(caps_set(c));
		c.permitted |= BIT(CAP_CHOWN);
		EXPECT_ERRNO(caps_set(c), EPERM); /* gone for good */
	}
	JOIN(p);
}

CASE(capabilities_and_user_ids)
{
	needs_root();
	struct caps full = caps_get();
	CHILD(p) {
		EXPECT_OK(seteuid(1001)); /* effective ones go, permitted ones stay */
		EXPECT_EQ(caps_get().effective, 0);
		EXPECT_EQ(caps_get().permitted, full.permitted);
		EXPECT_OK(seteuid(0));
		EXPECT_EQ(caps_get().effective, full.permitted);
		EXPECT_OK(setuid(1001));
		EXPECT_EQ(caps_get().permitted, 0);
	}
	JOIN(p);
	CHILD(q) {
		EXPECT_EQ(prctl(PR_GET_KEEPCAPS), 0);
		EXPECT_OK(prctl(PR_SET_KEEPCAPS, 1));
		EXPECT_OK(setuid(1001));
		EXPECT_EQ(caps_get().effective, 0);
		EXPECT_EQ(caps_get().permitted, full.permitted); /* kept */
		struct caps c = {BIT(CAP_KILL), full.permitted, 0};
		EXPECT_OK(caps_set(c));
		EXPECT_OK(kill(getppid(), 0));
		execl("/bin/true", "true", NULL);
		_exit(9);
	}
	JOIN(q);
	EXPECT_ERRNO(prctl(PR_SET_KEEPCAPS, 2), EINVAL);
	CHILD(r) {
		EXPECT_OK(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP));
		EXPECT_OK(setuid(1001));
		EXPECT_EQ(caps_get().effective, full.effective); /* ids and capabilities are not coupled */
	}
	JOIN(r);
}

CASE(bounding_set)
{
	needs_root();
	EXPECT_EQ(prctl(PR_CAPBSET_READ, CAP_CHOWN), !!(caps_get().permitted & BIT(CAP_CHOWN)));
	EXPECT_ERRNO(prctl(PR_CAPBSET_READ, 64), EINVAL);
	CHILD(p) {
		EXPECT_OK(prctl(PR_CAPBSET_DROP, CAP_CHOWN));
		EXPECT_EQ(prctl(PR_CAPBSET_READ, CAP_CHOWN), 0);
		put_file("f", "");
		EXPECT_OK(chmod("f", 0666));
		execl("/bin/sh", "sh", "-c", "chown 1:1 f 2>/dev/null && exit 1; exit 0", NULL);
		_exit(9);
	}
	JOIN(p);
	CHILD(q) {
		become_user(1001, 1001);
		EXPECT_ERRNO(prctl(PR_CAPBSET_DROP, CAP_CHOWN), EPERM);
	}
	JOIN(q);
}

CASE(ambient_set)
{
	needs_root();
	CHILD(p) {
		EXPECT_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0), 0);
		EXPECT_ERRNO(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0), EPERM); /* not inheritable */
		struct caps c = caps_get();
		c.inheritable |= BIT(CAP_KILL);
		EXPECT_OK(caps_set(c));
		EXPECT_OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
		EXPECT_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0), 1);
		EXPECT_ERRNO(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 64, 0, 0), EINVAL);
		EXPECT_ERRNO(prctl(PR_CAP_AMBIENT, 9, 0, 0, 0), EINVAL);
		EXPECT_OK(prctl(PR_SET_KEEPCAPS, 1));
		EXPECT_OK(setresuid(1001, 1001, 1001));
		EXPECT_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0), 0); /* gone with root, kept or not */
		EXPECT_OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
		execl("/bin/sh", "sh", "-c", "grep -q 'CapEff:.*0000000000000020' /proc/self/status", NULL); /* over exec, though no root */
		_exit(9);
	}
	JOIN(p);
	CHILD(q) {
		struct caps c = caps_get();
		c.inheritable |= BIT(CAP_KILL);
		EXPECT_OK(caps_set(c));
		EXPECT_OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
		EXPECT_OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
		EXPECT_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0), 0);
	}
	JOIN(q);
}

CASE(exec_and_capabilities)
{
	needs_root();
	uint64_t full = caps_get().permitted;
	CHILD(p) { /* root gets all again */
		struct caps c = {0, full, 0};
		EXPECT_OK(caps_set(c));
		char text[128];
		snprintf(text, sizeof text, "grep -q 'CapEff:.*%016llx' /proc/self/status", (unsigned long long)full);
		execl("/bin/sh", "sh", "-c", text, NULL);
		_exit(9);
	}
	JOIN(p);
	CHILD(q) { /* unless root means nothing */
		EXPECT_OK(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT));
		EXPECT_EQ(prctl(PR_GET_SECUREBITS), SECBIT_NOROOT);
		execl("/bin/sh", "sh", "-c", "grep -q 'CapEff:.*0000000000000000' /proc/self/status", NULL);
		_exit(9);
	}
	JOIN(q);
	CHILD(r) {
		EXPECT_OK(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED));
		EXPECT_ERRNO(prctl(PR_SET_SECUREBITS, 0), EPERM); /* locked */
		EXPECT_ERRNO(prctl(PR_SET_SECUREBITS, 1 << 20), EPERM);
	}
	JOIN(r);
}
