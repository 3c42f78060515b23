//! Exit codes, as names. One table feeds `explain`, the README and the wrappers that call us.
//! Decides nothing: each command says which of them it ends with.

/// Done, or nothing to do.
pub const DONE: u8 = 0;
/// Failed, nothing was changed.
pub const FAILED: u8 = 1;
/// Differences found, or something is left to do, where the caller asked to be told.
pub const DIFFERENT: u8 = 2;
/// Blocked by a hazard that nobody accepted, or by an object that is in the way.
pub const BLOCKED: u8 = 3;
/// The saved plan is stale, foreign, expired or altered: plan again.
pub const STALE: u8 = 4;
/// Another run holds the lock.
pub const LOCKED: u8 = 5;
/// Some steps are done, the state is consistent: run the same command again.
pub const PARTIAL: u8 = 6;
/// Source and target hold different rows.
pub const MISMATCH: u8 = 7;
/// Declined at the prompt; nothing was done.
pub const DECLINED: u8 = 8;
/// The command line is wrong.
pub const USAGE: u8 = 64;
/// The plan file is invalid.
pub const INVALID: u8 = 65;
/// A database cannot be reached.
pub const UNREACHABLE: u8 = 69;
/// A bug in Towpath.
pub const INTERNAL: u8 = 70;
/// A privilege is missing.
pub const PRIVILEGE: u8 = 77;
/// A second Ctrl-C ended it before a clean point; the run can still be continued.
pub const INTERRUPTED: u8 = 130;
/// A second SIGTERM ended it before a clean point; the run can still be continued.
pub const TERMINATED: u8 = 143;

/// All codes with their name and meaning, for `explain` and for tests of the documentation.
pub static CODES: &[(u8, &str, &str)] = &[
    (DONE, "done", "done, or nothing to do"),
    (FAILED, "failed", "failed, nothing was changed"),
    (
        DIFFERENT,
        "different",
        "differences found: `diff`, `status --exit-code`, and `plan` or `show` with --detailed-exitcode",
    ),
    (BLOCKED, "blocked", "blocked by a hazard that is not accepted, or by an object that is in the way"),
    (STALE, "stale", "the saved plan is stale, foreign, expired or altered: plan again"),
    (LOCKED, "locked", "another run holds the lock: wait for it"),
    (
        PARTIAL,
        "partial",
        "some steps are done and the state is consistent: run the same command again to go on",
    ),
    (
        MISMATCH,
        "mismatch",
        "source and target hold different rows: `towpath verify --repair` makes those of the target the source's",
    ),
    (DECLINED, "declined", "declined at the prompt; nothing was done"),
    (USAGE, "usage", "the command line is wrong"),
    (INVALID, "invalid", "the plan file is invalid"),
    (UNREACHABLE, "unreachable", "a database cannot be reached"),
    (INTERNAL, "internal", "a bug in Towpath: please report it"),
    (PRIVILEGE, "privilege", "a privilege is missing"),
    (INTERRUPTED, "interrupted", "a second Ctrl-C ended the run at once; it can still be continued"),
    (TERMINATED, "terminated", "a second SIGTERM ended the run at once; it can still be continued"),
];

/// From the least severe to the most severe.
const SEVERITY: &[u8] = &[
    DONE,
    DIFFERENT,
    DECLINED,
    PARTIAL,
    FAILED,
    MISMATCH,
    LOCKED,
    STALE,
    BLOCKED,
    UNREACHABLE,
    PRIVILEGE,
    INVALID,
    USAGE,
    INTERNAL,
    INTERRUPTED,
    TERMINATED,
];

/// Of two codes that both apply, the one to end with.
pub fn worse(a: u8, b: u8) -> u8 {
    let rank = |code: u8| SEVERITY.iter().position(|other| *other == code).unwrap_or(SEVERITY.len());
    if rank(b) > rank(a) { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_rank_and_a_meaning() {
        assert_eq!(CODES.len(), SEVERITY.len());
        for (code, _, meaning) in CODES {
            assert!(SEVERITY.contains(code), "{code} has no rank");
            assert!(!meaning.is_empty());
        }
    }

    #[test]
    fn the_more_severe_wins() {
        assert_eq!(worse(DIFFERENT, BLOCKED), BLOCKED);
        assert_eq!(worse(BLOCKED, DIFFERENT), BLOCKED);
        assert_eq!(worse(DONE, DIFFERENT), DIFFERENT);
        assert_eq!(worse(MISMATCH, DONE), MISMATCH);
    }
}
