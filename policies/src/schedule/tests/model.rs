//! A model of schedules that walks every minute and reads the fields by their definition.
//!
//! It shares nothing with the code but the zone data: fields are generated as data and rendered as
//! text; time is walked minute by minute; a wall minute counts when it is new (repeated ones are
//! not), and those that a gap skips count at the first minute after it.

use crate::zone::Zone;
use jiff::civil::DateTime;
use jiff::{Timestamp, ToSpan as _};
use proptest::prelude::*;

pub(super) const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "America/Santiago",
    "Pacific/Auckland",
    "Africa/Casablanca",
];

#[derive(Debug, Clone)]
pub(super) enum Span {
    Star,
    Single(u32),
    Range(u32, u32),
}

#[derive(Debug, Clone)]
pub(super) struct ModelItem {
    pub(super) span: Span,
    pub(super) step: u32,
}

#[derive(Debug, Clone)]
pub(super) struct ModelField {
    pub(super) lowest: u32,
    pub(super) items: Vec<ModelItem>,
}

#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) minute: ModelField,
    pub(super) hour: ModelField,
    pub(super) day: ModelField,
    pub(super) month: ModelField,
    pub(super) weekday: ModelField,
}

impl ModelField {
    pub(super) fn holds(&self, value: u32) -> bool {
        self.items.iter().any(|item| match item.span {
            Span::Star => (value - self.lowest).is_multiple_of(item.step),
            Span::Single(single) => value == single,
            Span::Range(first, last) => {
                first <= value && value <= last && (value - first).is_multiple_of(item.step)
            }
        })
    }

    fn starts_with_star(&self) -> bool {
        matches!(self.items[0].span, Span::Star)
    }

    fn text(&self, names: &[&str], named: bool) -> String {
        let name = |value: u32| match names.get((value - self.lowest) as usize) {
            Some(name) if named => (*name).to_owned(),
            _ => value.to_string(),
        };
        let text = |item: &ModelItem| {
            let step = if item.step > 1 { format!("/{}", item.step) } else { String::new() };
            match item.span {
                Span::Star => format!("*{step}"),
                Span::Single(value) => name(value),
                // sun-sun is Sunday alone, so the whole week is 0-7.
                Span::Range(0, 7) => format!("0-7{step}"),
                Span::Range(first, last) => format!("{}-{}{step}", name(first), name(last)),
            }
        };
        self.items.iter().map(text).collect::<Vec<_>>().join(",")
    }
}

impl Model {
    pub(super) fn line(&self, named: bool) -> String {
        let months =
            ["Jan", "feb", "MAR", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
        let days = ["sun", "Mon", "tue", "wed", "thu", "FRI", "sat", "sun"];
        format!(
            "{} {}  {} {} {}",
            self.minute.text(&[], false),
            self.hour.text(&[], false),
            self.day.text(&[], false),
            self.month.text(&months, named),
            self.weekday.text(&days, named),
        )
    }

    pub(super) fn holds(&self, wall: DateTime) -> bool {
        let number = |value: i8| u32::try_from(value).unwrap();
        let weekday = number(wall.date().weekday().to_sunday_zero_offset());
        let weekday = self.weekday.holds(weekday) || weekday == 0 && self.weekday.holds(7);
        let day = self.day.holds(number(wall.day()));
        let date = if self.day.starts_with_star() || self.weekday.starts_with_star() {
            day && weekday
        } else {
            day || weekday
        };
        date && self.month.holds(number(wall.month()))
            && self.hour.holds(number(wall.hour()))
            && self.minute.holds(number(wall.minute()))
    }

    /// All ticks in `[from, to)`, both whole minutes.
    pub(super) fn ticks(&self, zone: &Zone, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
        let mut ticks = Vec::new();
        walk(zone, from, to, |at, wall| {
            if self.holds(wall) && ticks.last() != Some(&at) {
                ticks.push(at);
            }
        });
        ticks
    }
}

/// Calls `seen` with each new wall minute and the moment when it counts.
pub(super) fn walk(
    zone: &Zone,
    from: Timestamp,
    to: Timestamp,
    mut seen: impl FnMut(Timestamp, DateTime),
) {
    // A day before, so that the pass of a repeated hour in which `from` lies is known.
    let mut at = from - 26.hours();
    let mut high = zone.wall(at);
    while at < to {
        let wall = zone.wall(at);
        while high < wall {
            high += 1.minute();
            if at >= from {
                seen(at, high);
            }
        }
        at += 1.minute();
    }
}

pub(super) fn field(lowest: u32, highest: u32) -> impl Strategy<Value = ModelField> {
    let range = (lowest..=highest, lowest..=highest)
        .prop_map(|(one, other)| Span::Range(one.min(other), one.max(other)));
    let span = prop_oneof![
        2 => Just(Span::Star),
        3 => (lowest..=highest).prop_map(Span::Single),
        2 => range,
    ];
    let step = prop_oneof![2 => Just(1), 1 => 2..=highest];
    let item = (span, step).prop_map(|(span, step)| {
        let step = if matches!(span, Span::Single(_)) { 1 } else { step };
        ModelItem { span, step }
    });
    let star = Just(vec![ModelItem { span: Span::Star, step: 1 }]);
    let items = prop_oneof![1 => star, 2 => proptest::collection::vec(item, 1..4)];
    items.prop_map(move |items| ModelField { lowest, items })
}

pub(super) fn model() -> impl Strategy<Value = Model> {
    (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7))
        .prop_map(|(minute, hour, day, month, weekday)| Model { minute, hour, day, month, weekday })
}

/// Days near a change of offset more often than others.
pub(super) fn window(zone: &Zone, near_change: bool, pick: i64) -> Timestamp {
    let begin: Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
    let day = begin + (pick % (8 * 365) * 24).hours();
    if near_change && let Some(change) = zone.rules().following(day).next() {
        let at = change.timestamp() - 30.hours();
        return Timestamp::from_second(at.as_second() / 60 * 60).unwrap();
    }
    day
}
