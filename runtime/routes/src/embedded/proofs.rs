//! Owns proofs for certificate authorities that the proxy offers (RFC 8555, section 8.3; RFC 8737). Each is recorded, so
//! that an edge which comes later offers it too, and is forgotten an hour after, whoever made it.

use std::time::Duration;

use effect::{Code, Error, Result, Timestamp};
use journal::{Expect, Write};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Embedded, rows};

/// Longer than any authority takes to look.
const LIFE: Duration = Duration::from_secs(3600);

/// A proof that a name is ours. Everybody may know what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum Proof {
    /// At `/.well-known/acme-challenge/TOKEN` of the port for plain requests.
    #[serde(rename = "http-01")]
    Http {
        /// The authority's word for it.
        token: String,
        /// What is found there.
        key_authorization: String,
    },
    /// In a certificate, at every port with certificates.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn {
        /// The name to prove.
        hostname: String,
        /// The authority's word for it.
        token: String,
        /// What the certificate shows the digest of.
        key_authorization: String,
    },
}

impl Proof {
    /// What it is recorded under.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Http { token, .. } => format!("http-01 {token}"),
            Self::TlsAlpn { hostname, token, .. } => format!("tls-alpn-01 {hostname} {token}"),
        }
    }
}

/// A proof as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offered {
    #[serde(flatten)]
    pub(super) proof: Proof,
    /// From when it counts no more.
    pub(super) until: Timestamp,
}

impl Embedded {
    /// Whether proofs are offered at the port for plain requests.
    #[must_use]
    pub fn offers_http(&self) -> bool {
        !self.settings.addresses.is_empty() && self.settings.http.is_some()
    }

    /// Whether proofs are offered where certificates are shown.
    #[must_use]
    pub fn offers_tls(&self) -> bool {
        !self.settings.addresses.is_empty()
    }

    /// Offers a proof; whoever asks finds it once this returns.
    ///
    /// # Errors
    /// `MC-U002` where there is no place to offer it at, `MC-G011` where no edge answers.
    pub async fn offer(&self, proof: &Proof) -> Result<()> {
        let has_place = match proof {
            Proof::Http { .. } => self.offers_http(),
            Proof::TlsAlpn { .. } => self.offers_tls(),
        };
        if !has_place {
            let message = "the proxy has no port at which it could offer a proof to a certificate authority";
            return Err(Error::new(Code::Config, message)
                .hint("name `addresses` under [routes] in mcrun.toml, and for http-01 the port `http`"));
        }
        let journal = self.store.journal();
        let now = journal.clock().now();
        let mut writes = Vec::new();
        for row in journal.records(rows::PROOF, Some(self.store.node())).await? {
            // One that cannot be read is as good as over.
            if serde_json::from_str(&row.value).ok().is_none_or(|offered: Offered| offered.until <= now) {
                writes.push(self.proof_write(&row.name, None));
            }
        }
        let offered = Offered { proof: proof.clone(), until: now.after(LIFE) };
        writes.push(self.proof_write(&proof.id(), Some(json!(offered).to_string())));
        journal.write(writes).await?;
        self.gateway.settle_proof(&proof.id(), true).await
    }

    /// Takes a proof back. One that is not offered is no error.
    ///
    /// # Errors
    /// Where the journal cannot be written.
    pub async fn withdraw(&self, proof: &Proof) -> Result<()> {
        self.store.journal().write(vec![self.proof_write(&proof.id(), None)]).await?;
        Ok(())
    }

    fn proof_write(&self, id: &str, value: Option<String>) -> Write {
        let (kind, node) = (rows::PROOF.to_owned(), self.store.node().to_owned());
        Write { kind, node, name: id.to_owned(), value, expect: Expect::Any }
    }
}
