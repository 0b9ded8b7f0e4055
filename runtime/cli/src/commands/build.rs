//! Owns `build`: the images of one definition are made by a script that ships.

use std::path::Path;

use effect::policy::{Grants, Need};
use effect::{Code, Error, Mode, Result};
use serde_json::json;

use super::definitions::{self, Definition};
use super::edit;
use super::evaluate::{self, Job};
use crate::app::App;
use crate::arguments::{self, How};
use crate::exit::Exit;

const SCRIPT: &str = include_str!("build.luau");

/// What `build` is asked for.
pub(super) struct Wish<'a> {
    pub(super) service: &'a str,
    /// The definition, or the folder that it is looked for in.
    pub(super) definition: Option<&'a Path>,
    pub(super) grants: &'a arguments::Grants,
    pub(super) how: &'a How,
}

pub(super) async fn build(app: &App, wish: Wish<'_>) -> Result<Exit> {
    let definition = find(app, &wish).await?;
    let name = format!("build {}", wish.service);
    let job = evaluate::shipped_job(app, &name, SCRIPT, Vec::new(), grants(&definition, wish.grants))?;
    let params = json!({ "file": definition.given() });
    let job = Job { params, limits: evaluate::limits(wish.grants)?, ..job };
    if wish.how.plan {
        return evaluate::show_plan(app, Job { mode: Mode::Plan, ..job }, wish.how.json, false).await;
    }
    evaluate::start(app, job, Path::new(&name), wish.how.json).await
}

/// The one that is named, the one that the registry names, or the one in the current folder.
async fn find(app: &App, wish: &Wish<'_>) -> Result<Definition> {
    let recorded = match wish.definition {
        Some(_) => None,
        None => edit::recorded_file(app, wish.service).await?.filter(|path| edit::is_toml(path)),
    };
    let place = wish.definition.or(recorded.as_deref()).unwrap_or(Path::new("."));
    let found = definitions::of_service(wish.service, place)?.ok_or_else(|| {
        let message = format!("no definition in `{}` describes `{}`", place.display(), wish.service);
        Error::new(Code::ServiceUnknown, message).hint("name the file, or its folder, with `--definition`")
    })?;
    check_whose(wish.service, &found, recorded.as_deref())?;
    Ok(found)
}

/// A record names a file, and whoever may write there may have put another service's in its place: that one's images are
/// not what was asked for.
fn check_whose(service: &str, found: &Definition, recorded: Option<&Path>) -> Result<()> {
    let foreign = |message: String| {
        Error::new(Code::DefinitionForeign, message)
            .hint("look at the file; `--definition FILE` names the right one")
    };
    if let Some(recorded) = recorded.filter(|recorded| *recorded != found.path) {
        let message = format!("`{}` is not where `{service}` was described any more", recorded.display());
        return Err(foreign(message).because(format!("it leads to `{}`", found.path.display())));
    }
    match found.foreign_to(service) {
        Some(other) => {
            Err(foreign(format!("`{}` describes `{other}`, not `{service}`", found.path.display())))
        }
        None => Ok(()),
    }
}

/// Building is what was asked for; of the machine's files it takes what lies beside the definition, and what is granted
/// beyond that.
fn grants(definition: &Definition, more: &arguments::Grants) -> Grants {
    let sources = Need::read("files", definition.folder().to_string_lossy()).and_beneath();
    let mut allow = vec![Need::write("images", "").to_string(), sources.to_string()];
    allow.push(Need::read("files", definition.folder().to_string_lossy()).to_string());
    allow.extend(more.allow.iter().cloned());
    Grants { allow, deny: more.deny.clone(), ..Grants::default() }
}
