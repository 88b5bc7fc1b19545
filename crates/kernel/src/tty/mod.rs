//! Terminals and job control, the same code for every terminal.
//!
//! A [`Tty`] is a pseudo-terminal pair: the line discipline between its two sides, and who controls it. Its lock (rank
//! `TTY`) is above the process tree's: whoever needs both looks at the tree first. What a call causes elsewhere, signals
//! and wake-ups, is done after the lock is released ([`Tty::with`]). It holds ids of its session and foreground group,
//! never references upwards. The descriptions are made by devpts, which also owns the names.

mod hangup;
mod io;
mod ioctl;
mod job;
mod terminals;

pub use ioctl::Opener;
pub use terminals::Terminals;

use crate::kernel::Kernel;
use abi::Errno;
use abi::signal::{SIGINT, SIGQUIT, SIGTSTP, SIGWINCH, SigInfo, code};
use abi::termios::{Termios, Termios2, Winsize};
use ldisc::{Effects, LineDiscipline, Readiness, Side, Signals, Wake};
use lock::{Mutex, rank};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use vfs::wait::{Events, WaitQueue};
use zerocopy::FromZeros;

pub(crate) use hangup::session_leader_exits;

/// Major number of the terminals in devpts.
pub const PTS_MAJOR: u32 = 136;

/// A pseudo-terminal pair.
pub struct Tty {
    index: u32,
    kernel: Weak<Kernel>,
    state: Mutex<State>,
    master_queue: WaitQueue,
    slave_queue: WaitQueue,
    /// When the slave was last read and written, in seconds, and about so (`tty_update_time`).
    read_at: AtomicI64,
    written_at: AtomicI64,
}

struct State {
    ldisc: LineDiscipline,
    session: Option<i32>,
    foreground: Option<i32>,
    /// Open descriptions of the slave, dead ones too.
    slaves: usize,
    master_open: bool,
    /// The master's description was hung up.
    master_dead: bool,
    /// `TIOCSPTLCK`.
    locked: bool,
    /// `TIOCEXCL`. That of the master keeps nobody out.
    exclusive: bool,
    master_exclusive: bool,
    /// `TIOCSLCKTRMIOS`: settings that can't be changed.
    locked_settings: Termios,
    /// How often the slave was hung up; descriptions of earlier lives are dead.
    life: u64,
    /// How often the master's and the slave's discipline was changed: that ends a read which waits (`TTY_LDISC_CHANGING`).
    master_changes: u64,
    slave_changes: u64,
}

impl State {
    fn changes(&mut self, side: Side) -> &mut u64 {
        match side {
            Side::Master => &mut self.master_changes,
            Side::Slave => &mut self.slave_changes,
        }
    }
}

/// What a slave's description remembers of its opening; see [`Tty::open_slave`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlaveLife(u64);

impl Tty {
    /// A new pair, locked as Linux makes it, whose master is open; `first` if it is of the sandbox's first devpts.
    ///
    /// # Errors
    /// `ENOSPC` if there are as many as there may be.
    pub fn new(index: u32, kernel: Weak<Kernel>, first: bool) -> Result<Arc<Tty>, Errno> {
        if let Some(kernel) = kernel.upgrade() {
            kernel.terminals.take(first)?;
        }
        let state = State {
            ldisc: LineDiscipline::new(&Termios2::pty_default()),
            session: None,
            foreground: None,
            slaves: 0,
            master_open: true,
            master_dead: false,
            locked: true,
            exclusive: false,
            master_exclusive: false,
            locked_settings: Termios::new_zeroed(),
            life: 0,
            master_changes: 0,
            slave_changes: 0,
        };
        Ok(Arc::new(Tty {
            index,
            kernel,
            state: Mutex::new(rank::TTY, state),
            master_queue: WaitQueue::new(),
            slave_queue: WaitQueue::new(),
            read_at: AtomicI64::new(vfs::time::now_coarse().sec),
            written_at: AtomicI64::new(vfs::time::now_coarse().sec),
        }))
    }

    /// The number of its name in devpts.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its device number as `stat` returns it (`tty_nr`).
    #[must_use]
    pub fn device(&self) -> u64 {
        vfs::makedev(PTS_MAJOR, self.index)
    }

    /// The queue of one side.
    #[must_use]
    pub fn queue(&self, side: Side) -> &WaitQueue {
        match side {
            Side::Master => &self.master_queue,
            Side::Slave => &self.slave_queue,
        }
    }

    /// Runs `call` under the lock, then carries out what it caused.
    fn with<T>(&self, call: impl FnOnce(&mut State, &mut Effects) -> T) -> T {
        let mut effects = Effects::default();
        let (result, foreground) = {
            let mut state = self.state.lock();
            let result = call(&mut state, &mut effects);
            (result, state.foreground)
        };
        self.carry_out(effects, foreground);
        result
    }

    fn carry_out(&self, effects: Effects, foreground: Option<i32>) {
        if effects.is_empty() {
            return;
        }
        if let (false, Some(pgid), Some(kernel)) = (effects.signals.is_empty(), foreground, self.kernel.upgrade()) {
            let signals = [
                (Signals::INT, SIGINT),
                (Signals::QUIT, SIGQUIT),
                (Signals::STOP, SIGTSTP),
                (Signals::WINCH, SIGWINCH),
            ];
            for (_, signal) in signals.into_iter().filter(|(bit, _)| effects.signals.contains(*bit)) {
                kernel.signal_process_group(pgid, SigInfo::new(signal, code::SI_KERNEL));
            }
        }
        if effects.wake.contains(Wake::MASTER_READ) && self.state.lock().ldisc.packet_mode() {
            self.master_queue.notify_waiters(Events::PRI);
        }
        for (queue, read, write) in [
            (&self.slave_queue, Wake::SLAVE_READ, Wake::SLAVE_WRITE),
            (&self.master_queue, Wake::MASTER_READ, Wake::MASTER_WRITE),
        ] {
            let events = |of: Wake| {
                let mut events = Events::empty();
                events.set(Events::READABLE, of.contains(read));
                events.set(Events::WRITABLE, of.contains(write));
                events
            };
            let (signalled, silent) = (events(effects.signal), events(effects.wake - effects.signal));
            if !signalled.is_empty() {
                queue.notify(signalled);
            }
            if !silent.is_empty() {
                queue.notify_waiters(silent);
            }
        }
    }

    /// When the slave was last read and last written, in seconds.
    #[must_use]
    pub fn times(&self) -> (i64, i64) {
        (self.read_at.load(Ordering::Relaxed), self.written_at.load(Ordering::Relaxed))
    }

    /// Sets one or both of these (utimensat(2)).
    pub fn set_times(&self, read: Option<i64>, written: Option<i64>) {
        for (time, at) in [(&self.read_at, read), (&self.written_at, written)] {
            if let Some(at) = at {
                time.store(at, Ordering::Relaxed);
            }
        }
    }

    /// Notes a transfer, to eight seconds: whoever watches must not learn the rhythm of the keys.
    fn touch(time: &AtomicI64) {
        let now = vfs::time::now_coarse().sec;
        if (now ^ time.load(Ordering::Relaxed)) & !7 != 0 {
            time.store(now, Ordering::Relaxed);
        }
    }

    /// Session and foreground group.
    #[must_use]
    pub fn control(&self) -> (Option<i32>, Option<i32>) {
        let state = self.state.lock();
        (state.session, state.foreground)
    }

    /// Makes it the controlling terminal of a session, with `foreground` as the foreground group.
    pub fn set_session(&self, session: i32, foreground: i32) {
        let mut state = self.state.lock();
        state.session = Some(session);
        state.foreground = Some(foreground);
    }

    /// The window size.
    #[must_use]
    pub fn winsize(&self) -> Winsize {
        self.state.lock().ldisc.winsize()
    }

    /// Sets the window size; the foreground group is signalled if it changes.
    pub fn set_winsize(&self, size: Winsize) {
        self.with(|state, effects| state.ldisc.set_winsize(size, effects));
    }

    /// Sets the terminal up as another one is, before anybody uses it.
    pub fn set_termios(&self, termios: &Termios2) {
        self.with(|state, effects| state.ldisc.set_termios(termios, ldisc::When::Now, effects));
    }

    /// `TIOCSPTLCK`.
    pub fn set_locked(&self, locked: bool) {
        self.state.lock().locked = locked;
    }

    /// What poll(2) reports for the master, or for a slave's description.
    #[must_use]
    pub fn readiness(&self, side: Side, life: Option<SlaveLife>) -> Events {
        let state = self.state.lock();
        let dead = life.map_or(state.master_dead, |life| life.0 != state.life);
        if dead {
            return Events::READABLE | Events::WRITABLE | Events::ERR | Events::HUP;
        }
        if state.ldisc.is_null(side) {
            return Events::empty();
        }
        events_of(state.ldisc.readiness(side))
    }
}

fn events_of(ready: Readiness) -> Events {
    let pairs = [
        (Readiness::IN, Events::READABLE),
        (Readiness::OUT, Events::WRITABLE),
        (Readiness::PRI, Events::PRI),
        (Readiness::HUP, Events::HUP),
        (Readiness::ERR, Events::ERR),
    ];
    pairs.into_iter().filter(|(bit, _)| ready.contains(*bit)).map(|(_, events)| events).collect()
}

impl Drop for Tty {
    fn drop(&mut self) {
        if let Some(kernel) = self.kernel.upgrade() {
            kernel.terminals.give_back();
        }
    }
}
