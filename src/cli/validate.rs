//! `towpath validate`: syntax, names of keys, contradictions, URLs. Opens no database.

use super::problem;
use super::source_text::{SourceText, read_source};
use crate::engine::{self, Url, UrlError};
use crate::plan::{self, Connect, Plan, Problem, Severity, Span, Variables, select};

/// What was found in one file.
#[derive(Debug)]
pub struct Checked {
    /// Safe to print.
    pub path: String,
    /// The file's content, for quoting it; empty where it could not be read.
    pub bytes: Vec<u8>,
    /// Sorted by place; warnings too.
    pub problems: Vec<Problem>,
    /// Set when there is no error.
    pub plan: Option<Plan>,
}

impl Checked {
    /// True when the file cannot be used. `strict`: a warning is enough.
    pub fn failed(&self, strict: bool) -> bool {
        self.plan.is_none() || strict && !self.problems.is_empty()
    }
}

/// Reads and checks each file. Variables need not be set: those that are not are warnings.
pub fn validate(files: &[String], variables: &Variables) -> Vec<Checked> {
    files.iter().map(|path| check_file(path, variables, Connect::NONE)).collect()
}

/// Reads and checks one file, for a run that connects to the ends of `connect`.
pub fn check_file(path: &str, variables: &Variables, connect: Connect) -> Checked {
    match read_source(path) {
        Ok(source) => check_source(source, variables, connect),
        Err(problem) => Checked {
            path: super::escape::line(path),
            bytes: Vec::new(),
            problems: vec![*problem],
            plan: None,
        },
    }
}

/// Checks what was read.
pub fn check_source(source: SourceText, variables: &Variables, connect: Connect) -> Checked {
    let SourceText { path, bytes, warnings } = source;
    let (plan, found) = match plan::resolve_for(&path, &bytes, variables, connect) {
        Ok((plan, found)) => (Some(plan), found),
        Err(found) => (None, found),
    };
    let urls = plan.as_ref().map(check_urls).unwrap_or_default();
    let problems = plan::resolve::sorted([warnings, found, urls].concat());
    let good = problems.iter().all(|problem| problem.severity == Severity::Warning);
    Checked { path, bytes, problems, plan: plan.filter(|_| good) }
}

/// Everything about the two URLs that can be told without connecting, and the conditions that the
/// source's dialect can read.
pub fn check_urls(plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    for end in [&plan.source, &plan.target] {
        if !end.url.is_empty() {
            problems.extend(check_url(&end.url, end.url_span));
        }
    }
    let source = Url::parse(&plan.source.url).ok().and_then(|url| engine::engine(&url).ok());
    if let Some(source) = source.filter(|_| plan.rules.iter().any(|rule| rule.filter.is_some())) {
        problems.extend(select::check_conditions(plan, source.dialect()));
    }
    problems
}

fn check_url(text: &str, span: Span) -> Vec<Problem> {
    let parsed = Url::parse(text).and_then(|url| {
        engine::engine(&url)?.check_url(&url)?;
        Ok(url)
    });
    match parsed {
        Err(error) => vec![url_problem(&error, span)],
        Ok(url) => weak_tls(&url, span).into_iter().collect(),
    }
}

/// A refused URL as a problem of the plan file.
pub fn url_problem(error: &UrlError, span: Span) -> Problem {
    let problem = Problem::error(error.code, &error.message).at(span);
    match &error.help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

fn weak_tls(url: &Url, span: Span) -> Option<Problem> {
    let mode = url.weak_tls()?;
    let what = match mode {
        "disable" => "the connection is not encrypted",
        "require" => "the server's identity is not checked",
        _ => "the connection may be unencrypted, and the server's identity is not checked",
    };
    let problem = Problem::warning("W301", format!("sslmode={mode}: {what}")).at(span);
    Some(problem.help("use sslmode=verify-full wherever the way to the server can be tapped"))
}

/// All findings of all files as text; a file without any gets a line that says so.
pub fn render_text(checked: &[Checked], color: bool) -> String {
    let one = |file: &Checked| match file.problems.is_empty() {
        true => format!("{}: valid\n", file.path),
        false => problem::render(&file.path, &file.bytes, &file.problems, color),
    };
    checked.iter().map(one).collect()
}

/// `{ files: [{ file, problems, errors, warnings }] }` on one line.
pub fn render_json(checked: &[Checked]) -> String {
    let one = |file: &Checked| {
        let mut value = problem::problems_json(&file.path, &file.bytes, &file.problems);
        value["file"] = file.path.clone().into();
        value
    };
    format!("{}\n", serde_json::json!({ "files": checked.iter().map(one).collect::<Vec<_>>() }))
}

/// Workflow commands of GitHub Actions.
pub fn render_github(checked: &[Checked]) -> String {
    checked.iter().map(|file| problem::render_github(&file.path, &file.problems)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Checked {
        let source = SourceText { path: "p.yaml".into(), bytes: text.into(), warnings: Vec::new() };
        check_source(source, &Variables::new(), Connect::NONE)
    }

    fn plan(url: &str) -> String {
        format!(
            "version: 1\nname: x\nsource: {{ url: \"{url}\" }}\ntarget: {{ url: \"${{T}}\" }}\ntables: {{ \"*\": {{}} }}\n"
        )
    }

    fn codes(checked: &Checked) -> Vec<&str> {
        checked.problems.iter().map(|problem| problem.code.as_str()).collect()
    }

    #[test]
    fn a_url_is_judged_at_its_place_and_never_shown() {
        for (url, code) in [
            ("mssql://u@h/d", "E301"),
            ("postgres://u@h:0/d", "E303"),
            ("postgres://u@h", "E305"),
            ("postgres://u@h/d?sslmod=x", "E306"),
            ("postgres://u@h/d?options=x", "E307"),
        ] {
            let checked = check(&plan(url));
            assert!(checked.failed(false) && checked.plan.is_none());
            assert_eq!(codes(&checked), [code, "W203"], "{url}");
            assert_eq!(checked.problems[0].span.map(|span| (span.line, span.column)), Some((3, 16)));
        }
    }

    #[test]
    fn u_08_weak_tls_is_a_warning_and_fails_only_where_strict() {
        let checked = check(&plan("postgres://u@h/d?sslmode=disable"));
        assert_eq!(codes(&checked), ["W301", "W203"]);
        assert!(!checked.failed(false) && checked.failed(true));
    }

    #[test]
    fn files_are_checked_one_by_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let good = dir.path().join("good.yaml");
        std::fs::write(&good, plan("sqlite:a.db")).expect("written");
        let files = [good.to_string_lossy().into_owned(), "no such file".to_string()];
        let variables = Variables::from([("T".to_string(), "sqlite:b.db".to_string())]);
        let checked = validate(&files, &variables);
        assert_eq!(codes(&checked[1]), ["E115"]);
        assert!(!checked[0].failed(true), "{:?}", checked[0].problems);
        let text = render_text(&checked, false);
        assert!(
            text.contains("good.yaml: valid\n") && text.contains("error[E115]: there is no file"),
            "{text}"
        );
        let json: serde_json::Value = serde_json::from_str(&render_json(&checked)).expect("JSON");
        assert_eq!(json["files"][0]["errors"], 0);
        assert_eq!(json["files"][1]["problems"][0]["range"], serde_json::Value::Null);
        assert!(render_github(&checked).starts_with("::error file=no such file,title=E115::"));
    }
}
