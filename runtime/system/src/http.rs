//! Owns HTTP requests of scripts: `http.get`, which only asks, and `http.request`, which acts. Every address is checked
//! after it was resolved, at every redirect, and exactly the checked address is connected to.

mod address;
mod client;
mod credentials;
mod exchange;
mod get;
mod request;
mod tls;

use std::collections::BTreeMap;
use std::sync::Arc;

use effect::{Code, Error, Registry, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::World;

pub(crate) use address::resolve;
pub(crate) use client::{Outgoing, send};
pub use get::Get;
pub(crate) use get::{certificates, certificates_need, plain_headers, subject};
pub use request::Request;

/// Registers `http.get` and `http.request`.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.read::<Get>(world);
    registry.act::<Request>(world);
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers by lower-case name; several of one name are joined with `, `.
    pub headers: BTreeMap<String, String>,
    /// The body as text. Bytes that are not UTF-8 are replaced.
    pub body: String,
    /// The address that answered, after redirects.
    pub url: String,
}

/// Reads an address that a script wrote.
pub(crate) fn parse(text: &str) -> Result<Url> {
    let wrong =
        |why: String| Error::new(Code::Argument, format!("`{}` is not a web address: {why}", shown(text)));
    let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it starts with neither http:// nor https://".into()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let error = wrong("it contains a user name or password".into());
        return Err(error.hint("send credentials in `secret_headers`"));
    }
    Ok(url)
}

/// An address as capabilities name it: without query, fragment and credentials.
pub(crate) fn name(url: &Url) -> String {
    let mut name = url.clone();
    name.set_query(None);
    name.set_fragment(None);
    // Neither can fail for http and https, which have a host.
    let _ = name.set_username("");
    let _ = name.set_password(None);
    name.to_string()
}

/// An address without what may be secret in it, for messages.
fn shown(text: &str) -> String {
    let plain = text.split(['?', '#']).next().unwrap_or_default();
    let plain = match (plain.find("://"), plain.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}…{}", &plain[..scheme + 3], &plain[at..]),
        _ => plain.to_owned(),
    };
    crate::exec::clip(&plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_name_addresses_without_query_and_dots() {
        let url = parse("HTTPS://API.example:443/a/%2e%2e/b?token=x#y").unwrap();
        assert_eq!(name(&url), "https://api.example/b");
    }

    #[test]
    fn credentials_in_an_address_are_refused_and_not_repeated() {
        let error = parse("https://user:hunter2@api.example/").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert_eq!(parse("ftp://x/").unwrap_err().code, Code::Argument);
    }
}
