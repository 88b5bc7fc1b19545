//! What all socket families have in common, and the file behind a socket's descriptor.

use crate::options::Options;
use abi::Errno;
use abi::raw::net as n;
use bitflags::bitflags;
use host::io::{Sink, Source};
use kernel::CurrentTask;
use std::any::Any;
use std::sync::Arc;
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
#[derive(Clone, Default)]
pub struct Control {
    /// `SCM_RIGHTS`.
    pub files: Vec<Arc<OpenFile>>,
    /// `SCM_CREDENTIALS`: the sender's, whether or not it said so.
    pub credentials: Option<Ucred>,
}

impl Control {
    /// Whether pieces of a stream with these may be read as one.
    #[must_use]
    pub fn same_sender(&self, next: &Control) -> bool {
        next.files.is_empty() && self.credentials == next.credentials
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
    fn bind(&self, task: &CurrentTask, address: &[u8]) -> Result<(), Errno>;

    /// listen(2).
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `EINVAL`.
    fn listen(&self, task: &CurrentTask, backlog: i32) -> Result<(), Errno> {
        let _ = (task, backlog);
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
    fn connect(&self, task: &CurrentTask, address: &[u8]) -> Result<(), IoError>;

    /// What a connect(2) that does not wait answers when it would have to.
    fn connect_pending(&self) -> Errno {
        Errno::EAGAIN
    }

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

    /// ioctl(2), beyond `FIONREAD`.
    ///
    /// # Errors
    /// `ENOTTY`.
    fn ioctl(&self, caller: &dyn Caller, cmd: u32, arg: u64) -> Result<u64, IoError> {
        let _ = (caller, cmd, arg);
        Err(Errno::ENOTTY.into())
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

/// The file behind a socket's descriptor.
pub struct SocketFile(pub Arc<dyn Socket>);

impl SocketFile {
    /// A description of a socket.
    #[must_use]
    pub fn open(socket: Arc<dyn Socket>, nonblock: bool, caller: &dyn Caller) -> OpenFile {
        let place = vfs::anon::sockfs().place("socket", FileType::Socket, 0o777, caller);
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
        Ok(self.0.receive(io, dst, SendFlags::empty())?.len)
    }

    fn write(&self, io: &IoCx<'_>, src: &mut dyn Source) -> Result<usize, IoError> {
        self.0.send(io, src, None, &mut Control::default(), SendFlags::empty())
    }

    fn ioctl(&self, _file: &OpenFile, caller: &dyn Caller, cmd: u32, arg: u64) -> Result<u64, IoError> {
        use abi::raw::ioctl::FIONREAD;
        const SIOCATMARK: u32 = 0x8905;
        match cmd {
            FIONREAD => {
                let count = i32::try_from(self.0.unread()).unwrap_or(i32::MAX);
                caller.copy_out(arg, &count.to_le_bytes())?;
                Ok(0)
            }
            SIOCATMARK => {
                caller.copy_out(arg, &0i32.to_le_bytes())?;
                Ok(0)
            }
            _ => self.0.ioctl(caller, cmd, arg),
        }
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
