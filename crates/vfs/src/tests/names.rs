//! Walks, and making and removing names.

use super::*;
use crate::testfs::node;
use host::io::{SliceSource, VecSink};

#[test]
fn walks_resolve_links_and_dots() {
    let world = World::new();
    let sh = Shell::root(&world);
    sh.mkdir("/a").unwrap();
    sh.mkdir("a/b").unwrap();
    sh.touch("/a/b/f").unwrap();
    sh.symlink("b/f", "/a/rel").unwrap();
    sh.symlink("/a/b", "/abs").unwrap();
    sh.symlink("loop", "/loop").unwrap();
    sh.symlink("nowhere", "/dangling").unwrap();
    for (path, expected) in [
        ("/", Ok("/")),
        ("//", Ok("/")),
        ("..", Ok("/")),
        ("/../../a/./b/..//b/f", Ok("/a/b/f")),
        ("a/rel", Ok("/a/b/f")),
        ("abs/f", Ok("/a/b/f")),
        ("abs/..", Ok("/a")),
        ("abs/", Ok("/a/b")),
        ("a/b/f/", Err(Errno::ENOTDIR)),
        ("a/rel/", Err(Errno::ENOTDIR)),
        ("a/b/f/x", Err(Errno::ENOTDIR)),
        ("a/b/f/..", Err(Errno::ENOTDIR)),
        ("a/x/y", Err(Errno::ENOENT)),
        ("dangling", Err(Errno::ENOENT)),
        ("loop", Err(Errno::ELOOP)),
        ("loop/x", Err(Errno::ELOOP)),
        ("", Err(Errno::ENOENT)),
    ] {
        assert_eq!(sh.walk(path), expected.map(str::to_owned), "{path}");
    }
    let long = "x".repeat(256);
    assert_eq!(sh.walk(&long), Err(Errno::ENAMETOOLONG));
    assert_eq!(sh.walk(&long[1..]), Err(Errno::ENOENT));
    assert_eq!(sh.walk(&"/a/..".repeat(1000)), Err(Errno::ENAMETOOLONG));
    assert_eq!(sh.at("abs", WalkFlags::empty()).unwrap().dentry.kind(), FileType::Symlink);
    assert!(sh.at("", WalkFlags::EMPTY).unwrap().same(&sh.0.cwd));
}

#[test]
fn forty_links_and_no_more() {
    let world = World::new();
    let sh = Shell::root(&world);
    sh.touch("/l0").unwrap();
    for i in 1..=41 {
        sh.symlink(&format!("l{}", i - 1), &format!("/l{i}")).unwrap();
    }
    assert!(sh.walk("l40").is_ok());
    assert_eq!(sh.walk("l41"), Err(Errno::ELOOP));
}

#[test]
fn scoped_walks_stay_inside() {
    let world = World::new();
    let sh = Shell::root(&world);
    sh.mkdir("/in").unwrap();
    sh.mkdir("/in/d").unwrap();
    sh.touch("/out").unwrap();
    sh.touch("/in/out").unwrap();
    sh.symlink("../../out", "/in/d/up").unwrap();
    sh.symlink("/out", "/in/abs").unwrap();
    sh.symlink("d", "/in/link").unwrap();
    let start = sh.place("/in");
    let walk = |path: &str, flags| {
        let place = sh.0.resolve(At { start: Some(&start), path: path.as_bytes() }, flags | WalkFlags::FOLLOW)?;
        Ok(String::from_utf8(path_of(&place, &sh.0.root)).unwrap())
    };
    assert_eq!(walk("d/up", WalkFlags::empty()), Ok("/out".into()));
    assert_eq!(walk("d/up", WalkFlags::BENEATH), Err(Errno::EXDEV));
    assert_eq!(walk("abs", WalkFlags::BENEATH), Err(Errno::EXDEV));
    assert_eq!(walk("/d", WalkFlags::BENEATH), Err(Errno::EXDEV));
    assert_eq!(walk("d/../d", WalkFlags::BENEATH), Ok("/in/d".into()));
    assert_eq!(walk("d/up", WalkFlags::IN_ROOT), Ok("/in/out".into()));
    assert_eq!(walk("abs", WalkFlags::IN_ROOT), Ok("/in/out".into()));
    assert_eq!(walk("/d", WalkFlags::IN_ROOT), Ok("/in/d".into()));
    assert_eq!(walk("link", WalkFlags::NO_SYMLINKS), Err(Errno::ELOOP));
    let magic = sh.at("/in/link", WalkFlags::empty()).unwrap();
    node(magic.inode()).set_jump(sh.place("/out"));
    assert_eq!(walk("link", WalkFlags::empty()), Ok("/out".into()));
    assert_eq!(walk("link", WalkFlags::NO_MAGICLINKS), Err(Errno::ELOOP));
    assert_eq!(walk("link", WalkFlags::BENEATH), Err(Errno::EXDEV));
}

#[test]
fn creation_errors() {
    let world = World::new();
    let sh = Shell::root(&world);
    sh.mkdir("/d").unwrap();
    sh.touch("/f").unwrap();
    assert_eq!(sh.mkdir("/d"), Err(Errno::EEXIST));
    assert_eq!(sh.mkdir("/d/"), Err(Errno::EEXIST));
    assert_eq!(sh.mkdir("/"), Err(Errno::EEXIST));
    assert_eq!(sh.mkdir("/d/."), Err(Errno::EEXIST));
    assert_eq!(sh.mkdir("/x/y"), Err(Errno::ENOENT));
    assert_eq!(sh.mkdir("/f/y"), Err(Errno::ENOTDIR));
    assert_eq!(sh.mkdir("/new/"), Ok(()));
    assert_eq!(sh.symlink("f", "/s/"), Err(Errno::ENOENT));
    assert_eq!(sh.symlink("", "/s"), Err(Errno::ENOENT));
    assert_eq!(sh.link("/d", "/e"), Err(Errno::EPERM));
    assert_eq!(sh.link("/f", "/d"), Err(Errno::EEXIST));
    assert_eq!(sh.touch("/d/new/"), Err(Errno::EISDIR));
    assert_eq!(sh.touch("/d"), Err(Errno::EISDIR));
    let attr = sh.place("/d").inode().attr().unwrap();
    assert_eq!(attr.perm, 0o755);
    let user = Shell::user(&world);
    assert_eq!(user.mkdir("/mine"), Err(Errno::EACCES));
    assert_eq!(user.mkdir("/d"), Err(Errno::EEXIST));
}

#[test]
fn opening() {
    let world = World::new();
    let sh = Shell::root(&world);
    let user = Shell::user(&world);
    sh.mkdir("/d").unwrap();
    sh.symlink("target", "/link").unwrap();
    let creat = OpenFlags::CREAT | OpenFlags::WRONLY;
    sh.open("/link", creat, 0o600).unwrap();
    assert_eq!(sh.walk("/target"), Ok("/target".into()));
    let error = |sh: &Shell<'_>, path, flags| sh.open(path, flags, 0).err();
    assert_eq!(error(&sh, "/link", creat | OpenFlags::EXCL), Some(Errno::EEXIST));
    assert_eq!(error(&sh, "/link", OpenFlags::NOFOLLOW), Some(Errno::ELOOP));
    assert_eq!(error(&sh, "/link", OpenFlags::NOFOLLOW | OpenFlags::DIRECTORY), Some(Errno::ENOTDIR));
    assert_eq!(error(&sh, "/link", OpenFlags::NOFOLLOW | OpenFlags::PATH), None);
    assert_eq!(error(&sh, "/d", OpenFlags::WRONLY), Some(Errno::EISDIR));
    assert_eq!(error(&sh, "/d", OpenFlags::DIRECTORY), None);
    assert_eq!(error(&sh, "/target", OpenFlags::DIRECTORY), Some(Errno::ENOTDIR));
    assert_eq!(error(&sh, "/d", OpenFlags::DIRECTORY | creat), Some(Errno::EINVAL));
    assert_eq!(error(&user, "/target", OpenFlags::empty()), Some(Errno::EACCES));
    assert_eq!(error(&user, "/d/x", creat), Some(Errno::EACCES));
    assert_eq!(error(&user, "/target", OpenFlags::PATH), None);

    let io = world.io(&world.root_user);
    let file = sh.open("/target", OpenFlags::RDWR | OpenFlags::APPEND, 0).unwrap();
    assert_eq!(file.write(&io, &mut SliceSource::new(b"hello"), None), Ok(5));
    assert_eq!(file.seek(Whence::Set, 1), Ok(1));
    let mut sink = VecSink::new(3);
    assert_eq!(file.read(&io, &mut sink), Ok(3));
    assert_eq!(sink.into_bytes(), b"ell");
    assert_eq!(file.seek(Whence::End, -6), Err(Errno::EINVAL));
    assert!(file.flags().contains(OpenFlags::LARGEFILE));
    drop(sh.open("/target", OpenFlags::WRONLY | OpenFlags::TRUNC, 0).unwrap());
    assert_eq!(file.attr().unwrap().size, 0);

    let unnamed = sh.open("/d", OpenFlags::TMPFILE | OpenFlags::DIRECTORY | OpenFlags::RDWR, 0o600).unwrap();
    assert!(ops::link(&sh.0, unnamed.path(), At::cwd(b"/d/named")).is_ok());
    let flags = OpenFlags::TMPFILE | OpenFlags::DIRECTORY | OpenFlags::RDWR | OpenFlags::EXCL;
    let unnamed = sh.open("/d", flags, 0o600).unwrap();
    assert_eq!(ops::link(&sh.0, unnamed.path(), At::cwd(b"/d/other")), Err(Errno::ENOENT));
}

#[test]
fn the_file_size_limit_cuts_and_then_refuses() {
    let mut world = World::new();
    world.root_user.limit = 4;
    let sh = Shell::root(&world);
    let io = world.io(&world.root_user);
    let file = sh.open("/f", OpenFlags::CREAT | OpenFlags::RDWR, 0o600).unwrap();
    assert_eq!(file.write(&io, &mut SliceSource::new(b"hello"), None), Ok(4));
    assert_eq!(file.write(&io, &mut SliceSource::new(b"o"), None), Err(Errno::EFBIG.into()));
    assert_eq!(ops::truncate(&sh.0, file.path(), 5), Err(Errno::EFBIG));
}

#[test]
fn removal_errors_and_deleted_names() {
    let world = World::new();
    let sh = Shell::root(&world);
    sh.mkdir("/d").unwrap();
    sh.mkdir("/d/e").unwrap();
    sh.touch("/d/f").unwrap();
    assert_eq!(sh.unlink("/d"), Err(Errno::EISDIR));
    assert_eq!(sh.unlink("/d/f/"), Err(Errno::ENOTDIR));
    assert_eq!(sh.rmdir("/d/f"), Err(Errno::ENOTDIR));
    assert_eq!(sh.rmdir("/d"), Err(Errno::ENOTEMPTY));
    assert_eq!(sh.rmdir("/d/."), Err(Errno::EINVAL));
    assert_eq!(sh.rmdir("/d/e/.."), Err(Errno::ENOTEMPTY));
    assert_eq!(sh.rmdir("/"), Err(Errno::EBUSY));
    assert_eq!(sh.unlink("/.."), Err(Errno::EISDIR));
    let gone = sh.place("/d/e");
    sh.rmdir("/d/e/").unwrap();
    assert_eq!(path_of(&gone, &sh.0.root), b"/d/e (deleted)");
    let inside = Shell(WalkCx { cwd: gone, ..world.cx(&world.root_user) });
    assert_eq!(inside.mkdir("x"), Err(Errno::ENOENT));
    assert_eq!(inside.touch("x"), Err(Errno::ENOENT));
    assert_eq!(inside.walk(".."), Ok("/d".into()));
    let user = Shell::user(&world);
    assert_eq!(user.unlink("/d/f"), Err(Errno::EACCES));
    ops::chmod(&sh.0, &sh.place("/d"), 0o1777).unwrap();
    assert_eq!(user.unlink("/d/f"), Err(Errno::EPERM));
    user.touch("/d/own").unwrap();
    assert_eq!(user.unlink("/d/own"), Ok(()));
}

#[test]
fn renames() {
    let world = World::new();
    let sh = Shell::root(&world);
    let none = RenameFlags::empty();
    sh.mkdir("/a").unwrap();
    sh.mkdir("/a/b").unwrap();
    sh.mkdir("/c").unwrap();
    sh.touch("/f").unwrap();
    sh.touch("/c/g").unwrap();
    let b = sh.place("/a/b");
    assert_eq!(sh.rename("/a", "/a/b/x", none), Err(Errno::EINVAL));
    assert_eq!(sh.rename("/a/b", "/a", none), Err(Errno::ENOTEMPTY));
    assert_eq!(sh.rename("/f", "/a", none), Err(Errno::EISDIR));
    assert_eq!(sh.rename("/a", "/f", none), Err(Errno::ENOTDIR));
    assert_eq!(sh.rename("/a", "/c", none), Err(Errno::ENOTEMPTY));
    assert_eq!(sh.rename("/f", "/new/", none), Err(Errno::ENOTDIR));
    assert_eq!(sh.rename("/f", "/c/g", RenameFlags::NOREPLACE), Err(Errno::EEXIST));
    assert_eq!(sh.rename("/nope", "/x", none), Err(Errno::ENOENT));
    assert_eq!(sh.rename("/a/.", "/x", none), Err(Errno::EBUSY));
    assert_eq!(sh.rename("/a/b", "/c/b2", none), Ok(()));
    assert_eq!(path_of(&b, &sh.0.root), b"/c/b2");
    assert!(sh.place("/c/b2").same(&b));
    assert_eq!(sh.walk("/a/b"), Err(Errno::ENOENT));
    assert_eq!(sh.rename("/a", "/f", RenameFlags::EXCHANGE), Ok(()));
    assert!(sh.place("/f").dentry.is_dir());
    let over = sh.place("/c/g");
    assert_eq!(sh.rename("/a", "/c/g", none), Ok(()));
    assert!(over.dentry.is_deleted());
    sh.link("/c/g", "/c/h").unwrap();
    assert_eq!(sh.rename("/c/g", "/c/h", none), Ok(()));
    assert!(sh.walk("/c/g").is_ok());
}

#[test]
fn attributes_need_ownership() {
    let world = World::new();
    let sh = Shell::root(&world);
    let user = Shell::user(&world);
    sh.touch("/f").unwrap();
    let file = sh.place("/f");
    assert_eq!(ops::chmod(&user.0, &file, 0o777), Err(Errno::EPERM));
    assert_eq!(ops::chown(&user.0, &file, Some(1000), None), Err(Errno::EPERM));
    assert_eq!(ops::set_times(&user.0, &file, None), Err(Errno::EACCES));
    assert_eq!(ops::set_times(&user.0, &file, Some([Some(SetTime::Now), None])), Err(Errno::EPERM));
    assert_eq!(ops::truncate(&user.0, &file, 0), Err(Errno::EACCES));
    assert_eq!(ops::access(&user.0, &file, access::MAY_READ), Ok(()));
    assert_eq!(ops::access(&user.0, &file, access::MAY_WRITE), Err(Errno::EACCES));
    assert_eq!(ops::access(&sh.0, &file, access::MAY_EXEC), Err(Errno::EACCES));
    ops::chmod(&sh.0, &file, 0o6755).unwrap();
    ops::chown(&sh.0, &file, Some(1000), Some(1000)).unwrap();
    assert_eq!(file.inode().attr().unwrap().perm, 0o755);
    assert_eq!(ops::chmod(&user.0, &file, 0o600), Ok(()));
    assert_eq!(ops::chown(&user.0, &file, None, Some(0)), Err(Errno::EPERM));
}

#[test]
fn extended_attributes() {
    let world = World::new();
    let sh = Shell::root(&world);
    let user = Shell::user(&world);
    sh.touch("/f").unwrap();
    sh.symlink("f", "/s").unwrap();
    let file = sh.place("/f");
    let set = |sh: &Shell<'_>, place, name: &[u8]| ops::set_xattr(&sh.0, place, name, b"v", XattrFlags::empty());
    assert_eq!(set(&sh, &file, b"user.a"), Ok(()));
    assert_eq!(set(&sh, &file, b"trusted.a"), Ok(()));
    assert_eq!(set(&sh, &file, b"other.a"), Err(Errno::EOPNOTSUPP));
    assert_eq!(set(&sh, &file, b""), Err(Errno::ERANGE));
    assert_eq!(set(&user, &file, b"user.a"), Err(Errno::EACCES));
    assert_eq!(set(&user, &file, b"trusted.a"), Err(Errno::EPERM));
    assert_eq!(ops::get_xattr(&user.0, &file, b"trusted.a"), Err(Errno::ENODATA));
    let link = sh.at("/s", WalkFlags::empty()).unwrap();
    assert_eq!(set(&sh, &link, b"user.a"), Err(Errno::EPERM));
    assert_eq!(ops::list_xattr(&user.0, &file), Ok(b"user.a\0".to_vec()));
    assert_eq!(ops::list_xattr(&sh.0, &file), Ok(b"trusted.a\0user.a\0".to_vec()));
}

#[test]
fn deleted_dentries_leave_the_cache() {
    let world = World::new();
    let sh = Shell::root(&world);
    sh.touch("/f").unwrap();
    let weak = std::sync::Arc::downgrade(&sh.place("/f").dentry);
    assert!(weak.upgrade().is_some());
    sh.unlink("/f").unwrap();
    assert!(weak.upgrade().is_none());
}

#[test]
fn running_programs_are_not_written_to() {
    let world = World::new();
    let sh = Shell::root(&world);
    let writer = sh.open("/p", OpenFlags::CREAT | OpenFlags::RDWR, 0o755).unwrap();
    let run = || ops::open_exec(&sh.0, At::cwd(b"/p"), WalkFlags::FOLLOW);
    assert_eq!(run().err(), Some(Errno::ETXTBSY));
    assert!(Executable::new(sh.place("/p")).is_err());
    drop(writer);
    let program = Executable::new(run().unwrap().path().clone()).unwrap();
    let copy = program.clone();
    drop(program);
    assert_eq!(sh.open("/p", OpenFlags::WRONLY, 0).err(), Some(Errno::ETXTBSY));
    assert_eq!(ops::truncate(&sh.0, &sh.place("/p"), 0), Err(Errno::ETXTBSY));
    assert!(sh.open("/p", OpenFlags::empty(), 0).is_ok());
    drop(copy);
    assert!(sh.open("/p", OpenFlags::WRONLY, 0).is_ok());
}

#[test]
fn a_slow_lookup_holds_up_nobody_and_is_made_again_after_a_change() {
    let world = World::new();
    let sh = Shell::root(&world);
    let root = world.mounts.root();
    for path in ["/slow", "/gone", "/other"] {
        sh.touch(path).unwrap();
    }
    world.cache.purge(&root.dentry);
    let walk = |path| Shell::root(&world).walk(path);
    std::thread::scope(|scope| {
        let gate = node(root.inode()).hold_lookup(b"slow");
        let slow = scope.spawn(|| walk("/slow"));
        gate.wait();
        assert_eq!(walk("/slow"), Ok("/slow".to_owned()));
        sh.rename("/other", "/third", RenameFlags::empty()).unwrap();
        gate.wait();
        assert_eq!(slow.join().unwrap(), Ok("/slow".to_owned()));
        let gate = node(root.inode()).hold_lookup(b"gone");
        let gone = scope.spawn(|| walk("/gone"));
        gate.wait();
        sh.unlink("/gone").unwrap();
        gate.wait();
        assert_eq!(gone.join().unwrap(), Err(Errno::ENOENT));
    });
}
