use super::*;
use crate::testing::*;
use abi::raw::general as c;
use host::mappable::Backing;
use std::time::Instant;
use vfs::{CreateKind, FileType, IoError, RenameFlags, SetAttr, XattrFlags};

const PAGE: u64 = PAGE_SIZE;

fn tmpfs(options: Options) -> (Arc<TmpFs>, Arc<dyn FileSystem>, Arc<dyn Inode>) {
    let fs = TmpFs::new(&frames(), options).unwrap();
    let root = fs.root();
    (fs.clone(), fs, root)
}

#[test]
fn sequential_files_are_one_extent_and_sparse_ones_read_as_zero() {
    let (tmp, fs, root) = tmpfs(Options::default());
    let inode = mkfile(&fs, &root, "a", b"");
    let file = open(&fs, &inode, OpenFlags::RDWR).unwrap();
    for i in 0..64 {
        assert_eq!(pwrite(&file, i * 1000, &[i as u8 + 1; 1000]), Ok(1000));
    }
    let all = pread(&file, 0, 100_000).unwrap();
    assert_eq!(all.len(), 64_000);
    assert!(all.chunks(1000).enumerate().all(|(i, c)| c.iter().all(|b| *b == i as u8 + 1)));
    assert_eq!(inode.attr().unwrap().blocks, 16 * 8);
    assert_eq!(pwrite(&file, 1 << 40, b"end"), Ok(3));
    assert_eq!(pread(&file, (1 << 40) - 2, 10).unwrap(), b"\0\0end");
    assert_eq!(inode.attr().unwrap().blocks, 17 * 8);
    assert_eq!(file.ops().seek_data_hole(0, true), Ok(16 * PAGE));
    assert_eq!(file.ops().seek_data_hole(16 * PAGE, false), Ok(1 << 40));
    assert_eq!(file.ops().seek_data_hole((1 << 40) + 3, false), Err(Errno::ENXIO));
    let set = SetAttr { size: Some(10_500), ..SetAttr::default() };
    inode.set_attr(&crate::testing::root(), &set).unwrap();
    let set = SetAttr { size: Some(20_000), ..SetAttr::default() };
    inode.set_attr(&crate::testing::root(), &set).unwrap();
    let all = pread(&file, 10_499, 100_000).unwrap();
    assert_eq!((all.len(), all[0]), (9501, 11));
    assert!(all[1..].iter().all(|b| *b == 0));
    assert_eq!(inode.attr().unwrap().blocks, 3 * 8);
    drop(file);
    root.unlink(&crate::testing::root(), b"a", &inode).unwrap();
    drop(inode);
    assert_eq!(tmp.shared.pages.load(Ordering::Relaxed), 0);
    assert_eq!(tmp.shared.frames.usage().used, 0);
}

#[test]
fn fallocate_and_holes() {
    let (_, fs, root) = tmpfs(Options { size: Some(1 << 20), ..Options::default() });
    let inode = mkfile(&fs, &root, "a", &[7; 5 * 4096]);
    let file = open(&fs, &inode, OpenFlags::RDWR).unwrap();
    let caller = crate::testing::root();
    let punch = c::FALLOC_FL_PUNCH_HOLE | c::FALLOC_FL_KEEP_SIZE;
    file.ops().fallocate(&caller, punch, 4000, 9000).unwrap();
    let bytes = pread(&file, 0, 5 * 4096).unwrap();
    assert!(bytes.iter().enumerate().all(|(i, b)| *b == if (4000..13_000).contains(&i) { 0 } else { 7 }));
    assert_eq!(inode.attr().unwrap().blocks, 3 * 8);
    file.ops().fallocate(&caller, 0, 0, 100_000).unwrap();
    assert_eq!((inode.attr().unwrap().size, inode.attr().unwrap().blocks), (100_000, 25 * 8));
    assert_eq!(file.ops().fallocate(&caller, 0, 0, 2 << 20), Err(Errno::ENOSPC));
    assert_eq!(file.ops().fallocate(&caller, c::FALLOC_FL_COLLAPSE_RANGE, 0, 4096), Err(Errno::EOPNOTSUPP));
    assert_eq!(pwrite(&file, 0, &vec![1; 2 << 20]), Ok(1 << 20));
    assert_eq!(pwrite(&file, 1 << 20, b"x"), Err(IoError::Errno(Errno::ENOSPC)));
    assert_eq!(fs.statfs().unwrap().blocks_free, 0);
}

#[test]
fn mappings_and_writes_share_frames() {
    let (tmp, fs, root) = tmpfs(Options::default());
    let inode = mkfile(&fs, &root, "a", b"hello");
    let file = open(&fs, &inode, OpenFlags::RDWR).unwrap();
    let map = file.ops().mappable().unwrap();
    let Ok(Backing::Frames(frames)) = map.back(0..PAGE, true) else { panic!() };
    frames.range().slice(5, 6).write(b" world").unwrap();
    pwrite(&file, 10, b"D!").unwrap();
    assert_eq!(pread(&file, 0, 100).unwrap(), b"hello worlD!");
    assert!(matches!(map.back(PAGE..2 * PAGE, false), Err(Errno::ENXIO)));
    let shared = tmp.shared_memory(3 * PAGE).unwrap();
    let Ok(Backing::Frames(frames)) = shared.back(0..8 * PAGE, true) else { panic!() };
    assert_eq!(frames.frames().len(), 3 * PAGE);
}

#[test]
fn directories_list_stably_and_count_links() {
    let (_, fs, root) = tmpfs(Options::default());
    let caller = crate::testing::root();
    for i in 0..100 {
        mkfile(&fs, &root, &format!("f{i}"), b"");
    }
    let sub = mkdir(&root, "sub");
    assert_eq!(root.attr().unwrap().nlink, 3);
    assert_eq!((root.attr().unwrap().size, sub.attr().unwrap().size), (103 * 20, 40));
    let dir = open(&fs, &root, OpenFlags::DIRECTORY).unwrap();
    let all = names(&dir);
    assert_eq!((all.len(), &*all[0].0, &*all[1].0, &*all[2].0), (103, ".", "..", "f0"));
    assert_eq!(all[102], ("sub".into(), FileType::Directory));
    let mut seen = Vec::new();
    let cx = io(&caller);
    let mut pos = 0;
    for round in 0..2 {
        pos = dir
            .ops()
            .read_dir(&cx, pos, &mut |name, _, _, _| {
                seen.push(name.to_vec());
                seen.len() < 50 || round == 1
            })
            .unwrap();
        if round == 0 {
            seen.pop();
            for i in 0..60 {
                let name = format!("f{i}");
                let child = root.lookup(&caller, name.as_bytes()).unwrap();
                root.unlink(&caller, name.as_bytes(), &child).unwrap();
            }
        }
    }
    assert_eq!(seen.len(), 49 + 41);
    assert_eq!(root.rmdir(&caller, b"sub", &sub), Ok(()));
    assert_eq!((root.attr().unwrap().nlink, sub.attr().unwrap().nlink), (2, 0));
    let kind = CreateKind::Regular { perm: 0 };
    assert_eq!(sub.create(&caller, b"x", kind).err(), Some(Errno::ENOENT));
}

#[test]
fn renames() {
    let (_, fs, root) = tmpfs(Options::default());
    let caller = crate::testing::root();
    let (a, b) = (mkdir(&root, "a"), mkdir(&root, "b"));
    mkfile(&fs, &a, "one", b"1");
    let two = mkfile(&fs, &b, "two", b"2");
    assert_eq!(a.rename(&caller, b"one", &b, b"two", RenameFlags::NOREPLACE), Err(Errno::EEXIST));
    assert_eq!(a.rename(&caller, b"one", &b, b"two", RenameFlags::EXCHANGE), Ok(()));
    assert!(Arc::ptr_eq(&a.lookup(&caller, b"one").unwrap(), &two));
    assert_eq!(a.rename(&caller, b"one", &b, b"two", RenameFlags::empty()), Ok(()));
    assert_eq!((list(&fs, &a), list(&fs, &b)), (vec![], vec!["two".to_string()]));
    assert_eq!(root.rename(&caller, b"b", &root, b"a", RenameFlags::empty()), Ok(()));
    assert_eq!((a.attr().unwrap().nlink, root.attr().unwrap().nlink), (0, 3));
    let c2 = mkdir(&root, "c");
    assert_eq!(root.rename(&caller, b"a", &c2, b"a", RenameFlags::WHITEOUT), Ok(()));
    assert_eq!((c2.attr().unwrap().nlink, root.attr().unwrap().nlink), (3, 3));
    let whiteout = root.lookup(&caller, b"a").unwrap().attr().unwrap();
    assert_eq!((whiteout.kind, whiteout.rdev), (FileType::CharDevice, 0));
    mkdir(&root, "d");
    assert_eq!(root.rename(&caller, b"d", &root, b"c", RenameFlags::empty()), Err(Errno::ENOTEMPTY));
    let parent_ino = c2.attr().unwrap().ino;
    let moved = open(&fs, &c2.lookup(&caller, b"a").unwrap(), OpenFlags::DIRECTORY).unwrap();
    let mut dotdot = 0;
    let see = &mut |name: &[u8], ino, _: FileType, _: u64| {
        if name == b".." {
            dotdot = ino;
        }
        true
    };
    moved.ops().read_dir(&io(&caller), 0, see).unwrap();
    assert_eq!(dotdot, parent_ino);
}

#[test]
fn owners_groups_and_privileges() {
    let (_, fs, root) = tmpfs(Options::default());
    let caller = crate::testing::root();
    let dir = mkdir(&root, "d");
    let set = SetAttr { perm: Some(0o2777), gid: Some(50), ..SetAttr::default() };
    dir.set_attr(&caller, &set).unwrap();
    let joe = user(1000);
    let sub = dir.create(&joe, b"sub", CreateKind::Directory { perm: 0o755 }).unwrap().attr().unwrap();
    assert_eq!((sub.uid, sub.gid, sub.perm), (1000, 50, 0o2755));
    let file = dir.create(&joe, b"f", CreateKind::Regular { perm: 0o6755 }).unwrap();
    assert_eq!(file.attr().unwrap().perm, 0o4755);
    let opened = open(&fs, &file, OpenFlags::RDWR).unwrap();
    let mut src = host::io::SliceSource::new(b"x");
    opened.ops().write_at(&io(&joe), vfs::WriteAt::End, &mut src).unwrap();
    assert_eq!(file.attr().unwrap().perm, 0o755);
    assert_eq!(file.get_xattr(&joe, b"user.a"), Err(Errno::ENODATA));
    file.set_xattr(&joe, b"user.a", Some(b"1"), XattrFlags::CREATE).unwrap();
    file.set_xattr(&caller, b"trusted.b", Some(b"2"), XattrFlags::empty()).unwrap();
    assert_eq!(file.set_xattr(&joe, b"user.a", Some(b"1"), XattrFlags::CREATE), Err(Errno::EEXIST));
    assert_eq!(file.list_xattr(&joe).unwrap(), [b"user.a".to_vec()]);
    assert_eq!(file.list_xattr(&caller).unwrap().len(), 2);
    assert_eq!(file.set_xattr(&joe, b"system.x", Some(b"1"), XattrFlags::empty()), Err(Errno::EOPNOTSUPP));
    let big = vec![0; 65_536];
    file.set_xattr(&joe, b"user.big", Some(&big), XattrFlags::empty()).unwrap();
    assert_eq!(file.set_xattr(&joe, b"user.bigger", Some(&big), XattrFlags::empty()), Err(Errno::ENOSPC));
}

#[test]
fn unnamed_files_and_hard_links() {
    let (_, _, root) = tmpfs(Options { inodes: Some(3), ..Options::default() });
    let caller = crate::testing::root();
    let file = root.create_unnamed(&caller, 0o600).unwrap();
    assert_eq!(file.attr().unwrap().nlink, 0);
    root.link(&caller, b"a", &file).unwrap();
    root.link(&caller, b"b", &file).unwrap();
    assert_eq!(root.link(&caller, b"b", &file), Err(Errno::EEXIST));
    assert_eq!(file.attr().unwrap().nlink, 2);
    mkdir(&root, "d");
    let kind = CreateKind::Symlink { target: b"x" };
    assert_eq!(root.create(&caller, b"l", kind).err(), Some(Errno::ENOSPC));
}

#[test]
fn seals_hold() {
    let (tmp, _, _) = tmpfs(Options::default());
    let caller = crate::testing::root();
    let mount = tmp.detached_mount();
    let file = tmp.memfd(&mount, &caller, b"x", c::MFD_ALLOW_SEALING).unwrap();
    let tmpfile = file.ops_as::<TmpFile>().unwrap();
    pwrite(&file, 0, &[1; 100]).unwrap();
    tmpfile.add_seals(c::F_SEAL_GROW).unwrap();
    assert_eq!(pwrite(&file, 90, &[2; 100]), Ok(10));
    assert_eq!(pwrite(&file, 100, &[2; 1]), Err(IoError::Errno(Errno::EPERM)));
    tmpfile.add_seals(c::F_SEAL_WRITE | c::F_SEAL_SEAL).unwrap();
    assert_eq!(pwrite(&file, 0, &[2; 1]), Err(IoError::Errno(Errno::EPERM)));
    assert_eq!(tmpfile.add_seals(c::F_SEAL_SHRINK), Err(Errno::EPERM));
    assert_eq!(tmpfile.seals(), c::F_SEAL_GROW | c::F_SEAL_WRITE | c::F_SEAL_SEAL);
    let map = file.ops().mappable().unwrap();
    assert_eq!((map.allow_shared(true), map.allow_shared(false)), (Err(Errno::EPERM), Ok(false)));
    let attr = file.attr().unwrap();
    assert_eq!((attr.nlink, attr.perm, &*file.path().dentry.name()), (0, 0o777, &b"/memfd:x (deleted)"[..]));
    let plain = tmp.memfd(&mount, &caller, b"y", 0).unwrap();
    assert_eq!(plain.ops_as::<TmpFile>().unwrap().add_seals(c::F_SEAL_GROW), Err(Errno::EPERM));
}

#[test]
fn options_parse() {
    let options = Options { size: Some(1 << 30), ..Options::default() };
    let options = options.parse("size=50%,mode=755,uid=5,nr_inodes=1k").unwrap();
    assert_eq!((options.size, options.perm, options.uid, options.inodes), (Some(1 << 30), 0o755, 5, Some(1024)));
    assert_eq!(Options::default().parse("size=4m").unwrap().show(), ",size=4096k");
    assert_eq!(Options::default().parse("nonsense"), Err(Errno::EINVAL));
}

#[test]
fn deep_trees_drop_without_recursion() {
    let (_, _, root) = tmpfs(Options::default());
    let mut dir = root;
    for _ in 0..100_000 {
        dir = mkdir(&dir, "d");
    }
}

#[test]
#[ignore = "prints timings"]
fn timings() {
    let (_, fs, root) = tmpfs(Options::default());
    let caller = crate::testing::root();
    let inode = mkfile(&fs, &root, "a", &vec![1; 64 << 20]);
    let file = open(&fs, &inode, OpenFlags::RDWR).unwrap();
    let mut buffer = vec![1; 4096];
    let per = |what: &str, n: u64, run: &mut dyn FnMut(u64)| {
        let start = Instant::now();
        (0..n).for_each(&mut *run);
        println!("{what}: {} ns", start.elapsed().as_nanos() / u128::from(n));
    };
    let cx = io(&caller);
    per("pread 4K", 100_000, &mut |i| {
        let mut sink = host::io::SliceSink::new(&mut buffer);
        file.ops().read_at(&cx, (i % 16_000) * 4096, &mut sink).unwrap();
    });
    per("pread 4K hot", 100_000, &mut |_| {
        let mut sink = host::io::SliceSink::new(&mut buffer);
        file.ops().read_at(&cx, 0, &mut sink).unwrap();
    });
    per("pwrite 4K", 100_000, &mut |i| {
        let mut src = host::io::SliceSource::new(&buffer);
        file.ops().write_at(&cx, vfs::WriteAt::Offset((i % 16_000) * 4096), &mut src).unwrap();
    });
    let other = mkfile(&fs, &root, "b", b"");
    let file = open(&fs, &other, OpenFlags::RDWR).unwrap();
    per("append 4K", 16_000, &mut |_| {
        let mut src = host::io::SliceSource::new(&buffer);
        file.ops().write_at(&cx, vfs::WriteAt::End, &mut src).unwrap();
    });
    let dir = mkdir(&root, "many");
    let name = |i: u64| format!("file-{i}").into_bytes();
    per("create", 50_000, &mut |i| drop(dir.create(&caller, &name(i), CreateKind::Regular { perm: 0 })));
    per("lookup", 50_000, &mut |i| drop(dir.lookup(&caller, &name(i))));
    let start = Instant::now();
    assert_eq!(list(&fs, &dir).len(), 50_000);
    println!("list: {:?}", start.elapsed());
    per("unlink", 50_000, &mut |i| dir.unlink(&caller, &name(i), &other).unwrap());
    println!("node: {} bytes", size_of::<Node>());
}
