//! Links from a process's directory to places (`cwd`, `exe`, `ns/mnt`), for those who may inspect the process.

use super::target::{Target, View};
use crate::synth::Body;
use abi::Errno;
use vfs::{Caller, FileType, Link, PathRef};

/// A link to the place that a function finds.
pub(super) struct PlaceLink<F> {
    pub target: Target,
    pub place: F,
}

impl<F> Body for PlaceLink<F>
where
    F: Fn(&View) -> Result<PathRef, Errno> + Send + Sync + 'static,
{
    fn kind(&self) -> FileType {
        FileType::Symlink
    }

    fn perm(&self) -> u32 {
        0o777
    }

    fn owner(&self) -> (u32, u32) {
        self.target.owner(false)
    }

    fn alive(&self) -> bool {
        self.target.alive()
    }

    fn link(&self, caller: &dyn Caller) -> Result<Link, Errno> {
        self.target.check_access(caller)?;
        Ok(Link::Jump((self.place)(&self.target.view()?)?))
    }
}
