//! Every question, and what answers it.

use super::*;
use proptest::prelude::*;

const NOW: i64 = 1_800_000_000_000;
const HOUR: i64 = 3_600_000;

fn candidate(number: u64, compact_revision: i64, revision: i64, hours_ago: i64) -> Candidate {
    let taken_ms = NOW - hours_ago * HOUR;
    Candidate { number, revision, compact_revision, taken_ms, ..Candidate::default() }
}

fn four() -> Vec<Candidate> {
    vec![
        candidate(3, -1, 100, 40),
        candidate(9, 90, 300, 30),
        candidate(12, 250, 500, 20),
        candidate(20, 450, 800, 10),
    ]
}

#[test]
fn latest_is_by_number_and_never_from_the_future() {
    let mut all = four();
    all[1].taken_ms = NOW - HOUR;
    assert_eq!(select(&all, Question::Latest, NOW).unwrap().number, 20);
    all[3].taken_ms = NOW + RESTORE_FUTURE_MS;
    assert_eq!(select(&all, Question::Latest, NOW).unwrap().number, 20);
    all[3].taken_ms += 1;
    let selected = select(&all, Question::Latest, NOW).unwrap();
    assert_eq!(selected.number, 12);
    assert!(selected.notes[0].contains("20 (revision 800"), "{selected:?}");
    all.iter_mut().for_each(|one| one.taken_ms = NOW + 2 * RESTORE_FUTURE_MS);
    let error = select(&all, Question::Latest, NOW).unwrap_err();
    assert!(error.to_string().contains("20 (revision 800"), "{error}");
    assert_eq!(select(&all, Question::Number(20), NOW).unwrap().number, 20);
    assert_eq!(select(&[], Question::Latest, NOW), Err(SelectError::Empty));
}

#[test]
fn a_revision_goes_to_the_nearest_that_still_holds_it() {
    let all = four();
    let pick = |revision| select(&all, Question::Revision(revision), NOW);
    let found = |revision| pick(revision).map(|one| (one.number, one.trim_to)).unwrap();
    assert_eq!(found(800), (20, None));
    assert_eq!(found(799), (20, Some(799)));
    assert_eq!(found(500), (12, None));
    assert_eq!(found(501), (20, Some(501)));
    assert_eq!(found(449), (12, Some(449)));
    assert_eq!(found(1), (3, Some(1)));
    let error = pick(801).unwrap_err().to_string();
    assert!(error.ends_with("the vault answers for 1 to 800"), "{error}");
    assert!(pick(0).is_err());
    let gap = [candidate(1, -1, 10, 9), candidate(2, 20, 30, 8)];
    let error = select(&gap, Question::Revision(15), NOW).unwrap_err().to_string();
    assert!(error.ends_with("answers for 1 to 10 and 20 to 30"), "{error}");
}

#[test]
fn the_newest_lineage_is_asked_first() {
    let mut all = four();
    all[3].lineage = [7; 16];
    all[3].compact_revision = 90;
    let selected = select(&all, Question::Revision(300), NOW).unwrap();
    assert_eq!((selected.number, selected.trim_to), (20, Some(300)));
    let selected = select(&all, Question::Revision(80), NOW).unwrap();
    assert_eq!(selected.number, 3);
    assert!(selected.notes.iter().any(|note| note.contains("older lineage")));
}

#[test]
fn a_time_takes_the_newest_before_it() {
    let all = four();
    let at = |hours| select(&all, Question::Time(NOW - hours * HOUR), NOW);
    assert_eq!(at(25).unwrap().number, 9);
    assert_eq!(at(30).unwrap().number, 9);
    assert_eq!(at(0).unwrap().number, 20);
    let error = at(41).unwrap_err().to_string();
    assert!(error.contains("the oldest of 4 is 3 (revision 100"), "{error}");
}

#[test]
fn errors_tell_what_exists() {
    let error = select(&four(), Question::Number(4), NOW).unwrap_err().to_string();
    assert!(error.starts_with("there is no snapshot 4; the vault has 20 (revision 800, "));
    let many: Vec<_> = (1..=9).map(|number| candidate(number, -1, 5, 1)).collect();
    let error = select(&many, Question::Number(10), NOW).unwrap_err().to_string();
    assert!(error.ends_with("and 4 more"), "{error}");
    assert_eq!("latest".parse(), Ok(Question::Latest));
    assert_eq!("17".parse(), Ok(Question::Number(17)));
    assert!("newest".parse::<Question>().is_err() && "-1".parse::<Question>().is_err());
}

fn catalogue() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (1i64..60, 0i64..60, -90i64..90, 0u8..2);
    proptest::collection::vec(one, 1..12).prop_map(|all| {
        let numbered = all.into_iter().zip(1u64..);
        numbered
            .map(|((low, width, hours, lineage), number)| Candidate {
                lineage: [lineage; 16],
                ..candidate(number, low - 2, low + width, hours)
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn what_is_selected_answers_the_question(all in catalogue(), revision in -2i64..130) {
        let answering = all.iter().any(|one| one.answers(revision));
        match select(&all, Question::Revision(revision), NOW) {
            Ok(selected) => {
                let chosen = all.iter().find(|one| one.number == selected.number).unwrap();
                prop_assert!(chosen.answers(revision));
                prop_assert_eq!(selected.trim_to.unwrap_or(chosen.revision), revision);
                let nearer = all.iter().any(|one| one.lineage == chosen.lineage
                    && one.answers(revision) && one.revision < chosen.revision);
                prop_assert!(!nearer);
            }
            Err(error) => prop_assert!(!answering, "{}", error),
        }
        if let Ok(selected) = select(&all, Question::Latest, NOW) {
            let better =
                all.iter().any(|one| one.number > selected.number && !one.is_future(NOW));
            prop_assert!(!better);
        }
    }
}
