//! How guest code runs: the contract between the kernel and a platform.
//!
//! The kernel knows nothing of a platform but this crate. An [`AddressSpace`] is what guest threads see of memory; a
//! [`Context`] is one guest thread's execution state, and [`Context::switch`] runs it until it needs the kernel.
//! Memory is given to an address space only as ranges of host files ([`MapOp`]); the memory manager decides which.
//! [`script`] holds a platform for unit tests that runs no code.

mod local;
mod patch;
mod registers;
pub mod script;

pub use local::{FutexWaiters, Ids, KernelOnly, LocalState, ROBUST_HEAD};
pub use patch::{Code, JUMP, Patch, Patcher, Patches};
pub use registers::Registers;

use abi::Errno;
use core::fmt;
use core::ops::Range;
use host::guestmem::HostRange;
use std::os::fd::RawFd;
use std::sync::Arc;

/// What kind of access a page allows or a fault wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
    /// May be executed.
    pub execute: bool,
}

/// One change of an address space. Addresses and lengths are page-aligned and lie in [`Platform::user_range`].
#[derive(Clone, Copy, Debug)]
pub enum MapOp {
    /// Replaces whatever is at `addr` by `len` bytes of `fd` from `offset`.
    Map {
        /// First guest address.
        addr: u64,
        /// Bytes.
        len: u64,
        /// Protection.
        access: Access,
        /// A host descriptor of the Sentry. It stays open until all of the range is unmapped or replaced, or the
        /// address space has ended.
        fd: RawFd,
        /// Byte offset in the file.
        offset: u64,
        /// `MAP_SHARED` (the memory file) or a private read-only view of a host file.
        shared: bool,
        /// All of it is likely to be touched soon.
        populate: bool,
    },
    /// Leaves nothing mapped in the range.
    Unmap {
        /// First guest address.
        addr: u64,
        /// Bytes.
        len: u64,
    },
    /// Changes the protection of what is mapped; holes in the range are no error.
    Protect {
        /// First guest address.
        addr: u64,
        /// Bytes.
        len: u64,
        /// Protection.
        access: Access,
    },
}

/// Why an address space is gone. Nothing of it can touch memory any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gone {
    /// Its host process died of this signal, which the platform did not send (0 if the host does not tell which).
    Died(i32),
    /// It was killed for what its code wrote over memory that it shares with the platform.
    Corrupt,
    /// It was killed because it did not do in time what it was told.
    Stuck,
}

/// `SIGKILL` on the host.
const SIGKILL: i32 = 9;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gone::Died(SIGKILL) => f.write_str(
                "something outside the sandbox sent its host process SIGKILL (somebody's kill, or the host is out of memory)",
            ),
            Gone::Died(signal) => {
                write!(f, "its host process died of signal {signal}, by its own code's doing or from outside the sandbox")
            }
            Gone::Corrupt => f.write_str("its code damaged the memory that it shares with Vizor"),
            Gone::Stuck => {
                f.write_str("its host process did not answer in time: its code blocks it, or the host is overloaded")
            }
        }
    }
}

/// Why a guest thread stopped running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// A system call. `orig_rax` holds its number, `rip` is past the instruction, `rax` is `-ENOSYS`.
    Syscall,
    /// A memory access that the host's page tables did not allow.
    Fault {
        /// The address (Linux's `cr2`).
        addr: u64,
        /// What was tried; a hint from the stub, to be treated as untrusted.
        access: Access,
    },
    /// Any other exception, as the signal Linux would send for it.
    Exception {
        /// `SIGILL`, `SIGFPE`, `SIGTRAP`, `SIGBUS`, or `SIGSEGV` for a general-protection fault.
        signo: i32,
        /// `si_code`.
        code: i32,
        /// `si_addr`.
        addr: u64,
        /// x86 trap number and error code, for the guest's signal frame.
        trapno: u64,
        /// See `trapno`.
        error_code: u64,
    },
    /// [`Interrupter::interrupt`] was called.
    Interrupted,
    /// The guest process must be killed.
    Gone(Gone),
}

/// A source of address spaces. One per sandbox.
pub trait Platform: Send + Sync {
    /// Guest addresses that may be mapped; everything above belongs to the platform.
    fn user_range(&self) -> Range<u64>;

    /// Where the vDSO is in every address space (its start is `AT_SYSINFO_EHDR`), if there is one.
    fn vdso(&self) -> Option<Range<u64>>;

    /// Where to count who waits on futexes.
    fn futex_waiters(&self) -> Arc<dyn FutexWaiters>;

    /// What makes patches of system call sites, if the platform profits from them.
    fn patcher(&self) -> Option<Arc<dyn Patcher>>;

    /// A new, empty address space. Drawn from a pool where possible.
    ///
    /// # Errors
    /// `EAGAIN` or `ENOMEM` when the host gives no more processes or memory.
    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, Errno>;

    /// The same if one is ready, and a processor on which the one that it replaces can end at the same time.
    fn spare_address_space(&self) -> Option<Arc<dyn AddressSpace>>;

    /// Has all its processes die, since this one is about to end: that goes faster at the same time. Nothing works any
    /// more after it.
    fn end(&self);
}

/// What guest threads see of memory. Dropped when no task and no memory manager uses it: its host process ends then,
/// but not at once. Whoever drops it first unmaps what others may get, or uses [`AddressSpace::at_end`].
pub trait AddressSpace: Send + Sync {
    /// Applies the changes in order. On return they are in force for every thread, beyond any doubt that the guest
    /// could raise: frames of what was unmapped may be given to others.
    ///
    /// # Errors
    /// [`Gone`] if the address space can't be changed any more.
    fn apply(&self, ops: &[MapOp]) -> Result<(), Gone>;

    /// The vDSO's addresses and bytes, which guests may read, but which are no memory that was mapped for them.
    fn vdso(&self) -> Option<(Range<u64>, HostRange<'static>)>;

    /// Says which system call sites of this address space are patched.
    fn set_patches(&self, patches: Arc<Patches>);

    /// Calls of sites that are not patched all come to the kernel from here on.
    fn show_calls(&self);

    /// Wakes up to `count` of the threads that wait for the private futex at `addr` in the platform, without the kernel's
    /// knowledge, and whose bits meet `bitset`. Returns how many. Who waits there has come before those who wait in the kernel,
    /// as nobody does so while [`FutexWaiters`] count one.
    fn wake_waiters(&self, addr: u64, count: u32, bitset: u32) -> u32;

    /// Wakes up to `wake` such threads, and has up to `limit` more wait for the private futex at `to` from now on. Returns how
    /// many of both.
    fn move_waiters(&self, from: u64, to: u64, wake: u32, limit: u32) -> u32;

    /// Promises that none of its contexts will run again. Some time after the last reference is dropped, when nothing
    /// of it can touch memory any more, `then` is called by some thread with no lock held.
    fn at_end(&self, then: Box<dyn FnOnce() + Send>);

    /// A new thread of execution in this address space; it does not run before its first switch.
    ///
    /// # Errors
    /// `EAGAIN` when the host gives no more threads.
    fn new_context(&self) -> Result<Box<dyn Context>, Errno>;
}

/// One guest thread's execution state. Owned by the Sentry thread that runs the task. Dropping it ends the host thread.
pub trait Context: Send {
    /// Runs guest code from `regs` until it needs the kernel, and leaves the new registers in `regs`. After
    /// [`Exit::Syscall`] only `orig_rax`, the arguments and `rax` are sure to be there, and only `rax` may be changed,
    /// before [`Context::unfold`].
    fn switch(&mut self, regs: &mut Registers) -> Exit;

    /// Completes the registers, all of which may be changed then, but for `rax` and `orig_rax`, which stay.
    ///
    /// # Errors
    /// See [`Gone`]: the next switch will say so too.
    fn unfold(&mut self, regs: &mut Registers) -> Result<(), Gone>;

    /// Says that the task is about to sleep, in the kernel. May wait awake until that has `ended`, for about as long as
    /// it takes to fall asleep and be woken.
    fn sleeps(&self, ended: &dyn Fn() -> bool);

    /// Where the `syscall` instruction of the last exit is, if it would profit from a patch.
    fn site(&self) -> Option<u64>;

    /// Tells of the calls that were served without the kernel since it last asked though they would profit, too: the site,
    /// and the call's number.
    fn served_sites(&self, tell: &mut dyn FnMut(u64, u32));

    /// The state that calls on the thread itself may change without an exit.
    fn local(&self) -> Arc<dyn LocalState>;

    /// How long the thread has slept in all switches up to the last, without the kernel: ticks of `host::tsc`.
    fn slept(&self) -> u64;

    /// Makes it, after [`Context::unfold`], as one that was just made: for another program in the same address space.
    fn renew(&mut self);

    /// A handle with which other threads stop a running [`Context::switch`].
    fn interrupter(&self) -> Arc<dyn Interrupter>;

    /// The vector state (after [`Context::unfold`]) in the form of a signal frame's `fpstate` (FXSAVE area, then the
    /// XSAVE extension).
    fn fpstate(&mut self) -> Vec<u8>;

    /// Sets the vector state from bytes of that form, which may come from the guest.
    ///
    /// # Errors
    /// `EFAULT` if they are malformed.
    fn set_fpstate(&mut self, state: &[u8]) -> Result<(), Errno>;
}

/// Stops a running [`Context::switch`].
pub trait Interrupter: Send + Sync {
    /// Makes the present or, if none is running, the next `switch` return, with [`Exit::Interrupted`] or for a reason
    /// of its own. Cheap when an interrupt is already pending. Never blocks.
    fn interrupt(&self);
}
