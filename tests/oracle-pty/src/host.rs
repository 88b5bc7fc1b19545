//! A pty of the host's, played step by step.

use abi::raw::{general, ioctl};
use abi::termios::Winsize;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use crate::step::{Flow, Outcome, Poll, Queue, Reply, Side, State, Step, When};
use crate::sys;

/// How long the state must stay the same to count as settled.
const CALM: Duration = Duration::from_millis(4);

const OPEN: libc::c_int = libc::O_RDWR | libc::O_NOCTTY;

fn open_master() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let master = rustix::fs::open("/dev/ptmx", flags, Mode::empty())?;
    sys::ioctl_int(master.as_fd(), ioctl::TIOCSPTLCK, 0)?;
    Ok(master)
}

/// A second pty, used to find out whether the kernel's workers are through.
struct Barrier {
    master: OwnedFd,
    slave: OwnedFd,
}

impl Barrier {
    fn new() -> io::Result<Self> {
        let master = open_master()?;
        let slave = sys::open_peer(master.as_fd(), OPEN | libc::O_NONBLOCK)?;
        let mut termios = sys::get_termios(slave.as_fd())?;
        (termios.c_iflag, termios.c_oflag, termios.c_lflag) = (0, 0, 0);
        sys::set_termios(slave.as_fd(), ioctl::TCSETS2, &termios)?;
        Ok(Self { master, slave })
    }

    /// Sends a byte across and waits for it. On one processor workers begin in the order they were asked for, so those
    /// asked for before have begun by then, and looking at a pty waits for one that is at work on it.
    fn pass(&self) -> io::Result<()> {
        rustix::io::write(&self.master, b"x")?;
        let mut fds = [PollFd::new(&self.slave, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 5, tv_nsec: 0 }))?;
        rustix::io::read(&self.slave, &mut [0; 16])?;
        Ok(())
    }
}

/// A pty pair of the host's, whose slave is the controlling terminal of this process's session.
pub struct HostPty {
    master: OwnedFd,
    /// The slave without and with blocking reads.
    slave: Option<(OwnedFd, OwnedFd)>,
    barrier: Barrier,
}

impl HostPty {
    /// Whether there is a pty to be had.
    #[must_use]
    pub fn available() -> bool {
        open_master().is_ok()
    }

    /// Opens a pair. This process must be in a session of its own (see [`crate::in_session`]), with no other
    /// [`HostPty`] alive.
    pub fn new() -> io::Result<Self> {
        let master = open_master()?;
        let mut pty = Self { master, slave: None, barrier: Barrier::new()? };
        pty.open_slave()?;
        sys::take_signals();
        Ok(pty)
    }

    fn open_slave(&mut self) -> io::Result<()> {
        let slave = sys::open_peer(self.master.as_fd(), OPEN | libc::O_NONBLOCK)?;
        let waiting = sys::open_peer(self.master.as_fd(), OPEN)?;
        // Fails if it still is our controlling terminal, which is as well.
        let _ = sys::ioctl_number(slave.as_fd(), ioctl::TIOCSCTTY, 0);
        self.slave = Some((slave, waiting));
        Ok(())
    }

    fn side(&self, side: Side) -> io::Result<BorrowedFd<'_>> {
        match side {
            Side::Master => Ok(self.master.as_fd()),
            Side::Slave => Ok(self.slave.as_ref().ok_or(io::ErrorKind::NotConnected)?.0.as_fd()),
        }
    }

    /// Plays a step, waits until it has taken effect, and looks at the state.
    pub fn play(&mut self, step: &Step) -> io::Result<Outcome> {
        let reply = self.call(step)?;
        Ok(Outcome { reply, state: self.settle()? })
    }

    /// The same for a caller who knows what state to expect: waits only until that is reached, or for `patience`.
    pub fn play_expecting(&mut self, step: &Step, expected: &State, patience: Duration) -> io::Result<Outcome> {
        let reply = self.call(step)?;
        let start = Instant::now();
        // Not everything shows, so even if all seems to be as it should, the workers must have begun. One for input may
        // ask for another for its echo, hence two.
        self.barrier.pass()?;
        self.barrier.pass()?;
        let mut state = self.look()?;
        while state != *expected && start.elapsed() < patience {
            let signals = state.signals;
            self.barrier.pass()?;
            state = self.look()?;
            state.signals.add(signals);
        }
        Ok(Outcome { reply, state })
    }

    fn call(&mut self, step: &Step) -> io::Result<Reply> {
        if step.needs_slave() && self.slave.is_none() {
            return Ok(Reply::Ok);
        }
        match step {
            Step::Termios(when, termios) => {
                let request = match when {
                    When::Now => ioctl::TCSETS2,
                    When::Drained => ioctl::TCSETSW2,
                    When::Flushed => ioctl::TCSETSF2,
                };
                let slave = self.side(Side::Slave)?;
                sys::set_termios(slave, request, termios)?;
                return Ok(Reply::Termios(sys::get_termios(slave)?));
            }
            Step::Write(side, bytes) => return reply(rustix::io::write(self.side(*side)?, bytes), Reply::Count),
            Step::Read(side, len) => return read(self.side(*side)?, *len),
            Step::WaitingRead(len, later) => return self.read_waiting(*len, later),
            Step::Flush(side, queue) => {
                let queue = match queue {
                    Queue::Input => general::TCIFLUSH,
                    Queue::Output => general::TCOFLUSH,
                    Queue::Both => general::TCIOFLUSH,
                };
                sys::ioctl_number(self.side(*side)?, ioctl::TCFLSH, queue.cast_signed())?;
            }
            Step::Flow(side, flow) => {
                let flow = match flow {
                    Flow::Stop => general::TCOOFF,
                    Flow::Start => general::TCOON,
                    Flow::SendStop => general::TCIOFF,
                    Flow::SendStart => general::TCION,
                };
                sys::ioctl_number(self.side(*side)?, ioctl::TCXONC, flow.cast_signed())?;
            }
            Step::Packet(on) => {
                sys::ioctl_int(self.master.as_fd(), ioctl::TIOCPKT, (*on).into())?;
            }
            Step::Simulate(side, c) => sys::simulate_input(self.side(*side)?, *c)?,
            Step::Winsize(ws_row, ws_col) => {
                let size = Winsize { ws_row: *ws_row, ws_col: *ws_col, ..Winsize::default() };
                sys::set_winsize(self.master.as_fd(), &size)?;
            }
            Step::CloseSlave => self.slave = None,
            Step::OpenSlave => {
                if self.slave.is_none() {
                    self.open_slave()?;
                }
            }
        }
        Ok(Reply::Ok)
    }

    fn read_waiting(&self, len: usize, later: &[(u64, Vec<u8>)]) -> io::Result<Reply> {
        let slave = self.slave.as_ref().ok_or(io::ErrorKind::NotConnected)?.1.as_fd();
        let start = Instant::now();
        thread::scope(|scope| {
            let typist = scope.spawn(|| {
                for (delay, bytes) in later {
                    thread::sleep(Duration::from_millis(*delay).saturating_sub(start.elapsed()));
                    rustix::io::write(&self.master, bytes)?;
                }
                io::Result::Ok(())
            });
            let reply = read(slave, len)?;
            typist.join().map_err(|_| io::ErrorKind::Other)??;
            Ok(reply)
        })
    }

    /// Waits until the kernel's workers have carried everything across, and returns the state then.
    ///
    /// No call tells when they are through. So this sends bytes across a second pty, whose workers begin after ours (all on
    /// one processor, see [`crate::in_session`]), and goes on until the state has stayed the same for [`CALM`].
    /// Besides, `poll` itself waits for the worker of a side that has nothing to read yet, and `FIONREAD` for one at work.
    fn settle(&self) -> io::Result<State> {
        let mut state = self.look()?;
        let mut since = Instant::now();
        while since.elapsed() < CALM {
            self.barrier.pass()?;
            let mut now = self.look()?;
            now.signals.add(state.signals);
            if now != state {
                since = Instant::now();
            }
            state = now;
        }
        Ok(state)
    }

    fn look(&self) -> io::Result<State> {
        let slave = match &self.slave {
            Some((slave, _)) => Some(look_at(slave.as_fd())?),
            None => None,
        };
        Ok(State { slave, master: look_at(self.master.as_fd())?, signals: sys::take_signals() })
    }
}

fn look_at(fd: BorrowedFd<'_>) -> io::Result<(usize, Poll)> {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN | PollFlags::OUT | PollFlags::PRI)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    let bits = fds[0].revents();
    let state = Poll {
        readable: bits.contains(PollFlags::IN),
        writable: bits.contains(PollFlags::OUT),
        priority: bits.contains(PollFlags::PRI),
        hup: bits.contains(PollFlags::HUP),
        err: bits.contains(PollFlags::ERR),
    };
    // Counted after the poll, which may have waited for more.
    let count = sys::ioctl_int(fd, ioctl::FIONREAD, 0)?;
    Ok((count.cast_unsigned() as usize, state))
}

fn read(fd: BorrowedFd<'_>, len: usize) -> io::Result<Reply> {
    let mut buf = vec![0; len];
    let result = rustix::io::read(fd, &mut buf);
    reply(result, |len| {
        buf.truncate(len);
        Reply::Bytes(buf)
    })
}

fn reply(result: rustix::io::Result<usize>, done: impl FnOnce(usize) -> Reply) -> io::Result<Reply> {
    match result {
        Ok(len) => Ok(done(len)),
        Err(rustix::io::Errno::AGAIN) => Ok(Reply::WouldBlock),
        Err(rustix::io::Errno::IO) => Ok(Reply::Eio),
        Err(error) => Err(error.into()),
    }
}
