//! Every lock rank, lowest (taken first) to highest (taken last).
//!
//! Under ranks below `OFFSET` no guest memory may be touched. Under ranks from `OFFSET` up to `FUTEX` it may, since the
//! fault path takes only ranks from `VMAS` on. Effects that need a lower rank (signals caused under a terminal's
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
    /// The process tree: ids, parents, groups, sessions (Linux's `tasklist_lock`).
    10 PROC_TREE;
    /// One thread group: threads, exit state, limits.
    20 THREAD_GROUP;
    /// Signal actions and pending queues (Linux's `siglock`).
    30 SIGNALS;
    /// A table of signal actions.
    32 ACTIONS;
    /// A task's own small state.
    40 TASK;
    /// A process's timers.
    45 TIMERS;
    /// Root and working directory, umask.
    50 FS_CONTEXT;
    /// A descriptor table.
    52 FD_TABLE;
    /// A file description's offset.
    60 OFFSET;
    /// The mount tree.
    70 MOUNTS;
    /// One rename at a time in a file system (`s_vfs_rename_mutex`).
    80 RENAME;
    /// Children of a dentry.
    90 DENTRY;
    /// An overlay's inode: held while the layers below are called.
    95 OVERLAY;
    /// An inode's metadata or a directory's entries.
    100 INODE;
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
