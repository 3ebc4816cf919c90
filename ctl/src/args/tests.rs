//! Command lines and what is made of them; the refusals are upstream's words.

use super::*;

static GET: Command = Command {
    name: "get",
    arguments: "[options] <key> [range_end]",
    about: "reads keys",
    more: "",
    flags: &[
        Flag::new("limit", Kind::Int, "0", "at most so many"),
        Flag::new("prefix", Kind::Truth, "false", "all that begin so"),
        Flag::new("interactive", Kind::Truth, "false", "ask").letter('i'),
    ],
    inherited: &[],
    commands: &[],
};
static ROOT: Command = Command {
    name: "etcdctl",
    arguments: "",
    about: "a client",
    more: "",
    flags: &[],
    inherited: &[
        Flag::new("write-out", Kind::Text, "simple", "format").letter('w'),
        Flag::new("endpoints", Kind::List, "127.0.0.1:2379", "where"),
        Flag::new("command-timeout", Kind::Span, "5s", "how long"),
        Flag::new("hex", Kind::Truth, "false", "bytes as hex"),
    ],
    commands: &[
        Command { name: "get", ..copy(&GET) },
        Command {
            name: "member",
            arguments: "<subcommand>",
            about: "members",
            more: "",
            flags: &[],
            inherited: &[Flag::new("cluster", Kind::Truth, "false", "all")],
            commands: &[
                Command { name: "add", ..copy(&GET) },
                Command { name: "list", ..copy(&GET) },
            ],
        },
    ],
};

const fn copy(command: &Command) -> Command {
    Command {
        name: command.name,
        arguments: command.arguments,
        about: command.about,
        more: command.more,
        flags: command.flags,
        inherited: command.inherited,
        commands: command.commands,
    }
}

fn wish(line: &str) -> Result<Wish, Refusal> {
    let words: Vec<String> = line.split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect();
    parse(&ROOT, "etcdctl", &words)
}

fn given(line: &str) -> Given {
    match wish(line) {
        Ok(Wish::Run(given)) => given,
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str) -> String {
    wish(line).unwrap_err().words
}

#[test]
fn options_stand_anywhere_and_in_either_notation() {
    for line in [
        "get a b --limit=3 --prefix -w json",
        "--write-out json get --limit 3 a --prefix=true b",
        "-w=json get --limit 0x3 a b --prefix",
        "get -wjson a --limit=3 --prefix -- b",
    ] {
        let given = given(line);
        assert_eq!(given.verb(), "get");
        assert_eq!(given.arguments(), ["a", "b"], "{line}");
        assert_eq!((given.int("limit"), given.truth("prefix")), (3, true), "{line}");
        assert_eq!(given.text("write-out"), "json", "{line}");
        assert!(!given.is_given("hex") && !given.truth("hex"));
    }
    assert_eq!(given("get -- -a --b").arguments(), ["-a", "--b"]);
    assert_eq!(given("get a -- b").before_dashes(), Some(1));
    let two = given("get a --endpoints a:1,b:2 --endpoints c:3");
    assert_eq!(two.list("endpoints"), ["a:1", "b:2", "c:3"]);
    assert_eq!(given("get a").list("endpoints"), ["127.0.0.1:2379"]);
    assert_eq!(given("get a").span("command-timeout"), Duration::from_secs(5));
    assert_eq!(given("mem li --cluster").verb(), "member list");
    assert!(given("member --cluster add x").truth("cluster"));
}

proptest::proptest! {
    #[test]
    fn any_words_are_read_or_refused(
        words in proptest::collection::vec("(get|member|-{1,3}[a-z=-]{0,4}|\\PC{0,4})", 0..6),
    ) {
        let _ = parse(&ROOT, "etcdctl", &words);
    }
}

#[test]
fn refusals_are_upstreams() {
    assert_eq!(refused("foo"), "unknown command \"foo\" for \"etcdctl\"");
    assert_eq!(refused("member lits"), "unknown command \"lits\" for \"etcdctl member\"");
    assert_eq!(refused("get --zzz"), "unknown flag: --zzz");
    assert_eq!(refused("get -z"), "unknown shorthand flag: 'z' in -z");
    assert_eq!(refused("get --limit"), "flag needs an argument: --limit");
    assert_eq!(refused("get -w"), "flag needs an argument: 'w' in -w");
    assert_eq!(refused("get --=x"), "bad flag syntax: --=x");
    assert_eq!(
        refused("get a --limit=z"),
        "invalid argument \"z\" for \"--limit\" flag: strconv.ParseInt: parsing \"z\": invalid syntax"
    );
    assert!(refused("get --prefix=maybe").contains("strconv.ParseBool"));
    assert!(refused("get --command-timeout=5").contains("time: missing unit in duration \"5\""));
}

#[test]
fn help_is_asked_for_in_many_ways() {
    for (line, about) in [
        ("", "a client"),
        ("--help", "a client"),
        ("help get", "reads keys"),
        ("get a -h", "reads keys"),
        ("member", "members"),
        ("member --help add", "reads keys"),
        ("help", "a client"),
    ] {
        let Ok(Wish::Help(path)) = wish(line) else { panic!("{line}") };
        assert_eq!(path.last().unwrap().about, about, "{line}");
    }
}

#[test]
fn help_has_the_shape_of_upstreams() {
    let Ok(Wish::Help(path)) = wish("get -h") else { panic!() };
    let page = page("etcdctl", &path, Shape::Sections);
    let want = "NAME:\n  get - reads keys\n\nUSAGE:\n  etcdctl get [options] <key> [range_end] [flags]\n\nOPTIONS:\n  -h, --help[=false]\t\tshow this page\n";
    assert!(page.starts_with(want), "{page}");
    assert!(page.contains("\nGLOBAL OPTIONS:\n      --command-timeout=5s\t\thow long\n"), "{page}");
    let plain = super::page("etcdutl", &path, Shape::Plain);
    assert!(plain.starts_with("Usage:\n  etcdutl get "), "{plain}");
}

#[test]
fn the_environment_gives_what_the_command_line_does_not() {
    use std::sync::{Arc, Mutex};
    let said = Arc::new(Mutex::new(Vec::new()));
    let console = |name: &str, value: &str| {
        let environment = [(name.to_owned(), value.to_owned())].into();
        Console::new(said.clone(), said.clone(), std::io::empty(), environment)
    };
    let mut one = given("get a");
    one.take_environment("ETCDCTL", &console("ETCDCTL_WRITE_OUT", "json")).unwrap();
    assert_eq!(one.text("write-out"), "json");
    let mut two = given("get a -w table");
    let refused = two.take_environment("ETCDCTL", &console("ETCDCTL_WRITE_OUT", "json"));
    assert!(refused.unwrap_err().words.contains("ETCDCTL_WRITE_OUT is shadowed"));
    let secret = console("ETCDCTL_PASSWROD", "hunter2");
    given("get a").take_environment("ETCDCTL", &secret).unwrap();
    let said = String::from_utf8(said.lock().unwrap().clone()).unwrap();
    assert!(said.contains("ETCDCTL_PASSWROD") && !said.contains("hunter2"), "{said}");
}
