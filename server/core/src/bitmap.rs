//! A plain growing bitmap, indexed by a record's position in a scan.

/// One bit per record. Indices are below `len`.
#[derive(Debug, Default)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
    len: u32,
}

impl Bitmap {
    pub(crate) fn push(&mut self, bit: bool) {
        if self.len.is_multiple_of(64) {
            self.words.push(0);
        }
        self.len += 1;
        if bit {
            self.set(self.len - 1);
        }
    }

    pub(crate) fn set(&mut self, at: u32) {
        assert!(at < self.len, "bit {at} of {}", self.len);
        self.words[at as usize / 64] |= 1 << (at % 64);
    }

    pub(crate) fn get(&self, at: u32) -> bool {
        assert!(at < self.len, "bit {at} of {}", self.len);
        self.words[at as usize / 64] >> (at % 64) & 1 == 1
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn count_ones(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_stay_where_they_were_put() {
        let mut bits = Bitmap::default();
        for at in 0..200u32 {
            bits.push(at.is_multiple_of(3));
        }
        bits.set(100);
        assert_eq!((bits.len(), bits.count_ones()), (200, 68));
        assert!((0..200).all(|at| bits.get(at) == (at.is_multiple_of(3) || at == 100)));
    }
}
