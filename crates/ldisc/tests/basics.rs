//! The main paths, spelt out. The comparison with Linux is in `golden.rs` and `live.rs`.

use abi::raw::general as raw;
use abi::termios::Termios2;
use vizor_ldisc::{Effects, LineDiscipline, ReadResult, Readiness, Side, Signals, Wake, When};

struct Pty {
    ldisc: LineDiscipline,
    effects: Effects,
}

impl Pty {
    fn new() -> Self {
        Self { ldisc: LineDiscipline::new(&Termios2::pty_default()), effects: Effects::default() }
    }

    fn change(&mut self, change: impl FnOnce(&mut Termios2)) {
        let mut termios = *self.ldisc.termios();
        change(&mut termios);
        self.ldisc.set_termios(&termios, When::Now, &mut self.effects);
    }

    fn type_in(&mut self, bytes: &[u8]) {
        assert_eq!(self.ldisc.input(bytes, &mut self.effects), bytes.len());
    }

    fn read(&mut self) -> (ReadResult, Vec<u8>) {
        let mut buf = [0; 256];
        let mut op = self.ldisc.begin_read(0);
        let result = self.ldisc.read(&mut op, &mut buf, true, 0, &mut self.effects);
        (result, buf[..op.filled()].to_vec())
    }

    fn screen(&mut self) -> Vec<u8> {
        let mut buf = [0; 4096];
        match self.ldisc.read_output(&mut buf, &mut self.effects) {
            ReadResult::Done(len) => buf[..len].to_vec(),
            _ => Vec::new(),
        }
    }
}

#[test]
fn a_line_is_edited_echoed_and_read() {
    let mut pty = Pty::new();
    pty.type_in(b"lz\x7fs");
    assert_eq!(pty.read().0, ReadResult::WouldBlock);
    pty.type_in(b"\r");
    assert_eq!(pty.read(), (ReadResult::Done(3), b"ls\n".to_vec()));
    assert_eq!(pty.screen(), b"lz\x08 \x08s\r\n");
    assert!(pty.effects.wake.contains(Wake::SLAVE_READ | Wake::MASTER_READ));
}

#[test]
fn end_of_file_is_an_empty_read() {
    let mut pty = Pty::new();
    pty.type_in(b"\x04");
    assert_eq!(pty.read().0, ReadResult::Done(0));
    assert_eq!(pty.read().0, ReadResult::WouldBlock);
}

#[test]
fn interrupt_signals_and_flushes() {
    let mut pty = Pty::new();
    pty.type_in(b"abc\x03");
    assert_eq!(pty.effects.signals, Signals::INT);
    assert_eq!(pty.screen(), b"^C");
    pty.type_in(b"\n");
    assert_eq!(pty.read().1, b"\n");
}

#[test]
fn stop_holds_output_back() {
    let mut pty = Pty::new();
    pty.type_in(b"\x13");
    assert_eq!(pty.ldisc.output(b"x", &mut pty.effects), Ok(0));
    assert!(!pty.ldisc.readiness(Side::Slave).contains(Readiness::OUT));
    pty.type_in(b"\x11");
    assert_eq!(pty.ldisc.output(b"x\n", &mut pty.effects), Ok(2));
    assert_eq!(pty.screen(), b"x\r\n");
}

#[test]
fn vtime_states_its_deadlines() {
    let mut pty = Pty::new();
    pty.change(|t| {
        t.c_lflag &= !(raw::ICANON | raw::ECHO);
        t.c_cc[raw::VMIN as usize] = 3;
        t.c_cc[raw::VTIME as usize] = 2;
    });
    let mut buf = [0; 8];
    let mut op = pty.ldisc.begin_read(1000);
    let wait = |deadline| ReadResult::Wait { deadline };
    assert_eq!(pty.ldisc.read(&mut op, &mut buf, false, 1000, &mut pty.effects), wait(None));
    pty.type_in(b"a");
    assert_eq!(pty.ldisc.read(&mut op, &mut buf, false, 2000, &mut pty.effects), wait(Some(200_002_000)));
    assert_eq!(pty.ldisc.read(&mut op, &mut buf, false, 200_002_000, &mut pty.effects), ReadResult::Done(1));

    pty.change(|t| t.c_cc[raw::VMIN as usize] = 0);
    let mut op = pty.ldisc.begin_read(0);
    assert_eq!(pty.ldisc.read(&mut op, &mut buf, false, 0, &mut pty.effects), wait(Some(200_000_000)));
    assert_eq!(pty.ldisc.read(&mut op, &mut buf, false, 200_000_000, &mut pty.effects), ReadResult::Done(0));
}

#[test]
fn a_closed_end_is_seen_by_the_other() {
    let mut pty = Pty::new();
    assert_eq!(pty.ldisc.output(b"bye", &mut pty.effects), Ok(3));
    pty.ldisc.slave_closed(&mut pty.effects);
    assert_eq!(pty.screen(), b"bye");
    assert_eq!(pty.ldisc.read_output(&mut [0; 1], &mut pty.effects), ReadResult::HungUp);
    pty.ldisc.slave_opened();
    pty.ldisc.master_closed(&mut pty.effects);
    assert_eq!(pty.ldisc.output(b"x", &mut pty.effects), Err(abi::Errno::EIO));
    assert_eq!(pty.read().0, ReadResult::Done(0));
}
