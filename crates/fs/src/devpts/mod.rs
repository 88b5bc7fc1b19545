//! devpts: the names of pseudo-terminals, and their descriptions.
//!
//! An instance numbers its pairs with the lowest free number, as Linux does. A name goes away when its master is closed;
//! the number is free again once nothing uses the pair any more. The terminals themselves are the kernel's
//! (`kernel::tty`). Lock: `INODE`, for the table of pairs.

mod files;
mod nodes;
mod options;

pub use files::{MasterFile, SlaveFile, TerminalDevices};
pub use options::Options;

use abi::Errno;
use kernel::Kernel;
use kernel::tty::Tty;
use lock::{Mutex, rank};
use nodes::{Directory, Multiplexer, SlaveNode};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use vfs::{Caller, FileSystem, Inode, StatFs};

/// Inode numbers: the root is 1, ptmx 2, terminal `n` is `n + 3`.
const FIRST_SLAVE_INO: u64 = 3;

/// A pair, as long as anything uses it.
struct Slot {
    tty: Weak<Tty>,
    /// The slave's name, until the master is closed.
    node: Option<Arc<SlaveNode>>,
}

/// An instance.
pub struct DevPts {
    this: Weak<DevPts>,
    dev: u64,
    options: Mutex<Options>,
    /// It is the sandbox's first, which may use up what is reserved.
    first: bool,
    /// Known once the kernel is made; the instance is among the parts it is made from.
    kernel: OnceLock<Weak<Kernel>>,
    slots: Mutex<BTreeMap<u32, Slot>>,
    root: OnceLock<Arc<Directory>>,
    multiplexer: OnceLock<Arc<Multiplexer>>,
}

impl DevPts {
    /// A new, empty instance; `first` for the one that the sandbox starts with.
    #[must_use]
    pub fn new(options: Options, first: bool) -> Arc<DevPts> {
        Arc::new_cyclic(|this| DevPts {
            this: this.clone(),
            dev: vfs::anon::anonymous_dev(),
            options: Mutex::new(rank::LEAF, options),
            first,
            kernel: OnceLock::new(),
            slots: Mutex::new(rank::INODE, BTreeMap::new()),
            root: OnceLock::new(),
            multiplexer: OnceLock::new(),
        })
    }

    /// Names the kernel whose terminals these are, once.
    pub fn bind(&self, kernel: &Arc<Kernel>) {
        let _ = self.kernel.set(Arc::downgrade(kernel));
    }

    /// A new pair owned by the caller.
    ///
    /// # Errors
    /// `ENOSPC` if there are too many.
    pub fn new_pair(&self, caller: &dyn Caller) -> Result<Arc<Tty>, Errno> {
        let kernel = self.kernel.get().cloned().unwrap_or_default();
        let creds = caller.creds();
        let options = *self.options.lock();
        let mut slots = self.slots.lock();
        slots.retain(|_, slot| slot.tty.strong_count() > 0);
        let index = (0..).zip(slots.keys()).find(|(at, key)| at != *key).map_or(slots.len() as u32, |(at, _)| at);
        if options.max > 0 && index >= options.max {
            return Err(Errno::ENOSPC);
        }
        let tty = Tty::new(index, kernel, self.first)?;
        let uid = options.uid.unwrap_or(creds.fsuid);
        let gid = options.gid.unwrap_or(creds.fsgid);
        let node = SlaveNode::new(self.this.clone(), &tty, self.dev, options.mode, uid, gid);
        slots.insert(index, Slot { tty: Arc::downgrade(&tty), node: Some(node) });
        Ok(tty)
    }

    /// The slave's inode, while its name exists.
    fn node(&self, index: u32) -> Option<Arc<SlaveNode>> {
        self.slots.lock().get(&index)?.node.clone()
    }

    /// The master is closed: the name goes.
    fn remove(&self, tty: &Arc<Tty>) {
        let mut slots = self.slots.lock();
        let old = match slots.get_mut(&tty.index()) {
            Some(slot) if slot.tty.ptr_eq(&Arc::downgrade(tty)) => slot.node.take(),
            _ => None,
        };
        drop(slots);
        drop(old);
    }

    fn multiplexer(&self) -> Arc<Multiplexer> {
        let make = || Multiplexer::new(self.this.clone(), self.dev, self.options.lock().ptmx_mode);
        self.multiplexer.get_or_init(make).clone()
    }
}

impl FileSystem for DevPts {
    fn type_name(&self) -> &'static str {
        "devpts"
    }

    fn dev(&self) -> u64 {
        self.dev
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.get_or_init(|| Directory::new(self.this.clone(), self.dev)).clone()
    }

    fn statfs(&self) -> Result<StatFs, Errno> {
        const MAGIC: u64 = 0x1cd1;
        Ok(StatFs { magic: MAGIC, block_size: abi::PAGE_SIZE, name_max: 255, ..StatFs::default() })
    }

    fn show_options(&self) -> String {
        self.options.lock().show()
    }

    /// What is not named goes back to what it is by default. Terminals that exist stay as they are; `ptmx` changes.
    fn reconfigure(&self, data: &[u8]) -> Result<(), Errno> {
        let options = Options::parse(std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?)?;
        *self.options.lock() = options;
        self.multiplexer().set_mode(options.ptmx_mode);
        Ok(())
    }

    fn volatile(&self) -> bool {
        true
    }
}
