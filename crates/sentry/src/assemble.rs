//! Putting the parts of a sandbox together: platform, memory, file systems, kernel.

use crate::entry::Standard;
use crate::isolate::Trees;
use crate::program::{Myself, describe, walk};
use crate::reactor::Reactor;
use crate::spec::{ConsoleSpec, Spec, Stdio, Strace, Volume};
use crate::{Failure, seccomp};
use abi::Errno;
use abi::termios::Termios2;
use fs::dev::Devices;
use fs::devpts::{self, DevPts, TerminalDevices};
use fs::hostfd::{WithDonated, donate};
use fs::hostfs::{HostFs, Sharing};
use fs::overlay::OverlayFs;
use fs::pipe::Fifos;
use fs::proc::{About, ProcFs};
use fs::tmpfs::{Options, TmpFs};
use host::frames::FrameAllocator;
use host::memfile::{DEFAULT_SIZE, MemoryFile};
use kernel::tty::Tty;
use kernel::{FdTable, FsContext, FsMaker, Kernel, Parts, Trace, Uts};
use net::SocketFile;
use net::host::HostSocket;
use rustix::fd::OwnedFd;
use rustix::fs::{major, minor};
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use systrap::HostFiles;
use vfs::ops::OpenHow;
use vfs::{
    At, Credentials, Dentry, FileSystem, FileType, Mount, MountFlags, MountNamespace, OpenFile, OpenFlags, PathRef,
    WalkFlags, makedev, ops,
};

fn failed(what: &str) -> impl Fn(Errno) -> Failure {
    move |errno| Failure::ours(format!("{what}: {}", describe(errno)))
}

/// Prepares the platform, without a process yet.
///
/// # Errors
/// What the host lacks.
pub fn prepare(host: HostFiles, spec: &Spec) -> Result<systrap::Prepared, Failure> {
    // What is traced must come to the kernel.
    let options = systrap::Options { patch: spec.patching, serve: spec.strace.is_none() };
    systrap::Systrap::prepare(host, options).map_err(cannot_run)
}

/// Begins to start it: its first process is a copy of this one.
///
/// # Errors
/// If there can be no thread.
pub fn begin(prepared: systrap::Prepared) -> Result<systrap::Starting, Failure> {
    prepared.start().map_err(cannot_run)
}

fn cannot_run(error: systrap::StartError) -> Failure {
    Failure::ours(format!("this host can't run sandboxes: {error}"))
}

/// A terminal that is raw while the guest has it: lines need a carriage return.
struct RawTerminal(File);

impl Write for RawTerminal {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let ends = bytes.iter().filter(|b| **b == b'\n').count();
        let mut line = Vec::with_capacity(bytes.len() + ends);
        for byte in bytes {
            if *byte == b'\n' {
                line.push(b'\r');
            }
            line.push(*byte);
        }
        self.0.write_all(&line)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn tracing(spec: &Spec, log: Option<OwnedFd>, trace: Option<OwnedFd>) -> Trace {
    let boxed = |fd: OwnedFd| -> Box<dyn Write + Send> {
        if spec.console.is_some() && host::terminal::settings(&fd).is_ok() {
            return Box::new(RawTerminal(File::from(fd)));
        }
        Box::new(File::from(fd))
    };
    let copy = log.as_ref().and_then(|log| log.try_clone().ok());
    let strace = spec.strace.as_ref().zip(trace.or(copy)).map(|(wanted, to)| {
        let names = match wanted {
            Strace::All => None,
            Strace::Only(names) => Some(names.iter().map(|n| String::from_utf8_lossy(n).into_owned()).collect()),
        };
        (names, boxed(to))
    });
    Trace::new(log.map(boxed), strace)
}

/// The file system of the root: the host's tree itself, or with changes that only this sandbox sees.
fn root_fs(spec: &Spec, tree: OwnedFd, frames: &Arc<FrameAllocator>) -> Result<Arc<dyn FileSystem>, Failure> {
    let sharing = if spec.writable { Sharing::Writable } else { Sharing::Exclusive };
    let host = HostFs::new(tree, sharing).map_err(failed("cannot use the root directory"))?;
    if spec.writable {
        return Ok(host);
    }
    let changes = TmpFs::new(frames, Options::limited(frames)).map_err(failed("cannot make the root writable"))?;
    Ok(OverlayFs::new(changes, host).map_err(failed("cannot make the root writable"))?)
}

/// A sandbox without processes.
pub struct Sandbox {
    /// Its kernel.
    pub kernel: Arc<Kernel>,
    /// Its terminals.
    pub terminals: Arc<DevPts>,
}

/// Makes the kernel and mounts everything, while the platform starts, and installs the seccomp filter when it has: the
/// platform's processes must not inherit that.
///
/// # Errors
/// The host's.
pub fn sandbox(
    spec: &Spec,
    starting: systrap::Starting,
    trees: Trees,
    log: Option<OwnedFd>,
    trace: Option<OwnedFd>,
) -> Result<Sandbox, Failure> {
    let file = match trees.memory {
        Some(file) => MemoryFile::on(file, DEFAULT_SIZE),
        None => MemoryFile::new(DEFAULT_SIZE),
    };
    let file = file.map_err(failed("cannot make the memory file"))?;
    let info = rustix::system::sysinfo();
    let frames = FrameAllocator::new(file, info.totalram.saturating_mul(u64::from(info.mem_unit)));
    let devices = Devices::new(&frames, Box::new(Fifos));
    let terminals = DevPts::new(devpts::Options::default(), true);
    for major in [5, kernel::tty::PTS_MAJOR] {
        devices.register(major, Arc::new(TerminalDevices));
    }
    let root = root_fs(spec, trees.root, &frames)?;
    let root = Mount::new(root.clone(), Dentry::root(root.root()), b"none", MountFlags::empty());
    let kernel = Kernel::new(Parts {
        platform: starting.platform(),
        frames: frames.clone(),
        dispatch: Box::new(syscalls::Table::default()),
        mounts: Arc::new(MountNamespace::new(root)),
        special: Arc::new(WithDonated(devices)),
        uts: Uts { hostname: spec.hostname.clone(), domainname: b"(none)".to_vec() },
        ipc: ipc::Namespace::new(frames.clone()),
        trace: tracing(spec, log, trace),
    });
    terminals.bind(&kernel);
    // On the host itself nothing is made that nobody asked for.
    let make = !spec.writable;
    mount_own(&kernel, &frames, &terminals, make)?;
    mount_machine(&kernel, make);
    register_types(&kernel);
    for (volume, tree) in spec.volumes.iter().zip(trees.volumes) {
        mount_volume(&kernel, volume, tree, make)?;
    }
    starting.finish().map_err(cannot_run)?;
    seccomp::install(spec.writable || spec.volumes.iter().any(|v| !v.read_only))?;
    Ok(Sandbox { kernel, terminals })
}

/// Mounts what shows processes and the machine.
fn mount_machine(kernel: &Arc<Kernel>, make: bool) {
    let usual = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let proc = ProcFs::new(About { release: syscalls::RELEASE, version: syscalls::VERSION });
    proc.bind(kernel);
    let fs = proc.file_system();
    kernel.register_fs(
        "proc",
        Arc::new({
            let fs = fs.clone();
            move |_, _, _| Ok(fs.clone())
        }),
    );
    mount(kernel, fs, b"proc", b"/proc", usual, make);
    let sys = fs::sys::new();
    kernel.register_fs(
        "sysfs",
        Arc::new({
            let sys = sys.clone();
            move |_, _, _| Ok(sys.clone())
        }),
    );
    mount(kernel, sys, b"sysfs", b"/sys", usual | MountFlags::RDONLY, make);
}

/// What mount(2) can mount.
fn register_types(kernel: &Arc<Kernel>) {
    let tmpfs: FsMaker = Arc::new(|kernel, caller, data| {
        let creds = caller.creds();
        let own = Options { uid: creds.fsuid, gid: creds.fsgid, ..Options::limited(&kernel.frames) };
        let data = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        Ok(TmpFs::new(&kernel.frames, own.parse(data)?)?)
    });
    kernel.register_fs("tmpfs", tmpfs.clone());
    kernel.register_fs("ramfs", tmpfs);
    let weak = Arc::downgrade(kernel);
    let devpts: FsMaker = Arc::new(move |_, _, data| {
        let data = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        let instance = DevPts::new(devpts::Options::parse(data)?, false);
        instance.bind(&weak.upgrade().ok_or(Errno::EIO)?);
        Ok(instance)
    });
    kernel.register_fs("devpts", devpts);
}

/// The Sentry as the superuser of its sandbox.
fn myself() -> Myself {
    Myself(Arc::new(Credentials::new(0, 0, &[])))
}

/// The directory at `path`, which with `make` is made with all above it if it is missing.
fn place(kernel: &Arc<Kernel>, path: &[u8], make: bool) -> Result<PathRef, Errno> {
    let caller = myself();
    let context = FsContext::new(kernel.mounts.clone());
    let cx = walk(kernel, &caller, &context);
    let found = cx.resolve(At::cwd(path), WalkFlags::FOLLOW);
    if make && found.as_ref().is_err_and(|errno| *errno == Errno::ENOENT) {
        let ends = path.iter().enumerate().skip(1).filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            match ops::mkdir(&cx, At::cwd(path.get(..end).unwrap_or_default()), 0o755) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        return cx.resolve(At::cwd(path), WalkFlags::FOLLOW);
    }
    found
}

/// Mounts what every sandbox has of its own. A root that lacks a place for it goes without.
fn mount_own(
    kernel: &Arc<Kernel>,
    frames: &Arc<FrameAllocator>,
    terminals: &Arc<DevPts>,
    make: bool,
) -> Result<(), Failure> {
    let usual = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let dev = TmpFs::new(frames, Options { perm: 0o755, ..Options::limited(frames) });
    let dev = dev.map_err(failed("cannot make /dev"))?;
    fs::dev::populate(&dev.root(), &myself()).map_err(failed("cannot fill /dev"))?;
    mount(kernel, dev, b"devtmpfs", b"/dev", MountFlags::NOSUID, make);
    mount(kernel, terminals.clone(), b"devpts", b"/dev/pts", MountFlags::NOSUID | MountFlags::NOEXEC, make);
    let shm = TmpFs::new(frames, Options::limited(frames)).map_err(failed("cannot make /dev/shm"))?;
    mount(kernel, shm, b"tmpfs", b"/dev/shm", usual - MountFlags::NOEXEC, make);
    Ok(())
}

fn mount(kernel: &Arc<Kernel>, fs: Arc<dyn FileSystem>, source: &[u8], path: &[u8], flags: MountFlags, make: bool) {
    let mounted = place(kernel, path, make).and_then(|place| kernel.mounts.mount(fs, source, &place, flags));
    if let Err(errno) = mounted {
        kernel.trace.log(&format!("not mounted: {}: {}", String::from_utf8_lossy(path), describe(errno)));
    }
}

fn mount_volume(kernel: &Arc<Kernel>, volume: &Volume, tree: OwnedFd, make: bool) -> Result<(), Failure> {
    let (path, read_only) = (&volume.target, volume.read_only);
    let shown = String::from_utf8_lossy(path);
    let sharing = if read_only { Sharing::ReadOnly } else { Sharing::Writable };
    let fs = HostFs::new(tree, sharing).map_err(failed(&format!("cannot use the volume at {shown}")))?;
    let flags = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
    let place = place(kernel, path, make).map_err(|errno| {
        Failure::ours(format!("--volume: {shown}: {}; make it below the root first", describe(errno)))
    })?;
    kernel
        .mounts
        .mount(fs, b"volume", &place, flags)
        .map_err(failed(&format!("cannot mount the volume at {shown}")))?;
    Ok(())
}

/// The console's terminal, named `/dev/pts/0`, as the caller's is set up, and a description of it for the standard
/// descriptors, which share it as those of a login shell do.
///
/// # Errors
/// `ENOENT` if the root has no `/dev`.
pub fn console(sandbox: &Sandbox, spec: &Spec, caller: &ConsoleSpec) -> Result<(Arc<Tty>, Arc<OpenFile>), Failure> {
    let kernel = &sandbox.kernel;
    let owner = Myself(Arc::new(Credentials::new(spec.uid, spec.gid, &spec.groups)));
    let open = || -> Result<_, Errno> {
        let tty = sandbox.terminals.new_pair(&owner)?;
        tty.set_locked(false);
        if let Some(settings) = caller.settings {
            tty.set_termios(&Termios2::pty_default().with_termios(&settings));
        }
        tty.set_winsize(caller.winsize());
        let context = FsContext::new(kernel.mounts.clone());
        let path = format!("/dev/pts/{}", tty.index());
        let me = myself();
        let cx = walk(kernel, &me, &context);
        let how = OpenHow { flags: OpenFlags::RDWR | OpenFlags::NOCTTY, ..OpenHow::default() };
        let file = ops::open(&cx, At::cwd(path.as_bytes()), how)?;
        // Where other runtimes show it too.
        let console = At::cwd(b"/dev/console");
        if ops::mknod(&cx, console, 0o600, 0).is_ok() {
            kernel.mounts.bind(file.path(), &cx.resolve(console, WalkFlags::empty())?, false)?;
        }
        Ok((tty, Arc::new(file)))
    };
    open().map_err(failed("cannot make a console (the root needs a directory /dev)"))
}

/// The memory devices, which are the same on every Linux, by their minor numbers.
const SAME_EVERYWHERE: [(u32, &str); 5] =
    [(3, "/dev/null"), (5, "/dev/zero"), (7, "/dev/full"), (8, "/dev/random"), (9, "/dev/urandom")];

/// The sandbox's own device in place of a donated one that is no different.
fn own_device(kernel: &Arc<Kernel>, fd: &OwnedFd) -> Option<OpenFile> {
    let stat = rustix::fs::fstat(fd).ok()?;
    if FileType::from_mode(stat.st_mode) != FileType::CharDevice || major(stat.st_rdev) != 1 {
        return None;
    }
    let (_, path) = SAME_EVERYWHERE.iter().find(|(number, _)| *number == minor(stat.st_rdev))?;
    let flags = OpenFlags::from_bits_retain(rustix::fs::fcntl_getfl(fd).ok()?.bits());
    let (caller, context) = (myself(), FsContext::new(kernel.mounts.clone()));
    let cx = walk(kernel, &caller, &context);
    let place = cx.resolve(At::cwd(path.as_bytes()), WalkFlags::FOLLOW).ok()?;
    let there = place.inode().attr().ok()?;
    let same = there.kind == FileType::CharDevice && there.rdev == makedev(1, minor(stat.st_rdev));
    (same && !flags.contains(OpenFlags::PATH))
        .then(|| ops::open(&cx, At::cwd(path.as_bytes()), OpenHow { flags, ..OpenHow::default() }).ok())?
}

/// A donated descriptor as what it is here: a device of the sandbox's, a socket, or a file of the host's.
fn take_over(
    kernel: &Arc<Kernel>,
    standard: Standard,
    reactor: &Arc<dyn vfs::reactor::Reactor>,
) -> Result<OpenFile, Errno> {
    let Standard { fd, name, facts } = standard;
    if let Some(device) = own_device(kernel, &fd) {
        return Ok(device);
    }
    let Some(facts) = facts else { return donate(fd, &name, reactor) };
    let nonblock = rustix::fs::fcntl_getfl(&fd).is_ok_and(|flags| flags.contains(rustix::fs::OFlags::NONBLOCK));
    Ok(SocketFile::open(Arc::new(HostSocket::new(fd, facts, reactor)), nonblock, &myself()))
}

/// The first process's descriptors.
///
/// # Errors
/// The host's.
pub fn descriptors(
    kernel: &Arc<Kernel>,
    spec: &Spec,
    standard: [Option<Standard>; 3],
    console: Option<&Arc<OpenFile>>,
    reactor: &Arc<Reactor>,
) -> Result<Arc<FdTable>, Failure> {
    let table = FdTable::new();
    let reactor: Arc<dyn vfs::reactor::Reactor> = reactor.clone();
    for (fd, (stdio, standard)) in (0..).zip(spec.stdio.iter().zip(standard)) {
        let file = match (stdio, standard, console) {
            (Stdio::Console, _, Some(console)) => console.clone(),
            // One that only names a place is good for nothing here.
            (_, Some(standard), _) => match take_over(kernel, standard, &reactor) {
                Ok(file) => Arc::new(file),
                Err(_) => continue,
            },
            _ => continue,
        };
        table.put(fd, file, false, u64::MAX).map_err(failed("cannot hand over the standard descriptors"))?;
    }
    Ok(table)
}
