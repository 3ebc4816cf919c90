//! Randomness as an argument.
//!
//! Holds: nothing in the format asks the system for chance by itself, so a test with a seeded
//! source writes the same bytes every time.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A source of random bytes.
pub trait Entropy: Send {
    /// Fills the whole buffer with unpredictable bytes.
    fn fill(&mut self, buffer: &mut [u8]);
}

/// The operating system's randomness.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, buffer: &mut [u8]) {
        // Without randomness no id is unique and no salt is fresh: there is nothing sensible to
        // return.
        getrandom::fill(buffer).expect("the system has randomness once it has booted");
    }
}

/// A reproducible stream for tests and models: HMAC-SHA-256 of a counter under the seed. Never for
/// real vaults.
#[derive(Debug, Clone)]
pub struct SeededEntropy {
    seed: u64,
    counter: u64,
}

impl SeededEntropy {
    /// The stream of this seed, from its beginning.
    pub fn new(seed: u64) -> SeededEntropy {
        SeededEntropy { seed, counter: 0 }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(32) {
            let mut mac = Hmac::<Sha256>::new_from_slice(&self.seed.to_le_bytes())
                .expect("HMAC takes keys of any length");
            mac.update(&self.counter.to_le_bytes());
            self.counter += 1;
            let block = mac.finalize().into_bytes();
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    }
}

impl<E: Entropy + ?Sized> Entropy for &mut E {
    fn fill(&mut self, buffer: &mut [u8]) {
        (**self).fill(buffer);
    }
}

impl<E: Entropy + ?Sized> Entropy for Box<E> {
    fn fill(&mut self, buffer: &mut [u8]) {
        (**self).fill(buffer);
    }
}
