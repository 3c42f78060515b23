//! The hazards of following changes. Data only.

use super::{Kind, kind};
use crate::diff::hazard::Level::{Block, Note, Stop, Warn};

/// Sorted by code; all begin with C.
pub(super) const CHANGES: &[Kind] = &[
    kind(
        "C501",
        Block,
        "no single snapshot over all tables or readers",
        "The table's engine has no transactions: rows that are written while it is read may be seen or not,\n\
         and the table is not of the same moment as the others.\n\
         \n\
         How it is found: From the source's catalog (MyISAM, Aria, MEMORY and their kind).\n\
         \n\
         Ways out: Accept it where nobody writes to the table meanwhile; or give it an engine with\n\
         transactions: ALTER TABLE ... ENGINE = InnoDB.",
    ),
    kind(
        "C502",
        Stop,
        "change capture is not possible",
        "The source does not keep what following its changes needs, or this role may not use it: then a plan\n\
         with cdc: true cannot be right, however its tables look.\n\
         \n\
         How it is found: From the catalog (engine, unlogged tables), and by asking the live source when\n\
         planning: PostgreSQL needs wal_level = logical, free slots and senders, and a role with REPLICATION\n\
         that owns the tables; MariaDB and MySQL binlog_format = ROW and binlog_row_image = FULL, MySQL also a\n\
         log without partial JSON, and a user who may lock tables for the moment of a snapshot\n\
         (FLUSH_TABLES); SQLite the plan's consent to triggers. That MySQL compresses transactions\n\
         (binlog_transaction_compression) is only said: each is unpacked as a whole in memory.\n\
         \n\
         Ways out: The statement or setting that the finding names; `towpath grants` prints the rights. Or\n\
         cdc: false: the plan then is one full load, and writers stop meanwhile.",
    ),
    kind(
        "C503",
        Block,
        "updates or deletes of a table cannot be identified",
        "The change log tells a changed row by the table's replica identity. Where that is nothing, where it\n\
         is the primary key of a table without one, or where one of its columns stays behind, the row to\n\
         change cannot be found on the target. Publishing such a table would also make the application's own\n\
         updates and deletes fail, so it is never tried: this stops. Where the key itself is not carried to\n\
         the target the row is found by reading the whole table: this may be accepted.\n\
         \n\
         How it is found: From the source's catalog and what the plan skips.\n\
         \n\
         Ways out: Give the table a primary key; ALTER TABLE ... REPLICA IDENTITY USING INDEX a unique index\n\
         without nulls, or FULL; carry the columns; or cdc: false for the table.",
    ),
    kind(
        "C504",
        Block,
        "cascades are invisible in the stream",
        "InnoDB changes children of a foreign key with an action without a word in the log. MySQL 9.6 and newer\n\
         does so itself and logs it, unless innodb_native_foreign_keys is on: there nothing is in the way.\n\n\
         How it is found: By asking the live source; a changed key of a parent stops the stream.\n\n\
         Ways out: cdc: { cascades: emulate } derives from the keys what they did, and does the same on the\n\
         target. Or the key without the action, and an application that changes children; or cdc: false.",
    ),
    kind(
        "C505",
        Block,
        "the log is kept shorter than the load takes",
        "Changes are applied once the rows are in. A log that the source removes before then leaves a gap that\n\
         only another copy can close.\n\n\
         How it is found: By asking the live source when planning.\n\n\
         Ways out: Let the source keep more (max_slot_wal_keep_size, binlog_expire_logs_seconds), or copy less.",
    ),
    kind(
        "C506",
        Warn,
        "a slot may fill the source's disk",
        "While changes are not applied the source keeps its log: while the rows are copied, while follow does\n\
         not run, while the target is down. A full disk stops the source.\n\
         \n\
         How it is found: The plan follows a source with a log of its own and has no cdc.keep_log.\n\
         \n\
         Ways out: cdc: { keep_log: 20GB } gives the capture up before that much is kept, while towpath runs;\n\
         max_slot_wal_keep_size on the server does so always. `towpath clean` removes a capture that is not\n\
         needed any more.",
    ),
    kind(
        "C507",
        Warn,
        "the stream does not carry all changes",
        "A change log tells of rows. Structure, values of sequences and large objects are not in it: a change\n\
         of structure stops the stream, sequences are set at the cutover. Where one of two tables that a\n\
         foreign key joins is followed and the other is not, the key holds at the copy and at no time after:\n\
         this blocks.\n\
         \n\
         How it is found: From the plan and the catalogs.\n\
         \n\
         Ways out: Follow both tables or neither, or leave the foreign key out.",
    ),
    kind(
        "C508",
        Block,
        "the source schema changed during sync",
        "A followed table's columns are not what the plan saw. What comes after that in the log has another\n\
         shape, so following stops there; everything before it is in the target.\n\
         \n\
         How it is found: While running, from the log's own description of the table.\n\
         \n\
         Ways out: Undo the change on the source where nothing was written since. Otherwise the table is\n\
         another one: bring the target to the new structure under another plan, or clean up and start over.",
    ),
    kind(
        "C509",
        Block,
        "triggers on a target table fire again on the rows that are loaded",
        "A trigger of the target runs for every row that is loaded. It may change the row, write other\n\
         rows, or refuse it; then the target is not equal to the source.\n\
         \n\
         How it is found: Found in the target's catalog: a table that is there already and has triggers.\n\
         \n\
         Ways out: Drop or disable the triggers for the time of the load, or accept it where they are\n\
         known to do no harm.",
    ),
    kind(
        "C510",
        Stop,
        "the connection goes through a transaction pooler",
        "A pooler hands each transaction to another session: snapshots, locks and replication do not survive\n\
         that.\n\
         \n\
         How it is found: By asking the live source when planning.\n\
         \n\
         Ways out: Give the plan a URL that goes to the server itself.",
    ),
    kind(
        "C511",
        Warn,
        "a slot does not survive a failover",
        "The place that the source keeps for a capture is on one server. After a failover to a standby it is\n\
         gone, and with it what was not applied yet: the followed tables are then copied again.\n\
         \n\
         How it is found: By asking the live source when planning: it has standbys.\n\
         \n\
         Ways out: Plan the move for a time without a failover; PostgreSQL 17 can keep slots on a standby.",
    ),
    kind(
        "C512",
        Note,
        "what the way back makes, and where",
        "With `reverse: true` the cutover opens a capture on the target (a slot and a publication; triggers and\n\
         a change table in SQLite; of MariaDB and MySQL the log is read, and nothing is made there) under the name\n\
         NAME+back, and the source, closed for everybody else, holds the\n\
         state of that stream. `towpath follow --back` then writes to the source what is written to the target,\n\
         and `towpath cutover --back` hands over to the source again. Until the way back is followed the target\n\
         keeps its log: `towpath clean --back` gives it up.\n\
         \n\
         How it is found: From the plan. `towpath grants` prints what both roles need for it.",
    ),
    kind(
        "C513",
        Block,
        "something stays behind on the way back, or stops it",
        "What is written after the cutover may be more than the source can hold: a number too large for its\n\
         narrower type, a row that breaks a key the target does not have. Such a row stops the way back, named;\n\
         it is never changed to fit. And what has no place on the source, or is not followed, stays on the target.\n\
         \n\
         How it is found: From the plan and both catalogs: types, keys, foreign keys, sequences and columns that\n\
         are not the same at both ends.\n\
         \n\
         Ways out: Accept it where the application writes nothing of the kind; or `reverse: false`.",
    ),
    kind(
        "C514",
        Stop,
        "there is no way back for a table",
        "A row written after the cutover could not be put on the source as it is: the table is carried in part\n\
         (`where:`), a column that must have a value is left behind, a column is generated on the source, a type\n\
         does not become the old one again, or the target's log does not tell which row was changed.\n\
         \n\
         How it is found: From the plan and both catalogs.\n\
         \n\
         Ways out: Carry the table whole, with a primary key; or `reverse: false`.",
    ),
];
