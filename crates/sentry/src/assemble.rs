//! Putting the parts of a sandbox together: platform, memory, file systems, kernel.

use crate::entry::Donated;
use crate::isolate::Trees;
use crate::program::{Myself, describe, walk};
use crate::reactor::Reactor;
use crate::spec::{Spec, Strace};
use crate::{Failure, seccomp};
use abi::Errno;
use fs::dev::{Devices, FifoDriver};
use fs::hostfd::{WithDonated, donate};
use fs::hostfs::{HostFs, Sharing};
use fs::tmpfs::{Options, TmpFs};
use host::frames::FrameAllocator;
use host::memfile::{DEFAULT_SIZE, MemoryFile};
use kernel::{FdTable, FsContext, Kernel, Parts, Trace, Uts};
use rustix::fd::OwnedFd;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use vfs::{
    At, Caller, Credentials, Dentry, FileSystem, Mount, MountFlags, MountNamespace, OpenFile, OpenFlags, PathRef,
    WalkFlags,
};

fn failed(what: &str) -> impl Fn(Errno) -> Failure {
    move |errno| Failure::ours(format!("{what}: {}", describe(errno)))
}

/// Starts the platform, whose first process is a copy of this one: before all else that is made, and before the filter,
/// which it must not inherit.
///
/// # Errors
/// What the host lacks.
pub fn platform(maps: File, writable: bool) -> Result<Arc<systrap::Systrap>, Failure> {
    let platform = systrap::Systrap::with_maps(maps)
        .map_err(|error| Failure::ours(format!("this host can't run sandboxes: {error}")))?;
    seccomp::install(writable)?;
    Ok(Arc::new(platform))
}

fn tracing(spec: &Spec, log: Option<OwnedFd>, trace: Option<OwnedFd>) -> Trace {
    let boxed = |fd: OwnedFd| Box::new(File::from(fd)) as Box<dyn Write + Send>;
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

/// FIFOs, until there are pipes.
struct NoFifos;

impl FifoDriver for NoFifos {
    fn open(&self, _: &PathRef, _: OpenFlags, _: &dyn Caller) -> Result<OpenFile, Errno> {
        Err(Errno::ENXIO)
    }
}

/// The file system of the root.
fn root_fs(spec: &Spec, tree: OwnedFd) -> Result<Arc<dyn FileSystem>, Failure> {
    let sharing = if spec.writable { Sharing::Writable } else { Sharing::Exclusive };
    Ok(HostFs::new(tree, sharing).map_err(failed("cannot use the root directory"))?)
}

/// Makes the kernel and mounts everything.
///
/// # Errors
/// The host's.
pub fn kernel(
    spec: &Spec,
    platform: Arc<systrap::Systrap>,
    trees: Trees,
    log: Option<OwnedFd>,
    trace: Option<OwnedFd>,
) -> Result<Arc<Kernel>, Failure> {
    let file = MemoryFile::new(DEFAULT_SIZE).map_err(failed("cannot make the memory file"))?;
    let info = rustix::system::sysinfo();
    let frames = FrameAllocator::new(file, info.totalram.saturating_mul(u64::from(info.mem_unit)));
    let devices = Devices::new(&frames, Box::new(NoFifos));
    let root = root_fs(spec, trees.root)?;
    let root = Mount::new(root.clone(), Dentry::root(root.root()), b"none", MountFlags::empty());
    let kernel = Kernel::new(Parts {
        platform,
        frames: frames.clone(),
        dispatch: Box::new(syscalls::Table::default()),
        mounts: Arc::new(MountNamespace::new(root)),
        special: Arc::new(WithDonated(devices)),
        uts: Uts { hostname: spec.hostname.clone(), domainname: b"(none)".to_vec() },
        trace: tracing(spec, log, trace),
    });
    mount_own(&kernel, &frames)?;
    for (volume, tree) in spec.volumes.iter().zip(trees.volumes) {
        mount_volume(&kernel, &volume.target, volume.read_only, tree)?;
    }
    Ok(kernel)
}

/// The Sentry as the superuser of its sandbox.
fn myself() -> Myself {
    Myself(Arc::new(Credentials::new(0, 0, &[])))
}

fn place(kernel: &Arc<Kernel>, path: &[u8]) -> Result<PathRef, Errno> {
    let caller = myself();
    let context = FsContext::new(kernel.mounts.clone());
    walk(kernel, &caller, &context).resolve(At::cwd(path), WalkFlags::FOLLOW)
}

/// Mounts what every sandbox has of its own. A root that lacks a place for it goes without.
fn mount_own(kernel: &Arc<Kernel>, frames: &Arc<FrameAllocator>) -> Result<(), Failure> {
    let usual = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let dev = TmpFs::new(frames, Options { perm: 0o755, ..Options::limited(frames) });
    let dev = dev.map_err(failed("cannot make /dev"))?;
    fs::dev::populate(&dev.root(), &myself()).map_err(failed("cannot fill /dev"))?;
    mount(kernel, dev, b"devtmpfs", b"/dev", MountFlags::NOSUID);
    let shm = TmpFs::new(frames, Options::limited(frames)).map_err(failed("cannot make /dev/shm"))?;
    mount(kernel, shm, b"tmpfs", b"/dev/shm", usual - MountFlags::NOEXEC);
    Ok(())
}

fn mount(kernel: &Arc<Kernel>, fs: Arc<dyn FileSystem>, source: &[u8], path: &[u8], flags: MountFlags) {
    let mounted = place(kernel, path).and_then(|place| kernel.mounts.mount(fs, source, &place, flags));
    if let Err(errno) = mounted {
        kernel.trace.log(&format!("not mounted: {}: {}", String::from_utf8_lossy(path), describe(errno)));
    }
}

fn mount_volume(kernel: &Arc<Kernel>, path: &[u8], read_only: bool, tree: OwnedFd) -> Result<(), Failure> {
    let shown = String::from_utf8_lossy(path);
    let sharing = if read_only { Sharing::ReadOnly } else { Sharing::Writable };
    let fs = HostFs::new(tree, sharing).map_err(failed(&format!("cannot use the volume at {shown}")))?;
    let flags = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
    let place = place(kernel, path).map_err(|errno| {
        Failure::ours(format!("--volume: {shown}: {}; make it below the root first", describe(errno)))
    })?;
    kernel
        .mounts
        .mount(fs, b"volume", &place, flags)
        .map_err(failed(&format!("cannot mount the volume at {shown}")))?;
    Ok(())
}

/// The first process's descriptors.
///
/// # Errors
/// The host's.
pub fn descriptors(donated: &mut Donated, reactor: &Arc<Reactor>) -> Result<Arc<FdTable>, Failure> {
    let table = FdTable::new();
    let reactor: Arc<dyn fs::hostfd::Reactor> = reactor.clone();
    for ((fd, slot), name) in (0..).zip(&mut donated.stdio).zip(&donated.names) {
        let Some(host) = slot.take() else { continue };
        // One that only names a place is good for nothing here.
        let Ok(file) = donate(host, name, &reactor) else { continue };
        table.put(fd, Arc::new(file), false, u64::MAX).map_err(failed("cannot hand over the standard descriptors"))?;
    }
    Ok(table)
}
