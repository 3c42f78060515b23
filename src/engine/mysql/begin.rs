//! The event that a transaction begins with, and the number that it has: MariaDB's own, MySQL's,
//! and MySQL's with a tag, whose numbers have as many bytes as the ones at the end of their first one say.
//! Pure.
//!
//! ```text
//!   MariaDB    number 8, domain 4, flags 1
//!   MySQL      flags 1, UUID 16, number 8 (all zero: anonymous)
//!   tagged     version, size, last field needed; then field 0 flags, 1 UUID, 2 number, 3 tag
//! ```

use super::gtids::{Domains, Gtids, Prior, Set};
use super::relation::Input;

/// Flags of MariaDB's event.
const STANDALONE: u8 = 1;
const PREPARED_XA: u8 = 64;

/// The number of a transaction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Number<'a> {
    Domain { domain: u32, sequence: u64 },
    Origin { uuid: [u8; 16], tag: &'a str, number: u64 },
    None,
}

/// A transaction begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Begin<'a> {
    pub number: Number<'a>,
    /// One statement, which no end follows. MySQL does not say: it is one until `BEGIN` follows.
    pub standalone: bool,
    /// Its rows come before it is known whether it will be committed.
    pub prepared: bool,
}

impl<'a> Begin<'a> {
    pub fn mariadb(body: &[u8]) -> Option<Self> {
        let mut input = Input(body);
        let (sequence, domain) = (input.number(8)?, input.number(4)? as u32);
        let flags = input.number(1)? as u8;
        Some(Self {
            number: Number::Domain { domain, sequence },
            standalone: flags & STANDALONE != 0,
            prepared: flags & PREPARED_XA != 0,
        })
    }

    pub fn mysql(body: &[u8], anonymous: bool) -> Option<Self> {
        let mut input = Input(body);
        input.number(1)?;
        let uuid: [u8; 16] = input.take(16)?.try_into().ok()?;
        let number = input.number(8)?;
        let number = if anonymous { Number::None } else { Number::Origin { uuid, tag: "", number } };
        Some(Self { number, standalone: true, prepared: false })
    }

    pub fn tagged(body: &'a [u8]) -> Option<Self> {
        let mut input = Input(body);
        let (_version, _size, _last) = (varied(&mut input)?, varied(&mut input)?, varied(&mut input)?);
        (varied(&mut input)? == 0).then_some(())?;
        let _flags = varied(&mut input)?;
        (varied(&mut input)? == 1).then_some(())?;
        let mut uuid = [0; 16];
        for byte in &mut uuid {
            *byte = u8::try_from(varied(&mut input)?).ok()?;
        }
        (varied(&mut input)? == 2).then_some(())?;
        // A signed one: the sign is its last bit.
        let number = varied(&mut input)? >> 1;
        (varied(&mut input)? == 3).then_some(())?;
        let length = usize::try_from(varied(&mut input)?).ok()?;
        let tag = std::str::from_utf8(input.take(length)?).ok()?;
        Some(Self { number: Number::Origin { uuid, tag, number }, standalone: true, prepared: false })
    }

    /// What the place says of its domain before it is counted: MariaDB gives the number of one that was
    /// cut off again.
    pub fn prior(&self, gtids: &Gtids) -> Option<Prior> {
        match (&self.number, gtids) {
            (Number::Domain { domain, .. }, Gtids::Domains(domains)) => {
                Some((*domain, domains.get(domain).copied()))
            }
            _ => None,
        }
    }

    /// Counts it among those that are done; false for one that was among them already.
    pub fn count(&self, server: u32, gtids: &mut Gtids) -> bool {
        match (&self.number, gtids) {
            (Number::None, _) => true,
            (Number::Domain { domain, sequence }, Gtids::Domains(domains)) => {
                domains.insert(*domain, (server, *sequence));
                true
            }
            (Number::Origin { uuid, tag, number }, Gtids::Set(set)) => set.add(uuid, tag, *number),
            // The place had none of them.
            (Number::Domain { domain, sequence }, gtids) => {
                *gtids = Gtids::Domains(Domains::from([(*domain, (server, *sequence))]));
                true
            }
            (Number::Origin { uuid, tag, number }, gtids) => {
                let mut set = Set::default();
                set.add(uuid, tag, *number);
                *gtids = Gtids::Set(set);
                true
            }
        }
    }
}

/// A number of 1 to 9 bytes: as many more as its first one has ones at its low end.
fn varied(input: &mut Input<'_>) -> Option<u64> {
    let first = *input.0.first()?;
    match first.trailing_ones() {
        8 => {
            input.number(1)?;
            input.number(8)
        }
        more => {
            let bytes = more as usize + 1;
            Some(input.number(bytes)? >> bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: [u8; 16] = [0x4A, 0xF4, 0xF9, 0x65, 0xE9, 0xF9, 0x11, 0xF1, 0x96, 0x13, 2, 0xFC, 0, 0, 0, 1];

    /// As MySQL 9.7 logs the second transaction with the tag `my_tag`.
    const TAGGED: &[u8] =
        b"\x02\x76\x00\x00\x00\x02\x94\xd1\x03\xe5\x03\xca\xa5\x03\xe5\x03\x22\xc5\x03\x59\x02\x26\x04\
        \xf1\x03\x00\x00\x00\x02\x04\x08\x06\x0cmy_tag\x08\x4c\x0a\x50\x0c\x7f\x24\xc0\xaa\x34\x37\x61\x06";

    #[test]
    fn f_48_numbers_with_a_tag_are_read() {
        let begin = Begin::tagged(TAGGED).expect("a beginning");
        assert_eq!(begin.number, Number::Origin { uuid: UUID, tag: "my_tag", number: 2 });
        for short in 0..39 {
            assert!(Begin::tagged(&TAGGED[..short]).is_none(), "{short}");
        }
    }

    #[test]
    fn f_48_a_number_comes_once() {
        let mut gtids = Gtids::Set(Set::default());
        let mut body = vec![1];
        body.extend_from_slice(&UUID);
        body.extend_from_slice(&7_u64.to_le_bytes());
        let begin = Begin::mysql(&body, false).expect("a beginning");
        assert!(begin.count(1, &mut gtids) && !begin.count(1, &mut gtids));
        let anonymous = Begin::mysql(&body, true).expect("a beginning");
        assert!(anonymous.count(1, &mut gtids) && anonymous.count(1, &mut gtids));
        assert_eq!(gtids.set().expect("a set"), "4af4f965-e9f9-11f1-9613-02fc00000001:7");
    }

    #[test]
    fn numbers_of_all_widths() {
        for (bytes, number) in [
            (&[0x7F, 1, 2, 3, 4, 5, 6, 0][..], 0x0000_0605_0403_0201_u64),
            (&[0xFF, 1, 0, 0, 0, 0, 0, 0, 0x80], 0x8000_0000_0000_0001),
            (&[0xD1, 3], 0xF4),
        ] {
            let mut input = Input(bytes);
            assert_eq!(varied(&mut input), Some(number));
            assert!(input.0.is_empty());
        }
    }
}
