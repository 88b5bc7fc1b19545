//! The memory manager: what a guest's address space contains.
//!
//! A [`MemoryManager`] keeps the mappings (VMAs) that a guest made and the memory behind their pages, and installs that
//! memory in the platform's address space when a fault asks for it, a run of pages at a time. `mmap` and `munmap` of what
//! was never touched cost no host call. The Sentry reaches guest memory only through it ([`MemoryManager::copy_in`] and the
//! like), under the same permissions as the guest.
//!
//! One lock (rank `VMAS`) guards all of it. Changes that the platform must know are collected while it is held and applied
//! before it is released, and frames are freed only after that: so no thread of the guest ever sees a page that is not its
//! own any more, and two faults of one address space can't undo each other's work. References to files are dropped
//! after the lock is released, since a file's last reference may take locks of lower rank.

mod access;
mod advise;
mod ahead;
mod brk;
mod change;
mod detach;
mod fault;
mod fork;
mod habit;
mod inspect;
mod layout;
mod map;
mod mlock;
mod mremap;
mod patch;
mod prot;
mod resident;
mod runs;
mod shared;
mod texts;
mod user_io;
mod vma;
mod windows;

pub use access::FutexKey;
pub use advise::Advice;
pub use fault::FaultError;
pub use inspect::{MappingInfo, Sizes};
pub use layout::Layout;
pub use map::{FileArgs, MmapArgs};
pub use patch::PlainText;
pub use prot::{Prot, VmaFlags};
pub use runs::Resident;
pub use shared::SharedMemory;
pub use texts::Texts;
pub use user_io::{UserRange, UserSink, UserSource};
pub use vma::{MAX_MAP_COUNT, Totals};
pub use windows::Views;

use abi::{Errno, PAGE_SIZE};
use core::any::Any;
use core::ops::Range;
use host::frames::{FrameAllocator, FrameRange};
use host::mappable::MappingObserver;
use lock::{Mutex, rank};
use platform::{AddressSpace, MapOp};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// So much memory of an ended address space may be free a little later than its process is seen to have ended.
const LATE_MAX: u64 = 4 << 20;

/// Resource limits that memory calls look at, in bytes. The kernel sets them when they change.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `RLIMIT_AS`
    pub address_space: u64,
    /// `RLIMIT_DATA`
    pub data: u64,
    /// `RLIMIT_STACK`
    pub stack: u64,
    /// `RLIMIT_MEMLOCK`
    pub locked: u64,
    /// `CAP_IPC_LOCK`: the last does not matter.
    pub may_lock: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { address_space: u64::MAX, data: u64::MAX, stack: 8 << 20, locked: 8 << 20, may_lock: false }
    }
}

/// Where a program's parts lie, for `/proc/PID/{cmdline,environ,stat}` and `prctl(PR_SET_MM)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramRanges {
    /// The code of the executable.
    pub code: Range<u64>,
    /// Its initialized data.
    pub data: Range<u64>,
    /// The argument strings.
    pub args: Range<u64>,
    /// The environment strings.
    pub env: Range<u64>,
    /// The stack pointer at the start.
    pub stack: u64,
    /// The auxiliary vector as it was put on the stack.
    pub auxv: Vec<u8>,
}

/// What the lock guards.
pub(crate) struct State {
    pub vmas: vma::VmaSet,
    pub runs: runs::Runs,
    pub windows: windows::Windows,
    pub brk: Range<u64>,
    pub limits: Limits,
    pub program: ProgramRanges,
    /// `mlockall(MCL_FUTURE)`: flags of mappings to come.
    pub lock_future: VmaFlags,
    /// The platform's address space has at most so many mappings.
    pub installed_bound: usize,
    /// The page of the last fault that there was no reason for.
    pub spurious: u64,
    /// Small memory that was mapped since the last fault, the last first.
    pub recent: Vec<Range<u64>>,
    /// The platform's address space does not answer any more.
    pub gone: bool,
    pub patches: patch::PatchState,
    /// Host I/O in flight on ranges that were handed out: frames freed meanwhile wait in `limbo`.
    pub pins: usize,
    pub limbo: Vec<FrameRange>,
    /// What of it is being written to.
    pub lent: Vec<FrameRange>,
}

/// The page that an address is in.
pub(crate) fn page(addr: u64) -> u64 {
    addr & !(PAGE_SIZE - 1)
}

/// A guest's address space, shared by the tasks that were cloned with `CLONE_VM`.
pub struct MemoryManager {
    id: u64,
    this: Weak<MemoryManager>,
    frames: Arc<FrameAllocator>,
    /// Empty until its program is to run.
    space: OnceLock<Arc<dyn AddressSpace>>,
    texts: Option<Arc<Texts>>,
    views: Arc<Views>,
    user: Range<u64>,
    layout: Layout,
    state: Mutex<State>,
    habit: Arc<habit::Habit>,
    /// It is a fork, of which others are to learn.
    learns: bool,
    /// How many pages it has asked for, if so.
    asked: AtomicU32,
    /// Nobody is left who could use its memory.
    last: AtomicBool,
    /// Its contexts of asynchronous I/O (Linux's `ioctx_table`), kept for the system calls that make them.
    pub aio: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl MemoryManager {
    /// Empty memory: what `execve` starts from. `user` is [`platform::Platform::user_range`], `texts` what patches system
    /// call sites, if that is wanted. Guests see none of it before it is [moved in](MemoryManager::move_in).
    #[must_use]
    pub fn new(
        frames: Arc<FrameAllocator>,
        texts: Option<Arc<Texts>>,
        views: Arc<Views>,
        user: Range<u64>,
        layout: Layout,
        limits: Limits,
    ) -> Arc<MemoryManager> {
        MemoryManager::with_habit(frames, texts, views, user, layout, limits, None)
    }

    /// The same; `parents` is the habit of the one that this is a fork of, and whether to begin with it.
    fn with_habit(
        frames: Arc<FrameAllocator>,
        texts: Option<Arc<Texts>>,
        views: Arc<Views>,
        user: Range<u64>,
        layout: Layout,
        limits: Limits,
        parents: Option<(Arc<habit::Habit>, bool)>,
    ) -> Arc<MemoryManager> {
        let (habit, learns) = parents.unwrap_or_default();
        let state = State {
            vmas: vma::VmaSet::default(),
            runs: runs::Runs::default(),
            windows: windows::Windows::default(),
            brk: 0..0,
            limits,
            program: ProgramRanges::default(),
            lock_future: VmaFlags::empty(),
            installed_bound: 0,
            spurious: 0,
            recent: Vec::new(),
            gone: false,
            patches: patch::PatchState::default(),
            pins: 0,
            limbo: Vec::new(),
            lent: Vec::new(),
        };
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new_cyclic(|this| MemoryManager {
            id,
            this: this.clone(),
            frames,
            space: OnceLock::new(),
            texts,
            views,
            user,
            layout,
            state: Mutex::new(rank::VMAS, state),
            habit,
            learns,
            asked: AtomicU32::new(0),
            last: AtomicBool::new(false),
            aio: OnceLock::new(),
        })
    }

    /// A number that no other memory manager of this Sentry has or had.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Lets guest threads see this memory in `space`, which must be empty. To be done once.
    pub fn move_in(&self, space: Arc<dyn AddressSpace>) {
        let first = self.space.set(space);
        debug_assert!(first.is_ok(), "moved in twice");
    }

    /// The sandbox ends with its process: its end need not wait until its memory is free.
    pub fn set_last(&self) {
        self.last.store(true, Ordering::Relaxed);
    }

    /// What guest threads of this memory manager run in.
    ///
    /// # Errors
    /// `ENOMEM` if it is in none yet.
    pub fn address_space(&self) -> Result<&Arc<dyn AddressSpace>, Errno> {
        self.space.get().ok_or(Errno::ENOMEM)
    }

    /// Gives its address space back, empty, to another memory manager. `None` if somebody else still uses this one, or if the
    /// address space has failed.
    #[must_use]
    pub fn move_out(self: Arc<Self>) -> Option<Arc<dyn AddressSpace>> {
        let mut mm = Arc::try_unwrap(self).ok()?;
        if mm.state.get_mut().gone {
            return None;
        }
        let space = mm.space.take()?;
        let everything = MapOp::Unmap { addr: mm.user.start, len: mm.user.end - mm.user.start };
        let emptied = space.apply(&[everything]);
        space.set_patches(Arc::default());
        emptied.ok().map(|()| space)
    }

    /// The allocator of its memory.
    #[must_use]
    pub fn frames(&self) -> &Arc<FrameAllocator> {
        &self.frames
    }

    /// The layout it was made with.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Addresses that may be mapped.
    #[must_use]
    pub fn user_range(&self) -> Range<u64> {
        self.user.clone()
    }

    /// Sets the limits, as `setrlimit(2)` and changes of credentials do.
    pub fn set_limits(&self, limits: Limits) {
        self.state.lock().limits = limits;
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.state.lock().limits
    }

    /// Where the program's parts lie.
    #[must_use]
    pub fn program(&self) -> ProgramRanges {
        self.state.lock().program.clone()
    }

    /// Notes where the program's parts lie (`execve`, `prctl(PR_SET_MM)`).
    pub fn set_program(&self, program: ProgramRanges) {
        self.state.lock().program = program;
    }

    fn observer(&self) -> Weak<dyn MappingObserver> {
        self.this.clone()
    }
}

impl MappingObserver for MemoryManager {
    fn invalidate(&self, key: u64, range: Range<u64>, private_copies: bool) {
        self.change(|state, changes| {
            let hit: Vec<Range<u64>> = state
                .vmas
                .iter()
                .filter(|(_, vma)| vma.file.as_ref().is_some_and(|file| file.object.observers().key() == key))
                .filter_map(|(start, vma)| {
                    let first = range.start.saturating_sub(vma.offset).saturating_add(start).min(vma.end);
                    let last = range.end.saturating_sub(vma.offset).saturating_add(start).min(vma.end);
                    (first < last).then_some(first..last)
                })
                .collect();
            for part in hit {
                changes.drop_pages(state, part, private_copies);
            }
        });
    }
}

impl Drop for MemoryManager {
    /// No task is in it any more. What guest threads had mapped is given to others only after they can't reach it: of a
    /// small address space that is when it has ended, which nobody waits for; a large one is emptied first, so that its
    /// memory is free when its process's end is known, unless the sandbox ends too.
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if let Some(texts) = &self.texts {
            texts.learn(&state.patches);
        }
        let mut changes = change::Changes::default();
        let vmas = core::mem::take(&mut state.vmas);
        core::mem::take(&mut state.runs).into_runs().for_each(|(start, run)| changes.release(start, run));
        changes.forget_windows(state);
        let mut freed = changes.freed();
        freed.append(&mut state.limbo);
        freed.extend(state.patches.take_frames());
        let bytes: u64 = freed.iter().map(|frames| frames.len()).sum();
        let (frames, last) = (self.frames.clone(), self.last.load(Ordering::Relaxed));
        // A mapping that is under way needs its file still.
        let files = changes.files();
        let free = move || {
            freed.into_iter().for_each(|range| frames.dec(range));
            drop(files);
        };
        match self.space.get() {
            Some(space) if state.installed_bound > 0 && ((bytes > LATE_MAX && !last) || state.gone) => {
                let everything = MapOp::Unmap { addr: self.user.start, len: self.user.end - self.user.start };
                let _ = space.apply(&[everything]);
                free();
            }
            Some(space) if state.installed_bound > 0 => space.at_end(Box::new(free)),
            _ => free(),
        }
        drop(vmas);
    }
}
