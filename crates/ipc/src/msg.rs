//! System V message queues (msgget(2), msgsnd(2), msgrcv(2), msgctl(2)).

use crate::ids::Ids;
use crate::perm::{Perm, READ, WRITE, Who};
use crate::{Budget, now};
use abi::Errno;
use abi::ipc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE, MSG_COPY, MSG_EXCEPT, MSG_NOERROR, MsgInfo, MsqidDs};
use lock::{Mutex, rank};
use std::collections::VecDeque;
use std::sync::Arc;
use vfs::wait::{Events, WaitQueue};
use vfs::{Capability, IoError};

/// `MSGMNI`, `MSGMAX`, `MSGMNB`.
const MNI: usize = 32_000;
/// Most bytes of a message.
pub const MAX: usize = 8192;
const MNB: u64 = 16_384;

/// What a queued message takes beside its text.
const OVERHEAD: u64 = 64;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its type, above 0.
    pub kind: i64,
    /// Its text.
    pub text: Vec<u8>,
}

impl Message {
    fn size(&self) -> u64 {
        self.text.len() as u64 + OVERHEAD
    }
}

struct State {
    perm: Perm,
    messages: VecDeque<Message>,
    bytes: u64,
    max_bytes: u64,
    stime: i64,
    rtime: i64,
    ctime: i64,
    sender: i32,
    receiver: i32,
    removed: bool,
}

/// One queue.
pub struct Queue {
    id: i32,
    state: Mutex<State>,
    budget: Arc<Budget>,
    /// Told of messages (`IN`) and of room (`OUT`).
    pub events: WaitQueue,
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.budget.give(self.state.get_mut().messages.iter().map(Message::size).sum());
    }
}

/// Which message msgrcv(2) is to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    Any,
    Is(i64),
    IsNot(i64),
    UpTo(i64),
    /// The one at this place (`MSG_COPY`).
    Place(i64),
}

impl Search {
    fn new(kind: i64, flags: u32) -> Search {
        match kind {
            _ if flags & MSG_COPY != 0 => Search::Place(kind),
            0 => Search::Any,
            ..0 => Search::UpTo(kind.saturating_neg()),
            _ if flags & MSG_EXCEPT != 0 => Search::IsNot(kind),
            _ => Search::Is(kind),
        }
    }

    fn find(self, messages: &VecDeque<Message>) -> Option<usize> {
        match self {
            Search::Any => (!messages.is_empty()).then_some(0),
            Search::Is(kind) => messages.iter().position(|m| m.kind == kind),
            Search::IsNot(kind) => messages.iter().position(|m| m.kind != kind),
            Search::UpTo(kind) => {
                let fits = messages.iter().enumerate().filter(|(_, m)| m.kind <= kind);
                fits.min_by_key(|(at, m)| (m.kind, *at)).map(|(at, _)| at)
            }
            Search::Place(at) => usize::try_from(at).ok().filter(|at| *at < messages.len()),
        }
    }
}

impl State {
    fn stat(&self) -> MsqidDs {
        MsqidDs {
            perm: self.perm.encode(),
            stime: self.stime,
            rtime: self.rtime,
            ctime: self.ctime,
            cbytes: self.bytes,
            qnum: self.messages.len() as u64,
            qbytes: self.max_bytes,
            lspid: self.sender,
            lrpid: self.receiver,
            unused: [0; 2],
        }
    }
}

impl Queue {
    /// Locks the queue unless it is gone.
    fn lock(&self, gone: Errno) -> Result<lock::MutexGuard<'_, State>, Errno> {
        let state = self.state.lock();
        if state.removed { Err(gone) } else { Ok(state) }
    }

    /// msgsnd(2): takes the message out of the option once there is room.
    ///
    /// # Errors
    /// Those of the call.
    pub fn send(&self, who: Who<'_>, message: &mut Option<Message>) -> Result<(), IoError> {
        {
            let mut state = self.lock(Errno::EIDRM)?;
            state.perm.check(who, WRITE)?;
            let len = message.as_ref().map_or(0, |m| m.text.len() as u64);
            let full = state.bytes + len > state.max_bytes || state.messages.len() as u64 + 1 > state.max_bytes;
            if full {
                return Err(IoError::WouldBlock);
            }
            let Some(message) = message.take() else { return Ok(()) };
            if !self.budget.take(message.size()) {
                return Err(Errno::ENOMEM.into());
            }
            state.bytes += len;
            state.sender = who.pid;
            state.stime = now();
            state.messages.push_back(message);
        }
        self.events.notify(Events::IN);
        Ok(())
    }

    /// msgrcv(2).
    ///
    /// # Errors
    /// Those of the call.
    pub fn receive(&self, who: Who<'_>, size: usize, kind: i64, flags: u32) -> Result<Message, IoError> {
        let message = {
            let mut state = self.lock(Errno::EIDRM)?;
            state.perm.check(who, READ)?;
            let at = Search::new(kind, flags).find(&state.messages).ok_or(IoError::WouldBlock)?;
            let found = state.messages.get(at).ok_or(IoError::WouldBlock)?;
            if found.text.len() > size && flags & MSG_NOERROR == 0 {
                return Err(Errno::E2BIG.into());
            }
            if flags & MSG_COPY != 0 {
                return Ok(found.clone());
            }
            let message = state.messages.remove(at).ok_or(IoError::WouldBlock)?;
            state.bytes -= message.text.len() as u64;
            state.receiver = who.pid;
            state.rtime = now();
            message
        };
        self.budget.give(message.size());
        self.events.notify(Events::OUT);
        Ok(message)
    }
}

/// The queues of a namespace.
pub struct Queues {
    ids: Mutex<Ids<Arc<Queue>>>,
    budget: Arc<Budget>,
}

impl Queues {
    pub(crate) fn new(budget: Arc<Budget>) -> Queues {
        Queues { ids: Mutex::new(rank::FILE_OBJECT, Ids::new(MNI)), budget }
    }

    /// msgget(2).
    ///
    /// # Errors
    /// Those of the call.
    pub fn get(&self, who: Who<'_>, key: i32, flags: u32) -> Result<i32, Errno> {
        let existing = {
            let mut ids = self.ids.lock();
            match ids.by_key(key).filter(|_| key != IPC_PRIVATE) {
                Some(queue) => queue,
                None if key != IPC_PRIVATE && flags & IPC_CREAT == 0 => return Err(Errno::ENOENT),
                None => return Ok(ids.add(key, |id, seq| self.make(id, Perm::new(key, seq, flags, who)))?.id),
            }
        };
        if flags & (IPC_CREAT | IPC_EXCL) == IPC_CREAT | IPC_EXCL {
            return Err(Errno::EEXIST);
        }
        existing.state.lock().perm.check(who, flags)?;
        Ok(existing.id)
    }

    fn make(&self, id: i32, perm: Perm) -> Arc<Queue> {
        let state = State {
            perm,
            messages: VecDeque::new(),
            bytes: 0,
            max_bytes: MNB,
            stime: 0,
            rtime: 0,
            ctime: now(),
            sender: 0,
            receiver: 0,
            removed: false,
        };
        let state = Mutex::new(rank::FILE_OBJECT, state);
        Arc::new(Queue { id, state, budget: self.budget.clone(), events: WaitQueue::new() })
    }

    /// The queue of an id.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn find(&self, id: i32) -> Result<Arc<Queue>, Errno> {
        self.ids.lock().find(id).ok_or(Errno::EINVAL)
    }

    /// `IPC_STAT`.
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`.
    pub fn stat(&self, who: Who<'_>, id: i32) -> Result<MsqidDs, Errno> {
        let queue = self.find(id)?;
        let state = queue.lock(Errno::EINVAL)?;
        state.perm.check(who, READ)?;
        Ok(state.stat())
    }

    /// `MSG_STAT` and, with `any`, `MSG_STAT_ANY`.
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`.
    pub fn stat_at(&self, who: Who<'_>, index: i32, any: bool) -> Result<(i32, MsqidDs), Errno> {
        let queue = self.ids.lock().at(index).ok_or(Errno::EINVAL)?;
        let state = queue.lock(Errno::EINVAL)?;
        if !any {
            state.perm.check(who, READ)?;
        }
        Ok((queue.id, state.stat()))
    }

    /// `IPC_SET`.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn set(&self, who: Who<'_>, id: i32, new: &MsqidDs) -> Result<(), Errno> {
        let queue = self.find(id)?;
        {
            let mut state = queue.lock(Errno::EINVAL)?;
            state.perm.check_owner(who)?;
            if new.qbytes > MNB && !who.creds.capable(Capability::SysResource) {
                return Err(Errno::EPERM);
            }
            state.perm.set(&new.perm)?;
            state.max_bytes = new.qbytes;
            state.ctime = now();
        }
        // Permission or room may have come.
        queue.events.notify(Events::IN | Events::OUT);
        Ok(())
    }

    /// `IPC_RMID`: who waits gets `EIDRM`.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn remove(&self, who: Who<'_>, id: i32) -> Result<(), Errno> {
        let queue = self.find(id)?;
        {
            let mut state = queue.lock(Errno::EINVAL)?;
            state.perm.check_owner(who)?;
            state.removed = true;
        }
        let gone = self.ids.lock().remove(id);
        queue.events.notify(Events::IN | Events::OUT);
        drop(gone);
        Ok(())
    }

    /// `IPC_INFO` and, with `used`, `MSG_INFO`; and the highest index in use.
    #[must_use]
    pub fn info(&self, used: bool) -> (u64, MsgInfo) {
        let (highest, queues) = {
            let ids = self.ids.lock();
            (ids.highest(), ids.iter().cloned().collect::<Vec<_>>())
        };
        let mut info = MsgInfo {
            pool: (MNI as u64 * MNB / 1024) as i32,
            map: MNB as i32,
            max: MAX as i32,
            mnb: MNB as i32,
            mni: MNI as i32,
            ssz: 16,
            tql: MNB as i32,
            seg: 0xffff,
            pad: 0,
        };
        if used {
            let (mut messages, mut bytes) = (0, 0);
            for queue in &queues {
                let state = queue.state.lock();
                messages += state.messages.len();
                bytes += state.bytes;
            }
            (info.pool, info.map, info.tql) = (queues.len() as i32, messages as i32, bytes as i32);
        }
        (highest, info)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_by_type() {
        let messages: VecDeque<Message> = [3, 1, 2, 1].map(|kind| Message { kind, text: Vec::new() }).into();
        let find = |kind, flags| Search::new(kind, flags).find(&messages);
        assert_eq!((find(0, 0), find(2, 0), find(9, 0)), (Some(0), Some(2), None));
        assert_eq!((find(-2, 0), find(-3, 0), find(i64::MIN, 0)), (Some(1), Some(1), Some(1)));
        assert_eq!((find(3, MSG_EXCEPT), find(2, MSG_COPY), find(4, MSG_COPY)), (Some(1), Some(2), None));
    }
}
