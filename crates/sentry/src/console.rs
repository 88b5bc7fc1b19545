//! The console: a terminal of the guest's whose master side is joined to the command by a stream socket.
//!
//! Each direction has one buffer, refilled only when it is empty, so that a slow side holds up the other. Used by the
//! reactor's thread only.

use host::io::{SliceSink, SliceSource};
use kernel::tty::Tty;
use ldisc::Side;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use std::sync::Arc;
use vfs::wait::{Events, Registration, Wake};

/// Most bytes on their way in one direction.
const SIZE: usize = 16 << 10;

/// The console.
pub struct Console {
    tty: Arc<Tty>,
    stream: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    /// The stream gives no more input.
    input_ended: bool,
    /// What the stream is watched for.
    watched: EventFlags,
    _registration: Registration,
}

impl Console {
    /// Joins a terminal's master side to a stream; `wake` is told when there is something to carry.
    #[must_use]
    pub fn new(tty: Arc<Tty>, stream: OwnedFd, wake: Arc<dyn Wake>) -> Console {
        let registration = tty.queue(Side::Master).register(Events::READABLE | Events::WRITABLE, wake);
        Console {
            tty,
            stream,
            input: Vec::new(),
            output: Vec::new(),
            input_ended: false,
            watched: EventFlags::IN,
            _registration: registration,
        }
    }

    /// The terminal.
    #[must_use]
    pub fn tty(&self) -> &Arc<Tty> {
        &self.tty
    }

    /// Adds the stream to an epoll set.
    pub fn watch_with(&self, epoll: &OwnedFd, key: u64) {
        let _ = epoll::add(epoll, &self.stream, EventData::new_u64(key), self.watched);
    }

    /// Carries what can be carried now, both ways.
    pub fn pump(&mut self, epoll: &OwnedFd, key: u64) {
        while self.carry_in() {}
        while self.carry_out() {}
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN, self.input.is_empty() && !self.input_ended);
        wanted.set(EventFlags::OUT, !self.output.is_empty());
        if wanted != self.watched {
            self.watched = wanted;
            let _ = epoll::modify(epoll, &self.stream, EventData::new_u64(key), wanted);
        }
    }

    /// From the stream to the terminal. Returns whether there may be more.
    fn carry_in(&mut self) -> bool {
        if self.input.is_empty() && !self.input_ended {
            let mut buffer = [0; SIZE];
            match recv(&self.stream, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => self.input_ended = true,
                Ok((_, len)) => self.input.extend_from_slice(buffer.get(..len).unwrap_or_default()),
                Err(_) => return false,
            }
        }
        if self.input.is_empty() {
            return false;
        }
        match self.tty.write_master(true, &mut SliceSource::new(&self.input)) {
            Ok(len) => {
                self.input.drain(..len.min(self.input.len()));
                self.input.is_empty()
            }
            // Nobody reads: the terminal tells when that changes.
            Err(_) => false,
        }
    }

    /// From the terminal to the stream. Returns whether there may be more.
    fn carry_out(&mut self) -> bool {
        if self.output.is_empty() {
            let mut buffer = [0; SIZE];
            match self.tty.read_master(None, &mut SliceSink::new(&mut buffer)) {
                Ok(len @ 1..) => self.output.extend_from_slice(buffer.get(..len).unwrap_or_default()),
                // Nothing to read, or nobody has the slave open at the moment.
                Ok(0) | Err(_) => return false,
            }
        }
        match send(&self.stream, &self.output, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(len) => {
                self.output.drain(..len.min(self.output.len()));
                self.output.is_empty()
            }
            Err(_) => false,
        }
    }

    /// The guest has ended: whether all its output is in the stream, which is ended then.
    pub fn finish(&mut self) -> bool {
        while self.carry_out() {}
        if !self.output.is_empty() {
            return false;
        }
        let _ = shutdown(&self.stream, Shutdown::Write);
        true
    }
}
