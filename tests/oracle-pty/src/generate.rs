//! Random steps and cases: settings, text with plenty of control characters, floods, and everything else in between.
//!
//! No single write is longer than what Linux takes in one piece, and no long write has a character that flushes, so that
//! what comes of a step does not depend on how fast the kernel's workers are.

use abi::raw::general as raw;
use abi::termios::Termios2;

use crate::random::Random;
use crate::step::{Case, Flow, Queue, Side, Step, When};

const IFLAGS: [u32; 15] = [
    raw::IGNBRK,
    raw::BRKINT,
    raw::IGNPAR,
    raw::PARMRK,
    raw::INPCK,
    raw::ISTRIP,
    raw::INLCR,
    raw::IGNCR,
    raw::ICRNL,
    raw::IUCLC,
    raw::IXON,
    raw::IXANY,
    raw::IXOFF,
    raw::IMAXBEL,
    raw::IUTF8,
];
const OFLAGS: [u32; 8] =
    [raw::OPOST, raw::OLCUC, raw::ONLCR, raw::OCRNL, raw::ONOCR, raw::ONLRET, raw::OFILL, raw::XTABS];
const LFLAGS: [u32; 15] = [
    raw::ISIG,
    raw::ICANON,
    raw::XCASE,
    raw::ECHO,
    raw::ECHOE,
    raw::ECHOK,
    raw::ECHONL,
    raw::NOFLSH,
    raw::TOSTOP,
    raw::ECHOCTL,
    raw::ECHOPRT,
    raw::ECHOKE,
    raw::FLUSHO,
    raw::IEXTEN,
    raw::EXTPROC,
];

/// Characters that the default settings act on.
const SPECIAL: &[u8] =
    b"\x03\x1c\x7f\x7f\x7f\x15\x15\x04\x04\x04\x11\x11\x13\x1a\x12\x12\x0f\x17\x17\x17\x16\x16\n\n\n\r\r\t\t\t\x08ef";
/// Those that signal or start and stop with the default settings.
const FLUSHING: &[u8] = b"\x03\x1c\x1a";
const WORDS: &[&str] = &["ls", "Hello", "a b", "foo_bar1", "  ", "äöß", "日本", "€", "x", "\u{1f600}", "é"];

fn toggle(random: &mut Random, word: &mut u32, flags: &[u32]) {
    for _ in 0..=random.below(4) {
        *word ^= random.pick(flags);
    }
}

/// Settings: the usual ones, raw ones, or such with some flags and characters changed.
#[must_use]
pub fn termios(seed: u64) -> Termios2 {
    let random = &mut Random::new(seed);
    let mut t = Termios2::pty_default();
    if random.one_in(4) {
        (t.c_iflag, t.c_oflag, t.c_lflag) = (0, 0, 0);
    }
    if random.one_in(12) {
        t.c_iflag = random.next() as u32 & IFLAGS.iter().fold(0, |all, f| all | f);
        t.c_oflag = random.next() as u32 & OFLAGS.iter().fold(0, |all, f| all | f);
        t.c_lflag = random.next() as u32 & LFLAGS.iter().fold(0, |all, f| all | f);
    }
    if !random.one_in(4) {
        toggle(random, &mut t.c_iflag, &IFLAGS);
        toggle(random, &mut t.c_oflag, &OFLAGS);
        toggle(random, &mut t.c_lflag, &LFLAGS);
    }
    if random.one_in(3) {
        t.c_cc[raw::VMIN as usize] = random.pick(&[0, 1, 2, 5, 63, 64, 65, 100, 255]);
        t.c_cc[raw::VTIME as usize] = random.pick(&[0, 0, 1]);
    }
    if random.one_in(3) {
        t.c_cc[raw::VEOL as usize] = b'e';
        t.c_cc[raw::VEOL2 as usize] = b'f';
    }
    while random.one_in(3) {
        let index = random.below(17);
        if index != raw::VTIME as usize {
            t.c_cc[index] = random.pick(&[0, 1, 8, b' ', b'a', b'e', b'\t', b'\r', b'\n', 0x80, 0xc3, 0xff, 0x7f]);
        }
    }
    if random.one_in(8) {
        t.c_cflag = random.next() as u32 & !(raw::CRTSCTS | raw::CLOCAL);
        t.c_ispeed = random.below(100_000) as u32;
        t.c_ospeed = random.below(100_000) as u32;
    }
    t
}

/// Text to type or to put out.
fn text(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(9) {
        match random.below(10) {
            0..=3 => bytes.extend(random.pick(WORDS).bytes()),
            4..=7 => bytes.push(random.pick(SPECIAL)),
            8 => bytes.push(random.next() as u8),
            _ => {
                let c = random.pick(b"aZ\t\xff\x80\x01\0");
                bytes.extend(vec![c; random.below(12)]);
            }
        }
    }
    bytes
}

/// Much text without characters that flush.
fn flood(random: &mut Random) -> Vec<u8> {
    let len = random.pick(&[250, 256, 511, 700, 1000, 1500, 1791, 1793, 1999]);
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        if random.one_in(3) {
            let c = random.pick(b"abc\xe4");
            bytes.extend(vec![c; random.below(len)]);
        }
        bytes.extend(text(random).iter().filter(|c| !FLUSHING.contains(c)));
    }
    bytes.truncate(len);
    bytes
}

fn data(random: &mut Random) -> Vec<u8> {
    if random.one_in(10) { flood(random) } else { text(random) }
}

const LENGTHS: [usize; 12] = [0, 1, 2, 5, 10, 63, 64, 65, 128, 500, 4096, 9000];

/// One step. A waiting read may be among them only if `waits`.
#[must_use]
pub fn step(seed: u64, waits: bool) -> Step {
    let random = &mut Random::new(seed);
    let side = if random.one_in(4) { Side::Master } else { Side::Slave };
    match random.below(100) {
        0..=33 => Step::Write(Side::Master, data(random)),
        34..=50 => Step::Write(Side::Slave, data(random)),
        51..=64 => Step::Read(Side::Master, random.pick(&LENGTHS)),
        65..=80 => Step::Read(Side::Slave, random.pick(&LENGTHS)),
        81..=86 => Step::Termios(random.pick(&[When::Now, When::Drained, When::Flushed]), termios(random.next())),
        87..=89 => Step::Flush(side, random.pick(&[Queue::Input, Queue::Output, Queue::Both])),
        90..=93 => Step::Flow(side, random.pick(&[Flow::Stop, Flow::Start, Flow::SendStop, Flow::SendStart])),
        94..=95 => Step::Packet(!random.one_in(3)),
        96 => Step::Winsize(random.below(3) as u16, 80),
        97 => Step::CloseSlave,
        98 if waits => Step::WaitingRead(random.pick(&LENGTHS), Vec::new()),
        _ => Step::OpenSlave,
    }
}

/// A case of some twenty steps, or one that floods a side until it is full.
#[must_use]
pub fn case(seed: u64) -> Case {
    let random = &mut Random::new(seed);
    let mut steps = vec![Step::Termios(When::Now, termios(random.next()))];
    if random.one_in(6) {
        steps.extend(flooding(random.next()));
    } else {
        steps.extend((0..random.below(25)).map(|_| step(random.next(), false)));
    }
    Case { name: format!("generated-{seed}"), steps }
}

/// Steps that fill one direction to its limits, with an occasional read.
#[must_use]
pub fn flooding(seed: u64) -> Vec<Step> {
    let random = &mut Random::new(seed);
    let side = random.pick(&[Side::Master, Side::Slave]);
    let other = if side == Side::Master { Side::Slave } else { Side::Master };
    let steps = (0..20 + random.below(25)).map(|_| match random.below(12) {
        0 => Step::Read(other, random.pick(&LENGTHS)),
        1 => step(random.next(), false),
        2 => Step::Write(side, text(random)),
        _ => Step::Write(side, flood(random)),
    });
    steps.collect()
}
