//! `explain`: the page of a hazard, an error or an exit code, without any database.

use super::escape::line;
use super::failure::Failure;
use super::look::{Line, Look, Page, Tone};
use super::{Face, exit};
use crate::diff::hazard::{KINDS, Level};
use crate::plan::explain::ERRORS;

pub fn run(code: Option<&str>, face: &Face) -> Result<u8, Failure> {
    let look = face.screen.look();
    let page = match code {
        None => list(look),
        Some(code) => page(code, look).ok_or_else(|| unknown(code))?,
    };
    face.screen.out(&page);
    Ok(exit::DONE)
}

/// The page of a code, in any case.
fn page(code: &str, look: Look) -> Option<String> {
    let wanted = code.trim().to_ascii_uppercase();
    if let Some(kind) = KINDS.iter().find(|kind| kind.code == wanted) {
        return Some(titled(kind.code, kind.title, level_words(kind.level), kind.page, look));
    }
    if let Some((code, title, body)) = ERRORS.iter().find(|(code, ..)| *code == wanted) {
        let kind = if code.starts_with('W') { "warning" } else { "error" };
        return Some(titled(code, title, kind, body, look));
    }
    let number: u8 = wanted.parse().ok()?;
    let (_, name, meaning) = exit::CODES.iter().find(|(code, ..)| *code == number)?;
    Some(titled(&format!("exit {number}"), meaning, name, "", look))
}

fn titled(code: &str, title: &str, kind: &str, body: &str, look: Look) -> String {
    let mut page = Page::new(look);
    page.line(
        Line::new()
            .add(Tone::Strong, code.to_string())
            .text(format!("  {title}"))
            .right(Tone::Dim, kind.to_string()),
    );
    if !body.trim().is_empty() {
        page.gap();
        body.trim_end().lines().for_each(|text| page.say(text));
    }
    page.finish()
}

fn level_words(level: Level) -> &'static str {
    match level {
        Level::Note => "note",
        Level::Warn => "warning",
        Level::Block => "blocks until accepted",
        Level::Stop => "cannot be accepted",
    }
}

fn list(look: Look) -> String {
    let mut page = Page::new(look);
    page.line(Line::new().add(Tone::Strong, "Hazards"));
    for kind in KINDS {
        page.line(
            Line::new()
                .text(format!("  {}  {}", kind.code, kind.title))
                .right(Tone::Dim, level_words(kind.level)),
        );
    }
    page.gap();
    page.line(Line::new().add(Tone::Strong, "Errors"));
    for (code, title, _) in ERRORS {
        page.say(&format!("  {code}  {title}"));
    }
    page.gap();
    page.line(Line::new().add(Tone::Strong, "Exit codes"));
    for (code, _, meaning) in exit::CODES {
        page.say(&format!("  {code:>4}  {meaning}"));
    }
    page.finish()
}

fn unknown(code: &str) -> Failure {
    let failure = Failure::usage(format!("nothing is known of {}", line(code)));
    let wanted = code.to_ascii_uppercase();
    let codes = KINDS.iter().map(|kind| kind.code).chain(ERRORS.iter().map(|(code, ..)| *code));
    let near = codes.min_by_key(|known| strsim::levenshtein(known, &wanted));
    match near.filter(|known| strsim::levenshtein(known, &wanted) <= 1) {
        Some(known) => failure.help(format!("did you mean {known}?")),
        None => failure.help("`towpath explain` lists everything there is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_and_is_listed() {
        let look = Look::default();
        let all = list(look);
        let hazards = KINDS.iter().map(|kind| kind.code.to_string());
        let errors = ERRORS.iter().map(|(code, ..)| code.to_string());
        let exits = exit::CODES.iter().map(|(code, ..)| code.to_string());
        for code in hazards.chain(errors).chain(exits) {
            let shown = page(&code.to_lowercase(), look).unwrap_or_default();
            assert!(shown.contains(&code), "{code}");
            assert!(all.contains(&code), "{code} is not listed");
        }
    }

    #[test]
    fn an_unknown_code_is_a_usage_error() {
        assert!(page("X999", Look::default()).is_none());
        assert_eq!(unknown("X999").exit, exit::USAGE);
    }
}
