//! Who may do what with an object (sysvipc(7)).

use abi::Errno;
use abi::ipc::IpcPerm;
use vfs::{Capability, Credentials};

/// Who calls.
#[derive(Clone, Copy)]
pub struct Who<'a> {
    /// With these credentials.
    pub creds: &'a Credentials,
    /// The process.
    pub pid: i32,
}

/// Reading, for [`Perm::check`].
pub const READ: u32 = 0o444;
/// Writing.
pub const WRITE: u32 = 0o222;

/// Owner, creator and mode of an object.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Perm {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub mode: u32,
    pub seq: u16,
}

impl Perm {
    pub(crate) fn new(key: i32, seq: u16, flags: u32, who: Who<'_>) -> Perm {
        let (uid, gid) = (who.creds.euid, who.creds.egid);
        Perm { key, uid, gid, cuid: uid, cgid: gid, mode: flags & 0o777, seq }
    }

    /// Whether the bits of `wanted`, in whichever of its three places, are allowed.
    pub(crate) fn check(&self, who: Who<'_>, wanted: u32) -> Result<(), Errno> {
        let creds = who.creds;
        let wanted = wanted >> 6 | wanted >> 3 | wanted;
        let shift = if creds.euid == self.cuid || creds.euid == self.uid {
            6
        } else if in_group(creds, self.cgid) || in_group(creds, self.gid) {
            3
        } else {
            0
        };
        if wanted & !(self.mode >> shift) & 7 != 0 && !creds.capable(Capability::IpcOwner) {
            return Err(Errno::EACCES);
        }
        Ok(())
    }

    /// Whether it may be changed and removed.
    pub(crate) fn check_owner(&self, who: Who<'_>) -> Result<(), Errno> {
        let creds = who.creds;
        if creds.euid == self.cuid || creds.euid == self.uid || creds.capable(Capability::SysAdmin) {
            return Ok(());
        }
        Err(Errno::EPERM)
    }

    /// `IPC_SET`.
    pub(crate) fn set(&mut self, new: &IpcPerm) -> Result<(), Errno> {
        if new.uid == u32::MAX || new.gid == u32::MAX {
            return Err(Errno::EINVAL);
        }
        (self.uid, self.gid) = (new.uid, new.gid);
        self.mode = self.mode & !0o777 | new.mode & 0o777;
        Ok(())
    }

    pub(crate) fn encode(&self) -> IpcPerm {
        IpcPerm {
            key: self.key,
            uid: self.uid,
            gid: self.gid,
            cuid: self.cuid,
            cgid: self.cgid,
            mode: self.mode,
            seq: self.seq,
            ..IpcPerm::default()
        }
    }
}

fn in_group(creds: &Credentials, gid: u32) -> bool {
    creds.egid == gid || creds.in_group(gid)
}
