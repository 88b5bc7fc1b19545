//! Guest code runs, stops and goes on as the contract says.

mod harness;

use harness::*;
use platform::{Access, Exit, MapOp, Registers};

/// `mov eax, 110; syscall; jmp` back to the start.
const SYSCALL_LOOP: &[u8] = &[0xb8, 110, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];

#[test]
fn system_calls_trap() {
    within(20, || {
        let guest = Guest::new(SYSCALL_LOOP);
        let mut context = guest.context();
        let mut regs = start(0);
        for _ in 0..1000 {
            assert_eq!(context.switch(&mut regs), Exit::Syscall);
            assert_eq!(regs.orig_rax, 110);
            assert_eq!(regs.rax as i64, -38);
            assert_eq!(regs.rip, CODE + 7);
            regs.rax = 1;
        }
    });
}

#[test]
fn general_registers_survive() {
    within(20, || {
        let guest = Guest::new(&[0x0f, 0x05, 0xeb, 0xfc]);
        let mut context = guest.context();
        let mut regs = start(0);
        let mut seed = 0x1234_5678_9abc_def1u64;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for _ in 0..100 {
            let set = Registers {
                r15: next(),
                r14: next(),
                r13: next(),
                r12: next(),
                rbp: next(),
                rbx: next(),
                r10: next(),
                r9: next(),
                r8: next(),
                rax: next(),
                rdx: next(),
                rsi: next(),
                rdi: next(),
                rsp: next(),
                fs_base: next() >> 18,
                gs_base: next() >> 18,
                rip: CODE,
                ..regs
            };
            regs = set;
            assert_eq!(context.switch(&mut regs), Exit::Syscall);
            let expected = Registers {
                rip: CODE + 2,
                rcx: CODE + 2,
                orig_rax: set.rax,
                rax: regs.rax,
                r11: regs.r11,
                eflags: regs.eflags,
                cs: 0x33,
                ss: 0x2b,
                ..set
            };
            assert_eq!(regs, expected);
        }
    });
}

#[test]
fn faults_tell_where_and_what() {
    within(20, || {
        // mov rax, [rdi]; syscall / mov [rdi], rax; syscall / jmp rdi
        let mut code = [0u8; 48];
        code[..5].copy_from_slice(&[0x48, 0x8b, 0x07, 0x0f, 0x05]);
        code[16..21].copy_from_slice(&[0x48, 0x89, 0x07, 0x0f, 0x05]);
        code[32..34].copy_from_slice(&[0xff, 0xe7]);
        let guest = Guest::new(&code);
        let mut context = guest.context();
        let read = Access { read: true, ..Access::default() };
        let write = Access { write: true, ..Access::default() };
        let execute = Access { execute: true, ..Access::default() };
        for (at, addr, access) in [
            (0, 0x123_4568, read),
            (16, 0x123_4568, write),
            (16, CODE + 8, write),
            (32, DATA + 8, execute),
            (32, 0x1000_0000, execute),
            (0, 8, read),
        ] {
            let mut regs = Registers { rdi: addr, rax: 5, ..start(at) };
            assert_eq!(context.switch(&mut regs), Exit::Fault { addr, access });
            assert_eq!(regs.rdi, addr);
        }
        // After the fault is mended, the access goes on.
        let mut regs = Registers { rdi: 0x100_0008, rax: 77, ..start(16) };
        assert!(matches!(context.switch(&mut regs), Exit::Fault { .. }));
        guest.space.apply(&[guest.map(0x100_0000, 4096, RW, LEN)]).expect("apply");
        assert_eq!(context.switch(&mut regs), Exit::Syscall);
        assert_eq!(guest.data(8), 77);
        // A non-canonical address is a general-protection fault.
        let mut regs = Registers { rdi: 1 << 63, ..start(0) };
        assert!(matches!(context.switch(&mut regs), Exit::Exception { signo: libc::SIGSEGV, trapno: 13, .. }));
    });
}

#[test]
fn exceptions_tell_their_signal() {
    within(20, || {
        let mut code = [0u8; 64];
        code[0] = 0xcc;
        code[8..10].copy_from_slice(&[0x0f, 0x0b]);
        code[16..20].copy_from_slice(&[0x31, 0xc9, 0xf7, 0xf1]);
        code[24..26].copy_from_slice(&[0xcd, 0x80]);
        code[32..34].copy_from_slice(&[0x90, 0x90]);
        let guest = Guest::new(&code);
        let mut context = guest.context();
        let mut at = |offset: u64, eflags: u64| {
            let mut regs = Registers { eflags, ..start(offset) };
            let exit = context.switch(&mut regs);
            let Exit::Exception { signo, code, addr, trapno, .. } = exit else { panic!("{exit:?}") };
            (signo, code, addr, trapno, regs.rip - CODE)
        };
        assert_eq!(at(0, 0x202), (libc::SIGTRAP, libc::SI_KERNEL, 0, 3, 1));
        assert_eq!(at(8, 0x202), (libc::SIGILL, 2, CODE + 8, 6, 8));
        assert_eq!(at(16, 0x202), (libc::SIGFPE, 1, CODE + 18, 0, 18));
        assert_eq!(at(24, 0x202), (libc::SIGSEGV, libc::SI_KERNEL, 0, 13, 26));
        assert_eq!(at(32, 0x302), (libc::SIGTRAP, libc::TRAP_TRACE, CODE + 33, 1, 33));
    });
}

#[test]
fn mapping_changes_are_seen() {
    within(20, || {
        let guest = Guest::new(&[0x48, 0x8b, 0x07, 0x0f, 0x05]);
        let mut context = guest.context();
        let mut read = |addr: u64| {
            let mut regs = Registers { rdi: addr, ..start(0) };
            match context.switch(&mut regs) {
                Exit::Syscall => Some(regs.orig_rax),
                Exit::Fault { addr: at, .. } if at == addr => None,
                other => panic!("{other:?}"),
            }
        };
        let far = 0x7ffd_ffff_f000;
        // Numbers of no calls.
        for round in 1000..1050u64 {
            rustix::io::pwrite(&guest.file, &round.to_ne_bytes(), LEN).expect("pwrite");
            guest.space.apply(&[guest.map(far, 4096, R, LEN)]).expect("map");
            assert_eq!(read(far), Some(round));
            guest.space.apply(&[MapOp::Protect { addr: far, len: 4096, access: Access::default() }]).expect("protect");
            assert_eq!(read(far), None);
            guest.space.apply(&[MapOp::Unmap { addr: far, len: 4096 }]).expect("unmap");
            assert_eq!(read(far), None);
        }
        // A range with holes goes at once.
        guest.space.apply(&[guest.map(far, 4096, R, LEN), guest.map(0x2000_0000, 8192, R, LEN)]).expect("map");
        guest.space.apply(&[MapOp::Unmap { addr: 0x2000_1000, len: far - 0x2000_0000 }]).expect("unmap");
        assert!(read(0x2000_0000).is_some() && read(0x2000_1000).is_none() && read(far).is_none());
        // Protection reaches over holes, and a long batch is one change.
        let ops: Vec<MapOp> = (0..600).map(|n| guest.map(0x2000_0000 + n * 8192, 4096, RW, LEN)).collect();
        guest.space.apply(&ops).expect("map many");
        assert!(read(0x2000_0000 + 599 * 8192).is_some());
        guest
            .space
            .apply(&[MapOp::Protect { addr: 0x1000_0000, len: 0x2000_0000, access: Access::default() }])
            .expect("protect");
        assert!((0..600).all(|n| read(0x2000_0000 + n * 8192).is_none()));
    });
}

/// What this process and its children have used of the processors, in ticks.
fn processor_time() -> u64 {
    let ticks = |path: String| -> u64 {
        let stat = std::fs::read_to_string(path).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
    };
    let mut sum = ticks("/proc/self/stat".into());
    for task in std::fs::read_dir("/proc/self/task").expect("tasks").flatten() {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        sum += children.split_whitespace().map(|pid| ticks(format!("/proc/{pid}/stat"))).sum::<u64>();
    }
    sum
}

#[test]
#[ignore = "run by nothing_is_used_at_rest"]
fn alone_at_rest() {
    let guest = Guest::new(SYSCALL_LOOP);
    let mut contexts: Vec<_> = (0..8).map(|_| guest.context()).collect();
    for context in &mut contexts {
        assert_eq!(context.switch(&mut start(0)), Exit::Syscall);
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    let before = processor_time();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(processor_time() - before <= 1);
}

#[test]
fn nothing_is_used_at_rest() {
    let me = std::env::current_exe().expect("exe");
    let status = std::process::Command::new(me).args(["--ignored", "--exact", "alone_at_rest"]).status().expect("run");
    assert!(status.success());
}
