//! An S3 server for tests: versitygw over a folder on loopback, with credentials that exist nowhere
//! else.

use crate::peers::peer;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long it may take until it listens.
const READY: Duration = Duration::from_secs(30);

/// A running server. Killed when dropped.
pub struct S3 {
    child: Child,
    folder: TempDir,
    port: u16,
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
}

impl S3 {
    /// Starts it with one empty bucket for each name.
    ///
    /// # Panics
    /// It does not start; with what it says.
    pub fn start(buckets: &[&str]) -> S3 {
        let folder = TempDir::new().expect("a folder for a store");
        for sub in ["objects", "metadata"] {
            std::fs::create_dir(folder.path().join(sub)).expect("the folder is ours");
        }
        for bucket in buckets {
            std::fs::create_dir(folder.path().join("objects").join(bucket)).expect("a bucket");
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let access_key = "AKIAHOLDFASTTEST".to_owned();
        let secret_key = format!("test-secret-{}-{port}", std::process::id());
        let log = std::fs::File::create(folder.path().join("log")).expect("the folder is ours");
        // In the environment and not among the arguments, which every user of the machine can read.
        let child = Command::new(peer("versitygw"))
            .env("ROOT_ACCESS_KEY_ID", &access_key)
            .env("ROOT_SECRET_ACCESS_KEY", &secret_key)
            .args(["--port", &format!("127.0.0.1:{port}"), "--quiet", "posix", "--sidecar"])
            .arg(folder.path().join("metadata"))
            .arg(folder.path().join("objects"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("versitygw starts");
        let mut s3 = S3 { child, folder, port, access_key, secret_key };
        s3.wait_ready();
        s3
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The folder under the objects of a bucket, for damaging them.
    pub fn bucket_dir(&self, bucket: &str) -> PathBuf {
        self.folder.path().join("objects").join(bucket)
    }

    /// What a program needs in its environment to use it, as AWS's own tools do.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ACCESS_KEY_ID", self.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key.clone()),
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
    }

    /// Ends it with SIGKILL: a store that cannot be reached.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn wait_ready(&mut self) {
        let end = Instant::now() + READY;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.try_wait().expect("a child of ours");
            let log = || std::fs::read_to_string(self.folder.path().join("log"));
            assert!(ended.is_none(), "versitygw ended with {ended:?}: {:?}", log());
            assert!(Instant::now() < end, "versitygw does not listen: {:?}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.kill();
    }
}
