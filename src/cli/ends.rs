//! From the command line to a plan and its two ends: reads the plan file, collects variables,
//! opens databases through their engine or reads saved catalogs. Never shows a URL's secret.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use super::args::{Global, SavedArgs};
use super::escape::line;
use super::exit;
use super::failure::Failure;
use super::saved_catalog;
use super::screen::Screen;
use crate::engine::{self, Engine, Limits, Source, Target, Url, UrlError};
use crate::plan::{self, Plan, Problem, Span, Variables};
use crate::runtime::Ends;
use crate::runtime::planning::{SourceEnd, TargetEnd};

/// Bytes of the largest plan file: some hundred thousand tables, and no more memory than that.
const PLAN_BYTES_MAX: u64 = 64 << 20;

/// A plan file, read and resolved.
pub struct Loaded {
    pub path: String,
    pub text: Vec<u8>,
    pub plan: Plan,
    pub warnings: Vec<Problem>,
}

impl Loaded {
    /// A finding about this plan file.
    pub fn problems(&self, problems: Vec<Problem>) -> Failure {
        Failure::problems(&self.path, &self.text, problems)
    }
}

/// Reads the plan file of `--file`. Ends that come from saved catalogs need no URL: a variable
/// that only such a URL uses may be unset.
pub fn read_plan(global: &Global, saved: &SavedArgs) -> Result<Loaded, Failure> {
    let text = read_text(&global.file)?;
    let variables = variables(&global.vars);
    match plan::resolve(&global.file, &text, &variables) {
        Ok((plan, warnings)) => Ok(Loaded { path: global.file.clone(), text, plan, warnings }),
        Err(problems) => without_urls(global, saved, text, variables, problems),
    }
}

fn without_urls(
    global: &Global,
    saved: &SavedArgs,
    text: Vec<u8>,
    mut variables: Variables,
    problems: Vec<Problem>,
) -> Result<Loaded, Failure> {
    let failure = |text: &[u8]| Failure::problems(&global.file, text, problems.clone());
    if saved.source_catalog.is_none() && saved.target_catalog.is_none() {
        return Err(failure(&text));
    }
    for name in references(&text) {
        variables.entry(name).or_insert_with(|| "unused".into());
    }
    let Ok((plan, warnings)) = plan::resolve(&global.file, &text, &variables) else {
        return Err(failure(&text));
    };
    let free = |span: &Span| {
        saved.source_catalog.is_some() && within(span, &plan.source.url_span)
            || saved.target_catalog.is_some() && within(span, &plan.target.url_span)
    };
    match problems.iter().all(|problem| problem.span.as_ref().is_some_and(free)) {
        true => Ok(Loaded { path: global.file.clone(), text, plan, warnings }),
        false => Err(failure(&text)),
    }
}

fn within(span: &Span, outer: &Span) -> bool {
    span.offset >= outer.offset && span.offset <= outer.offset + outer.length
}

/// Names that the text refers to as `${NAME}`.
fn references(text: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(text);
    let parts = text.split("${").skip(1);
    parts.filter_map(|part| part.split_once('}')).map(|(name, _)| name.trim().to_string()).collect()
}

/// The environment, and `--var` over it. Variables that are not Unicode cannot be meant.
pub fn variables(given: &[(String, String)]) -> Variables {
    let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let mut variables: Variables = std::env::vars_os().filter_map(unicode).collect();
    variables.extend(given.iter().cloned());
    variables
}

/// The bytes of a plan file; `-` is standard input.
pub fn read_text(path: &str) -> Result<Vec<u8>, Failure> {
    let bad = |text: String| Failure::new(exit::INVALID, text).code("E115");
    let shown = line(path);
    let mut text = Vec::new();
    if path == "-" {
        let mut input = std::io::stdin().lock().take(PLAN_BYTES_MAX + 1);
        input.read_to_end(&mut text).map_err(|error| bad(format!("cannot read standard input: {error}")))?;
    } else {
        let meta = std::fs::metadata(path).map_err(|error| no_file(path, &error))?;
        if meta.is_dir() {
            return Err(bad(format!("{shown} is a directory, not a plan file")));
        }
        if !meta.is_file() {
            return Err(bad(format!("{shown} is not a regular file")).help("pass - to read standard input"));
        }
        let file = std::fs::File::open(path).map_err(|error| bad(format!("cannot read {shown}: {error}")))?;
        let mut file = file.take(PLAN_BYTES_MAX + 1);
        file.read_to_end(&mut text).map_err(|error| bad(format!("cannot read {shown}: {error}")))?;
    }
    if text.len() as u64 > PLAN_BYTES_MAX {
        let text = format!("{shown} is larger than {} MiB", PLAN_BYTES_MAX >> 20);
        return Err(Failure::new(exit::INVALID, text).code("E110"));
    }
    Ok(text)
}

fn no_file(path: &str, error: &std::io::Error) -> Failure {
    let shown = line(path);
    if error.kind() != std::io::ErrorKind::NotFound {
        return Failure::new(exit::INVALID, format!("cannot read {shown}: {error}")).code("E115");
    }
    Failure::new(exit::INVALID, format!("there is no plan file {shown}"))
        .code("E115")
        .help("name another with --file, or let towpath write a first one:")
        .next(format!(
            "towpath init --from \"$SOURCE_URL\" --to \"$TARGET_URL\" -f {}",
            super::text::shell_word(path)
        ))
}

/// Warns about a plan file that others may change: it decides what is written where.
#[cfg(unix)]
pub fn warn_writable(path: &str, screen: &Screen) {
    use std::os::unix::fs::PermissionsExt as _;
    let world_writable = |meta: std::fs::Metadata| meta.permissions().mode() & 0o002 != 0;
    if path != "-" && std::fs::metadata(path).is_ok_and(world_writable) {
        screen.warn(&format!("anyone on this machine may change {}", line(path)));
    }
}

#[cfg(not(unix))]
pub fn warn_writable(_path: &str, _screen: &Screen) {}

/// Both ends for planning: read-only sessions, or saved catalogs.
pub async fn open(loaded: &Loaded, saved: &SavedArgs) -> Result<Ends, Failure> {
    let source = match &saved.source_catalog {
        Some(path) => SourceEnd::Saved(Box::new(saved_catalog::read(path)?)),
        None => SourceEnd::Live(open_source(loaded).await?),
    };
    let target = match &saved.target_catalog {
        Some(path) => TargetEnd::Saved(Box::new(saved_catalog::read(path)?)),
        None => TargetEnd::Live(open_target(loaded, true).await?),
    };
    Ok(Ends { source, target })
}

/// The engine and the parsed URL of the plan's source.
pub fn source_door(loaded: &Loaded) -> Result<(&'static dyn Engine, Url), Failure> {
    door(&loaded.plan.source.url).map_err(|error| at(loaded, error, loaded.plan.source.url_span))
}

/// The engine and the parsed URL of the plan's target.
pub fn target_door(loaded: &Loaded) -> Result<(&'static dyn Engine, Url), Failure> {
    door(&loaded.plan.target.url).map_err(|error| at(loaded, error, loaded.plan.target.url_span))
}

pub async fn open_source(loaded: &Loaded) -> Result<Box<dyn Source>, Failure> {
    let (engine, url) = source_door(loaded)?;
    Ok(engine.source(&url, &limits(&loaded.plan)).await?)
}

pub async fn open_target(loaded: &Loaded, read_only: bool) -> Result<Box<dyn Target>, Failure> {
    let (engine, url) = target_door(loaded)?;
    Ok(engine.target(&url, &limits(&loaded.plan), read_only).await?)
}

/// The engine of a URL, after all checks that need no connection.
pub fn door(url: &str) -> Result<(&'static dyn Engine, Url), UrlError> {
    let url = Url::parse(url)?;
    let engine = engine::engine(&url)?;
    engine.check_url(&url)?;
    Ok((engine, url))
}

/// The engine of a URL that was typed on the command line, where other users may see it.
pub fn typed_door(text: &str) -> Result<(&'static dyn Engine, Url), Failure> {
    let (engine, url) = door(text).map_err(|error| Failure { exit: exit::USAGE, ..error.into() })?;
    if url.password().is_some() {
        return Err(Failure::usage("a password in a command line can be seen by others")
            .code("E309")
            .help("put the URL into a plan file as ${SOURCE_URL} and name its end: source or target"));
    }
    Ok((engine, url))
}

fn at(loaded: &Loaded, error: UrlError, span: Span) -> Failure {
    let mut problem = Problem::error(error.code, error.message).at(span);
    problem.help = error.help;
    loaded.problems(vec![problem])
}

fn limits(plan: &Plan) -> Limits {
    Limits { readers: plan.limits.readers, writers: plan.limits.writers, ..Limits::default() }
}

/// Whether a path is there, for messages only.
pub fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found() {
        let found = references(b"a: \"${ONE}\" # ${TWO\nb: x${THREE}y${ONE}");
        assert!(found.contains("ONE") && found.contains("THREE"), "{found:?}");
    }

    #[test]
    fn u_18_a_password_on_the_command_line_is_refused_and_not_shown() {
        // Engines parse their own URLs; only sqlite is known to take no password at all.
        assert!(typed_door("sqlite:shop.db").is_ok());
        let failure = typed_door("mysql2://app:canary@db/shop").map(|_| ()).map_err(|f| f.exit);
        assert_eq!(failure, Err(exit::USAGE));
    }

    #[test]
    fn y_16_a_missing_file_and_a_directory_are_named() {
        for path in ["/nonexistent/towpath.yaml", "/"] {
            let failure = read_text(path).map(|_| ()).map_err(|failure| failure.exit);
            assert_eq!(failure, Err(exit::INVALID), "{path}");
        }
    }
}
