//! Which version of etcd this server is, and what `--version` prints.

/// The version of etcd whose behaviour this is: answered in Status, /version, metrics and
/// `--version`, and compared with the cluster's.
pub const VERSION: &str = "3.6.16";

/// The cluster version that it proposes.
pub const CLUSTER_VERSION: &str = "3.6.0";

/// What stands where upstream shows a commit: this program's own version, so that nobody takes it
/// for a build of upstream's.
pub const BUILD: &str = concat!("holdfast-", env!("CARGO_PKG_VERSION"));

/// What stands where upstream shows Go's version.
pub const RUNTIME: &str = "none (Rust)";

/// The operating system by Go's name.
pub fn os() -> &'static str {
    std::env::consts::OS
}

/// The processor by Go's name.
pub fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        other => other,
    }
}

/// The four lines of `--version`; upstream's tests read the first.
pub fn lines() -> String {
    format!(
        "etcd Version: {VERSION}\nGit SHA: {BUILD}\nGo Version: {RUNTIME}\nGo OS/Arch: {}/{}\n",
        os(),
        arch()
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn the_lines_are_upstreams_but_for_commit_and_runtime() {
        let upstream = Command::new(holdfast_peers::peer("etcd-3.6")).arg("--version").output();
        let theirs = String::from_utf8(upstream.unwrap().stdout).unwrap();
        let ours = super::lines();
        let (ours, theirs): (Vec<&str>, Vec<&str>) =
            (ours.lines().collect(), theirs.lines().collect());
        assert_eq!(ours.len(), theirs.len());
        assert_eq!((ours[0], ours[3]), (theirs[0], theirs[3]));
        for (our, their) in ours.iter().zip(&theirs) {
            assert_eq!(our.split(": ").next(), their.split(": ").next());
        }
    }
}
