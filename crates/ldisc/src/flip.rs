//! The buffer between the two ends of a pty: how much fits, and in which portions it arrives.
//!
//! Linux chains buffers of a multiple of 256 bytes, holds at most about 8 KiB of them, and frees one only when
//! it is used up and another follows. Writers see this as the number of bytes that a full terminal still takes, so it is
//! accounted for exactly, while the bytes themselves lie in one queue of the owner's.

use std::collections::VecDeque;

/// Buffer memory above which no more is added.
const LIMIT: usize = 8192;
/// Buffer sizes are multiples of this, and buffers of just this size are kept for reuse.
const UNIT: usize = 256;
/// The most that is asked for in one portion (what fits a page with Linux's header and flag bytes).
const PORTION: usize = 1792;

#[derive(Clone, Copy, Debug, Default)]
struct Buffer {
    size: usize,
    filled: usize,
    read: usize,
}

impl Buffer {
    /// Bytes that still fit. Linux reserves as much again for flag bytes, which a pty's data never needs.
    fn left(self) -> usize {
        2 * self.size - self.filled
    }
}

/// The account of one direction's chain of buffers.
#[derive(Clone, Debug)]
pub(crate) struct FlipAccount {
    chain: VecDeque<Buffer>,
    held: usize,
    spare: usize,
    /// How many buffers of the smallest size were ever made. They are kept for reuse.
    small: usize,
    /// Memory freed since bytes last moved on. On Linux the worker that frees it may not have come to that yet.
    freed: usize,
    /// Whether memory was given or refused that the worker's timing decides on.
    timing_shows: bool,
}

impl FlipAccount {
    pub(crate) fn new() -> Self {
        Self { chain: VecDeque::from([Buffer::default()]), held: 0, spare: 0, small: 0, freed: 0, timing_shows: false }
    }

    pub(crate) fn timing_shows(&self) -> bool {
        self.timing_shows
    }

    /// Room as writers and pollers see it.
    pub(crate) fn room(&self) -> usize {
        LIMIT.saturating_sub(self.held)
    }

    /// Accounts for one write of `len` bytes; returns how many of them fit.
    pub(crate) fn push(&mut self, len: usize) -> usize {
        let mut taken = 0;
        while taken < len {
            let goal = (len - taken).min(PORTION);
            let fits = self.reserve(goal);
            if fits == 0 {
                break;
            }
            if let Some(tail) = self.chain.back_mut() {
                tail.filled += fits;
            }
            taken += fits;
        }
        taken
    }

    /// Accounts for `len` writes of one byte.
    fn push_each(&mut self, len: usize) -> usize {
        let mut taken = 0;
        while taken < len && self.push(1) == 1 {
            taken += 1;
            // What is left of the buffer they fill one after another.
            if let Some(tail) = self.chain.back_mut() {
                let more = tail.left().min(len - taken);
                tail.filled += more;
                taken += more;
            }
        }
        taken
    }

    /// Sees to `goal` bytes of room in the last buffer, or returns what it has.
    fn reserve(&mut self, goal: usize) -> usize {
        let left = self.chain.back().map_or(0, |tail| tail.left());
        if left >= goal {
            return goal;
        }
        let size = goal.next_multiple_of(UNIT);
        self.timing_shows |= self.freed > 0 && self.held + self.freed > LIMIT;
        if size == UNIT && self.spare > 0 {
            // Had the worker kept up with the writer, two would have done, and there were fewer to spare.
            self.timing_shows |= self.held > LIMIT && self.spare + 2 <= self.small;
            self.spare -= 1;
        } else if self.held > LIMIT {
            self.timing_shows |=
                self.chain.len() > 1 && self.chain.front().is_some_and(|head| head.read == head.filled);
            return left;
        } else if size == UNIT {
            self.small += 1;
        }
        self.held += size;
        self.chain.push_back(Buffer { size, filled: 0, read: 0 });
        goal
    }

    /// Bytes to be had in one portion from the front; frees buffers that are used up.
    pub(crate) fn front(&mut self) -> usize {
        while let Some(head) = self.chain.front() {
            if head.filled > head.read || self.chain.len() == 1 {
                return head.filled - head.read;
            }
            self.free_front();
        }
        0
    }

    pub(crate) fn consume(&mut self, len: usize) {
        if let Some(head) = self.chain.front_mut() {
            head.read += len;
        }
        if len > 0 {
            self.freed = 0;
        }
    }

    /// Forgets all that is unread; the last buffer stays, as full as it is.
    pub(crate) fn flush(&mut self) {
        while self.chain.len() > 1 {
            self.free_front();
        }
        if let Some(head) = self.chain.front_mut() {
            head.read = head.filled;
        }
        // That was not the worker's doing.
        self.freed = 0;
    }

    fn free_front(&mut self) {
        if let Some(head) = self.chain.pop_front() {
            self.held -= head.size;
            self.freed += head.size;
            if head.size == UNIT {
                self.spare += 1;
            }
        }
    }
}

/// The way from the slave to the master's reader: bytes delivered to the master, then those still in the chain.
#[derive(Clone, Debug)]
pub(crate) struct OutputQueue {
    account: FlipAccount,
    bytes: VecDeque<u8>,
    delivered: usize,
}

/// Bytes that the master's own read buffer takes.
const MASTER_BUFFER: usize = 4095;

impl OutputQueue {
    pub(crate) fn new() -> Self {
        Self { account: FlipAccount::new(), bytes: VecDeque::new(), delivered: 0 }
    }

    pub(crate) fn room(&self) -> usize {
        self.account.room()
    }

    pub(crate) fn timing_shows(&self) -> bool {
        self.account.timing_shows()
    }

    /// Bytes that a master's read can have now.
    pub(crate) fn ready(&self) -> usize {
        self.delivered
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> usize {
        let taken = self.account.push(bytes.len());
        self.bytes.extend(&bytes[..taken]);
        taken
    }

    pub(crate) fn push_each(&mut self, bytes: &[u8]) -> usize {
        let taken = self.account.push_each(bytes.len());
        self.bytes.extend(&bytes[..taken]);
        taken
    }

    /// Moves what fits into the master's read buffer; says whether anything moved.
    pub(crate) fn deliver(&mut self) -> bool {
        let before = self.delivered;
        loop {
            let portion = self.account.front().min(MASTER_BUFFER - self.delivered);
            if portion == 0 {
                return self.delivered > before;
            }
            self.account.consume(portion);
            self.delivered += portion;
        }
    }

    /// Whether delivery would move anything.
    pub(crate) fn could_deliver(&self) -> bool {
        self.bytes.len() > self.delivered && self.delivered < MASTER_BUFFER
    }

    /// Takes delivered bytes into `buf`.
    pub(crate) fn take(&mut self, buf: &mut [u8]) -> usize {
        let len = self.delivered.min(buf.len());
        let (front, back) = self.bytes.as_slices();
        let split = front.len().min(len);
        buf[..split].copy_from_slice(&front[..split]);
        buf[split..len].copy_from_slice(&back[..len - split]);
        self.bytes.drain(..len);
        self.delivered -= len;
        len
    }

    /// Puts a byte into the master's read buffer, behind what is there; says whether there was room.
    pub(crate) fn insert_delivered(&mut self, c: u8) -> bool {
        let room = self.delivered < MASTER_BUFFER;
        if room {
            self.bytes.insert(self.delivered, c);
            self.delivered += 1;
        }
        room
    }

    /// Discards what the master has not been given yet.
    pub(crate) fn flush_pending(&mut self) {
        self.account.flush();
        self.bytes.truncate(self.delivered);
    }

    /// Discards what the master has been given and has not read.
    pub(crate) fn flush_delivered(&mut self) {
        self.bytes.drain(..self.delivered);
        self.delivered = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_stays_bounded() {
        let mut account = FlipAccount::new();
        let mut most = 0;
        for round in 0..200 {
            let piece = [1, 256, 257, 1700, 4000][round % 5];
            while account.push(piece) > 0 {}
            most = most.max(account.held);
            while account.front() > 0 {
                let n = account.front();
                account.consume(n);
            }
        }
        assert!(most < 4 * LIMIT, "{most}");
    }
}
