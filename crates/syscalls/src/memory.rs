//! Memory (mmap(2), brk(2), mprotect(2) and their family).

use crate::args::{Arg, Args};
use crate::table::Entry;
use abi::Errno;
use abi::raw::general as c;
use kernel::{CurrentTask, MappedPath, SysResult};
use mm::{FileArgs, MmapArgs};
use std::sync::Arc;
use vfs::MountFlags;

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(9, "mmap", mmap, &[Arg::Ptr, Arg::Size, Arg::Flags(PROT), Arg::Flags(MAP), Arg::Fd, Arg::Hex]),
    Entry::new(10, "mprotect", mprotect, &[Arg::Ptr, Arg::Size, Arg::Flags(PROT)]),
    Entry::new(11, "munmap", munmap, &[Arg::Ptr, Arg::Size]),
    Entry::new(12, "brk", brk, &[Arg::Ptr]),
    Entry::new(25, "mremap", mremap, &[Arg::Ptr, Arg::Size, Arg::Size, Arg::Hex, Arg::Ptr]),
    Entry::new(26, "msync", msync, &[Arg::Ptr, Arg::Size, Arg::Hex]),
    Entry::new(27, "mincore", mincore, &[Arg::Ptr, Arg::Size, Arg::Ptr]),
    Entry::new(28, "madvise", madvise, &[Arg::Ptr, Arg::Size, Arg::Int]),
    Entry::new(149, "mlock", mlock, &[Arg::Ptr, Arg::Size]),
    Entry::new(150, "munlock", munlock, &[Arg::Ptr, Arg::Size]),
    Entry::new(151, "mlockall", mlockall, &[Arg::Hex]),
    Entry::new(152, "munlockall", munlockall, &[]),
    Entry::new(325, "mlock2", mlock2, &[Arg::Ptr, Arg::Size, Arg::Hex]),
];

const PROT: &[(u64, &str)] = &[(1, "PROT_READ"), (2, "PROT_WRITE"), (4, "PROT_EXEC")];
const MAP: &[(u64, &str)] = &[
    (3, "MAP_SHARED_VALIDATE"),
    (1, "MAP_SHARED"),
    (2, "MAP_PRIVATE"),
    (0x10, "MAP_FIXED"),
    (0x20, "MAP_ANONYMOUS"),
    (0x100, "MAP_GROWSDOWN"),
    (0x800, "MAP_DENYWRITE"),
    (0x4000, "MAP_NORESERVE"),
    (0x8000, "MAP_POPULATE"),
    (0x2_0000, "MAP_STACK"),
    (0x10_0000, "MAP_FIXED_NOREPLACE"),
];

fn mmap(t: &mut CurrentTask, a: Args) -> SysResult {
    let (len, flags, offset) = (a.u64(1), a.u32(3), a.u64(5));
    if !offset.is_multiple_of(abi::PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    let file = if flags & c::MAP_ANONYMOUS != 0 {
        None
    } else {
        let file = t.fds().get(a.i32(4))?;
        Some(FileArgs {
            // That it cannot be mapped at all is what Linux finds out last.
            object: file.ops().mappable().map_err(|errno| match errno {
                _ if len == 0 => Errno::EINVAL,
                Errno::ENODEV if !file.readable() => Errno::EACCES,
                other => other,
            })?,
            name: Arc::new(MappedPath { place: file.path().clone(), root: t.fs().root() }),
            readable: file.readable(),
            writable: file.writable(),
            executable: !file.path().mount.flags().contains(MountFlags::NOEXEC),
        })
    };
    Ok(t.mm().mmap(MmapArgs { addr: a.u64(0), len, prot: a.u32(2), flags, file, offset })?)
}

fn mprotect(t: &mut CurrentTask, a: Args) -> SysResult {
    t.mm().mprotect(a.u64(0), a.u64(1), a.u32(2))?;
    Ok(0)
}

fn munmap(t: &mut CurrentTask, a: Args) -> SysResult {
    t.mm().munmap(a.u64(0), a.u64(1))?;
    Ok(0)
}

fn brk(t: &mut CurrentTask, a: Args) -> SysResult {
    Ok(t.mm().brk(a.u64(0)))
}

fn mremap(t: &mut CurrentTask, a: Args) -> SysResult {
    Ok(t.mm().mremap(a.u64(0), a.u64(1), a.u64(2), a.u32(3), a.u64(4))?)
}

fn msync(t: &mut CurrentTask, a: Args) -> SysResult {
    t.mm().msync(a.u64(0), a.u64(1), a.u32(2))?;
    Ok(0)
}

/// Answers in parts, so that the size of a guest's range does not decide how much is allocated.
fn mincore(t: &mut CurrentTask, a: Args) -> SysResult {
    const PART: u64 = 4096;
    let (addr, len, vec) = (a.u64(0), a.u64(1), a.u64(2));
    if !addr.is_multiple_of(abi::PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    let pages = len.div_ceil(abi::PAGE_SIZE);
    let mut done = 0;
    while done < pages {
        let count = (pages - done).min(PART);
        let mut part = vec![0; count as usize];
        t.mm().mincore(addr.wrapping_add(done * abi::PAGE_SIZE), &mut part)?;
        t.mm().copy_out(vec.wrapping_add(done), &part)?;
        done += count;
        if t.work.get() & kernel::work::bits::EXIT != 0 {
            break;
        }
    }
    Ok(0)
}

fn madvise(t: &mut CurrentTask, a: Args) -> SysResult {
    t.mm().madvise(a.u64(0), a.u64(1), a.u32(2))?;
    Ok(0)
}

fn mlock(t: &mut CurrentTask, a: Args) -> SysResult {
    t.mm().mlock(a.u64(0), a.u64(1), 0)?;
    Ok(0)
}

fn mlock2(t: &mut CurrentTask, a: Args) -> SysResult {
    t.mm().mlock(a.u64(0), a.u64(1), a.u32(2))?;
    Ok(0)
}

fn munlock(t: &mut CurrentTask, a: Args) -> SysResult {
    t.mm().munlock(a.u64(0), a.u64(1))?;
    Ok(0)
}

fn mlockall(t: &mut CurrentTask, a: Args) -> SysResult {
    t.mm().mlockall(a.u32(0))?;
    Ok(0)
}

fn munlockall(t: &mut CurrentTask, _a: Args) -> SysResult {
    t.mm().munlockall();
    Ok(0)
}
