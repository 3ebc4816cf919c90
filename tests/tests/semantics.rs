//! Every promise of docs/SEMANTICS.md names tests that exist.

use std::path::Path;

/// `file::test` in backticks, wherever it stands.
fn named_tests(text: &str) -> Vec<(String, String)> {
    let quoted = text.split('`').skip(1).step_by(2);
    let pairs = quoted.filter_map(|words| words.split_once(".rs::"));
    pairs.map(|(file, test)| (format!("{file}.rs"), test.to_owned())).collect()
}

#[test]
fn every_promise_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text =
        std::fs::read_to_string(root.join("docs/SEMANTICS.md")).expect("the document is there");
    let named = named_tests(&text);
    assert!(named.len() > 30, "only {} tests are named", named.len());
    let promises =
        text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promise"));
    for promise in promises {
        assert!(!named_tests(promise).is_empty(), "no test is named: {promise}");
    }
    for (file, test) in named {
        let source = std::fs::read_to_string(root.join(&file)).unwrap_or_default();
        let found = source.contains(&format!("fn {test}("));
        assert!(found, "docs/SEMANTICS.md names {file}::{test}, which does not exist");
    }
}
