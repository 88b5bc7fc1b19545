//! Every lock rank, lowest (taken first) to highest (taken last).
//!
//! Under ranks from `PROC_TREE` to `FD_TABLE` no guest memory may be touched, and nothing slow be done. Under the others up
//! to `FUTEX` it may, since the fault path takes only ranks from `VMAS` on. Effects that need a lower rank (signals caused under a terminal's
//! lock, say) are returned as values and applied after release.

/// A place in the lock order.
#[derive(Clone, Copy, Debug)]
pub struct Rank {
    /// Higher is taken later.
    pub level: u16,
    /// For messages.
    pub name: &'static str,
}

macro_rules! ranks {
    ($($(#[$doc:meta])* $level:literal $name:ident;)*) => {
        $($(#[$doc])* pub const $name: Rank = Rank { level: $level, name: stringify!($name) };)*
        /// All ranks in order, for the documentation.
        pub const ALL: &[Rank] = &[$($name),*];
    };
}

ranks! {
    /// One change at a time of which epoll sets hold which.
    4 EPOLL_NESTING;
    /// An epoll set: its files are asked under it whether they are ready.
    5 EPOLL;
    /// A file description's offset.
    10 OFFSET;
    /// The mount tree.
    12 MOUNTS;
    /// One rename at a time in a file system (`s_vfs_rename_mutex`).
    14 RENAME;
    /// Children of a dentry.
    16 DENTRY;
    /// An overlay's inode: held while the layers below are called.
    18 OVERLAY;
    /// An inode's metadata or a directory's entries.
    20 INODE;
    /// The process tree: ids, parents, groups, sessions (Linux's `tasklist_lock`). Above directories and offsets, for
    /// looking up a name in /proc and reading a file there ask for processes.
    40 PROC_TREE;
    /// One thread group: threads, exit state, limits.
    50 THREAD_GROUP;
    /// Signal actions and pending queues (Linux's `siglock`).
    60 SIGNALS;
    /// A table of signal actions.
    62 ACTIONS;
    /// A task's own small state.
    70 TASK;
    /// A process's timers.
    75 TIMERS;
    /// Root and working directory, umask.
    80 FS_CONTEXT;
    /// A descriptor table.
    82 FD_TABLE;
    /// A terminal.
    104 TTY;
    /// The object behind a description: pipe, eventfd, timerfd and the like.
    106 FILE_OBJECT;
    /// A socket.
    107 SOCKET;
    /// A futex bucket.
    108 FUTEX;
    /// A memory manager's mappings.
    110 VMAS;
    /// What an inode's pages are backed by.
    120 MAPPABLE;
    /// Who maps a file.
    125 MAPPABLE_OBSERVERS;
    /// The memory file's allocator.
    130 FRAMES;
    /// An address space of the platform.
    140 ADDRESS_SPACE;
    /// A wait queue.
    170 WAIT_QUEUE;
    /// Taken last, nothing taken under it: id pools, logs, small caches.
    180 LEAF;
}
