//! Whether a member that has no data yet stands in its own `--initial-cluster`, in upstream's
//! words.

use super::check::{invalid, joined};
use super::member_url::MemberUrl;
use super::settings::Config;
use super::{ConfigError, parse_cluster};

impl Config {
    /// What a member that has no data yet must hold: it is in its own initial cluster, with the
    /// peer URLs that it advertises, and no URL stands twice. Names are not resolved: URLs are
    /// compared as written, but that `localhost` and 127.0.0.1 are one.
    ///
    /// # Errors
    /// In upstream's words.
    pub fn check_initial_cluster(&self) -> Result<(), ConfigError> {
        let members = parse_cluster(&self.initial_cluster).map_err(|why| {
            ConfigError::Invalid(format!("error setting up initial cluster: {why}"))
        })?;
        let name = &self.name;
        let Some((_, own)) = members.iter().find(|(known, _)| known == name) else {
            return invalid(format!(
                "couldn't find local name {name:?} in the initial cluster configuration"
            ));
        };
        if self.is_new_cluster {
            self.check_own_urls(own)?;
        }
        let mut all: Vec<String> =
            members.iter().flat_map(|(_, urls)| urls).map(ToString::to_string).collect();
        all.sort();
        if all.windows(2).any(|pair| pair[0] == pair[1]) {
            let shown = self.initial_cluster_text(&members);
            return invalid(format!("initial cluster {shown} has duplicate url"));
        }
        Ok(())
    }

    fn check_own_urls(&self, own: &[MemberUrl]) -> Result<(), ConfigError> {
        let bare = |url: &MemberUrl| url.to_string().replace("//localhost:", "//127.0.0.1:");
        let sorted = |urls: &[MemberUrl]| {
            let mut urls: Vec<String> = urls.iter().map(bare).collect();
            urls.sort();
            urls
        };
        let advertised = &self.advertise_peer_urls;
        if sorted(own) == sorted(advertised) {
            return Ok(());
        }
        let name = &self.name;
        let named = |urls: &[&MemberUrl]| {
            let texts: Vec<String> = urls.iter().map(|url| format!("{name}={url}")).collect();
            texts.join(",")
        };
        let only_in = |these: &'_ [MemberUrl], those: &[MemberUrl]| -> Vec<MemberUrl> {
            these.iter().filter(|url| !those.contains(url)).cloned().collect()
        };
        let missing = only_in(own, advertised);
        if !missing.is_empty() {
            let missing: Vec<&MemberUrl> = missing.iter().collect();
            return invalid(format!(
                "--initial-cluster has {} but missing from --initial-advertise-peer-urls={}",
                named(&missing),
                joined(advertised)
            ));
        }
        let own_named: Vec<&MemberUrl> = own.iter().collect();
        invalid(format!(
            "--initial-advertise-peer-urls has {} but missing from --initial-cluster={}",
            joined(&only_in(advertised, own)),
            named(&own_named)
        ))
    }

    fn initial_cluster_text(&self, members: &[(String, Vec<MemberUrl>)]) -> String {
        let pairs = members
            .iter()
            .flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}")));
        pairs.collect::<Vec<String>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration of these arguments.
    fn config_of(arguments: &[&str]) -> Config {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        match crate::config::read(&arguments, &[]).wanted.unwrap() {
            crate::config::Wanted::Member(config) => *config,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_member_is_in_its_own_cluster() {
        let own = "--initial-advertise-peer-urls=http://127.0.0.1:1";
        let told = |cluster: &str| {
            let cluster = format!("--initial-cluster={cluster}");
            config_of(&["--name=a", own, &cluster])
                .check_initial_cluster()
                .map_err(|e| e.to_string())
        };
        assert_eq!(told("a=http://localhost:1,b=http://127.0.0.1:2"), Ok(()));
        assert_eq!(
            told("b=http://127.0.0.1:1").unwrap_err(),
            "couldn't find local name \"a\" in the initial cluster configuration"
        );
        assert_eq!(
            told("a=http://127.0.0.1:3").unwrap_err(),
            "--initial-cluster has a=http://127.0.0.1:3 but missing from --initial-advertise-peer-urls=http://127.0.0.1:1"
        );
        assert_eq!(
            told("a=http://127.0.0.1:1,b=http://127.0.0.1:1").unwrap_err(),
            "initial cluster a=http://127.0.0.1:1,b=http://127.0.0.1:1 has duplicate url"
        );
        assert!(told("a").unwrap_err().starts_with("error setting up initial cluster: "));
    }
}
