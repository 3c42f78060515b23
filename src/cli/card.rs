//! One table of a plan as lines of text: what differs, what is made, how rows travel, which
//! hazards hang on it. Pure.

use super::escape::{capped, line};
use super::look::{Line, Look, Page, Tone};
use super::number::{bytes, count, exact, short};
use super::review::{self, Done, Found};
use crate::catalog::probe::Measured;
use crate::diff::difference::{Change, Difference};
use crate::diff::hazard::{Hazard, Level, Standing};
use crate::graph::{Action, Graph, Step, TableCard};

/// Widest label and widest "before" that still make columns; longer ones push their own line.
const LABEL_MAX: usize = 26;
const BEFORE_MAX: usize = 30;
/// Longest text of one cell of a line.
const TEXT_MAX: usize = 160;
/// Indexes listed one by one; more become one line.
const LISTED_MAX: usize = 3;

/// Writes the card, or nothing when all its steps are done and not everything is wanted.
pub fn render(
    page: &mut Page,
    graph: &Graph,
    card: &TableCard,
    hazards: &[Found<'_>],
    steps: &[&Step],
    done: &Done,
) {
    title(page, card, steps, done);
    let body = Body { card, hazards, label: label_width(card) };
    body.differences(page);
    body.unchanged(page);
    body.keys(page);
    body.load(page, steps);
    body.changes(page, graph);
    body.indexes(page);
    body.other_hazards(page);
}

/// True when nothing is left to do for the table and nothing is wrong with it.
pub fn hidden(hazards: &[Found<'_>], steps: &[&Step], done: &Done) -> bool {
    steps.iter().all(|step| done.contains(&step.id)) && !hazards.iter().any(|(hazard, _)| hazard.blocks())
}

fn title(page: &mut Page, card: &TableCard, steps: &[&Step], done: &Done) {
    let (mark, tone) = if card.create { ("+", Tone::Create) } else { ("=", Tone::Plain) };
    let mut head = Line::new().add(tone, mark).text(" ").add(Tone::Strong, card.target.to_string());
    if card.source != card.target {
        head = head.add(Tone::Dim, format!("  ({})", card.source));
    }
    let finished = steps.iter().filter(|step| done.contains(&step.id)).count();
    if finished > 0 {
        head = head.add(Tone::Good, format!("  {finished} of {} steps done", steps.len()));
    }
    page.line(head.right(Tone::Plain, size(card)));
}

fn size(card: &TableCard) -> String {
    match card.load.as_str() {
        "none" => "no rows wanted".into(),
        _ if card.rows == 0 && card.bytes == 0 => "no statistics".into(),
        _ => format!("{} rows {:>9}", short(card.rows), bytes(card.bytes)),
    }
}

fn label_width(card: &TableCard) -> usize {
    let widest = card.differences.iter().map(|d| line(&d.what).chars().count()).max().unwrap_or(0);
    widest.clamp(13, LABEL_MAX) + 2
}

/// What all lines of a card share.
struct Body<'a> {
    card: &'a TableCard,
    hazards: &'a [Found<'a>],
    label: usize,
}

impl Body<'_> {
    fn entry(&self, tone: Tone, mark: &'static str, label: &str, text: &str) -> Line {
        let start = Line::new().text("    ").add(tone, mark).text(" ");
        start.cell(Tone::Plain, &capped(label, TEXT_MAX), self.label).text(" ").text(capped(text, TEXT_MAX))
    }

    fn differences(&self, page: &mut Page) {
        let widest = self.card.differences.iter().filter(|d| !d.after.is_empty());
        let widest = widest.map(|d| line(&d.before).chars().count()).max().unwrap_or(0).min(BEFORE_MAX);
        for difference in &self.card.differences {
            let hazard = self.hazards.iter().find(|(_, column)| column.as_ref() == Some(&difference.what));
            let (mark, tone) = difference_mark(difference, hazard.map(|(hazard, _)| *hazard));
            let mut text = change_text(difference, widest);
            let rows = hazard.and_then(|(hazard, _)| hazard.rows);
            if let Some(rows) = rows {
                text = format!("{text}, {}", rows_text(rows));
            }
            let shown = self.entry(tone, mark, &difference.what, &text);
            page.line(match hazard {
                Some((hazard, _)) => verdict(shown, hazard),
                None => shown,
            });
        }
    }

    fn unchanged(&self, page: &mut Page) {
        let mut changed: Vec<&str> = self.card.differences.iter().map(|d| d.what.as_str()).collect();
        changed.sort_unstable();
        changed.dedup();
        let same = self.card.columns.saturating_sub(changed.len());
        if same > 0 {
            let text = format!("      {} the same", count(same, "column"));
            page.line(Line::new().add(Tone::Dim, text));
        }
    }

    fn keys(&self, page: &mut Page) {
        if let Some(key) = &self.card.primary_key {
            page.line(self.entry(Tone::Create, "+", "primary key", key));
        }
    }

    fn load(&self, page: &mut Page, steps: &[&Step]) {
        if self.card.load == "none" {
            page.line(self.entry(Tone::Leave, "-", "rows", "not wanted (load: none)"));
            return;
        }
        let copy = steps.iter().find(|step| matches!(step.action, Action::Copy { .. }));
        let text = copy.map_or_else(String::new, |step| copy_text(self.card, step));
        page.line(self.entry(Tone::Load, ">", &self.card.load, &text));
        if let Some(filter) = &self.card.filter {
            page.line(self.entry(Tone::Load, " ", "where", filter));
        }
    }

    /// Said of every table as soon as any is followed.
    fn changes(&self, page: &mut Page, graph: &Graph) {
        if graph.stream.is_none() || self.card.load == "none" {
            return;
        }
        page.line(match &self.card.changes {
            Some(by) => self.entry(Tone::Load, ">", "changes", &format!("followed after the load, {by}")),
            None => {
                self.entry(Tone::Leave, "-", "changes", &format!("not followed ({})", self.unfollowed(graph)))
            }
        });
    }

    /// Why the changes of a table are not followed: what keeps them from it, else the plan's word.
    fn unfollowed<'g>(&self, graph: &'g Graph) -> &'g str {
        let name = &self.card.source.name;
        let here = |at: &str| at == name || at == self.card.source.to_string();
        let kept =
            graph.hazards.iter().find(|found| matches!(&*found.code, "C502" | "C503") && here(&found.at));
        kept.map_or("cdc: false", |found| &found.code)
    }

    fn indexes(&self, page: &mut Page) {
        self.listed(page, "unique", &self.card.keys);
        self.listed(page, "index", &self.card.indexes);
        self.listed(page, "foreign key", &self.card.foreign_keys);
    }

    fn listed(&self, page: &mut Page, noun: &str, items: &[String]) {
        if items.len() <= LISTED_MAX || page.look.all {
            for item in items {
                page.line(self.entry(Tone::Create, "+", noun, item));
            }
            return;
        }
        let noun = if noun == "unique" { "unique key" } else { noun };
        let named: Vec<String> = items.iter().take(LISTED_MAX).map(|item| capped(item, 40)).collect();
        let text = format!("{} and {} more", named.join(", "), items.len() - LISTED_MAX);
        page.line(self.entry(Tone::Create, "+", &count(items.len(), noun), &text));
    }

    /// Hazards that no line above has shown.
    fn other_hazards(&self, page: &mut Page) {
        for (at, (hazard, column)) in self.hazards.iter().enumerate() {
            let first = self.hazards.iter().position(|(_, other)| column.is_some() && other == column);
            let differs = self.card.differences.iter().any(|d| Some(&d.what) == column.as_ref());
            if differs && first == Some(at) {
                continue;
            }
            let (mark, tone) = hazard_mark(hazard);
            let label = column.as_deref().unwrap_or("rows");
            let shown = self.entry(tone, mark, label, &hazard_text(hazard));
            page.line(verdict(shown, hazard));
        }
    }
}

fn difference_mark(difference: &Difference, hazard: Option<&Hazard>) -> (&'static str, Tone) {
    if hazard.is_some_and(Hazard::blocks) {
        return ("!", Tone::Stop);
    }
    match difference.kind {
        Change::Skipped | Change::Dropped => ("-", Tone::Leave),
        Change::Renamed | Change::Retyped | Change::Reworded => ("~", Tone::Differ),
    }
}

fn change_text(difference: &Difference, width: usize) -> String {
    let note = difference.note.as_ref().map(|note| format!(", {note}")).unwrap_or_default();
    match (difference.before.as_str(), difference.after.as_str()) {
        (before, "") => format!("{before}{note}"),
        ("", after) => format!("{after}{note}"),
        (before, after) => format!("{:width$} -> {after}{note}", line(before)),
    }
}

fn copy_text(card: &TableCard, step: &Step) -> String {
    let Action::Copy { projection, chunk_bytes, .. } = &step.action else { return String::new() };
    let chunks = card.bytes.div_ceil((*chunk_bytes).max(1)).max(1);
    let pieces = match chunks {
        1 => "in one piece".into(),
        _ if projection.key.is_empty() && card.filter.is_none() => {
            format!("about {}, no key", count(chunks as usize, "chunk"))
        }
        _ => format!("about {}", count(chunks as usize, "chunk")),
    };
    format!("{pieces}, as {}", card.form)
}

fn hazard_mark(hazard: &Hazard) -> (&'static str, Tone) {
    match hazard.level {
        _ if hazard.blocks() => ("!", Tone::Stop),
        Level::Warn if !review::accepted(hazard) => ("?", Tone::Warn),
        _ => ("i", Tone::Dim),
    }
}

/// What a hazard found, with its number and how good the number is.
pub fn hazard_text(hazard: &Hazard) -> String {
    let what = line(&hazard.what);
    match (hazard.rows, hazard.measured) {
        (Some(rows), Measured::Exact) => format!("{what}: {}", rows_text(rows)),
        (Some(rows), Measured::Estimated) => format!("{what}: about {}", rows_text(rows)),
        (Some(_), Measured::Not) | (None, _) => what,
    }
}

fn rows_text(rows: u64) -> String {
    format!("{} {}", exact(rows), if rows == 1 { "row" } else { "rows" })
}

fn verdict(shown: Line, hazard: &Hazard) -> Line {
    let code = line(&hazard.code);
    match (&hazard.state, hazard.level) {
        _ if hazard.blocks() => shown.right(Tone::Stop, code),
        (Standing::Accepted { .. }, _) => shown.right(Tone::Good, format!("{code} accepted")),
        (_, Level::Warn) => shown.right(Tone::Warn, format!("{code} warn")),
        _ => shown.right(Tone::Dim, format!("{code} note")),
    }
}

/// A hazard that hangs on no table.
pub fn general_hazard(page: &mut Page, hazard: &Hazard) {
    let (mark, tone) = hazard_mark(hazard);
    let place = if hazard.at.is_empty() { String::new() } else { format!("{}: ", line(&hazard.at)) };
    let text = format!(" {place}{}", hazard_text(hazard));
    page.line(verdict(Line::new().text("  ").add(tone, mark).text(text), hazard));
}

/// The marks and what they mean, as far as they are used.
pub fn legend(look: &Look, blocked: bool) -> String {
    let mut legend = Line::new()
        .text("  ")
        .add(Tone::Create, "+")
        .text(" create   ")
        .add(Tone::Load, ">")
        .text(" load   ")
        .add(Tone::Differ, "~")
        .text(" differs from the source   ")
        .add(Tone::Leave, "-")
        .text(" left behind");
    if blocked {
        legend = legend.text("   ").add(Tone::Stop, "!").text(" decide");
    }
    legend.render(look)
}
