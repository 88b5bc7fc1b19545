//! What a sandbox is to be: told by the command to the Sentry that it starts, in a sealed memory file.

use crate::wire::{Reader, Writer};
use abi::termios::{Termios, Winsize};
use zerocopy::{FromBytes, IntoBytes};

/// A descriptor's number, the same in the command and in the Sentry.
pub type DonatedFd = i32;

/// A host directory that the guest sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Volume {
    /// The directory, on the host; absolute.
    pub source: Vec<u8>,
    /// Where it is in the guest; absolute.
    pub target: Vec<u8>,
    /// Whether the guest may not write there.
    pub read_only: bool,
}

/// Which system calls are traced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Strace {
    /// All.
    All,
    /// Those of these names.
    Only(Vec<Vec<u8>>),
}

/// The caller's terminal, where the guest gets a console for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConsoleSpec {
    /// The terminal itself, only to restore its settings.
    pub terminal: DonatedFd,
    /// A stream socket that carries input and output.
    pub stream: DonatedFd,
    /// The window's size.
    pub window: [u16; 4],
    /// The terminal's settings, which the console starts with.
    pub settings: Option<Termios>,
}

impl ConsoleSpec {
    /// The window's size.
    #[must_use]
    pub fn winsize(&self) -> Winsize {
        let [ws_row, ws_col, ws_xpixel, ws_ypixel] = self.window;
        Winsize { ws_row, ws_col, ws_xpixel, ws_ypixel }
    }
}

/// A standard descriptor of the guest's first process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stdio {
    /// Closed.
    Closed,
    /// The console.
    Console,
    /// The caller's own.
    Donated(DonatedFd),
}

/// A sandbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spec {
    /// The host directory that is the guest's root; absolute.
    pub rootfs: Vec<u8>,
    /// Whether writes go to the host; else they go to memory.
    pub writable: bool,
    /// More host directories.
    pub volumes: Vec<Volume>,
    /// The command and its arguments.
    pub args: Vec<Vec<u8>>,
    /// The environment, `NAME=value`.
    pub env: Vec<Vec<u8>>,
    /// The working directory, and whether it must exist: if not, `/` does.
    pub cwd: (Vec<u8>, bool),
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The file mode creation mask.
    pub umask: u32,
    /// Signals that are ignored: bit 0 is signal 1.
    pub ignored: u64,
    /// Signals that are blocked.
    pub blocked: u64,
    /// Resource limits by number, soft and hard.
    pub limits: Vec<(u64, u64)>,
    /// The host name.
    pub hostname: Vec<u8>,
    /// What is traced.
    pub strace: Option<Strace>,
    /// Rewrite system call sites.
    pub patching: bool,
    /// The control socket.
    pub control: DonatedFd,
    /// Standard input, output and error.
    pub stdio: [Stdio; 3],
    /// The console.
    pub console: Option<ConsoleSpec>,
    /// The debug log.
    pub log: Option<DonatedFd>,
    /// Where traces go if there is no debug log.
    pub trace: Option<DonatedFd>,
}

fn put_stdio(w: &mut Writer, stdio: &Stdio) {
    match stdio {
        Stdio::Closed => w.signed(-1),
        Stdio::Console => w.signed(-2),
        Stdio::Donated(fd) => w.signed(*fd),
    };
}

fn take_stdio(r: &mut Reader<'_>) -> Option<Stdio> {
    Some(match r.signed()? {
        -1 => Stdio::Closed,
        -2 => Stdio::Console,
        fd => Stdio::Donated(fd),
    })
}

impl Spec {
    /// The record of it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        let bytes = |w: &mut Writer, b: &Vec<u8>| {
            w.bytes(b);
        };
        let fd = |w: &mut Writer, fd: &DonatedFd| {
            w.signed(*fd);
        };
        w.bytes(&self.rootfs).flag(self.writable);
        w.list(&self.volumes, |w, v| {
            w.bytes(&v.source).bytes(&v.target).flag(v.read_only);
        });
        w.list(&self.args, bytes).list(&self.env, bytes);
        w.bytes(&self.cwd.0).flag(self.cwd.1);
        w.number(self.uid).number(self.gid);
        w.list(&self.groups, |w, g| {
            w.number(*g);
        });
        w.number(self.umask).long(self.ignored).long(self.blocked);
        w.list(&self.limits, |w, (soft, hard)| {
            w.long(*soft).long(*hard);
        });
        w.bytes(&self.hostname);
        w.option(self.strace.as_ref(), |w, strace| {
            let names: &[Vec<u8>] = match strace {
                Strace::All => &[],
                Strace::Only(names) => names,
            };
            w.list(names, bytes);
        });
        w.flag(self.patching);
        w.signed(self.control);
        for stdio in &self.stdio {
            put_stdio(&mut w, stdio);
        }
        w.option(self.console.as_ref(), |w, console| {
            w.signed(console.terminal).signed(console.stream);
            for size in console.window {
                w.number(u32::from(size));
            }
            w.bytes(console.settings.as_ref().map_or(&[], IntoBytes::as_bytes));
        });
        w.option(self.log.as_ref(), fd).option(self.trace.as_ref(), fd);
        w.finish()
    }

    /// What a record says; `None` if it is malformed.
    #[must_use]
    pub fn decode(record: &[u8]) -> Option<Spec> {
        let mut r = Reader::new(record);
        let size = |r: &mut Reader<'_>| u16::try_from(r.number()?).ok();
        // Fields are evaluated in the order they are written here, which is that of the record.
        Some(Spec {
            rootfs: r.bytes()?,
            writable: r.flag()?,
            volumes: r.list(|r| Some(Volume { source: r.bytes()?, target: r.bytes()?, read_only: r.flag()? }))?,
            args: r.list(Reader::bytes)?,
            env: r.list(Reader::bytes)?,
            cwd: (r.bytes()?, r.flag()?),
            uid: r.number()?,
            gid: r.number()?,
            groups: r.list(Reader::number)?,
            umask: r.number()?,
            ignored: r.long()?,
            blocked: r.long()?,
            limits: r.list(|r| Some((r.long()?, r.long()?)))?,
            hostname: r.bytes()?,
            strace: r.option(|r| {
                let names = r.list(Reader::bytes)?;
                Some(if names.is_empty() { Strace::All } else { Strace::Only(names) })
            })?,
            patching: r.flag()?,
            control: r.signed()?,
            stdio: [take_stdio(&mut r)?, take_stdio(&mut r)?, take_stdio(&mut r)?],
            console: r.option(|r| {
                Some(ConsoleSpec {
                    terminal: r.signed()?,
                    stream: r.signed()?,
                    window: [size(r)?, size(r)?, size(r)?, size(r)?],
                    settings: Termios::read_from_bytes(&r.bytes()?).ok(),
                })
            })?,
            log: r.option(Reader::signed)?,
            trace: r.option(Reader::signed)?,
        })
    }

    /// Every descriptor it names.
    #[must_use]
    pub fn descriptors(&self) -> Vec<DonatedFd> {
        let stdio = self.stdio.iter().filter_map(|stdio| match stdio {
            Stdio::Donated(fd) => Some(*fd),
            _ => None,
        });
        let console = self.console.iter().flat_map(|c| [c.terminal, c.stream]);
        std::iter::once(self.control).chain(stdio).chain(console).chain(self.log).chain(self.trace).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back() {
        let spec = Spec {
            rootfs: b"/srv/root".to_vec(),
            writable: true,
            volumes: vec![Volume { source: b"/a".to_vec(), target: b"/b".to_vec(), read_only: true }],
            args: vec![b"ls".to_vec(), b"".to_vec()],
            env: vec![b"A=1".to_vec()],
            cwd: (b"/tmp".to_vec(), false),
            uid: 1,
            gid: u32::MAX,
            groups: vec![4, 5],
            umask: 0o22,
            ignored: 1,
            blocked: 2,
            limits: vec![(1, u64::MAX)],
            hostname: b"h".to_vec(),
            strace: Some(Strace::Only(vec![b"read".to_vec()])),
            patching: true,
            control: 5,
            stdio: [Stdio::Closed, Stdio::Console, Stdio::Donated(9)],
            console: Some(ConsoleSpec { terminal: 7, stream: 8, window: [24, 80, 0, 1], settings: None }),
            log: None,
            trace: Some(11),
        };
        let record = spec.encode();
        assert_eq!(Spec::decode(&record), Some(spec.clone()));
        assert_eq!(Spec::decode(&record[..record.len() - 1]), None);
        assert_eq!(spec.descriptors(), [5, 9, 7, 8, 11]);
    }
}
