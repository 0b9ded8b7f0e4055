//! Owns `certs list` and `certs show`.

use certs::{Certificate, store};
use effect::units::Span;
use effect::{Code, Error, Result, Timestamp};
use serde_json::{Value, json};

use crate::app::App;
use crate::exit::Exit;
use crate::render::{self, Table};

pub(super) async fn list(app: &App, within: Option<Span>, as_json: bool) -> Result<Exit> {
    let now = app.clock.now();
    let mut certificates = store::certificates(&app.journal, &app.node).await?;
    if let Some(within) = within {
        let horizon = now.after(within.0);
        certificates.retain(|certificate| Timestamp(certificate.not_after) <= horizon);
    }
    if as_json {
        render::json(&certificates.iter().map(shown).collect::<Vec<_>>());
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["certificate", "names", "profile", "key", "driver", "expires", "left"]);
    for certificate in &certificates {
        let names = certificate.hostnames.as_slice();
        let more = if names.len() > 1 { format!(" +{}", names.len() - 1) } else { String::new() };
        table.row([
            certificate.id.clone(),
            format!("{}{more}", certificate.hostnames.first()),
            certificate.profile.clone(),
            certificate.key_type.as_str().to_owned(),
            certificate.driver.clone(),
            day(certificate.not_after),
            left(certificate, now),
        ]);
    }
    table.print();
    Ok(Exit::Done)
}

pub(super) async fn show(app: &App, id: &str, pem: bool, as_json: bool) -> Result<Exit> {
    let certificates = store::certificates(&app.journal, &app.node).await?;
    let found = certificates.into_iter().find(|certificate| certificate.id == id);
    let certificate = found
        .ok_or_else(|| Error::new(Code::CertificateUnknown, format!("there is no certificate `{id}`")))?;
    if pem {
        render::out(certificate.chain.trim_end());
        return Ok(Exit::Done);
    }
    if as_json {
        render::json(&shown(&certificate));
        return Ok(Exit::Done);
    }
    let now = app.clock.now();
    let line = |name: &str, value: &dyn std::fmt::Display| {
        render::out(format_args!("{} {value}", render::styled(render::DIM, format_args!("{name:<12}"))));
    };
    render::out(render::styled(render::BOLD, &certificate.id));
    line("names", &certificate.hostnames);
    line("profile", &certificate.profile);
    line("key", &certificate.key_type.as_str());
    if let Some(service) = &certificate.service {
        line("service", service);
    }
    line("driver", &certificate.driver);
    line("serial", &certificate.serial);
    line("sha256", &certificate.fingerprint);
    line("valid from", &Timestamp(certificate.not_before));
    line("expires", &format_args!("{} ({})", Timestamp(certificate.not_after), left(&certificate, now)));
    line("renewal", &Timestamp(certificate.renew_at));
    for path in certificate.files.iter().flat_map(|files| files.paths()) {
        line("file", &path);
    }
    Ok(Exit::Done)
}

/// What is shown of a certificate: never its key.
fn shown(certificate: &Certificate) -> Value {
    let mut value = json!(certificate);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("key");
        fields.remove("order");
    }
    value
}

fn day(at: i64) -> String {
    Timestamp(at).to_string().chars().take(10).collect()
}

fn left(certificate: &Certificate, now: Timestamp) -> String {
    if certificate.revoked {
        return "revoked".into();
    }
    let left = certificate.left(now);
    match left.as_secs() {
        0 => "expired".into(),
        seconds if seconds < 2 * 86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
