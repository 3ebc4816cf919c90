//! The story, in the order it is told.

use crate::Arguments;
use crate::stage::{Boot, Member, Output, Result, Stage};
use comfy_table::{Cell, Table, presets};
use holdfast_api::client::{Client, ClientConfig};
use holdfast_restore::server::Ports;
use holdfast_tests::contents::{self, Contents};
use holdfast_tests::etcd::free_ports;
use holdfast_tests::objects;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SEED: u64 = 2026;

/// What is kept for the closing table.
#[derive(Default)]
struct Ledger(Vec<[String; 3]>);

impl Ledger {
    fn note(&mut self, what: &str, figure: String, shown_by: &str) {
        self.0.push([what.to_owned(), figure, shown_by.to_owned()]);
    }
}

pub(crate) async fn tell(arguments: &Arguments) -> Result<()> {
    let stage = Stage::new(&arguments.dir, &arguments.holdfast, arguments.etcd.as_deref())?;
    let mut ledger = Ledger::default();

    chapter("A cluster");
    let ports = free_ports();
    let source =
        stage.boot("cp1", Boot { ports, initial_cluster: "", joins: false, token: "demo" }).await?;
    let all = (0..arguments.objects).map(|index| objects::object(SEED, index, 1));
    contents::put(&source.client, all, 1).await?;
    let first = contents::read(&source.client).await?;
    println!("  {} objects, {}", first.records.len(), size(first.bytes()));
    configure(&stage, &source)?;

    chapter("A vault, and a first backup");
    stage.holdfast(&["vault", "init", &vault(&stage), "--config", "agent.yaml"]).await?;
    let backup = stage.holdfast(&["agent", "--config", "agent.yaml", "--once"]).await?;
    let snapshots = snapshots(&stage).await?;
    let uploaded = number(&snapshots[0], "uploaded_bytes");
    ledger.note(
        "first backup",
        format!("{} in {}", size(uploaded), seconds(backup.took)),
        "bytes put to the store",
    );

    chapter("An update, and a second backup");
    let changed =
        (0..arguments.updates).map(|index| objects::object(SEED, index * 7 % arguments.objects, 2));
    contents::put(&source.client, changed, 1).await?;
    let revision = contents::revision(&source.client).await?;
    contents::compact(&source.client, revision - 10).await?;
    let before = contents::read(&source.client).await?;
    println!("  {} objects updated, then compacted", arguments.updates);
    let backup = stage.holdfast(&["agent", "--config", "agent.yaml", "--once"]).await?;
    let added = newest_upload(&stage).await?;
    let share = format!(
        "{} in {}: {:.1} % of the first",
        size(added),
        seconds(backup.took),
        percent(added, uploaded)
    );
    ledger.note("second backup", share, "bytes put to the store");
    stage.holdfast(&["snapshots", "--from", &vault(&stage), "--keys", "keys.yaml"]).await?;

    chapter("A drill: the backup is restored, booted and compared, without the cluster");
    let drilled = drill(&stage).await?;
    ledger.note("drill", seconds(drilled.took), "report in the vault");

    chapter("The cluster is destroyed");
    drop(source);
    std::fs::remove_dir_all(stage.dir.join("cp1"))?;
    println!("  its process is killed, its data directory removed");

    let began = Instant::now();
    let restored = restore(&stage, &mut ledger).await?;
    let recovery = began.elapsed();
    let after = contents::read(&restored.client).await?;
    same(&before, &after)?;
    ledger.note("recovery", seconds(recovery), "restore, boot, first linearizable read");
    ledger.note(
        "records equal",
        format!("{} of {}", after.records.len(), before.records.len()),
        "each key, value, version, lease",
    );

    let mut members = Vec::new();
    if stage.etcd().is_some() {
        chapter("Grown to three, one learner at a time");
        members = grow(&stage, &restored).await?;
    }
    compare(&before, &restored, &members, &mut ledger).await?;
    close(&ledger);
    for member in members.into_iter().chain([restored]) {
        member.stop().await;
    }
    Ok(())
}

/// Proves the newest snapshot, on the etcd that plays the cluster if one was named.
async fn drill(stage: &Stage) -> Result<Output> {
    let from = vault(stage);
    let mut arguments = vec!["drill", "--from", &from, "--keys", "keys.yaml"];
    let etcd = stage.etcd().map(|file| file.to_string_lossy());
    arguments.extend(etcd.iter().flat_map(|file| ["--server", &**file]));
    stage.holdfast(&arguments).await
}

fn configure(stage: &Stage, source: &Member) -> Result<()> {
    let key = base64_of_random_key()?;
    let keys = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
         - resources: [\"*.*\"]\n  providers:\n  - aesgcm:\n      keys:\n      - name: demo\n        secret: {key}\n"
    );
    std::fs::write(stage.dir.join("keys.yaml"), keys)?;
    let agent = format!(
        "etcd:\n  endpoints: [\"{}\"]\nvault:\n  url: {}\n  encryptionConfig: keys.yaml\n\
         stateDirectory: state\nlog:\n  level: warn\n",
        source.url,
        vault(stage)
    );
    std::fs::create_dir_all(stage.dir.join("state"))?;
    Ok(std::fs::write(stage.dir.join("agent.yaml"), agent)?)
}

async fn restore(stage: &Stage, ledger: &mut Ledger) -> Result<Member> {
    chapter("A bare machine: the binary, the keys, the store's address");
    let ports = free_ports();
    let peer = format!("http://127.0.0.1:{}", ports.peer);
    let client = format!("http://127.0.0.1:{}", ports.client);
    let dir = stage.dir.join("cp1").to_string_lossy().into_owned();
    let arguments = [
        "restore",
        "--from",
        &vault(stage),
        "--keys",
        "keys.yaml",
        "--name",
        "cp1",
        "--data-dir",
        &dir,
        "--peer-url",
        &peer,
        "--client-url",
        &client,
    ];
    let Output { text, took } = stage.holdfast(&arguments).await?;
    ledger.note("rebuild", seconds(took), "plan, verify, write, fsync");
    let token =
        text.split_whitespace().skip_while(|word| *word != "--initial-cluster-token").nth(1);
    let token = token.ok_or("the restore printed no start command")?;
    let boot = Boot { ports, initial_cluster: "", joins: false, token };
    let restored = stage.boot("cp1", boot).await?;
    println!("  it answers a linearizable read {} after its start", seconds(restored.ready));
    Ok(restored)
}

/// Plays the operator: starts what `holdfast grow` asks to start.
async fn grow(stage: &Stage, first: &Member) -> Result<Vec<Member>> {
    let wanted: BTreeMap<&str, Ports> = [("cp2", free_ports()), ("cp3", free_ports())].into();
    let mut arguments = vec!["grow".to_owned(), "--endpoint".to_owned(), first.url.clone()];
    for (name, ports) in &wanted {
        arguments.extend(["--add".to_owned(), format!("{name}=http://127.0.0.1:{}", ports.peer)]);
        arguments.extend([
            "--client-url".to_owned(),
            format!("{name}=http://127.0.0.1:{}", ports.client),
        ]);
    }
    let (ask, mut asked) = tokio::sync::mpsc::unbounded_channel::<String>();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let growing = stage.run(&arguments, true, |line| {
        if line.trim_start().starts_with("etcd --name") {
            ask.send(line.trim().to_owned())?;
        }
        Ok(())
    });
    let operator = async {
        let mut members = Vec::new();
        while members.len() < wanted.len() {
            let Some(command) = asked.recv().await else { break };
            let name = flag(&command, "--name").ok_or("the command names no member")?;
            let ports = *wanted.get(name).ok_or("the command names a member nobody asked for")?;
            let initial_cluster = flag(&command, "--initial-cluster").unwrap_or_default();
            let boot = Boot { ports, initial_cluster, joins: true, token: "joins" };
            members.push(stage.boot(name, boot).await?);
        }
        Ok::<_, Box<dyn std::error::Error>>(members)
    };
    let (_, members) = tokio::try_join!(growing, operator)?;
    Ok(members)
}

/// All members answer, agree, hold the old data and take writes.
async fn compare(
    before: &Contents,
    first: &Member,
    more: &[Member],
    ledger: &mut Ledger,
) -> Result<()> {
    let urls = std::iter::once(first).chain(more).map(|member| member.url.clone());
    let all = Client::connect(ClientConfig::new(urls)).await?;
    for member in std::iter::once(first).chain(more) {
        same(before, &contents::read(&member.client).await?)?;
    }
    let added = objects::object(SEED, u64::MAX, 1);
    contents::put(&all, std::iter::once(added), 1).await?;
    let at = contents::revision(&all).await?;
    for member in std::iter::once(first).chain(more) {
        contents::revision(&member.client).await?;
    }
    let hashes = contents::hashes(&all, at).await?;
    let equal = hashes.windows(2).all(|pair| (pair[0].1, pair[0].2) == (pair[1].1, pair[1].2));
    if hashes.len() != 1 + more.len() || !equal {
        return Err(format!("the members disagree: {hashes:?}").into());
    }
    ledger.note(
        "members",
        format!("{}, HashKV {:08x} at revision {at}", hashes.len(), hashes[0].2),
        "asked of each, equal",
    );
    ledger.note("writes", "accepted".to_owned(), "a put through the new cluster");
    Ok(())
}

fn same(before: &Contents, after: &Contents) -> Result<()> {
    let differences = before.differences(after);
    if differences.is_empty() {
        Ok(())
    } else {
        Err(format!("not what was backed up: {}", differences.join(", ")).into())
    }
}

fn close(ledger: &Ledger) {
    chapter("What was shown");
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(["", "figure", "shown by"]);
    for row in &ledger.0 {
        table.add_row(row.iter().map(Cell::new));
    }
    println!("{table}");
}

async fn snapshots(stage: &Stage) -> Result<Vec<Value>> {
    let from = vault(stage);
    let listed = stage
        .holdfast_quietly(&["snapshots", "--from", &from, "--keys", "keys.yaml", "-o", "json"])
        .await?;
    Ok(serde_json::from_str(&listed.text)?)
}

async fn newest_upload(stage: &Stage) -> Result<u64> {
    let snapshots = snapshots(stage).await?;
    Ok(snapshots.last().map_or(0, |snapshot| number(snapshot, "uploaded_bytes")))
}

fn number(snapshot: &Value, field: &str) -> u64 {
    snapshot[field].as_u64().unwrap_or_default()
}

fn flag<'a>(command: &'a str, name: &str) -> Option<&'a str> {
    let value = command.split_whitespace().skip_while(|word| *word != name).nth(1);
    value.map(|word| word.trim_matches('\''))
}

fn vault(stage: &Stage) -> String {
    format!("file://{}", stage.dir.join("vault").display())
}

fn base64_of_random_key() -> Result<String> {
    use base64::Engine;
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| error.to_string())?;
    Ok(base64::engine::general_purpose::STANDARD.encode(key))
}

fn chapter(title: &str) {
    println!("\n== {title}");
}

fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    format!("{mebibytes:.2} MiB")
}

#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
