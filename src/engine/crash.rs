//! Named places where tests end the process as `kill -9` would, or let a connection break
//! (contract, 2.1). Each name is in [`POINTS`], and a test fails when one of them is never
//! reached. Nothing at all in a release, which is built without the feature `failpoints`.
//!
//! ```text
//!   FAILPOINTS="copy::mid_rows=return"            dies at the first hit
//!   FAILPOINTS="copy::mid_rows=3*off->return"     dies at the fourth
//!   FAILPOINTS="copy::commit_sent=1*return(error)"  breaks the connection once
//! ```

use std::future::Future;
use std::io;
#[cfg(feature = "failpoints")]
use std::time::Duration;

/// All names, by phase.
pub const POINTS: &[&str] = &[
    "plan::before_write",
    "plan::after_tmp_before_rename",
    "plan::after_rename",
    "lock::acquired",
    "progress::schema_created",
    "progress::epoch_bumped",
    "ddl::before",
    "ddl::sent_no_reply",
    "ddl::ambiguous",
    "ddl::after",
    "ddl::after_before_mark",
    "ddl::after_mark",
    "snapshot::exported",
    "snapshot::worker_import",
    "copy::chunk_planned",
    "copy::first_row",
    "copy::mid_rows",
    "copy::end_of_stream_before_check",
    "copy::before_commit",
    "copy::commit_sent",
    "copy::after_commit_before_mark",
    "copy::table_done",
    "copy::emptied",
    "index::before",
    "index::ambiguous",
    "index::after",
    "fk::before",
    "fk::ambiguous",
    "fk::after",
    "validate::fk",
    "analyze",
    "sequence::set",
    "lock::before_release",
    "verify::chunk",
    "verify::mismatch",
];

/// Names on the way of changes: opening, following, cutting over.
pub const STREAM_POINTS: &[&str] = &[
    "pub::created",
    "slot::sent_no_reply",
    "slot::created_before_mark",
    "slot::after_mark",
    "cdc::connected",
    "cdc::row",
    "cdc::commit_seen",
    "cdc::spill_write",
    "cdc::spill_sync",
    "apply::mid_tx",
    "apply::progress_updated",
    "apply::commit_sent",
    "apply::commit_ok_before_ack",
    "ack::sent",
    "stream::caught_up",
    "recopy::void",
    "cut::back_opened",
    "cut::fence_before",
    "cut::fence_after",
    "cut::drained",
    "cut::seq",
    "cut::verified",
    "cut::point_of_no_return",
    "cut::sealed",
    "cut::back_begun",
    "clean::slot",
    "clean::pub",
    "cut::closed",
    "cut::source_opened",
    "cut::done_mark",
];

fn is_listed(name: &str) -> bool {
    POINTS.contains(&name) || STREAM_POINTS.contains(&name)
}

/// Dies here, when told to.
pub fn crash_point(name: &str) {
    // A place that can only die takes an error for nothing.
    let _ = fault_point(name);
}

/// Dies here, or says that the connection broke, when told to.
pub fn fault_point(name: &str) -> io::Result<()> {
    debug_assert!(is_listed(name), "the crash point {name} is not in the list");
    fail::fail_point!(name, |how: Option<String>| match how.as_deref() {
        Some("error") => Err(io::ErrorKind::ConnectionReset.into()),
        _ => std::process::abort(),
    });
    Ok(())
}

/// Does the work; or, when told to, dies somewhere in it: nobody knows how far it came.
#[cfg(feature = "failpoints")]
pub async fn crash_during<T>(name: &str, work: impl Future<Output = T>) -> T {
    fn is_told(name: &str) -> bool {
        fail::fail_point!(name, |_| true);
        false
    }
    debug_assert!(is_listed(name), "the crash point {name} is not in the list");
    if !is_told(name) {
        return work.await;
    }
    // What is ready at once was not under way; a millisecond is about a commit.
    let _ = tokio::time::timeout(Duration::from_millis(1), work).await;
    std::process::abort()
}

/// Only the work, in a release.
#[cfg(not(feature = "failpoints"))]
pub async fn crash_during<T>(_name: &str, work: impl Future<Output = T>) -> T {
    work.await
}
