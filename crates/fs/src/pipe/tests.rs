use super::*;
use crate::testing::{frames, io, place, root, user};
use crate::tmpfs::{Options, TmpFs};
use host::io::{SliceSink, SliceSource};
use std::sync::atomic::AtomicU32;
use std::time::Instant;
use vfs::wait::{Sleepers, Wake};
use vfs::{CreateKind, FileSystem};

fn write(file: &OpenFile, bytes: &[u8]) -> Result<usize, IoError> {
    let caller = root();
    file.ops().write(&io(&caller), &mut SliceSource::new(bytes))
}

fn read(file: &OpenFile, len: usize) -> Result<Vec<u8>, IoError> {
    let caller = root();
    let mut bytes = vec![0; len];
    let n = file.ops().read(&io(&caller), &mut SliceSink::new(&mut bytes))?;
    bytes.truncate(n);
    Ok(bytes)
}

fn end(file: &OpenFile) -> &PipeEnd {
    file.ops_as().unwrap()
}

#[test]
fn bytes_go_through_in_order_and_fill_it() {
    let (r, w) = new_pipe(&root(), OpenFlags::empty());
    assert_eq!(read(&r, 1), Err(IoError::WouldBlock));
    let all: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
    assert_eq!(write(&w, &all), Ok(65_536));
    assert_eq!(write(&w, &all), Err(IoError::WouldBlock));
    assert_eq!(w.ops().readiness(), Events::empty());
    assert_eq!(end(&r).pipe().len(), 65_536);
    assert_eq!(read(&r, 4095).unwrap(), all[..4095]);
    // Not a whole page is free yet.
    assert_eq!(write(&w, b"x"), Err(IoError::WouldBlock));
    assert_eq!(read(&r, 1).unwrap(), all[4095..4096]);
    assert_eq!(w.ops().readiness(), Events::WRITABLE);
    assert_eq!(write(&w, &[1; 5000]), Ok(4096));
    assert_eq!(read(&r, 100_000).unwrap().len(), 65_536);
    assert_eq!(w.ops().readiness(), Events::WRITABLE);
    assert_eq!(r.ops().readiness(), Events::empty());
}

#[test]
fn small_writes_share_pages_and_stay_whole() {
    let (r, w) = new_pipe(&root(), OpenFlags::empty());
    for _ in 0..16 {
        assert_eq!(write(&w, &[1; 3000]), Ok(3000));
    }
    assert_eq!(write(&w, &[2; 3000]), Err(IoError::WouldBlock));
    assert_eq!(write(&w, &[2; 1096]), Ok(1096));
    assert_eq!(end(&r).pipe().len(), 16 * 3000 + 1096);
}

#[test]
fn peers_hang_up() {
    let (r, w) = new_pipe(&root(), OpenFlags::empty());
    write(&w, b"last").unwrap();
    drop(w);
    assert_eq!(r.ops().readiness(), Events::READABLE | Events::HUP);
    assert_eq!((read(&r, 9).unwrap(), read(&r, 9).unwrap()), (b"last".to_vec(), vec![]));
    let (r, w) = new_pipe(&root(), OpenFlags::empty());
    drop(r);
    assert_eq!(w.ops().readiness(), Events::WRITABLE | Events::ERR);
    assert_eq!(write(&w, b"x"), Err(IoError::Errno(Errno::EPIPE)));
    assert_eq!(write(&w, b""), Ok(0));
}

#[test]
fn packets_are_read_one_by_one() {
    let (r, w) = new_pipe(&root(), OpenFlags::DIRECT);
    write(&w, b"first").unwrap();
    write(&w, b"second").unwrap();
    assert_eq!(read(&r, 3).unwrap(), b"fir");
    assert_eq!(read(&r, 100).unwrap(), b"second");
    w.update_flags(OpenFlags::DIRECT, OpenFlags::empty()).unwrap();
    write(&w, b"a").unwrap();
    write(&w, b"b").unwrap();
    assert_eq!(read(&r, 100).unwrap(), b"ab");
}

#[test]
fn sizes() {
    let (r, w) = new_pipe(&root(), OpenFlags::empty());
    let pipe = end(&r).pipe();
    assert_eq!(pipe.size(), 65_536);
    assert_eq!(pipe.set_size(&root(), 100), Ok(4096));
    write(&w, &[0; 4096]).unwrap();
    assert_eq!(write(&w, b"x"), Err(IoError::WouldBlock));
    assert_eq!(pipe.set_size(&root(), 5000), Ok(8192));
    write(&w, b"x").unwrap();
    assert_eq!(pipe.set_size(&root(), 4096), Err(Errno::EBUSY));
    assert_eq!(pipe.set_size(&user(1), 2 << 20), Err(Errno::EPERM));
    assert_eq!(pipe.set_size(&root(), 2 << 20), Ok(2 << 20));
    assert_eq!(pipe.set_size(&root(), u32::MAX), Err(Errno::EINVAL));
}

#[test]
fn tee_copies() {
    let (r1, w1) = new_pipe(&root(), OpenFlags::empty());
    let (r2, _w2) = new_pipe(&root(), OpenFlags::empty());
    write(&w1, b"hello").unwrap();
    assert_eq!(end(&r1).pipe().tee(end(&r2).pipe(), 3), Ok(3));
    assert_eq!((read(&r1, 9).unwrap(), read(&r2, 9).unwrap()), (b"hello".to_vec(), b"hel".to_vec()));
    assert_eq!(end(&r1).pipe().tee(end(&r2).pipe(), 3), Err(IoError::WouldBlock));
    assert_eq!(end(&r1).pipe().tee(end(&w1).pipe(), 3), Err(IoError::Errno(Errno::EINVAL)));
}

#[test]
fn fifos_wait_for_each_other() {
    let fs: Arc<dyn FileSystem> = TmpFs::new(&frames(), Options::default()).unwrap();
    let inode = fs.root().create(&root(), b"fifo", CreateKind::Fifo { perm: 0o600 }).unwrap();
    let at = place(&fs, inode);
    let caller = root();
    let cx = io(&caller);
    let writer = OpenFlags::WRONLY;
    assert_eq!(open_fifo(&at, writer | OpenFlags::NONBLOCK).err(), Some(Errno::ENXIO));
    let r = open_fifo(&at, OpenFlags::empty()).unwrap();
    assert_eq!(r.ops().finish_open(&cx), Err(IoError::WouldBlock));
    let w = open_fifo(&at, writer).unwrap();
    assert_eq!((r.ops().finish_open(&cx), w.ops().finish_open(&cx)), (Ok(()), Ok(())));
    write(&w, b"x").unwrap();
    drop(w);
    assert_eq!(r.ops().readiness(), Events::READABLE | Events::HUP);
    drop(r);
    let r = open_fifo(&at, OpenFlags::NONBLOCK).unwrap();
    // What was left went with the last end, and nobody hung up on this one.
    assert_eq!((r.ops().finish_open(&cx), r.ops().readiness()), (Ok(()), Events::empty()));
    assert_eq!(read(&r, 1), Ok(vec![]));
    drop(r);
    let both = open_fifo(&at, OpenFlags::RDWR).unwrap();
    assert_eq!(both.ops().finish_open(&cx), Ok(()));
    write(&both, b"self").unwrap();
    assert_eq!(read(&both, 9).unwrap(), b"self");
}

struct Count(AtomicU32);

impl Wake for Count {
    fn wake(&self, _: Events, _: &mut Sleepers) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        true
    }
}

#[test]
fn writers_wake_only_for_room() {
    let (r, w) = new_pipe(&root(), OpenFlags::empty());
    let count = Arc::new(Count(AtomicU32::new(0)));
    let _registration = w.ops().wait_queue().unwrap().register(Events::WRITABLE, count.clone());
    write(&w, b"abc").unwrap();
    read(&r, 3).unwrap();
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    write(&w, &[0; 65_536]).unwrap();
    read(&r, 10).unwrap();
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    read(&r, 4096).unwrap();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
}

#[test]
#[ignore = "prints timings"]
fn timings() {
    let caller = root();
    let cx = io(&caller);
    let (r, w) = new_pipe(&caller, OpenFlags::empty());
    for size in [1, 4096, 65_536] {
        let n = if size == 1 { 1_000_000u32 } else { 50_000 };
        let bytes = vec![1; size];
        let mut back = vec![0; size];
        let start = Instant::now();
        for _ in 0..n {
            w.ops().write(&cx, &mut SliceSource::new(&bytes)).unwrap();
            r.ops().read(&cx, &mut SliceSink::new(&mut back)).unwrap();
        }
        println!("{size} bytes through: {} ns", start.elapsed().as_nanos() / u128::from(n));
    }
}
