//! Standing between the caller and the guest until the guest's first process has ended.
//!
//! One loop over the control channel, the caller's signals, the terminal and the console's stream. Each direction of the
//! console has one buffer, and its source is read only when that is empty: a slow side holds up the other, and nothing is
//! lost.

use crate::launch::Sandbox;
use crate::terminal::Terminal;
use abi::signal as s;
use host::signalfd::{Arrival, SignalFd, stop_self};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use sentry::control::{Report, Request};
use sentry::{FAILED, Failure};
use std::io::{self, Write};

/// What is passed on to the guest. Those that stop a background process that uses its terminal are left to do so.
const FORWARDED: &[i32] = &[
    s::SIGHUP,
    s::SIGINT,
    s::SIGQUIT,
    s::SIGUSR1,
    s::SIGUSR2,
    s::SIGALRM,
    s::SIGTERM,
    s::SIGCONT,
    s::SIGTSTP,
    s::SIGWINCH,
];

/// How often a process in the background looks whether it still is.
const BACKGROUND_CHECK: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// Bytes on their way.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    done: usize,
}

impl Buffer {
    const SIZE: usize = 16 << 10;

    fn is_empty(&self) -> bool {
        self.done >= self.bytes.len()
    }

    fn pending(&self) -> &[u8] {
        self.bytes.get(self.done..).unwrap_or_default()
    }

    /// Refills it by `read`, which returns how much it read.
    fn fill<E>(&mut self, read: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<usize, E> {
        self.done = 0;
        self.bytes.resize(Self::SIZE, 0);
        let result = read(&mut self.bytes);
        self.bytes.truncate(result.as_ref().map_or(0, |len| *len));
        result
    }
}

/// The bytes with the line ends that the guest's terminal made turned back into newlines, for a terminal that makes its own.
fn undo_line_ends(bytes: &[u8]) -> Vec<u8> {
    kept(bytes).map(|at| bytes.get(at).copied().unwrap_or_default()).collect()
}

/// How many of the bytes that is if so many were written of what [`undo_line_ends`] makes of them.
fn before_undone(bytes: &[u8], written: usize) -> usize {
    written.checked_sub(1).and_then(|last| kept(bytes).nth(last)).map_or(0, |at| at + 1)
}

/// Where the bytes are that stay: all but a carriage return before a newline.
fn kept(bytes: &[u8]) -> impl Iterator<Item = usize> {
    (0..bytes.len()).filter(|at| bytes.get(*at..*at + 2) != Some(b"\r\n"))
}

/// The console and the terminal that it is joined to.
struct Relay {
    terminal: Terminal,
    stream: OwnedFd,
    input: Buffer,
    output: Buffer,
    /// The terminal gives no more input.
    input_ended: bool,
    /// The guest gives no more output.
    output_ended: bool,
}

/// Runs until the guest has ended and returns the status to exit with.
pub fn attach(sandbox: Sandbox) -> Result<u8, Failure> {
    let signals = SignalFd::new(FORWARDED).map_err(|e| Failure::ours(format!("cannot take signals: {e}")))?;
    let relay = sandbox.console.map(|(terminal, stream)| Relay {
        terminal,
        stream,
        input: Buffer::default(),
        output: Buffer::default(),
        input_ended: false,
        output_ended: false,
    });
    let mut session = Session {
        sentry: sandbox.sentry,
        control: sandbox.control,
        signals,
        relay,
        started: false,
        ended: None,
        continues: 0,
    };
    let result = session.run();
    if let Some(relay) = &mut session.relay {
        relay.terminal.detach();
    }
    // Nothing may be left behind: the Sentry's namespace is gone once it is.
    if result.is_err() {
        session.sentry.kill();
    }
    let end = session.sentry.wait();
    // It has told what became of the guest: a failure after that would be lost.
    debug_assert!(result.is_err() || end.is_ok_and(|end| end.and_then(|end| end.exit_status()) == Some(0)));
    result
}

struct Session {
    sentry: host::spawn::Child,
    control: sentry::control::Channel,
    signals: SignalFd,
    relay: Option<Relay>,
    /// The guest runs.
    started: bool,
    /// The guest has ended; its last output may still be on its way.
    ended: Option<u8>,
    /// How many `SIGCONT` have been passed on.
    continues: u32,
}

/// What poll(2) found.
struct Ready {
    control: bool,
    signals: bool,
    terminal: PollFlags,
    stream: PollFlags,
}

impl Session {
    fn run(&mut self) -> Result<u8, Failure> {
        loop {
            if let Some(status) = self.ended
                && self.relay.as_ref().is_none_or(Relay::drained)
            {
                return Ok(status);
            }
            let ready = self.wait()?;
            if ready.control {
                self.hear()?;
            }
            if ready.signals {
                self.forward_all();
            }
            if let Some(relay) = &mut self.relay {
                relay.carry(&ready);
                if !relay.terminal.attached() {
                    self.take_terminal();
                }
            }
        }
    }

    fn wait(&self) -> Result<Ready, Failure> {
        let (terminal, stream) = self.relay.as_ref().map_or((PollFlags::empty(), PollFlags::empty()), Relay::interest);
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        // A descriptor that nothing is wanted of is left out: its end would be reported over and over.
        let mut add = |fd, wanted: PollFlags| {
            (!wanted.is_empty()).then(|| {
                fds.push(PollFd::from_borrowed_fd(fd, wanted));
                fds.len() - 1
            })
        };
        let control = add(self.control.as_fd(), if self.ended.is_none() { PollFlags::IN } else { PollFlags::empty() });
        let relay = self.relay.as_ref();
        let terminal = relay.and_then(|relay| add(relay.terminal.as_fd(), terminal));
        let stream = relay.and_then(|relay| add(relay.stream.as_fd(), stream));
        let timeout = relay.filter(|relay| !relay.terminal.attached()).map(|_| &BACKGROUND_CHECK);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Failure::ours(format!("cannot wait: {error}"))),
        }
        let found = |at: Option<usize>| at.and_then(|at| fds.get(at)).map_or(PollFlags::empty(), PollFd::revents);
        Ok(Ready {
            control: !found(control).is_empty(),
            signals: !found(Some(0)).is_empty(),
            terminal: found(terminal),
            stream: found(stream),
        })
    }

    /// Takes what the Sentry reports.
    fn hear(&mut self) -> Result<(), Failure> {
        while self.ended.is_none() {
            match self.control.next_report() {
                Ok(None) => return Ok(()),
                // Not before: a command that can't be started leaves the terminal alone.
                Ok(Some(Report::Started)) => self.started = true,
                Ok(Some(Report::Stopped { signal, continues })) => self.stop(signal, continues),
                Ok(Some(Report::Exited(status))) => self.ended = Some(status),
                Ok(Some(Report::Killed(signal))) => {
                    self.ended = Some(u8::try_from(128 + signal).unwrap_or(FAILED));
                }
                Ok(Some(Report::Warning(line))) => self.warn(&line),
                Ok(Some(Report::Failed(status, text))) => return Err(Failure { status, text }),
                Ok(Some(Report::Broken(why))) => return Err(Failure::ours(format!("internal error: {why}"))),
                Err(_) => return Err(self.lost()),
            }
        }
        Ok(())
    }

    fn warn(&self, line: &str) {
        // A raw terminal needs the carriage return, and others don't mind where it shows.
        let raw = self.relay.as_ref().is_some_and(|relay| relay.terminal.attached());
        let end = if raw && host::terminal::settings(rustix::stdio::stderr()).is_ok() { "\r\n" } else { "\n" };
        // Nobody is left to be told if this fails.
        // One write: others may write there too.
        let _ = io::stderr().write_all(format!("vizor: {line}{end}").as_bytes());
    }

    /// The Sentry has ended without a word.
    fn lost(&self) -> Failure {
        let status = self.sentry.wait().ok().flatten();
        let signal = status.and_then(|status| status.terminating_signal());
        Failure::ours(match signal {
            Some(s::SIGKILL) => {
                "something outside the sandbox sent the sentry SIGKILL (somebody's kill, or the host is out \
                                 of memory); all its processes ended with it"
                    .to_owned()
            }
            Some(s::SIGABRT) => "the sentry ran out of memory; all its processes ended with it".to_owned(),
            Some(signal) => format!("the sentry was killed by signal {signal}; all its processes ended with it"),
            None => "internal error: the sandbox ended without a report".to_owned(),
        })
    }

    fn forward_all(&mut self) {
        while let Some(arrival) = self.signals.next() {
            self.forward(arrival);
        }
    }

    fn forward(&mut self, arrival: Arrival) {
        match arrival.signal {
            // The guest's terminal tells its own foreground, if the size is new.
            s::SIGWINCH if arrival.from_kernel && self.relay.is_some() => self.tell_window(),
            s::SIGINT | s::SIGTERM | s::SIGHUP if self.ended.is_some() => {
                // The guest is gone; whoever is impatient need not wait for its last output.
                self.relay = None;
            }
            signal => {
                self.continues = self.continues.wrapping_add(u32::from(signal == s::SIGCONT));
                self.request(Request::Signal { signal, terminal: arrival.from_kernel });
            }
        }
    }

    fn request(&self, request: Request) {
        // A Sentry that is gone is noticed when its reports end.
        let _ = self.control.request(&request);
    }

    fn tell_window(&self) {
        if let Some(relay) = &self.relay {
            self.request(Request::Window(relay.terminal.window()));
        }
    }

    /// Makes the terminal raw if this process is in its foreground.
    fn take_terminal(&mut self) {
        let Some(relay) = &mut self.relay else { return };
        if !self.started || relay.terminal.attached() || relay.input_ended || !relay.terminal.in_foreground() {
            return;
        }
        let Ok(settings) = relay.terminal.settings() else { return };
        if relay.terminal.attach(settings).is_ok() {
            self.tell_window();
        }
    }

    /// The guest was stopped: so is this process, with the terminal as it was, until someone continues it. That `SIGCONT` is
    /// then passed on like any signal.
    fn stop(&mut self, signal: i32, continues: u32) {
        // One that has come already would be lost with the stop.
        self.forward_all();
        if continues != self.continues {
            return;
        }
        if let Some(relay) = &mut self.relay {
            relay.flush();
            relay.terminal.detach();
        }
        // There are no others.
        let signal = if matches!(signal, s::SIGTSTP | s::SIGTTIN | s::SIGTTOU) { signal } else { s::SIGSTOP };
        let continued = stop_self(signal);
        self.take_terminal();
        if let Some(arrival) = continued {
            self.forward(arrival);
        }
    }
}

impl Relay {
    /// Whether all output has been written that ever comes.
    fn drained(&self) -> bool {
        self.output_ended && self.output.is_empty()
    }

    /// What to wait for on the terminal and on the stream.
    fn interest(&self) -> (PollFlags, PollFlags) {
        let (mut terminal, mut stream) = (PollFlags::empty(), PollFlags::empty());
        if self.input.is_empty() {
            if self.terminal.attached() && !self.input_ended {
                terminal |= PollFlags::IN;
            }
        } else {
            stream |= PollFlags::OUT;
        }
        if !self.output.is_empty() {
            terminal |= PollFlags::OUT;
        } else if !self.output_ended {
            stream |= PollFlags::IN;
        }
        (terminal, stream)
    }

    fn carry(&mut self, ready: &Ready) {
        let gone = PollFlags::HUP | PollFlags::ERR;
        if ready.stream.intersects(PollFlags::IN | gone) && self.output.is_empty() && !self.output_ended {
            self.receive();
        }
        if ready.terminal.intersects(PollFlags::OUT | gone) && !self.output.is_empty() {
            self.put();
        }
        if ready.terminal.intersects(PollFlags::IN | gone) && self.input.is_empty() && !self.input_ended {
            self.get();
        }
        if ready.stream.intersects(PollFlags::OUT | gone) && !self.input.is_empty() {
            self.transmit();
        }
    }

    /// From the guest.
    fn receive(&mut self) {
        let stream = &self.stream;
        match self.output.fill(|buffer| recv(stream, buffer, RecvFlags::DONTWAIT).map(|(_, len)| len)) {
            Ok(0) => self.output_ended = true,
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => self.output_ended = true,
        }
    }

    /// To the terminal, as it is now: since the bytes were received it may have become raw.
    fn put(&mut self) {
        let pending = self.output.pending();
        let written = match self.terminal.attached() {
            true => self.terminal.write(pending),
            false => self.terminal.write(&undo_line_ends(pending)).map(|len| before_undone(pending, len)),
        };
        match written {
            Ok(len) => self.output.done += len,
            // A terminal that is gone swallows the rest; the guest is told by SIGHUP.
            Err(_) => self.output.done = self.output.bytes.len(),
        }
    }

    /// From the terminal.
    fn get(&mut self) {
        let terminal = &self.terminal;
        let read = self.input.fill(|buffer| match terminal.read(buffer) {
            Ok(None) => Err(None),
            Ok(Some(len)) => Ok(len),
            Err(error) => Err(Some(error)),
        });
        match read {
            Ok(1..) | Err(None) => {}
            Ok(0) | Err(Some(_)) => self.input_ended = true,
        }
    }

    /// To the guest.
    fn transmit(&mut self) {
        match send(&self.stream, self.input.pending(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(len) => self.input.done += len,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => self.input.done = self.input.bytes.len(),
        }
    }

    /// Writes what has come from the guest so far, before this process stops.
    fn flush(&mut self) {
        let short = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        loop {
            if self.output.is_empty() {
                self.receive();
            }
            if self.output.is_empty() {
                return;
            }
            let writable = {
                let mut fds = [PollFd::new(&self.terminal, PollFlags::OUT)];
                poll(&mut fds, Some(&short)).map_err(io::Error::from).is_ok_and(|n| n > 0)
            };
            if !writable {
                return;
            }
            self.put();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_undone_as_far_as_they_are_written() {
        let bytes = b"a\r\n\rb\n\r\r\nc\r";
        let undone = undo_line_ends(bytes);
        assert_eq!(undone, b"a\n\rb\n\r\nc\r");
        for written in 0..=undone.len() {
            let rest = bytes.get(before_undone(bytes, written)..).unwrap();
            assert_eq!(undo_line_ends(rest), undone.get(written..).unwrap());
        }
        assert_eq!(before_undone(bytes, undone.len()), bytes.len());
    }
}
