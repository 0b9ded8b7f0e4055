//! Owns requests as they are passed on: what was said of them by whichever version of HTTP, without what holds between
//! neighbours only.

use http::Method;

use super::fields::{Fields, Kind, kind};

/// A request that is not taken: the client gets the status and, with HTTP/1, a closed connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(super) status: u16,
    pub(super) why: &'static str,
}

pub(super) const fn refused<T>(status: u16, why: &'static str) -> Result<T, Refused> {
    Err(Refused { status, why })
}

/// What is known of the length of a body before it comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Length {
    /// There is none.
    #[default]
    None,
    /// So many octets.
    Exact(u64),
    /// It ends when it ends.
    Unknown,
}

/// A request.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) method: Method,
    /// As the client has it, with its port.
    pub(super) host: String,
    /// What routes are found by.
    pub(super) name: String,
    /// Path and query, or `*`.
    pub(super) target: String,
    /// What is passed on.
    pub(super) fields: Fields,
    pub(super) length: Length,
    /// The client waits for 100 before it sends the body.
    pub(super) expects: bool,
    /// The protocol that the client would like to change to.
    pub(super) upgrade: Vec<u8>,
    /// The client understands trailers (`te: trailers`).
    pub(super) trailers: bool,
    /// HTTP/1.0, which knows neither chunks nor 1xx.
    pub(super) is_old: bool,
    /// Another request may follow on the connection.
    pub(super) keeps: bool,
    forwarded_for: Vec<u8>,
    has_proto: bool,
    has_host: bool,
    has_id: bool,
}

/// What a back end is told of the client.
pub(super) struct Origin<'a> {
    pub(super) client: &'a str,
    pub(super) is_secure: bool,
}

impl Request {
    pub(super) fn clear(&mut self) {
        self.host.clear();
        self.name.clear();
        self.target.clear();
        self.fields.clear();
        self.length = Length::None;
        self.expects = false;
        self.upgrade.clear();
        self.trailers = false;
        self.is_old = false;
        self.keeps = true;
        self.forwarded_for.clear();
        self.has_proto = false;
        self.has_host = false;
        self.has_id = false;
    }

    /// Takes a field that is passed on as it is, or told anew: what frames and routes was read before. Of where the request
    /// comes from, only a trusted neighbour is believed.
    pub(super) fn take(&mut self, name: &[u8], value: &[u8], is_trusted: bool) {
        match kind(name) {
            Kind::Other | Kind::Cookie => self.fields.push(name, value),
            Kind::ForwardedFor if is_trusted => {
                if !self.forwarded_for.is_empty() {
                    self.forwarded_for.extend_from_slice(b", ");
                }
                self.forwarded_for.extend_from_slice(value);
            }
            Kind::Forwarded if is_trusted => {
                self.has_proto |= name.eq_ignore_ascii_case(b"x-forwarded-proto");
                self.has_host |= name.eq_ignore_ascii_case(b"x-forwarded-host");
                self.fields.push(name, value);
            }
            Kind::RequestId if is_trusted => {
                self.has_id = true;
                self.fields.push(name, value);
            }
            _ => {}
        }
    }

    /// Whether doing it twice is as doing it once (RFC 9110, section 9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
    }

    /// Whether it changes nothing (RFC 9110, section 9.2.1).
    pub(super) fn is_safe(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    /// Gives every field that a back end gets beside those of the client.
    pub(super) fn each_told(&self, origin: &Origin<'_>, mut give: impl FnMut(&'static str, &[u8])) {
        if self.forwarded_for.is_empty() {
            give("x-forwarded-for", origin.client.as_bytes());
        } else {
            let chain = [&self.forwarded_for, &b", "[..], origin.client.as_bytes()].concat();
            give("x-forwarded-for", &chain);
        }
        if !self.has_proto {
            give("x-forwarded-proto", if origin.is_secure { b"https" } else { b"http" });
        }
        if !self.has_host {
            give("x-forwarded-host", self.host.as_bytes());
        }
        if !self.has_id {
            give("x-request-id", super::id::next().as_bytes());
        }
    }
}

const KNOWN: [&str; 22] = [
    "PATCH",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
    "MKCALENDAR",
    "BIND",
    "UNBIND",
    "REBIND",
    "ACL",
    "VERSION-CONTROL",
    "CHECKIN",
    "CHECKOUT",
    "MERGE",
    "PURGE",
    "LINK",
    "QUERY",
];

/// Reads a method.
///
/// # Errors
/// 405 where it is one for proxies that tunnel or for looking into them, 501 where nobody knows it.
pub(super) fn method(name: &str) -> Result<Method, Refused> {
    match name {
        "GET" => Ok(Method::GET),
        "POST" => Ok(Method::POST),
        "HEAD" => Ok(Method::HEAD),
        "PUT" => Ok(Method::PUT),
        "DELETE" => Ok(Method::DELETE),
        "OPTIONS" => Ok(Method::OPTIONS),
        "CONNECT" | "TRACE" => refused(405, "this method is not taken"),
        other if KNOWN.contains(&other) => {
            Method::from_bytes(other.as_bytes()).or(refused(501, "this method is not known"))
        }
        _ => refused(501, "this method is not known"),
    }
}
