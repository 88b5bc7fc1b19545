//! Editing of the line being typed: `VERASE`, `VWERASE`, `VKILL`, and how the screen shows it.

use crate::ctype::{is_alphanumeric, is_control};
use crate::{LineDiscipline, at};
use abi::raw::general as raw;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Erase {
    Character,
    Word,
    Line,
}

impl LineDiscipline {
    /// Ends the `\…` of `ECHOPRT`.
    pub(crate) fn finish_erasing(&mut self) {
        if self.erasing {
            self.echo.plain(b'/');
            self.erasing = false;
        }
    }

    /// Acts on an erase, word erase or kill character. Complete lines are never touched.
    pub(crate) fn erase(&mut self, c: u8) {
        if self.read_head == self.canon_head {
            return;
        }
        let what = if c == self.cc(raw::VERASE) {
            Erase::Character
        } else if c == self.cc(raw::VWERASE) {
            Erase::Word
        } else {
            Erase::Line
        };
        if what == Erase::Line && !self.kill_is_shown_by_erasing() {
            self.read_head = self.canon_head;
            if self.lflag(raw::ECHO) {
                self.finish_erasing();
                self.echo_char(self.cc(raw::VKILL));
                if self.lflag(raw::ECHOK) {
                    self.echo.plain(b'\n');
                }
            }
            return;
        }
        self.erase_back(what);
        if self.read_head == self.canon_head && self.lflag(raw::ECHO) {
            self.finish_erasing();
        }
    }

    fn kill_is_shown_by_erasing(&self) -> bool {
        let all = raw::ECHO | raw::ECHOK | raw::ECHOKE | raw::ECHOE;
        self.termios.c_lflag & all == all
    }

    fn erase_back(&mut self, what: Erase) {
        let mut in_word = false;
        while at(self.read_head) != at(self.canon_head) {
            // One character, of possibly several bytes; a lone tail of one stays.
            let mut head = self.read_head;
            let first = loop {
                head = head.wrapping_sub(1);
                let c = self.ring[at(head)];
                if !self.is_continuation(c) {
                    break c;
                }
                if at(head) == at(self.canon_head) {
                    return;
                }
            };
            if what == Erase::Word {
                if is_alphanumeric(first) || first == b'_' {
                    in_word = true;
                } else if in_word {
                    return;
                }
            }
            let end = self.read_head;
            self.read_head = head;
            if self.lflag(raw::ECHO) {
                self.show_erasure(what, first, end);
            }
            if what == Erase::Character {
                return;
            }
        }
    }

    /// Shows that the character from the new head to `end`, starting with byte `first`, is gone.
    fn show_erasure(&mut self, what: Erase, first: u8, end: usize) {
        if self.lflag(raw::ECHOPRT) {
            if !self.erasing {
                self.echo.plain(b'\\');
                self.erasing = true;
            }
            self.echo_char(first);
            for position in self.read_head.wrapping_add(1)..end {
                self.echo.plain(self.ring[at(position)]);
                self.echo.back();
            }
        } else if what == Erase::Character && !self.lflag(raw::ECHOE) {
            self.echo_char(self.cc(raw::VERASE));
        } else if first == b'\t' {
            self.show_tab_erasure();
        } else {
            let width = match (is_control(first), self.lflag(raw::ECHOCTL)) {
                (true, true) => 2,
                (true, false) => 0,
                (false, _) => 1,
            };
            for _ in 0..width {
                for c in *b"\x08 \x08" {
                    self.echo.plain(c);
                }
            }
        }
    }

    /// How far back a tab reached depends on the columns before it, back to an earlier tab or the line's start.
    fn show_tab_erasure(&mut self) {
        let mut columns = 0;
        let mut after_tab = false;
        let mut position = self.read_head;
        while at(position) != at(self.canon_head) {
            position = position.wrapping_sub(1);
            let c = self.ring[at(position)];
            if c == b'\t' {
                after_tab = true;
                break;
            }
            if is_control(c) {
                columns += if self.lflag(raw::ECHOCTL) { 2 } else { 0 };
            } else if !self.is_continuation(c) {
                columns += 1;
            }
        }
        self.echo.erase_tab(columns, after_tab);
    }
}
