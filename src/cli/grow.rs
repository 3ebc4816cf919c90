//! `holdfast grow`: takes a running single member to three or five, and tells the operator what to
//! start.

use super::runtime;
use anyhow::{Context, bail};
use clap::Args;
use holdfast_api::client::{ClientConfig, Pem, Tls};
use holdfast_restore::grow::{
    self, AskOperator, GrowDeadlines, GrowEvent, GrowRequest, MemberStart, NewMember,
};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `holdfast grow`.
#[derive(Args)]
pub(crate) struct GrowArguments {
    #[command(flatten)]
    etcd: EtcdArguments,
    /// A member to add, as name=peer-url; repeat it for each, in the order they should join
    #[arg(long = "add", value_name = "NAME=PEER_URL", required = true)]
    add: Vec<String>,
    /// Client URL of a member that is added, as name=client-url; only put into the printed command
    #[arg(long = "client-url", value_name = "NAME=CLIENT_URL")]
    client_urls: Vec<String>,
    /// Minutes to wait for a member to appear after its command was printed
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    wait: u64,
    /// Print what would be done, and stop
    #[arg(long)]
    plan_only: bool,
}

/// How to reach a running etcd; the flags are etcdctl's.
#[derive(Args)]
pub(crate) struct EtcdArguments {
    /// Client URL of a running member; may be repeated
    #[arg(
        long = "endpoint",
        visible_alias = "endpoints",
        value_name = "URL",
        required = true,
        value_delimiter = ',',
        env = "ETCDCTL_ENDPOINTS"
    )]
    endpoints: Vec<String>,
    /// Authority that signs the servers' certificates
    #[arg(long, value_name = "FILE", env = "ETCDCTL_CACERT")]
    cacert: Option<PathBuf>,
    /// Our certificate
    #[arg(long, value_name = "FILE", requires = "key", env = "ETCDCTL_CERT")]
    cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "cert", env = "ETCDCTL_KEY")]
    key: Option<PathBuf>,
    /// User, where authentication is on
    #[arg(long, requires = "password_file")]
    user: Option<String>,
    /// File with the user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
}

impl EtcdArguments {
    /// As the client wants it.
    pub(crate) fn config(&self) -> anyhow::Result<ClientConfig> {
        let mut config = ClientConfig::new(self.endpoints.iter().cloned());
        if let Some(ca) = &self.cacert {
            let mut tls = Tls::new(Pem::File(ca.clone()));
            tls.identity = self
                .cert
                .clone()
                .zip(self.key.clone())
                .map(|(cert, key)| (Pem::File(cert), Pem::File(key)));
            config = config.with_tls(tls);
        } else if self.cert.is_some() {
            bail!("--cert and --key need --cacert: without it the server cannot be trusted");
        }
        if let (Some(user), Some(file)) = (&self.user, &self.password_file) {
            let password = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the password file {}", file.display()))?;
            config = config.with_credentials(user, password.trim_end_matches(['\r', '\n']));
        }
        Ok(config)
    }
}

pub(crate) fn run(arguments: &GrowArguments) -> anyhow::Result<ExitCode> {
    let request = GrowRequest {
        client: arguments.etcd.config()?,
        members: members(arguments)?,
        deadlines: GrowDeadlines {
            appear: Duration::from_secs(arguments.wait.saturating_mul(60)),
            ..GrowDeadlines::default()
        },
    };
    runtime()?.block_on(async {
        println!("{}\n", grow::plan(&request).await?);
        if arguments.plan_only {
            return Ok(ExitCode::SUCCESS);
        }
        let mut starter = AskOperator(tell_start);
        let report = grow::grow(&request, &mut starter, &mut |event| tell(&event)).await?;
        println!("\n{report}");
        Ok(ExitCode::SUCCESS)
    })
}

fn tell(event: &GrowEvent) {
    println!("  {event}");
}

fn tell_start(start: &MemberStart) {
    println!(
        "\nStart this now on the machine of {} (with your TLS flags):\n  {start}\n",
        start.member.name
    );
}

fn members(arguments: &GrowArguments) -> anyhow::Result<Vec<NewMember>> {
    let mut members: Vec<NewMember> = Vec::new();
    for text in &arguments.add {
        let (name, url) = pair("--add", text)?;
        match members.iter_mut().find(|member| member.name == name) {
            Some(member) => member.peer_urls.push(url),
            None => members.push(NewMember { name, peer_urls: vec![url], client_urls: vec![] }),
        }
    }
    for text in &arguments.client_urls {
        let (name, url) = pair("--client-url", text)?;
        let member = members.iter_mut().find(|member| member.name == name);
        member
            .with_context(|| format!("--client-url {text}: no --add names {name}"))?
            .client_urls
            .push(url);
    }
    Ok(members)
}

fn pair(flag: &str, text: &str) -> anyhow::Result<(String, String)> {
    match text.split_once('=') {
        Some((name, url)) if !name.is_empty() && url.contains("://") => {
            Ok((name.to_owned(), url.to_owned()))
        }
        _ => bail!("{flag} {text}: expected name=URL, for example cp2=https://10.0.0.2:2380"),
    }
}
