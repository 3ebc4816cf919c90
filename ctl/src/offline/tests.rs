//! What the verbs on files refuse.

use super::{required, there};
use crate::args::{Wish, parse};
use std::path::Path;

#[test]
fn what_is_required_and_what_is_not_there() {
    let words = ["migrate".to_owned(), "--data-dir=x".to_owned()];
    let Ok(Wish::Run(given)) = parse(&super::ROOT, "etcdutl", &words) else {
        panic!("it is a verb")
    };
    let refused = required(&given, &["data-dir", "target-version"]).unwrap_err();
    assert_eq!(refused.words, "required flag(s) \"target-version\" not set");
    assert!(required(&given, &["data-dir"]).is_ok());
    let refused = there(Path::new("/nowhere/at/all")).unwrap_err();
    assert_eq!(refused.words, "stat /nowhere/at/all: no such file or directory");
}
