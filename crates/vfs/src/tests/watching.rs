//! inotify.

use super::*;
use crate::wait::Events;
use abi::raw::general as c;
use host::io::{SliceSource, VecSink};

fn events(world: &World, file: &InotifyFile) -> Vec<(i32, u32, String)> {
    let mut sink = VecSink::new(4096);
    let io = world.io(&world.root_user);
    if file.read(&io, &mut sink).is_err() {
        return Vec::new();
    }
    let bytes = sink.into_bytes();
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut at = 0;
    let mut found = Vec::new();
    while at < bytes.len() {
        let len = word(at + 12) as usize;
        let name = String::from_utf8_lossy(&bytes[at + 16..at + 16 + len]).trim_end_matches('\0').to_owned();
        found.push((word(at) as i32, word(at + 4), name));
        at += 16 + len;
    }
    found
}

#[test]
fn events_reach_directory_and_file() {
    let world = World::new();
    let sh = Shell::root(&world);
    sh.mkdir("/d").unwrap();
    let file = InotifyFile(Inotify::new());
    let wd = file.0.add_watch(sh.place("/d").inode(), c::IN_ALL_EVENTS).unwrap();
    let io = world.io(&world.root_user);
    let open = sh.open("/d/f", OpenFlags::CREAT | OpenFlags::WRONLY, 0o600).unwrap();
    open.write(&io, &mut SliceSource::new(b"x"), None).unwrap();
    drop(open);
    let name = || "f".to_owned();
    let seen = events(&world, &file);
    let expected = [c::IN_CREATE, c::IN_OPEN, c::IN_MODIFY, c::IN_CLOSE_WRITE].map(|e| (wd, e, name()));
    assert_eq!(seen, expected);
    assert_eq!(file.readiness(), Events::empty());

    let own = file.0.add_watch(sh.place("/d/f").inode(), c::IN_DELETE_SELF | c::IN_MOVE_SELF).unwrap();
    sh.rename("/d/f", "/d/g", RenameFlags::empty()).unwrap();
    sh.unlink("/d/g").unwrap();
    assert_eq!(
        events(&world, &file),
        [
            (wd, c::IN_MOVED_FROM, name()),
            (wd, c::IN_MOVED_TO, "g".to_owned()),
            (own, c::IN_MOVE_SELF, String::new()),
            (wd, c::IN_DELETE, "g".to_owned()),
            (own, c::IN_DELETE_SELF, String::new()),
            (own, c::IN_IGNORED, String::new()),
        ]
    );
    assert_eq!(file.0.remove_watch(own), Err(Errno::EINVAL));
    assert_eq!(file.0.remove_watch(wd), Ok(()));
    sh.mkdir("/d/quiet").unwrap();
    assert_eq!(events(&world, &file), [(wd, c::IN_IGNORED, String::new())]);
}

#[test]
fn small_buffers_are_refused() {
    let world = World::new();
    let sh = Shell::root(&world);
    let file = InotifyFile(Inotify::new());
    assert_eq!(file.0.add_watch(sh.0.root.inode(), 0), Err(Errno::EINVAL));
    file.0.add_watch(sh.0.root.inode(), c::IN_CREATE).unwrap();
    sh.mkdir("/d").unwrap();
    let io = world.io(&world.root_user);
    assert_eq!(file.read(&io, &mut VecSink::new(16)), Err(Errno::EINVAL.into()));
    assert_eq!(file.read(&io, &mut VecSink::new(32)), Ok(32));
    assert_eq!(file.read(&io, &mut VecSink::new(32)), Err(IoError::WouldBlock));
}
