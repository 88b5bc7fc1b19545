//! Guests that write over all that they share with the Sentry, while other threads of theirs work: calls that trap, that
//! are handed over, served and raised, changes of memory, new threads. Others go on meanwhile, and new ones come.

mod harness;

use harness::*;
use platform::{Exit, Gone, Ids, MapOp, Registers};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use vizor_systrap::anatomy::{BLOCK, CHUNK, Entry, MAX_CONTEXTS, RESPONSE, RESPONSE_LEN};

/// Where the parts of the guest's code are.
const FILL: u64 = 0;
const SPRINKLE: u64 = 32;
const TRAP: u64 = 96;
const ENTER: u64 = 128;
const HEALTHY: u64 = 0;

fn code() -> Vec<u8> {
    let mut code = vec![0xcc; 192];
    let mut put = |at: u64, bytes: &[u8]| code[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    // For ever: mov rdi, rbx; mov rcx, rdx; rep stosq.
    put(FILL, &[0x48, 0x89, 0xdf, 0x48, 0x89, 0xd1, 0xf3, 0x48, 0xab, 0xeb, 0xf5]);
    // For ever, a word of r8's bits that r11d has at a place below rdx: imul r8, r9; add r8, r10; mov rcx, r8; shr rcx, 33;
    // and rcx, rdx; mov rax, r8; shr rax, 20; and eax, r11d; mov [rbx + rcx], eax.
    put(
        SPRINKLE,
        &[
            0x4d, 0x0f, 0xaf, 0xc1, 0x4d, 0x01, 0xd0, 0x4c, 0x89, 0xc1, 0x48, 0xc1, 0xe9, 33, 0x48, 0x21, 0xd1, 0x4c,
            0x89, 0xc0, 0x48, 0xc1, 0xe8, 20, 0x44, 0x21, 0xd8, 0x89, 0x04, 0x0b, 0xeb, 0xe0,
        ],
    );
    // lock inc [rdi]; syscall
    put(TRAP, &[0xf0, 0x48, 0xff, 0x07, 0x0f, 0x05]);
    // As a trampoline does: mov r11, rax; lahf; seto al; lea rcx, [rip + 6]; jmp [rip + 2]; syscall
    put(
        ENTER,
        &[0x49, 0x89, 0xc3, 0x9f, 0x0f, 0x90, 0xc0, 0x48, 0x8d, 0x0d, 6, 0, 0, 0, 0xff, 0x25, 2, 0, 0, 0, 0x0f, 0x05],
    );
    put(ENTER + 22, &(region() + Entry::Enter.offset() as u64).to_le_bytes());
    code
}

/// What is written, and where.
#[derive(Clone, Copy)]
enum Scribble {
    /// The same everywhere.
    Fill(u64),
    /// Words of these bits, here and there.
    Sprinkle(u32),
}

/// One attack, until `end`.
struct Attack {
    guest: Guest,
    end: Instant,
    /// Why threads stopped, and how often.
    ends: Mutex<BTreeMap<String, u32>>,
    contexts: AtomicUsize,
}

impl Attack {
    fn over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Runs once, for at most as long as the platform may take to lose patience.
    fn switch(&self, context: &mut dyn platform::Context, regs: &mut Registers) -> Result<Exit, Gone> {
        let begin = Instant::now();
        let exit = context.switch(regs);
        assert!(begin.elapsed() < Duration::from_secs(20), "{exit:?} after {:?}", begin.elapsed());
        if let Exit::Gone(gone) = exit { Err(gone) } else { Ok(exit) }
    }

    fn write(&self, what: Scribble, at: u64, len: u64) -> Result<(), Gone> {
        let Ok(mut context) = self.guest.space.new_context() else { return Ok(()) };
        let _ticker = Ticker::new(context.interrupter(), Duration::from_millis(5));
        let mut seed = at;
        while !self.over() {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let (r9, r10) = (6_364_136_223_846_793_005, 1_442_695_040_888_963_407);
            let mut regs = match what {
                Scribble::Fill(rax) => Registers { rbx: at, rdx: len / 8, rax, ..start(FILL) },
                Scribble::Sprinkle(bits) => {
                    Registers { rbx: at, rdx: len - 4, r8: seed, r9, r10, r11: bits.into(), ..start(SPRINKLE) }
                }
            };
            self.switch(&mut *context, &mut regs)?;
        }
        Ok(())
    }

    /// Traps, vector state, changes of memory.
    fn trap(&self) -> Result<(), Gone> {
        let Ok(mut context) = self.guest.space.new_context() else { return Ok(()) };
        let _ticker = Ticker::new(context.interrupter(), Duration::from_millis(5));
        while !self.over() {
            self.switch(&mut *context, &mut Registers { rdi: DATA, ..start(TRAP) })?;
            let state = context.fpstate();
            let _ = context.set_fpstate(&state);
            let far = 0x1000_0000;
            let ops = [self.guest.map(far, 4096, RW, LEN), MapOp::Unmap { addr: far, len: 4096 }];
            self.guest.space.apply(&ops)?;
        }
        Ok(())
    }

    /// Calls like those of patched sites, answered.
    fn call(&self) -> Result<(), Gone> {
        let Ok(mut context) = self.guest.space.new_context() else { return Ok(()) };
        let _ticker = Ticker::new(context.interrupter(), Duration::from_millis(5));
        let local = context.local();
        for number in [39, 14, 1000, 56, 202, 24, 158, 60, 1].into_iter().cycle() {
            if self.over() {
                break;
            }
            local.set_alert(number == 1000);
            local.set_ids(&Ids { tgid: 7, ..Ids::default() });
            let mut regs = Registers { rax: number, rdi: DATA + 64, rsi: 129, r10: 8, ..start(ENTER) };
            for _ in 0..2 {
                if self.switch(&mut *context, &mut regs)? == Exit::Syscall && number % 2 == 0 {
                    context.unfold(&mut regs)?;
                }
                regs.rax = 0;
            }
        }
        Ok(())
    }

    /// Threads that come, make a call and end.
    fn threads(&self) -> Result<(), Gone> {
        while !self.over() && self.contexts.fetch_add(1, Ordering::Relaxed) < MAX_CONTEXTS {
            let Ok(mut context) = self.guest.space.new_context() else { continue };
            let _ticker = Ticker::new(context.interrupter(), Duration::from_millis(5));
            self.switch(&mut *context, &mut Registers { rdi: DATA, ..start(TRAP) })?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn spawn(self: &Arc<Attack>, what: impl FnOnce(&Attack) -> Result<(), Gone> + Send + 'static) -> JoinHandle<()> {
        let attack = Arc::clone(self);
        std::thread::spawn(move || {
            let end = what(&attack).err().map_or("at the end".into(), |gone| format!("{gone:?}"));
            *attack.ends.lock().expect("lock").entry(end).or_default() += 1;
        })
    }
}

/// A part of what is shared.
type Part = (u64, u64);

fn attack(what: Scribble, parts: &[Part]) -> BTreeMap<String, u32> {
    let (guest, end) = (Guest::new(&code()), Instant::now() + Duration::from_millis(150));
    let attack = Arc::new(Attack { guest, end, ends: Mutex::default(), contexts: AtomicUsize::new(0) });
    let writers: Vec<_> = parts.iter().map(|&(at, len)| attack.spawn(move |a| a.write(what, at, len))).collect();
    let workers = [Attack::trap, Attack::call, Attack::call, Attack::threads].map(|work| attack.spawn(work));
    for thread in writers.into_iter().chain(workers) {
        thread.join().expect("no thread of the Sentry panics");
    }
    let ends = attack.ends.lock().expect("lock");
    ends.clone()
}

/// Everything at once; then the answers only, and of single threads the words of the protocol, those of the call, of the
/// frame, of what is served.
fn parts() -> Vec<Vec<Part>> {
    let answers = (region() + RESPONSE as u64, RESPONSE_LEN as u64);
    let all = vec![answers, (block(0), (CHUNK * BLOCK) as u64)];
    let mut parts = vec![all.clone(), all.clone(), all, vec![answers]];
    for slot in 1..4 {
        for (at, len) in [(0, 8), (0, 64), (64, 64), (512, 64), (512, 256)] {
            parts.push(vec![(head(slot) + at, len)]);
        }
    }
    parts
}

#[test]
fn others_do_not_notice() {
    within(240, || {
        let over = Arc::new(AtomicUsize::new(0));
        let others = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let mut bystander = Bystander::new();
                while over.load(Ordering::Relaxed) == 0 {
                    bystander.check();
                    // As a fork and an exec do.
                    let fresh = Guest::new(&[0xf0, 0x48, 0xff, 0x07, 0x0f, 0x05]);
                    let mut contexts = [fresh.context(), fresh.context()];
                    for context in &mut contexts {
                        let exit = context.switch(&mut Registers { rdi: DATA, ..start(HEALTHY) });
                        assert_eq!(exit, Exit::Syscall);
                    }
                    assert_eq!(fresh.data(0), 2);
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        let fills =
            [0, 1, u64::MAX, 0x0101_0101_0101_0101, 0x0000_0001_0000_0001, 0x0000_0003_0000_0002, block(0) + 0x3000];
        let fills = fills.into_iter().map(Scribble::Fill);
        let sprinkles = [1, 3, 0xff, u32::MAX].into_iter().map(Scribble::Sprinkle);
        let attacks: Vec<_> =
            fills.chain(sprinkles).flat_map(|what| parts().into_iter().map(move |parts| (what, parts))).collect();
        let (next, ends) = (AtomicUsize::new(0), Mutex::new(BTreeMap::<String, u32>::new()));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some((what, parts)) = attacks.get(next.fetch_add(1, Ordering::Relaxed)) {
                        for (end, count) in attack(*what, parts) {
                            *ends.lock().expect("lock").entry(end).or_default() += count;
                        }
                    }
                });
            }
        });
        println!("threads' ends: {:?}", ends.into_inner().expect("lock"));
        over.store(1, Ordering::Relaxed);
        others.join().expect("others are well");
    });
}
