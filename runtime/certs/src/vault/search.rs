//! Owns finding the certificate of an attempt that was cut: signing has no idempotency key, but the certificate is for our
//! key, and Vault keeps what it signed.

use std::collections::BTreeMap;
use std::time::Duration;

use effect::{Code, Result, Timestamp};
use serde::Deserialize;

use super::SETTLES;
use super::api::Api;
use crate::certificate::{Facts, chain_from_pem};
use crate::names::Names;

/// Certificates a page; a page of certificates with many names stays below the largest answer.
const PAGE: usize = 500;
/// With all pages: a hundred thousand certificates.
const MOST_PAGES: usize = 200;
/// Certificates that are looked at one by one.
const MOST_LOOKED_AT: usize = 1000;
/// How much earlier than they are signed certificates begin (30 s unless a role says otherwise), with what clocks differ.
const BACKDATED: Duration = Duration::from_secs(300);

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    keys: Vec<String>,
    /// What each is about; older ones do not tell.
    #[serde(default)]
    key_info: BTreeMap<String, Info>,
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    common_name: String,
    #[serde(default)]
    dns_names: Vec<String>,
    #[serde(default)]
    ip_addresses: Vec<String>,
}

#[derive(Deserialize)]
struct Stored {
    certificate: String,
    #[serde(default)]
    revocation_time: i64,
}

/// The certificate for `public` that was signed since `since`, in PEM.
pub(super) async fn certificate(
    api: &Api,
    names: &Names,
    public: &[u8],
    since: Timestamp,
) -> Result<Option<String>> {
    // What was cut a moment ago may still be worked on.
    let age = api.peer.now().since(since);
    if age < SETTLES {
        tokio::time::sleep(SETTLES - age).await;
    }
    let mut looked_at = 0;
    for detailed in [true, false] {
        let mut after = String::new();
        let mut was_understood = false;
        for _ in 0..MOST_PAGES {
            let page = match page(api, detailed, &after).await {
                // A policy that knows only the older list.
                Err(error) if detailed && error.code == Code::AuthorityRefused => break,
                page => page?,
            };
            let Some(page) = page else { break };
            was_understood = true;
            for serial in page.keys.iter().filter(|serial| may_be(page.key_info.get(*serial), names)) {
                looked_at += 1;
                if looked_at > MOST_LOOKED_AT {
                    tracing::warn!(target: "certs", "too many certificates to look for the one of an earlier attempt");
                    return Ok(None);
                }
                if let Some(pem) = look(api, serial, public, since).await? {
                    return Ok(Some(pem));
                }
            }
            match page.keys.last() {
                // Those that know no pages answer with everything, again and again.
                Some(last) if page.keys.len() == PAGE && *last != after => after.clone_from(last),
                _ => break,
            }
        }
        if was_understood {
            break;
        }
    }
    Ok(None)
}

async fn page(api: &Api, detailed: bool, after: &str) -> Result<Option<Page>> {
    let kind = if detailed { "certs/detailed" } else { "certs" };
    api.get(&format!("{kind}?list=true&limit={PAGE}&after={after}"), "the list of its certificates").await
}

/// Whether what is told of a certificate could be ours.
fn may_be(info: Option<&Info>, names: &Names) -> bool {
    let Some(info) = info else { return true };
    names.as_slice().iter().all(|name| {
        let name = name.to_string();
        info.dns_names.contains(&name) || info.ip_addresses.contains(&name) || info.common_name == name
    })
}

async fn look(api: &Api, serial: &str, public: &[u8], since: Timestamp) -> Result<Option<String>> {
    let is_serial = serial.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'-');
    if !is_serial {
        return Ok(None);
    }
    let Some(stored) = api.get::<Stored>(&format!("cert/{serial}"), "a certificate").await? else {
        return Ok(None);
    };
    let first = chain_from_pem(&stored.certificate)?.swap_remove(0);
    let facts = Facts::of(&first)?;
    // A renewal may be for the key of the certificate before it.
    let is_new = facts.not_before.after(BACKDATED) >= since;
    let is_ours = stored.revocation_time == 0 && is_new && facts.public == public;
    Ok(is_ours.then_some(stored.certificate))
}
