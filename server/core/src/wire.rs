//! Protocol buffers' wire format: a field reader that borrows, and a writer that appends.
//!
//! The formats of a member need exact bytes: HashKV is a checksum over encoded messages, and
//! upstream writes some zero scalars and leaves others out. So the few messages here are read and
//! written by hand, field by field. The reader never panics, never allocates, and knows where it
//! stands, so that an error names an offset.

/// One field of a message as it lies in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1, little-endian.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5, little-endian.
    Fixed32(u32),
}

/// Bytes that are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a protobuf message: {reason} at byte {offset}")]
pub struct WireError {
    /// Offset of the failing field or byte in the message.
    pub offset: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

/// Walks the fields of a message in the order they lie.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of a message.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    /// The next field as (number, content), or `None` at the end of the message.
    ///
    /// # Errors
    /// A cut varint or payload, a field number of zero, or a group (which nothing of etcd's uses).
    pub fn next_field(&mut self) -> Result<Option<(u64, Field<'a>)>, WireError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let start = self.at;
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 {
            return Err(WireError { offset: start, reason: "field number zero" });
        }
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = self.varint()?;
                Field::Bytes(self.take(len)?)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(WireError { offset: start, reason: "unsupported wire type" }),
        };
        Ok(Some((number, field)))
    }

    /// Bytes consumed so far.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// An error at the current offset, for a caller that finds a field of the wrong shape.
    pub fn wrong(&self, reason: &'static str) -> WireError {
        WireError { offset: self.at, reason }
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let bad = WireError { offset: self.at, reason: "varint cut short or above 64 bits" };
        let (value, len) = split_varint(&self.bytes[self.at..]).ok_or(bad)?;
        self.at += len;
        Ok(value)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], WireError> {
        let rest = &self.bytes[self.at..];
        let len = usize::try_from(len).ok().filter(|len| *len <= rest.len());
        let Some(len) = len else {
            return Err(WireError { offset: self.at, reason: "length beyond the message" });
        };
        self.at += len;
        Ok(&rest[..len])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let offset = self.at;
        let taken = self.take(N as u64)?;
        taken.try_into().map_err(|_| WireError { offset, reason: "fixed-width field cut short" })
    }
}

impl<'a> Field<'a> {
    /// The value of a varint field.
    ///
    /// # Errors
    /// Any other wire type.
    pub fn as_u64(self, reader: &Reader<'_>) -> Result<u64, WireError> {
        match self {
            Field::Varint(value) => Ok(value),
            _ => Err(reader.wrong("expected a varint")),
        }
    }

    /// The value of a varint field that upstream declares as int64: two's complement.
    ///
    /// # Errors
    /// Any other wire type.
    pub fn as_i64(self, reader: &Reader<'_>) -> Result<i64, WireError> {
        self.as_u64(reader).map(u64::cast_signed)
    }

    /// The value of a varint field that upstream declares as 32 bits wide.
    ///
    /// # Errors
    /// Any other wire type, or a value above 32 bits.
    pub fn as_u32(self, reader: &Reader<'_>) -> Result<u32, WireError> {
        u32::try_from(self.as_u64(reader)?).map_err(|_| reader.wrong("value above 32 bits"))
    }

    /// The content of a length-delimited field.
    ///
    /// # Errors
    /// Any other wire type.
    pub fn as_bytes(self, reader: &Reader<'_>) -> Result<&'a [u8], WireError> {
        match self {
            Field::Bytes(bytes) => Ok(bytes),
            _ => Err(reader.wrong("expected bytes")),
        }
    }
}

/// The varint at the start of `bytes` and its length, or `None` if it is cut or above 64 bits.
pub fn split_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        if at == 9 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            return Some((value, at + 1));
        }
    }
    None
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Appends a varint field, also when it is zero (as proto2 messages of raft do).
pub fn put_u64(out: &mut Vec<u8>, number: u64, value: u64) {
    put_varint(out, number << 3);
    put_varint(out, value);
}

/// Appends a varint field unless it is zero (proto3).
pub fn put_u64_nonzero(out: &mut Vec<u8>, number: u64, value: u64) {
    if value != 0 {
        put_u64(out, number, value);
    }
}

/// Appends a length-delimited field, also when it is empty.
pub fn put_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a length-delimited field unless it is empty (proto3).
pub fn put_bytes_nonempty(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_bytes(out, number, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_come_back(value: u64) {
            let mut out = Vec::new();
            put_u64(&mut out, 3, value);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.next_field().unwrap(), Some((3, Field::Varint(value))));
            prop_assert_eq!(reader.next_field().unwrap(), None);
        }

        #[test]
        fn garbage_never_panics_and_always_ends(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut reader = Reader::new(&bytes);
            for _ in 0..=bytes.len() {
                match reader.next_field() {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return Ok(()),
                }
            }
            prop_assert!(false, "more fields than bytes");
        }
    }

    #[test]
    fn refuses_what_is_cut_or_too_long() {
        for bytes in [&[0x80][..], &[0x0a, 5, 1], &[0x00, 0], &[0x0b], &[0x09, 1, 2]] {
            assert!(Reader::new(bytes).next_field().is_err(), "{bytes:?}");
        }
        let eleven = [0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2];
        assert_eq!(Reader::new(&eleven).next_field().unwrap_err().offset, 1);
    }
}
