//! The host's vDSO as this process has it mapped: the same pages that every process has.

use crate::guestmem::HostRange;

/// The first `len` bytes of it; `None` if there is none. The caller knows its length from a table of mappings.
#[must_use]
pub fn image(len: usize) -> Option<HostRange<'static>> {
    // SAFETY: looks at the auxiliary vector.
    let start = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    if start == 0 {
        return None;
    }
    // SAFETY: the host maps it for as long as the process lives, and nothing in Rust refers to it; should `len` be too much,
    // the access faults, which all of them tolerate.
    Some(unsafe { HostRange::from_raw(start as *mut u8, len, false) })
}
