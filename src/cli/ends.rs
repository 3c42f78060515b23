//! From the command line to a plan and its two ends: reads the plan file, collects variables,
//! opens databases through their engine or reads saved catalogs. Never shows a URL's secret.

use super::args::{Global, SavedArgs};
use super::escape::line;
use super::exit;
use super::failure::Failure;
use super::saved_catalog;
use super::validate::{Checked, check_file, url_problem};
use crate::engine::{self, Cause, Engine, Limits, Source, Target, Url, UrlError};
use crate::plan::{Connect, Plan, Problem, Span, Variables};
use crate::runtime::Ends;
use crate::runtime::planning::{BackEnds, SourceEnd, TargetEnd};
use crate::runtime::stream;

/// A plan file, read and resolved.
pub struct Loaded {
    pub path: String,
    pub text: Vec<u8>,
    pub plan: Plan,
    pub warnings: Vec<Problem>,
}

impl Loaded {
    /// The plan the other way round.
    pub fn turned(&self) -> Result<Self, Failure> {
        if self.plan.reverse.is_none() {
            return Err(Failure::usage(format!("{} has no way back", line(&self.plan.name)))
                .help("reverse: true in the plan, before the cutover"));
        }
        Ok(Self {
            path: self.path.clone(),
            text: self.text.clone(),
            plan: self.plan.turned_around(),
            warnings: Vec::new(),
        })
    }

    /// A finding about this plan file.
    pub fn problems(&self, problems: Vec<Problem>) -> Failure {
        Failure::problems(&self.path, &self.text, problems)
    }
}

/// Reads the plan file of `--file` and checks all that needs no database. An end that comes from
/// a saved catalog needs no URL: its variables may be unset.
pub fn read_plan(global: &Global, saved: &SavedArgs) -> Result<Loaded, Failure> {
    let connect = Connect { source: saved.source_catalog.is_none(), target: saved.target_catalog.is_none() };
    read_for(global, connect)
}

/// As [`read_plan`], for a command that connects to these ends.
pub fn read_for(global: &Global, connect: Connect) -> Result<Loaded, Failure> {
    let checked = check_file(&global.file, &variables(&global.vars)?, connect);
    let Checked { path, bytes, problems, plan } = checked;
    match plan {
        Some(plan) => Ok(Loaded { path, text: bytes, plan, warnings: problems }),
        None => Err(Failure::problems(&path, &bytes, problems)),
    }
}

/// The environment, and `--var` over it. Variables that are not Unicode cannot be meant.
pub fn variables(given: &[String]) -> Result<Variables, Failure> {
    let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let mut variables: Variables = std::env::vars_os().filter_map(unicode).collect();
    for pair in given {
        match pair.split_once('=') {
            Some((name, value)) if !name.is_empty() => variables.insert(name.into(), value.into()),
            // What was typed may be a secret: it is not repeated.
            _ => return Err(Failure::usage("--var takes NAME=VALUE").help("such as --var SCHEMA=app")),
        };
    }
    Ok(variables)
}

/// Both ends for planning: read-only sessions, or saved catalogs.
pub async fn open(loaded: &Loaded, saved: &SavedArgs) -> Result<Ends, Failure> {
    let (source, target) = tokio::try_join!(source_end(loaded, saved), target_end(loaded, saved))?;
    let live = saved.source_catalog.is_none() && saved.target_catalog.is_none();
    let back = if live && loaded.plan.reverse.is_some() { back_ends(loaded).await? } else { None };
    Ok(Ends { source, target, back })
}

/// The other way round; none where the target is not there yet.
async fn back_ends(loaded: &Loaded) -> Result<Option<BackEnds>, Failure> {
    let Some(source) = open_followed(loaded).await? else { return Ok(None) };
    let target = open_target(&loaded.turned()?, true).await?;
    Ok(Some(BackEnds { source, target }))
}

/// The target, to be followed; none where it is not there yet.
pub async fn open_followed(loaded: &Loaded) -> Result<Option<Box<dyn Source>>, Failure> {
    let (engine, url) = target_door(loaded)?;
    match engine.source(&url, &limits(&loaded.plan)).await {
        Err(error) if error.cause == Cause::NotFound => Ok(None),
        source => Ok(Some(source?)),
    }
}

/// As [`read_plan`], for a command that can be meant for the way back.
pub fn read_either(global: &Global, back: bool) -> Result<Loaded, Failure> {
    let loaded = read_plan(global, &SavedArgs::default())?;
    if back { loaded.turned() } else { Ok(loaded) }
}

/// The plan's target, to be read from.
pub async fn target_as_source(loaded: &Loaded) -> Result<Box<dyn Source>, Failure> {
    let (engine, url) = target_door(loaded)?;
    Ok(engine.source(&url, &limits(&loaded.plan)).await?)
}

async fn source_end(loaded: &Loaded, saved: &SavedArgs) -> Result<SourceEnd, Failure> {
    Ok(match &saved.source_catalog {
        Some(path) => SourceEnd::Saved(Box::new(saved_catalog::read(path)?)),
        None => SourceEnd::Live(open_source(loaded).await?),
    })
}

async fn target_end(loaded: &Loaded, saved: &SavedArgs) -> Result<TargetEnd, Failure> {
    Ok(match &saved.target_catalog {
        Some(path) => TargetEnd::Saved(Box::new(saved_catalog::read(path)?)),
        None => TargetEnd::Live(open_target(loaded, true).await?),
    })
}

/// The engine and the parsed URL of the plan's source.
pub fn source_door(loaded: &Loaded) -> Result<(&'static dyn Engine, Url), Failure> {
    door(&loaded.plan.source.url).map_err(|error| at(loaded, &error, loaded.plan.source.url_span))
}

/// The engine and the parsed URL of the plan's target.
pub fn target_door(loaded: &Loaded) -> Result<(&'static dyn Engine, Url), Failure> {
    door(&loaded.plan.target.url).map_err(|error| at(loaded, &error, loaded.plan.target.url_span))
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

/// The engine of a URL from the command line: `${NAME}` stands for a variable, whose value other
/// users cannot see; a URL in full may not hold a password.
pub fn typed_door(text: &str, given: &[String]) -> Result<(&'static dyn Engine, Url), Failure> {
    let usage = |error: UrlError| Failure { exit: exit::USAGE, ..error.into() };
    if let Some(name) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
        let variables = variables(given)?;
        let unset = || Failure::usage(format!("the variable {} is not set", line(name))).code("E113");
        return door(variables.get(name).ok_or_else(unset)?).map_err(usage);
    }
    let (engine, url) = door(text).map_err(usage)?;
    if url.password().is_some() {
        return Err(Failure::usage("a password in a command line can be seen by others")
            .code("E309")
            .help("keep the URL in a variable and pass its name: '${SOURCE_URL}', in single quotes"));
    }
    Ok((engine, url))
}

fn at(loaded: &Loaded, error: &UrlError, span: Span) -> Failure {
    loaded.problems(vec![url_problem(error, span)])
}

fn limits(plan: &Plan) -> Limits {
    let (readers, writers) = (plan.limits.readers, plan.limits.writers);
    Limits { readers, writers, scratch: stream::scratch(plan), ..Limits::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_sec_2_a_malformed_variable_is_not_repeated() {
        let failure = variables(&["canary".into()]).expect_err("it is malformed");
        assert_eq!(failure.exit, exit::USAGE);
        assert!(!format!("{failure:?}").contains("canary"));
        let given = variables(&["TOWPATH_A=b=c".into()]).map_err(|f| f.exit).expect("well formed");
        assert_eq!(given["TOWPATH_A"], "b=c");
    }

    #[test]
    fn u_18_a_password_on_the_command_line_is_refused_and_not_shown() {
        for url in ["postgres://app:canary@db/shop", "mysql2://app:canary@db/shop"] {
            let failure = typed_door(url, &[]).map(|_| ()).expect_err("refused");
            assert_eq!(failure.exit, exit::USAGE);
            assert!(!format!("{failure:?}").contains("canary"), "{failure:?}");
        }
    }

    #[test]
    fn u_18_a_url_in_a_variable_is_taken_by_its_name() {
        let given = ["TOWPATH_URL=sqlite:shop.db".to_string()];
        let (engine, url) = typed_door("${TOWPATH_URL}", &given).map_err(|f| f.exit).expect("it is set");
        assert_eq!((engine.name(), url.path.as_str()), ("sqlite", "shop.db"));
        let unset = typed_door("${TOWPATH_NO_URL}", &given).map(|_| ()).expect_err("it is not set");
        assert_eq!(unset.exit, exit::USAGE);
    }
}
