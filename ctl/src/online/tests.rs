//! The table of verbs.

use super::commands::ROOT;
use crate::args::{Command, Kind};
use holdfast_core::duration::GoDuration;

#[test]
fn every_default_is_a_value_of_its_kind() {
    let mut open: Vec<&Command> = vec![&ROOT, &crate::offline::ROOT];
    while let Some(command) = open.pop() {
        open.extend(command.commands);
        for flag in command.flags.iter().chain(command.inherited) {
            let probe = format!("--{}={}", flag.name, flag.default);
            let good = match flag.kind {
                Kind::Int => crate::go::number::int(flag.default, 0).is_ok(),
                Kind::Uint => crate::go::number::uint(flag.default, 0).is_ok(),
                Kind::Span => GoDuration::parse_span(flag.default).is_ok(),
                Kind::Truth => ["true", "false"].contains(&flag.default),
                Kind::Text | Kind::List => true,
            };
            assert!(good, "{}: {probe}", command.name);
            assert!(!flag.about.is_empty() && !command.about.is_empty(), "{probe}");
        }
    }
}
