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
    let folder = app.config.file.as_ref().and_then(|file| file.parent());
    let file = folder.map(|folder| folder.join("scripts/boot.lua"));
    let hint = "say which: `mcrun boot FILE`; `@std/boot` describes its stages";
    match file {
        Some(file) if file.is_file() => Ok(file),
        Some(file) => {
            let message = format!("there is no boot script: `{}` does not exist", file.display());
            Err(Error::new(Code::Unreadable, message).hint(hint))
        }
        None => {
            let message = "there is no boot script: it lies beside mcrun.toml, and there is none";
            Err(Error::new(Code::Unreadable, message).hint(hint))
        }
    }
}
