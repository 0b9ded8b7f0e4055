//! Owns single sign-on for other services: an OpenID provider (OpenID Connect Core 1.0) with the authorization code flow and
//! PKCE (RFC 7636), and nothing else of OAuth 2.0. What is recorded and decided is [`crate::embedded`]'s; here is what can be
//! told from the words of a request alone.

mod client;
mod denial;
mod discovery;
mod id_token;
mod query;
mod request;
mod uri;

pub use client::{Client, Type};
pub use denial::{Denial, Kind};
pub use discovery::document;
pub(crate) use id_token::{About, claims_of, hint, sign};
pub use query::Pairs;
pub(crate) use query::decoded;
pub(crate) use request::is_verifier;
pub use request::{Grounds, Prompt, Request, Scope, Scopes};
pub(crate) use uri::with_parameters;
pub use uri::{check, loopback, site_path};

/// Where the provider is asked, under its issuer.
pub mod paths {
    /// Where a browser is sent to be let in.
    pub const AUTHORIZE: &str = "/sso/authorize";
    /// Where a client redeems a code.
    pub const TOKEN: &str = "/sso/token";
    /// Where a client asks who somebody is.
    pub const USERINFO: &str = "/sso/userinfo";
    /// Where a client gives a token back (RFC 7009).
    pub const REVOKE: &str = "/sso/revoke";
    /// Where a browser is sent to be signed out.
    pub const LOGOUT: &str = "/logout";
    /// Where a browser signs in.
    pub const LOGIN: &str = "/login";
    /// What a client reads first.
    pub const DISCOVERY: &str = "/.well-known/openid-configuration";
    /// The public keys.
    pub const KEYS: &str = "/.well-known/jwks.json";
}
