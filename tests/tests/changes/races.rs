//! Two agents on one vault and one member: whoever loses reads everything or begins again, and
//! each snapshot is what the member had at its revision.

use crate::judge::State;
use crate::proxy::{Proxy, Trouble};
use crate::rounds::{Round, another_agent, assert_restores_to, one_round, watched, write};
use holdfast_tests::etcd::{BUNDLED, Etcd};
use holdfast_tests::site::Site;

/// Numbers and revisions of the snapshots behind the first `known`.
async fn added(site: &Site, known: usize) -> Vec<(u64, i64)> {
    let all = site.snapshots().await;
    let figure = |entry: &serde_json::Value| {
        (entry["number"].as_u64().unwrap(), entry["revision"].as_i64().unwrap())
    };
    all[known..].iter().map(figure).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_overtaken_while_it_listens_reads_everything() {
    let etcd = Etcd::start(BUNDLED).await;
    let (client, site) = (etcd.client(), watched(&etcd).await);
    write(&client, 300, 1..2).await;
    let proxy = Proxy::start(&etcd.endpoint()).await;
    let slow = another_agent(&site, &etcd, "slow", &proxy.endpoint());
    let quick = another_agent(&site, &etcd, "quick", &etcd.endpoint());
    for agent in [&slow, &quick] {
        assert!(Round::of(&one_round(&site, agent).await).whole);
    }
    write(&client, 300, 2..3).await;
    proxy.cause(Trouble::Hold);
    let (loser, (winner, won, now)) = tokio::join!(one_round(&site, &slow), async {
        proxy.holds().await;
        write(&client, 300, 3..4).await;
        let won = State::read(&client).await.unwrap();
        let winner = one_round(&site, &quick).await;
        write(&client, 300, 4..5).await;
        let now = State::read(&client).await.unwrap();
        proxy.let_go();
        (winner, won, now)
    });
    let winner = Round::of(&winner);
    assert!(!winner.whole && winner.hash_equal && winner.alarms == 0, "{winner:?}");
    assert!(loser.err.contains("reading everything"), "{}", loser.err);
    let loser = Round::of(&loser);
    assert!(loser.whole && loser.hash_equal && loser.alarms == 0, "{loser:?}");
    let both = added(&site, 2).await;
    assert_eq!(both.len(), 2, "{both:?}");
    for ((number, revision), state, name) in [(both[0], won, "winner"), (both[1], now, "loser")] {
        assert_eq!(revision, state.contents.revision, "{name}");
        assert_restores_to(&site, Some(number), &state, name).await;
    }
    // And each goes on with differences from what the other stored.
    for (version, agent, name) in [(5, &slow, "slow"), (6, &quick, "quick")] {
        write(&client, 20, version..version + 1).await;
        let state = State::read(&client).await.unwrap();
        let round = Round::of(&one_round(&site, agent).await);
        assert!(!round.whole && round.hash_equal && round.alarms == 0, "{name}: {round:?}");
        assert_restores_to(&site, None, &state, name).await;
    }
}

/// Nothing holds anybody: whatever the order, both rounds succeed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_begin_together_both_end_well() {
    let etcd = Etcd::start(BUNDLED).await;
    let (client, site) = (etcd.client(), watched(&etcd).await);
    write(&client, 200, 1..2).await;
    let agents = ["one", "two"].map(|name| another_agent(&site, &etcd, name, &etcd.endpoint()));
    for agent in &agents {
        assert!(Round::of(&one_round(&site, agent).await).whole);
    }
    let (mut known, mut stored) = (2, 0);
    for version in 2..6 {
        write(&client, 200, version..version + 1).await;
        let state = State::read(&client).await.unwrap();
        let (one, two) = tokio::join!(one_round(&site, &agents[0]), one_round(&site, &agents[1]));
        for said in [&one, &two] {
            assert!(said.succeeded, "{}", said.err);
            let round = Round::of(said);
            assert!(round.alarms == 0 && round.records > 0, "{round:?}");
        }
        let added = added(&site, known).await;
        assert!(matches!(added.len(), 1 | 2), "one may find that the other was as new: {added:?}");
        known += added.len();
        stored += added.len();
        for (number, revision) in added {
            assert_eq!(revision, state.contents.revision);
            let name = format!("restored-{number}");
            assert_restores_to(&site, Some(number), &state, &name).await;
        }
    }
    assert!(stored >= 4, "each round stored at least one");
}
