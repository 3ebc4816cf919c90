//! defrag: the database of a stopped member without its free pages.

use super::{copy, there};
use crate::console::Console;
use crate::failure::Failure;
use holdfast_core::datadir::db_path;
use std::path::Path;

/// `defrag`
pub(super) fn run(data_dir: &Path, console: &Console) -> Result<(), Failure> {
    let path = db_path(data_dir);
    let done = there(&path).and_then(|()| copy::replace(&path, &copy::open(&path)?));
    done.map_err(|failure| {
        let words =
            format!("Failed to defragment etcd data[{}] ({})", data_dir.display(), failure.words);
        Failure::error(words)
    })?;
    console.complain(format!("finished defragmenting directory {}", path.display()));
    Ok(())
}
