//! A key service for tests: a real Kubernetes KMS v2 plugin on a unix socket, steered by files in
//! its folder (tests/peers/kmsplugin/main.go says which).

use crate::peers::peer;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long it may take until it listens.
const READY: Duration = Duration::from_secs(30);

/// A running plugin. Killed when dropped.
pub struct KeyPlugin {
    child: Child,
    folder: TempDir,
}

impl KeyPlugin {
    /// Starts it with the key `kek-1`.
    ///
    /// # Panics
    /// It does not start.
    pub fn start() -> KeyPlugin {
        let folder = TempDir::new().expect("a folder for keys");
        let child = spawn(folder.path());
        let mut plugin = KeyPlugin { child, folder };
        plugin.wait_ready();
        plugin
    }

    /// For a configuration's `endpoint`.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", socket(self.folder.path()).display())
    }

    /// Encrypts under another key from now on.
    pub fn rotate(&self, key: &str) {
        self.write("current", key);
    }

    /// Loses a key for ever.
    ///
    /// # Panics
    /// There is no such key.
    pub fn lose(&self, key: &str) {
        let path = self.folder.path().join(format!("{key}.key"));
        std::fs::remove_file(path).unwrap_or_else(|error| panic!("key {key}: {error}"));
    }

    /// Fails every call with these words; `None`: is well again.
    pub fn fail(&self, words: Option<&str>) {
        self.set("fail", words);
    }

    /// Lets every call wait until its deadline, or not any more.
    pub fn stall(&self, stalled: bool) {
        self.set("stall", stalled.then_some(""));
    }

    /// Breaks the protocol in a named way; `None`: keeps it again.
    pub fn fault(&self, name: Option<&str>) {
        self.set("fault", name);
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same keys and socket.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.folder.path());
        self.wait_ready();
    }

    fn set(&self, name: &str, content: Option<&str>) {
        match content {
            Some(text) => self.write(name, text),
            None => {
                // It may not be there.
                let _ = std::fs::remove_file(self.folder.path().join(name));
            }
        }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("the folder is ours");
    }

    fn wait_ready(&mut self) {
        let end = Instant::now() + READY;
        let socket = socket(self.folder.path());
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            let ended = self.child.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "kms-plugin-ref ended with {ended:?}");
            assert!(Instant::now() < end, "kms-plugin-ref does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for KeyPlugin {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(folder: &Path) -> Child {
    let mut command = Command::new(peer("kms-plugin-ref"));
    command.arg("-socket").arg(socket(folder)).arg("-dir").arg(folder.join("."));
    command.stdin(Stdio::null()).spawn().expect("kms-plugin-ref starts")
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("kms.sock")
}
