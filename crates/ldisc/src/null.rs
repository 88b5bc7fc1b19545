//! `N_NULL` in place of `N_TTY` (`TIOCSETD`): a side that has it neither reads nor writes, and what comes in for it waits.
//!
//! What only the side's owner sees of it (errors, no readiness) is the owner's to do; see [`LineDiscipline::is_null`].

use crate::control::Side;
use crate::{Effects, LineDiscipline};
use abi::raw::general as raw;

/// Its number.
pub const N_NULL: u8 = 27;

impl LineDiscipline {
    /// Whether a side has `N_NULL`.
    #[must_use]
    pub fn is_null(&self, side: Side) -> bool {
        match side {
            Side::Slave => self.slave_null,
            Side::Master => self.master_null,
        }
    }

    /// Gives a side `N_NULL`, or `N_TTY` again. What the old one held is lost, what had not reached it is not.
    pub fn set_null(&mut self, side: Side, null: bool, effects: &mut Effects) {
        if self.is_null(side) == null {
            return;
        }
        match side {
            Side::Slave => {
                self.slave_null = null;
                self.termios.c_line = if null { N_NULL } else { 0 };
                self.reset_input();
                self.echo.clear();
                (self.column, self.canon_column) = (0, 0);
                self.literal_next = false;
                self.no_room = null;
                if null {
                    self.report_packet(raw::TIOCPKT_FLUSHREAD, 0);
                } else {
                    self.receive_pending(&[]);
                }
            }
            Side::Master => {
                self.master_null = null;
                self.out.flush_delivered();
            }
        }
        self.deliver_output();
        self.finish(effects);
    }
}
