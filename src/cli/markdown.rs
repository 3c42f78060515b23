//! A plan as Markdown for a pull request: the verdict first, hazards never cut, details folded,
//! all within the size that a comment may have. Pure.

use super::args::GraphLevel;
use super::card::hazard_text;
use super::escape::{capped, line, markdown, markdown_code, markdown_fence};
use super::number::{about, bytes, count, plural, seconds, short};
use super::picture::picture;
use super::review::{self, Done};
use super::text::{SavedAs, accept_line, phase_text, short_digest};
use super::{mermaid, sql};
use crate::diff::difference::{Change, Difference};
use crate::diff::hazard::{Hazard, Level, Standing};
use crate::graph::{Graph, TableCard};

/// Characters of one comment, below the limit of 65,536 that hosts have.
pub const BUDGET: usize = 60_000;
/// Beyond this a drawing is no help.
const NODES_MAX: usize = 60;
/// Rows of the table of tables that even a tight comment keeps.
const TABLES_MIN: usize = 40;

/// The plan; `saved` where it was written to a file.
pub fn render(graph: &Graph, done: &Done, saved: Option<&SavedAs>) -> String {
    let fixed = [head(graph, done), hazards(graph), unblock(graph)].concat();
    let foot = foot(graph, saved);
    // In the order of the page; the rank says what is dropped first.
    let parts = [
        (4, tables(graph, usize::MAX)),
        (3, differences(graph)),
        (2, order(graph, done)),
        (1, statements(graph, done)),
        (5, left_behind(graph)),
    ];
    fit(fixed, &parts, foot, graph)
}

/// Drops parts from the lowest rank until the page fits; hazards are part of `fixed`.
fn fit(fixed: String, parts: &[(u8, String)], foot: String, graph: &Graph) -> String {
    for dropped in 0..=parts.len() as u8 {
        let kept = parts.iter().filter(|(rank, _)| *rank > dropped);
        let mut page = fixed.clone();
        kept.for_each(|(_, part)| page.push_str(part));
        if dropped >= 4 {
            page.push_str(&tables(graph, TABLES_MIN));
        }
        if dropped > 0 {
            page.push_str(&left_out(dropped));
        }
        page.push_str(&foot);
        if page.chars().count() <= BUDGET {
            return page;
        }
    }
    // Hazards alone are over the budget: they are kept, whatever a comment may hold.
    format!("{fixed}{}{foot}", left_out(5))
}

fn left_out(dropped: u8) -> String {
    let names = ["SQL", "differences", "order", "most tables", "what is left behind"];
    let list = names[..usize::from(dropped).min(names.len())].join(", ");
    format!("_Left out to fit one comment: {list}. The plan file has all of it._\n\n")
}

fn head(graph: &Graph, done: &Done) -> String {
    let sums = review::summary(graph, done);
    let verdict = match sums.blocking {
        0 if review::nothing_left(graph, done) => "nothing to do".to_string(),
        0 => "ready".into(),
        number => format!("blocked, {} needed", count(number, "decision")),
    };
    let path = review::critical_path(graph, done);
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let words: Vec<&str> = graph.name.split(|c| !word(c)).filter(|part| !part.is_empty()).collect();
    let marker = words.join("-");
    format!(
        "<!-- towpath:plan:{marker} -->\n### Migration plan: {}: {verdict}\n\n\
         **{} · {} rows · {} · {}** · {} → {} · {} blocking, {} accepted, {} {}, {} {}\n\n",
        markdown(&graph.name),
        count(sums.tables, "table"),
        short(sums.rows),
        bytes(sums.bytes),
        about(path.seconds),
        markdown(&format!("{} {}", graph.source.engine, graph.source.version)),
        markdown(&format!("{} {}", graph.target.engine, graph.target.version)),
        sums.blocking,
        sums.accepted,
        sums.warnings,
        plural(sums.warnings, "warning"),
        sums.notes,
        plural(sums.notes, "note"),
    )
}

fn hazards(graph: &Graph) -> String {
    if graph.hazards.is_empty() {
        return String::new();
    }
    let mut out = String::from("| | Code | Where | What | Decision |\n| --- | --- | --- | --- | --- |\n");
    for hazard in review::sorted_hazards(graph) {
        let at = if hazard.at.is_empty() { String::new() } else { markdown_code(&hazard.at) };
        out.push_str(&format!(
            "| {} | {} | {at} | {} | {} |\n",
            sign(hazard),
            markdown(&hazard.code),
            markdown(&hazard_text(hazard)),
            decision(hazard)
        ));
    }
    out.push('\n');
    out
}

fn sign(hazard: &Hazard) -> &'static str {
    match hazard.level {
        _ if hazard.blocks() => "⛔",
        _ if review::accepted(hazard) => "✅",
        Level::Warn => "⚠️",
        _ => "ℹ️",
    }
}

fn decision(hazard: &Hazard) -> String {
    match &hazard.state {
        Standing::Accepted { reason, max_rows, until, .. } if !hazard.blocks() => {
            let most = max_rows.map(|rows| format!(" up to {} rows", short(rows))).unwrap_or_default();
            let until = until.as_ref().map(|day| format!(", until {}", markdown(day))).unwrap_or_default();
            format!("accepted{most}, \"{}\"{until}", markdown(reason))
        }
        _ => hazard.ways.iter().map(|way| markdown_code(way)).collect::<Vec<_>>().join(" or "),
    }
}

/// What to add to the plan file, for all that blocks.
fn unblock(graph: &Graph) -> String {
    let blocking = review::sorted_hazards(graph).into_iter().filter(|h| h.blocks() && h.level != Level::Stop);
    let entries: Vec<String> = blocking.map(|hazard| format!("  - {}\n", entry(hazard))).collect();
    if entries.is_empty() {
        return String::new();
    }
    let body = format!("accept:\n{}", entries.concat());
    format!(
        "To unblock, resolve each as said above, or accept it in the plan file with your reason:\n\n{}",
        fenced("yaml", &body)
    )
}

fn entry(hazard: &Hazard) -> String {
    let whole = accept_line(hazard);
    let inner = whole.strip_prefix("accept: [").and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(&whole).to_string()
}

fn fenced(language: &str, body: &str) -> String {
    let fence = markdown_fence(body);
    format!("{fence}{language}\n{body}{fence}\n\n")
}

fn folded(summary: &str, body: &str) -> String {
    format!("<details><summary>{}</summary>\n\n{body}</details>\n\n", markdown(summary))
}

fn tables(graph: &Graph, most: usize) -> String {
    if graph.tables.is_empty() {
        return String::new();
    }
    let follows = graph.stream.is_some();
    let (head, line) = if follows { (" Changes |", " --- |") } else { ("", "") };
    let mut out = format!(
        "| Table | Rows | Size | Load | Keys and indexes |{head}\n| --- | ---: | ---: | --- | --- |{line}\n"
    );
    for card in graph.tables.iter().take(most) {
        out.push_str(&table_row(card, follows));
    }
    if graph.tables.len() > most {
        let last = if follows { " |" } else { "" };
        let more = count(graph.tables.len() - most, "table");
        out.push_str(&format!("| and {more} more | | | | |{last}\n"));
    }
    out.push('\n');
    out
}

fn table_row(card: &TableCard, follows: bool) -> String {
    let name = match card.source == card.target {
        true => markdown_code(&card.target.to_string()),
        false => {
            format!(
                "{} → {}",
                markdown_code(&card.source.to_string()),
                markdown_code(&card.target.to_string())
            )
        }
    };
    let filtered = if card.filter.is_some() { ", filtered" } else { "" };
    let load = match card.create {
        true => format!("{}{filtered}", markdown(&card.load)),
        false => format!("{}{filtered}, table exists", markdown(&card.load)),
    };
    let changes = match (&card.changes, follows) {
        (_, false) => String::new(),
        (Some(by), true) => format!(" {} |", markdown(by)),
        (None, true) => " no |".into(),
    };
    let (rows, size) = (short(card.rows), bytes(card.bytes));
    format!("| {name} | {rows} | {size} | {load} | {} |{changes}\n", keys_text(card))
}

fn keys_text(card: &TableCard) -> String {
    let mut parts = Vec::new();
    if card.primary_key.is_some() {
        parts.push("pk".to_string());
    }
    for (list, noun) in [(&card.keys, "unique"), (&card.indexes, "index"), (&card.foreign_keys, "fk")] {
        match list.len() {
            0 => {}
            1 => parts.push(format!("1 {noun}")),
            number if noun == "index" => parts.push(count(number, noun)),
            number => parts.push(format!("{number} {noun}")),
        }
    }
    if parts.is_empty() { "none".into() } else { parts.join(", ") }
}

fn differences(graph: &Graph) -> String {
    let with: Vec<&TableCard> = graph.tables.iter().filter(|card| !card.differences.is_empty()).collect();
    let all: usize = with.iter().map(|card| card.differences.len()).sum();
    if all == 0 {
        return String::new();
    }
    let mut body = String::new();
    for card in with {
        body.push_str(&format!(" {}\n", card.target));
        card.differences.iter().for_each(|difference| body.push_str(&difference_lines(difference)));
    }
    let summary = format!("Differences from the source ({all} in {})", count_with(graph));
    folded(&summary, &fenced("diff", &body))
}

fn count_with(graph: &Graph) -> String {
    count(graph.tables.iter().filter(|card| !card.differences.is_empty()).count(), "table")
}

fn difference_lines(difference: &Difference) -> String {
    let text = |text: &str| capped(text, 200);
    let note = difference.note.as_ref().map(|note| format!("   # {}", text(note))).unwrap_or_default();
    let what = text(&difference.what);
    let gone = matches!(difference.kind, Change::Skipped | Change::Dropped) || difference.after.is_empty();
    let mut out = String::new();
    if !difference.before.is_empty() {
        let end = if gone { format!("   # left behind{note}") } else { String::new() };
        out.push_str(&format!("-  {what}  {}{end}\n", text(&difference.before)));
    }
    if !gone {
        let shown = if difference.kind == Change::Renamed { String::new() } else { format!("{what}  ") };
        out.push_str(&format!("+  {shown}{}{note}\n", text(&difference.after)));
    }
    out
}

fn order(graph: &Graph, done: &Done) -> String {
    let phases = review::phases(graph, done, &review::critical_path(graph, done));
    if phases.is_empty() {
        return String::new();
    }
    let drawn = picture(graph, done, GraphLevel::Table, false);
    let level = match drawn.nodes.len() {
        0..=NODES_MAX => drawn,
        _ => picture(graph, done, GraphLevel::Phase, false),
    };
    let mut body = String::new();
    for (number, facts) in phases.iter().enumerate() {
        let name = facts.phase.word();
        let text = markdown(&phase_text(facts));
        body.push_str(&format!("{}. **{name}**: {text}, {}\n", number + 1, seconds(facts.seconds)));
    }
    body.push('\n');
    body.push_str(&fenced("mermaid", &mermaid::render(&level)));
    folded("Order", &body)
}

fn statements(graph: &Graph, done: &Done) -> String {
    match sql::statements(graph) {
        0 => String::new(),
        number => {
            let text = super::escape::block(&sql::render(graph, done));
            folded(&format!("SQL ({})", count(number, "statement")), &fenced("sql", &text))
        }
    }
}

fn left_behind(graph: &Graph) -> String {
    let groups = review::left_behind(graph);
    if groups.is_empty() {
        return String::new();
    }
    let parts: Vec<String> = groups
        .iter()
        .map(|(kind, why, names)| format!("{} ({})", markdown(&count(names.len(), kind)), markdown(why)))
        .collect();
    format!("Left behind: {}.\n\n", parts.join(", "))
}

fn foot(graph: &Graph, saved: Option<&SavedAs>) -> String {
    let Some(saved) = saved else { return String::new() };
    let digest = short_digest(&saved.digest);
    if review::blocked(graph) {
        return format!("Plan `sha256:{digest}`. It cannot be applied as it is.\n");
    }
    let command = format!("towpath apply {} --expect {digest}", super::text::shell_word(&saved.path));
    format!(
        "Plan `sha256:{digest}`, valid until {}.\nApproving this approves exactly: {}\n",
        line(&saved.expires),
        markdown_code(&command)
    )
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn saved() -> SavedAs {
        SavedAs {
            path: "plan.json".into(),
            digest: "sha256:7f3a91c2e0b84d55aa".into(),
            expires: "29 Nov 09:14 UTC".into(),
        }
    }

    #[test]
    fn the_verdict_and_the_hazards_come_first() {
        let page = render(&sample::graph(), &Done::new(), Some(&saved()));
        assert!(page.starts_with("<!-- towpath:plan:shop-to-pg17 -->\n### Migration plan: shop-to-pg17: blocked, 1 decision needed"), "{page}");
        let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is missing in\n{page}"));
        assert!(at("| ⛔ | V202 |") < at("| ✅ | D105 |"));
        assert!(at("| ✅ | D105 |") < at("| Table | Rows |"));
        assert!(at("It cannot be applied as it is.") > at("<summary>SQL"));
    }

    #[test]
    fn a_ready_plan_says_what_an_approval_means() {
        let mut graph = sample::graph();
        graph.hazards.clear();
        let page = render(&graph, &Done::new(), Some(&saved()));
        assert!(page.contains(": ready\n"), "{page}");
        assert!(page.contains("`towpath apply plan.json --expect 7f3a91c2e0b8`"), "{page}");
    }

    #[test]
    fn a_huge_plan_fits_and_keeps_every_hazard() {
        let mut graph = sample::graph();
        let card = graph.tables[1].clone();
        for number in 0..3_000 {
            let mut card = card.clone();
            card.target.name = format!("table_number_{number}");
            graph.tables.push(card);
        }
        for number in 0..200 {
            graph.hazards.push(sample::hazard("V201", Level::Block, &format!("t{number}.c")));
        }
        let page = render(&graph, &Done::new(), Some(&saved()));
        assert!(page.chars().count() <= BUDGET, "{}", page.chars().count());
        for number in 0..200 {
            assert!(page.contains(&format!("`t{number}.c`")), "{number}");
        }
        assert!(page.contains("Left out to fit one comment"), "{page}");
        assert!(page.contains("and 2 962 tables more"), "{page}");
    }

    #[test]
    fn followed_tables_are_told_from_the_others() {
        let page = render(&sample::followed(), &Done::new(), None);
        assert!(page.contains("| Keys and indexes | Changes |\n"), "{page}");
        assert!(page.contains("| pk, 1 unique, 1 index | by id |\n"), "{page}");
        assert!(page.contains("| pk, 3 indexes, 1 fk | no |\n"), "{page}");
        assert!(page.contains("stream/synced"), "the SQL part names the steps:\n{page}");
    }

    #[test]
    fn sql_is_dropped_first() {
        let mut graph = sample::graph();
        if let crate::graph::Action::Sql { statements, .. } = &mut graph.steps[0].action {
            statements.push(format!("select '{}'", "x".repeat(BUDGET)));
        }
        let page = render(&graph, &Done::new(), None);
        assert!(!page.contains("<summary>SQL"), "{}", page.len());
        assert!(page.contains("<summary>Differences") && page.contains("mermaid"), "{page}");
    }

    #[test]
    fn i_02_names_cannot_break_the_page() {
        let page = render(&sample::hostile(), &Done::new(), Some(&saved()));
        let hidden = |c: char| c != '\n' && crate::catalog::name::is_hidden(c);
        assert!(!page.chars().any(hidden), "{page}");
        let outside = outside_of_fences(&page);
        // A tag inside a code span is text; one that opens a line would be markup.
        let opening = |tag: &str| outside.lines().filter(|text| text.starts_with(tag)).count();
        assert_eq!(opening("<details>"), opening("</details>"), "{page}");
        for row in outside.lines().filter(|row| row.starts_with("| ")) {
            let cells = row.replace("\\|", "").matches('|').count();
            assert_eq!(cells, 6, "{row}");
        }
    }

    fn outside_of_fences(page: &str) -> String {
        let mut inside = false;
        let mut out = String::new();
        for text in page.lines() {
            if text.starts_with("```") {
                inside = !inside;
            } else if !inside {
                out.push_str(text);
                out.push('\n');
            }
        }
        out
    }
}
