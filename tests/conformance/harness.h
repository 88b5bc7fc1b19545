/* The harness of the conformance program: one file per topic in cases/, one function per case.
 * See README.md for how to write a case. A failed check ends the process that made it at once; the
 * case fails even if that was a child of it. */
#ifndef HARNESS_H
#define HARNESS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct conf_case {
	const char *file; /* the topic is its base name without ".c" */
	const char *name;
	void (*run)(void);
	struct conf_case *next;
};
void conf_register(struct conf_case *c);

/* CASE(name) { ... } defines and registers a case. */
#define CASE(ident)                                                                      \
	static void case_##ident(void);                                                  \
	static struct conf_case entry_##ident = {__FILE__, #ident, case_##ident, NULL};  \
	__attribute__((constructor)) static void register_##ident(void)                  \
	{                                                                                \
		conf_register(&entry_##ident);                                           \
	}                                                                                \
	static void case_##ident(void)

/* ---- Verdicts. All but conf_record end the calling process. ---- */
__attribute__((noreturn, format(printf, 3, 4))) void conf_fail(const char *file, int line, const char *fmt, ...);
__attribute__((noreturn, format(printf, 1, 2))) void conf_skip(const char *fmt, ...);
__attribute__((format(printf, 2, 3))) void conf_record(const char *label, const char *fmt, ...);
const char *conf_errname(int e);

#define FAIL(...) conf_fail(__FILE__, __LINE__, __VA_ARGS__)
/* The case can't be judged on this machine (a missing kernel feature or privilege). */
#define SKIP(...) conf_skip(__VA_ARGS__)
/* A value that must be the same natively and under Vizor, though none is asserted. */
#define RECORD(label, ...) conf_record(label, __VA_ARGS__)

#define CHECK(cond)                                                                      \
	do {                                                                             \
		if (!(cond))                                                             \
			FAIL("CHECK(%s)", #cond);                                        \
	} while (0)

/* Integers and pointers. */
#define EXPECT_EQ(a, b)                                                                  \
	do {                                                                             \
		long long a_ = (long long)(a), b_ = (long long)(b);                      \
		if (a_ != b_)                                                            \
			FAIL("%s is %lld (%#llx), not %s = %lld (%#llx)", #a, a_,        \
			     (unsigned long long)a_, #b, b_, (unsigned long long)b_);    \
	} while (0)

#define EXPECT_STR(a, b)                                                                 \
	do {                                                                             \
		const char *a_ = (a), *b_ = (b);                                         \
		if (strcmp(a_, b_) != 0)                                                 \
			FAIL("%s is \"%s\", not \"%s\"", #a, a_, b_);                    \
	} while (0)

/* The call must return -1 (or MAP_FAILED) with exactly this errno. */
#define EXPECT_ERRNO(call, want)                                                         \
	do {                                                                             \
		errno = 0;                                                               \
		long long r_ = (long long)(call);                                        \
		int e_ = errno;                                                          \
		if (r_ != -1)                                                            \
			FAIL("%s returned %lld, not %s", #call, r_, #want);              \
		if (e_ != (want))                                                        \
			FAIL("%s gave %s, not %s", #call, conf_errname(e_), #want);      \
	} while (0)

/* The call must not return -1 (or MAP_FAILED); the value is the call's. */
#define EXPECT_OK(call)                                                                  \
	({                                                                               \
		__auto_type r_ = (call);                                                 \
		if ((long long)r_ == -1)                                                 \
			FAIL("%s gave %s", #call, conf_errname(errno));                  \
		r_;                                                                      \
	})

/* ---- Children. ---- */
pid_t conf_fork(const char *file, int line);
int conf_wait(const char *file, int line, pid_t pid);
void conf_join(const char *file, int line, pid_t pid, int want);

/* CHILD(p) { ... } runs the block in a new process with id p, which then exits with 0. */
#define CHILD(p)                                                                         \
	pid_t p = conf_fork(__FILE__, __LINE__);                                         \
	for (; p == 0; _exit(0))
/* Waits for a child and returns the wait status. */
#define WAIT(p) conf_wait(__FILE__, __LINE__, p)
/* Waits for a child that must exit with 0. */
#define JOIN(p) conf_join(__FILE__, __LINE__, p, 0)
#define EXPECT_EXIT(p, code) conf_join(__FILE__, __LINE__, p, (code) << 8)
/* Waits for a child that must die of this signal (core dumps are off). */
#define EXPECT_KILLED(p, sig) conf_join(__FILE__, __LINE__, p, sig)

/* Ends the case as skipped unless we are root. */
void needs_root(void);
/* Gives up root for good in the calling process: this uid and gid, no supplementary groups, no capabilities. */
void become_user(uid_t uid, gid_t gid);

/* ---- Threads. ---- */
pthread_t thread_start(void *(*fn)(void *), void *arg);
void *thread_join(pthread_t t);

/* ---- Order between threads and processes, without sleeping. ---- */
struct gate {
	int fd[2];
};
struct gate gate_new(void);
void gate_open(struct gate *g); /* lets one waiter pass, now or later */
void gate_wait(struct gate *g);
/* Waits until the task (a process or thread id) sleeps in a system call. A hint only: a case must be right even
 * if the other side has not got there. */
void wait_asleep(pid_t tid);

/* ---- Signals. ---- */
extern volatile sig_atomic_t signals_seen[65];
/* A handler that counts in signals_seen, with these sa_flags. */
void count_signal(int sig, int flags);
/* SIGALRM every so many milliseconds without SA_RESTART, so that a blocking call is sure to be interrupted. */
void interrupt_every(int ms);
void interrupt_stop(void);

struct fault {
	int sig; /* 0: the access worked */
	int code;
	void *addr;
};
/* Touches one byte and reports the signal that came of it. */
struct fault fault_read(const volatile void *p);
struct fault fault_write(volatile void *p);

/* ---- Files. The current directory is a fresh temporary one with mode 0755. ---- */
void put_file(const char *path, const char *text);
/* The contents, NUL-terminated, in a static buffer; at most 64 KiB. */
char *get_file(const char *path);
int open_fds(void); /* how many descriptors are open, not counting any of its own */
bool exists(const char *path); /* by lstat */

/* Passes a descriptor over a unix socket, with one byte. */
void send_fd(int sock, int fd);
/* Takes one, with these flags of recvmsg(2), or -1 if none came; `msg_flags` is NULL or gets what the call tells. */
int receive_fd(int sock, int flags, int *msg_flags);

/* ---- Time. ---- */
int64_t now_ms(void); /* CLOCK_MONOTONIC */
void sleep_ms(int ms);

#endif
