//! Questions about single rows, all of one table answered while its rows are read once. Most need no
//! more than a value's class or its bytes, which are looked at here: as an expression each would cost
//! as much as the reading.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::dialect::quote;
use super::probe::{condition, from};
use crate::catalog::{Probe, Question, Type};

/// What is seen of one column of the answer: a row that meets it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Null,
    NotNull,
    /// Neither of this class nor null.
    NotInteger,
    NotNumber,
    NotText,
    NotBlob,
    HoldsNul,
    BadEncoding,
    Infinite,
    /// The column is a condition.
    True,
}

impl Look {
    /// None where the question is left to a condition in SQL.
    fn of(question: &Question) -> Option<Self> {
        Some(match question {
            Question::Null => Self::Null,
            Question::NotNull => Self::NotNull,
            Question::HoldsNul => Self::HoldsNul,
            Question::BadEncoding => Self::BadEncoding,
            Question::NotFinite { nan_only: false } => Self::Infinite,
            Question::NotOfType { ty } => match ty {
                Type::Int { .. } => Self::NotInteger,
                Type::Float { .. } => Self::NotNumber,
                Type::Binary { .. } | Type::Blob => Self::NotBlob,
                Type::Text | Type::Char { .. } | Type::VarChar { .. } => Self::NotText,
                _ => return None,
            },
            _ => return None,
        })
    }

    fn meets(self, value: ValueRef<'_>) -> bool {
        use ValueRef::{Blob, Integer, Null, Real, Text};
        match self {
            Self::Null => value == Null,
            Self::NotNull => value != Null,
            Self::NotInteger => !matches!(value, Integer(_) | Null),
            Self::NotNumber => !matches!(value, Integer(_) | Real(_) | Null),
            Self::NotText => !matches!(value, Text(_) | Null),
            Self::NotBlob => !matches!(value, Blob(_) | Null),
            Self::HoldsNul => matches!(value, Text(bytes) if bytes.contains(&0)),
            Self::BadEncoding => matches!(value, Text(bytes) if std::str::from_utf8(bytes).is_err()),
            // SQLite keeps a NaN as null.
            Self::Infinite => matches!(value, Real(number) if number.is_infinite()),
            // A condition that is null does not hold.
            Self::True => matches!(value, Integer(truth) if truth != 0),
        }
    }
}

/// One reading of a table for the questions about its rows.
pub(super) struct Looks {
    sql: String,
    filtered: bool,
    /// For each question the column of the answer that tells it.
    looks: Vec<(usize, Look)>,
}

impl Looks {
    /// None where one of them is no question about a row.
    pub(super) fn new(probes: &[&Probe]) -> Option<Self> {
        let first = probes.first()?;
        let mut columns: Vec<String> = Vec::new();
        let mut looks = Vec::with_capacity(probes.len());
        for probe in probes {
            let look = Look::of(&probe.question);
            let column = match look {
                Some(_) => quote(probe.column.as_deref()?),
                None => format!("({})", condition(&probe.question, probe)?),
            };
            let at = columns.iter().position(|known| *known == column).unwrap_or(columns.len());
            if at == columns.len() {
                columns.push(column);
            }
            looks.push((at, look.unwrap_or(Look::True)));
        }
        let rows = from(&first.table, first.filter.as_deref());
        let sql = format!("SELECT {} {rows}", columns.join(", "));
        Some(Self { sql, filtered: first.filter.is_some(), looks })
    }

    /// How many rows meet each, in the order of the questions; with a condition, of those for which
    /// it holds.
    pub(super) fn counts(&self, conn: &Connection, part: Option<&str>) -> rusqlite::Result<Vec<u64>> {
        let mut counts = vec![0; self.looks.len()];
        let word = if self.filtered { "AND" } else { "WHERE" };
        let part = part.map(|condition| format!(" {word} {condition}")).unwrap_or_default();
        let mut statement = conn.prepare(&format!("{}{part}", self.sql))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.count(row, &mut counts)?;
        }
        Ok(counts)
    }

    fn count(&self, row: &Row<'_>, counts: &mut [u64]) -> rusqlite::Result<()> {
        for ((at, look), count) in self.looks.iter().zip(counts) {
            *count += u64::from(look.meets(row.get_ref(*at)?));
        }
        Ok(())
    }
}
