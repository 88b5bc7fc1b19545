//! General registers as tracers see and set them (`getreg` and `putreg` in Linux's `arch/x86/kernel/ptrace.c`).

use abi::Errno;
use platform::Registers;

/// Words of `struct user_regs_struct`.
pub const WORDS: usize = size_of::<Registers>() / 8;

/// Places in it.
const CS: usize = 17;
const EFLAGS: usize = 18;
const SS: usize = 20;
const FS_BASE: usize = 21;
const GS_BASE: usize = 22;
const DS: usize = 23;
const GS: usize = 26;

/// Flags that are the program's.
const FLAGS: u64 = 0x5_4dd5;
/// End of user addresses.
const TASK_SIZE: u64 = 0x7fff_ffff_f000;
/// Privilege level that selectors of user code have.
const USER_LEVEL: u64 = 3;

/// Sets a register. Selectors are checked and stay as they are: there is one kind of code here.
///
/// # Errors
/// `EIO` for a value that the processor would refuse, or no register.
pub fn set_register(regs: &mut Registers, index: usize, value: u64) -> Result<(), Errno> {
    let words: &mut [u64; WORDS] = zerocopy::transmute_mut!(regs);
    let word = words.get_mut(index).ok_or(Errno::EIO)?;
    match index {
        CS | SS | DS..=GS => {
            let selector = value & 0xffff;
            let bad = selector != 0 && selector & USER_LEVEL != USER_LEVEL;
            if bad || (selector == 0 && matches!(index, CS | SS)) {
                return Err(Errno::EIO);
            }
        }
        FS_BASE | GS_BASE if value >= TASK_SIZE => return Err(Errno::EIO),
        EFLAGS => *word = (*word & !FLAGS) | (value & FLAGS),
        _ => *word = value,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_processor_would_refuse_is_refused() {
        let mut regs = Registers { eflags: 0x246, cs: 0x33, ..Registers::default() };
        assert_eq!(set_register(&mut regs, CS, 0), Err(Errno::EIO));
        assert_eq!(set_register(&mut regs, SS, 0x28), Err(Errno::EIO));
        assert_eq!(set_register(&mut regs, FS_BASE, 1 << 63), Err(Errno::EIO));
        assert_eq!(set_register(&mut regs, WORDS, 0), Err(Errno::EIO));
        assert_eq!(set_register(&mut regs, EFLAGS, u64::MAX), Ok(()));
        assert_eq!(regs.eflags, 0x246 | FLAGS);
        assert_eq!(set_register(&mut regs, 15, 7), Ok(()));
        assert_eq!((regs.orig_rax, regs.cs), (7, 0x33));
    }
}
