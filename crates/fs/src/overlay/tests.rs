use super::*;
use crate::hostfs::{HostFs, Sharing};
use crate::testing::*;
use crate::tmpfs::{Options, TmpFs};
use host::mappable::Backing;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use vfs::{CreateKind, FileType, IoError, RenameFlags, XattrFlags};

struct Tree(PathBuf);

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A lower tree on the host, and the overlay over it.
fn overlay(name: &str) -> (Tree, Arc<dyn FileSystem>, Arc<dyn Inode>) {
    let path = std::env::temp_dir().join(format!("vizor-overlay-{name}-{}", std::process::id()));
    fs::create_dir_all(path.join("a/b/c")).unwrap();
    fs::create_dir_all(path.join("full")).unwrap();
    fs::write(path.join("a/file"), "hello").unwrap();
    fs::write(path.join("full/x"), vec![7; 300_000]).unwrap();
    fs::hard_link(path.join("a/file"), path.join("a/b/other")).unwrap();
    symlink("a/file", path.join("link")).unwrap();
    let fd = OwnedFd::from(fs::File::open(&path).unwrap());
    let lower = HostFs::new(fd, Sharing::Exclusive).unwrap();
    let upper = TmpFs::new(&frames(), Options::default()).unwrap();
    let fs: Arc<dyn FileSystem> = OverlayFs::new(upper, lower).unwrap();
    let root = fs.root();
    (Tree(path), fs, root)
}

fn at(root: &Arc<dyn Inode>, path: &str) -> Result<Arc<dyn Inode>, Errno> {
    path.split('/').try_fold(root.clone(), |dir, name| dir.lookup(&System, name.as_bytes()))
}

fn text(fs: &Arc<dyn FileSystem>, root: &Arc<dyn Inode>, path: &str) -> String {
    let file = open(fs, &at(root, path).unwrap(), OpenFlags::empty()).unwrap();
    String::from_utf8(pread(&file, 0, 1 << 20).unwrap()).unwrap()
}

fn remove(root: &Arc<dyn Inode>, dir: &str, name: &str) -> Result<(), Errno> {
    let dir = if dir.is_empty() { root.clone() } else { at(root, dir)? };
    let child = dir.lookup(&System, name.as_bytes())?;
    if child.attr()?.kind == FileType::Directory {
        dir.rmdir(&System, name.as_bytes(), &child)
    } else {
        dir.unlink(&System, name.as_bytes(), &child)
    }
}

#[test]
fn unchanged_files_are_the_hosts() {
    let (tree, fs, root) = overlay("unchanged");
    let file = at(&root, "full/x").unwrap();
    let attr = file.attr().unwrap();
    let host = std::os::unix::fs::MetadataExt::ino(&fs::metadata(tree.0.join("full/x")).unwrap());
    assert_eq!((attr.ino, attr.dev, attr.size), (host, fs.dev(), 300_000));
    let opened = open(&fs, &file, OpenFlags::empty()).unwrap();
    let map = opened.ops().mappable().unwrap();
    assert!(matches!(map.back(0..4096, false), Ok(Backing::HostFile { .. })));
    assert_eq!(list(&fs, &root), ["a", "full", "link"]);
    for _ in 0..10 {
        assert_eq!(at(&root, "a/none").err(), Some(Errno::ENOENT));
    }
    assert_eq!(text(&fs, &root, "a/file"), "hello");
    assert!(at(&root, "a/b/c").is_ok());
}

#[test]
fn writing_copies_up_and_keeps_identity() {
    let (tree, fs, root) = overlay("write");
    let file = at(&root, "a/file").unwrap();
    let before = file.attr().unwrap();
    let old = open(&fs, &file, OpenFlags::empty()).unwrap();
    assert_eq!(pread(&old, 0, 9).unwrap(), b"hello");
    let dir_before = at(&root, "a").unwrap().attr().unwrap();
    let new = open(&fs, &file, OpenFlags::RDWR).unwrap();
    assert_eq!(pread(&new, 0, 9).unwrap(), b"hello");
    pwrite(&new, 0, b"HE").unwrap();
    assert_eq!(pread(&old, 0, 9).unwrap(), b"HEllo");
    let after = file.attr().unwrap();
    assert_eq!((before.ino, before.dev, before.nlink, before.perm), (after.ino, after.dev, after.nlink, after.perm));
    assert_eq!(at(&root, "a").unwrap().attr().unwrap().mtime, dir_before.mtime);
    // The other name below leads to the same file.
    assert_eq!(text(&fs, &root, "a/b/other"), "HEllo");
    drop((file, old, new));
    assert_eq!((text(&fs, &root, "a/b/other"), text(&fs, &root, "a/file")), ("HEllo".into(), "HEllo".into()));
    assert_eq!(fs::read(tree.0.join("a/file")).unwrap(), b"hello");
    remove(&root, "a", "file").unwrap();
    let other = at(&root, "a/b/other").unwrap();
    assert_eq!(other.attr().unwrap().nlink, 1);
    at(&root, "a/b").unwrap().rename(&System, b"other", &root, b"moved", RenameFlags::empty()).unwrap();
    assert_eq!(text(&fs, &root, "moved"), "HEllo");
    assert_eq!(
        (list(&fs, &at(&root, "a").unwrap()), list(&fs, &at(&root, "a/b").unwrap())),
        (vec!["b".into()], vec!["c".to_string()])
    );
    remove(&root, "", "moved").unwrap();
    assert_eq!(other.attr().unwrap().nlink, 0);
    let x = at(&root, "full/x").unwrap();
    drop(open(&fs, &x, OpenFlags::WRONLY | OpenFlags::TRUNC).unwrap());
    assert_eq!(x.attr().unwrap().size, 0);
}

#[test]
fn links_below_are_counted_even_if_nobody_holds_the_file() {
    let (_tree, fs, root) = overlay("links");
    remove(&root, "a", "file").unwrap();
    assert_eq!(at(&root, "a/b/other").unwrap().attr().unwrap().nlink, 1);
    assert_eq!(text(&fs, &root, "a/b/other"), "hello");
    remove(&root, "a/b", "other").unwrap();
}

#[test]
fn removed_names_stay_away_and_come_back_new() {
    let (_tree, fs, root) = overlay("remove");
    assert_eq!(remove(&root, "", "a"), Err(Errno::ENOTEMPTY));
    remove(&root, "a", "file").unwrap();
    remove(&root, "a/b", "other").unwrap();
    remove(&root, "a/b", "c").unwrap();
    let b = at(&root, "a/b").unwrap();
    remove(&root, "a", "b").unwrap();
    assert_eq!(b.create(&System, b"x", CreateKind::Regular { perm: 0 }).err(), Some(Errno::ENOENT));
    remove(&root, "", "a").unwrap();
    assert_eq!(at(&root, "a").err(), Some(Errno::ENOENT));
    assert_eq!(list(&fs, &root), ["full", "link"]);
    let a = mkdir(&root, "a");
    assert_eq!(list(&fs, &a), Vec::<String>::new());
    assert_eq!(root.create(&System, b"full", CreateKind::Directory { perm: 0 }).err(), Some(Errno::EEXIST));
    mkfile(&fs, &a, "file", b"new");
    assert_eq!(text(&fs, &root, "a/file"), "new");
    remove(&root, "a", "file").unwrap();
    remove(&root, "", "a").unwrap();
    assert_eq!(at(&root, "a").err(), Some(Errno::ENOENT));
}

#[test]
fn lower_directories_move() {
    let (_tree, fs, root) = overlay("move");
    let ino = at(&root, "a").unwrap().attr().unwrap().ino;
    let full = at(&root, "full").unwrap();
    root.rename(&System, b"a", &full, b"z", RenameFlags::empty()).unwrap();
    assert_eq!(at(&root, "a").err(), Some(Errno::ENOENT));
    assert_eq!(at(&root, "full/z").unwrap().attr().unwrap().ino, ino);
    assert_eq!(text(&fs, &root, "full/z/b/other"), "hello");
    assert_eq!(list(&fs, &full), ["x", "z"]);
    let file = open(&fs, &at(&root, "full/z/file").unwrap(), OpenFlags::RDWR).unwrap();
    pwrite(&file, 5, b"!").unwrap();
    assert_eq!(text(&fs, &root, "full/z/b/other"), "hello!");
    full.rename(&System, b"z", &root, b"link", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(at(&root, "full/z").unwrap().attr().unwrap().kind, FileType::Symlink);
    assert_eq!(text(&fs, &root, "link/file"), "hello!");
    let (target, d) = (at(&root, "link/b/c").unwrap(), mkdir(&root, "d"));
    assert_eq!(
        root.rename(&System, b"d", &at(&root, "link").unwrap(), b"b", RenameFlags::empty()),
        Err(Errno::ENOTEMPTY)
    );
    root.rename(&System, b"d", &at(&root, "link/b").unwrap(), b"c", RenameFlags::empty()).unwrap();
    assert!(Arc::ptr_eq(&at(&root, "link/b/c").unwrap(), &d));
    assert_eq!(target.create(&System, b"x", CreateKind::Directory { perm: 0 }).err(), Some(Errno::ENOENT));
}

#[test]
fn attributes_links_and_unnamed_files() {
    let (_tree, fs, root) = overlay("attributes");
    let b = at(&root, "a/b").unwrap();
    b.set_attr(&System, &SetAttr { perm: Some(0o700), ..SetAttr::default() }).unwrap();
    assert_eq!((at(&root, "a/b").unwrap().attr().unwrap().perm, b.attr().unwrap().nlink), (0o700, 1));
    assert_eq!(list(&fs, &b), ["c", "other"]);
    let link = at(&root, "link").unwrap();
    link.set_attr(&System, &SetAttr { uid: Some(7), ..SetAttr::default() }).unwrap();
    assert_eq!((link.attr().unwrap().uid, link.attr().unwrap().kind), (7, FileType::Symlink));
    let x = at(&root, "full/x").unwrap();
    root.link(&System, b"y", &x).unwrap();
    assert_eq!(x.attr().unwrap().nlink, 2);
    x.set_xattr(&System, b"user.k", Some(b"v"), XattrFlags::empty()).unwrap();
    assert_eq!(at(&root, "y").unwrap().get_xattr(&System, b"user.k").unwrap(), b"v");
    let file = b.create_unnamed(&System, 0o600).unwrap();
    b.link(&System, b"named", &file).unwrap();
    assert_eq!((list(&fs, &b).len(), file.attr().unwrap().nlink), (3, 1));
    // A file without a name any more can still be changed.
    let opened = open(&fs, &at(&root, "a/file").unwrap(), OpenFlags::empty()).unwrap();
    let inode = at(&root, "a/file").unwrap();
    remove(&root, "a", "file").unwrap();
    inode.set_attr(&System, &SetAttr { size: Some(2), ..SetAttr::default() }).unwrap();
    assert_eq!(pread(&opened, 0, 9).unwrap(), b"he");
    assert!(matches!(pwrite(&opened, 0, b"x"), Err(IoError::Errno(_))));
    // What was removed and is open does not come back when its name does.
    let x = at(&root, "full/x").unwrap();
    remove(&root, "", "y").unwrap();
    remove(&root, "full", "x").unwrap();
    mkfile(&fs, &at(&root, "full").unwrap(), "x", b"new");
    x.set_attr(&System, &SetAttr { perm: Some(0o600), ..SetAttr::default() }).unwrap();
    assert_eq!((text(&fs, &root, "full/x"), x.attr().unwrap().nlink), ("new".into(), 0));
    let other = at(&root, "a/b/other").unwrap();
    remove(&root, "a/b", "other").unwrap();
    mkfile(&fs, &b, "other", b"new");
    other.set_attr(&System, &SetAttr { size: Some(1), ..SetAttr::default() }).unwrap();
    assert_eq!(text(&fs, &root, "a/b/other"), "new");
    let c = at(&root, "a/b/c").unwrap();
    remove(&root, "a/b", "c").unwrap();
    c.set_attr(&System, &SetAttr { perm: Some(0), ..SetAttr::default() }).unwrap();
}

#[test]
fn a_listing_goes_on_over_changes() {
    let (tree, fs, root) = overlay("listing");
    for n in 0..300 {
        fs::write(tree.0.join(format!("a/b/{n}")), "").unwrap();
    }
    let b = at(&root, "a/b").unwrap();
    let dir = open(&fs, &b, OpenFlags::DIRECTORY).unwrap();
    let caller = crate::testing::root();
    let mut seen: Vec<(String, u64)> = Vec::new();
    let read = |pos: u64, most: usize, seen: &mut Vec<(String, u64)>| {
        let mut room = most;
        dir.ops().read_dir(&io(&caller), pos, &mut |name, ino, _, _| {
            if room == 0 {
                return false;
            }
            room -= 1;
            seen.push((String::from_utf8_lossy(name).into_owned(), ino));
            true
        })
    };
    let pos = read(0, 100, &mut seen).unwrap();
    let gone = (0..300).map(|n| n.to_string()).find(|n| seen.iter().all(|(name, _)| name != n)).unwrap();
    remove(&root, "a/b", &gone).unwrap();
    mkfile(&fs, &b, "new", b"");
    let pos = read(pos, usize::MAX, &mut seen).unwrap();
    assert_eq!(read(pos, usize::MAX, &mut seen), Ok(pos));
    let ino = |name: &str| seen.iter().filter(|(seen, _)| seen == name).map(|(_, ino)| *ino).collect::<Vec<_>>();
    let number = |path: &str| at(&root, path).unwrap().attr().unwrap().ino;
    assert_eq!((ino("."), ino("..")), (vec![number("a/b")], vec![number("a")]));
    assert_eq!((0..300).filter(|n| ino(&n.to_string()).len() == 1).count(), 299);
    assert_eq!((ino(&gone), ino("c"), ino("other").len()), (vec![], vec![number("a/b/c")], 1));
    let mut again = Vec::new();
    read(0, usize::MAX, &mut again).unwrap();
    assert_eq!(again.iter().filter(|(name, _)| name == "new").count(), 1);
    assert_eq!(again.len(), 2 + 299 + 3);
    b.rmdir(&System, b"c", &at(&root, "a/b/c").unwrap()).unwrap();
}

#[test]
fn a_glance_shows_what_an_inode_would() {
    let (_tree, _fs, root) = overlay("glance");
    let dir = at(&root, "full").unwrap();
    let seen = dir.glance(b"x").unwrap();
    assert_eq!(seen, Some(at(&dir, "x").unwrap().attr().unwrap()));
    assert_eq!(dir.glance(b"none"), Err(Errno::ENOENT));
    // What has changed has an inode, under its other names too.
    let sub = at(&root, "a/b").unwrap();
    let file = at(&root, "a/file").unwrap();
    file.set_attr(&System, &vfs::SetAttr { perm: Some(0o600), ..vfs::SetAttr::default() }).unwrap();
    assert_eq!(sub.glance(b"other"), Ok(None));
    assert_eq!(at(&sub, "other").unwrap().attr().unwrap().perm, 0o600);
    assert_eq!(at(&root, "a").unwrap().glance(b"file"), Ok(None));
    remove(&root, "full", "x").unwrap();
    assert_eq!(dir.glance(b"x"), Ok(None));
    assert_eq!(at(&dir, "x").err(), Some(Errno::ENOENT));
}
