//! Output: what the slave writes and what is echoed, on its way to the master.

use crate::ctype::{is_control, is_utf8_continuation, to_upper};
use crate::{Effects, LineDiscipline, WRITE_PIECE, Wake};
use abi::Errno;
use abi::raw::general as raw;

const BACKSPACE: u8 = 0x08;

/// Length of the leading bytes of which none is a backspace, tab, newline or return (or between them in ASCII).
pub(crate) fn plain_run(bytes: &[u8]) -> usize {
    let moves = |c: u8| c.wrapping_sub(BACKSPACE) <= b'\r' - BACKSPACE;
    // By blocks, which the compiler turns into vector code.
    let blocks = bytes.chunks_exact(32).take_while(|block| !block.iter().fold(false, |any, &c| any | moves(c)));
    let clear = blocks.count() * 32;
    let rest = &bytes[clear..];
    clear + rest.iter().position(|&c| moves(c)).unwrap_or(rest.len())
}

/// How many bytes there are of a kind.
fn count(bytes: &[u8], kind: impl Fn(u8) -> bool) -> u32 {
    // Blocks whose count fits a byte, for the compiler's sake as above.
    bytes.chunks(128).map(|block| u32::from(block.iter().map(|&c| u8::from(kind(c))).sum::<u8>())).sum()
}

impl LineDiscipline {
    /// The slave writes. Returns how many bytes are taken; none means that it would block.
    pub fn output(&mut self, bytes: &[u8], effects: &mut Effects) -> Result<usize, Errno> {
        if self.master_closed {
            return Err(Errno::EIO);
        }
        let mut taken = 0;
        loop {
            let piece = &bytes[taken..bytes.len().min(taken + WRITE_PIECE)];
            self.process_echoes();
            let fits = if self.oflag(raw::OPOST) { self.write_processed(piece) } else { self.emit(piece) };
            taken += fits;
            self.deliver_output();
            if fits == 0 || taken == bytes.len() {
                break;
            }
        }
        self.finish(effects);
        Ok(taken)
    }

    /// Room for output as Linux sees it: none while stopped.
    pub(crate) fn output_room(&self) -> usize {
        if self.slave_flow.stopped { 0 } else { self.out.room() }
    }

    /// Puts bytes into the queue as they are; returns how many fit.
    pub(crate) fn emit(&mut self, bytes: &[u8]) -> usize {
        if self.slave_flow.stopped { 0 } else { self.out.push(bytes) }
    }

    /// Puts bytes into the queue as if one by one.
    pub(crate) fn emit_each(&mut self, bytes: &[u8]) -> usize {
        if self.slave_flow.stopped { 0 } else { self.out.push_each(bytes) }
    }

    /// Moves output to where the master can read it.
    pub(crate) fn deliver_output(&mut self) {
        if !self.master_null && self.out.deliver() {
            self.wake_readers(Wake::MASTER_READ);
        }
    }

    /// Writes with output processing: plain runs at once, the bytes that need thought one by one.
    fn write_processed(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let run = (bytes.len() - done).min(self.output_room());
            if run > 0 {
                let run = self.scan_run(&bytes[done..done + run]);
                done += self.emit(&bytes[done..done + run]);
            }
            let Some(&c) = bytes.get(done) else { break };
            if self.put_processed(c, self.output_room()).is_none() {
                break;
            }
            done += 1;
        }
        done
    }

    /// Length of the leading bytes that go out unchanged; moves the column over them.
    fn scan_run(&mut self, bytes: &[u8]) -> usize {
        if self.oflag(raw::OLCUC) {
            return self.scan_controls(bytes);
        }
        let mut done = 0;
        loop {
            let rest = &bytes[done..];
            let run = plain_run(rest);
            self.advance(&rest[..run]);
            done += run;
            match bytes.get(done) {
                Some(&c) if self.passes(c) => done += 1,
                _ => return done,
            }
        }
    }

    /// The same with `OLCUC`, where every printing byte is one to think about.
    fn scan_controls(&mut self, bytes: &[u8]) -> usize {
        bytes.iter().take_while(|&&c| is_control(c) && self.passes(c)).count()
    }

    /// Moves the column over bytes of which none is a backspace, tab, newline or return.
    pub(crate) fn advance(&mut self, run: &[u8]) {
        let columns = if self.iflag(raw::IUTF8) {
            count(run, |c| !is_control(c) && !is_utf8_continuation(c))
        } else {
            count(run, |c| !is_control(c))
        };
        self.column = self.column.wrapping_add(columns);
    }

    /// Whether a control character goes out unchanged within a run; moves the column if so.
    fn passes(&mut self, c: u8) -> bool {
        match c {
            b'\n' => {
                if self.oflag(raw::ONLRET) {
                    self.column = 0;
                }
                if self.oflag(raw::ONLCR) {
                    return false;
                }
                self.canon_column = self.column;
            }
            b'\r' => {
                if self.oflag(raw::ONOCR) && self.column == 0 || self.oflag(raw::OCRNL) {
                    return false;
                }
                self.column = 0;
                self.canon_column = 0;
            }
            b'\t' => return false,
            BACKSPACE => self.column = self.column.saturating_sub(1),
            _ => {}
        }
        true
    }

    /// Puts out one byte with output processing. Returns the room used, or `None` if `room` is too little.
    pub(crate) fn put_processed(&mut self, c: u8, room: usize) -> Option<usize> {
        if room == 0 {
            return None;
        }
        let mut c = c;
        match c {
            b'\n' => {
                if self.oflag(raw::ONLRET) {
                    self.column = 0;
                }
                if self.oflag(raw::ONLCR) {
                    if room < 2 {
                        return None;
                    }
                    self.column = 0;
                    self.canon_column = 0;
                    self.emit(b"\r\n");
                    return Some(2);
                }
                self.canon_column = self.column;
            }
            b'\r' => {
                if self.oflag(raw::ONOCR) && self.column == 0 {
                    return Some(0);
                }
                let to_newline = self.oflag(raw::OCRNL);
                if to_newline {
                    c = b'\n';
                }
                if !to_newline || self.oflag(raw::ONLRET) {
                    self.column = 0;
                    self.canon_column = 0;
                }
            }
            b'\t' => {
                let spaces = 8 - (self.column & 7);
                if self.termios.c_oflag & raw::TABDLY == raw::XTABS {
                    if room < spaces as usize {
                        return None;
                    }
                    self.column = self.column.wrapping_add(spaces);
                    self.emit(&b"        "[..spaces as usize]);
                    return Some(spaces as usize);
                }
                self.column = self.column.wrapping_add(spaces);
            }
            BACKSPACE => self.column = self.column.saturating_sub(1),
            _ if !is_control(c) => {
                if self.oflag(raw::OLCUC) {
                    c = to_upper(c);
                }
                if !self.is_continuation(c) {
                    self.column = self.column.wrapping_add(1);
                }
            }
            _ => {}
        }
        self.emit(&[c]);
        Some(1)
    }
}
