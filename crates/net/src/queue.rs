//! What a socket has received and nobody has read yet.

use crate::socket::{Control, Received};
use abi::Errno;
use host::io::Sink;
use std::collections::VecDeque;

/// A message, or a piece of a stream.
pub struct Packet {
    /// The bytes; of a stream's piece those before `start` were read.
    pub data: Vec<u8>,
    /// How much was read of it.
    pub start: usize,
    /// Rights and credentials that came with it.
    pub control: Control,
    /// The sender's address.
    pub from: Vec<u8>,
}

impl Packet {
    fn rest(&self) -> &[u8] {
        self.data.get(self.start..).unwrap_or_default()
    }
}

/// Received packets, in order.
#[derive(Default)]
pub struct Queue {
    packets: VecDeque<Packet>,
    bytes: usize,
}

/// Small pieces of a stream are put together up to this size.
const MERGE: usize = 4096;

impl Queue {
    /// Unread bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
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
        self.packets.front().map_or(0, |p| p.rest().len())
    }

    /// Adds a message.
    pub fn push(&mut self, packet: Packet) {
        self.bytes += packet.rest().len();
        self.packets.push_back(packet);
    }

    /// Adds a piece of a stream.
    pub fn push_stream(&mut self, packet: Packet) {
        let last = self.packets.back_mut();
        match last.filter(|l| l.data.len() + packet.data.len() <= MERGE && l.control.same_sender(&packet.control)) {
            Some(last) => {
                self.bytes += packet.data.len();
                last.data.extend_from_slice(&packet.data);
            }
            None => self.push(packet),
        }
    }

    /// Reads from a stream: on until the sink is full, or up to a piece with rights or of another sender.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn read_stream(&mut self, dst: &mut dyn Sink, peek: bool) -> Result<Received, Errno> {
        let mut got = Received::default();
        let mut at = 0;
        while dst.remaining() > 0 {
            let Some(packet) = self.packets.get_mut(at) else { break };
            let first = got.len == 0;
            if !first && (!packet.control.files.is_empty() || !got.control.same_sender(&packet.control)) {
                break;
            }
            let rest = packet.rest().len();
            let put = match dst.put(packet.rest()) {
                Ok(put) => put,
                Err(_) if !first => break,
                Err(errno) => return Err(errno),
            };
            if first {
                got.from = packet.from.clone();
                got.control = if peek { packet.control.clone() } else { std::mem::take(&mut packet.control) };
            }
            let had_files = !got.control.files.is_empty();
            got.len += put;
            if peek {
                at += 1;
            } else {
                packet.start += put;
                self.bytes -= put;
                if put == rest {
                    self.packets.pop_front();
                } else {
                    // What is left of the piece is of the same sender; its rights are gone.
                    packet.control.credentials = got.control.credentials;
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
        let copy = |packet: &Packet, dst: &mut dyn Sink| -> Result<Received, Errno> {
            let want = packet.rest().len().min(dst.remaining());
            let mut done = 0;
            while done < want {
                done += dst.put(packet.rest().get(done..want).unwrap_or_default())?;
            }
            Ok(Received {
                len: done,
                full: packet.rest().len(),
                from: packet.from.clone(),
                control: Control::default(),
            })
        };
        if peek {
            let Some(packet) = self.packets.front() else { return Ok(None) };
            let got = copy(packet, dst)?;
            return Ok(Some(Received { control: packet.control.clone(), ..got }));
        }
        let Some(packet) = self.packets.pop_front() else { return Ok(None) };
        self.bytes -= packet.rest().len();
        let got = copy(&packet, dst)?;
        Ok(Some(Received { control: packet.control, ..got }))
    }

    /// Throws everything away; the packets are returned to be dropped without locks.
    #[must_use]
    pub fn clear(&mut self) -> VecDeque<Packet> {
        self.bytes = 0;
        std::mem::take(&mut self.packets)
    }
}
