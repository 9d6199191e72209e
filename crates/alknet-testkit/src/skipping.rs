//! Tests that cannot run everywhere.

/// Set where the tests must run as root: there nothing is skipped for want of it.
const MUST_BE_ROOT: &str = "ALKNET_TESTS_NEED_ROOT";

/// Says that a test was not run, so that it does not look as if it had been.
#[expect(clippy::print_stderr, reason = "it is for whoever reads what the tests print")]
pub fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// Whether the tests run as root; [`skip`]s if not.
///
/// # Panics
///
/// If not, where they must.
pub fn is_root(needed_to: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        let why = format!("only root can {needed_to}");
        assert!(std::env::var_os(MUST_BE_ROOT).is_none(), "{why}");
        skip(&why);
    }
    root
}
