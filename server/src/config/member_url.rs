//! URLs of members: `http`, `https`, `unix` or `unixs`, a host and port, no path but for sockets.
//!
//! Read as Go's url.Parse and etcd's own rules read them, with their words for what is wrong.

use std::fmt;
use std::net::IpAddr;

/// A URL that a member listens on or is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberUrl {
    scheme: String,
    host: String,
    path: String,
}

impl fmt::Display for MemberUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.host, self.path)
    }
}

impl MemberUrl {
    /// Reads one.
    ///
    /// # Errors
    /// It is none that a member may have, in upstream's words.
    pub fn parse(text: &str) -> Result<MemberUrl, String> {
        let text = text.trim();
        let bad = |why: &str| Err(format!("parse {text:?}: {why}"));
        let odd_scheme = || Err(format!("URL scheme must be http, https, unix, or unixs: {text}"));
        if text.chars().any(|c| c.is_ascii_control()) {
            return bad("net/url: invalid control character in URL");
        }
        let Some((scheme, rest)) = text.split_once(':') else { return odd_scheme() };
        if scheme.is_empty() {
            return bad("missing protocol scheme");
        }
        let letters = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(letters) {
            return if text.split('/').next().is_some_and(|segment| segment.contains(':')) {
                bad("first path segment in URL cannot contain colon")
            } else {
                odd_scheme()
            };
        }
        let scheme = scheme.to_ascii_lowercase();
        let rest = rest.strip_prefix("//").unwrap_or("");
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(end);
        if let Some(port) = odd_port(host) {
            return bad(&format!("invalid port {port:?} after host"));
        }
        let url = MemberUrl { scheme, host: host.to_owned(), path: path.to_owned() };
        match url.scheme.as_str() {
            "http" | "https" if split_host_port(&url.host).is_err() => {
                Err(format!("URL address does not have the form \"host:port\": {text}"))
            }
            "http" | "https" if !url.path.is_empty() => {
                Err(format!("URL must not contain a path: {text}"))
            }
            "http" | "https" | "unix" | "unixs" => Ok(url),
            _ => odd_scheme(),
        }
    }

    /// Reads several, separated by commas; sorted, each once.
    ///
    /// # Errors
    /// As of [`MemberUrl::parse`].
    pub fn parse_list(text: &str) -> Result<Vec<MemberUrl>, String> {
        let mut urls: Vec<MemberUrl> =
            text.split(',').map(MemberUrl::parse).collect::<Result<_, _>>()?;
        urls.sort_by_key(ToString::to_string);
        urls.dedup();
        Ok(urls)
    }

    /// `http`, `https`, `unix` or `unixs`.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Host and port as written.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host without the port.
    pub fn host_name(&self) -> &str {
        split_host_port(&self.host).map_or(self.host.as_str(), |(host, _)| host)
    }

    /// The port as written; empty when there is none.
    pub fn port(&self) -> &str {
        split_host_port(&self.host).map_or("", |(_, port)| port)
    }

    /// Whether it is served with TLS.
    pub fn is_secure(&self) -> bool {
        matches!(self.scheme.as_str(), "https" | "unixs")
    }

    /// The socket file, for the schemes `unix` and `unixs`.
    pub fn socket(&self) -> Option<String> {
        matches!(self.scheme.as_str(), "unix" | "unixs")
            .then(|| format!("{}{}", self.host, self.path))
    }

    /// Where it is bound: `host:port` or a socket's path.
    pub fn address(&self) -> String {
        self.socket().unwrap_or_else(|| self.host.clone())
    }

    /// The same with another host.
    #[must_use]
    pub fn with_host(&self, host: String) -> MemberUrl {
        MemberUrl { host, ..self.clone() }
    }

    /// Whether one can listen on it: an address, `localhost`, or a socket.
    ///
    /// # Errors
    /// The host is a name, in upstream's words.
    pub(crate) fn check_bind(&self) -> Result<(), String> {
        if self.socket().is_some() {
            return Ok(());
        }
        let (host, _) = split_host_port(&self.host)?;
        let bare = host.split('%').next().unwrap_or(host);
        if host == "localhost" || bare.parse::<IpAddr>().is_ok() {
            return Ok(());
        }
        Err(format!("expected IP in URL for binding ({self})"))
    }

    /// Whether others can be told of it.
    ///
    /// # Errors
    /// There is no host, in upstream's words.
    pub(crate) fn check_advertised(&self) -> Result<(), String> {
        match split_host_port(&self.host)? {
            ("", _) => Err(format!("unexpected empty host ({self})")),
            _ => Ok(()),
        }
    }
}

/// A port that is no number, with its colon.
fn odd_port(host: &str) -> Option<String> {
    let after = host.rfind(']').map_or(0, |at| at + 1);
    let colon = after + host[after..].rfind(':')?;
    let port = &host[colon + 1..];
    (!port.bytes().all(|byte| byte.is_ascii_digit())).then(|| host[colon..].to_owned())
}

/// `host:port`, `[v6]:port`, `:port`.
pub(crate) fn split_host_port(text: &str) -> Result<(&str, &str), String> {
    let wrong = |why: &str| Err(format!("address {text}: {why}"));
    if let Some(rest) = text.strip_prefix('[') {
        return match rest.split_once(']') {
            None => wrong("missing ']' in address"),
            Some((host, port)) => match port.strip_prefix(':') {
                Some(port) => Ok((host, port)),
                None => wrong("missing port in address"),
            },
        };
    }
    match text.rsplit_once(':') {
        None => wrong("missing port in address"),
        Some((host, _)) if host.contains(':') => wrong("too many colons in address"),
        Some(pair) => Ok(pair),
    }
}

/// `name=url,name=url,…`: the URLs of each name, as `--initial-cluster` has them.
///
/// # Errors
/// A URL is none, or a name stands without one.
pub fn parse_cluster(text: &str) -> Result<Vec<(String, Vec<MemberUrl>)>, String> {
    let mut members: Vec<(String, Vec<String>)> = Vec::new();
    for part in text.split(',') {
        let (name, url) = part.split_once('=').unwrap_or((part, ""));
        if name.is_empty() {
            return Err(format!("empty name in initial cluster {text:?}"));
        }
        match members.iter_mut().find(|(known, _)| known == name) {
            Some((_, urls)) => urls.push(url.to_owned()),
            None => members.push((name.to_owned(), vec![url.to_owned()])),
        }
    }
    members.sort();
    let parsed =
        |(name, urls): (String, Vec<String>)| Ok((name, MemberUrl::parse_list(&urls.join(","))?));
    members.into_iter().map(parsed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_are_read_as_upstream_reads_them() {
        for good in ["http://127.0.0.1:2379", "https://[::1]:1", "unix://localhost:1", "http://:1"]
        {
            assert_eq!(MemberUrl::parse(good).unwrap().to_string(), good);
        }
        for (bad, why) in [
            ("foo", "URL scheme must be http, https, unix, or unixs: foo"),
            (
                "ftp://127.0.0.1:1",
                "URL scheme must be http, https, unix, or unixs: ftp://127.0.0.1:1",
            ),
            (
                "http://127.0.0.1",
                "URL address does not have the form \"host:port\": http://127.0.0.1",
            ),
            ("http://127.0.0.1:1/x", "URL must not contain a path: http://127.0.0.1:1/x"),
            (
                "127.0.0.1:1",
                "parse \"127.0.0.1:1\": first path segment in URL cannot contain colon",
            ),
            ("http://a:b", "parse \"http://a:b\": invalid port \":b\" after host"),
            ("://x", "parse \"://x\": missing protocol scheme"),
        ] {
            assert_eq!(MemberUrl::parse(bad).unwrap_err(), why);
        }
        let url = MemberUrl::parse("https://[::1]:23").unwrap();
        assert_eq!((url.host_name(), url.port(), url.is_secure()), ("::1", "23", true));
        let socket = MemberUrl::parse("unix:///run/etcd.sock").unwrap();
        assert_eq!(socket.socket().as_deref(), Some("/run/etcd.sock"));
        assert!(socket.check_bind().is_ok() && url.check_bind().is_ok());
        let named = MemberUrl::parse("http://foo:1").unwrap();
        assert_eq!(
            named.check_bind().unwrap_err(),
            "expected IP in URL for binding (http://foo:1)"
        );
        assert!(named.check_advertised().is_ok());
    }

    #[test]
    fn a_cluster_gathers_the_urls_of_a_name() {
        let members = parse_cluster("b=http://x:1,a=http://y:2,b=http://w:3").unwrap();
        assert_eq!(members[0].0, "a");
        let urls: Vec<String> = members[1].1.iter().map(ToString::to_string).collect();
        assert_eq!(urls, ["http://w:3", "http://x:1"]);
        assert!(parse_cluster("a").is_err() && parse_cluster("=http://x:1").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,60}") {
            if let Ok(url) = MemberUrl::parse(&text) {
                let (_, _, _) = (url.host_name(), url.port(), url.socket());
                let _ = (url.check_bind(), url.check_advertised());
            }
            let _ = parse_cluster(&text);
        }
    }
}
