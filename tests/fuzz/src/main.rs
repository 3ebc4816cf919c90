//! libFuzzer's program. `FUZZ_TARGET` names what is fuzzed; with `FUZZ_SEEDS` it writes the first
//! inputs of all targets below that folder, and ends.

#![no_main]

use holdfast_fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;
use std::path::Path;
use std::sync::OnceLock;

static CHOSEN: OnceLock<&Target> = OnceLock::new();

fn begin() {
    if let Some(folder) = std::env::var_os("FUZZ_SEEDS") {
        let written = TARGETS.iter().try_for_each(|target| {
            let folder = Path::new(&folder).join(target.name);
            std::fs::create_dir_all(&folder)?;
            (target.seeds)().iter().enumerate().try_for_each(|(number, seed)| {
                std::fs::write(folder.join(format!("seed-{number}")), seed)
            })
        });
        let code = i32::from(written.is_err());
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        std::process::exit(code);
    }
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.iter().find(|target| target.name == name);
    let Some(target) = target else {
        let names = TARGETS.map(|target| target.name).join(" ");
        eprintln!("FUZZ_TARGET={name:?} is none of: {names}");
        std::process::exit(2);
    };
    CHOSEN.get_or_init(|| target);
}

fuzz_target!(
    init: { begin(); },
    |data: &[u8]| {
        if let Some(target) = CHOSEN.get() {
            (target.run)(data);
        }
    }
);
