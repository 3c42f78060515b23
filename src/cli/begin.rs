//! `init` and `validate`: the first two commands of a new plan. `init` looks at what it is given
//! and writes a plan file; `validate` opens no database.

use std::path::Path;

use super::args::{InitArgs, ProblemFormat, ValidateArgs};
use super::ends::{typed_door, variables};
use super::escape::line;
use super::failure::Failure;
use super::init::{InitUrls, plan_name, render_init};
use super::validate::{render_github, render_json, render_text, validate};
use super::write::{Access, atomic};
use super::{Face, exit};
use crate::catalog::Catalog;
use crate::engine::{Limits, Url};

pub async fn init(args: &InitArgs, face: &Face) -> Result<u8, Failure> {
    let file = &face.global.file;
    may_write(args, face)?;
    let source = match &args.from {
        Some(url) => Some(inspect_source(url, face).await?),
        None => None,
    };
    let target = match &args.to {
        Some(url) => Some(inspect_target(url, face).await?),
        None => None,
    };
    let urls = InitUrls::of(source.as_ref().map(|(_, url)| url), target.as_ref().map(|(_, url)| url));
    let catalogs = (source.as_ref().map(|(catalog, _)| catalog), target.as_ref().map(|(catalog, _)| catalog));
    let text = render_init(&name(catalogs.0), catalogs.0, catalogs.1, &urls);
    if file == "-" {
        face.screen.out(&text);
        return Ok(exit::DONE);
    }
    atomic(Path::new(file), text.as_bytes(), Access::Usual)?;
    face.screen.say(&format!("wrote {}", line(file)));
    for (variable, url) in [("SOURCE_URL", &urls.source), ("TARGET_URL", &urls.target)] {
        if url.contains(&format!("${{{variable}}}")) {
            face.screen.say(&format!("  it reads {variable} from the environment"));
        }
    }
    face.screen.say(&format!("next: towpath plan{}", file_flag(file)));
    Ok(exit::DONE)
}

fn file_flag(file: &str) -> String {
    match file {
        "towpath.yaml" => String::new(),
        other => format!(" -f {}", super::text::shell_word(other)),
    }
}

/// A plan file that exists is somebody's work.
fn may_write(args: &InitArgs, face: &Face) -> Result<(), Failure> {
    let file = &face.global.file;
    let there = file != "-" && std::fs::symlink_metadata(file).is_ok();
    if !there || args.force {
        return Ok(());
    }
    let question = format!("{} exists. Overwrite it?", line(file));
    if !args.non_interactive && face.screen.can_ask() && face.screen.confirm(&question) {
        return Ok(());
    }
    Err(Failure::usage(format!("{} exists", line(file)))
        .help("pass --force to overwrite it, or -f to name another"))
}

async fn inspect_source(url: &str, face: &Face) -> Result<(Catalog, Url), Failure> {
    let (engine, url) = typed_door(url, &face.global.vars)?;
    let catalog = engine.source(&url, &Limits::default()).await?.inspect().await?;
    Ok((catalog, url))
}

async fn inspect_target(url: &str, face: &Face) -> Result<(Catalog, Url), Failure> {
    let (engine, url) = typed_door(url, &face.global.vars)?;
    let catalog = engine.target(&url, &Limits::default(), true).await?.inspect().await?;
    Ok((catalog, url))
}

/// The plan's name, after the source's database.
fn name(source: Option<&Catalog>) -> String {
    let database = source.map(|catalog| catalog.database.as_str()).unwrap_or_default();
    let stem = Path::new(database).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    plan_name(&stem.unwrap_or_default())
}

pub fn check(args: &ValidateArgs, face: &Face) -> Result<u8, Failure> {
    let files = match args.files.is_empty() {
        true => vec![face.global.file.clone()],
        false => args.files.clone(),
    };
    let checked = validate(&files, &variables(&face.global.vars)?);
    let text = match args.format {
        ProblemFormat::Text => render_text(&checked, face.screen.look().color),
        ProblemFormat::Json => render_json(&checked),
        ProblemFormat::Github => render_github(&checked),
    };
    face.screen.out(&text);
    let failed = checked.iter().any(|file| file.failed(args.strict));
    Ok(if failed { exit::INVALID } else { exit::DONE })
}
