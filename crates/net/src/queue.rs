//! What a socket has received and nobody has read yet.
//!
//! Bytes lie in buffers that are used again, so that neither small messages nor long streams allocate per call. Senders
//! copy straight from their source into the receiver's queue.

use crate::flow::Charge;
use crate::socket::{Control, Received};
use abi::Errno;
use host::io::{Sink, Source};
use std::collections::VecDeque;

/// A message, or a piece of a stream.
struct Packet {
    /// Initialised bytes; those of the packet are at `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    control: Control,
    from: Vec<u8>,
    to: Vec<u8>,
    /// Reading stops before it (urgent data stood here).
    marked: bool,
    /// What its sender is charged for it.
    charge: Option<Charge>,
}

impl Packet {
    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn len(&self) -> usize {
        self.end - self.start
    }
}

/// What comes with a message.
#[derive(Default)]
pub struct Envelope {
    /// Rights and credentials.
    pub control: Control,
    /// The sender's address.
    pub from: Vec<u8>,
    /// The address it was sent to.
    pub to: Vec<u8>,
    /// What its sender is charged for it.
    pub charge: Option<Charge>,
}

/// Received packets, in order.
#[derive(Default)]
pub struct Queue {
    packets: VecDeque<Packet>,
    bytes: usize,
    spare: Vec<Vec<u8>>,
    mark_next: bool,
}

/// Largest buffer of a stream's piece, and largest that is kept for another use.
const PIECE: usize = 32 << 10;
/// Smallest buffer.
const SMALL: usize = 256;
/// Unused buffers that are kept.
const SPARES: usize = 4;

/// Packets that were thrown away, to be dropped without locks.
pub struct Discarded(#[expect(dead_code, reason = "held to be dropped")] VecDeque<Packet>);

impl Queue {
    /// Unread bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What it holds of memory, roughly.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.bytes + self.packets.len() * SMALL
    }

    /// Unread packets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether nothing is unread.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// The length of the first packet.
    #[must_use]
    pub fn first_len(&self) -> usize {
        self.packets.front().map_or(0, Packet::len)
    }

    /// The descriptions that are in it.
    pub fn files(&self) -> impl Iterator<Item = &std::sync::Arc<vfs::OpenFile>> {
        self.packets.iter().flat_map(|p| p.control.files.iter())
    }

    fn buffer(&mut self, len: usize) -> Vec<u8> {
        match self.spare.iter().position(|b| b.len() >= len) {
            Some(at) => self.spare.swap_remove(at),
            None => vec![0; len.next_power_of_two().max(SMALL)],
        }
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < SPARES && (SMALL..=PIECE).contains(&buffer.len()) {
            self.spare.push(buffer);
        }
    }

    /// Adds at most `max` bytes to a stream; what comes beside them stands before the first.
    ///
    /// # Errors
    /// `EFAULT` if not even one could be had.
    pub fn push_stream(&mut self, src: &mut dyn Source, max: usize, control: &mut Control) -> Result<usize, Errno> {
        let mut done = 0;
        while done < max && src.remaining() > 0 {
            let want = src.remaining().min(max - done).min(PIECE);
            let taken = if self.may_append(control) { self.append(src, want) } else { self.begin(src, want, control) };
            match taken {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }

    fn may_append(&self, control: &Control) -> bool {
        let last = self.packets.back().filter(|_| !self.mark_next);
        last.is_some_and(|l| {
            l.end < l.buffer.len()
                && l.control.files.is_empty()
                && control.files.is_empty()
                && l.control.same_sender(control)
        })
    }

    fn append(&mut self, src: &mut dyn Source, want: usize) -> Result<usize, Errno> {
        let Some(last) = self.packets.back_mut() else { return Ok(0) };
        let end = last.buffer.len().min(last.end + want);
        let taken = src.take(last.buffer.get_mut(last.end..end).unwrap_or_default())?;
        last.end += taken;
        self.bytes += taken;
        Ok(taken)
    }

    fn begin(&mut self, src: &mut dyn Source, want: usize, control: &mut Control) -> Result<usize, Errno> {
        let mut buffer = self.buffer(want);
        let taken = match src.take(buffer.get_mut(..want).unwrap_or_default()) {
            Ok(taken) if taken > 0 => taken,
            other => {
                self.recycle(buffer);
                return other;
            }
        };
        let credentials = control.credentials;
        let control = Control { credentials, ..std::mem::take(control) };
        let marked = std::mem::take(&mut self.mark_next);
        let (from, to) = (Vec::new(), Vec::new());
        self.put(Packet { buffer, start: 0, end: taken, control, from, to, marked, charge: None });
        Ok(taken)
    }

    fn put(&mut self, packet: Packet) {
        self.bytes += packet.len();
        self.packets.push_back(packet);
    }

    /// Adds a message of all that is in `src`.
    ///
    /// # Errors
    /// `EFAULT`; nothing is added then.
    pub fn push_message(&mut self, src: &mut dyn Source, envelope: Envelope) -> Result<usize, Errno> {
        let len = src.remaining();
        let mut buffer = self.buffer(len);
        let mut done = 0;
        while done < len {
            match src.take(buffer.get_mut(done..len).unwrap_or_default()) {
                Ok(n) if n > 0 => done += n,
                other => {
                    self.recycle(buffer);
                    return Err(other.err().unwrap_or(Errno::EFAULT));
                }
            }
        }
        let Envelope { control, from, to, charge } = envelope;
        self.put(Packet { buffer, start: 0, end: len, control, from, to, marked: false, charge });
        Ok(len)
    }

    /// What is added next to the stream is marked.
    pub fn mark(&mut self) {
        self.mark_next = true;
    }

    /// Whether reading stands at a mark.
    #[must_use]
    pub fn at_mark(&self) -> bool {
        match self.packets.front() {
            Some(first) => first.marked && first.start == 0,
            None => self.mark_next,
        }
    }

    /// Reads from a stream: on until the sink is full, or up to a mark or a piece with rights or, with `by_sender`, of
    /// another sender.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn read_stream(&mut self, dst: &mut dyn Sink, peek: bool, by_sender: bool) -> Result<Received, Errno> {
        let mut got = Received::default();
        let mut at = 0;
        while dst.remaining() > 0 {
            let Some(packet) = self.packets.get_mut(at) else { break };
            let first = got.len == 0;
            let other_sender = by_sender && packet.control.credentials != got.control.credentials;
            if !first && (packet.marked || other_sender) {
                break;
            }
            let rest = packet.len();
            let put = match dst.put(packet.rest()) {
                Ok(put) => put,
                Err(_) if !first => break,
                Err(errno) => return Err(errno),
            };
            // Rights come with the bytes they were sent with, and end the read after those.
            if first || !packet.control.files.is_empty() {
                got.control = if peek { packet.control.seen() } else { packet.control.take() };
            }
            let had_files = !got.control.files.is_empty();
            got.len += put;
            if peek {
                at += 1;
            } else {
                packet.start += put;
                self.bytes -= put;
                if put == rest
                    && let Some(done) = self.packets.pop_front()
                {
                    self.recycle(done.buffer);
                }
            }
            if had_files || put < rest {
                break;
            }
        }
        Ok(got)
    }

    /// Takes a message; what does not fit into the sink is lost.
    ///
    /// # Errors
    /// `EFAULT`; the message is lost as on Linux.
    pub fn read_message(&mut self, dst: &mut dyn Sink, peek: bool) -> Result<Option<Received>, Errno> {
        if peek {
            let Some(packet) = self.packets.front() else { return Ok(None) };
            let len = copy_message(packet, dst)?;
            let (from, to) = (packet.from.clone(), packet.to.clone());
            return Ok(Some(Received { len, full: packet.len(), from, to, control: packet.control.seen() }));
        }
        let Some(packet) = self.packets.pop_front() else { return Ok(None) };
        let full = packet.len();
        self.bytes -= full;
        let copied = copy_message(&packet, dst);
        let Packet { buffer, control, from, to, charge, .. } = packet;
        self.recycle(buffer);
        drop(charge);
        Ok(Some(Received { len: copied?, full, from, to, control }))
    }

    /// Throws everything away.
    #[must_use]
    pub fn clear(&mut self) -> Discarded {
        self.bytes = 0;
        self.spare.clear();
        Discarded(std::mem::take(&mut self.packets))
    }

    /// Throws away messages that do not come from those wanted.
    #[must_use]
    pub fn keep_from(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Discarded {
        let (keep, drop): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.packets).into_iter().partition(|p| wanted(&p.from));
        self.packets = keep;
        self.bytes = self.packets.iter().map(Packet::len).sum();
        Discarded(drop)
    }
}

fn copy_message(packet: &Packet, dst: &mut dyn Sink) -> Result<usize, Errno> {
    let want = packet.len().min(dst.remaining());
    let mut done = 0;
    while done < want {
        match dst.put(packet.rest().get(done..want).unwrap_or_default())? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::Ucred;
    use host::io::{SliceSink, SliceSource};

    fn push(queue: &mut Queue, bytes: &[u8]) -> usize {
        queue.push_stream(&mut SliceSource::new(bytes), usize::MAX, &mut Control::default()).unwrap()
    }

    fn read(queue: &mut Queue, len: usize, peek: bool) -> Vec<u8> {
        let mut buffer = vec![0; len];
        let got = queue.read_stream(&mut SliceSink::new(&mut buffer), peek, true).unwrap();
        buffer.truncate(got.len);
        buffer
    }

    #[test]
    fn a_stream_has_no_borders() {
        let mut queue = Queue::default();
        push(&mut queue, b"abc");
        push(&mut queue, b"def");
        assert_eq!(queue.len(), 1);
        assert_eq!(read(&mut queue, 4, true), b"abcd");
        assert_eq!(read(&mut queue, 4, false), b"abcd");
        assert_eq!(read(&mut queue, 4, false), b"ef");
        assert!(queue.is_empty());
        assert_eq!(push(&mut queue, &[7; 100_000]), 100_000);
        assert_eq!(read(&mut queue, 200_000, true).len(), 100_000);
        assert_eq!(read(&mut queue, 200_000, false), vec![7; 100_000]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn senders_and_marks_part_a_stream() {
        let mut queue = Queue::default();
        let by = |pid| Control { credentials: Some(Ucred { pid, uid: 0, gid: 0 }), ..Control::default() };
        for (bytes, pid) in [(b"a", 1), (b"b", 1), (b"c", 2)] {
            queue.push_stream(&mut SliceSource::new(bytes), 9, &mut by(pid)).unwrap();
        }
        assert_eq!(read(&mut queue, 9, false), b"ab");
        assert_eq!(read(&mut queue, 9, false), b"c");
        push(&mut queue, b"before");
        queue.mark();
        push(&mut queue, b"after");
        assert!(!queue.at_mark());
        assert_eq!(read(&mut queue, 99, false), b"before");
        assert!(queue.at_mark());
        assert_eq!(read(&mut queue, 99, false), b"after");
    }

    #[test]
    fn messages_are_cut() {
        let mut queue = Queue::default();
        for message in [&b"abcd"[..], b"", b"ef"] {
            queue.push_message(&mut SliceSource::new(message), Envelope::default()).unwrap();
        }
        let mut buffer = [0; 2];
        let got = queue.read_message(&mut SliceSink::new(&mut buffer), false).unwrap().unwrap();
        assert_eq!((got.len, got.full, &buffer), (2, 4, b"ab"));
        let got = queue.read_message(&mut SliceSink::new(&mut buffer), false).unwrap().unwrap();
        assert_eq!((got.len, got.full), (0, 0));
        let got = queue.read_message(&mut SliceSink::new(&mut buffer), true).unwrap().unwrap();
        assert_eq!((got.len, &buffer, queue.len()), (2, b"ef", 1));
    }
}
