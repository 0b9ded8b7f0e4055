//! Owns `boot`: the script that brings the platform up after a reboot. It is found beside the configuration and is granted
//! what the operator's policy grants, so that a unit can start it.

use std::path::PathBuf;

use effect::{Code, Error, Result};
use serde_json::Value;

use super::evaluate;
use crate::app::App;
use crate::arguments::{self, boot::Boot};
use crate::exit::Exit;

pub(super) async fn boot(app: &App, boot: &Boot) -> Result<Exit> {
    let file = match &boot.file {
        Some(file) => file.clone(),
        None => usual_file(app)?,
    };
    let stage = boot.stage.iter().map(|stage| format!("stage={}", Value::from(stage.as_str())));
    let script =
        arguments::Script { set: stage.collect(), ..arguments::Script::of(file, boot.grants.clone()) };
    if boot.how.plan {
        let wish = evaluate::Wish { json: boot.how.json, detailed: false, out: None };
        return evaluate::plan(app, &script, wish).await;
    }
    evaluate::run(app, &script, boot.wait.patience(), boot.how.json).await
}

/// `scripts/boot.lua` beside the configuration.
fn usual_file(app: &App) -> Result<PathBuf> {
    let hint = "say which: `mcrun boot FILE`; `@std/boot` describes its stages";
    let message = match beside_configuration(app, "boot.lua") {
        Some(file) if file.is_file() => return Ok(file),
        Some(file) => format!("there is no boot script: `{}` does not exist", file.display()),
        None => "there is no boot script: it lies beside mcrun.toml, and there is none".to_owned(),
    };
    Err(Error::new(Code::Unreadable, message).hint(hint))
}

/// `scripts/NAME` beside the configuration, where there is one.
pub(super) fn beside_configuration(app: &App, name: &str) -> Option<PathBuf> {
    let folder = app.config.file.as_ref()?.parent()?;
    Some(folder.join("scripts").join(name))
}
