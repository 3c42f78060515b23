//! Exact changes of a value's class. SQLite's own CAST makes 0 of `abc`; these refuse instead. Used
//! by the writer, and as SQL function `towpath_cast` where the source converts while it reads.

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Error};

use super::types::{Affinity, affinity};

/// Makes `towpath_cast(value, 'declared type')` and `towpath_is_text(value)` (false for a text that
/// is not UTF-8) known to a connection.
pub(super) fn register(conn: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    conn.create_scalar_function("towpath_is_text", 1, flags, |context: &Context<'_>| {
        Ok(match context.get_raw(0) {
            ValueRef::Text(bytes) => std::str::from_utf8(bytes).is_ok(),
            _ => true,
        })
    })?;
    conn.create_scalar_function("towpath_cast", 2, flags, |context: &Context<'_>| {
        let to: String = context.get(1)?;
        let value = context.get_raw(0);
        cast(value, &to).map(ToSqlOutput::Owned).map_err(|why| Error::UserFunctionError(why.into()))
    })
}

/// The value in the class that a column of this declared type holds, without loss.
pub(super) fn cast(value: ValueRef<'_>, declared: &str) -> Result<Value, String> {
    let refused = || format!("a value of class {} is not exactly a {declared}", value.data_type());
    let as_is = || Value::try_from(value).map_err(|_| "a text is not valid UTF-8".to_string());
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_string);
    let found = match (affinity(declared), value) {
        (_, ValueRef::Null) => Some(Value::Null),
        (Affinity::Integer, ValueRef::Real(real)) => integer_of_real(real).map(Value::Integer),
        (Affinity::Integer, ValueRef::Text(bytes)) => integer_of_text(bytes).map(Value::Integer),
        (Affinity::Integer, ValueRef::Integer(integer)) => Some(Value::Integer(integer)),
        (Affinity::Real, ValueRef::Real(real)) => Some(Value::Real(real)),
        (Affinity::Real, ValueRef::Integer(integer)) => real_of_integer(integer).map(Value::Real),
        (Affinity::Real, ValueRef::Text(bytes)) => real_of_text(bytes).map(Value::Real),
        (Affinity::Text, ValueRef::Text(bytes)) => text(bytes).map(Value::Text),
        (Affinity::Text, ValueRef::Integer(integer)) => Some(Value::Text(integer.to_string())),
        (Affinity::Text, ValueRef::Real(real)) => Some(Value::Text(decimal_of_real(real))),
        (Affinity::Blob, ValueRef::Text(bytes)) if declared.eq_ignore_ascii_case("BLOB") => {
            Some(Value::Blob(bytes.to_vec()))
        }
        (Affinity::Blob, ValueRef::Blob(bytes)) => Some(Value::Blob(bytes.to_vec())),
        (Affinity::Blob, _) if declared.eq_ignore_ascii_case("BLOB") => None,
        (Affinity::Blob | Affinity::Numeric, _) => return as_is(),
        _ => None,
    };
    found.ok_or_else(refused)
}

/// The integer that a floating-point number is exactly.
pub(super) fn integer_of_real(real: f64) -> Option<i64> {
    // 2^63 is representable, i64::MAX is not: the bound must exclude it.
    let inside = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&real);
    (inside && real.fract() == 0.0).then_some(real as i64)
}

/// The floating-point number that an integer is exactly.
pub(super) fn real_of_integer(integer: i64) -> Option<f64> {
    let real = integer as f64;
    (integer_of_real(real) == Some(integer)).then_some(real)
}

pub(super) fn integer_of_text(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The finite number that a text spells; the nearest one where it has more digits.
pub(super) fn real_of_text(text: &[u8]) -> Option<f64> {
    let plain = text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    let real: f64 = std::str::from_utf8(text).ok().filter(|_| plain)?.parse().ok()?;
    real.is_finite().then_some(real)
}

/// The shortest decimal digits that read back as the same number, without an exponent.
pub(super) fn decimal_of_real(real: f64) -> String {
    if real.is_infinite() {
        return if real > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    format!("{real}")
}

/// True for `[-+]digits[.digits][e[-+]digits]` with at least one digit before the exponent.
pub(super) fn is_decimal(text: &[u8]) -> bool {
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let unsigned = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    let mut halves = unsigned.splitn(2, |byte| matches!(byte, b'e' | b'E'));
    let mantissa = halves.next().unwrap_or(b"");
    if let Some(exponent) = halves.next() {
        let bare = exponent.strip_prefix(b"-").or_else(|| exponent.strip_prefix(b"+")).unwrap_or(exponent);
        if !digits(bare) {
            return false;
        }
    }
    match mantissa.iter().position(|byte| *byte == b'.') {
        None => digits(mantissa),
        Some(dot) => {
            let (whole, fraction) = (&mantissa[..dot], &mantissa[dot + 1..]);
            (digits(whole) && (fraction.is_empty() || digits(fraction)))
                || (whole.is_empty() && digits(fraction))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_keeps_the_value_or_refuses_it() {
        let text = |text: &'static str| ValueRef::Text(text.as_bytes());
        assert_eq!(cast(text("12"), "INTEGER"), Ok(Value::Integer(12)));
        assert!(cast(text("12x"), "INTEGER").is_err());
        assert!(cast(ValueRef::Real(1.5), "INTEGER").is_err());
        assert!(cast(ValueRef::Real(9.223_372_036_854_776e18), "INTEGER").is_err());
        assert_eq!(cast(ValueRef::Real(2.0), "bigint"), Ok(Value::Integer(2)));
        assert!(cast(ValueRef::Integer((1 << 53) + 1), "REAL").is_err());
        assert_eq!(cast(ValueRef::Real(1e21), "TEXT"), Ok(Value::Text("1000000000000000000000".into())));
        assert_eq!(cast(ValueRef::Null, "TEXT"), Ok(Value::Null));
        assert!(cast(ValueRef::Integer(1), "BLOB").is_err());
        assert_eq!(cast(ValueRef::Integer(1), "ANY"), Ok(Value::Integer(1)));
    }

    #[test]
    fn decimals_are_told_from_other_texts() {
        for good in ["0", "-1.50", "+2", ".5", "5.", "1e10", "1.5E-3"] {
            assert!(is_decimal(good.as_bytes()), "{good}");
        }
        for bad in ["", ".", "-", "abc", "1e", "1 ", "0x10", "1.2.3", "NaN"] {
            assert!(!is_decimal(bad.as_bytes()), "{bad}");
        }
    }
}
