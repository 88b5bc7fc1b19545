/* Sessions, process groups and controlling terminals: who may join, take, give up and be hung up. */
#include "terminal.h"
#include "waits.h"
#include <sys/prctl.h>
#include <sys/sysmacros.h>

/* ---- Sessions and groups. ---- */

CASE(setsid_rules)
{
	EXPECT_ERRNO(setsid(), EPERM); /* a group leader */
	CHILD(p) {
		EXPECT_EQ(getsid(0), getppid());
		EXPECT_EQ(setsid(), getpid());
		EXPECT_EQ(getsid(0), getpid());
		EXPECT_EQ(getpgrp(), getpid());
		EXPECT_ERRNO(setsid(), EPERM);
		EXPECT_ERRNO(setpgid(0, 0), EPERM); /* a session leader */
	}
	JOIN(p);
	CHILD(q) {
		EXPECT_OK(setpgid(0, 0));
		EXPECT_ERRNO(setsid(), EPERM);
	}
	JOIN(q);
}

CASE(setsid_while_a_group_of_that_number_lives)
{
	struct gate go = gate_new();
	CHILD(p) {
		EXPECT_OK(setpgid(0, 0));
		CHILD(q) {
			gate_wait(&go);
		}
		EXPECT_OK(setpgid(0, getppid())); /* we leave our own group, the child stays */
		EXPECT_ERRNO(setsid(), EPERM);
		gate_open(&go);
		JOIN(q);
		EXPECT_OK(setsid());
	}
	JOIN(p);
}

CASE(setpgid_errors)
{
	EXPECT_ERRNO(setpgid(0, -1), EINVAL);
	EXPECT_ERRNO(setpgid(-1, 0), EINVAL); /* 0 stands for -1 here */
	EXPECT_ERRNO(setpgid(-1, getpgrp()), ESRCH);
	EXPECT_ERRNO(setpgid(999999999, 0), ESRCH);
	EXPECT_ERRNO(setpgid(getppid(), 0), ESRCH); /* not a child */
	struct gate go = gate_new(), ready = gate_new();
	CHILD(p) {
		EXPECT_ERRNO(setpgid(0, 999999999), EPERM);
		EXPECT_OK(setsid());
		gate_open(&ready);
		gate_wait(&go);
	}
	gate_wait(&ready);
	EXPECT_ERRNO(setpgid(p, 0), EPERM); /* in another session */
	EXPECT_ERRNO(setpgid(p, getpgrp()), EPERM);
	gate_open(&go);
	JOIN(p);
	EXPECT_ERRNO(getpgid(999999999), ESRCH);
	EXPECT_ERRNO(getsid(999999999), ESRCH);
	EXPECT_EQ(getpgid(0), getpgrp());
}

CASE(setpgid_of_a_child_until_it_execs)
{
	int p[2];
	EXPECT_OK(pipe(p));
	struct gate go = gate_new();
	CHILD(a) {
		gate_wait(&go);
		EXPECT_OK(dup2(p[0], 0));
		EXPECT_OK(dup2(p[1], 1));
		execl("/bin/sh", "sh", "-c", "echo up; exec 1>&-; read x; exit 0", NULL);
		_exit(9);
	}
	EXPECT_OK(setpgid(a, a));
	EXPECT_EQ(getpgid(a), a);
	EXPECT_OK(setpgid(a, getpgrp()));
	int q[2];
	EXPECT_OK(pipe(q));
	CHILD(b) {
		EXPECT_OK(close(q[0]));
		EXPECT_OK(dup2(q[1], 1));
		EXPECT_OK(close(q[1]));
		execl("/bin/sh", "sh", "-c", "echo up; exec sleep 100", NULL);
		_exit(9);
	}
	EXPECT_OK(close(q[1]));
	EXPECT_READ(q[0], "up\n");
	EXPECT_ERRNO(setpgid(b, b), EACCES);
	EXPECT_ERRNO(setpgid(b, 0), EACCES);
	EXPECT_OK(kill(b, SIGKILL));
	EXPECT_OK(kill(a, SIGKILL));
	EXPECT_KILLED(a, SIGKILL);
	EXPECT_KILLED(b, SIGKILL);
}

CASE(setpgid_of_zombies_and_grandchildren)
{
	CHILD(z) {
	}
	siginfo_t si;
	EXPECT_OK(waitid(P_PID, z, &si, WEXITED | WNOWAIT));
	EXPECT_OK(setpgid(z, z));
	EXPECT_EQ(getpgid(z), z);
	CHILD(q) {
		EXPECT_OK(setpgid(0, z)); /* a group whose only member is a zombie */
	}
	JOIN(q);
	JOIN(z);
	int p[2];
	EXPECT_OK(pipe(p));
	CHILD(r) {
		CHILD(s) {
			pause();
		}
		EXPECT_EQ(write(p[1], &s, sizeof s), sizeof s);
		WAIT(s);
	}
	pid_t s;
	EXPECT_EQ(read(p[0], &s, sizeof s), sizeof s);
	EXPECT_ERRNO(setpgid(s, 0), ESRCH);
	EXPECT_OK(kill(s, SIGKILL));
	JOIN(r);
}

/* ---- Getting and losing a controlling terminal. ---- */

CASE(opening_by_the_leader_takes_it)
{
	struct pty t = pty_new();
	char name[64];
	EXPECT_EQ(ttyname_r(t.slave, name, sizeof name), 0);
	CHILD(p) {
		int s = EXPECT_OK(open(name, O_RDWR)); /* not a session leader */
		EXPECT_ERRNO(tcgetpgrp(s), ENOTTY);
		EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
	}
	JOIN(p);
	EXPECT_OK(close(EXPECT_OK(open(name, O_RDWR | O_NOCTTY))));
	EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
	EXPECT_OK(close(EXPECT_OK(open(name, O_WRONLY)))); /* only for reading does it count */
	EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
	int s = EXPECT_OK(open(name, O_RDONLY));
	EXPECT_EQ(tcgetpgrp(s), getpgrp());
	EXPECT_EQ(tcgetsid(s), getsid(0));
	EXPECT_OK(open("/dev/tty", O_RDWR));
	struct pty u = pty_new();
	EXPECT_EQ(ttyname_r(u.slave, name, sizeof name), 0);
	int other = EXPECT_OK(open(name, O_RDWR)); /* a second one is not taken */
	EXPECT_ERRNO(tcgetpgrp(other), ENOTTY);
	CHILD(q) {
		EXPECT_OK(open("/dev/tty", O_RDWR)); /* inherited by fork */
	}
	JOIN(q);
}

CASE(tiocsctty_rules)
{
	struct pty t = pty_new(), u = pty_new();
	CHILD(p) {
		EXPECT_ERRNO(ioctl(t.slave, TIOCSCTTY, 0), EPERM); /* not a leader */
	}
	JOIN(p);
	EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0));
	EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0)); /* once more is nothing new */
	EXPECT_ERRNO(ioctl(u.slave, TIOCSCTTY, 0), EPERM); /* we have one */
	CHILD(q) {
		EXPECT_OK(setsid());
		EXPECT_ERRNO(ioctl(t.slave, TIOCSCTTY, 0), EPERM); /* somebody else's */
		EXPECT_OK(ioctl(u.slave, TIOCSCTTY, 0));
		EXPECT_EQ(tcgetsid(u.slave), getpid());
	}
	JOIN(q);
	EXPECT_ERRNO(tcgetsid(u.slave), ENOTTY);
}

CASE(tiocsctty_by_force)
{
	struct pty t = pty_control();
	needs_root();
	CHILD(p) {
		EXPECT_OK(setsid());
		CHILD(q) {
			become_user(4321, 4321);
			EXPECT_OK(setsid());
			EXPECT_ERRNO(ioctl(t.slave, TIOCSCTTY, 1), EPERM);
		}
		JOIN(q);
		EXPECT_ERRNO(ioctl(t.slave, TIOCSCTTY, 0), EPERM);
		EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 1));
		EXPECT_EQ(tcgetsid(t.slave), getpid());
		EXPECT_EQ(tcgetpgrp(t.slave), getpid());
	}
	JOIN(p);
	EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO); /* stolen from us */
	EXPECT_ERRNO(tcgetpgrp(t.slave), ENOTTY);
}

CASE(tiocnotty_by_a_member)
{
	struct pty t = pty_control();
	count_signal(SIGHUP, 0);
	CHILD(p) {
		EXPECT_OK(ioctl(t.slave, TIOCNOTTY));
		EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
		EXPECT_ERRNO(ioctl(t.slave, TIOCNOTTY), ENOTTY);
		EXPECT_EQ(getsid(0), getppid());
	}
	JOIN(p);
	EXPECT_EQ(signals_seen[SIGHUP], 0);
	EXPECT_OK(open("/dev/tty", O_RDWR)); /* only the member gave it up */
}

CASE(tiocnotty_by_the_leader)
{
	struct pty t = pty_control();
	block(SIGHUP);
	block(SIGCONT);
	struct gate ready = gate_new();
	CHILD(p) {
		EXPECT_OK(setpgid(0, 0));
		signal(SIGTTOU, SIG_IGN);
		EXPECT_OK(tcsetpgrp(t.slave, getpid()));
		gate_open(&ready);
		take_signal(SIGHUP);
		take_signal(SIGCONT);
		for (int fd; (fd = open("/dev/tty", O_RDWR)) >= 0; close(fd))
			sleep_ms(1); /* the signals come first */
		EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
	}
	gate_wait(&ready);
	EXPECT_OK(ioctl(t.slave, TIOCNOTTY));
	CHECK(!is_pending(SIGHUP)); /* for the foreground group only */
	CHECK(!is_pending(SIGCONT));
	JOIN(p);
	EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0)); /* free to be taken again */
	EXPECT_EQ(tcgetpgrp(t.slave), getpgrp());
}

CASE(fork_and_exec_keep_it_setsid_drops_it)
{
	struct pty t = pty_control();
	CHILD(p) {
		execl("/bin/sh", "sh", "-c", "exec 5</dev/tty && [ -t 5 ]", NULL);
		_exit(9);
	}
	JOIN(p);
	CHILD(q) {
		EXPECT_OK(setsid());
		EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
		EXPECT_ERRNO(tcgetsid(t.slave), ENOTTY);
	}
	JOIN(q);
}

CASE(proc_tells_of_it)
{
	EXPECT_EQ(stat_number(getpid(), 3), 0);
	EXPECT_EQ(stat_number(getpid(), 4), -1);
	struct pty t = pty_control();
	struct stat st;
	EXPECT_OK(fstat(t.slave, &st));
	EXPECT_EQ(stat_number(getpid(), 1), getpgrp());
	EXPECT_EQ(stat_number(getpid(), 2), getsid(0));
	EXPECT_EQ(stat_number(getpid(), 3), (long)(major(st.st_rdev) << 8 | (minor(st.st_rdev) & 255) | (minor(st.st_rdev) & ~255U) << 12));
	EXPECT_EQ(stat_number(getpid(), 4), getpgrp());
	signal(SIGHUP, SIG_IGN);
	EXPECT_OK(ioctl(t.slave, TIOCNOTTY));
	EXPECT_EQ(stat_number(getpid(), 3), 0);
	EXPECT_EQ(stat_number(getpid(), 4), -1);
}

/* ---- The foreground group. ---- */

CASE(tcsetpgrp_errors)
{
	struct pty t = pty_control(), u = pty_new();
	int bad = -1;
	EXPECT_ERRNO(tcsetpgrp(u.slave, getpgrp()), ENOTTY);
	EXPECT_ERRNO(tcsetpgrp(0, getpgrp()), ENOTTY);
	EXPECT_ERRNO(tcsetpgrp(99, getpgrp()), EBADF);
	EXPECT_ERRNO(ioctl(t.slave, TIOCSPGRP, &bad), EINVAL);
	EXPECT_ERRNO(ioctl(t.slave, TIOCSPGRP, NULL), EFAULT);
	EXPECT_ERRNO(ioctl(t.slave, TIOCGPGRP, NULL), EFAULT);
	EXPECT_ERRNO(tcsetpgrp(t.slave, 999999999), ESRCH);
	EXPECT_ERRNO(tcsetpgrp(t.slave, getpgid(getppid())), EPERM); /* a group of another session */
	EXPECT_OK(tcsetpgrp(t.slave, getpgrp()));
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_ERRNO(tcsetpgrp(t.slave, getpgrp()), ENOTTY);
	}
	JOIN(p);
}

CASE(tcgetpgrp_of_both_sides)
{
	struct pty t = pty_control();
	EXPECT_EQ(tcgetpgrp(t.slave), getpgrp());
	EXPECT_EQ(tcgetpgrp(t.master), getpgrp());
	EXPECT_EQ(tcgetsid(t.slave), getsid(0));
	EXPECT_EQ(tcgetsid(t.master), getsid(0));
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_EQ(tcgetpgrp(t.master), getppid()); /* the master need not be ours */
		EXPECT_ERRNO(tcgetpgrp(t.slave), ENOTTY);
	}
	JOIN(p);
	struct pty u = pty_new();
	EXPECT_EQ(tcgetpgrp(u.master), 0);
	EXPECT_ERRNO(tcgetsid(u.master), ENOTTY);
}

CASE(foreground_group_that_died)
{
	struct pty t = pty_control();
	struct gate ready = gate_new();
	CHILD(p) {
		EXPECT_OK(setpgid(0, 0));
		gate_open(&ready);
		pause();
	}
	gate_wait(&ready);
	EXPECT_OK(tcsetpgrp(t.slave, p));
	EXPECT_EQ(tcgetpgrp(t.slave), p);
	EXPECT_OK(kill(p, SIGKILL));
	EXPECT_KILLED(p, SIGKILL);
	EXPECT_EQ(tcgetpgrp(t.slave), p); /* the terminal keeps the number */
	signal(SIGTTOU, SIG_IGN);
	EXPECT_OK(tcsetpgrp(t.slave, getpgrp()));
}

/* ---- Hangups. ---- */

CASE(master_gone_hangs_the_leader_up)
{
	/* The leader is told at once, the foreground when the leader goes. */
	struct pty t = pty_new();
	struct gate ready = gate_new(), gone = gate_new(), done = gate_new();
	EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0));
		EXPECT_OK(close(t.master));
		block(SIGHUP);
		block(SIGCONT);
		CHILD(q) {
			EXPECT_OK(setpgid(0, 0));
			signal(SIGTTOU, SIG_IGN);
			EXPECT_OK(tcsetpgrp(t.slave, getpid()));
			gate_open(&ready);
			gate_wait(&gone);
			EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
			take_signal(SIGHUP);
			take_signal(SIGCONT);
			gate_open(&done);
		}
		(void)q;
		take_signal(SIGHUP);
		take_signal(SIGCONT);
		EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
		gate_open(&gone);
	}
	gate_wait(&ready);
	EXPECT_OK(close(t.slave));
	EXPECT_OK(close(t.master));
	JOIN(p);
	gate_wait(&done);
}

CASE(leader_gone_hangs_the_foreground_up)
{
	struct pty t = pty_new();
	block(SIGHUP);
	block(SIGCONT);
	EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	struct gate done = gate_new();
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0));
		struct gate ready = gate_new();
		CHILD(q) {
			EXPECT_OK(setpgid(0, 0));
			signal(SIGTTOU, SIG_IGN);
			EXPECT_OK(tcsetpgrp(t.slave, getpid()));
			gate_open(&ready);
			take_signal(SIGHUP);
			CHECK(!is_pending(SIGCONT));
			/* Linux sends the signal before it takes the terminal away. */
			for (int fd; (fd = open("/dev/tty", O_RDWR)) >= 0; sched_yield())
				EXPECT_OK(close(fd));
			EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
			while (tcgetpgrp(t.slave) >= 0)
				sched_yield();
			EXPECT_ERRNO(tcgetpgrp(t.slave), ENOTTY);
			type(t.slave, "on"); /* the open slave goes on working */
			gate_open(&done);
		}
		gate_wait(&ready);
		CHILD(r) {
			pause(); /* in the leader's group: no signal for it */
		}
		(void)r;
	}
	JOIN(p);
	gate_wait(&done);
	EXPECT_COMES(t.master, "on");
	EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0)); /* free again */
}

CASE(orphaned_group_with_a_stopped_member)
{
	struct gate done = gate_new();
	EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	CHILD(p) {
		/* An orphan's parent has to be of another session, so that its group counts as orphaned. */
		EXPECT_OK(setsid());
		CHILD(q) {
			EXPECT_OK(setpgid(0, 0));
			count_signal(SIGHUP, 0);
			count_signal(SIGCONT, 0);
			EXPECT_OK(raise(SIGSTOP));
			EXPECT_EQ(signals_seen[SIGHUP], 1);
			EXPECT_EQ(signals_seen[SIGCONT], 1);
			gate_open(&done);
		}
		expect_stopped(q, SIGSTOP);
	}
	JOIN(p);
	gate_wait(&done);
}

CASE(orphaned_group_without_a_stopped_member)
{
	struct gate left = gate_new(), done = gate_new();
	EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	CHILD(p) {
		EXPECT_OK(setsid());
		CHILD(q) {
			EXPECT_OK(setpgid(0, 0));
			block(SIGHUP);
			gate_wait(&left);
			CHECK(!is_pending(SIGHUP));
			gate_open(&done);
		}
		(void)q;
	}
	JOIN(p);
	gate_open(&left);
	gate_wait(&done);
}

CASE(orphans_ignore_the_stops_of_terminals)
{
	/* SIGTSTP, SIGTTIN and SIGTTOU do nothing by default in an orphaned group; SIGSTOP always stops. */
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_OK(raise(SIGTSTP));
		EXPECT_OK(raise(SIGTTIN));
		EXPECT_OK(raise(SIGTTOU));
		EXPECT_OK(raise(SIGSTOP));
	}
	expect_stopped(p, SIGSTOP);
	EXPECT_OK(kill(p, SIGCONT));
	JOIN(p);
}
