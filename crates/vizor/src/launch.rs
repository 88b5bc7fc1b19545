//! Starting a Sentry: the specification, what it inherits, and its namespaces.

use crate::options::Do;
use crate::{idmap, terminal};
use host::spawn::{Child, Inheritance, NAMESPACES, spawn};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::Resource;
use sentry::Failure;
use sentry::control::Channel;
use sentry::entry;
use sentry::spec::{ConsoleSpec, Donated, Spec, Stdio};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// A Sentry that has been started.
pub struct Sandbox {
    /// Its process.
    pub sentry: Child,
    /// The control channel to it.
    pub control: Channel,
    /// The caller's terminal and the stream of the guest's console.
    pub console: Option<(terminal::Terminal, OwnedFd)>,
}

fn host(what: &str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::ours(format!("{what}: {error}"))
}

/// Starts a Sentry.
pub fn launch(options: Do) -> Result<Sandbox, Failure> {
    let (control, theirs) = Channel::pair().map_err(host("cannot make a socket"))?;
    let mut donated = Donated::default();
    let (stdio, console_spec, console) = standard(&mut donated)?;
    let spec = specify(options, &mut donated, stdio, console_spec)?;
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| Failure::ours(format!("cannot open /dev/null: {error}")))?;
    let mut keep = donated.numbers();
    keep.push(theirs.socket().as_raw_fd());
    let with = Inheritance { name: entry::NAME, stdio: null.as_fd(), keep, ignored: host::start::ignored_signals() };
    let sentry = spawn(NAMESPACES, &with, move |gate| entry::main(&spec, theirs, donated, gate));
    let mut sentry = sentry.map_err(no_namespaces)?;
    idmap::write(sentry.pid()).inspect_err(|_| sentry.kill())?;
    sentry.release().map_err(host("the sentry did not start"))?;
    // Whoever reads the guest's output must see its end when the guest closes it, not when this process ends.
    let given_up = rustix::stdio::dup2_stdin(&null).and_then(|()| rustix::stdio::dup2_stdout(&null));
    given_up.map_err(|error| Failure::ours(format!("cannot give up the standard descriptors: {error}")))?;
    Ok(Sandbox { sentry, control, console })
}

/// Why there can be no namespaces, with the setting to change.
fn no_namespaces(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::NotFound {
        return Failure::ours(format!("cannot look at /proc: {error}; mount proc on /proc first"));
    }
    let is = |file: &str, value: &str| std::fs::read_to_string(file).is_ok_and(|text| text.trim() == value);
    let cure = if is("/proc/sys/user/max_user_namespaces", "0") {
        "; raise the sysctl user.max_user_namespaces"
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "; set the sysctl kernel.unprivileged_userns_clone=1"
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "; set the sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    } else {
        "; the host must allow user namespaces (sysctl user.max_user_namespaces, and any seccomp filter in force)"
    };
    Failure::ours(format!("cannot make namespaces: {error}{cure}"))
}

type Standard = ([Stdio; 3], Option<ConsoleSpec>, Option<(terminal::Terminal, OwnedFd)>);

/// What the guest's standard descriptors are. Where output goes to a terminal, the guest has a console, and every
/// standard descriptor that is this terminal becomes it. Otherwise (`vizor do ls | less`) the terminal is somebody else's
/// too, and is handed on as it is.
fn standard(donated: &mut Donated) -> Result<Standard, Failure> {
    let fds = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let mut console_spec = None;
    let mut console = None;
    if !host::start::was_closed(1) && host::terminal::settings(fds[1]).is_ok() {
        let terminal = terminal::Terminal::new(fds[1])?;
        let made = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let (ours, theirs) = made.map_err(|e| host("cannot make a socket")(e.into()))?;
        let size = terminal.window();
        console_spec = Some(ConsoleSpec {
            settings: terminal.settings().ok(),
            window: [size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel],
        });
        donated.terminal = Some((duplicate(fds[1])?, terminal.kept()));
        donated.console = Some(theirs);
        console = Some((terminal, ours));
    }
    let mut stdio = [Stdio::Closed; 3];
    for (number, ((slot, fd), hand)) in (0..).zip(stdio.iter_mut().zip(fds).zip(&mut donated.stdio)) {
        if host::start::was_closed(number) {
            continue;
        }
        *slot = match &console {
            Some((terminal, _)) if terminal.is(fd) => Stdio::Console,
            _ => {
                *hand = Some(duplicate(fd)?);
                Stdio::Donated
            }
        };
    }
    Ok((stdio, console_spec, console))
}

fn duplicate(fd: impl AsFd) -> Result<OwnedFd, Failure> {
    fcntl_dupfd_cloexec(fd, 3).map_err(|e| host("cannot duplicate a descriptor")(e.into()))
}

fn specify(
    options: Do,
    donated: &mut Donated,
    stdio: [Stdio; 3],
    console: Option<ConsoleSpec>,
) -> Result<Spec, Failure> {
    let rootfs = root_directory(&options.rootfs)?;
    let strace = options.strace()?;
    donated.log = options.debug_log.as_deref().map(debug_log).transpose()?;
    if strace.is_some() && donated.log.is_none() && !host::start::was_closed(2) {
        donated.trace = Some(duplicate(rustix::stdio::stderr())?);
    }
    let (uid, gid, groups) = match options.user {
        Some((uid, gid)) => (uid, gid.unwrap_or(uid), Vec::new()),
        None => caller()?,
    };
    let umask = rustix::process::umask(Mode::empty());
    rustix::process::umask(umask);
    Ok(Spec {
        rootfs,
        writable: options.rw,
        volumes: options.volumes()?,
        env: environment(&options)?,
        cwd: working_directory(&options)?,
        uid,
        gid,
        groups,
        umask: umask.bits(),
        ignored: host::start::ignored_signals(),
        blocked: host::start::blocked_signals(),
        limits: LIMITS.iter().map(|which| limit(*which)).collect(),
        hostname: hostname(&options)?,
        strace,
        patching: !options.no_patching,
        stdio,
        console,
        args: options.command.into_iter().map(OsStringExt::into_vec).collect(),
    })
}

/// All resource limits, in the order of their numbers.
const LIMITS: [Resource; 16] = [
    Resource::Cpu,
    Resource::Fsize,
    Resource::Data,
    Resource::Stack,
    Resource::Core,
    Resource::Rss,
    Resource::Nproc,
    Resource::Nofile,
    Resource::Memlock,
    Resource::As,
    Resource::Locks,
    Resource::Sigpending,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Rtprio,
    Resource::Rttime,
];

fn limit(which: Resource) -> (u64, u64) {
    let limit = rustix::process::getrlimit(which);
    (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX))
}

fn root_directory(path: &Path) -> Result<Vec<u8>, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::ours(format!("--rootfs {}: {why}; give an existing directory", path.display()))
    };
    let real = path.canonicalize().map_err(|error| wrong(&error))?;
    if !real.is_dir() {
        return Err(wrong(&"not a directory"));
    }
    Ok(real.into_os_string().into_vec())
}

fn debug_log(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = open(path, flags, Mode::from_raw_mode(0o666));
    opened.map_err(|error| Failure::ours(format!("--debug-log {}: {error}", path.display())))
}

fn caller() -> Result<(u32, u32, Vec<u32>), Failure> {
    let groups = rustix::process::getgroups().map_err(|e| host("cannot tell the caller's groups")(e.into()))?;
    let groups = groups.into_iter().map(rustix::process::Gid::as_raw).collect();
    Ok((rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw(), groups))
}

fn environment(options: &Do) -> Result<Vec<Vec<u8>>, Failure> {
    const PATH: &[u8] = b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let pair = |name: &[u8], value: OsString| [name, b"=", value.as_bytes()].concat();
    // The Sentry is a copy of this process: of what the guest is not to have, nothing is copied to the heap.
    let mut all: Vec<_> = if options.clean_env {
        let kept = ["HOME", "TERM"].into_iter();
        let kept = kept.filter_map(|name| Some(pair(name.as_bytes(), std::env::var_os(name)?)));
        [PATH.to_vec()].into_iter().chain(kept).collect()
    } else {
        std::env::vars_os().map(|(name, value)| pair(name.as_bytes(), value)).collect()
    };
    for variable in options.variables()? {
        let name = variable.iter().position(|b| *b == b'=').map_or(0, |at| at + 1);
        all.retain(|other| other.get(..name) != variable.get(..name));
        all.push(variable);
    }
    Ok(all)
}

fn working_directory(options: &Do) -> Result<(Vec<u8>, bool), Failure> {
    match &options.cwd {
        Some(path) if path.is_absolute() => Ok((path.as_os_str().as_bytes().to_vec(), true)),
        Some(path) => {
            Err(Failure::ours(format!("--cwd {}: not absolute; give a path that starts with /", path.display())))
        }
        // A directory that was removed has no path; the guest starts in / then.
        None => Ok((std::env::current_dir().map_or_else(|_| b"/".to_vec(), |p| p.into_os_string().into_vec()), false)),
    }
}

fn hostname(options: &Do) -> Result<Vec<u8>, Failure> {
    const LONGEST: usize = 64;
    match &options.hostname {
        Some(name) if name.is_empty() || name.len() > LONGEST => {
            Err(Failure::ours(format!("--hostname {name:?}: give 1 to {LONGEST} bytes")))
        }
        Some(name) => Ok(name.as_bytes().to_vec()),
        None => Ok(rustix::system::uname().nodename().to_bytes().to_vec()),
    }
}
