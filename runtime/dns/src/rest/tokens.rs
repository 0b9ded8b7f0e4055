//! Owns who may make the calls: tokens, known by their hashes, each with the capabilities that it has.

use std::collections::BTreeMap;

use effect::policy::{Grants, Need, Policy};
use effect::{Code, Error, Result};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::Deserialize;

use crate::Secrets;
use crate::name::Name;

/// Octets of a token that is looked at.
const LONGEST_TOKEN: usize = 4096;
/// Octets of a token that cannot be guessed.
const SHORTEST_TOKEN: usize = 16;

/// One token, as mcrun.toml has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// The secret of mcrun.toml that holds it.
    pub secret: String,
    /// What may be done with it: `dns:write:svc.example/mcq` for one name, `dns:write:svc.example/*` for those of one label,
    /// `dns:write:svc.example/**` for the zone and everything in it, `dns:read:…` for reading. Names stand as in the zone,
    /// `@` for the zone's own.
    pub allow: Vec<String>,
}

struct Token {
    /// Whose it is, for the log.
    holder: String,
    hash: blake3::Hash,
    policy: Policy,
}

/// Everybody who may make calls.
#[derive(Default)]
pub struct Tokens {
    all: Vec<Token>,
}

/// Somebody who makes a call.
pub(super) struct Caller<'a> {
    pub(super) holder: &'a str,
    policy: &'a Policy,
}

impl Tokens {
    /// The tokens of `settings`, each by the name of its holder.
    ///
    /// # Errors
    /// `MC-P002` for a capability that is none, `MC-U002` for a token that could be guessed, and those of secrets.
    pub async fn read(settings: &BTreeMap<String, TokenSettings>, secrets: &Secrets) -> Result<Self> {
        let mut tokens = Self::default();
        for (holder, one) in settings {
            let value = secrets.value(&one.secret).await?;
            tokens.add(holder, &value, &Grants { allow: one.allow.clone(), ..Grants::default() })?;
        }
        Ok(tokens)
    }

    /// One more token, of `holder`.
    ///
    /// # Errors
    /// As [`Tokens::read`].
    pub fn add(&mut self, holder: &str, token: &[u8], grants: &Grants) -> Result<()> {
        if !(SHORTEST_TOKEN..=LONGEST_TOKEN).contains(&token.len()) {
            let message = format!("the token of `{holder}` has less than 16 or more than 4096 characters");
            return Err(Error::new(Code::Config, message)
                .hint("`openssl rand -hex 32` makes one that nobody guesses"));
        }
        let policy = Policy::new(None, grants)?;
        self.all.push(Token { holder: holder.to_owned(), hash: blake3::hash(token), policy });
        Ok(())
    }

    /// Whose token a request bears. Every token is compared, in a time that does not depend on how much of it is right.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Option<Caller<'_>> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let (value, None) = (given.next()?.to_str().ok()?, given.next()) else { return None };
        let (scheme, token) = value.split_once(' ')?;
        let token = token.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || token.len() > LONGEST_TOKEN {
            return None;
        }
        let hash = blake3::hash(token.as_bytes());
        // Hashes of blake3 are compared in constant time.
        let mut found = None;
        for token in &self.all {
            if token.hash == hash {
                found = Some(token);
            }
        }
        let found = found?;
        Some(Caller { holder: &found.holder, policy: &found.policy })
    }
}

impl Caller<'_> {
    pub(super) fn reads_zone(&self, zone: &Name) -> bool {
        self.policy.allows(&Need::read("dns", zone.to_string()))
    }

    pub(super) fn writes_zone(&self, zone: &Name) -> bool {
        self.policy.allows(&Need::write("dns", zone.to_string()))
    }

    pub(super) fn reads(&self, zone: &Name, name: &Name) -> bool {
        self.policy.allows(&Need::read("dns", format!("{zone}/{}", name.in_zone(zone))))
    }

    pub(super) fn writes(&self, zone: &Name, name: &Name) -> bool {
        self.policy.allows(&Need::write("dns", format!("{zone}/{}", name.in_zone(zone))))
    }
}
