//! The saved plan: written by `plan --out`, shown by `show`, compared by `apply`. What it holds
//! is never executed: apply plans again and compares.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::escape::line;
use super::exit;
use super::failure::Failure;
use super::text::SavedAs;
use super::write::{Access, atomic};
use crate::graph::Graph;
use crate::graph::digest::{self, PLANNER, SavedPlan, Tool};

const FORMAT: &str = "towpath.plan/1";
/// Bytes of the largest plan file that is read.
const BYTES_MAX: u64 = 1 << 30;

/// The plan as it is saved, made now. `goal`: digest of the goal; `config`: of the YAML.
pub fn saved<'g>(
    graph: &'g Graph,
    goal: &str,
    config: &str,
    now: Timestamp,
    valid_for: Duration,
) -> SavedPlan<&'g Graph> {
    let expires = now.checked_add(valid_for).unwrap_or(Timestamp::MAX);
    let mut saved = SavedPlan {
        config: config.into(),
        created_at: stamp(now),
        digest: String::new(),
        expires_at: stamp(expires),
        format: FORMAT.into(),
        goal: goal.into(),
        graph,
        tool: Tool { version: env!("CARGO_PKG_VERSION").into(), planner: PLANNER },
    };
    saved.digest = digest::digest(&saved);
    saved
}

/// Seconds are enough for a person, and for expiry.
fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub fn write(path: &Path, saved: &SavedPlan<&Graph>) -> Result<(), Failure> {
    let text = digest::canonical(saved);
    atomic(path, text.as_bytes(), Access::Private)
}

/// How the closing lines name it.
pub fn named<G>(path: &Path, saved: &SavedPlan<G>) -> SavedAs {
    let expires = saved.expires_at.parse::<Timestamp>();
    SavedAs {
        path: path.display().to_string(),
        digest: saved.goal.clone(),
        expires: expires
            .map_or_else(|_| saved.expires_at.clone(), |t| t.strftime("%d %b %H:%M UTC").to_string()),
    }
}

/// Reads a plan and checks that it is whole and of this version; not whether it is still valid.
pub fn read(path: &Path) -> Result<SavedPlan, Failure> {
    let shown = line(&path.display().to_string());
    let meta = std::fs::metadata(path).map_err(|error| {
        Failure::usage(format!("cannot read the plan {shown}: {error}")).next("towpath plan --out plan.json")
    })?;
    if !meta.is_file() || meta.len() > BYTES_MAX {
        return Err(foreign(format!("{shown} is not a saved plan")));
    }
    let text = std::fs::read(path)
        .map_err(|error| Failure::usage(format!("cannot read the plan {shown}: {error}")))?;
    let format = serde_json::from_slice::<Format>(&text)
        .map_err(|error| foreign(format!("{shown} is not a saved plan: {error}")))?;
    if format.format != FORMAT || format.tool.planner != PLANNER {
        return Err(foreign(format!(
            "{shown} was made by another version: format {}, planner {}; this one needs {FORMAT}, planner {PLANNER}",
            line(&format.format),
            format.tool.planner
        )));
    }
    let saved: SavedPlan = serde_json::from_slice(&text)
        .map_err(|error| foreign(format!("{shown} is not a saved plan: {error}")))?;
    if digest::digest(&saved) != saved.digest || digest::goal(&saved.graph) != saved.goal {
        return Err(foreign(format!("{shown} was altered after it was saved: its digest does not match")));
    }
    Ok(saved)
}

/// What is read first: enough to tell another version from damage.
#[derive(serde::Deserialize)]
struct Format {
    format: String,
    tool: Tool,
}

fn foreign(text: String) -> Failure {
    Failure::new(exit::STALE, text).code("E131").next("towpath plan --out plan.json")
}

/// Checks that a plan may still be applied now, and is the one that was approved.
pub fn check(saved: &SavedPlan, expect: Option<&str>, now: Timestamp) -> Result<(), Failure> {
    let expires: Timestamp =
        saved.expires_at.parse().map_err(|_| foreign("the plan's expiry cannot be read".into()))?;
    if now > expires {
        return Err(foreign(format!("the plan expired at {}", line(&saved.expires_at))));
    }
    match expect {
        Some(expect) if !matches(&saved.goal, expect) && !matches(&saved.digest, expect) => {
            Err(unexpected(expect, &saved.goal))
        }
        _ => Ok(()),
    }
}

/// Whether a digest begins as was asked for.
pub fn matches(digest: &str, expect: &str) -> bool {
    digest.strip_prefix("sha256:").unwrap_or(digest).starts_with(expect)
}

pub fn unexpected(expect: &str, goal: &str) -> Failure {
    let goal = super::text::short_digest(goal);
    Failure::new(exit::STALE, format!("the plan is {goal}, not the expected {}", line(expect)))
        .code("E131")
        .help("nothing was changed; review the plan again, then expect its digest")
}

/// The plan that was approved against the plan made now, whose goal has this digest.
pub fn same_goal(saved: SavedPlan, graph: &Graph, goal: &str) -> Result<(), Failure> {
    if goal == saved.goal {
        return Ok(());
    }
    let mut failure = Failure::new(exit::STALE, "the plan is stale").code("E401");
    let found = digest::differences(&saved.graph, graph);
    for difference in found.iter().take(DIFFERENCES_MAX) {
        failure = failure.detail(difference.clone());
    }
    if found.len() > DIFFERENCES_MAX {
        failure = failure.detail(format!("and {} more differences", found.len() - DIFFERENCES_MAX));
    }
    Err(failure.help("nothing was changed; plan again").next("towpath plan --out plan.json"))
}

/// Differences of a stale plan that are printed.
const DIFFERENCES_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 86_400);

    fn saved_at_first(graph: &Graph) -> SavedPlan<&Graph> {
        saved(graph, &digest::goal(graph), "sha256:51aa", Timestamp::UNIX_EPOCH, WEEK)
    }

    fn plan() -> SavedPlan {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("plan.json");
        write(&path, &saved_at_first(&sample::graph())).map_err(|f| f.exit).expect("written");
        read(&path).map_err(|f| f.exit).expect("whole")
    }

    fn exit_of<T>(result: Result<T, Failure>) -> Option<u8> {
        result.err().map(|failure| failure.exit)
    }

    #[test]
    fn a_plan_reads_back_and_every_change_of_it_is_found() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("plan.json");
        let graph = sample::graph();
        write(&path, &saved_at_first(&graph)).map_err(|f| f.exit).expect("written");
        assert_eq!(read(&path).map_err(|f| f.exit).expect("whole").graph, graph);
        let text = std::fs::read_to_string(&path).expect("readable");
        for (from, to) in [
            ("30200000", "30200001"),
            ("create table app.orders ()", "drop table app.orders"),
            ("1970-01-08", "2970-01-08"),
            ("sha256:51aa", "sha256:51ab"),
        ] {
            assert!(text.contains(from), "{from}");
            std::fs::write(&path, text.replace(from, to)).expect("writable");
            assert_eq!(exit_of(read(&path)), Some(exit::STALE), "{from}");
        }
    }

    #[test]
    fn y_27_another_version_and_another_file_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("plan.json");
        let graph = sample::graph();
        let mut other = saved_at_first(&graph);
        other.tool.planner += 1;
        write(&path, &other).map_err(|f| f.exit).expect("written");
        assert_eq!(exit_of(read(&path)), Some(exit::STALE));
        std::fs::write(&path, "{}").expect("writable");
        assert_eq!(exit_of(read(&path)), Some(exit::STALE));
        assert_eq!(exit_of(read(&folder.path().join("nothing"))), Some(exit::USAGE));
    }

    #[test]
    fn an_expired_or_unexpected_plan_is_refused() {
        let plan = plan();
        let digits: String = plan.goal.strip_prefix("sha256:").expect("a digest").chars().take(12).collect();
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(exit_of(check(&plan, Some(&digits), now)), None);
        assert_eq!(exit_of(check(&plan, None, now)), None);
        assert_eq!(exit_of(check(&plan, Some("00000000"), now)), Some(exit::STALE));
        let late = now.checked_add(WEEK + Duration::from_secs(1)).expect("a date");
        assert_eq!(exit_of(check(&plan, None, late)), Some(exit::STALE));
    }

    #[test]
    fn a_stale_plan_says_what_changed() {
        let mut graph = sample::graph();
        if let crate::graph::Action::Sql { statements, .. } = &mut graph.steps[0].action {
            statements[0] = "create table app.accounts (id int)".into();
        }
        graph.steps[0].inputs = "sha256:01".into();
        let against = |graph: &Graph| same_goal(plan(), graph, &digest::goal(graph));
        assert_eq!(exit_of(against(&sample::graph())), None);
        let failure = against(&graph).expect_err("it is stale");
        assert_eq!(failure.exit, exit::STALE);
        let super::super::failure::What::Message(message) = failure.what else { panic!("a message") };
        assert!(message.details.iter().any(|text| text.contains("app.accounts/create")), "{message:?}");
    }
}
