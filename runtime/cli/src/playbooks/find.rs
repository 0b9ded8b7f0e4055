//! Owns the way from a playbook's name to its file where no daemon has it loaded: the files of the configured folders are
//! read until one says that it is the one.

use std::path::{Path, PathBuf};

use daemon::playbooks::{self, Mistake, Parts, names_playbook};
use effect::Result;
use script::{Limits, Modules, Template};

use super::read;
use crate::app::App;
use crate::execute::{PROGRAM, start_worker};
use crate::{stdlib, wiring};

/// No folder is looked through any further.
const MOST_FILES: usize = 10_000;

/// A playbook's file.
pub(crate) struct Found {
    pub(crate) file: PathBuf,
    pub(crate) parts: Parts,
}

/// The file that holds the playbook `name`.
///
/// # Errors
/// Where a folder cannot be read, or the file that bears the name cannot be loaded.
pub(crate) async fn find(app: &App, name: &str) -> Result<Option<Found>> {
    let mut files = Vec::new();
    for folder in &app.config.playbooks.folders {
        files.extend(playbooks::files(folder, MOST_FILES)?.into_keys());
    }
    // Most files are called like their playbook.
    let bears_it = |file: &Path| file.file_stem().is_some_and(|stem| stem == name);
    files.sort_by_key(|file| !bears_it(file));
    let effects: Vec<String> = wiring::declarations(&app.global)?.names().map(|(name, _)| name.to_owned()).collect();
    let mut template = None;
    for file in files {
        match one(&file, &effects, &mut template).await {
            Ok(Some(parts)) if parts.definition.name == name => return Ok(Some(Found { file, parts })),
            Err(mistake) if bears_it(&file) => {
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                return Err(super::with_place(mistake, &name));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(None)
}

async fn one(
    file: &Path,
    effects: &[String],
    template: &mut Option<Template>,
) -> Result<Option<Parts>, Mistake> {
    let (root, name) = crate::commands::split(file)?;
    let limit = Limits::default().source;
    let modules = Modules::open(&root, stdlib::source, limit)?;
    let source = modules.script(&name)?;
    if !names_playbook(&source) {
        return Ok(None);
    }
    let worker = match template {
        Some(template) => template.worker().await?,
        // The first one is found at once, most of the time.
        None => start_worker()?,
    };
    let parts = read(worker, effects.to_vec(), &modules, (&name, &source), limit).await;
    if template.is_none() {
        *template = Template::start(PROGRAM.as_ref()).await.ok();
    }
    parts.map(Some)
}
