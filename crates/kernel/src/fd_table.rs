//! File descriptor tables.
//!
//! A descriptor is a slot with a reference to an open file description and the close-on-exec flag, which belongs to the
//! slot. Lock rank `FD_TABLE`; descriptions are dropped after the lock is released, since a last close has effects.

use abi::Errno;
use lock::{Mutex, rank};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vfs::{OpenFile, OpenFlags};

/// A file descriptor's number, not yet known to be valid.
pub type Fd = i32;

/// Linux's default for `fs.nr_open`: no `RLIMIT_NOFILE` may be higher.
pub const NR_OPEN: u64 = 1_048_576;

#[derive(Clone)]
struct Slot {
    file: Arc<OpenFile>,
    cloexec: bool,
}

#[derive(Default, Clone)]
struct Slots {
    slots: Vec<Option<Slot>>,
    /// No free slot lies below this index.
    first_free: usize,
}

/// A descriptor table, shared by tasks cloned with `CLONE_FILES`.
pub struct FdTable {
    id: u64,
    slots: Mutex<Slots>,
}

impl FdTable {
    fn with(slots: Slots) -> FdTable {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        FdTable { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), slots: Mutex::new(rank::FD_TABLE, slots) }
    }
}

impl Default for FdTable {
    fn default() -> FdTable {
        FdTable::with(Slots::default())
    }
}

fn index(fd: Fd) -> Result<usize, Errno> {
    usize::try_from(fd).map_err(|_| Errno::EBADF)
}

impl Slots {
    fn get(&self, fd: Fd) -> Result<&Slot, Errno> {
        self.slots.get(index(fd)?).and_then(Option::as_ref).ok_or(Errno::EBADF)
    }

    fn free_from(&self, min: usize) -> usize {
        let from = min.max(self.first_free);
        let taken = self.slots.iter().skip(from).take_while(|s| s.is_some()).count();
        from.saturating_add(taken)
    }

    fn put(&mut self, at: usize, slot: Slot) -> Option<Slot> {
        if at >= self.slots.len() {
            self.slots.resize(at + 1, None);
        }
        if at == self.first_free {
            self.first_free = at + 1;
        }
        self.slots.get_mut(at).and_then(|place| place.replace(slot))
    }

    fn take(&mut self, at: usize) -> Option<Slot> {
        let slot = self.slots.get_mut(at)?.take();
        if slot.is_some() {
            self.first_free = self.first_free.min(at);
        }
        slot
    }
}

impl FdTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Arc<FdTable> {
        Arc::default()
    }

    /// The description behind `fd`, `O_PATH` ones included.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get_any(&self, fd: Fd) -> Result<Arc<OpenFile>, Errno> {
        Ok(self.slots.lock().get(fd)?.file.clone())
    }

    /// The description behind `fd`, unless it was opened with `O_PATH`.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get(&self, fd: Fd) -> Result<Arc<OpenFile>, Errno> {
        let file = self.get_any(fd)?;
        if file.is_path() { Err(Errno::EBADF) } else { Ok(file) }
    }

    /// Puts a description into the lowest free slot from `min` up, below `limit` (`RLIMIT_NOFILE`).
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn add(&self, file: Arc<OpenFile>, cloexec: bool, min: Fd, limit: u64) -> Result<Fd, Errno> {
        let mut slots = self.slots.lock();
        let at = slots.free_from(index(min)?);
        if at as u64 >= limit.min(NR_OPEN) {
            return Err(Errno::EMFILE);
        }
        let fd = Fd::try_from(at).map_err(|_| Errno::EMFILE)?;
        slots.put(at, Slot { file, cloexec });
        Ok(fd)
    }

    /// Whether a descriptor is left below `limit`; open(2) asks before it does anything.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn check_room(&self, limit: u64) -> Result<(), Errno> {
        if self.slots.lock().free_from(0) as u64 >= limit.min(NR_OPEN) { Err(Errno::EMFILE) } else { Ok(()) }
    }

    /// Two at once, for pipe(2) and socketpair(2): both or none.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn add_pair(
        &self,
        first: Arc<OpenFile>,
        second: Arc<OpenFile>,
        cloexec: bool,
        limit: u64,
    ) -> Result<(Fd, Fd), Errno> {
        let a = self.add(first, cloexec, 0, limit)?;
        match self.add(second, cloexec, 0, limit) {
            Ok(b) => Ok((a, b)),
            Err(errno) => {
                drop(self.remove(a));
                Err(errno)
            }
        }
    }

    /// dup2(2): puts a description into slot `fd`; returns what was there, to be closed by the caller.
    ///
    /// # Errors
    /// `EBADF` if `fd` is beyond the limit.
    pub fn put(&self, fd: Fd, file: Arc<OpenFile>, cloexec: bool, limit: u64) -> Result<Option<Arc<OpenFile>>, Errno> {
        let at = index(fd)?;
        if at as u64 >= limit.min(NR_OPEN) {
            return Err(Errno::EBADF);
        }
        Ok(self.slots.lock().put(at, Slot { file, cloexec }).map(|old| old.file))
    }

    /// Empties a slot; the caller flushes and drops the description.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn remove(&self, fd: Fd) -> Result<Arc<OpenFile>, Errno> {
        let at = index(fd)?;
        self.slots.lock().take(at).map(|slot| slot.file).ok_or(Errno::EBADF)
    }

    /// `FD_CLOEXEC`.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn cloexec(&self, fd: Fd) -> Result<bool, Errno> {
        Ok(self.slots.lock().get(fd)?.cloexec)
    }

    /// Sets `FD_CLOEXEC`.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn set_cloexec(&self, fd: Fd, cloexec: bool) -> Result<(), Errno> {
        let at = index(fd)?;
        let mut slots = self.slots.lock();
        let slot = slots.slots.get_mut(at).and_then(Option::as_mut).ok_or(Errno::EBADF)?;
        slot.cloexec = cloexec;
        Ok(())
    }

    /// Sets `FD_CLOEXEC` on every open descriptor in `first..=last` (`CLOSE_RANGE_CLOEXEC`).
    pub fn set_cloexec_range(&self, first: u32, last: u32) {
        let mut slots = self.slots.lock();
        let count = (last as usize).saturating_sub(first as usize).saturating_add(1);
        for slot in slots.slots.iter_mut().skip(first as usize).take(count).flatten() {
            slot.cloexec = true;
        }
    }

    /// Empties the slots `first..=last`.
    #[must_use]
    pub fn remove_range(&self, first: u32, last: u32) -> Vec<Arc<OpenFile>> {
        let mut slots = self.slots.lock();
        let end = (last as usize).saturating_add(1).min(slots.slots.len());
        (first as usize..end).filter_map(|at| slots.take(at)).map(|slot| slot.file).collect()
    }

    /// Empties the slots marked close-on-exec.
    #[must_use]
    pub fn remove_cloexec(&self) -> Vec<Arc<OpenFile>> {
        let mut slots = self.slots.lock();
        let marked: Vec<usize> = slots
            .slots
            .iter()
            .enumerate()
            .filter(|(_, s)| s.as_ref().is_some_and(|s| s.cloexec))
            .map(|(i, _)| i)
            .collect();
        marked.into_iter().filter_map(|at| slots.take(at)).map(|slot| slot.file).collect()
    }

    /// Empties the table.
    #[must_use]
    pub fn remove_all(&self) -> Vec<Arc<OpenFile>> {
        self.remove_range(0, u32::MAX)
    }

    /// The open descriptors, ascending.
    #[must_use]
    pub fn list(&self) -> Vec<Fd> {
        let slots = self.slots.lock();
        slots.slots.iter().enumerate().filter(|(_, s)| s.is_some()).filter_map(|(i, _)| Fd::try_from(i).ok()).collect()
    }

    /// The flags of the description behind `fd`, and whether it is to be closed on execve(2).
    ///
    /// # Errors
    /// `EBADF`.
    pub fn flags(&self, fd: Fd) -> Result<(OpenFlags, bool), Errno> {
        let slots = self.slots.lock();
        let slot = slots.get(fd)?;
        Ok((slot.file.flags(), slot.cloexec))
    }

    /// How many slots Linux would hold in memory for the table: select(2) looks no further, and `/proc/PID/status` shows it
    /// (`FDSize`). It starts at 64, grows by doubling, and shrinks only in a fork's copy.
    #[must_use]
    pub fn size(&self) -> usize {
        self.slots.lock().slots.len().next_power_of_two().max(64)
    }

    /// A copy with slots of its own and the same descriptions, for fork(2).
    #[must_use]
    pub fn fork(&self) -> Arc<FdTable> {
        let mut slots = self.slots.lock().clone();
        slots.slots.truncate(slots.slots.iter().rposition(Option::is_some).map_or(0, |last| last + 1));
        Arc::new(FdTable::with(slots))
    }
}

impl FdTable {
    /// Whose the record locks are that processes with this table set.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Ends the close of a descriptor whose slot was emptied: the process's record locks on the file go.
    pub fn finish_close(&self, file: Arc<OpenFile>, caller: &dyn vfs::Caller) {
        if !file.is_path() {
            file.ops().flush(caller);
            vfs::locks::release_process(file.path().inode(), self.id());
        }
        drop(file);
    }
}

/// Drops a task's reference to a table; the last one closes what is open, as close(2) does.
pub(crate) fn drop_table(table: Arc<FdTable>, caller: &dyn vfs::Caller) {
    // Of several that let go at once, exactly one gets the table.
    if let Some(table) = Arc::into_inner(table) {
        for file in table.remove_all() {
            table.finish_close(file, caller);
        }
    }
}
