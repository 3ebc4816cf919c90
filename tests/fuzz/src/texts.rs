//! What operators write: key files, the agent's configuration, crontab lines.

use holdfast_agent::config::Config;
use holdfast_policies::schedule::Schedule;
use holdfast_policies::zone::Zone;
use holdfast_vault::keys::parse_encryption_config;
use jiff::Timestamp;
use std::path::Path;

/// An EncryptionConfiguration.
pub fn keys(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(error) = parse_encryption_config(text) {
        let _ = error.to_string();
    }
}

/// The agent's configuration.
pub fn agent(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text, Path::new("/etc/holdfast/agent.yaml")) {
        Ok(config) => {
            let _ = (config.rounds("m"), config.cycle("m"), config.spool_directory());
        }
        Err(error) => {
            let _ = error.to_string();
        }
    }
}

/// A crontab line; in the first byte, whether the zone has daylight saving.
pub fn crontab(data: &[u8]) {
    let Some((first, line)) = data.split_first() else { return };
    let Ok(line) = std::str::from_utf8(line) else { return };
    let zone = if first % 2 == 0 { "UTC" } else { "Europe/Berlin" };
    let Ok(zone) = zone.parse::<Zone>() else { return };
    match Schedule::parse(line, &zone) {
        Ok(schedule) => {
            let mut at = Timestamp::UNIX_EPOCH;
            for _ in 0..8 {
                let Some(next) = schedule.next_after(at) else { break };
                assert!(next > at, "`{line}`: the next tick after {at} is {next}");
                at = next;
            }
        }
        Err(error) => {
            let _ = error.to_string();
        }
    }
}
