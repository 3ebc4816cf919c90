//! One of the two tools, run to its end, and what it said.

use holdfast_ctl::{Console, ctl, utl};
use holdfast_peers::peer;
use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// What a tool said and ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// The lines that say what failed, each once: etcdutl repeats some.
    pub(crate) fn errors(&self) -> Vec<String> {
        let mut errors: Vec<String> = Vec::new();
        for line in self.err.lines().filter(|line| line.starts_with("Error: ")) {
            if errors.iter().all(|before| before != line) {
                errors.push(line.to_owned());
            }
        }
        errors
    }

    /// Its output, if it succeeded.
    pub(crate) fn good(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.text()
    }
}

/// Which tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Ctl,
    Utl,
}

/// Runs ours, inside of this process.
pub(crate) fn ours(tool: Tool, words: &[String], input: &[u8], variables: &[(&str, &str)]) -> Said {
    let (out, err) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let environment: BTreeMap<String, String> = variables.iter().map(pair).collect();
    let console = Console::new(out.clone(), err.clone(), Cursor::new(input.to_vec()), environment);
    let code = match tool {
        Tool::Ctl => ctl("etcdctl", words, &console),
        Tool::Utl => utl("etcdutl", words, &console),
    };
    let out = out.lock().unwrap().clone();
    let err = String::from_utf8_lossy(&err.lock().unwrap()).into_owned();
    Said { code: code.into(), out, err }
}

/// Runs upstream's of a version.
pub(crate) fn theirs(
    tool: Tool,
    version: &str,
    words: &[String],
    input: &[u8],
    variables: &[(&str, &str)],
) -> Said {
    let name = if tool == Tool::Ctl { "etcdctl" } else { "etcdutl" };
    // Some of its verbs wait without end for a server that is not there.
    let mut process = Command::new("timeout")
        .arg("30")
        .arg(peer(&format!("{name}-{version}")))
        .args(words)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A tool may end without reading all.
    let _ = process.stdin.take().unwrap().write_all(input);
    let output = process.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    Said { code: output.status.code().unwrap_or(-1), out: output.stdout, err }
}

/// Words of a line; single quotes hold them together, and `\0` in them is a zero byte's stand-in.
pub(crate) fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut open) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            '\'' => (quoted, open) = (!quoted, true),
            ' ' if !quoted => {
                if open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            c => word.push(c),
        }
    }
    if open || !word.is_empty() {
        words.push(word);
    }
    words
}
