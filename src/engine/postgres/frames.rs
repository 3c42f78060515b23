//! Frames of the protocol, taken apart without any I/O (manual, section 55.7). Looks at headers
//! and at small answers; the content of COPY is never looked at.

use super::wire::Fault;

type Result<T> = std::result::Result<T, Fault>;

/// Tag and body length of the frame at the start.
pub fn header(bytes: &[u8]) -> Result<(u8, usize)> {
    let length = i32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
    match usize::try_from(length) {
        Ok(length) if length >= 4 => Ok((bytes[0], length - 4)),
        _ => Err(Fault::garbled("a message with an impossible length")),
    }
}

/// Why a walk ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// The bytes are used up, or less than a header is left.
    More,
    /// A frame follows that is no CopyData.
    Other,
}

/// How many of these bytes belong to `d` frames. `rest` is what the last frame still lacks,
/// before and after.
pub fn walk(bytes: &[u8], rest: &mut usize) -> Result<(usize, Stop)> {
    let mut at = (*rest).min(bytes.len());
    *rest -= at;
    if *rest > 0 {
        return Ok((at, Stop::More));
    }
    while bytes.len() - at >= 5 {
        if bytes[at] != b'd' {
            return Ok((at, Stop::Other));
        }
        let (_, body) = header(&bytes[at..at + 5])?;
        let end = at + 5 + body;
        if end > bytes.len() {
            *rest = end - bytes.len();
            return Ok((bytes.len(), Stop::More));
        }
        at = end;
    }
    // A tag alone tells already, so that CopyDone is not waited for with a byte of it in hand.
    let stop = if bytes.len() > at && bytes[at] != b'd' { Stop::Other } else { Stop::More };
    Ok((at, stop))
}

/// The cells of a DataRow.
pub fn cells(body: &[u8]) -> Result<Vec<Option<String>>> {
    let short = || Fault::garbled("a row that ends early");
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(short)?;
    let mut row = Vec::with_capacity(u16::from_be_bytes(*count).into());
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            row.push(None);
            rest = after;
            continue;
        };
        let (cell, after) = after.split_at_checked(length).ok_or_else(short)?;
        row.push(Some(String::from_utf8_lossy(cell).into_owned()));
        rest = after;
    }
    Ok(row)
}

/// The text of a CommandComplete.
pub fn tag_text(body: &[u8]) -> String {
    String::from_utf8_lossy(body.strip_suffix(&[0]).unwrap_or(body)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        bytes.extend(u32::try_from(body.len() + 4).expect("small").to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn f_32_frames_are_found_wherever_the_bytes_are_cut() {
        let mut stream = Vec::new();
        for size in [0, 1, 7, 300, 5, 4] {
            stream.extend(frame(b'd', &vec![b'x'; size]));
        }
        let data = stream.len();
        stream.extend(frame(b'c', b""));
        for cut in 1..stream.len() {
            for second in [1, 3, 5, 64] {
                let (mut got, mut rest, mut start, mut end) = (0, 0, 0, cut);
                loop {
                    let (run, stop) = walk(&stream[start..end], &mut rest).expect("well formed");
                    got += run;
                    start += run;
                    if stop == Stop::Other {
                        break;
                    }
                    end = (end + second).min(stream.len());
                }
                assert_eq!((got, rest), (data, 0), "cut at {cut}, then by {second}");
            }
        }
    }

    #[test]
    fn impossible_lengths_are_errors() {
        assert!(walk(&[b'd', 0, 0, 0, 3], &mut 0).is_err());
        assert!(walk(&[b'd', 0xff, 0, 0, 0], &mut 0).is_err());
    }

    #[test]
    fn rows_are_cut_at_their_lengths() {
        let body = [0, 3, 0, 0, 0, 1, b'a', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert_eq!(cells(&body).expect("a row"), [Some("a".into()), None, Some(String::new())]);
        assert!(cells(&body[..8]).is_err());
    }
}
