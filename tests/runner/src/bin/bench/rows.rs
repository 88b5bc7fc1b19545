//! What is measured: the rows of the table, with what each may cost.

/// What a row may at most be.
#[derive(Clone, Copy)]
pub enum Limit {
    /// So many times native.
    Ratio(f64),
    /// So much, whatever native is.
    Value(f64),
    /// So much more than native.
    Beyond(f64),
}

/// Whether a workload is one task's or several tasks'. The host's scheduler puts two tasks on one core or on two, and
/// which it does changes their time twentyfold: such rows compare with the better of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tasks {
    One,
    Several,
}
use Tasks::{One, Several};

/// The micro workloads of `tests/bench/workloads.c`, and how often native's time each may take.
pub const CALLS: &[(&str, Tasks, f64)] = &[
    ("getppid", One, 0.5),
    ("gettid", One, 0.5),
    ("rt_sigprocmask", One, 0.5),
    ("futex-wake-nobody", One, 0.5),
    ("clock_gettime", One, 1.1),
    ("sched_yield", One, 1.0),
    ("read-zero-1", One, 4.0),
    ("write-null-1", One, 4.0),
    ("fstat", One, 4.0),
    ("pipe-1", One, 4.0),
    ("eventfd", One, 4.0),
    ("epoll_wait-ready", One, 4.0),
    ("stat", One, 3.0),
    ("open-close", One, 4.0),
    ("create-unlink", One, 1.0),
    ("pread-4k", One, 4.0),
    ("pread-1m", One, 1.2),
    ("pwrite-4k", One, 1.0),
    ("mmap-munmap", One, 1.5),
    ("mmap-touch-64", One, 2.0),
    ("signal-self", One, 2.5),
    ("fork-wait", One, 2.5),
    ("vfork-exec-wait", One, 2.0),
    ("thread-create-join", One, 2.0),
    ("futex-ping-pong", Several, 1.2),
    ("pipe-ping-pong", Several, 2.0),
    ("socket-ping-pong", Several, 2.0),
    ("pipe-throughput-64k", Several, 1.5),
    ("pty-line", One, 1.5),
];

/// A micro workload that is no single call: eight threads that call in a loop. 2.5 times the time is 0.4 times the calls.
pub const CALLERS: (&str, Tasks, f64) = ("calls-of-8-threads", Several, 2.5);

/// A whole program, start-up included.
pub struct Program {
    pub name: &'static str,
    pub tasks: Tasks,
    /// How often native's time it may take.
    pub limit: f64,
    /// What is done before, natively and untimed.
    pub setup: &'static str,
    /// What is timed.
    pub script: &'static str,
}

const fn program(name: &'static str, limit: f64, setup: &'static str, script: &'static str) -> Program {
    Program { name, tasks: One, limit, setup, script }
}

/// A tree of 5,000 small files.
const TREE: &str = "for d in $(seq 50); do mkdir d$d; for f in $(seq 100); do echo $f > d$d/$f; done; done";
const GIT_TREE: &str = "git init -q . && for d in $(seq 50); do mkdir d$d; for f in $(seq 100); do echo $f > d$d/$f; \
    done; done; git add .";
const SQLITE: &str = "(for t in $(seq 200); do echo 'begin;'; for i in $(seq 50); do \
    echo \"insert into t values($i);\"; done; echo 'commit;'; done) > s; sqlite3 d.db 'create table t(a)'; sqlite3 d.db < s";
const LARGE_C: &str = "awk 'BEGIN { for (i = 0; i < 300; i++) printf \"int f%d(int *a, int n) { int s = %d; \
    for (int i = 0; i < n; i++) { switch (a[i] %% 7) { case 0: s += a[i]; break; case 1: s ^= a[i] << 3; break; \
    case 2: s -= i * %d; break; default: s = s * 31 + a[n - i - 1]; } } return s; }\\n\", i, i, i }' > large.c";
const QUEUE: &str = "/usr/bin/python3 -c 'import threading, queue\nq = queue.Queue(10)\n\
    t = threading.Thread(target=lambda: [q.get() for _ in range(20000)])\nt.start()\n\
    for i in range(20000): q.put(i)\nt.join()'";

pub const PROGRAMS: &[Program] = &[
    program("python3-pass", 1.5, "", "/usr/bin/python3 -c pass"),
    program("bash-500-true", 2.0, "", "for i in $(seq 500); do /bin/true; done"),
    program("git-status-5000", 2.0, GIT_TREE, "git status"),
    program("gcc-large", 1.1, LARGE_C, "gcc -O1 -c large.c"),
    program("find-usr", 2.0, "", "find /usr/share /usr/lib | wc -l"),
    program("tar-5000", 2.0, TREE, "tar cf t.tar d*"),
    program("grep-5000", 2.0, TREE, "grep -r 99 . | wc -l"),
    program("sqlite-200x50", 1.1, "", SQLITE),
    program("gzip-30m", 1.1, "head -c 30000000 /dev/zero | tr '\\0' 'a' > f", "gzip -c f > g"),
    program("sha256-30m", 1.1, "head -c 30000000 /dev/zero > f", "sha256sum f"),
    program("python-loop", 1.2, "", "/usr/bin/python3 -c 'print(sum(i * i for i in range(3000000)))'"),
    Program { name: "python-threads-queue", tasks: Several, limit: 1.5, setup: "", script: QUEUE },
    program("pipeline", 1.5, "", "seq 200000 | sort | uniq | awk '{s += $1} END {print s}'"),
    program("small-files-300", 2.0, "", "for i in $(seq 300); do echo $i > f$i; read x < f$i; done"),
    program("perl-200-forks", 2.5, "", "perl -e 'for (1..200) { my $p = fork; exit 0 if !$p; waitpid $p, 0 }'"),
];

/// Milliseconds that `vizor do true` may take.
pub const START_UP: Limit = Limit::Value(10.0);
/// MiB of an idle sandbox.
pub const PSS: Limit = Limit::Value(8.0);
/// Milliseconds of processor time of a sandbox at rest, in 10 s.
pub const AT_REST: Limit = Limit::Value(0.0);
/// Nanoseconds of a call that is caught by a signal.
pub const TRAPPED: Limit = Limit::Value(5000.0);
/// 100 MB on the console.
pub const CONSOLE_CAT: Limit = Limit::Ratio(2.0);
/// Microseconds that a key takes longer to be echoed.
pub const KEY_ECHO: Limit = Limit::Beyond(1000.0);
/// Geometric means.
pub const CALLS_MEAN: f64 = 1.5;
pub const PROGRAMS_MEAN: f64 = 1.4;
