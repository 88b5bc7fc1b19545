//! Reading directories as the host has them, many entries a call (`getdents64(2)`).

use abi::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// An entry of a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// The inode's number.
    pub ino: u64,
    /// Where the next entry is.
    pub next: u64,
    /// `DT_*`.
    pub kind: u8,
    /// The name.
    pub name: &'a [u8],
}

/// Reads entries into `buffer`; returns how many of its bytes they take, zero at the end.
///
/// # Errors
/// The host's.
pub fn read(dir: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the call writes to the buffer alone, and no more than its length.
    let ret = unsafe { libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) };
    usize::try_from(ret).map_err(|_| {
        let raw = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        Errno::from_raw(raw).unwrap_or(Errno::EIO)
    })
}

/// The first of the entries in `bytes`, and how long it is.
#[must_use]
pub fn first(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let (ino, rest) = bytes.split_first_chunk()?;
    let (next, rest) = rest.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (kind, rest) = rest.split_first()?;
    let len = usize::from(u16::from_ne_bytes(*len));
    let name = rest.get(..len.checked_sub(bytes.len() - rest.len())?)?;
    let name = core::ffi::CStr::from_bytes_until_nul(name).ok()?.to_bytes();
    Some((Entry { ino: u64::from_ne_bytes(*ino), next: u64::from_ne_bytes(*next), kind: *kind, name }, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn all_of_a_directory() {
        let mut names: Vec<Vec<u8>> = Vec::new();
        let dir = std::fs::File::open("/proc/self").unwrap();
        let mut buffer = vec![0; 512];
        loop {
            let len = read(dir.as_fd(), &mut buffer).unwrap();
            if len == 0 {
                break;
            }
            let mut at = 0;
            while let Some((entry, len)) = first(&buffer[at..len]) {
                names.push(entry.name.to_vec());
                at += len;
            }
            assert_eq!(at, len);
        }
        assert!(names.contains(&b"..".to_vec()) && names.contains(&b"stat".to_vec()));
    }

    #[test]
    fn nonsense_has_no_entries() {
        let entry = |len: u16, name: &[u8]| {
            let mut bytes = vec![0; 16];
            bytes.extend_from_slice(&len.to_ne_bytes());
            bytes.push(8);
            bytes.extend_from_slice(name);
            bytes
        };
        assert_eq!(
            first(&entry(24, b"abc\0\0")).map(|(entry, len)| (entry.name.to_vec(), len)),
            Some((b"abc".to_vec(), 24))
        );
        for bytes in [entry(24, b"abc\0"), entry(24, b"abcde"), entry(0, b"abc\0\0"), entry(18, b"abc\0\0"), Vec::new()]
        {
            assert_eq!(first(&bytes), None);
        }
    }
}
