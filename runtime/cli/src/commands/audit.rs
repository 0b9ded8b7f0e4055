//! Owns `audit`: what was allowed, refused and done is listed, written to a file, and the chain of its records walked.

use std::io::Write as _;
use std::path::Path;

use effect::{Code, Error, Result};
use journal::audit::{Filter, Kind, New, Record};
use serde_json::{Value, json};

use crate::app::App;
use crate::arguments::access::Audit;
use crate::exit::Exit;
use crate::private::Draft;
use crate::{audit, render};

/// Read at once.
const PAGE: usize = 1000;

pub(super) async fn audit(app: &App, wish: &Audit) -> Result<Exit> {
    if wish.verify {
        return verify(app, wish).await;
    }
    let since = wish.since.map(|since| since.moment(app.clock.now()));
    let filter = Filter { since, principal: wish.principal.clone() };
    match &wish.export {
        Some(file) => export(app, filter, file).await,
        None => list(app, filter, wish.json).await,
    }
}

async fn verify(app: &App, wish: &Audit) -> Result<Exit> {
    let verified = app.journal.verify_audit(wish.head).await?;
    if wish.json {
        render::json(&json!(verified));
    }
    let whole = format!("{} whole, up to {}", render::count(verified.records, "record"), verified.head);
    match verified.fault {
        None if wish.json => Ok(Exit::Done),
        None => {
            render::out(whole);
            render::note(
                "keep that hash elsewhere: `mcrun audit --verify --head HASH` tells whether the chain still goes through it",
            );
            Ok(Exit::Done)
        }
        Some(_) if wish.json => Ok(Exit::Failed),
        Some(fault) => {
            let message = format!("the audit is broken at {}: {}", fault.place, fault.what);
            Err(Error::new(Code::AuditBroken, message).detail(whole))
        }
    }
}

fn line(record: &Record) -> Value {
    let mut line = json!(record);
    line["at"] = json!(render::rfc3339(record.at));
    // What is hashed is the text, and the moment in milliseconds.
    line["millis"] = json!(record.at);
    line
}

async fn list(app: &App, filter: Filter, as_json: bool) -> Result<Exit> {
    let mut table =
        render::Table::new(&["", "at", "principal", "kind", "action", "object", "outcome", "rule"]);
    let mut after = 0;
    loop {
        let page = app.journal.audited(filter.clone(), after, PAGE).await?;
        for record in &page {
            after = record.number;
            match as_json {
                true => {
                    let mut stdout = anstream::stdout();
                    if writeln!(stdout, "{}", line(record)).is_err() {
                        return Ok(Exit::Done);
                    }
                }
                false => table.row(row(record)),
            }
        }
        if page.len() < PAGE {
            break;
        }
    }
    if !as_json {
        table.print();
    }
    Ok(Exit::Done)
}

fn row(record: &Record) -> [String; 8] {
    let details: Value = (record.details.as_deref())
        .and_then(|details| serde_json::from_str(details).ok())
        .unwrap_or_default();
    let rule = ["rule", "trigger", "why", "version"].iter().find_map(|key| details[key].as_str());
    let rule = rule.unwrap_or_default().to_owned();
    let from = record.address.as_ref().map(|address| format!(" from {address}")).unwrap_or_default();
    let Record { number, kind, principal, action, object, outcome, .. } = record.clone();
    let at = render::rfc3339(record.at);
    [number.to_string(), at, format!("{principal}{from}"), kind, action, object, outcome, rule]
}

async fn export(app: &App, filter: Filter, file: &Path) -> Result<Exit> {
    let failed = |error: std::io::Error| {
        Error::new(Code::FileFailed, format!("`{}` cannot be written", file.display())).because(error)
    };
    let mut draft = Draft::of(file).map_err(failed)?;
    let (mut after, mut count, mut head) = (0, 0_u64, None);
    loop {
        let page = app.journal.audited(filter.clone(), after, PAGE).await?;
        for record in &page {
            writeln!(draft, "{}", line(record)).map_err(failed)?;
            (after, count, head) = (record.number, count + 1, Some(record.hash));
        }
        if page.len() < PAGE {
            break;
        }
    }
    draft.keep().map_err(failed)?;
    let told = New::of(
        Kind::Export,
        &audit::user().to_string(),
        "audit.export",
        &file.display().to_string(),
        "written",
    );
    app.journal.audit(told.with(json!({ "records": count, "head": head }))).await?;
    render::note(format_args!("{} written to `{}`", render::count(count, "record"), file.display()));
    Ok(Exit::Done)
}
