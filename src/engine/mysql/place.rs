//! Places in the binary log of one server, as positions hold them. The order is that of files and
//! bytes: GTIDs are ordered in part only, and prove that a place still means what it meant.

use std::collections::BTreeSet;
use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::change::Position;

/// Prepared transactions (XA) that touched nothing that is followed, by digests of their names.
pub(super) type Prepared = BTreeSet<String>;

/// `my1/SERVER/FILE:BYTE/VIEW/GTID`, with a digest for the server. What a snapshot saw beside the log
/// (see `moment`) says nothing here; a stream has the prepared transactions there that were open,
/// `xa,DIGEST,DIGEST`, whose ends come later in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    pub server: String,
    pub file: String,
    pub offset: u64,
    /// All transactions up to here, as `gtids` reads it; empty where it was not asked for.
    pub gtid: String,
    pub prepared: Prepared,
}

/// How prepared transactions begin in a position.
const PREPARED: &str = "xa";

/// A digest of what tells a server from any other.
pub(super) fn digest(identity: &str) -> String {
    Sha256::digest(identity.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The common part and the number of a log file's name.
pub(super) fn split(file: &str) -> Option<(&str, u64)> {
    let (base, number) = file.rsplit_once('.')?;
    Some((base, number.parse().ok()?))
}

impl At {
    /// None for a position of another engine, and for one of a snapshot without a place in a log.
    pub fn parse(position: &Position) -> Option<Self> {
        let mut parts = position.0.strip_prefix("my1/")?.splitn(4, '/');
        let (server, log, view, gtid) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let (file, offset) = log.rsplit_once(':')?;
        split(file)?;
        let offset = offset.parse().ok()?;
        let prepared = view.strip_prefix(PREPARED).into_iter().flat_map(|all| all.split(',').skip(1));
        let prepared = prepared.map(str::to_string).collect();
        Some(Self { server: server.into(), file: file.into(), offset, gtid: gtid.into(), prepared })
    }

    pub fn position(&self) -> Position {
        let mut text = String::new();
        write(&mut text, &self.server, &self.file, self.offset, &self.prepared, &self.gtid);
        Position(text)
    }

    /// Whether this place has come to the other one, or is the same.
    pub fn reached(&self, goal: &Self) -> bool {
        if self.server != goal.server {
            return false;
        }
        match (split(&self.file), split(&goal.file)) {
            (Some((here, number)), Some((there, other))) => {
                here == there && (number, self.offset) >= (other, goal.offset)
            }
            _ => false,
        }
    }
}

/// Writes a position over what the text held.
pub(super) fn write(
    out: &mut String,
    server: &str,
    file: &str,
    offset: u64,
    prepared: &Prepared,
    gtid: &str,
) {
    out.clear();
    // Writing into a string cannot fail.
    let _ = write!(out, "my1/{server}/{file}:{offset}/");
    if !prepared.is_empty() {
        out.push_str(PREPARED);
    }
    for digest in prepared {
        let _ = write!(out, ",{digest}");
    }
    let _ = write!(out, "/{gtid}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> At {
        At::parse(&Position(text.into())).expect("a place")
    }

    #[test]
    fn p_15_order_is_that_of_files_and_bytes_of_one_server() {
        let [first, later, next] =
            ["my1/ab/log.000009:4//", "my1/ab/log.000009:100/5 6 7/0-1-2", "my1/ab/log.000010:4//"].map(at);
        assert!(later.reached(&first) && next.reached(&later) && first.reached(&first));
        assert!(!first.reached(&later) && !later.reached(&next));
        for other in ["my1/cd/log.000011:4//", "my1/ab/other.000011:4//"] {
            assert!(!at(other).reached(&first) && !first.reached(&at(other)), "{other}");
        }
        assert_eq!(at(&later.position().0), later);
        assert_eq!(later.gtid, "0-1-2");
        for none in ["", "my1/ab///", "my1/ab/log:4//", "0/16B3748", "my1/ab/log.000001//"] {
            assert_eq!(At::parse(&Position(none.into())), None, "{none}");
        }
    }

    #[test]
    fn s_24_prepared_transactions_are_part_of_a_place() {
        let open = at("my1/ab/log.000009:100/xa,00ff,12ab/0-1-2");
        assert_eq!(open.prepared, Prepared::from(["00ff".to_string(), "12ab".to_string()]));
        assert_eq!(at(&open.position().0), open);
        assert_eq!(at("my1/ab/log.000009:100/5@7/0-1-2").prepared, Prepared::new());
    }
}
