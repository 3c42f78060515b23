//! `grants`: the statements that give each role exactly what a phase of the plan needs. Prints SQL
//! for an administrator; runs nothing.

use std::collections::BTreeSet;

use serde_json::json;

use super::args::{GrantsArgs, PhaseArg, Plainness, ProbeArg, SavedArgs};
use super::escape::line;
use super::failure::Failure;
use super::making::{self, Made};
use super::{Face, exit};
use crate::catalog::Name;
use crate::diff::{Diff, State};
use crate::engine::Duties;
use crate::plan::{Cutover, Fence};
use crate::runtime::planning::{BackEnds, SourceEnd, TargetEnd};

/// What one end is to be told.
struct Statements {
    which: &'static str,
    engine: String,
    lines: Vec<String>,
}

pub async fn run(args: &GrantsArgs, face: &Face) -> Result<u8, Failure> {
    let made = making::make(face, &SavedArgs::default(), ProbeArg::None).await?;
    let phases = phases(args, &made);
    let ends = [source(args, &phases, &made).await?, target(args, &phases, &made).await?];
    match args.format {
        Plainness::Text => face.screen.out(&render(&ends)),
        Plainness::Json => {
            let end = |end: &Statements| json!({ "engine": end.engine, "statements": end.lines });
            let value = json!({
                "format": "towpath.grants/1",
                "name": made.planned.graph.name,
                "source": end(&ends[0]),
                "target": end(&ends[1]),
            });
            face.screen.out(&super::json::pretty(&value));
        }
    }
    Ok(exit::DONE)
}

/// Without a choice: the load, and what the plan has beyond it.
fn phases(args: &GrantsArgs, made: &Made) -> BTreeSet<PhaseArg> {
    if !args.phase.is_empty() {
        return args.phase.iter().copied().collect();
    }
    let mut phases = BTreeSet::from([PhaseArg::Load]);
    if made.planned.graph.stream.is_some() {
        phases.extend([PhaseArg::Follow, PhaseArg::Cutover]);
    }
    phases
}

fn duties<'a>(
    (args, made): (&'a GrantsArgs, &Made),
    phases: &BTreeSet<PhaseArg>,
    tables: &'a [Name],
    sequences: &'a [Name],
    schemas: &'a [String],
) -> Duties<'a> {
    let cutover = phases.contains(&PhaseArg::Cutover);
    let fences = |cutover: &Cutover| cutover.fence != Fence::None;
    Duties {
        role: args.role.as_deref(),
        load: phases.contains(&PhaseArg::Load),
        follow: phases.contains(&PhaseArg::Follow),
        cutover,
        fence: cutover && made.loaded.plan.cutover.as_ref().is_some_and(fences),
        tables,
        sequences,
        schemas,
    }
}

/// The ends of the way back, which is made at the cutover.
fn back<'a>(made: &'a Made, phases: &BTreeSet<PhaseArg>) -> Option<&'a BackEnds> {
    let wanted = made.planned.graph.back.is_some() && phases.contains(&PhaseArg::Cutover);
    made.ends.back.as_ref().filter(|_| wanted)
}

/// Adds what is not there yet.
fn add(lines: &mut Vec<String>, more: Vec<String>) {
    for line in more {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
}

async fn source(args: &GrantsArgs, phases: &BTreeSet<PhaseArg>, made: &Made) -> Result<Statements, Failure> {
    let SourceEnd::Live(source) = &made.ends.source else {
        return Err(Failure::usage("a saved catalog does not say who owns what"));
    };
    let Diff { tables, sequences, .. } = &made.planned.diff;
    let tables: Vec<Name> = tables.iter().map(|table| table.source.clone()).collect();
    let sequences: BTreeSet<Name> = sequences.iter().map(|wanted| wanted.want.source.clone()).collect();
    let sequences: Vec<Name> = sequences.into_iter().collect();
    let mut lines = source.grants(&duties((args, made), phases, &tables, &sequences, &[])).await?;
    if let Some(back) = back(made, phases) {
        // Written to as a target, its tables being there.
        let written = BTreeSet::from([PhaseArg::Load, PhaseArg::Follow]);
        add(&mut lines, back.target.grants(&duties((args, made), &written, &tables, &[], &[])).await?);
    }
    Ok(Statements { which: "source", engine: made.planned.graph.source.engine.clone(), lines })
}

async fn target(args: &GrantsArgs, phases: &BTreeSet<PhaseArg>, made: &Made) -> Result<Statements, Failure> {
    let TargetEnd::Live(target) = &made.ends.target else {
        return Err(Failure::usage("a saved catalog does not say who owns what"));
    };
    let Diff { tables, schemas, .. } = &made.planned.diff;
    let there: Vec<Name> = tables
        .iter()
        .filter(|table| table.state != State::Missing)
        .map(|table| table.want.name.clone())
        .collect();
    let schemas: Vec<String> = schemas
        .iter()
        .filter(|wanted| wanted.state != State::Missing)
        .map(|wanted| wanted.want.name.clone())
        .collect();
    let mut lines = target.grants(&duties((args, made), phases, &there, &[], &schemas)).await?;
    if let Some(back) = back(made, phases) {
        let followed = BTreeSet::from([PhaseArg::Follow, PhaseArg::Cutover]);
        add(&mut lines, back.source.grants(&duties((args, made), &followed, &there, &[], &[])).await?);
    }
    Ok(Statements { which: "target", engine: made.planned.graph.target.engine.clone(), lines })
}

fn render(ends: &[Statements]) -> String {
    let mut out = String::new();
    for end in ends {
        let nothing = if end.lines.is_empty() { ": nothing is needed, it has no roles" } else { "" };
        out.push_str(&format!("-- {}, {}{nothing}\n", end.which, line(&end.engine)));
        for statement in &end.lines {
            out.push_str(&format!("{};\n", line(statement)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_stand_under_their_end_and_an_end_without_roles_says_so() {
        let end = |which, engine: &str, lines: &[&str]| Statements {
            which,
            engine: engine.into(),
            lines: lines.iter().map(|line| line.to_string()).collect(),
        };
        let text = render(&[end("source", "sqlite", &[]), end("target", "postgres", &["GRANT a TO b"])]);
        assert_eq!(
            text,
            "-- source, sqlite: nothing is needed, it has no roles\n-- target, postgres\nGRANT a TO b;\n"
        );
    }
}
