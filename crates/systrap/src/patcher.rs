//! Patches of system call sites: which bytes become a jump, and what the trampoline does.
//!
//! Five bytes are needed, a `syscall` has two. The others come from a `mov $number, %eax` before it, or from whole
//! instructions after or before it, which move into the trampoline. That something is an instruction is known only if it is
//! one however the bytes before the site are read ([`Readings`]): else a jump might be written into the middle of one.
//!
//! # Jumps into the middle
//! All four bytes of a jump's distance are first bytes of instructions that no processor has in 64-bit mode
//! ([`INVALID`]), so a jump to any byte of the site but the first raises `SIGILL` there. The context sends a thread on to where
//! an instruction has moved; for any other byte the kernel takes the patch back. The distance's upper half is the same
//! for all sites of a text, that of its shadow; the lower half leaves each site some hundreds of places to choose from.

use crate::layout::{HOST_END, REGION_STEP, USER_RANGE};
use crate::readings::{LONGEST, Readings, decode};
use crate::text::Entry;
use core::cell::LazyCell;
use core::ops::{Deref, Range};
use platform::{Code, JUMP, Patch, Patcher};
use yaxpeax_x86::long_mode::{Instruction, Opcode, Operand, RegSpec};

/// Opcodes that are invalid in 64-bit mode, whatever follows them (Intel SDM vol. 2, table A-2; `0x62`, `0xc4` and `0xc5` are not
/// among them, since they begin vector instructions there).
const INVALID: [u8; 20] = [
    0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x82, 0x9a, 0xce, 0xd4, 0xd5, 0xd6,
    0xea,
];
const SYSCALL: [u8; 2] = [0x0f, 0x05];
const PAGE: u64 = abi::PAGE_SIZE;

/// Makes patches whose trampolines lead to a stub region.
pub struct SitePatcher {
    base: u64,
}

/// What becomes a jump.
struct Site {
    /// Start of the jump, and end of what it replaces.
    range: Range<usize>,
    /// The `syscall` instruction.
    call: usize,
    /// Instructions of the range before and after the call, by their ends.
    ends: Vec<usize>,
    /// The instruction before may stay in place of the jump's rest: it is `mov $number, %eax`, and the call is not touched.
    whole: bool,
}

impl SitePatcher {
    /// `base` is the region's.
    pub fn new(base: u64) -> SitePatcher {
        SitePatcher { base }
    }
}

impl Patcher for SitePatcher {
    fn shadows(&self, text: Range<u64>) -> Vec<Range<u64>> {
        // Below is best, for heaps grow above programs; far above is best for what lies low.
        let upper = |a: u8, b: u8| i64::from(i32::from_be_bytes([a, b, 0, 0]));
        let below = [0xea, 0xd6, 0xd5, 0xd4, 0xce, 0x9a].into_iter().flat_map(|a| [upper(a, 0xea), upper(a, 0x82)]);
        let above =
            [0x60, 0x61, 0x3f, 0x37, 0x2f, 0x27, 0x1f].into_iter().flat_map(|a| [upper(a, 0x60), upper(a, 0x06)]);
        below
            .chain(above)
            .filter_map(|distance| {
                let start = text.start.checked_add_signed(distance)? & !(PAGE - 1);
                let end = text.end.checked_add_signed(distance)?.checked_add(0x2_0000)? & !(PAGE - 1);
                (start >= USER_RANGE.start && end <= USER_RANGE.end && start >= 1 << 24).then_some(start..end)
            })
            .collect()
    }

    fn plan(
        &self,
        code: Code<'_>,
        site: u64,
        number: Option<u32>,
        text: Range<u64>,
        shadow: Range<u64>,
        free: &dyn Fn(Range<u64>) -> bool,
    ) -> Option<Patch> {
        let call = usize::try_from(site.checked_sub(code.start)?).ok()?;
        if code.bytes.get(call..call + 2)? != SYSCALL {
            return None;
        }
        // A patch is one page's.
        let start = |found: &Site| code.start + found.range.start as u64;
        let in_page = |found: &Site| start(found) / PAGE == (start(found) + JUMP as u64 - 1) / PAGE;
        let readings = LazyCell::new(|| Readings::before(code, call));
        let found = number_before(code, call, number, &readings)
            .filter(in_page)
            .or_else(|| after(code, call).filter(in_page))
            .or_else(|| before(code, call, &readings).filter(in_page))?;
        let at = start(&found);
        let distance = i32::try_from(shadow.start.wrapping_sub(text.start & !(PAGE - 1)).cast_signed()).ok()?;
        let next = at + JUMP as u64;
        let len = self.trampoline(code, &found, 0)?.code.len() as u64;
        let lower = INVALID.iter().flat_map(|a| INVALID.iter().map(move |b| u16::from_be_bytes([*a, *b])));
        let place = lower
            .map(|lower| next.wrapping_add_signed(i64::from(distance)).wrapping_add(u64::from(lower)))
            .find(|place| {
                let range = *place..place.saturating_add(len);
                range.start >= shadow.start
                    && range.end <= shadow.end
                    && range.start / PAGE == (range.end - 1) / PAGE
                    && free(range)
            })?;
        let relative = i32::try_from(place.wrapping_sub(next).cast_signed()).ok()?.to_le_bytes();
        debug_assert!(relative.iter().all(|byte| INVALID.contains(byte)));
        let mut patch = self.trampoline(code, &found, place)?;
        patch.jump = [0xe9, relative[0], relative[1], relative[2], relative[3]];
        Some(patch)
    }

    fn certain(&self, code: Code<'_>, site: u64) -> bool {
        let call = site.checked_sub(code.start).and_then(|call| usize::try_from(call).ok());
        let found = call.and_then(|call| Some((call, written(code, call)?)));
        found.is_some_and(|(call, start)| Readings::before(code, call).settle_at(start))
    }
}

impl SitePatcher {
    /// The trampoline for a site, at `place`.
    fn trampoline(&self, code: Code<'_>, site: &Site, place: u64) -> Option<Patch> {
        let start = code.start;
        let guest = |at: usize| start + at as u64;
        let at = site.range.start;
        let mut out = code.bytes.get(at..site.call)?.to_vec();
        let mut moved = vec![(guest(at), place)];
        if !site.whole && site.call > at {
            moved.push((guest(site.call), place + out.len() as u64));
        }
        // Registers of a call that are free: rcx, r11. Is gs the thread's head? Keeps the flags.
        out.extend([0xf3, 0x48, 0x0f, 0xae, 0xc9]); // rdgsbase rcx
        out.extend([0x49, 0x89, 0xc3]); // mov r11, rax
        out.extend([0x9f, 0x0f, 0x90, 0xc0]); // lahf; seto al
        let xor = out.len() + 3;
        out.extend([0x48, 0x33, 0x0d, 0, 0, 0, 0]); // xor rcx, [rip + region]
        out.extend([0x48, 0xc1, 0xe9, REGION_STEP.trailing_zeros() as u8]); // shr rcx, ...
        out.extend([0x75, 13]); // jnz slow
        let lea = out.len() + 3;
        out.extend([0x48, 0x8d, 0x0d, 0, 0, 0, 0]); // lea rcx, [rip + back]
        let jmp = out.len() + 2;
        out.extend([0xff, 0x25, 0, 0, 0, 0]); // jmp [rip + entry]
        out.extend([0x04, 0x7f, 0x9e, 0x4c, 0x89, 0xd8]); // slow: add al, 0x7f; sahf; mov rax, r11
        out.extend(SYSCALL);
        let back = out.len();
        for end in &site.ends {
            moved.push((guest(*end), place + (back + end - (site.call + 2)) as u64));
        }
        let end = site.range.end.max(site.call + 2);
        out.extend(code.bytes.get(site.call + 2..end)?);
        let after = guest(end);
        let home = out.len() + 5;
        out.push(0xe9);
        out.extend(i32::try_from(after.wrapping_sub(place + home as u64).cast_signed()).unwrap_or(0).to_le_bytes());
        let region = out.len().next_multiple_of(8);
        out.resize(region, 0xcc);
        out.extend(self.base.to_le_bytes());
        out.extend((self.base + Entry::Enter.offset() as u64).to_le_bytes());
        for (field, target) in [(xor, region), (lea, back), (jmp, region + 8)] {
            let relative = i32::try_from(target - (field + 4)).ok()?;
            out.get_mut(field..field + 4)?.copy_from_slice(&relative.to_le_bytes());
        }
        let original = code.bytes.get(at..at + JUMP)?.try_into().ok()?;
        Some(Patch {
            at: guest(at),
            call: guest(site.call),
            original,
            jump: [0; JUMP],
            trampoline: place,
            code: out,
            moved,
        })
    }
}

/// `mov $number, %eax; syscall`: the jump takes the place of the former, and the call stays. A call that came with that very
/// `number` most likely came that way.
fn number_before(
    code: Code<'_>,
    call: usize,
    number: Option<u32>,
    readings: &impl Deref<Target = Readings>,
) -> Option<Site> {
    let start = call.checked_sub(JUMP)?;
    let [0xb8, loaded @ ..] = code.bytes.get(start..call)? else { return None };
    let came_that_way = number.is_some_and(|number| number.to_le_bytes() == *loaded);
    let found = if came_that_way { readings.favour(start) } else { readings.agree_on(start) };
    found.then(|| Site { range: start..call, call, ends: vec![call + 2], whole: true })
}

/// The call and what follows it.
fn after(code: Code<'_>, call: usize) -> Option<Site> {
    let mut end = call + 2;
    let mut ends = vec![end];
    while end < call + JUMP {
        let (instruction, len) = decode(code, end)?;
        if !movable(&instruction) {
            return None;
        }
        end += len;
        ends.push(end);
    }
    Some(Site { range: call..end, call, ends, whole: false })
}

/// The call and the instruction before it.
fn before(code: Code<'_>, call: usize, readings: &impl Deref<Target = Readings>) -> Option<Site> {
    let lengths = JUMP - SYSCALL.len()..=LONGEST.min(call);
    let start = lengths.map(|len| call - len).find(|start| {
        decode(code, *start).is_some_and(|(found, len)| len == call - start && movable(&found))
            && readings.agree_on(*start)
    })?;
    Some(Site { range: start..call + 2, call, ends: vec![call + 2], whole: false })
}

/// Whether an instruction does the same elsewhere, and nothing with what a call clobbers for certain: those that stand
/// next to calls.
fn movable(instruction: &Instruction) -> bool {
    use Opcode as O;
    let plain = matches!(
        instruction.opcode(),
        O::MOV
            | O::MOVZX
            | O::MOVSX
            | O::MOVSXD
            | O::LEA
            | O::CMP
            | O::TEST
            | O::AND
            | O::OR
            | O::XOR
            | O::ADD
            | O::SUB
            | O::NEG
            | O::NOT
            | O::INC
            | O::DEC
            | O::SHL
            | O::SHR
            | O::SAR
            | O::NOP
            | O::PUSH
            | O::POP
    );
    plain && (0..instruction.operand_count()).all(|at| stays(instruction.operand(at)))
}

/// Whether an operand is the same wherever the instruction is.
fn stays(operand: Operand) -> bool {
    match operand {
        Operand::Register { .. }
        | Operand::ImmediateI8 { .. }
        | Operand::ImmediateU8 { .. }
        | Operand::ImmediateI16 { .. }
        | Operand::ImmediateU16 { .. }
        | Operand::ImmediateI32 { .. }
        | Operand::ImmediateU32 { .. }
        | Operand::ImmediateI64 { .. }
        | Operand::ImmediateU64 { .. }
        | Operand::AbsoluteU32 { .. }
        | Operand::AbsoluteU64 { .. } => true,
        Operand::MemDeref { base }
        | Operand::Disp { base, .. }
        | Operand::MemBaseIndexScale { base, .. }
        | Operand::MemBaseIndexScaleDisp { base, .. } => base != RegSpec::rip() && base != RegSpec::eip(),
        _ => false,
    }
}

/// Where a system call as C libraries write it begins: `mov $number, %eax; syscall`, or a `syscall` and a look for errors,
/// `cmp $-4096, %rax` (or 4095). So many bytes are not in data by chance.
fn written(code: Code<'_>, call: usize) -> Option<usize> {
    let (before, from) = code.bytes.split_at_checked(call)?;
    let after = from.strip_prefix(&SYSCALL)?;
    match (before, after) {
        (_, [0x48, 0x3d, 0 | 1, 0xf0, 0xff, 0xff, ..]) => Some(call),
        ([.., 0xb8, _, 0..=3, 0, 0], _) => Some(call - JUMP),
        _ => None,
    }
}

const _: () =
    assert!(REGION_STEP.is_power_of_two() && USER_RANGE.end.is_multiple_of(REGION_STEP) && USER_RANGE.end < HOST_END);

#[cfg(test)]
mod tests {
    use super::*;
    use yaxpeax_x86::long_mode::InstDecoder;

    const TEXT: Range<u64> = 0x5555_0000_0000..0x5555_0010_0000;

    fn plan(bytes: &[u8], call: usize) -> Option<Patch> {
        plan_after(bytes, call, None)
    }

    fn plan_after(bytes: &[u8], call: usize, number: Option<u32>) -> Option<Patch> {
        let patcher = SitePatcher::new(USER_RANGE.end);
        let mut text = vec![0x90; 64];
        text.extend(bytes);
        text.extend([0x90; 32]);
        let code = Code { start: TEXT.start + 0x1000, bytes: &text };
        let shadow = patcher.shadows(TEXT).remove(0);
        patcher.plan(code, TEXT.start + 0x1000 + 64 + call as u64, number, TEXT, shadow, &|_| true)
    }

    #[test]
    fn a_number_before_the_call_is_replaced() {
        let patch = plan(&[0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3], 5).expect("a patch");
        assert_eq!(patch.at, TEXT.start + 0x1040);
        assert_eq!(patch.code.get(..5), Some(&[0xb8, 39, 0, 0, 0][..]));
        assert!(patch.jump.get(1..).is_some_and(|distance| distance.iter().all(|byte| INVALID.contains(byte))));
        let after = TEXT.start + 0x1047;
        assert!(patch.moved.iter().any(|m| m.0 == after));
    }

    #[test]
    fn a_number_that_has_just_been_used_need_not_stand_in_all_readings() {
        // xor $0x81, %sil; xor %r10d, %r10d; mov $1, %edx; mov $202, %eax; syscall; ret, behind padding
        let wake = [
            0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0x0f, 0x1f, 0x40, 0, 0x40, 0x80, 0xf6, 0x81, 0x45, 0x31,
            0xd2, 0xba, 1, 0, 0, 0, 0xb8, 0xca, 0, 0, 0, 0x0f, 0x05, 0xc3,
        ];
        assert_eq!((plan_after(&wake, 32, None), plan_after(&wake, 32, Some(7))), (None, None));
        assert_eq!(plan_after(&wake, 32, Some(202)).map(|p| p.at), Some(TEXT.start + 0x1040 + 27));
    }

    #[test]
    fn what_follows_moves() {
        // syscall; cmp $-4095, %rax; jae
        let patch = plan(&[0x0f, 0x05, 0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, 0x73, 0x01], 0).expect("a patch");
        assert_eq!(patch.at, TEXT.start + 0x1040);
        let guests: Vec<u64> = patch.moved.iter().map(|m| m.0 - patch.at).collect();
        assert_eq!(guests, [0, 2, 8]);
    }

    #[test]
    fn what_comes_before_moves() {
        // mov %rcx, %r10; syscall; ret
        let patch = plan(&[0x49, 0x89, 0xca, 0x0f, 0x05, 0xc3], 3).expect("a patch");
        let guests: Vec<u64> = patch.moved.iter().map(|m| m.0 - patch.at).collect();
        assert_eq!(guests, [0, 3, 5]);
    }

    #[test]
    fn what_depends_on_its_place_stays() {
        // syscall; mov 0x10(%rip), %rax, and nothing long enough before it.
        assert_eq!(plan(&[0x0f, 0x05, 0x48, 0x8b, 0x05, 0x10, 0, 0, 0], 0), None);
        let movable = |bytes: &[u8]| movable(&InstDecoder::default().decode_slice(bytes).unwrap());
        assert!(movable(&[0x48, 0x8b, 0x44, 0x24, 0x08]) && movable(&[0x65, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0]));
        assert!(!movable(&[0x48, 0x8d, 0x05, 0, 0, 0, 0]) && !movable(&[0x67, 0x8b, 0x05, 0, 0, 0, 0]));
        assert!(!movable(&[0xeb, 0x00]) && !movable(&[0xc3]) && !movable(&[0xcc]) && !movable(&[0xf3, 0xa4]));
    }

    #[test]
    fn the_tail_of_an_instruction_is_no_number() {
        // movl $1, -0x48(%rbp); syscall; ret: the last five bytes before the call look like mov $1, %eax.
        assert_eq!(plan(&[0xc7, 0x45, 0xb8, 1, 0, 0, 0, 0x0f, 0x05, 0xc3], 7).map(|p| p.at), Some(TEXT.start + 0x1040));
        // Not even if the call's number is 1.
        let movl = [0xc7, 0x45, 0xb8, 1, 0, 0, 0, 0x0f, 0x05, 0xc3];
        assert_eq!(plan_after(&movl, 7, Some(1)).map(|p| p.at), Some(TEXT.start + 0x1040));
        // A jump that is too short to move, and nothing movable before.
        assert_eq!(plan(&[0xeb, 0x00, 0x0f, 0x05, 0xeb, 0x00], 2), None);
    }

    fn certain(bytes: &[u8], call: usize) -> bool {
        let mut text = vec![0x90; 64];
        text.extend(bytes);
        text.extend([0x90; 32]);
        let code = Code { start: 0x1000, bytes: &text };
        SitePatcher::new(USER_RANGE.end).certain(code, 0x1040 + call as u64)
    }

    #[test]
    fn only_what_is_a_system_call_for_all_readings_is_certain() {
        // mov $39, %eax; syscall; ret
        assert!(certain(&[0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3], 5));
        // syscall; cmp $-4096, %rax
        assert!(certain(&[0x0f, 0x05, 0x48, 0x3d, 0, 0xf0, 0xff, 0xff], 0));
        // Neither a number nor a look for errors.
        assert!(!certain(&[0x0f, 0x05, 0xc3], 0));
        // What would be numbers, in the middle of movl $1, -0x48(%rbp) and of movabs.
        assert!(!certain(&[0xc7, 0x45, 0xb8, 1, 0, 0, 0, 0x0f, 0x05, 0xc3], 7));
        assert!(!certain(&[0x48, 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0x90, 0x90], 6));
        // movabs $..., %rax with the call and the look for errors in its number.
        assert!(!certain(&[0x48, 0xb8, 0x0f, 0x05, 0x48, 0x3d, 0, 0xf0, 0xff, 0xff], 2));
        assert!(!certain(&[0x90], 0));
    }

    #[test]
    fn a_site_that_crosses_a_page_is_patched_with_what_is_before_it() {
        let patcher = SitePatcher::new(USER_RANGE.end);
        let mut text = vec![0x90; 59];
        // mov $-100, %edi; syscall; cmp $-4096, %rax: the second byte of the call is the next page's.
        text.extend([0xbf, 0x9c, 0xff, 0xff, 0xff, 0x0f, 0x05, 0x48, 0x3d, 0, 0xf0, 0xff, 0xff]);
        text.extend([0x90; 24]);
        let site = TEXT.start + 0x1fff;
        let code = Code { start: site - 64, bytes: &text };
        let shadow = patcher.shadows(TEXT).remove(0);
        let patch = patcher.plan(code, site, None, TEXT, shadow, &|_| true).expect("a patch");
        assert_eq!((patch.at, patch.call), (site - 5, site));
        assert!(patcher.certain(code, site));
    }
}
