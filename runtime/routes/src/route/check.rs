//! Owns what the types of a route cannot tell: values out of range, and fields that do not go together.

mod terms;

use std::time::Duration;

use effect::units::Span;
use effect::{Code, Error, Result};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};

use super::{BackendTls, Health, Mode, Protocol, Route};

const MOST_BACKENDS: usize = 64;
const MOST_RETRIES: u8 = 5;
const MOST_AUTHORITIES: usize = 64;
const LONGEST_PEM: usize = 256 << 10;
const LONGEST_NAME: usize = 253;
const LONGEST_PATH: usize = 1024;
const AN_HOUR: Duration = Duration::from_secs(3600);

/// The refusal of a field.
fn wrong(field: &str, why: impl std::fmt::Display) -> Error {
    Error::new(Code::RouteTerms, format!("`{field}`: {why}"))
}

/// Refuses a time outside of `least` and `most`.
fn within(field: &str, span: Span, least: Duration, most: Duration) -> Result<()> {
    if (least..=most).contains(&span.0) {
        return Ok(());
    }
    Err(wrong(field, format_args!("from {} to {}, not {span}", Span(least), Span(most))))
}

/// Refuses a name that would not be one line of plain text.
fn plain(field: &str, text: &str) -> Result<()> {
    if text.is_empty() || text.len() > LONGEST_NAME || text.contains(char::is_control) {
        return Err(wrong(field, format_args!("it takes 1 to {LONGEST_NAME} characters of plain text")));
    }
    Ok(())
}

impl Route {
    /// Refuses what does not go together.
    ///
    /// # Errors
    /// `MC-G002` naming the field.
    pub fn check(&self) -> Result<()> {
        if self.listen == 0 {
            return Err(wrong("listen", "a port is a number from 1 to 65535"));
        }
        self.service.as_deref().map_or(Ok(()), |service| plain("service", service))?;
        self.cert.as_deref().map_or(Ok(()), |cert| plain("cert", cert))?;
        match self.mode {
            Mode::L4 => self.check_bytes()?,
            Mode::L7 => self.check_requests()?,
        }
        self.check_backends()?;
        self.health.as_ref().map_or(Ok(()), check_health)?;
        self.backend_tls.as_ref().map_or(Ok(()), check_tls)?;
        self.check_terms()?;
        within("drain", self.drain, Duration::ZERO, AN_HOUR)
    }

    /// The same in the form in which routes are compared: the order of back ends and rules says nothing.
    #[must_use]
    pub fn in_order(mut self) -> Self {
        self.backends.sort_unstable();
        for networks in [&mut self.access.allow, &mut self.access.deny] {
            networks.sort_unstable();
            networks.dedup();
        }
        for countries in [&mut self.access.allow_countries, &mut self.access.deny_countries] {
            countries.iter_mut().for_each(|country| country.make_ascii_uppercase());
            countries.sort_unstable();
            countries.dedup();
        }
        let set = std::mem::take(&mut self.headers.set);
        self.headers.set = set.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        self
    }

    /// What is told apart by the ClientHello alone knows nothing of requests.
    fn check_bytes(&self) -> Result<()> {
        let of_requests = [
            ("cert", self.cert.is_some()),
            ("path", self.path.as_str() != "/"),
            ("protocol", self.protocol != Protocol::Http1),
            ("backend_tls", self.backend_tls.is_some()),
            ("health.http", self.health.as_ref().is_some_and(|health| health.http.is_some())),
            ("limits.body", self.limits.body.is_some()),
            ("headers", self.headers != super::Headers::default()),
            ("redirect", self.redirect.is_some()),
            ("maintenance", self.maintenance.is_some()),
        ];
        if let Some((field, _)) = of_requests.into_iter().find(|(_, is_there)| *is_there) {
            return Err(wrong(field, "a route of mode `l4` passes bytes on and sees no requests"));
        }
        if self.hostname.as_str().parse::<std::net::IpAddr>().is_ok() {
            return Err(wrong("hostname", "no ClientHello names an address: `*` takes what has no name"));
        }
        if self.backends.is_empty() {
            return Err(wrong("backends", "a route of mode `l4` has at least one"));
        }
        Ok(())
    }

    fn check_requests(&self) -> Result<()> {
        if self.backends.is_empty() && self.redirect.is_none() && self.maintenance.is_none() {
            return Err(wrong("backends", "a route has back ends, a `redirect` or a `maintenance` page"));
        }
        if self.redirect.is_some() && self.maintenance.is_some() {
            return Err(wrong("maintenance", "what is sent elsewhere by `redirect` never sees the page"));
        }
        Ok(())
    }

    fn check_backends(&self) -> Result<()> {
        if self.backends.len() > MOST_BACKENDS {
            return Err(wrong("backends", format_args!("at most {MOST_BACKENDS}")));
        }
        for (index, backend) in self.backends.iter().enumerate() {
            if self.backends[..index].contains(backend) {
                return Err(wrong("backends", format_args!("`{backend}` is there twice")));
            }
        }
        if self.retries > MOST_RETRIES {
            return Err(wrong("retries", format_args!("at most {MOST_RETRIES}")));
        }
        Ok(())
    }
}

fn check_health(health: &Health) -> Result<()> {
    if let Some(path) = &health.http {
        let fits = path.starts_with('/')
            && path.len() <= LONGEST_PATH
            && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if !fits {
            return Err(wrong("health.http", "it is a path such as \"/healthz\""));
        }
    }
    within("health.every", health.every, Duration::from_millis(100), AN_HOUR)?;
    within("health.timeout", health.timeout, Duration::from_millis(10), Duration::from_secs(60))
}

fn check_tls(tls: &BackendTls) -> Result<()> {
    if tls.ca.len() > LONGEST_PEM {
        return Err(wrong("backend_tls.ca", "at most 256 KiB"));
    }
    let mut roots = RootCertStore::empty();
    for found in CertificateDer::pem_slice_iter(tls.ca.as_bytes()) {
        let found = found.map_err(|error| wrong("backend_tls.ca", "it is not PEM").because(error))?;
        roots.add(found).map_err(|error| {
            wrong("backend_tls.ca", "it holds something that is no certificate").because(error)
        })?;
        if roots.len() > MOST_AUTHORITIES {
            return Err(wrong("backend_tls.ca", format_args!("at most {MOST_AUTHORITIES} certificates")));
        }
    }
    if roots.is_empty() {
        return Err(wrong("backend_tls.ca", "it holds no certificate in PEM"));
    }
    match tls.name.as_deref().map(ServerName::try_from) {
        Some(Err(_)) => Err(wrong("backend_tls.name", "it is neither a host name nor an address")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
