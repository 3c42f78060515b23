//! `status --watch`: the status again and again. On a terminal it is drawn over itself; elsewhere
//! blocks or JSON lines follow each other. An end that is away is said, and waited for.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::args::{Plainness, StatusArgs};
use super::ends::Loaded;
use super::escape::line;
use super::failure::{Failure, What};
use super::look::{Line, Page, Tone};
use super::status::{self, Looking, Status};
use super::{Face, exit, signals};
use crate::runtime::Stop;

/// Time between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Takes what is on the terminal away.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";
/// To the upper left corner; long lines end at the edge.
const BEGIN: &str = "\u{1b}[H\u{1b}[?7l";
/// Nothing is left of the line, of what is below; lines wrap again.
const END_OF_LINE: &str = "\u{1b}[K\n";
const END: &str = "\u{1b}[J\u{1b}[?7h";
/// Lines at the end of a block that are not cut away.
const LAST: usize = 2;
/// How lines of a list begin.
const ITEM: &str = "          ";

/// Shows it until a signal. What fails at the first look is no passing trouble.
pub async fn run(args: &StatusArgs, face: &Face, loaded: &Loaded) -> Result<u8, Failure> {
    let stop = Stop::default();
    let drawn = face.screen.stdout_terminal && args.format == Plainness::Text;
    let look = async {
        let mut looking = Looking::new(loaded);
        let mut seen = Ok(looking.look().await?);
        if drawn {
            face.screen.out(CLEAR);
        }
        loop {
            let block = block(args, face, loaded, &seen);
            face.screen.out(&if drawn { frame(&block, height()) } else { block });
            tokio::time::sleep(LOOK_AGAIN).await;
            seen = looking.look().await;
        }
    };
    tokio::select! {
        ended = look => ended,
        () = stop.wait() => Ok(exit::DONE),
        never = signals::listen(&stop) => match never {},
    }
}

fn height() -> usize {
    terminal_size::terminal_size().map_or(24, |(_, height)| usize::from(height.0))
}

/// What is to be seen of one look.
fn block(args: &StatusArgs, face: &Face, loaded: &Loaded, seen: &Result<Status, Failure>) -> String {
    let name = &loaded.plan.name;
    let value = match (args.format, seen) {
        (Plainness::Text, seen) => return text(face, name, seen),
        (Plainness::Json, Ok(status)) => status::value(status),
        (Plainness::Json, Err(failure)) => {
            json!({ "format": "towpath.status/1", "name": name, "error": why(failure) })
        }
    };
    format!("{value}\n")
}

fn text(face: &Face, name: &str, seen: &Result<Status, Failure>) -> String {
    let look = face.screen.look();
    let mut page = Page::new(look);
    let shown = match seen {
        Ok(status) => status::render(status, look),
        Err(failure) => {
            let head = Line::new().add(Tone::Strong, line(name)).text(": ");
            page.line(head.add(Tone::Warn, "cannot be looked at now, trying again"));
            page.say(&format!("  error   {}", line(&why(failure))));
            String::new()
        }
    };
    let at = Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    page.line(Line::new().add(Tone::Dim, format!("  at      {at}, every {} s", LOOK_AGAIN.as_secs())));
    page.gap();
    format!("{shown}{}", page.finish())
}

fn why(failure: &Failure) -> String {
    match &failure.what {
        What::Message(message) => message.text.clone(),
        _ => "it cannot be read".into(),
    }
}

/// A block drawn over the one before, on a terminal of so many lines.
fn frame(block: &str, height: usize) -> String {
    let mut out = BEGIN.to_string();
    // The last line of a terminal is left for the cursor.
    for text in fit(block.trim_end().lines().collect(), height.saturating_sub(1)) {
        out.push_str(&text);
        out.push_str(END_OF_LINE);
    }
    out.push_str(END);
    out
}

/// The lines, with the longest lists cut until all fit.
fn fit(lines: Vec<&str>, height: usize) -> Vec<String> {
    let mut lists = lists(&lines);
    let mut over = lines.len().saturating_sub(height);
    // A list that is cut says so in a line of its own.
    lists.sort_by_key(|(_, length)| std::cmp::Reverse(*length));
    let mut cuts: Vec<(usize, usize, usize)> = Vec::new();
    for (from, length) in lists {
        let cut = if over == 0 || length < 3 { 0 } else { (over + 1).min(length - 1) };
        if cut > 1 {
            cuts.push((from + length - cut, from + length, cut));
            over -= over.min(cut - 1);
        }
    }
    let mut out = Vec::new();
    for (at, text) in lines.iter().enumerate() {
        match cuts.iter().find(|(from, to, _)| (*from..*to).contains(&at)) {
            None => out.push((*text).to_string()),
            Some((from, _, cut)) if *from == at => out.push(format!("{ITEM}and {cut} more")),
            Some(_) => {}
        }
    }
    // Of what still does not fit, the end is worth most: what to run next.
    let rest = out.len().saturating_sub(height);
    out.drain(out.len().saturating_sub(LAST + rest)..out.len().saturating_sub(LAST));
    out.truncate(height);
    out
}

/// Where runs of items begin, and how long they are.
fn lists(lines: &[&str]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for at in (0..lines.len()).filter(|at| lines[*at].starts_with(ITEM)) {
        match found.last_mut() {
            Some((from, length)) if *from + *length == at => *length += 1,
            _ => found.push((at, 1)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(tables: usize) -> String {
        let tables: String = (0..tables).map(|at| format!("{ITEM}t{at}: 1 inserted\n")).collect();
        format!(
            "shop: running\n  stream  1 transaction\n{tables}  lag     none\n  next    towpath status\n\n"
        )
    }

    #[test]
    fn a_frame_is_drawn_over_the_one_before() {
        let frame = frame(&block(1), 24);
        assert!(frame.starts_with(BEGIN) && frame.ends_with(END), "{frame:?}");
        assert_eq!(frame.matches(END_OF_LINE).count(), 5);
        assert!(frame.contains("  next    towpath status\u{1b}[K\n"), "{frame:?}");
    }

    #[test]
    fn a_block_that_is_too_tall_loses_items_and_says_how_many() {
        for (tables, height) in [(3, 10), (4, 8), (5, 8), (40, 10), (2, 5)] {
            let block = block(tables);
            let shown = fit(block.trim_end().lines().collect(), height);
            assert!(shown.len() <= height, "{shown:?}");
            let more = shown.iter().find_map(|line| line.trim().strip_prefix("and ")?.strip_suffix(" more"));
            let more: usize = more.map_or(0, |more| more.parse().expect("a number"));
            let items = shown.iter().filter(|line| line.contains("inserted")).count();
            assert_eq!(shown.last().map(String::as_str), Some("  next    towpath status"));
            assert!(items + more == tables || height <= 5, "{shown:?}");
        }
    }
}
