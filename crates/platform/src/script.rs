//! A platform for unit tests: it runs no code, and remembers what it was told.
//!
//! A [`ScriptedSpace`] keeps a page table of what [`MapOp`]s made, and lets a test read and write memory as a guest thread
//! would, through the files behind. A [`ScriptedContext`] returns exits from a list.

use crate::{
    Access, AddressSpace, Context, Exit, FutexWaiters, Gone, Interrupter, KernelOnly, LocalState, MapOp, Patcher,
    Patches, Platform, Registers,
};
use abi::{Errno, PAGE_SIZE};
use core::ops::Range;
use host::guestmem::HostRange;
use lock::{Mutex, rank};
use rustix::fs::{Mode, OFlags};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

/// What a guest access of one byte met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Touch {
    /// It worked; the byte that was read, or that was there before the write.
    Done(u8),
    /// The page table does not allow it.
    Fault,
    /// The file ends before the page.
    Bus,
}

struct Page {
    file: Arc<OwnedFd>,
    offset: u64,
    access: Access,
}

/// An address space that only has a page table.
pub struct ScriptedSpace {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    pages: BTreeMap<u64, Page>,
    /// Files seen so far, by descriptor, device and inode.
    files: BTreeMap<(RawFd, u64, u64), Arc<OwnedFd>>,
    log: Vec<MapOp>,
    exits: VecDeque<Exit>,
}

impl Default for ScriptedSpace {
    fn default() -> Self {
        Self::new()
    }
}

impl ScriptedSpace {
    /// An empty address space.
    #[must_use]
    pub fn new() -> ScriptedSpace {
        ScriptedSpace { table: Mutex::new(rank::ADDRESS_SPACE, Table::default()) }
    }

    /// What was applied since the last call.
    pub fn take_log(&self) -> Vec<MapOp> {
        core::mem::take(&mut self.table.lock().log)
    }

    /// Lets the next context return these exits, then [`Exit::Gone`].
    pub fn script(&self, exits: impl IntoIterator<Item = Exit>) {
        self.table.lock().exits.extend(exits);
    }

    /// The protection of the page at `addr`, `None` if nothing is mapped.
    #[must_use]
    pub fn access_at(&self, addr: u64) -> Option<Access> {
        self.table.lock().pages.get(&(addr & !(PAGE_SIZE - 1))).map(|page| page.access)
    }

    /// How many pages are mapped.
    #[must_use]
    pub fn mapped_pages(&self) -> usize {
        self.table.lock().pages.len()
    }

    /// Reads a byte as guest code would.
    #[must_use]
    pub fn read(&self, addr: u64) -> Touch {
        self.touch(addr, None)
    }

    /// Writes a byte as guest code would.
    #[must_use]
    pub fn write(&self, addr: u64, byte: u8) -> Touch {
        self.touch(addr, Some(byte))
    }

    fn touch(&self, addr: u64, write: Option<u8>) -> Touch {
        let table = self.table.lock();
        let Some(page) = table.pages.get(&(addr & !(PAGE_SIZE - 1))) else { return Touch::Fault };
        let allowed = if write.is_some() { page.access.write } else { page.access.read };
        if !allowed {
            return Touch::Fault;
        }
        let size = rustix::fs::fstat(&page.file).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
        if page.offset >= size {
            return Touch::Bus;
        }
        let at = page.offset + (addr & (PAGE_SIZE - 1));
        let mut byte = [0];
        if rustix::io::pread(&page.file, &mut byte, at).is_err() {
            return Touch::Bus;
        }
        if let Some(new) = write
            && rustix::io::pwrite(&page.file, &[new], at) != Ok(1)
        {
            return Touch::Bus;
        }
        Touch::Done(byte[0])
    }
}

fn pages(addr: u64, len: u64) -> Range<u64> {
    assert!(addr.is_multiple_of(PAGE_SIZE) && len.is_multiple_of(PAGE_SIZE) && len > 0, "unaligned map operation");
    addr..addr.checked_add(len).expect("map operation wraps")
}

impl AddressSpace for ScriptedSpace {
    fn apply(&self, ops: &[MapOp]) -> Result<(), Gone> {
        let mut table = self.table.lock();
        table.log.extend_from_slice(ops);
        for op in ops {
            match *op {
                MapOp::Map { addr, len, access, fd, offset, shared, .. } => {
                    assert!(offset.is_multiple_of(PAGE_SIZE), "unaligned file offset");
                    assert!(shared || !access.write, "writable private mapping");
                    let file = table.file(fd);
                    for at in pages(addr, len).step_by(PAGE_SIZE as usize) {
                        let page = Page { file: file.clone(), offset: offset + (at - addr), access };
                        table.pages.insert(at, page);
                    }
                }
                MapOp::Unmap { addr, len } => {
                    let range = pages(addr, len);
                    let gone: Vec<u64> = table.pages.range(range).map(|(&at, _)| at).collect();
                    for at in gone {
                        table.pages.remove(&at);
                    }
                }
                MapOp::Protect { addr, len, access } => {
                    for (_, page) in table.pages.range_mut(pages(addr, len)) {
                        page.access = access;
                    }
                }
            }
        }
        Ok(())
    }

    fn vdso(&self) -> Option<(Range<u64>, HostRange<'static>)> {
        None
    }

    fn set_patches(&self, _patches: Arc<Patches>) {}

    fn show_calls(&self) {}

    fn wake_waiters(&self, _addr: u64, _count: u32, _bitset: u32) -> u32 {
        0
    }

    fn move_waiters(&self, _from: u64, _to: u64, _wake: u32, _limit: u32) -> u32 {
        0
    }

    fn at_end(&self, then: Box<dyn FnOnce() + Send>) {
        self.table.lock().pages.clear();
        then();
    }

    fn new_context(&self) -> Result<Box<dyn Context>, Errno> {
        let exits = core::mem::take(&mut self.table.lock().exits);
        Ok(Box::new(ScriptedContext { exits, local: Arc::default() }))
    }
}

impl Table {
    /// A descriptor of our own, by way of `/proc`, since a raw number can't be borrowed without `unsafe`.
    fn file(&mut self, fd: RawFd) -> Arc<OwnedFd> {
        let path = format!("/proc/self/fd/{fd}");
        let stat = rustix::fs::stat(&path).expect("bad descriptor");
        let open = |mode| rustix::fs::open(&path, mode | OFlags::CLOEXEC, Mode::empty());
        let file = self
            .files
            .entry((fd, stat.st_dev, stat.st_ino))
            .or_insert_with(|| Arc::new(open(OFlags::RDWR).or_else(|_| open(OFlags::RDONLY)).expect("can't reopen")));
        file.clone()
    }
}

/// A context that returns the exits it was given.
pub struct ScriptedContext {
    exits: VecDeque<Exit>,
    local: Arc<KernelOnly>,
}

struct NoInterrupter;

impl Interrupter for NoInterrupter {
    fn interrupt(&self) {}
}

impl Context for ScriptedContext {
    fn switch(&mut self, _regs: &mut Registers) -> Exit {
        self.exits.pop_front().unwrap_or(Exit::Gone(Gone::Died(0)))
    }

    fn unfold(&mut self, _regs: &mut Registers) -> Result<(), Gone> {
        Ok(())
    }

    fn sleeps(&self, _ended: &dyn Fn() -> bool) {}

    fn renew(&mut self) {}

    fn site(&self) -> Option<u64> {
        None
    }

    fn served_sites(&self, _tell: &mut dyn FnMut(u64, u32)) {}

    fn slept(&self) -> u64 {
        0
    }

    fn local(&self) -> Arc<dyn LocalState> {
        self.local.clone()
    }

    fn interrupter(&self) -> Arc<dyn Interrupter> {
        Arc::new(NoInterrupter)
    }

    fn fpstate(&mut self) -> Vec<u8> {
        Vec::new()
    }

    fn set_fpstate(&mut self, state: &[u8]) -> Result<(), Errno> {
        if state.is_empty() { Ok(()) } else { Err(Errno::EFAULT) }
    }
}

/// Counts nobody.
struct NoWaiters;

impl FutexWaiters for NoWaiters {
    fn add(&self, _addr: u64) {}

    fn remove(&self, _addr: u64) {}
}

/// A source of [`ScriptedSpace`]s.
#[derive(Default)]
pub struct ScriptedPlatform;

impl Platform for ScriptedPlatform {
    fn user_range(&self) -> Range<u64> {
        0x1_0000..0x7fff_ffff_f000
    }

    fn vdso(&self) -> Option<Range<u64>> {
        None
    }

    fn futex_waiters(&self) -> Arc<dyn FutexWaiters> {
        Arc::new(NoWaiters)
    }

    fn patcher(&self) -> Option<Arc<dyn Patcher>> {
        None
    }

    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, Errno> {
        Ok(Arc::new(ScriptedSpace::new()))
    }

    fn spare_address_space(&self) -> Option<Arc<dyn AddressSpace>> {
        None
    }

    fn end(&self) {}
}
