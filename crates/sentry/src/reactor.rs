//! The Sentry's first thread once guests run: it waits for the host on behalf of all others.
//!
//! One epoll set: the control channel, donated descriptors ([`vfs::reactor`]), the console's stream, and a wake-up for what
//! other threads have to say. Lock rank `LEAF`; queues are notified after it is released.

use crate::console::Console;
use crate::control::{Channel, Report, Request};
use abi::signal::{SIGCONT, SigInfo, code};
use host::confine;
use kernel::{ExitStatus, Kernel, Observer};
use lock::{Mutex, rank};
use platform::Platform;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use vfs::wait::{Events, Sleepers, WaitQueue, Wake};

const CONTROL: u64 = 0;
const WAKE: u64 = 1;
const STREAM: u64 = 2;
/// Donated descriptors count from here.
const FIRST: u64 = 16;

/// A donated descriptor.
struct Watch {
    fd: Arc<OwnedFd>,
    queue: Arc<WaitQueue>,
    /// What is waited for. Cleared when it fires: who still misses something arms it again.
    armed: Events,
}

/// Waits for the host.
pub struct Reactor {
    epoll: OwnedFd,
    wake: OwnedFd,
    control: Arc<Channel>,
    platform: Arc<dyn Platform>,
    watches: Mutex<HashMap<u64, Watch>>,
    next: AtomicU64,
    /// What the command is to be told after the console's output so far.
    reports: Mutex<VecDeque<Report>>,
    /// How often the command has continued the first process.
    continues: AtomicU32,
}

fn epoll_flags(events: Events) -> EventFlags {
    EventFlags::from_bits_truncate(events.bits()) | EventFlags::ONESHOT
}

impl Reactor {
    /// A reactor that watches the control channel.
    ///
    /// # Errors
    /// The host's.
    pub fn new(control: &Arc<Channel>, platform: Arc<dyn Platform>) -> io::Result<Arc<Reactor>> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &**control, EventData::new_u64(CONTROL), EventFlags::IN)?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        Ok(Arc::new(Reactor {
            epoll,
            wake,
            control: Arc::clone(control),
            platform,
            watches: Mutex::new(rank::LEAF, HashMap::new()),
            next: AtomicU64::new(FIRST),
            reports: Mutex::new(rank::LEAF, VecDeque::new()),
            continues: AtomicU32::new(0),
        }))
    }

    /// Has the reactor's thread look for reports and at the console.
    pub fn poke(&self) {
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Serves until the process ends. Called once, by the first thread.
    pub fn run(&self, kernel: &Arc<Kernel>, mut console: Option<Console>) -> ! {
        if let Some(console) = &console {
            console.watch_with(&self.epoll, STREAM);
        }
        let mut events: Vec<Event> = Vec::with_capacity(16);
        loop {
            events.clear();
            // Interrupted or not: what is ready is found below.
            let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), None);
            for event in &events {
                let (key, ready) = (event.data.u64(), event.flags);
                match key {
                    CONTROL => self.serve(kernel, console.as_ref()),
                    WAKE => {
                        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
                    }
                    STREAM => {}
                    id => self.fire(id, Events::from_bits_truncate(ready.bits())),
                }
            }
            if let Some(console) = &mut console {
                console.pump(&self.epoll, STREAM);
            }
            self.report(console.as_mut());
        }
    }

    fn fire(&self, id: u64, ready: Events) {
        let queue = self.watches.lock().get_mut(&id).map(|watch| {
            watch.armed = Events::empty();
            watch.queue.clone()
        });
        if let Some(queue) = queue {
            queue.notify(ready);
        }
    }

    /// Takes what the command asks for.
    fn serve(&self, kernel: &Arc<Kernel>, console: Option<&Console>) {
        loop {
            match self.control.next_request() {
                Ok(None) => return,
                Ok(Some(Request::Signal { signal, terminal })) => {
                    pass_on(kernel, console, signal, terminal);
                    self.continues.fetch_add(u32::from(signal == SIGCONT), Ordering::SeqCst);
                }
                Ok(Some(Request::Window(size))) => {
                    if let Some(console) = console {
                        console.tty().set_winsize(size);
                    }
                }
                // The command is gone, and with it the reason to be.
                Err(_) => confine::end_now(),
            }
        }
    }

    /// Tells the command what has been put off, and ends the process after the end of the guest.
    fn report(&self, mut console: Option<&mut Console>) {
        loop {
            let Some(last) = self.reports.lock().front().map(Report::is_last) else { return };
            if let Some(console) = console.as_deref_mut()
                && last
                && !console.finish()
            {
                // The stream is full; it wakes the reactor when it has room.
                return;
            }
            // Locked until it is sent: another thread may send the rest, and end the process.
            let mut reports = self.reports.lock();
            let sent = reports.pop_front();
            if let Some(report) = &sent {
                let _ = self.control.report(report);
            }
            drop(reports);
            if sent.is_some_and(|report| report.is_last()) {
                self.end();
            }
        }
    }

    /// Ends the sandbox.
    fn end(&self) -> ! {
        self.platform.end();
        confine::end(0)
    }
}

/// A signal from the command. What its terminal caused goes to the foreground group, as the terminal's driver would have
/// it; without a console, to the group of the first process.
fn pass_on(kernel: &Arc<Kernel>, console: Option<&Console>, signal: i32, terminal: bool) {
    let first = kernel.first_process();
    if terminal {
        let foreground = console.and_then(|console| console.tty().control().1);
        let info = SigInfo::new(signal, code::SI_KERNEL);
        kernel.signal_process_group(foreground.unwrap_or(first), info);
    } else if let Some(process) = kernel.tree.process(first) {
        kernel.signal_process(&process, SigInfo::new(signal, code::SI_USER));
    }
}

impl vfs::reactor::Reactor for Reactor {
    fn add(&self, fd: &Arc<OwnedFd>, queue: &Arc<WaitQueue>) -> Option<u64> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        // Files that are always ready can't be watched.
        epoll::add(&self.epoll, fd.as_fd(), EventData::new_u64(id), EventFlags::ONESHOT).ok()?;
        let watch = Watch { fd: fd.clone(), queue: queue.clone(), armed: Events::empty() };
        self.watches.lock().insert(id, watch);
        Some(id)
    }

    fn arm(&self, id: u64, events: Events) {
        let mut watches = self.watches.lock();
        let Some(watch) = watches.get_mut(&id) else { return };
        watch.armed |= events;
        let flags = epoll_flags(watch.armed);
        let _ = epoll::modify(&self.epoll, watch.fd.as_fd(), EventData::new_u64(id), flags);
    }

    fn remove(&self, id: u64) {
        let watch = self.watches.lock().remove(&id);
        if let Some(watch) = watch {
            let _ = epoll::delete(&self.epoll, watch.fd.as_fd());
        }
    }
}

impl Wake for Reactor {
    fn wake(&self, _: Events, _: &mut Sleepers) -> bool {
        self.poke();
        true
    }
}

/// Tells the command what becomes of the first process.
pub struct Messenger {
    /// Puts reports off until the console's output is through.
    pub reactor: Arc<Reactor>,
    /// Whether there is a console.
    pub console: bool,
    /// Warnings so far: a guest that causes them must not flood the user.
    pub warnings: AtomicUsize,
}

/// Warnings that the user gets to see.
const WARNINGS: usize = 10;

impl Messenger {
    fn send(&self, report: Report) {
        self.reactor.reports.lock().push_back(report);
        self.reactor.poke();
    }
}

impl Observer for Messenger {
    fn stopped(&self, signal: i32) {
        let continues = self.reactor.continues.load(Ordering::SeqCst);
        self.send(Report::Stopped { signal, continues });
    }

    fn warned(&self, line: &str) {
        let rest = match self.warnings.fetch_add(1, Ordering::Relaxed) {
            ..WARNINGS => "",
            WARNINGS => " (there are more: see --debug-log)",
            _ => return,
        };
        self.send(Report::Warning(format!("{line}{rest}")));
    }

    fn ended(&self, status: ExitStatus) {
        let report = match status {
            ExitStatus::Exited(status) => Report::Exited(status),
            ExitStatus::Killed { signal, .. } => Report::Killed(signal),
        };
        if self.console {
            return self.send(report);
        }
        // Nothing is left to be written: no need to wake another thread first.
        let earlier = std::mem::take(&mut *self.reactor.reports.lock());
        for report in &earlier {
            let _ = self.reactor.control.report(report);
        }
        let _ = self.reactor.control.report(&report);
        self.reactor.end();
    }
}
