//! A plan as text for a terminal: what a reviewer reads before saying yes. Pure: a graph and the
//! finished steps go in, text comes out; what is unchanged is left out unless asked for.

use super::card;
use super::escape::{capped, line};
use super::look::{Line, Look, Page, Tone};
use super::number::{about, bytes, count, plural, seconds, short};
use super::review::{self, Done, Hazards, PhaseFacts, Summary};
use crate::diff::hazard::{Hazard, Level};
use crate::graph::{EndFacts, Graph, Phase, Stream};

/// Where the plan was saved, for the closing lines.
#[derive(Clone, Debug)]
pub struct SavedAs {
    pub path: String,
    pub digest: String,
    /// When it ceases to be valid, in words.
    pub expires: String,
}

/// The whole plan.
pub fn render(graph: &Graph, done: &Done, look: Look) -> String {
    let mut page = Page::new(look);
    heading(&mut page, graph, done);
    if review::nothing_left(graph, done) && !review::blocked(graph) && !look.all {
        nothing(&mut page, graph);
        return page.finish();
    }
    page.gap();
    let legend = card::legend(&look, review::blocked(graph));
    page.say(legend.trim_end());
    let hazards = Hazards::new(graph);
    cards(&mut page, graph, &hazards, done);
    left_behind(&mut page, graph);
    general(&mut page, &hazards.general);
    decide(&mut page, graph);
    order(&mut page, graph, done);
    closing(&mut page, graph, done);
    page.finish()
}

fn heading(page: &mut Page, graph: &Graph, done: &Done) {
    let sums = review::summary(graph, done);
    let progress = match sums.done {
        0 => "first run".into(),
        done => format!("{done} of {} steps done", sums.steps),
    };
    let title = Line::new().add(Tone::Strong, format!("Plan for {}", line(&graph.name)));
    page.line(title.right(Tone::Dim, progress));
    let tables =
        format!("{}   {} rows   {}", count(sums.tables, "table"), short(sums.rows), bytes(sums.bytes));
    end(page, "from", &graph.source, &tables);
    end(page, "to", &graph.target, "");
    if !graph.probes.is_empty() {
        page.say(&format!("  read  {} in a read-only session", count(graph.probes.len(), "probe")));
    }
}

fn end(page: &mut Page, word: &str, facts: &EndFacts, more: &str) {
    let engine = format!("{} {}", line(&facts.engine), line(&facts.version));
    let shown = Line::new().text(format!("  {word:<5} ")).cell(Tone::Plain, &engine, 16);
    let database = capped(&facts.database, 40);
    page.line(shown.text("  ").cell(Tone::Plain, &database, 16).text(format!("  {more}")));
}

/// Everything was done before.
fn nothing(page: &mut Page, graph: &Graph) {
    page.gap();
    let text = match graph.steps.len() {
        0 => "the target has everything the plan asks for".to_string(),
        steps => format!("all {} are done", count(steps, "step")),
    };
    page.line(Line::new().add(Tone::Good, "Nothing to do").text(format!(": {text}.")));
}

fn cards(page: &mut Page, graph: &Graph, hazards: &Hazards<'_>, done: &Done) {
    let mut hidden = 0;
    let by_table = review::steps_by_table(graph);
    for card in &graph.tables {
        let steps = by_table.get(&card.target).map_or(&[][..], Vec::as_slice);
        let hazards = hazards.of(card);
        if !page.look.all && card::hidden(hazards, steps, done) {
            hidden += 1;
            continue;
        }
        page.gap();
        card::render(page, graph, card, hazards, steps, done);
    }
    if hidden > 0 {
        page.gap();
        let text = format!("  {} already done (--all shows them)", count(hidden, "table"));
        page.line(Line::new().add(Tone::Dim, text));
    }
}

fn left_behind(page: &mut Page, graph: &Graph) {
    let groups = review::left_behind(graph);
    if groups.is_empty() {
        return;
    }
    page.gap();
    if !page.look.all {
        let parts: Vec<String> = groups
            .iter()
            .map(|(kind, why, names)| format!("{} ({})", count(names.len(), &line(kind)), line(why)))
            .collect();
        wrapped(page, "  left behind: ", &parts);
        page.line(Line::new().add(Tone::Dim, "               --all lists them"));
        return;
    }
    page.say("  left behind");
    for (kind, why, names) in groups {
        for name in names {
            let shown =
                Line::new().text("    ").add(Tone::Leave, "-").text(format!(" {} {name}", line(&kind)));
            page.line(shown.right(Tone::Dim, capped(&why, 60)));
        }
    }
}

/// Parts after a heading, broken into lines under each other.
fn wrapped(page: &mut Page, heading: &str, parts: &[String]) {
    let indent = " ".repeat(heading.chars().count());
    let mut current = heading.to_string();
    let mut empty = true;
    for (at, part) in parts.iter().enumerate() {
        let comma = if at + 1 < parts.len() { "," } else { "" };
        let wide = current.chars().count() + part.chars().count() + 2 > page.look.width;
        if wide && !empty {
            page.say(&current);
            current = indent.clone();
            empty = true;
        }
        let space = if empty { "" } else { " " };
        current = format!("{current}{space}{part}{comma}");
        empty = false;
    }
    page.say(&current);
}

/// Hazards that no card shows.
fn general(page: &mut Page, hazards: &[&Hazard]) {
    if !hazards.is_empty() {
        page.gap();
    }
    for hazard in hazards {
        card::general_hazard(page, hazard);
    }
}

/// What stands in the way, with the ways out.
fn decide(page: &mut Page, graph: &Graph) {
    let blocking: Vec<&Hazard> = review::sorted_hazards(graph).into_iter().filter(|h| h.blocks()).collect();
    if blocking.is_empty() {
        return;
    }
    page.gap();
    page.line(Line::new().add(Tone::Stop, format!("Decide: {} blocking", blocking.len())));
    let widest = blocking.iter().map(|h| line(&h.at).chars().count()).max().unwrap_or(0).min(32);
    for hazard in blocking {
        decision(page, hazard, widest);
    }
}

fn decision(page: &mut Page, hazard: &Hazard, widest: usize) {
    let head = Line::new().text("  ").add(Tone::Stop, line(&hazard.code)).text("  ");
    page.line(
        head.cell(Tone::Strong, &line(&hazard.at), widest).text(format!("  {}", card::hazard_text(hazard))),
    );
    for way in &hazard.ways {
        page.say(&format!("          {}", line(way)));
    }
    let last = match hazard.level {
        Level::Stop => "        this cannot be accepted".to_string(),
        _ => format!("        or accept it:  {}", accept_line(hazard)),
    };
    page.line(Line::new().text(last));
    page.line(Line::new().add(Tone::Dim, format!("        more: towpath explain {}", line(&hazard.code))));
}

/// The entry of `accept:` that would let a hazard pass. The reason is the user's to write.
pub fn accept_line(hazard: &Hazard) -> String {
    let rows = hazard.rows.map(|rows| format!(", max_rows: {rows}")).unwrap_or_default();
    let at = if hazard.at.is_empty() { String::new() } else { format!(", at: {}", yaml_text(&hazard.at)) };
    format!("accept: [{{ hazard: {}{at}{rows}, reason: \"...\" }}]", line(&hazard.code))
}

/// A YAML scalar, quoted where it needs to be.
pub fn yaml_text(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
    if text.chars().all(plain) && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return text.into();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if crate::catalog::name::is_hidden(c) => out.push_str(&format!("\\U{:08x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn order(page: &mut Page, graph: &Graph, done: &Done) {
    let path = review::critical_path(graph, done);
    let phases = review::phases(graph, done, &path);
    if phases.is_empty() {
        return;
    }
    page.gap();
    let mut head = Line::new().add(Tone::Strong, "Order");
    head = head.text(format!(", {} on the critical path", about(path.seconds)));
    if review::blocked(graph) {
        head = head.add(Tone::Stop, "  (not runnable yet)");
    }
    page.line(head);
    for (number, phase) in phases.iter().enumerate() {
        page.line(phase_line(number + 1, phase, graph));
    }
    if let Some(stream) = &graph.stream {
        afterwards(page, phases.len() + 1, stream, graph.back.as_ref());
    }
}

/// What follows when apply is done.
fn afterwards(page: &mut Page, number: usize, stream: &Stream, back: Option<&Stream>) {
    let mut line = |number: usize, name: &str, what: String, last: &'static str| {
        let shown = Line::new().text(format!("  {number} ")).cell(Tone::Plain, name, 10);
        page.line(shown.text(format!(" {what}")).right(Tone::Dim, last));
    };
    let what = format!("{}, until the cutover", count(stream.tables.len(), "table"));
    line(number, "follow", what, "towpath follow");
    let sequences = count(stream.sequences.len(), "sequence");
    line(number + 1, "cutover", format!("{sequences} set from the source"), "not by apply");
    if let Some(back) = back {
        let what = format!("{}, until the cutover is undone", count(back.tables.len(), "table"));
        line(number + 2, "way back", what, "towpath follow --back");
    }
}

fn phase_line(number: usize, facts: &PhaseFacts, graph: &Graph) -> Line {
    let shown = Line::new().text(format!("  {number} ")).cell(Tone::Plain, facts.phase.word(), 10);
    let mut what = phase_text(facts);
    if facts.phase == Phase::Load {
        let sums = review::summary(graph, &Done::new());
        let dropped = facts.kinds.iter().filter(|(kind, _)| kind != "copy");
        let dropped: String = dropped.map(|(kind, number)| format!(", {}", count(*number, kind))).collect();
        let copies = facts.steps - sums.removed;
        what = format!("{}, {} rows{dropped}", count(copies, "table"), short(sums.rows));
    }
    let followed = graph.stream.as_ref().map_or(0, |stream| stream.tables.len());
    match facts.phase {
        Phase::Capture => what = "the source keeps its changes from here on".into(),
        Phase::Sync => what = format!("{}, up to the source's head", count(followed, "table")),
        _ => {}
    }
    let shown = shown.text(format!(" {what}"));
    match (facts.steps - facts.done, facts.done) {
        (0, _) => shown.right(Tone::Good, "done"),
        (_, 0) => shown.right(Tone::Plain, seconds(facts.seconds)),
        (_, done) => shown
            .right(Tone::Plain, format!("{done} of {} done, {} left", facts.steps, seconds(facts.seconds))),
    }
}

/// What a phase's steps are: `3 tables, 1 type`.
pub fn phase_text(facts: &PhaseFacts) -> String {
    let parts: Vec<String> = facts.kinds.iter().map(|(kind, number)| count(*number, &line(kind))).collect();
    parts.join(", ")
}

fn closing(page: &mut Page, graph: &Graph, done: &Done) {
    let sums = review::summary(graph, done);
    page.gap();
    let mut parts = made(&sums);
    if let Some(last) = parts.last_mut() {
        last.push('.');
    }
    wrapped(page, "Plan: ", &parts);
    let blocking = match sums.blocking {
        0 => (Tone::Plain, "0 blocking".to_string()),
        number => (Tone::Stop, format!("{number} BLOCKING")),
    };
    let rest = format!(
        ", {} accepted, {} {}, {} {}.",
        sums.accepted,
        sums.warnings,
        plural(sums.warnings, "warning"),
        sums.notes,
        plural(sums.notes, "note")
    );
    let again = if sums.removed > 0 { " and made again" } else { "" };
    let removed = format!("      {} removed{again}. ", sums.removed);
    page.line(Line::new().text(removed).add(blocking.0, blocking.1).text(rest));
}

/// What the plan makes, in words: `3 tables`, `41.8 M rows (18.2 GB)`.
pub fn made(sums: &Summary) -> Vec<String> {
    let mut parts =
        vec![count(sums.tables, "table"), format!("{} rows ({})", short(sums.rows), bytes(sums.bytes))];
    for (number, noun) in [
        (sums.keys, "unique key"),
        (sums.indexes, "index"),
        (sums.foreign_keys, "foreign key"),
        (sums.streams, "change stream"),
        (sums.sequences, "sequence"),
    ] {
        if number > 0 {
            parts.push(count(number, noun));
        }
    }
    parts
}

/// The closing lines after a plan was saved.
pub fn saved_lines(saved: &SavedAs, blocked: bool, look: Look) -> String {
    let mut page = Page::new(look);
    let digest = short_digest(&saved.digest);
    let until = match blocked {
        true => "cannot be applied until decided".to_string(),
        false => format!("valid until {}", saved.expires),
    };
    let path = line(&saved.path);
    page.say(&format!("Saved {path}   sha256:{digest}   {until}"));
    if !blocked {
        let command = format!("towpath apply {} --expect {digest}", shell_word(&saved.path));
        page.line(Line::new().text("Apply exactly this:  ").add(Tone::Strong, command));
    }
    page.finish()
}

/// The first 12 digits, enough to tell plans apart.
pub fn short_digest(digest: &str) -> String {
    line(digest.strip_prefix("sha256:").unwrap_or(digest)).chars().take(12).collect()
}

/// A word as a shell takes it.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", line(word).replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::catalog::name::is_hidden;

    fn text(done: &[&str]) -> String {
        render(&sample::graph(), &done.iter().map(|id| (*id).into()).collect(), Look::default())
    }

    #[test]
    fn a_plan_reads_as_it_should() {
        let expected = include_str!("text.expected");
        let shown = text(&[]);
        assert_eq!(shown, expected, "\n{shown}");
    }

    #[test]
    fn a_followed_table_and_what_comes_after_apply_are_said() {
        let shown = render(&sample::followed(), &Done::new(), Look::default());
        for part in [
            "> changes         followed after the load, by id",
            "- changes         not followed (cdc: false)",
            "2 capture    the source keeps its changes from here on",
            "catch up   1 table, up to the source's head",
            "follow     1 table, until the cutover",
            "cutover    0 sequences set from the source",
            "1 change stream",
        ] {
            assert!(shown.contains(part), "{part} is missing:\n{shown}");
        }
        assert!(!text(&[]).contains("changes"), "a plan without cdc says nothing of it");
    }

    #[test]
    fn a_blocked_plan_says_what_to_decide_and_how() {
        let shown = text(&[]);
        assert!(shown.contains("Decide: 1 blocking"), "{shown}");
        assert!(shown.contains("columns: { paid_at: { type: text } }"), "{shown}");
        assert!(shown.contains("hazard: V202, at: orders.paid_at, max_rows: 1204"), "{shown}");
        assert!(shown.contains("1 BLOCKING"), "{shown}");
    }

    #[test]
    fn finished_tables_are_hidden_until_asked_for() {
        let done = ["app.accounts/create", "app.accounts/copy"];
        let shown = text(&done);
        assert!(!shown.contains("+ app.accounts"), "{shown}");
        assert!(shown.contains("1 table already done"), "{shown}");
        assert!(shown.contains("2 of 6 steps done"), "{shown}");
        let all = Look { all: true, ..Look::default() };
        let done = done.map(String::from).into();
        assert!(render(&sample::graph(), &done, all).contains("+ app.accounts"));
    }

    #[test]
    fn nothing_to_do_is_said_in_one_line() {
        let mut graph = sample::graph();
        graph.hazards.clear();
        let done = graph.steps.iter().map(|step| step.id.clone()).collect();
        let shown = render(&graph, &done, Look::default());
        assert!(shown.ends_with("\nNothing to do: all 6 steps are done.\n"), "{shown}");
    }

    #[test]
    fn i_05_hostile_names_cannot_act_on_the_terminal() {
        for all in [true, false] {
            let look = Look { all, ..Look::default() };
            let shown = render(&sample::hostile(), &Done::new(), look);
            assert!(!shown.chars().any(|c| c != '\n' && is_hidden(c)), "{shown}");
        }
    }

    #[test]
    fn every_hazard_is_shown() {
        let graph = sample::hostile();
        let shown = render(&graph, &Done::new(), Look::default());
        for hazard in &graph.hazards {
            assert!(shown.contains(&hazard.code), "{} is missing:\n{shown}", hazard.code);
        }
    }

    #[test]
    fn words_for_shell_and_yaml_are_quoted_where_they_must_be() {
        assert_eq!(shell_word("plan.json"), "plan.json");
        assert_eq!(shell_word("my plan's.json"), "'my plan'\\''s.json'");
        assert_eq!(yaml_text("users.id"), "users.id");
        assert_eq!(yaml_text("a b\""), "\"a b\\\"\"");
    }
}
