//! Open directories of the host: listed with the host's own positions, many entries a call.

use super::HostNode;
use super::calls;
use super::listed::Names;
use abi::Errno;
use host::io::Sink;
use lock::{Mutex, rank};
use rustix::fs::{FileType as HostType, RawDir, SeekFrom};
use std::any::Any;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use vfs::{DirEmit, FileOps, FileType, IoCx, IoError};

/// Bytes of entries asked for at once.
const BATCH: usize = 32 << 10;

struct Entry {
    name: Range<usize>,
    ino: u64,
    kind: FileType,
    next: u64,
}

/// Entries that were read and not handed on yet.
#[derive(Default)]
struct Ahead {
    /// What the host writes to.
    buffer: Vec<MaybeUninit<u8>>,
    entries: Vec<Entry>,
    /// Their names, one after the other.
    names: Vec<u8>,
    /// The first entry that was not handed on.
    first: usize,
}

impl Ahead {
    fn clear(&mut self) {
        self.entries.clear();
        self.names.clear();
        self.first = 0;
    }

    fn push(&mut self, name: &[u8], ino: u64, kind: FileType, next: u64) {
        let start = self.names.len();
        self.names.extend_from_slice(name);
        self.entries.push(Entry { name: start..self.names.len(), ino, kind, next });
    }

    fn first(&self) -> Option<(&Entry, &[u8])> {
        let entry = self.entries.get(self.first)?;
        Some((entry, self.names.get(entry.name.clone())?))
    }
}

struct State {
    /// The position of the next entry in `ahead`, or of the host's descriptor if that is empty.
    pos: u64,
    /// Whether the host's descriptor was read from.
    moved: bool,
    ahead: Ahead,
    /// The regular files among what was read since the start.
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
        let (ahead, files) = (Ahead::default(), Names::default());
        let state = State { pos: 0, moved: false, ahead, files, directories: false };
        Ok(HostDir { node, fd, state: Mutex::new(rank::FILE_OBJECT, state) })
    }

    /// Goes to a position of the host's.
    fn seek(&self, state: &mut State, pos: u64) -> Result<(), Errno> {
        state.ahead.clear();
        if state.moved || pos != 0 {
            rustix::fs::seek(&self.fd, SeekFrom::Start(pos)).map_err(calls::errno)?;
        }
        state.pos = pos;
        state.files = Names::default();
        state.directories = false;
        Ok(())
    }

    /// Reads the next batch from the host. There is none at the end.
    fn fill(&self, state: &mut State) -> Result<(), Errno> {
        state.moved = true;
        state.ahead.clear();
        let mut buffer = std::mem::take(&mut state.ahead.buffer);
        buffer.resize(BATCH, MaybeUninit::uninit());
        let mut batch = RawDir::new(&self.fd, &mut buffer);
        while let Some(entry) = batch.next() {
            let entry = entry.map_err(calls::errno)?;
            let name = entry.file_name().to_bytes();
            let kind = match entry.file_type() {
                HostType::Unknown => self.kind_of(name),
                known => calls::kind(known),
            };
            match kind {
                FileType::Regular => state.files.push(name),
                FileType::Directory => state.directories |= name != b"." && name != b"..",
                _ => {}
            }
            state.ahead.push(name, entry.ino(), kind, entry.next_entry_cookie());
            if batch.is_buffer_empty() {
                state.ahead.buffer = buffer;
                return Ok(());
            }
        }
        let files = std::mem::take(&mut state.files);
        self.node.was_listed(files, state.directories.then_some(&self.fd));
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
            self.seek(&mut state, pos)?;
        }
        loop {
            if state.ahead.first().is_none() {
                self.fill(&mut state)?;
                if state.ahead.first().is_none() {
                    return Ok(state.pos);
                }
            }
            while let Some((entry, name)) = state.ahead.first() {
                // What lies above the tree's root is nobody's business.
                let hidden = name == b".." && self.node.is_root();
                let ino = if hidden { self.node.key.ino } else { entry.ino };
                let next = entry.next;
                if !emit(name, ino, entry.kind, next) {
                    return Ok(state.pos);
                }
                state.pos = next;
                state.ahead.first += 1;
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
