//! The host's signal frame in a context's block, which holds the guest thread's state while the Sentry has its turn.
//!
//! Layout: Linux's `struct rt_sigframe` on x86-64 (`pretcode`, `ucontext`, `siginfo`). A guest can write it, so what is
//! read is as untrusted as the guest itself, and what is written can only hurt the guest.

use crate::layout::{BLOCK, HEAD};
use crate::shared::Shared;
use platform::Registers;

pub const UC_FLAGS: usize = 8;
pub const UC_STACK: usize = 24;
pub const SIGCONTEXT: usize = 48;
/// Of the saved instruction pointer.
pub const RIP: usize = SIGCONTEXT + 128;
const SELECTORS: usize = SIGCONTEXT + 144;
const ERROR_CODE: usize = SIGCONTEXT + 152;
const TRAPNO: usize = SIGCONTEXT + 160;
const CR2: usize = SIGCONTEXT + 176;
pub const FPSTATE: usize = SIGCONTEXT + 184;
pub const SIGMASK: usize = 304;
pub const SIGINFO: usize = 312;
pub const LEN: usize = 440;

/// `UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS`.
pub const FRAME_FLAGS: u64 = 7;
/// 64-bit user code and data, as Linux numbers them, and 32-bit code, to which a guest may go by itself.
pub const USER_CS: u64 = 0x33;
const USER32_CS: u64 = 0x23;
pub const USER_SS: u64 = 0x2b;
pub const SELECTORS_VALUE: u64 = USER_CS | USER_SS << 48;
/// Flags that user code may set (Linux's `FIX_EFLAGS`), and those that are always set.
const EFLAGS_USER: u64 = 0x5_0dd5;
const EFLAGS_FIXED: u64 = 0x202;

/// The selector of code, of those there are.
fn code_selector(cs: u64) -> u64 {
    if cs == USER32_CS { cs } else { USER_CS }
}

/// Why the host delivered a signal.
#[derive(Clone, Copy, Debug)]
pub struct Cause {
    pub signo: i32,
    pub code: i32,
    /// `si_addr`.
    pub addr: u64,
    /// `si_arch` of `SIGSYS`.
    pub arch: u32,
    pub trapno: u64,
    pub error_code: u64,
    pub cr2: u64,
}

/// Where in a block a frame goes that the host has not made, with `room` bytes above it.
pub fn offset_of_own(room: usize) -> usize {
    ((HEAD - room - LEN) & !15) - 8
}

/// A frame's place.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Of the block in the shared file.
    block: usize,
    /// Of the block in the stub.
    address: u64,
    /// Of the frame in the block.
    offset: usize,
}

impl Frame {
    /// The frame at a stub address, if it lies in the block's signal stack.
    pub fn at(block: usize, address: u64, frame: u64) -> Option<Frame> {
        let offset = usize::try_from(frame.checked_sub(address)?).ok()?;
        (offset.is_multiple_of(8) && offset <= HEAD - LEN).then_some(Frame { block, address, offset })
    }

    /// Writes a frame for a thread that has not run: no blocked signals, its signal stack, initial vector state.
    /// `room` is how many bytes to leave above it.
    pub fn create(shared: &Shared, block: usize, address: u64, room: usize) -> Frame {
        let offset = offset_of_own(room);
        let frame = Frame { block, address, offset };
        for at in (0..LEN).step_by(8) {
            shared.set(frame.file(at), 0);
        }
        shared.set(frame.file(UC_FLAGS), FRAME_FLAGS);
        shared.set(frame.file(UC_STACK), address);
        shared.set(frame.file(UC_STACK + 16), HEAD as u64);
        shared.set(frame.file(SELECTORS), SELECTORS_VALUE);
        frame
    }

    /// The frame's address in the stub.
    pub fn address(self) -> u64 {
        self.address + self.offset as u64
    }

    fn file(self, at: usize) -> usize {
        self.block + self.offset + at
    }

    /// Reads the general registers, and leaves segment bases and `orig_rax` alone.
    pub fn load(self, shared: &Shared, regs: &mut Registers) {
        let word = |index: usize| shared.get(self.file(SIGCONTEXT + 8 * index));
        regs.r8 = word(0);
        regs.r9 = word(1);
        regs.r10 = word(2);
        regs.r11 = word(3);
        regs.r12 = word(4);
        regs.r13 = word(5);
        regs.r14 = word(6);
        regs.r15 = word(7);
        regs.rdi = word(8);
        regs.rsi = word(9);
        regs.rbp = word(10);
        regs.rbx = word(11);
        regs.rdx = word(12);
        regs.rax = word(13);
        regs.rcx = word(14);
        regs.rsp = word(15);
        regs.rip = word(16);
        regs.eflags = word(17) & EFLAGS_USER | EFLAGS_FIXED;
        regs.cs = code_selector(word(18) & 0xffff);
        regs.ss = USER_SS;
    }

    /// Writes the general registers that differ from `old`, what was last read.
    pub fn store(self, shared: &Shared, regs: &Registers, old: Option<&Registers>) {
        let words = |r: &Registers| {
            [
                r.r8,
                r.r9,
                r.r10,
                r.r11,
                r.r12,
                r.r13,
                r.r14,
                r.r15,
                r.rdi,
                r.rsi,
                r.rbp,
                r.rbx,
                r.rdx,
                r.rax,
                r.rcx,
                r.rsp,
                r.rip,
                r.eflags & EFLAGS_USER | EFLAGS_FIXED,
                code_selector(r.cs) | USER_SS << 48,
            ]
        };
        let new = words(regs);
        let old = old.map(words);
        for (index, value) in new.into_iter().enumerate() {
            if old.is_none_or(|old| old[index] != value) {
                shared.set(self.file(SIGCONTEXT + 8 * index), value);
            }
        }
        if old.is_none() {
            shared.set(self.file(SIGMASK), 0);
        }
    }

    /// Lets the thread go on at an address of the platform's choice.
    pub fn set_rip(self, shared: &Shared, rip: u64) {
        shared.set(self.file(RIP), rip);
    }

    /// Reads why the signal came.
    pub fn cause(self, shared: &Shared) -> Cause {
        let info = |at: usize| shared.get(self.file(SIGINFO + at));
        Cause {
            signo: info(0) as i32,
            code: info(8) as i32,
            addr: info(16),
            arch: (info(24) >> 32) as u32,
            trapno: shared.get(self.file(TRAPNO)),
            error_code: shared.get(self.file(ERROR_CODE)),
            cr2: shared.get(self.file(CR2)),
        }
    }

    /// Where the vector state is in the shared file, and how many bytes of the block there are from there; `None` if
    /// there is none yet.
    pub fn vector(self, shared: &Shared) -> Option<(usize, usize)> {
        let offset = usize::try_from(shared.get(self.file(FPSTATE)).checked_sub(self.address)?).ok()?;
        (offset.is_multiple_of(64) && offset <= HEAD - 512).then(|| (self.block + offset, HEAD - offset))
    }

    /// Says where the vector state is: at an offset in the block, or nowhere, which means the initial state.
    pub fn set_vector(self, shared: &Shared, offset: Option<usize>) {
        let pointer = offset.map_or(0, |offset| self.address + offset as u64);
        shared.set(self.file(FPSTATE), pointer);
    }

    /// The offset of the first byte after the frame in its block.
    pub fn end(self) -> usize {
        self.offset + LEN
    }
}

const _: () = assert!(BLOCK > HEAD);
