//! Problems of a plan file as text, until its own renderer lands.
use crate::plan::Problem;

pub fn render(path: &str, text: &[u8], problems: &[Problem], color: bool) -> String {
    let _ = (text, color);
    let one = |p: &Problem| {
        let at = p.span.map(|s| format!("\n  --> {path}:{}:{}", s.line, s.column)).unwrap_or_default();
        format!("error[{}]: {}{at}\n", p.code, p.message)
    };
    problems.iter().map(one).collect()
}

pub fn render_json(path: &str, text: &[u8], problems: &[Problem]) -> String {
    render(path, text, problems, false)
}
