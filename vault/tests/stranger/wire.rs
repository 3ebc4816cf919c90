//! Protobuf and varints, as far as docs/FORMAT.md and the field numbers of proto/vault.proto need
//! them.

use std::collections::BTreeMap;

/// A message: the values of each field, in order.
#[derive(Debug, Default, Clone)]
pub struct Message(BTreeMap<u64, Vec<Field>>);

#[derive(Debug, Clone)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

/// Takes LEB128 off the front.
pub fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0u64, 0);
    loop {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

/// Takes a varint that must be no negative number.
pub fn number(bytes: &mut &[u8]) -> i64 {
    i64::try_from(varint(bytes)).unwrap()
}

/// Takes so many bytes off the front.
pub fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (front, rest) = bytes.split_at(count);
    *bytes = rest;
    front
}

/// Takes a piece that a varint measures.
pub fn piece<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let length = usize::try_from(varint(bytes)).unwrap();
    take(bytes, length)
}

impl Message {
    pub fn parse(mut bytes: &[u8]) -> Message {
        let mut message = Message::default();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let field = match tag & 7 {
                0 => Field::Number(varint(&mut bytes)),
                2 => Field::Bytes(piece(&mut bytes).to_vec()),
                other => panic!("wire type {other}: proto/vault.proto has no such field"),
            };
            message.0.entry(tag >> 3).or_default().push(field);
        }
        message
    }

    pub fn number(&self, field: u64) -> u64 {
        match self.0.get(&field).and_then(|values| values.last()) {
            Some(Field::Number(value)) => *value,
            Some(Field::Bytes(_)) => panic!("field {field} is no number"),
            None => 0,
        }
    }

    /// An int64.
    pub fn signed(&self, field: u64) -> i64 {
        self.number(field).cast_signed()
    }

    pub fn bytes(&self, field: u64) -> Vec<u8> {
        self.list(field).pop().unwrap_or_default()
    }

    pub fn list(&self, field: u64) -> Vec<Vec<u8>> {
        let values = self.0.get(&field).into_iter().flatten();
        values
            .map(|value| match value {
                Field::Bytes(bytes) => bytes.clone(),
                Field::Number(_) => panic!("field {field} is a number"),
            })
            .collect()
    }

    pub fn has(&self, field: u64) -> bool {
        self.0.contains_key(&field)
    }

    pub fn message(&self, field: u64) -> Message {
        Message::parse(&self.bytes(field))
    }

    pub fn messages(&self, field: u64) -> Vec<Message> {
        self.list(field).iter().map(|bytes| Message::parse(bytes)).collect()
    }
}
