//! Owns certificates as they are shown: checked once when a route is put, with all that a handshake takes.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use effect::{Code, Error, Result};
use journal::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ParsedCertificate, ProducesTickets};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::driver::Material;
use crate::route::Hostname;

/// RFC 8737.
pub(crate) const ACME: &[u8] = b"acme-tls/1";
pub(crate) const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// A certificate that is shown.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) config: Arc<ServerConfig>,
    chain: Vec<rustls::pki_types::CertificateDer<'static>>,
}

/// What all certificates share, and those that are shown: routes that have the same one share it.
pub(crate) struct Wardrobe {
    tickets: Arc<dyn ProducesTickets>,
    provider: Arc<rustls::crypto::CryptoProvider>,
    known: HashMap<[u8; 32], Weak<Shown>>,
}

impl std::fmt::Debug for Wardrobe {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Wardrobe").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

fn digest(material: &Material) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in material.chain.iter().map(AsRef::as_ref).chain([material.key.as_slice()]) {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    *hasher.finalize().as_bytes()
}

impl Wardrobe {
    pub(crate) fn new() -> Result<Self> {
        let tickets = Ticketer::new().map_err(|error| {
            Error::new(Code::Config, "keys for resuming TLS sessions cannot be made").because(error)
        })?;
        Ok(Self { tickets, provider: Arc::new(default_provider()), known: HashMap::new() })
    }

    /// The certificate ready to be shown.
    ///
    /// # Errors
    /// `MC-G002` where it or its key cannot be read, or they do not belong together.
    pub(crate) fn show(&mut self, material: &Material) -> Result<Arc<Shown>> {
        let digest = digest(material);
        if let Some(shown) = self.known.get(&digest).and_then(Weak::upgrade) {
            return Ok(shown);
        }
        let config = self.config(self.certified(material)?, &[HTTP_2, HTTP_1])?;
        let shown = Arc::new(Shown { config, chain: material.chain.clone() });
        if self.known.len() >= 2 * self.known.values().filter(|shown| shown.strong_count() > 0).count() + 16 {
            self.known.retain(|_, shown| shown.strong_count() > 0);
        }
        self.known.insert(digest, Arc::downgrade(&shown));
        Ok(shown)
    }

    /// What answers a certificate authority that asks by tls-alpn-01.
    ///
    /// # Errors
    /// `MC-G002` where its key cannot be read.
    pub(crate) fn prove(&self, material: &Material) -> Result<Arc<ServerConfig>> {
        let key = self.provider.key_provider.load_private_key(key(material)).map_err(refused)?;
        // Nothing compares the two: what it shows is critical, and unknown to whoever reads certificates for clients.
        self.config(CertifiedKey::new(material.chain.clone(), key), &[ACME])
    }

    fn certified(&self, material: &Material) -> Result<CertifiedKey> {
        if material.chain.is_empty() {
            return Err(Error::new(Code::RouteTerms, "the certificate is empty"));
        }
        CertifiedKey::from_der(material.chain.clone(), key(material), &self.provider).map_err(refused)
    }

    fn config(&self, certified: CertifiedKey, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(refused)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config.ticketer = Arc::clone(&self.tickets);
        // One is what clients use; each costs a hash and a record.
        config.send_tls13_tickets = 1;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Arc::new(config))
    }
}

fn key(material: &Material) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(material.key.to_vec()).into()
}

fn refused(error: rustls::Error) -> Error {
    Error::new(Code::RouteTerms, "the certificate cannot be shown with its key").because(error)
}

impl Shown {
    /// What is wrong with showing it for `hostname` now, if anything: clients will refuse it.
    pub(crate) fn flaw(&self, hostname: &Hostname, now: Timestamp) -> Option<String> {
        let first = self.chain.first()?;
        let Ok((_, certificate)) = X509Certificate::from_der(first) else {
            return Some("it cannot be read".into());
        };
        let validity = certificate.validity();
        let seconds = now.0.div_euclid(1000);
        if seconds > validity.not_after.timestamp() {
            return Some("it has expired".into());
        }
        if seconds < validity.not_before.timestamp() {
            return Some("it is not valid yet".into());
        }
        if hostname.is_any() {
            return None;
        }
        // A certificate for a wildcard is good for any one name beneath it.
        let name = match hostname.wildcard_suffix() {
            Some(suffix) => format!("any{suffix}"),
            None => hostname.as_str().to_owned(),
        };
        let name = ServerName::try_from(name).ok()?;
        let parsed = ParsedCertificate::try_from(first).ok()?;
        let is_for = rustls::client::verify_server_name(&parsed, &name).is_ok();
        (!is_for).then(|| format!("it is not for `{hostname}`"))
    }
}
