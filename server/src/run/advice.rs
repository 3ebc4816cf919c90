//! What an operator can do about an error of the system under the member.
//!
//! Errors come here as words: each thread of the member tells its end so. The system's number
//! stands in them as Rust's standard library writes it.

/// Errors of Linux, and what to do.
const ADVICE: [(i32, &str); 6] = [
    (28, NO_ROOM),
    (122, NO_ROOM),
    (
        30,
        "the file system is mounted read-only: look into the kernel's log for errors of the disk, \
         mount it for writing, then start the member again; what it has acknowledged is kept",
    ),
    (
        5,
        "the disk fails: look into the kernel's log; start the member on another disk, from its \
         peers or from a backup",
    ),
    (13, "let the user that the member runs as read and write there, then start it again"),
    (24, "raise the limit of open files (LimitNOFILE), then start the member again"),
];
const NO_ROOM: &str = "make room on that disk, then start the member again; what it has \
                       acknowledged is kept";

/// Advice on an error that ends the member, if there is any.
pub(super) fn on(why: &str) -> Option<&'static str> {
    let numbered = |(number, _): &&(i32, &str)| why.contains(&format!("(os error {number})"));
    ADVICE.iter().find(numbered).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_disks_come_with_advice() {
        for (number, word) in [(28, "make room"), (30, "read-only"), (5, "disk fails")] {
            let error = std::io::Error::from_raw_os_error(number);
            let advice = on(&format!("cannot write 0.wal: {error}; the member must stop"));
            assert!(advice.is_some_and(|advice| advice.contains(word)), "{error}: {advice:?}");
        }
        assert_eq!(on("couldn't find local name \"a\" (os error 2)"), None);
    }
}
