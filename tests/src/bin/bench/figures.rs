//! Numbers as they are printed, and tables of them.

use comfy_table::{Cell, CellAlignment, Table, presets};
use std::error::Error;
use std::path::Path;
use std::time::Duration;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Prints a table: the first column reads to the left, all others are figures.
pub(crate) fn print<const N: usize>(title: &str, header: [&str; N], rows: &[[String; N]]) {
    println!("\n== {title}");
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(header);
    for column in 1..N {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for row in rows {
        table.add_row(row.iter().map(Cell::new));
    }
    println!("{table}");
}

/// The middle of some durations; of an even number, the mean of the two in the middle.
pub(crate) fn median(durations: &[Duration]) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    match sorted.len() {
        0 => Duration::ZERO,
        count if count % 2 == 1 => sorted[count / 2],
        count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2,
    }
}

/// The middle of some numbers, as [`median`].
pub(crate) fn median_of(numbers: &[f64]) -> f64 {
    let durations: Vec<Duration> =
        numbers.iter().map(|number| Duration::from_secs_f64(number.max(0.0))).collect();
    median(&durations).as_secs_f64()
}

pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.2} MiB", float(bytes) / f64::from(1 << 20))
}

/// `part / whole` with two decimals, and whether it is within the bound.
pub(crate) fn against(ratio: f64, bound: Option<f64>) -> String {
    match bound {
        Some(bound) if ratio <= bound => format!("{ratio:.2} (bound {bound:.2})"),
        Some(bound) => format!("{ratio:.2} ABOVE {bound:.2}"),
        None => format!("{ratio:.2}"),
    }
}

/// A ratio that is to be at least so large.
pub(crate) fn above(ratio: f64, least: f64) -> String {
    if ratio >= least {
        format!("{ratio:.2} (at least {least:.2})")
    } else {
        format!("{ratio:.2} BELOW {least:.2}")
    }
}

pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    float(part) / float(whole.max(1))
}

#[expect(clippy::cast_precision_loss, reason = "figures are printed with two decimals")]
fn float(number: u64) -> f64 {
    number as f64
}

/// Files below a folder, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stored {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Stored {
    /// Lists the folder.
    pub(crate) fn of(folder: &Path) -> Result<Stored> {
        let mut stored = Stored::default();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    stored.files += 1;
                    stored.bytes += entry.metadata()?.len();
                }
            }
        }
        Ok(stored)
    }

    /// What came since `earlier`.
    pub(crate) fn since(self, earlier: Stored) -> Stored {
        Stored {
            files: self.files.saturating_sub(earlier.files),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle() {
        assert_eq!(median_of(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median_of(&[4.0, 1.0]), 2.5);
        assert_eq!(median(&[]), Duration::ZERO);
    }

    #[test]
    fn a_figure_above_its_bound_shows() {
        assert_eq!(against(1.05, Some(1.05)), "1.05 (bound 1.05)");
        assert_eq!(against(1.06, Some(1.05)), "1.06 ABOVE 1.05");
        assert_eq!(above(1.2, 1.2), "1.20 (at least 1.20)");
        assert_eq!(above(1.1, 1.2), "1.10 BELOW 1.20");
    }

    #[test]
    fn files_in_all_folders_count() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("a/b")).expect("folders");
        std::fs::write(folder.path().join("a/b/c"), [0; 7]).expect("a file");
        let before = Stored::of(folder.path()).expect("a listing");
        std::fs::write(folder.path().join("d"), [0; 5]).expect("a file");
        let after = Stored::of(folder.path()).expect("a listing");
        assert_eq!((before.files, before.bytes), (1, 7));
        assert_eq!(after.since(before), Stored { files: 1, bytes: 5 });
    }
}
