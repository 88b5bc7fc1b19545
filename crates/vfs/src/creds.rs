//! Credentials (credentials(7), capabilities(7)). Immutable: a change makes a new object.

use std::sync::Arc;

/// A capability, by its bit number in `linux/capability.h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Capability {
    Chown = 0,
    DacOverride = 1,
    DacReadSearch = 2,
    Fowner = 3,
    Fsetid = 4,
    Kill = 5,
    Setgid = 6,
    Setuid = 7,
    Setpcap = 8,
    LinuxImmutable = 9,
    NetBindService = 10,
    NetBroadcast = 11,
    NetAdmin = 12,
    NetRaw = 13,
    IpcLock = 14,
    IpcOwner = 15,
    SysModule = 16,
    SysRawio = 17,
    SysChroot = 18,
    SysPtrace = 19,
    SysPacct = 20,
    SysAdmin = 21,
    SysBoot = 22,
    SysNice = 23,
    SysResource = 24,
    SysTime = 25,
    SysTtyConfig = 26,
    Mknod = 27,
    Lease = 28,
    AuditWrite = 29,
    AuditControl = 30,
    Setfcap = 31,
    MacOverride = 32,
    MacAdmin = 33,
    Syslog = 34,
    WakeAlarm = 35,
    BlockSuspend = 36,
    AuditRead = 37,
    Perfmon = 38,
    Bpf = 39,
    CheckpointRestore = 40,
}

/// A set of capabilities as a bit mask.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// Every capability that Linux defines (`CAP_LAST_CAP` is 40).
    pub const ALL: Capabilities = Capabilities((1 << 41) - 1);
    /// None.
    pub const NONE: Capabilities = Capabilities(0);

    /// Whether `cap` is in the set.
    #[must_use]
    pub fn has(self, cap: Capability) -> bool {
        self.0 & (1 << (cap as u8)) != 0
    }
}

/// Who a task is.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Credentials {
    pub ruid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub rgid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    /// Supplementary groups, sorted.
    pub groups: Arc<[u32]>,
    pub permitted: Capabilities,
    pub effective: Capabilities,
    pub inheritable: Capabilities,
    pub bounding: Capabilities,
    pub ambient: Capabilities,
    /// `PR_SET_SECUREBITS`.
    pub securebits: u32,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
}

impl Credentials {
    /// Credentials of a fresh login as `uid` and `gid`; uid 0 has every capability, others none.
    #[must_use]
    pub fn new(uid: u32, gid: u32, groups: &[u32]) -> Credentials {
        let caps = if uid == 0 { Capabilities::ALL } else { Capabilities::NONE };
        let mut groups = groups.to_vec();
        groups.sort_unstable();
        groups.dedup();
        Credentials {
            ruid: uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            rgid: gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            groups: groups.into(),
            permitted: caps,
            effective: caps,
            inheritable: Capabilities::NONE,
            bounding: Capabilities::ALL,
            ambient: Capabilities::NONE,
            securebits: 0,
            no_new_privs: false,
        }
    }

    /// Whether `cap` is effective (`capable()`).
    #[must_use]
    pub fn capable(&self, cap: Capability) -> bool {
        self.effective.has(cap)
    }

    /// Whether `gid` is the file-system group or a supplementary one (`in_group_p()`).
    #[must_use]
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.binary_search(&gid).is_ok()
    }
}
