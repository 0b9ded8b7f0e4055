//! Owns the small parts of Caddy's configuration: the names of what is ours, texts in which braces mean something, and
//! patterns of paths.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use effect::{Code, Error, Result};
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use crate::route::{Key, Path};

/// What tells our servers and routes from others'.
pub(super) struct Names(String);

impl Names {
    pub(super) fn new(prefix: &str) -> Result<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(fits) {
            let message = "[drivers.caddy] server: this takes 1 to 64 letters, digits, `-` and `_`";
            return Err(Error::new(Code::Config, message));
        }
        Ok(Self(prefix.into()))
    }

    /// The server at `port`.
    pub(super) fn server(&self, port: u16) -> String {
        format!("{}-{port}", self.0)
    }

    /// The `@id` of a route.
    pub(super) fn route(&self, key: &Key) -> String {
        format!("{}-{}", self.0, &blake3::hash(key.to_string().as_bytes()).to_hex()[..20])
    }

    /// The `@id` of the connection policy that shows the certificate of the route with this one.
    pub(super) fn policy(route: &str) -> String {
        format!("{route}-tls")
    }

    /// The `@id` of what answers where no route does.
    pub(super) fn nothing(&self, port: u16, number: usize) -> String {
        format!("{}-{port}-none-{number}", self.0)
    }

    pub(super) fn is_nothing(&self, port: u16, id: &str) -> bool {
        id.starts_with(&format!("{}-{port}-none-", self.0))
    }

    /// What a certificate is found by.
    pub(super) fn tag(&self, certificate: &str) -> String {
        format!("{}-cert-{certificate}", self.0)
    }

    pub(super) fn is_tag(&self, tag: &str) -> bool {
        tag.starts_with(&format!("{}-cert-", self.0))
    }
}

/// The `@id` of an object.
pub(super) fn id(value: &Value) -> Option<&str> {
    value.get("@id")?.as_str()
}

/// A text in which braces stand for themselves.
pub(super) fn plain(text: &str) -> String {
    text.replace('{', "\\{").replace('}', "\\}")
}

/// What [`plain`] was made of.
pub(super) fn unplain(text: &str) -> String {
    text.replace("\\{", "{").replace("\\}", "}")
}

/// Where a redirect leads, `{host}` and `{path}` in Caddy's words.
pub(super) fn target(to: &str) -> String {
    plain(to).replace("\\{host\\}", "{http.request.host}").replace("\\{path\\}", "{http.request.uri}")
}

/// What [`target`] was made of.
pub(super) fn untarget(text: &str) -> String {
    unplain(&text.replace("{http.request.host}", "{host}").replace("{http.request.uri}", "{path}"))
}

/// Paths by whole segments. Caddy's own matcher of paths does not tell upper from lower case.
pub(super) fn pattern(path: &Path) -> String {
    let mut pattern = String::from("^");
    for letter in path.as_str().chars() {
        if "\\.+*?()|[]{}^$".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push_str("(?:/|$)");
    pattern
}

/// The path that [`pattern`] was made of.
pub(super) fn unpattern(pattern: &str) -> Option<Path> {
    let inner = pattern.strip_prefix('^')?.strip_suffix("(?:/|$)")?;
    Path::try_from(inner.replace('\\', "")).ok()
}

/// A chain in PEM.
pub(super) fn pem(chain: &[CertificateDer<'_>]) -> String {
    chain.iter().map(|certificate| block("CERTIFICATE", certificate)).collect()
}

/// One object in PEM (RFC 7468).
pub(super) fn block(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_patterns_are_read_as_they_are_written() {
        for text in ["", "a{b}c", "{{http.request.host}}", "no braces"] {
            assert_eq!(unplain(&plain(text)), text);
        }
        for to in ["https://{host}{path}", "https://docs.example/{x}", "https://docs.example"] {
            assert_eq!(untarget(&target(to)), to);
        }
        assert_eq!(target("https://{host}/{x}"), "https://{http.request.host}/\\{x\\}");
        for path in ["/api", "/a.b/c+d", "/(x)|[y]{z}^$"] {
            let path = Path::try_from(path.to_owned()).unwrap();
            assert_eq!(unpattern(&pattern(&path)), Some(path));
        }
        assert_eq!(unpattern("^/api"), None);
    }
}
