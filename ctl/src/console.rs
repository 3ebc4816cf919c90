//! Where a verb reads and writes: standard streams and the environment, as arguments.
//!
//! Must hold: what a verb prints goes through here, so that a test sees all of it; a reader that
//! went away ends the verb as SIGPIPE would.

use crate::failure::Failure;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind, IsTerminal, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Longest value or script that is read from standard input: four times what a server takes.
const MOST_INPUT_BYTES: u64 = 64 << 20;
/// What a process ends with that wrote to a closed pipe.
const CLOSED_PIPE: u8 = 141;

/// Streams and environment of one run. Clones share them.
#[derive(Clone)]
pub struct Console {
    out: Arc<Mutex<dyn Write + Send>>,
    err: Arc<Mutex<dyn Write + Send>>,
    input: Arc<Mutex<dyn BufRead + Send>>,
    environment: Arc<BTreeMap<String, String>>,
    is_process: bool,
}

impl Console {
    /// This process's own.
    pub fn of_process() -> Console {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Console {
            out: Arc::new(Mutex::new(io::stdout())),
            err: Arc::new(Mutex::new(io::stderr())),
            input: Arc::new(Mutex::new(BufReader::new(io::stdin()))),
            environment: Arc::new(environment),
            is_process: true,
        }
    }

    /// Given ones.
    pub fn new(
        out: Arc<Mutex<dyn Write + Send>>,
        err: Arc<Mutex<dyn Write + Send>>,
        input: impl Read + Send + 'static,
        environment: BTreeMap<String, String>,
    ) -> Console {
        let input = Arc::new(Mutex::new(BufReader::new(input)));
        Console { out, err, input, environment: Arc::new(environment), is_process: false }
    }

    /// Prints text or bytes as they are.
    ///
    /// # Errors
    /// The reader is gone, or the file cannot be written.
    pub(crate) fn print(&self, text: impl AsRef<[u8]>) -> Result<(), Failure> {
        let mut out = lock(&self.out);
        let written = out.write_all(text.as_ref()).and_then(|()| out.flush());
        written.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Failure::silent(CLOSED_PIPE),
            _ => Failure::error(format!("cannot write to standard output: {error}")),
        })
    }

    /// Prints a line.
    ///
    /// # Errors
    /// As [`Console::print`].
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.print(format!("{}\n", text.as_ref()))
    }

    /// Says something on standard error. Nobody can be told if that fails.
    pub(crate) fn complain(&self, text: impl AsRef<str>) {
        let _ = writeln!(lock(&self.err), "{}", text.as_ref());
    }

    /// The next line of standard input, without its end; `None` at the end of the input.
    ///
    /// # Errors
    /// Reading fails, or the line is no UTF-8.
    pub(crate) fn read_line(&self) -> io::Result<Option<String>> {
        // Like upstream, a last line without its end does not count.
        Ok(self.next_line()?.strip_suffix('\n').map(str::to_owned))
    }

    /// The first word of the next line of standard input, which may be the last one and without
    /// its end. Nothing behind the line is waited for: on a terminal nobody ends the input.
    ///
    /// # Errors
    /// Reading fails, or the line is no UTF-8.
    pub(crate) fn read_word(&self) -> io::Result<String> {
        Ok(self.next_line()?.split_whitespace().next().unwrap_or_default().to_owned())
    }

    fn next_line(&self) -> io::Result<String> {
        let mut line = String::new();
        let mut input = lock(&self.input);
        (&mut *input).take(MOST_INPUT_BYTES).read_line(&mut line)?;
        Ok(line)
    }

    /// All of standard input.
    ///
    /// # Errors
    /// Reading fails, or there is more than a server would take.
    pub(crate) fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut input = lock(&self.input);
        (&mut *input).take(MOST_INPUT_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MOST_INPUT_BYTES {
            let what = format!("more than {MOST_INPUT_BYTES} bytes on standard input");
            return Err(io::Error::new(ErrorKind::FileTooLarge, what));
        }
        Ok(bytes)
    }

    /// Asks for a secret: without an echo where standard input is a terminal, else the next line.
    ///
    /// # Errors
    /// Reading fails, or the input ends.
    pub(crate) fn ask_secret(&self, question: &str) -> io::Result<String> {
        let _ = write!(lock(&self.err), "{question}");
        let answer = if self.is_process && io::stdin().is_terminal() {
            let quiet = Quiet::begin()?;
            let answer = self.read_line();
            drop(quiet);
            self.complain("");
            answer?
        } else {
            self.read_line()?
        };
        answer.ok_or_else(|| io::Error::new(ErrorKind::UnexpectedEof, "the input ended"))
    }

    /// A variable of the environment; an empty one counts as none.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Names of all variables.
    pub(crate) fn variable_names(&self) -> impl Iterator<Item = &str> {
        self.environment.keys().map(String::as_str)
    }
}

/// A terminal without echo, until dropped.
struct Quiet {
    before: rustix::termios::Termios,
}

impl Quiet {
    fn begin() -> io::Result<Quiet> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Quiet { before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

fn lock<T: ?Sized>(shared: &Arc<Mutex<T>>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal: behind each line it waits for a person, here for ever.
    struct Lines(Vec<&'static str>);

    impl Read for Lines {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let line = self.0.remove(0).as_bytes();
            out[..line.len()].copy_from_slice(line);
            Ok(line.len())
        }
    }

    fn console(lines: &[&'static str]) -> Console {
        let sink = || Arc::new(Mutex::new(Vec::new()));
        Console::new(sink(), sink(), Lines(lines.to_vec()), BTreeMap::new())
    }

    #[test]
    fn a_word_is_read_without_waiting_for_more() {
        for (lines, word) in [
            (&["secret\n"][..], "secret"),
            (&["sec", "ret more\n"], "secret"),
            (&["\n"], ""),
            (&["secret", ""], "secret"),
            (&[""], ""),
        ] {
            assert_eq!(console(lines).read_word().unwrap(), word, "{lines:?}");
        }
    }
}
