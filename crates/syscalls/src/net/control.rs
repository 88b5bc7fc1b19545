//! Control messages (cmsg(3)): parsing those that are sent, laying out those that are received.

use ::net::{Control, Namespace, Received, Socket, Ucred};
use abi::Errno;
use abi::raw::general as c;
use abi::raw::net as n;
use kernel::CurrentTask;
use std::sync::Arc;
use vfs::{Capability, OpenFile};

/// `sizeof(struct cmsghdr)`, and what the parts are aligned to.
const HEADER: usize = 16;
const ALIGN: usize = 8;
/// Linux's `SCM_MAX_FD`.
const FILES_MAX: usize = 253;
/// `net.core.optmem_max`.
const CONTROL_MAX: u64 = 131_072;
const SCM_RIGHTS: u32 = 1;
const SCM_CREDENTIALS: u32 = 2;
const SCM_TIMESTAMP: u32 = 29;
/// Who sent, when that is not known (`overflowuid`).
const NOBODY: u32 = 65534;

/// Reads the control messages of a sendmsg(2).
pub(super) fn read(t: &CurrentTask, socket: &dyn Socket, addr: u64, len: u64) -> Result<Control, Errno> {
    let mut control = Control::default();
    if addr == 0 || len == 0 {
        return Ok(control);
    }
    if len > CONTROL_MAX {
        return Err(Errno::ENOBUFS);
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| Errno::ENOBUFS)?];
    t.mm().copy_in(addr, &mut bytes)?;
    let mut rest = bytes.as_slice();
    while rest.len() >= HEADER {
        let word = |at: usize| rest.get(at..at + 4).and_then(|w| w.first_chunk()).map_or(0, |w| u32::from_le_bytes(*w));
        let len = u64::from(word(0)) | u64::from(word(4)) << 32;
        let (level, kind) = (word(8), word(12));
        let len = usize::try_from(len).ok().filter(|len| (HEADER..=rest.len()).contains(len)).ok_or(Errno::EINVAL)?;
        let data = rest.get(HEADER..len).unwrap_or_default();
        if level == n::SOL_SOCKET {
            one(t, socket, kind, data, &mut control)?;
        } else {
            socket.check_ancillary(level, kind)?;
        }
        rest = rest.get(len.next_multiple_of(ALIGN)..).unwrap_or_default();
    }
    if !control.files.is_empty() {
        let creds = t.creds();
        let free = creds.capable(Capability::SysResource) || creds.capable(Capability::SysAdmin);
        let limit = if free { u64::MAX } else { t.group.limit(c::RLIMIT_NOFILE) };
        let space = Namespace::of(&t.kernel);
        control.flight = Some(space.flights.send(&control.files, creds.ruid, limit)?);
    }
    Ok(control)
}

fn one(t: &CurrentTask, socket: &dyn Socket, kind: u32, data: &[u8], control: &mut Control) -> Result<(), Errno> {
    let local = socket.family() == n::AF_UNIX;
    match kind {
        SCM_RIGHTS if local => {
            let (fds, _) = data.as_chunks::<4>();
            if fds.len() + control.files.len() > FILES_MAX {
                return Err(Errno::EINVAL);
            }
            for fd in fds {
                control.files.push(t.fds().get_any(i32::from_le_bytes(*fd))?);
            }
            Ok(())
        }
        SCM_CREDENTIALS if local => {
            let data: &[u8; 12] = data.try_into().map_err(|_| Errno::EINVAL)?;
            let (words, _) = data.as_chunks::<4>();
            let word = |at: usize| words.get(at).map_or(0, |w| u32::from_le_bytes(*w));
            let said = Ucred { pid: word(0) as i32, uid: word(1), gid: word(2) };
            control.credentials = Some(check_credentials(t, said)?);
            Ok(())
        }
        SCM_RIGHTS | SCM_CREDENTIALS if socket.family() == n::AF_NETLINK => Ok(()),
        // Linux's Internet sockets overlook these two.
        SCM_RIGHTS | SCM_CREDENTIALS => Ok(()),
        n::SO_MARK if !local => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

/// Whether a task may say that these are its ids.
fn check_credentials(t: &CurrentTask, said: Ucred) -> Result<Ucred, Errno> {
    let creds = t.creds();
    let pid = said.pid == t.group.tgid || creds.capable(Capability::SysAdmin);
    let uid = [creds.ruid, creds.euid, creds.suid].contains(&said.uid) || creds.capable(Capability::Setuid);
    let gid = [creds.rgid, creds.egid, creds.sgid].contains(&said.gid) || creds.capable(Capability::Setgid);
    if !(pid && uid && gid) {
        return Err(Errno::EPERM);
    }
    let exists = said.pid == t.group.tgid || t.kernel.tree.lock().processes.contains_key(&said.pid);
    if exists { Ok(said) } else { Err(Errno::ESRCH) }
}

/// Where the control messages of a recvmsg(2) go.
pub(super) struct Writer<'a> {
    task: &'a CurrentTask,
    addr: u64,
    left: u64,
    /// Bytes written.
    pub done: u64,
    /// Whether something had no room (`MSG_CTRUNC`).
    pub cut: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(task: &'a CurrentTask, addr: u64, len: u64) -> Writer<'a> {
        Writer { task, addr, left: if addr == 0 { 0 } else { len }, done: 0, cut: false }
    }

    /// Writes one message, cut to what there is room for.
    fn put(&mut self, level: u32, kind: u32, data: &[u8]) -> Result<(), Errno> {
        if self.left < HEADER as u64 {
            self.cut = true;
            return Ok(());
        }
        let whole = HEADER + data.len();
        let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(whole);
        self.cut |= len < whole;
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(&(len as u64).to_le_bytes());
        bytes.extend_from_slice(&level.to_le_bytes());
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(data.get(..len - HEADER).unwrap_or_default());
        self.task.mm().copy_out(self.addr, &bytes)?;
        self.advance(whole);
        Ok(())
    }

    fn advance(&mut self, len: usize) {
        let step = (len.next_multiple_of(ALIGN) as u64).min(self.left);
        self.addr = self.addr.wrapping_add(step);
        self.left -= step;
        self.done += step;
    }

    /// Writes what came with something received; its descriptions become descriptors.
    pub(super) fn received(&mut self, socket: &dyn Socket, got: &mut Received, cloexec: bool) -> Result<(), Errno> {
        let options = socket.options().get();
        if options.timestamp {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let time = [now.as_secs(), u64::from(now.subsec_micros())];
            self.put(n::SOL_SOCKET, SCM_TIMESTAMP, &time.map(u64::to_le_bytes).concat())?;
        }
        for (level, kind, data) in socket.ancillary(got) {
            self.put(level, kind, &data)?;
        }
        if options.pass_credentials {
            let unknown = Ucred { pid: 0, uid: NOBODY, gid: NOBODY };
            let from = got.control.credentials.unwrap_or(unknown);
            let words = [from.pid as u32, from.uid, from.gid].map(u32::to_le_bytes).concat();
            self.put(n::SOL_SOCKET, SCM_CREDENTIALS, &words)?;
        }
        let files = std::mem::take(&mut got.control.files);
        if files.is_empty() { Ok(()) } else { self.install(files, cloexec) }
    }

    /// Installs as many as there is room for; the others are closed.
    fn install(&mut self, files: Vec<Arc<OpenFile>>, cloexec: bool) -> Result<(), Errno> {
        let count = files.len();
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).saturating_sub(HEADER) / 4;
        let limit = self.task.group.limit(c::RLIMIT_NOFILE);
        let mut fds = Vec::new();
        for file in files.into_iter().take(room) {
            match self.task.fds().add(file, cloexec, 0, limit) {
                Ok(fd) => fds.extend_from_slice(&fd.to_le_bytes()),
                Err(_) => break,
            }
        }
        let cut = fds.len() / 4 < count;
        if !fds.is_empty() {
            self.put(n::SOL_SOCKET, SCM_RIGHTS, &fds)?;
        }
        self.cut |= cut;
        Ok(())
    }
}
