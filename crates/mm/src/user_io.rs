//! Guest buffers as what files read into and write from.

use crate::MemoryManager;
use crate::access::Piece;
use crate::prot::{READ, WRITE};
use abi::{Errno, PAGE_SIZE};
use host::frames::FrameRange;
use host::guestmem::{Fault, HostRange};
use host::io::{Sink, Source};
use platform::Access;

/// Linux's `MAX_RW_COUNT`: most bytes that one call moves.
const MAX_RW_COUNT: u64 = 0x7fff_f000;
/// Linux's `UIO_MAXIOV`.
const MAX_IOV: u64 = 1024;
/// Most ranges and bytes that are handed out at a time.
const MAX_PIECES: usize = 64;
const MAX_BYTES: usize = 4 << 20;

/// A range of guest memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UserRange {
    /// First address.
    pub addr: u64,
    /// Bytes.
    pub len: u64,
}

/// Where in a list of ranges a transfer is.
struct Cursor<'a> {
    mm: &'a MemoryManager,
    now: UserRange,
    rest: std::vec::IntoIter<UserRange>,
    remaining: u64,
}

/// Keeps what was handed out from being given to others, until dropped; and, if it is being written to, from being shared.
struct Pin<'a> {
    mm: &'a MemoryManager,
    lent: Vec<FrameRange>,
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let freed = {
            let mut state = self.mm.state.lock();
            for range in &self.lent {
                if let Some(at) = state.lent.iter().position(|other| other == range) {
                    state.lent.swap_remove(at);
                }
            }
            state.pins = state.pins.saturating_sub(1);
            if state.pins == 0 && !state.gone { core::mem::take(&mut state.limbo) } else { Vec::new() }
        };
        for frames in freed {
            self.mm.frames.dec(frames);
        }
    }
}

impl<'a> Cursor<'a> {
    fn single(mm: &'a MemoryManager, addr: u64, len: u64) -> Result<Cursor<'a>, Errno> {
        if !mm.access_ok(addr, len) {
            return Err(Errno::EFAULT);
        }
        let len = len.min(MAX_RW_COUNT);
        Ok(Cursor { mm, now: UserRange { addr, len }, rest: Vec::new().into_iter(), remaining: len })
    }

    fn many(mm: &'a MemoryManager, ranges: Vec<UserRange>) -> Cursor<'a> {
        let remaining = ranges.iter().map(|range| range.len).sum();
        Cursor { mm, now: UserRange::default(), rest: ranges.into_iter(), remaining }
    }

    /// The range that is next, if any is left.
    fn current(&mut self) -> Option<UserRange> {
        while self.now.len == 0 {
            self.now = self.rest.next()?;
        }
        Some(self.now)
    }

    fn advance(&mut self, mut by: u64) {
        self.remaining = self.remaining.saturating_sub(by);
        while by > 0 && self.current().is_some() {
            let step = by.min(self.now.len);
            self.now.addr += step;
            self.now.len -= step;
            by -= step;
        }
    }

    /// Moves up to `max` bytes with `copy(addr, done, len)`.
    fn copy(
        &mut self,
        max: usize,
        mut copy: impl FnMut(&MemoryManager, u64, usize, usize) -> Result<(), Fault>,
    ) -> Result<usize, Errno> {
        let mut done = 0;
        while done < max {
            let Some(now) = self.current() else { break };
            let len = (max - done).min(now.len as usize);
            let (moved, fault) = match copy(self.mm, now.addr, done, len) {
                Ok(()) => (len, false),
                Err(fault) => (fault.done, true),
            };
            self.advance(moved as u64);
            done += moved;
            if fault {
                return if done == 0 { Err(Errno::EFAULT) } else { Ok(done) };
            }
        }
        Ok(done)
    }

    /// Hands out the next bytes as host ranges.
    fn lend(
        &mut self,
        max: usize,
        want: Access,
        use_ranges: &mut dyn FnMut(&[HostRange<'_>]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let max = max.min(MAX_BYTES).min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        if max == 0 {
            return use_ranges(&[]).map(|_| 0);
        }
        let (pieces, total, pin) = self.gather(max, want)?;
        let ranges: Vec<HostRange<'_>> = pieces.iter().map(Piece::range).collect();
        let result = use_ranges(&ranges);
        drop(ranges);
        drop(pin);
        let done = result?.min(total);
        self.advance(done as u64);
        Ok(done)
    }

    /// The next pieces, pinned, and their total length: less than `max` if a bad page is in the way.
    fn gather(&mut self, max: usize, want: Access) -> Result<(Vec<Piece>, usize, Pin<'a>), Errno> {
        self.current();
        let mm = self.mm;
        mm.change(|state, changes| {
            let mut pieces = Vec::new();
            let mut total = 0;
            let ranges = core::iter::once(self.now).chain(self.rest.as_slice().iter().copied());
            'all: for mut range in ranges {
                while range.len > 0 {
                    if total >= max || pieces.len() >= MAX_PIECES {
                        break 'all;
                    }
                    let most = (max - total).min(usize::try_from(range.len).unwrap_or(usize::MAX));
                    let piece = match mm.piece(state, changes, range.addr, want, most) {
                        Ok(piece) => piece,
                        Err(_) if total > 0 => break 'all,
                        Err(_) => return Err(Errno::EFAULT),
                    };
                    let len = piece.range().len();
                    range.addr += len as u64;
                    range.len -= len as u64;
                    total += len;
                    pieces.push(piece);
                }
            }
            state.pins += 1;
            let lent = if want.write { pieces.iter().filter_map(Piece::frames).collect() } else { Vec::new() };
            state.lent.extend_from_slice(&lent);
            Ok((pieces, total, Pin { mm, lent }))
        })
    }
}

/// Guest memory to read into.
pub struct UserSink<'a>(Cursor<'a>);

impl<'a> UserSink<'a> {
    /// A buffer as `read(2)` gets it. Not touched before bytes move.
    ///
    /// # Errors
    /// `EFAULT` if it lies outside the address space.
    pub fn new(mm: &'a MemoryManager, addr: u64, len: u64) -> Result<UserSink<'a>, Errno> {
        Cursor::single(mm, addr, len).map(UserSink)
    }

    /// Buffers from [`MemoryManager::import_iovec`].
    #[must_use]
    pub fn from_ranges(mm: &'a MemoryManager, ranges: Vec<UserRange>) -> UserSink<'a> {
        UserSink(Cursor::many(mm, ranges))
    }
}

impl Sink for UserSink<'_> {
    fn remaining(&self) -> usize {
        self.0.remaining as usize
    }

    fn put(&mut self, data: &[u8]) -> Result<usize, Errno> {
        self.0.copy(data.len(), |mm, addr, done, len| mm.copy_out(addr, data.get(done..done + len).unwrap_or_default()))
    }

    fn zero(&mut self, len: usize) -> Result<usize, Errno> {
        self.0.copy(len, |mm, addr, _, len| mm.zero(addr, len))
    }

    fn fill_with(
        &mut self,
        max: usize,
        fill: &mut dyn FnMut(&[HostRange<'_>]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        self.0.lend(max, WRITE, fill)
    }
}

/// Guest memory to write from.
pub struct UserSource<'a>(Cursor<'a>);

impl<'a> UserSource<'a> {
    /// A buffer as `write(2)` gets it. Not touched before bytes move.
    ///
    /// # Errors
    /// `EFAULT` if it lies outside the address space.
    pub fn new(mm: &'a MemoryManager, addr: u64, len: u64) -> Result<UserSource<'a>, Errno> {
        Cursor::single(mm, addr, len).map(UserSource)
    }

    /// Buffers from [`MemoryManager::import_iovec`].
    #[must_use]
    pub fn from_ranges(mm: &'a MemoryManager, ranges: Vec<UserRange>) -> UserSource<'a> {
        UserSource(Cursor::many(mm, ranges))
    }
}

impl Source for UserSource<'_> {
    fn remaining(&self) -> usize {
        self.0.remaining as usize
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.0.copy(buffer.len(), |mm, addr, done, len| {
            mm.copy_in(addr, buffer.get_mut(done..done + len).unwrap_or_default())
        })
    }

    fn drain_with(
        &mut self,
        max: usize,
        drain: &mut dyn FnMut(&[HostRange<'_>]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        self.0.lend(max, READ, drain)
    }
}

impl MemoryManager {
    /// Copies an array of `struct iovec` and checks it as Linux's `import_iovec` does; what exceeds the most that one call
    /// moves is cut off.
    ///
    /// # Errors
    /// `EINVAL` for too many or too long ones, `EFAULT`.
    pub fn import_iovec(&self, addr: u64, count: u64) -> Result<Vec<UserRange>, Errno> {
        if count > MAX_IOV {
            return Err(Errno::EINVAL);
        }
        let words: Vec<[u64; 2]> = self.read_array(addr, count as usize)?;
        if words.iter().any(|[_, len]| i64::try_from(*len).is_err()) {
            return Err(Errno::EINVAL);
        }
        let mut left = MAX_RW_COUNT;
        let mut ranges = Vec::with_capacity(words.len());
        for [addr, len] in words {
            if !self.access_ok(addr, len) {
                return Err(Errno::EFAULT);
            }
            let len = len.min(left);
            left -= len;
            ranges.push(UserRange { addr, len });
        }
        Ok(ranges)
    }
}

const _: () = assert!(MAX_RW_COUNT.is_multiple_of(PAGE_SIZE));
