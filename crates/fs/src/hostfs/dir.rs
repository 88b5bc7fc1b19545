//! Open directories of the host: listed with the host's own positions, many entries a call.

use super::HostNode;
use super::calls;
use super::listed::Names;
use abi::Errno;
use host::dirents::{self, Entry};
use host::io::Sink;
use lock::{Mutex, rank};
use rustix::fs::SeekFrom;
use std::any::Any;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use vfs::{DirEmit, FileOps, FileType, IoCx, IoError};

/// Bytes of entries asked for at first, as most directories are small, and of one that is not.
const FIRST: usize = 4 << 10;
const BATCH: usize = 32 << 10;
/// No entry is longer.
const ENTRY_MAX: usize = 280;

struct State {
    /// The position of the next entry in `ahead`, or of the host's descriptor if none is left there.
    pos: u64,
    /// Whether the host's descriptor was read from.
    moved: bool,
    /// Entries that were read, as the host gives them.
    ahead: Vec<u8>,
    /// Those of its bytes that were not handed on yet.
    left: Range<usize>,
    /// The regular files among what was handed on since the start.
    files: Names,
    /// Whether there were directories among it.
    directories: bool,
}

/// An open directory.
pub(super) struct HostDir {
    node: Arc<HostNode>,
    fd: Arc<OwnedFd>,
    state: Mutex<State>,
}

impl HostDir {
    pub(super) fn new(node: Arc<HostNode>) -> Result<HostDir, Errno> {
        let fd = Arc::new(node.list_fd()?);
        let (ahead, files) = (Vec::new(), Names::default());
        let state = State { pos: 0, moved: false, ahead, left: 0..0, files, directories: false };
        Ok(HostDir { node, fd, state: Mutex::new(rank::FILE_OBJECT, state) })
    }

    /// Goes to a position of the host's.
    fn seek(&self, state: &mut State, pos: u64) -> Result<(), Errno> {
        state.left = 0..0;
        if state.moved || pos != 0 {
            rustix::fs::seek(&self.fd, SeekFrom::Start(pos)).map_err(calls::errno)?;
        }
        state.pos = pos;
        state.files = Names::default();
        state.directories = false;
        Ok(())
    }

    /// Reads the next batch from the host. Returns whether there is one.
    fn fill(&self, state: &mut State) -> Result<bool, Errno> {
        state.moved = true;
        let was_full = state.left.end + ENTRY_MAX > state.ahead.len();
        let size = if state.ahead.is_empty() { FIRST } else { BATCH };
        if was_full {
            state.ahead.resize(size, 0);
        }
        let len = dirents::read(self.fd.as_fd(), &mut state.ahead)?;
        state.left = 0..len;
        if len == 0 {
            state.ahead = Vec::new();
            let files = std::mem::take(&mut state.files);
            self.node.was_listed(files, state.directories.then_some(&self.fd));
        }
        Ok(len != 0)
    }

    /// What an entry is. Some file systems don't tell.
    fn kind_of(&self, entry: &Entry<'_>) -> FileType {
        match (entry.kind, entry.name) {
            (0, b"." | b"..") => FileType::Directory,
            (0, name) => calls::stat_at(&self.fd, name)
                .map_or(FileType::Anonymous, |stat| FileType::from_mode(u32::from(stat.stx_mode))),
            (kind, _) => FileType::from_mode(u32::from(kind) << 12),
        }
    }

    /// Hands on what was read, until `emit` declines; whether it did.
    fn hand_on(&self, state: &mut State, emit: &mut DirEmit<'_>) -> Result<bool, Errno> {
        while let Some(bytes) = state.ahead.get(state.left.clone()).filter(|bytes| !bytes.is_empty()) {
            let (entry, len) = dirents::first(bytes).ok_or(Errno::EIO)?;
            let kind = self.kind_of(&entry);
            // What lies above the tree's root is nobody's business.
            let hidden = entry.name == b".." && self.node.is_root();
            let ino = if hidden { self.node.key.ino } else { entry.ino };
            if !emit(entry.name, ino, kind, entry.next) {
                return Ok(true);
            }
            match kind {
                FileType::Regular => state.files.push(entry.name),
                FileType::Directory => state.directories |= entry.name != b"." && entry.name != b"..",
                _ => {}
            }
            state.pos = entry.next;
            state.left.start += len;
        }
        Ok(false)
    }
}

impl FileOps for HostDir {
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
        let mut state = self.state.lock();
        // A listing from the start must show what is there now.
        if state.pos != pos || pos == 0 {
            self.seek(&mut state, pos)?;
        }
        while !self.hand_on(&mut state, emit)? && self.fill(&mut state)? {}
        Ok(state.pos)
    }

    fn sync(&self, _: bool) -> Result<(), Errno> {
        if self.node.shared.check_writable().is_err() {
            return Ok(());
        }
        rustix::fs::fsync(&self.fd).map_err(calls::errno)
    }
}
