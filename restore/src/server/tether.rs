//! Ends a child process when this process dies, also by SIGKILL.
//!
//! A small shell waits on a pipe whose other end only we hold. The kernel closes it when we die;
//! then the shell ends the child, by its id: a group's would be written `-- -ID`, which not every
//! shell's `kill` understands. (The kernel's own parent-death signal has to be asked for between
//! fork and exec, which is not possible without unsafe code.) Without a shell on the machine the
//! child is still killed when its handle is dropped, and the next drill finds what a killed one
//! left behind.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;

/// `$1` is the child. Any word on the pipe lets go.
const SCRIPT: &str = r#"
read -r word && exit 0
kill -TERM "$1" 2>/dev/null
for second in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 "$1" 2>/dev/null || exit 0
    sleep 1
done
kill -KILL "$1" 2>/dev/null
"#;

#[derive(Debug)]
pub(super) struct Tether {
    shell: Option<Child>,
}

impl Tether {
    /// Ties a child to our life.
    pub(super) fn tie(child: Pid) -> Tether {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "tether", &child.as_raw_nonzero().to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let shell = command.spawn();
        if let Err(error) = &shell {
            tracing::warn!(%error, "no /bin/sh: a server could outlive a killed drill");
        }
        Tether { shell: shell.ok() }
    }

    /// Lets go: the child has ended.
    pub(super) fn release(&mut self) {
        let Some(mut shell) = self.shell.take() else { return };
        let word = shell.stdin.take().map(|mut pipe| pipe.write_all(b"done\n"));
        if !matches!(word, Some(Ok(()))) {
            // It ended before: nothing holds it.
            let _ = shell.kill();
        }
        let _ = shell.wait();
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        // The server was dropped without `stop`: closing the pipe makes the shell end the child.
        if let Some(mut shell) = self.shell.take() {
            drop(shell.stdin.take());
            std::thread::spawn(move || shell.wait());
        }
    }
}
