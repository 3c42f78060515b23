//! How the server itself moves local time in a zone to UTC, as a list of steps: what verification
//! needs to know of a zone, whose history is the server's and nobody else's.

use super::quote::literal;
use super::wire::Answer;
use crate::engine::source::Zone;

/// Asks for every second from which local time is another distance from UTC: days that differ
/// from their neighbours are halved down to the second. The calendar, and with it every rule that
/// has no end, repeats after 400 years; no zone had rules before 1800.
pub fn query(zone: &str) -> String {
    let east = |time: &str| {
        format!(
            "pg_catalog.date_part('epoch', {time} - ({time} AT TIME ZONE {} AT TIME ZONE 'UTC'))",
            literal(zone)
        )
    };
    format!(
        "WITH RECURSIVE step (a, b) AS ( \
         SELECT d, d + interval '1 day' FROM pg_catalog.generate_series(timestamp '{first}', \
           timestamp '{last}', interval '1 day') AS d WHERE {d} <> {next} \
         UNION ALL SELECT CASE WHEN e THEN m ELSE a END, CASE WHEN e THEN b ELSE m END FROM ( \
           SELECT a, b, m, {a} = {m} AS e FROM (SELECT a, b, pg_catalog.date_trunc('second', a + (b - a) / 2) AS m \
           FROM step WHERE b - a > interval '1 second') AS halves) AS judged) \
         SELECT pg_catalog.date_part('epoch', b)::bigint, {b}::bigint FROM step \
           WHERE b - a <= interval '1 second' \
         UNION ALL SELECT pg_catalog.date_part('epoch', d)::bigint, {d}::bigint \
           FROM (VALUES (timestamp '{first}')) AS v (d) ORDER BY 1",
        first = FIRST,
        last = LAST,
        a = east("a"),
        b = east("b"),
        m = east("m"),
        d = east("d"),
        next = east("(d + interval '1 day')"),
    )
}

const FIRST: &str = "1800-01-01";
const LAST: &str = "2500-01-01";
/// The same in seconds since 1970.
const LAST_SECOND: i64 = 16_725_225_600;

/// The steps out of the answer; none where it holds none.
pub fn parse(answer: &Answer) -> Option<Zone> {
    let number = |cell: &Option<String>| cell.as_deref()?.parse::<i64>().ok();
    let step = |row: &Vec<Option<String>>| Some((number(row.first()?)?, number(row.get(1)?)?));
    let steps: Vec<(i64, i64)> = answer.rows.iter().map(step).collect::<Option<_>>()?;
    (!steps.is_empty()).then_some(Zone { steps, until: LAST_SECOND })
}
