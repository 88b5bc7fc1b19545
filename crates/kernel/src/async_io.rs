//! `O_ASYNC`: signals to a description's owner when it becomes ready (fcntl(2), `F_SETOWN`).
//!
//! Readiness is told under a queue's lock, where no signal can be sent; so what became ready is handed to a thread that
//! sends the signals. That thread is started with the first description that asks for them.

use crate::kernel::Kernel;
use crate::signal::Target;
use crate::task::{CurrentTask, Task};
use abi::Errno;
use abi::signal::{SIGIO, SigInfo, Signal, code};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock, Weak};
use vfs::wait::{Events, Registration, Sleepers, Wake};
use vfs::{OpenFile, OpenFlags, OwnerKind, SignalOwner};

/// The thread that sends signals, started on first use.
#[derive(Default)]
pub struct AsyncSender(OnceLock<Option<Sender<Arc<Notifier>>>>);

impl AsyncSender {
    fn get(&self, kernel: &Arc<Kernel>) -> Option<Sender<Arc<Notifier>>> {
        let start = || {
            let (sender, receiver) = channel::<Arc<Notifier>>();
            let kernel = Arc::downgrade(kernel);
            let run = move || {
                for notifier in receiver {
                    let Some(kernel) = kernel.upgrade() else { break };
                    notifier.send(&kernel);
                }
            };
            std::thread::Builder::new().name("async-io".to_owned()).spawn(run).ok().map(|_| sender)
        };
        self.0.get_or_init(start).clone()
    }
}

/// What stands on a description's wait queue while it has `O_ASYNC`.
struct Notifier {
    file: Weak<OpenFile>,
    fd: i32,
    sender: Sender<Arc<Notifier>>,
    me: Weak<Notifier>,
    /// Handed over and not yet sent.
    pending: AtomicBool,
    /// Reasons to send, a bit each by their `POLL_*` number.
    reasons: AtomicU32,
}

impl Wake for Notifier {
    fn wake(&self, events: Events, _: &mut Sleepers) -> bool {
        self.reasons.fetch_or(1 << reason(events), Ordering::Relaxed);
        if !self.pending.swap(true, Ordering::AcqRel)
            && let Some(me) = self.me.upgrade()
        {
            // Nobody listens once the kernel is gone.
            let _ = self.sender.send(me);
        }
        true
    }
}

impl Notifier {
    fn send(&self, kernel: &Kernel) {
        self.pending.store(false, Ordering::Release);
        let reasons = self.reasons.swap(0, Ordering::Relaxed);
        let Some(file) = self.file.upgrade() else { return };
        if !status_flags(&file).contains(OpenFlags::ASYNC) {
            return;
        }
        let owner = *file.owner.lock();
        let Some(owner) = owner else { return };
        let signal = file.owner_signal.load(Ordering::Relaxed) as Signal;
        for task in receivers(kernel, owner.owner) {
            if !may_signal(&owner, &task) {
                continue;
            }
            let target = match owner.owner {
                OwnerKind::Thread(tid) => Target::Thread(tid),
                OwnerKind::Process(_) | OwnerKind::Group(_) => Target::Process,
            };
            for (code, _, band) in REASONS.iter().filter(|(code, ..)| reasons & (1 << code) != 0) {
                let info = info(signal, *code, *band, self.fd);
                if kernel.send_signal(&task.group, target, info).is_err() && signal != 0 {
                    // The queue is full: say at least that something happened.
                    let _ = kernel.send_signal(&task.group, target, SigInfo::new(SIGIO, code::SI_KERNEL));
                }
            }
        }
    }
}

const POLL_IN: i32 = 1;
const POLL_OUT: i32 = 2;
const POLL_ERR: i32 = 4;
const POLL_PRI: i32 = 5;
const POLL_HUP: i32 = 6;

/// The reasons for a signal, by their weight: the event that is one, and the band that is told with it.
const REASONS: [(i32, Events, Events); 5] = [
    (POLL_HUP, Events::HUP, Events::HUP.union(Events::ERR)),
    (POLL_ERR, Events::ERR, Events::ERR),
    (POLL_PRI, Events::PRI, Events::PRI.union(Events::RDBAND)),
    (POLL_IN, Events::IN, Events::READABLE),
    (POLL_OUT, Events::OUT, Events::WRITABLE.union(Events::WRBAND)),
];

fn reason(events: Events) -> i32 {
    REASONS.iter().find(|(_, event, _)| events.intersects(*event)).map_or(POLL_IN, |(code, ..)| *code)
}

/// The signal's information: bare for `SIGIO`, with band and descriptor for a signal of `F_SETSIG`.
fn info(signal: Signal, code: i32, band: Events, fd: i32) -> SigInfo {
    if signal == 0 {
        return SigInfo::new(SIGIO, code::SI_KERNEL);
    }
    SigInfo::io(signal, code, i64::from(band.bits()), fd)
}

/// One task of each process that is to be told.
fn receivers(kernel: &Kernel, owner: OwnerKind) -> Vec<Arc<Task>> {
    let tree = kernel.tree.lock();
    let first = |tgid: i32| {
        let thread = tree.processes.get(&tgid).and_then(|p| p.threads.iter().next().copied());
        thread.and_then(|tid| tree.tasks.get(&tid).cloned())
    };
    match owner {
        OwnerKind::Thread(tid) => tree.tasks.get(&tid).cloned().into_iter().collect(),
        OwnerKind::Process(pid) => first(pid).into_iter().collect(),
        OwnerKind::Group(pgid) => tree.members(pgid).iter().filter_map(|group| first(group.tgid)).collect(),
    }
}

/// As if who set the owner sent the signal.
fn may_signal(owner: &SignalOwner, task: &Task) -> bool {
    let creds = task.creds();
    owner.euid == 0 || [creds.ruid, creds.suid].iter().any(|id| *id == owner.uid || *id == owner.euid)
}

/// What `F_GETFL` returns. A hangup takes `O_ASYNC` from a terminal's descriptions.
#[must_use]
pub fn status_flags(file: &OpenFile) -> OpenFlags {
    let flags = file.flags();
    let lost = flags.contains(OpenFlags::ASYNC) && file.ops().check_async().is_err();
    if lost { flags - OpenFlags::ASYNC } else { flags }
}

/// Changes status flags, and starts or ends notification when `O_ASYNC` changes. `F_SETFL`, `FIONBIO` and `FIOASYNC` come
/// here.
///
/// # Errors
/// What the object says of the new flags.
pub fn update_flags(
    task: &CurrentTask,
    file: &Arc<OpenFile>,
    fd: i32,
    mask: OpenFlags,
    value: OpenFlags,
) -> Result<(), Errno> {
    let Some(queue) = file.ops().wait_queue() else {
        // What is always ready has nobody to tell; Linux leaves the flag off.
        return file.update_flags(mask - OpenFlags::ASYNC, value);
    };
    if mask.contains(OpenFlags::ASYNC) && (status_flags(file) ^ value).contains(OpenFlags::ASYNC) {
        file.ops().check_async()?;
    }
    file.update_flags(mask, value)?;
    if !mask.contains(OpenFlags::ASYNC) {
        return Ok(());
    }
    let state = if value.contains(OpenFlags::ASYNC) {
        let kernel = &task.kernel;
        let sender = kernel.async_sender.get(kernel).ok_or(Errno::ENOMEM)?;
        if let Some(owner) = file.ops().default_owner(task) {
            let (uid, euid) = (task.creds().ruid, task.creds().euid);
            file.owner.lock().get_or_insert(SignalOwner { owner, uid, euid });
        }
        let notifier = Arc::new_cyclic(|me| Notifier {
            file: Arc::downgrade(file),
            fd,
            sender,
            me: me.clone(),
            pending: AtomicBool::new(false),
            reasons: AtomicU32::new(0),
        });
        let registration: Registration = queue.register_signalled(Events::IN | Events::OUT | Events::PRI, notifier);
        Some(Box::new(registration) as vfs::AsyncState)
    } else {
        None
    };
    let old = std::mem::replace(&mut *file.async_state.lock(), state);
    drop(old);
    Ok(())
}
