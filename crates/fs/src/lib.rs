//! File systems and file-like objects, each a feature of its own that knows nothing of the others.
//!
//! - [`dev`]: character devices and the nodes of `/dev`.
//! - [`devpts`]: terminals for programs, and their names.
//! - [`epoll`]: sets of files that are watched.
//! - [`eventfd`]: counters to wait for.
//! - [`hostfs`]: directory trees of the host.
//! - [`pidfd`]: descriptors of processes.
//! - [`overlay`]: a writable tree over a read-only one.
//! - [`pipe`]: pipes and FIFOs.
//! - [`proc`], [`sys`]: processes and the machine as files; made with [`synth`].
//! - [`hostfd`]: the descriptors that the sandbox's caller donated.
//! - [`signalfd`]: signals that are read.
//! - [`timerfd`]: timers that are read.
//! - [`tmpfs`]: files in the memory file; also `/dev/shm`, memfds and shared anonymous memory.

pub mod dev;
pub mod devpts;
pub mod epoll;
pub mod eventfd;
pub mod hostfd;
pub mod hostfs;
pub mod overlay;
pub mod pidfd;
pub mod pipe;
pub mod proc;
pub mod signalfd;
pub mod synth;
pub mod sys;
pub mod timerfd;
pub mod tmpfs;

#[cfg(test)]
mod testing;
