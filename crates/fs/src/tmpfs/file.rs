//! Open files and directories of tmpfs.

use super::{Node, Shared};
use abi::Errno;
use abi::raw::general as c;
use host::io::{Sink, Source};
use host::mappable::Mappable;
use std::any::Any;
use std::sync::Arc;
use vfs::{
    Caller, Capability, Credentials, DirEmit, FileOps, IoCx, IoError, Mount, MountFlags, OpenFlags, WriteAt, Written,
};

/// Whether reads by this description stamp the access time.
pub(super) struct Atime {
    mount: Arc<Mount>,
    off: bool,
}

impl Atime {
    pub(super) fn new(mount: &Arc<Mount>, flags: OpenFlags) -> Atime {
        Atime { mount: mount.clone(), off: flags.contains(OpenFlags::NOATIME) }
    }

    fn touch(&self, node: &Node) {
        let off = MountFlags::NOATIME | MountFlags::RDONLY;
        if !self.off && !self.mount.flags().intersects(off) {
            node.touch_atime();
        }
    }
}

/// An open regular file. `fcntl` finds [`TmpFile::seals`] and [`TmpFile::add_seals`] by downcast.
pub struct TmpFile {
    node: Arc<Node>,
    atime: Atime,
}

impl TmpFile {
    pub(super) fn new(node: Arc<Node>, atime: Atime) -> TmpFile {
        TmpFile { node, atime }
    }

    /// `F_GET_SEALS`.
    #[must_use]
    pub fn seals(&self) -> u32 {
        self.node.data().map_or(0, |data| data.seals.get())
    }

    /// `F_ADD_SEALS`; the caller has checked that the description is writable.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`, `EBUSY`.
    pub fn add_seals(&self, seals: u32) -> Result<(), Errno> {
        let perm = self.node.perm();
        self.node.data().ok_or(Errno::EINVAL)?.add_seals(seals, perm)
    }

    fn parts(&self) -> Result<(&super::data::Data, &Shared), Errno> {
        Ok((self.node.data().ok_or(Errno::EINVAL)?, self.node.shared()))
    }
}

/// Whether a write takes set-user-id and set-group-id bits away.
fn strips_privileges(creds: &Credentials) -> bool {
    !creds.capable(Capability::Fsetid)
}

impl FileOps for TmpFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_at(&self, _: &IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> Result<usize, IoError> {
        let (data, shared) = self.parts()?;
        let done = data.read(shared, offset, dst)?;
        self.atime.touch(&self.node);
        Ok(done)
    }

    fn write_at(&self, io: &IoCx<'_>, at: WriteAt, src: &mut dyn Source) -> Result<Written, IoError> {
        let (data, shared) = self.parts()?;
        let written = data.write(shared, at, src, io.caller.file_size_limit())?;
        if written.len > 0 {
            let may_strip = self.node.perm() & (c::S_ISUID | c::S_ISGID) != 0;
            self.node.written(may_strip && strips_privileges(&io.caller.creds()));
        }
        Ok(written)
    }

    fn seek_data_hole(&self, offset: u64, hole: bool) -> Result<u64, Errno> {
        self.parts()?.0.seek(offset, hole)
    }

    fn mappable(&self) -> Result<Arc<dyn Mappable>, Errno> {
        Ok(self.node.clone())
    }

    fn fallocate(&self, caller: &dyn Caller, mode: u32, offset: u64, len: u64) -> Result<(), Errno> {
        let (data, shared) = self.parts()?;
        let end = offset.checked_add(len).filter(|end| *end <= super::data::SIZE_MAX).ok_or(Errno::EFBIG)?;
        match mode {
            0 | c::FALLOC_FL_KEEP_SIZE => {
                let keep = mode == c::FALLOC_FL_KEEP_SIZE;
                if !keep && end > data.size() && end > caller.file_size_limit() {
                    return Err(Errno::EFBIG);
                }
                data.reserve(shared, offset..end, (!keep).then_some(end))?;
            }
            _ if mode == c::FALLOC_FL_PUNCH_HOLE | c::FALLOC_FL_KEEP_SIZE => data.punch(shared, offset..end)?,
            _ => return Err(Errno::EOPNOTSUPP),
        }
        let may_strip = self.node.perm() & (c::S_ISUID | c::S_ISGID) != 0;
        self.node.written(may_strip && strips_privileges(&caller.creds()));
        Ok(())
    }

    fn sync(&self, _: bool) -> Result<(), Errno> {
        Ok(())
    }

    fn check_flags(&self, _: OpenFlags) -> Result<(), Errno> {
        Ok(())
    }
}

/// An open directory.
pub(super) struct TmpDir {
    node: Arc<Node>,
    atime: Atime,
}

impl TmpDir {
    pub(super) fn new(node: Arc<Node>, atime: Atime) -> TmpDir {
        TmpDir { node, atime }
    }
}

impl FileOps for TmpDir {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_at(&self, _: &IoCx<'_>, _: u64, _: &mut dyn Sink) -> Result<usize, IoError> {
        Err(Errno::EISDIR.into())
    }

    fn read_dir(&self, _: &IoCx<'_>, pos: u64, emit: &mut DirEmit<'_>) -> Result<u64, Errno> {
        let entries = self.node.entries().ok_or(Errno::ENOTDIR)?;
        let pos = entries.lock().list(self.node.ino(), pos, emit)?;
        self.atime.touch(&self.node);
        Ok(pos)
    }

    fn sync(&self, _: bool) -> Result<(), Errno> {
        Ok(())
    }
}
