/* Job control: the signals that terminals send, reads and writes in the background, stopped and continued children. */
#include "terminal.h"
#include "waits.h"

/* ---- Signals typed. ---- */

CASE(interrupt_goes_to_the_foreground_group)
{
	struct pty t = pty_control();
	block(SIGINT);
	struct gate ready = gate_new();
	CHILD(p) {
		EXPECT_OK(setpgid(0, 0));
		gate_open(&ready);
		take_signal(SIGINT);
	}
	gate_wait(&ready);
	EXPECT_OK(tcsetpgrp(t.slave, p));
	type(t.master, "\003");
	JOIN(p);
	CHECK(!is_pending(SIGINT));
}

CASE(keys_and_their_signals)
{
	struct pty t = pty_control();
	static const struct {
		const char *key, *echo;
		int sig;
	} keys[] = {{"\003", "^C", SIGINT}, {"\034", "^\\", SIGQUIT}, {"\032", "^Z", SIGTSTP}};
	for (int i = 0; i < 3; i++) {
		block(keys[i].sig);
		type(t.master, keys[i].key);
		sigset_t s;
		siginfo_t si;
		sigemptyset(&s);
		sigaddset(&s, keys[i].sig);
		EXPECT_EQ(sigwaitinfo(&s, &si), keys[i].sig);
		EXPECT_EQ(si.si_code, SI_KERNEL);
		EXPECT_EQ(si.si_pid, 0);
		EXPECT_COMES(t.master, keys[i].echo); /* now, as the next key throws away what is still on its way */
	}
}

CASE(keys_without_isig)
{
	struct pty t = pty_control();
	block(SIGINT);
	local_flags(t.slave, ISIG | ICANON | ECHO, 0);
	type(t.master, "\003");
	EXPECT_READ(t.slave, "\003");
	CHECK(!is_pending(SIGINT));
}

CASE(a_key_throws_input_away)
{
	struct pty t = pty_control();
	block(SIGINT);
	local_flags(t.slave, ECHO, 0);
	type(t.master, "gone\nhalf\003kept\n");
	take_signal(SIGINT);
	EXPECT_READ(t.slave, "kept\n");
	local_flags(t.slave, 0, NOFLSH);
	type(t.master, "one\ntwo\003three\n");
	take_signal(SIGINT);
	EXPECT_READ(t.slave, "one\n");
	EXPECT_READ(t.slave, "twothree\n");
}

CASE(interrupt_kills_and_interrupts_a_read)
{
	struct pty t = pty_control();
	struct gate ready = gate_new();
	CHILD(p) {
		EXPECT_OK(setpgid(0, 0));
		gate_open(&ready);
		char c;
		(void)!read(t.slave, &c, 1);
	}
	gate_wait(&ready);
	EXPECT_OK(tcsetpgrp(t.slave, p));
	type(t.master, "\003");
	/* Stopped by SIGTTIN if it read before it was in the foreground: then on with it. */
	int status;
	while (EXPECT_OK(waitpid(p, &status, WUNTRACED)) == p && WIFSTOPPED(status))
		EXPECT_OK(kill(p, SIGCONT));
	CHECK(WIFSIGNALED(status));
	EXPECT_EQ(WTERMSIG(status), SIGINT);
}

CASE(suspend_stops_the_whole_group)
{
	struct pty t = pty_control();
	struct gate ready = gate_new();
	CHILD(p) {
		EXPECT_OK(setpgid(0, 0));
		gate_open(&ready);
		for (;;)
			pause();
	}
	gate_wait(&ready);
	CHILD(q) {
		EXPECT_OK(setpgid(0, p));
		gate_open(&ready);
		for (;;)
			pause();
	}
	gate_wait(&ready);
	EXPECT_OK(tcsetpgrp(t.slave, p));
	type(t.master, "\032");
	expect_stopped(p, SIGTSTP);
	expect_stopped(q, SIGTSTP);
	EXPECT_OK(kill(-p, SIGCONT));
	expect_continued(p);
	expect_continued(q);
	type(t.master, "\032");
	expect_stopped(p, SIGTSTP);
	expect_stopped(q, SIGTSTP);
	EXPECT_OK(kill(-p, SIGKILL)); /* needs no SIGCONT */
	EXPECT_KILLED(p, SIGKILL);
	EXPECT_KILLED(q, SIGKILL);
}

CASE(window_change)
{
	struct pty t = pty_control();
	block(SIGWINCH);
	struct winsize ws = {24, 80, 0, 0}, seen;
	EXPECT_OK(ioctl(t.master, TIOCSWINSZ, &ws));
	CHECK(is_pending(SIGWINCH));
	take_signal(SIGWINCH);
	EXPECT_OK(ioctl(t.master, TIOCSWINSZ, &ws)); /* nothing changes */
	CHECK(!is_pending(SIGWINCH));
	ws.ws_xpixel = 5;
	EXPECT_OK(ioctl(t.slave, TIOCSWINSZ, &ws)); /* either side, any field */
	CHECK(is_pending(SIGWINCH));
	take_signal(SIGWINCH);
	EXPECT_OK(ioctl(t.slave, TIOCGWINSZ, &seen));
	EXPECT_EQ(memcmp(&ws, &seen, sizeof ws), 0);
	struct gate ready = gate_new();
	CHILD(p) {
		EXPECT_OK(setpgid(0, 0));
		gate_open(&ready);
		take_signal(SIGWINCH);
	}
	gate_wait(&ready);
	EXPECT_OK(tcsetpgrp(t.slave, p));
	ws.ws_row = 25;
	EXPECT_OK(ioctl(t.slave, TIOCSWINSZ, &ws)); /* not stopped by it, though in the background */
	JOIN(p);
	CHECK(!is_pending(SIGWINCH));
}

/* ---- Reading and writing in the background. ---- */

/* Runs the block in a background group of our session. */
#define BACKGROUND(p)                                                                    \
	CHILD(p)                                                                         \
	for (EXPECT_OK(setpgid(0, 0));; _exit(0))

CASE(background_read_stops)
{
	struct pty t = pty_control();
	raw_mode(t.slave, 1, 0);
	BACKGROUND(p) {
		EXPECT_READ(t.slave, "x"); /* goes on by itself when it may */
	}
	expect_stopped(p, SIGTTIN);
	EXPECT_OK(tcsetpgrp(t.slave, p));
	EXPECT_OK(kill(p, SIGCONT));
	expect_continued(p);
	type(t.master, "x");
	JOIN(p);
}

CASE(background_read_stops_again)
{
	struct pty t = pty_control();
	BACKGROUND(p) {
		char c;
		(void)!read(t.slave, &c, 1);
	}
	expect_stopped(p, SIGTTIN);
	EXPECT_OK(kill(p, SIGCONT));
	/* Either report may have been overtaken by the next stop. */
	int status;
	do
		EXPECT_EQ(waitpid(p, &status, WUNTRACED | WCONTINUED), p);
	while (WIFCONTINUED(status));
	EXPECT_EQ(WSTOPSIG(status), SIGTTIN);
	EXPECT_OK(kill(p, SIGKILL));
	EXPECT_KILLED(p, SIGKILL);
}

CASE(background_read_with_sigttin_ignored_or_blocked)
{
	struct pty t = pty_control();
	BACKGROUND(p) {
		char c;
		signal(SIGTTIN, SIG_IGN);
		EXPECT_ERRNO(read(t.slave, &c, 1), EIO);
		EXPECT_OK(fcntl(t.slave, F_SETFL, O_NONBLOCK));
		EXPECT_ERRNO(read(t.slave, &c, 1), EIO); /* before the want of input is seen */
		signal(SIGTTIN, SIG_DFL);
		block(SIGTTIN);
		EXPECT_ERRNO(read(t.slave, &c, 1), EIO);
		CHECK(!is_pending(SIGTTIN));
	}
	JOIN(p);
}

CASE(background_read_with_a_handler)
{
	struct pty t = pty_control();
	BACKGROUND(p) {
		char c;
		count_signal(SIGTTIN, 0);
		EXPECT_ERRNO(read(t.slave, &c, 1), EINTR);
		EXPECT_EQ(signals_seen[SIGTTIN], 1);
		EXPECT_OK(fcntl(t.slave, F_SETFL, O_NONBLOCK));
		EXPECT_ERRNO(read(t.slave, &c, 1), EINTR);
		EXPECT_EQ(signals_seen[SIGTTIN], 2);
	}
	JOIN(p);
}

CASE(background_read_in_an_orphaned_group)
{
	struct pty t = pty_control();
	/* The middle one dies, so that the group of the last has no parent in the session but outside of it. */
	struct gate orphan = gate_new(), done = gate_new();
	CHILD(p) {
		CHILD(q) {
			EXPECT_OK(setpgid(0, 0));
			gate_wait(&orphan);
			char c;
			EXPECT_ERRNO(read(t.slave, &c, 1), EIO);
			EXPECT_ERRNO(tcsetpgrp(t.slave, getpgrp()), ENOTTY); /* not EIO, as elsewhere */
			signal(SIGTTOU, SIG_IGN);
			EXPECT_OK(tcsetpgrp(t.slave, getpgrp()));
			gate_open(&done);
		}
	}
	JOIN(p);
	gate_open(&orphan);
	gate_wait(&done);
}

CASE(background_write_without_tostop)
{
	struct pty t = pty_control();
	BACKGROUND(p) {
		type(t.slave, "free");
	}
	EXPECT_COMES(t.master, "free");
	JOIN(p);
}

CASE(background_write_with_tostop)
{
	struct pty t = pty_control();
	local_flags(t.slave, 0, TOSTOP);
	BACKGROUND(p) {
		type(t.slave, "held");
	}
	expect_stopped(p, SIGTTOU);
	EXPECT_EQ(events_now(t.master, POLLIN), 0);
	EXPECT_OK(tcsetpgrp(t.slave, p));
	EXPECT_OK(kill(p, SIGCONT));
	EXPECT_COMES(t.master, "held");
	JOIN(p);
}

CASE(background_write_with_sigttou_ignored_or_blocked)
{
	struct pty t = pty_control();
	local_flags(t.slave, 0, TOSTOP);
	BACKGROUND(p) {
		signal(SIGTTOU, SIG_IGN);
		type(t.slave, "1");
		signal(SIGTTOU, SIG_DFL);
		block(SIGTTOU);
		type(t.slave, "2");
		CHECK(!is_pending(SIGTTOU));
	}
	EXPECT_COMES(t.master, "12");
	JOIN(p);
	BACKGROUND(q) {
		count_signal(SIGTTOU, 0);
		EXPECT_ERRNO(write(t.slave, "3", 1), EINTR);
		EXPECT_EQ(signals_seen[SIGTTOU], 1);
	}
	JOIN(q);
}

CASE(background_settings_stop)
{
	struct pty t = pty_control();
	struct termios tio;
	EXPECT_OK(tcgetattr(t.slave, &tio));
	BACKGROUND(p) {
		struct termios get;
		EXPECT_OK(tcgetattr(t.slave, &get)); /* to look is free */
		EXPECT_EQ(tcgetpgrp(t.slave), getppid());
		EXPECT_OK(tcsetattr(t.slave, TCSANOW, &tio));
	}
	expect_stopped(p, SIGTTOU);
	EXPECT_OK(tcsetpgrp(t.slave, p));
	EXPECT_OK(kill(p, SIGCONT));
	JOIN(p);
	signal(SIGTTOU, SIG_IGN); /* now we are the background */
	EXPECT_OK(tcsetpgrp(t.slave, getpgrp()));
	signal(SIGTTOU, SIG_DFL);
	BACKGROUND(q) {
		EXPECT_OK(tcflush(t.slave, TCIFLUSH));
	}
	expect_stopped(q, SIGTTOU);
	EXPECT_OK(kill(q, SIGKILL));
	EXPECT_KILLED(q, SIGKILL);
}

CASE(background_tcsetpgrp)
{
	struct pty t = pty_control();
	BACKGROUND(p) {
		signal(SIGTTOU, SIG_IGN);
		EXPECT_OK(tcsetpgrp(t.slave, getpgrp()));
		EXPECT_EQ(tcgetpgrp(t.slave), getpid());
		EXPECT_OK(tcsetpgrp(t.slave, getppid()));
		signal(SIGTTOU, SIG_DFL);
		block(SIGTTOU);
		EXPECT_OK(tcsetpgrp(t.slave, getpgrp()));
		EXPECT_OK(tcsetpgrp(t.slave, getppid()));
	}
	JOIN(p);
	BACKGROUND(q) {
		EXPECT_OK(tcsetpgrp(t.slave, getpgrp()));
		EXPECT_EQ(tcgetpgrp(t.slave), getpid());
	}
	expect_stopped(q, SIGTTOU);
	EXPECT_OK(tcsetpgrp(t.slave, q));
	EXPECT_OK(kill(q, SIGCONT));
	JOIN(q);
}

CASE(background_with_the_master)
{
	/* The master's side is never in the background. */
	struct pty t = pty_control();
	local_flags(t.slave, 0, TOSTOP);
	BACKGROUND(p) {
		type(t.master, "k\n");
		EXPECT_COMES(t.master, "k\r\n");
	}
	JOIN(p);
}

/* ---- Stopped and continued children. ---- */

CASE(stop_and_continue_by_waitid)
{
	struct gate go = gate_new();
	CHILD(p) {
		gate_wait(&go);
	}
	siginfo_t si = {0};
	EXPECT_OK(kill(p, SIGSTOP));
	EXPECT_OK(waitid(P_PID, p, &si, WSTOPPED | WNOWAIT));
	EXPECT_EQ(si.si_code, CLD_STOPPED);
	EXPECT_EQ(si.si_status, SIGSTOP);
	EXPECT_EQ(si.si_pid, p);
	EXPECT_EQ(si.si_signo, SIGCHLD);
	EXPECT_OK(waitid(P_PID, p, &si, WSTOPPED)); /* WNOWAIT left it */
	si.si_pid = 7;
	EXPECT_OK(waitid(P_PID, p, &si, WSTOPPED | WNOHANG)); /* told once */
	EXPECT_EQ(si.si_pid, 0);
	EXPECT_OK(kill(p, SIGSTOP)); /* stopped is stopped */
	EXPECT_OK(waitid(P_PID, p, &si, WSTOPPED | WNOHANG));
	EXPECT_EQ(si.si_pid, 0);
	EXPECT_OK(kill(p, SIGCONT));
	EXPECT_OK(waitid(P_PID, p, &si, WCONTINUED));
	EXPECT_EQ(si.si_code, CLD_CONTINUED);
	EXPECT_EQ(si.si_status, SIGCONT);
	EXPECT_OK(waitid(P_PID, p, &si, WCONTINUED | WNOHANG));
	EXPECT_EQ(si.si_pid, 0);
	gate_open(&go);
	JOIN(p);
}

CASE(sigchld_of_stops)
{
	sigset_t chld;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	EXPECT_OK(sigprocmask(SIG_BLOCK, &chld, NULL));
	struct gate go = gate_new();
	CHILD(p) {
		gate_wait(&go);
		_exit(3);
	}
	siginfo_t si;
	EXPECT_OK(kill(p, SIGSTOP));
	EXPECT_EQ(sigwaitinfo(&chld, &si), SIGCHLD);
	EXPECT_EQ(si.si_code, CLD_STOPPED);
	EXPECT_EQ(si.si_status, SIGSTOP);
	EXPECT_EQ(si.si_pid, p);
	EXPECT_OK(kill(p, SIGCONT));
	EXPECT_EQ(sigwaitinfo(&chld, &si), SIGCHLD);
	EXPECT_EQ(si.si_code, CLD_CONTINUED);
	EXPECT_EQ(si.si_status, SIGCONT);
	gate_open(&go);
	EXPECT_EQ(sigwaitinfo(&chld, &si), SIGCHLD);
	EXPECT_EQ(si.si_code, CLD_EXITED);
	EXPECT_EQ(si.si_status, 3);
	EXPECT_EXIT(p, 3);
}

CASE(no_sigchld_of_stops)
{
	count_signal(SIGCHLD, SA_NOCLDSTOP);
	struct gate go = gate_new();
	CHILD(p) {
		gate_wait(&go);
	}
	EXPECT_OK(kill(p, SIGSTOP));
	expect_stopped(p, SIGSTOP);
	EXPECT_OK(kill(p, SIGCONT));
	expect_continued(p);
	EXPECT_EQ(signals_seen[SIGCHLD], 0);
	gate_open(&go);
	JOIN(p);
	EXPECT_EQ(signals_seen[SIGCHLD], 1);
}

CASE(stop_and_continue_undo_each_other)
{
	block(SIGTSTP);
	block(SIGTTIN);
	block(SIGCONT);
	EXPECT_OK(raise(SIGTSTP));
	EXPECT_OK(raise(SIGTTIN));
	CHECK(is_pending(SIGTSTP) && is_pending(SIGTTIN));
	EXPECT_OK(raise(SIGCONT)); /* even blocked it takes the stops away */
	CHECK(!is_pending(SIGTSTP) && !is_pending(SIGTTIN));
	CHECK(is_pending(SIGCONT));
	EXPECT_OK(raise(SIGTTIN));
	CHECK(!is_pending(SIGCONT));
	CHECK(is_pending(SIGTTIN));
}

CASE(continued_though_sigcont_is_ignored_or_blocked)
{
	struct gate go = gate_new();
	CHILD(p) {
		signal(SIGCONT, SIG_IGN);
		EXPECT_OK(raise(SIGSTOP));
		block(SIGCONT);
		signal(SIGCONT, SIG_DFL);
		EXPECT_OK(raise(SIGSTOP));
		CHECK(is_pending(SIGCONT));
		gate_wait(&go);
	}
	expect_stopped(p, SIGSTOP);
	EXPECT_OK(kill(p, SIGCONT));
	expect_stopped(p, SIGSTOP);
	EXPECT_OK(kill(p, SIGCONT));
	expect_continued(p);
	gate_open(&go);
	JOIN(p);
}

CASE(signals_of_the_stopped_wait)
{
	CHILD(p) {
		count_signal(SIGUSR1, 0);
		EXPECT_OK(raise(SIGSTOP));
		EXPECT_EQ(signals_seen[SIGUSR1], 1);
	}
	expect_stopped(p, SIGSTOP);
	EXPECT_OK(kill(p, SIGUSR1));
	EXPECT_OK(kill(p, SIGTERM)); /* not even that while stopped */
	siginfo_t si = {0};
	EXPECT_OK(waitid(P_PID, p, &si, WEXITED | WNOHANG));
	EXPECT_EQ(si.si_pid, 0);
	EXPECT_EQ(stat_number(p, 0), getpid());
	EXPECT_OK(kill(p, SIGCONT));
	EXPECT_KILLED(p, SIGTERM);
}

static volatile long *turns;

static void *turn(void *ready)
{
	gate_open(ready);
	for (;;)
		++*turns;
	return NULL;
}

CASE(all_threads_stop)
{
	struct gate ready = gate_new();
	turns = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHILD(p) {
		thread_start(turn, &ready);
		for (;;)
			pause();
	}
	gate_wait(&ready);
	EXPECT_OK(kill(p, SIGSTOP));
	expect_stopped(p, SIGSTOP);
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/stat", p);
	EXPECT_EQ(strrchr(get_file(path), ')')[2], 'T');
	long then = *turns;
	sleep_ms(20);
	EXPECT_EQ(*turns, then); /* all had stopped when it was told */
	EXPECT_OK(kill(p, SIGCONT));
	expect_continued(p);
	while (*turns == then)
		sleep_ms(1);
	EXPECT_OK(kill(p, SIGKILL));
	EXPECT_KILLED(p, SIGKILL);
}

CASE(wait_for_a_group)
{
	struct gate go = gate_new();
	CHILD(a) {
		EXPECT_OK(setpgid(0, 0));
		gate_wait(&go);
		_exit(1);
	}
	setpgid(a, a);
	CHILD(b) {
		_exit(2);
	}
	int status;
	EXPECT_EQ(waitpid(-a, &status, WNOHANG), 0);
	EXPECT_EQ(waitpid(0, &status, 0), b); /* of our own group */
	EXPECT_EQ(WEXITSTATUS(status), 2);
	EXPECT_ERRNO(waitpid(0, &status, 0), ECHILD);
	gate_open(&go);
	EXPECT_EQ(waitpid(-a, &status, 0), a);
	EXPECT_EQ(WEXITSTATUS(status), 1);
	EXPECT_ERRNO(waitpid(-a, &status, 0), ECHILD);
}

/* ---- All of it at once. ---- */

static char shell_text[8192];

/* Reads the shell's terminal until these words have come. */
static void await_text(int master, const char *words)
{
	size_t len = 0;
	while (!strstr(shell_text, words)) {
		CHECK(wait_for(master, POLLIN) & POLLIN);
		ssize_t n = EXPECT_OK(read(master, shell_text + len, sizeof shell_text - 1 - len));
		len += n;
		shell_text[len] = 0;
	}
	shell_text[0] = 0;
}

CASE(a_shell_with_jobs)
{
	struct pty t = pty_new();
	CHILD(p) {
		EXPECT_OK(setsid());
		EXPECT_OK(ioctl(t.slave, TIOCSCTTY, 0));
		for (int fd = 0; fd < 3; fd++)
			EXPECT_OK(dup2(t.slave, fd));
		execl("/bin/bash", "bash", "--norc", "--noprofile", "--noediting", "-i", NULL);
		_exit(9);
	}
	EXPECT_OK(close(t.slave));
	local_flags(t.master, ECHO, 0);
	type(t.master, "PS1=; unset HISTFILE; echo re'ady'\n");
	await_text(t.master, "ready\r\n");
	type(t.master, "cat; echo sto'pped'\n");
	type(t.master, "through\n");
	await_text(t.master, "through\r\n");
	type(t.master, "\032");
	await_text(t.master, "stopped\r\n");
	/* bash does not continue a job in the foreground that it has not yet seen stop for its read in the background */
	type(t.master, "bg; until [ \"$(jobs -s)\" ]; do sleep 0.01; done; echo back'ground'\n");
	await_text(t.master, "background\r\n");
	type(t.master, "fg\n");
	await_text(t.master, "cat\r\n");
	type(t.master, "again\n");
	await_text(t.master, "again\r\n");
	type(t.master, "\004");
	type(t.master, "sh -c \"echo run'ning'; exec sleep 100\"\n");
	await_text(t.master, "running\r\n");
	type(t.master, "\003");
	type(t.master, "echo co'de' $?\n"); /* after the key, which would throw it away */
	await_text(t.master, "code 130\r\n");
	type(t.master, "exit 5\n");
	EXPECT_EXIT(p, 5);
}
