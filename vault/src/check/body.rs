//! What the bodies of snapshots say: which objects there are, and how they are opened. It must be
//! what the chain says, too.

use super::Checker;
use crate::format::ObjectId;
use crate::proto::{Body, ObjectKind, ObjectRef, SegmentRef, SmallBucket};
use std::collections::BTreeSet;

/// A segment or a spilled bucket as a body describes it.
pub(super) enum Known {
    Segment(Box<SegmentRef>),
    Spill(Box<SmallBucket>),
}

impl Known {
    pub(super) fn object(&self) -> Option<&ObjectRef> {
        match self {
            Known::Segment(segment) => segment.object.as_ref(),
            Known::Spill(bucket) => bucket.spill.as_ref(),
        }
    }
}

impl Checker<'_> {
    /// What a body says that the chain contradicts: the commit it was made for, and the objects
    /// that its snapshot consists of, which are those whose interval holds that commit.
    pub(super) fn contradiction(&self, body: &Body, object: &ObjectRef) -> Option<String> {
        if !self.vault.chain().gaps().is_empty() {
            return None;
        }
        let objects = self.vault.chain().state().objects();
        let extant = objects.get(&ObjectId::from_bytes(&object.object_id).ok()?)?;
        let number = extant.added;
        if body.base_number + 1 != number {
            return Some(format!("it was made for commit {}, not {number}", body.base_number + 1));
        }
        let listed: BTreeSet<&[u8]> = (body.segments.iter().filter_map(|one| one.object.as_ref()))
            .chain(body.buckets.iter().filter_map(|one| one.spill.as_ref()))
            .map(|object| &object.object_id[..])
            .collect();
        let alive: BTreeSet<&[u8]> = objects
            .values()
            .filter(|one| matches!(one.object.kind(), ObjectKind::Segment | ObjectKind::Spill))
            .filter(|one| one.added <= number && one.removed.is_none_or(|end| number < end))
            .map(|one| &one.object.object_id[..])
            .collect();
        let differ = listed.symmetric_difference(&alive).count();
        (differ > 0).then(|| {
            format!(
                "its objects are not those that the chain counts for snapshot {number}: {differ} \
                 differ"
            )
        })
    }

    /// Remembers what a body names.
    pub(super) fn describe(&mut self, body: &Body) {
        for segment in &body.segments {
            let id = segment.object.as_ref().map(|object| ObjectId::from_bytes(&object.object_id));
            if let Some(Ok(id)) = id {
                self.bodies.insert(id, Known::Segment(Box::new(segment.clone())));
                self.needed.entry(id).or_default().push(body.base_number + 1);
            }
        }
        for bucket in &body.buckets {
            let id = bucket.spill.as_ref().map(|object| ObjectId::from_bytes(&object.object_id));
            if let Some(Ok(id)) = id {
                self.bodies.insert(id, Known::Spill(Box::new(bucket.clone())));
                self.needed.entry(id).or_default().push(body.base_number + 1);
            }
        }
    }
}
