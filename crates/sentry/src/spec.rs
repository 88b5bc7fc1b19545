//! What a sandbox is to be, and what it is handed: made by the command, for the Sentry that is its copy.

use abi::termios::{Termios, Winsize};
use host::confine::Kept;
use rustix::fd::{AsRawFd, OwnedFd, RawFd};

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
    Donated,
}

/// A sandbox.
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
    /// Standard input, output and error.
    pub stdio: [Stdio; 3],
    /// The console.
    pub console: Option<ConsoleSpec>,
}

/// The descriptors that the command hands over, besides the control channel.
#[derive(Default)]
pub struct Donated {
    /// Standard input, output and error.
    pub stdio: [Option<OwnedFd>; 3],
    /// The caller's terminal, only to restore its settings, and which those are.
    pub terminal: Option<(OwnedFd, Kept)>,
    /// A stream socket that carries the console's input and output.
    pub console: Option<OwnedFd>,
    /// The debug log.
    pub log: Option<OwnedFd>,
    /// Where traces go if there is no debug log.
    pub trace: Option<OwnedFd>,
}

impl Donated {
    /// The numbers of all.
    #[must_use]
    pub fn numbers(&self) -> Vec<RawFd> {
        let others = [&self.console, &self.log, &self.trace].into_iter().chain(&self.stdio).flatten();
        others.chain(self.terminal.iter().map(|(terminal, _)| terminal)).map(AsRawFd::as_raw_fd).collect()
    }
}
