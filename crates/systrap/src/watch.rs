//! The platform's own thread: parent of all stubs, which sees them die, reaps them, and keeps a few ready.

use crate::arena::Arena;
use crate::crowd::Crowd;
use crate::dozing::Dozers;
use crate::layout::*;
use crate::life::{ANY_CHILD, Life};
use crate::linger::Cores;
use crate::load::Load;
use crate::local::Waiters;
use crate::mapper::{Call, Channel, Proof};
use crate::pace::{Mover, OneCore};
use crate::shared::Shared;
use crate::stub::Stub;
use crate::text::{Entry, STUB_CLONE};
use crate::zygote::{self, Plan, Region, StartError};
use crate::{HostFiles, Options};
use abi::Errno;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use host::elsewhere::Thread;
use lock::{Mutex, rank};
use platform::Gone;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, ftruncate, memfd_create};
use rustix::process::{
    Pid, PidfdFlags, Resource, Signal, WaitId, WaitIdOptions, getrlimit, pidfd_open, pidfd_send_signal, waitid,
};
use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Weak, mpsc};

/// Stubs kept ready at most: for two programs, of which one forks, and one that is only taken to be the zygote's heir.
/// Before that many have been asked for, one more than that.
const POOL: usize = 4;
/// How long the first process has to ask for a second, before one is made ready: many are over by then.
const FIRST: Timespec = Timespec { tv_sec: 0, tv_nsec: 15_000_000 };
/// More threads than these are not moved to another core to die.
const FEW: usize = 4;
/// The thread's stack, in bytes.
const STACK: usize = 256 << 10;
/// The watch thread's own key in the epoll set.
const WAKE: u64 = 0;

/// What stubs are cloned from.
enum Zygote {
    /// The first process.
    First { shared: Arc<Shared>, life: Life, channel: Channel },
    /// A stub that has never run a guest, after the first process was killed by someone.
    Heir(Arc<Stub>),
}

impl Zygote {
    /// Makes one call in it, and returns what that did.
    fn run(&mut self, call: Call) -> Result<i64, Gone> {
        match self {
            Zygote::First { shared, life, channel } => {
                channel.run(shared, life, &[call], Proof::Now)?;
                Ok(Channel::result(shared, 0) as i64)
            }
            Zygote::Heir(stub) => stub.run(call),
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // An heir is reaped as any stub.
        if let Zygote::First { life, .. } = self {
            life.wait();
            reap(life.pidfd());
        }
    }
}

/// What is left to do when a process is dead.
pub type Then = Box<dyn FnOnce() + Send>;

/// A process being watched. Its stub may be gone already, and the process about to die.
struct Watched {
    pidfd: Arc<OwnedFd>,
    stub: Weak<Stub>,
    arena: Arc<Arena>,
    then: Vec<Then>,
}

/// What the platform's parts share.
pub struct Core {
    pub region: Region,
    pub options: Options,
    pub waiters: Arc<Waiters>,
    /// Guest threads that there are.
    pub contexts: AtomicUsize,
    /// Those of them that have been given their turn.
    pub running: Arc<AtomicUsize>,
    /// Those of these that sleep all the same.
    pub dozers: Dozers,
    pub cores: usize,
    pub load: Load,
    /// Whether this thread, or the zygote for it, does something.
    works: AtomicBool,
    pub crowd: Crowd,
    pub lingerers: Cores,
    /// `None` until it has started, and once the platform has stopped.
    zygote: Mutex<Option<Zygote>>,
    watched: Mutex<HashMap<u64, Watched>>,
    pool: Mutex<Vec<Arc<Stub>>>,
    /// How many it holds: each takes 64 MiB of addresses, which a limit may make few.
    most: usize,
    /// How many stubs have been asked for.
    taken: AtomicUsize,
    /// Which core the thread and the processes that it makes are kept off.
    aside: Mutex<Mover>,
    /// Of dead stubs, for new ones.
    arenas: Mutex<Vec<Arena>>,
    epoll: OwnedFd,
    wake: OwnedFd,
    stop: AtomicBool,
    next: AtomicU64,
}

fn host(what: &'static str) -> impl Fn(rustix::io::Errno) -> StartError {
    move |error| StartError::Host(what, error)
}

/// An errno of a failed host call.
pub fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error()).unwrap_or(Errno::EAGAIN)
}

/// Whether the zygote has started.
pub type Started = mpsc::Receiver<Result<(), StartError>>;

/// A platform that has not started.
pub struct Prepared {
    pub core: Arc<Core>,
    plan: Plan,
    page: OwnedFd,
    arena: Arena,
}

impl Prepared {
    /// Makes what needs no other thread or process.
    pub fn new(files: HostFiles, options: Options) -> Result<Prepared, StartError> {
        let plan = zygote::plan(files.maps)?;
        let page = waiters_file().map_err(host("memfd_create"))?;
        let core = Arc::new(Core::new(&plan, &page, files.load, options)?);
        Ok(Prepared { core, plan, page, arena: Arena::new().map_err(host("a stub's memory"))? })
    }

    /// Starts the platform's thread, which goes on to make the zygote.
    pub fn start(self) -> Result<Started, StartError> {
        let (send, receive) = mpsc::channel();
        let thread = Thread::spawn(STACK, move || {
            let Prepared { core, plan, page, arena } = self;
            rustix::thread::set_name(c"vizor-stubs").unwrap_or_default();
            let begun = core.begin(&plan, &page, arena);
            let failed = begun.is_err();
            let _ = send.send(begun);
            drop((send, plan, page));
            if !failed {
                core.watch();
            }
        });
        thread.map_err(|_| StartError::Missing("a thread"))?.detach();
        Ok(receive)
    }
}

impl Core {
    fn new(plan: &Plan, page: &OwnedFd, load: Option<File>, options: Options) -> Result<Core, StartError> {
        let cores = host::elsewhere::cores().map_or(1, |cores| cores.count() as usize);
        let waiters = Arc::new(Waiters(Shared::map(page.as_fd(), WAITERS_LEN).map_err(host("mmap"))?));
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(host("epoll_create"))?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(host("eventfd"))?;
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN).map_err(host("epoll_ctl"))?;
        Ok(Core {
            region: plan.region,
            options,
            waiters,
            contexts: AtomicUsize::new(0),
            running: Arc::new(AtomicUsize::new(0)),
            dozers: Dozers::new(),
            cores,
            load: Load::new(load),
            works: AtomicBool::new(true),
            crowd: Crowd::new(cores),
            lingerers: Cores::new(cores),
            zygote: Mutex::new(rank::ADDRESS_SPACE, None),
            watched: Mutex::new(rank::LEAF, HashMap::new()),
            pool: Mutex::new(rank::LEAF, Vec::new()),
            most: if getrlimit(Resource::As).current.is_some() { 1 } else { POOL },
            taken: AtomicUsize::new(0),
            aside: Mutex::new(rank::LEAF, Mover::unknown()),
            arenas: Mutex::new(rank::LEAF, Vec::new()),
            epoll,
            wake,
            stop: AtomicBool::new(false),
            next: AtomicU64::new(WAKE + 1),
        })
    }

    /// How many guest threads run: those that have been given their turn and do not doze.
    pub fn runs(&self) -> usize {
        self.running.load(Ordering::Relaxed).saturating_sub(self.dozers.count())
    }

    /// How many threads of the sandbox run at most, but for what one guest thread and its Sentry thread do.
    pub fn run(&self) -> usize {
        2 * self.runs() + self.lingerers.lingering() + usize::from(self.works.load(Ordering::Relaxed))
    }

    /// Makes the zygote, on the platform's thread.
    fn begin(&self, plan: &Plan, page: &OwnedFd, arena: Arena) -> Result<(), StartError> {
        // Each of them waits for the next: to wake another core for that takes longer than the work.
        let _here = OneCore::stay();
        *self.aside.lock() = Mover::own();
        let Arena { file, shared, .. } = arena;
        let pid = zygote::spawn(plan, file.as_fd(), page.as_fd(), &shared)?;
        let pidfd = open_pid(pid).map_err(host("pidfd_open"))?;
        let life = Life::new(pid, Arc::new(pidfd), Arc::clone(&self.running));
        let mut channel = Channel::new(pid);
        // An empty batch: the zygote is through its start.
        channel.run(&shared, &life, &[], Proof::Now).map_err(|_| StartError::Zygote(pid))?;
        *self.zygote.lock() = Some(Zygote::First { shared, life, channel });
        Ok(())
    }

    /// A stub from the pool, or a new one.
    pub fn take_stub(self: &Arc<Core>) -> Result<Arc<Stub>, Errno> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let stub = match self.ready_stub() {
            Some(stub) => Ok(stub),
            // A host that gives no more leaves the last of the pool, else kept for when the zygote dies.
            _ => self.create_stub().or_else(|error| {
                let last = self.pool.lock().pop();
                last.filter(|stub| !stub.life().dead()).ok_or(error)
            }),
        };
        self.refill();
        stub
    }

    /// A stub from the pool, if there is a core on which another can take its place.
    pub fn spare_stub(&self) -> Option<Arc<Stub>> {
        if self.runs() + 1 >= self.cores {
            return None;
        }
        let stub = self.ready_stub()?;
        self.refill();
        Some(stub)
    }

    /// All but the last of the pool, which the first process may have too.
    fn ready_stub(&self) -> Option<Arc<Stub>> {
        let mut pool = self.pool.lock();
        let last = usize::from(self.taken.load(Ordering::Relaxed) > 1);
        let ready = if pool.len() > last { pool.pop() } else { None };
        drop(pool);
        ready.filter(|stub| !stub.life().dead())
    }

    /// What takes a stub's place is made on another core, if there is one.
    fn refill(&self) {
        self.aside.lock().keep_away();
        self.wake();
    }

    /// Kills all processes, and brings the thread to the caller's core, where both are to end: elsewhere a guest may still
    /// run.
    pub fn end(&self) {
        self.watched.lock().values().for_each(|watched| kill(&watched.pidfd));
        // Whoever has it locked waits for its answer, which can take long; it dies with this process all the same.
        if let Some(zygote) = self.zygote.try_lock()
            && let Some(Zygote::First { life, .. }) = &*zygote
        {
            life.kill();
        }
        self.aside.lock().bring_here();
    }

    /// Ends the thread, and with it all stubs.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    fn create_stub(self: &Arc<Core>) -> Result<Arc<Stub>, Errno> {
        let spare = self.arenas.lock().pop();
        let arena = Arc::new(spare.map_or_else(Arena::new, Ok).map_err(errno)?);
        arena.shared.u32(CMD_PARENT).store(std::process::id(), Ordering::SeqCst);
        let pid = self.clone_zygote(&arena.file)?;
        let pidfd = Arc::new(open_pid(pid).map_err(errno)?);
        let life = Life::new(pid, Arc::clone(&pidfd), Arc::clone(&self.running));
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let stub = Arc::new(Stub::new(Arc::clone(self), id, life, Arc::clone(&arena)));
        let watched = Watched { pidfd: Arc::clone(&pidfd), stub: Arc::downgrade(&stub), arena, then: Vec::new() };
        self.watched.lock().insert(id, watched);
        epoll::add(&self.epoll, &*pidfd, epoll::EventData::new_u64(id), epoll::EventFlags::IN).map_err(errno)?;
        Ok(stub)
    }

    fn clone_zygote(&self, file: &OwnedFd) -> Result<i32, Errno> {
        use std::os::fd::AsRawFd;
        let call = Call {
            number: libc::SYS_clone as u32,
            flags: CALL_MAY_FAIL,
            args: [STUB_CLONE, 0, 0, 0, 0, file.as_raw_fd() as u64],
            entry: self.region.base + Entry::Process.offset() as u64,
        };
        let mut zygote = self.zygote.lock();
        let result = loop {
            match zygote.as_mut().ok_or(Errno::EAGAIN)?.run(call) {
                Ok(result) => break result,
                Err(_) => {
                    let heir = self.pool.lock().pop();
                    *zygote = Some(Zygote::Heir(heir.ok_or(Errno::EAGAIN)?));
                }
            }
        };
        match result {
            pid @ 1.. => i32::try_from(pid).map_err(|_| Errno::EAGAIN),
            error => Err(i32::try_from(-error).ok().and_then(Errno::from_raw).unwrap_or(Errno::EAGAIN)),
        }
    }

    /// Kills a stub's process as the stub is dropped, and reaps it now or when it has died. Its threads, which are these, die
    /// on another core than the caller's, if there is one.
    pub fn bury(&self, id: u64, life: &Life, threads: impl Iterator<Item = i32>) {
        threads.take(FEW).for_each(|tid| Mover::new(tid).keep_away());
        life.kill();
        if !self.watched.lock().contains_key(&id) {
            reap(life.pidfd());
        }
    }

    /// Does `then` once a stub's process is dead, on the platform's thread.
    pub fn at_end(&self, id: u64, life: &Life, then: Then) {
        if let Some(watched) = self.watched.lock().get_mut(&id) {
            watched.then.push(then);
            return;
        }
        // Dead already, or the platform has stopped.
        life.wait();
        then();
    }

    fn watch(self: &Arc<Core>) {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(16);
        let mut late = false;
        while !self.stop.load(Ordering::SeqCst) {
            let early = !late && self.taken.load(Ordering::Relaxed) <= 1;
            self.fill_pool(early);
            events.clear();
            self.works.store(false, Ordering::Relaxed);
            let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), early.then_some(&FIRST));
            self.works.store(true, Ordering::Relaxed);
            late |= early && events.is_empty();
            for event in &events {
                match event.data.u64() {
                    WAKE => {
                        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
                    }
                    id => self.died(id),
                }
            }
        }
        // The stubs die with this thread.
        let watched: Vec<Watched> = self.watched.lock().drain().map(|(_, watched)| watched).collect();
        for stub in watched.iter().filter_map(|watched| watched.stub.upgrade()) {
            stub.life().kill();
            stub.set_dead();
        }
        // Stubs hold the core; let go of them so that it can end.
        let pool = std::mem::take(&mut *self.pool.lock());
        drop(pool);
        let zygote = self.zygote.lock().take();
        drop(zygote);
    }

    fn died(&self, id: u64) {
        let Some(watched) = self.watched.lock().remove(&id) else { return };
        let _ = epoll::delete(&self.epoll, &*watched.pidfd);
        for then in watched.then {
            then();
        }
        match watched.stub.upgrade() {
            Some(stub) => stub.set_dead(),
            None => {
                reap(&watched.pidfd);
                self.keep_arena(watched.arena);
            }
        }
    }

    fn keep_arena(&self, arena: Arc<Arena>) {
        if self.arenas.lock().len() < self.most
            && let Ok(arena) = Arc::try_unwrap(arena)
            && let Some(clean) = arena.cleared()
        {
            self.arenas.lock().push(clean);
        }
    }

    /// With a stub for the first process, then one that is to be the zygote's heir, and, if it is not too early for that,
    /// some for new processes.
    fn fill_pool(self: &Arc<Core>, early: bool) {
        let wanted = match self.taken.load(Ordering::Relaxed) {
            _ if early => 1,
            taken => (taken + 1).min(self.most),
        };
        while !self.stop.load(Ordering::SeqCst) && self.pool.lock().len() < wanted {
            let Ok(stub) = self.create_stub() else { return };
            stub.prepare();
            self.pool.lock().push(stub);
        }
    }
}

fn kill(pidfd: &OwnedFd) {
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
}

fn reap(pidfd: &OwnedFd) {
    let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | ANY_CHILD);
}

fn waiters_file() -> rustix::io::Result<OwnedFd> {
    let file = memfd_create("waiters", MemfdFlags::CLOEXEC)?;
    ftruncate(&file, WAITERS_LEN as u64)?;
    fallocate(&file, FallocateFlags::empty(), 0, WAITERS_LEN as u64)?;
    Ok(file)
}

fn open_pid(pid: i32) -> rustix::io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?;
    pidfd_open(pid, PidfdFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cores_count_though_it_starts_on_one() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let maps = std::fs::File::open("/proc/self/maps").unwrap();
        let prepared = Prepared::new(HostFiles { maps, load: None }, Options::default()).unwrap();
        let core = Arc::clone(&prepared.core);
        prepared.start().unwrap().recv().unwrap().unwrap();
        assert_eq!(core.cores, cores);
        core.stop();
    }
}
