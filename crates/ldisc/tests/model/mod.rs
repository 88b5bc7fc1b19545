//! Plays the oracle's steps on the line discipline.

// Each test uses its part.
#![allow(dead_code)]

use abi::termios::{Termios2, Winsize};
use oracle_pty as oracle;
use oracle_pty::{Outcome, Poll, Reply, State, Step};
use vizor_ldisc::{Effects, Flow, LineDiscipline, Queue, ReadOp, ReadResult, Readiness, Side, Signals, Wake, When};

type Pieces<'a> = std::slice::Iter<'a, (u64, Vec<u8>)>;

#[derive(Clone)]
pub struct Model {
    ldisc: LineDiscipline,
    slave_open: bool,
    now: u64,
    /// A readiness that came about without its wake.
    pub missed: Option<String>,
}

fn side(side: oracle::Side) -> Side {
    match side {
        oracle::Side::Master => Side::Master,
        oracle::Side::Slave => Side::Slave,
    }
}

impl Model {
    pub fn new() -> Self {
        Self { ldisc: LineDiscipline::new(&Termios2::pty_default()), slave_open: true, now: 0, missed: None }
    }

    /// Plays a step. Returns `None` if it would wait without end; the model is of no use then.
    pub fn play(&mut self, step: &Step) -> Option<Outcome> {
        let before = (self.ldisc.readiness(Side::Slave), self.ldisc.readiness(Side::Master));
        let mut effects = Effects::default();
        let reply = if step.needs_slave() && !self.slave_open { Reply::Ok } else { self.call(step, &mut effects)? };
        self.check_wakes(before, &effects);
        Some(Outcome { reply, state: self.state(effects.signals) })
    }

    /// Whether the case has come to where the timing of Linux's workers shows, so that there is nothing to compare.
    pub fn timing_shows(&self) -> bool {
        self.ldisc.timing_shows()
    }

    /// Whatever has become ready must have been announced.
    fn check_wakes(&mut self, before: (Readiness, Readiness), effects: &Effects) {
        let slave = self.ldisc.readiness(Side::Slave) - before.0;
        let master = self.ldisc.readiness(Side::Master) - before.1;
        for (news, bit, wake) in [
            (slave, Readiness::IN, Wake::SLAVE_READ),
            (slave, Readiness::OUT, Wake::SLAVE_WRITE),
            (master, Readiness::IN, Wake::MASTER_READ),
            (master, Readiness::OUT, Wake::MASTER_WRITE),
        ] {
            if news.contains(bit) && !effects.wake.contains(wake) {
                self.missed = Some(format!("{bit:?} without {wake:?}"));
            }
        }
    }

    fn call(&mut self, step: &Step, effects: &mut Effects) -> Option<Reply> {
        let ldisc = &mut self.ldisc;
        match step {
            Step::Termios(when, termios) => {
                let when = match when {
                    oracle::When::Now => When::Now,
                    oracle::When::Drained => When::Drained,
                    oracle::When::Flushed => When::Flushed,
                };
                ldisc.set_termios(termios, when, effects);
                return Some(Reply::Termios(*ldisc.termios()));
            }
            Step::Write(oracle::Side::Master, bytes) => return Some(written(ldisc.input(bytes, effects), bytes)),
            Step::Write(oracle::Side::Slave, bytes) => {
                return Some(ldisc.output(bytes, effects).map_or(Reply::Eio, |count| written(count, bytes)));
            }
            Step::Read(oracle::Side::Master, len) => {
                let mut buf = vec![0; *len];
                return finished(ldisc.read_output(&mut buf, effects), buf);
            }
            Step::Read(oracle::Side::Slave, len) => {
                let mut buf = vec![0; *len];
                let mut op = ldisc.begin_read(self.now);
                return finished(ldisc.read(&mut op, &mut buf, true, self.now, effects), buf);
            }
            Step::WaitingRead(len, later) => return self.wait_and_read(*len, later, effects),
            Step::Flush(s, queue) => {
                let queue = match queue {
                    oracle::Queue::Input => Queue::Input,
                    oracle::Queue::Output => Queue::Output,
                    oracle::Queue::Both => Queue::Both,
                };
                ldisc.flush(side(*s), queue, effects);
            }
            Step::Flow(s, flow) => {
                let flow = match flow {
                    oracle::Flow::Stop => Flow::Stop,
                    oracle::Flow::Start => Flow::Start,
                    oracle::Flow::SendStop => Flow::SendStop,
                    oracle::Flow::SendStart => Flow::SendStart,
                };
                ldisc.flow(side(*s), flow, effects);
            }
            Step::Packet(on) => ldisc.set_packet_mode(*on),
            Step::Simulate(s, c) => ldisc.simulate_input(side(*s), *c, effects),
            Step::Winsize(ws_row, ws_col) => {
                ldisc.set_winsize(Winsize { ws_row: *ws_row, ws_col: *ws_col, ..Winsize::default() }, effects);
            }
            Step::CloseSlave => {
                self.slave_open = false;
                ldisc.slave_closed(effects);
            }
            Step::OpenSlave => {
                self.slave_open = true;
                ldisc.slave_opened();
            }
        }
        Some(Reply::Ok)
    }

    /// Reads as a task does: called again when the deadline has come or a wake for it.
    fn wait_and_read(&mut self, len: usize, later: &[(u64, Vec<u8>)], effects: &mut Effects) -> Option<Reply> {
        let start = self.now;
        let mut buf = vec![0; len];
        let mut later = later.iter();
        let mut op: ReadOp = self.ldisc.begin_read(self.now);
        let result = loop {
            match self.ldisc.read(&mut op, &mut buf, false, self.now, effects) {
                ReadResult::Wait { deadline } => self.wait(start, deadline, &mut later, effects)?,
                result => break result,
            }
        };
        while self.next_piece(start, None, &mut later, effects).is_some() {}
        finished(result, buf)
    }

    /// Waits for the deadline or a wake; returns `None` if there will be neither.
    fn wait(&mut self, start: u64, deadline: Option<u64>, later: &mut Pieces<'_>, effects: &mut Effects) -> Option<()> {
        loop {
            match self.next_piece(start, deadline, later, effects) {
                Some(news) if news.wake.contains(Wake::SLAVE_READ) => return Some(()),
                Some(_) => {}
                None => {
                    self.now = deadline?;
                    return Some(());
                }
            }
        }
    }

    /// The master writes its next piece, if that comes before the deadline.
    fn next_piece(
        &mut self,
        start: u64,
        deadline: Option<u64>,
        later: &mut Pieces<'_>,
        effects: &mut Effects,
    ) -> Option<Effects> {
        let (delay, bytes) = later.as_slice().first()?;
        let time = start + delay * 1_000_000;
        if deadline.is_some_and(|deadline| deadline < time) {
            return None;
        }
        later.next();
        self.now = time;
        let mut news = Effects::default();
        assert_eq!(self.ldisc.input(bytes, &mut news), bytes.len());
        effects.signals |= news.signals;
        effects.wake |= news.wake;
        Some(news)
    }

    fn state(&self, signals: Signals) -> State {
        let look = |side| {
            let ready = self.ldisc.readiness(side);
            let poll = Poll {
                readable: ready.contains(Readiness::IN),
                writable: ready.contains(Readiness::OUT),
                priority: ready.contains(Readiness::PRI),
                hup: ready.contains(Readiness::HUP),
                err: ready.contains(Readiness::ERR),
            };
            (self.ldisc.fionread(side), poll)
        };
        State {
            slave: self.slave_open.then(|| look(Side::Slave)),
            master: look(Side::Master),
            signals: oracle::Signals {
                int: signals.contains(Signals::INT),
                quit: signals.contains(Signals::QUIT),
                stop: signals.contains(Signals::STOP),
                winch: signals.contains(Signals::WINCH),
            },
        }
    }
}

fn written(count: usize, bytes: &[u8]) -> Reply {
    if count == 0 && !bytes.is_empty() { Reply::WouldBlock } else { Reply::Count(count) }
}

fn finished(result: ReadResult, mut buf: Vec<u8>) -> Option<Reply> {
    Some(match result {
        ReadResult::Done(len) => {
            buf.truncate(len);
            Reply::Bytes(buf)
        }
        ReadResult::Wait { .. } | ReadResult::WouldBlock => Reply::WouldBlock,
        ReadResult::HungUp => Reply::Eio,
    })
}
