//! Where the parts of an address space lie: Linux's top-down layout with random offsets.

use crate::vma::STACK_GUARD;
use abi::PAGE_SIZE;
use core::ops::Range;

/// How far the stack's top is moved at most: 2^22 pages.
const STACK_RANDOM: u64 = 0x3f_ffff * PAGE_SIZE;
/// How far the mmap area is moved at most: 2^28 pages.
const MMAP_RANDOM: u64 = 0xfff_ffff * PAGE_SIZE;
/// How far the heap is moved at most from the end of the program.
const BRK_RANDOM: u64 = 32 << 20;

/// Addresses chosen when a program starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// New mappings are placed below this.
    pub mmap_base: u64,
    /// The stack ends here.
    pub stack_top: u64,
    /// Where a position-independent executable that has an interpreter goes.
    pub pie_base: u64,
    /// How far above the executable's end the heap starts.
    pub brk_gap: u64,
}

impl Layout {
    /// A random layout of `user`. `random` yields random numbers; zeroes disable randomization
    /// (`personality(ADDR_NO_RANDOMIZE)`).
    pub fn new(user: &Range<u64>, stack_limit: u64, mut random: impl FnMut() -> u64) -> Layout {
        let size = user.end & !(PAGE_SIZE - 1);
        // A platform that offers less than Linux's 47 bits gets less randomness.
        let mut offset = |most: u64| random() % (most.min(size / 16) / PAGE_SIZE + 1) * PAGE_SIZE;
        let stack_top = size - offset(STACK_RANDOM);
        let gap = stack_limit.saturating_add(STACK_RANDOM.min(size / 16)).saturating_add(STACK_GUARD);
        let gap = gap.clamp(128 << 20, size / 6 * 5).next_multiple_of(PAGE_SIZE);
        let mmap_base = size.saturating_sub(gap).saturating_sub(offset(MMAP_RANDOM));
        let pie_base = size / 3 * 2 / PAGE_SIZE * PAGE_SIZE + offset(MMAP_RANDOM);
        Layout { mmap_base, stack_top, pie_base, brk_gap: offset(BRK_RANDOM) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_sane_for_any_randomness() {
        for user in [0x1_0000..0x7fff_ffff_f000_u64, 0x1_0000..0x3fff_ffff_f000] {
            for random in [0, u64::MAX, 0x1234_5678_9abc_def0] {
                for stack in [0, 8 << 20, u64::MAX] {
                    let layout = Layout::new(&user, stack, || random);
                    for at in [layout.mmap_base, layout.stack_top, layout.pie_base, layout.brk_gap] {
                        assert!(at.is_multiple_of(PAGE_SIZE), "{layout:x?}");
                    }
                    assert!(layout.stack_top <= user.end && layout.stack_top > user.end / 2);
                    assert!(layout.mmap_base < layout.stack_top, "{layout:x?}");
                    assert!(layout.pie_base < user.end);
                }
            }
        }
    }
}
