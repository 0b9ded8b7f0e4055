//! Owns whether the sealed store is as well kept as it may look: what opens it, where that lies, who may read it, and whether a
//! rotation of its key has come to its end.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use effect::Result;
use system::secrets::sealed::{Settings, Standing};

use super::{Check, Verdict};
use crate::app::App;

const NAME: &str = "sealed store";

pub(super) async fn checks(app: &App) -> Vec<Check> {
    match looked(app).await {
        Ok(checks) => checks,
        Err(error) => vec![Check::of(NAME, Verdict::Bad, &error)],
    }
}

async fn looked(app: &App) -> Result<Vec<Check>> {
    let (heads, standing) = (app.vault.heads().await?, app.vault.standing().await?);
    let settings = &app.config.secrets_store;
    let mut checks: Vec<Check> = key_file(settings).and_then(readable).into_iter().collect();
    if heads.is_empty() && standing.keys == 0 {
        if checks.is_empty() {
            checks.push(Check::good(NAME, "empty"));
        }
        return Ok(checks);
    }
    checks.extend(apart(settings, &app.state));
    checks.extend(left_over(&standing));
    if checks.is_empty() {
        let count = crate::render::count(heads.len() as u64, "secret");
        checks.push(Check::good(NAME, format!("{count}, sealed with {}", standing.by.unwrap_or("nothing"))));
    }
    Ok(checks)
}

fn found(verdict: Verdict, what: String, hint: &str) -> Check {
    Check { name: NAME, verdict, what, hint: Some(hint.to_owned()), features: Vec::new() }
}

/// The file that opens it, where it is one.
fn key_file(settings: &Settings) -> Option<&Path> {
    settings.key_file.as_deref().or(settings.passphrase_file.as_deref())
}

fn readable(file: &Path) -> Option<Check> {
    let mode = file.metadata().ok()?.mode();
    (mode & 0o077 != 0).then(|| {
        let what = format!("`{}` can be read or changed by others than its owner", file.display());
        found(Verdict::Bad, what, "take that away with `chmod 600`, then `mcrun secrets rotate-key`")
    })
}

/// Whoever has the database must not have its key by that.
fn apart(settings: &Settings, state: &Path) -> Option<Check> {
    const HINT: &str = "name a `key_file` elsewhere, a `passphrase_file` or a `credential` under [secrets_store], then \
        `mcrun secrets rewrap` with what opened it so far";
    let is_beside = |file: &Path| {
        let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        whole(file).starts_with(whole(state))
    };
    match key_file(settings) {
        None if settings.credential.is_some() => None,
        None => {
            let what = "no key is configured: it is sealed with the key of the state directory, which lies beside the database";
            Some(found(Verdict::Missing, what.to_owned(), HINT))
        }
        Some(file) if is_beside(file) => {
            let what = format!("its key, `{}`, lies in the folder of the database", file.display());
            Some(found(Verdict::Missing, what, HINT))
        }
        Some(_) => None,
    }
}

fn left_over(standing: &Standing) -> Option<Check> {
    (standing.keys > 1).then(|| {
        let what = format!("{} keys are there: a rotation was cut short", standing.keys);
        found(Verdict::Missing, what, "`mcrun secrets rotate-key` finishes it")
    })
}
