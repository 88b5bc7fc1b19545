//! Tests of walks and operations on the test file system.

mod locking;
mod mounting;
mod names;
mod watching;

use crate::testfs::World;
use crate::*;
use abi::Errno;

/// A context of root, or of a user, and shorter ways to ask.
struct Shell<'a>(WalkCx<'a>);

impl<'a> Shell<'a> {
    fn root(world: &'a World) -> Shell<'a> {
        Shell(world.cx(&world.root_user))
    }

    fn user(world: &'a World) -> Shell<'a> {
        Shell(world.cx(&world.user))
    }

    fn at(&self, path: &str, flags: WalkFlags) -> Result<PathRef, Errno> {
        self.0.resolve(At::cwd(path.as_bytes()), flags)
    }

    fn place(&self, path: &str) -> PathRef {
        self.at(path, WalkFlags::FOLLOW).expect(path)
    }

    fn walk(&self, path: &str) -> Result<String, Errno> {
        let place = self.at(path, WalkFlags::FOLLOW)?;
        Ok(String::from_utf8(path_of(&place, &self.0.root)).unwrap())
    }

    fn mkdir(&self, path: &str) -> Result<(), Errno> {
        ops::mkdir(&self.0, At::cwd(path.as_bytes()), 0o777)
    }

    fn symlink(&self, target: &str, path: &str) -> Result<(), Errno> {
        ops::symlink(&self.0, target.as_bytes(), At::cwd(path.as_bytes()))
    }

    fn open(&self, path: &str, flags: OpenFlags, mode: u32) -> Result<OpenFile, Errno> {
        let how = ops::OpenHow { flags, mode, resolve: WalkFlags::empty() };
        ops::open(&self.0, At::cwd(path.as_bytes()), how)
    }

    fn touch(&self, path: &str) -> Result<(), Errno> {
        self.open(path, OpenFlags::CREAT | OpenFlags::WRONLY, 0o666).map(drop)
    }

    fn unlink(&self, path: &str) -> Result<(), Errno> {
        ops::unlink(&self.0, At::cwd(path.as_bytes()))
    }

    fn rmdir(&self, path: &str) -> Result<(), Errno> {
        ops::rmdir(&self.0, At::cwd(path.as_bytes()))
    }

    fn rename(&self, old: &str, new: &str, flags: RenameFlags) -> Result<(), Errno> {
        ops::rename(&self.0, At::cwd(old.as_bytes()), At::cwd(new.as_bytes()), flags)
    }

    fn link(&self, old: &str, new: &str) -> Result<(), Errno> {
        let old = self.at(old, WalkFlags::empty())?;
        ops::link(&self.0, &old, At::cwd(new.as_bytes()))
    }
}
