//! What tests need that play a hostile guest: where the stub region is, tools in guest code, a look at the stub from outside.

use super::{CODE, DATA, Guest, platform, start};
use platform::{Context, Exit, Interrupter, Platform, Registers};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use vizor_systrap::anatomy::{BLOCK, CONTEXTS, HEAD, REGION_STEP};

/// Where [`with_tools`] puts its code, all of it reachable after whatever a test has below.
const POKE: usize = 0xf00;
const PEEK: usize = 0xf10;
const CALL: usize = 0xf20;
const JUMP: usize = 0xf30;

/// The stub region's base, as a guest could find it: the vDSO lies in it.
pub fn region() -> u64 {
    platform().vdso().expect("vdso").start & !(REGION_STEP - 1)
}

/// Where the words of a thread's protocol are in the stub. Contexts get their blocks in the order in which they are made.
pub fn head(slot: usize) -> u64 {
    block(slot) + HEAD as u64
}

/// Where a thread's block is.
pub fn block(slot: usize) -> u64 {
    region() + (CONTEXTS + slot * BLOCK) as u64
}

/// Code, and behind it what [`poke`], [`peek`], [`call`] and [`jump`] run.
pub fn with_tools(code: &[u8]) -> Vec<u8> {
    let mut all = code.to_vec();
    assert!(all.len() <= POKE);
    all.resize(4096, 0xcc);
    for (at, tool) in [
        (POKE, &[0x48, 0x89, 0x37, 0x0f, 0x05][..]), // mov [rdi], rsi; syscall
        (PEEK, &[0x48, 0x8b, 0x3f, 0x0f, 0x05]),     // mov rdi, [rdi]; syscall
        (CALL, &[0x0f, 0x05]),                       // syscall
        (JUMP, &[0xff, 0xe0]),                       // jmp rax
    ] {
        all[at..at + tool.len()].copy_from_slice(tool);
    }
    all
}

/// Writes a word in the guest, as the guest.
pub fn poke(context: &mut dyn Context, at: u64, value: u64) {
    let mut regs = Registers { rdi: at, rsi: value, ..start(POKE as u64) };
    assert_eq!(context.switch(&mut regs), Exit::Syscall);
}

/// Reads a word in the guest, as the guest.
pub fn peek(context: &mut dyn Context, at: u64) -> u64 {
    let mut regs = Registers { rdi: at, ..start(PEEK as u64) };
    assert_eq!(context.switch(&mut regs), Exit::Syscall);
    regs.rdi
}

/// A system call's instruction, and registers that come to it.
pub fn call() -> Registers {
    start(CALL as u64)
}

/// Registers that jump to `target`, with others as `fill` has them.
pub fn jump(target: u64, fill: Registers) -> Registers {
    Registers { rax: target, rip: CODE + JUMP as u64, eflags: 0x202, ..fill }
}

/// Interrupts a context now and then, until dropped.
pub struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub fn new(interrupter: Arc<dyn Interrupter>, pause: Duration) -> Ticker {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.load(Ordering::SeqCst) {
                    std::thread::sleep(pause);
                    interrupter.interrupt();
                }
            }
        });
        Ticker { stop, thread: Some(thread) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("ticker");
        }
    }
}

/// The host's children of all threads of this process.
pub fn children() -> Vec<i32> {
    let mut all = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").expect("tasks").flatten() {
        let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        all.extend(list.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    all
}

/// What the host has mapped in a process.
pub fn maps(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default()
}

/// The host process of a guest that lives: the one that has its file mapped.
pub fn process(guest: &Guest) -> i32 {
    let file = std::fs::File::from(guest.file.try_clone().expect("dup"));
    let wanted = format!(" {} ", file.metadata().expect("stat").ino());
    let find = || children().into_iter().find(|pid| maps(*pid).lines().any(|line| line.contains(&wanted)));
    // The host's list of children may lack some while others end.
    (0..1000)
        .find_map(|_| {
            find().or_else(|| {
                std::thread::sleep(Duration::from_millis(1));
                None
            })
        })
        .expect("it lives")
}

/// The stub region's mappings of a process: addresses, protection, offset.
pub fn region_maps(pid: i32) -> Vec<String> {
    let base = region();
    let above = |line: &&str| {
        let start = line.split('-').next().and_then(|start| u64::from_str_radix(start, 16).ok());
        start.is_some_and(|start| (base..base + REGION_STEP).contains(&start))
    };
    maps(pid).lines().filter(above).map(str::to_owned).collect()
}

/// A guest that has nothing to do with the attack, and must not notice it.
pub struct Bystander {
    guest: Guest,
    context: Box<dyn Context>,
    calls: u64,
}

impl Bystander {
    pub fn new() -> Bystander {
        // lock inc qword [rdi]; syscall
        let guest = Guest::new(&[0xf0, 0x48, 0xff, 0x07, 0x0f, 0x05]);
        let context = guest.context();
        Bystander { guest, context, calls: 0 }
    }

    pub fn check(&mut self) {
        let mut regs = Registers { rdi: DATA, rbx: 77, ..start(0) };
        assert_eq!(self.context.switch(&mut regs), Exit::Syscall);
        self.calls += 1;
        assert_eq!((self.guest.data(0), regs.rbx, regs.rip), (self.calls, 77, CODE + 6));
        self.context.sleeps(&|| true);
    }
}
