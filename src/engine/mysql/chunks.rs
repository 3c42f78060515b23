//! Cuts a table by ranges of its key. Places to cut are found by halving: a guess between two
//! values, of which the server tells the nearest that is there, and how many rows it believes lie
//! on each side (it looks into the index, not at the rows). All bounds are values of the table in
//! the server's own order: a bad guess makes uneven pieces, never a gap or an overlap.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};

use super::error::from_driver;
use super::facts::{Column, Facts, Key};
use super::halve::Scale;
use super::quote::{identifier, name};
use super::select::{Bound, Range, WHOLE, bound};
use crate::catalog::Name;
use crate::engine::{Chunk, EngineError};

const CUT: &str = "cut into chunks";

/// Pieces of one table: more would spend more on looking than on reading.
const PIECES_MAX: u64 = 2_000;

/// Rows from one value of a key column to another, both included, all of one beginning of the key.
#[derive(Clone, Debug)]
struct Piece {
    prefix: Vec<Bound>,
    low: Bound,
    high: Bound,
    rows: u64,
}

/// Pieces of about `chunk_bytes`.
pub(super) async fn cut(
    conn: &mut Conn,
    table: &Name,
    facts: &Facts,
    chunk_bytes: u64,
) -> Result<Vec<Chunk>, EngineError> {
    let Some(key) = facts.key.as_ref().filter(|_| facts.bytes > chunk_bytes && facts.rows > 1) else {
        return Ok(whole(facts));
    };
    let wanted = facts.bytes.div_ceil(chunk_bytes).min(PIECES_MAX);
    let cutter = Cutter { table, facts, key, rows_max: (facts.rows / wanted).max(1) };
    let pieces = cutter.pieces(conn).await?;
    Ok(chunks(facts, key, &pieces))
}

/// Two ranges that are the whole table, with about as many rows in each; none where it is in one piece.
pub(super) async fn halves(
    conn: &mut Conn,
    table: &Name,
    facts: &Facts,
) -> Result<Option<[Range; 2]>, EngineError> {
    /// The more there are, the nearer the end of one of them is to the middle.
    const PIECES: u64 = 8;
    let pieces = cut(conn, table, facts, facts.bytes.div_ceil(PIECES).max(1)).await?;
    let mut before = 0;
    // The last piece that begins in the first half: what follows it is the other half.
    let middle = pieces.iter().rev().find(|piece| {
        before += piece.rows;
        before * 2 >= facts.rows
    });
    let Some(second) = middle.map(Range::of).transpose()?.flatten().filter(|range| !range.from.is_empty())
    else {
        return Ok(None);
    };
    let first = Range { from: Vec::new(), to: second.from.clone(), ..second.clone() };
    Ok(Some([first, Range { to: Vec::new(), ..second }]))
}

fn whole(facts: &Facts) -> Vec<Chunk> {
    vec![Chunk { number: 0, of: 1, bounds: WHOLE.into(), rows: facts.rows, bytes: facts.bytes }]
}

/// Each piece reaches to where the next one begins; the first and the last are open.
fn chunks(facts: &Facts, key: &Key, pieces: &[Piece]) -> Vec<Chunk> {
    if pieces.len() < 2 {
        return whole(facts);
    }
    let start = |piece: &Piece| {
        let mut at = piece.prefix.clone();
        at.push(piece.low.clone());
        at
    };
    let total: u64 = pieces.iter().map(|piece| piece.rows.max(1)).sum();
    let share = |of: u64, rows: u64| (u128::from(of) * u128::from(rows) / u128::from(total)) as u64;
    let of = pieces.len() as u32;
    let chunk = |(number, piece): (usize, &Piece)| {
        let range = Range {
            index: key.index.clone(),
            columns: key.columns.clone(),
            from: if number == 0 { Vec::new() } else { start(piece) },
            to: pieces.get(number + 1).map(start).unwrap_or_default(),
        };
        let rows = piece.rows.max(1);
        Chunk {
            number: number as u32,
            of,
            bounds: range.text(),
            rows: share(facts.rows, rows),
            bytes: share(facts.bytes, rows),
        }
    };
    pieces.iter().enumerate().map(chunk).collect()
}

struct Cutter<'a> {
    table: &'a Name,
    facts: &'a Facts,
    key: &'a Key,
    rows_max: u64,
}

impl Cutter<'_> {
    /// All pieces in the order of the key; none where its first column cannot be halved.
    async fn pieces(&self, conn: &mut Conn) -> Result<Vec<Piece>, EngineError> {
        let mut open = Vec::new();
        open.extend(self.span(conn, &[], self.facts.rows).await?);
        let mut done: Vec<Piece> = Vec::new();
        while let Some(piece) = open.pop() {
            if piece.rows <= self.rows_max + self.rows_max / 2 || done.len() as u64 >= 2 * PIECES_MAX {
                self.keep(piece, &mut done);
                continue;
            }
            // The later part waits: pieces are taken from the end.
            match self.halve(conn, &piece).await? {
                Some((earlier, later)) => open.extend([Some(later), earlier].into_iter().flatten()),
                None => self.keep(piece, &mut done),
            }
        }
        Ok(done)
    }

    /// Small neighbours go together, where both have the same beginning.
    fn keep(&self, piece: Piece, done: &mut Vec<Piece>) {
        match done.last_mut() {
            Some(last) if last.prefix == piece.prefix && last.rows + piece.rows <= self.rows_max => {
                last.high = piece.high;
                last.rows += piece.rows;
            }
            _ => done.push(piece),
        }
    }

    fn column(&self, at: usize) -> Option<(&Column, Scale)> {
        let column = self.facts.column(self.key.columns.get(at)?)?;
        Some((column, Scale::of(column)?))
    }

    /// From the smallest to the largest value of the column behind this beginning of the key.
    async fn span(&self, conn: &mut Conn, prefix: &[Bound], rows: u64) -> Result<Option<Piece>, EngineError> {
        let Some((column, scale)) = self.column(prefix.len()) else { return Ok(None) };
        let condition = self.condition(prefix, &[]);
        let ends = self.nearest(conn, (column, scale), [(&condition, "ASC"), (&condition, "DESC")]).await?;
        Ok(ends.map(|[low, high]| Piece { prefix: prefix.to_vec(), low, high, rows }))
    }

    /// Two parts of a piece; the one where a single value was opened up by the next column. None
    /// where there is no way to part it.
    async fn halve(
        &self,
        conn: &mut Conn,
        piece: &Piece,
    ) -> Result<Option<(Option<Piece>, Piece)>, EngineError> {
        let Some((column, scale)) = self.column(piece.prefix.len()) else { return Ok(None) };
        if piece.low == piece.high {
            let mut prefix = piece.prefix.clone();
            prefix.push(piece.low.clone());
            return Ok(self.span(conn, &prefix, piece.rows).await?.map(|inner| (None, inner)));
        }
        let Some(middle) = scale.between(&piece.low, &piece.high) else { return Ok(None) };
        let quoted = identifier(&column.name);
        let literal = |value: &Bound| bound(column, value);
        let (low, middle, high) = (literal(&piece.low), literal(&middle), literal(&piece.high));
        let above = [format!("{quoted} >= {middle}"), format!("{quoted} <= {high}")];
        let below = [format!("{quoted} >= {low}"), format!("{quoted} < {middle}")];
        let above = self.condition(&piece.prefix, &above);
        let below = self.condition(&piece.prefix, &below);
        let found = self.nearest(conn, (column, scale), [(&below, "DESC"), (&above, "ASC")]).await?;
        let Some([end, start]) = found else { return Ok(None) };
        let (earlier, later) = (self.believed(conn, &below).await?, self.believed(conn, &above).await?);
        let part = |low: &Bound, high: &Bound, rows: u64| Piece {
            prefix: piece.prefix.clone(),
            low: low.clone(),
            high: high.clone(),
            // An estimate that does not fall would never end.
            rows: rows.min(piece.rows.saturating_sub(1)),
        };
        Ok(Some((Some(part(&piece.low, &end, earlier)), part(&start, &piece.high, later))))
    }

    /// `WHERE` for rows of this beginning of the key that meet all of these conditions too.
    fn condition(&self, prefix: &[Bound], further: &[String]) -> String {
        let fixed = prefix.iter().zip(&self.key.columns).filter_map(|(value, name)| {
            let column = self.facts.column(name)?;
            Some(format!("{} = {}", identifier(name), bound(column, value)))
        });
        let all: Vec<String> = fixed.chain(further.iter().cloned()).collect();
        if all.is_empty() { String::new() } else { format!(" WHERE {}", all.join(" AND ")) }
    }

    fn from(&self) -> String {
        format!("FROM {} FORCE INDEX ({})", name(self.table), identifier(&self.key.index))
    }

    /// The first value in each of two conditions and directions; none unless both have one.
    async fn nearest(
        &self,
        conn: &mut Conn,
        (column, scale): (&Column, Scale),
        wanted: [(&str, &str); 2],
    ) -> Result<Option<[Bound; 2]>, EngineError> {
        let quoted = identifier(&column.name);
        let shown = scale.shown(&quoted);
        let [first, second] = wanted.map(|(condition, direction)| {
            format!("(SELECT {shown} {}{condition} ORDER BY {quoted} {direction} LIMIT 1)", self.from())
        });
        let sql = format!("SELECT {first}, {second}");
        let row: Option<Row> =
            conn.query_first(sql).await.map_err(|error| from_driver(CUT, error).on(self.table))?;
        let value = |at: usize| read_bound(scale, row.as_ref()?.as_ref(at)?);
        Ok(value(0).zip(value(1)).map(|(first, second)| [first, second]))
    }

    /// How many rows the server believes there are. MySQL looks into an index that it has to take only
    /// where rows are made distinct: else it believes that there is one.
    async fn believed(&self, conn: &mut Conn, condition: &str) -> Result<u64, EngineError> {
        let sql = format!("EXPLAIN FORMAT=TRADITIONAL SELECT DISTINCT 1 {}{condition}", self.from());
        let row: Option<Row> =
            conn.query_first(sql).await.map_err(|error| from_driver(CUT, error).on(self.table))?;
        let rows = row.and_then(|row| row.get_opt::<Option<u64>, _>("rows")?.ok()?);
        Ok(rows.unwrap_or(0))
    }
}

/// The text protocol brings all values as text.
fn read_bound(scale: Scale, value: &Value) -> Option<Bound> {
    let Value::Bytes(text) = value else { return None };
    scale.read(std::str::from_utf8(text).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_06_chunks_join_and_are_open_at_both_ends() {
        let key = Key { index: "PRIMARY".into(), columns: vec!["a".into(), "b".into()] };
        let facts = Facts { columns: vec![], key: Some(key.clone()), innodb: true, rows: 900, bytes: 9_000 };
        let piece = |prefix: &[i128], low: i128, high: i128| Piece {
            prefix: prefix.iter().copied().map(Bound::Number).collect(),
            low: Bound::Number(low),
            high: Bound::Number(high),
            rows: 300,
        };
        let made = chunks(&facts, &key, &[piece(&[], 1, 4), piece(&[5], 1, 9), piece(&[5], 10, 20)]);
        let ranges: Vec<Range> =
            made.iter().map(|chunk| Range::of(chunk).expect("ours").expect("a range")).collect();
        assert!(ranges[0].from.is_empty() && ranges[2].to.is_empty());
        for pair in ranges.windows(2) {
            assert_eq!(pair[0].to, pair[1].from);
        }
        assert_eq!(ranges[2].from, [Bound::Number(5), Bound::Number(10)]);
        assert_eq!(made.iter().map(|chunk| chunk.rows).sum::<u64>(), 900);
    }
}
