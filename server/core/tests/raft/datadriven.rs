//! The format of upstream's test files: a directive, perhaps input, `----`, and what must come out.
//!
//! ```text
//! # comment
//! command arg key=value key=(value,value)
//! input
//! ----
//! expected, up to a blank line (or, between two more `----`, with blank lines)
//! ```

use std::fs;
use std::path::PathBuf;

/// One directive of a file.
#[derive(Debug)]
pub(crate) struct Directive {
    pub(crate) line: usize,
    pub(crate) command: String,
    pub(crate) args: Vec<Arg>,
    pub(crate) input: String,
    pub(crate) expected: String,
}

/// `key`, `key=value` or `key=(value,value)`.
#[derive(Debug)]
pub(crate) struct Arg {
    pub(crate) key: String,
    pub(crate) values: Vec<String>,
}

impl Directive {
    /// The values of an argument; none where it is not given.
    pub(crate) fn values(&self, key: &str) -> &[String] {
        let found = self.args.iter().find(|arg| arg.key == key);
        found.map(|arg| arg.values.as_slice()).unwrap_or_default()
    }

    /// Arguments that are numbers without values, such as member ids.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        let bare = self.args.iter().filter(|arg| arg.values.is_empty());
        bare.map(|arg| arg.key.parse().expect("a number")).collect()
    }
}

/// The files of one of upstream's folders, by name and content.
pub(crate) fn files(folder: &str) -> Vec<(String, String)> {
    let folder: PathBuf = holdfast_peers::peer_folder("raft-testdata").join(folder);
    let mut found: Vec<(String, String)> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    found.sort();
    assert!(found.len() >= 4, "{} holds upstream's files", folder.display());
    found
}

/// Runs a file; where its output first differs, what it should have been.
pub(crate) fn run(
    text: &str,
    mut handle: impl FnMut(&Directive) -> Result<String, String>,
) -> Result<usize, String> {
    let directives = parse(text);
    for directive in &directives {
        let place = format!("line {}: {}", directive.line, directive.command);
        let mut output = handle(directive).map_err(|error| format!("{place}: {error}"))?;
        if !output.is_empty() && !output.ends_with('\n') {
            output.push('\n');
        }
        if output != directive.expected {
            let wanted = &directive.expected;
            return Err(format!("{place}\n--- wanted\n{wanted}--- got\n{output}---"));
        }
    }
    Ok(directives.len())
}

fn parse(text: &str) -> Vec<Directive> {
    let mut lines = text.lines().enumerate().peekable();
    let mut found = Vec::new();
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (command, args) = parse_line(line);
        let take = |lines: &mut dyn Iterator<Item = (usize, &str)>, end: &str| {
            let mut taken = String::new();
            for (_, line) in lines.take_while(|(_, line)| *line != end) {
                taken.push_str(line);
                taken.push('\n');
            }
            taken
        };
        let input = take(&mut lines, "----");
        let expected = if lines.next_if(|(_, line)| *line == "----").is_some() {
            let taken = take(&mut lines, "----");
            lines.next_if(|(_, line)| *line == "----").expect("two lines end what has blank lines");
            taken
        } else {
            take(&mut lines, "")
        };
        found.push(Directive { line: number + 1, command, args, input, expected });
    }
    found
}

fn parse_line(line: &str) -> (String, Vec<Arg>) {
    let (mut words, mut depth, mut word) = (Vec::new(), 0, String::new());
    for letter in line.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if letter == ' ' && depth == 0 {
            words.push(std::mem::take(&mut word));
        } else {
            word.push(letter);
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    let command = words.remove(0);
    let args = words.iter().map(|word| {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let list = value.strip_prefix('(').and_then(|list| list.strip_suffix(')'));
        let values = list.unwrap_or(value).split(',').map(|value| value.trim().to_owned());
        Arg { key: key.to_owned(), values: values.filter(|value| !value.is_empty()).collect() }
    });
    (command, args.collect())
}
