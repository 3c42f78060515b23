//! What SQLite's result codes mean to the runtime. Messages are SQLite's own: they name tables,
//! columns and constraints, never the value of a cell. Decides nothing.

use rusqlite::{Error, ErrorCode, ffi};

use crate::engine::{Cause, EngineError};

/// Puts an error of the library into the engine's terms.
pub(super) fn classify(doing: &str, error: Error) -> EngineError {
    match error {
        Error::SqliteFailure(code, message) => failure(doing, code, message),
        Error::SqlInputError { error, msg, .. } => failure(doing, error, Some(msg)),
        Error::QueryReturnedNoRows => {
            EngineError::new(Cause::Stale, doing, "what the plan saw is no longer there")
        }
        other => EngineError::new(Cause::Other, doing, other.to_string()),
    }
}

fn failure(doing: &str, code: ffi::Error, message: Option<String>) -> EngineError {
    let message = message.unwrap_or_else(|| ffi::code_to_str(code.extended_code).to_string());
    let (cause, hint) = meaning(code, &message);
    let error = EngineError::new(cause, doing, message).code(symbol(code));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn meaning(code: ffi::Error, message: &str) -> (Cause, Option<&'static str>) {
    if let ffi::SQLITE_READONLY_ROLLBACK | ffi::SQLITE_READONLY_RECOVERY = code.extended_code {
        let hint =
            "a process was killed while it wrote: the application rolls that back when it opens the file";
        return (Cause::Busy, Some(hint));
    }
    match code.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            (Cause::Busy, Some("another process holds the file; end its transaction, or try again"))
        }
        ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig => (Cause::Data, None),
        ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied | ErrorCode::ReadOnly => {
            (Cause::Privilege, Some("the file and its directory must be writable by this user"))
        }
        ErrorCode::CannotOpen => {
            (Cause::NotFound, Some("check the path and the permissions on its directory"))
        }
        ErrorCode::NotADatabase => (Cause::NotFound, None),
        ErrorCode::DiskFull => {
            (Cause::Resources, Some("free space on the disk, then apply again: it resumes"))
        }
        ErrorCode::OutOfMemory => (Cause::Resources, None),
        ErrorCode::SystemIoFailure => (
            Cause::Resources,
            Some("the disk refused a read or write; check it, then apply again: it resumes"),
        ),
        ErrorCode::DatabaseCorrupt => {
            (Cause::Other, Some("the file is damaged: run sqlite3 FILE 'PRAGMA integrity_check'"))
        }
        ErrorCode::SchemaChanged => (Cause::Stale, Some("plan again")),
        _ if message.starts_with("no such table") || message.starts_with("no such column") => {
            (Cause::Stale, Some("the structure changed since it was read; plan again"))
        }
        _ => (Cause::Other, None),
    }
}

/// True where a journal is there that a reading connection may not roll back.
pub(super) fn is_left_half(error: &EngineError) -> bool {
    let code = format!("SQLITE_READONLY {}", ffi::SQLITE_READONLY_ROLLBACK);
    error.code.as_deref() == Some(code.as_str())
}

/// `SQLITE_BUSY`, with the extended code's number where it says more.
fn symbol(code: ffi::Error) -> String {
    let name = match code.code {
        ErrorCode::DatabaseBusy => "SQLITE_BUSY",
        ErrorCode::DatabaseLocked => "SQLITE_LOCKED",
        ErrorCode::FileLockingProtocolFailed => "SQLITE_PROTOCOL",
        ErrorCode::ConstraintViolation => "SQLITE_CONSTRAINT",
        ErrorCode::TypeMismatch => "SQLITE_MISMATCH",
        ErrorCode::TooBig => "SQLITE_TOOBIG",
        ErrorCode::PermissionDenied => "SQLITE_PERM",
        ErrorCode::AuthorizationForStatementDenied => "SQLITE_AUTH",
        ErrorCode::ReadOnly => "SQLITE_READONLY",
        ErrorCode::CannotOpen => "SQLITE_CANTOPEN",
        ErrorCode::NotADatabase => "SQLITE_NOTADB",
        ErrorCode::DiskFull => "SQLITE_FULL",
        ErrorCode::OutOfMemory => "SQLITE_NOMEM",
        ErrorCode::SystemIoFailure => "SQLITE_IOERR",
        ErrorCode::DatabaseCorrupt => "SQLITE_CORRUPT",
        ErrorCode::SchemaChanged => "SQLITE_SCHEMA",
        ErrorCode::OperationInterrupted => "SQLITE_INTERRUPT",
        _ => "SQLITE_ERROR",
    };
    if code.extended_code > 0xff { format!("{name} {}", code.extended_code) } else { name.to_string() }
}

/// True where a statement ended because it was interrupted.
pub(super) fn interrupted(error: &EngineError) -> bool {
    error.code.as_deref().is_some_and(|code| code.starts_with("SQLITE_INTERRUPT"))
}

/// A value that cannot be carried; `place` names table, column and row, never the value.
pub(super) fn data(doing: &str, place: String, message: impl Into<String>) -> EngineError {
    EngineError::new(Cause::Data, doing, message).on(place)
}
