//! Character devices: the registry by device number, the memory devices, and the nodes of `/dev`.
//!
//! [`Devices`] is what the VFS asks when a device node or a FIFO is opened. Drivers of other modules (terminals) are
//! registered by whoever assembles the sandbox.

mod mem;
mod nodes;

pub use nodes::populate;

use abi::Errno;
use host::frames::FrameAllocator;
use lock::{Mutex, rank};
use std::collections::BTreeMap;
use std::sync::Arc;
use vfs::{Caller, OpenFile, OpenFlags, PathRef, SpecialFiles};

/// Opens devices of one or more major numbers.
pub trait CharDriver: Send + Sync {
    /// A new description of the device with these numbers, reached by `at`.
    ///
    /// # Errors
    /// `ENXIO` if there is no such device.
    fn open(
        &self,
        major: u32,
        minor: u32,
        at: &PathRef,
        flags: OpenFlags,
        caller: &dyn Caller,
    ) -> Result<OpenFile, Errno>;
}

/// Opens FIFOs.
pub trait FifoDriver: Send + Sync {
    /// A new description of the FIFO at `at`.
    ///
    /// # Errors
    /// `ENXIO` for a writer that will not wait and finds no reader.
    fn open(&self, at: &PathRef, flags: OpenFlags, caller: &dyn Caller) -> Result<OpenFile, Errno>;
}

/// The devices of a sandbox.
pub struct Devices {
    drivers: Mutex<BTreeMap<u32, Arc<dyn CharDriver>>>,
    fifos: Box<dyn FifoDriver>,
}

impl Devices {
    /// With the memory devices.
    #[must_use]
    pub fn new(frames: &Arc<FrameAllocator>, fifos: Box<dyn FifoDriver>) -> Arc<Devices> {
        let devices = Devices { drivers: Mutex::new(rank::LEAF, BTreeMap::new()), fifos };
        devices.register(mem::MAJOR, Arc::new(mem::MemoryDevices(frames.clone())));
        Arc::new(devices)
    }

    /// Adds the driver of a major number, in place of the one before.
    pub fn register(&self, major: u32, driver: Arc<dyn CharDriver>) {
        self.drivers.lock().insert(major, driver);
    }
}

/// The parts of a device number as `stat` returns it.
fn split(rdev: u64) -> (u32, u32) {
    let major = (rdev >> 8 & 0xfff) as u32;
    let minor = (rdev & 0xff | rdev >> 12 & 0xf_ff00) as u32;
    (major, minor)
}

impl SpecialFiles for Devices {
    fn open_fifo(&self, at: &PathRef, flags: OpenFlags, caller: &dyn Caller) -> Result<OpenFile, Errno> {
        self.fifos.open(at, flags, caller)
    }

    fn open_char_device(
        &self,
        at: &PathRef,
        rdev: u64,
        flags: OpenFlags,
        caller: &dyn Caller,
    ) -> Result<OpenFile, Errno> {
        let (major, minor) = split(rdev);
        let driver = self.drivers.lock().get(&major).cloned().ok_or(Errno::ENXIO)?;
        driver.open(major, minor, at, flags, caller)
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn device_numbers_split_as_they_were_made() {
        for (major, minor) in [(1, 3), (5, 2), (136, 0), (0xfff, 0xf_ffff), (0, 0x100)] {
            assert_eq!(split(vfs::makedev(major, minor)), (major, minor));
        }
    }
}
