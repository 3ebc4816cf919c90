//! From options to a client: endpoints, certificates, login, deadlines, output format.

use crate::args::Given;
use crate::console::Console;
use crate::failure::Failure;
use crate::print::{Answer, Printer};
use holdfast_api::client::{Client, ClientConfig, Credentials, Pem, Tls};
use holdfast_api::etcdserverpb::MemberListRequest;
use std::sync::OnceLock;
use std::time::Duration;
use tonic::{Code, Response, Status};

/// What a client sends at most in one request, unless `--max-request-bytes` says more.
const MOST_REQUEST_BYTES: u64 = 2 << 20;
/// How long a call that walks a whole database may take, unless `--command-timeout` is given.
const WALK_TIMEOUT: Duration = Duration::from_secs(600);
/// Go's servers refuse clients that ping more often.
const SHORTEST_PING_INTERVAL: Duration = Duration::from_secs(5);

/// A verb with its options, before it has a client.
pub(super) struct Call {
    pub(super) given: Given,
    pub(super) console: Console,
    /// Asked for once, however many clients are made.
    credentials: OnceLock<Option<Credentials>>,
}

/// A verb with its client.
pub(super) struct Session {
    pub(super) console: Console,
    pub(super) client: Client,
    pub(super) printer: Printer,
    most_request_bytes: u64,
}

impl Call {
    /// A verb with its options.
    pub(super) fn new(given: Given, console: Console) -> Call {
        Call { given, console, credentials: OnceLock::new() }
    }

    /// A session with the cluster at all endpoints.
    pub(super) fn session(&self) -> Result<Session, Failure> {
        let config = self.config(self.given.list("endpoints"))?;
        let printer = Printer::new(self.given.text("write-out"), self.given.truth("hex"))?;
        let most = self.given.uint_of_int("max-request-bytes");
        Ok(Session {
            console: self.console.clone(),
            client: connect(config)?,
            printer,
            most_request_bytes: if most == 0 { MOST_REQUEST_BYTES } else { most },
        })
    }

    /// How to reach the cluster at some endpoints.
    fn config(&self, endpoints: Vec<String>) -> Result<ClientConfig, Failure> {
        if !self.given.text("discovery-srv").is_empty() {
            return Err(Failure::feature(
                "--discovery-srv is not built in: name the members with --endpoints",
            ));
        }
        let mut config = ClientConfig::new(endpoints);
        config.tls = self.tls(&config.endpoints)?;
        config.credentials = self.credentials()?;
        self.set_times(&mut config);
        let most = self.given.uint_of_int("max-recv-bytes");
        if let (Ok(most), true) = (usize::try_from(most), most > 0) {
            config.max_message_bytes = most;
        }
        Ok(config)
    }

    /// The times that hold for any cluster.
    pub(super) fn set_times(&self, config: &mut ClientConfig) {
        config.connect_timeout = self.given.span("dial-timeout");
        config.request_timeout = self.given.span("command-timeout");
        let is_given = self.given.is_given("command-timeout");
        config.walk_timeout = if is_given { config.request_timeout } else { WALK_TIMEOUT };
        config.keep_alive_interval = self.given.span("keepalive-time").max(SHORTEST_PING_INTERVAL);
        config.keep_alive_timeout = self.given.span("keepalive-timeout");
        config.waits_for_connection = true;
    }

    /// Certificates, where an endpoint or an option asks for them.
    fn tls(&self, endpoints: &[String]) -> Result<Option<Tls>, Failure> {
        for name in ["cert", "key", "cacert"] {
            if self.given.is_given(name) && self.given.text(name).is_empty() {
                let words = format!("empty string is passed to --{name} option");
                return Err(Failure::arguments(words));
            }
        }
        let given = Certificates {
            ca: self.given.text("cacert"),
            cert: self.given.text("cert"),
            key: self.given.text("key"),
            is_insecure: self.given.truth("insecure-transport"),
            skips_verification: self.given.truth("insecure-skip-tls-verify"),
        };
        given.tls(endpoints)
    }

    fn credentials(&self) -> Result<Option<Credentials>, Failure> {
        if let Some(known) = self.credentials.get() {
            return Ok(known.clone());
        }
        let (user, password) = (self.given.text("user"), self.given.text("password"));
        let asked = credentials(&self.console, user, password, "Password: ")?;
        Ok(self.credentials.get_or_init(|| asked).clone())
    }

    /// The endpoints that a verb works through one by one: those given, or with `--cluster` those
    /// of all members.
    pub(super) async fn endpoints(&self) -> Result<Vec<String>, Failure> {
        if !self.given.truth("cluster") {
            return Ok(self.given.list("endpoints"));
        }
        let client = connect(self.config(self.given.list("endpoints"))?)?;
        let request = MemberListRequest { linearizable: true };
        let members = client.cluster().member_list(request).await.map_err(|status| {
            let words = crate::failure::words(&status);
            let what = "failed to fetch endpoints from etcd cluster member list";
            Failure::error(format!("{what}: {words}"))
        })?;
        let members = members.into_inner().members;
        Ok(members.into_iter().flat_map(|member| member.client_urls).collect())
    }

    /// A client of one endpoint only.
    pub(super) fn client_at(&self, endpoint: &str) -> Result<Client, Failure> {
        connect(self.config(vec![endpoint.to_owned()])?)
    }

    /// Prints an answer without a client at hand.
    pub(super) fn print(&self, answer: &Answer<'_>) -> Result<(), Failure> {
        let printer = Printer::new(self.given.text("write-out"), self.given.truth("hex"))?;
        printer.print(&self.console, answer)
    }
}

/// The certificates of one side.
pub(super) struct Certificates<'a> {
    pub(super) ca: &'a str,
    pub(super) cert: &'a str,
    pub(super) key: &'a str,
    pub(super) is_insecure: bool,
    pub(super) skips_verification: bool,
}

impl Certificates<'_> {
    /// What the endpoints need; `None` where they speak without TLS.
    pub(super) fn tls(&self, endpoints: &[String]) -> Result<Option<Tls>, Failure> {
        let is_plain = |url: &String| url.starts_with("http://") || url.starts_with("unix:");
        let is_secure = |url: &String| url.starts_with("https://");
        let asked = [self.ca, self.cert, self.key].iter().any(|path| !path.is_empty())
            || !self.is_insecure
            || self.skips_verification;
        if endpoints.iter().all(is_plain) || !(asked || endpoints.iter().any(is_secure)) {
            return Ok(None);
        }
        if self.cert.is_empty() != self.key.is_empty() {
            let words = "KeyFile and CertFile must both be present: give --cert and --key";
            return Err(Failure::arguments(words));
        }
        let mut tls = if self.skips_verification {
            Tls::unverified()
        } else if self.ca.is_empty() {
            return Err(Failure::arguments(
                "a connection with TLS needs --cacert: the system's authorities are not used",
            ));
        } else {
            Tls::new(Pem::File(self.ca.into()))
        };
        if !self.cert.is_empty() {
            tls.identity = Some((Pem::File(self.cert.into()), Pem::File(self.key.into())));
        }
        Ok(Some(tls))
    }
}

/// `user:password`, or the two apart, or asked for.
pub(super) fn credentials(
    console: &Console,
    user: &str,
    password: &str,
    question: &str,
) -> Result<Option<Credentials>, Failure> {
    if user.is_empty() {
        return Ok(None);
    }
    if !password.is_empty() {
        return Ok(Some(Credentials::new(user, password)));
    }
    if let Some((user, password)) = user.split_once(':') {
        return Ok(Some(Credentials::new(user, password)));
    }
    let asked = console.ask_secret(question);
    let password = asked.map_err(|why| Failure::error(format!("failed to ask password: {why}")))?;
    Ok(Some(Credentials::new(user, &password)))
}

/// A client; it talks to nobody yet.
pub(super) fn connect(config: ClientConfig) -> Result<Client, Failure> {
    Client::lazy(config).map_err(|error| Failure::arguments(error.to_string()))
}

impl Session {
    /// Prints an answer.
    pub(super) fn print(&self, answer: &Answer<'_>) -> Result<(), Failure> {
        self.printer.print(&self.console, answer)
    }

    /// A call's answer; why nobody could be reached is said apart, since upstream's words do not
    /// tell.
    pub(super) fn check<T>(&self, result: Result<Response<T>, Status>) -> Result<T, Failure> {
        check(&self.console, result)
    }

    /// Refuses a request that is larger than the client may send.
    pub(super) fn check_size(&self, request: &impl prost::Message) -> Result<(), Failure> {
        let (size, most) = (request.encoded_len() as u64, self.most_request_bytes);
        if size > most {
            let what = "trying to send message larger than max";
            let words =
                format!("rpc error: code = ResourceExhausted desc = {what} ({size} vs. {most})");
            return Err(Failure::error(words));
        }
        Ok(())
    }
}

/// As [`Session::check`].
pub(super) fn check<T>(
    console: &Console,
    result: Result<Response<T>, Status>,
) -> Result<T, Failure> {
    result.map(Response::into_inner).map_err(|status| {
        if status.code() == Code::DeadlineExceeded && !status.message().is_empty() {
            console.complain(format!("Warning: {}", status.message()));
        }
        status.into()
    })
}
