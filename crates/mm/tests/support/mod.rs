//! A guest address space over the scripted platform, and a host file that can be mapped.
#![allow(dead_code)]

use abi::Errno;
use abi::raw::general as raw;
use core::ops::Range;
use host::frames::FrameAllocator;
use host::mappable::{Backing, FileId, Mappable, Observers};
use host::memfile::MemoryFile;
use platform::script::{ScriptedSpace, Touch};
use platform::{Access, Platform};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use vizor_mm::{FaultError, FileArgs, Layout, Limits, MemoryManager, MmapArgs, Texts, Views};

pub const PAGE: u64 = abi::PAGE_SIZE;

pub struct World {
    pub frames: Arc<FrameAllocator>,
    pub space: Arc<ScriptedSpace>,
    pub mm: Arc<MemoryManager>,
}

impl World {
    pub fn new() -> World {
        World::with_limit(u64::MAX)
    }

    pub fn with_limit(limit: u64) -> World {
        World::of(limit, None)
    }

    pub fn with_texts(texts: Arc<Texts>) -> World {
        World::of(u64::MAX, Some(texts))
    }

    fn of(limit: u64, texts: Option<Arc<Texts>>) -> World {
        let frames = FrameAllocator::new(MemoryFile::new(8 << 30).unwrap(), limit);
        let space = Arc::new(ScriptedSpace::new());
        let user = platform::script::ScriptedPlatform.user_range();
        let layout = Layout::new(&user, 8 << 20, || 12345);
        let mm = MemoryManager::new(frames.clone(), texts, Views::new(), user, layout, Limits::default());
        mm.move_in(space.clone());
        World { frames, space, mm }
    }

    pub fn fork(&self, alone: bool) -> World {
        let space = Arc::new(ScriptedSpace::new());
        let mm = self.mm.fork(space.clone(), alone);
        World { frames: self.frames.clone(), space, mm }
    }

    pub fn mmap(&self, addr: u64, len: u64, prot: u32, flags: u32) -> Result<u64, Errno> {
        self.mm.mmap(MmapArgs { addr, len, prot, flags, file: None, offset: 0 })
    }

    pub fn map(&self, len: u64, flags: u32) -> u64 {
        self.mmap(0, len, raw::PROT_READ | raw::PROT_WRITE, flags).unwrap()
    }

    pub fn map_at(&self, addr: u64, len: u64) -> u64 {
        let flags = raw::MAP_PRIVATE | raw::MAP_ANONYMOUS | raw::MAP_FIXED;
        self.mmap(addr, len, raw::PROT_READ | raw::PROT_WRITE, flags).unwrap()
    }

    pub fn anon(&self, len: u64) -> u64 {
        self.map(len, raw::MAP_PRIVATE | raw::MAP_ANONYMOUS)
    }

    pub fn map_file(&self, file: &Arc<HostFile>, len: u64, flags: u32, prot: u32) -> Result<u64, Errno> {
        self.map_file_at(file, 0, len, flags, prot, 0)
    }

    pub fn map_file_at(
        &self,
        file: &Arc<HostFile>,
        addr: u64,
        len: u64,
        flags: u32,
        prot: u32,
        offset: u64,
    ) -> Result<u64, Errno> {
        let object: Arc<dyn Mappable> = file.clone();
        let args = FileArgs { object, name: Arc::new("/file"), readable: true, writable: true, executable: true };
        self.mm.mmap(MmapArgs { addr, len, prot, flags, file: Some(args), offset })
    }

    fn touch(&self, addr: u64, access: Access, touch: impl Fn() -> Touch) -> Result<u8, FaultError> {
        for _ in 0..4 {
            match touch() {
                Touch::Done(byte) => return Ok(byte),
                Touch::Fault => self.mm.handle_fault(addr, access)?,
                Touch::Bus => return Err(FaultError::BEYOND),
            }
        }
        panic!("fault at {addr:#x} is never resolved");
    }

    pub fn guest_read(&self, addr: u64) -> Result<u8, FaultError> {
        let access = Access { read: true, ..Access::default() };
        self.touch(addr, access, || self.space.read(addr))
    }

    pub fn guest_write(&self, addr: u64, byte: u8) -> Result<(), FaultError> {
        let access = Access { write: true, ..Access::default() };
        self.touch(addr, access, || self.space.write(addr, byte)).map(|_| ())
    }
}

pub struct HostFile {
    fd: Arc<OwnedFd>,
    observers: Observers,
}

impl HostFile {
    pub fn new(bytes: &[u8]) -> Arc<HostFile> {
        let fd = rustix::fs::memfd_create("file", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        assert_eq!(rustix::io::pwrite(&fd, bytes, 0), Ok(bytes.len()));
        Arc::new(HostFile { fd: Arc::new(fd), observers: Observers::new() })
    }

    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let n = rustix::io::pread(&*self.fd, &mut bytes, offset).unwrap();
        bytes.truncate(n);
        bytes
    }

    pub fn truncate(&self, len: u64) {
        rustix::fs::ftruncate(&*self.fd, len).unwrap();
        self.observers.invalidate(len.next_multiple_of(PAGE)..u64::MAX - PAGE, true);
    }

    pub fn mapped(&self) -> bool {
        self.observers.any()
    }
}

impl Mappable for HostFile {
    fn back(&self, range: Range<u64>, _write: bool) -> Result<Backing, Errno> {
        Ok(Backing::HostFile { fd: self.fd.clone(), offset: range.start, len: range.end - range.start })
    }

    fn fault_run(&self) -> u64 {
        u64::MAX
    }

    fn size(&self) -> u64 {
        rustix::fs::fstat(&*self.fd).unwrap().st_size as u64
    }

    fn id(&self) -> FileId {
        FileId { dev_major: 8, dev_minor: 1, ino: 77 }
    }

    fn observers(&self) -> &Observers {
        &self.observers
    }
}
