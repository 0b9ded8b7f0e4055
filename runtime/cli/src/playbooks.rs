//! Owns how a playbook's file is read: evaluated in a worker, its definition understood, and every module that it or a
//! module of it requires taken along. Which files are read, and when, is left to the daemon.

mod find;
mod loader;

use std::collections::BTreeMap;
use std::sync::Arc;

use daemon::playbooks::{self, Mistake, Parts, calls_playbook};
use effect::{Code, Error};
use script::modules::required;
use script::{Modules, Worker};

pub(crate) use self::find::{Found, find};
pub(crate) use self::loader::Loader;

/// No playbook takes more modules, or more text in them.
const MOST_MODULES: usize = 256;
const MOST_TEXT: usize = 8 << 20;

/// A mistake as one error that names its place.
pub(crate) fn with_place(mistake: Mistake, name: &str) -> Error {
    match mistake.line {
        Some(line) => mistake.error.detail(format!("at {name}:{line}")),
        None => mistake.error,
    }
}

/// Reads the file `name` with the text `source`. `effects` are the names of all effects; none is performed.
pub(crate) async fn read(
    worker: Worker,
    effects: Vec<String>,
    modules: &Modules,
    (name, source): (&str, &str),
    limit: u64,
) -> Result<Parts, Mistake> {
    let read = script::read::read(worker, (name, source), effects, modules, limit).await;
    let reading = read.map_err(|failure| {
        let place = failure.place;
        let line = (place.file == name && place.line > 0).then_some(place.line);
        let elsewhere = line.is_none() && place.line > 0;
        let error = failure.error;
        let error = if elsewhere { error.detail(format!("at {}:{}", place.file, place.line)) } else { error };
        let is_other = error.code == Code::NotPlaybook && !calls_playbook(source);
        Mistake { error, line, is_other }
    })?;
    let unreadable = |error: serde_json::Error| {
        Error::new(Code::WorkerProtocol, "what a worker says of a file cannot be read").because(error)
    };
    let said = serde_json::from_str(reading.description.definition.get()).map_err(unreadable)?;
    let definition = playbooks::read(&said).map_err(|misread| {
        let (error, line) = misread.error(source);
        Mistake { error, line: line.or(Some(reading.description.line)), is_other: false }
    })?;
    let modules = all(name, source, reading.modules, modules)?;
    Ok(Parts { definition, modules })
}

/// The modules that were required, and all that stand in a `require`: those in functions are required only when the
/// playbook runs, and are to be what they are now.
fn all(
    name: &str,
    source: &str,
    read: BTreeMap<String, String>,
    modules: &Modules,
) -> Result<BTreeMap<String, Arc<str>>, Mistake> {
    let mut found: BTreeMap<String, Arc<str>> =
        read.into_iter().map(|(name, text)| (name, Arc::from(text))).collect();
    let mut waiting: Vec<(String, Arc<str>)> =
        found.iter().map(|(name, text)| (name.clone(), text.clone())).collect();
    waiting.push((name.to_owned(), Arc::from(source)));
    let mut text = found.values().map(|text| text.len()).sum::<usize>();
    while let Some((from, source)) = waiting.pop() {
        for path in required(&source) {
            // What is not found fails where it is required, or is no `require` at all.
            let Ok(module) = modules.resolve(&from, path) else { continue };
            if module.name == name || found.contains_key(&module.name) {
                continue;
            }
            text += module.source.len();
            let source: Arc<str> = module.source.into();
            waiting.push((module.name.clone(), source.clone()));
            found.insert(module.name, source);
        }
        if found.len() > MOST_MODULES || text > MOST_TEXT {
            let message =
                format!("`{name}` takes more than {MOST_MODULES} modules, or {MOST_TEXT} bytes of them");
            return Err(Error::new(Code::PlaybookSize, message).into());
        }
    }
    Ok(found)
}
