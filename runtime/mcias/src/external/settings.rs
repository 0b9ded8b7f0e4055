//! Owns what mcrun.toml says of other issuers: `[mcias.external.NAME]`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;

use crate::account::{MOST_WORDS, Role};
use crate::name::Name;

/// What sort of issuer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// GitHub, by OAuth 2.0 and its own calls.
    Github,
    /// Any OpenID provider, found by its discovery document.
    Oidc,
}

/// `[mcias.external.NAME]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// What sort it is.
    pub kind: Sort,
    /// What its button says; `GitHub`, or its name, unless given.
    pub title: Option<String>,
    /// What it knows this service by.
    pub client_id: String,
    /// The name of the secret that goes with it; its `to` lists `mcias:external`.
    pub client_secret: String,
    /// The issuer; for `oidc` only.
    pub issuer: Option<String>,
    /// Where GitHub itself is; `https://github.com` unless given.
    pub url: Option<String>,
    /// Where its calls are; `https://api.github.com` unless given.
    pub api: Option<String>,
    /// Certificates that its own is signed by, in a file; those of the system unless given.
    pub ca: Option<PathBuf>,
    /// Whether somebody whom nobody linked is known by an address that the provider has verified.
    #[serde(default)]
    pub match_email: bool,
    /// Whether an account is made for somebody whom nobody knows.
    #[serde(default)]
    pub create: bool,
    /// The roles of such an account, `user` or `guest`; `guest` unless given.
    pub roles: Option<BTreeSet<Role>>,
    /// The groups that it belongs to.
    #[serde(default)]
    pub groups: BTreeSet<Name>,
}

impl Provider {
    /// What its button says.
    #[must_use]
    pub fn title<'a>(&'a self, name: &'a Name) -> &'a str {
        let usual = match self.kind {
            Sort::Github => "GitHub",
            Sort::Oidc => name.as_str(),
        };
        self.title.as_deref().unwrap_or(usual)
    }

    /// The roles of an account that is made.
    #[must_use]
    pub fn roles(&self) -> BTreeSet<Role> {
        self.roles.clone().unwrap_or_else(|| [Role::Guest].into())
    }

    /// What is wrong about it, as it stands after the key.
    #[must_use]
    pub fn wrong(&self) -> Option<&'static str> {
        let is_address = |text: &String| super::parsed(text).is_ok() && !text.ends_with('/');
        let is_oidc = self.kind == Sort::Oidc;
        if self.client_id.is_empty() || self.client_secret.is_empty() {
            return Some("client_id and client_secret are needed");
        }
        if is_oidc != self.issuer.is_some() || is_oidc && (self.url.is_some() || self.api.is_some()) {
            return Some("issuer is for `oidc`, which needs it; url and api are for `github`");
        }
        if !self.create && (self.roles.is_some() || !self.groups.is_empty()) {
            return Some("roles and groups are of accounts that are made, which takes `create = true`");
        }
        if self.roles().contains(&Role::Admin) {
            return Some("roles: no admin is made by the word of others; `user` or `guest`");
        }
        if self.groups.len() > MOST_WORDS {
            return Some("groups: an account has at most 64");
        }
        let addresses = [&self.issuer, &self.url, &self.api];
        // Google's issuer has no slash at its end; others have, and it counts.
        let is_issuer = self.issuer.iter().all(|issuer| super::parsed(issuer).is_ok());
        let others = addresses.into_iter().skip(1).flatten().all(is_address);
        (!is_issuer || !others).then_some("addresses are https, or http to this machine")
    }

    pub(super) fn github_authorize(&self) -> String {
        format!("{}/login/oauth/authorize", self.url.as_deref().unwrap_or("https://github.com"))
    }

    pub(super) fn github_token(&self) -> String {
        format!("{}/login/oauth/access_token", self.url.as_deref().unwrap_or("https://github.com"))
    }

    pub(super) fn github_call(&self, path: &str) -> String {
        format!("{}{path}", self.api.as_deref().unwrap_or("https://api.github.com"))
    }
}
