//! The Linux ABI on x86-64: constants, structures and error numbers, and nothing else.
//!
//! Constants come from [`raw`] (the kernel's own headers by way of `linux-raw-sys`). Structures that cross the
//! guest boundary are declared here with `zerocopy`, so that they are copied as bytes and never transmuted.

mod errno;
pub mod ipc;
pub mod signal;
pub mod stat;
pub mod termios;
pub mod time;

pub use errno::Errno;
pub use linux_raw_sys as raw;

/// Size of a page in bytes.
pub const PAGE_SIZE: u64 = 4096;
