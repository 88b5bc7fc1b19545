//! System calls on sockets, by topic. What they share: finding the socket, its addresses, and waiting.

mod connect;
mod control;
mod create;
mod message;
mod options;
mod transfer;

use crate::table::Entry;
use crate::user;
use ::net::{Socket, SocketFile};
use abi::Errno;
use abi::signal::{SIGPIPE, SigInfo, code};
use kernel::signal::Target;
use kernel::{CurrentTask, Fd, SysErr};
use std::sync::Arc;
use std::time::Duration;
use vfs::wait::Events;
use vfs::{CallState, IoCx, IoError, OpenFile, OpenFlags};

/// Serve these calls.
pub const TABLES: &[&[Entry]] = &[connect::TABLE, create::TABLE, message::TABLE, options::TABLE, transfer::TABLE];

/// Longest address (`sizeof(struct sockaddr_storage)`).
const ADDRESS_MAX: usize = 128;

/// A socket and the description behind its descriptor.
struct Found {
    file: Arc<OpenFile>,
    socket: Arc<dyn Socket>,
}

impl Found {
    fn get(t: &CurrentTask, fd: Fd) -> Result<Found, Errno> {
        let file = t.fds().get(fd)?;
        let socket = file.ops_as::<SocketFile>().ok_or(Errno::ENOTSOCK)?.0.clone();
        Ok(Found { file, socket })
    }

    fn nonblock(&self) -> bool {
        self.file.flags().contains(OpenFlags::NONBLOCK)
    }

    /// Does what may have to wait.
    fn block<T>(
        &self,
        t: &CurrentTask,
        events: Events,
        nonblock: bool,
        limit: Option<Duration>,
        mut op: impl FnMut(&IoCx<'_>) -> Result<T, IoError>,
    ) -> Result<T, SysErr> {
        let call = CallState::default();
        let io = IoCx { caller: t, nonblock, sync: false, call: &call };
        t.block_in_call(Some(self.socket.queue()), events, nonblock, None, Some(&call), || {
            ::net::socket::timed(&io, limit, || op(&io))
        })
    }
}

/// Reads an address, which may be empty.
fn address_in(t: &CurrentTask, addr: u64, len: i32) -> Result<Vec<u8>, Errno> {
    let len = usize::try_from(len).ok().filter(|len| *len <= ADDRESS_MAX).ok_or(Errno::EINVAL)?;
    let mut address = vec![0; len];
    if len > 0 {
        t.mm().copy_in(addr, &mut address)?;
    }
    Ok(address)
}

/// Writes an address, cut to the length that the caller has room for; the length told is the full one.
fn address_out(t: &CurrentTask, address: &[u8], addr: u64, len_addr: u64) -> Result<(), Errno> {
    let room: i32 = user::get(t, len_addr)?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    t.mm().copy_out(addr, address.get(..room.min(address.len())).unwrap_or_default())?;
    user::put(t, len_addr, &(address.len() as u32))
}

/// The signal that a failed write to a stream causes.
fn broken_pipe(t: &CurrentTask) {
    let info = SigInfo::from_process(SIGPIPE, code::SI_USER, t.group.tgid, t.creds().ruid);
    // A full queue loses it, as in Linux.
    let _ = t.kernel.send_signal(&t.group, Target::Thread(t.tid()), info);
}
