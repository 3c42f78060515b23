//! Makes any text harmless where it is shown: a name, a default or a server's message can hold
//! terminal commands, markup or quotes. Data itself is never changed, only its display.

use std::fmt::Write as _;

use crate::catalog::name::is_hidden;

/// One line for a terminal or a log: controls, direction marks and line ends become `\u{..}`.
pub fn line(text: &str) -> String {
    hide(text, |_| false)
}

/// Several lines for a terminal: as [`line`], but line feeds and tabs stay.
pub fn block(text: &str) -> String {
    hide(text, |c| c == '\n' || c == '\t')
}

fn hide(text: &str, keep: impl Fn(char) -> bool) -> String {
    // Most text has nothing to hide, and plans are long.
    if text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return text.to_string();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) && !keep(c) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", c as u32);
        } else {
            out.push(c);
        }
    }
    out
}

/// At most `max` characters of one line, with `...` where something was cut.
pub fn capped(text: &str, max: usize) -> String {
    let safe = line(text);
    if safe.chars().count() <= max {
        return safe;
    }
    let kept: String = safe.chars().take(max.saturating_sub(3)).collect();
    format!("{kept}...")
}

/// Plain words inside Markdown, also in a table cell: nothing in them is markup or HTML.
pub fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in line(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '@' => out.push_str("&#64;"),
            '#' => out.push_str("&#35;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// A code span inside Markdown that also survives in a table cell.
pub fn markdown_code(text: &str) -> String {
    let safe = line(text).replace('|', "\\|");
    let longest = longest_run(&safe, '`');
    if longest == 0 && !safe.is_empty() {
        return format!("`{safe}`");
    }
    let fence = "`".repeat(longest + 1);
    format!("{fence} {safe} {fence}")
}

/// A fence longer than any run of backticks in the text it will hold.
pub fn markdown_fence(text: &str) -> String {
    "`".repeat(longest_run(text, '`').max(2) + 1)
}

fn longest_run(text: &str, of: char) -> usize {
    let (mut longest, mut run) = (0, 0);
    for c in text.chars() {
        run = if c == of { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

/// Text inside the double quotes of a Mermaid label; `\n` becomes a line break.
pub fn mermaid(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("<br/>"),
            c if c.is_alphanumeric() || " .,:/-_()+=".contains(c) => out.push(c),
            c if is_hidden(c) => {
                let _ = write!(out, "u{:x}", c as u32);
            }
            c => {
                let _ = write!(out, "#{};", c as u32);
            }
        }
    }
    out
}

/// Text inside the double quotes of a DOT string; `\n` becomes a line break.
pub fn dot(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if is_hidden(c) => {
                let _ = write!(out, "\\\\u{{{:x}}}", c as u32);
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i_11_a_terminal_never_gets_a_control_character() {
        let evil = "a\u{1b}[2Jb\nc\u{202e}d\0\u{7}";
        let shown = line(evil);
        assert!(!shown.chars().any(is_hidden), "{shown:?}");
        assert_eq!(shown, "a\\u{1b}[2Jb\\u{a}c\\u{202e}d\\u{0}\\u{7}");
        assert_eq!(block("a\n\tb\r"), "a\n\tb\\u{d}");
    }

    #[test]
    fn i_02_markdown_markup_stays_text() {
        assert_eq!(markdown("a|b<img>@me #1"), "a\\|b&lt;img&gt;&#64;me &#35;1");
        assert_eq!(markdown_code("a`b"), "`` a`b ``");
        assert_eq!(markdown_code("a|b"), "`a\\|b`");
        assert_eq!(markdown_fence("x ```` y"), "`````");
        assert_eq!(markdown_fence("x"), "```");
    }

    #[test]
    fn i_02_a_label_cannot_end_its_quotes() {
        assert!(!mermaid("a\"]; click x").contains('"'));
        assert_eq!(mermaid("a\"b;"), "a#34;b#59;");
        assert_eq!(dot("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }

    #[test]
    fn long_text_is_cut_visibly() {
        assert_eq!(capped("abcdefghij", 8), "abcde...");
        assert_eq!(capped("abc", 8), "abc");
    }
}
