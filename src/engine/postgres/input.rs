//! A message of the server, read from its start to its end: numbers in network order, texts that
//! end with a zero. Never reads beyond it.

/// The message ends before what was to be read, or is no text where it should be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short;

/// What is left of a message.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub fn at(&self) -> usize {
        self.at
    }

    pub fn skip(&mut self, bytes: usize) -> Result<(), Short> {
        let end = self.at.checked_add(bytes).filter(|end| *end <= self.bytes.len());
        self.at = end.ok_or(Short)?;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let taken = self.bytes[self.at..].first_chunk::<N>().ok_or(Short)?;
        self.at += N;
        Ok(*taken)
    }

    pub fn u8(&mut self) -> Result<u8, Short> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Result<u16, Short> {
        self.take().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Short> {
        self.take().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Short> {
        self.take().map(u64::from_be_bytes)
    }

    pub fn text(&mut self) -> Result<&'a str, Short> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == 0).ok_or(Short)?;
        self.at += length + 1;
        std::str::from_utf8(&rest[..length]).map_err(|_| Short)
    }

    /// Everything must have been read.
    pub fn end(&self) -> Result<(), Short> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(Short) }
    }
}
