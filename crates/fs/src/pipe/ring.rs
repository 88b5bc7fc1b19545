//! The bytes in a pipe: a queue of pages, as many as the pipe's size, each partly filled.

use abi::Errno;
use host::io::{Sink, Source};
use std::collections::VecDeque;

pub(super) const PAGE: usize = 4096;
/// Slots of a new pipe.
const SLOTS: usize = 16;
/// So many unused pages are kept for later writes: a new page is a zeroed one.
const SPARE_MAX: usize = SLOTS;

type Page = Box<[u8; PAGE]>;

struct Slot {
    page: Page,
    start: usize,
    end: usize,
    /// A write of its own (`O_DIRECT`): a read takes it alone, and drops what it has no room for.
    packet: bool,
}

pub(super) struct Ring {
    slots: VecDeque<Slot>,
    limit: usize,
    len: usize,
    spare: Vec<Page>,
}

impl Ring {
    pub(super) fn new() -> Ring {
        Ring { slots: VecDeque::new(), limit: SLOTS, len: 0, spare: Vec::new() }
    }

    /// Bytes in it.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// No slot is free, even though the last may have room.
    pub(super) fn is_full(&self) -> bool {
        self.slots.len() >= self.limit
    }

    pub(super) fn slots(&self) -> usize {
        self.limit
    }

    pub(super) fn set_slots(&mut self, slots: usize) -> Result<(), Errno> {
        if slots < self.slots.len() {
            return Err(Errno::EBUSY);
        }
        self.limit = slots;
        Ok(())
    }

    /// Forgets everything, the size too.
    pub(super) fn reset(&mut self) {
        *self = Ring::new();
    }

    fn page(&mut self) -> Page {
        self.spare.pop().unwrap_or_else(|| Box::new([0; PAGE]))
    }

    fn recycle(&mut self, page: Page) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(page);
        }
    }

    /// Adds what there is room for, and returns how much that was; zero if there was none.
    pub(super) fn push(&mut self, src: &mut dyn Source, packet: bool) -> Result<usize, Errno> {
        let mut done = 0;
        // What is not a multiple of a page first goes to the last page, if it fits there whole.
        let odd = src.remaining() % PAGE;
        if odd > 0
            && !packet
            && let Some(last) = self.slots.back_mut()
            && !last.packet
            && last.end + odd <= PAGE
        {
            let room = last.page.get_mut(last.end..last.end + odd).unwrap_or_default();
            done = fill(src, room)?;
            last.end += done;
            self.len += done;
            if done < odd {
                return Ok(done);
            }
        }
        while src.remaining() > 0 && !self.is_full() {
            let mut page = self.page();
            let want = src.remaining().min(PAGE);
            let end = match fill(src, page.get_mut(..want).unwrap_or_default()) {
                Ok(end) if end > 0 => end,
                result => {
                    self.recycle(page);
                    return if done > 0 { Ok(done) } else { result };
                }
            };
            self.slots.push_back(Slot { page, start: 0, end, packet });
            self.len += end;
            done += end;
            if end < want {
                break;
            }
        }
        Ok(done)
    }

    /// Takes bytes, up to what `dst` takes.
    pub(super) fn pop(&mut self, dst: &mut dyn Sink) -> Result<usize, Errno> {
        let mut done = 0;
        while dst.remaining() > 0 {
            let Some(slot) = self.slots.front_mut() else { break };
            let bytes = slot.page.get(slot.start..slot.end).unwrap_or_default();
            let n = match dst.put(bytes) {
                Ok(0) => break,
                Ok(n) => n,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            };
            done += n;
            let packet = slot.packet;
            let gone = if packet { bytes.len() } else { n };
            slot.start += gone;
            self.len -= gone;
            if slot.start == slot.end
                && let Some(slot) = self.slots.pop_front()
            {
                self.recycle(slot.page);
            }
            if packet {
                break;
            }
        }
        Ok(done)
    }

    /// Copies up to `len` bytes into the free slots of another pipe.
    pub(super) fn copy_to(&self, to: &mut Ring, len: usize) -> usize {
        let mut done = 0;
        for slot in &self.slots {
            if done >= len || to.is_full() {
                break;
            }
            let bytes = slot.page.get(slot.start..slot.end).unwrap_or_default();
            let bytes = bytes.get(..len - done).unwrap_or(bytes);
            let mut page = to.page();
            if let Some(room) = page.get_mut(..bytes.len()) {
                room.copy_from_slice(bytes);
            }
            to.slots.push_back(Slot { page, start: 0, end: bytes.len(), packet: slot.packet });
            to.len += bytes.len();
            done += bytes.len();
        }
        done
    }
}

/// Fills `room` as far as the source can; an error only if there was nothing.
fn fill(src: &mut dyn Source, room: &mut [u8]) -> Result<usize, Errno> {
    let mut done = 0;
    while let Some(rest) = room.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match src.take(rest) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}
