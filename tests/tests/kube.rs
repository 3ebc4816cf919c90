//! A real kube-apiserver, with TLS, on the bundled server: it holds thousands of pods, and after a
//! backup and a restore by holdfast another one finds every object as it was.
//!
//! Takes minutes, the build of upstream's programs more: `make check-kube`, outside of CI.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use holdfast_tests::etcd::{BUNDLED, Etcd, Options, free_ports};
use holdfast_tests::peers::peer;
use holdfast_tests::pki::Pki;
use holdfast_tests::site::{Login, Site};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Pods, and how many of them one kubectl creates.
const PODS: usize = 5_000;
const PODS_EACH: usize = 1_250;
/// How long the API server may take until it is ready, on a machine that does much at once.
const READY: Duration = Duration::from_secs(180);
/// What changes by itself while nobody asks for it: heartbeats, and what is told of them.
const RESTLESS: [&str; 4] =
    ["events", "events.events.k8s.io", "leases.coordination.k8s.io", "componentstatuses"];
/// Where it enters itself at its start and takes itself out at its end.
const ITS_OWN: [&str; 2] =
    ["endpoints default/kubernetes", "endpointslices.discovery.k8s.io default/kubernetes"];

/// A kube-apiserver. Killed when dropped.
struct ApiServer {
    process: Child,
    folder: TempDir,
}

impl ApiServer {
    fn start(etcd: &Etcd, pki: &Pki, port: u16) -> ApiServer {
        let folder = TempDir::new().unwrap();
        let (server, client, ca) = (pki.server(), pki.client("root"), pki.ca());
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{port}"), "certificate-authority": ca}}],
            "users": [{"name": "test", "user": {
                "client-certificate": client.cert, "client-key": client.key}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(peer("kube-apiserver"));
        let mut flag = |name: &str, value: &dyn AsRef<std::ffi::OsStr>| {
            command.arg(format!("--{name}")).arg(value);
        };
        flag("etcd-servers", &etcd.endpoint());
        for (name, path) in [("cafile", &ca), ("certfile", &client.cert), ("keyfile", &client.key)]
        {
            flag(&format!("etcd-{name}"), path);
        }
        flag("secure-port", &port.to_string());
        flag("bind-address", &"127.0.0.1");
        // Written into the endpoints of the service `kubernetes`; never dialled.
        flag("advertise-address", &"192.0.2.1");
        flag("cert-dir", &folder.path().join("certificates"));
        flag("tls-cert-file", &server.cert);
        flag("tls-private-key-file", &server.key);
        flag("client-ca-file", &ca);
        flag("service-account-issuer", &"https://kubernetes.default.svc");
        flag("service-account-key-file", &server.cert);
        flag("service-account-signing-key-file", &server.key);
        flag("service-cluster-ip-range", &"10.0.0.0/16");
        // RBAC for the hundreds of objects that it makes at its start.
        flag("authorization-mode", &"AlwaysAllow,RBAC");
        flag("disable-admission-plugins", &"ServiceAccount");
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        ApiServer { process: process.unwrap(), folder }.ready()
    }

    fn ready(mut self) -> ApiServer {
        let deadline = Instant::now() + READY;
        loop {
            let asked = self.kubectl(&["get", "--raw", "/readyz"]).output().unwrap();
            if asked.stdout == b"ok" {
                return self;
            }
            let ended = self.process.try_wait().unwrap();
            let waits = ended.is_none() && Instant::now() < deadline;
            assert!(waits, "kube-apiserver is not ready ({ended:?}):\n{}", self.complaints("", 40));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn kubectl(&self, args: &[&str]) -> Command {
        let mut command = Command::new(peer("kubectl"));
        command.arg("--kubeconfig").arg(self.folder.path().join("kubeconfig"));
        // Its cache of what the server knows; nothing of the caller's.
        command.env("HOME", self.folder.path()).args(args).stdin(Stdio::null());
        command
    }

    /// Lines of its log that are errors and hold a word.
    fn complaints(&self, word: &str, most: usize) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let is_error = |line: &&str| {
            let mut letters = line.chars();
            matches!(letters.next(), Some('E' | 'F'))
                && letters.next().is_some_and(char::is_numeric)
        };
        let holds = |line: &&str| line.to_lowercase().contains(word);
        let lines: Vec<&str> = log.lines().filter(is_error).filter(holds).take(most).collect();
        lines.join("\n")
    }

    /// SIGTERM, and waits for its end: it says good-bye to etcd.
    fn stop(mut self) {
        let id = self.process.id().to_string();
        holdfast_tests::etcd::run(Command::new("kill").args(["-TERM", &id]));
        self.process.wait().unwrap();
    }

    fn create_pods(&self) {
        let mut creating = Vec::new();
        for first in (0..PODS).step_by(PODS_EACH) {
            let items: Vec<Value> = (first..first + PODS_EACH).map(pod).collect();
            let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
            let file = self.folder.path().join(format!("pods-{first}.json"));
            std::fs::write(&file, list.to_string()).unwrap();
            let mut create = self.kubectl(&["create", "-o", "name", "-f"]);
            creating.push(create.arg(&file).stdout(Stdio::null()).spawn().unwrap());
        }
        for mut kubectl in creating {
            assert!(kubectl.wait().unwrap().success(), "{}", self.complaints("", 10));
        }
    }

    /// All objects of all kinds, each as the server tells it, by kind, namespace and name.
    fn objects(&self) -> BTreeMap<String, Value> {
        let said = |args: &[&str]| holdfast_tests::etcd::run(&mut self.kubectl(args));
        let kinds = said(&["api-resources", "--verbs=list", "-o", "name"]);
        let mut objects = BTreeMap::new();
        for kind in kinds.lines().filter(|kind| !RESTLESS.contains(kind)) {
            let list: Value =
                serde_json::from_str(&said(&["get", kind, "-A", "-o", "json"])).unwrap();
            for object in list["items"].as_array().unwrap() {
                let part = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
                let name = format!("{kind} {}/{}", part("namespace"), part("name"));
                objects.insert(name, object.clone());
            }
        }
        objects.retain(|name, _| !ITS_OWN.contains(&&**name));
        objects
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn pod(number: usize) -> Value {
    let environment: Vec<Value> = (0..12)
        .map(|at| json!({"name": format!("SETTING_{at}"), "value": format!("{number:x}-{at}-").repeat(9)}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{number}"), "namespace": "default",
            "labels": {"app": format!("app-{}", number % 50)}},
        "spec": {"nodeName": format!("node-{}", number % 20), "containers": [
            {"name": "main", "image": format!("registry.example/app:{}", number % 9), "env": environment},
            {"name": "side", "image": "registry.example/side:1"}]},
    })
}

async fn backed_up_and_restored(etcd: &Etcd, pki: &Pki) -> (Site, PathBuf) {
    let site = Site::on_disk();
    site.watch(etcd, Login { pki: Some(pki), ..Login::default() });
    site.init().await;
    site.back_up().await;
    let restored = site.restore("restored", "3.6", &[]).await;
    (site, restored)
}

async fn serve(pki: &Arc<Pki>, data_dir: Option<&Path>) -> Etcd {
    let options = Options { extra: Vec::new(), ..Options::new(BUNDLED) }.with_tls(pki);
    Etcd::start_with(match data_dir {
        Some(path) => options.with_data_dir(path),
        None => options,
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_finds_every_object_after_a_restore() {
    // The same for both: it stands in the endpoints of the service `kubernetes`.
    let port = free_ports().client;
    let pki = Arc::new(Pki::new());
    let etcd = serve(&pki, None).await;
    let began = Instant::now();
    let api = ApiServer::start(&etcd, &pki, port);
    eprintln!("ready after {:.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    api.create_pods();
    eprintln!("{PODS} pods after {:.1} s", began.elapsed().as_secs_f64());
    let before = api.objects();
    assert!(before.len() > PODS + 150, "{}", before.len());
    assert_eq!(api.complaints("etcd", 10), "", "what it says of etcd");
    api.stop();
    let (_site, data_dir) = backed_up_and_restored(&etcd, &pki).await;
    drop(etcd);
    let etcd = serve(&pki, Some(&data_dir)).await;
    let api = ApiServer::start(&etcd, &pki, port);
    let after = api.objects();
    let differing: Vec<&String> = before
        .iter()
        .filter(|(name, object)| after.get(*name) != Some(object))
        .map(|(name, _)| name)
        .chain(after.keys().filter(|name| !before.contains_key(*name)))
        .collect();
    assert_eq!(differing, Vec::<&String>::new());
    assert_eq!(api.complaints("etcd", 10), "", "what it says of etcd");
    eprintln!("{} objects are the same after the restore", after.len());
    api.stop();
}
