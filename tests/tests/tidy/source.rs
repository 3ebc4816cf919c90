//! The source files of the house, and which of them are tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold no source of ours.
const SKIPPED: [&str; 4] = ["target", ".git", "demo-run", "node_modules"];

/// A Rust file.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Path from the repository's root.
    pub(crate) name: String,
    /// Folder of its crate; empty for the binary.
    pub(crate) krate: String,
    /// Its text.
    pub(crate) text: String,
    /// All of it is test code.
    pub(crate) is_test: bool,
}

impl Source {
    /// The part before the tests at the end.
    pub(crate) fn product(&self) -> &str {
        let mark = "#[cfg(test)]\nmod tests {";
        self.text.find(mark).map_or(&self.text, |end| &self.text[..end])
    }
}

/// The repository's root.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the repository").to_owned()
}

/// All Rust files, by name.
pub(crate) fn sources() -> Vec<Source> {
    let root = repository();
    let mut files = Vec::new();
    let mut crates = Vec::new();
    walk(&root, &mut files, &mut crates);
    let folders: Vec<String> = crates.iter().map(|folder| relative(&root, folder)).collect();
    let tests = test_modules(&files);
    let mut sources: Vec<Source> = files
        .iter()
        .map(|path| {
            let name = relative(&root, path);
            let krate = crate_of(&name, &folders);
            let inner = name[krate.len()..].trim_start_matches('/');
            let is_test = krate.starts_with("tests")
                || inner.starts_with("tests/")
                || inner.starts_with("benches/")
                || inner.starts_with("examples/")
                || tests.contains(path);
            let text = fs::read_to_string(path).unwrap();
            Source { name, krate, text, is_test }
        })
        .collect();
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    sources
}

/// The name that a line gives to a module or type, in snake case.
pub(crate) fn defined_name(line: &str) -> Option<String> {
    let line = strip_visibility(line.trim_start());
    let rest = ["mod ", "struct ", "enum ", "trait ", "type "]
        .iter()
        .find_map(|keyword| line.strip_prefix(keyword))?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let mut snake = String::new();
    for c in rest[..end].chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    Some(snake)
}

/// Files that no crate root reaches by `mod` lines.
pub(crate) fn unreachable_files() -> Vec<String> {
    let root = repository();
    let (mut files, mut crates) = (Vec::new(), Vec::new());
    walk(&root, &mut files, &mut crates);
    let mut reached = BTreeSet::new();
    let mut open: Vec<PathBuf> =
        files.iter().filter(|path| is_root(path, &crates)).cloned().collect();
    while let Some(file) = open.pop() {
        if file.exists() && reached.insert(file.clone()) {
            open.extend(children(&file, &crates).into_keys());
        }
    }
    files.iter().filter(|path| !reached.contains(*path)).map(|path| relative(&root, path)).collect()
}

/// Whether a file is the root of a library, program, test, example or build script.
fn is_root(file: &Path, crates: &[PathBuf]) -> bool {
    let Some(krate) = crates.iter().filter(|folder| file.starts_with(folder)).max() else {
        return false;
    };
    let inner = relative(krate, file);
    let parts: Vec<&str> = inner.split('/').collect();
    matches!(
        parts.as_slice(),
        ["build.rs"]
            | ["src", "lib.rs" | "main.rs"]
            | ["src", "bin", _]
            | ["tests" | "examples" | "benches", _]
            | ["tests" | "examples" | "benches", _, "main.rs"]
            | ["src", "bin", _, "main.rs"]
    )
}

/// The files that a file's `mod name;` lines name, and whether they are for tests only.
fn children(file: &Path, crates: &[PathBuf]) -> BTreeMap<PathBuf, bool> {
    let text = fs::read_to_string(file).unwrap();
    let folder = file.parent().expect("a file has a folder");
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let own =
        if stem == "mod" || is_root(file, crates) { folder.to_owned() } else { folder.join(stem) };
    let mut found = BTreeMap::new();
    let (mut for_tests, mut path) = (false, None);
    // Modules with a body, from the outside in: indentation, folder, for tests.
    let mut inside: Vec<(usize, PathBuf, bool)> = Vec::new();
    for full in text.lines() {
        let line = full.trim();
        let indentation = full.len() - full.trim_start().len();
        let (own, within_tests) =
            inside.last().map_or((own.clone(), false), |(_, own, tests)| (own.clone(), *tests));
        if let Some(named) = line.strip_prefix("#[path = \"") {
            path = named.split('"').next().map(|named| folder.join(named));
        } else if line.starts_with("#[cfg(test)]") {
            for_tests = true;
        } else if let Some(name) = module_line(line, ";") {
            let file = own.join(format!("{name}.rs"));
            let file = if file.exists() { file } else { own.join(name).join("mod.rs") };
            found.insert(path.take().unwrap_or(file), for_tests || within_tests);
            for_tests = false;
        } else if let Some(name) = module_line(line, " {") {
            inside.push((indentation, own.join(name), for_tests || within_tests));
            for_tests = false;
        } else if line == "}" && inside.last().is_some_and(|(at, _, _)| *at == indentation) {
            inside.pop();
        } else if line.ends_with([';', '{', '}']) && !line.starts_with("//") {
            // Another item came in between; an attribute may span lines.
            (for_tests, path) = (false, None);
        }
    }
    found
}

/// Files under `src` that are compiled for tests only, with all below them.
fn test_modules(files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let crates: Vec<PathBuf> = crates_of(files);
    let mut open: Vec<PathBuf> = Vec::new();
    for file in files {
        let children = children(file, &crates).into_iter();
        open.extend(children.filter(|(_, for_tests)| *for_tests).map(|(child, _)| child));
    }
    let mut tests = BTreeSet::new();
    while let Some(file) = open.pop() {
        if file.exists() && tests.insert(file.clone()) {
            open.extend(children(&file, &crates).into_keys());
        }
    }
    tests
}

fn crates_of(files: &[PathBuf]) -> Vec<PathBuf> {
    let folders: BTreeSet<&Path> = files.iter().flat_map(|file| file.ancestors()).collect();
    folders.into_iter().filter(|f| f.join("Cargo.toml").is_file()).map(Path::to_owned).collect()
}

/// The name in `mod name` and then `end`.
fn module_line<'a>(line: &'a str, end: &str) -> Option<&'a str> {
    let name = strip_visibility(line).strip_prefix("mod ")?.strip_suffix(end)?;
    name.chars().all(|c| c.is_alphanumeric() || c == '_').then_some(name)
}

fn strip_visibility(line: &str) -> &str {
    let line = line.strip_prefix("pub").unwrap_or(line);
    let line = match line.strip_prefix('(') {
        Some(rest) => rest.split_once(')').map_or(line, |(_, rest)| rest),
        None => line,
    };
    line.trim_start()
}

fn crate_of(name: &str, folders: &[String]) -> String {
    let holds = |folder: &&String| folder.is_empty() || name.starts_with(&format!("{folder}/"));
    folders.iter().filter(holds).max_by_key(|folder| folder.len()).cloned().unwrap_or_default()
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>, crates: &mut Vec<PathBuf>) {
    if folder.join("Cargo.toml").is_file() {
        crates.push(folder.to_owned());
    }
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !SKIPPED.contains(&name) {
                walk(&path, files, crates);
            }
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}
