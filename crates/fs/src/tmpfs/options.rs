//! Mount options of tmpfs (tmpfs(5)).

use abi::{Errno, PAGE_SIZE};
use host::frames::FrameAllocator;

/// What a tmpfs is mounted with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Most bytes of file data; `None` for no limit but that of all memory.
    pub size: Option<u64>,
    /// Most inodes; `None` for no limit.
    pub inodes: Option<u64>,
    /// Permission bits of the root.
    pub perm: u32,
    /// Owner of the root.
    pub uid: u32,
    /// Group of the root.
    pub gid: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options { size: None, inodes: None, perm: 0o1777, uid: 0, gid: 0 }
    }
}

impl Options {
    /// Linux's defaults: half of the memory, and as many inodes as that has pages.
    #[must_use]
    pub fn limited(frames: &FrameAllocator) -> Options {
        let half = frames.usage().limit.min(frames.file().len()) / 2;
        Options { size: Some(half), inodes: Some(half / PAGE_SIZE), ..Options::default() }
    }

    /// Applies mount data such as `size=64m,mode=755`. Options of huge pages and NUMA are accepted and do nothing.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn parse(mut self, data: &str) -> Result<Options, Errno> {
        let memory = self.size.unwrap_or(u64::MAX).saturating_mul(2);
        for option in data.split(',').filter(|o| !o.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            match key {
                "size" => self.size = some_limit(parse_size(value, memory)?),
                "nr_blocks" => self.size = some_limit(parse_size(value, 0)?.saturating_mul(PAGE_SIZE)),
                "nr_inodes" => self.inodes = some_limit(parse_size(value, 0)?),
                "mode" => {
                    self.perm = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)? & 0o7777;
                }
                "uid" => self.uid = value.parse().map_err(|_| Errno::EINVAL)?,
                "gid" => self.gid = value.parse().map_err(|_| Errno::EINVAL)?,
                "huge" | "mpol" | "inode32" | "inode64" | "noswap" => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(self)
    }

    /// As /proc/mounts shows them.
    pub(super) fn show(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        if let Some(size) = self.size {
            let _ = write!(text, ",size={}k", size / 1024);
        }
        if let Some(inodes) = self.inodes {
            let _ = write!(text, ",nr_inodes={inodes}");
        }
        if self.perm != 0o1777 {
            let _ = write!(text, ",mode={:o}", self.perm);
        }
        if self.uid != 0 {
            let _ = write!(text, ",uid={}", self.uid);
        }
        if self.gid != 0 {
            let _ = write!(text, ",gid={}", self.gid);
        }
        text
    }
}

/// Zero means no limit.
fn some_limit(value: u64) -> Option<u64> {
    (value != 0).then_some(value)
}

/// A number with a suffix of `memparse`, or a percentage of `whole`.
fn parse_size(text: &str, whole: u64) -> Result<u64, Errno> {
    if let Some(percent) = text.strip_suffix('%') {
        let percent: u64 = percent.parse().map_err(|_| Errno::EINVAL)?;
        return Ok((u128::from(whole) * u128::from(percent) / 100).min(u128::from(u64::MAX)) as u64);
    }
    let (digits, shift) = match text.bytes().last() {
        Some(b'k' | b'K') => (text.get(..text.len() - 1), 10),
        Some(b'm' | b'M') => (text.get(..text.len() - 1), 20),
        Some(b'g' | b'G') => (text.get(..text.len() - 1), 30),
        Some(b't' | b'T') => (text.get(..text.len() - 1), 40),
        _ => (Some(text), 0),
    };
    let value: u64 = digits.unwrap_or_default().parse().map_err(|_| Errno::EINVAL)?;
    value.checked_mul(1 << shift).ok_or(Errno::EINVAL)
}
