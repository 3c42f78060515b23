//! Frames of the protocol, taken apart and joined without any I/O (manual, section 55.7). Looks at
//! headers and at small answers; the content of COPY is never looked at.

use std::ops::Range;

use super::wire::Fault;

/// Bytes of a joined frame. The server copies each frame once more before it reads rows from it:
/// so many stay in the processor's cache.
const JOINED_BYTES: usize = 64 << 10;
/// Mean bytes of frames that are worth joining: taking a frame costs the server as much as copying
/// so many bytes costs us.
const NARROW_BYTES: usize = 512;

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

/// What bytes of a COPY begin with.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// So many bytes belong to `d` frames.
    pub bytes: usize,
    /// Frames that end among them.
    pub ended: u64,
    /// Where those lie that are here from their header to their end.
    pub whole: Range<usize>,
    pub stop: Stop,
}

impl Run {
    /// The whole frames are many and small.
    pub fn is_narrow(&self) -> bool {
        self.ended > 2 && self.whole.len() < usize::try_from(self.ended).unwrap_or(0) * NARROW_BYTES
    }
}

/// Finds the `d` frames at the start of the bytes. `rest` is what the last frame still lacks,
/// before and after.
pub fn walk(bytes: &[u8], rest: &mut usize) -> Result<Run> {
    let lead = (*rest).min(bytes.len());
    let mut ended = u64::from(lead > 0 && lead == *rest);
    *rest -= lead;
    let mut at = lead;
    let run = |bytes, ended, at, stop| Ok(Run { bytes, ended, whole: lead..at, stop });
    if *rest > 0 {
        return run(at, ended, at, Stop::More);
    }
    while bytes.len() - at >= 5 {
        if bytes[at] != b'd' {
            return run(at, ended, at, Stop::Other);
        }
        let (_, body) = header(&bytes[at..at + 5])?;
        let end = at + 5 + body;
        if end > bytes.len() {
            *rest = end - bytes.len();
            return run(bytes.len(), ended, at, Stop::More);
        }
        at = end;
        ended += 1;
    }
    // A tag alone tells already, so that CopyDone is not waited for with a byte of it in hand.
    let stop = if bytes.len() > at && bytes[at] != b'd' { Stop::Other } else { Stop::More };
    run(at, ended, at, stop)
}

/// Joins whole `d` frames, in place, and returns how many bytes they are now. Where a message ends
/// says nothing about the rows in it (manual, 55.2.6).
pub fn join(frames: &mut [u8]) -> Result<usize> {
    let (mut from, mut to) = (0, 0);
    // Where the joined frame that is being filled begins.
    let mut open = None;
    while from < frames.len() {
        let (_, body) = header(&frames[from..])?;
        let start = match open {
            Some(start) if to - start + body <= JOINED_BYTES => start,
            _ => {
                let start = to;
                frames[start] = b'd';
                to += 5;
                start
            }
        };
        open = Some(start);
        frames.copy_within(from + 5..from + 5 + body, to);
        from += 5 + body;
        to += body;
        let length = u32::try_from(to - start - 1).map_err(|_| Fault::garbled("a message of 4 GB"))?;
        frames[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
    }
    Ok(to)
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
                let (mut got, mut ended, mut rest, mut start, mut end) = (0, 0, 0, 0, cut);
                loop {
                    let run = walk(&stream[start..end], &mut rest).expect("well formed");
                    got += run.bytes;
                    ended += run.ended;
                    start += run.bytes;
                    if run.stop == Stop::Other {
                        break;
                    }
                    end = (end + second).min(stream.len());
                }
                assert_eq!((got, ended, rest), (data, 6, 0), "cut at {cut}, then by {second}");
            }
        }
    }

    /// The bodies of `d` frames, one after the other.
    fn bodies(frames: &[u8]) -> Vec<u8> {
        let (mut at, mut bodies) = (0, Vec::new());
        while at < frames.len() {
            let (tag, body) = header(&frames[at..]).expect("a header");
            assert_eq!(tag, b'd');
            bodies.extend_from_slice(&frames[at + 5..at + 5 + body]);
            at += 5 + body;
        }
        bodies
    }

    #[test]
    fn f_32_joined_frames_hold_the_same_bytes() {
        let sizes = [[3, 0, 5, 1], [0, 0, 0, 0], [JOINED_BYTES, 1, JOINED_BYTES - 5, 9], [200_000, 1, 2, 3]];
        for sizes in sizes {
            let fill = |(at, size): (usize, &usize)| frame(b'd', &vec![b'a' + at as u8; *size]);
            let mut frames: Vec<u8> = sizes.iter().enumerate().flat_map(fill).collect();
            let before = bodies(&frames);
            let joined = join(&mut frames).expect("well formed");
            assert_eq!(bodies(&frames[..joined]), before, "{sizes:?}");
        }
        let mut small = [frame(b'd', b"ab"), frame(b'd', b"c"), frame(b'd', b"")].concat();
        let joined = join(&mut small).expect("well formed");
        assert_eq!(small[..joined], frame(b'd', b"abc"));
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
