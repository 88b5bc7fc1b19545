//! The Sentry's `main`.

use crate::console::Console;
use crate::control::{BROKEN, Channel, Report};
use crate::isolate::{Network, Trees};
use crate::reactor::{Messenger, Reactor};
use crate::spec::{Donated, Spec};
use crate::{FAILED, Failure, assemble, isolate, program};
use core::ffi::CStr;
use host::confine::Kept;
use host::spawn::Gate;
use net::host::Facts;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

/// The name under which the Sentry runs.
pub const NAME: &CStr = c"vizor-sentry";

/// Runs a Sentry, and returns what its process is to exit with. `gate` opens when its user namespace has its ids.
#[must_use]
pub fn main(spec: &Spec, control: Channel, donated: Donated, gate: Gate) -> u8 {
    host::heap::of_a_sentry();
    host::tsc::begin();
    let control = Arc::new(control);
    report_panics(&control);
    if let Err(failure) = run(spec, &control, donated, gate) {
        let why = if failure.status == FAILED { isolate::low_limits() } else { String::new() };
        let _ = control.report(&Report::Failed(failure.status, failure.text + &why));
    }
    FAILED
}

/// A panic anywhere ends the whole sandbox, and the command says why.
fn report_panics(control: &Arc<Channel>) {
    static CONTROL: OnceLock<Arc<Channel>> = OnceLock::new();
    let _ = CONTROL.set(Arc::clone(control));
    std::panic::set_hook(Box::new(|panic| {
        if let Some(control) = CONTROL.get() {
            let _ = control.report(&Report::Broken(panic.to_string().replace('\n', " ")));
        }
        std::process::exit(i32::from(FAILED));
    }));
}

/// A standard descriptor, with what must be asked about it before the Sentry is confined.
pub struct Standard {
    /// The descriptor.
    pub fd: OwnedFd,
    /// What the host calls it.
    pub name: Vec<u8>,
    /// What it is, if a socket.
    pub facts: Option<Facts>,
}

impl Standard {
    fn of(fd: OwnedFd) -> Standard {
        let name = rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new());
        let name = name.map_or_else(|_| Vec::new(), |name| name.into_bytes());
        Standard { name, facts: Facts::of(&fd), fd }
    }
}

/// Has the process end when the command does, and give the terminal its settings back then.
fn bind_to_command(terminal: Option<(OwnedFd, Kept)>, control: &Channel) -> Result<(), Failure> {
    // Open for as long as the process lives.
    static TERMINAL: OnceLock<OwnedFd> = OnceLock::new();
    let failed = |error: std::io::Error| Failure::ours(format!("cannot watch the command: {error}"));
    let terminal = terminal.map(|(terminal, kept)| (TERMINAL.get_or_init(|| terminal), kept));
    host::confine::end_with_parent(terminal).map_err(failed)?;
    // It may have ended before it was watched.
    let mut watched = [PollFd::new(control, PollFlags::empty())];
    poll(&mut watched, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).map_err(|e| failed(e.into()))?;
    if watched.iter().any(|fd| fd.revents().contains(PollFlags::HUP)) {
        host::confine::end_now();
    }
    Ok(())
}

/// Gives up what only the start needs, and returns the directories of the host that are left, and the platform.
fn confine(spec: &Spec, network: Network) -> Result<(Trees, systrap::Prepared), Failure> {
    let (trees, host) = isolate::open_trees(spec)?;
    isolate::raise_limits()?;
    let platform = assemble::prepare(host, spec)?;
    // Not later: to let go of the old root is to wait for all cores, for 10 ms if one of them is making a network
    // namespace.
    network.enter()?;
    isolate::empty_root(&trees)?;
    isolate::enlarge_descriptor_table(&trees.root);
    isolate::drop_privileges()?;
    Ok((trees, platform))
}

fn run(spec: &Spec, control: &Arc<Channel>, donated: Donated, gate: Gate) -> Result<(), Failure> {
    let network = Network::begin()?;
    bind_to_command(donated.terminal, control)?;
    host::confine::report_refused_calls(control.socket(), BROKEN)
        .map_err(|error| Failure::ours(format!("cannot set signal handlers: {error}")))?;
    let standard = donated.stdio.map(|fd| fd.map(Standard::of));
    gate.wait().map_err(|error| Failure::ours(format!("the command went away: {error}")))?;
    let (trees, platform) = confine(spec, network)?;
    let starting = assemble::begin(platform)?;
    let reactor = Reactor::new(control, starting.platform())
        .map_err(|error| Failure::ours(format!("cannot wait for the host: {error}")))?;
    let sandbox = assemble::sandbox(spec, starting, trees, donated.log, donated.trace)?;
    let terminal = spec.console.as_ref().map(|caller| assemble::console(&sandbox, spec, caller)).transpose()?;
    let (tty, file) = terminal.unzip();
    let fds = assemble::descriptors(&sandbox.kernel, spec, standard, file.as_ref(), &reactor)?;
    drop(file);
    let console = tty.clone().zip(donated.console);
    let console = console.map(|(tty, stream)| Console::new(tty, stream, reactor.clone()));
    let kernel = sandbox.kernel;
    kernel.set_observer(Box::new(Messenger {
        reactor: reactor.clone(),
        console: console.is_some(),
        warnings: AtomicUsize::new(0),
    }));
    program::start(&kernel, spec, fds, tty, || {
        let _ = control.report(&Report::Started);
    })?;
    reactor.run(&kernel, console)
}
