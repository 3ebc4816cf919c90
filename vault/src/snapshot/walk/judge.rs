//! The judgement of one record: equal, differing, new, or gone from the source.
//!
//! Holds: a bit that was off stays off, and a record is judged once; findings are kept up to a
//! limit, and counted beyond it.

use super::{
    BaseEntry, Emit, FINDINGS, Finding, Mode, Rev, SAMPLED_TAGS, SourceRecord, Target, Walk,
};
use crate::format::Record;

pub(super) enum Match {
    Equal { open: usize, ordinal: u32 },
    Differs { open: usize, ordinal: u32, length: u64, known: Option<(usize, u32)> },
    Absent,
}

impl Walk {
    /// Judges the base's records below `rev`: the source does not have them.
    pub(super) fn skip_to(&mut self, rev: Option<Rev>) {
        for place in 0..self.open.len() {
            while let Some(entry) = self.open[place].entry() {
                if rev.is_some_and(|rev| entry.rev >= rev) {
                    break;
                }
                self.open[place].next += 1;
                if self.segments[self.open[place].segment].implied {
                    self.imply(place, &entry);
                } else {
                    self.gone(place, &entry);
                }
            }
        }
        self.open.retain(|open| open.next < open.index.len());
    }

    /// A record that was named and that the source says nothing of: it is the same there.
    fn imply(&mut self, place: usize, entry: &BaseEntry) {
        let segment = self.open[place].segment;
        if !self.segments[segment].live.contains(entry.ordinal) {
            return;
        }
        self.shares(entry.rev);
        self.stay(segment, entry.ordinal, entry.length);
        self.result.record_count += 1;
        self.result.tombstone_count += u64::from(entry.tombstone);
        self.result.live_bytes += entry.length;
    }

    /// The record that was named at `rev` is gone; false: none was.
    pub(super) fn lose_named(&mut self, rev: Rev) -> bool {
        let mut found = false;
        for place in 0..self.open.len() {
            let Some(entry) = self.open[place].entry().filter(|entry| entry.rev == rev) else {
                continue;
            };
            let segment = &self.segments[self.open[place].segment];
            found |= segment.implied && segment.live.contains(entry.ordinal);
            self.gone(place, &entry);
        }
        found
    }

    fn shares(&mut self, rev: Rev) {
        self.result.counts.common += 1;
        let highest = &mut self.result.counts.highest_common;
        *highest = (*highest).max(rev.0);
    }

    fn gone(&mut self, place: usize, entry: &BaseEntry) {
        let segment = self.open[place].segment;
        let alive = self.segments[segment].live.contains(entry.ordinal);
        if !alive || self.segments[segment].contested {
            return;
        }
        match self.mode {
            Mode::Same { compact_revision, .. } if entry.rev.0 > compact_revision => {
                self.result.counts.vanished += 1;
                let lowest = &mut self.result.counts.lowest_vanished;
                *lowest = (*lowest).min(entry.rev.0);
                self.found(Finding::Vanished(entry.rev));
                // Its bytes are not at hand, so it stays where it is and the digest of all cannot
                // be told.
                self.stay(segment, entry.ordinal, entry.length);
                self.exact = false;
                self.result.record_count += 1;
                self.result.tombstone_count += u64::from(entry.tombstone);
                self.result.live_bytes += entry.length;
            }
            Mode::Same { .. } => {
                self.result.compacted += 1;
                if self.result.counts.common == 0 && self.gone_tags.len() < SAMPLED_TAGS {
                    self.gone_tags.insert(entry.tag);
                }
            }
            Mode::NewLineage => {
                self.result.counts.vanished += 1;
                let lowest = &mut self.result.counts.lowest_vanished;
                *lowest = (*lowest).min(entry.rev.0);
            }
        }
    }

    /// Looks for the record among the open indexes; only records alive in the base count.
    pub(super) fn find(&self, record: &SourceRecord<'_>) -> Match {
        let mut differs = None;
        let mut known = None;
        for (place, open) in self.open.iter().enumerate() {
            let Some(entry) = open.entry() else { continue };
            let ordinal = entry.ordinal;
            let segment = &self.segments[open.segment];
            if entry.rev != record.rev() || !segment.live.contains(ordinal) {
                continue;
            }
            let same = entry.tombstone == record.tombstone
                && entry.length == record.value.len() as u64
                && entry.digest == open.index.digest(record);
            match (segment.contested, same) {
                (false, true) => return Match::Equal { open: place, ordinal },
                (false, false) => differs = Some((place, ordinal, entry.length)),
                (true, true) => known = Some((place, ordinal)),
                (true, false) => {}
            }
        }
        match differs {
            Some((open, ordinal, length)) => Match::Differs { open, ordinal, length, known },
            None => Match::Absent,
        }
    }

    pub(super) fn keep<E: Emit>(
        &mut self,
        place: usize,
        ordinal: u32,
        record: &SourceRecord<'_>,
        emit: &mut E,
    ) -> Result<(), E::Error> {
        let segment = self.open[place].segment;
        self.shares(record.rev());
        if let Some(group) = self.segments[segment].give_up {
            return emit.emit(Target::Copied(group), record);
        }
        self.stay(segment, ordinal, record.value.len() as u64);
        Ok(())
    }

    pub(super) fn differ<E: Emit>(
        &mut self,
        (place, ordinal, length): (usize, u32, u64),
        known: Option<(usize, u32)>,
        record: &SourceRecord<'_>,
        emit: &mut E,
    ) -> Result<(), E::Error> {
        self.result.counts.changed += 1;
        let lowest = &mut self.result.counts.lowest_changed;
        *lowest = (*lowest).min(record.main);
        if self.mode == Mode::NewLineage {
            return emit.emit(new_target(record), record);
        }
        self.found(Finding::Changed(record.rev()));
        self.exact = false;
        let segment = self.open[place].segment;
        self.stay(segment, ordinal, length);
        let kept = self.segments[segment].id;
        match known {
            Some((other, other_ordinal)) => {
                let other_segment = self.open[other].segment;
                self.stay(other_segment, other_ordinal, record.value.len() as u64);
                let id = self.segments[other_segment].id;
                self.result.contested.push((record.rev(), kept, Some(id)));
                Ok(())
            }
            None => {
                self.result.contested.push((record.rev(), kept, None));
                emit.emit(Target::Contested, record)
            }
        }
    }

    pub(super) fn fresh<E: Emit>(
        &mut self,
        record: &SourceRecord<'_>,
        emit: &mut E,
    ) -> Result<(), E::Error> {
        if let Mode::Same { base_revision, compact_revision } = self.mode
            && record.main <= base_revision
            && !self.was_lost(record.rev())
            // Old members drop it and new ones keep it.
            && !(record.tombstone && record.main == compact_revision)
        {
            self.result.counts.appeared += 1;
            self.found(Finding::Appeared(record.rev()));
        }
        self.compare_key(record);
        emit.emit(new_target(record), record)
    }

    fn was_lost(&self, rev: Rev) -> bool {
        self.lost.iter().any(|(first, last)| (*first..=*last).contains(&rev))
    }

    /// Notes a key that the base had, too, while nothing else shows a common history.
    fn compare_key(&mut self, record: &SourceRecord<'_>) {
        let Some(key) = &self.tag_key else { return };
        if self.result.counts.common == 0 && !self.gone_tags.is_empty() {
            let tag = key.tag(record.key);
            if self.gone_tags.contains(&tag) {
                self.shared_tags.insert(tag);
            }
        }
    }

    /// Moves every open index past `rev`.
    pub(super) fn pass(&mut self, rev: Rev) {
        for open in &mut self.open {
            while open.entry().is_some_and(|entry| entry.rev == rev) {
                open.next += 1;
            }
        }
    }

    fn stay(&mut self, segment: usize, ordinal: u32, length: u64) {
        let walked = &mut self.walked[segment];
        assert!(self.segments[segment].live.contains(ordinal), "a bit would turn on");
        assert!(walked.live.insert(ordinal), "a record is judged once");
        walked.live_bytes += length;
    }

    pub(super) fn found(&mut self, finding: Finding) {
        if self.result.findings.len() < FINDINGS {
            self.result.findings.push(finding);
        }
    }

    pub(super) fn count(&mut self, record: &SourceRecord<'_>) {
        self.result.record_count += 1;
        self.result.tombstone_count += u64::from(record.tombstone);
        self.result.live_bytes += record.value.len() as u64;
        if self.exact && self.totals.is_none() {
            let SourceRecord { main, sub, tombstone, value, .. } = *record;
            self.hash.update(&Record { main, sub, tombstone, value });
        }
    }
}

fn new_target(record: &SourceRecord<'_>) -> Target {
    if record.superseded { Target::Superseded } else { Target::Live }
}
