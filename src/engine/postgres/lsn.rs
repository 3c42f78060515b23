//! A byte position in PostgreSQL's write-ahead log, and its text (manual, section 8.20): two
//! hexadecimal numbers with a slash between. Pure.

use std::fmt;
use std::str::FromStr;

use crate::change::Position;

/// A log sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// A text is no position in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoLsn;

impl fmt::Display for Lsn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = NoLsn;

    fn from_str(text: &str) -> Result<Self, NoLsn> {
        let (high, low) = text.split_once('/').ok_or(NoLsn)?;
        let half = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| u32::from_str_radix(text, 16).ok()).flatten().ok_or(NoLsn)
        };
        Ok(Self(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

impl Lsn {
    /// The place that a position of ours means; none for one of another kind of snapshot.
    pub fn of(position: &Position) -> Option<Self> {
        position.0.parse().ok()
    }

    pub fn position(self) -> Position {
        Position(self.to_string())
    }

    /// What was said to be the next byte to write, as the end of what was written: at the start of
    /// a page the server counts the page's header in, which belongs to no record.
    pub fn end(self, page_bytes: u64, segment_bytes: u64) -> Self {
        /// Bytes of a page's header; of the first page of a segment file.
        const SHORT: u64 = 24;
        const LONG: u64 = 40;
        let header = if (self.0 - self.0 % page_bytes) % segment_bytes == 0 { LONG } else { SHORT };
        if self.0 % page_bytes == header { Self(self.0 - header) } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_15_positions_are_read_as_they_are_printed() {
        for (number, text) in [(0, "0/0"), (0x16_B374_D848, "16/B374D848"), (u64::MAX, "FFFFFFFF/FFFFFFFF")] {
            assert_eq!(Lsn(number).to_string(), text);
            assert_eq!(text.parse(), Ok(Lsn(number)));
        }
        for bad in ["", "0", "/", "1/", "/1", "1/2/3", "g/0", "+1/0", "1/100000000", "pg1/1/2/3", " 1/2"] {
            assert_eq!(bad.parse::<Lsn>(), Err(NoLsn), "{bad}");
        }
        assert!(Lsn(2 << 32) > Lsn(0x1_FFFF_FFFF));
    }

    #[test]
    fn the_header_of_a_page_is_no_progress() {
        let end = |at: u64| Lsn(at).end(8192, 16 << 20).0;
        assert_eq!(end(8192 * 7 + 24), 8192 * 7);
        assert_eq!(end(8192 * 7 + 40), 8192 * 7 + 40);
        assert_eq!(end((16 << 20) + 40), 16 << 20);
        assert_eq!(end(8192 * 7 + 23), 8192 * 7 + 23);
    }
}
