//! POSIX message queues (mq_overview(7)): a flat namespace of named queues, whose descriptors can be polled.

use crate::Budget;
use crate::perm::Who;
use abi::Errno;
use abi::ipc::MqAttr;
use abi::raw::general as c;
use abi::signal::{SigInfo, Signal, code};
use host::io::Sink;
use lock::{Mutex, rank};
use std::any::Any;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use vfs::anon::mqueuefs;
use vfs::wait::{Events, WaitQueue};
use vfs::{Caller, Capability, Credentials, FileOps, FileType, IoCx, IoError, OpenFile, OpenFlags, PathRef};

/// `/proc/sys/fs/mqueue`: most queues, messages in one, bytes in a message; and what the privileged may go up to.
const QUEUES: usize = 256;
const MESSAGES: i64 = 10;
const SIZE: i64 = 8192;
const HARD_MESSAGES: i64 = 65_536;
const HARD_SIZE: i64 = 16 << 20;
/// One more than the highest priority.
pub const PRIO_MAX: u32 = 32_768;

/// What Linux counts for a message and for a priority beside the text.
const OVERHEAD: u64 = 48;

/// mq_notify(2)'s signal.
#[derive(Clone, Copy, Debug)]
pub struct Notify {
    /// The signal; `None` for `SIGEV_NONE`.
    pub signal: Option<Signal>,
    /// `sigev_value`.
    pub value: u64,
    /// The process that is told.
    pub pid: i32,
}

/// A signal to be sent, after all locks are released.
pub type Notice = (i32, SigInfo);

#[derive(Default)]
struct State {
    /// By priority, highest first, then by age.
    messages: BTreeMap<(Reverse<u32>, u64), Vec<u8>>,
    next: u64,
    bytes: u64,
    notify: Option<Notify>,
}

/// Bytes of queues by user, for `RLIMIT_MSGQUEUE`.
type Users = Mutex<HashMap<u32, u64>>;

/// One queue.
pub struct Queue {
    place: PathRef,
    max: usize,
    size: usize,
    state: Mutex<State>,
    events: WaitQueue,
    /// How many wait in mq_receive(3): then a message is no news to anybody else.
    receivers: AtomicUsize,
    budget: Arc<Budget>,
    users: Arc<Users>,
    user: u32,
    reserved: u64,
}

impl Drop for Queue {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        self.budget.give(state.bytes + OVERHEAD * state.messages.len() as u64);
        give_back(&self.users, self.user, self.reserved);
    }
}

fn give_back(users: &Users, user: u32, bytes: u64) {
    let mut users = users.lock();
    if let Some(used) = users.get_mut(&user) {
        *used = used.saturating_sub(bytes);
        if *used == 0 {
            users.remove(&user);
        }
    }
}

/// Counts a task among those that wait for a message.
pub struct Receiving<'a>(&'a Queue);

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.0.receivers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Queue {
    /// Most bytes of a message.
    #[must_use]
    pub fn message_size(&self) -> usize {
        self.size
    }

    /// Told when a message (`IN`) or room (`OUT`) comes.
    #[must_use]
    pub fn events(&self) -> &WaitQueue {
        &self.events
    }

    /// Marks the caller as one who waits for a message.
    #[must_use]
    pub fn receiving(&self) -> Receiving<'_> {
        self.receivers.fetch_add(1, Ordering::SeqCst);
        Receiving(self)
    }

    /// Sizes and fill; the flags are the description's.
    #[must_use]
    pub fn attr(&self) -> MqAttr {
        let curmsgs = self.state.lock().messages.len() as i64;
        MqAttr { maxmsg: self.max as i64, msgsize: self.size as i64, curmsgs, ..MqAttr::default() }
    }

    /// Takes the text out of the option once there is room. Returns whom to tell.
    ///
    /// # Errors
    /// `ENOMEM`, or that it is full.
    pub fn send(&self, who: Who<'_>, priority: u32, text: &mut Option<Vec<u8>>) -> Result<Option<Notice>, IoError> {
        let notice = {
            let mut state = self.state.lock();
            if state.messages.len() >= self.max {
                return Err(IoError::WouldBlock);
            }
            let Some(text) = text.take() else { return Ok(None) };
            let len = text.len() as u64;
            if !self.budget.take(len + OVERHEAD) {
                return Err(Errno::ENOMEM.into());
            }
            let was_empty = state.messages.is_empty();
            let key = (Reverse(priority), state.next);
            state.next = state.next.wrapping_add(1);
            state.bytes += len;
            state.messages.insert(key, text);
            let alone = was_empty && self.receivers.load(Ordering::SeqCst) == 0;
            let told = if alone { state.notify.take() } else { None };
            told.and_then(|told| {
                let info = SigInfo::new(told.signal?, code::SI_MESGQ);
                Some((told.pid, info.with_sender(who.pid, who.creds.ruid).with_value(told.value)))
            })
        };
        self.events.notify(Events::READABLE);
        Ok(notice)
    }

    /// The next message and its priority.
    ///
    /// # Errors
    /// That there is none.
    pub fn receive(&self) -> Result<(u32, Vec<u8>), IoError> {
        let (priority, text) = {
            let mut state = self.state.lock();
            let ((Reverse(priority), _), text) = state.messages.pop_first().ok_or(IoError::WouldBlock)?;
            state.bytes -= text.len() as u64;
            (priority, text)
        };
        self.budget.give(text.len() as u64 + OVERHEAD);
        self.events.notify(Events::WRITABLE);
        Ok((priority, text))
    }

    /// mq_notify(2); `None` ends the caller's registration.
    ///
    /// # Errors
    /// `EBUSY` if a process is registered.
    pub fn notify(&self, pid: i32, notify: Option<Notify>) -> Result<(), Errno> {
        let mut state = self.state.lock();
        match notify {
            None => state.notify = state.notify.filter(|old| old.pid != pid),
            Some(_) if state.notify.is_some() => return Err(Errno::EBUSY),
            new => state.notify = new,
        }
        Ok(())
    }

    /// Opens it. Each open makes a description of its own.
    #[must_use]
    pub fn open(self: &Arc<Queue>, flags: OpenFlags) -> OpenFile {
        OpenFile::new(self.place.clone(), flags, Box::new(MqFile(self.clone())))
    }
}

/// A description of a queue.
pub struct MqFile(Arc<Queue>);

impl MqFile {
    /// The queue.
    #[must_use]
    pub fn queue(&self) -> &Arc<Queue> {
        &self.0
    }
}

impl FileOps for MqFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_at(&self, _: &IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> Result<usize, IoError> {
        let text = {
            let state = self.0.state.lock();
            let (signal, pid) = state.notify.map_or((0, 0), |n| (n.signal.unwrap_or(0), n.pid));
            let kind = u8::from(state.notify.is_some_and(|n| n.signal.is_none()));
            format!("QSIZE:{:<10} NOTIFY:{kind:<5} SIGNO:{signal:<5} NOTIFY_PID:{pid:<6}\n", state.bytes)
        };
        let rest = usize::try_from(offset).ok().and_then(|at| text.as_bytes().get(at..)).unwrap_or_default();
        Ok(dst.put(rest)?)
    }

    fn readiness(&self) -> Events {
        let count = self.0.state.lock().messages.len();
        let mut events = Events::empty();
        events.set(Events::READABLE, count > 0);
        events.set(Events::WRITABLE, count < self.0.max);
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.events)
    }

    fn flush(&self, caller: &dyn Caller) {
        let mut state = self.0.state.lock();
        state.notify = state.notify.filter(|notify| notify.pid != caller.tgid());
    }
}

/// The queues of a namespace, by name.
pub struct Queues {
    names: Mutex<BTreeMap<Vec<u8>, Arc<Queue>>>,
    users: Arc<Users>,
    budget: Arc<Budget>,
}

/// mq_open(3)'s arguments.
pub struct Open<'a> {
    /// The name without its slash.
    pub name: &'a [u8],
    /// `O_*`
    pub flags: u32,
    /// With the umask applied.
    pub mode: u32,
    /// Sizes of a new queue.
    pub attr: Option<MqAttr>,
    /// `RLIMIT_MSGQUEUE`
    pub limit: u64,
}

/// As a lookup in the file system of queues has it.
fn check_name(name: &[u8]) -> Result<(), Errno> {
    match name {
        b"" => Err(Errno::ENOENT),
        b"." | b".." => Err(Errno::EACCES),
        _ if name.contains(&b'/') => Err(Errno::EACCES),
        _ if name.len() > vfs::NAME_MAX => Err(Errno::ENAMETOOLONG),
        _ => Ok(()),
    }
}

impl Queues {
    pub(crate) fn new(budget: Arc<Budget>) -> Queues {
        let users = Arc::new(Mutex::new(rank::LEAF, HashMap::new()));
        Queues { names: Mutex::new(rank::FILE_OBJECT, BTreeMap::new()), users, budget }
    }

    /// mq_open(2): the queue, which may be new.
    ///
    /// # Errors
    /// Those of the call.
    pub fn open(&self, caller: &dyn Caller, open: &Open<'_>) -> Result<Arc<Queue>, Errno> {
        check_name(open.name)?;
        let creds = caller.creds();
        let existing = {
            let mut names = self.names.lock();
            match names.get(open.name).cloned() {
                Some(queue) => queue,
                None if open.flags & c::O_CREAT == 0 => return Err(Errno::ENOENT),
                None => {
                    if names.len() >= QUEUES && !creds.capable(Capability::SysResource) {
                        return Err(Errno::ENOSPC);
                    }
                    let queue = self.make(caller, &creds, open)?;
                    names.insert(open.name.to_vec(), queue.clone());
                    return Ok(queue);
                }
            }
        };
        if open.flags & (c::O_CREAT | c::O_EXCL) == c::O_CREAT | c::O_EXCL {
            return Err(Errno::EEXIST);
        }
        let wanted = match open.flags & c::O_ACCMODE {
            c::O_RDONLY => 4,
            c::O_WRONLY => 2,
            c::O_RDWR => 6,
            _ => return Err(Errno::EINVAL),
        };
        let attr = existing.place.inode().attr()?;
        let shift = if creds.fsuid == attr.uid { 6 } else { 3 * u32::from(creds.in_group(attr.gid)) };
        if wanted & !(attr.perm >> shift) & 7 != 0 && !creds.capable(Capability::DacOverride) {
            return Err(Errno::EACCES);
        }
        Ok(existing)
    }

    fn make(&self, caller: &dyn Caller, creds: &Credentials, open: &Open<'_>) -> Result<Arc<Queue>, Errno> {
        let (max, size) = open.attr.map_or((MESSAGES, SIZE), |attr| (attr.maxmsg, attr.msgsize));
        let may = creds.capable(Capability::SysResource);
        let (most, largest) = if may { (HARD_MESSAGES, HARD_SIZE) } else { (MESSAGES, SIZE) };
        if !(1..=most).contains(&max) || !(1..=largest).contains(&size) {
            return Err(Errno::EINVAL);
        }
        let (max, size) = (max as u64, size as u64);
        let reserved = max * size + max * OVERHEAD + max.min(PRIO_MAX.into()) * OVERHEAD;
        {
            let mut users = self.users.lock();
            let used = users.entry(creds.ruid).or_default();
            *used = used.checked_add(reserved).filter(|sum| *sum <= open.limit).ok_or(Errno::EMFILE)?;
        }
        let place = mqueuefs().place("mqueue", FileType::Regular, open.mode & 0o777, caller);
        Ok(Arc::new(Queue {
            place,
            max: max as usize,
            size: size as usize,
            state: Mutex::new(rank::FILE_OBJECT, State::default()),
            events: WaitQueue::new(),
            receivers: AtomicUsize::new(0),
            budget: self.budget.clone(),
            users: self.users.clone(),
            user: creds.ruid,
            reserved,
        }))
    }

    /// mq_unlink(2).
    ///
    /// # Errors
    /// `ENOENT`, `EPERM` for other users' queues.
    pub fn unlink(&self, creds: &Credentials, name: &[u8]) -> Result<(), Errno> {
        check_name(name)?;
        let gone = {
            let mut names = self.names.lock();
            let queue = names.get(name).ok_or(Errno::ENOENT)?;
            if queue.place.inode().attr()?.uid != creds.fsuid && !creds.capable(Capability::Fowner) {
                return Err(Errno::EPERM);
            }
            names.remove(name)
        };
        drop(gone);
        Ok(())
    }
}
