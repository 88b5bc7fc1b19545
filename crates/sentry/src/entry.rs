//! The Sentry's `main`.

use crate::console::Console;
use crate::control::{BROKEN, Channel, Report};
use crate::reactor::{Messenger, Reactor};
use crate::spec::{DonatedFd, Spec};
use crate::{FAILED, Failure, assemble, isolate, program};
use host::spawn::inherited;
use net::host::Facts;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use std::io::{Read, Seek};
use std::process::ExitCode;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

/// The name under which the Sentry runs.
pub const NAME: &str = "vizor-sentry";

/// Runs a Sentry, whose specification is in the inherited descriptor of this number.
#[must_use]
pub fn main(spec: DonatedFd) -> ExitCode {
    rustix::thread::set_name(c"vizor-sentry").unwrap_or_default();
    host::tsc::begin();
    // Before the control socket is known, nobody can be told more than that.
    let Some(spec) = read_spec(spec) else { return ExitCode::from(FAILED) };
    let Ok(control) = inherited(spec.control) else { return ExitCode::from(FAILED) };
    let control = Arc::new(Channel::of(control));
    report_panics(&control);
    if let Err(failure) = run(&spec, &control) {
        let why = if failure.status == FAILED { isolate::low_limits() } else { String::new() };
        let _ = control.report(&Report::Failed(failure.status, failure.text + &why));
    }
    ExitCode::from(FAILED)
}

fn read_spec(fd: DonatedFd) -> Option<Spec> {
    let mut file = std::fs::File::from(inherited(fd).ok()?);
    let mut record = Vec::new();
    file.rewind().ok()?;
    file.read_to_end(&mut record).ok()?;
    Spec::decode(&record)
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

/// Descriptors that the command donated.
pub struct Donated {
    /// The debug log.
    pub log: Option<OwnedFd>,
    /// Where traces go.
    pub trace: Option<OwnedFd>,
    /// Standard input, output and error.
    pub stdio: [Option<OwnedFd>; 3],
    /// What the host calls them.
    pub names: [Vec<u8>; 3],
    /// What those of them are that are sockets.
    pub sockets: [Option<Facts>; 3],
    /// The console's stream.
    pub console: Option<OwnedFd>,
}

fn take(fd: DonatedFd) -> Result<OwnedFd, Failure> {
    inherited(fd).map_err(|error| Failure::ours(format!("descriptor {fd} was not handed over: {error}")))
}

fn take_all(spec: &Spec) -> Result<Donated, Failure> {
    use crate::spec::Stdio;
    let stdio = |stdio: Stdio| match stdio {
        Stdio::Donated(fd) => take(fd).map(Some),
        _ => Ok(None),
    };
    let name = |stdio: Stdio| match stdio {
        Stdio::Donated(fd) => rustix::fs::readlink(format!("/proc/self/fd/{fd}"), Vec::new())
            .map_or_else(|_| Vec::new(), |name| name.into_bytes()),
        _ => Vec::new(),
    };
    let stdio = [stdio(spec.stdio[0])?, stdio(spec.stdio[1])?, stdio(spec.stdio[2])?];
    Ok(Donated {
        names: spec.stdio.map(name),
        log: spec.log.map(take).transpose()?,
        trace: spec.trace.map(take).transpose()?,
        sockets: stdio.each_ref().map(|fd| fd.as_ref().and_then(Facts::of)),
        stdio,
        console: spec.console.map(|c| take(c.stream)).transpose()?,
    })
}

/// Has the process end when the command does.
fn bind_to_command(spec: &Spec, control: &Channel) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::ours(format!("cannot watch the command: {error}"));
    if let Some(console) = &spec.console {
        // Kept open for as long as the process lives.
        static TERMINAL: OnceLock<Result<OwnedFd, Failure>> = OnceLock::new();
        host::confine::set_terminal(TERMINAL.get_or_init(|| take(console.terminal)).as_ref().map_err(Clone::clone)?);
    }
    host::confine::end_with_parent().map_err(failed)?;
    // It may have ended before it was watched.
    let mut watched = [PollFd::new(control, PollFlags::empty())];
    poll(&mut watched, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).map_err(|e| failed(e.into()))?;
    if watched.iter().any(|fd| fd.revents().contains(PollFlags::HUP)) {
        host::confine::end_now();
    }
    Ok(())
}

fn run(spec: &Spec, control: &Arc<Channel>) -> Result<(), Failure> {
    bind_to_command(spec, control)?;
    host::confine::report_refused_calls(control.socket(), BROKEN)
        .map_err(|error| Failure::ours(format!("cannot set signal handlers: {error}")))?;
    let mut donated = take_all(spec)?;
    let mut trees = isolate::open_trees(spec)?;
    isolate::empty_root(&trees)?;
    isolate::raise_limits()?;
    isolate::enlarge_descriptor_table(&trees.root);
    isolate::drop_privileges()?;
    let maps = trees.maps.take().ok_or_else(|| Failure::ours("no /proc/self/maps"))?;
    let platform = assemble::platform(maps, spec)?;
    let reactor = Reactor::new(control).map_err(|error| Failure::ours(format!("cannot wait for the host: {error}")))?;
    let sandbox = assemble::sandbox(spec, platform, trees, donated.log.take(), donated.trace.take())?;
    let terminal = spec.console.as_ref().map(|caller| assemble::console(&sandbox, spec, caller)).transpose()?;
    let (tty, file) = terminal.unzip();
    let fds = assemble::descriptors(&sandbox.kernel, spec, &mut donated, file.as_ref(), &reactor)?;
    drop(file);
    let console = tty.clone().zip(donated.console.take());
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
