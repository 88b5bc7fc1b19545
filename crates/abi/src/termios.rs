//! Terminal structures (`include/uapi/asm-generic/termbits.h`, `termios.h`) and the speed codes they carry.
//!
//! [`Termios2`] is what a terminal keeps; [`Termios`] and [`Termio`] are the older shapes of the same settings, which
//! `TCSETS` and `TCSETA` lay over what is there.

use linux_raw_sys::general as raw;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Number of control characters that the kernel keeps.
pub const NCCS: usize = raw::NCCS as usize;

/// `struct termios` of the kernel (not the C library's): what `TCGETS` and `TCSETS` move.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Termios {
    pub c_iflag: u32,
    pub c_oflag: u32,
    pub c_cflag: u32,
    pub c_lflag: u32,
    pub c_line: u8,
    pub c_cc: [u8; NCCS],
}

/// `struct termios2`: what `TCGETS2` and `TCSETS2` move, with the speeds as numbers.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Termios2 {
    pub c_iflag: u32,
    pub c_oflag: u32,
    pub c_cflag: u32,
    pub c_lflag: u32,
    pub c_line: u8,
    pub c_cc: [u8; NCCS],
    pub c_ispeed: u32,
    pub c_ospeed: u32,
}

/// `struct termio`: the System V shape that `TCGETA` and `TCSETA` move.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Termio {
    pub c_iflag: u16,
    pub c_oflag: u16,
    pub c_cflag: u16,
    pub c_lflag: u16,
    pub c_line: u8,
    pub c_cc: [u8; 8],
    pub pad: u8,
}

/// `struct winsize`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Winsize {
    pub ws_row: u16,
    pub ws_col: u16,
    pub ws_xpixel: u16,
    pub ws_ypixel: u16,
}

/// Speeds in the order of their codes: `B0` to `B38400`, then `B57600` to `B4000000`.
const SPEEDS: [u32; 31] = [
    0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400, 57600, 115_200, 230_400,
    460_800, 500_000, 576_000, 921_600, 1_000_000, 1_152_000, 1_500_000, 2_000_000, 2_500_000, 3_000_000, 3_500_000,
    4_000_000,
];

/// The speed behind a code, or `explicit` for `BOTHER`.
fn speed(code: u32, explicit: u32) -> u32 {
    let code = code & raw::CBAUD;
    if code == raw::BOTHER {
        return explicit;
    }
    let high = if code & raw::CBAUDEX != 0 { 15 } else { 0 };
    SPEEDS.get((code & !raw::CBAUDEX) as usize + high).copied().unwrap_or(0)
}

impl Termios2 {
    /// What a new pty's slave starts with.
    #[must_use]
    pub fn pty_default() -> Self {
        let mut c_cc = [0; NCCS];
        for (index, value) in [
            (raw::VINTR, 0x03),
            (raw::VQUIT, 0x1c),
            (raw::VERASE, 0x7f),
            (raw::VKILL, 0x15),
            (raw::VEOF, 0x04),
            (raw::VMIN, 1),
            (raw::VSTART, 0x11),
            (raw::VSTOP, 0x13),
            (raw::VSUSP, 0x1a),
            (raw::VREPRINT, 0x12),
            (raw::VDISCARD, 0x0f),
            (raw::VWERASE, 0x17),
            (raw::VLNEXT, 0x16),
        ] {
            c_cc[index as usize] = value;
        }
        Self {
            c_iflag: raw::ICRNL | raw::IXON,
            c_oflag: raw::OPOST | raw::ONLCR,
            c_cflag: raw::B38400 | raw::CS8 | raw::CREAD,
            c_lflag: raw::ISIG
                | raw::ICANON
                | raw::ECHO
                | raw::ECHOE
                | raw::ECHOK
                | raw::ECHOCTL
                | raw::ECHOKE
                | raw::IEXTEN,
            c_line: 0,
            c_cc,
            c_ispeed: 38400,
            c_ospeed: 38400,
        }
    }

    /// The settings as `TCGETS` reports them.
    #[must_use]
    pub fn to_termios(&self) -> Termios {
        Termios {
            c_iflag: self.c_iflag,
            c_oflag: self.c_oflag,
            c_cflag: self.c_cflag,
            c_lflag: self.c_lflag,
            c_line: self.c_line,
            c_cc: self.c_cc,
        }
    }

    /// The settings with those of `TCSETS` laid over them: the explicit speeds stay.
    #[must_use]
    pub fn with_termios(&self, new: &Termios) -> Self {
        Self {
            c_iflag: new.c_iflag,
            c_oflag: new.c_oflag,
            c_cflag: new.c_cflag,
            c_lflag: new.c_lflag,
            c_line: new.c_line,
            c_cc: new.c_cc,
            ..*self
        }
    }

    /// The settings as `TCGETA` reports them: the low half of each word and the first eight characters.
    #[must_use]
    pub fn to_termio(&self) -> Termio {
        let mut c_cc = [0; 8];
        c_cc.copy_from_slice(&self.c_cc[..8]);
        Termio {
            c_iflag: self.c_iflag as u16,
            c_oflag: self.c_oflag as u16,
            c_cflag: self.c_cflag as u16,
            c_lflag: self.c_lflag as u16,
            c_line: self.c_line,
            c_cc,
            pad: 0,
        }
    }

    /// The settings with those of `TCSETA` laid over them: the high halves and the other characters stay.
    #[must_use]
    pub fn with_termio(&self, new: &Termio) -> Self {
        let half = |old: u32, low: u16| (old & 0xffff_0000) | u32::from(low);
        let mut c_cc = self.c_cc;
        c_cc[..8].copy_from_slice(&new.c_cc);
        Self {
            c_iflag: half(self.c_iflag, new.c_iflag),
            c_oflag: half(self.c_oflag, new.c_oflag),
            c_cflag: half(self.c_cflag, new.c_cflag),
            c_lflag: half(self.c_lflag, new.c_lflag),
            c_line: new.c_line,
            c_cc,
            ..*self
        }
    }

    /// Works the numeric speeds out of the speed codes, as the kernel does whenever settings are made.
    pub fn resolve_speeds(&mut self) {
        let input = (self.c_cflag >> raw::IBSHIFT) & raw::CBAUD;
        let output = speed(self.c_cflag, self.c_ospeed);
        self.c_ispeed = if input == raw::B0 { output } else { speed(input, self.c_ispeed) };
        self.c_ospeed = output;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_the_kernels() {
        assert_eq!(size_of::<Termios>(), 36);
        assert_eq!(size_of::<Termios2>(), 44);
        assert_eq!(size_of::<Termio>(), 18);
        assert_eq!(size_of::<Winsize>(), 8);
    }

    #[test]
    fn speeds_follow_their_codes() {
        let mut t = Termios2::pty_default();
        t.c_cflag = (t.c_cflag & !raw::CBAUD) | raw::B115200;
        t.resolve_speeds();
        assert_eq!((t.c_ispeed, t.c_ospeed), (115_200, 115_200));
        t.c_cflag = (t.c_cflag & !raw::CBAUD) | raw::BOTHER | (raw::B300 << raw::IBSHIFT);
        t.c_ospeed = 1234;
        t.resolve_speeds();
        assert_eq!((t.c_ispeed, t.c_ospeed), (300, 1234));
    }
}
