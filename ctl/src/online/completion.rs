//! completion: a script for a shell that completes verbs and options, made from the same table
//! that the command line is read with.

use crate::args::Command;
use crate::console::Console;
use crate::failure::Failure;
use std::fmt::Write;

/// `completion`
pub(crate) fn script(
    program: &str,
    root: &'static Command,
    arguments: &[String],
    console: &Console,
) -> Result<(), Failure> {
    let [shell] = arguments else {
        let words = format!("accepts 1 arg(s), received {}", arguments.len());
        return Err(Failure::error(words));
    };
    // The shell completes by the first word of a line.
    let name = program.rsplit(['/', ' ']).next().unwrap_or(program);
    let rows = rows(root);
    let text = match shell.as_str() {
        "bash" => bash(name, &rows),
        "zsh" => format!(
            "#compdef {name}\nautoload -U +X bashcompinit && bashcompinit\n{}",
            bash(name, &rows)
        ),
        "fish" => fish(name, &rows),
        "powershell" => {
            return Err(Failure::feature("completion for powershell is not built in"));
        }
        other => {
            let shown = crate::go::quote::text(other);
            return Err(Failure::error(format!(
                "invalid argument {shown} for \"{name} completion\""
            )));
        }
    };
    console.print(text)
}

/// For each place in the tree of verbs: its path, and the words that may follow.
fn rows(root: &'static Command) -> Vec<(String, Vec<String>)> {
    let mut rows = Vec::new();
    let mut open = vec![(String::new(), root, Vec::new())];
    while let Some((path, command, inherited)) = open.pop() {
        let mut flags: Vec<&str> = inherited;
        flags.extend(command.inherited.iter().map(|flag| flag.name));
        let own = command.flags.iter().map(|flag| flag.name).chain(flags.iter().copied());
        let mut words: Vec<String> =
            command.commands.iter().map(|inner| inner.name.to_owned()).collect();
        words.extend(own.map(|flag| format!("--{flag}")));
        words.push("--help".to_owned());
        for inner in command.commands {
            open.push((format!("{path} {}", inner.name), inner, flags.clone()));
        }
        rows.push((path.trim().to_owned(), words));
    }
    rows.sort();
    rows
}

fn bash(name: &str, rows: &[(String, Vec<String>)]) -> String {
    let function = format!("_{}", name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
    let mut out = format!(
        "{function}() {{\n    local here=\"\" word known\n    for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do\n        \
         case \"$word\" in -*) ;; *)\n            case \"${{here:+$here }}$word\" in\n"
    );
    let paths = rows.iter().map(|(path, _)| path).filter(|path| !path.is_empty());
    let paths: Vec<String> = paths.map(|path| format!("\"{path}\"")).collect();
    let _ =
        writeln!(out, "                {}) here=\"${{here:+$here }}$word\" ;;", paths.join("|"));
    out.push_str("            esac ;;\n        esac\n    done\n    case \"$here\" in\n");
    for (path, words) in rows {
        let _ = writeln!(out, "        \"{path}\") known=\"{}\" ;;", words.join(" "));
    }
    let _ = write!(
        out,
        "    esac\n    COMPREPLY=($(compgen -W \"$known\" -- \"${{COMP_WORDS[COMP_CWORD]}}\"))\n}}\n\
         complete -o default -F {function} {name}\n"
    );
    out
}

fn fish(name: &str, rows: &[(String, Vec<String>)]) -> String {
    let mut out = format!("complete -c {name} -f\n");
    for (path, words) in rows {
        let when = if path.is_empty() {
            "__fish_use_subcommand".to_owned()
        } else {
            let last = path.rsplit(' ').next().unwrap_or(path);
            format!("__fish_seen_subcommand_from {last}")
        };
        for word in words {
            let what =
                word.strip_prefix("--").map_or(format!("-a {word}"), |flag| format!("-l {flag}"));
            let _ = writeln!(out, "complete -c {name} -n '{when}' {what}");
        }
    }
    out
}
