//! The text of a schedule: five fields, checked one by one, then put into the `cron` crate's
//! conventions.
//!
//! The crate parses seven fields (seconds first, years last), counts days of the week from 1 =
//! Sunday, wants both day fields to match, and reads `5/15` as "from 5 on". So each field is
//! checked here, with errors that name it; names become numbers; days of the week become an
//! explicit list in the crate's numbers; the crate then expands lists, ranges and steps. Which of
//! the day fields begins with `*` is kept beside.

use std::str::FromStr as _;

/// The longest line that is read, bytes.
const LONGEST_LINE: usize = 512;
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MACROS: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// One of the five fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldName {
    /// 0-59.
    Minute,
    /// 0-23.
    Hour,
    /// 1-31.
    DayOfMonth,
    /// 1-12 or jan-dec.
    Month,
    /// 0-7 or sun-sat; 0 and 7 are Sunday.
    DayOfWeek,
}

/// Why a schedule was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not five fields.
    #[error(
        "schedule {line:?} has {found} fields: write five (minute, hour, day of month, month, day of week; \
         no seconds), or one of {}",
        macro_names()
    )]
    FieldCount {
        /// The line, shortened.
        line: String,
        /// How many fields stand there.
        found: usize,
    },
    /// A word with @ that is not known.
    #[error("schedule {read:?} is not known: write one of {}, or five fields", macro_names())]
    UnknownMacro {
        /// What was read.
        read: String,
    },
    /// A field holds something that it must not.
    #[error("schedule: {field} field: {read:?} {problem}; allowed: {}", field.allowed())]
    Field {
        /// Which field.
        field: FieldName,
        /// The part of it that was refused.
        read: String,
        /// What is wrong with it, with the way out.
        problem: String,
    },
    /// No date ever matches.
    #[error(
        "schedule {line:?} never runs: no month that it names has a day of the month that it names"
    )]
    NeverRuns {
        /// The day of month and month fields.
        line: String,
    },
    /// Longer than a day.
    #[error(
        "jitter {read} is too long: at most 24h, and sensibly below the spacing of the schedule"
    )]
    JitterTooLong {
        /// What was asked for.
        read: String,
    },
}

/// The fields as the `cron` crate expanded them, in its numbers, and what it does not keep.
#[derive(Debug, Clone)]
pub(super) struct Fields {
    /// The crate's schedule; asked for members of its sets only.
    pub(super) sets: cron::Schedule,
    /// The day of month field begins with `*`.
    pub(super) any_day_of_month: bool,
    /// The day of week field begins with `*`.
    pub(super) any_day_of_week: bool,
    /// Day of month and month as they were written, for errors.
    pub(super) dates: String,
}

/// Reads a line.
pub(super) fn parse(line: &str) -> Result<Fields, ScheduleError> {
    let shown: String = line.trim().chars().take(80).collect();
    if line.len() > LONGEST_LINE {
        return Err(ScheduleError::FieldCount {
            line: shown,
            found: line.split_whitespace().count(),
        });
    }
    let words: Vec<String> = line.split_whitespace().map(str::to_ascii_lowercase).collect();
    let words = match words.as_slice() {
        [word] if word.starts_with('@') => match MACROS.iter().find(|(name, _)| name == word) {
            Some((_, fields)) => fields.split(' ').map(str::to_owned).collect(),
            None => return Err(ScheduleError::UnknownMacro { read: shown }),
        },
        [word, ..] if word.starts_with('@') => {
            return Err(ScheduleError::UnknownMacro { read: shown });
        }
        _ => words,
    };
    let [minute, hour, day_of_month, month, day_of_week] = words.as_slice() else {
        return Err(ScheduleError::FieldCount { line: shown, found: words.len() });
    };
    let translated = format!(
        "0 {} {} {} {} {}",
        translate(FieldName::Minute, minute)?,
        translate(FieldName::Hour, hour)?,
        translate(FieldName::DayOfMonth, day_of_month)?,
        translate(FieldName::Month, month)?,
        translate(FieldName::DayOfWeek, day_of_week)?,
    );
    // Every part was checked above, so this fails only if the crate's grammar changes.
    let sets = cron::Schedule::from_str(&translated)
        .map_err(|_| ScheduleError::FieldCount { line: shown, found: words.len() })?;
    Ok(Fields {
        sets,
        any_day_of_month: day_of_month.starts_with('*'),
        any_day_of_week: day_of_week.starts_with('*'),
        dates: format!("{day_of_month} {month}"),
    })
}

/// One part of a list: `first-last/step`.
struct Item {
    first: u32,
    last: u32,
    step: u32,
}

fn translate(field: FieldName, text: &str) -> Result<String, ScheduleError> {
    let mut parts = Vec::new();
    for part in text.split(',') {
        let Item { first, last, step } = item(field, part)?;
        if field == FieldName::DayOfWeek {
            let days = (first..=last).step_by(step as usize);
            parts.extend(days.map(|day| (day % 7 + 1).to_string()));
        } else {
            parts.push(format!("{first}-{last}/{step}"));
        }
    }
    Ok(parts.join(","))
}

fn item(field: FieldName, part: &str) -> Result<Item, ScheduleError> {
    let refuse = |problem: &str| field.refuse(part, problem);
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    let (lowest, highest) = field.bounds();
    let (first, last) = if range == "*" {
        // Sunday once: a star in the day of week field runs from 0 to 6.
        (lowest, if field == FieldName::DayOfWeek { 6 } else { highest })
    } else if let Some((first, last)) = range.split_once('-') {
        let (first, last) = (value(field, first)?, value(field, last)?);
        // sun at the end of a range is the week's other end: fri-sun.
        let sunday_last = field == FieldName::DayOfWeek && last == 0 && first > 0;
        (first, if sunday_last && range.ends_with("sun") { 7 } else { last })
    } else {
        let single = value(field, range)?;
        if let Some(step) = step {
            let meant =
                format!("has a step behind a single value: write {single}-{highest}/{step}");
            return Err(refuse(&meant));
        }
        (single, single)
    };
    if first > last {
        let meant = format!("runs backwards: write {first}-{highest},{lowest}-{last}");
        return Err(refuse(&meant));
    }
    let step = match step {
        None => 1,
        Some(step) => number(step).ok_or_else(|| refuse("has no number as its step"))?,
    };
    if step == 0 || step > highest {
        return Err(refuse(&format!("has a step outside 1-{highest}")));
    }
    Ok(Item { first, last, step })
}

fn value(field: FieldName, text: &str) -> Result<u32, ScheduleError> {
    let (lowest, highest) = field.bounds();
    let names: &[&str] = match field {
        FieldName::Month => &MONTHS,
        FieldName::DayOfWeek => &WEEKDAYS,
        _ => &[],
    };
    let named = (lowest..).zip(names).find(|(_, name)| **name == text).map(|(number, _)| number);
    match named.or_else(|| number(text)) {
        Some(value) if (lowest..=highest).contains(&value) => Ok(value),
        Some(_) => Err(field.refuse(text, &format!("is outside {lowest}-{highest}"))),
        None => Err(field.refuse(text, "is not a value")),
    }
}

/// At most three digits, no sign.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn macro_names() -> String {
    MACROS.map(|(name, _)| name).join(" ")
}

impl FieldName {
    fn bounds(self) -> (u32, u32) {
        match self {
            FieldName::Minute => (0, 59),
            FieldName::Hour => (0, 23),
            FieldName::DayOfMonth => (1, 31),
            FieldName::Month => (1, 12),
            FieldName::DayOfWeek => (0, 7),
        }
    }

    /// What may stand in this field.
    pub fn allowed(self) -> &'static str {
        match self {
            FieldName::Minute => "0-59, *, lists 0,30, ranges 0-30, steps */15 or 0-30/5",
            FieldName::Hour => "0-23, *, lists 6,18, ranges 8-17, steps */6 or 8-17/3",
            FieldName::DayOfMonth => "1-31, *, lists 1,15, ranges 1-7, steps */2 or 1-15/7",
            FieldName::Month => "1-12 or jan-dec, *, lists, ranges, steps",
            FieldName::DayOfWeek => {
                "0-7 or sun-sat (0 and 7 are Sunday), *, lists, ranges mon-fri, steps"
            }
        }
    }

    fn refuse(self, read: &str, problem: &str) -> ScheduleError {
        let read = read.chars().take(40).collect();
        ScheduleError::Field { field: self, read, problem: problem.to_owned() }
    }
}

impl std::fmt::Display for FieldName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            FieldName::Minute => "minute",
            FieldName::Hour => "hour",
            FieldName::DayOfMonth => "day of month",
            FieldName::Month => "month",
            FieldName::DayOfWeek => "day of week",
        })
    }
}
