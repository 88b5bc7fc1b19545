//! The echo ring: what input wants shown, kept apart until the output side has room for it.
//!
//! Besides bytes to show it holds small operations (after [`OP`]), because columns are only known when a byte is really
//! put out. The ring overwrites itself when a stopped terminal is typed at for long, which shows on the screen
//! and so follows Linux to the letter, stale content and all.

use crate::ctype::is_control;
use crate::opost::plain_run;
use crate::{LineDiscipline, RING, at};
use abi::raw::general as raw;

/// Starts an operation, a caret pair, or (doubled) stands for itself.
const OP: u8 = 0xff;
const OP_BACK: u8 = 0x80;
const OP_MARK_COLUMN: u8 = 0x81;
const OP_ERASE_TAB: u8 = 0x82;
/// With the count of [`OP_ERASE_TAB`]: the count starts at an earlier tab, not at the start of the line.
const AFTER_TAB: u8 = 0x80;

/// Echo is put out when this much has piled up, and at the end of each portion of input.
const BLOCK: usize = 256;
/// The oldest echo is dropped when this much can't be put out.
const TOO_MUCH: usize = RING - (BLOCK + 32);

/// The most that is put out at once.
const RUN: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct EchoRing {
    bytes: Box<[u8; RING]>,
    head: usize,
    /// What may be put out.
    commit: usize,
    /// Head at the last complete character.
    mark: usize,
    tail: usize,
}

impl EchoRing {
    pub(crate) fn new() -> Self {
        Self { bytes: Box::new([0; RING]), head: 0, commit: 0, mark: 0, tail: 0 }
    }

    fn get(&self, position: usize) -> u8 {
        self.bytes[at(position)]
    }

    fn put(&mut self, c: u8) {
        self.bytes[at(self.head)] = c;
        self.head += 1;
    }

    pub(crate) fn clear(&mut self) {
        (self.head, self.commit, self.mark, self.tail) = (0, 0, 0, 0);
    }

    /// A byte as it is.
    pub(crate) fn plain(&mut self, c: u8) {
        if c == OP {
            self.put(OP);
        }
        self.put(c);
    }

    /// How many bytes go in before a block is full and to be put out.
    pub(crate) fn room_in_block(&self) -> usize {
        (BLOCK - 1).saturating_sub(self.head.wrapping_sub(self.tail))
    }

    /// Complete characters of a byte each, which are not [`OP`] and don't fill the block.
    pub(crate) fn plain_run(&mut self, bytes: &[u8]) {
        for &c in bytes {
            self.put(c);
        }
        self.mark = self.head;
    }

    /// Moves the column back without output: the byte before took none.
    pub(crate) fn back(&mut self) {
        self.put(OP);
        self.put(OP_BACK);
    }

    /// The line being typed begins at the column then current.
    pub(crate) fn mark_column(&mut self) {
        self.put(OP);
        self.put(OP_MARK_COLUMN);
    }

    /// Goes back over a tab that `columns` of text precede since the last tab, or since the line's start.
    pub(crate) fn erase_tab(&mut self, columns: usize, after_tab: bool) {
        self.put(OP);
        self.put(OP_ERASE_TAB);
        self.put((columns & 7) as u8 | if after_tab { AFTER_TAB } else { 0 });
    }

    /// Drops from the tail so that the next block can't overrun it.
    fn drop_excess(&mut self) {
        while self.commit > self.tail && self.commit - self.tail >= TOO_MUCH {
            self.tail += match (self.get(self.tail), self.get(self.tail + 1)) {
                (OP, OP_ERASE_TAB) => 3,
                (OP, _) => 2,
                _ => 1,
            };
        }
    }
}

/// How far an echo operation came.
enum Step {
    Done,
    /// Not wholly in the ring yet.
    Incomplete,
    NoRoom,
}

impl LineDiscipline {
    /// Echoes a byte the way input is shown: control characters as `^X` with `ECHOCTL`.
    pub(crate) fn echo_char(&mut self, c: u8) {
        if c != OP && self.lflag(raw::ECHOCTL) && is_control(c) && c != b'\t' {
            self.echo.put(OP);
            self.echo.put(c);
        } else {
            self.echo.plain(c);
        }
    }

    /// Marks what is in the ring as complete, and puts it out when a block has piled up.
    pub(crate) fn commit_echoes(&mut self) {
        let echo = &mut self.echo;
        echo.mark = echo.head;
        let old = echo.commit.wrapping_sub(echo.tail);
        let new = echo.head.wrapping_sub(echo.tail);
        if new < BLOCK || new % BLOCK > old % BLOCK {
            return;
        }
        echo.commit = echo.head;
        self.put_out_echoes();
    }

    /// Puts out complete echoes that had to wait.
    pub(crate) fn process_echoes(&mut self) {
        if self.echo.mark != self.echo.tail {
            self.echo.commit = self.echo.mark;
            self.put_out_echoes();
        }
    }

    /// Puts out all there is, at the end of a portion of input.
    pub(crate) fn flush_echoes(&mut self) {
        if self.lflag(raw::ECHO | raw::ECHONL) && self.echo.commit != self.echo.head {
            self.echo.commit = self.echo.head;
            self.put_out_echoes();
        }
    }

    fn put_out_echoes(&mut self) {
        let mut room = self.output_room();
        while at(self.echo.commit) != at(self.echo.tail) {
            if self.put_out_run(&mut room) {
                continue;
            }
            let c = self.echo.get(self.echo.tail);
            if c == OP {
                match self.echo_operation(&mut room) {
                    Step::Done => continue,
                    Step::Incomplete => return,
                    Step::NoRoom => break,
                }
            }
            let used = if self.oflag(raw::OPOST) {
                self.put_processed(c, room)
            } else if room > 0 {
                self.emit(&[c]);
                Some(1)
            } else {
                None
            };
            let Some(used) = used else { break };
            room = room.saturating_sub(used);
            self.echo.tail += 1;
        }
        self.echo.drop_excess();
    }

    /// Puts out leading bytes that need no thought at once; says whether there were any.
    fn put_out_run(&mut self, room: &mut usize) -> bool {
        let start = at(self.echo.tail);
        let committed = at(self.echo.commit.wrapping_sub(self.echo.tail));
        let len = committed.min(RING - start).min(*room).min(RUN);
        let mut run = [0; RUN];
        run[..len].copy_from_slice(&self.echo.bytes[start..start + len]);
        let mut run = &run[..len];
        run = &run[..run.iter().position(|&c| c == OP).unwrap_or(len)];
        if self.oflag(raw::OPOST) {
            if self.oflag(raw::OLCUC) {
                return false;
            }
            run = &run[..plain_run(run)];
            self.advance(run);
        }
        self.emit_each(run);
        *room -= run.len();
        self.echo.tail += run.len();
        !run.is_empty()
    }

    fn echo_operation(&mut self, room: &mut usize) -> Step {
        let tail = self.echo.tail;
        if at(self.echo.commit) == at(tail + 1) {
            return Step::Incomplete;
        }
        let (needed, length) = match self.echo.get(tail + 1) {
            OP_ERASE_TAB => {
                if at(self.echo.commit) == at(tail + 2) {
                    return Step::Incomplete;
                }
                let mut columns = u32::from(self.echo.get(tail + 2));
                if columns & u32::from(AFTER_TAB) == 0 {
                    columns = columns.wrapping_add(self.canon_column);
                }
                let back = 8 - (columns & 7);
                if back as usize <= *room {
                    for _ in 0..back {
                        self.emit(b"\x08");
                    }
                    self.column = self.column.saturating_sub(back);
                }
                (back as usize, 3)
            }
            OP_MARK_COLUMN => {
                self.canon_column = self.column;
                (0, 2)
            }
            OP_BACK => {
                self.column = self.column.saturating_sub(1);
                (0, 2)
            }
            OP => {
                if *room >= 1 {
                    self.emit(&[OP]);
                    self.column = self.column.wrapping_add(1);
                }
                (1, 2)
            }
            control => {
                if *room >= 2 {
                    self.emit(b"^");
                    self.emit(&[control ^ 0x40]);
                    self.column = self.column.wrapping_add(2);
                }
                (2, 2)
            }
        };
        if needed > *room {
            return Step::NoRoom;
        }
        *room -= needed;
        self.echo.tail += length;
        Step::Done
    }
}
