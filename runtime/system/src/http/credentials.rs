//! Owns the secret parts of a request: headers and bodies whose secrets are opened for the address that they go to, and for
//! no other.

use std::collections::BTreeMap;

use bytes::Bytes;
use effect::secret::Secret;
use effect::text::secrets_of;
use effect::{Code, Context, Error, Result, Text};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use super::get::header_name;

/// Where a secret goes that is sent to `url`.
pub(super) fn destination(url: &Url) -> String {
    format!("http:{}", super::name(url))
}

/// The headers that a call gives in the clear.
pub(super) fn in_the_clear(given: &BTreeMap<String, Text>) -> BTreeMap<String, String> {
    let plain = given.iter().filter_map(|(name, text)| Some((name.clone(), text.plain()?.to_owned())));
    plain.collect()
}

/// The headers that are secrets, however the call gives them.
pub(super) fn secrets<'a>(
    headers: &'a BTreeMap<String, Text>,
    secret_headers: &'a BTreeMap<String, Secret>,
) -> impl Iterator<Item = (&'a String, &'a Secret)> {
    let among = headers.iter().filter_map(|(name, text)| Some((name, text.secret()?)));
    among.chain(secret_headers)
}

/// Whether every secret of a request may go to its address.
pub(super) fn admit<'a>(
    url: &Url,
    secrets: impl Iterator<Item = &'a Secret>,
    context: &Context,
) -> Result<()> {
    let destination = destination(url);
    let mut secrets = secrets;
    secrets.try_for_each(|secret| context.may_go(secret, &destination))
}

/// Adds the headers whose values are secrets and returns their names.
pub(super) async fn add<'a>(
    headers: &mut HeaderMap,
    given: impl Iterator<Item = (&'a String, &'a Secret)>,
    url: &Url,
    context: &Context,
) -> Result<Vec<HeaderName>> {
    let destination = destination(url);
    let mut names = Vec::new();
    for (name, secret) in given {
        let header = header_name(name)?;
        let value = context.reveal(secret, &destination).await?;
        let wrong = || {
            Error::new(Code::Argument, format!("the secret for header `{name}` cannot be a header's value"))
        };
        let mut value = HeaderValue::from_bytes(&value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(header.clone(), value);
        names.push(header);
    }
    Ok(names)
}

/// The JSON text of `value` with its secrets opened, each as a string.
pub(super) async fn json(value: &Value, url: &Url, context: &Context) -> Result<Bytes> {
    let destination = destination(url);
    let mut opened = Vec::new();
    for secret in secrets_of(value)? {
        let bytes = context.reveal(&secret, &destination).await?;
        let text = std::str::from_utf8(&bytes).map_err(|_| {
            let message = format!("`http.request`: field `json`: {secret} is not UTF-8 text");
            Error::new(Code::Argument, message)
        })?;
        opened.push(Zeroizing::new(text.to_owned()));
    }
    // They were found in the same order.
    let mut opened = opened.iter();
    Ok(Bytes::from(filled(value, &mut opened).to_string()))
}

fn filled<'a>(value: &Value, opened: &mut impl Iterator<Item = &'a Zeroizing<String>>) -> Value {
    match value {
        Value::Object(fields) if fields.contains_key("$secret") => {
            opened.next().map_or(Value::Null, |text| Value::String(text.to_string()))
        }
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| (name.clone(), filled(field, opened))).collect()
        }
        Value::Array(items) => items.iter().map(|item| filled(item, opened)).collect(),
        other => other.clone(),
    }
}
