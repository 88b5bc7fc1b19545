//! Every system call that the Sentry may make on the host, and why. Anything else ends it.
//!
//! None of these opens a path of the host's: the root is empty, and `openat2` reaches only what lies below the donated
//! directories. None makes a process, a socket or executable memory.

use abi::raw::errno::ENOSYS;
use abi::raw::general as n;
use abi::raw::ioctl as io;

/// When a rule is part of the filter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// In every sandbox.
    Always,
    /// Only if a host directory may be written.
    Writable,
}

/// What must hold of the call's arguments, by their low 32 bits.
pub enum Check {
    /// Nothing.
    Any,
    /// The call fails with this error, without being made.
    Fails(u32),
    /// This argument is one of these.
    OneOf(u8, &'static [u32]),
    /// This argument has none of these bits.
    Without(u8, u32),
}

/// A call that is allowed.
pub struct Rule {
    /// Its number.
    pub call: u32,
    /// With which arguments.
    pub check: Check,
    /// In which sandboxes.
    pub when: When,
    /// What for.
    pub why: &'static str,
}

const fn rule(call: u32, check: Check, why: &'static str) -> Rule {
    Rule { call, check, when: When::Always, why }
}

const fn writes(call: u32, why: &'static str) -> Rule {
    Rule { call, check: Check::Any, when: When::Writable, why }
}

/// What a thread of this process is cloned with by the C library.
const THREAD: u32 = n::CLONE_VM
    | n::CLONE_FS
    | n::CLONE_FILES
    | n::CLONE_SIGHAND
    | n::CLONE_THREAD
    | n::CLONE_SYSVSEM
    | n::CLONE_SETTLS
    | n::CLONE_PARENT_SETTID
    | n::CLONE_CHILD_CLEARTID;

/// Seals and duplicates; never `F_SETFL`, since the flags of donated descriptions are the caller's.
const FCNTL: &[u32] = &[
    n::F_GETFD,
    n::F_SETFD,
    n::F_GETFL,
    n::F_DUPFD_CLOEXEC,
    n::F_LINUX_SPECIFIC_BASE + 9,
    n::F_LINUX_SPECIFIC_BASE + 10,
];

/// Questions about donated descriptors, and the restoring of the caller's terminal.
const IOCTL: &[u32] = &[io::TCGETS, io::TCSETS, io::TIOCGWINSZ, io::FIONREAD];

/// `PR_SET_NAME`, and `PR_SET_VMA` by which the C library names its heaps.
const PRCTL: &[u32] = &[15, 0x5356_4d41];

use Check::{Any, Fails, OneOf, Without};

/// The list.
pub const ALLOWED: &[Rule] = &[
    // Between the Sentry and its stubs.
    rule(n::__NR_futex, Any, "hand-over between threads, and to and from stubs"),
    rule(n::__NR_tgkill, Any, "to interrupt a guest thread; reaches only this pid namespace"),
    rule(n::__NR_memfd_create, Any, "pages shared with a new stub"),
    rule(n::__NR_ftruncate, Any, "size of those pages, and of host files"),
    rule(n::__NR_pidfd_open, Any, "to watch a new stub"),
    rule(n::__NR_pidfd_send_signal, Any, "to kill a stub"),
    rule(n::__NR_waitid, Any, "to reap stubs"),
    // Memory of the Sentry's own.
    rule(n::__NR_mmap, Without(2, n::PROT_EXEC), "heap, stacks, and views of files; never executable"),
    rule(n::__NR_munmap, Any, "the same, given back"),
    rule(n::__NR_mremap, Any, "large allocations that grow"),
    rule(n::__NR_mprotect, Without(2, n::PROT_EXEC), "heap and guard pages; never executable"),
    rule(n::__NR_madvise, Any, "memory given back"),
    rule(n::__NR_mincore, Any, "mincore of guests: which pages of the memory file and of host files are in memory"),
    rule(n::__NR_brk, Any, "heap"),
    rule(n::__NR_fallocate, Any, "guest memory given back, and fallocate on host files"),
    // Threads.
    rule(n::__NR_clone3, Fails(ENOSYS), "its flags are out of a filter's sight: the C library then uses clone"),
    rule(n::__NR_clone, OneOf(0, &[THREAD]), "one thread per guest task"),
    rule(n::__NR_set_robust_list, Any, "start of a thread"),
    rule(n::__NR_rseq, Any, "start of a thread"),
    rule(n::__NR_sigaltstack, Any, "start and end of a thread"),
    rule(n::__NR_rt_sigprocmask, Any, "start of a thread, and fault handling"),
    rule(n::__NR_rt_sigreturn, Any, "end of a fault handler"),
    rule(n::__NR_rt_sigaction, Any, "a fault that is no guest's becomes fatal"),
    rule(n::__NR_sched_getaffinity, Any, "how many processors there are, and a thread's stack"),
    rule(n::__NR_sched_setaffinity, Any, "hand-over to a guest thread on the same processor"),
    rule(n::__NR_prlimit64, OneOf(2, &[0]), "limits read, never set"),
    rule(n::__NR_sched_yield, Any, "sched_yield of guests, and short waits"),
    rule(n::__NR_gettid, Any, "names of threads in messages"),
    rule(n::__NR_getpid, Any, "the same, and aborts"),
    rule(n::__NR_prctl, OneOf(0, PRCTL), "names of threads and heaps"),
    rule(n::__NR_exit, Any, "end of a thread"),
    rule(n::__NR_exit_group, Any, "end of the sandbox"),
    rule(n::__NR_restart_syscall, Any, "the host resumes waits with it"),
    // Time and chance.
    rule(n::__NR_clock_gettime, Any, "clocks that the vDSO does not serve"),
    rule(n::__NR_clock_getres, Any, "the same"),
    rule(n::__NR_clock_nanosleep, Any, "short waits"),
    rule(n::__NR_nanosleep, Any, "short waits"),
    rule(n::__NR_getrandom, Any, "getrandom of guests, and hash seeds"),
    rule(n::__NR_getcpu, Any, "getcpu of guests"),
    rule(n::__NR_sysinfo, Any, "memory totals and load for guests"),
    // Waiting for the host.
    rule(n::__NR_epoll_create1, Any, "the reactor"),
    rule(n::__NR_epoll_ctl, Any, "the reactor, and watching stubs"),
    rule(n::__NR_epoll_wait, Any, "the reactor, and watching stubs"),
    rule(n::__NR_epoll_pwait, Any, "the same"),
    rule(n::__NR_eventfd2, Any, "to wake the reactor"),
    rule(n::__NR_poll, Any, "whether a donated descriptor is ready"),
    rule(n::__NR_ppoll, Any, "the same"),
    // Open descriptors.
    rule(n::__NR_read, Any, "donated descriptors and host files"),
    rule(n::__NR_readv, Any, "the same"),
    rule(n::__NR_pread64, Any, "the same"),
    rule(n::__NR_preadv, Any, "the same"),
    rule(n::__NR_preadv2, Any, "the same, without waiting"),
    rule(n::__NR_write, Any, "the same; wake-ups and logs"),
    rule(n::__NR_writev, Any, "the same"),
    rule(n::__NR_pwrite64, Any, "the same"),
    rule(n::__NR_pwritev, Any, "the same"),
    rule(n::__NR_pwritev2, Any, "the same, without waiting"),
    rule(n::__NR_recvfrom, Any, "the control socket, and donated ones"),
    rule(n::__NR_sendto, Any, "the control socket, and donated ones"),
    rule(n::__NR_shutdown, Any, "the end of the console's output, and of donated sockets"),
    rule(n::__NR_lseek, Any, "offsets of donated files, and SEEK_DATA"),
    rule(n::__NR_close, Any, "descriptors given back"),
    rule(n::__NR_fcntl, OneOf(1, FCNTL), "status flags read, descriptors duplicated, memory files sealed"),
    rule(n::__NR_ioctl, OneOf(1, IOCTL), "donated terminals"),
    rule(n::__NR_fstat, Any, "attributes of donated and host files"),
    rule(n::__NR_fsync, Any, "fsync of guests on host files"),
    rule(n::__NR_fdatasync, Any, "the same"),
    rule(n::__NR_syncfs, Any, "sync of guests"),
    rule(n::__NR_msync, Any, "msync of guests on host files"),
    // Below the donated directories.
    rule(n::__NR_openat2, Any, "host files, by RESOLVE_BENEATH and the like"),
    rule(n::__NR_openat, Any, "host files, by one component or an empty path"),
    rule(n::__NR_newfstatat, Any, "attributes"),
    rule(n::__NR_statx, Any, "attributes"),
    rule(n::__NR_readlinkat, Any, "symbolic links"),
    rule(n::__NR_getdents64, Any, "directories"),
    rule(n::__NR_fstatfs, Any, "statfs of guests"),
    rule(n::__NR_faccessat2, Any, "what the host allows the caller"),
    rule(n::__NR_fgetxattr, Any, "extended attributes"),
    rule(n::__NR_flistxattr, Any, "extended attributes"),
    // Changes of host files.
    writes(n::__NR_mkdirat, "directories made"),
    writes(n::__NR_mknodat, "FIFOs and sockets made"),
    writes(n::__NR_symlinkat, "symbolic links made"),
    writes(n::__NR_linkat, "hard links made"),
    writes(n::__NR_unlinkat, "names removed"),
    writes(n::__NR_renameat2, "names changed"),
    writes(n::__NR_fchmod, "modes"),
    writes(n::__NR_fchmodat, "modes"),
    writes(n::__NR_fchmodat2, "modes, through O_PATH"),
    writes(n::__NR_fchown, "owners"),
    writes(n::__NR_fchownat, "owners"),
    writes(n::__NR_utimensat, "times"),
    writes(n::__NR_fsetxattr, "extended attributes"),
    writes(n::__NR_fremovexattr, "extended attributes"),
];
