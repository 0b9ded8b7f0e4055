//! Owns addresses that browsers are sent to: those of clients, which are compared letter by letter and nothing else, and
//! those of this very site.

use effect::{Code, Error, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::{Host, Url};

const LONGEST: usize = 1024;
/// RFC 3986, section 2.3: what needs no escape.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Refuses an address that no browser is to be sent back to. There is one spelling of each address, so that comparing it letter
/// by letter says all.
///
/// # Errors
/// `MC-W020` with what is wrong about it.
pub fn check(field: &str, text: &str) -> Result<()> {
    let wrong = |why: &str| {
        let message = format!("`{field}`: `{}` is no address to send a browser to", crate::name::shown(text));
        Err(Error::new(Code::SsoClient, message).because(why))
    };
    if text.len() > LONGEST {
        return wrong("it is longer than 1024 bytes");
    }
    if text.contains(['*', '\\', '|', '"', '<', '>', '^', '`', '{', '}'])
        || !text.chars().all(|c| c.is_ascii_graphic())
    {
        return wrong(
            "it has characters that no address has; patterns are not taken, since each is compared as it is",
        );
    }
    let Ok(url) = Url::parse(text) else { return wrong("it is not absolute, or malformed") };
    if url.as_str() != text {
        return wrong("it is not in its normal form, so that what is sent could be spelled in another way");
    }
    if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return wrong("it has a fragment, or a name of a user");
    }
    match url.scheme() {
        "https" if url.host().is_some() => Ok(()),
        "http" if loopback(&url) => Ok(()),
        _ => wrong("it is neither https nor http to this very machine"),
    }
}

/// Whether an address is of the machine that the browser runs on (RFC 8252, section 7.3).
#[must_use]
pub fn loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// An address with parameters, each escaped.
pub(crate) fn with_parameters(address: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut text = address.to_owned();
    let mut separator = if address.contains('?') { '&' } else { '?' };
    for (key, value) in parameters.iter().filter_map(|(key, value)| Some((key, (*value)?))) {
        text.push(separator);
        text.push_str(key);
        text.push('=');
        text.extend(utf8_percent_encode(value, ESCAPED));
        separator = '&';
    }
    text
}

/// A path of this very site: where somebody goes on after signing in. Nothing that any browser could take for another site.
#[must_use]
pub fn site_path(text: &str) -> Option<&str> {
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '\\' | '"' | '<' | '>' | '#');
    let is_inside = text.starts_with('/') && !text.starts_with("//");
    let path = text.split('?').next().unwrap_or_default();
    // Browsers take dots away also where they are escaped, and what is left could begin with two slashes.
    let escapes =
        path.contains('%') || path.split('/').any(|step| matches!(step, "." | "..")) || path.contains("//");
    (text.len() <= 8192 && is_inside && !escapes && text.chars().all(fits)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling() {
        for text in [
            "https://mcq.example/callback",
            "https://mcq.example/cb?x=1",
            "http://127.0.0.1:8080/cb",
            "http://[::1]:1/cb",
            "http://localhost:3000/",
        ] {
            check("redirect_uris", text).unwrap();
        }
        let long = format!("https://mcq.example/{}", "a".repeat(LONGEST));
        for text in [
            "",
            "/cb",
            "//mcq.example/cb",
            "https://mcq.example",
            "https://MCQ.example/cb",
            "HTTPS://mcq.example/cb",
            "https://mcq.example:443/cb",
            "https://mcq.example/a/../cb",
            "https://mcq.example/*",
            "https://*.example/cb",
            "https://mcq.example/cb#x",
            "https://mcq.example/cb#",
            "https://user@mcq.example/cb",
            "https://mcq.example\\@evil.example/",
            "https://mcq.example/cb\r\nX: y",
            "http://mcq.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://localhost.evil.example/cb",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "mcq:/cb",
            "https://mcq.example/ä",
            &long,
        ] {
            assert_eq!(check("redirect_uris", text).unwrap_err().code, Code::SsoClient, "{text}");
        }
    }

    #[test]
    fn parameters_are_escaped() {
        let values = [("code", Some("a b&c=d\r\n")), ("state", None), ("iss", Some("https://x/"))];
        assert_eq!(
            with_parameters("https://a/b", &values),
            "https://a/b?code=a%20b%26c%3Dd%0D%0A&iss=https%3A%2F%2Fx%2F"
        );
        assert_eq!(
            with_parameters("https://a/b?x=1", &values[2..]),
            "https://a/b?x=1&iss=https%3A%2F%2Fx%2F"
        );
    }

    #[test]
    fn nobody_is_sent_elsewhere() {
        for text in ["/", "/account", "/sso/authorize?redirect_uri=https%3A%2F%2Fmcq.example%2Fcb&state=a"] {
            assert_eq!(site_path(text), Some(text));
        }
        for text in [
            "",
            "account",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/%5cevil.example",
            "/%2fevil.example",
            "/.//evil.example",
            "/x/..//evil.example",
            "/%2e//evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            " /account",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "/a\r\nSet-Cookie: x=y",
            "/a#b",
            "/a b",
            "/ä",
        ] {
            assert_eq!(site_path(text), None, "{text:?}");
        }
    }
}
