//! The ELF loader (elf(5), `fs/binfmt_elf.c`). The file is hostile: every field is checked before use.

use super::{OpenExec, read_at};
use abi::raw::general as c;
use abi::{Errno, PAGE_SIZE};
use core::ops::Range;
use mm::{FileArgs, Layout, MemoryManager, MmapArgs};
use std::sync::Arc;
use vfs::{Caller, MountFlags, OpenFile, PathRef};

const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
const PF_R: u32 = 4;
const HEADER: usize = 64;
const PHENT: usize = 56;
/// Linux takes at most 64 KiB of program headers.
const PHNUM_MAX: usize = 65_536 / PHENT;
const PATH_MAX: u64 = 4096;

/// A loaded program, as the auxiliary vector describes it.
pub(super) struct Image {
    /// Where execution starts: in the interpreter if there is one.
    pub start: u64,
    /// The program's own entry.
    pub entry: u64,
    /// Where its program headers are.
    pub phdr: u64,
    pub phnum: u64,
    /// Where the interpreter is, 0 without.
    pub base: u64,
    pub code: Range<u64>,
    pub data: Range<u64>,
    pub executable_stack: bool,
}

#[derive(Clone, Copy)]
struct Segment {
    flags: u32,
    offset: u64,
    vaddr: u64,
    filesz: u64,
    memsz: u64,
}

struct Headers {
    kind: u16,
    entry: u64,
    phoff: u64,
    phnum: u64,
    loads: Vec<Segment>,
    interpreter: Option<(u64, u64)>,
    executable_stack: bool,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// Reads and checks the headers. `bad` is the error for a malformed file. As in Linux, class and byte order are not looked
/// at, and what segments say only once the old program is given up.
fn headers(file: &OpenFile, caller: &dyn Caller, head: &[u8], bad: Errno) -> Result<Headers, Errno> {
    if !head.starts_with(b"\x7fELF") || head.len() < HEADER {
        return Err(bad);
    }
    let field = |at| u16_at(head, at).ok_or(bad);
    let (kind, machine) = (field(16)?, field(18)?);
    let (phentsize, phnum) = (usize::from(field(54)?), usize::from(field(56)?));
    if machine != EM_X86_64 || phentsize != PHENT {
        return Err(bad);
    }
    if phnum == 0 || phnum > PHNUM_MAX {
        return Err(bad);
    }
    let entry = u64_at(head, 24).ok_or(bad)?;
    let phoff = u64_at(head, 32).ok_or(bad)?;
    let mut table = vec![0; phnum * PHENT];
    if read_at(file, caller, phoff, &mut table) != Ok(table.len()) {
        return Err(bad);
    }
    let mut found = Headers {
        kind,
        entry,
        phoff,
        phnum: phnum as u64,
        loads: Vec::new(),
        interpreter: None,
        executable_stack: false,
    };
    for raw in table.chunks_exact(PHENT) {
        let (Some(segment_type), Some(flags)) = (u32_at(raw, 0), u32_at(raw, 4)) else { return Err(bad) };
        let word = |at| u64_at(raw, at).ok_or(bad);
        let segment = Segment { flags, offset: word(8)?, vaddr: word(16)?, filesz: word(32)?, memsz: word(40)? };
        match segment_type {
            PT_LOAD if segment.memsz > 0 || segment.filesz > 0 => found.loads.push(segment),
            PT_INTERP if found.interpreter.is_none() => found.interpreter = Some((segment.offset, segment.filesz)),
            PT_GNU_STACK => found.executable_stack = flags & PF_X != 0,
            _ => {}
        }
    }
    Ok(found)
}

/// Sanity of one segment: sizes, overflow, congruence of offset and address.
fn check(segment: &Segment) -> Result<(), Errno> {
    const LIMIT: u64 = 1 << 47;
    let from_file = segment.offset.checked_add(segment.filesz).is_some_and(|end| end <= i64::MAX as u64)
        && segment.offset % PAGE_SIZE == segment.vaddr % PAGE_SIZE;
    let fits = segment.vaddr.checked_add(segment.memsz).is_some_and(|end| end <= LIMIT);
    if segment.filesz > segment.memsz || !fits || segment.filesz > 0 && !from_file {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn page_down(addr: u64) -> u64 {
    addr & !(PAGE_SIZE - 1)
}

fn page_up(addr: u64) -> u64 {
    addr.saturating_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1)
}

fn span(loads: &[Segment]) -> Option<Range<u64>> {
    let low = loads.iter().map(|s| page_down(s.vaddr)).min()?;
    let high = loads.iter().map(|s| page_up(s.vaddr + s.memsz)).max()?;
    Some(low..high)
}

/// A program and its interpreter, read and checked but not mapped.
pub(super) struct Parts {
    program: Headers,
    interpreter: Option<(Arc<OpenFile>, Headers)>,
}

/// Reads the headers of a program and of its interpreter.
pub(super) fn examine(
    file: &OpenFile,
    caller: &dyn Caller,
    head: &[u8],
    open: &mut OpenExec<'_>,
) -> Result<Parts, Errno> {
    let program = headers(file, caller, head, Errno::ENOEXEC)?;
    if !matches!(program.kind, ET_EXEC | ET_DYN) {
        return Err(Errno::ENOEXEC);
    }
    let interpreter = match program.interpreter {
        Some((offset, len)) => Some(open_interpreter(file, caller, offset, len, open)?),
        None => None,
    };
    Ok(Parts { program, interpreter })
}

/// Maps a program and its interpreter.
pub(super) fn load(
    mm: &MemoryManager,
    root: &PathRef,
    file: &Arc<OpenFile>,
    parts: Parts,
    layout: Layout,
) -> Result<Image, Errno> {
    let Parts { program, interpreter } = parts;
    let place = match (program.kind, &interpreter) {
        (ET_EXEC, _) => None,
        (_, Some(_)) => Some(layout.pie_base),
        (_, None) => Some(0),
    };
    let bias = map_all(mm, root, file, &program, place)?;
    let span = span(&program.loads).ok_or(Errno::ENOEXEC)?;
    let phdr = program
        .loads
        .iter()
        .find(|s| s.offset <= program.phoff && program.phoff < s.offset.saturating_add(s.filesz))
        .map_or(0, |s| bias.wrapping_add(s.vaddr).wrapping_add(program.phoff - s.offset));
    let entry = program.entry.wrapping_add(bias);
    let (start, base) = match interpreter {
        Some((file, headers)) => {
            let base = map_all(mm, root, &file, &headers, Some(0))?;
            (headers.entry.wrapping_add(base), base)
        }
        None => (entry, 0),
    };
    let area = |wanted: fn(&Segment) -> bool| {
        let parts = program.loads.iter().filter(|s| wanted(s));
        let low = parts.clone().map(|s| s.vaddr).min().unwrap_or(span.start);
        let high = parts.map(|s| s.vaddr + s.filesz).max().unwrap_or(span.start);
        low.wrapping_add(bias)..high.wrapping_add(bias)
    };
    let end = span.end.wrapping_add(bias);
    mm.set_brk(page_up(end.saturating_add(layout.brk_gap)));
    Ok(Image {
        start,
        entry,
        phdr,
        phnum: program.phnum,
        base,
        code: area(|s| s.flags & PF_X != 0),
        data: area(|s| s.flags & PF_W != 0),
        executable_stack: program.executable_stack,
    })
}

fn open_interpreter(
    file: &OpenFile,
    caller: &dyn Caller,
    offset: u64,
    len: u64,
    open: &mut OpenExec<'_>,
) -> Result<(Arc<OpenFile>, Headers), Errno> {
    if !(2..=PATH_MAX).contains(&len) {
        return Err(Errno::ENOEXEC);
    }
    if i64::try_from(offset).is_err() {
        return Err(Errno::EINVAL);
    }
    let mut path = vec![0; usize::try_from(len).map_err(|_| Errno::ENOEXEC)?];
    if read_at(file, caller, offset, &mut path)? != path.len() {
        return Err(Errno::EIO);
    }
    if path.pop() != Some(0) {
        return Err(Errno::ENOEXEC);
    }
    // An empty name is the working directory's, to a kernel.
    let path = path.split(|b| *b == 0).next().filter(|path| !path.is_empty()).unwrap_or(b".");
    let interpreter = open(path)?;
    let mut head = [0; HEADER];
    if read_at(&interpreter, caller, 0, &mut head)? != HEADER {
        return Err(Errno::EIO);
    }
    let headers = headers(&interpreter, caller, &head, Errno::ELIBBAD)?;
    Ok((interpreter, headers))
}

/// Maps all segments: at their own addresses for `None`, else with a bias that puts the first near `place` (0: anywhere).
/// Returns the bias.
fn map_all(
    mm: &MemoryManager,
    root: &PathRef,
    file: &OpenFile,
    headers: &Headers,
    place: Option<u64>,
) -> Result<u64, Errno> {
    headers.loads.iter().try_for_each(check)?;
    let span = span(&headers.loads).ok_or(Errno::EINVAL)?;
    let bias = match place {
        _ if headers.kind == ET_EXEC => 0,
        _ if headers.kind != ET_DYN => return Err(Errno::ENOEXEC),
        place => {
            let len = span.end - span.start;
            let found = mm.mmap(MmapArgs {
                addr: place.unwrap_or(0),
                len,
                prot: c::PROT_NONE,
                flags: c::MAP_PRIVATE | c::MAP_ANONYMOUS | c::MAP_NORESERVE,
                file: None,
                offset: 0,
            })?;
            mm.munmap(found, len)?;
            found.wrapping_sub(span.start)
        }
    };
    let object = file.ops().mappable().map_err(|_| Errno::ENOEXEC)?;
    let executable = !file.path().mount.flags().contains(MountFlags::NOEXEC);
    for segment in &headers.loads {
        let args = FileArgs {
            object: object.clone(),
            name: Arc::new(crate::MappedPath { place: file.path().clone(), root: root.clone() }),
            readable: true,
            writable: false,
            executable,
        };
        map_segment(mm, args, *segment, bias)?;
    }
    Ok(bias)
}

fn map_segment(mm: &MemoryManager, file: FileArgs, segment: Segment, bias: u64) -> Result<(), Errno> {
    let bit = |from: u32, to: u32| if segment.flags & from != 0 { to } else { 0 };
    let prot = bit(PF_R, c::PROT_READ) | bit(PF_W, c::PROT_WRITE) | bit(PF_X, c::PROT_EXEC);
    let vaddr = segment.vaddr.wrapping_add(bias);
    let start = page_down(vaddr);
    let file_end = vaddr.checked_add(segment.filesz).ok_or(Errno::ENOEXEC)?;
    let end = vaddr.checked_add(segment.memsz).ok_or(Errno::ENOEXEC)?;
    let mut mapped = start;
    if segment.filesz > 0 {
        mapped = page_up(file_end);
        mm.mmap(MmapArgs {
            addr: start,
            len: mapped - start,
            prot,
            flags: c::MAP_PRIVATE | c::MAP_FIXED,
            file: Some(file),
            offset: page_down(segment.offset),
        })?;
    }
    if page_up(end) > mapped {
        // Whatever the segment says, this can be written.
        mm.mmap(MmapArgs {
            addr: mapped,
            len: page_up(end) - mapped,
            prot: c::PROT_READ | c::PROT_WRITE | (prot & c::PROT_EXEC),
            flags: c::MAP_PRIVATE | c::MAP_FIXED | c::MAP_ANONYMOUS,
            file: None,
            offset: 0,
        })?;
    }
    // What follows the file's bytes in their last page belongs to the zeroed part.
    if segment.filesz > 0 && segment.memsz > segment.filesz && segment.flags & PF_W != 0 {
        mm.zero(file_end, usize::try_from(mapped - file_end).map_err(|_| Errno::ENOEXEC)?)?;
    }
    Ok(())
}
