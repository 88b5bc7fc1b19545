//! How the Sentry gives up what the host lets it have: its view of the file system, its capabilities, and its way back.
//!
//! Order matters: trees are opened while the host's paths can still be seen, the root is emptied while the namespace's
//! capabilities are still there, and those go before a thread is made that stays, since they belong to threads.

use crate::Failure;
use crate::spec::Spec;
use host::elsewhere::Thread;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, open, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, fchdir, getrlimit, pivot_root, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{CapabilitySet, CapabilitySets, LinkNameSpaceType, move_into_link_name_space};
use std::io;
use std::os::unix::ffi::OsStrExt;
use systrap::HostFiles;

/// The host directories that the guest sees, each a tree of mounts of its own.
pub struct Trees {
    /// The root.
    pub root: OwnedFd,
    /// The volumes, in the order of the specification.
    pub volumes: Vec<OwnedFd>,
    /// An empty directory that is mounted somewhere.
    empty: Option<OwnedFd>,
    /// The file system of the guests' memory.
    memory_mount: Option<OwnedFd>,
    /// An empty file in it, where huge pages can be had.
    pub memory: Option<OwnedFd>,
}

/// A network namespace that is being made. That takes half a millisecond, and so goes on beside everything else.
pub struct Network(Thread<io::Result<OwnedFd>>);

impl Network {
    /// Begins to make it.
    ///
    /// # Errors
    /// If there can be no thread, or there is no /proc.
    pub fn begin() -> Result<Network, Failure> {
        let proc = open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let proc = proc.map_err(|error| Failure::ours(format!("cannot open /proc: {error}")))?;
        let thread = Thread::spawn(64 << 10, move || host::confine::new_network(proc));
        thread.map(Network).map_err(|error| Failure::ours(format!("cannot make a thread: {error}")))
    }

    /// Waits for it and enters it.
    ///
    /// # Errors
    /// If the host has none to give.
    pub fn enter(self) -> Result<(), Failure> {
        let made = self.0.join().unwrap_or_else(|| Err(io::ErrorKind::Other.into()));
        let entered = made.and_then(|namespace| {
            let kind = Some(LinkNameSpaceType::Network);
            Ok(move_into_link_name_space(namespace.as_fd(), kind)?)
        });
        entered.map_err(|error| {
            Failure::ours(format!("cannot make a network namespace: {error}; raise the sysctl user.max_net_namespaces"))
        })
    }
}

fn tree(path: &[u8], read_only: bool) -> Result<OwnedFd, Failure> {
    let fail = |error: io::Error| {
        let shown = String::from_utf8_lossy(path);
        Failure::ours(format!("cannot open the directory {shown:?}: {error}"))
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, std::ffi::OsStr::from_bytes(path), flags).map_err(|e| fail(e.into()))?;
    host::confine::restrict_mounts(&tree, read_only).map_err(fail)?;
    Ok(tree)
}

/// What every sandbox has of its own. The host's must not even be there below it, where guests could get at it by
/// unmounting.
const OWN: [&str; 3] = ["proc", "sys", "dev"];

/// Mounts an empty directory over a mount point of the host's, a copy of `first` if that is one. Nobody else sees that:
/// the namespace is our own.
fn cover(root: &[u8], name: &str, first: &mut Option<OwnedFd>) -> io::Result<()> {
    let path = [root, b"/", name.as_bytes()].concat();
    let device = |path: &[u8]| rustix::fs::lstat(path).map(|stat| (stat.st_dev, stat.st_mode));
    match (device(root), device(&path)) {
        (Ok((outer, _)), Ok((inner, mode))) if outer != inner && rustix::fs::FileType::from_raw_mode(mode).is_dir() => {
        }
        _ => return Ok(()),
    }
    let directory = empty_directory(first.as_ref())?;
    move_mount(&directory, "", CWD, &*path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    first.get_or_insert(directory);
    Ok(())
}

/// A file system of one empty directory, which can't be written: `first` once more, which must be mounted, or a new
/// one.
fn empty_directory(first: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    if let Some(first) = first {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        return Ok(open_tree(first, "", flags)?);
    }
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "size", "4k")?;
    fsconfig_set_string(&fs, "mode", "0555")?;
    fsconfig_create(&fs)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// A file in a file system of its own that gives folios as large as fit into its files, and that. Nothing limits its size here: the
/// memory that guests may have is counted when it is given to them.
fn memory_file() -> io::Result<(OwnedFd, OwnedFd)> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "huge", "within_size")?;
    fsconfig_set_string(&fs, "size", "0")?;
    fsconfig_set_string(&fs, "mode", "0700")?;
    fsconfig_create(&fs)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok((openat(&mount, ".", flags, Mode::RUSR | Mode::WUSR)?, mount))
}

/// Opens what the specification names, with all that is mounted below, and what the platform wants of the host.
///
/// # Errors
/// With the directory's name.
pub fn open_trees(spec: &Spec) -> Result<(Trees, HostFiles), Failure> {
    let maps = open("/proc/self/maps", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| Failure::ours(format!("cannot read /proc/self/maps: {error}; is /proc mounted?")))?;
    let load = open("/proc/loadavg", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok();
    let mut empty = None;
    for name in OWN {
        cover(&spec.rootfs, name, &mut empty)
            .map_err(|error| Failure::ours(format!("cannot hide the host's /{name} from the sandbox: {error}")))?;
    }
    let (memory, memory_mount) = memory_file().ok().unzip();
    let trees = Trees {
        root: tree(&spec.rootfs, !spec.writable)?,
        volumes: spec.volumes.iter().map(|v| tree(&v.source, v.read_only)).collect::<Result<_, _>>()?,
        memory,
        memory_mount,
        empty,
    };
    Ok((trees, HostFiles { maps: maps.into(), load: load.map(Into::into) }))
}

/// Replaces the root by an empty file system that can't be written, and lets go of the old one.
///
/// # Errors
/// If the host refuses mounts in a user namespace.
pub fn empty_root(trees: &Trees) -> Result<(), Failure> {
    pivot(trees.empty.as_ref()).and_then(|()| attach(trees)).map_err(|error| {
        Failure::ours(format!(
            "cannot mount in a namespace of its own: {error}; a security module may forbid it \
             (kernel.apparmor_restrict_unprivileged_userns=1, for one)"
        ))
    })
}

fn pivot(empty: Option<&OwnedFd>) -> io::Result<()> {
    let root = empty_directory(empty)?;
    move_mount(&root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    fchdir(&root)?;
    // The old root ends up on top of the new one, and is then detached with everything below it.
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// Hangs the trees on top of the root, those of the host above. Whoever is in the root already does not see them,
/// except by `/..`, where there is nothing that the trees' descriptors do not give too. A tree that hangs nowhere is
/// taken apart when its last descriptor is closed, and the host waits for all its cores then, at the worst time: as the
/// network namespace goes. These go with the mount namespace.
fn attach(trees: &Trees) -> io::Result<()> {
    for tree in trees.memory_mount.iter().chain(&trees.volumes).chain([&trees.root]) {
        move_mount(tree, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    }
    Ok(())
}

/// Drops every capability for good, and whatever else could be used to get more.
///
/// # Errors
/// The host's.
pub fn drop_privileges() -> Result<(), Failure> {
    let drop = || -> io::Result<()> {
        rustix::thread::clear_ambient_capability_set()?;
        for capability in CapabilitySet::all().iter() {
            // Numbers that this host does not know are no capabilities here.
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, sets)?;
        rustix::thread::set_no_new_privs(true)?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        Ok(())
    };
    drop().map_err(|error| Failure::ours(format!("cannot drop capabilities: {error}")))
}

/// The limits that hold for all guests together, since the host sees only this process and its children. Each guest
/// process has its own in the sandbox. With the `ulimit` option that sets them.
const SHARED_LIMITS: [(Resource, &str); 6] = [
    (Resource::Nofile, "-n"),
    (Resource::Fsize, "-f"),
    (Resource::As, "-v"),
    (Resource::Data, "-d"),
    (Resource::Nproc, "-u"),
    (Resource::Cpu, "-t"),
];

/// A sandbox of a few processes needs that many descriptors.
const FEWEST_DESCRIPTORS: u64 = 128;

/// Lets the Sentry use as much as the host allows.
///
/// # Errors
/// If that is not enough for anything.
pub fn raise_limits() -> Result<(), Failure> {
    for (which, _) in SHARED_LIMITS {
        let limit = getrlimit(which);
        let _ = setrlimit(which, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    match getrlimit(Resource::Nofile).maximum {
        Some(few @ ..FEWEST_DESCRIPTORS) => Err(Failure::ours(format!("{few} descriptors are too few for a sandbox"))),
        _ => Ok(()),
    }
}

/// Makes the descriptor table large. It is soon shared with other threads and the stubs, and each time it grows then,
/// the opener waits for some 15 ms until no core can be using the old one.
pub fn enlarge_descriptor_table(any: &OwnedFd) {
    const SLOTS: u64 = 16 << 10;
    let slots = getrlimit(Resource::Nofile).current.map_or(SLOTS, |limit| limit.min(SLOTS));
    // One of the highest number is enough, and may be closed: tables never shrink.
    drop(i32::try_from(slots).map(|slots| rustix::io::fcntl_dupfd_cloexec(any, slots - 1)));
}

/// What to say of limits when something failed: those that are unusually low, or nothing.
#[must_use]
pub fn low_limits() -> String {
    const USUAL_DESCRIPTORS: u64 = 1024;
    let low = |(which, option): &(Resource, &str)| {
        let hard = getrlimit(*which).maximum?;
        (*which != Resource::Nofile || hard < USUAL_DESCRIPTORS).then(|| format!("ulimit {option}"))
    };
    // The number of processes is always limited.
    let low: Vec<_> = SHARED_LIMITS.iter().filter(|(which, _)| *which != Resource::Nproc).filter_map(low).collect();
    if low.is_empty() { low.concat() } else { format!("; the caller's hard limits may be too low: {}", low.join(", ")) }
}
