//! Standard descriptors of every kind that a caller can hand to `vizor do`: what a program (`stdio.c`) sees of them, and what
//! the caller sees of them afterwards, is what it would be without `vizor`.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, SeekFrom, fcntl_getfl, fstat, major, open, seek};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, sendmsg,
    shutdown, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::io::{BufRead, BufReader, IoSlice};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{fs, thread};

const VIZOR: &str = env!("CARGO_BIN_EXE_vizor");
/// What files hold, and what waits in pipes and sockets.
const CONTENT: &[u8] = b"0123456789";

/// The program, built once.
fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stdio.c");
        let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("stdio");
        let built = Command::new("cc").args(["-O1", "-Wall", "-Wextra", "-o"]).arg(&program).arg(source).status();
        assert!(built.expect("cc runs").success());
        program
    })
}

/// A descriptor to hand over, and what is at its other end.
struct Given {
    fd: OwnedFd,
    peer: Option<OwnedFd>,
    file: Option<PathBuf>,
}

impl Given {
    fn file(name: &str, flags: OFlags) -> Given {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("stdio-{}-{name}", std::process::id()));
        fs::write(&path, CONTENT).expect("written");
        let fd = open(&path, flags | OFlags::CLOEXEC, Mode::empty()).expect("open");
        Given { fd, peer: None, file: Some(path) }
    }

    fn device(path: &str, flags: OFlags) -> Given {
        Given { fd: open(path, flags | OFlags::CLOEXEC, Mode::empty()).expect("open"), peer: None, file: None }
    }

    fn pipe(input: bool) -> Given {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        let (fd, peer) = if input { (read, write) } else { (write, read) };
        if input {
            rustix::io::write(&peer, CONTENT).expect("write");
        }
        Given { fd, peer: Some(peer), file: None }
    }

    /// A pipe whose other end is closed.
    fn half_a_pipe(input: bool) -> Given {
        let mut given = Given::pipe(input);
        given.peer = None;
        given
    }

    fn socket(kind: SocketType) -> Given {
        let (fd, peer) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).expect("socketpair");
        rustix::io::write(&peer, CONTENT).expect("write");
        Given { fd, peer: Some(peer), file: None }
    }

    fn tcp() -> Given {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let peer = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        let (fd, _) = listener.accept().expect("accepted");
        rustix::io::write(&peer, CONTENT).expect("write");
        Given::arrived(fd.into(), peer.into())
    }

    fn udp() -> Given {
        let [fd, peer] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a port"));
        fd.connect(peer.local_addr().expect("an address")).expect("connected");
        peer.connect(fd.local_addr().expect("an address")).expect("connected");
        peer.send(CONTENT).expect("sent");
        Given::arrived(fd.into(), peer.into())
    }

    /// One with input, once it is there.
    fn arrived(fd: OwnedFd, peer: OwnedFd) -> Given {
        while rustix::io::ioctl_fionread(&fd).expect("FIONREAD") == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        Given { fd, peer: Some(peer), file: None }
    }

    fn terminal(flags: OFlags) -> Given {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("openpt");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let name = ptsname(&master, Vec::new()).expect("ptsname");
        let fd = open(&name, flags | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).expect("slave");
        rustix::io::write(&master, b"line\n").expect("write");
        Given::arrived(fd, master)
    }

    fn again(&self) -> Stdio {
        Stdio::from(fcntl_dupfd_cloexec(&self.fd, 3).expect("dup"))
    }

    /// What the caller sees of it: flags, offset, the file, what came to the other end.
    fn seen(&self) -> String {
        let mut came = Vec::new();
        if let Some(peer) = &self.peer {
            rustix::io::ioctl_fionbio(peer, true).expect("FIONBIO");
            let mut buffer = [0; 256];
            while let Ok(len @ 1..) = rustix::io::read(peer, &mut buffer) {
                came.extend_from_slice(&buffer[..len]);
            }
        }
        let file = self.file.as_ref().map(|path| fs::read(path).expect("read"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!(
            "flags {:?}, at {:?}, holds {:?}, came {:?}",
            fcntl_getfl(&self.fd).expect("F_GETFL"),
            seek(&self.fd, SeekFrom::Current(0)),
            file.as_deref().map(text),
            text(&came)
        )
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        if let Some(path) = &self.file {
            let _ = fs::remove_file(path);
        }
    }
}

/// Runs a command whose descriptor of this number is `given`; returns what it says on another one.
fn play(command: &mut Command, number: usize, given: &Given) -> String {
    let (said, report) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
    let mut stdio = [Stdio::null(), Stdio::null(), Stdio::null()];
    stdio[if number == 1 { 2 } else { 1 }] = Stdio::from(report);
    stdio[number] = given.again();
    let [stdin, stdout, stderr] = stdio;
    let mut child = command.stdin(stdin).stdout(stdout).stderr(stderr).spawn().expect("starts");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let reader = thread::spawn(move || std::io::read_to_string(fs::File::from(said)).expect("a report"));
    let start = Instant::now();
    while child.try_wait().expect("wait").is_none() {
        if start.elapsed() > Duration::from_secs(20) {
            let _ = child.kill();
            panic!("still running");
        }
        thread::sleep(Duration::from_millis(2));
    }
    reader.join().expect("a report")
}

/// Where the report goes for a descriptor under test.
fn report_of(number: usize) -> &'static str {
    if number == 1 { "2" } else { "1" }
}

/// What Linux says, with what a sandbox refuses: it opens nothing anew with more access than it was given.
fn without_wider_access(said: &str, access: OFlags) -> String {
    let refuses = |line: &str| match access & OFlags::ACCMODE {
        OFlags::RDONLY => ["write", "both", "append"].iter().any(|to| line.starts_with(&format!("open to {to}: 0"))),
        OFlags::WRONLY => ["read", "both"].iter().any(|to| line.starts_with(&format!("open to {to}: 0"))),
        _ => false,
    };
    let line = |line: &str| {
        let mut words = line.split(' ');
        match (refuses(line), words.nth(2), words.nth(1)) {
            (true, Some(to), Some(name)) => format!("open to {to} EACCES {name} 0 at 0\n"),
            _ => format!("{line}\n"),
        }
    };
    said.lines().map(line).collect()
}

/// The program must see the same in both places, and the caller the same afterwards.
#[track_caller]
fn compare(number: usize, parts: &[&str], make: impl Fn() -> Given) {
    let arguments = [&[["0", "1", "2"][number], report_of(number)], parts].concat();
    let native = make();
    let access = fcntl_getfl(&native.fd).expect("F_GETFL");
    let said = play(Command::new(program()).args(&arguments), number, &native);
    let ours = make();
    // These are the sandbox's own.
    let memory_device = major(fstat(&native.fd).expect("fstat").st_rdev) == 1;
    let expected = if memory_device { said } else { without_wider_access(&said, access) };
    let got = play(Command::new(VIZOR).args(["do", "--"]).arg(program()).args(&arguments), number, &ours);
    assert!(!expected.is_empty());
    for (want, got) in expected.lines().zip(got.lines()) {
        assert_eq!(want, got, "Linux, and then Vizor");
    }
    assert_eq!(expected, got);
    assert_eq!(native.seen(), ours.seen());
}

const ALL: &[&str] = &["flags", "status", "terminal", "again", "transfer", "map", "sockets"];

#[test]
fn files() {
    for (name, flags) in [("read", OFlags::RDONLY), ("both", OFlags::RDWR), ("tail", OFlags::RDWR | OFlags::APPEND)] {
        compare(0, ALL, || Given::file(name, flags));
    }
    for (name, flags) in [("write", OFlags::WRONLY), ("append", OFlags::WRONLY | OFlags::APPEND)] {
        compare(1, ALL, || Given::file(name, flags));
    }
    compare(0, ALL, || {
        let given = Given::file("moved", OFlags::RDWR);
        seek(&given.fd, SeekFrom::Start(5)).expect("seek");
        given
    });
}

#[test]
fn memory_devices() {
    for path in ["/dev/null", "/dev/full"] {
        compare(0, ALL, || Given::device(path, OFlags::RDONLY));
        compare(0, ALL, || Given::device(path, OFlags::RDWR | OFlags::NONBLOCK));
        compare(1, ALL, || Given::device(path, OFlags::WRONLY | OFlags::APPEND));
    }
    let but_transfers = &["flags", "status", "terminal", "again", "sockets"];
    for path in ["/dev/zero", "/dev/random", "/dev/urandom"] {
        compare(0, but_transfers, || Given::device(path, OFlags::RDWR));
    }
}

#[test]
fn pipes() {
    compare(0, ALL, || Given::pipe(true));
    compare(1, ALL, || Given::pipe(false));
    compare(0, ALL, || Given::half_a_pipe(true));
    compare(1, ALL, || Given::half_a_pipe(false));
}

#[test]
fn terminals() {
    let but_sockets = &["flags", "status", "terminal", "again", "transfer", "map"];
    compare(0, but_sockets, || Given::terminal(OFlags::RDWR));
    compare(0, but_sockets, || Given::terminal(OFlags::RDONLY));
}

#[test]
fn the_console() {
    let quiet = || {
        let given = Given::terminal(OFlags::RDWR);
        // First: what has not arrived there yet is flushed too, and then there would be nothing to read.
        rustix::io::read(given.peer.as_ref().expect("a peer"), &mut [0; 64]).expect("the echo");
        rustix::termios::tcflush(&given.fd, rustix::termios::QueueSelector::IOFlush).expect("flushed");
        given
    };
    compare(1, &["flags", "status", "terminal", "again", "transfer", "map", "sockets"], quiet);
    compare(2, &["flags", "status", "terminal", "again"], quiet);
}

#[test]
fn sockets() {
    for kind in [SocketType::STREAM, SocketType::DGRAM, SocketType::SEQPACKET] {
        compare(0, ALL, || Given::socket(kind));
    }
    // TCP sockets of Linux can be mapped, to receive without copying.
    compare(0, &["flags", "status", "terminal", "again", "transfer", "sockets"], Given::tcp);
    compare(0, ALL, Given::udp);
}

#[test]
fn a_socket_makes_wait_and_passes_no_descriptors() {
    let script = "if True:
        import array, socket, sys
        here = socket.socket(fileno=0)
        print(here.family.name, here.type.name, repr(here.getpeername()))
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [1]))]
        for call in lambda: here.sendmsg([b'x'], rights), here.accept, lambda: here.listen(1):
            try:
                print(call())
            except OSError as error:
                print(error.strerror)
        print('waiting', flush=True)
        print(here.recvmsg(10, 100)[:2], here.recv(10), here.recv(10))
        here.send(b'bye')";
    let given = Given::socket(SocketType::STREAM);
    let peer = given.peer.as_ref().expect("a peer");
    rustix::io::read(&given.fd, &mut [0; 64]).expect("emptied");
    let mut command = Command::new(VIZOR);
    command.args(["do", "--", "/usr/bin/python3", "-c", script]).stdin(given.again()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines().map(|line| line.expect("a line"));
    let said: Vec<String> = lines.by_ref().take(5).collect();
    let refused = "Operation not permitted";
    assert_eq!(said, ["AF_UNIX SOCK_STREAM ''", refused, "Invalid argument", refused, "waiting"]);
    thread::sleep(Duration::from_millis(100));
    let (mut space, passed) = ([MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))], [peer.as_fd()]);
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
    sendmsg(peer, &[IoSlice::new(b"first")], &mut control, SendFlags::empty()).expect("sent");
    thread::sleep(Duration::from_millis(100));
    rustix::io::write(peer, b"second").expect("written");
    thread::sleep(Duration::from_millis(100));
    shutdown(peer, Shutdown::Write).expect("shut down");
    assert_eq!(lines.next().as_deref(), Some("(b'first', []) b'second' b''"));
    assert!(child.wait().expect("waits").success());
    let mut last = [0; 8];
    assert_eq!(rustix::io::read(peer, &mut last).map(|len| last[..len].to_vec()), Ok(b"bye".to_vec()));
}

#[test]
fn closed_ones() {
    for which in ["<&-", ">&-", "<&- >&-"] {
        let script = format!("exec \"$@\" 2>&1 {which}");
        let report = |prefix: &[&str]| {
            let number = if which.starts_with('<') { "0" } else { "1" };
            let mut command = Command::new("sh");
            command.args(["-c", &script, "sh"]).args(prefix).arg(program()).args([number, "2"]).args(ALL);
            let out = command.stdin(Stdio::null()).output().expect("runs");
            String::from_utf8_lossy(&out.stdout).into_owned()
        };
        assert_eq!(report(&[]), report(&[VIZOR, "do", "--"]), "{which}");
    }
}

#[test]
fn the_callers_flags_stay_as_they_were() {
    // What a guest sets, the others who share the description do not get: unlike Linux, and on purpose.
    let script = "import fcntl, os\nfor fd in (0,):\n  fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND)";
    for given in [
        Given::file("kept", OFlags::RDWR),
        Given::pipe(true),
        Given::socket(SocketType::STREAM),
        Given::terminal(OFlags::RDWR),
    ] {
        let before = fcntl_getfl(given.fd.as_fd()).expect("F_GETFL");
        play(Command::new(VIZOR).args(["do", "--", "/usr/bin/python3", "-c", script]), 0, &given);
        assert_eq!(fcntl_getfl(given.fd.as_fd()).expect("F_GETFL"), before);
    }
}
