//! Owns `edit`: the definition of a service in the operator's editor, checked afterwards. Leaves how it is rolled out to
//! `sync` and to the script itself.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use effect::policy::{Grants, allow_arguments};
use effect::session::Patience;
use effect::{Code, Error, Mode, Result};
use journal::Record;
use serde_json::{Map, Value, json};

use super::adopt::is_floating;
use super::definitions::Definition;
use super::evaluate::{self, Job};
use super::services::{self, confirm};
use super::{check, lua, sync};
use crate::app::App;
use crate::arguments::{self, How, Script};
use crate::execute;
use crate::exit::Exit;
use crate::render::{self, Silent};

/// What `edit` is asked for.
pub(super) struct Wish<'a> {
    pub(super) service: &'a str,
    /// Roll it out afterwards.
    pub(super) apply: bool,
    pub(super) domain: Option<&'a str>,
    /// What is granted beyond what the run had that recorded the service.
    pub(super) grants: &'a arguments::Grants,
    pub(super) patience: Patience,
}

pub(super) async fn edit(app: &App, wish: Wish<'_>) -> Result<Exit> {
    let editor = editor()?;
    let record = record_of(app, wish.service).await?;
    let known = recorded_file(app, wish.service).await?;
    let file = match &known {
        Some(file) => file.clone(),
        None => written(&record)?,
    };
    let before = std::fs::read(&file).unwrap_or_default();
    let grants = granted(app, &record, &wish).await;
    while let Err(error) = edited(app, &editor, &file, (&wish, &grants)).await {
        render::failure(&error);
        if !asks_again(app) {
            render::note(format_args!("{} stays as it is; nothing was rolled out", file.display()));
            return Ok(Exit::Failed);
        }
    }
    if std::fs::read(&file).unwrap_or_default() == before {
        render::note(format_args!("{} was not changed", file.display()));
        if known.is_none() {
            discard(&file);
        }
        return Ok(Exit::Done);
    }
    if wish.apply { apply(app, &file, grants, &wish).await } else { advise(&file, &grants, &wish) }
}

async fn record_of(app: &App, service: &str) -> Result<Record> {
    app.journal.record("service", &app.node, service).await?.ok_or_else(|| {
        Error::new(Code::ServiceUnknown, format!("there is no service `{service}`"))
            .hint("`mcrun status` lists the services")
    })
}

/// The file that describes a service, as far as it is still there: what its releases note, newest first, else the script
/// of the run that recorded it.
pub(super) async fn recorded_file(app: &App, service: &str) -> Result<Option<PathBuf>> {
    let prefix = format!("{service}/");
    let releases = app.journal.records("release", Some(&app.node)).await?;
    // Their names sort as their numbers do.
    let of_service = releases.iter().rev().filter(|release| release.name.starts_with(&prefix));
    let mut details = of_service
        .map(|release| serde_json::from_str::<Value>(&release.value).unwrap_or_default()["details"].take());
    // Only the newest that is no rollback says how the service is described now.
    let newest = details.find(|details| details["rolled_back_to"].is_null()).unwrap_or_default();
    if let Some(file) = newest["file"].as_str().map(PathBuf::from)
        && file.is_absolute()
        && file.is_file()
    {
        return Ok(Some(file));
    }
    let record = app.journal.record("service", &app.node, service).await?;
    let Some(run) = record.and_then(|record| record.run) else { return Ok(None) };
    let Ok(run) = app.journal.run(run.as_str()).await else { return Ok(None) };
    let file = Path::new(&run.root).join(&run.name);
    let is_script = file.extension().is_some_and(|kind| kind == "lua" || kind == "luau");
    Ok(Some(file).filter(|file| is_script && file.is_file()))
}

pub(super) fn is_toml(file: &Path) -> bool {
    file.extension().is_some_and(|kind| kind == "toml")
}

/// The recorded definition as a script in a folder of its own.
fn written(record: &Record) -> Result<PathBuf> {
    let value: Value = serde_json::from_str(&record.value).unwrap_or_default();
    let Some(definition) = value["spec"]["definition"].as_object() else {
        let message =
            format!("`{}` was not made by `deploy.rollout`: there is no definition of it", record.name);
        return Err(Error::new(Code::ReleaseUnknown, message).hint("edit the script that recorded it"));
    };
    let text = script(&record.name, definition, &value["version"]);
    let failed = |error: std::io::Error| {
        Error::new(Code::FileFailed, "the definition cannot be written to a temporary folder").because(error)
    };
    let folder = tempfile::Builder::new().prefix("mcrun-edit-").tempdir().map_err(failed)?.keep();
    let file = folder.join(format!("{}.lua", record.name));
    std::fs::write(&file, text).map_err(failed)?;
    Ok(file)
}

fn discard(file: &Path) {
    let _ = std::fs::remove_file(file);
    // The editor may have left something beside it.
    if let Some(folder) = file.parent() {
        let _ = std::fs::remove_dir(folder);
    }
}

fn script(name: &str, definition: &Map<String, Value>, version: &Value) -> String {
    let mut fields = definition.clone();
    let is_empty = |value: &Value| match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::Null => true,
        _ => false,
    };
    let is_usual = |name: &str, value: &Value| name == "replicas" && *value == json!(1);
    fields.retain(|name, value| !is_empty(value) && !is_usual(name, value));
    // Where no tag says it, the version is a field of its own.
    if fields.get("image").and_then(Value::as_str).is_none_or(is_floating) && version.is_string() {
        fields.insert("version".into(), version.clone());
    }
    let mut text =
        format!("--!strict\n-- {name}: as the registry has it.\nlocal deploy = require(\"@std/deploy\")\n\n");
    text += "deploy.rollout(deploy.service {\n";
    let (first, rest): (Vec<_>, Vec<_>) = fields.iter().partition(|(field, _)| *field == "name");
    for (field, value) in first.into_iter().chain(rest) {
        text += &format!("    {field} = {},\n", lua::value(value, 1));
    }
    text + "})\n"
}

fn editor() -> Result<String> {
    let named = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    named("VISUAL").or_else(|| named("EDITOR")).ok_or_else(|| {
        Error::new(Code::Usage, "no editor is named")
            .hint("set VISUAL or EDITOR, such as `EDITOR=vi mcrun edit …`")
    })
}

/// Opens the editor, and checks what it leaves.
async fn edited(app: &App, editor: &str, file: &Path, (wish, grants): (&Wish<'_>, &Grants)) -> Result<()> {
    open(editor, file)?;
    if is_toml(file) {
        return check_toml(app, file, wish).await;
    }
    check_types(app, file).await?;
    check_meaning(app, file, grants).await
}

/// The editor's name may come with options, as every program that starts one takes it.
#[expect(clippy::disallowed_methods, reason = "the operator's editor has this very terminal")]
fn open(editor: &str, file: &Path) -> Result<()> {
    let line = format!("{editor} \"$@\"");
    let status = std::process::Command::new("/bin/sh").args(["-c", &line, "editor"]).arg(file).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::new(Code::ExitStatus, format!("the editor `{editor}` ended with {status}"))
            .hint(
                "VISUAL and EDITOR name the editor; it has to stay in the foreground, such as `code --wait`",
            )),
        Err(error) => {
            Err(Error::new(Code::ExecFailed, format!("the editor `{editor}` cannot be started"))
                .because(error))
        }
    }
}

/// Reads it as a roll-out would; nothing is looked at beyond the text.
async fn check_toml(app: &App, file: &Path, wish: &Wish<'_>) -> Result<()> {
    let definition = Definition::read(file)?;
    let params = json!({ "text": definition.text, "file": file, "domain": wish.domain });
    let body = "require(\"@std/deploy\").from_toml(params)\n";
    let job = evaluate::shipped_job(app, "check", body, Vec::new(), Grants::default())?;
    let job = Job { mode: Mode::Plan, params: super::line::without_nulls(params), ..job };
    let watch = Arc::new(Silent { logs: false, sources: Mutex::default() });
    let (_, finished) = execute::plan(app, job, watch).await?;
    finished.trouble.map_or(Ok(()), |trouble| Err(trouble.error))
}

async fn check_types(app: &App, file: &Path) -> Result<()> {
    match check::check(&app.global, &[file.to_owned()], false).await {
        Ok(Exit::Done) => Ok(()),
        Ok(_) => {
            Err(Error::new(Code::TypeErrors, format!("`{}` does not pass the type check", file.display()))
                .hint("correct what is listed above"))
        }
        Err(error) if error.code == Code::CheckerMissing => {
            render::note(format_args!("types are not checked: {}", error.message));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Plans it, for what no type tells. What the world, or the policy, has against it is no mistake of the text.
async fn check_meaning(app: &App, file: &Path, grants: &Grants) -> Result<()> {
    let Grants { allow, deny, .. } = grants.clone();
    let script = Script::of(file.to_owned(), arguments::Grants { allow, deny, limit: Vec::new() });
    let job = evaluate::job(app, &script, Mode::Plan)?;
    let watch = Arc::new(Silent { logs: false, sources: Mutex::default() });
    let (_, finished) = execute::plan(app, job, watch).await?;
    let Some(trouble) = finished.trouble else { return Ok(()) };
    let is_mistake =
        ["MC-A", "MC-D", "MC-S"].iter().any(|kind| trouble.error.code.as_str().starts_with(kind));
    match trouble.place {
        _ if !is_mistake => Ok(()),
        None => Err(trouble.error),
        Some(place) => {
            let message = format!("{}:{}: {}", place.file, place.line, trouble.error.message);
            Err(Error { message, ..trouble.error })
        }
    }
}

fn asks_again(app: &App) -> bool {
    if app.global.no_input || app.global.yes || !std::io::stdin().is_terminal() {
        return false;
    }
    render::note("Edit it again? [Y/n]");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok_and(|length| length > 0) && matches!(answer.trim(), "" | "y" | "Y" | "yes")
}

/// What the run had that recorded the service, and what the operator adds.
async fn granted(app: &App, record: &Record, wish: &Wish<'_>) -> Grants {
    let mut grants = services::grants(app, wish.service, record.run).await;
    grants.allow.extend(wish.grants.allow.iter().cloned());
    grants.deny.extend(wish.grants.deny.iter().cloned());
    grants.allow.sort();
    grants.allow.dedup();
    grants
}

async fn apply(app: &App, file: &Path, grants: Grants, wish: &Wish<'_>) -> Result<Exit> {
    let limit = wish.grants.limit.clone();
    let grants = arguments::Grants { allow: grants.allow, deny: grants.deny, limit };
    let patience = wish.patience;
    if is_toml(file) {
        let how = How { plan: false, json: false };
        let wish = sync::Wish { place: file, domain: wish.domain, grants: &grants, how: &how, patience };
        return sync::sync(app, wish).await;
    }
    let script = Script::of(file.to_owned(), grants);
    let look = evaluate::Wish { json: false, detailed: true, out: None };
    match evaluate::plan(app, &script, look).await? {
        Exit::PlanHasChanges => confirm(app, "Do this?")?,
        other => return Ok(other),
    }
    render::note("");
    evaluate::run(app, &script, patience, false).await
}

fn advise(file: &Path, grants: &Grants, wish: &Wish<'_>) -> Result<Exit> {
    let allow = allow_arguments(&grants.allow);
    let shown = file.display();
    if is_toml(file) {
        let domain = wish.domain.map(|domain| format!(" --domain {domain}")).unwrap_or_default();
        render::note(format_args!("`mcrun sync {shown}{domain} {allow}` rolls it out"));
    } else {
        render::note(format_args!(
            "`mcrun plan {shown} {allow}` shows what would be done; without `plan` it is done"
        ));
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_definition_is_written_without_what_it_says_by_itself() {
        let definition = json!({
            "name": "web", "exec": ["/bin/sleep", "9"], "routes": [], "env": {}, "replicas": 1, "restart": "no",
            "secrets": { "KEY": { "$secret": [{ "name": "web/key", "tag": "00" }] } },
        });
        let Value::Object(definition) = definition else { panic!("it is a table") };
        let text = script("web", &definition, &json!("v3"));
        let body = text.split_once("deploy.service {\n").unwrap().1;
        assert_eq!(
            body,
            "    name = \"web\",\n    exec = { \"/bin/sleep\", \"9\" },\n    restart = \"no\",\n    \
             secrets = { KEY = secrets.get(\"web/key\") },\n    version = \"v3\",\n})\n"
        );
    }
}
