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

    /// Root, working directory, umask and mounts at one moment, for a path walk.
    #[must_use]
    pub fn snapshot(&self) -> (PathRef, PathRef, u32, Arc<MountNamespace>) {
        let state = self.state.lock();
        (state.root.clone(), state.cwd.clone(), state.umask, state.mounts.clone())
    }

    /// `CLONE_NEWNS`: goes on in a copy of its mount namespace.
    pub fn unshare_mounts(&self) {
        let (mounts, copies) = self.mounts().duplicate();
        let moved = |place: &PathRef| {
            let mount = copies.get(&place.mount.id()).unwrap_or(&place.mount).clone();
            PathRef { mount, dentry: place.dentry.clone() }
        };
        let mut state = self.state.lock();
        let (root, cwd, umask) = (moved(&state.root), moved(&state.cwd), state.umask);
        let old = std::mem::replace(&mut *state, State { root, cwd, umask, mounts: Arc::new(mounts) });
        drop(state);
        drop(old);
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
