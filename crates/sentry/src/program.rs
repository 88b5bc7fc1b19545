//! Finding and starting the command that the sandbox is for, as execvp(3) does, in the guest's file system.

use crate::Failure;
use crate::spec::Spec;
use abi::Errno;
use abi::raw::general::RLIMIT_NOFILE;
use abi::signal::SigSet;
use kernel::clone::FirstProcess;
use kernel::exec::{LoadError, Loaded, Program, exec_credentials, load};
use kernel::fd_table::NR_OPEN;
use kernel::limits::{Limit, Limits};
use kernel::tty::Tty;
use kernel::{FdTable, FsContext, Kernel};
use std::any::Any;
use std::sync::Arc;
use vfs::{At, Caller, Credentials, OpenFile, WalkCx, WalkFlags, ops};

/// Statuses as shells give them.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Where execvp(3) looks if there is no `PATH`.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// The Sentry itself as a caller of the VFS.
pub struct Myself(pub Arc<Credentials>);

impl Caller for Myself {
    fn creds(&self) -> Arc<Credentials> {
        self.0.clone()
    }

    fn tid(&self) -> i32 {
        0
    }

    fn tgid(&self) -> i32 {
        0
    }

    fn copy_in(&self, _: u64, _: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }

    fn copy_out(&self, _: u64, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What the host's C library says of an error.
pub fn describe(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno.raw()).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A path walk on behalf of `caller`, from the root and working directory of `fs`.
pub fn walk<'a>(kernel: &'a Kernel, caller: &'a Myself, fs: &FsContext) -> WalkCx<'a> {
    WalkCx {
        caller,
        creds: caller.0.clone(),
        root: fs.root(),
        cwd: fs.cwd(),
        umask: fs.umask(),
        mounts: fs.mounts(),
        cache: &kernel.dentries,
        special: &*kernel.special,
    }
}

/// Starts the command. `ready` is called once nothing of the guest's can be at fault any more, before it runs.
///
/// # Errors
/// With the status 127 if it is not found, 126 if it can't be executed.
pub fn start(
    kernel: &Arc<Kernel>,
    spec: &Spec,
    fds: Arc<FdTable>,
    tty: Option<Arc<Tty>>,
    ready: impl FnOnce(),
) -> Result<(), Failure> {
    let creds = Credentials::new(spec.uid, spec.gid, &spec.groups);
    let caller = Myself(Arc::new(creds));
    let fs = FsContext::new(kernel.mounts.clone());
    fs.set_umask(spec.umask);
    enter(kernel, &caller, &fs, spec)?;
    let limits = limits(spec);
    let loaded = find(kernel, &caller, &fs, &limits, spec)?;
    let failed = |errno| Failure::ours(format!("cannot start a process: {}", describe(errno)));
    loaded.move_in(kernel.platform.new_address_space().map_err(failed)?);
    let first = FirstProcess {
        mm: loaded.mm,
        regs: loaded.regs,
        fds,
        fs,
        creds: loaded.creds,
        name: loaded.name,
        exe: loaded.exe,
        limits,
        ignored: SigSet(spec.ignored),
        blocked: SigSet(spec.blocked),
        tty,
    };
    ready();
    kernel.start_first(first).map_err(failed)
}

/// The caller's resource limits, as far as the sandbox's kernel allows them.
fn limits(spec: &Spec) -> Limits {
    let mut limits = Limits::default();
    for (which, (soft, hard)) in (0..).zip(&spec.limits) {
        let most = if which == RLIMIT_NOFILE { NR_OPEN } else { u64::MAX };
        let _ = limits.set(which, Limit { soft: (*soft).min(most), hard: (*hard).min(most) }, true);
    }
    limits
}

/// Goes to the working directory.
fn enter(kernel: &Kernel, caller: &Myself, fs: &FsContext, spec: &Spec) -> Result<(), Failure> {
    let (path, must) = &spec.cwd;
    let found = {
        let cx = walk(kernel, caller, fs);
        let place = cx.resolve(At::cwd(path), WalkFlags::FOLLOW | WalkFlags::DIRECTORY);
        place.and_then(|place| cx.permission(&place, MAY_EXEC).map(|()| place))
    };
    match found {
        Ok(place) => fs.set_cwd(place),
        Err(errno) if *must => {
            let text = format!("--cwd {}: {}; give a directory of the sandbox", shown(path), describe(errno));
            return Err(Failure::ours(text));
        }
        Err(_) => {}
    }
    Ok(())
}

const MAY_EXEC: u32 = 1;

struct Finder<'a> {
    kernel: &'a Kernel,
    caller: &'a Myself,
    cx: WalkCx<'a>,
    limits: &'a Limits,
    spec: &'a Spec,
}

/// Why a file was not started.
enum Refusal {
    /// It could not be opened.
    Open(Errno),
    /// It was opened, and then something failed.
    Load(Errno),
}

impl Finder<'_> {
    fn open(&self, path: &[u8]) -> Result<Arc<OpenFile>, Errno> {
        ops::open_exec(&self.cx, At::cwd(path), WalkFlags::FOLLOW).map(Arc::new)
    }

    fn has_file(&self, path: &[u8]) -> bool {
        self.cx.resolve(At::cwd(path), WalkFlags::FOLLOW).is_ok_and(|place| !place.dentry.is_dir())
    }

    fn load(&self, path: &[u8], argv: Vec<Vec<u8>>) -> Result<Loaded, Refusal> {
        let file = self.open(path).map_err(Refusal::Open)?;
        let program = Program { file, path: path.to_vec(), argv, envp: self.spec.env.clone(), fixed: false };
        let creds_for = |file: &OpenFile| exec_credentials(&self.caller.0, file, false);
        let mut open = |path: &[u8]| self.open(path);
        load(self.kernel, self.caller, &creds_for, self.limits, program, &mut open).map_err(|error| match error {
            LoadError::Errno(errno) | LoadError::Fatal(errno) => Refusal::Load(errno),
        })
    }

    /// Loads one candidate; a file of no known format is taken for a shell script.
    fn attempt(&self, path: &[u8]) -> Result<Loaded, Refusal> {
        match self.load(path, self.spec.args.clone()) {
            Err(Refusal::Load(Errno::ENOEXEC)) => {
                let mut argv = vec![b"sh".to_vec(), path.to_vec()];
                argv.extend(self.spec.args.iter().skip(1).cloned());
                self.load(b"/bin/sh", argv)
            }
            other => other,
        }
    }
}

fn find(
    kernel: &Arc<Kernel>,
    caller: &Myself,
    fs: &FsContext,
    limits: &Limits,
    spec: &Spec,
) -> Result<Loaded, Failure> {
    let command = spec.args.first().map(Vec::as_slice).unwrap_or_default();
    let finder = Finder { kernel, caller, cx: walk(kernel, caller, fs), limits, spec };
    if command.contains(&b'/') {
        return finder.attempt(command).map_err(|refusal| explain(&finder, command, &refusal));
    }
    let path = spec.env.iter().find_map(|variable| variable.strip_prefix(b"PATH="));
    let mut denied = None;
    if !command.is_empty() {
        for directory in path.unwrap_or(DEFAULT_PATH).split(|b| *b == b':') {
            let separator: &[u8] = if directory.is_empty() { b"" } else { b"/" };
            let candidate = [directory, separator, command].concat();
            match finder.attempt(&candidate) {
                Ok(loaded) => return Ok(loaded),
                Err(Refusal::Open(Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG)) => {}
                // Another directory may have one that can be executed. What can't be seen or is none does not count, as in shells.
                Err(Refusal::Open(Errno::EACCES)) if finder.has_file(&candidate) => denied = denied.or(Some(candidate)),
                Err(Refusal::Open(Errno::EACCES)) => {}
                Err(refusal) => return Err(explain(&finder, &candidate, &refusal)),
            }
        }
    }
    Err(match denied {
        Some(candidate) => explain(&finder, &candidate, &Refusal::Open(Errno::EACCES)),
        None => Failure { status: NOT_FOUND, text: format!("{}: command not found in the sandbox", shown(command)) },
    })
}

fn explain(finder: &Finder<'_>, path: &[u8], refusal: &Refusal) -> Failure {
    let name = shown(path);
    let (status, why) = match refusal {
        Refusal::Open(errno @ (Errno::ENOENT | Errno::ENOTDIR)) => (NOT_FOUND, describe(*errno)),
        Refusal::Open(Errno::EACCES) => {
            let place = finder.cx.resolve(At::cwd(path), WalkFlags::FOLLOW);
            let directory = place.is_ok_and(|place| place.dentry.is_dir());
            let why =
                if directory { "is a directory".into() } else { format!("{} to execute it", describe(Errno::EACCES)) };
            (NOT_EXECUTABLE, why)
        }
        Refusal::Open(errno) => (NOT_EXECUTABLE, describe(*errno)),
        Refusal::Load(Errno::ENOENT) => (NOT_EXECUTABLE, "its interpreter does not exist in the sandbox".into()),
        Refusal::Load(Errno::ENOEXEC) => (NOT_EXECUTABLE, "not a program for this machine".into()),
        Refusal::Load(errno) => (NOT_EXECUTABLE, describe(*errno)),
    };
    Failure { status, text: format!("{name}: {why}") }
}
