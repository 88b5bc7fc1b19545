//! What the platform asks of the host once it has started: entries for the Sentry's seccomp allow-list.

/// System calls of the platform's Sentry side, each with its reason.
pub const HOST_CALLS: &[(i64, &str)] = &[
    (libc::SYS_futex, "hand over to stubs and their mapper threads"),
    (libc::SYS_tgkill, "interrupt a guest thread"),
    (libc::SYS_sched_setaffinity, "bring a stub's thread to the core of the thread that wakes it"),
    (libc::SYS_getcpu, "know that core"),
    (libc::SYS_sched_yield, "let a mapper thread go to sleep"),
    (libc::SYS_clock_nanosleep, "the same, for longer"),
    (libc::SYS_memfd_create, "the file shared with a new stub"),
    (libc::SYS_ftruncate, "give that file its size"),
    (libc::SYS_fallocate, "reserve memory for a guest thread's block"),
    (libc::SYS_mmap, "map that file"),
    (libc::SYS_munmap, "unmap it with the stub's end"),
    (libc::SYS_close, "close a stub's descriptors"),
    (libc::SYS_getpid, "tell a new stub its parent"),
    (libc::SYS_pidfd_open, "watch a new stub"),
    (libc::SYS_pidfd_send_signal, "kill a stub"),
    (libc::SYS_poll, "wait for a stub's death"),
    (libc::SYS_waitid, "reap a stub"),
    (libc::SYS_epoll_ctl, "watch stubs"),
    (libc::SYS_epoll_pwait, "watch stubs"),
    (libc::SYS_epoll_wait, "watch stubs"),
    (libc::SYS_read, "the watching thread is woken"),
    (libc::SYS_write, "wake the watching thread"),
];
