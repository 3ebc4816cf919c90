//! Objects shaped like Kubernetes', made from a seed: what the demo and the benchmarks put into
//! etcd.
//!
//! Must hold: the same (seed, index, version) gives the same bytes on every machine, so that a
//! store can be made again and compared without keeping it.

use std::fmt::Write as _;

/// A small generator (SplitMix64): reproducible, and enough to fill test objects.
#[derive(Clone)]
pub struct Chance(u64);

impl Chance {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    #[expect(clippy::should_implement_trait, reason = "it never ends, and is not iterated over")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }
}

/// One object: its key in etcd and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// `/registry/<resource>/<namespace>/<name>`.
    pub key: String,
    /// 1 to 6 KB; begins with Kubernetes' protobuf magic, or `{` for a custom resource.
    pub value: Vec<u8>,
}

/// What share of objects is not compressible, in percent: certificates, images, packed Helm
/// releases.
pub const INCOMPRESSIBLE_PERCENT: u64 = 10;

/// Object number `index` in its `version`-th form.
pub fn object(seed: u64, index: u64, version: u64) -> Object {
    let mut shape = Chance::new(seed ^ index.wrapping_mul(0x0100_0000_01b3));
    let namespace = shape.below(40);
    let share = shape.below(100);
    let (resource, packed) = match share {
        share if share < INCOMPRESSIBLE_PERCENT => ("configmaps", true),
        10..60 => ("pods", false),
        60..72 => ("configmaps", false),
        72..78 => ("secrets", false),
        78..88 => ("deployments", false),
        _ => ("drill.example.com/widgets", false),
    };
    let name = format!("o-{index:07}-{:05x}", shape.next() & 0xf_ffff);
    let key = format!("/registry/{resource}/team-{namespace:02}/{name}");
    let target = usize::try_from(1024 + shape.below(5 * 1024)).expect("at most 6 KiB");
    let mut content = Chance::new(seed ^ index.rotate_left(21) ^ version.wrapping_mul(0x5851_f42d));
    let value = if packed {
        packed_value(&mut content, target)
    } else {
        text_value(&mut content, &name, namespace, version, target)
    };
    Object { key, value }
}

fn packed_value(content: &mut Chance, target: usize) -> Vec<u8> {
    let mut value = b"k8s\0".to_vec();
    while value.len() < target {
        value.extend_from_slice(&content.next().to_le_bytes());
    }
    value
}

/// Repeats what real manifests repeat (images, labels, paths) and varies what they vary (hashes,
/// ids).
fn text_value(content: &mut Chance, name: &str, ns: u64, version: u64, target: usize) -> Vec<u8> {
    let mut text = format!(
        "{{\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"{name}\",\"namespace\":\"team-{ns:02}\",\
         \"generation\":{version},\"uid\":\"{:016x}{:016x}\"}},\"spec\":{{\"containers\":[",
        content.next(),
        content.next()
    );
    let mut part = 0;
    while text.len() < target {
        write!(
            text,
            "{{\"name\":\"c{part}\",\"image\":\"registry.example.com/team/app-{}:v1.{}\",\"env\":[{{\
             \"name\":\"SETTING_{part}\",\"value\":\"{:016x}\"}}],\"resources\":{{\"requests\":{{\
             \"cpu\":\"{}m\",\"memory\":\"128Mi\"}}}},\"volumeMounts\":[{{\"name\":\"config\",\
             \"mountPath\":\"/etc/config\"}}]}},",
            content.below(40),
            content.below(200),
            content.next(),
            100 * (1 + content.below(8)),
        )
        .expect("a String takes every write");
        part += 1;
    }
    text.push_str("]}}");
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_object() {
        assert_eq!(object(7, 3, 1), object(7, 3, 1));
        assert_ne!(object(7, 3, 1).value, object(7, 3, 2).value);
        assert_eq!(object(7, 3, 1).key, object(7, 3, 2).key);
        assert_ne!(object(8, 3, 1).value, object(7, 3, 1).value);
    }

    #[test]
    fn sizes_and_shares_are_as_described() {
        let objects: Vec<Object> = (0..2000).map(|index| object(1, index, 1)).collect();
        assert!(objects.iter().all(|object| (1024..7000).contains(&object.value.len())));
        let packed = objects.iter().filter(|object| object.value.starts_with(b"k8s\0")).count();
        assert!((140..260).contains(&packed), "{packed} of 2000 are not compressible");
        let secrets = objects.iter().filter(|o| o.key.starts_with("/registry/secrets/")).count();
        assert!((60..190).contains(&secrets), "{secrets} of 2000 are secrets");
    }
}
