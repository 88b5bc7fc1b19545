//! System V shared memory (shmget(2), shmat(2), shmctl(2)).
//!
//! A segment counts its mappings itself: memory managers tell it when one comes and goes. Removing a segment leaves the
//! table a weak reference, so that it lives as long as it is mapped.

use crate::ids::Ids;
use crate::now;
use crate::perm::{Perm, READ, Who};
use abi::ipc::{
    IPC_CREAT, IPC_EXCL, IPC_PRIVATE, IpcPerm, SHM_DEST, SHM_HUGETLB, SHM_LOCKED, ShmInfo, ShmLimits, ShmidDs,
};
use abi::{Errno, PAGE_SIZE};
use core::ops::Range;
use host::frames::FrameAllocator;
use host::mappable::{Backing, FileId, MapName, Mappable, Observers};
use lock::{Mutex, rank};
use mm::SharedMemory;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use vfs::Capability;

/// `SHMMNI`, `SHMMAX` and `SHMALL`.
const MNI: usize = 4096;
const MAX: u64 = u64::MAX - (1 << 24);

/// One segment.
pub struct Segment {
    id: i32,
    size: u64,
    memory: SharedMemory,
    perm: Mutex<Perm>,
    key: i32,
    creator: i32,
    attached: AtomicU64,
    last_pid: AtomicI32,
    atime: AtomicI64,
    dtime: AtomicI64,
    ctime: AtomicI64,
}

impl Segment {
    /// Its size as it was asked for.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether `wanted` (permission bits) is allowed.
    ///
    /// # Errors
    /// `EACCES`.
    pub fn check(&self, who: Who<'_>, wanted: u32) -> Result<(), Errno> {
        self.perm.lock().check(who, wanted)
    }

    fn stat(&self) -> ShmidDs {
        ShmidDs {
            perm: self.perm.lock().encode(),
            segsz: self.size,
            atime: self.atime.load(Ordering::Relaxed),
            dtime: self.dtime.load(Ordering::Relaxed),
            ctime: self.ctime.load(Ordering::Relaxed),
            cpid: self.creator,
            lpid: self.last_pid.load(Ordering::Relaxed),
            nattch: self.attached.load(Ordering::Relaxed),
            unused: [0; 2],
        }
    }

    fn used_by_caller(&self) {
        if let Some(task) = kernel::current() {
            self.last_pid.store(task.group.tgid, Ordering::Relaxed);
        }
    }
}

impl Mappable for Segment {
    fn back(&self, range: Range<u64>, write: bool) -> Result<Backing, Errno> {
        self.memory.back(range, write)
    }

    fn size(&self) -> u64 {
        self.memory.size()
    }

    fn id(&self) -> FileId {
        self.memory.id()
    }

    fn observers(&self) -> &Observers {
        self.memory.observers()
    }

    fn punch(&self, range: Range<u64>) -> Result<(), Errno> {
        self.memory.punch(range)
    }

    fn attached(&self) {
        self.attached.fetch_add(1, Ordering::Relaxed);
        self.atime.store(now(), Ordering::Relaxed);
        self.used_by_caller();
    }

    fn detached(&self) {
        self.attached.fetch_sub(1, Ordering::Relaxed);
        self.dtime.store(now(), Ordering::Relaxed);
        self.used_by_caller();
    }

    fn is_segment(&self) -> bool {
        true
    }
}

impl MapName for Segment {
    fn name(&self) -> Vec<u8> {
        format!("/SYSV{:08x} (deleted)", self.key).into_bytes()
    }
}

#[derive(Clone)]
enum Entry {
    Live(Arc<Segment>),
    /// Removed, but maybe still mapped.
    Removed(Weak<Segment>),
}

impl Entry {
    fn get(&self) -> Option<Arc<Segment>> {
        match self {
            Entry::Live(segment) => Some(segment.clone()),
            // Whoever else holds it now is but looking at it.
            Entry::Removed(segment) => segment.upgrade().filter(|s| s.attached.load(Ordering::Relaxed) > 0),
        }
    }
}

/// The segments of a namespace.
pub struct Segments {
    frames: Arc<FrameAllocator>,
    ids: Mutex<Ids<Entry>>,
}

impl Segments {
    pub(crate) fn new(frames: Arc<FrameAllocator>) -> Segments {
        Segments { frames, ids: Mutex::new(rank::FILE_OBJECT, Ids::new(MNI)) }
    }

    /// shmget(2).
    ///
    /// # Errors
    /// Those of the call.
    pub fn get(&self, who: Who<'_>, key: i32, size: u64, flags: u32) -> Result<i32, Errno> {
        let existing = {
            let mut ids = self.ids.lock();
            match ids.by_key(key).filter(|_| key != IPC_PRIVATE).and_then(|entry| entry.get()) {
                Some(segment) => segment,
                None if key != IPC_PRIVATE && flags & IPC_CREAT == 0 => return Err(Errno::ENOENT),
                None => return self.create(&mut ids, who, key, size, flags),
            }
        };
        if flags & (IPC_CREAT | IPC_EXCL) == IPC_CREAT | IPC_EXCL {
            return Err(Errno::EEXIST);
        }
        if existing.size < size {
            return Err(Errno::EINVAL);
        }
        existing.check(who, flags)?;
        Ok(existing.id)
    }

    fn create(&self, ids: &mut Ids<Entry>, who: Who<'_>, key: i32, size: u64, flags: u32) -> Result<i32, Errno> {
        if size == 0 || size > MAX {
            return Err(Errno::EINVAL);
        }
        if flags & SHM_HUGETLB != 0 {
            // As on a machine without huge pages.
            return Err(Errno::ENOMEM);
        }
        let len = size.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::ENOSPC)?;
        if len > self.frames.usage().limit.min(self.frames.file().len()) {
            return Err(Errno::ENOMEM);
        }
        ids.retain(|entry| entry.get().is_some());
        let entry = ids.add(key, |id, seq| {
            Entry::Live(Arc::new(Segment {
                id,
                size,
                memory: SharedMemory::new(self.frames.clone(), len),
                perm: Mutex::new(rank::LEAF, Perm::new(key, seq, flags, who)),
                key,
                creator: who.pid,
                attached: AtomicU64::new(0),
                last_pid: AtomicI32::new(0),
                atime: AtomicI64::new(0),
                dtime: AtomicI64::new(0),
                ctime: AtomicI64::new(now()),
            }))
        })?;
        entry.get().map(|segment| segment.id).ok_or(Errno::ENOSPC)
    }

    /// The segment of an id.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn find(&self, id: i32) -> Result<Arc<Segment>, Errno> {
        self.ids.lock().find(id).and_then(|entry| entry.get()).ok_or(Errno::EINVAL)
    }

    /// `IPC_STAT`.
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`.
    pub fn stat(&self, who: Who<'_>, id: i32) -> Result<ShmidDs, Errno> {
        let segment = self.find(id)?;
        segment.check(who, READ)?;
        Ok(segment.stat())
    }

    /// `SHM_STAT` and, with `any`, `SHM_STAT_ANY`: the segment at an index, and its id.
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`.
    pub fn stat_at(&self, who: Who<'_>, index: i32, any: bool) -> Result<(i32, ShmidDs), Errno> {
        let segment = self.ids.lock().at(index).and_then(|entry| entry.get()).ok_or(Errno::EINVAL)?;
        if !any {
            segment.check(who, READ)?;
        }
        Ok((segment.id, segment.stat()))
    }

    /// `IPC_SET`.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn set(&self, who: Who<'_>, id: i32, new: &IpcPerm) -> Result<(), Errno> {
        let segment = self.find(id)?;
        let mut perm = segment.perm.lock();
        perm.check_owner(who)?;
        perm.set(new)?;
        segment.ctime.store(now(), Ordering::Relaxed);
        Ok(())
    }

    /// `IPC_RMID`.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn remove(&self, who: Who<'_>, id: i32) -> Result<(), Errno> {
        let segment = self.find(id)?;
        {
            let mut perm = segment.perm.lock();
            perm.check_owner(who)?;
            perm.mode |= SHM_DEST;
            perm.key = IPC_PRIVATE;
        }
        let removed = Entry::Removed(Arc::downgrade(&segment));
        self.ids.lock().hide(id, removed);
        Ok(())
    }

    /// `SHM_LOCK` and `SHM_UNLOCK`. Guest memory is never swapped by us.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn lock(&self, who: Who<'_>, id: i32, lock: bool, may_lock: bool) -> Result<(), Errno> {
        let segment = self.find(id)?;
        let mut perm = segment.perm.lock();
        if !who.creds.capable(Capability::IpcLock) {
            let owner = who.creds.euid == perm.uid || who.creds.euid == perm.cuid;
            if !owner || (lock && !may_lock) {
                return Err(Errno::EPERM);
            }
        }
        perm.mode = if lock { perm.mode | SHM_LOCKED } else { perm.mode & !SHM_LOCKED };
        Ok(())
    }

    /// `IPC_INFO`, and the highest index in use.
    #[must_use]
    pub fn limits(&self) -> (u64, ShmLimits) {
        let limits = ShmLimits { max: MAX, min: 1, mni: MNI as u64, seg: MNI as u64, all: MAX, unused: [0; 4] };
        (self.ids.lock().highest(), limits)
    }

    /// `SHM_INFO`, and the highest index in use.
    #[must_use]
    pub fn info(&self) -> (u64, ShmInfo) {
        let (highest, segments) = {
            let mut ids = self.ids.lock();
            ids.retain(|entry| entry.get().is_some());
            let all: Vec<_> = ids.iter().filter_map(Entry::get).collect();
            (ids.highest(), all)
        };
        let pages = |bytes: u64| bytes.div_ceil(PAGE_SIZE);
        let info = ShmInfo {
            used_ids: segments.len() as i32,
            total: segments.iter().map(|s| pages(s.size)).sum(),
            resident: segments.iter().map(|s| pages(s.memory.allocated())).sum(),
            ..ShmInfo::default()
        };
        (highest, info)
    }
}
