//! What is done to a pty, and what comes of it.

use abi::termios::Termios2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Master,
    Slave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Now,
    Drained,
    Flushed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    Input,
    Output,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Stop,
    Start,
    SendStop,
    SendStart,
}

/// One call on one end of the pty. Reads and writes do not block, except [`Step::WaitingRead`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Termios(When, Termios2),
    Write(Side, Vec<u8>),
    Read(Side, usize),
    /// A blocking read of the slave, during which the master writes: each piece this many milliseconds after the begin.
    /// Only for states in which `VTIME` or what comes in ends it.
    WaitingRead(usize, Vec<(u64, Vec<u8>)>),
    Flush(Side, Queue),
    Flow(Side, Flow),
    Packet(bool),
    /// `TIOCSTI` on one end, which takes privilege.
    Simulate(Side, u8),
    Winsize(u16, u16),
    CloseSlave,
    OpenSlave,
}

impl Step {
    /// Whether the step is a call on the slave. While that is closed, such a step does nothing and replies [`Reply::Ok`].
    #[must_use]
    pub fn needs_slave(&self) -> bool {
        match self {
            Step::Write(side, _)
            | Step::Read(side, _)
            | Step::Flush(side, _)
            | Step::Flow(side, _)
            | Step::Simulate(side, _) => *side == Side::Slave,
            Step::Termios(..) | Step::WaitingRead(..) => true,
            Step::Packet(_) | Step::Winsize(..) | Step::CloseSlave | Step::OpenSlave => false,
        }
    }
}

/// What a call returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Ok,
    Count(usize),
    Bytes(Vec<u8>),
    /// The settings as they read back.
    Termios(Termios2),
    WouldBlock,
    Eio,
}

/// What can be seen of the pty without changing it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// `FIONREAD`, and of `poll` the bits in, out, pri, hup, err, for each side. The slave has none while closed.
    pub slave: Option<(usize, Poll)>,
    pub master: (usize, Poll),
    /// Signals sent to the foreground process group since the last look.
    pub signals: Signals,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Poll {
    pub readable: bool,
    pub writable: bool,
    pub priority: bool,
    pub hup: bool,
    pub err: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    pub int: bool,
    pub quit: bool,
    pub stop: bool,
    pub winch: bool,
}

impl Signals {
    pub(crate) fn add(&mut self, other: Self) {
        self.int |= other.int;
        self.quit |= other.quit;
        self.stop |= other.stop;
        self.winch |= other.winch;
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub reply: Reply,
    pub state: State,
}

/// A named list of steps on a new pty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub name: String,
    pub steps: Vec<Step>,
}
