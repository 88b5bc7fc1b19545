//! Hand-written cases, by subject.

use abi::raw::general as raw;
use abi::termios::Termios2;

use crate::step::{Case, Flow, Queue, Side, Step, When};

/// Files of cases.
#[must_use]
pub fn files() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("canonical", canonical()),
        ("characters", characters()),
        ("echo", echo()),
        ("input-flags", input_flags()),
        ("output-flags", output_flags()),
        ("raw", raw_reads()),
        ("signals", signals()),
        ("flow", flow()),
        ("packet", packet()),
        ("modes", modes()),
        ("limits", limits()),
        ("settings", settings()),
        ("keys", keys()),
        ("unheeded", unheeded()),
        ("simulated", simulated()),
    ]
}

fn typed(bytes: &[u8]) -> Step {
    Step::Write(Side::Master, bytes.to_vec())
}

fn put_out(bytes: &[u8]) -> Step {
    Step::Write(Side::Slave, bytes.to_vec())
}

fn screen() -> Step {
    Step::Read(Side::Master, 9000)
}

fn read(len: usize) -> Step {
    Step::Read(Side::Slave, len)
}

fn with(change: impl FnOnce(&mut Termios2)) -> Termios2 {
    let mut termios = Termios2::pty_default();
    change(&mut termios);
    termios
}

fn set(change: impl FnOnce(&mut Termios2)) -> Step {
    Step::Termios(When::Now, with(change))
}

fn iflag(on: u32, off: u32) -> Step {
    set(|t| t.c_iflag = t.c_iflag & !off | on)
}

fn oflag(on: u32, off: u32) -> Step {
    set(|t| t.c_oflag = t.c_oflag & !off | on)
}

fn lflag(on: u32, off: u32) -> Step {
    set(|t| t.c_lflag = t.c_lflag & !off | on)
}

fn raw_mode(t: &mut Termios2, min: u8, time: u8) {
    (t.c_iflag, t.c_oflag, t.c_lflag) = (0, 0, 0);
    t.c_cc[raw::VMIN as usize] = min;
    t.c_cc[raw::VTIME as usize] = time;
}

fn raw_with(min: u8, time: u8) -> Step {
    set(|t| raw_mode(t, min, time))
}

fn case(name: &str, steps: impl IntoIterator<Item = Step>) -> Case {
    Case { name: name.to_owned(), steps: steps.into_iter().collect() }
}

/// The same input under each of several settings.
fn each(name: &str, settings: impl IntoIterator<Item = Step>, steps: &[Step]) -> Vec<Case> {
    let all = settings.into_iter().enumerate();
    all.map(|(i, setting)| {
        let steps = std::iter::once(setting).chain(steps.iter().cloned());
        case(&format!("{name}-{i}"), steps)
    })
    .collect()
}

fn canonical() -> Vec<Case> {
    vec![
        case("lines", [typed(b"one\ntwo\nthree"), read(100), read(100), read(100), typed(b"\n"), read(100)]),
        case("in-pieces", [typed(b"abcdef\n"), read(2), read(2), read(1), read(0), read(100), read(1)]),
        case("carriage-return", [typed(b"a\rb\r\n"), read(9), read(9), read(9), screen()]),
        case("end-of-file", [typed(b"\x04"), read(9), read(9), typed(b"ab\x04"), read(9), read(9)]),
        case("end-of-file-at-the-buffer's-end", [typed(b"abcde\x04\x04x\x04"), read(5), read(5), read(5), read(5)]),
        case("end-of-file-after-64", [typed(&[[b'x'; 64].as_slice(), b"\x04y\n"].concat()), read(200), read(200)]),
        case("long-line", [typed(&[b'x'; 200]), typed(b"\n"), read(500), screen()]),
        case("nul-in-a-line", [typed(b"a\0b\n\0\n"), read(9), read(9), screen()]),
        case(
            "line-survives-close",
            [
                typed(b"kept\npart"),
                Step::CloseSlave,
                Step::Read(Side::Master, 100),
                Step::Read(Side::Master, 100),
                typed(b"ial\n"),
                Step::OpenSlave,
                read(100),
                read(100),
                screen(),
            ],
        ),
        case("winsize", [Step::Winsize(24, 80), Step::Winsize(24, 80), Step::Winsize(25, 80)]),
    ]
}

fn characters() -> Vec<Case> {
    let eols = |t: &mut Termios2| {
        t.c_cc[raw::VEOL as usize] = b'e';
        t.c_cc[raw::VEOL2 as usize] = b'f';
    };
    let mut cases = vec![
        case("eol", [set(eols), typed(b"onetwofxe\n"), read(9), read(9), read(9), read(9), screen()]),
        case(
            "eol2-without-iexten",
            [
                set(|t| {
                    eols(t);
                    t.c_lflag &= !raw::IEXTEN;
                }),
                typed(b"onetwofx\n"),
                read(9),
                read(9),
            ],
        ),
        case("literal-next", [typed(b"a\x16\x03b\x16\x7fc\x16\x16\n"), read(99), screen()]),
        case("literal-next-apart", [typed(b"a\x16"), screen(), typed(b"\n"), typed(b"\n"), read(99), screen()]),
        case("reprint", [typed(b"abc\x01\tz"), screen(), typed(b"\x12"), screen(), typed(b"\n"), read(99)]),
        case("discard-does-nothing", [typed(b"a\x0fb\n"), read(99), put_out(b"out"), screen()]),
        case(
            "switched-off",
            [set(|t| t.c_cc = [0; 19]), typed(b"a\0\x03\x04\x7f\x15\x11\x13\x16\x17\n"), read(99), screen()],
        ),
        case(
            "two-meanings",
            [
                set(|t| {
                    t.c_cc[raw::VERASE as usize] = b'k';
                    t.c_cc[raw::VKILL as usize] = b'k';
                    t.c_cc[raw::VWERASE as usize] = b'k';
                    t.c_cc[raw::VEOF as usize] = b'\n';
                }),
                typed(b"abkc\n"),
                read(99),
                screen(),
            ],
        ),
    ];
    for flags in [0, raw::IEXTEN, raw::IEXTEN | raw::ECHO] {
        cases.push(case(
            &format!("extended-{flags:x}"),
            [lflag(flags, raw::IEXTEN | raw::ECHO), typed(b"ab cd\x17ef\x12\x16\x0fgh\n"), read(99), screen()],
        ));
    }
    cases
}

fn echo() -> Vec<Case> {
    let text: &[&[u8]] =
        &[b"ab\tc\x01d\x7f\x7f\x7f\x7f", b"one two_3 \x17\x17", b"kill me\x15", b"\xc3\xa4\xe2\x82\xac\x7f\x7f\n"];
    let mut steps = Vec::new();
    for part in text {
        steps.extend([typed(part), screen()]);
    }
    steps.push(read(99));
    let all = raw::ECHO | raw::ECHOE | raw::ECHOK | raw::ECHOKE | raw::ECHOCTL;
    let settings = [
        all,
        all & !raw::ECHOCTL,
        all & !raw::ECHOE,
        all & !raw::ECHOKE,
        all & !raw::ECHOK,
        all & !(raw::ECHOK | raw::ECHOKE),
        all | raw::ECHOPRT,
        all & !raw::ECHOCTL | raw::ECHOPRT,
        raw::ECHO,
        raw::ECHONL,
        all | raw::ECHONL,
        0,
    ];
    let off = all | raw::ECHONL | raw::ECHOPRT;
    let mut cases = each("edit", settings.map(|on| lflag(on, off)), &steps);
    let utf8 = settings.map(|on| {
        set(|t| {
            t.c_lflag = t.c_lflag & !off | on;
            t.c_iflag |= raw::IUTF8;
        })
    });
    cases.extend(each("edit-utf8", utf8, &steps));
    for column in 0..9 {
        cases.push(case(
            &format!("tab-erased-at-column-{column}"),
            [
                put_out(&[[b'.'; 9].as_slice(), b"\r", &b"........."[..column]].concat()),
                typed(b"x\ty\t\x7f\x7f\x7f\x7f"),
                screen(),
            ],
        ));
    }
    cases.push(case("held-back-and-let-go", [typed(b"\x13abc\x03def\x12\x11"), screen(), typed(b"\n"), screen()]));
    cases.push(case(
        "more-than-the-ring",
        [typed(b"\x13"), typed(&[b'a'; 1900]), typed(&[b'b'; 1900]), typed(&[b'c'; 1900]), typed(b"\x11"), screen()],
    ));
    cases
}

fn input_flags() -> Vec<Case> {
    let settings = [
        iflag(raw::INLCR, 0),
        iflag(raw::INLCR, raw::ICRNL),
        iflag(raw::IGNCR, 0),
        iflag(0, raw::ICRNL),
        iflag(raw::ISTRIP, 0),
        iflag(raw::IUCLC, 0),
        iflag(raw::PARMRK, 0),
        iflag(raw::PARMRK | raw::ISTRIP, 0),
        iflag(raw::IMAXBEL | raw::IGNBRK | raw::INPCK | raw::IGNPAR, 0),
        set(|t| {
            t.c_iflag |= raw::IUCLC;
            t.c_lflag &= !raw::IEXTEN;
        }),
    ];
    let steps = [typed(b"aB\r\xc4\xd7\xff\xe1\n\x84\x83\x1d\r\n"), read(99), read(99), read(99), read(99), screen()];
    let mut cases = each("cooked", settings.clone(), &steps);
    let raw_settings = settings.map(|step| match step {
        Step::Termios(when, mut t) => {
            t.c_lflag &= !(raw::ICANON | raw::ECHO | raw::ISIG);
            Step::Termios(when, t)
        }
        step => step,
    });
    cases.extend(each("raw", raw_settings, &steps));
    cases
}

fn output_flags() -> Vec<Case> {
    let flags = [
        raw::OPOST,
        raw::OPOST | raw::ONLCR,
        raw::OPOST | raw::OCRNL,
        raw::OPOST | raw::OCRNL | raw::ONLRET,
        raw::OPOST | raw::ONOCR,
        raw::OPOST | raw::ONLRET,
        raw::OPOST | raw::ONLRET | raw::ONOCR,
        raw::OPOST | raw::OLCUC,
        raw::OPOST | raw::XTABS,
        raw::OPOST | raw::XTABS | raw::ONLCR | raw::OLCUC,
        raw::OPOST | raw::ONOCR | raw::OCRNL,
        raw::OFILL | raw::ONLCR | raw::XTABS,
    ];
    let steps = [
        put_out(b"\rab\tc\r\r\ndef\n\tg\x08\x08\t\x01\x7f\xdf\xff\xe4|"),
        screen(),
        put_out("ä\t€\t日本\t|\n".as_bytes()),
        screen(),
        typed(b"x\ty\t\x7f\x7f"),
        screen(),
    ];
    let mut cases = each("post", flags.map(|on| oflag(on, !0)), &steps);
    let utf8 = flags.map(|on| {
        set(|t| {
            t.c_oflag = on;
            t.c_iflag |= raw::IUTF8;
        })
    });
    cases.extend(each("post-utf8", utf8, &steps));
    cases
}

fn raw_reads() -> Vec<Case> {
    let mut cases = Vec::new();
    for (min, time) in [(0, 0), (1, 0), (5, 0), (0, 1), (1, 1), (5, 1), (64, 0), (65, 0), (100, 0)] {
        cases.push(case(
            &format!("min-{min}-time-{time}"),
            [
                raw_with(min, time),
                read(10),
                typed(b"abc"),
                read(10),
                read(10),
                typed(&[b'x'; 70]),
                read(1),
                read(200),
                typed(&[b'y'; 200]),
                read(150),
                read(150),
            ],
        ));
    }
    let pieces = [b"a".as_slice(), b"bc", b"defg"];
    for (min, time) in [(0, 1), (0, 2), (1, 0), (1, 1), (3, 0), (3, 1), (3, 2), (7, 2), (100, 1), (100, 2)] {
        for (first, delays) in
            [(b"".as_slice(), vec![]), (b"xy", vec![]), (b"", vec![50, 100, 150]), (b"x", vec![50, 300])]
        {
            // Without a time limit enough must come, and with one between bytes a first one must.
            let coming = first.len() + delays.len();
            if coming < if time == 0 { min } else { min.min(1) } {
                continue;
            }
            let name = format!("waiting-{min}-{time}-{}-{}", first.len(), delays.len());
            let later = delays.into_iter().zip(pieces).map(|(delay, piece)| (delay, piece.to_vec())).collect();
            cases.push(case(&name, [raw_with(min as u8, time), typed(first), Step::WaitingRead(9, later), read(99)]));
        }
    }
    let later = vec![(20, b"half ".to_vec()), (40, b"a line\nand".to_vec()), (60, b" more\n".to_vec())];
    cases.push(case("waiting-line", [Step::WaitingRead(99, later.clone()), read(99)]));
    cases.push(case(
        "waiting-line-in-pieces",
        [Step::WaitingRead(4, later), Step::WaitingRead(99, Vec::new()), read(99)],
    ));
    cases.push(case("waiting-end-of-file", [Step::WaitingRead(99, vec![(20, b"\x04".to_vec())])]));
    cases.push(case(
        "waiting-with-extproc",
        [lflag(raw::EXTPROC, 0), Step::WaitingRead(99, vec![(20, b"ab".to_vec())])],
    ));
    cases.push(case(
        "nothing-is-special",
        [raw_with(1, 0), typed(b"\x03\x04\x13\x16\xff\0\r\n\x7f"), read(99), screen()],
    ));
    cases
}

fn signals() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, c) in [("intr", 3), ("quit", 0x1c), ("susp", 0x1a)] {
        for (kind, on, off) in
            [("flush", 0, 0), ("noflsh", raw::NOFLSH, 0), ("silent", 0, raw::ECHO), ("off", 0, raw::ISIG)]
        {
            cases.push(case(
                &format!("{name}-{kind}"),
                [
                    lflag(on, off),
                    typed(b"line\npart"),
                    put_out(b"out"),
                    typed(&[b'x', c, b'y']),
                    screen(),
                    typed(b"\n"),
                    read(99),
                    read(99),
                ],
            ));
        }
    }
    cases.push(case("restarts-output", [typed(b"\x13"), put_out(b"held"), typed(b"\x03"), put_out(b"free"), screen()]));
    cases.push(case("in-raw-mode", [lflag(0, raw::ICANON), typed(b"ab\x03cd"), read(99), screen()]));
    cases
}

fn flow() -> Vec<Case> {
    let mut cases = each(
        "stopped",
        [iflag(0, 0), iflag(raw::IXANY, 0), iflag(0, raw::IXON), iflag(raw::IXANY, raw::IXON)],
        &[
            typed(b"\x13"),
            put_out(b"held"),
            typed(b"x"),
            put_out(b"held"),
            screen(),
            typed(b"\x11y\n"),
            put_out(b"free"),
            screen(),
            read(99),
        ],
    );
    cases.extend([
        case(
            "held-by-ioctl",
            [
                Step::Flow(Side::Slave, Flow::Stop),
                put_out(b"held"),
                typed(b"\x11a"),
                screen(),
                put_out(b"held"),
                Step::Flow(Side::Slave, Flow::Start),
                put_out(b"free"),
                screen(),
            ],
        ),
        case(
            "sent-to-the-master",
            [
                Step::Flow(Side::Slave, Flow::SendStop),
                Step::Flow(Side::Slave, Flow::SendStart),
                typed(b"\x13"),
                Step::Flow(Side::Slave, Flow::SendStop),
                screen(),
            ],
        ),
        case(
            "sent-to-the-slave",
            [
                Step::Flow(Side::Master, Flow::SendStop),
                put_out(b"held"),
                Step::Flow(Side::Master, Flow::SendStart),
                put_out(b"free"),
                screen(),
            ],
        ),
        case(
            "master-held",
            [
                Step::Flow(Side::Master, Flow::Stop),
                typed(b"x"),
                Step::Flow(Side::Master, Flow::Start),
                typed(b"y\n"),
                read(9),
            ],
        ),
        case("let-go-by-settings", [typed(b"\x13ab"), iflag(0, raw::IXON), screen(), put_out(b"free"), screen()]),
        case(
            "found-ahead-of-a-full-buffer",
            [
                raw_with(1, 0),
                iflag(0, raw::ICRNL),
                lflag(0, raw::ICANON | raw::ECHO),
                typed(&[b'a'; 1900]),
                typed(&[b'a'; 1900]),
                typed(&[b'a'; 1900]),
                typed(b"b\x13c"),
                put_out(b"held"),
                read(9000),
                read(9000),
                put_out(b"held"),
                typed(b"\x11"),
                put_out(b"free"),
                screen(),
            ],
        ),
    ]);
    cases
}

fn packet() -> Vec<Case> {
    let mut cases = vec![
        case(
            "data",
            [Step::Packet(true), put_out(b"abc"), Step::Read(Side::Master, 1), Step::Read(Side::Master, 3), screen()],
        ),
        case(
            "flow",
            [
                Step::Packet(true),
                typed(b"\x13"),
                screen(),
                typed(b"\x11"),
                screen(),
                typed(b"\x13\x11"),
                screen(),
                Step::Flow(Side::Slave, Flow::Stop),
                Step::Flow(Side::Slave, Flow::Start),
                screen(),
                screen(),
            ],
        ),
        case(
            "settings",
            [
                Step::Packet(true),
                iflag(0, raw::IXON),
                screen(),
                iflag(0, 0),
                screen(),
                set(|t| t.c_cc[raw::VSTOP as usize] = b's'),
                screen(),
                lflag(raw::EXTPROC, 0),
                screen(),
                lflag(0, 0),
                screen(),
                lflag(0, 0),
                screen(),
            ],
        ),
        case("interrupt", [Step::Packet(true), typed(b"a\x03"), screen(), screen()]),
        case(
            "status-dropped-with-the-mode",
            [Step::Packet(true), typed(b"\x13"), Step::Packet(false), screen(), Step::Packet(true), screen()],
        ),
    ];
    for (side, name) in [(Side::Slave, "slave"), (Side::Master, "master")] {
        for queue in [Queue::Input, Queue::Output, Queue::Both] {
            cases.push(case(
                &format!("flush-{name}-{queue}"),
                [
                    typed(b"line\npart"),
                    put_out(b"out"),
                    Step::Packet(true),
                    Step::Flush(side, queue),
                    screen(),
                    screen(),
                    read(99),
                    typed(b"\n"),
                    read(99),
                ],
            ));
        }
    }
    cases
}

fn modes() -> Vec<Case> {
    let mut cases = Vec::new();
    let modes = [("canonical", 0, 0), ("raw", 0, raw::ICANON), ("extproc", raw::EXTPROC, 0)];
    for (from, on, off) in modes {
        for (to, on2, off2) in modes {
            for when in [When::Now, When::Drained, When::Flushed] {
                cases.push(case(
                    &format!("{from}-to-{to}-{when}"),
                    [
                        lflag(on, off),
                        typed(b"one\ntwo\x04three\x04"),
                        read(2),
                        Step::Termios(when, with(|t| t.c_lflag = t.c_lflag & !off2 | on2)),
                        read(99),
                        typed(b"more\n\x04"),
                        read(99),
                        read(99),
                        read(99),
                        screen(),
                    ],
                ));
            }
        }
    }
    cases.push(case(
        "end-of-file-with-extproc",
        [lflag(raw::EXTPROC, 0), typed(b"\x04"), read(9), typed(b"a\x04"), read(9), read(9)],
    ));
    cases
}

fn limits() -> Vec<Case> {
    let line = [b'a'; 1000];
    let mut overlong: Vec<Step> = (0..5).map(|_| typed(&line)).collect();
    overlong.extend([typed(b"bcd"), typed(b"\n"), typed(b"next\n"), read(9000), read(9000), read(9000), screen()]);
    let mut cases = vec![case("overlong-line", overlong)];
    for len in [4094, 4095, 4096] {
        let mut steps: Vec<Step> = vec![lflag(0, raw::ECHO)];
        steps.extend(vec![b'a'; len].chunks(1000).map(typed));
        steps.extend([typed(b"\n"), read(9000), read(9000)]);
        cases.push(case(&format!("line-of-{len}"), steps));
    }
    for (name, setting) in [
        ("raw", raw_with(1, 0)),
        ("canonical", lflag(0, raw::ECHO)),
        ("parmrk", {
            set(|t| {
                raw_mode(t, 1, 0);
                t.c_iflag = raw::PARMRK;
            })
        }),
    ] {
        for size in [1000, 100, 300] {
            let mut steps = vec![setting.clone(), typed(b"first\n")];
            steps.extend((0..18_000 / size).map(|_| typed(&vec![b'i'; size])));
            steps.extend([
                read(100),
                typed(b"x"),
                read(9000),
                typed(b"y"),
                read(9000),
                typed(b"z"),
                read(9000),
                read(9000),
            ]);
            cases.push(case(&format!("input-{name}-by-{size}"), steps));
        }
    }
    for (name, setting) in [("raw", raw_with(1, 0)), ("processed", lflag(0, 0))] {
        for size in [1000, 100, 300] {
            let mut steps = vec![setting.clone()];
            let piece = [vec![b'o'; size - 1], b"\n".to_vec()].concat();
            steps.extend((0..22_000 / size).map(|_| put_out(&piece)));
            steps.push(typed(b"echo"));
            steps.extend((0..8).flat_map(|_| [Step::Read(Side::Master, 3000), put_out(b"x\n")]));
            cases.push(case(&format!("output-{name}-by-{size}"), steps));
        }
    }
    cases
}

fn settings() -> Vec<Case> {
    let speeds = [raw::B0, raw::B300, raw::B38400, raw::B57600, raw::B4000000, raw::BOTHER];
    let mut steps = Vec::new();
    for out in speeds {
        for input in speeds {
            steps.push(set(|t| {
                t.c_cflag = out | input << raw::IBSHIFT | raw::HUPCL | raw::PARENB | raw::CS5;
                (t.c_ispeed, t.c_ospeed) = (1234, 5678);
            }));
        }
    }
    let mut cases = vec![case("speeds", steps)];
    cases.push(case(
        "every-bit",
        [set(|t| {
            (t.c_iflag, t.c_oflag, t.c_lflag, t.c_line) = (!0, !0, !0, 7);
            t.c_cflag = !raw::CRTSCTS;
        })],
    ));
    cases
}

fn key(index: u32, c: u8) -> Step {
    set(|t| t.c_cc[index as usize] = c)
}

/// Each control character as another one than usual, and switched off, with the usual ones typed as well.
fn keys() -> Vec<Case> {
    let all = [
        (raw::VINTR, "intr"),
        (raw::VQUIT, "quit"),
        (raw::VSUSP, "susp"),
        (raw::VERASE, "erase"),
        (raw::VKILL, "kill"),
        (raw::VWERASE, "werase"),
        (raw::VEOF, "eof"),
        (raw::VEOL, "eol"),
        (raw::VEOL2, "eol2"),
        (raw::VLNEXT, "lnext"),
        (raw::VREPRINT, "reprint"),
        (raw::VDISCARD, "discard"),
        (raw::VSTART, "start"),
        (raw::VSTOP, "stop"),
        (raw::VSWTC, "swtc"),
    ];
    let mut cases = Vec::new();
    for (index, name) in all {
        let usual = Termios2::pty_default().c_cc[index as usize];
        for (as_what, c) in [("other", b'!'), ("off", 0)] {
            cases.push(case(
                &format!("{name}-{as_what}"),
                [
                    key(index, c),
                    typed(b"ab c"),
                    typed(b"!"),
                    screen(),
                    typed(b"d"),
                    typed(&[usual]),
                    screen(),
                    typed(b"e\0f\n"),
                    screen(),
                    read(99),
                    typed(b"\x11g\n"),
                    screen(),
                    read(99),
                    read(99),
                ],
            ));
        }
    }
    cases
}

/// Flags that change nothing on a pty but themselves.
fn unheeded() -> Vec<Case> {
    let delays = raw::NL1 | raw::CR1 | raw::CR2 | raw::TAB1 | raw::BS1 | raw::VT1 | raw::FF1;
    let settings = [
        iflag(raw::BRKINT, 0),
        iflag(raw::IGNBRK, 0),
        iflag(raw::IGNPAR | raw::INPCK, 0),
        iflag(raw::IXOFF, 0),
        iflag(raw::IMAXBEL, 0),
        oflag(raw::OFILL | raw::OFDEL, 0),
        oflag(delays, 0),
        lflag(raw::TOSTOP, 0),
        lflag(raw::FLUSHO, 0),
        lflag(raw::PENDIN, 0),
        lflag(raw::XCASE, 0),
    ];
    let steps = [
        typed(b"aB\x7f\xff\0\t"),
        screen(),
        put_out(b"Out\n\r\t\x08\x0b\x0c\\a"),
        screen(),
        typed(b"c\r\x04"),
        screen(),
        read(99),
        typed(&[b'l'; 1990]),
        typed(&[b'l'; 1990]),
        typed(&[b'l'; 1990]),
        screen(),
        typed(b"\n"),
        screen(),
        read(9000),
        read(9000),
    ];
    each("unheeded", settings, &steps)
}

/// Input by `TIOCSTI`.
fn simulated() -> Vec<Case> {
    let simulate = |side, bytes: &[u8]| bytes.iter().map(|&c| Step::Simulate(side, c)).collect::<Vec<_>>();
    let mut line = simulate(Side::Slave, b"ab\x7f\x16\x03\n");
    line.extend([screen(), read(99)]);
    let mut between = vec![typed(b"ab")];
    between.extend(simulate(Side::Slave, b"x"));
    between.extend([typed(b"c\n"), screen(), read(99)]);
    let mut signal = vec![typed(b"gone")];
    signal.extend(simulate(Side::Slave, b"\x03y\n"));
    signal.extend([screen(), read(99)]);
    let mut stop = simulate(Side::Slave, b"\x13");
    stop.push(put_out(b"held"));
    stop.extend(simulate(Side::Slave, b"\x11"));
    stop.extend([put_out(b"free"), screen()]);
    let mut raw_bytes = vec![raw_with(2, 0)];
    raw_bytes.extend(simulate(Side::Slave, b"\xffa"));
    raw_bytes.extend([read(99), screen()]);
    let mut master = vec![put_out(b"out")];
    master.extend(simulate(Side::Master, b"m\n\x03"));
    master.extend([screen(), read(99)]);
    let mut packets = vec![Step::Packet(true)];
    packets.extend(simulate(Side::Master, b"p"));
    packets.extend([screen(), screen()]);
    vec![
        case("line", line),
        case("between", between),
        case("signal", signal),
        case("stop", stop),
        case("raw-bytes", raw_bytes),
        case("master", master),
        case("packets", packets),
    ]
}
