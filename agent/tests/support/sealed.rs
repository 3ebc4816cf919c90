//! An answer's messages with the digest over all of them, computed by the words of its protocol and
//! not by the code under test: for the agent's suites and for the tests in `src/changes`.

use holdfast_api::holdfast::{ChangesResponse, Kind};
use sha2::{Digest, Sha256};

/// The messages of an answer; the last one has the digest.
pub fn sealed(list: Vec<(Kind, Vec<u8>)>) -> Vec<ChangesResponse> {
    let mut sha256 = Sha256::new();
    let message = |(kind, payload): (Kind, Vec<u8>)| {
        sha256.update([u8::try_from(i32::from(kind)).unwrap()]);
        sha256.update((payload.len() as u64).to_le_bytes());
        sha256.update(&payload);
        let digest = sha256.clone().finalize().to_vec();
        let sha256 = if kind == Kind::Trailer { digest } else { Vec::new() };
        ChangesResponse { kind: kind.into(), payload: payload.into(), sha256 }
    };
    list.into_iter().map(message).collect()
}
