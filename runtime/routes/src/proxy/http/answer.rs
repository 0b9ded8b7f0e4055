//! Owns answers as they are passed on, and those that the proxy gives itself.

use crate::route::Headers;

use super::fields::{Fields, Kind, kind};

/// How the body of an answer ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Body {
    /// There is none.
    #[default]
    Empty,
    /// After so many octets.
    Length(u64),
    /// With its last chunk, or the end of its stream.
    Marked,
    /// With the connection.
    Close,
}

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) reason: Vec<u8>,
    /// What is passed on.
    pub(super) fields: Fields,
    pub(super) body: Body,
    /// What it says of its length, also where it has no body (as to HEAD).
    pub(super) length: Option<u64>,
    /// The connection can take another request.
    pub(super) keeps: bool,
    /// The protocol that it changes to.
    pub(super) upgrade: Vec<u8>,
}

impl Answer {
    pub(super) fn clear(&mut self) {
        self.status = 0;
        self.reason.clear();
        self.fields.clear();
        self.body = Body::Empty;
        self.length = None;
        self.keeps = false;
        self.upgrade.clear();
    }

    /// Comes before the answer proper.
    pub(super) fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// Whether its end is seen without the end of the connection.
    pub(super) fn ends_itself(&self) -> bool {
        self.body != Body::Close
    }

    /// Says how its body ends (RFC 9112, section 6.3).
    pub(super) fn frame(
        &mut self,
        is_chunked: bool,
        octets: Option<u64>,
        is_to_head: bool,
    ) -> Result<(), &'static str> {
        if is_chunked && octets.is_some() {
            return Err("two lengths of one body");
        }
        let has_none = is_to_head || matches!(self.status, 100..200 | 204 | 304);
        self.length = octets.filter(|_| !matches!(self.status, 100..200 | 204));
        self.body = match (has_none, is_chunked, octets) {
            (true, ..) | (_, _, Some(0)) => Body::Empty,
            (_, true, _) => Body::Marked,
            (_, _, Some(octets)) => Body::Length(octets),
            _ => Body::Close,
        };
        Ok(())
    }

    /// Takes a field that is passed on.
    pub(super) fn take(&mut self, name: &[u8], value: &[u8]) {
        if matches!(
            kind(name),
            Kind::Other | Kind::Cookie | Kind::Forwarded | Kind::ForwardedFor | Kind::RequestId | Kind::Alias
        ) {
            self.fields.push(name, value);
        }
    }

    /// Adds what a route adds to its answers.
    pub(super) fn dress(&mut self, headers: &Headers, is_secure: bool) {
        if !headers.set.is_empty() {
            let mut kept = Fields::default();
            for (name, value) in self.fields.iter() {
                let is_set = headers.set.keys().any(|set| set.as_bytes().eq_ignore_ascii_case(name));
                if !is_set {
                    kept.push(name, value);
                }
            }
            for (name, value) in &headers.set {
                kept.push(name.as_bytes(), value.as_bytes());
            }
            self.fields = kept;
        }
        if headers.security {
            let transport = is_secure.then_some(("strict-transport-security", "max-age=31536000"));
            let others = [
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "SAMEORIGIN"),
                ("referrer-policy", "strict-origin-when-cross-origin"),
            ];
            for (name, value) in transport.into_iter().chain(others) {
                if !self.fields.has(name) {
                    self.fields.push(name.as_bytes(), value.as_bytes());
                }
            }
        }
    }

    /// A short answer of the proxy's own.
    pub(super) fn own(&mut self, status: u16, media: &str, text: &[u8], is_to_head: bool) {
        self.clear();
        self.status = status;
        self.reason.extend_from_slice(reason(status).as_bytes());
        self.fields.push(b"content-type", media.as_bytes());
        self.length = Some(text.len() as u64);
        self.body = match text.len() as u64 {
            _ if is_to_head => Body::Empty,
            0 => Body::Empty,
            octets => Body::Length(octets),
        };
    }
}

/// The words for a status.
pub(super) fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown")
}
