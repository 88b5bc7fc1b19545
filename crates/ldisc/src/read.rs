//! Reads: lines or characters for the slave with `VMIN` and `VTIME`, output for the master.

use crate::{DISABLED, Effects, LOW_WATER, LineDiscipline, RING, Readiness, Side, Wake, at};
use abi::raw::general as raw;

/// Linux reads terminals in pieces of this size. It shows: the first piece alone is subject to `VMIN`.
const READ_PIECE: usize = 64;
/// Nanoseconds in the unit of `VTIME`.
const TENTH: u64 = 100_000_000;

/// What became of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadResult {
    /// This much was read; nothing means end of file, or that `VTIME` ran out.
    Done(usize),
    /// Wait for the side to be woken for reading, or until the deadline, and call again.
    Wait { deadline: Option<u64> },
    /// `EAGAIN`.
    WouldBlock,
    /// `EIO`: the other side is gone.
    HungUp,
}

/// When a waiting reader gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    Forever,
    Until(u64),
    None,
}

/// One `read` on the slave, from its begin through its waits. `VMIN` and `VTIME` count as they were at its begin.
#[derive(Clone, Debug)]
pub struct ReadOp {
    minimum: usize,
    between: u64,
    patience: Patience,
    filled: usize,
    waited: bool,
}

impl ReadOp {
    /// Bytes read so far: what to return when a signal ends the wait, if there are any.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.filled
    }
}

/// Whether a read goes on after a piece.
#[derive(PartialEq, Eq)]
enum More {
    Yes,
    No,
}

impl LineDiscipline {
    /// The slave starts a read at time `now` (monotonic, in nanoseconds).
    #[must_use]
    pub fn begin_read(&self, now: u64) -> ReadOp {
        let mut op = ReadOp { minimum: 0, between: 0, patience: Patience::Forever, filled: 0, waited: false };
        if !self.lflag(raw::ICANON) {
            let time = u64::from(self.cc(raw::VTIME)) * TENTH;
            op.minimum = usize::from(self.cc(raw::VMIN)).max(1);
            if self.cc(raw::VMIN) > 0 {
                op.between = time;
            } else {
                op.patience = if time > 0 { Patience::Until(now.saturating_add(time)) } else { Patience::None };
            }
        }
        op
    }

    /// Goes on with a read. `buf` is the same at each call of one read. With `nonblock` it never asks to wait.
    pub fn read(
        &mut self,
        op: &mut ReadOp,
        buf: &mut [u8],
        nonblock: bool,
        now: u64,
        effects: &mut Effects,
    ) -> ReadResult {
        let tail = self.read_tail;
        let result = self.read_first_piece(op, buf, nonblock, now);
        if self.read_tail != tail {
            self.resume_input();
        }
        self.finish(effects);
        match result {
            ReadResult::WouldBlock | ReadResult::HungUp if op.filled > 0 => ReadResult::Done(op.filled),
            result => result,
        }
    }

    /// Fills the first piece of `buf` until `VMIN` is met, then the rest with what is there.
    fn read_first_piece(&mut self, op: &mut ReadOp, buf: &mut [u8], nonblock: bool, now: u64) -> ReadResult {
        let piece = buf.len().min(READ_PIECE);
        while op.filled < piece {
            if !self.input_available(1) {
                if self.master_closed {
                    // A reader that was waiting is told; later ones see the end of file.
                    return if op.waited { ReadResult::HungUp } else { ReadResult::Done(op.filled) };
                }
                let deadline = match op.patience {
                    Patience::None => return ReadResult::Done(op.filled),
                    Patience::Until(deadline) if now >= deadline => return ReadResult::Done(op.filled),
                    Patience::Until(deadline) => Some(deadline),
                    Patience::Forever => None,
                };
                if nonblock {
                    return ReadResult::WouldBlock;
                }
                op.waited = true;
                return ReadResult::Wait { deadline };
            }
            let more = self.copy_piece(&mut op.filled, &mut buf[..piece]);
            if more == More::Yes && (self.by_line() || op.filled >= op.minimum) {
                self.copy_rest(&mut op.filled, buf);
                break;
            }
            self.after_reading();
            if op.filled >= op.minimum {
                break;
            }
            if op.between > 0 {
                op.patience = Patience::Until(now.saturating_add(op.between));
            }
        }
        ReadResult::Done(op.filled)
    }

    /// Takes the rest of the line, or all there is, without waiting.
    fn copy_rest(&mut self, filled: &mut usize, buf: &mut [u8]) {
        loop {
            let end = buf.len().min(*filled + READ_PIECE);
            if end == *filled {
                if self.by_line() {
                    self.skip_end_of_file();
                }
                break;
            }
            if self.copy_piece(filled, &mut buf[..end]) == More::No {
                break;
            }
        }
        self.resume_input();
        self.after_reading();
    }

    /// Lets input go on and writers write when little is left to read.
    fn after_reading(&mut self) {
        let head = if self.lflag(raw::ICANON) { self.canon_head } else { self.commit_head };
        if head.wrapping_sub(self.read_tail) as isize <= LOW_WATER as isize {
            self.resume_input();
            self.wake_writers(Wake::MASTER_WRITE);
        }
    }

    /// Whether a read has something, or with `least` above 1, whether a poll by `VMIN` has.
    pub(crate) fn input_available(&self, least: usize) -> bool {
        if self.by_line() {
            self.canon_head != self.read_tail
        } else {
            self.commit_head.wrapping_sub(self.read_tail) >= least
        }
    }

    fn copy_piece(&mut self, filled: &mut usize, buf: &mut [u8]) -> More {
        if self.by_line() { self.copy_line(filled, buf) } else { self.copy_raw(filled, buf) }
    }

    fn copy_raw(&mut self, filled: &mut usize, buf: &mut [u8]) -> More {
        let start = at(self.read_tail);
        let len = self.commit_head.wrapping_sub(self.read_tail).min(RING - start).min(buf.len() - *filled);
        if len == 0 {
            return More::No;
        }
        // Where an outside program edits lines, it passes an end of file as its character, alone.
        let ends = len == 1 && self.ring[start] == self.cc(raw::VEOF);
        self.copy_out(&mut buf[*filled..*filled + len]);
        self.read_tail += len;
        let drained = self.read_tail == self.commit_head;
        if ends && drained && self.lflag(raw::EXTPROC) && self.lflag(raw::ICANON) {
            return More::No;
        }
        *filled += len;
        if drained { More::No } else { More::Yes }
    }

    /// Takes up to the end of the line, whose delimiter is left out if it is an end of file.
    fn copy_line(&mut self, filled: &mut usize, buf: &mut [u8]) -> More {
        let limit = self.canon_head.wrapping_sub(self.read_tail).min(buf.len() - *filled);
        let tail = self.read_tail;
        let stored = (0..limit).find(|&i| self.delimiters.contains(tail + i));
        let len = match stored {
            Some(len) if self.ring[at(tail + len)] == DISABLED => len,
            Some(len) => len + 1,
            None => limit,
        };
        self.copy_out(&mut buf[*filled..*filled + len]);
        *filled += len;
        self.read_tail += stored.map_or(limit, |len| len + 1);
        if let Some(len) = stored {
            self.delimiters.remove(tail + len);
        }
        if stored.is_some() || self.read_tail == self.canon_head { More::No } else { More::Yes }
    }

    /// Copies from the tail of the ring. What was typed unseen may be a secret, and is wiped.
    fn copy_out(&mut self, target: &mut [u8]) {
        let start = at(self.read_tail);
        let (front, back) = target.split_at_mut(target.len().min(RING - start));
        let wipe = self.lflag(raw::ICANON) && !self.lflag(raw::ECHO);
        for (start, part) in [(start, front), (0, back)] {
            let source = &mut self.ring[start..start + part.len()];
            part.copy_from_slice(source);
            if wipe {
                source.fill(0);
            }
        }
    }

    /// A buffer filled exactly up to an end of file takes that with it, so that it isn't read as one of its own.
    fn skip_end_of_file(&mut self) {
        let slot = at(self.read_tail);
        if self.read_tail != self.canon_head && self.delimiters.contains(self.read_tail) && self.ring[slot] == DISABLED
        {
            self.delimiters.remove(self.read_tail);
            self.read_tail += 1;
        }
    }

    /// The master reads what the slave put out, or in packet mode a status byte. Asks to wait if there is nothing.
    pub fn read_output(&mut self, buf: &mut [u8], effects: &mut Effects) -> ReadResult {
        if buf.is_empty() {
            return ReadResult::Done(0);
        }
        let mut header = 0;
        if self.packet {
            header = 1;
            buf[0] = std::mem::take(&mut self.packet_status);
            if buf[0] != 0 {
                return ReadResult::Done(1);
            }
        }
        if self.out.ready() == 0 {
            return if self.slave_closed { ReadResult::HungUp } else { ReadResult::Wait { deadline: None } };
        }
        let len = self.out.take(&mut buf[header..]);
        if self.out.ready() <= LOW_WATER {
            self.wake_writers(Wake::SLAVE_WRITE);
        }
        self.deliver_output();
        self.finish(effects);
        ReadResult::Done(header + len)
    }

    /// What `poll` reports.
    #[must_use]
    pub fn readiness(&self, side: Side) -> Readiness {
        let mut ready = Readiness::empty();
        match side {
            Side::Slave if self.master_closed => return Readiness::all() - Readiness::PRI,
            Side::Slave => {
                let (min, time) = (self.cc(raw::VMIN), self.cc(raw::VTIME));
                let least = if time == 0 && min > 0 { usize::from(min) } else { 1 };
                ready.set(Readiness::IN, self.input_available(least));
                ready.set(Readiness::OUT, self.output_room() > 0);
            }
            Side::Master => {
                let status = self.packet && self.packet_status != 0;
                ready.set(Readiness::IN, self.out.ready() > 0 || status);
                ready.set(Readiness::PRI, status);
                ready.set(Readiness::HUP, self.slave_closed);
                ready.set(Readiness::OUT, !self.master_flow.stopped && self.incoming.room() > 0);
            }
        }
        ready
    }

    /// `FIONREAD` (`TIOCINQ`). `TIOCOUTQ` is always 0 on a pty.
    #[must_use]
    pub fn fionread(&self, side: Side) -> usize {
        if side == Side::Master {
            return self.out.ready();
        }
        let mut count = self.held();
        if self.by_line() {
            count = self.canon_head.wrapping_sub(self.read_tail);
            // Ends of file don't count. Linux compares slots, so it finds none of them in a wholly full ring.
            let mut position = self.read_tail;
            while at(position) != at(self.canon_head) {
                if self.delimiters.contains(position) && self.ring[at(position)] == DISABLED {
                    count = count.wrapping_sub(1);
                }
                position = position.wrapping_add(1);
            }
        }
        // A number of 32 bits, which can come out negative: a line that outside editing (`EXTPROC`) lets overflow is cut
        // by a byte that may have been read already.
        count as u32 as usize
    }
}
