//! The control channel between the command and its Sentry: small messages on a sequenced-packet socket.
//!
//! Console data has a stream of its own, so that input the guest does not read holds up no signal.

use crate::wire::{Reader, Writer};
use abi::termios::Winsize;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use std::io;
use zerocopy::{FromBytes, IntoBytes};

/// From the command to the Sentry.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Request {
    /// A signal for the guest's first process.
    Signal {
        /// Its number.
        signal: i32,
        /// Whether a terminal caused it: then it is for the whole foreground group.
        terminal: bool,
    },
    /// The window's size has changed.
    Window(Winsize),
}

/// From the Sentry to the command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// The guest's first process is about to run.
    Started,
    /// A signal stopped it.
    Stopped {
        /// Its number.
        signal: i32,
        /// How often the command had continued it before, counted when that was done: one that is on its way undoes this.
        continues: u32,
    },
    /// It has ended by itself, with this status.
    Exited(u8),
    /// A signal has killed it.
    Killed(i32),
    /// A line for the user; the guest goes on.
    Warning(String),
    /// It could not be started: the status to exit with, and why.
    Failed(u8, String),
    /// The Sentry itself has failed.
    Broken(String),
}

/// The first byte of [`Report::Broken`], whose text follows without a length.
pub const BROKEN: u8 = b'!';
/// No message is longer.
const LONGEST: usize = 4096;

impl Request {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Request::Signal { signal, terminal } => w.byte(b's').signed(*signal).flag(*terminal),
            Request::Window(size) => w.byte(b'w').bytes(size.as_bytes()),
        };
        w.finish()
    }

    fn decode(message: &[u8]) -> Option<Request> {
        let mut r = Reader::new(message);
        Some(match r.byte()? {
            b's' => Request::Signal { signal: r.signed()?, terminal: r.flag()? },
            b'w' => Request::Window(Winsize::read_from_bytes(&r.bytes()?).ok()?),
            _ => return None,
        })
    }
}

impl Report {
    /// Whether it tells of the guest's end.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self, Report::Exited(_) | Report::Killed(_))
    }

    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Report::Started => w.byte(b'r'),
            Report::Stopped { signal, continues } => w.byte(b't').signed(*signal).signed(continues.cast_signed()),
            Report::Exited(status) => w.byte(b'e').byte(*status),
            Report::Killed(signal) => w.byte(b'k').signed(*signal),
            Report::Warning(line) => w.byte(b'w').bytes(clip(line)),
            Report::Failed(status, why) => w.byte(b'f').byte(*status).bytes(clip(why)),
            Report::Broken(why) => {
                let mut message = vec![BROKEN];
                message.extend_from_slice(clip(why));
                return message;
            }
        };
        w.finish()
    }

    fn decode(message: &[u8]) -> Option<Report> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut r = Reader::new(message);
        Some(match r.byte()? {
            b'r' => Report::Started,
            b't' => Report::Stopped { signal: r.signed()?, continues: r.signed()?.cast_unsigned() },
            b'e' => Report::Exited(r.byte()?),
            b'k' => Report::Killed(r.signed()?),
            b'w' => Report::Warning(text(&r.bytes()?)),
            b'f' => Report::Failed(r.byte()?, text(&r.bytes()?)),
            BROKEN => Report::Broken(text(r.rest())),
            _ => return None,
        })
    }
}

fn clip(text: &str) -> &[u8] {
    let bytes = text.as_bytes();
    bytes.get(..LONGEST - 64).unwrap_or(bytes)
}

/// One end of the channel.
pub struct Channel(OwnedFd);

impl Channel {
    /// Both ends.
    ///
    /// # Errors
    /// The host's.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Channel(a), Channel(b)))
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &OwnedFd {
        &self.0
    }

    fn send(&self, message: &[u8]) -> io::Result<()> {
        loop {
            match send(&self.0, message, SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                other => return other.map(|_| ()).map_err(Into::into),
            }
        }
    }

    /// The next message without waiting. `Ok(None)` if none has come.
    fn receive(&self, flags: RecvFlags) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = [0u8; LONGEST];
        loop {
            let (_, len) = match recv(&self.0, &mut buffer, flags) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                other => other?,
            };
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            return Ok(Some(buffer.get(..len).unwrap_or_default().to_vec()));
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// `EPIPE` if the Sentry is gone.
    pub fn request(&self, request: &Request) -> io::Result<()> {
        self.send(&request.encode())
    }

    /// Sends a report.
    ///
    /// # Errors
    /// `EPIPE` if the command is gone.
    pub fn report(&self, report: &Report) -> io::Result<()> {
        self.send(&report.encode())
    }

    /// The next request, if one has come.
    ///
    /// # Errors
    /// `UnexpectedEof` if the command is gone.
    pub fn next_request(&self) -> io::Result<Option<Request>> {
        let Some(message) = self.receive(RecvFlags::DONTWAIT)? else { return Ok(None) };
        Request::decode(&message).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The next report, if one has come.
    ///
    /// # Errors
    /// `UnexpectedEof` if the Sentry is gone.
    pub fn next_report(&self) -> io::Result<Option<Report>> {
        let Some(message) = self.receive(RecvFlags::DONTWAIT)? else { return Ok(None) };
        Report::decode(&message).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back() {
        let (a, b) = Channel::pair().unwrap();
        let requests = [
            Request::Signal { signal: 2, terminal: true },
            Request::Window(Winsize { ws_row: 1, ws_col: 2, ws_xpixel: 3, ws_ypixel: 4 }),
        ];
        for request in &requests {
            a.request(request).unwrap();
            assert_eq!(b.next_request().unwrap().as_ref(), Some(request));
        }
        let reports = [
            Report::Started,
            Report::Stopped { signal: 20, continues: u32::MAX },
            Report::Exited(255),
            Report::Killed(9),
            Report::Warning("killed".into()),
            Report::Failed(127, "x: not found".into()),
            Report::Broken("no".into()),
        ];
        for report in &reports {
            b.report(report).unwrap();
            assert_eq!(a.next_report().unwrap().as_ref(), Some(report));
        }
        assert_eq!(a.next_report().unwrap(), None);
        drop(b);
        assert!(a.next_report().is_err());
    }
}
