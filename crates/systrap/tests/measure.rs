//! Prints what things cost. `cargo test --release -p vizor-systrap --test measure -- --ignored --nocapture`

mod harness;

use harness::*;
use platform::{Exit, MapOp, Platform, Registers};
use std::time::{Duration, Instant};
use vizor_systrap::Systrap;

const SYSCALL_LOOP: &[u8] = &[0xb8, 110, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];

fn show(what: &str, mut samples: Vec<Duration>) {
    samples.sort();
    let at = |part: usize| samples[(samples.len() - 1) * part / 100].as_nanos();
    let mean = samples.iter().sum::<Duration>().as_nanos() / samples.len() as u128;
    println!("{what:32} mean {mean:>8} ns  p10 {:>8}  p50 {:>8}  p90 {:>8}  p99 {:>8}", at(10), at(50), at(90), at(99));
}

fn sample(count: usize, mut action: impl FnMut()) -> Vec<Duration> {
    (0..count)
        .map(|_| {
            let start = Instant::now();
            action();
            start.elapsed()
        })
        .collect()
}

#[test]
#[ignore = "a measurement"]
fn measure() {
    let start_up = Instant::now();
    platform();
    println!("platform start {:?}", start_up.elapsed());
    let guest = Guest::new(SYSCALL_LOOP);
    let mut context = guest.context();
    let mut regs = start(0);
    let mut turn = || {
        assert_eq!(context.switch(&mut regs), Exit::Syscall);
    };
    turn();
    show("system call", sample(100_000, &mut turn));
    show(
        "system call after 200 us of rest",
        sample(1000, || {
            std::thread::sleep(Duration::from_micros(200));
            turn();
        }),
    );
    crowd();

    let addr = 0x1000_0000;
    show(
        "map and unmap, one batch",
        sample(5000, || {
            let ops = [guest.map(addr, 4096, RW, LEN), MapOp::Unmap { addr, len: 4096 }];
            guest.space.apply(&ops).expect("apply");
        }),
    );
    show("new context, first", sample(100, || drop(platform().new_address_space().map(|space| space.new_context()))));
    let mut keep = Vec::new();
    show("new context, new thread", sample(100, || keep.push(guest.space.new_context())));
    keep.clear();
    show("new context, used thread", sample(100, || drop(guest.space.new_context())));
    show(
        "address space, pool",
        sample(100, || {
            let start = Instant::now();
            let space = platform().new_address_space();
            keep.push(space.expect("space").new_context());
            let _ = start;
        }),
    );
    keep.clear();
    let mut spaces = Vec::new();
    show("address space, one after another", sample(100, || spaces.push(platform().new_address_space())));
    spaces.clear();
    let rested: Vec<Duration> = (0..50)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(3));
            let start = Instant::now();
            spaces.push(platform().new_address_space());
            start.elapsed()
        })
        .collect();
    show("address space, pool is full", rested);
    drop(spaces);
    interrupts();
}

/// As many threads as cores, and more, each in its own address space.
fn crowd() {
    for threads in [2, 8] {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                std::thread::spawn(|| {
                    let guest = Guest::new(SYSCALL_LOOP);
                    let mut context = guest.context();
                    let mut regs = start(0);
                    sample(20_000, || assert_eq!(context.switch(&mut regs), Exit::Syscall))
                })
            })
            .collect();
        let start = Instant::now();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().expect("worker"));
        }
        let each = start.elapsed() / (all.len() as u32);
        show(&format!("system call, {threads} threads"), all);
        println!("    {each:?} of wall time each");
    }
}

fn interrupts() {
    let guest = Guest::new(&[0xeb, 0xfe]);
    let mut context = guest.context();
    let interrupter = context.interrupter();
    let (ask, asked) = std::sync::mpsc::channel::<()>();
    let (send, receive) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        while asked.recv().is_ok() {
            std::thread::sleep(Duration::from_micros(100));
            let _ = send.send(Instant::now());
            interrupter.interrupt();
        }
    });
    let mut regs = Registers { ..start(0) };
    let mut samples = Vec::new();
    for _ in 0..1000 {
        ask.send(()).expect("thread");
        assert_eq!(context.switch(&mut regs), Exit::Interrupted);
        samples.push(receive.recv().expect("time").elapsed());
    }
    drop(ask);
    thread.join().expect("thread");
    show("interrupt to exit", samples);
    let cold: Vec<Duration> = (0..20)
        .map(|_| {
            let start = Instant::now();
            drop(Systrap::new().expect("platform"));
            start.elapsed()
        })
        .collect();
    show("platform start", cold);
}

/// For a profiler.
#[test]
#[ignore = "a measurement"]
fn system_calls_only() {
    let guest = Guest::new(SYSCALL_LOOP);
    let mut context = guest.context();
    let mut regs = start(0);
    show("system call", sample(300_000, || assert_eq!(context.switch(&mut regs), Exit::Syscall)));
}

/// For a profiler.
#[test]
#[ignore = "a measurement"]
fn maps_only() {
    let guest = Guest::new(SYSCALL_LOOP);
    let addr = 0x1000_0000;
    let batch = || {
        let ops = [guest.map(addr, 4096, RW, LEN), MapOp::Unmap { addr, len: 4096 }];
        guest.space.apply(&ops).expect("apply");
    };
    show("map and unmap, one batch", sample(50_000, batch));
    let protect = [MapOp::Protect { addr: DATA, len: 4096, access: RW }];
    show("protect, without effect", sample(50_000, || guest.space.apply(&protect).expect("apply")));
}
