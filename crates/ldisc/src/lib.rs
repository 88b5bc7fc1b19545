//! Linux's terminal line discipline (`N_TTY`) over a pseudo-terminal pair: bytes in, effects out.
//!
//! One [`LineDiscipline`] is the whole of a pty between its two file descriptions. It has no clock, no locks and does no
//! I/O: its owner (the kernel's tty) serialises the calls, passes the time in, and carries out the [`Effects`].
//!
//! | side | writes | reads |
//! |---|---|---|
//! | master | [`LineDiscipline::input`], as if typed | [`LineDiscipline::read_output`], echo and output |
//! | slave | [`LineDiscipline::output`] | [`LineDiscipline::begin_read`] and [`LineDiscipline::read`] |
//!
//! Job control (`TOSTOP`, `SIGTTIN`) is the owner's; [`LineDiscipline::termios`] has the flags. Signals are returned as
//! effects and meant for the foreground process group at that time.
//!
//! # How it compares to Linux
//! In Linux a worker thread carries bytes from one side to the other some time after `write` returns. Here they arrive
//! within the call, so everything that depends on the worker's timing has one outcome of those that Linux allows: the
//! one where the worker runs whenever it can. That concerns how much a single write beyond about 8 KiB takes before it
//! would block, and how much output a flush (`TCOFLUSH`, an interrupt character) still finds to discard: up to 4095 bytes
//! have always reached the master by then. Else it is exact, quirks included; see the tests, which compare with the host.
//!
//! What a pty never does: it reports no breaks or parity errors (so `IGNBRK`, `BRKINT`, `INPCK` and `IGNPAR` are kept, and
//! nothing more), has no output of its own to drain (`TIOCOUTQ` is 0, `TCSETSW` never waits), and Linux gives
//! no meaning to `VDISCARD`, `IMAXBEL` and the delay bits other than `XTABS`.

mod control;
mod ctype;
mod echo;
mod effects;
mod erase;
mod flip;
mod input;
mod null;
mod opost;
mod read;
mod slots;

pub use control::{Flow, Queue, Side, When};
pub use effects::{Effects, Readiness, Signals, Wake};
pub use null::N_NULL;
pub use read::{ReadOp, ReadResult};

use abi::raw::general as raw;
use abi::termios::{Termios2, Winsize};
use std::collections::VecDeque;

use echo::EchoRing;
use flip::{FlipAccount, OutputQueue};
use slots::SlotSet;

/// Size of the input ring (`N_TTY_BUF_SIZE`). A canonical line is at most this long with its delimiter.
const RING: usize = 4096;
const _: () = assert!(RING.is_power_of_two());
/// Index into a ring for a position that only ever grows.
const fn at(position: usize) -> usize {
    position & (RING - 1)
}
/// Value of a control character that is switched off; also what an end of file is stored as.
const DISABLED: u8 = 0;
/// Writers are woken when this much input or less is left unread.
const LOW_WATER: usize = 128;
/// Linux splits writes to a terminal into pieces of this size.
const WRITE_PIECE: usize = 2048;

/// The state of a pty pair. See the crate's documentation.
#[derive(Clone, Debug)]
pub struct LineDiscipline {
    termios: Termios2,
    winsize: Winsize,
    /// Bytes that need more than being queued, given the settings.
    special: [bool; 256],
    /// Nothing in the settings touches input.
    raw: bool,

    ring: Box<[u8; RING]>,
    /// Which ring slots hold a line delimiter.
    delimiters: SlotSet,
    read_tail: usize,
    read_head: usize,
    /// End of the complete lines.
    canon_head: usize,
    /// End of what non-canonical reads may have.
    commit_head: usize,
    literal_next: bool,
    /// Within a `\…/` of `ECHOPRT`.
    erasing: bool,

    /// Input that found no room in the ring, and the account of what the master may still write.
    pending: VecDeque<u8>,
    incoming: FlipAccount,
    /// Leading bytes of `pending` that were already searched for flow control characters.
    peeked: usize,
    /// Bytes searched ahead that are yet to be received (Linux's own count, which a flush of `pending` leaves alone).
    lookahead: usize,
    /// Input stopped because the ring was full.
    no_room: bool,

    echo: EchoRing,
    column: u32,
    /// Column where the line being typed began.
    canon_column: u32,

    out: OutputQueue,
    slave_flow: FlowState,
    master_flow: FlowState,
    packet: bool,
    packet_status: u8,
    slave_closed: bool,
    master_closed: bool,
    /// Sides with `N_NULL`.
    slave_null: bool,
    master_null: bool,
    effects: Effects,
    /// A flush met output that Linux's worker might or might not have delivered by then.
    timing_shows: bool,
    /// Sides that had no room to write when last looked at.
    full: Wake,
    /// Sides that are to be signalled when there is room again.
    cut_short: Wake,
}

#[derive(Clone, Copy, Debug, Default)]
struct FlowState {
    stopped: bool,
    /// Stopped by `TCOOFF`, which only `TCOON` undoes.
    held: bool,
}

impl LineDiscipline {
    /// A new pair with these settings on the slave; [`Termios2::pty_default`] are Linux's.
    #[must_use]
    pub fn new(termios: &Termios2) -> Self {
        let mut this = Self {
            termios: *termios,
            winsize: Winsize::default(),
            special: [false; 256],
            raw: false,
            ring: Box::new([0; RING]),
            delimiters: SlotSet::default(),
            read_tail: 0,
            read_head: 0,
            canon_head: 0,
            commit_head: 0,
            literal_next: false,
            erasing: false,
            pending: VecDeque::new(),
            incoming: FlipAccount::new(),
            peeked: 0,
            lookahead: 0,
            no_room: false,
            echo: EchoRing::new(),
            column: 0,
            canon_column: 0,
            out: OutputQueue::new(),
            slave_flow: FlowState::default(),
            master_flow: FlowState::default(),
            packet: false,
            packet_status: 0,
            slave_closed: false,
            master_closed: false,
            slave_null: false,
            master_null: false,
            effects: Effects::default(),
            timing_shows: false,
            full: Wake::empty(),
            cut_short: Wake::empty(),
        };
        this.install_termios(termios);
        this
    }

    fn iflag(&self, bit: u32) -> bool {
        self.termios.c_iflag & bit != 0
    }

    fn oflag(&self, bit: u32) -> bool {
        self.termios.c_oflag & bit != 0
    }

    fn lflag(&self, bit: u32) -> bool {
        self.termios.c_lflag & bit != 0
    }

    fn cc(&self, index: u32) -> u8 {
        self.termios.c_cc[index as usize]
    }

    /// Reads go by lines.
    fn by_line(&self) -> bool {
        self.lflag(raw::ICANON) && !self.lflag(raw::EXTPROC)
    }

    /// The byte continues a character and takes no column of its own.
    fn is_continuation(&self, c: u8) -> bool {
        self.iflag(raw::IUTF8) && ctype::is_utf8_continuation(c)
    }

    /// Whether what has been done to this pty could have come out differently on Linux, by its worker's timing. For
    /// comparisons with a real pty.
    #[doc(hidden)]
    #[must_use]
    pub fn timing_shows(&self) -> bool {
        self.timing_shows || self.incoming.timing_shows() || self.out.timing_shows()
    }

    /// There is something to read.
    fn wake_readers(&mut self, side: Wake) {
        self.effects.wake |= side;
        self.effects.signal |= side;
    }

    /// There may be room to write (`tty_wakeup`).
    fn wake_writers(&mut self, side: Wake) {
        self.effects.wake |= side;
        self.effects.signal |= side & self.cut_short;
        self.cut_short -= side;
    }

    /// A write that does not wait took less than it was given: one signal tells of room.
    pub fn write_fell_short(&mut self, side: Side) {
        self.cut_short |= match side {
            Side::Slave => Wake::SLAVE_WRITE,
            Side::Master => Wake::MASTER_WRITE,
        };
    }

    /// Hands what piled up during a call to its caller, and tells writers of room that there was none of before.
    fn finish(&mut self, effects: &mut Effects) {
        for (side, wake) in [(Side::Slave, Wake::SLAVE_WRITE), (Side::Master, Wake::MASTER_WRITE)] {
            let room = self.readiness(side).contains(Readiness::OUT);
            self.effects.wake.set(wake, self.effects.wake.contains(wake) || room && self.full.contains(wake));
            self.full.set(wake, !room);
        }
        effects.add(std::mem::take(&mut self.effects));
    }
}
