//! Owns how callers prove who they are, and say what happened: ours, GitHub's, Gitea's and Forgejo's, GitLab's. Whatever is
//! secret is compared in constant time.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use effect::Timestamp;
use http::HeaderMap;

use super::deliveries::Mark;
use crate::playbooks::{Forge, OnWebhook};

/// No header that is looked at is longer.
const LONGEST_HEADER: usize = 512;
/// Keys are changed: a caller may sign with the old one and the new one.
const MOST_SIGNATURES: usize = 4;
/// How far a caller's clock may be ahead of ours.
const AHEAD: Duration = Duration::from_secs(300);
/// How long the name of a forge's call is remembered. Longer than any of them tries again.
const REMEMBERED: Duration = Duration::from_secs(30 * 86_400);

/// A call that is what it claims to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proven {
    /// What happened, where the format tells.
    pub(super) event: Option<String>,
    /// The caller's name for this call.
    pub(super) delivery: Option<String>,
    /// What tells this call from every other one, its name first: none of them may come again for a time.
    pub(super) marks: Vec<Mark>,
}

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The signature is not there, malformed, or wrong.
    Unproven,
    /// It was signed too long ago, or in the future.
    Stale,
    /// What the format promises is missing.
    Incomplete(&'static str),
}

/// Checks who calls.
pub(super) fn check(
    on: &OnWebhook,
    key: &[u8],
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<Proven, Refusal> {
    match on.format {
        Forge::Generic => generic(on, key, headers, body, now),
        Forge::Github => {
            let signature = one(headers, "x-hub-signature-256")?.ok_or(Refusal::Unproven)?;
            let signature = signature.strip_prefix("sha256=").ok_or(Refusal::Unproven)?;
            forge(on, key, signature, body, headers, ("x-github-event", "x-github-delivery"), now)
        }
        Forge::Gitea => {
            // Forgejo sends both.
            let [signature, event, delivery] = if headers.contains_key("x-forgejo-signature") {
                ["x-forgejo-signature", "x-forgejo-event", "x-forgejo-delivery"]
            } else {
                ["x-gitea-signature", "x-gitea-event", "x-gitea-delivery"]
            };
            let signature = one(headers, signature)?.ok_or(Refusal::Unproven)?;
            forge(on, key, signature, body, headers, (event, delivery), now)
        }
        Forge::Gitlab => gitlab(key, headers, now),
    }
}

/// `Mcrun-Signature: t=SECONDS,v1=HEX`, signed over `SECONDS.BODY`.
fn generic(
    on: &OnWebhook,
    key: &[u8],
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<Proven, Refusal> {
    let header = one(headers, "mcrun-signature")?.ok_or(Refusal::Unproven)?;
    let (mut time, mut signatures) = (None, Vec::new());
    for part in header.split(',') {
        match part.trim().split_once('=').ok_or(Refusal::Unproven)? {
            ("t", seconds) if time.is_none() => time = Some(seconds),
            ("t", _) => return Err(Refusal::Unproven),
            ("v1", signature) if signatures.len() < MOST_SIGNATURES => signatures.push(signature),
            ("v1", _) => return Err(Refusal::Unproven),
            // Another way to sign, of another version.
            _ => {}
        }
    }
    let written = time.ok_or(Refusal::Unproven)?;
    let is_number = (1..=12).contains(&written.len()) && written.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: i64 = written.parse().ok().filter(|_| is_number).ok_or(Refusal::Unproven)?;
    let mut signed = format!("{written}.").into_bytes();
    signed.extend_from_slice(body);
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    if !signatures.iter().any(|signature| is_signed(&key, &signed, signature)) {
        return Err(Refusal::Unproven);
    }
    let at = Timestamp(seconds.saturating_mul(1000));
    if now.since(at) > on.window || at.since(now) > AHEAD.min(on.window) {
        return Err(Refusal::Stale);
    }
    let tag = hmac::sign(&key, &signed);
    let until = at.after(on.window).after(AHEAD);
    Ok(Proven { event: None, delivery: None, marks: vec![Mark::signature(tag.as_ref(), until)] })
}

/// A signature over the body alone: it is the same whenever the body is, so that neither it nor the name of the delivery,
/// which is not signed, may come again. Nor is the event signed.
fn forge(
    on: &OnWebhook,
    key: &[u8],
    signature: &str,
    body: &[u8],
    headers: &HeaderMap,
    (event, delivery): (&'static str, &'static str),
    now: Timestamp,
) -> Result<Proven, Refusal> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    if !is_signed(&key, body, signature) {
        return Err(Refusal::Unproven);
    }
    let event =
        one(headers, event)?.ok_or(Refusal::Incomplete("the header that names the event is missing"))?;
    let delivery = one(headers, delivery)?
        .ok_or(Refusal::Incomplete("the header that names the delivery is missing"))?;
    let tag = hmac::sign(&key, body);
    let marks = vec![
        Mark::delivery(delivery, now.after(REMEMBERED)),
        Mark::signature(tag.as_ref(), now.after(on.window)),
    ];
    let (event, delivery) = (Some(event.to_owned()), Some(delivery.to_owned()));
    Ok(Proven { event, delivery, marks })
}

/// GitLab shows the secret itself, and signs nothing.
fn gitlab(key: &[u8], headers: &HeaderMap, now: Timestamp) -> Result<Proven, Refusal> {
    let token = one(headers, "x-gitlab-token")?.ok_or(Refusal::Unproven)?;
    verify_slices_are_equal(token.as_bytes(), key).map_err(|_| Refusal::Unproven)?;
    let event = one(headers, "x-gitlab-event")?
        .ok_or(Refusal::Incomplete("the header that names the event is missing"))?;
    // The same in every further try of one call; older versions name the event only.
    let delivery = match one(headers, "idempotency-key")? {
        Some(delivery) => Some(delivery),
        None => one(headers, "x-gitlab-event-uuid")?,
    };
    let delivery = delivery.ok_or(Refusal::Incomplete("the header that names the delivery is missing"))?;
    // `Merge Request Hook` is `merge_request`, as in its body.
    let event = event.strip_suffix(" Hook").unwrap_or(event).to_lowercase().replace(' ', "_");
    let marks = vec![Mark::delivery(delivery, now.after(REMEMBERED))];
    Ok(Proven { event: Some(event), delivery: Some(delivery.to_owned()), marks })
}

fn is_signed(key: &hmac::Key, message: &[u8], signature: &str) -> bool {
    from_hex(signature).is_some_and(|tag| hmac::verify(key, message, &tag).is_ok())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if text.len() != 64 {
        return None;
    }
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// The only value of a header, if it has one.
fn one<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) if !text.is_empty() && text.len() <= LONGEST_HEADER => Ok(Some(text)),
            _ => Err(Refusal::Unproven),
        },
        _ => Err(Refusal::Unproven),
    }
}
