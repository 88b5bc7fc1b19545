//! What all socket families have in common, and the file behind a socket's descriptor.

use crate::flight::InFlight;
use crate::options::Options;
use abi::Errno;
use abi::raw::net as n;
use bitflags::bitflags;
use host::io::{Sink, Source};
use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vfs::wait::{Events, WaitQueue};
use vfs::{Caller, FileOps, FileType, IoCx, IoError, OpenFile, OpenFlags};

bitflags! {
    /// `MSG_*` flags of sending and receiving that sockets see; those that say not to wait are in [`IoCx`].
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    #[allow(missing_docs)]
    pub struct SendFlags: u32 {
        const OOB = n::MSG_OOB;
        const PEEK = n::MSG_PEEK;
        const TRUNC = n::MSG_TRUNC;
        const EOR = n::MSG_EOR;
        const NOSIGNAL = n::MSG_NOSIGNAL;
        const MORE = n::MSG_MORE;
    }
}

/// A sender's ids (`struct ucred`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Ucred {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
}

impl Ucred {
    /// Those of a task.
    #[must_use]
    pub fn of(caller: &dyn Caller) -> Ucred {
        let creds = caller.creds();
        Ucred { pid: caller.tgid(), uid: creds.euid, gid: creds.egid }
    }
}

/// What travels beside the bytes.
#[derive(Default)]
pub struct Control {
    /// `SCM_RIGHTS`.
    pub files: Vec<Arc<OpenFile>>,
    /// Counts the files while they are under way.
    pub flight: Option<InFlight>,
    /// `SCM_CREDENTIALS`, if either side asked for it.
    pub credentials: Option<Ucred>,
}

impl Control {
    /// Whether pieces of a stream with these may lie in one buffer.
    #[must_use]
    pub fn same_sender(&self, next: &Control) -> bool {
        self.credentials == next.credentials
    }

    /// What a look at it gives (`MSG_PEEK`).
    #[must_use]
    pub fn seen(&self) -> Control {
        Control { files: self.files.clone(), flight: None, credentials: self.credentials }
    }

    /// What receiving gives; the sender's credentials stay for the rest of the piece.
    #[must_use]
    pub fn take(&mut self) -> Control {
        self.flight = None;
        Control { files: std::mem::take(&mut self.files), flight: None, credentials: self.credentials }
    }
}

/// What was received.
#[derive(Default)]
pub struct Received {
    /// Bytes delivered.
    pub len: usize,
    /// The message's full length, where messages have one; else 0.
    pub full: usize,
    /// The sender's address.
    pub from: Vec<u8>,
    /// The address it was sent to, as in `from`.
    pub to: Vec<u8>,
    /// What came beside the bytes.
    pub control: Control,
}

/// A socket. Operations do not block; see `vfs::FileOps`.
pub trait Socket: Send + Sync + Any {
    /// `AF_*`.
    fn family(&self) -> u32;

    /// `SOCK_*`.
    fn kind(&self) -> u32;

    /// `IPPROTO_*`.
    fn protocol(&self) -> u32 {
        0
    }

    /// For downcasts within a family.
    fn as_any(&self) -> &dyn Any;

    /// Options of `SOL_SOCKET`.
    fn options(&self) -> &Options;

    /// bind(2).
    ///
    /// # Errors
    /// `EADDRINUSE`, `EINVAL`, …
    fn bind(&self, caller: &dyn Caller, address: &[u8]) -> Result<(), Errno>;

    /// listen(2).
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `EINVAL`.
    fn listen(&self, caller: &dyn Caller, backlog: i32) -> Result<(), Errno> {
        let _ = (caller, backlog);
        Err(Errno::EOPNOTSUPP)
    }

    /// Whether it listens (`SO_ACCEPTCONN`).
    fn listens(&self) -> bool {
        false
    }

    /// accept(2): the new socket and its peer's address.
    ///
    /// # Errors
    /// `EINVAL` if it does not listen, `EOPNOTSUPP`, would-block.
    fn accept(&self) -> Result<(Arc<dyn Socket>, Vec<u8>), IoError> {
        Err(Errno::EOPNOTSUPP.into())
    }

    /// connect(2).
    ///
    /// # Errors
    /// `ECONNREFUSED`, `EISCONN`, …, would-block.
    fn connect(&self, io: &IoCx<'_>, address: &[u8]) -> Result<(), IoError>;

    /// send(2) and its kin, to the peer or to `to`.
    ///
    /// # Errors
    /// `EPIPE`, `ENOTCONN`, `EMSGSIZE`, …, would-block.
    fn send(
        &self,
        io: &IoCx<'_>,
        src: &mut dyn Source,
        to: Option<&[u8]>,
        control: &mut Control,
        flags: SendFlags,
    ) -> Result<usize, IoError>;

    /// recv(2) and its kin.
    ///
    /// # Errors
    /// `ENOTCONN`, …, would-block.
    fn receive(&self, io: &IoCx<'_>, dst: &mut dyn Sink, flags: SendFlags) -> Result<Received, IoError>;

    /// shutdown(2), checked.
    ///
    /// # Errors
    /// `ENOTCONN`.
    fn shutdown(&self, read: bool, write: bool) -> Result<(), Errno>;

    /// getsockname(2).
    fn name(&self) -> Vec<u8>;

    /// getpeername(2).
    ///
    /// # Errors
    /// `ENOTCONN`.
    fn peer_name(&self) -> Result<Vec<u8>, Errno>;

    /// getsockopt(2) of other levels, and of `SOL_SOCKET` what is particular to the family.
    ///
    /// # Errors
    /// `ENOPROTOOPT`, `EOPNOTSUPP`.
    fn get_option(&self, level: u32, name: u32) -> Result<Vec<u8>, Errno> {
        let _ = (level, name);
        Err(Errno::ENOPROTOOPT)
    }

    /// setsockopt(2) of other levels.
    ///
    /// # Errors
    /// `ENOPROTOOPT`, `EINVAL`.
    fn set_option(&self, level: u32, name: u32, value: &[u8]) -> Result<(), Errno> {
        let _ = (level, name, value);
        Err(Errno::ENOPROTOOPT)
    }

    /// `SIOCATMARK`: whether reading stands at the mark of urgent data.
    fn at_mark(&self) -> bool {
        false
    }

    /// Bytes sent and not yet taken in (`SIOCOUTQ`).
    fn unsent(&self) -> usize {
        0
    }

    /// Control messages of the family's own for what was received: level, type, data.
    fn ancillary(&self, received: &Received) -> Vec<(u32, u32, Vec<u8>)> {
        let _ = received;
        Vec::new()
    }

    /// Sent to with `MSG_FASTOPEN` or a control message of another level than `SOL_SOCKET`: whether it is fine.
    ///
    /// # Errors
    /// `EINVAL`.
    fn check_ancillary(&self, level: u32, kind: u32) -> Result<(), Errno> {
        let _ = (level, kind);
        Ok(())
    }

    /// `FIONREAD`.
    fn unread(&self) -> usize;

    /// What poll(2) reports.
    fn readiness(&self) -> Events;

    /// Who is told when that changes.
    fn queue(&self) -> &WaitQueue;

    /// The last description is closed.
    fn closed(&self);
}

/// Tries an operation of a socket with a time limit (`SO_RCVTIMEO`, `SO_SNDTIMEO`): after it, the operation ends with
/// `EAGAIN`, and a signal ends it for good.
///
/// # Errors
/// The operation's, would-block.
pub fn timed<T>(io: &IoCx<'_>, limit: Option<Duration>, op: impl FnOnce() -> Result<T, IoError>) -> Result<T, IoError> {
    struct Until(Instant);
    match (op(), limit) {
        (Err(IoError::WouldBlock), Some(limit)) if !io.nonblock => {
            if io.call.must_finish() {
                return Err(Errno::EINTR.into());
            }
            let now = Instant::now();
            let Until(until) = io.call.take().unwrap_or(Until(now.checked_add(limit).unwrap_or(now)));
            if now >= until {
                return Err(Errno::EAGAIN.into());
            }
            io.call.keep(Until(until), Some(until), true);
            Err(IoError::WouldBlock)
        }
        (result, _) => result,
    }
}

/// The file behind a socket's descriptor.
pub struct SocketFile(pub Arc<dyn Socket>);

impl SocketFile {
    /// A description of a socket.
    #[must_use]
    pub fn open(socket: Arc<dyn Socket>, nonblock: bool, caller: &dyn Caller) -> OpenFile {
        let place = vfs::anon::sockfs().place("socket", FileType::Socket, 0o777, caller);
        let ino = place.inode().attr().map_or(0, |attr| attr.ino);
        socket.options().set_inode(ino, caller.creds().euid);
        let mut flags = OpenFlags::RDWR;
        flags.set(OpenFlags::NONBLOCK, nonblock);
        OpenFile::new(place, flags, Box::new(SocketFile(socket)))
    }
}

impl FileOps for SocketFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, io: &IoCx<'_>, dst: &mut dyn Sink) -> Result<usize, IoError> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        let limit = self.0.options().get().receive_timeout;
        timed(io, limit, || Ok(self.0.receive(io, dst, SendFlags::empty())?.len))
    }

    fn write(&self, io: &IoCx<'_>, src: &mut dyn Source) -> Result<usize, IoError> {
        let limit = self.0.options().get().send_timeout;
        timed(io, limit, || self.0.send(io, src, None, &mut Control::default(), SendFlags::empty()))
    }

    fn ioctl(&self, _file: &OpenFile, caller: &dyn Caller, cmd: u32, arg: u64) -> Result<u64, IoError> {
        use abi::raw::ioctl::{FIONREAD, TIOCOUTQ};
        const SIOCATMARK: u32 = 0x8905;
        let value = match cmd {
            FIONREAD if self.0.listens() => return Err(Errno::EINVAL.into()),
            FIONREAD => i32::try_from(self.0.unread()).unwrap_or(i32::MAX),
            TIOCOUTQ => i32::try_from(self.0.unsent()).unwrap_or(i32::MAX),
            SIOCATMARK => i32::from(self.0.at_mark()),
            _ => return crate::netdev::ioctl(&*self.0, caller, cmd, arg),
        };
        caller.copy_out(arg, &value.to_le_bytes())?;
        Ok(0)
    }

    fn readiness(&self) -> Events {
        self.0.readiness()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(self.0.queue())
    }

    fn check_flags(&self, _flags: OpenFlags) -> Result<(), Errno> {
        Ok(())
    }

    fn release(&self, _flags: OpenFlags) {
        self.0.closed();
    }
}
