//! Interrupts, vector state, many threads and address spaces, and the death of stubs.

mod harness;

use harness::*;
use platform::{Exit, Gone, Platform, Registers};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const ENDLESS: &[u8] = &[0xeb, 0xfe];

#[test]
fn an_endless_loop_is_interrupted() {
    within(60, || {
        let guest = Guest::new(ENDLESS);
        let mut context = guest.context();
        let interrupter = context.interrupter();
        let (ask, asked) = mpsc::channel::<u32>();
        let thread = std::thread::spawn(move || {
            while let Ok(pause) = asked.recv() {
                std::thread::sleep(Duration::from_micros(u64::from(pause)));
                interrupter.interrupt();
            }
        });
        let mut regs = Registers { rbx: 77, ..start(0) };
        for round in 0..1000 {
            ask.send(round % 50).expect("thread");
            assert_eq!(context.switch(&mut regs), Exit::Interrupted);
            assert_eq!((regs.rip, regs.rbx), (CODE, 77));
        }
        drop(ask);
        thread.join().expect("thread");
    });
}

#[test]
fn interrupts_race_with_system_calls_and_none_is_lost() {
    within(60, || {
        // inc rbx; syscall; jmp
        let guest = Guest::new(&[0x48, 0xff, 0xc3, 0x0f, 0x05, 0xeb, 0xf9]);
        let mut context = guest.context();
        let interrupter = context.interrupter();
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicU64::new(0));
        let thread = std::thread::spawn({
            let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
            move || {
                while !stop.load(Ordering::SeqCst) {
                    interrupter.interrupt();
                    asked.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_micros(20));
                }
            }
        });
        let mut regs = start(0);
        let mut calls = 0u64;
        let mut interrupted = 0;
        while calls < 20_000 {
            match context.switch(&mut regs) {
                Exit::Syscall => {
                    calls += 1;
                    assert_eq!((regs.rbx, regs.rip), (calls, CODE + 5));
                }
                Exit::Interrupted => interrupted += 1,
                other => panic!("{other:?}"),
            }
        }
        stop.store(true, Ordering::SeqCst);
        thread.join().expect("thread");
        assert!(interrupted > 0 && asked.load(Ordering::SeqCst) >= interrupted);
        // An interrupt with nothing running is kept for the next switch, once.
        while context.switch(&mut regs) != Exit::Syscall {}
        context.interrupter().interrupt();
        context.interrupter().interrupt();
        let before = regs;
        assert_eq!(context.switch(&mut regs), Exit::Interrupted);
        assert_eq!(regs, before);
        assert_eq!(context.switch(&mut regs), Exit::Syscall);
    });
}

#[test]
fn vector_state_is_kept_copied_and_checked() {
    within(20, || {
        // movdqu xmm3, [rdi]; syscall / movdqu [rsi], xmm3; syscall / vmovdqu ymm5, [rdi]; syscall / vmovdqu [rsi], ymm5; syscall
        let mut code = [0u8; 64];
        code[..6].copy_from_slice(&[0xf3, 0x0f, 0x6f, 0x1f, 0x0f, 0x05]);
        code[16..22].copy_from_slice(&[0xf3, 0x0f, 0x7f, 0x1e, 0x0f, 0x05]);
        code[32..38].copy_from_slice(&[0xc5, 0xfe, 0x6f, 0x2f, 0x0f, 0x05]);
        code[48..54].copy_from_slice(&[0xc5, 0xfe, 0x7f, 0x2e, 0x0f, 0x05]);
        let guest = Guest::new(&code);
        let pattern: Vec<u8> = (1..=32).collect();
        rustix::io::pwrite(&guest.file, &pattern, LEN).expect("pwrite");
        let mut parent = guest.context();
        let run = |context: &mut dyn platform::Context, at: u64| {
            let mut regs = Registers { rdi: DATA, rsi: DATA + 64, ..start(at) };
            assert_eq!(context.switch(&mut regs), Exit::Syscall);
        };
        let avx = std::arch::is_x86_feature_detected!("avx");
        run(&mut *parent, 0);
        if avx {
            run(&mut *parent, 32);
        }
        run(&mut *parent, 16);
        assert_eq!((guest.data(64), guest.data(72)), (guest.data(0), guest.data(8)));

        let mut child = guest.context();
        let initial = child.fpstate();
        let state = parent.fpstate();
        child.set_fpstate(&state).expect("state");
        assert_eq!(child.fpstate()[..512], state[..512]);
        rustix::io::pwrite(&guest.file, &[0; 64], LEN + 64).expect("pwrite");
        run(&mut *child, 16);
        assert_eq!((guest.data(64), guest.data(72)), (guest.data(0), guest.data(8)));
        if avx {
            run(&mut *child, 48);
            assert_eq!((guest.data(64), guest.data(88)), (guest.data(0), guest.data(24)));
        }
        // Back to the beginning, also for a used host thread.
        child.set_fpstate(&initial).expect("state");
        run(&mut *child, 16);
        assert_eq!((guest.data(64), guest.data(72)), (0, 0));
        run(&mut *child, 0);
        drop(child);
        let mut again = guest.context();
        run(&mut *again, 16);
        assert_eq!((guest.data(64), guest.data(72)), (0, 0));
        // Nonsense is refused, or does no harm.
        assert!(again.set_fpstate(&[0; 100]).is_err());
        assert!(again.set_fpstate(&vec![0xff; state.len()]).is_err());
        let mut long = state.clone();
        long[512] = 0xff;
        long[519] = 0xff;
        assert!(again.set_fpstate(&long).is_err());
        again.set_fpstate(&state[..512]).expect("legacy");
        run(&mut *again, 16);
        assert_eq!(guest.data(64), guest.data(0));
    });
}

#[test]
fn many_threads_run() {
    within(120, || {
        // lock inc qword [rdi]; syscall
        let guest = Arc::new(Guest::new(&[0xf0, 0x48, 0xff, 0x07, 0x0f, 0x05]));
        let threads: Vec<_> = (0..200)
            .map(|_| {
                let guest = Arc::clone(&guest);
                std::thread::spawn(move || {
                    let mut context = guest.context();
                    for _ in 0..20 {
                        let mut regs = Registers { rdi: DATA, ..start(0) };
                        assert_eq!(context.switch(&mut regs), Exit::Syscall);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("thread");
        }
        assert_eq!(guest.data(0), 4000);
    });
}

#[test]
fn thousands_of_contexts_fit() {
    within(120, || {
        let guest = Guest::new(&[0xf0, 0x48, 0xff, 0x07, 0x0f, 0x05]);
        let mut contexts = Vec::new();
        for _ in 0..4000 {
            match guest.space.new_context() {
                Ok(context) => contexts.push(context),
                // The host may allow fewer.
                Err(error) => {
                    assert!(contexts.len() > 500, "{error}");
                    break;
                }
            }
        }
        for context in &mut contexts {
            let mut regs = Registers { rdi: DATA, ..start(0) };
            assert_eq!(context.switch(&mut regs), Exit::Syscall);
        }
        assert_eq!(guest.data(0), contexts.len() as u64);
    });
}

#[test]
fn the_pool_runs_dry_without_harm() {
    within(60, || {
        let spaces: Vec<_> = (0..64).map(|_| platform().new_address_space().expect("space")).collect();
        for space in &spaces {
            drop(space.new_context().expect("context"));
        }
    });
}

/// In a process of its own, because it looks at all children.
#[test]
#[ignore = "run by stubs_end_when_nobody_needs_them"]
fn alone_stubs_end() {
    within(60, || {
        let platform = vizor_systrap::Systrap::new().expect("platform");
        // For a while: while some die and others are made, it can be so for a moment.
        let settle = |count: usize| {
            let (start, mut since) = (Instant::now(), Instant::now());
            while since.elapsed() < Duration::from_millis(100) {
                if children().len() != count {
                    since = Instant::now();
                }
                assert!(start.elapsed() < Duration::from_secs(20), "{count}: {:?}", children());
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        // The zygote, and a stub for the first process.
        settle(2);
        let guest = Guest::on(&platform, ENDLESS);
        let mut context = guest.context();
        // The zygote, its heir, the first in the pool.
        settle(4);

        // Killed from outside while it runs.
        let fresh = Guest::on(&platform, ENDLESS);
        settle(6);
        let mut victim = fresh.context();
        let known = children();
        let runner = std::thread::spawn(move || {
            let mut regs = start(0);
            let exit = victim.switch(&mut regs);
            (exit, victim)
        });
        std::thread::sleep(Duration::from_millis(50));
        let busy = known.iter().copied().find(|pid| {
            let status = std::fs::read_dir(format!("/proc/{pid}/task")).expect("tasks");
            status
                .flatten()
                .any(|task| std::fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| stat.contains(") R ")))
        });
        let pid = rustix::process::Pid::from_raw(busy.expect("a stub runs")).expect("pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
        let (exit, mut victim) = runner.join().expect("runner");
        assert_eq!(exit, Exit::Gone(Gone::Died(9)));
        assert_eq!(victim.switch(&mut start(0)), Exit::Gone(Gone::Died(9)));
        assert!(fresh.space.apply(&[fresh.map(DATA, 4096, R, 0)]).is_err());
        assert!(fresh.space.new_context().is_err());
        drop((victim, fresh));
        settle(5);

        // The other one still works, and ends with its last user.
        context.interrupter().interrupt();
        assert_eq!(context.switch(&mut start(0)), Exit::Interrupted);
        drop((guest, context));
        settle(4);

        // Nothing is left behind by many of them.
        let descriptors = || std::fs::read_dir("/proc/self/fd").expect("fds").count();
        let before = descriptors();
        for _ in 0..200 {
            let guest = Guest::on(&platform, &[0x0f, 0x05]);
            let mut contexts = [guest.context(), guest.context()];
            for context in &mut contexts {
                assert_eq!(context.switch(&mut start(0)), Exit::Syscall);
            }
        }
        settle(5);
        // The pool has grown, and shared files of dead stubs are kept for as many new ones as it holds.
        eventually(|| descriptors() <= before + 20);

        // The zygote is the oldest. Without it the platform goes on, and again.
        for _ in 0..2 {
            // Its heir comes from the pool, which is to be full.
            settle(5);
            let oldest = children().first().copied().and_then(rustix::process::Pid::from_raw).expect("zygote");
            rustix::process::kill_process(oldest, rustix::process::Signal::KILL).expect("kill");
            eventually(|| !alive(oldest.as_raw_nonzero().get()));
            for _ in 0..20 {
                let guest = Guest::on(&platform, &[0x0f, 0x05]);
                assert_eq!(guest.context().switch(&mut start(0)), Exit::Syscall);
            }
        }
        drop(platform);
        settle_gone();
    });
}

fn settle_gone() {
    eventually(|| !children().into_iter().any(alive));
}

fn alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn eventually(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn stubs_end_when_nobody_needs_them() {
    let me = std::env::current_exe().expect("exe");
    let status = Command::new(me).args(["--ignored", "--exact", "alone_stubs_end"]).status().expect("run");
    assert!(status.success());
}
