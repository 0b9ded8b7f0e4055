//! The drivers that lead to another issuer: an mcias that others run, by the calls of `proto/mcias`, and any provider of
//! OpenID, whose tokens are validated.
//!
//! Owns the settings of both, and for how long an answer is kept. Leaves the calls to `ask`, and signatures of other
//! issuers to `openid`.

mod ask;
mod client;
mod openid;
mod signature;

use std::path::PathBuf;
use std::time::Duration;

use effect::units::Span;
use effect::{Code, Error, Result, Timestamp};
use quick_cache::sync::Cache;
use serde::Deserialize;
use url::Url;

pub use self::client::Client;
pub use self::openid::OpenId;
use crate::driver::Holder;
use crate::name::Name;
use crate::random;

/// For how long an answer is kept: what the issuer revokes is refused after that.
const KEPT: Duration = Duration::from_secs(30);
const MOST_KEPT: usize = 16_384;

/// `[drivers.issuer]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// Its address, `"https://mcias.example:8443"`.
    pub url: String,
    /// The secret of mcrun.toml that holds the token of a system account there.
    pub token: String,
    /// A file of certificates in PEM that is trusted for the address instead of the system's authorities.
    pub ca: Option<PathBuf>,
    /// For how long one answer is waited for.
    #[serde(default = "timeout")]
    pub timeout: Span,
}

/// `[drivers.openid]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// The issuer as its tokens name it, beneath which `/.well-known/openid-configuration` is.
    pub issuer: String,
    /// What stands before the name of a service in `aud`; nothing unless given.
    #[serde(default)]
    pub audience_prefix: String,
    /// The claim that names the account; `sub` unless given.
    #[serde(default = "account_claim")]
    pub account_claim: String,
    /// The claim that lists roles, of which `admin`, `user` and `guest` count; none unless given.
    pub roles_claim: Option<String>,
    /// The claim that lists groups; none unless given.
    pub groups_claim: Option<String>,
    /// A file of certificates in PEM that is trusted for the address instead of the system's authorities.
    pub ca: Option<PathBuf>,
    /// For how long one answer is waited for.
    #[serde(default = "timeout")]
    pub timeout: Span,
}

fn timeout() -> Span {
    Span(Duration::from_secs(10))
}

fn account_claim() -> String {
    "sub".to_owned()
}

impl Issuer {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// `MC-U002`.
    pub fn check(&self) -> Result<()> {
        base(&self.url, "[drivers.issuer] url").map(drop)
    }
}

impl Provider {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// `MC-U002`.
    pub fn check(&self) -> Result<()> {
        base(&self.issuer, "[drivers.openid] issuer").map(drop)
    }
}

/// An address beneath which others are: TLS everywhere but on this very machine.
fn base(text: &str, key: &str) -> Result<Url> {
    let wrong = |why: &str| Error::new(Code::Config, format!("{key}: {why}"));
    let url = Url::parse(text).map_err(|_| wrong("this is no address"))?;
    let is_safe = url.scheme() == "https" || url.scheme() == "http" && peer::is_here(&url);
    if !is_safe {
        return Err(
            wrong("it is asked over HTTPS only").hint("write `https://…`; `http://` goes to 127.0.0.1 alone")
        );
    }
    let is_plain = !url.cannot_be_a_base()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if is_plain { Ok(url) } else { Err(wrong("it has more than scheme, host, port and path")) }
}

/// Answers that are kept, by SHA-256 of service and token.
struct Valid(Cache<[u8; 32], (Holder, Timestamp)>);

impl Default for Valid {
    fn default() -> Self {
        Self(Cache::new(MOST_KEPT))
    }
}

impl Valid {
    fn key(token: &str, service: &Name) -> [u8; 32] {
        // A name has no blank, so no two pairs are one text.
        random::sha256(format!("{service} {token}").as_bytes())
    }

    fn get(&self, key: &[u8; 32], now: Timestamp) -> Option<Holder> {
        let (holder, at) = self.0.get(key)?;
        let is_fresh = at <= now && now < at.after(KEPT) && now.0 < holder.expires_at;
        is_fresh.then_some(holder)
    }

    fn put(&self, key: [u8; 32], holder: &Holder, now: Timestamp) {
        self.0.insert(key, (holder.clone(), now));
    }

    fn forget(&self) {
        self.0.clear();
    }
}
