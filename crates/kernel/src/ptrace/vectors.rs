//! Vector state as tracers see it: an XSAVE area in standard form, of which the first 512 bytes are `struct user_fpregs_struct`.
//!
//! A stop has it in the form of a signal frame, which differs in the bytes that the processor leaves to software: there the
//! frame says how large it is, and here the debugger is told which features there are (`xstate_fx_sw_bytes`).

use abi::Errno;

/// Bytes of the legacy area.
pub const LEGACY: usize = 512;
const MXCSR: usize = 24;
const MXCSR_MASK: u32 = 0xffff;
/// What software says, in a frame: magic, whole size, features, size; then nothing.
const SOFTWARE: usize = 464;
const HEADER: usize = 64;
/// x87 and SSE.
const LEGACY_FEATURES: u64 = 3;

fn word(state: &[u8], at: usize) -> u64 {
    let bytes = state.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}

fn put(state: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = state.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// The area that a tracer sees of a frame's state.
#[must_use]
pub fn vectors(fpstate: &[u8]) -> Vec<u8> {
    let features = word(fpstate, SOFTWARE + 8);
    let size = word(fpstate, SOFTWARE + 16) as u32 as usize;
    let mut area = fpstate.to_vec();
    area.truncate(size.max(LEGACY));
    put(&mut area, SOFTWARE, &[0; LEGACY - SOFTWARE]);
    put(&mut area, SOFTWARE, &features.to_le_bytes());
    area
}

/// Replaces a frame's state by an area, or by the first part of one.
///
/// # Errors
/// `EINVAL` if it is not what the processor would load.
pub fn set_vectors(fpstate: &mut [u8], area: &[u8]) -> Result<(), Errno> {
    let mxcsr = word(area, MXCSR) as u32;
    if area.len() < LEGACY || mxcsr & !MXCSR_MASK != 0 {
        return Err(Errno::EINVAL);
    }
    let features = word(fpstate, SOFTWARE + 8);
    if area.len() > LEGACY {
        let header = area.get(LEGACY..LEGACY + HEADER).ok_or(Errno::EINVAL)?;
        let rest_is_zero = header.iter().skip(8).all(|byte| *byte == 0);
        if word(header, 0) & !features != 0 || !rest_is_zero {
            return Err(Errno::EINVAL);
        }
    } else {
        let present = word(fpstate, LEGACY) | LEGACY_FEATURES;
        put(fpstate, LEGACY, &present.to_le_bytes());
    }
    put(fpstate, 0, area.get(..SOFTWARE).unwrap_or_default());
    put(fpstate, LEGACY, area.get(LEGACY..).unwrap_or_default());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Vec<u8> {
        let mut state = vec![0; 832 + 4];
        put(&mut state, SOFTWARE, &0x4650_5853_u32.to_le_bytes());
        put(&mut state, SOFTWARE + 8, &7_u64.to_le_bytes());
        put(&mut state, SOFTWARE + 16, &832_u32.to_le_bytes());
        state
    }

    #[test]
    fn an_area_goes_both_ways() {
        let mut state = frame();
        let mut area = vectors(&state);
        assert_eq!((area.len(), word(&area, SOFTWARE)), (832, 7));
        put(&mut area, 160, &[9]);
        put(&mut area, LEGACY, &7_u64.to_le_bytes());
        assert_eq!(set_vectors(&mut state, &area), Ok(()));
        assert_eq!(state.get(160), Some(&9));
        assert_eq!(word(&state, SOFTWARE) as u32, 0x4650_5853);
    }

    #[test]
    fn what_the_processor_would_refuse_is_refused() {
        let mut state = frame();
        let mut area = vectors(&state);
        put(&mut area, LEGACY, &8_u64.to_le_bytes());
        assert_eq!(set_vectors(&mut state, &area), Err(Errno::EINVAL));
        let mut area = vectors(&state);
        put(&mut area, MXCSR, &u32::MAX.to_le_bytes());
        assert_eq!(set_vectors(&mut state, &area), Err(Errno::EINVAL));
        assert_eq!(set_vectors(&mut state, &[]), Err(Errno::EINVAL));
        assert_eq!(set_vectors(&mut [], &[0; 512]), Ok(()));
    }
}
