//! Reading and writing a guest's structures.

use abi::Errno;
use kernel::CurrentTask;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Reads a structure.
pub(crate) fn get<T: FromBytes + IntoBytes>(t: &CurrentTask, addr: u64) -> Result<T, Errno> {
    let mut value = T::new_zeroed();
    t.mm().copy_in(addr, value.as_mut_bytes())?;
    Ok(value)
}

/// Writes a structure.
pub(crate) fn put<T: IntoBytes + Immutable>(t: &CurrentTask, addr: u64, value: &T) -> Result<(), Errno> {
    Ok(t.mm().copy_out(addr, value.as_bytes())?)
}

/// Writes a structure unless the address is null.
pub(crate) fn put_if<T: IntoBytes + Immutable>(t: &CurrentTask, addr: u64, value: &T) -> Result<(), Errno> {
    if addr == 0 { Ok(()) } else { put(t, addr, value) }
}

/// Longest path, its terminating zero included.
pub(crate) const PATH_MAX: usize = 4096;

/// Reads a path.
pub(crate) fn path(t: &CurrentTask, addr: u64) -> Result<Vec<u8>, Errno> {
    t.mm().copy_in_cstr(addr, PATH_MAX)
}
