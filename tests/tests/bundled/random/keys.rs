//! Random calls about keys: few keys and values, so that they meet; every option, and what
//! contradicts it.

use super::steps::since;
use holdfast_api::etcdserverpb::compare::TargetUnion;
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    WatchCreateRequest,
};
use holdfast_tests::objects::Chance;

/// Leases by id; 99 is never granted.
pub const LEASES: [i64; 6] = [7, 8, 9, -5, i64::MAX, 99];
const KEYS: [&[u8]; 14] = [
    b"a",
    b"ab",
    b"b",
    b"b\0",
    b"c",
    b"foo",
    b"foo/1",
    b"foo/2",
    b"foo/3",
    b"\0",
    b"\xff",
    b"\xff\xff",
    b"z",
    b"l/7",
];

/// Chance with the words that generators need.
pub struct Dice {
    chance: Chance,
    /// The caller's rights are limited: what depends on the shape of upstream's tree is left out.
    pub careful: bool,
}

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice { chance: Chance::new(seed), careful: false }
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.chance.below(bound)
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        let at = usize::try_from(self.below(of.len() as u64)).unwrap();
        of[at].clone()
    }

    fn number(&mut self, bound: u64) -> i64 {
        i64::try_from(self.below(bound)).unwrap()
    }

    pub fn key(&mut self) -> Vec<u8> {
        if self.percent(2) { Vec::new() } else { self.pick(&KEYS).to_vec() }
    }

    fn value(&mut self) -> Vec<u8> {
        match self.below(20) {
            0 | 1 => Vec::new(),
            2 => vec![b'x'; 900],
            3 if self.percent(20) => vec![b'y'; 5000],
            _ => format!("v{}", self.below(6)).into_bytes(),
        }
    }

    /// The end of a range that begins at a key.
    pub fn end(&mut self, key: &[u8]) -> Vec<u8> {
        let end = match self.below(12) {
            0..=3 => Vec::new(),
            4 => vec![0],
            5 => [key, &[0]].concat(),
            6 => {
                let mut end = key.to_vec();
                if let Some(last) = end.last_mut() {
                    *last = last.wrapping_add(1);
                }
                end
            }
            7 => key.to_vec(),
            8 => b"z".to_vec(),
            9 => b"\xff\xff\xff".to_vec(),
            _ => self.key(),
        };
        let is_void = !end.is_empty() && end != [0] && end.as_slice() <= key;
        if self.careful && is_void { Vec::new() } else { end }
    }

    /// A revision for a read.
    pub fn revision(&mut self) -> i64 {
        match self.below(20) {
            0..=9 => 0,
            10..=15 => since(-self.number(25)),
            16 => since(1 + self.number(3)),
            17 => 1 + self.number(20),
            18 => self.pick(&[-1, i64::MIN, i64::MAX]),
            _ => since(0),
        }
    }

    fn bound(&mut self) -> i64 {
        match self.below(12) {
            0..=8 => 0,
            9 | 10 => since(-self.number(25)),
            _ => self.pick(&[-1, 1, 5, i64::MAX]),
        }
    }

    pub fn range(&mut self) -> RangeRequest {
        let key = self.key();
        let range_end = self.end(&key);
        let is_plain = self.percent(30);
        let mut range = RangeRequest { key, range_end, ..RangeRequest::default() };
        range.serializable = self.percent(20);
        range.revision = self.revision();
        if is_plain {
            return range;
        }
        range.limit = self.pick(&[0, 0, 0, 1, 2, 3, 5, 100, -1, i64::MAX]);
        range.sort_order = self.pick(&[0, 0, 0, 1, 1, 2, 2, 2, 3, -1]);
        range.sort_target = self.pick(&[0, 0, 1, 2, 3, 4, 1, 2, 3, 4, 0, 5]);
        range.keys_only = self.percent(20);
        range.count_only = self.percent(20);
        range.min_mod_revision = self.bound();
        range.max_mod_revision = self.bound();
        range.min_create_revision = self.bound();
        range.max_create_revision = self.bound();
        range
    }

    pub fn put(&mut self) -> PutRequest {
        let key = self.key();
        let mut put = PutRequest { key, prev_kv: self.percent(30), ..PutRequest::default() };
        put.ignore_value = self.percent(15);
        put.ignore_lease = self.percent(15);
        if !put.ignore_value || self.percent(10) {
            put.value = self.value();
        }
        if self.percent(25) && (!put.ignore_lease || self.percent(20)) {
            put.lease = self.pick(&LEASES);
        }
        put
    }

    pub fn delete(&mut self) -> DeleteRangeRequest {
        let key = self.key();
        // Whoever deletes everything all the time has little to compare.
        let range_end = if self.percent(60) { Vec::new() } else { self.end(&key) };
        DeleteRangeRequest { key, range_end, prev_kv: self.percent(40) }
    }

    fn compare(&mut self) -> Compare {
        let key = self.key();
        let range_end = if self.percent(60) { Vec::new() } else { self.end(&key) };
        let target = self.pick(&[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5]);
        let operand = if self.percent(95) { target } else { self.pick(&[0, 1, 2, 3, 4, 5]) };
        let target_union = match operand {
            0 => Some(TargetUnion::Version(self.number(4))),
            1 => Some(TargetUnion::CreateRevision(self.bound())),
            2 => Some(TargetUnion::ModRevision(self.bound())),
            3 => Some(TargetUnion::Value(self.value())),
            4 => Some(TargetUnion::Lease(self.pick(&[0, 7, 8, 99]))),
            _ => None,
        };
        let result = self.pick(&[0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 4, -1]);
        Compare { result, target, key, range_end, target_union }
    }

    /// A transaction. Upstream loses or panics over keys that it deletes "from a key on" and puts
    /// (docs/CONFORMANCE.md): there the deletion is of one key.
    pub fn txn(&mut self) -> TxnRequest {
        let mut txn = self.steps(0);
        if puts(&txn) {
            narrow(&mut txn);
        }
        txn
    }

    fn steps(&mut self, depth: u32) -> TxnRequest {
        let most = if self.percent(3) { 9 } else { 3 };
        let compare = (0..self.below(3)).map(|_| self.compare()).collect();
        let mut txn = TxnRequest { compare, ..TxnRequest::default() };
        let reads = self.percent(25);
        for branch in [&mut txn.success, &mut txn.failure] {
            *branch = (0..self.below(most + 1)).map(|_| self.step(depth, reads)).collect();
        }
        txn
    }

    fn step(&mut self, depth: u32, reads: bool) -> RequestOp {
        let request = match self.below(if reads { 3 } else { 14 }) {
            0..=2 => Some(Request::RequestRange(self.range())),
            3..=8 => Some(Request::RequestPut(self.put())),
            9 | 10 => Some(Request::RequestDeleteRange(self.delete())),
            11 | 12 if depth < 3 => Some(Request::RequestTxn(self.steps(depth + 1))),
            13 if self.percent(10) => None,
            _ => Some(Request::RequestRange(self.range())),
        };
        RequestOp { request }
    }

    pub fn watch(&mut self) -> WatchCreateRequest {
        let key = self.key();
        let range_end = self.end(&key);
        let start_revision = if self.percent(50) { 0 } else { self.revision() };
        WatchCreateRequest {
            key,
            range_end,
            start_revision: if start_revision == i64::MAX { 0 } else { start_revision },
            progress_notify: self.percent(10),
            filters: self.pick(&[&[][..], &[], &[], &[0], &[1], &[0, 1], &[1, 1], &[7]]).to_vec(),
            prev_kv: self.percent(40),
            watch_id: self.pick(&[0, 0, 0, 1, 2, 3, 77, -1, -3]),
            fragment: self.percent(20),
        }
    }
}

fn all_steps(txn: &TxnRequest) -> impl Iterator<Item = &RequestOp> {
    txn.success.iter().chain(&txn.failure)
}

fn puts(txn: &TxnRequest) -> bool {
    all_steps(txn).any(|step| match &step.request {
        Some(Request::RequestPut(_)) => true,
        Some(Request::RequestTxn(nested)) => puts(nested),
        _ => false,
    })
}

fn narrow(txn: &mut TxnRequest) {
    for step in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut step.request {
            Some(Request::RequestDeleteRange(delete)) if delete.range_end == [0] => {
                delete.range_end.clear();
            }
            Some(Request::RequestTxn(nested)) => narrow(nested),
            _ => {}
        }
    }
}
