//! Owns what `doctor` says of certificates: the authority's own dates and keys, the clock, what expires, and who can read
//! keys.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use certs::certificate::Facts;
use certs::embedded::Standing;
use certs::{Certificate, store};
use effect::{Result, Timestamp};

use super::{Check, Verdict};
use crate::app::App;
use crate::wiring;

/// When a new intermediate or root should be made, before the old one expires.
const SOON: Duration = Duration::from_secs(180 * 86_400);

pub(super) async fn checks(app: &App) -> Vec<Check> {
    let mut checks = Vec::new();
    match authority(app).await {
        Ok(found) => checks.extend(found),
        Err(error) => checks.push(Check::of("certs: authority", Verdict::Bad, &error)),
    }
    match store::certificates(&app.journal, &app.node).await {
        Ok(certificates) => checks.push(holders(app, &certificates)),
        Err(error) => checks.push(Check::of("certificates", Verdict::Bad, &error)),
    }
    checks
}

fn check(name: &'static str, verdict: Verdict, what: String, hint: Option<&str>) -> Check {
    Check { name, verdict, what, hint: hint.map(str::to_owned), features: Vec::new() }
}

async fn authority(app: &App) -> Result<Vec<Check>> {
    const NAME: &str = "certs: authority";
    let authority = wiring::authority(app);
    if !authority.exists().await? {
        return Ok(vec![Check::good(NAME, "embedded; the first certificate makes it")]);
    }
    let standing = authority.standing().await?;
    let now = app.clock.now();
    let mut checks = vec![dates(&standing, now)?];
    if !standing.kept.is_empty() {
        checks.push(check(
            "certs: root",
            Verdict::Missing,
            "its passphrase lies beside it, on this machine".to_owned(),
            Some("`mcrun certs ca take-passphrase` hands it to you for a safe place and takes it off this machine"),
        ));
    }
    let exposed: Vec<_> = standing
        .kept
        .values()
        .map(std::path::PathBuf::as_path)
        .chain([app.state.join("seal.key").as_path()])
        .filter(|path| is_exposed(path))
        .map(|path| path.display().to_string())
        .collect();
    if !exposed.is_empty() {
        checks.push(check(
            "certs: keys",
            Verdict::Bad,
            format!("others can read {}", exposed.join(", ")),
            Some("`chmod 600` them, and make new keys: `mcrun certs ca rotate --root`"),
        ));
    }
    Ok(checks)
}

/// Whether the authority can sign now, and for how long.
fn dates(standing: &Standing, now: Timestamp) -> Result<Check> {
    const NAME: &str = "certs: authority";
    const ROTATE: Option<&str> =
        Some("`mcrun certs ca rotate` makes a new intermediate, with `--root` a new root");
    let active = &standing.active;
    let chain = certs::certificate::chain_from_pem(&active.certificate)?;
    let facts = Facts::of(&chain[0])?;
    if now < facts.not_before {
        let what =
            format!("the clock shows {now}, and the authority's certificate begins at {}", facts.not_before);
        return Ok(check(NAME, Verdict::Bad, what, Some("set the clock: `timedatectl set-ntp true`")));
    }
    let root = standing.roots.iter().find(|root| root.id == active.root);
    let Some(root) = root else {
        let what = format!("the root `{}` of the intermediate that signs is not on record", active.root);
        return Ok(check(NAME, Verdict::Bad, what, ROTATE));
    };
    let left = active.not_after.min(root.not_after).since(now);
    if left.is_zero() {
        return Ok(check(
            NAME,
            Verdict::Bad,
            format!("it expired at {}", active.not_after.min(root.not_after)),
            ROTATE,
        ));
    }
    let days = left.as_secs() / 86_400;
    if left < SOON {
        return Ok(check(NAME, Verdict::Missing, format!("signs, but expires in {days} days"), ROTATE));
    }
    Ok(Check::good(NAME, format!("embedded, signs, {days} days left")))
}

fn is_exposed(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
}

/// The certificates of this node, and the files with their keys.
fn holders(app: &App, certificates: &[Certificate]) -> Check {
    const NAME: &str = "certificates";
    let now = app.clock.now();
    let ids = |which: &dyn Fn(&Certificate) -> bool| -> Vec<String> {
        let found = certificates.iter().filter(|certificate| which(certificate));
        found.map(|certificate| certificate.id.clone()).collect()
    };
    let exposed = ids(&|certificate| {
        let files = certificate.files.iter();
        let mut keys = files.flat_map(|files| [&files.key, &files.pair].into_iter().flatten());
        keys.any(|path| Path::new(path).metadata().is_ok_and(|found| found.permissions().mode() & 0o007 != 0))
    });
    if !exposed.is_empty() {
        let what = format!("everybody can read the keys of {}", exposed.join(", "));
        return check(NAME, Verdict::Bad, what, Some("`chmod 600` the files, and `mcrun certs renew` each"));
    }
    let expired = ids(&|certificate| !certificate.revoked && certificate.left(now).is_zero());
    if !expired.is_empty() {
        let what = format!("expired: {}", expired.join(", "));
        return check(
            NAME,
            Verdict::Bad,
            what,
            Some("`mcrun certs renew` each; `mcrun serve` does so by itself"),
        );
    }
    let late = ids(&|certificate| certificate.is_late(now));
    if !late.is_empty() {
        let what = format!("to be renewed: {}", late.join(", "));
        return check(
            NAME,
            Verdict::Missing,
            what,
            Some("`mcrun certs renew` each; `mcrun serve` does so by itself"),
        );
    }
    let count = crate::render::count(certificates.len() as u64, "certificate");
    Check::good(NAME, format!("{count}, none expires soon"))
}
