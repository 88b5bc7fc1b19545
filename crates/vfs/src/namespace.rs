//! Mount namespaces: the tree of mounts and what mount(2), umount2(2) and pivot_root(2) do to it. All mounts are private:
//! nothing propagates.

use crate::{Dentry, FileSystem, Mount, MountFlags, PathRef};
use abi::Errno;
use lock::{RwLock, rank};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Mounts in one namespace at most (`fs.mount-max` is 100000 on Linux).
const MAX_MOUNTS: usize = 10_000;

/// A mount namespace: what is mounted where.
pub struct MountNamespace {
    tree: RwLock<Tree>,
}

struct Tree {
    root: Arc<Mount>,
    /// By the mount below and the dentry in it. Stacked mounts hang on each other's roots.
    by_place: HashMap<(u64, u64), Arc<Mount>>,
}

impl Tree {
    fn at(&self, place: &PathRef) -> Option<&Arc<Mount>> {
        self.by_place.get(&(place.mount.id(), place.dentry.id()))
    }

    fn topmost(&self, mut place: PathRef) -> PathRef {
        while let Some(mount) = self.at(&place) {
            place = PathRef { dentry: mount.root().clone(), mount: mount.clone() };
        }
        place
    }

    fn contains(&self, mount: &Arc<Mount>) -> bool {
        Arc::ptr_eq(mount, &self.root)
            || mount.parent().and_then(|p| self.at(&p).cloned()).is_some_and(|m| Arc::ptr_eq(&m, mount))
    }

    fn put(&mut self, mount: Arc<Mount>, place: PathRef) {
        place.dentry.mounts.fetch_add(1, Ordering::AcqRel);
        let key = (place.mount.id(), place.dentry.id());
        drop(mount.set_parent(Some(place)));
        self.by_place.insert(key, mount);
    }

    /// Takes a mount off its place, which it returns.
    fn take(&mut self, mount: &Arc<Mount>) -> Option<PathRef> {
        let place = mount.set_parent(None)?;
        self.by_place.remove(&(place.mount.id(), place.dentry.id()));
        place.dentry.mounts.fetch_sub(1, Ordering::AcqRel);
        Some(place)
    }

    /// `top` and every mount on it, parents first.
    fn subtree(&self, top: &Arc<Mount>) -> Vec<Arc<Mount>> {
        let mut found = vec![top.clone()];
        let mut next = 0;
        while let Some(mount) = found.get(next).cloned() {
            next += 1;
            let on_it = |m: &&Arc<Mount>| m.parent().is_some_and(|p| Arc::ptr_eq(&p.mount, &mount));
            let mut above: Vec<_> = self.by_place.values().filter(on_it).cloned().collect();
            above.sort_by_key(|m| m.id());
            found.append(&mut above);
        }
        found
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for mount in self.by_place.values() {
            if let Some(place) = mount.parent() {
                place.dentry.mounts.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

/// Whether a place is the root of its mount.
fn is_mount_root(place: &PathRef) -> bool {
    Arc::ptr_eq(&place.dentry, place.mount.root())
}

/// Whether `place` lies at or below `above`, over mounts.
fn is_below(place: &PathRef, above: &PathRef) -> bool {
    let mut at = place.clone();
    loop {
        if Arc::ptr_eq(&at.mount, &above.mount) && at.dentry.is_within(&above.dentry) {
            return true;
        }
        let Some(below) = at.mount.parent() else { return false };
        at = below;
    }
}

/// Mounts that are attached nowhere yet.
pub struct DetachedTree {
    top: Arc<Mount>,
    /// What lies on it, and where; parents first.
    above: Vec<(Arc<Mount>, PathRef)>,
}

impl DetachedTree {
    /// A single mount.
    #[must_use]
    pub fn of(mount: Arc<Mount>) -> DetachedTree {
        DetachedTree { top: mount, above: Vec::new() }
    }

    /// Its root.
    #[must_use]
    pub fn root(&self) -> PathRef {
        PathRef { mount: self.top.clone(), dentry: self.top.root().clone() }
    }
}

impl MountNamespace {
    /// A namespace with `root` at its root.
    #[must_use]
    pub fn new(root: Arc<Mount>) -> MountNamespace {
        MountNamespace { tree: RwLock::new(rank::MOUNTS, Tree { root, by_place: HashMap::new() }) }
    }

    /// The place `/`.
    #[must_use]
    pub fn root(&self) -> PathRef {
        let tree = self.tree.read();
        let mount = tree.root.clone();
        tree.topmost(PathRef { dentry: mount.root().clone(), mount })
    }

    /// The root of what is mounted on `place`, over and over; `place` itself if nothing is.
    #[must_use]
    pub fn topmost(&self, place: PathRef) -> PathRef {
        if !place.dentry.is_mountpoint() {
            return place;
        }
        self.tree.read().topmost(place)
    }

    /// Puts `mount` on top of `place`.
    ///
    /// # Errors
    /// `ENOTDIR` unless both are directories or neither is, `EINVAL` if `place` is not of this namespace, `ENOENT` if it
    /// was removed, `ENOSPC`.
    pub fn attach(&self, mount: Arc<Mount>, place: &PathRef) -> Result<(), Errno> {
        let mut tree = self.tree.write();
        if !tree.contains(&place.mount) {
            return Err(Errno::EINVAL);
        }
        if tree.by_place.len() >= MAX_MOUNTS {
            return Err(Errno::ENOSPC);
        }
        let place = tree.topmost(place.clone());
        if place.dentry.is_deleted() {
            return Err(Errno::ENOENT);
        }
        if place.dentry.is_dir() != mount.root().is_dir() {
            return Err(Errno::ENOTDIR);
        }
        tree.put(mount, place);
        Ok(())
    }

    /// Mounts a file system.
    ///
    /// # Errors
    /// As [`MountNamespace::attach`].
    pub fn mount(
        &self,
        fs: Arc<dyn FileSystem>,
        source: &[u8],
        place: &PathRef,
        flags: MountFlags,
    ) -> Result<Arc<Mount>, Errno> {
        let root = Dentry::root(fs.root());
        let mount = Mount::new(fs, root, source, flags);
        self.attach(mount.clone(), place)?;
        Ok(mount)
    }

    /// `MS_BIND`: shows `from` at `place` too; with `recursive`, also what is mounted below it.
    ///
    /// # Errors
    /// As [`MountNamespace::attach`].
    pub fn bind(&self, from: &PathRef, place: &PathRef, recursive: bool) -> Result<(), Errno> {
        self.attach_tree(&self.copy_tree(from, recursive)?, place)
    }

    /// Mounts that show `from` and, with `recursive`, what is mounted below it, attached nowhere (`OPEN_TREE_CLONE`).
    ///
    /// # Errors
    /// `EINVAL` if `from` is not of this namespace.
    pub fn copy_tree(&self, from: &PathRef, recursive: bool) -> Result<DetachedTree, Errno> {
        let above = {
            let tree = self.tree.read();
            if !tree.contains(&from.mount) {
                return Err(Errno::EINVAL);
            }
            if recursive { tree.subtree(&from.mount) } else { Vec::new() }
        };
        let top = from.mount.again(&from.dentry);
        let mut detached = DetachedTree { top: top.clone(), above: Vec::new() };
        let mut copies = HashMap::from([(from.mount.id(), top)]);
        for mount in above.iter().skip(1) {
            let Some(at) = mount.parent() else { continue };
            let outside = Arc::ptr_eq(&at.mount, &from.mount) && !at.dentry.is_within(&from.dentry);
            let Some(below) = copies.get(&at.mount.id()).cloned().filter(|_| !outside) else { continue };
            let new = mount.again(mount.root());
            detached.above.push((new.clone(), PathRef { mount: below, dentry: at.dentry }));
            copies.insert(mount.id(), new);
        }
        Ok(detached)
    }

    /// Puts a detached tree on top of `place`.
    ///
    /// # Errors
    /// As [`MountNamespace::attach`].
    pub fn attach_tree(&self, tree: &DetachedTree, place: &PathRef) -> Result<(), Errno> {
        self.attach(tree.top.clone(), place)?;
        for (mount, at) in &tree.above {
            self.attach(mount.clone(), at)?;
        }
        Ok(())
    }

    /// The mounts at and, with `recursive`, above the one whose root `place` is.
    ///
    /// # Errors
    /// `EINVAL` if it is no mount's root.
    pub fn mounts_at(&self, place: &PathRef, recursive: bool) -> Result<Vec<Arc<Mount>>, Errno> {
        if !is_mount_root(place) {
            return Err(Errno::EINVAL);
        }
        Ok(if recursive { self.tree.read().subtree(&place.mount) } else { vec![place.mount.clone()] })
    }

    /// `MS_REMOUNT | MS_BIND`, and `MS_REMOUNT` as far as it concerns the mount.
    ///
    /// # Errors
    /// `EINVAL` if `place` is no mount's root, `EBUSY` if files are open for writing on what is to be read-only.
    pub fn remount(&self, place: &PathRef, flags: MountFlags) -> Result<(), Errno> {
        if !is_mount_root(place) || !self.tree.read().contains(&place.mount) {
            return Err(Errno::EINVAL);
        }
        let old = place.mount.flags();
        let freeze = flags.contains(MountFlags::RDONLY) && !old.contains(MountFlags::RDONLY);
        // First the flag, then the look at the writers: one that comes between sees the flag or is seen.
        place.mount.set_flags(flags);
        if freeze && place.mount.has_writers() {
            place.mount.set_flags(old);
            return Err(Errno::EBUSY);
        }
        Ok(())
    }

    /// umount2(2); with `detach` (`MNT_DETACH`) also if it is in use.
    ///
    /// # Errors
    /// `EINVAL` if `place` is no mount's root, `EBUSY`.
    pub fn unmount(&self, place: &PathRef, detach: bool) -> Result<(), Errno> {
        // Places are dropped after the lock.
        let mut dropped = Vec::new();
        let mut tree = self.tree.write();
        if !is_mount_root(place) || !tree.contains(&place.mount) || Arc::ptr_eq(&place.mount, &tree.root) {
            return Err(Errno::EINVAL);
        }
        let all = tree.subtree(&place.mount);
        // References to an idle mount: the tree's, the caller's, and that of `all`.
        if !detach && (all.len() > 1 || Arc::strong_count(&place.mount) > 3) {
            return Err(Errno::EBUSY);
        }
        dropped.extend(all.iter().map(|mount| tree.take(mount)));
        drop(tree);
        drop(dropped);
        Ok(())
    }

    /// `MS_MOVE`.
    ///
    /// # Errors
    /// `EINVAL` if `from` is no mount's root, `ELOOP` if `place` lies below it.
    pub fn move_mount(&self, from: &PathRef, place: &PathRef) -> Result<(), Errno> {
        let mut tree = self.tree.write();
        let movable = is_mount_root(from) && tree.contains(&from.mount) && !Arc::ptr_eq(&from.mount, &tree.root);
        if !movable || !tree.contains(&place.mount) {
            return Err(Errno::EINVAL);
        }
        if from.dentry.is_dir() != place.dentry.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if is_below(place, from) {
            return Err(Errno::ELOOP);
        }
        let old = tree.take(&from.mount);
        let place = tree.topmost(place.clone());
        tree.put(from.mount.clone(), place);
        drop(tree);
        drop(old);
        Ok(())
    }

    /// pivot_root(2): what is mounted at `new_root` becomes the root, the old root goes to `put_old`. Returns the old and
    /// the new root; the caller moves tasks from one to the other.
    ///
    /// # Errors
    /// `EINVAL`, `EBUSY`, `ENOTDIR`.
    pub fn pivot(&self, new_root: &PathRef, put_old: &PathRef, old_root: &PathRef) -> Result<(), Errno> {
        if !new_root.dentry.is_dir() || !put_old.dentry.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let mut tree = self.tree.write();
        if Arc::ptr_eq(&new_root.mount, &old_root.mount) || Arc::ptr_eq(&put_old.mount, &old_root.mount) {
            return Err(Errno::EBUSY);
        }
        let roots = is_mount_root(new_root) && is_mount_root(old_root);
        let known = tree.contains(&new_root.mount) && Arc::ptr_eq(&tree.root, &old_root.mount);
        if !roots || !known || !is_below(put_old, new_root) || !is_below(new_root, old_root) {
            return Err(Errno::EINVAL);
        }
        let old_place = tree.take(&new_root.mount);
        let old = std::mem::replace(&mut tree.root, new_root.mount.clone());
        let place = tree.topmost(put_old.clone());
        tree.put(old, place);
        drop(tree);
        drop(old_place);
        Ok(())
    }

    /// `CLONE_NEWNS`: a copy, and for each old mount's id the mount that stands for it now.
    #[must_use]
    pub fn duplicate(&self) -> (MountNamespace, HashMap<u64, Arc<Mount>>) {
        let tree = self.tree.read();
        let all = tree.subtree(&tree.root);
        let mut copies: HashMap<u64, Arc<Mount>> = HashMap::new();
        let root = tree.root.again(tree.root.root());
        copies.insert(tree.root.id(), root.clone());
        let mut new = Tree { root, by_place: HashMap::new() };
        for mount in all.iter().skip(1) {
            let Some(at) = mount.parent() else { continue };
            let Some(below) = copies.get(&at.mount.id()).cloned() else { continue };
            let made = mount.again(mount.root());
            new.put(made.clone(), PathRef { mount: below, dentry: at.dentry });
            copies.insert(mount.id(), made);
        }
        (MountNamespace { tree: RwLock::new(rank::MOUNTS, new) }, copies)
    }

    /// All mounts, the root first, then in the order of their making.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Mount>> {
        let tree = self.tree.read();
        let mut mounts: Vec<_> = tree.by_place.values().cloned().collect();
        mounts.sort_by_key(|m| m.id());
        mounts.insert(0, tree.root.clone());
        mounts
    }
}
