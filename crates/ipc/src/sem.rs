//! System V semaphores (semget(2), semop(2), semctl(2)).
//!
//! Who must wait stands in its set's queue with what it wants to do. Whoever changes the set does for them what has become
//! possible, oldest first, and wakes them with the result. Adjustments (`SEM_UNDO`) stand with the set, by the number of the
//! process's [`UndoList`], which applies them when it is dropped.

use crate::ids::Ids;
use crate::perm::{Perm, READ, WRITE, Who};
use crate::{Budget, now};
use abi::Errno;
use abi::ipc::{IPC_CREAT, IPC_EXCL, IPC_NOWAIT, IPC_PRIVATE, IpcPerm, SEM_UNDO, SemBuf, SemInfo, SemidDs};
use kernel::UndoCell;
use lock::{Mutex, rank};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use vfs::wait::{Events, Sleepers, Wake};

/// `SEMMNI`, `SEMMSL`, `SEMMNS`, `SEMOPM`, `SEMVMX`.
const MNI: usize = 32_000;
const MSL: u32 = 32_000;
const MNS: i32 = 1_024_000_000;
/// Most operations of one semop(2).
pub const OPM: u64 = 500;
const VMX: i32 = 32_767;

#[derive(Clone, Copy, Default)]
struct Sem {
    value: i32,
    pid: i32,
}

/// Adjustments that a process's end applies, by semaphore.
#[derive(Default)]
struct Adjust(BTreeMap<u16, i32>);

/// Someone who waits in semop(2).
pub struct Waiter {
    ops: Vec<SemBuf>,
    pid: i32,
    undo: Option<u64>,
    /// The operation that can't be done yet.
    blocking: AtomicI32,
    /// [`WAITING`], 0, or an error.
    result: AtomicI32,
    wake: Arc<dyn Wake>,
}

const WAITING: i32 = -1;

impl Waiter {
    /// The outcome, once there is one.
    #[must_use]
    pub fn result(&self) -> Option<Result<(), Errno>> {
        match self.result.load(Ordering::Acquire) {
            WAITING => None,
            0 => Some(Ok(())),
            errno => Some(Err(Errno::from_raw(errno).unwrap_or(Errno::EIDRM))),
        }
    }

    fn finish(&self, result: Result<(), Errno>) {
        let value = result.map_or_else(|errno| errno.raw(), |()| 0);
        self.result.store(value, Ordering::Release);
        self.wake.wake(Events::IN, &mut Sleepers::default());
    }
}

struct State {
    perm: Perm,
    sems: Vec<Sem>,
    otime: i64,
    ctime: i64,
    waiters: Vec<Arc<Waiter>>,
    undo: BTreeMap<u64, Adjust>,
    removed: bool,
}

/// One set.
pub struct Set {
    id: i32,
    len: u32,
    state: Mutex<State>,
    budget: Arc<Budget>,
}

impl Drop for Set {
    fn drop(&mut self) {
        self.budget.give(size(self.len));
    }
}

/// What a set takes of memory.
fn size(sems: u32) -> u64 {
    256 + 8 * u64::from(sems)
}

/// How an attempt ended that was no error.
enum Attempt {
    Done,
    /// This operation must wait.
    Blocked(usize),
}

impl State {
    fn sem(&mut self, num: u16) -> Result<&mut Sem, Errno> {
        self.sems.get_mut(usize::from(num)).ok_or(Errno::EFBIG)
    }

    /// Does all operations or none.
    fn attempt(&mut self, ops: &[SemBuf], pid: i32, undo: Option<u64>) -> Result<Attempt, Errno> {
        let mut values: BTreeMap<u16, i32> = BTreeMap::new();
        let mut adjusts: BTreeMap<u16, i32> = BTreeMap::new();
        for (at, op) in ops.iter().enumerate() {
            let old = match values.get(&op.num) {
                Some(value) => *value,
                None => self.sem(op.num)?.value,
            };
            let new = old + i32::from(op.op);
            if new < 0 || (op.op == 0 && old != 0) {
                let nowait = u32::from(op.flags) & IPC_NOWAIT != 0;
                return if nowait { Err(Errno::EAGAIN) } else { Ok(Attempt::Blocked(at)) };
            }
            if new > VMX {
                return Err(Errno::ERANGE);
            }
            if let (true, Some(id)) = (op.flags & SEM_UNDO != 0, undo) {
                let kept = || self.undo.get(&id).and_then(|a| a.0.get(&op.num)).copied().unwrap_or(0);
                let adjust = adjusts.get(&op.num).copied().unwrap_or_else(kept) - i32::from(op.op);
                if !(-VMX - 1..=VMX).contains(&adjust) {
                    return Err(Errno::ERANGE);
                }
                adjusts.insert(op.num, adjust);
            }
            values.insert(op.num, new);
        }
        for (num, value) in values {
            *self.sem(num)? = Sem { value, pid };
        }
        if let (false, Some(id)) = (adjusts.is_empty(), undo) {
            let kept = &mut self.undo.entry(id).or_default().0;
            kept.extend(adjusts);
            kept.retain(|_, adjust| *adjust != 0);
        }
        self.otime = now();
        Ok(Attempt::Done)
    }

    /// Does what has become possible for those who wait.
    fn update(&mut self) {
        let mut at = 0;
        while let Some(waiter) = self.waiters.get(at).cloned() {
            match self.attempt(&waiter.ops, waiter.pid, waiter.undo) {
                Ok(Attempt::Blocked(op)) => {
                    waiter.blocking.store(op as i32, Ordering::Relaxed);
                    at += 1;
                    continue;
                }
                Ok(Attempt::Done) => {
                    self.waiters.remove(at);
                    waiter.finish(Ok(()));
                    // It may have made room for those before it, unless it only looked.
                    at = if waiter.ops.iter().any(|op| op.op != 0) { 0 } else { at };
                }
                Err(errno) => {
                    self.waiters.remove(at);
                    waiter.finish(Err(errno));
                }
            }
        }
    }

    /// How many wait because of `num`: for it to become zero, or to rise.
    fn waiting(&self, num: u16, zero: bool) -> u64 {
        let waits = |waiter: &&Arc<Waiter>| {
            let at = usize::try_from(waiter.blocking.load(Ordering::Relaxed)).unwrap_or(0);
            waiter.ops.get(at).is_some_and(|op| op.num == num && (op.op == 0) == zero)
        };
        self.waiters.iter().filter(waits).count() as u64
    }

    fn stat(&self) -> SemidDs {
        SemidDs {
            perm: self.perm.encode(),
            otime: self.otime,
            ctime: self.ctime,
            nsems: self.sems.len() as u64,
            ..SemidDs::default()
        }
    }
}

/// What semop(2) came to.
pub enum Operated {
    /// All was done.
    Done,
    /// It waits; take it back with [`Set::give_up`].
    Waits(Arc<Waiter>),
}

impl Set {
    /// Locks the set unless it is gone.
    fn lock(&self) -> Result<lock::MutexGuard<'_, State>, Errno> {
        let state = self.state.lock();
        if state.removed { Err(Errno::EINVAL) } else { Ok(state) }
    }

    /// semop(2). Without `wake`, nothing is ever waited for.
    ///
    /// # Errors
    /// Those of the call; `EAGAIN` if it must wait and would not.
    pub fn operate(
        self: &Arc<Self>,
        who: Who<'_>,
        ops: Vec<SemBuf>,
        undo: Option<&UndoList>,
        wake: Arc<dyn Wake>,
    ) -> Result<Operated, Errno> {
        let alters = ops.iter().any(|op| op.op != 0);
        if ops.iter().any(|op| u32::from(op.num) >= self.len) {
            return Err(Errno::EFBIG);
        }
        if let Some(undo) = undo {
            undo.note(self);
        }
        let undo = undo.map(|undo| undo.id);
        let mut state = self.lock()?;
        state.perm.check(who, if alters { WRITE } else { READ })?;
        match state.attempt(&ops, who.pid, undo)? {
            Attempt::Done => {
                if alters {
                    state.update();
                }
                Ok(Operated::Done)
            }
            Attempt::Blocked(at) => {
                let (blocking, result) = (AtomicI32::new(at as i32), AtomicI32::new(WAITING));
                let waiter = Arc::new(Waiter { ops, pid: who.pid, undo, blocking, result, wake });
                state.waiters.push(waiter.clone());
                Ok(Operated::Waits(waiter))
            }
        }
    }

    /// Takes back a wait. Returns its result if it had come by then.
    #[must_use]
    pub fn give_up(&self, waiter: &Arc<Waiter>) -> Option<Result<(), Errno>> {
        let mut state = self.state.lock();
        state.waiters.retain(|other| !Arc::ptr_eq(other, waiter));
        waiter.result()
    }

    /// `GETVAL`, `GETPID`, `GETNCNT` and `GETZCNT`.
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`.
    pub fn get(&self, who: Who<'_>, num: i32, what: Get) -> Result<u64, Errno> {
        let state = self.lock()?;
        state.perm.check(who, READ)?;
        let num = u16::try_from(num).map_err(|_| Errno::EINVAL)?;
        let sem = *state.sems.get(usize::from(num)).ok_or(Errno::EINVAL)?;
        Ok(match what {
            Get::Value => u64::from(sem.value.cast_unsigned()),
            Get::Pid => u64::from(sem.pid.cast_unsigned()),
            Get::Rising => state.waiting(num, false),
            Get::Zero => state.waiting(num, true),
        })
    }

    /// `GETALL`.
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`.
    pub fn get_all(&self, who: Who<'_>) -> Result<Vec<u16>, Errno> {
        let state = self.lock()?;
        state.perm.check(who, READ)?;
        Ok(state.sems.iter().map(|sem| sem.value as u16).collect())
    }

    /// `SETVAL`.
    ///
    /// # Errors
    /// `ERANGE`, `EINVAL`, `EACCES`.
    pub fn set_value(&self, who: Who<'_>, num: i32, value: i32) -> Result<(), Errno> {
        if !(0..=VMX).contains(&value) {
            return Err(Errno::ERANGE);
        }
        let mut state = self.lock()?;
        let num = u16::try_from(num).map_err(|_| Errno::EINVAL)?;
        state.sems.get(usize::from(num)).ok_or(Errno::EINVAL)?;
        state.perm.check(who, WRITE)?;
        *state.sem(num)? = Sem { value, pid: who.pid };
        for adjust in state.undo.values_mut() {
            adjust.0.remove(&num);
        }
        state.ctime = now();
        state.update();
        Ok(())
    }

    /// `SETALL`. The caller has read as many values as there are semaphores.
    ///
    /// # Errors
    /// `ERANGE`, `EINVAL`.
    pub fn set_all(&self, who: Who<'_>, values: &[u16]) -> Result<(), Errno> {
        if values.iter().any(|value| i32::from(*value) > VMX) {
            return Err(Errno::ERANGE);
        }
        let mut state = self.lock()?;
        for (sem, value) in state.sems.iter_mut().zip(values) {
            *sem = Sem { value: i32::from(*value), pid: who.pid };
        }
        state.undo.clear();
        state.ctime = now();
        state.update();
        Ok(())
    }

    /// Whether `SETALL` is allowed.
    ///
    /// # Errors
    /// `EACCES`, `EINVAL`.
    pub fn check_write(&self, who: Who<'_>) -> Result<(), Errno> {
        self.lock()?.perm.check(who, WRITE)
    }

    /// How many semaphores there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.len
    }

    /// Applies a process's adjustments at its end.
    fn apply(&self, undo: u64, pid: i32) {
        let mut state = self.state.lock();
        let Some(adjust) = state.undo.remove(&undo).filter(|_| !state.removed) else { return };
        for (num, by) in adjust.0 {
            if let Ok(sem) = state.sem(num) {
                *sem = Sem { value: (sem.value + by).clamp(0, VMX), pid };
            }
        }
        state.otime = now();
        state.update();
    }
}

/// What [`Set::get`] asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Get {
    Value,
    Pid,
    Rising,
    Zero,
}

/// The sets in which a process has adjustments. Dropping it applies them.
pub struct UndoList {
    id: u64,
    pid: i32,
    sets: Mutex<Vec<Weak<Set>>>,
}

impl UndoList {
    /// The list of a task, made on first use.
    #[must_use]
    pub fn of(cell: &UndoCell, pid: i32) -> Option<&UndoList> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let made = cell.get_or_init(|| {
            let id = NEXT.fetch_add(1, Ordering::Relaxed);
            Box::new(UndoList { id, pid, sets: Mutex::new(rank::FILE_OBJECT, Vec::new()) })
        });
        made.downcast_ref()
    }

    fn note(&self, set: &Arc<Set>) {
        let mut sets = self.sets.lock();
        let new = Arc::downgrade(set);
        if !sets.iter().any(|known| known.ptr_eq(&new)) {
            sets.retain(|known| known.strong_count() > 0);
            sets.push(new);
        }
    }
}

impl Drop for UndoList {
    fn drop(&mut self) {
        for set in std::mem::take(self.sets.get_mut()) {
            if let Some(set) = set.upgrade() {
                set.apply(self.id, self.pid);
            }
        }
    }
}

/// The sets of a namespace.
pub struct Sets {
    ids: Mutex<Ids<Arc<Set>>>,
    budget: Arc<Budget>,
}

impl Sets {
    pub(crate) fn new(budget: Arc<Budget>) -> Sets {
        Sets { ids: Mutex::new(rank::FILE_OBJECT, Ids::new(MNI)), budget }
    }

    /// semget(2).
    ///
    /// # Errors
    /// Those of the call.
    pub fn get(&self, who: Who<'_>, key: i32, len: i32, flags: u32) -> Result<i32, Errno> {
        let len = u32::try_from(len).ok().filter(|len| *len <= MSL).ok_or(Errno::EINVAL)?;
        let existing = {
            let mut ids = self.ids.lock();
            match ids.by_key(key).filter(|_| key != IPC_PRIVATE) {
                Some(set) => set,
                None if key != IPC_PRIVATE && flags & IPC_CREAT == 0 => return Err(Errno::ENOENT),
                None => return self.create(&mut ids, who, key, len, flags),
            }
        };
        if flags & (IPC_CREAT | IPC_EXCL) == IPC_CREAT | IPC_EXCL {
            return Err(Errno::EEXIST);
        }
        if len > existing.len {
            return Err(Errno::EINVAL);
        }
        existing.state.lock().perm.check(who, flags)?;
        Ok(existing.id)
    }

    fn create(&self, ids: &mut Ids<Arc<Set>>, who: Who<'_>, key: i32, len: u32, flags: u32) -> Result<i32, Errno> {
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        if !self.budget.take(size(len)) {
            return Err(Errno::ENOMEM);
        }
        let made = ids.add(key, |id, seq| {
            let state = State {
                perm: Perm::new(key, seq, flags, who),
                sems: vec![Sem::default(); len as usize],
                otime: 0,
                ctime: now(),
                waiters: Vec::new(),
                undo: BTreeMap::new(),
                removed: false,
            };
            Arc::new(Set { id, len, state: Mutex::new(rank::FILE_OBJECT, state), budget: self.budget.clone() })
        });
        if made.is_err() {
            self.budget.give(size(len));
        }
        Ok(made?.id)
    }

    /// The set of an id.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn find(&self, id: i32) -> Result<Arc<Set>, Errno> {
        self.ids.lock().find(id).ok_or(Errno::EINVAL)
    }

    /// `IPC_STAT`.
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`.
    pub fn stat(&self, who: Who<'_>, id: i32) -> Result<SemidDs, Errno> {
        let set = self.find(id)?;
        let state = set.lock()?;
        state.perm.check(who, READ)?;
        Ok(state.stat())
    }

    /// `SEM_STAT` and, with `any`, `SEM_STAT_ANY`.
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`.
    pub fn stat_at(&self, who: Who<'_>, index: i32, any: bool) -> Result<(i32, SemidDs), Errno> {
        let set = self.ids.lock().at(index).ok_or(Errno::EINVAL)?;
        let state = set.lock()?;
        if !any {
            state.perm.check(who, READ)?;
        }
        Ok((set.id, state.stat()))
    }

    /// `IPC_SET`.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn set(&self, who: Who<'_>, id: i32, new: &IpcPerm) -> Result<(), Errno> {
        let set = self.find(id)?;
        let mut state = set.lock()?;
        state.perm.check_owner(who)?;
        state.perm.set(new)?;
        state.ctime = now();
        Ok(())
    }

    /// `IPC_RMID`: who waits gets `EIDRM`.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn remove(&self, who: Who<'_>, id: i32) -> Result<(), Errno> {
        let set = self.find(id)?;
        {
            let mut state = set.lock()?;
            state.perm.check_owner(who)?;
            state.removed = true;
            state.undo.clear();
            for waiter in std::mem::take(&mut state.waiters) {
                waiter.finish(Err(Errno::EIDRM));
            }
        }
        let gone = self.ids.lock().remove(id);
        drop(gone);
        Ok(())
    }

    /// `IPC_INFO` and, with `used`, `SEM_INFO`; and the highest index in use.
    #[must_use]
    pub fn info(&self, used: bool) -> (u64, SemInfo) {
        let ids = self.ids.lock();
        let sems: u32 = ids.iter().map(|set| set.len).sum();
        let (usz, aem) = if used { (ids.len() as i32, sems as i32) } else { (20, VMX) };
        let info = SemInfo {
            map: MNS,
            mni: MNI as i32,
            mns: MNS,
            mnu: MNS,
            msl: MSL as i32,
            opm: OPM as i32,
            ume: OPM as i32,
            usz,
            vmx: VMX,
            aem,
        };
        (ids.highest(), info)
    }
}
