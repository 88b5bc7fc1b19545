//! The Sentry's end of a mapper thread: batches of calls, and proof that a batch is done.
//!
//! The mapper sleeps until a new batch has been posted, and runs it. Its answers are in a page that guests can write, so they
//! are hints. Proof comes from the host kernel: the batch's number is in two words of the command page, and a mapper that is
//! done with an even batch sleeps on the first, with an odd one on the second. Only the mapper can wait there (the guests'
//! filter lets them wake it, no more). So if `FUTEX_CMP_REQUEUE` finds one waiter on the word of the last batch, which it
//! puts back where it was, then the mapper has been through the whole batch: the one before had it sleep on the other
//! word. That is why a batch is proved before the next is posted, at the latest.
//!
//! A batch that only adds memory is proved no earlier: the mapper mostly sleeps by then, and nobody gets what it maps before.

use crate::layout::*;
use crate::lender::Lender;
use crate::life::Life;
use crate::pace::Mover;
use crate::shared::Shared;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use platform::Gone;
use rustix::thread::futex::{self, Flags, Timespec};
use std::time::Instant;

/// One system call for a mapper.
#[derive(Clone, Copy, Default, Debug)]
pub struct Call {
    pub number: u32,
    /// `CALL_*`.
    pub flags: u32,
    pub args: [u64; 6],
    /// For `clone`: the child's first instruction.
    pub entry: u64,
}

/// How long a batch may take before the stub is given up. Large mappings on a busy host are slow, so it is generous.
const LIMIT: Duration = Duration::from_secs(10);
/// How often to yield the core to the mapper before sleeping until it is done.
const YIELDS: u32 = 8;
/// How often to look for a mapper on another core before sleeping: for as long as to be woken takes.
const SPINS: u32 = 4000;
/// How long to trust that the mapper will tell when it is done.
const NAP: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// When it must be certain that a batch is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// On return.
    Now,
    /// Before the next batch, whose commands take the place of this one's. Until then the guest's hint will do.
    Later,
}

/// The Sentry's side of one mapper.
pub struct Channel {
    seq: u32,
    /// The last batch is not known to be done.
    unproved: bool,
    mover: Mover,
}

impl Channel {
    /// For a mapper that has not had a batch yet, the first thread of its process.
    pub fn new(pid: i32) -> Channel {
        Channel { seq: 0, unproved: false, mover: Mover::new(pid) }
    }

    /// Runs at most `MAX_CALLS` calls and returns when they are done, for certain if asked for. The results are hints.
    pub fn run(&mut self, shared: &Shared, life: &Life, calls: &[Call], proof: Proof) -> Result<(), Gone> {
        self.prepare(shared, life, calls)?;
        self.run_here(shared);
        self.wait(shared, life, proof)
    }

    /// The same on the core of a guest thread that waits for the caller, if it has one to lend.
    pub fn run_there(
        &mut self,
        shared: &Shared,
        life: &Life,
        calls: &[Call],
        proof: Proof,
        lender: &Lender,
    ) -> Result<(), Gone> {
        self.prepare(shared, life, calls)?;
        if lender.fetch(shared, &mut self.mover) {
            self.run_lent(shared, lender);
        } else {
            self.run_here(shared);
        }
        self.wait(shared, life, proof)
    }

    /// Writes a batch down.
    fn prepare(&mut self, shared: &Shared, life: &Life, calls: &[Call]) -> Result<(), Gone> {
        debug_assert!(calls.len() <= MAX_CALLS);
        if self.unproved {
            self.wait(shared, life, Proof::Now)?;
        }
        for (at, call) in calls.iter().take(MAX_CALLS).enumerate() {
            let to = CMD_CALLS + at * CALL_LEN;
            shared.u32(to).store(call.number, Ordering::Relaxed);
            shared.u32(to + 4).store(call.flags, Ordering::Relaxed);
            for (arg, value) in call.args.iter().enumerate() {
                shared.set(to + 8 + 8 * arg, *value);
            }
            shared.set(to + 56, call.entry);
        }
        shared.u32(CMD_COUNT).store(calls.len().min(MAX_CALLS) as u32, Ordering::Relaxed);
        shared.u32(CMD_WAITS).store(0, Ordering::SeqCst);
        Ok(())
    }

    /// Runs what is written down on this core.
    fn run_here(&mut self, shared: &Shared) {
        self.mover.bring_here();
        self.post(shared);
        self.wake(shared);
        // To be woken by the mapper could take this thread to another core, which takes much longer.
        let quick = self.is_done(shared)
            || (0..YIELDS).any(|_| {
                std::thread::yield_now();
                self.is_done(shared)
            });
        if !quick {
            shared.u32(CMD_WAITS).store(1, Ordering::SeqCst);
        }
    }

    /// Runs it on the lender's core, to which the mapper has been bound.
    fn run_lent(&mut self, shared: &Shared, lender: &Lender) {
        self.post(shared);
        let turn = lender.ask(shared);
        let quick = (0..SPINS).any(|_| {
            core::hint::spin_loop();
            self.is_done(shared)
        });
        if !quick {
            lender.revoke(shared, turn);
            shared.u32(CMD_WAITS).store(1, Ordering::SeqCst);
            self.wake(shared);
        }
    }

    /// Makes what is written down the next batch. The mapper sleeps on the word that is stored last, or is about to.
    fn post(&mut self, shared: &Shared) {
        self.unproved = true;
        self.seq = self.seq.wrapping_add(1);
        word(shared, self.seq).store(self.seq, Ordering::SeqCst);
        word(shared, self.seq.wrapping_sub(1)).store(self.seq, Ordering::SeqCst);
    }

    /// Wakes the mapper to run what is posted.
    fn wake(&self, shared: &Shared) {
        let _ = futex::wake(word(shared, self.seq.wrapping_sub(1)), Flags::empty(), 1);
    }

    fn is_done(&self, shared: &Shared) -> bool {
        shared.u32(FILE_RESPONSE + RESP_DONE).load(Ordering::Acquire) == self.seq
    }

    fn wait(&mut self, shared: &Shared, life: &Life, proof: Proof) -> Result<(), Gone> {
        let done = shared.u32(FILE_RESPONSE + RESP_DONE);
        let word = word(shared, self.seq);
        let start = Instant::now();
        let mut tries = 0u32;
        loop {
            if life.dead() {
                return Err(life.wait());
            }
            let hint = done.load(Ordering::Acquire);
            if hint != self.seq
                && let Err(rustix::io::Errno::TIMEDOUT) = futex::wait(done, Flags::empty(), hint, Some(&NAP))
                && life.ended()
            {
                continue;
            }
            if proof == Proof::Later && done.load(Ordering::Acquire) == self.seq {
                return Ok(());
            }
            if let Ok(1) = futex::cmp_requeue(word, Flags::empty(), 0, 1, word, self.seq) {
                self.unproved = false;
                return Ok(());
            }
            // It said that it is done, and is about to sleep: or a guest said so in its name, or it died just then.
            tries = tries.saturating_add(1);
            if tries < 40 {
                std::thread::yield_now();
                continue;
            }
            std::thread::sleep(Duration::from_micros(50));
            if !life.ended() && start.elapsed() > life.patience(LIMIT) {
                return Err(life.end(Gone::Stuck));
            }
        }
    }

    /// What a call of the last batch returned; a guest may have changed it.
    pub fn result(shared: &Shared, at: usize) -> u64 {
        shared.get(FILE_RESPONSE + RESP_RESULTS + 8 * at.min(MAX_CALLS - 1))
    }
}

/// Where a mapper that is done with a batch sleeps.
fn word(shared: &Shared, seq: u32) -> &AtomicU32 {
    shared.u32(if seq.is_multiple_of(2) { CMD_SEQ } else { CMD_SEQ + 4 })
}
