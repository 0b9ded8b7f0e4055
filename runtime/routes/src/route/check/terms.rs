//! Owns the check of a route's terms: who may come, how much, how long, and what is answered without a back end.

use std::time::Duration;

use effect::Result;
use effect::units::Size;
use http::{HeaderName, HeaderValue};

use super::{AN_HOUR, within, wrong};
use crate::route::{Access, Headers, Limits, Maintenance, Redirect, Route, Timeouts};

const MOST_RULES: usize = 1024;
const MOST_COUNTRIES: usize = 300;
const MOST_WAITING: u32 = 65_536;
const MOST_HEADERS: usize = 64;
const LONGEST_HEADER: usize = 8 << 10;
const LONGEST_URL: usize = 2048;
const LARGEST_PAGE: usize = 64 << 10;
const SMALLEST_HEAD: Size = Size(1 << 10);
const LARGEST_HEAD: Size = Size(64 << 10);
const LARGEST_MINIMUM_RATE: u32 = 1 << 20;
const A_DAY: Duration = Duration::from_secs(86_400);
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];
/// What frames a message or belongs to one connection (RFC 9110, section 7.6.1) is the proxy's alone.
const OWN_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
];

impl Route {
    pub(super) fn check_terms(&self) -> Result<()> {
        check_access(&self.access)?;
        check_limits(&self.limits)?;
        check_timeouts(&self.timeouts)?;
        check_headers(&self.headers)?;
        self.redirect.as_ref().map_or(Ok(()), check_redirect)?;
        self.maintenance.as_ref().map_or(Ok(()), check_maintenance)
    }
}

fn check_access(access: &Access) -> Result<()> {
    for (field, rules) in [("access.allow", &access.allow), ("access.deny", &access.deny)] {
        if rules.len() > MOST_RULES {
            return Err(wrong(field, format_args!("at most {MOST_RULES} networks")));
        }
    }
    for (field, countries) in [
        ("access.allow_countries", &access.allow_countries),
        ("access.deny_countries", &access.deny_countries),
    ] {
        if countries.len() > MOST_COUNTRIES {
            return Err(wrong(field, format_args!("at most {MOST_COUNTRIES} countries")));
        }
        let is_code =
            |country: &&String| country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_alphabetic());
        if let Some(country) = countries.iter().find(|country| !is_code(country)) {
            let shown: String = country.chars().take(80).collect();
            return Err(wrong(field, format_args!("`{shown}` is not a country's two letters (ISO 3166-1)")));
        }
    }
    Ok(())
}

fn check_limits(limits: &Limits) -> Result<()> {
    for (field, limit) in [
        ("limits.rate", limits.rate),
        ("limits.burst", limits.burst),
        ("limits.connections", limits.connections),
    ] {
        if limit == Some(0) {
            return Err(wrong(field, "at least 1: a `maintenance` page answers in the place of a service"));
        }
    }
    if limits.burst.is_some() && limits.rate.is_none() {
        return Err(wrong("limits.burst", "it says nothing without `limits.rate`"));
    }
    if !(SMALLEST_HEAD.0..=LARGEST_HEAD.0).contains(&limits.head.0) {
        return Err(wrong(
            "limits.head",
            format_args!("from {SMALLEST_HEAD} to {LARGEST_HEAD}, not {}", limits.head),
        ));
    }
    if limits.waiting > MOST_WAITING {
        return Err(wrong("limits.waiting", format_args!("at most {MOST_WAITING}")));
    }
    Ok(())
}

fn check_timeouts(timeouts: &Timeouts) -> Result<()> {
    let least = Duration::from_millis(10);
    within("timeouts.connect", timeouts.connect, least, Duration::from_secs(300))?;
    within("timeouts.answer", timeouts.answer, least, A_DAY)?;
    within("timeouts.idle", timeouts.idle, Duration::from_secs(1), 7 * A_DAY)?;
    within("timeouts.pause", timeouts.pause, least, AN_HOUR)?;
    if timeouts.minimum_rate > LARGEST_MINIMUM_RATE {
        return Err(wrong("timeouts.minimum_rate", "at most 1048576 octets in a second"));
    }
    Ok(())
}

fn check_headers(headers: &Headers) -> Result<()> {
    if headers.set.len() > MOST_HEADERS {
        return Err(wrong("headers.set", format_args!("at most {MOST_HEADERS}")));
    }
    for (name, value) in &headers.set {
        let shown: String = name.chars().take(80).collect();
        let parsed = HeaderName::try_from(name.as_str())
            .map_err(|_| wrong("headers.set", format_args!("`{shown}` is not the name of a header")))?;
        if OWN_HEADERS.contains(&parsed.as_str()) {
            return Err(wrong("headers.set", format_args!("`{parsed}` is the proxy's own")));
        }
        check_value(&format!("headers.set.{parsed}"), value)?;
    }
    Ok(())
}

fn check_value(field: &str, value: &str) -> Result<()> {
    if value.len() > LONGEST_HEADER {
        return Err(wrong(field, "at most 8 KiB"));
    }
    match HeaderValue::from_str(value) {
        Ok(parsed) if parsed.to_str().is_ok() => Ok(()),
        _ => Err(wrong(field, "the value of a header is one line of ASCII")),
    }
}

fn check_redirect(redirect: &Redirect) -> Result<()> {
    if !REDIRECTS.contains(&redirect.status) {
        return Err(wrong(
            "redirect.status",
            format_args!("301, 302, 303, 307 or 308, not {}", redirect.status),
        ));
    }
    let filled = redirect.to.replace("{host}", "host.example").replace("{path}", "/path");
    let is_there = ["https://", "http://"].iter().any(|scheme| {
        filled.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    });
    let is_plain = filled.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}\"<>\\^`|".contains(&byte));
    if redirect.to.len() > LONGEST_URL || !is_there || !is_plain {
        return Err(wrong(
            "redirect.to",
            "it is an address such as \"https://docs.example.net\" or \"https://{host}{path}\"",
        ));
    }
    Ok(())
}

fn check_maintenance(page: &Maintenance) -> Result<()> {
    if page.text.len() > LARGEST_PAGE {
        return Err(wrong("maintenance.text", "at most 64 KiB"));
    }
    if !page.media.contains('/') {
        return Err(wrong("maintenance.media", "it is a media type such as \"text/html; charset=utf-8\""));
    }
    check_value("maintenance.media", &page.media)?;
    page.retry_after
        .map_or(Ok(()), |after| within("maintenance.retry_after", after, Duration::from_secs(1), 30 * A_DAY))
}
