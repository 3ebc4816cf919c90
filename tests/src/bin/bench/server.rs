//! The bundled server beside etcd 3.6: load, memory, a snapshot's stream, a restart, and what idle
//! watchers and connections cost.
//!
//! Both members run at once, the one that is not measured idle; in each round another one begins.
//! Ratios are medians of runs that stood side by side. The client takes a good part of the
//! processors, so what the server itself spent is shown too.

use crate::Ground;
use crate::cluster::{upstream_restore, upstream_save_from};
use crate::figures::{self, Result, above, against, median_of, ratio, seconds};
use crate::idle;
use crate::load::{Given, KEY, LOADS, Load};
use crate::member::{Measured, SIDES, Side, data_dir};
use crate::process::measure;
use holdfast_api::etcdserverpb::PutRequest;
use holdfast_tests::etcd::run;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Our memory over upstream's that is asked for.
const MEMORY: f64 = 0.5;
/// How much faster than upstream's a snapshot's stream is asked to be.
const SNAPSHOT: f64 = 1.5;
/// The same for a restart.
const RESTART: f64 = 2.0;

/// A figure of both sides, upstream's first, a pair for each round.
type Pairs = Vec<[f64; 2]>;

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Rounds that count.
    pub(crate) runs: usize,
    /// Of the loads' operations, in percent.
    pub(crate) share: u64,
}

/// Everything, printed.
pub(crate) async fn compare(ground: &Ground, store: &Path, extent: Extent) -> Result<()> {
    under_load(ground, extent).await?;
    idle::compare(ground, extent.share).await?;
    with_a_store(ground, store, extent.runs).await
}

async fn under_load(ground: &Ground, extent: Extent) -> Result<()> {
    let mut members = Vec::new();
    for side in SIDES {
        let member = Measured::start(ground, side, "load").await?;
        let (key, value) = (KEY.as_bytes().to_vec(), vec![b'v'; 256]);
        let put = PutRequest { key, value, ..PutRequest::default() };
        member.client()?.kv().put(put).await?;
        members.push(member);
    }
    let mut rows = Vec::new();
    for load in &LOADS {
        rows.push(row(load, &alternate(load, &members, extent)?));
    }
    for member in members {
        member.remove().await?;
    }
    let header =
        ["", "a second", "ours", "of it", "CPU/op", "ours", "of it", "RssAnon", "ours", "of it"];
    figures::print("Server under load, etcd 3.6 and ours", header, &rows);
    Ok(())
}

/// Rounds of a load; the sides in turn begin one.
fn alternate(load: &Load, members: &[Measured], extent: Extent) -> Result<Vec<[Given; 2]>> {
    let mut rounds = Vec::new();
    for round in 0..extent.runs {
        let mut given = [Given::default(); 2];
        for turn in 0..members.len() {
            let place = (round + turn) % members.len();
            run(&mut Command::new("sync"));
            given[place] = load.run(&members[place], extent.share)?;
        }
        rounds.push(given);
    }
    Ok(rounds)
}

fn row(load: &Load, rounds: &[[Given; 2]]) -> [String; 10] {
    let pairs = |figure: fn(&Given) -> f64| -> Pairs {
        rounds.iter().map(|both| both.each_ref().map(figure)).collect()
    };
    let rates = pairs(|given| given.rate);
    let spent = pairs(|given| given.processor_us);
    let memory = pairs(|given| ratio(given.memory, 1));
    let middle =
        |pairs: &Pairs, side: usize| median_of(&pairs.iter().map(|p| p[side]).collect::<Vec<_>>());
    let [mib_theirs, mib_ours] = [0, 1].map(|side| middle(&memory, side) / f64::from(1 << 20));
    [
        load.name.to_owned(),
        format!("{:.0}", middle(&rates, 0)),
        format!("{:.0}", middle(&rates, 1)),
        above(median_ratio(&rates), load.least_rate),
        format!("{:.1} µs", middle(&spent, 0)),
        format!("{:.1} µs", middle(&spent, 1)),
        against(median_ratio(&spent), load.most_processor),
        format!("{mib_theirs:.1} MiB"),
        format!("{mib_ours:.1} MiB"),
        against(median_ratio(&memory), Some(MEMORY)),
    ]
}

/// Ours over upstream's.
fn median_ratio(pairs: &Pairs) -> f64 {
    median_of(&pairs.iter().map(|[theirs, ours]| ours / theirs.max(1e-9)).collect::<Vec<_>>())
}

/// What is measured on the store.
#[derive(Default)]
struct OnStore {
    boots: Pairs,
    boot_processor: Pairs,
    saves: Pairs,
    save_processor: Pairs,
    memory: Pairs,
}

async fn with_a_store(ground: &Ground, store: &Path, runs: usize) -> Result<()> {
    for side in SIDES {
        run(&mut upstream_restore(store, &data_dir(ground, side, "store")));
    }
    let mut figures = OnStore::default();
    for round in 0..=runs {
        let mut both = [[0.0; 5]; 2];
        for turn in 0..SIDES.len() {
            let place = (round + turn) % SIDES.len();
            both[place] = on_store(ground, SIDES[place]).await?;
        }
        // The first round warms the page cache, and ours writes what a first boot has to.
        if round == 0 {
            continue;
        }
        let [theirs, ours] = both;
        let all = [
            &mut figures.boots,
            &mut figures.boot_processor,
            &mut figures.saves,
            &mut figures.save_processor,
            &mut figures.memory,
        ];
        for (at, pairs) in all.into_iter().enumerate() {
            pairs.push([theirs[at], ours[at]]);
        }
    }
    for side in SIDES {
        std::fs::remove_dir_all(data_dir(ground, side, "store"))?;
    }
    show_store(&figures);
    Ok(())
}

/// Boots a side on its store, saves a snapshot, stops it: seconds and processor seconds of both,
/// memory in bytes.
async fn on_store(ground: &Ground, side: Side) -> Result<[f64; 5]> {
    run(&mut Command::new("sync"));
    let member = Measured::start(ground, side, "store").await?;
    let booted = member.processor()?;
    let to = ground.dir.join("saved.db");
    let save = measure(&mut upstream_save_from(&member.url(), &to), &ground.dir.join("save.log"))?;
    let saving = member.processor()?.saturating_sub(booted);
    let memory = ratio(member.memory()?, 1);
    let boot = member.boot;
    member.stop().await;
    std::fs::remove_file(to)?;
    let seconds = [boot, booted, save.took, saving].map(|took: Duration| took.as_secs_f64());
    Ok([seconds[0], seconds[1], seconds[2], seconds[3], memory])
}

fn show_store(figures: &OnStore) {
    let middle =
        |pairs: &Pairs, side: usize| median_of(&pairs.iter().map(|p| p[side]).collect::<Vec<_>>());
    let shown = |pairs: &Pairs, side| seconds(Duration::from_secs_f64(middle(pairs, side)));
    let timed = |what: &str, pairs: &Pairs, bound: Option<f64>| {
        let ratio = against(median_ratio(pairs), bound.map(|times| 1.0 / times));
        [what.to_owned(), shown(pairs, 0), shown(pairs, 1), ratio]
    };
    let [theirs, ours] = [0, 1].map(|side| {
        let bytes = middle(&figures.memory, side) / f64::from(1 << 20);
        format!("{bytes:.1} MiB")
    });
    let memory = against(median_ratio(&figures.memory), Some(MEMORY));
    let rows = [
        timed("restart to the first linearizable read", &figures.boots, Some(RESTART)),
        timed("processor time of that", &figures.boot_processor, None),
        timed("etcdctl snapshot save", &figures.saves, Some(SNAPSHOT)),
        timed("processor time of the server for that", &figures.save_processor, None),
        ["RssAnon afterwards".to_owned(), theirs, ours, memory],
    ];
    figures::print("Server on the store", ["", "etcd 3.6", "ours", "of it"], &rows);
}
