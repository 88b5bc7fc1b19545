//! Sockets of all families, without a kernel around them.

use crate::Namespace;
use crate::inet::{TcpSocket, UdpSocket};
use crate::socket::{Control, SendFlags, Socket, SocketFile};
use crate::unix::UnixSocket;
use abi::Errno;
use abi::raw::net as n;
use host::io::{SliceSink, SliceSource};
use std::any::Any;
use std::sync::Arc;
use vfs::wait::Events;
use vfs::{CallState, Caller, Credentials, IoCx, IoError};

struct Root;

impl Caller for Root {
    fn creds(&self) -> Arc<Credentials> {
        Arc::new(Credentials::new(0, 0, &[]))
    }
    fn tid(&self) -> i32 {
        1
    }
    fn tgid(&self) -> i32 {
        1
    }
    fn copy_in(&self, _: u64, _: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }
    fn copy_out(&self, _: u64, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn with_io<T>(nonblock: bool, op: impl FnOnce(&IoCx<'_>) -> T) -> T {
    let call = CallState::default();
    op(&IoCx { caller: &Root, nonblock, sync: false, call: &call })
}

fn send(socket: &dyn Socket, bytes: &[u8]) -> Result<usize, IoError> {
    send_with(socket, bytes, Control::default())
}

fn send_with(socket: &dyn Socket, bytes: &[u8], mut control: Control) -> Result<usize, IoError> {
    let mut src = SliceSource::new(bytes);
    with_io(true, |io| socket.send(io, &mut src, None, &mut control, SendFlags::empty()))
}

fn receive(socket: &dyn Socket) -> Result<Vec<u8>, IoError> {
    let mut buffer = vec![0; 1 << 20];
    let got = with_io(true, |io| socket.receive(io, &mut SliceSink::new(&mut buffer), SendFlags::empty()))?;
    buffer.truncate(got.len);
    Ok(buffer)
}

fn is<T>(result: &Result<T, IoError>, errno: Errno) -> bool {
    matches!(result, Err(IoError::Errno(e)) if *e == errno)
}

fn waits<T>(result: &Result<T, IoError>) -> bool {
    matches!(result, Err(IoError::WouldBlock))
}

fn tcp_pair(space: &Arc<Namespace>) -> (Arc<TcpSocket>, Arc<dyn Socket>, Arc<TcpSocket>) {
    let listener = TcpSocket::new(space, n::AF_INET);
    listener.listen(&Root, 5).unwrap();
    let client = TcpSocket::new(space, n::AF_INET);
    assert!(with_io(false, |io| client.connect(io, &listener.name())).is_ok());
    let (accepted, peer) = listener.accept().ok().unwrap();
    assert_eq!(peer, client.name());
    (client, accepted, listener)
}

#[test]
fn tcp_carries_bytes_and_ends() {
    let space = Arc::<Namespace>::default();
    let (client, server, _listener) = tcp_pair(&space);
    assert!(send(&*client, b"hello").is_ok());
    assert_eq!(receive(&*server).ok().unwrap(), b"hello");
    assert!(waits(&receive(&*server)));
    client.shutdown(false, true).unwrap();
    assert_eq!(receive(&*server).ok().unwrap(), b"");
    assert!(is(&send(&*client, b"x"), Errno::EPIPE));
    assert_eq!(send(&*server, b"half open").ok(), Some(9));
    client.closed();
    server.closed();
}

#[test]
fn unread_bytes_reset_a_tcp_connection() {
    let space = Arc::<Namespace>::default();
    let (client, server, _listener) = tcp_pair(&space);
    assert!(send(&*client, b"unread").is_ok());
    server.closed();
    assert!(client.readiness().contains(Events::ERR | Events::HUP));
    assert!(is(&receive(&*client), Errno::ECONNRESET));
    assert_eq!(receive(&*client).ok().unwrap(), b"");
    assert!(is(&send(&*client, b"x"), Errno::EPIPE));
}

#[test]
fn a_full_tcp_backlog_makes_connections_wait() {
    let space = Arc::<Namespace>::default();
    let listener = TcpSocket::new(&space, n::AF_INET6);
    listener.listen(&Root, 0).unwrap();
    let clients: Vec<_> = (0..2).map(|_| TcpSocket::new(&space, n::AF_INET6)).collect();
    assert!(with_io(false, |io| clients[0].connect(io, &listener.name())).is_ok());
    assert!(is(&with_io(true, |io| clients[1].connect(io, &listener.name())), Errno::EINPROGRESS));
    assert!(is(&with_io(true, |io| clients[1].connect(io, &listener.name())), Errno::EALREADY));
    assert!(!clients[1].readiness().contains(Events::WRITABLE));
    assert!(listener.accept().is_ok());
    assert!(clients[1].readiness().contains(Events::WRITABLE));
    assert!(with_io(true, |io| clients[1].connect(io, &listener.name())).is_ok());
    assert!(is(&with_io(true, |io| clients[1].connect(io, &listener.name())), Errno::EISCONN));
}

#[test]
fn a_tcp_sender_waits_for_room() {
    let space = Arc::<Namespace>::default();
    let (client, server, _listener) = tcp_pair(&space);
    let block = vec![1; 1 << 16];
    let mut total = 0;
    while let Ok(sent) = send(&*client, &block) {
        total += sent;
    }
    assert!(!client.readiness().contains(Events::WRITABLE));
    let mut got = 0;
    while let Ok(bytes) = receive(&*server) {
        got += bytes.len();
    }
    assert_eq!((got, client.readiness().contains(Events::WRITABLE)), (total, true));
}

#[test]
fn nobody_listens() {
    let space = Arc::<Namespace>::default();
    let listener = TcpSocket::new(&space, n::AF_INET);
    listener.listen(&Root, 0).unwrap();
    let address = listener.name();
    listener.closed();
    let client = TcpSocket::new(&space, n::AF_INET);
    assert!(is(&with_io(false, |io| client.connect(io, &address)), Errno::ECONNREFUSED));
    let far = [2, 0, 0, 80, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(is(&with_io(false, |io| client.connect(io, &far)), Errno::ENETUNREACH));
}

#[test]
fn udp_tells_who_sent() {
    let space = Arc::<Namespace>::default();
    let (a, b) = (UdpSocket::new(&space, n::AF_INET), UdpSocket::new(&space, n::AF_INET));
    b.bind(&Root, &[2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    assert!(is(&send(&*a, b"x"), Errno::EDESTADDRREQ));
    assert!(with_io(true, |io| a.connect(io, &b.name())).is_ok());
    assert!(send(&*a, b"one").is_ok());
    let mut buffer = [0; 8];
    let got = with_io(true, |io| b.receive(io, &mut SliceSink::new(&mut buffer), SendFlags::empty())).ok().unwrap();
    assert_eq!((got.len, got.from), (3, a.name()));
    b.closed();
    assert!(send(&*a, b"two").is_ok());
    assert!(is(&receive(&*a), Errno::ECONNREFUSED));
    assert!(waits(&receive(&*a)));
}

#[test]
fn local_pairs_limit_what_is_under_way() {
    let space = Arc::<Namespace>::default();
    for kind in [n::SOCK_STREAM, n::SOCK_DGRAM, n::SOCK_SEQPACKET] {
        let (a, b) = UnixSocket::pair(kind, &space, &Root);
        let mut sent = 0;
        while send(&*a, &[7; 1000]).is_ok() {
            sent += 1;
        }
        assert!(sent > 100, "kind {kind}");
        assert!(!a.readiness().contains(Events::WRITABLE));
        while receive(&*b).is_ok() {}
        assert!(a.readiness().contains(Events::WRITABLE));
        a.closed();
        b.closed();
    }
}

#[test]
fn sockets_in_each_others_queues_are_collected() {
    let space = Arc::<Namespace>::default();
    let (a, b) = UnixSocket::pair(n::SOCK_STREAM, &space, &Root);
    let (left, right) = (Arc::downgrade(&a), Arc::downgrade(&b));
    let open = |s: Arc<UnixSocket>| Arc::new(SocketFile::open(s, false, &Root));
    let (file_a, file_b) = (open(a.clone()), open(b.clone()));
    for (socket, file) in [(&a, &file_a), (&b, &file_b)] {
        let files = vec![file.clone()];
        let flight = Some(space.flights.send(&files, 0, 10).unwrap());
        assert!(send_with(&**socket, b"x", Control { files, flight, credentials: None }).is_ok());
    }
    drop((a, b, file_a, file_b));
    assert!(left.upgrade().is_some() && right.upgrade().is_some());
    space.flights.collect();
    assert!(left.upgrade().is_none() && right.upgrade().is_none());
    assert!(!space.flights.any_sockets());
}

#[test]
fn a_long_chain_of_sockets_in_sockets_is_dropped() {
    let space = Arc::<Namespace>::default();
    let mut inner = None;
    for _ in 0..20_000 {
        let (a, b) = UnixSocket::pair(n::SOCK_STREAM, &space, &Root);
        let files: Vec<_> = inner.take().into_iter().collect();
        assert!(send_with(&*a, b"x", Control { files, ..Control::default() }).is_ok());
        inner = Some(Arc::new(SocketFile::open(b, false, &Root)));
        a.closed();
    }
    drop(inner);
    assert!(space.sockets().is_empty());
}

#[test]
fn too_many_in_flight() {
    let space = Arc::<Namespace>::default();
    let (a, _b) = UnixSocket::pair(n::SOCK_STREAM, &space, &Root);
    let file = Arc::new(SocketFile::open(a, false, &Root));
    let files = vec![file.clone(), file];
    let flight = space.flights.send(&files, 7, 1).unwrap();
    assert!(matches!(space.flights.send(&files, 7, 1), Err(Errno::ETOOMANYREFS)));
    drop(flight);
    assert!(space.flights.send(&files, 7, 1).is_ok());
}
