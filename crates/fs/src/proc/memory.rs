//! The memory of a process: `maps`, `smaps`, `cmdline`, `environ`, `auxv`, `mem`.

use super::target::{Target, View};
use abi::Errno;
use host::io::{Sink, Source};
use mm::{MappingInfo, MemoryManager, Prot, VmaFlags};
use std::any::Any;
use std::fmt::Write;
use std::ops::Range;
use std::sync::{Arc, Weak};
use vfs::{FileOps, IoCx, IoError, WriteAt, Written};

/// Most bytes of arguments or environment that are shown; execve(2) allows less.
const STRINGS_MAX: u64 = 8 << 20;

/// Most bytes that one call moves through `mem`.
const TRANSFER_MAX: usize = 1 << 20;

/// Where names start in a line of `maps`.
const NAME_COLUMN: usize = 73;

fn memory(view: &View) -> Option<Arc<MemoryManager>> {
    view.task.as_ref()?.mm()
}

/// As much of a range as can be read.
fn copy(mm: &MemoryManager, range: &Range<u64>) -> Vec<u8> {
    let len = range.end.saturating_sub(range.start).min(STRINGS_MAX);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    if let Err(fault) = mm.copy_in_forced(range.start, &mut bytes) {
        bytes.truncate(fault.done);
    }
    bytes
}

/// The argument strings. A program that overwrote the end of them with a longer title has that shown, up to its end in
/// the environment.
pub(super) fn cmdline(view: &View) -> Result<Vec<u8>, Errno> {
    let Some(mm) = memory(view) else { return Ok(Vec::new()) };
    let program = mm.program();
    let (args, env) = (program.args, program.env);
    let bytes = copy(&mm, &args);
    if bytes.last().is_none_or(|last| *last == 0) || env.start != args.end || env.end < env.start {
        return Ok(bytes);
    }
    let mut title = copy(&mm, &(args.start..env.end));
    if let Some(end) = title.iter().position(|b| *b == 0) {
        title.truncate(end + 1);
    }
    Ok(title)
}

pub(super) fn environ(view: &View) -> Result<Vec<u8>, Errno> {
    Ok(memory(view).map_or_else(Vec::new, |mm| copy(&mm, &mm.program().env)))
}

pub(super) fn auxv(view: &View) -> Result<Vec<u8>, Errno> {
    Ok(memory(view).map_or_else(Vec::new, |mm| mm.program().auxv))
}

fn header(map: &MappingInfo, out: &mut Vec<u8>) {
    let bit = |prot, letter| if map.prot.contains(prot) { letter } else { '-' };
    let shared = if map.flags.contains(VmaFlags::SHARED) { 's' } else { 'p' };
    let id = map.name.as_ref().and_then(|name| name.id()).unwrap_or(map.id);
    let line = format!(
        "{:08x}-{:08x} {}{}{}{shared} {:08x} {:02x}:{:02x} {} ",
        map.range.start,
        map.range.end,
        bit(Prot::READ, 'r'),
        bit(Prot::WRITE, 'w'),
        bit(Prot::EXEC, 'x'),
        map.offset,
        id.dev_major,
        id.dev_minor,
        id.ino
    );
    let name = match (&map.name, map.special) {
        (Some(name), _) => name.name(),
        (None, Some(special)) => special.as_bytes().to_vec(),
        (None, None) => Vec::new(),
    };
    out.extend_from_slice(line.as_bytes());
    if !name.is_empty() {
        out.extend(std::iter::repeat_n(b' ', NAME_COLUMN.saturating_sub(line.len())));
        for byte in name {
            if byte == b'\n' { out.extend_from_slice(b"\\012") } else { out.push(byte) }
        }
    }
    out.push(b'\n');
}

pub(super) fn maps(view: &View) -> Result<Vec<u8>, Errno> {
    let mut out = Vec::new();
    for map in memory(view).map_or_else(Vec::new, |mm| mm.mappings()) {
        header(&map, &mut out);
    }
    // The platform's, above all others.
    if let Some(vdso) = view.kernel.platform.vdso().filter(|_| !out.is_empty()) {
        let line = format!("{:08x}-{:08x} r-xp 00000000 00:00 0 ", vdso.start, vdso.end);
        out.extend_from_slice(format!("{line:NAME_COLUMN$}[vdso]\n").as_bytes());
    }
    Ok(out)
}

/// Sizes of what has memory, in bytes.
#[derive(Default)]
struct Usage {
    anon: u64,
    file: u64,
    locked: u64,
}

impl Usage {
    fn add(&mut self, map: &MappingInfo) {
        self.anon += map.resident.anon;
        self.file += map.resident.file;
        if map.flags.contains(VmaFlags::LOCKED) {
            self.locked += map.resident.anon + map.resident.file;
        }
    }

    /// The lines that `smaps` and `smaps_rollup` have in common. All memory counts as this process's own.
    fn show(&self, rollup: bool, out: &mut String) {
        let kb = |bytes: u64| bytes >> 10;
        let (rss, anon, file) = (kb(self.anon + self.file), kb(self.anon), kb(self.file));
        let mut line = |name: &str, value: u64| {
            let _ = writeln!(out, "{:<16}{value:>8} kB", format!("{name}:"));
        };
        line("Rss", rss);
        line("Pss", rss);
        line("Pss_Dirty", anon);
        if rollup {
            line("Pss_Anon", anon);
            line("Pss_File", file);
            line("Pss_Shmem", 0);
        }
        line("Shared_Clean", 0);
        line("Shared_Dirty", 0);
        line("Private_Clean", file);
        line("Private_Dirty", anon);
        line("Referenced", rss);
        line("Anonymous", anon);
        for name in
            ["KSM", "LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb", "Private_Hugetlb"]
        {
            line(name, 0);
        }
        line("Swap", 0);
        line("SwapPss", 0);
        line("Locked", kb(self.locked));
    }
}

fn flags(map: &MappingInfo) -> String {
    let prot = [(map.prot, Prot::READ, "rd"), (map.prot, Prot::WRITE, "wr"), (map.prot, Prot::EXEC, "ex")];
    let may = [(map.may, Prot::READ, "mr"), (map.may, Prot::WRITE, "mw"), (map.may, Prot::EXEC, "me")];
    let rest = [
        (VmaFlags::GROWSDOWN, "gd"),
        (VmaFlags::LOCKED, "lo"),
        (VmaFlags::SEQUENTIAL, "sr"),
        (VmaFlags::RANDOM, "rr"),
        (VmaFlags::DONTFORK, "dc"),
        (VmaFlags::NORESERVE, "nr"),
        (VmaFlags::WIPEONFORK, "wf"),
        (VmaFlags::DONTDUMP, "dd"),
        (VmaFlags::HUGEPAGE, "hg"),
        (VmaFlags::NOHUGEPAGE, "nh"),
        (VmaFlags::MERGEABLE, "mg"),
    ];
    let mut text = String::from("VmFlags:");
    let mut add = |name: &str| {
        text.push(' ');
        text.push_str(name);
    };
    prot.iter().filter(|(have, bit, _)| have.contains(*bit)).for_each(|(.., name)| add(name));
    if map.flags.contains(VmaFlags::SHARED) {
        add("sh");
    }
    may.iter().filter(|(have, bit, _)| have.contains(*bit)).for_each(|(.., name)| add(name));
    if map.flags.contains(VmaFlags::SHARED) {
        add("ms");
    }
    rest.iter().filter(|(bit, _)| map.flags.contains(*bit)).for_each(|(_, name)| add(name));
    text.push_str(" \n");
    text
}

pub(super) fn smaps(view: &View) -> Result<Vec<u8>, Errno> {
    let mut out = Vec::new();
    for map in memory(view).map_or_else(Vec::new, |mm| mm.mappings()) {
        header(&map, &mut out);
        let mut text = String::new();
        let size = (map.range.end - map.range.start) >> 10;
        let _ =
            writeln!(text, "Size:           {size:>8} kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB");
        let mut usage = Usage::default();
        usage.add(&map);
        usage.show(false, &mut text);
        text.push_str("THPeligible:           0\nProtectionKey:         0\n");
        text.push_str(&flags(&map));
        out.extend_from_slice(text.as_bytes());
    }
    Ok(out)
}

pub(super) fn smaps_rollup(view: &View) -> Result<Vec<u8>, Errno> {
    let mappings = memory(view).ok_or(Errno::ESRCH)?.mappings();
    let mut usage = Usage::default();
    mappings.iter().for_each(|map| usage.add(map));
    let start = mappings.first().map_or(0, |map| map.range.start);
    let end = mappings.last().map_or(0, |map| map.range.end);
    let mut text = format!("{start:08x}-{end:08x} ---p 00000000 00:00 0 ");
    while text.len() < NAME_COLUMN {
        text.push(' ');
    }
    text.push_str("[rollup]\n");
    usage.show(true, &mut text);
    Ok(text.into_bytes())
}

/// `mem`, open. It speaks of the memory that the process had then.
pub(super) struct MemFile(Weak<MemoryManager>);

impl MemFile {
    pub fn of(target: &Target) -> Result<MemFile, Errno> {
        let view = target.view()?;
        Ok(MemFile(memory(&view).map_or_else(Weak::new, |mm| Arc::downgrade(&mm))))
    }
}

impl FileOps for MemFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_at(&self, _io: &IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> Result<usize, IoError> {
        let Some(mm) = self.0.upgrade() else { return Ok(0) };
        let mut bytes = vec![0; dst.remaining().min(TRANSFER_MAX)];
        let len = match mm.copy_in_forced(offset, &mut bytes) {
            Ok(()) => bytes.len(),
            Err(fault) if fault.done == 0 => return Err(Errno::EIO.into()),
            Err(fault) => fault.done,
        };
        Ok(dst.put(bytes.get(..len).unwrap_or_default())?)
    }

    fn write_at(&self, _io: &IoCx<'_>, at: WriteAt, src: &mut dyn Source) -> Result<Written, IoError> {
        let WriteAt::Offset(offset) = at else { return Err(Errno::EINVAL.into()) };
        let Some(mm) = self.0.upgrade() else { return Ok(Written { len: 0, end: offset }) };
        let mut bytes = vec![0; src.remaining().min(TRANSFER_MAX)];
        let taken = src.take(&mut bytes)?;
        let len = match mm.copy_out_forced(offset, bytes.get(..taken).unwrap_or_default()) {
            Ok(()) => taken,
            Err(fault) if fault.done == 0 => return Err(Errno::EIO.into()),
            Err(fault) => fault.done,
        };
        Ok(Written { len, end: offset.saturating_add(len as u64) })
    }

    fn seek_end(&self) -> Option<u64> {
        Some(0)
    }
}
