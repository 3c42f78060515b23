//! Problems of a plan file as a user sees them: underlined text, JSON, or annotations for a pull
//! request. Returns text and prints nothing. Secrets in the quoted lines are masked.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

use crate::catalog::name::is_hidden;
use crate::plan::{Problem, Severity, Span, secret};

/// Problems that are shown at most; the rest is counted.
pub const SHOWN_MAX: usize = 20;
/// Lines above a problem that are looked through for the keys it stands under.
const ABOVE_MAX: usize = 2_000;
/// Longest line that is quoted, in bytes; a longer one is cut around the place.
const LINE_MAX: usize = 400;

/// Problems of one file as text, in the order given, with their lines underlined. `text` is the
/// file's content.
pub fn render(path: &str, text: &[u8], problems: &[Problem], color: bool) -> String {
    let text = &masked(text, problems);
    let mut out = String::new();
    for problem in problems.iter().take(SHOWN_MAX) {
        out.push_str(&render_one(problem, path, text, color));
        out.push_str("\n\n");
    }
    if problems.len() > SHOWN_MAX {
        out.push_str(&format!("... and {} more\n\n", problems.len() - SHOWN_MAX));
    }
    out.push_str(&summary(problems));
    out.push('\n');
    out
}

/// As one line of JSON: [`problems_json`].
pub fn render_json(path: &str, text: &[u8], problems: &[Problem]) -> String {
    format!("{}\n", problems_json(path, text, problems))
}

/// As workflow commands of GitHub Actions, one line for each problem.
pub fn render_github(path: &str, problems: &[Problem]) -> String {
    problems.iter().map(|problem| annotation(problem, path)).collect()
}

/// The part of a file that is text, with secrets masked and all offsets kept.
fn masked(bytes: &[u8], problems: &[Problem]) -> String {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    };
    if problems.is_empty() {
        return String::new();
    }
    // A password that was written with escapes or over several lines is known by its problem only.
    let inline = problems.iter().filter(|problem| problem.code == "E114").filter_map(|problem| problem.span);
    let whole = |span: Span| {
        let range = floor(text, span.offset)..floor(text, span.offset + span.length);
        let written = &text[range.clone()];
        let scheme = written.find("://").map_or(0, |at| at + 3);
        written.contains(['\\', '\n']).then_some(range.start + scheme..range.end)
    };
    secret::mask(text, &inline.filter_map(whole).collect::<Vec<_>>())
}

/// `2 errors, 1 warning`.
pub fn summary(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let count = |number: usize, noun: &str| match number {
        1 => format!("1 {noun}"),
        more => format!("{more} {noun}s"),
    };
    match (errors, problems.len() - errors) {
        (0, 0) => "no problem".into(),
        (errors, 0) => count(errors, "error"),
        (0, warnings) => count(warnings, "warning"),
        (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    }
}

fn render_one(problem: &Problem, path: &str, text: &str, color: bool) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(clean(&problem.message)).id(&*problem.code));
    let excerpt = problem.span.map(|span| Excerpt::of(text, span));
    if let Some(excerpt) = excerpt {
        let mut mark = AnnotationKind::Primary.span(excerpt.mark.clone());
        if let Some(label) = &problem.label {
            mark = mark.label(clean(label));
        }
        let above = excerpt.above.iter().map(|range| AnnotationKind::Visible.span(range.clone()));
        let snippet = Snippet::source(excerpt.text.clone())
            .line_start(excerpt.line)
            .path(clean(path))
            .annotation(mark)
            .annotations(above);
        group = group.element(snippet);
    }
    if let Some(help) = &problem.help {
        group = group.element(Level::HELP.message(clean(help)));
    }
    for note in &problem.notes {
        group = group.element(Level::NOTE.message(clean(note)));
    }
    let more = format!("towpath explain {}", problem.code);
    group = group.element(Level::NOTE.with_name("more").message(more));
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.render(&[group])
}

/// Lines of a file around a place: the keys it stands under, and its own line.
struct Excerpt {
    text: String,
    /// Number of the first line.
    line: usize,
    /// Bytes of `text` that are underlined.
    mark: Range<usize>,
    /// Lines of `text` that are shown above it.
    above: Vec<Range<usize>>,
}

impl Excerpt {
    fn of(text: &str, span: Span) -> Self {
        let offset = floor(text, span.offset);
        let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
        let end = text[offset..].find('\n').map_or(text.len(), |at| offset + at);
        let mut lines = parents(text, start);
        lines.push(start..end);
        let first = lines[0].start;
        let mut out = Self { text: String::new(), line: 1, mark: 0..0, above: Vec::new() };
        out.line = span.line - text[first..start].bytes().filter(|byte| *byte == b'\n').count();
        let mut at = first;
        for (index, line) in lines.iter().enumerate() {
            out.text.push_str(&between(&text[at..line.start]));
            let begin = out.text.len();
            let whole = &text[line.clone()];
            if index + 1 < lines.len() {
                out.text.push_str(&clean_line(cut(whole, 0..0).0));
                out.above.push(begin..out.text.len());
            } else {
                let place =
                    offset - start..floor(text, (span.offset + span.length).min(end)).max(offset) - start;
                let (shown, place) = cut(whole, place);
                let before = clean_line(&shown[..place.start]);
                let inside = clean_line(&shown[place.clone()]);
                out.mark = begin + before.len()..begin + before.len() + inside.len();
                out.text.push_str(&before);
                out.text.push_str(&inside);
                out.text.push_str(&clean_line(&shown[place.end..]));
            }
            at = line.end;
        }
        out
    }
}

/// What stands between two shown lines. More than a line or two is folded by the renderer and only
/// keeps the numbers right.
fn between(text: &str) -> String {
    let breaks = text.matches('\n').count();
    if breaks > 3 {
        return "\n".repeat(breaks);
    }
    let shown = |line: &str| clean_line(cut(line, 0..0).0);
    text.split('\n').map(shown).collect::<Vec<_>>().join("\n")
}

/// The two nearest lines above that are less indented: the keys a line stands under.
fn parents(text: &str, start: usize) -> Vec<Range<usize>> {
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let own = &text[start..];
    let mut limit = indent(own.lines().next().unwrap_or_default());
    let mut found = Vec::new();
    let mut end = start;
    for line in text[..start].lines().rev().take(ABOVE_MAX) {
        end -= 1;
        // `lines` drops a carriage return that stands before the line break.
        let whole = text[..end].rfind('\n').map_or(0, |at| at + 1)..end;
        end = whole.start;
        let bare = line.trim_start();
        if bare.is_empty() || bare.starts_with('#') || indent(line) >= limit {
            continue;
        }
        limit = indent(line);
        found.push(whole);
        if found.len() == 2 || limit == 0 {
            break;
        }
    }
    found.reverse();
    found
}

/// A long line cut around a place, and the place in what is left.
fn cut(line: &str, place: Range<usize>) -> (&str, Range<usize>) {
    if line.len() <= LINE_MAX {
        return (line, place);
    }
    let from = floor(line, place.start.saturating_sub(LINE_MAX / 2));
    let to = floor(line, (from + LINE_MAX).min(line.len()));
    (&line[from..to], place.start - from..floor(line, place.end.min(to)).max(place.start) - from)
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// A quoted line: what a terminal would act on is spelt out, tabs stay for the renderer.
fn clean_line(line: &str) -> String {
    line.trim_end_matches('\r')
        .chars()
        .map(|c| match c {
            '\t' => "\t".into(),
            c if is_hidden(c) => format!("\\u{{{:x}}}", c as u32),
            c => c.to_string(),
        })
        .collect()
}

fn clean(text: &str) -> String {
    clean_line(text).replace('\t', " ")
}

/// `{ problems: [...], errors, warnings }`; ranges are those of the file.
pub fn problems_json(path: &str, bytes: &[u8], problems: &[Problem]) -> Value {
    let text = &masked(bytes, problems);
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let list: Vec<Value> = problems.iter().map(|problem| one_json(problem, path, text)).collect();
    json!({ "problems": list, "errors": errors, "warnings": problems.len() - errors })
}

fn one_json(problem: &Problem, path: &str, text: &str) -> Value {
    let range = problem.span.map(|span| {
        let stop = end_of(text, span);
        json!({
            "start": { "offset": span.offset, "line": span.line, "column": span.column },
            "end": { "offset": stop.offset, "line": stop.line, "column": stop.column },
        })
    });
    let snippet = problem.span.map(|span| {
        let excerpt = Excerpt::of(text, span);
        excerpt.text.rsplit('\n').next().unwrap_or_default().to_string()
    });
    json!({
        "severity": problem.severity,
        "code": problem.code,
        "message": clean(&problem.message),
        "label": problem.label,
        "help": problem.help,
        "notes": problem.notes,
        "file": path,
        "range": range,
        "snippet": snippet,
    })
}

/// The place just after a span.
fn end_of(text: &str, span: Span) -> Span {
    let from = floor(text, span.offset);
    let to = floor(text, (span.offset + span.length).min(text.len())).max(from);
    let inside = &text[from..to];
    let breaks = inside.matches('\n').count();
    let column = match inside.rsplit_once('\n') {
        Some((_, last)) => last.chars().count() + 1,
        None => span.column + inside.chars().count(),
    };
    Span { offset: to, length: 0, line: span.line + breaks, column }
}

/// `::error file=...,line=...,col=...,title=...::message`.
fn annotation(problem: &Problem, path: &str) -> String {
    let kind = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut place = format!("file={}", property(path));
    if let Some(span) = problem.span {
        place.push_str(&format!(",line={},col={}", span.line, span.column));
    }
    let mut body = clean(&problem.message);
    let label = problem.label.iter().map(|label| format!("\n{label}"));
    let help = problem.help.iter().map(|help| format!("\nhelp: {help}"));
    let notes = problem.notes.iter().map(|note| format!("\nnote: {note}"));
    body.extend(label.chain(help).chain(notes));
    format!("::{kind} {place},title={}::{}\n", property(&problem.code), message(&body))
}

fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "version: 1\ntables:\n  users: {}\n\n  orders:\n    # why\n    columns:\n      shiped_at: { type: timestamptz }\n";

    fn problem() -> Problem {
        let offset = TEXT.find("shiped").expect("there");
        Problem::error("E123", "table orders has no column shiped_at")
            .at(Span { offset, length: 9, line: 8, column: 7 })
            .label("not in public.orders on the source")
            .help("did you mean shipped_at?")
            .note("columns are id, user_id")
    }

    #[test]
    fn a_problem_is_underlined_with_the_keys_it_stands_under() {
        let shown = render("towpath.yaml", TEXT.as_bytes(), &[problem()], false);
        let wanted = "\
error[E123]: table orders has no column shiped_at
 --> towpath.yaml:8:7
  |
5 |   orders:
6 |     # why
7 |     columns:
8 |       shiped_at: { type: timestamptz }
  |       ^^^^^^^^^ not in public.orders on the source
  |
  = help: did you mean shipped_at?
  = note: columns are id, user_id
  = more: towpath explain E123

1 error
";
        assert_eq!(shown, wanted, "{shown}");
    }

    #[test]
    fn secrets_in_quoted_lines_are_masked() {
        let text = "source: { url: \"postgres://app:canary-7@db/shop\", password: canary-8 }\n";
        let problem = Problem::error("E114", "a password is written into the plan").at(Span {
            offset: 15,
            length: 33,
            line: 1,
            column: 16,
        });
        let problems = [problem];
        for shown in [
            render("p", text.as_bytes(), &problems, true),
            render_json("p", text.as_bytes(), &problems),
            render_github("p", &problems),
        ] {
            assert!(!shown.contains("canary"), "{shown}");
            assert!(shown.contains("E114"));
        }
    }

    #[test]
    fn at_most_twenty_are_shown_and_the_rest_counted() {
        let many = vec![problem(); 23];
        let shown = render("p", TEXT.as_bytes(), &many, false);
        assert_eq!(shown.matches("error[E123]").count(), SHOWN_MAX);
        assert!(shown.contains("... and 3 more") && shown.contains("23 errors"));
    }

    #[test]
    fn json_has_byte_offsets_and_places() {
        let value = problems_json("p", TEXT.as_bytes(), &[problem()]);
        let range = &value["problems"][0]["range"];
        let offset = TEXT.find("shiped").expect("there");
        assert_eq!(range["start"], json!({ "offset": offset, "line": 8, "column": 7 }));
        assert_eq!(range["end"], json!({ "offset": offset + 9, "line": 8, "column": 16 }));
        assert_eq!(value["errors"], 1);
    }

    #[test]
    fn annotations_are_escaped() {
        let mut odd = problem();
        odd.message = "50% of a,b\u{1b}[2J".into();
        let shown = render_github("a,b:c.yaml", &[odd]);
        assert!(
            shown.starts_with("::error file=a%2Cb%3Ac.yaml,line=8,col=7,title=E123::50%25 of a,b\\u{1b}")
        );
        assert_eq!(shown.lines().count(), 1);
    }

    #[test]
    fn any_place_in_any_text_can_be_shown() {
        for text in ["", "a", "ä\r\n\tb: \u{202e}x\n", "\n\n\n"] {
            for offset in 0..text.len() + 3 {
                for length in 0..4 {
                    let line =
                        text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1;
                    let span = Span { offset, length, line, column: 1 };
                    let problem = Problem::error("E103", "x").at(span);
                    render("p", text.as_bytes(), std::slice::from_ref(&problem), true);
                    problems_json("p", text.as_bytes(), &[problem]);
                }
            }
        }
    }
}
