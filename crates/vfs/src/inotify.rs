//! inotify instances: their watches, their queue of events, and the file that reads it.

use crate::notify::{Mark, Marks};
use crate::wait::{Events, WaitQueue};
use crate::{Caller, FileOps, Inode, IoCx, IoError, OpenFile, OpenFlags};
use abi::Errno;
use abi::raw::general as c;
use abi::raw::ioctl;
use host::io::Sink;
use lock::{Mutex, rank};
use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

/// `fs.inotify.max_queued_events`.
const MAX_EVENTS: usize = 16384;
/// `fs.inotify.max_user_watches`, here for each instance.
const MAX_WATCHES: usize = 65536;
/// Size of `struct inotify_event` without its name.
const HEADER: usize = 16;

#[derive(PartialEq, Eq)]
struct Event {
    wd: i32,
    mask: u32,
    cookie: u32,
    name: Box<[u8]>,
}

impl Event {
    /// The name with its final zero, padded to whole headers.
    fn padded(&self) -> usize {
        if self.name.is_empty() { 0 } else { (self.name.len() + 1).next_multiple_of(HEADER) }
    }

    fn encode(&self) -> Vec<u8> {
        let padded = self.padded();
        let mut bytes = Vec::with_capacity(HEADER + padded);
        bytes.extend_from_slice(&self.wd.to_ne_bytes());
        bytes.extend_from_slice(&self.mask.to_ne_bytes());
        bytes.extend_from_slice(&self.cookie.to_ne_bytes());
        bytes.extend_from_slice(&(padded as u32).to_ne_bytes());
        bytes.extend_from_slice(&self.name);
        bytes.resize(HEADER + padded, 0);
        bytes
    }
}

struct State {
    events: VecDeque<Event>,
    /// The watched inodes, kept alive as long as they are watched.
    watches: HashMap<i32, Arc<dyn Inode>>,
    next_wd: i32,
}

/// An inotify instance.
pub struct Inotify {
    me: Weak<Inotify>,
    state: Mutex<State>,
    queue: WaitQueue,
}

impl Inotify {
    /// An instance that watches nothing.
    #[must_use]
    pub fn new() -> Arc<Inotify> {
        let state = State { events: VecDeque::new(), watches: HashMap::new(), next_wd: 1 };
        Arc::new_cyclic(|me| Inotify { me: me.clone(), state: Mutex::new(rank::LEAF, state), queue: WaitQueue::new() })
    }

    /// inotify_add_watch(2) of an inode that the caller may read.
    ///
    /// # Errors
    /// `EINVAL` for a mask without events, `EEXIST` for `IN_MASK_CREATE`, `ENOSPC`.
    pub fn add_watch(&self, inode: &Arc<dyn Inode>, mask: u32) -> Result<i32, Errno> {
        const KEPT: u32 = c::IN_ALL_EVENTS | c::IN_EXCL_UNLINK | c::IN_ONESHOT;
        if mask & c::IN_ALL_EVENTS == 0 || mask & c::IN_MASK_ADD != 0 && mask & c::IN_MASK_CREATE != 0 {
            return Err(Errno::EINVAL);
        }
        let marks = Marks::of(inode).ok_or(Errno::ENOMEM)?;
        let mut list = marks.list.lock();
        if let Some(mark) = list.iter_mut().find(|m| Weak::ptr_eq(&m.instance, &self.me)) {
            if mask & c::IN_MASK_CREATE != 0 {
                return Err(Errno::EEXIST);
            }
            let old = if mask & c::IN_MASK_ADD != 0 { mark.mask } else { 0 };
            mark.mask = old | mask & KEPT;
            return Ok(mark.wd);
        }
        drop(list);
        let wd = self.reserve(inode)?;
        Marks::add(&mut marks.list.lock(), Mark { instance: self.me.clone(), wd, mask: mask & KEPT });
        Ok(wd)
    }

    fn reserve(&self, inode: &Arc<dyn Inode>) -> Result<i32, Errno> {
        let mut state = self.state.lock();
        if state.watches.len() >= MAX_WATCHES {
            return Err(Errno::ENOSPC);
        }
        let wd = state.next_wd;
        state.next_wd = wd.checked_add(1).ok_or(Errno::ENOSPC)?;
        state.watches.insert(wd, inode.clone());
        Ok(wd)
    }

    /// inotify_rm_watch(2).
    ///
    /// # Errors
    /// `EINVAL` if there is no such watch.
    pub fn remove_watch(&self, wd: i32) -> Result<(), Errno> {
        if self.drop_watch(wd) { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Ends a watch and says so in the queue.
    pub(crate) fn drop_watch(&self, wd: i32) -> bool {
        let inode = self.state.lock().watches.remove(&wd);
        let Some(inode) = inode else { return false };
        Marks::remove(&inode, &self.me, wd);
        self.deliver(wd, c::IN_IGNORED, 0, b"");
        true
    }

    /// Queues an event, unless it repeats the last one.
    pub(crate) fn deliver(&self, wd: i32, mask: u32, cookie: u32, name: &[u8]) {
        {
            let mut state = self.state.lock();
            let event = Event { wd, mask, cookie, name: name.into() };
            if state.events.back() == Some(&event) {
                return;
            }
            if state.events.len() < MAX_EVENTS {
                state.events.push_back(event);
            } else if state.events.back().is_some_and(|e| e.mask != c::IN_Q_OVERFLOW) {
                state.events.push_back(Event { wd: -1, mask: c::IN_Q_OVERFLOW, cookie: 0, name: Box::default() });
            } else {
                return;
            }
        }
        self.queue.notify(Events::READABLE);
    }
}

/// The file of an instance.
pub struct InotifyFile(pub Arc<Inotify>);

impl FileOps for InotifyFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _io: &IoCx<'_>, dst: &mut dyn Sink) -> Result<usize, IoError> {
        let mut done = 0;
        loop {
            let bytes = {
                let mut state = self.0.state.lock();
                let Some(event) = state.events.front() else { break };
                if HEADER + event.padded() > dst.remaining() {
                    if done == 0 {
                        return Err(Errno::EINVAL.into());
                    }
                    break;
                }
                let bytes = event.encode();
                state.events.pop_front();
                bytes
            };
            match dst.put(&bytes) {
                Ok(len) => done += len,
                Err(errno) if done == 0 => return Err(errno.into()),
                Err(_) => break,
            }
        }
        if done == 0 { Err(IoError::WouldBlock) } else { Ok(done) }
    }

    fn ioctl(&self, _file: &OpenFile, caller: &dyn Caller, cmd: u32, arg: u64) -> Result<u64, IoError> {
        if cmd != ioctl::FIONREAD {
            return Err(Errno::ENOTTY.into());
        }
        let bytes: usize = self.0.state.lock().events.iter().map(|e| HEADER + e.padded()).sum();
        caller.copy_out(arg, &(bytes as i32).to_ne_bytes())?;
        Ok(0)
    }

    fn readiness(&self) -> Events {
        if self.0.state.lock().events.is_empty() { Events::empty() } else { Events::READABLE }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.queue)
    }

    fn release(&self, _flags: OpenFlags) {
        let watches = std::mem::take(&mut self.0.state.lock().watches);
        for (wd, inode) in watches {
            Marks::remove(&inode, &self.0.me, wd);
        }
    }

    fn fdinfo(&self) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        let watches: Vec<_> = self.0.state.lock().watches.iter().map(|(wd, inode)| (*wd, inode.clone())).collect();
        for (wd, inode) in watches {
            if let Ok(attr) = inode.attr() {
                let _ =
                    writeln!(text, "inotify wd:{wd:x} ino:{:x} sdev:{:x} mask:0 ignored_mask:0", attr.ino, attr.dev);
            }
        }
        text
    }
}
