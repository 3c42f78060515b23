//! Compressed events of MariaDB (`log_bin_compress`): one byte that says how and how long, the
//! length of what comes out, then a zlib stream.

use std::io::Read;

use flate2::read::ZlibDecoder;

/// Unpacks over what `out` held; none where the bytes are not of that form, or give another length.
pub(super) fn unpack(packed: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (head, rest) = packed.split_first()?;
    // The highest bit is always set, the next three are the method: zero for zlib.
    if head & 0x80 == 0 || head >> 4 & 7 != 0 {
        return None;
    }
    let bytes = usize::from(head & 7);
    let (length, stream) = rest.split_at_checked(bytes).filter(|_| (1..=4).contains(&bytes))?;
    let length = length.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
    out.clear();
    // One byte more than promised shows that there is more.
    let read = ZlibDecoder::new(stream).take(length as u64 + 1).read_to_end(out).ok()?;
    (read == length).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `hello hello hello hello` as zlib packs it.
    const PACKED: [u8; 16] =
        [0x78, 0x9C, 0xCB, 0x48, 0xCD, 0xC9, 0xC9, 0x57, 0xC8, 0x40, 0x27, 0x01, 0x68, 0x03, 0x08, 0xB1];

    #[test]
    fn f_50_compressed_events_are_unpacked_or_refused() {
        let mut packed = vec![0x81, 23];
        packed.extend_from_slice(&PACKED);
        let mut out = Vec::new();
        assert_eq!(unpack(&packed, &mut out), Some(()));
        assert_eq!(out, b"hello hello hello hello");
        packed[1] = 22;
        assert_eq!(unpack(&packed, &mut out), None, "another length");
        packed[1] = 23;
        packed[0] = 0x91;
        assert_eq!(unpack(&packed, &mut out), None, "another method");
        assert_eq!(unpack(&[], &mut out), None);
    }
}
