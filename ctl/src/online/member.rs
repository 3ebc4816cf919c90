//! member add, list, remove, update, promote.

use super::kv::is_serializable;
use super::session::Call;
use crate::failure::Failure;
use crate::go::{number, quote};
use crate::print::{Answer, Format};
use holdfast_api::etcdserverpb::{
    MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberRemoveRequest, MemberUpdateRequest, ResponseHeader,
};

/// `member list`
pub(super) async fn list(call: &Call) -> Result<(), Failure> {
    let linearizable = !is_serializable(call.given.text("consistency"))?;
    let session = call.session()?;
    let request = MemberListRequest { linearizable };
    let response = session.check(session.client.cluster().member_list(request).await)?;
    session.print(&Answer::MemberList(&response))
}

/// `member add`
pub(super) async fn add(call: &Call) -> Result<(), Failure> {
    let name = match call.given.arguments() {
        [] => return Err(Failure::arguments("member name not provided")),
        [name] => name,
        many => {
            let hints = many.iter().filter(|word| word.to_lowercase().starts_with("http"));
            let hints: String =
                hints.map(|url| format!(", did you mean --peer-urls={url}")).collect();
            return Err(Failure::arguments(format!("too many arguments{hints}")));
        }
    };
    let peer_urls = peer_urls(call)?;
    let session = call.session()?;
    let request = MemberAddRequest { peer_urls, is_learner: call.given.truth("learner") };
    let response = session.check(session.client.cluster().member_add(request).await)?;
    session.print(&Answer::MemberAdd(&response))?;
    if session.printer.format == Format::Simple {
        session.console.print(settings(name, call.given.text("peer-urls"), &response))?;
    }
    Ok(())
}

/// The variables that the new member is to be started with.
fn settings(name: &str, peer_urls: &str, response: &MemberAddResponse) -> String {
    let new_id = response.member.as_ref().map_or(0, |member| member.id);
    let cluster = response.members.iter().flat_map(|member| {
        let name = if member.id == new_id { name } else { &member.name };
        member.peer_urls.iter().map(move |url| format!("{name}={url}"))
    });
    let cluster: Vec<String> = cluster.collect();
    format!(
        "\nETCD_NAME={}\nETCD_INITIAL_CLUSTER={}\nETCD_INITIAL_ADVERTISE_PEER_URLS={}\n\
         ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
        quote::text(name),
        quote::text(&cluster.join(",")),
        quote::text(peer_urls)
    )
}

/// `member remove`
pub(super) async fn remove(call: &Call) -> Result<(), Failure> {
    let id = only_member(call)?;
    let session = call.session()?;
    let answer = session.client.cluster().member_remove(MemberRemoveRequest { id }).await;
    let response = session.check(answer)?;
    let words = changed(id, "removed from", response.header.as_ref());
    let response = MemberListResponse { header: response.header, members: response.members };
    session.print(&Answer::MemberChange { words, response })
}

/// `member update`
pub(super) async fn update(call: &Call) -> Result<(), Failure> {
    let id = only_member(call)?;
    let peer_urls = peer_urls(call)?;
    let session = call.session()?;
    let answer =
        session.client.cluster().member_update(MemberUpdateRequest { id, peer_urls }).await;
    let response = session.check(answer)?;
    let words = changed(id, "updated in", response.header.as_ref());
    let response = MemberListResponse { header: response.header, members: response.members };
    session.print(&Answer::MemberChange { words, response })
}

/// `member promote`
pub(super) async fn promote(call: &Call) -> Result<(), Failure> {
    let id = only_member(call)?;
    let session = call.session()?;
    let answer = session.client.cluster().member_promote(MemberPromoteRequest { id }).await;
    let response = session.check(answer)?;
    let words = changed(id, "promoted in", response.header.as_ref());
    let response = MemberListResponse { header: response.header, members: response.members };
    session.print(&Answer::MemberChange { words, response })
}

fn changed(id: u64, how: &str, header: Option<&ResponseHeader>) -> String {
    let cluster = header.map_or(0, |header| header.cluster_id);
    format!("Member {id:16x} {how} cluster {cluster:16x}")
}

fn peer_urls(call: &Call) -> Result<Vec<String>, Failure> {
    let urls = call.given.text("peer-urls");
    if urls.is_empty() {
        return Err(Failure::arguments("member peer urls not provided"));
    }
    let urls: Vec<String> = urls.split(',').map(str::to_owned).collect();
    let is_known = |url: &&String| {
        ["http://", "https://", "unix://", "unixs://"].iter().any(|scheme| url.starts_with(scheme))
    };
    if let Some(odd) = urls.iter().find(|url| !is_known(url)) {
        let words = format!("URL scheme must be http, https, unix, or unixs: {odd}");
        return Err(Failure::error(words));
    }
    Ok(urls)
}

fn only_member(call: &Call) -> Result<u64, Failure> {
    let [id] = call.given.arguments() else {
        return Err(Failure::arguments("member ID is not provided"));
    };
    number::uint(id, 16).map_err(|why| {
        Failure::arguments(format!("bad member ID arg ({why}), expecting ID in Hex"))
    })
}
