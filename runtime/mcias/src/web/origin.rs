//! Owns which host this is, and from which pages a browser may have something changed here.

use effect::{Code, Error, Result};
use http::StatusCode;
use http::header::{HOST, ORIGIN};
use url::Url;

use super::answer::Refused;
use super::asked::Asked;
use crate::settings::Settings;

/// The addresses of the service.
pub(super) struct Origin {
    url: String,
    /// As `Origin` has it: `https://mcias.example:8443`.
    origin: String,
    /// As `Host` has it, with and without the usual port.
    hosts: Vec<String>,
}

impl Origin {
    pub(super) fn of(settings: &Settings) -> Result<Self> {
        let missing =
            || Error::new(Code::Config, "mcias.url: the address under which others reach it is needed");
        let text = settings.url.as_deref().ok_or_else(missing)?;
        let url = address(text)?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let host = format!("{}{port}", url.host_str().unwrap_or_default());
        let mut hosts = vec![host.clone()];
        hosts.extend(settings.hosts.iter().map(|host| host.to_ascii_lowercase()));
        let usual: Vec<String> =
            hosts.iter().filter(|host| !has_port(host)).map(|host| format!("{host}:443")).collect();
        hosts.extend(usual);
        Ok(Self { url: text.trim_end_matches('/').to_owned(), origin: format!("https://{host}"), hosts })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Refuses requests for another host: links and cookies would be for that one.
    pub(super) fn check_host(&self, asked: &Asked<'_>) -> std::result::Result<(), Refused> {
        let named = asked.header(HOST.as_str())?.unwrap_or_default().to_ascii_lowercase();
        match self.hosts.contains(&named) {
            true => Ok(()),
            false => Err(Refused::new(
                StatusCode::MISDIRECTED_REQUEST,
                "host",
                "this service is not that of the host that was asked for",
            )),
        }
    }

    /// Refuses what a page of somebody else has a browser change here. Who is no browser says nothing of a page.
    pub(super) fn check_source(&self, asked: &Asked<'_>) -> std::result::Result<(), Refused> {
        if !asked.is_changing() {
            return Ok(());
        }
        let origin = asked.header(ORIGIN.as_str())?;
        let site = asked.header("sec-fetch-site")?;
        let is_ours = match (origin, site) {
            (Some(origin), site) if origin == self.origin => matches!(site, None | Some("same-origin")),
            // Pages that send no referrer send no origin either; then the browser's other word counts.
            (Some("null") | None, Some(site)) => matches!(site, "same-origin"),
            (None, None) => true,
            (Some(_), _) => false,
        };
        match is_ours {
            true => Ok(()),
            false => Err(Refused::new(StatusCode::FORBIDDEN, "origin", "another site may not ask this")),
        }
    }
}

/// An address that people, services and browsers reach it by.
pub(crate) fn address(text: &str) -> Result<Url> {
    let wrong = || {
        Error::new(
            Code::Config,
            "mcias.url: `https://` and the name of a host, with a port where that is not 443",
        )
    };
    let url: Url = text.parse().map_err(|_| wrong())?;
    let is_plain = url.scheme() == "https"
        && url.domain().is_some()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    // What is written is compared letter by letter by others: it must be what the parser makes of it.
    let is_same = url.as_str().trim_end_matches('/') == text.trim_end_matches('/');
    if is_plain && is_same { Ok(url) } else { Err(wrong()) }
}

/// Whether a host has a port: one of IPv6 stands in brackets.
fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(before, port)| {
        !port.is_empty()
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && (!before.contains(':') || before.ends_with(']'))
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;

    use super::*;

    fn origin() -> Origin {
        let settings = Settings {
            url: Some("https://mcias.example".into()),
            hosts: vec!["127.0.0.1:8443".into()],
            ..Settings::default()
        };
        Origin::of(&settings).unwrap()
    }

    fn asked(headers: &[(&str, &str)]) -> Request<Bytes> {
        let request = Request::builder().method("POST").uri("/v1/login");
        headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value))
            .body(Bytes::new())
            .unwrap()
    }

    #[test]
    fn another_host_is_not_answered() {
        for (host, is_ours) in [
            ("mcias.example", true),
            ("MCIAS.example:443", true),
            ("127.0.0.1:8443", true),
            ("mcias.example:8443", false),
            ("mcias.example.evil.test", false),
            ("", false),
        ] {
            let request = asked(&[("host", host)]);
            let asked = Asked { request: &request, peer: [192, 0, 2, 1].into() };
            assert_eq!(origin().check_host(&asked).is_ok(), is_ours, "{host}");
        }
    }

    #[test]
    fn another_site_changes_nothing() {
        for (headers, is_ours) in [
            (&[][..], true),
            (&[("origin", "https://mcias.example")], true),
            (&[("origin", "https://mcias.example"), ("sec-fetch-site", "same-origin")], true),
            (&[("origin", "null"), ("sec-fetch-site", "same-origin")], true),
            (&[("origin", "null"), ("sec-fetch-site", "cross-site")], false),
            (&[("origin", "null")], false),
            (&[("origin", "https://mcias.example.evil.test")], false),
            (&[("origin", "http://mcias.example")], false),
            (&[("sec-fetch-site", "same-site")], false),
        ] {
            let request = asked(headers);
            let asked = Asked { request: &request, peer: [192, 0, 2, 1].into() };
            assert_eq!(origin().check_source(&asked).is_ok(), is_ours, "{headers:?}");
        }
    }

    #[test]
    fn an_address_is_what_others_compare() {
        for good in ["https://mcias.example", "https://mcias.example:8443", "https://mcias.example/"] {
            address(good).unwrap();
        }
        for wrong in [
            "http://mcias.example",
            "https://Mcias.example",
            "https://mcias.example:443",
            "https://mcias.example/sub",
            "https://a@mcias.example",
            "https://192.0.2.1",
            "mcias.example",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
