//! Control: settings, flow, flushes, packet mode, window size, and the ends going away.

use crate::{DISABLED, Effects, FlowState, LineDiscipline, Signals, Wake};
use abi::raw::general as raw;
use abi::termios::{Termios2, Winsize};

/// An end of the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Master,
    Slave,
}

/// When new settings take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// `TCSETS`.
    Now,
    /// `TCSETSW`. A pty has never anything left to send, so nothing is waited for.
    Drained,
    /// `TCSETSF`: unread input is discarded first.
    Flushed,
}

/// The queues of `TCFLSH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// `TCIFLUSH`.
    Input,
    /// `TCOFLUSH`.
    Output,
    /// `TCIOFLUSH`.
    Both,
}

/// The actions of `TCXONC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// `TCOOFF`.
    Stop,
    /// `TCOON`.
    Start,
    /// `TCIOFF`: sends the stop character to the other side.
    SendStop,
    /// `TCION`: sends the start character to the other side.
    SendStart,
}

impl LineDiscipline {
    /// The settings (`TCGETS2`). Both sides see the slave's.
    #[must_use]
    pub fn termios(&self) -> &Termios2 {
        &self.termios
    }

    /// Makes new settings (`TCSETS2` and its like). Speeds and character size come out as a pty has them.
    pub fn set_termios(&mut self, new: &Termios2, when: When, effects: &mut Effects) {
        if when == When::Flushed {
            self.reset_input();
            self.report_packet(raw::TIOCPKT_FLUSHREAD, 0);
        }
        let old = self.termios;
        let mut new = *new;
        new.resolve_speeds();
        new.c_cflag = (new.c_cflag & !(raw::CSIZE | raw::PARENB | raw::ADDRB)) | raw::CS8 | raw::CREAD;
        new.c_cflag |= old.c_cflag & raw::ADDRB;
        self.report_settings(&old, &new);
        if (old.c_lflag ^ new.c_lflag) & (raw::ICANON | raw::EXTPROC) != 0 {
            self.change_mode(new.c_lflag & raw::ICANON != 0);
        }
        self.install_termios(&new);
        if !self.iflag(raw::IXON) && old.c_iflag & raw::IXON != 0 && !self.slave_flow.held {
            self.start(Side::Slave);
            self.process_echoes();
            self.deliver_output();
        }
        if when == When::Flushed {
            // Linux lets its worker go on before the new settings are made, but that takes a while to begin.
            self.timing_shows |= !self.pending.is_empty();
            self.resume_input();
        }
        self.effects.wake |= Wake::SLAVE_READ | Wake::SLAVE_WRITE;
        self.finish(effects);
    }

    /// Turns what is unread into one line, or into plain characters.
    fn change_mode(&mut self, canonical: bool) {
        self.delimiters.clear();
        if canonical && self.held() > 0 {
            self.delimiters.insert(self.read_head.wrapping_sub(1));
            self.canon_head = self.read_head;
        } else {
            self.canon_head = self.read_tail;
        }
        self.commit_head = self.read_head;
        self.erasing = false;
        self.literal_next = false;
    }

    /// Takes over settings and works out which bytes need looking at.
    pub(crate) fn install_termios(&mut self, termios: &Termios2) {
        self.termios = *termios;
        let plain_input = raw::ISTRIP | raw::IUCLC | raw::IGNCR | raw::ICRNL | raw::INLCR | raw::IXON | raw::PARMRK;
        self.raw = !self.iflag(plain_input) && !self.lflag(raw::ICANON | raw::ISIG | raw::ECHO);
        self.special = [false; 256];
        self.special[usize::from(b'\r')] = self.iflag(raw::IGNCR | raw::ICRNL);
        self.special[usize::from(b'\n')] = self.iflag(raw::INLCR) || self.lflag(raw::ICANON);
        if self.lflag(raw::ICANON) {
            self.mark_special(&[raw::VERASE, raw::VKILL, raw::VEOF, raw::VEOL]);
            if self.lflag(raw::IEXTEN) {
                self.mark_special(&[raw::VWERASE, raw::VLNEXT, raw::VEOL2]);
                if self.lflag(raw::ECHO) {
                    self.mark_special(&[raw::VREPRINT]);
                }
            }
        }
        if self.iflag(raw::IXON) {
            self.mark_special(&[raw::VSTART, raw::VSTOP]);
        }
        if self.lflag(raw::ISIG) {
            self.mark_special(&[raw::VINTR, raw::VQUIT, raw::VSUSP]);
        }
        self.special[usize::from(DISABLED)] = false;
    }

    fn mark_special(&mut self, indices: &[u32]) {
        for &index in indices {
            self.special[usize::from(self.cc(index))] = true;
        }
    }

    /// Discards queued bytes (`TCFLSH`) of one side.
    pub fn flush(&mut self, side: Side, queue: Queue, effects: &mut Effects) {
        let (input, output) = (queue != Queue::Output, queue != Queue::Input);
        match side {
            Side::Slave => {
                if input {
                    self.drop_incoming();
                    self.reset_input();
                    self.no_room = false;
                    self.report_packet(raw::TIOCPKT_FLUSHREAD, 0);
                    self.wake_writers(Wake::MASTER_WRITE);
                }
                if output {
                    self.flush_pending_output();
                }
            }
            Side::Master => {
                if input {
                    self.out.flush_pending();
                    self.out.flush_delivered();
                    self.wake_writers(Wake::SLAVE_WRITE);
                }
                if output {
                    self.drop_incoming();
                    self.effects.wake |= Wake::MASTER_WRITE;
                }
            }
        }
        self.finish(effects);
    }

    /// Discards what came in for a side and waits there, as `TCFLSH` does though `N_NULL` then refuses the call.
    pub fn flush_incoming(&mut self, side: Side, effects: &mut Effects) {
        match side {
            Side::Slave => self.drop_incoming(),
            Side::Master => self.out.flush_pending(),
        }
        self.finish(effects);
    }

    /// Discards what the master wrote and the ring had no room for.
    pub(crate) fn drop_incoming(&mut self) {
        self.incoming.flush();
        self.pending.clear();
        self.peeked = 0;
    }

    /// Discards the ring's content.
    pub(crate) fn reset_input(&mut self) {
        (self.read_head, self.read_tail, self.canon_head, self.commit_head) = (0, 0, 0, 0);
        self.erasing = false;
        self.delimiters.clear();
        self.lookahead = 0;
    }

    /// Discards the slave's output that the master has not been given yet.
    pub(crate) fn flush_pending_output(&mut self) {
        self.timing_shows |= self.out.could_deliver();
        self.out.flush_pending();
        self.report_packet(raw::TIOCPKT_FLUSHWRITE, 0);
        self.effects.wake |= Wake::SLAVE_WRITE;
    }

    /// Stops or starts one side's output (`TCXONC`).
    pub fn flow(&mut self, side: Side, action: Flow, effects: &mut Effects) {
        match action {
            Flow::Stop => {
                let flow = self.flow_state(side);
                if !flow.held {
                    flow.held = true;
                    self.stop(side);
                }
            }
            Flow::Start => {
                let flow = self.flow_state(side);
                if flow.held {
                    flow.held = false;
                    self.start(side);
                }
            }
            Flow::SendStop => self.send_urgent(side, raw::VSTOP, effects),
            Flow::SendStart => self.send_urgent(side, raw::VSTART, effects),
        }
        self.finish(effects);
    }

    /// Sends a control character past a stop.
    fn send_urgent(&mut self, side: Side, index: u32, effects: &mut Effects) {
        // The master's own settings never change.
        let c = if side == Side::Slave { self.cc(index) } else { Termios2::pty_default().c_cc[index as usize] };
        if c == DISABLED {
            return;
        }
        let was_stopped = self.flow_state(side).stopped;
        if was_stopped {
            self.start(side);
        }
        match side {
            Side::Slave => {
                self.emit(&[c]);
                self.deliver_output();
            }
            Side::Master => {
                let _ = self.input(&[c], effects);
            }
        }
        if was_stopped {
            self.stop(side);
        }
    }

    fn flow_state(&mut self, side: Side) -> &mut FlowState {
        match side {
            Side::Slave => &mut self.slave_flow,
            Side::Master => &mut self.master_flow,
        }
    }

    pub(crate) fn stop(&mut self, side: Side) {
        let flow = self.flow_state(side);
        if !flow.stopped {
            flow.stopped = true;
            if side == Side::Slave {
                self.report_packet(raw::TIOCPKT_STOP, raw::TIOCPKT_START);
            }
        }
    }

    pub(crate) fn start(&mut self, side: Side) {
        let flow = self.flow_state(side);
        if !flow.stopped || flow.held {
            return;
        }
        flow.stopped = false;
        match side {
            Side::Slave => {
                self.report_packet(raw::TIOCPKT_START, raw::TIOCPKT_STOP);
                self.wake_writers(Wake::SLAVE_WRITE);
            }
            Side::Master => self.wake_writers(Wake::MASTER_WRITE),
        }
    }

    /// Whether the master is in packet mode (`TIOCGPKT`).
    #[must_use]
    pub fn packet_mode(&self) -> bool {
        self.packet
    }

    /// Switches packet mode (`TIOCPKT`).
    pub fn set_packet_mode(&mut self, on: bool) {
        if on && !self.packet {
            self.packet_status = 0;
        }
        self.packet = on;
    }

    /// Adds to the packet status, and takes what it contradicts out of it.
    pub(crate) fn report_packet(&mut self, set: u32, clear: u32) {
        if self.packet {
            self.packet_status = self.packet_status & !(clear as u8) | set as u8;
            self.effects.wake |= Wake::MASTER_READ;
        }
    }

    /// Tells a master in packet mode of settings that concern it: flow control by ^S and ^Q, and outside editing.
    fn report_settings(&mut self, old: &Termios2, new: &Termios2) {
        let usual = |t: &Termios2| {
            t.c_iflag & raw::IXON != 0 && t.c_cc[raw::VSTOP as usize] == 0x13 && t.c_cc[raw::VSTART as usize] == 0x11
        };
        if usual(old) != usual(new) {
            let (set, clear) = (raw::TIOCPKT_DOSTOP, raw::TIOCPKT_NOSTOP);
            let (set, clear) = if usual(new) { (set, clear) } else { (clear, set) };
            self.report_packet(set, clear);
        }
        if (old.c_lflag | new.c_lflag) & raw::EXTPROC != 0 {
            self.report_packet(raw::TIOCPKT_IOCTL, 0);
        }
    }

    /// The window size (`TIOCGWINSZ`).
    #[must_use]
    pub fn winsize(&self) -> Winsize {
        self.winsize
    }

    /// Sets the window size (`TIOCSWINSZ`); a change is signalled.
    pub fn set_winsize(&mut self, size: Winsize, effects: &mut Effects) {
        if self.winsize != size {
            self.winsize = size;
            effects.signals |= Signals::WINCH;
        }
    }

    /// The last slave was closed: a master that has read everything gets `EIO` from here on.
    pub fn slave_closed(&mut self, effects: &mut Effects) {
        self.slave_closed = true;
        effects.wake |= Wake::MASTER_READ | Wake::MASTER_WRITE;
    }

    /// A slave was opened (again).
    pub fn slave_opened(&mut self) {
        self.slave_closed = false;
    }

    /// The master was closed: the slave is hung up for good.
    pub fn master_closed(&mut self, effects: &mut Effects) {
        self.master_closed = true;
        self.packet = false;
        self.hang_up(effects);
    }

    /// Hangs the master up (`TIOCVHANGUP` on it): what it has not read is gone. The slave goes on, though nobody reads it.
    pub fn hang_up_master(&mut self, effects: &mut Effects) {
        self.out.flush_delivered();
        self.packet = false;
        self.effects.wake |= Wake::all();
        self.finish(effects);
    }

    /// Hangs the slave up (`vhangup`, or its session's leader exits): everything unread is discarded and the settings are
    /// those of a new pty. That open descriptions of the slave are dead from then on is their owner's matter.
    pub fn hang_up(&mut self, effects: &mut Effects) {
        self.drop_incoming();
        self.reset_input();
        self.flush_pending_output();
        self.echo.clear();
        (self.column, self.canon_column) = (0, 0);
        self.literal_next = false;
        self.no_room = false;
        self.packet_status = 0;
        self.slave_null = false;
        self.install_termios(&Termios2::pty_default());
        self.effects.wake |= Wake::all();
        self.finish(effects);
    }
}
