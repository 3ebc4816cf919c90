//! Servers as processes, ours and upstream's; and plain HTTP to them.

use holdfast_peers::{free_ports, peer};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// The variable with the arguments.
pub const ARGUMENTS: &str = "HOLDFAST_TEST_ARGUMENTS";
/// Longest that a server may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command that runs our server with these arguments.
pub fn ours(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let all = [&["etcd"], arguments].concat().join("\u{1f}");
    command.args(["--exact", "started_as_a_server", "--ignored", "--nocapture"]);
    command.env(ARGUMENTS, all);
    command
}

/// A command that runs upstream's.
pub fn theirs(arguments: &[&str]) -> Command {
    let mut command = Command::new(peer("etcd-3.6"));
    command.args(arguments);
    command
}

/// What a command that should end by itself says; one that does not is ended.
pub fn outcome(command: &mut Command) -> Output {
    let pipes = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

/// A running server.
pub struct Server {
    child: Child,
    folder: tempfile::TempDir,
    /// The client port.
    pub port: u16,
    /// The peer port.
    pub peer_port: u16,
}

impl Server {
    /// Ours on plain ports.
    pub fn ours() -> Server {
        Server::start(ours, "http", &[])
    }

    /// Upstream's on plain ports, with the versions that it agrees on and notes a moment after it
    /// is ready: ours says them from the start.
    pub fn theirs() -> Server {
        let server = Server::start(theirs, "http", &[]);
        let deadline = Instant::now() + PATIENCE;
        let settled = "\"etcdcluster\":\"3.6.0\",\"storage\":\"3.6.0\"";
        while !server.ask("GET", "/version", "").body.contains(settled) {
            assert!(Instant::now() < deadline, "it has no version:\n{}", server.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// One with more arguments; `FOLDER` in them is its folder.
    pub fn start(command: impl Fn(&[&str]) -> Command, scheme: &str, arguments: &[&str]) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let [port, peer_port] = free_ports();
        let clients = format!("{scheme}://127.0.0.1:{port}");
        let peers = format!("http://127.0.0.1:{peer_port}");
        let mut all: Vec<String> = vec![
            "--name=m".to_owned(),
            format!("--data-dir={}", folder.path().join("data").display()),
            format!("--listen-client-urls={clients}"),
            format!("--advertise-client-urls={clients}"),
            format!("--listen-peer-urls={peers}"),
            format!("--initial-advertise-peer-urls={peers}"),
            format!("--initial-cluster=m={peers}"),
        ];
        let name = folder.path().display().to_string();
        all.extend(arguments.iter().map(|argument| argument.replace("FOLDER", &name)));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let log = File::create(folder.path().join("log")).unwrap();
        let child =
            command(&all).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut server = Server { child, folder, port, peer_port };
        server.wait_for_line("ready to serve client requests");
        server
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// All that it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until a line of the log holds a text.
    pub fn wait_for_line(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().lines().any(|line| line.contains(text)) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "ended with {ended:?} before {text:?}:\n{}", self.log());
            assert!(Instant::now() < deadline, "no {text:?} in\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal and waits for its end.
    pub fn signal(&mut self, name: &str) -> ExitStatus {
        let id = self.child.id().to_string();
        holdfast_peers::run(Command::new("kill").args([&format!("-{name}"), &id]));
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "still running:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks the client port.
    pub fn ask(&self, verb: &str, path: &str, body: &str) -> Page {
        ask(self.port, verb, path, body, &[])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// Headers in lower case, sorted.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: String,
}

impl Page {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Sends a request to a port and reads the answer to its end; that of a watch to its first line.
pub fn ask(port: u16, verb: &str, path: &str, body: &str, headers: &[(&str, &str)]) -> Page {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = format!("{verb} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text.push_str("Host: localhost\r\n");
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 65536];
    while let Ok(count) = stream.read(&mut buffer) {
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..count]);
        if is_whole(&String::from_utf8_lossy(&answer), verb, path) {
            break;
        }
    }
    parse(&String::from_utf8_lossy(&answer))
}

/// Whether nothing more is to come: upstream's peer port leaves connections open for seconds.
fn is_whole(answer: &str, verb: &str, path: &str) -> bool {
    if !answer.contains("\r\n\r\n") {
        return false;
    }
    let page = parse(answer);
    let length: Option<usize> = page.header("content-length").and_then(|text| text.parse().ok());
    verb == "HEAD"
        || length.is_some_and(|length| page.body.len() >= length)
        || path == "/v3/watch" && page.body.contains('\n')
}

fn parse(answer: &str) -> Page {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let mut headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    headers.sort();
    let chunked =
        headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if chunked { unchunked(body) } else { body.to_owned() };
    Page { status, headers, body }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

/// A file of the test's own.
pub fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}
