//! Mounts.

use super::*;
use crate::testfs::TestFs;

#[test]
fn mounts_cover_and_uncover() {
    let world = World::new();
    let sh = Shell::root(&world);
    sh.mkdir("/mnt").unwrap();
    sh.touch("/mnt/below").unwrap();
    let fs = TestFs::new();
    world.mounts.mount(fs.clone(), b"dev 1", &sh.place("/mnt"), MountFlags::NODEV).unwrap();
    assert_eq!(sh.walk("/mnt/below"), Err(Errno::ENOENT));
    sh.mkdir("/mnt/d").unwrap();
    sh.touch("/mnt/d/f").unwrap();
    assert_eq!(sh.walk("/mnt/d/f"), Ok("/mnt/d/f".into()));
    assert_eq!(sh.walk("/mnt/d/../.."), Ok("/".into()));
    assert_eq!(sh.rmdir("/mnt"), Err(Errno::EBUSY));
    assert_eq!(sh.rename("/mnt/d/f", "/f", RenameFlags::empty()), Err(Errno::EXDEV));
    assert_eq!(sh.link("/mnt/d/f", "/f"), Err(Errno::EXDEV));
    assert_eq!(sh.at("/mnt/d", WalkFlags::NO_XDEV).err(), Some(Errno::EXDEV));

    let mounts = String::from_utf8(mountinfo::mounts(&world.mounts, &sh.0.root)).unwrap();
    assert_eq!(mounts, "test / testfs rw,relatime 0 0\ndev\\0401 /mnt testfs rw,nodev 0 0\n");

    world.mounts.remount(&sh.place("/mnt"), MountFlags::RDONLY).unwrap();
    assert_eq!(sh.touch("/mnt/x"), Err(Errno::EROFS));
    assert_eq!(sh.mkdir("/mnt/d"), Err(Errno::EEXIST));
    assert_eq!(sh.unlink("/mnt/nope"), Err(Errno::EROFS));
    assert_eq!(sh.open("/mnt/d/f", OpenFlags::RDWR, 0).err(), Some(Errno::EROFS));

    let inside = sh.place("/mnt/d");
    assert_eq!(world.mounts.unmount(&sh.place("/mnt"), false), Err(Errno::EBUSY));
    assert_eq!(world.mounts.unmount(&inside, false), Err(Errno::EINVAL));
    drop(inside);
    assert_eq!(world.mounts.unmount(&sh.place("/mnt"), false), Ok(()));
    assert_eq!(sh.walk("/mnt/below"), Ok("/mnt/below".into()));
    assert_eq!(sh.rename("/mnt", "/old", RenameFlags::empty()), Ok(()));
}

#[test]
fn binds_moves_and_copies() {
    let world = World::new();
    let sh = Shell::root(&world);
    for dir in ["/a", "/a/sub", "/b", "/c"] {
        sh.mkdir(dir).unwrap();
    }
    world.mounts.mount(TestFs::new(), b"inner", &sh.place("/a/sub"), MountFlags::empty()).unwrap();
    sh.touch("/a/sub/f").unwrap();
    world.mounts.bind(&sh.place("/a"), &sh.place("/b"), true).unwrap();
    assert_eq!(sh.walk("/b/sub/f"), Ok("/b/sub/f".into()));
    world.mounts.move_mount(&sh.place("/b"), &sh.place("/c")).unwrap();
    assert_eq!(sh.walk("/c/sub/f"), Ok("/c/sub/f".into()));
    assert_eq!(sh.walk("/b/sub"), Err(Errno::ENOENT));
    assert_eq!(world.mounts.move_mount(&sh.place("/c"), &sh.place("/c/sub")), Err(Errno::ELOOP));

    let (copy, map) = world.mounts.duplicate();
    assert_eq!(copy.list().len(), world.mounts.list().len());
    assert!(map.contains_key(&sh.place("/c").mount.id()));
    world.mounts.unmount(&sh.place("/c"), true).unwrap();
    assert_eq!(sh.walk("/c/sub"), Err(Errno::ENOENT));
    let copy = std::sync::Arc::new(copy);
    let other = Shell(WalkCx { root: copy.root(), cwd: copy.root(), mounts: copy, ..world.cx(&world.root_user) });
    assert_eq!(other.walk("/c/sub/f"), Ok("/c/sub/f".into()));
}

#[test]
fn pivoting() {
    let world = World::new();
    let sh = Shell::root(&world);
    sh.mkdir("/new").unwrap();
    world.mounts.mount(TestFs::new(), b"new", &sh.place("/new"), MountFlags::empty()).unwrap();
    sh.mkdir("/new/old").unwrap();
    world.mounts.pivot(&sh.place("/new"), &sh.place("/new/old"), &sh.0.root).unwrap();
    let sh = Shell::root(&world);
    assert_eq!(sh.walk("/old/new"), Ok("/old/new".into()));
    world.mounts.unmount(&sh.place("/old"), true).unwrap();
    assert_eq!(sh.walk("/old/new"), Err(Errno::ENOENT));
}

#[test]
fn what_was_unmounted_leaves_the_cache() {
    let world = World::new();
    let sh = Shell::root(&world);
    sh.mkdir("/mnt").unwrap();
    world.mounts.mount(TestFs::new(), b"dev", &sh.place("/mnt"), MountFlags::empty()).unwrap();
    sh.touch("/mnt/f").unwrap();
    let kept = std::sync::Arc::downgrade(&sh.place("/mnt/f").dentry);
    let top = sh.place("/mnt");
    world.mounts.unmount(&top, false).unwrap();
    world.cache.purge(top.mount.root());
    assert!(kept.upgrade().is_none());
    assert!(sh.walk("/mnt").is_ok());
}
