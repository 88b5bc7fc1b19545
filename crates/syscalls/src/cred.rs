//! User and group ids, capabilities (credentials(7), capabilities(7)).

use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use abi::Errno;
use kernel::{CurrentTask, SysResult};
use vfs::{Capabilities, Capability, Credentials};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(102, "getuid", |t, _| Ok(t.creds().ruid.into()), &[]),
    Entry::new(104, "getgid", |t, _| Ok(t.creds().rgid.into()), &[]),
    Entry::new(105, "setuid", setuid, &[Arg::Int]),
    Entry::new(106, "setgid", setgid, &[Arg::Int]),
    Entry::new(107, "geteuid", |t, _| Ok(t.creds().euid.into()), &[]),
    Entry::new(108, "getegid", |t, _| Ok(t.creds().egid.into()), &[]),
    Entry::new(113, "setreuid", setreuid, &[Arg::Int, Arg::Int]),
    Entry::new(114, "setregid", setregid, &[Arg::Int, Arg::Int]),
    Entry::new(115, "getgroups", getgroups, &[Arg::Int, Arg::Ptr]),
    Entry::new(116, "setgroups", setgroups, &[Arg::Int, Arg::Ptr]),
    Entry::new(117, "setresuid", setresuid, &[Arg::Int, Arg::Int, Arg::Int]),
    Entry::new(118, "getresuid", getresuid, &[Arg::Ptr, Arg::Ptr, Arg::Ptr]),
    Entry::new(119, "setresgid", setresgid, &[Arg::Int, Arg::Int, Arg::Int]),
    Entry::new(120, "getresgid", getresgid, &[Arg::Ptr, Arg::Ptr, Arg::Ptr]),
    Entry::new(122, "setfsuid", setfsuid, &[Arg::Int]),
    Entry::new(123, "setfsgid", setfsgid, &[Arg::Int]),
    Entry::new(125, "capget", capget, &[Arg::Ptr, Arg::Ptr]),
    Entry::new(126, "capset", capset, &[Arg::Ptr, Arg::Ptr]),
];

/// "Leave as it is."
const KEEP: u32 = u32::MAX;
const GROUPS_MAX: u32 = 65_536;
const SECURE_NO_SETUID_FIXUP: u32 = 4;
const SECURE_KEEP_CAPS: u32 = 0x10;

/// Sets new ids with what follows for capabilities (`cap_emulate_setxuid`).
fn set_ids(t: &mut CurrentTask, mut new: Credentials) -> SysResult {
    let old = t.creds();
    if old.securebits & SECURE_NO_SETUID_FIXUP == 0 {
        let had_root = old.ruid == 0 || old.euid == 0 || old.suid == 0;
        let has_root = new.ruid == 0 || new.euid == 0 || new.suid == 0;
        if had_root && !has_root {
            if old.securebits & SECURE_KEEP_CAPS == 0 {
                new.permitted = Capabilities::NONE;
                new.effective = Capabilities::NONE;
            }
            new.ambient = Capabilities::NONE;
        }
        if old.euid == 0 && new.euid != 0 {
            new.effective = Capabilities::NONE;
        } else if old.euid != 0 && new.euid == 0 {
            new.effective = new.permitted;
        }
        fix_fsuid(old.fsuid, &mut new);
    }
    t.set_creds(new);
    Ok(0)
}

/// The capabilities that concern files follow the file-system uid.
fn fix_fsuid(old: u32, new: &mut Credentials) {
    // CAP_CHOWN to CAP_FSETID, CAP_LINUX_IMMUTABLE, CAP_MKNOD, CAP_MAC_OVERRIDE.
    const FS_CAPS: u64 = 0x1f | 1 << 9 | 1 << 27 | 1 << 32;
    if old == 0 && new.fsuid != 0 {
        new.effective.0 &= !FS_CAPS;
    } else if old != 0 && new.fsuid == 0 {
        new.effective.0 |= new.permitted.0 & FS_CAPS;
    }
}

fn setuid(t: &mut CurrentTask, a: Args) -> SysResult {
    let uid = a.u32(0);
    let mut new = Credentials::clone(t.creds());
    if uid == KEEP {
        return Err(Errno::EINVAL.into());
    }
    if new.capable(Capability::Setuid) {
        (new.ruid, new.suid) = (uid, uid);
    } else if uid != new.ruid && uid != new.suid {
        return Err(Errno::EPERM.into());
    }
    (new.euid, new.fsuid) = (uid, uid);
    set_ids(t, new)
}

fn setgid(t: &mut CurrentTask, a: Args) -> SysResult {
    let gid = a.u32(0);
    let mut new = Credentials::clone(t.creds());
    if gid == KEEP {
        return Err(Errno::EINVAL.into());
    }
    if new.capable(Capability::Setgid) {
        (new.rgid, new.sgid) = (gid, gid);
    } else if gid != new.rgid && gid != new.sgid {
        return Err(Errno::EPERM.into());
    }
    (new.egid, new.fsgid) = (gid, gid);
    t.set_creds(new);
    Ok(0)
}

fn setreuid(t: &mut CurrentTask, a: Args) -> SysResult {
    let (ruid, euid) = (a.u32(0), a.u32(1));
    let old = t.creds().clone();
    let mut new = Credentials::clone(&old);
    let privileged = old.capable(Capability::Setuid);
    if ruid != KEEP {
        if !privileged && ruid != old.ruid && ruid != old.euid {
            return Err(Errno::EPERM.into());
        }
        new.ruid = ruid;
    }
    if euid != KEEP {
        if !privileged && ![old.ruid, old.euid, old.suid].contains(&euid) {
            return Err(Errno::EPERM.into());
        }
        new.euid = euid;
    }
    if ruid != KEEP || (euid != KEEP && euid != old.ruid) {
        new.suid = new.euid;
    }
    new.fsuid = new.euid;
    set_ids(t, new)
}

fn setregid(t: &mut CurrentTask, a: Args) -> SysResult {
    let (rgid, egid) = (a.u32(0), a.u32(1));
    let old = t.creds().clone();
    let mut new = Credentials::clone(&old);
    let privileged = old.capable(Capability::Setgid);
    if rgid != KEEP {
        if !privileged && rgid != old.rgid && rgid != old.egid {
            return Err(Errno::EPERM.into());
        }
        new.rgid = rgid;
    }
    if egid != KEEP {
        if !privileged && ![old.rgid, old.egid, old.sgid].contains(&egid) {
            return Err(Errno::EPERM.into());
        }
        new.egid = egid;
    }
    if rgid != KEEP || (egid != KEEP && egid != old.rgid) {
        new.sgid = new.egid;
    }
    new.fsgid = new.egid;
    t.set_creds(new);
    Ok(0)
}

fn setresuid(t: &mut CurrentTask, a: Args) -> SysResult {
    let old = t.creds().clone();
    let mut new = Credentials::clone(&old);
    let current = [old.ruid, old.euid, old.suid];
    let wanted = [a.u32(0), a.u32(1), a.u32(2)];
    if !old.capable(Capability::Setuid) && wanted.iter().any(|u| *u != KEEP && !current.contains(u)) {
        return Err(Errno::EPERM.into());
    }
    for (to, from) in [&mut new.ruid, &mut new.euid, &mut new.suid].into_iter().zip(wanted) {
        if from != KEEP {
            *to = from;
        }
    }
    new.fsuid = new.euid;
    set_ids(t, new)
}

fn setresgid(t: &mut CurrentTask, a: Args) -> SysResult {
    let old = t.creds().clone();
    let mut new = Credentials::clone(&old);
    let current = [old.rgid, old.egid, old.sgid];
    let wanted = [a.u32(0), a.u32(1), a.u32(2)];
    if !old.capable(Capability::Setgid) && wanted.iter().any(|g| *g != KEEP && !current.contains(g)) {
        return Err(Errno::EPERM.into());
    }
    for (to, from) in [&mut new.rgid, &mut new.egid, &mut new.sgid].into_iter().zip(wanted) {
        if from != KEEP {
            *to = from;
        }
    }
    new.fsgid = new.egid;
    t.set_creds(new);
    Ok(0)
}

fn put_three(t: &CurrentTask, a: Args, ids: [u32; 3]) -> SysResult {
    for (at, id) in ids.iter().enumerate() {
        user::put(t, a.u64(at), id)?;
    }
    Ok(0)
}

fn getresuid(t: &mut CurrentTask, a: Args) -> SysResult {
    put_three(t, a, [t.creds().ruid, t.creds().euid, t.creds().suid])
}

fn getresgid(t: &mut CurrentTask, a: Args) -> SysResult {
    put_three(t, a, [t.creds().rgid, t.creds().egid, t.creds().sgid])
}

fn setfsuid(t: &mut CurrentTask, a: Args) -> SysResult {
    let old = t.creds().clone();
    let uid = a.u32(0);
    let allowed = [old.ruid, old.euid, old.suid, old.fsuid].contains(&uid) || old.capable(Capability::Setuid);
    if allowed && uid != KEEP && uid != old.fsuid {
        let mut new = Credentials { fsuid: uid, ..Credentials::clone(&old) };
        fix_fsuid(old.fsuid, &mut new);
        t.set_creds(new);
    }
    Ok(old.fsuid.into())
}

fn setfsgid(t: &mut CurrentTask, a: Args) -> SysResult {
    let old = t.creds().clone();
    let gid = a.u32(0);
    let allowed = [old.rgid, old.egid, old.sgid, old.fsgid].contains(&gid) || old.capable(Capability::Setgid);
    if allowed && gid != KEEP && gid != old.fsgid {
        t.set_creds(Credentials { fsgid: gid, ..Credentials::clone(&old) });
    }
    Ok(old.fsgid.into())
}

fn getgroups(t: &mut CurrentTask, a: Args) -> SysResult {
    let groups = t.creds().groups.clone();
    let size = a.i32(0);
    let room = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    if room != 0 {
        if room < groups.len() {
            return Err(Errno::EINVAL.into());
        }
        t.mm().copy_out(a.u64(1), groups.as_bytes())?;
    }
    Ok(groups.len() as u64)
}

fn setgroups(t: &mut CurrentTask, a: Args) -> SysResult {
    if !t.creds().capable(Capability::Setgid) {
        return Err(Errno::EPERM.into());
    }
    let count = a.u32(0);
    if count > GROUPS_MAX {
        return Err(Errno::EINVAL.into());
    }
    let mut groups = vec![0u32; count as usize];
    t.mm().copy_in(a.u64(1), groups.as_mut_bytes())?;
    groups.sort_unstable();
    t.set_creds(Credentials { groups: groups.into(), ..Credentials::clone(t.creds()) });
    Ok(0)
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct CapHeader {
    version: u32,
    pid: i32,
}

/// `_LINUX_CAPABILITY_VERSION_1`, with one word a set.
const VERSION_1: u32 = 0x1998_0330;
const VERSION_2: u32 = 0x2007_1026;
const VERSION_3: u32 = 0x2008_0522;

/// How many words a set has in this version; tells the caller the newest if it is unknown.
fn cap_words(t: &CurrentTask, addr: u64) -> Result<(CapHeader, usize), Errno> {
    let mut header: CapHeader = user::get(t, addr)?;
    match header.version {
        VERSION_1 => Ok((header, 1)),
        VERSION_2 | VERSION_3 => Ok((header, 2)),
        _ => {
            header.version = VERSION_3;
            user::put(t, addr, &header)?;
            Err(Errno::EINVAL)
        }
    }
}

fn capget(t: &mut CurrentTask, a: Args) -> SysResult {
    let (header, words) = match cap_words(t, a.u64(0)) {
        // Without data this only asks for the version.
        Err(Errno::EINVAL) if a.u64(1) == 0 => return Ok(0),
        other => other?,
    };
    if header.pid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let creds = match header.pid {
        0 => t.creds().clone(),
        pid => t.kernel.tree.task(pid).ok_or(Errno::ESRCH)?.creds(),
    };
    if a.u64(1) == 0 {
        return Ok(0);
    }
    for word in 0..words {
        let part = |set: Capabilities| (set.0 >> (32 * word)) as u32;
        let data = [part(creds.effective), part(creds.permitted), part(creds.inheritable)];
        user::put(t, a.u64(1).wrapping_add(12 * word as u64), &data)?;
    }
    Ok(0)
}

fn capset(t: &mut CurrentTask, a: Args) -> SysResult {
    let (header, words) = cap_words(t, a.u64(0))?;
    if header.pid != 0 && header.pid != t.tid() {
        return Err(Errno::EPERM.into());
    }
    let mut sets = [0u64; 3];
    for word in 0..words {
        let data: [u32; 3] = user::get(t, a.u64(1).wrapping_add(12 * word as u64))?;
        for (set, part) in sets.iter_mut().zip(data) {
            *set |= u64::from(part) << (32 * word);
        }
    }
    let [effective, permitted, inheritable] = sets.map(|s| Capabilities(s & Capabilities::ALL.0));
    let old = t.creds().clone();
    let within = |set: Capabilities, of: u64| set.0 & !of == 0;
    let inheritable_ok = old.capable(Capability::Setpcap) || within(inheritable, old.inheritable.0 | old.permitted.0);
    if !inheritable_ok
        || !within(inheritable, old.inheritable.0 | old.bounding.0)
        || !within(permitted, old.permitted.0)
        || !within(effective, permitted.0)
    {
        return Err(Errno::EPERM.into());
    }
    let ambient = Capabilities(old.ambient.0 & permitted.0 & inheritable.0);
    t.set_creds(Credentials { effective, permitted, inheritable, ambient, ..Credentials::clone(&old) });
    Ok(0)
}
