//! `man` and `completions`: made from the same description of the command line that parses it.

use std::path::Path;

use clap::CommandFactory as _;

use super::args::{Args, CompletionsArgs, ManArgs};
use super::failure::Failure;
use super::write::{Access, atomic};
use super::{Face, exit};

pub fn completions(args: &CompletionsArgs, face: &Face) -> Result<u8, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "towpath", &mut text);
    face.screen.out(&String::from_utf8_lossy(&text));
    Ok(exit::DONE)
}

pub fn man(args: &ManArgs, face: &Face) -> Result<u8, Failure> {
    let pages = pages()?;
    match &args.dir {
        Some(folder) => write_all(folder, &pages)?,
        None => pages.iter().for_each(|(_, page)| face.screen.out(&String::from_utf8_lossy(page))),
    }
    Ok(exit::DONE)
}

fn write_all(folder: &Path, pages: &[(String, Vec<u8>)]) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Failure::new(exit::FAILED, format!("cannot make {}: {error}", folder.display())))?;
    pages.iter().try_for_each(|(name, page)| atomic(&folder.join(name), page, Access::Usual))
}

/// `towpath.1`, then one page per command.
fn pages() -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut command = Args::command();
    command.build();
    let mut pages = vec![("towpath.1".to_string(), page(command.clone())?)];
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let name = format!("towpath-{}", sub.get_name());
        let titled = sub.clone().display_name(&name);
        pages.push((format!("{name}.1"), page(titled)?));
    }
    Ok(pages)
}

fn page(command: clap::Command) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut text)
        .map_err(|error| Failure::new(exit::INTERNAL, format!("cannot write a manual page: {error}")))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_page() {
        let pages = pages().map_err(|failure| failure.exit).expect("pages");
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["towpath.1", "towpath-plan.1", "towpath-apply.1", "towpath-verify.1"] {
            assert!(names.contains(&name), "{names:?}");
        }
        for (name, page) in &pages {
            assert!(String::from_utf8_lossy(page).contains(".TH "), "{name}");
        }
    }
}
