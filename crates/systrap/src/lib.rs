//! The platform that runs guest code in ordinary host processes and catches its system calls with seccomp's `SIGSYS`.
//!
//! Each guest address space is a host process, a *stub*. It has a mapper thread, which changes its memory on the
//! Sentry's command, and a host thread for each guest thread, which runs guest code until a signal (a system call that
//! seccomp refused, a fault, an interrupt) takes it to the stub's handler; there it waits for the Sentry's answer.
//!
//! - [`layout`](self): addresses; `text`: the stub's code; `filter`: its seccomp programs.
//! - `zygote`: the first process; `watch`: the thread that owns and watches all of them, and the pool.
//! - `stub`, `arena`, `mapper`, `ranges`: an address space; `context`, `frame`, `fpu`: a guest thread; `pace`, `crowd`: how both sides hand over;
//!   `stay`: on which core; `linger`: how a task waits for another; `lender`: on which core the mapper runs.
//!
//! Locks: `ADDRESS_SPACE` for a stub's mapper and the zygote's, `LEAF` for the pool and the table of processes.
//!
//! # Trust
//! A guest can run any instruction in its stub, jump anywhere in it and write its response page and context blocks.
//! What holds nevertheless: its threads can make no system call but `futex` on context blocks (wait and wake) and on
//! the words where the mapper sleeps (wake), and one `rt_sigreturn`; the mapper takes commands only from a page that is read-only in the stub and has no state in memory;
//! that a batch is done is proved by the host's futex queue (see `mapper`); the Sentry reads each shared word once,
//! checks offsets, and waits for nothing without a limit, but for guest code that has not been asked to stop. A stub
//! that does not answer an interrupt in time is killed. Host threads of dropped contexts are kept, parked, for later
//! ones: a guest thread can't be trusted to end, and so it has at most as many host threads as it had guest threads at
//! once, with those that it says could not be made: no more than [`layout`](self) has blocks.
//!
//! # Costs
//! Measured with `tests/measure.rs` on a 2-core virtual machine (whose own virtualisation makes a switch of processes
//! cost more than a microsecond), in microseconds:
//!
//! | what | typical |
//! |---|---|
//! | trapped system call, both sides spinning | 3.0 |
//! | trapped system call, one core, or no core to spin on | 8.4 |
//! | trapped system call after the Sentry thread has slept | 20 |
//! | one `munmap` | 8 |
//! | map and unmap in one batch | 11 |
//! | new address space with its first context, from the pool | 1 |
//! | new address space, pool empty | 105 |
//! | new context, first of its number | 48 |
//! | new context, host thread used before | 0.1 |
//! | interrupt until `switch` returns | 10 |
//! | start of the platform | 1,000 |

mod arena;
mod calls;
mod context;
mod crowd;
mod dozing;
mod filter;
mod fpu;
mod frame;
mod layout;
mod lender;
mod life;
mod linger;
mod load;
mod local;
mod mapper;
mod pace;
mod passing;
mod patcher;
mod ranges;
mod readings;
mod shared;
mod stay;
mod stub;
mod text;
mod watch;
mod zygote;

/// What a hostile guest could find out, for tests that attack the platform as one.
#[doc(hidden)]
pub mod anatomy {
    pub use crate::frame::{RIP, SIGINFO, SIGMASK};
    pub use crate::layout::*;
    pub use crate::text::{Entry, code};
}

pub use calls::HOST_CALLS;
pub use zygote::StartError;

use abi::Errno;
use core::ops::Range;
use fpu::Format;
use host::guestmem::HostRange;
use platform::{AddressSpace, Context, FutexWaiters, Gone, MapOp, Patcher, Patches, Platform};
use std::fs::File;
use std::sync::Arc;
use stub::Stub;
use watch::Core;

/// Stops the platform when neither it nor any of its address spaces is used.
struct Handle {
    core: Arc<Core>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.stop();
    }
}

/// What the host tells of itself.
pub struct HostFiles {
    /// This process's `/proc/self/maps`.
    pub maps: File,
    /// `/proc/loadavg`, if there is one.
    pub load: Option<File>,
}

/// What may be left out.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Rewrite system call sites, so that they need no signal.
    pub patch: bool,
    /// Serve calls on a thread's own state in the stub, where nobody sees them.
    pub serve: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { patch: true, serve: true }
    }
}

/// The platform.
pub struct Systrap {
    handle: Arc<Handle>,
    format: Format,
}

/// A platform that has not started.
pub struct Prepared {
    prepared: watch::Prepared,
    format: Format,
}

impl Prepared {
    /// Starts it: its first process begins as a copy of this one as it is now.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(self) -> Result<Starting, StartError> {
        let handle = Arc::new(Handle { core: Arc::clone(&self.prepared.core) });
        let started = self.prepared.start()?;
        Ok(Starting { platform: Arc::new(Systrap { handle, format: self.format }), started })
    }
}

/// A platform whose first process is being made.
pub struct Starting {
    platform: Arc<Systrap>,
    started: watch::Started,
}

impl Starting {
    /// The platform. It has no address spaces yet.
    #[must_use]
    pub fn platform(&self) -> Arc<Systrap> {
        Arc::clone(&self.platform)
    }

    /// Waits until it can be used. From then on, what the Sentry does to itself is not inherited by guests' processes.
    ///
    /// # Errors
    /// If the host lacks what the platform needs.
    pub fn finish(self) -> Result<Arc<Systrap>, StartError> {
        self.started.recv().unwrap_or(Err(StartError::Missing("a thread")))?;
        Ok(self.platform)
    }
}

impl Systrap {
    /// Starts the platform: a thread and the first process. Best done before the Sentry has much memory, since that
    /// process begins as a copy of it. Meanwhile no other thread may fork: its child would have no heap.
    ///
    /// # Errors
    /// If the host lacks what the platform needs.
    pub fn new() -> Result<Arc<Systrap>, StartError> {
        let maps = File::open("/proc/self/maps").map_err(|_| StartError::Missing("/proc/self/maps"))?;
        let host = HostFiles { maps, load: File::open("/proc/loadavg").ok() };
        Systrap::prepare(host, Options::default())?.start()?.finish()
    }

    /// The same by steps, for a process that has something to do between and will not see `/proc` any more.
    ///
    /// # Errors
    /// As [`Systrap::new`].
    pub fn prepare(host: HostFiles, options: Options) -> Result<Prepared, StartError> {
        let format = Format::detect().ok_or(StartError::Missing("XSAVE, or its state is too large"))?;
        Ok(Prepared { prepared: watch::Prepared::new(host, options)?, format })
    }
}

impl Systrap {
    fn space(&self, stub: Arc<Stub>) -> Arc<dyn AddressSpace> {
        Arc::new(Space { stub, format: self.format, _handle: Arc::clone(&self.handle) })
    }
}

impl Platform for Systrap {
    fn user_range(&self) -> Range<u64> {
        layout::USER_RANGE
    }

    fn vdso(&self) -> Option<Range<u64>> {
        self.handle.core.region.vdso.map(|(start, end)| start..end)
    }

    fn futex_waiters(&self) -> Arc<dyn FutexWaiters> {
        Arc::clone(&self.handle.core.waiters) as Arc<dyn FutexWaiters>
    }

    fn patcher(&self) -> Option<Arc<dyn Patcher>> {
        let core = &self.handle.core;
        core.options.patch.then(|| Arc::new(patcher::SitePatcher::new(core.region.base)) as Arc<dyn Patcher>)
    }

    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, Errno> {
        self.handle.core.take_stub().map(|stub| self.space(stub))
    }

    fn spare_address_space(&self) -> Option<Arc<dyn AddressSpace>> {
        self.handle.core.spare_stub().map(|stub| self.space(stub))
    }

    fn end(&self) {
        self.handle.core.end();
    }
}

/// An address space.
struct Space {
    stub: Arc<Stub>,
    format: Format,
    _handle: Arc<Handle>,
}

impl AddressSpace for Space {
    fn apply(&self, ops: &[MapOp]) -> Result<(), Gone> {
        self.stub.apply(ops)
    }

    fn vdso(&self) -> Option<(Range<u64>, HostRange<'static>)> {
        let (start, end) = self.stub.core().region.vdso?;
        Some((start..end, host::vdso::image((end - start) as usize)?))
    }

    fn set_patches(&self, patches: Arc<Patches>) {
        self.stub.set_patches(patches);
    }

    fn show_calls(&self) {
        self.stub.show_calls();
    }

    fn at_end(&self, then: Box<dyn FnOnce() + Send>) {
        self.stub.at_end(then);
    }

    fn wake_waiters(&self, addr: u64, count: u32, bitset: u32) -> u32 {
        self.stub.wake_waiters(addr, count, bitset)
    }

    fn move_waiters(&self, from: u64, to: u64, wake: u32, limit: u32) -> u32 {
        self.stub.move_waiters(from, to, wake, limit)
    }

    fn new_context(&self) -> Result<Box<dyn Context>, Errno> {
        Ok(Box::new(self.stub.new_context(self.format)?))
    }
}
