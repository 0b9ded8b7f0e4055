//! Owns what is generated from the declarations: type definitions, reference, error pages, manual, completions.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use effect::{Code, Error, Registry, Result};

use crate::arguments::{Arguments, Global};
use crate::exit::Exit;
use crate::{reference, render, wiring};

fn registry(global: &Global) -> Result<Registry> {
    wiring::declarations(global)
}

pub(super) fn types(global: &Global, folder: Option<&Path>) -> Result<Exit> {
    let definitions = script::types::definitions(registry(global)?.declarations());
    let Some(folder) = folder else {
        render::out(definitions.trim_end());
        return Ok(Exit::Done);
    };
    write(folder, "mcrun.d.luau", &definitions)?;
    write(folder, ".luaurc", script::types::luaurc())?;
    for (name, source) in crate::stdlib::MODULES {
        write(folder, &format!(".mcrun/std/{name}.luau"), source)?;
    }
    render::note(format_args!(
        "wrote mcrun.d.luau, .luaurc and .mcrun/std to {}; luau-lsp: --definitions=mcrun.d.luau",
        folder.display()
    ));
    Ok(Exit::Done)
}

pub(super) fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
    written.map_err(|error| {
        Error::new(Code::FileFailed, format!("`{}` cannot be written", path.display())).because(error)
    })
}

fn all_pages(global: &Global) -> Result<BTreeMap<String, String>> {
    let registry = registry(global)?;
    let under = |folder: &str, pages: BTreeMap<String, String>| {
        pages.into_iter().map(|(name, text)| (format!("{folder}/{name}"), text)).collect::<Vec<_>>()
    };
    let mut pages: BTreeMap<String, String> =
        under("reference", reference::pages(registry.declarations())).into_iter().collect();
    pages.extend(under("errors", reference::error_pages()));
    pages.insert("reference/cli.md".into(), reference::command_line(&Arguments::command()));
    Ok(pages)
}

pub(super) fn reference(global: &Global, folder: &Path, check: bool) -> Result<Exit> {
    let pages = all_pages(global)?;
    if !check {
        for (name, text) in &pages {
            write(folder, name, text)?;
        }
        render::note(format_args!("wrote {} pages to {}", pages.len(), folder.display()));
        return Ok(Exit::Done);
    }
    let mut stale: Vec<String> = pages
        .iter()
        .filter(|(name, text)| fs::read_to_string(folder.join(name)).ok().as_ref() != Some(text))
        .map(|(name, _)| name.clone())
        .collect();
    for kind in ["reference", "errors"] {
        let present = fs::read_dir(folder.join(kind)).into_iter().flatten().flatten();
        let names = present.map(|entry| format!("{kind}/{}", entry.file_name().to_string_lossy()));
        stale.extend(names.filter(|name| !pages.contains_key(name)));
    }
    if stale.is_empty() {
        return Ok(Exit::Done);
    }
    let mut error = Error::new(Code::Usage, format!("{} pages are out of step", stale.len()))
        .hint(format!("`mcrun reference {}` writes them", folder.display()));
    error.details = stale;
    Ok(match render::failure(&error) {
        Exit::Usage => Exit::Failed,
        exit => exit,
    })
}

pub(super) fn explain(text: &str) -> Result<Exit> {
    let wanted = text.to_ascii_uppercase();
    let wanted = if wanted.starts_with("MC-") { wanted } else { format!("MC-{wanted}") };
    let code: Code = wanted.parse().map_err(|_| {
        Error::new(Code::Usage, format!("`{text}` is not an error code"))
            .hint("codes read MC-C003; docs/errors lists them")
    })?;
    render::out(format_args!("{}: {}\n", render::styled(render::BOLD, code), code.title()));
    render::out(format_args!("{}\n\n{}", code.meaning(), code.remedy()));
    Ok(Exit::Done)
}

pub(super) fn completions(shell: clap_complete::Shell) -> Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "mcrun", &mut text);
    render::out(String::from_utf8_lossy(&text).trim_end());
    Ok(Exit::Done)
}

pub(super) fn man(command: Option<&str>, folder: Option<&Path>) -> Result<Exit> {
    if let Some(folder) = folder {
        let written =
            fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Arguments::command(), folder));
        written.map_err(|error| {
            Error::new(Code::FileFailed, format!("the pages cannot be written to `{}`", folder.display()))
                .because(error)
        })?;
        let shown = folder.display();
        render::note(format_args!("wrote the manual pages to {shown}; `man {shown}/mcrun.1` shows one"));
        return Ok(Exit::Done);
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(page_of(command)?)
        .render(&mut text)
        .map_err(|error| Error::new(Code::Internal, "the manual page cannot be made").because(error))?;
    render::out(String::from_utf8_lossy(&text).trim_end());
    Ok(Exit::Done)
}

/// The command as its manual page describes it.
fn page_of(wanted: Option<&str>) -> Result<clap::Command> {
    let mut program = Arguments::command().disable_help_subcommand(true);
    program.build();
    let Some(wanted) = wanted else { return Ok(program) };
    if let Some(found) = program.get_subcommands().find(|command| command.get_name() == wanted) {
        return Ok(found.clone());
    }
    let names = program.get_subcommands().map(clap::Command::get_name);
    let error = Error::new(Code::Usage, format!("there is no command `{wanted}`"));
    Err(match effect::policy::nearest(wanted, names) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`mcrun help` lists the commands"),
    })
}
