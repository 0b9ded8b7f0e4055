//! The driver for any authority that speaks ACME (RFC 8555, RFC 9773).
//!
//! Owns what the driver is put together from and what it can do. Leaves accounts and orders to the files beneath, and
//! proofs of names to [`Responder`]s: http-01 and tls-alpn-01 are built in, dns-01 comes from whoever can write records.

mod account;
mod challenge;
mod door;
mod http;
mod order;
mod proof;
mod session;
mod settings;
mod tls;

use std::sync::Arc;

use async_trait::async_trait;
use effect::{Code, Error, Result, Sealer, Timestamp};
use instant_acme::{CertificateIdentifier, RevocationReason, RevocationRequest};
use journal::Journal;
use rustls::pki_types::CertificateDer;
use tokio::sync::Mutex;
use url::Url;

use crate::Secrets;
use crate::driver::{Driver, Feature, Issued, Order, Progress, Reason};
use crate::key::{Key, KeyType};
use crate::names::Name;
use crate::peer::{Jitter, Patience, Peer};

use account::Accounts;
pub use challenge::{Challenge, ChallengeKind, Responder};
use session::{Session, Traffic, ask, is_problem};
pub use settings::{Binding, Settings};
pub use tls::{proof_certificate, server_name};

/// What the driver is put together from.
pub struct Parts {
    /// Where the account is recorded.
    pub journal: Journal,
    /// The node that records are kept under.
    pub node: String,
    /// What seals the account's key.
    pub sealer: Arc<Sealer>,
    /// The secrets that it may have: those for `certs:acme`.
    pub secrets: Secrets,
    /// Where the chance in waits comes from.
    pub jitter: Arc<Jitter>,
    /// How long the authority is waited for.
    pub patience: Patience,
    /// What answers challenges; of a kind that is not here the built-in one does, if there is one.
    pub responders: Vec<Arc<dyn Responder>>,
}

/// The way to one ACME authority.
pub struct Client {
    settings: Settings,
    directory: Url,
    peer: Arc<Peer>,
    accounts: Accounts,
    responders: Responders,
    features: Vec<Feature>,
}

const FEATURES: [Feature; 6] = [
    Feature::Key(KeyType::P256),
    Feature::Key(KeyType::P384),
    Feature::Key(KeyType::Rsa2048),
    Feature::Key(KeyType::Rsa3072),
    Feature::Revocation,
    Feature::Addresses,
];

impl Client {
    /// Puts it together; nothing is asked yet.
    ///
    /// # Errors
    /// `MC-D001` where the settings make no sense.
    pub fn new(settings: Settings, parts: Parts) -> Result<Self> {
        let directory = Url::parse(&settings.directory).map_err(|error| {
            Error::new(
                Code::Config,
                format!("[drivers.acme] directory: `{}` is no address", settings.directory),
            )
            .because(error)
        })?;
        let responders = Responders::new(&settings, parts.responders)?;
        let has = |kind: ChallengeKind| responders.0.iter().any(|responder| responder.kind() == kind);
        let mut features = FEATURES.to_vec();
        if has(ChallengeKind::Dns) {
            features.push(Feature::Wildcards);
        }
        if !has(ChallengeKind::Http) && !has(ChallengeKind::TlsAlpn) {
            features.retain(|feature| *feature != Feature::Addresses);
        }
        let clock = parts.journal.clock().clone();
        let peer = Arc::new(Peer::new(settings.ca.clone(), parts.patience, clock, parts.jitter));
        let accounts = Accounts {
            journal: parts.journal,
            node: parts.node,
            sealer: parts.sealer,
            secrets: parts.secrets,
            making: Mutex::default(),
        };
        Ok(Self { settings, directory, peer, accounts, responders, features })
    }

    async fn session(&self) -> Result<Session> {
        let traffic = Traffic::new(self.peer.clone(), self.directory.clone());
        self.accounts.open(&self.settings, traffic).await
    }

    async fn attempt(&self, order: &Order<'_>, progress: &dyn Progress) -> Result<Issued> {
        let session = self.session().await?;
        let preferred = self.settings.preferred_chain.as_deref();
        let carried = order::carry_out(&session, &self.responders, preferred, order, progress).await;
        match carried {
            Err(error) if session.traffic.has_lost_account(&error) => {
                tracing::warn!(target: "certs", %error, "the authority lost the account: registering the same key again");
                self.accounts.forget(self.directory.as_str()).await?;
                let session = self.session().await?;
                let chain = order::carry_out(&session, &self.responders, preferred, order, progress).await?;
                Ok(Issued { chain })
            }
            carried => carried.map(|chain| Issued { chain }),
        }
    }
}

#[async_trait]
impl Driver for Client {
    fn name(&self) -> &'static str {
        "acme"
    }

    fn features(&self) -> &[Feature] {
        &self.features
    }

    fn remedy(&self, missing: Feature) -> Option<&'static str> {
        match missing {
            Feature::Wildcards => {
                Some("wildcards are proven by dns-01 alone: list it under `challenges` of [drivers.acme]")
            }
            Feature::Addresses => Some(
                "addresses are proven by http-01 or tls-alpn-01: list one under `challenges` of [drivers.acme]",
            ),
            _ => None,
        }
    }

    async fn issue(&self, order: &Order<'_>, progress: &dyn Progress) -> Result<Issued> {
        let patience = self.peer.patience().order;
        tokio::time::timeout(patience, self.attempt(order, progress)).await.unwrap_or_else(|_| {
            let cause = format!("the order for {} was not carried out within {patience:?}", order.names);
            Err(crate::peer::unavailable(&self.directory, cause)
                .hint("the order is kept: the next attempt goes on with it")
                .retryable())
        })
    }

    async fn revoke(&self, chain: &[CertificateDer<'static>], _: &Key, reason: Reason) -> Result<()> {
        let certificate = chain
            .first()
            .ok_or_else(|| Error::new(Code::CertificateUnknown, "there is no certificate to revoke"))?;
        let session = self.session().await?;
        ask!(session.traffic, "the revocation", async {
            let request = RevocationRequest { certificate, reason: Some(their_reason(reason)) };
            match session.account.revoke(&request).await {
                Err(error) if is_problem(&error, "alreadyRevoked") => Ok(()),
                other => other,
            }
        })
    }

    async fn roots(&self) -> Result<Vec<CertificateDer<'static>>> {
        let Some(path) = self.settings.roots.clone() else { return Ok(Vec::new()) };
        tokio::task::spawn_blocking(move || crate::peer::certificates(&path))
            .await
            .map_err(|error| Error::ended("reading certificates ended early", &error))?
    }

    async fn renewal_window(
        &self,
        chain: &[CertificateDer<'static>],
    ) -> Result<Option<(Timestamp, Timestamp)>> {
        let Some(id) = chain.first().and_then(|first| CertificateIdentifier::try_from(first).ok()) else {
            return Ok(None);
        };
        let session = self.session().await?;
        let found = ask!(session.traffic, "the renewal window", async {
            match session.account.renewal_info(&id).await {
                Err(instant_acme::Error::Unsupported(_)) => Ok(None),
                other => other.map(|(info, _)| Some(info.suggested_window)),
            }
        })?;
        let millis = |moment: time::OffsetDateTime| Timestamp(moment.unix_timestamp().saturating_mul(1000));
        Ok(found.map(|window| (millis(window.start), millis(window.end))))
    }
}

fn their_reason(reason: Reason) -> RevocationReason {
    match reason {
        Reason::Unspecified => RevocationReason::Unspecified,
        Reason::KeyCompromise => RevocationReason::KeyCompromise,
        Reason::AffiliationChanged => RevocationReason::AffiliationChanged,
        Reason::Superseded => RevocationReason::Superseded,
        Reason::CessationOfOperation => RevocationReason::CessationOfOperation,
        Reason::PrivilegeWithdrawn => RevocationReason::PrivilegeWithdrawn,
    }
}

/// The built-in answer to http-01: a listener that is there only while an order is open.
#[must_use]
pub fn http_listener(settings: &Settings) -> Arc<dyn Responder> {
    Arc::new(http::Http::new(settings.http))
}

/// The built-in answer to tls-alpn-01.
///
/// # Errors
/// Where TLS cannot be set up.
pub fn tls_listener(settings: &Settings) -> Result<Arc<dyn Responder>> {
    Ok(Arc::new(tls::TlsAlpn::new(settings.tls)?))
}

/// What answers challenges, the preferred way first.
struct Responders(Vec<Arc<dyn Responder>>);

impl Responders {
    fn new(settings: &Settings, given: Vec<Arc<dyn Responder>>) -> Result<Self> {
        let one = |kind: &ChallengeKind| -> Result<Arc<dyn Responder>> {
            if let Some(responder) = given.iter().find(|responder| responder.kind() == *kind) {
                return Ok(responder.clone());
            }
            match kind {
                ChallengeKind::Http => Ok(http_listener(settings)),
                ChallengeKind::TlsAlpn => tls_listener(settings),
                ChallengeKind::Dns => Err(Error::new(
                    Code::Config,
                    "[drivers.acme] challenges: nothing here can write records for dns-01",
                )
                .hint("use \"http-01\" or \"tls-alpn-01\"")),
            }
        };
        Ok(Self(settings.challenges.iter().map(one).collect::<Result<_>>()?))
    }

    /// The first responder that can prove `name` with something that the authority offers.
    fn choose<'a, T>(
        &self,
        name: &Name,
        is_wildcard: bool,
        offered: impl Fn(ChallengeKind) -> Option<&'a T>,
    ) -> Result<(Arc<dyn Responder>, &'a T)> {
        let fitting = self.0.iter().filter(|responder| responder.kind().fits(name, is_wildcard));
        let found =
            fitting.filter_map(|responder| Some((responder.clone(), offered(responder.kind())?))).next();
        found.ok_or_else(|| {
            let kinds: Vec<String> = self.0.iter().map(|responder| responder.kind().to_string()).collect();
            let star = if is_wildcard { "*." } else { "" };
            let message = format!("`{star}{name}` cannot be proven by {}", kinds.join(" or "));
            let told = Error::new(Code::ProofNotOffered, message);
            if is_wildcard {
                told.because("wildcards are proven by dns-01 alone")
                    .hint("list \"dns-01\" under `challenges` of [drivers.acme]")
            } else {
                told.because("the authority offers no other way")
                    .hint("list another way under `challenges` of [drivers.acme]")
            }
        })
    }
}
