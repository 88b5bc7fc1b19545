//! Linux asynchronous I/O: io_setup(2), io_submit(2), io_getevents(2), io_cancel(2), io_destroy(2).
//!
//! Requests are served while they are submitted, as Linux does for files that offer nothing better; their events wait in the
//! context to be fetched. A context belongs to a memory manager, and its id is the address of a page there, since libaio
//! looks for a ring of events behind the id; the page stays zero, which tells it to use the system call.

use super::rw::{How, read_file, write_file};
use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use ::fs::eventfd::EventFd;
use abi::raw::general as c;
use abi::stat::TimeSpec;
use abi::{Errno, PAGE_SIZE};
use kernel::{CurrentTask, SysErr, SysResult};
use lock::{Mutex, rank};
use mm::{MmapArgs, UserSink, UserSource};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use vfs::OpenFile;
use vfs::wait::{Events, WaitQueue};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(206, "io_setup", io_setup, &[Arg::Size, Arg::Ptr]),
    Entry::new(207, "io_destroy", io_destroy, &[Arg::Hex]),
    Entry::new(208, "io_getevents", io_getevents, &[Arg::Hex, Arg::Int, Arg::Int, Arg::Ptr, Arg::InTimespec]),
    Entry::new(209, "io_submit", io_submit, &[Arg::Hex, Arg::Int, Arg::Ptr]),
    Entry::new(210, "io_cancel", io_cancel, &[Arg::Hex, Arg::Ptr, Arg::Ptr]),
];

/// Requests in flight in all contexts (`fs.aio-max-nr`).
const MAX_REQUESTS: u64 = 65536;

/// `struct iocb`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Request {
    data: u64,
    key: u32,
    rw_flags: u32,
    opcode: u16,
    priority: i16,
    fd: i32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    result_fd: i32,
}

/// `struct io_event`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Event {
    data: u64,
    request: u64,
    result: i64,
    result2: i64,
}

struct Context {
    depth: Depth,
    /// `None` once destroyed.
    events: Mutex<Option<VecDeque<Event>>>,
    queue: WaitQueue,
}

/// A memory manager's contexts by id.
type Contexts = Mutex<HashMap<u64, Arc<Context>>>;

fn contexts(t: &CurrentTask) -> Option<&Contexts> {
    let made = t.mm().aio.get_or_init(|| Arc::new(Contexts::new(rank::LEAF, HashMap::new())));
    made.downcast_ref()
}

fn find(t: &CurrentTask, id: u64) -> Result<Arc<Context>, Errno> {
    contexts(t).and_then(|all| all.lock().get(&id).cloned()).ok_or(Errno::EINVAL)
}

/// A context's part of what all contexts may have.
struct Depth(u64);

/// `fs.aio-nr`.
static USED: AtomicU64 = AtomicU64::new(0);

impl Depth {
    fn take(depth: u64) -> Result<Depth, Errno> {
        let more = |used: u64| used.checked_add(depth).filter(|used| *used <= MAX_REQUESTS);
        USED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| Errno::EAGAIN)?;
        Ok(Depth(depth))
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        USED.fetch_sub(self.0, Ordering::Relaxed);
    }
}

fn io_setup(t: &mut CurrentTask, a: Args) -> SysResult {
    let (depth, out) = (u64::from(a.u32(0)), a.u64(1));
    let present: u64 = user::get(t, out)?;
    if present != 0 || depth == 0 {
        return Err(Errno::EINVAL.into());
    }
    let depth = Depth::take(depth)?;
    let (prot, flags) = (c::PROT_READ | c::PROT_WRITE, c::MAP_PRIVATE | c::MAP_ANONYMOUS);
    let id = t.mm().mmap(MmapArgs { addr: 0, len: PAGE_SIZE, prot, flags, file: None, offset: 0 })?;
    let context = Context { depth, events: Mutex::new(rank::LEAF, Some(VecDeque::new())), queue: WaitQueue::new() };
    if let Err(errno) = user::put(t, out, &id) {
        t.mm().munmap(id, PAGE_SIZE)?;
        return Err(errno.into());
    }
    // An id that is in use is that of a context whose page the guest has unmapped.
    let old = contexts(t).and_then(|all| all.lock().insert(id, Arc::new(context)));
    drop(old);
    Ok(0)
}

fn io_destroy(t: &mut CurrentTask, a: Args) -> SysResult {
    let context = contexts(t).and_then(|all| all.lock().remove(&a.u64(0))).ok_or(Errno::EINVAL)?;
    *context.events.lock() = None;
    context.queue.notify(Events::READABLE);
    t.mm().munmap(a.u64(0), PAGE_SIZE)?;
    Ok(0)
}

fn io_submit(t: &mut CurrentTask, a: Args) -> SysResult {
    let count = usize::try_from(a.i64(1)).map_err(|_| Errno::EINVAL)?;
    let context = find(t, a.u64(0))?;
    for at in 0..count {
        let result = user::get(t, a.u64(2).wrapping_add(8 * at as u64)).and_then(|addr| submit(t, &context, addr));
        if let Err(errno) = result {
            return if at > 0 { Ok(at as u64) } else { Err(errno.into()) };
        }
    }
    Ok(count as u64)
}

/// Serves one request. Its failure to begin is an error of the call, a failure of the operation an event.
fn submit(t: &CurrentTask, context: &Context, addr: u64) -> Result<(), Errno> {
    const RESFD: u32 = 1;
    let request: Request = user::get(t, addr)?;
    if request.reserved != 0 || i64::try_from(request.bytes).is_err() {
        return Err(Errno::EINVAL);
    }
    if context.events.lock().as_ref().ok_or(Errno::EINVAL)?.len() as u64 >= context.depth.0 {
        return Err(Errno::EAGAIN);
    }
    let file = t.fds().get(request.fd)?;
    let notify = if request.flags & RESFD != 0 { Some(t.fds().get(request.result_fd)?) } else { None };
    if notify.as_ref().is_some_and(|file| file.ops_as::<EventFd>().is_none()) {
        return Err(Errno::EINVAL);
    }
    let result = match serve(t, &file, &request)? {
        Ok(len) => len as i64,
        Err(SysErr::Errno(errno)) => -i64::from(errno.raw()),
        Err(SysErr::Restart(_)) => -i64::from(Errno::EINTR.raw()),
    };
    let event = Event { data: request.data, request: addr, result, result2: 0 };
    if let Some(events) = context.events.lock().as_mut() {
        events.push_back(event);
    }
    context.queue.notify(Events::READABLE);
    if let Some(file) = &notify
        && let Some(eventfd) = file.ops_as::<EventFd>()
    {
        eventfd.signal(1);
    }
    Ok(())
}

fn serve(t: &CurrentTask, file: &OpenFile, request: &Request) -> Result<SysResult, Errno> {
    const PREAD: u16 = 0;
    const PWRITE: u16 = 1;
    const FSYNC: u16 = 2;
    const FDSYNC: u16 = 3;
    const PREADV: u16 = 7;
    const PWRITEV: u16 = 8;
    let offset = u64::try_from(request.offset);
    let how = How { offset: file.ops().seekable().then_some(offset.unwrap_or(0)), flags: request.rw_flags };
    let (reads, writes) = (matches!(request.opcode, PREAD | PREADV), matches!(request.opcode, PWRITE | PWRITEV));
    if reads && !file.readable() || writes && !file.writable() {
        return Err(Errno::EBADF);
    }
    if (reads || writes) && offset.is_err() {
        return Err(Errno::EINVAL);
    }
    let mm = t.mm();
    Ok(match request.opcode {
        PREAD => read_file(t, file, &mut UserSink::new(mm, request.buffer, request.bytes)?, how),
        PWRITE => write_file(t, file, &mut UserSource::new(mm, request.buffer, request.bytes)?, how),
        PREADV => {
            let ranges = mm.import_iovec(request.buffer, request.bytes)?;
            read_file(t, file, &mut UserSink::from_ranges(mm, ranges), how)
        }
        PWRITEV => {
            let ranges = mm.import_iovec(request.buffer, request.bytes)?;
            write_file(t, file, &mut UserSource::from_ranges(mm, ranges), how)
        }
        FSYNC | FDSYNC => file.ops().sync(request.opcode == FDSYNC).map(|()| 0).map_err(SysErr::from),
        _ => return Err(Errno::EINVAL),
    })
}

fn io_getevents(t: &mut CurrentTask, a: Args) -> SysResult {
    let (min, most) = (a.i64(1), a.i64(2));
    let context = find(t, a.u64(0))?;
    if min < 0 || most < 0 || min > most {
        return Err(Errno::EINVAL.into());
    }
    let (min, most) = (min as usize, most as usize);
    let deadline = deadline(t, a.u64(4))?;
    let mut done = 0;
    let mut fetch = || -> Option<Result<(), Errno>> {
        loop {
            if done >= most {
                return Some(Ok(()));
            }
            let event = match context.events.lock().as_mut() {
                None => return Some(if done > 0 { Ok(()) } else { Err(Errno::EINVAL) }),
                Some(events) => events.pop_front(),
            };
            let Some(event) = event else { return (done >= min).then_some(Ok(())) };
            if let Err(errno) = user::put(t, a.u64(3).wrapping_add(32 * done as u64), &event) {
                return Some(if done > 0 { Ok(()) } else { Err(errno) });
            }
            done += 1;
        }
    };
    let _registration = context.queue.register(Events::READABLE, t.work.parker().clone());
    let ended = t.wait_until(deadline, &mut fetch);
    match ended {
        Ok(result) => result?,
        Err(kernel::WaitEnd::Interrupted) if done == 0 => return Err(Errno::EINTR.into()),
        Err(_) => {}
    }
    Ok(done as u64)
}

fn deadline(t: &CurrentTask, addr: u64) -> Result<Option<Instant>, Errno> {
    if addr == 0 {
        return Ok(None);
    }
    let time: TimeSpec = user::get(t, addr)?;
    match (u64::try_from(time.sec), u32::try_from(time.nsec)) {
        (Ok(sec), Ok(nsec @ 0..=999_999_999)) => Ok(Instant::now().checked_add(Duration::new(sec, nsec))),
        _ => Err(Errno::EINVAL),
    }
}

/// Nothing is ever under way that could be cancelled.
fn io_cancel(t: &mut CurrentTask, a: Args) -> SysResult {
    find(t, a.u64(0))?;
    let _: u32 = user::get(t, a.u64(1).wrapping_add(8))?;
    Err(Errno::EINVAL.into())
}
