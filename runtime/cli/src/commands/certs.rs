//! Owns `certs`: what changes a certificate is a script of one line through the same corridor as every other; looking
//! and what concerns the authority itself is done here.

mod acme;
mod authority;
mod show;
mod ssh;

use std::path::{Path, PathBuf};

use effect::{Code, Error, Result};
use serde_json::{Map, Value, json};

use super::copies::Copies;
use super::line::{Line, carry_out};
use super::services::confirm;
use crate::app::App;
use crate::arguments::How;
use crate::arguments::certs::{Certs, Files};
use crate::exit::Exit;

pub(super) async fn certs(app: &App, command: Certs) -> Result<Exit> {
    match command {
        Certs::List { expiring_within, json } => show::list(app, expiring_within, json).await,
        Certs::Show { id, pem, json } => show::show(app, &id, pem, json).await,
        Certs::Ensure(wanted) => {
            let request = json!({
                "hostnames": wanted.names,
                "name": wanted.name,
                "profile": wanted.profile,
                "key_type": wanted.key_type.as_str(),
                "lifetime": wanted.lifetime.map(|span| span.to_string()),
                "service": wanted.service,
                "files": placement(&wanted.files)?,
            });
            operate(app, "ensure", request, &wanted.names[0], &wanted.how).await
        }
        Certs::Renew { id, how } => {
            let copies = if how.plan { None } else { Copies::of(app, &id).await };
            let exit = operate(app, "renew", json!({ "id": id }), &id, &how).await?;
            if exit == Exit::Done
                && let Some(copies) = copies
            {
                copies.refresh_by_hand().await?;
            }
            Ok(exit)
        }
        Certs::Revoke { id, serial, reason, how } => {
            if !how.plan {
                confirm(app, &format!("Revoke the certificate `{id}`? It cannot be undone."))?;
            }
            let request = json!({ "id": id, "serial": serial, "reason": reason.as_str() });
            operate(app, "revoke", request, &id, &how).await
        }
        Certs::Remove { id, how } => operate(app, "remove", json!({ "id": id }), &id, &how).await,
        Certs::Ssh(command) => ssh::ssh(app, command).await,
        Certs::Acme(command) => acme::acme(app, command).await,
        Certs::Ca(command) => authority::authority(app, command).await,
    }
}

/// Plans or runs one effect on certificates.
async fn operate(app: &App, operation: &str, request: Value, subject: &str, how: &How) -> Result<Exit> {
    let paths = request["files"].as_object().into_iter().flatten();
    let paths = paths.filter(|(name, _)| !matches!(name.as_str(), "owner" | "mode"));
    let writes = paths.filter_map(|(_, path)| Some(format!("files:write:{}", escaped(path.as_str()?))));
    let allow = ["certs".to_owned(), "certs:wildcards".to_owned()].into_iter().chain(writes).collect();
    let (name, effect) = (format!("certs {operation} {subject}"), format!("certs.{operation}"));
    carry_out(app, Line { name: &name, effect: &effect, params: request, allow }, how).await
}

/// A path as a pattern that means only itself.
fn escaped(path: &str) -> String {
    path.chars()
        .flat_map(|c| {
            matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\').then_some('\\').into_iter().chain([c])
        })
        .collect()
}

/// Where the operator wants it, in absolute paths without links: an operator may stand in a folder behind one.
fn placement(files: &Files) -> Result<Value> {
    let mut placement = Map::new();
    for (name, path) in [("cert", &files.cert), ("key", &files.key), ("pair", &files.pair), ("ca", &files.ca)]
    {
        if let Some(path) = path {
            placement.insert(name.into(), json!(real(path)?));
        }
    }
    if placement.is_empty() {
        return Ok(Value::Null);
    }
    placement.insert("owner".into(), json!(files.owner));
    placement.insert("mode".into(), json!(files.mode));
    Ok(Value::Object(placement))
}

fn real(path: &Path) -> Result<PathBuf> {
    let unusable = |cause: std::io::Error| {
        Error::new(Code::Usage, format!("`{}` is no place for a file", path.display())).because(cause)
    };
    let absolute = std::path::absolute(path).map_err(unusable)?;
    let (Some(folder), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(Error::new(Code::Usage, format!("`{}` is no place for a file", path.display())));
    };
    Ok(folder.canonicalize().map_err(unusable)?.join(name))
}
