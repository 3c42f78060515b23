//! The transactions that a place in a log has behind it, as each of the family names them. MariaDB's
//! are few numbers. MySQL's are ranges for each origin, of which only the last one grows; without
//! them (`gtid_mode = OFF`) the second at which the log file was begun is all that there is.
//!
//! ```text
//!   MariaDB   0-1-15,2-1-3                                   domain-server-number
//!   MySQL     1795739275@UUID:1-5:7,UUID:tag:1-3             second the file was begun @ set
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;

/// Transactions by domain: server and number of the last one.
pub(super) type Domains = BTreeMap<u32, (u32, u64)>;

/// A domain, and its last transaction if it has one.
pub(super) type Prior = (u32, Option<(u32, u64)>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Gtids {
    Domains(Domains),
    Set(Set),
}

impl Gtids {
    /// None for what is of neither form.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('@') {
            Some((born, set)) => Set::parse(born.parse().ok()?, set).map(Self::Set),
            None => parse_domains(text).map(Self::Domains),
        }
    }

    /// Takes back what was counted of a domain.
    pub fn restore(&mut self, (domain, last): Prior) {
        let Self::Domains(domains) = self else { return };
        match last {
            Some(last) => domains.insert(domain, last),
            None => domains.remove(&domain),
        };
    }

    /// Writes it behind what `out` holds.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Domains(domains) => {
                for (at, (domain, (server, sequence))) in domains.iter().enumerate() {
                    let comma = if at == 0 { "" } else { "," };
                    // Writing into a string cannot fail.
                    let _ = write!(out, "{comma}{domain}-{server}-{sequence}");
                }
            }
            Self::Set(set) => {
                let _ = write!(out, "{}@", set.born);
                set.write(out);
            }
        }
    }

    /// Of MySQL: the set in the server's own form.
    pub fn set(&self) -> Option<String> {
        let Self::Set(set) = self else { return None };
        let mut text = String::new();
        set.write(&mut text);
        Some(text)
    }
}

/// Reads `0-1-15,2-1-3`; none for what is not of that form.
fn parse_domains(text: &str) -> Option<Domains> {
    let entry = |entry: &str| {
        let mut numbers = entry.trim().split('-');
        let domain = numbers.next()?.parse().ok()?;
        let server = numbers.next()?.parse().ok()?;
        let sequence = numbers.next()?.parse().ok()?;
        numbers.next().is_none().then_some((domain, (server, sequence)))
    };
    text.split(',').filter(|entry| !entry.trim().is_empty()).map(entry).collect()
}

/// Who numbers transactions: a server, or a group, and the tag that it gave (8.3 and newer).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    pub uuid: [u8; 16],
    pub tag: String,
}

/// Numbers from and to, both of them in it.
type Range = (u64, u64);

/// A set of transactions. The text of all but the last range of the origin that grows is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set {
    /// Second since 1970 at which the log file was begun; 0 where that is not known.
    pub born: u32,
    others: BTreeMap<Origin, Vec<Range>>,
    growing: Origin,
    /// Of the one that grows, in order and apart; empty in an empty set.
    ranges: Vec<Range>,
    fixed: String,
}

impl Set {
    fn parse(born: u32, text: &str) -> Option<Self> {
        let mut set = Self { born, ..Self::default() };
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let mut parts = entry.split(':');
            let mut origin = Origin { uuid: parse_uuid(parts.next()?)?, tag: String::new() };
            for part in parts {
                if !part.starts_with(|c: char| c.is_ascii_digit()) {
                    origin.tag = part.to_string();
                    continue;
                }
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                let range = (first.parse().ok()?, last.parse().ok()?);
                if range.0 == 0 || range.1 < range.0 {
                    return None;
                }
                set.grow(&origin);
                set.ranges.push(range);
                join(&mut set.ranges);
            }
        }
        set.fix();
        Some(set)
    }

    /// Adds one; false for one that is in it already.
    pub fn add(&mut self, uuid: &[u8; 16], tag: &str, number: u64) -> bool {
        let grows = self.growing.uuid == *uuid && self.growing.tag == tag;
        if let Some((_, last)) =
            self.ranges.last_mut().filter(|(_, last)| grows && last.checked_add(1) == Some(number))
        {
            *last = number;
            return true;
        }
        if !grows {
            self.grow(&Origin { uuid: *uuid, tag: tag.to_string() });
        }
        let known = self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&number));
        if !known {
            self.ranges.push((number, number));
            join(&mut self.ranges);
        }
        self.fix();
        !known
    }

    /// Puts another origin to where it grows.
    fn grow(&mut self, origin: &Origin) {
        if self.growing == *origin {
            return;
        }
        let next = self.others.remove(origin).unwrap_or_default();
        let ranges = std::mem::replace(&mut self.ranges, next);
        let before = std::mem::replace(&mut self.growing, origin.clone());
        if !ranges.is_empty() {
            self.others.insert(before, ranges);
        }
    }

    fn fix(&mut self) {
        self.fixed.clear();
        for (origin, ranges) in &self.others {
            write_origin(&mut self.fixed, origin);
            ranges.iter().for_each(|range| write_range(&mut self.fixed, *range));
            self.fixed.push(',');
        }
        if let Some((_, before)) = self.ranges.split_last() {
            write_origin(&mut self.fixed, &self.growing);
            before.iter().for_each(|range| write_range(&mut self.fixed, *range));
        }
    }

    fn write(&self, out: &mut String) {
        out.push_str(&self.fixed);
        if let Some(last) = self.ranges.last() {
            write_range(out, *last);
        }
    }
}

/// Sorts ranges and makes one of those that touch.
fn join(ranges: &mut Vec<Range>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let touches = next.0 <= kept.1.saturating_add(1);
        if touches {
            kept.1 = kept.1.max(next.1);
        }
        touches
    });
}

fn write_origin(out: &mut String, origin: &Origin) {
    for (at, byte) in origin.uuid.iter().enumerate() {
        let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
        let _ = write!(out, "{dash}{byte:02x}");
    }
    if !origin.tag.is_empty() {
        let _ = write!(out, ":{}", origin.tag);
    }
}

fn write_range(out: &mut String, (first, last): Range) {
    let _ = if first == last { write!(out, ":{first}") } else { write!(out, ":{first}-{last}") };
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| *c != '-')
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let mut uuid = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(gtids: &Gtids) -> String {
        let mut text = String::new();
        gtids.write(&mut text);
        text
    }

    #[test]
    fn p_15_gtids_of_several_domains() {
        let gtids = Gtids::parse("2-1-3,0-7-18446744073709551615").expect("GTIDs");
        assert_eq!(text(&gtids), "0-7-18446744073709551615,2-1-3");
        assert_eq!(Gtids::parse(""), Some(Gtids::Domains(Domains::new())));
        for none in ["1-2", "a-b-c", "1-2-3-4", "3E11FA47-71CA-11E1-9E33-C80AA9429562:1-5"] {
            assert_eq!(Gtids::parse(none), None, "{none}");
        }
    }

    const ONE: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const TWO: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn p_15_sets_grow_in_order_and_out_of_it() {
        let of = |uuid| parse_uuid(uuid).expect("a UUID");
        let Some(Gtids::Set(mut set)) = Gtids::parse(&format!("17@{ONE}:1-5:7")) else { panic!("a set") };
        let grown = |set: &Set| text(&Gtids::Set(set.clone()));
        assert_eq!(grown(&set), format!("17@{ONE}:1-5:7"));
        assert!(set.add(&of(ONE), "", 8) && set.add(&of(ONE), "", 9));
        assert_eq!(grown(&set), format!("17@{ONE}:1-5:7-9"));
        assert!(set.add(&of(ONE), "", 6));
        assert_eq!(grown(&set), format!("17@{ONE}:1-9"));
        assert!(!set.add(&of(ONE), "", 9) && !set.add(&of(ONE), "", 3));
        assert!(set.add(&of(TWO), "", 4) && set.add(&of(ONE), "night", 1) && set.add(&of(ONE), "", 10));
        assert_eq!(grown(&set), format!("17@{ONE}:night:1,{TWO}:4,{ONE}:1-10"));
        assert!(!set.add(&of(TWO), "", 4) && !set.add(&of(ONE), "night", 1));
    }

    #[test]
    fn p_15_sets_as_the_server_prints_them() {
        let read = |text: &str| Gtids::parse(&format!("0@{text}"));
        let printed = read(&format!("{}:1-3:night:5:9-11,\n{TWO}:7", ONE.to_uppercase())).expect("a set");
        assert_eq!(printed.set(), Some(format!("{ONE}:1-3,{ONE}:night:5:9-11,{TWO}:7")));
        assert_eq!(read("").and_then(|set| set.set()), Some(String::new()));
        for none in ["1-5", "3e11:1-5", &format!("{ONE}:0"), &format!("{ONE}:5-1"), &format!("{ONE}:1-x")] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
