//! Open terminals: a description of a master, of a slave, and what `/dev/tty` and its kin open.
//!
//! Every open makes a new description of its own, whose flags, owner and access mode nobody else sees.

use super::DevPts;
use super::nodes::{Directory, Multiplexer, SlaveNode};
use crate::dev::CharDriver;
use abi::Errno;
use host::io::{Sink, Source};
use kernel::CurrentTask;
use kernel::tty::{Opener, PTS_MAJOR, SlaveLife, Tty};
use ldisc::Side;
use std::any::Any;
use std::sync::Arc;
use vfs::wait::{Events, WaitQueue};
use vfs::{At, Caller, Capability, FileOps, IoCx, IoError, OpenFile, OpenFlags, OwnerKind, PathRef, WalkFlags};

/// A master.
pub struct MasterFile {
    tty: Arc<Tty>,
    fs: Arc<DevPts>,
}

pub(super) fn open_master(
    fs: &Arc<DevPts>,
    at: &PathRef,
    flags: OpenFlags,
    caller: &dyn Caller,
) -> Result<OpenFile, Errno> {
    let tty = fs.new_pair(caller)?;
    Ok(OpenFile::new(at.clone(), flags, Box::new(MasterFile { tty, fs: fs.clone() })))
}

/// For ioctls that are not on a master.
struct NoPeer;

impl Opener for NoPeer {
    fn open_peer(&self, _task: &CurrentTask, _flags: OpenFlags) -> Result<i32, Errno> {
        Err(Errno::ENOTTY)
    }
}

/// Opens the slave by its name in the master's own mount.
struct Peer<'a> {
    tty: &'a Arc<Tty>,
    master: &'a OpenFile,
}

impl Peer<'_> {
    /// The slave's name.
    fn place(&self, task: &CurrentTask) -> Result<PathRef, Errno> {
        let master = self.master.path();
        let inside = master.inode().as_any().is::<Multiplexer>();
        let name = self.tty.index();
        beside(task, master, &if inside { name.to_string() } else { format!("pts/{name}") })
    }
}

/// What is at a path from the directory of a `ptmx`.
fn beside(task: &CurrentTask, ptmx: &PathRef, path: &str) -> Result<PathRef, Errno> {
    let dentry = ptmx.dentry.parent().ok_or(Errno::ENODEV)?;
    let start = PathRef { dentry, mount: ptmx.mount.clone() };
    task.walk_cx().resolve(At { start: Some(&start), path: path.as_bytes() }, WalkFlags::empty())
}

/// The instance that a `ptmx` outside of devpts, as in /dev, is for: the one mounted at `pts` beside it.
fn instance_beside(task: &CurrentTask, ptmx: &PathRef) -> Result<Arc<DevPts>, Errno> {
    let pts = beside(task, ptmx, "pts")?;
    let root: Option<&Directory> = pts.inode().as_any().downcast_ref();
    root.and_then(Directory::instance).ok_or(Errno::ENODEV)
}

impl Opener for Peer<'_> {
    fn open_peer(&self, task: &CurrentTask, flags: OpenFlags) -> Result<i32, Errno> {
        let place = self.place(task)?;
        // The node's permission bits are not asked for: the master is right enough. Nor is this open(2), which would add
        // `O_LARGEFILE` and forget `O_CLOEXEC`.
        let file = if flags.contains(OpenFlags::PATH) {
            vfs::ops::open_path(place, OpenFlags::PATH)
        } else {
            SlaveFile::open(self.tty, &place, flags, task)?
        };
        file.add_flags(flags & OpenFlags::CLOEXEC);
        let limit = task.group.limit(abi::raw::general::RLIMIT_NOFILE);
        task.fds().add(Arc::new(file), flags.contains(OpenFlags::CLOEXEC), 0, limit)
    }
}

impl MasterFile {
    /// A master has no foreground group of its own: whoever asks for `SIGIO` gets it.
    fn default_owner_of(&self, caller: &dyn Caller) -> OwnerKind {
        OwnerKind::Process(caller.tgid())
    }
}

impl FileOps for MasterFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, io: &IoCx<'_>, dst: &mut dyn Sink) -> Result<usize, IoError> {
        self.tty.read_master(Some(io), dst)
    }

    fn write(&self, io: &IoCx<'_>, src: &mut dyn Source) -> Result<usize, IoError> {
        self.tty.write_master(io.nonblock, src)
    }

    fn ioctl(&self, file: &OpenFile, caller: &dyn Caller, cmd: u32, arg: u64) -> Result<u64, IoError> {
        if self.tty.is_master_dead() {
            return Err(if cmd == abi::raw::ioctl::TIOCSPGRP { Errno::ENOTTY } else { Errno::EIO }.into());
        }
        let peer = Peer { tty: &self.tty, master: file };
        self.tty.ioctl(Side::Master, file, caller, cmd, arg, &peer)
    }

    fn readiness(&self) -> Events {
        self.tty.readiness(Side::Master, None)
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(self.tty.queue(Side::Master))
    }

    fn default_owner(&self, caller: &dyn Caller) -> Option<OwnerKind> {
        Some(self.default_owner_of(caller))
    }

    fn check_async(&self) -> Result<(), Errno> {
        if self.tty.is_master_dead() { Err(Errno::ENOTTY) } else { Ok(()) }
    }

    fn release(&self, _flags: OpenFlags) {
        self.fs.remove(&self.tty);
        self.tty.master_released();
    }

    fn fdinfo(&self) -> String {
        format!("tty-index:\t{}\n", self.tty.index())
    }
}

/// A slave, reached by its name or as somebody's controlling terminal.
pub struct SlaveFile {
    tty: Arc<Tty>,
    life: SlaveLife,
}

impl SlaveFile {
    /// Opens a slave; `at` is the name it was reached by.
    ///
    /// # Errors
    /// `EIO` if it is locked or dead, `EBUSY`.
    pub fn open(tty: &Arc<Tty>, at: &PathRef, flags: OpenFlags, caller: &dyn Caller) -> Result<OpenFile, Errno> {
        let life = tty.open_slave(caller.creds().capable(Capability::SysAdmin))?;
        let file = OpenFile::new(at.clone(), flags, Box::new(SlaveFile { tty: tty.clone(), life }));
        if let Some(task) = caller.as_any().downcast_ref::<CurrentTask>() {
            tty.opened(task, flags);
        }
        Ok(file)
    }

    /// `tty_fasync`: the foreground group, or whoever asks where there is none.
    fn default_owner_of(&self, caller: &dyn Caller) -> OwnerKind {
        self.tty.control().1.map_or(OwnerKind::Process(caller.tgid()), OwnerKind::Group)
    }

    /// The terminal.
    #[must_use]
    pub fn tty(&self) -> &Arc<Tty> {
        &self.tty
    }
}

impl FileOps for SlaveFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, io: &IoCx<'_>, dst: &mut dyn Sink) -> Result<usize, IoError> {
        self.tty.read_slave(self.life, io, dst)
    }

    fn write(&self, io: &IoCx<'_>, src: &mut dyn Source) -> Result<usize, IoError> {
        self.tty.write_slave(self.life, io, src)
    }

    fn ioctl(&self, file: &OpenFile, caller: &dyn Caller, cmd: u32, arg: u64) -> Result<u64, IoError> {
        if self.tty.is_dead(self.life) {
            // hung_up_tty_ioctl
            return Err(if cmd == abi::raw::ioctl::TIOCSPGRP { Errno::ENOTTY } else { Errno::EIO }.into());
        }
        self.tty.ioctl(Side::Slave, file, caller, cmd, arg, &NoPeer)
    }

    fn readiness(&self) -> Events {
        self.tty.readiness(Side::Slave, Some(self.life))
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(self.tty.queue(Side::Slave))
    }

    fn default_owner(&self, caller: &dyn Caller) -> Option<OwnerKind> {
        Some(self.default_owner_of(caller))
    }

    fn check_async(&self) -> Result<(), Errno> {
        if self.tty.is_dead(self.life) { Err(Errno::ENOTTY) } else { Ok(()) }
    }

    fn release(&self, _flags: OpenFlags) {
        self.tty.slave_released();
    }
}

/// The drivers of `/dev/tty` (5:0), `/dev/ptmx` (5:2) and of the slaves (136).
pub struct TerminalDevices;

impl CharDriver for TerminalDevices {
    fn open(
        &self,
        major: u32,
        minor: u32,
        at: &PathRef,
        flags: OpenFlags,
        caller: &dyn Caller,
    ) -> Result<OpenFile, Errno> {
        match (major, minor) {
            (5, 0) => {
                let task: &CurrentTask = caller.as_any().downcast_ref().ok_or(Errno::ENXIO)?;
                let tty = task.kernel.tree.lock().tty_of(task.group.tgid).ok_or(Errno::ENXIO)?;
                SlaveFile::open(&tty, at, flags | OpenFlags::NOCTTY, caller)
            }
            (5, 2) => {
                if at.inode().as_any().is::<Multiplexer>() {
                    return at.inode().open(at, flags, caller);
                }
                let task: &CurrentTask = caller.as_any().downcast_ref().ok_or(Errno::ENXIO)?;
                open_master(&instance_beside(task, at)?, at, flags, caller)
            }
            (PTS_MAJOR, _) if at.inode().as_any().is::<SlaveNode>() => at.inode().open(at, flags, caller),
            // A node of a terminal's number elsewhere is nobody's.
            (PTS_MAJOR, _) => Err(Errno::EIO),
            _ => Err(Errno::ENXIO),
        }
    }
}
