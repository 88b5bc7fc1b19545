//! `proc`: processes and the machine as files.
//!
//! - [`root`]: the root, with a directory per process; [`target`]: which process or thread a node speaks of, what is known
//!   of it, and who may look.
//! - [`pid`]: what is in a process's directory; [`status`], [`memory`], [`fds`], [`namespaces`], [`attributes`]: its files.
//! - [`machine`], [`cpuinfo`], [`net`], [`sysctl`]: what concerns all.
//!
//! Nodes hold ids and weak references only, and look at the kernel anew for each answer; see `synth` for the locks.

mod attributes;
mod cpuinfo;
mod fds;
mod machine;
mod memory;
mod namespaces;
mod net;
mod pid;
mod place;
mod root;
mod status;
mod sysctl;
mod target;
mod terminals;

use crate::synth::{Node, SynthFs};
use abi::Errno;
use kernel::Kernel;
use std::sync::{Arc, OnceLock, Weak};

/// What the host's processors and uname(2) say, for files that repeat it.
#[derive(Clone, Debug)]
pub struct About {
    /// `uname -r`.
    pub release: &'static str,
    /// `uname -v`.
    pub version: &'static str,
}

/// What all nodes share.
struct Shared {
    dev: u64,
    about: About,
    /// Known once the kernel is made; the file system may be made before.
    kernel: OnceLock<Weak<Kernel>>,
    namespaces: namespaces::Namespaces,
    boot_id: String,
}

impl Shared {
    fn kernel(&self) -> Result<Arc<Kernel>, Errno> {
        self.kernel.get().and_then(Weak::upgrade).ok_or(Errno::ESRCH)
    }
}

/// A proc file system.
pub struct ProcFs {
    shared: Arc<Shared>,
    fs: Arc<SynthFs>,
}

impl ProcFs {
    /// A file system without processes.
    #[must_use]
    pub fn new(about: About) -> ProcFs {
        const MAGIC: u64 = 0x9fa0;
        let shared = Arc::new(Shared {
            dev: vfs::anon::anonymous_dev(),
            about,
            kernel: OnceLock::new(),
            namespaces: namespaces::Namespaces::new(),
            boot_id: sysctl::random_uuid(),
        });
        let root = Node::new(shared.dev, root::ROOT_INO, root::Root::new(&shared));
        let fs = SynthFs::new("proc", MAGIC, shared.dev, true, root);
        ProcFs { shared, fs }
    }

    /// Names the kernel whose processes these are, once.
    pub fn bind(&self, kernel: &Arc<Kernel>) {
        let _ = self.shared.kernel.set(Arc::downgrade(kernel));
    }

    /// The file system to mount.
    #[must_use]
    pub fn file_system(&self) -> Arc<SynthFs> {
        self.fs.clone()
    }
}
