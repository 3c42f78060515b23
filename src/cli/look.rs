//! How lines look: tones, columns, padding. Pure text in, text out; knows nothing of terminals
//! beyond whether colour is wanted, and adds nothing that is not shown.

use std::borrow::Cow;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

/// What a reviewer asked to see, and how.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub color: bool,
    /// Nothing but ASCII in what we add ourselves.
    pub ascii: bool,
    /// Also what is unchanged, done or left behind.
    pub all: bool,
    /// Columns of a line whose right part is aligned.
    pub width: usize,
}

impl Default for Look {
    fn default() -> Self {
        Self { color: false, ascii: true, all: false, width: 79 }
    }
}

/// The meaning of a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Strong,
    Dim,
    /// Something comes into being.
    Create,
    /// Rows move.
    Load,
    /// Not as on the source.
    Differ,
    /// Left behind.
    Leave,
    /// In the way.
    Stop,
    Warn,
    Good,
}

impl Tone {
    fn style(self) -> Style {
        let color = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
        match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Dim => Style::new().dimmed(),
            Self::Create | Self::Good => color(AnsiColor::Green),
            Self::Load => color(AnsiColor::Cyan),
            Self::Differ | Self::Warn => color(AnsiColor::Yellow),
            Self::Leave => color(AnsiColor::Magenta),
            Self::Stop => color(AnsiColor::Red).bold(),
        }
    }
}

impl Look {
    /// The text in its tone, or as it is where colour is not wanted.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let mut out = String::new();
        self.push(&mut out, tone, text);
        out
    }

    fn push(&self, out: &mut String, tone: Tone, text: &str) {
        if !self.color || tone == Tone::Plain || text.is_empty() {
            return out.push_str(text);
        }
        let style = tone.style();
        // Writing to a String cannot fail.
        let _ = write!(out, "{style}{text}{style:#}");
    }
}

type Piece = (Tone, Cow<'static, str>);

/// One line: pieces from the left, and pieces that end at the right edge.
#[derive(Clone, Debug, Default)]
pub struct Line {
    left: Vec<Piece>,
    right: Vec<Piece>,
}

impl Line {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(mut self, tone: Tone, text: impl Into<Cow<'static, str>>) -> Self {
        self.left.push((tone, text.into()));
        self
    }

    /// Plain text.
    pub fn text(self, text: impl Into<Cow<'static, str>>) -> Self {
        self.add(Tone::Plain, text)
    }

    /// Text padded with blanks to `width` characters.
    pub fn cell(self, tone: Tone, text: &str, width: usize) -> Self {
        let pad = width.saturating_sub(text.chars().count());
        self.add(tone, text.to_string()).text(" ".repeat(pad))
    }

    pub fn right(mut self, tone: Tone, text: impl Into<Cow<'static, str>>) -> Self {
        self.right.push((tone, text.into()));
        self
    }

    /// The line with a line feed, without blanks at its end.
    pub fn render(&self, look: &Look) -> String {
        let mut out = String::new();
        self.write(&mut out, look);
        out
    }

    fn write(&self, out: &mut String, look: &Look) {
        let start = out.len();
        self.left.iter().for_each(|(tone, text)| look.push(out, *tone, text));
        if self.right.is_empty() {
            out.truncate(start + out[start..].trim_end().len());
        } else {
            let gap = look.width.saturating_sub(length(&self.left) + length(&self.right)).max(2);
            out.extend(std::iter::repeat_n(' ', gap));
            self.right.iter().for_each(|(tone, text)| look.push(out, *tone, text));
        }
        out.push('\n');
    }
}

fn length(parts: &[Piece]) -> usize {
    parts.iter().map(|(_, text)| text.chars().count()).sum()
}

/// Lines of text, rendered one after the other.
#[derive(Debug)]
pub struct Page {
    pub look: Look,
    text: String,
}

impl Page {
    pub fn new(look: Look) -> Self {
        Self { look, text: String::new() }
    }

    pub fn line(&mut self, line: Line) {
        line.write(&mut self.text, &self.look);
    }

    /// A plain line.
    pub fn say(&mut self, text: &str) {
        self.line(Line::new().text(text.to_string()));
    }

    /// An empty line, never two in a row and never the first.
    pub fn gap(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_part_ends_at_the_edge_and_never_touches_the_left() {
        let look = Look { width: 20, ..Look::default() };
        let line = Line::new().text("left").right(Tone::Dim, "right");
        assert_eq!(line.render(&look), "left           right\n");
        let full = Line::new().text("a long left part here").right(Tone::Dim, "right");
        assert_eq!(full.render(&look), "a long left part here  right\n");
    }

    #[test]
    fn colour_changes_no_column() {
        let look = Look { width: 20, color: true, ..Look::default() };
        let shown = Line::new().add(Tone::Stop, "left").right(Tone::Good, "right").render(&look);
        assert!(shown.contains("\u{1b}["));
        assert_eq!(anstream::adapter::strip_str(&shown).to_string(), "left           right\n");
    }
}
