//! Root directory, working directory and umask, shared by tasks cloned with `CLONE_FS`.

use lock::{Mutex, rank};
use std::sync::Arc;
use vfs::{MountNamespace, PathRef};

#[derive(Clone)]
struct State {
    root: PathRef,
    cwd: PathRef,
    umask: u32,
    mounts: Arc<MountNamespace>,
}

/// Where a task's paths start, and what its new files lack.
pub struct FsContext {
    state: Mutex<State>,
}

impl FsContext {
    /// At the root of `mounts`, with umask 022.
    #[must_use]
    pub fn new(mounts: Arc<MountNamespace>) -> Arc<FsContext> {
        let root = mounts.root();
        let state = State { cwd: root.clone(), root, umask: 0o022, mounts };
        Arc::new(FsContext { state: Mutex::new(rank::FS_CONTEXT, state) })
    }

    /// A copy, for fork(2).
    #[must_use]
    pub fn fork(&self) -> Arc<FsContext> {
        let state = self.state.lock().clone();
        Arc::new(FsContext { state: Mutex::new(rank::FS_CONTEXT, state) })
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> PathRef {
        self.state.lock().root.clone()
    }

    /// The working directory.
    #[must_use]
    pub fn cwd(&self) -> PathRef {
        self.state.lock().cwd.clone()
    }

    /// The mount namespace.
    #[must_use]
    pub fn mounts(&self) -> Arc<MountNamespace> {
        self.state.lock().mounts.clone()
    }

    /// chroot(2).
    pub fn set_root(&self, root: PathRef) {
        let old = std::mem::replace(&mut self.state.lock().root, root);
        drop(old);
    }

    /// chdir(2).
    pub fn set_cwd(&self, cwd: PathRef) {
        let old = std::mem::replace(&mut self.state.lock().cwd, cwd);
        drop(old);
    }

    /// The file mode creation mask.
    #[must_use]
    pub fn umask(&self) -> u32 {
        self.state.lock().umask
    }

    /// umask(2): sets it and returns the old one.
    pub fn set_umask(&self, umask: u32) -> u32 {
        std::mem::replace(&mut self.state.lock().umask, umask & 0o777)
    }
}
