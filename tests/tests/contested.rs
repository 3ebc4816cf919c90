//! One member's disk changes a value: both versions are kept, the other members are asked, the
//! verdict says who is corrupt and stands in the next snapshot.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use holdfast_tests::contents;
use holdfast_tests::etcd::{Cluster, Etcd, Options};
use holdfast_tests::objects::{Object, object};
use holdfast_tests::site::{Login, Site};
use holdfast_vault::init::VaultOptions;
use holdfast_vault::keys::{Providers, Sealing, parse_encryption_config};
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreOptions};

const VALUE: &[u8] = b"a-value-that-stands-nowhere-else";

fn one(key: &str, value: &[u8]) -> impl Iterator<Item = Object> {
    std::iter::once(Object { key: key.to_owned(), value: value.to_vec() })
}

/// Whether a member leads.
fn leads(member: &Etcd) -> bool {
    let status = member.ctl(&["endpoint", "status", "-w", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let status = &status[0]["Status"];
    status["leader"] == status["header"]["member_id"]
}

/// Flips a bit of the value wherever it stands in a member's database.
fn rot(member: &Etcd) {
    let mut bytes = std::fs::read(member.database()).unwrap();
    let places: Vec<usize> =
        (0..bytes.len() - VALUE.len()).filter(|at| bytes[*at..].starts_with(VALUE)).collect();
    assert!(!places.is_empty(), "the value is in the database");
    for at in places {
        bytes[at] ^= 0x20;
    }
    std::fs::write(member.database(), bytes).unwrap();
}

async fn verdicts(site: &Site, number: u64) -> Vec<String> {
    let config = parse_encryption_config(&std::fs::read_to_string(site.keys()).unwrap()).unwrap();
    let providers = Providers::from_config(&config, Sealing::Required, &mut |_| panic!("no kms"));
    let store = Store::open(site.url(), StoreOptions::default()).unwrap();
    let vault = Vault::open(store, VaultOptions::new(providers)).await.unwrap();
    let contested = vault.contested(number, 10).await.unwrap();
    contested.into_iter().map(|record| record.verdict).collect()
}

#[tokio::test]
async fn the_other_members_say_who_is_corrupt() {
    let mut cluster = Cluster::start(Options::new("3.6"), 3).await;
    contents::put(&cluster.client(), one("/registry/pods/a", VALUE), 1).await.unwrap();
    // Company, by which the vault knows the cluster again.
    let others = (0..50).map(|index| object(31, index, 1));
    contents::put(&cluster.client(), others, 1).await.unwrap();
    let at = cluster.members.iter().position(|member| !leads(member)).unwrap();
    let mut order: Vec<String> = cluster.members.iter().map(Etcd::endpoint).collect();
    order.swap(0, at);
    let site = Site::on_disk();
    site.watch(&cluster.members[at], Login::default());
    let path = site.path("agent.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let all = order.iter().map(|endpoint| format!("{endpoint:?}")).collect::<Vec<_>>().join(", ");
    std::fs::write(&path, text.replace(&format!("{:?}", order[0]), &all)).unwrap();
    site.init().await;
    let said = site.back_up().await;
    assert!(said.out.contains(&order[0]) && !said.out.contains("ALARM"), "{}", said.out);

    cluster.members[at].stop().await;
    rot(&cluster.members[at]);
    cluster.members[at].boot().await;
    let said = site.back_up().await.out;
    assert!(said.contains(&format!("taken from {}", order[0])), "{said}");
    let verdict =
        format!("2 of 3 members have the version that is restored: {} is corrupt", order[0]);
    assert!(said.contains("is contested") && said.contains(&verdict), "{said}");

    // The verdict stands in the next body, the alarm stays, a restore gives the sound version.
    contents::put(&cluster.client(), one("/registry/pods/b", b"more"), 1).await.unwrap();
    let said = site.back_up().await.out;
    assert!(said.contains("ALARM"), "{said}");
    let last = site.snapshots().await.pop().unwrap();
    assert_eq!(last["contested"], true);
    let found = verdicts(&site, last["number"].as_u64().unwrap()).await;
    assert!(found.len() == 1 && found[0].contains(&verdict), "{found:?}");
    let data_dir = site.restore("restored", "3.6", &["--bump", "none"]).await;
    let restored = Etcd::start_with(Options::new("3.6").with_data_dir(&data_dir)).await;
    let found = restored.ctl(&["get", "/registry/pods/a", "--print-value-only"]);
    assert_eq!(found.trim().as_bytes(), VALUE);
}
