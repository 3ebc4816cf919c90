//! Time zones by name, from the zone data inside the binary.
//!
//! Holds: the same name means the same offsets on every machine that runs the same binary.

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, civil};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A time zone: an IANA name such as `Europe/Berlin`, or `UTC`, which is the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

/// Why a zone was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("time zone {read:?} is not known: write an IANA name such as Europe/Berlin, or UTC")]
pub struct ZoneError {
    /// What was read.
    pub read: String,
}

impl Zone {
    /// The zone without daylight saving.
    pub fn utc() -> Zone {
        Zone { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What clocks on the wall show at this moment.
    pub fn wall(&self, at: Timestamp) -> civil::DateTime {
        self.zone.to_datetime(at)
    }

    /// The offset from UTC at this moment, seconds east.
    pub(crate) fn offset_seconds(&self, at: Timestamp) -> i32 {
        self.zone.to_offset(at).seconds()
    }

    /// The zone as jiff knows it.
    pub(crate) fn rules(&self) -> &TimeZone {
        &self.zone
    }
}

impl Default for Zone {
    fn default() -> Zone {
        Zone::utc()
    }
}

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(read: &str) -> Result<Zone, ZoneError> {
        if read == "UTC" {
            return Ok(Zone::utc());
        }
        let refused = || ZoneError { read: read.chars().take(64).collect() };
        let zone = TimeZoneDatabase::bundled().get(read).map_err(|_| refused())?;
        let name = zone.iana_name().unwrap_or(read).to_owned();
        Ok(Zone { name, zone })
    }
}

impl TryFrom<String> for Zone {
    type Error = ZoneError;

    fn try_from(read: String) -> Result<Zone, ZoneError> {
        read.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> String {
        zone.name
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_or_refused() {
        for name in ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata"] {
            assert_eq!(name.parse::<Zone>().unwrap().name(), name);
        }
        for name in ["", "Berlin", "../etc/passwd", "Europe/Atlantis"] {
            assert!(name.parse::<Zone>().is_err(), "{name}");
        }
    }

    #[test]
    fn the_offset_follows_the_season() {
        let zone: Zone = "Europe/Berlin".parse().unwrap();
        let offset = |text: &str| zone.offset_seconds(text.parse().unwrap());
        assert_eq!(offset("2026-01-01T00:00:00Z"), 3_600);
        assert_eq!(offset("2026-07-01T00:00:00Z"), 7_200);
    }
}
