//! A plain encoding of small records: little-endian numbers, and bytes after their length.

/// Writes a record.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty record.
    #[must_use]
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Adds a byte.
    pub fn byte(&mut self, value: u8) -> &mut Writer {
        self.0.push(value);
        self
    }

    /// Adds a truth value.
    pub fn flag(&mut self, value: bool) -> &mut Writer {
        self.byte(u8::from(value))
    }

    /// Adds a number.
    pub fn number(&mut self, value: u32) -> &mut Writer {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Adds a signed number.
    pub fn signed(&mut self, value: i32) -> &mut Writer {
        self.number(value.cast_unsigned())
    }

    /// Adds bytes.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Writer {
        self.number(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(value);
        self
    }

    /// The record.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads a record. Everything is `None` once it does not fit.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the start.
    #[must_use]
    pub fn new(record: &'a [u8]) -> Reader<'a> {
        Reader(record)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// Takes a byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// Takes a truth value.
    pub fn flag(&mut self) -> Option<bool> {
        Some(self.byte()? != 0)
    }

    /// Takes a number.
    pub fn number(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// Takes a signed number.
    pub fn signed(&mut self) -> Option<i32> {
        Some(self.number()?.cast_signed())
    }

    /// Takes bytes.
    pub fn bytes(&mut self) -> Option<Vec<u8>> {
        let len = usize::try_from(self.number()?).ok()?;
        Some(self.take(len)?.to_vec())
    }

    /// The rest.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}
