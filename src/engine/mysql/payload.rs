//! Compressed transactions of MySQL (`binlog_transaction_compression`): one event holds all others of a
//! transaction. The driver unpacks them and hands them on behind it, and says nothing where it could
//! not: how many bytes of events have to come is read here. Pure.
//!
//! ```text
//!   number of a field, its length, its value     each as long as its first byte says; 0 ends them
//!   events, compressed, without sums and places
//! ```

use super::events::{broken, stopped};
use super::relation::Input;
use crate::engine::EngineError;

/// Numbers of fields.
const END: usize = 0;
const SIZE: usize = 1;
const METHOD: usize = 2;
const UNPACKED: usize = 3;

/// Methods.
const ZSTD: usize = 0;
const NONE: usize = 255;

/// Bytes of the events that a transaction's event holds, as they are once they are unpacked.
pub(super) fn unpacked(body: &[u8]) -> Result<u64, EngineError> {
    let short = || broken("a compressed transaction that is too short");
    let Head { size, method, unpacked, rest } = Head::read(body).ok_or_else(short)?;
    if size != rest {
        return Err(broken("a compressed transaction of another size than it says"));
    }
    let bytes = match method {
        NONE => Some(size),
        ZSTD => unpacked,
        other => {
            return Err(stopped(
                format!("a transaction is compressed in a way that is not known here (type {other})"),
                "set binlog_transaction_compression = OFF for all sessions, then `towpath apply --recopy` copies the \
                 tables again",
            ));
        }
    };
    let bytes =
        bytes.filter(|bytes| *bytes > 0).ok_or_else(|| broken("a compressed transaction of nothing"))?;
    Ok(bytes as u64)
}

/// What stands before the events.
struct Head {
    size: usize,
    method: usize,
    /// Not told where nothing is compressed.
    unpacked: Option<usize>,
    /// Bytes behind.
    rest: usize,
}

impl Head {
    fn read(body: &[u8]) -> Option<Self> {
        let mut input = Input(body);
        let (mut size, mut method, mut unpacked) = (None, None, None);
        loop {
            let field = input.packed()?;
            if field == END {
                return Some(Self { size: size?, method: method?, unpacked, rest: input.0.len() });
            }
            let length = input.packed()?;
            let mut value = Input(input.take(length)?);
            match field {
                SIZE => size = Some(value.packed()?),
                METHOD => method = Some(value.packed()?),
                UNPACKED => unpacked = Some(value.packed()?),
                // MySQL itself passes over fields that it does not know.
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::connect::Flavor;
    use super::super::events::{Decoder, Endless, Event};
    use super::super::kind;
    use super::super::place::At;
    use super::*;
    use crate::change::Changes;
    use crate::engine::Cause;

    /// As MySQL 9.7 writes it: method, bytes unpacked, bytes packed.
    const HEAD: [u8; 10] = [2, 1, 0, 3, 1, 0xD8, 1, 1, 5, 0];

    fn body(head: &[u8]) -> Vec<u8> {
        [head, b"bytes"].concat()
    }

    #[test]
    fn f_50_a_compressed_transaction_says_how_much_it_holds_or_is_refused() {
        assert_eq!(unpacked(&body(&HEAD)).ok(), Some(216));
        let long = [1, 1, 5, 3, 3, 0xFC, 0x10, 0x27, 200, 2, 9, 9, 2, 1, 0, 0];
        assert_eq!(
            unpacked(&body(&long)).ok(),
            Some(10_000),
            "in another order, with a field of a later server"
        );
        assert_eq!(unpacked(&body(&[2, 3, 0xFC, 255, 0, 1, 1, 5, 0])).ok(), Some(5), "nothing is compressed");
        let fails = |body: &[u8], cause, says: &str| {
            let error = unpacked(body).expect_err(says);
            assert_eq!(error.cause, cause, "{error}");
            assert!(error.to_string().contains(says), "{error}");
        };
        let whole = body(&HEAD);
        for length in 0..whole.len() {
            fails(&whole[..length], Cause::Connection, "a compressed transaction");
        }
        fails(&body(&[2, 1, 0, 1, 1, 5, 0]), Cause::Connection, "of nothing");
        fails(&body(&[2, 1, 7, 3, 1, 9, 1, 1, 5, 0]), Cause::Stale, "type 7");
    }

    /// A transaction in one event, and what comes behind it: a kind, and whether more is to come.
    fn fails_after(behind: &[(u8, bool)], says: &str) {
        let (none, at) = (Endless::new(), At::default());
        let mut decoder = Decoder::new(Flavor::MySql, Vec::new(), &at, &[], none).expect("a decoder");
        let mut into = Changes::default();
        let events =
            [(kind::GTID_MYSQL, false), (kind::PAYLOAD, false)].into_iter().chain(behind.iter().copied());
        let mut take = |(kind, more)| {
            let end = u32::from(kind == kind::PAYLOAD) * 900;
            let event =
                Event { kind, at: 1, server: 1, size: 50, end, artificial: false, more, body: &[1; 25] };
            let taken = decoder.take(&event, &mut into);
            decoder.settle(&mut into);
            taken
        };
        let error = events.map(&mut take).find_map(Result::err).expect(says);
        assert_eq!(error.cause, Cause::Connection, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(into.is_empty(), "nothing is told, and no place beyond it");
    }

    #[test]
    fn f_50_a_compressed_transaction_that_is_not_whole_tells_nothing() {
        fails_after(&[(kind::GTID_MYSQL, false)], "cannot be unpacked");
        fails_after(&[(kind::ROTATE, false)], "cannot be unpacked");
        fails_after(&[(kind::USER_VAR, true), (kind::PAYLOAD, false)], "cannot be unpacked");
        fails_after(&[(kind::USER_VAR, true), (kind::RAND, false)], "without its end");
        fails_after(&[(kind::XID, true)], "goes on after its end");
    }
}
