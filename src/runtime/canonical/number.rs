//! Numbers: one form for equal values, by digits and never through a float unless they are one.

use crate::catalog::{Cell, RowBatch};

/// 0 or 1 for a truth value in any of its forms.
pub(super) fn truth(cell: Cell, rows: &RowBatch) -> Option<u8> {
    match cell {
        Cell::Bool(value) => Some(u8::from(value)),
        Cell::Int(value @ (0 | 1)) => Some(value as u8),
        Cell::UInt(value @ (0 | 1)) => Some(value as u8),
        Cell::Text { .. } => match rows.data(cell).to_ascii_lowercase().as_slice() {
            b"t" | b"true" | b"1" => Some(1),
            b"f" | b"false" | b"0" => Some(0),
            _ => None,
        },
        _ => None,
    }
}

/// The value as a float.
pub(super) fn float(cell: Cell, rows: &RowBatch) -> Option<f64> {
    match cell {
        Cell::Float(value) => Some(value),
        Cell::Int(value) => Some(value as f64),
        Cell::UInt(value) => Some(value as f64),
        Cell::Text { .. } => std::str::from_utf8(rows.data(cell)).ok()?.trim().parse().ok(),
        _ => None,
    }
}

/// Appends the digits of a number without needless zeros, exponent or plus sign.
pub(super) fn decimal(to: &mut Vec<u8>, cell: Cell, rows: &RowBatch) -> Option<()> {
    match cell {
        Cell::Bool(value) => to.push(b'0' + u8::from(value)),
        Cell::Int(value) => append_text(to, &value.to_string()),
        Cell::UInt(value) => append_text(to, &value.to_string()),
        Cell::Float(value) => decimal_text(to, &value.to_string())?,
        Cell::Text { .. } => decimal_text(to, std::str::from_utf8(rows.data(cell)).ok()?)?,
        Cell::Null | Cell::Bytes { .. } => return None,
    }
    Some(())
}

/// As [`decimal`], of a text such as `-007.50e3`, `NaN` or `-Infinity`.
pub(super) fn decimal_text(to: &mut Vec<u8>, text: &str) -> Option<()> {
    let text = text.trim();
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if let Some(word) = special(digits) {
        append_text(to, if negative && word != "NaN" { "-" } else { "" });
        append_text(to, word);
        return Some(());
    }
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = whole.bytes().chain(fraction.bytes());
    if whole.len() + fraction.len() == 0 || !all.clone().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    write_number(to, negative, all.collect(), whole.len() as i64 + exponent);
    Some(())
}

/// `significant` are the digits, `point` the place of the decimal point among them. Written as
/// sign, digits without zeros at either end, and the place of the point.
fn write_number(to: &mut Vec<u8>, negative: bool, significant: Vec<u8>, point: i64) {
    let Some(first) = significant.iter().position(|digit| *digit != b'0') else {
        return to.push(b'0');
    };
    let last = significant.iter().rposition(|digit| *digit != b'0').unwrap_or(first);
    let (digits, point) = (&significant[first..=last], point - first as i64);
    append_text(to, if negative { "-" } else { "" });
    let length = digits.len() as i64;
    // Numbers beyond any engine's decimals keep their exponent rather than millions of zeros.
    if !(-20_000..=200_000).contains(&point) {
        to.extend_from_slice(digits);
        return append_text(to, &format!("e{point}"));
    }
    if point <= 0 {
        append_text(to, "0.");
        to.extend(std::iter::repeat_n(b'0', (-point) as usize));
        to.extend_from_slice(digits);
    } else if point >= length {
        to.extend_from_slice(digits);
        to.extend(std::iter::repeat_n(b'0', (point - length) as usize));
    } else {
        to.extend_from_slice(&digits[..point as usize]);
        to.push(b'.');
        to.extend_from_slice(&digits[point as usize..]);
    }
}

fn special(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "nan" => Some("NaN"),
        "inf" | "infinity" => Some("Infinity"),
        _ => None,
    }
}

fn append_text(to: &mut Vec<u8>, text: &str) {
    to.extend_from_slice(text.as_bytes());
}
