//! A plan for every wish, and its words.

use super::*;
use holdfast_core::versions::{V3_6, V3_7};

fn facts() -> Facts {
    Facts {
        revision: 900,
        compact_revision: 100,
        server_version: "3.7.3".to_owned(),
        record_count: 1000,
        live_bytes: 1 << 20,
        source_bytes: 50 << 20,
        alarms: vec!["NOSPACE of member 7".to_owned()],
        ..Facts::default()
    }
}

fn request() -> RestoreRequest {
    RestoreRequest {
        data_dir: "/nowhere/etcd".into(),
        name: "cp1".to_owned(),
        peer_urls: vec!["https://10.0.0.1:2380".to_owned()],
        client_urls: vec!["https://10.0.0.1:2379".to_owned()],
        ..RestoreRequest::default()
    }
}

fn around() -> Surroundings {
    let data_dir = PathBuf::from("/nowhere/etcd");
    let place = Place {
        target: data_dir.clone(),
        build_dir: "/nowhere/etcd.partial".into(),
        data_dir,
        occupied: true,
        owner: None,
    };
    let random_token = "holdfast-00".to_owned();
    Surroundings { place, free_bytes: Some(1 << 40), now_ms: 1_800_000_000_000, random_token }
}

fn make(
    request: &RestoreRequest,
    facts: &Facts,
    trim_to: Option<i64>,
) -> Result<RestorePlan, PlanError> {
    let selected =
        Selected { number: 42, trim_to, reason: "the newest snapshot".to_owned(), notes: vec![] };
    let (vault, high_water) = ("file:///backup", 950);
    RestorePlan::make(
        &PlannedSnapshot { vault, selected: &selected, facts, high_water },
        request,
        &around(),
    )
}

#[test]
fn the_bump_never_lets_a_served_revision_come_back() {
    let decide = |choice, revision, mark, kubernetes| {
        BumpDecision::decide(choice, revision, mark, kubernetes).map(|bump| bump.to)
    };
    assert_eq!(decide(BumpChoice::Auto, 900, 950, true), Ok(Some(BUMP_MARGIN + 950)));
    assert_eq!(decide(BumpChoice::Auto, 900, 0, true), Ok(Some(BUMP_MARGIN + 900)));
    assert_eq!(decide(BumpChoice::Auto, 900, 950, false), Ok(Some(BUMP_MARGIN + 950)));
    assert_eq!(decide(BumpChoice::Auto, 900, 900, false), Ok(None));
    assert_eq!(decide(BumpChoice::None, 900, 950, true), Ok(None));
    assert_eq!(decide(BumpChoice::By(10), 900, 950, true), Ok(Some(910)));
    for by in [0, -1, i64::MAX] {
        assert!(decide(BumpChoice::By(by), 900, 950, true).is_err());
    }
    assert!(decide(BumpChoice::Auto, 900, i64::MAX - 5, true).is_err());
    assert_eq!("auto".parse(), Ok(BumpChoice::Auto));
    assert_eq!("7".parse(), Ok(BumpChoice::By(7)));
    assert!("0".parse::<BumpChoice>().is_err() && "-4".parse::<BumpChoice>().is_err());
}

#[test]
fn a_plan_tells_everything() {
    let plan = make(&request(), &facts(), None).unwrap();
    assert_eq!((plan.target, plan.revision), (V3_7, 900));
    let text = plan.to_string();
    for piece in [
        "snapshot 42 from file:///backup",
        "lifted to    1000000950",
        "cp1 (",
        "moves to /nowhere/etcd.holdfast-20270115-080000",
        "alarm NOSPACE",
        "token holdfast-00",
        "--initial-advertise-peer-urls https://10.0.0.1:2380",
        "--listen-client-urls https://10.0.0.1:2379",
    ] {
        assert!(text.contains(piece), "{piece} is not in\n{text}");
    }
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["bump"]["to"], 1_000_000_950);
    assert_eq!(json["target"], "3.7.0");
    let trimmed = make(&request(), &facts(), Some(500)).unwrap();
    assert_eq!(trimmed.revision, 500);
}

#[test]
fn dangers_are_noted() {
    let none = RestoreRequest { bump: BumpChoice::None, prove_hash: true, ..request() };
    let text = make(&none, &facts(), None).unwrap().to_string();
    assert!(text.contains("revisions 901 to 950 were served before"), "{text}");
    assert!(text.contains("HashKV cannot be proven: the source gave none"), "{text}");
    let low = RestoreRequest { bump: BumpChoice::By(5), ..request() };
    assert!(make(&low, &facts(), None).unwrap().to_string().contains("ends below revision 950"));
}

#[test]
fn what_cannot_work_is_refused() {
    let refuse = |request: &RestoreRequest, facts: &Facts| make(request, facts, None).unwrap_err();
    let named = RestoreRequest { target: Some(V3_6), ..request() };
    assert_eq!(make(&named, &facts(), None).unwrap().target, V3_6);
    let odd = Facts { server_version: "2.3".to_owned(), ..facts() };
    assert!(matches!(refuse(&request(), &odd), PlanError::NoTarget { .. }));
    assert!(make(&named, &odd, None).is_ok());
    let no_url = RestoreRequest { peer_urls: vec![], ..request() };
    assert_eq!(refuse(&no_url, &facts()), PlanError::NoPeerUrl);
    let bad_url = RestoreRequest { peer_urls: vec!["10.0.0.1:2380".to_owned()], ..request() };
    assert!(matches!(refuse(&bad_url, &facts()), PlanError::Member(_)));
    let huge = Facts { live_bytes: 1 << 41, source_bytes: 1 << 42, ..facts() };
    assert!(matches!(refuse(&request(), &huge), PlanError::Space { .. }));
}

#[test]
fn commands_are_quoted_for_a_shell() {
    let line = shell_line(&["etcd".to_owned(), "a b".to_owned(), "it's".to_owned(), String::new()]);
    assert_eq!(line, "etcd 'a b' 'it'\\''s' ''");
}
