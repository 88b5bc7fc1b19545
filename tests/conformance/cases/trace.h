/* What cases share that trace processes. Requests are made by the system call itself: the C library's wrapper hides what
 * peeks do. */
#ifndef TRACE_H
#define TRACE_H

#include "../harness.h"
#include <elf.h>
#include <stddef.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/ptrace.h>

#define SYSTRAP (SIGTRAP | 0x80)

static inline __attribute__((unused)) long trace(long request, pid_t pid, unsigned long addr, unsigned long data)
{
	return syscall(SYS_ptrace, request, pid, addr, data);
}

/* In a child: lets the parent trace it, and stops. */
static inline __attribute__((unused)) void trace_me(void)
{
	EXPECT_OK(trace(PTRACE_TRACEME, 0, 0, 0));
	EXPECT_OK(raise(SIGSTOP));
}

/* The tracee's next stop, as wait4(2) reports it: signal | event << 8. */
static inline __attribute__((unused)) int next_stop(pid_t p)
{
	int status;
	EXPECT_EQ(waitpid(p, &status, __WALL), p);
	if (!WIFSTOPPED(status))
		FAIL("%d did not stop, status %#x", p, status);
	return status >> 8;
}

#define EXPECT_STOP(p, code) EXPECT_EQ(next_stop(p), code)

/* Lets it go on in this way and expects the next stop. */
static inline __attribute__((unused)) int go_on(pid_t p, long how, int sig)
{
	EXPECT_OK(trace(how, p, 0, sig));
	return next_stop(p);
}

static inline __attribute__((unused)) struct user_regs_struct regs_of(pid_t p)
{
	struct user_regs_struct regs;
	EXPECT_OK(trace(PTRACE_GETREGS, p, 0, (unsigned long)&regs));
	return regs;
}

static inline __attribute__((unused)) void set_regs(pid_t p, const struct user_regs_struct *regs)
{
	EXPECT_OK(trace(PTRACE_SETREGS, p, 0, (unsigned long)regs));
}

static inline __attribute__((unused)) unsigned long peek(pid_t p, const volatile void *addr)
{
	unsigned long word = 0;
	EXPECT_OK(trace(PTRACE_PEEKDATA, p, (unsigned long)addr, (unsigned long)&word));
	return word;
}

static inline __attribute__((unused)) void poke(pid_t p, const volatile void *addr, unsigned long word)
{
	EXPECT_OK(trace(PTRACE_POKEDATA, p, (unsigned long)addr, word));
}

static inline __attribute__((unused)) siginfo_t siginfo_of(pid_t p)
{
	siginfo_t info;
	EXPECT_OK(trace(PTRACE_GETSIGINFO, p, 0, (unsigned long)&info));
	return info;
}

static inline __attribute__((unused)) unsigned long message_of(pid_t p)
{
	unsigned long message;
	EXPECT_OK(trace(PTRACE_GETEVENTMSG, p, 0, (unsigned long)&message));
	return message;
}

/* The last go: the tracee must end like this. */
static inline __attribute__((unused)) void let_end(pid_t p, int want)
{
	int status;
	EXPECT_OK(trace(PTRACE_CONT, p, 0, 0));
	EXPECT_EQ(waitpid(p, &status, __WALL), p);
	EXPECT_EQ(status, want);
}

#endif
