//! Member and cluster ids, as every etcd derives them.
//!
//! A member id is the first eight bytes, big-endian, of the SHA-1 over its peer URLs, sorted and
//! joined without a separator, followed by the cluster token. A cluster id is the same over the
//! member ids in ascending order, eight bytes big-endian each. There is no time and no chance in
//! it: the same URLs and token give the same ids, which is why a restore takes a fresh random
//! token. A member that is *added* to a running cluster gets an id that also hashes the second in
//! which it was asked for, in decimal digits behind the token.

use sha1::{Digest, Sha1};

/// The id of a founding member.
pub fn member_id(peer_urls: &[String], token: &str) -> u64 {
    let mut sorted: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let mut hash = Sha1::new();
    for url in sorted {
        hash.update(url.as_bytes());
    }
    hash.update(token.as_bytes());
    first_eight(hash)
}

/// The id of a member that is added to a running cluster, `unix_seconds` after 1970.
pub fn added_member_id(peer_urls: &[String], token: &str, unix_seconds: u64) -> u64 {
    member_id(peer_urls, &format!("{token}{unix_seconds}"))
}

/// The id of a cluster founded by these members, in any order.
pub fn cluster_id(member_ids: &[u64]) -> u64 {
    let mut sorted = member_ids.to_vec();
    sorted.sort_unstable();
    let mut hash = Sha1::new();
    for id in sorted {
        hash.update(id.to_be_bytes());
    }
    first_eight(hash)
}

/// An id as bucket keys, paths and etcdctl show it: lower hex without leading zeros.
pub fn hex(id: u64) -> String {
    format!("{id:x}")
}

fn first_eight(hash: Sha1) -> u64 {
    let digest: [u8; 20] = hash.finalize().into();
    digest[..8].iter().fold(0, |id, byte| id << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_are_those_that_etcdutl_gives() {
        // `etcdutl snapshot restore --name d --initial-cluster d=http://127.0.0.1:12380
        // --initial-cluster-token tok`, members and WAL metadata, etcd 3.5.35 and 3.7.3.
        let id = member_id(&["http://127.0.0.1:12380".to_owned()], "tok");
        assert_eq!(hex(id), "d622127685879b3c");
        assert_eq!(hex(cluster_id(&[id])), "6656feb867e68582");
    }

    #[test]
    fn order_does_not_matter() {
        let urls = ["http://b:2380".to_owned(), "http://a:2380".to_owned()];
        let swapped = [urls[1].clone(), urls[0].clone()];
        assert_eq!(member_id(&urls, "t"), member_id(&swapped, "t"));
        assert_eq!(cluster_id(&[1, 2]), cluster_id(&[2, 1]));
        assert_ne!(member_id(&urls, "t"), member_id(&urls, "u"));
    }
}
