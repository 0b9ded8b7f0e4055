//! Owns what certificate authorities are answered that ask whether a host name is ours.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;

use crate::driver::Material;

/// Challenges that are open at once.
const MOST: usize = 4096;

/// A challenge of a certificate authority that is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// By what it is withdrawn.
    pub id: String,
    /// What is answered.
    pub proof: Proof,
}

/// What is answered to a certificate authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// http-01 (RFC 8555, section 8.3): what is at `/.well-known/acme-challenge/TOKEN`.
    Http01 {
        /// The last segment of the path.
        token: String,
        /// The body of the answer.
        key_authorization: String,
    },
    /// tls-alpn-01 (RFC 8737): what is shown to a client that speaks `acme-tls/1`.
    TlsAlpn01 {
        /// For which name.
        hostname: String,
        /// The certificate that proves it.
        material: Material,
    },
}

#[derive(Debug)]
pub(crate) enum Ready {
    Http01 { token: String, key_authorization: String },
    TlsAlpn01 { hostname: String, config: Arc<ServerConfig> },
}

/// The challenges that are open.
#[derive(Debug, Default)]
pub(crate) struct Challenges(RwLock<BTreeMap<String, Ready>>);

impl Challenges {
    /// Whether there was room for it.
    pub(crate) fn offer(&self, id: String, ready: Ready) -> bool {
        let mut open = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let has_room = open.len() < MOST || open.contains_key(&id);
        if has_room {
            open.insert(id, ready);
        }
        has_room
    }

    pub(crate) fn withdraw(&self, id: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    pub(crate) fn http(&self, wanted: &str) -> Option<String> {
        let open = self.0.read().unwrap_or_else(PoisonError::into_inner);
        open.values().find_map(|ready| match ready {
            Ready::Http01 { token, key_authorization } if token == wanted => Some(key_authorization.clone()),
            _ => None,
        })
    }

    pub(crate) fn tls(&self, wanted: &str) -> Option<Arc<ServerConfig>> {
        let open = self.0.read().unwrap_or_else(PoisonError::into_inner);
        open.values().find_map(|ready| match ready {
            Ready::TlsAlpn01 { hostname, config } if hostname.eq_ignore_ascii_case(wanted) => {
                Some(Arc::clone(config))
            }
            _ => None,
        })
    }
}
