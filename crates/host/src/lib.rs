//! The host's side of things: memory shared with guests, and host calls that rustix lacks.
//!
//! - [`memfile`]: the memory file, which backs all anonymous guest memory; [`frames`] hands out its pages.
//! - [`guestmem`]: ranges of memory that guests or truncation may change or take away at any time, and every access to them.
//! - [`heap`]: the Sentry's own memory.
//! - [`dirents`]: directories of the host.
//! - [`io`]: what files read into and write from.
//! - [`mappable`]: what an inode offers to be mapped into a guest.
//! - [`vdso`]: the clocks' code that the host gives every process.
//! - [`seccomp`]: an assembler for seccomp programs.
//! - [`elsewhere`]: threads and processes that start on another core.
//! - [`spawn`], [`confine`]: a process in namespaces of its own, and what it does to give up the rest.
//! - [`signalfd`], [`stdio`], [`terminal`]: the caller's signals, standard descriptors and terminal.

pub mod chmod;
pub mod confine;
pub mod dirents;
pub mod elsewhere;
pub mod fault;
pub mod frames;
pub mod guestmem;
pub mod heap;
pub mod io;
pub mod mappable;
pub mod memfile;
pub mod seccomp;
pub mod signalfd;
pub mod spawn;
pub mod start;
pub mod terminal;
pub mod tsc;
pub mod vdso;
pub mod window;
