//! endpoint health, status, hashkv: each endpoint by itself.

use super::session::Call;
use crate::failure::{Failure, words};
use crate::print::{Answer, Health};
use futures::future::join_all;
use holdfast_api::client::Client;
use holdfast_api::etcdserverpb::{
    AlarmRequest, AlarmType, HashKvRequest, RangeRequest, StatusRequest,
};
use std::time::Instant;
use tonic::Code;

/// `endpoint health`: whether each endpoint answers a linearizable read and no alarm is raised.
pub(super) async fn health(call: &Call) -> Result<(), Failure> {
    let endpoints = call.endpoints().await?;
    let mut asked = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let client = call.client_at(&endpoint)?;
        asked.push(ask_health(client, endpoint));
    }
    let all = join_all(asked).await;
    call.print(&Answer::Health(&all))?;
    if all.iter().any(|health| !health.fault.is_empty()) {
        return Err(Failure::error("unhealthy cluster"));
    }
    Ok(())
}

async fn ask_health(client: Client, endpoint: String) -> Health {
    let start = Instant::now();
    let request = RangeRequest { key: b"health".to_vec(), ..RangeRequest::default() };
    let read = client.kv().range(request).await;
    let took = Some(start.elapsed());
    let fault = match read {
        // Whoever is refused a key has had an answer through the log.
        Err(status) if status.code() != Code::PermissionDenied => words(&status),
        _ => alarms(&client).await,
    };
    Health { endpoint, took, fault }
}

/// The raised alarms as one text; empty if there are none.
async fn alarms(client: &Client) -> String {
    let Ok(answer) = client.maintenance().alarm(AlarmRequest::default()).await else {
        return "Unable to fetch the alarm list".to_owned();
    };
    let alarms = answer.into_inner().alarms;
    let names = alarms.iter().map(|alarm| match AlarmType::try_from(alarm.alarm) {
        Ok(kind @ (AlarmType::Nospace | AlarmType::Corrupt)) => format!("{} ", kind.as_str_name()),
        _ => "UNKNOWN ".to_owned(),
    });
    let names: String = names.collect();
    if names.is_empty() { names } else { format!("Active Alarm(s): {names}") }
}

/// `endpoint status`
pub(super) async fn status(call: &Call) -> Result<(), Failure> {
    let mut all = Vec::new();
    let mut failed = false;
    for endpoint in call.endpoints().await? {
        let client = call.client_at(&endpoint)?;
        match client.maintenance().status(StatusRequest {}).await {
            Ok(response) => all.push((endpoint, response.into_inner())),
            Err(status) => {
                let why = words(&status);
                call.console
                    .complain(format!("Failed to get the status of endpoint {endpoint} ({why})"));
                failed = true;
            }
        }
    }
    call.print(&Answer::Status(&all))?;
    if failed { Err(Failure::silent(1)) } else { Ok(()) }
}

/// `endpoint hashkv`
pub(super) async fn hash_kv(call: &Call) -> Result<(), Failure> {
    let revision = call.given.int("rev");
    let (mut all, mut failed) = (Vec::new(), None);
    for endpoint in call.endpoints().await? {
        let client = call.client_at(&endpoint)?;
        match client.maintenance().hash_kv(HashKvRequest { revision }).await {
            Ok(response) => all.push((endpoint, response.into_inner())),
            Err(status) => {
                let why = words(&status);
                call.console
                    .complain(format!("Failed to get the hash of endpoint {endpoint} ({why})"));
                failed = Some(Failure::from(status));
            }
        }
    }
    call.print(&Answer::HashKv(&all))?;
    failed.map_or(Ok(()), Err)
}
