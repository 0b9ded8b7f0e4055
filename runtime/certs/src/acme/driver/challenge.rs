//! Owns proofs of names (RFC 8555, section 8): what a proof says, who offers it, and that no offer outlives its order.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use effect::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::Name;

/// A way of proving that a name is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ChallengeKind {
    /// A file at `http://NAME/.well-known/acme-challenge/TOKEN` (RFC 8555, section 8.3).
    #[serde(rename = "http-01")]
    Http,
    /// A record at `_acme-challenge.NAME` (RFC 8555, section 8.4).
    #[serde(rename = "dns-01")]
    Dns,
    /// A certificate at port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn,
}

impl fmt::Display for ChallengeKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Http => "http-01",
            Self::Dns => "dns-01",
            Self::TlsAlpn => "tls-alpn-01",
        })
    }
}

impl ChallengeKind {
    /// Whether names of this sort can be proven by it (RFC 8555, section 8.4; RFC 8738, section 7).
    pub(super) fn fits(self, name: &Name, is_wildcard: bool) -> bool {
        match (self, name) {
            (Self::Dns, name) => name.domain().is_some(),
            (Self::Http | Self::TlsAlpn, _) => !is_wildcard,
        }
    }
}

/// One proof that an authority asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The way.
    pub kind: ChallengeKind,
    /// The name to prove, without `*.`.
    pub name: Name,
    /// The authority's word for this proof: at most 256 letters, digits, `-` and `_`.
    pub token: String,
    /// What is to be found there (RFC 8555, section 8.1).
    pub key_authorization: String,
}

impl Challenge {
    /// SHA-256 of the key authorization, as tls-alpn-01 shows it.
    #[must_use]
    pub fn digest(&self) -> Vec<u8> {
        digest(&SHA256, self.key_authorization.as_bytes()).as_ref().to_vec()
    }

    /// The text of the TXT record for dns-01.
    #[must_use]
    pub fn dns_value(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.digest())
    }

    /// The name of the TXT record for dns-01.
    #[must_use]
    pub fn dns_name(&self) -> String {
        format!("_acme-challenge.{}", self.name)
    }
}

/// What offers proofs of one kind. Two of them may be offered at once, even for the same name.
#[async_trait]
pub trait Responder: Send + Sync {
    /// Their kind.
    fn kind(&self) -> ChallengeKind;

    /// Offers a proof; whoever asks finds it once this returns.
    ///
    /// # Errors
    /// Where it cannot be offered, such as `MC-E013`.
    async fn present(&self, challenge: &Challenge) -> Result<()>;

    /// Takes a proof back. One that is not offered is no error.
    ///
    /// # Errors
    /// Where it cannot be taken back.
    async fn withdraw(&self, challenge: &Challenge) -> Result<()>;
}

/// A proof while it is offered.
pub(super) struct Offer(Option<(Arc<dyn Responder>, Challenge)>);

impl Offer {
    pub(super) async fn make(responder: Arc<dyn Responder>, challenge: Challenge) -> Result<Self> {
        // Held before the attempt: what was offered by half is taken back as well.
        let offer = Self(Some((responder.clone(), challenge.clone())));
        responder.present(&challenge).await?;
        Ok(offer)
    }

    pub(super) async fn withdraw(mut self) {
        if let Some((responder, challenge)) = self.0.take() {
            take_back(&*responder, &challenge).await;
        }
    }
}

/// An order that is given up in the middle leaves nothing behind.
impl Drop for Offer {
    fn drop(&mut self) {
        let Some((responder, challenge)) = self.0.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { take_back(&*responder, &challenge).await });
        }
    }
}

async fn take_back(responder: &dyn Responder, challenge: &Challenge) {
    if let Err(error) = responder.withdraw(challenge).await {
        tracing::warn!(target: "certs", %error, name = %challenge.name, "a proof could not be taken back");
    }
}
