//! Owns the certificate that the daemon itself shows: signed by the embedded authority and kept in memory only, or read from
//! files that somebody else renews, and changed without a new socket.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use certs::certificate::Facts;
use certs::driver::new_token;
use certs::embedded::{Authority, Request};
use certs::{Key, KeyType, Names, Profiles, renewal};
use effect::{Code, Error, Result, Timestamp};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// How often it is looked whether a new one is due.
pub const BETWEEN_LOOKS: Duration = Duration::from_secs(600);
/// How long one lives.
const LIFETIME: Duration = Duration::from_secs(7 * 86_400);

/// The daemon's own certificate for its name.
pub struct Identity {
    source: Source,
    shown: Arc<Shown>,
}

enum Source {
    Authority(Box<Authority>, Names),
    Files { cert: PathBuf, key: PathBuf },
}

#[derive(Default)]
struct Shown {
    /// With the moment at which another one is due, where we are to get it.
    key: RwLock<Option<(Arc<CertifiedKey>, Option<Timestamp>)>>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.key.read().unwrap_or_else(PoisonError::into_inner);
        shown.as_ref().map(|(key, _)| key.clone())
    }
}

impl Identity {
    /// The identity under `names`, without a certificate yet.
    #[must_use]
    pub fn new(authority: Authority, names: Names) -> Self {
        Self { source: Source::Authority(Box::new(authority), names), shown: Arc::default() }
    }

    /// One whose certificate and key are in files, in PEM.
    #[must_use]
    pub fn of_files(cert: PathBuf, key: PathBuf) -> Self {
        Self { source: Source::Files { cert, key }, shown: Arc::default() }
    }

    /// Gets a certificate where there is none, or where the one shown is due for renewal; reads files again.
    ///
    /// # Errors
    /// Where the authority cannot sign, `MC-U002` where the files cannot be used. The one shown stays.
    pub async fn refresh(&self) -> Result<()> {
        let shown = match &self.source {
            Source::Authority(authority, names) => {
                if !self.is_due(authority.now()) {
                    return Ok(());
                }
                let (key, renew_at) = signed(authority, names).await?;
                (key, Some(renew_at))
            }
            Source::Files { cert, key } => {
                let (cert, key) = (cert.clone(), key.clone());
                let read = tokio::task::spawn_blocking(move || from_files(&cert, &key)).await;
                let read = read.map_err(|error| Error::ended("a task broke", &error))?;
                (read?, None)
            }
        };
        *self.shown.key.write().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        Ok(())
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let shown = self.shown.key.read().unwrap_or_else(PoisonError::into_inner);
        shown.as_ref().is_none_or(|(_, renew_at)| renew_at.is_none_or(|renew_at| renew_at <= now))
    }

    /// What shows it, for a server with settings of its own.
    #[must_use]
    pub fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        self.shown.clone()
    }

    /// Settings of a server that shows it.
    #[must_use]
    pub fn config(&self) -> ServerConfig {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_no_client_auth()
            .with_cert_resolver(self.shown.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }
}

/// A new certificate for `names`, and when it is to be renewed.
async fn signed(authority: &Authority, names: &Names) -> Result<(Arc<CertifiedKey>, Timestamp)> {
    let key = Key::generate(KeyType::P256)?;
    let (profiles, public) = (Profiles::new(&Default::default())?, key.public());
    let issued = authority
        .sign(&Request {
            // Nobody goes on with it: each is a new one.
            token: &new_token()?,
            names,
            profile: profiles.get("server")?,
            public: &public,
            lifetime: Some(LIFETIME),
            service: None,
        })
        .await?;
    let facts = Facts::of(&issued.chain[0])?;
    let pkcs8 = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.pair().serialize_der()));
    let signing = any_supported_type(&pkcs8)
        .map_err(|error| Error::new(Code::Internal, "a new key cannot be used").because(error))?;
    let renew_at = renewal::moment(facts.not_before, facts.not_after, &facts.serial);
    Ok((Arc::new(CertifiedKey::new(issued.chain, signing)), renew_at))
}

/// What the operator's files hold. A key that is not the certificate's would be found out by the first caller.
fn from_files(cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>> {
    let chain = peer::certificates(cert)?;
    let unusable = |error: &dyn fmt::Display| {
        Error::new(Code::Config, format!("`{}` is not a file with the certificate's key", key.display()))
            .because(error)
    };
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(&error))?;
    let signing = any_supported_type(&key).map_err(|error| unusable(&error))?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
        Err(error) => return Err(unusable(&error)),
    }
    Ok(Arc::new(certified))
}
