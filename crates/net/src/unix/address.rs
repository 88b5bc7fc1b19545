//! `struct sockaddr_un`.

use abi::Errno;
use abi::raw::net::AF_UNIX;

/// `sizeof(sun_path)`.
const PATH_MAX: usize = 108;

/// A name: a path, an abstract name (after a zero byte), or none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Name {
    /// A place in the file system.
    Path(Vec<u8>),
    /// A name in the network namespace, without the zero byte.
    Abstract(Vec<u8>),
    /// None: bind(2) then chooses one.
    Empty,
}

/// What an address says.
pub(super) fn decode(address: &[u8]) -> Result<Name, Errno> {
    let Some((family, path)) = address.split_first_chunk::<2>() else { return Err(Errno::EINVAL) };
    if u32::from(u16::from_le_bytes(*family)) != AF_UNIX || path.len() > PATH_MAX {
        return Err(Errno::EINVAL);
    }
    match path {
        [] => Ok(Name::Empty),
        [0, rest @ ..] => Ok(Name::Abstract(rest.to_vec())),
        _ => Ok(Name::Path(path.split(|b| *b == 0).next().unwrap_or_default().to_vec())),
    }
}

/// The address of a bound name; the shortest there is for none.
pub(crate) fn encode(name: &[u8]) -> Vec<u8> {
    let mut out = (AF_UNIX as u16).to_le_bytes().to_vec();
    out.extend_from_slice(name);
    // Paths are shown with their final zero.
    if !name.is_empty() && name.first() != Some(&0) {
        out.push(0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_decoded_as_linux_does() {
        assert_eq!(decode(b"\x01\0/tmp/x\0junk"), Ok(Name::Path(b"/tmp/x".to_vec())));
        assert_eq!(decode(b"\x01\0\0ab\0"), Ok(Name::Abstract(b"ab\0".to_vec())));
        assert_eq!(decode(b"\x01\0"), Ok(Name::Empty));
        assert_eq!(decode(b"\x02\0/x"), Err(Errno::EINVAL));
        assert_eq!(decode(b"\x01"), Err(Errno::EINVAL));
        assert_eq!(encode(b"/x"), b"\x01\0/x\0");
        assert_eq!(encode(b"\0x"), b"\x01\0\0x");
        assert_eq!(encode(b""), b"\x01\0");
    }
}
