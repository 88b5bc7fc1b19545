//! What files read into ([`Sink`]) and write from ([`Source`]).
//!
//! Guest memory (in crate `mm`) and kernel buffers (here) look the same to a file. Bytes move either through a kernel
//! buffer (`put`, `take`) or straight between the host and the memory behind (`fill_with`, `drain_with`).

use crate::guestmem::HostRange;
use abi::Errno;

/// A destination of bytes.
pub trait Sink {
    /// How many bytes it still takes.
    fn remaining(&self) -> usize;

    /// Copies as much of `data` as it can and returns how much that was.
    ///
    /// # Errors
    /// Only if nothing could be copied: `EFAULT` for guest memory.
    fn put(&mut self, data: &[u8]) -> Result<usize, Errno>;

    /// Puts as many zeroes, up to `len`, as it can, and returns how many those were.
    ///
    /// # Errors
    /// As [`Sink::put`].
    fn zero(&mut self, len: usize) -> Result<usize, Errno>;

    /// Hands at most the next `max` bytes of the destination to `fill` as ranges; `fill` returns how many bytes it filled,
    /// from the front, and the sink advances by that. May hand out fewer than `max` although more remain: callers that
    /// want all must loop. `fill` must not block and not use guest memory otherwise.
    ///
    /// # Errors
    /// What `fill` returns, or `EFAULT` if not even the first byte can be written; `fill` is not called then.
    fn fill_with(
        &mut self,
        max: usize,
        fill: &mut dyn FnMut(&[HostRange<'_>]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno>;
}

/// An origin of bytes.
pub trait Source {
    /// How many bytes are left.
    fn remaining(&self) -> usize;

    /// Copies as many bytes as it can to `buffer` and returns how many those were.
    ///
    /// # Errors
    /// Only if nothing could be copied: `EFAULT` for guest memory.
    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno>;

    /// Hands at most the next `max` bytes to `drain` as ranges; it returns how many bytes it used, from the front, and the
    /// source advances by that. The rest as for [`Sink::fill_with`].
    ///
    /// # Errors
    /// What `drain` returns, or `EFAULT` if not even the first byte can be read; `drain` is not called then.
    fn drain_with(
        &mut self,
        max: usize,
        drain: &mut dyn FnMut(&[HostRange<'_>]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno>;
}

/// A kernel buffer as a [`Sink`].
pub struct SliceSink<'a> {
    buffer: &'a mut [u8],
    filled: usize,
}

impl<'a> SliceSink<'a> {
    /// Fills `buffer` from its start.
    pub fn new(buffer: &'a mut [u8]) -> SliceSink<'a> {
        SliceSink { buffer, filled: 0 }
    }

    /// How many bytes were put so far.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.filled
    }

    fn next(&mut self, max: usize) -> &mut [u8] {
        let rest = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let len = rest.len().min(max);
        rest.get_mut(..len).unwrap_or_default()
    }
}

impl Sink for SliceSink<'_> {
    fn remaining(&self) -> usize {
        self.buffer.len() - self.filled
    }

    fn put(&mut self, data: &[u8]) -> Result<usize, Errno> {
        let next = self.next(data.len());
        let len = next.len();
        next.copy_from_slice(data.get(..len).unwrap_or_default());
        self.filled += len;
        Ok(len)
    }

    fn zero(&mut self, len: usize) -> Result<usize, Errno> {
        let next = self.next(len);
        next.fill(0);
        let len = next.len();
        self.filled += len;
        Ok(len)
    }

    fn fill_with(
        &mut self,
        max: usize,
        fill: &mut dyn FnMut(&[HostRange<'_>]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let next = self.next(max);
        let len = next.len();
        let done = fill(&[HostRange::of_buffer(next)])?.min(len);
        self.filled += done;
        Ok(done)
    }
}

/// A growing kernel buffer as a [`Sink`].
#[derive(Default)]
pub struct VecSink {
    bytes: Vec<u8>,
    limit: usize,
}

impl VecSink {
    /// Takes at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> VecSink {
        VecSink { bytes: Vec::new(), limit }
    }

    /// What was put so far.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Sink for VecSink {
    fn remaining(&self) -> usize {
        self.limit - self.bytes.len()
    }

    fn put(&mut self, data: &[u8]) -> Result<usize, Errno> {
        let len = data.len().min(self.remaining());
        self.bytes.extend_from_slice(data.get(..len).unwrap_or_default());
        Ok(len)
    }

    fn zero(&mut self, len: usize) -> Result<usize, Errno> {
        let len = len.min(self.remaining());
        self.bytes.resize(self.bytes.len() + len, 0);
        Ok(len)
    }

    fn fill_with(
        &mut self,
        max: usize,
        fill: &mut dyn FnMut(&[HostRange<'_>]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        const STEP: usize = 64 << 10;
        let had = self.bytes.len();
        let len = max.min(self.remaining()).min(STEP);
        self.bytes.resize(had + len, 0);
        let result = fill(&[HostRange::of_buffer(self.bytes.get_mut(had..).unwrap_or_default())]);
        let done = result.as_ref().map_or(0, |done| *done).min(len);
        self.bytes.truncate(had + done);
        result.map(|_| done)
    }
}

/// Kernel bytes as a [`Source`].
pub struct SliceSource<'a> {
    bytes: &'a [u8],
}

impl<'a> SliceSource<'a> {
    /// Yields `bytes` from the start.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> SliceSource<'a> {
        SliceSource { bytes }
    }
}

impl Source for SliceSource<'_> {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let len = buffer.len().min(self.bytes.len());
        let (now, later) = self.bytes.split_at(len);
        if let Some(buffer) = buffer.get_mut(..len) {
            buffer.copy_from_slice(now);
        }
        self.bytes = later;
        Ok(len)
    }

    fn drain_with(
        &mut self,
        max: usize,
        drain: &mut dyn FnMut(&[HostRange<'_>]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let (now, _) = self.bytes.split_at(max.min(self.bytes.len()));
        let done = drain(&[HostRange::of_bytes(now)])?.min(now.len());
        self.bytes = self.bytes.split_at(done).1;
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_fill_and_drain_partially() {
        let mut buffer = [9; 8];
        let mut sink = SliceSink::new(&mut buffer);
        assert_eq!(sink.put(b"ab"), Ok(2));
        assert_eq!(sink.zero(1), Ok(1));
        let got = sink.fill_with(100, &mut |ranges| {
            ranges[0].write(b"cd")?;
            Ok(2)
        });
        assert_eq!((got, sink.remaining(), sink.filled()), (Ok(2), 3, 5));
        assert_eq!(sink.put(b"efgh"), Ok(3));
        assert_eq!(sink.put(b"i"), Ok(0));
        assert_eq!(&buffer, b"ab\0cdefg");

        let mut source = SliceSource::new(b"hello");
        let mut two = [0; 2];
        assert_eq!((source.take(&mut two), &two), (Ok(2), b"he"));
        assert_eq!(source.drain_with(2, &mut |ranges| Ok(ranges[0].len())), Ok(2));
        assert_eq!(source.remaining(), 1);
    }

    #[test]
    fn vectors_stop_at_their_limit() {
        let mut sink = VecSink::new(4);
        assert_eq!(sink.put(b"abc"), Ok(3));
        assert_eq!(sink.fill_with(9, &mut |ranges| Ok(ranges[0].write(b"d").map(|()| 1)?)), Ok(1));
        assert_eq!(sink.zero(1), Ok(0));
        assert_eq!(sink.into_bytes(), b"abcd");
    }
}
