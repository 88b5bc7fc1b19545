//! The stack that a program starts with: strings, auxiliary vector, pointers (getauxval(3)).

use super::Program;
use super::elf::Image;
use crate::kernel::Kernel;
use abi::{Errno, PAGE_SIZE};
use mm::{MemoryManager, ProgramRanges};
use platform::Registers;
use vfs::Credentials;

const AT_NULL: u64 = 0;
const AT_PHDR: u64 = 3;
const AT_PHENT: u64 = 4;
const AT_PHNUM: u64 = 5;
const AT_PAGESZ: u64 = 6;
const AT_BASE: u64 = 7;
const AT_FLAGS: u64 = 8;
const AT_ENTRY: u64 = 9;
const AT_UID: u64 = 11;
const AT_EUID: u64 = 12;
const AT_GID: u64 = 13;
const AT_EGID: u64 = 14;
const AT_PLATFORM: u64 = 15;
const AT_HWCAP: u64 = 16;
const AT_CLKTCK: u64 = 17;
const AT_SECURE: u64 = 23;
const AT_RANDOM: u64 = 25;
const AT_HWCAP2: u64 = 26;
const AT_EXECFN: u64 = 31;
const AT_SYSINFO_EHDR: u64 = 33;
const AT_MINSIGSTKSZ: u64 = 51;

/// Interrupts enabled, and the bit that is always set.
const EFLAGS: u64 = 0x202;
/// User-mode selectors of 64-bit Linux.
const USER_CS: u64 = 0x33;
const USER_SS: u64 = 0x2b;

/// Bytes growing downwards from the top of the stack.
struct Down {
    top: u64,
    /// Reversed: the last byte pushed is the lowest.
    bytes: Vec<u8>,
}

impl Down {
    fn at(&self) -> u64 {
        self.top - self.bytes.len() as u64
    }

    fn push(&mut self, data: &[u8]) -> u64 {
        self.bytes.extend(data.iter().rev());
        self.at()
    }

    fn push_string(&mut self, text: &[u8]) -> u64 {
        self.push(&[0]);
        self.push(text)
    }

    fn align(&mut self, to: u64) {
        while !self.at().is_multiple_of(to) {
            self.bytes.push(0);
        }
    }
}

/// Builds the stack; returns the first registers.
pub(super) fn build(
    mm: &MemoryManager,
    kernel: &Kernel,
    creds: &Credentials,
    program: &Program,
    image: &Image,
) -> Result<Registers, Errno> {
    let top = mm.map_stack(image.executable_stack)?;
    let mut stack = Down { top, bytes: Vec::new() };
    stack.push(&[0; 8]);
    let execfn = stack.push_string(&program.path);
    let env_end = stack.at();
    let mut push_all = |strings: &[Vec<u8>]| -> Vec<u64> {
        let mut at: Vec<u64> = strings.iter().rev().map(|s| stack.push_string(s)).collect();
        at.reverse();
        at
    };
    let env = push_all(&program.envp);
    let args = push_all(&program.argv);
    let arg_start = args.first().copied().unwrap_or_else(|| stack.at());
    let arg_end = env.first().copied().unwrap_or(env_end);
    let platform = stack.push_string(b"x86_64");
    let mut seed = [0; 16];
    super::random(&mut seed);
    let random = stack.push(&seed);
    stack.align(16);
    let (hwcap, hwcap2) = rustix::param::linux_hwcap();
    let mut auxv: Vec<u64> = Vec::new();
    if let Some(vdso) = kernel.platform.vdso() {
        auxv.extend([AT_SYSINFO_EHDR, vdso.start]);
    }
    let secure = u64::from(secure(creds));
    auxv.extend([AT_MINSIGSTKSZ, rustix::param::linux_minsigstksz().max(2048) as u64]);
    auxv.extend([AT_HWCAP, hwcap as u64, AT_PAGESZ, PAGE_SIZE, AT_CLKTCK, 100]);
    auxv.extend([AT_PHDR, image.phdr, AT_PHENT, 56, AT_PHNUM, image.phnum, AT_BASE, image.base, AT_FLAGS, 0]);
    auxv.extend([AT_ENTRY, image.entry, AT_UID, creds.ruid.into(), AT_EUID, creds.euid.into()]);
    auxv.extend([AT_GID, creds.rgid.into(), AT_EGID, creds.egid.into(), AT_SECURE, secure]);
    auxv.extend([AT_RANDOM, random, AT_HWCAP2, hwcap2 as u64, AT_EXECFN, execfn, AT_PLATFORM, platform, AT_NULL, 0]);
    let mut words: Vec<u64> = vec![args.len() as u64];
    words.extend(&args);
    words.push(0);
    words.extend(&env);
    words.push(0);
    words.extend(&auxv);
    if !words.len().is_multiple_of(2) {
        stack.push(&[0; 8]);
    }
    for word in words.iter().rev() {
        stack.push(&word.to_le_bytes());
    }
    let rsp = stack.at();
    stack.bytes.reverse();
    mm.copy_out(rsp, &stack.bytes)?;
    mm.set_program(ProgramRanges {
        code: image.code.clone(),
        data: image.data.clone(),
        args: arg_start..arg_end,
        env: arg_end..env_end,
        stack: rsp,
        auxv: auxv.iter().flat_map(|w| w.to_le_bytes()).collect(),
    });
    Ok(Registers { rip: image.start, rsp, eflags: EFLAGS, cs: USER_CS, ss: USER_SS, ..Registers::default() })
}

/// Whether the program has gained privileges (`AT_SECURE`).
pub(super) fn secure(creds: &Credentials) -> bool {
    creds.ruid != creds.euid || creds.rgid != creds.egid
}
