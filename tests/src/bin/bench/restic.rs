//! restic, as Debian packages it, on the same snapshot files.

use crate::Ground;
use crate::figures::{Result, Stored};
use crate::process::{Run, measure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A repository with a throw-away password; version 2, so that it compresses.
pub(crate) struct Restic {
    repository: PathBuf,
    dir: PathBuf,
}

impl Restic {
    pub(crate) fn create(ground: &Ground) -> Result<Restic> {
        let restic = Restic { repository: ground.dir.join("restic"), dir: ground.dir.clone() };
        restic.run(&["init", "--repository-version", "2"], Path::new(""))?;
        Ok(restic)
    }

    /// Backs up one file; what that took and brought.
    pub(crate) fn backup(&self, file: &Path) -> Result<(Run, Stored)> {
        let before = Stored::of(&self.repository)?;
        let run = self.run(&["backup", "--host", "bench"], file)?;
        Ok((run, Stored::of(&self.repository)?.since(before)))
    }

    fn run(&self, arguments: &[&str], file: &Path) -> Result<Run> {
        let mut command = Command::new("restic");
        command.arg("--repo").arg(&self.repository).args(arguments);
        if file != Path::new("") {
            command.arg(file);
        }
        command
            .env("RESTIC_PASSWORD", "throw-away")
            .env("RESTIC_CACHE_DIR", self.dir.join("restic-cache"));
        measure(&mut command, &self.dir.join("restic.log"))
    }
}
