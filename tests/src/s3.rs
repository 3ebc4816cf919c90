//! S3 servers for tests: versitygw or MinIO over a folder on loopback, with credentials that exist
//! nowhere else.

use crate::peers::peer;
use object_store::ClientOptions;
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsAuthorizer};
use object_store::client::{HttpConnector, HttpRequest, ReqwestConnector};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long it may take until it listens, and until it makes a bucket.
const READY: Duration = Duration::from_secs(60);

/// What a bucket is told so that it keeps versions.
const KEEP_VERSIONS: &str = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
    <Status>Enabled</Status></VersioningConfiguration>";

/// Whose server it is. Both check signatures, SHA-256 checksums and conditional creates; they
/// differ in how versions are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Versity's gateway over a POSIX folder. A delete marker is an object to it: a create over one
    /// is refused, and a put over one stays hidden.
    Versitygw,
    /// MinIO on one drive. As S3 does, it creates over a delete marker.
    Minio,
}

/// All of them: a suite that a store must pass runs on each.
pub const KINDS: [Kind; 2] = [Kind::Versitygw, Kind::Minio];

/// A running server. Killed when dropped.
pub struct S3 {
    child: Child,
    folder: TempDir,
    port: u16,
    kind: Kind,
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
}

impl S3 {
    /// Starts it with one empty bucket for each name.
    ///
    /// # Panics
    /// It does not start, or makes no bucket; with what it says.
    pub async fn start(kind: Kind, buckets: &[&str]) -> S3 {
        let folder = TempDir::new().expect("a folder for a store");
        for sub in ["objects", "metadata", "versions"] {
            std::fs::create_dir(folder.path().join(sub)).expect("the folder is ours");
        }
        let [port, _] = holdfast_peers::free_ports();
        let access_key = "AKIAHOLDFASTTEST".to_owned();
        let secret_key = format!("test-secret-{}-{port}", std::process::id());
        let log = std::fs::File::create(folder.path().join("log")).expect("the folder is ours");
        let output = log.try_clone().expect("a second handle");
        let mut command = kind.command(folder.path(), port);
        // In the environment and not among the arguments, which every user of the machine can read.
        let child = command
            .envs(kind.credentials().into_iter().zip([&access_key, &secret_key]))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        let mut s3 = S3 { child, folder, port, kind, access_key, secret_key };
        s3.wait_ready().await;
        for bucket in buckets {
            s3.make(bucket).await;
        }
        s3
    }

    /// Makes a bucket keep versions from now on.
    ///
    /// # Panics
    /// It refuses.
    pub async fn keep_versions(&self, bucket: &str) {
        let answer = self.ask("PUT", &format!("{bucket}?versioning="), KEEP_VERSIONS).await;
        assert_eq!(answer, Ok(200), "{:?}: versions of {bucket}: {}", self.kind, self.log());
    }

    /// Puts an object and says that its SHA-256 is `sha256` (base64); the status of the answer.
    ///
    /// # Panics
    /// No answer.
    pub async fn put_claiming(&self, place: &str, body: &str, sha256: &str) -> u16 {
        let header = ("x-amz-checksum-sha256", sha256);
        let answer = self.request("PUT", place, body, Some(header)).await;
        answer.unwrap_or_else(|error| panic!("{:?}: {error}: {}", self.kind, self.log()))
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The folder with all of a bucket's bytes, for searching them.
    pub fn bucket_dir(&self, bucket: &str) -> PathBuf {
        self.folder.path().join("objects").join(bucket)
    }

    /// A client of one bucket that is not ours.
    ///
    /// # Panics
    /// Never: the address is right.
    pub fn client(&self, bucket: &str) -> AmazonS3 {
        let builder = AmazonS3Builder::new().with_bucket_name(bucket).with_region("us-east-1");
        let builder = builder.with_endpoint(self.endpoint()).with_allow_http(true);
        let builder = builder.with_access_key_id(&self.access_key);
        builder.with_secret_access_key(&self.secret_key).build().expect("a right address")
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

    async fn wait_ready(&mut self) {
        let end = Instant::now() + READY;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "{:?} ended with {ended:?}: {}", self.kind, self.log());
            assert!(Instant::now() < end, "{:?} does not listen: {}", self.kind, self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A server that listens may still be finding its drive.
    async fn make(&self, bucket: &str) {
        let end = Instant::now() + READY;
        loop {
            let answer = self.ask("PUT", bucket, "").await;
            if answer == Ok(200) {
                return;
            }
            let late = Instant::now() >= end;
            assert!(!late, "{:?} makes no bucket: {answer:?}: {}", self.kind, self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A signed request for what object_store does not ask; the status.
    async fn ask(&self, method: &str, place: &str, body: &str) -> Result<u16, String> {
        self.request(method, place, body, None).await
    }

    async fn request(
        &self,
        method: &str,
        place: &str,
        body: &str,
        header: Option<(&'static str, &str)>,
    ) -> Result<u16, String> {
        let mut request = HttpRequest::new(body.to_owned().into());
        *request.method_mut() = method.parse().expect("a method");
        *request.uri_mut() = format!("{}/{place}", self.endpoint()).parse().expect("an address");
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value.parse().expect("a header's value"));
        }
        let client = self.client("none");
        let credential = client.credentials().get_credential().await;
        AwsAuthorizer::new(&credential.expect("given"), "s3", "us-east-1")
            .try_authorize(&mut request, None)
            .expect("our own request is well formed");
        let options = ClientOptions::new().with_allow_http(true);
        let http = ReqwestConnector::default().connect(&options).expect("a client");
        let answer = http.execute(request).await;
        answer.map(|answer| answer.status().as_u16()).map_err(|error| error.to_string())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Kind {
    fn command(self, folder: &Path, port: u16) -> Command {
        let address = format!("127.0.0.1:{port}");
        let mut command;
        match self {
            Kind::Versitygw => {
                command = Command::new(peer("versitygw"));
                command.args(["--port", &address, "--quiet", "posix"]);
                command.arg("--sidecar").arg(folder.join("metadata"));
                command.arg("--versioning-dir").arg(folder.join("versions"));
                command.arg(folder.join("objects"));
            }
            Kind::Minio => {
                command = Command::new(peer("minio"));
                command.args(["server", "--quiet", "--anonymous", "--address", &address]);
                command.arg("--certs-dir").arg(folder.join("metadata"));
                command.arg(folder.join("objects"));
                command.envs([("MINIO_BROWSER", "off"), ("MINIO_UPDATE", "off")]);
            }
        }
        command
    }

    /// The variables that take the two halves of the credential.
    fn credentials(self) -> [&'static str; 2] {
        match self {
            Kind::Versitygw => ["ROOT_ACCESS_KEY_ID", "ROOT_SECRET_ACCESS_KEY"],
            Kind::Minio => ["MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"],
        }
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.kill();
    }
}
