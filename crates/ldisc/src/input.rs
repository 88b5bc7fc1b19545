//! Input: what the master writes, on its way into the slave's read buffer.

use crate::control::Side;
use crate::ctype::{is_control, to_lower};
use crate::{DISABLED, Effects, LineDiscipline, RING, Signals, WRITE_PIECE, Wake, at};
use abi::raw::general as raw;
use std::mem;

impl LineDiscipline {
    /// The master writes. Returns how many bytes are taken; none means that it would block.
    #[must_use]
    pub fn input(&mut self, bytes: &[u8], effects: &mut Effects) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            let piece = &bytes[taken..bytes.len().min(taken + WRITE_PIECE)];
            if self.master_flow.stopped {
                break;
            }
            let fits = self.incoming.push(piece.len());
            taken += fits;
            // Even a write that finds no room sets off what waits, and the settings may be other ones by now.
            self.receive_pending(&piece[..fits]);
            self.deliver_output();
            if fits == 0 {
                break;
            }
        }
        self.finish(effects);
        taken
    }

    /// A byte as if it had come in from the other side (`TIOCSTI`): ahead of what waits for room, and lost if there is none.
    pub fn simulate_input(&mut self, side: Side, c: u8, effects: &mut Effects) {
        match side {
            Side::Slave => {
                if !self.slave_null {
                    let stalled = self.no_room;
                    self.receive(&[c]);
                    self.no_room = stalled;
                    self.deliver_output();
                }
            }
            Side::Master => {
                if !self.master_null && self.out.insert_delivered(c) {
                    self.wake_readers(Wake::MASTER_READ);
                }
            }
        }
        self.finish(effects);
    }

    /// Goes on with input that found no room, if there was any.
    pub(crate) fn resume_input(&mut self) {
        if !self.slave_null && mem::take(&mut self.no_room) {
            self.receive_pending(&[]);
            self.deliver_output();
        }
    }

    /// Feeds the ring from what waits and then from `fresh`, portion by portion, while it has room.
    pub(crate) fn receive_pending(&mut self, fresh: &[u8]) {
        if self.slave_null {
            self.pending.extend(fresh);
            return;
        }
        let mut waiting = mem::take(&mut self.pending);
        let source: &[u8] = if waiting.is_empty() {
            fresh
        } else {
            waiting.extend(fresh);
            waiting.make_contiguous()
        };
        let mut done = 0;
        loop {
            let portion = self.incoming.front();
            if portion == 0 {
                break;
            }
            let received = self.receive(&source[done..done + portion]);
            self.incoming.consume(received);
            self.peeked = self.peeked.saturating_sub(received);
            done += received;
            if received < portion {
                self.look_ahead(&source[done + self.peeked..]);
                self.peeked = source.len() - done;
            }
            if received == 0 {
                break;
            }
        }
        if waiting.is_empty() {
            waiting.extend(&fresh[done..]);
        } else {
            waiting.drain(..done);
        }
        self.pending = waiting;
    }

    /// Finds flow control characters in input that can't be received yet.
    fn look_ahead(&mut self, bytes: &[u8]) {
        self.lookahead = self.lookahead.wrapping_add(bytes.len());
        if self.iflag(raw::IXON) {
            for &c in bytes {
                self.flow_character(c, false);
            }
        }
    }

    /// Receives one portion; returns how much of it the ring had room for.
    fn receive(&mut self, bytes: &[u8]) -> usize {
        let mut received = 0;
        loop {
            let mut room = RING as isize - self.held() as isize;
            if self.iflag(raw::PARMRK) {
                // A byte may come to three.
                room = (room + 2) / 3;
            }
            room -= 1;
            if room <= 0 {
                // A line without end is still taken, so that it can be edited, but each byte replaces the last.
                let overflow = self.lflag(raw::ICANON) && self.canon_head == self.read_tail;
                if overflow && room < 0 {
                    self.read_head -= 1;
                }
                room = isize::from(overflow);
                self.no_room = !overflow;
            }
            let portion = (bytes.len() - received).min(room as usize);
            if portion == 0 {
                break;
            }
            self.receive_into_ring(&bytes[received..received + portion]);
            received += portion;
        }
        received
    }

    /// Bytes in the ring.
    pub(crate) fn held(&self) -> usize {
        self.read_head.wrapping_sub(self.read_tail)
    }

    fn receive_into_ring(&mut self, bytes: &[u8]) {
        let strips = self.iflag(raw::ISTRIP);
        let lowers = self.iflag(raw::IUCLC) && self.lflag(raw::IEXTEN);
        let searched = self.lookahead.min(bytes.len());
        if self.raw || self.lflag(raw::EXTPROC) && !strips && !lowers {
            self.store_run(bytes);
        } else {
            let mut index = 0;
            while let Some(&byte) = bytes.get(index) {
                if !strips && !lowers {
                    let run = self.receive_run(&bytes[index..]);
                    index += run;
                    if run > 0 {
                        continue;
                    }
                }
                let c = if strips { byte & 0x7f } else { byte };
                let c = if lowers { to_lower(c) } else { c };
                if mem::take(&mut self.literal_next) {
                    self.receive_plain(c);
                } else if self.lflag(raw::EXTPROC) {
                    self.store(c);
                } else if self.special[usize::from(c)] {
                    self.receive_special(c, index < searched);
                } else {
                    self.receive_plain(c);
                }
                index += 1;
            }
            self.flush_echoes();
        }
        // A signal character in between sets the count to zero, and Linux lets it wrap here.
        self.lookahead = self.lookahead.wrapping_sub(searched);
        if !self.by_line() {
            self.commit_head = self.read_head;
            if self.held() > 0 {
                self.wake_readers(Wake::SLAVE_READ);
            }
        }
    }

    /// Receives leading bytes that only need storing and plain echo, all at once; returns how many. It may return none.
    fn receive_run(&mut self, bytes: &[u8]) -> usize {
        if self.literal_next || self.slave_flow.stopped || self.erasing {
            return 0;
        }
        let echo = self.lflag(raw::ECHO);
        if echo && self.canon_head == self.read_head {
            return 0;
        }
        let most = if echo { self.echo.room_in_block().min(bytes.len()) } else { bytes.len() };
        let carets = echo && self.lflag(raw::ECHOCTL);
        let plain = |&c: &u8| !self.special[usize::from(c)] && c != 0xff && !(carets && is_control(c));
        let run = bytes[..most].iter().position(|c| !plain(c)).unwrap_or(most);
        if echo {
            self.echo.plain_run(&bytes[..run]);
        }
        self.store_run(&bytes[..run]);
        run
    }

    fn store(&mut self, c: u8) {
        self.ring[at(self.read_head)] = c;
        self.read_head += 1;
    }

    fn store_run(&mut self, bytes: &[u8]) {
        let start = at(self.read_head);
        let split = bytes.len().min(RING - start);
        self.ring[start..start + split].copy_from_slice(&bytes[..split]);
        self.ring[..bytes.len() - split].copy_from_slice(&bytes[split..]);
        self.read_head += bytes.len();
    }

    /// Stores a byte; `PARMRK` marks errors with 0xff, so a real 0xff is doubled.
    fn store_marked(&mut self, c: u8) {
        if c == 0xff && self.iflag(raw::PARMRK) {
            self.store(c);
        }
        self.store(c);
    }

    /// Any byte restarts stopped output with `IXANY`.
    fn restart_on_any(&mut self) {
        if self.slave_flow.stopped && !self.slave_flow.held && self.iflag(raw::IXON) && self.iflag(raw::IXANY) {
            self.start(Side::Slave);
            self.process_echoes();
        }
    }

    fn receive_plain(&mut self, c: u8) {
        self.restart_on_any();
        if self.lflag(raw::ECHO) {
            self.finish_erasing();
            self.echo_typed(c);
            self.commit_echoes();
        }
        self.store_marked(c);
    }

    fn echo_typed(&mut self, c: u8) {
        if self.canon_head == self.read_head {
            self.echo.mark_column();
        }
        self.echo_char(c);
    }

    fn receive_special(&mut self, c: u8, searched: bool) {
        if self.iflag(raw::IXON) && self.flow_character(c, searched) {
            return;
        }
        if self.lflag(raw::ISIG) {
            for (index, signal) in
                [(raw::VINTR, Signals::INT), (raw::VQUIT, Signals::QUIT), (raw::VSUSP, Signals::STOP)]
            {
                if c == self.cc(index) {
                    self.signal_character(c, signal);
                    return;
                }
            }
        }
        self.restart_on_any();
        let c = match c {
            b'\r' if self.iflag(raw::IGNCR) => return,
            b'\r' if self.iflag(raw::ICRNL) => b'\n',
            b'\n' if self.iflag(raw::INLCR) => b'\r',
            c => c,
        };
        if self.lflag(raw::ICANON) && self.receive_canonical(c) {
            return;
        }
        if self.lflag(raw::ECHO) {
            self.finish_erasing();
            if c == b'\n' {
                self.echo.plain(c);
            } else {
                self.echo_typed(c);
            }
            self.commit_echoes();
        }
        self.store_marked(c);
    }

    /// Acts on a start or stop character unless it was acted on already; says whether it was one.
    fn flow_character(&mut self, c: u8, acted_on: bool) -> bool {
        let start = c == self.cc(raw::VSTART);
        if !start && c != self.cc(raw::VSTOP) {
            return false;
        }
        if !acted_on {
            if start {
                self.start(Side::Slave);
                self.process_echoes();
            } else {
                self.stop(Side::Slave);
            }
        }
        true
    }

    fn signal_character(&mut self, c: u8, signal: Signals) {
        self.effects.signals |= signal;
        if !self.lflag(raw::NOFLSH) {
            self.echo.clear();
            self.flush_pending_output();
            self.reset_input();
            self.report_packet(raw::TIOCPKT_FLUSHREAD, 0);
        }
        if self.iflag(raw::IXON) {
            self.start(Side::Slave);
        }
        if self.lflag(raw::ECHO) {
            self.echo_char(c);
            self.commit_echoes();
        } else {
            self.process_echoes();
        }
    }

    /// Acts on the characters that only canonical mode knows; says whether `c` was one.
    fn receive_canonical(&mut self, c: u8) -> bool {
        let extended = self.lflag(raw::IEXTEN);
        let echo = self.lflag(raw::ECHO);
        if c == self.cc(raw::VERASE) || c == self.cc(raw::VKILL) || c == self.cc(raw::VWERASE) && extended {
            self.erase(c);
            self.commit_echoes();
        } else if c == self.cc(raw::VLNEXT) && extended {
            self.literal_next = true;
            if echo {
                self.finish_erasing();
                if self.lflag(raw::ECHOCTL) {
                    self.echo.plain(b'^');
                    self.echo.plain(b'\x08');
                    self.commit_echoes();
                }
            }
        } else if c == self.cc(raw::VREPRINT) && echo && extended {
            self.reprint(c);
        } else if c == b'\n' {
            if self.lflag(raw::ECHO | raw::ECHONL) {
                self.echo.plain(c);
                self.commit_echoes();
            }
            self.end_line(c);
        } else if c == self.cc(raw::VEOF) {
            self.end_line(DISABLED);
        } else if c == self.cc(raw::VEOL) || c == self.cc(raw::VEOL2) && extended {
            if echo {
                self.echo_typed(c);
                self.commit_echoes();
            }
            if c == 0xff && self.iflag(raw::PARMRK) {
                self.store(c);
            }
            self.end_line(c);
        } else {
            return false;
        }
        true
    }

    fn reprint(&mut self, c: u8) {
        self.finish_erasing();
        self.echo_char(c);
        self.echo.plain(b'\n');
        let mut position = self.canon_head;
        while at(position) != at(self.read_head) {
            self.echo_char(self.ring[at(position)]);
            position += 1;
        }
        self.commit_echoes();
    }

    fn end_line(&mut self, delimiter: u8) {
        self.delimiters.insert(self.read_head);
        self.store(delimiter);
        self.canon_head = self.read_head;
        self.wake_readers(Wake::SLAVE_READ);
    }
}
