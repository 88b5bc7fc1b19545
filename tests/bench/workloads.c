// The micro workloads of the bench tool: `workloads NAME` measures one and prints nanoseconds per operation, the median of
// several rounds; `workloads NAME one-core` does so with all its tasks on one core. Run natively and under Vizor by
// `cargo run -p vizor-tests --bin bench`.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 9

static char buf[1 << 20];
static int fd, fds[2], back[2], ep;
static volatile sig_atomic_t caught;
static uint32_t *word;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void must(int ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static void futex_wait(uint32_t *w, uint32_t v) { syscall(SYS_futex, w, FUTEX_WAIT, v, NULL, NULL, 0); }
static void futex_wake(uint32_t *w) { syscall(SYS_futex, w, FUTEX_WAKE, 1, NULL, NULL, 0); }

// Setups.
static void open_zero(void) { must((fd = open("/dev/zero", O_RDONLY)) >= 0, "open"); }
static void open_null(void) { must((fd = open("/dev/null", O_WRONLY)) >= 0, "open"); }
static void open_file(void) {
    must((fd = open("/tmp/vizor-bench", O_RDWR | O_CREAT | O_TRUNC, 0600)) >= 0, "open");
    unlink("/tmp/vizor-bench");
    must(write(fd, buf, sizeof buf) == sizeof buf, "write");
}
static void open_pipe(void) { must(pipe(fds) == 0 && pipe(back) == 0, "pipe"); }
static void open_event(void) {
    must((fd = eventfd(1, 0)) >= 0, "eventfd");
    struct epoll_event e = {.events = EPOLLIN};
    must((ep = epoll_create1(0)) >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == 0, "epoll");
}
static void on_signal(int s) { caught = s; }
static void set_handler(void) { signal(SIGUSR1, on_signal); }

static void echo_loop(int in, int out) {
    char c;
    while (read(in, &c, 1) == 1 && write(out, &c, 1) == 1) {}
    _exit(0);
}
static void start_pipe_echo(void) {
    open_pipe();
    if (fork() == 0) { close(fds[1]); close(back[0]); echo_loop(fds[0], back[1]); }
    close(fds[0]);
    close(back[1]);
}
static void start_socket_echo(void) {
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
    if (fork() == 0) { close(fds[0]); echo_loop(fds[1], fds[1]); }
    close(fds[1]);
}
static void start_futex_echo(void) {
    word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(word != MAP_FAILED, "mmap");
    if (fork() == 0)
        for (;;) {
            while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == 0) futex_wait(word, 0);
            if (__atomic_load_n(word, __ATOMIC_SEQ_CST) == 2) _exit(0);
            __atomic_store_n(word, 0, __ATOMIC_SEQ_CST);
            futex_wake(word);
        }
}
static void start_drain(void) {
    must(pipe(fds) == 0, "pipe");
    if (fork() == 0) {
        close(fds[1]);
        while (read(fds[0], buf, 65536) > 0) {}
        _exit(0);
    }
    close(fds[0]);
}
// Keeps the calling thread to the nth core that it may use; ends the program if there are not so many.
static void keep_to(int nth) {
    cpu_set_t all, one;
    must(sched_getaffinity(0, sizeof all, &all) == 0, "sched_getaffinity");
    if (CPU_COUNT(&all) <= nth) exit(0);
    int core = 0;
    while (!CPU_ISSET(core, &all) || nth--) core++;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    must(sched_setaffinity(0, sizeof one, &one) == 0, "sched_setaffinity");
}
static uint32_t line __attribute__((aligned(128)));
static void *answer_loop(void *unused) {
    keep_to(1);
    for (;;) {
        while (__atomic_load_n(&line, __ATOMIC_SEQ_CST) != 1) __builtin_ia32_pause();
        __atomic_store_n(&line, 2, __ATOMIC_SEQ_CST);
    }
    return unused;
}
static void start_answer(void) {
    pthread_t thread;
    must(pthread_create(&thread, NULL, answer_loop, NULL) == 0, "pthread_create");
    while (__atomic_load_n(&line, __ATOMIC_SEQ_CST) != 2) __atomic_store_n(&line, 1, __ATOMIC_SEQ_CST);
    keep_to(0);
}
#define CALLERS 8
static int begun, calls_each;
static void *call_loop(void *unused) {
    char c;
    int zero = open("/dev/zero", O_RDONLY);
    must(zero >= 0, "open");
    for (int round = 1;; round++) {
        for (int seen; (seen = __atomic_load_n(&begun, __ATOMIC_SEQ_CST)) < round;) futex_wait((uint32_t *)&begun, seen);
        for (int n = 0; n < calls_each; n++)
            if (read(zero, &c, 1) != 1) abort();
        if (__atomic_sub_fetch(word, 1, __ATOMIC_SEQ_CST) == 0) futex_wake(word);
    }
    return unused;
}
static void start_callers(void) {
    static uint32_t running;
    word = &running;
    calls_each = 50000;
    for (int n = 0; n < CALLERS; n++) {
        pthread_t t;
        must(pthread_create(&t, NULL, call_loop, NULL) == 0, "pthread_create");
    }
}
static void open_pty(void) {
    must(openpty(&fds[0], &fds[1], NULL, NULL, NULL) == 0, "openpty");
    struct termios t;
    tcgetattr(fds[1], &t);
    t.c_lflag &= ~ECHO;
    tcsetattr(fds[1], TCSANOW, &t);
}

// Operations.
static void op_getppid(void) { syscall(SYS_getppid); }
static void op_gettid(void) { syscall(SYS_gettid); }
static void op_mask(void) { uint64_t old; syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &old, 8); }
static void op_futex_nobody(void) { static uint32_t w; futex_wake(&w); }
static void op_clock(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); }
static void op_yield(void) { sched_yield(); }
static void op_read1(void) { if (read(fd, buf, 1) != 1) abort(); }
static void op_write1(void) { if (write(fd, buf, 1) != 1) abort(); }
static void op_fstat(void) { struct stat s; if (fstat(fd, &s)) abort(); }
static void op_pipe1(void) { if (write(fds[1], buf, 1) != 1 || read(fds[0], buf, 1) != 1) abort(); }
static void op_eventfd(void) { uint64_t v = 1; if (write(fd, &v, 8) != 8 || read(fd, &v, 8) != 8) abort(); v = 1; }
static void op_epoll(void) { struct epoll_event e; if (epoll_wait(ep, &e, 1, -1) != 1) abort(); }
static void op_stat(void) { struct stat s; if (stat("/usr/bin/env", &s)) abort(); }
static void op_open(void) { int f = open("/usr/bin/env", O_RDONLY); if (f < 0) abort(); close(f); }
static void op_create(void) { int f = open("/tmp/vizor-bench-c", O_RDWR | O_CREAT, 0600); if (f < 0) abort(); close(f); unlink("/tmp/vizor-bench-c"); }
static void op_pread4k(void) { if (pread(fd, buf, 4096, 0) != 4096) abort(); }
static void op_pread1m(void) { if (pread(fd, buf, 1 << 20, 0) != 1 << 20) abort(); }
static void op_pwrite4k(void) { if (pwrite(fd, buf, 4096, 0) != 4096) abort(); }
static void op_mmap(void) { void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); if (p == MAP_FAILED) abort(); munmap(p, 4096); }
static void op_mmap64(void) {
    char *p = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) abort();
    for (int i = 0; i < 64; i++) p[i * 4096] = 1;
    munmap(p, 64 * 4096);
}
static void op_signal(void) { raise(SIGUSR1); }
static void op_fork(void) { pid_t p = fork(); if (p == 0) _exit(0); waitpid(p, NULL, 0); }
static void op_spawn(void) { pid_t p = vfork(); if (p == 0) { execl("/bin/true", "true", NULL); _exit(1); } waitpid(p, NULL, 0); }
static void *nothing(void *x) { return x; }
static void op_thread(void) { pthread_t t; if (pthread_create(&t, NULL, nothing, NULL)) abort(); pthread_join(t, NULL); }
static void op_pingpong_pipe(void) { if (write(fds[1], buf, 1) != 1 || read(back[0], buf, 1) != 1) abort(); }
static void op_pingpong_socket(void) { if (write(fds[0], buf, 1) != 1 || read(fds[0], buf, 1) != 1) abort(); }
static void op_pingpong_futex(void) {
    __atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
    futex_wake(word);
    while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == 1) futex_wait(word, 1);
}
// A cache line to another core and back.
static void op_line(void) {
    __atomic_store_n(&line, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&line, __ATOMIC_SEQ_CST) != 2) __builtin_ia32_pause();
}
// One operation is all callers' calls.
static void op_callers(void) {
    __atomic_store_n(word, CALLERS, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&begun, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &begun, FUTEX_WAKE, CALLERS, NULL, NULL, 0);
    for (uint32_t left; (left = __atomic_load_n(word, __ATOMIC_SEQ_CST)) != 0;) futex_wait(word, left);
}
static void op_throughput(void) { if (write(fds[1], buf, 65536) != 65536) abort(); }
static void op_pty(void) { if (write(fds[0], "a line of some length\n", 22) != 22 || read(fds[1], buf, 4096) != 22) abort(); }

static const struct { const char *name; void (*setup)(void); void (*op)(void); int count; } all[] = {
    {"getppid", NULL, op_getppid, 20000}, {"gettid", NULL, op_gettid, 20000}, {"rt_sigprocmask", NULL, op_mask, 20000},
    {"futex-wake-nobody", NULL, op_futex_nobody, 20000}, {"clock_gettime", NULL, op_clock, 100000}, {"sched_yield", NULL, op_yield, 20000},
    {"read-zero-1", open_zero, op_read1, 10000}, {"write-null-1", open_null, op_write1, 10000}, {"fstat", open_null, op_fstat, 10000},
    {"pipe-1", open_pipe, op_pipe1, 5000}, {"eventfd", open_event, op_eventfd, 5000}, {"epoll_wait-ready", open_event, op_epoll, 10000},
    {"stat", NULL, op_stat, 5000}, {"open-close", NULL, op_open, 3000}, {"create-unlink", NULL, op_create, 1000},
    {"pread-4k", open_file, op_pread4k, 5000}, {"pread-1m", open_file, op_pread1m, 100}, {"pwrite-4k", open_file, op_pwrite4k, 5000},
    {"mmap-munmap", NULL, op_mmap, 5000}, {"mmap-touch-64", NULL, op_mmap64, 300}, {"signal-self", set_handler, op_signal, 3000},
    {"fork-wait", NULL, op_fork, 100}, {"vfork-exec-wait", NULL, op_spawn, 50}, {"thread-create-join", NULL, op_thread, 200},
    {"futex-ping-pong", start_futex_echo, op_pingpong_futex, 2000}, {"pipe-ping-pong", start_pipe_echo, op_pingpong_pipe, 2000},
    {"socket-ping-pong", start_socket_echo, op_pingpong_socket, 2000}, {"pipe-throughput-64k", start_drain, op_throughput, 500},
    {"pty-line", open_pty, op_pty, 2000}, {"cache-line", start_answer, op_line, 2000}, {"calls-of-8-threads", start_callers, op_callers, 1},
};

static int by_value(const void *a, const void *b) { double d = *(double *)a - *(double *)b; return (d > 0) - (d < 0); }

int main(int argc, char **argv) {
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (argc < 2) { puts(all[i].name); continue; }
        if (strcmp(argv[1], all[i].name)) continue;
        if (argc > 2) keep_to(0);
        if (all[i].setup) all[i].setup();
        double rounds[ROUNDS];
        for (int n = 0; n < all[i].count / 5 + 1; n++) all[i].op();
        for (int r = 0; r < ROUNDS; r++) {
            double start = now();
            for (int n = 0; n < all[i].count; n++) all[i].op();
            rounds[r] = (now() - start) / all[i].count;
        }
        qsort(rounds, ROUNDS, sizeof *rounds, by_value);
        printf("%.1f\n", rounds[ROUNDS / 2]);
        if (word) { __atomic_store_n(word, 2, __ATOMIC_SEQ_CST); futex_wake(word); }
        return 0;
    }
    return argc < 2 ? 0 : 1;
}
