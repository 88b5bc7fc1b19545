//! Vector state in the form of a signal frame's `fpstate`: the legacy FXSAVE area, whose last bytes say how the XSAVE area
//! after it is laid out.

use crate::frame::Frame;
use crate::layout::HEAD;
use crate::shared::Shared;
use abi::Errno;
use core::arch::x86_64::{__cpuid_count, _xgetbv};
use std::sync::LazyLock;

/// In `ecx` of leaf 1: the system uses XSAVE.
const OSXSAVE: u32 = 1 << 27;
const LEGACY: usize = 512;
const MXCSR: usize = 24;
const MXCSR_MASK: u32 = 0xffff;
/// `struct _fpx_sw_bytes`: magic, whole size, features, size without the second magic.
const SOFTWARE: usize = 464;
const MAGIC1: u32 = 0x4650_5853;
pub const MAGIC2: u32 = 0x4650_5845;
const HEADER: usize = 64;

/// What the host's frames hold.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Bytes of the XSAVE area.
    size: usize,
    /// Its features.
    features: u64,
}

impl Format {
    /// Of this machine, or `None` without XSAVE or if a frame would not fit in a signal stack.
    pub fn detect() -> Option<Format> {
        // Asked once: in a virtual machine the instruction traps.
        static FORMAT: LazyLock<Option<Format>> = LazyLock::new(Format::ask);
        *FORMAT
    }

    fn ask() -> Option<Format> {
        // One instruction: the standard library's question takes fifteen of them.
        if __cpuid_count(1, 0).ecx & OSXSAVE == 0 {
            return None;
        }
        let leaf = __cpuid_count(0xd, 0);
        let size = leaf.ebx as usize;
        // SAFETY: the processor has XSAVE and the kernel has enabled it, as was just seen.
        let features = unsafe { xcr0() };
        (LEGACY + HEADER..=HEAD - 1024).contains(&size).then_some(Format { size, features })
    }

    /// Bytes that the state takes at most.
    pub fn room(self) -> usize {
        (self.size + 4).next_multiple_of(64)
    }

    /// What a frame says of the state: magic number and whole size, features, size.
    pub fn words(self) -> [u64; 3] {
        [u64::from(MAGIC1) | (self.size as u64 + 4) << 32, self.features, self.size as u64]
    }

    /// The state of a thread that has not used vectors yet.
    pub fn initial(self) -> Vec<u8> {
        let mut state = vec![0; self.size + 4];
        put(&mut state, 0, &0x37f_u16.to_ne_bytes());
        put(&mut state, MXCSR, &0x1f80_u32.to_ne_bytes());
        put(&mut state, MXCSR + 4, &MXCSR_MASK.to_ne_bytes());
        self.describe(&mut state, self.features, self.size);
        state
    }

    fn describe(self, state: &mut [u8], features: u64, size: usize) {
        put(state, SOFTWARE, &MAGIC1.to_ne_bytes());
        put(state, SOFTWARE + 4, &(size as u32 + 4).to_ne_bytes());
        put(state, SOFTWARE + 8, &features.to_ne_bytes());
        put(state, SOFTWARE + 16, &(size as u32).to_ne_bytes());
        put(state, size, &MAGIC2.to_ne_bytes());
    }

    /// Copies a thread's state out of its frame.
    pub fn read(self, shared: &Shared, frame: Frame) -> Vec<u8> {
        let Some((at, available)) = frame.vector(shared) else { return self.initial() };
        let mut state = vec![0; (self.room()).min(available & !7)];
        shared.read(at, &mut state);
        let size = match (get32(&state, SOFTWARE), get32(&state, SOFTWARE + 16)) {
            (Some(MAGIC1), Some(size)) => size as usize,
            _ => LEGACY,
        };
        if (LEGACY + HEADER..=self.size).contains(&size) && state.len() >= size + 4 {
            state.truncate(size + 4);
        } else {
            state.truncate(LEGACY);
        }
        state
    }

    /// Checks a state that may come from a guest, and puts it where the thread will load it from.
    pub fn write(self, shared: &Shared, frame: Frame, block: usize, state: &[u8]) -> Result<(), Errno> {
        let mut state = self.normalise(state)?;
        state.resize(state.len().next_multiple_of(8), 0);
        let offset = match frame.vector(shared) {
            Some((at, available)) if available >= state.len() => at - block,
            _ => (HEAD - state.len()) & !63,
        };
        if offset < frame.end() {
            return Err(Errno::EFAULT);
        }
        shared.write(block + offset, &state);
        frame.set_vector(shared, Some(offset));
        Ok(())
    }

    /// The state in the host's form: with an XSAVE area of exactly the host's features, or the legacy part only.
    fn normalise(self, state: &[u8]) -> Result<Vec<u8>, Errno> {
        let legacy = state.get(..LEGACY).ok_or(Errno::EFAULT)?;
        if get32(legacy, MXCSR).ok_or(Errno::EFAULT)? & !MXCSR_MASK != 0 {
            return Err(Errno::EFAULT);
        }
        let size = get32(legacy, SOFTWARE + 16).unwrap_or(0) as usize;
        let extended = get32(legacy, SOFTWARE) == Some(MAGIC1)
            && (LEGACY + HEADER..=self.size).contains(&size)
            && get32(state, size) == Some(MAGIC2);
        if !extended {
            // As Linux does: FP and SSE from the legacy area, the rest initial.
            let mut out = legacy.to_vec();
            put(&mut out, SOFTWARE, &[0; 48]);
            return Ok(out);
        }
        let mut out = state.get(..size + 4).ok_or(Errno::EFAULT)?.to_vec();
        let features = get64(&out, SOFTWARE + 8).unwrap_or(0) & self.features;
        let present = get64(&out, LEGACY).ok_or(Errno::EFAULT)?;
        if present & !self.features != 0 || out[LEGACY + 8..LEGACY + HEADER].iter().any(|byte| *byte != 0) {
            return Err(Errno::EFAULT);
        }
        self.describe(&mut out, features, size);
        Ok(out)
    }
}

#[target_feature(enable = "xsave")]
fn xcr0() -> u64 {
    // SAFETY: only reached where the kernel has enabled XSAVE; register 0 always exists then.
    unsafe { _xgetbv(0) }
}

fn put(state: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = state.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn get32(state: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(state.get(at..at + 4)?.try_into().ok()?))
}

fn get64(state: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(state.get(at..at + 8)?.try_into().ok()?))
}
