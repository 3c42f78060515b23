//! Kinds of events in a log, as the manuals of both servers number them: below 160 those of both, or of
//! MySQL alone, from there on MariaDB's own.

use std::ops::RangeInclusive;

pub const QUERY: u8 = 2;
pub const STOP: u8 = 3;
pub const ROTATE: u8 = 4;
pub const INTVAR: u8 = 5;
pub const APPEND_BLOCK: u8 = 9;
pub const DELETE_FILE: u8 = 11;
pub const RAND: u8 = 13;
pub const USER_VAR: u8 = 14;
pub const FORMAT: u8 = 15;
pub const XID: u8 = 16;
pub const BEGIN_LOAD: u8 = 17;
pub const EXECUTE_LOAD: u8 = 18;
pub const TABLE_MAP: u8 = 19;
pub const ROWS_V1: RangeInclusive<u8> = 23..=25;
pub const INCIDENT: u8 = 26;
pub const HEARTBEAT: u8 = 27;
pub const IGNORABLE: u8 = 28;
pub const ROWS_QUERY: u8 = 29;
pub const ROWS_V2: RangeInclusive<u8> = 30..=32;
pub const GTID_MYSQL: u8 = 33;
pub const ANONYMOUS: u8 = 34;
pub const PREVIOUS_GTIDS: u8 = 35;
pub const CONTEXT: u8 = 36;
pub const VIEW_CHANGE: u8 = 37;
pub const XA_PREPARE: u8 = 38;
pub const PARTIAL_UPDATE: u8 = 39;
pub const PAYLOAD: u8 = 40;
pub const HEARTBEAT_V2: u8 = 41;
pub const GTID_TAGGED: u8 = 42;

/// Those that are in no transaction, and the one that holds a transaction.
pub const BETWEEN: [u8; 10] = [
    STOP,
    ROTATE,
    FORMAT,
    HEARTBEAT,
    GTID_MYSQL,
    ANONYMOUS,
    PREVIOUS_GTIDS,
    PAYLOAD,
    HEARTBEAT_V2,
    GTID_TAGGED,
];

pub const ANNOTATE: u8 = 160;
pub const CHECKPOINT: u8 = 161;
pub const GTID: u8 = 162;
pub const GTID_LIST: u8 = 163;
pub const START_ENCRYPTION: u8 = 164;
pub const QUERY_PACKED: u8 = 165;
pub const ROWS_V1_PACKED: RangeInclusive<u8> = 166..=168;
pub const ROWS_V2_PACKED: RangeInclusive<u8> = 169..=171;
