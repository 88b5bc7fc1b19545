//! Random sequences of calls in several address spaces, checked page by page against a naive model.

mod support;

use abi::raw::general as raw;
use proptest::prelude::*;
use std::sync::Arc;
use support::*;
use vizor_mm::{FaultError, Prot};

const BASE: u64 = 0x10_0000_0000;
const PAGES: usize = 96;
const FILE_PAGES: usize = 48;

#[derive(Clone, Debug)]
enum Op {
    Anon { at: usize, len: usize, prot: u32 },
    Shared { at: usize, len: usize },
    File { at: usize, len: usize, offset: usize, shared: bool },
    Unmap { at: usize, len: usize },
    Protect { at: usize, len: usize, prot: u32 },
    Remap { at: usize, old: usize, to: usize, new: usize },
    DontNeed { at: usize, len: usize },
    Truncate { pages: usize },
    Fork,
    Exit,
    Switch(usize),
    GuestWrite { at: usize, byte: u8 },
    GuestRead { at: usize },
    SentryWrite { at: usize, len: usize, byte: u8 },
    SentryRead { at: usize, len: usize },
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Backing {
    Own(u8),
    Object { id: usize, page: usize },
    PrivateFile { page: usize, copy: Option<u8> },
    SharedFile { page: usize },
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Page {
    prot: u32,
    backing: Backing,
}

struct Process {
    world: World,
    pages: Vec<Option<Page>>,
}

struct Model {
    processes: Vec<Process>,
    current: usize,
    objects: Vec<Vec<u8>>,
    /// One that is mapped privately and one that is shared: how much a write to a private page copies around it shows if
    /// the file changes, and POSIX leaves that open.
    files: [Arc<HostFile>; 2],
    private_pages: Vec<u8>,
    shared_pages: Vec<u8>,
}

fn ops() -> impl Strategy<Value = Op> {
    let at = 0..PAGES;
    let len = 1..40_usize;
    let prot = prop_oneof![Just(0_u32), Just(1), Just(2), Just(3), Just(3), Just(5)];
    prop_oneof![
        3 => (at.clone(), len.clone(), prot.clone()).prop_map(|(at, len, prot)| Op::Anon { at, len, prot }),
        1 => (at.clone(), len.clone()).prop_map(|(at, len)| Op::Shared { at, len }),
        2 => (at.clone(), len.clone(), 0..FILE_PAGES, any::<bool>())
            .prop_map(|(at, len, offset, shared)| Op::File { at, len, offset, shared }),
        2 => (at.clone(), len.clone()).prop_map(|(at, len)| Op::Unmap { at, len }),
        3 => (at.clone(), len.clone(), prot).prop_map(|(at, len, prot)| Op::Protect { at, len, prot }),
        3 => (at.clone(), len.clone(), at.clone(), len.clone())
            .prop_map(|(at, old, to, new)| Op::Remap { at, old, to, new }),
        1 => (at.clone(), len.clone()).prop_map(|(at, len)| Op::DontNeed { at, len }),
        1 => (0..FILE_PAGES + 1).prop_map(|pages| Op::Truncate { pages }),
        1 => Just(Op::Fork),
        1 => Just(Op::Exit),
        1 => (0..4_usize).prop_map(Op::Switch),
        6 => (at.clone(), any::<u8>()).prop_map(|(at, byte)| Op::GuestWrite { at, byte }),
        3 => at.clone().prop_map(|at| Op::GuestRead { at }),
        3 => (at.clone(), len.clone(), any::<u8>()).prop_map(|(at, len, byte)| Op::SentryWrite { at, len, byte }),
        2 => (at, len).prop_map(|(at, len)| Op::SentryRead { at, len }),
    ]
}

fn addr(page: usize) -> u64 {
    BASE + page as u64 * PAGE
}

fn bytes(pages: usize) -> u64 {
    pages as u64 * PAGE
}

impl Model {
    fn new() -> Model {
        let files = [7, 8].map(|byte| HostFile::new(&[byte; FILE_PAGES * PAGE as usize]));
        let process = Process { world: World::new(), pages: vec![None; PAGES * 2] };
        let (private_pages, shared_pages) = (vec![7; FILE_PAGES], vec![8; FILE_PAGES]);
        Model { processes: vec![process], current: 0, objects: Vec::new(), files, private_pages, shared_pages }
    }

    fn process(&mut self) -> &mut Process {
        &mut self.processes[self.current]
    }

    fn expect_read(&self, process: usize, at: usize) -> Result<u8, FaultError> {
        let page = self.processes[process].pages[at].ok_or(FaultError::UNMAPPED)?;
        if page.prot == 0 {
            return Err(FaultError::ACCESS);
        }
        match page.backing {
            Backing::Own(byte) | Backing::PrivateFile { copy: Some(byte), .. } => Ok(byte),
            Backing::Object { id, page } => Ok(self.objects[id][page]),
            Backing::PrivateFile { page, .. } => self.private_pages.get(page).copied().ok_or(FaultError::BEYOND),
            Backing::SharedFile { page } => self.shared_pages.get(page).copied().ok_or(FaultError::BEYOND),
        }
    }

    fn write(&mut self, at: usize, byte: u8) -> Result<(), FaultError> {
        let current = self.current;
        let page = self.processes[current].pages[at].as_mut().ok_or(FaultError::UNMAPPED)?;
        if page.prot & raw::PROT_WRITE == 0 {
            return Err(FaultError::ACCESS);
        }
        match &mut page.backing {
            Backing::Own(old) => *old = byte,
            Backing::Object { id, page } => self.objects[*id][*page] = byte,
            Backing::PrivateFile { page, copy } => {
                if copy.is_none() && *page >= self.private_pages.len() {
                    return Err(FaultError::BEYOND);
                }
                *copy = Some(byte);
            }
            Backing::SharedFile { page } => *self.shared_pages.get_mut(*page).ok_or(FaultError::BEYOND)? = byte,
        }
        Ok(())
    }

    fn run(&mut self, op: &Op) {
        let mm = self.processes[self.current].world.mm.clone();
        match *op {
            Op::Anon { at, len, prot } => {
                let flags = raw::MAP_PRIVATE | raw::MAP_ANONYMOUS | raw::MAP_FIXED;
                assert_eq!(self.process().world.mmap(addr(at), bytes(len), prot, flags), Ok(addr(at)));
                self.fill(at, len, |_| Page { prot, backing: Backing::Own(0) });
            }
            Op::Shared { at, len } => {
                let flags = raw::MAP_SHARED | raw::MAP_ANONYMOUS | raw::MAP_FIXED;
                assert_eq!(self.process().world.mmap(addr(at), bytes(len), 3, flags), Ok(addr(at)));
                let id = self.objects.len();
                self.objects.push(vec![0; len]);
                self.fill(at, len, |page| Page { prot: 3, backing: Backing::Object { id, page } });
            }
            Op::File { at, len, offset, shared } => {
                let flags = if shared { raw::MAP_SHARED } else { raw::MAP_PRIVATE } | raw::MAP_FIXED;
                let file = self.files[usize::from(shared)].clone();
                let world = &self.process().world;
                let result = world.map_file_at(&file, addr(at), bytes(len), flags, 3, bytes(offset));
                assert_eq!(result, Ok(addr(at)));
                self.fill(at, len, |n| {
                    let page = offset + n;
                    let backing =
                        if shared { Backing::SharedFile { page } } else { Backing::PrivateFile { page, copy: None } };
                    Page { prot: 3, backing }
                });
            }
            Op::Unmap { at, len } => {
                assert_eq!(mm.munmap(addr(at), bytes(len)), Ok(()));
                self.process().pages[at..at + len].fill(None);
            }
            Op::Protect { at, len, prot } => {
                let mapped = self.process().pages[at..at + len].iter().take_while(|page| page.is_some()).count();
                assert_eq!(mm.mprotect(addr(at), bytes(len), prot).is_ok(), mapped == len);
                for page in self.process().pages[at..at + mapped].iter_mut().flatten() {
                    page.prot = prot;
                }
            }
            Op::Remap { at, old, to, new } => self.remap(at, old, to, new),
            Op::DontNeed { at, len } => {
                let complete = self.process().pages[at..at + len].iter().all(Option::is_some);
                assert_eq!(mm.madvise(addr(at), bytes(len), raw::MADV_DONTNEED).is_ok(), complete);
                for page in self.process().pages[at..at + len].iter_mut().flatten() {
                    match &mut page.backing {
                        Backing::Own(byte) => *byte = 0,
                        Backing::PrivateFile { copy, .. } => *copy = None,
                        _ => {}
                    }
                }
            }
            Op::Truncate { pages } => self.truncate(pages),
            Op::Fork => {
                if self.processes.len() < 4 {
                    let world = self.process().world.fork(true);
                    let pages = self.process().pages.clone();
                    self.processes.push(Process { world, pages });
                }
            }
            Op::Exit => {
                if self.processes.len() > 1 {
                    self.processes.swap_remove(self.current);
                    self.current = 0;
                }
            }
            Op::Switch(to) => self.current = to % self.processes.len(),
            Op::GuestWrite { at, byte } => {
                let expected = self.write(at, byte);
                assert_eq!(self.process().world.guest_write(addr(at), byte), expected);
            }
            Op::GuestRead { at } => {
                assert_eq!(self.process().world.guest_read(addr(at)), self.expect_read(self.current, at));
            }
            Op::SentryWrite { at, len, byte } => {
                let done = (at..at + len).take_while(|page| self.write(*page, byte).is_ok()).count();
                let result = mm.copy_out(addr(at), &vec![byte; len * PAGE as usize]);
                assert_eq!(result.map_or_else(|fault| fault.done, |()| bytes(len) as usize), bytes(done) as usize);
            }
            Op::SentryRead { at, len } => {
                let mut got = vec![0; len * PAGE as usize];
                let done = mm.copy_in(addr(at), &mut got).map_or_else(|fault| fault.done, |()| got.len());
                let expected: Vec<u8> =
                    (at..at + len).map_while(|page| self.expect_read(self.current, page).ok()).collect();
                assert_eq!(done, expected.len() * PAGE as usize);
                let firsts: Vec<u8> = got[..done].chunks(PAGE as usize).map(|page| page[0]).collect();
                assert_eq!(firsts, expected);
            }
        }
        self.check();
    }

    fn fill(&mut self, at: usize, len: usize, page: impl Fn(usize) -> Page) {
        for n in 0..len {
            self.process().pages[at + n] = Some(page(n));
        }
    }

    fn truncate(&mut self, pages: usize) {
        self.files.iter().for_each(|file| file.truncate(bytes(pages)));
        self.private_pages.resize(pages, 0);
        self.shared_pages.resize(pages, 0);
        for process in &mut self.processes {
            for slot in process.pages.iter_mut().flatten() {
                if let Backing::PrivateFile { page, copy } = &mut slot.backing
                    && *page >= pages
                {
                    *copy = None;
                }
            }
        }
    }

    fn remap(&mut self, at: usize, old: usize, to: usize, new: usize) {
        let mm = self.process().world.mm.clone();
        let flags = raw::MREMAP_MAYMOVE | raw::MREMAP_FIXED;
        let Some(vma) = mm.mapping_at(addr(at)) else {
            assert!(mm.mremap(addr(at), bytes(old), bytes(new), flags, addr(to)).is_err());
            return;
        };
        let overlap = at < to + new && to < at + old;
        let fits = addr(at) + bytes(old.min(new)) <= vma.range.end;
        let result = mm.mremap(addr(at), bytes(old), bytes(new), flags, addr(to));
        if overlap {
            assert!(result.is_err());
            return;
        }
        // The target, and what a shrink cuts off, go even if the move then fails.
        let pages = &mut self.processes[self.current].pages;
        let before = pages.clone();
        pages[to..to + new].fill(None);
        if old > new {
            pages[at + new..at + old].fill(None);
        }
        if !fits {
            assert!(result.is_err());
            return;
        }
        assert_eq!(result, Ok(addr(to)));
        let kept = old.min(new);
        for n in 0..new {
            let mut page = before[at + n.min(kept - 1)].unwrap();
            if n >= kept {
                let past = n - (kept - 1);
                match &mut page.backing {
                    Backing::Own(byte) => *byte = 0,
                    Backing::PrivateFile { page, copy } => (*page, *copy) = (*page + past, None),
                    Backing::SharedFile { page } | Backing::Object { page, .. } => *page += past,
                }
            }
            pages[to + n] = Some(page);
        }
        pages[at..at + kept].fill(None);
        for page in self.processes[self.current].pages[to..to + new].iter().flatten() {
            // Growing shared memory beyond its size gives pages that don't exist; the model keeps out of that.
            if let Backing::Object { id, page } = page.backing
                && page >= self.objects[id].len()
            {
                assert_eq!(mm.munmap(addr(to), bytes(new)), Ok(()));
                self.processes[self.current].pages[to..to + new].fill(None);
                return;
            }
        }
    }

    /// Mappings agree with the model, and the platform has nothing that they don't allow.
    fn check(&self) {
        for process in &self.processes {
            let mut flat: Vec<Option<(u32, bool)>> = vec![None; PAGES * 2];
            for mapping in process.world.mm.mappings() {
                for at in mapping.range.clone().step_by(PAGE as usize) {
                    let shared = mapping.flags.contains(vizor_mm::VmaFlags::SHARED);
                    flat[((at - BASE) / PAGE) as usize] = Some((mapping.prot.bits(), shared));
                }
            }
            for (n, (seen, page)) in flat.iter().zip(&process.pages).enumerate() {
                let expected = page.map(|page| {
                    let shared = matches!(page.backing, Backing::Object { .. } | Backing::SharedFile { .. });
                    (page.prot, shared)
                });
                assert_eq!(*seen, expected, "page {n}");
                if let Some(access) = process.world.space.access_at(addr(n)) {
                    let prot = Prot::from_bits_truncate(page.map_or(0, |page| page.prot));
                    assert!(!prot.is_empty(), "page {n} is mapped and should not be");
                    assert!(prot.contains(Prot::WRITE) || !access.write, "page {n} is writable");
                    assert!(prot.contains(Prot::EXEC) || !access.execute, "page {n} is executable");
                }
            }
        }
    }

    fn finish(mut self) {
        for process in 0..self.processes.len() {
            for at in 0..PAGES * 2 {
                let expected = self.expect_read(process, at);
                assert_eq!(self.processes[process].world.guest_read(addr(at)), expected, "page {at}");
            }
        }
        let frames = self.processes[0].world.frames.clone();
        self.processes.clear();
        assert_eq!(frames.usage().used, 0, "frames leaked");
        assert!(!self.files.iter().any(|file| file.mapped()), "mapping leaked");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_agrees_with_the_model(ops in prop::collection::vec(ops(), 1..80)) {
        let mut model = Model::new();
        for op in &ops {
            model.run(op);
        }
        model.finish();
    }
}
