//! Regular files that were opened for reading before they were copied up.

use super::Node;
use abi::Errno;
use host::io::Sink;
use host::mappable::Mappable;
use std::any::Any;
use std::sync::{Arc, OnceLock};
use vfs::{FileOps, IoCx, IoError, OpenFile, OpenFlags};

/// Reads the lower file for as long as there is no copy. Mappings that were made of it stay on it, as on Linux.
pub(super) struct OverlayFile {
    node: Arc<Node>,
    lower: OpenFile,
    upper: OnceLock<OpenFile>,
}

impl OverlayFile {
    pub(super) fn new(node: Arc<Node>, lower: OpenFile) -> OverlayFile {
        OverlayFile { node, lower, upper: OnceLock::new() }
    }

    /// The file to use now.
    fn now(&self) -> Result<&dyn FileOps, Errno> {
        if let Some(upper) = self.upper.get() {
            return Ok(upper.ops());
        }
        let Some(copy) = self.node.upper.get() else { return Ok(self.lower.ops()) };
        let file = self.node.shared.open(copy, true, OpenFlags::empty())?;
        Ok(self.upper.get_or_init(|| file).ops())
    }
}

impl FileOps for OverlayFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_at(&self, io: &IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> Result<usize, IoError> {
        self.now()?.read_at(io, offset, dst)
    }

    fn seek_data_hole(&self, offset: u64, hole: bool) -> Result<u64, Errno> {
        self.now()?.seek_data_hole(offset, hole)
    }

    fn mappable(&self) -> Result<Arc<dyn Mappable>, Errno> {
        self.now()?.mappable()
    }

    fn sync(&self, _: bool) -> Result<(), Errno> {
        Ok(())
    }

    fn check_flags(&self, _: OpenFlags) -> Result<(), Errno> {
        Ok(())
    }
}
