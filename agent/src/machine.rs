//! What tells this machine from its neighbours, so that their agents do not all tick in one second.
//!
//! What must hold: the same on every start of the machine; a machine that says little gives a
//! short name, never an error; the name stays here (it only goes into a hash).

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Where systemd keeps the machine's id.
const ID_FILE: &str = "/etc/machine-id";
/// So much of it is read.
const LIMIT_BYTES: u64 = 256;

/// The machine's id, where there is one, and the host's name. A container has the id of its image
/// and a name of its own; a cloned machine may share either.
pub fn name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    of(Path::new(ID_FILE), &host)
}

fn of(id_file: &Path, host: &str) -> String {
    let mut id = String::new();
    let read = File::open(id_file).map(|file| file.take(LIMIT_BYTES).read_to_string(&mut id));
    match read {
        Ok(Ok(_)) if !id.trim().is_empty() => format!("{}\n{host}", id.trim()),
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_told_by_its_id_and_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("machine-id");
        assert_eq!(of(&file, "cp-2"), "cp-2");
        std::fs::write(&file, "0f0f\n").unwrap();
        assert_eq!(of(&file, "cp-2"), "0f0f\ncp-2");
        for no_id in [&[0xff; 10_000][..], b" \n"] {
            std::fs::write(&file, no_id).unwrap();
            assert_eq!(of(&file, "cp-2"), "cp-2");
        }
        assert_eq!(name(), name());
        assert!(!name().is_empty(), "this machine has a name");
    }
}
