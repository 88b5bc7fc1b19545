//! Programs that run: nobody may write to their files (`ETXTBSY`).

use crate::{Inode, PathRef};
use abi::Errno;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// Who writes to an inode or keeps others from it (`i_writecount`): descriptions count up, running programs down.
#[derive(Default)]
pub struct WriteCount(AtomicI32);

impl WriteCount {
    /// Whether it may be written to.
    ///
    /// # Errors
    /// `ETXTBSY` while it runs.
    pub(crate) fn check(&self) -> Result<(), Errno> {
        if self.0.load(Ordering::SeqCst) < 0 { Err(Errno::ETXTBSY) } else { Ok(()) }
    }

    /// Counts a description that may write, [`WriteCount::check`] having been passed.
    pub(crate) fn add_writer(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn remove_writer(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether it may run.
    ///
    /// # Errors
    /// `ETXTBSY` while somebody has it open for writing.
    pub(crate) fn check_run(&self) -> Result<(), Errno> {
        if self.0.load(Ordering::SeqCst) > 0 { Err(Errno::ETXTBSY) } else { Ok(()) }
    }

    fn deny(&self) -> Result<(), Errno> {
        let run = |count: i32| if count > 0 { None } else { count.checked_sub(1) };
        match self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, run) {
            Ok(_) => Ok(()),
            Err(_) => Err(Errno::ETXTBSY),
        }
    }

    fn allow(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Denial(Arc<dyn Inode>);

impl Drop for Denial {
    fn drop(&mut self) {
        self.0.common().writers.allow();
    }
}

/// A program that runs; the last copy lets its file be written to again.
#[derive(Clone)]
pub struct Executable {
    place: PathRef,
    _denial: Arc<Denial>,
}

impl Executable {
    /// Runs what is at `place`.
    ///
    /// # Errors
    /// `ETXTBSY` if somebody has it open for writing.
    pub fn new(place: PathRef) -> Result<Executable, Errno> {
        let inode = place.inode().clone();
        inode.common().writers.deny()?;
        Ok(Executable { place, _denial: Arc::new(Denial(inode)) })
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &PathRef {
        &self.place
    }
}
