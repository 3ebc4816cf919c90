//! Rounds of the agent beside the bundled server, which tells only what the vault does not have,
//! against rounds that take the whole stream: of etcd 3.6, and of the bundled server itself.
//!
//! Two members hold the same store and get the same updates; three vaults are kept of them. Must
//! hold: the ways take turns, each step begins with another one, the member that is not asked is
//! idle; whether a round was whole is what the agent's own log says, and one that was not what its
//! way stands for is an error. Members do not fsync: what they write is no part of any figure.

use crate::Ground;
use crate::cluster::{SEED, upstream_restore};
use crate::figures::{self, Result, against, mebibytes, median_of, ratio, seconds};
use crate::member::{Measured, SIDES, Side, data_dir};
use crate::process::{Beside, Run};
use crate::store::{StoreSpec, shuffled_prefix};
use crate::vault::{Said, Vault};
use holdfast_tests::contents;
use holdfast_tests::etcd::run;
use holdfast_tests::objects::{Chance, object};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How a round gets at the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// All of etcd 3.6's database.
    Upstream,
    /// All of ours.
    Whole,
    /// What changed.
    Told,
}

/// The one that is compared with the others comes last.
const WAYS: [Way; 3] = [Way::Upstream, Way::Whole, Way::Told];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Upstream => "etcd 3.6, whole",
            Way::Whole => "ours, whole",
            Way::Told => "ours, what changed",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Way::Upstream => "changes-upstream",
            Way::Whole => "changes-whole",
            Way::Told => "changes-told",
        }
    }

    fn side(self) -> Side {
        match self {
            Way::Upstream => Side::Upstream,
            Way::Whole | Way::Told => Side::Ours,
        }
    }
}

/// What one round took.
#[derive(Debug, Clone, Copy)]
struct Figures {
    agent: Run,
    member: Beside,
    received_bytes: u64,
    uploaded_bytes: u64,
}

/// Rounds of one kind: of each step, one of each way.
type Steps = Vec<[Figures; 3]>;

/// Members and vaults.
struct Players {
    members: [Measured; 2],
    vaults: [Vault; 3],
    chance: Chance,
    version: u64,
}

/// Everything, printed. `updates` before a round that has news, `runs` steps of each kind.
pub(crate) async fn compare(
    ground: &Ground,
    store: &Path,
    spec: &StoreSpec,
    (updates, runs): (u64, usize),
) -> Result<()> {
    let mut players = Players::gather(ground, store).await?;
    for way in WAYS {
        let first = players.round(way)?.1;
        if !first.whole {
            return Err(format!("{}: the first round is whole for everybody", way.name()).into());
        }
    }
    let (mut idle, mut news) = (Steps::new(), Steps::new());
    let updates = updates.min(spec.keys);
    for step in 0..runs.max(1) {
        idle.push(players.step(step)?);
        players.update(updates, spec.keys).await?;
        news.push(players.step(step + 1)?);
    }
    for (title, steps) in
        [("nothing new".to_owned(), &idle), (format!("{updates} updates, a compaction"), &news)]
    {
        show(&format!("Rounds by what changed, and whole ones: {title}"), steps);
    }
    players.dismiss().await
}

impl Players {
    async fn gather(ground: &Ground, store: &Path) -> Result<Players> {
        for side in SIDES {
            run(&mut upstream_restore(store, &data_dir(ground, side, "changes")));
        }
        let start = |side| Measured::start_with(ground, side, "changes", &["--unsafe-no-fsync"]);
        let [theirs, ours] = SIDES;
        let members = [start(theirs).await?, start(ours).await?];
        let vault = |way: Way| {
            let reading = if way == Way::Whole { "0s" } else { "1d" };
            Vault::of(ground, way.folder(), &members[way.side() as usize].url(), reading)
        };
        let [one, two, three] = WAYS.map(vault);
        let vaults = [one?, two?, three?];
        Ok(Players { members, vaults, chance: Chance::new(SEED), version: 1_000 })
    }

    /// One round of each way, beginning with another one each time.
    fn step(&self, number: usize) -> Result<[Figures; 3]> {
        let mut all = Vec::new();
        for turn in 0..WAYS.len() {
            let way = WAYS[(number + turn) % WAYS.len()];
            let (figures, said) = self.round(way)?;
            if said.whole == (way == Way::Told) {
                return Err(format!("{}: the round was another: {said:?}", way.name()).into());
            }
            all.push((way as usize, figures));
        }
        all.sort_by_key(|(place, _)| *place);
        Ok([all[0].1, all[1].1, all[2].1])
    }

    fn round(&self, way: Way) -> Result<(Figures, Said)> {
        run(&mut Command::new("sync"));
        let member = &self.members[way.side() as usize];
        let (backup, beside, said) = self.vaults[way as usize].backup_beside(member.process())?;
        let (received_bytes, uploaded_bytes) = (said.received_bytes, backup.added.bytes);
        let figures = Figures { agent: backup.run, member: beside, received_bytes, uploaded_bytes };
        Ok((figures, said))
    }

    /// Gives the same keys the same new values in both members, and compacts both.
    async fn update(&mut self, count: u64, keys: u64) -> Result<()> {
        self.version += 1;
        let (version, chosen) = (self.version, shuffled_prefix(keys, count, &mut self.chance));
        for member in &self.members {
            let client = member.client()?;
            let objects = chosen.iter().map(|index| object(SEED, *index, version));
            contents::put(&client, objects, 1).await?;
            let revision = contents::revision(&client).await?;
            contents::compact(&client, revision).await?;
        }
        Ok(())
    }

    async fn dismiss(self) -> Result<()> {
        for member in self.members {
            member.remove().await?;
        }
        Ok(())
    }
}

/// A figure, as a number that is compared and as a text.
struct Column {
    name: &'static str,
    number: fn(&Figures) -> f64,
    text: fn(f64) -> String,
}

const COLUMNS: [Column; 7] = [
    Column { name: "took", number: |one| one.agent.took.as_secs_f64(), text: as_seconds },
    Column { name: "agent", number: |one| one.agent.processor.as_secs_f64(), text: as_seconds },
    Column { name: "member", number: |one| one.member.processor.as_secs_f64(), text: as_seconds },
    Column { name: "agent's RssAnon", number: |one| float(one.agent.peak_anonymous), text: mib },
    Column { name: "member's", number: |one| float(one.member.peak_anonymous), text: mib },
    Column { name: "off the member", number: |one| float(one.received_bytes), text: mib },
    Column { name: "uploaded", number: |one| float(one.uploaded_bytes), text: mib },
];

fn float(bytes: u64) -> f64 {
    ratio(bytes, 1)
}

fn as_seconds(number: f64) -> String {
    seconds(Duration::from_secs_f64(number))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of bytes")]
fn mib(bytes: f64) -> String {
    mebibytes(bytes as u64)
}

/// Medians, and under them what the last way takes of each of the others: medians of the ratios of
/// rounds that stood side by side.
fn show(title: &str, steps: &Steps) {
    let mut rows = Vec::new();
    for way in WAYS {
        rows.push(row(way.name(), |column| {
            let all: Vec<f64> =
                steps.iter().map(|step| (column.number)(&step[way as usize])).collect();
            (column.text)(median_of(&all))
        }));
    }
    for other in [Way::Upstream, Way::Whole] {
        rows.push(row(&format!("of {}", other.name()), |column| {
            let part = |step: &[Figures; 3]| {
                let [told, whole] =
                    [Way::Told, other].map(|way| (column.number)(&step[way as usize]));
                told / whole.max(1e-9)
            };
            against(median_of(&steps.iter().map(part).collect::<Vec<_>>()), None)
        }));
    }
    let mut header = [""; 8];
    for (place, column) in COLUMNS.iter().enumerate() {
        header[place + 1] = column.name;
    }
    figures::print(title, header, &rows);
}

fn row(name: &str, cell: impl Fn(&Column) -> String) -> [String; 8] {
    let mut row: [String; 8] = Default::default();
    name.clone_into(&mut row[0]);
    for (place, column) in COLUMNS.iter().enumerate() {
        row[place + 1] = cell(column);
    }
    row
}
