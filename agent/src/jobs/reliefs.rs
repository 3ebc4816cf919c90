//! Relief chains that other processes left: whether one more may begin, and which of them nothing
//! but the paper opens.
//!
//! What must hold: a process that starts cannot go on in an old relief chain, since only the paper
//! opens it, and its own one begins with a whole copy; so however often agents start while the key
//! service is away, the vault gains one such copy an hour at most. When the service is back, chains
//! that the configured keys do not open are an alarm until they do. That costs a LIST when the
//! agent starts and once a day; in between, one question by name for each such chain and round.

use super::Worker;
use crate::metrics::gauge;
use crate::vaults::{self, OpenError};
use holdfast_vault::access::AccessError;
use holdfast_vault::chain::{ChainError, Names, newest_listed};
use holdfast_vault::format::ClusterId;
use holdfast_vault::init::VaultError;
use holdfast_vault::relief::{Begun, reliefs};
use holdfast_vault::{Store, StoreError};
use jiff::Timestamp;

/// Between two beginnings. An hour, less what an hourly job may come early.
const PAUSE_MS: i64 = 55 * 60_000;
/// The same behind a chain that never got a snapshot: its process was ended early, as this one may.
const UNFINISHED_PAUSE_MS: i64 = 10 * 60_000;
/// Between two looks at all relief chains.
const LOOK_MS: i64 = 86_400_000;
/// The same when one of them could not be judged.
const LOOK_AGAIN_MS: i64 = 3_600_000;
/// Chains that are asked for by name in each round, and named in an alarm.
const MOST_ASKED: usize = 32;
const MOST_NAMED: usize = 3;

/// Another relief chain may not begin yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wait {
    /// Until then, milliseconds since 1970.
    pub until_ms: i64,
    /// Which chain there is, in words.
    pub why: String,
}

/// Whether another relief chain may begin: `None`: yes.
pub(super) fn must_wait(begun: &[Begun], now_ms: i64) -> Option<Wait> {
    let until = |one: &Begun| {
        let pause_ms = if one.holds_snapshot { PAUSE_MS } else { UNFINISHED_PAUSE_MS };
        // From far ahead: the clocks differ, and nothing is known about its age.
        let is_ahead = one.begun_ms.saturating_sub(now_ms) > pause_ms;
        let until_ms = one.begun_ms.min(now_ms).saturating_add(pause_ms);
        (!is_ahead && until_ms > now_ms).then_some((until_ms, *one))
    };
    let (until_ms, last) = begun.iter().filter_map(until).max_by_key(|(until_ms, _)| *until_ms)?;
    let moment = |ms: i64| match Timestamp::from_millisecond(ms) {
        Ok(moment) => format!("{moment:.0}"),
        Err(_) => format!("{ms} ms"),
    };
    let holds = if last.holds_snapshot {
        "and holds what the recovery key on paper opens"
    } else {
        "and holds no snapshot"
    };
    let why = format!(
        "relief chain {} was begun at {} {holds}. A process that starts cannot go on in it without \
         the paper, and another one, with a whole copy, begins at {} at the earliest",
        last.cluster,
        moment(last.begun_ms),
        moment(until_ms),
    );
    Some(Wait { until_ms, why })
}

/// What is known of the relief chains of former processes.
#[derive(Default)]
pub(super) struct Former {
    looked: Option<Look>,
}

struct Look {
    next_ms: i64,
    at_ms: i64,
    shut: Vec<Shut>,
}

/// A chain that needs the paper.
struct Shut {
    cluster: ClusterId,
    /// The name of the commit that a rewrap would write.
    next: String,
}

impl Former {
    /// Whether it is time to look, or something was written since where the paper was needed.
    async fn is_due(&self, store: &Store, now_ms: i64) -> bool {
        let Some(look) = &self.looked else { return true };
        if !(look.at_ms..look.next_ms).contains(&now_ms) {
            return true;
        }
        for shut in look.shut.iter().take(MOST_ASKED) {
            if store.head(&shut.next).await.is_ok() {
                return true;
            }
        }
        false
    }

    /// What stands, in words.
    fn alarm(&self) -> Option<String> {
        let shut = &self.looked.as_ref()?.shut;
        let named: Vec<String> =
            shut.iter().take(MOST_NAMED).map(|shut| shut.cluster.to_string()).collect();
        let first = named.first()?;
        let more = if shut.len() > named.len() { " and others" } else { "" };
        let (are, each) = match shut.len() {
            1 => ("1 relief chain is".to_owned(), ""),
            many => (format!("{many} relief chains are"), ", and so for each"),
        };
        Some(format!(
            "{are} opened by the recovery key alone ({}{more}): run `holdfast vault rewrap \
             --cluster {first} --recovery-key-file FILE --config FILE`{each}",
            named.join(", ")
        ))
    }
}

/// What the configured keys do with a relief chain.
enum Opened {
    /// All of it.
    Whole,
    /// Not without the paper. With the name of the next commit.
    Shut(String),
    /// That is not known now.
    Unknown(String),
}

impl Worker {
    /// Whether it is too early to begin another relief chain.
    pub(super) async fn relief_waits(&mut self, now_ms: i64) -> Result<Option<Wait>, OpenError> {
        let left_ms = |wait: &Wait| wait.until_ms.saturating_sub(now_ms);
        // As it was seen: no LIST at each attempt.
        let known = self.keyless.wait.as_ref();
        if known.is_none_or(|wait| !(1..=PAUSE_MS).contains(&left_ms(wait))) {
            let state = self.tools.shared.lock().state.clone();
            let (config, connect) = (&self.tools.config, &self.tools.connect);
            let since_ms = now_ms.saturating_sub(PAUSE_MS);
            let begun = vaults::reliefs_since(config, connect, &state, since_ms).await?;
            self.keyless.wait = must_wait(&begun, now_ms);
        }
        Ok(self.keyless.wait.clone())
    }

    /// Looks at the relief chains of former processes, if it is time; an alarm for those that only
    /// the paper opens.
    pub(super) async fn former_reliefs(&mut self, now_ms: i64) -> Option<String> {
        let vault = self.vault.as_ref()?;
        let (store, cluster) = (vault.store().clone(), vault.access().cluster());
        if self.keyless.former.is_due(&store, now_ms).await {
            match self.look(&store, cluster, now_ms).await {
                Ok(look) => self.keyless.former.looked = Some(look),
                Err(error) => tracing::warn!(%error, "the relief chains cannot be looked at"),
            }
            if let Some(alarm) = self.keyless.former.alarm() {
                tracing::error!(alarm, "somebody must look at this");
            }
        }
        let shut = self.keyless.former.looked.as_ref().map_or(0, |look| look.shut.len());
        self.tools.metrics.recovery_only_chains.set(gauge(shut as u64));
        self.keyless.former.alarm()
    }

    async fn look(
        &self,
        store: &Store,
        stands_for: ClusterId,
        now_ms: i64,
    ) -> Result<Look, StoreError> {
        let own = self.keyless.relief.as_ref().map(|relief| relief.access().cluster());
        let mut look = Look { at_ms: now_ms, next_ms: now_ms + LOOK_MS, shut: Vec::new() };
        for relief in reliefs(store).await? {
            let cluster = relief.cluster;
            if relief.stands_for != stands_for || Some(cluster) == own {
                continue;
            }
            // Nothing was stored where there is no commit.
            let Some((era, number)) = newest_listed(store, cluster).await? else { continue };
            let next = Names::new(cluster).commit(era, number + 1);
            match self.open_former(cluster, next).await {
                Opened::Whole => {}
                Opened::Shut(next) => look.shut.push(Shut { cluster, next }),
                Opened::Unknown(error) => {
                    tracing::warn!(%cluster, error, "what opens this relief chain is not known");
                    look.next_ms = now_ms + LOOK_AGAIN_MS;
                }
            }
        }
        Ok(look)
    }

    async fn open_former(&self, cluster: ClusterId, next: String) -> Opened {
        let (config, connect) = (&self.tools.config, &self.tools.connect);
        match vaults::open_relief(config, connect, cluster).await {
            Ok(relief) if relief.recovery_only_seeds() == 0 => Opened::Whole,
            Ok(relief) => {
                let head = relief.head();
                Opened::Shut(relief.access().names().commit(head.era, head.number + 1))
            }
            Err(error) if error.key_service().is_some() => Opened::Unknown(error.to_string()),
            Err(OpenError::Vault(VaultError::Chain(ChainError::Keys(AccessError::Locked {
                ..
            })))) => Opened::Shut(next),
            Err(error) => Opened::Unknown(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn begun(minutes_ago: i64, holds_snapshot: bool) -> Begun {
        let cluster = ClusterId::from_bytes(&[7; 16]).unwrap();
        Begun { cluster, begun_ms: NOW_MS - minutes_ago * 60_000, holds_snapshot }
    }

    #[test]
    fn one_whole_copy_an_hour() {
        let minutes = |begun: &[Begun]| {
            must_wait(begun, NOW_MS).map(|wait| (wait.until_ms - NOW_MS) / 60_000)
        };
        assert_eq!(minutes(&[]), None);
        assert_eq!(minutes(&[begun(0, true)]), Some(55));
        assert_eq!(minutes(&[begun(54, true)]), Some(1));
        assert_eq!(minutes(&[begun(55, true)]), None);
        assert_eq!(minutes(&[begun(9, false)]), Some(1));
        assert_eq!(minutes(&[begun(10, false)]), None);
        assert_eq!(minutes(&[begun(50, true), begun(20, true), begun(1, false)]), Some(35));
        // The store's clock is a little ahead, or far.
        assert_eq!(minutes(&[begun(-3, true)]), Some(55));
        assert_eq!(minutes(&[begun(-56, true)]), None);
        let why = must_wait(&[begun(54, true)], NOW_MS).unwrap().why;
        for words in ["0707", "2023-11-14T21:19:20Z", "2023-11-14T22:14:20Z at the earliest"] {
            assert!(why.contains(words), "{words}: {why}");
        }
    }

    #[test]
    fn an_alarm_names_a_few_and_what_to_do() {
        let shut = |byte: u8| Shut {
            cluster: ClusterId::from_bytes(&[byte; 16]).unwrap(),
            next: String::new(),
        };
        let alarm = |count: u8| {
            let shut = (1..=count).map(shut).collect();
            Former { looked: Some(Look { at_ms: 0, next_ms: 1, shut }) }.alarm()
        };
        assert_eq!((Former::default().alarm(), alarm(0)), (None, None));
        let one = alarm(1).unwrap();
        assert!(one.starts_with("1 relief chain is opened by the recovery key alone"), "{one}");
        let five = alarm(5).unwrap();
        assert!(five.starts_with("5 relief chains are") && five.contains("and others"), "{five}");
        assert!(five.ends_with("`, and so for each"), "{five}");
    }
}
