//! Owns the embedded authority: a sealed root that is needed only to make intermediates, an online intermediate that
//! signs, and the record of everything it signed.
//!
//! What a certificate says is decided here; a request supplies its key and its names and nothing else. Every certificate
//! is recorded before anybody gets it, under a serial number that follows from the order's token: the same order gives
//! the same certificate, and no number is given twice.

mod build;
mod crl;
mod for_acme;
mod hierarchy;
mod ledger;
mod portable;
mod root;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Error, Result, Sealer, Timestamp};
use journal::{Clock, Expect, Journal, Work, Write};
use rustls::pki_types::CertificateDer;

use crate::driver::{Driver, Feature, Issued, Order, Progress, Reason};
use crate::key::{Key, check_public};
use crate::names::Names;
use crate::profile::Profile;

pub use crl::List;
pub use for_acme::ForAcme;
pub use hierarchy::{Intermediate, Root, Standing};
pub use ledger::{Issuance, Revoked};
pub use portable::Imported;
pub use root::Passphrase;

/// Certificates begin to be valid this much before they are made: clocks differ.
const BACKDATED: Duration = Duration::from_secs(300);
/// How long another process's rotation may go unseen.
const REFRESHED: Duration = Duration::from_secs(1);

/// What the operator says of the embedded authority.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The name that its certificates bear.
    pub name: Option<String>,
    /// Where its lists of revoked certificates and its own certificates are served, `http://ca.example:8880`.
    pub url: Option<String>,
    /// Domains and networks beyond which nothing that it signs is valid (RFC 5280, section 4.2.1.10).
    pub constraints: Vec<String>,
}

impl Settings {
    pub(crate) fn check(&self) -> Result<()> {
        build::Constraints::parse(&self.constraints)?;
        let is_plain =
            |url: &str| url.starts_with("http://") && url.is_ascii() && !url.contains(char::is_whitespace);
        match self.url.as_deref() {
            // Whoever checks a certificate cannot check another one for that first.
            Some(url) if !is_plain(url) => {
                Err(Error::new(Code::Config, format!("[certs] url: `{url}` does not begin with `http://`")))
            }
            _ => Ok(()),
        }
    }
}

/// The authority of one state directory.
pub struct Authority {
    journal: Journal,
    sealer: Arc<Sealer>,
    clock: Arc<dyn Clock>,
    node: String,
    state: PathBuf,
    settings: Settings,
    active: Mutex<Option<Active>>,
    lists: Mutex<crl::Cache>,
}

/// The intermediate that signs, as it was read at a moment.
#[derive(Clone)]
struct Active {
    signer: Arc<build::Signer>,
    read: Timestamp,
}

/// What is signed.
#[derive(Debug)]
pub struct Request<'a> {
    /// The same whenever this very order is tried again.
    pub token: &'a str,
    /// The names, which policy has allowed.
    pub names: &'a Names,
    /// What the certificate may be used for.
    pub profile: &'a Profile,
    /// The public key, a SubjectPublicKeyInfo in DER.
    pub public: &'a [u8],
    /// How long it lives; as the profile says unless given.
    pub lifetime: Option<Duration>,
    /// The service that it is for.
    pub service: Option<&'a str>,
}

impl Authority {
    /// The authority of the state directory `state`. Nothing is read or made before it is needed.
    #[must_use]
    pub fn new(journal: Journal, sealer: Arc<Sealer>, node: &str, state: &Path, settings: Settings) -> Self {
        let clock = journal.clock().clone();
        Self {
            journal,
            sealer,
            clock,
            node: node.to_owned(),
            state: state.to_owned(),
            settings,
            active: Mutex::default(),
            lists: Mutex::default(),
        }
    }

    /// Signs what is asked for and records it. The chain leads to the root, without it.
    ///
    /// # Errors
    /// `MC-E002` for names beyond the authority's constraints, `MC-E003` for a weak key, `MC-E005` where the authority
    /// cannot sign, `MC-E007` where the clock is behind.
    pub async fn sign(&self, request: &Request<'_>) -> Result<Issued> {
        check_public(request.public)?;
        // Those who ask at once share commits.
        let _working = self.journal.working(Work::Effect);
        let signer = self.signer().await?;
        let now = self.clock.now();
        signer.check(now)?;
        signer.admit(request.names)?;
        let serial = ledger::serial(&self.sealer, &self.node, request.token);
        let made = build::certificate(&signer, request, &serial, now, self.settings.url.as_deref())?;
        let issuance = Issuance::new(request, &serial, &signer.id, &made);
        match self.journal.write(vec![issuance.first_write(&self.node)]).await {
            Ok(()) => Ok(Issued { chain: signer.chain_of(made.der) }),
            Err(journal::Error::Conflict { .. }) => self.signed_before(&serial, request).await,
            Err(error) => Err(error.into()),
        }
    }

    /// What an earlier attempt of the same order was given.
    async fn signed_before(&self, serial: &ledger::Serial, request: &Request<'_>) -> Result<Issued> {
        let issuance = self
            .issuance(&serial.to_string())
            .await?
            .ok_or_else(|| Error::new(Code::Internal, "a certificate that is recorded cannot be found"))?;
        let certificate = issuance.certificate()?;
        if crate::certificate::Facts::of(&certificate)?.public != request.public {
            return Err(Error::new(
                Code::CertificateKey,
                "the order was carried out before, for another key",
            ));
        }
        Ok(Issued { chain: self.chain_of(&issuance).await? })
    }

    /// The present moment of the authority's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The certificate that was issued, with what leads from it to a root.
    ///
    /// # Errors
    /// Where the intermediate that signed it cannot be read.
    pub async fn chain_of(&self, issuance: &Issuance) -> Result<Vec<CertificateDer<'static>>> {
        let signer = self.signer_called(&issuance.issuer).await?;
        Ok(signer.chain_of(issuance.certificate()?))
    }

    /// What is recorded of the certificate with this serial number.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn issuance(&self, serial: &str) -> Result<Option<Issuance>> {
        let record = self.journal.record(ledger::ISSUED, &self.node, serial).await?;
        record.map(|record| ledger::decode(&record.value)).transpose()
    }

    /// Revokes a certificate. One that is revoked already keeps its first time and reason.
    ///
    /// # Errors
    /// `MC-E008` where this authority did not sign it.
    pub async fn revoke_serial(&self, serial: &str, reason: Reason) -> Result<()> {
        let issuance = self.issuance(serial).await?.ok_or_else(|| unknown(serial))?;
        if issuance.revoked.is_some() {
            return Ok(());
        }
        let revoked = Revoked { at: self.clock.now(), reason };
        let writes = issuance.revoked_writes(&self.node, revoked);
        match self.journal.write(writes.into()).await {
            // Somebody else was faster.
            Ok(()) | Err(journal::Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The intermediate that signs, made with its root where there is none yet.
    async fn signer(&self) -> Result<Arc<build::Signer>> {
        let now = self.clock.now();
        let known = self.active.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = &known
            && now.since(known.read) < REFRESHED
            && known.read <= now
        {
            return Ok(known.signer.clone());
        }
        let id = match self.active_id().await? {
            Some(id) => id,
            None => self.create(Passphrase::Kept).await?,
        };
        let signer = match known {
            Some(known) if known.signer.id == id => known.signer,
            _ => self.signer_called(&id).await?,
        };
        let active = Active { signer: signer.clone(), read: now };
        *self.active.lock().unwrap_or_else(PoisonError::into_inner) = Some(active);
        Ok(signer)
    }

    async fn active_id(&self) -> Result<Option<String>> {
        let record = self.journal.record(hierarchy::ACTIVE, &self.node, hierarchy::ACTIVE_NAME).await?;
        record.map(|record| ledger::decode(&record.value)).transpose()
    }

    async fn signer_called(&self, id: &str) -> Result<Arc<build::Signer>> {
        let intermediate = self.intermediate(id).await?;
        let root = self.root(&intermediate.root).await?;
        build::Signer::open(&self.sealer, &intermediate, &root).map(Arc::new)
    }

    fn write(&self, kind: &str, name: &str, value: String, expect: Expect) -> Write {
        Write { kind: kind.into(), node: self.node.clone(), name: name.into(), value: Some(value), expect }
    }
}

fn unknown(serial: &str) -> Error {
    Error::new(Code::CertificateUnknown, format!("this authority did not sign a certificate `{serial}`"))
}

#[async_trait]
impl Driver for Authority {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn features(&self) -> &[Feature] {
        &Feature::ALL
    }

    async fn issue(&self, order: &Order<'_>, _: &dyn Progress) -> Result<Issued> {
        let public = order.key.public();
        self.sign(&Request {
            token: order.token,
            names: order.names,
            profile: order.profile,
            public: &public,
            lifetime: order.lifetime,
            service: order.service,
        })
        .await
    }

    async fn revoke(&self, chain: &[CertificateDer<'static>], _: &Key, reason: Reason) -> Result<()> {
        let first = chain.first().ok_or_else(|| unknown(""))?;
        self.revoke_serial(&crate::certificate::Facts::of(first)?.serial, reason).await
    }

    async fn roots(&self) -> Result<Vec<CertificateDer<'static>>> {
        self.signer().await?;
        self.trusted().await
    }
}
