//! What a server or the driver says, turned into an `EngineError`: class, object, next step.
//! Values that a message quotes are cut out of it. Codes: MariaDB's error code reference.

use std::io::ErrorKind;

use mysql_async::{DriverError, Error, IoError, ServerError};

use crate::catalog::name::is_hidden;
use crate::engine::{Cause, EngineError};

/// Makes characters that a terminal acts on visible.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_hidden(c) {
            true => out.extend(c.escape_unicode()),
            false => out.push(c),
        }
    }
    out
}

/// Messages that quote the value of a cell, or a text of ours that may hold one.
const QUOTES_VALUES: &[u16] = &[
    1062, 1064, 1149, 1264, 1265, 1292, 1365, 1366, 1367, 1411, 1525, 1526, 1586, 1690, 1859, 1977, 3140,
    4025, 4038,
];

/// The class of an error code.
pub(super) fn cause(code: u16) -> Cause {
    match code {
        1045 | 1130 | 1251 | 1275 | 1524 | 1698 | 1820 | 1862 | 3118 | 4151 => Cause::Authentication,
        1044 | 1142 | 1143 | 1227 | 1290 | 1345 | 1370 | 1792 | 1836 => Cause::Privilege,
        1020 | 1205 | 1213 | 1317 | 1614 | 1969 | 3024 | 3058 | 3572 => Cause::Busy,
        1043 | 1053 | 1152 | 1158..=1161 | 1184 | 1927 | 3159 | 4031 => Cause::Connection,
        1049 => Cause::NotFound,
        1054 | 1146 | 1356 | 1412 => Cause::Stale,
        1021 | 1037 | 1038 | 1040 | 1041 | 1114 | 1129 | 1135 | 1203 | 1206 | 1226 | 3 | 28 => {
            Cause::Resources
        }
        1048
        | 1062
        | 1064
        | 1153
        | 1216
        | 1217
        | 1264..=1267
        | 1292
        | 1364..=1366
        | 1406
        | 1411
        | 1451
        | 1452
        | 1690
        | 1977
        | 3140
        | 3819
        | 4025 => Cause::Data,
        _ => Cause::Other,
    }
}

fn next_step(code: u16) -> Option<&'static str> {
    Some(match code {
        1045 | 1698 => {
            "check user and password of this URL; the server does not say which of the two is wrong"
        }
        1130 => "the server lets this user in from other hosts only: see CREATE USER 'name'@'host'",
        1129 => "the server has shut this host out after many failed attempts: FLUSH HOSTS there lets it in",
        1820 | 1862 => "log in with another client once and set a new password",
        4151 => "this account is locked: ALTER USER ... ACCOUNT UNLOCK",
        1044 | 1142 | 1143 | 1227 | 1370 => {
            "grant what is missing to the user of this URL; `towpath grants` prints the statements"
        }
        1049 => "check the name of the database in the URL; Towpath never creates databases",
        1040 | 1203 | 1226 => {
            "no connection is free: lower the number of readers, or raise max_connections on the server"
        }
        1205 => "another session holds a lock on this table; see SHOW FULL PROCESSLIST for who",
        1020 => "another session changed the row meanwhile; run the same command again",
        1213 => "two sessions waited for each other; run the same command again",
        1412 => "the table's structure changed while it was being read; plan again",
        1053 | 1927 | 4031 => "the server closed this session; run the same command again: it continues",
        1153 => "raise max_allowed_packet on the server: a row is larger than it may send",
        1021 | 1114 => "the server's disk is full: make room there, then run the same command again",
        1452 => {
            "rows have no parent: mend them on the source, or leave the key out with keys: [primary, unique]"
        }
        1118 => "the columns are too wide for one row: map long ones to longtext",
        3159 => "the server wants TLS: leave sslmode out of the URL, or write sslmode=verify-full",
        _ => return None,
    })
}

/// Replaces what stands in quotes.
fn cut_values(message: &str) -> String {
    match (message.find('\''), message.rfind('\'')) {
        (Some(start), Some(end)) if start < end => {
            format!("{}(value not shown){}", &message[..start], &message[end + 1..])
        }
        (Some(start), _) => message[..start].trim_end().to_string(),
        _ => message.to_string(),
    }
}

fn from_server(doing: &str, error: &ServerError) -> EngineError {
    let message = match error.code {
        // The key's name stands last, and helps.
        1062 => match error.message.rsplit_once(" for key ") {
            Some((_, key)) => format!("duplicate entry for key {key}"),
            None => "duplicate entry".to_string(),
        },
        // So does the column's; the value stands before it.
        1264 | 1265 | 1292 | 1366 if error.message.contains(" for column ") => {
            let place = error.message.rsplit_once(" for column ").map_or("", |(_, place)| place);
            format!("a value does not fit column {place}")
        }
        code if QUOTES_VALUES.contains(&code) => cut_values(&error.message),
        _ => error.message.clone(),
    };
    let made = EngineError::new(cause(error.code), doing, escape(&message)).code(error.code.to_string());
    match next_step(error.code) {
        Some(hint) => made.hint(hint),
        None => made,
    }
}

/// An error of the driver. Its own texts are not shown where they may quote rows.
pub(super) fn from_driver(doing: &str, error: Error) -> EngineError {
    match error {
        Error::Server(error) => from_server(doing, &error),
        Error::Io(IoError::Io(error)) => from_io(doing, &error),
        Error::Io(IoError::Tls(error)) => tls(doing, &format!("{error:?}"), &error.to_string()),
        Error::Driver(error) => from_inside(doing, &error),
        Error::Other(_) | Error::Url(_) => {
            EngineError::new(Cause::Other, doing, "the database driver refused the request")
        }
    }
}

fn from_inside(doing: &str, error: &DriverError) -> EngineError {
    let made = |cause, message: &str| EngineError::new(cause, doing, message);
    match error {
        DriverError::ConnectionClosed | DriverError::PoolDisconnected => {
            made(Cause::Connection, "the server closed the connection").hint(AGAIN)
        }
        DriverError::NoClientSslFlagFromServer => made(Cause::Tls, "the server does not offer TLS").hint(
            "set ssl_cert and ssl_key at the server; or, where nobody can listen, add ?sslmode=disable to the URL",
        ),
        DriverError::LocalInfile(_) => made(
            Cause::NotFound,
            "the server asks for a file of this machine (LOCAL INFILE), which it was not offered; nothing was sent",
        )
        .contract("E314")
        .hint("somebody may stand between you and the server: check host and TLS"),
        DriverError::CleartextPluginDisabled => {
            made(Cause::Authentication, "the server asks for the password in clear text")
                .hint("use an account with caching_sha2_password, ed25519 or mysql_native_password")
        }
        DriverError::UnknownAuthPlugin { .. } | DriverError::MysqlOldPasswordDisabled => {
            made(Cause::Authentication, "the server asks for a way to log in that Towpath does not know")
                .hint("is there such a user? an account may log in by caching_sha2_password, ed25519 or mysql_native_password")
        }
        DriverError::CantParseServerVersion { .. } => {
            made(Cause::NotFound, "not a MySQL or MariaDB server: its greeting has no version")
                .contract("E314")
                .hint("check host and port")
        }
        DriverError::UnexpectedPacket { .. }
        | DriverError::PacketOutOfOrder
        | DriverError::BadCompressedPacketHeader => {
            made(Cause::Connection, "the server answered out of turn").hint(AGAIN)
        }
        DriverError::PacketTooLarge => made(Cause::Data, "a row is larger than one gibibyte"),
        DriverError::FromValue { .. } | DriverError::FromRow { .. } => {
            made(Cause::Other, "the server's answer is not of the expected type")
        }
        _ => made(Cause::Other, "the database driver refused the request"),
    }
}

const AGAIN: &str = "check the network and the server's log, then run the same command again: it continues";

/// A broken connection.
pub(super) fn from_io(doing: &str, error: &std::io::Error) -> EngineError {
    if let Some(found) = tls_error(error) {
        return tls(doing, &format!("{found:?}"), &found.to_string());
    }
    let message = match error.kind() {
        ErrorKind::UnexpectedEof => "the server closed the connection".to_string(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "the connection was cut".to_string(),
        ErrorKind::TimedOut => "the other end stopped answering".to_string(),
        ErrorKind::InvalidData => "the server answered out of turn".to_string(),
        _ => escape(&error.to_string()),
    };
    EngineError::new(Cause::Connection, doing, message).hint(AGAIN)
}

/// A failed handshake, which the driver hands on as a broken connection.
pub(super) fn tls_error(error: &std::io::Error) -> Option<&tokio_rustls::rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// What rustls says; it names certificates, never secrets.
fn tls(doing: &str, text: &str, shown: &str) -> EngineError {
    let (message, hint) = if text.contains("UnknownIssuer") {
        (
            "the server's certificate is not signed by an authority that is trusted here".to_string(),
            "give the authority's certificate with sslrootcert=FILE; of one that the server made for itself, \
             sslmode=require encrypts without looking whose it is",
        )
    } else if text.contains("NotValidForName") || text.contains("not valid for name") {
        ("the server's certificate is for another host name".to_string(), "use the name in the certificate")
    } else if text.contains("xpired") {
        ("the server's certificate has expired".to_string(), "renew it on the server")
    } else if text.contains("CaUsedAsEndEntity") {
        (
            "the server presents an authority's own certificate as its server certificate".to_string(),
            "sign a server certificate with that authority, or write sslmode=require to skip the check",
        )
    } else {
        (escape(shown), "see sslrootcert and sslmode")
    };
    EngineError::new(Cause::Tls, doing, message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(code: u16, message: &str) -> String {
        let error = ServerError { code, message: message.into(), state: "HY000".into() };
        from_server("read", &error).to_string()
    }

    #[test]
    fn s_sec_3_values_are_cut_out() {
        let text = shown(1062, "Duplicate entry 'se'cret' for key 'PRIMARY'");
        assert!(!text.contains("cret") && text.contains("'PRIMARY'"), "{text}");
        let text = shown(1366, "Incorrect string value: '\\xE9cret' for column 'a' at row 1");
        assert!(!text.contains("cret"), "{text}");
        let text = shown(1064, "You have an error in your SQL syntax; near 'secret");
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn s_sec_5_control_characters_are_escaped() {
        let text = shown(1146, "Table 'a.b\n\u{1b}[2J\u{202e}' doesn't exist");
        assert!(!text.contains(['\n', '\u{1b}', '\u{202e}']), "{text}");
    }

    #[test]
    fn classes() {
        for (code, class) in [
            (1045, Cause::Authentication),
            (1142, Cause::Privilege),
            (1213, Cause::Busy),
            (1020, Cause::Busy),
            (1412, Cause::Stale),
            (1040, Cause::Resources),
            (1927, Cause::Connection),
            (1049, Cause::NotFound),
            (1105, Cause::Other),
        ] {
            assert_eq!(cause(code), class, "{code}");
        }
    }
}
