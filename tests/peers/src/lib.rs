//! Upstream's programs, for the tests of every crate: where they are, how they are run to their
//! end, and ports for those that listen.
//!
//! Must hold: nothing beside the standard library, so that a test of the smallest crate may use it;
//! a missing program is a failure that says which make target builds it, never a skip.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The versions of etcd that every matrix runs over.
pub const VERSIONS: [&str; 3] = ["3.5", "3.6", "3.7"];

/// Ports for members begin here.
const FIRST_PORT: u16 = 12_000;
/// And there are so many pairs: all below 32,768, where Linux begins for outgoing connections.
const PORT_PAIRS: u32 = 10_000;

/// The program `name` that `make peers` built, such as `etcd-3.6` or `bbolt`.
///
/// # Panics
/// It is not there.
pub fn peer(name: &str) -> PathBuf {
    let path = place(name);
    assert!(path.is_file(), "{} is missing: run `make peers`", path.display());
    path
}

/// The folder `name` that `make peers` filled, such as `raft-testdata`.
///
/// # Panics
/// It is not there.
pub fn peer_folder(name: &str) -> PathBuf {
    let path = place(name);
    assert!(path.is_dir(), "{} is missing: run `make peers`", path.display());
    path
}

fn place(name: &str) -> PathBuf {
    let folder = std::env::var_os("HOLDFAST_PEERS").map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        cache.or_else(home).map(|cache| cache.join("holdfast/peers"))
    });
    folder.expect("HOME or HOLDFAST_PEERS is set").join(name)
}

/// Runs a program that must succeed; what it prints.
///
/// # Panics
/// It cannot be started or fails; with what it says.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{said}{complained}", output.status);
    said.into_owned()
}

/// Our own binary, as it ships.
///
/// # Panics
/// HOLDFAST_BIN does not name it.
pub fn holdfast() -> PathBuf {
    let path = std::env::var_os("HOLDFAST_BIN").map(PathBuf::from);
    let path = path.expect("HOLDFAST_BIN names the binary: run `make test`");
    assert!(path.is_file(), "{} is missing: run `make test`", path.display());
    path
}

/// Two ports that nobody listens on, for clients and for peers, below those that the system gives
/// to outgoing connections: such a connection would otherwise take them before a member starts, or
/// while it is down.
///
/// # Panics
/// There are none.
pub fn free_ports() -> [u16; 2] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    for _ in 0..PORT_PAIRS {
        let pair = (std::process::id() % 1_000_000) * 97 + NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = u16::try_from(pair % PORT_PAIRS * 2).expect("within the range");
        let (client, peer) = (FIRST_PORT + offset, FIRST_PORT + offset + 1);
        if is_free(client) && is_free(peer) {
            return [client, peer];
        }
    }
    panic!("no two free ports between {FIRST_PORT} and {}", u32::from(FIRST_PORT) + 2 * PORT_PAIRS);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_none_of_those_for_outgoing_connections() {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let first: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
        let mut given: Vec<u16> = (0..200).flat_map(|_| free_ports()).collect();
        assert!(given.iter().all(|port| *port < first), "{given:?} from {range}");
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 400, "none is given twice");
    }
}
