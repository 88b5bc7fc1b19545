//! Memory placement (set_mempolicy(2), mbind(2), move_pages(2)), on a machine of one node.

use crate::args::{Arg, Args};
use crate::peers::peer;
use crate::table::Entry;
use crate::user;
use abi::{Errno, PAGE_SIZE};
use kernel::work::bits;
use kernel::{CurrentTask, SysResult};
use vfs::Capability;

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(237, "mbind", mbind, &[Arg::Ptr, Arg::Size, Arg::Hex, Arg::Ptr, Arg::Size, Arg::Hex]),
    Entry::new(238, "set_mempolicy", set_mempolicy, &[Arg::Hex, Arg::Ptr, Arg::Size]),
    Entry::new(239, "get_mempolicy", get_mempolicy, &[Arg::Ptr, Arg::Ptr, Arg::Size, Arg::Ptr, Arg::Hex]),
    Entry::new(256, "migrate_pages", migrate_pages, &[Arg::Pid, Arg::Size, Arg::Ptr, Arg::Ptr]),
    Entry::new(279, "move_pages", move_pages, &[Arg::Pid, Arg::Size, Arg::Ptr, Arg::Ptr, Arg::Ptr, Arg::Hex]),
];

const DEFAULT: u32 = 0;
const PREFERRED: u32 = 1;
const LOCAL: u32 = 4;
const MODES: u32 = 7;
const RELATIVE_NODES: u32 = 1 << 14;
const STATIC_NODES: u32 = 1 << 15;

const F_NODE: u64 = 1;
const F_ADDR: u64 = 2;
const F_MEMS_ALLOWED: u64 = 4;

const MF_STRICT: u32 = 1;
const MF_MOVE: u32 = 2;
const MF_MOVE_ALL: u32 = 4;

/// Nodes that Linux has room for (`MAX_NUMNODES`).
const MAX_NODES: u64 = 1024;

/// A set of nodes: whether the one that exists is in it, and whether others are.
#[derive(Clone, Copy, Default)]
struct Nodes {
    first: bool,
    others: bool,
}

impl Nodes {
    fn is_empty(self) -> bool {
        !self.first && !self.others
    }

    /// Linux takes one bit less than it is told.
    fn read(t: &CurrentTask, addr: u64, bits: u64) -> Result<Nodes, Errno> {
        let bits = bits.wrapping_sub(1);
        if bits == 0 || addr == 0 {
            return Ok(Nodes::default());
        }
        if bits > PAGE_SIZE * 8 {
            return Err(Errno::EINVAL);
        }
        let words: Vec<u64> = t.mm().read_array(addr, bits.div_ceil(64) as usize)?;
        let mut nodes = Nodes::default();
        for (at, word) in (0u64..).zip(words) {
            let valid = bits - at * 64;
            let word = if valid < 64 { word & ((1 << valid) - 1) } else { word };
            if at * 64 >= MAX_NODES && word != 0 {
                return Err(Errno::EINVAL);
            }
            nodes.first |= at == 0 && word & 1 != 0;
            nodes.others |= word & !u64::from(at == 0) != 0;
        }
        Ok(nodes)
    }
}

/// Checks a policy; there is but one place that memory can come from, whatever it says.
fn check_policy(t: &CurrentTask, mode: u32, addr: u64, count: u64) -> Result<(), Errno> {
    let flags = mode & (STATIC_NODES | RELATIVE_NODES);
    let mode = mode & !flags;
    if mode >= MODES || flags == STATIC_NODES | RELATIVE_NODES {
        return Err(Errno::EINVAL);
    }
    let nodes = Nodes::read(t, addr, count)?;
    match mode {
        DEFAULT | LOCAL if !nodes.is_empty() || flags != 0 => Err(Errno::EINVAL),
        PREFERRED if nodes.is_empty() && flags != 0 => Err(Errno::EINVAL),
        DEFAULT | LOCAL => Ok(()),
        PREFERRED if nodes.is_empty() => Ok(()),
        _ if !nodes.first => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}

fn set_mempolicy(t: &mut CurrentTask, a: Args) -> SysResult {
    check_policy(t, a.u32(0), a.u64(1), a.u64(2))?;
    Ok(0)
}

/// All memory is placed by default; the node is always the first.
fn get_mempolicy(t: &mut CurrentTask, a: Args) -> SysResult {
    let (policy, mask, count, addr, flags) = (a.u64(0), a.u64(1), a.u64(2), a.u64(3), a.u64(4));
    if flags & !(F_NODE | F_ADDR | F_MEMS_ALLOWED) != 0 || (mask != 0 && count < 1) {
        return Err(Errno::EINVAL.into());
    }
    let allowed = flags & F_MEMS_ALLOWED != 0;
    if allowed && flags & (F_NODE | F_ADDR) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & F_ADDR != 0 {
        t.mm().mapping_at(addr).ok_or(Errno::EFAULT)?;
    } else if !allowed && (addr != 0 || flags & F_NODE != 0) {
        return Err(Errno::EINVAL.into());
    }
    user::put_if(t, policy, &DEFAULT)?;
    if mask != 0 {
        let bits = count.wrapping_sub(1).min(MAX_NODES);
        let mut nodes = vec![0u8; bits.div_ceil(64) as usize * 8];
        if let Some(first) = nodes.first_mut().filter(|_| allowed) {
            *first = 1;
        }
        t.mm().copy_out(mask, &nodes)?;
    }
    Ok(0)
}

fn mbind(t: &mut CurrentTask, a: Args) -> SysResult {
    let (addr, len, flags) = (a.u64(0), a.u64(1), a.u32(5));
    check_policy(t, a.u32(2), a.u64(3), a.u64(4))?;
    if flags & !(MF_STRICT | MF_MOVE | MF_MOVE_ALL) != 0 || addr % PAGE_SIZE != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & MF_MOVE_ALL != 0 && !t.creds().capable(Capability::SysNice) {
        return Err(Errno::EPERM.into());
    }
    let end = len.checked_next_multiple_of(PAGE_SIZE).and_then(|len| addr.checked_add(len)).ok_or(Errno::EINVAL)?;
    let mut at = addr;
    while at < end {
        at = t.mm().mapping_at(at).ok_or(Errno::EFAULT)?.range.end;
    }
    Ok(0)
}

fn migrate_pages(t: &mut CurrentTask, a: Args) -> SysResult {
    let (pid, count) = (a.i32(0), a.u64(1));
    Nodes::read(t, a.u64(2), count)?;
    let new = Nodes::read(t, a.u64(3), count)?;
    if pid != 0 {
        peer(t, pid)?;
    }
    if new.others && !t.creds().capable(Capability::SysNice) {
        return Err(Errno::EPERM.into());
    }
    if !new.first { Err(Errno::EINVAL.into()) } else { Ok(0) }
}

/// Says of each page that it is on the first node, or why not.
fn move_pages(t: &mut CurrentTask, a: Args) -> SysResult {
    let (pid, count, pages, nodes, status) = (a.i32(0), a.u64(1), a.u64(2), a.u64(3), a.u64(4));
    if a.u32(5) & !(MF_MOVE | MF_MOVE_ALL) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if a.u32(5) & MF_MOVE_ALL != 0 && !t.creds().capable(Capability::SysNice) {
        return Err(Errno::EPERM.into());
    }
    let memory = if pid == 0 { t.mm().clone() } else { peer(t, pid)?.mm().ok_or(Errno::ESRCH)? };
    for at in 0..count {
        if t.work.get() & bits::EXIT != 0 {
            break;
        }
        let page: u64 = user::get(t, pages.wrapping_add(at.wrapping_mul(8)))?;
        if nodes != 0 && user::get::<i32>(t, nodes.wrapping_add(at.wrapping_mul(4)))? != 0 {
            return Err(Errno::ENODEV.into());
        }
        let mut resident = [0u8];
        let state = match memory.mincore(page & !(PAGE_SIZE - 1), &mut resident) {
            Err(_) => -Errno::EFAULT.raw(),
            Ok(()) if resident == [0] => -Errno::ENOENT.raw(),
            Ok(()) => 0,
        };
        user::put(t, status.wrapping_add(at.wrapping_mul(4)), &state)?;
    }
    Ok(0)
}
