/* What cases share that stop, continue and signal processes. */
#ifndef WAITS_H
#define WAITS_H

#include "../harness.h"

/* The child must stop of this signal. */
static inline __attribute__((unused)) void expect_stopped(pid_t p, int sig)
{
	int status;
	EXPECT_EQ(waitpid(p, &status, WUNTRACED), p);
	CHECK(WIFSTOPPED(status));
	EXPECT_EQ(WSTOPSIG(status), sig);
}

static inline __attribute__((unused)) void expect_continued(pid_t p)
{
	int status;
	EXPECT_EQ(waitpid(p, &status, WCONTINUED), p);
	CHECK(WIFCONTINUED(status));
	EXPECT_EQ(status, 0xffff);
}

static inline __attribute__((unused)) void block(int sig)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, sig);
	EXPECT_OK(sigprocmask(SIG_BLOCK, &s, NULL));
}

static inline __attribute__((unused)) bool is_pending(int sig)
{
	sigset_t s;
	EXPECT_OK(sigpending(&s));
	return sigismember(&s, sig);
}

/* Waits for a blocked signal. */
static inline __attribute__((unused)) void take_signal(int sig)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, sig);
	EXPECT_EQ(sigwaitinfo(&s, NULL), sig);
}

/* The nth number after the name in /proc/PID/stat, 0 being the parent's id. */
static inline __attribute__((unused)) long stat_number(pid_t pid, int nth)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	char *at = strrchr(get_file(path), ')') + 4;
	while (nth--)
		at = strchr(at, ' ') + 1;
	return atol(at);
}

#endif
