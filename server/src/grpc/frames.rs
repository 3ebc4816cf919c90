//! gRPC's frames within a body: one byte (compressed or not), four bytes of length, the message.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes before a message.
pub(crate) const HEAD: usize = 5;

/// A message in its frame.
pub(crate) fn framed(message: &[u8]) -> Option<Bytes> {
    let length = u32::try_from(message.len()).ok()?;
    let mut frame = Vec::with_capacity(HEAD + message.len());
    frame.push(0);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(message);
    Some(frame.into())
}

/// Counts messages in a body as its pieces pass, without keeping any.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    head: Vec<u8>,
    left: u64,
}

impl Counting {
    /// How many messages begin in this piece.
    pub(crate) fn count(&mut self, mut piece: &[u8]) -> u64 {
        let mut messages = 0;
        while !piece.is_empty() {
            if self.left > 0 {
                let skipped = piece.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                piece = &piece[skipped..];
                self.left -= skipped as u64;
                continue;
            }
            let wanted = (HEAD - self.head.len()).min(piece.len());
            self.head.extend_from_slice(&piece[..wanted]);
            piece = &piece[wanted..];
            if let [_, a, b, c, d] = self.head[..] {
                messages += 1;
                self.left = u64::from(u32::from_be_bytes([a, b, c, d]));
                self.head.clear();
            }
        }
        messages
    }
}

/// Takes whole messages out of a body's pieces.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    waiting: BytesMut,
}

impl Gathering {
    /// Takes a piece in.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.waiting.extend_from_slice(piece);
    }

    /// The next whole message.
    pub(crate) fn next_message(&mut self) -> Option<Bytes> {
        let length = match self.waiting[..] {
            [_, a, b, c, d, ..] => u32::from_be_bytes([a, b, c, d]) as usize,
            _ => return None,
        };
        if self.waiting.len() < HEAD + length {
            return None;
        }
        self.waiting.advance(HEAD);
        Some(self.waiting.split_to(length).freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn however_a_body_is_cut_its_messages_are_found(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            cut in 1_usize..17,
        ) {
            let body: Vec<u8> =
                messages.iter().flat_map(|message| framed(message).unwrap()).collect();
            let (mut counting, mut gathering, mut found) =
                (Counting::default(), Gathering::default(), Vec::new());
            let mut count = 0;
            for piece in body.chunks(cut) {
                count += counting.count(piece);
                gathering.push(piece);
                while let Some(message) = gathering.next_message() {
                    found.push(message.to_vec());
                }
            }
            prop_assert_eq!(count, messages.len() as u64);
            prop_assert_eq!(found, messages);
        }
    }
}
