//! Several members of one cluster.

use super::clients::{client_config, lazy};
use super::{Etcd, Options, free_ports};
use holdfast_api::client::Client;
use holdfast_restore::server::Ports;

/// Several members of one cluster.
pub struct Cluster {
    /// They, in the order of their names.
    pub members: Vec<Etcd>,
}

impl Cluster {
    /// Starts `count` members and waits until each serves.
    ///
    /// # Panics
    /// One does not serve; with the end of its log.
    pub async fn start(options: Options, count: usize) -> Cluster {
        let scheme = if options.pki.is_some() { "https" } else { "http" };
        let ports: Vec<Ports> = (0..count).map(|_| free_ports()).collect();
        let names = (1..).map(|number| format!("m{number}"));
        let founders: Vec<String> = names
            .clone()
            .zip(&ports)
            .map(|(name, ports)| format!("{name}={scheme}://127.0.0.1:{}", ports.peer))
            .collect();
        let founders = founders.join(",");
        let mut members: Vec<Etcd> = names
            .zip(ports)
            .map(|(name, ports)| {
                Etcd::prepare(&Options { name, ..options.clone() }, ports, &founders)
            })
            .collect();
        members.iter_mut().for_each(Etcd::spawn);
        for member in &mut members {
            member.wait_ready().await;
        }
        Cluster { members }
    }

    /// A client of all members.
    ///
    /// # Panics
    /// The cluster has no members.
    pub fn client(&self) -> Client {
        let endpoints = self.members.iter().map(Etcd::endpoint);
        let pki = self.members.first().expect("a cluster has members").pki.as_deref();
        lazy(client_config(endpoints, pki))
    }
}
