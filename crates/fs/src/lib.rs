//! File systems and file-like objects, each a feature of its own that knows nothing of the others.
//!
//! - [`dev`]: character devices and the nodes of `/dev`.
//! - [`devpts`]: pseudo-terminals.
//! - [`eventfd`]: counters to wait for.
//! - [`hostfs`]: directory trees of the host.
//! - [`pipe`]: pipes and FIFOs.
//! - [`hostfd`]: the descriptors that the sandbox's caller donated.
//! - [`tmpfs`]: files in the memory file; also `/dev/shm`, memfds and shared anonymous memory.

pub mod dev;
pub mod devpts;
pub mod eventfd;
pub mod hostfd;
pub mod hostfs;
pub mod pipe;
pub mod tmpfs;

#[cfg(test)]
mod testing;
