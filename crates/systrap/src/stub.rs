//! A stub: one guest address space, and the host process that is it.

use crate::arena::Arena;
use crate::context::SystrapContext;
use crate::fpu::Format;
use crate::frame::Frame;
use crate::layout::*;
use crate::lender::Lender;
use crate::life::Life;
use crate::mapper::{Call, Channel, Proof};
use crate::ranges::Ranges;
use crate::shared::Shared;
use crate::text::{Entry, GUEST_CLONE};
use crate::watch::{Core, Then, errno};
use abi::{Errno, PAGE_SIZE};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use lock::{Mutex, rank};
use platform::{Access, Gone, MapOp, Patches};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::thread::futex::{self, Flags};
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// A guest thread's host thread, when no context uses it. It waits for its next turn.
pub struct Thread {
    pub slot: usize,
    pub tid: i32,
    pub frame: Frame,
}

struct State {
    channel: Channel,
    mapped: Ranges,
    idle: Vec<Thread>,
    /// Host threads that could not be made, as far as the guest tells: they may be there nevertheless.
    failures: usize,
}

/// One host process.
pub struct Stub {
    core: Arc<Core>,
    id: u64,
    life: Life,
    arena: Arc<Arena>,
    state: Mutex<State>,
    patches: Mutex<Arc<Patches>>,
    shows_calls: AtomicBool,
}

impl Stub {
    /// Of a process just cloned from the zygote.
    pub fn new(core: Arc<Core>, id: u64, life: Life, arena: Arc<Arena>) -> Stub {
        let state =
            State { channel: Channel::new(life.pid()), mapped: Ranges::default(), idle: Vec::new(), failures: 0 };
        let state = Mutex::new(rank::ADDRESS_SPACE, state);
        let patches = Mutex::new(rank::LEAF, Arc::default());
        Stub { core, id, life, arena, state, patches, shows_calls: AtomicBool::new(false) }
    }

    /// Not another's, ever.
    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn core(&self) -> &Core {
        &self.core
    }

    pub fn life(&self) -> &Life {
        &self.life
    }

    pub fn shared(&self) -> &Shared {
        &self.arena.shared
    }

    /// The same, to be kept.
    pub fn shared_memory(&self) -> Arc<Shared> {
        Arc::clone(&self.arena.shared)
    }

    /// Which system call sites are patched.
    pub fn patches(&self) -> Arc<Patches> {
        Arc::clone(&self.patches.lock())
    }

    /// See [`platform::AddressSpace::set_patches`].
    pub fn set_patches(&self, patches: Arc<Patches>) {
        *self.patches.lock() = patches;
    }

    /// See [`platform::AddressSpace::show_calls`].
    pub fn show_calls(&self) {
        self.shows_calls.store(true, Ordering::SeqCst);
        for slot in 0..self.arena.slots.load(Ordering::SeqCst) {
            self.shared().u32(Self::block(slot) + HEAD + UNSEEN_LEFT).store(0, Ordering::SeqCst);
        }
    }

    /// Lets the thread of a block serve some calls more whose sites trap, if that is allowed. Returns how many it has served.
    pub fn let_pass(&self, slot: usize) -> u32 {
        let left = self.shared().u32(Self::block(slot) + HEAD + UNSEEN_LEFT);
        if left.load(Ordering::Relaxed) == UNSEEN_MAX || self.shows_calls.load(Ordering::SeqCst) {
            return 0;
        }
        let served = UNSEEN_MAX.saturating_sub(left.swap(UNSEEN_MAX, Ordering::SeqCst));
        // It may have been forbidden just then.
        if self.shows_calls.load(Ordering::SeqCst) {
            left.store(0, Ordering::SeqCst);
        }
        served
    }

    /// Where the thread's served call number `at` came from and which it was, as the guest says.
    pub fn unseen(&self, slot: usize, at: u32) -> (u64, u32) {
        let place = UNSEEN_MAX.saturating_sub(1 + at) as usize;
        let word = self.shared().get(Self::block(slot) + HEAD + UNSEEN + 8 * place);
        ((word & ((1 << UNSEEN_NUMBER) - 1)).saturating_sub(2), (word >> UNSEEN_NUMBER) as u32)
    }

    /// Where a block is in the shared file.
    pub fn block(slot: usize) -> usize {
        FILE_CONTEXTS + slot * BLOCK
    }

    /// Where a block is in the stub.
    pub fn address(&self, slot: usize) -> u64 {
        self.core.region.base + (CONTEXTS + slot * BLOCK) as u64
    }

    /// The process has died: lets every thread that waits for it know.
    pub fn set_dead(&self) {
        self.life.set_dead();
        for slot in 0..self.arena.slots.load(Ordering::SeqCst) {
            let turn = self.shared().u32(Self::block(slot) + HEAD + TURN);
            turn.store(TURN_SENTRY, Ordering::SeqCst);
            let _ = futex::wake(turn, Flags::empty(), u32::MAX >> 1);
        }
        let done = self.shared().u32(FILE_RESPONSE + RESP_DONE);
        let _ = futex::wake(done, Flags::empty(), u32::MAX >> 1);
    }

    /// Makes the first host thread ahead of time.
    pub fn prepare(&self) {
        let mut state = self.state.lock();
        if let Ok(thread) = self.new_thread(&mut state) {
            state.idle.push(thread);
        }
    }

    /// Makes one call in a stub that has taken the zygote's place, and so has never run a guest.
    pub fn run(&self, call: Call) -> Result<i64, Gone> {
        self.state.lock_second().channel.run(self.shared(), &self.life, &[call], Proof::Now)?;
        Ok(Channel::result(self.shared(), 0) as i64)
    }

    /// See [`platform::AddressSpace::apply`].
    pub fn apply(&self, ops: &[MapOp]) -> Result<(), Gone> {
        let mut state = self.state.lock();
        let mut calls = Vec::with_capacity(ops.len());
        let mut added = true;
        for op in ops {
            let (MapOp::Map { addr, len, .. } | MapOp::Unmap { addr, len } | MapOp::Protect { addr, len, .. }) = *op;
            let range = checked_range(addr, len).ok_or_else(|| self.life.end(Gone::Corrupt))?;
            added &= matches!(op, MapOp::Map { .. }) && state.mapped.within(range.clone()).next().is_none();
            translate(&mut state.mapped, op, range, &mut calls);
        }
        // A guest that goes on before memory was added to it only faults again.
        let proof = if added { Proof::Later } else { Proof::Now };
        for batch in calls.chunks(MAX_CALLS) {
            let channel = &mut state.channel;
            match Lender::of(self.id) {
                Some(lender) => channel.run_there(self.shared(), &self.life, batch, proof, &lender)?,
                None => channel.run(self.shared(), &self.life, batch, proof)?,
            }
        }
        Ok(())
    }

    /// See [`platform::AddressSpace::wake_waiters`]. The mapper does it, as a thread of the process.
    pub fn wake_waiters(&self, addr: u64, count: u32, bitset: u32) -> u32 {
        if self.sleepers(addr).load(Ordering::SeqCst) == 0 {
            return 0;
        }
        let op = (libc::FUTEX_WAKE_BITSET | libc::FUTEX_PRIVATE_FLAG) as u64;
        self.futex([addr, op, count.into(), 0, 0, bitset.into()])
    }

    /// See [`platform::AddressSpace::move_waiters`].
    pub fn move_waiters(&self, from: u64, to: u64, wake: u32, limit: u32) -> u32 {
        if self.sleepers(from).load(Ordering::SeqCst) == 0 {
            return 0;
        }
        // Those that are moved stay counted where they have counted themselves, and leave there: this one is for good.
        self.sleepers(to).fetch_add(1, Ordering::SeqCst);
        let op = (libc::FUTEX_REQUEUE | libc::FUTEX_PRIVATE_FLAG) as u64;
        self.futex([from, op, wake.into(), limit.into(), to, 0])
    }

    /// How many threads wait in the host for a word with this page offset, as the guest says.
    fn sleepers(&self, addr: u64) -> &AtomicU32 {
        self.shared().u32(FILE_SLEEPERS + (addr as usize & (SLEEPERS_LEN - 4)))
    }

    /// Has the mapper make a call on a futex; what it returns is a hint, as is that it was made.
    fn futex(&self, args: [u64; 6]) -> u32 {
        let call = Call { number: libc::SYS_futex as u32, flags: CALL_MAY_FAIL, args, entry: 0 };
        let mut state = self.state.lock();
        if state.channel.run(self.shared(), &self.life, &[call], Proof::Later).is_err() {
            return 0;
        }
        let result = Channel::result(self.shared(), 0) as i64;
        u32::try_from(result).map_or(0, |count| count.min(MAX_CONTEXTS as u32))
    }

    /// See [`platform::AddressSpace::at_end`].
    pub fn at_end(&self, then: Then) {
        self.core.at_end(self.id, &self.life, then);
    }

    /// See [`platform::AddressSpace::new_context`].
    pub fn new_context(self: &Arc<Stub>, format: Format) -> Result<SystrapContext, Errno> {
        let mut state = self.state.lock();
        let thread = match state.idle.pop() {
            Some(thread) => thread,
            None => self.new_thread(&mut state)?,
        };
        drop(state);
        thread.frame.set_vector(self.shared(), None);
        Ok(SystrapContext::new(Arc::clone(self), thread, format))
    }

    /// Takes back a host thread whose context is dropped.
    pub fn put_thread(&self, thread: Thread) {
        self.state.lock().idle.push(thread);
    }

    fn new_thread(&self, state: &mut State) -> Result<Thread, Errno> {
        let slot = self.arena.slots.load(Ordering::Relaxed);
        if slot + state.failures >= MAX_CONTEXTS {
            return Err(Errno::EAGAIN);
        }
        let (block, address) = (Self::block(slot), self.address(slot));
        // So that the Sentry can't get `SIGBUS` for want of memory.
        fallocate(&self.arena.file, FallocateFlags::empty(), block as u64, BLOCK as u64).map_err(errno)?;
        let room = Format::detect().ok_or(Errno::ENOMEM)?.room();
        let frame = Frame::create(self.shared(), block, address, room);
        let mut calls = Vec::new();
        if slot != 0 && slot.is_multiple_of(CHUNK) {
            calls.push(self.map_chunk(slot));
        }
        calls.push(Call {
            number: libc::SYS_clone as u32,
            flags: CALL_MAY_FAIL,
            args: [GUEST_CLONE, frame.address(), 0, 0, 0, 0],
            entry: self.core.region.base + Entry::Guest.offset() as u64,
        });
        // Before the thread can be waited for, so that no waiter is forgotten when the process dies.
        self.arena.slots.store(slot + 1, Ordering::SeqCst);
        self.arena.reach.fetch_max(slot + 1, Ordering::SeqCst);
        state.channel.run(self.shared(), &self.life, &calls, Proof::Now).map_err(|_| Errno::EAGAIN)?;
        let result = Channel::result(self.shared(), calls.len() - 1) as i64;
        match i32::try_from(result) {
            Ok(tid @ 1..) if self.life.has_thread(tid) => Ok(Thread { slot, tid, frame }),
            // A guest has put a wrong id there: the new thread is not to be found any more.
            Ok(1..) => {
                self.life.kill_for(Gone::Corrupt);
                Err(Errno::EAGAIN)
            }
            _ => {
                state.failures += 1;
                self.arena.slots.store(slot, Ordering::SeqCst);
                Err(i32::try_from(-result).ok().and_then(Errno::from_raw).unwrap_or(Errno::EAGAIN))
            }
        }
    }

    fn map_chunk(&self, slot: usize) -> Call {
        let file = self.arena.file.as_raw_fd() as u64;
        let flags = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
        let prot = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        Call {
            number: libc::SYS_mmap as u32,
            args: [self.address(slot), (CHUNK * BLOCK) as u64, prot, flags, file, Self::block(slot) as u64],
            ..Call::default()
        }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        let guests = self.state.get_mut().idle.iter().map(|thread| thread.tid);
        self.core.bury(self.id, &self.life, guests.chain([self.life.pid()]));
    }
}

fn checked_range(addr: u64, len: u64) -> Option<Range<u64>> {
    let end = addr.checked_add(len)?;
    let aligned = addr.is_multiple_of(PAGE_SIZE) && len.is_multiple_of(PAGE_SIZE);
    (aligned && addr >= USER_RANGE.start && end <= USER_RANGE.end).then_some(addr..end)
}

/// Turns a change into calls, and keeps account of what is mapped.
fn translate(mapped: &mut Ranges, op: &MapOp, range: Range<u64>, calls: &mut Vec<Call>) {
    if range.is_empty() {
        return;
    }
    let call = |number: i64, args: [u64; 6]| Call { number: number as u32, args, ..Call::default() };
    match *op {
        MapOp::Map { addr, len, access, fd, offset, shared, populate } => {
            let kind = if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
            let populate = if populate { libc::MAP_POPULATE } else { 0 };
            let flags = (kind | libc::MAP_FIXED | populate) as u64;
            calls.push(call(libc::SYS_mmap, [addr, len, protection(access), flags, fd as u64, offset]));
            mapped.insert(range);
        }
        MapOp::Unmap { .. } => {
            if let Some(span) = mapped.span(range.clone()) {
                calls.push(call(libc::SYS_munmap, [span.start, span.end - span.start, 0, 0, 0, 0]));
                mapped.remove(range);
            }
        }
        MapOp::Protect { access, .. } => {
            for part in mapped.within(range) {
                let len = part.end - part.start;
                calls.push(call(libc::SYS_mprotect, [part.start, len, protection(access), 0, 0, 0]));
            }
        }
    }
}

fn protection(access: Access) -> u64 {
    let bit = |wanted: bool, bit: i32| if wanted { bit as u64 } else { 0 };
    bit(access.read, libc::PROT_READ) | bit(access.write, libc::PROT_WRITE) | bit(access.execute, libc::PROT_EXEC)
}
