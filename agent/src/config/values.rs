//! Values of the configuration that are checked where they stand, so that an error has its line.

use holdfast_policies::schedule::{Schedule, ScheduleError};
use holdfast_policies::zone::Zone;
use holdfast_vault::keys::{PaperError, Recipient};
use serde::Deserialize;

/// A crontab line that is known to be readable.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Crontab(String);

impl TryFrom<String> for Crontab {
    type Error = ScheduleError;

    fn try_from(line: String) -> Result<Crontab, ScheduleError> {
        Schedule::parse(&line, &Zone::utc())?;
        Ok(Crontab(line))
    }
}

impl Crontab {
    /// As written.
    pub fn line(&self) -> &str {
        &self.0
    }

    /// The schedule in a time zone.
    pub fn schedule(&self, zone: &Zone) -> Schedule {
        Schedule::parse(&self.0, zone).expect("the line was parsed when the file was read")
    }
}

/// The public half of a recovery key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RecoveryRecipient(Recipient);

impl TryFrom<String> for RecoveryRecipient {
    type Error = PaperError;

    fn try_from(text: String) -> Result<RecoveryRecipient, PaperError> {
        Recipient::parse(&text).map(RecoveryRecipient)
    }
}

impl RecoveryRecipient {
    /// It.
    pub fn recipient(&self) -> Recipient {
        self.0
    }
}
