//! The catalogue of hazards: one table, from which `explain`, the README and rendered plans are
//! made. Data only.

mod changes;

use super::hazard::{Kind, Level};
use Level::{Block, Note, Stop, Warn};
use changes::CHANGES;

/// The page of a code that nothing here raises.
const ABSENT: &str = "not raised by this version";

const fn kind(code: &'static str, level: Level, title: &'static str, page: &'static str) -> Kind {
    Kind { code, level, title, page }
}

/// All hazards there are, sorted by code. Those whose page says so are not raised by this version.
pub static KINDS: &[Kind] = &{
    let mut all = [CHANGES[0]; CHANGES.len() + OTHERS.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = if at < CHANGES.len() { CHANGES[at] } else { OTHERS[at - CHANGES.len()] };
        at += 1;
    }
    all
};

const OTHERS: &[Kind] = &[
    kind(
        "D101",
        Stop,
        "the target table already has rows and load is copy",
        "Rows that are there already would be mixed with those of the source: keys may collide, and\n\
         nothing could tell afterwards which row came from where.\n\
         \n\
         How it is found: A probe on the target looks for one row.\n\
         \n\
         Ways out: Empty the table yourself; or `load: replace`, which empties it in the transaction that\n\
         loads it; or `load: none`, which leaves it as it is. Rows are only ever copied into empty\n\
         tables, so it cannot be accepted.",
    ),
    kind(
        "D102",
        Block,
        "load: replace removes the rows of the target table",
        "`load: replace` empties the target table before it is loaded. Rows that only the target has are\n\
         gone for good.\n\
         \n\
         How it is found: A probe on the target looks for one row; a table that this plan creates has\n\
         none that could be lost.\n\
         \n\
         Ways out: Accept it for this table, after a look at what is there.",
    ),
    kind(
        "D103",
        Block,
        "a foreign key of the target is dropped for the load and made again after it",
        "The foreign key was on the target before this plan. It forbids what is to be done: to empty the\n\
         table that it points to (`load: replace`), or to load tables whose rows point at each other in a\n\
         circle, if only those of one table. It is dropped before the rows come and made again, under its\n\
         name, when all are there; between the two nothing holds other writers to it. A run that stops in\n\
         between leaves it dropped; the next `apply` goes on and makes it again.\n\
         \n\
         How it is found: From the catalogs of both ends. MySQL, MariaDB and SQLite load without a look at\n\
         foreign keys: nothing is dropped there, and the rows are checked at the end.\n\
         \n\
         Ways out: Accept it. Or drop the key yourself: the plan makes it as the source has it.",
    ),
    kind(
        "D104",
        Note,
        "a filter leaves rows behind; it blocks where it matches none",
        "`where:` says which rows come. The others stay on the source. A filter that matches no row at\n\
         all is most often a slip of the pen.\n\
         \n\
         How it is found: A probe on the source counts the rows on both sides of the filter.\n\
         \n\
         Ways out: Correct the filter, or accept an empty result.",
    ),
    kind(
        "D105",
        Block,
        "a column marked skip holds values",
        "The values of a skipped column are not on the target afterwards.\n\
         \n\
         How it is found: A probe on the source counts values that are not null. With none it is only a\n\
         note.\n\
         \n\
         Ways out: Accept it, with `max_rows` as the bound that you reviewed; or carry the column.",
    ),
    kind("D106", Stop, "a carried table references a skipped one (reported as E126)", ABSENT),
    kind("D107", Block, "child rows without parent would have to go", ABSENT),
    kind("D108", Block, "the upsert key collapses rows", ABSENT),
    kind("D109", Warn, "row counts moved since the plan", ABSENT),
    kind(
        "I401",
        Note,
        "secondary indexes are left out on request",
        "`indexes: none` leaves them out. Unique indexes are not among them: they hold a promise about\n\
         the rows and follow `keys: [unique]`.\n\
         \n\
         How it is found: From the plan and the source's catalog.\n\
         \n\
         Ways out: `indexes: after_load` builds them. Each is listed as left behind.",
    ),
    kind(
        "I402",
        Warn,
        "an index cannot be expressed on the target",
        "The target has no counterpart of its method, operator class, expression or collation. Queries\n\
         that used it will be slower.\n\
         \n\
         How it is found: From the source's catalog, by asking the target's dialect.\n\
         \n\
         Ways out: Create by hand what serves the same queries. Each is listed as left behind.",
    ),
    kind(
        "I403",
        Warn,
        "indexes are built before the load",
        "Every row then goes into every index as it arrives: the load takes several times as long as\n\
         loading first and building after.\n\
         \n\
         How it is found: From the plan: `indexes: before_load`.\n\
         \n\
         Ways out: `indexes: after_load`, unless the table must be queried while it is loaded.",
    ),
    kind(
        "I404",
        Block,
        "an invalid index of that name exists on the target",
        "A leftover of a concurrent build that failed. It is kept up to date and never used.\n\
         \n\
         How it is found: From the target's catalog.\n\
         \n\
         Ways out: Drop it, then plan again.",
    ),
    kind("I405", Warn, "an index build waits for old snapshots", ABSENT),
    kind("I406", Block, "an index key is too wide for the target", ABSENT),
    kind(
        "K301",
        Block,
        "a unique key compares differently on the target",
        "Values that were equal for the source's key (by case, accents, blanks at the end or nulls) are\n\
         different on the target, or the other way round. Then the key lets rows in that it kept out\n\
         before, or keeps rows out that are there.\n\
         \n\
         How it is found: From the collation of the key's columns; a probe counts rows that would collide\n\
         where they can.\n\
         \n\
         Ways out: Choose a type or collation with the source's meaning (`columns: { email: { type:\n\
         citext } }`), or accept it.",
    ),
    kind(
        "K302",
        Block,
        "a table has neither primary key nor unique key without nulls",
        "Such a table is copied as one chunk: a load that is interrupted starts over with it. Its\n\
         changes can be followed where the log carries whole rows, but each one reads the whole table to\n\
         find its row: that blocks until it is accepted; a plain load only warns.\n\
         \n\
         How it is found: From the source's catalog and what the plan skips.\n\
         \n\
         Ways out: Give it a key, or live with it.",
    ),
    kind(
        "K303",
        Block,
        "a foreign key is already violated at the source",
        "Rows without a parent exist. The key cannot be validated on the target.\n\
         \n\
         How it is found: A probe counts them where the source does not promise that there are none.\n\
         \n\
         Ways out: Mend the rows on the source; or leave foreign keys out for the table: `keys: [primary,\n\
         unique]`; or accept it: the key is then added without being validated.",
    ),
    kind(
        "K304",
        Block,
        "a check, not null or key column is already violated at the source",
        "A constraint that the source never checked against all rows (not valid, or a primary key that\n\
         lets nulls in) is checked by the target.\n\
         \n\
         How it is found: A probe counts the rows.\n\
         \n\
         Ways out: Mend the rows on the source, or skip them with `where:`.",
    ),
    kind(
        "K305",
        Stop,
        "foreign key columns differ in type from the parent's after mapping",
        "The target refuses a foreign key between columns that it cannot compare, or compares them only\n\
         by a conversion.\n\
         \n\
         How it is found: From the types after mapping and overrides.\n\
         \n\
         Ways out: Give both columns the same type in `columns:`, or leave foreign keys out for the\n\
         table.",
    ),
    kind(
        "K306",
        Block,
        "a constraint has no counterpart on the target",
        "An exclusion constraint, a deferrable or partial unique key, or a check outside the common\n\
         subset of expressions. The target would accept rows that the source refused.\n\
         \n\
         How it is found: From the source's catalog, by asking the target's dialect.\n\
         \n\
         Ways out: Accept it: the constraint is then left out and listed. Or skip the column, or enforce\n\
         the rule elsewhere.",
    ),
    kind(
        "K307",
        Warn,
        "a referential action differs or is lost",
        "What happens to children when their parent goes is part of what an application relies on.\n\
         \n\
         How it is found: From the source's catalog, by asking the target's dialect.\n\
         \n\
         Ways out: Look at the difference listed with the table.",
    ),
    kind(
        "K308",
        Warn,
        "keys or checks are left out on request",
        "`keys:` leaves a kind of key out, or a skipped column takes a key, check or index with it.\n\
         \n\
         How it is found: From the plan.\n\
         \n\
         Ways out: List the kind in `keys:`, or carry the column. Each is listed as left behind.",
    ),
    kind(
        "P801",
        Stop,
        "row-level security hides rows from this role",
        "A policy filters what this role sees: half of the rows would arrive without any error.\n\
         \n\
         How it is found: From the source's catalog.\n\
         \n\
         Ways out: Read as the owner of the table or as a role with BYPASSRLS.",
    ),
    kind(
        "P802",
        Stop,
        "a privilege to read is missing",
        "The role of the source URL may not read a table or sequence that the plan carries.\n\
         \n\
         How it is found: From the catalog, for every table and sequence at once.\n\
         \n\
         Ways out: Run the GRANT that the finding shows, as the owner; or skip the table.",
    ),
    kind(
        "P803",
        Stop,
        "an extension, collation or encoding is missing on the target",
        "Something that carried tables need can neither be found nor created on the target.\n\
         \n\
         How it is found: From both catalogs.\n\
         \n\
         Ways out: Install it on the target's server, or map the columns that need it to another type.",
    ),
    kind(
        "P804",
        Warn,
        "owners, grants and policies are not carried",
        "Everything created belongs to the role that applies the plan. Who may read and write is not\n\
         copied.\n\
         \n\
         How it is found: From the source's catalog.\n\
         \n\
         Ways out: Grant on the target what is needed there before the cutover.",
    ),
    kind(
        "P805",
        Stop,
        "source and target are the same database",
        "The target's tables would be read and written at once.\n\
         \n\
         How it is found: From the identity of both ends, whatever their URLs say.\n\
         \n\
         Ways out: Correct one of the URLs.",
    ),
    kind("R701", Block, "estimated size exceeds free space on the target", ABSENT),
    kind(
        "R702",
        Warn,
        "a long snapshot on the source holds back its clean-up",
        "All rows are read in one snapshot. While it is open the source keeps every row version that it\n\
         may still see.\n\
         \n\
         How it is found: From the estimated size: above 100 GB.\n\
         \n\
         Ways out: Load at a quiet time, or with more readers.",
    ),
    kind("R703", Warn, "a strong lock on a table in use", ABSENT),
    kind("R704", Block, "server timeouts would end the load (every session sets its own)", ABSENT),
    kind("R705", Warn, "connection budget", ABSENT),
    kind("R706", Warn, "replicas of the target may lag", ABSENT),
    kind("R707", Note, "statistics missing after the load (analyze steps are always in the graph)", ABSENT),
    kind(
        "S601",
        Block,
        "a sequence could be behind its data",
        "The plan sets sequences by the largest value of the columns that draw from them\n\
         (cutover: { sequences: { from: max } }), and the values of this column are no whole numbers.\n\
         \n\
         How it is found: From the catalogs; and at the cutover, where a value does not fit.\n\
         \n\
         Ways out: from: source takes the sequence's own value; or accept it: other columns that draw from it\n\
         count, and without any the sequence's own value does.",
    ),
    kind(
        "S602",
        Warn,
        "an identity or sequence is close to its limit",
        "Little is left of the range of the sequence: inserts will fail when it is used up.\n\
         \n\
         How it is found: From estimates, and a probe of the largest value where the table is large\n\
         enough to come near.\n\
         \n\
         Ways out: Carry the column as a wider type.",
    ),
    kind(
        "S603",
        Warn,
        "a sequence is shared, or no carried column uses it",
        "A shared sequence is one on the target too. One that nothing carried uses stays behind.\n\
         \n\
         How it is found: From the source's catalog.\n\
         \n\
         Ways out: Nothing is to be done for a shared one. Create a free one by hand if the application\n\
         calls it.",
    ),
    kind(
        "S604",
        Stop,
        "writes still reach the source during drain",
        "Without a fence whoever writes to the source has to be kept out by hand, and somebody was not: rows\n\
         changed after the drain, or an open transaction had written. Nothing was decided, and writers may\n\
         write. Or the fence is one of roles (cutover: { fence: { roles: ... } }), and a role would go on\n\
         writing when its own rights are taken: as superuser, as owner or member of one, by a right of\n\
         PUBLIC or of another role, through a view.\n\
         \n\
         How it is found: At the cutover, by draining again until nothing comes; of roles from the catalog,\n\
         when planning, before the fence and behind it.\n\
         \n\
         Ways out: Stop the writers, or let cutover: { fence: tables } keep them out; then cut over again.",
    ),
    kind(
        "S605",
        Block,
        "lag above max_lag",
        "The stream was further behind than cutover.max_lag when the writers would have been kept out, or the\n\
         cutover took longer than cutover.budget. Nothing was decided, and writers may write.\n\
         \n\
         How it is found: At the cutover, by the clock.\n\
         \n\
         Ways out: Let towpath follow catch up; compare less (cutover.verify); or raise the limit.",
    ),
    kind(
        "S606",
        Stop,
        "verification found a difference (verify exits 7)",
        "Source and target hold different rows behind the fence, or a check of the plan returned rows: somebody\n\
         wrote to the target, or writes of the source were seen by nobody. Nothing was decided, and writers\n\
         may write.\n\
         \n\
         How it is found: At the cutover, by comparing all followed tables and asking cutover.checks.\n\
         \n\
         Ways out: towpath verify --level rows lists the rows; towpath verify --repair makes those of the target\n\
         what they are on the source; then cut over again.",
    ),
    kind("S607", Block, "the target received foreign writes before cutover", ABSENT),
    kind(
        "U901",
        Warn,
        "views, routines, triggers and the like are not carried",
        "Only tables and what they need are carried so far. Where collations are left behind, text compares\n\
         and sorts by its bytes on the target: upper and lower case differ there.\n\
         \n\
         How it is found: From the source's catalog; each is listed as left behind.\n\
         \n\
         Ways out: Create them on the target after the load.",
    ),
    kind(
        "U902",
        Warn,
        "partitioning or inheritance is not kept",
        "The target has no partitions or inheritance of the source's kind.\n\
         \n\
         How it is found: From the source's catalog.\n\
         \n\
         Ways out: Accept it: tables then stand alone. Or skip them.",
    ),
    kind(
        "U903",
        Warn,
        "a generated column or default expression changes or is lost",
        "The expression has no counterpart, or means something slightly else. Loaded rows are right; rows\n\
         that the application inserts later may get another value. Where a generated column would become\n\
         a plain one it blocks.\n\
         \n\
         How it is found: From the source's catalog, by translating the expression.\n\
         \n\
         Ways out: Set the default on the target by hand, or accept that the column becomes a plain one.",
    ),
    kind(
        "U904",
        Note,
        "storage options are dropped",
        "Fill factors, storage modes, compression, tablespaces and the like mean nothing to another\n\
         engine.\n\
         \n\
         How it is found: From the source's catalog.\n\
         \n\
         Ways out: Nothing is to be done.",
    ),
    kind(
        "V201",
        Block,
        "an integer is outside the target's range",
        "The target's type is narrower than what the source may hold.\n\
         \n\
         How it is found: A probe counts the rows and finds the largest value; where all fit it is a\n\
         note.\n\
         \n\
         Ways out: Choose a wider type.",
    ),
    kind(
        "V202",
        Block,
        "zero or impossible dates",
        "MySQL and MariaDB store 0000-00-00, dates without a month or day, and in some modes the 31st of\n\
         February. No other engine does. Between the two dates with zeros are carried, and days that their\n\
         month does not have are not.\n\
         \n\
         How it is found: A probe counts the rows.\n\
         \n\
         Ways out: `zero_date: null` on the column, which is told as a note then; or mend the rows on the\n\
         source; or leave them behind with `where:`.",
    ),
    kind(
        "V203",
        Block,
        "text holds NUL bytes that the target cannot store",
        "U+0000 in text is legal at the source and refused by the target.\n\
         \n\
         How it is found: A probe counts the rows.\n\
         \n\
         Ways out: Mend the rows on the source, or carry the column as bytes.",
    ),
    kind(
        "V204",
        Block,
        "text is longer than the target column",
        "The target would refuse the row. Nothing is ever cut.\n\
         \n\
         How it is found: A probe counts the rows.\n\
         \n\
         Ways out: Choose a longer type.",
    ),
    kind(
        "V205",
        Block,
        "numeric precision or scale is too small",
        "The target would round the number or refuse it.\n\
         \n\
         How it is found: A probe counts the rows.\n\
         \n\
         Ways out: Choose a type with more digits.",
    ),
    kind(
        "V206",
        Block,
        "an integer column mapped to boolean holds more than 0 and 1",
        "Two values cannot tell three apart.\n\
         \n\
         How it is found: A probe counts the rows.\n\
         \n\
         Ways out: Keep an integer type.",
    ),
    kind(
        "V207",
        Block,
        "a timestamp changes its meaning without a zone",
        "A timestamp without a zone names a moment only together with a zone, and the plan does not say\n\
         which.\n\
         \n\
         How it is found: From the types and overrides.\n\
         \n\
         Ways out: `columns: { created_at: { type: timestamptz, zone: UTC } }`",
    ),
    kind(
        "V208",
        Warn,
        "fractional seconds are cut",
        "The target's type keeps fewer digits.\n\
         \n\
         How it is found: From the types and overrides.\n\
         \n\
         Ways out: Choose a type with more digits.",
    ),
    kind(
        "V209",
        Block,
        "time of day beyond 24 h or negative",
        "A time of MySQL and MariaDB is a span from -838:59:59 to 838:59:59. A time of day elsewhere is not.\n\
         \n\
         How it is found: A probe counts the rows.\n\
         \n\
         Ways out: Carry the column as a span, where the target has those (`type: interval` on PostgreSQL),\n\
         or as text: `type: text`; or mend the rows.",
    ),
    kind(
        "V210",
        Block,
        "a value is not a label of the target's enumeration",
        "The target would refuse the row. An enum of MySQL or MariaDB also holds an error value, the empty text\n\
         at index 0, which is none of its labels.\n\
         \n\
         How it is found: A probe counts the rows.\n\
         \n\
         Ways out: `error_value: null` on an enum of MySQL or MariaDB, which is told as a note then; else add the\n\
         label on the target, carry the column as text, or mend the rows on the source.",
    ),
    kind(
        "V211",
        Block,
        "bytes are not valid in the declared character set",
        "They have no meaning as text and the target refuses them.\n\
         \n\
         How it is found: A probe counts the rows.\n\
         \n\
         Ways out: Mend the rows on the source, or carry the column as bytes.",
    ),
    kind(
        "V212",
        Warn,
        "json becomes jsonb",
        "Duplicate keys, the order of keys, white space and the spelling of numbers are not kept.\n\
         \n\
         How it is found: From the types and overrides.\n\
         \n\
         Ways out: Keep json.",
    ),
    kind(
        "V213",
        Warn,
        "numbers pass between binary floating point and decimal",
        "Most decimal fractions have no exact binary counterpart.\n\
         \n\
         How it is found: From the types and overrides.\n\
         \n\
         Ways out: Keep the source's kind of number.",
    ),
    kind(
        "V214",
        Warn,
        "blanks at the end compare differently",
        "One of the two types pads with blanks and ignores them when it compares.\n\
         \n\
         How it is found: From the types.\n\
         \n\
         Ways out: Keep a type of the same kind.",
    ),
    kind(
        "V215",
        Block,
        "a value is of another class than its column declares",
        "SQLite stores any class of value in any column. The target does not.\n\
         \n\
         How it is found: A probe counts the rows.\n\
         \n\
         Ways out: Mend the rows on the source, or carry the column as a type that takes them: `type:\n\
         text`.",
    ),
    kind(
        "V216",
        Block,
        "infinity, NaN or a date out of range has no counterpart",
        "The target cannot store the value.\n\
         \n\
         How it is found: A probe counts the rows.\n\
         \n\
         Ways out: Carry the column as text, or leave the rows behind with `where:`.",
    ),
    kind(
        "V217",
        Block,
        "a type has no counterpart and passes through a cast",
        "What the cast does to values is known to the engine alone. Text going into such a type only\n\
         warns: you asked for it.\n\
         \n\
         How it is found: From the types and overrides.\n\
         \n\
         Ways out: Accept it after a try, or choose text.",
    ),
    kind("V218", Block, "binary(16) to uuid with unknown byte order", ABSENT),
    kind("V219", Stop, "names collide or are too long (reported as E140 to E144)", ABSENT),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_every_page_says_something() {
        assert!(KINDS.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert!(KINDS.iter().all(|kind| !kind.title.is_empty() && kind.page.len() > 20));
    }
}
