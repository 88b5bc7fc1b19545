use super::*;
use crate::testing::*;
use host::mappable::Backing;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use vfs::{CreateKind, FileType, IoError, Link, OpenFlags, RenameFlags, SetAttr, SetTime, XattrFlags};

struct Tree(PathBuf);

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tree(name: &str) -> Tree {
    let path = std::env::temp_dir().join(format!("vizor-hostfs-{name}-{}", std::process::id()));
    fs::create_dir_all(path.join("sub/deep")).unwrap();
    fs::write(path.join("sub/file"), "hello").unwrap();
    symlink("/etc/passwd", path.join("link")).unwrap();
    symlink("sub", path.join("dirlink")).unwrap();
    Tree(path)
}

fn mount(tree: &Tree, sharing: Sharing) -> (Arc<dyn FileSystem>, Arc<dyn Inode>) {
    let fd = OwnedFd::from(fs::File::open(&tree.0).unwrap());
    let fs: Arc<dyn FileSystem> = HostFs::new(fd, sharing).unwrap();
    let root = fs.root();
    (fs, root)
}

fn walk(root: &Arc<dyn Inode>, path: &str) -> Result<Arc<dyn Inode>, Errno> {
    path.split('/').try_fold(root.clone(), |dir, name| dir.lookup(&crate::testing::root(), name.as_bytes()))
}

#[test]
fn exclusive_trees_are_read_and_remembered() {
    let tree = tree("exclusive");
    let caller = crate::testing::root();
    let (fs, root) = mount(&tree, Sharing::Exclusive);
    assert_eq!(list(&fs, &root), ["dirlink", "link", "sub"]);
    let file = walk(&root, "sub/file").unwrap();
    assert!(Arc::ptr_eq(&file, &walk(&root, "sub/file").unwrap()));
    let attr = file.attr().unwrap();
    assert_eq!((attr.size, attr.kind, attr.dev), (5, FileType::Regular, fs.dev()));
    let open1 = open(&fs, &file, OpenFlags::empty()).unwrap();
    assert_eq!(pread(&open1, 1, 100).unwrap(), b"ello");
    assert_eq!(pread(&open1, 5, 100).unwrap(), b"");
    let map = open1.ops().mappable().unwrap();
    assert!(matches!(map.back(0..8192, false), Ok(Backing::HostFile { len: 4096, .. })));
    assert!(matches!(map.back(4096..8192, false), Err(Errno::ENXIO)));
    assert!(matches!(map.back(0..4096, true), Err(Errno::EACCES)));
    let link = root.lookup(&caller, b"link").unwrap();
    let Ok(Link::Path(target)) = link.read_link(&caller) else { panic!() };
    assert_eq!(target, b"/etc/passwd");
    assert_eq!(open(&fs, &link, OpenFlags::empty()).err(), Some(Errno::ELOOP));
    assert_eq!(link.lookup(&caller, b"x").err(), Some(Errno::ENOTDIR));
    assert_eq!(root.lookup(&caller, b"none").err(), Some(Errno::ENOENT));
    assert_eq!(root.lookup(&caller, b"..").err(), Some(Errno::EINVAL));
    assert_eq!(open(&fs, &file, OpenFlags::RDWR).err(), Some(Errno::EROFS));
    assert_eq!(file.get_xattr(&caller, b"user.none"), Err(Errno::ENODATA));
    assert_eq!(root.create(&caller, b"x", CreateKind::Directory { perm: 0 }).err(), Some(Errno::EROFS));
}

#[test]
fn directories_are_never_followed_elsewhere() {
    let tree = tree("swap");
    let (_, root) = mount(&tree, Sharing::Exclusive);
    let sub = walk(&root, "sub").unwrap();
    // Somebody breaks the promise of exclusiveness, with bad intent.
    fs::rename(tree.0.join("sub"), tree.0.join("other")).unwrap();
    symlink("/etc", tree.0.join("sub")).unwrap();
    let passwd = sub.lookup(&crate::testing::root(), b"passwd");
    assert!(matches!(passwd.err(), Some(Errno::ENOTDIR | Errno::ELOOP | Errno::ESTALE)));
}

#[test]
fn shared_trees_follow_the_host() {
    let tree = tree("shared");
    let caller = crate::testing::root();
    let (fs, root) = mount(&tree, Sharing::Writable);
    assert!(fs.volatile());
    let sub = walk(&root, "sub").unwrap();
    let file = walk(&root, "sub/file").unwrap();
    assert!(file.revalidate(&*sub, b"file"));
    fs::write(tree.0.join("sub/file"), "longer than before").unwrap();
    assert_eq!(file.attr().unwrap().size, 18);
    let opened = open(&fs, &file, OpenFlags::RDWR).unwrap();
    fs::rename(tree.0.join("sub/file"), tree.0.join("moved")).unwrap();
    assert!(!file.revalidate(&*sub, b"file"));
    assert_eq!(pwrite(&opened, 0, b"LONGER"), Ok(6));
    assert_eq!(fs::read(tree.0.join("moved")).unwrap(), b"LONGER than before");
    let set = SetAttr {
        perm: Some(0o600),
        mtime: Some(SetTime::To(vfs::time::Timespec { sec: 5, nsec: 6 })),
        size: Some(3),
        ..SetAttr::default()
    };
    file.set_attr(&caller, &set).unwrap();
    let meta = fs::metadata(tree.0.join("moved")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec(), meta.len()), (0o600, 5, 6, 3));
    assert_eq!(file.attr().unwrap().perm, 0o600);
}

#[test]
fn exclusive_trees_show_what_changes_after_all() {
    let tree = tree("late");
    let caller = crate::testing::root();
    let (fs, root) = mount(&tree, Sharing::Exclusive);
    let (sub, file) = (walk(&root, "sub").unwrap(), walk(&root, "sub/file").unwrap());
    let link = walk(&root, "link").unwrap();
    assert!(link.read_link(&caller).is_ok());
    fs::write(tree.0.join("sub/file"), "much longer").unwrap();
    fs::remove_file(tree.0.join("link")).unwrap();
    symlink("elsewhere", tree.0.join("link")).unwrap();
    assert!(file.revalidate(&*sub, b"file"));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(file.revalidate(&*sub, b"file"));
    assert_eq!(file.attr().unwrap().size, 11);
    if link.revalidate(&*root, b"link") {
        let Ok(Link::Path(target)) = link.read_link(&caller) else { panic!() };
        assert_eq!(target, b"elsewhere");
    }
    fs::write(tree.0.join("new"), "replaced").unwrap();
    fs::rename(tree.0.join("new"), tree.0.join("sub/file")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(!file.revalidate(&*sub, b"file"));
    let opened = open(&fs, &walk(&root, "sub/file").unwrap(), OpenFlags::empty()).unwrap();
    assert_eq!(pread(&opened, 0, 100).unwrap(), b"replaced");
}

#[test]
fn guests_change_writable_trees() {
    let tree = tree("writable");
    let caller = crate::testing::root();
    let (fs, root) = mount(&tree, Sharing::Writable);
    let dir = root.create(&caller, b"new", CreateKind::Directory { perm: 0o710 }).unwrap();
    assert_eq!(dir.attr().unwrap().perm, 0o710);
    let file = mkfile(&fs, &dir, "f", b"data");
    dir.link(&caller, b"g", &file).unwrap();
    assert_eq!(file.attr().unwrap().nlink, 2);
    assert_eq!(dir.rename(&caller, b"f", &root, b"h", RenameFlags::empty()), Ok(()));
    assert!(Arc::ptr_eq(&file, &walk(&root, "h").unwrap()));
    let again = open(&fs, &file, OpenFlags::empty()).unwrap();
    assert_eq!(pread(&again, 0, 9).unwrap(), b"data");
    let appended = again.ops().write_at(&io(&caller), vfs::WriteAt::End, &mut host::io::SliceSource::new(b"!"));
    assert_eq!(appended, Err(IoError::Errno(Errno::EBADF)));
    let writer = open(&fs, &file, OpenFlags::WRONLY).unwrap();
    let appended = writer.ops().write_at(&io(&caller), vfs::WriteAt::End, &mut host::io::SliceSource::new(b"!"));
    assert_eq!(appended, Ok(vfs::Written { len: 1, end: 5 }));
    assert_eq!(root.rmdir(&caller, b"new", &dir), Err(Errno::ENOTEMPTY));
    let g = walk(&dir, "g").unwrap();
    assert_eq!(dir.unlink(&caller, b"g", &g), Ok(()));
    // The last name that it was found by is gone, but not the other.
    assert!(file.revalidate(&*root, b"h"));
    assert_eq!(pread(&open(&fs, &file, OpenFlags::empty()).unwrap(), 0, 9).unwrap(), b"data!");
    assert_eq!(root.rmdir(&caller, b"new", &dir), Ok(()));
    root.create(&caller, b"fifo", CreateKind::Fifo { perm: 0o600 }).unwrap();
    let fifo = walk(&root, "fifo").unwrap();
    assert_eq!(
        (fifo.attr().unwrap().kind, open(&fs, &fifo, OpenFlags::empty()).err()),
        (FileType::Fifo, Some(Errno::ENXIO))
    );
    let set = file.set_xattr(&caller, b"user.a", Some(b"1"), XattrFlags::empty());
    if set.is_ok() {
        assert_eq!(file.get_xattr(&caller, b"user.a").unwrap(), b"1");
        assert_eq!(file.list_xattr(&caller).unwrap(), [b"user.a".to_vec()]);
        file.set_xattr(&caller, b"user.a", None, XattrFlags::empty()).unwrap();
    }
}

#[test]
fn big_directories_list_once_from_any_position() {
    let tree = tree("big");
    for i in 0..3000 {
        fs::write(tree.0.join("sub/deep").join(format!("entry-number-{i}")), "").unwrap();
    }
    let (fs, root) = mount(&tree, Sharing::Exclusive);
    let deep = walk(&root, "sub/deep").unwrap();
    assert_eq!(list(&fs, &deep).len(), 3000);
    let dir = open(&fs, &deep, OpenFlags::DIRECTORY).unwrap();
    let (all, mut again) = (names(&dir), Vec::new());
    let caller = crate::testing::root();
    let mut third = 0;
    let mut count = 0;
    let see = &mut |_: &[u8], _: u64, _: FileType, next: u64| {
        count += 1;
        third = next;
        count <= 2
    };
    let pos = dir.ops().read_dir(&io(&caller), 0, see).unwrap();
    names(&dir);
    let see = &mut |name: &[u8], _: u64, _: FileType, _: u64| {
        again.push(String::from_utf8_lossy(name).into_owned());
        true
    };
    dir.ops().read_dir(&io(&caller), pos, see).unwrap();
    assert!(again.iter().eq(all.iter().skip(2).map(|(name, _)| name)));
}

/// The names in a directory but `.` and `..`, in the order of its listing.
fn listed(fs: &Arc<dyn FileSystem>, dir: &Arc<dyn Inode>) -> Vec<String> {
    let names = names(&open(fs, dir, OpenFlags::DIRECTORY).unwrap());
    names.into_iter().map(|(name, _)| name).filter(|name| !name.starts_with('.')).collect()
}

#[test]
fn listed_files_are_opened_once_they_are_found() {
    let tree = tree("ahead");
    let write = |i: usize, text: &str| fs::write(tree.0.join(format!("sub/deep/{i}")), text).unwrap();
    (0..50).for_each(|i| write(i, &i.to_string()));
    let (fs, root) = mount(&tree, Sharing::Exclusive);
    let deep = walk(&root, "sub/deep").unwrap();
    let caller = crate::testing::root();
    for name in listed(&fs, &deep) {
        let file = deep.lookup(&caller, name.as_bytes()).unwrap();
        let opened = open(&fs, &file, OpenFlags::empty()).unwrap();
        assert_eq!(pread(&opened, 0, 9).unwrap(), name.as_bytes());
        assert_eq!(file.attr().unwrap().size, name.len() as u64);
    }
}

#[test]
fn what_was_listed_as_a_file_may_be_something_else() {
    let tree = tree("replaced");
    let path = |name: &str| tree.0.join("sub/deep").join(name);
    (0..9).for_each(|i| fs::write(path(&i.to_string()), "old").unwrap());
    let (fs, root) = mount(&tree, Sharing::Exclusive);
    let deep = walk(&root, "sub/deep").unwrap();
    let caller = crate::testing::root();
    for name in listed(&fs, &deep) {
        let file = deep.lookup(&caller, name.as_bytes()).unwrap();
        fs::write(path("new"), "new").unwrap();
        fs::rename(path("new"), path(&name)).unwrap();
        let opened = open(&fs, &file, OpenFlags::empty()).unwrap();
        assert!(matches!(&*pread(&opened, 0, 9).unwrap(), b"old" | b"new"));
    }
    for name in listed(&fs, &deep) {
        fs::remove_file(path(&name)).unwrap();
        symlink("/etc/passwd", path(&name)).unwrap();
        assert_eq!(deep.lookup(&caller, name.as_bytes()).unwrap().attr().unwrap().kind, FileType::Symlink);
    }
}

#[test]
fn attributes_are_told_once_without_an_inode() {
    let tree = tree("glance");
    let (_, root) = mount(&tree, Sharing::Exclusive);
    let sub = walk(&root, "sub").unwrap();
    let attr = sub.glance(b"file").unwrap().unwrap();
    assert_eq!((attr.size, attr.kind), (5, FileType::Regular));
    assert_eq!(sub.glance(b"file"), Ok(None));
    // A lookup has the answer.
    fs::write(tree.0.join("sub/file"), "longer").unwrap();
    let file = walk(&sub, "file").unwrap();
    assert_eq!(file.attr().unwrap(), attr);
    assert_eq!((sub.glance(b"deep"), sub.glance(b"none")), (Ok(None), Err(Errno::ENOENT)));
    assert_eq!(sub.glance(b".."), Err(Errno::EINVAL));
    // What has an inode is asked itself, whatever its name.
    fs::hard_link(tree.0.join("sub/file"), tree.0.join("sub/same")).unwrap();
    assert_eq!(sub.glance(b"same"), Ok(None));
    let (_, shared) = mount(&tree, Sharing::Writable);
    assert_eq!(shared.glance(b"link"), Ok(None));
}
