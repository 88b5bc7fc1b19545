//! Arguments of system calls: access for handlers, and descriptions for traces.

/// The six argument registers.
#[derive(Clone, Copy, Debug)]
pub struct Args(pub [u64; 6]);

impl Args {
    /// The whole register. Registers beyond the sixth read as zero.
    #[must_use]
    pub fn u64(&self, at: usize) -> u64 {
        self.0.get(at).copied().unwrap_or(0)
    }

    /// The low half, as the kernel takes an `int`.
    #[must_use]
    pub fn i32(&self, at: usize) -> i32 {
        self.u64(at) as u32 as i32
    }

    /// The low half, as the kernel takes an `unsigned int`.
    #[must_use]
    pub fn u32(&self, at: usize) -> u32 {
        self.u64(at) as u32
    }

    /// As a signed word (`long`, `loff_t`).
    #[must_use]
    pub fn i64(&self, at: usize) -> i64 {
        self.u64(at) as i64
    }

    /// As a size.
    #[must_use]
    pub fn usize(&self, at: usize) -> usize {
        self.u64(at) as usize
    }
}

/// What an argument is, for traces.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    /// A file descriptor.
    Fd,
    /// A directory descriptor or `AT_FDCWD`.
    AtFd,
    /// A string.
    Path,
    /// Bytes that the call reads, their number being in the argument of this index.
    InBuf(usize),
    /// Bytes that the call writes, as many as it returns.
    OutBuf,
    /// An address.
    Ptr,
    /// A signed number.
    Int,
    /// A size or another unsigned number.
    Size,
    /// An octal mode.
    Mode,
    /// A number best read in hexadecimal.
    Hex,
    /// A signal.
    Signal,
    /// A process or thread id.
    Pid,
    /// A set of named bits.
    Flags(&'static [(u64, &'static str)]),
    /// One of some named values.
    OneOf(&'static [(u64, &'static str)]),
    /// A `struct timespec` that the call reads.
    InTimespec,
    /// A signal set that the call reads.
    InSigSet,
    /// A null-terminated array of strings.
    Strings,
}
