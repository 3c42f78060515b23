//! What a server says, turned into an `EngineError`: class, object, next step. The DETAIL and the
//! CONTEXT of a message are never passed on, because they show rows; quoted values are cut out of
//! the text itself. Codes: PostgreSQL manual, appendix A.

use crate::catalog::name::is_hidden;
use crate::engine::{Cause, EngineError};

/// An ErrorResponse, without what may hold row data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    pub code: String,
    /// As the server wrote it; may still quote a value. Shown only through [`engine_error`].
    message: String,
    hint: Option<String>,
    pub schema: Option<String>,
    pub table: Option<String>,
    pub column: Option<String>,
    pub constraint: Option<String>,
    /// Line of the COPY that failed, counted from 1, and its column, from the CONTEXT.
    pub copy_line: Option<u64>,
    pub copy_column: Option<String>,
    /// How many statements of the same message had succeeded before.
    pub statement: usize,
}

impl ServerError {
    /// Reads the body of an ErrorResponse: pairs of a letter and a text (manual, section 55.8).
    pub fn parse(body: &[u8]) -> Self {
        let mut error = Self::default();
        let mut rest = body;
        while let Some((&kind, after)) = rest.split_first().filter(|(kind, _)| **kind != 0) {
            let end = after.iter().position(|byte| *byte == 0).unwrap_or(after.len());
            error.set(kind, String::from_utf8_lossy(&after[..end]).into_owned());
            rest = after.get(end + 1..).unwrap_or(&[]);
        }
        error
    }

    fn set(&mut self, kind: u8, value: String) {
        match kind {
            b'C' => self.code = value,
            b'M' => self.message = value,
            b'H' => self.hint = Some(value),
            b's' => self.schema = Some(value),
            b't' => self.table = Some(value),
            b'c' => self.column = Some(value),
            b'n' => self.constraint = Some(value),
            b'W' => (self.copy_line, self.copy_column) = copy_place(&value),
            _ => {}
        }
    }

    /// For messages that come through sqlx.
    pub fn from_database(error: &sqlx::postgres::PgDatabaseError) -> Self {
        let own = |text: Option<&str>| text.map(str::to_string);
        let (copy_line, copy_column) = error.r#where().map(copy_place).unwrap_or_default();
        Self {
            code: error.code().to_string(),
            message: error.message().to_string(),
            hint: own(error.hint()),
            schema: own(error.schema()),
            table: own(error.table()),
            column: own(error.column()),
            constraint: own(error.constraint()),
            copy_line,
            copy_column,
            statement: 0,
        }
    }

    /// Whether a value of a row is the name of an object that is not there, as of a `regclass`.
    fn is_of_a_name(&self) -> bool {
        let unknown = ["42P01", "42704", "42883", "42725", "42602", "3F000"].contains(&self.code.as_str());
        unknown && self.copy_column.is_some()
    }

    /// Whether somebody made an object at the same time, if only one of a name that the server gives (the
    /// array type of `t` is `_t`).
    fn is_of_the_catalog(&self) -> bool {
        self.code == "23505" && self.schema.as_deref() == Some("pg_catalog")
    }

    /// The server's words without values and control characters.
    pub fn shown(&self) -> String {
        let class = self.code.get(..2).unwrap_or("");
        let holds_values =
            class == "22" && !matches!(self.code.as_str(), "22P04" | "22001") || self.is_of_a_name();
        let text = if holds_values { cut_values(&self.message) } else { self.message.clone() };
        escape(&text)
    }
}

/// Line and column out of `COPY name, line 12, column a: "..."`; the value is not kept. The line
/// is looked for from the end of the part before the first quote or colon after `, line `.
fn copy_place(context: &str) -> (Option<u64>, Option<String>) {
    let first = context.lines().find(|line| line.starts_with("COPY "));
    let Some((_, after)) = first.and_then(|line| line.split_once(", line ")) else { return (None, None) };
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    let column = after[digits.len()..].strip_prefix(", column ");
    let column = column.map(|text| text.split(": ").next().unwrap_or(text).to_string());
    (digits.parse().ok(), column)
}

/// Replaces what stands in quotes; a message with a colon and no closing quote loses its end.
fn cut_values(message: &str) -> String {
    let opens = |c: char| matches!(c, '"' | '«' | '„' | '“' | '»');
    let Some(start) = message.find(opens) else {
        return message.split(": ").next().unwrap_or(message).to_string();
    };
    let closes = |c: char| matches!(c, '"' | '»' | '”' | '“' | '«');
    let open = message[start..].chars().next().map_or(1, char::len_utf8);
    let rest = &message[start + open..];
    // The last closing quote: a value may hold quotes itself.
    let after = rest.rfind(closes).map_or("", |end| {
        let close = rest[end..].chars().next().map_or(1, char::len_utf8);
        &rest[end + close..]
    });
    let after = after.split(": ").next().unwrap_or(after);
    format!("{}(value not shown){after}", &message[..start])
}

/// Makes characters that a terminal acts on visible.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_hidden(c) {
            true => out.extend(c.escape_unicode()),
            false => out.push(c),
        }
    }
    out
}

/// The class of a SQLSTATE.
pub fn cause(code: &str) -> Cause {
    match code {
        "28P01" | "28000" => Cause::Authentication,
        "42501" => Cause::Privilege,
        "40001" | "40P01" | "55P03" | "57014" | "55006" => Cause::Busy,
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => Cause::Connection,
        "3D000" => Cause::NotFound,
        "3F000" | "42P01" | "42703" | "42704" | "42883" => Cause::Stale,
        _ => match code.get(..2).unwrap_or("") {
            "08" => Cause::Connection,
            "53" | "58" => Cause::Resources,
            // Too long for an index, too many columns: more room would not help.
            "22" | "23" | "54" => Cause::Data,
            "28" => Cause::Authentication,
            _ => Cause::Other,
        },
    }
}

/// What a person at two in the morning needs to know next.
fn next_step(error: &ServerError) -> Option<String> {
    let text = match error.code.as_str() {
        _ if error.is_of_the_catalog() => {
            "another session made an object of that name at the same time: run the same command again"
        }
        _ if error.is_of_a_name() => {
            "a value of this column names an object that is not on the target: make it there, or carry the names as \
             text with `type: text` for this column"
        }
        "28P01" => "check user and password of this URL; the server does not say which of the two is wrong",
        "28000" => "the server's pg_hba.conf has no line that lets this user in from here",
        "42501" => "grant what is missing to the role of this URL, or use another role",
        "53100" => "the server's disk is full: make room there, then run the same command again",
        "53200" => "the server is out of memory: lower its work_mem or our number of sessions",
        "53300" => {
            "no connection slot is free: lower the number of readers and writers, or raise max_connections"
        }
        "53400" => "a limit of the server's configuration was reached",
        "55P03" => "another session holds a lock on this table; see pg_locks for who",
        "40P01" => "two sessions waited for each other; nothing was written, run the same command again",
        "25006" => {
            "it is a standby (use the address of the primary), or default_transaction_read_only is set for this role \
             or database: ALTER ROLE ... RESET default_transaction_read_only"
        }
        "57P01" => "the server closed this session; run the same command again",
        "57P03" => "the server is starting up or shutting down; try again in a moment",
        "3D000" => "create the database first: Towpath never creates databases",
        "23505" => "the rows hold a duplicate that this key does not allow",
        "23503" => {
            "a row points to a parent that is not there; while rows are loaded it may still come: drop this foreign \
             key of the target, the plan makes it again after the rows"
        }
        // The server would have everything truncated that refers to it.
        "0A000" if error.message.contains("truncate") => {
            "drop the foreign keys of the target that refer to it: the plan makes them again after the rows"
        }
        "08P01" if error.message.contains("startup parameter") => {
            "this looks like a connection pooler; use the address of the server itself"
        }
        _ => return server_hint(error),
    };
    Some(text.to_string())
}

/// The server's own hint, where its class shows no row data.
fn server_hint(error: &ServerError) -> Option<String> {
    let class = error.code.get(..2).unwrap_or("");
    error.hint.as_deref().filter(|_| !matches!(class, "22" | "23" | "P0")).map(escape)
}

/// The error with everything that helps and nothing that must not be seen.
pub fn engine_error(doing: &str, error: &ServerError) -> EngineError {
    let mut message = error.shown();
    if let Some(line) = error.copy_line {
        message.push_str(&format!(", at row {line} of this copy"));
    }
    if let Some(column) = error.copy_column.as_deref().or(error.column.as_deref()) {
        message.push_str(&format!(", column {}", crate::catalog::name::show(column)));
    }
    let cause = match cause(&error.code) {
        _ if error.is_of_a_name() => Cause::Data,
        _ if error.is_of_the_catalog() => Cause::Busy,
        cause => cause,
    };
    let mut made = EngineError::new(cause, doing, message).code(error.code.clone());
    if let Some(table) = &error.table {
        let schema = error.schema.clone().unwrap_or_default();
        made.object = Some(crate::catalog::Name::new(schema, table).to_string());
    }
    made.hint = next_step(error);
    made
}

/// An error of sqlx. Its own texts for configuration are not shown: they may quote options.
pub fn from_sqlx(doing: &str, error: sqlx::Error) -> EngineError {
    match error {
        sqlx::Error::Database(database) => {
            match database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
                Some(found) => engine_error(doing, &ServerError::from_database(found)),
                None => EngineError::new(Cause::Other, doing, "the server reported an unknown error"),
            }
        }
        sqlx::Error::Io(error) => from_io(doing, &error),
        sqlx::Error::Tls(error) => EngineError::new(Cause::Tls, doing, escape(&error.to_string())),
        sqlx::Error::Protocol(text) => EngineError::new(Cause::Connection, doing, escape(&text)),
        sqlx::Error::RowNotFound => EngineError::new(Cause::Other, doing, "no row where one was expected"),
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            EngineError::new(Cause::Connection, doing, "the connection is gone")
        }
        sqlx::Error::ColumnDecode { index, .. } => EngineError::new(
            Cause::Other,
            doing,
            format!("column {} of the answer is not as expected", escape(&index)),
        ),
        _ => EngineError::new(Cause::Other, doing, "the database driver refused the request"),
    }
}

/// A broken connection.
pub fn from_io(doing: &str, error: &std::io::Error) -> EngineError {
    let message = match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the server closed the connection".to_string(),
        std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => {
            "the connection was cut".to_string()
        }
        std::io::ErrorKind::TimedOut => "the other end stopped answering".to_string(),
        _ => escape(&error.to_string()),
    };
    EngineError::new(Cause::Connection, doing, message)
        .hint("check the network and the server's log, then run the same command again: it continues")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: &str, message: &str) -> ServerError {
        ServerError { code: code.into(), message: message.into(), ..ServerError::default() }
    }

    #[test]
    fn s_sec_3_values_are_cut_out() {
        let shown = |code, text| engine_error("load", &server(code, text)).to_string();
        let text = shown("22P02", r#"invalid input syntax for type integer: "se"cret""#);
        assert!(!text.contains("cret"), "{text}");
        assert!(text.contains("invalid input syntax for type integer"), "{text}");
        let text = shown("22003", r#"value "99999" is out of range for type integer"#);
        assert!(!text.contains("99999") && text.contains("out of range for type integer"), "{text}");
        let text = shown("22021", r#"invalid byte sequence for encoding "UTF8": 0xff"#);
        assert!(!text.contains("0xff"), "{text}");
        let text = shown("22P02", "syntaxe en entrée invalide pour le type integer : « secret »");
        assert!(!text.contains("secret"), "{text}");
        let text = shown("22P02", "ungültige Syntax für Typ integer: „secret“");
        assert!(!text.contains("secret"), "{text}");
        assert!(
            shown("23505", r#"duplicate key value violates unique constraint "t_pkey""#).contains("t_pkey")
        );
    }

    #[test]
    fn s_sec_3_a_value_that_names_an_object_is_cut_out() {
        for (code, text) in
            [("42P01", "relation \"secret\" does not exist"), ("3F000", "schema \"secret\" does not exist")]
        {
            let mut error = server(code, text);
            error.set(b'W', "COPY t, line 1, column what: \"secret\"".into());
            let made = engine_error("load", &error);
            assert_eq!(made.cause, Cause::Data);
            let text = made.to_string();
            assert!(!text.contains("secret") && text.contains("column what"), "{text}");
            assert!(made.hint.is_some_and(|hint| hint.contains("type: text")));
        }
    }

    #[test]
    fn a_name_that_somebody_takes_meanwhile_is_tried_again() {
        let mut error = server("23505", "duplicate key value violates unique constraint");
        assert_eq!(engine_error("run", &error).cause, Cause::Data);
        error.set(b's', "pg_catalog".into());
        assert_eq!(engine_error("run", &error).cause, Cause::Busy);
    }

    #[test]
    fn s_sec_5_control_characters_are_escaped() {
        let text =
            engine_error("load", &server("42P07", "relation \"a\n\u{1b}[2J\u{202e}\" exists")).to_string();
        assert!(!text.contains(['\n', '\u{1b}', '\u{202e}']), "{text}");
    }

    #[test]
    fn the_place_in_a_copy_is_kept_without_the_value() {
        assert_eq!(copy_place("COPY t, line 12, column a b: \"secret\""), (Some(12), Some("a b".into())));
        assert_eq!(copy_place("COPY t, line 3: \"secret\ttext\""), (Some(3), None));
        assert_eq!(copy_place("SQL function \"f\" statement 1"), (None, None));
        assert_eq!(
            copy_place("JSON data, line 1: secret\nCOPY t, line 2, column j: \"secret\""),
            (Some(2), Some("j".into()))
        );
    }

    #[test]
    fn classes() {
        assert_eq!(cause("28P01"), Cause::Authentication);
        assert_eq!(cause("42501"), Cause::Privilege);
        assert_eq!(cause("40P01"), Cause::Busy);
        assert_eq!(cause("53100"), Cause::Resources);
        assert_eq!(cause("54000"), Cause::Data);
        assert_eq!(cause("23505"), Cause::Data);
        assert_eq!(cause("22P02"), Cause::Data);
        assert_eq!(cause("57P01"), Cause::Connection);
        assert_eq!(cause("3D000"), Cause::NotFound);
        assert_eq!(cause("3F000"), Cause::Stale);
        assert_eq!(cause("XX000"), Cause::Other);
    }
}
