//! What the platform's tests share: an address space with code and data in a memory file, and a time limit.

#![allow(dead_code, unused_imports)]

mod attack;

pub use attack::*;
use platform::{Access, AddressSpace, Context, MapOp, Platform, Registers};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;
use vizor_systrap::Systrap;

pub const CODE: u64 = 0x40_0000;
pub const DATA: u64 = 0x80_0000;
pub const PAGES: u64 = 16;
pub const LEN: u64 = PAGES * 4096;

pub const RX: Access = Access { read: true, write: false, execute: true };
pub const RW: Access = Access { read: true, write: true, execute: false };
pub const R: Access = Access { read: true, write: false, execute: false };

pub fn platform() -> &'static Systrap {
    static PLATFORM: LazyLock<Arc<Systrap>> = LazyLock::new(|| Systrap::new().expect("the platform starts"));
    &PLATFORM
}

/// An address space with `LEN` bytes of code, readable and executable, and as many of data.
pub struct Guest {
    pub space: Arc<dyn AddressSpace>,
    pub file: OwnedFd,
}

impl Guest {
    pub fn new(code: &[u8]) -> Guest {
        Guest::on(platform(), code)
    }

    pub fn on(platform: &Systrap, code: &[u8]) -> Guest {
        let file = memfd_create("guest", MemfdFlags::CLOEXEC).expect("memfd");
        ftruncate(&file, 2 * LEN).expect("ftruncate");
        rustix::io::pwrite(&file, code, 0).expect("pwrite");
        let space = platform.new_address_space().expect("address space");
        let guest = Guest { space, file };
        guest.space.apply(&[guest.map(CODE, LEN, RX, 0), guest.map(DATA, LEN, RW, LEN)]).expect("apply");
        guest
    }

    pub fn map(&self, addr: u64, len: u64, access: Access, offset: u64) -> MapOp {
        MapOp::Map { addr, len, access, fd: self.file.as_raw_fd(), offset, shared: true, populate: false }
    }

    pub fn context(&self) -> Box<dyn Context> {
        self.space.new_context().expect("context")
    }

    /// What the guest has in its data, at an offset.
    pub fn data(&self, offset: u64) -> u64 {
        let mut bytes = [0; 8];
        rustix::io::pread(&self.file, &mut bytes, LEN + offset).expect("pread");
        u64::from_ne_bytes(bytes)
    }
}

/// Registers that start at an offset in the code, with a stack at the end of the data.
pub fn start(offset: u64) -> Registers {
    Registers { rip: CODE + offset, rsp: DATA + LEN - 64, eflags: 0x202, ..Registers::default() }
}

/// Runs a test in a thread, and ends the process if it takes too long.
pub fn within(seconds: u64, test: impl FnOnce() + Send + 'static) {
    let (send, receive) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = send.send(());
    });
    match receive.recv_timeout(Duration::from_secs(seconds)) {
        Err(mpsc::RecvTimeoutError::Timeout) => {
            eprintln!("a test hangs");
            std::process::abort();
        }
        _ => {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}
