//! The Sentry's end of a mapper thread: batches of calls, and proof that a batch is done.
//!
//! The mapper sleeps on `CMD_SEQ` and runs a batch when that word changes. Its answers are in a page that guests can
//! write, so they are hints. Proof comes from the host kernel: only the mapper can wait on a futex of the command page
//! (the guests' filter keeps them off it), so if `FUTEX_CMP_REQUEUE` moves one waiter from `CMD_SEQ`, with the batch's
//! number as its value, to `CMD_ASLEEP`, then the mapper has been through the whole batch and sleeps again. A batch that only
//! adds memory is proved before the next one: the mapper mostly sleeps by then, and nobody gets what it maps before. The next
//! batch wakes it at the word where it sleeps now. After storing a new number the second word is woken too if
//! nobody was at the first, so that no waiter with an old number can be left on `CMD_SEQ`.

use crate::layout::*;
use crate::life::Life;
use crate::pace::Mover;
use crate::shared::Shared;
use core::sync::atomic::Ordering;
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
        self.mover.bring_here();
        self.seq = self.seq.wrapping_add(1);
        shared.u32(CMD_SEQ).store(self.seq, Ordering::SeqCst);
        // There is but one waiter, so that if it was at the first word, it is not at the second.
        if !matches!(futex::wake(shared.u32(CMD_ASLEEP), Flags::empty(), 1), Ok(1)) {
            let _ = futex::wake(shared.u32(CMD_SEQ), Flags::empty(), 1);
        }
        // The mapper is on this core. To be woken by it could take this thread to another core, which takes much longer.
        let done = shared.u32(FILE_RESPONSE + RESP_DONE);
        let is_done = || done.load(Ordering::Acquire) == self.seq;
        let quick = is_done()
            || (0..YIELDS).any(|_| {
                std::thread::yield_now();
                is_done()
            });
        if !quick {
            shared.u32(CMD_WAITS).store(1, Ordering::SeqCst);
        }
        self.wait(shared, life, proof)
    }

    fn wait(&mut self, shared: &Shared, life: &Life, proof: Proof) -> Result<(), Gone> {
        let done = shared.u32(FILE_RESPONSE + RESP_DONE);
        let (seq, asleep) = (shared.u32(CMD_SEQ), shared.u32(CMD_ASLEEP));
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
            self.unproved = true;
            if proof == Proof::Later && done.load(Ordering::Acquire) == self.seq {
                return Ok(());
            }
            if let Ok(1) = futex::cmp_requeue(seq, Flags::empty(), 0, 1, asleep, self.seq) {
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
