//! Guests that try to call the host: from their own code, from each `syscall` instruction of the stub and of the vDSO, by
//! the other ways that the processor has, and with forged returns from signals. The host sees nothing of it.

mod harness;

use harness::*;
use platform::{Context, Exit, Platform, Registers};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use vizor_systrap::anatomy::{Entry, TEXT_LEN};

/// System calls of the host, and numbers that might be taken for others.
fn numbers() -> impl Iterator<Item = u64> {
    let odd = [1 << 30, (1 << 30) + 1, (1 << 30) + 520, 1 << 31, 1 << 32, (1 << 32) + 9, u64::MAX, u64::MAX << 32];
    // `uretprobe` and `uprobe` are past any filter on newer hosts.
    (0..=480).filter(|number| !matches!(number, 335 | 336)).chain(odd)
}

/// A guest, and what it must not reach.
struct Caller {
    guest: Guest,
    context: Box<dyn Context>,
    pid: i32,
    maps: Vec<String>,
    /// A file that is nowhere.
    canary: PathBuf,
}

impl Caller {
    fn new(code: &[u8], name: &str) -> Caller {
        let guest = Guest::new(&with_tools(code));
        let canary = std::env::temp_dir().join(format!("vizor-{name}-{}", std::process::id()));
        let mut path = canary.as_os_str().as_encoded_bytes().to_vec();
        path.push(0);
        rustix::io::pwrite(&guest.file, &path, LEN).expect("pwrite");
        let mut context = guest.context();
        // What the stub would serve by itself, too.
        guest.space.show_calls();
        assert_eq!(context.switch(&mut call()), Exit::Syscall);
        let pid = process(&guest);
        let maps = region_maps(pid);
        Caller { guest, context, pid, maps, canary }
    }

    /// Arguments that would do something.
    fn arguments(&self) -> Vec<[u64; 6]> {
        let (fd, me) = (3, std::process::id().into());
        vec![
            [0; 6],
            [u64::MAX; 6],
            [DATA; 6],
            [head(0); 6],
            // Files: by name, at a directory.
            [DATA, 0o102, 0o777, 0, 0, 0],
            [u64::MAX - 99, DATA, 0o102, 0o777, 0, 0],
            // Signals to the Sentry, to all.
            [me, 9, 0, 0, 0, 0],
            [me, me, 9, 0, 0, 0],
            [u64::MAX, 9, 0, 0, 0, 0],
            // Mappings: of the stub's text, of a descriptor.
            [region(), TEXT_LEN as u64, 7, 0x31, u64::MAX, 0],
            [DATA, 4096, 7, 0x11, fd, 0],
            // Descriptors, processes.
            [fd, DATA, 4096, 0, 0, 0],
            [0x11, 0, 0, 0, 0, 0],
            [0x3d_0f00, DATA + LEN - 64, 0, 0, 0, 0],
        ]
    }

    /// Nothing has come of it.
    fn check(&self) {
        assert!(!Path::new(&self.canary).exists());
        assert_eq!(region_maps(self.pid), self.maps);
        // The mapper, and the one context.
        assert_eq!(std::fs::read_dir(format!("/proc/{}/task", self.pid)).expect("tasks").count(), 2);
        assert_eq!(self.guest.space.apply(&[self.guest.map(0x1000_0000, 4096, RW, LEN)]), Ok(()));
    }
}

/// Addresses of the bytes of a `syscall` instruction in a range, whether it is meant as one or not.
fn syscalls(context: &mut dyn Context, range: std::ops::Range<u64>) -> Vec<u64> {
    let bytes: Vec<u8> = range.clone().step_by(8).flat_map(|at| peek(context, at).to_ne_bytes()).collect();
    let found = bytes.windows(2).enumerate().filter(|(_, pair)| *pair == [0x0f, 0x05]);
    found.map(|(at, _)| range.start + at as u64).collect()
}

#[test]
fn every_syscall_instruction_traps_with_every_number() {
    within(240, || {
        let mut bystander = Bystander::new();
        let mut caller = Caller::new(&[], "rawcalls");
        let mut places = vec![call().rip];
        let stub = syscalls(&mut *caller.context, region()..region() + TEXT_LEN as u64);
        assert!(stub.len() > 15, "{stub:x?}");
        places.extend(stub);
        places.extend(syscalls(&mut *caller.context, platform().vdso().expect("vdso")));
        let at = |entry: Entry| region() + entry.offset() as u64 - 2;
        let yields = [Entry::Yield, Entry::Pass, Entry::Mapped, Entry::MappedCall].map(|entry| (at(entry), 24));
        let own: Vec<_> = yields.into_iter().chain([(at(Entry::Resume), 15)]).collect();
        let sets = caller.arguments();
        for place in places {
            for number in numbers() {
                // What the stub itself may do there, and only there.
                if own.contains(&(place, number)) {
                    continue;
                }
                for [rdi, rsi, rdx, r10, r8, r9] in &sets {
                    let args = [*rdi, *rsi, *rdx, *r10, *r8, *r9];
                    let (rdi, rsi, rdx, r10, r8, r9) = (*rdi, *rsi, *rdx, *r10, *r8, *r9);
                    let mut regs = Registers { rax: number, rip: place, rdi, rsi, rdx, r10, r8, r9, ..call() };
                    assert_eq!(caller.context.switch(&mut regs), Exit::Syscall, "{number} at {place:x}: {args:x?}");
                    assert_eq!((regs.orig_rax, regs.rip, regs.syscall_args()), (number, place + 2, args));
                }
            }
            bystander.check();
        }
        caller.check();
    });
}

/// Of the host's futexes in guest memory there are waits and wakes of private ones, at two places of the stub.
#[test]
fn other_futexes_trap() {
    within(60, || {
        let mut caller = Caller::new(&[], "futexes");
        let at = |entry: Entry| region() + entry.offset() as u64 - 2;
        for place in [call().rip, at(Entry::Dozed), at(Entry::Woke)] {
            for (addr, op) in
                [DATA, region() - 4096, u64::MAX - 3].into_iter().flat_map(|addr| (0..=0x3ff).map(move |op| (addr, op)))
            {
                // FUTEX_WAIT, _WAKE, _WAIT_BITSET (by either clock) and _WAKE_BITSET, all private.
                let served = matches!(op, 0x80 | 0x81 | 0x89 | 0x189 | 0x8a) && addr < region();
                if served && place != call().rip {
                    continue;
                }
                let mut regs = Registers { rax: 202, rip: place, rdi: addr, rsi: op, ..call() };
                assert_eq!(caller.context.switch(&mut regs), Exit::Syscall, "{op:x} of {addr:x} at {place:x}");
                assert_eq!((regs.orig_rax, regs.rip), (202, place + 2));
            }
        }
        caller.check();
    });
}

#[test]
fn other_ways_to_call_end_in_the_guest() {
    within(120, || {
        let mut bystander = Bystander::new();
        // int $0x80; at 16: sysenter; at 32: to 32-bit code, which is at 48: push $0x23; push $CODE+48; retfq.
        for last in [[0xcd, 0x80], [0x0f, 0x34], [0x0f, 0x05]] {
            let mut code = vec![0xcc; 64];
            code[..2].copy_from_slice(&[0xcd, 0x80]);
            code[16..18].copy_from_slice(&[0x0f, 0x34]);
            code[32..35].copy_from_slice(&[0x6a, 0x23, 0x68]);
            code[35..39].copy_from_slice(&((CODE + 48) as u32).to_le_bytes());
            code[39..41].copy_from_slice(&[0x48, 0xcb]);
            code[48..50].copy_from_slice(&last);
            let mut caller = Caller::new(&code, "otherways");
            let sets = caller.arguments();
            for (at, number) in [0, 16, 32].into_iter().flat_map(|at| (0..=470).map(move |number| (at, number))) {
                for [rbx, rcx, rdx, rsi, rdi, _] in &sets {
                    // Arguments as 32-bit calls have them; the stack is where both kinds of code reach it.
                    let (rbx, rcx, rdx, rsi, rdi) = (*rbx, *rcx, *rdx, *rsi, *rdi);
                    let rbp = DATA + LEN - 256;
                    let mut regs = Registers { rax: number, rbx, rcx, rdx, rsi, rdi, rbp, ..start(at) };
                    let exit = caller.context.switch(&mut regs);
                    assert!(matches!(exit, Exit::Exception { .. } | Exit::Fault { .. }), "{number} at {at}: {exit:?}");
                }
            }
            caller.check();
            bystander.check();
        }
    });
}

#[test]
fn the_vsyscall_page_is_a_way_to_the_kernel_at_most() {
    within(60, || {
        let mut caller = Caller::new(&[], "vsyscall");
        for (offset, number) in [(0, 96), (0x400, 201), (0x800, 309)] {
            let rsp = DATA + LEN - 64;
            rustix::io::pwrite(&caller.guest.file, &CODE.to_ne_bytes(), 2 * LEN - 64).expect("pwrite");
            let fill = Registers { rdi: DATA + 64, rsi: 0, rsp, ..Registers::default() };
            let mut regs = jump(0xffff_ffff_ff60_0000 + offset, fill);
            match caller.context.switch(&mut regs) {
                // It has returned, as if from a function.
                Exit::Syscall => assert_eq!((regs.orig_rax, regs.rip, regs.rsp), (number, CODE, rsp + 8)),
                // A host without that page.
                exit => assert!(matches!(exit, Exit::Fault { .. }), "{exit:?}"),
            }
            assert_eq!(caller.guest.data(64), 0);
        }
        for offset in [1, 2, 9, 0x7ff, 0xc00, 0xfff] {
            let mut regs = jump(0xffff_ffff_ff60_0000 + offset, call());
            let exit = caller.context.switch(&mut regs);
            assert!(matches!(exit, Exit::Fault { .. } | Exit::Exception { .. }), "{offset:x}: {exit:?}");
        }
        caller.check();
    });
}

#[test]
fn forged_returns_from_signals_harm_who_forges() {
    within(240, || {
        let mut bystander = Bystander::new();
        std::thread::scope(|scope| {
            for seed in 1..=8 {
                scope.spawn(move || forge(seed));
            }
        });
        bystander.check();
    });
}

/// Returns from signals that have not come, with frames that are more or less like real ones.
fn forge(seed: u64) {
    let mut state = seed;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let end = Instant::now() + Duration::from_secs(6);
    'guests: while Instant::now() < end {
        let mut caller = Caller::new(&[], &format!("forged-{seed}"));
        let _ticker = Ticker::new(caller.context.interrupter(), Duration::from_millis(1));
        for _ in 0..200 {
            let mut frame = [0u64; 64];
            let somewhere = [0, CODE, DATA, head(0), block(0), region(), region() + 0x8000, u64::MAX, 1 << 47];
            let places = somewhere.len() as u64;
            frame.iter_mut().for_each(|word| *word = somewhere[below(places) as usize].wrapping_add(8 * below(8)));
            let selectors = [0x33, 0x23, 0x2b, 0x10, 0x18, 0, 0xffff];
            // After the restorer's address: flags, link, stack, then the registers.
            frame[0] = below(8);
            frame[21] =
                [CODE + 0xf20, CODE, region() + below(0x1000), somewhere[below(places) as usize]][below(4) as usize];
            frame[22] = [0x202, 0x302, u64::MAX, 1 << 18 | 2][below(4) as usize];
            frame[23] = selectors[below(7) as usize] | selectors[below(7) as usize] << 48;
            frame[28] = [0, DATA + 0x1000, head(0), u64::MAX][below(4) as usize];
            frame[37] = [0, 0, 0, u64::MAX][below(4) as usize];
            if below(4) != 0 {
                (frame[23], frame[28]) = (0x33 | 0x2b << 48, 0);
            }
            let bytes: Vec<u8> = frame.iter().flat_map(|word| word.to_ne_bytes()).collect();
            rustix::io::pwrite(&caller.guest.file, &bytes, LEN + 0x800).expect("pwrite");
            let rip = region() + Entry::Resume.offset() as u64 - 2;
            let mut regs = Registers { rax: 15, rip, rsp: DATA + 0x800, ..call() };
            for _ in 0..2 {
                let begin = Instant::now();
                let exit = caller.context.switch(&mut regs);
                assert!(begin.elapsed() < Duration::from_secs(12), "{exit:?}: {frame:x?}");
                if matches!(exit, Exit::Gone(_)) {
                    continue 'guests;
                }
            }
        }
        caller.check();
    }
}
