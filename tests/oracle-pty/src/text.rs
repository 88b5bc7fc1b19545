//! Cases and outcomes as text: a line `case NAME`, then a line for each step and one, indented, for its outcome.
//!
//! ```text
//! case interrupt
//! write master abc\x03
//!   count 4 | slave 0 -o--- master 2 io--- int
//! ```
//! Bytes are written as they are if they print; else as `\xNN`; a backslash and a space are `\x5c` and `\x20`; and
//! `\(300)a` stands for 300 times `a`. No bytes are `\-`.

use abi::termios::{NCCS, Termios2};
use std::fmt::{self, Write as _};

use crate::step::{Case, Flow, Outcome, Poll, Queue, Reply, Side, Signals, State, Step, When};

/// Runs of this many equal bytes and more are written as a count.
const RUN: usize = 8;

fn byte(c: u8) -> String {
    if c.is_ascii_graphic() && c != b'\\' { char::from(c).to_string() } else { format!("\\x{c:02x}") }
}

fn bytes_text(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "\\-".to_owned();
    }
    let mut text = String::new();
    for run in bytes.chunk_by(|a, b| a == b) {
        if run.len() >= RUN {
            let _ = write!(text, "\\({}){}", run.len(), byte(run[0]));
        } else {
            run.iter().for_each(|&c| text += &byte(c));
        }
    }
    text
}

/// One possibly escaped byte and what follows it.
fn parse_byte(text: &str) -> Option<(u8, &str)> {
    if let Some(rest) = text.strip_prefix("\\x") {
        return Some((u8::from_str_radix(rest.get(..2)?, 16).ok()?, &rest[2..]));
    }
    let c = *text.as_bytes().first()?;
    Some((c, text.get(1..)?))
}

fn parse_bytes(mut text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    if text == "\\-" {
        return Some(bytes);
    }
    while !text.is_empty() {
        let mut count = 1;
        if let Some(rest) = text.strip_prefix("\\(") {
            let (number, rest) = rest.split_once(')')?;
            count = number.parse().ok()?;
            text = rest;
        }
        let (c, rest) = parse_byte(text)?;
        bytes.resize(bytes.len() + count, c);
        text = rest;
    }
    Some(bytes)
}

/// Names of an enumeration's values, for both directions.
macro_rules! names {
    ($type:ty { $($value:ident = $name:literal),* }) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$value => $name),* })
            }
        }

        impl $type {
            fn parse(text: &str) -> Option<Self> {
                match text { $($name => Some(Self::$value),)* _ => None }
            }
        }
    };
}

names!(Side { Master = "master", Slave = "slave" });
names!(When { Now = "now", Drained = "drained", Flushed = "flushed" });
names!(Queue { Input = "input", Output = "output", Both = "both" });
names!(Flow { Stop = "stop", Start = "start", SendStop = "send-stop", SendStart = "send-start" });

fn termios_text(t: &Termios2) -> String {
    let cc: String = t.c_cc.iter().map(|c| format!("{c:02x}")).collect();
    format!(
        "{:x} {:x} {:x} {:x} {:x} {cc} {} {}",
        t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag, t.c_line, t.c_ispeed, t.c_ospeed
    )
}

fn parse_termios(words: &mut std::str::SplitWhitespace<'_>) -> Option<Termios2> {
    let mut hex = || u32::from_str_radix(words.next()?, 16).ok();
    let (c_iflag, c_oflag, c_cflag, c_lflag) = (hex()?, hex()?, hex()?, hex()?);
    let c_line = hex()?.try_into().ok()?;
    let text = words.next()?;
    let mut c_cc = [0; NCCS];
    for (i, c) in c_cc.iter_mut().enumerate() {
        *c = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    let (c_ispeed, c_ospeed) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Termios2 { c_iflag, c_oflag, c_cflag, c_lflag, c_line, c_cc, c_ispeed, c_ospeed })
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Termios(when, termios) => write!(f, "termios {when} {}", termios_text(termios)),
            Step::Write(side, bytes) => write!(f, "write {side} {}", bytes_text(bytes)),
            Step::Read(side, len) => write!(f, "read {side} {len}"),
            Step::WaitingRead(len, later) => {
                write!(f, "waiting-read {len}")?;
                later.iter().try_for_each(|(delay, bytes)| write!(f, " {delay}:{}", bytes_text(bytes)))
            }
            Step::Flush(side, queue) => write!(f, "flush {side} {queue}"),
            Step::Flow(side, flow) => write!(f, "flow {side} {flow}"),
            Step::Packet(on) => write!(f, "packet {on}"),
            Step::Simulate(side, c) => write!(f, "simulate {side} {}", byte(*c)),
            Step::Winsize(rows, columns) => write!(f, "winsize {rows} {columns}"),
            Step::CloseSlave => f.write_str("close-slave"),
            Step::OpenSlave => f.write_str("open-slave"),
        }
    }
}

fn parse_step(line: &str) -> Option<Step> {
    let mut words = line.split_whitespace();
    let step = match words.next()? {
        "termios" => Step::Termios(When::parse(words.next()?)?, parse_termios(&mut words)?),
        "write" => Step::Write(Side::parse(words.next()?)?, parse_bytes(words.next()?)?),
        "read" => Step::Read(Side::parse(words.next()?)?, words.next()?.parse().ok()?),
        "waiting-read" => {
            let len = words.next()?.parse().ok()?;
            let piece = |word: &str| {
                let (delay, bytes) = word.split_once(':')?;
                Some((delay.parse().ok()?, parse_bytes(bytes)?))
            };
            Step::WaitingRead(len, words.map(piece).collect::<Option<_>>()?)
        }
        "flush" => Step::Flush(Side::parse(words.next()?)?, Queue::parse(words.next()?)?),
        "flow" => Step::Flow(Side::parse(words.next()?)?, Flow::parse(words.next()?)?),
        "packet" => Step::Packet(words.next()?.parse().ok()?),
        "simulate" => Step::Simulate(Side::parse(words.next()?)?, parse_byte(words.next()?)?.0),
        "winsize" => Step::Winsize(words.next()?.parse().ok()?, words.next()?.parse().ok()?),
        "close-slave" => Step::CloseSlave,
        "open-slave" => Step::OpenSlave,
        _ => return None,
    };
    Some(step)
}

impl fmt::Display for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = [(self.readable, 'i'), (self.writable, 'o'), (self.priority, 'p'), (self.hup, 'h'), (self.err, 'e')];
        bits.iter().try_for_each(|&(set, letter)| f.write_char(if set { letter } else { '-' }))
    }
}

impl fmt::Display for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(self.int, "int"), (self.quit, "quit"), (self.stop, "stop"), (self.winch, "winch")];
        names.iter().filter(|(set, _)| *set).try_for_each(|(_, name)| write!(f, " {name}"))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.slave {
            Some((count, poll)) => write!(f, "slave {count} {poll}")?,
            None => f.write_str("slave closed")?,
        }
        write!(f, " master {} {}{}", self.master.0, self.master.1, self.signals)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reply {
            Reply::Ok => f.write_str("ok")?,
            Reply::Count(count) => write!(f, "count {count}")?,
            Reply::Bytes(bytes) => write!(f, "bytes {}", bytes_text(bytes))?,
            Reply::Termios(termios) => write!(f, "termios {}", termios_text(termios))?,
            Reply::WouldBlock => f.write_str("would-block")?,
            Reply::Eio => f.write_str("eio")?,
        }
        write!(f, " | {}", self.state)
    }
}

/// A case with its outcomes as text.
#[must_use]
pub fn render(case: &Case, outcomes: &[Outcome]) -> String {
    let mut text = format!("case {}\n", case.name);
    for (step, outcome) in case.steps.iter().zip(outcomes) {
        let _ = writeln!(text, "{step}\n  {outcome}");
    }
    text
}

/// A case without outcomes as text.
#[must_use]
pub fn render_steps(case: &Case) -> String {
    case.steps.iter().fold(format!("case {}\n", case.name), |text, step| text + &format!("{step}\n"))
}

/// Reads a file of cases; outcomes stay text, which is what they are compared as.
pub fn parse(text: &str) -> Result<Vec<(Case, Vec<String>)>, String> {
    let mut cases: Vec<(Case, Vec<String>)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() {
            continue;
        }
        let bad = || format!("line {}: {line}", number + 1);
        if let Some(name) = line.strip_prefix("case ") {
            cases.push((Case { name: name.to_owned(), steps: Vec::new() }, Vec::new()));
            continue;
        }
        let (case, outcomes) = cases.last_mut().ok_or_else(bad)?;
        match line.strip_prefix("  ") {
            Some(outcome) => outcomes.push(outcome.to_owned()),
            None => case.steps.push(parse_step(line).ok_or_else(bad)?),
        }
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive() {
        for bytes in [b"".as_slice(), b"a b\\\n\xff", b"aaaaaaaaaaaaaaaaab\0\0\0\0\0\0\0\0\0", b"(((((((((())))))))))"]
        {
            assert_eq!(parse_bytes(&bytes_text(bytes)).as_deref(), Some(bytes));
        }
    }
}
