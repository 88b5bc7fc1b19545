//! How the bytes before a system call site can be read as instructions.
//!
//! Each byte is decoded once, and where a reading comes to is found from its end backwards: readings that begin at
//! different bytes soon go on as one.

use platform::Code;
use yaxpeax_arch::LengthedInstruction;
use yaxpeax_x86::long_mode::{InstDecoder, Instruction};

/// Longest instruction.
pub const LONGEST: usize = 15;
/// How far before a site a reading must begin to count: by then it has fallen into step.
pub const SETTLED: usize = 16;

/// Where a reading comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The place in question.
    There,
    /// The middle of an instruction across it.
    Beyond,
    /// What is no instruction, before it.
    Nowhere,
}

/// The instruction at `at`, and its length.
pub fn decode(code: Code<'_>, at: usize) -> Option<(Instruction, usize)> {
    let instruction = InstDecoder::default().decode_slice(code.bytes.get(at..)?).ok()?;
    let len = usize::try_from(instruction.len().to_const()).ok()?;
    (1..=LONGEST).contains(&len).then_some((instruction, len))
}

/// The readings of the bytes before a call.
pub struct Readings {
    /// How long the instruction is that begins at each byte, if there is one.
    lengths: Vec<Option<usize>>,
}

impl Readings {
    /// Of the code before `call`.
    pub fn before(code: Code<'_>, call: usize) -> Readings {
        Readings { lengths: (0..call).map(|at| decode(code, at).map(|(_, len)| len)).collect() }
    }

    /// Where the readings that begin at each byte before `place` come to.
    fn ends(&self, place: usize) -> Vec<End> {
        let before = self.lengths.get(..place).unwrap_or_default();
        let mut ends = vec![End::Nowhere; before.len()];
        for (at, len) in before.iter().enumerate().rev() {
            let Some(next) = len.map(|len| at + len) else { continue };
            let end = match next {
                _ if next == place => End::There,
                _ => ends.get(next).copied().unwrap_or(End::Beyond),
            };
            if let Some(slot) = ends.get_mut(at) {
                *slot = end;
            }
        }
        ends
    }

    /// Whether `start`, where an instruction stands that ends at the call, begins one in every reading of what is before
    /// it that comes to the call.
    pub fn agree_on(&self, start: usize) -> bool {
        let (met, missed) = self.count(start);
        // At the start of a mapping there is nothing before.
        met > 0 && missed == 0
    }

    /// Whether most readings of what is before `start` that come to the call begin an instruction there.
    pub fn favour(&self, start: usize) -> bool {
        let (met, missed) = self.count(start);
        met > 2 * missed
    }

    /// How many readings that come to the call begin an instruction at `start`, and how many do not.
    fn count(&self, start: usize) -> (usize, usize) {
        let call = self.lengths.len();
        let (to_start, to_call) = (self.ends(start), self.ends(call));
        let all = to_start.iter().zip(&to_call).take(call.saturating_sub(SETTLED));
        let counted = all.filter(|(_, end)| **end == End::There);
        let met = counted.clone().filter(|(at_start, _)| **at_start == End::There).count();
        (met, counted.count() - met)
    }

    /// Whether every reading of the bytes before `start` that makes sense comes to it, and most make sense. The code as it
    /// runs is one of them, as an instruction of it begins within any [`LONGEST`] bytes.
    pub fn settle_at(&self, start: usize) -> bool {
        let ends = self.ends(start);
        let counted = ends.get(..=start.saturating_sub(SETTLED)).unwrap_or_default();
        let there = counted.iter().filter(|end| **end == End::There).count();
        let most = counted.len() / 2;
        !counted.contains(&End::Beyond) && there > most && start >= SETTLED + LONGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a reading comes to, found forwards.
    fn read(code: Code<'_>, from: usize, place: usize) -> End {
        let mut at = from;
        while at < place {
            match decode(code, at) {
                Some((_, len)) => at += len,
                None => return End::Nowhere,
            }
        }
        if at == place { End::There } else { End::Beyond }
    }

    proptest::proptest! {
        /// A second decoder, too slow to start for use, never finds an instruction of another length.
        #[test]
        fn lengths_are_right(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), LONGEST..256)) {
            let code = Code { start: 0x1000, bytes: &bytes };
            for at in 0..bytes.len() {
                let mut other = iced_x86::Decoder::with_ip(64, &bytes[at..], 0, iced_x86::DecoderOptions::NONE);
                let other = other.decode();
                if let Some((_, len)) = decode(code, at) && !other.is_invalid() {
                    proptest::prop_assert_eq!(len, other.len());
                }
            }
        }

        #[test]
        fn backwards_is_as_forwards(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 2..100)) {
            let code = Code { start: 0x1000, bytes: &bytes };
            let call = bytes.len() - 2;
            let readings = Readings::before(code, call);
            for place in call.saturating_sub(LONGEST)..=call {
                let forwards: Vec<End> = (0..place).map(|from| read(code, from, place)).collect();
                proptest::prop_assert!(readings.ends(place) == forwards);
            }
        }
    }
}
