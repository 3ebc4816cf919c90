//! snapshot save: a member's database into a file.
//!
//! Must hold: the file has its name only when all of it is on the disk and its SHA-256 is right;
//! what is under way stands in `<name>.part`, readable by its owner only, and is removed when it
//! fails.

use super::session::{Call, Session};
use crate::failure::Failure;
use crate::go::size;
use holdfast_api::etcdserverpb::SnapshotRequest;
use holdfast_core::duration::GoDuration;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of the digest at the end of the stream.
const DIGEST_BYTES: usize = 32;
/// Between two pieces of the stream.
const STALL: Duration = Duration::from_secs(60);

/// `snapshot save`
pub(super) async fn save(call: &Call) -> Result<(), Failure> {
    let [path] = call.given.arguments() else {
        return Err(Failure::arguments("snapshot save expects one argument <filename>"));
    };
    let path = Path::new(path);
    let endpoints = call.given.list("endpoints");
    if endpoints.len() != 1 {
        let words =
            format!("snapshot must be requested to one selected node, not multiple {endpoints:?}");
        return Err(Failure::interrupted(words));
    }
    let session = call.session()?;
    let start = Instant::now();
    // Without the option the stream may take as long as it needs.
    let limit = call.given.is_given("command-timeout").then(|| call.given.span("command-timeout"));
    let mut part = Part::create(path).map_err(|why| Failure::interrupted(why.to_string()))?;
    let fetched = match limit {
        None => fetch(&session, &mut part).await,
        Some(limit) => tokio::time::timeout(limit, fetch(&session, &mut part))
            .await
            .unwrap_or_else(|_| Err(Failure::interrupted("context deadline exceeded"))),
    };
    let (size_bytes, version) = fetched?;
    part.keep(path).map_err(|why| Failure::interrupted(why.to_string()))?;
    let (took, shown) = (GoDuration::from(start.elapsed()), size::text(size_bytes));
    call.console.complain(format!("saved {shown} from {} in {took}", endpoints[0]));
    call.console.line(format!("Snapshot saved at {}", path.display()))?;
    if version.is_empty() {
        return Ok(());
    }
    call.console.line(format!("Server version {version}"))
}

/// Streams into the file; its size without the digest, and the server's version.
async fn fetch(session: &Session, part: &mut Part) -> Result<(u64, String), Failure> {
    let broken = |failure: Failure| failure.with_code(5);
    let call = session.client.maintenance().snapshot(SnapshotRequest {}).await;
    let mut stream = session.check(call).map_err(broken)?;
    let mut digest = TrailingDigest::default();
    let mut version = String::new();
    loop {
        let next = tokio::time::timeout(STALL, stream.message()).await;
        let next = next.map_err(|_| {
            Failure::interrupted("the member sends nothing any more: try again, or another member")
        })?;
        let Some(message) = next.map_err(|status| broken(status.into()))? else { break };
        if !message.version.is_empty() {
            version = message.version;
        }
        digest.add(&message.blob);
        part.write(&message.blob).map_err(|why| Failure::interrupted(why.to_string()))?;
    }
    Ok((digest.check()?, version))
}

/// The digest over all but the last 32 bytes, which are to be equal to it.
#[derive(Default)]
struct TrailingDigest {
    hash: Sha256,
    held: Vec<u8>,
    size_bytes: u64,
}

impl TrailingDigest {
    fn add(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        let sure = self.held.len().saturating_sub(DIGEST_BYTES);
        self.hash.update(&self.held[..sure]);
        self.held.drain(..sure);
        self.size_bytes += sure as u64;
    }

    fn check(self) -> Result<u64, Failure> {
        if !self.size_bytes.is_multiple_of(512) || self.held.len() != DIGEST_BYTES {
            let size = self.size_bytes + self.held.len() as u64;
            let words = format!("sha256 checksum not found [bytes: {size}]: the stream broke off");
            return Err(Failure::interrupted(words));
        }
        if self.hash.finalize()[..] != self.held[..] {
            return Err(Failure::interrupted(
                "the snapshot's SHA-256 is not that of its bytes: they changed on the way, or the \
                 member's disk is failing; try again, and another member",
            ));
        }
        Ok(self.size_bytes)
    }
}

/// The unfinished file; removed when dropped.
struct Part {
    file: File,
    path: PathBuf,
    is_kept: bool,
}

impl Part {
    fn create(target: &Path) -> io::Result<Part> {
        let mut path = target.as_os_str().to_owned();
        path.push(".part");
        let path = PathBuf::from(path);
        // A part of an earlier run may have been left with other permissions.
        match std::fs::remove_file(&path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(place(&path, &why)),
            _ => {}
        }
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = created.map_err(|why| place(&path, &why))?;
        Ok(Part { file, path, is_kept: false })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).map_err(|why| place(&self.path, &why))
    }

    /// Makes the bytes durable, then the name.
    fn keep(mut self, target: &Path) -> io::Result<()> {
        self.file.sync_all().map_err(|why| place(&self.path, &why))?;
        std::fs::rename(&self.path, target).map_err(|why| place(target, &why))?;
        self.is_kept = true;
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        holdfast_bolt::sync_directory(folder).map_err(|why| io::Error::other(why.to_string()))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn place(path: &Path, why: &io::Error) -> io::Error {
    io::Error::new(why.kind(), format!("could not write {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(bytes: &[u8], step: usize) -> Result<u64, Failure> {
        let mut digest = TrailingDigest::default();
        bytes.chunks(step).for_each(|chunk| digest.add(chunk));
        digest.check()
    }

    #[test]
    fn the_digest_is_checked_however_the_stream_is_cut() {
        let mut bytes = vec![7u8; 1024];
        let digest = Sha256::digest(&bytes);
        bytes.extend_from_slice(&digest);
        for step in [1, 31, 32, 33, 500, 4096] {
            assert_eq!(judged(&bytes, step).unwrap(), 1024, "{step}");
        }
        for at in [0, 1023, 1024, 1055] {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(judged(&bad, 100).unwrap_err().words.contains("SHA-256"), "{at}");
        }
        for len in [0, 10, 32, 1024, 1055] {
            assert!(judged(&bytes[..len], 64).is_err(), "{len}");
        }
    }

    #[test]
    fn an_unfinished_file_goes_and_a_finished_one_stays() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("s.db");
        let part = folder.path().join("s.db.part");
        std::fs::write(&part, b"left over").unwrap();
        let mut one = Part::create(&target).unwrap();
        one.write(b"x").unwrap();
        assert!(part.exists());
        drop(one);
        assert!(!part.exists() && !target.exists());
        let mut two = Part::create(&target).unwrap();
        two.write(b"y").unwrap();
        two.keep(&target).unwrap();
        assert!(!part.exists());
        assert_eq!(std::fs::read(&target).unwrap(), b"y");
        assert_eq!(target.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
