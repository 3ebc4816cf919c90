//! Watchers with small buffers beside random histories: nothing lost, doubled or out of order.

use super::*;
use crate::mvcc::{HistoryLimits, Model, Op, TestStores, op};
use holdfast_api::mvccpb::Event;
use proptest::prelude::*;
use std::collections::HashMap;

/// What a client has and what waits for it.
#[derive(Debug, Default)]
struct Client {
    waiting: Vec<Delivery>,
    got: Vec<Event>,
    compacted: Option<i64>,
    refused: bool,
}

#[derive(Debug, Default)]
struct Clients {
    of: HashMap<WatcherId, Client>,
    room: usize,
}

impl Outbox for Clients {
    fn offer(&mut self, watcher: WatcherId, delivery: Delivery) -> bool {
        let client = self.of.entry(watcher).or_default();
        assert!(client.compacted.is_none(), "it has ended");
        let takes = client.waiting.len() < self.room;
        client.refused = !takes;
        if takes {
            client.waiting.push(delivery);
        }
        takes
    }
}

impl Client {
    fn drain(&mut self) {
        let mut before = 0;
        for delivery in self.waiting.drain(..) {
            match delivery {
                Delivery::Events { revision, events } => {
                    let events = events.events();
                    assert!(!events.is_empty() && revision >= main(events.last().unwrap()));
                    assert!(revision >= before, "headers never go back");
                    before = revision;
                    self.got.extend(events.iter().cloned());
                }
                Delivery::Compacted { revision } => self.compacted = Some(revision),
            }
        }
    }
}

fn main(event: &Event) -> i64 {
    event.kv.as_ref().unwrap().mod_revision
}

#[derive(Debug, Clone)]
enum Step {
    Store(Op),
    /// Publishes what was applied and held back.
    Publish,
    Watch {
        key: Vec<u8>,
        end: Vec<u8>,
        start: i64,
        filters: Filters,
    },
    Cancel(usize),
    Drain(usize),
    /// Plans and reads; given at once, or when others were perhaps given meanwhile.
    CatchUp {
        later: bool,
    },
    Replace,
}

fn watch() -> impl Strategy<Value = Step> {
    let range = prop_oneof![
        ("[a-f]", Just(String::new())),
        ("[a-c]", Just("\0".to_owned())),
        ("[a-b]{1,2}", "[c-e]"),
        ("[a-c]{1,2}", Just(String::new())),
    ];
    let filters =
        (0u8..5).prop_map(|filter| Filters { no_put: filter == 1, no_delete: filter == 2 });
    (range, prop_oneof![Just(0i64), 1i64..40], filters).prop_map(|((key, end), start, filters)| {
        Step::Watch { key: key.into_bytes(), end: end.into_bytes(), start, filters }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => op().prop_filter("the hub does not survive", |op| !matches!(op, Op::Reopen))
            .prop_map(Step::Store),
        4 => Just(Step::Publish),
        2 => watch(),
        1 => (0usize..20).prop_map(Step::Cancel),
        3 => (0usize..20).prop_map(Step::Drain),
        3 => any::<bool>().prop_map(|later| Step::CatchUp { later }),
        1 => Just(Step::Replace),
    ]
}

/// A watch that was begun, and where.
struct Begun {
    id: WatcherId,
    range: WatchRange,
    start: i64,
    filters: Filters,
    cancelled: bool,
}

impl Begun {
    fn wants(&self, event: &Event) -> bool {
        let key = &event.kv.as_ref().unwrap().key[..];
        let within = match &self.range {
            WatchRange::One(one) => **one == *key,
            WatchRange::Between(from, to) => **from <= *key && *key < **to,
            WatchRange::From(from) => **from <= *key,
        };
        let dropped = if event.r#type == 0 { self.filters.no_put } else { self.filters.no_delete };
        within && !dropped && main(event) >= self.start
    }

    fn expected(&self, model: &Model) -> Vec<Event> {
        let all = model.events.iter().flatten();
        all.filter(|event| self.wants(event)).cloned().collect()
    }
}

struct World {
    stores: TestStores,
    hub: Hub,
    clients: Clients,
    begun: Vec<Begun>,
    late: Option<CaughtUp>,
    /// Applied and not published.
    held: Vec<(i64, Vec<Event>)>,
    limits: HistoryLimits,
}

impl World {
    fn new(room: usize, limits: HistoryLimits) -> World {
        let clients = Clients { of: HashMap::new(), room };
        let stores = TestStores::new();
        let (begun, held) = (Vec::new(), Vec::new());
        World { stores, hub: Hub::new(1), clients, begun, late: None, held, limits }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Store(op) => {
                let events = self.stores.apply(op);
                if !events.is_empty() {
                    self.held.push((self.stores.model.revision(), events));
                }
            }
            Step::Publish => self.publish(),
            Step::Watch { key, end, start, filters } => {
                let range = WatchRange::of_request(key, end).unwrap();
                let spec =
                    WatchSpec { range: range.clone(), start_revision: *start, filters: *filters };
                let id = self.hub.watch(spec);
                let start = if *start == 0 { self.hub.revision() + 1 } else { *start };
                self.begun.push(Begun { id, range, start, filters: *filters, cancelled: false });
            }
            Step::Cancel(at) => {
                if let Some(begun) = self.begun.get_mut(*at) {
                    self.hub.cancel(begun.id);
                    begun.cancelled = true;
                }
            }
            Step::Drain(at) => {
                if let Some(id) = self.begun.get(*at).map(|begun| begun.id) {
                    self.drain(id);
                }
            }
            Step::CatchUp { later } => self.catch_up(*later),
            Step::Replace => {
                self.held.clear();
                self.hub.replaced(self.stores.model.revision());
            }
        }
        for begun in self.begun.iter().filter(|begun| self.hub.is_level(begun.id)) {
            let got = self.clients.of.get(&begun.id).map_or(0, |client| {
                let waiting = client.waiting.iter().map(|delivery| match delivery {
                    Delivery::Events { events, .. } => events.events().len(),
                    Delivery::Compacted { .. } => 0,
                });
                client.got.len() + waiting.sum::<usize>()
            });
            let mut want = begun.expected(&self.stores.model);
            want.retain(|event| main(event) <= self.hub.revision());
            assert_eq!(got, want.len(), "progress tells the truth");
        }
    }

    fn drain(&mut self, id: WatcherId) {
        if let Some(client) = self.clients.of.get_mut(&id) {
            client.drain();
        }
        self.hub.has_room(id);
    }

    fn catch_up(&mut self, later: bool) {
        if later && let Some(late) = self.late.take() {
            self.hub.caught_up(late, &mut self.clients);
        }
        let reader = self.stores.store.handle().reader();
        let Some(plan) = self.hub.plan(reader, self.limits, &mut self.clients) else { return };
        let read = plan.run(self.limits).unwrap();
        if later {
            self.late = Some(read);
        } else {
            self.hub.caught_up(read, &mut self.clients);
        }
    }

    fn publish(&mut self) {
        for (revision, events) in std::mem::take(&mut self.held) {
            self.hub.publish(revision, &events, &mut self.clients);
        }
    }

    /// Everybody reads until nothing is left.
    fn settle(&mut self) {
        self.publish();
        for _ in 0..2_000 {
            self.catch_up(false);
            let ids: Vec<WatcherId> = self.begun.iter().map(|begun| begun.id).collect();
            ids.into_iter().for_each(|id| self.drain(id));
            if self.hub.slow() == 0 {
                return;
            }
        }
        panic!("{} watchers are never level", self.hub.slow());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_event_comes_once_and_in_order(
        steps in proptest::collection::vec(step(), 0..100),
        room in 1usize..4,
        revisions in 1i64..6,
        bytes in prop_oneof![Just(1usize), Just(1 << 20)],
    ) {
        let mut world = World::new(room, HistoryLimits { revisions, bytes });
        for step in &steps {
            world.step(step);
        }
        world.settle();
        for begun in &world.begun {
            let want = begun.expected(&world.stores.model);
            let empty = Client::default();
            let client = world.clients.of.get(&begun.id).unwrap_or(&empty);
            // At the compaction revision itself the history may lack what was put and deleted in
            // one transaction.
            let ended = begun.cancelled || client.compacted.is_some();
            let doubtful = world.stores.twice_in_one_revision();
            if ended {
                prop_assert!(doubtful || want.starts_with(&client.got));
            } else {
                prop_assert!(doubtful || want == client.got);
            }
            prop_assert!(client.got.is_sorted_by_key(main));
            if let Some(compacted) = client.compacted {
                prop_assert!(compacted <= world.stores.model.compacted && compacted > begun.start);
            }
        }
        prop_assert_eq!(world.hub.len(), world.begun.iter().filter(|begun| {
            !begun.cancelled
                && world.clients.of.get(&begun.id).is_none_or(|client| client.compacted.is_none())
        }).count());
    }
}

#[test]
fn a_blocked_watcher_holds_nobody_back() {
    let mut world = World::new(1, HistoryLimits::default());
    let watch = |start| Step::Watch {
        key: b"a".to_vec(),
        end: vec![0],
        start,
        filters: Filters::default(),
    };
    world.step(&watch(0));
    world.step(&watch(0));
    let put = |key: &[u8]| {
        let key = key.to_vec();
        Step::Store(Op::Put(holdfast_api::etcdserverpb::PutRequest { key, ..Default::default() }))
    };
    let [slow, fast] = [world.begun[0].id, world.begun[1].id];
    for _ in 0..50 {
        world.step(&put(b"b"));
        world.step(&Step::Publish);
        world.drain(fast);
    }
    assert_eq!((world.clients.of[&fast].got.len(), world.hub.slow()), (50, 1));
    assert_eq!(world.clients.of[&slow].waiting.len(), 1);
    world.drain(slow);
    world.catch_up(false);
    assert_eq!(world.clients.of[&slow].waiting.len(), 1, "the rest in one delivery");
    world.drain(slow);
    assert_eq!((world.clients.of[&slow].got.len(), world.hub.slow()), (50, 0));
}

#[test]
fn ten_thousand_idle_watchers_cost_little() {
    let mut hub = Hub::new(1);
    for number in 0..10_000u32 {
        let key = format!("/registry/pods/{number:05}");
        let end = format!("/registry/pods/{number:05}0");
        let range = WatchRange::of_request(key.as_bytes(), end.as_bytes()).unwrap();
        hub.watch(WatchSpec { range, start_revision: 0, filters: Filters::default() });
    }
    let mut clients = Clients { room: 1, ..Clients::default() };
    let event = |key: &str| Event {
        kv: Some(holdfast_api::mvccpb::KeyValue {
            key: key.to_owned().into(),
            mod_revision: 2,
            ..Default::default()
        }),
        ..Default::default()
    };
    hub.publish(2, &[event("/registry/pods/00777"), event("/registry/nodes/1")], &mut clients);
    assert_eq!(clients.of.len(), 1);
}

#[test]
fn who_gets_the_same_events_shares_them() {
    let mut hub = Hub::new(1);
    let mut clients = Clients { room: 1, ..Clients::default() };
    let mut watch = |key: &[u8], end: &[u8], no_delete| {
        let range = WatchRange::of_request(key, end).unwrap();
        let filters = Filters { no_delete, ..Filters::default() };
        hub.watch(WatchSpec { range, start_revision: 0, filters })
    };
    let all = [watch(b"a", b"c", false), watch(b"a", b"\0", false)];
    let puts = [watch(b"a", b"c", true), watch(b"a", b"", false)];
    let event = |key: &[u8], kind: i32| Event {
        r#type: kind,
        kv: Some(holdfast_api::mvccpb::KeyValue {
            key: key.to_vec().into(),
            mod_revision: 2,
            ..Default::default()
        }),
        ..Default::default()
    };
    hub.publish(2, &[event(b"a", 0), event(b"b", 1)], &mut clients);
    let got = |id: WatcherId| match &clients.of[&id].waiting[..] {
        [Delivery::Events { revision: 2, events }] => events.clone(),
        other => panic!("{other:?}"),
    };
    assert!(std::sync::Arc::ptr_eq(&got(all[0]), &got(all[1])));
    assert!(std::sync::Arc::ptr_eq(&got(puts[0]), &got(puts[1])));
    assert_eq!((got(all[0]).events().len(), got(puts[0]).events().len()), (2, 1));
    assert_eq!(got(puts[0]).events(), [event(b"a", 0)]);
}
