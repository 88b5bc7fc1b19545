//! Open directories of the host: listed with the host's own positions, many entries a call.

use super::HostNode;
use super::calls;
use abi::Errno;
use host::io::Sink;
use lock::{Mutex, rank};
use rustix::fs::{FileType as HostType, RawDir, SeekFrom};
use std::any::Any;
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use vfs::{DirEmit, FileOps, FileType, IoCx, IoError};

/// Bytes of entries asked for at once.
const BATCH: usize = 32 << 10;

struct Entry {
    name: Box<[u8]>,
    ino: u64,
    kind: FileType,
    next: u64,
}

struct State {
    /// The position of the next entry in `ahead`, or of the host's descriptor if that is empty.
    pos: u64,
    ahead: VecDeque<Entry>,
}

/// An open directory.
pub(super) struct HostDir {
    node: Arc<HostNode>,
    fd: OwnedFd,
    state: Mutex<State>,
}

impl HostDir {
    pub(super) fn new(node: Arc<HostNode>) -> Result<HostDir, Errno> {
        let fd = node.list_fd()?;
        let state = State { pos: 0, ahead: VecDeque::new() };
        Ok(HostDir { node, fd, state: Mutex::new(rank::FILE_OBJECT, state) })
    }

    /// Reads the next batch from the host.
    fn fill(&self, ahead: &mut VecDeque<Entry>) -> Result<(), Errno> {
        let mut buffer = vec![MaybeUninit::uninit(); BATCH];
        let mut batch = RawDir::new(&self.fd, &mut buffer);
        while let Some(entry) = batch.next() {
            let entry = entry.map_err(calls::errno)?;
            let name: Box<[u8]> = entry.file_name().to_bytes().into();
            let (ino, next) = (entry.ino(), entry.next_entry_cookie());
            let kind = match entry.file_type() {
                HostType::Unknown => self.kind_of(&name),
                known => calls::kind(known),
            };
            ahead.push_back(Entry { name, ino, kind, next });
            if batch.is_buffer_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Some file systems don't tell the types of entries.
    fn kind_of(&self, name: &[u8]) -> FileType {
        match name {
            b"." | b".." => FileType::Directory,
            _ => calls::stat_at(&self.fd, name)
                .map_or(FileType::Anonymous, |stat| calls::kind(HostType::from_raw_mode(u32::from(stat.stx_mode)))),
        }
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
            state.ahead.clear();
            rustix::fs::seek(&self.fd, SeekFrom::Start(pos)).map_err(calls::errno)?;
            state.pos = pos;
        }
        loop {
            if state.ahead.is_empty() {
                self.fill(&mut state.ahead)?;
                if state.ahead.is_empty() {
                    return Ok(state.pos);
                }
            }
            while let Some(entry) = state.ahead.front() {
                // What lies above the tree's root is nobody's business.
                let hidden = &*entry.name == b".." && self.node.is_root();
                let ino = if hidden { self.node.key.ino } else { entry.ino };
                let next = entry.next;
                if !emit(&entry.name, ino, entry.kind, next) {
                    return Ok(state.pos);
                }
                state.pos = next;
                state.ahead.pop_front();
            }
        }
    }

    fn sync(&self, _: bool) -> Result<(), Errno> {
        if self.node.shared.check_writable().is_err() {
            return Ok(());
        }
        rustix::fs::fsync(&self.fd).map_err(calls::errno)
    }
}
