//! Owns what a client of single sign-on is: a service that lets people in whom the provider vouches for.

use std::collections::BTreeSet;

use effect::{Code, Error, Result, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::uri;
use crate::name::Name;

/// Addresses of one client.
const MOST_ADDRESSES: usize = 32;

/// How a client shows that it is the one that it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// By its secret, beside PKCE.
    #[default]
    Confidential,
    /// By PKCE alone: it runs where nothing can be kept secret.
    Public,
}

impl Type {
    /// The word for it, as in a script.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confidential => "confidential",
            Self::Public => "public",
        }
    }
}

/// A client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Client {
    /// Its `client_id`.
    pub id: Name,
    /// How it shows that it is the one.
    #[serde(rename = "type")]
    pub kind: Type,
    /// The service that people sign in to: the login policy is asked about it.
    pub service: Name,
    /// Where browsers may be sent back to, letter by letter.
    pub redirect_uris: BTreeSet<String>,
    /// Where browsers may be sent to after signing out.
    pub logout_uris: BTreeSet<String>,
    /// Counts its secrets.
    pub secret_version: u32,
    /// Its secret; nothing for a public client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
}

impl Client {
    /// Refuses what no client may be.
    ///
    /// # Errors
    /// `MC-W020` with what is wrong about it.
    pub fn check(&self) -> Result<()> {
        if self.service.as_str() == crate::web::OWN_SERVICE {
            let message = format!("`{}` cannot be a client for `{}` itself", self.id, self.service);
            return Err(Error::new(Code::SsoClient, message)
                .because("what it is given would be a session of whoever signs in to it"));
        }
        if self.redirect_uris.is_empty() {
            let message = format!("`{}` has no address that browsers may be sent back to", self.id);
            return Err(Error::new(Code::SsoClient, message).hint("name at least one in `redirect_uris`"));
        }
        for (field, addresses) in [("redirect_uris", &self.redirect_uris), ("logout_uris", &self.logout_uris)]
        {
            if addresses.len() > MOST_ADDRESSES {
                let message =
                    format!("`{field}`: a client has at most {MOST_ADDRESSES}, not {}", addresses.len());
                return Err(Error::new(Code::SsoClient, message));
            }
            for address in addresses {
                uri::check(field, address)?;
            }
        }
        Ok(())
    }

    /// Whether it differs from `other` in what can be described.
    #[must_use]
    pub fn differs(&self, other: &Self) -> bool {
        Self { secret: None, ..self.clone() } != Self { secret: None, ..other.clone() }
    }
}
