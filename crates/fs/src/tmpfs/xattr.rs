//! Extended attributes in memory (xattr(7)).

use abi::Errno;
use std::collections::BTreeMap;
use vfs::{Capability, Credentials, XattrFlags};

/// Most bytes of names and values per inode.
const LIMIT: usize = 128 << 10;

/// The attributes of one inode, by name.
#[derive(Default)]
pub(crate) struct Xattrs {
    values: BTreeMap<Box<[u8]>, Box<[u8]>>,
    bytes: usize,
}

/// Whether tmpfs keeps attributes of this name at all.
pub(crate) fn check(name: &[u8]) -> Result<(), Errno> {
    let prefixes: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    match prefixes.iter().find_map(|prefix| name.strip_prefix(*prefix)) {
        Some(b"") => Err(Errno::EINVAL),
        Some(_) => Ok(()),
        None => Err(Errno::EOPNOTSUPP),
    }
}

/// `trusted.` attributes are invisible to those who may not change them.
pub(crate) fn visible(creds: &Credentials, name: &[u8]) -> bool {
    !name.starts_with(b"trusted.") || creds.capable(Capability::SysAdmin)
}

impl Xattrs {
    pub(crate) fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.values.get(name).map(|v| &**v)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.values.keys().map(|k| &**k)
    }

    pub(crate) fn set(&mut self, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<(), Errno> {
        let old = self.values.get(name).map(|v| v.len() + name.len());
        match old {
            Some(_) if flags.contains(XattrFlags::CREATE) => return Err(Errno::EEXIST),
            None if flags.contains(XattrFlags::REPLACE) => return Err(Errno::ENODATA),
            _ => {}
        }
        let bytes = self.bytes - old.unwrap_or(0) + name.len() + value.len();
        if bytes > LIMIT {
            return Err(Errno::ENOSPC);
        }
        self.values.insert(name.into(), value.into());
        self.bytes = bytes;
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> Result<(), Errno> {
        let value = self.values.remove(name).ok_or(Errno::ENODATA)?;
        self.bytes -= name.len() + value.len();
        Ok(())
    }
}
