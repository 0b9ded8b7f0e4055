//! Owns `certs ssh`: what signs and revokes is a script of a line or two, the rest is looked up here.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use certs::ssh::{Kind, Signed, Store, authority, issue, revocation};
use effect::{Code, Error, Result, Timestamp};
use serde_json::{Value, json};

use super::super::line::{self, without_nulls};
use super::super::services::confirm;
use super::{escaped, real};
use crate::app::App;
use crate::arguments::How;
use crate::arguments::certs::{Ssh, SshKind, SshWanted};
use crate::exit::Exit;
use crate::passphrase::read_bounded;
use crate::render::{self, Table};

/// No public key is longer, in bytes.
const LONGEST_KEY: u64 = 16 * 1024;

const SIGN: &str = "\
local signed = certs.ssh.sign(params.request)
files.write { path = params.out, content = signed.certificate .. \"\\n\", mode = \"0644\" }
";

pub(super) async fn ssh(app: &App, command: Ssh) -> Result<Exit> {
    match command {
        Ssh::Sign(wanted) => sign(app, &wanted).await,
        Ssh::Revoke { serial, key_id, key, how } => {
            if !how.plan {
                confirm(app, "Revoke it? It cannot be undone.")?;
            }
            let key = key.map(|file| public_key(&file)).transpose()?;
            let request = json!({ "serial": serial, "key_id": key_id, "public_key": key });
            operate(app, "certs ssh revoke", "certs.ssh.revoke(params)\n", without_nulls(request), None, &how)
                .await
        }
        Ssh::List { json } => list(app, json).await,
        Ssh::Authorities { kind } => authorities(app, kind.into()).await,
        Ssh::Krl { file, plain } => krl(app, &file, plain).await,
        Ssh::Rotate { kind, announce } => {
            let settings = &app.config.certs.ssh;
            let made = authority::rotate(&store(app), settings, kind.into(), announce.0).await?;
            let (what, from) = (Kind::from(kind).as_str(), Timestamp(made.signs_from));
            render::note(format_args!(
                "a new key for {what}s: peers should trust it now, and it signs from {from} on"
            ));
            Ok(Exit::Done)
        }
    }
}

impl From<SshKind> for Kind {
    fn from(kind: SshKind) -> Self {
        match kind {
            SshKind::User => Self::User,
            SshKind::Host => Self::Host,
        }
    }
}

fn store(app: &App) -> Store<'_> {
    Store {
        journal: &app.journal,
        sealer: &app.sealer,
        node: &app.node,
        now: app.clock.now(),
        run: None,
        may_make: true,
    }
}

fn public_key(file: &Path) -> Result<String> {
    let text = read_bounded(file, LONGEST_KEY)?;
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if line.contains("PRIVATE KEY") {
        return Err(Error::new(Code::Usage, format!("`{}` holds a private key", file.display()))
            .hint("name the file with the public key, which ends in `.pub`"));
    }
    Ok(line.trim().to_owned())
}

async fn sign(app: &App, wanted: &SshWanted) -> Result<Exit> {
    let out = match &wanted.out {
        Some(out) => real(out)?,
        None => beside(&real(&wanted.key)?),
    };
    let request = json!({
        "kind": Kind::from(wanted.kind).as_str(),
        "public_key": public_key(&wanted.key)?,
        "principals": wanted.principals,
        "lifetime": wanted.lifetime.map(|span| span.to_string()),
        "key_id": wanted.key_id,
        "service": wanted.service,
        "force_command": wanted.force_command,
        "source_address": wanted.source_address,
        // A plan goes on to the file.
        "assume": wanted.how.plan.then(|| json!({ "certificate": "as it will be signed" })),
    });
    let params = json!({ "request": without_nulls(request), "out": out });
    let name = format!("certs ssh sign {}", wanted.principals[0]);
    operate(app, &name, SIGN, params, Some(&out), &wanted.how).await
}

/// `id_ed25519-cert.pub` for `id_ed25519.pub`, where ssh looks for it by itself.
fn beside(key: &Path) -> PathBuf {
    let name = key.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = name.strip_suffix(".pub").unwrap_or(&name);
    key.with_file_name(format!("{stem}-cert.pub"))
}

async fn operate(
    app: &App,
    name: &str,
    body: &str,
    params: Value,
    written: Option<&Path>,
    how: &How,
) -> Result<Exit> {
    let writes = written.map(|path| format!("files:write:{}", escaped(&path.to_string_lossy())));
    let allow = ["certs".to_owned(), "certs:ssh".to_owned()].into_iter().chain(writes).collect();
    line::run(app, name, body, params, allow, how).await
}

async fn list(app: &App, as_json: bool) -> Result<Exit> {
    let now = app.clock.now();
    let mut signed: Vec<Signed> = issue::all(&store(app)).await?;
    signed.retain(|signed| signed.valid_before > now.0);
    if as_json {
        render::json(&signed);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["serial", "kind", "key id", "principals", "expires"]);
    for signed in &signed {
        table.row([
            signed.serial.clone(),
            signed.kind.as_str().to_owned(),
            signed.key_id.clone(),
            signed.principals.join(", "),
            Timestamp(signed.valid_before).to_string(),
        ]);
    }
    table.print();
    Ok(Exit::Done)
}

async fn authorities(app: &App, kind: Kind) -> Result<Exit> {
    let before = match kind {
        Kind::User => "",
        Kind::Host => "@cert-authority * ",
    };
    for authority in authority::trusted(&store(app), kind).await? {
        render::out(format_args!("{before}{}", authority.public));
    }
    Ok(Exit::Done)
}

async fn krl(app: &App, file: &Path, plain: bool) -> Result<Exit> {
    let list = revocation::list(&store(app)).await?;
    let content = if plain { list.keys.as_bytes() } else { &list.krl };
    // A server that reads it meanwhile must see the old list or the new one.
    let failed = |error: std::io::Error| {
        Error::new(Code::FileFailed, format!("`{}` cannot be written", file.display())).because(error)
    };
    let file = &real(file)?;
    let written = || -> std::io::Result<()> {
        let mut draft = tempfile::NamedTempFile::new_in(file.parent().unwrap_or(Path::new("/")))?;
        draft.write_all(content)?;
        draft.as_file().set_permissions(Permissions::from_mode(0o644))?;
        draft.as_file().sync_all()?;
        draft.persist(file)?;
        Ok(())
    };
    written().map_err(failed)?;
    render::note(format_args!("{} in {}", render::count(list.count as u64, "revocation"), file.display()));
    Ok(Exit::Done)
}
